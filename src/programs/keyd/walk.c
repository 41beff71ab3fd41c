/* SPDX-License-Identifier: Apache-2.0 */
#include "programs/keyd/walk.h"

#include <inttypes.h>
#include <string.h>

#include "base/buffer.h"
#include "crypto/digest.h"
#include "keys/key_store_transfers.h"
#include "wire/json.h"

enum { ENTRY_MAX = 4096 }; /* bytes of an entry's JSON; its schema allows less than 3 KiB */

bool walk_is_root(const char *who)
{
	return !strcmp(who, "uid 0");
}

void walk_begin(Walk *walk)
{
	*walk = (Walk){ .part = WALK_FILE };
}

/* An entry's chain is made of its JSON without that member, which comes last (keys/key_store.h). */
static bool chain_of(const Walk *walk, const KeyLogEntry *entry, uint8_t ret[KEY_DIGEST_BYTES],
		     Error *err)
{
	AUTO_BUFFER Buffer json = BUFFER_INIT(ENTRY_MAX);
	Schema unchained = key_log_entry_schema;

	unchained.n_fields--;
	return json_encode_plain(&unchained, entry, &json, err) &&
	       digest_sha384_pair(walk->chain, sizeof(walk->chain), json.data, json.used, ret, err);
}

static bool walk_entry(Walk *walk, const KeyLogEntry *entry, Error *err)
{
	bool adds = entry->action == KEY_CREATED || entry->action == KEY_RECEIVED;
	uint8_t chain[KEY_DIGEST_BYTES];

	if (entry->number != walk->entries + 1)
		return error_set(err, ERROR_AUTH, "log entry %" PRIu64 " is missing",
				 walk->entries + 1);
	if (!chain_of(walk, entry, chain, err))
		return false;
	if (memcmp(chain, entry->chain, sizeof(chain)) != 0)
		return error_set(err, ERROR_AUTH,
				 "log entry %" PRIu64 " or the one before was changed",
				 entry->number);
	if (adds ? entry->row != walk->added + 1 : entry->row > walk->added)
		return error_set(err, ERROR_AUTH,
				 "log entry %" PRIu64 " is about a record that it cannot know",
				 entry->number);
	memcpy(walk->chain, chain, sizeof(chain));
	walk->entries = entry->number;
	walk->added += adds;
	walk->created += entry->action == KEY_CREATED && !walk_is_root(entry->who);
	return true;
}

/* *ret_end: no entry is left, and the last one is the one that is under the MAC. */
static bool step_log(Walk *walk, KeyStore *store, bool *ret_end, Error *err)
{
	KeyLogEntry entries[WALK_STEP / 4];
	uint8_t chain[KEY_DIGEST_BYTES];
	uint64_t total;
	size_t count = 0;

	for (size_t done = 0; done < WALK_STEP; done += ARRAY_SIZE(entries)) {
		if (!key_store_log(store, walk->entries + 1, entries, ARRAY_SIZE(entries), &count,
				   err))
			return false;
		for (size_t i = 0; i < count; i++)
			if (!walk_entry(walk, &entries[i], err))
				return false;
		if (count < ARRAY_SIZE(entries))
			break;
	}
	*ret_end = count < ARRAY_SIZE(entries);
	if (!*ret_end)
		return true;
	key_store_head(store, &total, chain);
	return (total == walk->entries && !memcmp(chain, walk->chain, sizeof(chain))) ||
	       error_set(err, ERROR_AUTH,
			 "the log ends with entry %" PRIu64 ", though it had %" PRIu64,
			 walk->entries, total);
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
	return walk->keys == walk->added ||
	       error_set(err, ERROR_AUTH,
			 "there are %" PRIu64 " records of keys, the log tells of %" PRIu64,
			 walk->keys, walk->added);
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
