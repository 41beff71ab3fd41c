#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A guest with a disk and a network card goes there and back, whole, and what goes over the wire is
what its mode says."""
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile

import vmcase
from lab import PATTERN, Lab, search
from vmcase import LONG, MIB, procs, run, wait_for

NOBODY = 65534


class ThereAndBack(vmcase.VmCase):
    memory, walker_mem, disk, rate = 192, 48, "vm1.raw", 800

    def test_north_south_north(self):
        source, destination = self.guest()
        first = source.vm("vm1")
        mac = self.mac()
        for number in range(1, 3):
            view = self.moved(source, destination)
            after = self.assert_runs_only(destination)
            self.assertEqual(after["epoch"], first["epoch"] + number)
            self.assertEqual((after["uuid"], after["owner"]), (first["uuid"], first["owner"]))
            self.assertEqual(source.vm("vm1")["state"], "moved")
            self.assertEqual(self.mac(), mac)
            self.check_report(view)
            source, destination = destination, source
        self.assertRegex(self.session.command("status", LONG), r"errors=0 .*disk=[1-9]")

    def mac(self):
        """As the tenant sees it."""
        table = run(self.lab.client(["ip", "neigh", "show", "10.77.0.5"]))
        return re.search(r"lladdr (\S+)", table).group(1)

    def check_report(self, view):
        self.assertEqual((view["role"], view["phase"], view["mode"]), ("source", "done", "required"))
        self.assertEqual(view["percent"] if "percent" in view else 100, 100)
        report = view["report"]
        self.assertEqual((report["mode"], report["cipher"]), ("required", "AES-256-GCM"))
        self.assertIn(report["provider"], ("openssl", "ipsec-mb"))
        self.assertLess(0, report["resume_ms"])
        self.assertLess(report["resume_ms"], report["downtime_ms"])
        self.assertLess(report["downtime_ms"], report["stream_ms"])
        self.assertLess(report["stream_ms"] + report["populate_ms"], report["total_ms"])
        self.assertLess(self.walker_mem * MIB, report["stream_bytes"])
        self.assertLess(report["stream_bytes"], report["wire_bytes"])
        self.assertLess(report["wire_bytes"], report["stream_bytes"] * 1.01)
        self.assertLess(report["stream_bytes"], 1.5 * self.memory * MIB)
        self.assertLess(0, report["mover_cpu_ms"])
        self.assertLess(report["mover_peak_bytes"], (32 + 2 * view["channels"]) * MIB)

    def test_channels(self):
        for channels in (1, 2, 4):
            source, destination = self.guest()
            view = self.moved(source, destination, channels=channels)
            # From two on they are multifd channels beside main.
            self.assertEqual(view["channels"], 1 if channels == 1 else channels + 1)
            self.assert_runs_only(destination)
        source, destination = self.guest()
        for channels in (0, 17):
            error = source.refusal("migrate", vm="vm1", destination=destination.name, channels=channels)
            self.assertEqual(error, {"category": "usage", "text": f"channels {channels} is outside 1..16"})
        self.assert_runs_only(source)

    def test_detached_by_the_command_line(self):
        source, destination = self.guest()
        answer = json.loads(source.cli("--json", "migrate", "vm1", destination.name, "--detach",
                                       "--max-downtime", "500"))
        view = source.wait_migration(answer["migration"], LONG)
        self.assertEqual(view["state"], "done", view.get("error"))
        self.assert_runs_only(destination)

    def test_followed_by_the_command_line(self):
        source, destination = self.guest()
        lines = [json.loads(line) for line in
                 source.cli("migrate", "vm1", destination.name, "--bandwidth", "64M").splitlines()]
        self.assertEqual(lines[-1]["state"], "done")
        self.assertIn("report", lines[-1])
        percents = [line["percent"] for line in lines if "percent" in line]
        self.assertEqual(percents, sorted(percents))
        phases = list(dict.fromkeys(line["phase"] for line in lines))
        self.assertEqual(phases, [phase for phase in ("begin", "prepare", "transfer", "switchover",
                                                      "commit", "finish", "done") if phase in phases])
        self.assertIn("transfer", phases)
        self.assert_runs_only(destination)


class Pace(vmcase.VmCase):
    """Of a guest that does nothing, so that only the stream is on the wire."""

    memory, walker_mem, rate = 192, 64, 0

    def sent(self):
        path = "/sys/class/net/up0/statistics/tx_bytes"
        return int(run(self.lab.north.inside(["cat", path])))

    def rate_of_transfer(self, rate):
        """Bytes a second over at least three seconds inside a transfer."""
        source, destination = self.lab.north, self.lab.south
        migration = self.migrate(source, destination, bandwidth=rate)
        self.wait_step(source, migration, "transfer")
        wait_for("progress", lambda: self.view(source, migration).get("bytes_done", 0) > rate // 4, LONG)
        clock = procs.monotonic
        begun, before = clock(), self.sent()
        wait_for("three seconds", lambda: clock() - begun > 3, 10)
        measured = (self.sent() - before) / (clock() - begun)
        self.assertEqual(self.view(source, migration)["phase"], "transfer", "too short to be measured")
        source.call("cancel", migration=migration)
        source.wait_migration(migration, LONG)
        self.assert_runs_only(source)
        return measured

    def test_bandwidth_is_held_within_five_percent(self):
        self.new_guest(append="walker.round=0")
        for rate in (10 * MIB, 20 * MIB):
            measured = self.rate_of_transfer(rate)
            if abs(measured / rate - 1) > 0.05:
                # Something else had the machine: once more.
                measured = self.rate_of_transfer(rate)
            self.assertAlmostEqual(measured / rate, 1, delta=0.05)

    def test_bandwidth_below_its_bound_is_refused(self):
        source, destination = self.guest()
        error = source.refusal("migrate", vm="vm1", destination=destination.name, bandwidth=MIB - 1)
        self.assertEqual(error, {"category": "usage", "text": "bandwidth 1048575 is below 1 MiB a second"})


class Downtime(vmcase.VmCase):
    """A guest that dirties memory converges only if its pause may be long enough."""

    memory, walker_mem, rate = 128, 12, 4000

    def test_max_downtime(self):
        source, destination = self.guest()
        options = {"bandwidth": 32 * MIB, "channels": 1}
        migration = self.migrate(source, destination, max_downtime_ms=1, **options)
        wait_for("third pass", lambda: self.view(source, migration).get("iteration", 0) >= 3, LONG)
        self.assertEqual(self.view(source, migration)["phase"], "transfer")
        source.call("cancel", migration=migration)
        self.assert_failed(source.wait_migration(migration, LONG), "cancelled", "^cancelled by a person")
        self.assert_runs_only(source)
        report = self.moved(source, destination, max_downtime_ms=3000, **options)["report"]
        self.assert_runs_only(destination)
        self.assertLess(report["downtime_ms"], 3000)
        error = destination.refusal("migrate", vm="vm1", destination=source.name, max_downtime_ms=0)
        self.assertEqual(error, {"category": "usage", "text": "max_downtime_ms 0 is outside 1..2000000"})


class Mode(vmcase.VmCase):
    """What a wiretap sees in each mode; the control run shows that the search can find it."""

    memory, walker_mem, rate = 144, 24, 100
    config = ""
    mode = None

    def prepare(self, mode, source_policy="", destination_policy=""):
        """A guest of that mode, engines with those policies: (source, destination)."""
        cls = type(self)
        if self.mode != mode or not self.session:
            cls.mode = mode
            self.new_guest(mode=mode)
        source, destination = self.guest()
        for host, extra in ((source, source_policy), (destination, destination_policy)):
            host.stop()
            host.write_config(extra)
            host.start()
            wait_for("its VMs", lambda h=host: all(vm["state"] != "running" or "serial" in vm
                                                   for vm in h.call("vm-list")["vms"]), LONG)
        return source, destination

    def tapped(self, source, destination):
        """(view, how often the guest's pattern was seen)."""
        self.lab.wiretap()
        # Slow enough for the tap to see all of it.
        view = source.wait_migration(self.migrate(source, destination, bandwidth=48 * MIB), LONG)
        path, words = self.lab.stop_wiretap()
        self.assertIn("\n0 packets dropped by kernel", words)
        self.assertGreater(os.path.getsize(path), self.walker_mem * MIB if view["state"] == "done" else 1000)
        return view, search(path, PATTERN.encode())

    def test_required_cannot_be_read(self):
        source, destination = self.prepare("required")
        view, seen = self.tapped(source, destination)
        self.assertEqual((view["state"], view["mode"], seen), ("done", "required", 0))
        self.assert_runs_only(destination)

    def test_required_is_refused_where_the_destination_forbids_encryption(self):
        source, destination = self.prepare("required", "", "forbid_encryption = true;")
        view, seen = self.tapped(source, destination)
        self.assert_failed(view, "failed",
                           r"^spiffe://.*: this domain forbids encryption, the VM requires it$")
        self.assertEqual((view["error"]["category"], seen), ("denied", 0))
        self.assert_runs_only(source)

    def test_disabled_can_be_read_where_both_hosts_allow_it(self):
        source, destination = self.prepare("disabled", "allow_disabled = true;", "allow_disabled = true;")
        view, seen = self.tapped(source, destination)
        self.assertEqual((view["state"], view["mode"]), ("done", "disabled"), view.get("error"))
        self.assertEqual(view["report"]["cipher"], "none (AES-256-GMAC)")
        self.assertGreater(seen, 0.9 * self.pages)
        for host in self.lab.hosts:
            self.assertIn("mode disabled is allowed", host.log())
        self.assertIn("NOT ENCRYPTED", source.log())
        self.assert_runs_only(destination)

    def test_disabled_is_refused_by_a_source_that_does_not_allow_it(self):
        source, destination = self.prepare("disabled", "", "allow_disabled = true;")
        error = source.refusal("migrate", vm="vm1", destination=destination.name)
        self.assertEqual(error, {"category": "denied", "text":
                                 "VM vm1 has mode disabled, which this host does not allow"})
        self.assert_runs_only(source)

    def test_disabled_is_refused_by_a_destination_that_does_not_allow_it(self):
        source, destination = self.prepare("disabled", "allow_disabled = true;", "")
        view, seen = self.tapped(source, destination)
        self.assert_failed(view, "failed", r"^spiffe://.*: this host does not allow mode disabled$")
        self.assertEqual((view["error"]["category"], seen), ("denied", 0))
        self.assert_runs_only(source)

    def test_opportunistic_is_sealed_where_nobody_forbids_it(self):
        source, destination = self.prepare("opportunistic")
        view, seen = self.tapped(source, destination)
        self.assertEqual((view["state"], view["mode"], seen), ("done", "required", 0))
        self.assert_runs_only(destination)

    def test_opportunistic_is_readable_and_shown_where_the_destination_forbids_encryption(self):
        source, destination = self.prepare("opportunistic", "", "forbid_encryption = true;")
        view, seen = self.tapped(source, destination)
        self.assertEqual((view["state"], view["mode"], view["report"]["mode"]),
                         ("done", "disabled", "disabled"))
        self.assertGreater(seen, 0.9 * self.pages)
        self.assertIn("NOT ENCRYPTED", source.log())
        self.assertIn("encryption is forbidden by this configuration", destination.log())
        self.assert_runs_only(destination)


class Unprivileged(vmcase.unittest.TestCase):
    """Without root: two loopback addresses, guests with user-mode networks, everything one user."""

    def test_whole_migration_as_nobody(self):
        with tempfile.TemporaryDirectory(prefix="sealift-") as directory:
            os.chmod(directory, 0o755)
            build = os.environ.get("SEALIFT_BUILD") or os.path.join(vmcase.TOP, "build")
            guest = os.environ.get("SEALIFT_GUEST_DIR") or os.path.join(build, "guest")
            # The tree may be where others cannot look.
            shutil.copytree(os.path.join(vmcase.TOP, "tests"), os.path.join(directory, "tests"),
                            ignore=shutil.ignore_patterns("fuzz", "__pycache__"))
            shutil.copytree(guest, os.path.join(directory, "guest"))
            for name in ("cli/sealift", "sealiftd/sealiftd", "gate/sealift-gate", "notary/sealift-notary",
                         "mover/sealift-mover", "keyd/sealift-keyd"):
                target = os.path.join(directory, "build", "src", "programs", name)
                os.makedirs(os.path.dirname(target), exist_ok=True)
                shutil.copy2(os.path.join(build, "src", "programs", name), target)
            own = os.path.join(directory, "tmp")
            os.mkdir(own)
            os.chown(own, NOBODY, NOBODY)
            environment = {"PATH": os.environ["PATH"], "SEALIFT_BUILD": os.path.join(directory, "build"),
                           "SEALIFT_GUEST_DIR": os.path.join(directory, "guest"), "TMPDIR": own,
                           "SEALIFT_QEMU": os.environ.get("SEALIFT_QEMU", "/usr/bin/qemu-system-x86_64")}
            command = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
                       "--bounding-set=-all", "--no-new-privs", sys.executable, "-B",
                       os.path.join(directory, "tests", "vm", "test_migrate.py"), "--as-nobody"]
            done = subprocess.run(command, cwd=directory, env=environment, stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                  timeout=180, check=False)
            self.assertEqual(done.returncode, 0, done.stdout)
            self.assertIn("whole at south", done.stdout)
            self.assertEqual(os.listdir(own), [])


class Console:
    """The serial port of a VM, as its engine's view names it."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(LONG)
        self.socket.connect(path)
        self.lines = self.socket.makefile("r", errors="replace")

    def count(self):
        """(t, errors) of the next line of the walker."""
        for line in self.lines:
            match = re.search(r"walker t=(\d+) .* ?errors=(\d+)", line)
            if match:
                return int(match.group(1)), int(match.group(2))
        raise vmcase.LabError("the console ended")

    def close(self):
        self.lines.close()
        self.socket.close()


def as_nobody():
    assert os.geteuid() == NOBODY
    with Lab(namespaces=False) as lab:
        lab.start()
        lab.disk("own.raw")
        vm = lab.start_vm(memory=144, walker_mem=16, disk="own.raw")
        console = Console(vm["serial"])
        before = console.count()
        console.close()
        migration = lab.north.call("migrate", vm="vm1", destination="south")["migration"]
        view = lab.north.wait_migration(migration, 120)
        assert view["state"] == "done", view
        assert lab.north.vm("vm1")["state"] == "moved" and not lab.north.qemus()
        wait_for("VM at south", lambda: lab.south.vm("vm1")["state"] == "running", LONG)
        console = Console(lab.south.vm("vm1")["serial"])
        first, second = console.count(), console.count()
        console.close()
        assert before[0] < first[0] < second[0] and before[1] == second[1] == 0, (before, first, second)
        assert "not root" in lab.north.log()
        print("whole at south", before, second)


if __name__ == "__main__":
    if sys.argv[1:] == ["--as-nobody"]:
        as_nobody()
    else:
        vmcase.main()
