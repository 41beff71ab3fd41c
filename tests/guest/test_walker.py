#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Boots the test guest once, under TCG, and asks whether its checks hold, and whether they can fail.

SEALIFT_GUEST names a folder made by scripts/build-guest; without it one is made for this run.
SEALIFT_QEMU names another QEMU. Run: /usr/bin/python3 -m unittest tests/guest/test_walker.py
"""

import os
import re
import socket
import subprocess
import tempfile
import threading
import time
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
QEMU = os.environ.get("SEALIFT_QEMU", "qemu-system-x86_64")
BOOT_DEADLINE_S = 60
ANSWER_DEADLINE_S = 30
MEM_MIB = 32
DISK_BYTES = 8 << 20
MARKER = "5EA11F700DC0FFEE"
LINE = re.compile(
    r"^walker t=(?P<t>\d+) checked=(?P<checked>\d+) errors=(?P<errors>\d+)"
    r" dirtied=(?P<dirtied>\d+) rounds=(?P<rounds>\d+) disk=(?P<disk>\d+) tcp=(?P<tcp>\d+)$"
)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def parse(line):
    found = LINE.match(line.strip())
    return found and {name: int(value) for name, value in found.groupdict().items()}


class Guest:
    """One guest: its console is read by a thread; whoever waits for a line has a deadline."""

    def __init__(self, folder, disk):
        self.port = free_port()
        self.disk = disk
        self.lines = []
        self.ended = False
        self.news = threading.Condition()
        parameters = f"walker.mem={MEM_MIB} walker.rate=500 walker.seed=7 walker.disk=1"
        self.process = subprocess.Popen(
            [
                QEMU, "-accel", "tcg", "-machine", "q35", "-m", "256",
                "-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio",
                "-kernel", os.path.join(folder, "vmlinuz"),
                "-initrd", os.path.join(folder, "initrd.img"),
                "-append", f"console=ttyS0 quiet {parameters} walker.pattern={MARKER}",
                "-netdev", "user,id=n0,net=10.0.0.0/24,"
                f"hostfwd=tcp:127.0.0.1:{self.port}-10.0.0.5:7777",
                "-device", "virtio-net-pci,netdev=n0",
                "-drive", f"if=none,id=d0,format=raw,file={disk}",
                "-device", "virtio-blk-pci,drive=d0",
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, errors="replace",
        )
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            with self.news:
                self.lines.append(line.rstrip())
                self.news.notify_all()
        with self.news:
            self.ended = True
            self.news.notify_all()

    def wait(self, accept, deadline_s, start=0):
        """The first value of accept(line) that is true, from line number `start` on."""
        until = time.monotonic() + deadline_s
        with self.news:
            while True:
                for line in self.lines[start:]:
                    value = accept(line)
                    if value:
                        return value
                start = len(self.lines)
                left = until - time.monotonic()
                if left <= 0 or self.ended:
                    raise AssertionError("not seen on the console:\n" + "\n".join(self.lines[-20:]))
                self.news.wait(left)

    def statuses(self):
        with self.news:
            return [status for status in map(parse, self.lines) if status]

    def connect(self):
        connection = socket.create_connection(("127.0.0.1", self.port), ANSWER_DEADLINE_S)
        return connection.makefile("rw", newline="\n"), connection

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(ANSWER_DEADLINE_S)
        self.reader.join(ANSWER_DEADLINE_S)
        self.process.stdout.close()


class Walker(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.scratch = tempfile.TemporaryDirectory(prefix="sealift-walker-")
        cls.addClassCleanup(cls.scratch.cleanup)
        folder = os.environ.get("SEALIFT_GUEST")
        if not folder:
            folder = os.path.join(cls.scratch.name, "guest")
            subprocess.run([os.path.join(TOP, "scripts", "build-guest"), folder], check=True,
                           stdout=subprocess.DEVNULL)
        disk = os.path.join(cls.scratch.name, "disk.raw")
        with open(disk, "wb") as image:
            image.truncate(DISK_BYTES)
        cls.guest = Guest(folder, disk)
        cls.addClassCleanup(cls.guest.close)
        cls.guest.wait(parse, BOOT_DEADLINE_S)

    def ask(self, line):
        stream, connection = self.guest.connect()
        with connection, stream:
            stream.write(line + "\n")
            stream.flush()
            return stream.readline().rstrip("\n")

    def status_after(self, accept):
        return self.guest.wait(
            lambda line: (lambda status: status and accept(status) and status)(parse(line)),
            ANSWER_DEADLINE_S)

    # The names order the tests: what harms the guest comes last.

    def test_1_counter_goes_up_by_one(self):
        self.status_after(lambda status: status["t"] >= 4)
        seen = [status["t"] for status in self.guest.statuses()]
        self.assertEqual(seen, list(range(1, len(seen) + 1)))

    def test_1_memory_is_dirtied_and_checked_whole(self):
        status = self.status_after(lambda status: status["rounds"] >= 1)
        self.assertGreaterEqual(status["checked"], MEM_MIB * 256)
        self.assertGreater(status["dirtied"], 0)
        self.assertEqual(status["errors"], 0)

    def test_1_several_clients_at_once(self):
        first, first_connection = self.guest.connect()
        second, second_connection = self.guest.connect()
        with first_connection, first, second_connection, second:
            for stream, text in ((second, "two words"), (first, "one")):
                stream.write(f"ping {text}\n")
                stream.flush()
                self.assertRegex(stream.readline(), rf"^pong \d+ 0 {text}\n$")
            first.write("quit\n")
            first.flush()
            self.assertEqual(first.readline(), "")
            second.write("status\n")
            second.flush()
            self.assertTrue(parse(second.readline()))

    def test_1_unknown_command_is_refused(self):
        self.assertEqual(self.ask("pingpong"), "error unknown command")

    def test_1_overlong_line_ends_the_connection(self):
        stream, connection = self.guest.connect()
        with connection, stream:
            connection.sendall(b"x" * 600)
            try:
                self.assertEqual(connection.recv(1), b"")
            except ConnectionResetError:
                pass

    def test_2_check_finds_memory_good(self):
        self.assertEqual(self.ask("check"), f"check ok pages={MEM_MIB * 256} errors=0")

    def test_2_disk_is_good_and_carries_the_marker(self):
        status = self.status_after(lambda status: status["disk"] >= 3)
        self.assertEqual(status["errors"], 0)
        with open(self.guest.disk, "rb") as image:
            self.assertIn(MARKER.encode(), image.read())

    def test_3_check_finds_one_flipped_bit(self):
        self.assertRegex(self.ask("corrupt"), r"^corrupt ok page=\d+$")
        self.assertEqual(self.ask("check"), f"check ok pages={MEM_MIB * 256} errors=1")
        self.assertEqual(self.ask("check"), f"check ok pages={MEM_MIB * 256} errors=1")
        self.assertRegex(self.ask("ping x"), r"^pong \d+ 1 x$")
        self.assertTrue(self.guest.wait(
            lambda line: re.match(r"walker mismatch page=\d+ version=\d+ is=other$", line),
            ANSWER_DEADLINE_S))

    def test_4_disk_check_finds_a_changed_block(self):
        before = parse(self.ask("status"))["errors"]
        with open(self.guest.disk, "r+b") as image:
            byte = image.read(1)
            image.seek(0)
            image.write(bytes([byte[0] ^ 1]))
        self.status_after(lambda status: status["errors"] == before + 1)
        self.assertTrue(self.guest.wait(
            lambda line: re.match(r"walker mismatch block=0 version=\d+ is=other$", line),
            ANSWER_DEADLINE_S))

    def test_5_poweroff_ends_the_machine(self):
        self.ask("poweroff")
        self.assertEqual(self.guest.process.wait(ANSWER_DEADLINE_S), 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
