/* SPDX-License-Identifier: Apache-2.0 */
/* The guard of disks' channels (nbd/nbd_guard.h) as the mover's filter: one for each disk. */
#include "programs/mover/filter.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "nbd/nbd_guard.h"

static_assert((int)NBD_GUARD_WINDOW <= (int)FILTER_REST_MAX, "what is left fits before a record");

/* A mirror that waits with each write of its guest (vmm/disk_mirror.h) brings these too: see
 * NBD_GUARD_IN_FLIGHT_BYTES. */
#define IN_FLIGHT_BYTES (UINT64_C(512) << 20)

typedef struct Disk {
	NbdGuard *guard;
	/* Mode warn, and a rule was broken: from here on everything passes, both ways. */
	atomic_bool unjudged;
} Disk;

typedef struct NbdFilter {
	NbdFrom own, peer;
	bool only_warns;
	void (*on_warning)(void *context, const char *text);
	void *context;
	atomic_uint_fast64_t warnings;
	size_t disks_count;
	Disk disks[LIMIT_DISKS];
} NbdFilter;

static void close_filter(void *context)
{
	NbdFilter *filter = context;

	for (size_t i = 0; i < filter->disks_count; i++)
		nbd_guard_free(filter->disks[i].guard);
	free(filter);
}

static bool open_disk(NbdFilter *filter, const MoverDisk *disk, Error *err)
{
	/* A mirror does not read its target: what a volume held before is not the source's to see.
	 */
	NbdGuardOptions options = { .own = filter->own,
				    .access = NBD_ACCESS_RECEIVE,
				    .size_bytes = disk->size_bytes,
				    .in_flight_bytes_max = IN_FLIGHT_BYTES };
	NbdGuard *guard;

	memcpy(options.export_name, disk->export_name, sizeof(options.export_name));
	guard = nbd_guard_new(&options, err);
	if (!guard)
		return false;
	filter->disks[filter->disks_count++].guard = guard;
	return true;
}

static void *open_filter(const FilterSetup *setup, Error *err)
{
	bool source = setup->side == MOVER_SOURCE;
	NbdFilter *filter = calloc(1, sizeof(*filter));

	if (!filter) {
		error_set(err, ERROR_INTERNAL, "no memory for the guards of disks");
		return NULL;
	}
	filter->own = source ? NBD_FROM_CLIENT : NBD_FROM_SERVER;
	filter->peer = source ? NBD_FROM_SERVER : NBD_FROM_CLIENT;
	filter->only_warns = setup->guard == MOVER_GUARD_WARN;
	filter->on_warning = setup->on_warning;
	filter->context = setup->context;
	for (size_t i = 0; i < setup->disks_count; i++) {
		if (open_disk(filter, &setup->disks[i], err))
			continue;
		error_prefix(err, "disk %zu", i);
		close_filter(filter);
		return NULL;
	}
	return filter;
}

static Disk *disk_of(NbdFilter *filter, unsigned int channel)
{
	assert(channel >= LIMIT_STREAM_CHANNELS &&
	       channel - LIMIT_STREAM_CHANNELS < filter->disks_count);
	return &filter->disks[channel - LIMIT_STREAM_CHANNELS];
}

/* Whether it may go on although a rule was broken. Both directions hear of it; the one that was
 * told the rule tells, the other may be here before it. */
static bool forgive(NbdFilter *filter, Disk *disk, const Error *err)
{
	if (!filter->only_warns || err->category == ERROR_INTERNAL)
		return false;
	if (err->category != ERROR_CANCELLED && !atomic_exchange(&disk->unjudged, true)) {
		atomic_fetch_add(&filter->warnings, 1);
		filter->on_warning(filter->context, err->text);
	}
	return true;
}

static bool take(void *context, unsigned int channel, const uint8_t *window, size_t size,
		 const GuardSink *sink, size_t *ret_taken, Error *err)
{
	NbdFilter *filter = context;
	Disk *disk = disk_of(filter, channel);

	if (atomic_load(&disk->unjudged)) {
		*ret_taken = size;
	} else if (!nbd_guard_take(disk->guard, filter->peer, window, size, ret_taken, err)) {
		if (!forgive(filter, disk, err))
			return false;
		*ret_taken = size;
	}
	return !*ret_taken || sink->write(sink->context, window, *ret_taken, err);
}

static bool end(void *context, unsigned int channel, size_t left, Error *err)
{
	NbdFilter *filter = context;
	Disk *disk = disk_of(filter, channel);

	return atomic_load(&disk->unjudged) ||
	       nbd_guard_end(disk->guard, filter->peer, left, err) || forgive(filter, disk, err);
}

static bool watch(void *context, unsigned int channel, const uint8_t *bytes, size_t size,
		  Error *err)
{
	NbdFilter *filter = context;
	Disk *disk = disk_of(filter, channel);

	return atomic_load(&disk->unjudged) ||
	       nbd_guard_watch(disk->guard, filter->own, bytes, size, err) ||
	       forgive(filter, disk, err);
}

static bool watch_end(void *context, unsigned int channel, Error *err)
{
	NbdFilter *filter = context;
	Disk *disk = disk_of(filter, channel);

	return atomic_load(&disk->unjudged) || nbd_guard_end(disk->guard, filter->own, 0, err) ||
	       forgive(filter, disk, err);
}

/* Of a connection that is not judged any more it is not known. */
static bool is_open(void *context, unsigned int channel)
{
	Disk *disk = disk_of(context, channel);

	return atomic_load(&disk->unjudged) || nbd_guard_is_open(disk->guard);
}

static void counters(const void *context, GuardCounters *ret_counters)
{
	const NbdFilter *filter = context;

	*ret_counters = (GuardCounters){ .warnings = atomic_load(&filter->warnings) };
}

const StreamFilter filter_nbd = {
	.name = "guard",
	.open = open_filter,
	.take = take,
	.end = end,
	.counters = counters,
	.close = close_filter,
	.watch = watch,
	.watch_end = watch_end,
	.is_open = is_open,
};
