/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What targets of stream decoders share. An input begins with the pieces in which its bytes come:
 * u8 count (of its low four bits), then one byte for each size; behind them is the stream. So it is
 * the fuzzer that chooses where a stream is cut. Each stream is decoded whole and in those pieces:
 * both must come to the same end, having seen the same.
 */
#ifndef SEALIFT_TESTS_FUZZ_STREAM_H
#define SEALIFT_TESTS_FUZZ_STREAM_H

#include "qemustream/unit.h"
#include "tests/fuzz/fuzz.h"

typedef struct FuzzPieces {
	const uint8_t *sizes;
	size_t count;
	size_t next;
	bool whole; /* all at once, whatever the sizes are */
} FuzzPieces;

/* Takes the pieces from the front of an input, which may have none at all. */
FuzzPieces fuzz_pieces_take(const uint8_t **data, size_t *size);
/* The size of the piece that comes when `shown` bytes are there: 1 to 64 KiB, by turns. Where the
 * input names no size: byte by byte at the begin, then in steps that an exec has time for. */
size_t fuzz_pieces_next(FuzzPieces *pieces, size_t shown);

/* What was decoded, however it was cut. */
typedef struct FuzzSummary {
	uint64_t used, digest;
	bool refused, may_end;
} FuzzSummary;

/* Mixes a value in. */
void fuzz_digest(FuzzSummary *summary, uint64_t value);
void fuzz_digest_bytes(FuzzSummary *summary, const void *bytes, size_t size);

/*
 * Decodes one unit, judges it and mixes it into the summary; with UNIT_WHOLE *ret_used is its size.
 * unit.h says what else.
 */
typedef UnitResult FuzzNext(void *context, const uint8_t *window, size_t size, size_t *ret_used,
			    FuzzSummary *summary, Error *err);

/* Shows the stream piece by piece until nothing more can be had. Windows longer than window_max
 * without a unit are a failure. */
FuzzSummary fuzz_decode(FuzzNext *next, void *context, FuzzPieces pieces, const uint8_t *data,
			size_t size, size_t window_max);

/* Fails unless they are equal. */
void fuzz_same(const FuzzSummary *whole, const FuzzSummary *pieces);
/* Fails unless the error is a peer's, with a text. */
void fuzz_judge_refusal(const Error *err);

#endif
