/* SPDX-License-Identifier: Apache-2.0 */
#include "qemustream/ram.h"

#include <inttypes.h>
#include <string.h>

#include "base/buffer.h"
#include "qemustream/grammar.h"

enum {
	HEADER_SIZE = 8,
	ZERO_STRIDE = HEADER_SIZE + 1,
	XBZRLE_ENCODING = 1, /* ENCODING_FLAG_XBZRLE */
	/* Headers are a page apart, further than what the processor fetches ahead by itself. */
	PREFETCH_RECORDS = 8,
};

/* One record whose flags were found in the table. `reader` stands behind the header. */
typedef struct Record {
	uint64_t offset;
	uint32_t flags;
	Reader reader;
} Record;

typedef struct RecordRule {
	uint32_t flags; /* without CONTINUE */
	bool continues; /* CONTINUE may stand with it */
	bool phases[RAM_PHASE_COUNT];
	UnitResult (*decode)(const RamReader *reader, Record *record, RamUnit *unit, Error *err);
} RecordRule;

int ram_blocks_find(const RamBlocks *blocks, UnitName name)
{
	for (size_t i = 0; i < blocks->count; i++)
		if (blocks->items[i].name_size == name.size &&
		    !memcmp(blocks->items[i].name, name.bytes, name.size))
			return (int)i;
	return -1;
}

/* --- records --- */

static UnitResult get_block(const RamReader *reader, Record *record, RamUnit *unit, Error *err)
{
	const RamBlock *block;
	UnitResult result;
	UnitName name;
	int found = reader->block;

	if (!(record->flags & RAM_FLAG_CONTINUE)) {
		result = grammar_get_name(&record->reader, "a RAM block", &name, err);
		if (result != UNIT_WHOLE)
			return result;
		found = ram_blocks_find(reader->blocks, name);
		if (found < 0)
			return grammar_bad(err,
					   "RAM record for block %.*s, which is none of the %zu "
					   "that were announced",
					   NAME_ARGS(name), reader->blocks->count);
	}
	if (found < 0)
		return grammar_bad(err,
				   "RAM record with flags 0x%x: CONTINUE before any block "
				   "was named",
				   record->flags);
	block = &reader->blocks->items[found];
	/* Lengths are multiples of the page size and never 0. */
	if (record->offset > block->used_length - reader->page_size)
		return grammar_bad(err,
				   "RAM record at 0x%" PRIx64 " of block %s, which has 0x%" PRIx64
				   " bytes",
				   record->offset, block->name, block->used_length);
	unit->block = (unsigned int)found;
	unit->offset = record->offset;
	unit->count = 1;
	return UNIT_WHOLE;
}

/* How many pages may follow the first one in its block. */
static uint64_t pages_behind(const RamReader *reader, const RamUnit *unit)
{
	return (reader->blocks->items[unit->block].used_length - unit->offset) / reader->page_size -
	       1;
}

static UnitResult decode_zero(const RamReader *reader, Record *record, RamUnit *unit, Error *err)
{
	UnitResult result = get_block(reader, record, unit, err);
	const uint8_t *at;
	uint64_t expected, most;
	uint8_t fill;

	if (result != UNIT_WHOLE)
		return result;
	if (!reader_get_u8(&record->reader, &fill))
		return UNIT_MORE;
	if (fill)
		return grammar_bad(err, "RAM record of a zero page that is filled with 0x%02x",
				   fill);
	most = pages_behind(reader, unit);
	expected = record->offset | RAM_FLAG_ZERO | RAM_FLAG_CONTINUE;
	for (at = record->reader.data; unit->count <= most && record->reader.left >= ZERO_STRIDE;
	     at += ZERO_STRIDE) {
		expected += reader->page_size;
		if (load_be64(at) != expected || at[HEADER_SIZE])
			break;
		record->reader.left -= ZERO_STRIDE;
		unit->count++;
	}
	return UNIT_WHOLE;
}

static UnitResult decode_page(const RamReader *reader, Record *record, RamUnit *unit, Error *err)
{
	UnitResult result = get_block(reader, record, unit, err);
	size_t stride = HEADER_SIZE + (size_t)reader->page_size;
	uint64_t expected, most;
	const uint8_t *at;

	if (result != UNIT_WHOLE)
		return result;
	if (!reader_skip(&record->reader, reader->page_size, &unit->bytes))
		return UNIT_MORE;
	unit->stride_bytes = stride;
	most = pages_behind(reader, unit);
	expected = record->offset | RAM_FLAG_PAGE | RAM_FLAG_CONTINUE;
	for (at = record->reader.data; unit->count <= most && record->reader.left >= stride;
	     at += stride) {
		if (record->reader.left / PREFETCH_RECORDS > stride)
			__builtin_prefetch(at + PREFETCH_RECORDS * stride);
		expected += reader->page_size;
		if (load_be64(at) != expected)
			break;
		record->reader.left -= stride;
		unit->count++;
	}
	return UNIT_WHOLE;
}

static UnitResult decode_xbzrle(const RamReader *reader, Record *record, RamUnit *unit, Error *err)
{
	UnitResult result;
	uint8_t encoding;

	if (!reader->xbzrle)
		return grammar_bad(err, "RAM record with flags 0x%x: XBZRLE was not agreed",
				   record->flags);
	result = get_block(reader, record, unit, err);
	if (result != UNIT_WHOLE)
		return result;
	if (!reader_get_u8(&record->reader, &encoding))
		return UNIT_MORE;
	if (encoding != XBZRLE_ENCODING)
		return grammar_bad(err, "XBZRLE with encoding %u, only %d is known", encoding,
				   XBZRLE_ENCODING);
	if (!reader_get_be16(&record->reader, &unit->encoded_bytes))
		return UNIT_MORE;
	if (!unit->encoded_bytes || unit->encoded_bytes > reader->page_size)
		return grammar_bad(err, "XBZRLE of %u bytes, 1 to %" PRIu32 " may be",
				   unit->encoded_bytes, reader->page_size);
	if (!reader_skip(&record->reader, unit->encoded_bytes, &unit->bytes))
		return UNIT_MORE;
	return ram_check_xbzrle(unit->bytes, unit->encoded_bytes, reader->page_size, err);
}

static UnitResult check_no_offset(const Record *record, const char *what, Error *err)
{
	if (record->offset)
		return grammar_bad(err, "RAM record %s with offset 0x%" PRIx64 ", expected 0", what,
				   record->offset);
	return UNIT_WHOLE;
}

static UnitResult decode_eos(const RamReader *reader, Record *record, RamUnit *unit, Error *err)
{
	(void)reader;
	(void)unit;
	return check_no_offset(record, "EOS", err);
}

static UnitResult decode_flush(const RamReader *reader, Record *record, RamUnit *unit, Error *err)
{
	(void)unit;
	if (!reader->multifd)
		return grammar_bad(err, "RAM record with flags 0x%x: multifd was not agreed",
				   record->flags);
	return check_no_offset(record, "MULTIFD_FLUSH", err);
}

/* The combinations that ram_load_precopy and ram_load_postcopy know, each by itself. */
static const RecordRule rules[RAM_KIND_COUNT] = {
	[RAM_PAGE] = { RAM_FLAG_PAGE, true, { false, true, true }, decode_page },
	[RAM_ZERO] = { RAM_FLAG_ZERO, true, { false, true, true }, decode_zero },
	[RAM_XBZRLE] = { RAM_FLAG_XBZRLE, true, { false, true, false }, decode_xbzrle },
	[RAM_EOS] = { RAM_FLAG_EOS, false, { true, true, true }, decode_eos },
	[RAM_MULTIFD_FLUSH] = { RAM_FLAG_MULTIFD_FLUSH,
				false,
				{ true, true, false },
				decode_flush },
};

/* --- what is refused --- */

typedef struct FlagRefusal {
	uint32_t flag;
	const char *why;
} FlagRefusal;

static const FlagRefusal refusals[] = {
	{ RAM_FLAG_FULL, "FULL is obsolete" },
	{ RAM_FLAG_HOOK, "HOOK is for RDMA only" },
	{ RAM_FLAG_COMPRESS_PAGE, "compressed pages are not accepted" },
	{ RAM_FLAG_MEM_SIZE, "MEM_SIZE stands once, first in the START section" },
};

static UnitResult refuse_flags(uint32_t flags, Error *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(refusals); i++)
		if (flags & refusals[i].flag)
			return grammar_bad(err, "RAM record with flags 0x%x: %s", flags,
					   refusals[i].why);
	return grammar_bad(err, "RAM record with flags 0x%x: no such record", flags);
}

static const char *const phase_words[RAM_PHASE_COUNT] = {
	[RAM_PHASE_SETUP] = "the START section",
	[RAM_PHASE_PRECOPY] = "precopy",
	[RAM_PHASE_POSTCOPY] = "postcopy",
};

static const RecordRule *find_rule(uint32_t flags)
{
	for (size_t i = 0; i < ARRAY_SIZE(rules); i++)
		if (rules[i].decode &&
		    (rules[i].flags == flags ||
		     (rules[i].continues && (rules[i].flags | RAM_FLAG_CONTINUE) == flags)))
			return &rules[i];
	return NULL;
}

UnitResult ram_next(RamReader *reader, const uint8_t *window, size_t size, RamUnit *ret_unit,
		    Error *err)
{
	Record record = { .reader = reader_of(window, size) };
	RamUnit unit = { 0 };
	const RecordRule *rule;
	UnitResult result;
	uint64_t header;

	if (!reader_get_be64(&record.reader, &header))
		return UNIT_MORE;
	record.flags = (uint32_t)(header & (reader->page_size - 1));
	record.offset = header - record.flags;
	rule = find_rule(record.flags);
	if (!rule)
		return refuse_flags(record.flags, err);
	if (!rule->phases[reader->phase])
		return grammar_bad(err, "RAM record with flags 0x%x: not in %s", record.flags,
				   phase_words[reader->phase]);
	result = rule->decode(reader, &record, &unit, err);
	if (result != UNIT_WHOLE)
		return result;
	unit.kind = (RamKind)(rule - rules);
	unit.size_bytes = size - record.reader.left;
	if (rule->continues)
		reader->block = (int)unit.block;
	*ret_unit = unit;
	return UNIT_WHOLE;
}

/* --- XBZRLE --- */

/* At most 14 bits: uleb128_decode_small (util/cutils.c). */
static bool get_length(Reader *reader, uint32_t *ret_length)
{
	uint8_t low, high = 0;

	if (!reader_get_u8(reader, &low))
		return false;
	if (low & 0x80 && (!reader_get_u8(reader, &high) || high & 0x80))
		return false;
	*ret_length = (low & 0x7fu) | ((uint32_t)high << 7);
	return true;
}

UnitResult ram_check_xbzrle(const uint8_t *bytes, size_t size, uint32_t page_size, Error *err)
{
	Reader reader = reader_of(bytes, size);
	uint32_t skipped, changed, done = 0;
	const uint8_t *run;
	bool first = true;

	while (reader.left) {
		if (!get_length(&reader, &skipped) || (!skipped && !first) ||
		    !get_length(&reader, &changed) || !changed ||
		    !reader_skip(&reader, changed, &run))
			return grammar_bad(err,
					   "XBZRLE of %zu bytes with a broken run, %zu before "
					   "its end",
					   size, reader.left);
		if (skipped > page_size - done || changed > page_size - done - skipped)
			return grammar_bad(
				err, "XBZRLE that writes to byte %" PRIu32 " of a page of %" PRIu32,
				done + skipped + changed, page_size);
		done += skipped + changed;
		first = false;
	}
	return UNIT_WHOLE;
}
