/* SPDX-License-Identifier: Apache-2.0 */
/* qemustream/preempt.c: pieces (stream.h), then a preempt channel over two blocks. */
#include "qemustream/preempt.h"
#include "tests/fuzz/fuzz_blocks.h"
#include "tests/fuzz/stream.h"

enum { REACHED_PAGE, REACHED_ZERO, REACHED_RUN, REACHED_EOS, REACHED_END };

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const char *const names[] = { "page", "zero", "run", "eos", "complete channel" };

	(void)argc;
	(void)argv;
	fuzz_expect(names, ARRAY_SIZE(names));
	return 0;
}

static UnitResult next(void *context, const uint8_t *window, size_t size, size_t *ret_used,
		       FuzzSummary *summary, Error *err)
{
	RamUnit unit;
	UnitResult result = preempt_stream_next(context, window, size, &unit, err);

	if (result != UNIT_WHOLE)
		return result;
	*ret_used = unit.size_bytes;
	fuzz_judge_ram(&unit, window, size, summary);
	if (unit.kind != RAM_PAGE && unit.kind != RAM_ZERO && unit.kind != RAM_EOS)
		fuzz_fail("a record that postcopy does not have");
	fuzz_reached(unit.kind == RAM_PAGE ? REACHED_PAGE
					   : (unit.kind == RAM_ZERO ? REACHED_ZERO : REACHED_EOS));
	if (unit.count > 1)
		fuzz_reached(REACHED_RUN);
	return result;
}

static FuzzSummary decode(FuzzPieces pieces, const uint8_t *data, size_t size)
{
	PreemptStream stream;
	FuzzSummary summary;
	Error err = ERROR_INIT;

	preempt_stream_init(&stream, &fuzz_blocks, FUZZ_PAGE);
	summary = fuzz_decode(next, &stream, pieces, data, size, UNIT_WINDOW);
	summary.may_end = preempt_stream_finish(&stream, size - (size_t)summary.used, &err);
	if (summary.may_end && summary.used != size)
		fuzz_fail("a complete channel that is not");
	if (summary.may_end && size)
		fuzz_reached(REACHED_END);
	return summary;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	FuzzPieces pieces = fuzz_pieces_take(&data, &size);
	FuzzSummary whole = decode((FuzzPieces){ .whole = true }, data, size);
	FuzzSummary cut = decode(pieces, data, size);

	fuzz_same(&whole, &cut);
	return 0;
}
