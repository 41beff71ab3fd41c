/* SPDX-License-Identifier: Apache-2.0 */
#include "qemustream/preempt.h"

#include <inttypes.h>

#include "qemustream/grammar.h"

void preempt_stream_init(PreemptStream *stream, const RamBlocks *blocks, uint32_t page_size)
{
	*stream = (PreemptStream){
		.ram = { .blocks = blocks,
			 .page_size = page_size,
			 .phase = RAM_PHASE_POSTCOPY,
			 .block = -1 },
	};
}

static UnitResult step(PreemptStream *stream, const uint8_t *window, size_t size, RamUnit *ret_unit,
		       Error *err)
{
	if (stream->refused)
		return grammar_bad(err, "the stream was refused before");
	if (stream->ended)
		return size ? grammar_bad(err, "%zu bytes after EOS", size) : UNIT_MORE;
	return ram_next(&stream->ram, window, size, ret_unit, err);
}

UnitResult preempt_stream_next(PreemptStream *stream, const uint8_t *window, size_t size,
			       RamUnit *ret_unit, Error *err)
{
	UnitResult result = step(stream, window, size, ret_unit, err);

	if (result == UNIT_BAD) {
		stream->refused = true;
		error_prefix(err, "preempt channel, byte %" PRIu64, stream->offset);
	}
	if (result == UNIT_WHOLE) {
		stream->offset += ret_unit->size_bytes;
		stream->ended = ret_unit->kind == RAM_EOS;
	}
	return result;
}

bool preempt_stream_finish(const PreemptStream *stream, size_t left, Error *err)
{
	if (!stream->refused && !left)
		return true;
	return error_set(err, ERROR_PEER, "preempt channel, byte %" PRIu64 ": closed %s",
			 stream->offset + left,
			 stream->refused ? "after a refusal" : "inside a record");
}
