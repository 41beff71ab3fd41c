/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Judges the fields of device state that no description opens: `virtio` (all of a virtio device,
 * qemustream/virtio_state.h), `virtio-gpu` and `scsi-requests`. What the loading QEMU takes from
 * the device that it made is learned from the twin; everything that it takes from the stream and
 * uses as index, count or length is bounded by that.
 *
 * Requests that wait, as of a guest that stands on an error of a disk, are read to the end; what of
 * SCSI disks may wait stands in scsi_requests.h.
 */
#ifndef SEALIFT_GUARD_DEVICE_VIRTIO_H
#define SEALIFT_GUARD_DEVICE_VIRTIO_H

#include "guard/rules.h"
#include "qemustream/frame.h"

/* Whether fields of this type are judged here. */
bool device_virtio_is(const FrameField *field);

/* What one field of the twin says of its device. */
typedef struct DeviceVirtio DeviceVirtio;

/* Owned by the caller. ERROR_INTERNAL if the twin's own state cannot be read. */
MUST_CHECK DeviceVirtio *device_virtio_learn(const FrameField *field, Error *err);
void device_virtio_free(DeviceVirtio *virtio);
DEFINE_CLEANUP(DeviceVirtio, device_virtio, device_virtio_free)
#define AUTO_DEVICE_VIRTIO CLEANUP(device_virtio_cleanup)

/* After all fields of the twin were learned: tells the disks among `list` which adapter of the
 * twin's devices they hang on. A list that was not linked lets no request of a SCSI disk wait. */
void device_virtio_link(DeviceVirtio *const *list, size_t count, const VmDescription *local);

/* Whether this field was learned from a field of the same place. */
bool device_virtio_is_of(const DeviceVirtio *virtio, const FrameField *field);

/* ERROR_PEER by the rule that is broken. */
MUST_CHECK bool device_virtio_judge(const DeviceVirtio *virtio, const FrameField *field,
				    Error *err);

#endif
