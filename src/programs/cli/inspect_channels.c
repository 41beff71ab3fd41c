/* SPDX-License-Identifier: Apache-2.0 */
/* `sealift inspect` of what is beside the main channel: multifd channels and the return path. */
#include <inttypes.h>
#include <string.h>

#include "base/bounds.h"
#include "programs/cli/inspect.h"
#include "qemustream/decompress.h"
#include "qemustream/return_path.h"

/* As far as the largest VM may go; what one packet says is not kept anyway. */
enum { DEVICE_STATE_MAX = 1 << 30 };
#define BITMAP_MAX_BYTES (LIMIT_MEMORY_BYTES / INSPECT_PAGE_SIZE / 8)

/* --- multifd --- */

typedef struct MultifdBlock {
	char name[UNIT_NAME_SIZE];
	size_t name_size;
	PageCount count;
} MultifdBlock;

typedef struct MultifdInspect {
	Inspect *inspect;
	MultifdStream stream;
	Decompressor *decompressor; /* NULL: nothing is compressed */
	uint64_t packets, syncs;
	PageCount total;
	size_t n_blocks;
	MultifdBlock blocks[INSPECT_BLOCKS_MAX];
} MultifdInspect;

static void multifd_inspect_free(MultifdInspect *multifd)
{
	if (multifd)
		decompressor_free(multifd->decompressor);
	free(multifd);
}
DEFINE_CLEANUP(MultifdInspect, multifd_inspect, multifd_inspect_free)
#define AUTO_MULTIFD_INSPECT CLEANUP(multifd_inspect_cleanup)

static const char *const compression_words[] = { "none", "zlib", "zstd" };
static_assert(ARRAY_SIZE(compression_words) == MULTIFD_COMPRESSION_COUNT, "a word for each");

/* No channel says by itself what was agreed: the first packet with pages shows it. Those before it
 * are headers alone. */
static MultifdCompression detect_compression(const uint8_t *bytes, size_t size)
{
	enum { INITIAL = 64, HEADER = MULTIFD_OFFSETS_AT + 8 * 128, ZLIB = 0x02, ZSTD = 0x04 };

	for (size_t at = INITIAL; at <= size && size - at >= HEADER; at += HEADER) {
		const uint32_t flags = load_be32(bytes + at + 8);

		if (!load_be32(bytes + at + 16) && !load_be32(bytes + at + 32))
			continue;
		return flags & ZLIB   ? MULTIFD_COMPRESSION_ZLIB
		       : flags & ZSTD ? MULTIFD_COMPRESSION_ZSTD
				      : MULTIFD_COMPRESSION_NONE;
	}
	return MULTIFD_COMPRESSION_NONE;
}

static PageCount *count_of_block(MultifdInspect *multifd, UnitName name, Error *err)
{
	MultifdBlock *block = multifd->blocks;

	for (size_t i = 0; i < multifd->n_blocks; i++, block++)
		if (block->name_size == name.size && !memcmp(block->name, name.bytes, name.size))
			return &block->count;
	if (multifd->n_blocks == INSPECT_BLOCKS_MAX) {
		error_set(err, ERROR_LIMIT,
			  "multifd channel %u, byte %" PRIu64 ": more than %d RAM blocks",
			  multifd->stream.id, multifd->inspect->input.offset, INSPECT_BLOCKS_MAX);
		return NULL;
	}
	multifd->n_blocks++;
	memcpy(block->name, name.bytes, name.size);
	block->name_size = name.size;
	return &block->count;
}

static bool print_packet(MultifdInspect *multifd, const MultifdPacket *packet, Error *err)
{
	const uint64_t at = multifd->inspect->input.offset;
	Output *output = &multifd->inspect->output;

	output_begin(output, at, "packet");
	output_number(output, "number", packet->packet_num);
	output_flag(output, "sync", packet->sync);
	output_number(output, "pages", packet->normal_pages);
	output_number(output, "zero_pages", packet->zero_pages);
	output_number(output, "bytes", packet->payload_bytes);
	if (!output_end(output, err))
		return false;
	for (uint32_t i = 0; i < packet->normal_pages + packet->zero_pages; i++)
		if (!inspect_print_page(multifd->inspect, at + MULTIFD_OFFSETS_AT + 8 * (uint64_t)i,
					i < packet->normal_pages ? "page" : "zero",
					packet->block.bytes, packet->block.size,
					multifd_packet_offset(packet, i), err))
			return false;
	return true;
}

static void add_packet(PageCount *count, const MultifdPacket *packet, size_t header_size)
{
	count->pages += packet->normal_pages;
	count->zero_pages += packet->zero_pages;
	count->bytes += header_size + packet->payload_bytes;
}

static bool show_packet(MultifdInspect *multifd, const MultifdUnit *unit, Error *err)
{
	const MultifdPacket *packet = &unit->packet;
	PageCount *count = NULL;

	multifd->packets++;
	multifd->syncs += packet->sync;
	add_packet(&multifd->total, packet, unit->size_bytes);
	/* Packets without pages may repeat a name that means nothing. */
	if (packet->normal_pages || packet->zero_pages) {
		count = count_of_block(multifd, packet->block, err);
		if (!count)
			return false;
		add_packet(count, packet, unit->size_bytes);
	}
	return !multifd->inspect->pages || print_packet(multifd, packet, err);
}

static bool show_initial(MultifdInspect *multifd, const MultifdInitial *initial, Error *err)
{
	Output *output = &multifd->inspect->output;

	output_begin(output, multifd->inspect->input.offset, "initial");
	output_number(output, "id", initial->id);
	output_hex(output, "uuid", initial->uuid, MULTIFD_UUID_SIZE);
	return output_end(output, err);
}

static bool show_device_state(MultifdInspect *multifd, const MultifdDeviceState *state, Error *err)
{
	Output *output = &multifd->inspect->output;

	multifd->packets++;
	output_begin(output, multifd->inspect->input.offset, "device-state");
	output_name(output, "name", state->idstr.bytes, state->idstr.size);
	output_number(output, "instance", state->instance_id);
	output_number(output, "bytes", state->payload_bytes);
	return output_end(output, err);
}

static bool show_multifd(MultifdInspect *multifd, const MultifdUnit *unit, Error *err)
{
	switch (unit->kind) {
	case MULTIFD_UNIT_INITIAL:
		return show_initial(multifd, &unit->initial, err);
	case MULTIFD_UNIT_PACKET:
		return show_packet(multifd, unit, err);
	case MULTIFD_UNIT_DEVICE_STATE:
		return show_device_state(multifd, &unit->device_state, err);
	case MULTIFD_UNIT_COMPRESSED:
		return decompressor_check(multifd->decompressor, unit->payload.bytes,
					  unit->size_bytes, unit->payload.expanded_bytes, err) ||
		       error_prefix(err, "multifd channel %u, byte %" PRIu64, multifd->stream.id,
				    multifd->inspect->input.offset);
	case MULTIFD_UNIT_PAYLOAD:
		break;
	}
	return true;
}

static bool print_multifd_summary(MultifdInspect *multifd, Error *err)
{
	Output *output = &multifd->inspect->output;

	for (size_t i = 0; i < multifd->n_blocks; i++)
		if (!inspect_print_count(multifd->inspect, OUTPUT_NOWHERE, multifd->blocks[i].name,
					 multifd->blocks[i].name_size, &multifd->blocks[i].count,
					 err))
			return false;
	output_begin(output, OUTPUT_NOWHERE, "summary");
	output_word(output, "channel", "multifd");
	output_number(output, "id", multifd->stream.id);
	output_number(output, "bytes", multifd->inspect->input.offset);
	output_number(output, "packets", multifd->packets);
	output_number(output, "syncs", multifd->syncs);
	output_name(output, "compression", compression_words[multifd->stream.options.compression],
		    strlen(compression_words[multifd->stream.options.compression]));
	output_number(output, "pages", multifd->total.pages);
	output_number(output, "zero_pages", multifd->total.zero_pages);
	return output_end(output, err);
}

static bool truncated(const Inspect *inspect, const char *channel, Error *err)
{
	const uint64_t at = inspect->input.offset;
	const size_t left = inspect_input_size(&inspect->input);

	if (!left)
		return error_set(err, ERROR_PEER,
				 "%s, byte %" PRIu64 ": the file ends where more must follow",
				 channel, at);
	return error_set(err, ERROR_PEER,
			 "%s, byte %" PRIu64 ": the file ends inside what begins at byte %" PRIu64,
			 channel, at + left, at);
}

static bool run_multifd(MultifdInspect *multifd, Error *err)
{
	InspectInput *input = &multifd->inspect->input;
	MultifdUnit unit;

	for (;;) {
		switch (multifd_stream_next(&multifd->stream, inspect_input_window(input),
					    inspect_input_size(input), &unit, err)) {
		case UNIT_BAD:
			return false;
		case UNIT_WHOLE:
			if (!show_multifd(multifd, &unit, err))
				return false;
			inspect_input_skip(input, unit.size_bytes);
			break;
		case UNIT_MORE:
			if (input->ended)
				return (!inspect_input_size(input) &&
					multifd_stream_may_end(&multifd->stream)) ||
				       truncated(multifd->inspect, "multifd channel", err);
			if (!inspect_input_fill(input, err))
				return false;
			break;
		}
	}
}

bool inspect_multifd(Inspect *inspect, Error *err)
{
	AUTO_MULTIFD_INSPECT MultifdInspect *multifd = calloc(1, sizeof(*multifd));
	MultifdOptions options = { .page_size = INSPECT_PAGE_SIZE,
				   .device_state_max_bytes = DEVICE_STATE_MAX };

	if (!multifd)
		return error_set(err, ERROR_INTERNAL, "no memory to read a multifd channel");
	if (!inspect_input_need(&inspect->input, INSPECT_WINDOW, err))
		return false;
	multifd->inspect = inspect;
	options.compression = detect_compression(inspect_input_window(&inspect->input),
						 inspect_input_size(&inspect->input));
	if (options.compression != MULTIFD_COMPRESSION_NONE) {
		multifd->decompressor = decompressor_new(options.compression, err);
		if (!multifd->decompressor)
			return false;
	}
	multifd_stream_init(&multifd->stream, &options);
	return run_multifd(multifd, err) && print_multifd_summary(multifd, err);
}

/* --- the return path --- */

static const char *const message_words[] = {
	[RETURN_PATH_SHUT] = "SHUT",
	[RETURN_PATH_PONG] = "PONG",
	[RETURN_PATH_REQ_PAGES_ID] = "REQ_PAGES_ID",
	[RETURN_PATH_REQ_PAGES] = "REQ_PAGES",
	[RETURN_PATH_RECV_BITMAP] = "RECV_BITMAP",
	[RETURN_PATH_BITMAP_BYTES] = "",
	[RETURN_PATH_BITMAP_END] = "BITMAP_END",
	[RETURN_PATH_RESUME_ACK] = "RESUME_ACK",
	[RETURN_PATH_SWITCHOVER_ACK] = "SWITCHOVER_ACK",
};

static void print_message_data(Output *output, const ReturnPathUnit *unit)
{
	switch (unit->kind) {
	case RETURN_PATH_SHUT:
		output_number(output, "status", unit->value);
		break;
	case RETURN_PATH_PONG:
		output_number(output, "cookie", unit->value);
		break;
	case RETURN_PATH_REQ_PAGES_ID:
		output_name(output, "block", unit->block.bytes, unit->block.size);
		output_number(output, "offset", unit->start);
		output_number(output, "bytes", unit->length);
		break;
	case RETURN_PATH_REQ_PAGES:
		output_number(output, "offset", unit->start);
		output_number(output, "bytes", unit->length);
		break;
	case RETURN_PATH_RECV_BITMAP:
		output_name(output, "block", unit->block.bytes, unit->block.size);
		output_number(output, "bytes", unit->bitmap_bytes);
		break;
	case RETURN_PATH_BITMAP_BYTES:
	case RETURN_PATH_BITMAP_END:
	case RETURN_PATH_RESUME_ACK:
	case RETURN_PATH_SWITCHOVER_ACK:
		break;
	}
}

static bool show_message(Inspect *inspect, const ReturnPathUnit *unit, uint64_t *n_messages,
			 Error *err)
{
	Output *output = &inspect->output;

	if (unit->kind == RETURN_PATH_BITMAP_BYTES)
		return true;
	*n_messages += unit->kind != RETURN_PATH_BITMAP_END;
	output_begin(output, inspect->input.offset, "message");
	output_word(output, "name", message_words[unit->kind]);
	print_message_data(output, unit);
	return output_end(output, err);
}

static bool print_return_summary(Inspect *inspect, uint64_t n_messages, Error *err)
{
	Output *output = &inspect->output;

	output_begin(output, OUTPUT_NOWHERE, "summary");
	output_word(output, "channel", "return-path");
	output_number(output, "bytes", inspect->input.offset);
	output_number(output, "messages", n_messages);
	return output_end(output, err);
}

bool inspect_return_path(Inspect *inspect, Error *err)
{
	const ReturnPathOptions options = { .page_size = INSPECT_PAGE_SIZE,
					    .bitmap_max_bytes = BITMAP_MAX_BYTES };
	InspectInput *input = &inspect->input;
	ReturnPathStream stream;
	ReturnPathUnit unit;
	uint64_t n_messages = 0;

	return_path_init(&stream, &options);
	for (;;) {
		switch (return_path_next(&stream, inspect_input_window(input),
					 inspect_input_size(input), &unit, err)) {
		case UNIT_BAD:
			return false;
		case UNIT_WHOLE:
			if (!show_message(inspect, &unit, &n_messages, err))
				return false;
			inspect_input_skip(input, unit.size_bytes);
			break;
		case UNIT_MORE:
			if (input->ended && !inspect_input_size(input) &&
			    return_path_may_end(&stream))
				return print_return_summary(inspect, n_messages, err);
			if (input->ended)
				return truncated(inspect, "return path", err);
			if (!inspect_input_fill(input, err))
				return false;
			break;
		}
	}
}
