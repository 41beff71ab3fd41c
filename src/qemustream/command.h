/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands of the main channel: tag 0x08, be16 number, be16 length, data (enum qemu_vm_cmd, QEMU's
 * migration/savevm.c). This file knows each one's data; main.c knows when it may come.
 */
#ifndef SEALIFT_QEMUSTREAM_COMMAND_H
#define SEALIFT_QEMUSTREAM_COMMAND_H

#include "base/buffer.h"
#include "qemustream/ram.h"
#include "qemustream/unit.h"

/* As numbered on the wire. */
typedef enum CommandKind {
	COMMAND_OPEN_RETURN_PATH = 1,
	COMMAND_PING = 2,	     /* cookie */
	COMMAND_POSTCOPY_ADVISE = 3, /* has_page_sizes; page_sizes */
	COMMAND_POSTCOPY_LISTEN = 4,
	COMMAND_POSTCOPY_RUN = 5,
	COMMAND_POSTCOPY_RAM_DISCARD = 6, /* block, n_ranges */
	COMMAND_PACKAGED = 7,		  /* packaged_bytes of items follow */
	COMMAND_ENABLE_COLO = 8,	  /* always refused */
	COMMAND_POSTCOPY_RESUME = 9,
	COMMAND_RECV_BITMAP = 10, /* block */
	COMMAND_SWITCHOVER_START = 11,
	COMMAND_KIND_COUNT,
} CommandKind;

typedef struct CommandUnit {
	CommandKind kind;
	size_t size_bytes; /* of the window */
	uint32_t cookie;
	/* Without page sizes only dirty bitmaps will be post-copied. */
	bool has_page_sizes;
	uint64_t page_sizes; /* the page sizes of all blocks, or'ed */
	uint32_t packaged_bytes;
	unsigned int block; /* index in RamBlocks */
	size_t n_ranges;
	const uint8_t *ranges; /* n_ranges of be64 start, be64 length: command_get_range */
} CommandUnit;

enum { COMMAND_RANGE_SIZE = 16 };

typedef struct CommandRange {
	uint64_t start, length; /* bytes in the block, multiples of the page size */
} CommandRange;

/* Range `index`, less than n_ranges; it was judged with the unit, and lies in the window. */
static inline CommandRange command_get_range(const CommandUnit *unit, size_t index)
{
	const uint8_t *at = unit->ranges + index * COMMAND_RANGE_SIZE;

	return (CommandRange){ .start = load_be64(at), .length = load_be64(at + 8) };
}

/* What a number is called: "PING". Only for kinds of the enum. */
const char *command_word(CommandKind kind);

/*
 * The command at the front; the window begins with its tag. ERROR_PEER for an unknown number,
 * ENABLE_COLO, a length that is not this command's, a target page size that is not page_size, a
 * block that is not in `blocks`, discarded ranges that are empty, unaligned or past their block, a
 * package of no bytes.
 */
MUST_CHECK UnitResult command_next(const RamBlocks *blocks, uint32_t page_size,
				   const uint8_t *window, size_t size, CommandUnit *ret_unit,
				   Error *err);

#endif
