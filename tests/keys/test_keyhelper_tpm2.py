#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""sealift-keyhelper with a TPM (swtpm) that seals the root key: test_keyhelper_tpm2.py HELPER
ROOT_TOOL. Without the package swtpm it is skipped (77)."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
import keyhelper_link as kh  # noqa: E402
from keyhelper_link import Helper  # noqa: E402

HELPER, ROOT_TOOL = (sys.argv.pop(1), sys.argv.pop(1)) if len(sys.argv) > 2 else (None, None)
USER = "65534:65534" if os.geteuid() == 0 else None
PCR7 = 1 << 7


class Chip:
    def __init__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="sealift-tpm.")
        self.start()

    def start(self):
        self.ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.process = subprocess.Popen(
            ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={self.folder.name}", "--fd",
             str(theirs.fileno()), "--flags", "not-need-init,startup-clear", "--log", "level=0"],
            pass_fds=[theirs.fileno()], stderr=subprocess.DEVNULL)
        theirs.close()

    def seal(self, blob, pcrs=PCR7):
        done = subprocess.run([ROOT_TOOL, "tpm2", str(self.ours.fileno()), blob, str(pcrs)],
                              pass_fds=[self.ours.fileno()], env={"TSS2_LOG": "all+NONE"}, check=True,
                              capture_output=True, timeout=kh.DEADLINE_S)
        return bytes.fromhex(done.stdout.decode())

    def extend(self, pcr):
        command = (bytes.fromhex("00000182") + pcr.to_bytes(4, "big")
                   + bytes.fromhex("00000009400000090000000000") + bytes.fromhex("00000001000b")
                   + b"Z" * 32)
        self.ours.sendall(b"\x80\x02" + (len(command) + 6).to_bytes(4, "big") + command)
        assert self.ours.recv(256)[6:10] == bytes(4)

    def stop(self):
        self.ours.close()
        self.process.terminate()
        self.process.wait(kh.DEADLINE_S)


class KeyhelperTpm2Test(unittest.TestCase):
    def setUp(self):
        self.chip = Chip()
        self.blob = os.path.join(self.chip.folder.name, "root.blob")
        self.key = self.chip.seal(self.blob)

    def tearDown(self):
        self.chip.stop()
        self.chip.folder.cleanup()

    def begin(self, *, blob=True, device=True, deadline_ms=10000):
        helper = Helper(HELPER, "tpm2", user=USER)
        helper.configure(kh.TPM2, kh.number(deadline_ms))
        if blob:
            helper.give(kh.BLOB, self.blob)
        if device:
            helper.give(kh.DEVICE, self.chip.ours.fileno())
        helper.engine.send(kh.START)
        return helper

    def test_gives_the_key_once_and_ends(self):
        for _ in range(2):
            with self.begin() as helper:
                helper.engine.expect(kh.READY)
                self.assertEqual(helper.ask(kh.UNSEAL, answer=kh.KEY), self.key)
                helper.keyd.expect_end()
                helper.ends(0)

    def test_ends_unasked_with_either_link(self):
        with self.begin() as helper:
            helper.engine.expect(kh.READY)
            helper.stop()
        with self.begin() as helper:
            helper.engine.expect(kh.READY)
            helper.keyd.ours.close()
            helper.ends(0)

    def test_takes_no_other_request(self):
        for request, payload in ((kh.WRAP, bytes(32)), (kh.CHECK, b""), (kh.UNSEAL, b"x")):
            with self.begin() as helper:
                helper.engine.expect(kh.READY)
                helper.keyd.send(request, payload)
                helper.keyd.expect_end()
                helper.ends(kh.EXIT["peer"])

    def refuses(self, category, words, **more):
        with self.begin(**more) as helper:
            helper.fails_to_start(category, words)

    def test_pcrs_that_changed(self):
        self.chip.extend(7)
        self.refuses("auth", "PCRs are not what they were")

    def test_blobs_that_are_none(self):
        for content, category in ((b"x" * 200, "config"), (b"", "config"), (b"x" * 20000, "limit")):
            with open(self.blob, "wb") as file:
                file.write(content)
            self.refuses(category, "")

    def test_what_was_not_given(self):
        self.refuses("config", "no sealed root key was given", blob=False)
        self.refuses("config", "no device was given", device=False)

    def test_a_chip_that_is_gone(self):
        self.chip.process.kill()
        self.chip.process.wait(kh.DEADLINE_S)
        self.refuses("unavailable", "TPM")


if __name__ == "__main__":
    if not shutil.which("swtpm"):
        print("skipped: swtpm is not installed")
        sys.exit(77)
    unittest.main(verbosity=1)
