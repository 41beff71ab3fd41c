#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Is every system call that a role may make one that it does make? The roles' own tests run once
more with trace_calls between them and their programs. Usage: test_calls.py TRACER ROLE=PROGRAM...
and ROLE:TEST... in any order."""

import os
import re
import subprocess
import sys
import tempfile

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(TOP, "scripts"))
import policies  # noqa: E402

# The mover has a filter more, for the time in which it makes threads.
FILTERS = {"gate": 1, "keyd": 1, "mover": 2, "notary": 1}
SELDOM = "seldom"
SKIPPED = 77
RAN = re.compile(r"\[  PASSED  \] [1-9]\d* test")


def allowed(path):
    with open(os.path.join(TOP, path), encoding="utf-8") as file:
        return {entry.name: entry.comment for entry in policies.entries(file.read())}


def run_traced(role, test, tracer, program, trace):
    environment = dict(os.environ, SEALIFT_TRACE_FILE=trace, SEALIFT_TRACE_FILTERS=str(FILTERS[role]),
                       SEALIFT_TRACER=tracer)
    if role == "mover":
        environment.update(SEALIFT_TEST_MOVER=tracer, SEALIFT_TRACE_PROGRAM=program)
    done = subprocess.run([test], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, check=False, timeout=150)
    # cmocka tells how many it ran; a test that ran none has made no call either.
    if done.returncode or not RAN.search(done.stdout):
        print(f"{test} under the tracer ended with {done.returncode}:\n{done.stdout[-3000:]}")
        sys.exit(1)


def made_by(role, tests, tracer, program):
    with tempfile.NamedTemporaryFile() as trace:
        for test in tests:
            run_traced(role, test, tracer, program, trace.name)
        return set(trace.read().decode().split())


def judge(role, calls, made):
    """What is allowed and never made, without a word that this is how it is."""
    return [f"{role}: {name} is allowed and never made" for name, comment in sorted(calls.items())
            if name not in made and SELDOM not in comment]


def can_trace(tracer):
    environment = dict(os.environ, SEALIFT_TRACE_PROGRAM="/bin/true")
    return subprocess.run([tracer], env=environment, check=False, timeout=20).returncode == 0


def main():
    if not can_trace(sys.argv[1]):
        print("skipped: nothing can be traced here")
        return SKIPPED
    tracer, programs, tests = sys.argv[1], {}, {}
    for argument in sys.argv[2:]:
        if "=" in argument:
            role, programs[role] = argument.split("=")[0], argument.split("=")[1]
        else:
            role, test = argument.split(":")
            tests.setdefault(role, []).append(test)
    base = allowed("src/sandbox/filter.c")
    by_any, problems = set(), []
    if set(programs) != set(FILTERS) or set(tests) != set(FILTERS):
        problems.append(f"not every role is tried: {sorted(programs)}, {sorted(tests)}")
    for role, program in programs.items():
        made = made_by(role, tests[role], tracer, program)
        own = allowed(f"src/programs/{role}/policy.c")
        by_any |= made
        problems += judge(role, own, made)
        problems += [f"{role}: {name} is made and not allowed" for name in sorted(made - set(own) - set(base))]
        print(f"{role}: {' '.join(sorted(made))}")
        # A tracer that sees nothing would find nothing unused either, if the lists were empty.
        if "recvmsg" not in made:
            problems.append(f"{role}: the tracer has seen no message")
    problems += judge("every role", base, by_any)
    print("\n".join(problems) if problems else "every call is made")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
