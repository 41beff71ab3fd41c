#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One smoke test on the QEMU 7.2 that Debian 12 ships: start, there and back, the guest lives on.
Without a check of its memory: that QEMU corrupts guests by itself when it migrates under TCG."""
import os
import sys

import vmcase
from vmcase import LONG, Lab, procs

STOCK = os.environ.get("SEALIFT_STOCK_QEMU", "")


class Stock(vmcase.unittest.TestCase):
    def test_there_and_back(self):
        with Lab() as lab:
            lab.start()
            lab.start_vm(memory=128, walker_mem=8, rate=0, machine="pc-q35-7.2")
            session = lab.walker(LONG)
            self.addCleanup(session.close)
            for source, destination in (lab.hosts, lab.hosts[::-1]):
                migration = source.call("migrate", vm="vm1", destination=destination.name)["migration"]
                view = source.wait_migration(migration, 120)
                self.assertEqual(view["state"], "done", view.get("error"))
                destination.wait_migration(migration, LONG)
                vm = destination.vm("vm1")
                self.assertEqual((vm["state"], vm["machine"]), ("running", "pc-q35-7.2"))
                self.assertEqual([process.pid for process in procs.qemus(destination)], [vm["pid"]])
                self.assertEqual(procs.qemus(source), [])
                self.assertTrue(procs.guest_runs(vm["pid"]))
                self.assertRegex(session.command("ping stock", LONG), r"^pong \d+ \d+ stock$")


if __name__ == "__main__":
    if not os.access(STOCK, os.X_OK):
        print("skipped: no stock QEMU (scripts/fetch-stock-qemu, SEALIFT_STOCK_QEMU)")
        sys.exit(vmcase.SKIPPED)
    os.environ["SEALIFT_QEMU"] = STOCK
    vmcase.main()
