# SPDX-License-Identifier: Apache-2.0
"""QEMUs that the benchmark leads itself: the machine that Sealift would start, without Sealift."""
import json
import os
import select
import socket
import subprocess
import time

from cost import cpu_s, virtual_cpu_s
from lab import LabError, wait_for

START_SECONDS = 60
REPLY_SECONDS = 30


class Qmp:
    """A client of one QEMU's monitor. Events keep QEMU's own time stamps."""

    def __init__(self, path, seconds=START_SECONDS):
        def connect():
            attempt = socket.socket(socket.AF_UNIX)
            try:
                attempt.connect(path)
                return attempt
            except OSError:
                attempt.close()
                return None

        self.socket = wait_for(f"monitor {path}", connect, seconds, 0.005)
        self.buffer = b""
        self.seen = {}
        self._line(seconds)
        self("qmp_capabilities")

    def close(self):
        self.socket.close()

    def fileno(self):
        return self.socket.fileno()

    def _line(self, seconds):
        self.socket.settimeout(seconds)
        while b"\n" not in self.buffer:
            chunk = self.socket.recv(65536)
            if not chunk:
                raise LabError("QEMU closed its monitor")
            self.buffer += chunk
        line, self.buffer = self.buffer.split(b"\n", 1)
        message = json.loads(line)
        if "event" in message:
            self._keep(message)
        return message

    def _keep(self, event):
        stamp = event["timestamp"]["seconds"] + event["timestamp"]["microseconds"] / 1e6
        name = event["event"]
        if name == "MIGRATION":
            name += "." + event["data"]["status"]
        self.seen.setdefault(name, stamp)

    def __call__(self, command, **arguments):
        arguments = {name.replace("_", "-"): value for name, value in arguments.items()}
        request = {"execute": command.replace("_", "-"), "arguments": arguments}
        if command == "qmp_capabilities":
            request["execute"] = command
        self.socket.sendall(json.dumps(request).encode() + b"\n")
        while True:
            answer = self._line(REPLY_SECONDS)
            if "error" in answer:
                raise LabError(f"{command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]

    def read_events(self):
        """What is there by now; False once QEMU is gone."""
        self.socket.settimeout(0)
        try:
            chunk = self.socket.recv(65536)
        except BlockingIOError:
            return True
        except OSError:
            return False
        self.buffer += chunk
        while b"\n" in self.buffer:
            self._line(0)
        return bool(chunk)


def await_move(source, destination, source_pid, seconds):
    """Waits for STOP at the source and RESUME at the destination: both monitors' events. Returns the
    source's virtual CPU time, which stands still from STOP on."""
    deadline, virtual_s, open_monitors = time.monotonic() + seconds, None, [source, destination]
    while "RESUME" not in destination.seen:
        left = deadline - time.monotonic()
        if left <= 0:
            raise LabError(f"the guest did not arrive within {seconds} s: "
                           f"source saw {sorted(source.seen)}, destination {sorted(destination.seen)}")
        for monitor in select.select(open_monitors, [], [], left)[0]:
            if not monitor.read_events():
                open_monitors.remove(monitor)
        if "MIGRATION.failed" in source.seen or destination not in open_monitors:
            raise LabError(f"the migration failed: source saw {sorted(source.seen)}")
        if "STOP" in source.seen and virtual_s is None:
            virtual_s = virtual_cpu_s(source_pid)
    return virtual_s


class Serial:
    """A guest's console, which says when the walker has filled its memory."""

    def __init__(self, path):
        def connect():
            attempt = socket.socket(socket.AF_UNIX)
            try:
                attempt.connect(path)
                return attempt
            except OSError:
                attempt.close()
                return None
        self.socket = wait_for(f"console {path}", connect, START_SECONDS)

    def wait_counting(self, seconds):
        """Returns once the walker counts, which it does when its memory is filled."""
        deadline, text = time.monotonic() + seconds, b""
        while True:
            self.socket.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                chunk = self.socket.recv(65536)
            except TimeoutError:
                raise LabError(f"the walker did not count within {seconds} s; "
                               f"the console ends in {text[-200:]!r}") from None
            text += chunk
            if b"walker fatal" in text or b"Kernel panic" in text or not chunk:
                raise LabError(f"the guest failed: {text[-400:]!r}")
            for line in text.split(b"\n")[:-1]:
                if line.startswith(b"walker t="):
                    if b" errors=0 " not in line:
                        raise LabError(f"the guest's memory is wrong: {line!r}")
                    return

    def close(self):
        self.socket.close()


def append_of(setting):
    return (f"console=ttyS0 quiet walker.mem={setting.walker_mib} walker.rate={setting.rate} walker.seed=1 "
            "walker.round=0")


class Guest:
    """One QEMU of the benchmark's own in a host's namespace."""

    def __init__(self, host, name, setting, incoming=False, populated=False, tls=None):
        lab = host.lab
        self.directory = os.path.join(host.directory, f"plain-{name}")
        os.makedirs(self.directory, exist_ok=True)
        self.tls = tls
        qmp, serial = (os.path.join(self.directory, end) for end in ("qmp", "serial"))
        for path in (qmp, serial):
            if os.path.exists(path):
                os.unlink(path)
        memory = {"qom-type": "memory-backend-ram", "id": "m0", "size": setting.size_mib << 20, "dump": False}
        if populated:
            memory.update({"prealloc": True, "prealloc-threads": min(os.cpu_count(), 16)})
        arguments = [
            lab.qemu, "-nodefaults", "-no-user-config", "-name", f"guest=plain-{name},debug-threads=on",
            "-machine", f"type={setting.machine},memory-backend=m0,dump-guest-core=off,vmport=off,usb=off",
            "-accel", lab.accel, "-cpu", "max" if lab.accel == "tcg" else "host", "-smp", "1",
            "-m", f"size={setting.size_mib}M", "-object", json.dumps(memory), "-display", "none",
            "-qmp", f"unix:{qmp},server=on,wait=off",
            "-chardev", f"socket,id=serial0,server=on,wait=off,path={serial}",
            "-device", "isa-serial,chardev=serial0",
            "-kernel", os.path.join(lab.guest, "vmlinuz"), "-initrd", os.path.join(lab.guest, "initrd.img"),
            "-append", append_of(setting)]
        if tls:
            end = "server" if incoming else "client"
            arguments += ["-object", f"tls-creds-x509,id=tls0,dir={tls},endpoint={end},verify-peer=on"]
        if incoming:
            arguments += ["-incoming", "defer"]
        self.serial_path = serial
        self.process = subprocess.Popen(host.inside(arguments), stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=None)
        self.qmp = None
        try:
            self.qmp = Qmp(qmp)
        except BaseException:
            self.kill()
            raise

    @property
    def pid(self):
        return self.process.pid

    def cpu_s(self):
        return cpu_s(self.pid)

    def prepare_migration(self, multifd, downtime_ms, more=None):
        on = {"events": True, "return-path": True, "multifd": multifd > 0}
        self.qmp("migrate-set-capabilities",
                 capabilities=[{"capability": name, "state": state} for name, state in on.items()])
        parameters = {"max-bandwidth": 1 << 40, "downtime-limit": downtime_ms,
                      "multifd-channels": max(multifd, 1), **(more or {})}
        if self.tls:
            parameters["tls-creds"] = "tls0"
        self.qmp("migrate-set-parameters", **parameters)

    def end(self):
        """Quits; the CPU seconds of its whole life, its teardown included."""
        self.qmp("quit")
        self.qmp.close()
        # The kernel's last word on a child: no sample of a living process has it.
        _, status, usage = os.wait4(self.process.pid, 0)
        self.process.returncode = status
        return usage.ru_utime + usage.ru_stime

    def kill(self):
        if self.qmp:
            self.qmp.close()
        if self.process.returncode is None:
            self.process.kill()
            self.process.wait()
