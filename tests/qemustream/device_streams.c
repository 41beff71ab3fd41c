/* SPDX-License-Identifier: Apache-2.0 */
/* Judges what make-device-streams recorded: device_streams DIR. Prints one line for each entry of
 * DIR/list and one for the damage that was done to each stream; the status tells whether all was
 * as it should be. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/file.h"
#include "qemustream/compare.h"
#include "qemustream/frame.h"
#include "qemustream/virtio_state.h"

/* Nodes of one description that are changed one by one. */
enum { NODES_CHANGED = 300 };
enum { HELD_MAX = 64 << 20, JSON_MAX = 2 << 20, TRIES = 150, FLIPS = 40 };

typedef struct Held {
	char name[64];
	Buffer bytes;
	size_t eof;
	VmDescription *description;
} Held;

typedef struct Damage {
	size_t cuts, moves, flips, changes;
} Damage;

typedef struct Count {
	size_t sections, fields, virtio;
	uint64_t bytes;
} Count;

static void held_clear(Held *held)
{
	buffer_clear(&held->bytes);
	vmdesc_free(held->description);
}
#define AUTO_HELD CLEANUP(held_clear)

static bool read_file(const char *folder, const char *name, const char *suffix, Buffer *bytes,
		      Error *err)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/%s.%s", folder, name, suffix);
	return file_read(path, HELD_MAX, bytes, err);
}

static VmDescription *describe(const uint8_t *bytes, size_t size, size_t *ret_eof, Error *err)
{
	if (!frame_find_vmdesc(bytes, size, JSON_MAX, ret_eof, err))
		return NULL;
	return vmdesc_parse(bytes + *ret_eof + 6, size - *ret_eof - 6, &VMDESC_LIMITS_DEFAULT, err);
}

static bool open_held(const char *folder, const char *name, Held *held, Error *err)
{
	snprintf(held->name, sizeof(held->name), "%s", name);
	held->bytes = BUFFER_INIT(HELD_MAX);
	if (!read_file(folder, name, "held", &held->bytes, err))
		return false;
	held->description = describe(held->bytes.data, held->bytes.used, &held->eof, err);
	return held->description;
}

static bool count_section(void *context, const FrameSection *section, Error *err)
{
	Count *count = context;

	(void)section;
	(void)err;
	count->sections++;
	return true;
}

/* What no description tells: decoded as our own QEMU's, and once more with the shape it has. */
static bool judge_virtio(const FrameField *field, Error *err)
{
	static VirtioState state, again;
	VirtioNetState net;

	if (!virtio_state_decode(field->bytes, field->size_bytes, NULL, &state, err) ||
	    !virtio_state_decode(field->bytes, field->size_bytes, &state.shape, &again, err))
		return error_prefix(err, "device %s", field->device->name);
	return strcmp(field->device->vmsd_name, "virtio-net") ||
	       virtio_net_state_decode(&state, 1, &net, err) ||
	       error_prefix(err, "device %s", field->device->name);
}

static bool count_field(void *context, const FrameField *field, Error *err)
{
	Count *count = context;
	char path[FRAME_PATH_SIZE];

	count->fields++;
	count->bytes += field->size_bytes;
	if (!frame_path(field, path)[0])
		return error_set(err, ERROR_INTERNAL, "a field without a path");
	if (strcmp(field->node->type, "virtio"))
		return true;
	count->virtio++;
	return judge_virtio(field, err);
}

/* A walk over a copy of exactly this size, so that a sanitizer sees any read past its end. */
static bool walk_copy(const Held *held, const uint8_t *bytes, size_t size)
{
	AUTO_FREE uint8_t *copy = malloc(size ? size : 1);
	Error err = ERROR_INIT;

	if (!copy)
		abort();
	if (size)
		memcpy(copy, bytes, size);
	return frame_sections(copy, size, held->description, &(FrameVisitor){ 0 }, &err);
}

static bool damage_sections(const Held *held, Damage *damage)
{
	AUTO_FREE uint8_t *bytes = malloc(held->eof + 1);

	if (!bytes)
		abort();
	for (size_t size = 0; size < held->eof; size += 7 * (held->eof / (7 * TRIES) + 1)) {
		if (walk_copy(held, held->bytes.data, size))
			return false;
		damage->cuts++;
	}
	/* A byte too few or too many anywhere moves all that follows. */
	for (size_t at = 0; at < held->eof; at += held->eof / (TRIES / 2) + 1) {
		memcpy(bytes, held->bytes.data, at);
		memcpy(bytes + at, held->bytes.data + at + 1, held->eof - at - 1);
		if (walk_copy(held, bytes, held->eof - 1))
			return false;
		bytes[at] = 0;
		memcpy(bytes + at + 1, held->bytes.data + at, held->eof - at);
		if (walk_copy(held, bytes, held->eof + 1))
			return false;
		damage->moves += 2;
	}
	return true;
}

/* The description: cut, which is always seen, and with a bit turned, which may not matter. */
static bool damage_description(const Held *held, Damage *damage)
{
	const size_t size = held->bytes.used, json = held->bytes.used - held->eof;
	AUTO_FREE uint8_t *bytes = malloc(size);
	Error err = ERROR_INIT;
	size_t eof;

	if (!bytes)
		abort();
	for (size_t cut = 1; cut < json; cut += 7 * (json / (7 * TRIES) + 1)) {
		AUTO_VMDESC VmDescription *description =
			describe(held->bytes.data, size - cut, &eof, &err);

		if (description)
			return false;
		damage->cuts++;
	}
	for (size_t i = 0; i < FLIPS; i++) {
		const size_t at = held->eof + (i * 2654435761u) % json;
		AUTO_VMDESC VmDescription *description = NULL;

		memcpy(bytes, held->bytes.data, size);
		bytes[at] ^= (uint8_t)(1 << i % 8);
		description = describe(bytes, size, &eof, &err);
		if (description)
			(void)!frame_sections(bytes, eof, description, &(FrameVisitor){ 0 }, &err);
		damage->flips++;
	}
	return true;
}

typedef struct Offsets {
	const VmDescription *description;
	size_t *payloads; /* of each device */
} Offsets;

static bool note_section(void *context, const FrameSection *section, Error *err)
{
	const Offsets *offsets = context;

	(void)err;
	offsets->payloads[section->device - offsets->description->devices] =
		section->payload_offset;
	return true;
}

/* Whether a description with one number or name changed in this device is refused: by its own
 * bytes, or by the description as it was. */
static bool is_refused(const Held *held, const VmDescription *original, const VmDevice *device,
		       size_t payload, Error *err)
{
	return !frame_payload(held->bytes.data + payload, device->size_bytes, payload, device,
			      held->description, &(FrameVisitor){ 0 }, err) ||
	       !vmdesc_compare(held->description, original, NULL, &COMPARE_OPTIONS_DEFAULT, err);
}

static bool change_node(const Held *held, const VmDescription *original, const VmDevice *device,
			size_t payload, VmNode *node, Damage *damage)
{
	const VmNode before = *node;
	char name[VMDESC_NAME_MAX + 1];
	/* A byte more, fewer; an element more, fewer; a version more; another name. */
	for (int change = 0; change < 6; change++) {
		Error err = ERROR_INIT;

		*node = before;
		node->size_bytes += change == 0 ? 1 : change == 1 ? -1u : 0;
		node->count += change == 2 ? 1 : change == 3 ? -1u : 0;
		node->version += change == 4;
		snprintf(name, sizeof(name), "%s", before.name);
		name[strlen(name) - 1] ^= 1;
		if (change == 5)
			node->name = name;
		/* What means nothing: no bytes to take or count, the length of a subsection, which
		 * is a sum; the version of a leaf; the name of bytes that are not used. */
		if ((change == 1 && !before.size_bytes) ||
		    (change >= 2 && change <= 3 &&
		     (!before.size_bytes || before.kind == VM_SUBSECTION)) ||
		    (change <= 1 && before.kind != VM_LEAF) ||
		    (change == 4 && before.kind == VM_LEAF) ||
		    (change == 5 && !strcmp(before.type, "unused_buffer")))
			continue;
		damage->changes++;
		if (!is_refused(held, original, device, payload, &err)) {
			printf("device %s, %s %s: change %d was not seen\n", device->name,
			       before.type, before.name, change);
			*node = before;
			return false;
		}
	}
	*node = before;
	return true;
}

static bool damage_nodes(const Held *held, Damage *damage)
{
	VmDescription *d = held->description;
	const size_t stride = d->nodes_count / NODES_CHANGED + 1;
	AUTO_FREE size_t *payloads = calloc(d->devices_count, sizeof(*payloads));
	Offsets offsets = { d, payloads };
	AUTO_VMDESC VmDescription *original = NULL;
	Error err = ERROR_INIT;
	size_t eof;

	original = describe(held->bytes.data, held->bytes.used, &eof, &err);
	if (!payloads || !original ||
	    !frame_sections(held->bytes.data, held->eof, d,
			    &(FrameVisitor){ note_section, NULL, &offsets }, &err))
		return false;
	for (size_t i = 0; i < d->devices_count; i++) {
		const VmDevice *device = &d->devices[i];
		const size_t first = (device->first + stride - 1) / stride * stride;

		for (size_t n = first; n < device->end; n += stride)
			if (!change_node(held, original, device, payloads[i], &d->nodes[n], damage))
				return false;
	}
	return true;
}

static bool judge_frame(const char *folder, const char *name, Error *err)
{
	AUTO_HELD Held held = { .eof = 0 };
	Count count = { 0 };
	const FrameVisitor visitor = { count_section, count_field, &count };
	Damage damage = { 0 };

	if (!open_held(folder, name, &held, err) ||
	    !frame_sections(held.bytes.data, held.eof, held.description, &visitor, err))
		return false;
	if (count.sections != held.description->devices_count)
		return error_set(err, ERROR_INTERNAL, "%zu sections", count.sections);
	printf("frame %s: %zu devices (%zu virtio), %zu nodes, %zu fields, %llu of %zu bytes\n",
	       name, count.sections, count.virtio, held.description->nodes_count, count.fields,
	       (unsigned long long)count.bytes, held.eof);
	if (!damage_sections(&held, &damage) || !damage_description(&held, &damage) ||
	    !damage_nodes(&held, &damage))
		return error_set(err, ERROR_INTERNAL, "damage was not seen (cut %zu, moved %zu)",
				 damage.cuts, damage.moves);
	printf("damage %s: refused %zu cuts, %zu moves, %zu changes of the description; %zu bits "
	       "turned\n",
	       name, damage.cuts, damage.moves, damage.changes, damage.flips);
	return true;
}

static bool judge_compare(const char *folder, const char *incoming, const char *local,
			  const char *dump_name, Error *err)
{
	AUTO_HELD Held a = { .eof = 0 }, b = { .eof = 0 };
	AUTO_BUFFER Buffer text = BUFFER_INIT(DUMP_BYTES_MAX);
	AUTO_DUMP_VMSTATE DumpVmstate *dump = NULL;

	if (!open_held(folder, incoming, &a, err) || !open_held(folder, local, &b, err) ||
	    !read_file(folder, dump_name, "dump", &text, err))
		return false;
	dump = dump_vmstate_parse(text.data, text.used, err);
	return dump &&
	       vmdesc_compare(a.description, b.description, dump, &COMPARE_OPTIONS_DEFAULT, err);
}

static bool judge(const char *folder, char *line)
{
	Error err = ERROR_INIT;
	char verb[16] = "", names[3][64] = { "", "", "" };
	const int words = sscanf(line, "%15s %63s %63s %63s", verb, names[0], names[1], names[2]);
	bool fits;

	line[strcspn(line, "\n")] = 0;
	if (words == 2 && !strcmp(verb, "frame")) {
		fits = judge_frame(folder, names[0], &err);
	} else if (words == 4 && (!strcmp(verb, "compare") || !strcmp(verb, "differ") ||
				  !strcmp(verb, "unwanted"))) {
		fits = judge_compare(folder, names[0], names[1], names[2], &err);
		if (!strcmp(verb, "differ"))
			fits = !fits && err.category == ERROR_PEER;
	} else {
		fits = error_set(&err, ERROR_USAGE, "a line that means nothing");
	}
	printf("%s: %s%s%s\n", line, fits ? "ok" : "WRONG", err.text[0] ? ": " : "", err.text);
	return fits;
}

int main(int argc, char **argv)
{
	AUTO_FILE FILE *list = NULL;
	char path[512], line[256];
	size_t entries = 0, wrong = 0;

	if (argc != 2)
		return 2;
	snprintf(path, sizeof(path), "%s/list", argv[1]);
	list = fopen(path, "re");
	if (!list) {
		perror(path);
		return 1;
	}
	while (fgets(line, sizeof(line), list)) {
		entries++;
		wrong += !judge(argv[1], line);
	}
	printf("%zu entries, %zu wrong\n", entries, wrong);
	return wrong || !entries;
}
