/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "vmm/disk_secret.h"

static const char passphrase[] = "AbCdEfGhIjKlMnOpQrStUvWxYz0123456789+/AbCdE=";
static_assert(sizeof(passphrase) == DISK_SECRET_BYTES + 1, "as base64 of 32 bytes");

static void make(DiskSecret *ret_secret)
{
	Error err = ERROR_INIT;
	AUTO_SECRET Secret *secret = secret_new_from(passphrase, DISK_SECRET_BYTES, &err);

	if (!secret || !disk_secret_make(secret, ret_secret, &err))
		fail_msg("%s", err.text);
}

static void test_only_its_maker_changes_it(void **state)
{
	AUTO_DISK_SECRET DiskSecret secret = DISK_SECRET_INIT;
	char path[64], text[DISK_SECRET_BYTES + 1] = "";
	struct stat status;
	Error err = ERROR_INIT;
	int fd;

	(void)state;
	make(&secret);
	assert_true(disk_secret_check(secret.fd, &err));
	assert_int_equal(pread(secret.fd, text, sizeof(text), 0), DISK_SECRET_BYTES);
	assert_string_equal(text, passphrase);
	assert_true(fcntl(secret.fd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(fstat(secret.fd, &status), 0);
	assert_int_equal(status.st_mode & 07777, 0444);

	assert_true(pwrite(secret.fd, "x", 1, 0) < 0 && errno == EPERM);
	assert_true(ftruncate(secret.fd, 0) < 0 && errno == EPERM);
	assert_ptr_equal(mmap(NULL, 44, PROT_READ | PROT_WRITE, MAP_SHARED, secret.fd, 0),
			 MAP_FAILED);
	assert_true(fcntl(secret.fd, F_ADD_SEALS, F_SEAL_WRITE) < 0);
	/* Opened anew, with root's right to open everything, it is as sealed. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", secret.fd);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd >= 0) {
		assert_true(pwrite(fd, "x", 1, 0) < 0 && errno == EPERM);
		close(fd);
	}
}

static void test_wiped_for_all_who_have_it(void **state)
{
	static const char zeros[DISK_SECRET_BYTES];
	DiskSecret secret = DISK_SECRET_INIT;
	char text[DISK_SECRET_BYTES + 1];
	Error err = ERROR_INIT;
	int copy;

	(void)state;
	make(&secret);
	copy = fcntl(secret.fd, F_DUPFD_CLOEXEC, 3);
	disk_secret_wipe(&secret);
	assert_int_equal(secret.fd, -1);
	assert_int_equal(pread(copy, text, sizeof(text), 0), DISK_SECRET_BYTES);
	assert_memory_equal(text, zeros, sizeof(zeros));
	assert_false(disk_secret_check(copy, &err));
	close(copy);
	disk_secret_wipe(&secret);
}

static void test_size(void **state)
{
	(void)state;
	for (size_t size = DISK_SECRET_BYTES - 1; size <= DISK_SECRET_BYTES + 1; size++) {
		DiskSecret secret = DISK_SECRET_INIT;
		Error err = ERROR_INIT;
		AUTO_SECRET Secret *text = secret_new(size, &err);

		assert_int_equal(disk_secret_make(text, &secret, &err), size == DISK_SECRET_BYTES);
		assert_int_equal(err.category,
				 size == DISK_SECRET_BYTES ? ERROR_NONE : ERROR_USAGE);
		disk_secret_wipe(&secret);
	}
}

static int memory(const char *text, size_t size, int seals)
{
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, size), size);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
	return fd;
}

static void test_what_is_no_secret(void **state)
{
	enum { ALL = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE };
	static const struct {
		const char *text;
		size_t size;
		int seals;
		const char *error; /* NULL: fine */
	} cases[] = {
		{ passphrase, 44, ALL, NULL },
		{ passphrase, 44, ALL | F_SEAL_SEAL, NULL },
		{ passphrase, 44, ALL & ~F_SEAL_SHRINK, "not in sealed memory" },
		{ passphrase, 44, ALL & ~F_SEAL_GROW, "not in sealed memory" },
		{ passphrase, 44, ALL & ~F_SEAL_FUTURE_WRITE, "not in sealed memory" },
		{ "", 0, ALL, "has 0 bytes, not 44" },
		{ passphrase, 45, ALL, "has 45 bytes" },
		{ passphrase, 43, ALL, "has 43 bytes" },
		{ "AbCdEfGhIjKlMnOpQrStUvWxYz0123456789+/AbCdE\n", 44, ALL, "no base64 text" },
		{ "AbCdEfGhIjKlMnOpQrStUvWxYz0123456789+/AbCdEF", 44, ALL, "no base64 text" },
		{ "AbCdEfGhIjKlMnOpQrStUvWxYz012345678\xff+/AbCdE=", 44, ALL, "no base64 text" },
	};
	Error err = ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		AUTO_FD int fd = memory(cases[i].text, cases[i].size, cases[i].seals);

		err = ERROR_INIT;
		assert_int_equal(disk_secret_check(fd, &err), !cases[i].error);
		if (cases[i].error && !strstr(err.text, cases[i].error))
			fail_msg("%zu: %s", i, err.text);
		/* Nothing of it is told. */
		assert_null(strstr(err.text, "AbCd"));
	}
	assert_false(disk_secret_check(-1, &err));
	assert_false(disk_secret_check(STDERR_FILENO, &err));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_only_its_maker_changes_it),
		cmocka_unit_test(test_wiped_for_all_who_have_it),
		cmocka_unit_test(test_size),
		cmocka_unit_test(test_what_is_no_secret),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
