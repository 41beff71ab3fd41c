#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Whether the short run of a fuzz target can fail: test_floor.py PROGRAM CORPUS TARGET...

PROGRAM is one target, with good seeds in CORPUS; the others are named only, since each must have a
row in tests/fuzz/floor, seeds, and a word in README.md.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
DEADLINE_S = 60
GOOD = "spiffe 1 spiffe_parse\n"


def run(folder, floor, seeds=None):
    """Runs the target's seeds with a floor of its own."""
    path = os.path.join(folder, "floor")
    with open(path, "w", encoding="utf-8") as file:
        file.write(floor)
    return subprocess.run([os.path.join(HERE, "run-target"), PROGRAM, seeds or CORPUS, "seeds"],
                          env={**os.environ, "SEALIFT_FUZZ_FLOOR": path}, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=DEADLINE_S,
                          check=False)


class Floor(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="sealift-floor.")
        self.addCleanup(shutil.rmtree, self.folder)

    def refused(self, floor, text, seeds=None):
        done = run(self.folder, floor, seeds)
        self.assertNotEqual(done.returncode, 0, done.stdout)
        self.assertIn(text, done.stdout)

    def test_good(self):
        done = run(self.folder, GOOD)
        self.assertEqual(done.returncode, 0, done.stdout)

    def test_too_few_edges(self):
        self.refused("spiffe 100000 spiffe_parse\n", "in ten of 100000 must be")

    def test_function_not_reached(self):
        self.refused("spiffe 1 spiffe_parse\n  cms_verify\n", "cms_verify is not reached")

    def test_no_function(self):
        self.refused("spiffe 1\n", "names no function")

    def test_no_row(self):
        self.refused("base64 1 base64_decode\n", "no row for spiffe")

    def seeds(self, *names):
        seeds = os.path.join(self.folder, "spiffe")
        os.mkdir(seeds)
        for name in names:
            shutil.copy(os.path.join(CORPUS, name), seeds)
        return seeds

    def test_stale_seeds(self):
        self.refused(GOOD, "never reached", self.seeds("bad"))

    def test_no_seeds(self):
        self.refused(GOOD, "no seeds", self.seeds())


class Targets(unittest.TestCase):
    def test_each_is_told(self):
        with open(os.path.join(HERE, "floor"), encoding="utf-8") as file:
            rows = {line.split()[0] for line in file if line[0] not in "# \n"}
        with open(os.path.join(HERE, "README.md"), encoding="utf-8") as file:
            readme = file.read()
        self.assertEqual(rows, TARGETS)
        for target in TARGETS:
            self.assertIn(f"`{target}`", readme)
            self.assertTrue(os.listdir(os.path.join(HERE, "corpus", target)), target)

    def test_no_other(self):
        self.assertLessEqual(set(os.listdir(os.path.join(HERE, "corpus"))), TARGETS)
        self.assertLessEqual({name.removesuffix(".dict") for name in
                              os.listdir(os.path.join(HERE, "dictionaries"))}, TARGETS)


if __name__ == "__main__":
    PROGRAM, CORPUS, TARGETS = sys.argv[1], sys.argv[2], set(sys.argv[3:])
    unittest.main(argv=sys.argv[:1])
