/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Disks of a VM that are copied while it runs (QEMU's blockdev-mirror to an NBD export), over one
 * connection a disk that the VM's hypervisor makes to a socket of vmm_listen. What is copied is
 * what the guest sees; of a storage daemon (storage_daemon.h), which is a VmmVm too, it is what
 * that serves. Each function is one operation, as in vmm.h; nothing is kept between them but by the
 * hypervisor, so that a manager that adopted the VM can go on or abort.
 *
 *	disk_mirror_start    the connections, the copy; done once both sides are the same
 *	(the VM's memory moves, its guest stops)
 *	disk_mirror_finish   the last blocks; then the target has all and may be opened
 *	disk_mirror_abort    at any time before that
 *
 * The copy begins behind the guest's back: what it writes is noted and copied again. Once the sides
 * are the same, each write of the guest waits until the target has it too, so that there is nearly
 * nothing left to do while the guest stands still, however long its memory takes. Where a mirror
 * cannot be changed on its way (before QEMU 9.1), that is so from the beginning. So a target that
 * hangs holds the guest's writes up until its connection ends, which is to be bounded by whoever
 * carries the connection; a target that fails, or whose connection ends, holds up nothing: the
 * mirror stops with an error, until it is aborted, the guest goes on with its disk, which a mirror
 * never changes.
 *
 * A connection that ends is tried anew, once, by the next request: whoever listens should not after
 * the first one, so that a mirror ends with its connection.
 *
 * The NBD handshake is part of disk_mirror_start's first step, and QEMU does nothing else
 * meanwhile, not even for the guest's devices: the other end must be there before, and answer at
 * once or be cut off.
 *
 * Backing files: there are none, resources_resolve refuses an image with one.
 */
#ifndef SEALIFT_VMM_DISK_MIRROR_H
#define SEALIFT_VMM_DISK_MIRROR_H

#include "vmm/vmm.h"

typedef struct DiskMirror {
	size_t disk;		 /* its number in the VM */
	const char *socket;	 /* made by vmm_listen */
	const char *export_name; /* TEXT_NAME */
	/* The target's image has holes where zeros are (raw and plain, qcow2, a file's own bytes):
	 * it is told to be all zeros at first, and only what is in use is sent. A raw LUKS image
	 * has no holes; there it would be written twice. */
	bool sparse;
} DiskMirror;

typedef struct DiskMirrorStart {
	DiskMirror disks[LIMIT_DISKS];
	size_t disks_count;
	uint64_t bandwidth_bytes_s; /* of all disks together; 0: unlimited */
	int64_t deadline_ms;	    /* until all are the same on both sides */
} DiskMirrorStart;

typedef struct DiskMirrorState {
	bool there;			  /* it has a mirror */
	bool ready;			  /* both sides are the same, but for what is on its way */
	uint64_t done_bytes, total_bytes; /* of the copy; the total grows as the guest writes */
} DiskMirrorState;

typedef struct DiskMirrorProgress {
	DiskMirrorState disks[LIMIT_DISKS];
} DiskMirrorProgress;
/* err also if a mirror has failed: its reason, with the disk's number. */
typedef void DiskMirrorProgressDone(void *context, const DiskMirrorProgress *progress,
				    const Error *err);

/* Begins, and is done when all disks are ready. While several begin, those that did stand still
 * until the last one has: QEMU would wait for what they have on its way. On failure the caller
 * calls disk_mirror_abort. ERROR_USAGE: no or a wrong name. ERROR_HYPERVISOR with the disk's
 * number: the target refused, was not to be reached, failed. ERROR_TIMEOUT. */
MUST_CHECK bool disk_mirror_start(VmmVm *vm, const DiskMirrorStart *start, VmmDone *done,
				  void *context, Error *err);

MUST_CHECK bool disk_mirror_query(VmmVm *vm, DiskMirrorProgressDone *done, void *context,
				  Error *err);

/*
 * With the guest stopped, and all of start's disks ready: done when the targets have all that the
 * guest has written, have flushed it, and their connections are closed. After that the mirrors are
 * no more, and a guest that runs on here changes its own disk alone. On failure nothing is sure of
 * the targets, and the caller calls disk_mirror_abort. `disks`: bit i is disk i.
 */
MUST_CHECK bool disk_mirror_finish(VmmVm *vm, uint32_t disks, int64_t deadline_ms, VmmDone *done,
				   void *context, Error *err);

/* Cuts the connections of whatever mirrors there are, and ends them, in whatever state: none is as
 * good. A start or finish that is under way is told ERROR_CANCELLED, or what it fails with. The
 * VM's disks are as ever. ERROR_TIMEOUT: QEMU itself waits for a target (in the handshake, or in
 * finish's last step): that ends with the connection, which the caller then cuts. */
MUST_CHECK bool disk_mirror_abort(VmmVm *vm, int64_t deadline_ms, VmmDone *done, void *context,
				  Error *err);

/*
 * Ends the connection that a mirror's hypervisor made, at the other end: *fd, which is closed and
 * -1 then; -1 is fine. Copies of the descriptor, in whatever process, do not matter. To shut it
 * down alone would not do. QEMU's writer waits until there is room in the socket and does not look
 * at it when it is hung up (aio_dispatch_handler() calls a writer for G_IO_OUT and G_IO_ERR); of a
 * UNIX socket that is shut down the room comes only when what was sent is read, or the last
 * descriptor of the other end is closed. Until then its request is on its way, the mirror does not
 * end, and whatever of QEMU waits for that stands still, with the guest.
 */
void disk_mirror_cut(int *fd);

#endif
