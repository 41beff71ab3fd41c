/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/nbd/talk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	SERVER_BIT = 0x8000,
	TURN_HEADER = 2,
	MESSAGE_MAX = 4096,
	HANDSHAKE = NBD_FIXED_NEWSTYLE | NBD_NO_ZEROES,
};

/* A message of bounded size, put together. */
typedef struct Message {
	uint8_t bytes[MESSAGE_MAX];
	size_t used;
} Message;

static void must(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "talk: %s\n", what);
	abort();
}

static void put(Message *message, const void *bytes, size_t size)
{
	must(size <= sizeof(message->bytes) - message->used, "a message too long");
	if (size)
		memcpy(message->bytes + message->used, bytes, size);
	message->used += size;
}

static void put16(Message *message, uint64_t value)
{
	uint8_t bytes[2];

	store_be16(bytes, (uint16_t)value);
	put(message, bytes, sizeof(bytes));
}

static void put32(Message *message, uint64_t value)
{
	uint8_t bytes[4];

	store_be32(bytes, (uint32_t)value);
	put(message, bytes, sizeof(bytes));
}

static void put64(Message *message, uint64_t value)
{
	uint8_t bytes[8];

	store_be64(bytes, value);
	put(message, bytes, sizeof(bytes));
}

static void say_message(Talk *talk, NbdFrom from, const Message *message)
{
	say(talk, from, message->bytes, message->used);
}

void talk_clear(Talk *talk)
{
	buffer_clear(&talk->bytes);
}

void say(Talk *talk, NbdFrom from, const void *bytes, size_t size)
{
	Error err = ERROR_INIT;

	must(size <= TALK_TURN_MAX, "a turn too long");
	must(buffer_put_be16(&talk->bytes,
			     (uint16_t)(size | (from == NBD_FROM_SERVER ? SERVER_BIT : 0)), &err) &&
		     buffer_put(&talk->bytes, bytes, size, &err),
	     err.text);
}

void say_greeting(Talk *talk, uint16_t flags)
{
	Message m = { .used = 0 };

	put64(&m, NBD_MAGIC);
	put64(&m, NBD_OPTION_MAGIC);
	put16(&m, flags);
	say_message(talk, NBD_FROM_SERVER, &m);
}

void say_client_flags(Talk *talk, uint32_t flags)
{
	Message m = { .used = 0 };

	put32(&m, flags);
	say_message(talk, NBD_FROM_CLIENT, &m);
}

void say_option(Talk *talk, uint32_t option, const void *data, size_t size)
{
	Message m = { .used = 0 };

	put64(&m, NBD_OPTION_MAGIC);
	put32(&m, option);
	put32(&m, size);
	put(&m, data, size);
	say_message(talk, NBD_FROM_CLIENT, &m);
}

void say_context(Talk *talk, const char *export_name, const char *context)
{
	Message m = { .used = 0 };

	put32(&m, strlen(export_name));
	put(&m, export_name, strlen(export_name));
	put32(&m, 1);
	put32(&m, strlen(context));
	put(&m, context, strlen(context));
	say_option(talk, NBD_OPTION_SET_META_CONTEXT, m.bytes, m.used);
}

void say_go(Talk *talk, const char *export_name, uint16_t infos, uint16_t info)
{
	Message m = { .used = 0 };

	put32(&m, strlen(export_name));
	put(&m, export_name, strlen(export_name));
	put16(&m, infos);
	for (uint16_t i = 0; i < infos; i++)
		put16(&m, info);
	say_option(talk, NBD_OPTION_GO, m.bytes, m.used);
}

void say_reply(Talk *talk, uint32_t option, uint32_t type, const void *data, size_t size)
{
	Message m = { .used = 0 };

	put64(&m, NBD_OPTION_REPLY_MAGIC);
	put32(&m, option);
	put32(&m, type);
	put32(&m, size);
	put(&m, data, size);
	say_message(talk, NBD_FROM_SERVER, &m);
}

void say_context_reply(Talk *talk, const char *context)
{
	Message m = { .used = 0 };

	put32(&m, TALK_CONTEXT_ID);
	put(&m, context, strlen(context));
	say_reply(talk, NBD_OPTION_SET_META_CONTEXT, NBD_REPLY_META_CONTEXT, m.bytes, m.used);
}

void say_export(Talk *talk, uint64_t size_bytes, uint16_t flags)
{
	Message m = { .used = 0 };

	put16(&m, NBD_INFO_EXPORT);
	put64(&m, size_bytes);
	put16(&m, flags);
	say_reply(talk, NBD_OPTION_GO, NBD_REPLY_INFO, m.bytes, m.used);
}

void say_block_sizes(Talk *talk, uint32_t least, uint32_t preferred, uint32_t most)
{
	Message m = { .used = 0 };

	put16(&m, NBD_INFO_BLOCK_SIZE);
	put32(&m, least);
	put32(&m, preferred);
	put32(&m, most);
	say_reply(talk, NBD_OPTION_GO, NBD_REPLY_INFO, m.bytes, m.used);
}

void talk_greet(Talk *talk)
{
	say_greeting(talk, HANDSHAKE);
	say_client_flags(talk, HANDSHAKE);
}

void talk_agree(Talk *talk, TalkMode mode)
{
	talk->mode = mode;
	talk_greet(talk);
	say_option(talk, NBD_OPTION_EXTENDED_HEADERS, NULL, 0);
	if (mode == TALK_EXTENDED)
		say_reply(talk, NBD_OPTION_EXTENDED_HEADERS, NBD_REPLY_ACK, NULL, 0);
	else
		say_reply(talk, NBD_OPTION_EXTENDED_HEADERS, NBD_REPLY_ERROR_BIT | 1, "no", 2);
	if (mode == TALK_STRUCTURED) {
		say_option(talk, NBD_OPTION_STRUCTURED_REPLY, NULL, 0);
		say_reply(talk, NBD_OPTION_STRUCTURED_REPLY, NBD_REPLY_ACK, NULL, 0);
	}
	if (mode == TALK_SIMPLE)
		return;
	say_context(talk, TALK_EXPORT, NBD_CONTEXT);
	say_context_reply(talk, NBD_CONTEXT);
	say_reply(talk, NBD_OPTION_SET_META_CONTEXT, NBD_REPLY_ACK, NULL, 0);
}

void talk_open(Talk *talk, TalkMode mode)
{
	talk_agree(talk, mode);
	say_go(talk, TALK_EXPORT, 1, NBD_INFO_BLOCK_SIZE);
	say_block_sizes(talk, 512, 4096, NBD_GUARD_LENGTH_MAX);
	say_export(talk, TALK_SIZE_BYTES, TALK_FLAGS);
	say_reply(talk, NBD_OPTION_GO, NBD_REPLY_ACK, NULL, 0);
}

void say_request(Talk *talk, uint16_t flags, uint16_t type, uint64_t cookie, uint64_t offset,
		 uint64_t length)
{
	Message m = { .used = 0 };

	put32(&m, talk->mode == TALK_EXTENDED ? NBD_EXTENDED_REQUEST_MAGIC : NBD_REQUEST_MAGIC);
	put16(&m, flags);
	put16(&m, type);
	put64(&m, cookie);
	put64(&m, offset);
	if (talk->mode == TALK_EXTENDED)
		put64(&m, length);
	else
		put32(&m, length);
	say_message(talk, NBD_FROM_CLIENT, &m);
}

void say_payload(Talk *talk, NbdFrom from, size_t size)
{
	static const uint8_t bytes[TALK_TURN_MAX];

	while (size) {
		size_t turn = size < sizeof(bytes) ? size : sizeof(bytes);

		say(talk, from, bytes, turn);
		size -= turn;
	}
}

void say_simple(Talk *talk, uint32_t error, uint64_t cookie)
{
	Message m = { .used = 0 };

	put32(&m, NBD_SIMPLE_REPLY_MAGIC);
	put32(&m, error);
	put64(&m, cookie);
	say_message(talk, NBD_FROM_SERVER, &m);
}

void say_chunk_header(Talk *talk, uint16_t flags, uint16_t type, uint64_t cookie, uint64_t offset,
		      uint64_t length)
{
	Message m = { .used = 0 };

	put32(&m,
	      talk->mode == TALK_EXTENDED ? NBD_EXTENDED_REPLY_MAGIC : NBD_STRUCTURED_REPLY_MAGIC);
	put16(&m, flags);
	put16(&m, type);
	put64(&m, cookie);
	if (talk->mode == TALK_EXTENDED) {
		put64(&m, offset);
		put64(&m, length);
	} else {
		put32(&m, length);
	}
	say_message(talk, NBD_FROM_SERVER, &m);
}

void say_chunk(Talk *talk, uint16_t flags, uint16_t type, uint64_t cookie, uint64_t offset,
	       const void *payload, size_t size)
{
	say_chunk_header(talk, flags, type, cookie, offset, size);
	say(talk, NBD_FROM_SERVER, payload, size);
}

void say_data(Talk *talk, uint16_t flags, uint64_t cookie, uint64_t offset, uint64_t at,
	      size_t size)
{
	uint8_t from[8];

	say_chunk_header(talk, flags, NBD_CHUNK_OFFSET_DATA, cookie, offset, sizeof(from) + size);
	store_be64(from, at);
	say(talk, NBD_FROM_SERVER, from, sizeof(from));
	say_payload(talk, NBD_FROM_SERVER, size);
}

void say_hole(Talk *talk, uint16_t flags, uint64_t cookie, uint64_t offset, uint64_t at,
	      uint32_t size)
{
	Message m = { .used = 0 };

	put64(&m, at);
	put32(&m, size);
	say_chunk(talk, flags, NBD_CHUNK_OFFSET_HOLE, cookie, offset, m.bytes, m.used);
}

void say_extent(Talk *talk, uint16_t flags, uint64_t cookie, uint64_t offset, uint32_t id,
		uint32_t size, uint32_t status)
{
	Message m = { .used = 0 };

	put32(&m, id);
	if (talk->mode == TALK_EXTENDED) {
		put32(&m, 1);
		put64(&m, size);
		put64(&m, status);
	} else {
		put32(&m, size);
		put32(&m, status);
	}
	say_chunk(talk, flags,
		  talk->mode == TALK_EXTENDED ? NBD_CHUNK_BLOCK_STATUS_EXT : NBD_CHUNK_BLOCK_STATUS,
		  cookie, offset, m.bytes, m.used);
}

void say_error(Talk *talk, uint16_t flags, uint64_t cookie, uint64_t offset, uint32_t error,
	       const char *text)
{
	Message m = { .used = 0 };

	put32(&m, error);
	put16(&m, strlen(text));
	put(&m, text, strlen(text));
	say_chunk(talk, flags, NBD_CHUNK_ERROR, cookie, offset, m.bytes, m.used);
}

void say_done(Talk *talk, uint64_t cookie, uint64_t offset)
{
	if (talk->mode == TALK_EXTENDED)
		say_chunk(talk, NBD_CHUNK_DONE, NBD_CHUNK_NONE, cookie, offset, NULL, 0);
	else
		say_simple(talk, 0, cookie);
}

/* --- playing it --- */

NbdGuardOptions talk_options(NbdFrom own, NbdAccess access)
{
	return (NbdGuardOptions){
		.own = own,
		.access = access,
		.export_name = TALK_EXPORT,
		.size_bytes = TALK_SIZE_BYTES,
	};
}

typedef struct Player {
	NbdGuard *guard;
	NbdFrom watched; /* NBD_FROM_COUNT: none */
	Buffer windows[NBD_FROM_COUNT];
	TalkResult *result;
} Player;

/* Shows one more piece of a direction; false once it was refused. */
static bool show(Player *player, NbdFrom from, const uint8_t *bytes, size_t size)
{
	Buffer *window = &player->windows[from];
	TalkResult *result = player->result;
	size_t taken = 0;
	bool good;

	if (from == player->watched) {
		good = nbd_guard_watch(player->guard, from, bytes, size, &result->err);
		result->taken[from] += good ? size : 0;
		return good;
	}
	must(buffer_put(window, bytes, size, &result->err), "a window without bound");
	if (!nbd_guard_take(player->guard, from, window->data, window->used, &taken, &result->err))
		return false;
	must(taken <= window->used, "more was taken than shown");
	buffer_consume(window, taken);
	must(window->used < NBD_GUARD_WINDOW, "a window that is too long was left");
	result->taken[from] += taken;
	result->left[from] = window->used;
	return true;
}

static bool show_turn(Player *player, NbdFrom from, const uint8_t *bytes, size_t size, size_t piece)
{
	while (size) {
		size_t step = piece && piece < size ? piece : size;

		if (!show(player, from, bytes, step))
			return false;
		bytes += step;
		size -= step;
	}
	return true;
}

void talk_play(NbdGuard *guard, const NbdGuardOptions *options, const uint8_t *bytes, size_t size,
	       size_t piece, bool watch, TalkResult *ret_result)
{
	enum { SHOWN_MAX = NBD_GUARD_WINDOW + TALK_TURN_MAX };
	Player player = {
		.guard = guard,
		.watched = watch ? options->own : NBD_FROM_COUNT,
		.windows = { BUFFER_INIT(SHOWN_MAX), BUFFER_INIT(SHOWN_MAX) },
		.result = ret_result,
	};
	bool good = true;

	*ret_result = (TalkResult){ .err = ERROR_INIT };
	while (good && size >= TURN_HEADER) {
		uint16_t header = load_be16(bytes);
		size_t turn = header & TALK_TURN_MAX;

		bytes += TURN_HEADER;
		size -= TURN_HEADER;
		turn = turn < size ? turn : size;
		good = show_turn(&player, header & SERVER_BIT ? NBD_FROM_SERVER : NBD_FROM_CLIENT,
				 bytes, turn, piece);
		bytes += turn;
		size -= turn;
	}
	ret_result->refused = !good;
	nbd_guard_counters(guard, &ret_result->counters);
	buffer_clear(&player.windows[NBD_FROM_CLIENT]);
	buffer_clear(&player.windows[NBD_FROM_SERVER]);
}
