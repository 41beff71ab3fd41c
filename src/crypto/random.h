/* SPDX-License-Identifier: Apache-2.0 */
/* Random bytes out of OpenSSL's generators, which seed themselves by getrandom(2). */
#ifndef SEALIFT_CRYPTO_RANDOM_H
#define SEALIFT_CRYPTO_RANDOM_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/secret.h"

/* Fills ret_bytes with size_bytes random bytes that may become public: nonces, ids, serials.
 * ERROR_INTERNAL if the generator has no entropy; the bytes are then not to be used. */
MUST_CHECK bool random_bytes(void *ret_bytes, size_t size_bytes, Error *err);

/* A fresh secret of 1..SECRET_MAX_BYTES bytes, owned by the caller, out of the generator that is
 * kept for private values only (RAND_priv_bytes). Errors as above, or those of secret_new. */
MUST_CHECK Secret *random_secret(size_t size_bytes, Error *err);

#endif
