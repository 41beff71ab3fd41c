/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store verified in steps, each short enough that other requests do not wait: the chain of the
 * log, entry by entry, up to the end that is under a MAC; then each record, against its last entry,
 * and each value that is in our store, which must open. What is written meanwhile is verified too.
 *
 * The file's indexes and the emptied envelopes of destroyed keys are not looked at: only
 * key_store_verify, for which nobody else may use the store, does that.
 */
#ifndef SEALIFT_PROGRAMS_KEYD_WALK_H
#define SEALIFT_PROGRAMS_KEYD_WALK_H

#include "keys/key_store.h"

enum { WALK_STEP = 64 }; /* entries or keys of one step */

typedef struct Walk {
	bool running, in_keys;
	uint64_t entries; /* verified */
	uint64_t added;	  /* keys that these entries tell of */
	uint64_t keys;	  /* verified */
	uint64_t cursor;  /* of key_store_list */
	uint8_t chain[KEY_DIGEST_BYTES];
} Walk;

void walk_begin(Walk *walk);
/* One step; *ret_done with the last, and the walk is over then. ERROR_AUTH names the entry or key
 * that is not what it was, ERROR_CONFLICT if no walk was begun, ERROR_IO; the walk is over then
 * too. */
MUST_CHECK bool walk_step(Walk *walk, KeyStore *store, bool *ret_done, Error *err);

#endif
