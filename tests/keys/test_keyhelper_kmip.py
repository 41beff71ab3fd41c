#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""sealift-keyhelper before PyKMIP's server, by its links: test_keyhelper_kmip.py HELPER. Without the
package python3-pykmip it is skipped (77)."""

import os
import secrets
import sys
import tempfile
import unittest

# Before test_kmip, which takes its own.
HELPER = sys.argv.pop(1) if len(sys.argv) > 1 else None
sys.dont_write_bytecode = True
import keyhelper_link as kh  # noqa: E402
from keyhelper_link import Helper  # noqa: E402
from kmip_peers import Pki, free_port  # noqa: E402
from test_kmip import Server  # noqa: E402

USER = "65534:65534" if os.geteuid() == 0 else None


class KeyhelperKmipTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.scratch = tempfile.TemporaryDirectory(prefix="sealift-keyhelper.")
        cls.pki = pki = Pki(cls.scratch.name)
        pki.root("root")
        pki.root("other")
        pki.issue("server", "root", "serverAuth", "IP:127.0.0.1")
        pki.issue("alice", "root", "clientAuth")
        pki.issue("bob", "root", "clientAuth")
        cls.server = Server(pki, "server", "main")
        cls.server.start()

    @classmethod
    def tearDownClass(cls):
        cls.server.kill()
        cls.scratch.cleanup()

    def files(self, identity="alice", ca="root"):
        return [(kh.CA, self.pki.path(ca + ".pem")),
                (kh.CERTIFICATE, self.pki.path(identity + ".pem")),
                (kh.PRIVATE_KEY, self.pki.path(identity + ".key"))]

    def helper(self, *, port=None, identity="alice", ca="root", **more):
        helper = Helper(HELPER, "kmip", user=USER)
        helper.configure(kh.KMIP, kh.kmip_configuration(port or self.server.port, **more),
                         self.files(identity, ca))
        helper.start()
        return helper

    def test_a_value_goes_comes_and_is_destroyed(self):
        with self.helper() as helper:
            blob = secrets.token_bytes(60)
            reference = helper.put("sealift vm1 disk0", blob)
            self.assertEqual(helper.get(reference), blob)
            self.assertIn("KMIP 1.", helper.check())
            helper.destroy(reference)
            helper.refused("not-found", kh.GET, kh.text(reference))
            helper.destroy(reference)
            self.assertNotIn(blob.hex(), helper.said())
            helper.stop()

    def test_sizes_up_to_the_limit(self):
        with self.helper() as helper:
            for size in (1, 32, 256):
                blob = secrets.token_bytes(size)
                self.assertEqual(helper.get(helper.put(f"size {size}", blob)), blob)
            helper.stop()

    def test_another_identity_is_refused(self):
        with self.helper() as alice, self.helper(identity="bob") as bob:
            reference = alice.put("of alice", b"x" * 60)
            said = bob.ask(kh.GET, kh.text(reference), answer=kh.FAILED)
            self.assertIn(kh.take_failure(said)[0], ("denied", "not-found"))
            alice.stop()
            bob.stop()

    def test_a_server_that_is_not_there_has_certainly_stored_nothing(self):
        with self.helper(port=free_port()) as helper:
            category, _, certain, reference = helper.not_stored("nowhere", b"x" * 60)
            self.assertEqual((category, certain, reference), ("unavailable", True, ""))
            # It goes on: the server may come back.
            helper.refused("unavailable", kh.CHECK)
            helper.stop()

    def test_a_server_of_another_root_is_refused(self):
        with self.helper(ca="other") as helper:
            category, _, certain, _ = helper.not_stored("to a stranger", b"x" * 60)
            self.assertEqual((category, certain), ("auth", True))
            helper.stop()

    def test_a_put_that_is_cut_off_is_not_certain(self):
        server = Server(self.pki, "server", "cut")
        server.start()
        with self.helper(port=server.port, deadline_ms=2000) as helper:
            helper.put("before", b"x" * 60)
            # Alive, so that the connection takes the request, and deaf.
            os.killpg(server.process.pid, 19)
            category, said, certain, reference = helper.not_stored("perhaps", b"x" * 60)
            server.kill()
            self.assertEqual((category, certain, reference), ("timeout", False, ""))
            self.assertIn("not certain", said)
            helper.stop()

    def test_ends_with_either_link(self):
        with self.helper() as helper:
            helper.stop()
        with self.helper() as helper:
            helper.keyd.ours.close()
            helper.ends(0)

    def test_broken_messages_of_keyd_end_it(self):
        good = kh.text("label") + kh.text(b"x" * 60)
        broken = {
            "of no type": (9999, b"", 0),
            "an answer": (kh.STORED, kh.text("r"), 0),
            "of a root": (kh.WRAP, bytes(32), 0),
            "of a chip": (kh.UNSEAL, b"", 0),
            "empty where something must be": (kh.PUT, b"", 0),
            "cut short": (kh.PUT, good[:-1], 0),
            "with more behind it": (kh.PUT, good + b"x", 0),
            "without a value": (kh.PUT, kh.text("label") + kh.text(b""), 0),
            "with too long a value": (kh.PUT, kh.text("label") + kh.text(b"x" * 257), 0),
            "with too long a label": (kh.PUT, kh.text("l" * 128) + kh.text(b"x"), 0),
            "with a label that is not printable": (kh.PUT, kh.text("l\n") + kh.text(b"x"), 0),
            "without a reference": (kh.GET, kh.text(""), 0),
            "with too long a reference": (kh.DESTROY, kh.text("r" * 256), 0),
            "with a payload where none is": (kh.CHECK, b"x", 0),
            "whose zero is not zero": (kh.CHECK, b"", 1),
        }
        for what, (kind, payload, zero) in broken.items():
            with self.subTest(what), self.helper() as helper:
                helper.keyd.send(kind, payload, zero=zero)
                helper.keyd.expect_end()
                helper.ends(kh.EXIT["peer"])

    def test_a_descriptor_too_many_ends_it(self):
        with self.helper() as helper:
            helper.keyd.send(kh.CHECK, b"", [0])
            helper.keyd.expect_end()
            helper.ends(kh.EXIT["peer"])

    def test_broken_messages_of_the_engine_end_it(self):
        good = kh.kmip_configuration(5696)
        for what, kind, payload in (
                ("the start first", kh.START, b""), ("another provider's", kh.TPM2, kh.number(1)),
                ("port 0", kh.KMIP, kh.kmip_configuration(0)),
                ("cut short", kh.KMIP, good[:-1]), ("a file first", kh.FILE, b"\0")):
            with self.subTest(what), Helper(HELPER, "kmip", user=USER) as helper:
                helper.engine.send(kind, payload)
                helper.engine.expect_end()
                helper.ends(kh.EXIT["peer"])

    def test_messages_of_the_engine_after_the_start_end_it(self):
        with self.helper() as helper:
            helper.engine.send(kh.KMIP, kh.kmip_configuration(5696))
            helper.ends(kh.EXIT["peer"])

    def test_files_are_checked(self):
        path = self.pki.path("odd")
        for part, content, category, words in (
                (kh.CA, b"", "config", "CA is empty"), (kh.CA, b"x" * 16385, "limit", "longer"),
                (kh.PASSWORD, b"a\nb\n", "config", "one line"), (kh.CA, b"no PEM", "config", "")):
            with self.subTest(content[:10]), Helper(HELPER, "kmip", user=USER) as helper:
                with open(path, "wb") as file:
                    file.write(content)
                files = dict(self.files())
                files[part] = path
                helper.configure(kh.KMIP, kh.kmip_configuration(5696), files.items())
                helper.engine.send(kh.START)
                helper.fails_to_start(category, words)

    def test_a_file_comes_once_and_where_it_belongs(self):
        with Helper(HELPER, "kmip", user=USER) as helper:
            helper.configure(kh.KMIP, kh.kmip_configuration(5696),
                             [(kh.CA, self.pki.path("root.pem"))] * 2)
            helper.fails_to_start("peer", "CA came twice")
        with Helper(HELPER, "kmip", user=USER) as helper:
            helper.configure(kh.KMIP, kh.kmip_configuration(5696),
                             [(kh.BLOB, self.pki.path("root.pem"))])
            helper.fails_to_start("peer", "is not for kmip")

    def test_its_network_is_used_before_the_eyes_of_the_filter(self):
        # The filter is on, and there is neither a file nor a process for it.
        with self.helper() as helper:
            with open(f"/proc/{helper.process.pid}/status", encoding="ascii") as status:
                fields = dict(line.split(":", 1) for line in status)
            self.assertEqual(fields["Seccomp"].strip(), "2")
            self.assertEqual(fields["NoNewPrivs"].strip(), "1")
            self.assertEqual(fields["CapBnd" if USER else "CapEff"].strip(), "0" * 16)
            helper.stop()


if __name__ == "__main__":
    try:
        import kmip  # noqa: F401
    except ImportError:
        print("skipped: python3-pykmip is not installed")
        sys.exit(77)
    unittest.main(verbosity=1)
