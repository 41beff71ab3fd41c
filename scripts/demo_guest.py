# SPDX-License-Identifier: Apache-2.0
"""The guest as ./demo sees it: its console, its walker, and the tenant's questions to it."""
import json
import os
import re
import select
import socket
import subprocess
import time

import lab as lab_module
from lab import TOP, LabError, wait_for


# tests/guest/tpm.c writes it to the TPM.
NV_VALUE = "SEALIFT-KNOWN-NV-PLAINTEXT-5d3f7"


class Console:
    """The guest's serial console on one host: how its health is seen where it has no network."""

    line_pattern = re.compile(r"walker t=(\d+) checked=(\d+) errors=(\d+) .*rounds=(\d+) disk=(\d+)")
    tpm_pattern = re.compile(r"tpm t=(\d+) extends=(\d+) errors=(\d+)|(tpm fatal.*)")

    def __init__(self, host, vm):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(host.vm(vm)["serial"])
        self.buffer = ""

    def tpm(self, least, seconds=120):
        """How often the guest has used its TPM, once that is `least` times."""
        while True:
            match = self.next(seconds, self.tpm_pattern)
            if match[4] or int(match[3]):
                raise LabError(f"the guest's TPM is not what it was: {match[0]}")
            if int(match[1]) >= least:
                return int(match[1])

    def next(self, seconds=60, pattern=line_pattern):
        """The next such line, as a match; of the walker if nothing else is said."""
        deadline = time.monotonic() + seconds
        while True:
            self.socket.settimeout(max(0.1, deadline - time.monotonic()))
            while "\n" in self.buffer:
                line, self.buffer = self.buffer.split("\n", 1)
                match = pattern.search(line)
                if match:
                    return match
            try:
                data = self.socket.recv(4096)
            except TimeoutError:
                data = b""
            if not data:
                raise LabError(f"no line of the guest within {seconds} s")
            self.buffer += data.decode(errors="replace")

    def close(self):
        self.socket.close()


class Probe:
    """tests/lab/probe.py at the tenant's."""

    def __init__(self, lab):
        self.process = subprocess.Popen(
            lab.client(["/usr/bin/python3", os.path.join(TOP, "tests", "lab", "probe.py"),
                        lab_module.GUEST_ADDRESS]),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)

    def mark(self):
        """What it saw since the last mark."""
        self.process.stdin.write(b"mark\n")
        self.process.stdin.flush()
        if not select.select([self.process.stdout], [], [], 20)[0]:
            raise LabError("the probe does not answer")
        line = self.process.stdout.readline()
        if not line:
            raise LabError("the probe ended")
        return json.loads(line)

    def close(self):
        self.process.kill()
        self.process.communicate()


def all_answered(probe):
    """Waits until the session has answered all that it was asked until now."""
    asked = probe.mark()["tcp"]["asked_all"]

    def look():
        seen = probe.mark()["tcp"]
        return seen if seen["broken"] or seen["answered_all"] >= asked else None
    return wait_for("answer to every question on the TCP session", look, 60, 0.1)


def status_of(walker):
    line = walker.command("status")
    return {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", line)}
