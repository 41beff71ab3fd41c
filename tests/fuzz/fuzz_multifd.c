/* SPDX-License-Identifier: Apache-2.0 */
/* qemustream/multifd.c: pieces (stream.h), a byte of options, then a channel. */
#include "qemustream/multifd.h"
#include "tests/fuzz/stream.h"

enum {
	REACHED_INITIAL,
	REACHED_PACKET,
	REACHED_PAYLOAD,
	REACHED_COMPRESSED,
	REACHED_DEVICE_STATE,
	DEVICE_MAX = 64,
};

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const char *const names[] = { "initial", "packet", "payload", "compressed",
					     "device state" };

	(void)argc;
	(void)argv;
	fuzz_expect(names, ARRAY_SIZE(names));
	return 0;
}

static MultifdOptions options_of(uint8_t choice)
{
	return (MultifdOptions){
		.compression = (MultifdCompression)(choice % MULTIFD_COMPRESSION_COUNT),
		.page_size = choice & 0x80 ? MULTIFD_PAGE_SIZE_MAX : MULTIFD_PAGE_SIZE_MIN,
		.device_state_max_bytes = choice & 0x40 ? DEVICE_MAX : 0,
	};
}

static void judge_packet(const MultifdOptions *options, const MultifdPacket *packet,
			 FuzzSummary *summary)
{
	uint32_t most = MULTIFD_PACKET_BYTES / options->page_size;

	if (packet->normal_pages > most || packet->zero_pages > most - packet->normal_pages)
		fuzz_fail("more pages than a packet holds");
	if (packet->payload_bytes > MULTIFD_COMPRESSED_MAX)
		fuzz_fail("a payload past its bound");
	if (!packet->normal_pages != !packet->payload_bytes)
		fuzz_fail("pages without payload, or payload without pages");
	if ((packet->normal_pages || packet->zero_pages) && !packet->block.size)
		fuzz_fail("pages without a block");
	for (uint32_t i = 0; i < packet->normal_pages + packet->zero_pages; i++) {
		if (multifd_packet_offset(packet, i) % options->page_size)
			fuzz_fail("an offset that is not aligned");
		fuzz_digest(summary, multifd_packet_offset(packet, i));
	}
	fuzz_digest_bytes(summary, packet->block.bytes, packet->block.size);
	fuzz_digest(summary, packet->packet_num);
	fuzz_digest(summary, packet->sync);
}

static void judge_unit(const MultifdOptions *options, const MultifdUnit *unit,
		       const uint8_t *window, FuzzSummary *summary)
{
	switch (unit->kind) {
	case MULTIFD_UNIT_INITIAL:
		fuzz_reached(REACHED_INITIAL);
		fuzz_digest(summary, unit->initial.id);
		break;
	case MULTIFD_UNIT_PACKET:
		fuzz_reached(REACHED_PACKET);
		judge_packet(options, &unit->packet, summary);
		break;
	case MULTIFD_UNIT_PAYLOAD:
	case MULTIFD_UNIT_COMPRESSED:
		fuzz_reached(unit->kind == MULTIFD_UNIT_PAYLOAD ? REACHED_PAYLOAD
								: REACHED_COMPRESSED);
		if (unit->payload.bytes != window)
			fuzz_fail("a payload that is not at the front");
		fuzz_digest_bytes(summary, window, unit->size_bytes);
		break;
	case MULTIFD_UNIT_DEVICE_STATE:
		fuzz_reached(REACHED_DEVICE_STATE);
		if (!unit->device_state.payload_bytes ||
		    unit->device_state.payload_bytes > DEVICE_MAX)
			fuzz_fail("a device's state past its bound");
		break;
	}
}

static UnitResult next(void *context, const uint8_t *window, size_t size, size_t *ret_used,
		       FuzzSummary *summary, Error *err)
{
	MultifdStream *stream = context;
	MultifdUnit unit;
	UnitResult result = multifd_stream_next(stream, window, size, &unit, err);

	if (result != UNIT_WHOLE)
		return result;
	*ret_used = unit.size_bytes;
	if (unit.size_bytes <= size)
		judge_unit(&stream->options, &unit, window, summary);
	return result;
}

static FuzzSummary decode(const MultifdOptions *options, FuzzPieces pieces, const uint8_t *data,
			  size_t size)
{
	MultifdStream stream;
	FuzzSummary summary;

	multifd_stream_init(&stream, options);
	summary = fuzz_decode(next, &stream, pieces, data, size, MULTIFD_WINDOW);
	summary.may_end = multifd_stream_may_end(&stream);
	return summary;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	FuzzPieces pieces = fuzz_pieces_take(&data, &size);
	FuzzSummary whole, cut;
	MultifdOptions options;

	if (!size)
		return 0;
	options = options_of(data[0]);
	whole = decode(&options, (FuzzPieces){ .whole = true }, data + 1, size - 1);
	cut = decode(&options, pieces, data + 1, size - 1);
	fuzz_same(&whole, &cut);
	return 0;
}
