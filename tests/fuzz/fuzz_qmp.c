/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/qmp.c: all that a hypervisor says on its monitor socket, greeting included, then silence. One
 * command is pending as soon as the client is ready. */
#include <errno.h>
#include <event2/event.h>
#include <string.h>
#include <sys/socket.h>

#include "tests/fuzz/fuzz.h"
#include "vmm/qmp.h"

enum { REACHED_READY, REACHED_EVENT, REACHED_REPLY, REACHED_REFUSAL, REACHED_CLOSED };

typedef struct Run {
	QmpClient *client;
	unsigned int replies, commands, closed;
} Run;

static struct event_base *base;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const char *const names[] = { "on_ready", "on_event", "a reply", "a refusal",
					     "on_closed" };

	(void)argc;
	(void)argv;
	fuzz_expect(names, ARRAY_SIZE(names));
	base = event_base_new();
	return base ? 0 : 1;
}

static void on_reply(void *context, json_t *ret, const Error *err)
{
	Run *run = context;

	if (!ret == !err)
		fuzz_fail("a reply is neither or both");
	run->replies++;
	if (ret)
		fuzz_reached(REACHED_REPLY);
	else if (err->category == ERROR_HYPERVISOR && !run->closed)
		fuzz_reached(REACHED_REFUSAL);
}

static void on_ready(void *context)
{
	Run *run = context;
	Error err = ERROR_INIT;

	fuzz_reached(REACHED_READY);
	for (int i = 0; i < 2; i++)
		if (qmp_execute(run->client, "query-status", NULL, 1000, on_reply, run, &err))
			run->commands++;
}

static void on_event(void *context, const char *name, json_t *data, int64_t wall_us)
{
	(void)context;
	(void)data;
	(void)wall_us;
	if (!name)
		fuzz_fail("an event without a name");
	fuzz_reached(REACHED_EVENT);
}

static void on_closed(void *context, const Error *cause)
{
	Run *run = context;

	if (!cause->category || run->closed++)
		fuzz_fail("closed without a cause, or twice");
	fuzz_reached(REACHED_CLOSED);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const QmpEvents events = { on_ready, on_event, on_closed };
	Run run = { 0 };
	int pair[2];
	Error err = ERROR_INIT;

	if (size > 65536 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return 0;
	run.client = qmp_open_fd(base, pair[0], 1000, &events, &run, &err);
	if (!run.client || send(pair[1], data, size, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ||
	    shutdown(pair[1], SHUT_WR))
		fuzz_fail(run.client ? strerror(errno) : err.text);
	/* The end of the file is the last thing to come, so this ends. */
	while (!run.closed)
		if (event_base_loop(base, EVLOOP_ONCE) < 0)
			fuzz_fail("the loop broke");
	qmp_free(run.client);
	if (run.replies != run.commands)
		fuzz_fail("a command was not answered exactly once");
	close(pair[1]);
	return 0;
}
