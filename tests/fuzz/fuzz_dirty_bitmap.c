/* SPDX-License-Identifier: Apache-2.0 */
/* qemustream/dirty_bitmap.c: pieces (stream.h), a byte for the kind of section, then records. */
#include "qemustream/dirty_bitmap.h"
#include "tests/fuzz/stream.h"

enum { PLACES = 3, SECTOR_BITS = 55 };

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	/* By BitmapKind. */
	static const char *const names[] = { "START", "BITS", "ZEROES", "COMPLETE", "EOS" };

	(void)argc;
	(void)argv;
	fuzz_expect(names, ARRAY_SIZE(names));
	return 0;
}

typedef struct Decoder {
	BitmapReader reader;
	BitmapPlace place;
} Decoder;

static void judge_unit(const BitmapUnit *unit, const uint8_t *window)
{
	if (unit->kind == BITMAP_START &&
	    (!unit->granularity_bytes || unit->granularity_bytes & (unit->granularity_bytes - 1)))
		fuzz_fail("a granularity that QEMU would assert on");
	if (unit->kind != BITMAP_BITS && unit->kind != BITMAP_ZEROES)
		return;
	if (!unit->n_sectors || unit->first_sector >> SECTOR_BITS)
		fuzz_fail("sectors past any disk");
	if (unit->kind == BITMAP_BITS &&
	    (!unit->bits_bytes || unit->bits_bytes > BITMAP_BITS_MAX || unit->bits < window ||
	     unit->bits + unit->bits_bytes > window + unit->size_bytes))
		fuzz_fail("bits past their unit");
}

static UnitResult next(void *context, const uint8_t *window, size_t size, size_t *ret_used,
		       FuzzSummary *summary, Error *err)
{
	Decoder *decoder = context;
	BitmapUnit unit;
	UnitResult result = bitmap_next(&decoder->reader, decoder->place, window, size, &unit, err);

	if (result != UNIT_WHOLE)
		return result;
	*ret_used = unit.size_bytes;
	fuzz_reached(unit.kind);
	judge_unit(&unit, window);
	fuzz_digest(summary, unit.kind);
	fuzz_digest(summary, unit.granularity_bytes);
	fuzz_digest(summary, unit.flags);
	fuzz_digest(summary, unit.first_sector);
	fuzz_digest(summary, unit.n_sectors);
	fuzz_digest_bytes(summary, unit.node.bytes, unit.node.size);
	fuzz_digest_bytes(summary, unit.bitmap.bytes, unit.bitmap.size);
	fuzz_digest_bytes(summary, unit.bits, unit.bits_bytes);
	return result;
}

static FuzzSummary decode(uint8_t choice, FuzzPieces pieces, const uint8_t *data, size_t size)
{
	Decoder decoder = { .place = (BitmapPlace)(choice % PLACES) };

	return fuzz_decode(next, &decoder, pieces, data, size, UNIT_WINDOW);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	FuzzPieces pieces = fuzz_pieces_take(&data, &size);
	FuzzSummary whole, cut;

	if (!size)
		return 0;
	whole = decode(data[0], (FuzzPieces){ .whole = true }, data + 1, size - 1);
	cut = decode(data[0], pieces, data + 1, size - 1);
	fuzz_same(&whole, &cut);
	return 0;
}
