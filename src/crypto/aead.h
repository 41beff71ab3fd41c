/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AES-256-GCM (NIST SP 800-38D) behind one table of providers: "openssl" always, "ipsec-mb" where
 * it was built in and the processor suits it. Which one serves is decided by measurement at start;
 * both give the same bytes.
 *
 * Expanded key schedules lie in ordinary memory of a process that is not dumpable; they are wiped
 * when replaced or released.
 */
#ifndef SEALIFT_CRYPTO_AEAD_H
#define SEALIFT_CRYPTO_AEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/secret.h"

enum {
	AEAD_KEY_SIZE = 32,
	AEAD_NONCE_SIZE = 12,
	AEAD_TAG_SIZE = 16,
	AEAD_SIZE_MAX = 16 << 20, /* of text and of aad, each */
};

/* One implementation; the members are for aead.c only, but for the name. */
typedef struct AeadProvider {
	const char *name;
	bool (*usable)(void); /* on this processor */
	void *(*state_new)(Error *err);
	void (*state_free)(void *state);
	bool (*set_key)(void *state, const uint8_t *key, Error *err);
	bool (*seal)(void *state, const uint8_t *nonce, const void *aad, size_t aad_size,
		     const uint8_t *in, uint8_t *out, size_t size, uint8_t *ret_tag);
	/* Fills out even when it returns false: aead_open wipes it. */
	bool (*open)(void *state, const uint8_t *nonce, const void *aad, size_t aad_size,
		     const uint8_t *in, uint8_t *out, size_t size, const uint8_t *tag);
} AeadProvider;

/* A key made ready for one provider. For one thread at a time and one direction. */
typedef struct AeadKey AeadKey;

/* All providers that were built in, *ret_count of them, "openssl" first. Constant memory. Use only
 * those whose usable() is true. */
const AeadProvider *const *aead_providers(size_t *ret_count);
/* NULL if there is none of that name, or it is not usable here. */
const AeadProvider *aead_provider_by_name(const char *name);

/*
 * A key of exactly AEAD_KEY_SIZE bytes, copied; the caller keeps its Secret. Owned by the caller.
 * ERROR_INTERNAL without memory. To be made before the sandbox closes: afterwards sealing, opening
 * and aead_key_replace make no system call at all.
 */
MUST_CHECK AeadKey *aead_key_new(const AeadProvider *provider, const Secret *key, Error *err);
/* Another key in the same place: a key update, without allocation. The old schedule is wiped. On
 * failure the AeadKey has no usable key any more. */
MUST_CHECK bool aead_key_replace(AeadKey *aead_key, const Secret *key, Error *err);
/* Wipes and releases; NULL is fine. */
void aead_key_free(AeadKey *aead_key);
DEFINE_CLEANUP(AeadKey, aead_key, aead_key_free)
#define AUTO_AEAD_KEY CLEANUP(aead_key_cleanup)

/*
 * Encrypts `size` bytes from in to out (the same address is allowed, partial overlap is not) and
 * writes the tag over aad and ciphertext. A nonce must never come twice with one key: that is the
 * caller's promise. size 0 makes it GMAC over aad; in and out may then be NULL. ERROR_LIMIT past
 * AEAD_SIZE_MAX, else ERROR_INTERNAL only.
 */
MUST_CHECK bool aead_seal(AeadKey *aead_key, const uint8_t nonce[AEAD_NONCE_SIZE], const void *aad,
			  size_t aad_size, const uint8_t *in, uint8_t *out, size_t size,
			  uint8_t ret_tag[AEAD_TAG_SIZE], Error *err);

/* The reverse. ERROR_AUTH if the tag does not fit; out is then wiped and holds nothing of use. */
MUST_CHECK bool aead_open(AeadKey *aead_key, const uint8_t nonce[AEAD_NONCE_SIZE], const void *aad,
			  size_t aad_size, const uint8_t *in, uint8_t *out, size_t size,
			  const uint8_t tag[AEAD_TAG_SIZE], Error *err);

/* Seals records of record_bytes (1..16 MiB) for about budget_ms milliseconds (1..10000) on one
 * thread and gives the rate. */
MUST_CHECK bool aead_measure(const AeadProvider *provider, size_t record_bytes,
			     unsigned int budget_ms, double *ret_bytes_per_second, Error *err);

/* The fastest provider by aead_measure with budget_ms for each; its rate too, unless NULL. A
 * provider that fails its known-answer test is passed over. NULL with ERROR_INTERNAL if none is
 * left. */
MUST_CHECK const AeadProvider *aead_choose_fastest(size_t record_bytes, unsigned int budget_ms,
						   double *ret_bytes_per_second, Error *err);

/* Runs the known-answer tests (NIST GCM specification, test cases 13 to 16) on a provider.
 * ERROR_INTERNAL if an answer is wrong. */
MUST_CHECK bool aead_self_test(const AeadProvider *provider, Error *err);

#endif
