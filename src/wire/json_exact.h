/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads back what json_encode_plain (json.h) wrote, and that only: members in the order of the
 * table, no blank between them, each character and number written in the one way that our encoder
 * has. It is for what a store holds by the million, where a library that reads any JSON takes most
 * of the time. Whatever it takes json_decode_plain takes too, with the same outcome; of the rest
 * that one says what is wrong.
 */
#ifndef SEALIFT_WIRE_JSON_EXACT_H
#define SEALIFT_WIRE_JSON_EXACT_H

#include "base/schema.h"

/* True: *ret_object is what the text says, and every bound of the schema is held. False: the text
 * is not exactly so, or the schema has members other than numbers, bools, words, text and hex; then
 * *ret_object is undefined. */
MUST_CHECK bool json_decode_exact(const Schema *schema, const void *data, size_t size,
				  void *ret_object);

#endif
