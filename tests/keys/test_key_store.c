/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/keys/store_fixture.h"

#include <stdio.h>
#include <string.h>

static void fetch(KeyFixture *f, uint8_t number, KeyRecord *ret_key)
{
	KeyRecord named;

	sample_key(number, KEY_ACTIVE, &named);
	assert_works(key_store_get(f->store, named.id, 0, ret_key, &f->err), &f->err);
}

static void expect_kept(KeyFixture *f, const KeyRecord *key, const Secret *value)
{
	AUTO_SECRET Secret *opened = key_store_value(f->store, key, &f->err);

	if (!opened)
		fail_msg("%s", f->err.text);
	assert_true(secret_equal(opened, value));
}

static void expect_verified(KeyFixture *f, uint64_t entries)
{
	uint64_t seen = 0;

	assert_works(key_store_verify(f->store, &seen, &f->err), &f->err);
	assert_int_equal(seen, entries);
}

static void what_was_added_is_there_after_reopening(void **state)
{
	KeyFixture *f = *state;
	AUTO_SECRET Secret *value = sample_value(1);
	KeyRecord key, again;

	assert_works(sample_add(f->store, 1, KEY_PRE_ACTIVE, &f->err), &f->err);
	key_fixture_close(f);
	key_fixture_open(f);
	sample_key(1, KEY_PRE_ACTIVE, &key);
	key.created_s = key.changed_s = 1000;
	fetch(f, 1, &again);
	assert_memory_equal(&key, &again, sizeof(key));
	expect_kept(f, &again, value);
	expect_verified(f, 1);
	sample_key(2, KEY_ACTIVE, &key);
	assert_fails(key_store_get(f->store, key.id, 0, &again, &f->err), ERROR_NOT_FOUND,
		     "no key a002", &f->err);
	assert_fails(key_store_value(f->store, &key, &f->err), ERROR_NOT_FOUND, "version 1",
		     &f->err);
}

/* What each change is called; RETIRED where it can be ROTATED as well. */
static KeyAction action_of(KeyState from, KeyState to)
{
	if (to == KEY_ACTIVE)
		return from == KEY_EXPORTING ? KEY_RETURNED : KEY_ACTIVATED;
	if (to == KEY_DESTROYED)
		return from == KEY_IMPORTED ? KEY_DISCARDED : KEY_WIPED;
	return to == KEY_EXPORTING ? KEY_OFFERED : KEY_RETIRED;
}

static void every_pair_of_states_is_kept_or_refused(void **state)
{
	KeyFixture *f = *state;
	uint8_t number = 0;
	size_t kept = 0;

	for (KeyState from = 0; from < KEY_STATE_COUNT; from++)
		for (KeyState to = 0; to < KEY_STATE_COUNT; to++) {
			AUTO_SECRET Secret *value = sample_value(++number);
			Error err = ERROR_INIT;
			KeyRecord key;
			bool done;

			assert_works(sample_lead(f->store, number, from, &f->err), &f->err);
			done = sample_change(f->store, number, action_of(from, to), to, &err);
			assert_int_equal(done, key_state_may_follow(from, to));
			fetch(f, number, &key);
			assert_int_equal(key.state, done ? to : from);
			kept += done;
			if (!done) {
				assert_int_equal(err.category, ERROR_CONFLICT);
				assert_non_null(strstr(err.text, key_state_words[from]));
				assert_non_null(strstr(err.text, key_state_words[to]));
			}
			if (key.state == KEY_DESTROYED)
				assert_fails(key_store_value(f->store, &key, &f->err),
					     ERROR_CONFLICT, "is destroyed", &f->err);
			else
				expect_kept(f, &key, value);
		}
	assert_int_equal(kept, 9);
	key_fixture_close(f);
	key_fixture_open(f);
	assert_works(key_store_verify(f->store, &(uint64_t){ 0 }, &f->err), &f->err);
}

static void an_action_says_what_was_done(void **state)
{
	KeyFixture *f = *state;
	AUTO_SECRET Secret *value = sample_value(1);
	KeyReason reason;
	KeyRecord key;

	for (KeyAction action = 0; action < KEY_ACTION_COUNT; action++) {
		reason = sample_reason(action);
		sample_key(1, KEY_ACTIVE, &key);
		if (action == KEY_CREATED)
			continue;
		assert_fails(key_store_add(f->store, &key, value, &reason, &f->err), ERROR_USAGE,
			     "makes no key that is active", &f->err);
	}
	assert_works(sample_add(f->store, 1, KEY_ACTIVE, &f->err), &f->err);
	for (KeyAction action = 0; action < KEY_ACTION_COUNT; action++)
		if (action != KEY_OFFERED)
			assert_fails(sample_change(f->store, 1, action, KEY_EXPORTING, &f->err),
				     ERROR_USAGE, "makes no key exporting that is active", &f->err);
	for (KeyAction action = 0; action < KEY_ACTION_COUNT; action++) {
		reason = sample_reason(action);
		if (action == KEY_OPENED || action == KEY_REFUSED || action == KEY_ATTESTED)
			assert_works(key_store_note(f->store, &key, &reason, &f->err), &f->err);
		else
			assert_fails(key_store_note(f->store, &key, &reason, &f->err), ERROR_USAGE,
				     "is no note", &f->err);
	}
	reason = sample_reason(KEY_OPENED);
	assert_fails(key_store_note(f->store, NULL, &reason, &f->err), ERROR_USAGE, "is no note",
		     &f->err);
	expect_verified(f, 4);
}

static void a_bad_newcomer_is_refused(void **state)
{
	KeyFixture *f = *state;
	AUTO_SECRET Secret *value = sample_value(1), *other = sample_value(2);
	AUTO_SECRET Secret *short_one = secret_new_from("x", 1, &f->err);
	KeyReason reason = sample_reason(KEY_CREATED), nameless = reason;
	char name[KEY_WHO_SIZE + 1];
	KeyRecord key;

	sample_key(1, KEY_ACTIVE, &key);
	assert_fails(key_store_add(f->store, &key, other, &reason, &f->err), ERROR_AUTH,
		     "another fingerprint", &f->err);
	assert_fails(key_store_add(f->store, &key, short_one, &reason, &f->err), ERROR_USAGE,
		     "1 bytes", &f->err);
	assert_fails(key_store_add(f->store, &key, NULL, &reason, &f->err), ERROR_USAGE, "0 bytes",
		     &f->err);
	nameless.who = "";
	assert_fails(key_store_add(f->store, &key, value, &nameless, &f->err), ERROR_USAGE, "who",
		     &f->err);
	nameless.who = "uid 0\n";
	assert_fails(key_store_add(f->store, &key, value, &nameless, &f->err), ERROR_USAGE, "who",
		     &f->err);
	memset(name, 'x', sizeof(name));
	name[KEY_WHO_SIZE] = '\0';
	nameless.who = name;
	assert_fails(key_store_add(f->store, &key, value, &nameless, &f->err), ERROR_USAGE,
		     "too long", &f->err);
	key.epoch = UINT64_MAX;
	assert_fails(key_store_add(f->store, &key, value, &reason, &f->err), ERROR_USAGE, "epoch",
		     &f->err);
	/* Nothing of all this is there; and what just fits is taken. */
	expect_verified(f, 0);
	name[KEY_WHO_SIZE - 1] = '\0';
	key.epoch = INT64_MAX;
	assert_works(key_store_add(f->store, &key, value, &nameless, &f->err), &f->err);
	expect_verified(f, 1);
}

static void a_long_detail_is_cut(void **state)
{
	KeyFixture *f = *state;
	char detail[2 * LIMIT_TEXT];
	KeyReason reason = { KEY_REFUSED, "uid 7", detail, 5 };
	KeyLogEntry entry;
	size_t count;

	memset(detail, '"', sizeof(detail));
	detail[sizeof(detail) - 1] = '\0';
	assert_works(key_store_note(f->store, NULL, &reason, &f->err), &f->err);
	assert_works(key_store_log(f->store, 1, &entry, 1, &count, &f->err), &f->err);
	assert_int_equal(count, 1);
	assert_int_equal(strlen(entry.detail), LIMIT_TEXT - 1);
	assert_int_equal(entry.version, 0);
	assert_int_equal(entry.row, 0);
	expect_verified(f, 1);
}

static void what_names_a_key_never_changes(void **state)
{
	KeyFixture *f = *state;
	KeyReason reason = sample_reason(KEY_RETIRED);
	KeyRecord key, edited;

	assert_works(sample_add(f->store, 1, KEY_ACTIVE, &f->err), &f->err);
	fetch(f, 1, &key);
	key.state = KEY_DEACTIVATED;
	for (int what = 0; what < 6; what++) {
		edited = key;
		if (what == 0)
			edited.vm[35] ^= 1;
		else if (what == 1)
			edited.slot[0] ^= 1;
		else if (what == 2)
			edited.owner[0] ^= 1;
		else if (what == 3)
			edited.purpose = KEY_TPM_FILE;
		else if (what == 4)
			edited.fingerprint[0] ^= 1;
		else
			snprintf(edited.backend, sizeof(edited.backend), "kmip"),
				snprintf(edited.reference, sizeof(edited.reference), "7");
		assert_fails(key_store_change(f->store, &edited, &reason, &f->err), ERROR_CONFLICT,
			     "may change its state, not what it is for", &f->err);
	}
	edited = key;
	edited.version = 2;
	assert_fails(key_store_change(f->store, &edited, &reason, &f->err), ERROR_NOT_FOUND,
		     "version 2", &f->err);
	edited.version = UINT64_MAX;
	assert_fails(key_store_change(f->store, &edited, &reason, &f->err), ERROR_USAGE, "version",
		     &f->err);
	/* Its times are the store's. */
	key.created_s = 5;
	assert_works(key_store_change(f->store, &key, &reason, &f->err), &f->err);
	fetch(f, 1, &key);
	assert_int_equal(key.created_s, 1000);
	expect_verified(f, 2);
}

static void who_has_seen_a_key_stays_known(void **state)
{
	KeyFixture *f = *state;
	KeyReason reason = sample_reason(KEY_RETURNED);
	KeyRecord key;

	assert_works(sample_lead(f->store, 1, KEY_EXPORTING, &f->err), &f->err);
	fetch(f, 1, &key);
	key.state = KEY_ACTIVE;
	memset(key.migration, 0, sizeof(key.migration));
	assert_fails(key_store_change(f->store, &key, &reason, &f->err), ERROR_CONFLICT,
		     "nobody is said to have seen it", &f->err);
	snprintf(key.exposed_to, sizeof(key.exposed_to), "csp-b.example");
	assert_works(key_store_change(f->store, &key, &reason, &f->err), &f->err);
	reason.action = KEY_RETIRED;
	key.state = KEY_DEACTIVATED;
	key.exposed_to[0] = '\0';
	assert_fails(key_store_change(f->store, &key, &reason, &f->err), ERROR_CONFLICT,
		     "was seen by csp-b.example: that cannot be taken back", &f->err);
}

/* --- versions, and a key that comes back --- */

static bool add_version(KeyFixture *f, uint64_t version, KeyState at, KeyAction action)
{
	AUTO_SECRET Secret *value = sample_value(1);
	KeyReason reason = sample_reason(action);
	KeyRecord key;

	sample_key(1, at, &key);
	key.version = version;
	return key_fingerprint(key.id, version, value, key.fingerprint, &f->err) &&
	       key_store_add(f->store, &key, value, &reason, &f->err);
}

static void versions_grow(void **state)
{
	KeyFixture *f = *state;
	KeyRecord key;

	assert_works(add_version(f, 2, KEY_ACTIVE, KEY_CREATED), &f->err);
	assert_fails(add_version(f, 2, KEY_ACTIVE, KEY_CREATED), ERROR_CONFLICT,
		     "version 2 cannot be added: version 2 is here, active", &f->err);
	assert_fails(add_version(f, 1, KEY_ACTIVE, KEY_CREATED), ERROR_CONFLICT,
		     "version 2 is here", &f->err);
	assert_works(add_version(f, 3, KEY_PRE_ACTIVE, KEY_CREATED), &f->err);
	fetch(f, 1, &key);
	assert_int_equal(key.version, 3);
	assert_works(key_store_get(f->store, key.id, 2, &key, &f->err), &f->err);
	assert_int_equal(key.state, KEY_ACTIVE);
	assert_fails(key_store_get(f->store, key.id, 1, &key, &f->err), ERROR_NOT_FOUND,
		     "version 1", &f->err);
	assert_fails(key_store_get(f->store, key.id, UINT64_MAX, &key, &f->err), ERROR_USAGE,
		     "too large", &f->err);
}

static void an_id_is_of_one_thing(void **state)
{
	KeyFixture *f = *state;
	AUTO_SECRET Secret *value = sample_value(1);
	KeyReason reason = sample_reason(KEY_CREATED);
	KeyRecord key;

	assert_works(sample_add(f->store, 1, KEY_ACTIVE, &f->err), &f->err);
	sample_key(1, KEY_ACTIVE, &key);
	key.version = 2;
	key.slot[2] = 'b';
	assert_works(key_fingerprint(key.id, 2, value, key.fingerprint, &f->err), &f->err);
	assert_fails(key_store_add(f->store, &key, value, &reason, &f->err), ERROR_CONFLICT,
		     "is here already, for something else", &f->err);
	/* Who sent it learns nothing of what it is for here. */
	assert_null(strstr(f->err.text, "vda"));
	assert_null(strstr(f->err.text, "7e5710c5"));
}

static void a_key_that_was_moved_away_may_come_back(void **state)
{
	KeyFixture *f = *state;
	AUTO_SECRET Secret *value = sample_value(1), *other = sample_value(2);
	KeyReason reason = sample_reason(KEY_RECEIVED);
	KeyRecord key, rows[3];
	uint64_t cursor = 0;
	size_t count;

	assert_works(sample_lead(f->store, 1, KEY_EXPORTING, &f->err), &f->err);
	assert_fails(sample_add(f->store, 1, KEY_IMPORTED, &f->err), ERROR_CONFLICT,
		     "is here, exporting", &f->err);
	assert_works(sample_change(f->store, 1, KEY_WIPED, KEY_DESTROYED, &f->err), &f->err);
	assert_fails(sample_add(f->store, 1, KEY_ACTIVE, &f->err), ERROR_CONFLICT,
		     "is here, destroyed", &f->err);
	sample_key(1, KEY_IMPORTED, &key);
	assert_works(key_fingerprint(key.id, 1, other, key.fingerprint, &f->err), &f->err);
	assert_fails(key_store_add(f->store, &key, other, &reason, &f->err), ERROR_CONFLICT,
		     "is here, destroyed", &f->err);
	assert_works(sample_add(f->store, 1, KEY_IMPORTED, &f->err), &f->err);
	assert_works(sample_change(f->store, 1, KEY_ACTIVATED, KEY_ACTIVE, &f->err), &f->err);
	fetch(f, 1, &key);
	assert_int_equal(key.state, KEY_ACTIVE);
	expect_kept(f, &key, value);
	/* Both stays are told. */
	assert_works(key_store_list(f->store, key.vm, &cursor, rows, 3, &count, &f->err), &f->err);
	assert_int_equal(count, 2);
	assert_int_equal(rows[0].state, KEY_DESTROYED);
	assert_int_equal(rows[1].state, KEY_ACTIVE);
	expect_verified(f, 5);
}

/* --- other back-ends --- */

static void a_back_end_keeps_the_value_and_we_its_key(void **state)
{
	KeyFixture *f = *state;
	AUTO_SECRET Secret *value = sample_value(1), *blob_key = NULL, *blob = NULL, *again = NULL;
	KeyReason reason = sample_reason(KEY_CREATED);
	KeyRecord key;

	sample_key(1, KEY_ACTIVE, &key);
	snprintf(key.backend, sizeof(key.backend), "kmip");
	assert_works(key_blob_seal(&key, value, &blob_key, &blob, &f->err), &f->err);
	snprintf(key.reference, sizeof(key.reference), "1234");
	assert_works(key_store_add(f->store, &key, blob_key, &reason, &f->err), &f->err);
	expect_kept(f, &key, blob_key);
	assert_works(sample_change(f->store, 1, KEY_OFFERED, KEY_EXPORTING, &f->err), &f->err);
	/* The blob is what it was: a change of state never reaches the back-end. */
	fetch(f, 1, &key);
	again = key_blob_open(&key, blob_key, blob, &f->err);
	assert_non_null(again);
	assert_true(secret_equal(again, value));
	expect_kept(f, &key, blob_key);
	assert_works(sample_change(f->store, 1, KEY_WIPED, KEY_DESTROYED, &f->err), &f->err);
	assert_fails(key_store_value(f->store, &key, &f->err), ERROR_CONFLICT, "destroyed",
		     &f->err);
	expect_verified(f, 3);
}

static void a_back_end_may_keep_the_bare_value(void **state)
{
	KeyFixture *f = *state;
	KeyReason reason = sample_reason(KEY_CREATED);
	KeyRecord key;

	sample_key(1, KEY_ACTIVE, &key);
	snprintf(key.backend, sizeof(key.backend), "kmip");
	snprintf(key.reference, sizeof(key.reference), "1234");
	assert_works(key_store_add(f->store, &key, NULL, &reason, &f->err), &f->err);
	assert_fails(key_store_value(f->store, &key, &f->err), ERROR_CONFLICT,
		     "kept by the back-end kmip alone", &f->err);
	assert_works(sample_change(f->store, 1, KEY_RETIRED, KEY_DEACTIVATED, &f->err), &f->err);
	assert_works(sample_change(f->store, 1, KEY_WIPED, KEY_DESTROYED, &f->err), &f->err);
	expect_verified(f, 3);
}

/* --- many changes as one --- */

static void changes_are_made_together(void **state)
{
	KeyFixture *f = *state;
	KeyRecord key;

	assert_works(key_store_begin(f->store, &f->err), &f->err);
	assert_works(sample_add(f->store, 1, KEY_ACTIVE, &f->err), &f->err);
	assert_works(sample_add(f->store, 2, KEY_ACTIVE, &f->err), &f->err);
	fetch(f, 1, &key);
	assert_works(key_store_commit(f->store, &f->err), &f->err);
	expect_verified(f, 2);
	assert_works(key_store_begin(f->store, &f->err), &f->err);
	assert_works(sample_change(f->store, 1, KEY_OFFERED, KEY_EXPORTING, &f->err), &f->err);
	key_store_undo(f->store);
	key_store_undo(f->store);
	fetch(f, 1, &key);
	assert_int_equal(key.state, KEY_ACTIVE);
	expect_verified(f, 2);
	/* The chain goes on where it was. */
	assert_works(sample_add(f->store, 3, KEY_ACTIVE, &f->err), &f->err);
	expect_verified(f, 3);
}

static void one_that_fails_takes_the_others_with_it(void **state)
{
	KeyFixture *f = *state;
	KeyRecord key;

	assert_works(sample_add(f->store, 1, KEY_ACTIVE, &f->err), &f->err);
	assert_works(key_store_begin(f->store, &f->err), &f->err);
	assert_works(sample_change(f->store, 1, KEY_OFFERED, KEY_EXPORTING, &f->err), &f->err);
	assert_fails(sample_add(f->store, 1, KEY_ACTIVE, &f->err), ERROR_CONFLICT,
		     "cannot be added", &f->err);
	assert_fails(sample_add(f->store, 2, KEY_ACTIVE, &f->err), ERROR_CONFLICT,
		     "a change before this one failed", &f->err);
	assert_fails(key_store_commit(f->store, &f->err), ERROR_CONFLICT, "nothing is changed",
		     &f->err);
	fetch(f, 1, &key);
	assert_int_equal(key.state, KEY_ACTIVE);
	expect_verified(f, 1);
	assert_works(sample_add(f->store, 2, KEY_ACTIVE, &f->err), &f->err);
	/* What was begun and never committed is not there after a restart. */
	assert_works(key_store_begin(f->store, &f->err), &f->err);
	assert_works(sample_add(f->store, 3, KEY_ACTIVE, &f->err), &f->err);
	key_fixture_close(f);
	key_fixture_open(f);
	expect_verified(f, 2);
}

/* --- lists --- */

static void lists_come_in_pages(void **state)
{
	enum { KEYS = 7 };
	KeyFixture *f = *state;
	KeyRecord page[3], key;
	uint64_t cursor = 0;
	size_t count, seen = 0, pages = 0;

	for (uint8_t i = 1; i <= KEYS; i++)
		assert_works(sample_add(f->store, i, KEY_ACTIVE, &f->err), &f->err);
	do {
		assert_works(key_store_list(f->store, "", &cursor, page, 3, &count, &f->err),
			     &f->err);
		for (size_t i = 0; i < count; i++)
			assert_int_equal(page[i].id[1], ++seen);
		assert_true(++pages < 10);
	} while (cursor);
	assert_int_equal(seen, KEYS);
	assert_int_equal(pages, 3);
	sample_key(4, KEY_ACTIVE, &key);
	assert_works(key_store_list(f->store, key.vm, &cursor, page, 3, &count, &f->err), &f->err);
	assert_int_equal(count, 1);
	assert_int_equal(page[0].id[1], 4);
	sample_key(99, KEY_ACTIVE, &key);
	assert_works(key_store_list(f->store, key.vm, &cursor, page, 3, &count, &f->err), &f->err);
	assert_int_equal(count, 0);
	cursor = UINT64_MAX;
	assert_works(key_store_list(f->store, "", &cursor, page, 3, &count, &f->err), &f->err);
	assert_int_equal(count, 0);
}

#define STORE_TEST(name)                                                                           \
	cmocka_unit_test_setup_teardown(name, key_fixture_setup, key_fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORE_TEST(what_was_added_is_there_after_reopening),
		STORE_TEST(every_pair_of_states_is_kept_or_refused),
		STORE_TEST(an_action_says_what_was_done),
		STORE_TEST(a_bad_newcomer_is_refused),
		STORE_TEST(a_long_detail_is_cut),
		STORE_TEST(what_names_a_key_never_changes),
		STORE_TEST(who_has_seen_a_key_stays_known),
		STORE_TEST(versions_grow),
		STORE_TEST(an_id_is_of_one_thing),
		STORE_TEST(a_key_that_was_moved_away_may_come_back),
		STORE_TEST(a_back_end_keeps_the_value_and_we_its_key),
		STORE_TEST(a_back_end_may_keep_the_bare_value),
		STORE_TEST(changes_are_made_together),
		STORE_TEST(one_that_fails_takes_the_others_with_it),
		STORE_TEST(lists_come_in_pages),
	};

	return cmocka_run_group_tests_name("keys/store", tests, NULL, NULL);
}
