# SPDX-License-Identifier: Apache-2.0
"""`sealift inspect --guard`: verdicts on real and hand-made channels. What the rules are, and that
each of them holds, is for tests/guard."""

import importlib.machinery
import importlib.util
import json
import os
import shutil
import subprocess
import tempfile
import unittest

import streams
from fake_engine import CliTest, run
from streams import PAGE, be32, be64

TREE = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
QEMU = shutil.which(os.environ.get("SEALIFT_QEMU", "qemu-system-x86_64"))


def load_recorder():
    path = os.path.join(TREE, "tests/qemustream/make-device-streams")
    loader = importlib.machinery.SourceFileLoader("make_device_streams", path)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


RECORDER = load_recorder()


class TwinMachine(RECORDER.Machine):
    """One whose memory stays out of its stream."""

    def command(self, name, **arguments):
        if name == "migrate-set-capabilities":
            arguments["capabilities"].append({"capability": "x-ignore-shared", "state": True})
        super().command(name, **arguments)


class Usage(CliTest):
    def test_options_that_belong_together(self):
        for arguments, words in ((["--guard"], "--guard needs --twin and --dump"),
                                 (["--guard", "--twin", "/dev/null"], "--guard needs --twin and"),
                                 (["--twin", "t"], "--twin means nothing without --guard"),
                                 (["--channels", "2"], "--channels means nothing without --guard"),
                                 (["--agreed", "xbzrle"], "--agreed means nothing without"),
                                 (["--guard", "--twin", "t", "--dump", "d", "--agreed", "x"],
                                  "--agreed: feature x is unknown"),
                                 (["--guard", "--twin", "t", "--dump", "d", "--disks", "a"],
                                  "a is no NAME=BYTES"),
                                 (["--guard", "--return-path", "--agreed", "postcopy-ram"],
                                  "needs --sent"),
                                 (["--guard", "--return-path", "--agreed", "postcopy-preempt"],
                                  "postcopy-preempt without postcopy-ram"),
                                 (["--guard", "--pages"], "--pages does not go with --guard"),
                                 (["--guard", "--return-path", "--device", "x"],
                                  "--device does not go with --guard"),
                                 (["--guard", "--twin", "t", "--dump", "d", "--channels", "18"],
                                  "from 1 to 17"),
                                 (["--guard", "--twin", "t", "--dump", "d", "--machine", "m" * 64],
                                  "64 bytes")):
            with self.subTest(words):
                self.assert_fails(run("inspect", "-", *arguments), 2, words)

    def test_files(self):
        empty, text = self.file(""), self.file("hello")
        with_text = ["--twin", text, "--dump", text]
        for arguments, status, words in (
                (["--twin", "/nonexistent/t", "--dump", text], 4, "/nonexistent/t"),
                (["--twin", empty, "--dump", text], 2, "--twin is an empty file"),
                (["--twin", text, "--dump", empty], 2, "--dump is an empty file"),
                (with_text, 2, "--twin is no stream"),
                ([*with_text, "--machine", "pc-q35-10.0"], 2, "magic")):
            with self.subTest(words):
                self.assert_fails(run("inspect", "-", "--guard", *arguments), status, words)


class ReturnPath(CliTest):
    def judge(self, data, *arguments):
        with tempfile.TemporaryFile() as stream:
            stream.write(data)
            stream.seek(0)
            return run("inspect", "-", "--guard", "--return-path", "--json", *arguments,
                       stdin=stream)

    def test_good(self):
        data = streams.message(2, be32(1)) + streams.message(1, be32(0))
        result = self.judge(data)
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        verdict = json.loads(result.stdout)
        self.assertEqual((verdict["kind"], verdict["verdict"], verdict["bytes"]),
                         ("guard", "accepted", len(data)))

    def test_bad(self):
        for data in (streams.message(3, be64(0) + be32(PAGE) + streams.name("m0")),
                     streams.message(2, be32(7)), streams.message(2, be32(1))[:5],
                     streams.message(1, be32(0)) + b"\0"):
            result = self.judge(data)
            self.assert_fails(result, 8, "guard-")
            self.assertEqual(json.loads(result.stdout)["error"]["category"], "peer")

    def test_agreed(self):
        ack = be32(7 << 16) + streams.message(1, be32(0))
        self.assert_fails(self.judge(ack), 8, "guard-return-message")
        self.assertEqual(self.judge(ack, "--agreed", "switchover-ack").returncode, 0)

    def test_requests(self):
        with tempfile.NamedTemporaryFile() as sent:
            sent.write(streams.main_stream())
            sent.flush()
            postcopy = ["--agreed", "postcopy-ram", "--sent", sent.name]
            begin = streams.message(2, be32(1)) + streams.message(2, be32(2))
            good, bad = (begin + streams.message(3, be64(at) + be32(PAGE) + streams.name("low"))
                         for at in (0, 1 << 40))
            self.assertEqual(self.judge(good, *postcopy).returncode, 0)
            self.assert_fails(self.judge(bad, *postcopy), 8, "guard-return-request")
            self.assert_fails(self.judge(good), 8, "guard-return-")


@unittest.skipUnless(QEMU, "no QEMU here")
class Destination(CliTest):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="sealift-inspect.")
        cls.addClassCleanup(cls.folder.cleanup)
        for name, kind in (("twin", TwinMachine), ("source", RECORDER.Machine)):
            cls.record(name, kind)
        subprocess.run([QEMU, "-machine", streams.MACHINE, "-display", "none", "-dump-vmstate",
                        cls.path("dump")], check=True, stdin=subprocess.DEVNULL, timeout=60)

    @classmethod
    def path(cls, name):
        return os.path.join(cls.folder.name, name)

    @classmethod
    def record(cls, name, kind):
        memory = (f"memory-backend-file,id=m0,size=16M,share=on,"
                  f"mem-path={cls.path(name + '.memory')}")
        with open(cls.path(name + ".log"), "w", encoding="utf-8") as log:
            machine = kind(QEMU, ["-machine", streams.MACHINE + ",memory-backend=m0", "-object",
                                  memory, "-accel", "tcg", "-S", "-m", "16", "-device",
                                  "virtio-rng-pci"], log)
            try:
                machine.begin()
                machine.migrate(cls.path(name))
            finally:
                machine.close()

    def judge(self, data, *arguments):
        with tempfile.TemporaryFile() as stream:
            stream.write(data)
            stream.seek(0)
            return run("inspect", "-", "--json", "--guard", "--twin", self.path("twin"), "--dump",
                       self.path("dump"), *arguments, stdin=stream)

    def source(self):
        with open(self.path("source"), "rb") as data:
            return data.read()

    def test_good_main_channel(self):
        data = self.source()
        for arguments in ([], ["--machine", streams.MACHINE, "--channels", "1"]):
            result = self.judge(data, *arguments)
            self.assertEqual((result.returncode, result.stderr), (0, ""))
            verdict = json.loads(result.stdout)
            self.assertEqual((verdict["verdict"], verdict["bytes"]), ("accepted", len(data)))
            self.assertGreater(verdict["devices"], 20)

    def test_bad_main_channel(self):
        data = self.source()
        block = streams.name("m0")
        for i, bad in enumerate((data.replace(b"pc-q35-10.0", b"pc-q35-9.21", 1),
                                 data.replace(block, streams.name("m1"), 1),
                                 data.replace(b"virtio-rng", b"virtio-rna"),
                                 data[:len(data) // 2], data[:-1], data + b"\0")):
            with self.subTest(i):
                self.assertNotEqual(bad, data)
                self.assert_fails(self.judge(bad), 8, "guard-")
        self.assert_fails(self.judge(data, "--machine", "pc-q35-9.2"), 2, "pc-q35-9.2")

    def test_multifd(self):
        initial = be32(0x11223344, 1) + bytes(56)
        packets = [streams.packet(i, normal=(i * PAGE,), zeroes=(64 * PAGE,), block="m0")
                   for i in range(3)]
        result = self.judge(initial + b"".join(packets))
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertEqual(json.loads(result.stdout)["pages"], 3)
        for bad in (streams.packet(0, normal=(16 << 20,), block="m0"),
                    streams.packet(0, normal=(0,), block="m1"), b"x"):
            self.assert_fails(self.judge(initial + bad), 8, "guard-")


if __name__ == "__main__":
    unittest.main()
