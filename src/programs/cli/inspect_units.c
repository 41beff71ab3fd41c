/* SPDX-License-Identifier: Apache-2.0 */
/* One line for each unit of the main channel; pages are counted, and printed if they are asked
 * for. */
#include <inttypes.h>
#include <string.h>

#include "programs/cli/inspect_main.h"

enum { STREAM_VERSION = 3, ZERO_RECORD = 9 };

static bool print_header(MainInspect *view, const MainUnit *unit, Error *err)
{
	Output *output = &view->inspect->output;

	output_begin(output, unit->at, "header");
	output_number(output, "version", STREAM_VERSION);
	return output_end(output, err);
}

static bool print_configuration(MainInspect *view, const MainUnit *unit, Error *err)
{
	const ConfigurationUnit *configuration = &unit->configuration;
	Output *output = &view->inspect->output;

	output_begin(output, unit->at, "configuration");
	switch (configuration->kind) {
	case CONFIGURATION_MACHINE:
		output_name(output, "machine", configuration->machine.bytes,
			    configuration->machine.size);
		break;
	case CONFIGURATION_PAGE_BITS:
		output_number(output, "page_bits", configuration->page_bits);
		break;
	case CONFIGURATION_CAPABILITIES:
		output_flag(output, "x-ignore-shared", configuration->ignore_shared);
		break;
	case CONFIGURATION_UUID:
		output_hex(output, "uuid", configuration->uuid, CONFIGURATION_UUID_SIZE);
		break;
	case CONFIGURATION_KIND_COUNT:
		break;
	}
	return output_end(output, err);
}

/* --- sections --- */

static const char *const type_words[] = {
	[MAIN_SECTION_START] = "START",
	[MAIN_SECTION_PART] = "PART",
	[MAIN_SECTION_END] = "END",
	[MAIN_SECTION_FULL] = "FULL",
};

/* A FULL one is printed with its length, once that is known. */
static bool print_section(MainInspect *view, const MainUnit *unit, Error *err)
{
	const MainSection *section = &unit->section;
	Output *output = &view->inspect->output;

	view->section = (OpenSection){
		.open = true,
		.needs_length = section->needs_length,
		.type = section->type,
		.id = section->id,
		.instance_id = section->instance_id,
		.version_id = section->version_id,
		.at = unit->at,
		.payload_at = unit->at + unit->size_bytes,
	};
	memcpy(view->section.name, section->name.bytes, section->name.size);
	view->sections++;
	if (section->type == MAIN_SECTION_FULL) {
		view->devices++;
		return true;
	}
	output_begin(output, unit->at, "section");
	output_word(output, "type", type_words[section->type]);
	output_word(output, "name", view->section.name);
	output_number(output, "instance", section->instance_id);
	output_number(output, "version", section->version_id);
	output_number(output, "id", section->id);
	return output_end(output, err);
}

static bool print_footer(MainInspect *view, const MainUnit *unit, Error *err)
{
	OpenSection *section = &view->section;
	Output *output = &view->inspect->output;

	section->open = false;
	if (section->type == MAIN_SECTION_FULL)
		return true;
	output_begin(output, unit->at, "section-end");
	output_word(output, "name", section->name);
	output_number(output, "id", section->id);
	output_number(output, "bytes", unit->at - section->payload_at);
	if (section->flushes)
		output_number(output, "multifd_flushes", section->flushes);
	if (section->bitmap_bits || section->bitmap_zeroes) {
		output_number(output, "bitmap_bits", section->bitmap_bits);
		output_number(output, "bitmap_zeroes", section->bitmap_zeroes);
	}
	return output_end(output, err);
}

/* --- ram --- */

static bool print_block(MainInspect *view, const MainUnit *unit, Error *err)
{
	const RamBlock *block = &main_stream_blocks(view->stream)->items[unit->ram.block];
	Output *output = &view->inspect->output;

	output_begin(output, unit->at, "ram-block");
	output_word(output, "name", block->name);
	output_number(output, "bytes", block->used_length);
	if (block->page_size)
		output_number(output, "page_size", block->page_size);
	if (block->gpa)
		output_number(output, "address", block->gpa);
	return output_end(output, err);
}

/* The records of a run one by one: only the first one may name its block. */
static bool print_run(MainInspect *view, const MainUnit *unit, const char *what, Error *err)
{
	const RamUnit *ram = &unit->ram;
	const RamBlock *block = &main_stream_blocks(view->stream)->items[ram->block];
	const size_t stride = ram->kind == RAM_PAGE ? ram->stride_bytes : ZERO_RECORD;
	const uint64_t first = ram->size_bytes - (ram->count - 1) * stride;

	for (uint32_t i = 0; i < ram->count; i++)
		if (!inspect_print_page(view->inspect,
					unit->at + (i ? first + (i - 1) * stride : 0), what,
					block->name, block->name_size,
					ram->offset + (uint64_t)i * INSPECT_PAGE_SIZE, err))
			return false;
	return true;
}

static bool count_pages(MainInspect *view, const MainUnit *unit, Error *err)
{
	const RamUnit *ram = &unit->ram;
	PageCount *const counts[] = { &view->counts[ram->block], &view->total };
	const char *what = ram->kind == RAM_PAGE   ? "page"
			   : ram->kind == RAM_ZERO ? "zero"
						   : "delta";

	for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
		counts[i]->pages += ram->kind == RAM_PAGE ? ram->count : 0;
		counts[i]->zero_pages += ram->kind == RAM_ZERO ? ram->count : 0;
		counts[i]->delta_pages += ram->kind == RAM_XBZRLE ? ram->count : 0;
		counts[i]->bytes += ram->size_bytes;
	}
	return !view->inspect->pages || print_run(view, unit, what, err);
}

bool inspect_print_counts(MainInspect *view, Error *err)
{
	const RamBlocks *blocks = main_stream_blocks(view->stream);

	for (size_t i = 0; i < blocks->count; i++)
		if (!inspect_print_count(view->inspect, view->section.payload_at,
					 blocks->items[i].name, blocks->items[i].name_size,
					 &view->counts[i], err))
			return false;
	memset(view->counts, 0, sizeof(view->counts));
	return true;
}

static bool print_flush(MainInspect *view, const MainUnit *unit, Error *err)
{
	Output *output = &view->inspect->output;

	view->section.flushes++;
	if (!view->inspect->pages)
		return true;
	output_begin(output, unit->at, "multifd-flush");
	return output_end(output, err);
}

static bool print_ram_size(MainInspect *view, const MainUnit *unit, Error *err)
{
	Output *output = &view->inspect->output;

	output_begin(output, unit->at, "ram-size");
	output_number(output, "bytes", unit->ram.total_bytes);
	return output_end(output, err);
}

static bool print_ram(MainInspect *view, const MainUnit *unit, Error *err)
{
	switch (unit->ram.kind) {
	case RAM_MEM_SIZE:
		return print_ram_size(view, unit, err);
	case RAM_BLOCK:
		return print_block(view, unit, err);
	case RAM_ZERO:
	case RAM_PAGE:
	case RAM_XBZRLE:
		return count_pages(view, unit, err);
	case RAM_MULTIFD_FLUSH:
		return print_flush(view, unit, err);
	case RAM_EOS:
		return inspect_print_counts(view, err);
	case RAM_KIND_COUNT:
		break;
	}
	return true;
}

/* --- what else there is --- */

static bool print_bitmap(MainInspect *view, const MainUnit *unit, Error *err)
{
	const BitmapUnit *bitmap = &unit->bitmap;
	Output *output = &view->inspect->output;

	view->section.bitmap_bits += bitmap->kind == BITMAP_BITS;
	view->section.bitmap_zeroes += bitmap->kind == BITMAP_ZEROES;
	if (bitmap->kind != BITMAP_START && bitmap->kind != BITMAP_COMPLETE)
		return true;
	output_begin(output, unit->at, "bitmap");
	output_word(output, "type", bitmap->kind == BITMAP_START ? "START" : "COMPLETE");
	if (bitmap->node.size)
		output_name(output, "node", bitmap->node.bytes, bitmap->node.size);
	if (bitmap->bitmap.size)
		output_name(output, "bitmap", bitmap->bitmap.bytes, bitmap->bitmap.size);
	if (bitmap->kind == BITMAP_START)
		output_number(output, "granularity", bitmap->granularity_bytes);
	return output_end(output, err);
}

static bool print_global_state(MainInspect *view, const MainUnit *unit, Error *err)
{
	const MainGlobalState *state = &unit->global_state;
	Output *output = &view->inspect->output;

	output_begin(output, unit->at, "globalstate");
	output_word(output, "runstate", state->runstate);
	if (state->has_suspended)
		output_flag(output, "suspended", state->suspended);
	return output_end(output, err);
}

static bool print_ranges(MainInspect *view, const CommandUnit *command, uint64_t at, Error *err)
{
	Output *output = &view->inspect->output;

	for (size_t i = 0; i < command->n_ranges; i++) {
		const CommandRange range = command_get_range(command, i);

		output_begin(output, at, "discard");
		output_number(output, "offset", range.start);
		output_number(output, "bytes", range.length);
		if (!output_end(output, err))
			return false;
	}
	return true;
}

static void print_command_data(MainInspect *view, const CommandUnit *command)
{
	Output *output = &view->inspect->output;

	switch (command->kind) {
	case COMMAND_PING:
		output_number(output, "cookie", command->cookie);
		break;
	case COMMAND_POSTCOPY_ADVISE:
		if (command->has_page_sizes)
			output_number(output, "page_sizes", command->page_sizes);
		break;
	case COMMAND_PACKAGED:
		output_number(output, "bytes", command->packaged_bytes);
		break;
	case COMMAND_POSTCOPY_RAM_DISCARD:
	case COMMAND_RECV_BITMAP: {
		const RamBlock *block = &main_stream_blocks(view->stream)->items[command->block];

		output_name(output, "block", block->name, block->name_size);
		if (command->kind == COMMAND_POSTCOPY_RAM_DISCARD)
			output_number(output, "ranges", command->n_ranges);
		break;
	}
	case COMMAND_OPEN_RETURN_PATH:
	case COMMAND_POSTCOPY_LISTEN:
	case COMMAND_POSTCOPY_RUN:
	case COMMAND_ENABLE_COLO:
	case COMMAND_POSTCOPY_RESUME:
	case COMMAND_SWITCHOVER_START:
	case COMMAND_KIND_COUNT:
		break;
	}
}

static bool print_command(MainInspect *view, const MainUnit *unit, Error *err)
{
	const CommandUnit *command = &unit->command;
	Output *output = &view->inspect->output;

	output_begin(output, unit->at, "command");
	output_word(output, "name", command_word(command->kind));
	print_command_data(view, command);
	if (!output_end(output, err))
		return false;
	return !view->inspect->pages || print_ranges(view, command, unit->at, err);
}

static bool print_eof(MainInspect *view, const MainUnit *unit, Error *err)
{
	output_begin(&view->inspect->output, unit->at, "eof");
	return output_end(&view->inspect->output, err);
}

static bool print_vmdesc(MainInspect *view, const MainUnit *unit, Error *err)
{
	Output *output = &view->inspect->output;

	output_begin(output, unit->at, "vmdesc");
	output_number(output, "bytes", unit->vmdesc_bytes);
	if (view->description)
		output_number(output, "devices", view->description->devices_count);
	return output_end(output, err);
}

static bool print_nothing(MainInspect *view, const MainUnit *unit, Error *err)
{
	(void)view;
	(void)unit;
	(void)err;
	return true;
}

typedef bool (*PrintUnit)(MainInspect *view, const MainUnit *unit, Error *err);

static const PrintUnit printers[] = {
	[MAIN_HEADER] = print_header,
	[MAIN_CONFIGURATION] = print_configuration,
	[MAIN_SECTION] = print_section,
	[MAIN_RAM] = print_ram,
	[MAIN_BITMAP] = print_bitmap,
	[MAIN_GLOBAL_STATE] = print_global_state,
	[MAIN_PAYLOAD] = print_nothing,
	[MAIN_TAIL] = print_nothing,
	[MAIN_FOOTER] = print_footer,
	[MAIN_COMMAND] = print_command,
	[MAIN_EOF] = print_eof,
	[MAIN_VMDESC] = print_vmdesc,
	[MAIN_VMDESC_BYTES] = print_nothing,
};
static_assert(ARRAY_SIZE(printers) == MAIN_KIND_COUNT, "a printer for each kind");

bool inspect_print_unit(MainInspect *view, const MainUnit *unit, Error *err)
{
	return printers[unit->kind](view, unit, err);
}

bool inspect_print_main_summary(MainInspect *view, Error *err)
{
	Output *output = &view->inspect->output;

	output_begin(output, OUTPUT_NOWHERE, "summary");
	output_word(output, "channel", "main");
	output_number(output, "bytes", view->end);
	output_number(output, "sections", view->sections);
	output_number(output, "devices", view->devices);
	output_number(output, "pages", view->total.pages);
	output_number(output, "zero_pages", view->total.zero_pages);
	output_number(output, "page_bytes", view->total.bytes);
	return output_end(output, err);
}
