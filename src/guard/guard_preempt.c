/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The preempt channel of postcopy: pages that the destination's guest asked for, as records of ram.
 *
 * Its blocks are those of main, whose thread may be another. A page comes here only after it was
 * asked for, and that is after the destination's QEMU had the package: so when the first one comes,
 * main's guard has passed the package, and its list of blocks is complete and stays as it is.
 */
#include <inttypes.h>

#include "guard/guard_internal.h"

static bool judge_record(Guard *guard, GuardChannel *channel, const RamUnit *ram, Error *err)
{
	const uint64_t at = channel->preempt.offset - ram->size_bytes;
	const uint64_t most = GUARD_PASSES * guard->total_pages;

	if (ram->kind == RAM_EOS)
		return true;
	channel->preempt_pages += ram->count;
	if (channel->preempt_pages > most)
		return guard_violation(err, GUARD_RULE_PREEMPT_PAGES,
				       "channel %u (preempt), byte %" PRIu64 ": %" PRIu64
				       " pages, at most %" PRIu64 " may be",
				       channel->index, at, channel->preempt_pages, most);
	guard_count(ram->kind == RAM_ZERO ? &channel->ram_zero_pages : &channel->ram_pages,
		    ram->count);
	return true;
}

bool guard_preempt_take(Guard *guard, GuardChannel *channel, const uint8_t *window, size_t size,
			GuardFlow *flow, Error *err)
{
	PreemptStream *stream = &channel->preempt;

	if (!size)
		return true;
	if (!atomic_load_explicit(&guard->package_passed, memory_order_acquire))
		return guard_violation(err, GUARD_RULE_PREEMPT_EARLY,
				       "channel %u (preempt), byte %" PRIu64
				       ": %zu bytes before the package of postcopy passed",
				       channel->index, stream->offset, size);
	for (;;) {
		RamUnit unit;
		UnitResult result = preempt_stream_next(stream, window + flow->taken,
							size - flow->taken, &unit, err);

		if (result == UNIT_BAD)
			return guard_violation_by(err, GUARD_RULE_GRAMMAR);
		if (result == UNIT_MORE)
			return true;
		if (!judge_record(guard, channel, &unit, err))
			return false;
		flow->taken += unit.size_bytes;
		flow->forward = flow->taken;
	}
}

bool guard_preempt_end(const GuardChannel *channel, size_t left, Error *err)
{
	return preempt_stream_finish(&channel->preempt, left, err) ||
	       guard_violation_by(err, GUARD_RULE_CLOSED);
}
