/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the first bytes of a disk image say. They were written by a guest or a peer, so nothing is
 * opened on their word: a raw disk that begins like a container format was planted by a guest that
 * hopes for somebody to probe it, and a qcow2 header may name other files of this host.
 */
#ifndef SEALIFT_VMM_IMAGE_PROBE_H
#define SEALIFT_VMM_IMAGE_PROBE_H

#include "wire/manifest.h"

enum { IMAGE_PROBE_BYTES = 4096 };

/* Judges the first `size` bytes (at most IMAGE_PROBE_BYTES are looked at) of an image of format
 * `format`. raw: ERROR_DENIED if they are another format's magic. qcow2 (QEMU's docs/interop/
 * qcow2.txt): version 2 or 3, no backing file, no external data file, no encryption, only known
 * incompatible features, bounded cluster size and tables; *ret_size_bytes is the virtual size, 0
 * for raw. */
MUST_CHECK bool image_probe(DiskFormat format, const void *head, size_t size,
			    uint64_t *ret_size_bytes, Error *err);

typedef struct LuksArea {
	uint64_t offset; /* bytes from the image's beginning */
	uint64_t size_bytes;
} LuksArea;

/*
 * The same for an image that the manifest says is encrypted by LUKS. *ret_area is where its LUKS
 * header lies: the whole of a raw image of stored_bytes; of a qcow2 image what its header extension
 * names, which must be a multiple of the cluster size, at least one header long, at most
 * IMAGE_LUKS_AREA_MAX, and within the stored bytes; crypt method 2 and the extension, once, are
 * demanded. The area is then the caller's to read and judge (luks_header.h). *ret_size_bytes as
 * above. ERROR_DENIED.
 */
enum { IMAGE_LUKS_AREA_MAX = 16 << 20 };
MUST_CHECK bool image_probe_luks(DiskFormat format, const void *head, size_t size,
				 uint64_t stored_bytes, uint64_t *ret_size_bytes,
				 LuksArea *ret_area, Error *err);

#endif
