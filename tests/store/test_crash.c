/* SPDX-License-Identifier: Apache-2.0 */
/* Power cuts, kills and full disks: the store afterwards holds the old state or the new one. */
#include "tests/support/support.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "store/store.h"
#include "tests/store/records.h"

enum { ROUNDS = 4, FILE_MAX_BYTES = 4 << 20 };

static const char migration_key[] = "05050505050505050505050505050505";

typedef struct Fixture {
	TestFolder folder;
	char path[128];
	Error err;
} Fixture;

static int setup(void **state)
{
	Fixture *f = test_calloc(1, sizeof(*f));

	support_make_folder(&f->folder);
	support_path(&f->folder, "engine.db", f->path);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	Fixture *f = *state;

	support_remove_folder(&f->folder);
	test_free(f);
	return 0;
}

/* Round n of the journal: the record says epoch n, and so does its offer. */
static bool write_round(Store *store, uint8_t round, Error *err)
{
	StoredStatement stored = { .kind = STATEMENT_OFFER, .cms = &round, .cms_size = 1 };
	MigrationRecord record;

	sample_migration(5, &record);
	record.epoch = round;
	memset(stored.digest, round, sizeof(stored.digest));
	return store_journal(store, &record, &stored, err);
}

/* Which round the store at path holds, 0 for none; fails the test if it holds a mixture. */
static uint64_t read_round(const char *path)
{
	AUTO_BUFFER Buffer cms = BUFFER_INIT(16);
	uint8_t digest[DIGEST_SHA384_BYTES];
	MigrationRecord record;
	Error err = ERROR_INIT;
	AUTO_STORE Store *store = store_open(path, &err);

	if (!store)
		fail_msg("cannot reopen: %s", err.text);
	if (!store_get(store, STORE_MIGRATIONS, migration_key, &record, &err)) {
		assert_int_equal(err.category, ERROR_NOT_FOUND);
		return 0;
	}
	if (!store_statement(store, record.id, STATEMENT_OFFER, &cms, digest, &err))
		fail_msg("a record without its statement: %s", err.text);
	assert_int_equal(cms.used, 1);
	assert_int_equal(cms.data[0], record.epoch);
	assert_int_equal(digest[0], record.epoch);
	return record.epoch;
}

static void copy_file(const char *from, const char *to, size_t *ret_size)
{
	AUTO_BUFFER Buffer bytes = BUFFER_INIT(FILE_MAX_BYTES);
	Error err = ERROR_INIT;

	assert_works(file_read(from, FILE_MAX_BYTES, &bytes, &err), &err);
	assert_works(file_replace(to, bytes.data, bytes.used, 0600, &err), &err);
	*ret_size = bytes.used;
}

typedef struct Snapshot {
	char database[128], wal[128]; /* of the copy */
	Buffer database_bytes, wal_bytes;
} Snapshot;

/* What a power cut leaves while a store is open: its database file and write-ahead log. */
static void take_snapshot(Fixture *f, Snapshot *s)
{
	char wal[160];
	Store *store = store_open(f->path, &f->err);

	if (!store)
		fail_msg("%s", f->err.text);
	for (uint8_t round = 1; round <= ROUNDS; round++)
		assert_works(write_round(store, round, &f->err), &f->err);
	support_path(&f->folder, "cut.db", s->database);
	support_path(&f->folder, "cut.db-wal", s->wal);
	s->database_bytes = BUFFER_INIT(FILE_MAX_BYTES);
	s->wal_bytes = BUFFER_INIT(FILE_MAX_BYTES);
	snprintf(wal, sizeof(wal), "%s-wal", f->path);
	assert_works(file_read(f->path, FILE_MAX_BYTES, &s->database_bytes, &f->err), &f->err);
	assert_works(file_read(wal, FILE_MAX_BYTES, &s->wal_bytes, &f->err), &f->err);
	store_close(store);
}

static void restore(const Snapshot *s, size_t wal_size)
{
	Error err = ERROR_INIT;

	assert_works(file_replace(s->database, s->database_bytes.data, s->database_bytes.used, 0600,
				  &err),
		     &err);
	assert_works(file_replace(s->wal, s->wal_bytes.data, wal_size, 0600, &err), &err);
}

static void free_snapshot(Snapshot *s)
{
	buffer_clear(&s->database_bytes);
	buffer_clear(&s->wal_bytes);
}

/* Frames of the log are a page and 24 bytes; every edge of one and bytes around it are tried. */
static void a_log_cut_anywhere_holds_an_older_or_the_newest_round(void **state)
{
	Fixture *f = *state;
	Snapshot s;
	uint64_t last = 0;
	size_t rounds_seen = 0;

	take_snapshot(f, &s);
	assert_true(s.wal_bytes.used > 4096);
	for (size_t cut = 0; cut < s.wal_bytes.used; cut += cut % 4120 < 64 ? 8 : 509) {
		uint64_t round;

		restore(&s, cut);
		round = read_round(s.database);
		assert_in_range(round, 0, ROUNDS);
		/* More of the log never means less of the journal. */
		assert_true(round >= last);
		rounds_seen += round != last;
		last = round;
	}
	restore(&s, s.wal_bytes.used);
	assert_int_equal(read_round(s.database), ROUNDS);
	assert_true(rounds_seen >= ROUNDS - 1);
	free_snapshot(&s);
}

static void a_flipped_bit_in_the_log_never_gives_a_mixture(void **state)
{
	Fixture *f = *state;
	Snapshot s;

	take_snapshot(f, &s);
	for (size_t at = 0; at < s.wal_bytes.used; at += 401) {
		s.wal_bytes.data[at] ^= 0x10;
		restore(&s, s.wal_bytes.used);
		assert_in_range(read_round(s.database), 0, ROUNDS);
		s.wal_bytes.data[at] ^= 0x10;
	}
	free_snapshot(&s);
}

/* A database whose pages are gone is refused or says which rows are lost: it makes nothing up. */
static void a_cut_database_never_gives_garbage(void **state)
{
	Fixture *f = *state;
	Snapshot s;
	size_t whole, refused = 0;

	take_snapshot(f, &s); /* closing it moved the log into the database */
	copy_file(f->path, s.database, &whole);
	for (size_t cut = whole - 1; cut > 512; cut -= cut > 3000 ? 997 : 301) {
		MigrationRecord record = { 0 };
		Error err = ERROR_INIT;
		Store *store;

		(void)unlink(s.wal);
		copy_file(f->path, s.database, &whole);
		assert_int_equal(truncate(s.database, (off_t)cut), 0);
		store = store_open(s.database, &err);
		if (!store || !store_get(store, STORE_MIGRATIONS, migration_key, &record, &err)) {
			assert_true(err.text[0]);
			refused++;
		} else {
			assert_int_equal(record.epoch, ROUNDS);
		}
		store_close(store);
	}
	assert_true(refused > 0);
	free_snapshot(&s);
}

/* Reports each round on a pipe once the store has said that it is durable, until it is killed. */
static _Noreturn void write_until_killed(const char *path, int report)
{
	Error err = ERROR_INIT;
	Store *store = store_open(path, &err);

	for (uint8_t round = 1; store && round < 200; round++)
		if (!write_round(store, round, &err) || write(report, &round, 1) != 1)
			break;
	_exit(1);
}

static uint8_t run_and_kill(const char *path, uint8_t kill_at)
{
	uint8_t round = 0, more;
	int ends[2], status;
	pid_t pid;

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid)
		write_until_killed(path, ends[1]);
	close(ends[1]);
	while (round < kill_at)
		assert_int_equal(read(ends[0], &round, 1), 1);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	while (read(ends[0], &more, 1) == 1)
		round = more;
	close(ends[0]);
	return round;
}

static void what_was_reported_survives_a_kill(void **state)
{
	Fixture *f = *state;

	for (uint8_t kill_at = 1; kill_at < 20; kill_at = (uint8_t)(kill_at + 3)) {
		uint8_t reported = run_and_kill(f->path, kill_at);

		/* One more may have been written and not yet told. */
		assert_in_range(read_round(f->path), reported, reported + 1);
	}
}

typedef struct FullDisk {
	const char *path;
	int report;
} FullDisk;

/* Writes rounds until the limit on file sizes stops it; then the last good one must be readable in
 * the same process, and each further try must fail the same way. */
static bool fill_up(void *context)
{
	const FullDisk *full = context;
	struct rlimit limit;
	Error err = ERROR_INIT;
	Store *store = store_open(full->path, &err);
	MigrationRecord record;
	uint8_t round = 0;

	signal(SIGXFSZ, SIG_IGN);
	if (!store || getrlimit(RLIMIT_FSIZE, &limit))
		return false;
	limit.rlim_cur = 200000;
	if (setrlimit(RLIMIT_FSIZE, &limit))
		return false;
	while (round < 250 && write_round(store, (uint8_t)(round + 1), &err))
		round++;
	if (round == 250 || !round || err.category != ERROR_IO)
		return false;
	err = ERROR_INIT;
	if (write_round(store, (uint8_t)(round + 1), &err) || err.category != ERROR_IO)
		return false;
	if (!store_get(store, STORE_MIGRATIONS, migration_key, &record, &err) ||
	    record.epoch != round)
		return false;
	if (write(full->report, &round, 1) != 1)
		return false;
	store_close(store);
	return true;
}

static void a_full_disk_keeps_the_last_good_round(void **state)
{
	Fixture *f = *state;
	FullDisk full = { .path = f->path };
	uint8_t round = 0;
	int ends[2];

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	full.report = ends[1];
	assert_true(support_in_child(fill_up, &full));
	assert_int_equal(read(ends[0], &round, 1), 1);
	close(ends[0]);
	close(ends[1]);
	assert_int_equal(read_round(f->path), round);
}

static bool no_room_at_all(void *context)
{
	const struct rlimit limit = { 1000, 1000 };
	Error err = ERROR_INIT;

	signal(SIGXFSZ, SIG_IGN);
	return !setrlimit(RLIMIT_FSIZE, &limit) && !store_open(context, &err) &&
	       err.category == ERROR_IO;
}

static void a_disk_without_room_refuses_a_new_store(void **state)
{
	Fixture *f = *state;

	assert_true(support_in_child(no_room_at_all, f->path));
	assert_int_equal(read_round(f->path), 0);
}

#define STORE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORE_TEST(a_log_cut_anywhere_holds_an_older_or_the_newest_round),
		STORE_TEST(a_flipped_bit_in_the_log_never_gives_a_mixture),
		STORE_TEST(a_cut_database_never_gives_garbage),
		STORE_TEST(what_was_reported_survives_a_kill),
		STORE_TEST(a_full_disk_keeps_the_last_good_round),
		STORE_TEST(a_disk_without_room_refuses_a_new_store),
	};

	return cmocka_run_group_tests_name("store/crash", tests, NULL, NULL);
}
