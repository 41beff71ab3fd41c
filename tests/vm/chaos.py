#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""chaos.py [N [SEED]]: N migrations (10), in each of which one random process is killed at a random
instant: an engine, a gate, a notary, a mover, a hypervisor. What must be started again is started
again; then exactly one guest must run, whole, or, if it was its own hypervisor that was killed while
it ran there, none. Prints what was killed when and how it ended; SEED repeats a run's choices."""
import collections
import contextlib
import os
import random
import sys

import vmcase
from vmcase import LONG, LabError, MIB, procs, wait_for

KINDS = ("engine", "mover", "gate", "signer", "verifier", "qemu")
ROLES = {"mover": ("sealift-mover", None), "gate": ("sealift-gate", None),
         "signer": ("sealift-notary", "--sign"), "verifier": ("sealift-notary", "--verify")}
# Of a migration at this pace: about two seconds from the command to its end.
BANDWIDTH = 80 * MIB
WINDOW_SECONDS = 1.8
LATE_SECONDS = 0.15
# A committed VM whose destination's hypervisor was killed waits for a person this long.
STUCK = 150


class Chaos(vmcase.VmCase):
    memory, walker_mem, rate = 128, 12, 300
    count, seed_of_run = 10, None

    def test_random_kills(self):
        seed = self.seed_of_run if self.seed_of_run is not None else random.randrange(1 << 32)
        chance, counts = random.Random(seed), collections.Counter()
        print(f"chaos: {self.count} rounds, seed {seed}", flush=True)
        try:
            for number in range(self.count):
                outcome = self.one_round(chance)
                counts[outcome.split(":")[0]] += 1
                print(f"{number + 1:3} {outcome}", flush=True)
                self.assertEqual(self.witness.complaints, [])
        finally:
            print("chaos:", ", ".join(f"{count} {what}" for what, count in sorted(counts.items())), flush=True)

    def one_round(self, chance):
        source, destination = self.guest()
        kind, side = chance.choice(KINDS), chance.choice(("source", "destination"))
        # Half of them where it matters most: within the downtime and what follows.
        late = chance.random() < 0.5
        delay = chance.uniform(0, LATE_SECONDS if late else WINDOW_SECONDS)
        host = source if side == "source" else destination
        migration = self.begin(source, destination, late)
        began = procs.monotonic()
        wait_for("instant", lambda: procs.monotonic() - began >= delay, 10, 0.001)
        step = self.step_of(source, migration) + "/" + self.step_of(destination, migration)
        killed = self.kill(host, kind)
        instant = f"{delay * 1000:.0f} ms after {'the pause' if late else 'the command'}"
        what = f"{side} {kind if killed else kind + ' (not there)'} {instant} in {step}"
        return f"{self.settle(source, destination, migration, kind if killed else None, side)}: {what}"

    def begin(self, source, destination, until_pause):
        with contextlib.closing(source.api()) as api:
            api("events")
            migration = api("migrate", vm="vm1", destination=destination.name,
                            bandwidth=BANDWIDTH)["migration"]
            while until_pause:
                data = api.event()["data"]
                if data.get("phase") not in ("begin", "prepare", "transfer", None):
                    break
        return migration

    def step_of(self, host, migration):
        view = self.view(host, migration)
        return view.get("step") or view.get("state") or "-"

    def kill(self, host, kind):
        """True if there was something to kill."""
        if kind == "engine":
            host.stop(9)
            host.start()
            return True
        if kind == "qemu":
            pids = [process.pid for process in procs.qemus(host)]
        else:
            pids = procs.roles(host, *ROLES[kind])
        for pid in pids:
            try:
                procs.kill(pid)
            except ProcessLookupError:
                return False
        return bool(pids)

    def settle(self, source, destination, migration, killed, side):
        """Waits for the end and checks it: done, undone, resolved or lost."""
        view = source.wait_migration(migration, STUCK, ("done", "failed", "cancelled", "stuck"))
        ended = view["state"]
        if ended == "stuck":
            # Only this leaves the decision to a person: given away, and its hypervisor died there.
            self.assertEqual((killed, side), ("qemu", "destination"), view)
            self.assertEqual(procs.hypervisors(self.lab, view["vm_uuid"])[0].pid, source.vm("vm1")["pid"])
            source.call("resolve", migration=migration, action="run-here")
            source.wait_migration(migration, LONG)
        lost = self.was_lost(source, destination, view, killed, side)
        self.wait_children()
        if lost:
            for host in self.lab.hosts:
                self.assert_nothing_left(host)
            self.drop_session()
            return "lost"
        self.assert_runs_only(destination if ended == "done" else source)
        # A destination that was killed right after activation waits for the source's last word first.
        for host in self.lab.hosts:
            wait_for(f"ends at {host.name}", lambda h=host: all(
                m["state"] not in ("active", "stuck") for m in h.migrations()), LONG)
        return {"done": "done", "stuck": "resolved"}.get(ended, "undone")

    def was_lost(self, source, destination, view, killed, side):
        """A guest dies with the hypervisor that it runs in, and only then."""
        if killed != "qemu":
            return False
        runner, dead = (destination, "destination") if view["state"] == "done" else (source, "source")
        if side != dead:
            return False
        # Its row says so once its end was noticed; if it lives, the kill hit the other copy.
        try:
            return wait_for("word of the VM", lambda: self.fate(runner), LONG) == "dead"
        except LabError:
            self.fail(f"the VM at {runner.name}: {runner.vm('vm1')}")

    def fate(self, host):
        vm = host.vm("vm1")
        alive = [process.pid for process in procs.qemus(host)]
        if vm and vm["state"] == "running" and vm.get("pid") in alive:
            return "alive"
        return "dead" if not alive and (not vm or vm["state"] in ("stopped", "failed")) else None

    def wait_children(self):
        for host in self.lab.hosts:
            wait_for(f"children of {host.name}", lambda h=host: h.call("doctor")["checks"][0]["ok"], LONG)


if __name__ == "__main__":
    Chaos.count = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    Chaos.seed_of_run = int(sys.argv[2]) if len(sys.argv) > 2 else None
    del sys.argv[1:]
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    vmcase.main()
