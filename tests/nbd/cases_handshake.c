/* SPDX-License-Identifier: Apache-2.0 */
/* Before the transmission: greeting, options, replies. */
#include <string.h>

#include "tests/nbd/cases.h"

enum { HANDSHAKE = NBD_FIXED_NEWSTYLE | NBD_NO_ZEROES };

static void open_simple(Talk *talk)
{
	talk_open(talk, TALK_SIMPLE);
}

static void open_structured(Talk *talk)
{
	talk_open(talk, TALK_STRUCTURED);
}

static void open_extended(Talk *talk)
{
	talk_open(talk, TALK_EXTENDED);
}

/* --- who speaks --- */

static void client_first(Talk *talk)
{
	say_client_flags(talk, HANDSHAKE);
	say_greeting(talk, HANDSHAKE);
}

static void server_goes_on(Talk *talk)
{
	say_greeting(talk, HANDSHAKE);
	say_reply(talk, NBD_OPTION_GO, NBD_REPLY_ACK, NULL, 0);
	say_client_flags(talk, HANDSHAKE);
}

static void option_too_soon(Talk *talk)
{
	talk_greet(talk);
	say_option(talk, NBD_OPTION_STRUCTURED_REPLY, NULL, 0);
	say_go(talk, TALK_EXPORT, 0, 0);
}

static void reply_unasked(Talk *talk)
{
	talk_greet(talk);
	say_reply(talk, NBD_OPTION_GO, NBD_REPLY_ACK, NULL, 0);
}

static void reply_to_other(Talk *talk)
{
	talk_greet(talk);
	say_go(talk, TALK_EXPORT, 0, 0);
	say_reply(talk, NBD_OPTION_STRUCTURED_REPLY, NBD_REPLY_ACK, NULL, 0);
}

static void reply_to_none(Talk *talk)
{
	talk_greet(talk);
	say_reply(talk, NBD_OPTION_NONE, NBD_REPLY_ACK, NULL, 0);
}

static void reply_again(Talk *talk)
{
	talk_greet(talk);
	say_option(talk, NBD_OPTION_STRUCTURED_REPLY, NULL, 0);
	say_reply(talk, NBD_OPTION_STRUCTURED_REPLY, NBD_REPLY_ACK, NULL, 0);
	say_reply(talk, NBD_OPTION_STRUCTURED_REPLY, NBD_REPLY_ACK, NULL, 0);
}

/* QEMU's client gives up so when what the server describes does not please it. */
static void abort_amid_replies(Talk *talk)
{
	talk_greet(talk);
	say_go(talk, TALK_EXPORT, 0, 0);
	say_export(talk, TALK_SIZE_BYTES, TALK_FLAGS);
	say_option(talk, NBD_OPTION_ABORT, NULL, 0);
	say_reply(talk, NBD_OPTION_GO, NBD_REPLY_ACK, NULL, 0);
	say_reply(talk, NBD_OPTION_ABORT, NBD_REPLY_ACK, NULL, 0);
}

static void behind_abort(Talk *talk)
{
	talk_greet(talk);
	say_option(talk, NBD_OPTION_ABORT, NULL, 0);
	say_option(talk, NBD_OPTION_STRUCTURED_REPLY, NULL, 0);
}

static void abort_answered_twice(Talk *talk)
{
	talk_greet(talk);
	say_option(talk, NBD_OPTION_ABORT, NULL, 0);
	say_reply(talk, NBD_OPTION_ABORT, NBD_REPLY_ERROR_BIT | 1, NULL, 0);
	say_reply(talk, NBD_OPTION_ABORT, NBD_REPLY_ACK, NULL, 0);
}

static void behind_disc(Talk *talk)
{
	talk_open(talk, TALK_SIMPLE);
	say_request(talk, 0, NBD_COMMAND_DISC, 1, 0, 0);
	say_request(talk, 0, NBD_COMMAND_FLUSH, 2, 0, 0);
}

static void disc(Talk *talk)
{
	talk_open(talk, TALK_SIMPLE);
	say_request(talk, 0, NBD_COMMAND_FLUSH, 2, 0, 0);
	say_request(talk, 0, NBD_COMMAND_DISC, 1, 0, 0);
	say_simple(talk, 0, 2);
}

/* --- magic numbers --- */

static void no_option(Talk *talk)
{
	talk_greet(talk);
	say_request(talk, 0, NBD_COMMAND_FLUSH, 2, 0, 0);
}

static void no_reply(Talk *talk)
{
	talk_greet(talk);
	say_go(talk, TALK_EXPORT, 0, 0);
	say_payload(talk, NBD_FROM_SERVER, NBD_OPTION_REPLY_SIZE);
}

/* --- greeting --- */

static void oldstyle(Talk *talk)
{
	uint8_t bytes[NBD_GREETING_SIZE] = { 0 };

	store_be64(bytes, NBD_MAGIC);
	store_be64(bytes + 8, UINT64_C(0x0000420281861253));
	say(talk, NBD_FROM_SERVER, bytes, sizeof(bytes));
}

static void tls_hello(Talk *talk)
{
	say(talk, NBD_FROM_SERVER, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03zzzzzzz", 18);
}

static void not_fixed(Talk *talk)
{
	say_greeting(talk, NBD_NO_ZEROES);
}

static void more_handshake_flags(Talk *talk)
{
	say_greeting(talk, HANDSHAKE | 4);
}

static void with_zeroes(Talk *talk)
{
	say_greeting(talk, HANDSHAKE);
	say_client_flags(talk, NBD_FIXED_NEWSTYLE);
}

static void more_client_flags(Talk *talk)
{
	say_greeting(talk, HANDSHAKE);
	say_client_flags(talk, HANDSHAKE | UINT32_C(1) << 31);
}

/* --- options --- */

static void refuse_option(Talk *talk, uint32_t option)
{
	talk_greet(talk);
	say_option(talk, option, NULL, 0);
}

static void export_name(Talk *talk)
{
	talk_greet(talk);
	say_option(talk, NBD_OPTION_EXPORT_NAME, TALK_EXPORT, strlen(TALK_EXPORT));
}

static void starttls(Talk *talk)
{
	refuse_option(talk, NBD_OPTION_STARTTLS);
}

static void list(Talk *talk)
{
	refuse_option(talk, NBD_OPTION_LIST);
}

static void info(Talk *talk)
{
	refuse_option(talk, NBD_OPTION_INFO);
}

static void list_contexts(Talk *talk)
{
	refuse_option(talk, NBD_OPTION_LIST_META_CONTEXT);
}

static void option_zero(Talk *talk)
{
	refuse_option(talk, 0);
}

static void option_unknown(Talk *talk)
{
	refuse_option(talk, 12);
}

static void option_huge(Talk *talk)
{
	refuse_option(talk, UINT32_MAX);
}

static void option_twice(Talk *talk)
{
	talk_greet(talk);
	for (int i = 0; i < 2; i++) {
		say_option(talk, NBD_OPTION_EXTENDED_HEADERS, NULL, 0);
		say_reply(talk, NBD_OPTION_EXTENDED_HEADERS, NBD_REPLY_ERROR_BIT | 1, NULL, 0);
	}
}

static void go_again(Talk *talk)
{
	talk_greet(talk);
	for (int i = 0; i < 2; i++) {
		say_go(talk, TALK_EXPORT, 0, 0);
		say_reply(talk, NBD_OPTION_GO, NBD_REPLY_ERROR_BIT | 6, "no such export", 14);
	}
}

static void go_refused(Talk *talk)
{
	talk_greet(talk);
	say_go(talk, TALK_EXPORT, 0, 0);
	say_reply(talk, NBD_OPTION_GO, NBD_REPLY_ERROR_BIT | 6, "no such export", 14);
	say_option(talk, NBD_OPTION_ABORT, NULL, 0);
}

static void structured_and_extended(Talk *talk)
{
	talk_greet(talk);
	say_option(talk, NBD_OPTION_EXTENDED_HEADERS, NULL, 0);
	say_reply(talk, NBD_OPTION_EXTENDED_HEADERS, NBD_REPLY_ACK, NULL, 0);
	say_option(talk, NBD_OPTION_STRUCTURED_REPLY, NULL, 0);
}

static void extended_late(Talk *talk)
{
	talk_greet(talk);
	say_option(talk, NBD_OPTION_STRUCTURED_REPLY, NULL, 0);
	say_reply(talk, NBD_OPTION_STRUCTURED_REPLY, NBD_REPLY_ACK, NULL, 0);
	say_option(talk, NBD_OPTION_EXTENDED_HEADERS, NULL, 0);
}

static void context_in_simple(Talk *talk)
{
	talk_greet(talk);
	say_context(talk, TALK_EXPORT, NBD_CONTEXT);
}

/* --- data of options --- */

static void data_behind(Talk *talk)
{
	talk_greet(talk);
	say_option(talk, NBD_OPTION_EXTENDED_HEADERS, "x", 1);
}

static void data_behind_abort(Talk *talk)
{
	talk_greet(talk);
	say_option(talk, NBD_OPTION_ABORT, "x", 1);
}

static void other_export(Talk *talk)
{
	talk_greet(talk);
	say_go(talk, "disk-1", 0, 0);
}

static void shorter_export(Talk *talk)
{
	talk_greet(talk);
	say_go(talk, "disk-", 0, 0);
}

static void no_export(Talk *talk)
{
	talk_greet(talk);
	say_go(talk, "", 0, 0);
}

static void name_too_long(Talk *talk)
{
	static const uint8_t data[] = { 0xff, 0xff, 0xff, 0xff, 'd', 'i', 's', 'k' };

	talk_greet(talk);
	say_option(talk, NBD_OPTION_GO, data, sizeof(data));
}

static void data_too_long(Talk *talk)
{
	static const uint8_t data[257];

	talk_greet(talk);
	say_option(talk, NBD_OPTION_GO, data, sizeof(data));
}

static void go_empty(Talk *talk)
{
	talk_greet(talk);
	say_option(talk, NBD_OPTION_GO, NULL, 0);
}

static void go_for_description(Talk *talk)
{
	talk_greet(talk);
	say_go(talk, TALK_EXPORT, 1, 2);
}

static void go_for_two(Talk *talk)
{
	talk_greet(talk);
	say_go(talk, TALK_EXPORT, 2, NBD_INFO_BLOCK_SIZE);
}

static void go_cut(Talk *talk)
{
	talk_greet(talk);
	say_option(talk, NBD_OPTION_GO, "\0\0\0\6disk-0\0\1", 12);
}

static void go_trailing(Talk *talk)
{
	talk_greet(talk);
	say_option(talk, NBD_OPTION_GO, "\0\0\0\6disk-0\0\0!", 13);
}

static void go_without_infos(Talk *talk)
{
	talk_greet(talk);
	say_option(talk, NBD_OPTION_GO, "\0\0\0\6disk-0\0\0", 12);
}

static void begin_context(Talk *talk)
{
	talk_greet(talk);
	say_option(talk, NBD_OPTION_STRUCTURED_REPLY, NULL, 0);
	say_reply(talk, NBD_OPTION_STRUCTURED_REPLY, NBD_REPLY_ACK, NULL, 0);
}

static void ask_context(Talk *talk)
{
	begin_context(talk);
	say_context(talk, TALK_EXPORT, NBD_CONTEXT);
}

static void context_other(Talk *talk)
{
	begin_context(talk);
	say_context(talk, TALK_EXPORT, "qemu:dirty-bitmap:a");
}

static void context_same_length(Talk *talk)
{
	begin_context(talk);
	say_context(talk, TALK_EXPORT, "base:allocatioM");
}

static void context_of_other(Talk *talk)
{
	begin_context(talk);
	say_context(talk, "disk-1", NBD_CONTEXT);
}

static void context_none(Talk *talk)
{
	begin_context(talk);
	say_option(talk, NBD_OPTION_SET_META_CONTEXT, "\0\0\0\6disk-0\0\0\0\0", 14);
}

/* --- replies to options --- */

static void reply_unsupported(Talk *talk)
{
	ask_context(talk);
	say_reply(talk, NBD_OPTION_SET_META_CONTEXT, NBD_REPLY_ERROR_BIT | 1, NULL, 0);
}

static void reply_with_data(Talk *talk)
{
	ask_context(talk);
	say_reply(talk, NBD_OPTION_SET_META_CONTEXT, NBD_REPLY_ACK, "x", 1);
}

static void reply_of_list(Talk *talk)
{
	ask_context(talk);
	say_reply(talk, NBD_OPTION_SET_META_CONTEXT, 2, "\0\0\0\0", 4);
}

static void info_for_context(Talk *talk)
{
	ask_context(talk);
	say_reply(talk, NBD_OPTION_SET_META_CONTEXT, NBD_REPLY_INFO, "\0\0", 2);
}

static void reply_unknown_error(Talk *talk)
{
	ask_context(talk);
	say_reply(talk, NBD_OPTION_SET_META_CONTEXT, NBD_REPLY_ERROR_BIT | 11, NULL, 0);
}

static void reply_no_error(Talk *talk)
{
	ask_context(talk);
	say_reply(talk, NBD_OPTION_SET_META_CONTEXT, NBD_REPLY_ERROR_BIT, NULL, 0);
}

static void reply_control_text(Talk *talk)
{
	ask_context(talk);
	say_reply(talk, NBD_OPTION_SET_META_CONTEXT, NBD_REPLY_ERROR_BIT | 1, "a\x1b[2Jb", 6);
}

static void reply_long(Talk *talk, size_t size)
{
	char text[1025];

	memset(text, 'a', sizeof(text));
	ask_context(talk);
	say_reply(talk, NBD_OPTION_SET_META_CONTEXT, NBD_REPLY_ERROR_BIT | 1, text, size);
}

static void reply_long_enough(Talk *talk)
{
	reply_long(talk, 1024);
}

static void reply_too_long(Talk *talk)
{
	reply_long(talk, 1025);
}

static void answer_context(Talk *talk)
{
	ask_context(talk);
	say_context_reply(talk, NBD_CONTEXT);
}

static void answer_context_twice(Talk *talk)
{
	answer_context(talk);
	say_context_reply(talk, NBD_CONTEXT);
}

static void answer_other_context(Talk *talk)
{
	ask_context(talk);
	say_context_reply(talk, "base:allocatioM");
}

static void answer_longer_context(Talk *talk)
{
	ask_context(talk);
	say_context_reply(talk, NBD_CONTEXT "s");
}

static void answer_no_context(Talk *talk)
{
	ask_context(talk);
	say_reply(talk, NBD_OPTION_SET_META_CONTEXT, NBD_REPLY_META_CONTEXT, "abc", 3);
}

static void ask_go(Talk *talk)
{
	talk_greet(talk);
	say_go(talk, TALK_EXPORT, 1, NBD_INFO_BLOCK_SIZE);
}

static void info_unasked(Talk *talk)
{
	ask_go(talk);
	say_reply(talk, NBD_OPTION_GO, NBD_REPLY_INFO, "\0\2hello", 7);
}

static void info_typeless(Talk *talk)
{
	ask_go(talk);
	say_reply(talk, NBD_OPTION_GO, NBD_REPLY_INFO, "\0", 1);
}

static void export_short(Talk *talk)
{
	ask_go(talk);
	say_reply(talk, NBD_OPTION_GO, NBD_REPLY_INFO, "\0\0\0\0\0\0\0\x80\0\0\0", 11);
}

static void export_long(Talk *talk)
{
	ask_go(talk);
	say_reply(talk, NBD_OPTION_GO, NBD_REPLY_INFO, "\0\0\0\0\0\0\0\x80\0\0\0\1\0", 13);
}

static void export_twice(Talk *talk)
{
	ask_go(talk);
	say_export(talk, TALK_SIZE_BYTES, TALK_FLAGS);
	say_export(talk, TALK_SIZE_BYTES, TALK_FLAGS);
}

static void blocks_short(Talk *talk)
{
	ask_go(talk);
	say_reply(talk, NBD_OPTION_GO, NBD_REPLY_INFO, "\0\3\0\0\2\0\0\0\x10\0\2\0\0", 13);
}

static void blocks_twice(Talk *talk)
{
	ask_go(talk);
	say_block_sizes(talk, 512, 4096, NBD_GUARD_LENGTH_MAX);
	say_block_sizes(talk, 1, 4096, NBD_GUARD_LENGTH_MAX);
}

/* --- the export --- */

static void go_undescribed(Talk *talk)
{
	ask_go(talk);
	say_reply(talk, NBD_OPTION_GO, NBD_REPLY_ACK, NULL, 0);
}

static void export_smaller(Talk *talk)
{
	ask_go(talk);
	say_export(talk, TALK_SIZE_BYTES - 512, TALK_FLAGS);
}

static void export_larger(Talk *talk)
{
	ask_go(talk);
	say_export(talk, UINT64_MAX, TALK_FLAGS);
}

static void export_flags(Talk *talk, unsigned int flags)
{
	ask_go(talk);
	say_export(talk, TALK_SIZE_BYTES, (uint16_t)flags);
}

static void export_read_only(Talk *talk)
{
	export_flags(talk, TALK_FLAGS | NBD_FLAG_READ_ONLY);
}

static void export_multi(Talk *talk)
{
	export_flags(talk, TALK_FLAGS | NBD_FLAG_CAN_MULTI_CONN);
}

static void export_resize(Talk *talk)
{
	export_flags(talk, TALK_FLAGS | NBD_FLAG_SEND_RESIZE);
}

static void export_unknown_flag(Talk *talk)
{
	export_flags(talk, TALK_FLAGS | 1 << 15);
}

static void export_flagless(Talk *talk)
{
	export_flags(talk, 0);
}

static void export_all_flags(Talk *talk)
{
	export_flags(talk, TALK_FLAGS | NBD_FLAG_ROTATIONAL | NBD_FLAG_SEND_DF |
				   NBD_FLAG_BLOCK_STATUS_PAYLOAD);
}

static void blocks(Talk *talk, uint32_t least, uint32_t preferred, uint32_t most)
{
	ask_go(talk);
	say_block_sizes(talk, least, preferred, most);
}

static void blocks_good(Talk *talk)
{
	blocks(talk, 1, 512, 512);
}

static void blocks_largest(Talk *talk)
{
	blocks(talk, 65536, NBD_GUARD_LENGTH_MAX, UINT32_MAX);
}

static void blocks_zero(Talk *talk)
{
	blocks(talk, 0, 4096, NBD_GUARD_LENGTH_MAX);
}

static void blocks_odd(Talk *talk)
{
	blocks(talk, 513, 4096, NBD_GUARD_LENGTH_MAX);
}

static void blocks_large(Talk *talk)
{
	blocks(talk, 131072, 131072, NBD_GUARD_LENGTH_MAX);
}

static void blocks_preferred_odd(Talk *talk)
{
	blocks(talk, 512, 4097, NBD_GUARD_LENGTH_MAX);
}

static void blocks_preferred_small(Talk *talk)
{
	blocks(talk, 1, 256, NBD_GUARD_LENGTH_MAX);
}

static void blocks_preferred_less(Talk *talk)
{
	blocks(talk, 4096, 512, NBD_GUARD_LENGTH_MAX);
}

static void blocks_preferred_huge(Talk *talk)
{
	blocks(talk, 512, 2 * NBD_GUARD_LENGTH_MAX, UINT32_MAX);
}

static void blocks_most_less(Talk *talk)
{
	blocks(talk, 512, 4096, 2048);
}

#define CLIENT NBD_FROM_CLIENT
#define SERVER NBD_FROM_SERVER

const NbdCase nbd_handshake_cases[] = {
	{ NBD_RULE_TURN, CLIENT, "client first", talk_greet, client_first, "before the server's" },
	{ NBD_RULE_TURN, SERVER, "server goes on", talk_greet, server_goes_on, "client's flags" },
	{ NBD_RULE_TURN, CLIENT, "two options", open_extended, option_too_soon,
	  "GO before the reply to STRUCTURED_REPLY" },
	{ NBD_RULE_TURN, SERVER, "reply unasked", talk_greet, reply_unasked, "waits for none" },
	{ NBD_RULE_TURN, SERVER, "reply to another", ask_go, reply_to_other, "option 8" },
	{ NBD_RULE_TURN, SERVER, "reply to none", talk_greet, reply_to_none, "option 0" },
	{ NBD_RULE_TURN, SERVER, "reply again", begin_context, reply_again, "option 8" },
	{ NBD_RULE_TURN, CLIENT, "behind ABORT", abort_amid_replies, behind_abort, "its ABORT" },
	{ NBD_RULE_TURN, SERVER, "ABORT answered twice", abort_amid_replies, abort_answered_twice,
	  "option 2" },
	{ NBD_RULE_TURN, CLIENT, "behind DISC", disc, behind_disc, "its DISC" },
	{ NBD_RULE_MAGIC, CLIENT, "no option", talk_greet, no_option, "no option" },
	{ NBD_RULE_MAGIC, SERVER, "no reply", ask_go, no_reply, "no reply" },
	{ NBD_RULE_GREETING, SERVER, "oldstyle", talk_greet, oldstyle, "no newstyle" },
	{ NBD_RULE_GREETING, SERVER, "TLS", talk_greet, tls_hello, "no newstyle" },
	{ NBD_RULE_GREETING, SERVER, "not fixed", talk_greet, not_fixed, "flags 0x2, not 0x3" },
	{ NBD_RULE_GREETING, SERVER, "more flags", talk_greet, more_handshake_flags, "flags 0x7" },
	{ NBD_RULE_GREETING, CLIENT, "padding", talk_greet, with_zeroes, "client flags 0x1" },
	{ NBD_RULE_GREETING, CLIENT, "more", talk_greet, more_client_flags, "flags 0x80000003" },
	{ NBD_RULE_OPTION, CLIENT, "EXPORT_NAME", ask_go, export_name, "(EXPORT_NAME)" },
	{ NBD_RULE_OPTION, CLIENT, "STARTTLS", ask_go, starttls, "(STARTTLS)" },
	{ NBD_RULE_OPTION, CLIENT, "LIST", ask_go, list, "(LIST)" },
	{ NBD_RULE_OPTION, CLIENT, "INFO", ask_go, info, "(INFO)" },
	{ NBD_RULE_OPTION, CLIENT, "LIST_META_CONTEXT", ask_context, list_contexts,
	  "(LIST_META_CONTEXT)" },
	{ NBD_RULE_OPTION, CLIENT, "zero", ask_go, option_zero, "option 0 (unknown)" },
	{ NBD_RULE_OPTION, CLIENT, "unknown", ask_go, option_unknown, "option 12 (unknown)" },
	{ NBD_RULE_OPTION, CLIENT, "huge", ask_go, option_huge, "option 4294967295" },
	{ NBD_RULE_OPTION, CLIENT, "twice", open_simple, option_twice, "comes again" },
	{ NBD_RULE_OPTION, CLIENT, "GO again", go_refused, go_again, "GO comes again" },
	{ NBD_RULE_OPTION, CLIENT, "both forms", open_extended, structured_and_extended,
	  "STRUCTURED_REPLY does not fit" },
	{ NBD_RULE_OPTION, CLIENT, "extended late", open_structured, extended_late, "too late" },
	{ NBD_RULE_OPTION, CLIENT, "context of simple", ask_context, context_in_simple,
	  "SET_META_CONTEXT does not fit" },
	{ NBD_RULE_OPTION_DATA, CLIENT, "data", open_extended, data_behind, "without any" },
	{ NBD_RULE_OPTION_DATA, CLIENT, "data of ABORT", abort_amid_replies, data_behind_abort,
	  "without any" },
	{ NBD_RULE_OPTION_DATA, CLIENT, "other export", ask_go, other_export, "\"disk-1\", not" },
	{ NBD_RULE_OPTION_DATA, CLIENT, "shorter export", ask_go, shorter_export, "\"disk-\"" },
	{ NBD_RULE_OPTION_DATA, CLIENT, "no export", ask_go, no_export, "\"\", not \"disk-0\"" },
	{ NBD_RULE_OPTION_DATA, CLIENT, "long name", ask_go, name_too_long, "longer than" },
	{ NBD_RULE_OPTION_DATA, CLIENT, "long data", ask_go, data_too_long, "257 bytes" },
	{ NBD_RULE_OPTION_DATA, CLIENT, "empty GO", ask_go, go_empty, "longer than" },
	{ NBD_RULE_OPTION_DATA, CLIENT, "description", ask_go, go_for_description, "asks for" },
	{ NBD_RULE_OPTION_DATA, CLIENT, "two infos", ask_go, go_for_two, "asks for" },
	{ NBD_RULE_OPTION_DATA, CLIENT, "cut GO", go_without_infos, go_cut, "asks for" },
	{ NBD_RULE_OPTION_DATA, CLIENT, "trailing", go_without_infos, go_trailing, "asks for" },
	{ NBD_RULE_OPTION_DATA, CLIENT, "bitmap", ask_context, context_other, "other contexts" },
	{ NBD_RULE_OPTION_DATA, CLIENT, "context", ask_context, context_same_length, "other" },
	{ NBD_RULE_OPTION_DATA, CLIENT, "its export", ask_context, context_of_other, "disk-1" },
	{ NBD_RULE_OPTION_DATA, CLIENT, "no query", ask_context, context_none, "other contexts" },
	{ NBD_RULE_OPTION_REPLY, SERVER, "ACK data", reply_unsupported, reply_with_data, "ACK" },
	{ NBD_RULE_OPTION_REPLY, SERVER, "SERVER", answer_context, reply_of_list, "type 2 to SET" },
	{ NBD_RULE_OPTION_REPLY, SERVER, "INFO", answer_context, info_for_context, "type 3 to" },
	{ NBD_RULE_OPTION_REPLY, SERVER, "error 11", reply_unsupported, reply_unknown_error,
	  "error 11" },
	{ NBD_RULE_OPTION_REPLY, SERVER, "error 0", reply_unsupported, reply_no_error, "error 0" },
	{ NBD_RULE_OPTION_REPLY, SERVER, "escape", reply_long_enough, reply_control_text, "text" },
	{ NBD_RULE_OPTION_REPLY, SERVER, "long", reply_long_enough, reply_too_long, "1025 bytes" },
	{ NBD_RULE_OPTION_REPLY, SERVER, "context twice", answer_context, answer_context_twice,
	  "twice" },
	{ NBD_RULE_OPTION_REPLY, SERVER, "other context", answer_context, answer_other_context,
	  "another context" },
	{ NBD_RULE_OPTION_REPLY, SERVER, "longer context", answer_context, answer_longer_context,
	  "another context" },
	{ NBD_RULE_OPTION_REPLY, SERVER, "no context", answer_context, answer_no_context,
	  "another context" },
	{ NBD_RULE_OPTION_REPLY, SERVER, "INFO unasked", blocks_good, info_unasked, "INFO 2" },
	{ NBD_RULE_OPTION_REPLY, SERVER, "INFO", blocks_good, info_typeless, "without a type" },
	{ NBD_RULE_OPTION_REPLY, SERVER, "export short", export_all_flags, export_short, "length" },
	{ NBD_RULE_OPTION_REPLY, SERVER, "export long", export_all_flags, export_long, "length" },
	{ NBD_RULE_OPTION_REPLY, SERVER, "export twice", export_all_flags, export_twice, "twice" },
	{ NBD_RULE_OPTION_REPLY, SERVER, "blocks short", blocks_good, blocks_short, "length" },
	{ NBD_RULE_OPTION_REPLY, SERVER, "blocks twice", blocks_good, blocks_twice, "twice" },
	{ NBD_RULE_EXPORT, SERVER, "undescribed", open_simple, go_undescribed, "not described" },
	{ NBD_RULE_EXPORT, SERVER, "smaller", open_simple, export_smaller, "8388096 bytes" },
	{ NBD_RULE_EXPORT, SERVER, "larger", open_simple, export_larger, "18446744073709551615" },
	{ NBD_RULE_EXPORT, SERVER, "read-only", export_all_flags, export_read_only, "read-only" },
	{ NBD_RULE_EXPORT, SERVER, "several", export_all_flags, export_multi, "flags 0x" },
	{ NBD_RULE_EXPORT, SERVER, "resize", export_all_flags, export_resize, "flags 0x" },
	{ NBD_RULE_EXPORT, SERVER, "unknown", export_all_flags, export_unknown_flag, "flags 0x8" },
	{ NBD_RULE_EXPORT, SERVER, "none", export_all_flags, export_flagless, "flags 0x0" },
	{ NBD_RULE_BLOCK_SIZE, SERVER, "zero", blocks_good, blocks_zero, "0, 4096" },
	{ NBD_RULE_BLOCK_SIZE, SERVER, "odd", blocks_good, blocks_odd, "513, 4096" },
	{ NBD_RULE_BLOCK_SIZE, SERVER, "large", blocks_largest, blocks_large, "131072" },
	{ NBD_RULE_BLOCK_SIZE, SERVER, "odd", blocks_good, blocks_preferred_odd, "4097" },
	{ NBD_RULE_BLOCK_SIZE, SERVER, "small", blocks_good, blocks_preferred_small, "1, 256" },
	{ NBD_RULE_BLOCK_SIZE, SERVER, "less", blocks_good, blocks_preferred_less, "4096, 512" },
	{ NBD_RULE_BLOCK_SIZE, SERVER, "huge", blocks_largest, blocks_preferred_huge, "67108864" },
	{ NBD_RULE_BLOCK_SIZE, SERVER, "most", blocks_good, blocks_most_less, "and 2048" },
};
const size_t nbd_handshake_cases_count = ARRAY_SIZE(nbd_handshake_cases);
