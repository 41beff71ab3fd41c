/* SPDX-License-Identifier: Apache-2.0 */
#include "nbd/rules.h"

#include <assert.h>

#include "base/cleanup.h"

static const NbdRuleText rules[] = {
	[NBD_RULE_TURN] = {
		"nbd-turn",
		"each end speaks only in its turn: the server first, one option at a time, nothing "
		"from the client behind ABORT or DISC, no reply to an option that was not sent",
		"QEMU's server takes options in any number, and one before the reply to another",
	},
	[NBD_RULE_MAGIC] = {
		"nbd-magic",
		"each header begins with the magic number of the form that was agreed",
		"a stream that is out of step reads payload as headers",
	},
	[NBD_RULE_CLOSED] = {
		"nbd-closed",
		"a direction ends after DISC or ABORT, between two headers, with every answer given",
		"no hole: a mirror that was cancelled or whose end died does so",
	},
	[NBD_RULE_GREETING] = {
		"nbd-greeting",
		"the handshake is fixed newstyle without padding, and both ends say so",
		"QEMU's client falls back to oldstyle and newstyle, in which less is said",
	},
	[NBD_RULE_OPTION] = {
		"nbd-option",
		"only extended headers, structured replies, one context, GO and ABORT are asked for, "
		"each at most once and in this order",
		"STARTTLS, LIST, INFO, EXPORT_NAME and the listing of contexts: code and names that "
		"a mirror does not need",
	},
	[NBD_RULE_OPTION_DATA] = {
		"nbd-option-data",
		"an option has exactly its data: the one export's name, base:allocation, block sizes",
		"CVE-2017-15118 and CVE-2020-10761: long names of exports; CVE-2017-15119: up to 4 GiB "
		"of data that the server reads and drops",
	},
	[NBD_RULE_OPTION_REPLY] = {
		"nbd-option-reply",
		"a reply to an option has a type that fits it, once, and that type's length",
		"CVE-2017-2630: a long reply in the client's stack; it reads up to 32 MiB of a message",
	},
	[NBD_RULE_EXPORT] = {
		"nbd-export",
		"the export has the agreed size, may be written, and has known flags only",
		"QEMU's client takes the size that comes; a mirror to a smaller target fails late",
	},
	[NBD_RULE_BLOCK_SIZE] = {
		"nbd-block-size",
		"block sizes are powers of two in their order, and the export is whole blocks",
		"QEMU's client takes them for the alignment and the bound of its requests",
	},
	[NBD_RULE_COMMAND] = {
		"nbd-command",
		"only commands that this connection is for, and that the export announced",
		"READ gives away what stood on the volume before; CACHE reads into memory",
	},
	[NBD_RULE_FLAGS] = {
		"nbd-flags",
		"a command has flags of its own only, as announced; BLOCK_STATUS asks for one extent",
		"without REQ_ONE one request is answered by up to 1 MiB of extents",
	},
	[NBD_RULE_RANGE] = {
		"nbd-range",
		"offset and length are not empty, whole blocks, and lie in the export",
		"offset + length overflows in 64 bits",
	},
	[NBD_RULE_LENGTH] = {
		"nbd-length",
		"READ and WRITE are no longer than 32 MiB or what the server takes",
		"the server allocates the length before it reads the payload",
	},
	[NBD_RULE_COOKIE] = {
		"nbd-cookie",
		"no two requests that wait have the same cookie",
		"QEMU's server does not look: two answers would belong to either",
	},
	[NBD_RULE_IN_FLIGHT] = {
		"nbd-in-flight",
		"at most 64 requests and so many bytes of payload wait for their answers",
		"a client that never reads makes the server keep what it has to say",
	},
	[NBD_RULE_REPLY_COOKIE] = {
		"nbd-reply-cookie",
		"a reply answers a request that waits, all of whose payload was sent",
		"QEMU's client takes the cookie for an index into its requests",
	},
	[NBD_RULE_REPLY_KIND] = {
		"nbd-reply-kind",
		"a reply has the form, flags, type and length that fit its request",
		"QEMU's client reads any type's payload of up to 1000 bytes before it looks",
	},
	[NBD_RULE_REPLY_RANGE] = {
		"nbd-reply-range",
		"chunks of a READ follow each other in the request's range, and fill it",
		"QEMU's client does not see that a chunk is missing: the guest reads what stood in "
		"the buffer",
	},
	[NBD_RULE_REPLY_STATUS] = {
		"nbd-reply-status",
		"BLOCK_STATUS is answered by one extent of the one context, inside what was asked",
		"an extent of no length, or behind the request's end, drives a loop of the caller",
	},
	[NBD_RULE_REPLY_ERROR] = {
		"nbd-reply-error",
		"errors are those of the protocol, with a text of at most 1024 printable bytes",
		"the text ends in logs of the other host; an error of 0 is none",
	},
};
static_assert(ARRAY_SIZE(rules) == NBD_RULE_COUNT, "a text for each rule");

const NbdRuleText *nbd_rule_text(NbdRule rule)
{
	return &rules[rule];
}
