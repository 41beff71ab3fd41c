/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/keys.h"

#include <assert.h>
#include <string.h>

#include "base/buffer.h"
#include "crypto/digest.h"
#include "crypto/hkdf.h"

enum { INFO_MAX = 160 };

static_assert((int)KEYS_PRK_SIZE == (int)HKDF_PRK_SIZE, "PRK is one SHA-384 output");
static_assert((int)DIGEST_SHA384_BYTES == (int)DIGEST_SHA384_SIZE, "both are SHA-384");

static bool check_size(const Secret *part, size_t size, const char *name, Error *err)
{
	if (secret_size(part) == size)
		return true;
	return error_set(err, ERROR_INTERNAL, "%s has %zu bytes, expected %zu", name,
			 secret_size(part), size);
}

Secret *keys_derive_prk(const uint8_t offer_digest[DIGEST_SHA384_BYTES],
			const uint8_t accept_digest[DIGEST_SHA384_BYTES],
			const Secret *migration_key, const Secret *ecdh, const Secret *exporter,
			Error *err)
{
	const Secret *parts[] = { migration_key, ecdh, exporter };
	uint8_t salt[DIGEST_SHA384_SIZE];

	if (!check_size(migration_key, KEYS_MIGRATION_SIZE, "the migration key", err) ||
	    !check_size(ecdh, KEYS_ECDH_SIZE, "the ECDH secret", err) ||
	    !check_size(exporter, KEYS_EXPORT_SIZE, "the TLS exporter", err) ||
	    !digest_sha384_pair(offer_digest, DIGEST_SHA384_BYTES, accept_digest,
				DIGEST_SHA384_BYTES, salt, err))
		return NULL;
	return hkdf_extract(salt, sizeof(salt), parts, ARRAY_SIZE(parts), err);
}

/* info = be16 output size | u8 label size | label | be16 context size | context: every part says
 * where it ends, so no two uses can share an info string. */
static Secret *expand(const Secret *secret, const char *label, const void *context,
		      size_t context_size, size_t size, Error *err)
{
	AUTO_BUFFER Buffer info = BUFFER_INIT(INFO_MAX);
	size_t label_size = strlen(label);

	if (!buffer_put_be16(&info, (uint16_t)size, err) ||
	    !buffer_put_u8(&info, (uint8_t)label_size, err) ||
	    !buffer_put(&info, label, label_size, err) ||
	    !buffer_put_be16(&info, (uint16_t)context_size, err) ||
	    (context_size && !buffer_put(&info, context, context_size, err)))
		return NULL;
	return hkdf_expand(secret, info.data, info.used, size, err);
}

Secret *keys_derive_traffic(const Secret *prk, KeysDirection direction,
			    const KeysConnection *connection, Error *err)
{
	AUTO_BUFFER Buffer context = BUFFER_INIT(INFO_MAX);

	if (!check_size(prk, KEYS_PRK_SIZE, "the PRK", err) ||
	    !buffer_put_u8(&context, (uint8_t)direction, err) ||
	    !buffer_put_be32(&context, connection->channel, err) ||
	    !buffer_put_be32(&context, connection->generation, err) ||
	    !buffer_put(&context, connection->source_nonce, CHANNEL_NONCE_SIZE, err) ||
	    !buffer_put(&context, connection->destination_nonce, CHANNEL_NONCE_SIZE, err))
		return NULL;
	return expand(prk, "sealift/1 channel", context.data, context.used, KEYS_TRAFFIC_SIZE, err);
}

Secret *keys_derive_key(const Secret *traffic, Error *err)
{
	return expand(traffic, "sealift/1 key", NULL, 0, KEYS_KEY_SIZE, err);
}

Secret *keys_derive_iv(const Secret *traffic, Error *err)
{
	return expand(traffic, "sealift/1 iv", NULL, 0, KEYS_IV_SIZE, err);
}

Secret *keys_derive_next(const Secret *traffic, Error *err)
{
	return expand(traffic, "sealift/1 update", NULL, 0, KEYS_TRAFFIC_SIZE, err);
}
