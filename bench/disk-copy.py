#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What it costs to copy a VM's disk, in the ways there are, and what a storage daemon between a VM and its
disk costs as long as the VM runs.

	plain       an image of as many bytes, by QEMU's own mirror over TCP between the same two hosts
	copy        a VM's plain disk through Sealift
	fresh-key   an encrypted one, under a fresh key of the destination's (its guest's view is copied)
	ciphertext  an encrypted one of a sealed pool: its image's bytes, by its storage daemon

All disks are full of bytes that do not repeat. The ways take turns; each VM is a new one, and one runs while
the plain copy is made, too. A time is that from the mirror's beginning until both sides are alike: of Sealift
that of the step "disks".

Usage, as root: disk-copy.py [MIB] [ROUNDS], with SEALIFT_BUILD and SEALIFT_GUEST_DIR as the tests have them."""
import contextlib
import gzip
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [os.path.join(TOP, "tests", "lab"), os.path.join(TOP, "tests", "vm")]
from lab import Lab, run, wait_for  # noqa: E402
from key_case import cpio  # noqa: E402

MIB = 1 << 20
TARGET = 1.3
PORT = 10809
HEADER = 2 * MIB  # of an encrypted image, at most
LONG = 120
LOOK = 0.02  # between two looks: more often they would take a core away from what is measured
WAYS = {"copy": ("open", False), "fresh-key": ("open", True), "ciphertext": ("sealed", True)}

# The guest's own times of its second disk, in hundredths of a second.
IO = """
now() { read -r up rest </proc/uptime; echo "${up%.*}${up#*.}"; }
io() {
	while :; do
		a=$(now)
		dd if=/dev/zero of=/dev/vdb bs=1M count=IO_MIB conv=fsync 2>/dev/null
		b=$(now)
		echo 3 >/proc/sys/vm/drop_caches
		dd if=/dev/vdb of=/dev/null bs=1M count=IO_MIB 2>/dev/null
		c=$(now)
		for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do
			dd if=/dev/zero of=/dev/vdb bs=4k count=1 seek=$i conv=fsync 2>/dev/null
		done
		echo "io write=$((b - a)) read=$((c - b)) small=$(($(now) - c))"
	done
}
case $cmdline in *bench.io*) io & ;; esac
"""


class Storage:
    """QEMU without a machine, with one raw image."""

    def __init__(self, lab, host, image):
        self.path = os.path.join(lab.directory, f"{host.name}.qmp")
        self.process = subprocess.Popen(host.inside(
            [lab.qemu, "-nodefaults", "-no-user-config", "-S", "-machine", "none", "-accel", "tcg", "-display",
             "none", "-qmp", f"unix:{self.path},server=on,wait=off", "-blockdev",
             json.dumps({"driver": "raw", "node-name": "disk", "discard": "unmap", "file":
                         {"driver": "file", "filename": image, "discard": "unmap"}})]))
        wait_for("QEMU", lambda: os.path.exists(self.path), 20)
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(self.path)
        self.lines = self.socket.makefile("r")
        self.lines.readline()
        self("qmp_capabilities")

    def __call__(self, command, **arguments):
        arguments = {name.replace("_", "-"): value for name, value in arguments.items()}
        self.socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode())
        while True:
            answer = json.loads(self.lines.readline())
            if "event" not in answer:
                return answer["return"]

    def close(self):
        self.process.kill()
        self.process.wait()
        self.lines.close()
        self.socket.close()
        os.unlink(self.path)


def noise(path, begin, mib):
    with open(path, "r+b" if begin else "wb") as file:
        file.seek(begin)
        for _ in range(mib):
            file.write(os.urandom(MIB))
    os.chmod(path, 0o600)


class Bench:
    def __init__(self, lab, mib):
        self.lab, self.mib, self.serial = lab, mib, 0
        self.make_guest()
        for host in lab.hosts:
            host.pools = "".join(self.pool(host, name) for name in ("open", "sealed"))
            host.write_config("reservations_per_peer = 8;\n" + host.make_keys())
        lab.start()
        for host in lab.hosts:
            host.keys_serve()
        lab.disk("walker.img")
        self.image = os.path.join(lab.directory, "plain.img")
        noise(self.image, 0, mib)

    def make_guest(self):
        """The test guest, with an eye on a second disk."""
        built, self.lab.guest = self.lab.guest, os.path.join(self.lab.directory, "guest")
        os.mkdir(self.lab.guest, 0o755)
        shutil.copy(os.path.join(built, "vmlinuz"), self.lab.guest)
        with open(os.path.join(TOP, "tests", "guest", "init"), encoding="ascii") as file:
            init = file.read()
        io = IO.replace("IO_MIB", str(self.mib // 2))
        with open(os.path.join(built, "initrd.img"), "rb") as old, \
                open(os.path.join(self.lab.guest, "initrd.img"), "wb") as new:
            data = old.read()
            new.write(data + b"\0" * (-len(data) % 4) + gzip.compress(
                cpio("init", init.replace("\nexec /bin/walker", io + "\nexec /bin/walker").encode())))

    def path(self, host, pool):
        return os.path.join(host.directory, pool)

    def pool(self, host, name):
        os.makedirs(self.path(host, name), mode=0o700)
        domains = ", ".join(f'"{domain}"' for domain in self.lab.domains)
        return (f', {{ name = "{name}"; directory = "{self.path(host, name)}"; own = true; local = true; '
                f'{"sealed = true; " if name == "sealed" else ""}domains = [ {domains} ]; }}')

    @contextlib.contextmanager
    def vm(self, pool, luks, append=""):
        """A new one at north: its name. Wherever it is in the end, it is stopped there."""
        self.serial += 1
        name, north = f"bench{self.serial}", self.lab.north
        volume = os.path.join(self.path(north, pool), f"{name}.img")
        disks = ('{ pool = "shared"; volume = "walker.img"; format = "raw"; }, '
                 f'{{ pool = "{pool}"; volume = "{name}.img"; format = "raw"; size = "{self.mib}M"; '
                 + ('encryption = "luks"; ' if luks else "") + "}")
        text = self.lab.vm_text(name=name, memory=128, walker_mem=8, rate=10, disk=disks, append=append)
        north.call("vm-create", text=text, file="/nowhere/vm.conf")
        noise(volume, HEADER if luks else 0, self.mib - 2)
        north.call("vm-start", text=text, file="/nowhere/vm.conf")
        self.lab.walker(LONG).close()
        try:
            yield name
        finally:
            for host in self.lab.hosts:
                if (host.vm(name) or {}).get("pid"):
                    host.call("vm-stop", vm=name)
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(self.path(host, pool), f"{name}.img"))

    # --- copies ---

    def plain(self):
        source, target = self.lab.hosts
        copy = os.path.join(self.lab.directory, "copy.img")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(copy)
        run(["truncate", "-s", str(os.path.getsize(self.image)), copy])
        with contextlib.closing(Storage(self.lab, target, copy)) as server, \
                contextlib.closing(Storage(self.lab, source, self.image)) as client:
            address = {"host": target.address, "port": str(PORT)}
            server("nbd-server-start", addr={"type": "inet", "data": address})
            server("block-export-add", type="nbd", id="export", node_name="disk", name="disk", writable=True)
            begun = time.monotonic()
            client("blockdev-add", driver="nbd", node_name="target", export="disk", discard="unmap",
                   server={"type": "inet", **address})
            client("blockdev-mirror", job_id="copy", device="disk", target="target", sync="full")
            wait_for("the end of the copy", lambda: client("query-jobs")[0]["status"] == "ready", LONG, LOOK)
            return time.monotonic() - begun

    def plain_beside_a_guest(self):
        with self.vm("open", False):
            return self.plain()

    def moved(self, way):
        source, target = self.lab.hosts
        with self.vm(*WAYS[way]) as vm, contextlib.closing(source.api()) as api:
            migration = api("migrate", vm=vm, destination=target.name)["migration"]

            def step():
                view = api("status", migration=migration)["migrations"][0]
                if view["state"] in ("failed", "cancelled"):
                    sys.exit(f"the VM did not move: {view}")
                return view.get("step")
            wait_for("the beginning of the copy", lambda: step() == "disks", LONG, 0.002)
            begun = time.monotonic()
            wait_for("the end of the copy", lambda: step() != "disks", LONG, LOOK)
            taken = time.monotonic() - begun
            source.wait_migration(migration)
            step()
            target.wait_migration(migration)
        return taken

    # --- the standing cost ---

    def standing(self, way, times):
        """[(write, read, small)...] in seconds, as the guest measures them."""
        with self.vm(*WAYS[way], append="bench.io") as vm:
            seen = b""
            with contextlib.closing(socket.socket(socket.AF_UNIX)) as serial:
                serial.settimeout(LONG)
                serial.connect(self.lab.north.vm(vm)["serial"])
                pattern = rb"io write=(\d+) read=(\d+) small=(\d+)"
                # The first fills what was noise.
                while len(found := re.findall(pattern, seen)) < times + 1:
                    chunk = serial.recv(4096)
                    if not chunk:
                        sys.exit(f"the console ended: {seen!r}")
                    seen += chunk
        return [tuple(int(value) / 100 for value in each) for each in found[1:]]


def main():
    mib, rounds = (int(text) for text in (sys.argv[1:] + ["64", "3"][len(sys.argv) - 1:])[:2])
    with Lab() as lab:
        bench = Bench(lab, mib)
        times = {way: [] for way in ("plain", *WAYS)}
        for number in range(rounds):
            for way in list(times)[::-1 if number % 2 else 1]:
                times[way].append(bench.plain_beside_a_guest() if way == "plain" else bench.moved(way))
                print(f"round {number + 1} {way:10} {times[way][-1]:.3f} s", flush=True)
        io = {way: bench.standing(way, rounds) for way in ("fresh-key", "ciphertext")}
    medians = {way: statistics.median(values) for way, values in times.items()}
    for way, median in medians.items():
        print(f"{mib} MiB, median of {rounds}: {way:10} {median:.3f} s, {median / medians['plain']:.2f} of plain"
              + ("" if way == "plain" else f", target {TARGET}"))
    for i, what in enumerate((f"write {mib // 2} MiB", f"read {mib // 2} MiB", "16 writes of 4 KiB")):
        without, within = (statistics.median(each[i] for each in io[way]) for way in ("fresh-key", "ciphertext"))
        print(f"guest, {what}: {without:.2f} s with the image in its hypervisor, {within:.2f} s behind a storage "
              f"daemon, {within / without if without else 0:.2f}")


if __name__ == "__main__":
    main()
