/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A root key that only one TPM 2.0 gives out, and only while the chosen PCRs have the values of the
 * day it was made: 32 random bytes, sealed below a primary key of the storage hierarchy (TCG
 * TPM 2.0 Library, part 3: Create, PolicyPCR, Unseal). Afterwards it is a root key in memory
 * (key_wrap.h): the TPM keeps a stolen disk shut, it does not keep the key from who rules the
 * running host.
 *
 * Who only listens between processor and chip learns nothing: the key crosses encrypted, in
 * sessions that are salted with the primary key. Who also speaks there cannot put a primary key of
 * his own in place, since its name stands in the blob.
 *
 * The blob, at most TPM2_BLOB_MAX bytes, integers big-endian, nothing behind the end:
 *
 *   8   "SLTPM2R1"
 *   4   mask of the PCRs of the SHA-256 bank, bit 0 for PCR 0; not 0, at most PCR 23
 *   34  name of the primary key: 00 0b, SHA-256 of its public area
 *   2   size of the public part, then TPM2B_PUBLIC
 *   2   size of the private part, then TPM2B_PRIVATE, which the TPM encrypted
 *
 * It is no secret. It must be kept from being replaced, as a whole, by one whose key somebody
 * knows: that would be noticed only because nothing unwraps any more.
 *
 * libtss2-esys keeps copies of what passed, which cannot be wiped from outside: the process that
 * unseals is one that ends soon after (sealift-keyhelper).
 *
 * The owner's password of the TPM must be empty, as it is unless somebody set one. The
 * environment's TSS2_LOG=all+NONE keeps the library from writing to standard error.
 */
#ifndef SEALIFT_KEYS_TPM2_ROOT_H
#define SEALIFT_KEYS_TPM2_ROOT_H

#include "base/buffer.h"
#include "keys/key_wrap.h"

enum {
	TPM2_BLOB_MAX = 1100,
	TPM2_PCRS = 24,
	TPM2_DEADLINE_MS = 10000, /* of one command; a chip is slow */
};

/* A TPM at an open descriptor (tpm2_link.h), which stays the caller's. */
typedef struct Tpm2Config {
	int fd;
	uint64_t deadline_ms;
} Tpm2Config;

/* Makes a key and seals it to the present values of the PCRs in the mask; the blob is appended.
 * ERROR_USAGE for a mask out of bounds; ERROR_DENIED if the owner's password is set; errors of the
 * way to the TPM: ERROR_UNAVAILABLE, ERROR_TIMEOUT, ERROR_PEER. */
MUST_CHECK bool tpm2_root_create(const Tpm2Config *config, uint32_t pcrs, Buffer *blob, Error *err);

/* The key, KEY_BYTES, owned by the caller: root_key_new("tpm2", ...). ERROR_CONFIG: not a blob.
 * ERROR_AUTH: of another TPM (or one that was cleared), changed, or the PCRs are not what they
 * were. Further as above. */
MUST_CHECK Secret *tpm2_root_unseal(const Tpm2Config *config, const void *blob, size_t size,
				    Error *err);

#endif
