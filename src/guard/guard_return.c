/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The return path, at the source: what the destination may say.
 *
 * A precopy source is told that the path is there and how it ended. In postcopy the destination
 * asks for pages; which blocks there are the source's own QEMU has announced in its stream
 * (guard_learn), long before the first request can come.
 */
#include <inttypes.h>
#include <string.h>

#include "guard/guard_internal.h"
#include "qemustream/grammar.h"

enum {
	OWN_MAX = 64 * 1024, /* up to the list of 64 blocks with their names */
	BITMAP_WORD = 64,    /* pages */
};

typedef struct Message {
	const char *word;
	uint32_t agreed; /* one of these makes it be allowed; 0: always */
} Message;

#define RAM_OR_BITMAPS (GUARD_AGREED(GUARD_POSTCOPY) | GUARD_AGREED(GUARD_BITMAPS))

static const Message messages[] = {
	[RETURN_PATH_SHUT] = { "SHUT", 0 },
	[RETURN_PATH_PONG] = { "PONG", 0 },
	[RETURN_PATH_REQ_PAGES_ID] = { "REQ_PAGES_ID", GUARD_AGREED(GUARD_POSTCOPY) },
	[RETURN_PATH_REQ_PAGES] = { "REQ_PAGES", GUARD_AGREED(GUARD_POSTCOPY) },
	[RETURN_PATH_RECV_BITMAP] = { "RECV_BITMAP", GUARD_AGREED(GUARD_RECOVERY) },
	[RETURN_PATH_BITMAP_BYTES] = { "RECV_BITMAP", GUARD_AGREED(GUARD_RECOVERY) },
	[RETURN_PATH_BITMAP_END] = { "RECV_BITMAP", GUARD_AGREED(GUARD_RECOVERY) },
	[RETURN_PATH_RESUME_ACK] = { "RESUME_ACK", GUARD_AGREED(GUARD_RECOVERY) },
	[RETURN_PATH_SWITCHOVER_ACK] = { "SWITCHOVER_ACK", GUARD_AGREED(GUARD_SWITCHOVER_ACK) },
};

typedef struct Judge {
	Guard *guard;
	ReturnPathUnit unit;
	uint64_t at;
	Error *err;
} Judge;

#define REFUSE(judge, rule, format, ...)                                                           \
	guard_violation((judge)->err, (rule), "return path, byte %" PRIu64 ": " format,            \
			(judge)->at, __VA_ARGS__)

/* --- what this host's own QEMU said --- */

bool guard_return_open(Guard *guard, Error *err)
{
	GuardReturn *path = &guard->return_path;
	/* A bitmap is held against its block once that is named. */
	const ReturnPathOptions options = {
		.page_size = GUARD_PAGE_SIZE,
		.bitmap_max_bytes = guard_has(guard, GUARD_RECOVERY)
					    ? LIMIT_MEMORY_BYTES / GUARD_PAGE_SIZE / 8
					    : 0,
	};
	const MainStreamOptions own = { .page_size = GUARD_PAGE_SIZE,
					.multifd = true,
					.xbzrle = guard_has(guard, GUARD_XBZRLE),
					.postcopy = guard_has(guard, GUARD_POSTCOPY),
					.dirty_bitmaps = guard_has(guard, GUARD_BITMAPS),
					.other_page_size = guard->huge_blocks };

	path->block = -1;
	return_path_init(&path->stream, &options);
	path->own_bytes = BUFFER_INIT(OWN_MAX);
	path->own = main_stream_new(&own, err);
	return path->own != NULL;
}

void guard_return_close(Guard *guard)
{
	main_stream_free(TAKE_PTR(guard->return_path.own));
	buffer_clear(&guard->return_path.own_bytes);
}

static bool is_list_end(const MainUnit *unit)
{
	return unit->kind == MAIN_RAM && unit->ram.kind == RAM_EOS;
}

/* Units up to the end of the list. */
static bool learn(GuardReturn *path, bool *ret_done, Error *err)
{
	for (;;) {
		MainUnit unit;
		UnitResult result = main_stream_next(path->own, path->own_bytes.data,
						     path->own_bytes.used, &unit, err);

		if (result == UNIT_BAD)
			return false;
		if (result == UNIT_MORE)
			return true;
		if (unit.kind == MAIN_SECTION && unit.section.needs_length)
			return error_set(err, ERROR_HYPERVISOR,
					 "device %.*s comes before the list of blocks",
					 NAME_ARGS(unit.section.name));
		buffer_consume(&path->own_bytes, unit.size_bytes);
		*ret_done = is_list_end(&unit);
		if (*ret_done)
			return true;
	}
}

bool guard_learn(Guard *guard, const uint8_t *bytes, size_t size, bool *ret_done, Error *err)
{
	GuardReturn *path = &guard->return_path;

	*ret_done = !guard_has(guard, GUARD_POSTCOPY) ||
		    atomic_load_explicit(&path->ready, memory_order_relaxed);
	if (*ret_done)
		return true;
	/* What does not fit stands behind the list, or is no list. */
	if (size > OWN_MAX - path->own_bytes.used)
		size = OWN_MAX - path->own_bytes.used;
	if (!buffer_put(&path->own_bytes, bytes, size, err) || !learn(path, ret_done, err)) {
		err->category = ERROR_HYPERVISOR;
		return error_prefix(err, "guard: the stream of this host's own QEMU");
	}
	if (!*ret_done && path->own_bytes.used == OWN_MAX)
		return error_set(err, ERROR_HYPERVISOR,
				 "guard: no list of blocks in the stream of this host's own QEMU");
	if (!*ret_done)
		return true;
	buffer_clear(&path->own_bytes);
	atomic_store_explicit(&path->ready, true, memory_order_release);
	return true;
}

static const RamBlocks *own_blocks(const Guard *guard)
{
	const GuardReturn *path = &guard->return_path;

	return atomic_load_explicit(&path->ready, memory_order_acquire)
		       ? main_stream_blocks(path->own)
		       : NULL;
}

/* -1 if this VM has none of this name. */
static int find_block(const Judge *judge, UnitName name)
{
	const RamBlocks *blocks = own_blocks(judge->guard);

	return blocks ? ram_blocks_find(blocks, name) : -1;
}

/* --- PONG --- */

typedef struct PongAllowed {
	uint32_t cookie;
	uint32_t agreed;
} PongAllowed;

enum { PONG_BEFORE_PACKAGE = 1 }; /* its row */

static const PongAllowed pongs[] = {
	{ 1, 0 },
	[PONG_BEFORE_PACKAGE] = { 2, RAM_OR_BITMAPS },
	{ 3, RAM_OR_BITMAPS },
	{ 4, RAM_OR_BITMAPS },
	{ 0x42, RAM_OR_BITMAPS }, /* since 10.2 */
};

static bool judge_pong(const Judge *judge)
{
	GuardReturn *path = &judge->guard->return_path;

	for (size_t i = 0; i < ARRAY_SIZE(pongs); i++) {
		if (pongs[i].cookie != judge->unit.value ||
		    (pongs[i].agreed && !(pongs[i].agreed & judge->guard->agreed)))
			continue;
		if (path->pongs & UINT32_C(1) << i)
			return REFUSE(judge, GUARD_RULE_RETURN_COUNT,
				      "PONG with %" PRIu32 ", number 2 of it, at most 1",
				      judge->unit.value);
		path->pongs |= UINT32_C(1) << i;
		return true;
	}
	return REFUSE(judge, GUARD_RULE_RETURN_COOKIE,
		      "PONG with %" PRIu32 ", expected %" PRIu32 "%s", judge->unit.value,
		      pongs[0].cookie, judge->guard->agreed & RAM_OR_BITMAPS ? " to 4 or 66" : "");
}

/* --- requests --- */

static bool judge_request(const Judge *judge)
{
	GuardReturn *path = &judge->guard->return_path;
	const ReturnPathUnit *unit = &judge->unit;
	const RamBlocks *blocks = own_blocks(judge->guard);
	const RamBlock *block;
	uint64_t page, most = 0;

	/* The destination answers in turn: PING 2 stands before the package. */
	if (!(path->pongs & UINT32_C(1) << PONG_BEFORE_PACKAGE))
		return REFUSE(judge, GUARD_RULE_RETURN_MESSAGE, "%s before postcopy",
			      messages[unit->kind].word);
	if (unit->kind == RETURN_PATH_REQ_PAGES_ID)
		path->block = find_block(judge, unit->block);
	if (path->block < 0)
		return REFUSE(judge, GUARD_RULE_RETURN_REQUEST,
			      "pages of block %.*s, which this VM does not have",
			      NAME_ARGS(unit->block));
	block = &blocks->items[path->block];
	page = guard_page_bytes(judge->guard, block->name);
	if (unit->start % page || unit->length != page || unit->start >= block->used_length ||
	    unit->length > block->used_length - unit->start)
		return REFUSE(judge, GUARD_RULE_RETURN_REQUEST,
			      "0x%" PRIx32 " bytes at 0x%" PRIx64
			      " of block %s, which has 0x%" PRIx64 " in pages of 0x%" PRIx64,
			      unit->length, unit->start, block->name, block->used_length, page);
	for (size_t i = 0; i < blocks->count; i++)
		most += blocks->items[i].used_length / GUARD_PAGE_SIZE;
	path->requested += page / GUARD_PAGE_SIZE;
	if (path->requested > GUARD_PASSES * most)
		return REFUSE(judge, GUARD_RULE_RETURN_PAGES,
			      "page number %" PRIu64 " is asked for, at most %" PRIu64 " may be",
			      path->requested, GUARD_PASSES * most);
	return true;
}

/* --- recovery --- */

bool guard_return_resume(Guard *guard, Error *err)
{
	GuardReturn *path = &guard->return_path;

	if (!(path->pongs & UINT32_C(1) << PONG_BEFORE_PACKAGE) ||
	    !return_path_may_recover(&path->stream))
		return error_set(err, ERROR_CONFLICT,
				 "return path, byte %" PRIu64 ": no state to recover from",
				 path->stream.offset);
	return_path_init(&path->stream,
			 &(ReturnPathOptions){ path->stream.options.page_size,
					       path->stream.options.bitmap_max_bytes });
	path->resuming = true;
	path->block = -1;
	path->requested = 0;
	path->bitmaps = 0;
	return true;
}

static bool judge_bitmap(const Judge *judge)
{
	GuardReturn *path = &judge->guard->return_path;
	const ReturnPathUnit *unit = &judge->unit;
	const int found = find_block(judge, unit->block);
	uint64_t pages, expected;

	if (!path->resuming)
		return REFUSE(judge, GUARD_RULE_RETURN_MESSAGE, "%s outside of a recovery",
			      messages[unit->kind].word);
	if (found < 0 || path->bitmaps & UINT64_C(1) << found)
		return REFUSE(judge, GUARD_RULE_RETURN_BITMAP, "block %.*s, %s",
			      NAME_ARGS(unit->block),
			      found < 0 ? "which this VM does not have" : "which came before");
	pages = own_blocks(judge->guard)->items[found].used_length / GUARD_PAGE_SIZE;
	expected = (pages + BITMAP_WORD - 1) / BITMAP_WORD * (BITMAP_WORD / 8);
	if (unit->bitmap_bytes != expected)
		return REFUSE(judge, GUARD_RULE_RETURN_BITMAP,
			      "block %.*s, %" PRIu64 " bytes, expected %" PRIu64,
			      NAME_ARGS(unit->block), unit->bitmap_bytes, expected);
	path->bitmaps |= UINT64_C(1) << found;
	return true;
}

static bool judge_resume_ack(const Judge *judge)
{
	GuardReturn *path = &judge->guard->return_path;

	if (!path->resuming)
		return REFUSE(judge, GUARD_RULE_RETURN_MESSAGE, "%s outside of a recovery",
			      messages[RETURN_PATH_RESUME_ACK].word);
	path->resuming = false;
	return true;
}

/* --- messages --- */

static bool judge_switchover_ack(const Judge *judge)
{
	GuardReturn *path = &judge->guard->return_path;

	if (path->acknowledged)
		return REFUSE(judge, GUARD_RULE_RETURN_COUNT, "%s number 2, at most 1",
			      messages[RETURN_PATH_SWITCHOVER_ACK].word);
	path->acknowledged = true;
	return true;
}

static bool judge_message(const Judge *judge)
{
	const Message *message = &messages[judge->unit.kind];

	if (message->agreed && !(message->agreed & judge->guard->agreed))
		return REFUSE(judge, GUARD_RULE_RETURN_MESSAGE, "%s, which was not agreed",
			      message->word);
	switch (judge->unit.kind) {
	case RETURN_PATH_PONG:
		return judge_pong(judge);
	case RETURN_PATH_REQ_PAGES_ID:
	case RETURN_PATH_REQ_PAGES:
		return judge_request(judge);
	case RETURN_PATH_RECV_BITMAP:
		return judge_bitmap(judge);
	case RETURN_PATH_RESUME_ACK:
		return judge_resume_ack(judge);
	case RETURN_PATH_SWITCHOVER_ACK:
		return judge_switchover_ack(judge);
	case RETURN_PATH_SHUT:
	case RETURN_PATH_BITMAP_BYTES: /* as many as were announced */
	case RETURN_PATH_BITMAP_END:
		break;
	}
	return true;
}

bool guard_return_take(Guard *guard, const uint8_t *window, size_t size, GuardFlow *flow,
		       Error *err)
{
	ReturnPathStream *stream = &guard->return_path.stream;

	for (;;) {
		Judge judge = { .guard = guard, .at = stream->offset, .err = err };
		UnitResult result = return_path_next(stream, window + flow->taken,
						     size - flow->taken, &judge.unit, err);

		if (result == UNIT_BAD)
			return guard_violation_by(err, GUARD_RULE_GRAMMAR);
		if (result == UNIT_MORE)
			return true;
		if (!judge_message(&judge))
			return false;
		flow->taken += judge.unit.size_bytes;
		flow->forward = flow->taken;
	}
}

/* A destination that died says nothing more: that is for the engine to see, and no attack. */
bool guard_return_end(const Guard *guard, size_t left, Error *err)
{
	const ReturnPathStream *stream = &guard->return_path.stream;

	if (!left && return_path_may_end(stream))
		return true;
	return guard_violation(err, GUARD_RULE_CLOSED,
			       "return path, byte %" PRIu64
			       ": the destination closed it early, %zu bytes into a message",
			       stream->offset + left, left);
}
