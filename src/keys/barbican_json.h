/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is said to Keystone and Barbican in JSON, and what they answer, without any network.
 * OpenStack Identity API v3, "Authenticating with an Application Credential"; Key Manager API v1,
 * "Secrets". An answer is bytes of somebody who may lie: strict JSON (RFC 8259) without duplicate
 * names, of which only the members used here are looked at, each with its type and bound; others
 * may stand beside them, as these interfaces grow.
 *
 * All need wiping_memory_install, as values stand in Jansson's memory.
 */
#ifndef SEALIFT_KEYS_BARBICAN_JSON_H
#define SEALIFT_KEYS_BARBICAN_JSON_H

#include "base/buffer.h"
#include "keys/key.h"

enum {
	BARBICAN_BODY_MAX = 4096,  /* of a request */
	LIMIT_BARBICAN_NAME = 256, /* of a secret, with the NUL: Barbican's own bound */
	LIMIT_BARBICAN_URL = 256,  /* with the NUL */
	LIMIT_BARBICAN_REFUSAL = 200,
};

/* Appends the request for a token. ERROR_CONFIG if the secret is not UTF-8. */
MUST_CHECK bool barbican_encode_auth(const char *credential_id, const Secret *secret, Buffer *body,
				     Error *err);

/* Appends the request to keep a blob. One of KEY_BYTES (not wrapped) is a symmetric AES-256 key, so
 * that people see it for what it is; any other is opaque. It has no expiration. */
MUST_CHECK bool barbican_encode_secret(const char *name, const Secret *blob, Buffer *body,
				       Error *err);

/* Of all that Keystone tells with a token. The token itself stands in a header. */
typedef struct BarbicanToken {
	uint64_t lifetime_s; /* by Keystone's own clock, so that ours may differ; from 1 */
	/* Of the key manager in the catalogue; "" if there is none. */
	char key_manager[LIMIT_BARBICAN_URL];
} BarbicanToken;

/* `interface`: "public", "internal"; `region`: NULL for any. ERROR_PEER; ERROR_CONFIG if the
 * catalogue has several key managers that fit, ERROR_LIMIT for a URL that is too long. */
MUST_CHECK bool barbican_decode_token(const void *data, size_t size, const char *interface,
				      const char *region, BarbicanToken *ret_token, Error *err);

/* The UUID at the end of a secret_ref. The rest of it is Barbican's idea of its own address
 * (host_href), which need not be ours, and is never dialled. ERROR_PEER. */
MUST_CHECK bool barbican_decode_created(const void *data, size_t size, char ret_uuid[LIMIT_UUID],
					Error *err);

/* A list of secrets that were asked for by name: the first one's UUID, or "" if there is none.
 * ERROR_PEER, also if one has another name; `name` NULL: any. */
MUST_CHECK bool barbican_decode_list(const void *data, size_t size, const char *name,
				     char ret_uuid[LIMIT_UUID], Error *err);

/* What a refusal says of itself, for people; "" if it is not of the known forms. Never fails. */
void barbican_decode_refusal(const void *data, size_t size, char ret_text[LIMIT_BARBICAN_REFUSAL]);

#endif
