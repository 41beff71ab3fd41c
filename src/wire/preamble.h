/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What opens a data channel on the TCP port: PROTOCOL.md, section "Channel preamble". The source
 * sends a Preamble, the destination answers with a PreambleReply; both have a fixed size. Nothing
 * in them is secret or trusted: they only choose keys, which the first record then proves.
 */
#ifndef SEALIFT_WIRE_PREAMBLE_H
#define SEALIFT_WIRE_PREAMBLE_H

#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "wire/statement.h"

enum {
	PREAMBLE_MAGIC_SIZE = 8,
	PREAMBLE_SIZE = 64,
	PREAMBLE_REPLY_SIZE = 48,
	PREAMBLE_VERSION = 1,
	CHANNEL_NONCE_SIZE = 32,
};

/* The first byte of each magic is none that a TLS record (0x16) or text can begin with; the line
 * ends show a relay that rewrites them. */
extern const uint8_t preamble_magic[PREAMBLE_MAGIC_SIZE];
extern const uint8_t preamble_reply_magic[PREAMBLE_MAGIC_SIZE];

typedef struct Preamble {
	uint8_t routing[MIGRATION_ID_BYTES]; /* finds the migration at the destination */
	uint32_t channel;    /* 0 is main, n is multifd-(n-1), and from LIMIT_STREAM_CHANNELS on
				disk-0, disk-1 and so on; below LIMIT_CHANNELS */
	uint32_t generation; /* how often this channel was opened before */
	uint8_t source_nonce[CHANNEL_NONCE_SIZE];
} Preamble;

typedef struct PreambleReply {
	uint8_t destination_nonce[CHANNEL_NONCE_SIZE];
} PreambleReply;

/* The channel must be below LIMIT_CHANNELS: an assertion, since the number is our own. */
void preamble_encode(const Preamble *preamble, uint8_t ret_bytes[PREAMBLE_SIZE]);
/* ERROR_PEER with value and bound for another magic, version or channel. */
MUST_CHECK bool preamble_decode(const uint8_t bytes[PREAMBLE_SIZE], Preamble *ret_preamble,
				Error *err);

void preamble_reply_encode(const PreambleReply *reply, uint8_t ret_bytes[PREAMBLE_REPLY_SIZE]);
/* ERROR_PEER for another magic or version, or reserved bytes that are not zero. */
MUST_CHECK bool preamble_reply_decode(const uint8_t bytes[PREAMBLE_REPLY_SIZE],
				      PreambleReply *ret_reply, Error *err);

#endif
