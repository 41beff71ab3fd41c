/* SPDX-License-Identifier: Apache-2.0 */
/* Keys of disks that are to go: what is owed is written down, asked for, and asked for again, until
 * the key manager has said that it is done. keys_request is ours here (--wrap in meson.build). */
#include "tests/support/support.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/file.h"
#include "engine/key_ends.h"
#include "engine/keys.h"

enum { ASKED_MAX = 8 };

/* A request that waits for its answer. */
typedef struct Asked {
	KeydChange change;
	KeysDone *done;
	void *context;
	bool was_written; /* when it was asked, its row was there */
} Asked;

/* The key manager: engine->keys points here. */
typedef struct Manager {
	Asked asked[ASKED_MAX];
	size_t count;
	Error away; /* what a request is refused with; category 0: nothing */
} Manager;

typedef struct Fixture {
	TestFolder folder;
	Log log;
	Engine *engine;
	Manager manager;
} Fixture;

static bool is_owed(Engine *engine, const uint8_t *key)
{
	KeyEndRecord end;
	char id[KEY_ID_HEX];
	Error err = ERROR_INIT;

	key_id_text(key, id);
	return store_get(engine->store, STORE_KEY_ENDS, id, &end, &err);
}

bool __wrap_keys_request(Engine *engine, uint16_t type, const Schema *schema, const void *request,
			 uint16_t answer, KeysDone *done, void *context, uint64_t *ret_number,
			 Error *err);
bool __wrap_keys_request(Engine *engine, uint16_t type, const Schema *schema, const void *request,
			 uint16_t answer, KeysDone *done, void *context, uint64_t *ret_number,
			 Error *err)
{
	Manager *manager = (Manager *)(void *)engine->keys;
	const KeydChange *change = request;

	assert_int_equal(type, KEYD_CHANGE);
	assert_ptr_equal(schema, &keyd_change_schema);
	assert_int_equal(answer, KEYD_CHANGED);
	assert_null(ret_number);
	assert_works(schema_check(schema, request, err), err);
	if (manager->away.category) {
		*err = manager->away;
		return false;
	}
	assert_true(manager->count < ASKED_MAX);
	manager->asked[manager->count++] =
		(Asked){ *change, done, context, is_owed(engine, change->id) };
	return true;
}

static int setup(void **state)
{
	Fixture *f = test_calloc(1, sizeof(*f));
	Engine *engine = f->engine = test_calloc(1, sizeof(*engine));
	char path[128];
	Error err = ERROR_INIT;

	support_make_folder(&f->folder);
	f->log = (Log){ .program = "test",
			.level = LOG_LEVEL_WARNING,
			.fd = memfd_create("log", MFD_CLOEXEC) };
	assert_true(f->log.fd >= 0);
	engine->log = &f->log;
	LIST_INIT(&engine->clients);
	engine->store = store_open(support_path(&f->folder, "sealift.db", path), &err);
	assert_non_null(engine->store);
	engine->keys = (KeyManager *)(void *)&f->manager;
	*state = f;
	return 0;
}

/* To the request that was made last. */
static void answer(Fixture *f, ErrorCategory category, const char *text)
{
	Manager *manager = &f->manager;
	IpcMessage done = { .type = KEYD_CHANGED };
	Error failure = { .category = category };

	assert_true(manager->count > 0);
	manager->count--;
	snprintf(failure.text, sizeof(failure.text), "%s", text);
	manager->asked[manager->count].done(manager->asked[manager->count].context,
					    category ? NULL : &done, category ? &failure : NULL);
}

static int teardown(void **state)
{
	Fixture *f = *state;

	f->engine->stopping = true;
	while (f->manager.count)
		answer(f, ERROR_UNAVAILABLE, "it ends");
	store_close(f->engine->store);
	close(f->log.fd);
	support_remove_folder(&f->folder);
	test_free(f->engine);
	test_free(f);
	return 0;
}

static void add(Fixture *f, uint8_t number, const char *why)
{
	ManifestDisk disk = { .key = { 0xab, number } };

	snprintf(disk.pool, sizeof(disk.pool), "disks");
	snprintf(disk.volume, sizeof(disk.volume), "vol%u", number);
	key_ends_add(f->engine, &disk, why);
}

static bool is_owed_number(Fixture *f, uint8_t number)
{
	const uint8_t key[KEY_ID_BYTES] = { 0xab, number };

	return is_owed(f->engine, key);
}

static void assert_logged(Fixture *f, const char *words)
{
	AUTO_BUFFER Buffer text = BUFFER_INIT(65536);
	Error err = ERROR_INIT;

	assert_int_equal(lseek(f->log.fd, 0, SEEK_SET), 0);
	assert_works(file_read_fd(f->log.fd, text.max_bytes, &text, &err), &err);
	if (!*words && text.used)
		fail_msg("logged: %.*s", (int)text.used, (const char *)text.data);
	if (*words && !memmem(text.data, text.used, words, strlen(words)))
		fail_msg("no \"%s\" in: %.*s", words, (int)text.used, (const char *)text.data);
	assert_int_equal(ftruncate(f->log.fd, 0), 0);
	assert_int_equal(lseek(f->log.fd, 0, SEEK_SET), 0);
}

static void it_is_written_down_before_it_is_asked(void **state)
{
	Fixture *f = *state;
	const Asked *asked = f->manager.asked;

	add(f, 1, "VM 7e57 moved");
	assert_int_equal(f->manager.count, 1);
	assert_true(asked->was_written);
	assert_int_equal(asked->change.kind, KEYD_DESTROY);
	/* Every version that it has. */
	assert_int_equal(asked->change.version, 0);
	assert_int_equal(asked->change.id[0], 0xab);
	assert_int_equal(asked->change.id[1], 1);
	assert_string_equal(asked->change.who, "VM 7e57 moved");
	assert_true(is_owed_number(f, 1));
}

static void these_answers_settle_it(void **state)
{
	static const ErrorCategory answers[] = { ERROR_NONE, ERROR_CONFLICT, ERROR_NOT_FOUND };
	Fixture *f = *state;

	add(f, 100, "stays");
	for (uint8_t i = 0; i < ARRAY_SIZE(answers); i++) {
		add(f, i, "moved");
		answer(f, answers[i], "destroyed already");
		assert_false(is_owed_number(f, i));
		assert_true(is_owed_number(f, 100));
		assert_logged(f, "");
	}
}

static void these_do_not_and_are_told(void **state)
{
	static const ErrorCategory answers[] = { ERROR_UNAVAILABLE, ERROR_LIMIT, ERROR_IO,
						 ERROR_INTERNAL, ERROR_DENIED };
	Fixture *f = *state;

	for (uint8_t i = 0; i < ARRAY_SIZE(answers); i++) {
		add(f, i, "moved");
		answer(f, answers[i], "no, for a reason");
		assert_true(is_owed_number(f, i));
		assert_logged(f, "disks/vol");
	}
	add(f, 7, "VM 7e57 moved");
	answer(f, ERROR_IO, "no, for a reason");
	assert_logged(f,
		      "disk disks/vol7, VM 7e57 moved: ITS KEY ab070000000000000000000000000000 IS "
		      "STILL HERE: no, for a reason");
}

static void one_that_is_away_is_asked_when_it_serves(void **state)
{
	Fixture *f = *state;

	error_set(&f->manager.away, ERROR_UNAVAILABLE,
		  "the key manager is not there: it is starting");
	add(f, 1, "moved");
	add(f, 2, "moved");
	assert_int_equal(f->manager.count, 0);
	assert_logged(f, "it is starting");
	/* Served for a moment only. */
	key_ends_go_on(f->engine);
	assert_true(is_owed_number(f, 1) && is_owed_number(f, 2));
	f->manager.away.category = ERROR_NONE;
	key_ends_go_on(f->engine);
	assert_int_equal(f->manager.count, 2);
	assert_int_equal(f->manager.asked[0].change.id[1], 1);
	assert_int_equal(f->manager.asked[1].change.id[1], 2);
	answer(f, ERROR_NONE, "");
	answer(f, ERROR_UNAVAILABLE, "the key manager ended");
	assert_true(is_owed_number(f, 1));
	assert_false(is_owed_number(f, 2));
	/* Again, and only what is still owed. */
	key_ends_go_on(f->engine);
	assert_int_equal(f->manager.count, 1);
	assert_int_equal(f->manager.asked[0].change.id[1], 1);
	assert_string_equal(f->manager.asked[0].change.who, "moved");
	answer(f, ERROR_NONE, "");
	key_ends_go_on(f->engine);
	assert_int_equal(f->manager.count, 0);
}

/* The engine's end is no trouble with a key: it is asked again after the next start. */
static void an_engine_that_stops_is_silent(void **state)
{
	Fixture *f = *state;
	Error err = ERROR_INIT;
	char path[128];

	add(f, 1, "moved");
	f->engine->stopping = true;
	answer(f, ERROR_UNAVAILABLE, "the key manager ended");
	assert_logged(f, "");
	f->engine->stopping = false;
	store_close(f->engine->store);
	f->engine->store = store_open(support_path(&f->folder, "sealift.db", path), &err);
	assert_non_null(f->engine->store);
	key_ends_go_on(f->engine);
	assert_int_equal(f->manager.count, 1);
}

static void one_that_cannot_be_written_is_asked_all_the_same(void **state)
{
	const ManifestDisk disk = { .key = { 0xab, 9 }, .pool = "no name", .volume = "v" };
	Fixture *f = *state;

	key_ends_add(f->engine, &disk, "moved");
	assert_false(is_owed_number(f, 9));
	assert_logged(f, "ITS KEY ab090000000000000000000000000000 IS STILL HERE: key-end: pool");
	assert_int_equal(f->manager.count, 1);
	assert_false(f->manager.asked[0].was_written);
	/* Nothing to settle is no trouble. */
	answer(f, ERROR_NONE, "");
	assert_logged(f, "");
}

static void a_reason_is_cut_to_its_room(void **state)
{
	Fixture *f = *state;

	add(f, 1,
	    "a reason that is longer than the row of the table that is to hold it has room for");
	assert_true(is_owed_number(f, 1));
	assert_int_equal(strlen(f->manager.asked[0].change.who), LIMIT_NAME - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define WITH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
		WITH(it_is_written_down_before_it_is_asked),
		WITH(these_answers_settle_it),
		WITH(these_do_not_and_are_told),
		WITH(one_that_is_away_is_asked_when_it_serves),
		WITH(an_engine_that_stops_is_silent),
		WITH(one_that_cannot_be_written_is_asked_all_the_same),
		WITH(a_reason_is_cut_to_its_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
