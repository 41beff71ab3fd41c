/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The main channel, forward. RAM is judged by record and goes on at once. Device state is held
 * (guard_held.c): an early section, the package of postcopy, or from the header of the first
 * device's section on all that precopy has.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "guard/guard_command.h"
#include "guard/guard_main.h"
#include "qemustream/grammar.h"

enum { TEXT_SIZE = 400 };

bool guard_main_refuse(const MainJudge *judge, GuardRule rule, const char *format, ...)
{
	char text[TEXT_SIZE];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	return guard_violation(judge->err, rule, "main channel, byte %" PRIu64 "%s: %s",
			       judge->unit.at, judge->unit.kind == MAIN_RAM ? ", section ram" : "",
			       text);
}

/* --- configuration --- */

static bool judge_configuration(const MainJudge *judge)
{
	const ConfigurationUnit *configuration = &judge->unit.configuration;
	const char *machine = judge->guard->machine;
	char place[48];

	switch (configuration->kind) {
	case CONFIGURATION_MACHINE:
		if (grammar_name_is(configuration->machine, machine))
			return true;
		return guard_main_refuse(judge, GUARD_RULE_MACHINE,
					 "machine %.*s of %u bytes, expected %s of %zu",
					 NAME_ARGS(configuration->machine),
					 configuration->machine.size, machine, strlen(machine));
	case CONFIGURATION_UUID:
		snprintf(place, sizeof(place), "main channel, byte %" PRIu64, judge->unit.at);
		return guard_judge_identity(judge->guard, configuration->uuid, -1, place,
					    judge->err);
	case CONFIGURATION_CAPABILITIES:
		return guard_main_refuse(judge, GUARD_RULE_CAPABILITY,
					 "a list of capabilities, expected none");
	case CONFIGURATION_PAGE_BITS: /* the decoder compares them */
	case CONFIGURATION_KIND_COUNT:
		break;
	}
	return true;
}

/* --- RAM --- */

static bool judge_mem_size(const MainJudge *judge)
{
	const GuardBlocks *blocks = &judge->guard->blocks;
	uint64_t total = judge->unit.ram.total_bytes;

	if (total < blocks->min_bytes || total > blocks->max_bytes)
		return guard_main_refuse(judge, GUARD_RULE_RAM_SIZE,
					 "%" PRIu64 " bytes in all blocks, expected %" PRIu64
					 " to %" PRIu64,
					 total, blocks->min_bytes, blocks->max_bytes);
	judge->guard->main.list_left = total;
	return true;
}

/* After the last one: whether all came. */
static bool judge_list_end(const MainJudge *judge)
{
	const GuardBlocks *blocks = &judge->guard->blocks;

	for (size_t i = 0; i < blocks->count; i++)
		if (!blocks->items[i].announced)
			return guard_main_refuse(judge, GUARD_RULE_RAM_BLOCK,
						 "the list ends without block %s",
						 blocks->items[i].name);
	return true;
}

static bool judge_block(const MainJudge *judge)
{
	Guard *guard = judge->guard;
	unsigned int index = judge->unit.ram.block;
	const RamBlock *block = &main_stream_blocks(guard->main.stream)->items[index];
	const UnitName name = { .bytes = block->name, .size = block->name_size };
	GuardBlock *expected = guard_blocks_find(&guard->blocks, name);

	if (!expected)
		return guard_main_refuse(judge, GUARD_RULE_RAM_BLOCK,
					 "block %s, which this VM does not have", block->name);
	if (block->used_length < expected->min_bytes || block->used_length > expected->max_bytes)
		return guard_main_refuse(
			judge, GUARD_RULE_RAM_SIZE,
			"block %s of %" PRIu64 " bytes, expected %" PRIu64 " to %" PRIu64,
			block->name, block->used_length, expected->min_bytes, expected->max_bytes);
	if (block->page_size && block->page_size != guard_page_bytes(guard, block->name))
		return guard_main_refuse(
			judge, GUARD_RULE_POSTCOPY_PAGE_SIZE,
			"block %s with pages of 0x%" PRIx64 " bytes, expected 0x%" PRIx64,
			block->name, block->page_size, guard_page_bytes(guard, block->name));
	expected->announced = true;
	atomic_store_explicit(&expected->bytes, block->used_length, memory_order_relaxed);
	guard->main.block_of[index] = (uint8_t)(expected - guard->blocks.items);
	guard->main.list_left -= block->used_length;
	return guard->main.list_left || judge_list_end(judge);
}

/* The decoder held it against the announced length, which was held against the expected one: this
 * is the same again, for one comparison in a run of pages. */
static bool judge_range(const MainJudge *judge)
{
	Guard *guard = judge->guard;
	const RamUnit *ram = &judge->unit.ram;
	const GuardBlock *block = &guard->blocks.items[guard->main.block_of[ram->block]];
	uint64_t size = (uint64_t)ram->count * GUARD_PAGE_SIZE;

	if (ram->offset > block->max_bytes || size > block->max_bytes - ram->offset)
		return guard_main_refuse(judge, GUARD_RULE_RAM_OFFSET,
					 "%" PRIu32 " pages at 0x%" PRIx64
					 " of block %s, which has 0x%" PRIx64 " bytes",
					 ram->count, ram->offset, block->name, block->max_bytes);
	guard->main.section_pages += ram->count;
	if (guard->main.section_pages > GUARD_PASSES * guard->total_pages)
		return guard_main_refuse(
			judge, GUARD_RULE_RAM_PAGES,
			"%" PRIu64 " pages in one section, at most %" PRIu64 " may be",
			guard->main.section_pages, GUARD_PASSES * guard->total_pages);
	return true;
}

static void count_sync(Guard *guard)
{
	guard_count(&guard->main_syncs, 1);
}

static bool judge_ram(const MainJudge *judge)
{
	Guard *guard = judge->guard;
	const RamUnit *ram = &judge->unit.ram;

	switch (ram->kind) {
	case RAM_MEM_SIZE:
		return judge_mem_size(judge);
	case RAM_BLOCK:
		return judge_block(judge);
	case RAM_XBZRLE: /* the decoder was told whether it may come */
	case RAM_PAGE:
		guard_count(&guard->channels[0].ram_pages, ram->count);
		return judge_range(judge);
	case RAM_ZERO:
		guard_count(&guard->channels[0].ram_zero_pages, ram->count);
		return judge_range(judge);
	case RAM_MULTIFD_FLUSH:
	case RAM_EOS: /* machine types before 8.1 sync at each */
		count_sync(guard);
		return true;
	case RAM_KIND_COUNT:
		break;
	}
	return guard_main_refuse(judge, GUARD_RULE_GRAMMAR, "a record that was not agreed");
}

/* --- sections --- */

static const GuardEarly *find_early(const Guard *guard, const MainSection *section)
{
	for (size_t i = 0; i < guard->early_count; i++)
		if (grammar_name_is(section->name, guard->early[i].name) &&
		    guard->early[i].instance_id == section->instance_id)
			return &guard->early[i];
	return NULL;
}

/* A FULL section outside of a package. The decoder is told the length of an early one. */
static bool judge_full(const MainJudge *judge)
{
	const MainSection *section = &judge->unit.section;
	GuardMain *main = &judge->guard->main;
	const GuardEarly *early = find_early(judge->guard, section);

	if (main->ram_ended) {
		main->hold = HOLD_DEVICES;
		return true;
	}
	if (!early || !section->needs_length || main->ram_went_on ||
	    main->early_seen & UINT32_C(1) << (early - judge->guard->early))
		return guard_main_refuse(judge, GUARD_RULE_SECTION_EARLY,
					 "section FULL of %.*s before the END of ram, or once "
					 "more",
					 NAME_ARGS(section->name));
	main->early_seen |= UINT32_C(1) << (early - judge->guard->early);
	main->hold = HOLD_EARLY;
	main_stream_expect_payload(main->stream, early->bytes);
	return true;
}

static bool judge_section(const MainJudge *judge)
{
	const MainSection *section = &judge->unit.section;
	GuardMain *main = &judge->guard->main;

	main->sections_begun = true;
	main->section_pages = 0;
	if (section->type == MAIN_SECTION_PART || section->type == MAIN_SECTION_END)
		main->ram_went_on = true;
	if (section->type == MAIN_SECTION_END && grammar_name_is(section->name, "ram"))
		main->ram_ended = true;
	if (section->type == MAIN_SECTION_START && section->instance_id)
		return guard_main_refuse(judge, GUARD_RULE_SECTION_INSTANCE,
					 "section START of %.*s, instance %" PRIu32 ", expected 0",
					 NAME_ARGS(section->name), section->instance_id);
	if (section->type != MAIN_SECTION_FULL)
		return true;
	if (!judge->unit.packaged)
		return judge_full(judge);
	if (!main->sections_at)
		main->sections_at = main->held.used;
	return true;
}

static bool judge_held_kind(const MainJudge *judge)
{
	return judge->guard->main.hold ||
	       guard_main_refuse(judge, GUARD_RULE_GRAMMAR, "a %s, which was not agreed",
				 main_kind_word(judge->unit.kind));
}

static bool judge_nothing(const MainJudge *judge)
{
	(void)judge;
	return true;
}

/* Of postcopy it is the last byte. */
static bool judge_eof(const MainJudge *judge)
{
	if (!judge->guard->main.packaged)
		judge->guard->main.hold = HOLD_DEVICES;
	return true;
}

typedef bool (*JudgeUnit)(const MainJudge *judge);

static const JudgeUnit judges[] = {
	[MAIN_HEADER] = judge_nothing,
	[MAIN_CONFIGURATION] = judge_configuration,
	[MAIN_SECTION] = judge_section,
	[MAIN_RAM] = judge_ram,
	[MAIN_BITMAP] = guard_bitmap_judge,
	[MAIN_GLOBAL_STATE] = judge_held_kind,
	[MAIN_PAYLOAD] = judge_held_kind,
	[MAIN_TAIL] = judge_held_kind,
	[MAIN_FOOTER] = judge_nothing,
	[MAIN_COMMAND] = guard_command_judge,
	[MAIN_EOF] = judge_eof,
	[MAIN_VMDESC] = judge_held_kind,
	[MAIN_VMDESC_BYTES] = judge_held_kind,
};
static_assert(ARRAY_SIZE(judges) == MAIN_KIND_COUNT, "a judge for each kind of unit");

bool guard_main_take(Guard *guard, const uint8_t *window, size_t size, GuardFlow *flow, Error *err)
{
	MainJudge judge = { .guard = guard, .err = err };
	GuardMain *main = &guard->main;

	for (;;) {
		const uint8_t *front = window + flow->taken;
		UnitResult result =
			main_stream_next(main->stream, front, size - flow->taken, &judge.unit, err);

		if (result == UNIT_BAD)
			return guard_violation_by(err, main->complete ? GUARD_RULE_END
								      : GUARD_RULE_GRAMMAR);
		if (result == UNIT_MORE)
			break;
		if (!judges[judge.unit.kind](&judge))
			return false;
		if (main->hold && !guard_held_add(&judge, front))
			return false;
		flow->taken += judge.unit.size_bytes;
		if (!main->hold)
			flow->forward = flow->taken;
		else if (guard_held_is_whole(&judge))
			return guard_held_judge(&judge, flow);
	}
	return main->hold != HOLD_DEVICES || main->complete || guard_held_try(&judge, flow);
}

bool guard_main_end(const Guard *guard, size_t left, Error *err)
{
	const GuardMain *main = &guard->main;

	if (main_stream_finish(main->stream, left, err))
		return true;
	/* A source that was cancelled or died ends anywhere. */
	return guard_violation(
		err, GUARD_RULE_CLOSED,
		"main channel, byte %" PRIu64 ": the source closed the channel early%s",
		main_stream_offset(main->stream) + left, main->hold ? ", inside device state" : "");
}
