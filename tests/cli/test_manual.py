# SPDX-License-Identifier: Apache-2.0
"""The manual pages and the completion say what the program does."""

import os
import re
import subprocess
import unittest

from fake_engine import SEALIFT, CliTest, environment, run

TREE = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))


def read(path):
    with open(os.path.join(TREE, path), encoding="utf-8") as text:
        return text.read()


def commands():
    """(name, help) of each command that the program has."""
    names = re.findall(r"^  ([a-z][a-z ]*?) {2,}\S", run("help").stdout, re.M)
    return [(name, run("help", *name.split()).stdout) for name in names]


class Manual(CliTest):
    def test_every_command_and_option_is_explained(self):
        page = read("man/sealift.1.scd")
        found = commands()
        self.assertGreater(len(found), 15)
        for name, text in found:
            with self.subTest(name):
                self.assertIn(f"\n*{name}*", page)
                for option in re.findall(r"--[a-z-]+", text if name != "pki" else ""):
                    self.assertRegex(page, rf"\*(status )?{option}\*")

    def test_no_command_is_invented(self):
        names = {name for name, _ in commands()}
        section = read("man/sealift.1.scd").split("# COMMANDS")[1].split("# EXIT STATUS")[0]
        for name in re.findall(r"^\*([a-z ]+)\*", section, re.M):
            self.assertIn(name, names)

    def test_pki_page(self):
        page = read("man/sealift-pki.1.scd")
        usage = run("help", "pki").stdout
        self.assertIn("usage: sealift pki", usage)
        for word in set(re.findall(r"pki ([a-z-]+)|(--[a-z]+)", usage)):
            self.assertRegex(page, rf"\*{word[0] or word[1]}[* ]")

    def test_every_exit_status_stands_there(self):
        page = read("man/sealift.1.scd").split("# EXIT STATUS")[1]
        table = re.findall(r'\{ "([a-z-]+)", (\d+) \}', read("src/base/error.c"))
        self.assertGreater(len(table), 14)
        for word, status in table:
            if status != "0":
                self.assertRegex(page, rf"\*{status}\*\n\t[^\n]*\(\*{word}\*\)")

    def test_every_setting_is_explained(self):
        for sources, page, least in ((["src/vmm/vm_file.c"], "man/sealift-vm.5.scd", 20),
                                     (["src/engine/config.c", "src/engine/config_keys.c", "src/engine/config_resources.c"],
                                      "man/sealift.conf.5.scd", 50)):
            names = re.findall(r'(?:\{|TEXT\(|COUNT\(|DIRECTORY\() ?"([a-z0-9_]+)",\s'
                               r'(?:true|false|(?:config_)?set_|[a-z_.]+\))',
                               "".join(read(source) for source in sources))
            self.assertGreater(len(names), least, sources)
            text = read(page)
            for name in names:
                with self.subTest(page, name=name):
                    self.assertIn(f"*{name}*", text)

    def test_pages_name_each_other(self):
        pages = {name[:-4] for name in os.listdir(os.path.join(TREE, "man")) if name.endswith(".scd")}
        self.assertGreater(len(pages), 8)
        for page in pages:
            for name, section in re.findall(r"\*([a-z.-]+)\*\((\d)\)", read(f"man/{page}.scd")):
                self.assertIn(f"{name}.{section}", pages, page)


class Completion(CliTest):
    SCRIPT = os.path.join(TREE, "src/programs/cli/completion.bash")

    def complete(self, *words, socket="/nonexistent/sock"):
        """What is offered for the last word."""
        line = " ".join(f"'{word}'" for word in ("sealift", *words))
        script = (f"source '{self.SCRIPT}'; COMP_WORDS=({line}); COMP_CWORD={len(words)}; "
                  'COMPREPLY=(); _sealift; printf "%s\\n" "${COMPREPLY[@]}"')
        env = {**environment(), "SEALIFT_SOCKET": socket,
               "PATH": os.path.dirname(os.path.abspath(SEALIFT)) + ":" + os.environ["PATH"]}
        result = subprocess.run(["bash", "-uc", script], capture_output=True, text=True, env=env,
                                check=False)
        self.assertEqual(result.stderr, "")
        return result.stdout.split()

    def test_commands(self):
        self.assertEqual(self.complete("mi"), ["migrate"])
        self.assertEqual(self.complete("vm", ""), ["create", "list", "rekey", "show", "start", "stop"])
        self.assertEqual(self.complete("help", "do"), ["doctor"])
        self.assertEqual(self.complete("xyz"), [])

    def test_options(self):
        self.assertEqual(self.complete("migrate", "vm1", "south1", "--ch"), ["--channels"])
        self.assertEqual(self.complete("host", "add", "--a"), ["--address"])
        self.assertEqual(self.complete("vm", "list", "--ch"), [])

    def test_names(self):
        engine = self.engine(vm_list={"vms": [{"name": "vm1"}, {"name": "vm2"}, {"name": "a;b$(c)"}]},
                             host_list={"hosts": [{"name": "south1"}], "domains": []})
        self.assertEqual(self.complete("migrate", "", socket=engine.path), ["vm1", "vm2"])
        self.assertEqual(self.complete("migrate", "vm1", "", socket=engine.path), ["south1"])
        self.assertEqual(self.complete("vm", "stop", "vm2", socket=engine.path), ["vm2"])
        self.assertEqual(self.complete("migrate", ""), [])


if __name__ == "__main__":
    unittest.main()
