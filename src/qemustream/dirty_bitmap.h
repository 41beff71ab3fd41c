/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records of QEMU's `dirty-bitmap` section, version 1 (migration/block-dirty-bitmap.c): which parts
 * of a disk an incremental backup has yet to copy. As that file writes them, not all that it would
 * read: flags in one byte, one chunk a record, EOS alone.
 */
#ifndef SEALIFT_QEMUSTREAM_DIRTY_BITMAP_H
#define SEALIFT_QEMUSTREAM_DIRTY_BITMAP_H

#include "qemustream/unit.h"

typedef enum BitmapKind {
	BITMAP_START,	 /* a bitmap of this granularity and flags */
	BITMAP_BITS,	 /* bits of a range of sectors */
	BITMAP_ZEROES,	 /* none of the range is dirty */
	BITMAP_COMPLETE, /* nothing of this bitmap follows */
	BITMAP_EOS,	 /* nothing of this section follows but its footer */
} BitmapKind;

enum {
	BITMAP_ENABLED = 0x01,
	BITMAP_PERSISTENT = 0x02,
	/* Ten of QEMU's chunks: what its loader allocates at most. */
	BITMAP_BITS_MAX = 10 * 1024,
};

typedef struct BitmapUnit {
	BitmapKind kind;
	size_t size_bytes;	    /* of the window */
	UnitName node, bitmap;	    /* no bytes: the same as before */
	uint32_t granularity_bytes; /* START: a power of two */
	uint8_t flags;		    /* START */
	uint64_t first_sector;	    /* BITS, ZEROES: sectors of 512 bytes */
	uint32_t n_sectors;
	const uint8_t *bits; /* BITS */
	size_t bits_bytes;
} BitmapUnit;

/* Which section type a record stands in. */
typedef enum BitmapPlace { BITMAP_IN_START, BITMAP_IN_PART, BITMAP_IN_END } BitmapPlace;

/* Keeps only whether a bitmap was named. Zeroed at the begin of the stream. */
typedef struct BitmapReader {
	bool named;
} BitmapReader;

/*
 * START stands in START sections, BITS and ZEROES in PART and END, COMPLETE in END, EOS anywhere.
 * ERROR_PEER too for other flags, a first record without names, a granularity that QEMU would
 * assert on, sectors past 2^55, bits that are none or more than BITMAP_BITS_MAX.
 */
MUST_CHECK UnitResult bitmap_next(BitmapReader *reader, BitmapPlace place, const uint8_t *window,
				  size_t size, BitmapUnit *ret_unit, Error *err);

#endif
