#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Three engines of one domain, one of which has the key manager. No VM is started. And strangers at its
port: every length, type and number that is not in order, from a host whose certificate is good."""

import contextlib
import os
import socket
import ssl
import struct
import sys
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(TOP, "tests", "lab"))
import lab  # noqa: E402
import shared_lab  # noqa: E402

VM = "7e5710c5-0000-4000-8000-000000000001"
OTHER_VM = "7e5710c5-0000-4000-8000-000000000002"
ALPN = "sealift-keys/1"
# role/messages.h, role/keyd_messages.h
FAILED, CREATE, SHOW, LIST, PLACES, HEAD, KEY, PLACE_LIST = 6, 129, 130, 131, 138, 144, 145, 151


def program_of(pid):
    """As it was called; None if it is gone."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read().split(b"\0")[0].decode(errors="replace")
    return None


class Shared(unittest.TestCase):
    def setUp(self):
        self.lab = shared_lab.SharedLab(namespaces=False)
        self.addCleanup(self.lab.close)
        self.north, self.south = self.lab.hosts
        self.west = self.lab.another_host("west", "127.0.0.3")
        self.north.port = self.south.port = self.west.port = 7468 + os.getpid() % 20000
        self.lab.key_port = self.north.port + 20001
        self.north.make_keys()
        self.north.write_config(self.lab.manager_text([self.south, self.west]))
        for host in (self.south, self.west):
            host.write_config(self.lab.guest_text())

    def start(self, *hosts):
        for host in hosts:
            host.start()
        for host in hosts:
            host.keys_serve()

    def doctor(self, host):
        return {check["name"]: check for check in host.call("doctor")["checks"]}["keys"]

    def says(self, host, words, ok=False):
        """Until its doctor says it of the key manager."""
        def look():
            check = self.doctor(host)
            return check if words in check["text"] and check["ok"] == ok else None
        try:
            return lab.wait_for(words, look, 20)
        except lab.LabError as error:
            raise lab.LabError(f"{error}; {self.doctor(host)}\n{host.log()}\n{self.north.log()}") from None

    def logs(self, host, words):
        return lab.wait_for(f"\"{words}\" in the log of {host.name}", lambda: words in host.log(), 20)

    @staticmethod
    def create(host, vm=VM, slot="vda"):
        return host.call("key-create", vm=vm, slot=slot)["key"]


class Hosts(Shared):
    def test_a_host_works_with_its_keys(self):
        self.start(self.north, self.south)
        self.says(self.north, "serves 2 other hosts at 127.0.0.1", ok=True)
        self.says(self.south, f"the key manager of {self.north.id} serves", ok=True)
        key = self.create(self.south)
        self.assertEqual(key["state"], "active")
        self.assertEqual(self.south.call("key-show", key=key["id"])["key"], key)
        self.assertEqual(list(self.south.keys_of(VM)), [key["id"]])
        newer = self.south.call("key-rotate", key=key["id"])["key"]
        self.assertEqual(newer["version"], 2)
        self.assertEqual(self.south.call("key-destroy", key=key["id"])["keys"], 2)
        uid = os.geteuid()
        whos = {entry["who"] for entry in self.north.key_log(key["id"])}
        self.assertEqual(whos, {f"{self.south.id} uid {uid}"})
        # What is wrong with a request is said as by a key manager of its own.
        refusal = self.south.refusal("key-destroy", key=key["id"])
        self.assertEqual(refusal["category"], "conflict")
        self.assertIn("destroyed already", refusal["text"])
        self.assertEqual(self.south.refusal("key-show", key="0" * 32)["category"], "not-found")

    def test_the_log_is_read_where_it_is(self):
        self.start(self.north, self.south)
        refusal = self.south.refusal("key-audit", first=1)
        self.assertEqual(refusal["category"], "denied")
        self.assertIn(f"on its own host: {self.north.id}", refusal["text"])
        self.assertTrue(self.north.call("key-audit", first=1) is not None)

    def test_a_key_is_of_its_host(self):
        self.start(self.north, self.south, self.west)
        key = self.create(self.south)
        for command in ("key-show", "key-rotate", "key-destroy"):
            refusal = self.west.refusal(command, key=key["id"])
            self.assertEqual(refusal["category"], "denied", command)
            self.assertIn("is of another host of this domain", refusal["text"])
        self.assertEqual(self.west.keys_of(VM), {})
        self.assertEqual(self.west.call("key-list")["keys"], [])
        # The host of the key manager sees all and may end all, but does not use them.
        self.assertEqual(list(self.north.keys_of(VM)), [key["id"]])
        refusal = self.north.refusal("key-rotate", key=key["id"])
        self.assertEqual(refusal["category"], "denied")
        self.assertIn(f"the key is of {self.south.id}", refusal["text"])
        refused = [entry["who"] for entry in self.north.key_log(key["id"]) if entry["action"] == "refused"]
        self.assertEqual(refused, [f"{self.west.id} uid {os.geteuid()}"] * 3 + [f"uid {os.geteuid()}"])
        # So it is after a restart, from the log alone.
        self.north.stop()
        self.start(self.north)
        self.says(self.west, "serves", ok=True)
        self.assertEqual(self.west.refusal("key-show", key=key["id"])["category"], "denied")
        self.says(self.south, "serves", ok=True)
        self.assertEqual(self.south.call("key-show", key=key["id"])["key"]["id"], key["id"])
        # Of the same VM and disk each host may have its own, as while it is copied; none has two.
        own = self.create(self.west)
        self.assertNotEqual(own["id"], key["id"])
        self.assertEqual(self.west.refusal("key-create", vm=VM, slot="vda")["category"], "conflict")
        self.assertEqual(self.south.refusal("key-create", vm=VM, slot="vda")["category"], "conflict")
        self.assertEqual(self.north.call("key-destroy", key=key["id"])["keys"], 1)

    def test_the_manager_goes_and_comes_back(self):
        self.start(self.north, self.south)
        key = self.create(self.south)
        self.north.stop()
        check = self.says(self.south, f"no key manager: {self.north.id}, 127.0.0.1 port {self.lab.key_port}")
        self.assertIn("cannot connect", self.says(self.south, "cannot connect")["text"])
        refusal = self.south.refusal("key-show", key=key["id"])
        self.assertEqual(refusal["category"], "unavailable")
        self.assertIn("the key manager is not there", refusal["text"])
        self.assertFalse(check["ok"])
        self.start(self.north)
        self.says(self.south, "serves", ok=True)
        self.assertEqual(self.south.call("key-show", key=key["id"])["key"]["id"], key["id"])

    def test_the_managers_keyd_is_away(self):
        self.start(self.north, self.south)
        path = os.path.join(self.lab.libexec, "sealift-keyd")
        os.rename(path, path + ".away")
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit() and program_of(name) == path]
        self.assertEqual(len(pids), 1)
        os.kill(pids[0], 9)

        def refused():
            with contextlib.closing(self.south.api()) as api:
                return api.raw("key-backends").get("error")
        error = lab.wait_for("a refusal", refused, 20)
        self.assertEqual(error["category"], "unavailable")
        os.rename(path + ".away", path)
        lab.wait_for("an answer", lambda: not refused(), 30)

    def test_a_store_that_was_put_back_is_noticed_here_too(self):
        self.start(self.north, self.south)
        for slot in ("vda", "vdb"):
            self.create(self.south, slot=slot)
        self.north.stop()
        # Who has the manager's host in hand, also the memory of its own engine.
        for name in ("keys.head", "keys/keys.db"):
            os.unlink(os.path.join(self.north.state, name))
        self.start(self.north)
        self.create(self.north, vm=OTHER_VM)
        self.says(self.south, "its store was put back while it ran")
        self.assertEqual(self.south.refusal("key-list")["category"], "unavailable")

    def test_a_host_that_is_not_listed(self):
        self.north.write_config(self.lab.manager_text([self.south]))
        self.north.start()
        self.north.keys_serve()
        self.west.start()
        self.says(self.west, "no key manager")
        self.logs(self.north, f"{self.west.id} is not among keys.hosts")

    def test_another_host_in_the_managers_place(self):
        self.south.write_config(self.lab.guest_text(manager=self.west))
        self.north.start()
        self.south.start()
        self.says(self.south, f"the key manager's host is {self.north.id}, expected {self.west.id}")

    def test_a_manager_of_another_domain(self):
        text = self.lab.guest_text().replace(self.north.id, "spiffe://elsewhere.example/host/north")
        self.south.write_config(text)
        self.south.start()
        self.says(self.south, "of another domain than this host")

    def test_a_certificate_that_is_revoked(self):
        self.start(self.north, self.south, self.west)
        self.lab.pki(shared_lab.DOMAIN, "revoke", "west")
        files = os.path.join(self.lab.directory, "pki", shared_lab.DOMAIN)
        with open(os.path.join(files, "root.crt"), encoding="ascii") as root, \
                open(os.path.join(files, "crl.pem"), encoding="ascii") as crl:
            self.north.call("host-trust", domain=shared_lab.DOMAIN, root=root.read(), crl=crl.read())
        self.says(self.west, "no key manager")
        self.logs(self.north, f"host={self.west.id} left: ")
        # The others stay, though their domain was forgotten and told anew on the way.
        self.assertTrue(self.doctor(self.south)["ok"])
        self.assertNotIn(f"host={self.south.id} left", self.north.log())


class Hostile(Shared):
    """A stranger's TLS, of the system's Python, with the certificate of a listed host."""

    def setUp(self):
        super().setUp()
        self.start(self.north)
        self.says(self.north, "serves 2 other hosts", ok=True)

    def context(self, identity=None, protocol=ALPN, version=ssl.TLSVersion.TLSv1_3):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.minimum_version = context.maximum_version = version
        if protocol:
            context.set_alpn_protocols([protocol])
        if identity:
            context.load_cert_chain(*identity)
        return context

    @contextlib.contextmanager
    def connected(self, **more):
        more.setdefault("identity", self.lab.identity(self.west))
        plain = socket.create_connection((self.north.address, self.lab.key_port), 10)
        with contextlib.closing(self.context(**more).wrap_socket(plain)) as peer:
            yield peer

    @staticmethod
    def frame(kind, subject, payload=b"", value=0, length=None):
        body = struct.pack(">HHQ", kind, value, subject) + payload
        return struct.pack(">I", len(body) if length is None else length) + body

    @staticmethod
    def text(value):
        return struct.pack(">I", len(value)) + value.encode()

    def receive(self, peer, *wanted):
        """The next message of one of these types, but for heads: (subject, payload)."""
        data = b""
        while True:
            while len(data) < 4 or len(data) < 4 + struct.unpack(">I", data[:4])[0]:
                chunk = peer.recv(65536)
                if not chunk:
                    raise EOFError
                data += chunk
            length = struct.unpack(">I", data[:4])[0]
            body, data = data[4:4 + length], data[4 + length:]
            kind, _, subject = struct.unpack(">HHQ", body[:12])
            if kind in wanted:
                return subject, body[12:]
            self.assertEqual(kind, HEAD)

    def ends(self, peer, data):
        """What is sent ends the connection."""
        with contextlib.suppress(OSError):
            peer.sendall(data)
        with contextlib.suppress(OSError):
            while peer.recv(65536):
                pass

    def test_one_that_is_in_order_is_answered(self):
        with self.connected() as peer:
            peer.sendall(self.frame(PLACES, 7, self.text("uid 0")))
            self.assertEqual(self.receive(peer, PLACE_LIST)[0], 7)
            # Byte by byte too.
            for byte in self.frame(PLACES, 8, self.text("uid 0")):
                peer.sendall(bytes([byte]))
            self.assertEqual(self.receive(peer, PLACE_LIST)[0], 8)

    def test_what_is_not_in_order_ends_it(self):
        good = self.frame(PLACES, 1, self.text("uid 0"))
        bad = {
            "a message of 0 bytes": self.frame(PLACES, 1, length=0),
            "a message of 11 bytes": self.frame(PLACES, 1, length=11),
            "a message of 65581 bytes": self.frame(PLACES, 1, length=65536 + 45),
            "a message of 4294967295 bytes": self.frame(PLACES, 1, length=0xffffffff),
            "unknown type 0": self.frame(0, 1),
            "unknown type 1": self.frame(1, 1),  # whom to trust
            "unknown type 128": self.frame(128, 1),
            "unknown type 144": self.frame(HEAD, 1, b"\0" * 56),
            "unknown type 135": self.frame(135, 1),
            "unknown type 136": self.frame(136, 1, self.text("uid 0") + b"\0" * 8),
            "with a value of 44 bytes": self.frame(PLACES, 1, self.text("uid 0") + b"\0" * 44, value=44),
            "with a value of 1 bytes": self.frame(PLACES, 1, self.text("uid 0") + b"\0", value=1),
            "without a number": self.frame(PLACES, 0, self.text("uid 0")),
            "\"places\": ": self.frame(PLACES, 1, b""),
            "\"places\":": self.frame(PLACES, 1, self.text("uid 0") + b"\0"),
            "number of another": good + good,
        }
        for words, data in bad.items():
            with self.subTest(words=words), self.connected() as peer:
                self.ends(peer, data)
                self.logs(self.north, words)
        with self.connected() as peer:
            peer.sendall(good)
            self.assertEqual(self.receive(peer, PLACE_LIST)[0], 1)

    def test_a_name_of_another_is_only_a_word(self):
        with self.connected() as peer:
            listing = self.text(f"{self.south.id} uid 0") + self.text(VM) + struct.pack(">Q", 0)
            peer.sendall(self.frame(LIST, 1, listing))
            self.assertEqual(self.receive(peer, 146)[0], 1)
            show = self.text(f"{self.south.id} uid 0")
            key = self.create(self.north)
            peer.sendall(self.frame(SHOW, 2, show + bytes.fromhex(key["id"]) + struct.pack(">Q", 0)))
            subject, failure = self.receive(peer, FAILED)
            self.assertEqual(subject, 2)
            self.assertIn(b"another host of this domain", failure)
            who = self.north.key_log(key["id"])[-1]["who"]
            self.assertEqual(who, f"{self.west.id} {self.south.id} uid 0")

    def test_a_flood_ends_it(self):
        with self.connected() as peer:
            flood = b"".join(self.frame(PLACES, number, self.text("uid 0")) for number in range(1, 2000))
            self.ends(peer, flood)
            self.logs(self.north, "requests in a second")
        with self.connected() as peer:
            peer.sendall(self.frame(PLACES, 7, self.text("uid 0")))
            # It may have used up what it may ask keyd for.
            self.assertEqual(self.receive(peer, PLACE_LIST, FAILED)[0], 7)

    def test_one_connection_for_each_host(self):
        with self.connected() as old, self.connected() as new:
            new.sendall(self.frame(PLACES, 1, self.text("uid 0")))
            self.assertEqual(self.receive(new, PLACE_LIST)[0], 1)
            self.ends(old, b"")

    def test_who_may_not_come(self):
        elsewhere = os.path.join(self.lab.directory, "pki", "elsewhere")
        sealift = os.path.join(self.lab.bin, "sealift")
        lab.run([sealift, "pki", "init", "elsewhere.example", "--dir", elsewhere])
        lab.run([sealift, "pki", "issue", "host", "west", "--dir", elsewhere])
        stranger = tuple(os.path.join(elsewhere, "hosts", "west", f"tls.{end}") for end in ("crt", "key"))
        cases = {
            "elsewhere.example": {"identity": stranger},
            "certificate": {"identity": ()},
            "TLS: ": {"protocol": None},
            "unsupported protocol": {"version": ssl.TLSVersion.TLSv1_2},
        }
        for words, case in cases.items():
            with self.subTest(words=words):
                with contextlib.suppress(OSError), self.connected(**case) as peer:
                    self.ends(peer, self.frame(PLACES, 1, self.text("uid 0")))
                self.logs(self.north, words)

    def test_those_who_say_nothing_are_few_and_leave(self):
        with contextlib.ExitStack() as stack:
            for _ in range(5):
                stack.enter_context(contextlib.closing(
                    socket.create_connection((self.north.address, self.lab.key_port), 10)))
            self.logs(self.north, "connections of one address are unproven")
            self.logs(self.north, "the TLS handshake is not complete")
        with self.connected() as peer:
            peer.sendall(self.frame(PLACES, 7, self.text("uid 0")))
            self.assertEqual(self.receive(peer, PLACE_LIST)[0], 7)


# Its link is descriptor 3: be16 type, be16 zero, be64 subject, payload (ipc/link.h).
TAKEN_OVER = """#!/usr/bin/python3 -I
import socket, struct
link = socket.socket(fileno=3)
link.setblocking(True)
while struct.unpack(">H", link.recv(65536)[:2])[0] != 161:
    pass
link.send(struct.pack(">HHQ", 5, 0, 0))
who = {who!r}.encode()
link.send(struct.pack(">HHQI", 138, 0, 9, len(who)) + who)
answer = link.recv(65536)
while answer and struct.unpack(">H", answer[:2])[0] == 144:
    answer = link.recv(65536)
if answer:
    print("taken-over keylink got", struct.unpack(">H", answer[:2])[0], file=__import__("sys").stderr)
link.recv(65536)
"""


class TakenOver(Shared):
    """A keylink that says what it likes to the engine of the key manager's host."""

    def says_to_engine(self, who, words):
        with open(os.path.join(self.lab.libexec, "sealift-keylink"), "w", encoding="ascii") as file:
            file.write(TAKEN_OVER.format(who=who))
        self.north.start()
        self.logs(self.north, words)

    def test_for_a_listed_host(self):
        self.says_to_engine(f"{self.west.id} uid 0", "taken-over keylink got 151")

    def test_for_the_engine_itself(self):
        self.says_to_engine("uid 0", "a request of \"uid 0\", which is no other host of north.example")

    def test_for_this_host(self):
        self.says_to_engine(f"{self.north.id} uid 0", "which is no other host of north.example")

    def test_for_a_host_that_is_not_listed(self):
        self.says_to_engine(self.west.id.replace("west", "east") + " uid 0",
                            "host/east, which is not among keys.hosts")


class HostileManager(Shared):
    """In the key manager's place, and with its certificate, one that answers what it likes."""

    def setUp(self):
        super().setUp()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.lab.identity(self.north))
        context.load_verify_locations(os.path.join(self.lab.directory, "pki", shared_lab.DOMAIN, "root.crt"))
        context.verify_mode = ssl.CERT_REQUIRED
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.set_alpn_protocols([ALPN])
        context.set_ecdh_curve("secp384r1")
        self.context = context
        self.socket = socket.create_server((self.north.address, self.lab.key_port))
        self.socket.settimeout(20)
        self.addCleanup(self.socket.close)

    def come(self):
        """The next connection of the south, which was let in."""
        plain, _ = self.socket.accept()
        peer = self.context.wrap_socket(plain, server_side=True)
        self.addCleanup(peer.close)
        peer.settimeout(20)
        peer.sendall(Hostile.frame(HEAD, 0, struct.pack(">Q", 3) + b"h" * 48))
        return peer

    def test_what_is_not_in_order_ends_it(self):
        self.south.start()
        cases = {
            "a message of 3 bytes": struct.pack(">I", 3),
            "a message of 65581 bytes": struct.pack(">I", 65581),
            "unknown type 138": Hostile.frame(PLACES, 1, Hostile.text("uid 0")),
            "unknown type 5": Hostile.frame(5, 0),
            "an answer \"failed\" that nobody waits for":
                Hostile.frame(FAILED, 77, struct.pack(">Q", 3) + Hostile.text("no")),
            "a head that answers something": Hostile.frame(HEAD, 4, struct.pack(">Q", 4) + b"h" * 48),
            "\"opened\" with a value of 0 bytes": Hostile.frame(148, 1, b""),
        }
        for words, data in cases.items():
            with self.subTest(words=words):
                peer = self.come()
                self.says(self.south, "serves", ok=True)
                peer.sendall(data)
                self.says(self.south, words)

    def test_another_answer_than_was_asked_for(self):
        self.south.start()
        peer = self.come()
        self.says(self.south, "serves", ok=True)
        with contextlib.closing(self.south.api()) as api:
            api.socket.sendall(b'{"execute": "key-backends", "arguments": {}}\n')
            subject = struct.unpack(">IHHQ", peer.recv(65536)[:16])[3]
            peer.sendall(Hostile.frame(147, subject, struct.pack(">QQ", 1, 0)))
            answer = api.line()
        self.assertEqual(answer["error"]["category"], "unavailable")
        self.assertIn("it is not certain whether", answer["error"]["text"])
        self.says(self.south, "an answer \"changed\" that nobody waits for")

    def test_one_that_never_says_that_we_are_in(self):
        self.south.start()
        plain, _ = self.socket.accept()
        with contextlib.closing(self.context.wrap_socket(plain, server_side=True)):
            self.says(self.south, "no key manager")
            self.says(self.south, "a message is not complete")

    def test_one_that_does_not_answer(self):
        self.south.start()
        self.come()
        self.says(self.south, "serves", ok=True)
        refusal = self.south.refusal("key-backends")
        self.assertEqual(refusal["category"], "unavailable")
        self.says(self.south, "it did not answer within 20 s")


if __name__ == "__main__":
    unittest.main(verbosity=2)
