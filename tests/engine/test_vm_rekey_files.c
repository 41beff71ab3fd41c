/* SPDX-License-Identifier: Apache-2.0 */
/* The two images of a disk whose key is changed: which is which, whatever was lost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "engine/vm_rekey_files.h"

typedef struct Pool {
	Resources *resources;
	ManifestDisk disk;
	char directory[LIMIT_PATH];
} Pool;

static void path_in(const Pool *pool, const char *name, char ret_path[LIMIT_PATH])
{
	snprintf(ret_path, LIMIT_PATH, "%.80s/%.140s", pool->directory, name);
}

static void put(const Pool *pool, const char *name, const char *text)
{
	char path[LIMIT_PATH];
	AUTO_FD int fd = -1;

	path_in(pool, name, path);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

static void holds(const Pool *pool, const char *name, const char *text)
{
	char path[LIMIT_PATH], found[64] = "";
	AUTO_FD int fd = -1;

	path_in(pool, name, path);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_true(read(fd, found, sizeof(found) - 1) >= 0);
	assert_string_equal(found, text);
}

static int setup(void **state)
{
	Pool *pool = calloc(1, sizeof(*pool));

	pool->resources = calloc(1, sizeof(*pool->resources));
	snprintf(pool->directory, sizeof(pool->directory), "/tmp/sealift-rekey-test.XXXXXX");
	assert_non_null(mkdtemp(pool->directory));
	pool->resources->pools_count = 1;
	snprintf(pool->resources->pools[0].name, LIMIT_NAME, "p");
	snprintf(pool->resources->pools[0].directory, LIMIT_PATH, "%s", pool->directory);
	snprintf(pool->disk.pool, LIMIT_NAME, "p");
	snprintf(pool->disk.volume, LIMIT_NAME, "a.img");
	memset(pool->disk.key, 0xab, sizeof(pool->disk.key));
	pool->disk.size_bytes = 1 << 20;
	put(pool, "a.img", "old");
	*state = pool;
	return 0;
}

static int teardown(void **state)
{
	Pool *pool = *state;
	char path[LIMIT_PATH];
	RekeyFiles files;
	Error err = ERROR_INIT;

	for (int i = 0; i < 4; i++) {
		rekey_files_find(pool->resources, &pool->disk, &files);
		if (files.hidden[0])
			assert_true(rekey_files_remove(&files, &err));
	}
	path_in(pool, "a.img", path);
	unlink(path);
	/* Nothing else is left. */
	assert_int_equal(rmdir(pool->directory), 0);
	free(pool->resources);
	free(pool);
	return 0;
}

static RekeyFiles hide(const Pool *pool, uint64_t version, int *ret_fd)
{
	RekeyFiles files = { .pool = &pool->resources->pools[0], .version = version };
	char fresh[LIMIT_NAME];
	Error err = ERROR_INIT;

	rekey_files_fresh_name(&pool->disk, version, fresh);
	put(pool, fresh, "new");
	if (!rekey_files_hide(&files, &pool->disk, ret_fd, &err))
		fail_msg("%s", err.text);
	return files;
}

static RekeyFiles find(const Pool *pool)
{
	RekeyFiles files;

	rekey_files_find(pool->resources, &pool->disk, &files);
	return files;
}

static void test_each_place(void **state)
{
	Pool *pool = *state;
	AUTO_FD int fd = -1;
	RekeyFiles files;
	Error err = ERROR_INIT;

	assert_int_equal(find(pool).place, REKEY_NOTHING);
	assert_true(rekey_files_check(&pool->resources->pools[0], &pool->disk, &err));
	files = hide(pool, 7, &fd);
	assert_false(text_is(TEXT_NAME, files.hidden, 1));
	assert_int_equal(find(pool).place, REKEY_BEFORE);
	assert_int_equal(find(pool).version, 7);
	assert_true(rekey_files_exchange(&files, &pool->disk, fd, &err));
	holds(pool, "a.img", "new");
	holds(pool, files.hidden, "old");
	assert_int_equal(find(pool).place, REKEY_EXCHANGED);
	/* And back. */
	assert_true(rekey_files_exchange(&files, &pool->disk, -1, &err));
	holds(pool, "a.img", "old");
	assert_int_equal(find(pool).place, REKEY_BEFORE);
	assert_true(rekey_files_exchange(&files, &pool->disk, -1, &err));
	assert_true(rekey_files_remove(&files, &err));
	holds(pool, "a.img", "new");
	assert_int_equal(find(pool).place, REKEY_NOTHING);
}

/* A volume that somebody replaced: nothing is concluded. */
static void test_unclear(void **state)
{
	Pool *pool = *state;
	AUTO_FD int fd = -1;
	RekeyFiles files = hide(pool, 2, &fd);
	Error err = ERROR_INIT;
	char from[LIMIT_PATH], to[LIMIT_PATH];

	assert_true(rekey_files_exchange(&files, &pool->disk, fd, &err));
	put(pool, "other", "restored");
	path_in(pool, "other", from);
	path_in(pool, "a.img", to);
	assert_int_equal(rename(from, to), 0);
	assert_int_equal(find(pool).place, REKEY_UNCLEAR);
}

/* What only looks like it is not taken for it. */
static void test_other_names(void **state)
{
	static const char *const names[] = {
		".sealift-rekey.abababababababababababababababab.1.x",
		".sealift-rekey.abababababababababababababababab.1.2.3",
		".sealift-rekey.abababababababababababababababab.01.2",
		".sealift-rekey.cdababababababababababababababab.1.2",
		".sealift-rekey.",
	};
	Pool *pool = *state;
	char path[LIMIT_PATH];

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		put(pool, names[i], "");
		assert_int_equal(find(pool).place, REKEY_NOTHING);
		path_in(pool, names[i], path);
		assert_int_equal(unlink(path), 0);
	}
	put(pool, ".sealift-rekey.abababababababababababababababab.1.2", "");
	assert_int_equal(find(pool).place, REKEY_UNCLEAR);
}

static void test_refused(void **state)
{
	Pool *pool = *state;
	const PoolResource *resource = &pool->resources->pools[0];
	ManifestDisk disk = pool->disk;
	const PoolResource *found = NULL;
	char path[LIMIT_PATH];
	Error err = ERROR_INIT;

	disk.size_bytes = UINT64_C(1) << 50;
	assert_false(rekey_files_check(resource, &disk, &err));
	assert_int_equal(err.category, ERROR_LIMIT);
	err = ERROR_INIT;
	assert_false(rekey_files_pool(pool->resources, &pool->disk, getpid(), &found, &err));
	assert_int_equal(err.category, ERROR_NOT_FOUND);
	path_in(pool, "a.img", path);
	{
		AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);

		assert_true(rekey_files_pool(pool->resources, &pool->disk, getpid(), &found, &err));
		assert_ptr_equal(found, resource);
	}
	assert_int_equal(unlink(path), 0);
	assert_int_equal(symlink("/dev/null", path), 0);
	err = ERROR_INIT;
	assert_false(rekey_files_check(resource, &pool->disk, &err));
	assert_int_equal(err.category, ERROR_CONFLICT);
}

/* Of this key, and with a version: nothing else, however alike. */
static void test_sweep(void **state)
{
	Pool *pool = *state;
	char fresh[2][LIMIT_NAME], other[4][LIMIT_NAME], path[LIMIT_PATH];
	ManifestDisk another = pool->disk;
	AUTO_FD int fd = -1;
	RekeyFiles files = hide(pool, 7, &fd);

	another.key[0] ^= 1;
	rekey_files_fresh_name(&pool->disk, 1, fresh[0]);
	rekey_files_fresh_name(&pool->disk, 12, fresh[1]);
	rekey_files_fresh_name(&another, 1, other[0]);
	snprintf(other[1], LIMIT_NAME, "%.50s.img", fresh[0]);
	snprintf(other[2], LIMIT_NAME, "%.*s", (int)strlen(fresh[0]) - 1, fresh[0]);
	snprintf(other[3], LIMIT_NAME, "x%.50s", fresh[0]);
	for (size_t i = 0; i < ARRAY_SIZE(fresh); i++)
		put(pool, fresh[i], "fresh");
	for (size_t i = 0; i < ARRAY_SIZE(other); i++)
		put(pool, other[i], "other");
	rekey_files_sweep(pool->resources, &pool->disk);
	for (size_t i = 0; i < ARRAY_SIZE(fresh); i++) {
		path_in(pool, fresh[i], path);
		assert_int_equal(access(path, F_OK), -1);
	}
	for (size_t i = 0; i < ARRAY_SIZE(other); i++) {
		holds(pool, other[i], "other");
		path_in(pool, other[i], path);
		assert_int_equal(unlink(path), 0);
	}
	holds(pool, "a.img", "old");
	holds(pool, files.hidden, "new");
	/* Of another pool. */
	snprintf(pool->resources->pools[0].name, LIMIT_NAME, "q");
	put(pool, fresh[0], "fresh");
	rekey_files_sweep(pool->resources, &pool->disk);
	holds(pool, fresh[0], "fresh");
	snprintf(pool->resources->pools[0].name, LIMIT_NAME, "p");
	rekey_files_sweep(pool->resources, &pool->disk);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_each_place, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unclear, setup, teardown),
		cmocka_unit_test_setup_teardown(test_other_names, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sweep, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
