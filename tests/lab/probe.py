#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Asks a guest all the time, and says how long it was silent.

usage: probe.py ADDRESS [PORT [INTERVAL_MS]]

Every INTERVAL_MS (5) it sends one ICMP echo request and one line on one TCP session with the
guest's walker (PORT 7777), which it never opens again. Each line "mark" on standard input ends a
window and prints what was seen in it as one JSON object; the end of standard input ends the probe.
A gap that reaches over a mark counts in both windows. Needs a raw socket for the ICMP half, and
does without where it gets none ("icmp": null).
"""
import contextlib
import json
import os
import re
import select
import socket
import struct
import sys
import time

SO_TIMESTAMPNS = 35  # asm-generic/socket.h; Python names it nowhere
TIMESPEC = struct.Struct("@ll")
PONG = re.compile(rb"pong (\d+) (\d+) (\d+)")


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xffff)
    return ~(total + (total >> 16)) & 0xffff


class Gaps:
    """Questions, answers, and the longest time without an answer."""

    def __init__(self):
        self.last = time.time()
        self.last_sent = self.last
        self.asked_all = self.answered_all = 0
        self.reset()

    def reset(self):
        self.asked = self.answered = 0
        self.longest = self.longest_pause = 0.0

    def ask(self, now):
        self.asked += 1
        self.asked_all += 1
        self.longest_pause = max(self.longest_pause, now - self.last_sent)
        self.last_sent = now

    def answer(self, now):
        self.answered += 1
        self.answered_all += 1
        self.longest = max(self.longest, now - self.last)
        self.last = max(self.last, now)

    def view(self, now):
        return {"asked": self.asked, "answered": self.answered,
                "asked_all": self.asked_all, "answered_all": self.answered_all,
                "longest_gap_ms": round(1000 * max(self.longest, now - self.last), 1),
                "longest_pause_ms": round(1000 * self.longest_pause, 1)}


class Icmp:
    """Echo requests; the kernel's time of arrival, so that a late wake-up of ours is no gap."""

    def __init__(self, address):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.socket.connect((address, 0))
        self.identifier = os.getpid() & 0xffff
        self.sequence = 0
        self.gaps = Gaps()

    def ask(self, now):
        self.sequence = (self.sequence + 1) & 0xffff
        head = struct.pack("!BBHHH", 8, 0, 0, self.identifier, self.sequence)
        head = struct.pack("!BBHHH", 8, 0, checksum(head), self.identifier, self.sequence)
        # Not asked is not answered either: a full queue or a missing neighbour is part of the gap.
        with contextlib.suppress(OSError):
            self.socket.send(head)
            self.gaps.ask(now)

    def take(self):
        while True:
            try:
                packet, more, _, _ = self.socket.recvmsg(2048, 128)
            except BlockingIOError:
                return
            except OSError:
                continue  # "host unreachable" of a second ago: told once, then gone
            start = (packet[0] & 15) * 4
            kind, _, _, identifier, _ = struct.unpack_from("!BBHHH", packet, start)
            if kind == 0 and identifier == self.identifier:
                self.gaps.answer(self.arrival(more))

    @staticmethod
    def arrival(more):
        for level, kind, data in more:
            if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
                seconds, nanoseconds = TIMESPEC.unpack(data[:TIMESPEC.size])
                return seconds + nanoseconds / 1e9
        return time.time()


class Session:
    """One TCP session with the walker: numbered questions, answers in order, its counter."""

    def __init__(self, address, port):
        self.socket = socket.create_connection((address, port), 30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.unsent, self.unread = b"", b""
        self.number = self.expected = 0
        self.broken = ""
        self.gaps = Gaps()
        self.counter = None
        self.reset()

    def reset(self):
        self.first = self.counter
        self.largest_step = 0
        self.errors = 0

    def ask(self, now):
        if self.broken:
            return
        # What the socket does not take waits here: at most a window full while the guest is away.
        if len(self.unsent) < 1 << 20:
            self.unsent += b"ping %d\n" % self.number
            self.number += 1
            self.gaps.ask(now)
        self.push()

    def push(self):
        try:
            self.unsent = self.unsent[self.socket.send(self.unsent):]
        except BlockingIOError:
            pass
        except OSError as error:
            self.broken = error.strerror

    def take(self):
        try:
            data = self.socket.recv(65536)
        except BlockingIOError:
            return
        except OSError as error:
            self.broken = error.strerror
            return
        if not data:
            self.broken = "the guest closed it"
        *lines, self.unread = (self.unread + data).split(b"\n")
        for line in lines:
            self.on_line(line.strip(), time.time())

    def on_line(self, line, now):
        match = PONG.fullmatch(line)
        if not match or int(match[3]) != self.expected:
            self.broken = f"expected the answer to question {self.expected}, not {line[:60]!r}"
            return
        counter, errors = int(match[1]), int(match[2])
        self.expected += 1
        self.gaps.answer(now)
        if self.first is None:
            self.first = counter
        if self.counter is not None:
            if counter < self.counter:
                self.broken = f"the guest's counter went back from {self.counter} to {counter}"
            self.largest_step = max(self.largest_step, counter - self.counter)
        self.counter, self.errors = counter, max(self.errors, errors)

    def view(self, now):
        return {**self.gaps.view(now), "broken": self.broken, "counter_first": self.first,
                "counter_last": self.counter, "counter_largest_step": self.largest_step,
                "errors": self.errors}


def open_icmp(address):
    try:
        return Icmp(address)
    except OSError:
        return None


def mark(icmp, session):
    now = time.time()
    print(json.dumps({"icmp": icmp.gaps.view(now) if icmp else None, "tcp": session.view(now)}),
          flush=True)
    for part in (icmp, session):
        if part:
            part.gaps.reset()
    session.reset()


def main():
    address = sys.argv[1]
    port = int(sys.argv[2]) if len(sys.argv) > 2 else 7777
    interval = float(sys.argv[3]) / 1000 if len(sys.argv) > 3 else 0.005
    session, icmp = Session(address, port), open_icmp(address)
    # A measure that waits for the processor measures the processor.
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    parts = [part for part in (icmp, session) if part]
    readers = {part.socket: part for part in parts}
    due, words = time.monotonic(), b""
    while True:
        wait = max(0.0, due - time.monotonic())
        watched = [s for s in readers if s is not session.socket or not session.broken]
        for ready in select.select([0, *watched], [], [], wait)[0]:
            if ready != 0:
                readers[ready].take()
                continue
            data = os.read(0, 4096)
            if not data:
                return
            *lines, words = (words + data).split(b"\n")
            for _ in lines:
                mark(icmp, session)
        if time.monotonic() >= due:
            due = max(due + interval, time.monotonic())
            now = time.time()
            for part in parts:
                part.ask(now)


if __name__ == "__main__":
    main()
