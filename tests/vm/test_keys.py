#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A real engine with a real key manager: the whole life of keys by the command line, a key manager
that is killed in the middle, stores that were put back, and who may do what. No VM is started."""

import contextlib
import grp
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(TOP, "tests", "lab"))
import lab  # noqa: E402

VM = "7e5710c5-0000-4000-8000-000000000001"


def vm_of(number):
    """A VM has 24 keys at most."""
    return f"7e5710c5-0000-4000-8000-{number // 20:012}"


class Keys(unittest.TestCase):
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

    def start(self):
        self.host.start()
        self.serving()

    def serving(self):
        """Until the key manager answers: with what."""
        def look():
            with contextlib.suppress(lab.LabError):
                return self.host.call("key-backends")
            return None
        return lab.wait_for("answer of the key manager", look, 20)

    def cli(self, *arguments):
        return [json.loads(line) for line in self.host.cli("--json", "key", *arguments).splitlines()]

    def create(self, slot="vda"):
        return self.cli("create", VM, slot)[0]

    def keyd(self):
        """Its process id: the engine's child of that name."""
        with open(f"/proc/{self.host.engine.pid}/task/{self.host.engine.pid}/children",
                  encoding="ascii") as file:
            for pid in map(int, file.read().split()):
                with open(f"/proc/{pid}/comm", encoding="ascii") as name:
                    if name.read().strip() == "sealift-keyd":
                        return pid
        return None

    def kill_keyd(self):
        before = self.keyd()
        os.kill(before, signal.SIGKILL)
        return before

    def test_the_life_of_a_key(self):
        self.start()
        key = self.create()
        self.assertEqual((key["state"], key["version"], key["owner"]), ("active", 1, "north.example"))
        self.assertEqual(key["epoch"], 1)
        self.assertEqual(self.cli("list"), [key])
        self.assertEqual(self.cli("list", VM), [key])
        self.assertEqual(self.cli("show", key["id"]), [key])
        fresh = self.cli("rotate", key["id"])[0]
        self.assertEqual((fresh["version"], fresh["state"]), (2, "active"))
        self.assertNotEqual(fresh["fingerprint"], key["fingerprint"])
        self.assertEqual(self.cli("show", key["id"], "--version", "1")[0]["state"], "deactivated")
        self.assertEqual(self.host.call("key-verify"), {"entries": 3, "keys": 2, "done": True})
        self.assertEqual(self.cli("destroy", key["id"], "--yes"), [{"keys": 2, "left": 0}])
        self.assertEqual({k["state"] for k in self.cli("list")}, {"destroyed"})
        actions = [entry["action"] for entry in self.cli("audit")]
        self.assertEqual(actions, ["created", "rotated", "created", "wiped", "retired", "wiped"])
        self.assertEqual({entry["who"] for entry in self.cli("audit")}, {f"uid {os.geteuid()}"})
        self.assertIn("whole: 6 log entries, 2 keys", self.host.cli("key", "audit", "verify"))
        self.assertIn("embedded", self.host.cli("key", "backends"))
        checks = {check["name"]: check for check in self.host.call("doctor")["checks"]}
        self.assertTrue(checks["keys"]["ok"], checks["keys"])

    def test_many_keys_are_paged(self):
        self.start()
        with contextlib.closing(self.host.api()) as api:
            keys = []
            while len(keys) < 60:
                answer = api.raw("key-create", vm=vm_of(len(keys)), slot=f"vd{len(keys)}")
                if "return" in answer:
                    keys.append(answer["return"]["key"])
                else:
                    self.assertEqual(answer["error"]["category"], "limit")
                    self.assertIn("asks too often", answer["error"]["text"])
        self.assertEqual(self.cli("list"), keys)
        self.assertEqual(len(self.cli("audit")), 60)
        self.assertEqual([e["number"] for e in self.cli("audit", "--first", "59")], [59, 60])

    def test_what_is_wrong_is_refused(self):
        self.start()
        self.create()
        for command, arguments, category, words in (
                ("key-create", {"vm": VM, "slot": "vda"}, "conflict", "already, and active"),
                ("key-create", {"vm": "nobody", "slot": "vda"}, "not-found", "no VM on this host"),
                ("key-create", {"vm": VM, "slot": "../x"}, "usage", "slot"),
                ("key-create", {"vm": VM, "slot": "x" * 99}, "usage", "at most 63"),
                ("key-create", {"vm": VM, "slot": "b", "purpose": "all"}, "usage", "neither"),
                ("key-create", {"vm": VM, "slot": "b", "backend": "vault"}, "not-found", "vault"),
                ("key-show", {"key": "ab"}, "usage", "not 32"),
                ("key-show", {"key": "0" * 32}, "not-found", "no key"),
                ("key-rotate", {"key": "0" * 32}, "not-found", "no key"),
                ("key-destroy", {"key": "0" * 32}, "not-found", "no key"),
                ("key-audit", {"first": 0}, "usage", "first"),
                ("key-list", {"vm": "nobody"}, "not-found", "nobody")):
            with self.subTest(command, **arguments):
                refusal = self.host.refusal(command, **arguments)
                self.assertEqual(refusal["category"], category, refusal)
                self.assertIn(words, refusal["text"])

    def test_a_slot_may_be_called_zero(self):
        self.start()
        shown = self.host.cli("key", "show", self.create("0")["id"])
        self.assertRegex(shown, "(?m)^slot +0$")
        self.assertNotIn("migration", shown)

    def test_without_keys_there_is_no_key_manager(self):
        self.host.write_config()
        self.host.start()
        self.assertIsNone(self.keyd())
        refusal = self.host.refusal("key-list")
        self.assertEqual(refusal["category"], "unavailable")
        self.assertIn("has no key manager", refusal["text"])

    def test_killed_in_the_middle(self):
        self.start()
        first = self.create()
        made, ended = [], threading.Event()

        def make():
            with contextlib.closing(self.host.api()) as api:
                for number in range(40):
                    answer = api.raw("key-create", vm=vm_of(number), slot=f"k{number}")
                    if "return" in answer:
                        made.append(answer["return"]["key"]["id"])
                        if len(made) == 5:
                            ended.set()
            ended.set()

        thread = threading.Thread(target=make)
        thread.start()
        ended.wait(20)
        before = self.kill_keyd()
        thread.join(30)
        self.serving()
        self.assertNotEqual(self.keyd(), before)
        found = {key["id"] for key in self.cli("list")}
        self.assertLessEqual({first["id"], *made}, found)
        # One that was under way may be there, too: nobody was told that it is.
        self.assertLessEqual(len(found), len(made) + 2)
        self.assertEqual(self.host.call("key-verify")["keys"], len(found))
        self.assertIn("VMs go on", self.host.log())

    def test_a_stopped_key_manager_is_told_of(self):
        self.start()
        with contextlib.closing(self.host.api()) as api:
            pid = self.keyd()
            os.kill(pid, signal.SIGSTOP)
            request = {"execute": "key-list", "arguments": {}}
            api.socket.sendall(json.dumps(request).encode() + b"\n")
            # The engine itself goes on meanwhile.
            self.assertEqual(self.host.call("vm-list"), {"vms": []})
            os.kill(pid, signal.SIGKILL)
            answer = api.line()
        self.assertEqual(answer["error"]["category"], "unavailable")
        self.serving()

    def test_a_store_put_back_is_not_served_from(self):
        self.start()
        self.create()
        self.host.stop()
        shutil.copy2(self.store, self.store + ".old")
        self.start()
        self.create("vdb")
        self.host.stop()
        status = os.stat(self.store)
        shutil.copy2(self.store + ".old", self.store)
        os.chown(self.store, status.st_uid, status.st_gid)
        self.host.start()
        why = lab.wait_for("refusal", self.refused_because, 20)
        self.assertIn("put back to an earlier state", why)
        # Done on purpose: a person says so.
        self.host.stop()
        os.unlink(os.path.join(self.host.state, "keys.head"))
        self.start()
        self.assertEqual(len(self.cli("list")), 1)

    def refused_because(self):
        with contextlib.closing(self.host.api()) as api:
            text = api.raw("key-list").get("error", {}).get("text", "")
        return text if "not there" in text and "starting" not in text else None

    def test_an_engine_without_its_root_key_goes_on(self):
        os.chmod(self.root, 0o644)
        self.host.start()
        self.assertIn("mode 0644", lab.wait_for("refusal", self.refused_because, 20))
        self.assertEqual(self.host.call("vm-list"), {"vms": []})
        checks = {check["name"]: check for check in self.host.call("doctor")["checks"]}
        self.assertFalse(checks["keys"]["ok"])
        os.chmod(self.root, 0o600)
        self.serving()

    @unittest.skipIf(os.geteuid(), "only root can give files away")
    def test_a_root_key_that_another_could_read(self):
        os.chown(self.root, 61199, -1)
        self.host.start()
        self.assertIn("belongs to the user 61199", lab.wait_for("refusal", self.refused_because, 20))
        os.chown(self.root, 0, -1)
        self.serving()

    def test_a_pipe_is_no_root_key(self):
        os.rename(self.root, self.root + ".kept")
        os.mkfifo(self.root, 0o600)
        self.host.start()
        self.assertIn("not a regular file", lab.wait_for("refusal", self.refused_because, 20))
        os.rename(self.root + ".kept", self.root)
        self.serving()

    @unittest.skipIf(os.geteuid(), "only root can give files away")
    def test_a_directory_in_use_is_not_given_away(self):
        store = os.path.join(self.host.directory, "store")
        os.mkdir(store, 0o700)
        with open(os.path.join(store, "other"), "w", encoding="ascii"):
            pass
        self.configure(f'store = "{store}";')
        self.host.start()
        self.assertIn("belongs to the user 0", lab.wait_for("refusal", self.refused_because, 20))
        self.assertEqual(os.stat(store).st_uid, 0)
        os.chmod(store, 0o755)
        os.unlink(os.path.join(store, "other"))
        why = lab.wait_for("refusal", lambda: "mode 0755" in (self.refused_because() or ""), 20)
        self.assertTrue(why)
        self.assertEqual(os.stat(store).st_uid, 0)
        os.chmod(store, 0o700)
        self.serving()
        self.assertNotEqual(os.stat(store).st_uid, 0)

    @unittest.skipIf(os.geteuid(), "only root can become somebody else")
    def test_destroying_is_not_for_everybody(self):
        group = grp.getgrgid(65534).gr_name
        for allowed in (False, True):
            with self.subTest(allowed=allowed):
                self.host.write_config(
                    f'api_group = "{group}"; keys = {{ root = "{self.root}"; '
                    f'group_may_destroy = {str(allowed).lower()}; }};')
                self.start()
                member = ["setpriv", "--reuid=61199", "--regid=65534", "--clear-groups",
                          os.path.join(self.lab.bin, "sealift"), "--socket", self.host.socket,
                          "--json", "key"]
                made = lab.run([*member, "create", VM, f"vd{allowed}"])
                key = json.loads(made)["id"]
                done = subprocess.run([*member, "destroy", key, "--yes"], capture_output=True,
                                      check=False, text=True)
                self.assertEqual(done.returncode, 0 if allowed else 6, done.stderr)
                self.assertEqual(self.cli("show", key)[0]["state"],
                                 "destroyed" if allowed else "active")
                self.assertEqual(self.cli("audit")[-1]["who"], "uid 61199")
                self.host.stop()

    def test_files_belong_to_it_alone(self):
        self.start()
        self.create()
        status = os.stat(os.path.dirname(self.store))
        self.assertEqual(stat.S_IMODE(status.st_mode), 0o700)
        self.assertEqual(stat.S_IMODE(os.stat(self.store).st_mode), 0o600)
        with open(f"/proc/{self.keyd()}/status", encoding="ascii") as file:
            text = file.read()
        self.assertIn("Seccomp:\t2", text)
        if os.geteuid() == 0:
            user = int(lab.ROLE_USERS["keyd"].split(":")[0])
            self.assertEqual(status.st_uid, user)
            self.assertIn(f"Uid:\t{user}", text)
            # All files that there are for it.
            self.assertCountEqual(os.listdir(f"/proc/{self.keyd()}/root/"),
                                  os.listdir(os.path.dirname(self.store)))
        with open(self.root, encoding="ascii") as file:
            root = file.read().strip()
        with open(f"/proc/{self.keyd()}/cmdline", encoding="ascii") as file:
            self.assertNotIn(root, file.read())
        self.assertNotIn(root, self.host.log())

    def test_a_root_key_is_never_written_over(self):
        self.assertEqual(stat.S_IMODE(os.stat(self.root).st_mode), 0o600)
        with open(self.root, encoding="ascii") as file:
            before = file.read()
        self.assertRegex(before, "^[0-9a-f]{64}\n$")
        again = subprocess.run([os.path.join(self.lab.bin, "sealift"), "key", "root", "init", self.root],
                               capture_output=True, check=False)
        self.assertEqual(again.returncode, 5, again)
        with open(self.root, encoding="ascii") as file:
            self.assertEqual(file.read(), before)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[1:]])
