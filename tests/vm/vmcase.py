# SPDX-License-Identifier: Apache-2.0
"""What all whole-VM tests share: a lab for each class, a guest that goes on from test to test, ways
to hold a migration still at a certain place, and the two questions that end each test: does exactly
one guest run, and is nothing left on the other side?"""
import contextlib
import os
import shutil
import signal
import sys
import time
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, "tests", "lab"))
from lab import Lab, LabError, run, wait_for  # noqa: E402
import processes as procs  # noqa: E402

MIB = 1 << 20
SKIPPED = 77
# Everything here is slower on a machine that does other things too.
LONG = 60


def why_not():
    """What is missing for whole-VM tests, or None."""
    lab_qemu = os.environ.get("SEALIFT_QEMU", "/usr/bin/qemu-system-x86_64")
    build = os.environ.get("SEALIFT_BUILD") or os.path.join(TOP, "build")
    guest = os.environ.get("SEALIFT_GUEST_DIR") or os.path.join(build, "guest")
    if os.geteuid():
        return "not root: no network namespaces"
    if not os.access(lab_qemu, os.X_OK):
        return f"no {lab_qemu}"
    if not os.path.exists(os.path.join(guest, "initrd.img")):
        return f"no test guest in {guest} (scripts/build-guest)"
    for tool in ("ip", "socat", "tcpdump", "openssl"):
        if not shutil.which(tool):
            return f"no {tool}"
    return None


def main():
    """unittest.main with the exit status by which meson knows a skipped test."""
    missing = why_not()
    if missing:
        print(f"skipped: {missing}")
        sys.exit(SKIPPED)
    # So that a test that is ended from outside still takes its lab down.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by a signal"))
    unittest.main(verbosity=2)


class VmCase(unittest.TestCase):
    """A lab with its engines; guest() starts or finds the guest."""

    config = "reservations_per_peer = 8;"
    memory = 144
    walker_mem = 24
    rate = 300
    disk = None
    nic = True

    @classmethod
    def setUpClass(cls):
        cls.lab = Lab(extra_config=cls.config)
        cls.addClassCleanup(cls.lab.close)
        cls.lab.start()
        cls.witness = procs.Witness(cls.lab)
        cls.addClassCleanup(cls.witness.close)
        cls.session = None
        cls.addClassCleanup(cls.drop_session)
        if cls.disk:
            cls.lab.disk(cls.disk)

    @classmethod
    def drop_session(cls):
        if cls.session:
            cls.session.close()
        cls.session = None

    def tearDown(self):
        complaints, self.witness.complaints[:] = list(self.witness.complaints), []
        self.assertEqual(complaints, [], "two guests ran at once")

    def run(self, result=None):
        """The engines' logs belong to a failure."""
        result = result or self.defaultTestResult()
        before = len(result.failures), len(result.errors)
        marks = {host: len(host.log()) for host in self.lab.hosts if os.path.exists(host.log_path)}
        begun = time.monotonic()
        super().run(result)
        print(f"    {time.monotonic() - begun:.1f} s", file=sys.stderr)
        traces = result.failures[before[0]:] + result.errors[before[1]:]
        if traces:
            for _, trace in traces:
                print(trace, file=sys.stderr)
            for host, mark in marks.items():
                print(f"--- {host.name}, from the start of {self.id()}:\n{host.log()[mark:]}",
                      file=sys.stderr)
            self.lab_is_suspect()
        return result

    def lab_is_suspect(self):
        """After a failure nothing is known of the lab: the next test begins anew."""
        cls = type(self)
        cls.drop_session()
        for host in self.lab.hosts:
            with contextlib.suppress(Exception):
                host.stop(9)
            for process in procs.of_host(host):
                with contextlib.suppress(Exception):
                    procs.thaw(process.pid)
                    procs.kill(process.pid)
            shutil.rmtree(host.state, ignore_errors=True)
            shutil.rmtree(os.path.join(host.directory, "run"), ignore_errors=True)
        for side in ("north", "south"):
            self.lab.link(side, True)
        for host in self.lab.hosts:
            host.start()
        self.lab.introduce()

    # --- the guest ---

    def new_guest(self, host=None, **more):
        """A fresh guest; its session is kept until it is gone."""
        cls = type(self)
        cls.drop_session()
        for each in self.lab.hosts:
            vm = each.vm("vm1")
            if vm and vm.get("pid"):
                each.call("vm-stop", vm="vm1")
        arguments = {"memory": self.memory, "walker_mem": self.walker_mem, "rate": self.rate,
                     "disk": self.disk, "nic": self.nic, **more}
        # A VM that was moved away from a host cannot be started there again: each guest is a new one.
        cls.seed = getattr(cls, "seed", 0) + 1
        cls.started_at = host or self.lab.north
        for each in self.lab.hosts:
            self.forget_vms(each)
        self.lab.start_vm(host=cls.started_at, seed=cls.seed, **arguments)
        cls.pages = arguments["walker_mem"] * MIB // 4096
        cls.session = self.lab.walker(LONG)
        return cls.started_at

    def forget_vms(self, host):
        """Rows of VMs that are not here any more would keep their name."""
        if any(vm["name"] == "vm1" for vm in host.call("vm-list")["vms"]):
            host.stop()
            shutil.rmtree(host.state, ignore_errors=True)
            host.start()
            for other in self.lab.hosts:
                if other is not host:
                    host.call("host-add", name=other.name, address=other.address, port=other.port,
                              id=other.id)

    def guest(self):
        """(where the guest runs, the other host); starts one if there is none."""
        if self.session:
            for host, other in (self.lab.hosts, self.lab.hosts[::-1]):
                vm = host.vm("vm1")
                if vm and vm["state"] == "running" and vm.get("pid"):
                    return host, other
        host = self.new_guest()
        return host, self.lab.south if host is self.lab.north else self.lab.north

    def migrate(self, source, destination, vm="vm1", **more):
        return source.call("migrate", vm=vm, destination=destination.name, **more)["migration"]

    def moved(self, source, destination, vm="vm1", **more):
        """A whole migration that must succeed: its view."""
        view = source.wait_migration(self.migrate(source, destination, vm, **more), 120)
        self.assertEqual(view["state"], "done", view.get("error"))
        destination.wait_migration(view["migration"], 120)
        return view

    # --- the two questions ---

    def assert_runs_only(self, host, vm="vm1", session=None, pages=None):
        """Exactly one guest, here, whole, and its TCP session unbroken."""
        other = self.lab.south if host is self.lab.north else self.lab.north
        session = session or self.session
        view = wait_for(f"state running of {vm} at {host.name}", lambda: self.running_view(host, vm), LONG)
        inode = procs.namespace_of(host)

        def only_one():
            found = procs.hypervisors(self.lab, view["uuid"])
            return [process.pid for process in found] == [view["pid"]] and found[0].namespace == inode

        wait_for(f"{vm} in process {view['pid']} of {host.name} only", only_one, LONG)
        self.assertTrue(procs.guest_runs(view["pid"]), "its virtual CPU does not run")
        answer = session.command("ping whole", LONG)
        self.assertRegex(answer, r"^pong \d+ 0 whole$")
        self.assertEqual(session.check(), (pages or self.pages, 0))
        self.assert_nothing_left(other, vm)
        return view

    @staticmethod
    def running_view(host, vm):
        view = host.vm(vm)
        return view if view and view["state"] == "running" and view.get("pid") else None

    def leftovers(self, host, vm="vm1"):
        """What a host still has that it should not have, in words."""
        found = [f"{process.name} {process.pid}" for process in procs.qemus(host)
                 if vm in self.names_of(process)]
        found += [f"orphan {process.name} {process.pid}" for process in procs.orphans(self.lab)]
        view = host.vm(vm)
        if view and (view["state"] not in ("moved", "stopped", "failed") or view.get("pid")):
            found.append(f"VM {vm} {view['state']}")
        found += [f"migration {m['phase']} {m['state']}" for m in host.migrations()
                  if m["vm"] == vm and m["state"] in ("active", "stuck")]
        if self.alone(vm):
            found += self.taps(host) + self.run_directories(host)
            found += [f"mover {pid}" for pid in procs.roles(host, "sealift-mover")]
        return found

    def alone(self, vm):
        return vm == "vm1"

    def names_of(self, process):
        """The VM names that a QEMU may have: by its UUID."""
        uuid = procs.uuid_of(process)
        return {vm["name"] for host in self.lab.hosts for vm in host.call("vm-list")["vms"]
                if vm["uuid"] == uuid} or {"vm1"}

    def taps(self, host):
        links = run(["ip", "-n", host.namespace, "-o", "link", "show"])
        return [word for word in links.split() if word.startswith("slift")]

    @staticmethod
    def run_directories(host):
        """Each with what is in it: that tells what was not removed."""
        path = os.path.join(host.directory, "run", "vm")
        return [f"{name}: {' '.join(sorted(os.listdir(os.path.join(path, name))))}"
                for name in (os.listdir(path) if os.path.isdir(path) else [])]

    def assert_nothing_left(self, host, vm="vm1"):
        with contextlib.suppress(LabError):
            wait_for("nothing", lambda: not self.leftovers(host, vm), LONG)
        self.assertEqual(self.leftovers(host, vm), [], f"left on {host.name}")

    def assert_failed(self, view, state, text):
        """Ended so, with one clear line."""
        self.assertEqual(view["state"], state, view)
        self.assertRegex(view["error"]["text"], text)
        self.assertNotIn("\n", view["error"]["text"])

    # --- holding a migration still ---

    def freeze(self, pid):
        procs.freeze(pid)
        self.addCleanup(procs.thaw, pid)

    def freeze_role(self, host, name, mode=None):
        """Stops the one process of that role; returns its id."""
        pids = wait_for(f"{name} of {host.name}", lambda: procs.roles(host, name, mode), LONG)
        self.assertEqual(len(pids), 1)
        self.freeze(pids[0])
        return pids[0]

    def view(self, host, migration):
        with contextlib.suppress(LabError):
            return host.call("status", migration=migration)["migrations"][0]
        return {}

    def wait_step(self, host, migration, *steps, seconds=LONG):
        def look():
            view = self.view(host, migration)
            if view.get("state") not in (None, "active", "stuck"):
                raise LabError(f"{host.name}: ended too early, {view.get('error')}")
            return view if view.get("step") in steps else None
        return wait_for(f"step {' or '.join(steps)} at {host.name}", look, seconds)

    def hold_begin(self, source, destination, **more):
        """The destination has the offer and judges it."""
        verifier = self.freeze_role(destination, "sealift-notary", "--verify")
        migration = self.migrate(source, destination, **more)
        self.wait_step(source, migration, "wait-accept")
        return migration, verifier

    def hold_prepare(self, source, destination, **more):
        """The reservation stands, the channels are being proven."""
        movers = set(procs.roles(source, "sealift-mover"))
        migration, verifier = self.hold_begin(source, destination, **more)
        mover = wait_for("mover", lambda: [pid for pid in procs.roles(source, "sealift-mover")
                                           if pid not in movers and procs.is_sandboxed(pid) and
                                           procs.is_idle(pid)], LONG)[0]
        self.freeze(mover)
        procs.thaw(verifier)
        self.wait_step(source, migration, "channels")
        self.wait_step(destination, migration, "wait-channels")
        return migration, mover

    def hold_transfer(self, source, destination, **more):
        """Memory flows, slowly."""
        migration = self.migrate(source, destination, bandwidth=MIB, **more)
        self.wait_step(source, migration, "transfer")
        wait_for("progress", lambda: self.view(source, migration).get("bytes_done"), LONG)
        self.wait_step(destination, migration, "loading")
        return migration, None

    def hold_switchover(self, source, destination, **more):
        """The destination has loaded; its ready is not signed."""
        migration = self.migrate(source, destination, bandwidth=64 * MIB, **more)
        self.wait_step(source, migration, "transfer")
        signer = self.freeze_role(destination, "sealift-notary", "--sign")
        self.wait_step(destination, migration, "sign-ready")
        self.wait_step(source, migration, "switchover")
        return migration, signer

    def hold_question(self, source, destination, **more):
        """The destination is ready; the source's commit is not signed."""
        migration = self.migrate(source, destination, bandwidth=64 * MIB, **more)
        self.wait_step(source, migration, "transfer")
        signer = self.freeze_role(source, "sealift-notary", "--sign")
        self.wait_step(source, migration, "question")
        self.wait_step(destination, migration, "wait-commit")
        return migration, signer

    def hold_committed(self, source, destination, **more):
        """Committed at the source; the destination's engine has not looked yet."""
        migration, signer = self.hold_question(source, destination, **more)
        self.freeze(destination.engine.pid)
        procs.thaw(signer)
        self.wait_step(source, migration, "wait-activated")
        return migration, destination.engine.pid

    def hold_activating(self, source, destination, vm="vm1", **more):
        """Committed on both sides; the destination's QEMU has not begun."""
        migration, signer = self.hold_question(source, destination, vm=vm, **more)
        qemu = destination.vm(vm)["pid"]
        self.freeze(qemu)
        procs.thaw(signer)
        self.wait_step(destination, migration, "activating")
        return migration, qemu

    def hold_active(self, source, destination, vm="vm1", **more):
        """The guest runs at the destination; activated is not signed."""
        migration, signer = self.hold_question(source, destination, vm=vm, **more)
        held = self.freeze_role(destination, "sealift-notary", "--sign")
        procs.thaw(signer)
        self.wait_step(destination, migration, "activating")
        self.assertTrue(procs.guest_runs(destination.vm(vm)["pid"]))
        return migration, held
