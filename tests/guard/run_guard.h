/* SPDX-License-Identifier: Apache-2.0 */
/* Between the files of run_guard. */
#ifndef SEALIFT_TESTS_GUARD_RUN_GUARD_H
#define SEALIFT_TESTS_GUARD_RUN_GUARD_H

#include "base/buffer.h"
#include "guard/guard.h"
#include "tests/guard/read_files.h"

enum { FILE_MAX = 1 << 30 };

typedef struct Files {
	const char *machine;
	uint32_t agreed;
	Buffer twin, dump, back;
	unsigned int channels;
	Buffer forward[LIMIT_STREAM_CHANNELS];
} Files;

/* Owned by the caller; ends the program if it cannot be had. */
Guard *new_guard(const Files *files, GuardSide side);

/* Shows the source's guard what its own QEMU sent on main. */
void learn(const Files *files, Guard *source, size_t piece);

/* All of a channel in pieces of 1 to `piece` bytes (0: at once), and its end. What comes out is
 * compared with the channel; *ret_out is how much it was. */
bool feed(Guard *guard, unsigned int channel, const Buffer *bytes, size_t piece, size_t *ret_out,
	  Error *err);

/*
 * Every length, count, id and offset of a channel (of many alike the first and the last ones) set
 * to 0, 1, the largest, the one before and behind, and what bounds it. Each such stream is refused
 * by a rule, or is one that a QEMU may send too: only values that say where a page goes, or number
 * packets, may be others. What came out is whole units of the stream that went in.
 */
int mutate_main(const Files *files);
int mutate_multifd(const Files *files);
int mutate_return(const Files *files);

#endif
