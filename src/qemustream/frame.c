/* SPDX-License-Identifier: Apache-2.0 */
#include "qemustream/frame.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/buffer.h"

enum {
	/* migration/savevm.h */
	TAG_EOF = 0x00,
	TAG_FULL = 0x04,
	TAG_SUBSECTION = 0x05,
	TAG_VMDESC = 0x06,
	TAG_FOOTER = 0x7e,
	NULLPTR_MARK = '0',
	VMDESC_HEADER = 6, /* EOF byte, tag, be32 length */
};

/* --- the vmdesc at the end --- */

static bool may_be_json(uint8_t byte)
{
	return byte >= 0x20 || byte == '\t' || byte == '\n' || byte == '\r';
}

static bool is_vmdesc_at(const uint8_t *held, size_t size, size_t eof)
{
	return held[eof] == TAG_EOF && held[eof + 1] == TAG_VMDESC &&
	       load_be32(held + eof + 2) == size - eof - VMDESC_HEADER &&
	       held[eof + VMDESC_HEADER] == '{';
}

/* The text goes back at least to its first byte. The bytes of its length before it may look like
 * text too, but not the first of them: the bound makes it 0. */
bool frame_find_vmdesc(const uint8_t *held, size_t size, size_t max_json, size_t *ret_eof,
		       Error *err)
{
	size_t start = size, found = 0;

	assert(max_json < 1 << 24);
	while (start && may_be_json(held[start - 1]) && size - start <= max_json + 4)
		start--;
	for (size_t json = start; json <= start + 4 && json < size; json++) {
		if (json < VMDESC_HEADER || size - json > max_json ||
		    !is_vmdesc_at(held, size, json - VMDESC_HEADER))
			continue;
		*ret_eof = json - VMDESC_HEADER;
		found++;
	}
	if (found == 1)
		return true;
	return error_set(
		err, ERROR_PEER,
		"the %zu bytes of device state end in %zu descriptions of at most %zu bytes", size,
		found, max_json);
}

/* --- one payload --- */

typedef struct Level {
	uint32_t next, end; /* nodes */
	uint32_t count;	    /* elements */
} Level;

typedef struct Walk {
	const VmDescription *description;
	const VmDevice *device;
	const FrameVisitor *visitor;
	const uint8_t *payload;
	size_t size, used;
	size_t offset; /* of the payload */
	/* Level 0 is the device; levels[n] describes path[n - 1]. */
	Level levels[VMDESC_DEPTH_MAX + 1];
	FrameLevel path[VMDESC_DEPTH_MAX];
	size_t depth;
	Error *err;
} Walk;

static FrameField field_of(const Walk *walk, const VmNode *node)
{
	return (FrameField){ .device = walk->device,
			     .node = node,
			     .levels = walk->path,
			     .levels_count = walk->depth,
			     .bytes = walk->payload + walk->used,
			     .offset = walk->offset + walk->used };
}

const char *frame_path(const FrameField *field, char path[static FRAME_PATH_SIZE])
{
	size_t used = 0;

	path[0] = 0;
	for (size_t i = 0; i <= field->levels_count && used < FRAME_PATH_SIZE - 1; i++) {
		const bool last = i == field->levels_count;
		const VmNode *node = last ? field->node : field->levels[i].node;
		const uint32_t element = last ? 0 : field->levels[i].element;
		char number[16] = "";
		int length;

		if (!last && node->count > 1)
			snprintf(number, sizeof(number), "[%u]", element);
		else if (node->index != VMDESC_NO_INDEX)
			snprintf(number, sizeof(number), "[%u]", node->index);
		length = snprintf(path + used, FRAME_PATH_SIZE - used, "%s%s%s", i ? "/" : "",
				  node->name, number);
		used += length > 0 ? (size_t)length : 0;
	}
	return path;
}

static bool refuse(Walk *walk, const VmNode *node, const char *what, unsigned long long is,
		   unsigned long long should)
{
	const FrameField field = field_of(walk, node);
	char path[FRAME_PATH_SIZE];

	return error_set(walk->err, ERROR_PEER,
			 "device %.80s, %.200s, byte %zu: %s (%llu, not %llu)", walk->device->name,
			 frame_path(&field, path), field.offset, what, is, should);
}

/* What QEMU's loader takes over without a look, and its writer never writes. */
typedef struct Encoding {
	const char *type, *what;
	uint8_t least, most; /* of each byte */
} Encoding;

static const Encoding encodings[] = {
	{ "bool", "a bool", 0, 1 },
	{ "nullptr", "the mark of a null pointer", NULLPTR_MARK, NULLPTR_MARK },
	{ "unused_buffer", "a byte of nothing", 0, 0 },
	/* Without elements, which no description tells (vmdesc.h): none is counted or marked. */
	{ "qtailq", "the mark of an element", 0, 0 },
	{ "qlist", "the mark of an element", 0, 0 },
	{ "gtree", "the mark of an element", 0, 0 },
};

static bool check_encoding(Walk *walk, const VmNode *node, const uint8_t *bytes, size_t size)
{
	const Encoding *encoding = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(encodings); i++)
		if (!strcmp(node->type, encodings[i].type))
			encoding = &encodings[i];
	for (size_t i = 0; encoding && i < size; i++)
		if (bytes[i] < encoding->least || bytes[i] > encoding->most)
			return refuse(walk, node, encoding->what, bytes[i], encoding->most);
	return true;
}

static bool walk_leaf(Walk *walk, const VmNode *node)
{
	const uint64_t size = (uint64_t)node->size_bytes * node->count;
	FrameField field = field_of(walk, node);

	if (size > walk->size - walk->used)
		return refuse(walk, node, "the payload ends inside the field",
			      walk->size - walk->used, size);
	field.size_bytes = (size_t)size;
	if (!check_encoding(walk, node, field.bytes, field.size_bytes))
		return false;
	if (walk->visitor->on_field &&
	    !walk->visitor->on_field(walk->visitor->context, &field, walk->err))
		return false;
	walk->used += field.size_bytes;
	return true;
}

static void push(Walk *walk, const VmNode *node)
{
	const uint32_t self = (uint32_t)(node - walk->description->nodes);

	assert(walk->depth < VMDESC_DEPTH_MAX);
	walk->path[walk->depth++] = (FrameLevel){ .node = node };
	walk->levels[walk->depth] =
		(Level){ .next = self + 1, .end = node->end, .count = node->count };
}

static bool walk_subsection(Walk *walk, const VmNode *node)
{
	Reader reader = reader_of(walk->payload + walk->used, walk->size - walk->used);
	const size_t length = strlen(node->name);
	const uint8_t *name;
	uint32_t version;
	uint8_t byte;

	if (!reader_get_u8(&reader, &byte) || byte != TAG_SUBSECTION)
		return refuse(walk, node, "no mark of a subsection", reader.left ? byte : 0,
			      TAG_SUBSECTION);
	if (!reader_get_u8(&reader, &byte) || byte != length)
		return refuse(walk, node, "another length of its name", byte, length);
	if (!reader_skip(&reader, length, &name) || memcmp(name, node->name, length))
		return refuse(walk, node, "another name", reader.left, length);
	if (!reader_get_be32(&reader, &version) || version != node->version)
		return refuse(walk, node, "another version", version, node->version);
	walk->used = walk->size - reader.left;
	push(walk, node);
	return true;
}

/* What was described of this vmsd ended here: QEMU looks for further subsections of it. */
static bool check_no_subsection(Walk *walk, const VmNode *node, const char *vmsd_name)
{
	const uint8_t *next = walk->payload + walk->used;
	const size_t left = walk->size - walk->used, length = strlen(vmsd_name);

	if (!length || left < 2 + length || next[0] != TAG_SUBSECTION || next[1] <= length ||
	    memcmp(next + 2, vmsd_name, length))
		return true;
	return refuse(walk, node, "a subsection that is not described", next[1], 0);
}

/* The innermost level has no node left. */
static bool end_level(Walk *walk)
{
	Level *level = &walk->levels[walk->depth];
	FrameLevel *at = &walk->path[walk->depth - 1];

	if (!check_no_subsection(walk, at->node, at->node->vmsd_name))
		return false;
	if (++at->element < level->count) {
		level->next = (uint32_t)(at->node - walk->description->nodes) + 1;
		return true;
	}
	walk->depth--;
	return true;
}

static bool walk_node(Walk *walk, Level *level)
{
	const VmNode *node = &walk->description->nodes[level->next];

	level->next = node->end;
	if (node->kind == VM_LEAF)
		return walk_leaf(walk, node);
	if (node->kind == VM_SUBSECTION)
		return walk_subsection(walk, node);
	/* Elements of no bytes are not walked: there could be any number of them. */
	if (node->size_bytes)
		push(walk, node);
	return true;
}

bool frame_payload(const uint8_t *payload, size_t size, size_t offset, const VmDevice *device,
		   const VmDescription *description, const FrameVisitor *visitor, Error *err)
{
	const VmNode whole = { .name = "payload", .index = VMDESC_NO_INDEX, .count = 1 };
	Walk walk = { .description = description,
		      .device = device,
		      .visitor = visitor,
		      .payload = payload,
		      .size = size,
		      .offset = offset,
		      .err = err };

	walk.levels[0] = (Level){ .next = device->first, .end = device->end, .count = 1 };
	while (walk.depth || walk.levels[0].next < walk.levels[0].end) {
		Level *level = &walk.levels[walk.depth];

		if (!(level->next < level->end ? walk_node(&walk, level) : end_level(&walk)))
			return false;
	}
	if (!check_no_subsection(&walk, &whole, device->vmsd_name))
		return false;
	if (walk.used != size)
		return refuse(&walk, &whole, "bytes behind the last field", size - walk.used, 0);
	return true;
}

/* --- the sections --- */

typedef struct Sections {
	const uint8_t *held;
	size_t size;
	Reader reader;
	uint8_t seen[(FRAME_SECTION_ID_MAX + 1) / 8];
} Sections;

static size_t offset_of(const Sections *sections)
{
	return sections->size - sections->reader.left;
}

static bool differs(const Sections *sections, const VmDevice *device, const char *what,
		    unsigned long long is, unsigned long long should, Error *err)
{
	return error_set(err, ERROR_PEER, "device %.80s, byte %zu: %s (%llu, not %llu)",
			 device->name, offset_of(sections), what, is, should);
}

static bool mark_seen(Sections *sections, const VmDevice *device, uint32_t id, Error *err)
{
	uint8_t *byte;

	if (id > FRAME_SECTION_ID_MAX)
		return differs(sections, device, "section id past the bound", id,
			       FRAME_SECTION_ID_MAX, err);
	byte = &sections->seen[id / 8];
	if (*byte & (1 << id % 8))
		return differs(sections, device, "section id used before", id, id, err);
	*byte |= (uint8_t)(1 << id % 8);
	return true;
}

static bool read_header(Sections *sections, FrameSection *section, Error *err)
{
	const VmDevice *device = section->device;
	const size_t length = strlen(device->name);
	Reader *reader = &sections->reader;
	uint32_t instance_id = 0;
	const uint8_t *name;
	uint8_t byte = 0;

	section->header_offset = offset_of(sections);
	if (!reader_get_u8(reader, &byte) || byte != TAG_FULL)
		return differs(sections, device, "no FULL section", byte, TAG_FULL, err);
	if (!reader_get_be32(reader, &section->section_id) || !reader_get_u8(reader, &byte))
		return differs(sections, device, "cut in the header", reader->left, 5, err);
	if (byte != length || !reader_skip(reader, length, &name) ||
	    memcmp(name, device->name, length))
		return differs(sections, device, "a section of another name", byte, length, err);
	if (!reader_get_be32(reader, &instance_id) || instance_id != device->instance_id)
		return differs(sections, device, "another instance", instance_id,
			       device->instance_id, err);
	if (!reader_get_be32(reader, &section->version) ||
	    (device->vmsd_name[0] && section->version != device->version))
		return differs(sections, device, "another version", section->version,
			       device->version, err);
	return mark_seen(sections, device, section->section_id, err);
}

static bool read_footer(Sections *sections, const FrameSection *section, Error *err)
{
	uint32_t id = 0;
	uint8_t byte = 0;

	if (!reader_get_u8(&sections->reader, &byte) || byte != TAG_FOOTER)
		return differs(sections, section->device,
			       "no footer behind the payload that is described", byte, TAG_FOOTER,
			       err);
	if (!reader_get_be32(&sections->reader, &id) || id != section->section_id)
		return differs(sections, section->device, "a footer of another section", id,
			       section->section_id, err);
	return true;
}

static bool walk_section(Sections *sections, const VmDevice *device,
			 const VmDescription *description, const FrameVisitor *visitor, Error *err)
{
	FrameSection section = { .device = device, .payload_bytes = device->size_bytes };
	const uint8_t *payload;

	if (!read_header(sections, &section, err))
		return false;
	section.payload_offset = offset_of(sections);
	if (!reader_skip(&sections->reader, section.payload_bytes, &payload))
		return differs(sections, device, "the device state ends inside the payload",
			       sections->reader.left, section.payload_bytes, err);
	/* The footer first: a payload that is cut wrong shows there. */
	return read_footer(sections, &section, err) &&
	       (!visitor->on_section || visitor->on_section(visitor->context, &section, err)) &&
	       frame_payload(payload, section.payload_bytes, section.payload_offset, device,
			     description, visitor, err);
}

bool frame_sections(const uint8_t *held, size_t eof, const VmDescription *description,
		    const FrameVisitor *visitor, Error *err)
{
	Sections sections = { .held = held, .size = eof, .reader = reader_of(held, eof) };

	for (size_t i = 0; i < description->devices_count; i++)
		if (!walk_section(&sections, &description->devices[i], description, visitor, err))
			return false;
	if (sections.reader.left)
		return error_set(err, ERROR_PEER,
				 "byte %zu: %zu bytes behind the section of the last device",
				 offset_of(&sections), sections.reader.left);
	return true;
}
