#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What sealing and judging cost where a disk is copied: a VM's disk through Sealift, and an image of the
same bytes by QEMU's own mirror over TCP, both ways in turn between the same two namespaces. README.md.
Usage, as root: disk-copy.py [MIB] [ROUNDS], with SEALIFT_BUILD and SEALIFT_GUEST_DIR as the tests have
them. Prints the seconds of each round, from the mirror's beginning until both sides are alike."""
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(TOP, "tests", "lab"))
from lab import Lab, run, wait_for  # noqa: E402

MIB = 1 << 20
TARGET = 1.3
PORT = 10809


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


def plain(lab, source, target, image):
    """Seconds of one mirror over TCP."""
    copy = os.path.join(lab.directory, "copy.img")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(copy)
    run(["truncate", "-s", str(os.path.getsize(image)), copy])
    with contextlib.closing(Storage(lab, target, copy)) as server, \
            contextlib.closing(Storage(lab, source, image)) as client:
        address = {"host": target.address, "port": str(PORT)}
        server("nbd-server-start", addr={"type": "inet", "data": address})
        server("block-export-add", type="nbd", id="export", node_name="disk", name="disk", writable=True)
        begun = time.monotonic()
        client("blockdev-add", driver="nbd", node_name="target", export="disk", discard="unmap",
               server={"type": "inet", **address})
        client("blockdev-mirror", job_id="copy", device="disk", target="target", sync="full")
        wait_for("the end of the copy", lambda: client("query-jobs")[0]["status"] == "ready", 120, 0.002)
        return time.monotonic() - begun


def sealed(source, target, vm):
    """Seconds of a migration's step "disks"."""
    with contextlib.closing(source.api()) as api:
        migration = api("migrate", vm=vm, destination=target.name)["migration"]

        def step():
            return api("status", migration=migration)["migrations"][0].get("step")
        wait_for("the beginning of the copy", lambda: step() == "disks", 60, 0.002)
        begun = time.monotonic()
        wait_for("the end of the copy", lambda: step() != "disks", 120, 0.002)
        taken = time.monotonic() - begun
    view = source.wait_migration(migration)
    if view["state"] != "done":
        sys.exit(f"the VM did not move: {view}")
    target.wait_migration(migration)
    return taken


def prepare(lab, mib):
    """A VM whose disk has so many bytes that do not repeat, and an image like it."""
    for host in lab.hosts:
        directory = os.path.join(host.directory, "disks")
        os.makedirs(directory, mode=0o700)
        domains = ", ".join(f'"{domain}"' for domain in lab.domains)
        host.pools = (f', {{ name = "local"; directory = "{directory}"; own = true; local = true; '
                      f'domains = [ {domains} ]; }}')
        host.write_config()
    images = os.path.join(lab.north.directory, "disks", "disk.img"), os.path.join(lab.directory, "plain.img")
    for image in images:
        with open(image, "wb") as file:
            for _ in range(mib):
                file.write(os.urandom(MIB))
        os.chmod(image, 0o600)
    lab.start()
    lab.start_vm(memory=128, walker_mem=8, rate=10,
                 disk='{ pool = "local"; volume = "disk.img"; format = "raw"; }')
    lab.walker().close()
    return images[1]


def main():
    mib, rounds = (int(text) for text in (sys.argv[1:] + ["256", "5"][len(sys.argv) - 1:])[:2])
    with Lab() as lab:
        image = prepare(lab, mib)
        times = {"plain": [], "sealift": []}
        for number in range(rounds):
            source, target = lab.hosts[::-1 if number % 2 else 1]
            ways = [("plain", lambda a=source, b=target: plain(lab, a, b, image)),
                    ("sealift", lambda a=source, b=target: sealed(a, b, "vm1"))]
            for name, way in ways[::-1 if number % 2 else 1]:
                times[name].append(way())
                print(f"round {number + 1} {name:8} {times[name][-1]:.3f} s", flush=True)
    medians = {name: statistics.median(values) for name, values in times.items()}
    ratio = medians["sealift"] / medians["plain"]
    print(f"{mib} MiB, medians of {rounds}: plain {medians['plain']:.3f} s, sealift {medians['sealift']:.3f} s, "
          f"ratio {ratio:.2f}, target {TARGET}")


if __name__ == "__main__":
    main()
