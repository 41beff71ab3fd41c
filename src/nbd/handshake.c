/* SPDX-License-Identifier: Apache-2.0 */
/* The handshake: greeting, options of the client, replies of the server. */
#include <assert.h>
#include <string.h>

#include "nbd/nbd_internal.h"

enum {
	HANDSHAKE_FLAGS = NBD_FIXED_NEWSTYLE | NBD_NO_ZEROES,
	OPTION_DATA_MAX = 256,
	REPLY_TEXT_MAX = 1024,
	CONTEXT_SIZE = sizeof(NBD_CONTEXT) - 1,
	/* What an export may announce: what QEMU's server does (7.2 to 10.0), and ROTATIONAL, a
	 * hint. Not READ_ONLY; not CAN_MULTI_CONN, as there is one connection; not RESIZE. */
	EXPORT_FLAGS = NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA |
		       NBD_FLAG_ROTATIONAL | NBD_FLAG_SEND_TRIM | NBD_FLAG_SEND_WRITE_ZEROES |
		       NBD_FLAG_SEND_DF | NBD_FLAG_SEND_CACHE | NBD_FLAG_SEND_FAST_ZERO |
		       NBD_FLAG_BLOCK_STATUS_PAYLOAD,
	BLOCK_MIN_MAX = 65536, /* proto.md, "Size constraints" */
	BLOCK_PREFERRED_MIN = 512,
};
static_assert(NBD_OPTION_REPLY_SIZE + REPLY_TEXT_MAX <= NBD_GUARD_WINDOW, "fits a window");

static bool refuse_client(const NbdGuard *guard, NbdRule rule, const char *what, Error *err)
{
	return nbd_violation(guard, NBD_FROM_CLIENT, rule, err, "%s", what);
}

static bool refuse_server(const NbdGuard *guard, NbdRule rule, const char *what, Error *err)
{
	return nbd_violation(guard, NBD_FROM_SERVER, rule, err, "%s", what);
}

bool nbd_judge_greeting(NbdGuard *guard, const uint8_t *bytes, size_t size, size_t *ret_size,
			Error *err)
{
	if (size < NBD_GREETING_SIZE)
		return true;
	if (load_be64(bytes) != NBD_MAGIC || load_be64(bytes + 8) != NBD_OPTION_MAGIC)
		return refuse_server(guard, NBD_RULE_GREETING, "is no newstyle server", err);
	if (load_be16(bytes + 16) != HANDSHAKE_FLAGS)
		return nbd_violation(guard, NBD_FROM_SERVER, NBD_RULE_GREETING, err,
				     "handshake flags 0x%x, not 0x%x", load_be16(bytes + 16),
				     HANDSHAKE_FLAGS);
	guard->phase = NBD_PHASE_CLIENT_FLAGS;
	*ret_size = NBD_GREETING_SIZE;
	return true;
}

bool nbd_judge_client_flags(NbdGuard *guard, const uint8_t *bytes, size_t size, size_t *ret_size,
			    Error *err)
{
	if (size < NBD_CLIENT_FLAGS_SIZE)
		return true;
	if (load_be32(bytes) != HANDSHAKE_FLAGS)
		return nbd_violation(guard, NBD_FROM_CLIENT, NBD_RULE_GREETING, err,
				     "client flags 0x%lx, not 0x%x",
				     (unsigned long)load_be32(bytes), HANDSHAKE_FLAGS);
	guard->phase = NBD_PHASE_OPTIONS;
	*ret_size = NBD_CLIENT_FLAGS_SIZE;
	return true;
}

/* What stands behind an option's header is judged by its row. */
typedef bool JudgeData(const NbdGuard *guard, Reader data, Error *err);

static bool judge_no_data(const NbdGuard *guard, Reader data, Error *err)
{
	return !data.left ||
	       refuse_client(guard, NBD_RULE_OPTION_DATA, "data behind an option without any", err);
}

static bool take_export_name(const NbdGuard *guard, Reader *data, Error *err)
{
	uint32_t length;
	const uint8_t *name;

	if (!reader_get_be32(data, &length) || !reader_skip(data, length, &name))
		return refuse_client(guard, NBD_RULE_OPTION_DATA,
				     "an export's name longer than its option", err);
	if (length != guard->name_length || memcmp(name, guard->options.export_name, length) != 0)
		return nbd_violation(guard, NBD_FROM_CLIENT, NBD_RULE_OPTION_DATA, err,
				     "export \"%.*s\", not \"%s\"",
				     length < LIMIT_NAME ? (int)length : LIMIT_NAME,
				     (const char *)name, guard->options.export_name);
	return true;
}

/* One query, for the one context. */
static bool judge_context(const NbdGuard *guard, Reader data, Error *err)
{
	uint32_t queries, length;
	const uint8_t *name;

	if (!take_export_name(guard, &data, err))
		return false;
	if (!reader_get_be32(&data, &queries) || queries != 1 || !reader_get_be32(&data, &length) ||
	    length != CONTEXT_SIZE || !reader_skip(&data, CONTEXT_SIZE, &name) ||
	    memcmp(name, NBD_CONTEXT, CONTEXT_SIZE) != 0 || data.left)
		return refuse_client(guard, NBD_RULE_OPTION_DATA,
				     "other contexts than " NBD_CONTEXT, err);
	return true;
}

static bool judge_go(const NbdGuard *guard, Reader data, Error *err)
{
	uint16_t count, info;

	if (!take_export_name(guard, &data, err))
		return false;
	if (!reader_get_be16(&data, &count) || count > 1 ||
	    (count && (!reader_get_be16(&data, &info) || info != NBD_INFO_BLOCK_SIZE)) || data.left)
		return refuse_client(guard, NBD_RULE_OPTION_DATA,
				     "GO asks for more than block sizes", err);
	return true;
}

/* All else is refused. `after`: options that must not have been seen, so that they come in the
 * order of QEMU's client. */
typedef struct OptionRow {
	const char *name;
	JudgeData *judge; /* NULL: no such option here */
	uint32_t before;  /* options that are too late behind this one */
} OptionRow;

#define BIT(option) (UINT32_C(1) << (option))

static const OptionRow options[] = {
	[NBD_OPTION_EXPORT_NAME] = { .name = "EXPORT_NAME" },
	[NBD_OPTION_ABORT] = { .name = "ABORT", .judge = judge_no_data },
	[NBD_OPTION_LIST] = { .name = "LIST" },
	[NBD_OPTION_STARTTLS] = { .name = "STARTTLS" },
	[NBD_OPTION_INFO] = { .name = "INFO" },
	[NBD_OPTION_GO] = { .name = "GO", .judge = judge_go },
	[NBD_OPTION_STRUCTURED_REPLY] = { .name = "STRUCTURED_REPLY",
					  .judge = judge_no_data,
					  .before = BIT(NBD_OPTION_SET_META_CONTEXT) },
	[NBD_OPTION_LIST_META_CONTEXT] = { .name = "LIST_META_CONTEXT" },
	[NBD_OPTION_SET_META_CONTEXT] = { .name = "SET_META_CONTEXT", .judge = judge_context },
	[NBD_OPTION_EXTENDED_HEADERS] = { .name = "EXTENDED_HEADERS",
					  .judge = judge_no_data,
					  .before = BIT(NBD_OPTION_STRUCTURED_REPLY) |
						    BIT(NBD_OPTION_SET_META_CONTEXT) },
};
static_assert(ARRAY_SIZE(options) == NBD_OPTION_COUNT, "a row for each option");

/* Whether this option may be asked for at all, and now. */
static bool judge_option_place(const NbdGuard *guard, uint32_t option, Error *err)
{
	const OptionRow *row = option < NBD_OPTION_COUNT ? &options[option] : &options[0];
	uint32_t too_late = BIT(NBD_OPTION_GO) | row->before;

	if (!row->judge)
		return nbd_violation(guard, NBD_FROM_CLIENT, NBD_RULE_OPTION, err,
				     "option %lu (%s) is not needed here", (unsigned long)option,
				     row->name ? row->name : "unknown");
	/* QEMU's client gives up anywhere, also while replies still come. */
	if (option == NBD_OPTION_ABORT)
		return true;
	if (guard->pending != NBD_OPTION_NONE)
		return nbd_violation(guard, NBD_FROM_CLIENT, NBD_RULE_TURN, err,
				     "%s before the reply to %s", row->name,
				     options[guard->pending].name);
	if (guard->options_seen & (too_late | BIT(option)))
		return nbd_violation(guard, NBD_FROM_CLIENT, NBD_RULE_OPTION, err,
				     "%s comes again, or too late", row->name);
	if ((option == NBD_OPTION_STRUCTURED_REPLY && guard->mode == NBD_MODE_EXTENDED) ||
	    (option == NBD_OPTION_SET_META_CONTEXT && guard->mode == NBD_MODE_SIMPLE))
		return nbd_violation(guard, NBD_FROM_CLIENT, NBD_RULE_OPTION, err,
				     "%s does not fit the replies that were agreed", row->name);
	return true;
}

bool nbd_judge_option(NbdGuard *guard, const uint8_t *bytes, size_t size, size_t *ret_size,
		      Error *err)
{
	uint32_t option, length;

	if (size < sizeof(uint64_t))
		return true;
	if (load_be64(bytes) != NBD_OPTION_MAGIC)
		return refuse_client(guard, NBD_RULE_MAGIC, "no option where one is due", err);
	if (size < NBD_OPTION_SIZE)
		return true;
	option = load_be32(bytes + 8);
	length = load_be32(bytes + 12);
	if (!judge_option_place(guard, option, err))
		return false;
	if (length > OPTION_DATA_MAX)
		return nbd_violation(guard, NBD_FROM_CLIENT, NBD_RULE_OPTION_DATA, err,
				     "%s has %lu bytes of data, more than %d", options[option].name,
				     (unsigned long)length, OPTION_DATA_MAX);
	if (size - NBD_OPTION_SIZE < length)
		return true;
	if (!options[option].judge(guard, reader_of(bytes + NBD_OPTION_SIZE, length), err))
		return false;
	guard->options_seen |= BIT(option);
	if (option == NBD_OPTION_ABORT)
		guard->phase = NBD_PHASE_ABORTED;
	else
		guard->pending = (NbdOption)option;
	*ret_size = NBD_OPTION_SIZE + length;
	return true;
}

static bool judge_acknowledged(NbdGuard *guard, NbdOption option, uint32_t length, Error *err)
{
	if (length)
		return refuse_server(guard, NBD_RULE_OPTION_REPLY, "ACK with data", err);
	if (option == NBD_OPTION_ABORT) {
		guard->options_seen &= ~BIT(NBD_OPTION_ABORT);
		return true;
	}
	if (option == NBD_OPTION_GO && !guard->has_export)
		return refuse_server(guard, NBD_RULE_EXPORT, "an export that was not described",
				     err);
	if (option == NBD_OPTION_STRUCTURED_REPLY)
		guard->mode = NBD_MODE_STRUCTURED;
	if (option == NBD_OPTION_EXTENDED_HEADERS)
		guard->mode = NBD_MODE_EXTENDED;
	if (option == NBD_OPTION_GO && guard->phase == NBD_PHASE_OPTIONS)
		guard->phase = NBD_PHASE_TRANSMISSION;
	guard->pending = NBD_OPTION_NONE;
	return true;
}

static bool judge_refused(NbdGuard *guard, NbdOption option, uint32_t type, Reader text, Error *err)
{
	uint32_t code = type & ~NBD_REPLY_ERROR_BIT;

	if (!code || code > NBD_REPLY_ERROR_LAST || !nbd_is_text(text.data, text.left))
		return nbd_violation(guard, NBD_FROM_SERVER, NBD_RULE_OPTION_REPLY, err,
				     "error %lu, or its text, is none of the protocol",
				     (unsigned long)code);
	if (option == NBD_OPTION_ABORT)
		guard->options_seen &= ~BIT(NBD_OPTION_ABORT);
	else
		guard->pending = NBD_OPTION_NONE;
	if (option == NBD_OPTION_SET_META_CONTEXT)
		guard->has_context = false;
	return true;
}

static bool judge_context_reply(NbdGuard *guard, Reader data, Error *err)
{
	uint32_t id;

	if (!reader_get_be32(&data, &id) || data.left != CONTEXT_SIZE ||
	    memcmp(data.data, NBD_CONTEXT, CONTEXT_SIZE) != 0 || guard->has_context)
		return refuse_server(guard, NBD_RULE_OPTION_REPLY,
				     "another context than " NBD_CONTEXT ", or that one twice",
				     err);
	guard->has_context = true;
	guard->context_id = id;
	return true;
}

static bool judge_export(NbdGuard *guard, Reader info, Error *err)
{
	uint64_t size_bytes = 0;
	uint16_t flags = 0;

	if (guard->has_export || !reader_get_be64(&info, &size_bytes) ||
	    !reader_get_be16(&info, &flags) || info.left)
		return refuse_server(guard, NBD_RULE_OPTION_REPLY,
				     "a description of the export twice, or of another length",
				     err);
	if (size_bytes != guard->options.size_bytes)
		return nbd_violation(guard, NBD_FROM_SERVER, NBD_RULE_EXPORT, err,
				     "the export has %llu bytes, the disk %llu",
				     (unsigned long long)size_bytes,
				     (unsigned long long)guard->options.size_bytes);
	if (!(flags & NBD_FLAG_HAS_FLAGS) || flags & ~(unsigned int)EXPORT_FLAGS)
		return nbd_violation(guard, NBD_FROM_SERVER, NBD_RULE_EXPORT, err,
				     "the export has flags 0x%x, not of 0x%x%s", flags,
				     EXPORT_FLAGS,
				     flags & NBD_FLAG_READ_ONLY ? ": it is read-only" : "");
	guard->has_export = true;
	guard->export_flags = flags;
	return true;
}

static bool is_power_of_two(uint32_t value)
{
	return value && !(value & (value - 1));
}

static bool judge_block_size(NbdGuard *guard, Reader info, Error *err)
{
	uint32_t least = 0, preferred = 0, most = 0;

	if (guard->has_block_size || !reader_get_be32(&info, &least) ||
	    !reader_get_be32(&info, &preferred) || !reader_get_be32(&info, &most) || info.left)
		return refuse_server(guard, NBD_RULE_OPTION_REPLY,
				     "block sizes twice, or of another length", err);
	if (!is_power_of_two(least) || least > BLOCK_MIN_MAX || !is_power_of_two(preferred) ||
	    preferred < least || preferred < BLOCK_PREFERRED_MIN ||
	    preferred > NBD_GUARD_LENGTH_MAX || most < preferred ||
	    guard->options.size_bytes % least)
		return nbd_violation(guard, NBD_FROM_SERVER, NBD_RULE_BLOCK_SIZE, err,
				     "block sizes %lu, %lu and %lu", (unsigned long)least,
				     (unsigned long)preferred, (unsigned long)most);
	guard->has_block_size = true;
	guard->block_min = least;
	if (most < guard->payload_max)
		guard->payload_max = most;
	return true;
}

static bool judge_info(NbdGuard *guard, Reader data, Error *err)
{
	uint16_t type;

	if (!reader_get_be16(&data, &type))
		return refuse_server(guard, NBD_RULE_OPTION_REPLY, "INFO without a type", err);
	if (type == NBD_INFO_EXPORT)
		return judge_export(guard, data, err);
	if (type == NBD_INFO_BLOCK_SIZE)
		return judge_block_size(guard, data, err);
	return nbd_violation(guard, NBD_FROM_SERVER, NBD_RULE_OPTION_REPLY, err,
			     "INFO %u, which nobody asked for", type);
}

/* Whether a reply is to an option that waits: after ABORT that one, or the one before it. */
static bool is_awaited(const NbdGuard *guard, uint32_t option)
{
	if (option == NBD_OPTION_ABORT)
		return guard->options_seen & BIT(NBD_OPTION_ABORT);
	return option != NBD_OPTION_NONE && option == guard->pending;
}

static bool judge_reply_data(NbdGuard *guard, NbdOption option, uint32_t type, Reader data,
			     Error *err)
{
	if (type & NBD_REPLY_ERROR_BIT)
		return judge_refused(guard, option, type, data, err);
	if (type == NBD_REPLY_ACK)
		return judge_acknowledged(guard, option, (uint32_t)data.left, err);
	if (type == NBD_REPLY_INFO && option == NBD_OPTION_GO)
		return judge_info(guard, data, err);
	if (type == NBD_REPLY_META_CONTEXT && option == NBD_OPTION_SET_META_CONTEXT)
		return judge_context_reply(guard, data, err);
	return nbd_violation(guard, NBD_FROM_SERVER, NBD_RULE_OPTION_REPLY, err,
			     "a reply of type %lu to %s", (unsigned long)type,
			     options[option].name);
}

bool nbd_judge_option_reply(NbdGuard *guard, const uint8_t *bytes, size_t size, size_t *ret_size,
			    Error *err)
{
	uint32_t option, type, length;

	if (size < sizeof(uint64_t))
		return true;
	if (load_be64(bytes) != NBD_OPTION_REPLY_MAGIC)
		return refuse_server(guard, NBD_RULE_MAGIC, "no reply where one is due", err);
	if (size < NBD_OPTION_REPLY_SIZE)
		return true;
	option = load_be32(bytes + 8);
	type = load_be32(bytes + 12);
	length = load_be32(bytes + 16);
	if (!is_awaited(guard, option))
		return nbd_violation(guard, NBD_FROM_SERVER, NBD_RULE_TURN, err,
				     "a reply to option %lu, which waits for none",
				     (unsigned long)option);
	if (length > REPLY_TEXT_MAX)
		return nbd_violation(guard, NBD_FROM_SERVER, NBD_RULE_OPTION_REPLY, err,
				     "a reply of %lu bytes, more than %d", (unsigned long)length,
				     REPLY_TEXT_MAX);
	if (size - NBD_OPTION_REPLY_SIZE < length)
		return true;
	if (!judge_reply_data(guard, (NbdOption)option, type,
			      reader_of(bytes + NBD_OPTION_REPLY_SIZE, length), err))
		return false;
	*ret_size = NBD_OPTION_REPLY_SIZE + length;
	return true;
}
