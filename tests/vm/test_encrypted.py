#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Encrypted disks with a real engine, key manager, QEMU and guest: made, started, written, read again
after a stop; what lies on the host's disk; keys that are wrong, retired or away; engines and key
managers that are killed."""

import contextlib
import glob
import gzip
import json
import os
import re
import signal
import socket
import sys
import threading
import unittest

import vmcase
from vmcase import LabError, wait_for

import lab

PATTERN = b"SEALIFT-DISK-PLAINTEXT-51c0"
PASSPHRASE = re.compile(rb"(?<![A-Za-z0-9+/=])[A-Za-z0-9+/]{43}=(?![A-Za-z0-9+/=])")
MIB = 1 << 20
INIT = f"""#!/bin/sh
b=/bin/busybox
$b mount -t devtmpfs none /dev
$b mount -t proc none /proc
exec </dev/console >/dev/console 2>&1
while read -r module; do $b insmod /modules/$module; done </modules/order
read -r line </proc/cmdline
case $line in
*test.write*) $b yes {PATTERN.decode()} | $b dd of=/dev/vda bs=64k count=16 iflag=fullblock conv=fsync ;;
esac
while :; do
	$b echo 3 >/proc/sys/vm/drop_caches
	echo "disk sum=$($b dd if=/dev/vda bs=64k count=16 | $b md5sum)"
	$b sleep 1
done
"""


def cpio(name, content):
    """One file as an initramfs: what comes later in an initrd replaces what came before."""
    def entry(entry_name, mode, data):
        fields = (0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(entry_name) + 1, 0)
        head = b"070701" + b"".join(b"%08X" % field for field in fields)
        head += entry_name.encode() + b"\0"
        return head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4)
    return entry(name, 0o100755, content) + entry("TRAILER!!!", 0, b"")


def uuid(number):
    return f"7e57e2c5-0000-4000-8000-{number:012}"


class Encrypted(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = lab.Lab()
        cls.addClassCleanup(cls.lab.close)
        cls.host = cls.lab.north
        cls.shared = os.path.join(cls.lab.directory, "shared")
        cls.root = os.path.join(cls.host.directory, "root.key")
        lab.run([os.path.join(cls.lab.bin, "sealift"), "key", "root", "init", cls.root])
        cls.host.write_config(f'keys = {{ root = "{cls.root}"; }};')
        cls.initrd = os.path.join(cls.lab.directory, "initrd.img")
        with open(os.path.join(cls.lab.guest, "initrd.img"), "rb") as old, open(cls.initrd, "wb") as new:
            data = old.read()
            new.write(data + b"\0" * (-len(data) % 4) + gzip.compress(cpio("init", INIT.encode())))
        os.chmod(cls.initrd, 0o644)
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

    # --- what is used again and again ---

    def text(self, number=1, disks=None, append="", memory=160):
        disks = disks or self.disk(f"vm{number}.img")
        return f"""name = "enc{number}";
uuid = "{uuid(number)}";
machine = "pc-q35-10.0";
cpu = "{'max' if self.lab.accel == 'tcg' else 'host'}";
memory = "{memory}M";
kernel = "{self.lab.guest}/vmlinuz";
initrd = "{self.initrd}";
append = "console=ttyS0 quiet {append}";
disks = ( {disks} );
populate = "none";
"""

    @staticmethod
    def disk(volume, more='encryption = "luks";', kind="raw"):
        return f'{{ pool = "shared"; volume = "{volume}"; format = "{kind}"; size = "4M"; {more} }}'

    def ask(self, command, text, **more):
        return self.host.call(command, text=text, file="/nowhere/vm.conf", **more)

    def refused(self, command, text, category, words, **more):
        refusal = self.host.refusal(command, text=text, file="/nowhere/vm.conf", **more)
        self.assertEqual(refusal["category"], category, refusal)
        self.assertIn(words, refusal["text"])
        self.assertNotIn("\n", refusal["text"])

    def create(self, text, **more):
        return self.ask("vm-create", text, **more)["disks"]

    def key(self, key, version=0):
        return self.host.call("key-show", key=key, version=version)["key"]

    def pooled(self):
        return sorted(os.listdir(self.shared))

    def nothing_left(self, number):
        self.assertIsNone(self.host.vm(f"enc{number}"))
        self.assertEqual(self.host.qemus(), [])

    def keyd(self):
        pid = self.host.engine.pid
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            for child in map(int, file.read().split()):
                with open(f"/proc/{child}/comm", encoding="ascii") as name:
                    if name.read().strip() == "sealift-keyd":
                        return child
        return None

    def sum(self, name):
        """What the guest reads from its disk."""
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as serial:
            serial.settimeout(60)
            serial.connect(self.host.vm(name)["serial"])
            seen = b""
            while not (found := re.search(rb"disk sum=([0-9a-f]{32})  -", seen)):
                chunk = serial.recv(4096)
                if not chunk:
                    raise LabError(f"the console of {name} ended: {seen!r}")
                seen += chunk
            return found.group(1)

    # --- tests ---

    def test_the_life_of_an_encrypted_disk(self):
        plain = self.disk("plain.img", more="")
        made = self.create(self.text(1))[0]
        self.assertEqual((made["made"], made["encryption"]), (True, "luks"))
        self.assertEqual(self.create(self.text(2, plain))[0].get("key"), None)
        key = self.key(made["key"])
        self.assertEqual((key["slot"], key["vm"], key["state"]), ("vm1.img", uuid(1), "active"))
        self.ask("vm-start", self.text(1, append="test.write"))
        self.ask("vm-start", self.text(2, plain, append="test.write"))
        self.assert_no_secret("enc1")
        written = self.sum("enc1")
        self.assertEqual(self.sum("enc2"), written)
        # Its key cannot go along without a certificate to sign for it: the guest stays as it is.
        migration = self.host.call("migrate", vm="enc1", destination="south")["migration"]
        view = self.host.wait_migration(migration)
        self.assertEqual(view["state"], "failed", view)
        self.assertRegex(view["error"]["text"], "^key manager: .*certificate")
        for name in ("enc1", "enc2"):
            self.host.call("vm-stop", vm=name)
        self.assertEqual(lab.search(os.path.join(self.shared, "vm1.img"), PATTERN), 0)
        self.assertGreater(lab.search(os.path.join(self.shared, "plain.img"), PATTERN), 1000)
        # Again, with its key named; the engine dies while it runs, and finds it again without keys.
        named = self.disk("vm1.img", f'encryption = "luks"; key = "{made["key"]}";')
        self.ask("vm-start", self.text(1, named))
        pid = self.host.vm("enc1")["pid"]
        os.rename(self.root, self.root + ".away")
        self.host.stop(signal.SIGKILL)
        try:
            self.host.start()
            vm = wait_for("VM", lambda: self.host.vm("enc1").get("pid") and self.host.vm("enc1"), 20)
            self.assertEqual((vm["pid"], vm["state"]), (pid, "running"))
            self.assertEqual(self.sum("enc1"), written)
            self.refused("vm-start", self.text(3, self.disk("vm1.img")), "unavailable", "key manager")
        finally:
            os.rename(self.root + ".away", self.root)
            self.serving()
        self.assertEqual(self.host.call("key-verify")["done"], True)
        actions = [entry["action"] for entry in self.host.call("key-audit")["entries"]
                   if entry["key"] == made["key"]]
        self.assertEqual(actions, ["created", "opened", "opened", "opened"])

    def assert_no_secret(self, name):
        """Nowhere that people or programs of this host look."""
        vm = self.host.vm(name)
        for pid in (vm["pid"], self.host.engine.pid, self.keyd()):
            for part in ("cmdline", "environ"):
                with open(f"/proc/{pid}/{part}", "rb") as file:
                    self.assertIsNone(PASSPHRASE.search(file.read()), part)
        places = [path for path in glob.glob(f"{self.host.directory}/**", recursive=True)
                  if os.path.isfile(path) and not path.endswith("root.key")]
        self.assertTrue(any(path.endswith("sealift.db") for path in places))
        self.assertIn(self.host.log_path, places)
        for path in places:
            with open(path, "rb") as file:
                self.assertIsNone(PASSPHRASE.search(file.read()), path)
        # Descriptors that QEMU still has of it read zeros: it was wiped.
        secrets = 0
        for link in os.listdir(f"/proc/{vm['pid']}/fd"):
            path = f"/proc/{vm['pid']}/fd/{link}"
            with contextlib.suppress(OSError):
                if "memfd:sealift-key" in os.readlink(path):
                    secrets += 1
                    with open(path, "rb") as file:
                        self.assertEqual(file.read().strip(b"\0"), b"")
        self.assertGreater(secrets, 0)

    def test_the_search_for_secrets_finds_one(self):
        self.assertTrue(PASSPHRASE.search(b"x\0AbCdEfGhIjKlMnOpQrStUvWxYz0123456789+/AbCdE=\0"))

    def test_every_kind_is_made_once(self):
        disks = ", ".join((self.disk("a.img"), self.disk("b.qcow2", kind="qcow2"),
                           self.disk("c.img", more="")))
        made = self.create(self.text(10, disks), sparse=True)
        self.assertEqual([d["made"] for d in made], [True] * 3)
        self.assertEqual([d["size_bytes"] for d in made], [4 * MIB] * 3)
        again = self.create(self.text(10, disks))
        self.assertEqual([d["made"] for d in again], [False] * 3)
        keys = self.host.call("key-list", vm=uuid(10))["keys"]
        self.assertEqual([k["slot"] for k in keys], ["a.img", "b.qcow2"])
        self.ask("vm-start", self.text(10, disks))
        self.host.call("vm-stop", vm="enc10")

    def test_the_command(self):
        path = os.path.join(self.lab.directory, "vm11.conf")
        with open(path, "w", encoding="utf-8") as file:
            file.write(self.text(11, self.disk("vm11.img", more="")))
        words = self.host.cli("vm", "create", path, "--encrypted", "--sparse")
        self.assertRegex(words, r"^made shared/vm11.img 4.* key [0-9a-f]{32}\n.*encryption = \"luks\"")
        # A description that does not say so would have the guest write over it: refused, not guessed.
        self.refused("vm-start", self.text(11, self.disk("vm11.img", more="")), "denied",
                     "vm11.img: it is encrypted with key")
        self.nothing_left(11)
        # What a guest encrypts itself is its own affair.
        with open(os.path.join(self.shared, "guest.img"), "wb") as file:
            file.write(b"LUKS\xba\xbe\0\1".ljust(4 * MIB, b"\0"))
        self.ask("vm-start", self.text(12, self.disk("guest.img", more="")))
        self.host.call("vm-stop", vm="enc12")
        again = json.loads(self.host.cli("--json", "vm", "create", path, "--encrypted").splitlines()[0])
        self.assertEqual((again["volume"], again["made"]), ("vm11.img", False))

    def test_a_plain_disk_is_not_taken_for_an_encrypted_one(self):
        for kind in ("raw", "qcow2"):
            plain, luks = (self.disk(f"vm14.{kind}", more, kind) for more in ("", 'encryption = "luks";'))
            self.create(self.text(14, plain), sparse=True)
            for command, text, more in (("vm-create", plain, {"encrypted": True}), ("vm-create", luks, {}),
                                        ("vm-start", luks, {})):
                self.refused(command, self.text(14, text), "denied", f"volume shared/vm14.{kind}", **more)
        self.assertEqual(self.host.call("key-list", vm=uuid(14))["keys"], [])
        self.nothing_left(14)

    def test_what_is_not_made(self):
        before = self.pooled()
        for disks, category, words in (
                ('{ pool = "shared"; volume = "x.img"; format = "raw"; }', "config", "has no size"),
                (self.disk("x.img", more="read_only = true;"), "config", "read only"),
                (self.disk("x.img").replace("shared", "other"), "not-found", "other"),
                (self.disk("x.img").replace("4M", "4000T"), "config", "outside 1M to 1024T"),
                (self.disk("x.img").replace("4M", "1001K").replace("K", ""), "config", "outside"),
                (self.disk("x.img").replace("4M", "900T"), "limit", "free"),
                (self.disk("x.img", f'encryption = "luks"; key = "{"ab" * 16}";'), "denied", "not one of VM")):
            with self.subTest(disks):
                self.refused("vm-create", self.text(12, disks), category, words)
                self.assertEqual(self.pooled(), before)
        # The one that had a key already lost it again.
        self.assertEqual({k["state"] for k in self.host.call("key-list", vm=uuid(12))["keys"]}, {"destroyed"})
        self.refused("vm-create", self.text(12), "usage", "wrong type", encrypted="yes")
        # A wall in its way, then none: the same command goes on.
        two = ", ".join((self.disk("vm13a.img", more=""), self.disk("vm13b.img")))
        self.refused("vm-create", self.text(13, two.replace("4M", "4M", 1).replace(
            'vm13b.img"; format = "raw"; size = "4M"', 'vm13b.img"; format = "raw"; size = "900T"')),
                     "limit", "vm13b.img")
        self.assertEqual([d["made"] for d in self.create(self.text(13, two))], [False, True])

    def test_wrong_keys_start_nothing(self):
        made = self.create(self.text(20))[0]
        other = self.create(self.text(21))[0]
        data = self.host.call("key-create", vm=uuid(20), slot="data")["key"]
        for key, words in ((other["key"], "is not one of VM"), (data["id"], "is for image data"),
                           ("ab" * 16, "is not one of VM")):
            named = self.disk("vm20.img", f'encryption = "luks"; key = "{key}";')
            self.refused("vm-start", self.text(20, named), "denied", words)
            self.nothing_left(20)
        # The right slot of another VM: the image of the one under the name of the other.
        os.rename(os.path.join(self.shared, "vm20.img"), os.path.join(self.shared, "vm20.kept"))
        os.rename(os.path.join(self.shared, "vm21.img"), os.path.join(self.shared, "vm20.img"))
        refusal = self.host.refusal("vm-start", text=self.text(20), file="/nowhere/vm.conf")
        self.assertEqual(refusal["category"], "hypervisor", refusal)
        wait_for("end of QEMU", lambda: not self.host.qemus(), 20)
        os.rename(os.path.join(self.shared, "vm20.kept"), os.path.join(self.shared, "vm20.img"))
        # Rotated: the image is as it was, and so is what opens it.
        self.host.call("key-rotate", key=made["key"])
        self.ask("vm-start", self.text(20))
        self.host.call("vm-stop", vm="enc20")
        self.host.call("key-destroy", key=made["key"], version=1)
        self.refused("vm-start", self.text(20), "denied", "version 1")
        self.host.call("key-destroy", key=made["key"])
        self.refused("vm-start", self.text(20), "not-found", "is destroyed")
        named = self.disk("vm20.img", f'encryption = "luks"; key = "{made["key"]}";')
        self.refused("vm-start", self.text(20, named), "denied", "is destroyed")
        self.refused("vm-start", self.text(22, self.disk("vm20.img")), "not-found", "has no key for it")
        self.nothing_left(22)

    def test_a_key_manager_that_is_killed(self):
        self.create(self.text(30))
        pid = self.keyd()
        os.kill(pid, signal.SIGSTOP)
        answers = []
        thread = threading.Thread(target=lambda: answers.append(
            self.host.refusal("vm-start", text=self.text(30), file="/nowhere/vm.conf")))
        thread.start()
        # The engine goes on, and the VM is not known before its keys are.
        self.nothing_left(30)
        os.kill(pid, signal.SIGKILL)
        thread.join(20)
        self.assertEqual(answers[0]["category"], "unavailable", answers)
        self.nothing_left(30)
        self.serving()
        self.ask("vm-start", self.text(30))
        # One that runs does not need it.
        os.kill(self.keyd(), signal.SIGKILL)
        self.serving()
        self.assertEqual(self.host.vm("enc30")["state"], "running")
        self.assertEqual(self.host.qemus(), [self.host.vm("enc30")["pid"]])

    def test_an_engine_that_ends_while_it_makes_a_disk(self):
        before = self.pooled()
        for number, end in ((40, signal.SIGTERM), (41, signal.SIGKILL)):
            with self.subTest(end), contextlib.closing(self.host.api()) as api:
                request = {"execute": "vm-create",
                           "arguments": {"text": self.text(number), "file": "/nowhere/vm.conf"}}
                api.socket.sendall(json.dumps(request).encode() + b"\n")
                fresh = wait_for("image under way", lambda: set(self.pooled()) - set(before), 20)
                self.host.stop(end)
                if end == signal.SIGTERM:
                    self.assertEqual(self.pooled(), before)
                else:
                    self.assertEqual(set(self.pooled()) - set(before), fresh)
                self.host.start()
                self.serving()
                self.assertEqual(self.pooled(), before)
                # An end in order gives its key up; without one it is there, for the next try.
                due = "destroyed" if end == signal.SIGTERM else "active"
                keys = wait_for(f"{due} key", lambda n=number, d=due: [
                    key for key in self.host.call("key-list", vm=uuid(n))["keys"] if key["state"] == d], 20)
                self.assertEqual(len(keys), 1)
                made = self.create(self.text(number))[0]["key"]
                self.assertEqual(made == keys[0]["id"], end == signal.SIGKILL)
                os.unlink(os.path.join(self.shared, f"vm{number}.img"))

    def test_what_dead_creations_left(self):
        names = [os.path.join(self.shared, f".sealift-new.{name}") for name in ("oldold", "newnew")]
        for name in names:
            os.mkdir(name, 0o700)
            with open(os.path.join(name, "image"), "wb"):
                pass
        os.utime(os.path.join(names[0], "image"), (1, 1))
        os.utime(names[0], (1, 1))
        self.host.stop()
        self.host.start()
        self.serving()
        self.assertEqual([os.path.exists(name) for name in names], [False, True])
        os.unlink(os.path.join(names[1], "image"))
        os.rmdir(names[1])


if __name__ == "__main__":
    vmcase.main()
