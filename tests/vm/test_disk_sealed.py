#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Encrypted disks that travel as ciphertext: between the hypervisor, which has the key, and the image
stands a storage daemon without it, which makes the copy. What both hosts' pools, key managers and
qemu-img say of them afterwards, what is seen on the cable and on the sockets of the storage daemons,
what a person is told, and what stays where it was when a move is given up or an engine dies."""
import contextlib
import os
import re
import signal
import subprocess

import disk_copy_case
import vmcase
from disk_copy_case import LUKS, LUKS_QCOW2, PLAIN
from vmcase import LONG, MIB, LabError, procs, wait_for

from lab import PATTERN
from wiretap import Wiretap

SOUTH = r"^spiffe://south\.example/host/south: "
CALLS = "read,write,readv,writev,pread64,pwrite64,preadv,pwritev,recvfrom,sendto,recvmsg,sendmsg"


class SealedCase(disk_copy_case.DiskCase):
    """Both pools are sealed; keys travel, as those of shared disks do."""

    sealed = ("north", "south")

    @classmethod
    def pool(cls, host):
        text = cls.open_pool(host)
        return text.replace("own = true;", "own = true; sealed = true;") if host.name in cls.sealed else text

    @classmethod
    def open_pool(cls, host):
        return super().pool(host)

    def assert_own_keys(self, host):
        """The very keys that it had at first, wherever it is."""
        self.wait_keys(host, "active")
        states = self.states(self.other(host))
        self.assertLessEqual(set(states.values()), {"destroyed"})
        return self.active(host)

    def served(self, host):
        """[(volume, word, pid)...] of the storage daemons between the guest and its disks."""
        view = host.vm(self.vm) or {}
        return [(disk["volume"], disk["daemon"], disk.get("pid")) for disk in view.get("sealed_disks", [])]

    def daemon(self, host):
        """The one of the first disk."""
        def look():
            return [disk for disk in self.served(host) if disk[1] == "serves"]
        (volume, _, pid), = wait_for("storage daemon", look, LONG)
        self.assertEqual(volume, self.disks[0].volume)
        return pid

    def new_guest(self, *disks):
        """What it never writes in a large disk is noise, not holes: so a copy takes its time."""
        north = super().new_guest(*disks)
        for disk in self.disks:
            if disk.mib > 16:
                with open(self.path(north, disk), "r+b") as file:
                    file.seek(-12 * MIB, os.SEEK_END)
                    file.write(os.urandom(12 * MIB))
        return north

    def descriptors(self, pid):
        """Files that a process has open, or has as its memory."""
        found = set()
        for name in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                found.add(os.readlink(f"/proc/{pid}/fd/{name}"))
        return found

    def restart_at(self, host):
        self.drop_session()
        host.call("vm-stop", vm=self.vm)
        host.call("vm-start", text=self.text(), file="/nowhere/vm.conf")
        type(self).session = self.lab.walker(LONG)

    def configure(self, host, pools=None, extra=""):
        """Anew, with the guest running on."""
        host.pools = pools or self.pool(host)
        host.write_config(self.config + extra + host.keys_text())
        host.stop()
        host.start()
        host.keys_serve()


class Whole(SealedCase):
    def test_there_and_back(self):
        """The same image and the same key, on one side at a time; it stands on a storage daemon again once
        it was stopped and started, and only then it leaves again."""
        north, south = self.lab.hosts
        self.new_guest(LUKS)
        pid, path = self.daemon(north), self.path(north, self.disks[0])
        self.assertIn(path, self.descriptors(pid))
        hypervisor = north.vm(self.vm)["pid"]
        self.assertNotIn(path, self.descriptors(hypervisor), "the hypervisor has the image")
        value, = self.values(north).values()
        self.assertEqual(self.in_memory(pid, value), [], "the storage daemon has the key")
        self.assertTrue(self.in_memory(hypervisor, value), "the hypervisor has it")
        self.assertRegex(north.cli("vm", "show", self.vm),
                         f"\n  sealed disk   {self.disks[0].volume}, its storage daemon serves\n")
        self.assert_runs_only(north)
        self.moved(north, south)
        self.assert_runs_only(south)
        self.assertEqual(self.served(south), [])
        self.assertFalse(procs.alive(pid))
        with self.assertRaisesRegex(LabError, "no storage daemon holds its image.*stop it and start it"):
            self.migrate(south, north)
        self.drop_session()
        south.call("vm-stop", vm=self.vm)
        wait_for("end of QEMU", lambda: not south.qemus(), LONG)
        image = self.image(south, self.disks[0], value)
        opened = self.qemu_img(["compare"], image, image, value=value)
        self.assertEqual(opened.returncode, 0, opened.stdout)
        # Another domain had its key: it is changed first, by the hypervisor that has image and key.
        south.call("vm-start", text=self.text(), file="/nowhere/vm.conf")
        type(self).session = self.lab.walker(LONG)
        self.assertEqual(self.served(south), [])
        south.call("vm-rekey", vm=self.vm)
        wait_for("its end", lambda: not south.vm(self.vm).get("exposed"), LONG)
        self.restart_at(south)
        self.daemon(south)
        with self.assertRaisesRegex(LabError, "cannot be changed while the VM runs"):
            south.call("vm-rekey", vm=self.vm)
        self.moved(south, north)
        self.assert_runs_only(north)
        self.stop_guest()

    def assert_own_keys(self, host):
        """A key that was changed has versions that are destroyed."""
        with contextlib.suppress(LabError):
            wait_for("keys", lambda: len(self.active(host)) == len(self.keys), LONG)
        self.assertEqual(self.active(host), set(self.keys))
        return self.active(host)

    def test_stop_and_start(self):
        """What was written through the storage daemon is there when another one has the image; it ends
        after the hypervisor, and before the stop is answered."""
        north = self.new_guest(LUKS)
        for _ in range(2):
            pid = self.daemon(north)
            self.assert_disk_works()
            self.restart_at(north)
            self.assertFalse(procs.alive(pid))
        self.assert_disk_works()
        pid = self.daemon(north)
        self.stop_guest()
        self.assertFalse(procs.alive(pid))
        self.assertEqual(self.run_directories(north), [])

    def test_cold(self):
        """A stopped VM gets its storage daemons for the move, and they end with it."""
        north, south = self.lab.hosts
        self.new_guest(LUKS)
        self.assert_disk_works()
        self.drop_session()
        north.call("vm-stop", vm=self.vm)
        self.moved(north, south, manner="cold")
        self.assertEqual([procs.qemus(host) for host in self.lab.hosts], [[], []])
        self.assert_images_at(south)
        value, = self.values(south).values()
        image = self.image(south, self.disks[0], value)
        self.assertEqual(self.qemu_img(["compare"], image, image, value=value).returncode, 0)
        south.call("vm-start", text=self.text(), file="/nowhere/vm.conf")
        type(self).session = self.lab.walker(LONG)
        self.assert_runs_only(south)
        self.stop_guest()

    def test_storage_daemon_that_dies(self):
        """It is said, and mended by a stop and a start."""
        north = self.new_guest(LUKS)
        procs.kill(self.daemon(north))
        wait_for("word of it", lambda: [word for _, word, _ in self.served(north)] == ["ended"], LONG)
        self.assertRegex(north.log(), f"the storage daemon of disk {self.disks[0].volume} ended: what the guest asks")
        with self.assertRaisesRegex(LabError, "the storage daemon that holds its image does not answer"):
            self.migrate(*self.lab.hosts)
        self.restart_at(north)
        self.assert_disk_works()
        self.stop_guest()


class Undone(SealedCase):
    slow = LUKS._replace(mib=24)

    def test_cancel_and_cut(self):
        """In the middle of the copy: the source's disk, key and storage daemon are as they were."""
        north, south = self.lab.hosts
        self.new_guest(self.slow)
        pid = self.daemon(north)
        for way in ("cancel", "cut", "daemon"):
            migration, _ = self.hold_disks(north, south)
            if way == "cancel":
                north.call("cancel", migration=migration)
            elif way == "cut":
                self.lab.link("north", False)
                self.addCleanup(self.lab.link, "north", True)
                wait_for("undo", lambda m=migration: self.view(north, m).get("step") != "disks", LONG)
                self.lab.link("north", True)
            else:
                received, = self.daemons(south)
                procs.kill(received)
            view = north.wait_migration(migration, LONG)
            self.assert_failed(view, "cancelled" if way == "cancel" else "failed", ".")
            self.assert_runs_only(north)
            self.assertEqual(self.daemon(north), pid)
            self.assert_nothing_left(south)
        # The key was over there: by this host's log it is exposed, and the disk waits for a new one.
        self.assertIn("exposed", north.vm(self.vm))
        self.moved(north, south)
        self.assert_runs_only(south)
        self.stop_guest()

    def test_engine_that_dies(self):
        """The daemon is found again; a copy that was under way is given up, and the next one works."""
        north, south = self.lab.hosts
        self.new_guest(self.slow)
        pid = self.daemon(north)
        north.stop(signal.SIGKILL)
        north.start()
        north.keys_serve()
        wait_for("the VM", lambda: self.running_view(north, self.vm), LONG)
        self.assertEqual(self.daemon(north), pid)
        self.assert_disk_works()
        migration, _ = self.hold_disks(north, south)
        north.stop(signal.SIGKILL)
        north.start()
        north.keys_serve()
        self.assertEqual(north.wait_migration(migration, LONG)["state"], "failed")
        self.assert_runs_only(north)
        self.assertEqual(self.daemon(north), pid)
        self.assert_nothing_left(south)
        self.moved(north, south)
        self.assert_runs_only(south)
        self.stop_guest()

    def test_daemon_of_a_vm_that_ended_meanwhile(self):
        """The engine and the hypervisor die: the daemon ends with the next engine."""
        north = self.new_guest(LUKS)
        pid, hypervisor = self.daemon(north), north.vm(self.vm)["pid"]
        self.drop_session()
        north.stop(signal.SIGKILL)
        procs.kill(hypervisor)
        north.start()
        north.keys_serve()
        wait_for("end of the storage daemon", lambda: not procs.alive(pid), LONG)
        wait_for("no directory", lambda: not self.run_directories(north), LONG)
        north.call("vm-start", text=self.text(), file="/nowhere/vm.conf")
        type(self).session = self.lab.walker(LONG)
        self.assert_disk_works()
        self.stop_guest()


    def test_daemon_that_belongs_to_no_vm(self):
        """As a death of the engine at the end of a move may leave one: it ends with the next engine."""
        north = self.new_guest(LUKS)
        pid, hypervisor = self.daemon(north), north.vm(self.vm)["pid"]
        self.drop_session()
        north.stop(signal.SIGKILL)
        procs.kill(hypervisor)
        runs = os.path.join(north.directory, "run", "vm")
        held, = [name for name in os.listdir(runs) if name.endswith("-held0")]
        os.rename(os.path.join(runs, held), os.path.join(runs, "vm-gone-held0"))
        north.start()
        north.keys_serve()
        wait_for("end of the storage daemon", lambda: not procs.alive(pid), LONG)
        wait_for("no directory", lambda: not self.run_directories(north), LONG)
        self.stop_guest()


class Demanded(SealedCase):
    """Either way can be demanded, on either side; the other is refused in one line."""

    sealed = ("north",)

    def refused_here(self, text):
        with self.assertRaisesRegex(LabError, text):
            self.migrate(*self.lab.hosts)
        self.assert_runs_only(self.lab.north)

    def refused_there(self, text):
        view = self.lab.north.wait_migration(self.migrate(*self.lab.hosts), LONG)
        self.assert_failed(view, "failed", SOUTH + ".*" + text)
        self.assert_runs_only(self.lab.north)

    def trust_says(self, host, word, pools=None):
        """For the other host's domain alone."""
        self.configure(host, pools)
        with open(host.config, encoding="utf-8") as file:
            text = file.read()
        with open(host.config, "w", encoding="utf-8") as file:
            file.write(re.sub(rf'(domain = "{self.other(host).domain}"; root = )', rf'disks = "{word}"; \1', text))
        host.stop()
        host.start()
        host.keys_serve()

    def test_fresh_key(self):
        north, south = self.lab.hosts
        self.new_guest(LUKS)
        text = "would be copied as ciphertext, its key with it, and .* under a fresh key only"
        self.configure(south, extra='disks = "fresh-key";\n')
        self.refused_there(text)
        self.configure(south, extra='disks = "sealed";\n')
        self.trust_says(south, "fresh-key")
        self.refused_there(text)
        self.configure(south)
        self.configure(north, extra='disks = "fresh-key";\n')
        self.refused_here(text)
        self.configure(north)
        # Into a pool that is not sealed it comes all the same.
        self.daemon(north)
        self.moved(north, south)
        self.assert_runs_only(south)
        self.stop_guest()

    def test_ciphertext(self):
        north, south = self.lab.hosts
        text = "would be copied as its guest sees it, and .* as ciphertext only"
        self.configure(north, pools=self.open_pool(north))
        self.new_guest(PLAIN)
        self.configure(south, extra='disks = "sealed";\n')
        self.refused_there(text)
        self.configure(south)
        self.trust_says(north, "sealed", self.open_pool(north))
        self.refused_here(text)
        self.stop_guest()
        self.configure(north)

    def test_what_a_sealed_pool_takes(self):
        north = self.lab.north
        for disk in (PLAIN, LUKS_QCOW2):
            with self.assertRaisesRegex(LabError, 'pool "local" is sealed, its disks are raw and encrypted'):
                self.new_guest(disk)
        self.assertEqual([vm for vm in north.call("vm-list")["vms"] if vm.get("pid")], [])


class Seen(SealedCase):
    """By whoever looks between the two hypervisors."""

    sealed = ("north",)

    @contextlib.contextmanager
    def watch(self, pids):
        """{pid: file} of all that goes in and out of processes."""
        paths, tracers = {}, []
        for pid in pids:
            paths[pid] = os.path.join(self.lab.directory, f"trace-{pid}")
            tracer = subprocess.Popen(["strace", "-f", "-xx", "-s", str(4 * MIB), "-e", f"trace={CALLS}",
                                       "-o", paths[pid], "-p", str(pid)], stderr=subprocess.PIPE)
            tracers.append(tracer)
            self.assertIn(b"attached", tracer.stderr.readline())
        yield paths
        for tracer in tracers:
            with contextlib.suppress(ProcessLookupError):
                tracer.send_signal(signal.SIGINT)
            tracer.communicate(timeout=LONG)

    def count(self, path, text):
        """How often it stands in what a process read and wrote."""
        needle = "".join(f"\\x{byte:02x}" for byte in text).encode()
        with open(path, "rb") as file:
            return file.read().count(needle)

    def copied(self, source_pids):
        """One move, and what was seen of it: (on the cable, by the daemons of each side)."""
        north, south = self.lab.hosts
        tap = Wiretap(self.lab, f"sealed-{self.vm}.pcap")
        tap.start()
        self.addCleanup(tap.close)
        # It stands, and not a byte has come.
        migration, mover = self.hold_prepare(north, south)
        received = self.daemons(south)
        self.assertEqual(len(received), 1)
        with self.watch([*source_pids, *received]) as paths:
            procs.thaw(mover)
            view = north.wait_migration(migration, 2 * LONG)
            self.assertEqual(view["state"], "done", view.get("error"))
        tap.stop()
        self.assertEqual(tap.dropped, 0)
        self.assert_runs_only(south)
        return tap, [paths[pid] for pid in source_pids], paths[received[0]]

    def test_no_plaintext_between_the_hypervisors(self):
        """On the cable and on each socket outside the movers there is ciphertext. To show that it would be
        seen: where the disk is copied under a fresh key, the receiving daemon does see what the guest
        wrote."""
        north = self.lab.north
        known = PATTERN.encode()
        self.new_guest(LUKS._replace(mib=24))
        self.assert_disk_works()
        tap, (sent,), received = self.copied([self.daemon(north)])
        self.assertEqual((tap.count(known), self.count(sent, known), self.count(received, known)), (0, 0, 0))
        for path in (sent, received):
            self.assertGreater(os.path.getsize(path), 4 * MIB)
        self.stop_guest()
        self.configure(north, pools=self.open_pool(north))
        self.assert_seen(known)

    def assert_seen(self, known):
        self.new_guest(PLAIN._replace(mib=24))
        self.assert_disk_works()
        tap, _, received = self.copied([])
        self.assertEqual(tap.count(known), 0)
        self.assertGreater(self.count(received, known), 3)
        self.stop_guest()


if __name__ == "__main__":
    vmcase.main()
