/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `sealift inspect` of the main channel. Up to device state it is read as it comes. Device state
 * has no lengths until its description came, so it is held to the end of the file (or of the
 * package that it stands in), and decoded then.
 */
#include "programs/cli/inspect_main.h"

#include <inttypes.h>
#include <string.h>

/* All that may be agreed is taken for agreed: what came is to be explained, not to be judged. */
static MainStreamOptions options_for(bool ignore_shared)
{
	return (MainStreamOptions){ .page_size = INSPECT_PAGE_SIZE,
				    .multifd = true,
				    .xbzrle = true,
				    .postcopy = true,
				    .dirty_bitmaps = true,
				    .ignore_shared = ignore_shared };
}

static void main_inspect_free(MainInspect *view)
{
	if (!view)
		return;
	main_stream_free(view->stream);
	vmdesc_free(view->description);
	buffer_clear(&view->held);
	free(view);
}
DEFINE_CLEANUP(MainInspect, main_inspect, main_inspect_free)
#define AUTO_MAIN_INSPECT CLEANUP(main_inspect_cleanup)

/* This capability decides the form of what follows, and must be known before: so the beginning is
 * looked at twice. */
static bool detect_ignore_shared(const uint8_t *bytes, size_t size, bool *ret_listed, Error *err)
{
	const MainStreamOptions options = options_for(true);
	AUTO_MAIN_STREAM MainStream *stream = main_stream_new(&options, err);
	Error ignored = ERROR_INIT;
	MainUnit unit;
	size_t at = 0;

	*ret_listed = false;
	if (!stream)
		return false;
	while (main_stream_next(stream, bytes + at, size - at, &unit, &ignored) == UNIT_WHOLE) {
		if (unit.kind != MAIN_HEADER && unit.kind != MAIN_CONFIGURATION)
			break;
		*ret_listed |= unit.kind == MAIN_CONFIGURATION && unit.configuration.ignore_shared;
		at += unit.size_bytes;
	}
	return true;
}

/* --- errors --- */

static bool no_footer(const MainInspect *view, uint64_t end, Error *err)
{
	return error_set(err, ERROR_PEER,
			 "main channel, byte %" PRIu64 ": no end of section %" PRIu32
			 " (%s), whose payload begins at byte %" PRIu64,
			 end, view->section.id, view->section.name, view->section.payload_at);
}

static bool cut(const MainInspect *view, uint64_t at, size_t left, Error *err)
{
	char place[UNIT_NAME_SIZE + 32] = "";

	if (view->section.open)
		snprintf(place, sizeof(place), ", in section %" PRIu32 " (%s)", view->section.id,
			 view->section.name);
	if (!left)
		return error_set(err, ERROR_PEER,
				 "main channel, byte %" PRIu64
				 ": the file ends where more must follow%s",
				 at, place);
	return error_set(err, ERROR_PEER,
			 "main channel, byte %" PRIu64
			 ": the file ends inside what begins at byte %" PRIu64 "%s",
			 at + left, at, place);
}

/* --- units --- */

static bool hold(MainInspect *view, const MainUnit *unit, Error *err)
{
	return buffer_put(&view->held, unit->bytes, unit->size_bytes, err) ||
	       error_prefix(err, "main channel, byte %" PRIu64 ", device state", unit->at);
}

static bool take_unit(MainInspect *view, const MainUnit *unit, Error *err)
{
	if (unit->kind == MAIN_TAIL)
		return hold(view, unit, err);
	if (!inspect_print_unit(view, unit, err))
		return false;
	if (unit->kind != MAIN_SECTION || unit->section.type != MAIN_SECTION_FULL)
		return true;
	if (view->replaying || !unit->section.needs_length || !main_stream_may_hold(view->stream)) {
		view->wants_length = true;
		return true;
	}
	view->held_at = view->section.payload_at;
	main_stream_hold_tail(view->stream);
	return true;
}

/* ret_found: the payload at the front of these bytes may be decoded. */
static bool settle_length(MainInspect *view, const uint8_t *bytes, size_t size, bool *ret_found,
			  Error *err)
{
	uint64_t length = 0;

	if (!inspect_device(view, bytes, size, ret_found, &length, err))
		return false;
	if (!*ret_found)
		return true;
	view->wants_length = false;
	if (view->section.needs_length)
		main_stream_expect_payload(view->stream, length);
	return true;
}

/* As many units as these bytes have whole. */
static bool take_units(MainInspect *view, const uint8_t *bytes, size_t size, size_t *ret_used,
		       Error *err)
{
	UnitResult result = UNIT_WHOLE;
	bool found = true;

	*ret_used = 0;
	while (result == UNIT_WHOLE && !main_stream_tail_is_complete(view->stream)) {
		const uint8_t *at = bytes + *ret_used;
		const size_t left = size - *ret_used;
		MainUnit unit;

		if (view->wants_length && !settle_length(view, at, left, &found, err))
			return false;
		if (!found)
			return true;
		result = main_stream_next(view->stream, at, left, &unit, err);
		if (result != UNIT_WHOLE)
			break;
		*ret_used += unit.size_bytes;
		if (!take_unit(view, &unit, err))
			return false;
	}
	return result != UNIT_BAD;
}

/* --- held device state --- */

/* Decodes `size` of the held bytes, all of which must be units. */
static bool replay(MainInspect *view, size_t size, Error *err)
{
	static const uint8_t nothing[1];
	const uint8_t *bytes = view->held.data ? view->held.data : nothing;
	size_t used;

	main_stream_release_tail(view->stream);
	view->replaying = true;
	view->wants_length = true;
	if (!take_units(view, bytes, size, &used, err))
		return false;
	view->replaying = false;
	view->end = view->held_at + size;
	if (view->wants_length)
		return no_footer(view, view->end, err);
	return used == size || cut(view, view->held_at + used, size - used, err);
}

static bool replay_package(MainInspect *view, Error *err)
{
	if (!replay(view, view->held.used, err))
		return false;
	buffer_clear(&view->held);
	return true;
}

static bool replay_tail(MainInspect *view, Error *err)
{
	Error ignored = ERROR_INIT;
	size_t size;

	if (!inspect_tail_describe(view, &size, err) || !replay(view, size, err) ||
	    !inspect_devices_finish(view, err))
		return false;
	if (size != view->held.used)
		return error_set(err, ERROR_PEER,
				 "main channel, byte %" PRIu64 ": %zu bytes after the end",
				 view->end, view->held.used - size);
	return main_stream_finish(view->stream, 0, &ignored) || cut(view, view->end, 0, err);
}

/* --- the file --- */

static bool finish(MainInspect *view, Error *err)
{
	const InspectInput *input = &view->inspect->input;
	const size_t left = inspect_input_size(input);
	Error ignored = ERROR_INIT;

	if (view->wants_length)
		return no_footer(view, input->offset + left, err);
	/* Nothing but a tail leaves nothing behind it in the window and does not go on. */
	if (view->held_at)
		return replay_tail(view, err);
	view->end = input->offset;
	return main_stream_finish(view->stream, left, &ignored) ||
	       cut(view, input->offset, left, err);
}

static bool run(MainInspect *view, Error *err)
{
	InspectInput *input = &view->inspect->input;
	size_t used;

	for (;;) {
		if (!take_units(view, inspect_input_window(input), inspect_input_size(input), &used,
				err))
			return false;
		inspect_input_skip(input, used);
		if (main_stream_tail_is_complete(view->stream)) {
			if (!replay_package(view, err))
				return false;
			view->held_at = 0;
			continue;
		}
		if (input->ended)
			return finish(view, err);
		if (inspect_input_size(input) == INSPECT_WINDOW)
			return no_footer(view, input->offset + INSPECT_WINDOW, err);
		if (!inspect_input_fill(input, err))
			return false;
	}
}

static bool judge_device_option(const MainInspect *view, Error *err)
{
	return !view->inspect->device || view->device_found ||
	       error_set(err, ERROR_NOT_FOUND, "no device %.200s in this stream",
			 view->inspect->device);
}

bool inspect_main(Inspect *inspect, Error *err)
{
	AUTO_MAIN_INSPECT MainInspect *view = calloc(1, sizeof(*view));
	InspectInput *input = &inspect->input;
	Error ignored = ERROR_INIT;
	MainStreamOptions options;
	bool ignore_shared;

	if (!view)
		return error_set(err, ERROR_INTERNAL, "no memory to read a main channel");
	view->inspect = inspect;
	view->held = BUFFER_INIT(INSPECT_HELD_MAX);
	if (!inspect_input_need(input, UNIT_WINDOW, err) ||
	    !detect_ignore_shared(inspect_input_window(input), inspect_input_size(input),
				  &ignore_shared, err))
		return false;
	options = options_for(ignore_shared);
	view->stream = main_stream_new(&options, err);
	if (!view->stream)
		return false;
	if (run(view, err))
		return inspect_print_main_summary(view, err) && judge_device_option(view, err);
	/* What was read before it broke. */
	(void)!inspect_print_counts(view, &ignored);
	return false;
}
