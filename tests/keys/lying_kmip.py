# SPDX-License-Identifier: Apache-2.0
"""A small KMIP server in memory that is honest unless told to lie: one thread, one connection at a
time, TLS of Python's ssl."""

import socket
import ssl
import struct
import threading

from kmip_peers import DEADLINE_S, blob, date, enumeration, find, integer, structure, text

DISCOVER, QUERY, REGISTER, ACTIVATE, GET, STATE, REVOKE, DESTROY = (
    0x1e, 0x18, 0x03, 0x12, 0x0a, 0x0b, 0x13, 0x14)
OPERATIONS = (DISCOVER, QUERY, REGISTER, ACTIVATE, GET, STATE, REVOKE, DESTROY)
ID, PAYLOAD = 0x420094, 0x42007c
ACTIVE, DEACTIVATED, DESTROYED = 2, 3, 5


def message(*items, minor=4, count=1):
    return structure(0x42007b, structure(
        0x42007a, structure(0x420069, integer(0x42006a, 1), integer(0x42006b, minor)),
        date(0x420092, 1), integer(0x42000d, count)), *items)


def success(operation, *payload, minor=4):
    return message(structure(0x42000f, enumeration(0x42005c, operation), enumeration(0x42007f, 0),
                             structure(PAYLOAD, *payload)), minor=minor)


def refusal(operation, reason, words="no", minor=4):
    return message(structure(0x42000f, enumeration(0x42005c, operation), enumeration(0x42007f, 1),
                             enumeration(0x42007e, reason), text(0x42007d, words)), minor=minor)


def version(major, minor):
    return structure(0x420069, integer(0x42006a, major), integer(0x42006b, minor))


def secret_data(reference, value):
    return (enumeration(0x420057, 7), text(ID, reference), structure(
        0x420085, enumeration(0x420086, 2), structure(
            0x420040, enumeration(0x420042, 2), structure(0x420045, blob(0x420043, value)))))


def operation_of(request):
    return struct.unpack(">I", find(request, 0x42005c))[0]


class Drop(Exception):
    """A lie may raise it: what was given is sent, then the connection ends; politely with a
    close_notify, else at once."""

    def __init__(self, sent=b"", politely=False):
        super().__init__("dropped")
        self.sent, self.politely = sent, politely


class Silence(Exception):
    """Sends what was given and then nothing, until the client goes."""

    def __init__(self, sent=b""):
        super().__init__("silent")
        self.sent = sent


class LyingKmip:
    """lies: operation -> function(request, honest answer) that gives the bytes to send."""

    def __init__(self, pki, ciphers=None, tls=None):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(pki.path("server.pem"), pki.path("server.key"))
        self.context.load_verify_locations(pki.path("root.pem"))
        self.context.verify_mode = ssl.CERT_REQUIRED
        if tls:
            self.context.maximum_version = tls
        if ciphers:
            self.context.set_ciphers(ciphers)
        self.lies, self.requests, self.objects = {}, [], {}
        self.connections = 0
        self.mute = False  # accepts and says nothing, not even in TLS
        self.minor = 4
        self.failure = None
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # Wakes accept(); a connection that is served has ended, as its client has.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join(DEADLINE_S)
        self.listener.close()
        assert not self.thread.is_alive(), "the lying server hangs"
        assert self.failure is None, f"the lying server failed: {self.failure!r}"

    def serve(self):
        while True:
            try:
                plain, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            plain.settimeout(DEADLINE_S)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                self.converse(plain)
            except (OSError, ssl.SSLError):
                pass  # the client went
            except Exception as failure:  # pylint: disable=broad-except
                self.failure = failure
            plain.close()

    def converse(self, plain):
        if self.mute:
            while plain.recv(4096):
                pass
            return
        with self.context.wrap_socket(plain, server_side=True) as link:
            while True:
                request = self.read(link)
                if not request:
                    return
                self.requests.append(request)
                try:
                    link.sendall(self.answer(request))
                except Drop as drop:
                    link.sendall(drop.sent)
                    if drop.politely:
                        link.unwrap()
                    return
                except Silence as silence:
                    link.sendall(silence.sent)
                    while link.recv(4096):
                        pass
                    return

    @staticmethod
    def read(link):
        request = b""
        while len(request) < 8 or len(request) < 8 + struct.unpack(">I", request[4:8])[0]:
            got = link.recv(4096)
            if not got:
                return b""
            request += got
        return request

    def answer(self, request):
        operation = operation_of(request)
        honest = self.honest(operation, request)
        lie = self.lies.get(operation)
        return lie(request, honest) if lie else honest

    def count(self, operation):
        return sum(operation_of(request) == operation for request in self.requests)

    def honest(self, operation, request):
        minor = struct.unpack(">i", find(request, 0x42006b))[0]
        reference = (find(request, ID) or b"").decode()
        if operation == DISCOVER:
            return success(operation, version(2, 0), version(1, self.minor), version(1, 2),
                           minor=minor)
        if operation == QUERY:
            return success(operation, *[enumeration(0x42005c, code) for code in OPERATIONS],
                           minor=minor)
        if operation == REGISTER:
            reference = f"key-{len(self.objects) + 1}"
            self.objects[reference] = [find(request, 0x420043), 1]
        elif reference not in self.objects:
            return refusal(operation, 1, f"no {reference}", minor=minor)
        value, state = self.objects[reference]
        if operation == GET:
            return success(operation, *secret_data(reference, value), minor=minor)
        if operation == STATE:
            return success(operation, text(ID, reference), structure(
                0x420008, text(0x42000a, "State"), enumeration(0x42000b, state)), minor=minor)
        if operation == DESTROY and state == ACTIVE:
            return refusal(operation, 0x0c, "active", minor=minor)
        states = {ACTIVATE: ACTIVE, REVOKE: DEACTIVATED, DESTROY: DESTROYED}
        self.objects[reference][1] = states.get(operation, state)
        return success(operation, text(ID, reference), minor=minor)
