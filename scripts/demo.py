#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The part of ./demo that runs two clouds: see `./demo --help`. Needs a build and the test guest;
stands on tests/lab."""
import argparse
import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
import types

sys.dont_write_bytecode = True
TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(TOP, "tests", "lab"))
import lab as lab_module  # noqa: E402
import demo_keys  # noqa: E402
from lab import PATTERN, Lab, LabError, wait_for  # noqa: E402
from wiretap import MARKER_PORT, Wiretap  # noqa: E402
from demo_guest import NV_VALUE, Console, Probe, all_answered, status_of  # noqa: E402
from demo_remains import clean, remains, write_state  # noqa: E402
from demo_screen import report_guest, report_migration, report_wire, step, warn  # noqa: E402

GUEST_OWN_MIB = 128  # what the guest's kernel and its programs need beside the walker
RESERVE_MIB = 640    # what stays free on the machine, as the engine's reserve_memory asks
CONTROL_BYTES = 16 << 20
CONTROL_PIECES = 16  # wherever the guest's kernel has put the walker, some hold it
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """Ctrl-C, or a signal that asks to end."""


# --- what this machine can do --------------------------------------------------------------------

def can_make_namespaces():
    if os.geteuid() != 0:
        return False
    name = f"sl{os.getpid()}try"
    made = subprocess.run(["ip", "netns", "add", name], stdin=subprocess.DEVNULL, check=False,
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
    try:
        return made and subprocess.run(
            ["ip", "-n", name, "link", "add", "br0", "type", "bridge"], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0
    finally:
        if made:
            subprocess.run(["ip", "netns", "del", name], check=False)


def choose_accel(arguments):
    if arguments.accel:
        return arguments.accel, "as asked for"
    trial = lab_module.run([os.path.join(TOP, "scripts", "kvm-trial"), arguments.guest]).strip()
    return trial, "it runs a guest here" if trial == "kvm" else "no KVM that runs a guest here: scripts/kvm-trial"


def qemu_version(qemu):
    match = re.search(r"version (\d+)\.(\d+)\.?(\d*)", lab_module.run([qemu, "--version"]))
    if not match:
        raise LabError(f"{qemu} does not say its version")
    return tuple(int(part or 0) for part in match.groups())


def choose_machine(version):
    """A versioned type that this QEMU has; none newer than what the tests know."""
    return "pc-q35-%d.%d" % min(version[:2], (10, 0))


def check_memory(memory):
    """Source and destination hold the guest at once, both on this machine."""
    with open("/proc/meminfo", encoding="ascii") as file:
        available = int(re.search(r"MemAvailable:\s+(\d+)", file.read())[1]) >> 10
    needed = 2 * memory + RESERVE_MIB
    if available < needed:
        raise LabError(f"{available} MiB of memory are free, a guest of {memory} MiB needs {needed}: "
                       "once in the north, once in the south; choose less by --memory")


# --- the migration -------------------------------------------------------------------------------

def cli(lab, host, *words):
    return host.inside([os.path.join(lab.bin, "sealift"), "--socket", host.socket, *words])


def migrate_on_terminal(command):
    """The real program on a terminal of its own, whose progress line is passed on. Its report is
    left out: the demo's own holds all of it."""
    size = fcntl.ioctl(sys.stdout.fileno(), termios.TIOCGWINSZ, bytes(8))
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, size if struct.unpack("HHHH", size)[1] else
                struct.pack("HHHH", 24, 80, 0, 0))
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs,
                               start_new_session=True)
    os.close(theirs)
    line, report = "", False
    try:
        while True:
            try:
                data = os.read(ours, 4096)
            except OSError:  # how a terminal says that nobody writes to it any more
                break
            if not data:
                break
            for part in re.findall(r"\r\n|\r|\n|[^\r\n]+", data.decode(errors="replace")):
                line = part if line.endswith(("\r", "\n")) else line + part
                report = report or re.match(r"\S+ runs on ", line) is not None
                if not report:
                    sys.stdout.write(part)
            sys.stdout.flush()
    finally:
        os.close(ours)
        end(process)
    return process.returncode


def migrate_in_lines(command):
    """Without a terminal: a line for each phase, and one a second while memory is sent."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               start_new_session=True)
    phase, told = "", 0.0
    try:
        for line in process.stdout:
            with contextlib.suppress(ValueError):
                view = json.loads(line)
                now = time.monotonic()
                if view.get("phase") == phase and (phase != "transfer" or now - told < 1):
                    continue
                phase, told = view.get("phase", phase), now
                more = f" {view['percent']} %" if phase == "transfer" and "percent" in view else ""
                step(f"  {phase}{more}")
    finally:
        end(process)
    return process.returncode


def end(process):
    """Gives a program that is done a moment, and one that is not no more than that."""
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def migrate(lab, vm):
    """Runs `sealift migrate`; the reports of both sides."""
    step(f"sealift migrate {vm} south")
    command = cli(lab, lab.north, "migrate", vm, "south")
    status = (migrate_on_terminal if sys.stdout.isatty() else migrate_in_lines)(command)
    if status:
        raise LabError(f"sealift migrate ended with status {status}")
    identifier = lab.north.migrations()[0]["migration"]
    # The destination's own account comes a moment later, when its mover has ended.
    here, there = (host.wait_migration(identifier, 20) for host in lab.hosts)
    return here, there


# --- the wiretap's control -----------------------------------------------------------------------

def guest_memory(lab, host, vm, memory, size):
    """Pieces from all over the guest's memory, read from outside."""
    pid = host.vm(vm)["pid"]
    with open(f"/proc/{pid}/maps", encoding="ascii", errors="replace") as file:
        for line in file:
            first, last = (int(part, 16) for part in line.split()[0].split("-"))
            if last - first >= memory << 20:
                break
        else:
            raise LabError(f"QEMU (process {pid}) maps no {memory} MiB in one piece")
    # Buffered: the kernel gives less than was asked for whenever it likes.
    with open(f"/proc/{pid}/mem", "rb") as file:
        pieces = []
        for number in range(CONTROL_PIECES):
            file.seek(first + number * ((memory << 20) // CONTROL_PIECES))
            pieces.append(file.read(size // CONTROL_PIECES))
        return b"".join(pieces)


def send_in_clear(lab, data):
    """The same cable, the same two ends, no Sealift."""
    listener = subprocess.Popen(
        lab.south.inside(["socat", "-u", f"TCP-LISTEN:{MARKER_PORT},bind={lab.south.address},reuseaddr",
                          "OPEN:/dev/null"]), stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        subprocess.run(lab.north.inside(["socat", "-u", "-b", "65536", "-",
                                         f"TCP:{lab.south.address}:{MARKER_PORT},retry=100,interval=0.1"]),
                       input=data, check=True, timeout=60)
        listener.wait(20)
    except (subprocess.SubprocessError, OSError) as error:
        raise LabError(f"the control transfer failed: {error}") from error
    finally:
        listener.kill()
        listener.wait()


def control_by_memory(lab, memory):
    """What the same search finds when a piece of the same memory crosses the same cable unsealed."""
    data = guest_memory(lab, lab.south, "vm1", memory, CONTROL_BYTES)
    with contextlib.closing(Wiretap(lab, "control.pcap")) as tap:
        tap.start()
        send_in_clear(lab, data)
        tap.stop()
        found = tap.count(PATTERN.encode())
    inside = data.count(PATTERN.encode())
    more = "; TCP sent some twice" if found > inside else ""
    return found, (f"{found:,} times when {CONTROL_BYTES >> 20} MiB of this guest's memory cross the "
                   f"same wire in clear ({inside:,} are in them{more})")


def control_by_mode(lab, arguments):
    """What the same search finds when a guest like this one moves in mode "disabled"."""
    lab.start_vm(name="vm2", memory=arguments.memory, walker_mem=arguments.memory - GUEST_OWN_MIB,
                 seed=2, mode="disabled", machine=arguments.machine, nic=False, rate=0)
    with contextlib.closing(Console(lab.north, "vm2")) as console:
        console.next(120)
    with contextlib.closing(Wiretap(lab, "control.pcap")) as tap:
        tap.start()
        migrate(lab, "vm2")
        tap.stop()
        found = tap.count(PATTERN.encode())
    lab.south.call("vm-stop", vm="vm2")
    return found, (f"{found:,} times when a second guest crosses the same wire in mode \"disabled\" "
                   f"({tap.dropped:,} packets dropped)")


# --- the whole -----------------------------------------------------------------------------------

def make_lab(arguments, stack):
    namespaces = can_make_namespaces()
    if not namespaces:
        warn("no network namespaces here: two loopback addresses and a guest network without "
             "privileges instead; then no session with the guest can be shown")
    accel, why = choose_accel(arguments)
    qemu = os.environ.get("SEALIFT_QEMU", "/usr/bin/qemu-system-x86_64")
    version = qemu_version(qemu)
    arguments.machine = choose_machine(version)
    step(f"QEMU {'.'.join(map(str, version))}, {accel} ({why}), {os.cpu_count()} processors")
    if version < (10, 0) and accel == "tcg":
        warn("QEMU before 10 corrupts guests that it migrates under TCG, Sealift or not: errors that "
             "the guest's memory check finds here may be QEMU's")
    return stack.enter_context(contextlib.closing(Lab(
        build=arguments.build, guest=arguments.guest, accel=accel, namespaces=namespaces)))


def begin(lab, arguments):
    write_state(lab)
    step("two domains, north.example and south.example, each with its own root and its own key manager, "
         f"in {lab.directory}")
    demo_keys.configure(lab, arguments.fresh_key,
                        "allow_disabled = true;\n" if arguments.control else "")
    lab.start()
    step(f"an engine for each, in network namespaces {lab.north.namespace} and {lab.south.namespace}"
         if lab.namespaces else f"an engine for each, at {lab.north.address} and {lab.south.address}")
    demo_keys.wait_until_served(lab)


def boot(lab, arguments):
    """What is known of it before the move."""
    memory = arguments.memory
    demo_keys.start_vm(lab, lab.vm_text(memory=memory, walker_mem=memory - GUEST_OWN_MIB,
                                        disk=demo_keys.disk_text(),
                                        machine=arguments.machine))
    step(f"vm1 boots in the north: {memory} MiB, an encrypted disk, a TPM, a network card; "
         f"{memory - GUEST_OWN_MIB} MiB of it hold a known pattern on each page")
    with contextlib.closing(Console(lab.north, "vm1")) as console:
        uses = console.tpm(2)
        while int(console.next(120)[5]) < 2:  # writes of the disk
            pass
    uuid = lab.north.vm("vm1")["uuid"]
    demo_keys.keep(lab, uuid)
    return types.SimpleNamespace(uuid=uuid, tpm=uses, keys=demo_keys.states(lab.north, uuid))


def tpm_after(lab, before):
    """The guest reads its NV value each second, and its PCR before it extends it again."""
    with contextlib.closing(Console(lab.south, "vm1")) as console:
        now = console.tpm(before.tpm + 1)
    return f"{before.tpm} uses before, {now} now; NV value and PCR are what they were, 0 errors"


def start_tap(lab, arguments, stack):
    if os.geteuid() != 0 or not shutil.which("tcpdump"):
        return None
    room = shutil.disk_usage(lab.directory).free
    if room < 2 * arguments.memory << 20:
        warn(f"no wiretap: a capture needs up to {2 * arguments.memory} MiB, {room >> 20} MiB are "
             f"free in {lab.directory}")
        return None
    tap = stack.enter_context(contextlib.closing(Wiretap(lab)))
    tap.start()
    step("the wiretap captures " + ("all that leaves or reaches the north by its cable" if
                                    lab.namespaces else "the engines' port on the loopback"))
    return tap


def show_with_network(lab, arguments, stack, known):
    walker = stack.enter_context(contextlib.closing(lab.walker(120)))
    pages, errors = walker.check()
    probe = stack.enter_context(contextlib.closing(Probe(lab)))
    step(f"the guest answers; its check of {pages:,} pages finds {errors} errors; the tenant opens a "
         "TCP session and asks every 5 ms")
    tap = start_tap(lab, arguments, stack)
    was = status_of(walker)
    probe.mark()
    wait_for("second of quiet", lambda: status_of(walker)["t"] >= was["t"] + 2, 60, 0.1)
    before = probe.mark()
    here, there = migrate(lab, "vm1")
    count = status_of(walker)["t"]
    wait_for("counter of the guest", lambda: status_of(walker)["t"] >= count + 1, 60, 0.1)
    seen = probe.mark()
    if tap:
        tap.stop()
    step("vm1 runs in the south; its whole memory is checked there")
    pages, errors = walker.check()
    now, tcp = status_of(walker), all_answered(probe)
    if errors or now["errors"] or seen["tcp"]["broken"] or tcp["broken"]:
        raise LabError(f"the guest did not arrive whole: {errors} bad pages, {now['errors']} errors, "
                       f"session: {tcp['broken'] or seen['tcp']['broken'] or 'whole'}")
    steps = seen["tcp"]["counter_largest_step"]
    guest = {
        "counter": f"{was['t']} before, {now['t']} now, never back, " +
                   ("no number missing" if steps <= 1 else f"at most {steps} at once"),
        "memory": f"{pages:,} pages, {errors} errors",
        "session": f"the one of before; {tcp['answered_all']:,} questions, all answered, in order",
        "disk": f"{was['disk']} writes, all read back, before, {now['disk']} now, 0 errors",
        "tpm": tpm_after(lab, known)}
    return here, there, guest, tap, seen, before


def show_without_network(lab, arguments, stack, known):
    with contextlib.closing(Console(lab.north, "vm1")) as console:
        was = console.next(120)
    step(f"the guest counts on its console: {was[1]}, errors {was[3]}")
    tap = start_tap(lab, arguments, stack)
    here, there = migrate(lab, "vm1")
    if tap:
        tap.stop()
    step("vm1 runs in the south; waiting until it has checked its whole memory there")
    with contextlib.closing(Console(lab.south, "vm1")) as console:
        now = first = console.next()
        while int(now[4]) < int(first[4]) + 2:
            now = console.next()
    if int(now[3]):
        raise LabError(f"the guest did not arrive whole: {now[3]} errors")
    guest = {"counter": f"{was[1]} before, {first[1]} at first sight in the south, {now[1]} now",
             "memory": f"{now[2]} pages checked, {now[4]} rounds, {now[3]} errors",
             "disk": f"{was[5]} writes before, {now[5]} now, 0 errors",
             "tpm": tpm_after(lab, known)}
    return here, there, guest, tap, None, None


def report(lab, arguments, shown):
    here, there, guest, tap, probe, before = shown
    found, found_nv, control = None, None, ""
    if tap:
        found, found_nv = tap.count(PATTERN.encode()), tap.count(NV_VALUE.encode())
        try:
            times, control = (control_by_mode(lab, arguments) if arguments.control else
                              control_by_memory(lab, arguments.memory))
        except OSError as error:
            raise LabError(f"no control for the wiretap: {error}") from error
        if not times:
            raise LabError("the search found the pattern not even in clear: it proves nothing")
    print("\nvm1 left north.example and runs in south.example.\n")
    report_migration(here, there, probe, before)
    report_guest(guest)
    report_wire(tap, found, found_nv, control)
    print(flush=True)
    if found or found_nv:
        raise LabError(f"the wiretap found what only the guest knows in clear, {found + found_nv} times")


def print_hints(lab):
    def words(host, *more):
        return "  " + " ".join(cli(lab, host, *more))

    lines = [("go back", words(lab.south, "migrate", "vm1", "north")),
             ("migrations", words(lab.south, "status")),
             ("VMs", words(lab.south, "vm", "list")),
             ("what happens", words(lab.south, "events")),
             ("keys in the north", words(lab.north, "key", "list")),
             ("keys in the south", words(lab.south, "key", "list")),
             ("what this host can do", words(lab.south, "doctor", "--config", lab.south.config)),
             ("the guest's console (Ctrl-] leaves)", "  socat -,raw,echo=0,escape=0x1d UNIX-CONNECT:" +
              lab.south.vm("vm1")["serial"])]
    if lab.namespaces:
        lines.append(("a session with the guest: ping, status, check", "  " + " ".join(
            lab.client(["socat", "-", f"TCP:{lab_module.GUEST_ADDRESS}:7777"]))))
    lines.append(("configuration and logs", f"  ls {lab.directory}/north {lab.directory}/south"))
    if os.path.exists(os.path.join(lab.directory, "wire.pcap")):
        lines.append(("what the wiretap saw", f"  tcpdump -n -r {lab.directory}/wire.pcap port "
                      f"{lab.north.port} | less"))
    lines.append(("remove all of it", "  ./demo --clean"))
    print("It goes on running." + (" As root:" if os.geteuid() == 0 else ""))
    for title, line in lines:
        print(f"# {title}\n{line}")


def last_words(lab):
    for host in getattr(lab, "hosts", ()):
        with contextlib.suppress(OSError):
            for line in host.log().splitlines()[-8:]:
                print(f"  {host.name} | {line}", file=sys.stderr)


def run(arguments):
    lab = None
    check_memory(arguments.memory * (2 if arguments.control else 1))
    try:
        with contextlib.ExitStack() as lab_stack:
            try:
                lab = make_lab(arguments, lab_stack)
                with contextlib.ExitStack() as stack:
                    begin(lab, arguments)
                    known = boot(lab, arguments)
                    show = show_with_network if lab.namespaces else show_without_network
                    shown = show(lab, arguments, stack, known)
                    report(lab, arguments, shown)
                    demo_keys.show(lab, known, shown[0]["migration"], arguments.fresh_key)
                lab.keep = arguments.keep
            except LabError:
                last_words(lab)
                raise
            finally:
                # From here on nothing may come between us and the removal.
                for number in STOP_SIGNALS:
                    signal.signal(number, signal.SIG_IGN)
                if lab and not lab.keep:
                    step("removing everything")
    finally:
        if lab and not lab.keep:
            tell_remains(lab)
    if lab.keep:
        print_hints(lab)


def tell_remains(lab):
    left = remains(lab.directory, lab.made_namespaces)
    if left:
        raise LabError(f"left behind: {', '.join(left)}; ./demo --clean removes it")
    step("nothing is left behind: no process, no namespace, no file")


def parse():
    parser = argparse.ArgumentParser(prog="demo")
    parser.add_argument("--build", required=True)
    parser.add_argument("--guest", required=True)
    parser.add_argument("--memory", type=int, default=512)
    parser.add_argument("--accel", choices=("kvm", "tcg"))
    for name in ("--control", "--fresh-key", "--keep", "--clean"):
        parser.add_argument(name, action="store_true")
    arguments = parser.parse_args()
    if not 256 <= arguments.memory <= 16384 or arguments.memory % 2:
        parser.error(f"--memory {arguments.memory}: an even number of MiB, 256 to 16384")
    return arguments


def main():
    arguments = parse()

    def stop(number, _frame):
        raise Stopped(number)

    for number in STOP_SIGNALS:
        signal.signal(number, stop)
    # UNIX sockets have short names: a long temporary directory would leave no room for ours.
    if len(tempfile.gettempdir()) > 24:
        tempfile.tempdir = "/tmp"
    try:
        if arguments.clean:
            return clean()
        run(arguments)
        return 0
    except LabError as error:
        print(f"demo: error: {error}", file=sys.stderr)
        return 1
    except Stopped as stopped:
        print(f"demo: stopped by {signal.Signals(stopped.args[0]).name}", file=sys.stderr)
        return 128 + stopped.args[0]


if __name__ == "__main__":
    sys.exit(main())
