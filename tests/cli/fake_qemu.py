#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A QEMU for `sealift doctor`, whose manners the environment sets: FAKE_QMP and FAKE_KVM."""

import json
import os
import signal
import sys

CAPABILITIES = ["return-path", "pause-before-switchover", "events", "multifd", "late-block-activate"]


def hang():
    signal.pause()


def say(obj):
    print(json.dumps(obj), flush=True)


def qmp(manner):
    if manner == "dies":
        sys.exit("fake: no \x1b[31mluck")
    if manner == "hangs":
        hang()
    if manner == "garbage":
        print("this is not QMP", flush=True)
        hang()
    if manner == "endless":
        while True:
            sys.stdout.write("x" * 65536)
    version = {"qemu": {"major": 10, "minor": 0, "micro": 2}, "package": ""}
    say({"QMP": {"version": version, "capabilities": []}} if manner != "nameless" else {"QMP": {}})
    for line in sys.stdin:
        command = json.loads(line)["execute"]
        if manner == "refuses":
            say({"error": {"class": "GenericError", "desc": "no"}})
        elif command == "query-qmp-schema":
            say({"event": "NICE", "data": {}})
            offered = [name for name in CAPABILITIES if name not in manner.split(",")]
            say({"return": [{"meta-type": "command"}, {"meta-type": "enum", "values": ["x"]},
                            {"meta-type": "enum", "values": offered}]})
        else:
            say({"return": {}})


def kvm(manner):
    if manner == "dies":
        sys.exit("fake: no kvm")
    if manner == "speaks":
        print("SeaBIOS", flush=True)
    hang()


kvm(os.environ.get("FAKE_KVM", "speaks")) if "kvm" in sys.argv else qmp(os.environ.get("FAKE_QMP", ""))
