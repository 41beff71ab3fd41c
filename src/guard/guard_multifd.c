/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A multifd channel: packets are judged by their header alone, before it goes on; the pages behind
 * it stream through.
 *
 * With compression a packet is held, header and payload, until the payload was expanded by a
 * decompressor of this channel, as QEMU does it: QEMU's own then meets nothing that it would not
 * survive. What was expanded is dropped; the packet goes on as it came.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "guard/guard_internal.h"
#include "qemustream/grammar.h"

enum {
	PLACE_SIZE = 64,
	TEXT_SIZE = 400,
	/* Of a packet with offsets for 512 KiB of pages. */
	HEADER_MAX = MULTIFD_OFFSETS_AT + 8 * (MULTIFD_PACKET_BYTES / GUARD_PAGE_SIZE),
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
	unsigned int count = judge->guard->multifd_count;
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
		return true;	      /* as many bytes as its header has pages */
	case MULTIFD_UNIT_COMPRESSED: /* held, and judged there */
	case MULTIFD_UNIT_DEVICE_STATE:
		break; /* the decoder was told to refuse both */
	}
	return refuse(judge, GUARD_RULE_GRAMMAR, "a packet of a kind that was not agreed");
}

/* --- compressed packets --- */

bool guard_multifd_open(const Guard *guard, GuardChannel *channel, Error *err)
{
	MultifdOptions options = { .page_size = GUARD_PAGE_SIZE };

	if (guard_has(guard, GUARD_ZLIB))
		options.compression = MULTIFD_COMPRESSION_ZLIB;
	if (guard_has(guard, GUARD_ZSTD))
		options.compression = MULTIFD_COMPRESSION_ZSTD;
	multifd_stream_init(&channel->multifd.stream, &options);
	channel->multifd.held = BUFFER_INIT(HEADER_MAX + GUARD_COMPRESSED_MAX);
	if (options.compression == MULTIFD_COMPRESSION_NONE ||
	    guard_is_preempt(guard, channel->index))
		return true;
	channel->multifd.decompressor =
		decompressor_new_within(options.compression, GUARD_ZSTD_WINDOW_LOG, err);
	return channel->multifd.decompressor != NULL;
}

void guard_multifd_close(GuardChannel *channel)
{
	decompressor_free(TAKE_PTR(channel->multifd.decompressor));
	buffer_clear(&channel->multifd.held);
}

static bool hold(const Judge *judge, GuardMultifd *multifd, const uint8_t *bytes, size_t size)
{
	if (buffer_put(&multifd->held, bytes, size, judge->err))
		return true;
	judge->err->category = ERROR_INTERNAL;
	return false;
}

/* A header with pages. Pages that do not compress become hardly longer: what QEMU's receiver has
 * room for is held by the decoder, and this is what may be held here. */
static bool hold_packet(const Judge *judge, GuardMultifd *multifd, const MultifdUnit *unit,
			const uint8_t *bytes)
{
	const MultifdPacket *packet = &unit->packet;

	if (packet->payload_bytes > GUARD_COMPRESSED_MAX)
		return refuse(judge, GUARD_RULE_MULTIFD_COMPRESSED,
			      "%" PRIu32 " bytes for %" PRIu32 " pages, at most %d may be",
			      packet->payload_bytes, packet->normal_pages, GUARD_COMPRESSED_MAX);
	multifd->held_need = unit->size_bytes + packet->payload_bytes;
	return hold(judge, multifd, bytes, unit->size_bytes);
}

/* All of a packet is held. */
static bool judge_compressed(const Judge *judge, GuardMultifd *multifd, GuardFlow *flow)
{
	Buffer *held = &multifd->held;
	const size_t payload = multifd->stream.payload_size;
	const uint8_t *bytes = held->data + held->used - payload;
	MultifdUnit unit;

	if (multifd_stream_next(&multifd->stream, bytes, payload, &unit, judge->err) != UNIT_WHOLE)
		return guard_violation_by(judge->err, GUARD_RULE_GRAMMAR);
	if (!decompressor_check(multifd->decompressor, bytes, payload, unit.payload.expanded_bytes,
				judge->err)) {
		error_prefix(judge->err, "channel %u (multifd), byte %" PRIu64,
			     judge->channel->index, judge->at);
		return guard_violation_by(judge->err, GUARD_RULE_MULTIFD_COMPRESSED);
	}
	multifd->held_need = 0;
	flow->release = held->data;
	flow->release_size = held->used;
	flow->from = held;
	return true;
}

/* Once the packet is whole it is in flow->release. */
static bool take_held(const Judge *judge, GuardMultifd *multifd, const uint8_t *window, size_t size,
		      GuardFlow *flow)
{
	size_t missing = multifd->held_need - multifd->held.used;
	size_t more = size - flow->taken < missing ? size - flow->taken : missing;

	if (!hold(judge, multifd, window + flow->taken, more))
		return false;
	flow->taken += more;
	return more < missing || judge_compressed(judge, multifd, flow);
}

/* --- windows --- */

bool guard_multifd_take(Guard *guard, GuardChannel *channel, const uint8_t *window, size_t size,
			GuardFlow *flow, Error *err)
{
	GuardMultifd *multifd = &channel->multifd;

	for (;;) {
		const Judge judge = {
			.guard = guard, .channel = channel, .at = multifd->stream.offset, .err = err
		};
		MultifdUnit unit;
		UnitResult result;

		if (multifd->held_need)
			return take_held(&judge, multifd, window, size, flow);
		result = multifd_stream_next(&multifd->stream, window + flow->taken,
					     size - flow->taken, &unit, err);
		if (result == UNIT_BAD)
			return guard_violation_by(err, GUARD_RULE_GRAMMAR);
		if (result == UNIT_MORE)
			return true;
		if (!judge_unit(&judge, &unit))
			return false;
		if (multifd->decompressor && unit.kind == MULTIFD_UNIT_PACKET &&
		    unit.packet.payload_bytes) {
			if (!hold_packet(&judge, multifd, &unit, window + flow->taken))
				return false;
			flow->taken += unit.size_bytes;
			continue;
		}
		flow->taken += unit.size_bytes;
		flow->forward = flow->taken;
	}
}

bool guard_multifd_end(const GuardChannel *channel, size_t left, Error *err)
{
	const MultifdStream *stream = &channel->multifd.stream;

	if (!left && multifd_stream_may_end(stream))
		return true;
	return guard_violation(err, GUARD_RULE_CLOSED,
			       "channel %u (multifd), byte %" PRIu64
			       ": the source closed the channel early, %s, with %zu bytes left",
			       channel->index, stream->offset + left,
			       stream->offset ? "inside a packet" : "before its first packet",
			       left);
}
