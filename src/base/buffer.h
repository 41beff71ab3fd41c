/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes in and out. Buffer grows up to a bound given at birth; Reader walks over bytes that may be
 * hostile and never past their end; Writer fills memory of fixed size. All integers are big-endian.
 */
#ifndef SEALIFT_BASE_BUFFER_H
#define SEALIFT_BASE_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"

/* A growable byte string of at most max_bytes. Initialise with BUFFER_INIT(max); release with
 * buffer_clear (which wipes) or by AUTO_BUFFER. */
typedef struct Buffer {
	uint8_t *data;
	size_t used;
	size_t allocated;
	size_t max_bytes;
} Buffer;

#define BUFFER_INIT(max) ((Buffer){ .max_bytes = (max) })

void buffer_clear(Buffer *buffer);
#define AUTO_BUFFER CLEANUP(buffer_clear)

/* Appends; ERROR_LIMIT past max_bytes, ERROR_INTERNAL without memory. Nothing is appended then. */
MUST_CHECK bool buffer_put(Buffer *buffer, const void *data, size_t size, Error *err);
MUST_CHECK bool buffer_put_u8(Buffer *buffer, uint8_t value, Error *err);
MUST_CHECK bool buffer_put_be16(Buffer *buffer, uint16_t value, Error *err);
MUST_CHECK bool buffer_put_be32(Buffer *buffer, uint32_t value, Error *err);
MUST_CHECK bool buffer_put_be64(Buffer *buffer, uint64_t value, Error *err);

/* Drops `size` bytes from the front; size <= used. */
void buffer_consume(Buffer *buffer, size_t size);

/* A view of bytes owned by another. Every get checks what is left and returns false past the end,
 * leaving the reader where it was. */
typedef struct Reader {
	const uint8_t *data;
	size_t left;
} Reader;

static inline Reader reader_of(const void *data, size_t size)
{
	return (Reader){ .data = data, .left = size };
}

MUST_CHECK bool reader_get_u8(Reader *reader, uint8_t *ret_value);
MUST_CHECK bool reader_get_be16(Reader *reader, uint16_t *ret_value);
MUST_CHECK bool reader_get_be32(Reader *reader, uint32_t *ret_value);
MUST_CHECK bool reader_get_be64(Reader *reader, uint64_t *ret_value);
/* Copies size bytes out. */
MUST_CHECK bool reader_get_bytes(Reader *reader, void *ret_bytes, size_t size);
/* Points into the reader's bytes without copying. */
MUST_CHECK bool reader_skip(Reader *reader, size_t size, const uint8_t **ret_bytes);

/* Plain big-endian stores and loads for fixed layouts whose size was checked before. */
static inline void store_be16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}
static inline void store_be32(uint8_t *p, uint32_t v)
{
	store_be16(p, (uint16_t)(v >> 16));
	store_be16(p + 2, (uint16_t)v);
}
static inline void store_be64(uint8_t *p, uint64_t v)
{
	store_be32(p, (uint32_t)(v >> 32));
	store_be32(p + 4, (uint32_t)v);
}
static inline uint16_t load_be16(const uint8_t *p)
{
	return (uint16_t)((p[0] << 8) | p[1]);
}
static inline uint32_t load_be32(const uint8_t *p)
{
	return ((uint32_t)load_be16(p) << 16) | load_be16(p + 2);
}
static inline uint64_t load_be64(const uint8_t *p)
{
	return ((uint64_t)load_be32(p) << 32) | load_be32(p + 4);
}

/* Lower-case hex. `out` holds 2 * size + 1 bytes. */
void hex_encode(const void *data, size_t size, char *out);
/* Strict: lower case, exactly 2 * size digits. */
MUST_CHECK bool hex_decode(const char *text, void *ret_data, size_t size);

#endif
