/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stage between decryption and the hypervisor: one filter sees every incoming byte of a
 * migration's stream before QEMU does, and itself hands on what it has judged. At the destination
 * these are the main channel and multifd, at the source the return path. Another one does so for
 * the channels of copied disks: at the destination it judges requests, at the source the answers.
 *
 * A filter is shown the bytes that it has not taken yet, with what came since behind them, so that
 * it can wait for the rest of a unit without keeping a copy.
 */
#ifndef SEALIFT_PROGRAMS_MOVER_FILTER_H
#define SEALIFT_PROGRAMS_MOVER_FILTER_H

#include <stddef.h>
#include <stdint.h>

#include "guard/guard.h"
#include "role/messages.h"

/* What a filter's thread of a channel leaves untaken at most: the headroom before each incoming
 * record. */
enum { FILTER_REST_MAX = GUARD_WINDOW };

/* What a filter is told of the migration. Borrowed for the time of the call, but the two last. */
typedef struct FilterSetup {
	MoverSide side;
	size_t channels;
	MoverGuard guard;
	GuardExpected expected; /* at the destination, unless guard is MOVER_GUARD_OFF */
	const MoverDisk *disks; /* for a filter of disks' channels */
	size_t disks_count;
	/* Mode warn: from the thread of a channel; outlives the filter. */
	void (*on_warning)(void *context, const char *text);
	void *context;
} FilterSetup;

/* See guard.h for what each function is to do; guard_take and guard_end set the pattern. */
typedef struct StreamFilter {
	const char *name; /* in messages: "guard refuses: ..." */
	/* One context for a migration, since a filter has to see channels together. Called after
	 * the last seccomp filter. NULL with *err on failure. */
	void *(*open)(const FilterSetup *setup, Error *err);
	/* Called by the thread of each channel, at the same time for several channels; in order for
	 * one. */
	bool (*take)(void *context, unsigned int channel, const uint8_t *window, size_t size,
		     const GuardSink *sink, size_t *ret_taken, Error *err);
	bool (*end)(void *context, unsigned int channel, size_t left, Error *err);
	/* NULL: it counts nothing. */
	void (*counters)(const void *context, GuardCounters *ret_counters);
	void (*close)(void *context);
	/*
	 * Both NULL, or both there: what this side's own end sends, before any of it leaves, for
	 * what can be judged only beside it. By the thread of that direction: at the same time as
	 * `take` of the same channel. False with *err: it may not leave.
	 */
	bool (*watch)(void *context, unsigned int channel, const uint8_t *bytes, size_t size,
		      Error *err);
	bool (*watch_end)(void *context, unsigned int channel, Error *err);
	/* Whether the peer has given the answers for which this side's own end does nothing else
	 * (MoverConfig.handshake_us); NULL: there are none. By the main thread, at any time. */
	bool (*is_open)(void *context, unsigned int channel);
} StreamFilter;

/* The guard of the stream's channels, and that of disks' (nbd/nbd_guard.h); not asked for where
 * MoverSetup says MOVER_GUARD_OFF. */
extern const StreamFilter filter_guard, filter_nbd;

/* The filter of one migration; all zero: none, everything passes. */
typedef struct Filter {
	const StreamFilter *row;
	void *context;
} Filter;

/* The row outlives the filter; NULL: none. On failure nothing stays open. */
MUST_CHECK bool filter_open(Filter *filter, const StreamFilter *row, const FilterSetup *setup,
			    Error *err);
/* What is left is less than FILTER_REST_MAX, else ERROR_INTERNAL. A refusal is ERROR_PEER and
 * begins with the filter's name; ERROR_CANCELLED: another channel was refused, and its thread says
 * so. */
MUST_CHECK bool filter_take(const Filter *filter, unsigned int channel, const uint8_t *window,
			    size_t size, const GuardSink *sink, size_t *ret_taken, Error *err);
MUST_CHECK bool filter_end(const Filter *filter, unsigned int channel, size_t left, Error *err);
/* The other direction. No refusal: a fault there is this host's own. */
MUST_CHECK bool filter_watch(const Filter *filter, unsigned int channel, const uint8_t *bytes,
			     size_t size, Error *err);
MUST_CHECK bool filter_watch_end(const Filter *filter, unsigned int channel, Error *err);
/* True without a filter: nobody knows then. */
bool filter_is_open(const Filter *filter, unsigned int channel);
/* Zeros without a filter. */
void filter_counters(const Filter *filter, GuardCounters *ret_counters);
void filter_close(Filter *filter);

#endif
