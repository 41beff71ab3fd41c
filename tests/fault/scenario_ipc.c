/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <string.h>

#include "ipc/link.h"
#include "tests/fault/fault.h"

enum { TYPE_KEY = 1 };

typedef struct Key {
	uint8_t key[32];
	uint64_t number;
} Key;

static const Field key_fields[] = { SCHEMA_HEX(Key, key), SCHEMA_U64(Key, number, 0, 9) };
static SCHEMA_DEFINE(key_schema, "key", Key, key_fields);
static const IpcRule rules[] = {
	{ TYPE_KEY, &key_schema, 0, LIMIT_IPC_FDS, IPC_ANY, IPC_KEEP, "key" },
	{ 0 },
};

/* Both ends of a link; each is NULL or open. */
static bool open_links(IpcLink *links[2], Error *err)
{
	int fds[2];

	if (!ipc_pair(fds, err))
		return false;
	links[0] = ipc_link_new(fds[0], rules, err);
	if (!links[0]) {
		close(fds[1]);
		return false;
	}
	links[1] = ipc_link_new(fds[1], rules, err);
	return links[1] != NULL;
}

static bool judge_message(const IpcMessage *message, Error *err)
{
	const Key *key = message->payload;

	return (message->fds_count == 2 && fcntl(message->fds[1], F_GETFD) == FD_CLOEXEC &&
		key->number == 7) ||
	       fault_wrong(err, "another message");
}

static bool cross(IpcLink *links[2], Error *err)
{
	const Key key = { .key = { 1 }, .number = 7 };
	const int fds[] = { STDIN_FILENO, STDERR_FILENO };
	IpcMessage message;
	bool ok;

	if (!ipc_send(links[0], TYPE_KEY, 1, &key_schema, &key, fds, ARRAY_SIZE(fds), err))
		return false;
	switch (ipc_receive(links[1], &message, err)) {
	case IPC_MESSAGE:
		break;
	case IPC_NOTHING:
		return fault_wrong(err, "the message is not there");
	case IPC_CLOSED:
		/* The link's own word for a broken socket: no error is set. */
		return error_set(err, ERROR_UNAVAILABLE, "the link is closed");
	case IPC_BROKEN:
		return false;
	}
	ok = judge_message(&message, err);
	ipc_message_clear(&message, links[1]);
	return ok;
}

static bool send_message(void *fixture, Error *err)
{
	IpcLink *links[2] = { NULL, NULL };
	bool ok = open_links(links, err) && cross(links, err);

	(void)fixture;
	ipc_link_free(links[0]);
	ipc_link_free(links[1]);
	return ok;
}

const Scenario scenarios_ipc[] = {
	{ "ipc message", NULL, send_message, NULL, NULL, 0 },
	{ 0 },
};
