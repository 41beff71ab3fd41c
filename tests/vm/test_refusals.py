#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What must be refused before anything moves: one clear line each, the guest runs on at the source,
and nothing is left at the destination."""
import contextlib
import os
import re
import shutil
import subprocess

import vmcase
from vmcase import LONG, LabError, MIB, procs, run, wait_for

SOUTH = r"^spiffe://south\.example/host/south: "
QCOW2 = b"QFI\xfb" + (3).to_bytes(4, "big") + bytes(496)


class RefusalCase(vmcase.VmCase):
    """The guest lives at north all the time; south is made unfit, and fit again."""

    disk = "vm1.raw"
    memory, walker_mem = 128, 12

    def stays(self, text, category=None, **more):
        """A migration that must fail so."""
        north, south = self.lab.hosts
        if not self.session:
            self.new_guest()
        view = north.wait_migration(self.migrate(north, south, **more), LONG)
        self.assert_failed(view, "failed", text)
        if category:
            self.assertEqual(view["error"]["category"], category)
        self.assert_runs_only(north)
        return view

    def works(self):
        """The good one of the pair: there and back."""
        north, south = self.lab.hosts
        self.moved(north, south)
        self.assert_runs_only(south)
        self.moved(south, north)
        self.assert_runs_only(north)

    @contextlib.contextmanager
    def south_with(self, *changes):
        """South with parts of its configuration replaced, while the block runs."""
        south = self.lab.south
        with open(south.config, encoding="utf-8") as file:
            before = text = file.read()
        for old, new in changes:
            self.assertIn(old, text)
            text = text.replace(old, new)
        self.restart_south(text)
        try:
            yield south
        finally:
            self.restart_south(before)

    def restart_south(self, config):
        south = self.lab.south
        south.stop()
        with open(south.config, "w", encoding="utf-8") as file:
            file.write(config)
        south.start()


class Manifest(RefusalCase):
    """What the destination's own configuration says about names in a peer's manifest."""

    def own_pool(self):
        path = os.path.join(self.lab.directory, "own-pool")
        shutil.rmtree(path, ignore_errors=True)
        os.mkdir(path, 0o777)
        self.addCleanup(shutil.rmtree, path, True)
        return path, (f'directory = "{self.lab.directory}/shared"', f'directory = "{path}"')

    def volume(self, head=b"", size=16 * MIB):
        """South's pool has another volume of that name."""
        path, change = self.own_pool()
        with open(os.path.join(path, self.disk), "wb") as file:
            file.write(head)
            file.truncate(size)
        return change

    def test_unknown_pool(self):
        with self.south_with(('pools = ( { name = "shared"', 'pools = ( { name = "private"')):
            self.stays(SOUTH + r'pool "shared" is not one for domain "north\.example"$', "denied")
        self.works()

    def test_pool_of_another_tenant(self):
        both = 'domains = [ "north.example", "south.example" ]; } );\nnetworks'
        with self.south_with((both, 'domains = [ "south.example" ]; } );\nnetworks')):
            self.stays(SOUTH + r'pool "shared" is not one for domain "north\.example"$', "denied")

    def test_unknown_network(self):
        with self.south_with(('networks = ( { name = "lan"', 'networks = ( { name = "wan"')):
            self.stays(SOUTH + r'network "lan" is not one for domain "north\.example"$', "denied")

    def test_network_without_its_bridge(self):
        with self.south_with(('bridge = "br0"', 'bridge = "br7"')):
            self.stays(SOUTH + r'network "lan": there is no bridge br7$', "unavailable")

    def test_boot_files_that_are_not_there(self):
        empty = os.path.join(self.lab.directory, "empty")
        os.makedirs(empty, exist_ok=True)
        with self.south_with((f'boot_directory = "{self.lab.guest}"', f'boot_directory = "{empty}"')):
            self.stays(SOUTH + r"kernel: .*[0-9a-f]{64}", "not-found")

    def test_planted_image_header_in_a_raw_volume(self):
        with self.south_with(self.volume(QCOW2)):
            self.stays(SOUTH + r"volume shared/vm1\.raw: .*qcow2", "denied")

    def test_volume_of_another_size(self):
        with self.south_with(self.volume(size=8 * MIB)):
            self.stays(SOUTH + r"volume shared/vm1\.raw: 8388608 bytes here, 16777216 in the manifest$",
                       "conflict")

    def test_volume_that_is_not_there(self):
        with self.south_with(self.own_pool()[1]):
            self.stays(SOUTH + r"volume shared/vm1\.raw: .*No such file or directory$")

    def test_volume_that_is_a_link_to_somewhere_else(self):
        path, change = self.own_pool()
        secret = os.path.join(self.lab.directory, "secret.raw")
        with open(secret, "wb") as file:
            file.truncate(16 * MIB)
        os.symlink(secret, os.path.join(path, self.disk))
        with self.south_with(change):
            self.stays(SOUTH + r"volume shared/vm1\.raw: ")

    def test_name_that_another_vm_has(self):
        north, south = self.lab.hosts
        if not self.session:
            self.new_guest()
        self.lab.start_vm(host=south, seed=99, nic=False, memory=64, walker_mem=1)
        self.addCleanup(self.drop_other, south)
        view = north.wait_migration(self.migrate(north, south), LONG)
        self.assert_failed(view, "failed", SOUTH + r'another VM here has the name "vm1"$')
        self.assertEqual(view["error"]["category"], "conflict")
        self.assertTrue(procs.guest_runs(north.vm("vm1")["pid"]))

    def drop_other(self, south):
        south.call("vm-stop", vm="vm1")
        self.forget_vms(south)


class Memory(RefusalCase):
    config = "reservations_per_peer = 2;"
    disk = None

    def alone(self, vm):
        return False

    def test_too_large(self):
        with self.south_with(("reservations_per_peer = 2;", 'reserve_memory = "16T";')):
            self.stays(SOUTH + r"the VM wants 128 MiB; \d+ MiB are free, 0 MiB booked, "
                       r"16777216 MiB reserved$", "limit")
        self.works()

    def test_reservations_of_one_peer(self):
        north, south = self.lab.hosts
        for name in ("one", "two"):
            self.lab.start_vm(name=name, nic=False, memory=64, walker_mem=1)
        with self.south_with(("reservations_per_peer = 2;", "reservations_per_peer = 1;")):
            migration, _ = self.hold_transfer(north, south, vm="one")
            view = north.wait_migration(self.migrate(north, south, "two"), LONG)
            self.assert_failed(view, "failed", SOUTH + r"1 reservations of this peer already, at most 1$")
            self.assertEqual(view["error"]["category"], "limit")
            north.call("cancel", migration=migration)
            north.wait_migration(migration, LONG)
            self.assert_nothing_left(south, "one")
            self.moved(north, south, "two")
        for name, host in (("one", north), ("two", south)):
            host.call("vm-stop", vm=name)

    def test_booked_by_others(self):
        """Of a VM whose memory is not populated the booking stays while it is incoming."""
        north, south = self.lab.hosts
        with open("/proc/meminfo", encoding="ascii") as file:
            free = int(re.search(r"MemAvailable: +(\d+) kB", file.read()).group(1)) >> 10
        if free < 6144:
            self.skipTest(f"{free} MiB free, 6144 wanted")
        for number, name in enumerate(("first", "second"), start=40):
            self.lab.start_vm(name=name, ip=f"10.77.0.{number}", mac=f"52:54:00:77:00:{number}",
                              memory=3072, walker_mem=8, populate="none")
        change = ("reservations_per_peer = 2;", f'reservations_per_peer = 2; reserve_memory = "{free - 4608}M";')
        with self.south_with(change):
            migration, _ = self.hold_transfer(north, south, vm="first")
            view = north.wait_migration(self.migrate(north, south, "second"), LONG)
            self.assert_failed(view, "failed", SOUTH + r"the VM wants 3072 MiB; \d+ MiB are free, "
                               r"3072 MiB booked, \d+ MiB reserved$")
            north.call("cancel", migration=migration)
            north.wait_migration(migration, LONG)
            self.assert_nothing_left(south, "first")
            self.moved(north, south, "second")


class Hypervisor(RefusalCase):
    disk = None

    def fake(self, script):
        path = os.path.join(self.lab.directory, "fake-qemu")
        with open(path, "w", encoding="ascii") as file:
            file.write("#!/bin/sh\n" + script)
        os.chmod(path, 0o755)
        return (f'qemu = "{self.lab.qemu}"', f'qemu = "{path}"')

    def test_missing(self):
        with self.south_with((f'qemu = "{self.lab.qemu}"', 'qemu = "/nowhere/qemu"')):
            self.stays(SOUTH + r"cannot run /nowhere/qemu: No such file or directory$")
        self.works()

    def test_that_refuses_to_start(self):
        with self.south_with(self.fake("echo 'fake-qemu: not today' >&2; exit 1\n")):
            self.stays(SOUTH + r".*fake-qemu: not today$", "hypervisor")

    def test_that_says_nothing(self):
        with self.south_with(self.fake("exec tail -f /dev/null\n")):
            north, south = self.lab.hosts
            migration = self.migrate(north, south)
            self.wait_step(south, migration, "reserve")
            north.call("cancel", migration=migration)
            self.assertEqual(north.wait_migration(migration, LONG)["state"], "cancelled")
            self.assert_runs_only(north)

    def test_that_does_not_know_the_machine_type(self):
        stock = os.environ.get("SEALIFT_STOCK_QEMU", "")
        if not os.path.exists(stock):
            self.skipTest("no stock QEMU (SEALIFT_STOCK_QEMU)")
        with self.south_with((f'qemu = "{self.lab.qemu}"', f'qemu = "{stock}"')):
            self.stays(SOUTH + r"QEMU .*: unsupported machine type", "hypervisor")


class Identity(RefusalCase):
    """Certificates of one host after another are made unfit; both as destination and as source."""

    disk = None

    def setUp(self):
        super().setUp()
        self.south_keys = os.path.join(self.lab.directory, "pki", "south.example", "hosts", "south")
        self.pki = os.path.dirname(os.path.dirname(self.south_keys))
        self.saved = os.path.join(self.lab.directory, "saved-pki")
        shutil.copytree(self.pki, self.saved)
        self.addCleanup(self.restore)

    def restore(self):
        """All as before: files, what the engines' stores trust, their children's anchors."""
        shutil.rmtree(self.pki)
        shutil.move(self.saved, self.pki)
        self.lab.south.stop()
        self.lab.south.start()
        self.trust(self.lab.north)

    def read(self, name):
        with open(os.path.join(self.pki, name), encoding="ascii") as file:
            return file.read()

    def trust(self, host, domain="south.example"):
        host.call("host-trust", domain=domain, root=self.read("root.crt"), crl=self.read("crl.pem"))

    def openssl(self, *arguments):
        run(["openssl", *arguments], cwd=self.lab.directory)

    def reissue(self, begin, end):
        """South's certificates with another life, from the same root."""
        directory = os.path.join(self.lab.directory, "ca")
        shutil.rmtree(directory, ignore_errors=True)
        os.makedirs(directory)
        for name, usage in (("tls", "clientAuth, serverAuth"), ("sign", None)):
            certificate = os.path.join(self.south_keys, name + ".crt")
            text = run(["openssl", "x509", "-in", certificate, "-noout", "-text"])
            key_usage = "digitalSignature"
            extensions = [f"keyUsage=critical,{key_usage}", "basicConstraints=critical,CA:FALSE",
                          "subjectAltName=critical,URI:spiffe://south.example/host/south"]
            if "X509v3 Extended Key Usage" in text:
                words = re.search(r"Extended Key Usage:.*\n +(.*)", text).group(1)
                known = {"TLS Web Server Authentication": "serverAuth",
                         "TLS Web Client Authentication": "clientAuth",
                         "E-mail Protection": "emailProtection", "Code Signing": "codeSigning"}
                extensions.append("extendedKeyUsage=" + ",".join(
                    known.get(word, word) for word in words.split(", ")))
            with open(os.path.join(directory, "ca.cnf"), "w", encoding="ascii") as file:
                file.write(f"[ca]\ndefault_ca=d\n[d]\ndatabase={directory}/index\nserial={directory}/serial\n"
                           f"new_certs_dir={directory}\ndefault_md=sha384\npolicy=p\nx509_extensions=e\n"
                           "unique_subject=no\n[p]\n[e]\n" + "\n".join(extensions) +
                           "\nauthorityKeyIdentifier=keyid\nsubjectKeyIdentifier=hash\n")
            open(os.path.join(directory, "index"), "w", encoding="ascii").close()
            with open(os.path.join(directory, "serial"), "w", encoding="ascii") as file:
                file.write("7F" + os.urandom(8).hex() + "\n")
            request = os.path.join(directory, name + ".csr")
            self.openssl("req", "-new", "-key", os.path.join(self.south_keys, name + ".key"), "-subj", "/",
                         "-out", request)
            self.openssl("ca", "-batch", "-notext", "-config", os.path.join(directory, "ca.cnf"),
                         "-cert", os.path.join(self.pki, "root.crt"), "-keyfile",
                         os.path.join(self.pki, "root.key"), "-in", request, "-out", certificate,
                         "-startdate", begin, "-enddate", end)

    def test_expired(self):
        self.reissue("20240101000000Z", "20240102000000Z")
        self.lab.south.stop()
        self.lab.south.start()
        self.stays(r"expired.* 2024-01-02T00:00:00Z", "auth")

    def test_reissued_as_it_should_be(self):
        """The good one of the pair: it is the life that the test above stumbles on."""
        self.reissue("20240101000000Z", "20490102000000Z")
        self.lab.south.stop()
        self.lab.south.start()
        if not self.session:
            self.new_guest()
        self.works()

    def test_not_yet_valid(self):
        self.reissue("20480101000000Z", "20490102000000Z")
        self.lab.south.stop()
        self.lab.south.start()
        self.stays(r"is not valid yet: valid from 2048-01-01T00:00:00Z", "auth")

    def test_revoked(self):
        self.lab.pki("south.example", "revoke", "south")
        self.trust(self.lab.north)
        self.stays(r"revoked", "auth")

    def make_stale_crl(self):
        directory = os.path.join(self.lab.directory, "crl")
        os.makedirs(directory, exist_ok=True)
        with open(os.path.join(directory, "ca.cnf"), "w", encoding="ascii") as file:
            file.write(f"[ca]\ndefault_ca=d\n[d]\ndatabase={directory}/index\ncrlnumber={directory}/number\n"
                       "default_md=sha384\ncrl_extensions=e\n[e]\nauthorityKeyIdentifier=keyid\n")
        open(os.path.join(directory, "index"), "w", encoding="ascii").close()
        with open(os.path.join(directory, "number"), "w", encoding="ascii") as file:
            file.write("2000\n")
        self.openssl("ca", "-gencrl", "-config", os.path.join(directory, "ca.cnf"), "-cert",
                     os.path.join(self.pki, "root.crt"), "-keyfile", os.path.join(self.pki, "root.key"),
                     "-crl_lastupdate", "20240101000000Z", "-crl_nextupdate", "20240108000000Z", "-out",
                     os.path.join(self.pki, "crl.pem"))

    def test_stale_crl(self):
        """It fails closed: without a fresh CRL nobody knows who was revoked."""
        self.make_stale_crl()
        north = self.lab.north
        error = north.refusal("host-trust", domain="south.example", root=self.read("root.crt"),
                              crl=self.read("crl.pem"))
        self.assertRegex(error["text"], r"^CRL of south\.example is stale: good until 2024-01-08T00:00:00Z")
        north.call("host-distrust", domain="south.example")
        with contextlib.suppress(LabError):
            self.trust(north)
        self.stays(r"south\.example", "auth")
        # An engine that has it from its configuration says so when it starts.
        south = self.lab.south
        south.stop()
        own = os.path.join(self.lab.directory, "stale.conf")
        with open(south.config, encoding="utf-8") as file:
            text = file.read()
        with open(own, "w", encoding="utf-8") as file:
            file.write(text.replace(south.state, south.state + "-stale"))
        mark = len(south.log())
        config, south.config = south.config, own
        try:
            south.start()
            wait_for("warning", lambda: "CRL of south.example is stale" in south.log()[mark:], LONG)
        finally:
            south.stop()
            south.config = config
            south.start()

    def test_domain_that_is_not_trusted(self):
        self.lab.north.call("host-distrust", domain="south.example")
        self.stays(r"south\.example.*not trusted|no root of|no trust anchor|unknown domain", "auth")
        self.trust(self.lab.north)
        self.works()

    def test_wrong_root(self):
        """Somebody made a domain of the same name."""
        shutil.rmtree(self.pki)
        self.lab.pki("south.example", "init", "south.example")
        self.lab.pki("south.example", "issue", "host", "south")
        self.lab.south.stop()
        self.lab.south.start()
        self.stays(r"signature|root|chain|issuer", "auth")

    def test_another_host_of_the_domain_answers(self):
        self.lab.pki("south.example", "issue", "host", "other")
        other = os.path.join(self.pki, "hosts", "other")
        for name in ("tls.crt", "tls.key", "sign.crt", "sign.key"):
            shutil.copy(os.path.join(other, name), os.path.join(self.south_keys, name))
        self.lab.south.stop()
        self.lab.south.start()
        self.stays(r"spiffe://south\.example/host/other", "auth")

    def test_certificate_of_an_authority_where_a_host_is_needed(self):
        self.lab.pki("south.example", "issue", "authority")
        authority = os.path.join(self.pki, "authority")
        for name in ("sign.crt", "sign.key"):
            shutil.copy(os.path.join(authority, name), os.path.join(self.south_keys, name))
        south = self.lab.south
        south.stop()
        mark = len(south.log())
        with contextlib.suppress(LabError):
            south.start(seconds=3)
        self.assertIn("the signing certificate is of spiffe://south.example/authority, not of a host", south.log()[mark:])
        south.stop()


class NotSealift(RefusalCase):
    """Something else answers on the peer's port."""

    disk = None

    @contextlib.contextmanager
    def instead(self, command):
        south = self.lab.south
        south.stop()
        process = subprocess.Popen(south.inside(command), stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                   start_new_session=True)
        try:
            if command[0] != "true":
                wait_for("listener", lambda: ":7468" in run(south.inside(["ss", "-ltn"])), 10)
            yield
        finally:
            process.kill()
            process.wait()
            south.start()

    def listener(self, answer):
        return ["socat", "TCP-LISTEN:7468,bind=10.77.0.2,reuseaddr,fork", answer]

    def stays_here(self, text):
        """Without asking the dead engine of south what it still has."""
        north, south = self.lab.hosts
        if not self.session:
            south.start()
            self.new_guest()
            south.stop()
        view = north.wait_migration(self.migrate(north, south), LONG)
        self.assert_failed(view, "failed", text)
        self.assertTrue(procs.guest_runs(north.vm("vm1")["pid"]))
        self.assertEqual(self.session.check(), (self.pages, 0))

    def test_nobody(self):
        if not self.session:
            self.new_guest()
        with self.instead(["true"]):
            self.stays_here(r"^10\.77\.0\.2: .*Connection refused$")
        self.works()

    def test_garbage(self):
        if not self.session:
            self.new_guest()
        with self.instead(self.listener("SYSTEM:head -c 65536 /dev/urandom")):
            self.stays_here(r"^10\.77\.0\.2: ")

    def test_http(self):
        if not self.session:
            self.new_guest()
        with self.instead(self.listener("SYSTEM:printf 'HTTP/1.0 400 Bad Request\\\\r\\\\n\\\\r\\\\n'")):
            self.stays_here(r"^10\.77\.0\.2: ")

    def test_silence(self):
        if not self.session:
            self.new_guest()
        with self.instead(self.listener("SYSTEM:cat >/dev/null")):
            self.stays_here(r"^10\.77\.0\.2: .*within 5000 ms$")

    def test_other_tls_server(self):
        if not self.session:
            self.new_guest()
        keys = os.path.join(self.lab.directory, "pki", "south.example", "hosts", "south")
        with self.instead(["openssl", "s_server", "-accept", "10.77.0.2:7468", "-cert", keys + "/tls.crt",
                           "-key", keys + "/tls.key", "-quiet", "-tls1_2"]):
            self.stays_here(r"^10\.77\.0\.2: ")

    def test_strangers_do_not_disturb_a_migration(self):
        if not self.session:
            self.new_guest()
        north, south = self.lab.hosts
        migration = self.migrate(north, south, bandwidth=32 * MIB)
        self.wait_step(south, migration, "loading")
        for text in ("GET / HTTP/1.0\\r\\n\\r\\n", "\\x16\\x03\\x01\\x00\\x05hello", "SEALIFT garbage" * 100):
            stranger = ["sh", "-c", f"printf '{text}' | socat -t1 - TCP:10.77.0.2:7468,connect-timeout=5"]
            subprocess.run(north.inside(stranger), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                           check=False, timeout=20)
        view = north.wait_migration(migration, LONG)
        self.assertEqual(view["state"], "done", view.get("error"))
        self.assert_runs_only(south)
        self.moved(south, north)


class Commands(RefusalCase):
    disk = None

    def test_unknown_names(self):
        north = self.lab.north
        if not self.session:
            self.new_guest()
        for arguments, text in (({"vm": "nobody", "destination": "south"}, 'no VM "nobody" on this host'),
                                ({"vm": "vm1", "destination": "nowhere"}, 'no "nowhere" in hosts')):
            error = north.refusal("migrate", **arguments)
            self.assertEqual(error, {"category": "not-found", "text": text})
        north.call("host-add", name="self", address="10.77.0.1", port=7468, id=north.id)
        error = north.refusal("migrate", vm="vm1", destination="self")
        self.assertEqual(error, {"category": "usage", "text": f"{north.id} is this host"})
        self.assert_runs_only(north)

    def test_two_migrations_of_one_vm(self):
        north, south = self.lab.hosts
        if not self.session:
            self.new_guest()
        migration, _ = self.hold_transfer(north, south)
        error = north.refusal("migrate", vm="vm1", destination="south")
        self.assertEqual(error, {"category": "conflict", "text": "VM vm1 is being migrated already"})
        error = south.refusal("migrate", vm="vm1", destination="north")
        self.assertEqual(error["category"], "conflict")
        error = south.refusal("vm-stop", vm="vm1")
        self.assertEqual(error["category"], "conflict")
        self.assertEqual(self.view(north, migration)["phase"], "transfer")
        north.call("cancel", migration=migration)
        north.wait_migration(migration, LONG)
        self.assert_runs_only(north)

    def test_vm_that_moved_away_is_not_started_again(self):
        north, south = self.lab.hosts
        if not self.session:
            self.new_guest()
        self.moved(north, south)
        with self.assertRaisesRegex(LabError, r"conflict: VM vm1 \(\S+\) was moved to another host, "
                                              r"spiffe://south\.example/host/south: started here again it would run twice"):
            self.lab.start_vm(host=north, seed=self.seed, memory=self.memory)
        self.assert_runs_only(south)
        self.moved(south, north)

    def test_vm_files(self):
        """Each with its line; the same file without the fault starts (all other tests)."""
        north = self.lab.north
        good = self.lab.vm_text(name="vm9", nic=True, disk="vm9.raw")
        self.lab.disk("vm9.raw")
        for old, new, line, text in (
                ('name = "vm9"', 'name = "vm 9"', 1, "malformed"),
                ('name = "vm9"', 'name = "vm9,x=y"', 1, "malformed"),
                ('machine = "pc-q35-10.0"', 'machine = "q35"', 3, "versioned type"),
                ("cpus = 1", "cpus = 0", 5, "1 to 1024"),
                ('memory = "256M"', 'memory = "8M"', 6, "outside 16M to 16T"),
                ('memory = "256M"', 'memory = 256', 6, "not a size"),
                ('volume = "vm9.raw"', 'volume = "../vm9.raw"', 10, "malformed"),
                ('volume = "vm9.raw"', 'volume = "json:{}"', 10, "malformed"),
                ('volume = "vm9.raw"', 'volume = "a,b"', 10, "malformed"),
                ('format = "raw"', 'format = "vmdk"', 10, "raw"),
                ('mac = "52:54:00:77:00:05"', 'mac = "52:54:00"', 11, "malformed"),
                ('mode = "required"', 'mode = "none"', 12, '"required"'),
                ('populate = "full"', 'populate = "full"\nwhatever = 1', 14, ""),
                ('uuid = "', 'uuid = "x', 2, "longer than 36 characters"),
                ('uuid = "7c', 'uuid = "7g', 2, "malformed"),
                (f'kernel = "{self.lab.guest}/vmlinuz"', 'kernel = "/nowhere"', 7, "cannot open")):
            with self.subTest(new=new):
                self.assertIn(old, good)
                error = north.refusal("vm-start", text=good.replace(old, new), file="/etc/vm9.conf")
                self.assertEqual(error["category"], "config")
                self.assertRegex(error["text"], rf"^/etc/vm9\.conf:{line}: .*{text}")
        for old, new, text in (('pool = "shared"', 'pool = "other"', r'pool "other" is not one of this host'),
                               ('network = "lan"', 'network = "wan"', r'network "wan" is not one of this host')):
            error = north.refusal("vm-start", text=good.replace(old, new), file="/etc/vm9.conf")
            self.assertRegex(error["text"], text)
        self.assertIsNone(north.vm("vm9"))
        self.assertEqual([p for p in procs.qemus(north) if p.pid != (north.vm("vm1") or {}).get("pid")], [])


class Start(RefusalCase):
    """What keeps an engine from starting: said in one line, with an exit status of its own."""

    disk = None

    def start_fails(self, host, config=None):
        """(exit status, last line)."""
        path = host.config
        if config is not None:
            path = os.path.join(host.directory, "bad.conf")
            with open(path, "w", encoding="utf-8") as file:
                file.write(config)
        done = subprocess.run(host.inside([os.path.join(self.lab.bin, "sealiftd"), "--config", path]),
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, timeout=20, check=False)
        lines = done.stdout.strip().splitlines()
        return done.returncode, lines[-1] if lines else ""

    def test_configuration_errors_have_file_and_line(self):
        south = self.lab.south
        with open(south.config, encoding="utf-8") as file:
            good = file.read()
        first = 1 + good.splitlines().index(f'state_directory = "{south.state}";')
        for old, new, line, text in (
                ("state_directory", "state_folder", first, "state_folder: is no known setting"),
                (f'state_directory = "{south.state}"', "state_directory = 7", first, "state_directory: is not a string in quotes"),
                (f'state_directory = "{south.state}";', "state_directory = ;", first, "syntax error"),
                ('listen = "10.77.0.2:7468"', 'listen = "10.77.0.2:99999"', first + 3,
                 'listen: is "10.77.0.2:99999": port outside 1 to 65535'),
                ('listen = "10.77.0.2:7468"', 'listen = "10.77.0.2"', first + 3,
                 'listen: is "10.77.0.2": not ADDRESS:PORT')):
            with self.subTest(new=new):
                self.assertIn(old, good)
                status, words = self.start_fails(south, good.replace(old, new, 1))
                self.assertNotEqual(status, 0)
                self.assertRegex(words, rf"bad\.conf:{line}: .*{text}")
        status, words = self.start_fails(south, good.replace("sign = {", "# sign = {"))
        self.assertRegex(words, r'bad\.conf: there is no "sign"$')
        south.stop()
        status, words = self.start_fails(south, good.replace("tls.crt", "none.crt"))
        self.assertRegex(words, r"cannot open .*none\.crt: No such file or directory$")
        south.start()

    def test_port_taken(self):
        south = self.lab.south
        south.stop()
        other = subprocess.Popen(south.inside(["socat", "TCP-LISTEN:7468,bind=10.77.0.2", "SYSTEM:true"]))
        try:
            wait_for("listener", lambda: ":7468" in run(south.inside(["ss", "-ltn"])), 10)
            status, words = self.start_fails(south)
            self.assertNotEqual(status, 0)
            self.assertRegex(words, r"cannot listen on 10\.77\.0\.2 port 7468: Address already in use$")
        finally:
            other.kill()
            other.wait()
        south.start()

    def test_second_engine_on_the_same_state(self):
        north = self.lab.north
        with open(north.config, encoding="utf-8") as file:
            text = file.read().replace("10.77.0.1:7468", "10.77.0.1:7469")
        status, words = self.start_fails(north, text)
        self.assertNotEqual(status, 0)
        self.assertRegex(words, r"store: .*: another process holds it$")
        self.assertEqual(north.call("version")["host"], north.id)


class DiskFull(vmcase.VmCase):
    """No room for the journal, on one side or the other, from the beginning or later."""

    memory, walker_mem = 128, 12

    def setUp(self):
        self.source, self.destination = self.guest()

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        for host in cls.lab.hosts:
            host.stop()
            run(["mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "tmpfs", host.state])
            cls.addClassCleanup(run, ["umount", "-l", host.state])
            host.start()
        cls.lab.introduce()

    @contextlib.contextmanager
    def full(self, host):
        path = os.path.join(host.state, "filler")
        with open(path, "wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        try:
            yield
        finally:
            os.unlink(path)

    def works(self):
        """Once there is room the ends that could not be written are written; till then the VM counts
        as one that is being migrated."""
        def moves():
            view = self.source.wait_migration(self.migrate(self.source, self.destination), LONG)
            if view["state"] != "done":
                self.assert_failed(view, "failed", r"is being migrated already$")
            return view["state"] == "done"

        wait_for("end of what is over", moves, 20, 0.5)
        self.assert_runs_only(self.destination)

    def test_at_the_source_from_the_beginning(self):
        with self.full(self.source):
            view = self.source.call("migrate", vm="vm1", destination=self.destination.name)
            wait_for("end", lambda: self.ended(view["migration"]), LONG)
            self.assertRegex(self.source.log(), r"store: .*database or disk is full")
            self.assertTrue(procs.guest_runs(self.source.vm("vm1")["pid"]))
        self.assert_runs_only(self.source)
        self.works()

    def ended(self, migration):
        """Without a journal the status may not even know it."""
        return self.view(self.source, migration).get("state") in (None, "failed") and \
            self.source.vm("vm1")["state"] == "running"

    def test_at_the_source_before_commit(self):
        migration, frozen = self.hold_question(self.source, self.destination)
        with self.full(self.source):
            procs.thaw(frozen)
            wait_for("end", lambda: self.ended(migration), LONG)
            self.assertRegex(self.source.log(), r"journal: store: .*database or disk is full")
            self.assert_runs_only(self.source)
        self.assert_runs_only(self.source)
        self.works()

    def test_at_the_destination_from_the_beginning(self):
        with self.full(self.destination):
            view = self.source.wait_migration(self.migrate(self.source, self.destination), LONG)
            self.assert_failed(view, "failed", r"^spiffe://.*: store: .*database or disk is full$")
            self.assert_runs_only(self.source)
        self.works()

    def test_at_the_destination_before_commit(self):
        migration, frozen = self.hold_question(self.source, self.destination)
        with self.full(self.destination):
            procs.thaw(frozen)
            view = self.source.wait_migration(migration, LONG)
            self.assert_failed(view, "failed", r"^the destination declined: .*database or disk is full$")
            self.assertTrue(procs.guest_runs(self.source.vm("vm1")["pid"]))
        self.assert_runs_only(self.source)
        self.works()


if __name__ == "__main__":
    vmcase.main()
