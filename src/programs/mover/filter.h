/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stage between decryption and the hypervisor: a table of stream filters, each of which judges
 * every piece of a stream before one byte of it is written to QEMU. Today's product has none; the
 * guard, which decodes QEMU's stream, will sit here.
 */
#ifndef SEALIFT_PROGRAMS_MOVER_FILTER_H
#define SEALIFT_PROGRAMS_MOVER_FILTER_H

#include <stddef.h>
#include <stdint.h>

#include "base/bounds.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "wire/keys.h"

/* What a filter is told about a piece: which stream, and where in it. */
typedef struct FilterPiece {
	KeysDirection direction; /* KEYS_TO_SOURCE is the return path */
	unsigned int channel;
	uint64_t offset; /* of bytes[0] in this stream */
	const uint8_t *bytes;
	size_t size; /* 0: the stream has ended well, at offset */
} FilterPiece;

typedef struct StreamFilter {
	const char *name; /* in messages: "guard refuses ..." */
	/* One context for a migration, since a filter may have to see channels together. Called
	 * after the last seccomp filter. NULL with *err on failure. */
	void *(*open)(size_t channels, Error *err);
	/* Called by the thread of each channel, at the same time for several channels; in order for
	 * one. False with *err refuses: the migration ends and nothing of the piece is written. */
	bool (*judge)(void *context, const FilterPiece *piece, Error *err);
	void (*close)(void *context);
} StreamFilter;

enum { FILTER_MAX = 4 };

/* The opened filters of one migration, asked in table order. */
typedef struct FilterChain {
	const StreamFilter *filters;
	size_t count;
	void *contexts[FILTER_MAX];
} FilterChain;

/* The table outlives the chain; count <= FILTER_MAX. On failure nothing stays open. */
MUST_CHECK bool filter_open(FilterChain *chain, const StreamFilter *filters, size_t count,
			    size_t channels, Error *err);
/* False as soon as one refuses; the error begins with that filter's name. */
MUST_CHECK bool filter_judge(const FilterChain *chain, const FilterPiece *piece, Error *err);
void filter_close(FilterChain *chain);

#endif
