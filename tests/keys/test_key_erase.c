/* SPDX-License-Identifier: Apache-2.0 */
/* What is gone is gone: from the files of the store, and from the memory of who used a value. */
#include "tests/keys/store_fixture.h"

#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/random.h"

/* --- files --- */

enum { FRAGMENT = 16, KEYS = 120 };

/* Any part of an envelope, by what begins and ends its two halves. */
static size_t count_fragments(KeyFixture *f, const KeyEnvelope *envelope)
{
	return count_in_files(&f->folder, envelope->wrapped, FRAGMENT) +
	       count_in_files(&f->folder, envelope->wrapped + KEY_WRAPPED_BYTES - FRAGMENT,
			      FRAGMENT) +
	       count_in_files(&f->folder, envelope->sealed, FRAGMENT) +
	       count_in_files(&f->folder, envelope->sealed + KEY_SEALED_BYTES - FRAGMENT, FRAGMENT);
}

static void expect_gone(KeyFixture *f, const KeyEnvelope *envelope, const char *when)
{
	size_t count = count_fragments(f, envelope);

	if (count)
		fail_msg("%zu parts of an envelope %s", count, when);
}

/* Without it the search could be blind: SQLite alone leaves the old bytes in its journal. */
static void the_search_finds_what_a_plain_database_leaves(void **state)
{
	static const char old[] = "bytes that were there before";
	KeyFixture *f = *state;
	sqlite3 *database;
	char path[128];

	support_path(&f->folder, "plain.db", path);
	assert_int_equal(sqlite3_open(path, &database), SQLITE_OK);
	assert_int_equal(
		sqlite3_exec(
			database,
			"PRAGMA secure_delete=ON; PRAGMA journal_mode=PERSIST;"
			"CREATE TABLE t(a); INSERT INTO t VALUES('bytes that were there before');"
			"UPDATE t SET a='other bytes, of the same size'",
			NULL, NULL, NULL),
		SQLITE_OK);
	assert_int_equal(count_in_files(&f->folder, old, sizeof(old) - 1), 1);
	sqlite3_close(database);
}

static void a_destroyed_envelope_is_nowhere(void **state)
{
	KeyFixture *f = *state;
	KeyEnvelope first, second;

	assert_works(sample_add(f->store, 1, KEY_ACTIVE, &f->err), &f->err);
	sample_envelope(f->store, 1, &first);
	assert_true(count_fragments(f, &first) >= 4);
	assert_works(sample_change(f->store, 1, KEY_RETIRED, KEY_DEACTIVATED, &f->err), &f->err);
	sample_envelope(f->store, 1, &second);
	expect_gone(f, &first, "after a change");
	assert_true(count_fragments(f, &second) >= 4);
	assert_works(sample_change(f->store, 1, KEY_WIPED, KEY_DESTROYED, &f->err), &f->err);
	expect_gone(f, &second, "after it was destroyed");
	key_fixture_close(f);
	expect_gone(f, &second, "after closing");
	key_fixture_open(f);
	expect_gone(f, &second, "after opening");
}

typedef struct Past {
	KeyEnvelope old[4 * KEYS];
	size_t count;
} Past;

/* So many that pages fill, split and are moved about; each in some state, in an order of its own.
 */
static void step(KeyFixture *f, Past *past, uint8_t number, KeyAction action, KeyState to)
{
	sample_envelope(f->store, number, &past->old[past->count++]);
	assert_works(sample_change(f->store, number, action, to, &f->err), &f->err);
}

static void none_of_many_leaves_a_trace(void **state)
{
	KeyFixture *f = *state;
	Past *past = test_calloc(1, sizeof(*past));
	KeyEnvelope alive;
	size_t done = 0;

	for (unsigned int i = 1; i <= KEYS; i++) {
		assert_works(sample_add(f->store, (uint8_t)i, KEY_ACTIVE, &f->err), &f->err);
		if (i % 3 == 0)
			step(f, past, (uint8_t)(i / 3), KEY_OFFERED, KEY_EXPORTING);
	}
	for (unsigned int i = 1; i <= KEYS; i++) {
		unsigned int number = 1 + i * 77 % KEYS;

		if (number <= KEYS / 3)
			step(f, past, (uint8_t)number, KEY_WIPED, KEY_DESTROYED), done++;
		else if (number % 2)
			step(f, past, (uint8_t)number, KEY_RETIRED, KEY_DEACTIVATED);
	}
	assert_int_equal(done, KEYS / 3);
	for (size_t i = 0; i < past->count; i++)
		expect_gone(f, &past->old[i], "of many");
	sample_envelope(f->store, KEYS, &alive);
	assert_true(count_fragments(f, &alive) >= 4);
	test_free(past);
}

/* What a batch that was undone sealed anew is wiped by the next change; what it had not is there.
 */
static void an_undone_batch_leaves_what_was(void **state)
{
	KeyFixture *f = *state;
	KeyEnvelope before, within, after;

	assert_works(sample_add(f->store, 1, KEY_ACTIVE, &f->err), &f->err);
	sample_envelope(f->store, 1, &before);
	assert_works(key_store_begin(f->store, &f->err), &f->err);
	assert_works(sample_change(f->store, 1, KEY_OFFERED, KEY_EXPORTING, &f->err), &f->err);
	sample_envelope(f->store, 1, &within);
	key_store_undo(f->store);
	sample_envelope(f->store, 1, &after);
	assert_memory_equal(&before, &after, sizeof(before));
	assert_works(sample_change(f->store, 1, KEY_RETIRED, KEY_DEACTIVATED, &f->err), &f->err);
	expect_gone(f, &before, "of before the batch");
	expect_gone(f, &within, "of the batch");
}

/* A value is never on disk as it is, nor the key that wraps it: only what they were made into. */
static void no_value_is_in_the_files(void **state)
{
	KeyFixture *f = *state;

	for (uint8_t i = 1; i <= 9; i++) {
		AUTO_SECRET Secret *value = sample_value(i);

		assert_works(sample_lead(f->store, i, KEY_EXPORTING, &f->err), &f->err);
		assert_int_equal(count_in_files(&f->folder, secret_peek(value), FRAGMENT), 0);
	}
}

/* --- memory --- */

/* The pattern is kept masked, so that the search does not find itself. */
enum { MASK = 0x5a };

typedef struct Needle {
	uint8_t masked[KEY_PASSPHRASE_BYTES];
	size_t size;
} Needle;

static Needle needle_of(const uint8_t *bytes, size_t size)
{
	Needle needle = { .size = size };

	for (size_t i = 0; i < size; i++)
		needle.masked[i] = bytes[i] ^ MASK;
	return needle;
}

static size_t count_in_range(const Needle *needle, const uint8_t *from, const uint8_t *to)
{
	uint8_t first = needle->masked[0] ^ MASK;
	size_t count = 0;

	while ((size_t)(to - from) >= needle->size) {
		const uint8_t *at = memchr(from, first, (size_t)(to - from) - needle->size + 1);
		size_t same = 0;

		if (!at)
			break;
		while (same < needle->size && (at[same] ^ MASK) == needle->masked[same])
			same++;
		count += same == needle->size;
		from = at + 1;
	}
	return count;
}

/* In all of this process's memory that can be written: heap, stack, secrets, libraries' data. */
static size_t count_in_memory(const Needle *needle)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512];
	size_t count = 0;

	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps)) {
		uintptr_t from, to;
		char mode[5];

		if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s", &from, &to, mode) == 3 &&
		    !strncmp(mode, "rw", 2))
			count += count_in_range(needle, (const uint8_t *)from, (const uint8_t *)to);
	}
	fclose(maps);
	return count;
}

/* The whole, its two halves and its text. */
static void expect_in_memory(const Needle needles[4], size_t values, size_t texts, const char *when)
{
	size_t found[4];

	for (size_t i = 0; i < 4; i++)
		found[i] = count_in_memory(&needles[i]);
	if (found[0] != values || found[1] != values || found[2] != values || found[3] != texts)
		fail_msg("%s: whole %zu, halves %zu and %zu, text %zu; not %zu and %zu", when,
			 found[0], found[1], found[2], found[3], values, texts);
}

static KeyRecord random_key(const Secret *value)
{
	Error err = ERROR_INIT;
	KeyRecord key;

	sample_key(1, KEY_ACTIVE, &key);
	assert_works(key_fingerprint(key.id, 1, value, key.fingerprint, &err), &err);
	return key;
}

static void all_uses(KeyFixture *f, const Needle needles[4], KeyRecord *key, Secret *value)
{
	KeyReason reason = sample_reason(KEY_CREATED);
	AUTO_SECRET Secret *opened = NULL, *text = NULL, *blob_key = NULL, *blob = NULL;

	assert_works(key_store_add(f->store, key, value, &reason, &f->err), &f->err);
	expect_in_memory(needles, 1, 0, "added");
	opened = key_store_value(f->store, key, &f->err);
	assert_non_null(opened);
	expect_in_memory(needles, 2, 0, "opened");
	secret_free(TAKE_PTR(opened));
	text = key_passphrase(value, &f->err);
	assert_non_null(text);
	expect_in_memory(needles, 1, 1, "as text");
	secret_free(TAKE_PTR(text));
	assert_works(sample_change(f->store, 1, KEY_OFFERED, KEY_EXPORTING, &f->err), &f->err);
	expect_in_memory(needles, 1, 0, "offered");
	assert_works(key_blob_seal(key, value, &blob_key, &blob, &f->err), &f->err);
	opened = key_blob_open(key, blob_key, blob, &f->err);
	assert_non_null(opened);
	expect_in_memory(needles, 2, 0, "from a blob");
	secret_free(TAKE_PTR(opened));
	assert_works(key_store_verify(f->store, &(uint64_t){ 0 }, &f->err), &f->err);
	expect_in_memory(needles, 1, 0, "verified");
}

static void a_value_is_in_memory_only_where_it_is_used(void **state)
{
	KeyFixture *f = *state;
	Secret *value = random_secret(KEY_BYTES, &f->err);
	Secret *text = value ? key_passphrase(value, &f->err) : NULL;
	KeyRecord key;
	Needle needles[4];

#ifdef __SANITIZE_ADDRESS__
	/* Its shadow memory takes longer to walk than anybody waits. */
	secret_free(text);
	secret_free(value);
	skip();
#endif
	assert_non_null(text);
	needles[0] = needle_of(secret_peek(value), KEY_BYTES);
	needles[1] = needle_of(secret_peek(value), KEY_BYTES / 2);
	needles[2] = needle_of(secret_peek(value) + KEY_BYTES / 2, KEY_BYTES / 2);
	needles[3] = needle_of(secret_peek(text), KEY_PASSPHRASE_BYTES);
	expect_in_memory(needles, 1, 1, "at first");
	secret_free(text);
	key = random_key(value);
	expect_in_memory(needles, 1, 0, "fingerprinted");
	all_uses(f, needles, &key, value);
	secret_free(value);
	expect_in_memory(needles, 0, 0, "let go");
}

#define STORE_TEST(name)                                                                           \
	cmocka_unit_test_setup_teardown(name, key_fixture_setup, key_fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORE_TEST(the_search_finds_what_a_plain_database_leaves),
		STORE_TEST(a_destroyed_envelope_is_nowhere),
		STORE_TEST(none_of_many_leaves_a_trace),
		STORE_TEST(an_undone_batch_leaves_what_was),
		STORE_TEST(no_value_is_in_the_files),
		STORE_TEST(a_value_is_in_memory_only_where_it_is_used),
	};

	return cmocka_run_group_tests_name("keys/erase", tests, NULL, NULL);
}
