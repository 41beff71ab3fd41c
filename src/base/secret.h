/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A Secret holds key material: its pages are locked in memory, excluded from core dumps, wiped on
 * release and never formatted. Compare with secret_equal only.
 */
#ifndef SEALIFT_BASE_SECRET_H
#define SEALIFT_BASE_SECRET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"

enum { SECRET_MAX_BYTES = 256 };

typedef struct Secret Secret;

/* A zeroed secret of 1..SECRET_MAX_BYTES bytes, owned by the caller. ERROR_IO if it cannot be
 * locked in memory: key material is never kept where it could be swapped out. */
Secret *secret_new(size_t size_bytes, Error *err);
/* The same with a copy of `bytes`; the caller wipes its own copy. */
Secret *secret_new_from(const void *bytes, size_t size_bytes, Error *err);
/* Wipes, unlocks and releases; NULL is fine. */
void secret_free(Secret *secret);
DEFINE_CLEANUP(Secret, secret, secret_free)
#define AUTO_SECRET CLEANUP(secret_cleanup)

uint8_t *secret_bytes(Secret *secret);
const uint8_t *secret_peek(const Secret *secret);
size_t secret_size(const Secret *secret);
/* Constant time in the contents; sizes are not secret. */
bool secret_equal(const Secret *a, const Secret *b);

/* For the start of main(): no core dumps, not traceable by others of the same user
 * (prctl(2) PR_SET_DUMPABLE). */
MUST_CHECK bool secret_harden_process(Error *err);

#endif
