/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What stands behind the part of virtio state that all kinds share: what the kind of device wrote,
 * then subsections (vmstate_virtio and its kind's own, hw/virtio/virtio.c of 7.2 and 10.0).
 */
#ifndef SEALIFT_GUARD_VIRTIO_TAIL_H
#define SEALIFT_GUARD_VIRTIO_TAIL_H

#include "guard/rules.h"
#include "guard/virtio_kinds.h"
#include "qemustream/virtio_state.h"
#include "qemustream/vmdesc.h"

/* What a device of this host is made with. */
typedef struct VirtioTwin {
	VirtioShape shape;
	uint16_t queue_sizes[VIRTIO_QUEUES_MAX];
	uint16_t pairs;	      /* virtio-net: pairs of queues that it was made with */
	uint32_t ports;	      /* virtio-console: that are active */
	uint32_t port_words;  /* words of its map of ports */
	uint32_t subsections; /* a bit for each of the table in virtio_tail.c */
	VirtioMem memory;     /* virtio-mem */
	bool is_known;	      /* a kind that is known here */
} VirtioTwin;

enum { VIRTIO_NET_PLAIN_QUEUES = 3 }; /* one pair, and that for control */

/* How many queues a network device has depends on what its driver took: those of one pair, or all
 * (virtio_net_set_multiqueue, hw/net/virtio-net.c). Others have what the twin has. */
static inline uint32_t virtio_twin_queues_max(const VirtioTwin *twin)
{
	return twin->pairs > 1 ? 2 * (uint32_t)twin->pairs + 1 : twin->shape.queues;
}

/* Whether it offers packed rings: its driver may or may not have taken them. */
bool virtio_twin_has_packed(const VirtioTwin *twin);

/* From the twin's own state; a kind that is not known is no error. ERROR_INTERNAL if it cannot be
 * read. */
MUST_CHECK bool virtio_tail_learn(const char *vmsd_name, const VirtioState *state,
				  VirtioTwin *ret_twin, Error *err);

/* Queues, then the tail to its last byte. ERROR_PEER by the rule that is broken. */
MUST_CHECK bool virtio_tail_judge(const VmDevice *device, const VirtioState *state,
				  const VirtioTwin *twin, Error *err);

#endif
