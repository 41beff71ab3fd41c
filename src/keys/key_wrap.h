/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hierarchy at rest: a root key wraps a key for each key, which seals the value.
 *
 *   root key  --AES-256 key wrap (RFC 3394)-->  wrapping key of one key and version
 *   wrapping key  --AES-256-GCM, associated data: the record-->  value
 *
 * To destroy a value it is enough to overwrite its wrapping key: 40 bytes in our own store,
 * whatever copies of the sealed value others keep. The record with its state, epoch and mark of
 * exposure is associated data, so that a row that was put back to an earlier state by hand does not
 * open.
 *
 * A value that another key manager keeps is sealed once more, by a blob key: what that one gets is
 * a blob that nobody opens without our store, and our store keeps the blob key as it would keep a
 * value. So a change of state touches our own store only, and to destroy such a key it is enough to
 * destroy the blob key.
 *
 *   blob key  --AES-256-GCM, associated data: id, version, purpose, VM, owner, slot-->  value
 */
#ifndef SEALIFT_KEYS_KEY_WRAP_H
#define SEALIFT_KEYS_KEY_WRAP_H

#include "keys/key.h"

enum {
	KEY_WRAPPED_BYTES = KEY_BYTES + 8,	/* RFC 3394 adds 8 */
	KEY_SEALED_BYTES = 12 + KEY_BYTES + 16, /* nonce, value, tag */
};

/* Where the root key is: in memory (file, unsealed by a TPM) or in a token that wraps by itself. */
typedef struct RootKey RootKey;
typedef struct RootKeyType {
	const char *name; /* "file", "tpm2", "pkcs11" */
	/* `key` has KEY_BYTES bytes. */
	bool (*wrap)(RootKey *root, const Secret *key, uint8_t ret_wrapped[KEY_WRAPPED_BYTES],
		     Error *err);
	/* Into KEY_BYTES bytes, of which nothing is of use after a failure. ERROR_AUTH if it was not
	 * wrapped by this root key, or changed since. */
	bool (*unwrap)(RootKey *root, const uint8_t wrapped[KEY_WRAPPED_BYTES], Secret *ret_key,
		       Error *err);
	void (*free)(RootKey *root);
} RootKeyType;

/* A root key's own struct begins with this. */
struct RootKey {
	const RootKeyType *type;
};

/* AES-256 key wrap (RFC 3394, NIST SP 800-38F KW) of KEY_BYTES under KEY_BYTES, and back:
 * ERROR_AUTH if it does not unwrap: then nothing of *ret_key, which has KEY_BYTES bytes, is of use. For
 * root keys in memory. */
MUST_CHECK bool key_wrap(const Secret *by, const Secret *key,
			 uint8_t ret_wrapped[KEY_WRAPPED_BYTES], Error *err);
MUST_CHECK bool key_unwrap(const Secret *by, const uint8_t wrapped[KEY_WRAPPED_BYTES],
			   Secret *ret_key, Error *err);

/* One whose KEY_BYTES bytes are given: read from a file by the parent, or unsealed by a TPM's
 * helper. Copied. `name` is "file" or "tpm2". ERROR_USAGE for any other name or size. */
MUST_CHECK RootKey *root_key_new(const char *name, const Secret *bytes, Error *err);
/* Reads KEY_BYTES bytes in lower-case hex, with one line end or without and nothing else, from a
 * descriptor of a regular file that nobody but its owner may read or write; from the file's first
 * byte, wherever the descriptor stands. ERROR_CONFIG with the reason, ERROR_IO. */
MUST_CHECK RootKey *root_key_read(int fd, Error *err);
/* NULL is fine. */
void root_key_free(RootKey *root);
DEFINE_CLEANUP(RootKey, root_key, root_key_free)
#define AUTO_ROOT_KEY CLEANUP(root_key_cleanup)

/* A value at rest. */
typedef struct KeyEnvelope {
	uint8_t wrapped[KEY_WRAPPED_BYTES]; /* the wrapping key, by the root key */
	uint8_t sealed[KEY_SEALED_BYTES];   /* the value, by the wrapping key */
} KeyEnvelope;

/* Seals a value of KEY_BYTES under a fresh wrapping key, bound to the record: all of it but the
 * back-end, its reference and the times. */
MUST_CHECK bool key_seal(RootKey *root, const KeyRecord *key, const Secret *value,
			 KeyEnvelope *ret_envelope, Error *err);
/* ERROR_AUTH if anything of it, or of what it is bound to, is not what it was. Owned by the caller.
 */
MUST_CHECK Secret *key_unseal(RootKey *root, const KeyRecord *key, const KeyEnvelope *envelope,
			      Error *err);

/* The same into KEY_BYTES bytes that are there: for who opens many, since to lock memory for each costs
 * as much as the rest. After a failure nothing of them is of use. */
MUST_CHECK bool key_unseal_into(RootKey *root, const KeyRecord *key, const KeyEnvelope *envelope,
				Secret *ret_value, Error *err);

/* For a value that another key manager shall keep: makes a blob key and the blob of
 * KEY_SEALED_BYTES, bound to what never changes of the record. Both are owned by the caller, who
 * gives the blob away and the blob key to key_store_add. */
MUST_CHECK bool key_blob_seal(const KeyRecord *key, const Secret *value, Secret **ret_blob_key,
			      Secret **ret_blob, Error *err);
/* ERROR_AUTH if the blob is not the one of this record and blob key, or if the value in it has not
 * the record's fingerprint. Any size of blob may come. */
MUST_CHECK Secret *key_blob_open(const KeyRecord *key, const Secret *blob_key, const Secret *blob,
				 Error *err);

#endif
