/* SPDX-License-Identifier: Apache-2.0 */
#include "guard/device_virtio.h"

#include <string.h>

#include "base/buffer.h"
#include "guard/scsi_requests.h"
#include "guard/virtio_gpu.h"
#include "guard/virtio_tail.h"
#include "qemustream/virtio_state.h"

struct DeviceVirtio {
	const char *type;
	char *device;
	uint32_t instance_id;
	size_t size_bytes;   /* of the twin's field */
	VirtioTwin twin;     /* type virtio */
	ScsiAdapter adapter; /* type scsi-requests; what it points to is another one's twin */
};

static const char *const types[] = { "virtio", "virtio-gpu", "scsi-requests" };

static const char *type_of(const FrameField *field)
{
	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		if (!strcmp(types[i], field->node->type))
			return types[i];
	return NULL;
}

bool device_virtio_is(const FrameField *field)
{
	return type_of(field) != NULL;
}

bool device_virtio_is_of(const DeviceVirtio *virtio, const FrameField *field)
{
	return virtio->instance_id == field->device->instance_id &&
	       !strcmp(virtio->type, field->node->type) &&
	       !strcmp(virtio->device, field->device->name);
}

void device_virtio_free(DeviceVirtio *virtio)
{
	if (!virtio)
		return;
	free(virtio->device);
	free(virtio);
}

static bool learn_virtio(DeviceVirtio *virtio, const FrameField *field, Error *err)
{
	AUTO_FREE VirtioState *state = malloc(sizeof(*state));

	if (!state)
		return error_set(err, ERROR_INTERNAL, "no memory for a virtio device");
	if (!virtio_state_decode(field->bytes, field->size_bytes, NULL, state, err) ||
	    !virtio_tail_learn(field->device->vmsd_name, state, &virtio->twin, err)) {
		err->category = ERROR_INTERNAL;
		return error_prefix(err, "the twin's device %.80s", field->device->name);
	}
	return true;
}

DeviceVirtio *device_virtio_learn(const FrameField *field, Error *err)
{
	AUTO_DEVICE_VIRTIO DeviceVirtio *virtio = calloc(1, sizeof(*virtio));

	if (virtio)
		virtio->device = strdup(field->device->name);
	if (!virtio || !virtio->device) {
		error_set(err, ERROR_INTERNAL, "no memory for a virtio device");
		return NULL;
	}
	virtio->type = type_of(field);
	virtio->instance_id = field->device->instance_id;
	virtio->size_bytes = field->size_bytes;
	if (!strcmp(virtio->type, "virtio") && !learn_virtio(virtio, field, err))
		return NULL;
	if (!strcmp(virtio->type, "scsi-requests"))
		virtio->adapter.attention_back = scsi_requests_learn(field);
	return TAKE_PTR(virtio);
}

static bool has_device(const VmDescription *local, const char *parent, const char *kind)
{
	const size_t length = strlen(parent);

	for (size_t i = 0; i < local->devices_count; i++) {
		const VmDevice *device = &local->devices[i];

		if (!strncmp(device->name, parent, length) && device->name[length] == '/' &&
		    !strcmp(device->name + length + 1, kind) && !strcmp(device->vmsd_name, kind))
			return true;
	}
	return false;
}

static const VirtioTwin *find_virtio_scsi(DeviceVirtio *const *list, size_t count,
					  const char *parent)
{
	static const char kind[] = "/virtio-scsi";
	const size_t length = strlen(parent);

	for (size_t i = 0; i < count; i++)
		if (!strcmp(list[i]->type, "virtio") && !strncmp(list[i]->device, parent, length) &&
		    !strcmp(list[i]->device + length, kind))
			return &list[i]->twin;
	return NULL;
}

void device_virtio_link(DeviceVirtio *const *list, size_t count, const VmDescription *local)
{
	char parent[SCSI_PARENT_SIZE];
	uint32_t unit;

	for (size_t i = 0; i < count; i++) {
		ScsiAdapter *adapter = &list[i]->adapter;

		if (strcmp(list[i]->type, "scsi-requests") != 0 ||
		    !scsi_requests_parent(list[i]->device, parent, &unit))
			continue;
		adapter->virtio = find_virtio_scsi(list, count, parent);
		if (adapter->virtio)
			adapter->kind = SCSI_ADAPTER_VIRTIO;
		else if (!unit && has_device(local, parent, "usb-storage"))
			adapter->kind = SCSI_ADAPTER_USB;
	}
}

/* By the twin's shape, or with as many queues as the driver may have made of it. */
static bool decode(const DeviceVirtio *virtio, const FrameField *field, VirtioState *state,
		   Error *err)
{
	VirtioShape shape = virtio->twin.shape;
	const uint32_t most = virtio_twin_queues_max(&virtio->twin);
	Error other = ERROR_INIT;

	if (virtio_state_decode(field->bytes, field->size_bytes, &shape, state, err))
		return true;
	if (virtio->twin.pairs <= 1)
		return false;
	shape.queues = shape.queues == most ? VIRTIO_NET_PLAIN_QUEUES : most;
	if (!virtio_state_decode(field->bytes, field->size_bytes, &shape, state, &other))
		return false;
	*err = ERROR_INIT;
	return true;
}

static bool judge_virtio(const DeviceVirtio *virtio, const FrameField *field, Error *err)
{
	AUTO_FREE VirtioState *state = malloc(sizeof(*state));

	if (!state)
		return error_set(err, ERROR_INTERNAL, "no memory for a virtio device");
	if (!decode(virtio, field, state, err)) {
		error_prefix(err, "device %.80s", field->device->name);
		return guard_violation_by(err, GUARD_RULE_DEVICE_VIRTIO);
	}
	return virtio_tail_judge(field->device, state, &virtio->twin, err);
}

bool device_virtio_judge(const DeviceVirtio *virtio, const FrameField *field, Error *err)
{
	if (!strcmp(virtio->type, "virtio"))
		return judge_virtio(virtio, field, err);
	if (!strcmp(virtio->type, "virtio-gpu"))
		return virtio_gpu_judge(field, virtio->size_bytes, err);
	return scsi_requests_judge(field, &virtio->adapter, err);
}
