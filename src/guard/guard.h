/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guard: judges QEMU's migration stream before QEMU sees it.
 *
 * At the destination it sees the main channel and the multifd channels, at the source the return
 * path. It decodes them (qemustream), judges each unit by its rules (rules.h, GUARD.md), and hands
 * on what it has judged, and nothing else: no unit in part, no device state before all of it was
 * compared with what a QEMU of this host says of the same machine. Nothing is repaired; a stream
 * that breaks a rule ends.
 *
 * What it costs: RAM is looked at by record or by packet header, its pages are not touched. Device
 * state is held back, within a bound, until its description has come.
 */
#ifndef SEALIFT_GUARD_GUARD_H
#define SEALIFT_GUARD_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bounds.h"
#include "base/cleanup.h"
#include "base/error.h"

typedef enum GuardMode {
	GUARD_ENFORCE, /* a violation ends the migration */
	GUARD_WARN,    /* it is logged, and that channel goes on unjudged; by configuration only */
	GUARD_MODE_COUNT,
} GuardMode;

typedef enum GuardSide {
	GUARD_DESTINATION, /* judges main and multifd, direction to the destination */
	GUARD_SOURCE, /* judges the return path on main; on other channels not one byte may come */
} GuardSide;

/* What a host knows of the VM by itself, none of it from the peer's stream. Used at the
 * destination only; all of it is borrowed for the time of guard_new. */
typedef struct GuardExpected {
	char machine[LIMIT_NAME]; /* exact machine type: "pc-q35-10.0" */
	/* As QEMU's multifd channels name the VM (-uuid). Without it they must only agree. */
	bool has_uuid;
	uint8_t uuid[16];
	unsigned int channels; /* all, main included; the others are multifd */
	/* The whole stream of a QEMU of this host, started with the same devices and never run,
	 * made with x-ignore-shared: its block list and its description are what may come. */
	const uint8_t *twin;
	size_t twin_size;
	/* Of the same binary: JSON of -dump-vmstate, or the part of it that this machine's devices
	 * need. */
	const uint8_t *dump;
	size_t dump_size;
} GuardExpected;

typedef struct GuardOptions {
	GuardMode mode;
	GuardSide side;
	uint64_t held_max_bytes; /* of device state; 0: GUARD_HELD_MAX */
	/* Mode warn: each violation, one line; from the thread of its channel. */
	void (*on_warning)(void *context, const char *text);
	void *context;
} GuardOptions;

#define GUARD_HELD_MAX (UINT64_C(64) << 20)

enum {
	/* The longest piece that must be in a window before it can be judged. What a caller keeps
	 * between two calls is never longer. */
	GUARD_WINDOW = 128 * 1024,
};

typedef struct Guard Guard;

/* expected: NULL at the source. ERROR_INTERNAL if the twin's stream or the dump cannot be read:
 * they are this host's own. Owned by the caller. Draws jansson's seed and allocates what the rules
 * need; guard_take allocates for held device state only. */
MUST_CHECK Guard *guard_new(const GuardOptions *options, const GuardExpected *expected, Error *err);
void guard_free(Guard *guard);
DEFINE_CLEANUP(Guard, guard, guard_free)
#define AUTO_GUARD CLEANUP(guard_cleanup)

/* Where judged bytes go. Returns false with *err to end it all. */
typedef struct GuardSink {
	bool (*write)(void *context, const uint8_t *bytes, size_t size, Error *err);
	void *context;
} GuardSink;

/*
 * Judges what stands at the front of a channel's stream. `window` has the bytes that were not taken
 * yet, with what came since behind them. *ret_taken of them were handed to the sink or are held by
 * the guard; the rest is shown again, with more behind it. Less than GUARD_WINDOW is ever left.
 * Bytes that were held come through the sink as soon as they are judged, in the call that brought
 * the last of them: QEMU's source does not close its stream before the destination has loaded.
 *
 * Different channels may be shown by different threads at the same time; one channel by one thread.
 * False with *err: a rule was broken; the text begins with the rule's name and has the channel, the
 * byte, the section and both numbers. After that every call fails.
 */
MUST_CHECK bool guard_take(Guard *guard, unsigned int channel, const uint8_t *window, size_t size,
			   const GuardSink *sink, size_t *ret_taken, Error *err);

/* The stream of a channel has ended, with `left` bytes that were not taken. False with *err if it
 * may not end there, or if bytes are left. */
MUST_CHECK bool guard_end(Guard *guard, unsigned int channel, size_t left, Error *err);

/* What was judged, for the report. */
typedef struct GuardCounters {
	uint64_t ram_pages, ram_zero_pages; /* on all channels */
	uint64_t device_bytes;		    /* held and released */
	uint64_t device_sections;
	uint64_t warnings;   /* violations in mode warn */
	uint64_t judging_us; /* of device state, between its last byte and its release */
} GuardCounters;
void guard_counters(const Guard *guard, GuardCounters *ret_counters);

#endif
