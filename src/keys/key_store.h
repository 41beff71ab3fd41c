/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The key manager's own store: one SQLite database, held by one process. A row for each key and
 * version, its envelope, and an entry of the log for each change, in the same transaction. No row
 * is ever removed: a destroyed key keeps its record and its log.
 *
 * The log is a chain: each entry's chain is SHA-384 over the chain before (48 zeros at first) and
 * the entry's JSON. The number of entries and the last chain are kept with a MAC (HMAC-SHA-384)
 * under a key that is wrapped by the root key: nobody without it changes, removes, adds or cuts off
 * entries unseen. An entry names the digest of the record as it was then, and each record that is
 * read is compared with its last entry. What no file can show by itself is that all of it was put
 * back to an earlier day: keep number and chain of the newest entry elsewhere, where that matters.
 *
 * What is overwritten is gone from the database and from its journal:
 *
 *   secure_delete=ON      SQLite fills with zeros what it frees
 *   table of envelopes    grows at its end only, and its rows keep their size: each stays where it
 *                         was first put, and no copy is left by moving it
 *   journal_mode=PERSIST  the rollback journal holds what a transaction changed, as it was before:
 *                         it is not unlinked, which would let its blocks go as they are, but filled
 *                         with zeros and synced, after each transaction that sealed anew or
 *                         destroyed, and when the store is opened, before any answer is given
 *   synchronous=EXTRA     what returned true survives a power cut
 *
 * A write-ahead log is not used, since it keeps what was overwritten. Copies that the file system
 * or the device makes on its own (snapshots, copy on write, flash) are beyond reach: then the root
 * key and a new master key of the image are what helps.
 */
#ifndef SEALIFT_KEYS_KEY_STORE_H
#define SEALIFT_KEYS_KEY_STORE_H

#include "keys/key_wrap.h"

enum {
	KEY_WHO_SIZE = 256,
	KEY_LOG_PAGE_MAX = 1000, /* entries of one call */
	KEY_DIGEST_BYTES = 48,
};

typedef enum KeyAction {
	KEY_CREATED,
	KEY_ACTIVATED,
	KEY_OPENED,    /* its value was given to a hypervisor */
	KEY_ROTATED,   /* a new version came; this one is deactivated */
	KEY_OFFERED,   /* its package was made: exporting */
	KEY_RECEIVED,  /* imported */
	KEY_RETURNED,  /* the other side discarded it: active again, exposed */
	KEY_DISCARDED, /* an import was undone: destroyed */
	KEY_RETIRED,   /* deactivated */
	KEY_WIPED,     /* destroyed: the wrapping key is overwritten */
	KEY_REFUSED,   /* what was asked for was not done; the reason is the detail */
	KEY_KEPT,      /* the other side has it too, as was agreed: active again, exposed */
	KEY_ATTESTED,  /* a receipt of the other side was judged and is good; or nothing was there */
	KEY_ACTION_COUNT,
} KeyAction;
extern const char *const key_action_words[KEY_ACTION_COUNT];

typedef struct KeyLogEntry {
	uint64_t number; /* from 1, without gaps */
	uint64_t time_s;
	KeyAction action;
	uint8_t key[KEY_ID_BYTES]; /* zeros: refused before any key was known */
	uint64_t version;	   /* 0 then */
	uint64_t row;		   /* which record of it: the cursor of key_store_list. 0 then */
	KeyState from, to;	   /* equal where the state does not change */
	uint8_t record[KEY_DIGEST_BYTES]; /* SHA-384 of the record's JSON after it; zeros without
					     key */
	char who[KEY_WHO_SIZE];		  /* "uid 0", "spiffe://...", "migration HEX" */
	char detail[LIMIT_TEXT];
	uint8_t chain[KEY_DIGEST_BYTES]; /* SHA-384 of the chain before and the JSON of all above */
} KeyLogEntry;
extern const Schema key_log_entry_schema;

typedef struct KeyStore KeyStore;

/* Opens or creates the database (mode 0600; refused if it is another user's or others may use it).
 * ERROR_CONFIG if it cannot be that, was made by a newer Sealift or is no key store, ERROR_CONFLICT
 * if another process holds it, ERROR_AUTH if the root key is not the one it was made with or the
 * end of the log is not what it was, ERROR_IO. The root key is borrowed for the store's life. */
MUST_CHECK KeyStore *key_store_open(const char *path, RootKey *root, Error *err);
/* Undoes what was begun and not committed. NULL is fine. */
void key_store_free(KeyStore *store);
DEFINE_CLEANUP(KeyStore, key_store, key_store_free)
#define AUTO_KEY_STORE CLEANUP(key_store_cleanup)

/*
 * All changes between these two are made together, at the commit, or not at all: the keys of a VM,
 * or a new version and the end of the old. After one of them failed the commit fails too, with
 * ERROR_CONFLICT. Reading in between sees what was changed. Without them each change stands for
 * itself.
 *
 * Durable when it returned true. After ERROR_IO it is not certain whether the changes were made,
 * and if a key was destroyed, not whether its bytes are gone: key_store_get tells the one, the next
 * change or opening that succeeds makes sure of the other.
 */
MUST_CHECK bool key_store_begin(KeyStore *store, Error *err);
MUST_CHECK bool key_store_commit(KeyStore *store, Error *err);
/* Without a begin it does nothing: for all ways out. */
void key_store_undo(KeyStore *store);

/* What a change says of itself in the log. */
typedef struct KeyReason {
	KeyAction action;
	const char *who;    /* 1..KEY_WHO_SIZE-1 printable characters, or ERROR_USAGE */
	const char *detail; /* "" if there is nothing to add; cut at LIMIT_TEXT */
	uint64_t now_s;
} KeyReason;

/*
 * Adds a key in its first state: pre-active or active (KEY_CREATED), or imported (KEY_RECEIVED).
 * Its times become the reason's. `kept` is its value, or for another back-end the blob key of
 * key_blob_seal, or NULL if that back-end keeps the bare value. ERROR_AUTH if the value has not the
 * record's fingerprint, ERROR_USAGE for a bad record (key_record_check), or an action that does not
 * lead to this state. ERROR_LIMIT past LIMIT_KEYS.
 *
 * ERROR_CONFLICT if the id was there with this version or a later one, or for something else
 * (purpose, VM, owner, slot). Only a key that was destroyed may come again as it was, by
 * KEY_RECEIVED.
 */
MUST_CHECK bool key_store_add(KeyStore *store, const KeyRecord *key, const Secret *kept,
			      const KeyReason *reason, Error *err);

/*
 * Changes the state, and with it epoch, back-end's reference, exposure and migration; the value is
 * sealed anew for it. To KEY_DESTROYED: the wrapping key and the sealed value are overwritten with
 * zeros, in the journal too, before it returns.
 *
 * ERROR_CONFLICT with both states if `changed` may not follow, or if something changed that never
 * may: what names the key, and the mark of its exposure, which may be set but not be taken away; a
 * key that returns must have one. ERROR_NOT_FOUND; ERROR_USAGE, ERROR_AUTH as above.
 */
MUST_CHECK bool key_store_change(KeyStore *store, const KeyRecord *changed, const KeyReason *reason,
				 Error *err);

/* Writes a log entry alone: KEY_OPENED, KEY_REFUSED, KEY_ATTESTED. `key` names it by id and version; NULL if none
 * was known. ERROR_NOT_FOUND if it is not here. */
MUST_CHECK bool key_store_note(KeyStore *store, const KeyRecord *key, const KeyReason *reason,
			       Error *err);

/* The newest version with version 0. ERROR_NOT_FOUND; ERROR_AUTH if the record is not what its last
 * log entry says. */
MUST_CHECK bool key_store_get(KeyStore *store, const uint8_t id[KEY_ID_BYTES], uint64_t version,
			      KeyRecord *ret_key, Error *err);
/* What was given to key_store_add as `kept`, for the key of this id and version; owned by the
 * caller. ERROR_CONFLICT if it is destroyed or nothing was kept, ERROR_NOT_FOUND, ERROR_AUTH. */
MUST_CHECK Secret *key_store_value(KeyStore *store, const KeyRecord *key, Error *err);

/* All of a VM ("" for all VMs), in order of creation, at most `count` after the row *cursor (0 at
 * first), which it moves; *cursor is 0 again when no more are left. */
MUST_CHECK bool key_store_list(KeyStore *store, const char *vm, uint64_t *cursor,
			       KeyRecord *ret_keys, size_t count, size_t *ret_count, Error *err);
/* Entries from `first` on, at most `count` and KEY_LOG_PAGE_MAX; 0 of them past the end. */
MUST_CHECK bool key_store_log(KeyStore *store, uint64_t first, KeyLogEntry *ret_entries,
			      size_t count, size_t *ret_count, Error *err);
/* The number of entries and the chain of the last (zeros if there is none): what to keep elsewhere.
 */
void key_store_head(const KeyStore *store, uint64_t *ret_entries,
		    uint8_t ret_chain[KEY_DIGEST_BYTES]);
/* Whether the file is whole and each index fits its table. ERROR_AUTH; it takes about a second for
 * 100,000 keys. */
MUST_CHECK bool key_store_check_file(KeyStore *store, Error *err);
/* How far the log was verified; zeros at first. */
typedef struct KeyLogWalk {
	uint64_t entries;
	uint64_t added; /* keys that these entries tell of */
	uint8_t chain[KEY_DIGEST_BYTES];
} KeyLogWalk;
typedef void KeyLogVisit(void *context, const KeyLogEntry *entry);
/* Verifies at most `count` entries after those of *walk, which it moves: that none is missing, that each
 * is chained to the one before, and could have come about. Each is shown to visit, unless that is NULL,
 * once it is judged. *ret_end: none is left, and the last one is the one under the MAC. ERROR_AUTH
 * names the entry. */
MUST_CHECK bool key_store_verify_log(KeyStore *store, KeyLogWalk *walk, size_t count,
				     KeyLogVisit *visit, void *context, bool *ret_end, Error *err);
/* Verifies at most `count` records after row *cursor (0 at first), which it moves, with their
 * envelopes: each opens, or is empty if the key is destroyed. *cursor is 0 again, and as many
 * envelopes as records are there, when none is left. ERROR_AUTH. */
MUST_CHECK bool key_store_verify_keys(KeyStore *store, uint64_t *cursor, size_t count,
				      size_t *ret_count, Error *err);
/* Reads the whole log, each record, each envelope and what is remembered of migrations
 * (key_store_transfers.h): ERROR_AUTH names the first entry that was
 * changed, removed or put elsewhere, or the key whose record is not what its last entry says or
 * does not open. Some 20,000 keys a second: a task for a person's command, not for an answer to
 * a peer. */
MUST_CHECK bool key_store_verify(KeyStore *store, uint64_t *ret_entries, Error *err);

#endif
