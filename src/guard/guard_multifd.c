/* SPDX-License-Identifier: Apache-2.0 */
/* A multifd channel: packets are judged by their header alone, before it goes on; the pages behind
 * it stream through. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "guard/guard_internal.h"
#include "qemustream/grammar.h"

enum {
	PLACE_SIZE = 64,
	TEXT_SIZE = 400,
};

typedef struct Judge {
	Guard *guard;
	GuardChannel *channel;
	uint64_t at; /* of the unit, in its channel */
	Error *err;
} Judge;

static bool refuse(const Judge *judge, GuardRule rule, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static bool refuse(const Judge *judge, GuardRule rule, const char *format, ...)
{
	char text[TEXT_SIZE];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	return guard_violation(judge->err, rule, "channel %u (multifd), byte %" PRIu64 ": %s",
			       judge->channel->index, judge->at, text);
}

static bool judge_initial(const Judge *judge, const MultifdInitial *initial)
{
	unsigned int count = judge->guard->channels_count - 1;
	char place[PLACE_SIZE];

	if (initial->id >= count)
		return refuse(judge, GUARD_RULE_MULTIFD_ID, "id %u, below %u must be", initial->id,
			      count);
	snprintf(place, sizeof(place), "channel %u (multifd), byte %" PRIu64, judge->channel->index,
		 judge->at);
	return guard_judge_identity(judge->guard, initial->uuid, initial->id, place, judge->err);
}

static bool judge_sync(const Judge *judge, GuardMultifd *multifd)
{
	uint64_t main_syncs = atomic_load_explicit(&judge->guard->main_syncs, memory_order_relaxed);

	multifd->pass_pages = 0;
	multifd->syncs++;
	if (multifd->syncs <= GUARD_SYNC_AHEAD || multifd->syncs - GUARD_SYNC_AHEAD <= main_syncs)
		return true;
	return refuse(judge, GUARD_RULE_MULTIFD_SYNC,
		      "SYNC number %" PRIu64 ", main has %" PRIu64 " and may be %d behind",
		      multifd->syncs, main_syncs, GUARD_SYNC_AHEAD);
}

static bool refuse_offset(const Judge *judge, const MultifdPacket *packet, const GuardBlock *block,
			  uint64_t bytes)
{
	uint32_t count = packet->normal_pages + packet->zero_pages;

	for (uint32_t i = 0; i < count; i++) {
		uint64_t offset = multifd_packet_offset(packet, i);

		if (offset > bytes - GUARD_PAGE_SIZE)
			return refuse(judge, GUARD_RULE_RAM_OFFSET,
				      "page %" PRIu32 " at 0x%" PRIx64 " of block %s, which has "
				      "0x%" PRIx64 " bytes",
				      i, offset, block->name, bytes);
	}
	return false;
}

/* Whole pages, never 0 of them: nothing below can underflow. The largest offset is looked for
 * first, so that the loop has no way out but its end. */
static bool judge_offsets(const Judge *judge, const MultifdPacket *packet, const GuardBlock *block)
{
	uint64_t bytes = atomic_load_explicit(&block->bytes, memory_order_relaxed);
	uint32_t count = packet->normal_pages + packet->zero_pages;
	uint64_t largest = 0;

	for (uint32_t i = 0; i < count; i++) {
		uint64_t offset = multifd_packet_offset(packet, i);

		largest = offset > largest ? offset : largest;
	}
	if (largest <= bytes - GUARD_PAGE_SIZE)
		return true;
	return refuse_offset(judge, packet, block, bytes);
}

static bool judge_pages(const Judge *judge, const MultifdPacket *packet, GuardMultifd *multifd)
{
	GuardBlock *block = guard_blocks_find(&judge->guard->blocks, packet->block);
	uint64_t most = GUARD_PASSES * judge->guard->total_pages;

	if (!block)
		return refuse(judge, GUARD_RULE_RAM_BLOCK,
			      "block %.*s, which this VM does not have", NAME_ARGS(packet->block));
	if (!judge_offsets(judge, packet, block))
		return false;
	multifd->pass_pages += packet->normal_pages + packet->zero_pages;
	if (multifd->pass_pages > most)
		return refuse(judge, GUARD_RULE_MULTIFD_PAGES,
			      "%" PRIu64 " pages without SYNC, at most %" PRIu64 " may be",
			      multifd->pass_pages, most);
	guard_count(&judge->channel->ram_pages, packet->normal_pages);
	guard_count(&judge->channel->ram_zero_pages, packet->zero_pages);
	return true;
}

static bool judge_packet(const Judge *judge, const MultifdPacket *packet)
{
	GuardMultifd *multifd = &judge->channel->multifd;

	if (multifd->numbered && packet->packet_num < multifd->number)
		return refuse(judge, GUARD_RULE_MULTIFD_NUMBER,
			      "packet number %" PRIu64 " after %" PRIu64, packet->packet_num,
			      multifd->number);
	multifd->numbered = true;
	multifd->number = packet->packet_num;
	if ((packet->normal_pages || packet->zero_pages) && !judge_pages(judge, packet, multifd))
		return false;
	return !packet->sync || judge_sync(judge, multifd);
}

static bool judge_unit(const Judge *judge, const MultifdUnit *unit)
{
	switch (unit->kind) {
	case MULTIFD_UNIT_INITIAL:
		return judge_initial(judge, &unit->initial);
	case MULTIFD_UNIT_PACKET:
		return judge_packet(judge, &unit->packet);
	case MULTIFD_UNIT_PAYLOAD:
		return true; /* as many bytes as its header has pages */
	case MULTIFD_UNIT_COMPRESSED:
	case MULTIFD_UNIT_DEVICE_STATE:
		break; /* the decoder was told to refuse both */
	}
	return refuse(judge, GUARD_RULE_GRAMMAR, "a packet of a kind that was not agreed");
}

bool guard_multifd_take(Guard *guard, GuardChannel *channel, const uint8_t *window, size_t size,
			GuardFlow *flow, Error *err)
{
	GuardMultifd *multifd = &channel->multifd;

	for (;;) {
		const Judge judge = {
			.guard = guard, .channel = channel, .at = multifd->stream.offset, .err = err
		};
		MultifdUnit unit;
		UnitResult result = multifd_stream_next(&multifd->stream, window + flow->taken,
							size - flow->taken, &unit, err);

		if (result == UNIT_BAD)
			return guard_violation_by(err, GUARD_RULE_GRAMMAR);
		if (result == UNIT_MORE)
			return true;
		if (!judge_unit(&judge, &unit))
			return false;
		flow->taken += unit.size_bytes;
		flow->forward = flow->taken;
	}
}

bool guard_multifd_end(const GuardChannel *channel, size_t left, Error *err)
{
	const MultifdStream *stream = &channel->multifd.stream;

	if (!left && multifd_stream_may_end(stream))
		return true;
	return guard_violation(
		err, GUARD_RULE_END,
		"channel %u (multifd), byte %" PRIu64 ": closed %s, with %zu bytes left",
		channel->index, stream->offset + left,
		stream->offset ? "inside a packet" : "before its first packet", left);
}
