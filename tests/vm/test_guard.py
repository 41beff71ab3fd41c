#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The guard in the product: real migrations pass it, the second time with what the first has learnt;
a source that sends one wrong byte is refused by a rule, its guest runs on, and the destination's QEMU
has not read the byte; a host whose guard cannot know what to expect takes no VM."""
import os
import re
import struct

import vmcase
from vmcase import LONG, procs, wait_for

BUILD = os.environ.get("SEALIFT_BUILD") or os.path.join(vmcase.TOP, "build")
HOOK = os.environ.get("SEALIFT_STREAM_HOOK") or os.path.join(BUILD, "tests", "vm", "libstream-hook.so")


def wrapper(host, **environment):
    """A QEMU of this host with the hook in it; returns the setting."""
    path = os.path.join(host.lab.directory, f"qemu-of-{host.name}")
    lines = "".join(f"export {name}='{value}'\n" for name, value in environment.items())
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"#!/bin/sh\n{lines}export LD_PRELOAD='{HOOK}'\nexec {host.lab.qemu} \"$@\"\n")
    os.chmod(path, 0o755)
    return path


def use_qemu(host, path, extra=""):
    """The engine's next life has this QEMU."""
    host.write_config(VmCase.config + extra)
    with open(host.config, encoding="utf-8") as file:
        text = re.sub(r'^qemu = .*$', f'qemu = "{path}";', file.read(), flags=re.M)
    with open(host.config, "w", encoding="utf-8") as file:
        file.write(text)
    host.stop()
    host.start()


class VmCase(vmcase.VmCase):
    config = 'reservations_per_peer = 8; log_level = "debug";'

    def twins(self, host):
        path = os.path.join(host.state, "twins")
        return sorted(os.listdir(path)) if os.path.isdir(path) else []

    def assert_no_twin_left(self, host):
        wait_for("end of twins", lambda: not [process for process in procs.qemus(host)
                                              if any("memory-backend-file" in argument
                                                     for argument in process.arguments)], LONG)


class Keeps(VmCase):
    memory, walker_mem, disk, rate = 160, 24, "vm1.raw", 500

    def test_there_back_and_there_again_with_what_was_kept(self):
        source, destination = self.guest()
        seen = []
        for _ in range(3):
            mark = len(destination.log())
            view = self.moved(source, destination)
            self.assert_runs_only(destination)
            for host, role in ((source, "source"), (destination, "destination")):
                view = self.view(host, view["migration"])
                self.assertEqual((view["role"], view["guard"], view["report"]["guard"]),
                                 (role, "enforce", "enforce"))
            self.assertLess(0, view["report"]["guard_ms"])
            self.assertLess(view["report"]["mover_peak_bytes"], (32 + 2 * view["channels"]) * vmcase.MIB)
            seen += re.findall(r"twin cached=(\d)", destination.log()[mark:])
            source, destination = destination, source
        self.assertEqual(seen, ["0", "0", "1"])
        for host in self.lab.hosts:
            self.assertEqual(len(self.twins(host)), 2)
            self.assertEqual({os.stat(os.path.join(host.state, "twins", name)).st_mode & 0o777
                              for name in self.twins(host)}, {0o600})


class Passes(VmCase):
    memory, walker_mem, rate = 128, 16, 500

    def test_main_channel_alone(self):
        source, destination = self.guest()
        self.moved(source, destination, channels=1)
        self.assert_runs_only(destination)

    def test_a_damaged_file_is_made_again(self):
        source, destination = self.guest()
        self.moved(source, destination)
        self.assert_runs_only(destination)
        name = self.twins(destination)[0]
        path = os.path.join(destination.state, "twins", name)
        with open(path, "r+b") as file:
            file.seek(1000)
            byte = file.read(1)
            file.seek(1000)
            file.write(bytes([byte[0] ^ 1]))
            file.flush()
        destination.stop()
        destination.start()
        self.moved(destination, source)
        mark = len(destination.log())
        self.moved(source, destination)
        self.assert_runs_only(destination)
        self.assertIn("twin cached=0", destination.log()[mark:])
        self.assertIn(name, self.twins(destination))


class Refuses(VmCase):
    """One wrong byte at the source; the destination's QEMU writes down what it reads."""

    memory, walker_mem, rate = 128, 8, 0

    def hooked(self, corrupt):
        """Both hosts' next QEMUs have the hook; returns what the destination's will write."""
        north, south = self.lab.hosts
        record = os.path.join(self.lab.directory, "read-by-qemu")
        with open(record, "wb") as file:
            os.fchmod(file.fileno(), 0o666)
        for host in self.lab.hosts:
            vm = host.vm("vm1")
            if vm and vm.get("pid"):
                host.call("vm-stop", vm="vm1")
        use_qemu(north, wrapper(north, SEALIFT_CORRUPT=corrupt))
        use_qemu(south, wrapper(south, SEALIFT_RECORD=record))
        return record

    def corrupted(self, right, wrong, rule, **more):
        """What the destination's QEMU read of a stream in which `right` became `wrong` once."""
        north, south = self.lab.hosts
        record = self.hooked(f"{right.hex()}:0:{wrong.hex()}")
        self.new_guest(north)
        view = north.wait_migration(self.migrate(north, south, **more), 120)
        self.assert_failed(view, "failed", rf"\b{rule}\b.*\d")
        self.assertRegex(self.view(south, view["migration"])["error"]["text"], rf"\b{rule}\b.*\d")
        self.assertRegex(south.log(), rule)
        self.assert_runs_only(north)
        self.assert_no_twin_left(south)
        with open(record, "rb") as file:
            read = file.read()
        self.assertNotIn(wrong, read)
        return read

    def test_machine_type(self):
        right, wrong = b"\x07\0\0\0\x0bpc-q35-10.0", b"\x07\0\0\0\x0bpc-q35-10.1"
        read = self.corrupted(right, wrong, "guard-machine", channels=1)
        self.assertNotIn(b"pc-q35", read)

    def test_machine_type_while_the_channels_begin(self):
        """QEMU 10.0 waits for ever in multifd_send_sync_main if its sockets break just then, so the
        mover listens to it until it was cancelled."""
        right, wrong = b"\x07\0\0\0\x0bpc-q35-10.0", b"\x07\0\0\0\x0bpc-q35-10.1"
        for _ in range(3):
            self.corrupted(right, wrong, "guard-machine", channels=4)

    def test_unknown_block(self):
        read = self.corrupted(b"\x07pc.bios", b"\x07PC.bios", "guard-ram-block", channels=1)
        self.assertNotIn(b"\x07pc.bios", read)

    def test_page_outside_its_block(self):
        # The record of a page: be64 offset and flags, the block's name.
        right = struct.pack(">Q", 8) + b"\x02m0"
        wrong = struct.pack(">Q", 0x7f << 32 | 8) + b"\x02m0"
        read = self.corrupted(right, wrong, "guard-(grammar|ram-offset)", channels=1)
        self.assertNotIn(right, read)

    def test_multifd_packet(self):
        # The name of the block in a packet's header.
        right, wrong = b"m0" + bytes(62), b"m9" + bytes(62)
        self.corrupted(right, wrong, "guard-[a-z-]+", channels=2)

    def test_device_state(self):
        right, wrong = b"\x05i8254" + struct.pack(">II", 0, 3), b"\x05i8254" + struct.pack(">II", 0, 9)
        read = self.corrupted(right, wrong, "guard-[a-z-]+", channels=1)
        # The memory went in; of the device state, held as a whole, not one byte.
        self.assertIn(b"\x07pc.bios", read)
        self.assertNotIn(b"\x05i8259", read)

    def test_unharmed_it_goes_in_as_it_is(self):
        """That the hooks see what they look for."""
        north, south = self.lab.hosts
        record = self.hooked("51:0:51")
        self.new_guest(north)
        self.moved(north, south)
        self.assert_runs_only(south)
        with open(record, "rb") as file:
            read = file.read()
        for part in (b"QEVM", b"\x0bpc-q35-10.0", b"\x07pc.bios", b"\x05i8254", b"\x05i8259",
                     struct.pack(">II", 0x11223344, 1)):
            self.assertIn(part, read)


class CannotKnow(VmCase):
    memory, walker_mem, rate = 128, 8, 0

    def broken_twin(self, host):
        path = os.path.join(host.lab.directory, "qemu-without-twins")
        with open(path, "w", encoding="utf-8") as file:
            file.write("#!/bin/sh\ncase \"$*\" in *memory-backend-file*) echo no twin today >&2; exit 1;; "
                       f"esac\nexec {host.lab.qemu} \"$@\"\n")
        os.chmod(path, 0o755)
        return path

    def test_no_twin_no_reservation(self):
        north, south = self.lab.hosts
        use_qemu(south, self.broken_twin(south))
        self.new_guest(north)
        view = north.wait_migration(self.migrate(north, south), 120)
        self.assert_failed(view, "failed", r"the twin by which this host judges the stream: .*no twin today")
        self.assert_runs_only(north)

    def test_where_the_guard_only_warns_it_comes_in_and_that_is_shown(self):
        north, south = self.lab.hosts
        use_qemu(south, self.broken_twin(south), 'guard = "warn";')
        self.new_guest(north)
        view = self.moved(north, south)
        self.assertEqual(view["guard"], "enforce")
        self.assertEqual(self.view(south, view["migration"])["guard"], "warn")
        self.assertIn("the guard only warns", south.log())
        self.assertIn("THE GUARD ONLY WARNS", south.log())
        self.assertIn("WITHOUT A GUARD", south.log())
        self.assert_runs_only(south)


if __name__ == "__main__":
    vmcase.main()
