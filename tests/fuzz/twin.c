/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/twin.h"

#include <stdio.h>
#include <string.h>
#include <zlib.h>

#include "guard/device_rules.h"
#include "qemustream/frame.h"
#include "tests/fuzz/fuzz.h"

enum { FILE_MAX = 4 << 20, VMDESC_HEADER = 6, FIELDS_MAX = 65536 };

static void must(bool ok, const char *what)
{
	if (!ok)
		fuzz_fail(what);
}

static void put(Buffer *buffer, const void *bytes, size_t size)
{
	Error err = ERROR_INIT;

	must(!size || buffer_put(buffer, bytes, size, &err), "no room");
}

/* --- opening --- */

static Buffer read_file(const char *folder, const char *name)
{
	static uint8_t chunk[1 << 16];
	Buffer buffer = BUFFER_INIT(FILE_MAX);
	char path[512];
	gzFile file;
	int got;

	snprintf(path, sizeof(path), "%s/%s.gz", folder, name);
	file = gzopen(path, "rb");
	must(file, path);
	while ((got = gzread(file, chunk, sizeof(chunk))) > 0)
		put(&buffer, chunk, (size_t)got);
	must(!got && gzclose(file) == Z_OK, path);
	return buffer;
}

static const DeviceRule *find_range(const FrameField *field)
{
	const char *table = field->levels_count
				    ? field->levels[field->levels_count - 1].node->vmsd_name
				    : field->device->vmsd_name;

	for (size_t i = 0; i < device_rules_count; i++)
		if (device_rules[i].check == DEVICE_RANGE &&
		    !strcmp(device_rules[i].table, table) &&
		    !strcmp(device_rules[i].field, field->node->name))
			return &device_rules[i];
	return NULL;
}

static bool add_field(void *context, const FrameField *field, Error *err)
{
	FuzzTwin *twin = context;
	const DeviceRule *range = find_range(field);

	(void)err;
	if (!field->size_bytes || twin->fields_count == FIELDS_MAX)
		return true;
	twin->fields[twin->fields_count++] =
		(FuzzField){ .offset = field->offset,
			     .size = field->size_bytes,
			     .has_range = range,
			     .is_virtio = !strcmp(field->node->type, "virtio"),
			     .rule = range ? range->rule : GUARD_RULE_COUNT };
	return true;
}

void fuzz_twin_open(FuzzTwin *twin, const char *folder)
{
	const FrameVisitor visitor = { .on_field = add_field, .context = twin };
	Error err = ERROR_INIT;

	*twin = (FuzzTwin){ .ran = read_file(folder, "ran"),
			    .twin = read_file(folder, "twin"),
			    .tables = read_file(folder, "tables"),
			    .fields = calloc(FIELDS_MAX, sizeof(FuzzField)) };
	twin->dump = dump_vmstate_parse(twin->tables.data, twin->tables.used, &err);
	must(twin->fields && twin->dump, err.text);
	must(frame_find_vmdesc(twin->ran.data, twin->ran.used, GUARD_DEVICE_JSON_MAX, &twin->eof,
			       &err),
	     err.text);

	AUTO_VMDESC VmDescription *description = vmdesc_parse(
		twin->ran.data + twin->eof + VMDESC_HEADER,
		twin->ran.used - twin->eof - VMDESC_HEADER, &VMDESC_LIMITS_DEFAULT, &err);

	must(description && frame_sections(twin->ran.data, twin->eof, description, &visitor, &err),
	     err.text);
}

void fuzz_twin_close(FuzzTwin *twin)
{
	buffer_clear(&twin->ran);
	buffer_clear(&twin->twin);
	buffer_clear(&twin->tables);
	dump_vmstate_free(twin->dump);
	free(twin->fields);
}

/* --- editing --- */

/* What is edited: sections, then the end mark and the description. */
typedef struct Edited {
	Buffer *held;
	size_t base, eof; /* in held */
} Edited;

static void write_over(const Edited *edited, size_t at, size_t room, const uint8_t *bytes,
		       size_t size)
{
	memcpy(edited->held->data + edited->base + at, bytes, size < room ? size : room);
}

/* `cut` bytes at `at` go, `size` come. */
static void replace(Edited *edited, size_t at, size_t cut, const uint8_t *bytes, size_t size)
{
	Buffer tail = BUFFER_INIT(FILE_MAX), *held = edited->held;

	at += edited->base;
	put(&tail, held->data + at + cut, held->used - at - cut);
	held->used = at;
	put(held, bytes, size);
	put(held, tail.data, tail.used);
	buffer_clear(&tail);
}

static bool get_bytes(Reader *edits, const uint8_t **ret_bytes, uint8_t *ret_size)
{
	return reader_get_u8(edits, ret_size) && reader_skip(edits, *ret_size, ret_bytes);
}

static bool edit_field(const FuzzTwin *twin, Edited *edited, Reader *edits)
{
	const FuzzField *field;
	const uint8_t *bytes;
	uint16_t index, at;
	uint8_t size;

	if (!reader_get_be16(edits, &index) || !reader_get_be16(edits, &at) ||
	    !get_bytes(edits, &bytes, &size))
		return false;
	field = &twin->fields[index % twin->fields_count];
	at = (uint16_t)(at % field->size);
	/* After a cut or an insertion the field is elsewhere: then it is any place. */
	if (field->offset + field->size <= edited->eof)
		write_over(edited, field->offset + at, field->size - at, bytes, size);
	return true;
}

static bool edit_text(Edited *edited, Reader *edits)
{
	const size_t text = edited->eof + VMDESC_HEADER;
	size_t left = edited->held->used - edited->base - text;
	const uint8_t *bytes;
	uint8_t cut, size;
	uint32_t at;

	if (!reader_get_be32(edits, &at) || !reader_get_u8(edits, &cut) ||
	    !get_bytes(edits, &bytes, &size))
		return false;
	at = left ? (uint32_t)(at % left) : 0;
	left -= at;
	replace(edited, text + at, cut < left ? cut : left, bytes, size);
	return true;
}

static bool edit_sections(Edited *edited, Reader *edits, FuzzEdit kind)
{
	const uint8_t *bytes = NULL;
	uint16_t cut = 0;
	uint8_t size = 0;
	uint32_t at;

	if (!reader_get_be32(edits, &at) || !edited->eof)
		return false;
	at = (uint32_t)(at % edited->eof);
	if (kind == FUZZ_EDIT_CUT ? !reader_get_be16(edits, &cut)
				  : !get_bytes(edits, &bytes, &size))
		return false;
	if (kind == FUZZ_EDIT_BYTES) {
		write_over(edited, at, edited->eof - at, bytes, size);
		return true;
	}
	if (cut > edited->eof - at)
		cut = (uint16_t)(edited->eof - at);
	replace(edited, at, cut, bytes, size);
	edited->eof = edited->eof - cut + size;
	return true;
}

static bool edit_one(const FuzzTwin *twin, Edited *edited, Reader *edits)
{
	FuzzEdit kind;
	uint8_t byte;

	if (!reader_get_u8(edits, &byte))
		return false;
	kind = (FuzzEdit)(byte % FUZZ_EDIT_COUNT);
	if (kind == FUZZ_EDIT_FIELD)
		return edit_field(twin, edited, edits);
	return kind == FUZZ_EDIT_TEXT ? edit_text(edited, edits)
				      : edit_sections(edited, edits, kind);
}

void fuzz_twin_edit(const FuzzTwin *twin, Reader *edits, Buffer *held)
{
	Edited edited = { .held = held, .base = held->used, .eof = twin->eof };
	size_t text;

	put(held, twin->ran.data, twin->ran.used);
	for (int i = 0; i < FUZZ_EDITS_MAX && edit_one(twin, &edited, edits); i++)
		;
	text = held->used - edited.base - edited.eof - VMDESC_HEADER;
	store_be32(held->data + edited.base + edited.eof + 2, (uint32_t)text);
}
