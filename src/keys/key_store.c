/* SPDX-License-Identifier: Apache-2.0 */
/* The database: its file, its layout, its transactions and what becomes of its journal. */
#include "keys/key_store.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "crypto/digest.h"
#include "keys/key_store_internal.h"
#include "wire/json.h"
#include "wire/json_exact.h"

enum {
	FORMAT = 2,
	LAYOUT_1 = 7, /* tables and indexes of format 1, which had no transfers */
	APPLICATION_ID = 0x534c6b79, /* "SLky": file(1) and we know the file by it */
	JOURNAL_KEEP =
		1 << 20, /* bytes of a journal that stays as long: more was a large transaction */
	VALUE_MAX = 64 * 1024, /* bytes of any value or statement that SQLite handles for us */
};

/*
 * Before anything is read, since the first read rolls back what a crash left open: in the exclusive
 * mode SQLite leaves that journal there too, for us to wipe.
 */
static const char *const settings[] = {
	"PRAGMA locking_mode=EXCLUSIVE",
	"PRAGMA trusted_schema=OFF",
	"PRAGMA cell_size_check=ON",
	"PRAGMA mmap_size=0",
	"PRAGMA temp_store=MEMORY",
	"PRAGMA secure_delete=ON",
	"PRAGMA journal_mode=PERSIST",
	"PRAGMA journal_size_limit=-1",
	"PRAGMA synchronous=EXTRA",
	"PRAGMA cache_size=-16384", /* KiB at most: the upper pages of the indexes of many keys */
};

/* As SQLite keeps their text, in this order: check_layout compares. */
static const char *const layout[] = {
	"CREATE TABLE head(one INTEGER PRIMARY KEY CHECK(one=1), log_key BLOB NOT NULL, "
	"entries INTEGER NOT NULL, chain BLOB NOT NULL, mac BLOB NOT NULL) STRICT",
	"CREATE TABLE keys(row INTEGER PRIMARY KEY, id BLOB NOT NULL, version INTEGER NOT NULL, "
	"vm TEXT NOT NULL, record TEXT NOT NULL) STRICT",
	"CREATE INDEX keys_id ON keys(id, version)",
	"CREATE INDEX keys_vm ON keys(vm)",
	"CREATE TABLE envelopes(row INTEGER PRIMARY KEY, wrapped BLOB NOT NULL, "
	"sealed BLOB NOT NULL) STRICT",
	"CREATE TABLE log(number INTEGER PRIMARY KEY, row INTEGER NOT NULL, entry TEXT NOT NULL, "
	"chain BLOB NOT NULL) STRICT",
	"CREATE INDEX log_row ON log(row)",
	"CREATE TABLE transfers(row INTEGER PRIMARY KEY, migration BLOB NOT NULL, "
	"package BLOB NOT NULL, until INTEGER NOT NULL, digest BLOB NOT NULL, "
	"record TEXT NOT NULL) STRICT",
};

static const char *const sql_texts[] = {
	[KEY_SQL_BEGIN] = "BEGIN IMMEDIATE",
	[KEY_SQL_COMMIT] = "COMMIT",
	[KEY_SQL_ROLLBACK] = "ROLLBACK",
	[KEY_SQL_HEAD_READ] = "SELECT log_key, entries, chain, mac FROM head",
	[KEY_SQL_HEAD_WRITE] = "UPDATE head SET entries=?1, chain=?2, mac=?3",
	[KEY_SQL_LOG_ADD] = "INSERT INTO log(number, row, entry, chain) VALUES(?1, ?2, ?3, ?4)",
	[KEY_SQL_LOG_FROM] =
		"SELECT number, row, entry, chain FROM log WHERE number>=?1 ORDER BY number",
	[KEY_SQL_LOG_LAST_OF] = "SELECT number, row, entry, chain FROM log WHERE row=?1 "
				"ORDER BY number DESC LIMIT 1",
	[KEY_SQL_KEY_COUNT] = "SELECT coalesce(max(row), 0) FROM keys",
	[KEY_SQL_KEY_ADD] =
		"INSERT INTO keys(row, id, version, vm, record) VALUES(?1, ?2, ?3, ?4, ?5)",
	[KEY_SQL_KEY_UPDATE] = "UPDATE keys SET record=?2 WHERE row=?1",
	[KEY_SQL_KEY_GET] =
		"SELECT row, id, version, vm, record FROM keys WHERE id=?1 AND version=?2 "
		"ORDER BY row DESC LIMIT 1",
	[KEY_SQL_KEY_NEWEST] = "SELECT row, id, version, vm, record FROM keys WHERE id=?1 "
			       "ORDER BY version DESC, row DESC LIMIT 1",
	[KEY_SQL_KEY_LIST] =
		"SELECT row, id, version, vm, record FROM keys WHERE row>?1 ORDER BY row",
	[KEY_SQL_KEY_LIST_VM] =
		"SELECT row, id, version, vm, record FROM keys WHERE row>?1 AND vm=?2 "
		"ORDER BY row",
	[KEY_SQL_ENVELOPE_ADD] = "INSERT INTO envelopes(row, wrapped, sealed) VALUES(?1, ?2, ?3)",
	[KEY_SQL_ENVELOPE_UPDATE] = "UPDATE envelopes SET wrapped=?2, sealed=?3 WHERE row=?1",
	[KEY_SQL_ENVELOPE_GET] = "SELECT wrapped, sealed FROM envelopes WHERE row=?1",
	[KEY_SQL_ENVELOPE_COUNT] = "SELECT count(*) FROM envelopes",
	[KEY_SQL_TRANSFER_ALL] =
		"SELECT row, migration, package, until, digest FROM transfers ORDER BY row",
	[KEY_SQL_TRANSFER_GET] = "SELECT record FROM transfers WHERE row=?1",
	[KEY_SQL_TRANSFER_PUT] = "REPLACE INTO transfers(row, migration, package, until, digest, "
				 "record) VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
	[KEY_SQL_TRANSFER_FORGET] =
		"DELETE FROM transfers WHERE row IN (SELECT row FROM transfers "
		"WHERE until<=?1 ORDER BY until, row LIMIT ?2)",
	[KEY_SQL_CHECK] = "PRAGMA integrity_check(1)",
};
static_assert(ARRAY_SIZE(sql_texts) == KEY_SQL_COUNT, "a text for each statement");

bool key_store_fail(const KeyStore *store, const char *what, Error *err)
{
	int code = sqlite3_errcode(store->database) & 0xff;

	if (code == SQLITE_BUSY || code == SQLITE_LOCKED)
		return error_set(err, ERROR_CONFLICT, "key store: another process holds it");
	return error_set(err, code == SQLITE_NOMEM ? ERROR_INTERNAL : ERROR_IO, "key store: %s: %s",
			 what, sqlite3_errmsg(store->database));
}

static bool execute(const KeyStore *store, const char *sql, Error *err)
{
	return sqlite3_exec(store->database, sql, NULL, NULL, NULL) == SQLITE_OK ||
	       key_store_fail(store, sql, err);
}

bool key_sql_run(const KeyStore *store, sqlite3_stmt *statement, const char *what, Error *err)
{
	return sqlite3_step(statement) == SQLITE_DONE || key_store_fail(store, what, err);
}

bool key_sql_blob(sqlite3_stmt *statement, int column, void *ret_bytes, size_t size, Error *err)
{
	const void *bytes = sqlite3_column_blob(statement, column);

	if (sqlite3_column_type(statement, column) != SQLITE_BLOB || !bytes ||
	    (size_t)sqlite3_column_bytes(statement, column) != size)
		return error_set(err, ERROR_AUTH, "%s is not a blob of %zu bytes",
				 sqlite3_column_name(statement, column), size);
	memcpy(ret_bytes, bytes, size);
	return true;
}

bool key_sql_number(sqlite3_stmt *statement, int column, uint64_t *ret_number, Error *err)
{
	sqlite3_int64 number = sqlite3_column_int64(statement, column);

	if (sqlite3_column_type(statement, column) != SQLITE_INTEGER || number < 0)
		return error_set(err, ERROR_AUTH, "%s is not a number from 0",
				 sqlite3_column_name(statement, column));
	*ret_number = (uint64_t)number;
	return true;
}

bool key_sql_json(sqlite3_stmt *statement, int column, const Schema *schema, void *ret_object,
		  uint8_t ret_digest[KEY_DIGEST_BYTES], Error *err)
{
	/* As a blob, which needs no memory for a NUL. */
	const void *text = sqlite3_column_blob(statement, column);
	size_t size = (size_t)sqlite3_column_bytes(statement, column);

	if (sqlite3_column_type(statement, column) != SQLITE_TEXT || !text || size > KEY_JSON_MAX)
		return error_set(err, ERROR_AUTH, "%s is not text of at most %d bytes",
				 sqlite3_column_name(statement, column), KEY_JSON_MAX);
	/* The second is many times as dear, and says what is wrong. */
	if (!json_decode_exact(schema, text, size, ret_object) &&
	    !json_decode_plain(schema, text, size, ret_object, err)) {
		/* We wrote it: whatever it is now, somebody else did that. */
		err->category = ERROR_AUTH;
		return false;
	}
	return !ret_digest || digest_sha384(text, size, ret_digest, err);
}

/* Creates it if it is not there. By its name only: to close a descriptor of the file would let go
 * of the locks that this process may have on it (fcntl(2)). */
static bool check_file(const char *path, Error *err)
{
	AUTO_FD int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	struct stat status;

	if (fd < 0 && errno != EEXIST)
		return error_set_errno(err, ERROR_IO, errno, "key store: cannot create %s", path);
	if (lstat(path, &status))
		return error_set_errno(err, ERROR_IO, errno, "key store: cannot examine %s", path);
	if (!S_ISREG(status.st_mode))
		return error_set(err, ERROR_CONFIG, "key store: %s is not a regular file", path);
	if (status.st_uid != geteuid())
		return error_set(err, ERROR_CONFIG,
				 "key store: %s belongs to the user %u, not to %u", path,
				 status.st_uid, geteuid());
	if (status.st_mode & 077)
		return error_set(err, ERROR_CONFIG,
				 "key store: %s has mode %04o: others may use it, 0600 is wanted",
				 path, (unsigned int)status.st_mode & 07777);
	return true;
}

/* The modes are asked for, not ordered: a file of another mode may keep its own. */
static bool check_mode(const KeyStore *store, Error *err)
{
	sqlite3_stmt *statement = NULL;
	const char *mode = NULL;
	bool ok;

	if (sqlite3_prepare_v2(store->database, "PRAGMA journal_mode", -1, &statement, NULL) ==
		    SQLITE_OK &&
	    sqlite3_step(statement) == SQLITE_ROW)
		mode = (const char *)sqlite3_column_text(statement, 0);
	ok = mode && !strcmp(mode, "persist");
	if (!ok)
		error_set(err, ERROR_IO,
			  "key store: its journal has the mode \"%.32s\", not persist",
			  mode ? mode : "unknown");
	sqlite3_finalize(statement);
	return ok;
}

static bool open_database(KeyStore *store, const char *path, Error *err)
{
	int code = sqlite3_open_v2(path, &store->database,
				   SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOFOLLOW, NULL);

	if (code != SQLITE_OK)
		return error_set(err, code == SQLITE_NOMEM ? ERROR_INTERNAL : ERROR_IO,
				 "key store: cannot open %s: %s", path, sqlite3_errstr(code));
	if (sqlite3_db_readonly(store->database, "main"))
		return error_set(err, ERROR_IO, "key store: %s cannot be written", path);
	/* The file may be another's work: nothing in it is run, and nothing huge is read. */
	sqlite3_db_config(store->database, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL);
	sqlite3_db_config(store->database, SQLITE_DBCONFIG_ENABLE_VIEW, 0, NULL);
	sqlite3_db_config(store->database, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	sqlite3_limit(store->database, SQLITE_LIMIT_LENGTH, VALUE_MAX);
	sqlite3_limit(store->database, SQLITE_LIMIT_ATTACHED, 0);
	for (size_t i = 0; i < ARRAY_SIZE(settings); i++)
		if (!execute(store, settings[i], err))
			return false;
	return check_mode(store, err);
}

static bool read_number(const KeyStore *store, const char *sql, uint64_t *ret_number, Error *err)
{
	sqlite3_stmt *statement = NULL;
	bool ok = sqlite3_prepare_v2(store->database, sql, -1, &statement, NULL) == SQLITE_OK &&
		  sqlite3_step(statement) == SQLITE_ROW;

	if (ok)
		*ret_number = (uint64_t)sqlite3_column_int64(statement, 0);
	else
		key_store_fail(store, "cannot read it", err);
	sqlite3_finalize(statement);
	return ok;
}

static bool compare_layout(sqlite3_stmt *statement, size_t count)
{
	size_t same = 0;

	while (sqlite3_step(statement) == SQLITE_ROW) {
		const char *text = (const char *)sqlite3_column_text(statement, 0);

		if (same == count || !text || strcmp(text, layout[same]) != 0)
			return false;
		same++;
	}
	return same == count;
}

static bool check_layout(const KeyStore *store, size_t count, Error *err)
{
	sqlite3_stmt *statement = NULL;
	int code =
		sqlite3_prepare_v2(store->database, "SELECT sql FROM sqlite_schema ORDER BY rowid",
				   -1, &statement, NULL);
	bool same;

	if (code != SQLITE_OK)
		return key_store_fail(store, "cannot read its tables", err);
	same = compare_layout(statement, count);
	sqlite3_finalize(statement);
	return same || error_set(err, ERROR_CONFIG, "key store: its tables are not a key store's");
}

static bool prepare_all(KeyStore *store, Error *err)
{
	for (size_t i = 0; i < KEY_SQL_COUNT; i++)
		if (sqlite3_prepare_v3(store->database, sql_texts[i], -1, SQLITE_PREPARE_PERSISTENT,
				       &store->statements[i], NULL) != SQLITE_OK)
			return key_store_fail(store, sql_texts[i], err);
	return true;
}

/* The tables and indexes from number `first` on. */
static bool add_layout(const KeyStore *store, size_t first, Error *err)
{
	for (size_t i = first; i < ARRAY_SIZE(layout); i++)
		if (!execute(store, layout[i], err))
			return false;
	return true;
}

static bool create(KeyStore *store, Error *err)
{
	char mark[64];

	if (!add_layout(store, 0, err))
		return false;
	snprintf(mark, sizeof(mark), "PRAGMA application_id=%d", APPLICATION_ID);
	return execute(store, mark, err) && prepare_all(store, err) && key_log_create(store, err);
}

static bool check(KeyStore *store, uint64_t format, Error *err)
{
	uint64_t application;

	if (!read_number(store, "PRAGMA application_id", &application, err))
		return false;
	if (application != APPLICATION_ID)
		return error_set(err, ERROR_CONFIG, "key store: the file is another program's");
	if (format > FORMAT)
		return error_set(err, ERROR_CONFIG,
				 "key store: format %" PRIu64
				 " is newer than %d, which this Sealift knows",
				 format, FORMAT);
	/* A store of format 1 becomes one of format 2 by a table that is empty. */
	return check_layout(store, format < FORMAT ? LAYOUT_1 : ARRAY_SIZE(layout), err) &&
	       (format == FORMAT || add_layout(store, LAYOUT_1, err)) && prepare_all(store, err);
}

/*
 * In one transaction, which writes in any case: so the lock is had, the disk is known to take what
 * is written, and the journal is open to be wiped. An empty file is a new store; one that was cut
 * off while it was made is empty again.
 */
static bool make_or_check(KeyStore *store, Error *err)
{
	uint64_t pages, format;
	char mark[64];

	snprintf(mark, sizeof(mark), "PRAGMA user_version=%d", FORMAT);
	return execute(store, "BEGIN EXCLUSIVE", err) &&
	       read_number(store, "SELECT count(*) FROM sqlite_schema", &pages, err) &&
	       read_number(store, "PRAGMA user_version", &format, err) &&
	       (!pages && !format ? create(store, err) : check(store, format, err)) &&
	       key_log_load(store, err) && execute(store, mark, err) &&
	       execute(store, "COMMIT", err);
}

/* After a commit the journal begins with zeros and counts as empty; what it holds behind them is as
 * the changed pages were before. SQLite keeps it open, and goes on with it whatever lies in it. */
static bool wipe_journal(KeyStore *store, Error *err)
{
	static const uint8_t zeros[4096];
	sqlite3_file *journal = NULL;
	sqlite3_int64 size = 0;

	if (sqlite3_file_control(store->database, "main", SQLITE_FCNTL_JOURNAL_POINTER, &journal) !=
		    SQLITE_OK ||
	    !journal || !journal->pMethods)
		return error_set(err, ERROR_INTERNAL, "key store: SQLite gives no journal to wipe");
	if (journal->pMethods->xFileSize(journal, &size) != SQLITE_OK)
		return error_set(err, ERROR_IO, "key store: cannot examine the journal");
	for (sqlite3_int64 at = 0; at < size; at += (sqlite3_int64)sizeof(zeros)) {
		sqlite3_int64 left = size - at;
		int part = left < (sqlite3_int64)sizeof(zeros) ? (int)left : (int)sizeof(zeros);

		if (journal->pMethods->xWrite(journal, zeros, part, at) != SQLITE_OK)
			return error_set(err, ERROR_IO, "key store: cannot wipe the journal");
	}
	if (journal->pMethods->xSync(journal, SQLITE_SYNC_FULL) != SQLITE_OK)
		return error_set(err, ERROR_IO, "key store: cannot wipe the journal for good");
	/* Or each change from now on would wipe all of that. The blocks that are let go are zeros.
	 */
	if (size > JOURNAL_KEEP && journal->pMethods->xTruncate(journal, 0) != SQLITE_OK)
		return error_set(err, ERROR_IO, "key store: cannot shorten the journal");
	store->wipe_due = false;
	return true;
}

KeyStore *key_store_open(const char *path, RootKey *root, Error *err)
{
	AUTO_KEY_STORE KeyStore *store = calloc(1, sizeof(*store));

	if (!store) {
		error_set(err, ERROR_INTERNAL, "no memory for the key store");
		return NULL;
	}
	store->root = root;
	if (!check_file(path, err) || !open_database(store, path, err) ||
	    !make_or_check(store, err) || !wipe_journal(store, err))
		return NULL;
	return TAKE_PTR(store);
}

void key_store_free(KeyStore *store)
{
	if (!store)
		return;
	for (size_t i = 0; i < KEY_SQL_COUNT; i++)
		sqlite3_finalize(store->statements[i]);
	sqlite3_close_v2(store->database);
	secret_free(store->log_key);
	free(store);
}

static void roll_back(KeyStore *store)
{
	/* The cause is known already; SQLite may have rolled back by itself. */
	if (!sqlite3_get_autocommit(store->database)) {
		AUTO_KEY_SQL sqlite3_stmt *statement = key_sql(store, KEY_SQL_ROLLBACK);

		(void)sqlite3_step(statement);
	}
	store->head = store->saved;
}

static bool begin(KeyStore *store, Error *err)
{
	AUTO_KEY_SQL sqlite3_stmt *statement = key_sql(store, KEY_SQL_BEGIN);

	if (!key_sql_run(store, statement, "cannot begin", err))
		return false;
	if (store->uncertain && !key_log_load(store, err)) {
		roll_back(store);
		return false;
	}
	store->uncertain = false;
	store->saved = store->head;
	return true;
}

static bool commit(KeyStore *store, Error *err)
{
	AUTO_KEY_SQL sqlite3_stmt *statement = key_sql(store, KEY_SQL_COMMIT);

	if (!key_log_seal(store, err)) {
		roll_back(store);
		return false;
	}
	if (!key_sql_run(store, statement, "cannot commit", err)) {
		roll_back(store);
		store->uncertain = true;
		return false;
	}
	return !store->wipe_due || wipe_journal(store, err);
}

bool key_store_enter(KeyStore *store, Error *err)
{
	if (!store->many)
		return begin(store, err);
	return !store->broken ||
	       error_set(err, ERROR_CONFLICT, "key store: a change before this one failed");
}

bool key_store_leave(KeyStore *store, bool ok, Error *err)
{
	if (store->many) {
		store->broken = store->broken || !ok;
		return ok;
	}
	if (ok)
		return commit(store, err);
	roll_back(store);
	return false;
}

bool key_store_begin(KeyStore *store, Error *err)
{
	assert(!store->many);
	if (!begin(store, err))
		return false;
	store->many = true;
	store->broken = false;
	return true;
}

bool key_store_commit(KeyStore *store, Error *err)
{
	assert(store->many);
	store->many = false;
	if (!store->broken)
		return commit(store, err);
	roll_back(store);
	return error_set(err, ERROR_CONFLICT,
			 "key store: nothing is changed, since one change failed");
}

void key_store_undo(KeyStore *store)
{
	if (!store->many)
		return;
	store->many = false;
	roll_back(store);
}
