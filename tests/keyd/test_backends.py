#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Values in other key managers, and root keys that are no file: a real engine with a real key manager
and real helpers before PyKMIP, Barbican with Keystone, SoftHSM and swtpm, which are strangers'
implementations, and before one that lies. test_backends.py KEYHELPER ROOT_TOOL. No VM is started; that
a value comes back as it went is looked at by encrypting a disk with it (the key manager compares its
fingerprint whenever it comes). What is not installed is skipped."""

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import unittest

HELPER, ROOT_TOOL = (sys.argv.pop(1), sys.argv.pop(1)) if len(sys.argv) > 2 else (None, None)
TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(TOP, "tests", "lab"))
sys.path.insert(0, os.path.join(TOP, "tests", "keys"))
import lab  # noqa: E402
from kmip_peers import Pki, free_port  # noqa: E402

VM = "7e5710c5-0000-4000-8000-000000000007"
PIN = "71c0-sesame"
MODULE = "/usr/lib/softhsm/libsofthsm2.so"
USER = 61106


def has(module):
    return importlib.util.find_spec(module) is not None


class Base(unittest.TestCase):
    """An engine of its own for each test, with a helper that it finds."""

    def setUp(self):
        lab.ROLE_USERS["keyhelper"] = f"{USER}:{USER}"
        self.lab = lab.Lab(namespaces=False)
        self.addCleanup(self.lab.close)
        self.addCleanup(self.look_at_the_log)
        shutil.copy2(HELPER, os.path.join(self.lab.libexec, "sealift-keyhelper"))
        self.host = self.lab.north
        self.addCleanup(self.host.stop)
        self.host.port = 7468 + os.getpid() % 20000
        self.folder = os.path.join(self.lab.directory, "peer")
        os.mkdir(self.folder, 0o755)
        self.root = os.path.join(self.host.directory, "root.key")
        lab.run([os.path.join(self.lab.bin, "sealift"), "key", "root", "init", self.root])

    def look_at_the_log(self):
        """After the engine ended: of a build with sanitizers, or of an engine that broke a rule."""
        if os.path.exists(self.host.log_path):
            for words in ("Sanitizer", "runtime error", "Assertion", "not permitted"):
                self.assertNotIn(words, self.host.log())

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, text, mode=0o600):
        with open(self.path(name), "w", encoding="ascii") as file:
            file.write(text)
        os.chmod(self.path(name), mode)
        return self.path(name)

    def start(self, *backends, root=None, default=None):
        """Until each of the back-ends is usable."""
        root = root or f'"{self.root}"'
        more = f'default_backend = "{default}";' if default else ""
        listed = ",\n".join("{ " + backend + " }" for backend in backends)
        self.host.write_config(f"keys = {{ root = {root}; backends = ( {listed} ); {more} }};")
        self.host.start()
        return self

    def serving(self, *names):
        def look():
            with contextlib.suppress(lab.LabError):
                found = {b["name"]: b for b in self.host.call("key-backends")["backends"]}
                return all(found[name]["usable"] for name in ("embedded", *names)) and found
            return None
        return lab.wait_for(f"back-ends {names}", look, 30)

    def backend(self, name):
        return {b["name"]: b for b in self.host.call("key-backends")["backends"]}[name]

    def create(self, slot, backend=None):
        more = {"backend": backend} if backend else {}
        return self.host.call("key-create", vm=VM, slot=slot, **more)["key"]

    def show(self, key, version=0):
        return self.host.call("key-show", key=key["id"], version=version)["key"]

    def refused(self, category, words, command, **arguments):
        began = time.monotonic()
        refusal = self.host.refusal(command, **arguments)
        self.assertEqual(refusal["category"], category, refusal)
        self.assertIn(words, refusal["text"])
        self.assertNotIn("\n", refusal["text"])
        return time.monotonic() - began

    def vm_text(self, volume):
        return f"""name = "backends";
uuid = "{VM}";
machine = "pc-q35-10.0";
cpu = "max";
memory = "64M";
disks = ( {{ pool = "shared"; volume = "{volume}"; format = "raw"; size = "1M"; encryption = "luks"; }} );
"""

    def make_disk(self, volume):
        """Makes a key where keys are made by default, gets its value and encrypts with it."""
        made = self.host.call("vm-create", text=self.vm_text(volume), file="/nowhere/vm.conf",
                              sparse=True)["disks"][0]
        self.assertEqual((made["made"], made["encryption"]), (True, "luks"))
        return self.host.call("key-show", key=made["key"])["key"]

    def actions(self, key):
        return [entry["action"] for entry in self.host.call("key-audit")["entries"]
                if entry["key"] == key["id"]]

    def details(self):
        return "\n".join(entry["detail"] for entry in self.host.call("key-audit")["entries"])

    def children(self, name):
        """Process ids of the engine's children of this name, by what they were started as."""
        found = []
        pid = self.host.engine.pid
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            for child in map(int, file.read().split()):
                with contextlib.suppress(OSError):
                    with open(f"/proc/{child}/cmdline", "rb") as words:
                        if words.read().split(b"\0")[0].endswith(name.encode()):
                            found.append(child)
        return found

    def lives(self, backend):
        """The life of a key, with its value in this back-end, which is the default."""
        key = self.make_disk(f"{backend}.img")
        self.assertEqual((key["backend"], key["state"]), (backend, "active"))
        self.assertNotEqual(key["reference"], "")
        fresh = self.host.call("key-rotate", key=key["id"])["key"]
        self.assertEqual((fresh["version"], fresh["backend"]), (2, backend))
        self.assertNotEqual(fresh["reference"], key["reference"])
        self.assertNotEqual(fresh["fingerprint"], key["fingerprint"])
        self.assertEqual(self.show(key, 1)["state"], "deactivated")
        self.assertEqual(self.host.call("key-destroy", key=key["id"]), {"keys": 2, "left": 0})
        self.assertEqual({self.show(key, version)["state"] for version in (1, 2)}, {"destroyed"})
        self.assertEqual(self.actions(key), ["created", "opened", "rotated", "created", "wiped",
                                             "retired", "wiped"])
        self.assertTrue(self.host.call("key-verify")["done"])
        return key, fresh

    def embedded_goes_on(self, slot):
        """Quickly, whatever the others do."""
        began = time.monotonic()
        key = self.create(slot, "embedded")
        self.assertEqual(self.host.call("key-rotate", key=key["id"])["key"]["version"], 2)
        self.assertLess(time.monotonic() - began, 3)
        return key


class KmipBase(Base):

    def setUp(self):
        super().setUp()
        import lying_kmip
        self.kmip = lying_kmip
        self.pki = Pki(self.folder)
        self.pki.root("root")
        self.pki.issue("server", "root", "serverAuth", "IP:127.0.0.1")
        self.pki.issue("alice", "root", "clientAuth")
        os.chmod(self.path("alice.key"), 0o600)

    def kmip_text(self, port, name="kms", more=""):
        return f"""name = "{name}"; type = "kmip"; address = "127.0.0.1:{port}"; ca = "{self.path('root.pem')}";
            certificate = "{self.path('alice.pem')}"; key = "{self.path('alice.key')}"; {more}"""

    def stop(self):
        """Before the servers, which wait for their clients."""
        self.host.stop()


class Lies(KmipBase):
    """A KMIP server of our own, which is honest until told otherwise."""

    def serve(self):
        server = self.kmip.LyingKmip(self.pki)
        self.addCleanup(server.__exit__)
        return server

    def test_the_life_of_a_key(self):
        server = self.serve()
        self.addCleanup(self.stop)
        self.start(self.kmip_text(server.port), default="kms").serving("kms")
        self.lives("kms")
        self.assertEqual([state for _, state in server.objects.values()],
                         [self.kmip.DESTROYED, self.kmip.DESTROYED])
        # What it has is a blob: 12 bytes, the value, 16 bytes.
        self.assertEqual({len(value) for value, _ in server.objects.values()}, {60})
        embedded = self.create("plain", "embedded")
        self.assertEqual(embedded["reference"], "")

    def test_a_value_that_is_another(self):
        server = self.serve()
        self.addCleanup(self.stop)
        self.start(self.kmip_text(server.port), default="kms").serving("kms")
        other = {}

        def flip(request, _):
            reference = self.kmip.find(request, self.kmip.ID).decode()
            value = server.objects[reference][0]
            other["value"] = value[:-1] + bytes([value[-1] ^ 1])
            return self.kmip.success(self.kmip.GET, *self.kmip.secret_data(reference, other["value"]))
        server.lies[self.kmip.GET] = flip
        self.refused("auth", 'back-end "kms"', "vm-create", text=self.vm_text("x.img"),
                     file="/nowhere/vm.conf", sparse=True)
        self.assertIn("value", other)
        self.assertIn("refused", [e["action"] for e in self.host.call("key-audit")["entries"]])
        # One of another key is no better.
        first, second = self.create("a"), self.create("b")
        server.lies[self.kmip.GET] = lambda request, _: self.kmip.success(
            self.kmip.GET, *self.kmip.secret_data(self.kmip.find(request, self.kmip.ID).decode(),
                                                  server.objects[first["reference"]][0]))
        self.refused("auth", 'back-end "kms"', "vm-create", text=self.vm_text("b"),
                     file="/nowhere/vm.conf", sparse=True)
        self.assertEqual(self.show(second)["state"], "active")
        self.embedded_goes_on("still")

    def test_one_that_is_full(self):
        server = self.serve()
        self.addCleanup(self.stop)
        self.start(self.kmip_text(server.port)).serving("kms")
        server.lies[self.kmip.REGISTER] = lambda *_: self.kmip.refusal(
            self.kmip.REGISTER, 0x100, "the disk is full")
        refusal = self.host.refusal("key-create", vm=VM, slot="a", backend="kms")
        self.assertIn('back-end "kms"', refusal["text"])
        self.assertIn("the disk is full", refusal["text"])
        self.assertEqual(self.host.call("key-list")["keys"], [])
        self.embedded_goes_on("still")

    def test_one_that_is_slow_holds_up_nobody(self):
        server, quick = self.serve(), self.serve()
        self.addCleanup(self.stop)
        self.start(self.kmip_text(server.port), self.kmip_text(quick.port, "quick")).serving("kms", "quick")

        def silent(*_):
            raise self.kmip.Silence()
        server.lies[self.kmip.REGISTER] = silent
        answers = {}

        def ask(slot):
            began = time.monotonic()
            answers[slot] = (self.host.refusal("key-create", vm=VM, slot=slot, backend="kms"),
                             time.monotonic() - began)
        threads = [threading.Thread(target=ask, args=(f"slow{i}",)) for i in range(3)]
        for thread in threads:
            thread.start()
        lab.wait_for("request", lambda: server.count(self.kmip.REGISTER), 10)
        self.embedded_goes_on("still")
        self.assertEqual(self.create("other", "quick")["backend"], "quick")
        self.assertFalse(answers)
        for thread in threads:
            thread.join(40)
        for refusal, seconds in answers.values():
            self.assertIn(refusal["category"], ("timeout", "unavailable"), refusal)
            self.assertIn('back-end "kms"', refusal["text"])
            self.assertLess(seconds, 22)
        self.assertEqual(len(answers), 3)
        # What may be there is written down; nobody can open it.
        self.assertIn("may keep a blob that opens nothing", self.details())
        server.lies.clear()
        self.serving("kms")
        self.create("again", "kms")

    def test_a_lost_deletion_is_made_up_for(self):
        server = self.serve()
        self.addCleanup(self.stop)
        self.start(self.kmip_text(server.port)).serving("kms")
        key = self.create("a", "kms")
        server.lies[self.kmip.DESTROY] = lambda *_: self.kmip.refusal(self.kmip.DESTROY, 0x0c, "not now")
        self.assertEqual(self.host.call("key-destroy", key=key["id"]), {"keys": 1, "left": 1})
        self.assertEqual(self.show(key)["state"], "destroyed")
        self.assertIn("is not deleted yet", self.details())
        self.assertIn("not now", self.details())
        server.lies.clear()
        lab.wait_for("deletion", lambda: server.objects[key["reference"]][1] == self.kmip.DESTROYED, 30)

    def test_a_helper_that_is_killed(self):
        server = self.serve()
        self.addCleanup(self.stop)
        self.start(self.kmip_text(server.port), default="kms").serving("kms")
        key = self.create("a")
        helper, = self.children("sealift-keyhelper")
        os.kill(helper, signal.SIGKILL)
        lab.wait_for("end", lambda: not self.backend("kms")["usable"] or
                     self.children("sealift-keyhelper") != [helper], 10)
        self.embedded_goes_on("still")
        self.serving("kms")
        self.assertNotEqual(self.children("sealift-keyhelper"), [helper])
        self.assertEqual(self.host.call("key-rotate", key=key["id"])["key"]["version"], 2)
        # And its user, and the port that is the only one it may reach.
        with open(f"/proc/{self.children('sealift-keyhelper')[0]}/status", encoding="ascii") as file:
            status = file.read()
        self.assertIn("Seccomp:\t2", status)
        if os.geteuid() == 0:
            self.assertIn(f"Uid:\t{USER}\t", status)

    def test_a_helper_that_hangs(self):
        server = self.serve()
        self.addCleanup(self.stop)
        self.start(self.kmip_text(server.port)).serving("kms")
        helper, = self.children("sealift-keyhelper")
        os.kill(helper, signal.SIGSTOP)
        spent = self.refused("timeout", "did not answer within 10 s", "key-create", vm=VM, slot="a",
                             backend="kms")
        self.assertLess(spent, 12)
        self.serving("kms")
        self.assertNotIn(helper, self.children("sealift-keyhelper"))
        self.create("a", "kms")

    def test_a_key_manager_that_is_killed(self):
        server = self.serve()
        self.addCleanup(self.stop)
        self.start(self.kmip_text(server.port)).serving("kms")
        key = self.create("a", "kms")
        before = self.children("sealift-keyhelper")
        os.kill(self.children("sealift-keyd")[0], signal.SIGKILL)
        lab.wait_for("end", lambda: self.children("sealift-keyhelper") != before, 10)
        self.serving("kms")
        self.assertEqual(self.host.call("key-rotate", key=key["id"])["key"]["version"], 2)
        self.assertEqual(len(self.children("sealift-keyhelper")), 1)

    def test_one_that_is_not_configured_any_more(self):
        server = self.serve()
        self.addCleanup(self.stop)
        self.start(self.kmip_text(server.port), default="kms").serving("kms")
        key = self.create("a")
        self.host.stop()
        self.start(default="embedded").serving()
        self.refused("not-found", 'no back-end "kms"', "key-create", vm=VM, slot="b", backend="kms")
        self.refused("unavailable", "not configured any more", "key-rotate", key=key["id"])
        self.assertEqual(self.host.call("key-destroy", key=key["id"]), {"keys": 1, "left": 1})

    def test_files_that_others_may_use(self):
        server = self.serve()
        self.addCleanup(self.stop)
        os.chmod(self.path("alice.key"), 0o644)
        self.start(self.kmip_text(server.port)).serving()
        self.refused("unavailable", "has mode 0644", "key-create", vm=VM, slot="a", backend="kms")
        os.chmod(self.path("alice.key"), 0o600)
        self.serving("kms")

    def test_two_at_once_for_one_slot(self):
        server = self.serve()
        self.addCleanup(self.stop)
        self.start(self.kmip_text(server.port)).serving("kms")
        answers = []

        def ask():
            with contextlib.closing(self.host.api()) as api:
                answers.append(api.raw("key-create", vm=VM, slot="a", backend="kms"))
        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        made = [answer for answer in answers if "return" in answer]
        self.assertEqual(len(made), 1, answers)
        self.assertEqual({a["error"]["category"] for a in answers if "error" in a}, {"conflict"})
        # Those that came too late are deleted again.
        lab.wait_for("deletions", lambda: [s for _, s in server.objects.values()].count(
            self.kmip.DESTROYED) == len(server.objects) - 1, 30)


@unittest.skipUnless(has("kmip"), "python3-pykmip is not installed")
class PyKmip(KmipBase):

    def rows(self):
        with contextlib.closing(sqlite3.connect(self.path("main.db"))) as database:
            return database.execute("SELECT COUNT(*) FROM managed_objects").fetchone()[0]

    def test_lives_goes_down_and_comes_back(self):
        from test_kmip import Server
        server = Server(self.pki, "server", "main")
        server.start()
        self.addCleanup(lambda: server.kill())
        self.addCleanup(self.stop)
        self.start(self.kmip_text(server.port, more="weak_ciphers = true;"), default="kms").serving("kms")
        self.assertIn("KMIP 1.", self.backend("kms")["text"])
        self.lives("kms")
        self.assertEqual(self.rows(), 0)
        key = self.create("a")
        self.assertEqual(self.rows(), 1)
        server.kill()
        self.refused("unavailable", 'back-end "kms"', "key-create", vm=VM, slot="b")
        self.embedded_goes_on("still")
        self.assertFalse(self.backend("kms")["usable"])
        self.assertEqual(self.host.call("key-destroy", key=key["id"]), {"keys": 1, "left": 1})
        server.start()
        self.serving("kms")
        lab.wait_for("deletion", lambda: self.rows() == 0, 30)


@unittest.skipUnless(os.geteuid() == 0 and os.path.exists(MODULE) and shutil.which("softhsm2-util"),
                     "softhsm2 is not installed, or this is not root")
class SoftHsm(Base):
    def setUp(self):
        super().setUp()
        self.addCleanup(self.host.stop)
        os.mkdir(self.path("tokens"))
        self.write("conf", f"directories.tokendir = {self.path('tokens')}\nobjectstore.backend = file\n"
                   "log.level = ERROR\n", 0o644)
        self.write("pin", PIN + "\n")
        self.tool("softhsm2-util", "--init-token", "--free", "--label", "kms", "--so-pin", "5678",
                  "--pin", PIN)

    def tool(self, *words):
        subprocess.run(words, env={"SOFTHSM2_CONF": self.path("conf"), "PATH": "/usr/bin"}, check=True,
                       capture_output=True, timeout=30)
        for folder, _, names in os.walk(self.path("tokens")):
            for name in [".", *names]:
                os.chown(os.path.join(folder, name), USER, USER)

    def text(self, more=""):
        return f"""type = "pkcs11"; module = "{MODULE}"; token = "kms"; pin_file = "{self.path('pin')}";
            paths = ( {{ path = "{self.path('conf')}"; }}, {{ path = "{self.path('tokens')}"; write = true; }} );
            environment = [ "SOFTHSM2_CONF={self.path('conf')}" ]; {more}"""

    def objects(self):
        return sum(name.endswith(".object") and name != "token.object"
                   for _, _, names in os.walk(self.path("tokens")) for name in names)

    def test_the_life_of_a_key(self):
        self.start('name = "hsm"; ' + self.text(), default="hsm").serving("hsm")
        self.assertIn("SoftHSM", self.backend("hsm")["text"])
        self.lives("hsm")
        self.assertEqual(self.objects(), 0)
        key = self.create("a")
        self.assertEqual(self.objects(), 1)
        self.host.stop()
        self.host.start()
        self.serving("hsm")
        self.assertEqual(self.host.call("key-rotate", key=key["id"])["key"]["version"], 2)
        self.assertNotIn(PIN, self.host.log())

    def test_a_wrong_pin_is_tried_once(self):
        self.write("pin", "9999\n")
        self.start('name = "hsm"; ' + self.text()).serving()
        lab.wait_for("refusal", lambda: "not tried again" in self.backend("hsm")["text"], 20)
        self.refused("unavailable", "CKR_PIN_INCORRECT", "key-create", vm=VM, slot="a", backend="hsm")
        self.embedded_goes_on("still")
        # Nor with a new key manager.
        os.kill(self.children("sealift-keyd")[0], signal.SIGKILL)
        lab.wait_for("end", lambda: not self.children("sealift-keyd"), 10)
        self.serving()
        self.assertIn("not tried again", self.backend("hsm")["text"])
        self.assertEqual(self.host.log().count("CKR_PIN_INCORRECT") >= 1, True)
        self.assertEqual(self.children("sealift-keyhelper"), [])
        # A person mended it and says so.
        self.host.stop()
        self.write("pin", PIN + "\n")
        self.start('name = "hsm"; ' + self.text("after_failure = true;")).serving("hsm")
        self.create("a", "hsm")

    def test_as_the_root_key(self):
        self.tool(ROOT_TOOL, "pkcs11", MODULE, "kms", PIN, "root")
        root = "{ " + self.text('label = "root";') + " }"
        self.start(root=root).serving()
        self.assertEqual(self.host.call("key-backends")["root"], "pkcs11")
        key = self.make_disk("r.img")
        self.assertEqual(self.host.call("key-rotate", key=key["id"])["key"]["version"], 2)
        self.host.stop()
        self.host.start()
        self.serving()
        self.assertTrue(self.host.call("key-verify")["done"])
        # Without its helper it ends, and comes back with another.
        before = self.children("sealift-keyd") + self.children("sealift-keyhelper")
        os.kill(before[1], signal.SIGKILL)
        lab.wait_for("end", lambda: before[0] not in self.children("sealift-keyd"), 10)
        self.serving()
        self.assertEqual(self.host.call("key-destroy", key=key["id"])["keys"], 2)
        self.host.stop()
        # Another token's key, or a wrong PIN: no key manager, and no second try.
        self.write("pin", "9999\n")
        self.host.start()
        lab.wait_for("refusal", lambda: "CKR_PIN_INCORRECT" in self.host.refusal("key-list")["text"], 20)
        self.assertIn("is not tried again before sealiftd is started anew", self.host.log())
        self.assertEqual(self.children("sealift-keyd") + self.children("sealift-keyhelper"), [])


@unittest.skipUnless(shutil.which("swtpm"), "swtpm is not installed")
class Chip(Base):
    def setUp(self):
        super().setUp()
        self.addCleanup(self.host.stop)
        os.mkdir(self.path("state"), 0o700)
        self.device = self.path("tpm.sock")
        # One that outlives its clients, as a chip does.
        self.chip = subprocess.Popen(
            ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={self.path('state')}", "--server",
             f"type=unixio,path={self.device}", "--flags", "not-need-init,startup-clear", "--log", "level=0"],
            stderr=subprocess.DEVNULL)
        self.addCleanup(self.chip.wait, 10)
        self.addCleanup(self.chip.kill)
        lab.wait_for("chip", lambda: os.path.exists(self.device), 10)
        with contextlib.closing(self.connect()) as ours:
            subprocess.run([ROOT_TOOL, "tpm2", str(ours.fileno()), self.path("root.blob"), str(1 << 7)],
                           pass_fds=[ours.fileno()], env={"TSS2_LOG": "all+NONE"}, check=True,
                           capture_output=True, timeout=30)
        self.tpm = f'{{ type = "tpm2"; blob = "{self.path("root.blob")}"; device = "{self.device}"; }}'

    def connect(self):
        chip = socket.socket(socket.AF_UNIX)
        chip.connect(self.device)
        return chip

    def test_as_the_root_key(self):
        self.start(root=self.tpm).serving()
        self.assertEqual(self.host.call("key-backends")["root"], "tpm2")
        key = self.make_disk("t.img")
        # The helper has done its work.
        lab.wait_for("end", lambda: not self.children("sealift-keyhelper"), 10)
        self.host.stop()
        self.host.start()
        self.serving()
        self.assertEqual(self.host.call("key-rotate", key=key["id"])["key"]["version"], 2)
        self.host.stop()
        # A machine that is not what it was.
        with contextlib.closing(self.connect()) as chip:
            command = (bytes.fromhex("0000018200000007") + bytes.fromhex("00000009400000090000000000")
                       + bytes.fromhex("00000001000b") + b"Z" * 32)
            chip.sendall(b"\x80\x02" + (len(command) + 6).to_bytes(4, "big") + command)
            self.assertEqual(chip.recv(256)[6:10], bytes(4))
        self.host.start()
        lab.wait_for("refusal", lambda: "PCRs are not what they were" in
                     self.host.refusal("key-list")["text"], 20)
        self.assertEqual(self.children("sealift-keyd"), [])

    def test_a_chip_that_is_not_there(self):
        os.rename(self.device, self.device + ".away")
        self.start(root=self.tpm)
        lab.wait_for("refusal", lambda: "cannot find" in self.host.refusal("key-list")["text"], 20)
        self.assertEqual(self.host.call("vm-list"), {"vms": []})
        os.rename(self.device + ".away", self.device)
        self.serving()


@unittest.skipUnless(all(map(has, ("barbican", "keystone", "waitress"))),
                     "python3-barbican, python3-keystone and python3-waitress are not installed")
class Barbican(Base):
    def test_lives_goes_down_and_comes_back(self):
        from barbican_servers import Openstack
        from lying_barbican import Door, tls_context
        pki = Pki(self.folder)
        pki.root("root")
        pki.issue("server", "root", "serverAuth", "DNS:keystone.test,DNS:barbican.test")
        os.mkdir(self.path("cloud"))
        cloud = Openstack(self.path("cloud"))
        self.addCleanup(cloud.stop)
        cloud.start()
        doors = [Door(server.port, tls_context(pki, "server")) for server in (cloud.keystone, cloud.barbican)]
        for door in doors:
            self.addCleanup(door.close)
        self.addCleanup(self.host.stop)
        credential, secret = cloud.credential("alice", "north")
        self.start(f"""name = "cloud"; type = "barbican"; ca = "{self.path('root.pem')}";
            keystone_url = "https://keystone.test:{doors[0].port}/v3";
            barbican_url = "https://barbican.test:{doors[1].port}";
            credential_id = "{credential}"; credential_file = "{self.write('secret', secret)}";
            hosts = ( {{ name = "keystone.test"; address = "127.0.0.1"; }},
                      {{ name = "barbican.test"; address = "127.0.0.1"; }} );""", default="cloud")
        self.serving("cloud")
        self.assertIn("Keystone", self.backend("cloud")["text"])
        _, fresh = self.lives("cloud")
        token = cloud.token("alice", cloud.password, "north")
        status, _, _ = cloud.request("GET", f"{cloud.barbican.url}/v1/secrets/{fresh['reference']}",
                                     token=token)
        self.assertEqual(status, 404)
        cloud.barbican.stop()
        refusal = self.host.refusal("key-create", vm=VM, slot="b")
        self.assertIn('back-end "cloud"', refusal["text"])
        self.embedded_goes_on("still")
        cloud.barbican.start()
        self.serving("cloud")
        self.create("b")
        self.assertNotIn(secret, self.host.log())


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[1:]], verbosity=1)
