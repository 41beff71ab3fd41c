#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Whatever dies before the commit is journalled: the guest runs on at the source, nothing stays at
the destination, and a later migration works."""
import unittest

import vmcase
from vmcase import LONG, MIB, procs, wait_for

PHASES = ("begin", "prepare", "transfer", "switchover", "question")


class FaultsBeforeCommit(vmcase.VmCase):
    def held(self, phase):
        source, destination = self.guest()
        migration, frozen = getattr(self, "hold_" + phase)(source, destination)
        return source, destination, migration, frozen

    def ends_at_source(self, source, destination, migration, text, state="failed"):
        view = source.wait_migration(migration, LONG)
        print(view.get("error"))
        self.assert_failed(view, state, text)
        self.assert_runs_only(source)

    # One method for each fault; each runs in each phase.

    def source_engine_killed(self, phase):
        source, destination, migration, frozen = self.held(phase)
        source.stop(9)
        if frozen:
            procs.thaw(frozen)
        source.start()
        self.ends_at_source(source, destination, migration, r"^the engine was restarted in phase ")

    def destination_engine_killed(self, phase):
        source, destination, migration, frozen = self.held(phase)
        destination.stop(9)
        if frozen:
            procs.thaw(frozen)
        destination.start()
        self.ends_at_source(source, destination, migration, r".")

    def source_mover_killed(self, phase):
        source, destination, migration, frozen = self.held(phase)
        procs.kill(procs.roles(source, "sealift-mover")[0])
        if frozen:
            procs.thaw(frozen)
        self.ends_at_source(source, destination, migration, r".")

    def destination_mover_killed(self, phase):
        source, destination, migration, frozen = self.held(phase)
        procs.kill(procs.roles(destination, "sealift-mover")[0])
        if frozen:
            procs.thaw(frozen)
        self.ends_at_source(source, destination, migration, r".")

    def destination_qemu_killed(self, phase):
        source, destination, migration, frozen = self.held(phase)
        procs.kill(procs.qemus(destination)[0].pid)
        if frozen:
            procs.thaw(frozen)
        self.ends_at_source(source, destination, migration, r".")

    def source_gate_killed(self, phase):
        source, destination, migration, frozen = self.held(phase)
        procs.kill(procs.roles(source, "sealift-gate")[0])
        if frozen:
            procs.thaw(frozen)
        self.ends_at_source(source, destination, migration, r".")

    def destination_gate_killed(self, phase):
        source, destination, migration, frozen = self.held(phase)
        procs.kill(procs.roles(destination, "sealift-gate")[0])
        if frozen:
            procs.thaw(frozen)
        self.ends_at_source(source, destination, migration, r".")

    def cancelled_at_source(self, phase):
        source, destination, migration, frozen = self.held(phase)
        source.call("cancel", migration=migration)
        if frozen:
            procs.thaw(frozen)
        self.ends_at_source(source, destination, migration, r".", "cancelled")

    def cancelled_at_destination(self, phase):
        source, destination, migration, frozen = self.held(phase)
        if phase == "begin":
            # An offer that is not verified yet has no name here.
            error = destination.refusal("cancel", migration=migration)
            self.assertEqual(error["category"], "not-found")
            source.call("cancel", migration=migration)
        elif phase == "question":
            error = destination.refusal("cancel", migration=migration)
            self.assertEqual(error["category"], "conflict")
            self.assertRegex(error["text"], r"^cannot cancel in phase switchover: the other side decides now$")
            source.call("cancel", migration=migration)
        else:
            destination.call("cancel", migration=migration)
        if frozen:
            procs.thaw(frozen)
        self.ends_at_source(source, destination, migration, r".", "cancelled")


for fault in [name for name in vars(FaultsBeforeCommit) if name.split("_")[-1] in ("killed", "source", "destination") and name not in ("ends_at_source",)]:
    for phase in PHASES:
        setattr(FaultsBeforeCommit, f"test_{fault}_in_{phase}", lambda self, f=fault, p=phase: getattr(self, f)(p))

if __name__ == "__main__":
    vmcase.main()
