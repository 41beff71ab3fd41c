/* SPDX-License-Identifier: Apache-2.0 */
#include "guard/guard_command.h"

#include <assert.h>
#include <inttypes.h>

/* --- when --- */

typedef enum Place {
	PLACE_SETUP = 1 << 0,	/* before any section */
	PLACE_PRECOPY = 1 << 1, /* then, before the package */
	PLACE_PACKAGE = 1 << 2,
	PLACE_POSTCOPY = 1 << 3, /* behind it */
	PLACE_ANY = PLACE_SETUP | PLACE_PRECOPY | PLACE_PACKAGE | PLACE_POSTCOPY,
} Place;

static Place place_of(const MainJudge *judge)
{
	const GuardMain *main = &judge->guard->main;

	if (judge->unit.packaged)
		return PLACE_PACKAGE;
	if (main->packaged && judge->unit.command.kind != COMMAND_PACKAGED)
		return PLACE_POSTCOPY;
	return main->sections_begun ? PLACE_PRECOPY : PLACE_SETUP;
}

/* What was agreed makes a command be allowed at all; 0: always. */
#define RAM_OR_BITMAPS (GUARD_AGREED(GUARD_POSTCOPY) | GUARD_AGREED(GUARD_BITMAPS))

typedef struct CommandAllowed {
	uint32_t agreed; /* one of these, or 0: always */
	uint32_t places;
} CommandAllowed;

static const CommandAllowed allowed[COMMAND_KIND_COUNT] = {
	[COMMAND_OPEN_RETURN_PATH] = { 0, PLACE_SETUP },
	[COMMAND_PING] = { 0, PLACE_ANY },
	[COMMAND_POSTCOPY_ADVISE] = { RAM_OR_BITMAPS, PLACE_SETUP },
	[COMMAND_POSTCOPY_LISTEN] = { RAM_OR_BITMAPS, PLACE_PACKAGE },
	[COMMAND_POSTCOPY_RUN] = { RAM_OR_BITMAPS, PLACE_PACKAGE },
	[COMMAND_POSTCOPY_RAM_DISCARD] = { GUARD_AGREED(GUARD_POSTCOPY), PLACE_PRECOPY },
	[COMMAND_PACKAGED] = { RAM_OR_BITMAPS, PLACE_PRECOPY },
	[COMMAND_POSTCOPY_RESUME] = { GUARD_AGREED(GUARD_RECOVERY), PLACE_POSTCOPY },
	[COMMAND_RECV_BITMAP] = { GUARD_AGREED(GUARD_RECOVERY), PLACE_POSTCOPY },
	[COMMAND_SWITCHOVER_START] = { 0, PLACE_SETUP | PLACE_PRECOPY },
};

static bool judge_place(const MainJudge *judge, Place place)
{
	const CommandKind kind = judge->unit.command.kind;
	const CommandAllowed *row = &allowed[kind];

	if (row->agreed && !(row->agreed & judge->guard->agreed))
		return guard_main_refuse(judge, GUARD_RULE_COMMAND,
					 "command %s, which was not agreed", command_word(kind));
	if (row->places & place)
		return true;
	return guard_main_refuse(judge, GUARD_RULE_COMMAND, "command %s %s", command_word(kind),
				 place == PLACE_SETUP	  ? "before the first section"
				 : place == PLACE_PRECOPY ? "after the first section"
				 : place == PLACE_PACKAGE ? "in the package"
							  : "after the package");
}

/* --- PING --- */

typedef struct PingAllowed {
	uint32_t cookie; /* enum of migration/savevm.h and migration.c */
	uint32_t places;
	uint32_t agreed;
} PingAllowed;

static const PingAllowed pings[] = {
	{ 1, PLACE_SETUP, 0 },
	{ 2, PLACE_PRECOPY, RAM_OR_BITMAPS },
	{ 3, PLACE_PACKAGE, RAM_OR_BITMAPS },
	{ 4, PLACE_POSTCOPY, RAM_OR_BITMAPS },
	{ 0x42, PLACE_PACKAGE, RAM_OR_BITMAPS }, /* since 10.2 */
};

static bool judge_ping(const MainJudge *judge, Place place)
{
	GuardMain *main = &judge->guard->main;
	const uint32_t cookie = judge->unit.command.cookie;

	for (size_t i = 0; i < ARRAY_SIZE(pings); i++) {
		if (pings[i].cookie != cookie ||
		    (pings[i].agreed && !(pings[i].agreed & judge->guard->agreed)))
			continue;
		if (!(pings[i].places & place))
			return guard_main_refuse(judge, GUARD_RULE_PING,
						 "command PING with %" PRIu32 " at another place",
						 cookie);
		if (main->pings & UINT32_C(1) << i)
			return guard_main_refuse(judge, GUARD_RULE_PING,
						 "command PING with %" PRIu32 ", number 2 of it, "
						 "one may be",
						 cookie);
		main->pings |= UINT32_C(1) << i;
		return true;
	}
	return guard_main_refuse(judge, GUARD_RULE_PING,
				 "command PING with %" PRIu32 ", which no QEMU sends here", cookie);
}

/* --- postcopy --- */

static bool judge_advise(const MainJudge *judge)
{
	const CommandUnit *command = &judge->unit.command;
	const uint64_t ours =
		GUARD_PAGE_SIZE | (judge->guard->huge_block[0] ? judge->guard->huge_page_bytes : 0);

	if (!command->has_page_sizes || command->page_sizes == ours)
		return true;
	return guard_main_refuse(judge, GUARD_RULE_POSTCOPY_PAGE_SIZE,
				 "POSTCOPY_ADVISE with page sizes 0x%" PRIx64
				 ", expected 0x%" PRIx64,
				 command->page_sizes, ours);
}

/* That no range is empty or past its block is held by the decoder. */
static bool judge_discard(const MainJudge *judge)
{
	const CommandUnit *command = &judge->unit.command;
	const Guard *guard = judge->guard;
	const char *block = main_stream_blocks(guard->main.stream)->items[command->block].name;
	const uint64_t page = guard_page_bytes(guard, block);
	GuardMain *main = &judge->guard->main;

	for (size_t i = 0; i < command->n_ranges; i++) {
		const CommandRange range = command_get_range(command, i);

		if (range.start % page || range.length % page)
			return guard_main_refuse(judge, GUARD_RULE_POSTCOPY_DISCARD,
						 "0x%" PRIx64 " bytes at 0x%" PRIx64
						 " of block %s, which has pages of 0x%" PRIx64,
						 range.length, range.start, block, page);
		main->discarded += range.length / GUARD_PAGE_SIZE;
	}
	if (main->discarded <= guard->total_pages)
		return true;
	return guard_main_refuse(judge, GUARD_RULE_POSTCOPY_DISCARD,
				 "%" PRIu64 " pages are discarded, the VM has %" PRIu64,
				 main->discarded, guard->total_pages);
}

static bool judge_package(const MainJudge *judge)
{
	GuardMain *main = &judge->guard->main;
	const uint64_t most = judge->guard->options.held_max_bytes;
	const CommandUnit *command = &judge->unit.command;

	if (command->packaged_bytes > most - command->size_bytes)
		return guard_main_refuse(judge, GUARD_RULE_POSTCOPY_PACKAGE,
					 "a package of %" PRIu32 " bytes, at most %" PRIu64
					 " may be held",
					 command->packaged_bytes, most);
	main->packaged = true;
	main->hold = HOLD_PACKAGE;
	main->sections_at = 0;
	return true;
}

/* Each is answered with a bitmap of the block. */
static bool judge_recv_bitmap(const MainJudge *judge)
{
	GuardMain *main = &judge->guard->main;
	const unsigned int block = judge->unit.command.block;

	if (main->bitmaps_asked & UINT64_C(1) << block)
		return guard_main_refuse(judge, GUARD_RULE_COMMAND,
					 "command RECV_BITMAP number 2 for block %s, one may be",
					 main_stream_blocks(main->stream)->items[block].name);
	main->bitmaps_asked |= UINT64_C(1) << block;
	return true;
}

bool guard_command_judge(const MainJudge *judge)
{
	const Place place = place_of(judge);

	if (!judge_place(judge, place))
		return false;
	switch (judge->unit.command.kind) {
	case COMMAND_PING:
		return judge_ping(judge, place);
	case COMMAND_POSTCOPY_ADVISE:
		return judge_advise(judge);
	case COMMAND_POSTCOPY_RAM_DISCARD:
		return judge_discard(judge);
	case COMMAND_PACKAGED:
		return judge_package(judge);
	case COMMAND_RECV_BITMAP:
		return judge_recv_bitmap(judge);
	case COMMAND_OPEN_RETURN_PATH:
	case COMMAND_POSTCOPY_LISTEN:
	case COMMAND_POSTCOPY_RUN:
	case COMMAND_ENABLE_COLO: /* the decoder refuses it */
	case COMMAND_POSTCOPY_RESUME:
	case COMMAND_SWITCHOVER_START:
	case COMMAND_KIND_COUNT:
		break;
	}
	return true;
}
