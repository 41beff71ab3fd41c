/* SPDX-License-Identifier: Apache-2.0 */
#include "guard/device_virtio.h"

#include <string.h>

#include "base/buffer.h"
#include "guard/virtio_tail.h"
#include "qemustream/virtio_state.h"

enum {
	GPU_SIDE_MAX = 16384,	/* pixels; QEMU's own bound of memory is reached before */
	GPU_PIECES_MAX = 16384, /* virtio_gpu_create_mapping_iov, hw/display/virtio-gpu.c */
	GPU_PIECE = 8 + 4,
	GPU_PIXEL = 4, /* of every format that virtio_gpu_get_pixman_format knows */
	GPU_RESOURCES_MAX = 65536,
};

struct DeviceVirtio {
	const char *type;
	char *device;
	uint32_t instance_id;
	size_t size_bytes; /* of the twin's field */
	VirtioTwin twin;   /* type virtio */
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
	return TAKE_PTR(virtio);
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

static bool refuse_gpu(const FrameField *field, const char *what, unsigned long long is,
		       unsigned long long bound, Error *err)
{
	return guard_violation(err, GUARD_RULE_DEVICE_VIRTIO_GPU,
			       "device %.80s: %s (%llu, bound %llu)", field->device->name, what, is,
			       bound);
}

/* One resource behind its id: width, height, format, count of pieces; the pieces; the pixels. */
static bool read_resource(Reader *reader, const FrameField *field, Error *err)
{
	uint32_t width, height, format, pieces;
	const uint8_t *bytes;

	if (!reader_get_be32(reader, &width) || !reader_get_be32(reader, &height) ||
	    !reader_get_be32(reader, &format) || !reader_get_be32(reader, &pieces))
		return refuse_gpu(field, "cut inside a resource", reader->left, 16, err);
	if (!width || width > GPU_SIDE_MAX)
		return refuse_gpu(field, "width of a resource", width, GPU_SIDE_MAX, err);
	if (!height || height > GPU_SIDE_MAX)
		return refuse_gpu(field, "height of a resource", height, GPU_SIDE_MAX, err);
	if (pieces > GPU_PIECES_MAX)
		return refuse_gpu(field, "pieces of a resource", pieces, GPU_PIECES_MAX, err);
	if (!reader_skip(reader, (size_t)pieces * GPU_PIECE, &bytes) ||
	    !reader_skip(reader, (size_t)width * height * GPU_PIXEL, &bytes))
		return refuse_gpu(field, "cut inside a resource", reader->left,
				  (size_t)width * height * GPU_PIXEL, err);
	return true;
}

/* Resources up to one of id 0; then the scanouts, as many as the device has. The twin has none of
 * the first. */
static bool judge_gpu(const DeviceVirtio *virtio, const FrameField *field, Error *err)
{
	Reader reader = reader_of(field->bytes, field->size_bytes);
	uint32_t id;

	for (size_t i = 0; i < GPU_RESOURCES_MAX; i++) {
		if (!reader_get_be32(&reader, &id))
			return refuse_gpu(field, "cut before the end of resources", reader.left, 4,
					  err);
		if (!id)
			return reader.left + 4 == virtio->size_bytes ||
			       refuse_gpu(field, "bytes of the scanouts", reader.left + 4,
					  virtio->size_bytes, err);
		if (!read_resource(&reader, field, err))
			return false;
	}
	return refuse_gpu(field, "resources", GPU_RESOURCES_MAX + 1, GPU_RESOURCES_MAX, err);
}

bool device_virtio_judge(const DeviceVirtio *virtio, const FrameField *field, Error *err)
{
	if (!strcmp(virtio->type, "virtio"))
		return judge_virtio(virtio, field, err);
	if (!strcmp(virtio->type, "virtio-gpu"))
		return judge_gpu(virtio, field, err);
	/* One byte 0: the end of a list of none (put_scsi_requests, hw/scsi/scsi-bus.c). */
	if (field->size_bytes == 1 && !field->bytes[0])
		return true;
	return guard_violation(err, GUARD_RULE_DEVICE_SCSI,
			       "device %.80s, byte %zu: requests wait (%zu bytes, bound 1)",
			       field->device->name, field->offset, field->size_bytes);
}
