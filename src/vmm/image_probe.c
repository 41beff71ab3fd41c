/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/image_probe.h"

#include <string.h>

#include "base/buffer.h"
#include "vmm/luks_header.h"

typedef struct Magic {
	const char *format;
	size_t offset;
	size_t size;
	const char *bytes;
} Magic;

/* What QEMU's own probing would take for a container. LUKS is not here: a guest may well encrypt
 * its whole disk, and nothing here ever opens it by its header. */
static const Magic magics[] = {
	{ "qcow2", 0, 4, "QFI\xfb" },
	{ "vmdk", 0, 4, "KDMV" },
	{ "vmdk", 0, 4, "COWD" },
	{ "vmdk", 0, 21, "# Disk DescriptorFile" },
	{ "vhdx", 0, 8, "vhdxfile" },
	{ "vpc", 0, 8, "conectix" },
	{ "qed", 0, 4, "QED\0" },
	{ "parallels", 0, 16, "WithoutFreeSpace" },
	{ "parallels", 0, 16, "WithouFreSpacExt" },
	{ "bochs", 0, 22, "Bochs Virtual HD Image" },
	{ "cloop", 0, 23, "#!/bin/sh\n#V2.0 Format\n" },
	{ "vdi", 64, 4, "\x7f\x10\xda\xbe" },
};

/* QEMU's docs/interop/qcow2.txt. */
enum {
	QCOW2_V2_HEADER_BYTES = 72,
	QCOW2_V3_HEADER_BYTES = 104,
	QCOW2_CLUSTER_BITS_MIN = 9,
	QCOW2_CLUSTER_BITS_MAX = 21,
	QCOW2_L1_ENTRIES_MAX = (32 << 20) / 8,
	QCOW2_SNAPSHOTS_MAX = 65536,
	QCOW2_EXTENSIONS_MAX = 32,
	QCOW2_CRYPT_NONE = 0,
	QCOW2_CRYPT_LUKS = 2, /* 1 is QEMU's own old one, which is broken */
	QCOW2_CRYPTO_BYTES = 16,
};
#define QCOW2_INCOMPATIBLE_CORRUPT   (UINT64_C(1) << 1)
#define QCOW2_INCOMPATIBLE_DATA_FILE (UINT64_C(1) << 2)
/* dirty, compression type, extended L2 */
#define QCOW2_INCOMPATIBLE_HARMLESS (UINT64_C(1) << 0 | UINT64_C(1) << 3 | UINT64_C(1) << 4)

#define QCOW2_EXTENSION_END	  UINT32_C(0)
#define QCOW2_EXTENSION_DATA_FILE UINT32_C(0x44415441)
#define QCOW2_EXTENSION_CRYPTO	  UINT32_C(0x0537be77)

static bool probe_raw(const uint8_t *head, size_t size, Error *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(magics); i++) {
		const Magic *magic = &magics[i];

		if (magic->offset + magic->size <= size &&
		    !memcmp(head + magic->offset, magic->bytes, magic->size))
			return error_set(err, ERROR_DENIED,
					 "planted image header: a raw disk that begins like %s",
					 magic->format);
	}
	return true;
}

/* A qcow2 image as it is read; luks is NULL for one that may not be encrypted. */
typedef struct Qcow2 {
	LuksArea *luks;
	uint64_t stored_bytes;
	uint64_t size_bytes;
	uint32_t cluster_bits;
	bool has_area;
} Qcow2;

static bool refuse_encryption(Error *err)
{
	return error_set(err, ERROR_DENIED, "qcow2 is encrypted by its own header");
}

static bool take_area(Qcow2 *qcow2, const uint8_t *body, uint32_t length, Error *err)
{
	LuksArea area;

	if (length != QCOW2_CRYPTO_BYTES || qcow2->has_area)
		return error_set(err, ERROR_DENIED, "qcow2 encryption header %s",
				 qcow2->has_area ? "comes twice" : "has another length than 16");
	area = (LuksArea){ .offset = load_be64(body), .size_bytes = load_be64(body + 8) };
	if (!area.offset || area.offset & ((UINT64_C(1) << qcow2->cluster_bits) - 1))
		return error_set(err, ERROR_DENIED, "qcow2 encryption header at %llu, no cluster",
				 (unsigned long long)area.offset);
	if (area.size_bytes < LUKS_HEADER_BYTES || area.size_bytes > IMAGE_LUKS_AREA_MAX)
		return error_set(err, ERROR_DENIED,
				 "qcow2 encryption header of %llu bytes, outside %d..%d",
				 (unsigned long long)area.size_bytes, LUKS_HEADER_BYTES,
				 IMAGE_LUKS_AREA_MAX);
	if (area.offset > qcow2->stored_bytes ||
	    area.size_bytes > qcow2->stored_bytes - area.offset)
		return error_set(err, ERROR_DENIED,
				 "qcow2 encryption header of %llu bytes at %llu, behind the end",
				 (unsigned long long)area.size_bytes,
				 (unsigned long long)area.offset);
	*qcow2->luks = area;
	qcow2->has_area = true;
	return true;
}

static bool check_extensions(Qcow2 *qcow2, Reader reader, Error *err)
{
	for (int i = 0; i < QCOW2_EXTENSIONS_MAX; i++) {
		uint32_t type, length;
		const uint8_t *body;

		if (!reader_get_be32(&reader, &type) || !reader_get_be32(&reader, &length))
			break;
		if (type == QCOW2_EXTENSION_END)
			return true;
		if (type == QCOW2_EXTENSION_DATA_FILE)
			return error_set(err, ERROR_DENIED, "qcow2 names an external data file");
		if (type == QCOW2_EXTENSION_CRYPTO && !qcow2->luks)
			return refuse_encryption(err);
		if (length > IMAGE_PROBE_BYTES || !reader_skip(&reader, (length + 7u) & ~7u, &body))
			break;
		if (type == QCOW2_EXTENSION_CRYPTO && !take_area(qcow2, body, length, err))
			return false;
	}
	return error_set(err, ERROR_DENIED, "qcow2 header extensions do not end within %d bytes",
			 IMAGE_PROBE_BYTES);
}

static bool check_features(uint64_t incompatible, Error *err)
{
	uint64_t unknown = incompatible & ~QCOW2_INCOMPATIBLE_HARMLESS;

	if (incompatible & QCOW2_INCOMPATIBLE_DATA_FILE)
		return error_set(err, ERROR_DENIED, "qcow2 names an external data file");
	if (incompatible & QCOW2_INCOMPATIBLE_CORRUPT)
		return error_set(err, ERROR_DENIED, "qcow2 is marked corrupt");
	if (unknown)
		return error_set(err, ERROR_DENIED, "qcow2 has unknown features 0x%llx",
				 (unsigned long long)unknown);
	return true;
}

/* Both versions: bytes 0 to 71. */
static bool check_common(Qcow2 *qcow2, const uint8_t *head, Error *err)
{
	uint32_t cluster_bits = load_be32(head + 20);
	uint32_t crypt_method = load_be32(head + 32);
	uint32_t l1_entries = load_be32(head + 36);
	uint32_t snapshots = load_be32(head + 60);

	if (load_be64(head + 8) || load_be32(head + 16))
		return error_set(err, ERROR_DENIED, "qcow2 names a backing file");
	if (cluster_bits < QCOW2_CLUSTER_BITS_MIN || cluster_bits > QCOW2_CLUSTER_BITS_MAX)
		return error_set(err, ERROR_DENIED, "qcow2 cluster bits are %u, outside %d..%d",
				 cluster_bits, QCOW2_CLUSTER_BITS_MIN, QCOW2_CLUSTER_BITS_MAX);
	if (!qcow2->luks && crypt_method != QCOW2_CRYPT_NONE)
		return refuse_encryption(err);
	if (qcow2->luks && crypt_method != QCOW2_CRYPT_LUKS)
		return error_set(err, ERROR_DENIED, "qcow2 encryption is %u, not LUKS (%d)",
				 crypt_method, QCOW2_CRYPT_LUKS);
	if (l1_entries > QCOW2_L1_ENTRIES_MAX)
		return error_set(err, ERROR_DENIED, "qcow2 table of %u entries, at most %d",
				 l1_entries, QCOW2_L1_ENTRIES_MAX);
	if (snapshots > QCOW2_SNAPSHOTS_MAX)
		return error_set(err, ERROR_DENIED, "qcow2 has %u snapshots, at most %d", snapshots,
				 QCOW2_SNAPSHOTS_MAX);
	qcow2->cluster_bits = cluster_bits;
	return true;
}

static bool probe_qcow2(Qcow2 *qcow2, const uint8_t *head, size_t size, Error *err)
{
	size_t header_bytes = QCOW2_V2_HEADER_BYTES;
	uint32_t version;

	if (size < QCOW2_V2_HEADER_BYTES || memcmp(head, "QFI\xfb", 4))
		return error_set(err, ERROR_DENIED, "not a qcow2 image");
	version = load_be32(head + 4);
	if (version != 2 && version != 3)
		return error_set(err, ERROR_DENIED, "qcow2 version is %u, not 2 or 3", version);
	if (!check_common(qcow2, head, err))
		return false;
	if (version == 3) {
		if (size < QCOW2_V3_HEADER_BYTES)
			return error_set(err, ERROR_DENIED, "qcow2 header ends after %zu bytes",
					 size);
		if (!check_features(load_be64(head + 72), err))
			return false;
		header_bytes = load_be32(head + 100);
		if (header_bytes < QCOW2_V3_HEADER_BYTES || header_bytes > size || header_bytes % 8)
			return error_set(err, ERROR_DENIED, "qcow2 header length is %zu",
					 header_bytes);
	}
	qcow2->size_bytes = load_be64(head + 24);
	return check_extensions(qcow2, reader_of(head + header_bytes, size - header_bytes), err);
}

bool image_probe(DiskFormat format, const void *head, size_t size, uint64_t *ret_size_bytes,
		 Error *err)
{
	Qcow2 qcow2 = { .luks = NULL };

	if (size > IMAGE_PROBE_BYTES)
		size = IMAGE_PROBE_BYTES;
	*ret_size_bytes = 0;
	if (format != DISK_QCOW2)
		return probe_raw(head, size, err);
	if (!probe_qcow2(&qcow2, head, size, err))
		return false;
	*ret_size_bytes = qcow2.size_bytes;
	return true;
}

bool image_probe_luks(DiskFormat format, const void *head, size_t size, uint64_t stored_bytes,
		      uint64_t *ret_size_bytes, LuksArea *ret_area, Error *err)
{
	LuksArea area = { .offset = 0, .size_bytes = stored_bytes };
	Qcow2 qcow2 = { .luks = &area, .stored_bytes = stored_bytes };

	if (size > IMAGE_PROBE_BYTES)
		size = IMAGE_PROBE_BYTES;
	*ret_size_bytes = 0;
	if (format == DISK_QCOW2) {
		if (!probe_qcow2(&qcow2, head, size, err))
			return false;
		if (!qcow2.has_area)
			return error_set(err, ERROR_DENIED, "qcow2 has no encryption header");
	}
	*ret_size_bytes = qcow2.size_bytes;
	*ret_area = area;
	return true;
}
