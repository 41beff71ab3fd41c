# SPDX-License-Identifier: Apache-2.0
"""What a demo leaves behind when it is told to (--keep) or is killed: how it is found again, and
removed without touching what is not the demo's."""
import contextlib
import glob
import json
import os
import re
import shutil
import signal
import stat
import tempfile

import lab as lab_module
from lab import LabError, wait_for

STATE_FILE = "demo.json"


def start_time(pid):
    """Tells a process from a later one with the same number; None if it is gone or a zombie."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            fields = file.read().rsplit(")", 1)[1].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def write_state(lab):
    with open(os.path.join(lab.directory, STATE_FILE), "w", encoding="ascii") as file:
        json.dump({"pid": os.getpid(), "start": start_time(os.getpid()),
                   "namespaces": lab.made_namespaces}, file)


def recorded_qemus(directory):
    """QEMUs and TPMs by the records that engines keep of them: process id and start time."""
    for path in glob.glob(os.path.join(glob.escape(directory), "*", "run", "vm", "*", "*record")):
        with contextlib.suppress(OSError, ValueError, IndexError):
            with open(path, encoding="ascii") as file:
                pid, start = file.read().split()[:2]
            if start_time(int(pid)) == start:
                yield int(pid)


def processes_of(directory, namespaces):
    """Processes of one lab: engines and roles by their program, QEMUs by their records, and whatever
    else is in its namespaces."""
    found = set(recorded_qemus(directory))
    for name in namespaces:
        with contextlib.suppress(LabError):
            found.update(map(int, lab_module.run(["ip", "netns", "pids", name]).split()))
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{entry}/exe").startswith(directory + "/"):
                found.add(int(entry))
    return found - {os.getpid()}


def remains(directory, namespaces):
    """What is still there of a lab, in words."""
    left = [f"process {pid}" for pid in sorted(processes_of(directory, namespaces))]
    left += [f"namespace {name}" for name in namespaces if os.path.exists(f"/run/netns/{name}")]
    return left + ([directory] if os.path.exists(directory) else [])


def remove(directory, namespaces):
    processes = processes_of(directory, namespaces)
    for pid in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_for("end of the demo's processes", lambda: not processes_of(directory, namespaces), 20)
    for name in namespaces:
        with contextlib.suppress(LabError):
            lab_module.run(["ip", "netns", "del", name])
    shutil.rmtree(directory, ignore_errors=True)
    return len(processes)


def clean():
    found = 0
    for directory in sorted(glob.glob(os.path.join(tempfile.gettempdir(), "sealift-*"))):
        try:
            # Whoever else may write in the temporary directory must not choose what is killed.
            entry = os.lstat(directory)
            if not stat.S_ISDIR(entry.st_mode) or entry.st_uid != os.geteuid():
                continue
            with open(os.path.join(directory, STATE_FILE), encoding="ascii") as file:
                state = json.load(file)
        except (OSError, ValueError):
            continue
        if start_time(state["pid"]) == state["start"]:
            print(f"{directory}: its demo still runs (process {state['pid']}); left alone")
            continue
        namespaces = [name for name in state["namespaces"]
                      if re.fullmatch(r"sl\w+-(north|south|tenant)", name)]
        ended = remove(directory, namespaces)
        print(f"removed {directory}, {len(namespaces)} namespaces, {ended} processes")
        found += 1
    if not found:
        print("nothing to remove")
    return 0
