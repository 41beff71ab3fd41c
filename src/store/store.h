/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine's memory: an embedded SQLite database, write-ahead log, synchronous=FULL, so that what
 * a put returned true for survives a power cut (https://sqlite.org/wal.html, pragma synchronous).
 * Objects are stored as strict JSON by their schema, so that an auditor can read them.
 */
#ifndef SEALIFT_STORE_STORE_H
#define SEALIFT_STORE_STORE_H

#include "base/buffer.h"
#include "store/records.h"
#include "wire/peer.h"

typedef enum StoreTable {
	STORE_HOSTS,
	STORE_DOMAINS,
	STORE_VMS,
	STORE_MIGRATIONS,
	STORE_KEY_ENDS,
	STORE_TABLE_COUNT,
} StoreTable;

typedef struct Store Store;

/* Opens or creates the database (mode 0600). ERROR_IO if it cannot be used, ERROR_CONFIG if it was
 * written by a newer Sealift, ERROR_CONFLICT if another process holds it. */
Store *store_open(const char *path, Error *err);
void store_close(Store *store);
DEFINE_CLEANUP(Store, store, store_close)
#define AUTO_STORE CLEANUP(store_cleanup)

/* Inserts or replaces; durable when it returns. ERROR_IO when the disk is full or broken: then the
 * old row is still there. The table's schema is the one of its record. */
MUST_CHECK bool store_put(Store *store, StoreTable table, const char *key, const void *object,
			  Error *err);
/* ERROR_NOT_FOUND if there is none. */
MUST_CHECK bool store_get(Store *store, StoreTable table, const char *key, void *ret_object,
			  Error *err);
MUST_CHECK bool store_delete(Store *store, StoreTable table, const char *key, Error *err);
/* Calls visit for each row in order of insertion; a row that does not decode is an error that names
 * it, and ends the walk. visit must not change the table. */
MUST_CHECK bool store_each(Store *store, StoreTable table,
			   bool (*visit)(void *context, const void *object, Error *err),
			   void *context, Error *err);

/* A migration's record and one signed statement of it in one transaction; statement may be NULL.
 * This is the journal: what is about to be done stands here before it is done. */
typedef struct StoredStatement {
	StatementKind kind;
	const uint8_t *cms;
	size_t cms_size;
	uint8_t digest[DIGEST_SHA384_BYTES];
} StoredStatement;
MUST_CHECK bool store_journal(Store *store, const MigrationRecord *record,
			      const StoredStatement *statement, Error *err);
/* The statement of this kind, appended to *cms; ERROR_NOT_FOUND if there is none. */
MUST_CHECK bool store_statement(Store *store, const uint8_t migration[MIGRATION_ID_BYTES],
				StatementKind kind, Buffer *cms,
				uint8_t ret_digest[DIGEST_SHA384_BYTES], Error *err);

/* What a key manager signed for a migration (wire/peer.h), for auditors: inserts or replaces. A package
 * is refused with ERROR_USAGE: who has its receiver's key could open it for ever. */
MUST_CHECK bool store_put_document(Store *store, const uint8_t migration[MIGRATION_ID_BYTES],
				   KeyDocument document, const void *cms, size_t size, Error *err);
/* Appended to *cms; ERROR_NOT_FOUND if there is none. */
MUST_CHECK bool store_document(Store *store, const uint8_t migration[MIGRATION_ID_BYTES],
			       KeyDocument document, Buffer *cms, Error *err);

/* Forgets ended migrations, with their statements, but the newest `keep` rows. */
MUST_CHECK bool store_prune_migrations(Store *store, unsigned int keep, Error *err);

/* Remembers a statement id until expires_s; ERROR_CONFLICT if it is known already: a replay. Ids
 * whose time is over before now_s are forgotten. */
MUST_CHECK bool store_see_once(Store *store, const uint8_t id[MIGRATION_ID_BYTES],
			       uint64_t expires_s, uint64_t now_s, Error *err);

#endif
