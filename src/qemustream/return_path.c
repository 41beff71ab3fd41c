/* SPDX-License-Identifier: Apache-2.0 */
#include "qemustream/return_path.h"

#include <assert.h>
#include <inttypes.h>

#include "qemustream/grammar.h"

enum {
	HEADER_SIZE = 4,      /* be16 type, be16 length */
	REQUEST_SIZE = 12,    /* be64 start, be32 length */
	BITMAP_SIZE_SIZE = 8, /* behind the message, outside its length */
	BITMAP_END_SIZE = 8,
	RESUME_ACK_VALUE = 1,
};

/* RAMBLOCK_RECV_BITMAP_ENDING of migration/ram.c */
static const uint64_t bitmap_end = UINT64_C(0x0123456789abcdef);

enum { STATE_MESSAGE, STATE_BITMAP, STATE_BITMAP_END, STATE_SHUT, STATE_REFUSED, STATE_COUNT };

/* A message's data, whole: `size` bytes, within the type's bounds. */
typedef bool (*Take)(ReturnPathStream *stream, const uint8_t *data, size_t size,
		     ReturnPathUnit *unit, Error *err);

typedef struct MessageType {
	const char *name;
	ReturnPathKind kind;
	uint16_t min_size, max_size; /* of the data */
	uint16_t extra_size;	     /* bytes behind the data that the length does not count */
	Take take;
} MessageType;

void return_path_init(ReturnPathStream *stream, const ReturnPathOptions *options)
{
	assert(options->page_size && !(options->page_size & (options->page_size - 1)));
	*stream = (ReturnPathStream){ .options = *options, .state = STATE_MESSAGE };
}

bool return_path_may_end(const ReturnPathStream *stream)
{
	return stream->state == STATE_MESSAGE || stream->state == STATE_SHUT;
}

bool return_path_may_recover(const ReturnPathStream *stream)
{
	return stream->state != STATE_SHUT && stream->state != STATE_REFUSED;
}

/* A counted string that is all of `size` bytes; size is at least 2. */
static bool read_block(const uint8_t *data, size_t size, ReturnPathUnit *unit, Error *err)
{
	Reader reader = reader_of(data, size);

	if (data[0] && data[0] != size - 1)
		return error_set(err, ERROR_PEER, "a name of %u bytes where %zu are", data[0],
				 size - 1);
	return grammar_get_name(&reader, "a RAM block", &unit->block, err) == UNIT_WHOLE;
}

static bool take_nothing(ReturnPathStream *stream, const uint8_t *data, size_t size,
			 ReturnPathUnit *unit, Error *err)
{
	(void)stream;
	(void)data;
	(void)size;
	(void)unit;
	(void)err;
	return true;
}

static bool take_value(ReturnPathStream *stream, const uint8_t *data, size_t size,
		       ReturnPathUnit *unit, Error *err)
{
	(void)stream;
	(void)size;
	(void)err;
	unit->value = load_be32(data);
	return true;
}

static bool take_shut(ReturnPathStream *stream, const uint8_t *data, size_t size,
		      ReturnPathUnit *unit, Error *err)
{
	stream->state = STATE_SHUT;
	return take_value(stream, data, size, unit, err);
}

static bool take_resume_ack(ReturnPathStream *stream, const uint8_t *data, size_t size,
			    ReturnPathUnit *unit, Error *err)
{
	(void)take_value(stream, data, size, unit, err);
	if (unit->value != RESUME_ACK_VALUE)
		return error_set(err, ERROR_PEER, "value %" PRIu32 ", only %d is known",
				 unit->value, RESUME_ACK_VALUE);
	return true;
}

static bool take_request(ReturnPathStream *stream, const uint8_t *data, size_t size,
			 ReturnPathUnit *unit, Error *err)
{
	uint32_t page_size = stream->options.page_size;

	(void)size;
	unit->start = load_be64(data);
	unit->length = load_be32(data + 8);
	if (!stream->block_named)
		return error_set(err, ERROR_PEER, "a request before any that names its block");
	if (unit->start & (page_size - 1))
		return error_set(err, ERROR_PEER,
				 "start 0x%" PRIx64 " is no multiple of 0x%" PRIx32, unit->start,
				 page_size);
	if (!unit->length || (unit->length & (page_size - 1)))
		return error_set(err, ERROR_PEER,
				 "length 0x%" PRIx32 " is not one or more times 0x%" PRIx32,
				 unit->length, page_size);
	return true;
}

static bool take_request_id(ReturnPathStream *stream, const uint8_t *data, size_t size,
			    ReturnPathUnit *unit, Error *err)
{
	if (!read_block(data + REQUEST_SIZE, size - REQUEST_SIZE, unit, err))
		return false;
	stream->block_named = true;
	return take_request(stream, data, REQUEST_SIZE, unit, err);
}

static bool take_bitmap(ReturnPathStream *stream, const uint8_t *data, size_t size,
			ReturnPathUnit *unit, Error *err)
{
	if (!read_block(data, size, unit, err))
		return false;
	unit->bitmap_bytes = load_be64(data + size);
	if (!unit->bitmap_bytes || unit->bitmap_bytes % 8 ||
	    unit->bitmap_bytes > stream->options.bitmap_max_bytes)
		return error_set(err, ERROR_PEER,
				 "a bitmap of %" PRIu64 " bytes, a multiple of 8 up to %" PRIu64,
				 unit->bitmap_bytes, stream->options.bitmap_max_bytes);
	stream->bitmap_left = unit->bitmap_bytes;
	stream->state = STATE_BITMAP;
	return true;
}

/* By enum mig_rp_message_type of migration/migration.h; 0 is no message. */
static const MessageType types[] = {
	[1] = { "SHUT", RETURN_PATH_SHUT, 4, 4, 0, take_shut },
	[2] = { "PONG", RETURN_PATH_PONG, 4, 4, 0, take_value },
	[3] = { "REQ_PAGES_ID", RETURN_PATH_REQ_PAGES_ID, REQUEST_SIZE + 2,
		REQUEST_SIZE + 1 + UNIT_NAME_MAX, 0, take_request_id },
	[4] = { "REQ_PAGES", RETURN_PATH_REQ_PAGES, REQUEST_SIZE, REQUEST_SIZE, 0, take_request },
	[5] = { "RECV_BITMAP", RETURN_PATH_RECV_BITMAP, 2, 1 + UNIT_NAME_MAX, BITMAP_SIZE_SIZE,
		take_bitmap },
	[6] = { "RESUME_ACK", RETURN_PATH_RESUME_ACK, 4, 4, 0, take_resume_ack },
	[7] = { "SWITCHOVER_ACK", RETURN_PATH_SWITCHOVER_ACK, 0, 0, 0, take_nothing },
};

/* One function for each state; none looks past `size`. */
typedef UnitResult (*Step)(ReturnPathStream *stream, const uint8_t *window, size_t size,
			   ReturnPathUnit *unit, Error *err);

static UnitResult next_message(ReturnPathStream *stream, const uint8_t *window, size_t size,
			       ReturnPathUnit *unit, Error *err)
{
	const MessageType *type;
	uint16_t number, length;

	if (size < HEADER_SIZE)
		return UNIT_MORE;
	number = load_be16(window);
	length = load_be16(window + 2);
	if (number >= ARRAY_SIZE(types) || !types[number].name) {
		error_set(err, ERROR_PEER, "message of type %u, known are 1..%zu", number,
			  ARRAY_SIZE(types) - 1);
		return UNIT_BAD;
	}
	type = &types[number];
	if (length < type->min_size || length > type->max_size) {
		error_set(err, ERROR_PEER, "%s of %u bytes, must have %u..%u", type->name, length,
			  type->min_size, type->max_size);
		return UNIT_BAD;
	}
	unit->kind = type->kind;
	unit->size_bytes = (size_t)HEADER_SIZE + length + type->extra_size;
	if (size < unit->size_bytes)
		return UNIT_MORE;
	if (type->take(stream, window + HEADER_SIZE, length, unit, err))
		return UNIT_WHOLE;
	error_prefix(err, "%s", type->name);
	return UNIT_BAD;
}

static UnitResult next_bitmap(ReturnPathStream *stream, const uint8_t *window, size_t size,
			      ReturnPathUnit *unit, Error *err)
{
	(void)window;
	(void)err;
	if (!size)
		return UNIT_MORE;
	unit->kind = RETURN_PATH_BITMAP_BYTES;
	unit->size_bytes = size < stream->bitmap_left ? size : (size_t)stream->bitmap_left;
	stream->bitmap_left -= unit->size_bytes;
	unit->bitmap_bytes = stream->bitmap_left;
	if (!stream->bitmap_left)
		stream->state = STATE_BITMAP_END;
	return UNIT_WHOLE;
}

static UnitResult next_bitmap_end(ReturnPathStream *stream, const uint8_t *window, size_t size,
				  ReturnPathUnit *unit, Error *err)
{
	if (size < BITMAP_END_SIZE)
		return UNIT_MORE;
	if (load_be64(window) != bitmap_end) {
		error_set(err, ERROR_PEER,
			  "0x%016" PRIx64 " behind a bitmap, must be 0x%016" PRIx64,
			  load_be64(window), bitmap_end);
		return UNIT_BAD;
	}
	unit->kind = RETURN_PATH_BITMAP_END;
	unit->size_bytes = BITMAP_END_SIZE;
	stream->state = STATE_MESSAGE;
	return UNIT_WHOLE;
}

static UnitResult next_after_shut(ReturnPathStream *stream, const uint8_t *window, size_t size,
				  ReturnPathUnit *unit, Error *err)
{
	(void)stream;
	(void)window;
	(void)unit;
	if (!size)
		return UNIT_MORE;
	error_set(err, ERROR_PEER, "%zu bytes behind SHUT, which is the last message", size);
	return UNIT_BAD;
}

static UnitResult next_refused(ReturnPathStream *stream, const uint8_t *window, size_t size,
			       ReturnPathUnit *unit, Error *err)
{
	(void)stream;
	(void)window;
	(void)size;
	(void)unit;
	error_set(err, ERROR_PEER, "what came here was refused before");
	return UNIT_BAD;
}

static const Step steps[] = {
	[STATE_MESSAGE] = next_message,	      [STATE_BITMAP] = next_bitmap,
	[STATE_BITMAP_END] = next_bitmap_end, [STATE_SHUT] = next_after_shut,
	[STATE_REFUSED] = next_refused,
};
static_assert(ARRAY_SIZE(steps) == STATE_COUNT, "a step for each state");

UnitResult return_path_next(ReturnPathStream *stream, const uint8_t *window, size_t size,
			    ReturnPathUnit *ret_unit, Error *err)
{
	UnitResult result;

	*ret_unit = (ReturnPathUnit){ 0 };
	result = steps[stream->state](stream, window, size, ret_unit, err);
	if (result == UNIT_WHOLE)
		stream->offset += ret_unit->size_bytes;
	if (result == UNIT_BAD) {
		stream->state = STATE_REFUSED;
		error_prefix(err, "return path, byte %" PRIu64, stream->offset);
	}
	return result;
}
