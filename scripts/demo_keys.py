# SPDX-License-Identifier: Apache-2.0
"""What ./demo shows of keys: a key manager in each domain, a VM with an encrypted disk and a TPM, and
after its move what both key managers, the files and what was signed say. All commands are run as they
are printed."""
import contextlib
import os
import re
import shutil
import subprocess

from lab import PATTERN, Host, LabError, wait_for
from demo_screen import shown, step

VOLUME = "vm1.img"
DISK_MIB = 32
COMMAND_SECONDS = 120
DESCRIPTION = "vm1.conf"
KEPT = "kept.img"
OWN_POOL = "own"
LIST = "sealift key list | awk '{ printf \"%-32s  %-7s  %-11s  %-13s  %s\\n\", $1, $2, $3, $5, $6 }'"
VERIFY = ("openssl cms -verify -binary -cades -purpose any -inform DER -in evidence/{piece}.der "
          "-CAfile pki/{domain}/root.crt | cut -d, -f1,2")


# --- before the move -----------------------------------------------------------------------------

def pool_directory(host, fresh_key):
    return os.path.join(host.directory, "disks") if fresh_key else os.path.join(host.lab.directory, "shared")


def configure(lab, fresh_key, extra):
    """A root key and certificates for the key manager of each domain; with `fresh_key` also a pool that
    the other host does not reach, of the same name on both."""
    for host in lab.hosts:
        if fresh_key:
            make_pool(host)
        host.write_config(extra + host.make_keys())


def make_pool(host):
    """One of the host's own."""
    directory = pool_directory(host, True)
    os.mkdir(directory, 0o700)
    others = ", ".join(f'"{domain}"' for domain in host.lab.domains)
    host.pools = (f', {{ name = "{OWN_POOL}"; directory = "{directory}"; own = true; local = true; '
                  f'domains = [ {others} ]; }}')


def wait_until_served(lab):
    for host in lab.hosts:
        host.keys_serve()


def start_vm(lab, text):
    """Makes the VM's disk and starts it, by commands that are shown. `text` is all of its description
    but for the TPM."""
    with open(os.path.join(lab.directory, DESCRIPTION), "w", encoding="ascii") as file:
        file.write(text + "tpm = true;\n")
    command(lab.north, f"sealift vm create {DESCRIPTION} --encrypted")
    command(lab.north, f"sealift vm start {DESCRIPTION}")


def disk_text(fresh_key):
    pool = OWN_POOL if fresh_key else "shared"
    return (f'{{ pool = "{pool}"; volume = "{VOLUME}"; format = "raw"; size = "{DISK_MIB}M"; '
            'encryption = "luks"; }')


# --- commands ------------------------------------------------------------------------------------

def command(host, line, good=True):
    """Runs a line of a shell on a host, and prints it with what it says. `good` is whether it must
    succeed; None, both will do."""
    lab = host.lab
    environment = dict(os.environ, SEALIFT_SOCKET=host.socket,
                       PATH=lab.bin + ":" + os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"))
    try:
        done = subprocess.run(host.inside(["bash", "-o", "pipefail", "-c", line]), cwd=lab.directory,
                              env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace", check=False,
                              timeout=COMMAND_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise LabError(f"no end within {COMMAND_SECONDS} s: {line}") from error
    shown(host.name, line, done.stdout)
    if good is not None and (done.returncode == 0) != good:
        raise LabError(f"status {done.returncode} of: {line}")
    return done.stdout


# --- after the move ------------------------------------------------------------------------------

def states(host, uuid):
    """{(id, purpose): state} of a VM's keys."""
    return {(key["id"], key["purpose"]): key["state"] for key in host.keys_of(uuid).values()}


def wait_for_keys(lab, known, fresh_key):
    """Until north's keys are destroyed and south's are active: the same ones, but for an image key that
    south made itself."""
    before = known.keys

    def settled():
        north, south = states(lab.north, known.uuid), states(lab.south, known.uuid)
        if set(north.values()) != {"destroyed"} or set(south.values()) != {"active"}:
            return None
        return north, south
    north, south = wait_for("end of the handover of keys", settled, 60, 0.1)
    stay = {key for key in before if fresh_key and key[1] == "image"}
    new = set(south) - set(before)
    if set(north) != set(before) or set(before) - set(south) != stay or len(new) != len(stay):
        raise LabError(f"other keys than the VM's: north {north}, south {south}")


def show(lab, known, migration, fresh_key):
    """`known`: uuid and keys of the VM before it moved."""
    wait_for_keys(lab, known, fresh_key)
    print("keys   The disk is encrypted by LUKS, the TPM's state too. Both domains have a key manager.\n")
    for host in lab.hosts:
        command(host, LIST)
    show_receipts(lab, migration)
    show_images(lab, fresh_key)
    show_north_cannot(lab, fresh_key)


def show_receipts(lab, migration):
    """What the key managers signed, by OpenSSL alone and each domain's root."""
    command(lab.north, f"sealift evidence {migration} evidence")
    for piece, domain in (("keys-activated", lab.domains[1]), ("keys-destroyed", lab.domains[0])):
        # Only the beginning of what is signed: all of it is a screenful.
        words = command(lab.north, VERIFY.format(piece=piece, domain=domain))
        if "Verification successful" not in words or migration not in words:
            raise LabError(f"openssl does not verify {piece}")
        check_tampered(lab, piece, domain, migration)


def check_tampered(lab, piece, domain, migration):
    """A check that cannot fail proves nothing: a receipt of another migration must not verify."""
    path = os.path.join(lab.directory, "evidence", f"{piece}-changed.der")
    with open(path.replace("-changed", ""), "rb") as file:
        data = file.read()
    place = data.index(migration.encode())
    with open(path, "wb") as file:
        file.write(data[:place] + bytes([data[place] ^ 1]) + data[place + 1:])
    line = VERIFY.format(piece=f"{piece}-changed", domain=domain)
    if not subprocess.run(["bash", "-o", "pipefail", "-c", line], cwd=lab.directory,
                          stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL, check=False, timeout=COMMAND_SECONDS).returncode:
        raise LabError(f"openssl verifies {piece} with one bit changed, too")


def show_images(lab, fresh_key):
    path = os.path.relpath(pool_directory(lab.south, fresh_key), lab.directory)
    for directory in ["state/tpm"] + (["disks"] if fresh_key else []):
        command(lab.north, f"ls -A north/{directory} south/{directory}")
        if os.listdir(os.path.join(lab.north.directory, directory)):
            raise LabError(f"the north's {directory} is not empty")
    # grep says 1 when it finds nothing.
    if int(command(lab.south, f"grep -c {PATTERN} {path}/{VOLUME}", good=None)):
        raise LabError("the image holds what the guest wrote in clear")


def show_north_cannot(lab, fresh_key):
    words = command(lab.north, f"sealift vm start {DESCRIPTION}", good=False)
    if ("No such file" if fresh_key else "moved to another host") not in words:
        raise LabError("the north refuses for another reason than that VM or disk are gone")
    more = ", and of the image as it was before the move" if fresh_key else ""
    step("north2, another host of the north, has not heard of the move; it is given the north's root key "
         f"and a copy of its key store{more}")
    with forgetful_host(lab, fresh_key) as host:
        words = command(host, f"sealift vm start {DESCRIPTION}", good=False)
    if not re.search("its key [0-9a-f]{32} is destroyed", words):
        raise LabError("north2 refuses for another reason than that the key is destroyed")


def keep_image(lab):
    """As a north does that is not honest."""
    shutil.copy2(os.path.join(pool_directory(lab.north, True), VOLUME), os.path.join(lab.directory, KEPT))


@contextlib.contextmanager
def forgetful_host(lab, fresh_key):
    """An engine that knows of no VM, with all that opened this one's disk before it moved."""
    north = lab.north
    lab.pki(north.domain, "issue", "host", "north2")
    host = Host(lab, north.domain, "north2", north.address)
    host.namespace, host.port, host.root_key = north.namespace, north.port + 1, north.root_key
    os.mkdir(host.state, 0o700)
    copy_store(os.path.join(north.state, "keys"), os.path.join(host.state, "keys"))
    if fresh_key:
        make_pool(host)
        os.rename(os.path.join(lab.directory, KEPT), os.path.join(pool_directory(host, True), VOLUME))
    host.write_config(host.keys_text())
    try:
        host.start()
        host.keys_serve()
        yield host
    finally:
        with contextlib.suppress(subprocess.TimeoutExpired):
            host.stop()


def copy_store(source, target):
    """As `cp -a` does: the key manager insists on whose its files are."""
    shutil.copytree(source, target)
    for directory, _, files in os.walk(source):
        for path in [directory, *(os.path.join(directory, file) for file in files)]:
            status = os.stat(path)
            os.chown(os.path.join(target, os.path.relpath(path, source)), status.st_uid, status.st_gid)
