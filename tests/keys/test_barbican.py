#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The Barbican back-end against a real Barbican with a real Keystone: test_barbican.py CLIENT.
Without the packages python3-barbican, python3-keystone and python3-waitress it is skipped (77)."""

import base64
import contextlib
import importlib.util
import json
import os
import secrets
import sqlite3
import statistics
import sys
import tempfile
import time
import unittest

sys.dont_write_bytecode = True
from barbican_peers import BarbicanClient  # noqa: E402
from barbican_servers import Openstack  # noqa: E402
from kmip_peers import DEADLINE_S, Pki  # noqa: E402
from lying_barbican import Door, tls_context  # noqa: E402

CLIENT = sys.argv.pop(1) if len(sys.argv) > 1 else None
SHORT_MS = 4000
NAMES = ("host=keystone.test=127.0.0.1", "host=barbican.test=127.0.0.1")


def random_hex(size):
    return secrets.token_bytes(size).hex()


class BarbicanTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.scratch = tempfile.TemporaryDirectory(prefix="sealift-barbican.")
        cls.addClassCleanup(cls.scratch.cleanup)
        cls.pki = pki = Pki(cls.scratch.name)
        pki.root("root")
        pki.issue("server", "root", "serverAuth", "DNS:keystone.test,DNS:barbican.test")
        os.mkdir(pki.path("cloud"))
        start = time.monotonic()
        cls.cloud = Openstack(pki.path("cloud"))
        cls.addClassCleanup(cls.cloud.stop)
        cls.cloud.start()
        print(f"Keystone and Barbican: ready after {time.monotonic() - start:.1f} s", flush=True)
        context = tls_context(pki, "server")
        cls.keystone_door = Door(cls.cloud.keystone.port, context)
        cls.addClassCleanup(cls.keystone_door.close)
        cls.door = Door(cls.cloud.barbican.port, context)
        cls.addClassCleanup(cls.door.close)
        cls.alice_credential = cls.cloud.credential("alice", "north")
        cls.bob_credential = cls.cloud.credential("bob", "south")

    def client(self, credential=None, **what):
        """Straight to the servers, by plain HTTP on loopback."""
        return BarbicanClient(CLIENT, self.cloud.keystone.url, self.cloud.barbican.url,
                              credential or self.alice_credential, **what)

    def door_client(self, credential=None, barbican=None, options=NAMES, **what):
        """By TLS, through the doors."""
        return BarbicanClient(CLIENT, f"https://keystone.test:{self.keystone_door.port}/v3",
                              barbican or f"https://barbican.test:{self.door.port}",
                              credential or self.alice_credential, ca=self.pki.path("root.pem"),
                              options=options, **what)

    # --- the life of a key ---

    def test_a_key_of_each_size_lives_and_dies(self):
        with self.door_client() as alice:
            alice.ok("check")
            for size in (1, 16, 32, 60, 200):
                value = random_hex(size)
                reference = alice.ok("put", f"vm1/{size}", value)
                self.assertEqual(alice.ok("get", reference), value)
                alice.ok("destroy", reference)
                alice.refused("not-found", "get", reference, text="Secret not found.")
                alice.ok("destroy", reference)  # gone already
            self.assertNotIn("weakened", alice.ok("describe"))

    def test_what_barbican_says_of_it(self):
        token = self.cloud.token("alice", self.cloud.password, "north")
        with self.client() as alice:
            for size, kind, algorithm, bits in ((32, "symmetric", "aes", 256), (60, "opaque", None, None)):
                reference = alice.ok("put", "people%read&this", random_hex(size))
                status, _, told = self.cloud.request(
                    "GET", f"{self.cloud.barbican.url}/v1/secrets/{reference}", token=token)
                self.assertEqual(status, 200)
                told = json.loads(told)
                self.assertRegex(told["name"], "^people%read&this:[0-9a-f]{16}$")
                self.assertEqual((told["secret_type"], told["algorithm"], told["bit_length"],
                                  told["expiration"], told["status"]),
                                 (kind, algorithm, bits, None, "ACTIVE"))

    def test_what_was_destroyed_is_only_hidden(self):
        """Why values are wrapped before they come here: barbican.h says so."""
        with self.client() as alice:
            reference = alice.ok("put", "hidden", random_hex(60))
            alice.ok("destroy", reference)
        with contextlib.closing(sqlite3.connect(self.pki.path("cloud/barbican.db"))) as database:
            (deleted, ciphertext), = database.execute(
                "SELECT encrypted_data.deleted, cypher_text FROM encrypted_data WHERE secret_id = ?",
                [reference]).fetchall()
        self.assertTrue(deleted)
        self.assertGreater(len(ciphertext), 60)

    def test_too_large_for_barbican(self):
        with self.client() as alice:  # barbican.conf says 300, and counts base64
            self.assertIn("stored=nothing", alice.refused("limit", "put", "large", random_hex(256)))

    # --- who may ---

    def test_another_project_gets_nothing(self):
        with self.client() as alice, self.client(self.bob_credential) as bob:
            value = random_hex(60)
            reference = alice.ok("put", "of-alice", value)
            bob.refused("denied", "get", reference, text="Forbidden")
            bob.refused("denied", "destroy", reference, text="Forbidden")
            self.assertEqual(alice.ok("get", reference), value)

    def test_a_reader_stores_nothing(self):
        with self.client(self.cloud.credential("rhea", "north")) as rhea:
            rhea.refused("denied", "check")
            self.assertIn("stored=nothing", rhea.refused("denied", "put", "x", random_hex(60)))

    def test_credentials_that_are_none(self):
        for credential in ((self.alice_credential[0], "wrong"), (secrets.token_hex(16), "wrong"),
                           (self.alice_credential[0], self.bob_credential[1])):
            with self.client(credential) as nobody:
                nobody.refused("auth", "check", text="Keystone answers with status 40")

    def test_a_revoked_credential(self):
        credential = self.cloud.credential("alice", "north")
        with self.client(credential) as alice:
            reference = alice.ok("put", "orphan", random_hex(60))
            self.cloud.revoke("alice", "north", credential[0])
            alice.refused("auth", "get", reference, text="Keystone answers with status 404")
            alice.refused("auth", "destroy", reference)
        with self.client() as alice:
            alice.ok("get", reference)  # the project's, not the credential's

    def test_a_revoked_token_is_renewed(self):
        with self.door_client() as alice:
            value = random_hex(60)
            reference = alice.ok("put", "token", value)
            token = self.door.tokens[-1]
            status, _, _ = self.cloud.request("DELETE", self.cloud.keystone.url + "/v3/auth/tokens",
                                              token=token, subject=token)
            self.assertEqual(status, 204)
            self.assertEqual(alice.ok("get", reference), value)
            self.assertNotEqual(self.door.tokens[-1], token)

    def test_short_tokens_are_renewed_before_they_end(self):
        self.cloud.keystone.stop()
        self.cloud.set_lifetime(4)
        self.cloud.keystone.start()
        try:
            with self.door_client() as alice:
                reference = alice.ok("put", "short", random_hex(60))
                first, end = self.door.tokens[-1], time.monotonic() + DEADLINE_S
                while self.door.tokens[-1] == first and time.monotonic() < end:
                    alice.ok("get", reference)
                self.assertNotEqual(self.door.tokens[-1], first)
        finally:
            self.cloud.keystone.stop()
            self.cloud.set_lifetime()
            self.cloud.keystone.start()

    # --- the catalogue ---

    def test_the_catalogue_knows_the_way(self):
        url = f"https://barbican.test:{self.door.port}"
        with self.door_client(barbican="catalog") as alice:
            alice.refused("config", "check", text="no key manager that fits")
            self.cloud.offer_barbican(url)
            alice.refused("config", "check", text="no key manager that fits")  # the token is kept
        with self.door_client(barbican="catalog") as alice:
            value = random_hex(60)
            self.assertEqual(alice.ok("get", alice.ok("put", "found", value)), value)
            self.assertIn(f"Barbican {url}", alice.ok("describe"))
        with self.door_client(barbican="catalog", options=NAMES[:1]) as alice:
            alice.refused("config", "check", text='"barbican.test" has no configured address')

    # --- servers come and go ---

    def test_barbican_is_killed_and_restarted(self):
        with self.client() as alice:
            value = random_hex(60)
            reference = alice.ok("put", "survivor", value)
            self.cloud.barbican.stop()
            alice.refused("unavailable", "get", reference, text="Barbican")
            self.assertIn("stored=nothing", alice.refused("unavailable", "put", "x", random_hex(60)))
            self.cloud.barbican.start()
            self.assertEqual(alice.ok("get", reference), value)

    def test_keystone_is_killed_and_restarted(self):
        with self.client() as alice:
            self.cloud.keystone.stop()
            try:
                alice.refused("unavailable", "check", text="Keystone")
            finally:
                self.cloud.keystone.start()
            alice.ok("check")

    def test_an_answer_that_never_comes(self):
        with self.door_client(deadline_ms=SHORT_MS) as alice:
            value = random_hex(60)
            reference = alice.ok("put", "slow", value)
            self.door.hold = lambda request: True
            try:
                start = time.monotonic()
                alice.refused("timeout", "get", reference)
                self.assertLess(time.monotonic() - start, SHORT_MS / 1000 + 5)
            finally:
                self.door.hold = lambda request: False
            self.assertEqual(alice.ok("get", reference), value)

    def test_a_put_of_which_nobody_told_is_found(self):
        with self.door_client(deadline_ms=2 * SHORT_MS) as alice:
            alice.ok("check")
            value = random_hex(60)
            self.door.hold = lambda request: request.method == "POST"
            try:
                said = alice.refused("timeout", "put", "unheard", value, text="stored as ")
            finally:
                self.door.hold = lambda request: False
            reference = said.split("stored=")[1].split()[0]
            self.assertEqual(alice.ok("get", reference), value)
            alice.ok("destroy", reference)

    # --- memory and time ---

    def test_nothing_secret_stays_in_memory(self):
        value = secrets.token_bytes(60)

        def found(client, what):
            """The search brings the bytes inverted, so as not to find itself."""
            return client.ask("forget", bytes(byte ^ 0xff for byte in what).hex())

        with self.door_client() as alice:
            if "sanitizer" in found(alice, value[:16]):
                self.skipTest("a sanitizer keeps what was freed")
            alice.ok("check")
            # The search does find what is there: the secret and the token, once each, as Secrets.
            self.assertEqual(found(alice, self.alice_credential[1].encode()[20:36]), "ok 1")
            self.assertEqual(found(alice, self.door.tokens[-1].encode()[100:116]), "ok 1")
            reference = alice.ok("put", "forgotten", value.hex())
            text = base64.b64encode(value)
            for start in (0, 16, 32, 44):
                self.assertEqual(found(alice, value[start:start + 16]), "ok 0", "after put")
                self.assertEqual(found(alice, text[start:start + 16]), "ok 0", "after put")
            self.assertEqual(alice.ok("get", reference), value.hex())
            for start in (0, 16, 32, 44):
                self.assertEqual(found(alice, value[start:start + 16]), "ok 0", "after get")
            self.assertEqual(found(alice, self.door.tokens[-1].encode()[100:116]), "ok 1")

    def test_latency(self):
        for name, client in (("HTTP", self.client()), ("TLS through a proxy", self.door_client())):
            with client as alice:
                reference = alice.ok("put", "timed", random_hex(60))
                times = {"get": [int(word) for word in alice.ok("time", "30", reference).split()],
                         "put": [], "destroy": []}
                self.assertEqual(len(times["get"]), 30)
                for number in range(10):
                    for words in (["put", f"timed-{number}", random_hex(60)], ["destroy", reference]):
                        start = time.monotonic()
                        reference = alice.ok(*words) or reference
                        times[words[0]].append((time.monotonic() - start) * 1e6)
                for call, taken in times.items():
                    print(f"{name}: {call}: p50 {statistics.median(taken) / 1000:.1f} ms, max "
                          f"{max(taken) / 1000:.1f} ms", flush=True)


if __name__ == "__main__":
    missing = [name for name in ("keystone", "barbican", "keystonemiddleware", "waitress")
               if not importlib.util.find_spec(name)]
    if missing:
        print(f"skipped: no {', '.join(missing)} here; scripts/install-packages --tests has them")
        sys.exit(77)
    unittest.main()
