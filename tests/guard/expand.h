/* SPDX-License-Identifier: Apache-2.0 */
/* Expands the payloads of a multifd channel by the libraries alone: one stream over all of them. */
#ifndef SEALIFT_TESTS_GUARD_EXPAND_H
#define SEALIFT_TESTS_GUARD_EXPAND_H

#include <zlib.h>
#include <zstd.h>

#include "qemustream/multifd.h"

typedef struct Expander {
	MultifdCompression method;
	z_stream zlib;
	ZSTD_DStream *zstd;
} Expander;

/* Ends the program if it cannot be had. */
void expander_open(Expander *expander, MultifdCompression method);
/* The next payload of the channel, which makes exactly `out_size` bytes; ends the program else. */
void expander_run(Expander *expander, const uint8_t *payload, size_t size, uint8_t *out,
		  size_t out_size);

#endif
