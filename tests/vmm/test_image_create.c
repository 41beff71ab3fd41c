/* SPDX-License-Identifier: Apache-2.0 */
/* Images made by the installed qemu-img, and by programs that stand in for a bad one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/file.h"
#include "vmm/disk_secret.h"
#include "vmm/image_create.h"

enum { SIZE = 8 << 20, DEADLINE_MS = 60000 };

static const char passphrase[] = "AbCdEfGhIjKlMnOpQrStUvWxYz0123456789+/AbCdE=";

/* The next call of fsync(2) but so many fails: -1 for none. */
static int good_syncs = -1;

int __real_fsync(int fd);
int __wrap_fsync(int fd);

int __wrap_fsync(int fd)
{
	if (good_syncs >= 0 && !good_syncs--) {
		errno = EIO;
		return -1;
	}
	return __real_fsync(fd);
}

typedef struct Fixture {
	char directory[64];
	struct event_base *base;
	Resources *resources;
	DiskSecret secret;
	ImageRequest request;
	ImageCreate *create;
	bool free_when_told, told, ok;
	Error err;
} Fixture;

static void path_of(const Fixture *f, const char *name, char *ret_path, size_t size)
{
	snprintf(ret_path, size, "%s/%s", f->directory, name);
}

static int setup(void **state)
{
	Fixture *f = calloc(1, sizeof(*f));
	AUTO_SECRET Secret *secret = secret_new_from(passphrase, DISK_SECRET_BYTES, &f->err);
	PoolResource *pool;

	snprintf(f->directory, sizeof(f->directory), "/tmp/sealift-image-test.XXXXXX");
	assert_non_null(mkdtemp(f->directory));
	/* A program in it is run as another user. */
	assert_int_equal(chmod(f->directory, 0755), 0);
	f->base = event_base_new();
	f->resources = calloc(1, sizeof(*f->resources));
	pool = &f->resources->pools[f->resources->pools_count++];
	snprintf(pool->name, sizeof(pool->name), "disks");
	snprintf(pool->directory, sizeof(pool->directory), "%s", f->directory);
	pool->access.local = true;
	if (!geteuid())
		assert_true(resources_set_user(f->resources, "nobody", &f->err));
	f->secret = DISK_SECRET_INIT;
	assert_true(disk_secret_make(secret, &f->secret, &f->err));
	f->request = (ImageRequest){ .resources = f->resources,
				     .pool = "disks",
				     .volume = "vm1",
				     .secret_fd = -1,
				     .size_bytes = SIZE,
				     .sparse = true,
				     .deadline_ms = DEADLINE_MS };
	*state = f;
	return 0;
}

/* Whatever a test did not expect makes the directory stay, which fails. */
static int teardown(void **state)
{
	Fixture *f = *state;
	char path[128];

	image_create_free(f->create);
	disk_secret_wipe(&f->secret);
	path_of(f, "vm1", path, sizeof(path));
	(void)unlink(path);
	path_of(f, "program", path, sizeof(path));
	(void)unlink(path);
	assert_int_equal(rmdir(f->directory), 0);
	event_base_free(f->base);
	free(f->resources);
	free(f);
	return 0;
}

static void on_done(void *context, const Error *err)
{
	Fixture *f = context;

	assert_false(f->told);
	f->told = true;
	f->ok = !err;
	f->err = err ? *err : ERROR_INIT;
	if (f->free_when_told) {
		image_create_free(f->create);
		f->create = NULL;
	}
}

static void begin(Fixture *f)
{
	Error err = ERROR_INIT;

	f->told = false;
	f->create = image_create_new(f->base, &f->request, on_done, f, &err);
	if (!f->create)
		fail_msg("%s", err.text);
}

static void finish(Fixture *f)
{
	int64_t deadline_us = clock_monotonic_us(&clock_system) + 2 * DEADLINE_MS * 1000;

	f->free_when_told = true;
	while (!f->told && clock_monotonic_us(&clock_system) < deadline_us)
		event_base_loop(f->base, EVLOOP_ONCE);
	assert_true(f->told);
}

static bool there(const Fixture *f, struct stat *ret_status)
{
	char path[128];

	path_of(f, "vm1", path, sizeof(path));
	return !stat(path, ret_status);
}

static void makes(Fixture *f)
{
	struct stat status;

	begin(f);
	finish(f);
	if (!f->ok)
		fail_msg("%s", f->err.text);
	assert_true(there(f, &status));
	assert_int_equal(status.st_mode & 07777, 0600);
	/* QEMU's user, which all VMs have, may not open it. */
	assert_int_equal(status.st_uid, geteuid());
	assert_int_equal(status.st_gid, getegid());
}

static void fails(Fixture *f, ErrorCategory category, const char *text)
{
	struct stat status;

	begin(f);
	finish(f);
	assert_false(f->ok);
	if (f->err.category != category || !strstr(f->err.text, text))
		fail_msg("%s", f->err.text);
	assert_false(there(f, &status));
}

static void refuses(Fixture *f, ErrorCategory category, const char *text)
{
	struct stat status;
	bool before = there(f, &status);
	Error err = ERROR_INIT;

	assert_null(image_create_new(f->base, &f->request, on_done, f, &err));
	if (err.category != category || !strstr(err.text, text))
		fail_msg("%s", err.text);
	assert_int_equal(there(f, &status), before);
}

static void test_raw(void **state)
{
	Fixture *f = *state;
	struct stat status;

	makes(f);
	assert_true(there(f, &status));
	assert_int_equal(status.st_size, SIZE);
	assert_true(status.st_blocks * 512 < SIZE);
	/* Never over one that is there. */
	refuses(f, ERROR_CONFLICT, "volume disks/vm1: is there already");
}

static void test_whole_qcow2(void **state)
{
	Fixture *f = *state;
	struct stat status;

	f->request.format = DISK_QCOW2;
	f->request.sparse = false;
	makes(f);
	assert_true(there(f, &status));
	assert_true(status.st_blocks * 512 >= SIZE);
}

/* Judged by image_probe and luks_header as a VM's start would: done says so. */
static void test_luks(void **state)
{
	Fixture *f = *state;
	struct stat status;

	f->request.encryption = DISK_LUKS;
	f->request.secret_fd = f->secret.fd;
	makes(f);
	assert_true(there(f, &status));
	assert_int_equal(status.st_size, SIZE + 4040 * 512);
}

static void test_whole_luks_in_qcow2(void **state)
{
	Fixture *f = *state;
	struct stat status;

	f->request.format = DISK_QCOW2;
	f->request.encryption = DISK_LUKS;
	f->request.secret_fd = f->secret.fd;
	f->request.sparse = false;
	makes(f);
	assert_true(there(f, &status));
	assert_true(status.st_blocks * 512 >= SIZE);
}

static void test_bad_requests(void **state)
{
	static const char *const names[] = { "",       ".",  "..",  ".x",      "a/b",
					     "/tmp/x", "-q", "a b", "json:{}", "a,size=1" };
	static const uint64_t sizes[] = { 0,
					  IMAGE_CREATE_MIN_BYTES - 512,
					  IMAGE_CREATE_MIN_BYTES + 1,
					  IMAGE_CREATE_MAX_BYTES + 512,
					  UINT64_MAX - 511,
					  UINT64_MAX };
	Fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		f->request.volume = names[i];
		refuses(f, ERROR_USAGE, "is no name");
	}
	f->request.volume = "vm1";
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		f->request.size_bytes = sizes[i];
		refuses(f, ERROR_USAGE, "or no multiple of 512");
	}
	f->request.size_bytes = IMAGE_CREATE_MAX_BYTES;
	f->request.sparse = false;
	refuses(f, ERROR_LIMIT, "bytes wanted");
	f->request.pool = "none";
	refuses(f, ERROR_NOT_FOUND, "pool \"none\"");
	f->request.pool = "disks";
	f->request.encryption = DISK_LUKS;
	refuses(f, ERROR_USAGE, "the secret is not in sealed memory");
	f->request.secret_fd = STDERR_FILENO;
	refuses(f, ERROR_USAGE, "the secret is not in sealed memory");
}

static void use_program(Fixture *f, const char *text)
{
	char path[128];
	Error err;

	path_of(f, "program", path, sizeof(path));
	assert_true(file_replace(path, text, strlen(text), 0755, &err));
	snprintf(f->resources->qemu_img_path, LIMIT_PATH, "%s", path);
}

static void test_programs_that_fail(void **state)
{
	Fixture *f = *state;

	snprintf(f->resources->qemu_img_path, LIMIT_PATH, "/nonexistent/qemu-img");
	refuses(f, ERROR_CONFIG, "cannot run /nonexistent/qemu-img");
	use_program(f, "#!/bin/sh\necho \"what $1\" >&2; echo more >&2; exit 3\n");
	fails(f, ERROR_HYPERVISOR, "volume disks/vm1: qemu-img ended with status 3: what create");
	/* It says that all is well. */
	use_program(f, "#!/bin/sh\nexit 0\n");
	fails(f, ERROR_CONFLICT, "size of 0 bytes");
	use_program(f, "#!/bin/sh\nprintf 'QFI\\373' > /proc/self/fd/3\n");
	fails(f, ERROR_DENIED, "planted image header");
	use_program(f, "#!/bin/sh\ntruncate -s 1M /proc/self/fd/3\n");
	fails(f, ERROR_HYPERVISOR, "made 1048576 bytes, not 8388608");
	use_program(f, "#!/bin/sh\nwhile :; do echo words words words >&2 || exit 7; done\n");
	f->request.deadline_ms = 300;
	fails(f, ERROR_TIMEOUT, "volume disks/vm1: qemu-img did not end in time");
}

/* It waits for a word, so that it cannot be done before it is limited. */
static void test_program_is_bounded(void **state)
{
	Fixture *f = *state;

	use_program(f, "#!/bin/sh\nwhile [ \"$(ulimit -f)\" = unlimited ]; do :; done\n"
		       "exec dd if=/dev/zero of=/proc/self/fd/3 bs=1M count=64 2>/dev/null\n");
	fails(f, ERROR_HYPERVISOR, "qemu-img ended with signal 25");
	use_program(f, "#!/bin/sh\nwhile [ \"$(ulimit -f)\" = unlimited ]; do :; done\n"
		       "echo $(ulimit -v) $(ulimit -t) $(ulimit -c) $(id -u) "
		       "$(grep -E '^(NoNewPrivs|CapEff)' /proc/self/status | tr -d '\\t\\n') >&2\n"
		       "exit 1\n");
	fails(f, ERROR_HYPERVISOR,
	      geteuid() ? "1048576 120 0 "
			: "1048576 120 0 65534 CapEff:0000000000000000NoNewPrivs:1");
}

/* While it is made, an image of QEMU's user lies where no other process of that user can come. */
static unsigned int count_fresh(const Fixture *f)
{
	DIR *directory = opendir(f->directory);
	const struct dirent *entry;
	unsigned int found = 0;
	struct stat status;

	while ((entry = readdir(directory))) {
		if (strncmp(entry->d_name, ".sealift-new.", 13))
			continue;
		assert_int_equal(fstatat(dirfd(directory), entry->d_name, &status, 0), 0);
		assert_int_equal(status.st_mode & 07777, 0700);
		assert_int_equal(status.st_uid, geteuid());
		found++;
	}
	closedir(directory);
	return found;
}

static void test_free_in_the_middle(void **state)
{
	Fixture *f = *state;
	struct stat status;

	use_program(f, "#!/bin/sh\nwhile :; do :; done\n");
	begin(f);
	assert_false(there(f, &status));
	assert_int_equal(count_fresh(f), 1);
	image_create_free(f->create);
	f->create = NULL;
	assert_false(there(f, &status));
	assert_false(f->told);
	image_create_free(NULL);
}

/* Made once, and read then; what is none is refused, and stays. */
static void test_mark(void **state)
{
	Fixture *f = *state;
	char path[128], first[RESOURCES_MARK], second[RESOURCES_MARK] = "";
	static const char *const bad[] = { "", "0123456789abcde", "0123456789abcdeg",
					   "0123456789abcdef0" };

	path_of(f, "mark", path, sizeof(path));
	assert_true(image_create_read_mark(path, first, &f->err));
	assert_int_equal(strspn(first, "0123456789abcdef"), RESOURCES_MARK - 1);
	assert_true(image_create_read_mark(path, second, &f->err));
	assert_string_equal(first, second);
	assert_int_equal(unlink(path), 0);
	assert_true(image_create_read_mark(path, second, &f->err));
	assert_string_not_equal(first, second);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		Error err = ERROR_INIT;

		assert_true(file_replace(path, bad[i], strlen(bad[i]), 0600, &f->err));
		assert_false(image_create_read_mark(path, second, &err));
	}
	assert_int_equal(unlink(path), 0);
}

static bool is_left(const Fixture *f, const char *name)
{
	char path[128];

	path_of(f, name, path, sizeof(path));
	return !access(path, F_OK);
}

static void leave(const Fixture *f, const char *name)
{
	char path[128], image[160];
	AUTO_FD int fd = -1;

	path_of(f, name, path, sizeof(path));
	assert_int_equal(mkdir(path, 0700), 0);
	snprintf(image, sizeof(image), "%s/image", path);
	fd = open(image, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
}

/* What an earlier life of this process began goes at once, what is of another one after an hour. */
static void test_sweep(void **state)
{
	static const char ours[] = ".sealift-new.00000000000000aa.abcdef",
			  theirs[] = ".sealift-new.00000000000000ab.abcdef",
			  old[] = ".sealift-new.abcdef";
	Fixture *f = *state;

	leave(f, ours);
	leave(f, theirs);
	leave(f, old);
	image_create_sweep(f->resources, clock_wall_s(&clock_system));
	assert_true(is_left(f, ours) && is_left(f, theirs) && is_left(f, old));
	snprintf(f->resources->mark, RESOURCES_MARK, "00000000000000aa");
	image_create_sweep(f->resources, clock_wall_s(&clock_system));
	assert_true(!is_left(f, ours) && is_left(f, theirs) && is_left(f, old));
	image_create_sweep(f->resources, clock_wall_s(&clock_system) + 3700);
	assert_false(is_left(f, theirs) || is_left(f, old));
	/* It is what a creation of ours has. */
	use_program(f, "#!/bin/sh\nwhile :; do :; done\n");
	begin(f);
	assert_int_equal(count_fresh(f), 1);
	image_create_sweep(f->resources, clock_wall_s(&clock_system));
	assert_int_equal(count_fresh(f), 0);
	image_create_free(f->create);
	f->create = NULL;
}

/* What somebody else makes meanwhile stays. */
static void test_name_taken_meanwhile(void **state)
{
	Fixture *f = *state;
	struct stat status;
	char path[128];
	Error err;

	begin(f);
	path_of(f, "vm1", path, sizeof(path));
	assert_true(file_replace(path, "other", 5, 0600, &err));
	finish(f);
	assert_false(f->ok);
	assert_int_equal(f->err.category, ERROR_CONFLICT);
	assert_true(there(f, &status));
	assert_int_equal(status.st_size, 5);
}

/* What is said to have failed is not there. */
/* For a peer's VM in what its domain may use, and taken back when the copy is given up. */
static void test_removed(void **state)
{
	Fixture *f = *state;
	PoolResource *pool = &f->resources->pools[0];
	struct stat made, other;
	char path[128];
	Error err = ERROR_INIT;

	pool->access.local = false;
	pool->access.domains_count = 1;
	snprintf(pool->access.domains[0], LIMIT_DOMAIN, "north.example");
	refuses(f, ERROR_NOT_FOUND, "pool \"disks\" is not one of this host");
	f->request.peer_domain = "east.example";
	refuses(f, ERROR_DENIED, "pool \"disks\" is not one for domain");
	f->request.peer_domain = "north.example";
	makes(f);
	assert_true(there(f, &made));
	assert_false(image_remove(f->resources, "east.example", "disks", "vm1", &made, &err));
	assert_int_equal(err.category, ERROR_DENIED);
	assert_false(image_remove(f->resources, "north.example", "disks", "../vm1", NULL, &err));
	assert_int_equal(err.category, ERROR_USAGE);
	other = made;
	other.st_ino++;
	assert_false(image_remove(f->resources, "north.example", "disks", "vm1", &other, &err));
	assert_int_equal(err.category, ERROR_CONFLICT);
	assert_true(there(f, &other));
	assert_true(image_remove(f->resources, "north.example", "disks", "vm1", &made, &err));
	assert_false(there(f, &other));
	/* Again, as after a restart; but never what is no image. */
	assert_true(image_remove(f->resources, "north.example", "disks", "vm1", NULL, &err));
	path_of(f, "vm1", path, sizeof(path));
	assert_int_equal(symlink("/dev/null", path), 0);
	assert_false(image_remove(f->resources, "north.example", "disks", "vm1", NULL, &err));
	assert_int_equal(err.category, ERROR_CONFLICT);
	assert_int_equal(unlink(path), 0);
	/* A power cut may not bring back what was told to be gone. */
	makes(f);
	good_syncs = 0;
	assert_false(image_remove(f->resources, "north.example", "disks", "vm1", NULL, &err));
	assert_int_equal(err.category, ERROR_IO);
	good_syncs = -1;
}

static void test_disks_that_fail(void **state)
{
	Fixture *f = *state;

	good_syncs = 0;
	fails(f, ERROR_IO, "cannot write it to the disk");
	good_syncs = 1;
	fails(f, ERROR_IO, "cannot write its name to the disk");
	assert_int_equal(good_syncs, -1);
	makes(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_raw, setup, teardown),
		cmocka_unit_test_setup_teardown(test_whole_qcow2, setup, teardown),
		cmocka_unit_test_setup_teardown(test_luks, setup, teardown),
		cmocka_unit_test_setup_teardown(test_whole_luks_in_qcow2, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_requests, setup, teardown),
		cmocka_unit_test_setup_teardown(test_programs_that_fail, setup, teardown),
		cmocka_unit_test_setup_teardown(test_program_is_bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(test_free_in_the_middle, setup, teardown),
		cmocka_unit_test_setup_teardown(test_mark, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sweep, setup, teardown),
		cmocka_unit_test_setup_teardown(test_name_taken_meanwhile, setup, teardown),
		cmocka_unit_test_setup_teardown(test_removed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_disks_that_fail, setup, teardown),
	};

	if (access(IMAGE_CREATE_PROGRAM, X_OK)) {
		fprintf(stderr, "skipped: needs %s\n", IMAGE_CREATE_PROGRAM);
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
