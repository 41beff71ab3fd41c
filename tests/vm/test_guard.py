#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The guard in the product: real migrations pass it, the second time with what the first has learnt;
a source that sends one wrong byte is refused by a rule, its guest runs on, and the destination's QEMU
has not read the byte; a destination that sends one back is refused by the source; where the guard only
warns the move is done and that is shown; a host whose guard cannot know what to expect takes no VM. What
was broken stands in the ledger, and what only looks so does not."""
import json
import os
import re
import struct

import vmcase
from vmcase import LONG, procs, run, wait_for

BUILD = os.environ.get("SEALIFT_BUILD") or os.path.join(vmcase.TOP, "build")
HOOK = os.environ.get("SEALIFT_STREAM_HOOK") or os.path.join(BUILD, "tests", "vm", "libstream-hook.so")


def wrapper(host, **environment):
    """A QEMU of this host with the hook in it; returns the setting."""
    path = os.path.join(host.lab.directory, f"qemu-of-{host.name}")
    lines = "".join(f"export {name}='{value}'\n" for name, value in environment.items())
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"#!/bin/sh\n{lines}export LD_PRELOAD='{HOOK}'\nexec {host.lab.qemu} \"$@\"\n")
    os.chmod(path, 0o755)
    return path


def use_qemu(host, path, extra=""):
    """The engine's next life has this QEMU."""
    host.write_config(VmCase.config + extra)
    with open(host.config, encoding="utf-8") as file:
        text = re.sub(r'^qemu = .*$', f'qemu = "{path}";', file.read(), flags=re.M)
    with open(host.config, "w", encoding="utf-8") as file:
        file.write(text)
    host.stop()
    host.start()


class VmCase(vmcase.VmCase):
    config = 'reservations_per_peer = 8; log_level = "debug";'

    def twins(self, host):
        path = os.path.join(host.state, "twins")
        return sorted(os.listdir(path)) if os.path.isdir(path) else []

    def ledger(self, host, migration=None):
        """What a host wrote down for auditors, of one migration."""
        path = os.path.join(host.state, "decisions.jsonl")
        if not os.path.exists(path):
            return []
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
        with open(path, encoding="ascii") as file:
            entries = [json.loads(line) for line in file]
        return [entry for entry in entries if migration in (None, entry["migration"])]

    def assert_in_ledger(self, host, view, rule, guard="enforce", channel=0, elsewhere=False):
        """One entry of it at this host, and none at the other, unless its guard has seen something."""
        entries = self.ledger(host, view["migration"])
        self.assertEqual(len(entries), 1, entries)
        other = next(each for each in self.lab.hosts if each is not host)
        expected = {"kind": "guard", "guard": guard, "vm": "vm1", "vm_uuid": view["vm_uuid"],
                    "epoch": view["epoch"], "peer": other.id, "rule": rule,
                    "outcome": {"enforce": "refused", "warn": "warned"}[guard],
                    "role": self.view(host, view["migration"])["role"]}
        self.assertEqual({name: entries[0].get(name) for name in expected}, expected)
        if channel is not None:
            self.assertEqual(entries[0]["channel"], channel)
        self.assertIn(rule + ": ", entries[0]["text"])
        self.assertLess(len(entries[0]["text"]), 512)
        if not elsewhere:
            self.assertEqual(self.ledger(other, view["migration"]), [])

    def assert_no_twin_left(self, host):
        wait_for("end of twins", lambda: not [process for process in procs.qemus(host)
                                              if any("memory-backend-file" in argument
                                                     for argument in process.arguments)], LONG)


class Keeps(VmCase):
    memory, walker_mem, disk, rate = 160, 24, "vm1.raw", 500

    def test_there_back_and_there_again_with_what_was_kept(self):
        source, destination = self.guest()
        seen = []
        for _ in range(3):
            mark = len(destination.log())
            view = self.moved(source, destination)
            self.assert_runs_only(destination)
            for host, role in ((source, "source"), (destination, "destination")):
                view = self.view(host, view["migration"])
                self.assertEqual((view["role"], view["guard"], view["report"]["guard"]),
                                 (role, "enforce", "enforce"))
            self.assertLess(0, view["report"]["guard_ms"])
            self.assertLess(view["report"]["mover_peak_bytes"], (32 + 2 * view["channels"]) * vmcase.MIB)
            seen += re.findall(r"twin cached=(\d)", destination.log()[mark:])
            source, destination = destination, source
        self.assertEqual(seen, ["0", "0", "1"])
        for host in self.lab.hosts:
            self.assertEqual(len(self.twins(host)), 2)
            self.assertEqual({os.stat(os.path.join(host.state, "twins", name)).st_mode & 0o777
                              for name in self.twins(host)}, {0o600})


class Passes(VmCase):
    memory, walker_mem, rate = 128, 16, 500

    def test_main_channel_alone(self):
        source, destination = self.guest()
        self.moved(source, destination, channels=1)
        self.assert_runs_only(destination)

    def test_a_damaged_file_is_made_again(self):
        source, destination = self.guest()
        self.moved(source, destination)
        self.assert_runs_only(destination)
        name = self.twins(destination)[0]
        path = os.path.join(destination.state, "twins", name)
        with open(path, "r+b") as file:
            file.seek(1000)
            byte = file.read(1)
            file.seek(1000)
            file.write(bytes([byte[0] ^ 1]))
            file.flush()
        destination.stop()
        destination.start()
        self.moved(destination, source)
        mark = len(destination.log())
        self.moved(source, destination)
        self.assert_runs_only(destination)
        self.assertIn("twin cached=0", destination.log()[mark:])
        self.assertIn(name, self.twins(destination))


class Hooked(VmCase):
    """QEMUs that send what none sends, and write down what they read."""

    memory, walker_mem, rate = 128, 8, 0

    def hooked(self, source, destination=None, source_extra="", destination_extra=""):
        """Both hosts' next QEMUs have the hook, with these settings, and the engines theirs; returns
        what the destination's QEMU will write."""
        north, south = self.lab.hosts
        record = os.path.join(self.lab.directory, "read-by-qemu")
        with open(record, "wb") as file:
            os.fchmod(file.fileno(), 0o666)
        for host in self.lab.hosts:
            vm = host.vm("vm1")
            if vm and vm.get("pid"):
                host.call("vm-stop", vm="vm1")
        use_qemu(north, wrapper(north, **source), source_extra)
        use_qemu(south, wrapper(south, SEALIFT_RECORD=record, **(destination or {})), destination_extra)
        return record

    def refused(self, refuser, **more):
        """A move from north that one side's guard refuses: its view there. Nothing is left of it."""
        north, south = self.lab.hosts
        self.new_guest(north)
        view = north.wait_migration(self.migrate(north, south, **more), 120)
        self.assertEqual(view["state"], "failed", view)
        self.assert_runs_only(north)
        for host in self.lab.hosts:
            self.assert_no_twin_left(host)
            self.assert_nothing_booked(host)
        return self.view(refuser, view["migration"])

    def assert_nothing_booked(self, host):
        """What is booked would count against the next: every migration here has ended."""
        self.assertEqual([m for m in host.migrations() if m["state"] in ("active", "stuck")], [])
        wait_for("end of movers", lambda: not procs.roles(host, "sealift-mover"), LONG)

    def assert_read(self, record, *parts, but=()):
        """What of these is in what QEMU read, and what is not; no test shows all of that."""
        with open(record, "rb") as file:
            read = file.read()
        self.assertEqual([part for part in parts if part not in read], [], "not read by QEMU")
        self.assertEqual([part for part in but if part in read], [], "read by QEMU")


class Refuses(Hooked):
    """One wrong byte at the source; the destination's QEMU writes down what it reads."""

    # Where devices begin, some of them, and the description behind them.
    DEVICE_STATE = (b"\x05timer", b"\x05i8254", b"\x05i8259", b"\x0bglobalstate", b'"devices"')

    def corrupted(self, right, wrong, rule, channel=0, **more):
        """A stream in which `right` became `wrong` once is refused; the record of what QEMU read of it."""
        north, south = self.lab.hosts
        record = self.hooked({"SEALIFT_CORRUPT": f"{right.hex()}:0:{wrong.hex()}"})
        view = self.refused(south, **more)
        self.assert_failed(view, "failed", rf"guard refuses: {rule}: .*\d")
        self.assert_failed(self.view(north, view["migration"]), "failed",
                           rf"^{re.escape(south.id)}: .*guard refuses: {rule}: .*\d")
        self.assertRegex(south.log(), rule)
        self.assert_in_ledger(south, view, rule, channel=channel)
        self.assert_read(record, but=[wrong])
        return record

    def test_machine_type(self):
        right, wrong = b"\x07\0\0\0\x0bpc-q35-10.0", b"\x07\0\0\0\x0bpc-q35-10.1"
        record = self.corrupted(right, wrong, "guard-machine", channels=1)
        self.assert_read(record, but=[b"pc-q35"])

    def test_machine_type_while_the_channels_begin(self):
        """QEMU 10.0 waits for ever in multifd_send_sync_main if its sockets break just then, so the
        mover listens to it until it was cancelled."""
        right, wrong = b"\x07\0\0\0\x0bpc-q35-10.0", b"\x07\0\0\0\x0bpc-q35-10.1"
        for _ in range(3):
            self.corrupted(right, wrong, "guard-machine", channels=4)

    def test_unknown_block(self):
        record = self.corrupted(b"\x07pc.bios", b"\x07PC.bios", "guard-ram-block", channels=1)
        self.assert_read(record, but=[b"\x07pc.bios"])

    def test_page_outside_its_block(self):
        # The record of a page: be64 offset and flags, the block's name.
        right = struct.pack(">Q", 8) + b"\x02m0"
        wrong = struct.pack(">Q", 0x7f << 32 | 8) + b"\x02m0"
        record = self.corrupted(right, wrong, "guard-grammar", channels=1)
        self.assert_read(record, but=[right])

    def test_multifd_packet(self):
        # The name of the block in a packet's header.
        right, wrong = b"m0" + bytes(62), b"m9" + bytes(62)
        self.corrupted(right, wrong, "guard-ram-block", channel=None, channels=2)

    def test_device_state(self):
        """A state that a description opens, with a version that this QEMU does not have."""
        right, wrong = b"\x05i8254" + struct.pack(">II", 0, 3), b"\x05i8254" + struct.pack(">II", 0, 9)
        record = self.corrupted(right, wrong, "guard-device-frame", channels=1)
        # The memory went in; of the device state, held as a whole, not one byte.
        self.assert_read(record, b"\x07pc.bios", but=self.DEVICE_STATE)

    def test_a_cancelled_move_is_no_attack(self):
        """The source's QEMU ends its stream in the middle: no rule was broken."""
        north, south = self.lab.hosts
        self.hooked({})
        self.new_guest(north)
        for channels in (1, 2):
            migration, _ = self.hold_transfer(north, south, channels=channels)
            north.call("cancel", migration=migration)
            self.assertEqual(north.wait_migration(migration, LONG)["state"], "cancelled")
            self.assert_runs_only(north)
            self.assertEqual([self.ledger(host, migration) for host in self.lab.hosts], [[], []])
            # Which of the two reaches it first, the word or the end of the stream, is chance.
            view = self.view(south, migration)
            if view["state"] != "cancelled":
                self.assert_failed(view, "failed", r"guard-closed: |closed the connection|connection broke")

    def test_a_source_qemu_that_dies_is_no_attack(self):
        north, south = self.lab.hosts
        self.hooked({})
        self.new_guest(north)
        migration, _ = self.hold_transfer(north, south)
        procs.kill(north.vm("vm1")["pid"])
        north.wait_migration(migration, LONG)
        for host in self.lab.hosts:
            self.assert_nothing_left(host)
            self.assertEqual(self.ledger(host, migration), [])
        self.drop_session()

    def test_unharmed_it_goes_in_as_it_is(self):
        """That the hooks see what they look for."""
        north, south = self.lab.hosts
        record = self.hooked({"SEALIFT_CORRUPT": "51:0:51"})
        self.new_guest(north)
        self.moved(north, south)
        self.assert_runs_only(south)
        self.assert_read(record, b"QEVM", b"\x0bpc-q35-10.0", b"\x07pc.bios", b"m0" + bytes(62),
                         struct.pack(">II", 0x11223344, 1), *self.DEVICE_STATE)


PONG = struct.pack(">HHI", 2, 4, 1)
RESUME_ACK = struct.pack(">HHI", 6, 4, 1)


class ReturnPath(Hooked):
    """The destination's QEMU says what steers a source that does not look."""

    def harmed(self, rule, channel=0, **settings):
        north, south = self.lab.hosts
        self.hooked({}, {name: value for name, value in settings.items() if name != "channels"})
        view = self.refused(north, channels=settings.get("channels", 1))
        self.assert_failed(view, "failed", rf"^channel \S+: guard refuses: {rule}: .*\d")
        # It hears of it, or sees its connections close.
        theirs = self.view(south, view["migration"])
        self.assertIn(theirs["state"], ("failed", "cancelled"))
        self.assertRegex(theirs["error"]["text"], rf"guard refuses: {rule}|connection|channel")
        self.assert_in_ledger(north, view, rule, channel=channel)

    def test_another_cookie(self):
        wrong = struct.pack(">HHI", 2, 4, 7)
        self.harmed("guard-return-cookie", SEALIFT_CORRUPT=f"{PONG.hex()}:0:{wrong.hex()}")

    def test_another_message(self):
        self.harmed("guard-return-message", SEALIFT_CORRUPT=f"{PONG.hex()}:0:{RESUME_ACK.hex()}")

    def test_one_more_pong(self):
        self.harmed("guard-return-count", SEALIFT_ANSWER=f"{b'QEVM'.hex()}:{PONG.hex()}")

    def test_bytes_on_a_multifd_channel(self):
        self.harmed("guard-return-channel", channel=None, SEALIFT_ANSWER=f"11223344:{PONG.hex()}",
                    channels=2)

    def test_in_place_of_the_last_word(self):
        """The destination has loaded and is ready; the source's QEMU waits for SHUT."""
        shut = struct.pack(">HHI", 1, 4, 0)
        self.harmed("guard-return-message", SEALIFT_CORRUPT=f"{shut.hex()}:0:{RESUME_ACK.hex()}")


class OnlyWarns(Hooked):
    """Rules that are broken where the configuration says that this is no reason to end."""

    WARN = 'guard = "warn";'

    def assert_shown(self, host, view, rule, elsewhere=False):
        """In status, report, log, ledger and on the command line."""
        found = self.view(host, view["migration"])
        self.assertEqual((found["state"], found["guard"], found["guard_warnings"],
                          found["report"]["guard"], found["report"]["guard_warnings"]),
                         ("done", "warn", 1, "warn", 1))
        self.assertIn("THE GUARD ONLY WARNS", host.log())
        self.assertRegex(host.log(), rf"the guard only warns: {rule}: ")
        self.assert_in_ledger(host, found, rule, "warn", elsewhere=elsewhere)
        text = run(host.inside([os.path.join(self.lab.bin, "sealift"), "--socket", host.socket, "status",
                                view["migration"]]))
        self.assertIn("WARNING: this host's guard only warns", text)
        self.assertRegex(text, r"rules broken +1\n")

    def test_of_a_hostile_source(self):
        """A PING with another cookie: QEMU answers whatever comes, so that both sides have something."""
        right, wrong = struct.pack(">BHHI", 8, 2, 4, 1), struct.pack(">BHHI", 8, 2, 4, 9)
        north, south = self.lab.hosts
        record = self.hooked({"SEALIFT_CORRUPT": f"{right.hex()}:0:{wrong.hex()}"}, None, self.WARN, self.WARN)
        self.new_guest(north)
        view = self.moved(north, south)
        self.assert_runs_only(south)
        self.assert_read(record, wrong)
        self.assert_shown(south, view, "guard-ping", elsewhere=True)
        self.assert_shown(north, view, "guard-return-cookie", elsewhere=True)

    def test_of_a_hostile_destination(self):
        wrong = struct.pack(">HHI", 2, 4, 7)
        north, south = self.lab.hosts
        self.hooked({}, {"SEALIFT_CORRUPT": f"{PONG.hex()}:0:{wrong.hex()}"}, self.WARN, self.WARN)
        self.new_guest(north)
        view = self.moved(north, south)
        self.assert_runs_only(south)
        self.assert_shown(north, view, "guard-return-cookie")
        self.assertEqual(self.view(south, view["migration"])["guard_warnings"], 0)


class CannotKnow(VmCase):
    memory, walker_mem, rate = 128, 8, 0

    def broken_twin(self, host):
        path = os.path.join(host.lab.directory, "qemu-without-twins")
        with open(path, "w", encoding="utf-8") as file:
            file.write("#!/bin/sh\ncase \"$*\" in *memory-backend-file*) echo no twin today >&2; exit 1;; "
                       f"esac\nexec {host.lab.qemu} \"$@\"\n")
        os.chmod(path, 0o755)
        return path

    def test_no_twin_no_reservation(self):
        north, south = self.lab.hosts
        use_qemu(south, self.broken_twin(south))
        self.new_guest(north)
        view = north.wait_migration(self.migrate(north, south), 120)
        self.assert_failed(view, "failed", r"the twin by which this host judges the stream: .*no twin today")
        self.assert_runs_only(north)

    def test_where_the_guard_only_warns_it_comes_in_and_that_is_shown(self):
        north, south = self.lab.hosts
        use_qemu(south, self.broken_twin(south), 'guard = "warn";')
        self.new_guest(north)
        view = self.moved(north, south)
        self.assertEqual(view["guard"], "enforce")
        self.assertEqual(self.view(south, view["migration"])["guard"], "warn")
        self.assertIn("the guard only warns", south.log())
        self.assertIn("THE GUARD ONLY WARNS", south.log())
        self.assertIn("WITHOUT A GUARD", south.log())
        self.assert_runs_only(south)


if __name__ == "__main__":
    vmcase.main()
