/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <string.h>

#include "base/bounds.h"
#include "base/buffer.h"
#include "qemustream/grammar.h"
#include "qemustream/ram.h"

/* The largest page that a host has, on any target. */
#define HOST_PAGE_MAX (UINT64_C(16) << 30)

static UnitResult get_total(RamList *list, Reader *reader, RamUnit *unit, Error *err)
{
	uint64_t header;
	uint32_t flags;

	if (!reader_get_be64(reader, &header))
		return UNIT_MORE;
	flags = (uint32_t)(header & (list->page_size - 1));
	if (flags != RAM_FLAG_MEM_SIZE)
		return grammar_bad(err,
				   "RAM record with flags 0x%x at the begin of the START "
				   "section, expected 0x%x",
				   flags, RAM_FLAG_MEM_SIZE);
	unit->kind = RAM_MEM_SIZE;
	unit->total_bytes = header - flags;
	if (!unit->total_bytes || unit->total_bytes > LIMIT_MEMORY_BYTES)
		return grammar_bad(err,
				   "RAM of 0x%" PRIx64 " bytes in all, 0x%" PRIx32 " to 0x%" PRIx64
				   " may be",
				   unit->total_bytes, list->page_size, LIMIT_MEMORY_BYTES);
	list->begun = true;
	list->left = unit->total_bytes;
	return UNIT_WHOLE;
}

static bool has_page_size(const RamList *list, UnitName name)
{
	if (!list->other_page_size)
		return false;
	for (size_t i = 0; i < RAM_BLOCKS_MAX && list->other_page_size[i]; i++)
		if (grammar_name_is(name, list->other_page_size[i]))
			return true;
	return false;
}

static UnitResult check_length(const RamList *list, UnitName name, uint64_t length, Error *err)
{
	if (!length || length % list->page_size)
		return grammar_bad(err,
				   "RAM block %.*s of 0x%" PRIx64
				   " bytes, expected a multiple of 0x%" PRIx32,
				   NAME_ARGS(name), length, list->page_size);
	if (length > list->left)
		return grammar_bad(err,
				   "RAM block %.*s of 0x%" PRIx64 " bytes, but only 0x%" PRIx64
				   " of the announced sum are left",
				   NAME_ARGS(name), length, list->left);
	return UNIT_WHOLE;
}

static UnitResult check_page_size(const RamList *list, const RamBlock *block, Error *err)
{
	uint64_t size = block->page_size;

	if (size < list->page_size || size > HOST_PAGE_MAX || size & (size - 1))
		return grammar_bad(err,
				   "RAM block %s with pages of 0x%" PRIx64
				   " bytes, expected a power of two from 0x%" PRIx32
				   " to 0x%" PRIx64,
				   block->name, size, list->page_size, HOST_PAGE_MAX);
	if (block->used_length % size)
		return grammar_bad(err,
				   "RAM block %s of 0x%" PRIx64
				   " bytes is no multiple of its pages of 0x%" PRIx64,
				   block->name, block->used_length, size);
	return UNIT_WHOLE;
}

static UnitResult get_block(const RamList *list, Reader *reader, RamBlock *ret_block, Error *err)
{
	UnitResult result;
	UnitName name;

	result = grammar_get_name(reader, "a RAM block", &name, err);
	if (result != UNIT_WHOLE)
		return result;
	if (list->blocks->count == RAM_BLOCKS_MAX)
		return grammar_bad(err, "more than %d RAM blocks", RAM_BLOCKS_MAX);
	if (ram_blocks_find(list->blocks, name) >= 0)
		return grammar_bad(err, "RAM block %.*s is announced twice", NAME_ARGS(name));
	memcpy(ret_block->name, name.bytes, name.size);
	ret_block->name_size = name.size;
	if (!reader_get_be64(reader, &ret_block->used_length))
		return UNIT_MORE;
	result = check_length(list, name, ret_block->used_length, err);
	if (result != UNIT_WHOLE)
		return result;
	if (has_page_size(list, name)) {
		if (!reader_get_be64(reader, &ret_block->page_size))
			return UNIT_MORE;
		result = check_page_size(list, ret_block, err);
		if (result != UNIT_WHOLE)
			return result;
	}
	if (list->gpa && !reader_get_be64(reader, &ret_block->gpa))
		return UNIT_MORE;
	return UNIT_WHOLE;
}

UnitResult ram_list_next(RamList *list, const uint8_t *window, size_t size, RamUnit *ret_unit,
			 Error *err)
{
	Reader reader = reader_of(window, size);
	RamUnit unit = { .kind = RAM_BLOCK };
	RamBlock block = { .name_size = 0 };
	UnitResult result;

	if (!list->begun) {
		result = get_total(list, &reader, &unit, err);
	} else {
		result = get_block(list, &reader, &block, err);
		if (result == UNIT_WHOLE) {
			unit.block = (unsigned int)list->blocks->count;
			list->left -= block.used_length;
			list->blocks->items[list->blocks->count++] = block;
		}
	}
	if (result != UNIT_WHOLE)
		return result;
	unit.size_bytes = size - reader.left;
	*ret_unit = unit;
	return UNIT_WHOLE;
}
