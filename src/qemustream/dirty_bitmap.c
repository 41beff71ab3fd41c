/* SPDX-License-Identifier: Apache-2.0 */
#include "qemustream/dirty_bitmap.h"

#include <inttypes.h>

#include "base/buffer.h"
#include "qemustream/grammar.h"

enum {
	FLAG_EOS = 0x01,
	FLAG_ZEROES = 0x02,
	FLAG_BITMAP_NAME = 0x04,
	FLAG_NODE_NAME = 0x08,
	FLAG_START = 0x10,
	FLAG_COMPLETE = 0x20,
	FLAG_BITS = 0x40,
	FLAGS_NAMES = FLAG_BITMAP_NAME | FLAG_NODE_NAME,

	/* BDRV_SECTOR_SIZE; a bitmap's chunk has a multiple of four words. */
	GRANULARITY_MIN = 512,
	BITS_ALIGN = 32,
};
#define GRANULARITY_MAX UINT32_C(0x80000000)
#define SECTORS_MAX	(UINT64_C(1) << 54)

static UnitResult get_names(const BitmapReader *reader, uint8_t flags, Reader *bytes,
			    BitmapUnit *unit, Error *err)
{
	UnitResult result = UNIT_WHOLE;

	/* A bitmap belongs to one node: with another node comes another bitmap. */
	if (!(flags & FLAG_BITMAP_NAME) && (flags & FLAG_NODE_NAME || !reader->named))
		return grammar_bad(err,
				   "dirty bitmap record with flags 0x%02x does not name its bitmap",
				   flags);
	if (!(flags & FLAG_NODE_NAME) && !reader->named)
		return grammar_bad(
			err, "dirty bitmap record with flags 0x%02x does not name its node", flags);
	if (flags & FLAG_NODE_NAME)
		result = grammar_get_name(bytes, "a block node", &unit->node, err);
	if (result == UNIT_WHOLE && flags & FLAG_BITMAP_NAME)
		result = grammar_get_name(bytes, "a dirty bitmap", &unit->bitmap, err);
	return result;
}

static UnitResult get_start(Reader *bytes, BitmapUnit *unit, Error *err)
{
	uint32_t granularity;

	if (!reader_get_be32(bytes, &granularity) || !reader_get_u8(bytes, &unit->flags))
		return UNIT_MORE;
	if (granularity < GRANULARITY_MIN || granularity > GRANULARITY_MAX ||
	    granularity & (granularity - 1))
		return grammar_bad(err,
				   "dirty bitmap of granularity %" PRIu32
				   ", expected a power of two from %d to %" PRIu32,
				   granularity, GRANULARITY_MIN, GRANULARITY_MAX);
	if (unit->flags & ~(BITMAP_ENABLED | BITMAP_PERSISTENT))
		return grammar_bad(err, "dirty bitmap with start flags 0x%02x, 0x%02x may be",
				   unit->flags, BITMAP_ENABLED | BITMAP_PERSISTENT);
	unit->granularity_bytes = granularity;
	return UNIT_WHOLE;
}

static UnitResult get_range(Reader *bytes, BitmapUnit *unit, Error *err)
{
	uint64_t first;

	if (!reader_get_be64(bytes, &first) || !reader_get_be32(bytes, &unit->n_sectors))
		return UNIT_MORE;
	if (!unit->n_sectors || first > SECTORS_MAX || unit->n_sectors > SECTORS_MAX - first)
		return grammar_bad(err,
				   "dirty bitmap bits of %" PRIu32 " sectors at %" PRIu64
				   ", 1 sector to the %" PRIu64 "th may be",
				   unit->n_sectors, first, SECTORS_MAX);
	unit->first_sector = first;
	return UNIT_WHOLE;
}

static UnitResult get_bits(Reader *bytes, BitmapUnit *unit, Error *err)
{
	UnitResult result = get_range(bytes, unit, err);
	uint64_t size;

	if (result != UNIT_WHOLE)
		return result;
	if (!reader_get_be64(bytes, &size))
		return UNIT_MORE;
	if (!size || size > BITMAP_BITS_MAX || size % BITS_ALIGN)
		return grammar_bad(err,
				   "dirty bitmap bits of %" PRIu64
				   " bytes, expected a multiple of %d up to %d",
				   size, BITS_ALIGN, BITMAP_BITS_MAX);
	unit->bits_bytes = (size_t)size;
	return reader_skip(bytes, unit->bits_bytes, &unit->bits) ? UNIT_WHOLE : UNIT_MORE;
}

static UnitResult get_nothing(Reader *bytes, BitmapUnit *unit, Error *err)
{
	(void)bytes;
	(void)unit;
	(void)err;
	return UNIT_WHOLE;
}

typedef struct BitmapRule {
	uint8_t flags;
	bool places[BITMAP_IN_END + 1];
	UnitResult (*get)(Reader *bytes, BitmapUnit *unit, Error *err);
} BitmapRule;

static const BitmapRule rules[] = {
	[BITMAP_START] = { FLAG_START, { true, false, false }, get_start },
	[BITMAP_BITS] = { FLAG_BITS, { false, true, true }, get_bits },
	[BITMAP_ZEROES] = { FLAG_BITS | FLAG_ZEROES, { false, true, true }, get_range },
	[BITMAP_COMPLETE] = { FLAG_COMPLETE, { false, false, true }, get_nothing },
	[BITMAP_EOS] = { FLAG_EOS, { true, true, true }, get_nothing },
};

static const BitmapRule *find_rule(uint8_t flags)
{
	if (flags == FLAG_EOS)
		return &rules[BITMAP_EOS];
	for (size_t i = 0; i < BITMAP_EOS; i++)
		if (rules[i].flags == (flags & ~FLAGS_NAMES))
			return &rules[i];
	return NULL;
}

UnitResult bitmap_next(BitmapReader *reader, BitmapPlace place, const uint8_t *window, size_t size,
		       BitmapUnit *ret_unit, Error *err)
{
	Reader bytes = reader_of(window, size);
	BitmapUnit unit = { 0 };
	const BitmapRule *rule;
	UnitResult result;
	uint8_t flags;

	if (!reader_get_u8(&bytes, &flags))
		return UNIT_MORE;
	rule = find_rule(flags);
	if (!rule)
		return grammar_bad(err, "dirty bitmap record with flags 0x%02x: no such record",
				   flags);
	if (!rule->places[place])
		return grammar_bad(
			err, "dirty bitmap record with flags 0x%02x: not in this section", flags);
	unit.kind = (BitmapKind)(rule - rules);
	if (unit.kind != BITMAP_EOS) {
		result = get_names(reader, flags, &bytes, &unit, err);
		if (result == UNIT_WHOLE)
			result = rule->get(&bytes, &unit, err);
		if (result != UNIT_WHOLE)
			return result;
		reader->named = true;
	}
	unit.size_bytes = size - bytes.left;
	*ret_unit = unit;
	return UNIT_WHOLE;
}
