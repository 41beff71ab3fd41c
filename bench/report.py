# SPDX-License-Identifier: Apache-2.0
"""What the measured moves say: medians, ratios to the plain run beside them, targets."""
import statistics

MIB = 1 << 20
GIB = 1 << 30
# DESIGN: targets
TOTAL_SLACK_S = 0.150
TLS_FACTOR = 3.0
STREAM_FACTOR, STREAM_STRETCH = 2.0, 1.6
CPU_S_PER_GIB_SIDE = 0.30
DOWNTIME_SLACK_S = 0.020
MOVER_MIB, MOVER_MIB_A_CHANNEL = 32, 2


def cpu_total(move):
    return sum(move[side + "_" + what + "_cpu_s"] for side in ("source", "destination")
               for what in ("qemu", "own"))


def middle(values):
    return statistics.median(values)


class Group:
    """All moves of one size and load."""

    def __init__(self, moves):
        self.by_name = {}
        for move in moves:
            self.by_name.setdefault(move["contender"], {})[move["round"]] = move

    def names(self):
        return list(self.by_name)

    def median(self, name, value):
        return middle([value(move) for move in self.by_name[name].values()])

    def pairs(self, name, other):
        """(move, other's move of the same round)"""
        rounds = self.by_name.get(other, {})
        return [(move, rounds[number]) for number, move in self.by_name[name].items() if number in rounds]

    def paired(self, name, other, value):
        """The median over rounds of value(move, other's move); None if they have none in common."""
        pairs = self.pairs(name, other)
        return middle([value(*pair) for pair in pairs]) if pairs else None


def key(name):
    return lambda move: move[name]


def ratio(name):
    return lambda move, other: move[name] / other[name]


def mover_peaks(move):
    return "/".join(f"{peak / MIB:.0f}" for peak in move["mover_peak_bytes"]) if "mover_peak_bytes" in move \
        else "-"


HEADINGS = ("contender", "command", "x plain", "1st byte", "x popul.", "downtime", "CPU", "x popul.",
            "own src", "own dst", "ready", "ready CPU", "wire", "movers")
UNITS = ("", "s", "", "s", "", "ms", "s", "", "s", "s", "s", "s", "MiB", "MiB")


def row(group, name):
    def seconds(field):
        return f"{group.median(name, key(field)):.2f}"

    def times(value, other):
        found = group.paired(name, other, value)
        return "-" if found is None else f"{found:.2f}"

    return (name, seconds("command_s"), times(ratio("command_s"), "plain"), seconds("stream_s"),
            times(ratio("stream_s"), "plain-populated"),
            f"{group.median(name, key('downtime_s')) * 1000:.0f}", f"{group.median(name, cpu_total):.2f}",
            times(lambda move, other: cpu_total(move) / cpu_total(other), "plain-populated"),
            seconds("source_own_cpu_s"), seconds("destination_own_cpu_s"), seconds("ready_s"),
            seconds("ready_cpu_s"), f"{group.median(name, key('wire_bytes')) / MIB:.0f}",
            mover_peaks(next(iter(group.by_name[name].values()))))


def table(group):
    rows = [HEADINGS, UNITS, *(row(group, name) for name in group.names())]
    widths = [max(len(line[i]) for line in rows) for i in range(len(HEADINGS))]
    lines = ["  ".join(cell.ljust(width) if i == 0 else cell.rjust(width)
                       for i, (cell, width) in enumerate(zip(line, widths))).rstrip() for line in rows]
    return "\n".join([*lines[:2], "-" * max(map(len, lines)), *lines[2:]])


def added_cpu(move, plain):
    """Seconds for each GiB of stream and side that the move cost beyond the populated plain one."""
    return (cpu_total(move) - cpu_total(plain)) / (move["stream_bytes"] / GIB) / 2


def own_cpu(move):
    return (move["source_own_cpu_s"] + move["destination_own_cpu_s"]) / (move["stream_bytes"] / GIB) / 2


def targets(group, name, machine):
    """One line for each target: (passed or None, text)."""
    found = []

    def judge(value, bound, text, less=True):
        if value is None:
            found.append((None, f"{text}: not measured"))
        else:
            passed = value <= bound if less else value >= bound
            found.append((passed, f"{text}: {value:.3f}, bound {bound:.3f}"))

    judge(group.paired(name, "plain", lambda move, plain: move["command_s"] - plain["command_s"]),
          TOTAL_SLACK_S, "command to RESUME, s beyond default plain")
    judge(group.paired(name, "tls-populated", lambda move, tls: tls["stream_s"] / move["stream_s"]), TLS_FACTOR,
          "first byte to RESUME, times faster than QEMU's TLS, populated", less=False)
    judge(group.paired(name, "tls", lambda move, tls: tls["stream_s"] / move["stream_s"]), TLS_FACTOR,
          "first byte to RESUME, times faster than QEMU's TLS as it starts by default", less=False)
    judge(group.paired(name, "plain-populated", ratio("stream_s")), STREAM_FACTOR,
          f"first byte to RESUME, times populated plain (stretch {STREAM_STRETCH})")
    judge(group.paired(name, "plain-populated", added_cpu), CPU_S_PER_GIB_SIDE,
          "added CPU beyond populated plain, s a GiB and side "
          f"(Sealift's own processes alone: {group.median(name, own_cpu):.3f})")
    slack_s = DOWNTIME_SLACK_S + 1.5 * machine["round_trip_s"] + 2 * machine["fsync_s"]
    judge(group.paired(name, "plain-populated", lambda move, plain: move["downtime_s"] - plain["downtime_s"]),
          slack_s, "added downtime beyond populated plain, s")
    # One main channel, multifd beside it.
    channels = int(name.rsplit("-", 1)[1])
    channels += channels > 1
    judge(group.median(name, lambda move: max(move["mover_peak_bytes"]) / MIB),
          MOVER_MIB + MOVER_MIB_A_CHANNEL * channels, "mover's peak memory, MiB")
    return found


def target_lines(group, name, machine):
    words = {True: "pass", False: "MISS", None: "-   "}
    return "\n".join([f"Targets, {name}:",
                      *(f"  {words[passed]}  {text}" for passed, text in targets(group, name, machine))])


def print_group(moves, machine):
    group = Group(moves)
    first = moves[0]
    rounds = len({move["round"] for move in moves})
    print(f"\nGuest of {first['size_mib']} MiB, {first['load']}; medians of {rounds} rounds\n\n{table(group)}\n")
    for name in group.names():
        if name.startswith("sealift-") and name.endswith("-required-2"):
            print(target_lines(group, name, machine) + "\n")


def summary(moves, machine):
    """The same for machines."""
    group = Group(moves)
    numbers = [field for field, value in moves[0].items() if isinstance(value, float)] + ["wire_bytes"]
    return {"size_mib": moves[0]["size_mib"], "load": moves[0]["load"],
            "medians": {name: {field: group.median(name, key(field)) for field in numbers}
                        for name in group.names()},
            "targets": {name: [{"pass": passed, "text": text} for passed, text in targets(group, name, machine)]
                        for name in group.names()
                        if name.startswith("sealift-") and name.rsplit("-", 1)[1].isdigit()}}
