/* SPDX-License-Identifier: Apache-2.0 */
/* The loop: one request after the other, and the end of what was open for too long. */
#include <errno.h>
#include <poll.h>

#include "programs/keyd/keyd.h"

typedef struct RequestRow {
	uint16_t type; /* 0 ends the table */
	bool may_write;
	KeydHandler *handler;
} RequestRow;

static const RequestRow requests[] = {
	{ KEYD_START, false, keyd_on_start },	{ KEYD_CREATE, true, keyd_on_create },
	{ KEYD_SHOW, false, keyd_on_show },	{ KEYD_LIST, false, keyd_on_list },
	{ KEYD_ROTATE, true, keyd_on_rotate },	{ KEYD_CHANGE, true, keyd_on_change },
	{ KEYD_OPEN, true, keyd_on_open },	{ KEYD_USED, false, keyd_on_used },
	{ KEYD_LOG, false, keyd_on_log },	{ KEYD_VERIFY, false, keyd_on_verify },
	{ KEYD_PLACES, false, keyd_on_places }, { 0 },
};

static const RequestRow *row_of(uint16_t type)
{
	const RequestRow *row = requests;

	while (row->type != type)
		row++;
	return row;
}

/* False if the link is of no more use. */
static bool answer(Keyd *keyd, const IpcMessage *message, Error *err)
{
	const RequestRow *row = row_of(message->type);
	bool link_ok = true;
	Error failure;

	if (row->handler(keyd, message, &link_ok, err) || !link_ok)
		return link_ok;
	failure = *err;
	/* A refusal stands in the log, too. */
	return (!row->may_write || keyd_tell_head(keyd, err)) &&
	       role_send_failure(keyd->link, message->subject, &failure, err);
}

/* Waits for the next request, and wipes what was open for too long. */
static bool wait_for_request(Keyd *keyd, Error *err)
{
	struct pollfd link = { .fd = ROLE_LINK_FD, .events = POLLIN };
	int ready = 0;

	while (!ready) {
		int64_t now_us = clock_monotonic_us(keyd->clock);

		ready = poll(&link, 1, opened_expire(&keyd->opened, now_us));
		if (ready < 0 && errno != EINTR)
			return error_set_errno(err, ERROR_IO, errno, "cannot wait for requests");
		ready = ready > 0;
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
