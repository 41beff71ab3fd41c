# SPDX-License-Identifier: Apache-2.0
"""What ./demo shows of keys: a key manager in each domain, a VM with an encrypted disk and a TPM, and
after its move what both key managers, the files and what was signed say. All commands are run as they
are printed."""
import base64
import contextlib
import os
import re
import shutil
import subprocess
import tempfile

from lab import PATTERN, Host, LabError, run, wait_for
from demo_screen import shown, step

VOLUME = "vm1.img"
DISK_MIB = 32
COMMAND_SECONDS = 120
DESCRIPTION = "vm1.conf"
KEPT, KEPT_KEY = "kept.img", "kept.key"
OWN_POOL = "own"
SECTOR = 512
LIST = "sealift key list | awk '{ printf \"%-32s  %-7s  %-11s  %-13s  %s\\n\", $1, $2, $3, $5, $6 }'"
VERIFY = ("openssl cms -verify -binary -cades -purpose any -inform DER -in evidence/{piece}.der "
          "-CAfile pki/{domain}/root.crt | cut -d, -f1,2")
READ = ("qemu-img convert -O raw --object secret,id=kept,file=" + KEPT_KEY + " --image-opts "
        "driver=luks,key-secret=kept,file.filename={image} read.img && grep -c " + PATTERN + " read.img")


# --- before the move -----------------------------------------------------------------------------

def pool_directory(host):
    return os.path.join(host.directory, "disks")


def configure(lab, fresh_key, extra):
    """For each domain a root key and certificates for its key manager, and a pool that the other host does
    not reach, of the same name on both. Unless disks come under a `fresh_key`, they travel as they are
    stored, and the south changes their keys when they have come."""
    for host in lab.hosts:
        make_pool(host, fresh_key)
        host.make_keys()
        host.write_config(extra + host.keys_text(extra="" if fresh_key else "rekey_after_move = true;"))


def make_pool(host, fresh_key):
    """One of the host's own."""
    directory = pool_directory(host)
    os.mkdir(directory, 0o700)
    others = ", ".join(f'"{domain}"' for domain in host.lab.domains)
    host.pools = (f', {{ name = "{OWN_POOL}"; directory = "{directory}"; own = true; '
                  f'sealed = {"false" if fresh_key else "true"}; local = true; domains = [ {others} ]; }}')


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


def disk_text():
    return (f'{{ pool = "{OWN_POOL}"; volume = "{VOLUME}"; format = "raw"; size = "{DISK_MIB}M"; '
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
    if not fresh_key:
        wait_for("new master key", lambda: "exposed" not in lab.south.vm("vm1"), COMMAND_SECONDS, 0.1)
    print("keys   The disk is encrypted by LUKS, the TPM's state too. Both domains have a key manager.\n")
    for host in lab.hosts:
        command(host, LIST)
    show_receipts(lab, migration)
    show_images(lab)
    if not fresh_key:
        show_new_master_key(lab)
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


def show_images(lab):
    path = os.path.relpath(pool_directory(lab.south), lab.directory)
    for directory in ("state/tpm", "disks"):
        command(lab.north, f"ls -A north/{directory} south/{directory}")
        if os.listdir(os.path.join(lab.north.directory, directory)):
            raise LabError(f"the north's {directory} is not empty")
    # grep says 1 when it finds nothing.
    if int(command(lab.south, f"grep -c {PATTERN} {path}/{VOLUME}", good=None)):
        raise LabError("the image holds what the guest wrote in clear")


def show_new_master_key(lab):
    """The north, not honest, has kept the image's header and the key that opens it."""
    step("the south has given the disk a new master key while the guest worked; now the north, which has "
         "kept the disk's header and the key for it, gets a copy of the south's image")
    with open(os.path.join(lab.directory, KEPT), "rb") as file:
        # LUKS 1: the number of sectors before the data, big-endian, at byte 104.
        header = file.read(SECTOR)
        file.seek(0)
        header = file.read(int.from_bytes(header[104:108], "big") * SECTOR)
    theirs, mixed = (os.path.join(lab.directory, name) for name in ("south.img", "mixed.img"))
    shutil.copy2(os.path.join(pool_directory(lab.south), VOLUME), theirs)
    shutil.copy2(theirs, mixed)
    with open(mixed, "r+b") as file:
        file.write(header)
    found = int(command(lab.north, READ.format(image=KEPT)))
    if not found:
        raise LabError("the north does not even read the image that it kept: that proves nothing")
    if "Invalid password" not in command(lab.north, READ.format(image="south.img"), good=False):
        raise LabError("the kept key opens the south's image, or fails for another reason")
    # It opens what it is given, and reads noise: grep finds nothing, and says so by its status.
    if command(lab.north, READ.format(image="mixed.img"), good=False).strip() != "0":
        raise LabError("the kept header reads the south's image")


def show_north_cannot(lab, fresh_key):
    words = command(lab.north, f"sealift vm start {DESCRIPTION}", good=False)
    if "moved to" not in words:
        raise LabError("the north refuses for another reason than that the VM is gone")
    step("north2, another host of the north, has not heard of the move; it is given the north's root key "
         "and a copy of its key store, and of the image as it was before the move")
    with forgetful_host(lab, fresh_key) as host:
        words = command(host, f"sealift vm start {DESCRIPTION}", good=False)
    if not re.search("its key [0-9a-f]{32} is destroyed", words):
        raise LabError("north2 refuses for another reason than that the key is destroyed")


def keep(lab, uuid):
    """As a north does that is not honest: the image, and the value of its key."""
    shutil.copy2(os.path.join(pool_directory(lab.north), VOLUME), os.path.join(lab.directory, KEPT))
    path = os.path.join(lab.directory, KEPT_KEY)
    store = os.path.join(lab.north.state, "keys")
    with tempfile.TemporaryDirectory(dir=lab.directory) as copy:
        for name in os.listdir(store):
            # Not whose they are: only their owner opens them.
            shutil.copyfile(os.path.join(store, name), os.path.join(copy, name))
            os.chmod(os.path.join(copy, name), 0o600)
        words = run([os.path.join(lab.build, "tests", "lab", "key-value"), os.path.join(copy, "keys.db"),
                     lab.north.root_key, uuid])
    image = next(id for (id, purpose) in states(lab.north, uuid) if purpose == "image")
    value = next(line.split()[2] for line in words.splitlines() if line.split()[0] == image)
    with open(path, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        # The passphrase of a slot is the key's Base64.
        file.write(base64.b64encode(bytes.fromhex(value)))


@contextlib.contextmanager
def forgetful_host(lab, fresh_key):
    """An engine that knows of no VM, with all that opened this one's disk before it moved."""
    north = lab.north
    lab.pki(north.domain, "issue", "host", "north2")
    host = Host(lab, north.domain, "north2", north.address)
    host.namespace, host.port, host.root_key = north.namespace, north.port + 1, north.root_key
    os.mkdir(host.state, 0o700)
    copy_store(os.path.join(north.state, "keys"), os.path.join(host.state, "keys"))
    make_pool(host, fresh_key)
    os.rename(os.path.join(lab.directory, KEPT), os.path.join(pool_directory(host), VOLUME))
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
