/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/vm_tpm.h"

#include <stdio.h>
#include <string.h>

#include "engine/keys.h"
#include "vmm/vtpm.h"

struct TpmKeys {
	Engine *engine;
	char uuid[LIMIT_UUID], owner[LIMIT_DOMAIN], who[KEY_WHO_SIZE];
	uint64_t epoch;
	bool is_coming;
	uint8_t migration[MIGRATION_ID_BYTES];
	uint64_t cursor; /* of the list of keys */
	TpmFound found;
	size_t at;		   /* the key that is being made or opened */
	uint64_t opened[TPM_KEYS]; /* subjects of KEYD_OPEN; 0: none */
	int fds[TPM_KEYS];
	TpmKeysDone *done;
	void *context;
};

static const KeyPurpose purposes[TPM_KEYS] = { KEY_TPM_MIGRATION, KEY_TPM_FILE };

/* --- which keys --- */

void vm_tpm_consider(TpmFound *found, const KeyRecord *key)
{
	for (size_t i = 0; i < TPM_KEYS; i++) {
		if (key->purpose != purposes[i] || strcmp(key->slot, TPM_SLOT) != 0)
			continue;
		if (key->version != TPM_KEY_VERSION) {
			found->rotated[i] |= key->state == KEY_ACTIVE;
			continue;
		}
		if (found->any[i] && found->key[i].state != KEY_DESTROYED)
			continue;
		found->any[i] = true;
		found->key[i] = *key;
	}
}

static bool is_there(const TpmFound *found, size_t i)
{
	return found->any[i] && found->key[i].state != KEY_DESTROYED;
}

bool vm_tpm_judge(const TpmFound *found, bool *ret_make, Error *err)
{
	bool had_keys = found->any[0] || found->any[1];
	char id[KEY_ID_HEX];

	*ret_make = false;
	for (size_t i = 0; i < TPM_KEYS; i++) {
		if (found->has_state && !is_there(found, i))
			return error_set(
				err, ERROR_DENIED,
				"its TPM has state here, and the key manager has no %s key "
				"that opens it",
				key_purpose_words[purposes[i]]);
		if (!is_there(found, i) || found->key[i].state == KEY_ACTIVE ||
		    (found->key[i].state == KEY_DEACTIVATED && found->rotated[i]))
			continue;
		key_id_text(found->key[i].id, id);
		return error_set(err, ERROR_DENIED,
				 "its TPM's key %s is %s: only an active one opens it", id,
				 key_state_words[found->key[i].state]);
	}
	if (found->has_state)
		return true;
	if (had_keys && !found->is_new)
		return error_set(err, ERROR_DENIED,
				 "its TPM has had keys, and its state is not here: it would start "
				 "with an empty one");
	*ret_make = !is_there(found, 0) || !is_there(found, 1);
	return true;
}

bool vm_tpm_judge_coming(const TpmFound *found, const uint8_t *migration, Error *err)
{
	if (found->has_state)
		return error_set(err, ERROR_CONFLICT,
				 "there is state of its TPM on this host already");
	for (size_t i = 0; i < TPM_KEYS; i++)
		if (!found->any[i] || found->key[i].state != KEY_IMPORTED ||
		    memcmp(found->key[i].migration, migration, sizeof(found->key[i].migration)))
			return error_set(err, ERROR_DENIED, "its %s key did not come with it",
					 key_purpose_words[purposes[i]]);
	return true;
}

/* --- asking for them --- */

static void finish(TpmKeys *keys, const Error *failure)
{
	Error err;

	if (!failure) {
		keys->done(keys->context, NULL);
		return;
	}
	err = *failure;
	error_prefix(&err, "TPM");
	keys->done(keys->context, &err);
}

static bool open_next(TpmKeys *keys, Error *err);

static void on_opened(void *context, IpcMessage *answer, const Error *err)
{
	TpmKeys *keys = context;
	Error failure = err ? *err : ERROR_INIT;
	bool ok = !err;

	if (err) {
		keys->opened[keys->at] = 0;
	} else {
		keys->fds[keys->at++] = TAKE_FD(answer->fds[0]);
		if (keys->at == TPM_KEYS) {
			finish(keys, NULL);
			return;
		}
		ok = open_next(keys, &failure);
	}
	if (!ok)
		finish(keys, &failure);
}

static bool open_next(TpmKeys *keys, Error *err)
{
	KeydOpen request = { .version = TPM_KEY_VERSION, .epoch = keys->epoch };

	memcpy(request.who, keys->who, sizeof(request.who));
	memcpy(request.vm, keys->uuid, sizeof(request.vm));
	memcpy(request.id, keys->found.key[keys->at].id, sizeof(request.id));
	memcpy(request.migration, keys->migration, sizeof(request.migration));
	return keys_request(keys->engine, KEYD_OPEN, &keyd_open_schema, &request, KEYD_OPENED,
			    on_opened, keys, &keys->opened[keys->at], err);
}

static bool make_next(TpmKeys *keys, Error *err);

static void on_made(void *context, IpcMessage *answer, const Error *err)
{
	TpmKeys *keys = context;
	Error failure = err ? *err : ERROR_INIT;

	if (answer)
		vm_tpm_consider(&keys->found, answer->payload);
	if (err || !make_next(keys, &failure))
		finish(keys, &failure);
}

/* The one that is missing; both may have been made already, by a start that failed. */
static bool make_next(TpmKeys *keys, Error *err)
{
	KeydCreate create = { .epoch = keys->epoch };
	size_t i = 0;

	while (i < TPM_KEYS && is_there(&keys->found, i))
		i++;
	if (i == TPM_KEYS)
		return open_next(keys, err);
	create.purpose = purposes[i];
	snprintf(create.who, sizeof(create.who), "%s", keys->who);
	snprintf(create.vm, sizeof(create.vm), "%s", keys->uuid);
	snprintf(create.owner, sizeof(create.owner), "%s", keys->owner);
	snprintf(create.slot, sizeof(create.slot), "%s", TPM_SLOT);
	snprintf(create.backend, sizeof(create.backend), "%s",
		 keys->engine->config.keys.default_backend);
	return keys_request(keys->engine, KEYD_CREATE, &keyd_create_schema, &create, KEYD_KEY,
			    on_made, keys, NULL, err);
}

static bool decide(TpmKeys *keys, Error *err)
{
	const Resources *resources = &keys->engine->config.resources;
	bool make = false;

	if (keys->is_coming)
		return vm_tpm_judge_coming(&keys->found, keys->migration, err) &&
		       open_next(keys, err);
	if (!vm_tpm_judge(&keys->found, &make, err))
		return false;
	/* The mark before the keys: one without the other may be made up for, keys without mark
	 * would be a TPM that is lost. */
	if (make && !vtpm_mark_new(resources, keys->uuid, err))
		return false;
	return make_next(keys, err);
}

static bool list(TpmKeys *keys, Error *err);

static void on_keys(void *context, IpcMessage *answer, const Error *err)
{
	TpmKeys *keys = context;
	const KeydKeys *page = err ? NULL : answer->payload;
	Error failure = err ? *err : ERROR_INIT;
	bool ok = !err;

	for (size_t i = 0; page && i < page->keys_count; i++)
		vm_tpm_consider(&keys->found, &page->keys[i]);
	/* A cursor that does not grow would keep us here for good. */
	if (page && page->cursor && page->cursor <= keys->cursor)
		ok = error_set(&failure, ERROR_INTERNAL, "the key manager lists keys without end");
	if (page)
		keys->cursor = page->cursor;
	if (ok)
		ok = keys->cursor ? list(keys, &failure) : decide(keys, &failure);
	if (!ok)
		finish(keys, &failure);
}

static bool list(TpmKeys *keys, Error *err)
{
	KeydList request = { .cursor = keys->cursor };

	memcpy(request.who, keys->who, sizeof(request.who));
	memcpy(request.vm, keys->uuid, sizeof(request.vm));
	return keys_request(keys->engine, KEYD_LIST, &keyd_list_schema, &request, KEYD_KEYS,
			    on_keys, keys, NULL, err);
}

/* --- for a start --- */

static bool look_here(TpmKeys *keys, Error *err)
{
	const Resources *resources = &keys->engine->config.resources;

	return vtpm_check_program(resources, err) &&
	       vtpm_has_state(resources, keys->uuid, &keys->found.has_state, err) &&
	       vtpm_is_new(resources, keys->uuid, &keys->found.is_new, err);
}

TpmKeys *tpm_keys_new(Engine *engine, const TpmKeysWanted *wanted, TpmKeysDone *done, void *context,
		      Error *err)
{
	AUTO_FREE TpmKeys *keys = calloc(1, sizeof(*keys));

	if (!keys) {
		error_set(err, ERROR_INTERNAL, "no memory for the keys of a TPM");
		return NULL;
	}
	if (!engine->keys) {
		error_set(err, ERROR_UNAVAILABLE,
			  "a VM with a TPM needs a key manager, and none is configured");
		return NULL;
	}
	keys->engine = engine;
	snprintf(keys->uuid, sizeof(keys->uuid), "%s", wanted->manifest->uuid);
	snprintf(keys->owner, sizeof(keys->owner), "%s", wanted->owner);
	snprintf(keys->who, sizeof(keys->who), "%s", wanted->who);
	keys->epoch = wanted->epoch;
	keys->is_coming = wanted->migration;
	if (wanted->migration)
		memcpy(keys->migration, wanted->migration, sizeof(keys->migration));
	for (size_t i = 0; i < TPM_KEYS; i++)
		keys->fds[i] = -1;
	keys->done = done;
	keys->context = context;
	if (!look_here(keys, err) || !list(keys, err)) {
		error_prefix(err, "TPM");
		return NULL;
	}
	return TAKE_PTR(keys);
}

void tpm_keys_give(TpmKeys *keys, ResolvedVm *vm)
{
	vm->tpm.migration_key_fd = TAKE_FD(keys->fds[0]);
	vm->tpm.file_key_fd = TAKE_FD(keys->fds[1]);
}

bool tpm_keys_used(const TpmKeys *keys, Error *err)
{
	return vtpm_unmark_new(&keys->engine->config.resources, keys->uuid, err);
}

void tpm_keys_free(TpmKeys *keys)
{
	if (!keys)
		return;
	for (size_t i = 0; i < TPM_KEYS; i++) {
		if (keys->opened[i])
			keys_used(keys->engine, keys->opened[i]);
		cleanup_fd(&keys->fds[i]);
	}
	free(keys);
}
