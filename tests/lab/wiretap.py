# SPDX-License-Identifier: Apache-2.0
"""A capture of a lab's cable that knows what it missed.

tcpdump is told to copy whole packets into a ring large enough for bursts; what the kernel had to
drop all the same is in the result. A capture is settled by a packet of our own which must turn up
in the file: what was on the cable before it is then in the file too, unless it was dropped.
"""
import contextlib
import os
import re
import secrets
import select
import signal
import subprocess

import lab as lab_module

RING_KIB = 262144
MARKER_PORT = 7999
# More than one buffer of tcpdump's, so that the marker itself reaches the file.
MARKER_SIZE = 8192


class Wiretap:
    """Captures from start() to stop(); counts what a search finds."""

    def __init__(self, lab, name="wire.pcap"):
        self.lab = lab
        self.path = os.path.join(lab.directory, name)
        self.captured = self.dropped = 0
        self.size = 0
        self.process = None

    def start(self):
        # Without namespaces all of it is on the loopback, with the rest of the machine.
        where = (["-i", "up0"] if self.lab.namespaces
                 else ["-i", "lo", f"port {self.lab.north.port} or port {MARKER_PORT}"])
        self.process = subprocess.Popen(
            self.lab.north.inside(["tcpdump", "-n", "-s", "0", "-B", str(RING_KIB), "-Z", "root",
                                   "-w", self.path, *where]),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            start_new_session=True)
        words = b""
        while b"listening on" not in words:
            ready = select.select([self.process.stderr], [], [], 10)[0]
            chunk = os.read(self.process.stderr.fileno(), 4096) if ready else b""
            if not chunk:
                self.close()
                raise lab_module.LabError("tcpdump does not listen: " +
                                          words.decode(errors="replace").strip())
            words += chunk

    def settle(self):
        """Waits until the file holds what was on the cable until now."""
        marker = b"settled-" + secrets.token_hex(16).encode()
        target = (f"UDP-SENDTO:{lab_module.CLIENT_ADDRESS}:{MARKER_PORT}" if self.lab.namespaces
                  else f"UDP-SENDTO:127.0.0.2:{MARKER_PORT}")
        position = max(0, os.path.getsize(self.path) - 1)

        def arrived():
            nonlocal position
            subprocess.run(self.lab.north.inside(["socat", "-u", "-b", str(MARKER_SIZE), "-", target]),
                           input=marker.ljust(MARKER_SIZE, b"."), stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL, check=False, timeout=10)
            with open(self.path, "rb") as file:
                file.seek(max(0, position - MARKER_SIZE))
                data = file.read()
            position = max(position, os.path.getsize(self.path) - MARKER_SIZE)
            return marker in data

        lab_module.wait_for("end of the capture", arrived, 15, 0.1)

    def stop(self):
        """Settles and ends the capture."""
        self.settle()
        self.process.send_signal(signal.SIGINT)
        _, words = self.process.communicate(timeout=20)
        self.process = None
        words = words.decode(errors="replace")
        for name, pattern in (("captured", r"(\d+) packets? captured"),
                              ("dropped", r"(\d+) packets? dropped by kernel")):
            match = re.search(pattern, words)
            if not match:
                raise lab_module.LabError(f"tcpdump did not say what it {name}: {words.strip()}")
            setattr(self, name, int(match[1]))
        self.size = os.path.getsize(self.path)

    def count(self, needle):
        return lab_module.search(self.path, needle)

    def close(self):
        """Ends the capture at once if it still goes on."""
        if self.process:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            self.process.communicate()
            self.process = None
