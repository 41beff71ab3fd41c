/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of migrations, and the digest of all of them that the MAC of the log's head is made of.
 */
#include "keys/key_store_transfers.h"

#include <inttypes.h>
#include <string.h>

#include "crypto/digest.h"
#include "keys/key_store_internal.h"
#include "wire/json.h"

const char *const transfer_stage_words[TRANSFER_STAGE_COUNT] = {
	"exported", "acknowledged", "released", "taken-back",
	"imported", "activated",    "settled",	"discarded",
};

static const Field record_fields[] = {
	SCHEMA_HEX(TransferRecord, migration),
	SCHEMA_ENUM(TransferRecord, stage, transfer_stage_words),
	SCHEMA_TEXT(TransferRecord, vm, TEXT_UUID, 1),
	SCHEMA_TEXT(TransferRecord, owner, TEXT_DOMAIN, 1),
	SCHEMA_U64(TransferRecord, epoch, 1, INT64_MAX),
	SCHEMA_TEXT(TransferRecord, source, TEXT_DOMAIN, 1),
	SCHEMA_TEXT(TransferRecord, destination, TEXT_DOMAIN, 1),
	SCHEMA_HEX(TransferRecord, permit),
	SCHEMA_BOOL(TransferRecord, keep),
	SCHEMA_HEX(TransferRecord, keys),
	SCHEMA_HEX(TransferRecord, package),
	SCHEMA_U64(TransferRecord, issued_s, 0, INT64_MAX),
	SCHEMA_U64(TransferRecord, expires_s, 0, INT64_MAX),
	SCHEMA_HEX(TransferRecord, imported),
	SCHEMA_HEX(TransferRecord, ended),
	SCHEMA_HEX(TransferRecord, settled),
	SCHEMA_U64(TransferRecord, imported_s, 0, INT64_MAX),
	SCHEMA_U64(TransferRecord, ended_s, 0, INT64_MAX),
	SCHEMA_U64(TransferRecord, settled_s, 0, INT64_MAX),
	SCHEMA_U64(TransferRecord, changed_s, 0, INT64_MAX),
};
SCHEMA_DEFINE(transfer_record_schema, "transfer", TransferRecord, record_fields);

/* What the digest of all rows is made of, of each: row and until as be64, and the blobs. */
enum { ID_BYTES = 16, LINE_BYTES = 8 + ID_BYTES + ID_BYTES + 8 + KEY_DIGEST_BYTES };

typedef struct Line {
	uint64_t row, until;
	uint8_t migration[ID_BYTES], package[ID_BYTES], digest[KEY_DIGEST_BYTES];
} Line;

static bool read_line(sqlite3_stmt *statement, Line *ret_line, Error *err)
{
	return (key_sql_number(statement, 0, &ret_line->row, err) &&
		key_sql_blob(statement, 1, ret_line->migration, ID_BYTES, err) &&
		key_sql_blob(statement, 2, ret_line->package, ID_BYTES, err) &&
		key_sql_number(statement, 3, &ret_line->until, err) &&
		key_sql_blob(statement, 4, ret_line->digest, KEY_DIGEST_BYTES, err)) ||
	       error_prefix(err, "key store: a row of transfers");
}

static bool put_line(Buffer *lines, const Line *line, Error *err)
{
	return buffer_put_be64(lines, line->row, err) &&
	       buffer_put(lines, line->migration, ID_BYTES, err) &&
	       buffer_put(lines, line->package, ID_BYTES, err) &&
	       buffer_put_be64(lines, line->until, err) &&
	       buffer_put(lines, line->digest, KEY_DIGEST_BYTES, err);
}

/* What is looked for among the rows, and found. */
typedef struct Search {
	const uint8_t *migration, *package; /* NULL: not looked for */
	Line found;			    /* row 0: it is not there */
	bool has_package;
	uint64_t count;
	uint8_t digest[KEY_DIGEST_BYTES]; /* of all rows; zeros if there is none */
} Search;

static void look_at(Search *search, const Line *line)
{
	search->count++;
	if (search->migration && !memcmp(line->migration, search->migration, ID_BYTES))
		search->found = *line;
	if (search->package && !memcmp(line->package, search->package, ID_BYTES))
		search->has_package = true;
}

static bool search_all(KeyStore *store, Search *search, Error *err)
{
	AUTO_KEY_SQL sqlite3_stmt *statement = key_sql(store, KEY_SQL_TRANSFER_ALL);
	AUTO_BUFFER Buffer lines = BUFFER_INIT(LIMIT_TRANSFERS * LINE_BYTES);
	Line line;
	int code;

	while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
		if (!read_line(statement, &line, err))
			return false;
		look_at(search, &line);
		if (search->count > LIMIT_TRANSFERS)
			return error_set(err, ERROR_AUTH, "key store: more than %d transfers",
					 LIMIT_TRANSFERS);
		if (!put_line(&lines, &line, err))
			return false;
	}
	if (code != SQLITE_DONE)
		return key_store_fail(store, "cannot read the transfers", err);
	return !search->count || digest_sha384(lines.data, lines.used, search->digest, err);
}

bool key_transfers_digest(KeyStore *store, uint8_t ret_digest[KEY_DIGEST_BYTES], Error *err)
{
	Search search = { 0 };

	if (!search_all(store, &search, err))
		return false;
	memcpy(ret_digest, search.digest, KEY_DIGEST_BYTES);
	return true;
}

/* As they were when the head was written, or as this transaction has them. */
static bool search_checked(KeyStore *store, Search *search, Error *err)
{
	if (!search_all(store, search, err))
		return false;
	return !memcmp(search->digest, store->head.transfers, KEY_DIGEST_BYTES) ||
	       error_set(err, ERROR_AUTH, "key store: a row of transfers was changed");
}

static bool read_record(KeyStore *store, const Line *line, TransferRecord *ret_record, Error *err)
{
	AUTO_KEY_SQL sqlite3_stmt *statement = key_sql(store, KEY_SQL_TRANSFER_GET);
	uint8_t digest[KEY_DIGEST_BYTES];

	sqlite3_bind_int64(statement, 1, (sqlite3_int64)line->row);
	if (sqlite3_step(statement) != SQLITE_ROW)
		return key_store_fail(store, "cannot read a transfer", err);
	if (!key_sql_json(statement, 0, &transfer_record_schema, ret_record, digest, err))
		return error_prefix(err, "key store: a row of transfers");
	return (!memcmp(digest, line->digest, sizeof(digest)) &&
		!memcmp(ret_record->migration, line->migration, ID_BYTES)) ||
	       error_set(err, ERROR_AUTH, "key store: a record of transfers was changed");
}

bool key_transfers_verify(KeyStore *store, Error *err)
{
	AUTO_KEY_SQL sqlite3_stmt *statement = key_sql(store, KEY_SQL_TRANSFER_ALL);
	Search all = { 0 };
	TransferRecord record;
	Line line;
	int code;

	if (!search_checked(store, &all, err))
		return false;
	while ((code = sqlite3_step(statement)) == SQLITE_ROW)
		if (!read_line(statement, &line, err) || !read_record(store, &line, &record, err))
			return false;
	return code == SQLITE_DONE || key_store_fail(store, "cannot read the transfers", err);
}

bool key_store_transfer_get(KeyStore *store, const uint8_t migration[16],
			    TransferRecord *ret_record, bool *ret_known, Error *err)
{
	Search search = { .migration = migration };

	if (!search_checked(store, &search, err) ||
	    (search.found.row && !read_record(store, &search.found, ret_record, err)))
		return false;
	*ret_known = search.found.row != 0;
	return true;
}

bool key_store_transfer_has_package(KeyStore *store, const uint8_t package[16], bool *ret_has,
				    Error *err)
{
	Search search = { .package = package };

	if (!search_checked(store, &search, err))
		return false;
	*ret_has = search.has_package;
	return true;
}

bool key_store_transfer_count_from(KeyStore *store, const char *source, uint64_t now_s,
				   uint64_t *ret_count, Error *err)
{
	AUTO_KEY_SQL sqlite3_stmt *statement = key_sql(store, KEY_SQL_TRANSFER_ALL);
	Search all = { 0 };
	TransferRecord record;
	Line line;
	int code;

	*ret_count = 0;
	if (!search_checked(store, &all, err))
		return false;
	/* Each is read and parsed only where it can matter. */
	if (all.count < LIMIT_TRANSFERS_FROM)
		return true;
	while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
		if (!read_line(statement, &line, err))
			return false;
		if (line.until <= now_s)
			continue;
		if (!read_record(store, &line, &record, err))
			return false;
		*ret_count += !strcmp(record.source, source);
	}
	return code == SQLITE_DONE || key_store_fail(store, "cannot read the transfers", err);
}

/* --- writing --- */

/* From when on it may be forgotten. */
static uint64_t until_of(const TransferRecord *record)
{
	uint64_t last =
		record->changed_s > record->expires_s ? record->changed_s : record->expires_s;
	uint64_t keep_s = TRANSFER_KEEP_MIN_S;

	switch (record->stage) {
	case TRANSFER_STAGE_EXPORTED:
	case TRANSFER_STAGE_ACKNOWLEDGED:
	case TRANSFER_STAGE_IMPORTED:
	case TRANSFER_STAGE_COUNT:
		keep_s = TRANSFER_KEEP_OPEN_S;
		break;
	case TRANSFER_STAGE_RELEASED:
	case TRANSFER_STAGE_TAKEN_BACK:
	case TRANSFER_STAGE_ACTIVATED:
	case TRANSFER_STAGE_SETTLED:
	case TRANSFER_STAGE_DISCARDED:
		break;
	}
	return last > INT64_MAX - keep_s ? INT64_MAX : last + keep_s;
}

/* Those whose time was over before `now_s`, at most `most` of them, the oldest first. */
static bool forget(KeyStore *store, uint64_t now_s, int64_t most, Error *err)
{
	AUTO_KEY_SQL sqlite3_stmt *statement = key_sql(store, KEY_SQL_TRANSFER_FORGET);

	sqlite3_bind_int64(statement, 1, (sqlite3_int64)now_s);
	sqlite3_bind_int64(statement, 2, most);
	return key_sql_run(store, statement, "cannot forget a transfer", err);
}

static bool make_room(KeyStore *store, uint64_t now_s, Error *err)
{
	Search search = { 0 };

	if (now_s > TRANSFER_KEEP_S &&
	    !forget(store, now_s - TRANSFER_KEEP_S, LIMIT_TRANSFERS, err))
		return false;
	if (!search_all(store, &search, err))
		return false;
	if (search.count < LIMIT_TRANSFERS)
		return true;
	search = (Search){ 0 };
	if (!forget(store, now_s, 1, err) || !search_all(store, &search, err))
		return false;
	return search.count < LIMIT_TRANSFERS ||
	       error_set(err, ERROR_LIMIT,
			 "key store: %d migrations of keys are remembered, and none of them may be "
			 "forgotten yet",
			 LIMIT_TRANSFERS);
}

static bool write_record(KeyStore *store, uint64_t row, const TransferRecord *record, Error *err)
{
	AUTO_KEY_SQL sqlite3_stmt *statement = key_sql(store, KEY_SQL_TRANSFER_PUT);
	AUTO_BUFFER Buffer json = BUFFER_INIT(KEY_JSON_MAX);
	uint8_t digest[KEY_DIGEST_BYTES];

	if (!json_encode_plain(&transfer_record_schema, record, &json, err) ||
	    !digest_sha384(json.data, json.used, digest, err))
		return false;
	if (row) /* else a new one, behind all others */
		sqlite3_bind_int64(statement, 1, (sqlite3_int64)row);
	sqlite3_bind_blob(statement, 2, record->migration, ID_BYTES, SQLITE_STATIC);
	sqlite3_bind_blob(statement, 3, record->package, ID_BYTES, SQLITE_STATIC);
	sqlite3_bind_int64(statement, 4, (sqlite3_int64)until_of(record));
	sqlite3_bind_blob(statement, 5, digest, sizeof(digest), SQLITE_STATIC);
	sqlite3_bind_text(statement, 6, (const char *)json.data, (int)json.used, SQLITE_STATIC);
	return key_sql_run(store, statement, "cannot write a transfer", err);
}

static bool put(KeyStore *store, const TransferRecord *record, Error *err)
{
	Search search = { .migration = record->migration };

	/* Or two heads of one length of the log would both have a MAC. */
	if (store->head.entries == store->saved.entries)
		return error_set(err, ERROR_INTERNAL, "a transfer was changed, but not the log");
	return search_checked(store, &search, err) &&
	       (search.found.row || make_room(store, record->changed_s, err)) &&
	       write_record(store, search.found.row, record, err) &&
	       key_transfers_digest(store, store->head.transfers, err);
}

bool key_store_transfer_put(KeyStore *store, const TransferRecord *record, Error *err)
{
	if (!schema_check(&transfer_record_schema, record, err)) {
		err->category = ERROR_USAGE;
		return error_prefix(err, "transfer");
	}
	if (!key_store_enter(store, err))
		return false;
	return key_store_leave(store, put(store, record, err), err);
}
