#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Two clouds on one machine: what the demo, the whole-VM tests and the benchmark stand on.

As root each host gets a network namespace of its own, joined by a switch in a third one where the
tenant's client lives; everything has names of this process and is removed by close(). Without
root the hosts are two loopback addresses and guests have user-mode networks.

Only the standard library is used. Nothing here sleeps to guess: waits poll an event with a
deadline.
"""
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import zlib

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
GUEST_ADDRESS = "10.77.0.5"
CLIENT_ADDRESS = "10.77.0.9"
PATTERN = "SEALIFT-KNOWN-PLAINTEXT-7e1c"
# Users without a passwd entry: each role is somebody, and nobody has to be made.
ROLE_USERS = {"gate": "61101:61101", "notary": "61102:61102", "mover": "61103:61103",
              "keyd": "61105:61105", "qemu": "61104:61104"}


class LabError(Exception):
    """Something did not happen by its deadline, or a command failed."""


def wait_for(what, condition, seconds, interval=0.02):
    """Polls condition() until it is true; its value is returned."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise LabError(f"no {what} within {seconds} s")
        time.sleep(interval)


def run(arguments, **more):
    """Runs a command; LabError with its output if it fails."""
    result = subprocess.run(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, check=False, **more)
    if result.returncode:
        raise LabError(f"{' '.join(map(str, arguments))}: status {result.returncode}: {result.stdout}")
    return result.stdout


class Api:
    """A client of an engine's local API (docs/API.md)."""

    def __init__(self, path, seconds=30):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(seconds)
        self.socket.connect(path)
        self.buffer = b""
        self.events = []

    def close(self):
        self.socket.close()

    def line(self):
        while b"\n" not in self.buffer:
            chunk = self.socket.recv(65536)
            if not chunk:
                raise LabError("the engine closed the connection")
            self.buffer += chunk
        line, self.buffer = self.buffer.split(b"\n", 1)
        return json.loads(line)

    def raw(self, command, **arguments):
        request = {"execute": command, "arguments": arguments}
        self.socket.sendall(json.dumps(request).encode() + b"\n")
        while True:
            answer = self.line()
            if "event" not in answer:
                return answer
            self.events.append(answer)

    def __call__(self, command, **arguments):
        answer = self.raw(command, **arguments)
        if "error" in answer:
            raise LabError(f"{command}: {answer['error']['category']}: {answer['error']['text']}")
        return answer["return"]

    def event(self):
        return self.events.pop(0) if self.events else self.line()


class Host:
    """One host of one domain: its directories, its engine."""

    def __init__(self, lab, domain, name, address):
        self.lab, self.domain, self.name, self.address = lab, domain, name, address
        self.id = f"spiffe://{domain}/host/{name}"
        self.namespace = f"{lab.prefix}-{name}" if lab.namespaces else None
        self.directory = os.path.join(lab.directory, name)
        self.socket = os.path.join(self.directory, "run", "sealiftd.sock")
        self.config = os.path.join(self.directory, "sealift.conf")
        self.log_path = os.path.join(self.directory, "sealiftd.log")
        self.state = os.path.join(self.directory, "state")
        self.port = 7468
        self.engine = None
        self.pools = ""  # more of them, as the configuration says it, each after a comma
        os.makedirs(self.directory, mode=0o755)

    def inside(self, arguments):
        """The command line that runs something on this host."""
        if not self.namespace:
            return list(arguments)
        return ["ip", "netns", "exec", self.namespace, *arguments]

    def write_config(self, extra=""):
        lab, pki = self.lab, os.path.join(self.lab.directory, "pki")
        own = os.path.join(pki, self.domain)
        keys = os.path.join(own, "hosts", self.name)
        users = "\n".join(f'  {role} = "{user}";' for role, user in ROLE_USERS.items())
        trust = ",\n".join(
            f'  {{ domain = "{d}"; root = "{pki}/{d}/root.crt"; crl = "{pki}/{d}/crl.pem"; }}'
            for d in lab.domains)
        others = ", ".join(f'"{d}"' for d in lab.domains)
        network = (f'name = "lan"; type = "bridge"; bridge = "br0";' if self.namespace
                   else 'name = "lan"; type = "user"; subnet = "10.77.0.0/24";')
        text = f"""# Made by tests/lab/lab.py
state_directory = "{self.state}";
run_directory = "{self.directory}/run";
libexec_directory = "{lab.libexec}";
listen = "{self.address}:{self.port}";
tls = {{ certificate = "{keys}/tls.crt"; key = "{keys}/tls.key"; }};
sign = {{ certificate = "{keys}/sign.crt"; key = "{keys}/sign.key"; }};
crl = "{own}/crl.pem";
trust = (
{trust}
);
{"users = {" + chr(10) + users + chr(10) + "};" if os.geteuid() == 0 else ""}
pools = ( {{ name = "shared"; directory = "{lab.directory}/shared"; local = true; domains = [ {others} ]; }}{self.pools} );
networks = ( {{ {network} local = true; domains = [ {others} ]; }} );
boot_directory = "{lab.guest}";
qemu = "{lab.qemu}";
accel = "{lab.accel}";
{extra}
"""
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(text)

    # --- its key manager ---

    def make_keys(self):
        """What a key manager of this host needs to move keys, as the configuration says it: a root key,
        and certificates of its domain."""
        self.root_key = os.path.join(self.directory, "root.key")
        run([os.path.join(self.lab.bin, "sealift"), "key", "root", "init", self.root_key])
        self.lab.pki(self.domain, "issue", "keyd")
        return self.keys_text()

    def keys_text(self, certificates=True, extra="", files=None):
        """The group `keys` of the configuration; with certificates of another directory than its domain's."""
        files = files or os.path.join(self.lab.directory, "pki", self.domain, "keyd")
        names = {"certificate": "sign.crt", "key": "sign.key", "agree_certificate": "agree.crt",
                 "agree_key": "agree.key"} if certificates else {}
        settings = "".join(f' {name} = "{files}/{file}";' for name, file in names.items())
        # Disks are re-keyed where a test asks for it: by itself it would come at any time.
        if "rekey_after_move" not in extra:
            extra += " rekey_after_move = false;"
        return f'keys = {{ root = "{self.root_key}";{settings} {extra} }};'

    def keys_serve(self, seconds=30):
        """Waits until the key manager answers."""
        def look():
            with contextlib.suppress(LabError):
                return self.call("key-backends")
            return None
        return wait_for(f"answer of the key manager of {self.name}", look, seconds)

    def keys_of(self, vm):
        """All keys of a VM, by its UUID: {id: key}, the newest version of each."""
        keys, cursor = {}, 0
        while True:
            page = self.call("key-list", vm=vm, **({"cursor": cursor} if cursor else {}))
            for key in page["keys"]:
                if key["version"] >= keys.get(key["id"], key)["version"]:
                    keys[key["id"]] = key
            cursor = page["cursor"]
            if not cursor:
                return keys

    def key_log(self, key=None):
        """The key manager's log, of one key or whole."""
        entries = []
        while True:
            page = self.call("key-audit", first=len(entries) + 1)["entries"]
            entries += page
            if not page:
                return [entry for entry in entries if key in (None, entry["key"])]

    def start(self, wrapper=(), seconds=30):
        """Starts the engine and waits until it serves."""
        log = open(self.log_path, "ab")
        offset = log.tell()
        self.engine = subprocess.Popen(
            self.inside([*wrapper, os.path.join(self.lab.bin, "sealiftd"), "--config", self.config]),
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        log.close()

        def serving():
            if self.engine.poll() is not None:
                raise LabError(f"{self.name}: engine ended with {self.engine.returncode}:\n{self.log()}")
            with open(self.log_path, "rb") as file:
                file.seek(offset)
                return b"serves host=" in file.read()

        wait_for(f"engine of {self.name}", serving, seconds)

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def api(self):
        return Api(self.socket)

    def call(self, command, **arguments):
        with contextlib.closing(self.api()) as api:
            return api(command, **arguments)

    def refusal(self, command, **arguments):
        """The error that a command must give."""
        with contextlib.closing(self.api()) as api:
            answer = api.raw(command, **arguments)
        if "error" not in answer:
            raise LabError(f"{command} was not refused: {answer}")
        return answer["error"]

    def cli(self, *arguments, **more):
        return run(self.inside([os.path.join(self.lab.bin, "sealift"), "--socket", self.socket,
                                *arguments]), **more)

    def stop(self, number=signal.SIGTERM):
        """Ends the engine; its VMs go on."""
        if self.engine and self.engine.poll() is None:
            self.engine.send_signal(number)
            self.engine.wait(20)
        self.engine = None

    def vm(self, name):
        for vm in self.call("vm-list")["vms"]:
            if vm["name"] == name:
                return vm
        return None

    def migrations(self):
        return self.call("status")["migrations"]

    def wait_migration(self, prefix, seconds=120, ended=("done", "failed", "cancelled")):
        """The migration's view once it is in one of the states."""
        def look():
            for migration in self.call("status", migration=prefix)["migrations"]:
                if migration["state"] in ended:
                    return migration
            return None
        return wait_for(f"end of migration {prefix}", look, seconds)

    def qemus(self):
        """Process ids of this host's QEMUs, by the records that the engine keeps."""
        found = []
        run_directory = os.path.join(self.directory, "run", "vm")
        for instance in os.listdir(run_directory) if os.path.isdir(run_directory) else ():
            with contextlib.suppress(OSError, ValueError, IndexError):
                with open(os.path.join(run_directory, instance, "record"), encoding="ascii") as file:
                    pid = int(file.read().split()[0])
                with open(f"/proc/{pid}/cmdline", "rb") as file:
                    if b"qemu" in file.read().split(b"\0")[0]:
                        found.append(pid)
        return found


class Walker:
    """A TCP session with the guest's walker, from the tenant's side, that must never break."""

    def __init__(self, lab, address=GUEST_ADDRESS, port=7777, seconds=30):
        self.lab = lab
        # Python cannot enter a namespace by itself here: socat carries the session.
        self.process = subprocess.Popen(
            lab.client(["socat", "-", f"TCP:{address}:{port},connect-timeout={seconds},nodelay"]),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
        self.buffer = b""

    def command(self, text, seconds=30):
        self.process.stdin.write(text.encode() + b"\n")
        deadline = time.monotonic() + seconds
        import select
        while b"\n" not in self.buffer:
            left = deadline - time.monotonic()
            if left <= 0:
                raise LabError(f"the guest did not answer \"{text}\" within {seconds} s")
            if select.select([self.process.stdout], [], [], left)[0]:
                chunk = os.read(self.process.stdout.fileno(), 65536)
                if not chunk:
                    raise LabError("the TCP session with the guest ended: " +
                                   self.process.stderr.read().decode(errors="replace"))
                self.buffer += chunk
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line.decode(errors="replace").strip()

    def check(self):
        """A full memory check in the guest: (pages, errors)."""
        answer = self.command("check", 120)
        match = re.match(r"check ok pages=(\d+) errors=(\d+)", answer)
        if not match:
            raise LabError(f"unexpected answer: {answer}")
        return int(match.group(1)), int(match.group(2))

    def close(self):
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            pipe.close()


class Lab:
    """Two domains with one host each, a switch between them, a tenant beside."""

    domains = ("north.example", "south.example")

    def __init__(self, build=None, guest=None, keep=False, extra_config="", namespaces=None, accel=None):
        self.build = build or os.environ.get("SEALIFT_BUILD") or os.path.join(TOP, "build")
        self.guest = guest or os.environ.get("SEALIFT_GUEST_DIR") or os.path.join(self.build, "guest")
        self.qemu = os.environ.get("SEALIFT_QEMU", "/usr/bin/qemu-system-x86_64")
        self.accel = accel or os.environ.get("SEALIFT_ACCEL", "tcg")
        self.keep = keep
        self.namespaces = os.geteuid() == 0 if namespaces is None else namespaces
        # Short: UNIX socket paths have 107 characters.
        self.directory = tempfile.mkdtemp(prefix="sealift-")
        os.chmod(self.directory, 0o755)
        self.prefix = "sl" + os.path.basename(self.directory)[-8:].replace("_", "x")
        self.made_namespaces = []
        self.tap = None
        try:
            self._install()
            self._pki()
            os.makedirs(os.path.join(self.directory, "shared"), mode=0o777)
            os.chmod(os.path.join(self.directory, "shared"), 0o777)
            if self.namespaces:
                self._network()
            addresses = ("10.77.0.1", "10.77.0.2") if self.namespaces else ("127.0.0.1", "127.0.0.2")
            self.north = Host(self, self.domains[0], "north", addresses[0])
            self.south = Host(self, self.domains[1], "south", addresses[1])
            self.hosts = (self.north, self.south)
            for host in self.hosts:
                host.write_config(extra_config)
        except BaseException:
            self.close()
            raise

    def _install(self):
        """Roles are found in one directory, as after `meson install`; engines run as root must not
        depend on a build tree that others can write."""
        programs = os.path.join(self.build, "src", "programs")
        self.bin = os.path.join(self.directory, "bin")
        self.libexec = os.path.join(self.directory, "libexec")
        os.makedirs(self.bin)
        os.makedirs(self.libexec)
        for name, where in (("sealift", self.bin), ("sealiftd", self.bin), ("sealift-gate", self.libexec),
                            ("sealift-notary", self.libexec), ("sealift-mover", self.libexec),
                            ("sealift-keyd", self.libexec)):
            folder = {"sealift": "cli"}.get(name, name.replace("sealift-", ""))
            shutil.copy2(os.path.join(programs, folder, name), os.path.join(where, name))

    def _pki(self):
        for domain, host in zip(self.domains, ("north", "south")):
            directory = os.path.join(self.directory, "pki", domain)
            os.makedirs(os.path.dirname(directory), exist_ok=True)
            run([os.path.join(self.bin, "sealift"), "pki", "init", domain, "--dir", directory])
            run([os.path.join(self.bin, "sealift"), "pki", "issue", "host", host, "--dir", directory])

    def pki(self, domain, *arguments):
        directory = os.path.join(self.directory, "pki", domain)
        return run([os.path.join(self.bin, "sealift"), "pki", *arguments, "--dir", directory])

    def _network(self):
        def ip(*arguments, namespace=None):
            run(["ip", *(["-n", namespace] if namespace else []), *arguments])

        tenant = f"{self.prefix}-tenant"
        for name in (tenant, f"{self.prefix}-north", f"{self.prefix}-south"):
            ip("netns", "add", name)
            self.made_namespaces.append(name)
            ip("link", "set", "lo", "up", namespace=name)
            ip("link", "add", "br0", "type", "bridge", "forward_delay", "0", namespace=name)
            ip("link", "set", "br0", "up", namespace=name)
        ip("addr", "add", f"{CLIENT_ADDRESS}/24", "dev", "br0", namespace=tenant)
        for number, side in enumerate(("north", "south"), start=1):
            name = f"{self.prefix}-{side}"
            # A bridge takes the lowest address of its ports. One that was drawn may be above a guest's
            # tap, and the host's connections would stall whenever a guest comes or goes.
            ip("link", "add", "up0", "address", f"02:00:00:00:00:0{number}", "type", "veth", "peer",
               "name", f"to-{side}", "netns", tenant, namespace=name)
            ip("link", "set", "up0", "master", "br0", "up", namespace=name)
            ip("link", "set", f"to-{side}", "master", "br0", "up", namespace=tenant)
            ip("addr", "add", f"10.77.0.{number}/24", "dev", "br0", namespace=name)

    def link(self, side, up):
        """Cuts or mends the cable of one host."""
        run(["ip", "-n", f"{self.prefix}-tenant", "link", "set", f"to-{side}", "up" if up else "down"])

    def client(self, arguments):
        """The command line that runs something at the tenant's."""
        if not self.namespaces:
            return list(arguments)
        return ["ip", "netns", "exec", f"{self.prefix}-tenant", *arguments]

    def start(self):
        for host in self.hosts:
            host.start()
        self.introduce()

    def introduce(self):
        for one, other in (self.hosts, self.hosts[::-1]):
            one.call("host-add", name=other.name, address=other.address, port=other.port, id=other.id)

    def disk(self, name, mib=16):
        path = os.path.join(self.directory, "shared", name)
        with open(path, "wb") as file:
            file.truncate(mib << 20)
        if os.geteuid() == 0:
            uid, gid = map(int, ROLE_USERS["qemu"].split(":"))
            os.chown(path, uid, gid)
        return path

    def vm_text(self, name="vm1", memory=256, walker_mem=128, rate=500, seed=1, disk=None, mode="required",
                populate="full", append="", nic=True, machine="pc-q35-10.0", mac="52:54:00:77:00:05",
                ip=GUEST_ADDRESS):
        """A VM description file. `disk` is the name of a raw volume, or whole descriptions of disks."""
        if disk and "{" not in disk:
            disk = f'{{ pool = "shared"; volume = "{disk}"; format = "raw"; }}'
        disks = f"disks = ( {disk} );" if disk else ""
        nics = f'nics = ( {{ network = "lan"; mac = "{mac}"; }} );' if nic else ""
        digest = zlib.crc32(f"{name} {seed}".encode())
        uuid = f"7c0ffee0-0000-4000-8000-{digest:012x}"
        return f"""name = "{name}";
uuid = "{uuid}";
machine = "{machine}";
cpu = "{'max' if self.accel == 'tcg' else 'host'}";
cpus = 1;
memory = "{memory}M";
kernel = "{self.guest}/vmlinuz";
initrd = "{self.guest}/initrd.img";
append = "console=ttyS0 quiet walker.mem={walker_mem} walker.rate={rate} walker.seed={seed} walker.pattern={PATTERN} walker.ip={ip}/24 {'walker.disk=1' if disk else ''} {append}";
{disks}
{nics}
mode = "{mode}";
populate = "{populate}";
"""

    def start_vm(self, host=None, **more):
        """Starts a VM and waits for its walker; returns its view."""
        host = host or self.north
        text = self.vm_text(**more)
        return host.call("vm-start", text=text, file=os.path.join(host.directory, "vm.conf"))["vm"]

    def walker(self, seconds=60, address=GUEST_ADDRESS):
        """A session with the guest once it answers."""
        def connect():
            session = Walker(self, address)
            with contextlib.suppress(LabError, OSError):
                if session.command("ping hello", 3).startswith("pong"):
                    return session
            session.close()
            return None
        return wait_for("answer of the guest", connect, seconds, 0.2)

    def wiretap(self):
        """Begins a capture of all that leaves or reaches the north host by its cable."""
        path = os.path.join(self.directory, "wire.pcap")
        # The file of the last capture would look like a tap that is ready.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        process = subprocess.Popen(
            self.north.inside(["tcpdump", "-i", "up0", "-s", "0", "-U", "-w", path, "-B", "65536",
                               "--immediate-mode", "-Z", "root"]),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        wait_for("capture file", lambda: os.path.exists(path) and os.path.getsize(path) >= 24, 10)
        self.tap = (process, path)
        return path

    def stop_wiretap(self):
        """Ends the capture: its path and tcpdump's own words on what it dropped."""
        process, path = self.tap
        self.tap = None
        process.send_signal(signal.SIGINT)
        _, words = process.communicate(timeout=20)
        return path, words.decode(errors="replace").strip()

    def close(self):
        """Ends and removes everything that this lab made."""
        if self.keep:
            return
        if self.tap:
            self.tap[0].kill()
            self.tap[0].wait()
        for host in getattr(self, "hosts", ()):
            with contextlib.suppress(Exception):
                host.stop()
            for pid in host.qemus():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                with contextlib.suppress(LabError):
                    wait_for("end of a VM", lambda p=pid: not os.path.exists(f"/proc/{p}/exe"), 10)
        for name in self.made_namespaces:
            # What an engine that was killed has left behind.
            with contextlib.suppress(LabError, ProcessLookupError, ValueError):
                for pid in run(["ip", "netns", "pids", name]).split():
                    os.kill(int(pid), signal.SIGKILL)
            with contextlib.suppress(LabError):
                run(["ip", "netns", "del", name])
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()


def search(path, needle, chunk=1 << 22):
    """How often the bytes stand in a file."""
    count, tail = 0, b""
    with open(path, "rb") as file:
        while True:
            block = file.read(chunk)
            if not block:
                return count
            data = tail + block
            count += data.count(needle)
            tail = data[-(len(needle) - 1):]
