/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The strict JSON codec of a schema (RFC 8259, narrowed): one object whose first-level tag says
 * which schema of a family it follows; each field at most once, each required one there, none that
 * the schema does not know, every bound of the schema held, no bytes behind. Integers only; bytes
 * as lower-case hex (FIELD_HEX) or canonical base64 (FIELD_BYTES).
 */
#ifndef SEALIFT_WIRE_JSON_H
#define SEALIFT_WIRE_JSON_H

#include <jansson.h>

#include "base/buffer.h"
#include "base/schema.h"

typedef struct JsonFamily {
	const char *tag; /* the member that names the kind */
	const char *const *words;
	const Schema *const *schemas;
	size_t count;
} JsonFamily;

/* Appends compact JSON with members in table order, the tag first. An optional member that is zero
 * is left out, so that what knows nothing of a newer member reads everything that does not use it.
 */
MUST_CHECK bool json_encode(const JsonFamily *family, unsigned int kind, const void *object,
			    Buffer *buffer, Error *err);

/* *ret_object has room for the family's largest struct, which all its schemas share in this
 * project; it is zeroed first. ERROR_PEER names the member and the bound. */
MUST_CHECK bool json_decode(const JsonFamily *family, const void *data, size_t size,
			    unsigned int *ret_kind, void *ret_object, Error *err);

/* The same for one schema without a tag: used for what we store. */
MUST_CHECK bool json_encode_plain(const Schema *schema, const void *object, Buffer *buffer,
				  Error *err);
MUST_CHECK bool json_decode_plain(const Schema *schema, const void *data, size_t size,
				  void *ret_object, Error *err);

/* From now on Jansson wipes what it gives back, as migration keys come in JSON (FIELD_HEX), and a lack
 * of memory inside it ends the process: Jansson 2.14 reads past the end of a buffer that could not
 * grow, and what it parses may come from strangers. Called once, first thing in main(), by each
 * program that parses JSON. */
void json_end_without_memory(void);

/* The text of any value, with the flags of json_dumps, owned by the caller; NULL without memory. In
 * the place of json_dumps, which in Jansson 2.14 leaves out a name that it has no memory for and
 * says that all is well. */
char *json_text_new(const json_t *value, size_t flags);

#endif
