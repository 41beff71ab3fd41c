#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A real engine and its key manager: certificates, stores that were changed by hand, keys that are
abandoned. And a key manager that lies, in the place of the real one. No VM is started."""

import contextlib
import glob
import json
import os
import sqlite3
import sys
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(TOP, "tests", "lab"))
import lab  # noqa: E402

VM = "7e5710c5-0000-4000-8000-000000000001"

# Its link is descriptor 3: be16 type, be16 zero, be64 subject, payload (ipc/link.h, role/keyd_messages.h).
LIAR = """#!/usr/bin/python3 -I
import socket, struct
START, READY, HEAD, PROGRESS = 128, 5, 144, {progress}
link = socket.socket(fileno=3)
link.setblocking(True)
def send(kind, payload=b""):
    link.send(struct.pack(">HHQ", kind, 0, 0) + payload)
while True:
    message = link.recv(65536)
    if not message:
        break
    if struct.unpack(">H", message[:2])[0] != START:
        continue
    for kind, numbers, rest in {says!r}:
        send(kind, struct.pack(f">{{len(numbers)}}Q", *numbers) + rest)
"""
READY, HEAD, PROGRESS = 5, 144, 153


class Engine(unittest.TestCase):
    def setUp(self):
        self.lab = lab.Lab(namespaces=False)
        self.addCleanup(self.lab.close)
        self.host = self.lab.north
        self.root = os.path.join(self.host.directory, "root.key")
        self.store = os.path.join(self.host.state, "keys", "keys.db")
        lab.run([os.path.join(self.lab.bin, "sealift"), "key", "root", "init", self.root])
        self.configure()

    def configure(self, extra=""):
        self.host.port = 7468 + os.getpid() % 20000
        self.host.write_config(f'keys = {{ root = "{self.root}"; {extra} }};')

    def serving(self):
        def look():
            with contextlib.suppress(lab.LabError):
                return self.host.call("key-backends")
            return None
        return lab.wait_for("answer of the key manager", look, 20)

    def doctor(self):
        return {check["name"]: check for check in self.host.call("doctor")["checks"]}["keys"]

    def says(self, words, ok=False):
        """Until doctor says it of the key manager."""
        def look():
            check = self.doctor()
            return check if words in check["text"] and check["ok"] == ok else None
        return lab.wait_for(words, look, 20)

    def create(self, slot="vda"):
        return self.host.call("key-create", vm=VM, slot=slot)["key"]

    def lie(self, *says):
        with open(os.path.join(self.lab.libexec, "sealift-keyd"), "w", encoding="ascii") as file:
            file.write(LIAR.format(says=says, progress=PROGRESS))

    # --- a key manager that lies ---

    def test_a_log_that_grows_is_kept(self):
        self.lie((HEAD, [5], b"a" * 48), (READY, [], b""), (HEAD, [6], b"b" * 48))
        self.host.start()
        self.says("serves, 6 log entries", ok=True)
        self.assertTrue(os.path.exists(os.path.join(self.host.state, "keys.head")))

    def head(self):
        with open(os.path.join(self.host.state, "keys.head"), encoding="ascii") as file:
            return json.load(file)["entries"]

    def test_a_log_that_grows_is_kept_a_moment_later(self):
        self.lie((HEAD, [5], b"a" * 48), (READY, [], b""), (HEAD, [6], b"b" * 48), (HEAD, [7], b"c" * 48))
        self.host.start()
        self.says("serves, 7 log entries", ok=True)
        lab.wait_for("the newest", lambda: self.head() == 7, 20)

    def test_what_waits_is_kept_when_the_engine_stops(self):
        self.lie((HEAD, [5], b"a" * 48), (READY, [], b""), (HEAD, [7], b"c" * 48))
        self.host.start()
        self.says("serves, 7 log entries", ok=True)
        self.host.stop()
        self.assertEqual(self.head(), 7)

    def test_a_log_that_gets_shorter_ends_it(self):
        self.lie((HEAD, [5], b"a" * 48), (READY, [], b""), (HEAD, [3], b"b" * 48))
        self.host.start()
        self.says("its log has 3 entries, though it had 5")
        refusal = self.host.refusal("key-list")
        self.assertEqual(refusal["category"], "unavailable")
        self.assertIn("put back while it ran", refusal["text"])
        # What is remembered is what it was, after a restart of the engine too.
        self.host.stop()
        self.lie((HEAD, [4], b"a" * 48), (READY, [], b""))
        self.host.start()
        self.says("its log has 4 entries, though it had 5")

    def test_a_log_that_becomes_another_ends_it(self):
        self.lie((HEAD, [5], b"a" * 48), (READY, [], b""), (HEAD, [5], b"b" * 48))
        self.host.start()
        self.says("log entry 5 is another than it was")

    def test_one_that_is_verifying_is_told_of(self):
        self.lie((PROGRESS, [1200, 3000, 40], b""))
        self.host.start()
        self.says("it is verifying its store: 1200 of 3000 log entries so far, and 40 keys")
        self.assertIn("1200 of 3000", self.host.refusal("key-list")["text"])
        self.assertEqual(self.host.call("vm-list"), {"vms": []})

    # --- the real one ---

    def change_store(self, *statements):
        database = sqlite3.connect(self.store)
        for statement in statements:
            database.execute(statement)
        database.commit()
        database.close()

    def test_a_store_changed_by_hand_is_not_served_from(self):
        self.host.start()
        self.serving()
        key = self.create()
        self.host.call("key-destroy", key=key["id"])
        self.create("vdb")
        self.host.stop()
        self.change_store("DELETE FROM log WHERE row=1 AND number>1",
                          "UPDATE keys SET record=replace(record, 'destroyed', 'active') WHERE row=1")
        self.host.start()
        check = self.says("the key store is not what was written to it")
        self.assertIn("log entry 2 is missing", check["text"])
        self.assertEqual(self.host.call("vm-list"), {"vms": []})
        self.assertIn("log entry 2 is missing", self.host.refusal("key-show", key=key["id"])["text"])

    def issue(self):
        """The four settings for what `sealift pki issue keyd` makes."""
        self.lab.pki("north.example", "issue", "keyd")
        directory = os.path.join(self.lab.directory, "pki", "north.example", "keyd")
        files = {os.path.basename(path): path for path in glob.glob(os.path.join(directory, "*"))}
        return {"certificate": files["sign.crt"], "key": files["sign.key"],
                "agree_certificate": files["agree.crt"], "agree_key": files["agree.key"]}

    def keyd_arguments(self):
        with open(f"/proc/{self.host.engine.pid}/task/{self.host.engine.pid}/children",
                  encoding="ascii") as file:
            for pid in map(int, file.read().split()):
                with open(f"/proc/{pid}/cmdline", encoding="ascii") as line:
                    arguments = line.read().split("\0")
                if arguments[0].endswith("sealift-keyd"):
                    return arguments[1:]
        return None

    def test_certificates_are_passed_on(self):
        settings = self.issue()
        self.configure(" ".join(f'{name} = "{path}";' for name, path in settings.items()))
        self.host.start()
        self.serving()
        self.assertIn("--certificates", self.keyd_arguments())
        self.assertNotIn("keys cannot be moved", self.host.log())
        # One that is not there stops the moving of keys alone.
        self.host.stop()
        os.rename(settings["agree_key"], settings["agree_key"] + ".away")
        self.host.start()
        self.serving()
        self.assertNotIn("--certificates", self.keyd_arguments())
        self.assertIn("keys cannot be moved: cannot open", self.host.log())
        # And so does one that is no certificate of a key manager.
        self.host.stop()
        os.rename(settings["agree_key"] + ".away", settings["agree_key"])
        settings["certificate"] = settings["certificate"].replace("keyd/sign", "hosts/north/sign")
        settings["key"] = settings["key"].replace("keyd/sign", "hosts/north/sign")
        self.configure(" ".join(f'{name} = "{path}";' for name, path in settings.items()))
        self.host.start()
        self.serving()
        self.assertIn("not of a keyd", self.host.log())

    def test_what_is_not_on_its_way_is_not_abandoned(self):
        self.host.start()
        self.serving()
        key = self.create()
        for arguments, category, words in (
                ({"key": key["id"], "reason": "why not"}, "conflict", "is active: it is not on its way"),
                ({"key": key["id"], "reason": ""}, "usage", "reason is not"),
                ({"key": key["id"], "reason": "x" * 512}, "usage", "reason is not"),
                ({"key": "ab", "reason": "why not"}, "usage", "not 32"),
                ({"key": "0" * 32, "reason": "why not"}, "not-found", "no key")):
            with self.subTest(**arguments):
                refusal = self.host.refusal("key-abandon", **arguments)
                self.assertEqual(refusal["category"], category, refusal)
                self.assertIn(words, refusal["text"])
        with self.assertRaisesRegex(lab.LabError, "--reason is missing"):
            self.host.cli("key", "abandon", key["id"], "--yes")
        with self.assertRaisesRegex(lab.LabError, "say --yes"):
            self.host.cli("key", "abandon", key["id"], "--reason", "why not")
        with self.assertRaisesRegex(lab.LabError, "not on its way"):
            self.host.cli("key", "abandon", key["id"], "--reason", "why not", "--yes")


if __name__ == "__main__":
    unittest.main()
