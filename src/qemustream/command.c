/* SPDX-License-Identifier: Apache-2.0 */
#include "qemustream/command.h"

#include <inttypes.h>

#include "qemustream/grammar.h"
#include "qemustream/main_tags.h"

enum {
	ADVISE_SIZE = 16,
	LENGTH_MAX = UINT16_MAX,
};

/* What a command's data is decoded with; `data` is exactly the announced length. */
typedef struct Context {
	const RamBlocks *blocks;
	uint32_t page_size;
	Reader data;
} Context;

static UnitResult too_short(CommandKind kind, Error *err)
{
	return grammar_bad(err, "command %s ends inside its data", command_word(kind));
}

static UnitResult get_ping(Context *context, CommandUnit *unit, Error *err)
{
	return reader_get_be32(&context->data, &unit->cookie) ? UNIT_WHOLE
							      : too_short(unit->kind, err);
}

static UnitResult get_advise(Context *context, CommandUnit *unit, Error *err)
{
	uint64_t page_size;

	if (!context->data.left)
		return UNIT_WHOLE;
	if (!reader_get_be64(&context->data, &unit->page_sizes) ||
	    !reader_get_be64(&context->data, &page_size))
		return too_short(unit->kind, err);
	if (page_size != context->page_size)
		return grammar_bad(err,
				   "POSTCOPY_ADVISE with target pages of %" PRIu64
				   " bytes, expected %" PRIu32,
				   page_size, context->page_size);
	/* Or'ed sizes are all multiples of the smallest page there is. */
	if (!unit->page_sizes || unit->page_sizes % context->page_size)
		return grammar_bad(err,
				   "POSTCOPY_ADVISE with page sizes 0x%" PRIx64
				   ", expected multiples of 0x%" PRIx32,
				   unit->page_sizes, context->page_size);
	unit->has_page_sizes = true;
	return UNIT_WHOLE;
}

static UnitResult get_block(Context *context, CommandUnit *unit, Error *err)
{
	UnitName name;
	UnitResult result = grammar_get_name(&context->data, "a RAM block", &name, err);
	int found;

	if (result == UNIT_MORE)
		return too_short(unit->kind, err);
	if (result == UNIT_BAD)
		return UNIT_BAD;
	found = ram_blocks_find(context->blocks, name);
	if (found < 0)
		return grammar_bad(err,
				   "command %s for block %.*s, which is none of the %zu that "
				   "were announced",
				   command_word(unit->kind), NAME_ARGS(name),
				   context->blocks->count);
	unit->block = (unsigned int)found;
	return UNIT_WHOLE;
}

static UnitResult check_range(const Context *context, const CommandUnit *unit, CommandRange range,
			      Error *err)
{
	const RamBlock *block = &context->blocks->items[unit->block];

	if (!range.length || range.start % context->page_size || range.length % context->page_size)
		return grammar_bad(err,
				   "POSTCOPY_RAM_DISCARD of 0x%" PRIx64 " bytes at 0x%" PRIx64
				   ", expected multiples of 0x%" PRIx32,
				   range.length, range.start, context->page_size);
	if (range.start > block->used_length || range.length > block->used_length - range.start)
		return grammar_bad(err,
				   "POSTCOPY_RAM_DISCARD of 0x%" PRIx64 " bytes at 0x%" PRIx64
				   " of block %s, which has 0x%" PRIx64,
				   range.length, range.start, block->name, block->used_length);
	return UNIT_WHOLE;
}

static UnitResult get_discard(Context *context, CommandUnit *unit, Error *err)
{
	UnitResult result;
	uint8_t version, terminator;

	if (!reader_get_u8(&context->data, &version))
		return too_short(unit->kind, err);
	if (version)
		return grammar_bad(err, "POSTCOPY_RAM_DISCARD of version %u, only 0 is known",
				   version);
	result = get_block(context, unit, err);
	if (result != UNIT_WHOLE)
		return result;
	if (!reader_get_u8(&context->data, &terminator))
		return too_short(unit->kind, err);
	if (terminator)
		return grammar_bad(err,
				   "POSTCOPY_RAM_DISCARD with byte 0x%02x behind the block's "
				   "name, expected 0",
				   terminator);
	if (!context->data.left || context->data.left % COMMAND_RANGE_SIZE)
		return grammar_bad(err,
				   "POSTCOPY_RAM_DISCARD with %zu bytes of ranges, expected a "
				   "multiple of %d",
				   context->data.left, COMMAND_RANGE_SIZE);
	unit->n_ranges = context->data.left / COMMAND_RANGE_SIZE;
	if (!reader_skip(&context->data, context->data.left, &unit->ranges))
		return too_short(unit->kind, err);
	for (size_t i = 0; i < unit->n_ranges && result == UNIT_WHOLE; i++)
		result = check_range(context, unit, command_get_range(unit, i), err);
	return result;
}

static UnitResult get_packaged(Context *context, CommandUnit *unit, Error *err)
{
	if (!reader_get_be32(&context->data, &unit->packaged_bytes))
		return too_short(unit->kind, err);
	if (!unit->packaged_bytes)
		return grammar_bad(err, "PACKAGED of 0 bytes");
	return UNIT_WHOLE;
}

static UnitResult refuse_colo(Context *context, CommandUnit *unit, Error *err)
{
	(void)context;
	(void)unit;
	return grammar_bad(err, "command ENABLE_COLO is not accepted");
}

static UnitResult get_nothing(Context *context, CommandUnit *unit, Error *err)
{
	(void)context;
	(void)unit;
	(void)err;
	return UNIT_WHOLE;
}

typedef struct CommandRule {
	const char *word;
	uint16_t min, max; /* bytes of data */
	UnitResult (*get)(Context *context, CommandUnit *unit, Error *err);
} CommandRule;

static const CommandRule rules[COMMAND_KIND_COUNT] = {
	[COMMAND_OPEN_RETURN_PATH] = { "OPEN_RETURN_PATH", 0, 0, get_nothing },
	[COMMAND_PING] = { "PING", 4, 4, get_ping },
	[COMMAND_POSTCOPY_ADVISE] = { "POSTCOPY_ADVISE", 0, ADVISE_SIZE, get_advise },
	[COMMAND_POSTCOPY_LISTEN] = { "POSTCOPY_LISTEN", 0, 0, get_nothing },
	[COMMAND_POSTCOPY_RUN] = { "POSTCOPY_RUN", 0, 0, get_nothing },
	[COMMAND_POSTCOPY_RAM_DISCARD] = { "POSTCOPY_RAM_DISCARD", 20, LENGTH_MAX, get_discard },
	[COMMAND_PACKAGED] = { "PACKAGED", 4, 4, get_packaged },
	[COMMAND_ENABLE_COLO] = { "ENABLE_COLO", 0, LENGTH_MAX, refuse_colo },
	[COMMAND_POSTCOPY_RESUME] = { "POSTCOPY_RESUME", 0, 0, get_nothing },
	[COMMAND_RECV_BITMAP] = { "RECV_BITMAP", 2, 1 + UNIT_NAME_MAX, get_block },
	[COMMAND_SWITCHOVER_START] = { "SWITCHOVER_START", 0, 0, get_nothing },
};

const char *command_word(CommandKind kind)
{
	return rules[kind].word;
}

static UnitResult get_data(Context *context, CommandUnit *unit, Error *err)
{
	UnitResult result = rules[unit->kind].get(context, unit, err);

	if (result == UNIT_WHOLE && context->data.left)
		return grammar_bad(err, "command %s with %zu bytes too many",
				   command_word(unit->kind), context->data.left);
	return result;
}

UnitResult command_next(const RamBlocks *blocks, uint32_t page_size, const uint8_t *window,
			size_t size, CommandUnit *ret_unit, Error *err)
{
	Context context = { .blocks = blocks, .page_size = page_size };
	Reader reader = reader_of(window, size);
	CommandUnit unit = { 0 };
	const CommandRule *rule;
	uint16_t number, length;
	const uint8_t *data;
	UnitResult result;
	uint8_t tag;

	if (!reader_get_u8(&reader, &tag) || !reader_get_be16(&reader, &number))
		return UNIT_MORE;
	if (number >= COMMAND_KIND_COUNT || !rules[number].word)
		return grammar_bad(err, "command %u is unknown", number);
	rule = &rules[number];
	unit.kind = (CommandKind)number;
	if (!reader_get_be16(&reader, &length))
		return UNIT_MORE;
	if (length < rule->min || length > rule->max)
		return grammar_bad(err, "command %s with %u bytes of data, %u to %u may be",
				   rule->word, length, rule->min, rule->max);
	if (!reader_skip(&reader, length, &data))
		return UNIT_MORE;
	context.data = reader_of(data, length);
	result = get_data(&context, &unit, err);
	if (result != UNIT_WHOLE)
		return result;
	unit.size_bytes = size - reader.left;
	*ret_unit = unit;
	return UNIT_WHOLE;
}
