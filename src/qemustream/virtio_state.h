/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inside of a field of type `virtio`: all of a virtio device behind PCI is one such field, of
 * which neither a vmdesc nor QEMU's tables tell more (virtio_save in hw/virtio/virtio.c,
 * virtio_pci_save_config and virtio_pci_save_queue in hw/virtio/virtio-pci.c; 7.2 and 10.0):
 *
 *     be32 2, PCI configuration space (256 bytes, express 4096), 4 x be32 interrupt state,
 *     [MSI-X: 16 bytes a vector, a pending bit a vector in whole bytes; be16 vector of the
 *     configuration]
 *     u8 status, u8 isr, be16 selected queue, be32 low features, be32 length, configuration,
 *     be32 n, n x (be32 size, be64 address, be16 index [be16 vector])
 *     what the kind of device writes, then subsections named virtio/...
 *
 * Where fields are depends on how many vectors the device has. The loading QEMU takes that from the
 * device that it made itself, and so must who judges: decode the local description's own stream
 * first, with no shape given, and give its shape for the incoming one.
 */
#ifndef SEALIFT_QEMUSTREAM_VIRTIO_STATE_H
#define SEALIFT_QEMUSTREAM_VIRTIO_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"

enum {
	VIRTIO_QUEUES_MAX = 1024,     /* VIRTIO_QUEUE_MAX */
	VIRTIO_QUEUE_SIZE_MAX = 1024, /* VIRTQUEUE_MAX_SIZE */
	VIRTIO_VECTORS_MAX = 2048,    /* PCI 3.0, 6.8.2: MSI-X table size */
	VIRTIO_NO_VECTOR = 0xffff,
	VIRTIO_NET_MACS_MAX = 64, /* MAC_TABLE_ENTRIES, hw/net/virtio-net.c */
};

/*
 * What the device is made of and its state can not change, but for one thing: QEMU writes as many
 * queues as have a size. A virtio-net device of n pairs has 2n + 1 once its driver took multiqueue
 * or RSS, that for control as the last one, and 3 (or, without the control queue, 2) before; its
 * caller has to know which of them to ask for.
 */
typedef struct VirtioShape {
	uint32_t pci_bytes;    /* 256 or 4096 */
	uint32_t vectors;      /* 0: no MSI-X */
	uint32_t config_bytes; /* of the virtio configuration */
	uint32_t queues;
} VirtioShape;

typedef struct VirtioQueue {
	uint32_t size;
	uint64_t address; /* of the descriptors, in the guest */
	uint16_t last_available;
	uint16_t vector; /* VIRTIO_NO_VECTOR without MSI-X */
} VirtioQueue;

/* Points into the field's bytes. */
typedef struct VirtioState {
	VirtioShape shape;
	uint16_t config_vector;
	uint8_t status, isr;
	uint16_t selected_queue;
	uint32_t features; /* the low 32 that the guest took */
	const uint8_t *config;
	VirtioQueue queues[VIRTIO_QUEUES_MAX]; /* shape.queues of them */
	const uint8_t *rest; /* what the kind of device writes, and the subsections */
	size_t rest_bytes;
} VirtioState;

/*
 * Decodes the part that all kinds share. With `shape` every part of it must be equal; NULL takes
 * it from the bytes, which then must be our own QEMU's. ERROR_PEER: cut, another shape, more queues
 * or a larger or empty queue than QEMU has, a vector that the device does not have.
 */
MUST_CHECK bool virtio_state_decode(const uint8_t *bytes, size_t size, const VirtioShape *shape,
				    VirtioState *ret_state, Error *err);

typedef struct VirtioNetState {
	uint32_t macs;	    /* in use of the filter table */
	uint16_t pairs;	    /* of queues in use: QEMU's curr_queue_pairs */
	uint64_t offloads;  /* of the guest; 0 if it did not take that feature */
	size_t rest_offset; /* the subsections, in rest of the VirtioState */
} VirtioNetState;

/*
 * Decodes what a network device wrote behind the shared part (vmstate_virtio_net_device,
 * hw/net/virtio-net.c). max_pairs: what the local device was made with; the stream must say the
 * same, and 1 to max_pairs of them in use. ERROR_PEER else, and if no subsection or the end
 * follows.
 */
MUST_CHECK bool virtio_net_state_decode(const VirtioState *state, uint16_t max_pairs,
					VirtioNetState *ret_net, Error *err);

#endif
