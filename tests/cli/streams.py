# SPDX-License-Identifier: Apache-2.0
"""Hand-made streams of QEMU's migration, byte for byte, and a second reader of real ones, for
test_inspect.py: written from QEMU's migration/savevm.c and ram.c, not from what is tested."""

import json
import struct

PAGE = 4096
MACHINE = "pc-q35-10.0"


def name(text):
    return bytes([len(text)]) + text.encode()


def be32(*numbers):
    return struct.pack(f">{len(numbers)}I", *numbers)


def be64(*numbers):
    return struct.pack(f">{len(numbers)}Q", *numbers)


def header(machine=MACHINE):
    return b"QEVM" + be32(3) + b"\7" + be32(len(machine)) + machine.encode()


def command(number, data=b""):
    return b"\x08" + struct.pack(">HH", number, len(data)) + data


def begin(kind, section, idstr=None, instance=0, version=4):
    first = bytes([kind]) + be32(section)
    return first if idstr is None else first + name(idstr) + be32(instance, version)


def footer(section):
    return b"\x7e" + be32(section)


def blocks(**sizes):
    return be64(sum(sizes.values()) | 4) + b"".join(
        name(block) + be64(size) for block, size in sizes.items())


def zero(offset, block=None):
    return be64(offset | (2 if block else 0x22)) + (name(block) if block else b"") + b"\0"


def page(offset, fill, block=None):
    return be64(offset | (8 if block else 0x28)) + (name(block) if block else b"") + fill * PAGE


EOS = be64(0x10)


def ram(start=None):
    """START, a PART with four pages, END; `start` in the place of what the first one has."""
    start = blocks(low=4 * PAGE, high=2 * PAGE) + EOS if start is None else start
    return (begin(1, 2, "ram") + start + footer(2) +
            begin(2, 2) + page(0, b"a", "low") + page(PAGE, b"b") + zero(2 * PAGE) +
            zero(0, "high") + EOS + footer(2) +
            command(11) + begin(3, 2) + zero(PAGE, "high") + EOS + footer(2))


def field(label, kind, size, **more):
    return {"name": label, "type": kind, "size": size, **more}


DEVICES = [
    ({"name": "timer", "instance_id": 0, "vmsd_name": "timer", "version": 2,
      "fields": [field("ticks", "int64", 8), field("unused", "unused_buffer", 8)]},
     be64(2 ** 64 - 5) + bytes(8)),
    ({"name": "0000:00:01.0/card", "instance_id": 0, "vmsd_name": "card", "version": 7,
      "fields": [field("on", "bool", 1), field("level", "int32 equal", 4),
                 field("regs", "uint16", 2, array_len=20), field("rom", "buffer", 40),
                 {**field("port", "struct", 3, array_len=2), "struct": {
                     "vmsd_name": "port", "version": 1,
                     "fields": [field("speed", "uint8", 1), field("mtu", "uint16", 2)]}}],
      "subsections": [{"vmsd_name": "card/late", "version": 1,
                       "fields": [field("when", "uint64", 8)]}]},
     b"\1" + be32(0xffffffff) + struct.pack(">20H", *range(20)) + b"rom!" * 10 +
     b"\x05\x05\xdc\x06\x23\x28" +
     b"\x05" + name("card/late") + be32(1) + be64(0xfedcba9876543210)),
]


def devices(which=None):
    found = b""
    for section, (about, payload) in enumerate(which or DEVICES, 10):
        found += begin(4, section, about["name"], about["instance_id"], about["version"])
        found += payload + footer(section)
    return found


def vmdesc(which=None):
    text = json.dumps({"page_size": PAGE, "devices": [about for about, _ in which or DEVICES]})
    return b"\0\6" + be32(len(text)) + text.encode()


def main_stream():
    return (header() + command(1) + command(2, be32(1)) + ram() + devices() + vmdesc())


def postcopy_stream():
    inside = command(4) + devices() + command(2, be32(3)) + command(5)
    return (header() + command(1) + command(3, be64(PAGE, PAGE)) +
            begin(1, 2, "ram") + blocks(low=4 * PAGE) + EOS + footer(2) +
            command(6, b"\0" + name("low") + b"\0" + be64(0, 2 * PAGE)) +
            command(7, be32(len(inside))) + inside +
            begin(2, 2) + page(PAGE, b"p", "low") + EOS + footer(2) +
            begin(3, 2) + EOS + footer(2) + b"\0")


def packet(number, flags=0, normal=(), zeroes=(), block=""):
    offsets = be64(*normal, *zeroes)
    alloc = 128 if normal or zeroes else 0
    head = be32(0x11223344, 1, flags, alloc, len(normal), len(normal) * PAGE)
    return (head + be64(number) + be32(len(zeroes)) + bytes(28) + block.encode().ljust(256, b"\0") +
            offsets.ljust(8 * 128, b"\0") + b"m" * (len(normal) * PAGE))


def multifd_stream():
    initial = be32(0x11223344, 1) + bytes(range(16)) + b"\3" + bytes(39)
    return (initial + packet(0, flags=1) +
            packet(1, normal=(0, PAGE), zeroes=(3 * PAGE,), block="low") +
            packet(2, normal=(PAGE,), block="high") + packet(3, flags=1))


def message(kind, data=b""):
    return struct.pack(">HH", kind, len(data)) + data


def return_stream():
    return (message(7) + message(2, be32(1)) + message(3, be64(PAGE) + be32(PAGE) + name("low")) +
            message(4, be64(0) + be32(2 * PAGE)) + message(1, be32(0)))


class Walk:
    """What a real main channel without capabilities holds, read by itself: the pages of each block
    and the devices of the description."""

    def __init__(self, data):
        self.data, self.blocks = data, {}
        self.at = 13 + struct.unpack_from(">I", data, 9)[0]
        while data[self.at] != 4:
            self._item()
        self.devices_at = self.at
        text_at = data.rindex(b'{"', 0, data.index(b'"devices"', self.at))
        self.description = json.loads(data[data.rindex(b"\0\6", 0, text_at) + 6:])

    def _item(self):
        kind = self.data[self.at]
        if kind == 8:
            self.at += 5 + struct.unpack_from(">H", self.data, self.at + 3)[0]
            return
        self.at += 5
        if kind == 1:
            self.at += 1 + self.data[self.at] + 8
        while self._record():
            pass
        self.at += 5

    def _name(self):
        size = self.data[self.at]
        self.at += 1 + size
        return self.data[self.at - size:self.at].decode()

    def _record(self):
        word, = struct.unpack_from(">Q", self.data, self.at)
        self.at += 8
        flags, left = word & 0xfff, word & ~0xfff
        if flags == 4:
            while left:
                block = self._name()
                self.blocks[block] = [0, 0]
                left -= struct.unpack_from(">Q", self.data, self.at)[0]
                self.at += 8
        elif flags & 0x0a:
            if not flags & 0x20:
                self.block = self._name()
            self.blocks[self.block][1 if flags & 2 else 0] += 1
            self.at += 1 if flags & 2 else PAGE
        return flags != 0x10
