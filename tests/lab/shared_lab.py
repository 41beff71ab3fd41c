# SPDX-License-Identifier: Apache-2.0
"""Hosts of one domain that share a key manager: `north` has it, the others use it."""
import os
import shutil

from lab import Host, Lab, run

DOMAIN = "north.example"


class SharedLab(Lab):
    """Two hosts of one domain, as Lab makes them; more by another_host, on the loopback only."""

    domains = (DOMAIN, DOMAIN)
    key_port = 7469

    def __init__(self, **more):
        super().__init__(**more)
        # Until here each host had one of its own.
        self.domains = (DOMAIN,)
        for host in self.hosts:
            host.write_config()

    def _install(self):
        super()._install()
        shutil.copy2(os.path.join(self.build, "src", "programs", "keylink", "sealift-keylink"), self.libexec)

    def _pki(self):
        directory = os.path.join(self.directory, "pki", DOMAIN)
        os.makedirs(os.path.dirname(directory), exist_ok=True)
        run([os.path.join(self.bin, "sealift"), "pki", "init", DOMAIN, "--dir", directory])
        for host in ("north", "south"):
            self.pki(DOMAIN, "issue", "host", host)

    def another_host(self, name, address):
        self.pki(DOMAIN, "issue", "host", name)
        host = Host(self, DOMAIN, name, address)
        self.hosts = (*self.hosts, host)
        return host

    def identity(self, host):
        """Certificate and key of a host's TLS."""
        files = os.path.join(self.directory, "pki", DOMAIN, "hosts", host.name)
        return os.path.join(files, "tls.crt"), os.path.join(files, "tls.key")

    def manager_text(self, hosts, certificates=True):
        """The group `keys` of the host that has the key manager."""
        names = ", ".join(f'"{host.name}"' for host in hosts)
        serve = f'serve = "{self.north.address}:{self.key_port}"; hosts = [ {names} ];'
        return self.north.keys_text(certificates=certificates, extra=serve)

    def guest_text(self, manager=None, more=""):
        """The same of a host that uses it."""
        return (f'keys = {{ manager = "{self.north.address}:{self.key_port}"; '
                f'manager_id = "{(manager or self.north).id}"; rekey_after_move = false; {more} }};')
