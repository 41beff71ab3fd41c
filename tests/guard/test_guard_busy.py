#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A guest that ran on a machine of many devices is no alarm: test_guard_busy.py JUDGE OUTDIR.
Firmware and kernel set up disks, displays, clocks and buses that a machine never started has not, so
each stream has state that its twin lacks. SEALIFT_GUEST_DIR and SEALIFT_STOCK_QEMU as for
test_device_streams.py. Skipped without QEMU or guest."""

import importlib.machinery
import importlib.util
import os
import shutil
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(TOP, "tests/support"))
import judged  # noqa: E402

MAKER = os.path.join(TOP, "tests/qemustream/make-device-streams")


def load_maker():
    loader = importlib.machinery.SourceFileLoader("make_device_streams", MAKER)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


def more_devices(maker):
    """Beside those of the guest of make-device-streams."""
    arguments = ["-audiodev", "none,id=a"]
    for i in range(1, 5):
        arguments += ["-netdev", f"hubport,id=h{i},hubid={i}"]
    for i in range(4):
        arguments += ["-blockdev", f"null-co,node-name=z{i},size=1048576,read-zeroes=on"]
    return arguments + maker.devices(
        "e1000e,netdev=h1", "e1000,netdev=h2", "rtl8139,netdev=h3", "vmxnet3,netdev=h4",
        "intel-hda,id=i", "hda-duplex,bus=i.0,audiodev=a", "ich9-ahci,id=h",
        "ide-hd,bus=h.0,drive=z0", "ide-cd,bus=h.1,drive=z1", "usb-ehci,id=e",
        "usb-storage,bus=e.0,drive=z2", "pvscsi,id=pv", "scsi-hd,bus=pv.0,drive=z3", "sdhci-pci",
        "pcie-root-port,id=r0,chassis=1", "virtio-tablet-pci")


def main():
    judge, outdir = sys.argv[1:]
    judged.self_test()
    maker = load_maker()
    guest = os.environ.get("SEALIFT_GUEST_DIR", os.path.join(TOP, "build/guest"))
    old = os.environ.get("SEALIFT_STOCK_QEMU",
                         os.path.join(TOP, "build/stock-qemu/qemu-system-x86_64"))
    qemu = shutil.which(os.environ.get("SEALIFT_QEMU", "qemu-system-x86_64"))
    if not qemu or not os.path.exists(os.path.join(guest, "initrd.img")):
        print("test_guard_busy.py: no QEMU, or no guest")
        return 77
    qemus = {"new": qemu}
    if os.path.exists(old):
        qemus["old"] = old
    shutil.rmtree(outdir, ignore_errors=True)
    os.makedirs(outdir)
    plain = maker.guest_machine
    maker.guest_machine = lambda *arguments: plain(*arguments) + more_devices(maker)
    recorder = maker.Recorder(outdir)
    for label, binary in qemus.items():
        recorder.dump(f"q35-{label}", binary, "pc-q35-7.2")
    maker.record_running(recorder, qemus, guest)
    recorder.finish()
    wanted = [f"{state}-{label}" for state in ("run", "rest") for label in qemus]
    return judged.judge([judge, outdir, "compare"], outdir, wanted + ["q35-new"])


if __name__ == "__main__":
    sys.exit(main())
