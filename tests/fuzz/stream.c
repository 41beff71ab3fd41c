/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/stream.h"

enum {
	SIZES_MAX = 16,
	SMALL_MAX = 0x80, /* sizes below are bytes, others steps */
	STEP = 512,
	BYTES_ONE_BY_ONE = 512,
	LATER_STEP = 61,
};

FuzzPieces fuzz_pieces_take(const uint8_t **data, size_t *size)
{
	FuzzPieces pieces = { 0 };

	if (!*size)
		return pieces;
	pieces.count = **data % SIZES_MAX;
	if (pieces.count > *size - 1)
		pieces.count = *size - 1;
	pieces.sizes = *data + 1;
	*data += 1 + pieces.count;
	*size -= 1 + pieces.count;
	return pieces;
}

size_t fuzz_pieces_next(FuzzPieces *pieces, size_t shown)
{
	uint8_t size;

	if (pieces->whole)
		return SIZE_MAX / 2;
	if (!pieces->count)
		return shown < BYTES_ONE_BY_ONE ? 1 : LATER_STEP;
	size = pieces->sizes[pieces->next++ % pieces->count];
	return size < SMALL_MAX ? size + 1U : (size - SMALL_MAX + 1U) * STEP;
}

void fuzz_digest(FuzzSummary *summary, uint64_t value)
{
	summary->digest = (summary->digest ^ value) * UINT64_C(0x100000001b3);
}

void fuzz_digest_bytes(FuzzSummary *summary, const void *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++)
		fuzz_digest(summary, ((const uint8_t *)bytes)[i]);
}

void fuzz_judge_refusal(const Error *err)
{
	if (err->category != ERROR_PEER || !err->text[0])
		fuzz_fail("a refusal without a reason");
}

FuzzSummary fuzz_decode(FuzzNext *next, void *context, FuzzPieces pieces, const uint8_t *data,
			size_t size, size_t window_max)
{
	FuzzSummary summary = { 0 };
	size_t shown = 0, used;

	for (;;) {
		const size_t at = (size_t)summary.used;
		const size_t window = shown - at;
		Error err = ERROR_INIT;
		UnitResult result = next(context, data + at, window, &used, &summary, &err);

		summary.refused = result == UNIT_BAD;
		if (summary.refused) {
			fuzz_judge_refusal(&err);
			return summary;
		}
		if (result == UNIT_WHOLE) {
			if (!used || used > window)
				fuzz_fail("a unit that is not in its window");
			summary.used += used;
			continue;
		}
		if (shown == size)
			return summary;
		if (window >= window_max)
			fuzz_fail("a unit longer than any");
		used = fuzz_pieces_next(&pieces, shown);
		shown = used < size - shown ? shown + used : size;
	}
}

void fuzz_same(const FuzzSummary *whole, const FuzzSummary *pieces)
{
	if (whole->used != pieces->used)
		fuzz_fail("pieces end at another byte");
	if (whole->digest != pieces->digest)
		fuzz_fail("pieces show other units");
	if (whole->refused != pieces->refused || whole->may_end != pieces->may_end)
		fuzz_fail("pieces come to another verdict");
}
