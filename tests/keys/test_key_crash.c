/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The process is killed or the power fails at each write of a script: afterwards the store opens,
 * log and states agree, what was reported is there and at most one step more, and what was
 * destroyed or sealed anew is in no file.
 */
#include "tests/keys/store_fixture.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/keys/crash_vfs.h"

/* Every so many calls of the script one is the last: a sanitized process takes its time to fork. */
#ifdef __SANITIZE_ADDRESS__
enum { STRIDE = 9 };
#else
enum { STRIDE = 3 };
#endif

/* --- the script --- */

/* Each step is one transaction. */
typedef struct Step {
	uint8_t number;
	KeyAction action;
	KeyState to;
	bool with_next; /* together with the key after it, in one transaction */
} Step;
static const Step script[] = {
	{ 1, KEY_CREATED, KEY_PRE_ACTIVE, true },   { 3, KEY_CREATED, KEY_ACTIVE, true },
	{ 1, KEY_ACTIVATED, KEY_ACTIVE, true },	    { 1, KEY_OFFERED, KEY_EXPORTING, true },
	{ 1, KEY_WIPED, KEY_DESTROYED, true },	    { 3, KEY_OFFERED, KEY_EXPORTING, false },
	{ 3, KEY_RETURNED, KEY_ACTIVE, false },	    { 5, KEY_RECEIVED, KEY_IMPORTED, false },
	{ 5, KEY_DISCARDED, KEY_DESTROYED, false }, { 1, KEY_RECEIVED, KEY_IMPORTED, false },
	{ 3, KEY_RETIRED, KEY_DEACTIVATED, true },  { 3, KEY_WIPED, KEY_DESTROYED, false },
};
enum { STEPS = ARRAY_SIZE(script), ROWS = 6 };

static bool do_one(KeyStore *store, const Step *step, uint8_t number, Error *err)
{
	if (step->action == KEY_CREATED || step->action == KEY_RECEIVED)
		return sample_add(store, number, step->to, err);
	return sample_change(store, number, step->action, step->to, err);
}

static bool do_step(KeyStore *store, const Step *step, Error *err)
{
	if (!step->with_next)
		return do_one(store, step, step->number, err);
	if (!key_store_begin(store, err))
		return false;
	if (do_one(store, step, step->number, err) &&
	    do_one(store, step, (uint8_t)(step->number + 1), err))
		return key_store_commit(store, err);
	key_store_undo(store);
	return false;
}

static size_t entries_after(size_t steps)
{
	size_t entries = 0;

	for (size_t i = 0; i < steps; i++)
		entries += script[i].with_next ? 2 : 1;
	return entries;
}

/* --- the child that dies --- */

/* What it tells after each step that was reported to it as durable. */
typedef struct Told {
	KeyEnvelope envelopes[ROWS];
	uint64_t rows;
	bool ended; /* the script is over: nothing was left to crash at */
} Told;

static void tell(KeyStore *store, int report, bool ended)
{
	Told told = { .ended = ended };
	KeyRecord keys[ROWS];
	uint64_t cursor = 0;
	Error err = ERROR_INIT;
	size_t count = 0;

	if (!key_store_list(store, "", &cursor, keys, ROWS, &count, &err))
		_exit(3);
	for (told.rows = 0; told.rows < count; told.rows++)
		sample_envelope(store, told.rows + 1, &told.envelopes[told.rows]);
	if (write(report, &told, sizeof(told)) != (ssize_t)sizeof(told))
		_exit(4);
}

static _Noreturn void run_script(const char *path, CrashKind kind, size_t nth, int report)
{
	Error err = ERROR_INIT;
	RootKey *root = sample_root(1);
	KeyStore *store = NULL;

	if (crash_vfs_install(kind, nth, (uint32_t)nth))
		store = key_store_open(path, root, &err);
	for (size_t i = 0; store && i < STEPS; i++) {
		if (!do_step(store, &script[i], &err))
			_exit(2);
		tell(store, report, i + 1 == STEPS);
	}
	key_store_free(store);
	_exit(store ? 0 : 5);
}

typedef struct Run {
	Told told[STEPS];
	size_t steps;
	int status; /* of the child */
} Run;

static void run_child(const char *path, CrashKind kind, size_t nth, Run *ret_run)
{
	int ends[2];
	pid_t pid;

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid)
		run_script(path, kind, nth, ends[1]);
	close(ends[1]);
	ret_run->steps = 0;
	while (ret_run->steps < STEPS &&
	       read(ends[0], &ret_run->told[ret_run->steps], sizeof(Told)) == sizeof(Told))
		ret_run->steps++;
	close(ends[0]);
	assert_int_equal(waitpid(pid, &ret_run->status, 0), pid);
	assert_true(WIFEXITED(ret_run->status));
}

/* --- what must hold --- */

enum { FRAGMENT = 16 };

static bool is_kept(const KeyEnvelope *envelope)
{
	static const KeyEnvelope none;

	return memcmp(envelope, &none, sizeof(none)) != 0;
}

/* Of all that was told, what the last report does not have any more is in no file. */
static void expect_old_ones_gone(const KeyFixture *f, const Run *run, const char *when)
{
	const Told *last = run->steps ? &run->told[run->steps - 1] : NULL;

	for (size_t i = 0; i + 1 < run->steps; i++)
		for (size_t row = 0; row < run->told[i].rows; row++) {
			const KeyEnvelope *old = &run->told[i].envelopes[row];

			/* Looked at once: by the last report that has it. */
			if (!is_kept(old) || !memcmp(old, &last->envelopes[row], sizeof(*old)) ||
			    !memcmp(old, &run->told[i + 1].envelopes[row], sizeof(*old)))
				continue;
			if (count_in_files(&f->folder, old->wrapped, FRAGMENT) ||
			    count_in_files(&f->folder, old->sealed, FRAGMENT))
				fail_msg("step %zu left row %zu behind %s", i, row + 1, when);
		}
}

/*
 * Where nothing more was done, every envelope is the one that was told last. Where a step was done
 * and not told, because the end came between its commit and its wiping, what it replaced is wiped
 * now.
 */
static void compare_envelopes(KeyFixture *f, const Run *run, bool same)
{
	const Told *last = run->steps ? &run->told[run->steps - 1] : NULL;
	KeyEnvelope now;

	for (uint64_t row = 0; last && row < last->rows; row++) {
		const KeyEnvelope *old = &last->envelopes[row];

		sample_envelope(f->store, row + 1, &now);
		if (!memcmp(&now, old, sizeof(now)))
			continue;
		assert_false(same);
		if (is_kept(old) && (count_in_files(&f->folder, old->wrapped, FRAGMENT) ||
				     count_in_files(&f->folder, old->sealed, FRAGMENT)))
			fail_msg("the step after %zu left row %llu behind", run->steps,
				 (unsigned long long)row + 1);
	}
}

static void expect_whole(KeyFixture *f, const Run *run, size_t nth)
{
	uint64_t entries = 0;

	f->err = ERROR_INIT;
	f->store = key_store_open(f->path, f->root, &f->err);
	if (!f->store)
		fail_msg("call %zu: %s", nth, f->err.text);
	if (!key_store_verify(f->store, &entries, &f->err))
		fail_msg("call %zu: %s", nth, f->err.text);
	if (entries != entries_after(run->steps) &&
	    (run->steps == STEPS || entries != entries_after(run->steps + 1)))
		fail_msg("call %zu: %llu entries after %zu steps", nth, (unsigned long long)entries,
			 run->steps);
	expect_old_ones_gone(f, run, "after opening");
	compare_envelopes(f, run, entries == entries_after(run->steps));
	key_fixture_close(f);
}

/* And the rest of the script can be done. */
static void expect_alive(KeyFixture *f, const Run *run)
{
	uint64_t entries;
	uint8_t chain[KEY_DIGEST_BYTES];
	size_t next = run->steps;

	key_fixture_open(f);
	key_store_head(f->store, &entries, chain);
	next += entries != entries_after(next);
	for (; next < STEPS; next++)
		assert_works(do_step(f->store, &script[next], &f->err), &f->err);
	assert_works(key_store_verify(f->store, &entries, &f->err), &f->err);
	assert_int_equal(entries, entries_after(STEPS));
	key_fixture_close(f);
}

static void start_anew(KeyFixture *f)
{
	char journal[160];

	snprintf(journal, sizeof(journal), "%s-journal", f->path);
	(void)unlink(f->path);
	(void)unlink(journal);
}

static void crash_everywhere(KeyFixture *f, CrashKind kind, size_t stride)
{
	Run *run = test_calloc(1, sizeof(*run));
	bool seen[STEPS + 1] = { false };

	key_fixture_close(f);
	for (size_t nth = 1; nth < 5000; nth += stride) {
		start_anew(f);
		run_child(f->path, kind, nth, run);
		seen[run->steps] = true;
		expect_old_ones_gone(f, run, "before opening");
		expect_whole(f, run, nth);
		if (nth % 5 == 0)
			expect_alive(f, run);
		if (WEXITSTATUS(run->status) == 0)
			break;
	}
	/* It ended by the script's end, and had been interrupted within every step. */
	assert_int_equal(WEXITSTATUS(run->status), 0);
	for (size_t i = 0; i <= STEPS; i++)
		assert_true(seen[i]);
	test_free(run);
}

static void a_kill_at_any_write_leaves_a_whole_store(void **state)
{
	crash_everywhere(*state, CRASH_KILL, STRIDE);
}

static void a_torn_write_leaves_a_whole_store(void **state)
{
	crash_everywhere(*state, CRASH_TORN, STRIDE);
}

static void a_power_cut_at_any_write_leaves_a_whole_store(void **state)
{
	crash_everywhere(*state, CRASH_POWER, STRIDE - 1);
}

/* --- calls that fail --- */

/* In a process of its own: each step is tried until it is done; then all is as if nothing had been.
 */
static bool survive(const char *path, CrashKind kind, size_t nth, bool *ret_over)
{
	Error err = ERROR_INIT;
	RootKey *root = sample_root(1);
	CrashVfs *crash = crash_vfs_install(kind, nth, 0);
	KeyStore *store = key_store_open(path, root, &err);
	uint64_t entries = 0;

	if (!store && err.category == ERROR_IO)
		store = key_store_open(path, root, &err);
	for (size_t i = 0; store && i < STEPS; i++) {
		uint8_t chain[KEY_DIGEST_BYTES];

		err = ERROR_INIT;
		if (do_step(store, &script[i], &err))
			continue;
		if (err.category != ERROR_IO)
			return false;
		/* Not certain: the next that works knows, and the log says it. */
		key_store_free(store);
		err = ERROR_INIT;
		store = key_store_open(path, root, &err);
		if (!store)
			return false;
		key_store_head(store, &entries, chain);
		if (entries == entries_after(i) && !do_step(store, &script[i], &err))
			return false;
	}
	if (!store || !key_store_verify(store, &entries, &err) || entries != entries_after(STEPS))
		return false;
	*ret_over = crash_vfs_calls(crash) < nth;
	key_store_free(store);
	return true;
}

typedef struct Survivor {
	const char *path;
	size_t nth;
	int report;
} Survivor;

static bool survive_in_child(void *context)
{
	const Survivor *survivor = context;
	bool over = false;

	return survive(survivor->path, CRASH_FAIL, survivor->nth, &over) &&
	       write(survivor->report, &over, 1) == 1;
}

static void a_call_that_fails_is_an_error_and_no_more(void **state)
{
	KeyFixture *f = *state;
	bool over = false;
	int ends[2];

	key_fixture_close(f);
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	for (size_t nth = 1; nth < 5000 && !over; nth += STRIDE) {
		Survivor survivor = { f->path, nth, ends[1] };

		start_anew(f);
		if (!support_in_child(survive_in_child, &survivor))
			fail_msg("call %zu", nth);
		assert_int_equal(read(ends[0], &over, 1), 1);
	}
	assert_true(over);
	close(ends[0]);
	close(ends[1]);
}

/* The same store goes on, without being opened anew: it finds out itself what became of the commit.
 */
static bool go_on(void *context)
{
	const Survivor *survivor = context;
	Error err = ERROR_INIT;
	RootKey *root = sample_root(1);
	CrashVfs *crash = crash_vfs_install(CRASH_FAIL, survivor->nth, 0);
	KeyStore *store = key_store_open(survivor->path, root, &err);
	uint64_t entries = 0;
	bool over;

	for (uint8_t number = 1; store && number < 8; number++) {
		err = ERROR_INIT;
		if (sample_add(store, number, KEY_ACTIVE, &err))
			continue;
		if (err.category != ERROR_IO)
			return false;
		err = ERROR_INIT;
		if (!sample_add(store, number, KEY_ACTIVE, &err) && err.category != ERROR_CONFLICT)
			return false;
	}
	over = crash_vfs_calls(crash) < survivor->nth;
	err = ERROR_INIT;
	return (!store || (key_store_verify(store, &entries, &err) && entries == 7)) &&
	       write(survivor->report, &over, 1) == 1;
}

static void a_store_goes_on_after_a_failure(void **state)
{
	KeyFixture *f = *state;
	bool over = false;
	int ends[2];

	key_fixture_close(f);
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	for (size_t nth = 1; nth < 5000 && !over; nth += STRIDE - 1) {
		Survivor survivor = { f->path, nth, ends[1] };

		start_anew(f);
		if (!support_in_child(go_on, &survivor))
			fail_msg("call %zu", nth);
		assert_int_equal(read(ends[0], &over, 1), 1);
	}
	assert_true(over);
	close(ends[0]);
	close(ends[1]);
}

/* A disk that fills up for good: what is there stays readable, and can be read by the next too. */
static bool fill_up(void *context)
{
	const Survivor *survivor = context;
	const struct rlimit limit = { 200000, 200000 };
	Error err = ERROR_INIT;
	RootKey *root = sample_root(1);
	KeyStore *store = key_store_open(survivor->path, root, &err);
	uint8_t number = 0;
	KeyRecord named, key;

	signal(SIGXFSZ, SIG_IGN);
	if (!store || setrlimit(RLIMIT_FSIZE, &limit))
		return false;
	while (number < 250 && sample_add(store, (uint8_t)(number + 1), KEY_ACTIVE, &err))
		number++;
	if (number == 250 || !number || err.category != ERROR_IO)
		return false;
	for (int i = 0; i < 3; i++)
		if (sample_add(store, (uint8_t)(number + 1), KEY_ACTIVE, &err) ||
		    err.category != ERROR_IO)
			return false;
	sample_key(number, KEY_ACTIVE, &named);
	if (!key_store_get(store, named.id, 1, &key, &err))
		return false;
	/* Key material can be destroyed on a disk that is full. */
	if (!sample_change(store, 1, KEY_RETIRED, KEY_DEACTIVATED, &err))
		fprintf(stderr, "not on a full disk: %s\n", err.text);
	return write(survivor->report, &number, 1) == 1;
}

static void a_full_disk_keeps_what_is_there(void **state)
{
	KeyFixture *f = *state;
	Survivor survivor = { .path = f->path };
	uint64_t entries;
	uint8_t number = 0;
	int ends[2];

	key_fixture_close(f);
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	survivor.report = ends[1];
	assert_true(support_in_child(fill_up, &survivor));
	assert_int_equal(read(ends[0], &number, 1), 1);
	close(ends[0]);
	close(ends[1]);
	key_fixture_open(f);
	assert_works(key_store_verify(f->store, &entries, &f->err), &f->err);
	assert_true(entries >= number);
	assert_works(sample_add(f->store, (uint8_t)(number + 1), KEY_ACTIVE, &f->err), &f->err);
}

static bool no_room_at_all(void *context)
{
	const Survivor *survivor = context;
	const struct rlimit limit = { 1000, 1000 };
	Error err = ERROR_INIT;
	RootKey *root = sample_root(1);

	signal(SIGXFSZ, SIG_IGN);
	return !setrlimit(RLIMIT_FSIZE, &limit) && !key_store_open(survivor->path, root, &err) &&
	       err.category == ERROR_IO;
}

static void a_disk_without_room_refuses_a_new_store(void **state)
{
	KeyFixture *f = *state;
	Survivor survivor = { .path = f->path };

	key_fixture_close(f);
	start_anew(f);
	assert_true(support_in_child(no_room_at_all, &survivor));
	key_fixture_open(f);
}

#define STORE_TEST(name)                                                                           \
	cmocka_unit_test_setup_teardown(name, key_fixture_setup, key_fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORE_TEST(a_kill_at_any_write_leaves_a_whole_store),
		STORE_TEST(a_torn_write_leaves_a_whole_store),
		STORE_TEST(a_power_cut_at_any_write_leaves_a_whole_store),
		STORE_TEST(a_call_that_fails_is_an_error_and_no_more),
		STORE_TEST(a_store_goes_on_after_a_failure),
		STORE_TEST(a_full_disk_keeps_what_is_there),
		STORE_TEST(a_disk_without_room_refuses_a_new_store),
	};

	return cmocka_run_group_tests_name("keys/crash", tests, NULL, NULL);
}
