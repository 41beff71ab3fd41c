#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Decodes the multifd channels and return paths of real migrations, recorded anew by capture.py:

    test_channel_captures.py DECODER [CASE...]

Exit status 77: no case could be recorded. SEALIFT_STOCK_QEMU is an older QEMU.
"""

import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
NEW = "qemu-system-x86_64"
STOCK = os.environ.get("SEALIFT_STOCK_QEMU", "")
# Of the 8 MiB that capture.py loads into a guest two thirds are not zero.
PAGES_MIN = 8 * 256 * 2 // 3

# name: QEMU, arguments of capture.py
CASES = {
    "none": (NEW, ["--machine", "q35", "--multifd", "none", "--channels", "3",
                   "--switchover-ack"]),
    "zlib": (NEW, ["--machine", "q35", "--multifd", "zlib"]),
    "zstd": (NEW, ["--machine", "pc", "--multifd", "zstd", "--running"]),
    "eight-channels": (NEW, ["--machine", "q35", "--multifd", "zstd", "--channels", "8"]),
    "old-machine": (NEW, ["--machine", "pc-q35-7.2", "--multifd", "none"]),
    "stock-none": (STOCK, ["--machine", "q35", "--multifd", "none"]),
    "stock-zlib": (STOCK, ["--machine", "q35", "--multifd", "zlib"]),
    "stock-zstd": (STOCK, ["--machine", "pc", "--multifd", "zstd"]),
    "stock-to-new": (STOCK, ["--machine", "pc-q35-7.2", "--multifd", "zlib",
                             "--destination-qemu", NEW]),
    "stock-postcopy": (STOCK, ["--machine", "pc", "--postcopy"]),
    "postcopy": (NEW, ["--machine", "q35", "--postcopy"]),
    "recover": (NEW, ["--machine", "q35", "--recover", "--preempt"]),
}
# What must come back on which connection, beside SHUT at the end.
RETURNS = {
    "none": {"main": {"pong": 1, "switchover_ack": 1, "shut": 1}},
    "stock-postcopy": {"main": {"pong": 4, "shut": 1}},
    "postcopy": {"main": {"pong": 4, "shut": 1}},
    # Six blocks of a q35; the main connection was cut.
    "recover": {"main": {"pong": 4, "shut": 0},
                "recovery": {"recv_bitmap": 6, "bitmap_end": 6, "resume_ack": 1, "shut": 1}},
}


class Skip(Exception):
    """This machine cannot record the case."""


def record(name, folder):
    qemu, arguments = CASES[name]
    if not qemu or not shutil.which(qemu):
        raise Skip(f"no QEMU for {name}")
    result = subprocess.run([os.path.join(HERE, "capture.py"), folder, "--qemu", qemu, *arguments],
                            capture_output=True, text=True, timeout=100, check=False)
    if result.returncode == 77:
        raise Skip(result.stderr.strip())
    if result.returncode:
        raise AssertionError(f"capture.py: {result.stderr}")
    return sorted(os.listdir(folder))


def run_decoder(decoder, *arguments):
    return subprocess.run([decoder, *arguments], capture_output=True, text=True, timeout=60,
                          check=False)


def counts_of(decoder, *arguments):
    result = run_decoder(decoder, *arguments)
    if result.returncode:
        raise AssertionError(f"{arguments}: {result.stderr.strip()}")
    return {key: int(value) for key, value in map(str.split, result.stdout.splitlines())}


def expect(got, wanted, what):
    if got != wanted:
        raise AssertionError(f"{what}: {got}, expected {wanted}")


def judge_broken(decoder, method, path):
    """The same recording must be refused without its last byte, and with a byte more."""
    with open(path, "rb") as stream:
        good = stream.read()
    for broken in (good[:-1], good + b"\0"):
        with open(path + ".broken", "wb") as stream:
            stream.write(broken)
        result = run_decoder(decoder, "multifd", method, path + ".broken")
        expect((result.returncode, "ends inside a unit" in result.stderr), (1, True), "a cut one")


def judge_multifd(decoder, name, folder, files):
    arguments = CASES[name][1]
    if "--multifd" not in arguments:
        return "no multifd"
    method = arguments[arguments.index("--multifd") + 1]
    channels = int(arguments[arguments.index("--channels") + 1]) if "--channels" in arguments else 2
    paths = [os.path.join(folder, file) for file in files
             if file.startswith("multifd-") and file.endswith(".forward")]
    found = [counts_of(decoder, "multifd", method, path) for path in paths]
    expect(sorted(counts["id"] for counts in found), list(range(channels)), "ids")
    expect({counts["initial"] for counts in found}, {1}, "initial packets")
    expect(len({counts["syncs"] for counts in found}), 1, "counts of SYNCs")
    pages = sum(counts["normal_pages"] for counts in found)
    expanded = sum(counts["payload_bytes" if method == "none" else "expanded_bytes"]
                   for counts in found)
    expect(expanded, pages * 4096, "bytes of pages")
    if pages < PAGES_MIN:
        raise AssertionError(f"{pages} pages, at least {PAGES_MIN} were loaded")
    # Only what is older than 9.0 leaves old values in packets, or sends pages with SYNC.
    if not name.startswith("stock-"):
        for key in ("stale_sizes", "empty_without_sync", "sync_with_pages"):
            expect(sum(counts[key] for counts in found), 0, key)
    judge_broken(decoder, method, paths[0])
    return f"{channels} channels, {pages} pages, " + ", ".join(
        f"{key} {sum(counts[key] for counts in found)}"
        for key in ("zero_pages", "syncs", "stale_sizes", "empty_without_sync", "sync_with_pages"))


def judge_returns(decoder, name, folder, files):
    for file in files:
        if not file.endswith(".return"):
            continue
        channel = file[:-len(".return")]
        counts = counts_of(decoder, "return", os.path.join(folder, file))
        if channel.startswith(("multifd-", "preempt", "recovery-preempt")):
            expect(sum(counts.values()), 0, f"messages on {channel}")
            continue
        wanted = RETURNS.get(name, {}).get(channel, {"pong": 1, "shut": 1})
        for key, count in wanted.items():
            expect(counts[key], count, f"{key} on {channel}")


def main():
    decoder, names = os.path.abspath(sys.argv[1]), sys.argv[2:] or list(CASES)
    skipped = 0
    for name in names:
        with tempfile.TemporaryDirectory(prefix="sealift-channels.") as folder:
            try:
                files = record(name, folder)
            except Skip as reason:
                print(f"{name}: skipped: {reason}")
                skipped += 1
                continue
            print(f"{name}: {judge_multifd(decoder, name, folder, files)}", flush=True)
            judge_returns(decoder, name, folder, files)
    return 77 if skipped == len(names) else 0


if __name__ == "__main__":
    sys.exit(main())
