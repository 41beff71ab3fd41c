/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The VM description file that a person writes (libconfig syntax), turned into a manifest and the
 * local paths of what it boots:
 *
 *	name = "vm1";
 *	uuid = "6f1c0f3e-2f0b-4f4e-9d58-1f0f8a1b2c3d";
 *	machine = "pc-q35-10.0";        # a versioned type
 *	cpu = "max";
 *	cpus = 2;
 *	memory = "512M";
 *	kernel = "vmlinuz";             # relative to this file
 *	initrd = "initrd.img";
 *	append = "console=ttyS0";
 *	disks = ( { pool = "shared"; volume = "vm1.raw"; format = "raw"; read_only = false; },
 *	          { pool = "shared"; volume = "vm1.img"; format = "qcow2"; encryption = "luks";
 *	            size = "10G"; } );
 *	nics = ( { network = "lan"; mac = "52:54:00:00:00:01"; } );
 *	display = "none";               # or "vnc"
 *	populate = "full";              # or "none"
 *	tpm = true;                     # a TPM 2.0; needs a key manager
 *	mode = "required";              # or "opportunistic", "disabled"
 *	labels = [ "test" ];
 */
#ifndef SEALIFT_VMM_VM_FILE_H
#define SEALIFT_VMM_VM_FILE_H

#include "wire/manifest.h"

enum { VM_FILE_LABELS_MAX = 16, VM_FILE_MAX_BYTES = 65536 };

typedef struct VmFile VmFile;
struct VmFile {
	/* Complete, but for disks[].size_bytes, which resources_complete fills, disks[].key of an
	 * encrypted disk, zeros if the file names none, and the digests of kernel and initrd, which
	 * vm_file_load took from the files. */
	Manifest manifest;
	uint64_t disk_sizes[LIMIT_DISKS]; /* of images that are to be made; 0: not said */
	SealMode mode;
	char kernel_path[LIMIT_PATH]; /* "" if it boots its disk */
	char initrd_path[LIMIT_PATH]; /* "" if there is none */
	char labels[VM_FILE_LABELS_MAX][LIMIT_NAME];
	size_t labels_count;
};

/* Reads, checks and hashes. *ret_file is written only on success. ERROR_CONFIG with file and line
 * for what is wrong in the text, else what file_read says. Includes (@include) are refused. */
MUST_CHECK bool vm_file_load(const char *path, VmFile *ret_file, Error *err);

/* The same of text in memory: `name` stands for the file in errors, relative paths are taken from
 * `directory`; the boot files are hashed all the same. */
MUST_CHECK bool vm_file_parse(const char *name, const char *directory, const char *text,
			      VmFile *ret_file, Error *err);

/* The same for a person who may not read every file that we may: kernel and initrd must lie in
 * boot_directory itself and be regular files, no links (openat2(2)); what lies elsewhere is refused
 * before anything is opened, and whether it is there is not said. NULL: anywhere. */
MUST_CHECK bool vm_file_parse_bounded(const char *name, const char *directory, const char *text,
				      const char *boot_directory, VmFile *ret_file, Error *err);

/* "512M", "2G", "1048576K": bytes, with one suffix K, M, G or T (powers of 1024). */
MUST_CHECK bool vm_file_parse_size(const char *text, uint64_t *ret_bytes);

#endif
