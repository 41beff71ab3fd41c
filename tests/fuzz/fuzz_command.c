/* SPDX-License-Identifier: Apache-2.0 */
/* qemustream/command.c: pieces (stream.h), then commands over two blocks, one behind the other.
 * When each may come is for main.c: fuzz_qemu_main.c. */
#include "qemustream/command.h"
#include "tests/fuzz/fuzz_blocks.h"

enum { REACHED_RANGE = COMMAND_KIND_COUNT, REACHED_REFUSED, REACHED_COUNT };

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const char *names[REACHED_COUNT];

	(void)argc;
	(void)argv;
	for (int kind = 1; kind < COMMAND_KIND_COUNT; kind++)
		names[kind] = command_word((CommandKind)kind);
	/* Of the kinds these two never come out, so their places tell something else. */
	names[0] = "a command";
	names[COMMAND_ENABLE_COLO] = "no ENABLE_COLO";
	names[REACHED_RANGE] = "discarded range";
	names[REACHED_REFUSED] = "a refusal";
	fuzz_expect(names, REACHED_COUNT);
	return 0;
}

static void judge_ranges(const CommandUnit *unit, FuzzSummary *summary)
{
	for (size_t i = 0; i < unit->n_ranges; i++) {
		const CommandRange range = command_get_range(unit, i);
		const uint64_t size = fuzz_blocks.items[unit->block].used_length;

		fuzz_reached(REACHED_RANGE);
		if (!range.length || range.start % FUZZ_PAGE || range.length % FUZZ_PAGE ||
		    range.start >= size || range.length > size - range.start)
			fuzz_fail("a range past its block");
		fuzz_digest(summary, range.start);
		fuzz_digest(summary, range.length);
	}
}

static UnitResult next(void *context, const uint8_t *window, size_t size, size_t *ret_used,
		       FuzzSummary *summary, Error *err)
{
	CommandUnit unit = { 0 };
	UnitResult result;

	(void)context;
	if (!size)
		return UNIT_MORE;
	result = command_next(&fuzz_blocks, FUZZ_PAGE, window, size, &unit, err);
	if (result == UNIT_BAD)
		fuzz_reached(REACHED_REFUSED);
	if (result != UNIT_WHOLE)
		return result;
	*ret_used = unit.size_bytes;
	if (unit.kind < 1 || unit.kind >= COMMAND_KIND_COUNT || unit.kind == COMMAND_ENABLE_COLO)
		fuzz_fail("a command that is none");
	if (unit.block >= fuzz_blocks.count)
		fuzz_fail("a block that is none");
	if (unit.kind == COMMAND_PACKAGED && !unit.packaged_bytes)
		fuzz_fail("a package of nothing");
	fuzz_reached(0);
	fuzz_reached(COMMAND_ENABLE_COLO);
	fuzz_reached(unit.kind);
	fuzz_digest(summary, unit.kind);
	fuzz_digest(summary, unit.cookie);
	fuzz_digest(summary, unit.packaged_bytes);
	fuzz_digest(summary, unit.block);
	judge_ranges(&unit, summary);
	return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	FuzzPieces pieces = fuzz_pieces_take(&data, &size);
	FuzzSummary whole =
		fuzz_decode(next, NULL, (FuzzPieces){ .whole = true }, data, size, UNIT_WINDOW);
	FuzzSummary cut = fuzz_decode(next, NULL, pieces, data, size, UNIT_WINDOW);

	fuzz_same(&whole, &cut);
	return 0;
}
