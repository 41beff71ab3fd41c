/* SPDX-License-Identifier: Apache-2.0 */
#include "store/store.h"

#include <assert.h>
#include <sqlite3.h>
#include <string.h>
#include <sys/stat.h>

#include "wire/json.h"

enum { STORE_FORMAT = 1, OBJECT_MAX = 262144 };

struct Store {
	sqlite3 *database;
};

typedef struct TableRow {
	const char *name;
	const Schema *schema;
} TableRow;

static const TableRow tables[STORE_TABLE_COUNT] = {
	[STORE_HOSTS] = { "hosts", &host_record_schema },
	[STORE_DOMAINS] = { "domains", &domain_record_schema },
	[STORE_VMS] = { "vms", &vm_record_schema },
	[STORE_MIGRATIONS] = { "migrations", &migration_record_schema },
	[STORE_KEY_ENDS] = { "key_ends", &key_end_record_schema },
};

static const char *const layout[] = {
	"PRAGMA journal_mode=WAL",
	"PRAGMA synchronous=FULL",
	"PRAGMA locking_mode=EXCLUSIVE",
	"BEGIN IMMEDIATE",
	"CREATE TABLE IF NOT EXISTS hosts(n INTEGER PRIMARY KEY, key TEXT UNIQUE NOT NULL, body TEXT NOT NULL)",
	"CREATE TABLE IF NOT EXISTS domains(n INTEGER PRIMARY KEY, key TEXT UNIQUE NOT NULL, body TEXT NOT NULL)",
	"CREATE TABLE IF NOT EXISTS vms(n INTEGER PRIMARY KEY, key TEXT UNIQUE NOT NULL, body TEXT NOT NULL)",
	"CREATE TABLE IF NOT EXISTS migrations(n INTEGER PRIMARY KEY, key TEXT UNIQUE NOT NULL, body TEXT NOT NULL)",
	"CREATE TABLE IF NOT EXISTS key_ends(n INTEGER PRIMARY KEY, key TEXT UNIQUE NOT NULL, body TEXT NOT NULL)",
	"CREATE TABLE IF NOT EXISTS statements(migration TEXT NOT NULL, kind INTEGER NOT NULL, "
	"cms BLOB NOT NULL, digest BLOB NOT NULL, PRIMARY KEY(migration, kind))",
	"CREATE TABLE IF NOT EXISTS seen(id BLOB PRIMARY KEY, expires INTEGER NOT NULL)",
	"COMMIT",
};

static inline void statement_cleanup(sqlite3_stmt **statement)
{
	sqlite3_finalize(*statement);
}
#define AUTO_STATEMENT CLEANUP(statement_cleanup)

static bool fail(const Store *store, const char *what, Error *err)
{
	int code = sqlite3_errcode(store->database);

	return error_set(err, code == SQLITE_BUSY ? ERROR_CONFLICT : ERROR_IO, "store: %s: %s", what,
			 code == SQLITE_BUSY ? "another process holds it" :
					       sqlite3_errmsg(store->database));
}

static bool run(Store *store, const char *sql, Error *err)
{
	return sqlite3_exec(store->database, sql, NULL, NULL, NULL) == SQLITE_OK ||
	       fail(store, sql, err);
}

static sqlite3_stmt *prepare(Store *store, const char *sql, Error *err)
{
	sqlite3_stmt *statement = NULL;

	if (sqlite3_prepare_v2(store->database, sql, -1, &statement, NULL) != SQLITE_OK)
		fail(store, sql, err);
	return statement;
}

static bool check_format(Store *store, Error *err)
{
	AUTO_STATEMENT sqlite3_stmt *statement = prepare(store, "PRAGMA user_version", err);
	int format;

	if (!statement)
		return false;
	if (sqlite3_step(statement) != SQLITE_ROW)
		return fail(store, "cannot read its format", err);
	format = sqlite3_column_int(statement, 0);
	if (format > STORE_FORMAT)
		return error_set(err, ERROR_CONFIG, "store: format %d is newer than %d, which this Sealift knows",
				 format, STORE_FORMAT);
	return true;
}

Store *store_open(const char *path, Error *err)
{
	AUTO_STORE Store *store = calloc(1, sizeof(*store));
	mode_t old;
	int code;

	if (!store) {
		error_set(err, ERROR_INTERNAL, "no memory for the store");
		return NULL;
	}
	old = umask(0077);
	code = sqlite3_open_v2(path, &store->database,
			       SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOFOLLOW, NULL);
	umask(old);
	if (code != SQLITE_OK) {
		error_set(err, ERROR_IO, "store: cannot open %s: %s", path, sqlite3_errstr(code));
		return NULL;
	}
	if (!check_format(store, err))
		return NULL;
	for (size_t i = 0; i < ARRAY_SIZE(layout); i++)
		if (!run(store, layout[i], err))
			return NULL;
	if (!run(store, "PRAGMA user_version=1", err))
		return NULL;
	return TAKE_PTR(store);
}

void store_close(Store *store)
{
	if (!store)
		return;
	sqlite3_close_v2(store->database);
	free(store);
}

static bool step_done(Store *store, sqlite3_stmt *statement, const char *what, Error *err)
{
	return sqlite3_step(statement) == SQLITE_DONE || fail(store, what, err);
}

bool store_put(Store *store, StoreTable table, const char *key, const void *object, Error *err)
{
	AUTO_BUFFER Buffer body = BUFFER_INIT(OBJECT_MAX);
	AUTO_STATEMENT sqlite3_stmt *statement = NULL;
	char sql[160];

	if (!json_encode_plain(tables[table].schema, object, &body, err))
		return false;
	snprintf(sql, sizeof(sql),
		 "INSERT INTO %s(key, body) VALUES(?1, ?2) ON CONFLICT(key) DO UPDATE SET body=?2",
		 tables[table].name);
	statement = prepare(store, sql, err);
	if (!statement)
		return false;
	sqlite3_bind_text(statement, 1, key, -1, SQLITE_STATIC);
	sqlite3_bind_text(statement, 2, (const char *)body.data, (int)body.used, SQLITE_STATIC);
	return step_done(store, statement, tables[table].name, err);
}

/* Column 0 is the body, 1 the key. What we wrote ourselves is checked like what a peer sent. */
static bool decode_row(StoreTable table, sqlite3_stmt *statement, void *ret_object, Error *err)
{
	if (json_decode_plain(tables[table].schema, sqlite3_column_text(statement, 0),
			      (size_t)sqlite3_column_bytes(statement, 0), ret_object, err))
		return true;
	/* The disk's fault or that of whoever edited it, not a peer's. */
	err->category = ERROR_IO;
	return error_prefix(err, "store: %s \"%.64s\"", tables[table].name,
			    (const char *)sqlite3_column_text(statement, 1));
}

bool store_get(Store *store, StoreTable table, const char *key, void *ret_object, Error *err)
{
	AUTO_STATEMENT sqlite3_stmt *statement = NULL;
	char sql[96];
	int code;

	snprintf(sql, sizeof(sql), "SELECT body, key FROM %s WHERE key=?1", tables[table].name);
	statement = prepare(store, sql, err);
	if (!statement)
		return false;
	sqlite3_bind_text(statement, 1, key, -1, SQLITE_STATIC);
	code = sqlite3_step(statement);
	if (code == SQLITE_DONE)
		return error_set(err, ERROR_NOT_FOUND, "no \"%s\" in %s", key, tables[table].name);
	if (code != SQLITE_ROW)
		return fail(store, tables[table].name, err);
	return decode_row(table, statement, ret_object, err);
}

bool store_delete(Store *store, StoreTable table, const char *key, Error *err)
{
	AUTO_STATEMENT sqlite3_stmt *statement = NULL;
	char sql[96];

	snprintf(sql, sizeof(sql), "DELETE FROM %s WHERE key=?1", tables[table].name);
	statement = prepare(store, sql, err);
	if (!statement)
		return false;
	sqlite3_bind_text(statement, 1, key, -1, SQLITE_STATIC);
	if (!step_done(store, statement, tables[table].name, err))
		return false;
	return sqlite3_changes(store->database) ||
	       error_set(err, ERROR_NOT_FOUND, "no \"%s\" in %s", key, tables[table].name);
}

bool store_each(Store *store, StoreTable table,
		bool (*visit)(void *context, const void *object, Error *err), void *context, Error *err)
{
	AUTO_STATEMENT sqlite3_stmt *statement = NULL;
	AUTO_FREE void *object = malloc(tables[table].schema->struct_size);
	char sql[96];
	int code;

	snprintf(sql, sizeof(sql), "SELECT body, key FROM %s ORDER BY n", tables[table].name);
	statement = prepare(store, sql, err);
	if (!statement || !object)
		return object ? false : error_set(err, ERROR_INTERNAL, "no memory for a record");
	while ((code = sqlite3_step(statement)) == SQLITE_ROW)
		if (!decode_row(table, statement, object, err) || !visit(context, object, err))
			return false;
	return code == SQLITE_DONE || fail(store, tables[table].name, err);
}

/* In the table of statements documents stand behind all kinds that may come. */
enum { DOCUMENT_FIRST = 64 };

static bool put_signed(Store *store, const char *migration, int kind, const void *cms, size_t size,
		       const uint8_t digest[DIGEST_SHA384_BYTES], Error *err)
{
	AUTO_STATEMENT sqlite3_stmt *statement = prepare(
		store, "INSERT OR REPLACE INTO statements(migration, kind, cms, digest) VALUES(?1, ?2, ?3, ?4)",
		err);

	if (!statement)
		return false;
	sqlite3_bind_text(statement, 1, migration, -1, SQLITE_STATIC);
	sqlite3_bind_int(statement, 2, kind);
	sqlite3_bind_blob(statement, 3, cms, (int)size, SQLITE_STATIC);
	sqlite3_bind_blob(statement, 4, digest, DIGEST_SHA384_BYTES, SQLITE_STATIC);
	return step_done(store, statement, "statements", err);
}

static bool put_statement(Store *store, const char *migration, const StoredStatement *stored,
			  Error *err)
{
	return put_signed(store, migration, (int)stored->kind, stored->cms, stored->cms_size,
			  stored->digest, err);
}

bool store_put_document(Store *store, const uint8_t migration[MIGRATION_ID_BYTES],
			KeyDocument document, const void *cms, size_t size, Error *err)
{
	static const uint8_t no_digest[DIGEST_SHA384_BYTES];
	char key[2 * MIGRATION_ID_BYTES + 1];

	if (document == KEY_DOCUMENT_PACKAGE)
		return error_set(err, ERROR_USAGE, "a package of keys is not kept");
	hex_encode(migration, MIGRATION_ID_BYTES, key);
	return put_signed(store, key, DOCUMENT_FIRST + (int)document, cms, size, no_digest, err);
}

bool store_journal(Store *store, const MigrationRecord *record, const StoredStatement *statement,
		   Error *err)
{
	char key[2 * MIGRATION_ID_BYTES + 1];

	hex_encode(record->id, sizeof(record->id), key);
	if (!run(store, "BEGIN IMMEDIATE", err))
		return false;
	if (store_put(store, STORE_MIGRATIONS, key, record, err) &&
	    (!statement || put_statement(store, key, statement, err)) && run(store, "COMMIT", err))
		return true;
	/* The cause is in err already; a failing rollback leaves nothing more to do. */
	(void)sqlite3_exec(store->database, "ROLLBACK", NULL, NULL, NULL);
	return false;
}

static bool get_signed(Store *store, const uint8_t migration[MIGRATION_ID_BYTES], int kind,
		       const char *word, Buffer *cms, uint8_t ret_digest[DIGEST_SHA384_BYTES], Error *err)
{
	AUTO_STATEMENT sqlite3_stmt *statement = prepare(
		store, "SELECT cms, digest FROM statements WHERE migration=?1 AND kind=?2", err);
	char key[2 * MIGRATION_ID_BYTES + 1];
	int code;

	if (!statement)
		return false;
	hex_encode(migration, MIGRATION_ID_BYTES, key);
	sqlite3_bind_text(statement, 1, key, -1, SQLITE_STATIC);
	sqlite3_bind_int(statement, 2, kind);
	code = sqlite3_step(statement);
	if (code == SQLITE_DONE)
		return error_set(err, ERROR_NOT_FOUND, "no %s of migration %s", word, key);
	if (code != SQLITE_ROW)
		return fail(store, "statements", err);
	if (sqlite3_column_bytes(statement, 1) != DIGEST_SHA384_BYTES)
		return error_set(err, ERROR_IO, "store: a digest of %d bytes", sqlite3_column_bytes(statement, 1));
	memcpy(ret_digest, sqlite3_column_blob(statement, 1), DIGEST_SHA384_BYTES);
	return buffer_put(cms, sqlite3_column_blob(statement, 0),
			  (size_t)sqlite3_column_bytes(statement, 0), err);
}

bool store_statement(Store *store, const uint8_t migration[MIGRATION_ID_BYTES], StatementKind kind,
		     Buffer *cms, uint8_t ret_digest[DIGEST_SHA384_BYTES], Error *err)
{
	char word[LIMIT_NAME];

	snprintf(word, sizeof(word), "%s statement", statement_words[kind]);
	return get_signed(store, migration, (int)kind, word, cms, ret_digest, err);
}

bool store_document(Store *store, const uint8_t migration[MIGRATION_ID_BYTES], KeyDocument document,
		    Buffer *cms, Error *err)
{
	uint8_t none[DIGEST_SHA384_BYTES];
	char word[LIMIT_NAME];

	snprintf(word, sizeof(word), "key manager's %s", key_document_words[document]);
	return get_signed(store, migration, DOCUMENT_FIRST + (int)document, word, cms, none, err);
}

bool store_prune_migrations(Store *store, unsigned int keep, Error *err)
{
	char sql[512];

	/* The bodies are our own strict JSON. A row whose text merely looks active is kept: no harm. */
	snprintf(sql, sizeof(sql),
		 "DELETE FROM migrations WHERE n <= (SELECT max(n) FROM migrations) - %u "
		 "AND body NOT LIKE '%%\"state\":\"active\"%%' AND body NOT LIKE '%%\"state\":\"stuck\"%%' "
		 "AND body NOT LIKE '%%\"cancel_owed\":true%%' "
		 "AND body NOT LIKE '%%\"keys_moving\":true%%'",
		 keep);
	return run(store, sql, err) &&
	       (!sqlite3_changes(store->database) ||
		run(store, "DELETE FROM statements WHERE migration NOT IN (SELECT key FROM migrations)",
		    err));
}

bool store_see_once(Store *store, const uint8_t id[MIGRATION_ID_BYTES], uint64_t expires_s,
		    uint64_t now_s, Error *err)
{
	AUTO_STATEMENT sqlite3_stmt *clean = prepare(store, "DELETE FROM seen WHERE expires < ?1", err);
	AUTO_STATEMENT sqlite3_stmt *add =
		clean ? prepare(store, "INSERT OR IGNORE INTO seen(id, expires) VALUES(?1, ?2)", err) : NULL;

	if (!add)
		return false;
	sqlite3_bind_int64(clean, 1, (sqlite3_int64)now_s);
	if (!step_done(store, clean, "seen", err))
		return false;
	sqlite3_bind_blob(add, 1, id, MIGRATION_ID_BYTES, SQLITE_STATIC);
	sqlite3_bind_int64(add, 2, (sqlite3_int64)expires_s);
	if (!step_done(store, add, "seen", err))
		return false;
	return sqlite3_changes(store->database) ||
	       error_set(err, ERROR_CONFLICT, "this statement was seen before: a replay");
}
