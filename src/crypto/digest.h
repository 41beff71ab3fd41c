/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256 and SHA-384 (FIPS 180-4). */
#ifndef SEALIFT_CRYPTO_DIGEST_H
#define SEALIFT_CRYPTO_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"

enum { DIGEST_SHA256_SIZE = 32, DIGEST_SHA384_SIZE = 48 };

/* Of `size` bytes; data may be NULL if size is 0. ERROR_INTERNAL only without memory. */
MUST_CHECK bool digest_sha256(const void *data, size_t size, uint8_t ret[DIGEST_SHA256_SIZE],
			      Error *err);
MUST_CHECK bool digest_sha384(const void *data, size_t size, uint8_t ret[DIGEST_SHA384_SIZE],
			      Error *err);

/* Of two parts one after the other. The parts are not delimited: the first must have a fixed size
 * or say where it ends. */
MUST_CHECK bool digest_sha384_pair(const void *first, size_t first_size, const void *second,
				   size_t second_size, uint8_t ret[DIGEST_SHA384_SIZE], Error *err);

/* SHA-256 of a regular file from its first byte to its end, by pread(2): the descriptor's offset
 * stays. ERROR_LIMIT past max_bytes, ERROR_IO if it cannot be read. */
MUST_CHECK bool digest_sha256_fd(int fd, uint64_t max_bytes, uint8_t ret[DIGEST_SHA256_SIZE],
				 Error *err);

#endif
