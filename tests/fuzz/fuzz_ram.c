/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qemustream/ram.c and ram_list.c by themselves: pieces (stream.h), a byte that chooses, then
 * records over two blocks, a list of blocks, or an encoded page of XBZRLE.
 */
#include <string.h>

#include "tests/fuzz/fuzz_blocks.h"

enum {
	CHOICE_PHASE = 0x03,
	CHOICE_XBZRLE = 0x04,
	CHOICE_MULTIFD = 0x08,
	CHOICE_GPA = 0x10,
	CHOICE_OTHER_PAGE_SIZE = 0x20,
	CHOICE_LIST = 0x40,
	CHOICE_PAGE = 0x80,
};

enum { REACHED_RUN = RAM_KIND_COUNT, REACHED_LIST, REACHED_PAGE, REACHED_COUNT };

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const char *const names[REACHED_COUNT] = {
		[RAM_MEM_SIZE] = "mem_size",
		[RAM_BLOCK] = "block",
		[RAM_ZERO] = "zero",
		[RAM_PAGE] = "page",
		[RAM_XBZRLE] = "xbzrle",
		[RAM_MULTIFD_FLUSH] = "multifd_flush",
		[RAM_EOS] = "eos",
		[REACHED_RUN] = "run",
		[REACHED_LIST] = "complete list",
		[REACHED_PAGE] = "encoded page",
	};

	(void)argc;
	(void)argv;
	fuzz_expect(names, REACHED_COUNT);
	return 0;
}

/* --- records --- */

static UnitResult next_record(void *context, const uint8_t *window, size_t size, size_t *ret_used,
			      FuzzSummary *summary, Error *err)
{
	RamUnit unit;
	UnitResult result = ram_next(context, window, size, &unit, err);

	if (result != UNIT_WHOLE)
		return result;
	*ret_used = unit.size_bytes;
	fuzz_judge_ram(&unit, window, size, summary);
	fuzz_reached(unit.kind);
	if (unit.count > 1)
		fuzz_reached(REACHED_RUN);
	return result;
}

static FuzzSummary decode_records(uint8_t choice, FuzzPieces pieces, const uint8_t *data,
				  size_t size)
{
	RamReader reader = { .blocks = &fuzz_blocks,
			     .page_size = FUZZ_PAGE,
			     .xbzrle = choice & CHOICE_XBZRLE,
			     .multifd = choice & CHOICE_MULTIFD,
			     .phase = (RamPhase)((choice & CHOICE_PHASE) % RAM_PHASE_COUNT),
			     .block = -1 };

	return fuzz_decode(next_record, &reader, pieces, data, size, UNIT_WINDOW);
}

/* --- the list of blocks --- */

static UnitResult next_entry(void *context, const uint8_t *window, size_t size, size_t *ret_used,
			     FuzzSummary *summary, Error *err)
{
	RamList *list = context;
	UnitResult result;
	RamUnit unit;

	if (ram_list_complete(list))
		return UNIT_MORE;
	result = ram_list_next(list, window, size, &unit, err);
	if (result != UNIT_WHOLE)
		return result;
	*ret_used = unit.size_bytes;
	fuzz_reached(unit.kind);
	fuzz_digest(summary, unit.total_bytes);
	if (list->blocks->count > RAM_BLOCKS_MAX)
		fuzz_fail("too many blocks");
	if (unit.kind == RAM_BLOCK && !list->blocks->items[unit.block].used_length)
		fuzz_fail("a block of no bytes");
	return result;
}

static FuzzSummary decode_list(uint8_t choice, FuzzPieces pieces, const uint8_t *data, size_t size)
{
	static const char *const other[] = { "a", NULL };
	static RamBlocks blocks;
	RamList list = { .blocks = &blocks,
			 .page_size = FUZZ_PAGE,
			 .other_page_size = choice & CHOICE_OTHER_PAGE_SIZE ? other : NULL,
			 .gpa = choice & CHOICE_GPA };
	FuzzSummary summary;
	uint64_t sum = 0;

	memset(&blocks, 0, sizeof(blocks));
	/* A window longer than any unit ends it, since what follows a complete list is not for it.
	 */
	summary = fuzz_decode(next_entry, &list, pieces, data, size, SIZE_MAX);
	summary.may_end = ram_list_complete(&list);
	for (size_t i = 0; i < blocks.count; i++) {
		fuzz_digest_bytes(&summary, blocks.items[i].name, blocks.items[i].name_size);
		fuzz_digest(&summary, blocks.items[i].used_length);
		fuzz_digest(&summary, blocks.items[i].gpa);
		if (__builtin_add_overflow(sum, blocks.items[i].used_length, &sum))
			fuzz_fail("blocks longer than any memory");
	}
	if (summary.may_end)
		fuzz_reached(REACHED_LIST);
	return summary;
}

/* --- an encoded page --- */

static uint32_t get_length(const uint8_t **at)
{
	uint32_t length = **at & 0x7f;

	if (*(*at)++ & 0x80)
		length |= (uint32_t) * (*at)++ << 7;
	return length;
}

/* As xbzrle_decode_buffer writes (migration/xbzrle.c): what was accepted must stay inside. */
static void try_page(const uint8_t *data, size_t size)
{
	static uint8_t page[FUZZ_PAGE];
	const uint8_t *at = data, *end = data + size;
	uint32_t done = 0, length;
	Error err = ERROR_INIT;

	if (ram_check_xbzrle(data, size, FUZZ_PAGE, &err) != UNIT_WHOLE) {
		fuzz_judge_refusal(&err);
		return;
	}
	while (at < end) {
		done += get_length(&at);
		length = get_length(&at);
		if (done > FUZZ_PAGE || length > FUZZ_PAGE - done || length > (size_t)(end - at))
			fuzz_fail("a page past its end");
		memcpy(page + done, at, length);
		done += length;
		at += length;
	}
	fuzz_reached(REACHED_PAGE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const FuzzPieces at_once = { .whole = true };
	FuzzPieces pieces = fuzz_pieces_take(&data, &size);
	FuzzSummary whole, cut;
	uint8_t choice;

	if (!size)
		return 0;
	choice = data[0];
	if (choice & CHOICE_PAGE) {
		try_page(data + 1, size - 1);
		return 0;
	}
	if (choice & CHOICE_LIST) {
		whole = decode_list(choice, at_once, data + 1, size - 1);
		cut = decode_list(choice, pieces, data + 1, size - 1);
	} else {
		whole = decode_records(choice, at_once, data + 1, size - 1);
		cut = decode_records(choice, pieces, data + 1, size - 1);
	}
	fuzz_same(&whole, &cut);
	return 0;
}
