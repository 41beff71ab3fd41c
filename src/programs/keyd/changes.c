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

static bool send_key(Keyd *keyd, uint64_t subject, const KeyRecord *key, Error *err)
{
	return keyd_tell_head(keyd, err) &&
	       ipc_send(keyd->link, KEYD_KEY, subject, &key_record_schema, key, NULL, 0, err);
}

/* A value for the record, made now. */
static Secret *make_value(KeyRecord *key, Error *err)
{
	AUTO_SECRET Secret *value = random_secret(KEY_BYTES, err);

	if (!value || !key_fingerprint(key->id, key->version, value, key->fingerprint, err))
		return NULL;
	return TAKE_PTR(value);
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
	const Keyd *keyd;
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
	/* Of a VM that is being copied from one of our hosts to another each has its own. */
	if (!keyd_holds(in_use->keyd, key->id, in_use->wanted->who))
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
	InUse in_use = { .keyd = keyd, .wanted = create };

	if (!holders_read(&keyd->holders, keyd->store, err) ||
	    !each_key(keyd, create->vm, check_not_in_use, &in_use, err))
		return false;
	return in_use.keys < LIMIT_PACKAGE_KEYS ||
	       error_set(err, ERROR_LIMIT, "VM %s has %zu keys in use, at most %d", create->vm,
			 in_use.keys, LIMIT_PACKAGE_KEYS);
}

/* A new key, or a new version, from its making to its answer. */
typedef struct Making {
	uint64_t subject; /* of the request */
	KeydCreate create;
	bool rotates;
	KeyRecord old; /* then */
} Making;

static bool add_created(Keyd *keyd, const Making *making, const KeyRecord *key, const Secret *kept,
			Error *err)
{
	KeyReason reason = keyd_reason(keyd, KEY_CREATED, making->create.who, "");

	return check_room(keyd, &making->create, err) &&
	       (key_store_add(keyd->store, key, kept, &reason, err) || change_failed(err));
}

static bool add_rotated(Keyd *keyd, const Making *making, const KeyRecord *key, const Secret *kept,
			Error *err)
{
	char detail[LIMIT_TEXT] = "rotated";
	KeyReason created = keyd_reason(keyd, KEY_CREATED, making->create.who, detail);
	KeyReason rotated = keyd_reason(keyd, KEY_ROTATED, making->create.who, "");
	KeyRecord retired;

	if (!key_store_get(keyd->store, making->old.id, 0, &retired, err))
		return false;
	if (retired.version != making->old.version || retired.state != KEY_ACTIVE)
		return error_set(err, ERROR_CONFLICT,
				 "the key was changed meanwhile: version %" PRIu64 " is %s",
				 retired.version, key_state_words[retired.state]);
	/* That mark stays with the version that was seen, which goes when nothing is under it any more. */
	if (retired.exposed_to[0])
		snprintf(detail, sizeof(detail),
			 "rotated: %s has seen version %" PRIu64
			 " and reads what is under it until that has a new key of its own",
			 retired.exposed_to, retired.version);
	retired.state = KEY_DEACTIVATED;
	if (!key_store_begin(keyd->store, err))
		return false;
	if (key_store_change(keyd->store, &retired, &rotated, err) &&
	    key_store_add(keyd->store, key, kept, &created, err))
		return key_store_commit(keyd->store, err) || change_failed(err);
	key_store_undo(keyd->store);
	return change_failed(err);
}

/* What it was made for is looked at now: others were served since it was asked for, if its value
 * went elsewhere. `kept`: what our own store keeps of it. */
static bool add(Keyd *keyd, const Making *making, KeyRecord *key, const Secret *kept, Error *err)
{
	int64_t now_s = clock_wall_s(keyd->clock);

	key->created_s = key->changed_s = now_s > 0 ? (uint64_t)now_s : 0;
	return making->rotates ? add_rotated(keyd, making, key, kept, err)
			       : add_created(keyd, making, key, kept, err);
}

static void on_stored(Keyd *keyd, void *context, const KeyRecord *key, const Secret *blob_key,
		      const Error *failure)
{
	AUTO_FREE Making *making = context;
	Error err = ERROR_INIT;
	KeyRecord made;

	if (failure) {
		keyd_fail_later(keyd, making->subject, failure);
		return;
	}
	made = *key;
	if (!add(keyd, making, &made, blob_key, &err)) {
		/* After ERROR_IO it is not certain that the record is not there. */
		if (err.category != ERROR_IO)
			backend_discard(keyd, &made);
		keyd_fail_later(keyd, making->subject, &err);
	} else if (!send_key(keyd, making->subject, &made, &err)) {
		keyd_lose_engine(keyd, &err);
	}
}

/* The one way of all new values. Elsewhere the answer comes later: true. */
static bool make(Keyd *keyd, const Making *wanted, KeyRecord *key, bool *link_ok, Error *err)
{
	AUTO_SECRET Secret *value = make_value(key, err);
	AUTO_FREE Making *making = NULL;

	if (!value)
		return false;
	if (backend_is_embedded(key->backend)) {
		if (!add(keyd, wanted, key, value, err))
			return false;
		*link_ok = send_key(keyd, wanted->subject, key, err);
		return *link_ok;
	}
	making = calloc(1, sizeof(*making));
	if (!making)
		return error_set(err, ERROR_INTERNAL, "no memory for a request");
	*making = *wanted;
	if (!backend_store(keyd, making->create.who, key, value, on_stored, making, err))
		return false;
	(void)TAKE_PTR(making);
	return true;
}

bool keyd_on_create(Keyd *keyd, const IpcMessage *message, bool *link_ok, Error *err)
{
	const KeydCreate *create = message->payload;
	const Making making = { .subject = message->subject, .create = *create };
	KeyRecord key = { .version = 1,
			  .purpose = create->purpose,
			  .state = KEY_ACTIVE,
			  .epoch = create->epoch };

	if (!keyd_limit(keyd, LIMITED_CHANGE, create->who, err) ||
	    !backend_check(keyd, create->backend, err) || !check_room(keyd, create, err) ||
	    !random_bytes(key.id, sizeof(key.id), err))
		return false;
	snprintf(key.vm, sizeof(key.vm), "%s", create->vm);
	snprintf(key.owner, sizeof(key.owner), "%s", create->owner);
	snprintf(key.slot, sizeof(key.slot), "%s", create->slot);
	snprintf(key.backend, sizeof(key.backend), "%s", create->backend);
	return make(keyd, &making, &key, link_ok, err);
}

bool keyd_on_rotate(Keyd *keyd, const IpcMessage *message, bool *link_ok, Error *err)
{
	const KeydName *name = message->payload;
	Making making = { .subject = message->subject, .rotates = true };
	KeyRecord fresh;

	if (!keyd_limit(keyd, LIMITED_CHANGE, name->who, err) ||
	    !key_store_get(keyd->store, name->id, 0, &making.old, err))
		return false;
	if (name->version && name->version != making.old.version)
		return error_set(err, ERROR_USAGE,
				 "only the newest version, %" PRIu64 ", can be rotated",
				 making.old.version);
	if (making.old.state != KEY_ACTIVE) {
		error_set(err, ERROR_CONFLICT, "the key is %s; only an active one is rotated",
			  key_state_words[making.old.state]);
		return keyd_refuse(keyd, &making.old, name->who, err);
	}
	memcpy(making.create.who, name->who, sizeof(making.create.who));
	fresh = making.old;
	fresh.version++;
	fresh.reference[0] = '\0';
	/* Nobody has seen the new value. */
	memset(fresh.exposed_to, 0, sizeof(fresh.exposed_to));
	return make(keyd, &making, &fresh, link_ok, err);
}

typedef struct Change {
	Keyd *keyd;
	const KeydChange *request;
	uint64_t done;
	DoomedList *doomed; /* blobs of what is destroyed */
} Change;

static void change_clear(Change *change)
{
	free(change->doomed);
}

/* Why an old version goes: there is another one to use. What was encrypted for it the caller knows. */
static void explain(const Change *change, const KeyRecord *key, char *text, size_t size)
{
	KeyRecord newest;
	Error ignored = ERROR_INIT;

	if (change->request->version && key_store_get(change->keyd->store, key->id, 0, &newest, &ignored) &&
	    newest.version > key->version && newest.state == KEY_ACTIVE)
		snprintf(text, size, "replaced by version %" PRIu64, newest.version);
}

static bool step(Change *change, KeyRecord *key, KeyState to, KeyAction action, Error *err)
{
	char detail[LIMIT_TEXT] = "";
	KeyReason reason = keyd_reason(change->keyd, action, change->request->who, detail);

	explain(change, key, detail, sizeof(detail));
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
		ok = doomed_add(&change->doomed, &key, err) &&
		     (key.state == KEY_DEACTIVATED ||
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
	CLEANUP(change_clear) Change change = { .keyd = keyd, .request = request };
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
	/* First what opens them, then, once that is on the disk, the blobs. */
	if (change.doomed) {
		backend_destroy(keyd, request->who, message->subject, TAKE_PTR(change.doomed),
				change.done);
		return true;
	}
	answer = (KeydChanged){ .keys = change.done };
	*link_ok =
		keyd_tell_head(keyd, err) && ipc_send(keyd->link, KEYD_CHANGED, message->subject,
						      &keyd_changed_schema, &answer, NULL, 0, err);
	return *link_ok;
}
