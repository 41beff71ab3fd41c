/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request that was taken from a virtio queue and waits, as QEMU's devices write it: struct
 * VirtQueueElementOld of a 64-bit little-endian host (qemu_put_virtqueue_element,
 * hw/virtio/virtio.c of 7.2 and 10.0). Where packed rings are offered, a be32 stands with
 * it, which is not read here.
 */
#ifndef SEALIFT_GUARD_VIRTIO_ELEMENT_H
#define SEALIFT_GUARD_VIRTIO_ELEMENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"

enum {
	VIRTIO_ELEMENT_BUFFERS = 1024, /* each way; VIRTQUEUE_MAX_SIZE */
	/* Index, counts, 4 bytes of padding, the addresses of all buffers in and out, pointer and
	 * length of each. */
	VIRTIO_ELEMENT_SIZE = 16 + 2 * VIRTIO_ELEMENT_BUFFERS * 8 + 2 * VIRTIO_ELEMENT_BUFFERS * 16,
};

typedef struct VirtioElement {
	uint32_t index;	  /* in its queue */
	uint32_t out, in; /* buffers that the device reads, and that it writes */
	const uint8_t *bytes;
} VirtioElement;

/* bytes: VIRTIO_ELEMENT_SIZE of them, borrowed. ERROR_PEER if it names an entry that a queue of so
 * many has not, or more buffers than QEMU has room for (CVE-2013-4535). */
MUST_CHECK bool virtio_element_decode(const uint8_t *bytes, uint32_t entries,
				      VirtioElement *ret_element, Error *err);

/* The bytes of one buffer; which < out, which < in. */
uint64_t virtio_element_out_bytes(const VirtioElement *element, uint32_t which);
uint64_t virtio_element_in_bytes(const VirtioElement *element, uint32_t which);

#endif
