#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Shows real migrations to the guard:

    test_guard_captures.py RUN_GUARD [CASE...]

Each case is recorded anew by capture.py; what is expected comes from a twin by make-twin, of the QEMU
that would load it. None may raise an alarm, and each must come out byte for byte. Then streams that
the guard must refuse as a whole, and streams with one changed field (run_guard.h). Exit status 77:
no case could be recorded.
"""

import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
CAPTURE = os.path.join(HERE, "..", "qemustream", "capture.py")
MEMORY_MIB = "32"


def stock_qemu():
    return os.environ.get("SEALIFT_STOCK_QEMU", "")


def new_qemu():
    return os.environ.get("SEALIFT_QEMU", "qemu-system-x86_64")


# name: (source, destination, machine, arguments of capture.py, modes, part of the refusal)
CASES = {
    "plain": (new_qemu, new_qemu, "q35", [], ["check", "mutate-main"], None),
    "running": (new_qemu, new_qemu, "q35", ["--running"], ["check"], None),
    "i440fx": (new_qemu, new_qemu, "pc", ["--running"], ["check"], None),
    "multifd": (new_qemu, new_qemu, "q35", ["--multifd", "none"], ["check", "mutate-multifd"],
                None),
    "multifd-4": (new_qemu, new_qemu, "q35", ["--multifd", "none", "--channels", "4", "--running"],
                  ["check"], None),
    "stock": (stock_qemu, stock_qemu, "q35", ["--running"], ["check"], None),
    "stock-multifd": (stock_qemu, stock_qemu, "pc", ["--multifd", "none", "--running"], ["check"],
                      None),
    "up": (stock_qemu, new_qemu, "pc-q35-7.2", ["--running"], ["check"], None),
    "up-multifd": (stock_qemu, new_qemu, "pc-q35-7.2", ["--multifd", "none"], ["check"], None),
    "postcopy": (new_qemu, new_qemu, "q35", ["--postcopy"], ["bad"], "guard-grammar: "),
    "zstd": (new_qemu, new_qemu, "q35", ["--multifd", "zstd"], ["bad"], "guard-grammar: "),
    "switchover-ack": (new_qemu, new_qemu, "q35", ["--switchover-ack"], ["bad"],
                       "guard-return-message: "),
}


class Skip(Exception):
    """This machine cannot record the case."""


def call(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False)
    if done.returncode == 77:
        raise Skip(done.stdout.strip())
    if done.returncode:
        raise AssertionError(f"{os.path.basename(command[0])}: {done.stdout[-2000:]}")
    return done.stdout


def record(folder, name):
    source, destination, machine, arguments, _, _ = CASES[name]
    if not source() or not destination():
        raise Skip("no SEALIFT_STOCK_QEMU")
    out = os.path.join(folder, name)
    call(CAPTURE, out, "--qemu", source(), "--destination-qemu", destination(), "--machine", machine,
         "--memory", MEMORY_MIB, *arguments)
    exact = call(os.path.join(HERE, "make-twin"), out, "--qemu", destination(), "--machine", machine,
                 "--memory", MEMORY_MIB).strip()
    return out, exact


def run_case(program, folder, name):
    out, machine = record(folder, name)
    _, _, _, _, modes, refusal = CASES[name]
    channels = sorted(file for file in os.listdir(out)
                      if file.startswith("multifd-") and file.endswith(".forward"))
    for file in channels:
        if os.path.getsize(os.path.join(out, file.replace(".forward", ".return"))):
            raise AssertionError(f"{file}: bytes came back")
    files = [os.path.join(out, file)
             for file in ("twin", "dump", "main.return", "main.forward", *channels)]
    said = []
    for mode in modes:
        text = call(program, mode, machine, *files).strip()
        if refusal and not text.startswith(refusal):
            raise AssertionError(f"refused otherwise: {text}")
        said.append(text)
    return "; ".join(said)


def main():
    program, wanted = sys.argv[1], sys.argv[2:] or list(CASES)
    passed = skipped = failed = 0
    with tempfile.TemporaryDirectory(prefix="sealift-guard.") as folder:
        for name in wanted:
            try:
                print(f"{name}: ok: {run_case(program, folder, name)}", flush=True)
                passed += 1
            except Skip as why:
                skipped += 1
                print(f"{name}: skipped: {why}", flush=True)
            except AssertionError as why:
                failed += 1
                print(f"{name}: FAILED: {why}", flush=True)
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0 if passed else 77


if __name__ == "__main__":
    sys.exit(main())
