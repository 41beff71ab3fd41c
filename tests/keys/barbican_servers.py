# SPDX-License-Identifier: Apache-2.0
"""A real Keystone and a real Barbican on loopback, out of Debian's packages python3-keystone and
python3-barbican, with databases and keys of their own below a folder. Spoken to here by urllib, so
that the C code is not tested against itself."""

import base64
import contextlib
import json
import os
import secrets
import signal
import sqlite3
import subprocess
import urllib.error
import urllib.request

from kmip_peers import DEADLINE_S, free_port

HERE = os.path.dirname(os.path.abspath(__file__))
START_S = 120  # of a busy machine
PYTHON = "/usr/bin/python3"
KEYSTONE = """[DEFAULT]
log_file = {folder}/keystone.log
[database]
connection = sqlite:///{folder}/keystone.db
[token]
provider = fernet
expiration = {lifetime}
[fernet_tokens]
key_repository = {folder}/fernet
[identity]
password_hash_rounds = 4
[cache]
enabled = true
backend = dogpile.cache.memory
"""
# The middleware keeps no token that it has seen, so that what was revoked is refused at once.
BARBICAN = """[DEFAULT]
host_href = {href}
sql_connection = sqlite:///{folder}/barbican.db
db_auto_create = true
log_file = {folder}/barbican.log
max_allowed_secret_in_bytes = 300
max_allowed_request_size_in_bytes = 4096
[queue]
enable = false
[keystone_notifications]
enable = false
[secretstore]
namespace = barbican.secretstore.plugin
enabled_secretstore_plugins = store_crypto
[crypto]
namespace = barbican.crypto.plugin
enabled_crypto_plugins = simple_crypto
[simple_crypto_plugin]
kek = '{kek}'
[oslo_policy]
enforce_scope = true
enforce_new_defaults = true
[keystone_authtoken]
www_authenticate_uri = {keystone}
auth_url = {keystone}
auth_type = password
username = barbican
password = {password}
project_name = admin
user_domain_id = default
project_domain_id = default
interface = public
token_cache_time = -1
"""
PASTE = """[composite:main]
use = egg:Paste#urlmap
/: v
/v1: api
[pipeline:v]
pipeline = versionapp
[pipeline:api]
pipeline = authtoken context microversion apiapp
[app:apiapp]
paste.app_factory = barbican.api.app:create_main_app
[app:versionapp]
paste.app_factory = barbican.api.app:create_version_app
[filter:authtoken]
paste.filter_factory = keystonemiddleware.auth_token:filter_factory
[filter:context]
paste.filter_factory = barbican.api.middleware.context:ContextMiddleware.factory
[filter:microversion]
paste.filter_factory = barbican.api.middleware.microversion:MicroversionMiddleware.factory
"""


class Server:
    """One of the two as a process that can be killed and started again."""

    def __init__(self, folder, kind, *paths):
        self.folder, self.kind, self.paths = folder, kind, paths
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = None

    def start(self):
        log = os.path.join(self.folder, self.kind + ".err")
        with open(log, "ab") as errors:
            self.process = subprocess.Popen(
                [PYTHON, "-B", os.path.join(HERE, "barbican_wsgi.py"), str(self.port), self.kind,
                 *self.paths], stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True)
        if self.process.stdout.readline() != "ready\n":
            with open(log, encoding="utf-8", errors="replace") as errors:
                raise AssertionError(f"{self.kind} did not start: {errors.read()[-3000:]}")

    def stop(self):
        if self.process:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(DEADLINE_S)
            self.process.stdout.close()
            self.process = None


class Openstack:
    """Both, with two projects, north and south, and a user in each: alice and bob."""

    def __init__(self, folder):
        self.folder = folder
        self.password = secrets.token_hex(16)
        os.mkdir(os.path.join(folder, "fernet"), 0o700)
        for number in "01":  # the next key and the present one, as keystone-manage names them
            self.write("fernet/" + number, base64.urlsafe_b64encode(os.urandom(32)).decode())
        self.keystone = Server(folder, "keystone", self.set_lifetime())
        paste = self.write("paste.ini", PASTE)
        os.mkdir(os.path.join(folder, ".barbican"), 0o700)
        self.write(".barbican/barbican.conf", BARBICAN.format(
            folder=folder, keystone=self.keystone.url + "/v3", password=self.password,
            href="http://barbican.elsewhere.test:9311",
            kek=base64.urlsafe_b64encode(os.urandom(32)).decode()))
        self.barbican = Server(folder, "barbican", os.path.join(folder, "barbican.conf"), paste)
        self.manage("db_sync")
        self.manage("bootstrap", "--bootstrap-password", self.password, "--bootstrap-region-id", "here",
                    "--bootstrap-public-url", self.keystone.url + "/v3")
        # Keystone reads by one connection what it is writing by another: in WAL mode it may.
        with contextlib.closing(sqlite3.connect(os.path.join(folder, "keystone.db"))) as database:
            database.execute("PRAGMA journal_mode=WAL")

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
        return path

    def set_lifetime(self, lifetime_s=3600):
        """Of tokens, from Keystone's next start on."""
        return self.write("keystone.conf", KEYSTONE.format(folder=self.folder, lifetime=lifetime_s))

    def manage(self, *words):
        subprocess.run([PYTHON, "-B", "-W", "ignore", "-c", "from keystone.cmd.manage import main; main()",
                        "--config-file", os.path.join(self.folder, "keystone.conf"), *words],
                       check=True, stderr=subprocess.DEVNULL, timeout=START_S)

    def start(self):
        self.keystone.start()
        self.admin = self.token("admin", self.password, "admin")
        self.roles = {role["name"]: role["id"] for role in self.ask("GET", "/roles")["roles"]}
        self.projects = {found["name"]: found["id"] for found in self.ask("GET", "/projects")["projects"]}
        self.users = {}
        self.add_user("barbican", "admin", "admin")
        for user, project in (("alice", "north"), ("bob", "south"), ("rhea", "north")):
            if project not in self.projects:
                self.projects[project] = self.ask("POST", "/projects", {"project": {
                    "name": project, "domain_id": "default"}})["project"]["id"]
            self.add_user(user, project, "reader" if user == "rhea" else "member")
        self.barbican.start()

    def stop(self):
        self.barbican.stop()
        self.keystone.stop()

    def request(self, method, url, body=None, token=None, accept="application/json", subject=None):
        """(status, headers, bytes)"""
        headers = {"Accept": accept, "Content-Type": "application/json"}
        if token:
            headers["X-Auth-Token"] = token
        if subject:
            headers["X-Subject-Token"] = subject
        request = urllib.request.Request(url, method=method, headers=headers,
                                         data=json.dumps(body).encode() if body else None)
        try:
            with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, error.read()

    def ask(self, method, path, body=None, token=None):
        status, _, answer = self.request(method, self.keystone.url + "/v3" + path, body,
                                         token or self.admin)
        if status >= 300:
            raise AssertionError(f"Keystone: {method} {path}: {status} {answer}")
        return json.loads(answer) if answer else None

    def token(self, user, password, project):
        named = {"name": user, "domain": {"id": "default"}, "password": password}
        status, headers, answer = self.request("POST", self.keystone.url + "/v3/auth/tokens", {"auth": {
            "identity": {"methods": ["password"], "password": {"user": named}},
            "scope": {"project": {"name": project, "domain": {"id": "default"}}}}})
        if status != 201:
            raise AssertionError(f"Keystone: no token for {user}: {answer}")
        return headers["X-Subject-Token"]

    def add_user(self, name, project, role):
        self.users[name] = self.ask("POST", "/users", {"user": {
            "name": name, "domain_id": "default", "password": self.password}})["user"]["id"]
        self.ask("PUT", f"/projects/{self.projects[project]}/users/{self.users[name]}"
                        f"/roles/{self.roles[role]}")

    def credential(self, user, project):
        """(id, secret) of a new application credential."""
        made = self.ask("POST", f"/users/{self.users[user]}/application_credentials", {
            "application_credential": {"name": secrets.token_hex(8)}},
            self.token(user, self.password, project))["application_credential"]
        return made["id"], made["secret"]

    def revoke(self, user, project, credential):
        self.ask("DELETE", f"/users/{self.users[user]}/application_credentials/{credential}",
                 token=self.token(user, self.password, project))

    def offer_barbican(self, url):
        """Puts a key manager into Keystone's catalogue."""
        service = self.ask("POST", "/services", {"service": {"type": "key-manager", "name": "barbican"}})
        self.ask("POST", "/endpoints", {"endpoint": {"service_id": service["service"]["id"], "url": url,
                                                     "interface": "public", "region_id": "here"}})
        return service["service"]["id"]
