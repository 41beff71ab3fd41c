#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""sealift-keyhelper with SoftHSM's module, in its sandbox: test_keyhelper_pkcs11.py HELPER ROOT_TOOL.
Without the package softhsm2, or not as root (who alone may own modules), it is skipped (77)."""

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
import keyhelper_link as kh  # noqa: E402
from keyhelper_link import Helper  # noqa: E402

HELPER, ROOT_TOOL = (sys.argv.pop(1), sys.argv.pop(1)) if len(sys.argv) > 2 else (None, None)
MODULE = "/usr/lib/softhsm/libsofthsm2.so"
USER = 65534
PIN = "1234"


class KeyhelperPkcs11Test(unittest.TestCase):
    def setUp(self):
        self.scratch = tempfile.TemporaryDirectory(prefix="sealift-softhsm.")
        self.folder = self.scratch.name
        os.chmod(self.folder, 0o755)
        self.tokens = self.path("tokens")
        os.mkdir(self.tokens)
        with open(self.path("conf"), "w", encoding="ascii") as file:
            file.write(f"directories.tokendir = {self.tokens}\nobjectstore.backend = file\nlog.level = ERROR\n")
        self.write_pin(PIN)
        self.make_token("kms")

    def tearDown(self):
        self.scratch.cleanup()

    def path(self, name):
        return os.path.join(self.folder, name)

    def write_pin(self, pin):
        with open(self.path("pin"), "w", encoding="ascii") as file:
            file.write(pin + "\n")

    def run_tool(self, *words):
        subprocess.run(words, env={"SOFTHSM2_CONF": self.path("conf"), "PATH": "/usr/bin"}, check=True,
                       capture_output=True, timeout=kh.DEADLINE_S)
        for folder, _, names in os.walk(self.tokens):
            for name in [".", *names]:
                os.chown(os.path.join(folder, name), USER, USER)

    def make_token(self, label):
        self.run_tool("softhsm2-util", "--init-token", "--free", "--label", label, "--so-pin", "5678",
                      "--pin", PIN)

    def make_root(self, label):
        self.run_tool(ROOT_TOOL, "pkcs11", MODULE, "kms", PIN, label)

    def begin(self, *, kind="pkcs11", module=MODULE, token="kms", key="", paths=None, variables=None,
              pin=True, **more):
        helper = Helper(HELPER, kind, user=f"{USER}:{USER}")
        if paths is None:
            paths = [(self.path("conf"), False), (self.tokens, True)]
        if variables is None:
            variables = ["SOFTHSM2_CONF=" + self.path("conf")]
        helper.configure(kh.PKCS11, kh.pkcs11_configuration(module, token, key=key, paths=paths,
                                                            variables=variables, **more))
        if pin:
            helper.give(kh.PASSWORD, self.path("pin"))
        try:
            helper.engine.send(kh.START)
        except BrokenPipeError:
            pass  # Its own end says why.
        return helper

    def helper(self, **more):
        helper = self.begin(**more)
        helper.engine.expect(kh.READY)
        return helper

    def refuses(self, category, words, **more):
        with self.begin(**more) as helper:
            return helper.fails_to_start(category, words)

    def test_a_value_goes_comes_and_is_destroyed(self):
        with self.helper() as helper:
            for size in (1, 60, 256):
                blob = secrets.token_bytes(size)
                reference = helper.put(f"size {size}", blob)
                self.assertTrue(reference.startswith(f"size {size}/"))
                self.assertEqual(helper.get(reference), blob)
                helper.destroy(reference)
                helper.refused("not-found", kh.GET, kh.text(reference))
                helper.destroy(reference)
            self.assertIn("SoftHSM", helper.check())
            self.assertNotIn(PIN, helper.said())
            helper.stop()

    def test_two_of_one_label_are_two(self):
        with self.helper() as helper:
            first, second = helper.put("vm", b"1" * 60), helper.put("vm", b"2" * 60)
            self.assertEqual((helper.get(first), helper.get(second)), (b"1" * 60, b"2" * 60))
            helper.destroy(first)
            self.assertEqual(helper.get(second), b"2" * 60)
            helper.stop()

    def test_values_outlive_the_helper_and_are_not_in_clear(self):
        blob = secrets.token_bytes(60)
        with self.helper() as helper:
            reference = helper.put("vm", blob)
            helper.stop()
        for folder, _, names in os.walk(self.tokens):
            for name in names:
                with open(os.path.join(folder, name), "rb") as file:
                    self.assertNotIn(blob, file.read())
        with self.helper() as helper:
            self.assertEqual(helper.get(reference), blob)
            helper.stop()

    def test_root_wraps_and_unwraps(self):
        self.make_root("root")
        with self.helper(kind="pkcs11-root", key="root") as helper:
            key = secrets.token_bytes(32)
            wrapped = helper.ask(kh.WRAP, key, answer=kh.WRAPPED)
            self.assertEqual(len(wrapped), 40)
            self.assertEqual(helper.ask(kh.UNWRAP, wrapped, answer=kh.KEY), key)
            self.assertIn("SoftHSM", helper.check())
            for i in range(40):
                helper.refused("auth", kh.UNWRAP, wrapped[:i] + bytes([wrapped[i] ^ 1]) + wrapped[i + 1:])
            self.assertEqual(helper.ask(kh.UNWRAP, wrapped, answer=kh.KEY), key)
            helper.stop()
        with self.helper(kind="pkcs11-root", key="root") as helper:
            self.assertEqual(helper.ask(kh.UNWRAP, wrapped, answer=kh.KEY), key)
            helper.stop()
        self.make_root("another")
        with self.helper(kind="pkcs11-root", key="another") as helper:
            helper.refused("auth", kh.UNWRAP, wrapped)
            helper.stop()

    def test_root_that_is_not_there_or_there_twice(self):
        self.refuses("not-found", "no root key", kind="pkcs11-root", key="root")
        self.make_root("root")
        with self.assertRaises(subprocess.CalledProcessError) as refused:
            self.make_root("root")
        self.assertIn(b"conflict", refused.exception.stderr)

    def test_a_key_that_was_brought_in_is_no_root(self):
        with open(self.path("aes"), "wb") as file:
            file.write(secrets.token_bytes(32))
        self.run_tool("softhsm2-util", "--import", self.path("aes"), "--aes", "--token", "kms", "--label",
                      "root", "--id", "01", "--pin", PIN)
        self.refuses("denied", "root key", kind="pkcs11-root", key="root")

    def test_a_wrong_pin_is_tried_once(self):
        self.write_pin("9999")
        self.refuses("auth", "CKR_PIN_INCORRECT")
        # Neither the wrong one nor the right one, until a person says so.
        self.refuses("auth", "before a person has seen to it")
        self.write_pin(PIN)
        self.refuses("auth", "before a person has seen to it")
        with self.helper(after_failure=True) as helper:
            helper.stop()
        with self.helper() as helper:
            helper.stop()

    def test_without_a_pin(self):
        self.refuses("config", "needs a PIN", pin=False)

    def test_a_token_that_is_not_there(self):
        self.refuses("unavailable", "no token", token="other")
        self.make_token("kms")
        self.refuses("config", "2 tokens", token="kms")

    def test_a_token_that_goes_while_it_serves(self):
        with self.helper() as helper:
            reference = helper.put("vm", b"x" * 60)
            shutil.rmtree(self.tokens)
            self.assertIn(kh.take_failure(helper.ask(kh.GET, kh.text(reference), answer=kh.FAILED))[0],
                          ("unavailable", "not-found", "peer"))
            category, _, _, _ = helper.not_stored("vm", b"x" * 60)
            self.assertIn(category, ("unavailable", "peer"))
            helper.stop()

    def test_a_token_that_it_may_not_write(self):
        with self.helper(paths=[(self.path("conf"), False), (self.tokens, False)]) as helper:
            category, _, _, _ = helper.not_stored("vm", b"x" * 60)
            self.assertIn(category, ("peer", "denied", "unavailable"))
            helper.stop()

    def test_modules_that_others_could_have_made(self):
        copy = self.path("module.so")
        shutil.copy(MODULE, copy)
        self.refuses("config", "cannot examine" if not os.path.exists(MODULE) else "No such file",
                     module=self.path("absent.so"))
        self.refuses("config", "absolute", module="module.so")
        os.chown(copy, USER, USER)
        self.refuses("config", "belongs to user 65534", module=copy)
        os.chown(copy, 0, 0)
        os.chmod(copy, 0o775)
        self.refuses("config", "others than root may write", module=copy)
        os.chmod(copy, 0o755)
        os.chmod(self.folder, 0o777)
        self.refuses("config", "others than root may write", module=copy)
        os.chmod(self.folder, 0o755)
        os.symlink(copy, self.path("link.so"))
        with self.helper(module=self.path("link.so")) as helper:
            helper.check()
            helper.stop()
        self.refuses("config", "not a regular file", module=self.folder)

    def test_what_is_not_a_module(self):
        self.refuses("config", "module", module=self.path("conf"))
        library = os.path.realpath("/usr/lib/x86_64-linux-gnu/libz.so.1")
        if os.path.exists(library):
            self.refuses("config", "not a PKCS #11 module", module=library)

    def test_variables_that_steer_us_are_refused(self):
        for text in ("LD_PRELOAD=/x.so", "OPENSSL_CONF=/x", "no_name=x", "=x", "NAME"):
            self.refuses("config", "", variables=[text])

    def test_without_its_configuration_there_is_no_token(self):
        self.refuses("config" if not os.path.isdir("/var/lib/softhsm/tokens") else "config", "",
                     paths=[(self.tokens, True)])

    def test_a_provider_does_not_wrap_and_a_root_does_not_store(self):
        self.make_root("root")
        for kind, key, request, payload in (("pkcs11", "", kh.WRAP, bytes(32)),
                                            ("pkcs11-root", "root", kh.GET, kh.text("r")),
                                            ("pkcs11-root", "root", kh.UNWRAP, bytes(39))):
            with self.helper(kind=kind, key=key) as helper:
                helper.keyd.send(request, payload)
                helper.keyd.expect_end()
                helper.ends(kh.EXIT["peer"])

    def test_it_is_confined(self):
        with self.helper() as helper:
            with open(f"/proc/{helper.process.pid}/status", encoding="ascii") as status:
                fields = dict(line.split(":", 1) for line in status)
            self.assertEqual(fields["Seccomp"].strip(), "2")
            self.assertEqual(fields["NoNewPrivs"].strip(), "1")
            self.assertEqual(fields["CapBnd"].strip(), "0" * 16)
            self.assertEqual(fields["Uid"].split()[0], str(USER))
            helper.stop()


if __name__ == "__main__":
    if os.geteuid() != 0 or not os.path.exists(MODULE) or not shutil.which("softhsm2-util"):
        print("skipped: softhsm2 is not installed, or this is not root")
        sys.exit(77)
    unittest.main(verbosity=1)
