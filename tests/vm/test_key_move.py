#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A VM on encrypted disks moves with its keys: what the guest, both key managers, their logs, the
signed evidence and the files of both hosts say afterwards; and what is refused before it leaves."""
import json
import os
import shutil
import subprocess

import key_case
import vmcase
from vmcase import LONG, MIB, procs, run, wait_for

from wiretap import Wiretap

SOUTH = r"^spiffe://south\.example/host/south: "


class ThereAndBack(key_case.KeyCase):
    """One guest goes to the south, is restarted there, comes back, and goes again."""

    def test_north_south_north_south(self):
        north, south = self.lab.hosts
        self.new_guest()
        self.wait_keys(north, "active")
        self.assertEqual(self.states(south), {})
        value = self.values(north)[self.keys[0]]
        before = north.keys_of(self.uuid)[self.keys[0]]
        view = self.tapped_move(north, south, value)
        self.assert_runs_only(south)
        self.assert_keys_at(south)
        after = south.keys_of(self.uuid)[self.keys[0]]
        for member in ("id", "version", "purpose", "vm", "owner", "slot", "fingerprint"):
            self.assertEqual(after[member], before[member])
        self.assertEqual((before["epoch"], after["epoch"]), (1, 2))
        self.assertEqual((self.exposed(north), self.exposed(south)), ({""}, {""}))
        self.assertEqual(self.values(north), {})
        self.assertEqual(self.values(south), {self.keys[0]: value})
        self.check_status(view["migration"])
        self.check_logs(view["migration"])
        self.check_evidence(view["migration"])
        self.assert_value_nowhere(value)
        # It is a VM of the south's now: stopped and started there it needs nobody else.
        self.restarted_guest(south)
        self.assert_runs_only(south)
        # And home: the key that was destroyed there comes again.
        self.moved(south, north)
        self.assert_runs_only(north)
        self.assert_keys_at(north)
        self.restarted_guest(north)
        self.moved(north, south)
        self.assert_runs_only(south)
        self.assert_keys_at(south)
        self.assertEqual(self.values(south), {self.keys[0]: value})
        self.stop_guest()

    def tapped_move(self, source, destination, value):
        tap = Wiretap(self.lab, "keys.pcap")
        tap.start()
        self.addCleanup(tap.close)
        # Slow enough for the tap to see all of it.
        view = self.moved(source, destination, bandwidth=48 * MIB)
        tap.stop()
        self.assertEqual(tap.dropped, 0)
        self.assertGreater(tap.size, self.walker_mem * MIB)
        self.assert_nowhere(value, [tap.path])
        return view

    def check_status(self, migration):
        for host, outcome in zip(self.lab.hosts, ("destroyed", "active")):
            self.wait_outcome(host, migration, outcome)
            self.assertEqual(self.view(host, migration)["keys"]["count"], 1)
            words = host.cli("status", migration)
            self.assertRegex(words, f"\n  keys on this host +1 {outcome}\n")

    def check_logs(self, migration):
        """What each key manager tells of this move, by the command that a person has."""
        for host, story in ((self.lab.north, ["offered", "attested", "wiped"]),
                            (self.lab.south, ["received", "opened", "activated", "attested"])):
            entries = [json.loads(line) for line in host.cli("--json", "key", "audit").splitlines()]
            mine = [entry for entry in entries if entry["who"] == f"migration {migration}"]
            self.assertEqual([entry["action"] for entry in mine], story)
            self.assertEqual({entry["key"] for entry in mine}, set(self.keys))
            other = self.lab.domains[host is self.lab.north]
            self.assertIn(other, mine[0]["detail"])
            self.assertIn("whole", host.cli("key", "audit", "verify"))

    def check_evidence(self, migration):
        """Each side's files, with the root of the domain that signed each, by OpenSSL alone."""
        pki = os.path.join(self.lab.directory, "pki")
        north, south = (os.path.join(pki, domain, "root.crt") for domain in self.lab.domains)
        signers = {"offer": north, "accept": south, "ready": south, "commit": north, "activated": south,
                   "destroyed": north, "keys-offer": south, "keys-imported": south,
                   "keys-activated": south, "keys-destroyed": north}
        for host in self.lab.hosts:
            directory = os.path.join(self.lab.directory, f"evidence-{host.name}")
            words = host.cli("evidence", migration, directory)
            self.assertIn("openssl cms -verify", words)
            self.assertEqual(sorted(os.listdir(directory)), sorted(f"{name}.der" for name in signers))
            for name, root in signers.items():
                path = os.path.join(directory, name + ".der")
                self.assertEqual(self.verify(path, root).returncode, 0, (host.name, name))
                other = south if root == north else north
                self.assertNotEqual(self.verify(path, other).returncode, 0, (host.name, name))
                self.check_flipped(path, root)
            self.check_receipts(directory, migration)
            # What is there is not written over.
            with self.assertRaisesRegex(vmcase.LabError, "File exists"):
                host.cli("evidence", migration, directory)
            shutil.rmtree(directory)

    @staticmethod
    def verify(path, root, out=os.devnull):
        return subprocess.run(["openssl", "cms", "-verify", "-binary", "-cades", "-inform", "DER", "-in",
                               path, "-CAfile", root, "-purpose", "any", "-out", out],
                              capture_output=True, check=False, text=True)

    def check_flipped(self, path, root):
        """One bit in the text that is signed: it names the VM, whatever it is of."""
        with open(path, "rb") as file:
            data = bytearray(file.read())
        at = data.index(self.uuid.encode())
        data[at] ^= 1
        with open(path + ".flipped", "wb") as file:
            file.write(data)
        self.assertNotEqual(self.verify(path + ".flipped", root).returncode, 0, path)
        os.unlink(path + ".flipped")

    def check_receipts(self, directory, migration):
        """Each answers the one before, by the digest of its text."""
        texts = {}
        for name in ("imported", "activated", "destroyed"):
            path = os.path.join(directory, name)
            done = self.verify(os.path.join(directory, f"keys-{name}.der"), self.root_of(name), path)
            self.assertEqual(done.returncode, 0, done.stderr)
            with open(path, "rb") as file:
                texts[name] = json.loads(file.read())
            texts[name]["sha384"] = run(["openssl", "dgst", "-sha384", "-r", path]).split()[0]
            os.unlink(path)
        for before, name in (("imported", "activated"), ("activated", "destroyed")):
            self.assertEqual(texts[name]["previous"], texts[before]["sha384"])
        for text in texts.values():
            self.assertEqual((text["migration"], text["vm"]), (migration, self.uuid))
            self.assertEqual([key["id"] for key in text["keys"]], self.keys)

    def root_of(self, document):
        domain = self.lab.domains[document not in ("destroyed", "kept")]
        return os.path.join(self.lab.directory, "pki", domain, "root.crt")

    def assert_value_nowhere(self, value):
        """Journals, databases, logs and the memory of all that runs here but the hypervisor, which has
        the key as long as it has the disk."""
        for host in self.lab.hosts:
            self.assert_nowhere(value, self.files_of(host))
            children = [process for process in procs.processes()
                        if process.parent == host.engine.pid and process.name.startswith("sealift")]
            self.assertIn("sealift-keyd", [process.name for process in children])
            for name, pid in [("sealiftd", host.engine.pid),
                              *((process.name, process.pid) for process in children)]:
                self.assertEqual(self.in_memory(pid, value), [], f"in memory of {name} of {host.name}")

    def test_the_search_finds_a_key_where_there_is_one(self):
        value = os.urandom(32)
        for name, needle in self.spellings(value).items():
            path = os.path.join(self.lab.directory, "planted")
            with open(path, "wb") as file:
                file.write(os.urandom(5000) + needle + os.urandom(77))
            with self.assertRaisesRegex(AssertionError, name):
                self.assert_nowhere(value, [path])
            held = subprocess.Popen(["/usr/bin/python3", "-c", "import os\nkept = open(%r, 'rb').read()\n"
                                     "print(flush=True)\nos.read(0, 1)" % path],
                                    stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            held.stdout.readline()
            self.assertIn(name, [found for found, _ in self.in_memory(held.pid, value)])
            held.communicate(b"x")
            os.unlink(path)


class Kinds(key_case.KeyCase):
    """Formats, more than one disk, keys that stay."""

    def test_two_disks_qcow2_and_raw(self):
        north, south = self.lab.hosts
        self.new_guest(("a.qcow2", "qcow2"), ("b.img", "raw"))
        self.second_disk(north)
        values = self.values(north)
        self.assertEqual(set(values), set(self.keys))
        self.assertEqual(len(set(values.values())), 2)
        view = self.moved(north, south)
        self.assert_runs_only(south)
        self.second_disk(south)
        self.assert_keys_at(south)
        self.wait_outcome(north, view["migration"], "destroyed")
        self.assertEqual(self.view(north, view["migration"])["keys"]["count"], 2)
        self.assertEqual(self.values(south), values)
        self.stop_guest()
        self.check_images(values)

    def check_images(self, values):
        """As an operator would who has the keys, and as one who has those of the other disk."""
        by_volume = dict(zip(self.volumes, self.keys))
        for (volume, kind), key in by_volume.items():
            info = self.qemu_img(values[key], volume, kind, "info")
            self.assertEqual(info.returncode, 0, info.stdout)
            other = next(value for id, value in values.items() if id != key)
            wrong = self.qemu_img(other, volume, kind, "compare", "-f", "raw")
            self.assertNotEqual(wrong.returncode, 0)
        volume, key = next((volume, key) for (volume, kind), key in by_volume.items() if kind == "qcow2")
        check = self.qemu_img(values[key], volume, "qcow2", "check")
        self.assertIn("No errors were found", check.stdout)

    def test_keys_that_are_kept(self):
        north, south = self.lab.hosts
        self.new_guest()
        words = north.cli("--json", "migrate", self.vm, "south", "--keep-keys")
        migration = json.loads(words.splitlines()[-1])["migration"]
        self.assert_runs_only(south)
        for host in (north, south):
            self.wait_keys(host, "active")
        self.assertEqual(self.values(north), self.values(south))
        # A copy is known to both for good, and both say so.
        self.assertEqual(self.exposed(north), {"south.example"})
        self.assertEqual(self.exposed(south), {"north.example"})
        self.wait_outcome(north, migration, "kept")
        self.wait_outcome(south, migration, "active")
        for host in self.lab.hosts:
            pieces = host.call("evidence", migration=migration)["pieces"]
            wait_for("receipt", lambda h=host: "keys-kept" in h.call("evidence", migration=migration)["pieces"],
                     LONG)
            self.assertNotIn("keys-destroyed", pieces)
        self.stop_guest()


class Refused(key_case.KeyCase):
    """The guest stays at north, its keys active there, whatever is wrong; and south keeps none."""

    def stays(self, text, category=None, exposed=False, named=True):
        north, south = self.lab.hosts
        if not self.vm or not self.running_view(north, self.vm):
            self.new_guest()
        view = north.wait_migration(self.migrate(north, south), LONG)
        self.assert_failed(view, "failed", text)
        if category:
            self.assertEqual(view["error"]["category"], category)
        self.assert_runs_only(north)
        self.wait_keys(north, "active")
        self.assertEqual(self.exposed(north), {"south.example" if exposed else ""})
        # Which keys go along is known once their key manager has said it.
        outcome = "exposed" if exposed else "active" if named else None
        self.wait_outcome(north, view["migration"], outcome)
        self.assertEqual("KEYS EXPOSED" in self.log_of(north, view["migration"]), exposed)
        return view

    def nothing_at_south(self):
        self.lab.south.keys_serve()
        self.assertEqual(self.states(self.lab.south), {})

    def works(self):
        """The good one of the pair: there and back."""
        north, south = self.lab.hosts
        self.moved(north, south)
        self.assert_runs_only(south)
        self.assert_keys_at(south)
        self.moved(south, north)
        self.assert_runs_only(north)
        self.assert_keys_at(north)
        # What was there has to be asked about anew.
        self.stop_guest()

    def test_no_key_manager_at_south(self):
        with self.configured(self.lab.south, ""):
            self.stays(SOUTH + r"the VM's keys travel with it, and no key manager is configured on "
                       r"spiffe://south\.example/host/south$", "denied")
        self.nothing_at_south()

    def test_no_key_manager_at_north(self):
        north, south = self.lab.hosts
        self.guest()
        with self.configured(north, ""):
            error = north.refusal("migrate", vm=self.vm, destination="south")
            self.assertEqual(error["category"], "conflict")
            self.assertRegex(error["text"], "no key manager is configured on spiffe://north")
        self.nothing_at_south()
        self.works()

    def test_south_has_no_certificates_for_its_keys(self):
        with self.configured(self.lab.south, self.lab.south.keys_text(certificates=False)):
            self.stays(SOUTH + r"key manager: .*certificate", "unavailable")
            self.nothing_at_south()

    def test_north_has_no_certificates_for_its_keys(self):
        self.guest()
        with self.configured(self.lab.north, self.lab.north.keys_text(certificates=False)):
            self.stays(r"^key manager: .*certificate", "unavailable", named=False)
            self.nothing_at_south()

    def test_south_is_signed_by_a_root_that_north_does_not_know(self):
        other = os.path.join(self.lab.directory, "other-pki")
        sealift = os.path.join(self.lab.bin, "sealift")
        run([sealift, "pki", "init", "south.example", "--dir", other])
        run([sealift, "pki", "issue", "keyd", "--dir", other])
        keys = self.lab.south.keys_text(files=os.path.join(other, "keyd"))
        with self.configured(self.lab.south, keys):
            self.stays(r"key manager: export: ", "auth")
            self.nothing_at_south()

    def saved_pki(self):
        """South's certificates, which are as they were after the test."""
        pki = os.path.join(self.lab.directory, "pki", "south.example")
        saved = os.path.join(self.lab.directory, "saved-pki")
        shutil.copytree(pki, saved)

        def restore():
            shutil.rmtree(pki)
            shutil.move(saved, pki)
            self.restart(self.lab.south)
            self.trust_south()

        self.addCleanup(restore)
        return pki

    def trust_south(self):
        texts = {}
        for name, file in (("root", "root.crt"), ("crl", "crl.pem")):
            path = os.path.join(self.lab.directory, "pki", "south.example", file)
            with open(path, encoding="ascii") as stream:
                texts[name] = stream.read()
        self.lab.north.call("host-trust", domain="south.example", **texts)

    def test_revoked(self):
        self.saved_pki()
        self.lab.pki("south.example", "revoke", "keyd")
        self.trust_south()
        self.stays(r"key manager: export: .*revoked", "auth")
        self.nothing_at_south()

    def test_expired(self):
        pki = self.saved_pki()
        for name, usage in (("sign", "digitalSignature"), ("agree", "keyAgreement")):
            self.reissue(pki, name, usage, "20240101000000Z", "20240102000000Z")
            self.restart(self.lab.south)
            self.stays(r"key manager: .*expired", None)
            self.nothing_at_south()

    def test_reissued_as_they_should_be(self):
        """The good one of the pair: it is the life that the test above stumbles on."""
        pki = self.saved_pki()
        for name, usage in (("sign", "digitalSignature"), ("agree", "keyAgreement")):
            self.reissue(pki, name, usage, "20240101000000Z", "20490102000000Z")
        self.restart(self.lab.south)
        self.guest()
        self.works()

    def reissue(self, pki, name, usage, begin, end):
        """A certificate of the key manager's with another life, from the same root."""
        directory = os.path.join(self.lab.directory, "ca")
        shutil.rmtree(directory, ignore_errors=True)
        os.makedirs(directory)
        files = {"index": "", "serial": "7E" + os.urandom(8).hex() + "\n", "ca.cnf":
                 f"[ca]\ndefault_ca=d\n[d]\ndatabase={directory}/index\nserial={directory}/serial\n"
                 f"new_certs_dir={directory}\ndefault_md=sha384\npolicy=p\nx509_extensions=e\n"
                 f"unique_subject=no\n[p]\n[e]\nkeyUsage=critical,{usage}\n"
                 "basicConstraints=critical,CA:FALSE\nsubjectAltName=critical,URI:spiffe://south.example/keyd\n"
                 "authorityKeyIdentifier=keyid\nsubjectKeyIdentifier=hash\n"}
        for file, text in files.items():
            with open(os.path.join(directory, file), "w", encoding="ascii") as stream:
                stream.write(text)
        request, key = (os.path.join(directory, "request"), os.path.join(pki, "keyd", name))
        run(["openssl", "req", "-new", "-key", key + ".key", "-subj", "/", "-out", request])
        run(["openssl", "ca", "-batch", "-notext", "-config", os.path.join(directory, "ca.cnf"), "-cert",
             os.path.join(pki, "root.crt"), "-keyfile", os.path.join(pki, "root.key"), "-in", request,
             "-out", key + ".crt", "-startdate", begin, "-enddate", end])

    def test_image_of_another_key(self):
        """The package went before anybody could know: the keys are back, and marked."""
        north, south = self.lab.hosts
        self.new_guest()
        shared = os.path.join(self.lab.directory, "shared")
        mine, other = (os.path.join(shared, name) for name in (self.volumes[0][0], f"other{self.serial}.img"))
        text = self.lab.vm_text(name=f"other{self.serial}", disk=self.disk_text(os.path.basename(other), "raw"),
                                nic=False)
        north.call("vm-create", text=text, file="/nowhere/vm.conf")
        # North's QEMU has the image open already; south finds the other one by its name.
        os.rename(mine, mine + ".kept")
        os.rename(other, mine)
        self.stays(SOUTH + r".*disk", None, exposed=True)
        self.assertEqual(set(self.states(south).values()), {"destroyed"})
        self.assertIn("exposed_to   south.example", north.cli("key", "show", self.keys[0]))
        self.assertRegex(north.cli("status"), self.vm)
        log = [(entry["action"], entry["from"], entry["to"]) for entry in north.key_log(self.keys[0])]
        self.assertEqual(log[-1], ("returned", "exporting", "active"))
        self.assertEqual([entry["action"] for entry in south.key_log(self.keys[0])],
                         ["received", "opened", "discarded"])
        os.rename(mine, other)
        os.rename(mine + ".kept", mine)
        self.works()

    def test_cancelled_after_the_package(self):
        north, south = self.lab.hosts
        self.new_guest()
        migration, _ = self.hold_transfer(north, south)
        self.wait_keys(north, "exporting")
        self.wait_keys(south, "imported")
        self.assertEqual(self.outcome(north, migration), "moving")
        north.call("cancel", migration=migration)
        self.assertEqual(north.wait_migration(migration, LONG)["state"], "cancelled")
        self.assert_runs_only(north)
        self.assert_keys_at(north)
        self.assertEqual(self.exposed(north), {"south.example"})
        self.wait_outcome(north, migration, "exposed")
        self.wait_outcome(south, migration, "discarded")
        self.assertRegex(north.cli("status", migration), "keys on this host +1 exposed\n +WARNING: ")
        self.works()

    def test_cancelled_before_the_package(self):
        north, south = self.lab.hosts
        self.new_guest()
        migration, frozen = self.hold_prepare(north, south)
        north.call("cancel", migration=migration)
        procs.thaw(frozen)
        self.assertEqual(north.wait_migration(migration, LONG)["state"], "cancelled")
        self.assert_runs_only(north)
        self.assert_keys_at(north, None)
        self.assertEqual(self.exposed(north), {""})
        self.wait_outcome(north, migration, "active")


if __name__ == "__main__":
    vmcase.main()
