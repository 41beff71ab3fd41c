# SPDX-License-Identifier: Apache-2.0
"""What processes and wires cost, asked of the kernel.

CPU time comes from each process's own CPU clock (clock_getcpuclockid(3)): that is utime + stime of
/proc/PID/stat, dead threads included, in nanoseconds where /proc rounds to 10 ms. Of children that
have ended only the sum that their parent keeps is left (cutime + cstime), to 10 ms.
"""
import contextlib
import json
import os
import subprocess
import time

from lab import run

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
UTIME, STIME, CUTIME, CSTIME, PPID = 13, 14, 15, 16, 3


def cpu_s(pid):
    """CPU seconds of a living process; 0 if it is gone."""
    with contextlib.suppress(OSError):
        return time.clock_gettime((~pid << 3) | 2)
    return 0.0


def stat_fields(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
        text = file.read()
    # The name in parentheses may hold anything.
    return [None, None, *text[text.rindex(")") + 2:].split()]


def ended_children_s(pid):
    fields = stat_fields(pid)
    return (int(fields[CUTIME]) + int(fields[CSTIME])) * TICK_S


def children(pid):
    """(process id, name) of the living children."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError, ValueError):
                if int(stat_fields(entry)[PPID]) == pid:
                    with open(f"/proc/{entry}/comm", encoding="ascii", errors="replace") as file:
                        found.append((int(entry), file.read().strip()))
    return found


def virtual_cpu_s(pid):
    """CPU seconds of the threads in which a QEMU runs its guest: the guest's own work, which no
    way of migrating can be charged with."""
    total = 0
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError):
                with open(f"/proc/{pid}/task/{thread}/comm", encoding="ascii", errors="replace") as file:
                    if not file.read().startswith("CPU "):
                        continue
                with open(f"/proc/{pid}/task/{thread}/schedstat", encoding="ascii") as file:
                    total += int(file.read().split()[0])
    return total / 1e9


def wire_bytes(namespace, device="up0"):
    """Bytes that went through a host's only cable, both ways, with their headers. Segments are
    counted as the sending kernel makes them: with offloading up to 64 KiB share one header."""
    link = json.loads(run(["ip", "-n", namespace, "-s", "-j", "link", "show", device]))[0]["stats64"]
    return link["tx"]["bytes"] + link["rx"]["bytes"]


def fsync_s(directory, times=21):
    """The median time that one small write takes to be durable in a directory."""
    path, taken = os.path.join(directory, "fsync-trial"), []
    with open(path, "wb", buffering=0) as file:
        for _ in range(times):
            start = time.monotonic()
            file.write(b"x" * 4096)
            os.fsync(file.fileno())
            taken.append(time.monotonic() - start)
    os.unlink(path)
    return sorted(taken)[times // 2]


def round_trip_s(lab, times=200):
    """The median round trip of a small message from north to south."""
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "round-trip.py")
    server = subprocess.Popen(lab.south.inside([script, lab.south.address]), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE)
    try:
        server.stdout.readline()
        return float(run(lab.north.inside([script, lab.south.address, str(times)])))
    finally:
        server.kill()
        server.wait()
        server.stdout.close()
