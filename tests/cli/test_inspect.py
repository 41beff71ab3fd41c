# SPDX-License-Identifier: Apache-2.0
"""`sealift inspect`: hand-made streams, good and bad; real ones of the QEMU here; hostile ones."""

import json
import os
import random
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

import streams
from fake_engine import DEADLINE_S, SEALIFT, CliTest, environment, run
from streams import PAGE, be32, be64

TREE = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
CAPTURE = os.path.join(TREE, "tests/qemustream/capture.py")
QEMU = shutil.which(os.environ.get("SEALIFT_QEMU", "qemu-system-x86_64"))
LINE = re.compile(r"^ *\d+  [a-z-]+( {1,}\S.*)?$|^ {12}  [a-z]+ +\S.*$")


def inspect(data, *arguments):
    """Of bytes, through standard input; the output as bytes that are text."""
    return subprocess.run([SEALIFT, "inspect", "-", *arguments], input=data, capture_output=True,
                          env=environment(), timeout=DEADLINE_S, check=False)


class Decoded:
    """A result with text in it, as assert_fails wants it."""

    def __init__(self, result):
        self.returncode = result.returncode
        self.stdout = result.stdout.decode("ascii")
        self.stderr = result.stderr.decode("ascii")

    def objects(self):
        return [json.loads(line) for line in self.stdout.splitlines()]


class InspectTest(CliTest):
    def look(self, data, *arguments):
        """All lines of a good stream as objects."""
        result = Decoded(inspect(data, "--json", *arguments))
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        found = result.objects()
        self.assertEqual(found[-1]["kind"], "summary")
        self.assertEqual(found[-1]["bytes"], len(data))
        for line in found:
            self.assertLess(line.get("at", -1), len(data))
        return found

    def refuse(self, data, *words, arguments=(), status=8):
        self.assert_fails(Decoded(inspect(data, *arguments)), status, *words)

    @staticmethod
    def of_kind(lines, *kinds):
        return [{key: value for key, value in line.items() if key not in ("at", "kind")}
                for line in lines if line["kind"] in kinds]


class MainChannel(InspectTest):
    def test_structure(self):
        lines = self.look(streams.main_stream())
        self.assertEqual([line["kind"] for line in lines], [
            "header", "configuration", "command", "command", "section", "ram-size", "ram-block",
            "ram-block", "section-end", "section", "pages", "pages", "section-end", "command",
            "section", "pages", "section-end", "device", "device", "eof", "vmdesc", "summary"])
        self.assertEqual(self.of_kind(lines, "configuration"), [{"machine": streams.MACHINE}])
        self.assertEqual(self.of_kind(lines, "command"), [
            {"name": "OPEN_RETURN_PATH"}, {"name": "PING", "cookie": 1},
            {"name": "SWITCHOVER_START"}])
        self.assertEqual(self.of_kind(lines, "ram-block"), [
            {"name": "low", "bytes": 4 * PAGE}, {"name": "high", "bytes": 2 * PAGE}])
        self.assertEqual(self.of_kind(lines, "pages"), [
            {"block": "low", "pages": 2, "zero_pages": 1, "bytes": 2 * (8 + PAGE) + 4 + 9},
            {"block": "high", "pages": 0, "zero_pages": 1, "bytes": 9 + 5},
            {"block": "high", "pages": 0, "zero_pages": 1, "bytes": 9 + 5}])
        self.assertEqual(self.of_kind(lines, "device"), [
            {"name": about["name"], "instance": 0, "version": about["version"], "id": 10 + i,
             "bytes": len(payload), "framed": "vmdesc"}
            for i, (about, payload) in enumerate(streams.DEVICES)])
        self.assertEqual(self.of_kind(lines, "summary")[0]["pages"], 2)

    def test_offsets_are_those_of_the_file(self):
        data = streams.main_stream()
        for line in self.look(data):
            if line["kind"] == "device":
                self.assertEqual(data[line["at"]], 4)
                self.assertEqual(data[line["at"] + 6:][:len(line["name"])], line["name"].encode())
            if line["kind"] == "eof":
                self.assertEqual(data[line["at"]:line["at"] + 2], b"\0\6")

    def test_text(self):
        result = Decoded(inspect(streams.main_stream(), "--pages", "--device", "card"))
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assert_plain(result.stdout)
        for line in result.stdout.splitlines():
            self.assertRegex(line, LINE)
        self.assertRegex(result.stdout, r"\n +29  command +PING, cookie 1\n")
        self.assertRegex(result.stdout, r"section +START ram, instance 0, version 4, id 2\n")
        self.assertRegex(result.stdout, r"field +level int32 equal, value -1\n")

    def test_file_and_standard_input_are_the_same(self):
        path = os.path.join(os.path.dirname(self.file("")), "stream")
        with open(path, "wb") as out:
            out.write(streams.main_stream())
        self.assertEqual(run("inspect", path).stdout,
                         inspect(streams.main_stream()).stdout.decode())
        self.assertEqual(run("--json", "inspect", path).stdout,
                         inspect(streams.main_stream(), "--json").stdout.decode())

    def test_pages(self):
        data = streams.main_stream()
        found = [line for line in self.look(data, "--pages") if line["kind"] == "page"]
        self.assertEqual([(line["type"], line["block"], line["offset"]) for line in found], [
            ("page", "low", 0), ("page", "low", PAGE), ("zero", "low", 2 * PAGE),
            ("zero", "high", 0), ("zero", "high", PAGE)])
        for line in found:  # the record with its flags stands where it is said to be
            word, = struct.unpack_from(">Q", data, line["at"])
            self.assertEqual(word & ~0xfff, line["offset"])
            self.assertEqual(word & 0xa, 8 if line["type"] == "page" else 2)

    def test_fields(self):
        data = streams.main_stream()
        lines = self.look(data, "--device", "0000:00:01.0/card")
        fields = {line["path"]: line for line in lines if line["kind"] == "field"}
        values = {path: line["value"] for path, line in fields.items()}
        self.assertEqual(values, {
            "on": [True], "level": [-1], "regs": list(range(16)), "rom": (b"rom!" * 8).hex(),
            "port[0]/speed": [5], "port[0]/mtu": [0x5dc], "port[1]/speed": [6],
            "port[1]/mtu": [0x2328], "card/late/when": [0xfedcba9876543210]})
        self.assertEqual((fields["regs"]["more"], fields["rom"]["more"]), (4, 8))
        self.assertEqual(data[fields["rom"]["at"]:][:4], b"rom!")
        self.assertEqual(self.of_kind(self.look(data, "--device", "timer"), "field")[0],
                         {"path": "ticks", "type": "int64", "value": [-5]})

    def test_device_that_is_not_there(self):
        self.refuse(streams.main_stream(), "no device floppy", arguments=["--device", "floppy"],
                    status=4)

    def test_postcopy_package(self):
        lines = self.look(streams.postcopy_stream(), "--pages", "--device", "card")
        self.assertEqual(self.of_kind(lines, "discard"), [{"offset": 0, "bytes": 2 * PAGE}])
        found = self.of_kind(lines, "device")
        self.assertEqual([(line["name"], line["bytes"], line["framed"]) for line in found],
                         [(about["name"], len(payload), "footer")
                          for about, payload in streams.DEVICES])
        self.assertEqual(self.of_kind(lines, "payload")[0]["bytes"], len(streams.DEVICES[1][1]))
        self.assertEqual([line["name"] for line in self.of_kind(lines, "command")][-3:],
                         ["POSTCOPY_LISTEN", "PING", "POSTCOPY_RUN"])

    def test_early_device(self):
        """One that comes before the memory has no description yet."""
        about = {"name": "soon", "instance_id": 0, "vmsd_name": "soon", "version": 1,
                 "fields": [streams.field("it", "buffer", 9)]}
        early = streams.begin(4, 3, "soon", 0, 1) + b"\x7e\0\0\0\3wait" + streams.footer(3)
        every = [(about, b""), *streams.DEVICES]
        whole = streams.ram()
        at = whole.index(streams.begin(2, 2))
        whole = streams.header() + whole[:at] + early + whole[at:] + streams.devices()
        lines = self.look(whole + streams.vmdesc(every))
        self.assertEqual([(line["name"], line["bytes"], line["framed"])
                          for line in self.of_kind(lines, "device")][:2],
                         [("soon", 9, "footer"), ("timer", 16, "vmdesc")])
        self.refuse(whole + streams.vmdesc(), "byte ", "described is 0000:00:01.0/card")
        self.refuse(streams.header() + streams.ram()[:at] + early[:-1],
                    "no end of section 3 (soon)")

    def test_dirty_bitmaps(self):
        start = b"\x1c" + streams.name("disk") + streams.name("b0") + be32(65536) + b"\1\1"
        bits = b"\x4c" + streams.name("disk") + streams.name("b0") + be64(0) + be32(128)
        data = (streams.header() + streams.begin(1, 5, "dirty-bitmap", 0, 1) + start +
                streams.footer(5) + streams.ram() + streams.begin(3, 5) + bits + be64(32) +
                bytes(32) + b"\x2c" + streams.name("disk") + streams.name("b0") + b"\1" +
                streams.footer(5) + streams.devices() + streams.vmdesc())
        lines = self.look(data)
        self.assertEqual(self.of_kind(lines, "bitmap"), [
            {"type": "START", "node": "disk", "bitmap": "b0", "granularity": 65536},
            {"type": "COMPLETE", "node": "disk", "bitmap": "b0"}])
        self.assertIn({"name": "dirty-bitmap", "id": 5, "bytes": len(bits) + 8 + 32 + 10,
                       "bitmap_bits": 1, "bitmap_zeroes": 0}, self.of_kind(lines, "section-end"))

    def test_ignore_shared(self):
        listed = b"\5" + streams.name("configuration/capabilities") + be32(1, 1) + \
            streams.name("x-ignore-shared")
        block = be64(PAGE | 4) + streams.name("low") + be64(PAGE, 0x100000) + streams.EOS
        data = (streams.header() + listed + streams.begin(1, 2, "ram") + block + streams.footer(2) +
                streams.begin(3, 2) + streams.EOS + streams.footer(2) + streams.devices() +
                streams.vmdesc())
        lines = self.look(data)
        self.assertEqual(self.of_kind(lines, "ram-block"),
                         [{"name": "low", "bytes": PAGE, "address": 0x100000}])
        self.refuse(data.replace(b"x-ignore-shared", b"x-ignore-sharks"), "byte 24",
                    "x-ignore-shark")


class BadMainChannel(InspectTest):
    def test_each_has_one_line(self):
        good = streams.main_stream()
        devices_at = good.index(streams.devices())
        first, second = streams.DEVICES
        for words, data in (
                (("byte 0", "the file ends"), b""),
                (("byte 3", "the file ends"), b"QEV"),
                (("byte 0", "magic 0x00000000", "--return-path"), bytes(64)),
                (("byte 0", "version 4"), good[:7] + b"\4" + good[8:]),
                (("byte 24", "tag 0x2a"), good[:24] + b"\x2a" + good[25:]),
                (("section 2 (ram)", "flags 0x100"),
                 streams.header() + streams.ram(streams.blocks(low=PAGE) + be64(0x100))),
                (("section 2 (ram)", "block"),
                 good.replace(streams.page(0, b"a", "low"), streams.page(0, b"a", "lob"))),
                (("footer of section 3",), good.replace(streams.footer(2), streams.footer(3), 1)),
                ((f"byte {len(good)}: 1 bytes after the end",), good + b"\0"),
                ((f"byte {len(good)}: 9 bytes after the end",), good + b"\0\6\0\0\0\1{}}"),
                ((f"byte {devices_at}", "id 2, which was begun before"),
                 good[:devices_at] + streams.begin(4, 2, "timer", 0, 2) + good[devices_at + 19:]),
                (("described is timer",),
                 good.replace(streams.name("timer"), streams.name("tamer"))),
                (("described", "version 3"),
                 good.replace(be32(0, 2) + first[1], be32(0, 3) + first[1])),
                (("main channel: device 0000:00:01.0/card, on, byte", "a bool (2, not 1)"),
                 good.replace(b"\1\xff\xff\xff\xff", b"\2\xff\xff\xff\xff")),
                (("another name",), good.replace(b"\x05\x09card/late", b"\x05\x09card/lath")),
                (("the description has 2 devices, but 1 came",),
                 streams.header() + streams.ram() + streams.devices([first]) + streams.vmdesc()),
                (("the description has 1 devices, none for this one",),
                 streams.header() + streams.ram() + streams.devices() + streams.vmdesc([first])),
                (("the description",), good[:-1] + b"]"),
                (("section 11", "tag"), good.replace(second[1], second[1][:-1]))):
            with self.subTest(words):
                self.assertNotEqual(data, good)
                self.refuse(data, *words)

    def test_json_error_is_an_object_too(self):
        result = Decoded(inspect(streams.main_stream() + b"x", "--json"))
        self.assertEqual(result.returncode, 8)
        self.assertEqual(result.objects()[-1]["error"]["category"], "peer")
        self.assertEqual(result.objects()[-2]["kind"], "vmdesc")

    def test_held_state_is_bounded(self):
        data = streams.main_stream()
        at = data.index(streams.devices())
        start = data[:at] + streams.begin(4, 10, "timer", 0, 2)
        with tempfile.TemporaryFile() as large:
            large.write(start)
            large.truncate(len(start) + (65 << 20))
            large.seek(0)
            result = run("inspect", "-", stdin=large)
        self.assert_fails(result, 9, "device state", "byte ")

    def test_description_is_bounded(self):
        text = b'{"devices":[' + b" " * (3 << 20) + b"]}"
        self.refuse(streams.header() + streams.ram() + streams.devices() + b"\0\6" + be32(len(text))
                    + text, "the description", status=9)

    def test_every_cut(self):
        for whole, arguments in ((streams.main_stream(), ()), (streams.postcopy_stream(), ()),
                                 (streams.multifd_stream(), ()),
                                 (streams.return_stream(), ("--return-path",))):
            ends = set(range(1, len(whole), 211)) | set(range(max(1, len(whole) - 40), len(whole)))
            complete = 0
            for end in sorted(ends):
                result = Decoded(inspect(whole[:end], *arguments))
                if result.returncode == 0:  # a channel that may end behind any packet or message
                    complete += 1
                    continue
                with self.subTest(end):
                    self.assert_fails(result, 8, f"byte {end}: ")
            self.assertLess(complete, len(ends) // 8)


class OtherChannels(InspectTest):
    def test_multifd(self):
        data = streams.multifd_stream()
        lines = self.look(data)
        self.assertEqual(self.of_kind(lines, "initial"),
                         [{"id": 3, "uuid": bytes(range(16)).hex()}])
        self.assertEqual(self.of_kind(lines, "pages"), [
            {"block": "low", "pages": 2, "zero_pages": 1, "bytes": 1344 + 2 * PAGE},
            {"block": "high", "pages": 1, "zero_pages": 0, "bytes": 1344 + PAGE}])
        self.assertEqual(self.of_kind(lines, "summary"), [
            {"channel": "multifd", "id": 3, "bytes": len(data), "packets": 4, "syncs": 2,
             "compression": "none", "pages": 3, "zero_pages": 1}])
        lines = self.look(data, "--pages")
        self.assertEqual([line["offset"] for line in self.of_kind(lines, "page")],
                         [0, PAGE, 3 * PAGE, PAGE])
        self.assertEqual([line["sync"] for line in self.of_kind(lines, "packet")],
                         [True, False, False, True])

    def test_bad_multifd(self):
        good = streams.multifd_stream()
        self.refuse(good + b"x", f"byte {len(good) + 1}", "the file ends inside")
        self.refuse(good[:64] + b"\0" + good[65:], "multifd channel 3, byte 64", "magic")
        self.refuse(good + streams.packet(4, flags=0x100), "flags 0x100")
        self.refuse(good[:64] + streams.packet(1, normal=(1,), block="low"), "offset 0x1")
        many = b"".join(streams.packet(i, zeroes=(0,), block=f"b{i}") for i in range(65))
        self.look(good[:64] + many[:64 * 1344])
        self.refuse(good[:64] + many, "more than 64 RAM blocks", status=9)

    def test_return_path(self):
        lines = self.look(streams.return_stream(), "--return-path")
        self.assertEqual(self.of_kind(lines, "message"), [
            {"name": "SWITCHOVER_ACK"}, {"name": "PONG", "cookie": 1},
            {"name": "REQ_PAGES_ID", "block": "low", "offset": PAGE, "bytes": PAGE},
            {"name": "REQ_PAGES", "offset": 0, "bytes": 2 * PAGE}, {"name": "SHUT", "status": 0}])
        self.assertEqual(self.look(b"", "--return-path")[-1]["messages"], 0)

    def test_bad_return_path(self):
        good = streams.return_stream()
        for words, data in ((("byte 0", "type 9"), streams.message(9)),
                            (("PONG of 3 bytes",), streams.message(2, b"abc")),
                            ((f"byte {len(good)}", "behind SHUT"), good + b"\0"),
                            (("byte 6", "the file ends inside what begins at byte 4"),
                             good[:6])):
            with self.subTest(words):
                self.refuse(data, *words, arguments=["--return-path"])
        self.refuse(good, "byte 0", "--return-path")


class Usage(CliTest):
    def test_files(self):
        self.assert_fails(run("inspect", "/nonexistent/stream"), 4, "/nonexistent/stream")
        self.assert_fails(run("inspect", "/tmp"), 2, "is a directory")
        self.assert_fails(run("inspect", "/dev/zero"), 8, "byte 0", "magic 0x00000000")
        self.assert_fails(run("inspect"), 2, "usage: sealift inspect FILE|-")
        self.assert_fails(run("inspect", "a", "b"), 2, "too much")
        self.assert_fails(run("inspect", "-", "--device"), 2, "--device needs a value")

    def test_output_that_cannot_be_written(self):
        with open("/dev/full", "w", encoding="utf-8") as full:
            result = subprocess.run([SEALIFT, "inspect", "-"], input=streams.main_stream(),
                                    stdout=full, stderr=subprocess.PIPE, env=environment(),
                                    timeout=DEADLINE_S, check=False)
        self.assertEqual(result.returncode, 14)
        self.assertIn(b"cannot write", result.stderr)


class Hostile(InspectTest):
    def test_it_reads_behind_a_filter(self):
        """It took more than a pipe holds, so it has begun to read: behind a filter."""
        start = streams.header() + streams.begin(1, 2, "ram") + streams.blocks(low=1 << 30) + \
            streams.EOS + streams.footer(2) + streams.begin(2, 2) + streams.page(0, b"x", "low")
        with subprocess.Popen([SEALIFT, "inspect", "-"], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              env=environment()) as process:
            process.stdin.write(start + b"".join(
                streams.page(PAGE * i, b"y") for i in range(1, 100)))
            process.stdin.flush()
            with open(f"/proc/{process.pid}/status", encoding="ascii") as status:
                text = status.read()
            open_files = os.listdir(f"/proc/{process.pid}/fd")
            _, errors = process.communicate(timeout=DEADLINE_S)
        self.assertRegex(text, r"\nSeccomp:\t2\n")
        self.assertRegex(text, r"\nNoNewPrivs:\t1\n")
        self.assertLessEqual(len(open_files), 4)
        self.assertEqual(process.returncode, 8)
        self.assertIn(b"the file ends", errors)

    def test_the_file_is_not_kept(self):
        """Peak memory, in KiB, does not grow with the file."""
        peaks = []
        for pages in (16, 16384):
            with tempfile.TemporaryFile() as stream:
                stream.write(streams.header() + streams.begin(1, 2, "ram") +
                             streams.blocks(low=pages * PAGE) + streams.EOS + streams.footer(2) +
                             streams.begin(2, 2) + streams.page(0, b"x", "low"))
                for i in range(1, pages):
                    stream.write(streams.page(i * PAGE, b"x"))
                stream.write(streams.EOS + streams.footer(2) + streams.begin(3, 2) + streams.EOS +
                             streams.footer(2) + streams.devices() + streams.vmdesc())
                stream.seek(0)
                with subprocess.Popen([SEALIFT, "inspect", "-"], stdin=stream, env=environment(),
                                      stdout=subprocess.DEVNULL) as process:
                    _, status, usage = os.wait4(process.pid, 0)
                    process.returncode = os.waitstatus_to_exitcode(status)
            self.assertEqual(process.returncode, 0)
            peaks.append(usage.ru_maxrss)
        self.assertLess(peaks[1] - peaks[0], 8 << 10)

    def test_broken_bytes(self):
        """Numbers and tags turned anywhere: explained or refused in one line, never more."""
        chance = random.Random(7)
        statuses = set()
        for good, arguments in ((streams.main_stream(), ["--pages", "--device", "card"]),
                                (streams.postcopy_stream(), ["--device", "timer"]),
                                (streams.multifd_stream(), ["--pages"]),
                                (streams.return_stream(), ["--return-path"])):
            for _ in range(60):
                data = bytearray(good)
                for _ in range(chance.randint(1, 3)):
                    at = chance.randrange(len(data))
                    data[at] = chance.choice((0, 1, 0x7f, 0x80, 0xff, data[at] ^ 1))
                result = inspect(bytes(data), *arguments)
                with self.subTest(data=data.hex()):
                    self.assertIn(result.returncode, (0, 4, 8, 9))
                    self.assertEqual(result.stderr.count(b"\n"), bool(result.returncode))
                    self.assertLess(len(result.stdout), 40 * len(data) + 4096)
                    self.assert_plain(Decoded(result).stdout)
                statuses.add(result.returncode)
        self.assertTrue({0, 8} <= statuses)

    def test_many_fields_are_not_all_printed(self):
        count = 70000
        about = {"name": "wide", "instance_id": 0, "vmsd_name": "wide", "version": 1, "fields": [
            {**streams.field("all", "struct", 1, array_len=count), "struct": {
                "vmsd_name": "one", "version": 1, "fields": [streams.field("it", "uint8", 1)]}}]}
        wide = [(about, bytes(count))]
        lines = self.look(streams.header() + streams.ram() + streams.devices(wide) +
                          streams.vmdesc(wide), "--device", "wide")
        self.assertEqual(len(self.of_kind(lines, "field")), 65536)
        self.assertEqual(self.of_kind(lines, "fields"), [{"left_out": count - 65536}])


@unittest.skipUnless(QEMU, "no QEMU here")
class RealStreams(InspectTest):
    def record(self, *arguments):
        folder = tempfile.TemporaryDirectory(prefix="sealift-inspect.")
        self.addCleanup(folder.cleanup)
        made = subprocess.run([sys.executable, "-B", CAPTURE, folder.name, "--qemu", QEMU,
                               *arguments], capture_output=True, text=True, check=False, timeout=90)
        if made.returncode == 77:
            self.skipTest(made.stderr.strip())
        self.assertEqual(made.returncode, 0, made.stderr)
        found = {}
        for file in os.listdir(folder.name):
            with open(os.path.join(folder.name, file), "rb") as data:
                found[file] = data.read()
        return found

    def test_main_channel(self):
        files = self.record("--memory", "16")
        data = files["main.forward"]
        walk = streams.Walk(data)
        lines = self.look(data)
        counted = {}
        for line in self.of_kind(lines, "pages"):
            pages = counted.setdefault(line["block"], [0, 0])
            pages[0] += line["pages"]
            pages[1] += line["zero_pages"]
        self.assertEqual(counted, {block: pages for block, pages in walk.blocks.items()
                                   if any(pages)})
        found = [line for line in lines if line["kind"] == "device"]
        self.assertEqual([(line["name"], line["instance"]) for line in found],
                         [(device["name"], device["instance_id"])
                          for device in walk.description["devices"]])
        # Each section ends where the next one begins: no byte is left unexplained.
        at = walk.devices_at
        for line in found:
            self.assertEqual(line["at"], at)
            at += 1 + 4 + 1 + len(line["name"]) + 8 + line["bytes"] + 5
        self.assertEqual([line["at"] for line in lines if line["kind"] == "eof"], [at])
        self.judge_fields(data, found)
        self.judge_cuts(data, walk)
        back = self.look(files["main.return"], "--return-path")
        self.assertEqual(self.of_kind(back, "message"),
                         [{"name": "PONG", "cookie": 1}, {"name": "SHUT", "status": 0}])

    def judge_fields(self, data, found):
        """The fields of a device lie in its payload one behind the other."""
        names = [device["name"] for device in found]
        for device in found[::3]:
            if names.count(device["name"]) > 1:
                continue
            start = device["at"] + 1 + 4 + 1 + len(device["name"]) + 8
            fields = [line["at"] for line in self.look(data, "--device", device["name"])
                      if line["kind"] == "field"]
            self.assertEqual(fields, sorted(fields))
            self.assertEqual(fields[0], start)
            self.assertLessEqual(fields[-1], start + device["bytes"])
        rtc = {line["path"]: line for line in self.look(data, "--device", "mc146818rtc")
               if line["kind"] == "field"}
        self.assertEqual(rtc["cmos_data"]["more"], 128 - 32)

    def judge_cuts(self, data, walk):
        tail = len(data) - walk.devices_at
        ends = list(range(1, walk.devices_at, walk.devices_at // 25)) + \
            list(range(walk.devices_at, len(data), tail // 40)) + [len(data) - 1]
        for end in ends:
            with self.subTest(end):
                self.refuse(data[:end], f"byte {end}: ")
        self.refuse(data + b"\0", f"byte {len(data)}: 1 bytes after the end")

    def test_multifd(self):
        for method in ("none", "zlib", "zstd"):
            with self.subTest(method):
                files = self.record("--memory", "16", "--multifd", method)
                summaries = [self.look(files[name])[-1] for name in sorted(files)
                             if re.fullmatch(r"multifd-\d\.forward", name)]
                self.assertEqual(sorted(line["id"] for line in summaries), [0, 1])
                self.assertEqual({line["compression"] for line in summaries}, {method})
                self.assertGreater(sum(line["pages"] for line in summaries), 1000)
                flushes = [line for line in self.look(files["main.forward"])
                           if line.get("multifd_flushes")]
                self.assertTrue(flushes)

    def test_postcopy(self):
        files = self.record("--memory", "16", "--postcopy")
        lines = self.look(files["main.forward"])
        self.assertGreater(len(self.of_kind(lines, "device")), 20)
        self.assertEqual({line["framed"] for line in self.of_kind(lines, "device")}
                         - {"grammar"}, {"footer"})
        self.assertIn({"name": "POSTCOPY_RUN"}, self.of_kind(lines, "command"))
        self.look(files["main.return"], "--return-path")


if __name__ == "__main__":
    unittest.main()
