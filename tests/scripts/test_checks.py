#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Do check-layers and check-style find what they are there for, and only that?"""

import os
import subprocess
import sys
import tempfile
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SPDX = "/* SPDX-License-Identifier: Apache-2.0 */\n"


class Checks(unittest.TestCase):
    script = None

    def setUp(self):
        scratch = tempfile.TemporaryDirectory(prefix="sealift-checks-")
        self.addCleanup(scratch.cleanup)
        self.root = scratch.name
        self.write("src/base/good.c", SPDX + '#include "base/good.h"\n')
        self.write("src/base/good.h", SPDX)

    def write(self, path, text):
        path = os.path.join(self.root, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)

    def run_script(self):
        done = subprocess.run([sys.executable, os.path.join(TOP, "scripts", self.script), self.root],
                              stdout=subprocess.PIPE, text=True, check=False)
        return done.returncode, done.stdout

    def assert_good(self):
        status, output = self.run_script()
        self.assertEqual(status, 0, output)
        self.assertIn("0 violations", output)

    def assert_bad(self, *lines):
        status, output = self.run_script()
        self.assertEqual(status, 1, output)
        for line in lines:
            self.assertIn(line + "\n", output)
        self.assertIn(f"{len(lines)} violations", output)


class Layers(Checks):
    script = "check-layers"

    def test_layers_below_and_system_headers_are_good(self):
        self.write("src/wire/a.c", '#include <string.h>\n#include "base/good.h"\n'
                   '#include "crypto/x.h"\n#include "wire/a.h"\n')
        self.assert_good()

    def test_a_layer_above_is_bad(self):
        self.write("src/ipc/a.h", '\n# include "wire/peer.h"\n')
        self.assert_bad("src/ipc/a.h:2: ipc includes wire/peer.h: wire is above it")

    def test_the_lowest_layer_may_not_include_the_next(self):
        self.write("src/base/a.c", '#include "sandbox/sandbox.h"\n')
        self.assert_bad("src/base/a.c:1: base includes sandbox/sandbox.h: sandbox is above it")

    def test_an_include_in_a_comment_is_none(self):
        self.write("src/base/a.c", '/*\n#include "wire/peer.h"\n*/\n')
        self.assert_good()

    def test_includes_without_a_layer_are_bad(self):
        self.write("src/base/a.c", '#include "good.h"\n#include "../wire/x.h"\n')
        self.assert_bad('src/base/a.c:1: include "good.h" names no layer: write "base/good.h"',
                        'src/base/a.c:2: include "../wire/x.h" leaves its folder')

    def test_unknown_layers_are_bad(self):
        self.write("src/extra/a.c", "\n")
        self.write("src/base/a.c", '#include "tests/support.h"\n')
        self.write("src/loose.c", "\n")
        self.assert_bad("src/base/a.c:1: base includes tests/support.h: tests is no layer",
                        "src/extra/a.c:1: extra is no layer of scripts/check-layers",
                        "src/loose.c:1: stands in no layer's folder")

    def test_main_belongs_to_programs(self):
        self.write("src/programs/gate/main.c", "int main(void)\n{\n}\n")
        self.write("src/base/a.c", "/* int main(void) { */\nint domain(void) { return 0; }\n")
        self.assert_good()
        self.write("src/base/b.c", "\nint\nmain(int argc, char **argv)\n{\n\treturn argc;\n}\n")
        self.assert_bad("src/base/b.c:4: main() outside src/programs")

    def test_programs_keep_their_headers_to_themselves(self):
        self.write("src/programs/gate/tls.h", "\n")
        self.write("src/programs/gate/a.c", '#include "tls.h"\n#include "programs/gate/tls.h"\n'
                   '#include "programs/common.h"\n')
        self.assert_good()
        self.write("src/programs/mover/a.c", '#include "programs/gate/tls.h"\n#include "tls.h"\n')
        self.assert_bad(
            "src/programs/mover/a.c:1: programs/mover includes programs/gate/tls.h: "
            "that is another program's",
            'src/programs/mover/a.c:2: include "tls.h" names no layer: '
            'write "programs/mover/tls.h"')

    def test_an_empty_tree_is_bad(self):
        self.root = os.path.join(self.root, "src")
        status, output = self.run_script()
        self.assertEqual(status, 1)
        self.assertIn("no C files", output)


class Style(Checks):
    script = "check-style"

    def test_bounded_calls_are_good(self):
        self.write("src/base/a.c", SPDX + 'snprintf(a, 1, "strcpy(x)"); my_system(1); x.system(2);\n'
                   "/* strcat() */ strtol(x); mysprintf(1);\n")
        self.write("tests/base/a.c", SPDX + "strcpy(a, b); poll(0, 0, 1); no_sleep(1);\n")
        self.write("tests/base/a.py", "#!/usr/bin/python3\n" + "# " + SPDX[3:-4] + "\nx.wait(1)\n")
        self.assert_good()

    def test_unbounded_calls_are_bad(self):
        names = ["strcpy", "strcat", "sprintf", "gets", "atoi", "atol", "strtok", "system", "popen",
                 "alloca"]
        self.write("src/base/a.c", SPDX + "".join(f"x = {name} (y);\n" for name in names))
        self.assert_bad(*(f"src/base/a.c:{line}: {name} is forbidden: it knows no bound or "
                          "shell-free form" for line, name in enumerate(names, 2)))

    def test_sleeps_in_tests_are_bad(self):
        problem = "in a test: wait for the event, with a deadline"
        self.write("tests/a.c", SPDX + "sleep(1);\nusleep(1);\nnanosleep(&a, 0);\n")
        self.write("tests/b.py", "# " + SPDX[3:-4] + "\ntime.sleep" + "(1)\n")
        self.write("tests/c", "#!/bin/sh\n# " + SPDX[3:-4] + "\ntrue; sleep" + " 1\n")
        self.assert_bad(f"tests/a.c:2: sleep {problem}", f"tests/a.c:3: usleep {problem}",
                        f"tests/a.c:4: nanosleep {problem}",
                        f"tests/b.py:2: time.sleep {problem}", f"tests/c:3: sleep {problem}")

    def test_missing_licence_lines_are_bad(self):
        self.write("src/base/a.c", "\n\n" + SPDX)
        self.write("run", "#!/bin/sh\ntrue\n")
        self.write("src/meson.build", "subdir('base')\n")
        self.write("notes.txt", "none is needed here\n")
        self.assert_bad("run:1: no line SPDX-License-Identifier: Apache-2.0",
                        "src/base/a.c:1: no line SPDX-License-Identifier: Apache-2.0",
                        "src/meson.build:1: no line SPDX-License-Identifier: Apache-2.0")

    def test_long_files_are_bad(self):
        self.write("src/base/a.c", SPDX + 998 * "\n")
        self.assert_good()
        self.write("src/base/a.c", SPDX + 999 * "\n")
        self.assert_bad("src/base/a.c:1000: 1000 lines, 1000 are too many")

    def test_goto_is_bad(self):
        self.write("src/base/a.c", SPDX + "\tgoto out;\n")
        self.assert_bad("src/base/a.c:2: goto out; (base/cleanup.h has what it would be for)")


if __name__ == "__main__":
    # Not Checks itself: it has no script.
    unittest.main(verbosity=2)
