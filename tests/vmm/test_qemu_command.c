/* SPDX-License-Identifier: Apache-2.0 */
/* What a manifest says may change values; it may never change what QEMU is told to do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "vmm/qemu_command.h"

enum {
	FD_SOCKETS = 101,
	FD_QMP = 102,
	FD_KERNEL = 103,
	FD_INITRD = 104,
	FD_DISK = 110,
	FD_TAP = 120,
	FD_SECRET = 130,
	FD_TPM = 140,
};

typedef struct Fixture {
	Resources *resources;
	ResolvedVm vm;
	QemuCommandInput input;
} Fixture;

static int setup(void **state)
{
	Fixture *f = calloc(1, sizeof(*f));
	Manifest *m = &f->vm.manifest;

	f->resources = calloc(1, sizeof(*f->resources));
	strcpy(f->resources->qemu_path, "/usr/bin/qemu-system-x86_64");
	f->resources->prealloc_threads = 3;
	*m = (Manifest){ .name = "vm1",
			 .uuid = "6f1c0f3e-2f0b-4f4e-9d58-1f0f8a1b2c3d",
			 .machine = "pc-q35-10.0",
			 .cpu = "max",
			 .cpus = 2,
			 .memory_bytes = 256 << 20,
			 .display = DISPLAY_VNC,
			 .boots_kernel = true,
			 .append = "console=ttyS0",
			 .disks_count = 2,
			 .nics_count = 2 };
	m->disks[0] = (ManifestDisk){ "shared", "vm1.raw", DISK_RAW, 1 << 20, false };
	m->disks[1] = (ManifestDisk){ "shared", "vm1.qcow2", DISK_QCOW2, 1 << 20, true };
	m->nics[0] = (ManifestNic){ "lan", "52:54:00:00:00:01" };
	m->nics[1] = (ManifestNic){ "wan", "52:54:00:00:00:02" };
	f->vm.kernel_fd = FD_KERNEL;
	f->vm.initrd_fd = FD_INITRD;
	f->vm.disks[0] = (ResolvedDisk){ .fd = FD_DISK, .secret_fd = -1 };
	f->vm.disks[1] = (ResolvedDisk){
		.fd = FD_DISK + 1, .is_block_device = true, .direct = true, .secret_fd = -1
	};
	f->vm.nics[0] = (ResolvedNic){ .kind = NETWORK_BRIDGE, .bridge = "br0" };
	f->vm.nics[1] = (ResolvedNic){ .kind = NETWORK_USER, .subnet = "10.0.0.0/24" };
	f->vm.nics[1].forwards[0] = (ForwardResource){ "127.0.0.1", 7777, "10.0.0.5", 7777 };
	f->vm.nics[1].forwards_count = 1;
	f->input = (QemuCommandInput){ .resources = f->resources,
				       .vm = &f->vm,
				       .sockets_fd = FD_SOCKETS,
				       .qmp_listen_fd = FD_QMP,
				       .tap_fds = { FD_TAP, -1 } };
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	Fixture *f = *state;

	free(f->resources);
	free(f);
	return 0;
}

static void build(const Fixture *f, QemuCommand *ret_command)
{
	Error err = ERROR_INIT;

	*ret_command = (QemuCommand){ .argc = 0 };
	if (!qemu_command_build(&f->input, ret_command, &err))
		fail_msg("%s", err.text);
	assert_null(ret_command->argv[ret_command->argc]);
}

/* The n-th value of an option, NULL if there is none. */
static const char *value_of(const QemuCommand *command, const char *option, unsigned int n)
{
	for (size_t i = 0; i + 1 < command->argc; i++)
		if (!strcmp(command->argv[i], option) && !n--)
			return command->argv[i + 1];
	return NULL;
}

static bool has(const QemuCommand *command, const char *arg)
{
	for (size_t i = 0; i < command->argc; i++)
		if (!strcmp(command->argv[i], arg))
			return true;
	return false;
}

static void is_json(const QemuCommand *command, const char *option, unsigned int n,
		    const char *expected)
{
	const char *text = value_of(command, option, n);
	json_t *found = text ? json_loads(text, 0, NULL) : NULL;
	json_t *wanted = json_loads(expected, 0, NULL);

	assert_non_null(wanted);
	if (!json_equal(found, wanted))
		fail_msg("%s is %s, not %s", option, text ? text : "missing", expected);
	json_decref(found);
	json_decref(wanted);
}

static void test_source(void **state)
{
	Fixture *f = *state;
	AUTO_QEMU_COMMAND QemuCommand c;

	build(f, &c);
	assert_string_equal(c.argv[0], "/usr/bin/qemu-system-x86_64");
	assert_true(has(&c, "-nodefaults") && has(&c, "-no-user-config") && has(&c, "-S"));
	assert_false(has(&c, "-incoming"));
	assert_string_equal(
		value_of(&c, "-sandbox", 0),
		"on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
	assert_string_equal(
		value_of(&c, "-machine", 0),
		"type=pc-q35-10.0,memory-backend=m0,dump-guest-core=off,vmport=off,usb=off");
	assert_string_equal(value_of(&c, "-accel", 0), "tcg");
	assert_string_equal(value_of(&c, "-m", 0), "size=256M");
	assert_string_equal(value_of(&c, "-smp", 0), "cpus=2,maxcpus=2");
	is_json(&c, "-object", 0,
		"{\"qom-type\":\"memory-backend-ram\",\"id\":\"m0\",\"size\":268435456,\"dump\":false}");
	assert_string_equal(value_of(&c, "-chardev", 0), "socket,id=qmp0,server=on,wait=off,fd=4");
	assert_string_equal(
		value_of(&c, "-chardev", 1),
		"socket,id=serial0,server=on,wait=off,path=/proc/self/fd/3/serial.sock");
	assert_string_equal(value_of(&c, "-vnc", 0), "unix:/proc/self/fd/3/vnc.sock");
	assert_string_equal(value_of(&c, "-kernel", 0), "/proc/self/fd/5");
	assert_string_equal(value_of(&c, "-initrd", 0), "/proc/self/fd/6");
	assert_string_equal(value_of(&c, "-append", 0), "console=ttyS0");
	assert_int_equal(c.fds[0], FD_SOCKETS);
	assert_int_equal(c.fds[1], FD_QMP);
	assert_int_equal(c.fds[2], FD_KERNEL);
	assert_int_equal(c.fds[3], FD_INITRD);
}

static void test_disks_and_nics(void **state)
{
	Fixture *f = *state;
	AUTO_QEMU_COMMAND QemuCommand c;

	build(f, &c);
	assert_string_equal(value_of(&c, "-add-fd", 0), "fd=7,set=0");
	is_json(&c, "-blockdev", 0,
		"{\"driver\":\"file\",\"node-name\":\"disk0-file\",\"filename\":\"/dev/fdset/0\","
		"\"read-only\":false,\"discard\":\"unmap\",\"cache\":{\"direct\":false}}");
	is_json(&c, "-blockdev", 1,
		"{\"driver\":\"raw\",\"node-name\":\"disk0\",\"file\":\"disk0-file\","
		"\"read-only\":false,\"discard\":\"unmap\",\"cache\":{\"direct\":false}}");
	is_json(&c, "-blockdev", 2,
		"{\"driver\":\"host_device\",\"node-name\":\"disk1-file\",\"filename\":\"/dev/fdset/1\","
		"\"read-only\":true,\"discard\":\"unmap\",\"cache\":{\"direct\":true}}");
	is_json(&c, "-blockdev", 3,
		"{\"driver\":\"qcow2\",\"node-name\":\"disk1\",\"file\":\"disk1-file\","
		"\"read-only\":true,\"discard\":\"unmap\",\"cache\":{\"direct\":true},\"backing\":null}");
	is_json(&c, "-device", 2,
		"{\"driver\":\"virtio-blk-pci\",\"id\":\"disk0\",\"drive\":\"disk0\",\"bus\":\"pcie.0\","
		"\"addr\":\"0x3\"}");
	is_json(&c, "-device", 3,
		"{\"driver\":\"virtio-blk-pci\",\"id\":\"disk1\",\"drive\":\"disk1\",\"bus\":\"pcie.0\","
		"\"addr\":\"0x4\"}");
	is_json(&c, "-netdev", 0,
		"{\"type\":\"tap\",\"id\":\"net0\",\"fd\":\"9\",\"vhost\":false}");
	assert_int_equal(c.fds[9 - QEMU_FD_FIRST], FD_TAP);
	is_json(&c, "-netdev", 1,
		"{\"type\":\"user\",\"id\":\"net1\",\"net\":\"10.0.0.0/24\","
		"\"hostfwd\":[{\"str\":\"tcp:127.0.0.1:7777-10.0.0.5:7777\"}]}");
	is_json(&c, "-device", 5,
		"{\"driver\":\"virtio-net-pci\",\"id\":\"nic1\",\"netdev\":\"net1\","
		"\"mac\":\"52:54:00:00:00:02\",\"bus\":\"pcie.0\",\"addr\":\"0x11\",\"romfile\":\"\"}");
}

static void encrypt(Fixture *f)
{
	for (size_t i = 0; i < 2; i++) {
		f->vm.manifest.disks[i].encryption = DISK_LUKS;
		memset(f->vm.manifest.disks[i].key, 0x61 + (int)i, MANIFEST_KEY_ID_BYTES);
		f->vm.disks[i].secret_fd = FD_SECRET + (int)i;
	}
}

/* Secrets by descriptor, image formats said; the key's id is no part of it. */
static void test_encrypted_disks(void **state)
{
	Fixture *f = *state;
	AUTO_QEMU_COMMAND QemuCommand c;

	encrypt(f);
	build(f, &c);
	is_json(&c, "-object", 1,
		"{\"qom-type\":\"secret\",\"id\":\"disk0-secret\",\"file\":\"/proc/self/fd/7\"}");
	assert_string_equal(value_of(&c, "-add-fd", 0), "fd=8,set=0");
	is_json(&c, "-blockdev", 0,
		"{\"driver\":\"file\",\"node-name\":\"disk0-file\",\"filename\":\"/dev/fdset/0\","
		"\"read-only\":false,\"discard\":\"unmap\",\"cache\":{\"direct\":false}}");
	is_json(&c, "-blockdev", 1,
		"{\"driver\":\"luks\",\"node-name\":\"disk0\",\"file\":\"disk0-file\","
		"\"key-secret\":\"disk0-secret\",\"read-only\":false,\"discard\":\"unmap\","
		"\"cache\":{\"direct\":false}}");
	is_json(&c, "-object", 2,
		"{\"qom-type\":\"secret\",\"id\":\"disk1-secret\",\"file\":\"/proc/self/fd/9\"}");
	assert_string_equal(value_of(&c, "-add-fd", 1), "fd=10,set=1");
	is_json(&c, "-blockdev", 3,
		"{\"driver\":\"qcow2\",\"node-name\":\"disk1\",\"file\":\"disk1-file\","
		"\"encrypt\":{\"format\":\"luks\",\"key-secret\":\"disk1-secret\"},\"backing\":null,"
		"\"read-only\":true,\"discard\":\"unmap\",\"cache\":{\"direct\":true}}");
	assert_int_equal(c.fds[7 - QEMU_FD_FIRST], FD_SECRET);
	assert_int_equal(c.fds[8 - QEMU_FD_FIRST], FD_DISK);
	assert_int_equal(c.fds[9 - QEMU_FD_FIRST], FD_SECRET + 1);
	for (size_t i = 0; i < c.argc; i++)
		assert_null(strstr(c.argv[i], "6161"));
}

/* The key without the image: a storage daemon's export, by a socket beneath a descriptor. */
static void test_served_disk(void **state)
{
	Fixture *f = *state;
	AUTO_QEMU_COMMAND QemuCommand c;

	encrypt(f);
	f->vm.disks[0].served = true;
	f->vm.disks[0].listen_fd = f->vm.disks[0].hold_fd = -1;
	build(f, &c);
	is_json(&c, "-object", 1,
		"{\"qom-type\":\"secret\",\"id\":\"disk0-secret\",\"file\":\"/proc/self/fd/7\"}");
	is_json(&c, "-blockdev", 0,
		"{\"driver\":\"nbd\",\"node-name\":\"disk0-file\",\"server\":{\"type\":\"unix\","
		"\"path\":\"/proc/self/fd/3/disk0.sock\"},\"export\":\"vm1.raw\",\"read-only\":false,"
		"\"discard\":\"unmap\",\"cache\":{\"direct\":false}}");
	is_json(&c, "-blockdev", 1,
		"{\"driver\":\"luks\",\"node-name\":\"disk0\",\"file\":\"disk0-file\","
		"\"key-secret\":\"disk0-secret\",\"read-only\":false,\"discard\":\"unmap\","
		"\"cache\":{\"direct\":false}}");
	/* The other one has its image as ever; this one's is nowhere. */
	assert_string_equal(value_of(&c, "-add-fd", 0), "fd=9,set=1");
	assert_null(value_of(&c, "-add-fd", 1));
	for (size_t i = 0; i < c.fds_count; i++)
		assert_int_not_equal(c.fds[i], FD_DISK);
}

static void test_encrypted_disk_without_secret(void **state)
{
	Fixture *f = *state;
	QemuCommand c = { .argc = 0 };
	Error err = ERROR_INIT;

	encrypt(f);
	f->vm.disks[1].secret_fd = -1;
	assert_false(qemu_command_build(&f->input, &c, &err));
	assert_string_equal(err.text, "disk 1 is encrypted, without a secret");
	assert_int_equal(c.argc, 0);
}

/* Zeros under a raw node that stays, whatever the image will be; no descriptor, no secret. */
static void test_late_disks(void **state)
{
	Fixture *f = *state;
	AUTO_QEMU_COMMAND QemuCommand c;

	encrypt(f);
	f->vm.disks[0] = (ResolvedDisk){ .fd = -1, .secret_fd = -1, .late = true };
	f->input.incoming = true;
	build(f, &c);
	is_json(&c, "-blockdev", 0,
		"{\"driver\":\"null-co\",\"node-name\":\"disk0-null\",\"size\":1048576,"
		"\"read-zeroes\":true,\"read-only\":false}");
	is_json(&c, "-blockdev", 1,
		"{\"driver\":\"raw\",\"node-name\":\"disk0\",\"file\":\"disk0-null\","
		"\"read-only\":false,\"discard\":\"unmap\",\"cache\":{\"direct\":false}}");
	is_json(&c, "-device", 2,
		"{\"driver\":\"virtio-blk-pci\",\"id\":\"disk0\",\"drive\":\"disk0\",\"bus\":\"pcie.0\","
		"\"addr\":\"0x3\"}");
	/* The other one is there as ever. */
	assert_string_equal(value_of(&c, "-add-fd", 0), "fd=8,set=1");
	assert_null(value_of(&c, "-add-fd", 1));
	assert_null(value_of(&c, "-object", 2));
	assert_int_equal(c.fds[8 - QEMU_FD_FIRST], FD_DISK + 1);
}

/* It has no image, so that it needs no secret, and an encrypted VM's is that of a plain one. */
static void test_twin_of_encrypted_is_of_plain(void **state)
{
	Fixture *f = *state;
	AUTO_QEMU_COMMAND QemuCommand plain, encrypted;

	f->input.is_twin = true;
	build(f, &plain);
	encrypt(f);
	f->vm.disks[0].secret_fd = f->vm.disks[1].secret_fd = -1;
	build(f, &encrypted);
	assert_int_equal(plain.argc, encrypted.argc);
	for (size_t i = 0; i < plain.argc; i++)
		assert_string_equal(plain.argv[i], encrypted.argv[i]);
	assert_int_equal(plain.fds_count, encrypted.fds_count);
}

/* The same machine, device by device, with nothing behind it. */
static void test_twin(void **state)
{
	Fixture *f = *state;
	AUTO_QEMU_COMMAND QemuCommand c, real;

	build(f, &real);
	f->input.is_twin = true;
	f->input.sockets_fd = -1;
	f->input.memory_fd = FD_DISK;
	build(f, &c);
	assert_string_equal(value_of(&c, "-sandbox", 0), value_of(&real, "-sandbox", 0));
	assert_string_equal(value_of(&c, "-machine", 0), value_of(&real, "-machine", 0));
	assert_string_equal(value_of(&c, "-m", 0), value_of(&real, "-m", 0));
	assert_true(has(&c, "-S"));
	assert_false(has(&c, "-incoming") || has(&c, "-add-fd") || has(&c, "-vnc"));
	is_json(&c, "-object", 0,
		"{\"qom-type\":\"memory-backend-file\",\"id\":\"m0\",\"size\":268435456,"
		"\"mem-path\":\"/proc/self/fd/3\",\"share\":true,\"dump\":false}");
	assert_string_equal(value_of(&c, "-chardev", 0), "socket,id=qmp0,fd=4");
	assert_string_equal(value_of(&c, "-chardev", 1), "null,id=serial0");
	assert_string_equal(value_of(&c, "-kernel", 0), "/proc/self/fd/5");
	assert_false(has(&c, "-initrd") || has(&c, "-append"));
	is_json(&c, "-blockdev", 1,
		"{\"driver\":\"null-co\",\"node-name\":\"disk1\",\"size\":1048576,"
		"\"read-zeroes\":true,\"read-only\":true}");
	is_json(&c, "-netdev", 0, "{\"type\":\"hubport\",\"id\":\"net0\",\"hubid\":0}");
	is_json(&c, "-netdev", 1, "{\"type\":\"user\",\"id\":\"net1\"}");
	for (unsigned int i = 0; i < 4; i++)
		assert_string_equal(value_of(&c, "-device", i), value_of(&real, "-device", i));
	assert_int_equal(c.fds_count, 3);
	assert_int_equal(c.fds[0], FD_DISK);
	assert_int_equal(c.fds[2], FD_KERNEL);
}

/* What VMs of one kind differ in makes no other twin; what makes another machine does. */
static void test_twins_of_one_kind_are_alike(void **state)
{
	Fixture *f = *state;
	AUTO_QEMU_COMMAND QemuCommand c, other, larger;

	f->input.is_twin = true;
	build(f, &c);
	strcpy(f->vm.manifest.uuid, "7f1c0f3e-2f0b-4f4e-9d58-1f0f8a1b2c3d");
	strcpy(f->vm.manifest.nics[0].mac, "52:54:00:00:00:77");
	strcpy(f->vm.manifest.append, "quiet");
	build(f, &other);
	assert_int_equal(c.argc, other.argc);
	for (size_t i = 0; i < c.argc; i++)
		assert_string_equal(c.argv[i], other.argv[i]);
	f->vm.manifest.memory_bytes *= 2;
	build(f, &larger);
	assert_string_not_equal(value_of(&c, "-m", 0), value_of(&larger, "-m", 0));
}

static void test_dump(void **state)
{
	Fixture *f = *state;
	AUTO_QEMU_COMMAND QemuCommand c = { .argc = 0 };
	Error err = ERROR_INIT;

	assert_true(qemu_command_build_dump(&f->input, FD_DISK, &c, &err));
	assert_string_equal(value_of(&c, "-dump-vmstate", 0), "/proc/self/fd/3");
	assert_string_equal(value_of(&c, "-machine", 0), "type=pc-q35-10.0");
	assert_true(has(&c, "-sandbox") && has(&c, "-nodefaults"));
	assert_int_equal(c.fds_count, 1);
	assert_int_equal(c.fds[0], FD_DISK);
}

static void test_other_machine(void **state)
{
	Fixture *f = *state;
	AUTO_QEMU_COMMAND QemuCommand c;

	strcpy(f->vm.manifest.machine, "pc-i440fx-7.2");
	f->vm.manifest.display = DISPLAY_NONE;
	f->vm.manifest.boots_kernel = false;
	f->vm.kernel_fd = f->vm.initrd_fd = -1;
	f->resources->accel = ACCEL_KVM;
	build(f, &c);
	assert_string_equal(value_of(&c, "-accel", 0), "kvm");
	assert_string_equal(value_of(&c, "-display", 0), "none");
	assert_false(has(&c, "-vnc") || has(&c, "-kernel") || has(&c, "-append"));
	is_json(&c, "-device", 1,
		"{\"driver\":\"virtio-blk-pci\",\"id\":\"disk0\",\"drive\":\"disk0\",\"bus\":\"pci.0\","
		"\"addr\":\"0x3\",\"bootindex\":1}");
}

/* The incoming side is the same machine; only its memory is touched beforehand. */
static void test_incoming(void **state)
{
	Fixture *f = *state;
	AUTO_QEMU_COMMAND QemuCommand source;
	AUTO_QEMU_COMMAND QemuCommand incoming;

	build(f, &source);
	f->input.incoming = true;
	build(f, &incoming);
	assert_int_equal(incoming.argc, source.argc + 2);
	for (size_t i = 0; i < source.argc; i++)
		if (!strstr(source.argv[i], "memory-backend-ram"))
			assert_string_equal(source.argv[i], incoming.argv[i]);
	assert_string_equal(value_of(&incoming, "-incoming", 0), "defer");
	is_json(&incoming, "-object", 0,
		"{\"qom-type\":\"memory-backend-ram\",\"id\":\"m0\",\"size\":268435456,\"dump\":false,"
		"\"prealloc\":true,\"prealloc-threads\":3}");
	qemu_command_clear(&incoming);
	f->vm.manifest.populate = POPULATE_NONE;
	f->resources->memory = MEMORY_HUGE_2M;
	build(f, &incoming);
	is_json(&incoming, "-object", 0,
		"{\"qom-type\":\"memory-backend-memfd\",\"id\":\"m0\",\"size\":268435456,\"dump\":false,"
		"\"hugetlb\":true,\"hugetlbsize\":2097152,\"share\":false}");
}

/* The one text that may hold anything printable, and names at their longest. */
static void test_hostile_values_stay_values(void **state)
{
	static const char *const texts[] = {
		"-drive file=/etc/shadow",
		",file=/etc/shadow,id=x",
		"\" -incoming exec:sh \"",
		"a=,,b",
		"$(reboot)",
		"`reboot`; '",
		"{\"driver\":\"file\"}",
	};
	Fixture *f = *state;
	AUTO_QEMU_COMMAND QemuCommand plain;

	build(f, &plain);
	for (size_t k = 0; k < ARRAY_SIZE(texts); k++) {
		AUTO_QEMU_COMMAND QemuCommand c;

		strcpy(f->vm.manifest.append, texts[k]);
		build(f, &c);
		assert_int_equal(c.argc, plain.argc);
		for (size_t i = 0; i < c.argc; i++)
			if (strcmp(plain.argv[i], "console=ttyS0"))
				assert_string_equal(c.argv[i], plain.argv[i]);
			else
				assert_string_equal(c.argv[i], texts[k]);
		assert_int_equal(c.fds_count, plain.fds_count);
	}
	/* A peer's names of pools, volumes, networks and of the VM are nowhere in it. */
	for (size_t i = 0; i < plain.argc; i++)
		assert_false(strstr(plain.argv[i], "vm1") || strstr(plain.argv[i], "shared") ||
			     strstr(plain.argv[i], "lan\""));
}

/* By a descriptor, and none without one. */
static void test_tpm(void **state)
{
	Fixture *f = *state;
	AUTO_QEMU_COMMAND QemuCommand without, with;
	char control[64];

	build(f, &without);
	assert_null(value_of(&without, "-tpmdev", 0));
	f->vm.manifest.tpm = true;
	f->input.tpm_fd = FD_TPM;
	build(f, &with);
	assert_int_equal(with.fds_count, without.fds_count + 1);
	assert_int_equal(with.fds[with.fds_count - 1], FD_TPM);
	snprintf(control, sizeof(control), "socket,id=tpm0-control,fd=%zu",
		 QEMU_FD_FIRST + with.fds_count - 1);
	assert_true(has(&with, control));
	assert_string_equal(value_of(&with, "-tpmdev", 0), "emulator,id=tpm0,chardev=tpm0-control");
	assert_true(
		has(&with, "{\"driver\":\"tpm-crb\",\"id\":\"tpm0-device\",\"tpmdev\":\"tpm0\"}"));
	assert_null(value_of(&with, "-tpmdev", 1));
}

static void test_everything_at_once_fits(void **state)
{
	Fixture *f = *state;
	AUTO_QEMU_COMMAND QemuCommand c;

	f->input.incoming = true;
	f->vm.manifest.tpm = true;
	f->vm.manifest.disks_count = LIMIT_DISKS;
	f->vm.manifest.nics_count = LIMIT_NICS;
	for (size_t i = 0; i < LIMIT_DISKS; i++) {
		f->vm.disks[i] = (ResolvedDisk){ .fd = FD_DISK, .secret_fd = FD_SECRET };
		f->vm.manifest.disks[i].encryption = DISK_LUKS;
	}
	for (size_t i = 0; i < LIMIT_NICS; i++) {
		f->vm.nics[i].kind = NETWORK_BRIDGE;
		f->input.tap_fds[i] = FD_TAP;
	}
	build(f, &c);
	assert_int_equal(c.fds_count, QEMU_FDS_MAX);
	assert_non_null(value_of(&c, "-netdev", LIMIT_NICS - 1));
	assert_null(value_of(&c, "-netdev", LIMIT_NICS));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_source, setup, teardown),
		cmocka_unit_test_setup_teardown(test_disks_and_nics, setup, teardown),
		cmocka_unit_test_setup_teardown(test_encrypted_disks, setup, teardown),
		cmocka_unit_test_setup_teardown(test_served_disk, setup, teardown),
		cmocka_unit_test_setup_teardown(test_late_disks, setup, teardown),
		cmocka_unit_test_setup_teardown(test_tpm, setup, teardown),
		cmocka_unit_test_setup_teardown(test_encrypted_disk_without_secret, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_twin_of_encrypted_is_of_plain, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_twin, setup, teardown),
		cmocka_unit_test_setup_teardown(test_twins_of_one_kind_are_alike, setup, teardown),
		cmocka_unit_test_setup_teardown(test_dump, setup, teardown),
		cmocka_unit_test_setup_teardown(test_other_machine, setup, teardown),
		cmocka_unit_test_setup_teardown(test_incoming, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hostile_values_stay_values, setup, teardown),
		cmocka_unit_test_setup_teardown(test_everything_at_once_fits, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
