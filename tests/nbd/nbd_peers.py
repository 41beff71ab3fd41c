# SPDX-License-Identifier: Apache-2.0
"""Real and lying NBD peers for the tests of the NBD guard: a storage daemon over QMP, the programs
of both QEMU versions, and a client and a server that say what a test wants."""

import glob
import json
import os
import socket
import struct
import subprocess

DEADLINE_S = 30

FIXED_NO_ZEROES = 3
OPTION_MAGIC = 0x49484156454F5054
REPLY_MAGIC = 0x3E889045565A9


def stock_environment(root):
    """What programs of the stock QEMU need to find its libraries and modules."""
    folders = [folder for part in ("usr/lib", "lib")
               for folder in glob.glob(os.path.join(root, part, "*-linux-gnu"))]
    modules = [folder for folder in (os.path.join(f, "qemu") for f in folders)
               if os.path.isdir(folder)]
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(folders),
            **({"QEMU_MODULE_DIR": modules[0]} if modules else {})}


def find_daemons():
    """{version: (program, environment)} of the storage daemons that are there."""
    found = {"new": ("qemu-storage-daemon", None)}
    stock = os.environ.get("SEALIFT_STOCK_QEMU", "")
    root = os.path.join(os.path.dirname(stock), "root")
    program = os.path.join(root, "usr/bin/qemu-storage-daemon")
    if stock and os.path.exists(program):
        found["stock"] = (program, stock_environment(root))
    return found


class Daemon:
    """A qemu-storage-daemon that is spoken to over QMP."""

    def __init__(self, daemon, path):
        program, environment = daemon
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen(1)
        listener.settimeout(DEADLINE_S)
        self.events = []
        self.process = subprocess.Popen(
            [program, "--chardev", f"socket,id=qmp,path={path},server=off",
             "--monitor", "chardev=qmp"], env=environment)
        self.connection, _ = listener.accept()
        listener.close()
        self.connection.settimeout(DEADLINE_S)
        self.file = self.connection.makefile("rw")
        self.file.readline()
        self.run("qmp_capabilities")

    def read(self):
        line = self.file.readline()
        if not line:
            raise RuntimeError("the storage daemon is gone")
        return json.loads(line)

    def run(self, command, **arguments):
        self.file.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self.file.flush()
        while True:
            answer = self.read()
            if "event" in answer:
                self.events.append(answer)
            elif "error" in answer:
                raise RuntimeError(f"{command}: {answer['error']['desc']}")
            else:
                return answer["return"]

    def wait(self, name, accept=lambda data: True):
        """The first event of this name whose data is accepted, of those that came already too."""
        at = 0
        while True:
            while at == len(self.events):
                answer = self.read()
                if "event" in answer:
                    self.events.append(answer)
            event = self.events[at]
            if event["event"] == name and accept(event.get("data", {})):
                return event.get("data", {})
            at += 1

    def close(self):
        self.connection.close()
        self.process.terminate()
        try:
            self.process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Relay:
    """run_nbd, for one connection."""

    def __init__(self, program, listen, connect, size, access, piece=1 << 20, who="both"):
        self.process = subprocess.Popen(
            [program, listen, connect, "disk-0", str(size), access, str(piece), who],
            stdout=subprocess.PIPE, text=True)
        if self.process.stdout.readline() != "ready\n":
            raise RuntimeError("run_nbd did not start")

    def finish(self):
        """(was it good, its line). Kills it at the deadline."""
        try:
            output, _ = self.process.communicate(timeout=DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        return self.process.returncode == 0, output.strip()


def counters(line):
    return {key: int(value) for key, value in (word.split("=") for word in line.split())}


# --- what lying peers say ---------------------------------------------------------------------

def greeting():
    return b"NBDMAGIC" + struct.pack(">QH", OPTION_MAGIC, FIXED_NO_ZEROES)


def option(number, data=b""):
    return struct.pack(">QII", OPTION_MAGIC, number, len(data)) + data


def go(name=b"disk-0"):
    return option(7, struct.pack(">I", len(name)) + name + struct.pack(">HH", 1, 3))


def reply(number, kind, data=b""):
    return struct.pack(">QIII", REPLY_MAGIC, number, kind, len(data)) + data


def request(command, offset, length, cookie=1, flags=0):
    return struct.pack(">IHHQQI", 0x25609513, flags, command, cookie, offset, length)


def receive(connection, size):
    data = b""
    while len(data) < size:
        piece = connection.recv(size - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data


def is_closed(connection):
    """Whether the other end hangs up, without a byte more."""
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


def open_plain(connection):
    """A client's handshake to transmission, with simple replies."""
    receive(connection, 18)
    connection.sendall(struct.pack(">I", FIXED_NO_ZEROES) + go())
    while True:
        _, _, kind, length = struct.unpack(">QIII", receive(connection, 20))
        receive(connection, length)
        if kind == 1:
            return
