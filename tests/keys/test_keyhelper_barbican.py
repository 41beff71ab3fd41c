#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""sealift-keyhelper before a Keystone and a Barbican of our own (lying_barbican.py), in its sandbox
and over TLS: test_keyhelper_barbican.py HELPER."""

import os
import secrets
import sys
import tempfile
import unittest

# Before others that take their own.
HELPER = sys.argv.pop(1) if len(sys.argv) > 1 else None
sys.dont_write_bytecode = True
import keyhelper_link as kh  # noqa: E402
from keyhelper_link import Helper  # noqa: E402
from kmip_peers import Pki, free_port  # noqa: E402
from lying_barbican import LyingBarbican, tls_context  # noqa: E402

SOMEONE = ("someone", "s3cret")
USER = "65534:65534" if os.geteuid() == 0 else None


class KeyhelperBarbicanTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.scratch = tempfile.TemporaryDirectory(prefix="sealift-keyhelper.")
        cls.pki = Pki(cls.scratch.name)
        cls.pki.root("root")
        cls.pki.root("other")
        cls.pki.issue("server", "root", "serverAuth", "IP:127.0.0.1,DNS:barbican.test")
        for name in ("second", "third"):
            cls.pki.issue(name, "root", "serverAuth", "IP:127.0.0.1")
        with open(cls.pki.path("secret"), "w", encoding="ascii") as file:
            file.write(SOMEONE[1] + "\n")

    @classmethod
    def tearDownClass(cls):
        cls.scratch.cleanup()

    def begin(self, url, *, ca="root", crl=None, secret=True, **more):
        helper = Helper(HELPER, "barbican", user=USER)
        helper.configure(kh.BARBICAN, kh.barbican_configuration(url, url, SOMEONE[0], **more))
        if ca:
            helper.give(kh.CA, self.pki.path(ca + ".pem"))
        if crl:
            helper.give(kh.CRL, self.pki.path(crl))
        if secret:
            helper.give(kh.PASSWORD, self.pki.path("secret"))
        helper.engine.send(kh.START)
        return helper

    def helper(self, url, **more):
        helper = self.begin(url, **more)
        helper.engine.expect(kh.READY)
        return helper

    def lives(self, helper):
        for size in (1, 60, 256):
            blob = secrets.token_bytes(size)
            reference = helper.put("vm1", blob)
            self.assertEqual(helper.get(reference), blob)
            helper.destroy(reference)
            helper.refused("not-found", kh.GET, kh.text(reference))
        said = helper.check()
        self.assertNotIn(SOMEONE[1], helper.said())
        helper.stop()
        return said

    def test_over_tls(self):
        with LyingBarbican(tls_context(self.pki, "server")) as server:
            with self.helper(f"https://127.0.0.1:{server.port}") as helper:
                self.assertNotIn("weakened", self.lives(helper))
            with self.helper(f"https://barbican.test:{server.port}",
                             hosts=[("barbican.test", "127.0.0.1")]) as helper:
                self.lives(helper)

    def test_over_http_says_so(self):
        with LyingBarbican() as server, self.helper(server.url, ca=None, permit_http=True) as helper:
            self.assertIn("weakened: plain HTTP", self.lives(helper))

    def test_of_another_root(self):
        with LyingBarbican(tls_context(self.pki, "server")) as server:
            with self.helper(f"https://127.0.0.1:{server.port}", ca="other") as helper:
                category, _, certain, _ = helper.not_stored("vm1", b"x" * 60)
                self.assertEqual((category, certain), ("auth", True))
                helper.stop()

    def test_a_list_of_the_revoked(self):
        self.pki.crl("good", "root", revoked="second")
        self.pki.crl("stale", "root", stale=True)
        self.pki.crl("bad", "root", revoked="third")
        with LyingBarbican(tls_context(self.pki, "server")) as server:
            url = f"https://127.0.0.1:{server.port}"
            with self.helper(url, crl="good.crl") as helper:
                self.lives(helper)
            with self.helper(url, crl="stale.crl") as helper:
                helper.refused("auth", kh.CHECK)
                helper.stop()
        with LyingBarbican(tls_context(self.pki, "third")) as server:
            with self.helper(f"https://127.0.0.1:{server.port}", crl="good.crl") as helper:
                self.lives(helper)
            with self.helper(f"https://127.0.0.1:{server.port}", crl="bad.crl") as helper:
                helper.refused("auth", kh.CHECK)
                helper.stop()
        with self.begin("https://127.0.0.1:1", crl="root.pem") as helper:
            helper.fails_to_start("config", "")

    def test_nobody_listens(self):
        with self.helper(f"https://127.0.0.1:{free_port()}") as helper:
            category, _, certain, reference = helper.not_stored("vm1", b"x" * 60)
            self.assertEqual((category, certain, reference), ("unavailable", True, ""))
            helper.refused("unavailable", kh.CHECK)
            helper.stop()

    def test_a_connection_that_breaks_between_two_calls(self):
        with LyingBarbican(tls_context(self.pki, "server")) as server:
            with self.helper(f"https://127.0.0.1:{server.port}") as helper:
                reference = helper.put("vm1", b"x" * 60)
                server.hang_up()
                self.assertEqual(helper.get(reference), b"x" * 60)
                helper.stop()

    def test_configurations_that_are_none(self):
        url = "https://127.0.0.1:1"
        for what in ({"ca": None}, {"secret": False}, {"hosts": [("x", "no address")]}):
            with self.subTest(what), self.begin(url, **what) as helper:
                helper.fails_to_start("config", "")
        with self.begin("http://127.0.0.1:1") as helper:
            helper.fails_to_start("config", "")

    def test_takes_no_request_of_a_root(self):
        with self.helper("https://127.0.0.1:1") as helper:
            helper.keyd.send(kh.UNWRAP, bytes(40))
            helper.keyd.expect_end()
            helper.ends(kh.EXIT["peer"])


if __name__ == "__main__":
    unittest.main(verbosity=1)
