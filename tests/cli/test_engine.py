# SPDX-License-Identifier: Apache-2.0
"""The real engine, without a VM: who may use it, which files who may name, what it says of a wrong
configuration."""

import grp
import json
import os
import socket
import ssl
import struct
import subprocess
import tempfile
import unittest

from fake_engine import DEADLINE_S, SEALIFT

PROGRAMS = os.path.join(os.path.abspath(os.environ.get("SEALIFT_BUILD", "build")), "src/programs")
SEALIFTD = os.path.join(PROGRAMS, "sealiftd/sealiftd")
STRANGER = 61305
VM = """name = "vm1"; uuid = "6f1c0f3e-2f0b-4f4e-9d58-1f0f8a1b2c3d"; machine = "pc-q35-10.0";
cpu = "max"; memory = "512M";
kernel = "%s";
"""
# Connects and asks as another user: what the kernel says of the peer is of the moment of connect.
CLIENT = """
import os, socket, sys
os.setgroups([int(g) for g in sys.argv[3].split(",") if g])
os.setresgid(int(sys.argv[2]), int(sys.argv[2]), int(sys.argv[2]))
os.setresuid(int(sys.argv[2]), int(sys.argv[2]), int(sys.argv[2]))
s = socket.socket(socket.AF_UNIX)
s.settimeout(20)
s.connect(sys.argv[1])
try:
    s.sendall(sys.stdin.buffer.read())
except BrokenPipeError:
    pass  # refused before it was asked
print(s.makefile().readline())
"""


def check(*command):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=DEADLINE_S)


class Engine:
    """A sealiftd of its own domain, in a directory of its own."""

    def __init__(self, test, extra=""):
        self.directory = tempfile.mkdtemp(prefix="sealift-engine-")
        test.addCleanup(check, "rm", "-rf", self.directory)
        self.config = os.path.join(self.directory, "sealift.conf")
        self.socket = os.path.join(self.directory, "run/sealiftd.sock")
        for folder in ("libexec", "boot"):
            os.mkdir(os.path.join(self.directory, folder))
        for program in ("gate", "notary", "mover"):
            os.symlink(os.path.join(PROGRAMS, program, f"sealift-{program}"),
                       os.path.join(self.directory, "libexec", f"sealift-{program}"))
        os.chmod(self.directory, 0o755)
        self.pki = os.path.join(self.directory, "pki")
        check(SEALIFT, "pki", "init", "north.example", "--dir", self.pki)
        check(SEALIFT, "pki", "issue", "host", "n1", "--dir", self.pki)
        self.write(extra)
        self.process = None
        test.addCleanup(self.stop)

    def write(self, extra):
        keys = os.path.join(self.pki, "hosts/n1")
        self.port = self.free_port()
        with open(self.config, "w", encoding="ascii") as file:
            file.write(f"""state_directory = "{self.directory}/state";
run_directory = "{self.directory}/run";
libexec_directory = "{self.directory}/libexec";
boot_directory = "{self.directory}/boot";
listen = "127.0.0.1:{self.port}";
tls = {{ certificate = "{keys}/tls.crt"; key = "{keys}/tls.key"; }};
sign = {{ certificate = "{keys}/sign.crt"; key = "{keys}/sign.key"; }};
{extra}
""")

    @staticmethod
    def free_port():
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return probe.getsockname()[1]

    def start(self):
        self.process = subprocess.Popen([SEALIFTD, "--config", self.config], stdin=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr:
            if "serves host=" in line:
                return self
        raise AssertionError("the engine ended")

    def stop(self):
        if self.process:
            self.process.terminate()
            self.process.communicate(timeout=DEADLINE_S)
            self.process = None

    def refusal(self):
        """Status and last line of an engine that does not start."""
        result = subprocess.run([SEALIFTD, "--config", self.config], stdin=subprocess.DEVNULL,
                                capture_output=True, text=True, timeout=DEADLINE_S, check=False)
        return result.returncode, result.stderr.splitlines()[-1]

    def ask(self, command, uid=None, groups=(), **arguments):
        request = json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n"
        if uid is None:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(DEADLINE_S)
                client.connect(self.socket)
                client.sendall(request)
                return json.loads(client.makefile().readline())
        result = subprocess.run(
            ["/usr/bin/python3", "-c", CLIENT, self.socket, str(uid), ",".join(map(str, groups))],
            input=request, capture_output=True, timeout=DEADLINE_S, check=False)
        return json.loads(result.stdout) if result.returncode == 0 else None


class Callers(unittest.TestCase):
    def setUp(self):
        if os.geteuid():
            self.skipTest("other users need root")
        # Any group but root's own: it is only compared by number.
        group = next(entry for entry in grp.getgrall() if entry.gr_gid)
        self.gid = group.gr_gid
        self.engine = Engine(self, f'api_group = "{group.gr_name}";').start()

    def vm_start(self, kernel, **who):
        answer = self.engine.ask("vm-start", text=VM % kernel, file="/nowhere/vm.conf", **who)
        return answer["error"]

    def test_members_of_the_group_may_use_it(self):
        self.assertIn("return", self.engine.ask("version"))
        self.assertIn("return", self.engine.ask("version", uid=STRANGER, groups=[self.gid]))
        # The socket's mode keeps the others out already.
        self.assertIsNone(self.engine.ask("version", uid=STRANGER))
        self.assertIsNone(self.engine.ask("version", uid=STRANGER, groups=[STRANGER + 1]))
        os.chmod(self.engine.socket, 0o666)
        denied = self.engine.ask("version", uid=STRANGER, groups=[STRANGER + 1])
        self.assertEqual(denied["error"], {"category": "denied",
                                           "text": "your UNIX user may not use this engine"})

    def test_only_root_may_name_any_file(self):
        boot = os.path.join(self.engine.directory, "boot")
        member = {"uid": STRANGER, "groups": [self.gid]}
        for path in ("/etc/shadow", "/etc/no-such-file", f"{boot}/../state/sealift.db"):
            self.assertEqual(self.vm_start(path, **member), {
                "category": "denied",
                "text": f'/nowhere/vm.conf:3: kernel is "{path}": only root may name files outside '
                        f"{boot}"})
        self.assertIn("No such file", self.vm_start("/etc/no-such-file")["text"])
        self.assertIn("No such file", self.vm_start(f"{boot}/kernel", **member)["text"])

    def test_nothing_is_recorded_of_what_is_not_under_way(self):
        answer = self.engine.ask("resolve", migration="ab", action="run-here")
        self.assertEqual(answer["error"]["category"], "not-found")
        answer = self.engine.ask("resolve", migration="ab", action="explode")
        self.assertEqual(answer["error"]["category"], "usage")
        self.assertFalse(os.path.exists(os.path.join(self.engine.directory, "state/decisions.jsonl")))


class Peer:
    """A host of the same domain on a control connection."""

    def __init__(self, engine, host):
        keys = os.path.join(engine.pki, "hosts", host)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.set_alpn_protocols(["sealift/1"])
        context.load_cert_chain(f"{keys}/tls.crt", f"{keys}/tls.key")
        self.socket = context.wrap_socket(
            socket.create_connection(("127.0.0.1", engine.port), timeout=DEADLINE_S))
        self.stream = self.socket.makefile("rb")
        self.send(message="hello", version_min=0, version_max=0, software="test", crl="")

    def send(self, **message):
        text = json.dumps(message, separators=(",", ":")).encode()
        self.socket.sendall(struct.pack(">I", len(text)) + text)

    def receive(self):
        """The next message; None at the end."""
        head = self.stream.read(4)
        return json.loads(self.stream.read(struct.unpack(">I", head)[0])) if len(head) == 4 else None

    def ping(self):
        """The stamp that came back; None if the connection has ended."""
        try:
            self.send(message="ping", stamp_us=7)
            while (message := self.receive()) and message["message"] != "pong":
                pass
        except OSError:
            return None
        return message and message["stamp_us"]


class Trust(unittest.TestCase):
    def setUp(self):
        self.engine = Engine(self)
        check(SEALIFT, "pki", "issue", "host", "n2", "--dir", self.engine.pki)
        self.engine.start()
        self.trust()
        self.peer = Peer(self.engine, "n2")
        self.addCleanup(self.peer.socket.close)
        self.addCleanup(self.peer.stream.close)
        self.assertEqual(self.peer.ping(), 7)

    def trust(self):
        texts = {}
        for name, file in (("root", "root.crt"), ("crl", "crl.pem")):
            with open(os.path.join(self.engine.pki, file), encoding="ascii") as text:
                texts[name] = text.read()
        self.assertIn("return", self.engine.ask("host-trust", domain="north.example", **texts))

    def test_distrust_closes_what_is_open(self):
        self.assertIn("return", self.engine.ask("host-distrust", domain="north.example"))
        self.assertIsNone(self.peer.ping())

    def test_the_same_trust_anew_does_not(self):
        self.trust()
        self.assertEqual(self.peer.ping(), 7)

    def test_distrust_of_another_domain_does_not(self):
        self.assertIn("error", self.engine.ask("host-distrust", domain="south.example"))
        self.assertEqual(self.peer.ping(), 7)


class Configuration(unittest.TestCase):
    def test_what_is_wrong_stands_in_one_line(self):
        engine = Engine(self)
        for extra, words in (
                ('aead = "rot13";', ':8: aead: is "rot13": no such provider, there are "auto", "openssl"'),
                ('api_group = "no-such-group";',
                 ':8: api_group: is "no-such-group": there is no such group'),
                ("reservations_per_domain = 0;", ":8: reservations_per_domain: is 0: outside 1 to 64")):
            with self.subTest(extra):
                engine.write(extra)
                status, line = engine.refusal()
                self.assertEqual(status, 3)
                self.assertIn(f"{engine.config}{words}", line)


if __name__ == "__main__":
    unittest.main()
