#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Two hosts of one domain and one key manager, which the north has: an encrypted VM of the south lives
without a key manager of its own, and moves between them without a key being packed."""
import contextlib
import os
import shutil

import key_case
import vmcase
from vmcase import LONG, LabError, procs, wait_for

import shared_lab
from lab import Api


class SharedKeys(key_case.KeyCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = shared_lab.SharedLab(extra_config=cls.config)
        cls.addClassCleanup(cls.lab.close)
        cls.make_guest()
        north, south = cls.lab.hosts
        south.root_key = None  # it has none
        north.make_keys()
        north.write_config(cls.config + cls.lab.manager_text([south]))
        south.write_config(cls.config + cls.lab.guest_text())
        cls.lab.start()
        for host in cls.lab.hosts:
            host.keys_serve()
        cls.witness = procs.Witness(cls.lab)
        cls.addClassCleanup(cls.witness.close)
        cls.session = None
        cls.addClassCleanup(cls.drop_session)

    def lab_is_suspect(self):
        """After a failure nothing is known of the lab."""
        self.stop_guest()

    def new_guest_of(self, host):
        """Makes and starts one on an encrypted disk."""
        cls = type(self)
        self.stop_guest()
        cls.serial += 1
        cls.vm, cls.pages = f"keyvm{cls.serial}", self.walker_mem * vmcase.MIB // 4096
        cls.volumes = [(f"{cls.vm}-disk.img", "raw")]
        with contextlib.closing(Api(host.socket, 2 * LONG)) as api:
            made = api("vm-create", text=self.text(), file="/nowhere/vm.conf")["disks"]
        cls.keys = [disk["key"] for disk in made]
        cls.uuid = self.start_guest(host)["uuid"]
        return host

    def start_guest(self, host):
        view = host.call("vm-start", text=self.text(), file="/nowhere/vm.conf")["vm"]
        type(self).session = self.lab.walker(LONG)
        return view

    def text_with_key(self):
        """The same VM, for somebody who knows which key it is."""
        return self.lab.vm_text(name=self.vm, memory=self.memory, walker_mem=self.walker_mem, rate=self.rate,
                                disk=self.disk_text(*self.volumes[0], f'key = "{self.keys[0]}";'))

    def stop_at(self, host):
        self.drop_session()
        host.call("vm-stop", vm=self.vm)
        wait_for("end of QEMU", lambda: not host.qemus(), LONG)

    def story(self, host):
        """What the log says of the guest's key, of one host's doing: [(action, detail)...]."""
        return [(entry["action"], entry["detail"]) for entry in self.lab.north.key_log(self.keys[0])
                if (entry["who"].startswith(host.id + " ") if host is not self.lab.north
                    else not entry["who"].startswith("spiffe://"))]

    def test_a_vm_of_a_host_without_a_key_manager(self):
        north, south = self.lab.hosts
        self.new_guest_of(south)
        self.assert_runs_only(south)
        self.assertEqual(procs.roles(south, "sealift-keyd"), [])
        self.assertFalse(os.path.exists(os.path.join(south.state, "keys")))
        self.assertEqual([action for action, _ in self.story(south)], ["created", "opened", "opened"])
        value = self.values(north)[self.keys[0]]
        # The value was there for the hypervisor, and is in no file and in none of our processes.
        self.assert_nowhere(value, self.files_of(south))
        for role in ("sealift-keylink", "sealiftd"):
            for host in (north, south):
                for process in procs.roles(host, role):
                    self.assertEqual(self.in_memory(process, value), [], (host.name, role))
        # The key manager's own host does not open it.
        with self.assertRaisesRegex(LabError, f"denied: .*the key is of {south.id}"):
            north.call("vm-start", text=self.text_with_key(), file="/nowhere/vm.conf")

    def test_without_its_key_manager(self):
        north, south = self.lab.hosts
        self.new_guest_of(south)
        north.stop()
        try:
            # What runs goes on, and is not started again.
            self.assert_disk_works()
            self.stop_at(south)
            refusal = south.refusal("vm-start", text=self.text(), file="/nowhere/vm.conf")
            self.assertEqual(refusal["category"], "unavailable")
            self.assertIn(f"the key manager is not there: {north.id}", refusal["text"])
        finally:
            north.start()
        south.keys_serve(LONG)
        self.start_guest(south)
        self.assert_runs_only(south)

    def test_it_moves_and_its_keys_are_handed_over(self):
        north, south = self.lab.hosts
        self.new_guest_of(south)
        view = self.moved(south, north)
        self.assert_runs_only(north)
        self.wait_keys(north, "active")
        self.assertEqual(south.keys_of(self.uuid), {})
        self.assertEqual(self.exposed(north), {""})
        migration = view["migration"]
        for host, outcome in ((south, "handed-over"), (north, "active")):
            wait_for(outcome, lambda h=host, o=outcome: self.view(h, migration)["keys"]["outcome"] == o, LONG)
        self.assertIn(("attested", f"handover {migration} begun -"), self.story(south))
        self.assertIn(("attested", f"handover {migration} done"), self.story(north))
        # What is signed is the hosts' own; of the keys the log tells.
        directory = os.path.join(self.lab.directory, "evidence-shared")
        north.cli("evidence", migration, directory)
        names = sorted(os.listdir(directory))
        self.assertIn("activated.der", names)
        self.assertEqual([name for name in names if name.startswith("keys")], [])
        self.restarted_guest(north)
        self.assert_runs_only(north)
        # And back. What it left behind opens nothing.
        self.moved(north, south)
        self.assert_runs_only(south)
        self.assertEqual(set(south.keys_of(self.uuid)), set(self.keys))
        with self.assertRaises(LabError):
            north.call("vm-start", text=self.text_with_key(), file="/nowhere/vm.conf")
        self.restarted_guest(south)
        self.assert_runs_only(south)
        self.assertTrue(north.call("key-verify")["done"])

    def test_a_move_that_is_undone_leaves_the_keys_where_they_were(self):
        north, south = self.lab.hosts
        self.new_guest_of(south)
        migration, _ = self.hold_transfer(south, north)
        south.call("cancel", migration=migration)
        self.assertEqual(south.wait_migration(migration)["state"], "cancelled")
        self.assert_runs_only(south)
        wait_for("the keys' return", lambda: ("attested", f"handover {migration} undone") in
                 self.story(south) + self.story(north), LONG)
        self.restarted_guest(south)
        self.assert_runs_only(south)


if __name__ == "__main__":
    vmcase.main()
