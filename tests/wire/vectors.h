/* SPDX-License-Identifier: Apache-2.0 */
/* The test vectors of PROTOCOL.md, read from that page itself. Include tests/support/support.h
 * first. */
#ifndef SEALIFT_TESTS_WIRE_VECTORS_H
#define SEALIFT_TESTS_WIRE_VECTORS_H

#include <stddef.h>
#include <stdint.h>

#include "base/secret.h"

enum { VECTOR_MAX = 128 };

typedef struct Vector {
	uint8_t bytes[VECTOR_MAX];
	size_t size;
} Vector;

/* Fails the test if the page has no such line. */
Vector vector_read(const char *name);
/* The same as a secret, to be released by the caller. */
Secret *vector_secret(const char *name);
void vector_assert(const char *name, const void *bytes, size_t size);

#endif
