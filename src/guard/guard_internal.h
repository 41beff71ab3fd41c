/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the guard share. */
#ifndef SEALIFT_GUARD_GUARD_INTERNAL_H
#define SEALIFT_GUARD_GUARD_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/buffer.h"
#include "guard/guard.h"
#include "guard/guard_device.h"
#include "guard/rules.h"
#include "qemustream/main.h"
#include "qemustream/multifd.h"
#include "qemustream/return_path.h"

enum {
	GUARD_PAGE_SIZE = 4096, /* of x86, the only target */
	GUARD_UUID_SIZE = MULTIFD_UUID_SIZE,
	/* A channel's SYNC may come long before main's: both go through buffers of both hosts. On
	 * main each takes at least 26 bytes (a section with its EOS), so this many are 26 MiB,
	 * more than all buffers between two QEMUs hold. */
	GUARD_SYNC_AHEAD = 1 << 20,
	/* In one pass over its memory QEMU sends each page at most once. A section of main has less
	 * than a pass: QEMU looks for dirty pages anew between sections, and since 9.2, if it
	 * throttles the guest, once in some seconds in the middle of one that lasts 50 ms. The
	 * passes of a multifd channel are told by SYNC. Two times is room enough for both. */
	GUARD_PASSES = 2,
};

/* --- what is expected --- */

/* A block of RAM as the twin has it. Those of firmware tables may have another length once a guest
 * has run. */
typedef struct GuardBlock {
	char name[UNIT_NAME_SIZE];
	uint64_t min_bytes, max_bytes;
	bool announced; /* by the stream; main's thread alone */
	/* What pages may lie in: max_bytes until the stream has announced a length. Written by
	 * main's thread, read by all. */
	_Atomic uint64_t bytes;
} GuardBlock;

typedef struct GuardBlocks {
	size_t count;
	uint64_t min_bytes, max_bytes; /* of all together */
	GuardBlock items[RAM_BLOCKS_MAX];
} GuardBlocks;

/* NULL if there is none of this name. */
GuardBlock *guard_blocks_find(GuardBlocks *blocks, UnitName name);

/* Reads the twin's stream up to its first section of device state, which begins at *ret_held_at.
 * ERROR_INTERNAL: the stream is this host's own. */
MUST_CHECK bool guard_twin_read(const GuardExpected *expected, GuardBlocks *ret_blocks,
				size_t *ret_held_at, Error *err);

/* --- channels --- */

/* What became of a window. */
typedef struct GuardFlow {
	size_t taken;	/* bytes of the window that are judged or held */
	size_t forward; /* of these the first ones, which go on now */
	/* Then these, which were held. */
	const uint8_t *release;
	size_t release_size;
} GuardFlow;

typedef struct GuardMain {
	MainStream *stream;
	uint64_t section_pages;		  /* of the section that is open */
	uint64_t list_left;		  /* bytes of blocks that were not announced */
	uint8_t block_of[RAM_BLOCKS_MAX]; /* expected block of each announced one */
	bool ram_ended;
	bool sections_begun;
	bool pinged;
	/* Device state, from the header of its first section on. */
	bool holding, complete;
	Buffer held;
	size_t text_at; /* in held: behind the last byte that cannot be in JSON */
	bool has_tail;	/* the decoder waits for a length, and what is held goes on with: */
	size_t tail_at;
	char tail_name[UNIT_NAME_SIZE];
	uint32_t tail_instance;
	uint32_t vmdesc_left; /* where no section needed a length */
} GuardMain;

typedef struct GuardMultifd {
	MultifdStream stream;
	bool numbered;
	uint64_t number;     /* of the packet before */
	uint64_t pass_pages; /* since the last SYNC */
	uint64_t syncs;
} GuardMultifd;

typedef struct GuardReturn {
	ReturnPathStream stream;
	unsigned int pongs;
} GuardReturn;

/* One thread's; only the counters are read by others. */
typedef struct GuardChannel {
	unsigned int index;
	bool unjudged; /* mode warn, after a violation */
	GuardMultifd multifd;
	_Atomic uint64_t ram_pages, ram_zero_pages;
} GuardChannel;

struct Guard {
	GuardOptions options;
	char machine[LIMIT_NAME];
	unsigned int channels_count;
	GuardBlocks blocks;
	uint64_t total_pages; /* of all blocks */
	DumpVmstate *dump;    /* what the device rules look into; NULL: no tables */
	GuardDevice *device;
	GuardMain main;
	GuardReturn return_path;
	GuardChannel channels[LIMIT_CHANNELS];
	atomic_bool broken;
	_Atomic uint64_t main_syncs; /* UINT64_MAX once main goes unjudged */
	_Atomic uint64_t warnings, device_bytes, device_sections, judging_us;
	/* What channels tell of themselves in their first packet. */
	pthread_mutex_t lock;
	bool has_uuid;
	uint8_t uuid[GUARD_UUID_SIZE];
	uint32_t ids; /* a bit each */
};

/*
 * Each judges the window of a channel and fills *flow as far as it came. False with *err: a
 * violation, or ERROR_INTERNAL.
 */
MUST_CHECK bool guard_main_take(Guard *guard, const uint8_t *window, size_t size, GuardFlow *flow,
				Error *err);
MUST_CHECK bool guard_multifd_take(Guard *guard, GuardChannel *channel, const uint8_t *window,
				   size_t size, GuardFlow *flow, Error *err);
MUST_CHECK bool guard_return_take(Guard *guard, const uint8_t *window, size_t size, GuardFlow *flow,
				  Error *err);

MUST_CHECK bool guard_main_end(const Guard *guard, size_t left, Error *err);
MUST_CHECK bool guard_multifd_end(const GuardChannel *channel, size_t left, Error *err);
MUST_CHECK bool guard_return_end(const Guard *guard, size_t left, Error *err);

/* Adds to a counter that only the caller's thread writes. */
static inline void guard_count(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

/* Judges what a channel or the configuration says the VM's UUID is; the first word counts if
 * nobody told. `id`: of a multifd channel, or negative. */
MUST_CHECK bool guard_judge_identity(Guard *guard, const uint8_t *uuid, int id, const char *where,
				     Error *err);

#endif
