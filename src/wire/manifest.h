/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The manifest: what a VM is made of, as its source signs it into the offer and the destination
 * judges it. Nothing here is a path, an option or an object of QEMU: disks are (pool, volume),
 * networks and machine types are names that the destination's own configuration and allow-lists
 * map, boot files are digests. The one free text, the kernel command line, is data for the guest.
 */
#ifndef SEALIFT_WIRE_MANIFEST_H
#define SEALIFT_WIRE_MANIFEST_H

#include "base/bounds.h"
#include "base/schema.h"

enum {
	DIGEST_SHA256_BYTES = 32,
	MANIFEST_APPEND_BYTES = 1024,
	MANIFEST_KEY_ID_BYTES = 16,
	MANIFEST_HEADER_MAX = 16 << 20, /* that an encrypted image has before what the guest sees */
};

typedef enum DiskFormat { DISK_RAW, DISK_QCOW2 } DiskFormat;
typedef enum DiskEncryption { DISK_PLAIN, DISK_LUKS, DISK_ENCRYPTION_COUNT } DiskEncryption;
extern const char *const disk_encryption_words[DISK_ENCRYPTION_COUNT];
/* How a disk comes to the other host. */
typedef enum DiskTransfer {
	DISK_STAYS,	   /* both hosts reach it: shared storage */
	DISK_COPIED,	   /* what the guest sees is copied; encrypted, it gets a key of the destination's own */
	DISK_COPIED_SEALED, /* the ciphertext is copied, and its key is handed over */
	DISK_TRANSFER_COUNT,
} DiskTransfer;
extern const char *const disk_transfer_words[DISK_TRANSFER_COUNT];
typedef enum DisplayKind { DISPLAY_NONE, DISPLAY_VNC } DisplayKind;
typedef enum PopulateKind { POPULATE_FULL, POPULATE_NONE } PopulateKind;

/* How a VM wants its migrations sealed; the mode is signed in the offer. */
typedef enum SealMode {
	SEAL_REQUIRED,	    /* AES-256-GCM, or no migration */
	SEAL_OPPORTUNISTIC, /* required, unless the peer's signed accept forbids encryption */
	SEAL_DISABLED,	    /* authenticated (GMAC) but readable; both hosts must allow it */
	SEAL_MODE_COUNT,
} SealMode;
extern const char *const seal_mode_words[SEAL_MODE_COUNT];

typedef struct ManifestDisk {
	char pool[LIMIT_NAME];
	char volume[LIMIT_NAME];
	DiskFormat format;
	uint64_t size_bytes; /* virtual size */
	bool read_only;
	DiskEncryption encryption;	    /* of the image; what a guest does itself is none */
	uint8_t key[MANIFEST_KEY_ID_BYTES]; /* which image key opens it; zeros: not encrypted */
	uint64_t key_version;		    /* which version of it; 0: the first */
	DiskTransfer transfer;
	uint64_t stored_bytes; /* of its image as a file: DISK_COPIED_SEALED; else 0 */
} ManifestDisk;

typedef struct ManifestNic {
	char network[LIMIT_NAME];
	char mac[18];
} ManifestNic;

typedef struct Manifest {
	char name[LIMIT_NAME];
	char uuid[LIMIT_UUID];
	char machine[LIMIT_NAME]; /* versioned, such as pc-q35-10.0 */
	char cpu[LIMIT_NAME];	  /* model name */
	uint64_t cpus;
	uint64_t memory_bytes;
	DisplayKind display;
	PopulateKind populate; /* what the destination does with the memory before it accepts */
	bool boots_kernel;     /* kernel and initrd by digest, else firmware boots the first disk */
	uint8_t kernel_sha256[DIGEST_SHA256_BYTES];
	uint8_t initrd_sha256[DIGEST_SHA256_BYTES]; /* zeros: no initrd */
	char append[MANIFEST_APPEND_BYTES];
	ManifestDisk disks[LIMIT_DISKS];
	size_t disks_count;
	ManifestNic nics[LIMIT_NICS];
	size_t nics_count;
	bool tpm; /* a TPM 2.0, by swtpm; its state travels in the hypervisor's stream, sealed */
} Manifest;

extern const Schema manifest_schema;

/* Whether a machine type is FAMILY-N.M of an allowed family. */
bool manifest_is_versioned_machine(const char *machine);

/* How many of its disks are copied, by either way. */
size_t manifest_copies(const Manifest *manifest);

/* How many bytes a copy of it has: what the guest sees, or the image's own. */
uint64_t manifest_copy_bytes(const ManifestDisk *disk);

/* Bounds that the schema cannot say: memory a multiple of 2 MiB, machine type versioned and on the
 * allow-list of families (pc-q35-N.M, pc-i440fx-N.M), boot fields consistent, a disk with
 * encryption and key or with neither, no MAC or volume twice, no key twice; a disk that is copied as
 * ciphertext raw and encrypted, with the size of its image. ERROR_PEER. */
MUST_CHECK bool manifest_check(const Manifest *manifest, Error *err);

#endif
