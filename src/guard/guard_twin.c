/* SPDX-License-Identifier: Apache-2.0 */
/* What the twin's stream says of RAM, and where its device state begins. */
#include <inttypes.h>
#include <string.h>

#include "guard/guard_internal.h"
#include "qemustream/grammar.h"

/* Blocks that QEMU builds anew once firmware has set up PCI, so that they grow: acpi_add_rom_blob
 * (hw/acpi/utils.c, 7.2 to 10.0) has the same bounds. */
typedef struct GrowingBlock {
	const char *name;
	uint64_t max_bytes;
} GrowingBlock;

static const GrowingBlock growing_blocks[] = {
	{ "/rom@etc/acpi/tables", 0x200000 },
	{ "/rom@etc/table-loader", 0x10000 },
	{ "/rom@etc/acpi/rsdp", 0x1000 },
};

static void add_block(GuardBlocks *blocks, const RamBlock *block)
{
	GuardBlock *expected = &blocks->items[blocks->count++];

	memcpy(expected->name, block->name, sizeof(expected->name));
	expected->min_bytes = expected->max_bytes = block->used_length;
	for (size_t i = 0; i < ARRAY_SIZE(growing_blocks); i++)
		if (!strcmp(block->name, growing_blocks[i].name)) {
			expected->min_bytes = GUARD_PAGE_SIZE;
			if (expected->max_bytes < growing_blocks[i].max_bytes)
				expected->max_bytes = growing_blocks[i].max_bytes;
		}
	atomic_init(&expected->bytes, expected->max_bytes);
	blocks->min_bytes += expected->min_bytes;
	blocks->max_bytes += expected->max_bytes;
}

static bool check_machine(const GuardExpected *expected, UnitName machine, Error *err)
{
	if (grammar_name_is(machine, expected->machine))
		return true;
	return error_set(err, ERROR_INTERNAL, "its machine is %.*s, expected %s",
			 NAME_ARGS(machine), expected->machine);
}

/* Up to the first section of device state; *ret_held_at is where that begins. */
static bool read_stream(const GuardExpected *expected, MainStream *stream, size_t *ret_held_at,
			Error *err)
{
	bool ram_ended = false;
	size_t at = 0;

	for (;;) {
		MainUnit unit;
		UnitResult result = main_stream_next(stream, expected->twin + at,
						     expected->twin_size - at, &unit, err);

		if (result == UNIT_BAD)
			return false;
		if (result == UNIT_MORE)
			return error_set(err, ERROR_INTERNAL,
					 "it ends after %zu bytes, before any device state",
					 expected->twin_size);
		if (unit.kind == MAIN_CONFIGURATION &&
		    unit.configuration.kind == CONFIGURATION_MACHINE &&
		    !check_machine(expected, unit.configuration.machine, err))
			return false;
		if (unit.kind == MAIN_SECTION && unit.section.type == MAIN_SECTION_END)
			ram_ended = true;
		if (unit.kind == MAIN_SECTION && unit.section.type == MAIN_SECTION_FULL) {
			*ret_held_at = at;
			return ram_ended ||
			       error_set(err, ERROR_INTERNAL, "device %.*s before the end of ram",
					 NAME_ARGS(unit.section.name));
		}
		at += unit.size_bytes;
	}
}

bool guard_twin_read(const GuardExpected *expected, GuardBlocks *ret_blocks, size_t *ret_held_at,
		     Error *err)
{
	const MainStreamOptions options = { .page_size = GUARD_PAGE_SIZE, .ignore_shared = true };
	AUTO_MAIN_STREAM MainStream *stream = main_stream_new(&options, err);
	const RamBlocks *blocks;

	if (!stream)
		return false;
	if (!read_stream(expected, stream, ret_held_at, err)) {
		err->category = ERROR_INTERNAL;
		return error_prefix(err, "guard: the twin's stream");
	}
	blocks = main_stream_blocks(stream);
	for (size_t i = 0; i < blocks->count; i++)
		add_block(ret_blocks, &blocks->items[i]);
	return true;
}
