/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guard: judges QEMU's migration stream before QEMU sees it.
 *
 * At the destination it sees the main channel, the multifd channels and the preempt channel, at the
 * source the return path. It decodes them (qemustream), judges each unit by its rules (rules.h,
 * GUARD.md), and hands on what it has judged, and nothing else: no unit in part, no device state
 * before all of it was compared with what a QEMU of this host says of the same machine. Nothing is
 * repaired; a stream that breaks a rule ends.
 *
 * What may come at all is what was agreed: precopy, with multifd if there are channels for it, and
 * each GuardFeature that both sides named. What was not agreed is refused.
 *
 * What it costs: RAM is looked at by record or by packet header, its pages are not touched. Device
 * state is held back, within a bound, until its description has come, or in postcopy until its
 * package is whole. A compressed packet is held until it was expanded once: at most
 * GUARD_COMPRESSED_MAX a channel, beside the decompressor (112 KiB of zlib, 1.1 MiB of zstd).
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
	GUARD_DESTINATION, /* judges main, multifd and preempt, direction to the destination */
	GUARD_SOURCE, /* judges the return path on main; on other channels not one byte may come */
} GuardSide;

/* What a migration may have beside precopy; both QEMUs have the same capability or parameter. */
typedef enum GuardFeature {
	GUARD_POSTCOPY,	      /* postcopy-ram */
	GUARD_PREEMPT,	      /* postcopy-preempt: the last channel; needs GUARD_POSTCOPY */
	GUARD_RECOVERY,	      /* a cut postcopy goes on: guard_resume; needs GUARD_POSTCOPY */
	GUARD_XBZRLE,	      /* xbzrle; not with multifd */
	GUARD_ZLIB,	      /* multifd-compression zlib: every packet with pages has it */
	GUARD_ZSTD,	      /* multifd-compression zstd, with a window as level 1 has it */
	GUARD_BITMAPS,	      /* dirty-bitmaps */
	GUARD_SWITCHOVER_ACK, /* switchover-ack; of interest at the source only */
	GUARD_FEATURE_COUNT,
} GuardFeature;

/* A bit of GuardExpected.agreed. */
#define GUARD_AGREED(feature) (UINT32_C(1) << (feature))

/* "postcopy-ram": as in the configuration, on the command line and in messages. */
const char *guard_feature_word(GuardFeature feature);
/* "postcopy-ram,xbzrle" to bits; "" to none. ERROR_USAGE with the word that is unknown or comes
 * twice. That they go together is for guard_new to say. */
MUST_CHECK bool guard_features_parse(const char *words, uint32_t *ret_agreed, Error *err);

/* A disk whose dirty bitmaps may come. */
typedef struct GuardNode {
	const char *
		alias; /* as in the stream: the node's name, or its alias of block-bitmap-mapping */
	uint64_t size_bytes; /* of the disk */
} GuardNode;

/* What a host knows of the VM by itself, none of it from the peer's stream. All of it is borrowed
 * for the time of guard_new; all zero but what is said below means precopy alone. */
typedef struct GuardExpected {
	/* At the source these three are looked at and no more. */
	uint32_t agreed; /* GUARD_AGREED bits */
	/* With postcopy: the block whose pages are those of hugetlbfs, and their size in bytes;
	 * "" if there is none. */
	char huge_block[LIMIT_NAME];
	uint64_t huge_page_bytes;
	/* With dirty bitmaps: from which disks; none: none may come. */
	const GuardNode *nodes;
	size_t nodes_count;
	char machine[LIMIT_NAME]; /* exact machine type: "pc-q35-10.0" */
	/* As QEMU's multifd channels name the VM (-uuid). Without it they must only agree. */
	bool has_uuid;
	uint8_t uuid[16];
	/* All, main included. With GUARD_PREEMPT the last one is preempt; the others are multifd.
	 */
	unsigned int channels;
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
	/* The longest compressed payload: what 512 KiB of pages may grow to (incompressible pages
	 * by a thousandth; a fourth is room enough for any library). */
	GUARD_COMPRESSED_MAX = 640 * 1024,
	/* Beside these a zstd stream that names a larger window is refused: 512 KiB is what level 1
	 * has, QEMU's default. */
	GUARD_ZSTD_WINDOW_LOG = 19,
	GUARD_NODES_MAX = 64,
};

typedef struct Guard Guard;

/* expected: may be NULL at the source: nothing was agreed. ERROR_INTERNAL if the twin's stream or
 * the dump cannot be read, or if features were agreed that do not go together: all of it is this
 * host's own. Owned by the caller. Draws jansson's seed and allocates what the rules need; later
 * guard_take allocates for what is held alone. */
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
 * may not end there: by the rule guard-closed if it was closed early, as a source does that was
 * cancelled, which is no attack; by guard-end else. */
MUST_CHECK bool guard_end(Guard *guard, unsigned int channel, size_t left, Error *err);

/*
 * At the source, with postcopy agreed: what this host's own QEMU sends on main, from its first byte
 * on, in pieces of any size, so that requests for pages can be held against its blocks of RAM. Any
 * one thread; the return path may be judged by another at the same time. *ret_done: no more is
 * wanted (the list of blocks is complete), and it is fine not to call again. Copies at most
 * 64 KiB. ERROR_HYPERVISOR if that is no stream that was agreed.
 */
MUST_CHECK bool guard_learn(Guard *guard, const uint8_t *bytes, size_t size, bool *ret_done,
			    Error *err);

/*
 * With GUARD_RECOVERY, after all connections were lost in postcopy: what follows on main, on
 * preempt and on the return path comes over new ones. Bytes of the old ones that were not taken are
 * dropped by the caller. No other call may run. ERROR_CONFLICT if there is nothing to recover.
 */
MUST_CHECK bool guard_resume(Guard *guard, Error *err);

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
