/* SPDX-License-Identifier: Apache-2.0 */
#include "guard/virtio_gpu.h"

#include "base/buffer.h"

enum {
	SIDE_MAX = 16384,   /* pixels; QEMU's own bound of memory is reached before */
	PIECES_MAX = 16384, /* virtio_gpu_create_mapping_iov, hw/display/virtio-gpu.c */
	PIECE = 8 + 4,
	PIXEL = 4, /* of every format that virtio_gpu_get_pixman_format knows */
	RESOURCES_MAX = 65536,
	SCANOUTS_MAX = 16, /* VIRTIO_GPU_MAX_SCANOUTS */
	SCANOUTS_HEAD = 4 + 4,
	SCANOUT = 10 * 4,
	SCANOUT_WITH_PICTURE = SCANOUT + 6 * 4,
};

typedef struct Gpu {
	const FrameField *field;
	Reader resources; /* all of them, from the first one's id on */
	Error *err;
} Gpu;

typedef struct Resource {
	uint32_t id, width, height;
} Resource;

typedef struct Scanout {
	uint32_t resource, width, height, x, y;
	bool has_picture; /* else it is the whole resource */
	uint32_t format, pixel_bytes, picture_width, picture_height, stride, offset;
} Scanout;

static bool refuse(const Gpu *gpu, const char *what, unsigned long long is,
		   unsigned long long bound)
{
	return guard_violation(gpu->err, GUARD_RULE_DEVICE_VIRTIO_GPU,
			       "device %.80s: %s (%llu, bound %llu)", gpu->field->device->name,
			       what, is, bound);
}

/* --- resources --- */

/* Behind its id: width, height, format, count of pieces; the pieces; the pixels. */
static bool read_resource(const Gpu *gpu, Reader *reader, Resource *resource)
{
	uint32_t format, pieces;
	const uint8_t *bytes;

	if (!reader_get_be32(reader, &resource->width) ||
	    !reader_get_be32(reader, &resource->height) || !reader_get_be32(reader, &format) ||
	    !reader_get_be32(reader, &pieces))
		return refuse(gpu, "cut inside a resource", reader->left, 16);
	if (!resource->width || resource->width > SIDE_MAX)
		return refuse(gpu, "width of a resource", resource->width, SIDE_MAX);
	if (!resource->height || resource->height > SIDE_MAX)
		return refuse(gpu, "height of a resource", resource->height, SIDE_MAX);
	if (pieces > PIECES_MAX)
		return refuse(gpu, "pieces of a resource", pieces, PIECES_MAX);
	if (!reader_skip(reader, (size_t)pieces * PIECE, &bytes) ||
	    !reader_skip(reader, (size_t)resource->width * resource->height * PIXEL, &bytes))
		return refuse(gpu, "cut inside a resource", reader->left,
			      (size_t)resource->width * resource->height * PIXEL);
	return true;
}

/* The next one; id 0 ends them. */
static bool next_resource(const Gpu *gpu, Reader *reader, Resource *resource)
{
	*resource = (Resource){ 0 };
	if (!reader_get_be32(reader, &resource->id))
		return refuse(gpu, "cut before the end of resources", reader->left, 4);
	return !resource->id || read_resource(gpu, reader, resource);
}

/* All of them were read before. */
static bool find_resource(const Gpu *gpu, uint32_t id, Resource *ret_resource)
{
	Reader reader = gpu->resources;

	do {
		if (!next_resource(gpu, &reader, ret_resource))
			return false;
	} while (ret_resource->id && ret_resource->id != id);
	return ret_resource->id || refuse(gpu, "a scanout of a resource that there is not", id, 0);
}

/* --- scanouts --- */

static bool read_scanout(Reader *reader, bool has_picture, Scanout *scanout)
{
	const uint8_t *cursor;

	*scanout = (Scanout){ .has_picture = has_picture };
	return reader_get_be32(reader, &scanout->resource) &&
	       reader_get_be32(reader, &scanout->width) &&
	       reader_get_be32(reader, &scanout->height) && reader_get_be32(reader, &scanout->x) &&
	       reader_get_be32(reader, &scanout->y) && reader_skip(reader, 5 * 4, &cursor) &&
	       (!has_picture || (reader_get_be32(reader, &scanout->format) &&
				 reader_get_be32(reader, &scanout->pixel_bytes) &&
				 reader_get_be32(reader, &scanout->picture_width) &&
				 reader_get_be32(reader, &scanout->picture_height) &&
				 reader_get_be32(reader, &scanout->stride) &&
				 reader_get_be32(reader, &scanout->offset)));
}

/* A code of pixman: bits of a pixel, order, and bits of alpha and the colours. QEMU makes those of
 * 32 bits with 8 for each. */
static bool is_format(uint32_t format)
{
	const uint32_t order = format >> 16 & 0xff, alpha = format >> 12 & 0xf;

	return format >> 24 == 32 && (format & 0xfff) == 0x888 && (alpha == 0 || alpha == 8) &&
	       (order == 2 || order == 3 || order == 8 || order == 9);
}

/* Its last byte lies in the resource. */
static bool judge_picture(const Gpu *gpu, const Scanout *scanout, const Resource *resource)
{
	const uint64_t bytes = (uint64_t)resource->width * resource->height * PIXEL;
	uint64_t end;

	if (!is_format(scanout->format) || scanout->pixel_bytes != PIXEL)
		return refuse(gpu, "the format of a picture", scanout->format,
			      scanout->pixel_bytes);
	if (scanout->picture_width > resource->width || scanout->picture_height > resource->height)
		return refuse(gpu, "a picture larger than its resource", scanout->picture_width,
			      resource->width);
	if (scanout->stride % PIXEL || scanout->offset % PIXEL ||
	    scanout->stride > resource->width * PIXEL || scanout->stride / PIXEL < scanout->width)
		return refuse(gpu, "the stride or offset of a picture", scanout->stride,
			      (uint64_t)resource->width * PIXEL);
	end = scanout->offset + (uint64_t)(scanout->height - 1) * scanout->stride +
	      (uint64_t)scanout->width * PIXEL;
	return end <= bytes || refuse(gpu, "the end of a picture", end, bytes);
}

static bool judge_scanout(const Gpu *gpu, const Scanout *scanout)
{
	Resource resource;

	if (!scanout->resource)
		return true;
	if (!find_resource(gpu, scanout->resource, &resource))
		return false;
	if (!scanout->width || scanout->width > resource.width ||
	    scanout->x > resource.width - scanout->width)
		return refuse(gpu, "columns of a scanout", scanout->width, resource.width);
	if (!scanout->height || scanout->height > resource.height ||
	    scanout->y > resource.height - scanout->height)
		return refuse(gpu, "rows of a scanout", scanout->height, resource.height);
	/* Of format 0 it is the whole resource too. */
	return !scanout->has_picture || !scanout->format || judge_picture(gpu, scanout, &resource);
}

static bool judge_scanouts(const Gpu *gpu, Reader *reader)
{
	uint32_t is_on, count;
	bool has_picture;
	Scanout scanout;

	if (!reader_get_be32(reader, &is_on) || !reader_get_be32(reader, &count) || !count ||
	    count > SCANOUTS_MAX)
		return refuse(gpu, "scanouts", reader->left, SCANOUTS_MAX);
	has_picture = reader->left == (size_t)count * SCANOUT_WITH_PICTURE;
	if (!has_picture && reader->left != (size_t)count * SCANOUT)
		return refuse(gpu, "bytes of so many scanouts", reader->left, count);
	for (uint32_t i = 0; i < count; i++)
		if (!read_scanout(reader, has_picture, &scanout) || !judge_scanout(gpu, &scanout))
			return false;
	return true;
}

bool virtio_gpu_judge(const FrameField *field, size_t twin_bytes, Error *err)
{
	Reader reader = reader_of(field->bytes, field->size_bytes);
	const Gpu gpu = { .field = field, .resources = reader, .err = err };
	Resource resource = { .id = 1 };

	for (size_t i = 0; resource.id; i++) {
		if (i > RESOURCES_MAX)
			return refuse(&gpu, "resources", i, RESOURCES_MAX);
		if (!next_resource(&gpu, &reader, &resource))
			return false;
	}
	if (reader.left + 4 != twin_bytes)
		return refuse(&gpu, "bytes of the scanouts", reader.left + 4, twin_bytes);
	return judge_scanouts(&gpu, &reader);
}
