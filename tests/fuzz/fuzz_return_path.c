/* SPDX-License-Identifier: Apache-2.0 */
/* qemustream/return_path.c: pieces, then a stream (stream.h). */
#include "qemustream/return_path.h"
#include "tests/fuzz/stream.h"

enum { BITMAP_MAX = 64, PAGE = 4096 };

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	/* By ReturnPathKind. */
	static const char *const names[] = { "SHUT",	   "PONG",	  "REQ_PAGES_ID",
					     "REQ_PAGES",  "RECV_BITMAP", "bitmap bytes",
					     "bitmap end", "RESUME_ACK",  "SWITCHOVER_ACK" };

	(void)argc;
	(void)argv;
	fuzz_expect(names, ARRAY_SIZE(names));
	return 0;
}

static void judge_unit(const ReturnPathUnit *unit, const uint8_t *window, FuzzSummary *summary)
{
	bool request =
		unit->kind == RETURN_PATH_REQ_PAGES || unit->kind == RETURN_PATH_REQ_PAGES_ID;

	fuzz_reached(unit->kind);
	if (unit->kind == RETURN_PATH_BITMAP_BYTES) {
		fuzz_digest_bytes(summary, window, unit->size_bytes);
		return;
	}
	if (request && (unit->start % PAGE || unit->length % PAGE || !unit->length))
		fuzz_fail("a request that is not aligned");
	if (unit->kind == RETURN_PATH_RECV_BITMAP &&
	    (unit->bitmap_bytes > BITMAP_MAX || unit->bitmap_bytes % 8 || !unit->bitmap_bytes))
		fuzz_fail("a bitmap past its bound");
	fuzz_digest_bytes(summary, unit->block.bytes, unit->block.size);
	fuzz_digest(summary, unit->kind);
	fuzz_digest(summary, unit->value);
	fuzz_digest(summary, unit->start);
	fuzz_digest(summary, unit->length);
}

static UnitResult next(void *context, const uint8_t *window, size_t size, size_t *ret_used,
		       FuzzSummary *summary, Error *err)
{
	ReturnPathUnit unit;
	UnitResult result = return_path_next(context, window, size, &unit, err);

	if (result != UNIT_WHOLE)
		return result;
	*ret_used = unit.size_bytes;
	if (unit.size_bytes <= size)
		judge_unit(&unit, window, summary);
	return result;
}

static FuzzSummary decode(FuzzPieces pieces, const uint8_t *data, size_t size)
{
	const ReturnPathOptions options = { .page_size = PAGE, .bitmap_max_bytes = BITMAP_MAX };
	ReturnPathStream stream;
	FuzzSummary summary;

	return_path_init(&stream, &options);
	summary = fuzz_decode(next, &stream, pieces, data, size, UNIT_WINDOW);
	summary.may_end = return_path_may_end(&stream);
	return summary;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	FuzzPieces pieces = fuzz_pieces_take(&data, &size);
	FuzzSummary whole = decode((FuzzPieces){ .whole = true }, data, size);
	FuzzSummary cut = decode(pieces, data, size);

	fuzz_same(&whole, &cut);
	return 0;
}
