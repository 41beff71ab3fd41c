/* SPDX-License-Identifier: Apache-2.0 */
#include "guard/virtio_element.h"

enum {
	IN_AT = 16 + 2 * VIRTIO_ELEMENT_BUFFERS * 8,
	OUT_AT = IN_AT + VIRTIO_ELEMENT_BUFFERS * 16,
	LENGTH_IN_BUFFER = 8, /* behind the pointer */
	BUFFER = 16,
};

static uint32_t load_le32(const uint8_t *bytes)
{
	return bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
	       (uint32_t)bytes[3] << 24;
}

static uint64_t load_le64(const uint8_t *bytes)
{
	return load_le32(bytes) | (uint64_t)load_le32(bytes + 4) << 32;
}

bool virtio_element_decode(const uint8_t *bytes, uint32_t entries, VirtioElement *ret_element,
			   Error *err)
{
	const VirtioElement element = { .index = load_le32(bytes),
					.out = load_le32(bytes + 4),
					.in = load_le32(bytes + 8),
					.bytes = bytes };

	if (element.index >= entries)
		return error_set(err, ERROR_PEER, "entry of a request (%u, bound %u)",
				 element.index, entries);
	if (element.out > VIRTIO_ELEMENT_BUFFERS || element.in > VIRTIO_ELEMENT_BUFFERS)
		return error_set(err, ERROR_PEER, "buffers of a request (%u, bound %d)",
				 element.out > element.in ? element.out : element.in,
				 VIRTIO_ELEMENT_BUFFERS);
	*ret_element = element;
	return true;
}

uint64_t virtio_element_out_bytes(const VirtioElement *element, uint32_t which)
{
	return load_le64(element->bytes + OUT_AT + (size_t)which * BUFFER + LENGTH_IN_BUFFER);
}

uint64_t virtio_element_in_bytes(const VirtioElement *element, uint32_t which)
{
	return load_le64(element->bytes + IN_AT + (size_t)which * BUFFER + LENGTH_IN_BUFFER);
}
