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
#include "qemustream/decompress.h"
#include "qemustream/main.h"
#include "qemustream/multifd.h"
#include "qemustream/preempt.h"
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
	GUARD_EARLY_MAX = 16, /* devices that send a section early */
	GUARD_BITMAPS_MAX = 64,
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

/* A device whose state, or a part of it, goes before memory (virtio-mem). */
typedef struct GuardEarly {
	char name[UNIT_NAME_SIZE];
	uint32_t instance_id;
	uint32_t bytes; /* of its payload, which is always as long */
} GuardEarly;

/* What the twin's stream says. */
typedef struct GuardTwin {
	GuardBlocks *blocks;
	/* All sections of device state, early ones first, and the description. */
	Buffer state;
	GuardEarly early[GUARD_EARLY_MAX];
	size_t early_count;
} GuardTwin;

/* ERROR_INTERNAL: the stream is this host's own. state is the caller's to clear. */
MUST_CHECK bool guard_twin_read(const GuardExpected *expected, GuardTwin *ret_twin, Error *err);

/* ERROR_INTERNAL if what was agreed does not go together; the second where the number of multifd
 * channels is known. */
MUST_CHECK bool guard_features_check(const GuardExpected *expected, Error *err);
MUST_CHECK bool guard_features_check_multifd(uint32_t agreed, unsigned int multifd_channels,
					     Error *err);

/* --- channels --- */

/* What became of a window. */
typedef struct GuardFlow {
	size_t taken;	/* bytes of the window that are judged or held */
	size_t forward; /* of these the first ones, which go on now */
	/* Then these, which were held in `from`; that is empty once they were written, and the
	 * window's rest is looked at again. */
	const uint8_t *release;
	size_t release_size;
	Buffer *from;
} GuardFlow;

/* What main holds back, and until what. */
typedef enum GuardHold {
	HOLD_NOTHING,
	HOLD_EARLY,   /* an early section: its footer */
	HOLD_PACKAGE, /* postcopy's package: its last byte */
	HOLD_DEVICES, /* precopy's device state: the end of the stream */
} GuardHold;

/* A dirty bitmap that began. */
typedef struct GuardBitmap {
	unsigned int node;
	char name[UNIT_NAME_SIZE];
	uint32_t granularity_bytes;
	bool complete;
} GuardBitmap;

typedef struct GuardBitmaps {
	char *aliases; /* of all nodes, each with its NUL */
	uint64_t node_bytes[GUARD_NODES_MAX];
	size_t nodes_count;
	GuardBitmap *items; /* GUARD_BITMAPS_MAX of them */
	size_t count;
	int node;    /* that was named last; -1 */
	int current; /* bitmap that was named last; -1 */
} GuardBitmaps;

typedef struct GuardMain {
	MainStream *stream;
	uint64_t section_pages;		  /* of the section that is open */
	uint64_t list_left;		  /* bytes of blocks that were not announced */
	uint8_t block_of[RAM_BLOCKS_MAX]; /* expected block of each announced one */
	bool ram_went_on, ram_ended;	  /* a PART or END came; the END */
	bool sections_begun;
	uint32_t pings;		/* a bit for each row of guard_command.c */
	uint64_t discarded;	/* pages */
	bool packaged;		/* PACKAGED came */
	uint64_t bitmaps_asked; /* blocks of RECV_BITMAP since the connection was resumed */
	size_t sections_at;	/* in held: the first section of the package */
	size_t sections_end;	/* behind the last one that was judged */
	/* Early sections, whole, once they were judged: what describes them comes at the end. */
	Buffer early;
	uint32_t early_seen; /* a bit each, in the order of the twin's */
	/* Device state, from the header of its first section on. */
	GuardHold hold;
	bool complete;
	Buffer held;
	size_t marks_at; /* in held: where descriptions were looked for */
	size_t marks[4]; /* that may be one, and not its last bytes; 0: free */
	unsigned int marks_judged;
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
	/* With compression: a packet's header and its payload until that was expanded. */
	Decompressor *decompressor;
	Buffer held;
	size_t held_need; /* bytes; 0: nothing is held */
} GuardMultifd;

typedef struct GuardReturn {
	ReturnPathStream stream;
	uint32_t pongs; /* a bit for each cookie of guard_return.c */
	bool acknowledged, resuming;
	int block;	    /* of the request before; -1 */
	uint64_t requested; /* pages */
	uint64_t bitmaps;   /* a bit for each block */
	/* What this host's own QEMU announced. Written by guard_learn alone, which sets `ready`
	 * last. */
	MainStream *own;
	Buffer own_bytes;
	atomic_bool ready;
} GuardReturn;

/* One thread's; only the counters are read by others. */
typedef struct GuardChannel {
	unsigned int index;
	bool unjudged; /* mode warn, after a violation */
	GuardMultifd multifd;
	atomic_bool follows_main; /* main goes unjudged, so this cannot be judged either */
	PreemptStream preempt;
	uint64_t preempt_pages;
	_Atomic uint64_t ram_pages, ram_zero_pages;
} GuardChannel;

struct Guard {
	GuardOptions options;
	uint32_t agreed;
	char machine[LIMIT_NAME];
	char huge_block[LIMIT_NAME];
	const char *huge_blocks[2]; /* as MainStreamOptions wants it */
	uint64_t huge_page_bytes;
	unsigned int channels_count; /* all */
	unsigned int multifd_count;
	GuardBlocks blocks;
	uint64_t total_pages; /* of all blocks */
	DumpVmstate *dump;    /* what the device rules look into; NULL: no tables */
	GuardDevice *device;
	GuardEarly early[GUARD_EARLY_MAX];
	size_t early_count;
	GuardBitmaps bitmaps;
	GuardMain main;
	GuardReturn return_path;
	GuardChannel channels[LIMIT_STREAM_CHANNELS];
	atomic_bool broken;
	_Atomic uint64_t main_syncs; /* UINT64_MAX once main goes unjudged */
	atomic_bool package_passed;  /* set before its first byte goes on */
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
MUST_CHECK bool guard_preempt_take(Guard *guard, GuardChannel *channel, const uint8_t *window,
				   size_t size, GuardFlow *flow, Error *err);
MUST_CHECK bool guard_return_take(Guard *guard, const uint8_t *window, size_t size, GuardFlow *flow,
				  Error *err);

MUST_CHECK bool guard_main_end(const Guard *guard, size_t left, Error *err);
MUST_CHECK bool guard_multifd_end(const GuardChannel *channel, size_t left, Error *err);
MUST_CHECK bool guard_preempt_end(const GuardChannel *channel, size_t left, Error *err);
MUST_CHECK bool guard_return_end(const Guard *guard, size_t left, Error *err);

static inline bool guard_has(const Guard *guard, GuardFeature feature)
{
	return guard->agreed & GUARD_AGREED(feature);
}

static inline bool guard_is_preempt(const Guard *guard, unsigned int channel)
{
	return guard_has(guard, GUARD_PREEMPT) && channel && channel == guard->channels_count - 1;
}

/* For compression: makes the decompressor of a channel, or frees what a channel has. */
MUST_CHECK bool guard_multifd_open(const Guard *guard, GuardChannel *channel, Error *err);
void guard_multifd_close(GuardChannel *channel);

/* The disks of `expected`, copied. ERROR_INTERNAL without memory. */
MUST_CHECK bool guard_bitmaps_open(Guard *guard, const GuardExpected *expected, Error *err);
void guard_bitmaps_close(GuardBitmaps *bitmaps);

/* The return path's part of guard_new, guard_free and guard_resume. */
MUST_CHECK bool guard_return_open(Guard *guard, Error *err);
void guard_return_close(Guard *guard);
MUST_CHECK bool guard_return_resume(Guard *guard, Error *err);

/* The page size of a block, in bytes. */
uint64_t guard_page_bytes(const Guard *guard, const char *block);

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
