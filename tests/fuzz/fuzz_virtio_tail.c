/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guard/virtio_tail.c with the virtio devices of a real machine: a byte that says which, then edits
 * of the field that the guest's QEMU wrote of it, each be16 place, u8 cut, u8 n and n bytes.
 * Without an edit it is good; what was judged good keeps the bounds of the twin's device.
 */
#include <string.h>

#include "guard/virtio_tail.h"
#include "qemustream/frame.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/twin.h"

enum {
	DEVICES_MAX = 16,
	KINDS_MAX = 32,
	FIELD_MAX = 1 << 16,
	VMDESC_HEADER = 6,
	EDITS_MAX = 8,
};
enum { REACHED_GOOD, REACHED_REFUSED, REACHED_NO_STATE, REACHED_KIND };

/* One field of type virtio, of the twin or of the guest. */
typedef struct Field {
	char device[VMDESC_NAME_MAX + 1], kind[VMDESC_NAME_MAX + 1];
	Buffer bytes;
} Field;

typedef struct Fields {
	Field items[DEVICES_MAX];
	size_t count;
} Fields;

static Fields of_guest, of_twin;
static VirtioTwin twins[DEVICES_MAX];

static bool add_field(void *context, const FrameField *field, Error *err)
{
	Fields *fields = context;
	Field *added = &fields->items[fields->count];

	if (strcmp(field->node->type, "virtio") != 0)
		return true;
	if (fields->count == DEVICES_MAX)
		fuzz_fail("too many devices");
	fields->count++;
	memcpy(added->device, field->device->name, strlen(field->device->name));
	memcpy(added->kind, field->device->vmsd_name, strlen(field->device->vmsd_name));
	added->bytes = BUFFER_INIT(FIELD_MAX);
	return buffer_put(&added->bytes, field->bytes, field->size_bytes, err);
}

static void read_fields(const Buffer *held, Fields *fields)
{
	const FrameVisitor visitor = { .on_field = add_field, .context = fields };
	Error err = ERROR_INIT;
	size_t eof;

	if (!frame_find_vmdesc(held->data, held->used, GUARD_DEVICE_JSON_MAX, &eof, &err))
		fuzz_fail(err.text);

	AUTO_VMDESC VmDescription *description =
		vmdesc_parse(held->data + eof + VMDESC_HEADER, held->used - eof - VMDESC_HEADER,
			     &VMDESC_LIMITS_DEFAULT, &err);

	if (!description || !frame_sections(held->data, eof, description, &visitor, &err))
		fuzz_fail(err.text);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const char *names[REACHED_KIND + DEVICES_MAX] = { "good", "refused", "no state" };
	static VirtioState state;
	FuzzTwin real;
	Error err = ERROR_INIT;

	(void)argc;
	(void)argv;
	fuzz_twin_open(&real, FUZZ_DATA);
	read_fields(&real.ran, &of_guest);
	read_fields(&real.twin, &of_twin);
	fuzz_twin_close(&real);
	if (!of_twin.count || of_twin.count != of_guest.count)
		fuzz_fail("the twin has other devices");
	for (size_t i = 0; i < of_twin.count; i++) {
		const Field *field = &of_twin.items[i];

		names[REACHED_KIND + i] = field->kind;
		if (strcmp(field->device, of_guest.items[i].device) != 0 ||
		    !virtio_state_decode(field->bytes.data, field->bytes.used, NULL, &state,
					 &err) ||
		    !virtio_tail_learn(field->kind, &state, &twins[i], &err))
			fuzz_fail(err.text);
	}
	fuzz_expect(names, REACHED_KIND + of_twin.count);
	return 0;
}

/* Returns whether there was one. */
static bool edit(Buffer *bytes, Reader *edits)
{
	AUTO_BUFFER Buffer tail = BUFFER_INIT(FIELD_MAX);
	const uint8_t *come;
	uint16_t at;
	uint8_t cut, size;
	Error err = ERROR_INIT;

	if (!reader_get_be16(edits, &at) || !reader_get_u8(edits, &cut) ||
	    !reader_get_u8(edits, &size) || !reader_skip(edits, size, &come) || !bytes->used)
		return false;
	at = (uint16_t)(at % bytes->used);
	if (cut > bytes->used - at)
		cut = (uint8_t)(bytes->used - at);
	if (!buffer_put(&tail, bytes->data + at + cut, bytes->used - at - cut, &err))
		fuzz_fail(err.text);
	bytes->used = at;
	return buffer_put(bytes, come, size, &err) && buffer_put(bytes, tail.data, tail.used, &err);
}

static void judge_good(const VirtioState *state, const VirtioTwin *twin)
{
	uint32_t largest = 0;

	for (uint32_t i = 0; i < twin->shape.queues; i++)
		if (twin->queue_sizes[i] > largest)
			largest = twin->queue_sizes[i];
	for (uint32_t i = 0; i < state->shape.queues; i++)
		if (!state->queues[i].size || state->queues[i].size > largest)
			fuzz_fail("a queue longer than any of the twin's");
	fuzz_reached(REACHED_GOOD);
}

static void judge(const Field *field, const Buffer *bytes, const VirtioTwin *twin, bool is_edited)
{
	static VirtioState state;
	const VmDevice device = { .name = field->device, .vmsd_name = field->kind };
	VirtioShape shape = twin->shape;
	Error err = ERROR_INIT;

	if (!virtio_state_decode(bytes->data, bytes->used, &shape, &state, &err)) {
		if (!is_edited)
			fuzz_fail(err.text);
		fuzz_reached(REACHED_NO_STATE);
		return;
	}
	if (virtio_tail_judge(&device, &state, twin, &err)) {
		judge_good(&state, twin);
		return;
	}
	if (!is_edited)
		fuzz_fail(err.text);
	if (err.category != ERROR_PEER || strncmp(err.text, "guard-device-", 13) != 0)
		fuzz_fail("a refusal without a rule");
	fuzz_reached(REACHED_REFUSED);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_BUFFER Buffer bytes = BUFFER_INIT(FIELD_MAX);
	Reader edits = reader_of(data, size);
	Error err = ERROR_INIT;
	uint8_t which;
	int count = 0;

	if (!reader_get_u8(&edits, &which))
		return 0;
	which = (uint8_t)(which % of_guest.count);
	if (!buffer_put(&bytes, of_guest.items[which].bytes.data, of_guest.items[which].bytes.used,
			&err))
		fuzz_fail(err.text);
	while (count < EDITS_MAX && edit(&bytes, &edits))
		count++;
	fuzz_reached(REACHED_KIND + which);
	judge(&of_guest.items[which], &bytes, &twins[which], count || edits.left);
	return 0;
}
