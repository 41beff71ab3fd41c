/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all decoders of QEMU's migration stream have in common.
 *
 * A decoder looks at a window: the bytes of one stream from where the last unit ended, as many as
 * have arrived. It says what stands at the front: one unit, whole, or that bytes are missing, or
 * that no bytes to come can make it right. It keeps none of the bytes and points into the window
 * instead, so it allocates nothing for what a peer claims, and nobody can forward a part of a unit
 * that was not decoded: the caller forwards what a unit covers once it was judged, and shows the
 * rest again with more behind it. UNIT_WINDOW bounds how much must be shown at once; what may be
 * longer (payloads of pages, a vmdesc) comes as several units.
 *
 * Decoders know the grammar and what it alone forbids (an unknown flag, a name of no bytes). What
 * needs knowledge of this VM (names, sizes, order, counts) is the guard's to judge.
 *
 * The grammar is QEMU's: migration/savevm.c, ram.c, multifd.c and vmstate.c of 7.2 to 10.2.
 */
#ifndef SEALIFT_QEMUSTREAM_UNIT_H
#define SEALIFT_QEMUSTREAM_UNIT_H

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"

typedef enum UnitResult {
	UNIT_WHOLE, /* *ret_unit is filled; its size_bytes of the window belong to it */
	UNIT_MORE,  /* the window ends inside a unit: show it again with more behind */
	UNIT_BAD,   /* *err says why; the decoder answers nothing else from now on */
} UnitResult;

enum {
	/* The longest unit: a POSTCOPY_RAM_DISCARD command of be16 length with its header. */
	UNIT_WINDOW = 128 * 1024,
	/* A counted string: one byte of length, no NUL. */
	UNIT_NAME_MAX = 255,
	UNIT_NAME_SIZE = UNIT_NAME_MAX + 1,
};

/* A counted string that was found in a window; valid as long as the window. Not NUL terminated,
 * not checked for what bytes it has. */
typedef struct UnitName {
	const char *bytes;
	uint8_t size;
} UnitName;

#endif
