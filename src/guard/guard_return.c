/* SPDX-License-Identifier: Apache-2.0 */
/* The return path, at the source: what the destination may say to a precopy source. */
#include <inttypes.h>

#include "guard/guard_internal.h"

enum {
	/* QEMU pings once, to see that the path is there (migration_thread, migration.c). */
	PONGS_MAX = 1,
	SETUP_COOKIE = 1,
};

static const char *const words[] = {
	[RETURN_PATH_SHUT] = "SHUT",
	[RETURN_PATH_PONG] = "PONG",
	[RETURN_PATH_REQ_PAGES_ID] = "REQ_PAGES_ID",
	[RETURN_PATH_REQ_PAGES] = "REQ_PAGES",
	[RETURN_PATH_RECV_BITMAP] = "RECV_BITMAP",
	[RETURN_PATH_BITMAP_BYTES] = "RECV_BITMAP",
	[RETURN_PATH_BITMAP_END] = "RECV_BITMAP",
	[RETURN_PATH_RESUME_ACK] = "RESUME_ACK",
	[RETURN_PATH_SWITCHOVER_ACK] = "SWITCHOVER_ACK",
};

static bool judge_message(GuardReturn *path, const ReturnPathUnit *unit, uint64_t at, Error *err)
{
	if (unit->kind == RETURN_PATH_SHUT)
		return true;
	if (unit->kind != RETURN_PATH_PONG)
		return guard_violation(err, GUARD_RULE_RETURN_MESSAGE,
				       "return path, byte %" PRIu64 ": %s, expected SHUT or PONG",
				       at, words[unit->kind]);
	if (unit->value != SETUP_COOKIE)
		return guard_violation(err, GUARD_RULE_RETURN_COOKIE,
				       "return path, byte %" PRIu64 ": PONG with %" PRIu32
				       ", expected %d",
				       at, unit->value, SETUP_COOKIE);
	if (path->pongs == PONGS_MAX)
		return guard_violation(err, GUARD_RULE_RETURN_COUNT,
				       "return path, byte %" PRIu64 ": PONG number %u, at most %d",
				       at, path->pongs + 1, PONGS_MAX);
	path->pongs++;
	return true;
}

bool guard_return_take(Guard *guard, const uint8_t *window, size_t size, GuardFlow *flow,
		       Error *err)
{
	GuardReturn *path = &guard->return_path;
	UnitResult result;

	do {
		uint64_t at = path->stream.offset;
		ReturnPathUnit unit;

		result = return_path_next(&path->stream, window + flow->taken, size - flow->taken,
					  &unit, err);
		if (result == UNIT_BAD)
			return guard_violation_by(err, GUARD_RULE_GRAMMAR);
		if (result == UNIT_MORE)
			break;
		if (!judge_message(path, &unit, at, err))
			return false;
		flow->taken += unit.size_bytes;
		flow->forward = flow->taken;
	} while (result == UNIT_WHOLE);
	return true;
}

/* A destination that died says nothing more: that is for the engine to see, and no attack. */
bool guard_return_end(const Guard *guard, size_t left, Error *err)
{
	const ReturnPathStream *stream = &guard->return_path.stream;

	if (!left && return_path_may_end(stream))
		return true;
	return guard_violation(err, GUARD_RULE_END,
			       "return path, byte %" PRIu64 ": closed %zu bytes into a message",
			       stream->offset + left, left);
}
