#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What the guard lets through is what QEMU loads:

    test_guard_differential.py RECONSTRUCT [CASE...]

A QEMU whose guest (or firmware) has run is migrated through a recording relay into another one that
stays paused. The recorded channels go through a guard, and from what comes out of it RECONSTRUCT
(reconstruct.c) builds every block of RAM and every section of device state. The same is taken from
the QEMU that has loaded: the guest's memory from the file behind it, everything from the stream of a
second migration into a file, which is read here and not by the project's decoders. All must be equal
to the byte, but for the fields of DIFFERS. In postcopy the destination, started with -S, stays
paused behind POSTCOPY_RUN too; it is made to ask for pages by reading its memory from outside, so
that there is something on the preempt channel. At the end of each case one byte of a page and one of a
device's field is changed in what was recorded: the comparison must find each.

SEALIFT_QEMU, SEALIFT_STOCK_QEMU and SEALIFT_GUEST_DIR as for the other tests here. Exit status 77:
no case could be tried.
"""

import argparse
import contextlib
import importlib.machinery
import importlib.util
import json
import os
import random
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(TOP, "tests/qemustream"))
sys.path.insert(0, HERE)
import capture  # noqa: E402
import test_guard_busy  # noqa: E402

DEADLINE_S = 120
PAGE = 4096
SHARED_MEMORY = "/dev/shm"
ASKED = 64  # pages all over the guest's memory from 1 MiB on
CONSOLE_WAIT = re.compile(rb"^walker t=([2-9]|\d\d)", re.M)


def new_qemu():
    return shutil.which(os.environ.get("SEALIFT_QEMU", "qemu-system-x86_64"))


def stock_qemu():
    path = os.environ.get("SEALIFT_STOCK_QEMU",
                          os.path.join(TOP, "build/stock-qemu/qemu-system-x86_64"))
    return path if os.path.exists(path) else None


class Case:
    def __init__(self, machine, source=new_qemu, destination=new_qemu, channels=0, guest=False,
                 waiting=None, compression="none", postcopy=False, preempt=False, refused=None):
        self.machine, self.source, self.destination = machine, source, destination
        self.channels, self.guest = channels, guest
        self.waiting = waiting  # on which disk a request of the firmware does, as one fails
        self.compression = compression
        self.postcopy, self.preempt = postcopy or preempt, preempt
        self.refused = refused  # by which rule the guard refuses it, as GUARD.md says

    def agreed(self):
        words = [f"multifd-{self.compression}"] if self.compression != "none" else []
        words += ["postcopy-ram"] if self.postcopy else []
        return ",".join(words + (["postcopy-preempt"] if self.preempt else []))


CASES = {
    "main": Case("q35"),
    "i440fx": Case("pc"),
    "multifd-2": Case("q35", channels=2),
    "multifd-4": Case("q35", channels=4),
    "zlib": Case("q35", channels=2, compression="zlib"),
    "zstd": Case("q35", channels=4, compression="zstd"),
    "up": Case("pc-q35-7.2", source=stock_qemu),
    "up-multifd": Case("pc-q35-7.2", source=stock_qemu, channels=2),
    "busy": Case("q35", guest=True),
    "busy-multifd": Case("q35", guest=True, channels=4),
    "busy-zstd": Case("q35", guest=True, channels=2, compression="zstd"),
    "busy-i440fx": Case("pc", guest=True),
    "waiting-blk": Case("q35", waiting="blk"),
    "waiting-scsi": Case("q35", waiting="scsi"),
    "waiting-usb": Case("q35", waiting="usb"),
    "waiting-ide": Case("q35", waiting="ide"),
    "postcopy": Case("q35", postcopy=True),
    "postcopy-i440fx": Case("pc", postcopy=True),
    "postcopy-up": Case("pc-q35-7.2", source=stock_qemu, postcopy=True),
    "postcopy-old": Case("pc-q35-7.2", source=stock_qemu, destination=stock_qemu, postcopy=True),
    "postcopy-waiting-blk": Case("q35", waiting="blk", postcopy=True),
    "postcopy-waiting-scsi": Case("q35", waiting="scsi", postcopy=True,
                                  refused="guard-device-field-scsi"),
    "postcopy-waiting-usb": Case("q35", waiting="usb", postcopy=True),
    "postcopy-waiting-ide": Case("q35", waiting="ide", postcopy=True),
    "postcopy-busy": Case("q35", guest=True, postcopy=True),
    "postcopy-busy-i440fx": Case("pc", guest=True, postcopy=True),
    "preempt": Case("q35", preempt=True),
    "preempt-busy": Case("q35", guest=True, preempt=True),
}

# What QEMU has otherwise than it came, and may: device, path, which bytes of the field, why.
RTC_BYTES = (*range(10), 0x0a, 0x0c, 0x32)  # time and date, and that they were updated
DIFFERS = [
    ("globalstate", "size|runstate|(has_)?vm_was_suspended|unused", None,
     "the guest ran there and is paused here; 7.2 describes it as one field"),
    ("mc146818rtc", "cmos_data", RTC_BYTES, "the time of day: it goes on while QEMU is paused"),
    ("mc146818rtc", "update_timer|next_alarm_time", None, "the same clock's next second"),
]


class Skip(Exception):
    """This machine cannot try the case."""


# --- two QEMUs ---


def load_script(path):
    name = os.path.basename(path).replace("-", "_")
    loader = importlib.machinery.SourceFileLoader(name, path)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
    loader.exec_module(module)
    return module


MAKER = load_script(os.path.join(TOP, "tests/qemustream/make-device-streams"))
TWIN = load_script(os.path.join(HERE, "make-twin"))


def guest_folder():
    folder = os.environ.get("SEALIFT_GUEST_DIR", os.path.join(TOP, "build/guest"))
    if not os.path.exists(os.path.join(folder, "initrd.img")):
        raise Skip("no guest")
    return folder


class Side:
    """The source or the destination, its memory in a file that is there to be read."""

    def __init__(self, case, binary, folder, memory, name, extra):
        self.memory = os.path.join(memory, name + ".memory")
        self.console = os.path.join(folder, name + ".console")
        arguments = ["-m", str(mebibytes(case)), "-object",
                     f"memory-backend-file,id=pc.ram,size={mebibytes(case)}M,share=on,"
                     f"mem-path={self.memory}", "-chardev",
                     f"socket,id=console,path={self.console},server=on,wait=off", *extra,
                     *machine_arguments(case, folder, name)]
        self.qemu = capture.Qemu(binary, f"{case.machine},memory-backend=pc.ram", folder, name,
                                 arguments, time.monotonic() + DEADLINE_S)
        self.qmp = self.qemu.qmp

    def wait_for_guest(self):
        with socket.socket(socket.AF_UNIX) as console:
            console.settimeout(DEADLINE_S)
            console.connect(self.console)
            text = b""
            while not CONSOLE_WAIT.search(text):
                more = console.recv(4096)
                if not more:
                    raise capture.Failed("the guest's console ended")
                text += more

    def wait_for_error(self):
        while self.qmp.command("query-status")["status"] != "io-error":
            self.qmp.wait_event("STOP")

    def kill(self):
        self.qemu.kill()


def mebibytes(case):
    return 160 if case.guest else 32


def machine_arguments(case, folder, name):
    if case.waiting:
        return MAKER.failing_disk() + MAKER.WAITING[case.waiting]
    if not case.guest:
        return []
    disk = os.path.join(folder, name + ".disk")
    with open(disk, "wb") as file:
        file.truncate(16 << 20)
    arguments = MAKER.guest_machine(guest_folder(), disk)
    return arguments + (test_guard_busy.more_devices(MAKER) if "q35" in case.machine else [])


def loader_arguments(case, folder):
    """Firmware alone leaves most of the memory as it is: something to find there."""
    if case.guest:
        return []
    path = os.path.join(folder, "pattern")
    capture.write_memory(path, 8)
    return ["-device", f"loader,file={path},addr=0x100000,force-raw=on"]


def asked_pages(case):
    pages = mebibytes(case) * (1 << 20) // PAGE
    return range(256, pages, pages // ASKED)


def ask_for_pages(case, side):
    """As devices would that read the guest's memory: whoever reads waits for the page."""
    for page in asked_pages(case):
        side.qmp.command("human-monitor-command",
                         **{"command-line": f"xp /1xg {page * PAGE:#x}"})


def start_postcopy(case, source, destination):
    source.qmp.wait_migration("active")
    source.qmp.command("migrate-start-postcopy")
    destination.qmp.wait_migration("postcopy-active")
    ask_for_pages(case, destination)
    if source.qmp.command("query-migrate")["status"] != "postcopy-active":
        raise capture.Failed("postcopy was over before all pages were asked for")
    source.qmp.command("migrate-set-parameters", **{"max-postcopy-bandwidth": 0})


def options_of(case):
    words = ["unused", "--multifd", case.compression if case.channels else "off",
             "--channels", str(case.channels or 1)]
    return capture.parse(words + ["--postcopy"] * case.postcopy + ["--preempt"] * case.preempt)


def migrate(case, source, destination, relay):
    for side in (source, destination):
        capture.prepare(side.qmp, options_of(case))
    destination.qmp.command("migrate-incoming", uri="unix:" + relay.dial_path)
    if case.guest:
        source.wait_for_guest()
    if case.waiting:
        source.wait_for_error()
    if case.postcopy:
        # Slow, so that neither part is over before it was asked for something.
        source.qmp.command("migrate-set-parameters", **{"max-bandwidth": 1 << 20,
                                                        "max-postcopy-bandwidth": 1 << 20})
    source.qmp.command("migrate", uri="unix:" + relay.listen_path)
    if case.postcopy:
        start_postcopy(case, source, destination)
    source.qmp.wait_migration("completed")
    destination.qmp.wait_migration("completed")
    status = destination.qmp.command("query-status")["status"]
    if case.postcopy and status != "paused":
        raise AssertionError(f"the destination is {status} after postcopy")


def migrate_out(side, path):
    """All that it has, into a file. Not multifd: this stream is read here."""
    side.qmp.command("migrate-set-capabilities", capabilities=[
        {"capability": name, "state": False}
        for name in ("multifd", "postcopy-preempt", "postcopy-ram", "return-path")])
    side.qmp.command("migrate-set-parameters", **{"max-bandwidth": 1 << 40})
    side.qmp.command("migrate", uri=f"exec:cat > '{path}'")
    side.qmp.wait_migration("completed")


@contextlib.contextmanager
def memory_folder(case, folder):
    """Where the guest's memory lies: a postcopied one must be in a tmpfs, as userfaultfd wants it."""
    if not case.postcopy:
        yield folder
        return
    if not os.access(SHARED_MEMORY, os.W_OK):
        raise Skip("no " + SHARED_MEMORY)
    with tempfile.TemporaryDirectory(prefix="sealift-differential.", dir=SHARED_MEMORY) as memory:
        yield memory


def record(case, folder):
    """OUT/*.forward as capture.py has them; OUT/memory and OUT/after of the QEMU that loaded."""
    out = os.path.join(folder, "out")
    os.mkdir(out)
    relay = capture.Relay(folder, out, capture.unmarked_connections(options_of(case)))
    sides = []
    with memory_folder(case, folder) as memory:
        try:
            sides.append(Side(case, case.destination(), folder, memory, "destination-qemu",
                              ["-S", "-incoming", "defer"]))
            sides.append(Side(case, case.source(), folder, memory, "source-qemu",
                              loader_arguments(case, folder)))
            destination, source = sides
            migrate(case, source, destination, relay)
            shutil.copyfile(destination.memory, os.path.join(out, "memory"))
            migrate_out(destination, os.path.join(out, "after"))
        finally:
            for side in sides:
                side.kill()
            relay.close()
    return out


def make_twin(case, folder, out):
    arguments = machine_arguments(case, folder, "twin")
    if case.guest:
        arguments = ["-chardev", "null,id=console", *arguments]
    return TWIN.make(argparse.Namespace(
        out=out, qemu=case.destination(), machine=case.machine, memory=mebibytes(case),
        memory_id="pc.ram", arguments=arguments))


# --- the stream of the QEMU that has loaded, read without the project's decoders ---


def read_blocks(data, at, left, blocks):
    while left > 0:
        name = data[at + 1:at + 1 + data[at]].decode()
        at += 1 + data[at]
        size, = struct.unpack_from(">Q", data, at)
        blocks[name] = bytearray(size)
        at, left = at + 8, left - size
    return at


def read_ram(data, at, blocks, block):
    """The records of one section (migration/ram.c), into blocks; where it ends."""
    while True:
        word, = struct.unpack_from(">Q", data, at)
        at += 8
        flags, offset = word & (PAGE - 1), word & ~(PAGE - 1)
        if flags == 0x04:
            at = read_blocks(data, at, offset, blocks)
        elif flags & ~0x20 in (0x02, 0x08):
            if not flags & 0x20:
                block = data[at + 1:at + 1 + data[at]].decode()
                at += 1 + data[at]
            size = 1 if flags & 0x02 else PAGE
            blocks[block][offset:offset + PAGE] = data[at:at + PAGE] if size == PAGE else bytes(PAGE)
            at += size
        elif flags == 0x10:
            return at, block
        elif flags != 0x200:
            raise AssertionError(f"a record of RAM with flags {flags:#x}")


def read_after(path):
    with open(path, "rb") as file:
        data = file.read()
    at, blocks, block = 13 + struct.unpack_from(">I", data, 9)[0], {}, None
    while data[at] != 4:
        if data[at] == 8:
            at += 5 + struct.unpack_from(">H", data, at + 3)[0]
            continue
        at += 5 + (1 + data[at + 5] + 8 if data[at] == 1 else 0)
        at, block = read_ram(data, at, blocks, block)
        at += 5
    return blocks, data[at:]


def cut_sections(held):
    """(name, instance) to payload: by the order in the description, and what stands around it."""
    end = next(mark.start() for mark in re.finditer(rb"\x00\x06(.{4})\{", held, re.S)
               if int.from_bytes(mark.group(1), "big") == len(held) - mark.start() - 6)
    description = json.loads(held[end + 6:])
    at, footer, sections, key = 0, b"", {}, None
    for device in description["devices"] + [None]:
        if device:
            name = device["name"].encode()
            header = re.escape(bytes([len(name)]) + name +
                               struct.pack(">I", device["instance_id"]))
            pattern = re.compile(re.escape(footer) + rb"\x04(.{4})" + header + rb".{4}", re.S)
            found = pattern.search(held, at)
        else:
            found = re.compile(re.escape(footer) + rb"\Z", re.S).search(held, at, end)
        if not found:
            raise AssertionError(f"no section of {device}")
        if key:
            sections[key] = held[at:found.start()]
        if device:
            key, at = (device["name"], device["instance_id"]), found.end()
            footer = b"\x7e" + found.group(1)
    return sections


# --- comparing ---


class State:
    """Device state as RECONSTRUCT wrote it."""

    def __init__(self, folder):
        with open(os.path.join(folder, "held"), "rb") as file:
            self.held = file.read()
        self.held_at = None  # of a stream that was reconstructed
        if os.path.exists(os.path.join(folder, "held_at")):
            with open(os.path.join(folder, "held_at"), encoding="ascii") as file:
                self.held_at = int(file.read())
        self.sections, self.fields, self.starts = {}, {}, {}
        for name, instance, at, size in self.lines(folder, "sections"):
            self.sections[name, int(instance)] = self.held[int(at):int(at) + int(size)]
            self.starts[name, int(instance)] = int(at)
        for name, instance, path, at, size in self.lines(folder, "fields"):
            key = name, int(instance)
            self.fields.setdefault(key, {})[path] = int(at), int(size)

    @staticmethod
    def lines(folder, name):
        with open(os.path.join(folder, name), encoding="ascii") as file:
            return [line.rstrip("\n").split("\t") for line in file]

    def bytes_of(self, key, path):
        if path not in self.fields[key]:
            return None
        at, size = self.fields[key][path]
        return self.held[at:at + size]

    def same_place(self, key, path, other):
        """Whether the other has these bytes where this field is, under whatever name."""
        at, size = self.fields[key][path]
        at -= self.starts[key]
        return self.bytes_of(key, path) == other.sections[key][at:at + size]


def short(data):
    return "nothing" if data is None else data[:24].hex() + ("..." if len(data) > 24 else "")


def is_allowed(key, path, a, b):
    for row in DIFFERS:
        device, field, places, _ = row
        if not re.fullmatch(device, key[0]) or not re.fullmatch(field, path):
            continue
        if places is None or (a and b and len(a) == len(b) and all(
                at in places for at, pair in enumerate(zip(a, b)) if pair[0] != pair[1])):
            return True
    return False


def differing_fields(key, ours, theirs):
    for path in {**ours.fields[key], **theirs.fields[key]}:
        a, b = ours.bytes_of(key, path), theirs.bytes_of(key, path)
        # A package has no names: of what the twin lacks the guard knows the length alone.
        if a is None and theirs.same_place(key, path, ours):
            continue
        if b is None and ours.same_place(key, path, theirs):
            continue
        if a != b:
            yield path, a, b


def compare_state(ours, theirs):
    if set(ours.sections) != set(theirs.sections):
        return [f"sections {set(ours.sections) ^ set(theirs.sections)} of one side only"]
    found = []
    for key in ours.sections:
        if ours.sections[key] == theirs.sections[key]:
            continue
        fields = list(differing_fields(key, ours, theirs))
        if not fields:
            found.append(f"{key[0]} instance {key[1]}: the same fields, other bytes")
        for path, a, b in fields:
            if not is_allowed(key, path, a, b):
                found.append(f"{key[0]} instance {key[1]}, {path}: guard {short(a)}, QEMU {short(b)}")
    return found


def first_difference(a, b):
    return next(at for at in range(0, len(a), PAGE) if a[at:at + PAGE] != b[at:at + PAGE])


def compare_ram(folder, blocks, memory):
    names = {name.replace("!", "/") for name in os.listdir(folder)}
    if names != set(blocks):
        return [f"blocks {sorted(names)}, QEMU has {sorted(blocks)}"]
    found = []
    for name, theirs in sorted(blocks.items()):
        with open(os.path.join(folder, name.replace("/", "!")), "rb") as file:
            ours = file.read()
        for what, other in [("the stream", theirs)] + [("memory", memory)] * (name == "pc.ram"):
            if len(ours) != len(other):
                found.append(f"block {name}: {len(ours)} bytes, QEMU's {what} has {len(other)}")
            elif ours != other:
                at = first_difference(ours, other)
                found.append(f"block {name}, page {at:#x}: not as in QEMU's {what}")
    return found


class Loaded:
    """What QEMU has after loading."""

    def __init__(self, program, folder, out):
        self.blocks, held = read_after(os.path.join(out, "after"))
        with open(os.path.join(out, "memory"), "rb") as file:
            self.memory = file.read()
        path = os.path.join(folder, "after.held")
        with open(path, "wb") as file:
            file.write(held)
        call(program, "state", os.path.join(folder, "after"), path)
        self.state = State(os.path.join(folder, "after"))
        if self.state.sections != cut_sections(held):
            raise AssertionError("sections of the second stream were cut otherwise")


def call(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False)
    if done.returncode:
        raise AssertionError(done.stdout.strip())


def reconstruct(program, folder, machine, agreed, out):
    channels = sorted(name for name in os.listdir(out)
                      if name.startswith("multifd-") and name.endswith(".forward"))
    shutil.rmtree(folder, ignore_errors=True)
    channels += ["preempt.forward"] * ("preempt" in agreed)
    call(program, "stream", folder, machine,
         os.path.join(out, "twin"), os.path.join(out, "dump"), agreed,
         *(os.path.join(out, name) for name in ("main.forward", *channels)))


def compare(program, folder, machine, agreed, out, loaded):
    reconstruct(program, folder, machine, agreed, out)
    return (compare_ram(os.path.join(folder, "ram"), loaded.blocks, loaded.memory) +
            compare_state(State(folder), loaded.state))


# --- that the comparison can fail ---


def change_byte(path, data, at):
    with open(path, "wb") as file:
        file.write(data[:at] + bytes([data[at] ^ 0xff]) + data[at + 1:])


def must_fail(check, path, at, expected):
    with open(path, "rb") as file:
        data = file.read()
    change_byte(path, data, at)
    try:
        found = check()
    finally:
        with open(path, "wb") as file:
            file.write(data)
    if len(found) < 1 or not all(expected in text for text in found):
        raise AssertionError(f"byte {at} of {os.path.basename(path)} was changed, found: {found}")


def find_page(folder, out, asked=None):
    """A file, and where in it stands a byte of a page that came once: it is amid bytes that stand
    nowhere else, so that it is in no header either. asked: one of these pages, which came on the
    preempt channel."""
    with open(os.path.join(folder, "ram", "pc.ram"), "rb") as file:
        ram = file.read()
    streams = {}
    for name in sorted(name for name in os.listdir(out) if name.endswith(".forward")):
        with open(os.path.join(out, name), "rb") as file:
            streams[name] = file.read()
    # Here and there, since a guest's first pages come again; always the same places.
    pages = random.Random(1).sample(range(256, len(ram) // PAGE), len(ram) // PAGE - 256)
    for page in asked or pages:
        offset = page * PAGE
        # A short piece: CPython looks for long ones slowly.
        piece = ram[offset + PAGE // 2:offset + PAGE // 2 + 64]
        if len(set(piece)) < 32:
            continue
        counts = {name: data.count(piece) for name, data in streams.items()}
        name = max(counts, key=counts.get)
        if sum(counts.values()) == 1 and (not asked or name == "preempt.forward"):
            return os.path.join(out, name), streams[name].index(piece)
    raise AssertionError("no page that came once" + " on the preempt channel" * bool(asked))


def self_test(program, folder, case, machine, out, loaded):
    agreed = case.agreed()

    def check():
        return compare(program, folder, machine, agreed, out, loaded)

    main = os.path.join(out, "main.forward")
    state = State(folder)
    # Of a compressed page no byte can be told, and one that is changed breaks the stream.
    if case.compression == "none":
        must_fail(check, *find_page(folder, out), "block pc.ram")
    if case.preempt:
        must_fail(check, *find_page(folder, out, asked_pages(case)), "block pc.ram")
    # A register of the CPU: any value may come.
    at, _ = state.fields["cpu", 0]["env.regs"]
    must_fail(check, main, state.held_at + at, "env.regs")


def must_be_refused(program, folder, case, machine, out):
    try:
        reconstruct(program, folder, machine, case.agreed(), out)
    except AssertionError as why:
        if str(why).startswith(case.refused + ":"):
            return f"refused: {why}"
        raise
    raise AssertionError(f"passed, and is refused by {case.refused} as GUARD.md says")


def run_case(program, folder, case):
    if not case.source() or not case.destination():
        raise Skip("no SEALIFT_STOCK_QEMU")
    if case.guest:
        guest_folder()
    try:
        out = record(case, folder)
        machine = make_twin(case, folder, out)
    except capture.Unavailable as why:
        raise Skip(str(why)) from why
    except (capture.Failed, OSError) as why:
        raise AssertionError(str(why)) from why
    built = os.path.join(folder, "built")
    if case.refused:
        return must_be_refused(program, built, case, machine, out)
    loaded = Loaded(program, folder, out)
    found = compare(program, built, machine, case.agreed(), out, loaded)
    if found:
        raise AssertionError("\n    ".join([""] + found[:100]))
    self_test(program, built, case, machine, out, loaded)
    return (f"{len(loaded.blocks)} blocks, {sum(map(len, loaded.blocks.values())) >> 20} MiB; "
            f"{len(loaded.state.sections)} sections, "
            f"{sum(map(len, loaded.state.sections.values()))} bytes")


def main():
    program, wanted = sys.argv[1], sys.argv[2:] or list(CASES)
    if not new_qemu():
        print("test_guard_differential.py: no QEMU")
        return 77
    passed = skipped = failed = 0
    for name in wanted:
        with tempfile.TemporaryDirectory(prefix="sealift-differential.") as folder:
            try:
                print(f"{name}: ok: {run_case(program, folder, CASES[name])}", flush=True)
                passed += 1
            except Skip as why:
                skipped += 1
                print(f"{name}: skipped: {why}", flush=True)
            except AssertionError as why:
                failed += 1
                print(f"{name}: FAILED: {why}", flush=True)
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0 if passed else 77


if __name__ == "__main__":
    sys.exit(main())
