/* SPDX-License-Identifier: Apache-2.0 */
#include "guard/guard_device.h"

#include <stdio.h>
#include <string.h>

#include "guard/device_check.h"
#include "guard/device_length.h"
#include "guard/device_virtio.h"
#include "guard/guard_local.h"
#include "qemustream/compare.h"
#include "qemustream/frame.h"

enum {
	VMDESC_HEADER = 6, /* end mark, tag and be32 length before the JSON */
	OPAQUE_FIELDS_MAX = 1024,
};

struct GuardDevice {
	VmDescription *local, *incoming;
	const DumpVmstate *dump;
	DeviceCheckList *checks;
	DeviceVirtio *virtio[OPAQUE_FIELDS_MAX]; /* what the twin has of them, in its order */
	size_t virtio_count;
};

/* What a walk over the incoming sections needs. */
typedef struct Walk {
	GuardDevice *device;
	uint64_t sections, bytes;
	bool is_refused; /* by a rule, not by the walk itself */
	size_t virtio;	 /* where the next of them is likely to be */
} Walk;

/* Fields that the guest makes longer, where device_rules.c holds what counts them. */
static const CompareVariable variable[] = {
	{ "vmxnet3/mcast_list", "mcast_list", 65535 },
};

static VmDescription *read_description(const uint8_t *held, size_t size, size_t *ret_eof,
				       Error *err)
{
	if (!frame_find_vmdesc(held, size, GUARD_DEVICE_JSON_MAX, ret_eof, err))
		return NULL;
	return vmdesc_parse(held + *ret_eof + VMDESC_HEADER, size - *ret_eof - VMDESC_HEADER,
			    &VMDESC_LIMITS_DEFAULT, err);
}

/* --- the twin --- */

static bool learn_field(void *context, const FrameField *field, Error *err)
{
	GuardDevice *device = context;

	if (!device_virtio_is(field))
		return device_check_learn(device->checks, field, err);
	if (device->virtio_count == OPAQUE_FIELDS_MAX)
		return error_set(err, ERROR_INTERNAL, "more than %d virtio devices",
				 OPAQUE_FIELDS_MAX);
	device->virtio[device->virtio_count] = device_virtio_learn(field, err);
	if (!device->virtio[device->virtio_count])
		return false;
	device->virtio_count++;
	return true;
}

/* The version of a format of its own no description tells. */
static bool learn_section(void *context, const FrameSection *section, Error *err)
{
	GuardDevice *device = context;

	(void)err;
	device->local->devices[section->device - device->local->devices].version = section->version;
	return true;
}

static bool learn(GuardDevice *device, const uint8_t *twin, size_t size, Error *err)
{
	const FrameVisitor visitor = { learn_section, learn_field, device };
	size_t eof;

	device->local = read_description(twin, size, &eof, err);
	device->checks = device->local ? device_check_new(err) : NULL;
	if (!device->checks || !frame_sections(twin, eof, device->local, &visitor, err))
		return false;
	device_virtio_link(device->virtio, device->virtio_count, device->local);
	return true;
}

GuardDevice *guard_device_new(const uint8_t *twin, size_t size, const DumpVmstate *dump, Error *err)
{
	AUTO_GUARD_DEVICE GuardDevice *device = calloc(1, sizeof(*device));

	if (!device) {
		error_set(err, ERROR_INTERNAL, "no memory for the rules of device state");
		return NULL;
	}
	device->dump = dump;
	if (!learn(device, twin, size, err)) {
		err->category = ERROR_INTERNAL;
		error_prefix(err, "device state of the twin");
		return NULL;
	}
	return TAKE_PTR(device);
}

void guard_device_free(GuardDevice *device)
{
	if (!device)
		return;
	for (size_t i = 0; i < device->virtio_count; i++)
		device_virtio_free(device->virtio[i]);
	device_check_free(device->checks);
	vmdesc_free(device->incoming);
	vmdesc_free(device->local);
	free(device);
}

const VmDescription *guard_device_local(const GuardDevice *device)
{
	return device->local;
}

/* --- which devices --- */

static bool judge_devices(const VmDescription *incoming, const VmDescription *local, bool is_whole,
			  Error *err)
{
	for (size_t i = 0; i < incoming->devices_count; i++) {
		const VmDevice *device = &incoming->devices[i];
		const VmDevice *ours = vmdesc_find(local, device->name, device->instance_id);

		if (!ours)
			return guard_violation(err, GUARD_RULE_DEVICE_UNKNOWN,
					       "device %.80s instance %u: this machine has none",
					       device->name, device->instance_id);
		/* No table: a length of its own making, which nothing describes. */
		if (!device->vmsd_name[0] && device->size_bytes != ours->size_bytes)
			return guard_violation(err, GUARD_RULE_DEVICE_OPAQUE,
					       "device %.80s: %u bytes, the local one has %u",
					       device->name, device->size_bytes, ours->size_bytes);
	}
	for (size_t i = 0; is_whole && i < local->devices_count; i++) {
		const VmDevice *device = &local->devices[i];

		if (!vmdesc_find(incoming, device->name, device->instance_id))
			return guard_violation(err, GUARD_RULE_DEVICE_MISSING,
					       "device %.80s instance %u has no section",
					       device->name, device->instance_id);
	}
	return true;
}

static bool judge_layout(const GuardDevice *device, Error *err)
{
	CompareOptions options = COMPARE_OPTIONS_DEFAULT;

	options.variable = variable;
	options.variable_count = ARRAY_SIZE(variable);
	options.is_judged = device_check_has;
	if (!vmdesc_compare(device->incoming, device->local, device->dump, &options, err))
		return guard_violation_by(err, GUARD_RULE_DEVICE_LAYOUT);
	return device_length_judge(device->incoming, device->local, device->dump, err);
}

/* --- fields --- */

static bool on_section(void *context, const FrameSection *section, Error *err)
{
	Walk *walk = context;
	const VmDevice *device = section->device, *ours;

	/* A loader of its own reads another version otherwise. */
	ours = device->vmsd_name[0]
		       ? NULL
		       : vmdesc_find(walk->device->local, device->name, device->instance_id);
	if (ours && section->version != ours->version) {
		walk->is_refused = true;
		return guard_violation(err, GUARD_RULE_DEVICE_OPAQUE,
				       "device %.80s: version %u, the local one has %u",
				       device->name, section->version, ours->version);
	}
	walk->sections++;
	walk->bytes += section->payload_bytes;
	return true;
}

static const DeviceVirtio *find_virtio(Walk *walk, const FrameField *field)
{
	const GuardDevice *device = walk->device;

	for (size_t i = 0; i < device->virtio_count; i++) {
		const size_t at = (walk->virtio + i) % device->virtio_count;

		if (device_virtio_is_of(device->virtio[at], field)) {
			walk->virtio = at + 1;
			return device->virtio[at];
		}
	}
	return NULL;
}

static bool judge_field(Walk *walk, const FrameField *field, Error *err)
{
	const DeviceVirtio *virtio;

	if (!device_virtio_is(field))
		return device_check_judge(walk->device->checks, walk->device->incoming, field, err);
	virtio = find_virtio(walk, field);
	if (!virtio)
		return guard_violation(err, GUARD_RULE_DEVICE_LAYOUT,
				       "device %.80s, %.80s: the local device has none",
				       field->device->name, field->node->name);
	return device_virtio_judge(virtio, field, err);
}

static bool on_field(void *context, const FrameField *field, Error *err)
{
	Walk *walk = context;

	walk->is_refused = !judge_field(walk, field, err);
	return !walk->is_refused;
}

static bool judge_fields(GuardDevice *device, const uint8_t *sections, size_t size,
			 GuardCounters *counters, Error *err)
{
	Walk walk = { .device = device };
	const FrameVisitor visitor = { on_section, on_field, &walk };

	device_check_begin(device->checks);
	if (!frame_sections(sections, size, device->incoming, &visitor, err))
		return !walk.is_refused && guard_violation_by(err, GUARD_RULE_DEVICE_FRAME);
	counters->device_sections += walk.sections;
	counters->device_bytes += walk.bytes;
	return true;
}

bool guard_device_judge(GuardDevice *device, const uint8_t *held, size_t size,
			const VmDescription **ret_incoming, GuardCounters *counters, Error *err)
{
	size_t eof;

	vmdesc_free(TAKE_PTR(device->incoming));
	device->incoming = read_description(held, size, &eof, err);
	if (!device->incoming)
		return guard_violation_by(err, GUARD_RULE_DEVICE_DESCRIPTION);
	if (!judge_devices(device->incoming, device->local, true, err) ||
	    !judge_layout(device, err) || !judge_fields(device, held, eof, counters, err))
		return false;
	*ret_incoming = device->incoming;
	return true;
}

/* --- without a description --- */

static bool fits(void *context, const FrameField *field, Error *err)
{
	return judge_field(context, field, err);
}

bool guard_device_judge_bare(GuardDevice *device, const uint8_t *sections, size_t size,
			     bool is_whole, const VmDescription **ret_incoming, size_t *ret_size,
			     GuardCounters *counters, Error *err)
{
	Walk walk = { .device = device };
	const LocalProbe probe = { .fits = fits, .context = &walk };

	vmdesc_free(TAKE_PTR(device->incoming));
	device->incoming = local_describe(device->local, sections, size, &probe, ret_size, err);
	if (!device->incoming || !judge_devices(device->incoming, device->local, is_whole, err))
		return false;
	/* An early section was read off the local layout as it is: no more to compare. */
	if (is_whole && !judge_layout(device, err))
		return false;
	if (!judge_fields(device, sections, *ret_size, counters, err))
		return false;
	*ret_incoming = device->incoming;
	return true;
}
