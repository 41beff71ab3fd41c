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

#endif
