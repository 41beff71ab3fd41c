/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/manifest.h"

#include <ctype.h>
#include <string.h>

const char *const seal_mode_words[SEAL_MODE_COUNT] = { "required", "opportunistic", "disabled" };
static const char *const format_words[] = { "raw", "qcow2" };
const char *const disk_encryption_words[DISK_ENCRYPTION_COUNT] = { "none", "luks" };
const char *const disk_transfer_words[DISK_TRANSFER_COUNT] = { "none", "copy", "ciphertext" };
static const char *const display_words[] = { "none", "vnc" };
static const char *const populate_words[] = { "full", "none" };

static const Field disk_fields[] = {
	SCHEMA_TEXT(ManifestDisk, pool, TEXT_NAME, 1),
	SCHEMA_TEXT(ManifestDisk, volume, TEXT_NAME, 1),
	SCHEMA_ENUM(ManifestDisk, format, format_words),
	SCHEMA_U64(ManifestDisk, size_bytes, 512, UINT64_C(1) << 50),
	SCHEMA_BOOL(ManifestDisk, read_only),
	{ .name = "encryption",
	  .kind = FIELD_ENUM,
	  .optional = true,
	  .offset = offsetof(ManifestDisk, encryption),
	  .words = disk_encryption_words,
	  .n_words = DISK_ENCRYPTION_COUNT },
	{ .name = "key",
	  .kind = FIELD_HEX,
	  .optional = true,
	  .offset = offsetof(ManifestDisk, key),
	  .size = MANIFEST_KEY_ID_BYTES },
	{ .name = "key_version",
	  .kind = FIELD_U64,
	  .optional = true,
	  .offset = offsetof(ManifestDisk, key_version),
	  .max = INT64_MAX },
	{ .name = "transfer",
	  .kind = FIELD_ENUM,
	  .optional = true,
	  .offset = offsetof(ManifestDisk, transfer),
	  .words = disk_transfer_words,
	  .n_words = DISK_TRANSFER_COUNT },
	{ .name = "stored_bytes",
	  .kind = FIELD_U64,
	  .optional = true,
	  .offset = offsetof(ManifestDisk, stored_bytes),
	  .max = UINT64_C(1) << 50 },
};
static SCHEMA_DEFINE(disk_schema, "disk", ManifestDisk, disk_fields);

static const Field nic_fields[] = {
	SCHEMA_TEXT(ManifestNic, network, TEXT_NAME, 1),
	SCHEMA_TEXT(ManifestNic, mac, TEXT_MAC, 17),
};
static SCHEMA_DEFINE(nic_schema, "nic", ManifestNic, nic_fields);

static const Field manifest_fields[] = {
	SCHEMA_TEXT(Manifest, name, TEXT_NAME, 1),
	SCHEMA_TEXT(Manifest, uuid, TEXT_UUID, 36),
	SCHEMA_TEXT(Manifest, machine, TEXT_NAME, 1),
	SCHEMA_TEXT(Manifest, cpu, TEXT_NAME, 1),
	SCHEMA_U64(Manifest, cpus, 1, LIMIT_VCPUS),
	SCHEMA_U64(Manifest, memory_bytes, LIMIT_MEMORY_MIN, LIMIT_MEMORY_BYTES),
	SCHEMA_ENUM(Manifest, display, display_words),
	SCHEMA_ENUM(Manifest, populate, populate_words),
	SCHEMA_BOOL(Manifest, boots_kernel),
	SCHEMA_HEX(Manifest, kernel_sha256),
	SCHEMA_HEX(Manifest, initrd_sha256),
	SCHEMA_TEXT(Manifest, append, TEXT_PRINTABLE, 0),
	SCHEMA_LIST(Manifest, disks, &disk_schema, 0),
	SCHEMA_LIST(Manifest, nics, &nic_schema, 0),
	{ .name = "tpm", .kind = FIELD_BOOL, .optional = true, .offset = offsetof(Manifest, tpm) },
};
SCHEMA_DEFINE(manifest_schema, "manifest", Manifest, manifest_fields);

size_t manifest_copies(const Manifest *manifest)
{
	size_t copies = 0;

	for (size_t i = 0; i < manifest->disks_count; i++)
		copies += manifest->disks[i].transfer != DISK_STAYS;
	return copies;
}

uint64_t manifest_copy_bytes(const ManifestDisk *disk)
{
	return disk->transfer == DISK_COPIED_SEALED ? disk->stored_bytes : disk->size_bytes;
}

/* FAMILY-N.M, so that both sides mean the same machine whatever their QEMU's default is. */
bool manifest_is_versioned_machine(const char *machine)
{
	static const char *const families[] = { "pc-q35-", "pc-i440fx-" };

	for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
		const char *p = machine + strlen(families[i]);

		if (strncmp(machine, families[i], strlen(families[i])))
			continue;
		if (!isdigit((unsigned char)*p))
			return false;
		while (isdigit((unsigned char)*p))
			p++;
		if (*p++ != '.' || !isdigit((unsigned char)*p))
			return false;
		while (isdigit((unsigned char)*p))
			p++;
		return !*p;
	}
	return false;
}

static bool is_zero(const uint8_t *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (bytes[i])
			return false;
	return true;
}

static bool check_boot(const Manifest *manifest, Error *err)
{
	bool has_kernel = !is_zero(manifest->kernel_sha256, DIGEST_SHA256_BYTES);

	if (manifest->boots_kernel != has_kernel)
		return error_set(err, ERROR_PEER, "boots_kernel and kernel_sha256 contradict each other");
	if (!has_kernel &&
	    (!is_zero(manifest->initrd_sha256, DIGEST_SHA256_BYTES) || manifest->append[0]))
		return error_set(err, ERROR_PEER, "an initrd or a command line without a kernel");
	return true;
}

/* Ciphertext that has no header, or a header larger than any, is not copied as an image. */
static bool check_sealed(const ManifestDisk *disk, size_t i, Error *err)
{
	uint64_t header = disk->stored_bytes - disk->size_bytes;

	if (disk->transfer != DISK_COPIED_SEALED)
		return !disk->stored_bytes ||
		       error_set(err, ERROR_PEER, "disks[%zu]: stored_bytes without \"ciphertext\"", i);
	if (disk->encryption != DISK_LUKS || disk->format != DISK_RAW)
		return error_set(err, ERROR_PEER,
				 "disks[%zu]: only a raw and encrypted one is copied as ciphertext", i);
	if (disk->stored_bytes <= disk->size_bytes || header > MANIFEST_HEADER_MAX || header % 512)
		return error_set(err, ERROR_PEER,
				 "disks[%zu]: stored_bytes %llu does not fit size_bytes %llu", i,
				 (unsigned long long)disk->stored_bytes,
				 (unsigned long long)disk->size_bytes);
	return true;
}

/* Every image has a key of its own, so that one can be handed over or destroyed without another. */
static bool check_disk(const Manifest *manifest, size_t i, Error *err)
{
	const ManifestDisk *disk = &manifest->disks[i];
	bool has_key = !is_zero(disk->key, sizeof(disk->key));

	if (has_key != (disk->encryption == DISK_LUKS))
		return error_set(err, ERROR_PEER,
				 "disks[%zu]: encryption \"%s\" and %s key contradict each other", i,
				 disk_encryption_words[disk->encryption], has_key ? "a" : "no");
	if (!check_sealed(disk, i, err))
		return false;
	for (size_t j = 0; j < i; j++) {
		if (!strcmp(disk->pool, manifest->disks[j].pool) &&
		    !strcmp(disk->volume, manifest->disks[j].volume))
			return error_set(err, ERROR_PEER, "volume %s/%s twice", disk->pool,
					 disk->volume);
		if (has_key && !memcmp(disk->key, manifest->disks[j].key, sizeof(disk->key)))
			return error_set(err, ERROR_PEER, "disks[%zu] has the key of disks[%zu]", i,
					 j);
	}
	return true;
}

bool manifest_check(const Manifest *manifest, Error *err)
{
	if (!schema_check(&manifest_schema, manifest, err))
		return error_prefix(err, "manifest");
	if (text_is(TEXT_UUID, manifest->name, 1))
		return error_set(err, ERROR_PEER, "manifest: a UUID is no name: %s", manifest->name);
	if (!manifest_is_versioned_machine(manifest->machine))
		return error_set(err, ERROR_PEER,
				 "manifest: machine \"%s\" is not pc-q35-N.M or pc-i440fx-N.M",
				 manifest->machine);
	if (manifest->memory_bytes % (2 << 20))
		return error_set(err, ERROR_PEER, "manifest: memory of %llu bytes is no multiple of 2 MiB",
				 (unsigned long long)manifest->memory_bytes);
	for (size_t i = 0; i < manifest->disks_count; i++)
		if (!check_disk(manifest, i, err))
			return error_prefix(err, "manifest");
	for (size_t i = 0; i < manifest->nics_count; i++)
		for (size_t j = 0; j < i; j++)
			if (!strcmp(manifest->nics[i].mac, manifest->nics[j].mac))
				return error_set(err, ERROR_PEER, "manifest: MAC %s twice",
						 manifest->nics[i].mac);
	return check_boot(manifest, err) || error_prefix(err, "manifest");
}
