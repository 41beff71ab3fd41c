/* SPDX-License-Identifier: Apache-2.0 */
/* Stands in for guard_device.c where tests are about channels: any state is fine that its own
 * description explains. */
#include "guard/guard_device.h"

#include "base/buffer.h"
#include "guard/rules.h"
#include "qemustream/frame.h"

struct GuardDevice {
	VmDescription *incoming;
};

GuardDevice *guard_device_new(const uint8_t *twin, size_t size, const DumpVmstate *dump, Error *err)
{
	GuardDevice *device = calloc(1, sizeof(*device));

	(void)twin;
	(void)size;
	(void)dump;
	if (!device)
		error_set(err, ERROR_INTERNAL, "no memory");
	return device;
}

void guard_device_free(GuardDevice *device)
{
	if (device)
		vmdesc_free(device->incoming);
	free(device);
}

bool guard_device_judge(GuardDevice *device, const uint8_t *held, size_t size,
			const VmDescription **ret_incoming, GuardCounters *counters, Error *err)
{
	const FrameVisitor visitor = { .on_section = NULL };
	size_t eof;

	vmdesc_free(TAKE_PTR(device->incoming));
	if (!frame_find_vmdesc(held, size, GUARD_DEVICE_JSON_MAX, &eof, err))
		return guard_violation_by(err, GUARD_RULE_GRAMMAR);
	device->incoming =
		vmdesc_parse(held + eof + 6, size - eof - 6, &VMDESC_LIMITS_DEFAULT, err);
	if (!device->incoming || !frame_sections(held, eof, device->incoming, &visitor, err))
		return guard_violation_by(err, GUARD_RULE_GRAMMAR);
	counters->device_sections += device->incoming->devices_count;
	*ret_incoming = device->incoming;
	return true;
}

/* --- without a description --- */

enum { TAG_FULL = 4, BARE_DEVICES_MAX = 8, BARE_BYTES = 10, BEHIND_PAYLOAD = 5 };

/* One device of one field of 10 bytes, as put_device makes them. Its name goes to `text`. */
static bool add_bare(VmDescription *out, Reader *reader)
{
	VmDevice *device = &out->devices[out->devices_count];
	char *name = out->text + out->devices_count * 256;
	const uint8_t *skipped;
	uint8_t length;
	uint32_t at = (uint32_t)out->nodes_count;

	*device = (VmDevice){ .name = name,
			      .vmsd_name = name,
			      .first = at,
			      .end = at + 1,
			      .size_bytes = BARE_BYTES };
	out->nodes[at] = (VmNode){ .kind = VM_LEAF,
				   .name = "x",
				   .type = "buffer",
				   .vmsd_name = "",
				   .index = VMDESC_NO_INDEX,
				   .count = 1,
				   .size_bytes = BARE_BYTES,
				   .end = at + 1 };
	out->devices_count++;
	out->nodes_count++;
	return reader_skip(reader, 5, &skipped) && reader_get_u8(reader, &length) &&
	       reader_get_bytes(reader, name, length) &&
	       reader_get_be32(reader, &device->instance_id) &&
	       reader_get_be32(reader, &device->version) &&
	       reader_skip(reader, BARE_BYTES + BEHIND_PAYLOAD, &skipped);
}

static VmDescription *describe_bare(const uint8_t *sections, size_t size, size_t *ret_size)
{
	VmDescription *out = calloc(1, sizeof(*out));
	Reader reader = reader_of(sections, size);

	if (!out)
		return NULL;
	out->devices = calloc(BARE_DEVICES_MAX, sizeof(*out->devices));
	out->nodes = calloc(BARE_DEVICES_MAX, sizeof(*out->nodes));
	out->text = calloc(BARE_DEVICES_MAX, 256);
	while (out->devices && out->nodes && out->text && reader.left && *reader.data == TAG_FULL &&
	       out->devices_count < BARE_DEVICES_MAX)
		if (!add_bare(out, &reader))
			break;
	*ret_size = size - reader.left;
	return out;
}

/* A whole machine has a device. */
bool guard_device_judge_bare(GuardDevice *device, const uint8_t *sections, size_t size,
			     bool is_whole, const VmDescription **ret_incoming, size_t *ret_size,
			     GuardCounters *counters, Error *err)
{
	const FrameVisitor visitor = { .on_section = NULL };

	vmdesc_free(TAKE_PTR(device->incoming));
	device->incoming = describe_bare(sections, size, ret_size);
	if (!device->incoming)
		return error_set(err, ERROR_INTERNAL, "no memory");
	if (is_whole && !device->incoming->devices_count)
		return guard_violation(err, GUARD_RULE_DEVICE_MISSING, "no device");
	if (!frame_sections(sections, *ret_size, device->incoming, &visitor, err))
		return guard_violation_by(err, GUARD_RULE_DEVICE_FRAME);
	counters->device_sections += device->incoming->devices_count;
	*ret_incoming = device->incoming;
	return true;
}
