/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the key store share. key_store.c has the database and its transactions,
 * key_store_rows.c the keys, key_store_log.c the log. What is read from the file is judged like
 * what a peer sent: each column's type and size, each row's JSON by its schema.
 */
#ifndef SEALIFT_KEYS_KEY_STORE_INTERNAL_H
#define SEALIFT_KEYS_KEY_STORE_INTERNAL_H

#include <sqlite3.h>

#include "keys/key_store.h"

enum {
	KEY_JSON_MAX = 4096, /* bytes of a record or an entry; the schemas allow less than 3 KiB */
	KEY_LOG_KEY_BYTES = KEY_BYTES,
};

/* Prepared once: key_store.c has the text of each. */
typedef enum KeySql {
	KEY_SQL_BEGIN,
	KEY_SQL_COMMIT,
	KEY_SQL_ROLLBACK,
	KEY_SQL_HEAD_READ,
	KEY_SQL_HEAD_WRITE,
	KEY_SQL_LOG_ADD,
	KEY_SQL_LOG_FROM,
	KEY_SQL_LOG_LAST_OF,
	KEY_SQL_KEY_COUNT,
	KEY_SQL_KEY_ADD,
	KEY_SQL_KEY_UPDATE,
	KEY_SQL_KEY_GET,
	KEY_SQL_KEY_NEWEST,
	KEY_SQL_KEY_LIST,
	KEY_SQL_KEY_LIST_VM,
	KEY_SQL_ENVELOPE_ADD,
	KEY_SQL_ENVELOPE_UPDATE,
	KEY_SQL_ENVELOPE_GET,
	KEY_SQL_ENVELOPE_COUNT,
	KEY_SQL_TRANSFER_ALL,
	KEY_SQL_TRANSFER_GET,
	KEY_SQL_TRANSFER_PUT,
	KEY_SQL_TRANSFER_FORGET,
	KEY_SQL_CHECK,
	KEY_SQL_COUNT,
} KeySql;

/* The end of the log, and what else is under its MAC. */
typedef struct KeyLogHead {
	uint64_t entries;
	uint8_t chain[KEY_DIGEST_BYTES];
	uint8_t transfers[KEY_DIGEST_BYTES]; /* key_transfers_digest */
} KeyLogHead;

struct KeyStore {
	sqlite3 *database;
	sqlite3_stmt *statements[KEY_SQL_COUNT];
	RootKey *root;
	Secret *log_key;  /* of the head's MAC */
	KeyLogHead head;  /* with what the open transaction added */
	KeyLogHead saved; /* without */
	bool many;	  /* between key_store_begin and key_store_commit */
	bool broken;	  /* a change failed in there */
	bool uncertain;	  /* a commit failed: the head is to be read anew */
	bool wipe_due;	  /* the journal may hold what was overwritten */
};

/* A statement ready to be bound; reset, with its values let go, at the end of the scope. */
static inline void key_sql_cleanup(sqlite3_stmt **statement)
{
	if (!*statement)
		return;
	sqlite3_reset(*statement);
	sqlite3_clear_bindings(*statement);
}
#define AUTO_KEY_SQL CLEANUP(key_sql_cleanup)
static inline sqlite3_stmt *key_sql(const KeyStore *store, KeySql which)
{
	return store->statements[which];
}

/* Sets err after SQLite failed; ERROR_CONFLICT where another holds the file. Returns false. */
bool key_store_fail(const KeyStore *store, const char *what, Error *err);
/* Runs a statement that gives no row. */
MUST_CHECK bool key_sql_run(const KeyStore *store, sqlite3_stmt *statement, const char *what,
			    Error *err);
/* A column that must be a blob of this size, or a number of 0..INT64_MAX. ERROR_AUTH. */
MUST_CHECK bool key_sql_blob(sqlite3_stmt *statement, int column, void *ret_bytes, size_t size,
			     Error *err);
MUST_CHECK bool key_sql_number(sqlite3_stmt *statement, int column, uint64_t *ret_number,
			       Error *err);
/* A column of JSON, judged by the schema; with its digest or NULL. ERROR_AUTH. */
MUST_CHECK bool key_sql_json(sqlite3_stmt *statement, int column, const Schema *schema,
			     void *ret_object, uint8_t ret_digest[KEY_DIGEST_BYTES], Error *err);

/* Around each change. After enter, leave is called in any case, with whether all went well. */
MUST_CHECK bool key_store_enter(KeyStore *store, Error *err);
MUST_CHECK bool key_store_leave(KeyStore *store, bool ok, Error *err);

/* key_store_log.c */
/* A fresh key for the MAC and an empty log, into a new database. */
MUST_CHECK bool key_log_create(KeyStore *store, Error *err);
/* Reads key and head, and looks whether the last entry is the one that the head says. ERROR_AUTH.
 */
MUST_CHECK bool key_log_load(KeyStore *store, Error *err);
/* Writes the head, before a commit. */
MUST_CHECK bool key_log_seal(KeyStore *store, Error *err);
/* Appends an entry: its number and chain are set here. */
MUST_CHECK bool key_log_append(KeyStore *store, KeyLogEntry *entry, Error *err);
/* ERROR_AUTH unless the last entry of the row says what this record is. */
MUST_CHECK bool key_log_check_last(KeyStore *store, uint64_t row, const KeyRecord *key,
				   const uint8_t digest[KEY_DIGEST_BYTES], Error *err);
/* The action may lead from one state to the other. `adding`: there was none before. */
bool key_action_fits(KeyAction action, bool adding, KeyState from, KeyState to);

/* key_store_transfers.c: the digest of all rows of migrations as they are in the file; zeros if there
 * is none. */
MUST_CHECK bool key_transfers_digest(KeyStore *store, uint8_t ret_digest[KEY_DIGEST_BYTES],
				     Error *err);

/* For key_store_verify: that, and the record of each row. */
MUST_CHECK bool key_transfers_verify(KeyStore *store, Error *err);

/* key_store_rows.c: for key_store_verify. Every record in order of its row. */
MUST_CHECK bool key_rows_verify(KeyStore *store, uint64_t rows, Error *err);

#endif
