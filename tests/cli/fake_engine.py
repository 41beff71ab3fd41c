# SPDX-License-Identifier: Apache-2.0
"""An engine that says what a test wants: the API of docs/API.md on a UNIX socket, scripted."""

import json
import os
import queue
import socket
import subprocess
import tempfile
import threading
import unittest

DEADLINE_S = 20

SEALIFT = os.path.join(os.environ.get("SEALIFT_BUILD", "build"), "src/programs/cli/sealift")


class Refuse(Exception):
    """Raised by a handler to answer with an error."""

    def __init__(self, category, text):
        super().__init__(text)
        self.category = category


class Connection:
    """One caller."""

    def __init__(self, engine, sock):
        self.engine = engine
        self.sock = sock

    def send_raw(self, data):
        try:
            self.sock.sendall(data)
        except OSError:
            pass  # the caller has gone, which is for the test to see

    def send(self, obj):
        self.send_raw(json.dumps(obj).encode() + b"\n")

    def event(self, name, data, time=1700000000.25):
        self.send({"event": name, "time": time, "data": data})

    def close(self):
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def serve(self):
        buffered = b""
        while True:
            try:
                data = self.sock.recv(65536)
            except OSError:
                data = b""
            if not data:
                break
            buffered += data
            while b"\n" in buffered:
                line, buffered = buffered.split(b"\n", 1)
                self.answer(json.loads(line))
        self.sock.close()
        self.engine.gone.put(self)

    def answer(self, request):
        self.engine.requests.put(request)
        handler = self.engine.handlers.get(request["execute"])
        if handler is None:
            self.send({"error": {"category": "usage", "text": "unknown command"}, "id": request["id"]})
            return
        try:
            value = handler(self, request.get("arguments", {})) if callable(handler) else handler
        except Refuse as refusal:
            self.send({"error": {"category": refusal.category, "text": str(refusal)},
                       "id": request["id"]})
            return
        if value is not None:  # None: the handler has sent what it wanted itself, or nothing
            self.send({"return": value, "id": request["id"]})


class FakeEngine:
    """Handlers are values to return, or functions of (connection, arguments)."""

    def __init__(self, **handlers):
        self.handlers = {name.replace("_", "-"): value for name, value in handlers.items()}
        self.requests = queue.Queue()
        self.gone = queue.Queue()
        self.on_connect = None
        self.directory = tempfile.TemporaryDirectory(prefix="sealift-cli-")
        self.path = os.path.join(self.directory.name, "sock")
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(self.path)
        self.listener.listen(4)
        self.acceptor = threading.Thread(target=self.accept, daemon=True)
        self.acceptor.start()

    def accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            connection = Connection(self, sock)
            if self.on_connect:
                self.on_connect(connection)
            threading.Thread(target=connection.serve, daemon=True).start()

    def next_request(self):
        return self.requests.get(timeout=DEADLINE_S)

    def asked(self):
        """All requests so far."""
        found = []
        while not self.requests.empty():
            found.append(self.requests.get())
        return found

    def close(self):
        # Woken and waited for before the descriptor is closed: its number may be another engine's
        # listener a moment later, and a late accept would take that one's callers.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.acceptor.join(DEADLINE_S)
        self.listener.close()
        self.directory.cleanup()


def environment():
    env = {name: value for name, value in os.environ.items() if name != "SEALIFT_SOCKET"}
    env["LC_ALL"] = "C"
    return env


def run(*arguments, stdin=subprocess.DEVNULL, **more):
    """Runs sealift to its end."""
    return subprocess.run([SEALIFT, *arguments], stdin=stdin, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, env=environment(), timeout=DEADLINE_S,
                          check=False, text=True, **more)


class CliTest(unittest.TestCase):
    """What all tests of the command line need."""

    def engine(self, **handlers):
        engine = FakeEngine(**handlers)
        self.addCleanup(engine.close)
        return engine

    def ask(self, engine, *arguments, **more):
        return run("--socket", engine.path, *arguments, **more)

    def assert_fails(self, result, status, *words):
        """It failed with this status and exactly one line that holds these words."""
        self.assertEqual(result.returncode, status, result.stderr)
        self.assertEqual(result.stderr.count("\n"), 1, result.stderr)
        self.assertTrue(result.stderr.startswith("sealift: "), result.stderr)
        for word in words:
            self.assertIn(word, result.stderr)
        for char in result.stderr[:-1]:
            self.assertTrue(" " <= char <= "~", repr(result.stderr))

    def assert_plain(self, text):
        """Nothing in it steers a terminal."""
        for char in text:
            self.assertTrue(char in "\n\r" or " " <= char <= "~", repr(text))

    def file(self, text, name="file"):
        directory = tempfile.TemporaryDirectory(prefix="sealift-cli-")
        self.addCleanup(directory.cleanup)
        path = os.path.join(directory.name, name)
        with open(path, "w", encoding="utf-8") as out:
            out.write(text)
        return path
