/* SPDX-License-Identifier: Apache-2.0 */
/* Base64 with padding, RFC 4648 section 4, canonical both ways: one text for each byte string. */
#ifndef SEALIFT_CRYPTO_BASE64_H
#define SEALIFT_CRYPTO_BASE64_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"

/* Appends the text of `size` bytes, without NUL and without line breaks. ERROR_LIMIT if it does
 * not fit in the buffer's bound: nothing is appended then. */
MUST_CHECK bool base64_encode(const void *data, size_t size, Buffer *buffer, Error *err);

/*
 * Appends the bytes of a text of exactly `length` characters. Strict: no white space, no character
 * outside the alphabet (NUL too), padding exactly where RFC 4648 wants it and unused bits zero.
 * ERROR_PEER with the offset of the offending character; ERROR_LIMIT if the bytes do not fit in
 * the buffer's bound, found out before anything is decoded. Nothing is appended on failure.
 */
MUST_CHECK bool base64_decode(const char *text, size_t length, Buffer *buffer, Error *err);

#endif
