/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qemustream/ram.c by itself: the preempt channel, whose decoder keeps nothing but its place, and
 * XBZRLE. Byte 0 chooses: 0, the rest is a preempt channel over two blocks of 16 and 2 pages; 1,
 * the rest is an encoded page.
 */
#include <string.h>

#include "qemustream/preempt.h"
#include "tests/fuzz/fuzz.h"

enum { PAGE = 4096 };

enum { REACHED_PAGE, REACHED_ZERO, REACHED_RUN, REACHED_EOS, REACHED_XBZRLE };

static const RamBlocks blocks = {
	.count = 2,
	.items = { { "a", 1, 16 * PAGE, 0, 0 }, { "b", 1, 2 * PAGE, 0, 0 } },
};

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const char *const names[] = { "page", "zero", "run", "eos", "xbzrle" };

	(void)argc;
	(void)argv;
	fuzz_expect(names, ARRAY_SIZE(names));
	return 0;
}

static void judge(const RamUnit *unit, const uint8_t *window, size_t size)
{
	if (unit->size_bytes > size || !unit->size_bytes)
		fuzz_fail("a unit past its window");
	if (unit->kind == RAM_EOS) {
		fuzz_reached(REACHED_EOS);
		return;
	}
	if (unit->kind != RAM_PAGE && unit->kind != RAM_ZERO)
		fuzz_fail("a record that postcopy does not have");
	fuzz_reached(unit->kind == RAM_PAGE ? REACHED_PAGE : REACHED_ZERO);
	if (unit->count > 1)
		fuzz_reached(REACHED_RUN);
	if (unit->block >= blocks.count ||
	    unit->offset + (uint64_t)unit->count * PAGE > blocks.items[unit->block].used_length)
		fuzz_fail("a page past its block");
	if (unit->kind == RAM_PAGE &&
	    unit->bytes + (unit->count - 1) * unit->stride_bytes + PAGE > window + unit->size_bytes)
		fuzz_fail("a page past its unit");
}

static void try_preempt(const uint8_t *data, size_t size)
{
	PreemptStream stream;
	RamUnit unit;
	Error err = ERROR_INIT;
	size_t at = 0;

	preempt_stream_init(&stream, &blocks, PAGE);
	while (preempt_stream_next(&stream, data + at, size - at, &unit, &err) == UNIT_WHOLE) {
		judge(&unit, data + at, size - at);
		at += unit.size_bytes;
	}
	if (preempt_stream_finish(&stream, size - at, &err) && at != size)
		fuzz_fail("a complete channel that is not");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Error err = ERROR_INIT;

	if (!size)
		return 0;
	if (data[0] == 0)
		try_preempt(data + 1, size - 1);
	else if (data[0] == 1 && ram_check_xbzrle(data + 1, size - 1, PAGE, &err) == UNIT_WHOLE)
		fuzz_reached(REACHED_XBZRLE);
	return 0;
}
