# SPDX-License-Identifier: Apache-2.0
"""`sealift doctor`: what it says of good and bad hosts. QEMU is played by fake_qemu.py."""

import json
import os
import subprocess
import unittest

from fake_engine import DEADLINE_S, SEALIFT, CliTest, environment

QEMU = os.path.join(os.path.dirname(os.path.abspath(__file__)), "fake_qemu.py")


class Doctor(CliTest):
    def examine(self, *arguments, qemu=QEMU, socket="/nonexistent/sock", **env):
        return subprocess.run([SEALIFT, "--socket", socket, "doctor", "--qemu", qemu, *arguments],
                              stdin=subprocess.DEVNULL, capture_output=True, check=False, text=True,
                              env={**environment(), **env}, timeout=DEADLINE_S)

    def findings(self, *arguments, **more):
        result = self.examine("--json", *arguments, **more)
        found = {}
        for line in result.stdout.splitlines():
            finding = json.loads(line)
            if "name" in finding:
                self.assertEqual(sorted(finding), ["level", "name", "ok", "text"])
                self.assertNotIn(finding["name"], found)
                found[finding["name"]] = finding
        return result, found

    def test_everything_is_looked_at(self):
        _, found = self.findings()
        for name in ("qemu", "qemu-multifd", "kvm", "aead-openssl", "sandbox-seccomp",
                     "sandbox-landlock", "sandbox-pid-namespace", "huge-pages", "locked-memory", "tun",
                     "users", "engine"):
            self.assertIn(name, found)
        self.assertRegex(found["aead-openssl"]["text"], r"AES-256-GCM at [\d.]+ [MG]B/s")
        self.assertEqual(found["qemu"]["text"], f"{QEMU} is version 10.0.2")

    def test_text_for_people(self):
        result = self.examine()
        self.assert_plain(result.stdout)
        self.assertRegex(result.stdout, r"ok +qemu-return-path +offered")

    def test_good_host_is_status_0(self):
        result, found = self.findings()
        bad = [name for name, finding in found.items() if finding["level"] == "FAIL"]
        self.assertEqual(result.returncode, 12 if bad else 0, bad)

    def key_findings(self, mode, folder_mode=0o700, root="root.key"):
        config = self.file("", "sealift.conf")
        folder = os.path.dirname(config)
        with open(os.path.join(folder, "root.key"), "w", encoding="ascii") as file:
            os.fchmod(file.fileno(), mode)
        os.makedirs(os.path.join(folder, "state", "keys"))
        os.chmod(os.path.join(folder, "state", "keys"), folder_mode)
        with open(config, "w", encoding="ascii") as file:
            file.write(f'state_directory = "{folder}/state"; keys = {{ root = "{folder}/{root}"; }};'
                       'users = { keyd = "0:1"; };')
        _, found = self.findings("--config", config)
        return found

    def test_keys(self):
        found = self.key_findings(0o600)
        self.assertEqual((found["root-key"]["level"], found["key-store"]["level"]), ("ok", "ok"))
        self.assertEqual(found["user-keyd"]["level"], "FAIL")
        found = self.key_findings(0o640, 0o750)
        self.assertEqual((found["root-key"]["level"], found["key-store"]["level"]), ("FAIL", "FAIL"))
        self.assertIn("mode 0640", found["root-key"]["text"])
        self.assertIn("mode 0750", found["key-store"]["text"])
        found = self.key_findings(0o600, root="no.key")
        self.assertEqual(found["root-key"]["level"], "FAIL")
        self.assertIn("sealift key root init", found["root-key"]["text"])

    def test_no_keys(self):
        _, found = self.findings("--config", self.file("", "sealift.conf"))
        self.assertEqual(found["root-key"]["level"], "note")
        self.assertNotIn("user-keyd", found)

    def test_required_features_missing(self):
        result, found = self.findings(FAKE_QMP="return-path,multifd,late-block-activate")
        self.assertEqual(found["qemu-return-path"]["level"], "FAIL")  # the whole enum is not found
        result, found = self.findings(FAKE_QMP="pause-before-switchover,multifd")
        self.assertEqual(found["qemu-pause-before-switchover"]["level"], "FAIL")
        self.assertEqual(found["qemu-multifd"]["level"], "note")
        self.assertEqual(found["qemu-events"]["level"], "ok")
        self.assertEqual(result.returncode, 12)
        self.assertIn("must be mended", result.stderr)

    def test_bad_qemus(self):
        for manner, words in (("dies", "it ended: fake: no \\x1b[31mluck"), ("garbage", "QMP"),
                              ("endless", "4194304"), ("nameless", "version"),
                              ("refuses", "cannot be used")):
            with self.subTest(manner):
                result, found = self.findings(FAKE_QMP=manner)
                self.assertEqual(found["qemu"]["level"], "FAIL")
                self.assertIn(words, found["qemu"]["text"])
                self.assertEqual(result.returncode, 12)

    def test_no_qemu(self):
        _, found = self.findings(qemu="/nonexistent/qemu")
        self.assertEqual(found["qemu"]["level"], "FAIL")
        self.assertIn("No such file", found["qemu"]["text"])

    @unittest.skipUnless(os.access("/dev/kvm", os.R_OK | os.W_OK), "no /dev/kvm here")
    def test_kvm_trial(self):
        kernel = self.file("a kernel")
        for manner, level, words in (("speaks", "ok", "came to speak"), ("dies", "note", "no kvm"),
                                     ("hangs", "note", "did not run under KVM within 5 s")):
            with self.subTest(manner):
                _, found = self.findings("--kernel", kernel, FAKE_KVM=manner)
                self.assertEqual(found["kvm"]["level"], level)
                self.assertIn(words, found["kvm"]["text"])

    def test_kernel_that_is_not_there(self):
        self.assert_fails(self.examine("--kernel", "/nonexistent"), 4, "/nonexistent")

    def test_users(self):
        for users, levels in (
                ('gate = "61:61"; notary = "nobody"; mover = "0:0"; qemu = "no-such-user"; ',
                 ("ok", "FAIL", "FAIL", "FAIL")),
                ('gate = "1:2x"; notary = "123:456"; qemu = "nobody"; ',
                 ("FAIL", "ok", "note", "ok")),
                ('qemu = "0:1";', ("note", "note", "note", "FAIL"))):
            with self.subTest(users):
                _, found = self.findings("--config", self.file("users = { %s };\n" % users))
                self.assertEqual(tuple(found["user-" + role]["level"] for role in
                                       ("gate", "notary", "mover", "qemu")), levels)
        _, found = self.findings("--config", self.file("users = {\n  gate = ;\n"))
        self.assertEqual(found["users"]["level"], "FAIL")
        self.assertRegex(found["users"]["text"], r":2: syntax error")

    def test_engine_adds_its_own(self):
        checks = [{"name": "children", "ok": True, "text": "all serve"},
                  {"name": "crl", "ok": False, "text": "it\x1b[1m goes stale"}, {"odd": 1}]
        engine = self.engine(doctor={"checks": checks})
        _, found = self.findings(socket=engine.path)
        self.assertEqual(found["engine"]["level"], "ok")
        self.assertEqual(found["engine-children"]["level"], "ok")
        self.assertEqual(found["engine-crl"]["level"], "note")
        self.assertEqual(found["engine-crl"]["text"], "it\\x1b[1m goes stale")
        self.assertIn("engine-?", found)

    def test_bad_engine_does_not_stop_it(self):
        engine = self.engine(doctor=lambda connection, _arguments: connection.send_raw(b"junk\n"))
        _, found = self.findings(socket=engine.path)
        self.assertEqual(found["engine"]["level"], "note")
        self.assertIn("no JSON object", found["engine"]["text"])


if __name__ == "__main__":
    unittest.main()
