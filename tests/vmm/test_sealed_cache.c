/* SPDX-License-Identifier: Apache-2.0 */
/* What is kept is found as it was, or not at all. */
#include "tests/support/support.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/sealed_cache.h"

static const uint8_t key[DIGEST_SHA256_SIZE] = { 0xab }, other[DIGEST_SHA256_SIZE] = { 0xcd };
static const char text[] = "what a twin says";

static int setup(void **state)
{
	TestFolder *folder = test_calloc(1, sizeof(*folder));

	support_make_folder(folder);
	*state = folder;
	return 0;
}

static int teardown(void **state)
{
	support_remove_folder(*state);
	test_free(*state);
	return 0;
}

static void keep(SealedCache *cache)
{
	Error err = ERROR_INIT;
	AUTO_FD int fd = sealed_memory_new(text, sizeof(text), &err);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, "x", 1, 0), -1);
	assert_int_equal(errno, EPERM);
	assert_works(sealed_cache_keep(cache, key, fd, &err), &err);
}

static bool finds(SealedCache *cache, size_t max_bytes)
{
	AUTO_FD int fd = sealed_cache_find(cache, key, max_bytes);
	char got[sizeof(text) + 1] = "";

	if (fd < 0)
		return false;
	assert_int_equal(pread(fd, got, sizeof(got), 0), sizeof(text));
	assert_memory_equal(got, text, sizeof(text));
	return true;
}

static void path_of(const TestFolder *folder, char path[160])
{
	snprintf(path, 160, "%s/twins/ab%062d", folder->path, 0);
}

static SealedCache *open_cache(const TestFolder *folder)
{
	char directory[96];
	Error err = ERROR_INIT;
	SealedCache *cache;

	snprintf(directory, sizeof(directory), "%s/twins", folder->path);
	cache = sealed_cache_new(directory, &err);
	assert_non_null(cache);
	return cache;
}

static void test_is_found_by_its_key(void **state)
{
	AUTO_SEALED_CACHE SealedCache *cache = open_cache(*state);
	AUTO_SEALED_CACHE SealedCache *next = open_cache(*state);
	char path[160];
	struct stat status;

	assert_false(finds(cache, sizeof(text)));
	keep(cache);
	assert_true(finds(cache, sizeof(text)));
	assert_true(finds(next, sizeof(text)));
	assert_int_equal(sealed_cache_find(cache, other, sizeof(text)), -1);
	path_of(*state, path);
	assert_int_equal(stat(path, &status), 0);
	assert_int_equal(status.st_mode & 07777, 0600);
	assert_int_equal(sealed_cache_find(NULL, key, sizeof(text)), -1);
}

static void test_a_damaged_or_too_long_file_is_removed(void **state)
{
	AUTO_SEALED_CACHE SealedCache *cache = open_cache(*state);
	char path[160];

	path_of(*state, path);
	for (off_t at = 0; at < 3; at++) {
		AUTO_SEALED_CACHE SealedCache *next = open_cache(*state);
		AUTO_FD int fd = -1;

		keep(cache);
		fd = open(path, O_RDWR | O_CLOEXEC);
		assert_true(fd >= 0);
		/* magic, digest, content */
		assert_int_equal(pwrite(fd, "?", 1, at * 20), 1);
		assert_false(finds(next, sizeof(text)));
		assert_int_equal(access(path, F_OK), -1);
	}
	keep(cache);

	AUTO_SEALED_CACHE SealedCache *small = open_cache(*state);

	assert_false(finds(small, sizeof(text) - 1));
	assert_int_equal(access(path, F_OK), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_is_found_by_its_key, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_damaged_or_too_long_file_is_removed, setup,
						teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
