/* SPDX-License-Identifier: Apache-2.0 */
/* qemustream/return_path.c: a stream, decoded at once and byte by byte, which must not differ. */
#include <string.h>

#include "qemustream/return_path.h"
#include "tests/fuzz/fuzz.h"

enum { BITMAP_MAX = 64, PAGE = 4096 };

typedef struct Summary {
	uint64_t used, units, bitmap_bytes, hash;
	bool refused, may_end;
} Summary;

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

static void judge_unit(const ReturnPathUnit *unit, Summary *summary)
{
	bool request =
		unit->kind == RETURN_PATH_REQ_PAGES || unit->kind == RETURN_PATH_REQ_PAGES_ID;

	fuzz_reached(unit->kind);
	if (unit->kind == RETURN_PATH_BITMAP_BYTES) {
		summary->bitmap_bytes += unit->size_bytes;
		return;
	}
	if (request && (unit->start % PAGE || unit->length % PAGE || !unit->length))
		fuzz_fail("a request that is not aligned");
	if (unit->kind == RETURN_PATH_RECV_BITMAP &&
	    (unit->bitmap_bytes > BITMAP_MAX || unit->bitmap_bytes % 8 || !unit->bitmap_bytes))
		fuzz_fail("a bitmap past its bound");
	for (size_t i = 0; i < unit->block.size; i++)
		summary->hash = summary->hash * 31 + (uint8_t)unit->block.bytes[i];
	summary->hash = summary->hash * 31 + unit->kind + unit->value + unit->start + unit->length;
	summary->units++;
}

static Summary decode(const uint8_t *data, size_t size, size_t step)
{
	const ReturnPathOptions options = { .page_size = PAGE, .bitmap_max_bytes = BITMAP_MAX };
	size_t window = step ? 0 : size;
	Summary summary = { 0 };
	ReturnPathStream stream;

	return_path_init(&stream, &options);
	while (true) {
		ReturnPathUnit unit;
		Error err = ERROR_INIT;
		UnitResult result =
			return_path_next(&stream, data + summary.used, window, &unit, &err);

		summary.refused = result == UNIT_BAD;
		if (summary.refused && (err.category != ERROR_PEER || !err.text[0]))
			fuzz_fail("a refusal without a reason");
		if (summary.refused)
			break;
		if (result == UNIT_WHOLE) {
			if (!unit.size_bytes || unit.size_bytes > window)
				fuzz_fail("a unit that is not in its window");
			judge_unit(&unit, &summary);
			summary.used += unit.size_bytes;
			window -= unit.size_bytes;
			continue;
		}
		if (summary.used + window == size)
			break;
		window = window + step < size - summary.used ? window + step : size - summary.used;
	}
	summary.may_end = return_path_may_end(&stream);
	return summary;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Summary whole = decode(data, size, 0), pieces = decode(data, size, 1);

	if (whole.used != pieces.used || whole.units != pieces.units ||
	    whole.bitmap_bytes != pieces.bitmap_bytes || whole.hash != pieces.hash ||
	    whole.refused != pieces.refused || whole.may_end != pieces.may_end)
		fuzz_fail("decoded to something else in pieces");
	return 0;
}
