#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Copies of disks at whose end something else is in their place."""
import os
import shutil

import disk_copy_case
import vmcase
from disk_copy_case import LUKS, PLAIN
from vmcase import LONG, procs


class Replaced(disk_copy_case.DiskCase):
    """Who can write to the pool puts another file there between the copy and its opening. It is not
    opened and not removed, the engine goes on, and so does the guest where it was."""

    def refused_with(self, place):
        north, south = self.lab.hosts
        self.new_guest(LUKS)
        path = self.path(south, self.disks[-1])
        migration, frozen = self.hold_detach(north, south)
        os.rename(path, path + ".away")
        place(path + ".away", path)
        inode = os.stat(path).st_ino
        procs.thaw(frozen)
        view = north.wait_migration(migration, LONG)
        self.assert_failed(view, "failed", "is not the image that was copied to")
        self.assertEqual(south.engine.pid, frozen)
        self.assertIsNone(south.engine.poll())
        self.assertEqual(os.stat(path).st_ino, inode)
        for name in (path, path + ".away"):
            os.unlink(name)
        self.assert_runs_only(north)
        self.assertEqual(self.leftovers(south, self.vm), [])
        self.moved(north, south)
        self.assert_runs_only(south)
        self.stop_guest()

    def test_a_copy_of_it(self):
        self.refused_with(shutil.copyfile)


if __name__ == "__main__":
    vmcase.main()
