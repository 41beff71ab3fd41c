/* SPDX-License-Identifier: Apache-2.0 */
/* The loop: one request after the other, and the end of what was open for too long. */
#include <errno.h>
#include <poll.h>

#include "programs/keyd/handover.h"

/* What is to be known of a request before its handler gets it. */
enum {
	EARLY = 1 << 0,	 /* answered while the store is still being verified */
	WRITES = 1 << 1, /* may write, its refusal too */
	ADDS = 1 << 2,	 /* adds a key: keyd_check_share */
};

typedef struct RequestRow {
	uint16_t type; /* 0 ends the table */
	unsigned int flags;
	KeydHandler *handler;
} RequestRow;

static const RequestRow requests[] = {
	{ ROLE_ANCHOR, EARLY, keyd_on_anchor },
	{ ROLE_CRL, EARLY, keyd_on_crl },
	{ ROLE_FORGET, EARLY, keyd_on_forget },
	{ KEYD_START, EARLY, keyd_on_start },
	{ KEYD_CREATE, WRITES | ADDS, keyd_on_create },
	{ KEYD_SHOW, WRITES, keyd_on_show },
	{ KEYD_LIST, 0, keyd_on_list },
	{ KEYD_ROTATE, WRITES | ADDS, keyd_on_rotate },
	{ KEYD_CHANGE, WRITES, keyd_on_change },
	{ KEYD_OPEN, WRITES, keyd_on_open },
	{ KEYD_USED, 0, keyd_on_used },
	{ KEYD_LOG, 0, keyd_on_log },
	{ KEYD_VERIFY, 0, keyd_on_verify },
	{ KEYD_PLACES, 0, keyd_on_places },
	{ KEYD_TRANSFER, WRITES, keyd_on_step },
	{ KEYD_ABANDON, WRITES, keyd_on_abandon },
	{ KEYD_HELPER, EARLY, keyd_on_helper },
	{ 0 },
};

static const RequestRow *row_of(uint16_t type)
{
	const RequestRow *row = requests;

	while (row->type != type)
		row++;
	return row;
}

static bool handle(Keyd *keyd, const RequestRow *row, const IpcMessage *message, bool *link_ok,
		   Error *err)
{
	if (keyd->verifying && !(row->flags & EARLY))
		return error_set(err, ERROR_UNAVAILABLE, "the key store is still being verified");
	return keyd_judge_host(keyd, message, err) &&
	       (!(row->flags & ADDS) || keyd_check_share(keyd, message, err)) &&
	       row->handler(keyd, message, link_ok, err);
}

/* False if the link is of no more use. */
static bool answer(Keyd *keyd, const IpcMessage *message, Error *err)
{
	const RequestRow *row = row_of(message->type);
	bool link_ok = true;
	Error failure;

	if (handle(keyd, row, message, &link_ok, err) || !link_ok)
		return link_ok;
	failure = *err;
	/* A refusal stands in the log, too. */
	return (!(row->flags & WRITES) || keyd_tell_head(keyd, err)) &&
	       role_send_failure(keyd->link, message->subject, &failure, err);
}

/* The sooner of two of poll's times, of which -1 is never. */
static int sooner(int a_ms, int b_ms)
{
	if (a_ms < 0 || b_ms < 0)
		return a_ms < 0 ? b_ms : a_ms;
	return a_ms < b_ms ? a_ms : b_ms;
}

/* Waits for the next request; meanwhile takes what helpers answer, and wipes what was open for too
 * long. While the store is being verified it goes on with that instead of waiting. */
static bool wait_for_request(Keyd *keyd, Error *err)
{
	struct pollfd waits[2 + HELPERS_MAX] = {
		{ .fd = ROLE_LINK_FD, .events = POLLIN },
		{ .fd = helper_root_fd(keyd->root), .events = POLLIN },
	};

	while (!waits[0].revents) {
		int64_t now_us = clock_monotonic_us(keyd->clock);
		int wait_ms = sooner(opened_expire(&keyd->opened, now_us),
				     backends_tick(keyd, now_us));
		size_t helpers = backends_poll(keyd, waits + 2);

		if (keyd->verifying && !keyd_go_on_starting(keyd, err))
			return false;
		if (poll(waits, 2 + helpers, keyd->verifying ? 0 : wait_ms) < 0 && errno != EINTR)
			return error_set_errno(err, ERROR_IO, errno, "cannot wait for requests");
		backends_take(keyd, waits + 2, helpers);
		if (!helper_root_is_there(keyd->root, waits[1].revents, err))
			return false;
		if (keyd->backends.link_failure.category) {
			*err = keyd->backends.link_failure;
			return false;
		}
	}
	return true;
}

bool keyd_serve(Keyd *keyd, Error *err)
{
	for (;;) {
		IpcMessage message;
		IpcReceived got;
		bool go_on;

		if (!wait_for_request(keyd, err))
			return false;
		got = ipc_receive(keyd->link, &message, err);
		if (got == IPC_CLOSED)
			return true;
		if (got == IPC_BROKEN)
			return false;
		if (got != IPC_MESSAGE)
			continue;
		*err = ERROR_INIT;
		go_on = answer(keyd, &message, err);
		ipc_message_clear(&message, keyd->link);
		if (!go_on)
			return false;
	}
}
