/* SPDX-License-Identifier: Apache-2.0 */
/* The shares of the store's room: what one VM has, and what others than root made. */
#include <inttypes.h>

#include "programs/keyd/keyd.h"

enum { PAGE = 16 };

/* The log says who made which key; what is new in it is read once. */
static bool count_created(Keyd *keyd, Error *err)
{
	KeyLogEntry entries[PAGE];
	size_t count = PAGE;

	while (count == PAGE) {
		if (!key_store_log(keyd->store, keyd->counted + 1, entries, PAGE, &count, err))
			return false;
		for (size_t i = 0; i < count; i++)
			keyd->created +=
				entries[i].action == KEY_CREATED && !walk_is_root(entries[i].who);
		keyd->counted += count;
	}
	return true;
}

static bool check_made(Keyd *keyd, const char *who, Error *err)
{
	if (walk_is_root(who))
		return true;
	return count_created(keyd, err) && (keyd->created < LIMIT_KEYS_OTHERS ||
					    error_set(err, ERROR_LIMIT,
						      "callers other than root have made %" PRIu64
						      " keys, at most %d: only root makes more",
						      keyd->created, LIMIT_KEYS_OTHERS));
}

/* Each host has a share of its own: none can fill another's. */
static bool check_vm(Keyd *keyd, const char *who, const char *vm, Error *err)
{
	KeydKeys *page = &keyd->keys;
	uint64_t cursor = 0, kept = 0;

	do {
		if (!key_store_list(keyd->store, vm, &cursor, page->keys, KEYD_PAGE,
				    &page->keys_count, err))
			return false;
		for (size_t i = 0; i < page->keys_count; i++)
			kept += page->keys[i].state != KEY_DESTROYED &&
				keyd_holds(keyd, page->keys[i].id, who);
	} while (cursor);
	return kept < LIMIT_VM_KEYS ||
	       error_set(err, ERROR_LIMIT,
			 "VM %s has %" PRIu64
			 " keys and versions that are not destroyed, at most %d: destroy old ones",
			 vm, kept, LIMIT_VM_KEYS);
}

bool keyd_check_share(Keyd *keyd, const IpcMessage *message, Error *err)
{
	const KeydCreate *create = message->payload;
	const KeydName *name = message->payload;
	KeyRecord key;

	if (message->type == KEYD_CREATE)
		return check_made(keyd, create->who, err) &&
		       check_vm(keyd, create->who, create->vm, err);
	return key_store_get(keyd->store, name->id, 0, &key, err) &&
	       check_made(keyd, name->who, err) && check_vm(keyd, name->who, key.vm, err);
}
