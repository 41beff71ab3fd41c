/* SPDX-License-Identifier: Apache-2.0 */
/* The real sealift-keyd at the end of its link: each request good and bad, and what it does about
 * rules that are broken, stores that were put back and callers that ask too often. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/file.h"
#include "keyd_fixture.h"
#include "keys/package.h"

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

static void a_key_is_made_shown_and_listed(void **state)
{
	KeydWorld *world = *state;
	KeyRecord key = keyd_create(world, KEYD_VM, "vda"), other, shown;
	KeydList list = { .who = KEYD_WHO, .vm = KEYD_VM };
	const KeydKeys *keys;
	IpcMessage message;

	assert_int_equal(key.state, KEY_ACTIVE);
	assert_int_equal(key.version, 1);
	assert_int_equal(key.epoch, 3);
	assert_string_equal(key.owner, "north.example");
	assert_true(key.created_s > 1700000000);
	other = keyd_create(world, KEYD_VM, "vdb");
	(void)keyd_create(world, KEYD_OTHER, "vda");
	assert_memory_not_equal(key.id, other.id, sizeof(key.id));
	assert_memory_not_equal(key.fingerprint, other.fingerprint, sizeof(key.fingerprint));
	shown = keyd_show(world, &key, 1);
	assert_memory_equal(&shown, &key, sizeof(key));
	keyd_ask(world, KEYD_LIST, &keyd_list_schema, &list, KEYD_KEYS, &message);
	keys = message.payload;
	assert_int_equal(keys->keys_count, 2);
	assert_int_equal(keys->cursor, 0);
	assert_memory_equal(&keys->keys[1], &other, sizeof(other));
	ipc_message_clear(&message, world->keyd.link);
	list.vm[0] = '\0';
	keyd_ask(world, KEYD_LIST, &keyd_list_schema, &list, KEYD_KEYS, &message);
	assert_int_equal(((const KeydKeys *)message.payload)->keys_count, 3);
	ipc_message_clear(&message, world->keyd.link);
	keyd_stop(world);
}

static void what_is_not_there_is_not_found(void **state)
{
	KeydWorld *world = *state;
	KeyRecord key = keyd_create(world, KEYD_VM, "vda");
	KeydName name = keyd_name(&key, 2);
	KeydCreate create = keyd_wanted(KEYD_VM, "vdb");
	KeydOpen open = keyd_opening(&key);

	keyd_refused(world, KEYD_SHOW, &keyd_name_schema, &name, ERROR_NOT_FOUND, "version 2");
	name = keyd_name(&key, 0);
	name.id[0] ^= 1;
	keyd_refused(world, KEYD_SHOW, &keyd_name_schema, &name, ERROR_NOT_FOUND, "no key");
	keyd_refused(world, KEYD_ROTATE, &keyd_name_schema, &name, ERROR_NOT_FOUND, "no key");
	open.version = 7;
	keyd_refused(world, KEYD_OPEN, &keyd_open_schema, &open, ERROR_NOT_FOUND, "version 7");
	snprintf(create.backend, sizeof(create.backend), "vault");
	keyd_refused(world, KEYD_CREATE, &keyd_create_schema, &create, ERROR_NOT_FOUND,
		     "no back-end \"vault\"; there is \"embedded\"");
	keyd_stop(world);
}

static void one_thing_has_one_key_in_use(void **state)
{
	KeydWorld *world = *state;
	KeyRecord key = keyd_create(world, KEYD_VM, "vda"), next;
	KeydCreate again = keyd_wanted(KEYD_VM, "vda");

	keyd_refused(world, KEYD_CREATE, &keyd_create_schema, &again, ERROR_CONFLICT,
		     "for image vda already, and active");
	assert_int_equal(keyd_changed(world, &key, 0, KEYD_DEACTIVATE), 1);
	next = keyd_create(world, KEYD_VM, "vda");
	assert_memory_not_equal(next.id, key.id, sizeof(key.id));
	keyd_stop(world);
}

static void a_vm_has_no_more_keys_than_can_move(void **state)
{
	KeydWorld *world = *state;
	KeydCreate more = keyd_wanted(KEYD_VM, "more");
	KeyRecord key = keyd_create(world, KEYD_VM, "vda");
	char slot[16];

	for (int i = 1; i < LIMIT_PACKAGE_KEYS; i++) {
		snprintf(slot, sizeof(slot), "vd%d", i);
		(void)keyd_create(world, KEYD_VM, slot);
	}
	keyd_refused(world, KEYD_CREATE, &keyd_create_schema, &more, ERROR_LIMIT,
		     "has 24 keys in use, at most 24");
	assert_int_equal(keyd_changed(world, &key, 0, KEYD_DEACTIVATE), 1);
	(void)keyd_create(world, KEYD_VM, "more");
	keyd_stop(world);
}

static void rotation_leaves_one_active_version(void **state)
{
	KeydWorld *world = *state;
	KeyRecord key = keyd_create(world, KEYD_VM, "vda"), fresh = keyd_rotate(world, &key);
	KeydName name = keyd_name(&key, 1);
	char words[256];

	assert_int_equal(fresh.version, 2);
	assert_memory_equal(fresh.id, key.id, sizeof(key.id));
	assert_memory_not_equal(fresh.fingerprint, key.fingerprint, sizeof(key.fingerprint));
	assert_int_equal(keyd_show(world, &key, 1).state, KEY_DEACTIVATED);
	assert_int_equal(keyd_show(world, &key, 0).version, 2);
	keyd_refused(world, KEYD_ROTATE, &keyd_name_schema, &name, ERROR_USAGE,
		     "only the newest version, 2");
	assert_int_equal(keyd_changed(world, &key, 2, KEYD_DEACTIVATE), 1);
	name = keyd_name(&key, 0);
	keyd_refused(world, KEYD_ROTATE, &keyd_name_schema, &name, ERROR_CONFLICT, "deactivated");
	keyd_log_words(world, words, sizeof(words));
	assert_string_equal(words, "created rotated created retired refused");
	keyd_stop(world);
}

static void destroying_takes_every_version_or_one(void **state)
{
	KeydWorld *world = *state;
	KeyRecord key = keyd_create(world, KEYD_VM, "vda"),
		  other = keyd_create(world, KEYD_VM, "vdb");
	KeydChange change = keyd_change(&key, 0, KEYD_DESTROY);
	KeydOpen open = keyd_opening(&key);

	(void)keyd_rotate(world, &key);
	(void)keyd_rotate(world, &key);
	assert_int_equal(keyd_changed(world, &key, 1, KEYD_DESTROY), 1);
	assert_int_equal(keyd_show(world, &key, 1).state, KEY_DESTROYED);
	assert_int_equal(keyd_show(world, &key, 3).state, KEY_ACTIVE);
	assert_int_equal(keyd_changed(world, &key, 0, KEYD_DESTROY), 2);
	assert_int_equal(keyd_show(world, &key, 3).state, KEY_DESTROYED);
	assert_int_equal(keyd_show(world, &other, 0).state, KEY_ACTIVE);
	keyd_refused(world, KEYD_CHANGE, &keyd_change_schema, &change, ERROR_CONFLICT,
		     "destroyed already");
	change = keyd_change(&key, 3, KEYD_ACTIVATE);
	keyd_refused(world, KEYD_CHANGE, &keyd_change_schema, &change, ERROR_CONFLICT, "destroyed");
	keyd_refused(world, KEYD_OPEN, &keyd_open_schema, &open, ERROR_CONFLICT,
		     "is destroyed: it opens nothing");
	keyd_stop(world);
}

static void verifying_reads_it_all_in_steps(void **state)
{
	KeydWorld *world = *state;
	KeydVerify request = { .who = KEYD_WHO };
	KeydVerified verified;
	char slot[16];

	keyd_refused(world, KEYD_VERIFY, &keyd_verify_schema, &request, ERROR_CONFLICT,
		     "no verification is under way");
	for (int i = 0; i < 40; i++) {
		snprintf(slot, sizeof(slot), "vd%d", i);
		(void)keyd_create(world, i % 2 ? KEYD_VM : KEYD_OTHER, slot);
	}
	verified = keyd_verify(world);
	assert_int_equal(verified.entries, 40);
	assert_int_equal(verified.keys, 40);
	keyd_stop(world);
}

static void backends_are_told(void **state)
{
	KeydWorld *world = *state;
	KeydWho who = { .who = KEYD_WHO };
	const KeydBackends *backends;
	IpcMessage message;

	keyd_ask(world, KEYD_PLACES, &keyd_who_schema, &who, KEYD_BACKEND_LIST, &message);
	backends = message.payload;
	assert_string_equal(backends->root, "file");
	assert_int_equal(backends->backends_count, 1);
	assert_string_equal(backends->backends[0].name, "embedded");
	assert_true(backends->backends[0].usable);
	ipc_message_clear(&message, world->keyd.link);
	keyd_stop(world);
}

static void one_caller_cannot_ask_for_all(void **state)
{
	KeydWorld *world = *state;
	KeyRecord key = keyd_create(world, KEYD_VM, "vda");
	KeydChange change = keyd_change(&key, 0, KEYD_ACTIVATE);
	IpcMessage message;
	bool limited = false;
	int asked = 0;

	/* Refusals count, since they are written down. */
	for (; !limited && asked < 20 * LIMIT_KEY_CHANGES; asked++) {
		keyd_ask(world, KEYD_CHANGE, &keyd_change_schema, &change, ROLE_FAILED, &message);
		limited = ((const RoleFailure *)message.payload)->category == ERROR_LIMIT;
		ipc_message_clear(&message, world->keyd.link);
	}
	assert_true(limited);
	assert_true(asked >= LIMIT_KEY_CHANGES - 1);
	(void)keyd_show(world, &key, 0);
	snprintf(change.who, sizeof(change.who), "uid 1001");
	keyd_refused(world, KEYD_CHANGE, &keyd_change_schema, &change, ERROR_CONFLICT, "active");
	keyd_stop(world);
}

/* --- rules --- */

static void nothing_is_answered_before_the_start(void **state)
{
	KeydWorld *world = keyd_world_new();
	KeydWho who = { .who = KEYD_WHO };

	(void)state;
	keyd_run(world);
	role_send(&world->keyd, KEYD_PLACES, 1, &keyd_who_schema, &who);
	role_expect_exit(&world->keyd, error_exit_status(ERROR_PEER));
	keyd_world_free(world);
}

static void a_broken_rule_ends_it(void **state)
{
	static const uint16_t types[] = { KEYD_START, KEYD_KEY, ROLE_START, 999 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		KeydWorld *world = keyd_world_new();

		keyd_start(world);
		role_send(&world->keyd, types[i], 1, NULL, NULL);
		role_expect_exit(&world->keyd, error_exit_status(ERROR_PEER));
		keyd_world_free(world);
	}
}

/* --- stores that are not what they were --- */

static void it_goes_on_where_it_was_killed(void **state)
{
	KeydWorld *world = *state;
	KeyRecord key = keyd_create(world, KEYD_VM, "vda"), shown;
	KeydCreate create = keyd_wanted(KEYD_VM, "vdb");
	KeydVerified verified;
	int status;

	/* In the middle of whatever this makes it do. */
	role_send(&world->keyd, KEYD_CREATE, 77, &keyd_create_schema, &create);
	assert_int_equal(kill(world->keyd.pid, SIGKILL), 0);
	assert_int_equal(waitpid(world->keyd.pid, &status, 0), world->keyd.pid);
	ipc_link_free(TAKE_PTR(world->keyd.link));
	keyd_start(world);
	shown = keyd_show(world, &key, 1);
	assert_memory_equal(&shown, &key, sizeof(key));
	verified = keyd_verify(world);
	assert_true(verified.keys == 1 || verified.keys == 2);
	keyd_stop(world);
}

static void expect_no_start(KeydWorld *world, ErrorCategory category, const char *words)
{
	keyd_run(world);
	role_send(&world->keyd, KEYD_START, 0, &keyd_head_schema, &world->head);
	role_expect_failure(&world->keyd, ROLE_FAILED, 0, category, words);
	role_expect_exit(&world->keyd, error_exit_status(category));
}

static void copy(const char *from, const char *to)
{
	AUTO_BUFFER Buffer bytes = BUFFER_INIT(1 << 20);
	Error err = ERROR_INIT;

	assert_true(file_read(from, 1 << 20, &bytes, &err));
	assert_true(file_replace(to, bytes.data, bytes.used, 0600, &err));
	if (geteuid() == 0)
		assert_int_equal(chown(to, 65534, 65534), 0);
}

static void a_store_that_was_put_back_is_noticed(void **state)
{
	KeydWorld *world = *state;
	char old[160];

	snprintf(old, sizeof(old), "%s.old", world->database);
	(void)keyd_create(world, KEYD_VM, "vda");
	keyd_stop(world);
	copy(world->database, old);
	keyd_start(world);
	(void)keyd_create(world, KEYD_VM, "vdb");
	keyd_stop(world);
	assert_int_equal(world->head.entries, 2);
	copy(old, world->database);
	expect_no_start(world, ERROR_AUTH, "has 1 log entries, but had 2: it was put back");
	/* The same number of other entries. */
	world->head.entries = 1;
	expect_no_start(world, ERROR_AUTH, "another store is in its place");
	world->head.entries = 0;
	keyd_start(world);
	keyd_stop(world);
}

static void a_store_that_was_removed_is_noticed(void **state)
{
	KeydWorld *world = *state;

	(void)keyd_create(world, KEYD_VM, "vda");
	keyd_stop(world);
	assert_int_equal(unlink(world->database), 0);
	expect_no_start(world, ERROR_AUTH, "has 0 log entries, but had 1");
}

static void change_by_hand(const KeydWorld *world, const char *sql)
{
	sqlite3 *database = NULL;
	char *problem = NULL;

	assert_int_equal(sqlite3_open(world->database, &database), SQLITE_OK);
	if (sqlite3_exec(database, sql, NULL, NULL, &problem) != SQLITE_OK)
		fail_msg("%s: %s", sql, problem);
	assert_int_not_equal(sqlite3_total_changes(database), 0);
	sqlite3_close(database);
}

/* Nothing is served out of a store that was changed, whether or not what was changed is asked for. */
static void what_was_changed_by_hand_is_not_served(void **state)
{
	static const struct {
		const char *sql, *words;
	} cases[] = {
		{ "UPDATE log SET entry=replace(entry, 'uid 1000', 'uid 2000') WHERE number=1",
		  "log entry 1 or the one before was changed" },
		{ "DELETE FROM log WHERE number=2", "log entry 2 is missing" },
		{ "DELETE FROM keys WHERE row=1",
		  "there are 2 records of keys, the log tells of 3" },
		{ "UPDATE envelopes SET sealed=(SELECT sealed FROM envelopes WHERE row=2) WHERE "
		  "row=1",
		  "key " },
		{ "UPDATE keys SET record=replace(record, 'active', 'pre-active') WHERE row=2",
		  "the record of key" },
		{ "DELETE FROM envelopes WHERE row=3", "lost its envelope" },
		{ "INSERT INTO envelopes SELECT 4, wrapped, sealed FROM envelopes WHERE row=3",
		  "4 envelopes for 3 keys" },
		/* The rows stay as they are; who looks through the index does not find one. */
		{ "PRAGMA writable_schema=ON; UPDATE sqlite_schema SET rootpage=(SELECT rootpage FROM "
		  "sqlite_schema WHERE name='keys_vm') WHERE name='log_row'",
		  "the file is damaged" },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		KeydWorld *world = keyd_world_new();

		keyd_start(world);
		(void)keyd_create(world, KEYD_VM, "vda");
		(void)keyd_create(world, KEYD_VM, "vdb");
		(void)keyd_create(world, KEYD_VM, "vdc");
		assert_int_equal(keyd_verify(world).keys, 3);
		keyd_stop(world);
		keyd_start(world);
		keyd_stop(world);
		change_by_hand(world, cases[i].sql);
		expect_no_start(world, ERROR_AUTH, cases[i].words);
		keyd_world_free(world);
	}
}

/* Row, envelope and all log entries about a key, as they were before it was destroyed. */
static void a_key_that_was_put_back_is_not_served(void **state)
{
	KeydWorld *world = *state;
	char old[160], sql[512];
	KeyRecord key = keyd_create(world, KEYD_VM, "vda");

	snprintf(old, sizeof(old), "%s.old", world->database);
	keyd_stop(world);
	copy(world->database, old);
	keyd_start(world);
	(void)keyd_create(world, KEYD_VM, "vdb");
	assert_int_equal(keyd_changed(world, &key, 0, KEYD_DESTROY), 1);
	(void)keyd_create(world, KEYD_VM, "vdc");
	keyd_stop(world);
	snprintf(sql, sizeof(sql),
		 "ATTACH '%s' AS old;"
		 "UPDATE keys SET record=(SELECT record FROM old.keys WHERE row=1) WHERE row=1;"
		 "UPDATE envelopes SET wrapped=(SELECT wrapped FROM old.envelopes WHERE row=1),"
		 "sealed=(SELECT sealed FROM old.envelopes WHERE row=1) WHERE row=1;"
		 "DELETE FROM log WHERE row=1 AND number>1",
		 old);
	change_by_hand(world, sql);
	expect_no_start(world, ERROR_AUTH,
			"the key store is not what was written to it: log entry 3 is missing");
}

/* While keyd runs, too: the log entry that a forged record refers to does not fit the chain. */
static void a_forged_entry_is_noticed_when_its_key_is_read(void **state)
{
	KeydWorld *world = *state;
	AUTO_ROOT_KEY RootKey *root = NULL;
	AUTO_KEY_STORE KeyStore *store = NULL;
	AUTO_FD int fd = open(world->root, O_RDONLY | O_CLOEXEC);
	KeyRecord key = keyd_create(world, KEYD_VM, "vda"), other, read;
	Error err = ERROR_INIT;

	other = keyd_create(world, KEYD_VM, "vdb");
	(void)keyd_create(world, KEYD_VM, "vdc");
	keyd_stop(world);
	change_by_hand(world, "UPDATE log SET entry=replace(entry, 'uid 1000', 'uid 2000') "
			      "WHERE number=2");
	if (geteuid() == 0)
		assert_int_equal(chown(world->database, 0, 0), 0);
	root = root_key_read(fd, &err);
	assert_non_null(root);
	store = key_store_open(world->database, root, &err);
	if (!store)
		fail_msg("%s", err.text);
	assert_true(key_store_get(store, key.id, 1, &read, &err));
	assert_false(key_store_get(store, other.id, 1, &read, &err));
	assert_int_equal(err.category, ERROR_AUTH);
	assert_non_null(strstr(err.text, "log entry 2 or the one before was changed"));
}

/* --- a store that takes long to read --- */

enum { MANY_KEYS = 3000 };

static void make_many(KeydWorld *world)
{
	AUTO_ROOT_KEY RootKey *root = NULL;
	AUTO_KEY_STORE KeyStore *store = NULL;
	AUTO_FD int fd = open(world->root, O_RDONLY | O_CLOEXEC);
	const KeyReason reason = { KEY_CREATED, "uid 0", "", 1 };
	KeyRecord key = { .version = 1, .state = KEY_ACTIVE, .vm = KEYD_VM, .owner = "a.example",
			  .epoch = 1, .backend = KEY_BACKEND_EMBEDDED };
	char journal[160];
	Error err = ERROR_INIT;

	root = root_key_read(fd, &err);
	store = root ? key_store_open(world->database, root, &err) : NULL;
	if (!store || !key_store_begin(store, &err))
		fail_msg("%s", err.text);
	for (int i = 0; i < MANY_KEYS; i++) {
		AUTO_SECRET Secret *value = secret_new(KEY_BYTES, &err);

		store_be32(key.id, (uint32_t)i + 1);
		snprintf(key.slot, sizeof(key.slot), "vd%d", i);
		if (!value || !key_fingerprint(key.id, 1, value, key.fingerprint, &err) ||
		    !key_store_add(store, &key, value, &reason, &err))
			fail_msg("%s", err.text);
	}
	if (!key_store_commit(store, &err))
		fail_msg("%s", err.text);
	snprintf(journal, sizeof(journal), "%s-journal", world->database);
	if (geteuid() == 0) {
		assert_int_equal(chown(world->database, 65534, 65534), 0);
		assert_int_equal(chown(journal, 65534, 65534), 0);
	}
}

/* Trust is taken while the store is still being verified, and a request is refused, not kept. */
static void nothing_is_served_before_all_is_verified(void **state)
{
	KeydWorld *world = *state;
	KeydWho who = { .who = KEYD_WHO };
	RoleForget forget = { .domain = "nobody.example" };
	KeydVerified verified;

	keyd_stop(world);
	assert_int_equal(unlink(world->database), 0);
	make_many(world);
	keyd_run(world);
	role_send(&world->keyd, KEYD_START, 5, &keyd_head_schema, &world->head);
	role_send(&world->keyd, ROLE_FORGET, 6, &role_forget_schema, &forget);
	role_send(&world->keyd, KEYD_PLACES, 7, &keyd_who_schema, &who);
	keyd_expect_refusal(world, 7, ERROR_UNAVAILABLE, "still being verified");
	keyd_expect_ready(world);
	assert_int_equal(world->head.entries, MANY_KEYS);
	verified = keyd_verify(world);
	assert_int_equal(verified.keys, MANY_KEYS);
	keyd_stop(world);
}

/* --- room --- */

static void one_vm_has_so_many_keys(void **state)
{
	KeydWorld *world = *state;
	KeydCreate more = keyd_wanted(KEYD_VM, "more");

	keyd_stop(world);
	assert_int_equal(unlink(world->database), 0);
	make_many(world);
	world->head.entries = 0;
	keyd_start(world);
	keyd_refused(world, KEYD_CREATE, &keyd_create_schema, &more, ERROR_LIMIT,
		     "has 3000 keys and versions that are not destroyed, at most 512");
	(void)keyd_create(world, KEYD_OTHER, "vda");
	keyd_stop(world);
}

static void bad_roots_and_stores_are_refused(void **state)
{
	KeydWorld *world = *state;
	static const char another[] =
		"1111111111111111111111111111111111111111111111111111111111111111";
	Error err = ERROR_INIT;

	keyd_stop(world);
	assert_int_equal(chmod(world->root, 0640), 0);
	expect_no_start(world, ERROR_CONFIG, "mode 0640");
	assert_true(file_replace(world->root, "short", 5, 0600, &err));
	expect_no_start(world, ERROR_CONFIG, "not one line of 64");
	assert_true(file_replace(world->root, another, strlen(another), 0600, &err));
	expect_no_start(world, ERROR_AUTH, "another root key");
	assert_int_equal(chmod(world->database, 0644), 0);
	expect_no_start(world, ERROR_CONFIG, "mode 0644");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define WITH(test) cmocka_unit_test_setup_teardown(test, make_world, drop_world)
		WITH(a_key_is_made_shown_and_listed),
		WITH(what_is_not_there_is_not_found),
		WITH(one_thing_has_one_key_in_use),
		WITH(a_vm_has_no_more_keys_than_can_move),
		WITH(rotation_leaves_one_active_version),
		WITH(destroying_takes_every_version_or_one),
		WITH(verifying_reads_it_all_in_steps),
		WITH(backends_are_told),
		WITH(one_caller_cannot_ask_for_all),
		cmocka_unit_test(nothing_is_answered_before_the_start),
		cmocka_unit_test(a_broken_rule_ends_it),
		WITH(it_goes_on_where_it_was_killed),
		WITH(a_store_that_was_put_back_is_noticed),
		WITH(a_store_that_was_removed_is_noticed),
		cmocka_unit_test(what_was_changed_by_hand_is_not_served),
		WITH(a_key_that_was_put_back_is_not_served),
		WITH(a_forged_entry_is_noticed_when_its_key_is_read),
		WITH(nothing_is_served_before_all_is_verified),
		WITH(one_vm_has_so_many_keys),
		WITH(bad_roots_and_stores_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
