# SPDX-License-Identifier: Apache-2.0
"""What the tests of the KMIP back-end share: certificates, the client, TTLV."""

import os
import socket
import struct
import subprocess

DEADLINE_S = 30


class Pki:
    """Roots and certificates below a folder, by openssl(1), each made once."""

    def __init__(self, folder):
        self.folder = folder

    def path(self, name):
        return os.path.join(self.folder, name)

    def openssl(self, *words):
        subprocess.run(["openssl", *words], check=True, capture_output=True, timeout=DEADLINE_S)

    def key(self, name, kind):
        if kind == "rsa":
            self.openssl("genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048",
                         "-out", self.path(name + ".key"))
        else:
            self.openssl("genpkey", "-quiet", "-algorithm", "EC", "-pkeyopt",
                         "ec_paramgen_curve:P-256", "-out", self.path(name + ".key"))

    def root(self, name, kind="ec"):
        self.key(name, kind)
        self.openssl("req", "-x509", "-key", self.path(name + ".key"), "-subj", f"/CN={name}",
                     "-days", "2", "-addext", "keyUsage=critical,keyCertSign,cRLSign", "-out",
                     self.path(name + ".pem"))

    def issue(self, name, root, usage, names="", kind="ec", expired=False):
        """A leaf for serverAuth or clientAuth; `expired`: it ended years ago."""
        self.key(name, kind)
        extensions = f"extendedKeyUsage={usage}\nkeyUsage=critical,digitalSignature,keyEncipherment\n"
        if names:
            extensions += f"subjectAltName={names}\n"
        with open(self.path(name + ".ext"), "w", encoding="ascii") as file:
            file.write(extensions)
        self.openssl("req", "-new", "-key", self.path(name + ".key"), "-subj", f"/CN={name}", "-out",
                     self.path(name + ".csr"))
        if not expired:
            self.openssl("x509", "-req", "-in", self.path(name + ".csr"), "-CA", self.path(root + ".pem"),
                         "-CAkey", self.path(root + ".key"), "-set_serial", str(abs(hash(name)) % 10**9 + 1),
                         "-days", "2", "-extfile", self.path(name + ".ext"), "-out",
                         self.path(name + ".pem"))
            return
        # x509 -req knows no date of start; ca does.
        self.authority(root, "-startdate", "20200101000000Z", "-enddate",
                     "20210101000000Z", "-extfile", self.path(name + ".ext"), "-notext", "-in",
                     self.path(name + ".csr"), "-out", self.path(name + ".pem"))

    def authority(self, root, *words):
        """openssl ca, with a database that the words before made."""
        if not os.path.exists(self.path("index.txt")):
            with open(self.path("index.txt"), "w", encoding="ascii"):
                pass
            with open(self.path("ca.conf"), "w", encoding="ascii") as file:
                file.write("[ca]\ndefault_ca=d\n[d]\n" f"database={self.path('index.txt')}\n"
                           f"new_certs_dir={self.folder}\nrand_serial=yes\ndefault_md=sha256\n"
                           "policy=p\n[p]\ncommonName=supplied\n")
        self.openssl("ca", "-batch", "-config", self.path("ca.conf"), "-cert", self.path(root + ".pem"),
                     "-keyfile", self.path(root + ".key"), *words)

    def crl(self, name, root, revoked=None, stale=False):
        if revoked:
            self.authority(root, "-revoke", self.path(revoked + ".pem"))
        span = ["-crl_lastupdate", "20200101000000Z", "-crl_nextupdate", "20210101000000Z"]
        self.authority(root, "-gencrl", *(span if stale else ["-crldays", "1"]), "-out",
                       self.path(name + ".crl"))


class Client:
    """kmip-client (kmip_client.c) with a connection configuration."""

    def __init__(self, program, pki, port, *, name="127.0.0.1", ca="root", identity="alice",
                 deadline_ms=5000, options=(), address="127.0.0.1"):
        self.process = subprocess.Popen(
            [program, address, str(port), name, pki.path(ca + ".pem"), pki.path(identity + ".pem"),
             pki.path(identity + ".key"), str(deadline_ms), *options],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.started = self.process.stdout.readline().strip()

    def ask(self, *words):
        """The answer's words, "ok" or "error" first."""
        self.process.stdin.write(" ".join(words) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise AssertionError(f"the client died: {self.process.wait(DEADLINE_S)}")
        return answer.strip()

    def ok(self, *words):
        answer = self.ask(*words)
        assert answer == "ok" or answer.startswith("ok "), f"{words[0]}: {answer}"
        return answer[3:]

    def refused(self, category, *words, text=""):
        answer = self.ask(*words)
        assert answer.startswith(f"error {category} ") and text in answer, f"{words[0]}: {answer}"
        return answer

    def close(self, expected=0):
        self.process.stdin.close()
        status = self.process.wait(DEADLINE_S)
        self.process.stdout.close()
        assert status == expected, f"the client ended with {status}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def free_port():
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        return chosen.getsockname()[1]


# --- TTLV, a second time, on purpose: so that the C code is not tested against itself ---

def item(tag, kind, value):
    return (struct.pack(">I", tag << 8 | kind) + struct.pack(">I", len(value)) + value
            + bytes(-len(value) % 8))


def structure(tag, *items):
    return item(tag, 1, b"".join(items))


def integer(tag, value):
    return item(tag, 2, struct.pack(">i", value))


def enumeration(tag, value):
    return item(tag, 5, struct.pack(">I", value))


def text(tag, value):
    return item(tag, 7, value.encode() if isinstance(value, str) else value)


def blob(tag, value):
    return item(tag, 8, value)


def date(tag, value):
    return item(tag, 9, struct.pack(">q", value))


def find(message, tag):
    """The value of the first item with this tag, at any depth; None."""
    at = 0
    while at + 8 <= len(message):
        head, size = struct.unpack(">II", message[at:at + 8])
        value = message[at + 8:at + 8 + size]
        if head >> 8 == tag:
            return value
        if head & 0xff == 1:
            found = find(value, tag)
            if found is not None:
                return found
        at += 8 + size + -size % 8
    return None
