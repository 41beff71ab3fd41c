/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of `sealift inspect` for the main channel share. */
#ifndef SEALIFT_PROGRAMS_CLI_INSPECT_MAIN_H
#define SEALIFT_PROGRAMS_CLI_INSPECT_MAIN_H

#include "base/buffer.h"
#include "programs/cli/inspect.h"
#include "qemustream/main.h"
#include "qemustream/vmdesc.h"

/* The section that is open. The decoder's name of it lies in a window that moves. */
typedef struct OpenSection {
	MainSectionType type;
	uint32_t id, instance_id, version_id;
	char name[UNIT_NAME_SIZE];
	bool open, needs_length;
	uint64_t at, payload_at;
	uint64_t flushes, bitmap_bits, bitmap_zeroes;
} OpenSection;

typedef struct MainInspect {
	Inspect *inspect;
	MainStream *stream;
	OpenSection section;
	/* The section's payload has a length that only its device knows: before another unit is
	 * asked for it must be found. */
	bool wants_length;
	/* Held device state, decoded once all of it is there: replaying. */
	Buffer held;
	uint64_t held_at;
	bool replaying;
	VmDescription *description; /* of the held, NULL: sections are found by their footers */
	size_t devices;		    /* FULL sections that came */
	bool device_found;
	PageCount counts[RAM_BLOCKS_MAX]; /* of the open section */
	PageCount total;
	uint64_t sections, end; /* bytes that were explained */
} MainInspect;

/* inspect_units.c: prints a unit that is no TAIL, and keeps what later ones need of it. */
MUST_CHECK bool inspect_print_unit(MainInspect *view, const MainUnit *unit, Error *err);
/* What the blocks got in the open section so far. */
MUST_CHECK bool inspect_print_counts(MainInspect *view, Error *err);
MUST_CHECK bool inspect_print_main_summary(MainInspect *view, Error *err);

/*
 * inspect_device.c: the payload of the open FULL section stands at the front of `bytes`.
 * *ret_found: its end was found, and it was printed, with its fields if they were asked for;
 * *ret_length is its length. Else more bytes are needed. ERROR_PEER if it is not what the
 * description says.
 */
MUST_CHECK bool inspect_device(MainInspect *view, const uint8_t *bytes, size_t size,
			       bool *ret_found, uint64_t *ret_length, Error *err);
/* At the end of replayed state: ERROR_PEER if the description has devices that did not come. */
MUST_CHECK bool inspect_devices_finish(const MainInspect *view, Error *err);

/*
 * inspect_tail.c: looks for the description in the held state, which must be complete. *ret_size is
 * how much of the held belongs to the stream: less than all if bytes follow the description. The
 * description is NULL if there is none to be found: the file was cut. ERROR_PEER, ERROR_LIMIT if
 * there is one that cannot be read.
 */
MUST_CHECK bool inspect_tail_describe(MainInspect *view, size_t *ret_size, Error *err);
/* The length of a payload whose section has this id, by what a footer and the item behind it look
 * like; false if none is in these bytes. */
bool inspect_tail_find_footer(const uint8_t *bytes, size_t size, uint32_t section_id,
			      size_t *ret_length);

#endif
