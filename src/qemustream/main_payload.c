/* SPDX-License-Identifier: Apache-2.0 */
/* What stands between a section's header and its footer. */
#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "qemustream/main_internal.h"

UnitResult main_step_ram_list(MainStream *stream, const uint8_t *window, size_t size,
			      MainUnit *unit, Error *err)
{
	UnitResult result = ram_list_next(&stream->list, window, size, &unit->ram, err);

	if (result != UNIT_WHOLE)
		return result;
	if (ram_list_complete(&stream->list))
		stream->state = STATE_RAM;
	unit->kind = MAIN_RAM;
	unit->size_bytes = unit->ram.size_bytes;
	return UNIT_WHOLE;
}

UnitResult main_step_ram(MainStream *stream, const uint8_t *window, size_t size, MainUnit *unit,
			 Error *err)
{
	UnitResult result = ram_next(&stream->ram, window, size, &unit->ram, err);

	if (result != UNIT_WHOLE)
		return result;
	if (unit->ram.kind == RAM_EOS)
		main_end_payload(stream);
	unit->kind = MAIN_RAM;
	unit->size_bytes = unit->ram.size_bytes;
	return UNIT_WHOLE;
}

static const BitmapPlace bitmap_places[] = {
	[MAIN_SECTION_START] = BITMAP_IN_START,
	[MAIN_SECTION_PART] = BITMAP_IN_PART,
	[MAIN_SECTION_END] = BITMAP_IN_END,
};

UnitResult main_step_bitmap(MainStream *stream, const uint8_t *window, size_t size, MainUnit *unit,
			    Error *err)
{
	UnitResult result = bitmap_next(&stream->bitmaps, bitmap_places[stream->section_type],
					window, size, &unit->bitmap, err);

	if (result != UNIT_WHOLE)
		return result;
	if (unit->bitmap.kind == BITMAP_EOS)
		main_end_payload(stream);
	unit->kind = MAIN_BITMAP;
	unit->size_bytes = unit->bitmap.size_bytes;
	return UNIT_WHOLE;
}

/* --- globalstate --- */

/* vmstate_globalstate (QEMU's migration/global_state.c): be32 size, then 100 bytes, which were the
 * run state alone until 9.0 and always had zeros behind it. */
enum {
	GLOBAL_AT_RUNSTATE = 4,
	GLOBAL_AT_HAS_SUSPENDED = GLOBAL_AT_RUNSTATE + MAIN_RUNSTATE_SIZE,
	GLOBAL_AT_SUSPENDED,
	GLOBAL_AT_UNUSED,
	GLOBAL_SIZE = 104,
};

static UnitResult check_runstate(const uint8_t *payload, Error *err)
{
	const char *runstate = (const char *)payload + GLOBAL_AT_RUNSTATE;
	size_t size = strnlen(runstate, MAIN_RUNSTATE_SIZE);

	if (!size || size == MAIN_RUNSTATE_SIZE)
		return grammar_bad(err, "run state of %zu bytes, 1 to %d may be", size,
				   MAIN_RUNSTATE_SIZE - 1);
	for (size_t i = 0; i < MAIN_RUNSTATE_SIZE; i++)
		if (i < size ? runstate[i] <= 0x20 || runstate[i] > 0x7e : runstate[i] != 0)
			return grammar_bad(err, "run state with byte 0x%02x at %zu",
					   (uint8_t)runstate[i], i);
	if (load_be32(payload) != size + 1)
		return grammar_bad(err, "run state %s with size %" PRIu32 ", expected %zu",
				   runstate, load_be32(payload), size + 1);
	return UNIT_WHOLE;
}

static UnitResult check_suspended(const uint8_t *payload, Error *err)
{
	for (size_t i = GLOBAL_AT_HAS_SUSPENDED; i < GLOBAL_SIZE; i++)
		if (payload[i] > (i < GLOBAL_AT_UNUSED ? 1 : 0))
			return grammar_bad(err, "globalstate with byte 0x%02x at %zu", payload[i],
					   i);
	return UNIT_WHOLE;
}

UnitResult main_step_global_state(MainStream *stream, const uint8_t *window, size_t size,
				  MainUnit *unit, Error *err)
{
	UnitResult result;

	if (size < GLOBAL_SIZE)
		return UNIT_MORE;
	result = check_runstate(window, err);
	if (result == UNIT_WHOLE)
		result = check_suspended(window, err);
	if (result != UNIT_WHOLE)
		return result;
	memcpy(unit->global_state.runstate, window + GLOBAL_AT_RUNSTATE, MAIN_RUNSTATE_SIZE);
	unit->global_state.has_suspended = window[GLOBAL_AT_HAS_SUSPENDED];
	unit->global_state.suspended = window[GLOBAL_AT_SUSPENDED];
	main_end_payload(stream);
	unit->kind = MAIN_GLOBAL_STATE;
	unit->size_bytes = GLOBAL_SIZE;
	return UNIT_WHOLE;
}

/* --- payloads that are not decoded --- */

UnitResult main_step_length(MainStream *stream, const uint8_t *window, size_t size, MainUnit *unit,
			    Error *err)
{
	(void)stream;
	(void)window;
	(void)size;
	(void)unit;
	error_set(err, ERROR_INTERNAL, "nobody said how long the payload is");
	return UNIT_BAD;
}

UnitResult main_step_payload(MainStream *stream, const uint8_t *window, size_t size, MainUnit *unit,
			     Error *err)
{
	(void)err;
	if (!size)
		return UNIT_MORE;
	if (size > stream->payload_left)
		size = (size_t)stream->payload_left;
	stream->payload_left -= size;
	if (!stream->payload_left)
		main_end_payload(stream);
	unit->kind = MAIN_PAYLOAD;
	unit->bytes = window;
	unit->size_bytes = size;
	return UNIT_WHOLE;
}

void main_stream_expect_payload(MainStream *stream, uint64_t size_bytes)
{
	assert(stream->state == STATE_LENGTH);
	stream->payload_left = size_bytes;
	stream->state = STATE_PAYLOAD;
	if (!size_bytes)
		main_end_payload(stream);
}

/* --- the tail --- */

bool main_stream_may_hold(const MainStream *stream)
{
	return stream->state == STATE_LENGTH && stream->phase & (PHASE_DEVICES | PHASE_PACKAGE);
}

void main_stream_hold_tail(MainStream *stream)
{
	assert(main_stream_may_hold(stream));
	stream->tail = (Tail){ .offset = stream->offset, .package_left = stream->package_left };
	stream->state = STATE_TAIL;
}

void main_stream_release_tail(MainStream *stream)
{
	assert(stream->state == STATE_TAIL);
	stream->offset = stream->tail.offset;
	stream->package_left = stream->tail.package_left;
	stream->state = STATE_LENGTH;
}

bool main_stream_tail_is_complete(const MainStream *stream)
{
	return stream->state == STATE_TAIL && stream->phase == PHASE_PACKAGE &&
	       !stream->package_left;
}

UnitResult main_step_tail(MainStream *stream, const uint8_t *window, size_t size, MainUnit *unit,
			  Error *err)
{
	if (main_stream_tail_is_complete(stream)) {
		error_set(err, ERROR_INTERNAL, "the tail is complete and was not released");
		return UNIT_BAD;
	}
	if (!size)
		return UNIT_MORE;
	unit->kind = MAIN_TAIL;
	unit->bytes = window;
	unit->size_bytes = size;
	return UNIT_WHOLE;
}
