/* SPDX-License-Identifier: Apache-2.0 */
/* Replies of the server: simple ones, structured chunks, and chunks with extended headers. */
#include <assert.h>

#include "nbd/nbd_internal.h"

enum {
	ERROR_TEXT_MAX = 1024,
	ERROR_FIXED = 6,	 /* error and the length of its text */
	ERROR_OFFSET_FIXED = 14, /* and the offset behind it */
	CHUNK_HELD_MAX = ERROR_OFFSET_FIXED + ERROR_TEXT_MAX,
	DATA_FIXED = 8, /* offset */
	HOLE_SIZE = 12,
	STATUS_SIZE = 4 + 8,
	STATUS_EXT_SIZE = 4 + 4 + 16,
};
static_assert(NBD_EXTENDED_REPLY_SIZE + CHUNK_HELD_MAX <= NBD_GUARD_WINDOW, "fits a window");

/* One chunk, of either form. */
typedef struct Chunk {
	uint16_t flags, type;
	uint64_t cookie, length;
	size_t header_size;
	Reader payload; /* what a judge wants of it, all there */
	NbdRequest *request;
} Chunk;

/* proto.md, "Error values". */
static bool is_error(uint32_t error)
{
	static const uint32_t errors[] = { 1, 5, 12, 22, 28, 75, 95, 108 };

	for (size_t i = 0; i < ARRAY_SIZE(errors); i++)
		if (errors[i] == error)
			return true;
	return false;
}

static bool is_done(const Chunk *chunk)
{
	return chunk->flags & NBD_CHUNK_DONE;
}

static NbdRequest *find_request(NbdGuard *guard, uint64_t cookie, Error *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(guard->requests); i++) {
		NbdRequest *request = &guard->requests[i];

		if (!request->used || request->cookie != cookie)
			continue;
		if (!request->sending)
			return request;
		nbd_violation(guard, NBD_FROM_SERVER, NBD_RULE_REPLY_COOKIE, err,
			      "a reply to a %s whose payload is still being sent",
			      nbd_command_name(request->command));
		return NULL;
	}
	nbd_violation(guard, NBD_FROM_SERVER, NBD_RULE_REPLY_COOKIE, err,
		      "a reply with cookie 0x%llx, which no request has",
		      (unsigned long long)cookie);
	return NULL;
}

static bool refuse_kind(const NbdGuard *guard, const NbdRequest *request, unsigned int type,
			uint64_t length, Error *err)
{
	return nbd_violation(guard, NBD_FROM_SERVER, NBD_RULE_REPLY_KIND, err,
			     "a chunk of type %u with %llu bytes for a %s of %llu", type,
			     (unsigned long long)length, nbd_command_name(request->command),
			     (unsigned long long)request->length);
}

static bool judge_error(const NbdGuard *guard, uint32_t error, Error *err)
{
	return is_error(error) ||
	       nbd_violation(guard, NBD_FROM_SERVER, NBD_RULE_REPLY_ERROR, err,
			     "error %lu is none of the protocol", (unsigned long)error);
}

/* Payload of a reply follows its header. */
static void begin_payload(NbdGuard *guard, NbdRequest *request, uint64_t size, bool is_last)
{
	NbdStream *stream = &guard->streams[NBD_FROM_SERVER];

	stream->payload_left = size;
	stream->payload_of = request;
	stream->payload_last = is_last;
}

static bool judge_simple(NbdGuard *guard, const uint8_t *bytes, size_t size, size_t *ret_size,
			 Error *err)
{
	NbdRequest *request;
	uint32_t error;

	if (size < NBD_SIMPLE_REPLY_SIZE)
		return true;
	error = load_be32(bytes + 4);
	request = find_request(guard, load_be64(bytes + 8), err);
	if (!request)
		return false;
	/* Where replies are structured, one with a payload must be, and its errors too. */
	if (request->failed || request->command == NBD_COMMAND_BLOCK_STATUS ||
	    (request->command == NBD_COMMAND_READ && guard->mode != NBD_MODE_SIMPLE))
		return nbd_violation(guard, NBD_FROM_SERVER, NBD_RULE_REPLY_KIND, err,
				     "a simple reply to a %s, where chunks were agreed or came",
				     nbd_command_name(request->command));
	if (error && !judge_error(guard, error, err))
		return false;
	*ret_size = NBD_SIMPLE_REPLY_SIZE;
	if (error)
		guard->counters.errors++;
	if (!error && request->command == NBD_COMMAND_READ)
		begin_payload(guard, request, request->length, true);
	else
		nbd_request_release(guard, request);
	return true;
}

/* Content of a READ goes on where the chunk before ended: so none overlaps, and none is missing
 * when the last was there. QEMU's server sends them so; the protocol would allow any order. */
static bool judge_content(NbdGuard *guard, const Chunk *chunk, uint64_t offset, uint64_t size,
			  Error *err)
{
	NbdRequest *request = chunk->request;

	if (offset != request->offset + request->answered || !size ||
	    size > request->length - request->answered || request->failed)
		return nbd_violation(guard, NBD_FROM_SERVER, NBD_RULE_REPLY_RANGE, err,
				     "%llu bytes at %llu, where %llu at %llu are due%s",
				     (unsigned long long)size, (unsigned long long)offset,
				     (unsigned long long)(request->length - request->answered),
				     (unsigned long long)(request->offset + request->answered),
				     request->failed ? ", behind an error" : "");
	request->answered += size;
	return true;
}

static bool judge_data(NbdGuard *guard, Chunk *chunk, Error *err)
{
	uint64_t size = chunk->length - DATA_FIXED;

	return judge_content(guard, chunk, load_be64(chunk->payload.data), size, err);
}

static bool judge_hole(NbdGuard *guard, Chunk *chunk, Error *err)
{
	uint32_t size = load_be32(chunk->payload.data + DATA_FIXED);

	if (!judge_content(guard, chunk, load_be64(chunk->payload.data), size, err))
		return false;
	guard->counters.read_bytes += size;
	return true;
}

static bool judge_extent(NbdGuard *guard, Chunk *chunk, uint32_t id, uint64_t size, uint64_t status,
			 Error *err)
{
	NbdRequest *request = chunk->request;

	if (id != guard->context_id || request->answered || request->failed || !size ||
	    size > request->length || status & ~(uint64_t)NBD_STATUS_ALL)
		return nbd_violation(
			guard, NBD_FROM_SERVER, NBD_RULE_REPLY_STATUS, err,
			"an extent of %llu bytes, status 0x%llx, context %lu, for %llu "
			"bytes%s",
			(unsigned long long)size, (unsigned long long)status, (unsigned long)id,
			(unsigned long long)request->length,
			request->answered || request->failed ? ", a second answer" : "");
	request->answered = size;
	return true;
}

static bool judge_status(NbdGuard *guard, Chunk *chunk, Error *err)
{
	const uint8_t *p = chunk->payload.data;

	return judge_extent(guard, chunk, load_be32(p), load_be32(p + 4), load_be32(p + 8), err);
}

static bool judge_status_ext(NbdGuard *guard, Chunk *chunk, Error *err)
{
	const uint8_t *p = chunk->payload.data;

	if (load_be32(p + 4) != 1)
		return nbd_violation(guard, NBD_FROM_SERVER, NBD_RULE_REPLY_STATUS, err,
				     "%lu extents, where one was asked for",
				     (unsigned long)load_be32(p + 4));
	return judge_extent(guard, chunk, load_be32(p), load_be64(p + 8), load_be64(p + 16), err);
}

static bool judge_error_chunk(NbdGuard *guard, Chunk *chunk, Error *err)
{
	const uint8_t *p = chunk->payload.data;
	size_t fixed = chunk->type == NBD_CHUNK_ERROR ? ERROR_FIXED : ERROR_OFFSET_FIXED;
	const NbdRequest *request = chunk->request;
	uint64_t at;

	if (!judge_error(guard, load_be32(p), err))
		return false;
	if (load_be16(p + 4) != chunk->length - fixed ||
	    !nbd_is_text(p + ERROR_FIXED, chunk->length - fixed))
		return nbd_violation(guard, NBD_FROM_SERVER, NBD_RULE_REPLY_ERROR, err,
				     "an error's text of %u bytes in %llu, or not printable",
				     load_be16(p + 4), (unsigned long long)chunk->length - fixed);
	if (chunk->type == NBD_CHUNK_ERROR_OFFSET) {
		at = load_be64(p + chunk->length - 8);
		if (at < request->offset || at - request->offset >= request->length)
			return nbd_violation(guard, NBD_FROM_SERVER, NBD_RULE_REPLY_ERROR, err,
					     "an error at %llu, outside its request",
					     (unsigned long long)at);
	}
	if (request->failed)
		return nbd_violation(guard, NBD_FROM_SERVER, NBD_RULE_REPLY_ERROR, err,
				     "a second error for one request");
	chunk->request->failed = true;
	guard->counters.errors++;
	return true;
}

static bool judge_none(NbdGuard *guard, Chunk *chunk, Error *err)
{
	return is_done(chunk) ||
	       refuse_kind(guard, chunk->request, chunk->type, chunk->length, err);
}

typedef struct ChunkRow {
	uint16_t type;
	bool (*judge)(NbdGuard *guard, Chunk *chunk, Error *err);
	uint32_t commands; /* a bit for each that it may answer */
	uint64_t length_min, length_max;
	size_t held;   /* so much of it must be there to judge; 0: all of it */
	uint8_t modes; /* a bit for each */
} ChunkRow;

#define BIT(number) (1U << (number))
enum {
	ANY_COMMAND = BIT(NBD_COMMAND_COUNT) - 1,
	ANY_CHUNKS = BIT(NBD_MODE_STRUCTURED) | BIT(NBD_MODE_EXTENDED),
};

static const ChunkRow chunks[] = {
	{ NBD_CHUNK_NONE, judge_none, ANY_COMMAND, 0, 0, 0, ANY_CHUNKS },
	{ NBD_CHUNK_OFFSET_DATA, judge_data, BIT(NBD_COMMAND_READ), DATA_FIXED + 1,
	  DATA_FIXED + NBD_GUARD_LENGTH_MAX, DATA_FIXED, ANY_CHUNKS },
	{ NBD_CHUNK_OFFSET_HOLE, judge_hole, BIT(NBD_COMMAND_READ), HOLE_SIZE, HOLE_SIZE, 0,
	  ANY_CHUNKS },
	{ NBD_CHUNK_BLOCK_STATUS, judge_status, BIT(NBD_COMMAND_BLOCK_STATUS), STATUS_SIZE,
	  STATUS_SIZE, 0, BIT(NBD_MODE_STRUCTURED) },
	{ NBD_CHUNK_BLOCK_STATUS_EXT, judge_status_ext, BIT(NBD_COMMAND_BLOCK_STATUS),
	  STATUS_EXT_SIZE, STATUS_EXT_SIZE, 0, BIT(NBD_MODE_EXTENDED) },
	{ NBD_CHUNK_ERROR, judge_error_chunk, ANY_COMMAND, ERROR_FIXED,
	  ERROR_FIXED + ERROR_TEXT_MAX, 0, ANY_CHUNKS },
	{ NBD_CHUNK_ERROR_OFFSET, judge_error_chunk, ANY_COMMAND, ERROR_OFFSET_FIXED,
	  ERROR_OFFSET_FIXED + ERROR_TEXT_MAX, 0, ANY_CHUNKS },
};

static const ChunkRow *find_row(NbdMode mode, const Chunk *chunk)
{
	for (size_t i = 0; i < ARRAY_SIZE(chunks); i++)
		if (chunks[i].type == chunk->type)
			return chunks[i].modes & BIT(mode) &&
					       chunks[i].commands & BIT(chunk->request->command) &&
					       chunk->length >= chunks[i].length_min &&
					       chunk->length <= chunks[i].length_max
				       ? &chunks[i]
				       : NULL;
	return NULL;
}

/* With its last chunk a request that did not fail must have been answered. */
static bool judge_done(const NbdGuard *guard, const NbdRequest *request, Error *err)
{
	if (request->failed)
		return true;
	if (request->command == NBD_COMMAND_READ && request->answered != request->length)
		return nbd_violation(guard, NBD_FROM_SERVER, NBD_RULE_REPLY_RANGE, err,
				     "%llu bytes answer a READ of %llu",
				     (unsigned long long)request->answered,
				     (unsigned long long)request->length);
	if (request->command == NBD_COMMAND_BLOCK_STATUS && !request->answered)
		return nbd_violation(guard, NBD_FROM_SERVER, NBD_RULE_REPLY_STATUS, err,
				     "a BLOCK_STATUS is answered without an extent");
	return true;
}

static bool judge_chunk(NbdGuard *guard, Chunk *chunk, const uint8_t *bytes, size_t size,
			size_t *ret_size, Error *err)
{
	const ChunkRow *row = find_row(guard->mode, chunk);
	NbdRequest *request = chunk->request;
	size_t held;

	if (!row || chunk->flags & ~(unsigned int)NBD_CHUNK_DONE)
		return refuse_kind(guard, request, chunk->type, chunk->length, err);
	held = row->held ? row->held : (size_t)chunk->length;
	if (size - chunk->header_size < held)
		return true;
	chunk->payload = reader_of(bytes + chunk->header_size, held);
	if (!row->judge(guard, chunk, err) || (is_done(chunk) && !judge_done(guard, request, err)))
		return false;
	*ret_size = chunk->header_size + held;
	if (chunk->length > held)
		begin_payload(guard, request, chunk->length - held, is_done(chunk));
	else if (is_done(chunk))
		nbd_request_release(guard, request);
	return true;
}

static bool judge_chunked(NbdGuard *guard, const uint8_t *bytes, size_t size, size_t *ret_size,
			  Error *err)
{
	bool extended = guard->mode == NBD_MODE_EXTENDED;
	Chunk chunk = {
		.header_size = extended ? NBD_EXTENDED_REPLY_SIZE : NBD_STRUCTURED_REPLY_SIZE,
	};

	if (size < chunk.header_size)
		return true;
	chunk.flags = load_be16(bytes + 4);
	chunk.type = load_be16(bytes + 6);
	chunk.length = extended ? load_be64(bytes + 24) : load_be32(bytes + 16);
	chunk.request = find_request(guard, load_be64(bytes + 8), err);
	if (!chunk.request)
		return false;
	if (extended && load_be64(bytes + 16) != chunk.request->offset)
		return nbd_violation(guard, NBD_FROM_SERVER, NBD_RULE_REPLY_KIND, err,
				     "a reply for offset %llu to a %s at %llu",
				     (unsigned long long)load_be64(bytes + 16),
				     nbd_command_name(chunk.request->command),
				     (unsigned long long)chunk.request->offset);
	return judge_chunk(guard, &chunk, bytes, size, ret_size, err);
}

bool nbd_judge_reply(NbdGuard *guard, const uint8_t *bytes, size_t size, size_t *ret_size,
		     Error *err)
{
	uint32_t magic;

	if (size < sizeof(magic))
		return true;
	magic = load_be32(bytes);
	if (magic == NBD_SIMPLE_REPLY_MAGIC && guard->mode != NBD_MODE_EXTENDED)
		return judge_simple(guard, bytes, size, ret_size, err);
	if ((magic == NBD_STRUCTURED_REPLY_MAGIC && guard->mode == NBD_MODE_STRUCTURED) ||
	    (magic == NBD_EXTENDED_REPLY_MAGIC && guard->mode == NBD_MODE_EXTENDED))
		return judge_chunked(guard, bytes, size, ret_size, err);
	return nbd_violation(guard, NBD_FROM_SERVER, NBD_RULE_MAGIC, err,
			     "0x%08lx is no reply as agreed", (unsigned long)magic);
}
