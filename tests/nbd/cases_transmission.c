/* SPDX-License-Identifier: Apache-2.0 */
/* Requests and replies. */
#include "tests/nbd/cases.h"

/* A conversation with this export, block sizes and mode. */
static void open_with(Talk *talk, TalkMode mode, uint16_t flags, uint32_t least, uint32_t most)
{
	talk_agree(talk, mode);
	say_go(talk, TALK_EXPORT, 1, NBD_INFO_BLOCK_SIZE);
	say_block_sizes(talk, least, 4096, most);
	say_export(talk, TALK_SIZE_BYTES, flags);
	say_reply(talk, NBD_OPTION_GO, NBD_REPLY_ACK, NULL, 0);
}

/* One request and its good answer. */
static void exchange(Talk *talk, TalkMode mode, uint16_t flags, uint16_t command, uint64_t offset,
		     uint64_t length)
{
	talk_open(talk, mode);
	say_request(talk, flags, command, 1, offset, length);
	if (command == NBD_COMMAND_WRITE)
		say_payload(talk, NBD_FROM_CLIENT, (size_t)length);
	say_done(talk, 1, offset);
}

/* --- commands --- */

static void write_block(Talk *talk)
{
	exchange(talk, TALK_SIMPLE, NBD_COMMAND_FUA, NBD_COMMAND_WRITE, 512, 512);
}

static void write_extended(Talk *talk)
{
	exchange(talk, TALK_EXTENDED, NBD_COMMAND_PAYLOAD_LEN, NBD_COMMAND_WRITE, 512, 69632);
}

static void zeroes(Talk *talk)
{
	exchange(talk, TALK_EXTENDED, NBD_COMMAND_NO_HOLE | NBD_COMMAND_FAST_ZERO,
		 NBD_COMMAND_WRITE_ZEROES, 0, TALK_SIZE_BYTES);
}

static void trim(Talk *talk)
{
	exchange(talk, TALK_STRUCTURED, 0, NBD_COMMAND_TRIM, TALK_SIZE_BYTES - 512, 512);
}

static void flush(Talk *talk)
{
	exchange(talk, TALK_STRUCTURED, 0, NBD_COMMAND_FLUSH, 0, 0);
}

static void ask(Talk *talk, TalkMode mode, uint16_t flags, uint16_t command, uint64_t offset,
		uint64_t length)
{
	talk_open(talk, mode);
	say_request(talk, flags, command, 1, offset, length);
}

static void read_simple(Talk *talk)
{
	ask(talk, TALK_SIMPLE, 0, NBD_COMMAND_READ, 1024, 70144);
	say_simple(talk, 0, 1);
	say_payload(talk, NBD_FROM_SERVER, 70144);
	say_request(talk, 0, NBD_COMMAND_READ, 1, 1024, 512);
	say_simple(talk, 5, 1);
}

static void ask_read(Talk *talk)
{
	ask(talk, TALK_SIMPLE, 0, NBD_COMMAND_READ, 0, 512);
}

static void cache(Talk *talk)
{
	ask(talk, TALK_SIMPLE, 0, NBD_COMMAND_CACHE, 0, 512);
}

static void resize(Talk *talk)
{
	ask(talk, TALK_SIMPLE, 0, NBD_COMMAND_RESIZE, 0, 512);
}

static void command_unknown(Talk *talk)
{
	ask(talk, TALK_EXTENDED, 0, 9, 0, 512);
}

static void command_huge(Talk *talk)
{
	ask(talk, TALK_EXTENDED, 0, UINT16_MAX, 0, 512);
}

static void ask_of(Talk *talk, unsigned int missing, uint16_t flags, uint16_t command)
{
	open_with(talk, TALK_STRUCTURED, (uint16_t)(TALK_FLAGS & ~missing), 512,
		  NBD_GUARD_LENGTH_MAX);
	say_request(talk, flags, command, 1, 0, command == NBD_COMMAND_FLUSH ? 0 : 512);
}

static void trim_unannounced(Talk *talk)
{
	ask_of(talk, NBD_FLAG_SEND_TRIM, 0, NBD_COMMAND_TRIM);
}

static void zeroes_unannounced(Talk *talk)
{
	ask_of(talk, NBD_FLAG_SEND_WRITE_ZEROES, 0, NBD_COMMAND_WRITE_ZEROES);
}

static void flush_unannounced(Talk *talk)
{
	ask_of(talk, NBD_FLAG_SEND_FLUSH, 0, NBD_COMMAND_FLUSH);
}

static void status_unannounced(Talk *talk)
{
	ask(talk, TALK_SIMPLE, NBD_COMMAND_REQ_ONE, NBD_COMMAND_BLOCK_STATUS, 0, 512);
}

/* --- their flags --- */

static void fua_unannounced(Talk *talk)
{
	ask_of(talk, NBD_FLAG_SEND_FUA, NBD_COMMAND_FUA, NBD_COMMAND_TRIM);
}

static void fast_unannounced(Talk *talk)
{
	ask_of(talk, NBD_FLAG_SEND_FAST_ZERO, NBD_COMMAND_FAST_ZERO, NBD_COMMAND_WRITE_ZEROES);
}

static void fua_of_flush(Talk *talk)
{
	ask(talk, TALK_STRUCTURED, NBD_COMMAND_FUA, NBD_COMMAND_FLUSH, 0, 0);
}

static void df_of_read(Talk *talk)
{
	ask(talk, TALK_SIMPLE, NBD_COMMAND_DF, NBD_COMMAND_READ, 0, 512);
}

static void hole_of_write(Talk *talk)
{
	ask(talk, TALK_SIMPLE, NBD_COMMAND_NO_HOLE, NBD_COMMAND_WRITE, 0, 512);
}

static void payload_of_compact(Talk *talk)
{
	ask(talk, TALK_STRUCTURED, NBD_COMMAND_PAYLOAD_LEN, NBD_COMMAND_WRITE, 0, 512);
}

static void payload_of_status(Talk *talk)
{
	ask(talk, TALK_EXTENDED, NBD_COMMAND_REQ_ONE | NBD_COMMAND_PAYLOAD_LEN,
	    NBD_COMMAND_BLOCK_STATUS, 0, 512);
}

static void status_of_many(Talk *talk)
{
	ask(talk, TALK_EXTENDED, 0, NBD_COMMAND_BLOCK_STATUS, 0, 512);
}

static void disc_with_flag(Talk *talk)
{
	ask(talk, TALK_EXTENDED, NBD_COMMAND_FUA, NBD_COMMAND_DISC, 0, 0);
}

static void disc_plain(Talk *talk)
{
	ask(talk, TALK_EXTENDED, 0, NBD_COMMAND_DISC, 0, 0);
}

/* --- ranges --- */

static void write_last(Talk *talk)
{
	exchange(talk, TALK_EXTENDED, 0, NBD_COMMAND_WRITE, TALK_SIZE_BYTES - 512, 512);
}

static void write_past(Talk *talk)
{
	ask(talk, TALK_EXTENDED, 0, NBD_COMMAND_WRITE, TALK_SIZE_BYTES - 512, 1024);
}

static void write_behind(Talk *talk)
{
	ask(talk, TALK_EXTENDED, 0, NBD_COMMAND_WRITE, TALK_SIZE_BYTES, 512);
}

static void write_overflow(Talk *talk)
{
	ask(talk, TALK_EXTENDED, 0, NBD_COMMAND_WRITE, UINT64_MAX - 511, 1024);
}

static void write_overflow_length(Talk *talk)
{
	ask(talk, TALK_EXTENDED, 0, NBD_COMMAND_WRITE, 512, UINT64_MAX - 511);
}

static void write_empty(Talk *talk)
{
	ask(talk, TALK_EXTENDED, 0, NBD_COMMAND_WRITE, 0, 0);
}

static void write_misaligned(Talk *talk)
{
	ask(talk, TALK_EXTENDED, 0, NBD_COMMAND_WRITE, 1, 512);
}

static void write_part(Talk *talk)
{
	ask(talk, TALK_EXTENDED, 0, NBD_COMMAND_WRITE, 0, 511);
}

static void zeroes_past(Talk *talk)
{
	ask(talk, TALK_EXTENDED, 0, NBD_COMMAND_WRITE_ZEROES, 512, TALK_SIZE_BYTES);
}

static void trim_past(Talk *talk)
{
	ask(talk, TALK_EXTENDED, 0, NBD_COMMAND_TRIM, 0, UINT64_MAX);
}

static void status_past(Talk *talk)
{
	ask(talk, TALK_EXTENDED, NBD_COMMAND_REQ_ONE, NBD_COMMAND_BLOCK_STATUS, TALK_SIZE_BYTES,
	    512);
}

static void flush_range(Talk *talk)
{
	ask(talk, TALK_EXTENDED, 0, NBD_COMMAND_FLUSH, 0, 512);
}

static void disc_range(Talk *talk)
{
	ask(talk, TALK_EXTENDED, 0, NBD_COMMAND_DISC, 512, 0);
}

/* Without a word on block sizes any byte may be written. */
static void write_byte(Talk *talk)
{
	talk_agree(talk, TALK_SIMPLE);
	say_go(talk, TALK_EXPORT, 0, 0);
	say_export(talk, TALK_SIZE_BYTES, TALK_FLAGS);
	say_reply(talk, NBD_OPTION_GO, NBD_REPLY_ACK, NULL, 0);
	say_request(talk, 0, NBD_COMMAND_WRITE, 1, TALK_SIZE_BYTES - 1, 1);
	say_payload(talk, NBD_FROM_CLIENT, 1);
	say_simple(talk, 0, 1);
}

static void write_of(Talk *talk, uint32_t length)
{
	open_with(talk, TALK_STRUCTURED, TALK_FLAGS, 512, 4096);
	say_request(talk, 0, NBD_COMMAND_WRITE, 1, 0, length);
}

static void write_most(Talk *talk)
{
	write_of(talk, 4096);
}

static void write_more(Talk *talk)
{
	write_of(talk, 4608);
}

/* --- cookies and what waits --- */

static void cookie_again(Talk *talk)
{
	write_block(talk);
	say_request(talk, 0, NBD_COMMAND_FLUSH, 1, 0, 0);
}

static void cookie_twice(Talk *talk)
{
	ask(talk, TALK_SIMPLE, 0, NBD_COMMAND_FLUSH, 0, 0);
	say_request(talk, 0, NBD_COMMAND_FLUSH, 1, 0, 0);
}

static void many(Talk *talk, unsigned int count)
{
	talk_open(talk, TALK_STRUCTURED);
	for (unsigned int i = 0; i < count; i++)
		say_request(talk, 0, NBD_COMMAND_FLUSH, i, 0, 0);
}

static void as_many(Talk *talk)
{
	many(talk, NBD_GUARD_REQUESTS_MAX);
	say_done(talk, 5, 0);
	say_request(talk, 0, NBD_COMMAND_FLUSH, 99, 0, 0);
}

static void too_many(Talk *talk)
{
	many(talk, NBD_GUARD_REQUESTS_MAX + 1);
}

/* 64 MiB may wait: eight READs of the whole export. */
static void read_much(Talk *talk, unsigned int count)
{
	talk_open(talk, TALK_EXTENDED);
	for (unsigned int i = 0; i < count; i++)
		say_request(talk, 0, NBD_COMMAND_READ, i, 0, TALK_SIZE_BYTES);
}

static void read_as_much(Talk *talk)
{
	read_much(talk, 8);
	say_error(talk, NBD_CHUNK_DONE, 3, 0, 5, "gone");
	say_request(talk, 0, NBD_COMMAND_READ, 3, 0, TALK_SIZE_BYTES);
	say_request(talk, 0, NBD_COMMAND_WRITE_ZEROES, 9, 0, TALK_SIZE_BYTES);
}

static void read_too_much(Talk *talk)
{
	read_much(talk, 8);
	say_request(talk, 0, NBD_COMMAND_READ, 8, 0, 512);
}

/* --- replies --- */

static void reply_to_none(Talk *talk)
{
	ask(talk, TALK_SIMPLE, 0, NBD_COMMAND_FLUSH, 0, 0);
	say_simple(talk, 0, 2);
}

static void reply_twice(Talk *talk)
{
	flush(talk);
	say_done(talk, 1, 0);
}

static void reply_early(Talk *talk)
{
	ask(talk, TALK_STRUCTURED, 0, NBD_COMMAND_WRITE, 0, 512);
	say_payload(talk, NBD_FROM_CLIENT, 511);
	say_simple(talk, 0, 1);
}

static void chunk_early(Talk *talk)
{
	ask(talk, TALK_EXTENDED, 0, NBD_COMMAND_WRITE, 0, 512);
	say_error(talk, NBD_CHUNK_DONE, 1, 0, 28, "full");
}

static void magic_simple(Talk *talk)
{
	talk_open(talk, TALK_EXTENDED);
	say_request(talk, 0, NBD_COMMAND_FLUSH, 1, 0, 0);
	say_simple(talk, 0, 1);
}

static void magic_structured(Talk *talk)
{
	talk_open(talk, TALK_SIMPLE);
	say_request(talk, 0, NBD_COMMAND_FLUSH, 1, 0, 0);
	say_chunk(talk, NBD_CHUNK_DONE, NBD_CHUNK_NONE, 1, 0, NULL, 0);
}

static void magic_extended(Talk *talk)
{
	talk_open(talk, TALK_STRUCTURED);
	say_request(talk, 0, NBD_COMMAND_FLUSH, 1, 0, 0);
	talk->mode = TALK_EXTENDED;
	say_chunk(talk, NBD_CHUNK_DONE, NBD_CHUNK_NONE, 1, 0, NULL, 0);
}

static void magic_request(Talk *talk)
{
	talk_open(talk, TALK_STRUCTURED);
	talk->mode = TALK_EXTENDED;
	say_request(talk, 0, NBD_COMMAND_FLUSH, 1, 0, 0);
}

/* Data, a hole, data; for the second of two requests that wait. */
static void put_read(Talk *talk, TalkMode mode)
{
	talk_open(talk, mode);
	say_request(talk, 0, NBD_COMMAND_FLUSH, 8, 0, 0);
	say_request(talk, 0, NBD_COMMAND_READ, 1, 4096, 12288);
	say_data(talk, 0, 1, 4096, 4096, 4096);
	say_done(talk, 8, 0);
	say_hole(talk, 0, 1, 4096, 8192, 4096);
	say_data(talk, NBD_CHUNK_DONE, 1, 4096, 12288, 4096);
}

static void read_structured(Talk *talk)
{
	put_read(talk, TALK_STRUCTURED);
}

static void read_extended(Talk *talk)
{
	put_read(talk, TALK_EXTENDED);
}

/* The end is a chunk of its own. */
static void read_and_none(Talk *talk)
{
	ask(talk, TALK_STRUCTURED, 0, NBD_COMMAND_READ, 0, 512);
	say_data(talk, 0, 1, 0, 0, 512);
	say_chunk(talk, NBD_CHUNK_DONE, NBD_CHUNK_NONE, 1, 0, NULL, 0);
}

static void simple_of_read(Talk *talk)
{
	ask(talk, TALK_STRUCTURED, 0, NBD_COMMAND_READ, 0, 512);
	say_simple(talk, 0, 1);
}

static void simple_error_of_read(Talk *talk)
{
	ask(talk, TALK_STRUCTURED, 0, NBD_COMMAND_READ, 0, 512);
	say_simple(talk, 5, 1);
}

static void simple_of_status(Talk *talk)
{
	ask(talk, TALK_STRUCTURED, NBD_COMMAND_REQ_ONE, NBD_COMMAND_BLOCK_STATUS, 0, 512);
	say_simple(talk, 0, 1);
}

static void none_undone(Talk *talk)
{
	ask(talk, TALK_STRUCTURED, 0, NBD_COMMAND_FLUSH, 0, 0);
	say_chunk(talk, 0, NBD_CHUNK_NONE, 1, 0, NULL, 0);
}

static void none_with_data(Talk *talk)
{
	ask(talk, TALK_STRUCTURED, 0, NBD_COMMAND_FLUSH, 0, 0);
	say_chunk(talk, NBD_CHUNK_DONE, NBD_CHUNK_NONE, 1, 0, "x", 1);
}

static void chunk_flag(Talk *talk)
{
	ask(talk, TALK_STRUCTURED, 0, NBD_COMMAND_FLUSH, 0, 0);
	say_chunk(talk, NBD_CHUNK_DONE | 2, NBD_CHUNK_NONE, 1, 0, NULL, 0);
}

static void chunk_unknown(Talk *talk)
{
	ask(talk, TALK_STRUCTURED, 0, NBD_COMMAND_FLUSH, 0, 0);
	say_chunk(talk, NBD_CHUNK_DONE, 3, 1, 0, NULL, 0);
}

static void data_of_flush(Talk *talk)
{
	ask(talk, TALK_STRUCTURED, 0, NBD_COMMAND_FLUSH, 0, 0);
	say_data(talk, NBD_CHUNK_DONE, 1, 0, 0, 512);
}

static void data_empty(Talk *talk)
{
	ask(talk, TALK_STRUCTURED, 0, NBD_COMMAND_READ, 0, 512);
	say_data(talk, NBD_CHUNK_DONE, 1, 0, 0, 0);
}

static void data_huge(Talk *talk)
{
	ask(talk, TALK_EXTENDED, 0, NBD_COMMAND_READ, 0, 512);
	say_chunk_header(talk, NBD_CHUNK_DONE, NBD_CHUNK_OFFSET_DATA, 1, 0, UINT64_MAX);
}

static void hole_long(Talk *talk)
{
	ask(talk, TALK_STRUCTURED, 0, NBD_COMMAND_READ, 0, 512);
	say_chunk(talk, NBD_CHUNK_DONE, NBD_CHUNK_OFFSET_HOLE, 1, 0, "abcdefghijklm", 13);
}

static void other_offset(Talk *talk)
{
	ask(talk, TALK_EXTENDED, 0, NBD_COMMAND_FLUSH, 0, 0);
	say_chunk(talk, NBD_CHUNK_DONE, NBD_CHUNK_NONE, 1, 512, NULL, 0);
}

static void status_ext_in_compact(Talk *talk)
{
	ask(talk, TALK_STRUCTURED, NBD_COMMAND_REQ_ONE, NBD_COMMAND_BLOCK_STATUS, 0, 512);
	say_chunk(talk, NBD_CHUNK_DONE, NBD_CHUNK_BLOCK_STATUS_EXT, 1, 0,
		  "\0\0\0\7\0\0\0\1\0\0\0\0\0\0\2\0\0\0\0\0\0\0\0\0", 24);
}

static void error_short(Talk *talk)
{
	ask(talk, TALK_STRUCTURED, 0, NBD_COMMAND_FLUSH, 0, 0);
	say_chunk(talk, NBD_CHUNK_DONE, NBD_CHUNK_ERROR, 1, 0, "\0\0\0\5\0", 5);
}

static void error_endless(Talk *talk)
{
	ask(talk, TALK_EXTENDED, 0, NBD_COMMAND_FLUSH, 0, 0);
	say_chunk_header(talk, NBD_CHUNK_DONE, NBD_CHUNK_ERROR, 1, 0, 6 + 1025);
}

/* --- ranges of replies --- */

static void data_outside(Talk *talk)
{
	ask(talk, TALK_STRUCTURED, 0, NBD_COMMAND_READ, 4096, 512);
	say_data(talk, NBD_CHUNK_DONE, 1, 4096, 0, 512);
}

static void data_longer(Talk *talk)
{
	ask(talk, TALK_STRUCTURED, 0, NBD_COMMAND_READ, 4096, 512);
	say_data(talk, NBD_CHUNK_DONE, 1, 4096, 4096, 513);
}

static void data_overlaps(Talk *talk)
{
	ask(talk, TALK_STRUCTURED, 0, NBD_COMMAND_READ, 4096, 1024);
	say_data(talk, 0, 1, 4096, 4096, 512);
	say_data(talk, NBD_CHUNK_DONE, 1, 4096, 4096, 512);
}

static void data_missing(Talk *talk)
{
	ask(talk, TALK_STRUCTURED, 0, NBD_COMMAND_READ, 4096, 1024);
	say_data(talk, NBD_CHUNK_DONE, 1, 4096, 4096, 512);
}

static void data_none(Talk *talk)
{
	ask(talk, TALK_STRUCTURED, 0, NBD_COMMAND_READ, 4096, 1024);
	say_chunk(talk, NBD_CHUNK_DONE, NBD_CHUNK_NONE, 1, 4096, NULL, 0);
}

static void hole_empty(Talk *talk)
{
	ask(talk, TALK_STRUCTURED, 0, NBD_COMMAND_READ, 4096, 1024);
	say_hole(talk, 0, 1, 4096, 4096, 0);
}

static void hole_larger(Talk *talk)
{
	ask(talk, TALK_STRUCTURED, 0, NBD_COMMAND_READ, 4096, 1024);
	say_hole(talk, NBD_CHUNK_DONE, 1, 4096, 4096, UINT32_MAX);
}

static void data_behind_error(Talk *talk)
{
	ask(talk, TALK_STRUCTURED, 0, NBD_COMMAND_READ, 4096, 512);
	say_error(talk, 0, 1, 4096, 5, "");
	say_data(talk, NBD_CHUNK_DONE, 1, 4096, 4096, 512);
}

static void none_behind_error(Talk *talk)
{
	ask(talk, TALK_STRUCTURED, 0, NBD_COMMAND_READ, 4096, 512);
	say_error(talk, 0, 1, 4096, 5, "");
	say_chunk(talk, NBD_CHUNK_DONE, NBD_CHUNK_NONE, 1, 4096, NULL, 0);
}

/* --- extents --- */

static void ask_status(Talk *talk, TalkMode mode)
{
	ask(talk, mode, NBD_COMMAND_REQ_ONE, NBD_COMMAND_BLOCK_STATUS, 0, TALK_SIZE_BYTES);
}

static void status_compact(Talk *talk)
{
	ask_status(talk, TALK_STRUCTURED);
	say_extent(talk, NBD_CHUNK_DONE, 1, 0, TALK_CONTEXT_ID, TALK_SIZE_BYTES, 3);
}

static void status_extended(Talk *talk)
{
	ask_status(talk, TALK_EXTENDED);
	say_extent(talk, 0, 1, 0, TALK_CONTEXT_ID, 512, 0);
	say_chunk(talk, NBD_CHUNK_DONE, NBD_CHUNK_NONE, 1, 0, NULL, 0);
}

static void status_other_context(Talk *talk)
{
	ask_status(talk, TALK_STRUCTURED);
	say_extent(talk, NBD_CHUNK_DONE, 1, 0, 0, 512, 0);
}

static void status_longer(Talk *talk)
{
	ask_status(talk, TALK_EXTENDED);
	say_extent(talk, NBD_CHUNK_DONE, 1, 0, TALK_CONTEXT_ID, TALK_SIZE_BYTES + 1, 0);
}

static void status_empty(Talk *talk)
{
	ask_status(talk, TALK_STRUCTURED);
	say_extent(talk, NBD_CHUNK_DONE, 1, 0, TALK_CONTEXT_ID, 0, 0);
}

static void status_bits(Talk *talk)
{
	ask_status(talk, TALK_STRUCTURED);
	say_extent(talk, NBD_CHUNK_DONE, 1, 0, TALK_CONTEXT_ID, 512, 4);
}

static void status_twice(Talk *talk)
{
	ask_status(talk, TALK_STRUCTURED);
	say_extent(talk, 0, 1, 0, TALK_CONTEXT_ID, 512, 0);
	say_extent(talk, NBD_CHUNK_DONE, 1, 0, TALK_CONTEXT_ID, 512, 0);
}

static void status_missing(Talk *talk)
{
	ask_status(talk, TALK_STRUCTURED);
	say_chunk(talk, NBD_CHUNK_DONE, NBD_CHUNK_NONE, 1, 0, NULL, 0);
}

static void status_count(Talk *talk)
{
	ask_status(talk, TALK_EXTENDED);
	say_chunk(talk, NBD_CHUNK_DONE, NBD_CHUNK_BLOCK_STATUS_EXT, 1, 0,
		  "\0\0\0\7\0\0\0\2\0\0\0\0\0\0\2\0\0\0\0\0\0\0\0\0", 24);
}

/* --- errors --- */

static void answer_error(Talk *talk, uint32_t error, const char *text)
{
	ask(talk, TALK_STRUCTURED, 0, NBD_COMMAND_READ, 4096, 512);
	say_error(talk, NBD_CHUNK_DONE, 1, 4096, error, text);
}

static void error_good(Talk *talk)
{
	answer_error(talk, 108, "reading failed: \xc3\xa9");
}

static void error_zero(Talk *talk)
{
	answer_error(talk, 0, "");
}

static void error_unknown(Talk *talk)
{
	answer_error(talk, 2, "");
}

static void error_control(Talk *talk)
{
	answer_error(talk, 5, "a\nb");
}

static void error_simple_unknown(Talk *talk)
{
	ask(talk, TALK_SIMPLE, 0, NBD_COMMAND_FLUSH, 0, 0);
	say_simple(talk, UINT32_MAX, 1);
}

static void error_simple(Talk *talk)
{
	ask(talk, TALK_SIMPLE, 0, NBD_COMMAND_FLUSH, 0, 0);
	say_simple(talk, 95, 1);
}

static void error_twice(Talk *talk)
{
	ask(talk, TALK_STRUCTURED, 0, NBD_COMMAND_READ, 4096, 512);
	say_error(talk, 0, 1, 4096, 5, "");
	say_error(talk, NBD_CHUNK_DONE, 1, 4096, 5, "");
}

static void error_text_length(Talk *talk)
{
	ask(talk, TALK_STRUCTURED, 0, NBD_COMMAND_READ, 4096, 512);
	say_chunk(talk, NBD_CHUNK_DONE, NBD_CHUNK_ERROR, 1, 4096, "\0\0\0\5\0\3ab", 8);
}

static void put_error_at(Talk *talk, const char *payload)
{
	ask(talk, TALK_STRUCTURED, 0, NBD_COMMAND_READ, 4096, 512);
	say_chunk(talk, NBD_CHUNK_DONE, NBD_CHUNK_ERROR_OFFSET, 1, 4096, payload, 15);
}

static void error_inside(Talk *talk)
{
	put_error_at(talk, "\0\0\0\5\0\1a\0\0\0\0\0\0\x11\xff");
}

static void error_behind(Talk *talk)
{
	put_error_at(talk, "\0\0\0\5\0\1a\0\0\0\0\0\0\x12\0");
}

static void error_before(Talk *talk)
{
	put_error_at(talk, "\0\0\0\5\0\1a\0\0\0\0\0\0\x0f\xff");
}

#define CLIENT NBD_FROM_CLIENT
#define SERVER NBD_FROM_SERVER
#define READS  NBD_ACCESS_READ_WRITE

const NbdCase nbd_transmission_cases[] = {
	{ NBD_RULE_COMMAND, CLIENT, "READ", flush, ask_read, "only receives", 0 },
	{ NBD_RULE_COMMAND, CLIENT, "CACHE", read_simple, cache, "5 (CACHE)", READS },
	{ NBD_RULE_COMMAND, CLIENT, "RESIZE", write_block, resize, "8 (RESIZE)", 0 },
	{ NBD_RULE_COMMAND, CLIENT, "unknown", zeroes, command_unknown, "9 (unknown)", 0 },
	{ NBD_RULE_COMMAND, CLIENT, "huge", zeroes, command_huge, "65535 (unknown)", 0 },
	{ NBD_RULE_COMMAND, CLIENT, "no TRIM", trim, trim_unannounced, "TRIM, which", 0 },
	{ NBD_RULE_COMMAND, CLIENT, "no zeroes", zeroes, zeroes_unannounced, "WRITE_ZEROES", 0 },
	{ NBD_RULE_COMMAND, CLIENT, "no FLUSH", flush, flush_unannounced, "FLUSH, which", 0 },
	{ NBD_RULE_COMMAND, CLIENT, "no context", status_compact, status_unannounced, "STATUS", 0 },
	{ NBD_RULE_FLAGS, CLIENT, "no FUA", write_block, fua_unannounced, "flags 0x1", 0 },
	{ NBD_RULE_FLAGS, CLIENT, "not fast", zeroes, fast_unannounced, "flags 0x10", 0 },
	{ NBD_RULE_FLAGS, CLIENT, "FUA of FLUSH", flush, fua_of_flush, "FLUSH with", 0 },
	{ NBD_RULE_FLAGS, CLIENT, "DF of READ", read_simple, df_of_read, "flags 0x4", READS },
	{ NBD_RULE_FLAGS, CLIENT, "hole of WRITE", write_block, hole_of_write, "flags 0x2", 0 },
	{ NBD_RULE_FLAGS, CLIENT, "compact", write_extended, payload_of_compact, "flags 0x20", 0 },
	{ NBD_RULE_FLAGS, CLIENT, "of status", status_extended, payload_of_status, "0x28", 0 },
	{ NBD_RULE_FLAGS, CLIENT, "many", status_extended, status_of_many, "not of 0x8", 0 },
	{ NBD_RULE_FLAGS, CLIENT, "DISC", disc_plain, disc_with_flag, "DISC with", 0 },
	{ NBD_RULE_RANGE, CLIENT, "past", write_last, write_past, "1024 bytes at 8388096", 0 },
	{ NBD_RULE_RANGE, CLIENT, "behind", write_last, write_behind, "at 8388608", 0 },
	{ NBD_RULE_RANGE, CLIENT, "overflow", write_last, write_overflow, "at 18446744", 0 },
	{ NBD_RULE_RANGE, CLIENT, "long", write_last, write_overflow_length, "18446744", 0 },
	{ NBD_RULE_RANGE, CLIENT, "empty", write_last, write_empty, "of 0 bytes", 0 },
	{ NBD_RULE_RANGE, CLIENT, "misaligned", write_byte, write_misaligned, "blocks of 512", 0 },
	{ NBD_RULE_RANGE, CLIENT, "part", write_byte, write_part, "511 bytes", 0 },
	{ NBD_RULE_RANGE, CLIENT, "zeroes", zeroes, zeroes_past, "WRITE_ZEROES of", 0 },
	{ NBD_RULE_RANGE, CLIENT, "trim", trim, trim_past, "TRIM of", 0 },
	{ NBD_RULE_RANGE, CLIENT, "status", status_extended, status_past, "BLOCK_STATUS of", 0 },
	{ NBD_RULE_RANGE, CLIENT, "flush", flush, flush_range, "FLUSH of 512", 0 },
	{ NBD_RULE_RANGE, CLIENT, "disc", disc_plain, disc_range, "DISC of 0", 0 },
	{ NBD_RULE_LENGTH, CLIENT, "payload", write_most, write_more, "more than 4096", 0 },
	{ NBD_RULE_COOKIE, CLIENT, "twice", cookie_again, cookie_twice, "cookie 0x1", 0 },
	{ NBD_RULE_IN_FLIGHT, CLIENT, "requests", as_many, too_many, "more than 64", 0 },
	{ NBD_RULE_IN_FLIGHT, CLIENT, "bytes", read_as_much, read_too_much, "67108864", READS },
	{ NBD_RULE_REPLY_COOKIE, SERVER, "unknown", flush, reply_to_none, "0x2, which", 0 },
	{ NBD_RULE_REPLY_COOKIE, SERVER, "twice", flush, reply_twice, "0x1, which", 0 },
	{ NBD_RULE_REPLY_COOKIE, SERVER, "early", write_block, reply_early, "being sent", 0 },
	{ NBD_RULE_REPLY_COOKIE, SERVER, "early", write_extended, chunk_early, "being sent", 0 },
	{ NBD_RULE_MAGIC, SERVER, "simple", zeroes, magic_simple, "0x67446698", 0 },
	{ NBD_RULE_MAGIC, SERVER, "structured", flush, magic_structured, "0x668e33ef", 0 },
	{ NBD_RULE_MAGIC, SERVER, "extended", flush, magic_extended, "0x6e8a278c", 0 },
	{ NBD_RULE_MAGIC, CLIENT, "extended", flush, magic_request, "0x21e41c71", 0 },
	{ NBD_RULE_REPLY_KIND, SERVER, "READ", read_structured, simple_of_read, "simple", READS },
	{ NBD_RULE_REPLY_KIND, SERVER, "its error", error_good, simple_error_of_read, "simple",
	  READS },
	{ NBD_RULE_REPLY_KIND, SERVER, "status", status_compact, simple_of_status, "simple", 0 },
	{ NBD_RULE_REPLY_KIND, SERVER, "undone", read_and_none, none_undone, "type 0", READS },
	{ NBD_RULE_REPLY_KIND, SERVER, "data", read_and_none, none_with_data, "1 bytes", READS },
	{ NBD_RULE_REPLY_KIND, SERVER, "flag", read_and_none, chunk_flag, "type 0", READS },
	{ NBD_RULE_REPLY_KIND, SERVER, "unknown", read_and_none, chunk_unknown, "type 3", READS },
	{ NBD_RULE_REPLY_KIND, SERVER, "of FLUSH", read_and_none, data_of_flush, "a FLUSH", READS },
	{ NBD_RULE_REPLY_KIND, SERVER, "empty", read_and_none, data_empty, "8 bytes", READS },
	{ NBD_RULE_REPLY_KIND, SERVER, "huge", read_extended, data_huge, "18446744", READS },
	{ NBD_RULE_REPLY_KIND, SERVER, "hole", read_structured, hole_long, "13 bytes", READS },
	{ NBD_RULE_REPLY_KIND, SERVER, "offset", zeroes, other_offset, "offset 512", 0 },
	{ NBD_RULE_REPLY_KIND, SERVER, "wide", status_compact, status_ext_in_compact, "type 6", 0 },
	{ NBD_RULE_REPLY_KIND, SERVER, "error", error_good, error_short, "5 bytes", READS },
	{ NBD_RULE_REPLY_KIND, SERVER, "endless", error_good, error_endless, "1031", READS },
	{ NBD_RULE_REPLY_RANGE, SERVER, "outside", read_structured, data_outside, "at 0", READS },
	{ NBD_RULE_REPLY_RANGE, SERVER, "longer", read_structured, data_longer, "513", READS },
	{ NBD_RULE_REPLY_RANGE, SERVER, "twice", read_structured, data_overlaps, "4608", READS },
	{ NBD_RULE_REPLY_RANGE, SERVER, "missing", read_extended, data_missing, "512 bytes answer",
	  READS },
	{ NBD_RULE_REPLY_RANGE, SERVER, "none", read_and_none, data_none, "0 bytes answer", READS },
	{ NBD_RULE_REPLY_RANGE, SERVER, "hole", read_structured, hole_empty, "0 bytes at", READS },
	{ NBD_RULE_REPLY_RANGE, SERVER, "hole", read_structured, hole_larger, "4294967295", READS },
	{ NBD_RULE_REPLY_RANGE, SERVER, "failed", none_behind_error, data_behind_error, "error",
	  READS },
	{ NBD_RULE_REPLY_STATUS, SERVER, "id", status_compact, status_other_context, "text 0", 0 },
	{ NBD_RULE_REPLY_STATUS, SERVER, "longer", status_extended, status_longer, "8388609", 0 },
	{ NBD_RULE_REPLY_STATUS, SERVER, "empty", status_compact, status_empty, "of 0 bytes", 0 },
	{ NBD_RULE_REPLY_STATUS, SERVER, "bits", status_compact, status_bits, "status 0x4", 0 },
	{ NBD_RULE_REPLY_STATUS, SERVER, "twice", status_compact, status_twice, "second", 0 },
	{ NBD_RULE_REPLY_STATUS, SERVER, "none", status_extended, status_missing, "without", 0 },
	{ NBD_RULE_REPLY_STATUS, SERVER, "two", status_extended, status_count, "2 extents", 0 },
	{ NBD_RULE_REPLY_ERROR, SERVER, "zero", error_good, error_zero, "error 0", READS },
	{ NBD_RULE_REPLY_ERROR, SERVER, "unknown", error_good, error_unknown, "error 2", READS },
	{ NBD_RULE_REPLY_ERROR, SERVER, "control", error_good, error_control, "printable", READS },
	{ NBD_RULE_REPLY_ERROR, SERVER, "simple", error_simple, error_simple_unknown, "4294967295",
	  READS },
	{ NBD_RULE_REPLY_ERROR, SERVER, "twice", none_behind_error, error_twice, "second", READS },
	{ NBD_RULE_REPLY_ERROR, SERVER, "text", error_good, error_text_length, "3 bytes in 2",
	  READS },
	{ NBD_RULE_REPLY_ERROR, SERVER, "behind", error_inside, error_behind, "at 4608", READS },
	{ NBD_RULE_REPLY_ERROR, SERVER, "before", error_inside, error_before, "at 4095", READS },
};
const size_t nbd_transmission_cases_count = ARRAY_SIZE(nbd_transmission_cases);
