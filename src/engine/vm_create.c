/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Images for the disks of a description that are not there yet, one after the other. An encrypted
 * one gets its key first, and the key manager remembers which disk of which VM it is for, so that
 * nobody has to write down an id. A disk that is there is never touched: after a failure the same
 * command goes on where it ended.
 */
#include <stdio.h>
#include <string.h>

#include "engine/disk_make.h"
#include "engine/engine.h"
#include "engine/keys.h"
#include "vmm/vm_file.h"

enum { CREATIONS_MAX = 4 };

struct Creation {
	LIST_ENTRY(Creation) link;
	Engine *engine;
	ApiRequest *request;
	VmFile file;
	bool sparse;
	char who[KEY_WHO_SIZE], owner[LIMIT_DOMAIN];
	uint64_t epoch;
	size_t disk;	/* under way */
	DiskMake *make;
	Manifest alone; /* the VM with this disk only */
	json_t *disks; /* as they are told of */
};

static ManifestDisk *disk_of(Creation *creation)
{
	return &creation->file.manifest.disks[creation->disk];
}

/* --- the end --- */

static void creation_free(Creation *creation)
{
	LIST_REMOVE(creation, link);
	disk_make_free(creation->make);
	json_decref(creation->disks);
	free(creation);
}

static void end(Creation *creation, const Error *failure)
{
	const char *name = creation->file.manifest.name;

	if (failure) {
		log_warning(creation->engine->log, "vm=%s disks: %s", name, failure->text);
		api_fail(creation->request, failure);
	} else {
		api_return(creation->request,
			   json_pack("{s:s, s:O}", "vm", name, "disks", creation->disks));
	}
	creation_free(creation);
}

void vm_create_stop(Engine *engine)
{
	Error err = ERROR_INIT;

	error_set(&err, ERROR_UNAVAILABLE, "the engine stops");
	while (!LIST_EMPTY(&engine->creations))
		end(LIST_FIRST(&engine->creations), &err);
}

/* --- one disk --- */

static void next(Creation *creation);

static void note(Creation *creation, bool made)
{
	const ManifestDisk *disk = disk_of(creation);
	char id[KEY_ID_HEX] = "";
	json_t *entry =
		json_pack("{s:s, s:s, s:s, s:I, s:b}", "pool", disk->pool, "volume", disk->volume,
			  "encryption", disk_encryption_words[disk->encryption], "size_bytes",
			  (json_int_t)disk->size_bytes, "made", made);

	if (made && disk->encryption == DISK_LUKS) {
		key_id_text(disk->key, id);
		(void)json_object_set_new(entry, "key", json_string(id));
	}
	(void)json_array_append_new(creation->disks, entry);
	if (made)
		log_info(creation->engine->log, "vm=%s made disk=%s/%s encryption=%s key=%s",
			 creation->file.manifest.name, disk->pool, disk->volume,
			 disk_encryption_words[disk->encryption], id);
}

static void on_made(void *context, const Error *err)
{
	Creation *creation = context;

	if (err) {
		end(creation, err);
		return;
	}
	memcpy(disk_of(creation)->key, disk_make_key(creation->make), KEY_ID_BYTES);
	disk_make_free(TAKE_PTR(creation->make));
	note(creation, true);
	creation->disk++;
	next(creation);
}

/* What is there is judged as a start would: a plain image where an encrypted one is wanted is told.
 */
static bool is_there(Creation *creation, bool *ret_there, Error *err)
{
	Manifest *alone = &creation->alone;

	*alone = creation->file.manifest;
	alone->disks_count = 1;
	alone->disks[0] = *disk_of(creation);
	*ret_there = false;
	if (!resources_complete(&creation->engine->config.resources, alone, err)) {
		/* Of the pool it would be the same word. */
		if (err->category != ERROR_NOT_FOUND)
			return false;
		if (!resources_find_pool(&creation->engine->config.resources,
					 disk_of(creation)->pool, NULL, err))
			return false;
		*err = ERROR_INIT;
		return true;
	}
	*ret_there = true;
	disk_of(creation)->size_bytes = alone->disks[0].size_bytes;
	return true;
}

static bool begin_disk(Creation *creation, Error *err)
{
	ManifestDisk *disk = disk_of(creation);

	disk->size_bytes = creation->file.disk_sizes[creation->disk];
	if (!disk->size_bytes)
		return error_set(err, ERROR_CONFIG,
				 "volume %s/%s is not there, and its description has no size",
				 disk->pool, disk->volume);
	if (disk->read_only)
		return error_set(err, ERROR_CONFIG,
				 "volume %s/%s is not there: read only it would stay empty",
				 disk->pool, disk->volume);
	creation->make = disk_make_new(creation->engine,
				       &(DiskMakeWanted){ .manifest = &creation->file.manifest,
							  .disk = creation->disk,
							  .owner = creation->owner,
							  .epoch = creation->epoch,
							  .sparse = creation->sparse,
							  .who = creation->who },
				       on_made, creation, err);
	return creation->make;
}

static void next(Creation *creation)
{
	size_t count = creation->file.manifest.disks_count;
	Error err = ERROR_INIT;
	bool there = true, ok = true;

	while (ok && there && creation->disk < count) {
		ok = is_there(creation, &there, &err);
		if (ok && there) {
			note(creation, false);
			creation->disk++;
		}
	}
	if (!ok || (creation->disk < count && !begin_disk(creation, &err)))
		end(creation, &err);
	else if (creation->disk == count)
		end(creation, NULL);
}

/* --- the beginning --- */

/* Keys are found by the volume's name. */
static bool check_disks(const Manifest *manifest, Error *err)
{
	for (size_t i = 0; i < manifest->disks_count; i++)
		for (size_t j = 0; j < i; j++)
			if (manifest->disks[i].encryption == DISK_LUKS &&
			    manifest->disks[j].encryption == DISK_LUKS &&
			    !strcmp(manifest->disks[i].volume, manifest->disks[j].volume))
				return error_set(err, ERROR_CONFIG,
						 "two encrypted disks of one VM have the name %s",
						 manifest->disks[i].volume);
	return true;
}

/* Two at once for one VM would take each other's keys. */
static bool check_others(const Engine *engine, const Manifest *manifest, Error *err)
{
	const Creation *other;
	unsigned int count = 0;

	LIST_FOREACH(other, &engine->creations, link)
	{
		count++;
		if (!strcmp(other->file.manifest.uuid, manifest->uuid))
			return error_set(err, ERROR_CONFLICT,
					 "disks of VM %s are being made already", manifest->name);
	}
	return count < CREATIONS_MAX ||
	       error_set(err, ERROR_LIMIT, "disks of %u VMs are being made already, at most %d",
			 count, CREATIONS_MAX);
}

bool vm_create_text(Engine *engine, const char *path, const char *text,
		    const CreateOptions *options, ApiRequest *request, Error *err)
{
	AUTO_FREE Creation *creation = calloc(1, sizeof(*creation));
	Manifest *manifest = creation ? &creation->file.manifest : NULL;
	const Vm *vm;

	if (!creation)
		return error_set(err, ERROR_INTERNAL, "no memory for images");
	if (!vm_parse_text(engine, path, text, api_may_name_files(request), &creation->file, err))
		return false;
	for (size_t i = 0; options->encrypted && i < manifest->disks_count; i++)
		if (!manifest->disks[i].read_only)
			manifest->disks[i].encryption = DISK_LUKS;
	if (!check_disks(manifest, err) || !check_others(engine, manifest, err))
		return false;
	vm = vm_find_uuid(engine, manifest->uuid);
	creation->engine = engine;
	creation->request = request;
	creation->sparse = options->sparse;
	creation->epoch = vm ? vm->record.epoch : 1;
	snprintf(creation->owner, sizeof(creation->owner), "%s",
		 vm ? vm->record.owner : engine->domain);
	keys_caller(request, creation->who);
	creation->disks = json_array();
	LIST_INSERT_HEAD(&engine->creations, creation, link);
	next(TAKE_PTR(creation));
	return true;
}
