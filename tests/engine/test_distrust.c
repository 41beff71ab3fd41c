/* SPDX-License-Identifier: Apache-2.0 */
/* A peer whose domain is no longer trusted: its migration ends with one clear line. That the gate
 * closes the connection is for tests/gate/test_gate_identity.c. */
#include "tests/support/support.h"

#include <event2/event.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/engine.h"
#include "tests/store/records.h"

enum { CONNECTION = 5 };

#define REASON "192.0.2.7: no root of the domain of spiffe://south.example/host/s1 is trusted here"

typedef struct Fixture {
	TestFolder folder;
	Log log;
	Engine *engine;
	Vm *vm;
	Job *job;
} Fixture;

/* The connection is there already, and no mover is needed to lose it. */
static void no_dial(void *context, Migration *m)
{
	(void)context;
	(void)m;
}
static void no_mover(void *context, Migration *m, uint64_t channels)
{
	(void)context;
	(void)m;
	(void)channels;
}

static int setup(void **state)
{
	Fixture *f = test_calloc(1, sizeof(*f));
	Engine *engine = test_calloc(1, sizeof(*engine));
	char path[128];
	Error err = ERROR_INIT;

	support_make_folder(&f->folder);
	f->log = (Log){ .program = "test", .level = LOG_LEVEL_INFO };
	f->log.fd = memfd_create("log", MFD_CLOEXEC);
	f->engine = engine;
	engine->log = &f->log;
	engine->base = event_base_new();
	engine->store = store_open(support_path(&f->folder, "sealift.db", path), &err);
	if (!engine->store)
		fail_msg("%s", err.text);
	LIST_INIT(&engine->vms);
	LIST_INIT(&engine->jobs);
	LIST_INIT(&engine->connections);
	LIST_INIT(&engine->requests);
	LIST_INIT(&engine->clients);
	ports_init(engine);
	engine->ports.dial = no_dial;
	engine->ports.mover_start = no_mover;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	Fixture *f = *state;

	while (!LIST_EMPTY(&f->engine->jobs))
		job_free(LIST_FIRST(&f->engine->jobs));
	while (!LIST_EMPTY(&f->engine->vms))
		vm_forget(LIST_FIRST(&f->engine->vms));
	store_close(f->engine->store);
	event_base_free(f->engine->base);
	support_remove_folder(&f->folder);
	close(f->log.fd);
	test_free(f->engine);
	test_free(f);
	return 0;
}

/* A source whose peer is connected; its guest runs. */
static void begin(Fixture *f)
{
	const MigrationOptions options = { .channels = 1, .max_downtime_ms = 100 };
	Connection *connection = calloc(1, sizeof(*connection));
	VmRecord vm;
	HostRecord host;
	Migration *migration;
	Error err = ERROR_INIT;

	sample_vm("vm1", &vm);
	sample_host("s1", &host);
	f->vm = vm_add(f->engine, &vm, &err);
	assert_non_null(f->vm);
	assert_works(vm_save(f->vm, &err), &err);
	migration = migration_new_source(&f->engine->ports, &vm, &host, &options, &err);
	assert_non_null(migration);
	f->job = job_new(f->engine, migration, f->vm);
	assert_non_null(f->job);
	assert_non_null(connection);
	connection->number = CONNECTION;
	snprintf(connection->peer_id, sizeof(connection->peer_id), "%s", host.id);
	connection->job = f->job;
	f->job->connection = connection;
	LIST_INSERT_HEAD(&f->engine->connections, connection, link);
	migration_start(migration);
	migration_on_peer_open(migration, 100);
	assert_int_equal(migration_record(migration)->state, MIGRATION_ACTIVE);
}

static void gate_closes(Fixture *f, uint64_t number)
{
	static RoleFailure failure;
	IpcMessage message = { .type = GATE_CLOSED, .subject = number, .payload = &failure };

	failure = (RoleFailure){ .category = ERROR_AUTH, .text = REASON };
	connections_on_gate_message(f->engine, &message);
}

/* Lines of the log that hold these words. */
static unsigned int count_lines(const Fixture *f, const char *words)
{
	char text[8192];
	ssize_t got = pread(f->log.fd, text, sizeof(text) - 1, 0);
	unsigned int count = 0;

	assert_in_range(got, 0, sizeof(text) - 2);
	text[got] = '\0';
	for (const char *at = strstr(text, words); at; at = strstr(strchrnul(at, '\n'), words))
		count++;
	return count;
}

static void its_migration_fails_with_the_reason(void **state)
{
	Fixture *f = *state;
	MigrationRecord record;
	char key[2 * MIGRATION_ID_BYTES + 1];
	Error err;

	begin(f);
	hex_encode(migration_record(f->job->migration)->id, MIGRATION_ID_BYTES, key);
	gate_closes(f, CONNECTION);
	assert_true(LIST_EMPTY(&f->engine->connections));
	event_base_loop(f->engine->base, EVLOOP_NONBLOCK);
	assert_true(LIST_EMPTY(&f->engine->jobs));
	assert_works(store_get(f->engine->store, STORE_MIGRATIONS, key, &record, &err), &err);
	assert_int_equal(record.state, MIGRATION_FAILED);
	assert_int_equal(record.category, ERROR_AUTH);
	assert_string_equal(record.error, REASON);
	assert_int_equal(count_lines(f, REASON), 1);
	/* The guest is where it was, free to move to somebody else. */
	assert_int_equal(f->vm->record.state, VM_RUNNING);
	assert_null(f->vm->job);
}

static void another_connection_is_nothing_to_it(void **state)
{
	Fixture *f = *state;

	begin(f);
	gate_closes(f, CONNECTION + 1);
	event_base_loop(f->engine->base, EVLOOP_NONBLOCK);
	assert_int_equal(migration_record(f->job->migration)->state, MIGRATION_ACTIVE);
	assert_non_null(f->job->connection);
	assert_int_equal(count_lines(f, REASON), 0);
}

#define DISTRUST_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		DISTRUST_TEST(its_migration_fails_with_the_reason),
		DISTRUST_TEST(another_connection_is_nothing_to_it),
	};

	return cmocka_run_group_tests_name("engine/distrust", tests, NULL, NULL);
}
