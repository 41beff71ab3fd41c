/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/peer.h"

#include "wire/json.h"

const char *const peer_words[PEER_KIND_COUNT] = {
	"hello", "statement", "key", "keyed", "refuse", "cancel", "query", "state", "ping", "pong",
	"keys",	 "disks",
};

const char *const key_document_words[KEY_DOCUMENT_COUNT] = {
	"offer", "package", "imported", "activated", "discarded", "destroyed", "kept",
};

const char *const disks_words[DISKS_WORD_COUNT] = { "copied", "taken" };

const char *const peer_state_words[PEER_STATE_COUNT] = {
	"unknown", "preparing", "ready", "active", "declined",
};

const Schema *const peer_schemas[PEER_KIND_COUNT] = {
	[PEER_HELLO] = &peer_hello_schema,   [PEER_STATEMENT] = &peer_statement_schema,
	[PEER_KEY] = &peer_key_schema,	     [PEER_KEYED] = &peer_keyed_schema,
	[PEER_REFUSE] = &peer_refuse_schema, [PEER_CANCEL] = &peer_cancel_schema,
	[PEER_QUERY] = &peer_query_schema,   [PEER_STATE] = &peer_state_schema,
	[PEER_PING] = &peer_ping_schema,     [PEER_PONG] = &peer_pong_schema,
	[PEER_KEYS] = &peer_keys_schema,     [PEER_DISKS] = &peer_disks_schema,
};

static const JsonFamily peer_family = {
	.tag = "message",
	.words = peer_words,
	.schemas = peer_schemas,
	.count = PEER_KIND_COUNT,
};

bool peer_version_fits(uint64_t min, uint64_t max)
{
	const uint64_t own_min = PEER_VERSION_MIN, own_max = PEER_VERSION_MAX;

	return min <= max && min <= own_max && max >= own_min;
}

bool peer_encode_frame(const PeerMessage *message, Buffer *buffer, Error *err)
{
	AUTO_BUFFER Buffer json = BUFFER_INIT(LIMIT_FRAME);

	return json_encode(&peer_family, message->kind, message, &json, err) &&
	       buffer_put_be32(buffer, (uint32_t)json.used, err) &&
	       buffer_put(buffer, json.data, json.used, err);
}

bool peer_decode(const void *data, size_t size, PeerMessage *ret_message, Error *err)
{
	unsigned int kind;

	if (size > LIMIT_FRAME)
		return error_set(err, ERROR_LIMIT, "message of %zu bytes, more than %d", size, LIMIT_FRAME);
	if (!json_decode(&peer_family, data, size, &kind, ret_message, err))
		return false;
	ret_message->kind = (PeerKind)kind;
	return true;
}
