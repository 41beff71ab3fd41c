#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Whatever dies before the commit is journalled: the guest runs on at the source, nothing stays at
the destination, and a later migration works."""
import functools

import vmcase
from vmcase import LONG, MIB, procs, wait_for

CLOSED = (r"^10\.77\.0\.\d: the peer closed the connection without an end$|"
          r"^channel \S+: the (peer closed the )?connection .*$")
GONE = r"was killed by signal 9 \(killed\)$"


class Idle(vmcase.VmCase):
    """Without a migration an engine's death is no more than a pause of its service."""

    disk = "idle.raw"

    def test_engine_killed_with_an_idle_guest(self):
        source, destination = self.guest()
        before = source.vm("vm1")
        source.stop(9)
        self.assertTrue(procs.guest_runs(before["pid"]))
        wait_for("end of its roles", lambda: not procs.orphans(self.lab), LONG)
        source.start()
        self.assertEqual(self.assert_runs_only(source)["pid"], before["pid"])
        self.moved(source, destination)
        self.assertEqual(self.assert_runs_only(destination)["epoch"], before["epoch"] + 1)

    def test_engine_ended_in_order_with_an_idle_guest(self):
        source, destination = self.guest()
        source.stop()
        source.start()
        self.assert_runs_only(source)
        self.moved(source, destination)
        self.assert_runs_only(destination)

    def test_guest_that_died_without_an_engine_is_not_taken_for_a_running_one(self):
        source, destination = self.guest()
        pid = source.vm("vm1")["pid"]
        source.stop(9)
        procs.kill(pid)
        source.start()
        self.assertEqual(source.vm("vm1")["state"], "stopped")
        error = source.refusal("migrate", vm="vm1", destination=destination.name)
        self.assertEqual(error, {"category": "conflict",
                                 "text": "VM vm1 is stopped here: --cold moves it so"})
        self.drop_session()


class BeforeCommit(vmcase.VmCase):
    """Each fault in each phase in which it means something; the methods are made below."""

    def hold(self, phase):
        self.source, self.destination = self.guest()
        self.migration, self.frozen = getattr(self, "hold_" + phase)(self.source, self.destination)

    def release(self):
        if self.frozen:
            procs.thaw(self.frozen)

    def ends_at_source(self, state, text):
        view = self.source.wait_migration(self.migration, LONG)
        self.release()
        self.assert_failed(view, state, text)
        self.assert_runs_only(self.source)

    def ends_at_destination(self):
        self.release()
        view = self.source.wait_migration(self.migration, LONG)
        self.assertEqual(view["state"], "done", view.get("error"))
        self.assert_runs_only(self.destination)

    def later_migration_works(self):
        self.moved(self.source, self.destination)
        self.assert_runs_only(self.destination)

    def source_engine_killed(self):
        self.source.stop(9)
        self.release()
        self.source.start()
        self.ends_at_source("failed", r"^the engine was restarted in phase (begin|prepare|transfer)$")
        self.later_migration_works()

    def source_engine_ended(self):
        self.source.stop()
        self.release()
        self.source.start()
        self.ends_at_source("failed", r"^the engine was restarted in phase (begin|prepare|transfer)$")

    def destination_engine_killed(self):
        self.destination.stop(9)
        wait_for("undo", lambda: self.view(self.source, self.migration).get("state") != "active" or
                 self.view(self.source, self.migration).get("step") == "undo", LONG)
        self.release()
        self.destination.start()
        self.ends_at_source("failed", CLOSED)
        self.later_migration_works()

    def source_mover_killed(self):
        procs.kill(procs.roles(self.source, "sealift-mover")[0])
        self.ends_at_source("failed", f"^sealift-mover {GONE}|"
                            r"^spiffe://.*: channel \S+: the connection closed after \d+ bytes without an end")

    def destination_mover_killed(self):
        procs.kill(procs.roles(self.destination, "sealift-mover")[0])
        self.ends_at_source("failed", f"{CLOSED}|^spiffe://.*: sealift-mover {GONE}")

    def movers_killed_after_ready(self):
        """They have done their work: the hypervisors' word decides."""
        for host in (self.source, self.destination):
            procs.kill(procs.roles(host, "sealift-mover")[0])
        self.ends_at_destination()

    def source_gate_killed(self):
        procs.kill(procs.roles(self.source, "sealift-gate")[0])
        self.ends_at_source("failed", f"^sealift-gate {GONE}|{CLOSED}")
        self.gate_is_back(self.source)

    def destination_gate_killed(self):
        procs.kill(procs.roles(self.destination, "sealift-gate")[0])
        self.ends_at_source("failed", CLOSED)
        self.gate_is_back(self.destination)

    def gate_is_back(self, host):
        wait_for("gate", lambda: procs.roles(host, "sealift-gate") and
                 host.call("doctor")["checks"][0]["ok"], LONG)

    def destination_qemu_killed(self):
        procs.kill(procs.qemus(self.destination)[0].pid)
        self.ends_at_source("failed", r"^spiffe://.*: (QEMU \(process \d+\) was ended by signal 9|channel \S+: QEMU)")

    def source_qemu_killed(self):
        """The guest dies with its hypervisor; the destination must not keep half of it."""
        procs.kill(self.source.vm("vm1")["pid"])
        view = self.source.wait_migration(self.migration, LONG)
        self.release()
        self.assert_failed(view, "failed", r"QEMU \(process \d+\) was ended by signal 9")
        self.assert_nothing_left(self.destination)
        self.assert_nothing_left(self.source)
        self.drop_session()

    def source_qemu_killed_after_all_was_sent(self):
        """Then the destination has the only copy, and it is whole."""
        procs.kill(self.source.vm("vm1")["pid"])
        self.ends_at_destination()

    def notary_that_is_needed_killed(self):
        """`frozen` is the one that was asked and has not answered."""
        procs.kill(self.frozen)
        self.frozen = None
        # On a busy machine it may be gone before the question leaves.
        self.ends_at_source("failed", f"^(spiffe://.*: )?(sealift-notary {GONE}|the notary is being restarted$)")
        for host in self.lab.hosts:
            wait_for("notaries", lambda h=host: len(procs.roles(h, "sealift-notary")) == 2 and
                     h.call("doctor")["checks"][0]["ok"], LONG)

    def cancelled_at_source(self):
        self.source.call("cancel", migration=self.migration)
        self.ends_at_source("cancelled", r"^cancelled by a person in phase ")

    def cancelled_at_destination(self):
        self.destination.call("cancel", migration=self.migration)
        self.ends_at_source("cancelled", r"^spiffe://.*: cancelled by a person in phase ")

    def cancel_refused_at_destination(self):
        """Before the offer is verified it has no name; once ready is signed the source decides."""
        error = self.destination.refusal("cancel", migration=self.migration)
        self.assertIn((error["category"], error["text"]), (
            ("not-found", f'no migration "{self.migration}" is under way here'),
            ("conflict", "cannot cancel in phase switchover: the other side decides now")))
        self.source.call("cancel", migration=self.migration)
        self.ends_at_source("cancelled", r"^cancelled by a person in phase ")

    def test_notaries_killed_in_transfer_are_not_missed(self):
        source, destination = self.guest()
        migration = self.migrate(source, destination, bandwidth=24 * MIB)
        self.wait_step(destination, migration, "loading")
        for host in self.lab.hosts:
            for pid in procs.roles(host, "sealift-notary"):
                procs.kill(pid)
        view = source.wait_migration(migration, LONG)
        self.assertEqual(view["state"], "done", view.get("error"))
        self.assert_runs_only(destination)

    def test_source_says_at_once_that_its_gate_is_away(self):
        source, destination = self.guest()
        procs.kill(procs.roles(source, "sealift-gate")[0])
        view = source.wait_migration(self.migrate(source, destination), 10)
        self.assert_failed(view, "failed", rf"the gate is being restarted$|^sealift-gate {GONE}")
        self.gate_is_back(source)
        self.moved(source, destination)
        self.assert_runs_only(destination)

    def test_descriptors_and_processes_do_not_pile_up(self):
        source, destination = self.guest()
        counts = []
        for _ in range(4):
            migration, _ = self.hold_transfer(source, destination)
            source.call("cancel", migration=migration)
            source.wait_migration(migration, LONG)
            self.assert_runs_only(source)
            counts.append([self.descriptors(host) for host in self.lab.hosts])
        self.assertEqual(counts[1:], counts[:1] * 3)

    @staticmethod
    def descriptors(host):
        return len(procs.descriptors(host.engine.pid))


ALL = ("begin", "prepare", "transfer", "switchover", "question")
TABLE = {
    "source_engine_killed": ALL,
    "source_engine_ended": ("transfer",),
    "destination_engine_killed": ALL,
    "source_mover_killed": ("begin", "prepare", "transfer", "switchover"),
    "destination_mover_killed": ("prepare", "transfer"),
    "movers_killed_after_ready": ("question",),
    "source_gate_killed": ALL,
    "destination_gate_killed": ALL,
    "destination_qemu_killed": ("prepare", "transfer", "switchover", "question"),
    "source_qemu_killed": ("prepare", "transfer"),
    "source_qemu_killed_after_all_was_sent": ("switchover", "question"),
    "notary_that_is_needed_killed": ("begin", "switchover", "question"),
    "cancelled_at_source": ALL,
    "cancelled_at_destination": ("prepare", "transfer", "switchover"),
    "cancel_refused_at_destination": ("begin", "question"),
}


def in_phase(fault, phase):
    @functools.wraps(fault)
    def test(self):
        self.hold(phase)
        fault(self)
    return test


for NAME, PHASES in TABLE.items():
    for PHASE in PHASES:
        setattr(BeforeCommit, f"test_{NAME}_in_{PHASE}", in_phase(getattr(BeforeCommit, NAME), PHASE))


class LinkCut(vmcase.VmCase):
    def test_cut_and_mended_before_anybody_gives_up(self):
        source, destination = self.guest()
        migration = self.migrate(source, destination, bandwidth=20 * MIB)
        self.wait_step(destination, migration, "loading")
        wait_for("progress", lambda: self.view(source, migration).get("bytes_done"), LONG)
        self.lab.link("south", False)
        done = self.view(source, migration)["bytes_done"]
        with self.assertRaisesRegex(vmcase.LabError, "no progress"):
            wait_for("progress", lambda: self.view(source, migration)["bytes_done"] > done + 16 * MIB, 2)
        self.lab.link("south", True)
        view = source.wait_migration(migration, LONG)
        self.assertEqual(view["state"], "done", view.get("error"))
        self.assert_runs_only(destination)


class LinkCutInEachPhase(vmcase.VmCase):
    """One cut hits a migration in each phase at once: its detection takes a while, once."""

    NAMES = ("transfer", "prepare", "switchover", "begin")

    def alone(self, vm):
        return False

    def test_cut_while_four_migrations_are_under_way_then_mended(self):
        north, south = self.lab.hosts
        sessions = {}
        for number, name in enumerate(self.NAMES, start=20):
            self.lab.start_vm(name=name, ip=f"10.77.0.{number}", mac=f"52:54:00:77:00:{number}",
                              memory=128, walker_mem=8, rate=50)
        for number, name in enumerate(self.NAMES, start=20):
            sessions[name] = self.lab.walker(LONG, f"10.77.0.{number}")
            self.addCleanup(sessions[name].close)
        held = {name: getattr(self, "hold_" + name)(north, south, vm=name) for name in self.NAMES}
        self.lab.link("south", False)
        for _, frozen in held.values():
            if frozen:
                procs.thaw(frozen)
        for name, (migration, _) in held.items():
            view = north.wait_migration(migration, LONG)
            self.assert_failed(view, "failed", r"took longer than \d+ ms|within \d+ ms|connection")
        self.lab.link("south", True)
        for name, session in sessions.items():
            self.assert_runs_only(north, name, session, 8 * MIB // 4096)
        self.assertEqual(self.taps(south) + self.run_directories(south), [])
        self.moved(north, south, "transfer")
        self.assert_runs_only(south, "transfer", sessions["transfer"], 8 * MIB // 4096)


if __name__ == "__main__":
    vmcase.main()
