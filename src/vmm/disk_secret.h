/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The passphrase of an encrypted image on its way to a hypervisor: memory with a descriptor, which
 * whoever gets it can read, and only its maker can change. Once the hypervisor has read it the
 * maker wipes it, and every descriptor of it that is left anywhere, the hypervisor's own included,
 * reads zeros.
 */
#ifndef SEALIFT_VMM_DISK_SECRET_H
#define SEALIFT_VMM_DISK_SECRET_H

#include "base/secret.h"

/* base64 of a key of 32 bytes: text, since LUKS in QEMU takes no other. */
enum { DISK_SECRET_BYTES = 44 };

typedef struct DiskSecret {
	int fd;	       /* read-only memory, close-on-exec */
	void *mapping; /* the maker's own, locked in memory */
} DiskSecret;

#define DISK_SECRET_INIT ((DiskSecret){ .fd = -1 })

/* A copy of a passphrase of DISK_SECRET_BYTES. No descriptor of it can be written to or resized
 * (F_SEAL_FUTURE_WRITE, fcntl(2)), its mode lets any user read it who holds one. *ret_secret is the
 * caller's, written only on success. ERROR_USAGE for another size, ERROR_IO if it cannot be locked
 * in memory. */
MUST_CHECK bool disk_secret_make(const Secret *passphrase, DiskSecret *ret_secret, Error *err);

/* For who gets a descriptor: whether it is such memory, with a base64 text in it. A wiped one is
 * not. Reads no more than it needs and keeps nothing. ERROR_USAGE. */
MUST_CHECK bool disk_secret_check(int fd, Error *err);

/* Zeros in it, for all who still hold a descriptor; then lets go of it. Fine on DISK_SECRET_INIT
 * and after itself. */
void disk_secret_wipe(DiskSecret *secret);
#define AUTO_DISK_SECRET CLEANUP(disk_secret_wipe)

#endif
