/* SPDX-License-Identifier: Apache-2.0 */
/* Which key may be abandoned: its migration is over, as the engine's own store has it. What comes
 * of it then, tests/keyd/test_keyd_transfer.c shows. */
#include "tests/support/support.h"

#include <stdio.h>
#include <string.h>

#include "engine/keys.h"
#include "tests/store/records.h"

enum { NUMBER = 7 };

typedef struct Fixture {
	TestFolder folder;
	Engine *engine;
	MigrationRecord migration;
	KeyRecord key;
	Vm vm;
	char id[2 * MIGRATION_ID_BYTES + 1];
} Fixture;

static int setup(void **state)
{
	Fixture *f = test_calloc(1, sizeof(*f));
	char path[128];
	Error err = ERROR_INIT;

	support_make_folder(&f->folder);
	f->engine = test_calloc(1, sizeof(*f->engine));
	LIST_INIT(&f->engine->vms);
	LIST_INIT(&f->engine->jobs);
	f->engine->store = store_open(support_path(&f->folder, "sealift.db", path), &err);
	if (!f->engine->store)
		fail_msg("%s", err.text);
	sample_migration(NUMBER, &f->migration);
	hex_encode(f->migration.id, MIGRATION_ID_BYTES, f->id);
	f->key.version = 3;
	memcpy(f->key.migration, f->migration.id, sizeof(f->key.migration));
	snprintf(f->key.vm, sizeof(f->key.vm), "%s", f->migration.uuid);
	snprintf(f->migration.peer_id, sizeof(f->migration.peer_id),
		 "spiffe://south.example/host/s1");
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	Fixture *f = *state;

	store_close(f->engine->store);
	support_remove_folder(&f->folder);
	test_free(f->engine);
	test_free(f);
	return 0;
}

static void remember(Fixture *f, MigrationRole role, MigrationState migration_state)
{
	Error err = ERROR_INIT;

	f->migration.role = role;
	f->migration.state = migration_state;
	assert_works(store_put(f->engine->store, STORE_MIGRATIONS, f->id, &f->migration, &err),
		     &err);
}

static void assert_refused(Fixture *f, const char *words)
{
	KeydAbandon request = { .version = 0 };
	Error err;

	assert_fails(keys_judge_abandoning(f->engine, &f->key, &request, &err), ERROR_CONFLICT,
		     words, &err);
	assert_int_equal(request.version, 0);
}

static void assert_allowed(Fixture *f, const char *seen_by)
{
	KeydAbandon request = { .version = 0 };
	Error err;

	assert_works(keys_judge_abandoning(f->engine, &f->key, &request, &err), &err);
	assert_int_equal(request.version, 3);
	assert_string_equal(request.seen_by, seen_by);
	assert_memory_equal(request.migration, f->migration.id, sizeof(request.migration));
}

static void a_migration_that_is_over_lets_go_of_its_keys(void **state)
{
	static const MigrationState over[] = { MIGRATION_OK, MIGRATION_FAILED,
					       MIGRATION_CANCELLED };
	Fixture *f = *state;

	f->key.state = KEY_EXPORTING;
	for (size_t i = 0; i < ARRAY_SIZE(over); i++) {
		remember(f, MIGRATION_SOURCE, over[i]);
		assert_allowed(f, "south.example");
	}
	f->key.state = KEY_IMPORTED;
	remember(f, MIGRATION_DESTINATION, MIGRATION_FAILED);
	assert_allowed(f, "south.example");
}

static void one_that_is_under_way_does_not(void **state)
{
	static const MigrationState under_way[] = { MIGRATION_ACTIVE, MIGRATION_STUCK };
	Fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(under_way); i++) {
		f->key.state = KEY_EXPORTING;
		remember(f, MIGRATION_SOURCE, under_way[i]);
		assert_refused(f, f->id);
		f->key.state = KEY_IMPORTED;
		remember(f, MIGRATION_DESTINATION, under_way[i]);
		assert_refused(f, "is under way");
	}
}

/* Given away, and the other side is still asked: taken back here it would be active on both. */
static void one_that_gave_the_vm_away_asks_on(void **state)
{
	Fixture *f = *state;
	Error err = ERROR_INIT;
	Job job = { .engine = f->engine };

	ports_init(f->engine);
	f->key.state = KEY_EXPORTING;
	for (int committed = 0; committed < 2; committed++) {
		f->migration.committed = committed;
		f->migration.keys_moving = true;
		remember(f, MIGRATION_SOURCE, committed ? MIGRATION_OK : MIGRATION_FAILED);
		job.migration =
			migration_new_recovered(&f->engine->ports, &f->migration, NULL, &err);
		assert_non_null(job.migration);
		LIST_INSERT_HEAD(&f->engine->jobs, &job, link);
		if (committed)
			assert_refused(f, "still asked for its receipt");
		else
			assert_allowed(f, "south.example");
		LIST_REMOVE(&job, link);
		/* It gave up: nobody else ends it. */
		assert_allowed(f, "south.example");
		migration_free(job.migration);
	}
}

static void what_a_vm_that_came_needs_is_not_destroyed(void **state)
{
	Fixture *f = *state;

	f->key.state = KEY_IMPORTED;
	remember(f, MIGRATION_DESTINATION, MIGRATION_OK);
	assert_refused(f, "brought the VM here");
	/* Also if nobody remembers the migration. */
	memset(f->key.migration, 0x77, sizeof(f->key.migration));
	snprintf(f->vm.record.manifest.uuid, LIMIT_UUID, "%s", f->key.vm);
	LIST_INSERT_HEAD(&f->engine->vms, &f->vm, link);
	assert_refused(f, "is here, and the key opens it");
	LIST_REMOVE(&f->vm, link);
	memcpy(f->migration.id, f->key.migration, sizeof(f->migration.id));
	assert_allowed(f, "unknown");
}

static void a_key_that_is_not_on_its_way_is_none_of_it(void **state)
{
	static const KeyState at_rest[] = { KEY_PRE_ACTIVE, KEY_ACTIVE, KEY_DEACTIVATED,
					    KEY_DESTROYED };
	Fixture *f = *state;

	remember(f, MIGRATION_SOURCE, MIGRATION_FAILED);
	for (size_t i = 0; i < ARRAY_SIZE(at_rest); i++) {
		f->key.state = at_rest[i];
		assert_refused(f, "it is not on its way");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define WITH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
		WITH(a_migration_that_is_over_lets_go_of_its_keys),
		WITH(one_that_is_under_way_does_not),
		WITH(one_that_gave_the_vm_away_asks_on),
		WITH(what_a_vm_that_came_needs_is_not_destroyed),
		WITH(a_key_that_is_not_on_its_way_is_none_of_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
