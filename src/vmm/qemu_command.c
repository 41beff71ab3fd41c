/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/qemu_command.h"

#include <assert.h>
#include <jansson.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include "vmm/disk_nodes.h"
#include "vmm/json_with.h"
#include "wire/json.h"

enum {
	PREALLOC_THREADS_MAX = 16,
	/* Slots of the root bus. 0 is the host bridge, 1 the i440fx family's south bridge, 31 that
	 * of q35; the rest is ours. */
	SLOT_VGA = 2,
	SLOT_DISKS = 3,
	SLOT_NICS = 16,
};
static_assert(SLOT_DISKS + LIMIT_DISKS <= SLOT_NICS && SLOT_NICS + LIMIT_NICS < 31,
	      "each device has its own slot");

static const char sandbox[] =
	"on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";
static const char twin_uuid[] = "00000000-0000-0000-0000-000000000000";

typedef struct Build {
	const QemuCommandInput *input;
	QemuCommand *command;
	const char *bus;
	Error *err;
} Build;

static bool no_memory(Build *build)
{
	return error_set(build->err, ERROR_INTERNAL, "no memory for QEMU's command line");
}

static bool put_owned(Build *build, char *arg)
{
	QemuCommand *command = build->command;

	if (!arg)
		return no_memory(build);
	assert(command->argc < QEMU_ARGS_MAX - 1);
	command->argv[command->argc++] = arg;
	return true;
}

static bool put(Build *build, const char *arg)
{
	return put_owned(build, strdup(arg));
}

static bool put_pair(Build *build, const char *option, const char *value)
{
	return put(build, option) && put(build, value);
}

static bool put_format(Build *build, const char *option, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static bool put_format(Build *build, const char *option, const char *format, ...)
{
	char *text = NULL;
	va_list args;
	int length;

	va_start(args, format);
	length = vasprintf(&text, format, args);
	va_end(args);
	if (length < 0)
		return no_memory(build);
	return put(build, option) ? put_owned(build, text) : (free(text), false);
}

/* Steals object. */
static bool put_json(Build *build, const char *option, json_t *object)
{
	char *text = object ? json_text_new(object, JSON_COMPACT) : NULL;

	json_decref(object);
	if (!text)
		return no_memory(build);
	return put(build, option) ? put_owned(build, text) : (free(text), false);
}

/* The number that the descriptor will have in QEMU. */
static int give_fd(Build *build, int fd)
{
	QemuCommand *command = build->command;

	assert(command->fds_count < QEMU_FDS_MAX && fd >= 0);
	command->fds[command->fds_count++] = fd;
	return QEMU_FD_FIRST + (int)command->fds_count - 1;
}

static bool put_basics(Build *build)
{
	const Manifest *m = &build->input->vm->manifest;
	const char *uuid = build->input->is_twin ? twin_uuid : m->uuid;

	return put(build, "-nodefaults") && put(build, "-no-user-config") && put(build, "-S") &&
	       put_pair(build, "-msg", "timestamp=on") && put_pair(build, "-sandbox", sandbox) &&
	       put_format(build, "-name", "guest=sealift-%s,debug-threads=on", uuid) &&
	       put_pair(build, "-uuid", uuid);
}

static bool put_machine(Build *build)
{
	const Manifest *m = &build->input->vm->manifest;
	bool kvm = build->input->resources->accel == ACCEL_KVM;

	return put_format(build, "-machine",
			  "type=%s,memory-backend=m0,dump-guest-core=off,vmport=off,usb=off",
			  m->machine) &&
	       put_pair(build, "-accel", kvm ? "kvm" : "tcg") && put_pair(build, "-cpu", m->cpu) &&
	       put_format(build, "-smp", "cpus=%llu,maxcpus=%llu", (unsigned long long)m->cpus,
			  (unsigned long long)m->cpus) &&
	       put_format(build, "-m", "size=%lluM", (unsigned long long)(m->memory_bytes >> 20));
}

static unsigned int prealloc_threads(const Resources *resources)
{
	long online = sysconf(_SC_NPROCESSORS_ONLN);

	if (resources->prealloc_threads)
		return resources->prealloc_threads;
	if (online < 1)
		return 1;
	return online < PREALLOC_THREADS_MAX ? (unsigned int)online : PREALLOC_THREADS_MAX;
}

/*
 * A twin's memory is not in its stream: that needs x-ignore-shared, shared memory and, since QEMU
 * 8.1, a file with a name (migrate_ram_is_ignored, migration/ram.c). A memory file without a page
 * in it, which nobody else has, is all three and takes no memory.
 */
static bool put_twin_memory(Build *build)
{
	const Manifest *m = &build->input->vm->manifest;
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", give_fd(build, build->input->memory_fd));
	return put_json(build, "-object",
			json_pack("{s:s, s:s, s:I, s:s, s:b, s:b}", "qom-type",
				  "memory-backend-file", "id", "m0", "size",
				  (json_int_t)m->memory_bytes, "mem-path", path, "share", 1, "dump",
				  0));
}

/* Both sides name the backend m0; only the incoming one touches the pages beforehand. */
static bool put_memory(Build *build)
{
	const Manifest *m = &build->input->vm->manifest;
	const Resources *resources = build->input->resources;
	json_t *object;

	if (build->input->is_twin)
		return put_twin_memory(build);
	object = json_pack("{s:s, s:s, s:I, s:b}", "qom-type", "memory-backend-ram", "id", "m0",
			   "size", (json_int_t)m->memory_bytes, "dump", 0);

	if (resources->memory == MEMORY_HUGE_2M) {
		object = json_with(object, "qom-type", json_string("memory-backend-memfd"));
		object = json_with(object, "hugetlb", json_true());
		object = json_with(object, "hugetlbsize", json_integer(2 << 20));
		object = json_with(object, "share", json_false());
	}
	if (build->input->incoming && m->populate == POPULATE_FULL) {
		object = json_with(object, "prealloc", json_true());
		object = json_with(object, "prealloc-threads",
				   json_integer(prealloc_threads(resources)));
	}
	return put_json(build, "-object", object);
}

static bool put_boot(Build *build)
{
	const ResolvedVm *vm = build->input->vm;

	if (vm->kernel_fd < 0)
		return true;
	if (!put_format(build, "-kernel", "/proc/self/fd/%d", give_fd(build, vm->kernel_fd)))
		return false;
	/* That a kernel is booted changes the machine, by a ROM; what it is told does not. */
	if (build->input->is_twin)
		return true;
	if (vm->initrd_fd >= 0 &&
	    !put_format(build, "-initrd", "/proc/self/fd/%d", give_fd(build, vm->initrd_fd)))
		return false;
	return put_pair(build, "-append", vm->manifest.append);
}

/*
 * The passphrase by a descriptor: so it is in no argument, in no QMP message, and in no property
 * that can be asked for (the object's "data" would give it back). QEMU reads it when it makes the
 * object, before any disk. The object stays for good: qcow2 opens its image anew when it is
 * activated after a migration, and when a migration is undone.
 */
static bool put_disk_secret(Build *build, size_t i)
{
	const ResolvedDisk *resolved = &build->input->vm->disks[i];
	char id[DISK_NODE_BYTES], file[32];

	if (build->input->vm->manifest.disks[i].encryption == DISK_PLAIN)
		return true;
	if (resolved->secret_fd < 0)
		return error_set(build->err, ERROR_INTERNAL,
				 "disk %zu is encrypted, without a secret", i);
	disk_node_name(i, DISK_NODE_SECRET, id);
	snprintf(file, sizeof(file), "/proc/self/fd/%d", give_fd(build, resolved->secret_fd));
	return put_json(build, "-object",
			json_pack("{s:s, s:s, s:s}", "qom-type", "secret", "id", id, "file", file));
}

static bool put_disk_backend(Build *build, size_t i)
{
	const ResolvedVm *vm = build->input->vm;

	/* Who has the key gets no descriptor of the image, and who has that no key. */
	return put_disk_secret(build, i) &&
	       (vm->disks[i].served ||
		put_format(build, "-add-fd", "fd=%d,set=%zu", give_fd(build, vm->disks[i].fd), i)) &&
	       put_json(build, "-blockdev", disk_nodes_file(vm, i)) &&
	       put_json(build, "-blockdev", disk_nodes_format(vm, i, DISK_NODE_GUEST));
}

/* What disk_late.c puts the image into, once there is one. */
static bool put_late_backend(Build *build, size_t i)
{
	const ResolvedVm *vm = build->input->vm;

	return put_json(build, "-blockdev", disk_nodes_null(vm, i, DISK_NODE_NULL)) &&
	       put_json(build, "-blockdev", disk_nodes_late(vm, i, DISK_NODE_NULL));
}

static bool put_any_backend(Build *build, size_t i)
{
	const ResolvedVm *vm = build->input->vm;

	if (build->input->is_twin)
		return put_json(build, "-blockdev", disk_nodes_null(vm, i, DISK_NODE_GUEST));
	return vm->disks[i].late ? put_late_backend(build, i) : put_disk_backend(build, i);
}

static bool put_disk(Build *build, size_t i)
{
	bool boots_disk = !build->input->vm->manifest.boots_kernel;
	char node[DISK_NODE_BYTES], address[16];
	json_t *device;

	if (!put_any_backend(build, i))
		return false;
	disk_node_name(i, DISK_NODE_GUEST, node);
	snprintf(address, sizeof(address), "0x%zx", SLOT_DISKS + i);
	device = json_pack("{s:s, s:s, s:s, s:s, s:s}", "driver", "virtio-blk-pci", "id", node,
			   "drive", node, "bus", build->bus, "addr", address);
	if (boots_disk)
		device = json_with(device, "bootindex", json_integer((json_int_t)i + 1));
	return put_json(build, "-device", device);
}

static json_t *user_netdev(const ResolvedNic *nic, const char *id)
{
	json_t *netdev = json_pack("{s:s, s:s}", "type", "user", "id", id);
	json_t *forwards = json_array();
	bool whole = true;

	for (size_t i = 0; i < nic->forwards_count; i++) {
		const ForwardResource *forward = &nic->forwards[i];
		char text[2 * LIMIT_ADDRESS + 32];

		snprintf(text, sizeof(text), "tcp:%s:%u-%s:%u", forward->host_address,
			 forward->host_port, forward->guest_address, forward->guest_port);
		whole = !json_array_append_new(forwards, json_pack("{s:s}", "str", text)) && whole;
	}
	if (nic->subnet[0])
		netdev = json_with(netdev, "net", json_string(nic->subnet));
	netdev = json_with(netdev, "hostfwd", forwards);
	return whole ? netdev : (json_decref(netdev), NULL);
}

static json_t *tap_netdev(Build *build, size_t i, const char *id)
{
	char number[16];

	snprintf(number, sizeof(number), "%d", give_fd(build, build->input->tap_fds[i]));
	return json_pack("{s:s, s:s, s:s, s:b}", "type", "tap", "id", id, "fd", number, "vhost", 0);
}

/* A user-mode network has state of its own in the stream; all others have none. */
static json_t *twin_netdev(const ResolvedNic *nic, const char *id)
{
	return nic->kind == NETWORK_USER
		       ? json_pack("{s:s, s:s}", "type", "user", "id", id)
		       : json_pack("{s:s, s:s, s:i}", "type", "hubport", "id", id, "hubid", 0);
}

static json_t *netdev(Build *build, size_t i, const char *id)
{
	const ResolvedNic *nic = &build->input->vm->nics[i];

	if (build->input->is_twin)
		return twin_netdev(nic, id);
	return nic->kind == NETWORK_BRIDGE ? tap_netdev(build, i, id) : user_netdev(nic, id);
}

static bool put_nic(Build *build, size_t i)
{
	char id[32], device_id[32], address[16], mac[18];

	snprintf(id, sizeof(id), "net%zu", i);
	snprintf(device_id, sizeof(device_id), "nic%zu", i);
	snprintf(address, sizeof(address), "0x%zx", SLOT_NICS + i);
	if (build->input->is_twin)
		snprintf(mac, sizeof(mac), "52:54:00:00:00:%02x", (unsigned int)(i & 0xff));
	else
		snprintf(mac, sizeof(mac), "%s", build->input->vm->manifest.nics[i].mac);
	if (!put_json(build, "-netdev", netdev(build, i, id)))
		return false;
	/* No option ROM: its size would differ between packagings, and with it the machine. */
	return put_json(build, "-device",
			json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "driver", "virtio-net-pci",
				  "id", device_id, "netdev", id, "mac", mac, "bus", build->bus,
				  "addr", address, "romfile", ""));
}

static bool put_consoles(Build *build)
{
	bool is_twin = build->input->is_twin;

	if (!put_pair(build, "-chardev",
		      is_twin ? "null,id=serial0"
			      : "socket,id=serial0,server=on,wait=off,path=" QEMU_SOCKET_PREFIX
					QEMU_SOCKET_SERIAL) ||
	    !put_json(build, "-device",
		      json_pack("{s:s, s:s, s:s}", "driver", "isa-serial", "id", "serial0-device",
				"chardev", "serial0")))
		return false;
	if (build->input->vm->manifest.display == DISPLAY_NONE)
		return put_pair(build, "-display", "none");
	return put_json(build, "-device",
			json_pack("{s:s, s:s, s:s, s:s}", "driver", "VGA", "id", "vga0", "bus",
				  build->bus, "addr", "0x2")) &&
	       (is_twin ? put_pair(build, "-display", "none")
			: put_pair(build, "-vnc", "unix:" QEMU_SOCKET_PREFIX QEMU_SOCKET_VNC));
}
static_assert(SLOT_VGA == 2, "put_consoles writes it as text");

/* A listening socket made by us: no wait for QEMU to make it, no name that it could fake. */
static bool put_monitor(Build *build)
{
	return put_format(build, "-chardev", "socket,id=qmp0,%sfd=%d",
			  build->input->is_twin ? "" : "server=on,wait=off,",
			  give_fd(build, build->input->qmp_listen_fd)) &&
	       put_pair(build, "-mon", "chardev=qmp0,mode=control");
}

/*
 * QEMU makes it behind the memory, which is populated by then, and waits for an answer on this
 * socket before it serves its monitor (qemu_create_late_backends, system/vl.c): vtpm_qemu.c builds
 * on that.
 */
static bool put_tpm(Build *build)
{
	if (!build->input->vm->manifest.tpm)
		return true;
	return put_format(build, "-chardev", "socket,id=tpm0-control,fd=%d",
			  give_fd(build, build->input->tpm_fd)) &&
	       put_pair(build, "-tpmdev", "emulator,id=tpm0,chardev=tpm0-control") &&
	       put_json(build, "-device",
			json_pack("{s:s, s:s, s:s}", "driver", "tpm-crb", "id", "tpm0-device",
				  "tpmdev", "tpm0"));
}

static bool put_all(Build *build)
{
	const Manifest *m = &build->input->vm->manifest;

	if (!build->input->is_twin) {
		int sockets_fd = give_fd(build, build->input->sockets_fd);

		assert(sockets_fd == QEMU_FD_SOCKETS);
		(void)sockets_fd;
	}
	if (!put(build, build->input->resources->qemu_path) || !put_basics(build) ||
	    !put_machine(build) || !put_memory(build) || !put_monitor(build) ||
	    !put_consoles(build) || !put_boot(build))
		return false;
	for (size_t i = 0; i < m->disks_count; i++)
		if (!put_disk(build, i))
			return false;
	for (size_t i = 0; i < m->nics_count; i++)
		if (!put_nic(build, i))
			return false;
	return put_tpm(build) && (!build->input->incoming || put_pair(build, "-incoming", "defer"));
}

bool qemu_command_build(const QemuCommandInput *input, QemuCommand *ret_command, Error *err)
{
	AUTO_QEMU_COMMAND QemuCommand command = { .argc = 0 };
	bool q35 = !strncmp(input->vm->manifest.machine, "pc-q35-", 7);
	Build build = {
		.input = input, .command = &command, .err = err, .bus = q35 ? "pcie.0" : "pci.0"
	};

	if (!put_all(&build))
		return false;
	*ret_command = command;
	command = (QemuCommand){ .argc = 0 };
	return true;
}

bool qemu_command_build_dump(const QemuCommandInput *input, int dump_fd, QemuCommand *ret_command,
			     Error *err)
{
	AUTO_QEMU_COMMAND QemuCommand command = { .argc = 0 };
	Build build = { .input = input, .command = &command, .err = err };

	if (!put(&build, input->resources->qemu_path) || !put(&build, "-nodefaults") ||
	    !put(&build, "-no-user-config") || !put_pair(&build, "-sandbox", sandbox) ||
	    !put_format(&build, "-machine", "type=%s", input->vm->manifest.machine) ||
	    !put_pair(&build, "-accel", input->resources->accel == ACCEL_KVM ? "kvm" : "tcg") ||
	    !put_pair(&build, "-display", "none") ||
	    !put_format(&build, "-dump-vmstate", "/proc/self/fd/%d", give_fd(&build, dump_fd)))
		return false;
	*ret_command = command;
	command = (QemuCommand){ .argc = 0 };
	return true;
}

static bool put_storage(Build *build)
{
	int sockets_fd = give_fd(build, build->input->sockets_fd);

	assert(sockets_fd == QEMU_FD_SOCKETS);
	(void)sockets_fd;
	return put(build, build->input->resources->qemu_path) && put(build, "-nodefaults") &&
	       put(build, "-no-user-config") && put(build, "-S") &&
	       put_pair(build, "-msg", "timestamp=on") && put_pair(build, "-sandbox", sandbox) &&
	       put_pair(build, "-machine", "none") && put_pair(build, "-accel", "tcg") &&
	       put_pair(build, "-display", "none") && put_monitor(build) &&
	       put_disk_backend(build, 0);
}

bool qemu_command_build_storage(const QemuCommandInput *input, QemuCommand *ret_command, Error *err)
{
	AUTO_QEMU_COMMAND QemuCommand command = { .argc = 0 };
	Build build = { .input = input, .command = &command, .err = err };

	if (!put_storage(&build))
		return false;
	*ret_command = command;
	command = (QemuCommand){ .argc = 0 };
	return true;
}

void qemu_command_clear(QemuCommand *command)
{
	for (size_t i = 0; i < command->argc; i++)
		free(command->argv[i]);
	*command = (QemuCommand){ .argc = 0 };
}
