/* SPDX-License-Identifier: Apache-2.0 */
/* What the twin's stream says of RAM, and where its device state begins. */
#include <inttypes.h>
#include <string.h>

#include "guard/guard_internal.h"
#include "qemustream/frame.h"
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

/* --- early sections, of which the description at the end tells the length --- */

static VmDescription *describe(const GuardExpected *expected, Error *err)
{
	enum { MARK_SIZE = 6 };
	size_t eof;

	if (!frame_find_vmdesc(expected->twin, expected->twin_size, GUARD_DEVICE_JSON_MAX, &eof,
			       err))
		return NULL;
	return vmdesc_parse(expected->twin + eof + MARK_SIZE, expected->twin_size - eof - MARK_SIZE,
			    &VMDESC_LIMITS_DEFAULT, err);
}

static bool add_early(const GuardExpected *expected, const MainSection *section, GuardTwin *twin,
		      Error *err)
{
	AUTO_VMDESC VmDescription *description = describe(expected, err);
	const VmDevice *device;
	GuardEarly *early;

	if (!description)
		return false;
	if (twin->early_count == GUARD_EARLY_MAX)
		return error_set(err, ERROR_INTERNAL, "more than %d early sections",
				 GUARD_EARLY_MAX);
	early = &twin->early[twin->early_count++];
	memcpy(early->name, section->name.bytes, section->name.size);
	early->name[section->name.size] = '\0';
	early->instance_id = section->instance_id;
	device = vmdesc_find(description, early->name, early->instance_id);
	if (!device)
		return error_set(err, ERROR_INTERNAL, "device %s is not described", early->name);
	early->bytes = device->size_bytes;
	return true;
}

/* Where a walk through the twin's stream is. */
typedef struct Walk {
	const GuardExpected *expected;
	MainStream *stream;
	GuardTwin *twin;
	bool ram_ended, in_early;
	size_t at;
} Walk;

/* A FULL section: an early one, or the first of device state, from which on all is the twin's
 * state. */
static bool take_full(Walk *walk, const MainUnit *unit, bool *ret_done, Error *err)
{
	const GuardExpected *expected = walk->expected;

	*ret_done = walk->ram_ended;
	if (walk->ram_ended)
		return buffer_put(&walk->twin->state, expected->twin + walk->at,
				  expected->twin_size - walk->at, err);
	if (!unit->section.needs_length)
		return error_set(err, ERROR_INTERNAL, "device %.*s before the end of ram",
				 NAME_ARGS(unit->section.name));
	if (!add_early(expected, &unit->section, walk->twin, err))
		return false;
	main_stream_expect_payload(walk->stream,
				   walk->twin->early[walk->twin->early_count - 1].bytes);
	walk->in_early = true;
	return true;
}

static bool take_unit(Walk *walk, const MainUnit *unit, bool *ret_done, Error *err)
{
	if (unit->kind == MAIN_CONFIGURATION && unit->configuration.kind == CONFIGURATION_MACHINE &&
	    !check_machine(walk->expected, unit->configuration.machine, err))
		return false;
	if (unit->kind == MAIN_SECTION && unit->section.type == MAIN_SECTION_END)
		walk->ram_ended = true;
	if (unit->kind == MAIN_SECTION && unit->section.type == MAIN_SECTION_FULL &&
	    !take_full(walk, unit, ret_done, err))
		return false;
	if (walk->in_early &&
	    !buffer_put(&walk->twin->state, walk->expected->twin + walk->at, unit->size_bytes, err))
		return false;
	if (unit->kind == MAIN_FOOTER)
		walk->in_early = false;
	walk->at += unit->size_bytes;
	return true;
}

/* Up to the first section of device state that is not early. */
static bool read_stream(const GuardExpected *expected, MainStream *stream, GuardTwin *twin,
			Error *err)
{
	Walk walk = { .expected = expected, .stream = stream, .twin = twin };
	bool done = false;

	while (!done) {
		MainUnit unit;
		UnitResult result = main_stream_next(stream, expected->twin + walk.at,
						     expected->twin_size - walk.at, &unit, err);

		if (result == UNIT_BAD)
			return false;
		if (result == UNIT_MORE)
			return error_set(err, ERROR_INTERNAL,
					 "it ends after %zu bytes, before any device state",
					 expected->twin_size);
		if (!take_unit(&walk, &unit, &done, err))
			return false;
	}
	return true;
}

bool guard_twin_read(const GuardExpected *expected, GuardTwin *ret_twin, Error *err)
{
	const MainStreamOptions options = { .page_size = GUARD_PAGE_SIZE, .ignore_shared = true };
	AUTO_MAIN_STREAM MainStream *stream = main_stream_new(&options, err);
	const RamBlocks *blocks;

	if (!stream)
		return false;
	ret_twin->state = BUFFER_INIT(expected->twin_size);
	if (!read_stream(expected, stream, ret_twin, err)) {
		err->category = ERROR_INTERNAL;
		return error_prefix(err, "guard: the twin's stream");
	}
	blocks = main_stream_blocks(stream);
	for (size_t i = 0; i < blocks->count; i++)
		add_block(ret_twin->blocks, &blocks->items[i]);
	return true;
}
