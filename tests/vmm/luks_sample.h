/* SPDX-License-Identifier: Apache-2.0 */
/* Headers of encrypted images as qemu-img 10.0.2 writes them for "iter-time=10". */
#ifndef SEALIFT_TESTS_VMM_LUKS_SAMPLE_H
#define SEALIFT_TESTS_VMM_LUKS_SAMPLE_H

#include <string.h>

#include "base/buffer.h"
#include "vmm/image_probe.h"
#include "vmm/luks_header.h"

enum {
	SAMPLE_PAYLOAD = 4040 * 512, /* where the payload of a raw image begins */
	SAMPLE_PAYLOAD_SECTORS = 4040,
	SAMPLE_LUKS_AREA = 0x1f9000, /* of qcow2 */
	SAMPLE_LUKS_AT = 0x40000,
	/* places in a LUKS header, and in its first slot */
	LUKS_AT_VERSION = 6,
	LUKS_AT_PAYLOAD = 104,
	LUKS_AT_DIGEST_TURNS = 164,
	LUKS_AT_SLOT = 208,
	LUKS_SLOT_BYTES = 48,
};

static inline void sample_luks(uint8_t head[LUKS_HEADER_BYTES])
{
	memset(head, 0, LUKS_HEADER_BYTES);
	memcpy(head, "LUKS\xba\xbe\0\1aes", 11);
	memcpy(head + 40, "xts-plain64", 11);
	memcpy(head + 72, "sha256", 6);
	store_be32(head + LUKS_AT_PAYLOAD, SAMPLE_PAYLOAD_SECTORS);
	store_be32(head + 108, 64);
	store_be32(head + LUKS_AT_DIGEST_TURNS, 11216);
	memcpy(head + 168, "afb1f619-dfd7-4e79-93ab-ced062412bd3", 36);
	for (uint32_t i = 0; i < 8; i++) {
		uint8_t *slot = head + LUKS_AT_SLOT + i * LUKS_SLOT_BYTES;

		store_be32(slot, i ? 0xdead : 0xac71f3);
		store_be32(slot + 4, i ? 0 : 39574);
		store_be32(slot + 40, 8 + i * 504);
		store_be32(slot + 44, 4000);
	}
}

/* A qcow2 image of 8 MiB whose LUKS area is at SAMPLE_LUKS_AT. */
static inline void sample_qcow2_luks(uint8_t head[IMAGE_PROBE_BYTES])
{
	memset(head, 0, IMAGE_PROBE_BYTES);
	memcpy(head, "QFI\xfb\0\0\0\3", 8);
	store_be32(head + 20, 16);	/* cluster bits */
	store_be64(head + 24, 8 << 20); /* size */
	store_be32(head + 32, 2);	/* LUKS */
	store_be32(head + 36, 1);
	store_be64(head + 40, 0x30000);
	store_be64(head + 48, 0x10000);
	store_be32(head + 56, 1);
	store_be32(head + 96, 4);
	store_be32(head + 100, 112);
	store_be32(head + 112, 0x0537be77);
	store_be32(head + 116, 16);
	store_be64(head + 120, SAMPLE_LUKS_AT);
	store_be64(head + 128, SAMPLE_LUKS_AREA);
	store_be32(head + 136, 0x6803f857);
	store_be32(head + 140, 0x180);
}

#endif
