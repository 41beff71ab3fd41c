/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Decoder of the return path: what the destination's QEMU says to the source's on the main
 * connection. It is the destination's way to attack the source, so it is decoded as the streams
 * in the other direction are.
 *
 * What it holds by grammar: known types with exactly their lengths, page-aligned requests, a block
 * named before it is left out, whole bitmaps with their end mark, nothing after SHUT. Left to the
 * guard: names and ranges, cookies, and what may come when.
 *
 * Source: source_return_path_thread, migrate_send_rp_* (migration/migration.c) and
 * ramblock_recv_bitmap_send (ram.c) of QEMU 7.2 to 10.2.
 */
#ifndef SEALIFT_QEMUSTREAM_RETURN_PATH_H
#define SEALIFT_QEMUSTREAM_RETURN_PATH_H

#include "qemustream/unit.h"

typedef struct ReturnPathOptions {
	uint32_t page_size; /* of the target, a power of two */
	/* The longest bitmap of received pages, of the largest block; 0 refuses them all: they come
	 * only when a postcopy migration recovers. */
	uint64_t bitmap_max_bytes;
} ReturnPathOptions;

typedef enum ReturnPathKind {
	RETURN_PATH_SHUT,	    /* value 0: loaded; the last message */
	RETURN_PATH_PONG,	    /* value: the cookie of a PING */
	RETURN_PATH_REQ_PAGES_ID,   /* block, start, length */
	RETURN_PATH_REQ_PAGES,	    /* start, length; the block of the request before */
	RETURN_PATH_RECV_BITMAP,    /* block, bitmap_bytes; the bitmap's bytes and end follow */
	RETURN_PATH_BITMAP_BYTES,   /* some of them, little-endian words */
	RETURN_PATH_BITMAP_END,	    /* the mark behind them */
	RETURN_PATH_RESUME_ACK,	    /* value 1 */
	RETURN_PATH_SWITCHOVER_ACK, /* since 8.1 */
} ReturnPathKind;

typedef struct ReturnPathUnit {
	ReturnPathKind kind;
	size_t size_bytes;
	uint32_t value;
	UnitName block;	       /* 1..255 bytes of printable ASCII */
	uint64_t start;	       /* in bytes from the block's start, aligned to the page size */
	uint32_t length;       /* in bytes, at least one page, aligned */
	uint64_t bitmap_bytes; /* of RECV_BITMAP: to come; of BITMAP_BYTES: to come after these */
} ReturnPathUnit;

/* The caller's memory; fields are the decoder's own. */
typedef struct ReturnPathStream {
	ReturnPathOptions options;
	int state;
	bool block_named;     /* a REQ_PAGES_ID came */
	uint64_t bitmap_left; /* bytes */
	uint64_t offset;      /* bytes of the stream that were decoded */
} ReturnPathStream;

void return_path_init(ReturnPathStream *stream, const ReturnPathOptions *options);

/* What stands at the front of `window`, as unit.h says: ERROR_PEER in *err for UNIT_BAD. A window
 * of UNIT_WINDOW always suffices; an empty one is UNIT_MORE. */
MUST_CHECK UnitResult return_path_next(ReturnPathStream *stream, const uint8_t *window, size_t size,
				       ReturnPathUnit *ret_unit, Error *err);

/* Whether the stream may end where the last unit did: behind a whole message and its bitmap. No
 * byte may be left over. */
bool return_path_may_end(const ReturnPathStream *stream);

/* Whether it may have been cut and go on over a new connection: neither SHUT nor a refusal came. */
bool return_path_may_recover(const ReturnPathStream *stream);

#endif
