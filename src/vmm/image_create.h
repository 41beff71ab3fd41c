/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes a disk image in a pool, by a qemu-img that is a child of ours: as QEMU's user, without
 * privileges to gain, parted from other processes, bounded in memory, file size and time. It gets
 * the image and the secret as descriptors and sees nothing else of the pool. On the event loop,
 * since an encrypted image takes seconds: qemu-img measures the key derivation at length however
 * little of it is wanted.
 */
#ifndef SEALIFT_VMM_IMAGE_CREATE_H
#define SEALIFT_VMM_IMAGE_CREATE_H

#include "vmm/resources.h"

struct event_base;

#define IMAGE_CREATE_PROGRAM "/usr/bin/qemu-img"

enum {
	IMAGE_CREATE_MIN_BYTES = 1 << 20,
	IMAGE_CREATE_ITER_MS = 10, /* each slot's key derivation; the key is random */
};
#define IMAGE_CREATE_MAX_BYTES (UINT64_C(1) << 50)

typedef struct ImageRequest {
	const Resources *resources; /* outlives the creation */
	const char *peer_domain;    /* whose pool; NULL: this host's own users' */
	const char *pool, *volume;
	DiskFormat format;
	DiskEncryption encryption;
	int secret_fd;	     /* DISK_LUKS: vmm/disk_secret.h; borrowed until done, else -1 */
	uint64_t size_bytes; /* what the guest sees; a multiple of 512 within the bounds above */
	bool sparse;	     /* takes its space as it is written; else all of it now */
	int64_t deadline_ms;
} ImageRequest;

typedef struct ImageCreate ImageCreate;

/* err is NULL on success: the image is there, was judged as a VM's start would, and is on stable
 * storage. Once, from the event loop; may free the creation. */
typedef void ImageCreateDone(void *context, const Error *err);

/*
 * Begins; NULL with err if it cannot. The image is made in a directory of its own in the pool,
 * which only this process's user may enter, and gets its name when it is whole, with mode 0600 and
 * this process's owner: QEMU's user, which all VMs of a host have, never finds it by a path. On any
 * failure, here or later, nothing is left behind; a death of this process in between leaves a
 * directory ".sealift-new.MARK.*", which is no volume.
 * ERROR_USAGE: name, size, secret. ERROR_NOT_FOUND: no such pool. ERROR_CONFLICT, here or later:
 * the volume is there. ERROR_LIMIT: not enough free space, unless sparse. ERROR_CONFIG: no
 * qemu-img. Later: ERROR_HYPERVISOR with its last words, ERROR_TIMEOUT.
 */
ImageCreate *image_create_new(struct event_base *base, const ImageRequest *request,
			      ImageCreateDone *done, void *context, Error *err);

/* The mark of the process that has this state directory's file, for resources->mark; made, at
 * random, if there is none yet. ERROR_CONFIG: it is no mark. ERROR_IO. */
MUST_CHECK bool image_create_read_mark(const char *path, char ret_mark[RESOURCES_MARK], Error *err);
/* Removes what creations that died have left in the pools, for who makes none just now: all of the
 * own mark; and directories of this user that nobody has touched for an hour, since another host
 * may be making an image in the same pool. now_s is of the wall clock. */
void image_create_sweep(const Resources *resources, int64_t now_s);

/*
 * Removes the image that was made for a copy which is given up, so that no power cut brings it
 * back; one that is gone already is as good. `made` is what fstat(2) said of it when it was made:
 * another file of this name stays. NULL if nobody knows any more, as after a restart: then the
 * caller knows by its own record that the image is one that it had made. Nobody may have it open.
 * ERROR_CONFLICT: another file. ERROR_NOT_FOUND or ERROR_DENIED: no such pool. ERROR_IO.
 */
MUST_CHECK bool image_remove(const Resources *resources, const char *peer_domain, const char *pool,
			     const char *volume, const struct stat *made, Error *err);

/* Ends it, with nothing left behind if it is not done; done is then not called. NULL is fine. */
void image_create_free(ImageCreate *create);

#endif
