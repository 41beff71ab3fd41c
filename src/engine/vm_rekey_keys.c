/* SPDX-License-Identifier: Apache-2.0 */
/* What a change of key asks of the key manager. */
#include <stdio.h>
#include <string.h>

#include "engine/disk_keys.h"
#include "engine/vm_rekey_internal.h"

static bool ask(VmRekey *rekey, uint16_t type, const Schema *schema, const void *request,
		uint16_t answer, KeysDone *done, uint64_t *ret_number, Error *err)
{
	RekeyCall *call = rekey_call_new(rekey, err);

	if (!call)
		return false;
	if (keys_request(rekey->engine, type, schema, request, answer, done, call, ret_number, err))
		return true;
	free(call);
	return false;
}

static KeydName name_of(VmRekey *rekey, uint64_t version)
{
	KeydName name = { .version = version };

	memcpy(name.who, rekey->who, sizeof(name.who));
	memcpy(name.id, rekey_disk(rekey)->key, sizeof(name.id));
	return name;
}

/* --- what opens the new image --- */

static void on_opened(void *context, IpcMessage *answer, const Error *err)
{
	VmRekey *rekey = rekey_call_take(context);

	/* Of one that nobody waits for the key manager wipes what it opened after a while. */
	if (!rekey)
		return;
	if (err) {
		rekey->opened = 0;
		rekey_fail(rekey, err);
		return;
	}
	rekey->secret_fd = TAKE_FD(answer->fds[0]);
	rekey_make_image(rekey);
}

static bool open_key(VmRekey *rekey, Error *err)
{
	KeydOpen request = { .version = rekey->files.version, .epoch = rekey->vm->record.epoch };

	memcpy(request.who, rekey->who, sizeof(request.who));
	memcpy(request.vm, rekey->vm->record.manifest.uuid, sizeof(request.vm));
	memcpy(request.id, rekey_disk(rekey)->key, sizeof(request.id));
	return ask(rekey, KEYD_OPEN, &keyd_open_schema, &request, KEYD_OPENED, on_opened,
		   &rekey->opened, err);
}

void rekey_wipe_secret(VmRekey *rekey)
{
	if (rekey->opened)
		keys_used(rekey->engine, rekey->opened);
	rekey->opened = 0;
	cleanup_fd(&rekey->secret_fd);
	rekey->secret_fd = -1;
}

/* --- the new version --- */

static bool take_version(VmRekey *rekey, const KeyRecord *key, Error *err)
{
	rekey->files.version = key->version;
	if (key->version > DISK_REKEY_VERSION_MAX)
		return error_set(err, ERROR_LIMIT, "its key has %llu versions, at most %d",
				 (unsigned long long)key->version, DISK_REKEY_VERSION_MAX);
	return open_key(rekey, err);
}

static void on_rotated(void *context, IpcMessage *answer, const Error *err)
{
	VmRekey *rekey = rekey_call_take(context);
	Error failure = err ? *err : ERROR_INIT;

	if (rekey && (err || !take_version(rekey, answer->payload, &failure)))
		rekey_fail(rekey, &failure);
}

/* A version that an earlier try had made and not used serves now: nobody else has seen it. */
static bool begin_version(VmRekey *rekey, const KeyRecord *newest, Error *err)
{
	const KeydName name = name_of(rekey, newest->version);

	if (newest->purpose != KEY_IMAGE ||
	    strcmp(newest->vm, rekey->vm->record.manifest.uuid) != 0)
		return error_set(err, ERROR_DENIED, "its key is not one of this VM's images");
	if (newest->state != KEY_ACTIVE)
		return error_set(err, ERROR_CONFLICT,
				 "its key is %s: only an active one is changed",
				 key_state_words[newest->state]);
	if (newest->version > disk_key_version(rekey_disk(rekey)) && !newest->exposed_to[0])
		return take_version(rekey, newest, err);
	return ask(rekey, KEYD_ROTATE, &keyd_name_schema, &name, KEYD_KEY, on_rotated, NULL, err);
}

static void on_shown(void *context, IpcMessage *answer, const Error *err)
{
	VmRekey *rekey = rekey_call_take(context);
	Error failure = err ? *err : ERROR_INIT;

	if (rekey && (err || !begin_version(rekey, answer->payload, &failure)))
		rekey_fail(rekey, &failure);
}

void rekey_ask_key(VmRekey *rekey)
{
	const KeydName name = name_of(rekey, 0);
	Error err = ERROR_INIT;

	rekey->stage = REKEY_ASKS;
	if (!ask(rekey, KEYD_SHOW, &keyd_name_schema, &name, KEYD_KEY, on_shown, NULL, &err))
		rekey_fail(rekey, &err);
}

/* --- what went before --- */

static bool list(VmRekey *rekey, Error *err);

static void on_destroyed(void *context, IpcMessage *answer, const Error *err)
{
	VmRekey *rekey = rekey_call_take(context);
	Error failure = err ? *err : ERROR_INIT;

	(void)answer;
	if (!rekey)
		return;
	rekey->cursor = 0;
	if (err || !list(rekey, &failure))
		rekey_fail(rekey, &failure);
}

static bool destroy(VmRekey *rekey, uint64_t version, Error *err)
{
	KeydChange change = { .version = version, .kind = KEYD_DESTROY };

	memcpy(change.who, rekey->who, sizeof(change.who));
	memcpy(change.id, rekey_disk(rekey)->key, sizeof(change.id));
	return ask(rekey, KEYD_CHANGE, &keyd_change_schema, &change, KEYD_CHANGED, on_destroyed,
		   NULL, err);
}

static bool is_old(VmRekey *rekey, const KeyRecord *key)
{
	return !memcmp(key->id, rekey_disk(rekey)->key, sizeof(key->id)) &&
	       key->version < rekey->files.version && key->state != KEY_DESTROYED;
}

static bool remove_old_image(VmRekey *rekey, Error *err)
{
	if (!rekey_files_remove(&rekey->files, err))
		return false;
	rekey_disk_done(rekey);
	return true;
}

/* One at a time, and the list from its beginning after each: it ends when none is left. */
static void on_keys(void *context, IpcMessage *answer, const Error *err)
{
	VmRekey *rekey = rekey_call_take(context);
	const KeydKeys *page = err ? NULL : answer->payload;
	const KeyRecord *old = NULL;
	Error failure = err ? *err : ERROR_INIT;
	bool ok = !err;

	if (!rekey)
		return;
	for (size_t i = 0; page && !old && i < page->keys_count; i++)
		old = is_old(rekey, &page->keys[i]) ? &page->keys[i] : NULL;
	if (page && page->cursor && page->cursor <= rekey->cursor)
		ok = error_set(&failure, ERROR_INTERNAL, "the key manager lists keys without end");
	if (page)
		rekey->cursor = page->cursor;
	if (ok && old)
		ok = destroy(rekey, old->version, &failure);
	else if (ok)
		ok = rekey->cursor ? list(rekey, &failure) : remove_old_image(rekey, &failure);
	if (!ok)
		rekey_fail(rekey, &failure);
}

static bool list(VmRekey *rekey, Error *err)
{
	KeydList request = { .cursor = rekey->cursor };

	memcpy(request.who, rekey->who, sizeof(request.who));
	memcpy(request.vm, rekey->vm->record.manifest.uuid, sizeof(request.vm));
	return ask(rekey, KEYD_LIST, &keyd_list_schema, &request, KEYD_KEYS, on_keys, NULL, err);
}

void rekey_destroy_old(VmRekey *rekey)
{
	Error err = ERROR_INIT;

	rekey->stage = REKEY_DESTROYS;
	rekey->cursor = 0;
	if (!list(rekey, &err))
		rekey_fail(rekey, &err);
}
