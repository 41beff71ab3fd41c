/* SPDX-License-Identifier: Apache-2.0 */
/* Requests that read. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "programs/keyd/keyd.h"

bool keyd_limit(Keyd *keyd, LimitKind kind, const char *who, Error *err)
{
	return limits_take(&keyd->limits, kind, who, clock_monotonic_us(keyd->clock), err);
}

bool keyd_tell_head(Keyd *keyd, Error *err)
{
	KeydHead head;

	key_store_head(keyd->store, &head.entries, head.chain);
	if (head.entries == keyd->told)
		return true;
	keyd->told = head.entries;
	return ipc_send(keyd->link, KEYD_HEAD, 0, &keyd_head_schema, &head, NULL, 0, err);
}

/* A store that was put back to an earlier day is in order by itself: only who remembers what it was
 * can see it. */
static bool check_head(Keyd *keyd, const KeydHead *known, Error *err)
{
	uint8_t chain[KEY_DIGEST_BYTES];
	KeyLogEntry entry;
	uint64_t entries;
	size_t count = 0;

	key_store_head(keyd->store, &entries, chain);
	if (!known->entries)
		return true;
	if (entries < known->entries)
		return error_set(err, ERROR_AUTH,
				 "the key store has %" PRIu64 " log entries, but had %" PRIu64
				 ": it was put back to an earlier state, or removed",
				 entries, known->entries);
	if (!key_store_log(keyd->store, known->entries, &entry, 1, &count, err))
		return false;
	return (count == 1 && entry.number == known->entries &&
		!memcmp(entry.chain, known->chain, sizeof(entry.chain))) ||
	       error_set(
		       err, ERROR_AUTH,
		       "log entry %" PRIu64
		       " of the key store is not the one that it was: another store is in its place",
		       known->entries);
}

bool keyd_on_start(Keyd *keyd, const IpcMessage *message, bool *link_ok, Error *err)
{
	const KeydHead *known = message->payload;

	if (!check_head(keyd, known, err)) {
		Error failure = *err;

		/* Not one request is answered out of such a store. */
		if (role_send_failure(keyd->link, message->subject, &failure, err))
			*err = failure;
		*link_ok = false;
		return false;
	}
	keyd->told = known->entries;
	*link_ok = keyd_tell_head(keyd, err) &&
		   ipc_send(keyd->link, ROLE_READY, message->subject, NULL, NULL, NULL, 0, err);
	return *link_ok;
}

bool keyd_on_show(Keyd *keyd, const IpcMessage *message, bool *link_ok, Error *err)
{
	const KeydName *name = message->payload;
	KeyRecord key;

	if (!keyd_limit(keyd, LIMITED_READ, name->who, err) ||
	    !key_store_get(keyd->store, name->id, name->version, &key, err))
		return false;
	*link_ok = ipc_send(keyd->link, KEYD_KEY, message->subject, &key_record_schema, &key, NULL,
			    0, err);
	return *link_ok;
}

bool keyd_on_list(Keyd *keyd, const IpcMessage *message, bool *link_ok, Error *err)
{
	const KeydList *list = message->payload;
	KeydKeys *answer = &keyd->keys;

	answer->cursor = list->cursor;
	if (!keyd_limit(keyd, LIMITED_READ, list->who, err) ||
	    !key_store_list(keyd->store, list->vm, &answer->cursor, answer->keys, KEYD_PAGE,
			    &answer->keys_count, err))
		return false;
	*link_ok = ipc_send(keyd->link, KEYD_KEYS, message->subject, &keyd_keys_schema, answer,
			    NULL, 0, err);
	return *link_ok;
}

bool keyd_on_log(Keyd *keyd, const IpcMessage *message, bool *link_ok, Error *err)
{
	const KeydLog *log = message->payload;
	KeydEntries *answer = &keyd->entries;
	uint8_t chain[KEY_DIGEST_BYTES];

	key_store_head(keyd->store, &answer->total, chain);
	if (!keyd_limit(keyd, LIMITED_READ, log->who, err) ||
	    !key_store_log(keyd->store, log->first, answer->entries, KEYD_PAGE,
			   &answer->entries_count, err))
		return false;
	*link_ok = ipc_send(keyd->link, KEYD_ENTRIES, message->subject, &keyd_entries_schema,
			    answer, NULL, 0, err);
	return *link_ok;
}

bool keyd_on_verify(Keyd *keyd, const IpcMessage *message, bool *link_ok, Error *err)
{
	const KeydVerify *verify = message->payload;
	KeydVerified answer = { 0 };

	/* Its steps are counted as one: the engine paces them. */
	if (verify->begin && !keyd_limit(keyd, LIMITED_CHANGE, verify->who, err))
		return false;
	if (verify->begin)
		walk_begin(&keyd->walk);
	if (!walk_step(&keyd->walk, keyd->store, &answer.done, err))
		return error_prefix(err, "verifying");
	answer.entries = keyd->walk.entries;
	answer.keys = keyd->walk.keys;
	*link_ok = ipc_send(keyd->link, KEYD_VERIFIED, message->subject, &keyd_verified_schema,
			    &answer, NULL, 0, err);
	return *link_ok;
}

bool keyd_on_places(Keyd *keyd, const IpcMessage *message, bool *link_ok, Error *err)
{
	const KeydWho *request = message->payload;
	KeydBackends answer = { .backends_count = 1 };
	KeydBackend *embedded = &answer.backends[0];

	if (!keyd_limit(keyd, LIMITED_READ, request->who, err))
		return false;
	snprintf(answer.root, sizeof(answer.root), "%s", keyd->root->type->name);
	snprintf(embedded->name, sizeof(embedded->name), KEY_BACKEND_EMBEDDED);
	snprintf(embedded->type, sizeof(embedded->type), KEY_BACKEND_EMBEDDED);
	snprintf(embedded->text, sizeof(embedded->text), "in the key manager's own store");
	embedded->usable = true;
	*link_ok = ipc_send(keyd->link, KEYD_BACKEND_LIST, message->subject, &keyd_backends_schema,
			    &answer, NULL, 0, err);
	return *link_ok;
}
