/* SPDX-License-Identifier: Apache-2.0 */
/* Requests of the client. */
#include <assert.h>

#include "nbd/nbd_internal.h"

typedef enum RangeKind {
	RANGE_NONE,    /* offset and length are zero */
	RANGE_PAYLOAD, /* in the export, and no longer than one payload */
	RANGE_EXPORT,  /* in the export */
} RangeKind;

typedef struct CommandRow {
	const char *name;
	RangeKind range;
	bool is_known;	       /* the others are refused whatever was announced */
	bool is_reading;       /* not for NBD_ACCESS_RECEIVE */
	uint16_t needs;	       /* flags of the export without which it may not come */
	uint16_t flags_always; /* flags of the command: all of these */
	uint16_t flags_maybe;  /* and of these, as announced */
} CommandRow;

/*
 * What QEMU's client sends (block/nbd.c). Lengths of WRITE_ZEROES and TRIM have no bound but the
 * export: a mirror zeroes a whole disk with one request, where headers are extended. BLOCK_STATUS
 * is not READ: newer mirrors ask whether the target is all zero.
 */
static const CommandRow commands[] = {
	[NBD_COMMAND_READ] = { .name = "READ",
			       .range = RANGE_PAYLOAD,
			       .is_known = true,
			       .is_reading = true },
	[NBD_COMMAND_WRITE] = { .name = "WRITE",
				.range = RANGE_PAYLOAD,
				.is_known = true,
				.flags_maybe = NBD_COMMAND_FUA | NBD_COMMAND_PAYLOAD_LEN },
	[NBD_COMMAND_DISC] = { .name = "DISC", .range = RANGE_NONE, .is_known = true },
	[NBD_COMMAND_FLUSH] = { .name = "FLUSH",
				.range = RANGE_NONE,
				.is_known = true,
				.needs = NBD_FLAG_SEND_FLUSH },
	[NBD_COMMAND_TRIM] = { .name = "TRIM",
			       .range = RANGE_EXPORT,
			       .is_known = true,
			       .needs = NBD_FLAG_SEND_TRIM,
			       .flags_maybe = NBD_COMMAND_FUA },
	[NBD_COMMAND_CACHE] = { .name = "CACHE" },
	[NBD_COMMAND_WRITE_ZEROES] = { .name = "WRITE_ZEROES",
				       .range = RANGE_EXPORT,
				       .is_known = true,
				       .needs = NBD_FLAG_SEND_WRITE_ZEROES,
				       .flags_maybe = NBD_COMMAND_FUA | NBD_COMMAND_NO_HOLE |
						      NBD_COMMAND_FAST_ZERO },
	[NBD_COMMAND_BLOCK_STATUS] = { .name = "BLOCK_STATUS",
				       .range = RANGE_EXPORT,
				       .is_known = true,
				       .flags_always = NBD_COMMAND_REQ_ONE },
	[NBD_COMMAND_RESIZE] = { .name = "RESIZE" },
};
static_assert(ARRAY_SIZE(commands) == NBD_COMMAND_COUNT, "a row for each command");

typedef struct Header {
	uint16_t flags, type;
	uint64_t cookie, offset, length;
} Header;

const char *nbd_command_name(unsigned int command)
{
	return command < NBD_COMMAND_COUNT ? commands[command].name : NULL;
}

void nbd_request_release(NbdGuard *guard, NbdRequest *request)
{
	guard->counters.in_flight--;
	if (commands[request->command].range == RANGE_PAYLOAD)
		guard->in_flight_bytes -= request->length;
	*request = (NbdRequest){ .used = false };
}

static bool judge_command(const NbdGuard *guard, const Header *header, Error *err)
{
	const char *name = nbd_command_name(header->type);
	const CommandRow *row;

	if (!name || !commands[header->type].is_known)
		return nbd_violation(guard, NBD_FROM_CLIENT, NBD_RULE_COMMAND, err,
				     "command %u (%s) is not needed here", header->type,
				     name ? name : "unknown");
	row = &commands[header->type];
	if (row->is_reading && guard->options.access == NBD_ACCESS_RECEIVE)
		return nbd_violation(guard, NBD_FROM_CLIENT, NBD_RULE_COMMAND, err,
				     "%s of an export that only receives", name);
	if ((row->needs & guard->export_flags) != row->needs ||
	    (header->type == NBD_COMMAND_BLOCK_STATUS && !guard->has_context))
		return nbd_violation(guard, NBD_FROM_CLIENT, NBD_RULE_COMMAND, err,
				     "%s, which the export does not have", name);
	return true;
}

static bool judge_flags(const NbdGuard *guard, const Header *header, Error *err)
{
	const CommandRow *row = &commands[header->type];
	unsigned int allowed = row->flags_always | row->flags_maybe;

	if (!(guard->export_flags & NBD_FLAG_SEND_FUA))
		allowed &= ~(unsigned int)NBD_COMMAND_FUA;
	if (!(guard->export_flags & NBD_FLAG_SEND_FAST_ZERO))
		allowed &= ~(unsigned int)NBD_COMMAND_FAST_ZERO;
	/* QEMU's client leaves it out, against the extension's text; its server takes both. */
	if (guard->mode != NBD_MODE_EXTENDED)
		allowed &= ~(unsigned int)NBD_COMMAND_PAYLOAD_LEN;
	if (header->flags & ~allowed || (header->flags & row->flags_always) != row->flags_always)
		return nbd_violation(guard, NBD_FROM_CLIENT, NBD_RULE_FLAGS, err,
				     "%s with flags 0x%x, not of 0x%x", row->name, header->flags,
				     allowed);
	return true;
}

static bool judge_range(const NbdGuard *guard, const Header *header, Error *err)
{
	const CommandRow *row = &commands[header->type];
	uint64_t size_bytes = guard->options.size_bytes;
	bool good;

	if (row->range == RANGE_NONE)
		good = !header->offset && !header->length;
	else
		good = header->length && header->length <= size_bytes &&
		       header->offset <= size_bytes - header->length &&
		       !(header->offset % guard->block_min) && !(header->length % guard->block_min);
	if (!good)
		return nbd_violation(
			guard, NBD_FROM_CLIENT, NBD_RULE_RANGE, err,
			"%s of %llu bytes at %llu in an export of %llu in blocks of %lu", row->name,
			(unsigned long long)header->length, (unsigned long long)header->offset,
			(unsigned long long)size_bytes, (unsigned long)guard->block_min);
	if (row->range == RANGE_PAYLOAD && header->length > guard->payload_max)
		return nbd_violation(guard, NBD_FROM_CLIENT, NBD_RULE_LENGTH, err,
				     "%s of %llu bytes, more than %lu", row->name,
				     (unsigned long long)header->length,
				     (unsigned long)guard->payload_max);
	return true;
}

/* A slot for the request, or NULL with *err. */
static NbdRequest *find_slot(NbdGuard *guard, const Header *header, Error *err)
{
	uint64_t bytes = commands[header->type].range == RANGE_PAYLOAD ? header->length : 0;
	NbdRequest *slot = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(guard->requests); i++) {
		if (guard->requests[i].used && guard->requests[i].cookie == header->cookie) {
			nbd_violation(guard, NBD_FROM_CLIENT, NBD_RULE_COOKIE, err,
				      "cookie 0x%llx of a %s that waits comes again",
				      (unsigned long long)header->cookie,
				      nbd_command_name(guard->requests[i].command));
			return NULL;
		}
		if (!guard->requests[i].used && !slot)
			slot = &guard->requests[i];
	}
	if (!slot) {
		nbd_violation(guard, NBD_FROM_CLIENT, NBD_RULE_IN_FLIGHT, err,
			      "more than %d requests wait", NBD_GUARD_REQUESTS_MAX);
		return NULL;
	}
	if (bytes > guard->options.in_flight_bytes_max - guard->in_flight_bytes) {
		nbd_violation(guard, NBD_FROM_CLIENT, NBD_RULE_IN_FLIGHT, err,
			      "%llu bytes beside %llu that wait, more than %llu",
			      (unsigned long long)bytes, (unsigned long long)guard->in_flight_bytes,
			      (unsigned long long)guard->options.in_flight_bytes_max);
		return NULL;
	}
	return slot;
}

static void begin_request(NbdGuard *guard, NbdRequest *slot, const Header *header)
{
	NbdStream *stream = &guard->streams[NBD_FROM_CLIENT];
	NbdGuardCounters *counters = &guard->counters;

	*slot = (NbdRequest){
		.used = true,
		.command = (NbdCommand)header->type,
		.cookie = header->cookie,
		.offset = header->offset,
		.length = header->length,
	};
	if (slot->command == NBD_COMMAND_WRITE) {
		slot->sending = true;
		stream->payload_left = header->length;
		stream->payload_of = slot;
	}
	if (slot->command == NBD_COMMAND_WRITE_ZEROES || slot->command == NBD_COMMAND_TRIM)
		counters->zeroed_bytes += header->length;
	if (commands[slot->command].range == RANGE_PAYLOAD)
		guard->in_flight_bytes += header->length;
	counters->in_flight++;
	if (counters->in_flight > counters->in_flight_most)
		counters->in_flight_most = counters->in_flight;
	if (guard->in_flight_bytes > counters->in_flight_bytes_most)
		counters->in_flight_bytes_most = guard->in_flight_bytes;
}

bool nbd_judge_request(NbdGuard *guard, const uint8_t *bytes, size_t size, size_t *ret_size,
		       Error *err)
{
	bool extended = guard->mode == NBD_MODE_EXTENDED;
	size_t header_size = extended ? NBD_EXTENDED_REQUEST_SIZE : NBD_REQUEST_SIZE;
	Header header;
	NbdRequest *slot;

	/* At once: an end that is out of step may never say the rest of a header. */
	if (size < sizeof(uint32_t))
		return true;
	if (load_be32(bytes) != (extended ? NBD_EXTENDED_REQUEST_MAGIC : NBD_REQUEST_MAGIC))
		return nbd_violation(guard, NBD_FROM_CLIENT, NBD_RULE_MAGIC, err,
				     "0x%08lx is no request as agreed",
				     (unsigned long)load_be32(bytes));
	if (size < header_size)
		return true;
	header = (Header){
		.flags = load_be16(bytes + 4),
		.type = load_be16(bytes + 6),
		.cookie = load_be64(bytes + 8),
		.offset = load_be64(bytes + 16),
		.length = extended ? load_be64(bytes + 24) : load_be32(bytes + 24),
	};
	if (!judge_command(guard, &header, err) || !judge_flags(guard, &header, err) ||
	    !judge_range(guard, &header, err))
		return false;
	*ret_size = header_size;
	guard->counters.requests++;
	if (header.type == NBD_COMMAND_DISC) {
		guard->phase = NBD_PHASE_DISCONNECTED;
		return true;
	}
	slot = find_slot(guard, &header, err);
	if (!slot)
		return false;
	begin_request(guard, slot, &header);
	return true;
}
