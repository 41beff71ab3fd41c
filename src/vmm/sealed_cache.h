/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes that cost a while to make, found again by a key: in memory that nobody can change any more
 * (memfd_create(2), sealed), and in files of one directory, mode 0600, which are believed only if
 * their digest fits. A cache: what cannot be kept or found is made again.
 */
#ifndef SEALIFT_VMM_SEALED_CACHE_H
#define SEALIFT_VMM_SEALED_CACHE_H

#include "crypto/digest.h"

enum {
	SEALED_CACHE_FILES = 64,       /* in the directory; the oldest goes first */
	SEALED_CACHE_SPARE = 64 << 20, /* bytes free on its disk, or nothing is kept there */
	SEALED_CACHE_MEMORIES = 16,    /* held open */
};

typedef struct SealedCache SealedCache;

/* `directory` is made when something is kept. Owned by the caller. */
SealedCache *sealed_cache_new(const char *directory, Error *err);
void sealed_cache_free(SealedCache *cache);
DEFINE_CLEANUP(SealedCache, sealed_cache, sealed_cache_free)
#define AUTO_SEALED_CACHE CLEANUP(sealed_cache_cleanup)

/* A descriptor of the caller's, read-only in effect; -1 if there is nothing. A file that is longer
 * than max_bytes or damaged is removed. cache may be NULL in both. */
int sealed_cache_find(SealedCache *cache, const uint8_t key[DIGEST_SHA256_SIZE], size_t max_bytes);
/* Keeps the bytes of sealed memory; the descriptor stays the caller's. A failure is the reason why
 * the next engine makes them again, no more. */
MUST_CHECK bool sealed_cache_keep(SealedCache *cache, const uint8_t key[DIGEST_SHA256_SIZE],
				  int memory_fd, Error *err);

/* Sealed memory with these bytes; -1 with *err. */
int sealed_memory_new(const void *data, size_t size, Error *err);

#endif
