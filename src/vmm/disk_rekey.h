/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk of a running VM goes over to another image of the same size: a new one, encrypted with
 * another key (QEMU's blockdev-mirror within one QEMU). Each function is one operation, as in vmm.h;
 * nothing is kept between them but by the hypervisor, and each name in it says which version of the
 * key it is about, so that a manager that adopted the VM can ask how far it came, go on or abort.
 *
 *	disk_rekey_start   the new image is opened and filled; done once both are the same. From the
 *	                   beginning each write of the guest waits until both images have it.
 *	disk_rekey_hold    done once both images have all and have flushed it, and the disk stands
 * still: the guest runs, what it asks of the disk waits (the caller gives the new image the volume's
 * name: neither image changes meanwhile) disk_rekey_switch  the guest goes on, with the new image;
 * the old one and its secret are closed disk_rekey_abort   at any time before that: the guest goes
 * on with the old one, the new is closed
 *
 * Afterwards the device reads the node disk<i> again (disk_nodes.h), which is then a raw one over
 * the image's, as of a disk that was opened late: mirrors, migrations and the next change of key
 * begin there.
 *
 *	disk<i>-v<N>         the image for version N of its key
 *	disk<i>-v<N>-file    its descriptor, by the set 256 N + 128 + i
 *	disk<i>-v<N>-secret  the object with its passphrase
 *	disk<i>-rekey        the job
 *
 * The order in which a mirror drains, flushes and only then waits to be finalized: block/mirror.c
 * (mirror_run) and job.c of QEMU, the same from 7.2 to 10.
 */
#ifndef SEALIFT_VMM_DISK_REKEY_H
#define SEALIFT_VMM_DISK_REKEY_H

#include "vmm/vmm.h"

enum { DISK_REKEY_VERSION_MAX = 999999 }; /* names of nodes and numbers of sets are bounded */

typedef struct DiskRekey {
	size_t disk;	  /* its number in the VM */
	uint64_t version; /* of the key that the new image is for; 1..DISK_REKEY_VERSION_MAX */
	const ManifestDisk
		*image; /* format, encryption and size of both; looked at in the call only */
	bool direct;	/* as ResolvedDisk's */
	int fd;		/* disk_rekey_start: the new image, to be written; stays the caller's */
	/* disk_rekey_start: what opens it (disk_secret.h). Stays the caller's, who may wipe it once
	 * that is done, well or not. */
	int secret_fd;
	int64_t deadline_ms;
} DiskRekey;

typedef enum DiskRekeyStep {
	DISK_REKEY_NONE, /* nothing is open of that version */
	DISK_REKEY_COPIES,
	DISK_REKEY_READY,  /* both are the same, but for what is on its way */
	DISK_REKEY_HOLDS,  /* disk_rekey_hold is done */
	DISK_REKEY_FAILED, /* the copy has ended, or the new image is left open: abort is owed */
	DISK_REKEY_MOVED,  /* the guest has the new image; disk_rekey_switch goes on, or is done */
	DISK_REKEY_STEP_COUNT,
} DiskRekeyStep;

typedef struct DiskRekeyState {
	DiskRekeyStep step;
	uint64_t done_bytes, total_bytes; /* of the copy; the total grows as the guest writes */
} DiskRekeyState;
typedef void DiskRekeyStateDone(void *context, const DiskRekeyState *state, const Error *err);

/* On failure the caller calls disk_rekey_abort. ERROR_USAGE: a number out of bounds, a disk that is
 * only read, no descriptor. ERROR_HYPERVISOR with the disk's number: the secret does not open the
 * image, the image is full, cannot be written. ERROR_TIMEOUT. */
MUST_CHECK bool disk_rekey_start(VmmVm *vm, const DiskRekey *rekey, VmmDone *done, void *context,
				 Error *err);

MUST_CHECK bool disk_rekey_query(VmmVm *vm, size_t disk, uint64_t version, DiskRekeyStateDone *done,
				 void *context, Error *err);

/* The guest's disk stands still from its end to that of disk_rekey_switch or disk_rekey_abort,
 * whoever calls them: the caller does little in between. On failure the caller aborts. */
MUST_CHECK bool disk_rekey_hold(VmmVm *vm, const DiskRekey *rekey, VmmDone *done, void *context,
				Error *err);

/* After hold; also on what an earlier call left undone. If it fails, disk_rekey_query tells which
 * image the guest has. */
MUST_CHECK bool disk_rekey_switch(VmmVm *vm, const DiskRekey *rekey, VmmDone *done, void *context,
				  Error *err);

/* Ends the copy in whatever state, and closes the new image; none is as good. A start or hold that
 * is under way is told ERROR_CANCELLED, or what it fails with. ERROR_CONFLICT: the guest has the
 * new image already. */
MUST_CHECK bool disk_rekey_abort(VmmVm *vm, const DiskRekey *rekey, VmmDone *done, void *context,
				 Error *err);

#endif
