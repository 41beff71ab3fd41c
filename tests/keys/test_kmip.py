#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The KMIP back-end against PyKMIP's server, a stranger's implementation: test_kmip.py CLIENT.
Without the package python3-pykmip it is skipped (77)."""

import logging
import os
import secrets
import signal
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
import unittest
import warnings

sys.dont_write_bytecode = True
from kmip_peers import DEADLINE_S, Client, Pki, free_port  # noqa: E402
from pykmip_server import wrap_socket  # noqa: E402

CLIENT = sys.argv.pop(1) if len(sys.argv) > 1 else None
HERE = os.path.dirname(os.path.abspath(__file__))
CONFIGURATION = """[server]
hostname=127.0.0.1
port={port}
certificate_path={certificate}.pem
key_path={certificate}.key
ca_path={ca}.pem
auth_suite=TLS1.2
policy_path={folder}
enable_tls_client_auth=True
database_path={folder}/{database}.db
"""


class Server:
    """PyKMIP's server with its own session, as it starts processes of its own."""

    def __init__(self, pki, certificate, database, port=None):
        self.port = port or free_port()
        self.pki, self.certificate, self.database = pki, certificate, database
        self.process = None

    def start(self):
        path = self.pki.path(f"server-{self.port}.conf")
        with open(path, "w", encoding="ascii") as file:
            file.write(CONFIGURATION.format(port=self.port, folder=self.pki.folder,
                                            certificate=self.pki.path(self.certificate),
                                            ca=self.pki.path("root"), database=self.database))
        log = self.pki.path(f"server-{self.port}.log")
        with open(log + ".err", "ab") as errors:
            self.process = subprocess.Popen(
                ["/usr/bin/python3", "-B", os.path.join(HERE, "pykmip_server.py"), path, log],
                stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True)
        if self.process.stdout.readline() != "ready\n":
            with open(log + ".err", encoding="utf-8", errors="replace") as errors:
                raise AssertionError("PyKMIP's server did not start: " + errors.read()[-2000:])

    def kill(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(DEADLINE_S)
        self.process.stdout.close()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.kill()


def random_hex(size):
    return secrets.token_bytes(size).hex()


class KmipTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.scratch = tempfile.TemporaryDirectory(prefix="sealift-kmip.")
        cls.pki = pki = Pki(cls.scratch.name)
        pki.root("root")
        pki.root("other")
        pki.issue("server", "root", "serverAuth", "IP:127.0.0.1,DNS:kms.test")
        pki.issue("rsa-server", "root", "serverAuth", "IP:127.0.0.1", kind="rsa")
        pki.issue("foreign-server", "other", "serverAuth", "IP:127.0.0.1")
        pki.issue("old-server", "root", "serverAuth", "IP:127.0.0.1", expired=True)
        pki.issue("nameless-server", "root", "serverAuth")
        pki.issue("alice", "root", "clientAuth")
        pki.issue("bob", "root", "clientAuth")
        pki.issue("mallory", "other", "clientAuth")
        pki.issue("old-alice", "root", "clientAuth", expired=True)
        pki.issue("server-alice", "root", "serverAuth")
        cls.server = Server(pki, "server", "main")
        cls.server.start()

    @classmethod
    def tearDownClass(cls):
        cls.server.kill()
        cls.scratch.cleanup()

    def client(self, **what):
        return Client(CLIENT, self.pki, what.pop("port", self.server.port), **what)

    # --- the life of a key ---

    def test_a_key_of_each_size_lives_and_dies(self):
        with self.client() as alice:
            for size in (1, 16, 31, 32, 33, 60, 255, 256):
                value = random_hex(size)
                reference = alice.ok("put", f"vm1/{size}", value)
                self.assertEqual(alice.ok("get", reference), value)
                alice.ok("destroy", reference)
                alice.refused("not-found", "get", reference, text="Item Not Found")
                alice.ok("destroy", reference)  # gone already

    def test_check_and_describe(self):
        with self.client() as alice:
            self.assertEqual(alice.ok("describe"), "not connected")
            alice.ok("check")
            self.assertRegex(alice.ok("describe"),
                             r"^KMIP 1\.4, TLSv1\.2 ECDHE-ECDSA-AES(128|256)-GCM-SHA(256|384)$")

    def test_put_activates_so_that_others_cannot_destroy_by_a_slip(self):
        from kmip.core import enums
        from kmip.pie.client import ProxyKmipClient

        ssl.wrap_socket = wrap_socket
        warnings.simplefilter("ignore", DeprecationWarning)
        logging.disable(logging.WARNING)
        with self.client() as alice:
            reference = alice.ok("put", "active", random_hex(60))
            with ProxyKmipClient(hostname="127.0.0.1", port=self.server.port,
                                 cert=self.pki.path("alice.pem"), key=self.pki.path("alice.key"),
                                 ca=self.pki.path("root.pem"), ssl_version="PROTOCOL_TLSv1_2",
                                 kmip_version=enums.KMIPVersion.KMIP_1_2) as other:
                _, attributes = other.get_attributes(reference, ["State", "Name", "Object Type"])
                found = {str(a.attribute_name.value): a.attribute_value for a in attributes}
                self.assertEqual(found["State"].value, enums.State.ACTIVE)
                self.assertEqual(str(found["Name"].name_value.value), "active")
                self.assertEqual(found["Object Type"].value, enums.ObjectType.SECRET_DATA)
                with self.assertRaisesRegex(Exception, "active"):
                    other.destroy(reference)
                key = other.get(alice.ok("put", "plain", random_hex(32)))
                self.assertEqual(key.cryptographic_algorithm, enums.CryptographicAlgorithm.AES)
                self.assertEqual(key.cryptographic_length, 256)
                # And back: what another program registered, in a state of its own.
                deactivated = alice.ok("put", "deactivated", random_hex(60))
                other.revoke(enums.RevocationReasonCode.SUPERSEDED, deactivated)
                compromised = alice.ok("put", "compromised", random_hex(60))
                other.revoke(enums.RevocationReasonCode.KEY_COMPROMISE, compromised)
            alice.ok("destroy", deactivated)
            alice.ok("destroy", compromised)

    def test_another_owner_gets_nothing(self):
        with self.client() as alice, self.client(identity="bob") as bob:
            value = random_hex(60)
            reference = alice.ok("put", "of-alice", value)
            bob.refused("denied", "get", reference, text="Permission Denied")
            bob.refused("denied", "destroy", reference, text="Permission Denied")
            self.assertEqual(alice.ok("get", reference), value)

    def test_nonsense_is_refused_before_it_is_sent(self):
        with self.client() as alice:
            alice.refused("usage", "get", "\x01")
            alice.refused("usage", "put", "x" * 256, random_hex(60))
            self.assertEqual(alice.ok("describe").split(",")[0], "KMIP 1.4")
            alice.refused("not-found", "get", "no-such-key")

    def test_no_value_stays_in_memory(self):
        value = secrets.token_bytes(60)

        def found(client, what):
            """The search brings the bytes inverted, so as not to find itself."""
            return client.ask("forget", bytes(byte ^ 0xff for byte in what).hex())

        with self.client(options=["user=0123456789abcdef"]) as alice:
            if "sanitizer" in found(alice, value[:16]):
                self.skipTest("a sanitizer keeps what was freed")
            alice.ok("check")
            # The search does find what is there.
            self.assertNotEqual(found(alice, b"0123456789abcdef")[:4], "ok 0")
            reference = alice.ok("put", "forgotten", value.hex())
            for start in (0, 16, 32, 44):
                self.assertEqual(found(alice, value[start:start + 16]), "ok 0", "after put")
            alice.ok("get", reference)
            for start in (0, 16, 32, 44):
                self.assertEqual(found(alice, value[start:start + 16]), "ok 0", "after get")

    # --- the server comes and goes ---

    def test_the_server_is_killed_and_restarted(self):
        with Server(self.pki, "server", "restarted") as server:
            with self.client(port=server.port) as alice:
                value = random_hex(60)
                reference = alice.ok("put", "survivor", value)
                server.kill()
                alice.refused("unavailable", "get", reference)
                alice.refused("unavailable", "put", "never", random_hex(60), text="connect")
                server.start()
                self.assertEqual(alice.ok("get", reference), value)
                server.kill()
                server.start()
                alice.ok("put", "at-once", random_hex(60))  # the broken link is seen before it is used
                server.kill()
                server.start()
                alice.ok("destroy", reference)

    # --- who is who ---

    def refused_server(self, certificate, text, **what):
        with Server(self.pki, certificate, certificate) as server:
            with self.client(port=server.port, **what) as alice:
                alice.refused("auth", "check", text=text)

    def test_server_of_another_root(self):
        self.refused_server("foreign-server", "unable to get local issuer certificate")
        with self.client(ca="other") as alice:
            alice.refused("auth", "check", text="self-signed certificate in certificate chain")

    def test_server_out_of_date(self):
        self.refused_server("old-server", "certificate has expired")

    def test_server_of_another_name(self):
        self.refused_server("nameless-server", "IP address mismatch")
        self.refused_server("nameless-server", "hostname mismatch", name="nameless-server")
        with self.client(name="kms.test") as alice:
            alice.ok("check")
        for name, text in (("kms.other", "hostname mismatch"), ("127.0.0.2", "IP address mismatch")):
            with self.client(name=name) as alice:
                alice.refused("auth", "check", text=text)

    def test_server_with_a_client_certificate(self):
        self.refused_server("bob", "unsuitable certificate purpose")

    def test_clients_that_the_server_does_not_take(self):
        with self.client(identity="mallory") as mallory:
            mallory.refused("auth", "check", text="unknown ca")
        with self.client(identity="old-alice") as old:
            old.refused("auth", "check", text="certificate expired")
        with self.client(identity="server-alice") as wrong:
            wrong.refused("auth", "check")

    def test_weak_ciphers_are_a_choice_and_shown(self):
        with Server(self.pki, "rsa-server", "weak") as server:
            with self.client(port=server.port) as alice:
                alice.refused("auth", "check", text="handshake failure")
            with self.client(port=server.port, options=["weak"]) as alice:
                value = random_hex(60)
                self.assertEqual(alice.ok("get", alice.ok("put", "weak", value)), value)
                self.assertRegex(alice.ok("describe"), r"TLSv1\.2 ECDHE-RSA-AES.*, weakened: ")

    # --- figures ---

    def test_latency(self):
        with self.client() as alice:
            reference = alice.ok("put", "timed", random_hex(60))
            times = {"get": [int(word) for word in alice.ok("time", "100", reference).split()],
                     "put": [], "destroy": []}
            self.assertEqual(len(times["get"]), 100)
            for number in range(20):
                for words in (["put", f"timed-{number}", random_hex(60)], ["destroy", reference]):
                    start = time.monotonic()
                    answer = alice.ok(*words)
                    times[words[0]].append((time.monotonic() - start) * 1e6)
                    reference = answer or reference
            for name, taken in times.items():
                print(f"{name}: p50 {statistics.median(taken) / 1000:.2f} ms, max "
                      f"{max(taken) / 1000:.2f} ms")


if __name__ == "__main__":
    try:
        import kmip.services.server.server  # noqa: F401
    except ImportError as error:
        print(f"skipped: no PyKMIP server here ({error}); scripts/install-packages --tests has it")
        sys.exit(77)
    unittest.main()
