/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The JSON inside a package. A JSON library copies every string that it reads or writes into memory
 * that it does not wipe, so it never sees a value: each is taken out of the text before, and put in
 * afterwards, and stands as zeros in between.
 */
#ifndef SEALIFT_KEYS_PACKAGE_JSON_H
#define SEALIFT_KEYS_PACKAGE_JSON_H

#include "base/buffer.h"
#include "keys/package.h"

/* Appends at most LIMIT_PACKAGE_JSON bytes, which are secret: clear the buffer. ERROR_PEER for a
 * member out of its bounds. */
MUST_CHECK bool package_encode_json(const Package *package, Buffer *buffer, Error *err);

/* Decodes `size` hostile bytes, which the values are wiped from on the way. It must be the text
 * that package_encode_json writes for that package, to the byte. ERROR_PEER; *ret_package is wiped
 * then. */
MUST_CHECK bool package_decode_json(uint8_t *text, size_t size, Package *ret_package, Error *err);

#endif
