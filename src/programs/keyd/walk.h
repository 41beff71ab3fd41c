/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store verified in steps, each short enough that other requests do not wait: the chain of the
 * log, entry by entry, up to the end that is under a MAC; then each record, against its last entry,
 * with its envelope, which must open, or be empty if the key is destroyed. What is written
 * meanwhile is verified too. The file and its indexes are looked at first, in one step, the only
 * long one: about a second for 100,000 keys.
 *
 * It counts on the way what only the log knows: who made the keys.
 */
#ifndef SEALIFT_PROGRAMS_KEYD_WALK_H
#define SEALIFT_PROGRAMS_KEYD_WALK_H

#include "programs/keyd/holders.h"

enum { WALK_STEP = 64 }; /* entries or keys of one step */

typedef enum WalkPart { WALK_NOTHING, WALK_FILE, WALK_LOG, WALK_KEYS } WalkPart;

typedef struct Walk {
	WalkPart part;
	KeyLogWalk log;
	uint64_t created; /* of the keys that it tells of, made here by others than root
			     (walk_is_root) */
	uint64_t keys;	  /* verified */
	Holders *holders; /* that learn from the log; or NULL */
	uint64_t cursor;  /* of key_store_verify_keys */
} Walk;

/* Whether the log's `who` is root, which no share of the store bounds. */
bool walk_is_root(const char *who);

void walk_begin(Walk *walk);
/* One step; *ret_done with the last, and the walk is over then. ERROR_AUTH names the entry or key
 * that is not what it was, ERROR_CONFLICT if no walk was begun, ERROR_IO; the walk is over then
 * too. */
MUST_CHECK bool walk_step(Walk *walk, KeyStore *store, bool *ret_done, Error *err);

#endif
