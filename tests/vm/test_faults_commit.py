#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Around the point of no return: whatever dies, exactly one guest goes on, or the source stays stopped
and says what to do."""
import vmcase
from vmcase import LONG, MIB, procs, wait_for

STUCK = 120


class Commit(vmcase.VmCase):
    def hold(self, where):
        self.source, self.destination = self.guest()
        self.migration, self.frozen = getattr(self, "hold_" + where)(self.source, self.destination)

    def ends_at_destination(self):
        procs.thaw(self.frozen)
        view = self.source.wait_migration(self.migration, LONG)
        self.assertEqual(view["state"], "done", view.get("error"))
        self.assertNotIn("error", view)
        self.assert_runs_only(self.destination)
        self.assertEqual(self.source.vm("vm1")["state"], "moved")

    def test_destination_engine_killed_with_a_commit_that_it_has_not_read(self):
        self.hold("committed")
        self.destination.stop(9)
        self.destination.start()
        self.ends_at_destination()

    def test_destination_engine_killed_while_activating(self):
        self.hold("activating")
        self.destination.stop(9)
        procs.thaw(self.frozen)
        self.destination.start()
        self.ends_at_destination()

    def test_destination_engine_killed_before_activated_is_signed(self):
        self.hold("active")
        self.destination.stop(9)
        self.assertTrue(procs.guest_runs(procs.qemus(self.destination)[0].pid))
        self.destination.start()
        self.ends_at_destination()

    def test_source_engine_killed_right_after_its_commit(self):
        self.hold("committed")
        self.source.stop(9)
        procs.thaw(self.frozen)
        self.source.start()
        self.ends_at_destination()

    def test_source_engine_is_back_before_the_destination_reads(self):
        self.hold("committed")
        self.source.stop(9)
        self.source.start()
        self.wait_step(self.source, self.migration, "wait-activated")
        self.ends_at_destination()

    def test_both_engines_killed_after_commit_destination_first(self):
        self.hold("committed")
        self.source.stop(9)
        self.destination.stop(9)
        self.destination.start()
        self.source.start()
        self.ends_at_destination()

    def test_both_engines_killed_after_commit_source_first(self):
        self.hold("activating")
        self.source.stop(9)
        self.destination.stop(9)
        procs.thaw(self.frozen)
        self.source.start()
        self.wait_step(self.source, self.migration, "wait-activated")
        self.destination.start()
        self.ends_at_destination()

    def test_both_engines_killed_before_commit(self):
        """Ready was signed, nothing was given: the guest is the source's."""
        self.hold("question")
        self.source.stop(9)
        self.destination.stop(9)
        procs.thaw(self.frozen)
        self.destination.start()
        self.source.start()
        view = self.source.wait_migration(self.migration, LONG)
        self.assert_failed(view, "failed", r"^the engine was restarted in phase transfer$")
        self.assert_runs_only(self.source)

    def test_source_qemu_killed_after_commit(self):
        self.hold("committed")
        procs.kill(self.source.vm("vm1")["pid"])
        self.ends_at_destination()

    def test_gates_killed_after_commit(self):
        self.hold("activating")
        for host in (self.source, self.destination):
            procs.kill(procs.roles(host, "sealift-gate")[0])
        self.ends_at_destination()

    def test_signer_killed_before_it_signed_activated(self):
        self.hold("active")
        procs.kill(self.frozen)
        self.ends_at_destination()

    def test_link_cut_when_commit_is_sent_then_mended(self):
        self.hold("question")
        self.lab.link(self.destination.name, False)
        procs.thaw(self.frozen)
        self.wait_step(self.source, self.migration, "wait-activated")
        self.assertFalse(procs.guest_runs(self.source.vm("vm1")["pid"], 0.3))
        self.lab.link(self.destination.name, True)
        self.ends_at_destination()

    def test_cancel_stop_and_second_migration_are_refused_after_commit(self):
        self.hold("committed")
        error = self.source.refusal("cancel", migration=self.migration)
        self.assertEqual(error, {"category": "conflict", "text":
                                 "cannot cancel in phase commit: the VM is already given to the destination"})
        error = self.source.refusal("vm-stop", vm="vm1")
        self.assertEqual(error, {"category": "conflict",
                                 "text": "VM vm1 is being migrated; cancel that first"})
        error = self.source.refusal("migrate", vm="vm1", destination=self.destination.name)
        self.assertEqual(error["category"], "conflict")
        self.ends_at_destination()

    def test_resolve_is_refused_where_nothing_is_to_be_resolved(self):
        source, destination = self.guest()
        error = source.refusal("resolve", migration="00ff", action="run-here")
        self.assertEqual(error, {"category": "not-found", "text": 'no migration "00ff" is under way here'})
        self.hold("transfer")
        for host, text in ((self.source, "^migration is in step transfer: nothing to resolve$"),
                           (self.destination, "^only the source of a migration can be resolved to run here$")):
            error = host.refusal("resolve", migration=self.migration, action="run-here")
            self.assertEqual(error["category"], "conflict")
            self.assertRegex(error["text"], text)
        error = self.source.refusal("resolve", migration=self.migration, action="run-there")
        self.assertEqual(error["category"], "usage")
        self.source.call("cancel", migration=self.migration)
        self.source.wait_migration(self.migration, LONG)
        self.assert_runs_only(self.source)
        self.hold("committed")
        error = self.source.refusal("resolve", migration=self.migration, action="run-here")
        self.assertEqual(error, {"category": "conflict", "text":
                                 "the destination is still being asked; wait until the state is stuck"})
        self.ends_at_destination()


class ReturnPath(vmcase.VmCase):
    """The destination has loaded and is ready, but the source's QEMU does not know: once it learns
    that it never will, it runs the guest again by itself."""

    def hold_return_path(self):
        self.source, self.destination = self.guest()
        self.migration = self.migrate(self.source, self.destination, bandwidth=48 * MIB)
        self.wait_step(self.destination, self.migration, "loading")
        self.mover = procs.roles(self.destination, "sealift-mover")[0]
        try:
            self.thread = procs.HeldThread(procs.return_path_thread(self.mover))
        except OSError as error:
            self.source.call("cancel", migration=self.migration)
            self.skipTest(f"no ptrace here: {error}")
        self.addCleanup(self.thread.release)
        self.wait_step(self.source, self.migration, "question")
        self.wait_step(self.destination, self.migration, "wait-commit")

    def test_it_learns_late(self):
        self.hold_return_path()
        self.thread.release()
        view = self.source.wait_migration(self.migration, LONG)
        self.assertEqual(view["state"], "done", view.get("error"))
        self.assert_runs_only(self.destination)

    def test_it_never_learns_because_the_mover_died(self):
        self.hold_return_path()
        procs.os.kill(self.mover, 9)
        self.thread.release()
        view = self.source.wait_migration(self.migration, LONG)
        self.assert_failed(view, "failed",
                           r"^the destination is ready, but our hypervisor's migration failed: "
                           r"channel \S+: the (connection|peer closed the connection) ")
        self.assert_runs_only(self.source)

    def test_it_never_learns_because_the_link_is_cut(self):
        self.hold_return_path()
        self.lab.link(self.destination.name, False)
        self.thread.release()
        view = self.source.wait_migration(self.migration, LONG)
        self.assert_failed(view, "failed", r"^step question took longer than 10000 ms$")
        self.assertEqual(self.view(self.destination, self.migration)["step"], "wait-commit")
        self.lab.link(self.destination.name, True)
        self.assert_runs_only(self.source)


class LinkCutBeforeReady(vmcase.VmCase):
    def test_ready_that_does_not_arrive(self):
        source, destination = self.guest()
        migration, frozen = self.hold_switchover(source, destination)
        self.lab.link(destination.name, False)
        procs.thaw(frozen)
        self.wait_step(destination, migration, "wait-commit")
        view = source.wait_migration(migration, LONG)
        self.assert_failed(view, "failed", r"connection broke: Connection timed out$")
        self.assertTrue(procs.guest_runs(source.vm("vm1")["pid"]))
        self.lab.link(destination.name, True)
        self.assert_runs_only(source)


class Stuck(vmcase.VmCase):
    """Three VMs were given away and no activated comes: one ran at the destination all the time, one
    died there while it was activated, of one even the host is dead. The minute until a person is
    asked is waited for once."""

    NAMES = ("died", "dead", "runs")
    PAGES = 8 * MIB // 4096

    def alone(self, vm):
        return False

    def test_the_source_stays_stopped_says_so_and_a_person_decides(self):
        north, south = self.lab.hosts
        self.sessions = {}
        for number, name in enumerate(self.NAMES, start=30):
            self.lab.start_vm(name=name, ip=f"10.77.0.{number}", mac=f"52:54:00:77:00:{number}",
                              memory=128, walker_mem=8, rate=100)
        for number, name in enumerate(self.NAMES, start=30):
            self.sessions[name] = self.lab.walker(LONG, f"10.77.0.{number}")
            self.addCleanup(self.sessions[name].close)
        migrations, held = {}, {}
        for name, hold in (("died", self.hold_activating), ("dead", self.hold_activating),
                           ("runs", self.hold_active)):
            migrations[name], held[name] = hold(north, south, vm=name)
        self.lab.link("south", False)
        south.stop(9)
        for name in ("died", "dead"):
            procs.kill(held[name])
        procs.thaw(held["runs"])
        for name in self.NAMES:
            view = north.wait_migration(migrations[name], STUCK, ("stuck",))
            self.assertEqual((view["phase"], view["state"]), ("commit", "stuck"))
            self.assertRegex(view["error"]["text"], r"^step wait-activated took longer than 60000 ms$")
            self.assertFalse(procs.guest_runs(north.vm(name)["pid"], 0.3), "it must stay stopped")
        self.assertIn("sealift resolve", north.log())

        north.call("resolve", migration=migrations["dead"], action="run-here")
        view = north.wait_migration(migrations["dead"], LONG)
        self.assert_failed(view, "cancelled", r"^resolved by a person: runs here$")
        self.assertIn("RESOLVED BY A PERSON", north.log())
        self.runs_only_at_north("dead")

        self.lab.link("south", True)
        south.start()
        view = north.wait_migration(migrations["runs"], STUCK)
        self.assertEqual(view["state"], "done", view.get("error"))
        self.assert_runs_only(south, "runs", self.sessions["runs"], self.PAGES)

        # Its end is known now, but it may have run: only a person can take it back.
        wait_for("word of its end", lambda: "activation began here and its end is not known" in north.log(),
                 LONG)
        self.assertFalse(procs.guest_runs(north.vm("died")["pid"], 0.3))
        north.call("resolve", migration=migrations["died"], action="run-here")
        north.wait_migration(migrations["died"], LONG)
        for name in ("died", "dead"):
            self.assert_runs_only(north, name, self.sessions[name], self.PAGES)
        # Both can be moved again.
        self.moved(north, south, "dead")
        self.assert_runs_only(south, "dead", self.sessions["dead"], self.PAGES)

    def runs_only_at_north(self, name):
        """While the other host is dead."""
        view = wait_for(f"{name} at north", lambda: self.running_view(self.lab.north, name), LONG)
        self.assertTrue(procs.guest_runs(view["pid"]))
        pids = [process.pid for process in procs.hypervisors(self.lab, view["uuid"])]
        self.assertEqual(pids, [view["pid"]])
        self.assertEqual(self.sessions[name].check(), (self.PAGES, 0))


if __name__ == "__main__":
    vmcase.main()
