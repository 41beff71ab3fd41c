/* SPDX-License-Identifier: Apache-2.0 */
/* Whose keys fill the store: share.c on a store of its own, without a process around it. */
#include "tests/support/support.h"

#include <stdio.h>
#include <string.h>

#include "programs/keyd/keyd.h"

#define VM "7e5710c5-0000-4000-8000-000000000001"

typedef struct Fixture {
	TestFolder folder;
	Keyd keyd;
	KeydCreate create;
	IpcMessage message;
	uint32_t made;
} Fixture;

static int setup(void **state)
{
	Fixture *f = test_calloc(1, sizeof(*f));
	AUTO_SECRET Secret *bytes = NULL;
	char path[128];
	Error err = ERROR_INIT;

	support_make_folder(&f->folder);
	bytes = secret_new(KEY_BYTES, &err);
	f->keyd.clock = &clock_system;
	f->keyd.root = bytes ? root_key_new("file", bytes, &err) : NULL;
	if (f->keyd.root)
		f->keyd.store = key_store_open(support_path(&f->folder, "keys.db", path),
					       f->keyd.root, &err);
	if (!f->keyd.store)
		fail_msg("%s", err.text);
	snprintf(f->create.vm, sizeof(f->create.vm), VM);
	f->message = (IpcMessage){ .type = KEYD_CREATE, .payload = &f->create };
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	Fixture *f = *state;

	key_store_free(f->keyd.store);
	root_key_free(f->keyd.root);
	support_remove_folder(&f->folder);
	test_free(f);
	return 0;
}

/* As the key manager makes one, or gets one by a move. */
static KeyRecord add(Fixture *f, const char *who, KeyAction action)
{
	const KeyReason reason = { action, who, "", 1 };
	AUTO_SECRET Secret *value = NULL;
	KeyRecord key = { .version = 1,
			  .state = action == KEY_RECEIVED ? KEY_IMPORTED : KEY_ACTIVE,
			  .vm = VM,
			  .owner = "north.example",
			  .epoch = 1,
			  .backend = KEY_BACKEND_EMBEDDED };
	Error err = ERROR_INIT;

	store_be32(key.id, ++f->made);
	snprintf(key.slot, sizeof(key.slot), "vd%u", f->made);
	if (action == KEY_RECEIVED)
		memset(key.migration, 1, sizeof(key.migration));
	value = secret_new(KEY_BYTES, &err);
	assert_non_null(value);
	assert_works(key_fingerprint(key.id, 1, value, key.fingerprint, &err), &err);
	assert_works(key_store_add(f->keyd.store, &key, value, &reason, &err), &err);
	return key;
}

static bool may_add(Fixture *f, const char *who, Error *err)
{
	snprintf(f->create.who, sizeof(f->create.who), "%s", who);
	return keyd_check_share(&f->keyd, &f->message, err);
}

static void others_make_no_more_than_their_share(void **state)
{
	Fixture *f = *state;
	Error err;

	/* As after a start: what the log had then is counted already. */
	f->keyd.created = LIMIT_KEYS_OTHERS - 2;
	(void)add(f, "uid 1000", KEY_CREATED);
	assert_works(may_add(f, "uid 1000", &err), &err);
	assert_int_equal(f->keyd.created, LIMIT_KEYS_OTHERS - 1);
	/* Neither root's nor those that came by a move count. */
	(void)add(f, "uid 0", KEY_CREATED);
	(void)add(f, "migration 1", KEY_RECEIVED);
	assert_works(may_add(f, "uid 1000", &err), &err);
	(void)add(f, "uid 1001", KEY_CREATED);
	assert_fails(may_add(f, "uid 1000", &err), ERROR_LIMIT, "have made 262144 keys", &err);
	assert_fails(may_add(f, "uid 00", &err), ERROR_LIMIT, "only root makes more", &err);
	assert_works(may_add(f, "uid 0", &err), &err);
}

static void a_rotation_is_counted_as_a_creation_is(void **state)
{
	Fixture *f = *state;
	KeyRecord key = add(f, "uid 1000", KEY_CREATED);
	KeydName name = { .who = "uid 1000" };
	Error err;

	memcpy(name.id, key.id, sizeof(name.id));
	f->message = (IpcMessage){ .type = KEYD_ROTATE, .payload = &name };
	assert_works(keyd_check_share(&f->keyd, &f->message, &err), &err);
	f->keyd.created = LIMIT_KEYS_OTHERS;
	assert_fails(keyd_check_share(&f->keyd, &f->message, &err), ERROR_LIMIT, "only root", &err);
	name.id[0] ^= 0x80;
	assert_fails(keyd_check_share(&f->keyd, &f->message, &err), ERROR_NOT_FOUND, "no key",
		     &err);
}

static void what_is_destroyed_takes_no_room_of_its_vm(void **state)
{
	static const KeyReason retired = { KEY_RETIRED, "uid 0", "", 2 };
	static const KeyReason wiped = { KEY_WIPED, "uid 0", "", 2 };
	Fixture *f = *state;
	KeyRecord key = { .version = 0 };
	Error err;

	assert_works(key_store_begin(f->keyd.store, &err), &err);
	for (int i = 0; i < LIMIT_VM_KEYS; i++)
		key = add(f, "uid 0", KEY_CREATED);
	assert_works(key_store_commit(f->keyd.store, &err), &err);
	assert_fails(may_add(f, "uid 0", &err), ERROR_LIMIT, "has 512 keys and versions", &err);
	key.state = KEY_DEACTIVATED;
	assert_works(key_store_change(f->keyd.store, &key, &retired, &err), &err);
	assert_fails(may_add(f, "uid 0", &err), ERROR_LIMIT, "destroy old ones", &err);
	key.state = KEY_DESTROYED;
	assert_works(key_store_change(f->keyd.store, &key, &wiped, &err), &err);
	assert_works(may_add(f, "uid 0", &err), &err);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define WITH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
		WITH(others_make_no_more_than_their_share),
		WITH(a_rotation_is_counted_as_a_creation_is),
		WITH(what_is_destroyed_takes_no_room_of_its_vm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
