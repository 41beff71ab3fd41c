/* SPDX-License-Identifier: Apache-2.0 */
#include "nbd/nbd_guard.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "nbd/nbd_internal.h"

static_assert(sizeof(struct NbdGuard) <= 16384, "as the contract says");

static const char *const from_names[NBD_FROM_COUNT] = {
	[NBD_FROM_CLIENT] = "client",
	[NBD_FROM_SERVER] = "server",
};

static bool judge_client_silent(NbdGuard *guard, const uint8_t *bytes, size_t size,
				size_t *ret_size, Error *err)
{
	(void)bytes;
	(void)size;
	(void)ret_size;
	if (guard->phase == NBD_PHASE_GREETING)
		return nbd_violation(guard, NBD_FROM_CLIENT, NBD_RULE_TURN, err,
				     "speaks before the server's greeting");
	return nbd_violation(guard, NBD_FROM_CLIENT, NBD_RULE_TURN, err, "speaks on behind its %s",
			     guard->phase == NBD_PHASE_ABORTED ? "ABORT" : "DISC");
}

static bool judge_server_silent(NbdGuard *guard, const uint8_t *bytes, size_t size,
				size_t *ret_size, Error *err)
{
	(void)bytes;
	(void)size;
	(void)ret_size;
	return nbd_violation(guard, NBD_FROM_SERVER, NBD_RULE_TURN, err,
			     "speaks on before the client's flags");
}

/* Who may say what, when. */
static NbdJudge *const judges[NBD_PHASE_COUNT][NBD_FROM_COUNT] = {
	[NBD_PHASE_GREETING] = { judge_client_silent, nbd_judge_greeting },
	[NBD_PHASE_CLIENT_FLAGS] = { nbd_judge_client_flags, judge_server_silent },
	[NBD_PHASE_OPTIONS] = { nbd_judge_option, nbd_judge_option_reply },
	[NBD_PHASE_ABORTED] = { judge_client_silent, nbd_judge_option_reply },
	[NBD_PHASE_TRANSMISSION] = { nbd_judge_request, nbd_judge_reply },
	[NBD_PHASE_DISCONNECTED] = { judge_client_silent, nbd_judge_reply },
};

NbdGuard *nbd_guard_new(const NbdGuardOptions *options, Error *err)
{
	AUTO_NBD_GUARD NbdGuard *guard = NULL;
	size_t name_length = strnlen(options->export_name, sizeof(options->export_name));

	if (options->own >= NBD_FROM_COUNT || options->access > NBD_ACCESS_READ_WRITE ||
	    !name_length || name_length == sizeof(options->export_name) || !options->size_bytes ||
	    options->size_bytes > INT64_MAX) {
		error_set(err, ERROR_INTERNAL, "an NBD guard without a good export");
		return NULL;
	}
	guard = calloc(1, sizeof(*guard));
	if (!guard) {
		error_set(err, ERROR_INTERNAL, "no memory for an NBD guard");
		return NULL;
	}
	pthread_mutex_init(&guard->lock, NULL);
	guard->options = *options;
	guard->name_length = name_length;
	guard->block_min = 1;
	guard->payload_max = NBD_GUARD_LENGTH_MAX;
	if (!guard->options.in_flight_bytes_max)
		guard->options.in_flight_bytes_max = NBD_GUARD_IN_FLIGHT_BYTES;
	return TAKE_PTR(guard);
}

void nbd_guard_free(NbdGuard *guard)
{
	if (!guard)
		return;
	pthread_mutex_destroy(&guard->lock);
	free(guard);
}

bool nbd_violation(const NbdGuard *guard, NbdFrom from, NbdRule rule, Error *err,
		   const char *format, ...)
{
	char text[ERROR_TEXT_SIZE];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	return error_set(err, from == guard->options.own ? ERROR_HYPERVISOR : ERROR_PEER,
			 "%s: %s: byte %llu: %s", nbd_rule_text(rule)->name, from_names[from],
			 (unsigned long long)guard->streams[from].position, text);
}

bool nbd_is_text(const uint8_t *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (bytes[i] < 0x20 || bytes[i] == 0x7f)
			return false;
	return true;
}

/* A piece of payload passes. */
static void pass_payload(NbdGuard *guard, NbdFrom from, size_t size)
{
	NbdStream *stream = &guard->streams[from];

	stream->payload_left -= size;
	if (from == NBD_FROM_CLIENT)
		guard->counters.written_bytes += size;
	else
		guard->counters.read_bytes += size;
	if (stream->payload_left)
		return;
	if (from == NBD_FROM_CLIENT)
		stream->payload_of->sending = false;
	else if (stream->payload_last)
		nbd_request_release(guard, stream->payload_of);
	stream->payload_of = NULL;
}

static bool take_locked(NbdGuard *guard, NbdFrom from, const uint8_t *window, size_t size,
			size_t *ret_taken, Error *err)
{
	NbdStream *stream = &guard->streams[from];
	size_t taken = 0;

	while (taken < size) {
		size_t left = size - taken, unit = 0;

		if (stream->payload_left) {
			unit = left < stream->payload_left ? left : (size_t)stream->payload_left;
			pass_payload(guard, from, unit);
		} else if (!judges[guard->phase][from](guard, window + taken, left, &unit, err)) {
			guard->broken = true;
			return false;
		}
		if (!unit)
			break;
		taken += unit;
		stream->position += unit;
	}
	assert(size - taken < NBD_GUARD_WINDOW);
	*ret_taken = taken;
	return true;
}

static bool is_whole(const NbdGuard *guard, Error *err)
{
	return !guard->broken ||
	       error_set(err, ERROR_CANCELLED, "this NBD connection was refused before");
}

bool nbd_guard_take(NbdGuard *guard, NbdFrom from, const uint8_t *window, size_t size,
		    size_t *ret_taken, Error *err)
{
	bool good;

	pthread_mutex_lock(&guard->lock);
	good = is_whole(guard, err) && take_locked(guard, from, window, size, ret_taken, err);
	pthread_mutex_unlock(&guard->lock);
	return good;
}

/*
 * One step of nbd_guard_watch. With the start of a unit held, what follows is put behind it as far
 * as there is room; a unit always fits, so that either one is complete then or all bytes are in.
 */
static bool watch_step(NbdGuard *guard, NbdFrom from, const uint8_t *bytes, size_t size,
		       size_t *ret_used, Error *err)
{
	NbdStream *stream = &guard->streams[from];
	size_t room = sizeof(stream->held) - stream->held_size, old = stream->held_size, taken = 0;
	size_t added = size < room ? size : room;

	if (!old) {
		if (!take_locked(guard, from, bytes, size, &taken, err))
			return false;
		stream->held_size = size - taken;
		memcpy(stream->held, bytes + taken, stream->held_size);
		*ret_used = size;
		return true;
	}
	memcpy(stream->held + old, bytes, added);
	if (!take_locked(guard, from, stream->held, old + added, &taken, err))
		return false;
	assert(!taken || taken > old);
	/* What stands behind the complete units is looked at where it came from. */
	stream->held_size = taken ? 0 : old + added;
	*ret_used = taken ? taken - old : added;
	return true;
}

bool nbd_guard_watch(NbdGuard *guard, NbdFrom from, const uint8_t *bytes, size_t size, Error *err)
{
	bool good;

	pthread_mutex_lock(&guard->lock);
	good = is_whole(guard, err);
	while (good && size) {
		size_t used = 0;

		good = watch_step(guard, from, bytes, size, &used, err);
		bytes += used;
		size -= used;
	}
	pthread_mutex_unlock(&guard->lock);
	return good;
}

static bool end_locked(NbdGuard *guard, NbdFrom from, size_t left, Error *err)
{
	const NbdStream *stream = &guard->streams[from];
	bool said = guard->phase == NBD_PHASE_ABORTED || guard->phase == NBD_PHASE_DISCONNECTED;

	left += stream->held_size;
	if (left || stream->payload_left)
		return nbd_violation(
			guard, from, NBD_RULE_CLOSED, err,
			"ends with %zu bytes of a header, or %llu before a payload's end", left,
			(unsigned long long)stream->payload_left);
	if (!said)
		return nbd_violation(guard, from, NBD_RULE_CLOSED, err,
				     "ends without DISC or ABORT of the client");
	if (from == NBD_FROM_SERVER && guard->counters.in_flight)
		return nbd_violation(guard, from, NBD_RULE_CLOSED, err,
				     "ends with %llu requests unanswered",
				     (unsigned long long)guard->counters.in_flight);
	return true;
}

bool nbd_guard_end(NbdGuard *guard, NbdFrom from, size_t left, Error *err)
{
	bool good;

	pthread_mutex_lock(&guard->lock);
	good = is_whole(guard, err) && end_locked(guard, from, left, err);
	guard->broken |= !good;
	pthread_mutex_unlock(&guard->lock);
	return good;
}

bool nbd_guard_is_open(NbdGuard *guard)
{
	bool open;

	pthread_mutex_lock(&guard->lock);
	open = guard->phase >= NBD_PHASE_ABORTED;
	pthread_mutex_unlock(&guard->lock);
	return open;
}

void nbd_guard_counters(NbdGuard *guard, NbdGuardCounters *ret_counters)
{
	pthread_mutex_lock(&guard->lock);
	*ret_counters = guard->counters;
	pthread_mutex_unlock(&guard->lock);
}
