# SPDX-License-Identifier: Apache-2.0
"""`sealift migrate`, `status --watch`, `events`, `resolve` on a terminal: what happens over time."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
import unittest

from fake_engine import DEADLINE_S, SEALIFT, CliTest, Refuse, environment

ID = "0123456789abcdef0123456789abcdef"
REPORT = {"total_ms": 1843.5, "stream_ms": 611.25, "downtime_ms": 41.0, "downtime_error_ms": 0.4,
          "resume_ms": 3.2, "populate_ms": 620.0, "stream_bytes": 1717986918,
          "wire_bytes": 1718000000, "throughput_bytes_s": 2809000000, "mover_cpu_ms": 310.0,
          "mover_peak_bytes": 18 << 20, "cipher": "AES-256-GCM", "provider": "ipsec-mb",
          "mode": "required"}


def migration(**changes):
    return {"migration": ID, "role": "source", "vm": "vm1", "vm_uuid": "u", "peer":
            "spiffe://south.example/host/south1", "phase": "begin", "state": "active",
            "mode": "required", "channels": 2, **changes}


def transfer(percent, **changes):
    return migration(phase="transfer", percent=percent, rate_bytes_s=1200000000, iteration=2,
                     forecast_total_ms=2000, forecast_downtime_ms=40, **changes)


DONE = migration(phase="done", state="done", report=REPORT)


class Story:
    """Handlers for an engine that begins a migration and then tells these states by events."""

    def __init__(self, *states, then=None):
        self.states = states
        self.then = then
        self.told = []

    def handlers(self):
        return {"events": {}, "migrate": {"migration": ID}, "status": self.on_status,
                "cancel": self.on_cancel}

    def on_status(self, connection, _arguments):
        """The client asks once at the start; what comes afterwards is told unasked."""
        if self.told:
            return {"migrations": [self.told[-1]]}
        self.told.append(migration())
        request_id = self.last_id(connection)
        connection.send({"return": {"migrations": [migration()]}, "id": request_id})
        for state in self.states:
            self.tell(connection, state)
        if self.then:
            self.then(connection)
        return None

    @staticmethod
    def last_id(connection):
        """Requests are numbered; the last one in the queue is being answered."""
        return list(connection.engine.requests.queue)[-1]["id"]

    def tell(self, connection, state):
        self.told.append(state)
        connection.event("migration", state)

    def on_cancel(self, connection, _arguments):
        connection.send({"return": {}, "id": self.last_id(connection)})
        self.tell(connection, migration(state="cancelled"))


class Terminal:
    """sealift on a terminal of its own, so that it draws and Ctrl-C is a key."""

    def __init__(self, *arguments, columns=100):
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.process = subprocess.Popen(
            [SEALIFT, *arguments], stdin=slave, stdout=slave, stderr=slave, env=environment(),
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        os.close(slave)
        self.seen = ""

    def read_until(self, pattern):
        """Reads until the text matches; pattern None: until the program has ended."""
        deadline = time.monotonic() + DEADLINE_S
        while pattern is None or not re.search(pattern, self.seen):
            ready, _, _ = select.select([self.master], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                raise AssertionError(f"no {pattern!r} in time: {self.seen!r}")
            try:
                data = os.read(self.master, 65536)
            except OSError:  # EIO: the other end is closed
                data = b""
            if not data:
                if pattern is None:
                    return
                raise AssertionError(f"it ended without {pattern!r}: {self.seen!r}")
            self.seen += data.decode("latin-1")

    def press(self, text):
        os.write(self.master, text.encode())

    def end(self):
        self.read_until(None)
        return self.process.wait(timeout=DEADLINE_S)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)


class TerminalTest(CliTest):
    def terminal(self, engine, *arguments, **more):
        terminal = Terminal("--socket", engine.path, *arguments, **more)
        self.addCleanup(terminal.close)
        return terminal

    def tell(self, *states, then=None):
        story = Story(*states, then=then)
        engine = self.engine(**story.handlers())
        engine.story = story
        return engine


class Lines(TerminalTest):
    """Not on a terminal."""

    def test_one_object_a_line(self):
        engine = self.tell(migration(phase="prepare"), transfer(10), transfer(10), transfer(60), DONE)
        result = self.ask(engine, "migrate", "vm1", "south1")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        objects = [json.loads(line) for line in result.stdout.splitlines()]
        self.assertEqual([entry.get("percent") for entry in objects], [None, None, 10, 60, None])
        self.assertEqual(objects[-1], DONE)

    def test_json_on_a_terminal(self):
        terminal = self.terminal(self.tell(DONE), "--json", "migrate", "vm1", "south1")
        self.assertEqual(terminal.end(), 0)
        for line in terminal.seen.splitlines():
            self.assertEqual(json.loads(line)["migration"], ID)

    def test_arguments(self):
        engine = self.tell(DONE)
        result = self.ask(engine, "migrate", "vm1", "south1", "--channels", "4", "--bandwidth",
                          "10Gbit", "--max-downtime", "250")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(engine.next_request()["execute"], "events")
        self.assertEqual(engine.next_request()["arguments"],
                         {"vm": "vm1", "destination": "south1", "channels": 4,
                          "bandwidth": 1250000000, "max_downtime_ms": 250})

    def test_manner(self):
        for option in ("offline", "cold"):
            engine = self.tell(DONE)
            result = self.ask(engine, "migrate", "vm1", "south1", "--" + option)
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertEqual(engine.next_request()["execute"], "events")
            self.assertEqual(engine.next_request()["arguments"],
                             {"vm": "vm1", "destination": "south1", "manner": option})

    def test_detach(self):
        engine = self.tell()
        result = self.ask(engine, "migrate", "vm1", "south1", "--detach")
        self.assertEqual((result.returncode, result.stdout), (0, f"migration {ID} has begun\n"))
        result = self.ask(engine, "migrate", "vm1", "south1", "--detach", "--json")
        self.assertEqual(json.loads(result.stdout), {"migration": ID})

    def test_refused_at_once(self):
        def refuse(_connection, _arguments):
            raise Refuse("not-found", "there is no VM vm1")
        engine = self.engine(events={}, migrate=refuse)
        self.assert_fails(self.ask(engine, "migrate", "vm1", "south1"), 4, "there is no VM vm1")

    def test_failure_gives_category_and_reason(self):
        for category, status in (("denied", 6), ("peer", 8), ("hypervisor", 13), ("odd", 1)):
            with self.subTest(category):
                engine = self.tell(migration(state="failed",
                                             error={"category": category, "text": "it\x1b broke"}))
                self.assert_fails(self.ask(engine, "migrate", "vm1", "south1"), status,
                                  "migration 01234567 of vm1 failed: it\\x1b broke")

    def test_failure_in_json(self):
        engine = self.tell(migration(state="failed", error={"category": "peer", "text": "gone"}))
        result = self.ask(engine, "--json", "migrate", "vm1", "south1")
        self.assertEqual(result.returncode, 8)
        last = json.loads(result.stdout.splitlines()[-1])
        self.assertEqual(last["error"]["category"], "peer")

    def test_stuck_says_what_to_do(self):
        engine = self.tell(migration(state="stuck", phase="commit",
                                     error={"category": "unavailable", "text": "no answer"}))
        self.assert_fails(self.ask(engine, "migrate", "vm1", "south1"), 12, "stuck: no answer",
                          "sealift resolve 01234567 --run-here")

    def test_lost_engine(self):
        engine = self.tell(transfer(10), then=lambda connection: connection.close())
        self.assert_fails(self.ask(engine, "migrate", "vm1", "south1"), 12,
                          "the engine is gone; the migration is decided by both engines",
                          f"`sealift status {ID}` when it is back")

    def test_unavailable_peer_is_not_a_lost_engine(self):
        engine = self.tell(migration(state="failed",
                                     error={"category": "unavailable", "text": "peer is down"}))
        result = self.ask(engine, "migrate", "vm1", "south1")
        self.assert_fails(result, 12, "peer is down")
        self.assertNotIn("the engine is gone", result.stderr)

    def test_garbage_in_the_middle(self):
        for raw, words in ((b"\x00\xff\n", "no JSON object"), (b"x" * 70000, "65536"),
                           (b'{"return":{},"id":999}\n', "never asked"),
                           (b'{"event":"migration","data":[]}\n', "no object")):
            with self.subTest(words):
                engine = self.tell(transfer(10), then=lambda c, raw=raw: c.send_raw(raw))
                self.assert_fails(self.ask(engine, "migrate", "vm1", "south1"), 8, words)

    def test_others_migrations_and_odd_members_change_nothing(self):
        stranger = migration(migration="f" * 32, state="failed")
        odd = migration(phase=7, percent="many", rate_bytes_s=-5, iteration=1.5, x={"y": []})
        engine = self.tell(stranger, odd, {"state": "done"}, DONE)
        result = self.ask(engine, "migrate", "vm1", "south1")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(len(result.stdout.splitlines()), 3)

    def test_silent_engine_is_asked(self):
        """No event at all: the end is found by asking."""
        replies = [migration(), transfer(50), DONE]

        def status(_connection, _arguments):
            return {"migrations": [replies.pop(0)]}
        engine = self.engine(events={}, migrate={"migration": ID}, status=status)
        result = self.ask(engine, "migrate", "vm1", "south1")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(replies, [])

    def test_hanging_engine_is_given_up(self):
        engine = self.engine(events={}, migrate={"migration": ID},
                             status=lambda _connection, _arguments: None)
        self.assert_fails(self.ask(engine, "migrate", "vm1", "south1"), 10, "has not answered",
                          "sealift status")

    def test_interrupt_cancels(self):
        engine = self.tell(transfer(10))
        process = subprocess.Popen([SEALIFT, "--socket", engine.path, "migrate", "vm1", "south1"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                   env=environment())
        self.assertEqual(json.loads(process.stdout.readline())["phase"], "begin")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=DEADLINE_S)
        self.assertEqual(process.returncode, 11, errors)
        self.assertIn("asking the engine to cancel", errors)
        self.assertIn("of vm1 was cancelled", errors)
        self.assertIn("cancel", [request["execute"] for request in engine.asked()])


class Progress(TerminalTest):
    """On a terminal."""

    def drawn(self, text):
        """The states of the progress line, in the order in which they were drawn."""
        first = text.split("\n", 1)[0]
        return [state.rstrip() for state in first.split("\r") if state.strip()]

    def test_line_and_report(self):
        terminal = self.terminal(self.tell(migration(phase="prepare"), transfer(10), transfer(60),
                                           migration(phase="switchover"), DONE),
                                 "migrate", "vm1", "south1")
        self.assertEqual(terminal.end(), 0)
        states = self.drawn(terminal.seen)
        self.assertEqual([state.split()[0] for state in states],
                         ["begin", "prepare", "transfer", "transfer", "switchover", "done"])
        self.assertRegex(states[3], r"^transfer +60 % +\[=+> +\] +1\.20 GB/s  iteration 2  "
                                    r"total ~2\.00 s  downtime ~40 ms$")
        self.assert_plain(terminal.seen)
        for words in ("vm1 runs on spiffe://south.example/host/south1 (migration 01234567)",
                      "from the command to RESUME      1.84 s", "downtime                        41 ms",
                      "1.60 GiB", "2.81 GB/s", "AES-256-GCM", "ipsec-mb"):
            self.assertIn(words, terminal.seen)
        self.assertTrue(terminal.seen.endswith("\n"))
        self.assertLess(terminal.seen.count("\n"), 24, "one screen")

    def test_report_of_a_stopped_one(self):
        """Nothing resumed, and nobody is told that something runs."""
        report = {name: value for name, value in REPORT.items()
                  if not name.startswith(("downtime", "resume"))}
        terminal = self.terminal(self.tell({**DONE, "manner": "cold", "report": report}),
                                 "migrate", "--cold", "vm1", "south1")
        self.assertEqual(terminal.end(), 0)
        for words in ("vm1 is stopped on spiffe://south.example/host/south1 (migration 01234567)",
                      "from the command to the end     1.84 s", "1.60 GiB"):
            self.assertIn(words, terminal.seen)
        for words in ("RESUME", "runs", "downtime   "):
            self.assertNotIn(words, terminal.seen)

    def test_never_runs_backwards(self):
        terminal = self.terminal(self.tell(transfer(10), transfer(60), transfer(30, step="x"),
                                           migration(phase="prepare", percent=5),
                                           transfer(61), migration(phase="commit", percent=1000), DONE),
                                 "migrate", "vm1", "south1")
        self.assertEqual(terminal.end(), 0)
        order = ["begin", "prepare", "transfer", "switchover", "commit", "finish", "done"]
        states = self.drawn(terminal.seen)
        percents = [int(re.search(r"(\d+) %", state).group(1)) for state in states]
        phases = [order.index(state.split()[0]) for state in states]
        self.assertEqual(len(states), 7, states)
        self.assertEqual(percents, sorted(percents))
        self.assertEqual(phases, sorted(phases))
        self.assertEqual(percents[-1], 100)

    def test_fits_every_width(self):
        for columns in (1, 20, 40, 60, 80, 132, 500):
            with self.subTest(columns):
                terminal = self.terminal(self.tell(transfer(10), transfer(99), DONE), "migrate",
                                         "vm1", "south1", columns=columns)
                self.assertEqual(terminal.end(), 0)
                for state in terminal.seen.split("\n")[0].split("\r"):
                    self.assertLess(len(state), max(columns, 20), state)
                self.assertIn("transfer", terminal.seen)
                self.assertIn("99 %", terminal.seen)

    def test_shorter_line_wipes_the_longer_one(self):
        terminal = self.terminal(self.tell(transfer(10), migration(phase="switchover"), DONE),
                                 "migrate", "vm1", "south1")
        self.assertEqual(terminal.end(), 0)
        screen = ""
        for state in terminal.seen.split("\r\n")[0].split("\r"):
            screen = state + screen[len(state):]
        self.assertNotIn("GB/s", screen)
        self.assertTrue(screen.startswith("done"), screen)

    def test_warning_stands_beside_the_line(self):
        def then(connection):
            connection.event("warning", {"text": "mode is disabled\x1b[1m"})
            connection.event("migration", DONE)
        terminal = self.terminal(self.tell(transfer(10), then=then), "migrate", "vm1", "south1")
        self.assertEqual(terminal.end(), 0)
        self.assertIn("\nsealift: warning: mode is disabled\\x1b[1m\r\n", terminal.seen)

    def test_readable_migration_is_warned_of(self):
        done = {**DONE, "mode": "disabled", "report": {**REPORT, "mode": "disabled"}}
        terminal = self.terminal(self.tell(done), "migrate", "vm1", "south1")
        self.assertEqual(terminal.end(), 0)
        self.assertIn("WARNING: not encrypted", terminal.seen)

    def test_ctrl_c_cancels_once(self):
        terminal = self.terminal(self.tell(transfer(10)), "migrate", "vm1", "south1")
        terminal.read_until("10 %")
        terminal.press("\x03")
        self.assertEqual(terminal.end(), 11)
        self.assertIn("asking the engine to cancel", terminal.seen)
        self.assertIn("was cancelled", terminal.seen)
        self.assertRegex(terminal.seen, r"\rcancelled +10 %")

    def test_refused_cancel_goes_on(self):
        engine = self.tell(migration(phase="commit"))
        story = engine.story

        def cancel(connection, _arguments):
            connection.send({"error": {"category": "conflict", "text": "it is already given away"},
                             "id": story.last_id(connection)})
            story.tell(connection, DONE)
        engine.handlers["cancel"] = cancel
        terminal = self.terminal(engine, "migrate", "vm1", "south1")
        terminal.read_until("commit")
        terminal.press("\x03")
        self.assertEqual(terminal.end(), 0)
        self.assertIn("not cancelled: it is already given away", terminal.seen)
        self.assertIn("vm1 runs on", terminal.seen)

    def test_second_ctrl_c_leaves(self):
        engine = self.tell(transfer(10))
        engine.handlers["cancel"] = lambda _connection, _arguments: {}
        terminal = self.terminal(engine, "migrate", "vm1", "south1")
        terminal.read_until("10 %")
        terminal.press("\x03")
        terminal.read_until("asking the engine to cancel")
        terminal.press("\x03")
        self.assertEqual(terminal.end(), 130)
        self.assertIn(f"sealift status {ID} --watch", terminal.seen)

    def test_lost_engine_ends_the_line(self):
        terminal = self.terminal(self.tell(transfer(10), then=lambda c: c.close()), "migrate", "vm1",
                                 "south1")
        self.assertEqual(terminal.end(), 12)
        self.assertRegex(terminal.seen, r"40 ms\r\nsealift: the engine is gone")


class Watch(TerminalTest):
    def test_named(self):
        result = self.ask(self.tell(transfer(10), DONE), "status", ID[:6], "--watch")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(json.loads(result.stdout.splitlines()[-1]), DONE)

    def test_only_active(self):
        replies = [[migration(migration="f" * 32, state="done"), transfer(10)], [transfer(20)], [DONE]]
        engine = self.engine(events={},
                             status=lambda _connection, _arguments: {"migrations": replies.pop(0)})
        result = self.ask(engine, "status", "--watch")
        self.assertEqual(result.returncode, 0, result.stderr)

    def test_none(self):
        engine = self.engine(events={}, status={"migrations": []})
        self.assert_fails(self.ask(engine, "status", "--watch"), 4, "no migration is active")

    def test_wrong_number(self):
        engine = self.engine(events={}, status={"migrations": []})
        self.assert_fails(self.ask(engine, "status", "ab", "--watch"), 8, "0 migrations")

    def test_ctrl_c_leaves_without_cancelling(self):
        engine = self.tell(transfer(10))
        terminal = self.terminal(engine, "status", ID, "--watch")
        terminal.read_until("10 %")
        terminal.press("\x03")
        self.assertEqual(terminal.end(), 130)
        self.assertNotIn("cancel", [request["execute"] for request in engine.asked()])


class Events(TerminalTest):
    def serve(self, *raw):
        def events(connection, _arguments):
            connection.send({"return": {}, "id": 1})
            connection.event("migration", transfer(10))
            connection.event("warning", {"text": "a \x1b[2J CRL expires"})
            for data in raw:
                connection.send_raw(data)
            connection.close()
        return self.engine(events=events)

    def test_lines(self):
        result = self.ask(self.serve(), "events")
        self.assertEqual(result.returncode, 12)
        first, second = [json.loads(line) for line in result.stdout.splitlines()]
        self.assertEqual(first["data"], transfer(10))
        self.assertEqual((second["event"], second["time"]), ("warning", 1700000000.25))
        self.assertIn("closed the connection", result.stderr)

    def test_text_on_a_terminal(self):
        terminal = self.terminal(self.serve(), "events")
        self.assertEqual(terminal.end(), 12)
        self.assert_plain(terminal.seen)
        self.assertIn(f"2023-11-14 22:13:20 migration migration={ID} vm=vm1", terminal.seen)
        self.assertIn("text=a \\x1b[2J CRL expires", terminal.seen)

    def test_garbage(self):
        result = self.ask(self.serve(b"junk\n"), "events")
        self.assertEqual(result.returncode, 8)
        self.assertIn("no JSON object", result.stderr)


class Resolve(TerminalTest):
    def stuck(self):
        return self.engine(status={"migrations": [migration(state="stuck", phase="commit",
                                                            vm="vm\x1b[1m")]}, resolve={})

    def test_yes(self):
        engine = self.stuck()
        terminal = self.terminal(engine, "resolve", "0123", "--run-here")
        terminal.read_until("Type yes: ")
        self.assertIn("there will be two of it", terminal.seen)
        self.assert_plain(terminal.seen)
        terminal.press("yes\n")
        self.assertEqual(terminal.end(), 0)
        self.assertIn("resolve", [request["execute"] for request in engine.asked()])

    def test_anything_else(self):
        for answer in ("no\n", "y\n", "\n", "yes please\n", "\x04"):
            with self.subTest(repr(answer)):
                engine = self.stuck()
                terminal = self.terminal(engine, "resolve", "0123", "--run-here")
                terminal.read_until("Type yes: ")
                terminal.press(answer)
                self.assertEqual(terminal.end(), 11)
                self.assertIn("nothing was changed", terminal.seen)
                self.assertNotIn("resolve", [request["execute"] for request in engine.asked()])


if __name__ == "__main__":
    unittest.main()
