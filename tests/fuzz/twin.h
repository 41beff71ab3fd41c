/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Device state of a real machine, with changes that an input asks for. The machine is one of
 * make-data: a guest that ran, its twin that never did, the tables of their QEMU.
 *
 * An input is a list of edits, so that a few bytes change what counts in 380 KB:
 *
 *	u8 kind (of its low bits), where, what
 *	FIELD:  be16 field, be16 byte in it, u8 n: so many bytes are written over it
 *	BYTES:  be32 byte of the sections, u8 n: the same anywhere
 *	TEXT:   be32 byte of the description, u8 cut, u8 n: so many go, so many come
 *	CUT:    be32 byte of the sections, be16 n: so many go
 *	INSERT: be32 byte of the sections, u8 n: so many come
 *
 * Each place is taken modulo what there is. The length before the description is mended.
 */
#ifndef SEALIFT_TESTS_FUZZ_TWIN_H
#define SEALIFT_TESTS_FUZZ_TWIN_H

#include "base/buffer.h"
#include "guard/guard_device.h"
#include "guard/rules.h"

typedef enum FuzzEdit {
	FUZZ_EDIT_FIELD,
	FUZZ_EDIT_BYTES,
	FUZZ_EDIT_TEXT,
	FUZZ_EDIT_CUT,
	FUZZ_EDIT_INSERT,
	FUZZ_EDIT_COUNT,
} FuzzEdit;

enum { FUZZ_EDITS_MAX = 8 };

typedef struct FuzzField {
	size_t offset, size;
	bool has_range, is_virtio;
	GuardRule rule; /* of the range */
} FuzzField;

/* What a target most often holds to its end. */
typedef struct FuzzTwin {
	Buffer ran, twin, tables;
	size_t eof; /* of `ran`: where the end mark stands */
	DumpVmstate *dump;
	FuzzField *fields; /* of `ran`, in their order */
	size_t fields_count;
} FuzzTwin;

/* Ends the program if it cannot. `folder` has what make-data wrote. */
void fuzz_twin_open(FuzzTwin *twin, const char *folder);
void fuzz_twin_close(FuzzTwin *twin);

/* The guest's device state with the edits of an input, up to its end or FUZZ_EDITS_MAX. Appends. */
void fuzz_twin_edit(const FuzzTwin *twin, Reader *edits, Buffer *held);

/* Main channels around device state: what a twin of this machine writes, and what a source does.
 * The machine is FUZZ_TWIN_MACHINE, its RAM a few pages. */
#define FUZZ_TWIN_MACHINE "pc-q35-10.0"
void fuzz_twin_put_stream(Buffer *stream, bool is_twin, const Buffer *held);

#endif
