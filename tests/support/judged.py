# SPDX-License-Identifier: Apache-2.0
"""Has recorded streams judged by a program, and looks at what it says it judged: its exit status
alone would be as good for an empty recording."""

import os
import re
import subprocess

# The last line of each judge.
TOTALS = re.compile(r"^(\d+) (entries|good|cut alike), (?:(\d+) (?:that differ|refused), )?"
                    r".*?(\d+) wrong$")


def rows_of(outdir):
    """The rows of OUTDIR/list, as lists of words."""
    with open(os.path.join(outdir, "list"), encoding="utf-8") as file:
        return [line.split() for line in file if line.strip()]


def check(said, rows, wanted):
    """What is wrong with a judge's words about these rows, in which each of `wanted` must stand;
    None if nothing is."""
    named = {word for row in rows for word in row}
    totals = TOTALS.match(said.rstrip().rsplit("\n", 1)[-1])
    compared = sum(row[0] == "compare" for row in rows)
    missing = [name for name in wanted if name not in named]
    if missing:
        return f"not recorded: {' '.join(missing)}"
    if not compared:
        return "nothing was recorded to be compared"
    if not totals:
        return "the judge did not come to its end"
    if int(totals[4]):
        return f"{totals[4]} wrong"
    judged = int(totals[1]) + (int(totals[3] or 0) if totals[2] == "cut alike" else 0)
    if judged < (len(rows) if totals[2] == "entries" else compared):
        return f"{judged} judged of {len(rows)} rows, {compared} of them to compare"
    return None


def judge(command, outdir, wanted):
    """The exit status for a test."""
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    print(done.stdout, end="")
    if done.returncode:
        return done.returncode
    problem = check(done.stdout, rows_of(outdir), wanted)
    if problem:
        print(f"{os.path.basename(command[0])}: {problem}")
    return 1 if problem else 0


def self_test():
    """Each way to judge nothing is seen."""
    rows = [["frame", "run-new"], ["compare", "run-new", "rest-new", "q35-new"]]
    wanted = ["run-new"]
    for said in ("2 entries, 0 wrong\n", "1 good, 0 that differ, 0 of 9 rows; 0 wrong",
                 "x\n1 cut alike, 0 refused, 0 wrong\n"):
        assert check(said, rows, wanted) is None, said
    for said, some, names in (
            ("", rows, wanted), ("0 entries, 0 wrong", rows, wanted),
            ("1 entries, 0 wrong", rows, wanted), ("2 entries, 1 wrong", rows, wanted),
            ("0 good, 0 that differ, 0 wrong", rows, wanted),
            ("0 cut alike, 0 refused, 0 wrong", rows, wanted),
            ("2 entries, 0 wrong\nKilled", rows, wanted), ("0 entries, 0 wrong", [], []),
            ("1 entries, 0 wrong", rows[:1], wanted), ("2 entries, 0 wrong", rows, ["run-old"])):
        assert check(said, some, names), said
