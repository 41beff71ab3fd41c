/* SPDX-License-Identifier: Apache-2.0 */
/* HKDF with SHA-384 (RFC 5869). */
#ifndef SEALIFT_CRYPTO_HKDF_H
#define SEALIFT_CRYPTO_HKDF_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/secret.h"

enum { HKDF_PRK_SIZE = 48 };

/*
 * HKDF-Extract: the pseudo-random key, HKDF_PRK_SIZE bytes, out of the parts one after the other
 * (n_parts >= 1, SECRET_MAX_BYTES together; the parts are not delimited, so their sizes must be
 * fixed by the protocol). salt may be empty. Owned by the caller. ERROR_LIMIT if the parts are too
 * long together, ERROR_INTERNAL without memory.
 */
MUST_CHECK Secret *hkdf_extract(const void *salt, size_t salt_size, const Secret *const *parts,
				size_t n_parts, Error *err);

/* HKDF-Expand: `size` bytes (1..SECRET_MAX_BYTES) out of a PRK of at least HKDF_PRK_SIZE bytes.
 * info may be empty, at most 1024 bytes. Owned by the caller. */
MUST_CHECK Secret *hkdf_expand(const Secret *prk, const void *info, size_t info_size, size_t size,
			       Error *err);

#endif
