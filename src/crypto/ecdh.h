/* SPDX-License-Identifier: Apache-2.0 */
/* Ephemeral elliptic-curve Diffie-Hellman on P-384 (NIST SP 800-56A, points as in SEC 1). */
#ifndef SEALIFT_CRYPTO_ECDH_H
#define SEALIFT_CRYPTO_ECDH_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/secret.h"

enum {
	ECDH_PUBLIC_SIZE = 97, /* 0x04, x, y: uncompressed */
	ECDH_SECRET_SIZE = 48, /* x of the shared point */
};

typedef struct EcdhKey EcdhKey;

/* A fresh key pair, owned by the caller. */
MUST_CHECK EcdhKey *ecdh_key_new(Error *err);
/* Wipes and releases; NULL is fine. */
void ecdh_key_free(EcdhKey *ecdh_key);
DEFINE_CLEANUP(EcdhKey, ecdh_key, ecdh_key_free)
#define AUTO_ECDH_KEY CLEANUP(ecdh_key_cleanup)

/* Our share, to be sent. */
void ecdh_key_public(const EcdhKey *ecdh_key, uint8_t ret_public[ECDH_PUBLIC_SIZE]);

/* The shared secret with a peer's share, ECDH_SECRET_SIZE bytes, owned by the caller; it must go
 * through hkdf_extract before use. ERROR_PEER if the share is not an uncompressed point on the
 * curve (full public key validation) or is our own share sent back. */
MUST_CHECK Secret *ecdh_derive(const EcdhKey *ecdh_key, const uint8_t peer[ECDH_PUBLIC_SIZE],
			       Error *err);

#endif
