#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Records device state of real QEMUs and has it judged: test_device_streams.py JUDGE OUTDIR.
SEALIFT_GUEST_DIR and SEALIFT_STOCK_QEMU say where the guest and an older QEMU are, if not in
build/guest and build/stock-qemu of the tree. Skipped without QEMU."""

import os
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(TOP, "tests/support"))
import judged  # noqa: E402


def main():
    judge, outdir = sys.argv[1:]
    judged.self_test()
    shutil.rmtree(outdir, ignore_errors=True)
    guest = os.environ.get("SEALIFT_GUEST_DIR", os.path.join(TOP, "build/guest"))
    old = os.environ.get("SEALIFT_STOCK_QEMU",
                         os.path.join(TOP, "build/stock-qemu/qemu-system-x86_64"))
    made = subprocess.run([os.path.join(HERE, "make-device-streams"), outdir, "--guest", guest,
                           "--old", old], check=False)
    if made.returncode:
        return made.returncode
    running = os.path.exists(os.path.join(guest, "initrd.img"))
    return judged.judge([judge, outdir], outdir,
                        ["q35-new"] + (["run-new", "rest-new"] if running else []))


if __name__ == "__main__":
    sys.exit(main())
