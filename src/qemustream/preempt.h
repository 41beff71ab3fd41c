/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The postcopy-preempt channel: pages that the destination asked for, as records of the `ram`
 * section with a CONTINUE context of their own, without a header (QEMU's postcopy_preempt_thread).
 * Only machine types before 7.2 end it with an EOS record (x-preempt-pre-7-2); else the end of the
 * channel is its end, behind any record.
 */
#ifndef SEALIFT_QEMUSTREAM_PREEMPT_H
#define SEALIFT_QEMUSTREAM_PREEMPT_H

#include "qemustream/ram.h"

typedef struct PreemptStream {
	RamReader ram;
	uint64_t offset; /* bytes of the stream before the window */
	bool ended, refused;
} PreemptStream;

/* blocks: what the main channel announced, complete; borrowed. */
void preempt_stream_init(PreemptStream *stream, const RamBlocks *blocks, uint32_t page_size);

/* RAM_ZERO, RAM_PAGE, and RAM_EOS, after which any byte is refused. */
MUST_CHECK UnitResult preempt_stream_next(PreemptStream *stream, const uint8_t *window, size_t size,
					  RamUnit *ret_unit, Error *err);

/* The channel was closed with `left` bytes undecoded: ERROR_PEER if there are any. That all pages
 * came is for the main channel to say. */
MUST_CHECK bool preempt_stream_finish(const PreemptStream *stream, size_t left, Error *err);

#endif
