/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/fuzz_blocks.h"

const RamBlocks fuzz_blocks = {
	.count = 2,
	.items = { { "a", 1, 16 * FUZZ_PAGE, 0, 0 }, { "b", 1, 2 * FUZZ_PAGE, 0, 0 } },
};

void fuzz_judge_ram(const RamUnit *unit, const uint8_t *window, size_t size, FuzzSummary *summary)
{
	const bool has_bytes = unit->kind == RAM_PAGE;

	if (!unit->size_bytes || unit->size_bytes > size)
		fuzz_fail("a unit past its window");
	if (!unit->count) {
		fuzz_digest(summary, unit->kind);
		return;
	}
	if (unit->block >= fuzz_blocks.count || unit->offset % FUZZ_PAGE ||
	    unit->offset + (uint64_t)unit->count * FUZZ_PAGE >
		    fuzz_blocks.items[unit->block].used_length)
		fuzz_fail("a page past its block");
	if (has_bytes && (unit->bytes < window ||
			  unit->bytes + (unit->count - 1) * unit->stride_bytes + FUZZ_PAGE >
				  window + unit->size_bytes))
		fuzz_fail("a page past its unit");
	for (uint32_t i = 0; i < unit->count; i++) {
		fuzz_digest(summary, (unit->offset + (uint64_t)i * FUZZ_PAGE) | unit->kind);
		fuzz_digest(summary, unit->block);
		if (has_bytes)
			fuzz_digest(summary, unit->bytes[i * unit->stride_bytes]);
	}
}
