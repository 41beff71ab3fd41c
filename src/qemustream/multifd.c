/* SPDX-License-Identifier: Apache-2.0 */
#include "qemustream/multifd.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

enum {
	MAGIC = 0x11223344,
	VERSION = 1,
	FLAG_SYNC = 1,
	FLAG_DEVICE_STATE = 0x40,
	COMPRESSION_MASK = 0x3e,
	/* MultiFDInit_t */
	INITIAL_SIZE = 64,
	INITIAL_UUID = 8,
	INITIAL_ID = 24,
	/* MultiFDPacket_t */
	COMMON_SIZE = 12, /* magic, version, flags: the same for both kinds of packet */
	PACKET_RESERVED = 36,
	PACKET_NAME = 64,
	/* MultiFDPacketDeviceState_t */
	DEVICE_NAME = 12,
	DEVICE_SIZE = 276,
};

enum { STATE_INITIAL, STATE_PACKET, STATE_PAYLOAD, STATE_COMPRESSED, STATE_REFUSED, STATE_COUNT };

static const uint8_t no_bytes[UNIT_NAME_SIZE];

static const uint32_t compression_flags[] = {
	[MULTIFD_COMPRESSION_NONE] = 0,
	[MULTIFD_COMPRESSION_ZLIB] = 0x02,
	[MULTIFD_COMPRESSION_ZSTD] = 0x04,
};
static_assert(ARRAY_SIZE(compression_flags) == MULTIFD_COMPRESSION_COUNT, "a flag for each");

void multifd_stream_init(MultifdStream *stream, const MultifdOptions *options)
{
	assert(options->page_size >= MULTIFD_PAGE_SIZE_MIN &&
	       options->page_size <= MULTIFD_PAGE_SIZE_MAX &&
	       !(options->page_size & (options->page_size - 1)));
	assert(options->compression < MULTIFD_COMPRESSION_COUNT);
	*stream = (MultifdStream){
		.options = *options,
		.state = STATE_INITIAL,
		.header_size = MULTIFD_OFFSETS_AT + 8 * (MULTIFD_PACKET_BYTES / options->page_size),
	};
}

bool multifd_stream_may_end(const MultifdStream *stream)
{
	return stream->state == STATE_PACKET;
}

static bool judge_zero(const uint8_t *bytes, size_t size, const char *what, Error *err)
{
	assert(size <= sizeof(no_bytes));
	if (!memcmp(bytes, no_bytes, size))
		return true;
	return error_set(err, ERROR_PEER, "%s must be zero in all its %zu bytes", what, size);
}

/* char[256]: a name, then zero bytes to the end. */
static bool read_name(const uint8_t *field, const char *what, bool may_be_empty, UnitName *ret_name,
		      Error *err)
{
	size_t size = strnlen((const char *)field, UNIT_NAME_SIZE);

	if (size > UNIT_NAME_MAX)
		return error_set(err, ERROR_PEER, "%s of %zu bytes without an end, at most %d",
				 what, size, UNIT_NAME_MAX);
	if (!size && !may_be_empty)
		return error_set(err, ERROR_PEER, "%s of 0 bytes, at least 1", what);
	for (size_t i = 0; i < size; i++)
		if (field[i] < 0x20 || field[i] > 0x7e)
			return error_set(err, ERROR_PEER,
					 "%s has byte 0x%02x at %zu, only 0x20 to 0x7e may be",
					 what, field[i], i);
	*ret_name = (UnitName){ .bytes = (const char *)field, .size = (uint8_t)size };
	return judge_zero(field + size, UNIT_NAME_SIZE - size, "what follows a name", err);
}

static bool judge_common(const uint8_t *bytes, Error *err)
{
	uint32_t magic = load_be32(bytes), version = load_be32(bytes + 4);

	if (magic != MAGIC)
		return error_set(err, ERROR_PEER, "magic 0x%08" PRIx32 " where 0x%08x must be",
				 magic, (unsigned int)MAGIC);
	if (version != VERSION)
		return error_set(err, ERROR_PEER, "version %" PRIu32 ", only %d is known", version,
				 VERSION);
	return true;
}

static bool take_initial(MultifdStream *stream, const uint8_t *window, MultifdUnit *unit,
			 Error *err)
{
	if (!judge_common(window, err) ||
	    !judge_zero(window + INITIAL_ID + 1, INITIAL_SIZE - INITIAL_ID - 1,
			"what follows the id in an initial packet", err))
		return false;
	unit->kind = MULTIFD_UNIT_INITIAL;
	unit->size_bytes = INITIAL_SIZE;
	unit->initial.uuid = window + INITIAL_UUID;
	unit->initial.id = window[INITIAL_ID];
	stream->id = window[INITIAL_ID];
	stream->state = STATE_PACKET;
	return true;
}

static bool judge_flags(const MultifdStream *stream, uint32_t flags, Error *err)
{
	uint32_t method = flags & COMPRESSION_MASK;
	uint32_t known = FLAG_SYNC | COMPRESSION_MASK | FLAG_DEVICE_STATE;

	if (flags & ~known)
		return error_set(err, ERROR_PEER, "flags 0x%" PRIx32 ", known are 0x%" PRIx32,
				 flags, known);
	if (method && method != compression_flags[stream->options.compression])
		return error_set(err, ERROR_PEER,
				 "flags 0x%" PRIx32 ": compression 0x%" PRIx32 " where 0x%" PRIx32
				 " was agreed",
				 flags, method, compression_flags[stream->options.compression]);
	if ((flags & FLAG_DEVICE_STATE) && flags != FLAG_DEVICE_STATE)
		return error_set(err, ERROR_PEER,
				 "flags 0x%" PRIx32
				 ": 0x%x for a device's state goes with no other",
				 flags, (unsigned int)FLAG_DEVICE_STATE);
	if ((flags & FLAG_DEVICE_STATE) && !stream->options.device_state_max_bytes)
		return error_set(err, ERROR_PEER,
				 "flags 0x%" PRIx32 ": a device's state (VFIO) is not allowed here",
				 flags);
	return true;
}

static bool judge_counts(const MultifdStream *stream, const MultifdPacket *packet, Error *err)
{
	uint32_t most = MULTIFD_PACKET_BYTES / stream->options.page_size;

	if (packet->pages_alloc > most)
		return error_set(err, ERROR_PEER,
				 "a packet for %" PRIu32 " pages, at most %" PRIu32,
				 packet->pages_alloc, most);
	if (packet->normal_pages > packet->pages_alloc)
		return error_set(err, ERROR_PEER,
				 "%" PRIu32 " pages in a packet for %" PRIu32 " pages",
				 packet->normal_pages, packet->pages_alloc);
	if (packet->zero_pages > packet->pages_alloc - packet->normal_pages)
		return error_set(err, ERROR_PEER,
				 "%" PRIu32 " zero pages where %" PRIu32 " are left of %" PRIu32,
				 packet->zero_pages, packet->pages_alloc - packet->normal_pages,
				 packet->pages_alloc);
	return true;
}

/* Since 9.2 a source clears what a SYNC packet has no use for: nothing may be left in there. */
static bool judge_empty(const MultifdPacket *packet, uint32_t flags, uint32_t next_packet_size,
			Error *err)
{
	if (flags & COMPRESSION_MASK)
		return error_set(err, ERROR_PEER, "flags 0x%" PRIx32 ": compression of 0 pages",
				 flags);
	if (next_packet_size > MULTIFD_COMPRESSED_MAX)
		return error_set(err, ERROR_PEER,
				 "next_packet_size %" PRIu32 " without pages, at most %d",
				 next_packet_size, MULTIFD_COMPRESSED_MAX);
	if (packet->pages_alloc)
		return true;
	if (!packet->sync)
		return error_set(err, ERROR_PEER,
				 "flags 0x%" PRIx32 " in a packet for 0 pages: no SYNC", flags);
	if (next_packet_size || packet->block.size)
		return error_set(err, ERROR_PEER,
				 "a packet for 0 pages with next_packet_size %" PRIu32
				 " and a name of %u bytes, both must be 0",
				 next_packet_size, packet->block.size);
	return true;
}

static bool judge_payload(const MultifdStream *stream, const MultifdPacket *packet, uint32_t flags,
			  uint32_t next_packet_size, Error *err)
{
	uint32_t wanted = compression_flags[stream->options.compression];
	uint32_t raw_bytes = packet->normal_pages * stream->options.page_size;

	if ((flags & COMPRESSION_MASK) != wanted)
		return error_set(err, ERROR_PEER,
				 "flags 0x%" PRIx32 ": no compression where 0x%" PRIx32
				 " was agreed",
				 flags, wanted);
	if (!wanted || !packet->normal_pages) {
		if (next_packet_size == raw_bytes)
			return true;
		return error_set(err, ERROR_PEER,
				 "next_packet_size %" PRIu32 " where %" PRIu32
				 " pages have %" PRIu32,
				 next_packet_size, packet->normal_pages, raw_bytes);
	}
	if (!next_packet_size || next_packet_size > MULTIFD_COMPRESSED_MAX)
		return error_set(err, ERROR_PEER,
				 "next_packet_size %" PRIu32 " of compressed pages, 1..%d",
				 next_packet_size, MULTIFD_COMPRESSED_MAX);
	return true;
}

/* The bytes of all offsets are joined first: a page's low bits stand in the last ones. Only a
 * packet that is refused is looked through again. */
static bool judge_offsets(const MultifdStream *stream, const MultifdPacket *packet, Error *err)
{
	uint32_t count = packet->normal_pages + packet->zero_pages;
	uint32_t low_bits = stream->options.page_size - 1;
	uint8_t joined_bytes[8];
	uint64_t joined = 0;

	for (uint32_t i = 0; i < count; i++) {
		uint64_t raw;

		memcpy(&raw, packet->offsets + 8 * (size_t)i, sizeof(raw));
		joined |= raw;
	}
	memcpy(joined_bytes, &joined, sizeof(joined));
	if (!(load_be64(joined_bytes) & low_bits))
		return true;
	for (uint32_t i = 0; i < count; i++)
		if (multifd_packet_offset(packet, i) & low_bits)
			return error_set(err, ERROR_PEER,
					 "offset 0x%" PRIx64 " of page %" PRIu32
					 " is no multiple of 0x%" PRIx32,
					 multifd_packet_offset(packet, i), i, low_bits + 1);
	return false;
}

static void expect_payload(MultifdStream *stream, uint32_t size, uint32_t expanded_bytes)
{
	stream->payload_size = size;
	stream->payload_start = 0;
	stream->expanded_bytes = expanded_bytes;
	if (!size)
		stream->state = STATE_PACKET;
	else
		stream->state = expanded_bytes ? STATE_COMPRESSED : STATE_PAYLOAD;
}

static bool take_packet(MultifdStream *stream, const uint8_t *window, MultifdUnit *unit, Error *err)
{
	MultifdPacket *packet = &unit->packet;
	uint32_t flags = load_be32(window + 8), next_packet_size = load_be32(window + 20);
	bool empty;

	unit->kind = MULTIFD_UNIT_PACKET;
	unit->size_bytes = stream->header_size;
	packet->sync = flags & FLAG_SYNC;
	packet->pages_alloc = load_be32(window + 12);
	packet->normal_pages = load_be32(window + 16);
	packet->packet_num = load_be64(window + 24);
	packet->zero_pages = load_be32(window + 32);
	packet->offsets = window + MULTIFD_OFFSETS_AT;
	empty = !packet->normal_pages && !packet->zero_pages;
	packet->payload_bytes = packet->normal_pages ? next_packet_size : 0;
	if (!judge_counts(stream, packet, err) ||
	    !judge_zero(window + PACKET_RESERVED, PACKET_NAME - PACKET_RESERVED,
			"what is reserved in a packet", err) ||
	    !read_name(window + PACKET_NAME, "the name of a RAM block", empty, &packet->block, err))
		return false;
	if (empty ? !judge_empty(packet, flags, next_packet_size, err)
		  : !judge_payload(stream, packet, flags, next_packet_size, err))
		return false;
	if (!judge_offsets(stream, packet, err))
		return false;
	expect_payload(stream, packet->payload_bytes,
		       stream->options.compression == MULTIFD_COMPRESSION_NONE
			       ? 0
			       : packet->normal_pages * stream->options.page_size);
	return true;
}

static bool take_device_state(MultifdStream *stream, const uint8_t *window, MultifdUnit *unit,
			      Error *err)
{
	MultifdDeviceState *state = &unit->device_state;

	unit->kind = MULTIFD_UNIT_DEVICE_STATE;
	unit->size_bytes = DEVICE_SIZE;
	state->instance_id = load_be32(window + DEVICE_NAME + UNIT_NAME_SIZE);
	state->payload_bytes = load_be32(window + DEVICE_NAME + UNIT_NAME_SIZE + 4);
	if (!read_name(window + DEVICE_NAME, "the name of a device", false, &state->idstr, err))
		return false;
	if (!state->payload_bytes || state->payload_bytes > stream->options.device_state_max_bytes)
		return error_set(err, ERROR_PEER,
				 "next_packet_size %" PRIu32 " of a device's state, 1..%" PRIu32,
				 state->payload_bytes, stream->options.device_state_max_bytes);
	expect_payload(stream, state->payload_bytes, 0);
	return true;
}

static void describe_payload(MultifdStream *stream, const uint8_t *window, uint32_t size,
			     MultifdUnit *unit)
{
	unit->size_bytes = size;
	unit->payload.bytes = window;
	unit->payload.start = stream->payload_start;
	stream->payload_start += size;
	unit->payload.left = stream->payload_size - stream->payload_start;
	unit->payload.expanded_bytes = stream->expanded_bytes;
	if (!unit->payload.left)
		stream->state = STATE_PACKET;
}

/* One function for each state; none looks past `size`. */
typedef UnitResult (*Step)(MultifdStream *stream, const uint8_t *window, size_t size,
			   MultifdUnit *unit, Error *err);

static UnitResult next_initial(MultifdStream *stream, const uint8_t *window, size_t size,
			       MultifdUnit *unit, Error *err)
{
	if (size < INITIAL_SIZE)
		return UNIT_MORE;
	return take_initial(stream, window, unit, err) ? UNIT_WHOLE : UNIT_BAD;
}

static UnitResult next_packet(MultifdStream *stream, const uint8_t *window, size_t size,
			      MultifdUnit *unit, Error *err)
{
	uint32_t flags;
	bool ok;

	if (size < COMMON_SIZE)
		return UNIT_MORE;
	flags = load_be32(window + 8);
	if (!judge_common(window, err) || !judge_flags(stream, flags, err))
		return UNIT_BAD;
	if (size < ((flags & FLAG_DEVICE_STATE) ? DEVICE_SIZE : stream->header_size))
		return UNIT_MORE;
	ok = (flags & FLAG_DEVICE_STATE) ? take_device_state(stream, window, unit, err)
					 : take_packet(stream, window, unit, err);
	return ok ? UNIT_WHOLE : UNIT_BAD;
}

static UnitResult next_payload(MultifdStream *stream, const uint8_t *window, size_t size,
			       MultifdUnit *unit, Error *err)
{
	uint32_t left = stream->payload_size - stream->payload_start;

	(void)err;
	if (!size)
		return UNIT_MORE;
	unit->kind = MULTIFD_UNIT_PAYLOAD;
	describe_payload(stream, window, size < left ? (uint32_t)size : left, unit);
	return UNIT_WHOLE;
}

static UnitResult next_compressed(MultifdStream *stream, const uint8_t *window, size_t size,
				  MultifdUnit *unit, Error *err)
{
	(void)err;
	if (size < stream->payload_size)
		return UNIT_MORE;
	unit->kind = MULTIFD_UNIT_COMPRESSED;
	describe_payload(stream, window, stream->payload_size, unit);
	return UNIT_WHOLE;
}

static UnitResult next_refused(MultifdStream *stream, const uint8_t *window, size_t size,
			       MultifdUnit *unit, Error *err)
{
	(void)stream;
	(void)window;
	(void)size;
	(void)unit;
	error_set(err, ERROR_PEER, "what came here was refused before");
	return UNIT_BAD;
}

static const Step steps[] = {
	[STATE_INITIAL] = next_initial, [STATE_PACKET] = next_packet,
	[STATE_PAYLOAD] = next_payload, [STATE_COMPRESSED] = next_compressed,
	[STATE_REFUSED] = next_refused,
};
static_assert(ARRAY_SIZE(steps) == STATE_COUNT, "a step for each state");

UnitResult multifd_stream_next(MultifdStream *stream, const uint8_t *window, size_t size,
			       MultifdUnit *ret_unit, Error *err)
{
	bool named = stream->state != STATE_INITIAL;
	UnitResult result;

	*ret_unit = (MultifdUnit){ 0 };
	result = steps[stream->state](stream, window, size, ret_unit, err);
	if (result == UNIT_WHOLE)
		stream->offset += ret_unit->size_bytes;
	if (result != UNIT_BAD)
		return result;
	stream->state = STATE_REFUSED;
	if (named)
		error_prefix(err, "multifd channel %u, byte %" PRIu64, stream->id, stream->offset);
	else
		error_prefix(err, "multifd channel, byte %" PRIu64, stream->offset);
	return result;
}
