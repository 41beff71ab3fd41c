/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON of others, bounded before it is parsed: a parser that builds a tree needs many times the
 * bytes of its text, and follows nesting on its stack. So the text is scanned first.
 */
#ifndef SEALIFT_QEMUSTREAM_JSON_BOUNDS_H
#define SEALIFT_QEMUSTREAM_JSON_BOUNDS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"

typedef struct JsonBounds {
	size_t max_bytes;
	size_t max_depth;      /* of objects and lists inside each other */
	size_t max_containers; /* objects and lists; each costs the parser about 250 bytes */
	size_t max_values;     /* containers and commas together */
} JsonBounds;

static inline void json_bounds_cleanup(json_t **object)
{
	json_decref(*object);
}
#define AUTO_JSON_TREE CLEANUP(json_bounds_cleanup)

/*
 * The tree of a JSON text, which must be one object, with no key twice in an object and no byte
 * behind (RFC 8259). NULL with ERROR_LIMIT past a bound, ERROR_PEER if it is not such a text.
 * Release with json_decref.
 */
MUST_CHECK json_t *json_bounds_load(const void *data, size_t size, const JsonBounds *bounds,
				    Error *err);

/* The string member `key` of 1 to max_length printable ASCII characters; NULL and ERROR_PEER if
 * there is none such. It belongs to the tree. */
MUST_CHECK const char *json_bounds_text(const json_t *object, const char *key, size_t max_length,
					Error *err);

/* The whole number `key` from 0 to max. */
MUST_CHECK bool json_bounds_number(const json_t *object, const char *key, uint64_t max,
				   uint64_t *ret_value, Error *err);

/* The list `key`: NULL in *ret_list if there is none and it is optional. */
MUST_CHECK bool json_bounds_list(const json_t *object, const char *key, bool optional,
				 const json_t **ret_list, Error *err);

/* Refuses a member that is not among the words of `known`, which ends with NULL. */
MUST_CHECK bool json_bounds_only(const json_t *object, const char *const *known, Error *err);

#endif
