# SPDX-License-Identifier: Apache-2.0
"""The ways to move a guest that are compared, and one measured move by each."""
import contextlib
import dataclasses
import mmap
import os
import shutil
import time

import guarded
from cost import children, cpu_s, ended_children_s, virtual_cpu_s, wire_bytes
from guests import Guest, Qmp, Serial, append_of, await_move
from lab import Lab, run, wait_for

PORT = 4444
MOVE_SECONDS = 180
BOOT_SECONDS = 240
# Far below QEMU's 300 ms, which it would use up whatever the contender: with room for 20 ms of pages
# downtime shows what each way itself adds.
DOWNTIME_MS = 20
# Beside the guest's memory, for what the processes themselves allocate.
BALLAST_SPARE_MIB = 256
MADV_POPULATE_WRITE = 23  # linux/mman.h; Python has no name for it
# A build target of the tests, which the product does not know.
UNGUARDED = os.path.join("tests", "mover", "mover-unguarded")
# What the guest's kernel needs beside the walker's data, and for each page of it.
GUEST_OWN_MIB, GUEST_OWN_PART = 144, 8


@dataclasses.dataclass(frozen=True)
class Setting:
    """The guest of one comparison."""
    size_mib: int
    rate: int  # pages dirtied a second
    machine: str = "pc-q35-10.0"

    @property
    def walker_mib(self):
        return self.size_mib - GUEST_OWN_MIB - self.size_mib // GUEST_OWN_PART

    @property
    def load(self):
        return f"dirty {self.rate * 4096 / (1 << 20):.0f} MiB/s" if self.rate else "idle"


@dataclasses.dataclass(frozen=True)
class Contender:
    name: str
    kind: str  # plain or sealift
    channels: int = 2  # multifd channels beside main; 0: main alone
    populated: bool = False
    tls: bool = False
    aead: str = ""
    mode: str = ""
    guard: str = ""  # "", or guarded.OFF: none; guarded.COLD: its twin is made anew


PLAIN = (
    Contender("plain-single", "plain", channels=0),
    Contender("plain", "plain"),
    Contender("plain-populated", "plain", populated=True),
    Contender("tls", "plain", tls=True),
    Contender("tls-populated", "plain", tls=True, populated=True),
)


def sealift(aead, mode="required", channels=2, guard=""):
    # Sealift's own count: 1 is main alone, from 2 on multifd channels beside it.
    return Contender(f"sealift-{aead}-{mode}-{channels}{guard}", "sealift", channels=channels, populated=True,
                     aead=aead, mode=mode, guard=guard)


def guard_contenders(aead):
    """With and without a guard, multifd and main alone; the price of a twin once."""
    return tuple(sealift(aead, channels=channels, guard=guard) for channels in (2, 1)
                 for guard in ("", guarded.OFF)) + (sealift(aead, guard=guarded.COLD),)


def all_contenders(aeads):
    return PLAIN + tuple(sealift(aead, mode, channels) for aead in aeads
                         for mode in ("required", "disabled") for channels in (1, 2, 4))


def core_contenders(aeads):
    """Those of the targets."""
    return PLAIN + tuple(sealift(aead) for aead in aeads)


class Stage:
    """The hosts on which all contenders appear: two network namespaces and one cable for all; a pair
    of engines for each AEAD, since that is a setting of the engine, and for movers without a guard."""

    def __init__(self, build, guest):
        self.build, self.guest = build, guest
        self.labs = {}
        self.tls = None
        self.vms = 0

    def lab(self, aead="", unguarded=False):
        """Plain contenders use the namespaces of whichever lab there is."""
        if not aead and self.labs:
            return next(iter(self.labs.values()))
        if (aead, unguarded) not in self.labs:
            lab = self.labs[aead, unguarded] = Lab(build=self.build, guest=self.guest)
            if unguarded:
                shutil.copy2(os.path.join(self.build, UNGUARDED), os.path.join(lab.libexec, "sealift-mover"))
            if aead:
                start_engines(lab, f'aead = "{aead}";\nallow_disabled = true;')
        return self.labs[aead, unguarded]

    def tls_directory(self, end):
        """One root, one certificate for each end, in the layout that QEMU wants."""
        if not self.tls:
            self.tls = os.path.join(self.lab().directory, "qemu-tls")
            make_tls(self.tls)
        return os.path.join(self.tls, end)

    def close(self):
        for lab in self.labs.values():
            lab.close()
        self.labs = {}


def start_engines(lab, settings):
    """Each QEMU that an engine starts gets a second monitor, on which the benchmark sees the same
    events with the same time stamps as on the QEMUs that it leads itself."""
    lab.witness = os.path.join(lab.directory, "witness")
    os.makedirs(lab.witness)
    os.chmod(lab.witness, 0o777)
    wrapper = os.path.join(lab.bin, "qemu-with-witness")
    with open(wrapper, "w", encoding="ascii") as file:
        # Not twins, nor what only describes itself: these are no VMs.
        file.write('#!/bin/sh\ncase "$*" in *memory-backend-file*|*-dump-vmstate*) '
                   f'exec {lab.qemu} "$@";; esac\n'
                   f'exec {lab.qemu} "$@" -qmp unix:{lab.witness}/$$,server=on,wait=off\n')
    os.chmod(wrapper, 0o755)
    for host in lab.hosts:
        host.write_config(settings)
        with open(host.config, encoding="utf-8") as file:
            text = file.read().replace(f'qemu = "{lab.qemu}";', f'qemu = "{wrapper}";')
        with open(host.config, "w", encoding="utf-8") as file:
            file.write(text)
    lab.start()


def make_tls(directory):
    os.makedirs(directory)

    def openssl(*arguments):
        run(["openssl", *arguments], cwd=directory)

    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"]
    openssl("req", "-x509", *curve, "-keyout", "ca-key.pem", "-out", "ca-cert.pem", "-subj", "/CN=bench root",
            "-addext", "keyUsage=critical,keyCertSign,cRLSign")
    for end in ("server", "client"):
        os.makedirs(os.path.join(directory, end))
        openssl("req", "-x509", "-CA", "ca-cert.pem", "-CAkey", "ca-key.pem", *curve,
                "-keyout", f"{end}/{end}-key.pem", "-out", f"{end}/{end}-cert.pem", "-subj", f"/CN={end}",
                "-addext", "basicConstraints=critical,CA:FALSE",
                # keyEncipherment, or QEMU refuses a certificate on an elliptic curve.
                "-addext", "keyUsage=critical,digitalSignature,keyEncipherment",
                "-addext", f"extendedKeyUsage={end}Auth",
                "-addext", "subjectAltName=IP:10.77.0.2" if end == "server" else "subjectAltName=DNS:client")
        os.link(os.path.join(directory, "ca-cert.pem"), os.path.join(directory, end, "ca-cert.pem"))


def measure(stage, contender, setting):
    """One move of a fresh guest; all that was seen of it."""
    result = measure_plain(stage, contender, setting) if contender.kind == "plain" else \
        measure_sealift(stage, contender, setting)
    return {"contender": contender.name, "size_mib": setting.size_mib, "load": setting.load, **result}


def times_of(source, destination, command_at):
    resume = destination.seen["RESUME"]
    return {"command_s": resume - command_at, "stream_s": resume - source.seen["MIGRATION.setup"],
            "active_s": resume - source.seen["MIGRATION.active"], "downtime_s": resume - source.seen["STOP"]}


class Ballast:
    """Memory for the destination that this machine really has. A virtual machine may have given its
    free pages back to its own host (free page reporting), which makes the first touch of each ten
    times as dear, or not, by chance. What is held here and let go just before the destination starts
    is what the kernel then hands out first; so all contenders find the same."""

    def __init__(self, size_mib):
        self.memory = mmap.mmap(-1, size_mib << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.memory.madvise(mmap.MADV_HUGEPAGE)
        self.memory.madvise(MADV_POPULATE_WRITE)

    def close(self):
        self.memory.close()


def measure_plain(stage, contender, setting):
    lab = stage.lab()
    with contextlib.ExitStack() as stack:
        def guest(host, name, **more):
            made = Guest(host, name, setting, tls=stage.tls_directory(more.pop("end")) if contender.tls else
                         more.pop("end") and None, **more)
            stack.callback(made.kill)
            return made

        source = guest(lab.north, "source", end="client")
        with contextlib.closing(Serial(source.serial_path)) as serial:
            serial.wait_counting(BOOT_SECONDS)
        Ballast(setting.size_mib + BALLAST_SPARE_MIB).close()
        start = time.time()
        destination = guest(lab.south, "destination", end="server", incoming=True,
                            populated=contender.populated)
        destination.prepare_migration(contender.channels, DOWNTIME_MS)
        destination.qmp("migrate-incoming", uri=f"tcp:{lab.south.address}:{PORT}")
        ready_s, ready_cpu_s = time.time() - start, destination.cpu_s()
        source.prepare_migration(contender.channels, DOWNTIME_MS,
                                 {"tls-hostname": lab.south.address} if contender.tls else None)
        source_before, source_virtual = source.cpu_s(), virtual_cpu_s(source.pid)
        wire_before = wire_bytes(lab.north.namespace)
        command_at = time.time()
        source.qmp("migrate", uri=f"tcp:{lab.south.address}:{PORT}")
        virtual_at_stop = await_move(source.qmp, destination.qmp, source.pid, MOVE_SECONDS)
        wait_for("end of the source's migration",
                 lambda: source.qmp("query-migrate")["status"] == "completed", 30, 0.005)
        stream_bytes = source.qmp("query-migrate")["ram"]["transferred"]
        source_cpu_s = source.end() - source_before - (virtual_at_stop - source_virtual)
        result = {
            **times_of(source.qmp, destination.qmp, command_at),
            "ready_s": ready_s, "ready_cpu_s": ready_cpu_s,
            "source_qemu_cpu_s": source_cpu_s,
            "destination_qemu_cpu_s": destination.cpu_s() - virtual_cpu_s(destination.pid),
            "source_own_cpu_s": 0.0, "destination_own_cpu_s": 0.0,
            "wire_bytes": wire_bytes(lab.north.namespace) - wire_before, "stream_bytes": stream_bytes,
        }
        # That it goes on counting is the least that a move must give.
        with contextlib.closing(Serial(destination.serial_path)) as serial:
            serial.wait_counting(30)
    return result


class EngineCost:
    """CPU of one host's own processes: engine, gate, notaries; ended children apart."""

    def __init__(self, host):
        self.pid = host.engine.pid
        self.roles = [pid for pid, name in children(self.pid) if name.startswith("sealift-")]
        self.own, self.ended = self._own(), ended_children_s(self.pid)

    def _own(self):
        return cpu_s(self.pid) + sum(cpu_s(pid) for pid in self.roles)

    def own_s(self):
        return self._own() - self.own

    def ended_s(self):
        return ended_children_s(self.pid) - self.ended


def vm_text(lab, name, setting, contender):
    text = lab.vm_text(name, memory=setting.size_mib, nic=False, mode=contender.mode, machine=setting.machine)
    lines = [f'append = "{append_of(setting)}";' if line.startswith("append =") else line
             for line in text.splitlines()]
    return "\n".join([*lines, 'display = "none";', ""])


def witness_of_new(lab, known):
    """The monitor of the QEMU that was started since `known` was listed, and its process id."""
    def look():
        new = set(os.listdir(lab.witness)) - known
        return new.pop() if new else None
    name = wait_for("QEMU at the destination", look, 60, 0.005)
    return Qmp(os.path.join(lab.witness, name)), int(name)


def measure_sealift(stage, contender, setting):
    lab = stage.lab(contender.aead, contender.guard == guarded.OFF)
    north, south = lab.north, lab.south
    # Each a VM of its own: one that has moved away may not be started here again.
    stage.vms += 1
    text = vm_text(lab, f"bench{stage.vms}", setting, contender)
    vm = north.call("vm-start", text=text, file="vm.conf")["vm"]
    try:
        with contextlib.closing(Serial(vm["serial"])) as serial:
            serial.wait_counting(BOOT_SECONDS)
        if contender.guard == guarded.COLD:
            shutil.rmtree(os.path.join(south.state, "twins"), ignore_errors=True)
        Ballast(setting.size_mib + BALLAST_SPARE_MIB).close()
        return move_sealift(lab, contender, vm)
    finally:
        for host in (north, south):
            host_vm = host.vm(vm["name"])
            if host_vm and host_vm["state"] not in ("moved", "stopped"):
                with contextlib.suppress(Exception):
                    host.call("vm-stop", vm=vm["name"])


def twin_bytes(host):
    """What the guard of the last move was given to judge by, and holds."""
    path = os.path.join(host.state, "twins")
    files = [os.stat(os.path.join(path, name)) for name in os.listdir(path)] if os.path.isdir(path) else []
    return max(files, key=lambda file: file.st_mtime).st_size if files else 0


def move_sealift(lab, contender, vm):
    north, south, source_pid = lab.north, lab.south, vm["pid"]
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(contextlib.closing(Qmp(os.path.join(lab.witness, str(source_pid)))))
        costs = EngineCost(north), EngineCost(south)
        known = set(os.listdir(lab.witness))
        source_before, source_virtual = cpu_s(source_pid), virtual_cpu_s(source_pid)
        wire_before = wire_bytes(north.namespace)
        command_at = time.time()
        migration = north.call("migrate", vm=vm["name"], destination="south", channels=contender.channels,
                               max_downtime_ms=DOWNTIME_MS)["migration"]
        destination, pid = witness_of_new(lab, known)
        stack.enter_context(contextlib.closing(destination))
        # It answers as soon as it has started and populated its memory.
        ready_cpu_s = cpu_s(pid)
        virtual_at_stop = await_move(source, destination, source_pid, MOVE_SECONDS)
        views = [host.wait_migration(migration, 60) for host in (north, south)]
        if any(view["state"] != "done" for view in views):
            raise RuntimeError(f"{contender.name}: {views}")
        wait_for("end of the movers", lambda: not any(
            name == "sealift-mover" for host in (north, south) for _, name in children(host.engine.pid)), 30)
        reports = [view["report"] for view in views]
        movers = [report["mover_cpu_ms"] / 1000 for report in reports]
        # The source's QEMU has ended: what the engine's ended children used, less its mover and less
        # what the guest had used before.
        source_cpu_s = costs[0].ended_s() - movers[0] - source_before - (virtual_at_stop - source_virtual)
        return {
            **times_of(source, destination, command_at),
            "ready_s": reports[0]["populate_ms"] / 1000, "ready_cpu_s": ready_cpu_s,
            "source_qemu_cpu_s": source_cpu_s,
            "destination_qemu_cpu_s": cpu_s(pid) - virtual_cpu_s(pid),
            "source_own_cpu_s": costs[0].own_s() + movers[0],
            "destination_own_cpu_s": costs[1].own_s() + costs[1].ended_s(),
            "source_mover_cpu_s": movers[0], "destination_mover_cpu_s": movers[1],
            "wire_bytes": wire_bytes(north.namespace) - wire_before,
            "stream_bytes": reports[0]["stream_bytes"],
            "mover_peak_bytes": [report["mover_peak_bytes"] for report in reports],
            "twin_bytes": twin_bytes(south),
            "report": reports[0],
        }
