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
static int open_value(Keyd *keyd, const IpcMessage *message, const KeyRecord *key, Error *err)
{
	const KeydOpen *request = message->payload;
	AUTO_SECRET Secret *value = key_store_value(keyd->store, key, err);
	AUTO_SECRET Secret *passphrase = value ? key_passphrase(value, err) : NULL;
	KeyReason reason = keyd_reason(keyd, KEY_OPENED, request->who, "");

	if (!passphrase || !key_store_note(keyd->store, key, &reason, err))
		return -1;
	return opened_make(&keyd->opened, message->subject, passphrase,
			   clock_monotonic_us(keyd->clock), err);
}

bool keyd_on_open(Keyd *keyd, const IpcMessage *message, bool *link_ok, Error *err)
{
	const KeydOpen *request = message->payload;
	AUTO_FD int fd = -1;
	KeyRecord key;

	if (!keyd_limit(keyd, LIMITED_CHANGE, request->who, err) ||
	    !key_store_get(keyd->store, request->id, request->version, &key, err))
		return false;
	if (!check_request(request, &key, err))
		return keyd_refuse(keyd, &key, request->who, err);
	fd = open_value(keyd, message, &key, err);
	if (fd < 0)
		return false;
	*link_ok = keyd_tell_head(keyd, err) && ipc_send(keyd->link, KEYD_OPENED, message->subject,
							 &key_record_schema, &key, &fd, 1, err);
	return *link_ok;
}

bool keyd_on_used(Keyd *keyd, const IpcMessage *message, bool *link_ok, Error *err)
{
	(void)link_ok;
	(void)err;
	opened_wipe(&keyd->opened, message->subject);
	return true;
}
