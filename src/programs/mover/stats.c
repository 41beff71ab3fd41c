/* SPDX-License-Identifier: Apache-2.0 */
/* Byte, time and memory accounting. */
#include <errno.h>
#include <string.h>
#include <sys/resource.h>

#include "programs/mover/session.h"

static void add_first(uint64_t *first_us, const FlowCounters *counters)
{
	uint64_t us = atomic_load(&counters->first_us);

	if (us && (!*first_us || us < *first_us))
		*first_us = us;
}

static void add_last(uint64_t *last_us, const FlowCounters *counters)
{
	uint64_t us = atomic_load(&counters->last_us);

	if (us > *last_us)
		*last_us = us;
}

/* VmHWM of proc(5). getrusage's figure will not do: exec hands the parent's down. */
static uint64_t peak_memory_bytes(int status_fd)
{
	static const char name[] = "VmHWM:";
	char text[4096];
	ssize_t got = pread(status_fd, text, sizeof(text) - 1, 0);
	const char *at;

	if (got <= 0)
		return 0;
	text[got] = '\0';
	at = strstr(text, name);
	return at ? (uint64_t)strtoull(at + strlen(name), NULL, 10) * 1024 : 0;
}

static uint64_t time_us(const struct timeval *time)
{
	return (uint64_t)time->tv_sec * 1000000 + (uint64_t)time->tv_usec;
}

static void add_channel(MoverStats *stats, const Channel *channel)
{
	const FlowCounters *out = &channel->out.counters, *in = &channel->in.counters;

	stats->wire_out_bytes += atomic_load(&out->wire_bytes) + channel->proof_out_bytes;
	stats->wire_in_bytes += atomic_load(&in->wire_bytes) + channel->proof_in_bytes;
	stats->records_out += atomic_load(&out->records);
	stats->records_in += atomic_load(&in->records);
	if (channel->is_disk) {
		/* A disk's bytes are none of the stream's, nor is the time that they take. */
		bool source = channel->session->side == MOVER_SOURCE;

		stats->disk_bytes[channel->index - LIMIT_STREAM_CHANNELS] =
			atomic_load(source ? &out->stream_bytes : &in->stream_bytes);
		return;
	}
	stats->stream_out_bytes += atomic_load(&out->stream_bytes);
	stats->stream_in_bytes += atomic_load(&in->stream_bytes);
	add_first(&stats->first_byte_us, out);
	add_first(&stats->first_byte_us, in);
	add_last(&stats->last_byte_us, out);
	add_last(&stats->last_byte_us, in);
}

bool session_stats(const Session *session, MoverStats *ret_stats, Error *err)
{
	struct rusage usage;
	GuardCounters guard, disk_guard;

	*ret_stats = (MoverStats){ 0 };
	if (getrusage(RUSAGE_SELF, &usage))
		return error_set_errno(err, ERROR_INTERNAL, errno, "cannot measure CPU time");
	ret_stats->cpu_us = time_us(&usage.ru_utime) + time_us(&usage.ru_stime);
	ret_stats->peak_memory_bytes = peak_memory_bytes(session->status_fd);
	for (unsigned int i = 0; i < LIMIT_CHANNELS; i++)
		if (session_has_channel(session, i))
			add_channel(ret_stats, &session->channels[i]);
	filter_counters(&session->filter, &guard);
	filter_counters(&session->disk_filter, &disk_guard);
	ret_stats->guard_device_bytes = guard.device_bytes;
	ret_stats->guard_us = guard.judging_us;
	ret_stats->guard_warnings = guard.warnings + disk_guard.warnings;
	return true;
}
