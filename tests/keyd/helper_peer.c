/* SPDX-License-Identifier: Apache-2.0 */
#include "helper_peer.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

void peer_tell(KeydWorld *world, const char *name, HelperKind kind, uint64_t number, const int *fd)
{
	KeydHelper helper = { .kind = kind };
	Error err = ERROR_INIT;

	snprintf(helper.name, sizeof(helper.name), "%s", name);
	snprintf(helper.why, sizeof(helper.why), "%s", fd ? "" : "it is out");
	if (!ipc_send(world->keyd.link, KEYD_HELPER, number, &keyd_helper_schema, &helper, fd,
		      fd != NULL, &err))
		fail_msg("%s", err.text);
}

void peer_bring(KeydWorld *world, Peer *peer)
{
	Error err = ERROR_INIT;
	int ends[2];

	*peer = (Peer){ .number = ++world->subject };
	assert_true(ipc_pair(ends, &err));
	assert_int_equal(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
	peer_tell(world, PEER_NAME, HELPER_KIND_KMIP, peer->number, &ends[0]);
	close(ends[0]);
	peer->role.link = ipc_link_new(ends[1], helper_request_rules[HELPER_KIND_KMIP], &err);
	assert_non_null(peer->role.link);
}

void peer_take_away(Peer *peer)
{
	ipc_link_free(TAKE_PTR(peer->role.link));
}

void peer_hear(Peer *peer, uint16_t type)
{
	IpcMessage message;

	role_expect(&peer->role, type, &message);
	peer->subject = message.subject;
	if (type == HELPER_PUT)
		peer->put = *(const HelperPut *)message.payload;
	else if (type != HELPER_CHECK)
		memcpy(peer->reference, ((const HelperReference *)message.payload)->reference,
		       sizeof(peer->reference));
	ipc_message_clear(&message, peer->role.link);
}

void peer_say(Peer *peer, uint16_t type, const Schema *schema, const void *payload)
{
	role_send(&peer->role, type, peer->subject, schema, payload);
}

void peer_say_stored(Peer *peer, const char *reference)
{
	HelperReference stored = { "" };

	snprintf(stored.reference, sizeof(stored.reference), "%s", reference);
	peer_say(peer, HELPER_STORED, &helper_reference_schema, &stored);
}

void peer_say_value(Peer *peer, const HelperPut *put)
{
	HelperValue value = { .blob_size = put->blob_size };

	memcpy(value.blob, put->blob, put->blob_size);
	peer_say(peer, HELPER_VALUE, &helper_value_schema, &value);
}

void peer_say_failed(Peer *peer, ErrorCategory category, const char *text)
{
	RoleFailure failure = { .category = (uint64_t)category };

	snprintf(failure.text, sizeof(failure.text), "%s", text);
	peer_say(peer, ROLE_FAILED, &role_failure_schema, &failure);
}

uint64_t peer_ask_create(KeydWorld *world, const char *vm, const char *slot)
{
	KeydCreate create = keyd_wanted(vm, slot);

	snprintf(create.backend, sizeof(create.backend), PEER_NAME);
	role_send(&world->keyd, KEYD_CREATE, ++world->subject, &keyd_create_schema, &create);
	return world->subject;
}

KeyRecord peer_expect_key(KeydWorld *world, uint64_t subject)
{
	IpcMessage message;
	KeyRecord key;

	keyd_next(world, &message);
	if (message.type == ROLE_FAILED)
		fail_msg("refused: %s", ((const RoleFailure *)message.payload)->text);
	assert_int_equal(message.type, KEYD_KEY);
	assert_int_equal(message.subject, subject);
	key = *(const KeyRecord *)message.payload;
	ipc_message_clear(&message, world->keyd.link);
	return key;
}

KeyRecord peer_make(KeydWorld *world, Peer *peer, const char *vm, const char *slot,
		    const char *reference)
{
	uint64_t subject = peer_ask_create(world, vm, slot);

	peer_hear(peer, HELPER_PUT);
	peer_say_stored(peer, reference);
	return peer_expect_key(world, subject);
}
