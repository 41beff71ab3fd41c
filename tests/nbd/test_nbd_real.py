#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Shows real NBD conversations to the guard of both sides:

    test_nbd_real.py RUN_NBD

Mirrors by storage daemons of both QEMU versions, each with each, in both copy modes; qemu-img and
qemu-io against qemu-nbd. None may be refused and the images are the same. Then clients and servers
that lie: each is refused by the rule that it breaks, and does no harm to the other end. Exit status
77: no QEMU storage daemon.
"""

import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
sys.dont_write_bytecode = True
sys.path.insert(0, HERE)
import nbd_peers as peers  # noqa: E402

SIZE = 40 << 20
MIB = 1 << 20
failures = []


def check(ok, what):
    if not ok:
        failures.append(what)
        print(f"FAILED: {what}")


def make_source(path):
    """Data, zeroes that are written, holes, and data that is no whole mebibyte."""
    with open(path, "wb") as f:
        f.truncate(SIZE)
        f.write(os.urandom(2 * MIB))
        f.seek(10 * MIB)
        f.write(bytes(MIB))
        f.seek(SIZE - 77 * 512)
        f.write(os.urandom(77 * 512))


def same(one, other):
    with open(one, "rb") as a, open(other, "rb") as b:
        return a.read() == b.read()


class Folder:
    """A folder of its own, with a socket of each name in it."""

    def __enter__(self):
        self.root = tempfile.mkdtemp(prefix="nbd-")
        return lambda name: os.path.join(self.root, name)

    def __exit__(self, *_):
        shutil.rmtree(self.root)


def mirror(run_nbd, source, target, copy_mode, piece):
    """A disk from one storage daemon to another, written to while it is mirrored."""
    what = f"mirror {source[0]} to {target[0]}, {copy_mode}, pieces of {piece}"
    with Folder() as at:
        make_source(at("source"))
        with open(at("target"), "wb") as f:
            # What stood there before.
            f.write(b"\xaa" * SIZE)
        server = peers.Daemon(target[1], at("server.qmp"))
        client = peers.Daemon(source[1], at("client.qmp"))
        try:
            server.run("blockdev-add", driver="file", filename=at("target"), discard="unmap",
                       **{"node-name": "target"})
            server.run("nbd-server-start", addr={"type": "unix", "data": {"path": at("nbd")}},
                       **{"max-connections": 1})
            server.run("block-export-add", type="nbd", id="export", name="disk-0", writable=True,
                       **{"node-name": "target"})
            client.run("blockdev-add", driver="file", filename=at("source"), discard="unmap",
                       **{"node-name": "source"})
            # A writer beside the mirror, as a guest is.
            client.run("nbd-server-start", addr={"type": "unix", "data": {"path": at("guest")}})
            client.run("block-export-add", type="nbd", id="guest", name="guest", writable=True,
                       **{"node-name": "source"})
            relay = peers.Relay(run_nbd, at("relay"), at("nbd"), SIZE, "receive", piece)
            client.run("blockdev-add", driver="nbd", export="disk-0", discard="unmap",
                       server={"type": "unix", "path": at("relay")}, **{"node-name": "target"})
            client.run("blockdev-mirror", device="source", target="target", sync="full",
                       **{"job-id": "mirror", "copy-mode": copy_mode})
            client.wait("BLOCK_JOB_READY")
            subprocess.run(
                ["qemu-io", "-f", "raw", f"nbd+unix:///guest?socket={at('guest')}",
                 "-c", "write -P 5 3M 1M", "-c", "write -z -u 0 64k", "-c", "discard 1M 64k",
                 "-c", "write -f -P 6 20M 4k", "-c", "flush"],
                check=True, stdout=subprocess.DEVNULL, timeout=peers.DEADLINE_S)
            client.run("block-job-cancel", device="mirror")
            client.wait("BLOCK_JOB_COMPLETED")
            client.wait("JOB_STATUS_CHANGE", lambda data: data.get("status") == "null")
            client.run("blockdev-del", **{"node-name": "target"})
            good, line = relay.finish()
            server.run("block-export-del", id="export", mode="hard")
        finally:
            client.close()
            server.close()
        check(good, f"{what}: {line}")
        check(same(at("source"), at("target")), f"{what}: the images differ")
        if good:
            count = peers.counters(line)
            check(count["read"] == 0 and count["zeroed"] > 0, f"{what}: {line}")
        print(f"{what}: {line}")


def serve(at, *arguments):
    """qemu-nbd with the target's file; in the background once it listens."""
    subprocess.run(["qemu-nbd", "-k", at("nbd"), "-f", "raw", "-x", "disk-0", "--discard=unmap",
                    "-t", "--fork", "--pid-file", at("pid"), *arguments, at("target")],
                   check=True, timeout=peers.DEADLINE_S)


def stop(at):
    """Ends that qemu-nbd, and waits until it is gone."""
    with open(at("pid"), encoding="ascii") as f:
        process = os.pidfd_open(int(f.read()))
    signal.pidfd_send_signal(process, signal.SIGTERM)
    if not select.select([process], [], [], peers.DEADLINE_S)[0]:
        signal.pidfd_send_signal(process, signal.SIGKILL)
    os.close(process)


def convert_and_read(run_nbd, piece):
    with Folder() as at:
        make_source(at("source"))
        with open(at("target"), "wb") as f:
            f.truncate(SIZE)
        serve(at)
        url = f"nbd+unix:///disk-0?socket={at('relay')}"
        commands = [
            ["qemu-img", "convert", "-n", "-W", "-m", "16", "-f", "raw", "-O", "raw", at("source"), url],
            ["qemu-img", "convert", "-f", "raw", "-O", "raw", url, at("back")],
            ["qemu-io", "-f", "raw", url, "-c", "read 0 32M", "-c", "write -zu 1M 30M",
             "-c", "write -z 4M 1M", "-c", "discard 8M 2M", "-c", "map", "-c", "write -f 0 4k",
             "-c", "aio_write 1M 1M", "-c", "aio_read 2M 1M", "-c", "aio_flush", "-c", "flush"],
        ]
        try:
            for command in commands:
                relay = peers.Relay(run_nbd, at("relay"), at("nbd"), SIZE, "read-write", piece)
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL,
                               timeout=peers.DEADLINE_S)
                good, line = relay.finish()
                check(good, f"{command[0]} {command[1]}: {line}")
                os.unlink(at("relay"))
                print(f"{command[0]} {command[1]}, pieces of {piece}: {line}")
                if command[-1] == at("back"):
                    check(same(at("source"), at("back")), "what was read differs")
        finally:
            stop(at)


# --- lying clients, with a real server ------------------------------------------------------------

LYING_CLIENTS = {
    "reads": ("nbd-command", peers.request(0, 0, 4096)),
    "caches": ("nbd-command", peers.request(5, 0, 4096)),
    "writes past the end": ("nbd-range", peers.request(1, SIZE - 512, 1024) + bytes(1024)),
    "overflows": ("nbd-range", peers.request(6, 2**64 - 512, 1024)),
    "writes too much": ("nbd-length", peers.request(1, 0, (32 << 20) + 512)),
    "repeats itself": ("nbd-cookie", peers.request(1, 0, 512, 9) + bytes(512) +
                       peers.request(3, 0, 0, 8) * 2),
    "is out of step": ("nbd-magic", b"\xaa" * 28),
    "wants TLS": ("nbd-magic", peers.option(5)),
}


def lie_as_client(run_nbd):
    with Folder() as at:
        with open(at("target"), "wb") as f:
            f.write(b"\x11" * SIZE)
        serve(at)
        try:
            for name, (rule, said) in LYING_CLIENTS.items():
                relay = peers.Relay(run_nbd, at("relay"), at("nbd"), SIZE, "receive",
                                    who="destination")
                connection = socket.socket(socket.AF_UNIX)
                connection.settimeout(peers.DEADLINE_S)
                connection.connect(at("relay"))
                peers.open_plain(connection)
                try:
                    connection.sendall(said)
                except OSError:
                    pass
                good, line = relay.finish()
                check(not good and f"destination: {rule}: client: " in line,
                      f"a client that {name}: want {rule}, got {line}")
                connection.close()
                os.unlink(at("relay"))
            with open(at("target"), "rb") as f:
                check(f.read() == b"\x11" * SIZE, "a lying client changed the disk")
        finally:
            stop(at)


# --- lying servers, with a real client ------------------------------------------------------------

def export_info(size, flags):
    return struct.pack(">HQH", 0, size, flags)


WRITABLE = 0x6D
EXPORT = peers.reply(7, 3, export_info(SIZE, WRITABLE)) + peers.reply(7, 1)


def answer_go(connection, described):
    """Refuses what the client asks for until GO comes, then says this."""
    while True:
        _, number, length = struct.unpack(">QII", peers.receive(connection, 16))
        peers.receive(connection, length)
        if number == 7:
            connection.sendall(described)
            return
        connection.sendall(peers.reply(number, 0x80000001))


def answer_read(connection, error, cookie_change, payload):
    answer_go(connection, EXPORT)
    _, _, _, cookie, _, _ = struct.unpack(">IHHQQI", peers.receive(connection, 28))
    connection.sendall(struct.pack(">IIQ", 0x67446698, error, cookie ^ cookie_change) + payload)


LYING_SERVERS = {
    "is smaller": ("nbd-export", lambda c: answer_go(
        c, peers.reply(7, 3, export_info(SIZE // 2, WRITABLE)) + peers.reply(7, 1))),
    "is read-only": ("nbd-export", lambda c: answer_go(
        c, peers.reply(7, 3, export_info(SIZE, WRITABLE | 2)) + peers.reply(7, 1))),
    "says nothing of its size": ("nbd-export", lambda c: answer_go(c, peers.reply(7, 1))),
    "has blocks of three bytes": ("nbd-block-size", lambda c: answer_go(
        c, peers.reply(7, 3, struct.pack(">HIII", 3, 3, 4096, 32 << 20)) + EXPORT)),
    "talks too long": ("nbd-option-reply", lambda c: answer_go(
        c, peers.reply(7, 0x80000002, b"a" * 4000))),
    "answers another": ("nbd-reply-cookie", lambda c: answer_read(c, 0, 1 << 40, b"")),
    "knows no such error": ("nbd-reply-error", lambda c: answer_read(c, 4711, 0, b"")),
    "answers twice": ("nbd-magic", lambda c: answer_read(c, 0, 0, bytes(4096) + b"\xff" * 16)),
}


def lie_once(listener, answer):
    connection, _ = listener.accept()
    connection.settimeout(peers.DEADLINE_S)
    try:
        connection.sendall(peers.greeting())
        peers.receive(connection, 4)
        answer(connection)
        peers.is_closed(connection)
    except (OSError, EOFError):
        pass
    connection.close()


def lie_as_server(run_nbd):
    for name, (rule, answer) in LYING_SERVERS.items():
        with Folder() as at:
            listener = socket.socket(socket.AF_UNIX)
            listener.settimeout(peers.DEADLINE_S)
            listener.bind(at("nbd"))
            listener.listen(1)
            relay = peers.Relay(run_nbd, at("relay"), at("nbd"), SIZE, "read-write",
                                who="source")
            server = threading.Thread(target=lie_once, args=(listener, answer))
            server.start()
            client = subprocess.run(
                ["qemu-io", "-r", "-f", "raw", f"nbd+unix:///disk-0?socket={at('relay')}",
                 "-c", "read 0 4k"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                timeout=peers.DEADLINE_S, check=False)
            good, line = relay.finish()
            server.join()
            listener.close()
            check(not good and f"source: {rule}: server: " in line,
                  f"a server that {name}: want {rule}, got {line}; {client.stdout.decode()}")


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: test_nbd_real.py RUN_NBD")
    if not shutil.which("qemu-storage-daemon") or not shutil.which("qemu-nbd"):
        print("no qemu-storage-daemon, or no qemu-nbd")
        sys.exit(77)
    run_nbd = sys.argv[1]
    daemons = list(peers.find_daemons().items())
    if len(daemons) == 1:
        print("without the stock QEMU: SEALIFT_STOCK_QEMU")
    for source in daemons:
        for target in daemons:
            mirror(run_nbd, source, target, "background", 1 << 20)
    mirror(run_nbd, daemons[0], daemons[-1], "write-blocking", 4099)
    convert_and_read(run_nbd, 1 << 20)
    convert_and_read(run_nbd, 4099)
    lie_as_client(run_nbd)
    lie_as_server(run_nbd)
    print(f"{len(failures)} failures")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
