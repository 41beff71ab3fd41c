/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The key schedule of the data plane: PROTOCOL.md, section "Key schedule". HKDF-SHA-384 (RFC 5869)
 * with labels that carry their lengths, after HKDF-Expand-Label (RFC 8446, section 7.1). The engine
 * makes the migration's PRK, the mover everything below it.
 */
#ifndef SEALIFT_WIRE_KEYS_H
#define SEALIFT_WIRE_KEYS_H

#include <stdint.h>

#include "base/error.h"
#include "base/secret.h"
#include "wire/preamble.h"
#include "wire/statement.h"

enum {
	KEYS_PRK_SIZE = 48,	  /* the migration's pseudo-random key */
	KEYS_MIGRATION_SIZE = 32, /* the key that crosses on the control connection */
	KEYS_ECDH_SIZE = 48,	  /* x coordinate on P-384 */
	KEYS_EXPORT_SIZE = 48,	  /* TLS exporter bound to the migration id */
	KEYS_TRAFFIC_SIZE = 48,	  /* secret of one direction of one connection */
	KEYS_KEY_SIZE = 32,	  /* AES-256 */
	KEYS_IV_SIZE = 12,
};

/* Which way records travel; each way has keys of its own. The values stand in the info string. */
typedef enum KeysDirection {
	KEYS_TO_DESTINATION = 0,
	KEYS_TO_SOURCE = 1,
} KeysDirection;

/*
 * PRK = HKDF-Extract(salt = SHA-384(SHA-384(offer) || SHA-384(accept)),
 *                    ikm = migration key || ECDH secret || TLS exporter)
 * The digests are those of the exact JSON bytes. KEYS_PRK_SIZE bytes, owned by the caller; inputs
 * stay the caller's. ERROR_INTERNAL if a part has another size than the protocol fixes, since the
 * parts are delimited by nothing else.
 */
MUST_CHECK Secret *keys_derive_prk(const uint8_t offer_digest[DIGEST_SHA384_BYTES],
				   const uint8_t accept_digest[DIGEST_SHA384_BYTES],
				   const Secret *migration_key, const Secret *ecdh,
				   const Secret *exporter, Error *err);

/* What makes a connection's keys its own. Both nonces are fresh for each connection, so a key never
 * meets a sequence number twice. */
typedef struct KeysConnection {
	uint32_t channel;
	uint32_t generation;
	uint8_t source_nonce[CHANNEL_NONCE_SIZE];
	uint8_t destination_nonce[CHANNEL_NONCE_SIZE];
} KeysConnection;

/* The first traffic secret of one direction, KEYS_TRAFFIC_SIZE bytes, owned by the caller. */
MUST_CHECK Secret *keys_derive_traffic(const Secret *prk, KeysDirection direction,
				       const KeysConnection *connection, Error *err);

/* The AEAD key (KEYS_KEY_SIZE) and the IV (KEYS_IV_SIZE) of a traffic secret, owned by the caller.
 */
MUST_CHECK Secret *keys_derive_key(const Secret *traffic, Error *err);
MUST_CHECK Secret *keys_derive_iv(const Secret *traffic, Error *err);

/* The traffic secret after a key update; one way, so the old one cannot be had from it. */
MUST_CHECK Secret *keys_derive_next(const Secret *traffic, Error *err);

#endif
