/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What opens the encrypted disks of a VM: finds the key of each in the key manager, judges it, and
 * has it opened, for a hypervisor or an image that is being made. The engine passes descriptors on
 * and reads none of them.
 *
 * A disk's key is an image key of this VM whose slot is the disk's volume. The VM's description may
 * name it by its id; it must be that one then.
 */
#ifndef SEALIFT_ENGINE_DISK_KEYS_H
#define SEALIFT_ENGINE_DISK_KEYS_H

#include "engine/engine.h"
#include "keys/key.h"
#include "vmm/resources.h"

/* The version of its key that an image is encrypted for, whatever versions there are since. */
uint64_t disk_key_version(const ManifestDisk *disk);

/* What a walk through the keys of a VM found for one disk; zeros before. */
typedef struct DiskKeyFound {
	bool any;
	KeyRecord newest; /* its newest version */
	KeyState image;	  /* state of the version that the image is encrypted for, */
	uint64_t image_version; /* 0: it was not met. If the disk says none, the first that is left */
} DiskKeyFound;

/* Looks at one key of the VM, in the order in which the key manager lists them. Of several for a
 * slot the one that is not destroyed counts, else the last. */
void disk_key_consider(DiskKeyFound *found, const ManifestDisk *disk, const KeyRecord *key);

/* Whether it may open the disk. A key counts by its newest version: a rotated one still opens what
 * an earlier version encrypted, as long as that is not destroyed. One that came by `migration` (its id,
 * or NULL) counts while it is imported. ERROR_NOT_FOUND: the description
 * names none, and there is none that is not destroyed. ERROR_DENIED: the wrong one, or retired. */
MUST_CHECK bool disk_key_judge(const DiskKeyFound *found, const ManifestDisk *disk, const char *vm,
			       const uint8_t *migration, Error *err);

/* Whether a key that is here may be that of a copy which is made for a VM that comes with this epoch: then
 * it is of an earlier try of the same move, and goes when the move is undone. Any other is kept, and opens
 * something, or is known elsewhere: ERROR_CONFLICT. */
MUST_CHECK bool disk_key_check_copy(const DiskKeyFound *found, uint64_t epoch, Error *err);

typedef struct DiskKeys DiskKeys;
/* Once, from the event loop; err is NULL if all are open. May free it. */
typedef void DiskKeysDone(void *context, const Error *err);

typedef struct DiskKeysWanted {
	const Manifest *manifest;
	/* Disks, a bit each, that must not have a key (resources_maybe_luks): as plain ones the
	 * guest would write over what is encrypted there. */
	uint32_t without;
	uint64_t epoch;	 /* the VM's */
	const char *who; /* asks, for the key manager's log */
	const uint8_t *migration; /* by which the VM is coming: MIGRATION_ID_BYTES, or NULL */
	bool for_copies; /* only keys that disk_key_check_copy lets pass */
} DiskKeysWanted;

/* Whether there is anything to ask for. */
bool disk_keys_needed(const DiskKeysWanted *wanted);

/* Begins. ERROR_UNAVAILABLE, here or later: no key manager. Later also what disk_key_judge says,
 * with the disk's name before it, and ERROR_DENIED for a disk that has a key and must not. */
DiskKeys *disk_keys_new(Engine *engine, const DiskKeysWanted *wanted, DiskKeysDone *done,
			void *context, Error *err);

/* Once done: fills in disks[].key of the same disks, and the version where it says none and it is not the
 * first. */
void disk_keys_name(const DiskKeys *keys, Manifest *manifest);
/* Once done: gives the descriptors to a VM of the same disks. */
void disk_keys_give(DiskKeys *keys, ResolvedVm *vm);
/* The descriptor of one disk; stays owned here. */
int disk_keys_fd(const DiskKeys *keys, size_t disk);

/* Has all values wiped: when a hypervisor has read them, and when it did not come to that. While it
 * is under way done is not called any more. NULL is fine. */
void disk_keys_free(DiskKeys *keys);

#endif
