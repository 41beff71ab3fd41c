#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""New keys for encrypted disks of a guest that works: what it reads and writes, what the old key, with
a kept header, opens afterwards, what the key manager says; engines and hypervisors that are killed at
each stage; a pool that is full; and what begins by itself after a move."""
import contextlib
import os
import re
import shutil
import signal
import threading

import key_case
import vmcase
from vmcase import LONG, MIB, LabError, procs, run, wait_for

from lab import PATTERN

HIDDEN = ".sealift-rekey."
HEADER = 2 * MIB


class RekeyCase(key_case.KeyCase):
    """Questions about one guest at north."""

    @property
    def pool(self):
        return os.path.join(self.lab.directory, "shared")

    def hidden(self):
        return [name for name in os.listdir(self.pool) if name.startswith((HIDDEN, "rekey-", ".sealift-new"))]

    def versions(self, host, key=None):
        """{version: state} of the guest's first key."""
        keys = host.call("key-list", vm=self.uuid)["keys"]
        return {each["version"]: each["state"] for each in keys if each["id"] == (key or self.keys[0])}

    def used_version(self, host, disk=0):
        return host.call("vm-show", vm=self.vm)["manifest"]["disks"][disk].get("key_version", 0) or 1

    def stage(self, host):
        view = host.vm(self.vm) or {}
        return view.get("rekey", {}).get("stage")

    def begin(self, host):
        """In the background: whoever asks may lose the engine."""
        def ask():
            with contextlib.suppress(LabError, OSError, ValueError):
                host.call("vm-rekey", vm=self.vm)
        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        return thread

    def wait_stage(self, host, *stages):
        wait_for(" or ".join(stages), lambda: self.stage(host) in stages, LONG, 0.005)

    def hold_copy(self, host):
        """The copy has begun, or is about to, and QEMU stands still."""
        thread, pid = self.begin(host), host.vm(self.vm)["pid"]
        self.wait_stage(host, "new image")
        self.freeze(pid)
        self.wait_stage(host, "copy")
        return thread, pid

    def hold_destroy(self, host):
        """The guest has its new image; what was before is still there."""
        thread = self.begin(host)
        self.wait_stage(host, "copy", "hold", "switch")
        keyd = self.keyd(host)
        self.freeze(keyd)
        self.wait_stage(host, "destroy")
        return thread, keyd

    def crash(self, host, *frozen):
        host.stop(signal.SIGKILL)
        for pid in frozen:
            procs.thaw(pid)
        host.start()
        host.keys_serve()

    def settled(self, host):
        """Nothing is under way or left; the volume is opened by the version that the row says."""
        wait_for("end of the change", lambda: not self.stage(host) and not self.hidden(), LONG)
        used = self.used_version(host)
        self.assertEqual(self.versions(host)[used] in ("active", "deactivated"), True)
        self.assertEqual({v: s for v, s in self.versions(host).items() if v < used and s != "destroyed"}, {})
        return used

    def assert_goes_on(self, host):
        """The guest runs with what it wrote, and does so again from its disk alone."""
        self.assert_runs_only(host)
        self.restarted_guest(host)
        self.assert_runs_only(host)


class Rekey(RekeyCase):
    def assert_disk_has(self, value, volume, kind, there):
        """Whether a key opens the volume, and what it then reads."""
        plain = os.path.join(self.lab.directory, "plain")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(plain)
        secret = os.path.join(self.lab.directory, "secret")
        with open(secret, "wb") as file:
            file.write(key_case.base64.b64encode(value))
        path = os.path.join(self.pool, volume)
        opts = (f"driver=qcow2,encrypt.format=luks,encrypt.key-secret=s,file.filename={path}"
                if kind == "qcow2" else f"driver=luks,key-secret=s,file.filename={path}")
        done = key_case.subprocess.run(
            ["qemu-img", "convert", "-O", "raw", "--object", f"secret,id=s,file={secret}", "--image-opts",
             opts, plain], check=False, capture_output=True)
        os.unlink(secret)
        found = not done.returncode and key_case.search(plain, PATTERN.encode()) > 0
        self.assertEqual(found, there, done.stderr)
        return done.returncode

    def check_kind(self, volume, kind):
        north = self.new_guest((volume, kind))
        volume = self.volumes[0][0]
        path = os.path.join(self.pool, volume)
        self.assert_disk_works()
        old = self.values(north)[self.keys[0]]
        with open(path, "rb") as file:
            # LUKS 1: the number of 512-byte sectors before the data, big-endian; none of these go along.
            header = file.read(HEADER)
            header = header[:int.from_bytes(header[104:108], "big") * 512]
        words = north.cli("vm", "rekey", self.vm)
        self.assertRegex(words, f"^rekeyed {re.escape(volume)} key {self.keys[0]} version 2;")
        self.assertEqual(self.versions(north), {1: "destroyed", 2: "active"})
        self.assertEqual((self.used_version(north), self.hidden()), (2, []))
        self.assertEqual(self.session.check(), (self.pages, 0))
        entries = north.key_log(self.keys[0])
        last = [entry for entry in entries if entry["action"] == "wiped"]
        self.assertEqual([entry["version"] for entry in last], [1])
        self.assertIn(f"rekey of {self.vm}", last[0]["who"])
        self.assertIn("replaced by version 2", last[0]["detail"])
        self.assert_goes_on(north)
        new = self.values(north)[self.keys[0]]
        self.assertNotEqual(new, old)
        # Again, of a guest that was started with the new key, by the other command.
        told = north.call("vm-rekey", vm=self.vm, disk=volume)["disks"]
        self.assertEqual([disk["version"] for disk in told], [3])
        self.assert_goes_on(north)
        self.stop_guest()
        newest = self.values(north)[self.keys[0]]
        # From outside: the newest reads it; the first does not, nor with its own header put back.
        self.assert_disk_has(newest, volume, kind, True)
        self.assertNotEqual(self.assert_disk_has(old, volume, kind, False), 0)
        if kind == "raw":
            copy = os.path.join(self.pool, "copy.img")
            shutil.copy(path, copy)
            self.addCleanup(os.unlink, copy)
            with open(copy, "r+b") as file:
                file.write(header)
            self.assertEqual(self.assert_disk_has(old, "copy.img", kind, False), 0)

    def test_raw(self):
        self.check_kind("a.img", "raw")

    def test_qcow2(self):
        self.check_kind("b.qcow2", "qcow2")

    def test_two_disks(self):
        north = self.new_guest(("c.img", "raw"), ("d.qcow2", "qcow2"))
        told = north.call("vm-rekey", vm=self.vm)["disks"]
        self.assertEqual([disk["version"] for disk in told], [2, 2])
        self.second_disk(north)
        self.assert_goes_on(north)
        self.second_disk(north)

    def test_what_is_refused(self):
        north = self.new_guest()
        for arguments, category, words in (({"vm": "nobody"}, "not-found", "no VM"),
                                           ({"vm": self.vm, "disk": "x"}, "conflict", "no encrypted disk x"),
                                           ({"vm": self.vm, "cancel": True}, "conflict", "no change of key"),
                                           ({"vm": self.vm, "disk": 1}, "usage", "wrong type")):
            refusal = north.refusal("vm-rekey", **arguments)
            self.assertEqual(refusal["category"], category, refusal)
            self.assertIn(words, refusal["text"])
        # Meanwhile it does not leave, nor is it begun twice; given up, the old disk goes on.
        thread, pid = self.hold_copy(north)
        for command, more in (("migrate", {"destination": "south"}), ("vm-rekey", {})):
            refusal = north.refusal(command, vm=self.vm, **more)
            self.assertEqual(refusal["category"], "conflict")
            self.assertIn("being changed", refusal["text"])
        procs.thaw(pid)
        with contextlib.suppress(LabError):
            north.call("vm-rekey", vm=self.vm, cancel=True)
        thread.join(LONG)
        self.settled(north)
        self.assert_goes_on(north)
        north.call("vm-stop", vm=self.vm)
        self.assertIn("not running", north.refusal("vm-rekey", vm=self.vm)["text"])
        type(self).vm = None

    def test_a_full_pool(self):
        north = self.lab.north
        self.stop_guest()
        run(["mount", "-t", "tmpfs", "-o", "size=56m,mode=777", "none", self.pool])
        try:
            # Its view of mounts is that of its start.
            self.restart(north)
            self.new_guest()
            with open(os.path.join(self.pool, "filler"), "wb") as file:
                file.write(b"x" * 24 * MIB)
            refusal = north.refusal("vm-rekey", vm=self.vm)
            self.assertEqual(refusal["category"], "limit", refusal)
            self.assertRegex(refusal["text"], "goes on with its old key: a second image is needed: .* free$")
            self.assertEqual((self.versions(north), self.hidden()), ({1: "active"}, []))
            self.assert_goes_on(north)
            os.unlink(os.path.join(self.pool, "filler"))
            north.call("vm-rekey", vm=self.vm)
            self.assert_goes_on(north)
            self.stop_guest()
        finally:
            run(["umount", "-l", self.pool])
            self.restart(north)

    @staticmethod
    def restart(host):
        host.stop()
        host.start()
        host.keys_serve()


class Killed(RekeyCase):
    def test_engine_during_the_image(self):
        north = self.new_guest()
        self.begin(north)
        self.wait_stage(north, "new image")
        self.crash(north)
        self.settled(north)
        self.assert_goes_on(north)
        self.go_again(north)

    def go_again(self, host):
        """What was left undone is done by the same command."""
        told = host.call("vm-rekey", vm=self.vm)["disks"]
        self.assertEqual(self.settled(host), told[0]["version"])
        self.assertEqual(self.versions(host)[told[0]["version"]], "active")
        self.assert_goes_on(host)

    def test_engine_during_the_copy(self):
        north = self.new_guest()
        _, pid = self.hold_copy(north)
        self.crash(north, pid)
        self.assertEqual(self.settled(north), 1)
        self.assert_goes_on(north)
        self.go_again(north)

    def test_engine_before_the_old_key_is_destroyed(self):
        north = self.new_guest()
        _, keyd = self.hold_destroy(north)
        self.crash(north, keyd)
        self.assertEqual(self.settled(north), 2)
        self.assertEqual(self.versions(north), {1: "destroyed", 2: "active"})
        self.assert_goes_on(north)

    def test_engine_at_any_time(self):
        """By the stages as they are seen, whichever comes first: the last ones are short."""
        for stages in (("hold", "switch", "destroy"), ("copy",), ("switch", "destroy"), ("new key", "new image")):
            with self.subTest(stages):
                north = self.new_guest()
                thread = self.begin(north)
                with contextlib.suppress(LabError):
                    wait_for("stage", lambda s=stages, t=thread: self.stage(north) in s or not t.is_alive(),
                             LONG, 0.0005)
                self.crash(north)
                self.settled(north)
                self.assert_goes_on(north)

    def test_hypervisor_during_the_copy(self):
        north = self.new_guest()
        thread, pid = self.hold_copy(north)
        self.started_again(north, pid, thread)
        self.assertEqual(self.used_version(north), 1)

    def test_hypervisor_before_the_old_key_is_destroyed(self):
        north = self.new_guest()
        thread, keyd = self.hold_destroy(north)
        pid = north.vm(self.vm)["pid"]
        procs.kill(pid)
        wait_for("end of QEMU", lambda: not north.qemus(), LONG)
        procs.thaw(keyd)
        thread.join(LONG)
        self.started_again(north, None, thread)
        self.assertEqual(self.used_version(north), 2)

    def test_both_after_the_exchange(self):
        north = self.new_guest()
        _, keyd = self.hold_destroy(north)
        procs.kill(north.vm(self.vm)["pid"])
        self.crash(north, keyd)
        self.started_again(north, None, None)
        self.assertEqual(self.used_version(north), 2)

    def started_again(self, host, pid, thread):
        self.drop_session()
        if pid:
            procs.kill(pid)
        wait_for("end of QEMU", lambda: not host.qemus(), LONG)
        if thread:
            thread.join(LONG)
        wait_for("stopped", lambda: host.vm(self.vm)["state"] in ("stopped", "failed"), LONG)
        host.call("vm-start", text=self.text(), file="/nowhere/vm.conf")
        type(self).session = self.lab.walker(LONG)
        self.settled(host)
        self.assert_goes_on(host)


class AfterMove(RekeyCase):
    """South changes what came with its key by itself; north does not."""

    def test_there_and_back(self):
        north, south = self.lab.hosts
        south.write_config(self.config + south.keys_text(extra="rekey_after_move = true;"))
        south.stop()
        south.start()
        south.keys_serve()
        self.new_guest()
        self.moved(north, south)
        wait_for("new key", lambda: self.versions(south).get(2) == "active" and not self.hidden() and
                 not self.stage(south), LONG)
        wait_for("its end", lambda: not south.vm(self.vm).get("exposed"), LONG)
        self.assertEqual(self.versions(south), {1: "destroyed", 2: "active"})
        who = {entry["who"] for entry in south.key_log(self.keys[0]) if entry["action"] == "rotated"}
        self.assertEqual(len(who), 1)
        self.assertIn("by itself", who.pop())
        self.assert_goes_on(south)
        # Home, where nothing happens by itself: it says so until a person does it.
        self.moved(south, north)
        exposed = wait_for("word of it", lambda: north.vm(self.vm).get("exposed"), LONG)
        self.assertEqual((exposed["domain"], exposed["disks"]), ("south.example", [self.volumes[0][0]]))
        self.assertIn("south.example could still read", north.cli("vm", "show", self.vm))
        north.call("vm-rekey", vm=self.vm)
        wait_for("its end", lambda: not north.vm(self.vm).get("exposed"), LONG)
        self.assertNotIn("could still read", north.cli("vm", "show", self.vm))
        self.assertEqual(self.versions(north)[3], "active")
        self.assert_goes_on(north)


if __name__ == "__main__":
    vmcase.main()
