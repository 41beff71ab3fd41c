/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/preamble.h"

#include <assert.h>
#include <string.h>

#include "base/bounds.h"
#include "base/buffer.h"

/* After the PNG signature: no text, and a carriage return, line feed and control-Z that naive
 * relays change. */
const uint8_t preamble_magic[PREAMBLE_MAGIC_SIZE] = { 0x89, 'S', 'E', 'A', 'L', '\r', '\n', 0x1a };
const uint8_t preamble_reply_magic[PREAMBLE_MAGIC_SIZE] = { 0x89, 's',	'e',  'a',
							    'l',  '\r', '\n', 0x1a };

/* Offsets of the layout in PROTOCOL.md. */
enum {
	AT_VERSION = 8,
	AT_CHANNEL = 10,
	AT_GENERATION = 12,
	AT_ROUTING = 16,
	AT_SOURCE_NONCE = 32,
	REPLY_AT_RESERVED = 10,
	REPLY_RESERVED_SIZE = 6,
	REPLY_AT_NONCE = 16,
};

static_assert(AT_SOURCE_NONCE + CHANNEL_NONCE_SIZE == PREAMBLE_SIZE, "preamble layout");
static_assert(REPLY_AT_NONCE + CHANNEL_NONCE_SIZE == PREAMBLE_REPLY_SIZE, "reply layout");

void preamble_encode(const Preamble *preamble, uint8_t ret_bytes[PREAMBLE_SIZE])
{
	assert(preamble->channel < LIMIT_CHANNELS);
	memcpy(ret_bytes, preamble_magic, PREAMBLE_MAGIC_SIZE);
	store_be16(ret_bytes + AT_VERSION, PREAMBLE_VERSION);
	store_be16(ret_bytes + AT_CHANNEL, (uint16_t)preamble->channel);
	store_be32(ret_bytes + AT_GENERATION, preamble->generation);
	memcpy(ret_bytes + AT_ROUTING, preamble->routing, MIGRATION_ID_BYTES);
	memcpy(ret_bytes + AT_SOURCE_NONCE, preamble->source_nonce, CHANNEL_NONCE_SIZE);
}

static bool check_start(const uint8_t *bytes, const uint8_t *magic, const char *what, Error *err)
{
	uint16_t version = load_be16(bytes + AT_VERSION);

	if (memcmp(bytes, magic, PREAMBLE_MAGIC_SIZE) != 0) {
		char hex[2 * PREAMBLE_MAGIC_SIZE + 1];

		hex_encode(bytes, PREAMBLE_MAGIC_SIZE, hex);
		return error_set(err, ERROR_PEER, "%s begins with %s, not with Sealift's magic",
				 what, hex);
	}
	if (version != PREAMBLE_VERSION)
		return error_set(err, ERROR_PEER, "%s has version %u, only %d is known", what,
				 version, PREAMBLE_VERSION);
	return true;
}

bool preamble_decode(const uint8_t bytes[PREAMBLE_SIZE], Preamble *ret_preamble, Error *err)
{
	uint16_t channel = load_be16(bytes + AT_CHANNEL);

	if (!check_start(bytes, preamble_magic, "a channel preamble", err))
		return false;
	if (channel >= LIMIT_CHANNELS)
		return error_set(err, ERROR_PEER,
				 "a channel preamble names channel %u, the most is %d", channel,
				 LIMIT_CHANNELS - 1);
	*ret_preamble = (Preamble){
		.channel = channel,
		.generation = load_be32(bytes + AT_GENERATION),
	};
	memcpy(ret_preamble->routing, bytes + AT_ROUTING, MIGRATION_ID_BYTES);
	memcpy(ret_preamble->source_nonce, bytes + AT_SOURCE_NONCE, CHANNEL_NONCE_SIZE);
	return true;
}

void preamble_reply_encode(const PreambleReply *reply, uint8_t ret_bytes[PREAMBLE_REPLY_SIZE])
{
	memcpy(ret_bytes, preamble_reply_magic, PREAMBLE_MAGIC_SIZE);
	store_be16(ret_bytes + AT_VERSION, PREAMBLE_VERSION);
	memset(ret_bytes + REPLY_AT_RESERVED, 0, REPLY_RESERVED_SIZE);
	memcpy(ret_bytes + REPLY_AT_NONCE, reply->destination_nonce, CHANNEL_NONCE_SIZE);
}

bool preamble_reply_decode(const uint8_t bytes[PREAMBLE_REPLY_SIZE], PreambleReply *ret_reply,
			   Error *err)
{
	if (!check_start(bytes, preamble_reply_magic, "the answer to a channel preamble", err))
		return false;
	for (size_t i = 0; i < REPLY_RESERVED_SIZE; i++)
		if (bytes[REPLY_AT_RESERVED + i])
			return error_set(
				err, ERROR_PEER,
				"the answer to a channel preamble has reserved byte %zu = %u, "
				"expected 0",
				i, bytes[REPLY_AT_RESERVED + i]);
	memcpy(ret_reply->destination_nonce, bytes + REPLY_AT_NONCE, CHANNEL_NONCE_SIZE);
	return true;
}
