/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/support.h"

#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "store/store.h"
#include "tests/store/records.h"

typedef struct Fixture {
	TestFolder folder;
	char path[128];
	Store *store;
	Error err;
} Fixture;

static void open_store(Fixture *f)
{
	f->err = ERROR_INIT;
	f->store = store_open(f->path, &f->err);
	if (!f->store)
		fail_msg("%s", f->err.text);
}

static void close_store(Fixture *f)
{
	store_close(f->store);
	f->store = NULL;
}

static int setup(void **state)
{
	Fixture *f = test_calloc(1, sizeof(*f));

	support_make_folder(&f->folder);
	support_path(&f->folder, "engine.db", f->path);
	open_store(f);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	Fixture *f = *state;

	store_close(f->store);
	support_remove_folder(&f->folder);
	test_free(f);
	return 0;
}

/* By hand, past the store: what another program or a broken disk may have left. */
static void change_database(Fixture *f, const char *sql)
{
	sqlite3 *database;

	close_store(f);
	assert_int_equal(sqlite3_open(f->path, &database), SQLITE_OK);
	if (sqlite3_exec(database, sql, NULL, NULL, NULL) != SQLITE_OK)
		fail_msg("%s: %s", sql, sqlite3_errmsg(database));
	assert_int_equal(sqlite3_close(database), SQLITE_OK);
}

static void expect_refused(Fixture *f, ErrorCategory category, const char *part)
{
	Error err = ERROR_INIT;

	close_store(f);
	assert_null(store_open(f->path, &err));
	support_check_error(&err, category, part, __FILE__, __LINE__);
}

static void what_was_put_is_there_after_reopening(void **state)
{
	Fixture *f = *state;
	VmRecord vm, again;

	sample_vm("vm1", &vm);
	assert_works(store_put(f->store, STORE_VMS, "vm1", &vm, &f->err), &f->err);
	close_store(f);
	open_store(f);
	memset(&again, 0xaa, sizeof(again));
	assert_works(store_get(f->store, STORE_VMS, "vm1", &again, &f->err), &f->err);
	assert_int_equal(again.epoch, 3);
	assert_int_equal(again.state, VM_RUNNING);
	assert_string_equal(again.manifest.disks[1].volume, "vm1-data");
	assert_int_equal(again.manifest.nics_count, 2);
}

static void put_replaces_and_tables_are_apart(void **state)
{
	Fixture *f = *state;
	HostRecord host;
	VmRecord vm;

	sample_host("a", &host);
	assert_works(store_put(f->store, STORE_HOSTS, "a", &host, &f->err), &f->err);
	host.port = 1;
	assert_works(store_put(f->store, STORE_HOSTS, "a", &host, &f->err), &f->err);
	assert_works(store_get(f->store, STORE_HOSTS, "a", &host, &f->err), &f->err);
	assert_int_equal(host.port, 1);
	assert_fails(store_get(f->store, STORE_VMS, "a", &vm, &f->err), ERROR_NOT_FOUND,
		     "no \"a\" in vms", &f->err);
}

static bool copy_end(void *context, const void *object, Error *err)
{
	(void)err;
	*(KeyEndRecord *)context = *(const KeyEndRecord *)object;
	return true;
}

static void ends_that_are_owed_are_there_after_reopening(void **state)
{
	static const char id[] = "ab010000000000000000000000000000";
	Fixture *f = *state;
	KeyEndRecord end = { .key = { 0xab, 1 }, .pool = "disks", .volume = "v.img", .why = "moved" };
	KeyEndRecord again;

	assert_works(store_put(f->store, STORE_KEY_ENDS, id, &end, &f->err), &f->err);
	close_store(f);
	open_store(f);
	memset(&again, 0xaa, sizeof(again));
	assert_works(store_each(f->store, STORE_KEY_ENDS, copy_end, &again, &f->err), &f->err);
	assert_memory_equal(again.key, end.key, sizeof(end.key));
	assert_string_equal(again.pool, "disks");
	assert_string_equal(again.volume, "v.img");
	assert_string_equal(again.why, "moved");
	assert_works(store_delete(f->store, STORE_KEY_ENDS, id, &f->err), &f->err);
	close_store(f);
	open_store(f);
	assert_fails(store_get(f->store, STORE_KEY_ENDS, id, &again, &f->err), ERROR_NOT_FOUND,
		     "key_ends", &f->err);
	end.why[0] = '\0';
	assert_fails(store_put(f->store, STORE_KEY_ENDS, id, &end, &f->err), ERROR_PEER, "why", &f->err);
}

/* A store of before there was that table gets it. */
static void an_older_store_gets_the_table_of_ends(void **state)
{
	Fixture *f = *state;
	const KeyEndRecord end = { .pool = "disks", .volume = "v.img", .why = "moved" };

	change_database(f, "DROP TABLE key_ends");
	open_store(f);
	assert_works(store_put(f->store, STORE_KEY_ENDS, "a", &end, &f->err), &f->err);
}

static void keys_are_data_not_sql(void **state)
{
	static const char hostile[] = "a'; DROP TABLE hosts; --";
	Fixture *f = *state;
	HostRecord host;

	sample_host("a", &host);
	assert_works(store_put(f->store, STORE_HOSTS, hostile, &host, &f->err), &f->err);
	assert_works(store_get(f->store, STORE_HOSTS, hostile, &host, &f->err), &f->err);
	assert_works(store_delete(f->store, STORE_HOSTS, hostile, &f->err), &f->err);
	assert_works(store_put(f->store, STORE_HOSTS, "b", &host, &f->err), &f->err);
}

static void delete_removes_once(void **state)
{
	Fixture *f = *state;
	HostRecord host;

	sample_host("a", &host);
	assert_fails(store_delete(f->store, STORE_HOSTS, "a", &f->err), ERROR_NOT_FOUND,
		     "no \"a\" in hosts", &f->err);
	assert_works(store_put(f->store, STORE_HOSTS, "a", &host, &f->err), &f->err);
	assert_works(store_delete(f->store, STORE_HOSTS, "a", &f->err), &f->err);
	assert_fails(store_get(f->store, STORE_HOSTS, "a", &host, &f->err), ERROR_NOT_FOUND,
		     "hosts", &f->err);
	assert_fails(store_delete(f->store, STORE_HOSTS, "a", &f->err), ERROR_NOT_FOUND, "hosts",
		     &f->err);
}

static void what_breaks_its_schema_is_not_stored(void **state)
{
	Fixture *f = *state;
	HostRecord host;

	sample_host("a", &host);
	assert_works(store_put(f->store, STORE_HOSTS, "a", &host, &f->err), &f->err);
	host.port = 65536;
	assert_fails(store_put(f->store, STORE_HOSTS, "a", &host, &f->err), ERROR_PEER,
		     "host: port is 65536, outside 1..65535", &f->err);
	assert_works(store_get(f->store, STORE_HOSTS, "a", &host, &f->err), &f->err);
	assert_int_equal(host.port, 7468);
}

typedef struct Walk {
	char names[64];
	size_t stop_after;
} Walk;

static bool visit(void *context, const void *object, Error *err)
{
	Walk *walk = context;
	const HostRecord *host = object;

	walk->names[strlen(walk->names)] = host->name[0];
	if (walk->stop_after && strlen(walk->names) == walk->stop_after)
		return error_set(err, ERROR_CANCELLED, "enough");
	return true;
}

static void each_walks_in_order_of_insertion(void **state)
{
	static const char *const names[] = { "c", "a", "b" };
	Fixture *f = *state;
	Walk all = { "", 0 }, some = { "", 2 }, none = { "", 0 };
	HostRecord host;

	assert_works(store_each(f->store, STORE_HOSTS, visit, &none, &f->err), &f->err);
	assert_string_equal(none.names, "");
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		sample_host(names[i], &host);
		assert_works(store_put(f->store, STORE_HOSTS, names[i], &host, &f->err), &f->err);
	}
	/* Replacing keeps the place. */
	sample_host("a", &host);
	assert_works(store_put(f->store, STORE_HOSTS, "a", &host, &f->err), &f->err);
	assert_works(store_each(f->store, STORE_HOSTS, visit, &all, &f->err), &f->err);
	assert_string_equal(all.names, "cab");
	assert_fails(store_each(f->store, STORE_HOSTS, visit, &some, &f->err), ERROR_CANCELLED,
		     "enough", &f->err);
	assert_string_equal(some.names, "ca");
}

static void rows_that_do_not_decode_are_errors(void **state)
{
	static const char *const bodies[] = {
		"",
		"{}",
		"{\"name\":\"a\"}",
		"null",
		"{\"name\":\"../x\",\"address\":\"1\",\"port\":1,\"id\":\"x\"}",
		"{\"name\":\"a\",\"address\":\"1\",\"port\":1,\"id\":\"x\",\"y\":1}"
	};
	Fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(bodies); i++) {
		char sql[256];
		HostRecord host;
		Walk walk = { "", 0 };

		snprintf(sql, sizeof(sql),
			 "INSERT OR REPLACE INTO hosts(key, body) VALUES('a', '%s')", bodies[i]);
		change_database(f, sql);
		open_store(f);
		assert_fails(store_get(f->store, STORE_HOSTS, "a", &host, &f->err), ERROR_IO,
			     "store: hosts \"a\": ", &f->err);
		assert_fails(store_each(f->store, STORE_HOSTS, visit, &walk, &f->err), ERROR_IO,
			     "store: hosts \"a\": ", &f->err);
		assert_string_equal(walk.names, "");
	}
}

static void the_journal_holds_record_and_statement(void **state)
{
	Fixture *f = *state;
	AUTO_BUFFER Buffer cms = BUFFER_INIT(LIMIT_STATEMENT);
	StoredStatement stored = { STATEMENT_COMMIT, (const uint8_t *)"signed", 6, { 0xd1 } };
	uint8_t digest[DIGEST_SHA384_BYTES];
	MigrationRecord record, again;
	const char *key = "05050505050505050505050505050505";

	sample_migration(5, &record);
	assert_works(store_journal(f->store, &record, NULL, &f->err), &f->err);
	assert_fails(store_statement(f->store, record.id, STATEMENT_COMMIT, &cms, digest, &f->err),
		     ERROR_NOT_FOUND, "no commit statement of migration 0505", &f->err);
	record.committed = true;
	assert_works(store_journal(f->store, &record, &stored, &f->err), &f->err);
	close_store(f);
	open_store(f);
	assert_works(store_get(f->store, STORE_MIGRATIONS, key, &again, &f->err), &f->err);
	assert_true(again.committed);
	assert_works(store_statement(f->store, record.id, STATEMENT_COMMIT, &cms, digest, &f->err),
		     &f->err);
	assert_int_equal(cms.used, 6);
	assert_memory_equal(cms.data, "signed", 6);
	assert_memory_equal(digest, stored.digest, sizeof(digest));
	assert_fails(store_statement(f->store, record.id, STATEMENT_READY, &cms, digest, &f->err),
		     ERROR_NOT_FOUND, "no ready statement", &f->err);
}

/* The statement cannot be written: then the record must not be either. */
static void the_journal_is_all_or_nothing(void **state)
{
	Fixture *f = *state;
	StoredStatement stored = { STATEMENT_COMMIT, (const uint8_t *)"signed", 6, { 0xd1 } };
	MigrationRecord record, again;
	const char *key = "05050505050505050505050505050505";

	sample_migration(5, &record);
	assert_works(store_journal(f->store, &record, NULL, &f->err), &f->err);
	change_database(f, "CREATE TRIGGER refuse BEFORE INSERT ON statements "
			   "BEGIN SELECT RAISE(ABORT, 'the disk is on strike'); END");
	open_store(f);
	record.committed = true;
	assert_fails(store_journal(f->store, &record, &stored, &f->err), ERROR_IO,
		     "the disk is on strike", &f->err);
	assert_works(store_get(f->store, STORE_MIGRATIONS, key, &again, &f->err), &f->err);
	assert_false(again.committed);
	/* No transaction is left open: the next one works. */
	assert_works(store_journal(f->store, &record, NULL, &f->err), &f->err);
	assert_works(store_get(f->store, STORE_MIGRATIONS, key, &again, &f->err), &f->err);
	assert_true(again.committed);
}

static void a_statement_is_seen_once(void **state)
{
	static const uint8_t one[MIGRATION_ID_BYTES] = { 1 }, two[MIGRATION_ID_BYTES] = { 2 };
	Fixture *f = *state;

	assert_works(store_see_once(f->store, one, 1000, 900, &f->err), &f->err);
	assert_works(store_see_once(f->store, two, 1000, 900, &f->err), &f->err);
	assert_fails(store_see_once(f->store, one, 2000, 901, &f->err), ERROR_CONFLICT, "a replay",
		     &f->err);
	close_store(f);
	open_store(f);
	assert_fails(store_see_once(f->store, two, 1000, 1000, &f->err), ERROR_CONFLICT, "a replay",
		     &f->err);
	/* Its time is over: its expiry alone refuses it from now on. */
	assert_works(store_see_once(f->store, one, 3000, 1001, &f->err), &f->err);
	assert_fails(store_see_once(f->store, one, 3000, 1001, &f->err), ERROR_CONFLICT, "a replay",
		     &f->err);
}

static void only_its_owner_can_read_it(void **state)
{
	Fixture *f = *state;
	struct stat status;
	HostRecord host;
	char wal[160];

	sample_host("a", &host);
	assert_works(store_put(f->store, STORE_HOSTS, "a", &host, &f->err), &f->err);
	assert_int_equal(stat(f->path, &status), 0);
	assert_int_equal(status.st_mode & 07777, 0600);
	snprintf(wal, sizeof(wal), "%s-wal", f->path);
	assert_int_equal(stat(wal, &status), 0);
	assert_int_equal(status.st_mode & 07777, 0600);
}

static void a_newer_format_is_refused(void **state)
{
	Fixture *f = *state;

	change_database(f, "PRAGMA user_version=2");
	expect_refused(f, ERROR_CONFIG, "format 2 is newer than 1");
	change_database(f, "PRAGMA user_version=1");
	open_store(f);
}

static bool second_opener(void *context)
{
	Error err = ERROR_INIT;
	Store *store = store_open(context, &err);

	return !store && err.category == ERROR_CONFLICT &&
	       strstr(err.text, "another process holds it");
}

static void a_second_process_is_refused(void **state)
{
	Fixture *f = *state;
	HostRecord host;

	assert_true(support_in_child(second_opener, f->path));
	sample_host("a", &host);
	assert_works(store_put(f->store, STORE_HOSTS, "a", &host, &f->err), &f->err);
	assert_true(support_in_child(second_opener, f->path));
	assert_works(store_get(f->store, STORE_HOSTS, "a", &host, &f->err), &f->err);
	close_store(f);
	assert_false(support_in_child(second_opener, f->path));
}

static void what_is_no_database_is_refused(void **state)
{
	Fixture *f = *state;
	char text[9000];

	memset(text, 'x', sizeof(text));
	close_store(f);
	assert_works(file_replace(f->path, text, sizeof(text), 0600, &f->err), &f->err);
	expect_refused(f, ERROR_IO, "store: ");
}

static void links_and_folders_are_refused(void **state)
{
	Fixture *f = *state;
	char link[128];
	Error err = ERROR_INIT;

	close_store(f);
	support_path(&f->folder, "link.db", link);
	assert_int_equal(symlink(f->path, link), 0);
	assert_null(store_open(link, &err));
	support_check_error(&err, ERROR_IO, "cannot open", __FILE__, __LINE__);
	assert_null(store_open(f->folder.path, &err));
	support_check_error(&err, ERROR_IO, "store: ", __FILE__, __LINE__);
	support_path(&f->folder, "none/engine.db", link);
	assert_null(store_open(link, &err));
	support_check_error(&err, ERROR_IO, "cannot open", __FILE__, __LINE__);
}

#define STORE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORE_TEST(what_was_put_is_there_after_reopening),
		STORE_TEST(put_replaces_and_tables_are_apart),
		STORE_TEST(ends_that_are_owed_are_there_after_reopening),
		STORE_TEST(an_older_store_gets_the_table_of_ends),
		STORE_TEST(keys_are_data_not_sql),
		STORE_TEST(delete_removes_once),
		STORE_TEST(what_breaks_its_schema_is_not_stored),
		STORE_TEST(each_walks_in_order_of_insertion),
		STORE_TEST(rows_that_do_not_decode_are_errors),
		STORE_TEST(the_journal_holds_record_and_statement),
		STORE_TEST(the_journal_is_all_or_nothing),
		STORE_TEST(a_statement_is_seen_once),
		STORE_TEST(only_its_owner_can_read_it),
		STORE_TEST(a_newer_format_is_refused),
		STORE_TEST(a_second_process_is_refused),
		STORE_TEST(what_is_no_database_is_refused),
		STORE_TEST(links_and_folders_are_refused),
	};

	return cmocka_run_group_tests_name("store/store", tests, NULL, NULL);
}
