# SPDX-License-Identifier: Apache-2.0
"""A small Keystone and Barbican in memory behind one port, honest unless told to lie, and a door in
front of real ones that can be told to hold back. Threads, one for each connection."""

import base64
import contextlib
import json
import re
import secrets
import socket
import ssl
import threading
import time
import urllib.parse
import uuid

from kmip_peers import DEADLINE_S, free_port

LIFETIME_S = 3600


class Drop(Exception):
    """A lie may raise it: what was given is sent, then the connection ends."""

    def __init__(self, sent=b""):
        super().__init__("dropped")
        self.sent = sent


class Silence(Exception):
    """Sends what was given and then nothing, until the client goes."""

    def __init__(self, sent=b""):
        super().__init__("silent")
        self.sent = sent


class Flood(Exception):
    """Sends what was given, then the rest over and over, until the client goes."""

    def __init__(self, sent, more):
        super().__init__("flood")
        self.sent, self.more = sent, more


def answer(status, body=b"", kind="application/json", headers=()):
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} So", f"Content-Length: {len(body)}", *headers]
    if body:
        lines.append(f"Content-Type: {kind}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def refusal(status, words="no"):
    return answer(status, {"code": status, "title": "So", "description": words})


def stamp(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime(seconds))


class Listener:
    """Accepts in a thread, serves each connection in another; TLS if given a context."""

    def __init__(self, context=None):
        self.context = context
        self.connections = 0
        self.open = set()
        self.failures = []
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.threads = [threading.Thread(target=self.accept)]
        self.threads[0].start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            connection.settimeout(DEADLINE_S)
            with self.lock:
                self.connections += 1
                self.open.add(connection)
                thread = threading.Thread(target=self.run, args=(connection,))
                self.threads.append(thread)
            thread.start()

    def run(self, connection):
        plain = connection
        try:
            if self.context:
                with self.lock:
                    self.open.discard(plain)
                    connection = self.context.wrap_socket(connection, server_side=True)
                    self.open.add(connection)
            self.serve(connection)
        except OSError:
            pass  # the client went, or did not like our certificate
        except Exception as error:  # pylint: disable=broad-except
            self.failures.append(error)
        finally:
            with self.lock:
                self.open.discard(connection)
            connection.close()
            plain.close()

    def serve(self, connection):
        raise NotImplementedError

    def hang_up(self):
        """Ends every connection that is open."""
        with self.lock:
            ended = list(self.open)
        for connection in ended:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.hang_up()
        for thread in self.threads:
            thread.join(DEADLINE_S)
            assert not thread.is_alive()
        if self.failures:
            raise self.failures[0]


def tls_context(pki, certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki.path(certificate + ".pem"), pki.path(certificate + ".key"))
    return context


class Request:
    def __init__(self, head, body):
        lines = head.decode("latin-1").split("\r\n")
        self.method, self.target, _ = lines[0].split(" ")
        self.headers = {name.strip().lower(): value.strip() for name, _, value in
                        (line.partition(":") for line in lines[1:])}
        self.body = body
        url = urllib.parse.urlsplit(self.target)
        self.path = url.path
        self.query = urllib.parse.parse_qs(url.query, keep_blank_values=True)

    @property
    def kind(self):
        """What lies are told by."""
        if self.path == "/v3/auth/tokens":
            return "token"
        if self.method == "GET":
            return {"/v1/secrets": "list"}.get(
                self.path, "payload" if self.path.endswith("/payload") else "secret")
        return {"POST": "store", "DELETE": "delete"}[self.method]


def read_request(connection):
    """The next request, or None at the end."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            return None
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    size = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    while len(body) < int(size.group(1) if size else 0):
        body += connection.recv(65536)
    return Request(head, body)


class LyingBarbican(Listener):
    """lies: kind of request -> function(request, honest answer) that gives the bytes to send."""

    def __init__(self, context=None, secret="s3cret"):
        self.lies, self.requests, self.objects, self.tokens = {}, [], {}, set()
        self.secret = secret
        self.lifetime_s = LIFETIME_S
        self.clock_off_s = 0  # of Keystone's clock
        self.catalog = []
        super().__init__(context)

    @property
    def url(self):
        return f"{'https' if self.context else 'http'}://127.0.0.1:{self.port}"

    def count(self, kind):
        return sum(request.kind == kind for request in self.requests)

    def serve(self, connection):
        while True:
            request = read_request(connection)
            if not request:
                return
            with self.lock:
                self.requests.append(request)
                honest = self.token(request) if request.kind == "token" else self.barbican(request)
            lie = self.lies.get(request.kind)
            try:
                connection.sendall(lie(request, honest) if lie else honest)
            except Drop as drop:
                connection.sendall(drop.sent)
                return
            except Silence as silence:
                connection.sendall(silence.sent)
                while connection.recv(65536):
                    pass
                return
            except Flood as flood:
                connection.sendall(flood.sent)
                while True:
                    connection.sendall(flood.more)

    def token(self, request):
        identity = json.loads(request.body)["auth"]["identity"]
        if identity["methods"] != ["application_credential"]:
            return answer(400, {"error": {"message": "method"}})
        if identity["application_credential"] != {"id": "someone", "secret": self.secret}:
            return answer(401, {"error": {"code": 401, "title": "Unauthorized", "message": "who?"}})
        token = "gAAAA" + secrets.token_urlsafe(100)
        self.tokens.add(token)
        now = time.time() + self.clock_off_s
        told = {"issued_at": stamp(now), "expires_at": stamp(now + self.lifetime_s), "extra": [{}]}
        if "nocatalog" not in request.query:
            told["catalog"] = [{"type": "identity", "endpoints": []}, *self.catalog]
        return answer(201, {"token": told}, headers=["X-Subject-Token: " + token])

    def entry(self, reference):
        return {"secret_ref": f"http://elsewhere.test/v1/secrets/{reference}", "status": "ACTIVE",
                "name": self.objects[reference][0]}

    def barbican(self, request):
        if request.headers.get("x-auth-token") not in self.tokens:
            return answer(401, {"error": {"code": 401, "title": "Unauthorized", "message": "token"}})
        if request.kind == "store":
            told = json.loads(request.body)
            reference = str(uuid.uuid4())
            self.objects[reference] = told["name"], base64.b64decode(told["payload"])
            return answer(201, {"secret_ref": self.entry(reference)["secret_ref"]})
        if request.kind == "list":
            name = request.query.get("name", [None])[0]
            found = [self.entry(reference) for reference, (its_name, _) in self.objects.items()
                     if name in (None, its_name)]
            return answer(200, {"secrets": found[:10], "total": len(found)})
        reference = request.path.split("/")[3]
        if reference not in self.objects:
            return refusal(404, "Secret not found.")
        if request.kind == "delete":
            del self.objects[reference]
            return answer(204)
        if request.kind == "payload":
            return answer(200, self.objects[reference][1], "application/octet-stream")
        return answer(200, self.entry(reference))


class Door(Listener):
    """Passes on to a real server what comes, in TLS if given a context. hold: a function of a request
    that says whether its answer is held back for ever."""

    def __init__(self, port, context=None):
        self.behind = port
        self.hold = lambda request: False
        self.tokens = []  # that were seen
        self.seen = []
        super().__init__(context)

    def serve(self, connection):
        while True:
            request = read_request(connection)
            if not request:
                return
            self.seen.append((request.method, request.path))
            if "x-auth-token" in request.headers:
                self.tokens.append(request.headers["x-auth-token"])
            words = [f"{request.method} {request.target} HTTP/1.1", "Connection: close"]
            words += [f"{name}: {value}" for name, value in request.headers.items()
                      if name != "connection"]
            told = b""
            with socket.create_connection(("127.0.0.1", self.behind), DEADLINE_S) as real:
                real.sendall("\r\n".join(words).encode() + b"\r\n\r\n" + request.body)
                while more := real.recv(65536):
                    told += more
            if self.hold(request):
                while connection.recv(65536):
                    pass
                return
            connection.sendall(told)


def nobody():
    """A port at which nobody listens."""
    return free_port()
