# SPDX-License-Identifier: Apache-2.0
"""Reads the tables of system calls that a role may make, with the comments beside them."""
import re

TABLE = re.compile(r"static const (?:char \*const|SandboxRule) (\w+)\[\] = \{\n(.*?)\n\};", re.DOTALL)
TOKEN = re.compile(r'/\*(?P<comment>.*?)\*/|"(?P<name>\w+)"', re.DOTALL)
# Not lists of what is allowed in what is shipped.
OTHER = {"early_syscalls", "sanitizer_syscalls", "sanitizer_rules"}


class Entry:
    """One system call of a table, and why it is there."""

    def __init__(self, name, line):
        self.name, self.line, self.comment = name, line, ""


def entries_of_table(text, begin, body, comment_first):
    """In a list the comment stands behind its calls, in a table of rules before them."""
    waiting, comment = [], ""
    for match in TOKEN.finditer(body):
        if match.group("comment") is None:
            entry = Entry(match.group("name"), text.count("\n", 0, begin + match.start()) + 1)
            entry.comment = comment if comment_first else ""
            waiting.append(entry)
            if comment_first:
                yield entry
            continue
        comment = " ".join(match.group("comment").replace("*", " ").split())
        if not comment_first:
            for entry in waiting:
                entry.comment = comment
                yield entry
            waiting = []
    if not comment_first:
        yield from waiting


def entries(text):
    """All that this file allows."""
    for match in TABLE.finditer(text):
        if match.group(1) not in OTHER:
            yield from entries_of_table(text, match.start(2), match.group(2), "rules" in match.group(1))
