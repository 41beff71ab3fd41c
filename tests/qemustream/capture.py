#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Records a migration between two QEMUs, each connection and direction in a file of its own:

    capture.py OUTDIR --qemu BIN --machine M --multifd none|zlib|zstd|off --channels N [--postcopy]

The two talk over UNIX sockets through a relay in this process. The files are CHANNEL.forward, from
source to destination, and CHANNEL.return, back: main, multifd-0 and on in the order in which they
connected (which is not that of their ids), preempt. With --recover all connections are cut in
postcopy and those that resume it are recorded as recovery and recovery-preempt. A file that a QEMU
never wrote to is empty. capture.json lists them.

The guest has no network, and a disk only where an option says so. Its memory holds a few MiB that compress, as many that do not,
and zeros. Exit status 77 says that this machine cannot do it: no such QEMU, or postcopy is
forbidden to this user.
"""

import argparse
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

MULTIFD_MAGIC = bytes.fromhex("11223344")
MAIN_MAGIC = b"QEVM"
CHUNK = 1 << 16


class Unavailable(Exception):
    """This machine cannot make such a capture."""


class Failed(Exception):
    """A QEMU did not do what it should."""


class Qmp:
    """One monitor (docs/interop/qmp-spec.rst): commands in turn, events dropped."""

    def __init__(self, path, deadline):
        self.deadline = deadline
        self.socket = socket.socket(socket.AF_UNIX)
        self.lines = b""
        self._connect(path)
        self._read()
        self.command("qmp_capabilities")

    def _left(self):
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise Failed("the deadline passed")
        return left

    def _connect(self, path):
        """The socket is QEMU's first sign of life: it listens there before it is started."""
        self.socket.settimeout(self._left())
        self.socket.connect(path)

    def _read(self, longest_s=None):
        while b"\n" not in self.lines:
            left = self._left()
            self.socket.settimeout(left if longest_s is None else min(left, longest_s))
            more = self.socket.recv(CHUNK)
            if not more:
                raise Failed("a QEMU closed its monitor")
            self.lines += more
        line, self.lines = self.lines.split(b"\n", 1)
        return json.loads(line)

    def command(self, name, /, **arguments):
        self.socket.sendall(json.dumps({"execute": name, "arguments": arguments}).encode() + b"\n")
        while True:
            reply = self._read()
            if "error" in reply:
                raise Failed(f"{name}: {reply['error']['desc']}")
            if "return" in reply:
                return reply["return"]

    def wait_migration(self, *states):
        """Until query-migrate has one of these; a step that fails raises."""
        while True:
            info = self.command("query-migrate")
            status = info.get("status", "none")
            if status in states:
                return status
            if status in ("failed", "cancelled"):
                raise Failed(f"migration {status}: {info.get('error-desc', 'no reason given')}")
            self.wait_event("MIGRATION")

    def wait_passes(self, count):
        """Until memory was gone through so often."""
        while self.command("query-migrate").get("ram", {}).get("dirty-sync-count", 0) < count:
            self.wait_event("MIGRATION_PASS")

    def wait_event(self, name, longest_s=0.05):
        """Until the event or a little while: it may have come before we asked."""
        try:
            while self._read(longest_s).get("event") != name:
                pass
        except TimeoutError:
            pass

    def close(self):
        self.socket.close()


class Qemu:
    """One process; listening sockets are ours before it exists, so nobody has to wait for them."""

    def __init__(self, binary, machine, folder, name, extra, deadline):
        self.path = os.path.join(folder, name + ".qmp")
        self.log_path = os.path.join(folder, name + ".log")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self.path)
        listener.listen(1)
        command = [binary, "-nodefaults", "-no-user-config", "-display", "none", "-accel", "tcg",
                   "-machine", machine, "-name", name,
                   "-chardev", f"socket,id=qmp,fd={listener.fileno()},server=on,wait=off",
                   "-mon", "chardev=qmp,mode=control", *extra]
        with open(self.log_path, "wb") as log:
            try:
                self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log,
                                                stderr=log, pass_fds=[listener.fileno()])
            except OSError as error:
                raise Unavailable(f"{binary}: {error}") from error
        listener.close()
        try:
            self.qmp = Qmp(self.path, deadline)
        except (Failed, OSError) as error:
            self.kill()
            raise Failed(f"{name}: {error}: {self.log()}") from error

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            return log.read().strip()

    def kill(self):
        self.process.kill()
        self.process.wait()


class Relay:
    """Listens for the source, dials the destination for each connection in the order in which they
    come (7.2 takes the first one for main), and records both directions."""

    def __init__(self, folder, out, unmarked):
        self.unmarked = unmarked
        self.listen_path = os.path.join(folder, "relay")
        self.dial_path = os.path.join(folder, "destination")
        self.out = out
        self.connections = []
        self.threads = []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.listen_path)
        self.listener.listen(64)
        self._start(self._accept)

    def _start(self, function, *arguments):
        thread = threading.Thread(target=function, args=arguments, daemon=True)
        self.threads.append(thread)
        thread.start()

    def _accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX)
            try:
                far.connect(self.dial_path)
            except OSError:
                # The destination is gone; its source is to see that too.
                near.close()
                continue
            number = len(self.connections)
            self.connections.append((near, far))
            self._start(self._copy, near, far, self._raw(number, "forward"))
            self._start(self._copy, far, near, self._raw(number, "return"))

    def _raw(self, number, direction):
        return os.path.join(self.out, f"connection-{number}.{direction}")

    @staticmethod
    def _copy(source, sink, path):
        with open(path, "wb") as record:
            while True:
                try:
                    data = source.recv(CHUNK)
                    record.write(data)
                    sink.sendall(data)
                except OSError:
                    data = b""
                if not data:
                    break
        try:
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def cut(self):
        """As when the network is gone: both sides see the end of every connection."""
        for pair in self.connections:
            for end in pair:
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def close(self):
        """Ends the listener; the copies end when both QEMUs are gone. Names the files."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for thread in self.threads:
            thread.join(10)
        for pair in self.connections:
            for end in pair:
                end.close()
        return self._name_files()

    def _name_files(self):
        names, multifd, unmarked = [], 0, iter(self.unmarked)
        for number in range(len(self.connections)):
            with open(self._raw(number, "forward"), "rb") as record:
                magic = record.read(4)
            if magic == MULTIFD_MAGIC:
                name, multifd = f"multifd-{multifd}", multifd + 1
            elif number == 0 and magic == MAIN_MAGIC:
                name = "main"
            else:
                name = next(unmarked, f"unknown-{number}")
            names.append(name)
            for direction in ("forward", "return"):
                os.rename(self._raw(number, direction),
                          os.path.join(self.out, f"{name}.{direction}"))
        return names


def write_memory(path, mib):
    """What the guest's memory holds from 1 MiB on: noise, text, zeros in turn by 64 KiB, the same
    bytes each time."""
    noise = random.Random(1)
    text = b"".join(b"page %08d of a guest that does nothing\n" % i for i in range(2000))
    with open(path, "wb") as memory:
        for i in range(mib * 16):
            memory.write((noise.randbytes(65536), text[i:i + 65536], bytes(65536))[i % 3])


def capabilities(options):
    wanted = ["return-path", "events"]
    wanted += ["multifd"] if options.multifd != "off" else []
    wanted += ["postcopy-ram"] if options.postcopy else []
    wanted += ["postcopy-preempt"] if options.preempt else []
    wanted += ["switchover-ack"] if options.switchover_ack else []
    wanted += ["xbzrle"] if options.xbzrle else []
    wanted += ["dirty-bitmaps"] if options.bitmaps else []
    wanted += ["x-ignore-shared"] if options.ignore_shared else []
    return [{"capability": name, "state": True} for name in wanted]


def unmarked_connections(options):
    """Names of those that begin with no magic, in the order in which a source makes them."""
    names = ["preempt"] if options.preempt else []
    return names + (["recovery"] + ["recovery-preempt"] * options.preempt) * options.recover


def prepare(qmp, options):
    try:
        qmp.command("migrate-set-capabilities", capabilities=capabilities(options))
    except Failed as error:
        raise Unavailable(str(error)) from error
    if options.multifd != "off":
        qmp.command("migrate-set-parameters", **{"multifd-channels": options.channels,
                                                 "multifd-compression": options.multifd})


def recover(source, destination, relay, folder, options):
    """Cuts the connection in postcopy, and resumes on new ones through the same relay."""
    source.qmp.wait_migration("postcopy-active")
    # Until the destination runs: its package is loaded, so that there is something to resume.
    destination.qmp.wait_migration("postcopy-active")
    relay.cut()
    source.qmp.wait_migration("postcopy-paused")
    destination.qmp.wait_migration("postcopy-paused")
    relay.dial_path = os.path.join(folder, "again")
    destination.qmp.command("migrate-recover", uri="unix:" + relay.dial_path)
    source.qmp.command("migrate-set-parameters", **{"max-postcopy-bandwidth": 0})
    source.qmp.command("migrate", uri="unix:" + relay.listen_path, resume=True)


def migrate(source, destination, relay, folder, options):
    for qemu in (source, destination):
        prepare(qemu.qmp, options)
    destination.qmp.command("migrate-incoming", uri="unix:" + relay.dial_path)
    if options.postcopy:
        # So slow that it cannot be over before postcopy begins.
        source.qmp.command("migrate-set-parameters", **{"max-bandwidth": 1 << 20})
        # And so slow that the guest misses pages before they come by themselves.
        source.qmp.command("migrate-set-parameters",
                           **{"max-postcopy-bandwidth": 1 << (20 if options.recover else 23)})
    if options.xbzrle:
        # So that there is more than one pass, and what was sent is sent again.
        source.qmp.command("migrate-set-parameters", **{"max-bandwidth": 8 << 20,
                                                        "downtime-limit": 1})
    source.qmp.command("migrate", uri="unix:" + relay.listen_path)
    if options.xbzrle:
        source.qmp.wait_passes(3)
        source.qmp.command("migrate-set-parameters", **{"downtime-limit": 2000})
    if options.postcopy:
        source.qmp.wait_migration("active")
        source.qmp.command("migrate-start-postcopy")
    if options.recover:
        recover(source, destination, relay, folder, options)
    source.qmp.wait_migration("completed")
    destination.qmp.wait_migration("completed")


DISK_BYTES = 64 << 20
SECTOR = 512
# A boot sector (16 bits, at 0x7c00) that adds one to a word in each page from 128 KiB to 512 KiB,
# again and again: pages that change a little while they are sent.
DIRTIES = bytes.fromhex(
    "fa"            # cli
    "b80020"        # again: mov ax, 0x2000
    "8ed8"          # next: mov ds, ax
    "ff060000"      # inc word [0]
    "050001"        # add ax, 0x100: a page further
    "3d0080"        # cmp ax, 0x8000
    "72f2"          # jb next
    "ebed")         # jmp again


def write_boot_disk(path):
    with open(path, "wb") as disk:
        disk.write(DIRTIES.ljust(SECTOR - 2, b"\0") + b"\x55\xaa")
        disk.truncate(1440 << 10)


def devices(options, folder, side):
    """Beside the machine's own; the same on both sides but for the files."""
    arguments = []
    if options.xbzrle:
        path = os.path.join(folder, side + ".boot")
        write_boot_disk(path)
        arguments += ["-drive", f"if=none,id=boot,format=raw,file={path}",
                      "-device", "ide-hd,drive=boot"]
    if options.bitmaps:
        path = os.path.join(folder, side + ".disk")
        with open(path, "wb") as disk:
            disk.truncate(DISK_BYTES)
        arguments += ["-blockdev", f"driver=file,node-name=disk,filename={path}"]
    if options.virtio_mem:
        arguments += ["-object", "memory-backend-ram,id=plug,size=64M",
                      "-device", "virtio-mem-pci,memdev=plug,requested-size=16M"]
    return arguments


def mark_bitmaps(qmp):
    """Two bitmaps of the disk, of which one has bits."""
    for name, granularity in (("empty", 65536), ("full", 4096)):
        qmp.command("block-dirty-bitmap-add", node="disk", name=name, granularity=granularity)
    qmp.command("human-monitor-command", **{"command-line": 'qemu-io disk "write 0 1M"'})
    qmp.command("human-monitor-command", **{"command-line": 'qemu-io disk "write 63M 1M"'})


def run_pair(options, folder, relay, deadline):
    memory = os.path.join(folder, "memory")
    write_memory(memory, min(8, options.memory // 2))
    size = f"{options.memory},maxmem=256M" if options.virtio_mem else str(options.memory)
    shared = ["-m", size]
    state = [] if options.running else ["-S"]
    destination = Qemu(options.destination_qemu, options.machine, folder, "destination-qemu",
                       [*shared, *devices(options, folder, "destination"), *state,
                        "-incoming", "defer"], deadline)
    try:
        source = Qemu(options.qemu, options.machine, folder, "source-qemu",
                      [*shared, *devices(options, folder, "source"), *state, "-device",
                       f"loader,file={memory},addr=0x100000,force-raw=on"], deadline)
        try:
            if options.bitmaps:
                mark_bitmaps(source.qmp)
            migrate(source, destination, relay, folder, options)
        except Failed as error:
            raise Failed(f"{error}; {source.log()}; {destination.log()}") from error
        finally:
            source.kill()
    finally:
        destination.kill()


def capture(options):
    """Makes the files in options.out; returns the names of the connections, in their order."""
    options.destination_qemu = options.destination_qemu or options.qemu
    for binary in (options.qemu, options.destination_qemu):
        if not shutil.which(binary):
            raise Unavailable(f"no {binary}")
    os.makedirs(options.out, exist_ok=True)
    for name in os.listdir(options.out):
        if name.endswith((".forward", ".return", "capture.json")):
            os.unlink(os.path.join(options.out, name))
    with tempfile.TemporaryDirectory(prefix="sealift-capture.") as folder:
        relay = Relay(folder, options.out, unmarked_connections(options))
        try:
            run_pair(options, folder, relay, time.monotonic() + options.deadline)
        finally:
            names = relay.close()
    with open(os.path.join(options.out, "capture.json"), "w", encoding="utf-8") as record:
        json.dump({"machine": options.machine, "multifd": options.multifd, "connections": names},
                  record, indent=1)
    return names


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("out", metavar="OUTDIR")
    parser.add_argument("--qemu", default="qemu-system-x86_64", metavar="BIN")
    parser.add_argument("--destination-qemu", metavar="BIN", help="default: the same")
    parser.add_argument("--machine", default="q35", metavar="M")
    parser.add_argument("--multifd", default="off", choices=["none", "zlib", "zstd", "off"])
    parser.add_argument("--channels", type=int, default=2, metavar="N")
    parser.add_argument("--memory", type=int, default=32, metavar="MIB")
    parser.add_argument("--running", action="store_true", help="the guest runs: its firmware does")
    parser.add_argument("--postcopy", action="store_true", help="and it runs")
    parser.add_argument("--preempt", action="store_true", help="postcopy with its own channel")
    parser.add_argument("--recover", action="store_true", help="postcopy that is cut once")
    parser.add_argument("--switchover-ack", action="store_true", help="since 8.1")
    parser.add_argument("--xbzrle", action="store_true", help="and it boots a disk that changes pages")
    parser.add_argument("--bitmaps", action="store_true", help="dirty bitmaps of a disk that it does "
                        "not see, node `disk`")
    parser.add_argument("--virtio-mem", action="store_true", help="a device that goes early")
    parser.add_argument("--ignore-shared", action="store_true", help="x-ignore-shared")
    parser.add_argument("--deadline", type=float, default=60, metavar="SECONDS")
    options = parser.parse_args(arguments)
    options.postcopy |= options.preempt or options.recover
    options.running |= options.postcopy or options.xbzrle
    return options


def main():
    options = parse(sys.argv[1:])
    try:
        names = capture(options)
    except Unavailable as error:
        print(f"capture: {error}", file=sys.stderr)
        return 77
    except (Failed, OSError) as error:
        print(f"capture: {error}", file=sys.stderr)
        return 1
    for name in names:
        sizes = [os.path.getsize(os.path.join(options.out, f"{name}.{direction}"))
                 for direction in ("forward", "return")]
        print(f"{name}: {sizes[0]} bytes forward, {sizes[1]} back")
    return 0


if __name__ == "__main__":
    sys.exit(main())
