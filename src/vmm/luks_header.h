/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The header of an encrypted image: LUKS version 1 (LUKS1 On-Disk Format Specification 1.2.3), in
 * the one shape that Sealift makes. A peer or a guest could have written it, and the hypervisor
 * works on it before it asks for anything: each turn of its key derivation is bounded here.
 */
#ifndef SEALIFT_VMM_LUKS_HEADER_H
#define SEALIFT_VMM_LUKS_HEADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"

enum {
	LUKS_HEADER_BYTES = 592,
	/* Turns of PBKDF2 until a wrong secret was tried on all active slots: those of the slots,
	 * and those of the master key's digest once for each. About a second of one core. An image
	 * key is random, so that few turns are as good as many; each image made here has some ten
	 * milliseconds of them. */
	LUKS_TURNS_MAX = 1 << 22,
};

/*
 * Judges the first `size` bytes of a LUKS area of area_bytes: a whole raw image, or the area that a
 * qcow2 header names. Version 1, aes in xts-plain64 with a key of 512 bits, sha256 or sha512, an
 * active slot at least, slots and payload side by side within the area, turns bounded. A detached
 * header (its payload begins at 0) is refused. *ret_payload_offset: bytes from the area's
 * beginning. ERROR_DENIED.
 */
MUST_CHECK bool luks_header_check(const void *head, size_t size, uint64_t area_bytes,
				  uint64_t *ret_payload_offset, Error *err);

#endif
