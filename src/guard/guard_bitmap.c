/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dirty bitmaps on the main channel. QEMU's loader looks names up and hands ranges to
 * util/hbitmap.c, whose serialization_chunk asserts that they are aligned and inside; so names,
 * count and ranges are held here, by the disks that were agreed.
 */
#include <inttypes.h>
#include <string.h>

#include "guard/guard_main.h"
#include "qemustream/grammar.h"

enum {
	SECTOR = 512,
	/* hbitmap_serialization_align: whole 64-bit words of bits */
	WORD_BITS = 64,
};

bool guard_bitmaps_open(Guard *guard, const GuardExpected *expected, Error *err)
{
	GuardBitmaps *bitmaps = &guard->bitmaps;

	bitmaps->node = bitmaps->current = -1;
	if (!guard_has(guard, GUARD_BITMAPS))
		return true;
	bitmaps->aliases = calloc(GUARD_NODES_MAX, UNIT_NAME_SIZE);
	bitmaps->items = calloc(GUARD_BITMAPS_MAX, sizeof(*bitmaps->items));
	if (!bitmaps->aliases || !bitmaps->items)
		return error_set(err, ERROR_INTERNAL, "no memory for dirty bitmaps");
	for (size_t i = 0; i < expected->nodes_count; i++) {
		const GuardNode *node = &expected->nodes[i];

		if (strlen(node->alias) > UNIT_NAME_MAX)
			return error_set(err, ERROR_INTERNAL, "guard: disk %.40s: %zu characters",
					 node->alias, strlen(node->alias));
		memcpy(bitmaps->aliases + i * UNIT_NAME_SIZE, node->alias, strlen(node->alias));
		bitmaps->node_bytes[i] = node->size_bytes;
	}
	bitmaps->nodes_count = expected->nodes_count;
	return true;
}

void guard_bitmaps_close(GuardBitmaps *bitmaps)
{
	free(TAKE_PTR(bitmaps->aliases));
	free(TAKE_PTR(bitmaps->items));
}

static int find_node(const GuardBitmaps *bitmaps, UnitName name)
{
	for (size_t i = 0; i < bitmaps->nodes_count; i++)
		if (grammar_name_is(name, bitmaps->aliases + i * UNIT_NAME_SIZE))
			return (int)i;
	return -1;
}

static int find_bitmap(const GuardBitmaps *bitmaps, UnitName name)
{
	for (size_t i = 0; i < bitmaps->count; i++)
		if ((int)bitmaps->items[i].node == bitmaps->node &&
		    grammar_name_is(name, bitmaps->items[i].name))
			return (int)i;
	return -1;
}

/* Names are left out where they are those of the record before. */
static bool judge_node(const MainJudge *judge)
{
	GuardBitmaps *bitmaps = &judge->guard->bitmaps;
	const UnitName node = judge->unit.bitmap.node;

	if (!node.size)
		return true;
	bitmaps->node = find_node(bitmaps, node);
	return bitmaps->node >= 0 ||
	       guard_main_refuse(judge, GUARD_RULE_BITMAP_NODE,
				 "a dirty bitmap of %.*s, none of the %zu disks that were agreed",
				 NAME_ARGS(node), bitmaps->nodes_count);
}

static bool judge_start(const MainJudge *judge)
{
	GuardBitmaps *bitmaps = &judge->guard->bitmaps;
	const BitmapUnit *unit = &judge->unit.bitmap;
	GuardBitmap *bitmap;

	if (!unit->bitmap.size || find_bitmap(bitmaps, unit->bitmap) >= 0)
		return guard_main_refuse(judge, GUARD_RULE_BITMAP_NODE,
					 "dirty bitmap %.*s begins twice", NAME_ARGS(unit->bitmap));
	if (bitmaps->count == GUARD_BITMAPS_MAX)
		return guard_main_refuse(judge, GUARD_RULE_BITMAP_COUNT,
					 "dirty bitmap number %d, at most %d may be",
					 GUARD_BITMAPS_MAX + 1, GUARD_BITMAPS_MAX);
	bitmaps->current = (int)bitmaps->count;
	bitmap = &bitmaps->items[bitmaps->count++];
	bitmap->node = (unsigned int)bitmaps->node;
	bitmap->granularity_bytes = unit->granularity_bytes;
	memcpy(bitmap->name, unit->bitmap.bytes, unit->bitmap.size);
	return true;
}

static bool judge_range(const MainJudge *judge, const GuardBitmap *bitmap)
{
	const BitmapUnit *unit = &judge->unit.bitmap;
	const uint64_t align = (uint64_t)bitmap->granularity_bytes * WORD_BITS;
	const uint64_t disk = judge->guard->bitmaps.node_bytes[bitmap->node];
	const uint64_t most = (disk + SECTOR - 1) / SECTOR * SECTOR;
	const uint64_t first = unit->first_sector * SECTOR;
	const uint64_t end = first + (uint64_t)unit->n_sectors * SECTOR;

	if (end <= most && first % align == 0 && (end % align == 0 || end == most))
		return true;
	return guard_main_refuse(judge, GUARD_RULE_BITMAP_RANGE,
				 "bits of bytes 0x%" PRIx64 " to 0x%" PRIx64
				 " of dirty bitmap %.80s, in steps of 0x%" PRIx64
				 ", whose disk has 0x%" PRIx64,
				 first, end, bitmap->name, align, disk);
}

/* Of a bitmap that began. */
static bool judge_more(const MainJudge *judge)
{
	GuardBitmaps *bitmaps = &judge->guard->bitmaps;
	const BitmapUnit *unit = &judge->unit.bitmap;
	GuardBitmap *bitmap;

	if (unit->bitmap.size)
		bitmaps->current = find_bitmap(bitmaps, unit->bitmap);
	bitmap = bitmaps->current < 0 ? NULL : &bitmaps->items[bitmaps->current];
	if (!bitmap || bitmap->complete)
		return guard_main_refuse(
			judge, GUARD_RULE_BITMAP_RANGE, "a record of dirty bitmap %.*s, which %s",
			NAME_ARGS(unit->bitmap), bitmap ? "is complete" : "did not begin");
	bitmap->complete = unit->kind == BITMAP_COMPLETE;
	return unit->kind == BITMAP_COMPLETE || judge_range(judge, bitmap);
}

bool guard_bitmap_judge(const MainJudge *judge)
{
	switch (judge->unit.bitmap.kind) {
	case BITMAP_START:
		return judge_node(judge) && judge_start(judge);
	case BITMAP_BITS:
	case BITMAP_ZEROES:
	case BITMAP_COMPLETE:
		return judge_node(judge) && judge_more(judge);
	case BITMAP_EOS:
		break;
	}
	return true;
}
