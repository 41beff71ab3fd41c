/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests to a KMIP server and its answers (OASIS KMIP Specification 1.2, sections 4 and 7): what
 * kmip.c says and hears, without any network. One operation a message. An answer is bytes of
 * somebody who may lie, and is judged against the request.
 *
 * A value of KEY_BYTES (not wrapped) is registered as an AES-256 Symmetric Key, so that people see
 * it for what it is; any other as Secret Data of type Seed in format Opaque with a usage mask of
 * nothing, which servers take that refuse an Opaque Object (it has no life cycle there).
 */
#ifndef SEALIFT_KEYS_KMIP_MESSAGE_H
#define SEALIFT_KEYS_KMIP_MESSAGE_H

#include "base/buffer.h"
#include "keys/key.h"
#include "keys/provider.h"

enum {
	KMIP_MAJOR = 1,
	KMIP_MINOR_MIN = 2, /* the oldest that knows all that is used here: 2015 */
	KMIP_MINOR_MAX = 4, /* 2.0 writes attributes in another way */
	KMIP_REQUEST_MAX = 4096,
	LIMIT_KMIP_LABEL = 256,	   /* bytes with the NUL */
	LIMIT_KMIP_USERNAME = 256, /* the same */
};

typedef enum KmipOperation {
	KMIP_DISCOVER_VERSIONS,
	KMIP_QUERY,
	KMIP_REGISTER,
	KMIP_ACTIVATE,
	KMIP_GET,
	KMIP_GET_STATE, /* Get Attributes, of which State alone */
	KMIP_REVOKE,
	KMIP_DESTROY,
	KMIP_OPERATION_COUNT,
} KmipOperation;

/* The specification's name: "Get Attributes". */
const char *kmip_operation_name(KmipOperation operation);

/* Section 9.1.3.2.17. */
typedef enum KmipState {
	KMIP_STATE_NONE, /* the object has no such attribute */
	KMIP_STATE_PRE_ACTIVE,
	KMIP_STATE_ACTIVE,
	KMIP_STATE_DEACTIVATED,
	KMIP_STATE_COMPROMISED,
	KMIP_STATE_DESTROYED,
	KMIP_STATE_DESTROYED_COMPROMISED,
	KMIP_STATE_COUNT,
} KmipState;
const char *kmip_state_name(KmipState state);

typedef struct KmipRequest {
	KmipOperation operation;
	uint32_t minor;		/* of the version that was agreed on */
	const char *username;	/* NULL: the client certificate alone says who we are */
	const Secret *password; /* NULL: none */
	const char *reference;	/* of what exists: all but discover, query, register */
	const char *label;	/* register: 1..LIMIT_KMIP_LABEL - 1 printable characters */
	const Secret *blob;	/* register */
} KmipRequest;

/* Appends the message; the buffer then holds secrets (buffer_clear wipes). ERROR_USAGE for a
 * reference or label that is empty, too long or not printable; ERROR_LIMIT. */
MUST_CHECK bool kmip_encode_request(const KmipRequest *request, Buffer *out, Error *err);

typedef struct KmipAnswer {
	bool refused;	/* a sound message that says no: the connection is fine */
	uint32_t minor; /* discover: the best common version; 0 if there is none */
	bool offered[KMIP_OPERATION_COUNT];  /* query */
	char reference[LIMIT_KEY_REFERENCE]; /* register */
	KmipState state;		     /* get state */
	Secret *value;			     /* get: owned by the caller */
} KmipAnswer;

/* Judges a whole message as the answer to the request. False with `refused` if the server says no:
 * ERROR_NOT_FOUND, ERROR_AUTH, ERROR_DENIED, ERROR_CONFLICT, ERROR_LIMIT or ERROR_PEER by its
 * reason, text and all. False without it (ERROR_PEER) if the message is unsound or answers
 * something else: wrong version, operation, count, identifier, object, length of a key. ret_answer
 * is all zeros but `refused` then. */
MUST_CHECK bool kmip_decode_answer(const KmipRequest *request, const void *message, size_t size,
				   KmipAnswer *ret_answer, Error *err);

/* Size in bytes of a whole message, out of its first TTLV_HEADER_BYTES: that of an answer, of at
 * most PROVIDER_ANSWER_MAX. ERROR_PEER. */
MUST_CHECK bool kmip_decode_size(const void *header, size_t *ret_size, Error *err);

#endif
