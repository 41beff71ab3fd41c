/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cuts held device state into sections and fields.
 *
 * Held device state is the end of a precopy stream, from the first FULL section to the last byte:
 *
 *     (u8 4, be32 id, cstr idstr, be32 instance, be32 version, payload, u8 0x7e, be32 id)*
 *     u8 0, u8 6, be32 length, JSON
 *
 * The JSON is found from the end, since what stands before it cannot be walked without it. Then
 * every byte before it is walked in order, and the walk must end exactly there. So nothing rests
 * on a mark that a payload may contain.
 *
 * QEMU, when it loads, does not know this description: it reads each field by its own table, and
 * looks after each struct whether the next bytes name one of the struct's subsections
 * (vmstate_subsection_load, migration/vmstate.c). Bytes that it would take for a subsection where
 * the description has data are refused, so that what was judged is what will be loaded; compare.h
 * holds the description against QEMU's own.
 */
#ifndef SEALIFT_QEMUSTREAM_FRAME_H
#define SEALIFT_QEMUSTREAM_FRAME_H

#include "qemustream/vmdesc.h"

enum {
	FRAME_SECTION_ID_MAX = UINT16_MAX, /* QEMU counts them from 0; 100 were seen */
	FRAME_PATH_SIZE = 512,
};

/* One section whose header was read. */
typedef struct FrameSection {
	const VmDevice *device;
	uint32_t section_id;
	uint32_t version;
	size_t header_offset; /* in the held bytes */
	size_t payload_offset;
	size_t payload_bytes;
} FrameSection;

/* A struct or subsection that a field is inside of, and which element of it. */
typedef struct FrameLevel {
	const VmNode *node;
	uint32_t element;
} FrameLevel;

/* A leaf with all its elements. What it points to lives as long as the call. */
typedef struct FrameField {
	const VmDevice *device;
	/* Name, type, count, size of an element. It may be a copy that stands alone (guard_local.c
	 * tries lengths): nothing may walk from it to what is beside it in a description, but by
	 * `levels` and `device`. */
	const VmNode *node;
	const FrameLevel *levels; /* outermost first */
	size_t levels_count;
	const uint8_t *bytes;
	size_t size_bytes; /* node->count * node->size_bytes */
	size_t offset;	   /* in the held bytes */
} FrameField;

/* Both may be NULL. false with *err set refuses and ends the walk. */
typedef struct FrameVisitor {
	bool (*on_section)(void *context, const FrameSection *section, Error *err);
	bool (*on_field)(void *context, const FrameField *field, Error *err);
	void *context;
} FrameVisitor;

/*
 * Where the EOF byte before the vmdesc stands in the held bytes; the JSON begins 6 bytes behind it
 * and goes to the end. ERROR_PEER if the end is no vmdesc, or is one in two ways.
 */
MUST_CHECK bool frame_find_vmdesc(const uint8_t *held, size_t size, size_t max_json,
				  size_t *ret_eof, Error *err);

/*
 * Walks the sections in held[0..eof), which must be the devices of the description, all, in order,
 * and nothing else: header, version, length, footer. ERROR_PEER names device, field, offset and
 * both numbers.
 */
MUST_CHECK bool frame_sections(const uint8_t *held, size_t eof, const VmDescription *description,
			       const FrameVisitor *visitor, Error *err);

/*
 * Walks one payload, whose first byte stands at `offset` in what the visitor is told. Beside the
 * lengths it holds what QEMU's own encoding holds: a bool is 0 or 1, a nullptr is '0', unused bytes
 * are 0, a subsection stands where the description has it, with its name and version, and nowhere
 * else.
 */
MUST_CHECK bool frame_payload(const uint8_t *payload, size_t size, size_t offset,
			      const VmDevice *device, const VmDescription *description,
			      const FrameVisitor *visitor, Error *err);

/* "pm/ich9_pm/cpuhp/devs[3]/ost_event", cut to the size of the buffer. Returns path. */
const char *frame_path(const FrameField *field, char path[static FRAME_PATH_SIZE]);

#endif
