/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The binary codec of a schema, for messages between our own processes: fields in table order, no
 * names; integers big-endian, text and bytes with a 32-bit length, lists with a 32-bit count. Both
 * directions check every bound, since a child may have been taken over.
 */
#ifndef SEALIFT_IPC_BINARY_H
#define SEALIFT_IPC_BINARY_H

#include "base/buffer.h"
#include "base/schema.h"

/* Appends the encoding of object. ERROR_PEER if it breaks its schema, ERROR_LIMIT if too long. */
MUST_CHECK bool binary_encode(const Schema *schema, const void *object, Buffer *buffer, Error *err);

/* Fills *ret_object (schema->struct_size bytes, zeroed first). ERROR_PEER for short input, a value
 * out of bounds or trailing bytes. */
MUST_CHECK bool binary_decode(const Schema *schema, const void *data, size_t size, void *ret_object,
			      Error *err);

#endif
