/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Judges a field of type `scsi-requests`: what waits on a SCSI disk, most often because the disk
 * had an error and the guest was stopped (rerror=stop). put_scsi_requests in hw/scsi/scsi-bus.c,
 * scsi_disk_save_request in scsi-disk.c, virtio_scsi_save_request in virtio-scsi.c; the same in 7.2
 * and 10.0:
 *
 *     (u8 1 to be tried again, or 2; 16 bytes of command; be32 tag, be32 unit;
 *      virtio-scsi: be32 queue, an element (virtio_element.h);
 *      be64 sector, be32 sectors, be32 size of the buffer,
 *      with a buffer, of a write: what is in it; of a read that is not to be tried again: be32
 *      length, bytes)* u8 0
 *
 * How much the loading QEMU reads of a request depends on what it makes of the command, so only
 * those pass of which that is known: reads and writes, for the disk's own unit, while it has no
 * unit attention to report first. Commands that are answered without the disk may have bytes of
 * their own in some version, and are refused while they wait.
 */
#ifndef SEALIFT_GUARD_SCSI_REQUESTS_H
#define SEALIFT_GUARD_SCSI_REQUESTS_H

#include "guard/rules.h"
#include "guard/virtio_tail.h"
#include "qemustream/frame.h"

typedef enum ScsiAdapterKind {
	/* Any other: QEMU cannot save a request of lsi or pvscsi (it asserts that there is none),
	 * and gives those of megasas back without what they need. */
	SCSI_ADAPTER_OTHER,
	SCSI_ADAPTER_VIRTIO,
	SCSI_ADAPTER_USB, /* usb-storage, which has one disk and takes one request */
} ScsiAdapterKind;

/* What the disk hangs on, of this host's own machine. */
typedef struct ScsiAdapter {
	ScsiAdapterKind kind;
	const VirtioTwin *virtio; /* of SCSI_ADAPTER_VIRTIO; borrowed */
	/* The disk's unit attention stands so many bytes before its requests, as the local QEMU
	 * writes them; 0: not known, and no request may wait. */
	size_t attention_back;
} ScsiAdapter;

enum { SCSI_PARENT_SIZE = 256 };

/* The name of a disk's device is PARENT/CHANNEL:ID:UNIT/scsi-disk: its parent, which is the begin
 * of its adapter's name too, and its unit. False if it is no such name. */
bool scsi_requests_parent(const char *device, char ret_parent[static SCSI_PARENT_SIZE],
			  uint32_t *ret_unit);

/* From a field of the twin, in the walk of frame_sections: ScsiAdapter.attention_back. */
size_t scsi_requests_learn(const FrameField *field);

/* ERROR_PEER by GUARD_RULE_DEVICE_SCSI. What stands before the field was compared with the twin's
 * layout, and lies before field->bytes as field->offset says. A field without requests passes with
 * any adapter. */
MUST_CHECK bool scsi_requests_judge(const FrameField *field, const ScsiAdapter *adapter,
				    Error *err);

#endif
