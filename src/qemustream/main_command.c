/* SPDX-License-Identifier: Apache-2.0 */
/* When each command may come: QEMU's loader checks little of it. */
#include <inttypes.h>

#include "qemustream/main_internal.h"

#define AFTER(kind) (UINT32_C(1) << (kind))

typedef struct OrderRule {
	uint32_t phases;
	bool once;
	uint32_t after; /* bits of commands that must have come */
} OrderRule;

static const OrderRule rules[COMMAND_KIND_COUNT] = {
	[COMMAND_OPEN_RETURN_PATH] = { PHASE_SETUP, true, 0 },
	[COMMAND_PING] = { PHASE_SETUP | PHASE_ITERATE | PHASE_PACKAGE | PHASE_POSTCOPY, false, 0 },
	[COMMAND_POSTCOPY_ADVISE] = { PHASE_SETUP, true, 0 },
	[COMMAND_POSTCOPY_LISTEN] = { PHASE_PACKAGE, true, AFTER(COMMAND_PACKAGED) },
	[COMMAND_POSTCOPY_RUN] = { PHASE_PACKAGE, true, AFTER(COMMAND_POSTCOPY_LISTEN) },
	[COMMAND_POSTCOPY_RAM_DISCARD] = { PHASE_SETUP | PHASE_ITERATE, false,
					   AFTER(COMMAND_POSTCOPY_ADVISE) },
	[COMMAND_PACKAGED] = { PHASE_SETUP | PHASE_ITERATE, true, AFTER(COMMAND_POSTCOPY_ADVISE) },
	[COMMAND_POSTCOPY_RESUME] = { PHASE_RECOVERY, true, 0 },
	[COMMAND_RECV_BITMAP] = { PHASE_RECOVERY, false, 0 },
	[COMMAND_SWITCHOVER_START] = { PHASE_SETUP | PHASE_ITERATE, true, 0 },
};

static UnitResult check_order(const MainStream *stream, CommandKind kind, Error *err)
{
	const OrderRule *rule = &rules[kind];

	if (!(rule->phases & stream->phase))
		return grammar_bad(err, "command %s%s", command_word(kind),
				   stream->phase == PHASE_PACKAGE    ? " in a package"
				   : stream->phase == PHASE_RECOVERY ? " before POSTCOPY_RESUME"
				   : rule->phases & PHASE_PACKAGE    ? " outside of a package"
				   : rule->phases & PHASE_RECOVERY   ? " outside of a recovery"
								     : " too late");
	if (rule->once && stream->commands & AFTER(kind))
		return grammar_bad(err, "command %s comes twice", command_word(kind));
	for (int other = 0; other < COMMAND_KIND_COUNT; other++)
		if (rule->after & AFTER(other) && !(stream->commands & AFTER(other)))
			return grammar_bad(err, "command %s before %s", command_word(kind),
					   command_word((CommandKind)other));
	return UNIT_WHOLE;
}

static bool ram_has_begun(const MainStream *stream)
{
	return ram_list_complete(&stream->list);
}

/* What the command's own data adds to the order. */
static UnitResult check_data(const MainStream *stream, const CommandUnit *command, Error *err)
{
	bool advise = command->kind == COMMAND_POSTCOPY_ADVISE;
	uint32_t package_max = stream->options.package_max;

	if (advise && stream->n_iterative)
		return grammar_bad(err, "command POSTCOPY_ADVISE after the first section");
	if (advise &&
	    !(command->has_page_sizes ? stream->options.postcopy : stream->options.dirty_bitmaps))
		return grammar_bad(err, "command POSTCOPY_ADVISE, which was not agreed");
	if (command->kind == COMMAND_POSTCOPY_RAM_DISCARD && !stream->advised_ram)
		return grammar_bad(err,
				   "command POSTCOPY_RAM_DISCARD, but dirty bitmaps alone were "
				   "advised");
	if (command->kind == COMMAND_PACKAGED && command->packaged_bytes > package_max)
		return grammar_bad(
			err, "command PACKAGED of %" PRIu32 " bytes, at most %" PRIu32 " may be",
			command->packaged_bytes, package_max);
	if ((command->kind == COMMAND_SWITCHOVER_START || command->kind == COMMAND_PACKAGED) &&
	    !ram_has_begun(stream))
		return grammar_bad(err, "command %s before the START of ram",
				   command_word(command->kind));
	if (command->kind == COMMAND_SWITCHOVER_START && stream->any_end)
		return grammar_bad(err, "command SWITCHOVER_START after a section's END");
	if (command->kind == COMMAND_POSTCOPY_RUN && stream->package_left != command->size_bytes)
		return grammar_bad(err,
				   "command POSTCOPY_RUN with %zu bytes of its package behind it",
				   (size_t)stream->package_left - command->size_bytes);
	return UNIT_WHOLE;
}

static void apply(MainStream *stream, const CommandUnit *command)
{
	stream->commands |= AFTER(command->kind);
	switch (command->kind) {
	case COMMAND_POSTCOPY_ADVISE:
		stream->advised_ram = command->has_page_sizes;
		if (stream->advised_ram)
			stream->list.other_page_size = stream->options.other_page_size;
		break;
	case COMMAND_PACKAGED:
		stream->phase = PHASE_PACKAGE;
		stream->package_left = command->packaged_bytes;
		break;
	case COMMAND_POSTCOPY_RUN:
	case COMMAND_POSTCOPY_RESUME:
		stream->phase = PHASE_POSTCOPY;
		break;
	case COMMAND_OPEN_RETURN_PATH:
	case COMMAND_PING:
	case COMMAND_POSTCOPY_LISTEN:
	case COMMAND_POSTCOPY_RAM_DISCARD:
	case COMMAND_ENABLE_COLO:
	case COMMAND_RECV_BITMAP:
	case COMMAND_SWITCHOVER_START:
	case COMMAND_KIND_COUNT:
		break;
	}
}

UnitResult main_step_command(MainStream *stream, const uint8_t *window, size_t size, MainUnit *unit,
			     Error *err)
{
	UnitResult result = command_next(&stream->blocks, stream->options.page_size, window, size,
					 &unit->command, err);

	if (result == UNIT_WHOLE)
		result = check_order(stream, unit->command.kind, err);
	if (result == UNIT_WHOLE)
		result = check_data(stream, &unit->command, err);
	if (result != UNIT_WHOLE)
		return result;
	apply(stream, &unit->command);
	unit->kind = MAIN_COMMAND;
	unit->size_bytes = unit->command.size_bytes;
	return UNIT_WHOLE;
}
