# SPDX-License-Identifier: Apache-2.0
"""What the check scripts share: which files there are, and C without comments and strings."""

import os
import re
import subprocess

SKIPPED_FOLDERS = re.compile(r"^(\.git|build.*|__pycache__)$")
TOKENS = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL)


def files_of(root):
    """Paths below root: what git tracks or would, or all that is there if root is no repository."""
    if os.path.exists(os.path.join(root, ".git")):
        listed = subprocess.run(
            ["git", "-c", "safe.directory=*", "-C", root, "ls-files", "-co", "--exclude-standard",
             "-z"], check=True, stdout=subprocess.PIPE).stdout
        paths = sorted(os.fsdecode(name) for name in listed.split(b"\0") if name)
        return [path for path in paths if os.path.isfile(os.path.join(root, path))]
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not SKIPPED_FOLDERS.match(name))
        found += [os.path.relpath(os.path.join(folder, name), root) for name in sorted(names)]
    return found


def read(root, path):
    with open(os.path.join(root, path), encoding="utf-8", errors="replace") as file:
        return file.read()


def code_of(text, keep_strings=False):
    """The same number of lines, without comments and, unless they are kept, without strings."""
    def blank(match):
        token = match.group()
        if token[0] in "\"'" and keep_strings:
            return token
        return re.sub(r"[^\n]", " ", token)
    return TOKENS.sub(blank, text)
