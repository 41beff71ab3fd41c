# SPDX-License-Identifier: Apache-2.0
"""What ./demo prints: steps with their time, and the report. For narrow terminals and none at all."""
import shutil
import sys
import textwrap
import time

BEGAN = time.monotonic()


def columns():
    return max(40, min(100, shutil.get_terminal_size((100, 24)).columns))


def step(text):
    head = f"[{time.monotonic() - BEGAN:5.1f} s] "
    print(textwrap.fill(text, columns(), initial_indent=head, subsequent_indent=" " * len(head),
                        break_on_hyphens=False, break_long_words=False),
          flush=True)


def warn(text):
    print(textwrap.fill(f"demo: warning: {text}", columns(), subsequent_indent="  "),
          file=sys.stderr, flush=True)


def shown(host, line, output):
    """A command as somebody would have typed it on a host, and what it said, folded to the screen."""
    width = columns()
    print(textwrap.fill(line, width, initial_indent=f"  {host}$ ", subsequent_indent="      ",
                        break_on_hyphens=False, break_long_words=False))
    for words in output.splitlines():
        # What fits stays as it is, for the sake of columns.
        parts = [words] if len(words) <= width - 4 else \
            textwrap.wrap(words, width - 4, break_on_hyphens=False)
        for part in parts:
            print(("    " + part).rstrip())
    print(flush=True)


def row(group, label, value):
    """One line of the report; a narrow terminal gets the value below its label."""
    head = f"  {group:<7}{label:<33}"
    if columns() < 78:
        head = f"  {group:<7}{label}\n"
        indent = " " * 11
        print(head + textwrap.fill(value, columns(), initial_indent=indent, subsequent_indent=indent))
        return
    print(textwrap.fill(value, columns(), initial_indent=head, subsequent_indent=" " * len(head),
                        break_on_hyphens=False, break_long_words=False))


def duration(milliseconds):
    if milliseconds < 10:
        return f"{milliseconds:.1f} ms"
    return f"{milliseconds:.0f} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.2f} s"


def mib(size):
    return f"{size / (1 << 20):,.1f} MiB"


def report_migration(here, there, probe, before):
    report, peer = here["report"], there.get("report", {})
    row("time", "from the command to RESUME", f"{duration(report['total_ms'])}, of it "
        f"{duration(report['populate_ms'])} to populate the memory in the south")
    row("", "from the first byte to RESUME", duration(report["stream_ms"]))
    row("", "downtime", f"{duration(report['downtime_ms'])} +/- {report['downtime_error_ms']:.1f} ms")
    if probe:
        if probe["icmp"]:
            row("", "longest packet gap", f"{duration(probe['icmp']['longest_gap_ms'])} (asked every "
                f"5 ms; {duration(before['icmp']['longest_gap_ms'])} before the migration)")
        row("", "longest silence of the session", f"{duration(probe['tcp']['longest_gap_ms'])} "
            f"(TCP; {duration(before['tcp']['longest_gap_ms'])} before the migration)")
    row("bytes", "of the VM's stream", mib(report["stream_bytes"]))
    row("", "on the wire", mib(report["wire_bytes"]) + ", with the copy of the disk")
    row("", "throughput", f"{report['throughput_bytes_s'] / 1e6:,.0f} MB/s")
    cpu = report["mover_cpu_ms"] + peer.get("mover_cpu_ms", 0)
    per_gib = cpu / max(1, report["wire_bytes"]) * (1 << 30) / 2000
    row("cost", "CPU of the movers", f"{report['mover_cpu_ms']:.0f} ms north, "
        f"{peer.get('mover_cpu_ms', 0):.0f} ms south: {per_gib:.2f} s per GiB and side")
    row("", "peak memory of a mover",
        mib(max(report["mover_peak_bytes"], peer.get("mover_peak_bytes", 0))))
    row("seal", "cipher", f"{report['cipher']} by {report['provider']}, mode {report['mode']}, "
        f"{here['channels']} channels")


def report_guest(guest):
    row("guest", "counter", guest["counter"])
    row("", "memory check", guest["memory"])
    if guest.get("session"):
        row("", "TCP session", guest["session"])
    for label in ("disk", "TPM"):
        if guest.get(label.lower()):
            row("", label, guest[label.lower()])


def report_wire(tap, found, found_nv, control):
    if not tap:
        row("wire", "no wiretap", "it needs root and tcpdump")
        return
    dropped = f"{tap.dropped:,} dropped by the kernel"
    row("wire", "captured by the wiretap", f"{tap.captured:,} packets, {mib(tap.size)}; {dropped}")
    row("", "the guest's known pattern", f"{found:,} times in the migration")
    row("", "what it wrote to its TPM", f"{found_nv:,} times")
    row("", "control: the same search", control)
