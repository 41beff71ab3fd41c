/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qemustream/multifd.c: a byte of options, then a channel. It is decoded twice, with all there is
 * in the window and with windows that grow byte by byte, which must not differ.
 */
#include <string.h>

#include "qemustream/multifd.h"
#include "tests/fuzz/fuzz.h"

enum {
	REACHED_INITIAL,
	REACHED_PACKET,
	REACHED_PAYLOAD,
	REACHED_COMPRESSED,
	REACHED_DEVICE_STATE,
	DEVICE_MAX = 64,
};

/* What was decoded, without how windows cut the payloads. */
typedef struct Summary {
	uint64_t used, units, pages, payload_bytes, hash;
	bool refused, may_end;
} Summary;

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
			 Summary *summary)
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
		summary->hash = summary->hash * 31 + multifd_packet_offset(packet, i);
	}
	summary->pages += packet->normal_pages + packet->zero_pages;
}

static void judge_unit(const MultifdOptions *options, const MultifdUnit *unit,
		       const uint8_t *window, Summary *summary)
{
	switch (unit->kind) {
	case MULTIFD_UNIT_INITIAL:
		fuzz_reached(REACHED_INITIAL);
		summary->hash = unit->initial.id;
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
		summary->payload_bytes += unit->size_bytes;
		return;
	case MULTIFD_UNIT_DEVICE_STATE:
		fuzz_reached(REACHED_DEVICE_STATE);
		if (!unit->device_state.payload_bytes ||
		    unit->device_state.payload_bytes > DEVICE_MAX)
			fuzz_fail("a device's state past its bound");
		break;
	}
	summary->units++;
}

/* `step` 0 shows all at once. */
static Summary decode(const MultifdOptions *options, const uint8_t *data, size_t size, size_t step)
{
	size_t window = step ? 0 : size;
	Summary summary = { 0 };
	MultifdStream stream;

	multifd_stream_init(&stream, options);
	while (true) {
		MultifdUnit unit;
		Error err = ERROR_INIT;
		UnitResult result =
			multifd_stream_next(&stream, data + summary.used, window, &unit, &err);

		summary.refused = result == UNIT_BAD;
		if (summary.refused && (err.category != ERROR_PEER || !err.text[0]))
			fuzz_fail("a refusal without a reason");
		if (summary.refused)
			break;
		if (result == UNIT_WHOLE) {
			if (!unit.size_bytes || unit.size_bytes > window)
				fuzz_fail("a unit that is not in its window");
			judge_unit(options, &unit, data + summary.used, &summary);
			summary.used += unit.size_bytes;
			window -= unit.size_bytes;
			continue;
		}
		if (summary.used + window == size)
			break;
		window = window + step < size - summary.used ? window + step : size - summary.used;
	}
	summary.may_end = multifd_stream_may_end(&stream);
	return summary;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	MultifdOptions options;
	Summary whole, pieces;

	if (!size)
		return 0;
	options = options_of(data[0]);
	whole = decode(&options, data + 1, size - 1, 0);
	pieces = decode(&options, data + 1, size - 1, 1);
	if (whole.used != pieces.used || whole.units != pieces.units ||
	    whole.pages != pieces.pages || whole.payload_bytes != pieces.payload_bytes ||
	    whole.hash != pieces.hash || whole.refused != pieces.refused ||
	    whole.may_end != pieces.may_end)
		fuzz_fail("decoded to something else in pieces");
	return 0;
}
