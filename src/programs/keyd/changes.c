/* SPDX-License-Identifier: Apache-2.0 */
/* Requests that change keys. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "crypto/random.h"
#include "keys/package.h"
#include "programs/keyd/keyd.h"

KeyReason keyd_reason(const Keyd *keyd, KeyAction action, const char *who, const char *detail)
{
	int64_t now_s = clock_wall_s(keyd->clock);

	return (KeyReason){ action, who, detail, now_s > 0 ? (uint64_t)now_s : 0 };
}

bool keyd_refuse(Keyd *keyd, const KeyRecord *key, const char *who, Error *cause)
{
	KeyReason reason = keyd_reason(keyd, KEY_REFUSED, who, cause->text);
	Error failure = ERROR_INIT;

	if (!key_store_note(keyd->store, key, &reason, &failure))
		error_prefix(cause, "(not written down: %.100s)", failure.text);
	return false;
}

/* Of an uncertain change the caller must know that it is one. */
static bool change_failed(Error *err)
{
	if (err->category == ERROR_IO)
		error_prefix(err, "it is not certain whether this was done; look at the key");
	return false;
}

static bool send_key(Keyd *keyd, const IpcMessage *message, const KeyRecord *key, Error *err)
{
	return keyd_tell_head(keyd, err) && ipc_send(keyd->link, KEYD_KEY, message->subject,
						     &key_record_schema, key, NULL, 0, err);
}

/* A value for the record, made now; it is in the store or nowhere. */
static bool add_value(Keyd *keyd, KeyRecord *key, const KeyReason *reason, Error *err)
{
	AUTO_SECRET Secret *value = random_secret(KEY_BYTES, err);

	return value && key_fingerprint(key->id, key->version, value, key->fingerprint, err) &&
	       key_store_add(keyd->store, key, value, reason, err);
}

static bool check_backend(const char *name, Error *err)
{
	return !strcmp(name, KEY_BACKEND_EMBEDDED) ||
	       error_set(err, ERROR_NOT_FOUND, "no back-end \"%.63s\"; there is \"%s\"", name,
			 KEY_BACKEND_EMBEDDED);
}

typedef bool VisitKey(void *context, const KeyRecord *key, Error *err);

/* All keys of a VM, as they are when it begins; visit may change them but adds none. */
static bool each_key(Keyd *keyd, const char *vm, VisitKey *visit, void *context, Error *err)
{
	KeydKeys *page = &keyd->keys;
	uint64_t cursor = 0;

	do {
		if (!key_store_list(keyd->store, vm, &cursor, page->keys, KEYD_PAGE,
				    &page->keys_count, err))
			return false;
		for (size_t i = 0; i < page->keys_count; i++)
			if (!visit(context, &page->keys[i], err))
				return false;
	} while (cursor);
	return true;
}

typedef struct InUse {
	const KeydCreate *wanted;
	size_t keys; /* of the VM */
} InUse;

/* Of two keys in use for one thing nobody would know which one opens it. */
static bool check_not_in_use(void *context, const KeyRecord *key, Error *err)
{
	InUse *in_use = context;
	char id[KEY_ID_HEX];

	if (key->state == KEY_DEACTIVATED || key->state == KEY_DESTROYED)
		return true;
	in_use->keys++;
	if (key->purpose != in_use->wanted->purpose || strcmp(key->slot, in_use->wanted->slot) != 0)
		return true;
	key_id_text(key->id, id);
	return error_set(err, ERROR_CONFLICT, "key %s of VM %s is for %s %s already, and %s", id,
			 key->vm, key_purpose_words[key->purpose], key->slot,
			 key_state_words[key->state]);
}

/* A VM whose keys do not go into one package could not move. */
static bool check_room(Keyd *keyd, const KeydCreate *create, Error *err)
{
	InUse in_use = { .wanted = create };

	if (!each_key(keyd, create->vm, check_not_in_use, &in_use, err))
		return false;
	return in_use.keys < LIMIT_PACKAGE_KEYS ||
	       error_set(err, ERROR_LIMIT, "VM %s has %zu keys in use, at most %d", create->vm,
			 in_use.keys, LIMIT_PACKAGE_KEYS);
}

bool keyd_on_create(Keyd *keyd, const IpcMessage *message, bool *link_ok, Error *err)
{
	const KeydCreate *create = message->payload;
	KeyReason reason = keyd_reason(keyd, KEY_CREATED, create->who, "");
	KeyRecord key = { .version = 1,
			  .purpose = create->purpose,
			  .state = KEY_ACTIVE,
			  .epoch = create->epoch };

	if (!keyd_limit(keyd, LIMITED_CHANGE, create->who, err) ||
	    !check_backend(create->backend, err) || !check_room(keyd, create, err) ||
	    !random_bytes(key.id, sizeof(key.id), err))
		return false;
	snprintf(key.vm, sizeof(key.vm), "%s", create->vm);
	snprintf(key.owner, sizeof(key.owner), "%s", create->owner);
	snprintf(key.slot, sizeof(key.slot), "%s", create->slot);
	snprintf(key.backend, sizeof(key.backend), "%s", create->backend);
	if (!add_value(keyd, &key, &reason, err))
		return change_failed(err);
	key.created_s = key.changed_s = reason.now_s;
	*link_ok = send_key(keyd, message, &key, err);
	return *link_ok;
}

static bool rotate(Keyd *keyd, const KeyRecord *old, KeyRecord *fresh, const char *who, Error *err)
{
	KeyReason created = keyd_reason(keyd, KEY_CREATED, who, "rotated");
	KeyReason rotated = keyd_reason(keyd, KEY_ROTATED, who, "");
	KeyRecord retired = *old;

	*fresh = *old;
	fresh->version++;
	/* Nobody has seen the new value. */
	memset(fresh->exposed_to, 0, sizeof(fresh->exposed_to));
	retired.state = KEY_DEACTIVATED;
	fresh->created_s = fresh->changed_s = created.now_s;
	if (!key_store_begin(keyd->store, err))
		return false;
	if (key_store_change(keyd->store, &retired, &rotated, err) &&
	    add_value(keyd, fresh, &created, err))
		return key_store_commit(keyd->store, err);
	key_store_undo(keyd->store);
	return false;
}

bool keyd_on_rotate(Keyd *keyd, const IpcMessage *message, bool *link_ok, Error *err)
{
	const KeydName *name = message->payload;
	KeyRecord old, fresh;

	if (!keyd_limit(keyd, LIMITED_CHANGE, name->who, err) ||
	    !key_store_get(keyd->store, name->id, 0, &old, err))
		return false;
	if (name->version && name->version != old.version)
		return error_set(err, ERROR_USAGE,
				 "only the newest version, %" PRIu64 ", can be rotated",
				 old.version);
	if (old.state != KEY_ACTIVE) {
		error_set(err, ERROR_CONFLICT, "the key is %s; only an active one is rotated",
			  key_state_words[old.state]);
		return keyd_refuse(keyd, &old, name->who, err);
	}
	if (!rotate(keyd, &old, &fresh, name->who, err))
		return change_failed(err);
	*link_ok = send_key(keyd, message, &fresh, err);
	return *link_ok;
}

typedef struct Change {
	Keyd *keyd;
	const KeydChange *request;
	uint64_t done;
} Change;

static bool step(Change *change, KeyRecord *key, KeyState to, KeyAction action, Error *err)
{
	KeyReason reason = keyd_reason(change->keyd, action, change->request->who, "");

	key->state = to;
	return key_store_change(change->keyd->store, key, &reason, err);
}

static bool change_one(Change *change, const KeyRecord *before, Error *err)
{
	KeyRecord key = *before;
	bool ok = false;

	if (key.state == KEY_EXPORTING || key.state == KEY_IMPORTED)
		return error_set(err, ERROR_CONFLICT,
				 "version %" PRIu64 " is %s: it belongs to its migration",
				 key.version, key_state_words[key.state]);
	switch (change->request->kind) {
	case KEYD_ACTIVATE:
		ok = step(change, &key, KEY_ACTIVE, KEY_ACTIVATED, err);
		break;
	case KEYD_DEACTIVATE:
		ok = step(change, &key, KEY_DEACTIVATED, KEY_RETIRED, err);
		break;
	case KEYD_DESTROY:
	case KEYD_CHANGE_KIND_COUNT:
		ok = (key.state == KEY_DEACTIVATED ||
		      step(change, &key, KEY_DEACTIVATED, KEY_RETIRED, err)) &&
		     step(change, &key, KEY_DESTROYED, KEY_WIPED, err);
		break;
	}
	change->done += ok;
	return ok;
}

static bool change_if_same(void *context, const KeyRecord *key, Error *err)
{
	Change *change = context;

	if (key->state == KEY_DESTROYED ||
	    memcmp(key->id, change->request->id, sizeof(key->id)) != 0)
		return true;
	return change_one(change, key, err);
}

static bool change_all(Change *change, const KeyRecord *named, Error *err)
{
	Keyd *keyd = change->keyd;
	bool every = change->request->kind == KEYD_DESTROY && !change->request->version;

	if (!key_store_begin(keyd->store, err))
		return false;
	if (every ? each_key(keyd, named->vm, change_if_same, change, err)
		  : change_one(change, named, err))
		return key_store_commit(keyd->store, err);
	key_store_undo(keyd->store);
	return false;
}

bool keyd_on_change(Keyd *keyd, const IpcMessage *message, bool *link_ok, Error *err)
{
	const KeydChange *request = message->payload;
	Change change = { .keyd = keyd, .request = request };
	KeydChanged answer;
	KeyRecord named;

	if (!keyd_limit(keyd, LIMITED_CHANGE, request->who, err) ||
	    !key_store_get(keyd->store, request->id, request->version, &named, err))
		return false;
	if (!change_all(&change, &named, err))
		return err->category == ERROR_CONFLICT
			       ? keyd_refuse(keyd, &named, request->who, err)
			       : change_failed(err);
	if (!change.done)
		return error_set(err, ERROR_CONFLICT, "the key is destroyed already");
	answer.keys = change.done;
	*link_ok =
		keyd_tell_head(keyd, err) && ipc_send(keyd->link, KEYD_CHANGED, message->subject,
						      &keyd_changed_schema, &answer, NULL, 0, err);
	return *link_ok;
}
