/* SPDX-License-Identifier: Apache-2.0 */
/* Where a key's value is and where it is not: what a hypervisor gets, when that ends, and that
 * neither files, logs nor the memory of sealift-keyd show it afterwards. */
#include "tests/support/support.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "attempts.h"
#include "base/file.h"
#include "crypto/base64.h"
#include "keyd_fixture.h"
#include "programs/keyd/limits.h"
#include "programs/keyd/opened.h"
#include "programs/keyd/policy.h"

enum { FILE_MAX = 1 << 24 };

static int make_world(void **state)
{
	*state = keyd_world_new();
	keyd_start(*state);
	return 0;
}

static int drop_world(void **state)
{
	keyd_world_free(*state);
	return 0;
}

static void read_value(int fd, char text[KEY_PASSPHRASE_BYTES + 1])
{
	memset(text, 0, KEY_PASSPHRASE_BYTES + 1);
	assert_int_equal(pread(fd, text, KEY_PASSPHRASE_BYTES + 1, 0), KEY_PASSPHRASE_BYTES);
}

static bool is_wiped(int fd)
{
	static const char zeros[KEY_PASSPHRASE_BYTES];
	char text[KEY_PASSPHRASE_BYTES + 1];

	read_value(fd, text);
	return !memcmp(text, zeros, sizeof(zeros));
}

/* keyd works off one request after the other: once this is answered, all before it are done. */
static void wait_for_keyd(KeydWorld *world, const KeyRecord *key)
{
	(void)keyd_show(world, key, 0);
}

static void a_value_is_read_and_wiped(void **state)
{
	KeydWorld *world = *state;
	KeyRecord key = keyd_create(world, KEYD_VM, "vda");
	AUTO_FD int fd = keyd_open(world, &key);
	uint64_t subject = world->subject;
	AUTO_FD int other = keyd_open(world, &key);
	char text[KEY_PASSPHRASE_BYTES + 1], again[KEY_PASSPHRASE_BYTES + 1], words[64];

	read_value(fd, text);
	read_value(other, again);
	assert_int_equal(strlen(text), KEY_PASSPHRASE_BYTES);
	assert_string_equal(text, again);
	role_send(&world->keyd, KEYD_USED, subject, NULL, NULL);
	/* Said twice, or of what was never opened, it does no harm. */
	role_send(&world->keyd, KEYD_USED, subject, NULL, NULL);
	role_send(&world->keyd, KEYD_USED, 4711, NULL, NULL);
	wait_for_keyd(world, &key);
	assert_true(is_wiped(fd));
	assert_false(is_wiped(other));
	keyd_log_words(world, words, sizeof(words));
	assert_string_equal(words, "created opened opened");
	/* Nor does it stay open longer than who opened it. */
	keyd_stop(world);
	assert_true(is_wiped(other));
}

static void nobody_changes_what_was_opened(void **state)
{
	KeydWorld *world = *state;
	KeyRecord key = keyd_create(world, KEYD_VM, "vda");
	AUTO_FD int fd = keyd_open(world, &key);

	assert_int_equal(write(fd, "x", 1), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(ftruncate(fd, 0), -1);
	assert_int_equal(ftruncate(fd, 4096), -1);
	assert_ptr_equal(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
	assert_false(is_wiped(fd));
	keyd_stop(world);
}

static void a_key_opens_for_its_own_vm_only(void **state)
{
	KeydWorld *world = *state;
	KeyRecord key = keyd_create(world, KEYD_VM, "vda");
	KeydOpen good = keyd_opening(&key), open = good;
	char words[64];

	snprintf(open.vm, sizeof(open.vm), KEYD_OTHER);
	keyd_refused(world, KEYD_OPEN, &keyd_open_schema, &open, ERROR_DENIED, "of another VM");
	open = good;
	open.epoch = key.epoch - 1;
	keyd_refused(world, KEYD_OPEN, &keyd_open_schema, &open, ERROR_DENIED, "an older copy");
	keyd_log_words(world, words, sizeof(words));
	assert_string_equal(words, "created refused refused");
	/* A VM that has moved on since, and a retired key whose data is still there. */
	key.epoch++;
	close(keyd_open(world, &key));
	assert_int_equal(keyd_changed(world, &key, 0, KEYD_DEACTIVATE), 1);
	close(keyd_open(world, &key));
	keyd_stop(world);
}

/* --- where it is not --- */

static void assert_not_in(const char *path, const void *needle, size_t size)
{
	AUTO_BUFFER Buffer bytes = BUFFER_INIT(FILE_MAX);
	Error err = ERROR_INIT;

	if (access(path, F_OK))
		return;
	if (!file_read(path, FILE_MAX, &bytes, &err))
		fail_msg("%s", err.text);
	if (bytes.used && memmem(bytes.data, bytes.used, needle, size))
		fail_msg("the value stands in %s", path);
}

/* How often it stands in the process's memory, which only root may read. */
static size_t count_in_memory(pid_t pid, const void *needle, size_t size)
{
	char path[64], line[512];
	size_t found = 0;

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	AUTO_FILE FILE *maps = fopen(path, "re");
	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	AUTO_FD int memory = open(path, O_RDONLY | O_CLOEXEC);

	assert_true(maps && memory >= 0);
	while (fgets(line, sizeof(line), maps)) {
		unsigned long from, to;
		AUTO_FREE char *bytes = NULL;
		ssize_t got;

		if (sscanf(line, "%lx-%lx r", &from, &to) != 2 || to - from > FILE_MAX)
			continue;
		bytes = malloc(to - from);
		assert_non_null(bytes);
		got = pread(memory, bytes, to - from, (off_t)from);
		for (char *at = bytes; got > 0;) {
			at = memmem(at, (size_t)(got - (at - bytes)), needle, size);
			if (!at)
				break;
			found++;
			at++;
		}
	}
	return found;
}

/* A tracer (tests/sandbox/trace_calls.c) would stand in keyd's place. */
static bool can_look_inside(void)
{
	return geteuid() == 0 && !getenv("SEALIFT_TRACER");
}

static void a_value_stands_nowhere_else(void **state)
{
	KeydWorld *world = *state;
	KeyRecord key = keyd_create(world, KEYD_VM, "vda");
	AUTO_FD int fd = keyd_open(world, &key);
	AUTO_BUFFER Buffer raw = BUFFER_INIT(KEY_BYTES);
	char text[KEY_PASSPHRASE_BYTES + 1], path[160];
	Error err = ERROR_INIT;

	read_value(fd, text);
	assert_true(base64_decode(text, KEY_PASSPHRASE_BYTES, &raw, &err));
	assert_int_equal(raw.used, KEY_BYTES);
	/* That the search finds what is there. */
	if (can_look_inside())
		assert_int_not_equal(count_in_memory(world->keyd.pid, text, KEY_PASSPHRASE_BYTES),
				     0);
	role_send(&world->keyd, KEYD_USED, world->subject, NULL, NULL);
	(void)keyd_rotate(world, &key);
	if (can_look_inside()) {
		assert_int_equal(count_in_memory(world->keyd.pid, text, KEY_PASSPHRASE_BYTES), 0);
		assert_int_equal(count_in_memory(world->keyd.pid, raw.data, raw.used), 0);
	}
	snprintf(path, sizeof(path), "%s-journal", world->database);
	assert_not_in(path, raw.data, raw.used);
	keyd_stop(world);
	assert_not_in(world->database, raw.data, raw.used);
	assert_not_in(world->database, text, KEY_PASSPHRASE_BYTES);
	assert_not_in(world->log, raw.data, raw.used);
	assert_not_in(world->log, text, KEY_PASSPHRASE_BYTES);
}

/* --- time, without waiting for it --- */

static void what_is_open_for_too_long_is_wiped(void **state)
{
	static const char passphrase[] = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
	const int64_t start_us = 1000, life_us = INT64_C(1000000) * KEYD_OPEN_S;
	Error err = ERROR_INIT;
	AUTO_SECRET Secret *secret = secret_new_from(passphrase, KEY_PASSPHRASE_BYTES, &err);
	Opened opened = { 0 };
	AUTO_FD int first = opened_make(&opened, 1, secret, start_us, &err);
	AUTO_FD int second = opened_make(&opened, 2, secret, start_us + 5000000, &err);

	(void)state;
	assert_true(first >= 0 && second >= 0);
	assert_int_equal(opened_make(&opened, 2, secret, start_us, &err), -1);
	assert_int_equal(err.category, ERROR_CONFLICT);
	assert_int_equal(opened_expire(&opened, start_us + life_us - 2000), 3);
	assert_false(is_wiped(first));
	assert_int_equal(opened_expire(&opened, start_us + life_us), 5001);
	assert_true(is_wiped(first));
	assert_false(is_wiped(second));
	assert_int_equal(opened_expire(&opened, start_us + life_us + 5000000), -1);
	assert_true(is_wiped(second));
}

static void so_many_are_open_at_once(void **state)
{
	static const char passphrase[KEY_PASSPHRASE_BYTES] = "x";
	Error err = ERROR_INIT;
	AUTO_SECRET Secret *secret = secret_new_from(passphrase, sizeof(passphrase), &err);
	Opened opened = { 0 };

	(void)state;
	for (uint64_t i = 1; i <= KEYD_OPEN_MAX; i++)
		close(opened_make(&opened, i, secret, 0, &err));
	assert_int_equal(opened_make(&opened, 999, secret, 0, &err), -1);
	assert_int_equal(err.category, ERROR_LIMIT);
	opened_wipe(&opened, 7);
	close(opened_make(&opened, 999, secret, 0, &err));
	opened_wipe_all(&opened);
	assert_int_equal(opened_expire(&opened, 0), -1);
}

static int take(Limits *limits, LimitKind kind, const char *who, int64_t now_us, int most)
{
	Error err = ERROR_INIT;
	int taken = 0;

	while (taken < most && limits_take(limits, kind, who, now_us, &err))
		taken++;
	if (taken < most)
		assert_int_equal(err.category, ERROR_LIMIT);
	return taken;
}

static void shares_fill_with_time(void **state)
{
	Limits limits = { 0 };
	const int64_t start = 5000000, second = 1000000;

	(void)state;
	assert_int_equal(take(&limits, LIMITED_CHANGE, "a", start, 1000), LIMIT_KEY_CHANGES);
	assert_int_equal(take(&limits, LIMITED_CHANGE, "a", start + second, 1000),
			 LIMIT_KEY_CHANGES_S);
	assert_int_equal(take(&limits, LIMITED_CHANGE, "a", start + second + second / 2, 1000),
			 LIMIT_KEY_CHANGES_S / 2);
	assert_int_equal(take(&limits, LIMITED_READ, "a", start, 9999), LIMIT_KEY_READS_S);
	assert_int_equal(take(&limits, LIMITED_CHANGE, "a", start + 1000 * second, 1000),
			 LIMIT_KEY_CHANGES);
	/* A clock that went back gives nothing. */
	assert_int_equal(take(&limits, LIMITED_CHANGE, "a", start, 1000), 0);
}

static void names_that_are_made_up_gain_nothing(void **state)
{
	Limits limits = { 0 };
	int taken = 0, most = LIMIT_KEY_CALLER_FACTOR * LIMIT_KEY_CHANGES;
	char who[32];

	(void)state;
	for (int i = 0; i < 1000; i++) {
		snprintf(who, sizeof(who), "uid %d", i);
		taken += take(&limits, LIMITED_CHANGE, who, 1000000, 1000);
	}
	assert_int_equal(taken, most);
	/* More callers than are counted each: the others share. */
	limits = (Limits){ 0 };
	for (int i = 0; i < LIMIT_KEY_CALLERS; i++) {
		snprintf(who, sizeof(who), "uid %d", i);
		assert_int_equal(take(&limits, LIMITED_CHANGE, who, 1000000, 1), 1);
	}
	assert_int_equal(take(&limits, LIMITED_CHANGE, "one more", 1000000, 1000),
			 LIMIT_KEY_CHANGES);
	assert_int_equal(take(&limits, LIMITED_CHANGE, "another", 1000000, 1000), 0);
	assert_int_equal(take(&limits, LIMITED_CHANGE, "uid 0", 1000000, 1), 1);
}

/* --- what it may not do --- */

static void nothing_else_is_possible_inside(void **state)
{
	SandboxPolicy policy = keyd_policy;

	(void)state;
	/* The attempts have no store to stand in. */
	policy.directory_fd = 0;
	attempts_assert_refused(&policy);
}

/* What it is told to stand in, and nothing around it. */
static bool directory_is_all(void *context)
{
	const char *folder = context;
	const SandboxPolicy policy = {
		.role = "test", .nofile_max = 32, .directory_fd = 9, .file_bytes_max = 4096
	};
	const SandboxUser nobody = { .given = geteuid() == 0, .uid = 65534, .gid = 65534 };
	const int keep[] = { 9 };
	const uint32_t locks = UINT32_C(1) << SANDBOX_LANDLOCK | UINT32_C(1) << SANDBOX_EMPTY_ROOT;
	SandboxReport report;
	Error err = ERROR_INIT;
	int here = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC), file;

	if (here < 0 || dup2(here, 9) < 0 ||
	    !sandbox_enter(&policy, &nobody, keep, 1, &report, &err))
		return false;
	file = open("inside", O_RDWR | O_CREAT, 0600);
	return (report.active & locks) && file >= 0 && write(file, "x", 1) == 1 &&
	       !rename("inside", "renamed") && !unlink("renamed") && fcntl(9, F_GETFD) < 0 &&
	       open("/etc/passwd", O_RDONLY) < 0 && open("../root.key", O_RDONLY) < 0 &&
	       symlink("/etc/passwd", "out") < 0;
}

static void the_sandbox_has_one_directory(void **state)
{
	KeydWorld *world = *state;

	assert_true(support_in_child(directory_is_all, world->store));
	keyd_stop(world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define WITH(test) cmocka_unit_test_setup_teardown(test, make_world, drop_world)
		WITH(a_value_is_read_and_wiped),
		WITH(nobody_changes_what_was_opened),
		WITH(a_key_opens_for_its_own_vm_only),
		WITH(a_value_stands_nowhere_else),
		cmocka_unit_test(what_is_open_for_too_long_is_wiped),
		cmocka_unit_test(so_many_are_open_at_once),
		cmocka_unit_test(shares_fill_with_time),
		cmocka_unit_test(names_that_are_made_up_gain_nothing),
		cmocka_unit_test(nothing_else_is_possible_inside),
		WITH(the_sandbox_has_one_directory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
