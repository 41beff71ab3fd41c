#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A VM with a TPM moves: the guest itself watches that its NV index and its PCR are those of before,
its keys and its state are on exactly one side afterwards, and whatever fails on the way, it never has
two TPMs, nor an empty one."""
import contextlib
import os
import re
import shutil
import signal
import socket
import unittest

import disk_copy_case
import key_case
import vmcase
from vmcase import LONG, MIB, LabError, procs, wait_for

from wiretap import Wiretap

SOUTH = r"^spiffe://south\.example/host/south: "
# What tests/guest/tpm.c writes to its NV index.
NV_VALUE = b"SEALIFT-KNOWN-NV-PLAINTEXT-5d3f7"
SHARED = ("disk.img", "raw")

# Stands for swtpm on one host, and changes what it is told of the key of its state on the way.
OTHER_SWTPM = """#!/bin/sh
n=$#
while [ $n -gt 0 ]; do
	n=$((n - 1)) word=$1
	shift
	case $word in
	--migration-key) {change} ;;
	*) set -- "$@" "$word" ;;
	esac
done
exec /usr/bin/swtpm "$@"
"""
NO_KEY = "n=$((n - 1)); shift"
OTHER_KEY = 'n=$((n - 1)); shift; set -- "$@" "$word" "pwdfile={file},mode=aes-256-cbc,kdf=sha512"'


class Tpm:
    """What a guest says of its TPM, and what both hosts have of it; for a KeyCase."""

    @classmethod
    def setUpClass(cls):
        if not shutil.which("swtpm"):
            raise unittest.SkipTest("there is no swtpm here")
        super().setUpClass()

    def text(self):
        return super().text() + "tpm = true;\n"

    def lab_is_suspect(self):
        for host in self.lab.hosts:
            for pid in self.swtpms(host):
                with contextlib.suppress(Exception):
                    procs.kill(pid)
        super().lab_is_suspect()

    def stop_at(self, host):
        self.drop_session()
        host.call("vm-stop", vm=self.vm)
        wait_for("end of QEMU and swtpm", lambda: not host.qemus() and not self.swtpms(host), LONG)

    def start_at(self, host):
        """Its NV index is as it was."""
        host.call("vm-start", text=self.text(), file="/nowhere/vm.conf")
        type(self).ticks = 0
        self.assertEqual(self.console(host, rb"tpm index=(\w+)"), [b"kept"])
        type(self).session = self.lab.walker(LONG)

    def restarted_guest(self, host):
        self.stop_at(host)
        self.start_at(host)

    def console(self, host, pattern):
        """What the guest says there next that matches: the groups."""
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as serial:
            serial.settimeout(LONG)
            serial.connect(host.vm(self.vm)["serial"])
            seen = b""
            # Whole lines only.
            while not (found := re.search(pattern + rb"\r?\n", seen)):
                chunk = serial.recv(4096)
                if not chunk:
                    raise LabError(f"the console of {self.vm} ended: {seen!r}")
                seen += chunk
            self.assertNotIn(b"tpm fatal", seen)
            return list(found.groups())

    def assert_tpm_goes_on(self, host):
        """NV index and PCR were found as the guest left them, at each look of its whole life."""
        words = self.console(host, rb"tpm t=(\d+) extends=(\d+) errors=(\d+)")
        ticks, extends, errors = map(int, words)
        self.assertEqual((extends, errors), (ticks, 0))
        self.assertGreater(ticks, self.ticks)
        type(self).ticks = ticks

    def state_path(self, host):
        return os.path.join(host.state, "tpm", self.uuid)

    def state_of(self, host):
        """Names of the files that it has there; None: no directory."""
        return sorted(os.listdir(self.state_path(host))) if os.path.isdir(self.state_path(host)) else None

    @staticmethod
    def swtpms(host):
        return [process.pid for process in procs.of_host(host)
                if "swtpm" in (process.name, *map(os.path.basename, process.arguments[:2]))]

    def leftovers(self, host, vm=None):
        found = super().leftovers(host, vm or self.vm)
        found += [f"swtpm {pid}" for pid in self.swtpms(host)]
        if self.state_of(host) is not None:
            found.append(f"state of its TPM: {self.state_of(host)}")
        return found

    def assert_runs_only(self, host, vm=None, session=None, pages=None):
        view = super().assert_runs_only(host, vm, session, pages)
        self.assert_one_tpm(host)
        self.assert_tpm_goes_on(host)
        return view

    def assert_one_tpm(self, host):
        """That of a twin ends with it."""
        with contextlib.suppress(LabError):
            wait_for("one swtpm", lambda: len(self.swtpms(host)) == 1, LONG)
        self.assertEqual(len(self.swtpms(host)), 1)
        self.assertIn("tpm2-00.permall", self.state_of(host))
        self.assertNotIn("new", self.state_of(host))
        self.assertEqual(os.stat(self.state_path(host)).st_mode & 0o777, 0o700)

    def assert_here(self, host, other_state="destroyed"):
        """All of it: the guest, its TPM, its keys."""
        self.assert_runs_only(host)
        self.assert_keys_at(host, other_state)

    def assert_sealed_at_rest(self):
        for host in self.lab.hosts:
            self.assert_nowhere(NV_VALUE, self.files_of(host))


class TpmCase(Tpm, key_case.KeyCase):
    """A guest with a TPM, and no disk unless a test wants one."""

    def new_guest(self, *disks):
        cls, north = type(self), self.lab.north
        self.stop_guest()
        cls.serial += 1
        cls.vm, cls.pages = f"tpmvm{cls.serial}", self.walker_mem * MIB // 4096
        cls.volumes = [(f"{cls.vm}-{volume}", kind) for volume, kind in disks]
        if disks:
            north.call("vm-create", text=self.text(), file="/nowhere/vm.conf")
        cls.uuid = north.call("vm-start", text=self.text(), file="/nowhere/vm.conf")["vm"]["uuid"]
        cls.ticks = 0
        self.assertEqual(self.console(north, rb"tpm index=(\w+)"), [b"new"])
        cls.session = self.lab.walker(LONG)
        cls.keys = list(north.keys_of(self.uuid))
        self.assertEqual(len(self.keys), 2 + len(disks))
        self.assert_tpm_goes_on(north)
        return north

    def assert_disk_works(self):
        if self.volumes:
            super().assert_disk_works()


class ThereAndBack(TpmCase):
    def test_tpm_only(self):
        north, south = self.lab.hosts
        self.new_guest()
        self.assertEqual({key["purpose"] for key in north.keys_of(self.uuid).values()},
                         {"tpm-file", "tpm-migration"})
        self.tapped_move(north, south)
        self.assert_here(south)
        self.assert_sealed_at_rest()
        # The south's now: it needs nobody else to start.
        self.restarted_guest(south)
        self.assert_here(south)
        self.moved(south, north)
        self.assert_here(north)
        self.restarted_guest(north)
        self.assert_here(north)
        self.moved(north, south)
        self.assert_here(south)
        self.assert_sealed_at_rest()

    def tapped_move(self, source, destination):
        # It is there to be found where it is in clear, by the same search.
        found = [name for name, _ in self.in_memory(self.swtpms(source)[0], NV_VALUE)]
        self.assertIn("raw", found)
        tap = Wiretap(self.lab, "tpm.pcap")
        tap.start()
        self.addCleanup(tap.close)
        self.moved(source, destination, bandwidth=48 * MIB)
        tap.stop()
        self.assertEqual(tap.dropped, 0)
        self.assertGreater(tap.size, self.walker_mem * MIB)
        self.assert_nowhere(NV_VALUE, [tap.path])

    def test_with_an_encrypted_disk_that_both_reach(self):
        north, south = self.lab.hosts
        self.new_guest(SHARED)
        self.moved(north, south)
        self.assert_here(south)
        self.restarted_guest(south)
        self.moved(south, north)
        self.assert_here(north)


class CopiedDisk(Tpm, disk_copy_case.DiskCase):
    """A disk that is copied meanwhile, under a key of the other host's own."""

    def new_guest(self, *disks):
        host = super().new_guest(*disks)
        cls = type(self)
        cls.ticks = 0
        cls.keys = list(host.keys_of(self.uuid))
        self.assertEqual(len(self.keys), 2 + len([disk for disk in self.disks if disk.luks]))
        return host

    def test_there_and_back(self):
        north, south = self.lab.hosts
        for disk in (disk_copy_case.PLAIN, disk_copy_case.LUKS):
            self.new_guest(disk)
            self.assert_runs_only(north)
            self.moved(north, south)
            self.assert_runs_only(south)
            self.restarted_guest(south)
            self.assert_runs_only(south)
            self.moved(south, north)
            self.assert_runs_only(north)
            self.stop_guest()


class Refused(TpmCase):
    """The guest stays at north with its TPM, and moves well afterwards."""

    def guest_at_north(self):
        if not self.session or not self.running_view(self.lab.north, self.vm):
            self.new_guest()

    def stays(self, text, category, exposed, **more):
        view = self.lab.north.wait_migration(self.migrate(*self.lab.hosts, **more), LONG)
        self.stayed(view, text, category, exposed)

    def stayed(self, view, text, category, exposed):
        north, south = self.lab.hosts
        self.assert_failed(view, "failed", text)
        self.assertEqual(view["error"]["category"], category)
        self.wait_outcome(north, view["migration"], "exposed" if exposed else "active")
        self.assert_runs_only(north)
        self.wait_keys(north, "active")
        south.keys_serve()
        self.assertLessEqual(set(self.states(south).values()), {"destroyed"})

    def works(self):
        """There and back."""
        for source, destination in (self.lab.hosts, self.lab.hosts[::-1]):
            self.moved(source, destination)
            self.assert_here(destination)

    def with_other_swtpm(self, host, change):
        """A host whose swtpm is another program while the block runs."""
        path = os.path.join(host.directory, "other-swtpm")
        with open(path, "w", encoding="ascii") as file:
            file.write(OTHER_SWTPM.format(change=change))
        os.chmod(path, 0o755)
        return self.configured(host, host.keys_text() + f'\nswtpm = "{path}";')

    def known_at_south(self, migration):
        return [view for view in self.lab.south.migrations() if view["migration"] == migration]

    def plant(self, content=b"somebody's"):
        """State of its TPM at south."""
        path = self.state_path(self.lab.south)
        os.makedirs(path, mode=0o700)
        with open(os.path.join(path, "tpm2-00.permall"), "wb") as file:
            file.write(content)

    def take_planted(self, content=b"somebody's"):
        """It is as it was: it was nobody's to destroy."""
        path = self.state_path(self.lab.south)
        self.assertEqual(self.state_of(self.lab.south), ["tpm2-00.permall"])
        with open(os.path.join(path, "tpm2-00.permall"), "rb") as file:
            self.assertEqual(file.read(), content)
        shutil.rmtree(path)

    def test_no_swtpm_at_south(self):
        self.guest_at_north()
        with self.configured(self.lab.south, self.lab.south.keys_text() + '\nswtpm = "/nowhere/swtpm";'):
            view = self.lab.north.wait_migration(self.migrate(*self.lab.hosts), LONG)
            # Before anything was reserved, and without the names of south's files.
            self.assertEqual(self.known_at_south(view["migration"]), [])
            self.assertNotIn("/nowhere", view["error"]["text"])
            self.assertIn("cannot run /nowhere/swtpm", self.lab.south.log())
            self.stayed(view, SOUTH + "the VM has a TPM, and spiffe://south.example/host/south cannot run one$",
                        "unavailable", False)
        self.works()

    def test_state_at_south(self):
        self.guest_at_north()
        self.plant()
        view = self.lab.north.wait_migration(self.migrate(*self.lab.hosts), LONG)
        self.assertEqual(self.known_at_south(view["migration"]), [])
        self.take_planted()
        self.stayed(view, SOUTH + "there is state of the VM's TPM on spiffe://south.example/host/south already$",
                    "conflict", False)
        self.works()

    def test_state_at_south_that_comes_after_the_offer(self):
        self.guest_at_north()
        migration, mover = self.hold_prepare(*self.lab.hosts)
        self.plant()
        procs.thaw(mover)
        view = self.lab.north.wait_migration(migration, LONG)
        wait_for("end at south", lambda: self.view(self.lab.south, migration).get("state") == "failed", LONG)
        self.take_planted()
        self.stayed(view, SOUTH + "TPM: there is state of its TPM on this host already$", "conflict", True)
        self.works()

    def test_state_that_travels_in_clear(self):
        """North's swtpm forgets its key: south's guard refuses what it would hand over."""
        north = self.lab.north
        with self.with_other_swtpm(north, NO_KEY):
            self.new_guest()
            self.stays(SOUTH + ".*guard-device-field-tpm", "peer", True)
        self.restarted_guest(north)
        self.works()

    def test_state_under_another_key(self):
        """South's swtpm cannot read it, and does not make up for it."""
        self.guest_at_north()
        other = os.path.join(self.lab.directory, "other.key")
        with open(other, "w", encoding="ascii") as file:
            file.write("another passphrase than the one that travels")
        os.chmod(other, 0o644)
        with self.with_other_swtpm(self.lab.south, OTHER_KEY.replace("{file}", other)):
            self.stays(SOUTH + "the hypervisor here refused the stream$", "hypervisor", True)
        self.works()

    def test_no_key_manager_at_south(self):
        self.guest_at_north()
        with self.no_keyd(self.lab.south):
            view = self.lab.north.wait_migration(self.migrate(*self.lab.hosts), LONG)
        self.stayed(view, SOUTH + "the VM's keys travel with it, and the key manager of .* does not serve",
                    "unavailable", False)
        self.works()

    def test_cancelled_after_the_package(self):
        north, south = self.lab.hosts
        self.guest_at_north()
        migration, _ = self.hold_transfer(north, south)
        self.wait_keys(south, "imported")
        self.assertEqual(len(self.swtpms(south)), 1)
        north.call("cancel", migration=migration)
        self.assertEqual(north.wait_migration(migration, LONG)["state"], "cancelled")
        self.wait_outcome(north, migration, "exposed")
        self.assert_here(north)
        self.works()

    def test_cut_in_transfer(self):
        self.guest_at_north()
        migration, _ = self.hold_transfer(*self.lab.hosts)
        self.drop_session()
        self.lab.link("south", False)
        view = self.lab.north.wait_migration(migration, LONG)
        self.lab.link("south", True)
        self.assert_failed(view, "failed", "connection")
        type(self).session = self.lab.walker(LONG)
        self.wait_outcome(self.lab.north, migration, "exposed")
        self.assert_here(self.lab.north)
        self.works()


class Killed(TpmCase):
    """Something dies in the middle."""

    def hold(self, phase):
        if not self.session or not self.running_view(self.lab.north, self.vm):
            self.new_guest()
        self.migration, self.frozen = getattr(self, "hold_" + phase)(*self.lab.hosts, vm=self.vm)

    def release(self):
        if self.frozen:
            procs.thaw(self.frozen)

    def ends_at(self, host):
        """And moves well then: back, or there and back."""
        north, south = self.lab.hosts
        view = north.wait_migration(self.migration, LONG)
        self.assertEqual(view["state"], "done" if host is south else "failed", view)
        # Undone before anything came, south never had the keys.
        self.wait_keys(host, "active")
        self.assert_runs_only(host)
        other = south if host is north else north
        wait_for("end of its keys", lambda: set(self.states(other).values()) <= {"destroyed"}, LONG)
        for source, destination in (self.lab.hosts, self.lab.hosts[::-1])[host is south:]:
            self.moved(source, destination)
            self.assert_here(destination)

    def kill_engine(self, host):
        """Its restart begins while the other one has noticed, or has not."""
        host.stop(signal.SIGKILL)
        self.release()
        host.start()
        host.keys_serve(LONG)

    def kill_swtpm(self, host):
        pids = wait_for("one swtpm", lambda: len(self.swtpms(host)) == 1 and self.swtpms(host), LONG)
        procs.kill(pids[0])

    def hold_some_transfer(self, source, destination, **more):
        """It ends by itself, some seconds later."""
        migration = self.migrate(source, destination, bandwidth=8 * MIB, **more)
        self.wait_step(destination, migration, "loading")
        self.wait_step(source, migration, "transfer")
        return migration, None

    def test_swtpm_at_south_in_transfer(self):
        self.hold("some_transfer")
        self.kill_swtpm(self.lab.south)
        self.ends_at(self.lab.north)

    def test_swtpm_at_north_in_transfer(self):
        """The guest runs on without a TPM; with its next start it has its own again."""
        north = self.lab.north
        self.hold("some_transfer")
        self.kill_swtpm(north)
        view = north.wait_migration(self.migration, LONG)
        self.assertEqual(view["state"], "failed", view)
        self.wait_keys(north, "active")
        self.assertTrue(procs.guest_runs(north.vm(self.vm)["pid"]))
        self.assertIn("tpm2-00.permall", self.state_of(north))
        self.assertEqual(north.refusal("migrate", vm=self.vm, destination="south"), {
            "category": "conflict", "text": f"the swtpm of VM {self.vm} has ended: its TPM is back once it "
                                            "is stopped and started"})
        # So says an engine that finds the VM again, too.
        self.restart(north)
        wait_for("its VM", lambda: "serial" in north.vm(self.vm), LONG)
        self.assertEqual(north.refusal("migrate", vm=self.vm, destination="south")["category"], "conflict")
        self.restarted_guest(north)
        self.ends_at(north)


FAULTS = {"north": ("prepare", "transfer", "committed"), "south": ("prepare", "transfer", "committed")}


def add_faults():
    def make(name, phase):
        def test(self):
            north, south = self.lab.hosts
            self.hold(phase)
            host = north if name == "north" else south
            self.kill_engine(host)
            self.ends_at(south if phase == "committed" else north)
        return test

    for name, phases in FAULTS.items():
        for phase in phases:
            setattr(Killed, f"test_engine_at_{name}_in_{phase}", make(name, phase))


add_faults()

if __name__ == "__main__":
    vmcase.main()
