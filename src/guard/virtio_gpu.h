/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Judges a field of type `virtio-gpu` (virtio_gpu_save, hw/display/virtio-gpu.c of 7.2 and 10.0):
 *
 *     (be32 id, width, height, format, pieces; pieces x (be64 address, be32 bytes); pixels)*
 *     be32 0
 *     be32 whether it is on, be32 scanouts, of each be32 resource, width, height, x, y, resource,
 *     place and hot spot of its cursor; since 9.0 also format, bytes of a pixel, width, height,
 *     stride, offset of its picture
 *
 * What a scanout says of its picture is made into a picture on the resource's memory by QEMU
 * without a look (virtio_gpu_do_set_scanout): an offset or a stride past it would show QEMU's own
 * memory on the screen.
 */
#ifndef SEALIFT_GUARD_VIRTIO_GPU_H
#define SEALIFT_GUARD_VIRTIO_GPU_H

#include "guard/rules.h"
#include "qemustream/frame.h"

/* twin_bytes: of the twin's field, which has no resources. ERROR_PEER by
 * GUARD_RULE_DEVICE_VIRTIO_GPU. */
MUST_CHECK bool virtio_gpu_judge(const FrameField *field, size_t twin_bytes, Error *err);

#endif
