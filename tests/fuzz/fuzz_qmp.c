/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/qmp.c: pieces (stream.h), then all that a hypervisor says on its monitor socket, greeting
 * included, then silence. Commands are pending as soon as the client is ready. */
#include <errno.h>
#include <event2/event.h>
#include <string.h>
#include <sys/socket.h>

#include "tests/fuzz/stream.h"
#include "vmm/qmp.h"

enum { REACHED_READY, REACHED_EVENT, REACHED_REPLY, REACHED_REFUSAL, REACHED_CLOSED };
enum { MESSAGES_MAX = 65536 };

typedef struct Run {
	QmpClient *client;
	unsigned int replies, commands, closed;
	FuzzSummary summary; /* of what the client told */
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
	fuzz_digest(&run->summary, ret ? 1 : (uint64_t)err->category << 8);
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
	Run *run = context;

	(void)data;
	(void)wall_us;
	if (!name)
		fuzz_fail("an event without a name");
	fuzz_digest_bytes(&run->summary, name, strlen(name));
	fuzz_reached(REACHED_EVENT);
}

static void on_closed(void *context, const Error *cause)
{
	Run *run = context;

	if (!cause->category || run->closed++)
		fuzz_fail("closed without a cause, or twice");
	fuzz_digest(&run->summary, cause->category);
	fuzz_reached(REACHED_CLOSED);
}

static void loop(int flags)
{
	if (event_base_loop(base, flags) < 0)
		fuzz_fail("the loop broke");
}

/* A client that has closed reads no more, so what is sent then is lost. */
static void send_all(Run *run, int fd, FuzzPieces pieces, const uint8_t *data, size_t size)
{
	size_t sent = 0, more;

	while (sent < size && !run->closed) {
		more = fuzz_pieces_next(&pieces, sent);
		if (more > size - sent)
			more = size - sent;
		if (send(fd, data + sent, more, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)more)
			fuzz_fail(strerror(errno));
		sent += more;
		if (sent < size)
			loop(EVLOOP_NONBLOCK);
	}
	if (!run->closed && shutdown(fd, SHUT_WR))
		fuzz_fail(strerror(errno));
}

static FuzzSummary talk(FuzzPieces pieces, const uint8_t *data, size_t size)
{
	static const QmpEvents events = { on_ready, on_event, on_closed };
	Run run = { 0 };
	int pair[2];
	Error err = ERROR_INIT;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		fuzz_fail(strerror(errno));
	run.client = qmp_open_fd(base, pair[0], 1000, &events, &run, &err);
	if (!run.client)
		fuzz_fail(err.text);
	send_all(&run, pair[1], pieces, data, size);
	/* The end of the file is the last thing to come, so this ends. */
	while (!run.closed)
		loop(EVLOOP_ONCE);
	qmp_free(run.client);
	if (run.replies != run.commands)
		fuzz_fail("a command was not answered exactly once");
	close(pair[1]);
	return run.summary;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	FuzzPieces pieces = fuzz_pieces_take(&data, &size);
	FuzzSummary whole, cut;

	if (size > MESSAGES_MAX)
		return 0;
	whole = talk((FuzzPieces){ .whole = true }, data, size);
	cut = talk(pieces, data, size);
	fuzz_same(&whole, &cut);
	return 0;
}
