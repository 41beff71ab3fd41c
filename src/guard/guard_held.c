/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Device state of a precopy stream: from the header of its first section to the last byte of its
 * description, which alone says how long sections are. It is held until then, judged whole and
 * released whole.
 *
 * When it is complete nobody says: QEMU's source closes only after the destination has loaded, so
 * the end is seen by what stands there, a mark, a length, and as many bytes of text. That such a
 * thing stands inside device state, and ends where a piece that came ends, is improbable; what it
 * does then is that the state is judged too early, and refused.
 */
#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "guard/guard_main.h"

enum {
	/* The end mark, the tag and be32 length before the text (migration/savevm.c). */
	MARK_SIZE = 6,
	TAG_EOF = 0x00,
	TAG_VMDESC = 0x06,
	/* Of the be32 length of a text below 16 MiB, the last three bytes can look like text. */
	LENGTH_AS_TEXT = 3,
};

/* --- growing --- */

static bool may_be_json(uint8_t byte)
{
	return byte >= 0x20 || byte == '\t' || byte == '\n' || byte == '\r';
}

/* Looked for from the end: each byte is seen once, however small the pieces are. */
static void find_text(GuardMain *main, size_t added)
{
	const uint8_t *data = main->held.data;
	size_t from = main->held.used - added;

	for (size_t at = main->held.used; at > from; at--)
		if (!may_be_json(data[at - 1])) {
			main->text_at = at;
			return;
		}
}

static bool put(const MainJudge *judge, const uint8_t *bytes, size_t size)
{
	Guard *guard = judge->guard;
	Buffer *held = &guard->main.held;
	uint64_t most = guard->options.held_max_bytes;

	if (size > most - held->used)
		return guard_main_refuse(judge, GUARD_RULE_HELD_SIZE,
					 "%" PRIu64 " bytes of device state, at most %" PRIu64,
					 (uint64_t)held->used + size, most);
	if (!buffer_put(held, bytes, size, judge->err)) {
		judge->err->category = ERROR_INTERNAL;
		return false;
	}
	find_text(&guard->main, size);
	return true;
}

static void hold_tail(GuardMain *main, const MainSection *section)
{
	memcpy(main->tail_name, section->name.bytes, section->name.size);
	main->tail_name[section->name.size] = '\0';
	main->tail_instance = section->instance_id;
	main->tail_at = main->held.used;
	main->has_tail = true;
	main_stream_hold_tail(main->stream);
}

bool guard_held_add(const MainJudge *judge, const uint8_t *bytes)
{
	GuardMain *main = &judge->guard->main;
	const MainUnit *unit = &judge->unit;

	if (!put(judge, bytes, unit->size_bytes))
		return false;
	if (unit->kind == MAIN_SECTION && unit->section.needs_length)
		hold_tail(main, &unit->section);
	return true;
}

/* --- the end --- */

static bool ends_at(const uint8_t *held, size_t size, size_t text)
{
	const uint8_t *mark = held + text - MARK_SIZE;

	return mark[0] == TAG_EOF && mark[1] == TAG_VMDESC && load_be32(mark + 2) == size - text &&
	       held[text] == '{';
}

/* A few comparisons, whatever is held: a description's text goes back at least to its mark. What
 * stands here is judged again by who cuts the state. */
static bool may_be_complete(const GuardMain *main)
{
	const Buffer *held = &main->held;

	if (!held->used || held->data[held->used - 1] != '}')
		return false;
	for (size_t text = main->text_at; text <= main->text_at + LENGTH_AS_TEXT; text++)
		if (text >= MARK_SIZE && text < held->used && ends_at(held->data, held->used, text))
			return true;
	return false;
}

/* --- the second walk --- */

static bool expect_payload(const MainJudge *judge, const VmDescription *incoming, const char *name,
			   uint32_t instance)
{
	const VmDevice *device = vmdesc_find(incoming, name, instance);

	if (!device)
		return guard_main_refuse(judge, GUARD_RULE_GRAMMAR,
					 "device %s %" PRIu32 " is not described", name, instance);
	main_stream_expect_payload(judge->guard->main.stream, vmdesc_payload_size(device));
	return true;
}

static bool walk_unit(const MainJudge *judge, const VmDescription *incoming)
{
	const MainSection *section = &judge->unit.section;
	char name[UNIT_NAME_SIZE];

	if (judge->unit.kind != MAIN_SECTION || !section->needs_length)
		return true;
	memcpy(name, section->name.bytes, section->name.size);
	name[section->name.size] = '\0';
	return expect_payload(judge, incoming, name, section->instance_id);
}

/* The decoder sees what it held once more, now with lengths, and must come to its end there. */
static bool walk_again(MainJudge *judge, const VmDescription *incoming)
{
	GuardMain *main = &judge->guard->main;
	const Buffer *held = &main->held;
	size_t at = held->used;
	UnitResult result;

	if (main->has_tail) {
		at = main->tail_at;
		main_stream_release_tail(main->stream);
		if (!expect_payload(judge, incoming, main->tail_name, main->tail_instance))
			return false;
	}
	do {
		result = main_stream_next(main->stream, held->data + at, held->used - at,
					  &judge->unit, judge->err);
		if (result == UNIT_BAD)
			return guard_violation_by(judge->err, GUARD_RULE_GRAMMAR);
		if (result == UNIT_MORE)
			break;
		at += judge->unit.size_bytes;
		if (!walk_unit(judge, incoming))
			return false;
	} while (at <= held->used);
	return main_stream_finish(main->stream, held->used - at, judge->err) ||
	       guard_violation_by(judge->err, GUARD_RULE_END);
}

static void count(Guard *guard, const GuardCounters *counters, int64_t begin_us)
{
	int64_t us = clock_monotonic_us(&clock_system) - begin_us;

	guard_count(&guard->device_bytes, guard->main.held.used);
	guard_count(&guard->device_sections, counters->device_sections);
	guard_count(&guard->judging_us, us > 0 ? (uint64_t)us : 0);
}

bool guard_held_try(const MainJudge *judge, GuardFlow *flow)
{
	Guard *guard = judge->guard;
	GuardMain *main = &guard->main;
	MainJudge again = *judge;
	GuardCounters counters = { 0 };
	const VmDescription *incoming;
	int64_t begin_us;

	if (!may_be_complete(main))
		return true;
	begin_us = clock_monotonic_us(&clock_system);
	if (!guard_device_judge(guard->device, main->held.data, main->held.used, &incoming,
				&counters, judge->err) ||
	    !walk_again(&again, incoming))
		return false;
	count(guard, &counters, begin_us);
	main->complete = true;
	flow->release = main->held.data;
	flow->release_size = main->held.used;
	return true;
}
