/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Device state: held, judged whole and released whole.
 *
 * In precopy it goes from the header of its first section to the last byte of its description,
 * which alone says how long sections are. When it is complete nobody says: QEMU's source closes
 * only after the destination has loaded, so the end is seen by what stands there, a mark, a length,
 * and as many bytes of text. That such a thing stands inside device state, and ends where a piece
 * that came ends, is improbable; what it does then is that the state is judged too early, and
 * refused. If bytes stand behind the description, its end is no end of a piece: then what may be a
 * description is judged with what stands before it, and if that is good the rest is refused at
 * once.
 *
 * The package of postcopy tells its length, and an early section has that of the local device. No
 * description comes with them: guard_device_judge_bare.
 */
#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "guard/guard_command.h"
#include "guard/guard_main.h"
#include "qemustream/grammar.h"

enum {
	/* The end mark, the tag and be32 length before the text (migration/savevm.c). */
	MARK_SIZE = 6,
	TAG_EOF = 0x00,
	TAG_VMDESC = 0x06,
	/* Of the be32 length of a text below 16 MiB, the last three bytes can look like text. */
	LENGTH_AS_TEXT = 3,
	/* How often device state is judged to see whether bytes stand behind it. */
	MARKS_JUDGED_MAX = 4,
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
	if (unit->kind == MAIN_SECTION && unit->section.needs_length && main->hold != HOLD_EARLY)
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

/* `at`: where the unit stands in what is held. */
static bool walk_unit(const MainJudge *judge, const VmDescription *incoming, size_t at)
{
	const MainSection *section = &judge->unit.section;
	char name[UNIT_NAME_SIZE];

	if (judge->unit.kind == MAIN_COMMAND)
		return guard_command_judge(judge);
	/* In a package commands stand behind device state; a section behind one of them was not
	 * among those that were judged, whatever is known of its length. */
	if (judge->unit.kind == MAIN_SECTION && at >= judge->guard->main.sections_end)
		return guard_main_refuse(judge, GUARD_RULE_GRAMMAR,
					 "section FULL of %.*s behind device state",
					 NAME_ARGS(section->name));
	if (judge->unit.kind != MAIN_SECTION || !section->needs_length)
		return true;
	memcpy(name, section->name.bytes, section->name.size);
	name[section->name.size] = '\0';
	return expect_payload(judge, incoming, name, section->instance_id);
}

/* The decoder sees what it held once more, now with lengths, up to its last byte. */
static bool walk_again(MainJudge *judge, const VmDescription *incoming)
{
	GuardMain *main = &judge->guard->main;
	const Buffer *held = &main->held;
	size_t at = held->used;

	if (main->has_tail) {
		at = main->tail_at;
		main->has_tail = false;
		main_stream_release_tail(main->stream);
		if (!expect_payload(judge, incoming, main->tail_name, main->tail_instance))
			return false;
	}
	while (at < held->used) {
		UnitResult result = main_stream_next(main->stream, held->data + at, held->used - at,
						     &judge->unit, judge->err);

		if (result == UNIT_BAD)
			return guard_violation_by(judge->err, GUARD_RULE_GRAMMAR);
		if (result == UNIT_MORE)
			return guard_main_refuse(judge, GUARD_RULE_GRAMMAR,
						 "%zu bytes at the end of device state are no unit",
						 held->used - at);
		if (!walk_unit(judge, incoming, at))
			return false;
		at += judge->unit.size_bytes;
	}
	return true;
}

/* --- judging --- */

static void count(Guard *guard, const GuardCounters *counters, int64_t begin_us)
{
	int64_t us = clock_monotonic_us(&clock_system) - begin_us;

	guard_count(&guard->device_bytes, guard->main.held.used);
	guard_count(&guard->device_sections, counters->device_sections);
	guard_count(&guard->judging_us, us > 0 ? (uint64_t)us : 0);
}

/* Early sections stand first in what is described, so they are put before what is held. *ret_state
 * is empty if there are none. */
static bool join_early(const GuardMain *main, size_t from, Buffer *ret_state, Error *err)
{
	*ret_state = BUFFER_INIT(main->early.used + main->held.used);
	if (!main->early.used ||
	    (buffer_put(ret_state, main->early.data, main->early.used, err) &&
	     buffer_put(ret_state, main->held.data + from, main->held.used - from, err)))
		return true;
	err->category = ERROR_INTERNAL;
	return false;
}

static bool judge_devices(const MainJudge *judge, GuardCounters *counters,
			  const VmDescription **ret_incoming)
{
	Guard *guard = judge->guard;
	GuardMain *main = &guard->main;
	const size_t from = main->hold == HOLD_PACKAGE ? main->sections_at : 0;
	AUTO_BUFFER Buffer joined = BUFFER_INIT(0);
	const uint8_t *state = main->held.data + from;
	size_t size = main->held.used - from, sections_size;

	if (!join_early(main, from, &joined, judge->err))
		return false;
	if (joined.used) {
		state = joined.data;
		size = joined.used;
	}
	main->sections_end = main->held.used;
	if (main->hold == HOLD_DEVICES)
		return guard_device_judge(guard->device, state, size, ret_incoming, counters,
					  judge->err);
	if (!guard_device_judge_bare(guard->device, state, size, true, ret_incoming, &sections_size,
				     counters, judge->err))
		return false;
	main->sections_end = from + sections_size - (joined.used ? main->early.used : 0);
	return true;
}

static void release(GuardMain *main, GuardFlow *flow)
{
	flow->release = main->held.data;
	flow->release_size = main->held.used;
	flow->from = &main->held;
}

/* --- packages and early sections --- */

bool guard_held_is_whole(const MainJudge *judge)
{
	const GuardMain *main = &judge->guard->main;
	const MainUnit *unit = &judge->unit;

	if (main->hold == HOLD_EARLY)
		return unit->kind == MAIN_FOOTER;
	return main->hold == HOLD_PACKAGE &&
	       (main_stream_tail_is_complete(main->stream) ||
		(unit->kind == MAIN_COMMAND && unit->command.kind == COMMAND_POSTCOPY_RUN));
}

static bool judge_early(const MainJudge *judge, GuardCounters *counters)
{
	GuardMain *main = &judge->guard->main;
	const VmDescription *incoming;
	size_t size;

	if (!guard_device_judge_bare(judge->guard->device, main->held.data, main->held.used, false,
				     &incoming, &size, counters, judge->err))
		return false;
	if (buffer_put(&main->early, main->held.data, main->held.used, judge->err))
		return true;
	judge->err->category = ERROR_INTERNAL;
	return false;
}

static bool judge_package(const MainJudge *judge, GuardCounters *counters)
{
	Guard *guard = judge->guard;
	MainJudge again = *judge;
	const VmDescription *incoming;

	if (!guard->main.sections_at)
		guard->main.sections_at = guard->main.held.used;
	if (!judge_devices(judge, counters, &incoming) || !walk_again(&again, incoming))
		return false;
	/* Before the destination's QEMU has it, and so before it can ask for a page. */
	atomic_store_explicit(&guard->package_passed, true, memory_order_release);
	return true;
}

bool guard_held_judge(const MainJudge *judge, GuardFlow *flow)
{
	GuardMain *main = &judge->guard->main;
	const int64_t begin_us = clock_monotonic_us(&clock_system);
	const bool is_early = main->hold == HOLD_EARLY;
	GuardCounters counters = { 0 };

	if (!(is_early ? judge_early(judge, &counters) : judge_package(judge, &counters)))
		return false;
	/* An early section is counted with the rest. */
	if (!is_early)
		count(judge->guard, &counters, begin_us);
	release(main, flow);
	main->hold = HOLD_NOTHING;
	return true;
}

/* --- the end of precopy --- */

/* Where descriptions may begin in what came since: the first byte of such a length is 0. */
static void find_marks(GuardMain *main)
{
	static const uint8_t mark[] = { TAG_EOF, TAG_VMDESC, 0 };
	const uint8_t *held = main->held.data;
	size_t at = main->marks_at;

	for (;;) {
		const uint8_t *found = memmem(held + at, main->held.used - at, mark, sizeof(mark));

		if (!found)
			break;
		at = (size_t)(found - held) + 1;
		for (size_t i = 0; i < ARRAY_SIZE(main->marks); i++)
			if (!main->marks[i]) {
				main->marks[i] = at; /* one behind, so that 0 is none */
				break;
			}
	}
	main->marks_at = main->held.used > sizeof(mark) ? main->held.used - sizeof(mark) + 1 : 0;
	if (main->marks_at < at)
		main->marks_at = at;
}

/* 0: no description stands at this mark, or it is not whole. */
static size_t end_of_mark(const GuardMain *main, size_t *mark)
{
	const size_t text = *mark - 1 + MARK_SIZE;
	const uint8_t *held = main->held.data;
	size_t size;

	if (text >= main->held.used)
		return 0;
	size = load_be32(held + text - 4);
	if (held[text] != '{' || !size || size > GUARD_DEVICE_JSON_MAX) {
		*mark = 0;
		return 0;
	}
	if (size > main->held.used - text)
		return 0;
	if (held[text + size - 1] != '}') {
		*mark = 0;
		return 0;
	}
	return text + size;
}

/* Bytes behind a description that is good with all that stands before it. */
static bool refuse_behind(const MainJudge *judge)
{
	GuardMain *main = &judge->guard->main;
	const size_t used = main->held.used;

	find_marks(main);
	for (size_t i = 0; i < ARRAY_SIZE(main->marks); i++) {
		size_t end = main->marks[i] ? end_of_mark(main, &main->marks[i]) : 0;
		const VmDescription *incoming;
		GuardCounters counters = { 0 };
		Error err = ERROR_INIT;
		MainJudge at_end = *judge;
		bool good;

		if (!end || end == used || main->marks_judged == MARKS_JUDGED_MAX)
			continue;
		main->marks[i] = 0;
		main->marks_judged++;
		main->held.used = end;
		at_end.err = &err;
		good = judge_devices(&at_end, &counters, &incoming);
		main->held.used = used;
		if (good)
			return guard_main_refuse(judge, GUARD_RULE_END,
						 "%zu bytes behind the description, which ends "
						 "the stream",
						 used - end);
	}
	return true;
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
		return refuse_behind(judge);
	begin_us = clock_monotonic_us(&clock_system);
	if (!judge_devices(judge, &counters, &incoming) || !walk_again(&again, incoming))
		return false;
	if (!main_stream_finish(main->stream, 0, judge->err))
		return guard_violation_by(judge->err, GUARD_RULE_END);
	count(guard, &counters, begin_us);
	main->complete = true;
	release(main, flow);
	return true;
}
