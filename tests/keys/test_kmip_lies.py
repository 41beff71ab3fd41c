#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The KMIP back-end against a server that lies, stalls, refuses and drops: test_kmip_lies.py CLIENT."""

import secrets
import ssl
import struct
import sys
import tempfile
import time
import unittest

sys.dont_write_bytecode = True
from kmip_peers import Client, Pki, blob, enumeration, find, free_port, structure, text  # noqa: E402
from lying_kmip import (ACTIVATE, DESTROY, DISCOVER, GET, ID, QUERY, REGISTER, REVOKE, STATE,  # noqa: E402
                        Drop, LyingKmip, Silence, message, refusal, secret_data, success, version)

CLIENT = sys.argv.pop(1) if len(sys.argv) > 1 else None
VALUE = secrets.token_bytes(60)
SHORT_MS = 400
SLACK_S = 5  # of a machine that is busy with other things


class LiesTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.scratch = tempfile.TemporaryDirectory(prefix="sealift-kmip.")
        cls.pki = Pki(cls.scratch.name)
        cls.pki.root("root")
        cls.pki.issue("server", "root", "serverAuth", "IP:127.0.0.1")
        cls.pki.issue("alice", "root", "clientAuth")

    @classmethod
    def tearDownClass(cls):
        cls.scratch.cleanup()

    def server(self, **what):
        return LyingKmip(self.pki, **what)

    def client(self, server, **what):
        return Client(CLIENT, self.pki, server.port, **what)

    # --- an honest server, so that the lies below fail for what they are ---

    def test_honest(self):
        with self.server() as server, self.client(server) as alice:
            alice.ok("check")
            self.assertEqual(alice.ok("describe"), "KMIP 1.4, TLSv1.3 TLS_AES_256_GCM_SHA384")
            reference = alice.ok("put", "label", VALUE.hex())
            self.assertEqual(alice.ok("get", reference), VALUE.hex())
            alice.ok("destroy", reference)
            alice.ok("destroy", reference)
            self.assertEqual(server.objects[reference][1], 5)
            self.assertEqual(server.connections, 1)
            self.assertEqual(server.count(DESTROY), 1)

    def test_user_name_and_password_go_to_the_server_only(self):
        with self.server() as server:
            with self.client(server, options=["user=op", "password=s3cret"]) as alice:
                alice.ok("check")
            with self.client(server) as alice:
                alice.ok("check")
            seen = [(find(request, 0x420099), find(request, 0x4200a1)) for request in server.requests]
            self.assertEqual(seen, [(b"op", b"s3cret")] * 2 + [(None, None)] * 2)

    def test_configurations_that_are_refused(self):
        def copy(source, name):
            with open(self.pki.path(source), "rb") as file, open(self.pki.path(name), "wb") as out:
                out.write(file.read())

        for name in ("mixed", "locked", "keyless"):
            copy("alice.pem", name + ".pem")
        copy("server.key", "mixed.key")
        copy("alice.pem", "keyless.key")
        self.pki.openssl("pkey", "-in", self.pki.path("alice.key"), "-aes128", "-passout", "pass:x",
                         "-out", self.pki.path("locked.key"))
        for what, words in (
                ({"options": ["password=x"]}, "a password without a user name"),
                ({"options": ["user="]}, "a user name is not"),
                ({"options": ["user=" + "x" * 256]}, "a user name is not"),
                ({"address": "localhost"}, "no numeric address"),
                ({"address": ""}, "no numeric address"),
                ({"port": 0}, "port 0"),
                ({"name": ""}, "no name of a key manager"),
                ({"name": "*.test"}, "no name of a key manager"),
                ({"name": ".test"}, "no name of a key manager"),
                ({"name": "x" * 254}, "no name of a key manager"),
                ({"deadline_ms": 600001}, "600000 are the limit"),
                ({"ca": "nobody"}, "CA of the key manager: 0 bytes"),
                ({"ca": "empty"}, "CA of the key manager: 0 bytes"),
                ({"identity": "nobody"}, "certificate for the key manager: 0 bytes"),
                ({"identity": "mixed"}, "private key for the key manager: not usable"),
                ({"identity": "locked"}, "private key for the key manager: not usable"),
                ({"identity": "keyless"}, "private key for the key manager: not usable")):
            alice = Client(CLIENT, self.pki, what.pop("port", 1), **what)
            self.assertRegex(alice.started, "^error config .*" + words)
            alice.close(1)
        for what in ({"name": "::1"}, {"name": "kms.test"}, {"address": "::1"}, {"name": "x" * 253},
                     {"deadline_ms": 600000}, {"options": ["user=" + "x" * 255]}):
            with Client(CLIENT, self.pki, 1, **what) as alice:
                self.assertEqual(alice.started, "ok")

    # --- versions ---

    def test_versions(self):
        for offer, minor in (([(1, 2)], 2), ([(1, 3), (1, 0)], 3), ([(2, 1), (1, 2), (1, 4)], 4)):
            with self.server() as server, self.client(server) as alice:
                server.lies[DISCOVER] = lambda r, h, o=offer: success(
                    DISCOVER, *[version(*pair) for pair in o], minor=2)
                alice.ok("check")
                self.assertEqual(struct.unpack(">i", find(server.requests[-1], 0x42006b))[0], minor)
        for offer in ([], [(2, 0), (2, 1)], [(1, 0), (1, 1)], [(1, 5)], [(0, 4)], [(-1, 4)]):
            with self.server() as server, self.client(server) as alice:
                server.lies[DISCOVER] = lambda r, h, o=offer: success(
                    DISCOVER, *[version(*pair) for pair in o], minor=2)
                alice.refused("peer", "put", "x", VALUE.hex(), text="speaks none of KMIP 1.2 to 1.4")
                self.assertEqual(server.count(REGISTER), 0)

    def test_check_wants_each_operation(self):
        with self.server() as server, self.client(server) as alice:
            server.lies[QUERY] = lambda r, h: success(
                QUERY, *[enumeration(0x42005c, code) for code in (3, 0x12, 0x0a, 0x0b, 0x13)])
            alice.refused("peer", "check", text="does not offer Destroy")

    # --- lies ---

    def lie_to_get(self, lie, category, words, **what):
        with self.server() as server, self.client(server, **what) as alice:
            server.objects["key"] = [VALUE, 2]
            server.lies[GET] = lie
            alice.refused(category, "get", "key", text=words)
            # The next call starts anew and is not confused by what was left over.
            del server.lies[GET]
            self.assertEqual(alice.ok("get", "key"), VALUE.hex())

    def test_lies(self):
        get = success(GET, *secret_data("key", VALUE))
        for lie, words in (
                (lambda r, h: success(GET, *secret_data("yek", VALUE)), "another key than key"),
                (lambda r, h: success(GET, *secret_data("key", b"")), "of 0 bytes"),
                (lambda r, h: success(GET, *secret_data("key", bytes(257))), "of 257 bytes"),
                (lambda r, h: success(DESTROY, text(ID, "key")), "operation 0x14"),
                (lambda r, h: message(get[88:], count=2), "Batch Count of 2"),
                (lambda r, h: get[:-8], None),
                (lambda r, h: b"HTTP/1.1 200 OK\r\n\r\n", "no KMIP response"),
                (lambda r, h: b"\x42\x00\x7b\x01\x00\x01\x00\x00", "65536 bytes"),
                (lambda r, h: b"\x42\x00\x7b\x01\x7f\xff\xff\xf8", "2147483640 bytes"),
                (lambda r, h: get + b"\0", "1 bytes behind"),
                (lambda r, h: get + get, "bytes behind"),
                (lambda r, h: b"\x42\x00\x7b\x01\x00\x00\xff\xf8" + bytes(65528 + 65536), "0x000000"),
                (lambda r, h: b"\x42\x00\x7b\x01\x00\x00\x00\x00", "no Response Header")):
            if words:
                self.lie_to_get(lie, "peer", words)
            else:  # half of an answer, and then nothing
                self.lie_to_get(lie, "timeout", "in time", deadline_ms=SHORT_MS)

    def test_refusals_have_categories(self):
        for reason, category in ((1, "not-found"), (3, "auth"), (0x0c, "denied"), (0x0b, "conflict"),
                                 (0x02, "limit"), (0x100, "peer"), (0x7777, "peer")):
            self.lie_to_get(lambda r, h, c=reason: refusal(GET, c, "so\x1b[2J"), category,
                            f"(0x{reason:x}): so\\x1b[2J")

    def test_a_refusal_keeps_the_connection(self):
        with self.server() as server, self.client(server) as alice:
            for _ in range(3):
                alice.refused("not-found", "get", "none")
            self.assertEqual(server.connections, 1)

    def test_what_says_it_is_destroyed_is_asked_again(self):
        with self.server() as server, self.client(server) as alice:
            def pretend(request, honest):
                server.objects["key-1"][1] = 3
                return honest
            server.lies[DESTROY] = pretend
            reference = alice.ok("put", "label", VALUE.hex())
            alice.refused("peer", "destroy", reference, text="but its state is Deactivated")
            server.lies[REVOKE] = lambda r, h: refusal(REVOKE, 0x0c)
            server.objects[reference][1] = 2
            alice.refused("denied", "destroy", reference, text="refuses Revoke")

    def test_an_activation_that_fails_names_what_was_stored(self):
        with self.server() as server, self.client(server) as alice:
            server.lies[ACTIVATE] = lambda r, h: refusal(ACTIVATE, 0x100)
            alice.refused("peer", "put", "label", VALUE.hex(), text="stored as key-1, but")
            self.assertEqual(server.count(REGISTER), 1)

    def test_state_of_another_kind(self):
        with self.server() as server, self.client(server) as alice:
            server.objects["key"] = [VALUE, 2]
            server.lies[STATE] = lambda r, h: success(STATE, text(ID, "key"), structure(
                0x420008, text(0x42000a, "State"), blob(0x42000b, b"gone")))
            alice.refused("peer", "destroy", "key", text="another attribute than State")

    # --- time ---

    def in_time(self, alice, *words):
        start = time.monotonic()
        alice.refused("timeout", *words, text="in time")
        took = time.monotonic() - start
        self.assertGreaterEqual(took, SHORT_MS / 1000)
        self.assertLess(took, SHORT_MS / 1000 + SLACK_S)

    def test_deadlines(self):
        with self.server() as server:
            server.mute = True
            with self.client(server, deadline_ms=SHORT_MS) as alice:
                self.in_time(alice, "check")
        for operation, words in ((DISCOVER, ["check"]), (GET, ["get", "key"]),
                                 (REGISTER, ["put", "label", VALUE.hex()]),
                                 (ACTIVATE, ["put", "label", VALUE.hex()])):
            with self.server() as server, self.client(server, deadline_ms=SHORT_MS) as alice:
                def silent(request, honest):
                    raise Silence(honest[:20])
                server.objects["key"] = [VALUE, 2]
                server.lies[operation] = silent
                self.in_time(alice, *words)
                self.assertLessEqual(server.count(REGISTER), 1)

    def test_nobody_there(self):
        with self.server() as server:
            server.port, port = free_port(), server.port
            with self.client(server) as alice:
                alice.refused("unavailable", "check", text="connect to the key manager")
            server.port = port

    # --- drops ---

    def test_dropped_at_each_byte(self):
        with self.server() as server, self.client(server) as alice:
            server.objects["key"] = [VALUE, 2]
            whole = len(success(GET, *secret_data("key", VALUE)))
            for size in range(whole + 1):
                def drop(request, honest, size=size):
                    raise Drop(honest[:size], politely=size % 2 == 1)
                server.lies[GET] = drop
                if size < whole:
                    alice.refused("unavailable", "get", "key", text="closed the connection")
                else:
                    self.assertEqual(alice.ok("get", "key"), VALUE.hex())

    def test_put_is_never_said_twice(self):
        with self.server() as server, self.client(server) as alice:
            for kept in (False, True):
                for size in (0, 1, 8, 100):
                    def drop(request, honest, size=size):
                        raise Drop(honest[:size])
                    server.lies.clear()
                    if kept:
                        alice.ok("check")
                    before = server.count(REGISTER)
                    server.lies[REGISTER] = drop
                    alice.refused("unavailable", "put", "once", VALUE.hex(),
                                  text='not certain whether "once" was stored')
                    self.assertEqual(server.count(REGISTER), before + 1)

    def test_destroy_again_after_a_lost_answer(self):
        """Whichever answer was lost, and whether the server knows a key that was destroyed or not."""
        for operation, nth in ((STATE, 1), (REVOKE, 1), (DESTROY, 1), (STATE, 2)):
            for forgets in (False, True):
                self.destroy_twice(operation, nth, forgets)

    def destroy_twice(self, operation, nth, forgets):
        with self.server() as server, self.client(server) as alice:
            reference = alice.ok("put", "label", VALUE.hex())

            def lose(request, honest):
                if server.count(operation) < nth:
                    return honest
                if forgets and server.objects.get(reference, (None, 0))[1] == 5:
                    del server.objects[reference]
                raise Drop()
            server.lies[operation] = lose
            alice.ask("destroy", reference)
            self.assertGreaterEqual(server.count(operation), nth)
            server.lies.clear()
            alice.ok("destroy", reference)
            self.assertEqual(server.objects.get(reference, (None, 5))[1], 5)
            alice.ok("destroy", reference)

    def test_another_destroys_it_between_two_requests(self):
        for operation in (REVOKE, DESTROY):
            with self.server() as server, self.client(server) as alice:
                reference = alice.ok("put", "label", VALUE.hex())

                def gone(request, honest, operation=operation):
                    server.objects.pop(reference, None)
                    return refusal(operation, 1, f"no {reference}")
                server.lies[operation] = gone
                alice.ok("destroy", reference)

    def test_a_broken_connection_is_dialled_anew_once(self):
        with self.server() as server, self.client(server) as alice:
            server.objects["key"] = [VALUE, 2]

            def drop_first(request, honest):
                if server.count(GET) == 1:
                    raise Drop()
                return honest
            alice.ok("check")
            server.lies[GET] = drop_first
            self.assertEqual(alice.ok("get", "key"), VALUE.hex())
            self.assertEqual((server.connections, server.count(GET)), (2, 2))

            def drop_always(request, honest):
                raise Drop()
            server.lies[GET] = drop_always
            alice.refused("unavailable", "get", "key")
            self.assertEqual((server.connections, server.count(GET)), (3, 4))

    def test_a_connection_grows_old(self):
        with self.server() as server, self.client(server, options=["link=1"]) as alice:
            server.objects["key"] = [VALUE, 2]
            for _ in range(20):
                self.assertEqual(alice.ok("get", "key"), VALUE.hex())
            self.assertGreater(server.connections, 1)

    def test_many_session_tickets(self):
        with self.server() as server, self.client(server) as alice:
            server.context.num_tickets = 300
            server.objects["key"] = [VALUE, 2]
            for _ in range(3):
                self.assertEqual(alice.ok("get", "key"), VALUE.hex())
            self.assertEqual(server.connections, 1)

    # --- TLS ---

    def test_revocation(self):
        def option(name):
            return {"options": ["crl=" + self.pki.path(name)]}

        self.pki.issue("second", "root", "serverAuth", "IP:127.0.0.1")
        self.pki.root("elsewhere")
        self.pki.crl("good", "root", revoked="second")
        self.pki.crl("foreign", "elsewhere")
        self.pki.crl("stale", "root", stale=True)
        self.pki.crl("bad", "root", revoked="server")
        with open(self.pki.path("broken.crl"), "w", encoding="ascii") as file:
            with open(self.pki.path("good.crl"), encoding="ascii") as good:
                file.write(good.read().replace("M", "*", 1))
        with self.server() as server:
            with self.client(server, **option("good.crl")) as alice:
                alice.ok("check")
            with self.client(server, **option("bad.crl")) as alice:
                alice.refused("auth", "check", text="certificate revoked")
            with self.client(server, **option("foreign.crl")) as alice:
                alice.refused("auth", "check", text="unable to get certificate CRL")
            with self.client(server, **option("stale.crl")) as alice:
                alice.refused("auth", "check", text="CRL has expired")
            for name in ("nothing", "alice.key", "broken.crl"):
                alice = self.client(server, **option(name))
                self.assertRegex(alice.started, "^error config revocation lists of the key manager")
                alice.close(1)

    def test_a_client_that_is_refused_hears_why(self):
        """In TLS 1.3 it thinks for a while that it was taken; often enough to meet both orders."""
        self.pki.root("other")
        self.pki.issue("mallory", "other", "clientAuth")
        with self.server() as server:
            for words in ["check"], ["put", "label", VALUE.hex()]:
                for _ in range(10):
                    with self.client(server, identity="mallory") as mallory:
                        answer = mallory.refused("auth", *words, text="alert unknown ca")
                        self.assertNotIn("not certain", answer)
            self.assertEqual(server.requests, [])

    def test_ciphers(self):
        with self.server(tls=ssl.TLSVersion.TLSv1_2, ciphers="ECDHE-ECDSA-AES128-SHA256") as server:
            with self.client(server) as alice:
                alice.refused("auth", "check", text="handshake failure")
            with self.client(server, options=["weak"]) as alice:
                alice.ok("check")
                self.assertIn(", weakened: no authenticated encryption", alice.ok("describe"))
        with self.server(tls=ssl.TLSVersion.TLSv1_2) as server, self.client(server) as alice:
            alice.ok("check")
            self.assertRegex(alice.ok("describe"), r"TLSv1\.2 ECDHE-ECDSA-AES256-GCM-SHA384$")


if __name__ == "__main__":
    unittest.main()
