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
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(HERE, "..", "qemustream"))
import capture  # noqa: E402

CAPTURE = os.path.join(HERE, "..", "qemustream", "capture.py")
MEMORY_MIB = "32"


def stock_qemu():
    return os.environ.get("SEALIFT_STOCK_QEMU", "")


def new_qemu():
    return os.environ.get("SEALIFT_QEMU", "qemu-system-x86_64")


POSTCOPY = "postcopy-ram"
PREEMPT = POSTCOPY + ",postcopy-preempt"
RECOVERY = POSTCOPY + ",postcopy-recovery"
NOT_AGREED = "guard-grammar: "

# name: (source, destination, machine, arguments of capture.py, what was agreed, modes of run_guard,
# part of the refusal that mode `bad` must say). A recording of the same name but for its "-not" is
# used again.
CASES = {
    "plain": (new_qemu, new_qemu, "q35", [], "", ["check", "mutate-main"], None),
    "running": (new_qemu, new_qemu, "q35", ["--running"], "", ["check"], None),
    "i440fx": (new_qemu, new_qemu, "pc", ["--running"], "", ["check"], None),
    "multifd": (new_qemu, new_qemu, "q35", ["--multifd", "none"], "",
                ["check", "mutate-multifd"], None),
    "multifd-4": (new_qemu, new_qemu, "q35", ["--multifd", "none", "--channels", "4", "--running"],
                  "", ["check"], None),
    "stock": (stock_qemu, stock_qemu, "q35", ["--running"], "", ["check"], None),
    "stock-multifd": (stock_qemu, stock_qemu, "pc", ["--multifd", "none", "--running"], "",
                      ["check"], None),
    "up": (stock_qemu, new_qemu, "pc-q35-7.2", ["--running"], "", ["check"], None),
    "up-multifd": (stock_qemu, new_qemu, "pc-q35-7.2", ["--multifd", "none"], "", ["check"], None),
    "postcopy": (new_qemu, new_qemu, "q35", ["--postcopy"], POSTCOPY,
                 ["check", "mutate-main", "mutate-return"], None),
    "postcopy-not": (new_qemu, new_qemu, "q35", ["--postcopy"], "", ["bad"], NOT_AGREED),
    "postcopy-i440fx": (new_qemu, new_qemu, "pc", ["--postcopy"], POSTCOPY, ["check"], None),
    "postcopy-stock": (stock_qemu, stock_qemu, "q35", ["--postcopy"], POSTCOPY, ["check"], None),
    "postcopy-up": (stock_qemu, new_qemu, "pc-q35-7.2", ["--postcopy"], POSTCOPY, ["check"], None),
    "preempt": (new_qemu, new_qemu, "q35", ["--preempt"], PREEMPT, ["check", "mutate-return"], None),
    "preempt-not": (new_qemu, new_qemu, "q35", ["--preempt"], "", ["bad"], NOT_AGREED),
    "recover": (new_qemu, new_qemu, "q35", ["--recover"], RECOVERY, ["recover"], None),
    "recover-preempt": (new_qemu, new_qemu, "q35", ["--recover", "--preempt"],
                        PREEMPT + ",postcopy-recovery", ["recover"], None),
    "zlib": (new_qemu, new_qemu, "q35", ["--multifd", "zlib"], "multifd-zlib",
             ["check", "mutate-multifd"], None),
    "zlib-not": (new_qemu, new_qemu, "q35", ["--multifd", "zlib"], "multifd-zstd", ["bad"],
                 NOT_AGREED),
    "zstd": (new_qemu, new_qemu, "q35", ["--multifd", "zstd"], "multifd-zstd",
             ["check", "mutate-multifd"], None),
    "zstd-not": (new_qemu, new_qemu, "q35", ["--multifd", "zstd"], "", ["bad"], NOT_AGREED),
    "stock-zlib": (stock_qemu, stock_qemu, "q35", ["--multifd", "zlib"], "multifd-zlib", ["check"],
                   None),
    "xbzrle": (new_qemu, new_qemu, "q35", ["--xbzrle"], "xbzrle", ["check", "mutate-main"], None),
    "xbzrle-not": (new_qemu, new_qemu, "q35", ["--xbzrle"], "", ["bad"], NOT_AGREED),
    "bitmaps": (new_qemu, new_qemu, "q35", ["--bitmaps"], "dirty-bitmaps",
                ["check", "mutate-main"], None),
    "bitmaps-not": (new_qemu, new_qemu, "q35", ["--bitmaps"], "", ["bad"], NOT_AGREED),
    "virtio-mem": (new_qemu, new_qemu, "q35", ["--virtio-mem", "--running"], "",
                   ["check", "mutate-main"], None),
    "virtio-mem-postcopy": (new_qemu, new_qemu, "q35", ["--virtio-mem", "--postcopy"], POSTCOPY,
                            ["check"], None),
    "ignore-shared": (new_qemu, new_qemu, "q35", ["--ignore-shared"], "", ["bad"],
                      "guard-capability: "),
    "switchover-ack": (new_qemu, new_qemu, "q35", ["--switchover-ack"], "switchover-ack",
                       ["check", "mutate-return"], None),
    "switchover-ack-not": (new_qemu, new_qemu, "q35", ["--switchover-ack"], "", ["bad"],
                           "guard-return-message: "),
}


def twin_devices(arguments, folder):
    """What the options of capture.py add to the machine; memory that is plugged stays out."""
    devices = []
    if "--xbzrle" in arguments:
        disk = os.path.join(folder, "boot")
        capture.write_boot_disk(disk)
        devices += ["-drive", f"if=none,id=boot,format=raw,file={disk}",
                    "-device", "ide-hd,drive=boot"]
    if "--virtio-mem" in arguments:
        devices += ["-m", f"{MEMORY_MIB},maxmem=256M",
                    "-object", "memory-backend-ram,id=plug,size=64M,share=on",
                    "-device", "virtio-mem-pci,memdev=plug,requested-size=16M"]
    return devices


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


def run_capture(out, *arguments):
    """Two QEMUs alone, no guard: now and then they do not find back to each other in a recovery, and
    the recorder's time is over. Then once more."""
    for last in (False, False, True):
        try:
            call(CAPTURE, out, *arguments)
            return
        except AssertionError as why:
            if last or "timed out" not in str(why):
                raise
            print(f"{os.path.basename(out)}: recorded once more: {why}", flush=True)
            shutil.rmtree(out)


def record(folder, name):
    source, destination, machine, arguments, _, _, _ = CASES[name]
    if not source() or not destination():
        raise Skip("no SEALIFT_STOCK_QEMU")
    out = os.path.join(folder, name.removesuffix("-not"))
    known = os.path.join(out, "machine")
    if os.path.exists(known):
        with open(known, encoding="ascii") as text:
            return out, text.read()
    run_capture(out, "--qemu", source(), "--destination-qemu", destination(), "--machine", machine,
                "--memory", MEMORY_MIB, *arguments)
    exact = call(os.path.join(HERE, "make-twin"), out, "--qemu", destination(), "--machine", machine,
                 "--memory", MEMORY_MIB, "--", *twin_devices(arguments, folder)).strip()
    with open(known, "w", encoding="ascii") as text:
        text.write(exact)
    return out, exact


def channels_of(out):
    """Multifd, then preempt."""
    names = sorted(file for file in os.listdir(out) if file.endswith(".forward"))
    return [name for name in names if name.startswith("multifd-")] + \
           [name for name in names if name == "preempt.forward"]


def files_of(out, main, channels):
    """Main's return path, then what goes forward; nothing may come back on the others."""
    for file in channels:
        if os.path.getsize(os.path.join(out, file.replace(".forward", ".return"))):
            raise AssertionError(f"{file}: bytes came back")
    return [os.path.join(out, file) for file in (main + ".return", main + ".forward", *channels)]


def run_case(program, folder, name):
    out, machine = record(folder, name)
    _, _, _, arguments, agreed, modes, refusal = CASES[name]
    files = files_of(out, "main", channels_of(out))
    if "recover" in modes:
        again = ["recovery-preempt.forward"] if "--preempt" in arguments else []
        files += ["--", *files_of(out, "recovery", again)]
    said = []
    for mode in modes:
        text = call(program, mode, agreed or "-", machine, os.path.join(out, "twin"),
                    os.path.join(out, "dump"), *files).strip()
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
