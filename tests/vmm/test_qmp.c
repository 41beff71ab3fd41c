/* SPDX-License-Identifier: Apache-2.0 */
/* The QMP client against QEMUs that are right, wrong, slow, dying and mad. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "scripted_qemu.h"
#include "vmm/qmp.h"
#include "vmm/unix_socket.h"

enum { REPLY_MS = 5000, REPLIES_MAX = QMP_PENDING_MAX + 8 };

typedef struct Answer {
	unsigned int calls;
	bool ok;
	char value[64]; /* of a string in "return" */
	Error err;
	struct Fixture *free_from; /* frees its client in the callback */
} Answer;

typedef struct Fixture {
	struct event_base *base;
	ScriptedQemu qemu;
	QmpClient *client;
	unsigned int ready, closed, events;
	bool free_when_ready, free_on_event, free_when_closed;
	char event[64];
	int64_t event_wall_us;
	Error cause;
	Answer answers[REPLIES_MAX];
} Fixture;

static void drop_client(Fixture *f)
{
	qmp_free(f->client);
	f->client = NULL;
}

static void on_ready(void *context)
{
	Fixture *f = context;

	f->ready++;
	if (f->free_when_ready)
		drop_client(f);
}

static void on_event(void *context, const char *name, json_t *data, int64_t wall_us)
{
	Fixture *f = context;

	(void)data;
	f->events++;
	snprintf(f->event, sizeof(f->event), "%s", name);
	f->event_wall_us = wall_us;
	if (f->free_on_event)
		drop_client(f);
}

static void on_closed(void *context, const Error *cause)
{
	Fixture *f = context;

	f->closed++;
	f->cause = *cause;
	if (f->free_when_closed)
		drop_client(f);
}

static void on_answer(void *context, json_t *ret, const Error *err)
{
	Answer *answer = context;

	answer->calls++;
	assert_true(!ret != !err);
	answer->ok = ret;
	if (err)
		answer->err = *err;
	if (json_is_string(ret))
		snprintf(answer->value, sizeof(answer->value), "%s", json_string_value(ret));
	if (answer->free_from)
		drop_client(answer->free_from);
}

static const QmpEvents events = { .on_ready = on_ready,
				  .on_event = on_event,
				  .on_closed = on_closed };

static void begin(Fixture *f, Script *script, int64_t greeting_ms)
{
	Error err = ERROR_INIT;

	*f = (Fixture){ .base = event_base_new(), .qemu = scripted_qemu_start(script) };
	f->client = qmp_open_fd(f->base, f->qemu.fd, greeting_ms, &events, f, &err);
	assert_non_null(f->client);
	assert_int_equal(f->ready, 0);
}

/* Closes, and asks whether the script was content with us. */
static void end(Fixture *f)
{
	drop_client(f);
	event_base_free(f->base);
	assert_true(scripted_qemu_end(&f->qemu));
}

static void on_tick(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	(void)context;
}

static void wait_for(Fixture *f, const unsigned int *count, unsigned int value)
{
	int64_t deadline_us = clock_monotonic_us(&clock_system) + 10000000;
	struct event *tick = event_new(f->base, -1, EV_PERSIST, on_tick, NULL);

	event_add(tick, &(struct timeval){ .tv_usec = 50000 });
	while (*count < value && clock_monotonic_us(&clock_system) < deadline_us)
		event_base_loop(f->base, EVLOOP_ONCE);
	event_free(tick);
	assert_int_equal(*count, value);
}

static void ask(Fixture *f, size_t i, const char *command, json_t *arguments, int64_t deadline_ms)
{
	Error err = ERROR_INIT;

	if (!qmp_execute(f->client, command, arguments, deadline_ms, on_answer, &f->answers[i],
			 &err))
		fail_msg("%s", err.text);
}

/* --- right -------------------------------------------------------------------------------------
 */

static bool play_out_of_order(int fd)
{
	return script_greet(fd) && script_expect(fd, "\"execute\":\"first\"", NULL) &&
	       script_expect(fd, "{\"execute\":\"second\",\"id\":3,\"arguments\":{\"n\":7}}",
			     NULL) &&
	       script_say(
		       fd,
		       "{\"timestamp\": {\"seconds\": 5, \"microseconds\": 6}, "
		       "\"event\": \"STOP\"}\r\n"
		       "{\"return\": \"two\", \"id\": 3}\r\n{\"id\": 2, \"return\": \"one\"}\r\n") &&
	       script_expect_end(fd);
}

static void test_replies_find_their_commands(void **state)
{
	Fixture f;

	(void)state;
	begin(&f, play_out_of_order, REPLY_MS);
	wait_for(&f, &f.ready, 1);
	ask(&f, 0, "first", NULL, REPLY_MS);
	ask(&f, 1, "second", json_pack("{s:i}", "n", 7), REPLY_MS);
	wait_for(&f, &f.answers[0].calls, 1);
	assert_string_equal(f.answers[0].value, "one");
	assert_string_equal(f.answers[1].value, "two");
	assert_int_equal(f.answers[1].calls, 1);
	assert_string_equal(f.event, "STOP");
	assert_int_equal(f.event_wall_us, 5000006);
	end(&f);
	assert_int_equal(f.closed, 0);
}

static bool play_crumbs(int fd)
{
	const char *greeting = "{\"QMP\": {}}\n\r\n  \n";

	for (const char *p = greeting; *p; p++)
		if (write(fd, p, 1) != 1)
			return false;
	return script_expect(fd, "qmp_capabilities", NULL) && script_say(fd, "{\"return\": {},") &&
	       script_say(fd, " \"id\": 1}\n") && script_expect_end(fd);
}

static void test_lines_may_come_in_pieces(void **state)
{
	Fixture f;

	(void)state;
	begin(&f, play_crumbs, REPLY_MS);
	wait_for(&f, &f.ready, 1);
	end(&f);
}

static bool play_refusal(int fd)
{
	return script_greet(fd) && script_expect(fd, "migrate", NULL) &&
	       script_say(fd, "{\"id\": 2, \"error\": {\"class\": \"GenericError\", "
			      "\"desc\": \"Bad\\u001bthing\"}}\n") &&
	       script_expect(fd, "query-status", NULL) &&
	       script_say(fd, "{\"id\": 3, \"return\": {}}\n") && script_expect_end(fd);
}

static void test_refusal_is_an_answer(void **state)
{
	Fixture f;

	(void)state;
	begin(&f, play_refusal, REPLY_MS);
	wait_for(&f, &f.ready, 1);
	ask(&f, 0, "migrate", NULL, REPLY_MS);
	wait_for(&f, &f.answers[0].calls, 1);
	assert_int_equal(f.answers[0].err.category, ERROR_HYPERVISOR);
	assert_string_equal(f.answers[0].err.text, "migrate: Bad\\x1bthing");
	ask(&f, 1, "query-status", NULL, REPLY_MS);
	wait_for(&f, &f.answers[1].calls, 1);
	assert_true(f.answers[1].ok);
	end(&f);
}

static bool play_descriptor(int fd)
{
	char text[8] = "";
	int got = -1;

	return script_greet(fd) && script_expect(fd, "before", &got) && got < 0 &&
	       script_expect(fd, "add-fd", &got) && got >= 0 && pread(got, text, 5, 0) == 5 &&
	       !strcmp(text, "hello") && script_say(fd, "{\"id\": 3, \"return\": {}}\n") &&
	       script_expect_end(fd);
}

static void test_descriptor_goes_along(void **state)
{
	Fixture f;
	Error err = ERROR_INIT;
	int memory = memfd_create("test", MFD_CLOEXEC);

	(void)state;
	assert_int_equal(write(memory, "hello", 5), 5);
	begin(&f, play_descriptor, REPLY_MS);
	wait_for(&f, &f.ready, 1);
	ask(&f, 0, "before", NULL, REPLY_MS);
	assert_true(qmp_execute_with_fd(f.client, "add-fd", NULL, memory, REPLY_MS, on_answer,
					&f.answers[1], &err));
	/* Ours to close at once. */
	close(memory);
	wait_for(&f, &f.answers[1].calls, 1);
	assert_true(f.answers[1].ok);
	assert_false(qmp_execute_with_fd(f.client, "add-fd", NULL, 9999, REPLY_MS, on_answer,
					 &f.answers[2], &err));
	assert_int_equal(err.category, ERROR_IO);
	end(&f);
	assert_int_equal(f.answers[2].calls, 0);
}

/* --- slow --------------------------------------------------------------------------------------
 */

static bool play_silence(int fd)
{
	return script_expect_end(fd);
}

static void test_greeting_has_a_deadline(void **state)
{
	Fixture f;
	Error err = ERROR_INIT;

	(void)state;
	begin(&f, play_silence, 100);
	assert_false(qmp_execute(f.client, "quit", NULL, REPLY_MS, on_answer, &f.answers[0], &err));
	assert_int_equal(err.category, ERROR_UNAVAILABLE);
	wait_for(&f, &f.closed, 1);
	assert_int_equal(f.cause.category, ERROR_TIMEOUT);
	assert_int_equal(f.ready, 0);
	end(&f);
	assert_int_equal(f.answers[0].calls, 0);
}

static bool play_mute_after_greeting(int fd)
{
	return script_say(fd, "{\"QMP\": {}}\n") && script_expect(fd, "qmp_capabilities", NULL) &&
	       script_expect_end(fd);
}

static void test_negotiation_has_a_deadline(void **state)
{
	Fixture f;

	(void)state;
	begin(&f, play_mute_after_greeting, 100);
	wait_for(&f, &f.closed, 1);
	assert_int_equal(f.cause.category, ERROR_TIMEOUT);
	assert_int_equal(f.ready, 0);
	end(&f);
}

static bool play_late(int fd)
{
	return script_greet(fd) && script_expect(fd, "slow", NULL) &&
	       script_expect(fd, "next", NULL) &&
	       script_say(fd, "{\"id\": 2, \"return\": \"late\"}\n") &&
	       script_say(fd, "{\"id\": 3, \"return\": \"in time\"}\n") && script_expect_end(fd);
}

static void test_late_reply_is_dropped(void **state)
{
	Fixture f;

	(void)state;
	begin(&f, play_late, REPLY_MS);
	wait_for(&f, &f.ready, 1);
	ask(&f, 0, "slow", NULL, 50);
	wait_for(&f, &f.answers[0].calls, 1);
	assert_int_equal(f.answers[0].err.category, ERROR_TIMEOUT);
	ask(&f, 1, "next", NULL, REPLY_MS);
	wait_for(&f, &f.answers[1].calls, 1);
	assert_string_equal(f.answers[1].value, "in time");
	end(&f);
	assert_int_equal(f.answers[0].calls, 1);
	assert_int_equal(f.closed, 0);
}

static bool play_greet_and_wait(int fd)
{
	return script_greet(fd) && script_expect_end(fd);
}

static void test_queue_is_bounded(void **state)
{
	Fixture f;
	Error err = ERROR_INIT;
	size_t sent = 0;

	(void)state;
	begin(&f, play_greet_and_wait, REPLY_MS);
	wait_for(&f, &f.ready, 1);
	while (sent < REPLIES_MAX &&
	       qmp_execute(f.client, "quiet", NULL, REPLY_MS, on_answer, &f.answers[sent], &err))
		sent++;
	assert_int_equal(sent, QMP_PENDING_MAX);
	assert_int_equal(err.category, ERROR_LIMIT);
	end(&f);
	for (size_t i = 0; i < REPLIES_MAX; i++)
		assert_int_equal(f.answers[i].calls, i < sent);
	assert_int_equal(f.answers[0].err.category, ERROR_CANCELLED);
}

static void test_output_is_bounded(void **state)
{
	Fixture f;
	Error err = ERROR_INIT;
	char *text = malloc(QMP_OUTPUT_MAX_BYTES + 1);

	(void)state;
	memset(text, 'x', QMP_OUTPUT_MAX_BYTES);
	text[QMP_OUTPUT_MAX_BYTES] = '\0';
	begin(&f, play_greet_and_wait, REPLY_MS);
	wait_for(&f, &f.ready, 1);
	assert_false(qmp_execute(f.client, "large", json_pack("{s:s}", "text", text), REPLY_MS,
				 on_answer, &f.answers[0], &err));
	assert_int_equal(err.category, ERROR_LIMIT);
	end(&f);
	free(text);
}

/* --- dying and mad: each of these ends the connection ------------------------------------------
 */

static bool play_death(int fd)
{
	return script_greet(fd) && script_expect(fd, "one", NULL) && script_expect(fd, "two", NULL);
}

static void test_death_is_told_to_all(void **state)
{
	Fixture f;
	Error err = ERROR_INIT;

	(void)state;
	begin(&f, play_death, REPLY_MS);
	wait_for(&f, &f.ready, 1);
	ask(&f, 0, "one", NULL, REPLY_MS);
	ask(&f, 1, "two", NULL, REPLY_MS);
	wait_for(&f, &f.closed, 1);
	assert_int_equal(f.cause.category, ERROR_UNAVAILABLE);
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(f.answers[i].calls, 1);
		assert_int_equal(f.answers[i].err.category, ERROR_UNAVAILABLE);
	}
	assert_false(
		qmp_execute(f.client, "three", NULL, REPLY_MS, on_answer, &f.answers[2], &err));
	end(&f);
	assert_int_equal(f.answers[0].calls + f.answers[1].calls + f.answers[2].calls, 2);
}

typedef struct Madness {
	Script *play;
	ErrorCategory category;
	const char *text;
} Madness;

static bool play_no_json(int fd)
{
	return script_say(fd, "SSH-2.0-OpenSSH_9.2\r\n") && script_expect_end(fd);
}

static bool play_no_greeting(int fd)
{
	return script_say(fd, "{\"return\": {}}\n") && script_expect_end(fd);
}

static bool play_array(int fd)
{
	return script_greet(fd) && script_say(fd, "[1, 2]\n") && script_expect_end(fd);
}

static bool play_duplicate_key(int fd)
{
	return script_greet(fd) && script_say(fd, "{\"event\": \"A\", \"event\": \"B\"}\n") &&
	       script_expect_end(fd);
}

static bool play_deep(int fd)
{
	char text[8193];

	memset(text, '[', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	return script_greet(fd) && script_say(fd, text) && script_say(fd, "\n") &&
	       script_expect_end(fd);
}

static bool play_unknown_id(int fd)
{
	return script_greet(fd) && script_say(fd, "{\"return\": {}, \"id\": 77}\n") &&
	       script_expect_end(fd);
}

static bool play_text_id(int fd)
{
	return script_greet(fd) && script_say(fd, "{\"return\": {}, \"id\": \"1\"}\n") &&
	       script_expect_end(fd);
}

static bool play_same_id_twice(int fd)
{
	return script_greet(fd) && script_say(fd, "{\"return\": {}, \"id\": 1}\n") &&
	       script_expect_end(fd);
}

static bool play_error_without_id(int fd)
{
	return script_greet(fd) &&
	       script_say(
		       fd,
		       "{\"error\": {\"class\": \"GenericError\", \"desc\": \"JSON parse error\"}}\n") &&
	       script_expect_end(fd);
}

static bool play_error_without_text(int fd)
{
	return script_greet(fd) && script_say(fd, "{\"error\": 5, \"id\": 1}\n") &&
	       script_expect_end(fd);
}

static bool play_event_without_name(int fd)
{
	return script_greet(fd) && script_say(fd, "{\"event\": 5}\n") && script_expect_end(fd);
}

static bool play_unknown_kind(int fd)
{
	return script_greet(fd) && script_say(fd, "{\"hello\": \"world\"}\n") &&
	       script_expect_end(fd);
}

static bool play_half_line(int fd)
{
	return script_greet(fd) && script_say(fd, "{\"event\": \"STO");
}

static bool play_oversize(int fd)
{
	char text[65537];

	memset(text, ' ', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	if (!script_greet(fd))
		return false;
	for (size_t sent = 0; sent <= QMP_LINE_MAX_BYTES; sent += sizeof(text) - 1)
		if (!script_say(fd, text))
			break; /* it need not read all of it */
	return script_expect_end(fd);
}

static void test_madness_ends_the_connection(void **state)
{
	static const Madness cases[] = {
		{ play_no_json, ERROR_HYPERVISOR, "not a QMP message: \"SSH-2.0-OpenSSH_9.2\"" },
		{ play_no_greeting, ERROR_HYPERVISOR, "the first QMP line is no greeting" },
		{ play_array, ERROR_HYPERVISOR, "not a QMP message" },
		{ play_duplicate_key, ERROR_HYPERVISOR, "not a QMP message" },
		{ play_deep, ERROR_HYPERVISOR, "not a QMP message" },
		{ play_unknown_id, ERROR_HYPERVISOR, "id that was not asked for" },
		{ play_text_id, ERROR_HYPERVISOR, "id that was not asked for" },
		{ play_same_id_twice, ERROR_HYPERVISOR, "id that was not asked for" },
		{ play_error_without_id, ERROR_HYPERVISOR, "JSON parse error" },
		{ play_error_without_text, ERROR_HYPERVISOR, "without a description" },
		{ play_event_without_name, ERROR_HYPERVISOR, "without a name" },
		{ play_unknown_kind, ERROR_HYPERVISOR, "of no known kind" },
		{ play_half_line, ERROR_UNAVAILABLE, "in the middle of a line" },
		{ play_oversize, ERROR_LIMIT, "a QMP line" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		Fixture f;

		begin(&f, cases[i].play, REPLY_MS);
		wait_for(&f, &f.closed, 1);
		if (!strstr(f.cause.text, cases[i].text))
			fail_msg("case %zu: \"%s\"", i, f.cause.text);
		assert_int_equal(f.cause.category, cases[i].category);
		assert_int_equal(f.events, 0);
		end(&f);
		assert_int_equal(f.closed, 1);
	}
}

/* --- owners that let go at any point -----------------------------------------------------------
 */

static bool play_event_and_reply(int fd)
{
	return script_greet(fd) && script_expect(fd, "one", NULL) &&
	       script_expect(fd, "two", NULL) &&
	       script_say(fd, "{\"event\": \"STOP\"}\n{\"id\": 2, \"return\": {}}\n"
			      "{\"id\": 3, \"return\": {}}\n") &&
	       script_expect_end(fd);
}

static void test_free_in_callbacks(void **state)
{
	Fixture f;

	(void)state;
	begin(&f, play_greet_and_wait, REPLY_MS);
	f.free_when_ready = true;
	wait_for(&f, &f.ready, 1);
	end(&f);

	begin(&f, play_event_and_reply, REPLY_MS);
	wait_for(&f, &f.ready, 1);
	f.free_on_event = true;
	ask(&f, 0, "one", NULL, REPLY_MS);
	ask(&f, 1, "two", NULL, REPLY_MS);
	wait_for(&f, &f.events, 1);
	end(&f);
	assert_int_equal(f.answers[0].err.category, ERROR_CANCELLED);
	assert_int_equal(f.answers[0].calls + f.answers[1].calls, 2);

	begin(&f, play_event_and_reply, REPLY_MS);
	wait_for(&f, &f.ready, 1);
	f.answers[0].free_from = &f;
	ask(&f, 0, "one", NULL, REPLY_MS);
	ask(&f, 1, "two", NULL, REPLY_MS);
	wait_for(&f, &f.answers[1].calls, 1);
	end(&f);
	assert_true(f.answers[0].ok);
	assert_int_equal(f.answers[1].err.category, ERROR_CANCELLED);

	begin(&f, play_death, REPLY_MS);
	wait_for(&f, &f.ready, 1);
	f.free_when_closed = true;
	ask(&f, 0, "one", NULL, REPLY_MS);
	ask(&f, 1, "two", NULL, REPLY_MS);
	wait_for(&f, &f.closed, 1);
	end(&f);
	assert_int_equal(f.answers[0].calls + f.answers[1].calls, 2);
}

/* --- by path -----------------------------------------------------------------------------------
 */

static void test_open_by_path(void **state)
{
	char directory[] = "/tmp/sealift-qmp-test.XXXXXX";
	char path[64], link[64];
	struct event_base *base = event_base_new();
	Fixture f = { 0 };
	Error err = ERROR_INIT;
	int fd = -1;

	(void)state;
	assert_non_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/s", directory);
	snprintf(link, sizeof(link), "%s/l", directory);
	assert_null(qmp_open(base, path, 100, &events, &f, &err));
	assert_int_equal(err.category, ERROR_UNAVAILABLE);

	assert_true(unix_socket_listen(AT_FDCWD, path, 0600, &fd, &err));
	f.client = qmp_open(base, path, 100, &events, &f, &err);
	assert_non_null(f.client);
	drop_client(&f);
	/* A link may lead to somebody else's socket. */
	assert_int_equal(symlink("s", link), 0);
	assert_null(qmp_open(base, link, 100, &events, &f, &err));
	assert_int_equal(err.category, ERROR_DENIED);
	close(fd);
	assert_null(qmp_open(base, path, 100, &events, &f, &err));
	assert_int_equal(err.category, ERROR_UNAVAILABLE);
	unlink(link);
	unlink(path);
	rmdir(directory);
	event_base_free(base);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_replies_find_their_commands),
		cmocka_unit_test(test_lines_may_come_in_pieces),
		cmocka_unit_test(test_refusal_is_an_answer),
		cmocka_unit_test(test_descriptor_goes_along),
		cmocka_unit_test(test_greeting_has_a_deadline),
		cmocka_unit_test(test_negotiation_has_a_deadline),
		cmocka_unit_test(test_late_reply_is_dropped),
		cmocka_unit_test(test_queue_is_bounded),
		cmocka_unit_test(test_output_is_bounded),
		cmocka_unit_test(test_death_is_told_to_all),
		cmocka_unit_test(test_madness_ends_the_connection),
		cmocka_unit_test(test_free_in_callbacks),
		cmocka_unit_test(test_open_by_path),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
