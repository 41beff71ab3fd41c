#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Keys on their way while something dies or is cut off: at the end the guest runs on one side, its keys
are active there and not on the other, and both logs prove that it was never otherwise."""

import sys

import key_case
import vmcase
from vmcase import LONG, MIB, procs, wait_for

ENDED = ("done", "failed", "cancelled")


class FaultCase(key_case.KeyCase):
    def guest_at_home(self):
        """A fresh guest each time: nothing of an earlier move explains what this one does."""
        self.new_guest()
        return self.lab.hosts

    def hold(self, where, **more):
        self.north, self.south = self.guest_at_home()
        self.migration, self.frozen = getattr(self, "hold_" + where)(self.north, self.south, **more)

    def hold_keys(self, source, destination, **more):
        """The destination's key manager is asked whom to seal for, and does not answer."""
        keyd = self.freeze_keyd(destination)
        migration = self.migrate(source, destination, **more)
        self.wait_step(source, migration, "keys")
        self.wait_step(destination, migration, "keys")
        return migration, keyd

    def hold_package(self, source, destination, **more):
        """The keys are exporting, the package is on its way; the other key manager has not judged it."""
        migration, mover = self.hold_prepare(source, destination, **more)
        packer = self.freeze_keyd(source)
        procs.thaw(mover)
        # It has made its offer, so it can only wait for a package from here on.
        wait_for("offer", lambda: "keys-offer" in
                 destination.call("evidence", migration=migration)["pieces"], LONG)
        keyd = self.freeze_keyd(destination)
        procs.thaw(packer)
        wait_for("package", lambda: self.exporting(source), LONG)
        return migration, keyd

    def exporting(self, host):
        return set(self.states(host).values()) == {"exporting"}

    def stays(self, exposed, text=r".", ended=("failed", "cancelled")):
        """It ended before the commit."""
        view = self.north.wait_migration(self.migration, 2 * LONG, ENDED)
        self.assertIn(view["state"], ended, view)
        self.assertRegex(view["error"]["text"], text)
        self.assert_runs_only(self.north)
        self.wait_keys(self.north, "active")
        self.south.keys_serve(LONG)
        wait_for("end of the keys at south", self.ended_at_south, LONG)
        self.assert_keys_at(self.north, None if not self.states(self.south) else "destroyed")
        if exposed is not None:
            self.assertEqual(self.exposed(self.north), {"south.example" if exposed else ""})
            self.wait_outcome(self.north, self.migration, "exposed" if exposed else "active")
            self.assertEqual("KEYS EXPOSED" in self.log_of(self.north, self.migration), exposed)

    def ended_at_south(self):
        return set(self.states(self.south).values()) <= {"destroyed"}

    def arrives(self, restart=False):
        """It was committed: whatever dies, it ends over there, and the keys here are destroyed."""
        self.assert_runs_only(self.south)
        self.assert_keys_at(self.south)
        for host, outcome in ((self.north, "destroyed"), (self.south, "active")):
            self.wait_outcome(host, self.migration, outcome)
        view = self.north.wait_migration(self.migration, LONG)
        self.assertEqual(view["state"], "done", view.get("error"))
        self.assertEqual(self.north.vm(self.vm)["state"], "moved")
        if restart:
            # The key is the one of its disk.
            self.restarted_guest(self.south)
            self.assert_disk_works()

    def settles(self):
        """Either of the two, whichever it was when something was killed."""
        view = self.north.wait_migration(self.migration, 2 * LONG, ENDED)
        if view["state"] == "done":
            self.arrives()
        else:
            self.stays(None)


class KeyManagers(FaultCase):
    """Killed, or away for good, at either side."""

    def test_souths_is_killed_before_its_offer(self):
        self.hold("keys")
        procs.kill(self.frozen)
        self.stays(False, "key manager")

    def test_souths_is_killed_with_the_package(self):
        self.hold("package")
        procs.kill(self.frozen)
        self.stays(True, "key manager")

    def test_norths_is_killed_before_it_packs(self):
        self.north, self.south = self.guest_at_home()
        keyd = self.freeze_keyd(self.north)
        self.migration = self.migrate(self.north, self.south)
        self.wait_step(self.north, self.migration, "offer")
        procs.kill(keyd)
        self.stays(None, "key manager")
        # Which keys there are it never said.
        self.assertEqual((self.exposed(self.north), self.outcome(self.north, self.migration)), ({""}, None))

    def test_both_are_killed_while_memory_flows(self):
        """Neither is needed then: the move goes on."""
        self.north, self.south = self.guest_at_home()
        self.migration = self.migrate(self.north, self.south, bandwidth=24 * MIB)
        self.wait_step(self.north, self.migration, "transfer")
        for host in (self.north, self.south):
            procs.kill(self.keyd(host))
        self.arrives()

    def test_souths_is_away_when_the_guest_resumes(self):
        self.hold("question")
        with self.no_keyd(self.south):
            procs.thaw(self.frozen)
            wait_for("guest at south", lambda: self.running_view(self.south, self.vm), LONG)
            # North owes: it does not destroy what nobody has yet, and does not give it back either.
            self.wait_keys(self.north, "exporting")
            self.assertEqual(self.outcome(self.north, self.migration), "moving")
            self.assertIn("key manager", self.log_of(self.south, self.migration))
        self.arrives(restart=True)

    def test_norths_is_away_when_it_shall_destroy(self):
        self.hold("question")
        with self.no_keyd(self.north):
            procs.thaw(self.frozen)
            wait_for("guest at south", lambda: self.running_view(self.south, self.vm), LONG)
            self.wait_keys(self.south, "active")
            self.assertEqual(self.outcome(self.north, self.migration), "moving")
        self.arrives()

    def test_norths_is_away_when_the_move_is_undone(self):
        """The guest runs on meanwhile; the key comes back with the key manager."""
        self.hold("transfer")
        with self.no_keyd(self.north):
            self.north.call("cancel", migration=self.migration)
            wait_for("undone", lambda: self.running_view(self.north, self.vm), LONG)
            self.assertTrue(procs.guest_runs(self.north.vm(self.vm)["pid"]))
        self.stays(True)

    def test_souths_is_away_when_the_move_is_undone(self):
        self.hold("transfer")
        with self.no_keyd(self.south):
            self.north.call("cancel", migration=self.migration)
            self.wait_keys(self.north, "active")
        self.stays(True)


class Engines(FaultCase):
    """kill -9 of sealiftd, and a start soon afterwards."""

    def both(self, where, which, end, *arguments):
        """The same for the source's and the destination's engine."""
        for name in which:
            # No subTest: a signal that ends the test would end only that.
            print(f"    {where}: {name}", file=sys.stderr)
            self.hold(where)
            host = getattr(self, name)
            host.stop(9)
            if self.frozen:
                procs.thaw(self.frozen)
            host.start()
            host.keys_serve(LONG)
            end(*arguments)

    def test_before_the_package(self):
        self.both("keys", ("north", "south"), self.stays, None)

    def test_with_the_package_on_its_way(self):
        self.both("package", ("north", "south"), self.stays, True)

    def test_while_memory_flows(self):
        self.both("transfer", ("north", "south"), self.stays, True)

    def test_with_everything_loaded(self):
        self.both("question", ("north", "south"), self.settles)

    def test_committed(self):
        self.both("activating", ("north", "south"), self.arrives)

    def test_running_over_there(self):
        self.both("active", ("north", "south"), self.arrives)

    def test_north_is_away_from_the_commit_on(self):
        """It asks when it is back, and only then its keys are destroyed."""
        self.hold("committed")
        self.north.stop(9)
        procs.thaw(self.frozen)
        self.wait_keys(self.south, "active")
        self.north.start()
        self.arrives(restart=True)

    def test_both_at_once_after_the_commit(self):
        self.hold("activating")
        for host in (self.north, self.south):
            host.stop(9)
        procs.thaw(self.frozen)
        for host in (self.north, self.south):
            host.start()
            host.keys_serve(LONG)
        self.arrives()


class Links(FaultCase):
    """The cable is cut in each phase, and mended."""

    def cut(self, where, end, *arguments):
        self.hold(where)
        self.lab.link("south", False)
        try:
            if self.frozen:
                procs.thaw(self.frozen)
            self.while_cut(where)
        finally:
            self.lab.link("south", True)
        end(*arguments)

    def while_cut(self, where):
        if where in ("activating", "active"):
            wait_for("guest at south", lambda: self.running_view(self.south, self.vm), LONG)
            self.wait_keys(self.south, "active")
            self.assertEqual(set(self.states(self.north).values()), {"exporting"})
        elif where != "question":
            # North knows nothing of what is there, and takes its keys back by itself.
            self.north.wait_migration(self.migration, 2 * LONG, ENDED)
            self.wait_keys(self.north, "active")

    def test_before_the_package(self):
        self.cut("keys", self.stays, None)

    def test_with_the_package_on_its_way(self):
        self.cut("package", self.stays, True)

    def test_while_memory_flows(self):
        self.cut("transfer", self.stays, True)

    def test_when_everything_is_loaded(self):
        self.cut("question", self.settles)

    def test_committed(self):
        self.cut("activating", self.arrives)

    def test_running_over_there(self):
        self.cut("active", self.arrives)


if __name__ == "__main__":
    vmcase.main()
