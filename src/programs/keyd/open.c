/* SPDX-License-Identifier: Apache-2.0 */
/* Requests that give a value away, to a hypervisor of the VM that it belongs to. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "programs/keyd/keyd.h"

static bool check_state(const KeydOpen *request, const KeyRecord *key, Error *err)
{
	switch (key->state) {
	case KEY_ACTIVE:
	case KEY_DEACTIVATED: /* its data is still there to be read */
		return true;
	case KEY_IMPORTED:
		return !memcmp(request->migration, key->migration, sizeof(key->migration)) ||
		       error_set(err, ERROR_DENIED, "the key came with another migration");
	case KEY_PRE_ACTIVE:
	case KEY_EXPORTING: /* the VM may run at the other side by now */
	case KEY_DESTROYED:
	case KEY_STATE_COUNT:
		break;
	}
	return error_set(err, ERROR_CONFLICT, "the key is %s: it opens nothing",
			 key_state_words[key->state]);
}

static bool check_request(const KeydOpen *request, const KeyRecord *key, Error *err)
{
	if (strcmp(request->vm, key->vm) != 0)
		return error_set(err, ERROR_DENIED, "the key is of another VM than %s",
				 request->vm);
	if (request->epoch < key->epoch)
		return error_set(err, ERROR_DENIED,
				 "the VM's epoch is %" PRIu64 ", the key's %" PRIu64
				 ": an older copy of the VM",
				 request->epoch, key->epoch);
	return check_state(request, key, err);
}

/* The note comes before the value leaves: what is not in the log was not opened. */
static int open_value(Keyd *keyd, uint64_t subject, const KeydOpen *request, const KeyRecord *key,
		      const Secret *value, Error *err)
{
	AUTO_SECRET Secret *passphrase = key_passphrase(value, err);
	KeyReason reason = keyd_reason(keyd, KEY_OPENED, request->who, "");

	if (!passphrase || !key_store_note(keyd->store, key, &reason, err))
		return -1;
	return opened_make(&keyd->opened, subject, passphrase, clock_monotonic_us(keyd->clock),
			   err);
}

static bool give(Keyd *keyd, uint64_t subject, const KeydOpen *request, const KeyRecord *key,
		 const Secret *value, bool *link_ok, Error *err)
{
	AUTO_FD int fd = open_value(keyd, subject, request, key, value, err);

	if (fd < 0)
		return false;
	*link_ok = keyd_tell_head(keyd, err) &&
		   ipc_send(keyd->link, KEYD_OPENED, subject, &key_record_schema, key, &fd, 1, err);
	return *link_ok;
}

/* The record, if this request may open it. */
static bool judge(Keyd *keyd, const KeydOpen *request, KeyRecord *ret_key, Error *err)
{
	if (!key_store_get(keyd->store, request->id, request->version, ret_key, err))
		return false;
	return check_request(request, ret_key, err) ||
	       keyd_refuse(keyd, ret_key, request->who, err);
}

/* One whose value is on its way here from another key manager. */
typedef struct Opening {
	uint64_t subject;
	KeydOpen request;
	KeyRecord key;
} Opening;

static void on_fetched(Keyd *keyd, void *context, const Secret *value, const Error *failure)
{
	AUTO_FREE Opening *opening = context;
	bool link_ok = true;
	Error err = ERROR_INIT;
	KeyRecord key;

	if (failure) {
		err = *failure;
		/* Not what was given there: somebody should know. */
		if (err.category == ERROR_AUTH || err.category == ERROR_PEER)
			keyd_refuse(keyd, &opening->key, opening->request.who, &err);
		keyd_fail_later(keyd, opening->subject, &err);
		return;
	}
	/* It may have been changed since. */
	if (judge(keyd, &opening->request, &key, &err) &&
	    give(keyd, opening->subject, &opening->request, &key, value, &link_ok, &err))
		return;
	if (link_ok)
		keyd_fail_later(keyd, opening->subject, &err);
	else
		keyd_lose_engine(keyd, &err);
}

static bool fetch(Keyd *keyd, const IpcMessage *message, const KeyRecord *key, Error *err)
{
	AUTO_FREE Opening *opening = calloc(1, sizeof(*opening));

	if (!opening)
		return error_set(err, ERROR_INTERNAL, "no memory for a request");
	*opening = (Opening){ message->subject, *(const KeydOpen *)message->payload, *key };
	if (!backend_fetch(keyd, key, on_fetched, opening, err))
		return false;
	(void)TAKE_PTR(opening);
	return true;
}

bool keyd_on_open(Keyd *keyd, const IpcMessage *message, bool *link_ok, Error *err)
{
	const KeydOpen *request = message->payload;
	AUTO_SECRET Secret *value = NULL;
	KeyRecord key;

	if (!keyd_limit(keyd, LIMITED_CHANGE, request->who, err) ||
	    !judge(keyd, request, &key, err))
		return false;
	if (!backend_is_embedded(key.backend))
		return fetch(keyd, message, &key, err);
	value = key_store_value(keyd->store, &key, err);
	return value && give(keyd, message->subject, request, &key, value, link_ok, err);
}

bool keyd_on_used(Keyd *keyd, const IpcMessage *message, bool *link_ok, Error *err)
{
	(void)link_ok;
	(void)err;
	opened_wipe(&keyd->opened, message->subject);
	return true;
}
