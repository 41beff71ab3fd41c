# SPDX-License-Identifier: Apache-2.0
"""What the guard costs in a whole move: the same moves with it, with movers that have none, and with a
twin that has to be made first. README.md."""
import report

TOTAL_PART = 0.05
DOWNTIME_S = 0.010
MIB_A_CHANNEL = 2
OFF, COLD = "-unguarded", "-cold-twin"


def names_of(group):
    """The guarded contenders that have one without a guard beside them."""
    return [name for name in group.names() if name + OFF in group.names()]


def peak_mib(move):
    return max(move["mover_peak_bytes"]) / report.MIB


def judged(group, name):
    """(passed or None, text) for each target. Ratios of medians: a difference of a few hundredths drowns
    in the spread of single rounds."""
    off, cold = name + OFF, name + COLD

    def medians(field):
        return group.median(name, report.key(field)), group.median(off, report.key(field))

    found = []
    for field, words in (("command_s", "command to RESUME"), ("stream_s", "first byte to RESUME")):
        on_s, off_s = medians(field)
        part = on_s / off_s - 1
        found.append((part <= TOTAL_PART, f"{words}: {on_s:.3f} s, without {off_s:.3f} s: {part:+.1%}, "
                      f"bound {TOTAL_PART:+.0%}"))
    on_s, off_s = medians("downtime_s")
    found.append((on_s - off_s <= DOWNTIME_S, f"downtime: {on_s * 1e3:.1f} ms, without {off_s * 1e3:.1f} ms: "
                  f"{(on_s - off_s) * 1e3:+.1f} ms, bound {DOWNTIME_S * 1e3:+.0f} ms"))
    channels = int(name.rsplit("-", 1)[1])
    # A twin that is being made anew just then is not seen.
    twin_mib = max(move["twin_bytes"] for move in group.by_name[name].values()) / report.MIB
    bound = MIB_A_CHANNEL * (channels + (channels > 1)) + twin_mib
    more = group.median(name, peak_mib) - group.median(off, peak_mib)
    found.append((more <= bound, f"mover's peak memory: {more:+.1f} MiB, bound {bound:+.1f} MiB "
                  f"({MIB_A_CHANNEL} a channel, and {twin_mib:.1f} by which it judges)"))
    on_s, off_s = (group.median(each, report.cpu_total) for each in (name, off))
    found.append((None, f"CPU, both ends: {on_s:.3f} s, without {off_s:.3f} s: {on_s / off_s - 1:+.1%}"))
    if cold in group.names():
        cold_s = group.median(cold, report.key("command_s")) - group.median(name, report.key("command_s"))
        found.append((None, f"a twin that is not kept yet: {cold_s:+.3f} s from command to RESUME"))
    return found


def print_group(moves):
    words = {True: "pass", False: "MISS", None: "-   "}
    group = report.Group(moves)
    for name in names_of(group):
        print(f"The guard, {name}:", *(f"  {words[passed]}  {text}" for passed, text in judged(group, name)), "",
              sep="\n")


def summary(moves):
    """The same for machines."""
    group = report.Group(moves)
    return {name: [{"pass": passed, "text": text} for passed, text in judged(group, name)]
            for name in names_of(group)}
