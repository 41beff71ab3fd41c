/* SPDX-License-Identifier: Apache-2.0 */
#include "programs/keyd/walk.h"

#include <inttypes.h>
#include <string.h>

#include "keys/key_store_transfers.h"

bool walk_is_root(const char *who)
{
	return !strcmp(who, "uid 0");
}

void walk_begin(Walk *walk)
{
	*walk = (Walk){ .part = WALK_FILE };
}

static void count_entry(void *context, const KeyLogEntry *entry)
{
	Walk *walk = context;

	if (walk->holders)
		holders_note(walk->holders, entry);
	walk->created += entry->action == KEY_CREATED && !walk_is_root(entry->who);
}

static bool step_log(Walk *walk, KeyStore *store, bool *ret_end, Error *err)
{
	return key_store_verify_log(store, &walk->log, WALK_STEP, count_entry, walk, ret_end, err);
}

static bool step_keys(Walk *walk, KeyStore *store, bool *ret_done, Error *err)
{
	size_t count = 0;
	bool end = false;

	if (!key_store_verify_keys(store, &walk->cursor, WALK_STEP, &count, err))
		return false;
	walk->keys += count;
	if (walk->cursor)
		return true;
	/* What was written since the log was read through: little, and all of it now, so that the
	 * two counts are of one moment. */
	while (!end)
		if (!step_log(walk, store, &end, err))
			return false;
	*ret_done = true;
	return walk->keys == walk->log.added ||
	       error_set(err, ERROR_AUTH,
			 "there are %" PRIu64 " records of keys, the log tells of %" PRIu64,
			 walk->keys, walk->log.added);
}

bool walk_step(Walk *walk, KeyStore *store, bool *ret_done, Error *err)
{
	static const uint8_t no_migration[16];
	bool end = false, ok = false, known;
	TransferRecord transfer;

	*ret_done = false;
	switch (walk->part) {
	case WALK_NOTHING:
		return error_set(err, ERROR_CONFLICT, "no verification is under way");
	case WALK_FILE:
		/* Reading any of the moves judges all of them. */
		ok = key_store_check_file(store, err) &&
		     key_store_transfer_get(store, no_migration, &transfer, &known, err);
		walk->part = WALK_LOG;
		break;
	case WALK_LOG:
		ok = step_log(walk, store, &end, err);
		walk->part = end ? WALK_KEYS : WALK_LOG;
		break;
	case WALK_KEYS:
		ok = step_keys(walk, store, ret_done, err);
		break;
	}
	if (!ok || *ret_done)
		walk->part = WALK_NOTHING;
	return ok;
}
