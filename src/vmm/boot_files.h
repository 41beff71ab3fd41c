/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kernels and initrds of this host, found by SHA-256: a manifest names boot files by digest alone.
 * Digests are remembered by (device, inode, size, modification time), so that a file is read once.
 */
#ifndef SEALIFT_VMM_BOOT_FILES_H
#define SEALIFT_VMM_BOOT_FILES_H

#include "base/error.h"
#include "wire/manifest.h"

enum {
	BOOT_FILES_MAX = 64, /* files looked at in the directory */
	BOOT_FILE_MAX_BYTES = 512 << 20,
};

typedef struct BootFiles BootFiles;

/* `directory` need not exist; then nothing is found. Owned by the caller. */
BootFiles *boot_files_new(const char *directory, Error *err);
void boot_files_free(BootFiles *files);
DEFINE_CLEANUP(BootFiles, boot_files, boot_files_free)
#define AUTO_BOOT_FILES CLEANUP(boot_files_cleanup)

/* Hashes what is new in the directory; called by boot_files_open, and at start so that the first
 * offer does not wait for it. */
MUST_CHECK bool boot_files_scan(BootFiles *files, Error *err);

/* A descriptor, open for reading, of the file with this digest. ERROR_NOT_FOUND if there is none.
 */
MUST_CHECK bool boot_files_open(BootFiles *files, const uint8_t sha256[DIGEST_SHA256_BYTES],
				int *ret_fd, Error *err);

/* The SHA-256 (FIPS 180-4) of a whole file of at most BOOT_FILE_MAX_BYTES, from offset 0. */
MUST_CHECK bool boot_file_digest(int fd, uint8_t ret_sha256[DIGEST_SHA256_BYTES], Error *err);

#endif
