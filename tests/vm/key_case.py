# SPDX-License-Identifier: Apache-2.0
"""What the tests of moves with keys share: two hosts with a key manager each, a guest on encrypted
disks, and the questions that end each of them: on which one side is a key active, what do both logs
say of that, and does the guest's disk still hold what it wrote?"""
import base64
import contextlib
import gzip
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile

import vmcase
from vmcase import LONG, LabError, procs, run, wait_for

from lab import Api, Lab, search

SEARCH_PARTS = 1 << 22

# Beside the walker, which has the first disk: the second one is written and read by a shell.
SECOND_DISK = """
second() {
	n=0 wrong=0
	while :; do
		n=$((n + 1))
		yes "SEALIFT-SECOND-$n" | dd of=/dev/vdb bs=64k count=4 iflag=fullblock conv=fsync 2>/dev/null ||
			wrong=$((wrong + 1))
		echo 3 >/proc/sys/vm/drop_caches
		there=$(dd if=/dev/vdb bs=64k count=4 iflag=fullblock 2>/dev/null | md5sum)
		due=$(yes "SEALIFT-SECOND-$n" | dd bs=64k count=4 iflag=fullblock 2>/dev/null | md5sum)
		[ "$there" = "$due" ] || wrong=$((wrong + 1))
		echo "second disk n=$n wrong=$wrong"
		sleep 1
	done
}
[ ! -b /dev/vdb ] || second &
"""


def cpio(name, content):
    """One file as an initramfs: what comes later in an initrd replaces what came before."""
    def entry(entry_name, mode, data):
        fields = (0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(entry_name) + 1, 0)
        head = b"070701" + b"".join(b"%08X" % field for field in fields)
        head += entry_name.encode() + b"\0"
        return head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4)
    return entry(name, 0o100755, content) + entry("TRAILER!!!", 0, b"")


class KeyCase(vmcase.VmCase):
    """The guest has a name and a UUID of its own in each test, and with them keys of its own."""

    memory, walker_mem, rate = 128, 8, 200
    config = "reservations_per_peer = 8;\n"
    raw = ("disk.img", "raw")
    serial = 0
    vm = None

    @classmethod
    def setUpClass(cls):
        cls.lab = Lab(extra_config=cls.config)
        cls.addClassCleanup(cls.lab.close)
        cls.make_guest()
        for host in cls.lab.hosts:
            host.write_config(cls.config + host.make_keys())
        cls.lab.start()
        for host in cls.lab.hosts:
            host.keys_serve()
        cls.witness = procs.Witness(cls.lab)
        cls.addClassCleanup(cls.witness.close)
        cls.session = None
        cls.addClassCleanup(cls.drop_session)

    @classmethod
    def make_guest(cls):
        """Kernel and initrd of this lab's own: the test guest, with an eye on a second disk."""
        built, cls.lab.guest = cls.lab.guest, os.path.join(cls.lab.directory, "guest")
        os.mkdir(cls.lab.guest, 0o755)
        shutil.copy(os.path.join(built, "vmlinuz"), cls.lab.guest)
        with open(os.path.join(vmcase.TOP, "tests", "guest", "init"), encoding="ascii") as file:
            init = file.read()
        walker = "\nexec /bin/walker"
        assert init.count(walker) == 1
        with open(os.path.join(built, "initrd.img"), "rb") as old, \
                open(os.path.join(cls.lab.guest, "initrd.img"), "wb") as new:
            data = old.read()
            new.write(data + b"\0" * (-len(data) % 4) +
                      gzip.compress(cpio("init", init.replace(walker, SECOND_DISK + walker).encode())))

    def lab_is_suspect(self):
        super().lab_is_suspect()
        for host in self.lab.hosts:
            host.write_config(self.config + host.keys_text())
            host.stop()
            host.start()
            host.keys_serve()
        self.lab.introduce()
        type(self).vm = None

    def alone(self, vm):
        return True

    def guest(self):
        """(where it runs, the other host); a new one if there is none that runs."""
        for host, other in (self.lab.hosts, self.lab.hosts[::-1]):
            if self.vm and self.session and self.running_view(host, self.vm):
                return host, other
        return self.new_guest(), self.lab.south

    # --- the guest ---

    @staticmethod
    def disk_text(volume, kind, more=""):
        return (f'{{ pool = "shared"; volume = "{volume}"; format = "{kind}"; size = "8M"; '
                f'encryption = "luks"; {more} }}')

    def new_guest(self, *disks):
        """Makes and starts one at north, on encrypted disks: the host."""
        cls, north = type(self), self.lab.north
        self.stop_guest()
        cls.serial += 1
        cls.vm, cls.pages = f"keyvm{cls.serial}", self.walker_mem * vmcase.MIB // 4096
        cls.volumes = [(f"{cls.vm}-{volume}", kind) for volume, kind in disks or (self.raw,)]
        text = self.text()
        # What a key costs to guess is measured when a disk is made: on a busy machine that takes long.
        with contextlib.closing(Api(north.socket, 2 * LONG)) as api:
            made = api("vm-create", text=text, file="/nowhere/vm.conf")["disks"]
        cls.keys = [disk["key"] for disk in made]
        view = north.call("vm-start", text=text, file="/nowhere/vm.conf")["vm"]
        cls.uuid = view["uuid"]
        cls.session = self.lab.walker(LONG)
        return north

    def text(self):
        disks = ", ".join(self.disk_text(volume, kind) for volume, kind in self.volumes)
        return self.lab.vm_text(name=self.vm, memory=self.memory, walker_mem=self.walker_mem,
                                rate=self.rate, disk=disks)

    def stop_guest(self):
        cls = type(self)
        cls.drop_session()
        for host in self.lab.hosts:
            for vm in host.call("vm-list")["vms"]:
                if vm.get("pid"):
                    host.call("vm-stop", vm=vm["name"])
        cls.vm = None

    def restarted_guest(self, host):
        """The same VM once more, from its disk: stopped and started where it is."""
        self.drop_session()
        host.call("vm-stop", vm=self.vm)
        wait_for("end of QEMU", lambda: not host.qemus(), LONG)
        host.call("vm-start", text=self.text(), file="/nowhere/vm.conf")
        type(self).session = self.lab.walker(LONG)

    def migrate(self, source, destination, vm=None, **more):
        return super().migrate(source, destination, vm or self.vm, **more)

    def moved(self, source, destination, vm=None, **more):
        return super().moved(source, destination, vm or self.vm, **more)

    def hold_activating(self, source, destination, vm=None, **more):
        return super().hold_activating(source, destination, vm or self.vm, **more)

    def hold_active(self, source, destination, vm=None, **more):
        return super().hold_active(source, destination, vm or self.vm, **more)

    def assert_runs_only(self, host, vm=None, session=None, pages=None):
        view = super().assert_runs_only(host, vm or self.vm, session, pages)
        self.assert_disk_works()
        return view

    def assert_disk_works(self):
        """What the guest wrote is there, and more can be written."""
        def look():
            found = re.search(r"errors=(\d+) .*disk=(\d+)", self.session.command("status", LONG))
            self.assertEqual(found.group(1), "0", "the guest found other bytes than it wrote")
            return int(found.group(2))
        before = look()
        wait_for("more writes of the guest", lambda: look() > before + 1, LONG, 0.1)

    def second_disk(self, host, times=2):
        """What the guest says of its second disk, some times from now on."""
        seen = b""
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as serial:
            serial.settimeout(LONG)
            serial.connect(host.vm(self.vm)["serial"])
            while len(found := re.findall(rb"second disk n=(\d+) wrong=(\d+)", seen)) < times:
                chunk = serial.recv(4096)
                if not chunk:
                    raise LabError(f"the console ended: {seen!r}")
                seen += chunk
        self.assertEqual({int(wrong) for _, wrong in found}, {0}, seen)

    # --- its keys ---

    def states(self, host):
        """{id: state} of the guest's keys in a host's key manager, destroyed ones too."""
        return {id: key["state"] for id, key in host.keys_of(self.uuid).items()}

    def wait_keys(self, host, state, seconds=LONG):
        """Until all of the guest's keys are in that state there."""
        host.keys_serve()
        expected = {key: state for key in self.keys}
        with contextlib.suppress(LabError):
            wait_for(f"keys {state} at {host.name}", lambda: self.states(host) == expected, seconds)
        self.assertEqual(self.states(host), expected, f"at {host.name}")

    def assert_keys_at(self, host, other_state="destroyed"):
        """Active here, not there, and both logs are whole and tell of no moment when it was otherwise."""
        other = self.lab.south if host is self.lab.north else self.lab.north
        self.wait_keys(host, "active")
        if other_state:
            self.wait_keys(other, other_state)
        else:
            other.keys_serve()
            self.assertEqual(self.states(other), {})
        for each in self.lab.hosts:
            self.assertTrue(each.call("key-verify")["done"])
        for key in self.keys:
            self.assert_never_both(key)

    def assert_never_both(self, key):
        """From the two logs alone. Each entry of a move names its migration as who did it."""
        logs = {host: host.key_log(key) for host in self.lab.hosts}
        moves = {entry["who"] for log in logs.values() for entry in log
                 if entry["who"].startswith("migration ")}
        for host, log in logs.items():
            # In each log the states follow each other without a gap.
            for before, entry in zip(log, log[1:]):
                if entry["action"] != "received":
                    self.assertEqual(entry["from"], before["to"], (host.name, entry))
        for move in moves:
            done = {host: [(entry["action"], entry["to"]) for entry in log if entry["who"] == move]
                    for host, log in logs.items()}
            sources = [host for host in done if ("offered", "exporting") in done[host]]
            activated = [host for host in done if ("activated", "active") in done[host]]
            if not activated:
                continue
            # It became active over there, so here it was exporting before that, and stayed so until it
            # was destroyed, or became a copy that both sides had agreed on.
            self.assertEqual(len(sources), 1, (move, done))
            self.assertEqual(len(activated), 1, (move, done))
            self.assertNotEqual(sources, activated)
            self.assertNotIn(("returned", "active"), done[sources[0]], (move, done))

    def exposed(self, host):
        return {key["exposed_to"] for key in host.keys_of(self.uuid).values()}

    @staticmethod
    def log_of(host, migration):
        """What an engine logged of a migration."""
        return "".join(line for line in host.log().splitlines(True) if migration[:12] in line)

    def outcome(self, host, migration):
        return self.view(host, migration).get("keys", {}).get("outcome")

    def wait_outcome(self, host, migration, outcome):
        with contextlib.suppress(LabError):
            wait_for(f"keys {outcome} at {host.name}", lambda: self.outcome(host, migration) == outcome, LONG)
        self.assertEqual(self.outcome(host, migration), outcome, f"at {host.name}")

    # --- what the keys are ---

    def values(self, host):
        """{id: value} of the guest's keys that a host's store still opens."""
        with tempfile.TemporaryDirectory() as directory:
            for path in os.listdir(os.path.join(host.state, "keys")):
                copied = os.path.join(directory, path)
                shutil.copyfile(os.path.join(host.state, "keys", path), copied)
                os.chmod(copied, 0o600)
            tool = os.environ.get("SEALIFT_KEY_VALUE",
                                  os.path.join(self.lab.build, "tests", "vm", "key-value"))
            words = run([tool, os.path.join(directory, "keys.db"), host.root_key, self.uuid]).split("\n")
        return {id: bytes.fromhex(value) for id, _, value in (line.split() for line in words if line)}

    @staticmethod
    def spellings(value):
        """What somebody would look for who wants that key."""
        return {"raw": value, "hex": value.hex().encode(), "HEX": value.hex().upper().encode(),
                "base64": base64.b64encode(value)}

    def assert_nowhere(self, value, paths):
        for path in paths:
            for name, needle in self.spellings(value).items():
                self.assertEqual(search(path, needle), 0, f"{name} in {path}")

    def files_of(self, host):
        """All that a host has on its disk, but for the root key."""
        return [path for directory, _, files in os.walk(host.directory)
                for path in (os.path.join(directory, file) for file in files)
                if os.path.isfile(path) and path != host.root_key]

    def in_memory(self, pid, value):
        """[(spelling, mapping)...] where it stands in the memory of a process."""
        needles, found = self.spellings(value), set()
        with open(f"/proc/{pid}/maps", encoding="ascii") as maps, open(f"/proc/{pid}/mem", "rb") as memory:
            for line in maps:
                words = line.split()
                first, last = (int(word, 16) for word in words[0].split("-"))
                if words[1][0] != "r" or words[-1].startswith("[v"):
                    continue
                tail = b""
                for at in range(first, last, SEARCH_PARTS):
                    with contextlib.suppress(OSError, ValueError, OverflowError):
                        memory.seek(at)
                        part = tail + memory.read(min(SEARCH_PARTS, last - at))
                        found |= {(name, " ".join(words[1:2] + words[5:])) for name, needle
                                  in needles.items() if needle in part}
                        tail = part[-64:]
        return sorted(found)

    def qemu_img(self, value, volume, kind, *arguments):
        """qemu-img as somebody runs it who has the key."""
        path = os.path.join(self.lab.directory, "shared", volume)
        with tempfile.NamedTemporaryFile() as secret:
            secret.write(base64.b64encode(value))
            secret.flush()
            if kind == "qcow2":
                image = f"driver=qcow2,encrypt.format=luks,encrypt.key-secret=s,file.filename={path}"
            else:
                image = f"driver=luks,key-secret=s,file.filename={path}"
            return subprocess.run(["qemu-img", arguments[0], "--object", f"secret,id=s,file={secret.name}",
                                   "--image-opts", *arguments[1:], image], check=False, text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    # --- key managers and engines that fail ---

    def keyd(self, host):
        return wait_for(f"key manager of {host.name}", lambda: procs.roles(host, "sealift-keyd"), LONG)[0]

    def freeze_keyd(self, host):
        pid = self.keyd(host)
        self.freeze(pid)
        return pid

    @contextlib.contextmanager
    def no_keyd(self, host):
        """The key manager ends, and cannot start again while the block runs."""
        os.rename(host.root_key, host.root_key + ".away")
        try:
            procs.kill(self.keyd(host))
            yield
        finally:
            os.rename(host.root_key + ".away", host.root_key)
            host.keys_serve(LONG)

    def restart(self, host, number=signal.SIGKILL):
        host.stop(number)
        host.start()
        host.keys_serve(LONG)

    @contextlib.contextmanager
    def configured(self, host, keys):
        """Another configuration of its keys while the block runs."""
        self.configure(host, keys)
        try:
            yield
        finally:
            self.configure(host, host.keys_text())
            host.keys_serve(LONG)

    def configure(self, host, keys):
        host.write_config(self.config + keys)
        host.stop()
        host.start()
        wait_for("its VMs", lambda: all(vm["state"] != "running" or "serial" in vm
                                        for vm in host.call("vm-list")["vms"]), LONG)
        if keys:
            host.keys_serve(LONG)
