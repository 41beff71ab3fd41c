/* SPDX-License-Identifier: Apache-2.0 */
/* Names of a peer against what this host has: only what its own configuration gives is opened. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "luks_sample.h"
#include "vmm/resources.h"

enum { DISK_BYTES = 1 << 20 };

typedef struct Fixture {
	char directory[64];
	Resources *resources;
	Manifest manifest;
} Fixture;

static void path_of(const Fixture *f, const char *name, char *ret_path, size_t size)
{
	snprintf(ret_path, size, "%s/%s", f->directory, name);
}

static void write_file(const Fixture *f, const char *name, const void *data, size_t size)
{
	char path[128];
	Error err;

	path_of(f, name, path, sizeof(path));
	assert_true(file_replace(path, data, size, 0600, &err));
}

static void write_disk(const Fixture *f, const char *name, const char *head, size_t size)
{
	char path[128];

	write_file(f, name, head, size);
	path_of(f, name, path, sizeof(path));
	assert_int_equal(truncate(path, DISK_BYTES), 0);
}

static void allow(ResourceAccess *access, bool local, const char *domain)
{
	access->local = local;
	access->domains_count = 0;
	if (domain)
		snprintf(access->domains[access->domains_count++], LIMIT_DOMAIN, "%s", domain);
}

static void add_pool(Fixture *f, const char *name, const char *directory, bool local,
		     const char *domain)
{
	PoolResource *pool = &f->resources->pools[f->resources->pools_count++];

	snprintf(pool->name, sizeof(pool->name), "%s", name);
	path_of(f, directory, pool->directory, sizeof(pool->directory));
	allow(&pool->access, local, domain);
}

static int setup(void **state)
{
	static const char *const directories[] = { "north", "east", "boot" };
	Fixture *f = calloc(1, sizeof(*f));
	NetworkResource *lan;
	char path[128];
	Error err = ERROR_INIT;
	int fd;

	snprintf(f->directory, sizeof(f->directory), "/tmp/sealift-resources-test.XXXXXX");
	assert_non_null(mkdtemp(f->directory));
	for (size_t i = 0; i < ARRAY_SIZE(directories); i++) {
		path_of(f, directories[i], path, sizeof(path));
		assert_int_equal(mkdir(path, 0700), 0);
	}
	write_disk(f, "north/vm1.raw", "", 0);
	write_disk(f, "east/secret.raw", "", 0);
	write_file(f, "boot/kernel", "abc", 3);
	f->resources = calloc(1, sizeof(*f->resources));
	add_pool(f, "disks", "north", true, "north.example");
	add_pool(f, "disks", "east", false, "east.example");
	lan = &f->resources->networks[f->resources->networks_count++];
	snprintf(lan->name, sizeof(lan->name), "lan");
	lan->kind = NETWORK_USER;
	allow(&lan->access, true, "north.example");
	path_of(f, "boot", path, sizeof(path));
	f->resources->boot_files = boot_files_new(path, &err);
	assert_non_null(f->resources->boot_files);

	f->manifest = (Manifest){ .name = "vm1",
				  .uuid = "6f1c0f3e-2f0b-4f4e-9d58-1f0f8a1b2c3d",
				  .machine = "pc-q35-10.0",
				  .cpu = "max",
				  .cpus = 1,
				  .memory_bytes = 256 << 20,
				  .boots_kernel = true,
				  .disks_count = 1,
				  .nics_count = 1 };
	path_of(f, "boot/kernel", path, sizeof(path));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(boot_file_digest(fd, f->manifest.kernel_sha256, &err));
	close(fd);
	f->manifest.disks[0] = (ManifestDisk){
		.pool = "disks", .volume = "vm1.raw", .format = DISK_RAW, .size_bytes = DISK_BYTES
	};
	f->manifest.nics[0] = (ManifestNic){ .network = "lan", .mac = "52:54:00:00:00:01" };
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	static const char *const files[] = {
		"north/vm1.raw",   "north/link.raw", "north/planted.raw", "north/fifo",
		"north/q.qcow2",   "north/hard.raw", "north/odd.raw",	  "north/sub/x.raw",
		"east/secret.raw", "boot/kernel",    "boot/other",	  "boot/link",
	};
	static const char *const directories[] = { "north/sub", "north", "east", "boot", "" };
	Fixture *f = *state;
	char path[128];

	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		path_of(f, files[i], path, sizeof(path));
		unlink(path);
	}
	for (size_t i = 0; i < ARRAY_SIZE(directories); i++) {
		path_of(f, directories[i], path, sizeof(path));
		rmdir(path);
	}
	assert_int_not_equal(access(f->directory, F_OK), 0);
	boot_files_free(f->resources->boot_files);
	free(f->resources);
	free(f);
	return 0;
}

static void resolves(Fixture *f, const char *domain)
{
	AUTO_RESOLVED_VM ResolvedVm vm = RESOLVED_VM_INIT;
	Error err = ERROR_INIT;

	if (!resources_resolve(f->resources, &f->manifest, domain, NULL, &vm, &err))
		fail_msg("%s", err.text);
	assert_true(vm.disks[0].fd >= 0 && vm.kernel_fd >= 0);
	assert_int_equal(vm.initrd_fd, -1);
	assert_int_equal(vm.disks[0].secret_fd, -1);
}

static void refuses(Fixture *f, const char *domain, ErrorCategory category, const char *text)
{
	ResolvedVm vm = RESOLVED_VM_INIT;
	Error err = ERROR_INIT;

	assert_false(resources_resolve(f->resources, &f->manifest, domain, NULL, &vm, &err));
	if (!strstr(err.text, text))
		fail_msg("\"%s\" is not in \"%s\"", text, err.text);
	assert_int_equal(err.category, category);
	/* Nothing half-made. */
	assert_int_equal(vm.kernel_fd, -1);
	assert_int_equal(vm.manifest.disks_count, 0);
}

static void test_good_names(void **state)
{
	Fixture *f = *state;

	resolves(f, "north.example");
	resolves(f, NULL);
	f->manifest.disks[0].read_only = true;
	resolves(f, "north.example");
}

/* A peer's disk that is copied has no image yet; one of this host's own VM has. */
static void test_copied_disks(void **state)
{
	Fixture *f = *state;
	AUTO_RESOLVED_VM ResolvedVm vm = RESOLVED_VM_INIT;
	Error err = ERROR_INIT;

	f->manifest.disks[0].transfer = DISK_COPIED;
	resolves(f, NULL);
	refuses(f, "north.example", ERROR_CONFLICT, "volume disks/vm1.raw: is there already");
	f->manifest.nics_count = 0;
	refuses(f, "west.example", ERROR_DENIED, "pool \"disks\" is not one for domain");
	strcpy(f->manifest.disks[0].volume, "odd.raw");
	assert_true(
		resources_resolve(f->resources, &f->manifest, "north.example", NULL, &vm, &err));
	assert_true(vm.disks[0].late);
	assert_int_equal(vm.disks[0].fd, -1);
	/* Made meanwhile: first another size, then the right one. */
	assert_false(resources_open_copy(f->resources, "north.example", 0, 0, &vm, &err));
	assert_int_equal(err.category, ERROR_NOT_FOUND);
	write_file(f, "north/odd.raw", "1234567", 7);
	assert_false(resources_open_copy(f->resources, "north.example", 0, 0, &vm, &err));
	assert_int_equal(err.category, ERROR_CONFLICT);
	assert_false(resources_open_copy(f->resources, "west.example", 0, 0, &vm, &err));
	assert_int_equal(err.category, ERROR_DENIED);
	assert_int_equal(vm.disks[0].fd, -1);
	write_disk(f, "north/odd.raw", "", 0);
	if (!resources_open_copy(f->resources, "north.example", 0, 0, &vm, &err))
		fail_msg("%s", err.text);
	assert_true(vm.disks[0].late && vm.disks[0].fd >= 0 && vm.disks[0].inode);
}

/* The file's own bytes come: what they are is judged when they are all there. */
static void test_sealed_copy(void **state)
{
	Fixture *f = *state;
	AUTO_RESOLVED_VM ResolvedVm vm = RESOLVED_VM_INIT;
	uint8_t head[LUKS_HEADER_BYTES];
	uint64_t stored = SAMPLE_PAYLOAD + DISK_BYTES;
	char path[128];
	Error err = ERROR_INIT;

	sample_luks(head);
	path_of(f, "north/odd.raw", path, sizeof(path));
	f->manifest.disks[0] = (ManifestDisk){ .pool = "disks",
					       .volume = "odd.raw",
					       .encryption = DISK_LUKS,
					       .key = { 1 },
					       .read_only = true,
					       .transfer = DISK_COPIED_SEALED,
					       .size_bytes = DISK_BYTES,
					       .stored_bytes = stored };
	assert_true(
		resources_resolve(f->resources, &f->manifest, "north.example", NULL, &vm, &err));
	write_disk(f, "north/odd.raw", "", 0);
	assert_false(resources_open_copy(f->resources, "north.example", 0, 0, &vm, &err));
	assert_int_equal(err.category, ERROR_DENIED);
	assert_false(resources_open_copy(f->resources, "north.example", 0, stored, &vm, &err));
	assert_int_equal(err.category, ERROR_CONFLICT);
	assert_int_equal(truncate(path, (off_t)stored), 0);
	if (!resources_open_copy(f->resources, "north.example", 0, stored, &vm, &err))
		fail_msg("%s", err.text);
	/* Nothing came; then it is there. */
	assert_false(resources_judge_copy(f->resources, "north.example", 0, &vm, &err));
	assert_int_equal(err.category, ERROR_DENIED);
	assert_int_equal(pwrite(vm.disks[0].fd, head, sizeof(head), 0), (ssize_t)sizeof(head));
	if (!resources_judge_copy(f->resources, "north.example", 0, &vm, &err))
		fail_msg("%s", err.text);
	/* A guest that may only read gets no more. */
	assert_int_equal(fcntl(vm.disks[0].fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	/* Another file in its place. */
	write_disk(f, "north/odd.raw", (const char *)head, sizeof(head));
	assert_int_equal(truncate(path, (off_t)stored), 0);
	assert_false(resources_judge_copy(f->resources, "north.example", 0, &vm, &err));
	assert_int_equal(err.category, ERROR_CONFLICT);
	assert_non_null(strstr(err.text, "is not the image that was copied to"));
}

static void test_each_domain_has_its_own(void **state)
{
	Fixture *f = *state;
	const char *volume = f->manifest.disks[0].volume;

	f->manifest.nics_count = 0;
	/* The pool of this name is another directory for this domain. */
	refuses(f, "east.example", ERROR_NOT_FOUND, "volume disks/vm1.raw: cannot open");
	strcpy(f->manifest.disks[0].volume, "secret.raw");
	assert_string_equal(volume, "secret.raw");
	resolves(f, "east.example");
	refuses(f, "north.example", ERROR_NOT_FOUND, "volume disks/secret.raw: cannot open");
	refuses(f, NULL, ERROR_NOT_FOUND, "volume disks/secret.raw");
	/* Not for this domain and not there at all read the same. */
	refuses(f, "west.example", ERROR_DENIED, "pool \"disks\" is not one for domain");
	strcpy(f->manifest.disks[0].pool, "none");
	refuses(f, "north.example", ERROR_DENIED, "pool \"none\" is not one for domain");
	refuses(f, NULL, ERROR_NOT_FOUND, "pool \"none\" is not one of this host");
}

static void test_networks(void **state)
{
	Fixture *f = *state;

	strcpy(f->manifest.nics[0].network, "wan");
	refuses(f, "north.example", ERROR_DENIED, "network \"wan\"");
	strcpy(f->manifest.nics[0].network, "lan");
	f->resources->networks[0].kind = NETWORK_BRIDGE;
	strcpy(f->resources->networks[0].bridge, "no-such-br");
	refuses(f, "north.example", ERROR_UNAVAILABLE, "there is no bridge no-such-br");
	strcpy(f->resources->networks[0].bridge, "lo");
	refuses(f, "north.example", ERROR_UNAVAILABLE, "lo is not a bridge");
}

static void test_volume_is_no_path(void **state)
{
	static const char *const names[] = { "../east/secret.raw",
					     "/etc/passwd",
					     "sub/x.raw",
					     "..",
					     ".hidden",
					     "-option",
					     "json:{}",
					     "a,b",
					     "",
					     "a\nb" };
	Fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		strcpy(f->manifest.disks[0].volume, names[i]);
		refuses(f, "north.example", ERROR_PEER, "volume");
	}
}

static void test_what_a_volume_may_not_be(void **state)
{
	Fixture *f = *state;
	char path[128], target[128];

	path_of(f, "north/link.raw", path, sizeof(path));
	assert_int_equal(symlink("../east/secret.raw", path), 0);
	strcpy(f->manifest.disks[0].volume, "link.raw");
	refuses(f, "north.example", ERROR_DENIED, "is a link");

	path_of(f, "north/fifo", path, sizeof(path));
	assert_int_equal(mkfifo(path, 0600), 0);
	strcpy(f->manifest.disks[0].volume, "fifo");
	refuses(f, "north.example", ERROR_DENIED, "neither a regular file nor a block device");

	path_of(f, "north/sub", path, sizeof(path));
	assert_int_equal(mkdir(path, 0700), 0);
	strcpy(f->manifest.disks[0].volume, "sub");
	refuses(f, "north.example", ERROR_IO, "Is a directory");

	write_disk(f, "north/planted.raw", "QFI\xfb", 4);
	strcpy(f->manifest.disks[0].volume, "planted.raw");
	refuses(f, "north.example", ERROR_DENIED, "planted image header");

	write_file(f, "north/odd.raw", "odd", 3);
	strcpy(f->manifest.disks[0].volume, "odd.raw");
	refuses(f, "north.example", ERROR_CONFLICT, "size of 3 bytes is no multiple of 512");

	/* The same file under two names. */
	path_of(f, "north/vm1.raw", target, sizeof(target));
	path_of(f, "north/hard.raw", path, sizeof(path));
	assert_int_equal(link(target, path), 0);
	strcpy(f->manifest.disks[0].volume, "vm1.raw");
	f->manifest.disks[1] = f->manifest.disks[0];
	strcpy(f->manifest.disks[1].volume, "hard.raw");
	f->manifest.disks_count = 2;
	refuses(f, "north.example", ERROR_DENIED, "is the same as disks/vm1.raw");
}

static void test_size_must_agree(void **state)
{
	Fixture *f = *state;

	f->manifest.disks[0].size_bytes = DISK_BYTES + 512;
	refuses(f, "north.example", ERROR_CONFLICT, "1048576 bytes here, 1049088 in the manifest");
	f->manifest.disks[0].size_bytes = DISK_BYTES;
	f->manifest.disks[0].format = DISK_QCOW2;
	refuses(f, "north.example", ERROR_DENIED, "not a qcow2 image");
}

static void test_qcow2(void **state)
{
	Fixture *f = *state;
	uint8_t head[512] = "QFI\xfb";
	Error err = ERROR_INIT;

	store_be32(head + 4, 2);
	store_be32(head + 20, 16);
	store_be64(head + 24, 8 << 20);
	write_disk(f, "north/q.qcow2", (const char *)head, sizeof(head));
	f->manifest.disks[0] =
		(ManifestDisk){ .pool = "disks", .volume = "q.qcow2", .format = DISK_QCOW2 };
	assert_true(resources_complete(f->resources, &f->manifest, &err));
	assert_int_equal(f->manifest.disks[0].size_bytes, 8 << 20);
	resolves(f, "north.example");
	store_be64(head + 8, 256);
	store_be32(head + 16, 11);
	memcpy(head + 256, "/etc/shadow", 11);
	write_disk(f, "north/q.qcow2", (const char *)head, sizeof(head));
	refuses(f, "north.example", ERROR_DENIED, "qcow2 names a backing file");
	assert_false(resources_complete(f->resources, &f->manifest, &err));
}

static void test_luks(void **state)
{
	Fixture *f = *state;
	ManifestDisk *disk = &f->manifest.disks[0];
	uint8_t head[LUKS_HEADER_BYTES];
	char path[128];
	Error err = ERROR_INIT;

	sample_luks(head);
	write_disk(f, "north/q.qcow2", (const char *)head, sizeof(head));
	path_of(f, "north/q.qcow2", path, sizeof(path));
	*disk = (ManifestDisk){ .pool = "disks", .volume = "q.qcow2", .encryption = DISK_LUKS };
	disk->key[0] = 1;
	/* The header alone, its payload behind the end, or empty. */
	assert_false(resources_complete(f->resources, &f->manifest, &err));
	assert_non_null(strstr(err.text, "LUKS payload at 2068480, behind the end of 1048576"));
	assert_int_equal(truncate(path, SAMPLE_PAYLOAD), 0);
	assert_false(resources_complete(f->resources, &f->manifest, &err));
	assert_non_null(strstr(err.text, "size of 0 bytes"));
	assert_int_equal(truncate(path, SAMPLE_PAYLOAD + DISK_BYTES), 0);
	assert_true(resources_complete(f->resources, &f->manifest, &err));
	assert_int_equal(disk->size_bytes, DISK_BYTES);
	resolves(f, "north.example");
	/* Without it said, it is what a guest wrote: the size is another. */
	*disk = (ManifestDisk){ .pool = "disks", .volume = "q.qcow2", .size_bytes = DISK_BYTES };
	refuses(f, "north.example", ERROR_CONFLICT, "3117056 bytes here, 1048576 in the manifest");
	/* And what is plain is not opened as encrypted. */
	*disk = (ManifestDisk){
		.pool = "disks", .volume = "vm1.raw", .encryption = DISK_LUKS, .size_bytes = 512
	};
	disk->key[0] = 1;
	refuses(f, "north.example", ERROR_DENIED, "volume disks/vm1.raw: no LUKS header");
}

/* A sealed pool: encrypted and raw, and for VMs of this host's own users behind a storage daemon. */
static void test_sealed_pool(void **state)
{
	Fixture *f = *state;
	AUTO_RESOLVED_VM ResolvedVm vm = RESOLVED_VM_INIT;
	ManifestDisk *disk = &f->manifest.disks[0];
	uint8_t head[LUKS_HEADER_BYTES];
	uint64_t stored = 0;
	char path[128];
	Error err = ERROR_INIT;

	f->resources->pools[0].own = f->resources->pools[0].sealed = true;
	refuses(f, NULL, ERROR_DENIED, "volume disks/vm1.raw: pool \"disks\" is sealed");
	refuses(f, "north.example", ERROR_DENIED, "its disks are raw and encrypted");
	assert_false(resources_complete(f->resources, &f->manifest, &err));
	assert_int_equal(err.category, ERROR_DENIED);
	sample_luks(head);
	write_disk(f, "north/odd.raw", (const char *)head, sizeof(head));
	path_of(f, "north/odd.raw", path, sizeof(path));
	assert_int_equal(truncate(path, SAMPLE_PAYLOAD + DISK_BYTES), 0);
	*disk = (ManifestDisk){ .pool = "disks",
				.volume = "odd.raw",
				.encryption = DISK_LUKS,
				.key = { 1 },
				.size_bytes = DISK_BYTES };
	if (!resources_resolve(f->resources, &f->manifest, NULL, NULL, &vm, &err))
		fail_msg("%s", err.text);
	assert_true(vm.disks[0].served && vm.disks[0].fd >= 0);
	assert_int_equal(vm.disks[0].listen_fd, -1);
	assert_int_equal(vm.disks[0].hold_fd, -1);
	resolved_vm_close(&vm);
	if (!resources_resolve(f->resources, &f->manifest, "north.example", NULL, &vm, &err))
		fail_msg("%s", err.text);
	assert_false(vm.disks[0].served);
	assert_true(resources_stored_bytes(f->resources, disk, NULL, &stored, &err));
	assert_int_equal(stored, SAMPLE_PAYLOAD + DISK_BYTES);
	disk->volume[0] = 'x';
	assert_false(resources_stored_bytes(f->resources, disk, NULL, &stored, &err));
	assert_int_equal(err.category, ERROR_NOT_FOUND);
	disk->volume[0] = 'o';
	disk->format = DISK_QCOW2;
	refuses(f, "north.example", ERROR_DENIED, "its disks are raw and encrypted");
}

static void test_luks_in_qcow2(void **state)
{
	Fixture *f = *state;
	ManifestDisk *disk = &f->manifest.disks[0];
	uint8_t image[SAMPLE_LUKS_AT + LUKS_HEADER_BYTES] = { 0 };
	char path[128];
	Error err = ERROR_INIT;

	sample_qcow2_luks(image);
	sample_luks(image + SAMPLE_LUKS_AT);
	write_file(f, "north/q.qcow2", image, sizeof(image));
	path_of(f, "north/q.qcow2", path, sizeof(path));
	assert_int_equal(truncate(path, SAMPLE_LUKS_AT + SAMPLE_LUKS_AREA), 0);
	*disk = (ManifestDisk){
		.pool = "disks", .volume = "q.qcow2", .format = DISK_QCOW2, .encryption = DISK_LUKS
	};
	disk->key[0] = 1;
	if (!resources_complete(f->resources, &f->manifest, &err))
		fail_msg("%s", err.text);
	assert_int_equal(disk->size_bytes, 8 << 20);
	resolves(f, "north.example");
	/* Its LUKS header is judged where it lies. */
	store_be32(image + SAMPLE_LUKS_AT + LUKS_AT_SLOT + 4, UINT32_MAX);
	write_file(f, "north/q.qcow2", image, sizeof(image));
	assert_int_equal(truncate(path, SAMPLE_LUKS_AT + SAMPLE_LUKS_AREA), 0);
	refuses(f, "north.example", ERROR_DENIED, "wants 4294978511 iterations, at most 4194304");
	disk->encryption = DISK_PLAIN;
	disk->key[0] = 0;
	refuses(f, "north.example", ERROR_DENIED, "qcow2 is encrypted by its own header");
}

static void test_boot_files(void **state)
{
	Fixture *f = *state;
	ResolvedVm vm = RESOLVED_VM_INIT;
	LocalBoot local;
	Error err = ERROR_INIT;
	char path[128];

	f->manifest.kernel_sha256[0] ^= 1;
	refuses(f, "north.example", ERROR_NOT_FOUND,
		"kernel: no boot file here has SHA-256 bb7816bf");
	/* Found once it is there, whatever its name; not behind a link. */
	f->manifest.kernel_sha256[0] ^= 1;
	path_of(f, "boot/kernel", path, sizeof(path));
	write_file(f, "boot/kernel", "changed", 7);
	refuses(f, "north.example", ERROR_NOT_FOUND, "no boot file here");
	write_file(f, "north/odd.raw", "abc", 3);
	path_of(f, "boot/link", path, sizeof(path));
	assert_int_equal(symlink("../north/odd.raw", path), 0);
	refuses(f, "north.example", ERROR_NOT_FOUND, "no boot file here");
	write_file(f, "boot/other", "abc", 3);
	resolves(f, "north.example");

	path_of(f, "boot/kernel", path, sizeof(path));
	local = (LocalBoot){ .kernel_path = path };
	assert_false(resources_resolve(f->resources, &f->manifest, NULL, &local, &vm, &err));
	assert_non_null(strstr(err.text, "changed since its VM was described"));
	path_of(f, "boot/other", path, sizeof(path));
	assert_true(resources_resolve(f->resources, &f->manifest, NULL, &local, &vm, &err));
	resolved_vm_close(&vm);
	boot_files_free(f->resources->boot_files);
	f->resources->boot_files = NULL;
	refuses(f, "north.example", ERROR_NOT_FOUND, "this host has no boot directory");
}

static void test_cpu(void **state)
{
	Fixture *f = *state;

	strcpy(f->manifest.cpu, "help");
	refuses(f, "north.example", ERROR_DENIED, "cpu \"help\"");
	strcpy(f->manifest.cpu, "host");
	refuses(f, "north.example", ERROR_UNAVAILABLE, "needs KVM");
	f->resources->accel = ACCEL_KVM;
	resolves(f, "north.example");
}

static void test_user(void **state)
{
	Fixture *f = *state;
	Error err = ERROR_INIT;

	assert_true(resources_set_user(f->resources, "nobody", &err));
	assert_true(f->resources->user.set && f->resources->user.uid);
	assert_false(resources_set_user(f->resources, "root", &err));
	assert_false(resources_set_user(f->resources, "no such user", &err));
	assert_int_equal(err.category, ERROR_CONFIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_good_names, setup, teardown),
		cmocka_unit_test_setup_teardown(test_each_domain_has_its_own, setup, teardown),
		cmocka_unit_test_setup_teardown(test_networks, setup, teardown),
		cmocka_unit_test_setup_teardown(test_volume_is_no_path, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_a_volume_may_not_be, setup, teardown),
		cmocka_unit_test_setup_teardown(test_size_must_agree, setup, teardown),
		cmocka_unit_test_setup_teardown(test_qcow2, setup, teardown),
		cmocka_unit_test_setup_teardown(test_luks, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sealed_pool, setup, teardown),
		cmocka_unit_test_setup_teardown(test_luks_in_qcow2, setup, teardown),
		cmocka_unit_test_setup_teardown(test_boot_files, setup, teardown),
		cmocka_unit_test_setup_teardown(test_copied_disks, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sealed_copy, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cpu, setup, teardown),
		cmocka_unit_test_setup_teardown(test_user, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
