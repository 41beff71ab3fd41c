/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `sealift inspect`: what a recorded stream of QEMU's migration holds, printed as it is read.
 * sealift-inspect(1) is the manual, qemustream the grammar. The file is hostile: it is read behind
 * a filter that leaves read and write, through a window of fixed size; of device state, which can
 * be cut into sections only by the description behind it, at most INSPECT_HELD_MAX is kept.
 */
#ifndef SEALIFT_PROGRAMS_CLI_INSPECT_H
#define SEALIFT_PROGRAMS_CLI_INSPECT_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "programs/cli/inspect_output.h"
#include "qemustream/multifd.h"
#include "qemustream/unit.h"

enum {
	INSPECT_WINDOW = MULTIFD_WINDOW, /* the longest unit of any channel */
	INSPECT_PAGE_SIZE = 4096,	 /* of x86, the only target there is */
	INSPECT_HELD_MAX = 64 << 20,
	INSPECT_BLOCKS_MAX = 64,
};
static_assert((int)INSPECT_WINDOW >= (int)UNIT_WINDOW, "a unit of every channel fits");

/* The file, seen through a window: bytes[start..end). */
typedef struct InspectInput {
	int fd;
	uint8_t *bytes; /* INSPECT_WINDOW of them */
	size_t start, end;
	uint64_t offset; /* of bytes[start] in the file */
	bool ended;
} InspectInput;

/* Reads once, behind what is there: *ended or at least a byte more. The window must not be full.
 * ERROR_IO. */
MUST_CHECK bool inspect_input_fill(InspectInput *input, Error *err);
/* Until `size` bytes are in the window, or the end of the file. */
MUST_CHECK bool inspect_input_need(InspectInput *input, size_t size, Error *err);
void inspect_input_skip(InspectInput *input, size_t size);
static inline const uint8_t *inspect_input_window(const InspectInput *input)
{
	return input->bytes + input->start;
}
static inline size_t inspect_input_size(const InspectInput *input)
{
	return input->end - input->start;
}

typedef struct Inspect {
	InspectInput input;
	Output output;
	bool pages;	    /* each record */
	const char *device; /* whose fields are printed, or NULL */
} Inspect;

/* Each prints one kind of channel from its first byte to its last. ERROR_PEER with the byte at
 * which the grammar is broken, or the file ends too early or too late. */
MUST_CHECK bool inspect_main(Inspect *inspect, Error *err);
MUST_CHECK bool inspect_multifd(Inspect *inspect, Error *err);
MUST_CHECK bool inspect_return_path(Inspect *inspect, Error *err);

/* Pages of one RAM block. */
typedef struct PageCount {
	uint64_t pages, zero_pages, delta_pages; /* delta: XBZRLE */
	uint64_t bytes;				 /* on the wire, with the headers of records */
} PageCount;

/* One page: block, offset in it. */
MUST_CHECK bool inspect_print_page(Inspect *inspect, uint64_t at, const char *what,
				   const char *block, size_t block_size, uint64_t offset,
				   Error *err);
/* What a block got. Nothing if that is nothing. */
MUST_CHECK bool inspect_print_count(Inspect *inspect, uint64_t at, const char *block,
				    size_t block_size, const PageCount *count, Error *err);

#endif
