#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The Barbican back-end against a scripted Keystone and Barbican that lie, stall, refuse and drop:
test_barbican_lies.py CLIENT."""

import json
import secrets
import sys
import tempfile
import time
import unittest
import uuid

sys.dont_write_bytecode = True
from barbican_peers import BarbicanClient  # noqa: E402
from kmip_peers import Pki  # noqa: E402
from lying_barbican import (Drop, Flood, LyingBarbican, Silence, answer, nobody, refusal, stamp,  # noqa: E402
                            tls_context)

CLIENT = sys.argv.pop(1) if len(sys.argv) > 1 else None
SOMEONE = ("someone", "s3cret")
VALUE = secrets.token_bytes(60)
KEY = str(uuid.uuid4())
SHORT_MS = 800
SLACK_S = 5  # of a machine that is busy with other things
OCTETS = "application/octet-stream"


def chunks(*parts):
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)


class LiesTest(unittest.TestCase):
    def client(self, server, **what):
        urls = [what.pop(name, None) or server.url for name in ("keystone", "barbican")]
        return BarbicanClient(CLIENT, *urls, what.pop("credential", SOMEONE), **what)

    # --- honest, so that the lies below fail for what they are ---

    def test_honest(self):
        with LyingBarbican() as server, self.client(server) as alice:
            alice.ok("check")
            reference = alice.ok("put", "vm1/disk0", VALUE.hex())
            self.assertRegex(server.objects[reference][0], "^vm1/disk0:[0-9a-f]{16}$")
            self.assertEqual(alice.ok("get", reference), VALUE.hex())
            alice.ok("destroy", reference)
            self.assertEqual(server.objects, {})
            alice.ok("destroy", reference)
            alice.refused("not-found", "get", reference, text="Secret not found.")
            self.assertEqual(server.count("token"), 1)
            self.assertEqual(server.connections, 2)  # a put has its own
            self.assertEqual(alice.ok("describe"),
                             f"Keystone {server.url}, weakened: plain HTTP, "
                             f"Barbican {server.url}, weakened: plain HTTP")

    def test_nothing_but_what_is_needed_is_sent(self):
        with LyingBarbican() as server, self.client(server) as alice:
            alice.ok("put", "x", "00" * 32)
            alice.ok("put", "x", VALUE.hex())
            token, store, other = server.requests
            self.assertEqual(token.target, "/v3/auth/tokens?nocatalog")
            self.assertEqual(set(token.headers),
                             {"host", "user-agent", "accept", "content-type", "content-length"})
            self.assertEqual(set(store.headers), set(token.headers) | {"x-auth-token"})
            told = json.loads(store.body)
            del told["name"]
            self.assertEqual(told, {
                "secret_type": "symmetric", "algorithm": "aes", "bit_length": 256,
                "payload": "A" * 43 + "=", "payload_content_type": OCTETS,
                "payload_content_encoding": "base64"})
            self.assertEqual(json.loads(other.body)["secret_type"], "opaque")

    def test_the_environment_has_no_say(self):
        import os

        port = nobody()
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            os.environ[name] = f"http://127.0.0.1:{port}"
            self.addCleanup(os.environ.pop, name)
        with LyingBarbican() as server, self.client(server) as alice:
            alice.ok("check")

    # --- tokens ---

    def test_tokens_are_renewed_before_they_end(self):
        for off_s in (0, 86400, -86400):
            with LyingBarbican() as server, self.client(server) as alice:
                server.lifetime_s, server.clock_off_s = 2, off_s
                server.objects[KEY] = "x", VALUE
                end = time.monotonic() + SLACK_S + 2
                while server.count("token") < 2 and time.monotonic() < end:
                    alice.ok("get", KEY)
                self.assertEqual(server.count("token"), 2)

    def test_a_token_that_is_refused_is_renewed_once(self):
        with LyingBarbican() as server, self.client(server) as alice:
            server.objects[KEY] = "x", VALUE
            alice.ok("get", KEY)
            server.tokens.clear()
            self.assertEqual(alice.ok("get", KEY), VALUE.hex())
            self.assertEqual(server.count("token"), 2)
            server.tokens.clear()
            alice.ok("put", "x", VALUE.hex())
            self.assertEqual(server.count("token"), 3)
            server.lies["payload"] = lambda r, h: refusal(401)
            alice.refused("auth", "get", KEY, text="Barbican answers with status 401")
            self.assertEqual(server.count("token"), 4)

    def test_a_credential_that_keystone_does_not_take(self):
        with LyingBarbican() as server:
            with self.client(server, credential=("someone", "other")) as alice:
                alice.refused("auth", "check", text="Keystone answers with status 401: Unauthorized: who?")
                alice.refused("auth", "put", "x", VALUE.hex(), text="stored=nothing")
                self.assertEqual(server.count("list"), 0)
            with self.client(server) as alice:
                server.lies["token"] = lambda r, h: refusal(404, "Could not find it")
                alice.refused("auth", "check", text="Could not find it")

    def test_lies_of_keystone(self):
        def told(**what):
            return answer(201, {"token": {"issued_at": stamp(0), "expires_at": stamp(60), **what}},
                          headers=["X-Subject-Token: t"])
        honest = {"issued_at": stamp(0), "expires_at": stamp(60)}
        for lie, category, words in (
                (answer(201, {"token": honest}), "peer", "without X-Subject-Token"),
                (answer(201, {"token": honest}, headers=["X-Subject-Token: a", "X-Subject-Token: b"]),
                 "peer", "two tokens"),
                (answer(201, {"token": honest}, headers=["X-Subject-Token: "]), "peer", "of 0 bytes"),
                (answer(201, {"token": honest}, headers=["X-Subject-Token: " + "t" * 257]), "peer",
                 "of 257 bytes"),
                (answer(201, {"token": honest}, headers=["X-Subject-Token: a b"]), "peer", "0x20"),
                (answer(201, {"token": honest}, headers=["X-Subject-Token: a\x0bX: y"]), "peer", "0x0b"),
                (answer(200, {"token": honest}, headers=["X-Subject-Token: t"]), "peer", "status 200"),
                (told(expires_at=stamp(0)), "peer", "lives 0 seconds"),
                (told(issued_at=stamp(61)), "peer", "lives -1 seconds"),
                (told(expires_at="9999-12-31T00:00:00Z"), "peer", "are sane"),
                (told(expires_at="2026-13-01T00:00:00Z"), "peer", "expires_at"),
                (told(expires_at="2026-11-21T17:12:35+00:00"), "peer", "expires_at"),
                (told(expires_at=17), "peer", "expires_at"),
                (told(expires_at=None), "peer", "expires_at"),
                (answer(201, {"token": []}, headers=["X-Subject-Token: t"]), "peer", "no token"),
                (answer(201, [], headers=["X-Subject-Token: t"]), "peer", "not an object"),
                (answer(201, b"<html>", headers=["X-Subject-Token: t"]), "peer", "not JSON"),
                (answer(201, b'{"token":{},"token":{}}', headers=["X-Subject-Token: t"]), "peer",
                 "duplicate"),
                (answer(201, b'{"token":' + b"[" * 60000, headers=["X-Subject-Token: t"]), "peer",
                 "not JSON"),
                (refusal(500), "unavailable", "status 500"), (refusal(503), "unavailable", "503"),
                (answer(302, headers=["Location: http://127.0.0.1:1/"]), "peer", "a redirect")):
            with self.subTest(words), LyingBarbican() as server, self.client(server) as alice:
                server.lies["token"] = lambda r, h, lie=lie: lie
                alice.refused(category, "check", text=words)
                self.assertEqual(server.count("list"), 0)
                del server.lies["token"]
                alice.ok("check")

    # --- the catalogue ---

    def offer(self, server, *urls, **what):
        server.catalog = [{"type": "key-manager", "endpoints": [
            {"interface": "public", "region_id": f"r{number}", "url": url, **what}
            for number, url in enumerate(urls)]}]

    def test_the_catalogue_leads_only_to_hosts_that_are_configured(self):
        host = "host=barbican.test=127.0.0.1"
        with LyingBarbican() as server:
            good = f"http://barbican.test:{server.port}"

            def ask(category, words, *options):
                with self.client(server, barbican="catalog", options=("http", *options)) as alice:
                    if category:
                        alice.refused(category, "check", text=words)
                    else:
                        alice.ok("check")
                        self.assertIn(f"Barbican {good}", alice.ok("describe"))

            ask("config", "no key manager that fits")
            self.offer(server, good)
            ask(None, "", host)
            self.offer(server, good + "/v1/")
            ask(None, "", host)
            ask("config", '"barbican.test" has no configured address')
            self.offer(server, server.url)
            ask("config", '"127.0.0.1" has no configured address', host)
            self.offer(server, good, good + "/other")
            ask("config", "several key managers", host)
            ask(None, "", host, "region=r0")
            ask("config", "no key manager that fits", host, "region=r2")
            ask("config", "no key manager that fits", host, "interface=internal")
            self.offer(server, good, interface="internal")
            ask(None, "", host, "interface=internal")
            for url in ("ftp://barbican.test", "barbican.test", "http://u@barbican.test",
                        "http://u:p@barbican.test", "http://barbican.test/?x", "http://barbican.test/#x",
                        "http://barbican.test/../x", "http://barbican.test:99999",
                        "http://barbican.test\r\nX: y", "file:///etc/passwd", "http://.barbican.test"):
                self.offer(server, url)
                ask("config", "no URL of a service", host)
            self.offer(server, "http://" + "b" * 300)
            ask("limit", "URL of 307 bytes", host)
            self.offer(server, "")
            ask("peer", "without a URL", host)

    def test_configurations_that_are_none(self):
        for words, what in (
                ("plain HTTP is not permitted", {"options": (), "ca": "/dev/null"}),
                ("no CA", {"options": ()}),
                ("https without a CA", {"keystone": "https://127.0.0.1"}),
                ("only to this host itself", {"keystone": "http://192.0.2.1"}),
                ("only to this host itself",
                 {"barbican": "http://far.test", "options": ("http", "host=far.test=192.0.2.1")}),
                ("no configured address", {"keystone": "http://near.test"}),
                ("no numeric address", {"options": ("http", "host=near.test=localhost")}),
                ("no name of a host", {"options": ("http", "host=ne ar=127.0.0.1")}),
                ("deadline", {"deadline_ms": 600001}),
                ("not 1 to 64 printable", {"credential": ("", "x")}),
                ("not 1 to 64 printable", {"credential": ("x" * 65, "x")}),
                ("no URL", {"keystone": "http://127.0.0.1/?x"})):
            with self.subTest(words):
                what = {"keystone": "http://127.0.0.1:1", "barbican": "http://127.0.0.1:1", **what}
                if what.get("ca") == "/dev/null":
                    what["ca"] = self.scrap
                alice = self.client(None, **what)
                self.assertIn(words, alice.started)
                self.assertEqual(alice.started.split()[:2], ["error", "config"])
                alice.close(1)

    @property
    def scrap(self):
        pki = self.pki()
        return pki.path("root.pem")

    # --- lies of Barbican ---

    def lie_to_get(self, lie, category, words, **what):
        with self.subTest(words), LyingBarbican() as server, self.client(server, **what) as alice:
            server.objects[KEY] = "x", VALUE
            server.lies["payload"] = lie
            start = time.monotonic()
            alice.refused(category, "get", KEY, text=words)
            self.assertLess(time.monotonic() - start, SLACK_S)
            # The next call is not confused by what was left over.
            del server.lies["payload"]
            self.assertEqual(alice.ok("get", KEY), VALUE.hex())

    def test_lies_to_get(self):
        good = answer(200, VALUE, OCTETS)
        head, _, body = good.partition(b"\r\n\r\n")
        chunked = b"HTTP/1.1 200 So\r\nContent-Type: " + OCTETS.encode() + b"\r\nTransfer-Encoding: chunked\r\n\r\n"
        for lie, category, words in (
                (answer(200, b"", OCTETS, headers=["Content-Type: " + OCTETS]), "peer", "value of 0 bytes"),
                (answer(200, bytes(257), OCTETS), "peer", "value of 257 bytes"),
                (answer(200, bytes(65536), OCTETS), "peer", "value of 65536 bytes"),
                (answer(200, bytes(65537), OCTETS), "peer", "more than 65536 bytes"),
                (answer(200, VALUE, "text/html"), "peer", '"text/html"'),
                (answer(200, VALUE, "application/json"), "peer", '"application/json"'),
                (b"HTTP/1.1 200 So\r\nContent-Length: 60\r\n\r\n" + VALUE, "peer", '""'),
                (answer(203, VALUE, OCTETS), "peer", "status 203"),
                (answer(204), "peer", "status 204"),
                (answer(301, headers=["Location: http://127.0.0.1:1/"]), "peer", "a redirect"),
                (answer(307, headers=["Location: file:///etc/passwd"]), "peer", "a redirect"),
                (head + b"\r\nX: " + b"x" * 40000 + b"\r\n\r\n" + body, "peer", "headers of more than"),
                (head + b"\r\nX: y" * 9000 + b"\r\n\r\n" + body, "peer", "headers of more than"),
                (b"\x16\x03\x01\x00\x00", "peer", ""), (b"SSH-2.0-OpenSSH\r\n\r\n", "peer", ""),
                (chunked + b"zz\r\n", "unavailable", ""),
                (chunked + chunks(*[bytes(8192)] * 9), "peer", "more than 65536 bytes"),
                (refusal(403, "of another"), "denied", "of another"),
                (refusal(406), "peer", "status 406"), (refusal(413), "limit", "413"),
                (refusal(429), "unavailable", "429"), (refusal(500), "unavailable", "500"),
                (refusal(502), "unavailable", "502"), (refusal(507), "limit", "507"),
                (refusal(404, "x\x1b[2J" + "y" * 500), "not-found", "x\\x1b[2J"),
                (answer(404, b"<html>gone</html>", "text/html"), "not-found", "status 404")):
            def tell(request, honest, lie=lie):
                raise Drop(lie)
            self.lie_to_get(tell, category, words)

    def test_half_answers(self):
        honest = answer(200, VALUE, OCTETS)
        for size in (0, 20, 30, 40, honest.index(b"\r\n\r\n") + 2, len(honest) - 60, len(honest) - 1):
            def tell(request, honest, size=size):
                raise Drop(honest[:size])
            self.lie_to_get(tell, "unavailable", "")

    def test_an_answer_without_an_end_could_be_cut(self):
        def tell(request, honest):
            raise Drop(honest.replace(b"Content-Length: 60\r\n", b""))
        self.lie_to_get(tell, "peer", "without a length")

        def chunked(request, honest):
            head, _, body = honest.partition(b"\r\n\r\n")
            head = head.replace(b"Content-Length: 60", b"Transfer-Encoding: chunked")
            return head + b"\r\n\r\n" + chunks(body[:1], body[1:], b"")
        with LyingBarbican() as server, self.client(server) as alice:
            server.objects[KEY] = "x", VALUE
            server.lies["payload"] = chunked
            self.assertEqual(alice.ok("get", KEY), VALUE.hex())

    def test_endless_answers(self):
        def headers(request, honest):
            raise Flood(b"HTTP/1.1 200 So\r\n", b"X: y\r\n" * 100)

        def provisional(request, honest):
            raise Flood(b"", b"HTTP/1.1 102 So\r\n\r\n" * 100)

        def body(request, honest):
            raise Flood(b"HTTP/1.1 200 So\r\nContent-Type: " + OCTETS.encode() + b"\r\n\r\n", bytes(4096))

        for lie, words in ((headers, "headers of more than"), (provisional, "headers of more than"),
                           (body, "more than 65536 bytes")):
            self.lie_to_get(lie, "peer", words)

    def test_silence_ends_with_the_deadline(self):
        for sent in (b"", b"HTTP/1.1 200 So\r\nContent-Le", answer(200, VALUE, OCTETS)[:-1]):
            def tell(request, honest, sent=sent):
                raise Silence(sent)
            self.lie_to_get(tell, "timeout", "", deadline_ms=SHORT_MS)

    def test_a_slow_keystone_counts_too(self):
        with LyingBarbican() as server, self.client(server, deadline_ms=SHORT_MS) as alice:
            def tell(request, honest):
                raise Silence()
            server.lies["token"] = tell
            alice.refused("timeout", "get", KEY, text="Keystone")
            alice.refused("timeout", "put", "x", VALUE.hex(), text="stored=nothing")

    def test_lies_to_destroy(self):
        with LyingBarbican() as server, self.client(server) as alice:
            server.objects[KEY] = "x", VALUE
            server.lies["delete"] = lambda r, h: server.objects.update({KEY: ("x", VALUE)}) or answer(204)
            alice.refused("peer", "destroy", KEY, text="still has it")
            server.lies["delete"] = lambda r, h: server.objects.update({KEY: ("x", VALUE)}) or refusal(404)
            alice.refused("peer", "destroy", KEY, text="still has it")
            server.lies["delete"] = lambda r, h: refusal(403)
            alice.refused("denied", "destroy", KEY)
            del server.lies["delete"]
            server.lies["secret"] = lambda r, h: refusal(403)
            alice.refused("denied", "destroy", KEY)
            server.lies["secret"] = lambda r, h: refusal(500)
            alice.refused("unavailable", "destroy", KEY)
            del server.lies["secret"]
            alice.ok("destroy", KEY)

    def test_lies_to_check(self):
        for lie, words in ((answer(200, {"secrets": {}}), "no list"), (answer(200, {}), "no list"),
                           (answer(200, b"<html>", "text/html"), "wanted is JSON"),
                           (answer(200, {"secrets": [{}] * 17}), "no list"),
                           (answer(200, {"secrets": [{}]}), "no secret_ref"),
                           (answer(200, {"secrets": [[]]}), "no secret_ref")):
            with self.subTest(words), LyingBarbican() as server, self.client(server) as alice:
                server.lies["list"] = lambda r, h, lie=lie: lie
                alice.refused("peer", "check", text=words)

    # --- what became of a put ---

    def test_a_refused_put_stored_nothing(self):
        for status, category in ((400, "peer"), (403, "denied"), (409, "conflict"), (413, "limit"),
                                 (429, "unavailable")):
            with LyingBarbican() as server, self.client(server) as alice:
                server.lies["store"] = lambda r, h, status=status: refusal(status, "full")
                alice.refused(category, "put", "x", VALUE.hex(), text="full")
                self.assertIn("stored=nothing", alice.ask("put", "x", VALUE.hex()))
                self.assertEqual(server.count("list"), 0)

    def test_an_unknown_put_is_looked_up_by_its_name(self):
        def mute(request, honest):
            raise Silence()

        def drop(request, honest):
            raise Drop()

        for lie, category in ((mute, "timeout"), (drop, "unavailable"),
                              (lambda r, h: refusal(502), "unavailable"),
                              (lambda r, h: refusal(507), "limit"),
                              (lambda r, h: answer(201, b"<html>"), "peer"),
                              (lambda r, h: answer(200, {}), "peer"),
                              (lambda r, h: answer(302), "peer")):
            with LyingBarbican() as server, self.client(server, deadline_ms=3000) as alice:
                server.lies["store"] = lie
                said = alice.refused(category, "put", "x%&=#+", VALUE.hex())
                reference, = server.objects
                self.assertIn(f"stored={reference} ", said)
                self.assertEqual(server.count("store"), 1)
                self.assertEqual(alice.ok("get", reference), VALUE.hex())

    def test_an_unknown_put_that_left_nothing_or_cannot_be_looked_up(self):
        def lose(request, honest):
            server.objects.clear()
            raise Drop()

        with LyingBarbican() as server, self.client(server) as alice:
            server.lies["store"] = lose
            alice.refused("unavailable", "put", "x", VALUE.hex(), text="stored=unknown")
            server.lies["list"] = lambda r, h: refusal(500)
            alice.refused("unavailable", "put", "x", VALUE.hex(), text="it is not certain")
            server.lies["list"] = lambda r, h: answer(200, {"secrets": [
                {"name": "y", "secret_ref": "http://x/v1/secrets/" + KEY}]})
            alice.refused("unavailable", "put", "x", VALUE.hex(), text="stored=unknown")

    def test_a_put_is_never_heard_twice(self):
        """A kept connection that dies under a request makes libcurl repeat it: not this one."""
        def drop(request, honest):
            raise Drop()

        with LyingBarbican() as server, self.client(server) as alice:
            for _ in range(3):
                alice.ok("check")  # a connection is kept
            server.lies["store"] = drop
            alice.refused("unavailable", "put", "x", VALUE.hex())
            self.assertEqual(server.count("store"), 1)
            self.assertEqual(len(server.objects), 1)

    def test_references_that_are_none(self):
        for reference in ("http://x/v1/secrets/" + KEY[:-1], "http://x/v1/secrets/" + KEY.upper(),
                          "http://x/v1/secrets/../" + KEY[3:], "ftp://x/v1/secrets/" + KEY,
                          "http://x/v1/containers/" + KEY, KEY, "", None, 7, {},
                          "http://x/v1/secrets/" + KEY + "\0", "http://" + "x" * 1100 + "/v1/secrets/" + KEY):
            with self.subTest(reference), LyingBarbican() as server, self.client(server) as alice:
                server.lies["store"] = lambda r, h, ref=reference: answer(201, {"secret_ref": ref})
                self.assertRegex(alice.refused("peer", "put", "x", VALUE.hex()), "stored=[0-9a-f]{8}-")
        with LyingBarbican() as server, self.client(server) as alice:
            for words in (["get", "1"], ["get", "../../v3/auth/tokens?aaaaaaaaaaaaaaaa"], ["destroy", KEY[1:]],
                          ["get", KEY.upper()], ["put", "x" * 239, "00"], ["put", "\x01", "00"]):
                alice.refused("usage", *words)
            self.assertEqual(server.requests, [])

    def test_where_a_reference_points_is_not_asked(self):
        with LyingBarbican() as server, LyingBarbican() as trap, self.client(server) as alice:
            server.lies["store"] = lambda r, h: answer(
                201, {"secret_ref": f"{trap.url}/v1/secrets/{list(server.objects)[0]}"})
            reference = alice.ok("put", "x", VALUE.hex())
            self.assertEqual(alice.ok("get", reference), VALUE.hex())
            self.assertEqual(trap.connections, 0)

    # --- connections ---

    def test_nobody_listens(self):
        gone = f"http://127.0.0.1:{nobody()}"
        with LyingBarbican() as server:
            with self.client(server, keystone=gone) as alice:
                alice.refused("unavailable", "check", text="Keystone")
            with self.client(server, barbican=gone) as alice:
                alice.refused("unavailable", "check", text="Barbican")
                alice.refused("unavailable", "put", "x", VALUE.hex(), text="stored=nothing")

    def test_a_kept_connection_that_died_is_dialled_anew(self):
        with LyingBarbican() as server, self.client(server) as alice:
            server.objects[KEY] = "x", VALUE
            for _ in range(3):
                alice.ok("get", KEY)
                server.hang_up()
            alice.ok("destroy", KEY)

    # --- TLS ---

    def pki(self):
        if not hasattr(LiesTest, "made"):
            LiesTest.scratch = tempfile.TemporaryDirectory(prefix="sealift-barbican.")
            self.addClassCleanup(LiesTest.scratch.cleanup)
            LiesTest.made = pki = Pki(LiesTest.scratch.name)
            pki.root("root")
            pki.root("other")
            pki.issue("server", "root", "serverAuth", "IP:127.0.0.1,DNS:barbican.test")
            pki.issue("nameless", "root", "serverAuth")
            pki.issue("wild", "root", "serverAuth", "DNS:*.wild.test,DNS:b*.sub.test")
            pki.issue("old", "root", "serverAuth", "IP:127.0.0.1", expired=True)
            pki.issue("client", "root", "clientAuth", "IP:127.0.0.1")
        return LiesTest.made

    def ask_over_tls(self, certificate, words, ca="root", url="https://127.0.0.1:{}", tls=None,
                     ciphers=None, crl=None):
        pki = self.pki()
        context = tls_context(pki, certificate)
        if tls:
            context.minimum_version = context.maximum_version = tls
        if ciphers:
            context.set_ciphers(ciphers)
        with LyingBarbican(context) as server:
            where = url.format(server.port)
            with self.client(server, keystone=where, barbican=where, ca=pki.path(ca + ".pem"),
                             options=("host=barbican.test=127.0.0.1", "host=b.sub.test=127.0.0.1", "host=x.wild.test=127.0.0.1",
                                      "host=nameless=127.0.0.1",
                                      *([f"crl={pki.path(crl)}"] if crl else []))) as alice:
                if words is None:
                    reference = alice.ok("put", "x", VALUE.hex())
                    self.assertEqual(alice.ok("get", reference), VALUE.hex())
                    self.assertNotIn("weakened", alice.ok("describe"))
                else:
                    alice.refused("auth", "check", text=words)
                    alice.refused("auth", "put", "x", VALUE.hex(), text="stored=nothing")
                    self.assertEqual(server.requests, [])

    def test_tls(self):
        import ssl

        self.ask_over_tls("server", None)
        self.ask_over_tls("server", None, url="https://barbican.test:{}")
        self.ask_over_tls("wild", None, url="https://x.wild.test:{}")
        self.ask_over_tls("server", None, tls=ssl.TLSVersion.TLSv1_2)
        self.ask_over_tls("server", "certificate", ca="other")
        self.ask_over_tls("old", "certificate has expired")
        self.ask_over_tls("nameless", "", url="https://127.0.0.1:{}")
        self.ask_over_tls("nameless", "", url="https://nameless:{}")  # a common name is no name
        self.ask_over_tls("wild", "", url="https://b.sub.test:{}")
        self.ask_over_tls("server", "", url="https://b.sub.test:{}")
        self.ask_over_tls("client", "purpose")
        self.ask_over_tls("server", "", tls=ssl.TLSVersion.TLSv1_2, ciphers="ECDHE-ECDSA-AES128-SHA256")

    def test_revocation(self):
        pki = self.pki()
        pki.crl("fresh", "root")
        pki.crl("stale", "root", stale=True)
        pki.crl("foreign", "other")
        pki.issue("revoked", "root", "serverAuth", "IP:127.0.0.1")
        pki.crl("revoking", "root", revoked="revoked")
        self.ask_over_tls("revoked", None)
        self.ask_over_tls("server", None, crl="revoking.crl")
        self.ask_over_tls("revoked", "certificate revoked", crl="revoking.crl")
        self.ask_over_tls("server", None, crl="fresh.crl")
        self.ask_over_tls("server", "CRL has expired", crl="stale.crl")
        self.ask_over_tls("server", "unable to get certificate CRL", crl="foreign.crl")

    def test_plain_http_where_tls_is_wanted_and_back(self):
        pki = self.pki()
        with LyingBarbican() as server, self.client(
                server, keystone=f"https://127.0.0.1:{server.port}", barbican=f"https://127.0.0.1:{server.port}",
                ca=pki.path("root.pem"), options=(), deadline_ms=SHORT_MS) as alice:
            alice.refused("timeout", "check")
            self.assertEqual(server.requests, [])
        with LyingBarbican(tls_context(pki, "server")) as server, self.client(
                server, keystone=f"http://127.0.0.1:{server.port}",
                barbican=f"http://127.0.0.1:{server.port}") as alice:
            self.assertRegex(alice.ask("check"), "^error (unavailable|peer) ")
            self.assertEqual(server.requests, [])


if __name__ == "__main__":
    unittest.main()
