#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""VMs with a TPM with a real engine, key manager, QEMU, swtpm and guest: made at the first start, the
same one at the next, found again by a new engine, and never replaced by an empty one."""

import contextlib
import os
import re
import shutil
import signal
import socket
import sys
import unittest

import vmcase
from vmcase import LabError, wait_for

import lab

UUID = "7e57e2c5-0000-4000-8000-0000000007b1"
OTHER = "7e57e2c5-0000-4000-8000-0000000007b2"


class Tpm(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if not shutil.which("swtpm"):
            raise unittest.SkipTest("there is no swtpm here")
        cls.lab = lab.Lab()
        cls.addClassCleanup(cls.lab.close)
        cls.host = cls.lab.north
        cls.root = os.path.join(cls.host.directory, "root.key")
        lab.run([os.path.join(cls.lab.bin, "sealift"), "key", "root", "init", cls.root])
        cls.keys = f'keys = {{ root = "{cls.root}"; }};'
        cls.host.write_config(cls.keys)
        cls.lab.start()
        cls.serving()

    @classmethod
    def serving(cls):
        def look():
            with contextlib.suppress(LabError):
                return cls.host.call("key-backends")
            return None
        return wait_for("answer of the key manager", look, 20)

    def tearDown(self):
        for vm in self.host.call("vm-list")["vms"]:
            if vm.get("pid"):
                self.host.call("vm-stop", vm=vm["name"])

    def text(self, name="tpm1", uuid=UUID, tpm="true"):
        return f"""name = "{name}";
uuid = "{uuid}";
machine = "pc-q35-10.0";
cpu = "{'max' if self.lab.accel == 'tcg' else 'host'}";
memory = "160M";
kernel = "{self.lab.guest}/vmlinuz";
initrd = "{self.lab.guest}/initrd.img";
append = "console=ttyS0 quiet walker.mem=8 walker.rate=50";
populate = "none";
tpm = {tpm};
"""

    def start(self, **more):
        return self.host.call("vm-start", text=self.text(**more), file="/nowhere/vm.conf")

    def refused(self, category, words, **more):
        refusal = self.host.refusal("vm-start", text=self.text(**more), file="/nowhere/vm.conf")
        self.assertEqual(refusal["category"], category, refusal)
        self.assertIn(words, refusal["text"])
        self.assertNotIn("\n", refusal["text"])
        self.assertEqual(self.host.qemus(), [])

    def console(self, pattern, name="tpm1"):
        """What the guest says of its TPM."""
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as serial:
            serial.settimeout(60)
            serial.connect(self.host.vm(name)["serial"])
            seen = b""
            # Whole lines only: a word may come in pieces.
            while not (found := re.search(pattern + rb"\r?\n", seen)):
                chunk = serial.recv(4096)
                if not chunk:
                    raise LabError(f"the console of {name} ended: {seen!r}")
                seen += chunk
            self.assertNotIn(b"tpm fatal", seen)
            return found

    def swtpms(self):
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                with open(f"/proc/{pid}/cmdline", "rb") as file:
                    words = file.read().split(b"\0")
                if words[0].endswith(b"/swtpm") and self.is_ours(pid):
                    found.append(int(pid))
        return found

    def is_ours(self, pid):
        return any(self.host.directory in os.readlink(f"/proc/{pid}/fd/{fd}")
                   for fd in os.listdir(f"/proc/{pid}/fd"))

    def state(self, uuid=UUID):
        for folder, _, files in os.walk(self.host.directory):
            if os.path.basename(folder) == uuid and "tpm2-00.permall" in files:
                return folder
        return None

    def test_the_life_of_a_tpm(self):
        self.start()
        self.assertEqual(self.console(rb"tpm index=(\w+)").group(1), b"new")
        self.console(rb"tpm t=2 extends=2 errors=0")
        keys = self.host.call("key-list", vm=UUID)["keys"]
        self.assertEqual(sorted((k["purpose"], k["slot"], k["state"]) for k in keys),
                         [("tpm-file", "tpm0", "active"), ("tpm-migration", "tpm0", "active")])
        self.assertEqual(len(self.swtpms()), 1)
        self.assertEqual(os.stat(self.state()).st_mode & 0o777, 0o700)
        self.assertNotIn("new", os.listdir(self.state()))
        self.host.call("vm-stop", vm="tpm1")
        wait_for("end of swtpm", lambda: not self.swtpms(), 10)
        # The next life has the same TPM, and outlives its engine.
        self.start()
        self.assertEqual(self.console(rb"tpm index=(\w+)").group(1), b"kept")
        swtpm = self.swtpms()
        self.host.stop(signal.SIGKILL)
        self.host.start()
        self.serving()
        wait_for("VM", lambda: self.host.vm("tpm1").get("pid"), 20)
        self.assertEqual(self.swtpms(), swtpm)
        self.console(rb"tpm t=\d+ extends=\d+ errors=0")
        self.host.call("vm-stop", vm="tpm1")
        wait_for("end of swtpm", lambda: not self.swtpms(), 10)
        # State that is gone is not made up for.
        folder = self.state()
        os.rename(folder, folder + ".away")
        self.refused("denied", "it would start with an empty one")
        os.rename(folder + ".away", folder)
        # Nor keys.
        for key in keys:
            self.host.call("key-destroy", key=key["id"])
        self.refused("denied", "the key manager has no tpm-migration key")

    def test_without_swtpm_or_keys(self):
        self.host.stop()
        self.host.write_config(self.keys + ' swtpm = "/nowhere/swtpm";')
        self.host.start()
        self.serving()
        self.refused("unavailable", "cannot run /nowhere/swtpm", name="tpm2", uuid=OTHER)
        self.assertEqual(self.host.call("key-list", vm=OTHER)["keys"], [])
        checks = {c["name"]: c["ok"] for c in self.host.call("doctor")["checks"]}
        self.assertFalse(checks["tpm"])
        self.host.stop()
        self.host.write_config()
        self.host.start()
        self.refused("unavailable", "needs a key manager", name="tpm2", uuid=OTHER)
        self.host.stop()
        self.host.write_config(self.keys)
        self.host.start()
        self.serving()


if __name__ == "__main__":
    vmcase.main()
