# SPDX-License-Identifier: Apache-2.0
"""What the kernel says of a lab's processes, whatever the engines believe: which live, whose they
are, which virtual CPUs really run."""
import contextlib
import ctypes
import dataclasses
import os
import signal
import threading
from time import monotonic  # noqa: F401

from lab import wait_for

SAMPLE_SECONDS = 0.02
# A virtual CPU that runs a guest uses the time; one that is only told things, far less.
BUSY_NS = 2_000_000
OVERLAPS = 4


@dataclasses.dataclass
class Process:
    pid: int
    parent: int
    state: str
    name: str
    arguments: list
    namespace: str


def read(path):
    with contextlib.suppress(OSError), open(path, "rb") as file:
        return file.read()
    return b""


def process_of(pid):
    """None if it is gone, or a zombie that only waits for somebody to notice."""
    stat = read(f"/proc/{pid}/stat").decode(errors="replace")
    if ")" not in stat:
        return None
    fields = stat[stat.rindex(")") + 2:].split()
    if fields[0] in "ZX":
        return None
    namespace = ""
    with contextlib.suppress(OSError):
        namespace = os.readlink(f"/proc/{pid}/ns/net")
    arguments = [part.decode(errors="replace") for part in read(f"/proc/{pid}/cmdline").split(b"\0")]
    name = os.path.basename(arguments[0]) if arguments[0] else ""
    return Process(pid, int(fields[1]), fields[0], name, arguments, namespace)


def processes():
    found = (process_of(int(entry)) for entry in os.listdir("/proc") if entry.isdigit())
    return [process for process in found if process]


def alive(pid):
    return process_of(pid) is not None


def namespace_of(host):
    """What /proc calls a host's network namespace."""
    status = os.stat(f"/run/netns/{host.namespace}")
    return f"net:[{status.st_ino}]"


def of_host(host):
    """All processes in a host's namespace."""
    inode = namespace_of(host)
    return [process for process in processes() if process.namespace == inode]


def qemus(host):
    return [process for process in of_host(host) if process.name.startswith("qemu-system")]


def hypervisors(lab, uuid):
    """All QEMUs of a VM in this lab; another lab may have a VM of the same UUID."""
    return [process for host in lab.hosts for process in qemus(host) if uuid_of(process) == uuid]


def uuid_of(process):
    arguments = process.arguments
    return arguments[arguments.index("-uuid") + 1] if "-uuid" in arguments else ""


def roles(host, name, mode=None):
    """Process ids of an engine's children of one kind. Most have a network namespace of their own."""
    return [process.pid for process in processes()
            if host.engine and process.parent == host.engine.pid and process.name == name and
            (mode is None or mode in process.arguments)]


def orphans(lab):
    """Roles that live on without their engine."""
    engines = [host.engine.pid for host in lab.hosts if host.engine]
    return [process for process in processes()
            if process.arguments[0].startswith(lab.libexec + "/") and process.parent not in engines]


def is_sandboxed(pid):
    return b"\nSeccomp:\t2" in read(f"/proc/{pid}/status")


def threads(pid):
    with contextlib.suppress(OSError):
        return [int(entry) for entry in os.listdir(f"/proc/{pid}/task")]
    return []


def is_stopped(pid):
    states = []
    for thread in threads(pid):
        stat = read(f"/proc/{pid}/task/{thread}/stat").decode(errors="replace")
        states.append(stat[stat.rindex(")") + 2] if ")" in stat else "X")
    return bool(states) and all(state in "TtXZ" for state in states)


def is_idle(pid):
    """Whether all its threads wait for something."""
    states = [read(f"/proc/{pid}/task/{thread}/stat").decode(errors="replace") for thread in threads(pid)]
    return bool(states) and all(state[state.rindex(")") + 2] == "S" for state in states if ")" in state)


def freeze(pid):
    os.kill(pid, signal.SIGSTOP)
    wait_for(f"stop of process {pid}", lambda: is_stopped(pid), 10)


def thaw(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def kill(pid):
    """kill -9; returns once it is dead."""
    os.kill(pid, signal.SIGKILL)
    wait_for(f"death of process {pid}", lambda: not alive(pid), 10)


# Numbers of calls in which a thread of the mover waits for bytes, and holds no lock: read, poll,
# recvfrom, recvmsg, ppoll (asm/unistd_64.h).
WAITING_CALLS = {"0", "7", "45", "47", "271"}


class HeldThread:
    """One thread that stands still, in a call that waits for bytes, while the others of its process go
    on; by ptrace(2). To be used by one thread of ours only."""
    SEIZE, INTERRUPT, DETACH, WALL = 0x4206, 0x4207, 17, 0x40000000

    def __init__(self, thread):
        self.thread = thread
        wait_for(f"thread {thread} to wait for bytes", self.hold_in_call, 10)

    def hold_in_call(self):
        """Elsewhere it could hold a lock, which would hold all the others too."""
        self.call(self.SEIZE)
        self.call(self.INTERRUPT)
        os.waitpid(self.thread, self.WALL)
        if read(f"/proc/{self.thread}/syscall").decode().split(" ")[0] in WAITING_CALLS:
            return True
        self.call(self.DETACH)
        return False

    def call(self, request):
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.ptrace(request, self.thread, None, None):
            raise OSError(ctypes.get_errno(), f"ptrace of thread {self.thread}")

    def release(self):
        try:
            self.call(self.DETACH)
        except OSError:
            # It was killed: its process is gone only once its tracer has seen that.
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self.thread, self.WALL)


def return_path_thread(mover):
    """The thread of a destination's mover that carries what QEMU says back to the source. Threads are
    made in the order main, then out and in of each channel."""
    return sorted(threads(mover))[1]


def descriptors(pid):
    with contextlib.suppress(OSError):
        return os.listdir(f"/proc/{pid}/fd")
    return []


def virtual_cpus(pid):
    found = []
    for thread in threads(pid):
        name = read(f"/proc/{pid}/task/{thread}/comm").decode(errors="replace")
        if name.startswith(("CPU ", "ALL CPUs")):
            found.append(thread)
    return found


def cpu_ns(pid, thread_ids):
    """Time that these threads have run so far."""
    total = 0
    for thread in thread_ids:
        line = read(f"/proc/{pid}/task/{thread}/schedstat").split()
        total += int(line[0]) if line else 0
    return total


def guest_runs(pid, seconds=20):
    """Whether the guest in this QEMU really runs: its virtual CPUs use time."""
    cpus = virtual_cpus(pid)
    before = cpu_ns(pid, cpus)
    with contextlib.suppress(Exception):
        return wait_for("work of a virtual CPU", lambda: cpu_ns(pid, cpus) - before > 5 * BUSY_NS, seconds)
    return False


class Witness:
    """Watches all hypervisors of a lab all the time: no two of one VM may run at once."""

    def __init__(self, lab):
        self.lab = lab
        self.ended = threading.Event()
        self.known = {}  # pid: (uuid, threads)
        self.times = {}
        self.overlaps = {}
        self.complaints = []
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()

    def learn(self, pid):
        if pid not in self.known:
            process, cpus = process_of(pid), virtual_cpus(pid)
            if process and cpus:
                self.known[pid] = (uuid_of(process), cpus)

    def busy(self):
        """uuid: process ids whose virtual CPUs worked since the last look."""
        found = {}
        for host in self.lab.hosts:
            for pid in host.qemus():
                self.learn(pid)
                if pid not in self.known:
                    continue
                uuid, cpus = self.known[pid]
                now = cpu_ns(pid, cpus)
                if now - self.times.get(pid, now) > BUSY_NS:
                    found.setdefault(uuid, set()).add(pid)
                self.times[pid] = now
        return found

    def watch(self):
        while not self.ended.wait(SAMPLE_SECONDS):
            busy = self.busy()
            for uuid in list(self.overlaps):
                if len(busy.get(uuid, ())) < 2:
                    del self.overlaps[uuid]
            for uuid, pids in busy.items():
                if len(pids) < 2:
                    continue
                self.overlaps[uuid] = self.overlaps.get(uuid, 0) + 1
                # Once is a switchover between two looks.
                if self.overlaps[uuid] == OVERLAPS:
                    self.complaints.append(f"VM {uuid} runs in processes {sorted(pids)} at once")

    def close(self):
        self.ended.set()
        self.thread.join(10)
