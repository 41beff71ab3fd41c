/* SPDX-License-Identifier: Apache-2.0 */
/* Stands in for guard_device.c where tests are about channels: any state is fine that its own
 * description explains. */
#include "guard/guard_device.h"

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
