/* SPDX-License-Identifier: Apache-2.0 */
/* The log: a chain of entries, and its end under a MAC. */
#include <assert.h>
#include <inttypes.h>
#include <openssl/crypto.h>
#include <openssl/hmac.h>
#include <string.h>

#include "crypto/digest.h"
#include "crypto/openssl.h"
#include "crypto/random.h"
#include "keys/key_store_internal.h"
#include "wire/json.h"

const char *const key_action_words[KEY_ACTION_COUNT] = {
	"created",   "activated", "opened", "rotated", "offered", "received", "returned",
	"discarded", "retired",	  "wiped",  "refused", "kept",	  "attested",
};

#define WORDS(o, m, table, n)                                                                      \
	{                                                                                          \
		.name = #m, .kind = FIELD_ENUM, .offset = offsetof(o, m), .words = (table),        \
		.n_words = (n)                                                                     \
	}

/* The chain comes last: what it is made of is the table without it. */
static const Field entry_fields[] = {
	SCHEMA_U64(KeyLogEntry, number, 1, INT64_MAX),
	SCHEMA_U64(KeyLogEntry, time_s, 0, INT64_MAX),
	WORDS(KeyLogEntry, action, key_action_words, KEY_ACTION_COUNT),
	SCHEMA_HEX(KeyLogEntry, key),
	SCHEMA_U64(KeyLogEntry, version, 0, INT64_MAX),
	SCHEMA_U64(KeyLogEntry, row, 0, LIMIT_KEYS),
	WORDS(KeyLogEntry, from, key_state_words, KEY_STATE_COUNT),
	WORDS(KeyLogEntry, to, key_state_words, KEY_STATE_COUNT),
	SCHEMA_HEX(KeyLogEntry, record),
	SCHEMA_TEXT(KeyLogEntry, who, TEXT_PRINTABLE, 1),
	SCHEMA_TEXT(KeyLogEntry, detail, TEXT_PRINTABLE, 0),
	SCHEMA_HEX(KeyLogEntry, chain),
};
SCHEMA_DEFINE(key_log_entry_schema, "log entry", KeyLogEntry, entry_fields);

static const Schema unchained_schema = {
	.name = "log entry",
	.struct_size = sizeof(KeyLogEntry),
	.fields = entry_fields,
	.n_fields = ARRAY_SIZE(entry_fields) - 1,
};

/* What each action does. A note changes nothing, in whatever state. */
typedef struct ActionRow {
	KeyAction action;
	bool adding;
	KeyState from, to;
} ActionRow;
static const ActionRow action_rows[] = {
	{ KEY_CREATED, true, KEY_PRE_ACTIVE, KEY_PRE_ACTIVE },
	{ KEY_CREATED, true, KEY_ACTIVE, KEY_ACTIVE },
	{ KEY_RECEIVED, true, KEY_IMPORTED, KEY_IMPORTED },
	{ KEY_ACTIVATED, false, KEY_PRE_ACTIVE, KEY_ACTIVE },
	{ KEY_ACTIVATED, false, KEY_IMPORTED, KEY_ACTIVE },
	{ KEY_ROTATED, false, KEY_ACTIVE, KEY_DEACTIVATED },
	{ KEY_RETIRED, false, KEY_PRE_ACTIVE, KEY_DEACTIVATED },
	{ KEY_RETIRED, false, KEY_ACTIVE, KEY_DEACTIVATED },
	{ KEY_OFFERED, false, KEY_ACTIVE, KEY_EXPORTING },
	{ KEY_RETURNED, false, KEY_EXPORTING, KEY_ACTIVE },
	{ KEY_KEPT, false, KEY_EXPORTING, KEY_ACTIVE },
	{ KEY_WIPED, false, KEY_EXPORTING, KEY_DESTROYED },
	{ KEY_WIPED, false, KEY_DEACTIVATED, KEY_DESTROYED },
	{ KEY_DISCARDED, false, KEY_IMPORTED, KEY_DESTROYED },
};

bool key_action_fits(KeyAction action, bool adding, KeyState from, KeyState to)
{
	if (action == KEY_OPENED || action == KEY_REFUSED || action == KEY_ATTESTED)
		return !adding && from == to;
	for (size_t i = 0; i < ARRAY_SIZE(action_rows); i++)
		if (action_rows[i].action == action && action_rows[i].adding == adding &&
		    action_rows[i].from == from && action_rows[i].to == to)
			return true;
	return false;
}

/* Without transfers it is the MAC of format 1, so that a store of that format opens. */
static bool make_mac(const KeyStore *store, const KeyLogHead *head,
		     uint8_t ret_mac[KEY_DIGEST_BYTES], Error *err)
{
	enum { LABEL_BYTES = sizeof("sealift key log head 1") };
	static const uint8_t none[KEY_DIGEST_BYTES];
	bool has_transfers = memcmp(head->transfers, none, sizeof(none)) != 0;
	uint8_t text[LABEL_BYTES + 8 + KEY_DIGEST_BYTES + KEY_DIGEST_BYTES];
	size_t length = sizeof(text) - (has_transfers ? 0 : KEY_DIGEST_BYTES);
	unsigned int size = 0;

	memcpy(text, has_transfers ? "sealift key log head 2" : "sealift key log head 1",
	       LABEL_BYTES);
	store_be64(text + LABEL_BYTES, head->entries);
	memcpy(text + LABEL_BYTES + 8, head->chain, KEY_DIGEST_BYTES);
	memcpy(text + LABEL_BYTES + 8 + KEY_DIGEST_BYTES, head->transfers, KEY_DIGEST_BYTES);
	if (HMAC(EVP_sha384(), secret_peek(store->log_key), KEY_LOG_KEY_BYTES, text, length,
		 ret_mac, &size) &&
	    size == KEY_DIGEST_BYTES)
		return true;
	return openssl_error(err, ERROR_INTERNAL, "cannot make a MAC");
}

bool key_log_create(KeyStore *store, Error *err)
{
	static const char sql[] = "INSERT INTO head(one, log_key, entries, chain, mac) "
				  "VALUES(1, ?1, 0, zeroblob(48), zeroblob(48))";
	uint8_t wrapped[KEY_WRAPPED_BYTES];
	sqlite3_stmt *statement = NULL;
	bool ok;

	store->log_key = random_secret(KEY_LOG_KEY_BYTES, err);
	if (!store->log_key || !store->root->type->wrap(store->root, store->log_key, wrapped, err))
		return false;
	ok = sqlite3_prepare_v2(store->database, sql, -1, &statement, NULL) == SQLITE_OK &&
	     sqlite3_bind_blob(statement, 1, wrapped, sizeof(wrapped), SQLITE_STATIC) ==
		     SQLITE_OK &&
	     sqlite3_step(statement) == SQLITE_DONE;
	if (!ok)
		key_store_fail(store, "cannot begin the log", err);
	sqlite3_finalize(statement);
	return ok && key_log_seal(store, err);
}

bool key_log_seal(KeyStore *store, Error *err)
{
	AUTO_KEY_SQL sqlite3_stmt *statement = key_sql(store, KEY_SQL_HEAD_WRITE);
	uint8_t mac[KEY_DIGEST_BYTES];

	if (!make_mac(store, &store->head, mac, err))
		return false;
	sqlite3_bind_int64(statement, 1, (sqlite3_int64)store->head.entries);
	sqlite3_bind_blob(statement, 2, store->head.chain, KEY_DIGEST_BYTES, SQLITE_STATIC);
	sqlite3_bind_blob(statement, 3, mac, sizeof(mac), SQLITE_STATIC);
	return key_sql_run(store, statement, "cannot write the log's head", err);
}

/* One row of KEY_SQL_LOG_FROM, whose columns must say what its JSON says. */
static bool read_entry(sqlite3_stmt *statement, KeyLogEntry *ret_entry, Error *err)
{
	uint64_t number, row;

	if (!key_sql_number(statement, 0, &number, err) ||
	    !key_sql_number(statement, 1, &row, err) ||
	    !key_sql_json(statement, 2, &unchained_schema, ret_entry, NULL, err) ||
	    !key_sql_blob(statement, 3, ret_entry->chain, KEY_DIGEST_BYTES, err))
		return false;
	return (number == ret_entry->number && row == ret_entry->row) ||
	       error_set(err, ERROR_AUTH, "it says that it is entry %" PRIu64 " of row %" PRIu64,
			 ret_entry->number, ret_entry->row);
}

/* The last entry is the one that the head names, and it is the last. */
static bool check_end(KeyStore *store, Error *err)
{
	AUTO_KEY_SQL sqlite3_stmt *statement = key_sql(store, KEY_SQL_LOG_FROM);
	uint64_t from = store->head.entries ? store->head.entries : 1, seen = 0;
	uint8_t chain[KEY_DIGEST_BYTES] = { 0 };
	int code;

	sqlite3_bind_int64(statement, 1, (sqlite3_int64)from);
	for (code = sqlite3_step(statement); code == SQLITE_ROW && seen < 2;
	     code = sqlite3_step(statement))
		if (++seen == 1 && !key_sql_blob(statement, 3, chain, sizeof(chain), err))
			return error_prefix(err, "key store: the log's last entry");
	if (code != SQLITE_ROW && code != SQLITE_DONE)
		return key_store_fail(store, "cannot read the log", err);
	if (seen != (store->head.entries ? 1 : 0) ||
	    memcmp(chain, store->head.chain, sizeof(chain)) != 0)
		return error_set(err, ERROR_AUTH,
				 "key store: the log does not end with entry %" PRIu64
				 ", as it did when it was written",
				 store->head.entries);
	return true;
}

static bool check_mac(KeyStore *store, const KeyLogHead *head, const uint8_t *mac, Error *err)
{
	uint8_t expected[KEY_DIGEST_BYTES];

	if (!make_mac(store, head, expected, err))
		return false;
	return CRYPTO_memcmp(mac, expected, sizeof(expected)) == 0 ||
	       error_set(err, ERROR_AUTH,
			 "key store: the log's head was changed, or a row of transfers");
}

bool key_log_load(KeyStore *store, Error *err)
{
	AUTO_KEY_SQL sqlite3_stmt *statement = key_sql(store, KEY_SQL_HEAD_READ);
	uint8_t wrapped[KEY_WRAPPED_BYTES], mac[KEY_DIGEST_BYTES];
	KeyLogHead head;
	int code = sqlite3_step(statement);

	if (code != SQLITE_ROW)
		return code == SQLITE_DONE
			       ? error_set(err, ERROR_AUTH, "key store: the log's head was removed")
			       : key_store_fail(store, "cannot read the log's head", err);
	if (!key_sql_blob(statement, 0, wrapped, sizeof(wrapped), err) ||
	    !key_sql_number(statement, 1, &head.entries, err) ||
	    !key_sql_blob(statement, 2, head.chain, sizeof(head.chain), err) ||
	    !key_sql_blob(statement, 3, mac, sizeof(mac), err))
		return error_prefix(err, "key store: the log's head");
	secret_free(store->log_key);
	store->log_key = secret_new(KEY_BYTES, err);
	if (!store->log_key)
		return false;
	if (!store->root->type->unwrap(store->root, wrapped, store->log_key, err))
		return error_prefix(err, "key store: it was made with another root key");
	if (!key_transfers_digest(store, head.transfers, err) || !check_mac(store, &head, mac, err))
		return false;
	store->head = store->saved = head;
	return check_end(store, err);
}

bool key_log_append(KeyStore *store, KeyLogEntry *entry, Error *err)
{
	AUTO_KEY_SQL sqlite3_stmt *statement = key_sql(store, KEY_SQL_LOG_ADD);
	AUTO_BUFFER Buffer json = BUFFER_INIT(KEY_JSON_MAX);

	entry->number = store->head.entries + 1;
	if (!json_encode_plain(&unchained_schema, entry, &json, err)) {
		/* The schema's bounds are on what the caller said. */
		if (err->category == ERROR_PEER)
			err->category = ERROR_USAGE;
		return false;
	}
	if (!digest_sha384_pair(store->head.chain, KEY_DIGEST_BYTES, json.data, json.used,
				entry->chain, err))
		return false;
	sqlite3_bind_int64(statement, 1, (sqlite3_int64)entry->number);
	sqlite3_bind_int64(statement, 2, (sqlite3_int64)entry->row);
	sqlite3_bind_text(statement, 3, (const char *)json.data, (int)json.used, SQLITE_STATIC);
	sqlite3_bind_blob(statement, 4, entry->chain, KEY_DIGEST_BYTES, SQLITE_STATIC);
	if (!key_sql_run(store, statement, "cannot write to the log", err))
		return false;
	store->head.entries = entry->number;
	memcpy(store->head.chain, entry->chain, KEY_DIGEST_BYTES);
	return true;
}

/* The chain of the entry before this one; zeros before the first. */
static bool chain_before(KeyStore *store, uint64_t number, uint8_t ret_chain[KEY_DIGEST_BYTES],
			 Error *err)
{
	AUTO_KEY_SQL sqlite3_stmt *statement = key_sql(store, KEY_SQL_LOG_FROM);
	uint64_t found = 0;
	int code;

	memset(ret_chain, 0, KEY_DIGEST_BYTES);
	if (number <= 1)
		return true;
	sqlite3_bind_int64(statement, 1, (sqlite3_int64)(number - 1));
	code = sqlite3_step(statement);
	if (code != SQLITE_ROW && code != SQLITE_DONE)
		return key_store_fail(store, "cannot read the log", err);
	return (code == SQLITE_ROW && key_sql_number(statement, 0, &found, err) &&
		found == number - 1 &&
		key_sql_blob(statement, 3, ret_chain, KEY_DIGEST_BYTES, err)) ||
	       error_set(err, ERROR_AUTH, "key store: log entry %" PRIu64 " is missing",
			 number - 1);
}

/* An entry that is rewritten to fit a record that was does not fit the chain any more. The whole
 * chain is walked at the start, not here: two rows are read more. */
static bool check_link(KeyStore *store, sqlite3_stmt *statement, const KeyLogEntry *entry,
		       Error *err)
{
	uint8_t before[KEY_DIGEST_BYTES], chain[KEY_DIGEST_BYTES];

	if (!chain_before(store, entry->number, before, err) ||
	    !digest_sha384_pair(before, sizeof(before), sqlite3_column_blob(statement, 2),
				(size_t)sqlite3_column_bytes(statement, 2), chain, err))
		return false;
	/* After a commit that may have been made the head is read anew by the next change. */
	return ((store->uncertain || entry->number <= store->head.entries) &&
		!memcmp(chain, entry->chain, sizeof(chain))) ||
	       error_set(err, ERROR_AUTH,
			 "key store: log entry %" PRIu64 " or the one before was changed",
			 entry->number);
}

bool key_log_check_last(KeyStore *store, uint64_t row, const KeyRecord *key,
			const uint8_t digest[KEY_DIGEST_BYTES], Error *err)
{
	AUTO_KEY_SQL sqlite3_stmt *statement = key_sql(store, KEY_SQL_LOG_LAST_OF);
	char id[KEY_ID_HEX];
	KeyLogEntry last;
	int code;

	key_id_text(key->id, id);
	sqlite3_bind_int64(statement, 1, (sqlite3_int64)row);
	code = sqlite3_step(statement);
	if (code != SQLITE_ROW && code != SQLITE_DONE)
		return key_store_fail(store, "cannot read the log", err);
	if (code == SQLITE_DONE)
		return error_set(err, ERROR_AUTH,
				 "key store: no log entry says how key %s came here", id);
	if (!read_entry(statement, &last, err))
		return error_prefix(err, "key store: the last log entry of key %s", id);
	if (!check_link(store, statement, &last, err))
		return false;
	if (last.row != row || last.version != key->version ||
	    memcmp(last.key, key->id, KEY_ID_BYTES) != 0 || last.to != key->state ||
	    memcmp(last.record, digest, KEY_DIGEST_BYTES) != 0)
		return error_set(
			err, ERROR_AUTH,
			"key store: the record of key %s, which is %s, is not the one that log "
			"entry %" PRIu64 " left %s",
			id, key_state_words[key->state], last.number, key_state_words[last.to]);
	return true;
}

bool key_store_log(KeyStore *store, uint64_t first, KeyLogEntry *ret_entries, size_t count,
		   size_t *ret_count, Error *err)
{
	AUTO_KEY_SQL sqlite3_stmt *statement = key_sql(store, KEY_SQL_LOG_FROM);
	size_t most = count < KEY_LOG_PAGE_MAX ? count : KEY_LOG_PAGE_MAX, done = 0;
	int code = SQLITE_ROW;

	sqlite3_bind_int64(statement, 1, first > INT64_MAX ? INT64_MAX : (sqlite3_int64)first);
	while (done < most && (code = sqlite3_step(statement)) == SQLITE_ROW) {
		if (!read_entry(statement, &ret_entries[done], err))
			return error_prefix(err, "key store: a log entry from %" PRIu64 " on",
					    first);
		done++;
	}
	if (code != SQLITE_ROW && code != SQLITE_DONE)
		return key_store_fail(store, "cannot read the log", err);
	*ret_count = done;
	return true;
}

void key_store_head(const KeyStore *store, uint64_t *ret_entries,
		    uint8_t ret_chain[KEY_DIGEST_BYTES])
{
	*ret_entries = store->head.entries;
	memcpy(ret_chain, store->head.chain, KEY_DIGEST_BYTES);
}

/* The text itself is chained, whatever it says; what it says is judged too. */
static bool walk_entry(KeyLogWalk *walk, sqlite3_stmt *statement, KeyLogEntry *ret_entry,
		       Error *err)
{
	uint64_t next = walk->entries + 1;
	uint8_t chain[KEY_DIGEST_BYTES];
	bool adding;

	if (!read_entry(statement, ret_entry, err))
		return error_prefix(err, "log entry %" PRIu64, next);
	if (ret_entry->number != next)
		return error_set(err, ERROR_AUTH,
				 "log entry %" PRIu64 " is missing: entry %" PRIu64
				 " stands in its place",
				 next, ret_entry->number);
	if (!digest_sha384_pair(walk->chain, sizeof(walk->chain), sqlite3_column_blob(statement, 2),
				(size_t)sqlite3_column_bytes(statement, 2), chain, err))
		return false;
	if (memcmp(chain, ret_entry->chain, sizeof(chain)) != 0)
		return error_set(err, ERROR_AUTH,
				 "log entry %" PRIu64
				 " or the one before was changed, or put elsewhere",
				 next);
	adding = ret_entry->action == KEY_CREATED || ret_entry->action == KEY_RECEIVED;
	if (!key_action_fits(ret_entry->action, adding, ret_entry->from, ret_entry->to) ||
	    (adding ? ret_entry->row != walk->added + 1 : ret_entry->row > walk->added))
		return error_set(
			err, ERROR_AUTH,
			"log entry %" PRIu64 ": \"%s\" from %s to %s in row %" PRIu64 " cannot be",
			next, key_action_words[ret_entry->action], key_state_words[ret_entry->from],
			key_state_words[ret_entry->to], ret_entry->row);
	walk->added += adding;
	walk->entries = next;
	memcpy(walk->chain, chain, sizeof(chain));
	return true;
}

static bool check_walked(const KeyStore *store, const KeyLogWalk *walk, Error *err)
{
	return (walk->entries == store->head.entries &&
		!memcmp(walk->chain, store->head.chain, KEY_DIGEST_BYTES)) ||
	       error_set(err, ERROR_AUTH,
			 "log entry %" PRIu64 ": the log ends there, though it had %" PRIu64
			 " entries",
			 walk->entries + 1, store->head.entries);
}

bool key_store_verify_log(KeyStore *store, KeyLogWalk *walk, size_t count, KeyLogVisit *visit,
			  void *context, bool *ret_end, Error *err)
{
	AUTO_KEY_SQL sqlite3_stmt *statement = key_sql(store, KEY_SQL_LOG_FROM);
	/* From the beginning it is all of it: an entry with a number below the first, too. */
	uint64_t first = walk->entries ? walk->entries + 1 : 0;
	int code = SQLITE_ROW;
	KeyLogEntry entry;

	sqlite3_bind_int64(statement, 1, (sqlite3_int64)first);
	for (size_t done = 0; done < count && (code = sqlite3_step(statement)) == SQLITE_ROW;
	     done++) {
		if (!walk_entry(walk, statement, &entry, err))
			return false;
		if (visit)
			visit(context, &entry);
	}
	if (code != SQLITE_ROW && code != SQLITE_DONE)
		return key_store_fail(store, "cannot read the log", err);
	*ret_end = code == SQLITE_DONE;
	return !*ret_end || check_walked(store, walk, err);
}

/* An index that does not fit its table would hide rows from those who look through it. */
bool key_store_check_file(KeyStore *store, Error *err)
{
	AUTO_KEY_SQL sqlite3_stmt *statement = key_sql(store, KEY_SQL_CHECK);
	const char *text;

	if (sqlite3_step(statement) != SQLITE_ROW)
		return key_store_fail(store, "cannot check it", err);
	text = (const char *)sqlite3_column_text(statement, 0);
	if (text && !strcmp(text, "ok"))
		return true;
	return error_set(err, ERROR_AUTH, "key store: the file is damaged: %.128s",
			 text ? text : "no memory to say how");
}

bool key_store_verify(KeyStore *store, uint64_t *ret_entries, Error *err)
{
	KeyLogWalk walk = { 0 };
	bool end;

	if (!key_store_check_file(store, err) ||
	    !key_store_verify_log(store, &walk, SIZE_MAX, NULL, NULL, &end, err) ||
	    !key_rows_verify(store, walk.added, err) || !key_transfers_verify(store, err))
		return false;
	*ret_entries = walk.entries;
	return true;
}
