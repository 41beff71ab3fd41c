#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Are the reasons in the lists of system calls true, and does scripts/check-policies see it if one is
not? Each bad case is the tree's own list with one thing wrong."""

import os
import shutil
import subprocess
import sys
import tempfile
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MOVER = "src/programs/mover/policy.c"


def check(root):
    return subprocess.run([os.path.join(TOP, "scripts", "check-policies"), root], stdout=subprocess.PIPE,
                          text=True, check=False)


class Policies(unittest.TestCase):
    def assert_bad(self, old, new, problem):
        with tempfile.TemporaryDirectory() as root:
            shutil.copytree(os.path.join(TOP, "src"), os.path.join(root, "src"))
            path = os.path.join(root, MOVER)
            with open(path, encoding="utf-8") as file:
                text = file.read()
            self.assertIn(old, text)
            with open(path, "w", encoding="utf-8") as file:
                file.write(text.replace(old, new, 1))
            done = check(root)
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn(problem, done.stdout)

    def test_the_tree(self):
        done = check(TOP)
        self.assertEqual(done.returncode, 0, done.stdout)

    def test_a_call_without_a_comment(self):
        self.assert_bad("	NULL,\n};", '	"ptrace",\n	NULL,\n};', "ptrace: no comment says who makes it")

    def test_a_file_that_is_not_there(self):
        self.assert_bad("relay.c, proof.c: recv()", "relays.c: recv()", "recvfrom: there is no relays.c")

    def test_a_function_that_is_not_called(self):
        self.assert_bad("mover.c: read()", "proof.c: read()", "read() is called in none of the files")

    def test_a_comment_about_another_call(self):
        self.assert_bad('"getrusage",		/* stats.c: getrusage()', '"bind",		/* stats.c: getrusage()',
                        "bind: neither a function that makes it nor a library is named")

    def test_a_rule_without_a_comment(self):
        self.assert_bad("	/* relay.c, proof.c: send() to whom the socket is connected with, nobody else */\n", "",
                        "sendto: no comment says who makes it")


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0]])
