/* SPDX-License-Identifier: Apache-2.0 */
/* `resolve` through the API's socket: in the ledger before it is done, or not done. */
#include "tests/support/support.h"

#include <event2/event.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/file.h"
#include "engine/engine.h"
#include "engine/ledger.h"
#include "tests/store/records.h"

enum { DEADLINE_S = 20 };

typedef struct Fixture {
	TestFolder folder;
	Log log;
	Engine *engine;
	MigrationRecord record;
	int client;
	char reply[2048];
	size_t reply_used;
} Fixture;

static int setup(void **state)
{
	Fixture *f = test_calloc(1, sizeof(*f));
	Engine *engine = test_calloc(1, sizeof(*engine));
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	Migration *migration;
	char path[128];
	Error err = ERROR_INIT;

	support_make_folder(&f->folder);
	f->log = (Log){ .program = "test", .level = LOG_LEVEL_ERROR, .fd = 2 };
	f->engine = engine;
	engine->log = &f->log;
	engine->base = event_base_new();
	engine->store = store_open(support_path(&f->folder, "sealift.db", path), &err);
	if (!engine->store)
		fail_msg("%s", err.text);
	snprintf(engine->config.state_directory, LIMIT_PATH, "%s", f->folder.path);
	snprintf(engine->config.socket, LIMIT_UNIX_PATH, "%s",
		 support_path(&f->folder, "sock", path));
	LIST_INIT(&engine->jobs);
	LIST_INIT(&engine->connections);
	LIST_INIT(&engine->clients);
	ports_init(engine);
	sample_migration(1, &f->record);
	f->record.role = MIGRATION_SOURCE;
	f->record.state = MIGRATION_STUCK;
	migration = migration_new_recovered(&engine->ports, &f->record, NULL, &err);
	assert_non_null(migration);
	assert_non_null(job_new(engine, migration, NULL));
	assert_works(api_start(engine, &err), &err);
	f->client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	memcpy(address.sun_path, engine->config.socket, strlen(engine->config.socket) + 1);
	assert_int_equal(connect(f->client, (struct sockaddr *)&address, sizeof(address)), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	Fixture *f = *state;

	close(f->client);
	api_stop(f->engine);
	while (!LIST_EMPTY(&f->engine->jobs))
		job_free(LIST_FIRST(&f->engine->jobs));
	store_close(f->engine->store);
	event_base_free(f->engine->base);
	support_remove_folder(&f->folder);
	test_free(f->engine);
	test_free(f);
	return 0;
}

static void on_reply(evutil_socket_t fd, short what, void *context)
{
	Fixture *f = context;
	ssize_t got;

	(void)what;
	got = read(fd, f->reply + f->reply_used, sizeof(f->reply) - 1 - f->reply_used);
	assert_true(got > 0);
	f->reply_used += (size_t)got;
	f->reply[f->reply_used] = '\0';
	if (strchr(f->reply, '\n'))
		event_base_loopbreak(f->engine->base);
}

static const char *resolve(Fixture *f, const char *action)
{
	const struct timeval deadline = { .tv_sec = DEADLINE_S };
	char id[2 * MIGRATION_ID_BYTES + 1], line[256];
	struct event *event =
		event_new(f->engine->base, f->client, EV_READ | EV_PERSIST, on_reply, f);
	int length;

	hex_encode(f->record.id, sizeof(f->record.id), id);
	length = snprintf(line, sizeof(line),
			  "{\"execute\":\"resolve\",\"arguments\":{\"migration\":\"%s\",\"action\":"
			  "\"%s\"}}\n",
			  id, action);
	assert_non_null(event);
	assert_int_equal(event_add(event, NULL), 0);
	assert_int_equal(write(f->client, line, (size_t)length), length);
	event_base_loopexit(f->engine->base, &deadline);
	event_base_dispatch(f->engine->base);
	event_free(event);
	assert_non_null(strchr(f->reply, '\n'));
	return f->reply;
}

/* The sample is not in a step that can be resolved: begun is written all the same, then refused. */
static void it_is_written_before_it_is_done(void **state)
{
	Fixture *f = *state;
	AUTO_BUFFER Buffer text = BUFFER_INIT(65536);
	char path[128], uid[32];
	const char *begun, *refused;
	Error err;

	assert_non_null(strstr(resolve(f, "run-here"), "nothing to resolve"));
	assert_works(file_read(support_path(&f->folder, LEDGER_NAME, path), 65536, &text, &err),
		     &err);
	assert_works(buffer_put_u8(&text, 0, &err), &err);
	begun = (const char *)text.data;
	refused = strchr(begun, '\n') + 1;
	snprintf(uid, sizeof(uid), "\"uid\":%u,", geteuid());
	assert_non_null(strstr(begun, "\"outcome\":\"begun\"}\n"));
	assert_true(strstr(begun, uid) < refused);
	assert_non_null(strstr(begun, "\"action\":\"run-here\""));
	assert_non_null(
		strstr(refused, "\"outcome\":\"refused\",\"reason\":\"migration is in step "));
	assert_int_equal(refused[strlen(refused) - 1], '\n');
	assert_ptr_equal(strchr(refused, '\n'), refused + strlen(refused) - 1);
}

/* The same question without a ledger does not get as far as the migration. */
static void what_cannot_be_written_is_not_done(void **state)
{
	Fixture *f = *state;
	char path[128];
	const char *reply;

	assert_int_equal(mkdir(support_path(&f->folder, LEDGER_NAME, path), 0700), 0);
	reply = resolve(f, "run-here");
	assert_non_null(strstr(reply, "\"category\": \"io\"")
				? reply
				: strstr(reply, "\"category\":\"io\""));
	assert_non_null(strstr(reply, LEDGER_NAME));
	assert_null(strstr(reply, "nothing to resolve"));
}

/* A word that is no action leaves no trace. */
static void no_action_is_no_decision(void **state)
{
	Fixture *f = *state;
	char path[128];

	assert_non_null(strstr(resolve(f, "explode"), "neither"));
	assert_int_equal(access(support_path(&f->folder, LEDGER_NAME, path), F_OK), -1);
}

#define RESOLVE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		RESOLVE_TEST(it_is_written_before_it_is_done),
		RESOLVE_TEST(what_cannot_be_written_is_not_done),
		RESOLVE_TEST(no_action_is_no_decision),
	};

	return cmocka_run_group_tests_name("engine/resolve", tests, NULL, NULL);
}
