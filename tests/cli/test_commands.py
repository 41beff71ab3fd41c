# SPDX-License-Identifier: Apache-2.0
"""Each command but the long-running ones: good and bad."""

import json
import os
import subprocess
import unittest

from fake_engine import SEALIFT, CliTest, Refuse, environment, run

HOST = {"name": "south1", "address": "192.0.2.7", "port": 7468,
        "id": "spiffe://south.example/host/south1"}
VM = {"name": "vm1", "uuid": "6f1c0f3e-2f0b-4f4e-9d58-1f0f8a1b2c3d", "state": "running", "epoch": 3,
      "owner": "north.example", "memory_bytes": 512 << 20, "cpus": 2, "machine": "pc-q35-10.0",
      "mode": "required", "pid": 4711, "serial": "/run/sealift/vm/vm1/serial.sock"}
MIGRATION = {"migration": "0123456789abcdef0123456789abcdef", "role": "source", "vm": "vm1",
             "vm_uuid": VM["uuid"], "peer": "spiffe://south.example/host/south1",
             "phase": "transfer", "state": "active", "mode": "required", "percent": 42,
             "elapsed_ms": 1234}
ROOT = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
CRL = "-----BEGIN X509 CRL-----\nBBBB\n-----END X509 CRL-----\n"


def other(**changes):
    return {**MIGRATION, "migration": "f" * 32, **changes}


def refuse(category, text):
    def handler(_connection, _arguments):
        raise Refuse(category, text)
    return handler


class CommandLine(CliTest):
    def test_help_names_every_command(self):
        result = run("help")
        self.assertEqual(result.returncode, 0)
        for name in ("pki", "host add", "migrate", "doctor"):
            self.assertIn("\n  " + name, result.stdout)

    def test_help_of_each_command(self):
        for name in ("host add", "vm start", "migrate", "status", "resolve", "doctor", "version"):
            with self.subTest(name):
                by_help = run("help", *name.split())
                by_option = run(*name.split(), "--help")
                self.assertEqual((by_help.returncode, by_option.returncode), (0, 0))
                self.assertTrue(by_help.stdout.startswith("usage: sealift " + name))
                self.assertEqual(by_help.stdout, by_option.stdout)

    def test_bad_command_lines_are_refused_in_one_line(self):
        for arguments, words in (
                ([], "no command"),
                (["frobnicate"], '"frobnicate"'),
                (["vm"], "start, list, show, rekey, stop"),
                (["vm", "eat"], '"vm eat"'),
                (["help", "eat"], '"eat"'),
                (["--colour"], "--colour"),
                (["--socket"], "--socket"),
                (["vm", "list", "--colour"], "--colour"),
                (["vm", "list", "-x"], "-x"),
                (["vm", "list", "more"], '"more" is too much'),
                (["vm", "show"], "usage: sealift vm show VM"),
                (["migrate", "vm1"], "usage: sealift migrate VM DESTINATION"),
                (["migrate", "vm1", "s", "--channels"], "--channels needs a value"),
                (["migrate", "vm1", "s", "--channels", "0"], "from 1 to 16"),
                (["migrate", "vm1", "s", "--channels", "17"], "from 1 to 16"),
                (["migrate", "vm1", "s", "--channels", "2x"], '"2x"'),
                (["migrate", "vm1", "s", "--channels", "1", "--channels", "2"], "given twice"),
                (["migrate", "vm1", "s", "--bandwidth", "fast"], '"fast"'),
                (["migrate", "vm1", "s", "--bandwidth", "-1M"], '"-1M"'),
                (["migrate", "vm1", "s", "--bandwidth", "9999T"], "from 1k to 1T"),
                (["migrate", "vm1", "s", "--offline", "--cold"], "--cold for a stopped one"),
                (["migrate", "vm1", "s", "--max-downtime", "0"], "from 1 to 2000000"),
                (["host", "add", "south1", "--id", "spiffe://s/host/x"], "--address"),
                (["host", "add", "south1", "--address", "192.0.2.7"], "--id"),
                (["host", "trust", "south.example"], "--root"),
                (["resolve", "01"], "--run-here"),
                (["\x1b[31m"], "\\x1b[31m")):
            with self.subTest(arguments):
                self.assert_fails(run(*arguments), 2, words)

    def test_errors_are_json_too_when_asked_for(self):
        result = run("--json", "vm", "eat")
        self.assertEqual(result.returncode, 2)
        self.assertEqual(json.loads(result.stdout)["error"]["category"], "usage")

    def test_output_that_cannot_be_written_is_an_error(self):
        with open("/dev/full", "w", encoding="utf-8") as full:
            result = subprocess.run([SEALIFT, "help"], stdout=full, stderr=subprocess.PIPE,
                                    env=environment(), check=False, text=True)
        self.assert_fails(result, 14, "cannot write")


class Connecting(CliTest):
    def test_no_engine(self):
        self.assert_fails(run("--socket", "/nonexistent/sock", "hosts"), 12,
                          "no engine answers at /nonexistent/sock")

    def test_socket_path_too_long(self):
        self.assert_fails(run("--socket", "/" + "x" * 200, "hosts"), 2, "201 bytes", "107")

    def test_socket_from_environment(self):
        engine = self.engine(vm_list={"vms": []})
        os.environ["SEALIFT_SOCKET"] = engine.path
        self.addCleanup(os.environ.pop, "SEALIFT_SOCKET")
        result = subprocess.run([SEALIFT, "vm", "list"], capture_output=True, check=False, text=True)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("no VMs", result.stdout)

    def test_each_category_has_its_exit_status(self):
        for category, status in (("usage", 2), ("config", 3), ("not-found", 4), ("conflict", 5),
                                 ("denied", 6), ("auth", 7), ("peer", 8), ("limit", 9),
                                 ("timeout", 10), ("cancelled", 11), ("unavailable", 12),
                                 ("hypervisor", 13), ("io", 14), ("internal", 1),
                                 ("none", 1), ("new-word", 1)):
            with self.subTest(category):
                engine = self.engine(vm_list=refuse(category, "so it is"))
                self.assert_fails(self.ask(engine, "vm", "list"), status, "so it is")

    def test_refused_user(self):
        engine = self.engine()

        def refuse_and_close(connection):
            connection.send({"error": {"category": "denied", "text": "not you"}})
            connection.close()
        engine.on_connect = refuse_and_close
        self.assert_fails(self.ask(engine, "hosts"), 6, "not you")

    def test_what_an_engine_must_not_say(self):
        deep = b"[" * 5000 + b"]" * 5000
        for raw, status, words in (
                (b"garbage\n", 8, "no JSON object"),
                (b"\xff\xfe\n", 8, "no JSON object"),
                (b"[]\n", 8, "no JSON object"),
                (deep + b"\n", 8, "no JSON object"),
                (b"{}\n", 8, "neither a reply nor an event"),
                (b'{"return":{},"error":{"category":"io","text":"x"},"id":1}\n', 8, "neither"),
                (b'{"return":{},"return":{},"id":1}\n', 8, "no JSON object"),
                (b'{"return":[],"id":1}\n', 8, "no object"),
                (b'{"return":{},"id":77}\n', 8, "never asked"),
                (b'{"error":{"text":"x"},"id":1}\n', 8, "without category"),
                (b'{"error":"x","id":1}\n', 8, "without category"),
                (b"x" * 70000, 8, "more than 65536 bytes"),
                (b'{"return":', 12, "closed the connection")):
            with self.subTest(raw[:40]):
                def handler(connection, _arguments, raw=raw):
                    connection.send_raw(raw)
                    connection.close()
                engine = self.engine(host_list=handler)
                self.assert_fails(self.ask(engine, "hosts"), status, words)

    def test_longest_line_is_taken(self):
        def handler(connection, _arguments):
            frame = b'{"return":{"vms":[],"x":"%s"},"id":1}'
            connection.send_raw(frame % (b"x" * (65536 - len(frame) + 2)) + b"\n")
        self.assertEqual(self.ask(self.engine(vm_list=handler), "vm", "list").returncode, 0)

    def test_reply_in_pieces_and_after_events(self):
        def handler(connection, _arguments):
            connection.event("warning", {"text": "not for you"})
            line = json.dumps({"return": {"vms": [VM]}, "id": 1}).encode() + b"\n"
            for i in range(0, len(line), 7):
                connection.send_raw(line[i:i + 7])
        result = self.ask(self.engine(vm_list=handler), "vm", "list")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("vm1", result.stdout)

    def test_control_bytes_are_escaped(self):
        nasty = {**VM, "name": "vm\x1b]0;owned\x07", "state": "\u202e\x9b1m"}
        result = self.ask(self.engine(vm_list={"vms": [nasty]}), "vm", "list")
        self.assertEqual(result.returncode, 0)
        self.assert_plain(result.stdout)
        self.assertIn("vm\\x1b]0;owned\\x07", result.stdout)
        engine = self.engine(vm_list=refuse("io", "bad \x1b[2J\nsealift: all is well"))
        self.assert_fails(self.ask(engine, "vm", "list"), 14, "\\x1b[2J\\x0a")


class Hosts(CliTest):
    def test_add_numeric(self):
        for text, address, port in (("192.0.2.7", "192.0.2.7", 7468),
                                    ("192.0.2.7:99", "192.0.2.7", 99),
                                    ("[2001:db8::1]", "2001:db8::1", 7468),
                                    ("[2001:db8::1]:99", "2001:db8::1", 99)):
            with self.subTest(text):
                engine = self.engine(host_add={})
                result = self.ask(engine, "host", "add", "south1", "--address", text, "--id",
                                  HOST["id"])
                self.assertEqual((result.returncode, result.stdout), (0, ""), result.stderr)
                self.assertEqual(engine.next_request()["arguments"],
                                 {"name": "south1", "address": address, "port": port,
                                  "id": HOST["id"]})

    def test_add_resolves_and_says_so(self):
        engine = self.engine(host_add={})
        result = self.ask(engine, "host", "add", "me", "--address", "localhost:7000", "--id", "x")
        self.assertEqual(result.returncode, 0, result.stderr)
        address = engine.next_request()["arguments"]["address"]
        self.assertIn(address, ("127.0.0.1", "::1"))
        self.assertIn("me: localhost is " + address, result.stdout)

    def test_add_bad_addresses(self):
        for text, status, words in (("2001:db8::1", 2, "brackets"), ("[2001:db8::1", 2, "[IPV6]"),
                                    ("[::1]x", 2, "[IPV6]"), ("192.0.2.7:0", 2, "1 to 65535"),
                                    ("192.0.2.7:65536", 2, "1 to 65535"), (":99", 2, "0 bytes"),
                                    ("192.0.2.7:", 2, "the port"), ("h" * 300, 2, "300 bytes"),
                                    ("no-such-host.invalid", 4, "cannot resolve")):
            with self.subTest(text):
                engine = self.engine(host_add={})
                result = self.ask(engine, "host", "add", "south1", "--address", text, "--id", "x")
                self.assert_fails(result, status, words)
                self.assertEqual(engine.asked(), [])

    def test_remove(self):
        engine = self.engine(host_remove={})
        self.assertEqual(self.ask(engine, "host", "remove", "south1").returncode, 0)
        self.assertEqual(engine.next_request()["arguments"], {"name": "south1"})
        engine = self.engine(host_remove=refuse("not-found", "there is no host x"))
        self.assert_fails(self.ask(engine, "host", "remove", "x"), 4, "there is no host x")

    def test_name_that_is_not_utf8(self):
        engine = self.engine(host_remove={})
        self.assert_fails(self.ask(engine, "host", "remove", b"\xff"), 2, "not UTF-8")

    def test_trust(self):
        engine = self.engine(host_trust={})
        result = self.ask(engine, "host", "trust", "south.example", "--root", self.file(ROOT),
                          "--crl", self.file(CRL))
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(engine.next_request()["arguments"],
                         {"domain": "south.example", "root": ROOT, "crl": CRL})

    def test_trust_refuses_what_is_no_certificate(self):
        key = "-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----\n"
        for root, status, words in ((self.file("hello\n"), 2, "not PEM"),
                                    (self.file(CRL), 2, "BEGIN CERTIFICATE"),
                                    (self.file(ROOT + key), 2, "private key"),
                                    (self.file(ROOT + "\0"), 2, "not PEM"),
                                    (self.file(ROOT * 400), 9, "16384"),
                                    ("/nonexistent", 4, "/nonexistent"),
                                    ("/tmp", 3, "not a regular file")):
            with self.subTest(words):
                engine = self.engine(host_trust={})
                result = self.ask(engine, "host", "trust", "south.example", "--root", root)
                self.assert_fails(result, status, words)
                self.assertNotIn("secret", result.stderr)
                self.assertEqual(engine.asked(), [])

    def test_trust_refuses_der_crl(self):
        engine = self.engine(host_trust={})
        result = self.ask(engine, "host", "trust", "d", "--root", self.file(ROOT), "--crl",
                          self.file("0\x82"))
        self.assert_fails(result, 2, "BEGIN X509 CRL")

    def test_distrust(self):
        engine = self.engine(host_distrust={})
        self.assertEqual(self.ask(engine, "host", "distrust", "south.example").returncode, 0)
        self.assertEqual(engine.next_request()["arguments"], {"domain": "south.example"})

    def test_list(self):
        domains = [{"domain": "south.example", "crl_next_update": 1},
                   {"domain": "west.example", "crl_next_update": 4102444800},
                   {"domain": "east.example"}, {"domain": "new.example", "crl_next_update": 0}]
        engine = self.engine(host_list={"hosts": [HOST], "domains": domains})
        result = self.ask(engine, "hosts")
        self.assertEqual(result.returncode, 0)
        self.assertRegex(result.stdout, r"south1 +192\.0\.2\.7 +7468 +spiffe://south")
        self.assertRegex(result.stdout, r"south\.example +1970-01-01 00:00:01 EXPIRED")
        self.assertRegex(result.stdout, r"west\.example +2100-01-01 00:00:00\n")
        self.assertRegex(result.stdout, r"east\.example +none: no host")
        self.assertRegex(result.stdout, r"new\.example +not looked at yet")
        lines = self.ask(engine, "hosts", "--json").stdout.splitlines()
        self.assertEqual([json.loads(line) for line in lines], [HOST] + domains)

    def test_list_of_nothing(self):
        result = self.ask(self.engine(host_list={}), "hosts")
        self.assertEqual(result.returncode, 0)
        self.assertIn("no hosts are known", result.stdout)


class Vms(CliTest):
    def test_start(self):
        engine = self.engine(vm_start={"vm": VM})
        path = self.file('name = "vm1";\n', "vm1.conf")
        result = self.ask(engine, "vm", "start", path)
        self.assertEqual((result.returncode, result.stdout), (0, "started vm1\n"), result.stderr)
        self.assertEqual(engine.next_request()["arguments"],
                         {"text": 'name = "vm1";\n', "file": os.path.realpath(path)})

    def test_start_bad_files(self):
        for path, status, words in (("/nonexistent/vm", 4, "/nonexistent/vm"),
                                    ("/tmp", 3, "not a regular file"),
                                    (self.file("a\0b"), 3, "NUL"),
                                    (self.file("x" * 70000), 9, "65535"),
                                    (self.file('"' * 65000), 9, "65536")):
            with self.subTest(words):
                engine = self.engine(vm_start={"vm": VM})
                self.assert_fails(self.ask(engine, "vm", "start", path), status, words)
                self.assertEqual(engine.asked(), [])

    def test_start_refused(self):
        engine = self.engine(vm_start=refuse("config", 'vm.conf:12: memory is "12X"'))
        self.assert_fails(self.ask(engine, "vm", "start", self.file("x")), 3, "vm.conf:12")

    def test_list(self):
        engine = self.engine(vm_list={"vms": [VM, {"name": "odd", "memory_bytes": "much"}]})
        result = self.ask(engine, "vm", "list")
        self.assertEqual(result.returncode, 0)
        self.assertRegex(result.stdout, r"vm1 +running +512 MiB +2 +required +3 +6f1c")
        self.assertRegex(result.stdout, r"odd +- +- +- +- +- +-")
        lines = self.ask(engine, "--json", "vm", "list").stdout.splitlines()
        self.assertEqual(json.loads(lines[0]), VM)

    def test_show(self):
        engine = self.engine(vm_show={"vm": VM, "manifest": {"append": "\x1b[2J"}})
        result = self.ask(engine, "vm", "show", "vm1")
        self.assertEqual(result.returncode, 0)
        self.assert_plain(result.stdout)
        self.assertIn("memory_bytes  512 MiB", result.stdout)
        self.assertIn("4711", result.stdout)
        self.assertEqual(engine.next_request()["arguments"], {"vm": "vm1"})
        engine = self.engine(vm_show=refuse("not-found", "there is no VM x"))
        self.assert_fails(self.ask(engine, "vm", "show", "x"), 4, "there is no VM x")

    def test_stop(self):
        engine = self.engine(vm_stop={})
        result = self.ask(engine, "vm", "stop", "vm1")
        self.assertEqual((result.returncode, result.stdout), (0, "stopped vm1\n"))
        engine = self.engine(vm_stop=refuse("conflict", "vm1 is migrating"))
        self.assert_fails(self.ask(engine, "vm", "stop", "vm1"), 5, "vm1 is migrating")


class Migrations(CliTest):
    def test_status_table(self):
        engine = self.engine(status={"migrations": [MIGRATION, other(state="done", percent=250)]})
        result = self.ask(engine, "status")
        self.assertEqual(result.returncode, 0)
        self.assertRegex(result.stdout, r"01234567 +vm1 +source +spiffe://south\S+ +transfer +active "
                                        r"+42 % +1\.23 s")
        self.assertIn("100 %", result.stdout)
        lines = self.ask(engine, "status", "--json").stdout.splitlines()
        self.assertEqual(json.loads(lines[0]), MIGRATION)

    def test_status_of_one(self):
        failed = other(state="failed", error={"category": "peer", "text": "it\x07 hung up"},
                       mode="disabled")
        result = self.ask(self.engine(status={"migrations": [failed]}), "status", "ff")
        self.assertEqual(result.returncode, 0)
        self.assert_plain(result.stdout)
        self.assertIn("it\\x07 hung up", result.stdout)
        self.assertIn("not encrypted", result.stdout)

    def test_status_of_a_guard_that_only_warns(self):
        warned = other(guard="warn", guard_warnings=3)
        result = self.ask(self.engine(status={"migrations": [warned]}), "status", "ff")
        self.assertEqual(result.returncode, 0)
        self.assertRegex(result.stdout, r"\n  guard +warn\n    rules broken +3\n")
        result = self.ask(self.engine(status={"migrations": [other(guard="enforce")]}), "status", "ff")
        self.assertRegex(result.stdout, r"\n  guard +enforce\n")
        self.assertNotIn("rules broken", result.stdout)

    def test_status_of_none(self):
        result = self.ask(self.engine(status={"migrations": []}), "status")
        self.assertEqual((result.returncode, result.stdout), (0, "no migrations\n"))
        engine = self.engine(status=refuse("not-found", 'no migration begins with "zz"'))
        self.assert_fails(self.ask(engine, "status", "zz"), 4, '"zz"')

    def test_cancel_named(self):
        engine = self.engine(cancel={})
        result = self.ask(engine, "cancel", "0123")
        self.assertEqual(result.returncode, 0)
        self.assertIn("cancelling 0123", result.stdout)
        self.assertEqual(engine.next_request()["arguments"], {"migration": "0123"})

    def test_cancel_the_only_active_one(self):
        engine = self.engine(status={"migrations": [other(state="done"), MIGRATION]}, cancel={})
        self.assertEqual(self.ask(engine, "cancel").returncode, 0)
        self.assertEqual(engine.next_request()["execute"], "status")
        self.assertEqual(engine.next_request()["arguments"],
                         {"migration": MIGRATION["migration"]})

    def test_cancel_none_or_several(self):
        engine = self.engine(status={"migrations": [other(state="done")]}, cancel={})
        self.assert_fails(self.ask(engine, "cancel"), 4, "no migration is active")
        engine = self.engine(status={"migrations": [MIGRATION, other()]}, cancel={})
        self.assert_fails(self.ask(engine, "cancel"), 5, "01234567", "ffffffff")
        self.assertNotIn("cancel", [request["execute"] for request in engine.asked()])

    def test_cancel_refused(self):
        engine = self.engine(cancel=refuse("conflict", "the VM is already given away"))
        self.assert_fails(self.ask(engine, "cancel", "01"), 5, "already given away")

    def test_resolve_yes(self):
        stuck = {**MIGRATION, "state": "stuck"}
        engine = self.engine(status={"migrations": [stuck]}, resolve={})
        result = self.ask(engine, "resolve", "0123", "--run-here", "--yes")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(engine.next_request()["execute"], "status")
        self.assertEqual(engine.next_request()["arguments"],
                         {"migration": MIGRATION["migration"], "action": "run-here"})

    def test_resolve_discard(self):
        stuck = {**MIGRATION, "state": "stuck", "role": "destination"}
        engine = self.engine(status={"migrations": [stuck]}, resolve={})
        result = self.ask(engine, "resolve", "0123", "--discard", "--yes")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(engine.next_request()["execute"], "status")
        self.assertEqual(engine.next_request()["arguments"],
                         {"migration": MIGRATION["migration"], "action": "discard"})

    def test_resolve_needs_one_decision(self):
        engine = self.engine(status={"migrations": [MIGRATION]}, resolve={})
        self.assert_fails(self.ask(engine, "resolve", "01", "--run-here", "--discard", "--yes"), 2,
                          "--run-here or --discard")

    def test_resolve_asks_a_person_only(self):
        stuck = {**MIGRATION, "state": "stuck"}
        engine = self.engine(status={"migrations": [stuck]}, resolve={})
        self.assert_fails(self.ask(engine, "resolve", "0123", "--run-here"), 2, "--yes")
        self.assertNotIn("resolve", [request["execute"] for request in engine.asked()])

    def test_resolve_refused(self):
        engine = self.engine(status={"migrations": [MIGRATION]},
                             resolve=refuse("conflict", "it is not stuck"))
        self.assert_fails(self.ask(engine, "resolve", "01", "--run-here", "--yes"), 5,
                          "it is not stuck")


KEY = {"id": "5e" * 16, "version": 2, "purpose": "image", "state": "active", "vm": VM["uuid"],
       "owner": "north.example", "slot": "vda", "epoch": 3, "backend": "embedded", "reference": "",
       "fingerprint": "ab" * 48, "exposed_to": "", "migration": "0" * 32, "created_s": 1700000000,
       "changed_s": 1700000060}


class Keys(CliTest):
    def test_create(self):
        engine = self.engine(key_create={"key": KEY})
        result = self.ask(engine, "key", "create", "vm1", "vda", "--purpose", "image")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(engine.next_request()["arguments"],
                         {"vm": "vm1", "slot": "vda", "purpose": "image"})
        self.assertIn("fingerprint  " + KEY["fingerprint"], result.stdout)
        self.assertIn("changed      2023-11-14 22:14:20", result.stdout)
        for word in ("exposed_to", "migration", "reference"):
            self.assertNotIn(word, result.stdout)

    def test_show_one_version(self):
        engine = self.engine(key_show={"key": {**KEY, "slot": "\x1b[31m"}})
        result = self.ask(engine, "key", "show", KEY["id"], "--version", "2")
        self.assertEqual(engine.next_request()["arguments"], {"key": KEY["id"], "version": 2})
        self.assert_plain(result.stdout)
        self.assertEqual(json.loads(self.ask(engine, "--json", "key", "show", KEY["id"]).stdout)["id"],
                         KEY["id"])
        self.assertEqual(engine.next_request()["arguments"], {"key": KEY["id"]})
        self.assert_fails(self.ask(engine, "key", "show", KEY["id"], "--version", "0"), 2, "from 1")

    def test_list_takes_every_page(self):
        def page(_connection, arguments):
            return {"keys": [KEY], "cursor": {0: 24, 24: 48, 48: 0}[arguments["cursor"]]}
        engine = self.engine(key_list=page)
        result = self.ask(engine, "key", "list", "vm1")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(result.stdout.count(KEY["id"]), 3)
        self.assertEqual([request["arguments"] for request in engine.asked()],
                         [{"vm": "vm1", "cursor": cursor} for cursor in (0, 24, 48)])
        engine = self.engine(key_list={"keys": [], "cursor": 0})
        self.assertIn("no keys", self.ask(engine, "key", "list").stdout)

    def test_a_list_that_never_ends_ends(self):
        engine = self.engine(key_list={"keys": [KEY], "cursor": 7})
        self.assertEqual(self.ask(engine, "key", "list").stdout.count(KEY["id"]), 2)

    def test_rotate_refused(self):
        engine = self.engine(key_rotate=refuse("conflict", "the key is destroyed"))
        self.assert_fails(self.ask(engine, "key", "rotate", KEY["id"]), 5, "is destroyed")

    def test_destroy_asks_a_person_only(self):
        engine = self.engine(key_destroy={"keys": 2})
        self.assert_fails(self.ask(engine, "key", "destroy", KEY["id"]), 2, "--yes")
        self.assertEqual(engine.asked(), [])
        result = self.ask(engine, "key", "destroy", KEY["id"], "--yes")
        self.assertEqual(result.stdout, "destroyed: 2 versions\n")
        self.assertEqual(engine.next_request()["arguments"], {"key": KEY["id"]})
        left = self.engine(key_destroy={"keys": 2, "left": 1})
        self.assertIn("destroyed: 2 versions\n1 of their blobs could not be deleted yet",
                      self.ask(left, "key", "destroy", KEY["id"], "--yes").stdout)
        self.ask(engine, "key", "destroy", KEY["id"], "--yes", "--version", "1")
        self.assertEqual(engine.next_request()["arguments"], {"key": KEY["id"], "version": 1})

    def test_backends(self):
        backend = {"name": "embedded", "type": "embedded", "usable": True, "text": "its own store"}
        engine = self.engine(key_backends={"root": "file", "backends": [backend]})
        result = self.ask(engine, "key", "backends")
        self.assertIn("root key: file", result.stdout)
        self.assertRegex(result.stdout, "embedded +embedded +ok +its own store")

    def test_audit(self):
        entry = {"number": 1, "time_s": 1700000000, "action": "refused", "key": KEY["id"],
                 "version": 2, "who": "uid 1000", "detail": "of another VM"}

        def page(_connection, arguments):
            return {"total": 1, "entries": [entry] if arguments["first"] == 1 else []}
        engine = self.engine(key_audit=page, key_verify={"entries": 9, "keys": 4, "done": True})
        result = self.ask(engine, "key", "audit")
        self.assertEqual(result.stdout, f"1 2023-11-14 22:13:20 refused {KEY['id']} version 2 "
                                        "by uid 1000: of another VM\n")
        self.assertEqual(self.ask(engine, "key", "audit", "--first", "2").stdout, "")
        self.assertEqual(self.ask(engine, "key", "audit", "verify").stdout,
                         "whole: 9 log entries, 4 keys\n")
        self.assert_fails(self.ask(engine, "key", "audit", "it"), 2, '"verify"')

    def test_a_store_that_was_changed(self):
        engine = self.engine(key_verify=refuse("auth", "log entry 3 or the one before was changed"))
        self.assert_fails(self.ask(engine, "key", "audit", "verify"), 7, "was changed")

    def test_root_needs_no_engine(self):
        path = self.file("") + ".key"
        result = run("key", "root", "init", path)
        self.assertEqual((result.returncode, result.stdout), (0, ""), result.stderr)
        self.assertEqual(os.stat(path).st_mode & 0o7777, 0o600)
        with open(path, encoding="ascii") as file:
            self.assertRegex(file.read(), "^[0-9a-f]{64}\n$")
        self.assert_fails(run("key", "root", "init", path), 5, "cannot make")
        self.assert_fails(run("key", "root", "make", path), 2, '"init"')
        self.assert_fails(run("key", "root", "init", "/nonexistent/root.key"), 14, "cannot make")


class Pki(CliTest):
    """What it does is tested elsewhere; here, that it is reached, whatever stands before it."""

    def test_reached(self):
        directory = os.path.join(os.path.dirname(self.file("")), "north")
        result = run("--json", "--socket", "/nonexistent", "pki", "init", "north.example", "--dir",
                     directory)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("north.example", run("pki", "show", "--dir", directory).stdout)

    def test_its_own_exit_status(self):
        self.assertEqual(run("pki", "frobnicate").returncode, 2)
        self.assertEqual(run("pki", "show", "--dir", "/nonexistent").returncode, 4)
        self.assertEqual(run("help", "pki").stdout, run("pki", "--help").stdout)


class Version(CliTest):
    def test_with_engine(self):
        engine = self.engine(version={"version": "0.1.0", "protocol": 1, "host": "north1",
                                      "domain": "north\x1b.example", "pid": 1})
        result = self.ask(engine, "version")
        self.assertEqual(result.returncode, 0)
        self.assert_plain(result.stdout)
        self.assertIn("engine host: north1", result.stdout)
        self.assertEqual(json.loads(self.ask(engine, "version", "--json").stdout)["engine"]["pid"], 1)

    def test_without_engine(self):
        for arguments in (["version"], ["--version"]):
            result = run("--socket", "/nonexistent/sock", *arguments)
            self.assertEqual(result.returncode, 0)
            self.assertRegex(result.stdout, r"^sealift \d+\.\d+\.\d+\nengine: no engine answers")


if __name__ == "__main__":
    unittest.main()
