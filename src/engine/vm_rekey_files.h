/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two images of a disk whose key is changed, as they lie in its pool. The one that is not the
 * volume has a name that is none of a volume (it begins with a dot), so that no peer and no
 * description of a VM can mean it:
 *
 *	.sealift-rekey.KEY.VERSION.INODE
 *
 * INODE is that of the new image, for this VERSION of the KEY (hex). Who finds the name of that
 * file finds the new image before the two have exchanged names, and the old one afterwards: so the
 * pool says by itself which is which, whatever else was lost, and the exchange, which is atomic
 *(renameat2(2)), is the instant at which the disk has its new key.
 */
#ifndef SEALIFT_ENGINE_VM_REKEY_FILES_H
#define SEALIFT_ENGINE_VM_REKEY_FILES_H

#include "keys/key.h"
#include "vmm/resources.h"

enum { REKEY_FILE_NAME = 128 };

typedef enum RekeyPlace {
	REKEY_NOTHING,	 /* no second image */
	REKEY_BEFORE,	 /* the volume is the old image */
	REKEY_EXCHANGED, /* the volume is the new image */
	REKEY_UNCLEAR,	 /* it is neither: for a person */
} RekeyPlace;

typedef struct RekeyFiles {
	const PoolResource *pool; /* lives as long as the resources */
	RekeyPlace place;
	char hidden[REKEY_FILE_NAME]; /* "": none */
	uint64_t version;	      /* that the new image is for */
} RekeyFiles;

/* The pool of this disk of a VM that runs: of several with the name the one whose volume its
 * process has open. ERROR_NOT_FOUND: none. */
MUST_CHECK bool rekey_files_pool(const Resources *resources, const ManifestDisk *disk, pid_t pid,
				 const PoolResource **ret_pool, Error *err);
/* What the pools hold of a disk. With several second images of one disk that of the highest
 * version. */
void rekey_files_find(const Resources *resources, const ManifestDisk *disk, RekeyFiles *ret_files);

/* A name for image_create, of a volume; no description has it by chance. */
void rekey_files_fresh_name(const ManifestDisk *disk, uint64_t version, char ret_name[LIMIT_NAME]);
/* Removes the images of rekey_files_fresh_name, of all versions, that were never hidden: those of an
 * engine that died. For a VM that is this host's, and whose key nobody changes just now. */
void rekey_files_sweep(const Resources *resources, const ManifestDisk *disk);
/* Space for another image, an existing volume in a regular file, and a file system that exchanges
 * names. ERROR_LIMIT, ERROR_CONFLICT, ERROR_IO. */
MUST_CHECK bool rekey_files_check(const PoolResource *pool, const ManifestDisk *disk, Error *err);
/* Gives the image of rekey_files_fresh_name its hidden name, and opens it for a hypervisor.
 * files->pool and version are given; on success hidden is, and place is REKEY_BEFORE. *ret_fd is
 * the caller's. */
MUST_CHECK bool rekey_files_hide(RekeyFiles *files, const ManifestDisk *disk, int *ret_fd,
				 Error *err);
/* The two exchange their names; on the disk when it returns. fd: the new image, or -1. On failure
 * after the exchange they are exchanged back. */
MUST_CHECK bool rekey_files_exchange(RekeyFiles *files, const ManifestDisk *disk, int fd,
				     Error *err);
/* Removes what has the hidden name. One that is gone is as good. */
MUST_CHECK bool rekey_files_remove(RekeyFiles *files, Error *err);
/* Whether the process has the hidden image open. */
bool rekey_files_in_use(const RekeyFiles *files, pid_t pid);

#endif
