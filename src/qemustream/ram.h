/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records of QEMU's `ram` section, version 4 (migration/ram.c), which the main channel has in its
 * sections and the preempt channel has alone.
 *
 *	record := be64 (offset | flags) ...	flags are the bits below the page size
 *
 * A page's record is one unit with the page in it, so that no part of a page can be passed on. A
 * unit covers a whole run of them where each names the same block by CONTINUE and stands one page
 * above the one before: whoever judges it compares one range instead of each page.
 */
#ifndef SEALIFT_QEMUSTREAM_RAM_H
#define SEALIFT_QEMUSTREAM_RAM_H

#include "qemustream/unit.h"

enum {
	RAM_BLOCKS_MAX = 64,
	/* Pages may be longer on other targets; flags need ten bits, the window bounds the rest. */
	RAM_PAGE_SIZE_MIN = 4096,
	RAM_PAGE_SIZE_MAX = 65536,
};

typedef struct RamBlock {
	char name[UNIT_NAME_SIZE]; /* NUL terminated printable ASCII */
	uint8_t name_size;
	uint64_t used_length; /* bytes, a multiple of the page size, never 0 */
	uint64_t page_size;   /* as announced for postcopy, 0 if it was not */
	uint64_t gpa;	      /* as announced with x-ignore-shared, else 0 */
} RamBlock;

/* The blocks that a stream announced, in its order; no name occurs twice. Complete once the unit
 * RAM_EOS of the START section came, and constant from then on: other channels' decoders may read
 * it (the caller sees to it that they start later). */
typedef struct RamBlocks {
	size_t count;
	RamBlock items[RAM_BLOCKS_MAX];
} RamBlocks;

/* The index of a block by name, -1 if none was announced by it. */
int ram_blocks_find(const RamBlocks *blocks, UnitName name);

typedef enum RamKind {
	RAM_MEM_SIZE, /* total_bytes: sum of all blocks, which follow */
	RAM_BLOCK,    /* one entry of the list: RamBlocks.items[block] */
	RAM_ZERO,     /* count pages of zeros */
	RAM_PAGE,     /* count pages with their bytes */
	RAM_XBZRLE,   /* a change to one page: encoded bytes, judged to fit a page */
	RAM_MULTIFD_FLUSH,
	RAM_EOS, /* nothing of this section follows but its footer */
	RAM_KIND_COUNT,
} RamKind;

typedef struct RamUnit {
	RamKind kind;
	size_t size_bytes; /* of the window, all records of a run together */
	uint64_t total_bytes;
	unsigned int block; /* index in RamBlocks */
	uint64_t offset;    /* of the first page in its block; the last one ends inside it too */
	uint32_t count;	    /* of pages, each one page size above the one before */
	/* PAGE: the first page; page i is at bytes + i * stride_bytes. XBZRLE: encoded_bytes. */
	const uint8_t *bytes;
	size_t stride_bytes;
	uint16_t encoded_bytes;
} RamUnit;

typedef enum RamPhase {
	RAM_PHASE_SETUP,    /* START, behind the list: MULTIFD_FLUSH and EOS */
	RAM_PHASE_PRECOPY,  /* ZERO, PAGE, XBZRLE, MULTIFD_FLUSH, EOS */
	RAM_PHASE_POSTCOPY, /* ZERO, PAGE, EOS */
	RAM_PHASE_COUNT,
} RamPhase;

/* What one channel keeps between records. */
typedef struct RamReader {
	const RamBlocks *blocks;
	uint32_t page_size;
	bool xbzrle;  /* XBZRLE may come */
	bool multifd; /* MULTIFD_FLUSH may come */
	RamPhase phase;
	int block; /* what CONTINUE means; -1 before a block was named */
} RamReader;

/*
 * The record, or run of records, at the front. The reader changes with UNIT_WHOLE only. UNIT_BAD
 * with ERROR_PEER for flags that QEMU's switch does not know or does not know in this phase, a
 * block that was not announced, CONTINUE before any name, an offset past its block, a zero page
 * with another value, an XBZRLE that does not fit its page.
 */
MUST_CHECK UnitResult ram_next(RamReader *reader, const uint8_t *window, size_t size,
			       RamUnit *ret_unit, Error *err);

/* Reading the list of blocks at the begin of the START section. */
typedef struct RamList {
	RamBlocks *blocks;
	uint32_t page_size;
	/* be64 of the block's own page size follows for these names. Borrowed, NULL at the end;
	 * NULL for none. */
	const char *const *other_page_size;
	bool gpa;      /* be64 of its guest physical address follows each block */
	bool begun;    /* MEM_SIZE came */
	uint64_t left; /* bytes of blocks that have not been listed */
} RamList;

/* RAM_MEM_SIZE once, then RAM_BLOCK until the lengths have its sum. Not to be called after. */
MUST_CHECK UnitResult ram_list_next(RamList *list, const uint8_t *window, size_t size,
				    RamUnit *ret_unit, Error *err);
static inline bool ram_list_complete(const RamList *list)
{
	return list->begun && !list->left;
}

/* What a page's record says besides its flags, and what cannot stand in any record. Shared by the
 * files of this decoder. */
enum {
	RAM_FLAG_FULL = 0x001,
	RAM_FLAG_ZERO = 0x002,
	RAM_FLAG_MEM_SIZE = 0x004,
	RAM_FLAG_PAGE = 0x008,
	RAM_FLAG_EOS = 0x010,
	RAM_FLAG_CONTINUE = 0x020,
	RAM_FLAG_XBZRLE = 0x040,
	RAM_FLAG_HOOK = 0x080,
	RAM_FLAG_COMPRESS_PAGE = 0x100,
	RAM_FLAG_MULTIFD_FLUSH = 0x200,
};

/* Whether xbzrle_encode_buffer (migration/xbzrle.c) may have written these bytes for a page of this
 * size: runs of nothing and of bytes in turn, each length in one or two bytes of ULEB128. */
MUST_CHECK UnitResult ram_check_xbzrle(const uint8_t *bytes, size_t size, uint32_t page_size,
				       Error *err);

#endif
