/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of vm_rekey*.c; nobody else includes it. */
#ifndef SEALIFT_ENGINE_VM_REKEY_INTERNAL_H
#define SEALIFT_ENGINE_VM_REKEY_INTERNAL_H

#include "engine/keys.h"
#include "engine/vm_rekey.h"
#include "engine/vm_rekey_files.h"
#include "vmm/disk_rekey.h"
#include "vmm/image_create.h"

typedef enum RekeyStage {
	REKEY_ASKS,  /* the key manager, for a new version */
	REKEY_MAKES, /* the image */
	REKEY_COPIES,
	REKEY_HOLDS, /* the disk stands still */
	REKEY_SWITCHES,
	REKEY_DESTROYS, /* what the disk had before */
	REKEY_UNDOES,	/* gives up, before the exchange */
	REKEY_STAGE_COUNT,
} RekeyStage;

typedef struct VmRekey VmRekey;

/* One VM's, from its beginning to its end; a disk at a time. */
struct VmRekey {
	Engine *engine;
	Vm *vm;
	uint64_t serial;     /* names it in calls that may outlive it */
	ApiRequest *request; /* NULL: by itself */
	bool cancelled;
	bool settles; /* takes up what another life left, nothing new */
	char who[KEY_WHO_SIZE];
	uint32_t left; /* disks still to be changed, a bit each */
	size_t disk;   /* under way */
	/* That one, as it was when its turn came: a VM that starts meanwhile has a new description.
	 */
	ManifestDisk subject;
	json_t *disks; /* that are done, as they are told of */
	RekeyStage stage;
	RekeyFiles files;
	uint64_t cursor; /* of the list of keys */
	uint64_t opened; /* subject of KEYD_OPEN; 0: none */
	int secret_fd, fd;
	ImageCreate *image;
	uint64_t done_bytes, total_bytes;
	Error failure;
};

/* For whom an answer is, if that is still there. */
typedef struct RekeyCall {
	Engine *engine;
	uint64_t serial;
} RekeyCall;
RekeyCall *rekey_call_new(const VmRekey *rekey, Error *err);
/* Releases the call; NULL: who made it is gone. */
VmRekey *rekey_call_take(void *call);

ManifestDisk *rekey_disk(VmRekey *rekey);
DiskRekey rekey_about(VmRekey *rekey);

/* vm_rekey_keys.c: each goes on by itself, or fails. */
void rekey_ask_key(VmRekey *rekey);
/* Destroys the versions before, then the old image. */
void rekey_destroy_old(VmRekey *rekey);
/* The hypervisor has read it, or never will. */
void rekey_wipe_secret(VmRekey *rekey);

/* vm_rekey.c */
void rekey_next(VmRekey *rekey);
void rekey_fail(VmRekey *rekey, const Error *err);
/* The key is there, and what opens it. */
void rekey_make_image(VmRekey *rekey);
/* The disk under way is done. */
void rekey_disk_done(VmRekey *rekey);
/* Says in the VM's row what the pool says. */
MUST_CHECK bool rekey_save_version(VmRekey *rekey, uint64_t version, Error *err);
/* vm_rekey_settle.c: what an earlier life left of this disk. */
void rekey_settle_disk(VmRekey *rekey);
void rekey_switch(VmRekey *rekey);
/* NULL without memory. */
VmRekey *rekey_new(Vm *vm, uint32_t disks, ApiRequest *request, const char *who, Error *err);
void rekey_end(VmRekey *rekey, const Error *err);

#endif
