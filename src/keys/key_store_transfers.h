/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the key store remembers of moves of keys: a row for each migration, so that a step that was
 * done can give its answer again, and none is done twice. The rows are under the MAC of the log's
 * head (key_store.h): each change of one goes with entries of the log, in one transaction, so that
 * none of them can be put back, changed or removed alone.
 *
 * A migration that has ended is forgotten after TRANSFER_KEEP_S, or when there are LIMIT_TRANSFERS
 * of them and its package has expired since TRANSFER_KEEP_MIN_S. One that has not ended stays for
 * TRANSFER_KEEP_OPEN_S: then nobody waits for it any more but a person, whom it does not hinder.
 */
#ifndef SEALIFT_KEYS_KEY_STORE_TRANSFERS_H
#define SEALIFT_KEYS_KEY_STORE_TRANSFERS_H

#include "keys/key_store.h"

enum {
	LIMIT_TRANSFERS = 1024,
	LIMIT_TRANSFERS_FROM = 256, /* of one source's domain that may not be forgotten yet */
	TRANSFER_KEEP_S = 7 * 24 * 3600,
	TRANSFER_KEEP_MIN_S = 3600, /* longer than any package or offer lives */
	TRANSFER_KEEP_OPEN_S = 400 * 24 * 3600,
};

/* How far a migration's keys came on this side. */
typedef enum TransferStage {
	/* source */
	TRANSFER_STAGE_EXPORTED,     /* the package was made: it counts as sent */
	TRANSFER_STAGE_ACKNOWLEDGED, /* the other side has imported it */
	TRANSFER_STAGE_RELEASED,     /* the end: destroyed or kept */
	TRANSFER_STAGE_TAKEN_BACK,   /* the end: undone */
	/* destination */
	TRANSFER_STAGE_IMPORTED,
	TRANSFER_STAGE_ACTIVATED, /* the end, but for the other side's receipt */
	TRANSFER_STAGE_SETTLED,	  /* the end: the other side has released them */
	TRANSFER_STAGE_DISCARDED, /* the end: undone */
	TRANSFER_STAGE_COUNT,
} TransferStage;
extern const char *const transfer_stage_words[TRANSFER_STAGE_COUNT];

/* All that is remembered. Of receipts, their own or the other side's, the SHA-384 of the JSON
 * (zeros: there was none) and when they were issued, so that our own can be made again as they
 * were. */
typedef struct TransferRecord {
	uint8_t migration[16];
	TransferStage stage;
	char vm[LIMIT_UUID];
	char owner[LIMIT_DOMAIN];
	uint64_t epoch;
	char source[LIMIT_DOMAIN], destination[LIMIT_DOMAIN];
	uint8_t permit[KEY_DIGEST_BYTES];
	bool keep;
	uint8_t keys[KEY_DIGEST_BYTES];	    /* SHA-384 of their list */
	uint8_t package[16];		    /* its id; zeros: there was none */
	uint64_t issued_s, expires_s;	    /* of the package */
	uint8_t imported[KEY_DIGEST_BYTES]; /* the receipt "imported" */
	uint8_t ended[KEY_DIGEST_BYTES];    /* "activated" or "discarded" */
	uint8_t settled[KEY_DIGEST_BYTES];  /* "destroyed" or "kept" */
	uint64_t imported_s, ended_s, settled_s;
	uint64_t changed_s;
} TransferRecord;
extern const Schema transfer_record_schema;

/* What is known of the migration; false in *ret_known if it is nothing. ERROR_AUTH if any row is
 * not what it was; ERROR_IO. */
MUST_CHECK bool key_store_transfer_get(KeyStore *store, const uint8_t migration[16],
				       TransferRecord *ret_record, bool *ret_known, Error *err);
/* Whether a migration that is known had the package of this id. */
MUST_CHECK bool key_store_transfer_has_package(KeyStore *store, const uint8_t package[16],
					       bool *ret_has, Error *err);
/* How many migrations with keys of this source's domain may not be forgotten at now_s: a domain
 * that begins and gives up without end must not fill the room of the others. */
MUST_CHECK bool key_store_transfer_count_from(KeyStore *store, const char *source, uint64_t now_s,
					      uint64_t *ret_count, Error *err);
/* Adds or replaces the row of record->migration, and forgets old ones. Between key_store_begin and
 * key_store_commit, with an entry of the log. ERROR_LIMIT if there are too many that have not
 * ended; ERROR_USAGE for a record out of its bounds. */
MUST_CHECK bool key_store_transfer_put(KeyStore *store, const TransferRecord *record, Error *err);

#endif
