#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Moves that are not live. Offline: the guest stands still while its memory is sent, and goes on at the
destination, or where it was. Cold: a stopped VM changes hosts with its disks, keys and TPM, runs nowhere
meanwhile, and starts there as if it had always been there."""
import contextlib
import json
import os
import signal

import key_case
import test_tpm_move
import vmcase
from disk_copy_case import LUKS, PLAIN_QCOW2
from test_disk_sealed import SealedCase
from test_tpm_move import SHARED
from vmcase import LONG, MIB, LabError, procs, wait_for

# Where the other side's signature is the next thing to come.
BEFORE_COMMIT = ("channels", "keys", "disks", "transfer")
# What the thread of a virtual CPU takes before a first instruction of the guest, and more.
NEVER_RAN_NS = 100_000_000


def other_of(case, host):
    return case.lab.south if host is case.lab.north else case.lab.north


def kill_engine(host, thaw=None):
    host.stop(signal.SIGKILL)
    if thaw:
        procs.thaw(thaw)
    host.start()
    host.keys_serve(LONG)


class Offline(key_case.KeyCase):
    def move(self, source, destination, **more):
        return self.moved(source, destination, manner="offline", **more)

    def stands_still(self, host):
        return not procs.guest_runs(host.vm(self.vm)["pid"], 2)

    def held(self):
        """In the middle of its memory, and it does not run."""
        north, south = self.guest()
        migration, _ = self.hold_transfer(north, south, manner="offline")
        self.assertTrue(self.stands_still(north))
        return north, south, migration

    def stays(self, host, migration, state):
        view = host.wait_migration(migration, LONG)
        self.assertEqual(view["state"], state, view)
        self.assert_runs_only(host)
        self.wait_keys(host, "active")

    def test_there_and_back(self):
        self.new_guest()
        for source, destination in (self.lab.hosts, self.lab.hosts[::-1]):
            view = self.move(source, destination, bandwidth=24 * MIB)
            self.assertEqual(view["manner"], "offline")
            self.assertEqual(self.view(destination, view["migration"])["manner"], "offline")
            # All of the transfer, and not what a last round would take.
            self.assertGreater(view["report"]["downtime_ms"], view["report"]["stream_ms"] * 0.9)
            self.assert_runs_only(destination)
            self.assert_keys_at(destination)

    def test_cancelled(self):
        source, _, migration = self.held()
        source.call("cancel", migration=migration)
        self.stays(source, migration, "cancelled")

    def test_cut(self):
        source, _, migration = self.held()
        self.drop_session()
        self.lab.link("south", False)
        source.wait_migration(migration, LONG)
        self.lab.link("south", True)
        type(self).session = self.lab.walker(LONG)
        self.stays(source, migration, "failed")

    def test_engine_of_the_source_killed(self):
        source, _, migration = self.held()
        kill_engine(source)
        self.stays(source, migration, "failed")

    def test_engine_of_the_destination_killed(self):
        source, destination, migration = self.held()
        kill_engine(destination)
        self.stays(source, migration, "failed")

    def test_cold_is_for_a_stopped_one(self):
        source, destination = self.guest()
        refusal = source.refusal("migrate", vm=self.vm, destination=destination.name, manner="cold")
        self.assertEqual(refusal, {"category": "conflict", "text":
                                   f"VM {self.vm} runs: --offline suspends it for the move, --cold is "
                                   "for a stopped one"})
        self.assert_runs_only(source)


class Cold:
    """A stopped VM with a TPM and an encrypted disk; for a Tpm case."""

    def stopped_guest(self, *disks):
        """It has run once, so that there is something to carry over."""
        self.new_guest(*disks)
        self.assert_tpm_goes_on(self.lab.north)
        self.stop_at(self.lab.north)
        return self.lab.hosts

    def start_at(self, host):
        """Its NV index is as it was. What the guest says of it at its start is said once: where that was
        missed, it starts again."""
        for _ in range(3):
            host.call("vm-start", text=self.text(), file="/nowhere/vm.conf")
            type(self).ticks = 0
            said = self.console(host, rb"tpm (?:index=(\w+)|t=\d+ .*|fatal.*)")
            if said != [None]:
                break
            self.stop_at(host)
        self.assertEqual(said, [b"kept"])
        type(self).session = self.lab.walker(LONG)

    def cold(self, source, destination, **more):
        return self.migrate(source, destination, manner="cold", **more)

    def no_process(self):
        return not any(host.qemus() or self.swtpms(host) for host in self.lab.hosts)

    def is_stopped(self, host):
        vm = host.vm(self.vm)
        return vm and vm["state"] == "stopped" and not vm.get("pid")

    def assert_stopped_at(self, host):
        """One owner, no process anywhere, its TPM here and nothing of it there."""
        with contextlib.suppress(LabError):
            wait_for("no process", self.no_process, LONG)
        self.assertTrue(self.no_process())
        wait_for(f"state stopped at {host.name}", lambda: self.is_stopped(host), LONG)
        self.wait_keys_of_its_own(host)
        self.assertIn("tpm2-00.permall", self.state_of(host))
        self.assertEqual(self.run_directories(host) + self.taps(host), [])
        other = other_of(self, host)
        self.assertFalse(self.is_stopped(other))
        self.assert_nothing_left(other)
        self.assertEqual([m for m in host.migrations() if m["state"] in ("active", "stuck")], [])

    def arrived(self, source, destination, migration):
        view = source.wait_migration(migration, LONG)
        self.assertEqual(view["state"], "done", view.get("error"))
        self.assertEqual(view["manner"], "cold")
        # There was no guest that stood still.
        self.assertNotIn("downtime_ms", view["report"])
        destination.wait_migration(migration, LONG)
        self.assert_stopped_at(destination)
        return view

    def stayed(self, host, migration, text, state="failed"):
        view = host.wait_migration(migration, LONG)
        self.assert_failed(view, state, text)
        self.assert_stopped_at(host)
        return view

    def starts(self, host):
        """With what it had: its disk's data, its TPM's index, PCR and keys."""
        self.start_at(host)
        self.assert_runs_only(host)
        self.stop_at(host)

    def hold_question(self, source, destination, **more):
        """The destination is ready; the source's commit is not signed."""
        migration = self.cold(source, destination, bandwidth=MIB)
        self.wait_step(source, migration, *BEFORE_COMMIT)
        signer = self.freeze_role(source, "sealift-notary", "--sign")
        self.wait_step(source, migration, "question")
        return migration, signer

    def hold_ready(self, source, destination):
        """The destination has loaded; its ready is not signed."""
        migration = self.cold(source, destination, bandwidth=MIB)
        self.wait_step(source, migration, *BEFORE_COMMIT)
        signer = self.freeze_role(destination, "sealift-notary", "--sign")
        self.wait_step(destination, migration, "sign-ready")
        for host in (source, destination):
            pid = host.vm(self.vm)["pid"]
            self.assertLess(procs.cpu_ns(pid, procs.virtual_cpus(pid)), NEVER_RAN_NS, host.name)
        return migration, signer

    def hold_activating(self, source, destination, **more):
        """Committed on both sides; `activated` is not signed."""
        migration, signer = self.hold_question(source, destination)
        held = self.freeze_role(destination, "sealift-notary", "--sign")
        procs.thaw(signer)
        self.wait_step(destination, migration, "activating")
        wait_for("end of its process", lambda: not destination.qemus(), LONG)
        return migration, held


class ColdShared(Cold, test_tpm_move.TpmCase):
    """Its disk is on storage that both reach: all keys travel."""

    def wait_keys_of_its_own(self, host):
        self.wait_keys(host, "active")
        other = other_of(self, host)
        wait_for("end of its keys", lambda: set(self.states(other).values()) <= {"destroyed"}, LONG)

    def test_there_and_back(self):
        north, south = self.stopped_guest(SHARED)
        path = os.path.join(self.lab.directory, "shared", self.volumes[0][0])
        with open(path, "rb") as file:
            before = file.read()
        self.arrived(north, south, self.cold(north, south))
        with open(path, "rb") as file:
            self.assertEqual(file.read(), before, "somebody wrote to the disk of a stopped VM")
        self.assert_keys_at(south)
        self.assertEqual(north.refusal("vm-start", text=self.text(), file="/nowhere/vm.conf"), {
            "category": "conflict", "text": f"VM {self.vm} ({self.uuid}) was moved to another host, "
            "spiffe://south.example/host/south: started here again it would run twice"})
        self.starts(south)
        self.arrived(south, north, self.cold(south, north))
        self.assert_keys_at(north)
        # And to and from a host where it is not started. A fourth start would find the TPM locked, which
        # counts the ends of its guest that were none of its own.
        self.arrived(north, south, self.cold(north, south))
        self.arrived(south, north, self.cold(south, north))
        self.starts(north)

    def test_a_stopped_one_moves_cold(self):
        north, south = self.stopped_guest(SHARED)
        for more in ({}, {"manner": "live"}, {"manner": "offline"}):
            self.assertEqual(north.refusal("migrate", vm=self.vm, destination="south", **more), {
                "category": "conflict", "text": f"VM {self.vm} is stopped here: --cold moves it so"})
        self.assertEqual(north.refusal("migrate", vm=self.vm, destination="south", manner="warm"), {
            "category": "usage", "text": 'manner "warm" is not live, offline or cold'})
        self.assert_stopped_at(north)
        with self.assertRaisesRegex(LabError, "--offline is for a VM that runs, --cold for a stopped one"):
            north.cli("migrate", "--cold", "--offline", self.vm, "south")
        said = json.loads(north.cli("migrate", "--cold", self.vm, "south").splitlines()[-1])
        self.assertEqual((said["state"], said["manner"]), ("done", "cold"))
        self.assertRegex(north.cli("status", said["migration"]), r"(?m)^  manner +cold$")
        self.assert_stopped_at(south)
        self.starts(south)

    def test_started_while_it_moves(self):
        north, south = self.stopped_guest(SHARED)
        migration, signer = self.hold_ready(north, south)
        for host in (north, south):
            refusal = host.refusal("vm-start", text=self.text(), file="/nowhere/vm.conf")
            self.assertEqual(refusal["category"], "conflict")
            self.assertRegex(refusal["text"], "is here already, state (migrating|incoming)")
            refusal = host.refusal("vm-stop", vm=self.vm)
            self.assertRegex(refusal["text"], "is being migrated")
        procs.thaw(signer)
        self.arrived(north, south, migration)

    def test_cancelled(self):
        north, south = self.stopped_guest(SHARED)
        migration, signer = self.hold_ready(north, south)
        north.call("cancel", migration=migration)
        procs.thaw(signer)
        self.stayed(north, migration, "cancelled", "cancelled")
        self.starts(north)
        self.stop_guest()


class ColdCopied(Cold, test_tpm_move.CopiedDisk):
    """Its disk is in a pool of each host's own: a copy, under a key of the destination's."""

    test_there_and_back = None

    def wait_keys_of_its_own(self, host):
        self.assert_images_at(host)

    def contents(self, host):
        return [self.content(host, disk, value) for disk in self.disks
                for key, value in (self.values(host) if disk.luks else {None: None}).items()
                if not disk.luks or key in self.image_keys(host)]

    def image_keys(self, host):
        return {key for key, record in host.keys_of(self.uuid).items()
                if record["purpose"] == "image" and record["state"] == "active"}

    def test_copied(self):
        for disk in (LUKS, PLAIN_QCOW2):
            north, south = self.stopped_guest(disk)
            # Back again without a start in between, and then once more.
            for source, destination in ((north, south), (south, north), (north, south)):
                before = self.contents(source)
                self.arrived(source, destination, self.cold(source, destination))
                self.assertEqual(self.contents(destination), before)
                self.assert_own_keys_of_all(destination)
            self.starts(south)
            self.stop_guest()

    def assert_own_keys_of_all(self, host):
        wait_for("keys", lambda: set(self.states(other_of(self, host)).values()) <= {"destroyed"}, LONG)
        self.assertEqual(len(self.active(host)), len(self.keys))

    def test_engine_killed_while_the_disk_is_copied(self):
        for name in ("north", "south"):
            north, south = self.stopped_guest(LUKS)
            migration, _ = self.hold_disks(north, south, manner="cold")
            kill_engine(north if name == "north" else south)
            self.stayed(north, migration, ".")
            self.starts(north)
            self.stop_guest()


class ColdSealed(SealedCase):
    """Its disk is copied as ciphertext, by the storage daemon that holds its image."""

    def test_there_and_back(self):
        north, south = self.lab.hosts
        self.new_guest(LUKS)
        self.assert_runs_only(north)
        self.drop_session()
        north.call("vm-stop", vm=self.vm)
        wait_for("end of its processes", lambda: not north.qemus(), LONG)
        value, = self.values(north).values()
        before = self.content(north, self.disks[0], value)
        for source, destination in ((north, south), (south, north)):
            view = source.wait_migration(self.migrate(source, destination, manner="cold"), LONG)
            self.assertEqual(view["state"], "done", view.get("error"))
            wait_for("stopped", lambda: destination.vm(self.vm)["state"] == "stopped", LONG)
            wait_for("no process", lambda: not source.qemus() and not destination.qemus(), LONG)
            self.assert_images_at(destination)
            self.assertEqual(self.content(destination, self.disks[0], value), before)
        north.call("vm-start", text=self.text(), file="/nowhere/vm.conf")
        type(self).session = self.lab.walker(LONG)
        self.assert_runs_only(north)


class ColdKilled(Cold, test_tpm_move.TpmCase):
    """An engine or a hypervisor dies in the middle: one owner at the end, and it is stopped there."""

    wait_keys_of_its_own = ColdShared.wait_keys_of_its_own

    def engine_dies(self, hold, name, ends_at):
        north, south = self.stopped_guest(SHARED)
        migration, frozen = getattr(self, hold)(north, south)
        kill_engine(north if name == "north" else south, frozen)
        owner = north if ends_at == "north" else south
        if owner is south:
            self.arrived(north, south, migration)
        else:
            self.stayed(north, migration, ".")
        self.starts(owner)
        self.stop_guest()

    def test_source_before_ready(self):
        self.engine_dies("hold_ready", "north", "north")

    def test_destination_before_ready(self):
        self.engine_dies("hold_ready", "south", "north")

    def test_source_before_commit(self):
        self.engine_dies("hold_question", "north", "north")

    def test_destination_activating(self):
        self.engine_dies("hold_activating", "south", "south")

    def test_source_committed(self):
        self.engine_dies("hold_activating", "north", "south")

    def test_hypervisors(self):
        north, south = self.stopped_guest(SHARED)
        for host in (north, south):
            migration, signer = self.hold_ready(north, south)
            procs.kill(host.vm(self.vm)["pid"])
            procs.thaw(signer)
            self.stayed(north, migration, ".")
        self.starts(north)
        self.stop_guest()


if __name__ == "__main__":
    vmcase.main()
