/* SPDX-License-Identifier: Apache-2.0 */
/* Requests that read. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "programs/keyd/keyd.h"

enum { LIST_PAGES = 20 };

bool keyd_limit(Keyd *keyd, LimitKind kind, const char *who, Error *err)
{
	char host[LIMIT_SPIFFE_ID];

	/* Whom a host names is its own word: it has one share. */
	keylink_host_of_who(who, host);
	return limits_take(&keyd->limits, kind, host[0] ? host : who, clock_monotonic_us(keyd->clock),
			   err);
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

/* To another host only its own are shown: of a large store some pages at a time, and the cursor says
 * that there is more. */
static bool list_page(Keyd *keyd, const KeydList *list, KeydKeys *answer, Error *err)
{
	bool remote = keyd_is_remote(list->who);

	for (int i = 0; i < LIST_PAGES; i++) {
		if (!key_store_list(keyd->store, list->vm, &answer->cursor, answer->keys, KEYD_PAGE,
				    &answer->keys_count, err))
			return false;
		if (!remote)
			return true;
		keyd_keep_own(keyd, list->who, answer);
		if (answer->keys_count || !answer->cursor)
			return true;
	}
	return true;
}

bool keyd_on_list(Keyd *keyd, const IpcMessage *message, bool *link_ok, Error *err)
{
	const KeydList *list = message->payload;
	KeydKeys *answer = &keyd->keys;

	answer->cursor = list->cursor;
	if (!keyd_limit(keyd, LIMITED_READ, list->who, err) || !list_page(keyd, list, answer, err))
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
	answer.entries = keyd->walk.log.entries;
	answer.keys = keyd->walk.keys;
	*link_ok = ipc_send(keyd->link, KEYD_VERIFIED, message->subject, &keyd_verified_schema,
			    &answer, NULL, 0, err);
	return *link_ok;
}
