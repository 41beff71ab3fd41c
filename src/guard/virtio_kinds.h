/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What virtio-iommu and virtio-mem write behind the part that all kinds share (virtio_tail.h), in
 * 7.2 and 10.0.
 */
#ifndef SEALIFT_GUARD_VIRTIO_KINDS_H
#define SEALIFT_GUARD_VIRTIO_KINDS_H

#include "base/buffer.h"
#include "qemustream/virtio_state.h"

/* Why it is refused. */
typedef struct VirtioFault {
	const char *what;
	uint64_t is, bound;
} VirtioFault;

/*
 * vmstate_virtio_iommu_device (hw/virtio/virtio-iommu.c): domains in the order of their ids, each
 * with its mappings in the order of addresses and its endpoints; then whether what has no domain
 * goes by. Trees are be32 count, for each u8 1, key, value, then u8 0; lists the same without
 * count. An endpoint that the machine has not lets QEMU end by assert; which there are is not known
 * here.
 */
MUST_CHECK bool virtio_iommu_read(Reader *reader, VirtioFault *ret_fault);

/* What a twin's memory device tells of itself. Its configuration is no help: QEMU fills that in
 * when the guest asks for it. */
typedef struct VirtioMem {
	/* Machine types before 8.1 tell all of the state here, and where the region lies. Others do
	 * that before memory; the region is then taken to be what the twin lets its guest use, and
	 * its blocks to be of any size. */
	bool is_whole;
	uint64_t address, region_bytes, block_bytes;
	uint32_t node;
} VirtioMem;

/* From a twin's state. False if it is no such device. */
bool virtio_mem_learn(const VirtioState *state, VirtioMem *ret_memory);

/* vmstate_virtio_mem_device (hw/virtio/virtio-mem.c): sizes are of whole blocks and lie in the
 * region, and as many blocks are marked as plugged as are told. */
MUST_CHECK bool virtio_mem_read(Reader *reader, const VirtioMem *memory, VirtioFault *ret_fault);

#endif
