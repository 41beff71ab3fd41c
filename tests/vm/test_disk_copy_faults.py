#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Copies of disks that do not come to their end: the source's disk is as it was and its guest goes
on, the destination keeps no process, image, socket or key, and the same VM moves well afterwards."""
import contextlib
import os

import disk_copy_case
import vmcase
from disk_copy_case import LUKS, LUKS_QCOW2, PLAIN, PLAIN_QCOW2
from vmcase import LONG, procs, run, wait_for

SOUTH = r"^spiffe://south\.example/host/south: "


class Refused(disk_copy_case.DiskCase):
    """Before a byte of a disk is copied, or while there is no room for it."""

    def fails(self, text):
        north, south = self.lab.hosts
        view = north.wait_migration(self.migrate(north, south), LONG)
        self.assert_failed(view, "failed", text)

    def works(self):
        north, south = self.lab.hosts
        self.assert_runs_only(north)
        self.moved(north, south)
        self.assert_runs_only(south)

    def reconfigure(self, host, pools):
        host.pools = pools
        host.write_config(self.config + host.keys_text())
        host.stop()
        host.start()
        host.keys_serve()

    def test_volume_that_is_there(self):
        """Whatever it is, it is not written over, and not removed."""
        south = self.lab.south
        for disk in (PLAIN, LUKS):
            self.new_guest(disk)
            path = self.path(south, self.disks[0])
            for content in (b"", b"somebody's" * 1000):
                with open(path, "wb") as file:
                    file.write(content)
                inode = os.stat(path).st_ino
                self.fails(SOUTH)
                self.assertEqual(os.stat(path).st_ino, inode)
                with open(path, "rb") as file:
                    self.assertEqual(file.read(), content)
            os.unlink(path)
            self.works()

    def test_pool_that_is_not_there_or_not_for_this_domain(self):
        south = self.lab.south
        self.new_guest()
        good = south.pools
        for pools in ("", good.replace('"north.example"', '"other.example"')):
            self.assertNotEqual(pools, good)
            self.reconfigure(south, pools)
            self.fails(SOUTH + ".*pool")
        self.reconfigure(south, good)
        self.works()

    def test_pool_that_is_full(self):
        """At once for a raw LUKS image, in the middle of its making for one that grows."""
        south = self.lab.south
        for disk in (LUKS, LUKS_QCOW2):
            self.new_guest(disk)
            with self.small(south, 2):
                self.fails("disk|mirror|channel")
                self.assert_nothing_left(south)
            self.works()

    @contextlib.contextmanager
    def small(self, host, mib):
        """Its pool is a file system of its own, of this size."""
        path = self.pool_path(host)
        host.stop()
        run(["mount", "-t", "tmpfs", "-o", f"size={mib}m,mode=700", "tmpfs", path])
        try:
            host.start()
            host.keys_serve()
            yield
        finally:
            host.stop()
            run(["umount", "-l", path])
            host.start()
            host.keys_serve()


class Broken(disk_copy_case.DiskCase):
    """Each trouble in each phase in which a disk is on its way; the tests are made below."""

    # No holes: it takes its time, longer than what QEMU has on its way at once.
    slow = (LUKS._replace(mib=24),)

    def hold(self, phase):
        self.source, self.destination = self.lab.hosts
        if not (self.vm and self.session and self.running_view(self.source, self.vm)):
            self.new_guest(*self.slow)
        self.migration, self.frozen = getattr(self, "hold_" + phase)(self.source, self.destination)
        daemons = self.daemons(self.destination)
        self.assertEqual(len(daemons), len(self.slow))

    def release(self):
        if self.frozen:
            procs.thaw(self.frozen)
        self.frozen = None

    def ends(self, state="failed", text="."):
        view = self.source.wait_migration(self.migration, LONG)
        self.release()
        self.assert_failed(view, state, text)
        self.assert_runs_only(self.source)
        # A restart finds nothing either.
        self.restart(self.destination)
        self.assert_nothing_left(self.destination)

    def cancelled(self):
        self.source.call("cancel", migration=self.migration)
        self.ends("cancelled")

    def link_cut(self):
        self.lab.link("north", False)
        self.addCleanup(self.lab.link, "north", True)
        wait_for("undo", lambda: self.view(self.source, self.migration).get("step") != self.step, LONG)
        self.release()
        # Each by itself.
        wait_for("nothing", lambda: not self.leftovers(self.destination, self.vm), LONG)
        self.lab.link("north", True)
        self.ends()

    def source_engine_killed(self):
        self.source.stop(9)
        self.release()
        self.source.start()
        self.source.keys_serve(LONG)
        self.ends(text=r"^the engine was restarted in phase (transfer|switchover)$")

    def destination_engine_killed(self):
        self.destination.stop(9)
        wait_for("undo", lambda: self.view(self.source, self.migration).get("step") != self.step, LONG)
        self.frozen = None
        self.destination.start()
        self.destination.keys_serve(LONG)
        self.ends()

    def source_mover_killed(self):
        procs.kill(procs.roles(self.source, "sealift-mover")[0])
        self.release()
        self.ends()

    def destination_mover_killed(self):
        procs.kill(procs.roles(self.destination, "sealift-mover")[0])
        self.release()
        self.ends()

    def daemon_killed(self):
        procs.kill(self.daemons(self.destination)[-1])
        self.release()
        self.ends()


TROUBLES = ("cancelled", "link_cut", "source_engine_killed", "destination_engine_killed",
            "source_mover_killed", "destination_mover_killed", "daemon_killed")


def with_troubles(phase, step):
    def make(trouble):
        def test(self):
            self.step = step
            self.hold(phase)
            getattr(self, trouble)()
        return test

    def moves(self):
        """By its name the last one: what did not move so often moves."""
        self.source, self.destination = self.lab.hosts
        if not (self.vm and self.session and self.running_view(self.source, self.vm)):
            self.new_guest(*self.slow)
        self.moved(self.source, self.destination)
        self.assert_runs_only(self.destination)
        self.stop_guest()

    def add(cls):
        cls.test_then_it_moves = moves
        for trouble in TROUBLES:
            setattr(cls, f"test_{trouble}", make(trouble))
        return cls
    return add


@with_troubles("disks", "disks")
class Disks(Broken):
    """While disks are copied: one of two is, and the other one waits for it to begin."""

    slow = Broken.slow + (PLAIN_QCOW2,)

    def test_disks_that_nobody_answers_for(self):
        """The source's QEMU does nothing else while it greets a disk's server: not for long."""
        self.source, self.destination = self.lab.hosts
        self.new_guest(*self.slow)
        self.migration, self.frozen = self.hold_prepare(self.source, self.destination)
        daemons = self.daemons(self.destination)
        self.assertEqual(len(daemons), len(self.slow))
        for pid in daemons:
            self.freeze(pid)
        self.release()
        # The source's own word, or the destination's on how that looked there.
        self.ends(text="the NBD handshake is not over within 5000 ms$|the connection closed after 0 bytes")


@with_troubles("both_disks", "disks")
class BothDisks(Broken):
    """While two disks are copied at the same time."""

    slow = (LUKS._replace(mib=48), PLAIN)


@with_troubles("memory", "transfer")
class Memory(Broken):
    """While memory follows the disks."""


@with_troubles("detach", "detach")
class Detach(Broken):
    """While the guest stands still and its disks change hands."""

    slow = Broken.slow + (PLAIN_QCOW2,)


if __name__ == "__main__":
    vmcase.main()
