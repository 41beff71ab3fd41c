# SPDX-License-Identifier: Apache-2.0
"""What the tests of copied disks share: two hosts that each have a pool of their own beside the one
that both reach, a guest that writes and checks its disks all the time, and the questions that end
each test: is the disk whole, on exactly one side, under a key of that side only?"""
import base64
import collections
import contextlib
import os
import re
import subprocess
import tempfile

import key_case
import vmcase
from vmcase import LONG, MIB, LabError, procs, run, wait_for

Disk = collections.namedtuple("Disk", "volume kind luks pool read_only mib",
                              defaults=(False, "local", False, 8))
PLAIN = Disk("plain.img", "raw")
PLAIN_QCOW2 = Disk("plain.qcow2", "qcow2")
LUKS = Disk("luks.img", "raw", True)
LUKS_QCOW2 = Disk("luks.qcow2", "qcow2", True)
SHARED = Disk("shared.img", "raw", pool="shared")
FIXED = Disk("fixed.img", "raw", read_only=True, mib=1)


class DiskCase(key_case.KeyCase):
    """The first disk is the walker's, the second one the shell's (key_case)."""

    mode = "required"

    @classmethod
    def make_guest(cls):
        super().make_guest()
        for host in cls.lab.hosts:
            host.pools = cls.pool(host)

    @classmethod
    def pool_path(cls, host):
        return os.path.join(host.directory, "disks")

    @classmethod
    def pool(cls, host):
        """Of the same name on both, of different directories."""
        os.makedirs(cls.pool_path(host), mode=0o700, exist_ok=True)
        others = ", ".join(f'"{domain}"' for domain in cls.lab.domains)
        return (f', {{ name = "local"; directory = "{cls.pool_path(host)}"; own = true; local = true; '
                f'domains = [ {others} ]; }}')

    def lab_is_suspect(self):
        super().lab_is_suspect()
        for host in self.lab.hosts:
            self.empty(host)

    def empty(self, host):
        for name in os.listdir(self.pool_path(host)):
            os.unlink(os.path.join(self.pool_path(host), name))

    # --- the guest ---

    def new_guest(self, *disks):
        cls, north = type(self), self.lab.north
        self.stop_guest()
        for host in self.lab.hosts:
            self.empty(host)
        cls.serial += 1
        cls.vm, cls.pages = f"diskvm{cls.serial}", self.walker_mem * MIB // 4096
        cls.disks = [disk._replace(volume=f"{cls.vm}-{disk.volume}") for disk in disks or (PLAIN,)]
        for disk in cls.disks:
            if not disk.luks:
                self.make_plain(north, disk)
        made = north.call("vm-create", text=self.text(), file="/nowhere/vm.conf")["disks"]
        cls.keys = [disk["key"] for disk in made if disk.get("key")]
        self.assertEqual(len(cls.keys), sum(disk.luks for disk in cls.disks))
        cls.uuid = north.call("vm-start", text=self.text(), file="/nowhere/vm.conf")["vm"]["uuid"]
        cls.session = self.lab.walker(LONG)
        return north

    def make_plain(self, host, disk):
        path = self.path(host, disk)
        run(["qemu-img", "create", "-q", "-f", disk.kind, path, f"{disk.mib}M"])
        os.chmod(path, 0o600)
        if disk.read_only:
            with open(path, "r+b") as file:
                file.write(os.urandom(disk.mib * MIB))

    def disk_text(self, disk):
        return (f'{{ pool = "{disk.pool}"; volume = "{disk.volume}"; format = "{disk.kind}"; '
                f'size = "{disk.mib}M"; ' + ('encryption = "luks"; ' if disk.luks else "") +
                ('read_only = true; ' if disk.read_only else "") + "}")

    def text(self):
        return self.lab.vm_text(name=self.vm, memory=self.memory, walker_mem=self.walker_mem,
                                rate=self.rate, mode=self.mode, disk=", ".join(map(self.disk_text, self.disks)))

    def other(self, host):
        return self.lab.south if host is self.lab.north else self.lab.north

    # --- images ---

    def path(self, host, disk):
        pool = self.pool_path(host) if disk.pool == "local" else os.path.join(self.lab.directory, "shared")
        return os.path.join(pool, disk.volume)

    def image(self, host, disk, value=None):
        """As qemu-img's option --image-opts names it; a value's secret is "s"."""
        path = f"file.filename={self.path(host, disk)}"
        if value is None:
            return f"driver={disk.kind},{path}"
        if disk.kind == "qcow2":
            return f"driver=qcow2,encrypt.format=luks,encrypt.key-secret=s,{path}"
        return f"driver=luks,key-secret=s,{path}"

    def qemu_img(self, command, *images, value=None):
        """qemu-img as somebody runs it who has the key."""
        with tempfile.NamedTemporaryFile() as secret:
            secret.write(base64.b64encode(value or b""))
            secret.flush()
            options = ["--object", f"secret,id=s,file={secret.name}"] if value else []
            return subprocess.run(["qemu-img", *command, *options, "--image-opts", *images], check=False,
                                  text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def content(self, host, disk, value=None):
        """What the guest sees of a disk that nobody has open."""
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "content")
            done = self.qemu_img(["convert", "-O", "raw"], self.image(host, disk, value), path, value=value)
            self.assertEqual(done.returncode, 0, done.stdout)
            with open(path, "rb") as file:
                return file.read()

    def local(self):
        return [disk for disk in self.disks if disk.pool == "local"]

    def images(self, host):
        """What is in its pool but for what no VM writes, which a move leaves where it was."""
        kept = {disk.volume for disk in getattr(self, "disks", None) or () if disk.read_only}
        return sorted(set(os.listdir(self.pool_path(host))) - kept)

    def assert_images_at(self, host):
        """Each copied disk's image is here and nowhere else, but where it was only read, and nothing else
        is in the pools."""
        names = sorted(disk.volume for disk in self.local())
        with contextlib.suppress(LabError):
            wait_for("end of the other images", lambda: not self.images(self.other(host)), LONG)
        self.assertEqual(self.images(self.other(host)), [])
        self.assertEqual(sorted(os.listdir(self.pool_path(host))), names)
        for name in names:
            status = os.stat(os.path.join(self.pool_path(host), name))
            self.assertEqual((status.st_mode & 0o777, status.st_uid), (0o600, os.geteuid()), name)

    def assert_whole(self, host):
        """By the eyes of qemu-img, of images that nobody has open."""
        for disk in self.local():
            values = self.values(host) if disk.luks else {"": None}
            for value in values.values():
                if disk.kind == "qcow2":
                    done = self.qemu_img(["check"], self.image(host, disk, value), value=value)
                    if done.returncode and len(values) > 1:
                        continue
                    self.assertEqual(done.returncode, 0, done.stdout)
                    self.assertIn("No errors were found", done.stdout)

    # --- its keys ---

    def active(self, host):
        return {key for key, state in self.states(host).items() if state == "active"}

    def assert_own_keys(self, host):
        """As many active ones as there are encrypted disks, none over there."""
        other = self.other(host)

        def settled():
            return len(self.active(host)) == len(self.keys) and \
                set(self.states(other).values()) <= {"destroyed"}
        for each in self.lab.hosts:
            each.keys_serve()
        with contextlib.suppress(LabError):
            wait_for("keys", settled, LONG)
        self.assertEqual(len(self.active(host)), len(self.keys), self.states(host))
        self.assertLessEqual(set(self.states(other).values()), {"destroyed"})
        return self.active(host)

    # --- what is left ---

    def leftovers(self, host, vm="vm1"):
        found = super().leftovers(host, vm)
        found += [f"image {name}" for name in self.images(host)]
        found += [f"key {key} {state}" for key, state in self.states(host).items() if state != "destroyed"]
        return found

    def assert_runs_only(self, host, vm=None, session=None, pages=None):
        view = super().assert_runs_only(host, vm, session, pages)
        if len(self.disks) > 1 and not self.disks[1].read_only:
            self.second_disk(host)
        self.assert_images_at(host)
        self.assert_own_keys(host)
        return view

    # --- holding a migration still ---

    def daemons(self, host):
        """What receives a VM's disks: QEMUs without a machine."""
        return [process.pid for process in procs.qemus(host) if "none" in process.arguments and
                not procs.uuid_of(process)]

    def received(self, host):
        """Bytes that the images of a host take."""
        total = 0
        for name in os.listdir(self.pool_path(host)):
            with contextlib.suppress(FileNotFoundError):
                total += os.stat(os.path.join(self.pool_path(host), name)).st_blocks * 512
        return total

    def hold_disks(self, source, destination, **more):
        """A disk is being copied, slowly."""
        migration = self.migrate(source, destination, **{"bandwidth": MIB, **more})
        self.wait_step(source, migration, "disks")
        wait_for("bytes of a disk", lambda: self.received(destination) > MIB, LONG)
        self.wait_step(source, migration, "disks")
        return migration, None

    def hold_both_disks(self, source, destination, **more):
        """The last disk's copy has begun, and none is done. What the first one has on its way when the
        next one is to begin is sent before that."""
        migration = self.migrate(source, destination, bandwidth=4 * MIB, **more)
        self.wait_step(source, migration, "disks")
        wait_for("both copies", lambda: all(disk["total_bytes"] for disk in
                                            self.view(source, migration).get("disks") or [{"total_bytes": 0}]),
                 LONG)
        self.wait_step(source, migration, "disks")
        return migration, None

    def hold_memory(self, source, destination, **more):
        """The disk is copied, memory flows, slowly."""
        migration = self.migrate(source, destination, bandwidth=2 * MIB, **more)
        self.wait_step(source, migration, "transfer")
        wait_for("progress", lambda: self.view(source, migration).get("bytes_done"), LONG)
        self.wait_step(destination, migration, "loading")
        return migration, None

    def hold_detach(self, source, destination, **more):
        """The guest stands still, its last blocks have been sent; the destination does not say that it
        took the disks."""
        migration = self.migrate(source, destination, bandwidth=16 * MIB, **more)
        self.wait_step(source, migration, "transfer")
        self.freeze(destination.engine.pid)
        self.wait_step(source, migration, "detach")
        return migration, destination.engine.pid
