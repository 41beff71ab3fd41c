# SPDX-License-Identifier: Apache-2.0
"""sealift-keyhelper as a process, with the engine's and keyd's ends of its links played here. The
messages (role/key_messages.h) are written a second time, on purpose: so that the C code is not
tested against itself."""

import os
import select
import socket
import struct
import subprocess
import tempfile

DEADLINE_S = 30
START, READY, FAILED = 4, 5, 6
KMIP, PKCS11, TPM2, BARBICAN, FILE = range(160, 165)
PUT, GET, DESTROY, CHECK, WRAP, UNWRAP, UNSEAL = range(176, 183)
STORED, NOT_STORED, VALUE, DESTROYED, OK, WRAPPED, KEY = range(192, 199)
CA, CRL, CERTIFICATE, PRIVATE_KEY, PASSWORD, BLOB, DEVICE = range(7)
CATEGORIES = ["none", "usage", "config", "not-found", "conflict", "denied", "auth", "peer", "limit",
              "timeout", "cancelled", "unavailable", "hypervisor", "io", "internal"]
# error.c, exit statuses: only those that are used here.
EXIT = {"config": 3, "not-found": 4, "conflict": 5, "denied": 6, "auth": 7, "peer": 8, "limit": 9,
        "unavailable": 12}


def number(value):
    return struct.pack(">Q", value)


def text(value):
    value = value.encode() if isinstance(value, str) else value
    return struct.pack(">I", len(value)) + value


def flag(value):
    return b"\1" if value else b"\0"


def listed(items):
    return struct.pack(">I", len(items)) + b"".join(items)


def take_text(payload):
    size = struct.unpack(">I", payload[:4])[0]
    assert len(payload) >= 4 + size, "a message was cut short"
    return payload[4:4 + size], payload[4 + size:]


def take_failure(payload):
    """Category, text and what is behind them."""
    words, rest = take_text(payload[8:])
    return CATEGORIES[struct.unpack(">Q", payload[:8])[0]], words.decode(), rest


def kmip_configuration(port, *, name="127.0.0.1", username="", weak=True, deadline_ms=5000,
                       address="127.0.0.1"):
    return (text(address) + number(port) + text(name) + text(username) + flag(weak)
            + number(deadline_ms) + number(0))


def pkcs11_configuration(module, token, *, key="", after_failure=False, paths=(), variables=()):
    return (text(module) + text(token) + text(key) + flag(after_failure)
            + listed([text(path) + flag(write) for path, write in paths])
            + listed([text(variable) for variable in variables]))


def barbican_configuration(keystone, barbican, credential, *, hosts=(), permit_http=False,
                           deadline_ms=5000):
    return (text(keystone) + text(barbican) + text("") + text("") + text(credential)
            + listed([text(name) + text(address) for name, address in hosts]) + flag(permit_http)
            + number(deadline_ms))


class Link:
    def __init__(self):
        self.ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.ours.settimeout(DEADLINE_S)
        self.request = 0

    def send(self, kind, payload=b"", fds=(), zero=0):
        self.request += 1
        message = struct.pack(">HHQ", kind, zero, self.request) + payload
        if fds:
            socket.send_fds(self.ours, [message], list(fds))
        else:
            self.ours.send(message)

    def receive(self):
        """Kind, subject, payload; or None at the end."""
        try:
            message = self.ours.recv(65536)
        except ConnectionResetError:
            # Told once if it left something unread; what it had sent is still there.
            message = self.ours.recv(65536)
        if not message:
            return None
        kind, zero, subject = struct.unpack(">HHQ", message[:12])
        assert zero == 0
        return kind, subject, message[12:]

    def expect(self, kind):
        got = self.receive()
        assert got, f"the helper closed the link, expected {kind}"
        if got[0] == FAILED and kind != FAILED:
            raise AssertionError(f"expected {kind}, came a failure: {take_failure(got[2])}")
        assert got[0] == kind, f"expected {kind}, came {got[0]}: {got[2]!r}"
        return got[1], got[2]

    def expect_end(self):
        assert self.receive() is None, "the helper did not close the link"

    def is_quiet(self):
        return not select.select([self.ours], [], [], 0)[0]


class Helper:
    """A helper of a kind. Files: (part, path or descriptor)."""

    def __init__(self, program, kind, *, user=None):
        self.engine, self.keyd = Link(), Link()
        self.log = tempfile.TemporaryFile()
        user = ["--user", user] if user else []

        def place():
            # Above both first: one of them may stand where the other goes.
            fds = [os.dup(link.theirs.fileno()) for link in (self.engine, self.keyd)]
            high = [os.dup2(fd, 100 + i) for i, fd in enumerate(fds)]
            for i, fd in enumerate(high):
                os.dup2(fd, 3 + i)

        # tests/sandbox/trace_calls.c, if asked for, stands between and runs argument 0.
        self.process = subprocess.Popen([program, "--provider", kind, *user], stderr=self.log,
                                        executable=os.environ.get("SEALIFT_TRACER", program),
                                        close_fds=False, preexec_fn=place)  # pylint: disable=subprocess-popen-preexec-fn
        for link in (self.engine, self.keyd):
            link.theirs.close()

    def configure(self, kind, configuration, files=()):
        self.engine.send(kind, configuration)
        for part, file in files:
            self.give(part, file)

    def give(self, part, file):
        fd = file if isinstance(file, int) else os.open(file, os.O_RDONLY)
        try:
            self.engine.send(FILE, bytes([part]), [fd])
        except BrokenPipeError:
            pass  # Its own end says why.
        finally:
            if fd is not file:
                os.close(fd)

    def start(self):
        self.engine.send(START)
        self.engine.expect(READY)

    def ask(self, kind, payload=b"", *, answer):
        self.keyd.send(kind, payload)
        subject, content = self.keyd.expect(answer)
        assert subject == self.keyd.request, f"the answer is to {subject}"
        return content

    def refused(self, category, kind, payload=b"", words=""):
        got, said, rest = take_failure(self.ask(kind, payload, answer=FAILED))
        assert got == category and words in said and not rest, f"{got}: {said}"
        return said

    def put(self, label, blob):
        return take_text(self.ask(PUT, text(label) + text(blob), answer=STORED))[0].decode()

    def not_stored(self, label, blob):
        """Category, text, whether it is certain, reference."""
        category, said, rest = take_failure(self.ask(PUT, text(label) + text(blob), answer=NOT_STORED))
        return category, said, rest[0] == 1, take_text(rest[1:])[0].decode()

    def get(self, reference):
        return take_text(self.ask(GET, text(reference), answer=VALUE))[0]

    def destroy(self, reference):
        assert self.ask(DESTROY, text(reference), answer=DESTROYED) == b""

    def check(self):
        return take_text(self.ask(CHECK, answer=OK))[0].decode()

    def fails_to_start(self, category, words):
        """What the engine hears, before the end, which has the category's status."""
        got, said, _ = take_failure(self.engine.expect(FAILED)[1])
        assert got == category and words in said, f"{got}: {said}"
        self.ends(EXIT[category])
        return said

    def ends(self, status):
        got = self.process.wait(DEADLINE_S)
        assert got == status, f"it ended with {got}, expected {status}: {self.said()}"
        for link in (self.engine, self.keyd):
            link.ours.close()

    def said(self):
        self.log.seek(0)
        return self.log.read().decode(errors="replace")

    def stop(self, status=0):
        self.engine.ours.close()
        self.ends(status)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(DEADLINE_S)
        for link in (self.engine, self.keyd):
            link.ours.close()
        self.log.close()
