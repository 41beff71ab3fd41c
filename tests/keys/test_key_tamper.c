/* SPDX-License-Identifier: Apache-2.0 */
/* What others do to the file: the log, the rows and the file itself. */
#include "tests/keys/store_fixture.h"

#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "crypto/digest.h"
#include "keys/key_store_transfers.h"

/* Keys 1..3: active; exporting and back; destroyed. Ten entries with a refusal at the end. */
static void fill(KeyFixture *f)
{
	KeyReason refused = { KEY_REFUSED, "spiffe://csp-b.example/host/h1", "no", 2000 };

	assert_works(sample_add(f->store, 1, KEY_PRE_ACTIVE, &f->err), &f->err);
	assert_works(sample_change(f->store, 1, KEY_ACTIVATED, KEY_ACTIVE, &f->err), &f->err);
	assert_works(sample_lead(f->store, 2, KEY_EXPORTING, &f->err), &f->err);
	assert_works(sample_change(f->store, 2, KEY_RETURNED, KEY_ACTIVE, &f->err), &f->err);
	assert_works(sample_lead(f->store, 3, KEY_DESTROYED, &f->err), &f->err);
	assert_works(sample_add(f->store, 4, KEY_IMPORTED, &f->err), &f->err);
	assert_works(key_store_note(f->store, NULL, &refused, &f->err), &f->err);
}
enum { ENTRIES = 10 };

static void expect_found(KeyFixture *f, const char *sql, const char *part)
{
	uint64_t entries;

	key_fixture_change(f, sql);
	key_fixture_open(f);
	assert_fails(key_store_verify(f->store, &entries, &f->err), ERROR_AUTH, part, &f->err);
}

static void expect_refused(KeyFixture *f, const char *sql, ErrorCategory category, const char *part)
{
	key_fixture_change(f, sql);
	assert_fails(key_store_open(f->path, f->root, &f->err), category, part, &f->err);
}

/* An auditor with SHA-384 alone can follow it: the chain is over the text as it is stored. */
static void the_log_is_a_chain(void **state)
{
	KeyFixture *f = *state;
	uint8_t chain[KEY_DIGEST_BYTES] = { 0 }, last[KEY_DIGEST_BYTES];
	sqlite3_stmt *statement;
	sqlite3 *database;
	uint64_t entries;
	size_t seen = 0;

	fill(f);
	key_store_head(f->store, &entries, last);
	assert_works(key_store_verify(f->store, &entries, &f->err), &f->err);
	assert_int_equal(entries, ENTRIES);
	key_fixture_close(f);
	assert_int_equal(sqlite3_open(f->path, &database), SQLITE_OK);
	assert_int_equal(sqlite3_prepare_v2(database,
					    "SELECT entry, chain FROM log ORDER BY number", -1,
					    &statement, NULL),
			 SQLITE_OK);
	while (sqlite3_step(statement) == SQLITE_ROW) {
		assert_works(digest_sha384_pair(
				     chain, sizeof(chain), sqlite3_column_text(statement, 0),
				     (size_t)sqlite3_column_bytes(statement, 0), chain, &f->err),
			     &f->err);
		assert_memory_equal(sqlite3_column_blob(statement, 1), chain, sizeof(chain));
		seen++;
	}
	assert_int_equal(seen, ENTRIES);
	assert_memory_equal(chain, last, sizeof(chain));
	sqlite3_finalize(statement);
	sqlite3_close(database);
}

static void the_log_says_who_did_what(void **state)
{
	static const struct {
		KeyAction action;
		KeyState from, to;
		uint64_t row;
	} expected[ENTRIES] = {
		{ KEY_CREATED, KEY_PRE_ACTIVE, KEY_PRE_ACTIVE, 1 },
		{ KEY_ACTIVATED, KEY_PRE_ACTIVE, KEY_ACTIVE, 1 },
		{ KEY_CREATED, KEY_ACTIVE, KEY_ACTIVE, 2 },
		{ KEY_OFFERED, KEY_ACTIVE, KEY_EXPORTING, 2 },
		{ KEY_RETURNED, KEY_EXPORTING, KEY_ACTIVE, 2 },
		{ KEY_CREATED, KEY_ACTIVE, KEY_ACTIVE, 3 },
		{ KEY_OFFERED, KEY_ACTIVE, KEY_EXPORTING, 3 },
		{ KEY_WIPED, KEY_EXPORTING, KEY_DESTROYED, 3 },
		{ KEY_RECEIVED, KEY_IMPORTED, KEY_IMPORTED, 4 },
		{ KEY_REFUSED, KEY_PRE_ACTIVE, KEY_PRE_ACTIVE, 0 },
	};
	KeyFixture *f = *state;
	KeyLogEntry entries[4];
	size_t count, seen = 0;

	fill(f);
	do {
		assert_works(key_store_log(f->store, seen + 1, entries, 4, &count, &f->err),
			     &f->err);
		for (size_t i = 0; i < count; i++, seen++) {
			assert_int_equal(entries[i].number, seen + 1);
			assert_int_equal(entries[i].action, expected[seen].action);
			assert_int_equal(entries[i].from, expected[seen].from);
			assert_int_equal(entries[i].to, expected[seen].to);
			assert_int_equal(entries[i].row, expected[seen].row);
			assert_int_equal(entries[i].key[1], expected[seen].row);
		}
	} while (count);
	assert_int_equal(seen, ENTRIES);
	assert_string_equal(entries[1].who, "spiffe://csp-b.example/host/h1");
	assert_works(key_store_log(f->store, UINT64_MAX, entries, 4, &count, &f->err), &f->err);
	assert_int_equal(count, 0);
}

static void entries_that_were_changed_are_found(void **state)
{
	KeyFixture *f = *state;

	fill(f);
	expect_found(
		f, "UPDATE log SET entry=replace(entry, 'for a test', 'for a rest') WHERE number=4",
		"log entry 4 or the one before was changed");
	expect_found(
		f,
		"UPDATE log SET entry=replace(entry, 'for a rest', 'for a test') WHERE number=4;"
		"UPDATE log SET chain=zeroblob(48) WHERE number=6",
		"log entry 6 or the one before was changed");
	expect_found(f, "UPDATE log SET entry=replace(entry, '{', '{ ') WHERE number=3",
		     "log entry 3 or the one before was changed");
	expect_found(f, "UPDATE log SET entry='{}' WHERE number=2",
		     "log entry 2: log entry: number is missing");
	expect_found(f, "UPDATE log SET chain=x'00' WHERE number=1",
		     "log entry 1: chain is not a blob");
}

static void entries_that_were_removed_or_moved_are_found(void **state)
{
	KeyFixture *f = *state;

	fill(f);
	expect_found(
		f,
		"UPDATE log SET number=100 WHERE number=4; UPDATE log SET number=4 WHERE number=5;"
		"UPDATE log SET number=5 WHERE number=100",
		"log entry 4: it says that it is entry 5");
	expect_found(f, "DELETE FROM log WHERE number=5", "log entry 4: it says");
	expect_found(f, "DELETE FROM log WHERE number=4",
		     "log entry 4 is missing: entry 6 stands in its place");
	expect_found(f, "DELETE FROM log WHERE number=1",
		     "log entry 1 is missing: entry 2 stands in its place");
}

static void a_log_without_its_end_is_refused(void **state)
{
	KeyFixture *f = *state;

	fill(f);
	expect_refused(f, "DELETE FROM log WHERE number=10", ERROR_AUTH,
		       "does not end with entry 10");
	expect_refused(f, "UPDATE head SET entries=9, chain=(SELECT chain FROM log WHERE number=9)",
		       ERROR_AUTH, "the log's head was changed");
	expect_refused(f, "UPDATE head SET mac=zeroblob(48)", ERROR_AUTH,
		       "the log's head was changed");
	expect_refused(f, "UPDATE head SET mac=x'00'", ERROR_AUTH, "mac is not a blob of 48 bytes");
	expect_refused(f, "DELETE FROM head", ERROR_AUTH, "the log's head was removed");
}

static void a_log_with_more_at_its_end_is_refused(void **state)
{
	KeyFixture *f = *state;

	fill(f);
	expect_refused(f, "INSERT INTO log SELECT 11, row, entry, chain FROM log WHERE number=10",
		       ERROR_AUTH, "does not end with entry 10");
}

/* The whole chain made anew, as somebody who knows all but the root key can. */
static void a_log_that_was_made_anew_is_refused(void **state)
{
	KeyFixture *f = *state;
	TestFolder folder;
	KeyFixture other = { .root = sample_root(9) };
	char sql[512];

	fill(f);
	support_make_folder(&folder);
	support_path(&folder, "other.db", other.path);
	key_fixture_open(&other);
	fill(&other);
	key_fixture_close(&other);
	snprintf(
		sql, sizeof(sql),
		"ATTACH '%s' AS other; DELETE FROM log; INSERT INTO log SELECT * FROM other.log; "
		"UPDATE head SET (entries, chain, mac) = (SELECT entries, chain, mac FROM other.head)",
		other.path);
	expect_refused(f, sql, ERROR_AUTH, "the log's head was changed");
	snprintf(sql, sizeof(sql),
		 "ATTACH '%s' AS other; UPDATE head SET log_key = (SELECT log_key FROM other.head)",
		 other.path);
	expect_refused(f, sql, ERROR_AUTH, "made with another root key");
	root_key_free(other.root);
	support_remove_folder(&folder);
}

static void expect_row_refused(KeyFixture *f, uint8_t number, const char *sql, const char *part)
{
	KeyRecord named, key;
	uint64_t entries;

	sample_key(number, KEY_ACTIVE, &named);
	key_fixture_change(f, sql);
	key_fixture_open(f);
	assert_fails(key_store_get(f->store, named.id, 0, &key, &f->err), ERROR_AUTH, part,
		     &f->err);
	assert_fails(key_store_value(f->store, &named, &f->err), ERROR_AUTH, part, &f->err);
	assert_fails(sample_change(f->store, number, KEY_RETIRED, KEY_DEACTIVATED, &f->err),
		     ERROR_AUTH, part, &f->err);
	assert_fails(key_store_verify(f->store, &entries, &f->err), ERROR_AUTH, part, &f->err);
}

static void records_that_were_changed_are_refused(void **state)
{
	KeyFixture *f = *state;

	fill(f);
	expect_row_refused(
		f, 3, "UPDATE keys SET record=replace(record, 'destroyed', 'active') WHERE row=3",
		"key a003000000000000000000000000"
		"0000, which is active, is not the one that log entry 8 left destroyed");
	expect_row_refused(
		f, 2, "UPDATE keys SET record=replace(record, 'csp-b.example', '') WHERE row=2",
		"is not the one that log entry 5 left active");
	expect_row_refused(f, 1, "UPDATE keys SET record='' WHERE row=1", "row 1: ");
	expect_row_refused(
		f, 1, "UPDATE keys SET record=(SELECT record FROM keys WHERE row=2) WHERE row=1",
		"row 1: its columns name another key");
}

/* The log's column is put elsewhere, so that an older entry is the last: the walk finds that. */
static void an_entry_that_is_hidden_from_its_key_is_found(void **state)
{
	KeyFixture *f = *state;

	fill(f);
	expect_found(f, "UPDATE log SET row=0 WHERE number=8",
		     "log entry 8: it says that it is entry 8 of row 3");
}

static void a_removed_or_added_row_is_found(void **state)
{
	KeyFixture *f = *state;

	fill(f);
	expect_found(f, "DELETE FROM keys WHERE row=4", "the record of row 4 was removed");
	expect_found(f, "DELETE FROM keys WHERE row=2", "the record of row 2 was removed");
}

static void a_row_without_a_log_is_found(void **state)
{
	KeyFixture *f = *state;

	fill(f);
	expect_found(f, "INSERT INTO keys SELECT 5, id, version, vm, record FROM keys WHERE row=1",
		     "no log entry says how key a001");
}

static void envelopes_that_were_changed_are_found(void **state)
{
	KeyFixture *f = *state;

	fill(f);
	expect_found(f, "UPDATE envelopes SET wrapped=zeroblob(40) WHERE row=1",
		     "row 1 is not destroyed but has no envelope");
	expect_found(
		f,
		"UPDATE envelopes SET (wrapped, sealed)=(SELECT wrapped, sealed FROM envelopes "
		"WHERE row=2) WHERE row=1",
		"key a0010000000000000000000000000000 version 1 does not open");
	expect_found(f, "DELETE FROM envelopes WHERE row=1", "row 1 lost its envelope");
}

static void an_envelope_too_many_is_found(void **state)
{
	KeyFixture *f = *state;

	fill(f);
	expect_found(f, "INSERT INTO envelopes VALUES(9, zeroblob(40), zeroblob(60))",
		     "5 envelopes for 4 keys");
	expect_found(f,
		     "DELETE FROM envelopes WHERE row=9;"
		     "UPDATE envelopes SET wrapped=randomblob(40) WHERE row=3",
		     "row 3 is destroyed but has an envelope");
}

/* A row with its envelope, as a backup has it from the time when the key was active. */
static void a_row_that_was_put_back_does_not_open(void **state)
{
	KeyFixture *f = *state;
	KeyEnvelope envelope;
	char sql[512], wrapped[2 * KEY_WRAPPED_BYTES + 1], sealed[2 * KEY_SEALED_BYTES + 1];
	KeyRecord key;
	AUTO_SECRET Secret *value = NULL;

	assert_works(sample_add(f->store, 1, KEY_ACTIVE, &f->err), &f->err);
	sample_envelope(f->store, 1, &envelope);
	assert_works(sample_change(f->store, 1, KEY_RETIRED, KEY_DEACTIVATED, &f->err), &f->err);
	assert_works(sample_change(f->store, 1, KEY_WIPED, KEY_DESTROYED, &f->err), &f->err);
	hex_encode(envelope.wrapped, KEY_WRAPPED_BYTES, wrapped);
	hex_encode(envelope.sealed, KEY_SEALED_BYTES, sealed);
	snprintf(sql, sizeof(sql), "UPDATE envelopes SET wrapped=x'%s', sealed=x'%s'", wrapped,
		 sealed);
	key_fixture_change(f, sql);
	key_fixture_open(f);
	sample_key(1, KEY_ACTIVE, &key);
	assert_fails(key_store_value(f->store, &key, &f->err), ERROR_CONFLICT, "is destroyed",
		     &f->err);
	key_fixture_change(f,
			   "UPDATE keys SET record=replace(replace(record, 'destroyed', 'active'), "
			   "'\"epoch\":5', '\"epoch\":3')");
	key_fixture_open(f);
	assert_fails(key_store_value(f->store, &key, &f->err), ERROR_AUTH,
		     "log entry 3 left destroyed", &f->err);
	/* The envelope itself is whole: it is the record and the log that stand before it. */
	value = key_unseal(f->root, &key, &envelope, &f->err);
	assert_non_null(value);
	key.state = KEY_DEACTIVATED;
	assert_fails(key_unseal(f->root, &key, &envelope, &f->err), ERROR_AUTH, "does not open",
		     &f->err);
}

/* --- the file --- */

static void the_root_key_must_be_the_same(void **state)
{
	KeyFixture *f = *state;
	AUTO_ROOT_KEY RootKey *other = sample_root(2);

	fill(f);
	key_fixture_close(f);
	assert_fails(key_store_open(f->path, other, &f->err), ERROR_AUTH,
		     "made with another root key", &f->err);
	key_fixture_open(f);
}

static void formats_of_others_are_refused(void **state)
{
	KeyFixture *f = *state;

	expect_refused(f, "PRAGMA user_version=3", ERROR_CONFIG, "format 3 is newer than 2");
	expect_refused(f, "PRAGMA user_version=2; PRAGMA application_id=7", ERROR_CONFIG,
		       "another program's");
	expect_refused(f, "PRAGMA application_id=0x534c6b79; CREATE TABLE more(x)", ERROR_CONFIG,
		       "its tables are not a key store's");
	key_fixture_change(f, "DROP TABLE more");
	key_fixture_open(f);
	expect_refused(f, "CREATE TRIGGER t AFTER UPDATE ON keys BEGIN SELECT 1; END", ERROR_CONFIG,
		       "its tables are not a key store's");
	expect_refused(f, "DROP TRIGGER t; DROP INDEX log_row", ERROR_CONFIG,
		       "its tables are not a key store's");
}

static void a_log_mode_of_others_is_left(void **state)
{
	KeyFixture *f = *state;
	char log[160];

	fill(f);
	key_fixture_change(f, "PRAGMA journal_mode=WAL");
	key_fixture_open(f);
	assert_works(sample_add(f->store, 9, KEY_ACTIVE, &f->err), &f->err);
	snprintf(log, sizeof(log), "%s-wal", f->path);
	assert_int_equal(access(log, F_OK), -1);
}

static void fill_transfer(KeyFixture *f)
{
	KeyReason reason = sample_reason(KEY_ATTESTED);
	TransferRecord record = { .migration = { 1 },
				  .vm = "8a6b0f9e-4c5d-4e1f-9a3b-2c7d6e5f4a3b",
				  .owner = "csp-a.example",
				  .epoch = 1,
				  .source = "csp-a.example",
				  .destination = "csp-b.example" };

	assert_works(key_store_begin(f->store, &f->err), &f->err);
	assert_works(key_store_note(f->store, NULL, &reason, &f->err), &f->err);
	assert_works(key_store_transfer_put(f->store, &record, &f->err), &f->err);
	assert_works(key_store_commit(f->store, &f->err), &f->err);
}

static void a_cut_file_is_refused(void **state)
{
	enum { PAGE = 4096 };
	KeyFixture *f = *state;
	struct stat status;
	AUTO_BUFFER Buffer whole = BUFFER_INIT(1 << 20);
	size_t refused = 0;
	uint64_t entries;

	fill(f);
	/* Or the last page would be an empty table's, which has nothing to lose. */
	fill_transfer(f);
	key_fixture_close(f);
	assert_works(file_read(f->path, 1 << 20, &whole, &f->err), &f->err);
	/* One byte is nothing to SQLite, and nothing is a new store: key_store.h. */
	for (size_t cut = whole.used - 1; cut > 1; cut = cut > PAGE ? cut - (PAGE - 1) : cut / 2) {
		Error err = ERROR_INIT;

		assert_works(file_replace(f->path, whole.data, cut, 0600, &f->err), &f->err);
		f->store = key_store_open(f->path, f->root, &err);
		/* SQLite reads what is missing of the last page as zeros. */
		if (f->store &&
		    (cut < whole.used - PAGE || key_store_verify(f->store, &entries, &err)))
			fail_msg("%zu of %zu bytes open", cut, whole.used);
		assert_true(err.category == ERROR_IO || err.category == ERROR_CONFIG ||
			    (f->store && err.category == ERROR_AUTH));
		assert_true(strlen(err.text) > 12);
		key_fixture_close(f);
		refused++;
	}
	assert_true(refused > 8);
	assert_int_equal(stat(f->path, &status), 0);
	assert_works(file_replace(f->path, whole.data, whole.used, 0600, &f->err), &f->err);
	key_fixture_open(f);
}

/* Whatever is flipped: it is refused or found, or lies where nothing is kept; a value never
 * changes. */
static void a_flipped_bit_never_gives_another_value(void **state)
{
	KeyFixture *f = *state;
	AUTO_BUFFER Buffer whole = BUFFER_INIT(1 << 20);
	AUTO_SECRET Secret *value = sample_value(1);
	size_t found = 0, unseen = 0;
	KeyRecord key;

	fill(f);
	key_fixture_close(f);
	sample_key(1, KEY_ACTIVE, &key);
	assert_works(file_read(f->path, 1 << 20, &whole, &f->err), &f->err);
	for (size_t at = 0; at < whole.used; at += at < 100 ? 3 : 211) {
		Error err = ERROR_INIT;
		uint64_t entries;
		bool ok;

		whole.data[at] ^= (uint8_t)(1 << (at % 8));
		assert_works(file_replace(f->path, whole.data, whole.used, 0600, &f->err), &f->err);
		f->store = key_store_open(f->path, f->root, &err);
		ok = f->store && key_store_verify(f->store, &entries, &err);
		if (ok) {
			AUTO_SECRET Secret *opened = key_store_value(f->store, &key, &err);

			assert_non_null(opened);
			assert_true(secret_equal(opened, value));
			assert_int_equal(entries, ENTRIES);
			unseen++;
		} else {
			assert_true(err.category != ERROR_NONE && err.category != ERROR_INTERNAL);
			found++;
		}
		key_fixture_close(f);
		whole.data[at] ^= (uint8_t)(1 << (at % 8));
	}
	assert_true(found > 30);
	assert_true(unseen > 30);
}

static void only_its_owner_may_use_it(void **state)
{
	KeyFixture *f = *state;
	struct stat status;
	char journal[160];

	fill(f);
	assert_int_equal(stat(f->path, &status), 0);
	assert_int_equal(status.st_mode & 07777, 0600);
	snprintf(journal, sizeof(journal), "%s-journal", f->path);
	assert_int_equal(stat(journal, &status), 0);
	assert_int_equal(status.st_mode & 07777, 0600);
	key_fixture_close(f);
	for (mode_t mode = 0601; mode <= 0640; mode += mode == 0604 ? 034 : 03) {
		assert_int_equal(chmod(f->path, mode), 0);
		assert_fails(key_store_open(f->path, f->root, &f->err), ERROR_CONFIG,
			     "others may use it", &f->err);
	}
	assert_int_equal(chmod(f->path, 0600), 0);
	if (!geteuid()) {
		assert_int_equal(chown(f->path, 12345, 0), 0);
		assert_fails(key_store_open(f->path, f->root, &f->err), ERROR_CONFIG,
			     "belongs to the user 12345, not to 0", &f->err);
		assert_int_equal(chown(f->path, 0, 0), 0);
	}
	key_fixture_open(f);
}

static bool read_only_is_refused(void *context)
{
	KeyFixture *f = context;
	Error err = ERROR_INIT;
	KeyStore *store;

	/* Root may write everything. */
	if (!geteuid() && seteuid(65534))
		return false;
	store = key_store_open(f->path, f->root, &err);
	return !store && err.category == ERROR_IO && strstr(err.text, "cannot be written");
}

static void a_file_that_cannot_be_written_is_refused(void **state)
{
	KeyFixture *f = *state;

	fill(f);
	key_fixture_close(f);
	assert_int_equal(chmod(f->path, 0400), 0);
	if (!geteuid()) {
		assert_int_equal(chown(f->path, 65534, 65534), 0);
		assert_int_equal(chown(f->folder.path, 65534, 65534), 0);
	}
	assert_true(support_in_child(read_only_is_refused, f));
}

static bool a_second_opener(void *context)
{
	KeyFixture *f = context;
	Error err = ERROR_INIT;
	AUTO_ROOT_KEY RootKey *root = sample_root(1);
	KeyStore *store = key_store_open(f->path, root, &err);

	return !store && err.category == ERROR_CONFLICT &&
	       strstr(err.text, "another process holds it");
}

static void it_is_held_by_one(void **state)
{
	KeyFixture *f = *state;

	assert_true(support_in_child(a_second_opener, f));
	/* To look at it does not let go of it. */
	assert_true(a_second_opener(f));
	assert_true(support_in_child(a_second_opener, f));
	key_fixture_close(f);
	assert_false(support_in_child(a_second_opener, f));
}

static void what_is_no_file_of_ours_is_refused(void **state)
{
	KeyFixture *f = *state;
	char path[128], text[9000];

	key_fixture_close(f);
	support_path(&f->folder, "link.db", path);
	assert_int_equal(symlink(f->path, path), 0);
	assert_fails(key_store_open(path, f->root, &f->err), ERROR_CONFIG, "not a regular file",
		     &f->err);
	assert_fails(key_store_open(f->folder.path, f->root, &f->err), ERROR_CONFIG,
		     "not a regular file", &f->err);
	support_path(&f->folder, "none/keys.db", path);
	assert_fails(key_store_open(path, f->root, &f->err), ERROR_IO, "cannot create", &f->err);
	memset(text, 'x', sizeof(text));
	assert_works(file_replace(f->path, text, sizeof(text), 0600, &f->err), &f->err);
	assert_fails(key_store_open(f->path, f->root, &f->err), ERROR_IO, "not a database",
		     &f->err);
}

#define STORE_TEST(name)                                                                           \
	cmocka_unit_test_setup_teardown(name, key_fixture_setup, key_fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORE_TEST(the_log_is_a_chain),
		STORE_TEST(the_log_says_who_did_what),
		STORE_TEST(entries_that_were_changed_are_found),
		STORE_TEST(entries_that_were_removed_or_moved_are_found),
		STORE_TEST(a_log_without_its_end_is_refused),
		STORE_TEST(a_log_with_more_at_its_end_is_refused),
		STORE_TEST(a_log_that_was_made_anew_is_refused),
		STORE_TEST(records_that_were_changed_are_refused),
		STORE_TEST(an_entry_that_is_hidden_from_its_key_is_found),
		STORE_TEST(a_removed_or_added_row_is_found),
		STORE_TEST(a_row_without_a_log_is_found),
		STORE_TEST(envelopes_that_were_changed_are_found),
		STORE_TEST(an_envelope_too_many_is_found),
		STORE_TEST(a_row_that_was_put_back_does_not_open),
		STORE_TEST(the_root_key_must_be_the_same),
		STORE_TEST(formats_of_others_are_refused),
		STORE_TEST(a_log_mode_of_others_is_left),
		STORE_TEST(a_cut_file_is_refused),
		STORE_TEST(a_flipped_bit_never_gives_another_value),
		STORE_TEST(only_its_owner_may_use_it),
		STORE_TEST(a_file_that_cannot_be_written_is_refused),
		STORE_TEST(it_is_held_by_one),
		STORE_TEST(what_is_no_file_of_ours_is_refused),
	};

	return cmocka_run_group_tests_name("keys/tamper", tests, NULL, NULL);
}
