/* SPDX-License-Identifier: Apache-2.0 */
/* What both sides of a migration do for keys and for disks that are copied. */
#include <stdlib.h>
#include <string.h>

#include "crypto/digest.h"
#include "migration/internal.h"
#include "role/keylink_messages.h"

static const char tpm_slot[] = "tpm0";

bool migration_disk_brings_key(const ManifestDisk *disk)
{
	return disk->encryption == DISK_LUKS && disk->transfer != DISK_COPIED;
}

bool migration_wants_keys(const Manifest *manifest)
{
	for (size_t i = 0; i < manifest->disks_count; i++)
		if (migration_disk_brings_key(&manifest->disks[i]))
			return true;
	return manifest->tpm;
}

size_t migration_disk_channels(const Migration *m)
{
	return m->has_vm ? manifest_copies(&m->vm.manifest) : 0;
}

static bool opens(const ManifestDisk *disk, const OfferedKey *key)
{
	return !memcmp(disk->key, key->id, sizeof(key->id)) &&
	       key->version == (disk->key_version ? disk->key_version : 1);
}

static bool needs(const Manifest *manifest, const OfferedKey *key)
{
	if (key->purpose != KEY_IMAGE)
		return manifest->tpm && strcmp(key->slot, tpm_slot) == 0 && key->version == 1;
	for (size_t i = 0; i < manifest->disks_count; i++)
		if (migration_disk_brings_key(&manifest->disks[i]) &&
		    strcmp(manifest->disks[i].volume, key->slot) == 0)
			return opens(&manifest->disks[i], key);
	return false;
}

static bool has(const OfferedKey *keys, size_t count, KeyPurpose purpose, const char *slot)
{
	for (size_t i = 0; i < count; i++)
		if (keys[i].purpose == purpose && strcmp(keys[i].slot, slot) == 0)
			return true;
	return false;
}

/* What the VM cannot run without, and is not among them. */
static bool check_complete(const Manifest *manifest, const OfferedKey *keys, size_t count,
			   ErrorCategory category, Error *err)
{
	for (size_t i = 0; i < manifest->disks_count; i++)
		if (migration_disk_brings_key(&manifest->disks[i]) &&
		    !has(keys, count, KEY_IMAGE, manifest->disks[i].volume))
			return error_set(err, category, "disk %s: its key is not among the VM's active keys",
					 manifest->disks[i].volume);
	for (KeyPurpose purpose = KEY_TPM_MIGRATION; manifest->tpm && purpose <= KEY_TPM_FILE; purpose++)
		if (!has(keys, count, purpose, tpm_slot))
			return error_set(err, category, "TPM: its %s key is not among the VM's active keys",
					 key_purpose_words[purpose]);
	return true;
}

bool migration_choose_keys(MigrationRecord *record, const Manifest *manifest, const OfferedKey *keys,
			   size_t count, Error *err)
{
	record->keys_count = 0;
	for (size_t i = 0; i < count; i++)
		if (needs(manifest, &keys[i]))
			record->keys[record->keys_count++] = keys[i];
	return check_complete(manifest, record->keys, record->keys_count, ERROR_NOT_FOUND, err);
}

bool migration_check_keys(const Manifest *manifest, const OfferedKey *keys, size_t count, Error *err)
{
	for (size_t i = 0; i < count; i++)
		if (!needs(manifest, &keys[i]))
			return error_set(err, ERROR_PEER, "the offer has a %s key of \"%s\", which nothing needs",
					 key_purpose_words[keys[i].purpose], keys[i].slot);
	return check_complete(manifest, keys, count, ERROR_PEER, err);
}

bool migration_set_permit(Migration *m, Error *err)
{
	return digest_sha384_pair(m->offer_digest, sizeof(m->offer_digest), m->accept_digest,
				  sizeof(m->accept_digest), m->record.permit, err);
}

bool migration_ask_keys(Migration *m, TransferKind kind, const PeerMessage *in)
{
	Error err = ERROR_INIT;

	if (m->keys_asked)
		return false;
	m->keys_asked = true;
	m->keys_asking = kind;
	if (in && in->document != KEY_DOCUMENT_PACKAGE && !migration_keep(&m->judged, in, &err))
		migration_log(m, true, "%s", err.text);
	m->ports->keys(m->ports->context, m, kind, in);
	return true;
}

bool migration_keys_stayed(const KeyTransferred *result)
{
	static const char line[] = HANDOVER_MAGIC;

	return result->document_size >= sizeof(line) - 1 && !memcmp(result->document, line, sizeof(line) - 1);
}

void migration_keep_document(Migration *m, KeyDocument document, const void *cms, size_t size)
{
	Error err = ERROR_INIT;

	/* Evidence, not state: without it the move goes on. */
	if (!store_put_document(m->ports->store, m->record.id, document, cms, size, &err))
		migration_log(m, true, "the key manager's %s is not kept: %s", key_document_words[document],
			      err.text);
}

bool migration_send_document(Migration *m, KeyDocument document, const KeyTransferred *result, Error *err)
{
	PeerMessage *message = migration_new_message(m, PEER_KEYS, err);

	if (!message)
		return false;
	if (document != KEY_DOCUMENT_PACKAGE)
		migration_keep_document(m, document, result->document, result->document_size);
	message->document = document;
	message->package_size = result->document_size;
	memcpy(message->package, result->document, result->document_size);
	return migration_send_and_free(m, message, err);
}

bool migration_send_disks(Migration *m, DisksWord word, Error *err)
{
	PeerMessage *message = migration_new_message(m, PEER_DISKS, err);

	if (!message)
		return false;
	message->disks = word;
	return migration_send_and_free(m, message, err);
}

bool migration_keep(PeerMessage **slot, const PeerMessage *message, Error *err)
{
	if (!*slot)
		*slot = malloc(sizeof(**slot));
	if (!*slot)
		return error_set(err, ERROR_INTERNAL, "no memory for a message");
	**slot = *message;
	return true;
}

void migration_drop(PeerMessage **slot)
{
	free(TAKE_PTR(*slot));
}
