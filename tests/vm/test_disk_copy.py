#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""VMs whose disks no other host reaches: copied while the guest writes and checks them. What both
hosts' pools, key managers and qemu-img say of them afterwards, what is seen on the cable, what a
person is told meanwhile."""
import os
import re

import disk_copy_case
import vmcase
from disk_copy_case import FIXED, LUKS, LUKS_QCOW2, PLAIN, PLAIN_QCOW2, SHARED
from vmcase import LONG, MIB, wait_for

from wiretap import Wiretap


class Whole(disk_copy_case.DiskCase):
    """There, stopped and started, and back."""

    def there_and_back(self, *disks):
        north, south = self.lab.hosts
        self.new_guest(*disks)
        self.assert_runs_only(north)
        self.moved(north, south)
        self.assert_runs_only(south)
        self.stop_at(south)
        self.assert_whole(south)
        self.start_at(south)
        self.assert_runs_only(south)
        self.moved(south, north)
        self.assert_runs_only(north)
        self.stop_guest()

    def stop_at(self, host):
        self.drop_session()
        host.call("vm-stop", vm=self.vm)
        wait_for("end of QEMU", lambda: not host.qemus(), LONG)

    def start_at(self, host):
        host.call("vm-start", text=self.text(), file="/nowhere/vm.conf")
        type(self).session = self.lab.walker(LONG)

    def test_plain_raw(self):
        self.there_and_back(PLAIN)

    def test_plain_qcow2(self):
        self.there_and_back(PLAIN_QCOW2)

    def test_luks_raw(self):
        self.there_and_back(LUKS)

    def test_luks_qcow2(self):
        self.there_and_back(LUKS_QCOW2)

    def test_a_key_of_its_own(self):
        """North's key never leaves: south's image opens with south's, and not with north's."""
        north, south = self.lab.hosts
        for disk in (LUKS, LUKS_QCOW2):
            self.new_guest(disk)
            before = self.values(north)
            self.moved(north, south)
            self.assert_runs_only(south)
            after = self.values(south)
            self.assertEqual(self.active(south), set(after))
            self.assertEqual((len(before), len(after), before.keys() & after.keys()), (1, 1, set()))
            self.assertEqual(self.values(north), {})
            self.assertEqual(set(self.states(north).values()), {"destroyed"})
            self.stop_at(south)
            (key, old), = before.items()
            (new_key, new), = after.items()
            self.assertNotEqual((key, old), (new_key, new))
            image = self.image(south, self.disks[0], new)
            opened = self.qemu_img(["compare"], image, image, value=new)
            self.assertEqual(opened.returncode, 0, opened.stdout)
            refused = self.qemu_img(["compare"], image, image, value=old)
            self.assertRegex(refused.stdout, "Invalid password")
            self.assert_nowhere(old, self.files_of(south))
            self.assert_nowhere(new, self.files_of(north))
            self.stop_guest()

    def test_two(self):
        self.there_and_back(LUKS, PLAIN_QCOW2)

    def test_three(self):
        self.there_and_back(PLAIN, LUKS_QCOW2, PLAIN_QCOW2)

    def test_beside_a_shared_one(self):
        """One that is copied, and one that both reach, which stays the file that it was."""
        north, south = self.lab.hosts
        self.new_guest(LUKS_QCOW2, SHARED)
        shared = self.disks[1]
        inode = os.stat(self.path(north, shared)).st_ino
        self.moved(north, south)
        self.assert_runs_only(south)
        self.assertEqual(os.stat(self.path(south, shared)).st_ino, inode)
        self.stop_at(south)
        self.assert_whole(south)
        self.start_at(south)
        self.moved(south, north)
        self.assert_runs_only(north)
        self.stop_guest()

    def test_one_that_is_only_read(self):
        north, south = self.lab.hosts
        self.new_guest(SHARED, FIXED)
        fixed = self.disks[1]
        due = self.content(north, fixed)
        self.moved(north, south)
        self.assert_runs_only(south)
        self.assertEqual(self.content(south, fixed), due)
        self.assertEqual(self.content(north, fixed), due)
        self.stop_guest()

    def test_sparse(self):
        """A hole of the source is no byte at the destination."""
        north, south = self.lab.hosts
        for disk in (PLAIN, PLAIN_QCOW2):
            self.new_guest(disk._replace(mib=512))
            blocks = os.stat(self.path(north, self.disks[0])).st_blocks * 512
            self.moved(north, south)
            self.assert_runs_only(south)
            self.assertLess(os.stat(self.path(south, self.disks[0])).st_blocks * 512,
                            blocks + 16 * MIB, disk.kind)
            self.stop_guest()


class OnTheWire(disk_copy_case.DiskCase):
    config = disk_copy_case.DiskCase.config + "allow_disabled = true;\n"

    def test_what_is_written_is_sealed(self):
        """What the guest writes on a plain disk is sealed on its way; where it need not be it is seen."""
        north, south = self.lab.hosts
        seen = {}
        self.addCleanup(setattr, type(self), "mode", self.mode)
        for mode in ("required", "disabled"):
            type(self).mode = mode
            self.new_guest(SHARED, PLAIN_QCOW2)
            self.second_disk(north)
            tap = Wiretap(self.lab, f"disks-{mode}.pcap")
            tap.start()
            self.addCleanup(tap.close)
            self.moved(north, south, bandwidth=24 * MIB)
            tap.stop()
            self.assertEqual(tap.dropped, 0)
            seen[mode] = tap.count(b"SEALIFT-SECOND-")
            self.assertGreater(tap.size, MIB)
            self.assert_runs_only(south)
            self.stop_guest()
        self.assertEqual(seen["required"], 0)
        self.assertGreater(seen["disabled"], 100)


if __name__ == "__main__":
    vmcase.main()
