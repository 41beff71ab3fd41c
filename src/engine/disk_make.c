/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/disk_make.h"

#include <stdio.h>
#include <string.h>

#include "engine/disk_keys.h"
#include "engine/key_ends.h"
#include "engine/keys.h"
#include "vmm/image_create.h"

enum { IMAGE_DEADLINE_MS = 100000 };

struct DiskMake {
	Engine *engine;
	DiskMakeDone *done;
	void *context;
	Manifest alone; /* the VM with this disk only */
	char who[KEY_WHO_SIZE], owner[LIMIT_DOMAIN], peer_domain[LIMIT_DOMAIN];
	uint64_t epoch;
	bool sparse;
	bool asking;	/* the key manager has a request of ours */
	bool abandoned; /* freed meanwhile: the answer releases it */
	bool fresh_key; /* made for it, now */
	KeyRecord key;	/* that one */
	DiskKeys *keys;
	ImageCreate *image;
	Error failure;
};

static ManifestDisk *disk_of(DiskMake *make)
{
	return &make->alone.disks[0];
}

/* --- the end --- */

/* Nobody waits for it any more. */
static void owe_key(DiskMake *make)
{
	ManifestDisk *disk = disk_of(make);

	memcpy(disk->key, make->key.id, sizeof(disk->key));
	key_ends_add(make->engine, disk, "its image was given up");
}

/* Whether the key is gone or not, the first failure is what is told. */
static void on_key_destroyed(void *context, IpcMessage *answer, const Error *err)
{
	DiskMake *make = context;
	char id[KEY_ID_HEX];

	(void)answer;
	make->asking = false;
	if (make->abandoned) {
		free(make);
		return;
	}
	key_id_text(make->key.id, id);
	if (err)
		error_prefix(&make->failure, "key %s stays, for the next try (%.100s)", id, err->text);
	make->fresh_key = false;
	make->done(make->context, &make->failure);
}

/* Of a disk that was not made its key does not stay, unless it was there before. */
static void fail(DiskMake *make, const Error *failure)
{
	KeydChange change = { .kind = KEYD_DESTROY };
	Error err = ERROR_INIT;

	make->failure = *failure;
	disk_keys_free(TAKE_PTR(make->keys));
	if (!make->fresh_key) {
		make->done(make->context, &make->failure);
		return;
	}
	make->asking = true;
	memcpy(change.who, make->who, sizeof(change.who));
	memcpy(change.id, make->key.id, sizeof(change.id));
	if (!keys_request(make->engine, KEYD_CHANGE, &keyd_change_schema, &change, KEYD_CHANGED,
			  on_key_destroyed, make, NULL, &err))
		on_key_destroyed(make, NULL, &err);
}

/* --- image --- */

static void on_image(void *context, const Error *err)
{
	DiskMake *make = context;

	image_create_free(TAKE_PTR(make->image));
	if (err) {
		fail(make, err);
		return;
	}
	make->fresh_key = false;
	make->done(make->context, NULL);
}

static bool make_image(DiskMake *make, Error *err)
{
	const ManifestDisk *disk = disk_of(make);
	const ImageRequest request = {
		.resources = &make->engine->config.resources,
		.peer_domain = make->peer_domain[0] ? make->peer_domain : NULL,
		.pool = disk->pool,
		.volume = disk->volume,
		.format = disk->format,
		.encryption = disk->encryption,
		.secret_fd = make->keys ? disk_keys_fd(make->keys, 0) : -1,
		.size_bytes = disk->size_bytes,
		.sparse = make->sparse,
		.deadline_ms = IMAGE_DEADLINE_MS,
	};

	make->image = image_create_new(make->engine->base, &request, on_image, make, err);
	return make->image;
}

/* --- key --- */

static bool find_key(DiskMake *make, Error *err);

static void on_key_made(void *context, IpcMessage *answer, const Error *err)
{
	DiskMake *make = context;
	Error failure = err ? *err : ERROR_INIT;

	make->asking = false;
	if (answer) {
		make->key = *(const KeyRecord *)answer->payload;
		make->fresh_key = true;
		memcpy(disk_of(make)->key, make->key.id, KEY_ID_BYTES);
	}
	if (make->abandoned) {
		if (answer)
			owe_key(make);
		free(make);
		return;
	}
	if (err || !find_key(make, &failure))
		fail(make, &failure);
}

static bool make_key(DiskMake *make, Error *err)
{
	KeydCreate create = { .purpose = KEY_IMAGE, .epoch = make->epoch };

	snprintf(create.who, sizeof(create.who), "%s", make->who);
	snprintf(create.vm, sizeof(create.vm), "%s", make->alone.uuid);
	snprintf(create.owner, sizeof(create.owner), "%s", make->owner);
	snprintf(create.slot, sizeof(create.slot), "%s", disk_of(make)->volume);
	snprintf(create.backend, sizeof(create.backend), "%s", make->engine->config.keys.default_backend);
	make->asking = keys_request(make->engine, KEYD_CREATE, &keyd_create_schema, &create, KEYD_KEY,
				    on_key_made, make, NULL, err);
	return make->asking;
}

/* One that is there already is taken: of an earlier try, or, of a VM of our own, made by hand. */
static void on_key(void *context, const Error *err)
{
	DiskMake *make = context;
	bool none = err && err->category == ERROR_NOT_FOUND && !make->fresh_key;
	Error failure = err ? *err : ERROR_INIT;
	bool ok;

	make->asking = false;
	if (err || make->abandoned)
		disk_keys_free(TAKE_PTR(make->keys));
	if (make->abandoned) {
		if (make->fresh_key)
			owe_key(make);
		free(make);
		return;
	}
	if (!err)
		disk_keys_name(make->keys, &make->alone);
	ok = err ? none && make_key(make, &failure) : make_image(make, &failure);
	if (!ok)
		fail(make, &failure);
}

static bool find_key(DiskMake *make, Error *err)
{
	/* What a peer's VM brings here never takes a key that is in use, nor leads to its destruction. */
	const DiskKeysWanted wanted = { .manifest = &make->alone,
					.epoch = make->epoch,
					.who = make->who,
					.for_copies = make->peer_domain[0] != '\0' };

	make->keys = disk_keys_new(make->engine, &wanted, on_key, make, err);
	make->asking = make->keys != NULL;
	return make->keys;
}

/* --- the beginning --- */

DiskMake *disk_make_new(Engine *engine, const DiskMakeWanted *wanted, DiskMakeDone *done, void *context,
			Error *err)
{
	AUTO_FREE DiskMake *make = calloc(1, sizeof(*make));
	bool ok;

	if (!make) {
		error_set(err, ERROR_INTERNAL, "no memory for an image");
		return NULL;
	}
	make->engine = engine;
	make->done = done;
	make->context = context;
	make->alone = *wanted->manifest;
	make->alone.disks_count = 1;
	make->alone.disks[0] = wanted->manifest->disks[wanted->disk];
	make->epoch = wanted->epoch;
	make->sparse = wanted->sparse;
	snprintf(make->who, sizeof(make->who), "%s", wanted->who);
	snprintf(make->owner, sizeof(make->owner), "%s", wanted->owner);
	if (wanted->peer_domain)
		snprintf(make->peer_domain, sizeof(make->peer_domain), "%s", wanted->peer_domain);
	ok = disk_of(make)->encryption == DISK_LUKS ? find_key(make, err) : make_image(make, err);
	return ok ? TAKE_PTR(make) : NULL;
}

const uint8_t *disk_make_key(const DiskMake *make)
{
	return make->alone.disks[0].key;
}

int disk_make_secret_fd(const DiskMake *make)
{
	return make->keys ? disk_keys_fd(make->keys, 0) : -1;
}

void disk_make_free(DiskMake *make)
{
	if (!make)
		return;
	if (make->asking) {
		make->abandoned = true;
		return;
	}
	image_create_free(make->image);
	disk_keys_free(make->keys);
	if (make->fresh_key)
		owe_key(make);
	free(make);
}
