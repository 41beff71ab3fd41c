/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/disk_keys.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "engine/keys.h"

struct DiskKeys {
	Engine *engine;
	Manifest manifest;
	uint32_t without; /* disks that must have none */
	uint64_t epoch;
	char who[KEY_WHO_SIZE];
	bool comes; /* by this migration */
	bool for_copies;
	uint8_t migration[MIGRATION_ID_BYTES];
	uint64_t cursor; /* of the list of keys */
	size_t disk;	 /* whose key is being opened */
	DiskKeyFound found[LIMIT_DISKS];
	uint64_t opened[LIMIT_DISKS]; /* subjects of KEYD_OPEN; 0: none */
	int fds[LIMIT_DISKS];
	DiskKeysDone *done;
	void *context;
	bool under_way, abandoned;
};

static bool is_named(const ManifestDisk *disk)
{
	static const uint8_t none[MANIFEST_KEY_ID_BYTES];

	return memcmp(disk->key, none, sizeof(none)) != 0;
}

static_assert((int)MANIFEST_KEY_ID_BYTES == (int)KEY_ID_BYTES,
	      "a manifest names keys by their ids");

/* --- which key --- */

uint64_t disk_key_version(const ManifestDisk *disk)
{
	return disk->key_version ? disk->key_version : 1;
}

/* Of a disk that nobody remembers it is the first version that is left: a rotation alone leaves the image
 * with that, and a change of key destroys what was before. */
static bool is_likelier(const DiskKeyFound *found, const KeyRecord *key)
{
	return key->state != KEY_DESTROYED &&
	       (found->image == KEY_DESTROYED || key->version <= found->image_version);
}

void disk_key_consider(DiskKeyFound *found, const ManifestDisk *disk, const KeyRecord *key)
{
	bool same = found->any && !memcmp(found->newest.id, key->id, sizeof(key->id));

	if (is_named(disk) ? memcmp(key->id, disk->key, sizeof(key->id)) != 0
			   : key->purpose != KEY_IMAGE || strcmp(key->slot, disk->volume) != 0)
		return;
	if (!same && found->any && found->newest.state != KEY_DESTROYED)
		return;
	if (!same)
		*found = (DiskKeyFound){ .any = true, .image = KEY_DESTROYED };
	if (disk->key_version ? key->version == disk->key_version : is_likelier(found, key)) {
		found->image = key->state;
		found->image_version = key->version;
	}
	/* One that came back by a migration follows what was destroyed here, with the same version. */
	if (key->version >= found->newest.version || !same)
		found->newest = *key;
}

static bool refuse_retired(const DiskKeyFound *found, const ManifestDisk *disk, const char *id,
			   Error *err)
{
	KeyState state = found->newest.state;

	if (state == KEY_DESTROYED && !is_named(disk))
		return error_set(err, ERROR_NOT_FOUND, "its key %s is destroyed", id);
	return error_set(err, ERROR_DENIED, "key %s is %s: only an active one opens a disk", id,
			 key_state_words[state]);
}

bool disk_key_judge(const DiskKeyFound *found, const ManifestDisk *disk, const char *vm,
		    const uint8_t *migration, Error *err)
{
	const KeyRecord *key = &found->newest;
	bool comes = migration && key->state == KEY_IMPORTED &&
		     !memcmp(key->migration, migration, sizeof(key->migration));
	char id[KEY_ID_HEX];

	key_id_text(found->any ? key->id : disk->key, id);
	if (!found->any && is_named(disk))
		return error_set(err, ERROR_DENIED, "key %s is not one of VM %s", id, vm);
	if (!found->any)
		return error_set(err, ERROR_NOT_FOUND, "the key manager has no key for it");
	if (key->purpose != KEY_IMAGE || strcmp(key->slot, disk->volume) != 0)
		return error_set(err, ERROR_DENIED, "key %s is for %s %s", id,
				 key_purpose_words[key->purpose], key->slot);
	if (key->state != KEY_ACTIVE && key->state != KEY_PRE_ACTIVE && !comes)
		return refuse_retired(found, disk, id, err);
	return found->image != KEY_DESTROYED ||
	       error_set(err, ERROR_DENIED,
			 "key %s: version %llu, which the image was made with, is destroyed", id,
			 (unsigned long long)disk_key_version(disk));
}

bool disk_key_check_copy(const DiskKeyFound *found, uint64_t epoch, Error *err)
{
	const KeyRecord *key = &found->newest;
	char id[KEY_ID_HEX];

	if (!found->any || key->state == KEY_DESTROYED || (key->epoch == epoch && !key->exposed_to[0]))
		return true;
	key_id_text(key->id, id);
	return error_set(err, ERROR_CONFLICT,
			 "key %s of this VM is for %s here, and was not made for this move: destroy it first",
			 id, key->slot);
}

/* --- asking for it --- */

static void next(DiskKeys *keys);

/* One that is copied under a key of this host's own is opened by who made that key. */
static bool opens(const DiskKeys *keys, size_t disk)
{
	return keys->manifest.disks[disk].encryption == DISK_LUKS &&
	       (!keys->comes || migration_disk_brings_key(&keys->manifest.disks[disk]));
}

static bool concerns(const DiskKeys *keys, size_t disk)
{
	return opens(keys, disk) || keys->without >> disk & 1;
}

static void name_disk(const DiskKeys *keys, Error *err)
{
	const ManifestDisk *disk = &keys->manifest.disks[keys->disk];

	if (keys->disk < keys->manifest.disks_count)
		error_prefix(err, "disk %s/%s", disk->pool, disk->volume);
}

static void finish(DiskKeys *keys, const Error *failure)
{
	Error err;

	keys->under_way = false;
	if (keys->abandoned) {
		disk_keys_free(keys);
		return;
	}
	if (!failure) {
		keys->done(keys->context, NULL);
		return;
	}
	err = *failure;
	name_disk(keys, &err);
	keys->done(keys->context, &err);
}

static void on_opened(void *context, IpcMessage *answer, const Error *err)
{
	DiskKeys *keys = context;

	if (err) {
		keys->opened[keys->disk] = 0;
		finish(keys, err);
		return;
	}
	keys->fds[keys->disk] = TAKE_FD(answer->fds[0]);
	keys->disk++;
	next(keys);
}

static bool open_key(DiskKeys *keys, Error *err)
{
	const DiskKeyFound *found = &keys->found[keys->disk];
	KeydOpen request = { .version = found->image_version, .epoch = keys->epoch };

	memcpy(request.who, keys->who, sizeof(request.who));
	memcpy(request.vm, keys->manifest.uuid, sizeof(request.vm));
	if (keys->comes)
		memcpy(request.migration, keys->migration, sizeof(request.migration));
	memcpy(request.id, found->newest.id, sizeof(request.id));
	return keys_request(keys->engine, KEYD_OPEN, &keyd_open_schema, &request, KEYD_OPENED,
			    on_opened, keys, &keys->opened[keys->disk], err);
}

static void on_activated(void *context, IpcMessage *answer, const Error *err)
{
	DiskKeys *keys = context;
	Error failure = err ? *err : ERROR_INIT;

	(void)answer;
	if (err || !open_key(keys, &failure))
		finish(keys, &failure);
}

/* At the first start. */
static bool activate(DiskKeys *keys, Error *err)
{
	KeydChange change = { .kind = KEYD_ACTIVATE,
			      .version = keys->found[keys->disk].newest.version };

	memcpy(change.who, keys->who, sizeof(change.who));
	memcpy(change.id, keys->found[keys->disk].newest.id, sizeof(change.id));
	return keys_request(keys->engine, KEYD_CHANGE, &keyd_change_schema, &change, KEYD_CHANGED,
			    on_activated, keys, NULL, err);
}

/* A guest that encrypts its whole disk itself has no key here. */
static bool check_without(const DiskKeyFound *found, Error *err)
{
	char id[KEY_ID_HEX];

	if (!found->any || found->newest.state == KEY_DESTROYED)
		return true;
	key_id_text(found->newest.id, id);
	return error_set(err, ERROR_DENIED,
			 "it is encrypted with key %s, and its description does not say so", id);
}

static bool begin_disk(DiskKeys *keys, Error *err)
{
	const DiskKeyFound *found = &keys->found[keys->disk];

	if (keys->for_copies && !disk_key_check_copy(found, keys->epoch, err))
		return false;
	if (!disk_key_judge(found, &keys->manifest.disks[keys->disk], keys->manifest.uuid,
			    keys->comes ? keys->migration : NULL, err))
		return false;
	return found->newest.state == KEY_PRE_ACTIVE ? activate(keys, err) : open_key(keys, err);
}

static void next(DiskKeys *keys)
{
	size_t count = keys->manifest.disks_count;
	Error err = ERROR_INIT;
	bool ok = true;

	while (ok && keys->disk < count &&
	       !opens(keys, keys->disk)) {
		ok = !(keys->without >> keys->disk & 1) ||
		     check_without(&keys->found[keys->disk], &err);
		if (ok)
			keys->disk++;
	}
	if (!ok || (keys->disk < count && !begin_disk(keys, &err)))
		finish(keys, &err);
	else if (keys->disk == count)
		finish(keys, NULL);
}

static bool list(DiskKeys *keys, Error *err);

static void on_keys(void *context, IpcMessage *answer, const Error *err)
{
	DiskKeys *keys = context;
	const KeydKeys *page = err ? NULL : answer->payload;
	Error failure = err ? *err : ERROR_INIT;

	for (size_t i = 0; page && i < page->keys_count; i++)
		for (size_t j = 0; j < keys->manifest.disks_count; j++)
			if (concerns(keys, j))
				disk_key_consider(&keys->found[j], &keys->manifest.disks[j],
						  &page->keys[i]);
	/* A cursor that does not grow would keep us here for good. */
	if (page && page->cursor && page->cursor <= keys->cursor)
		error_set(&failure, ERROR_INTERNAL, "the key manager lists keys without end");
	if (page)
		keys->cursor = page->cursor;
	if (failure.category || (keys->cursor && !list(keys, &failure)))
		finish(keys, &failure);
	else if (!keys->cursor)
		next(keys);
}

static bool list(DiskKeys *keys, Error *err)
{
	KeydList request = { .cursor = keys->cursor };

	memcpy(request.who, keys->who, sizeof(request.who));
	memcpy(request.vm, keys->manifest.uuid, sizeof(request.vm));
	return keys_request(keys->engine, KEYD_LIST, &keyd_list_schema, &request, KEYD_KEYS,
			    on_keys, keys, NULL, err);
}

bool disk_keys_needed(const DiskKeysWanted *wanted)
{
	const Manifest *manifest = wanted->manifest;

	for (size_t i = 0; i < manifest->disks_count; i++)
		if (manifest->disks[i].encryption == DISK_LUKS &&
		    (!wanted->migration || migration_disk_brings_key(&manifest->disks[i])))
			return true;
	return wanted->without;
}

DiskKeys *disk_keys_new(Engine *engine, const DiskKeysWanted *wanted, DiskKeysDone *done,
			void *context, Error *err)
{
	AUTO_FREE DiskKeys *keys = calloc(1, sizeof(*keys));

	if (!keys) {
		error_set(err, ERROR_INTERNAL, "no memory for the keys of a VM");
		return NULL;
	}
	keys->engine = engine;
	keys->manifest = *wanted->manifest;
	keys->without = wanted->without;
	keys->epoch = wanted->epoch;
	snprintf(keys->who, sizeof(keys->who), "%s", wanted->who);
	keys->comes = wanted->migration != NULL;
	keys->for_copies = wanted->for_copies;
	if (keys->comes)
		memcpy(keys->migration, wanted->migration, sizeof(keys->migration));
	for (size_t i = 0; i < LIMIT_DISKS; i++)
		keys->fds[i] = -1;
	keys->done = done;
	keys->context = context;
	/* The first of them stands for all while the keys are listed. */
	while (keys->disk < keys->manifest.disks_count && !concerns(keys, keys->disk))
		keys->disk++;
	if (!list(keys, err)) {
		name_disk(keys, err);
		return NULL;
	}
	keys->under_way = true;
	return TAKE_PTR(keys);
}

void disk_keys_name(const DiskKeys *keys, Manifest *manifest)
{
	for (size_t i = 0; i < manifest->disks_count; i++) {
		ManifestDisk *disk = &manifest->disks[i];
		const DiskKeyFound *found = &keys->found[i];

		if (disk->encryption != DISK_LUKS)
			continue;
		memcpy(disk->key, found->newest.id, KEY_ID_BYTES);
		/* Once it is known it is not guessed again. */
		if (!disk->key_version && found->image_version > 1)
			disk->key_version = found->image_version;
	}
}

void disk_keys_give(DiskKeys *keys, ResolvedVm *vm)
{
	for (size_t i = 0; i < vm->manifest.disks_count; i++)
		vm->disks[i].secret_fd = TAKE_FD(keys->fds[i]);
}

int disk_keys_fd(const DiskKeys *keys, size_t disk)
{
	return keys->fds[disk];
}

void disk_keys_free(DiskKeys *keys)
{
	if (!keys)
		return;
	/* The answer that is still to come releases it. */
	if (keys->under_way) {
		keys->abandoned = true;
		return;
	}
	for (size_t i = 0; i < LIMIT_DISKS; i++) {
		if (keys->opened[i])
			keys_used(keys->engine, keys->opened[i]);
		cleanup_fd(&keys->fds[i]);
	}
	free(keys);
}
