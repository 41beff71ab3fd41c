/* SPDX-License-Identifier: Apache-2.0 */
/* Two blocks of RAM, and what holds of each record about them. */
#ifndef SEALIFT_TESTS_FUZZ_BLOCKS_H
#define SEALIFT_TESTS_FUZZ_BLOCKS_H

#include "qemustream/ram.h"
#include "tests/fuzz/stream.h"

enum { FUZZ_PAGE = 4096 };

/* "a" of 16 pages, "b" of 2. */
extern const RamBlocks fuzz_blocks;

/* Fails if the unit goes past its window or its block; mixes its pages in, one by one, since how
 * many are in a run depends on the window. */
void fuzz_judge_ram(const RamUnit *unit, const uint8_t *window, size_t size, FuzzSummary *summary);

#endif
