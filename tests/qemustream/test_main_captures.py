#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Decodes main, preempt and recovery channels of real migrations from the first byte to the last:

    test_main_captures.py DECODER [CASE...]

Each case is recorded anew by capture.py. The lengths of device payloads come from the vmdesc of the
stream, read here by a second implementation. Postcopy streams have none: there each payload ends
where its footer and another item's tag stand, which no device of these machines writes by chance.
Exit status 77: no case could be recorded.
"""

import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
EOF_AND_VMDESC = b"\x00\x06"
FOOTER = b"\x7e"
SECTION_FULL, COMMAND = 4, 8
ITEM_TAGS = (0, SECTION_FULL, COMMAND)
# What else of a case is decoded, behind or beside its main channel.
SECOND = {"recover": "recovery", "preempt": "preempt"}


def stock_qemu():
    return os.environ.get("SEALIFT_STOCK_QEMU", "")


def new_qemu():
    return "qemu-system-x86_64"


# name: (QEMU, arguments of capture.py, options of the decoder, counts that must come)
CASES = {
    "plain": (new_qemu, ["--machine", "q35"], [],
              {"SWITCHOVER_START": 1, "VMDESC": 1, "GLOBAL_STATE": 1}),
    "i440fx": (new_qemu, ["--machine", "pc", "--running"], [], {"VMDESC": 1}),
    "microvm": (new_qemu, ["--machine", "microvm"], [], {"VMDESC": 1}),
    "multifd": (new_qemu, ["--machine", "q35", "--multifd", "none"], ["multifd"],
                {"ram.page": 0, "VMDESC": 1}),
    "stock": (stock_qemu, ["--machine", "pc"], [], {"SWITCHOVER_START": 0, "VMDESC": 1}),
    "stock-multifd": (stock_qemu, ["--machine", "q35", "--multifd", "none"], ["multifd"],
                      {"ram.multifd_flush": 0, "VMDESC": 1}),
    "running": (new_qemu, ["--machine", "q35", "--running"], [], {"VMDESC": 1}),
    "postcopy": (new_qemu, ["--machine", "q35", "--postcopy"], ["postcopy"],
                 {"POSTCOPY_RUN": 1, "PACKAGED": 1, "VMDESC": 0, "EOF": 1}),
    "preempt": (new_qemu, ["--machine", "q35", "--preempt"], ["postcopy"],
                {"POSTCOPY_RUN": 1, "VMDESC": 0, "EOF": 1}),
    "recover": (new_qemu, ["--machine", "q35", "--recover"], ["postcopy"],
                {"POSTCOPY_RESUME": 1, "EOF": 1}),
    "stock-running": (stock_qemu, ["--machine", "q35", "--running"], [], {"VMDESC": 1}),
    "stock-postcopy": (stock_qemu, ["--machine", "q35", "--postcopy"], ["postcopy"],
                       {"POSTCOPY_RUN": 1, "VMDESC": 0, "EOF": 1}),
}


class Skip(Exception):
    """This machine cannot record the case."""


def find_vmdesc(stream):
    """JSON text has no zero byte, so the last end mark before it is the end of the stream's items."""
    at = stream.rfind(EOF_AND_VMDESC)
    size = int.from_bytes(stream[at + 2:at + 6], "big")
    text = stream[at + 6:]
    if at < 0 or len(text) != size:
        raise AssertionError(f"no vmdesc at the end: {size} bytes announced, {len(text)} there")
    return json.loads(text)


def size_of(described):
    if "size" in described and "vmsd_name" not in described:
        return described["size"]
    fields = sum(field["size"] * field.get("array_len", 1) for field in described["fields"])
    subsections = sum(2 + len(subsection["vmsd_name"]) + 4 + size_of(subsection)
                      for subsection in described.get("subsections", []))
    return fields + subsections


def lengths_by_vmdesc(stream, _):
    return [(device["name"], device["instance_id"], size_of(device))
            for device in find_vmdesc(stream)["devices"]]


def lengths_by_footers(stream, at):
    """Of the sections from `at` on, up to the item that is none."""
    lengths = []
    while stream[at] == SECTION_FULL:
        section_id, size = stream[at + 1:at + 5], stream[at + 5]
        name = stream[at + 6:at + 6 + size]
        instance = int.from_bytes(stream[at + 6 + size:at + 10 + size], "big")
        begin = end = at + 14 + size
        while stream[end:end + 5] != FOOTER + section_id or stream[end + 5] not in ITEM_TAGS:
            end += 1
        lengths.append((name.decode("ascii"), instance, end - begin))
        at = end + 5
    return lengths


def record(folder, name):
    qemu, arguments, _, _ = CASES[name]
    if not qemu():
        raise Skip("no SEALIFT_STOCK_QEMU")
    out = os.path.join(folder, name)
    done = subprocess.run([sys.executable, os.path.join(HERE, "capture.py"), out, "--qemu", qemu(),
                           "--memory", "16", *arguments],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode == 77:
        raise Skip(done.stdout.strip())
    if done.returncode:
        raise AssertionError(f"capture of {name}: {done.stdout}")
    return out


def decode(decoder, *arguments):
    done = subprocess.run([decoder, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, check=False)
    if done.returncode:
        raise AssertionError(f"{' '.join(arguments)}: {done.stderr}")
    return {word: int(number) for word, number in map(str.split, done.stdout.splitlines())}


def write_lengths(out, tail, find):
    with open(os.path.join(out, "main.forward"), "rb") as record_file:
        lengths = find(record_file.read(), tail)
    path = os.path.join(out, "lengths")
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(f"{name} {instance} {size}\n" for name, instance, size in lengths)
    return path


def judge(name, counts):
    for word, expected in CASES[name][3].items():
        if counts[word] != expected:
            raise AssertionError(f"{name}: {word} came {counts[word]} times, expected {expected}")
    if counts["TAIL"] or (name != "recover" and counts["FOOTER"] != counts["SECTION"]):
        raise AssertionError(f"{name}: sections without an end: {counts}")


def run_case(decoder, folder, name):
    out, (_, _, options, expected) = record(folder, name), CASES[name]
    main = os.path.join(out, "main.forward")
    held = decode(decoder, "main", main, os.devnull, *options)
    find = lengths_by_vmdesc if expected.get("VMDESC") else lengths_by_footers
    lengths = write_lengths(out, held["tail"], find)
    second = SECOND.get(name)
    if second:
        other = os.path.join(out, second + ".forward")
        counts = decode(decoder, second, main, other, lengths, *options)
    else:
        counts = decode(decoder, "main", main, lengths, *options)
    judge(name, counts)
    return counts


def main():
    decoder, wanted = sys.argv[1], sys.argv[2:] or list(CASES)
    passed = skipped = failed = 0
    with tempfile.TemporaryDirectory(prefix="sealift-captures.") as folder:
        for name in wanted:
            try:
                counts = run_case(decoder, folder, name)
                passed += 1
                seen = " ".join(f"{word}={n}" for word, n in counts.items() if n)
                print(f"{name}: ok: {seen}", flush=True)
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
