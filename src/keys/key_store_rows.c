/* SPDX-License-Identifier: Apache-2.0 */
/* The keys: their records and their envelopes. */
#include <inttypes.h>
#include <openssl/crypto.h>
#include <string.h>

#include "crypto/digest.h"
#include "keys/key_store_internal.h"
#include "wire/json.h"

typedef struct KeyRow {
	uint64_t row; /* 0: there is none */
	KeyRecord key;
	uint8_t digest[KEY_DIGEST_BYTES]; /* of its JSON */
} KeyRow;

static const KeyEnvelope no_envelope;

static bool is_embedded(const KeyRecord *key)
{
	return !strcmp(key->backend, KEY_BACKEND_EMBEDDED);
}

static bool is_kept(const KeyEnvelope *envelope)
{
	return memcmp(envelope->wrapped, no_envelope.wrapped, KEY_WRAPPED_BYTES) != 0;
}

/* --- reading --- */

/* The columns by which it was found must be those of the record. */
static bool check_columns(sqlite3_stmt *statement, const KeyRecord *key, Error *err)
{
	uint8_t id[KEY_ID_BYTES];
	uint64_t version;
	const void *vm = sqlite3_column_blob(statement, 3);
	size_t length = strlen(key->vm);

	if (!key_sql_blob(statement, 1, id, sizeof(id), err) ||
	    !key_sql_number(statement, 2, &version, err))
		return false;
	return (!memcmp(id, key->id, sizeof(id)) && version == key->version && vm &&
		(size_t)sqlite3_column_bytes(statement, 3) == length &&
		!memcmp(vm, key->vm, length)) ||
	       error_set(err, ERROR_AUTH, "its columns name another key");
}

static bool read_row(KeyStore *store, sqlite3_stmt *statement, KeyRow *ret_row, Error *err)
{
	ret_row->row = 0;
	if (!key_sql_number(statement, 0, &ret_row->row, err) ||
	    !key_sql_json(statement, 4, &key_record_schema, &ret_row->key, ret_row->digest, err) ||
	    !check_columns(statement, &ret_row->key, err))
		return error_prefix(err, "key store: row %" PRIu64, ret_row->row);
	return key_log_check_last(store, ret_row->row, &ret_row->key, ret_row->digest, err);
}

/* Row 0 if there is none. */
static bool find(KeyStore *store, const uint8_t id[KEY_ID_BYTES], uint64_t version, KeyRow *ret_row,
		 Error *err)
{
	AUTO_KEY_SQL sqlite3_stmt *statement =
		key_sql(store, version ? KEY_SQL_KEY_GET : KEY_SQL_KEY_NEWEST);
	int code;

	sqlite3_bind_blob(statement, 1, id, KEY_ID_BYTES, SQLITE_STATIC);
	if (version)
		sqlite3_bind_int64(statement, 2, (sqlite3_int64)version);
	code = sqlite3_step(statement);
	if (code == SQLITE_ROW)
		return read_row(store, statement, ret_row, err);
	ret_row->row = 0;
	return code == SQLITE_DONE || key_store_fail(store, "cannot read a key", err);
}

static bool get(KeyStore *store, const uint8_t id[KEY_ID_BYTES], uint64_t version, KeyRow *ret_row,
		Error *err)
{
	char text[KEY_ID_HEX];

	if (version > INT64_MAX)
		return error_set(err, ERROR_USAGE, "key version %" PRIu64 " is too large", version);
	if (!find(store, id, version, ret_row, err))
		return false;
	if (ret_row->row)
		return true;
	key_id_text(id, text);
	return version ? error_set(err, ERROR_NOT_FOUND, "no key %s version %" PRIu64, text,
				   version)
		       : error_set(err, ERROR_NOT_FOUND, "no key %s", text);
}

bool key_store_get(KeyStore *store, const uint8_t id[KEY_ID_BYTES], uint64_t version,
		   KeyRecord *ret_key, Error *err)
{
	KeyRow row;

	if (!get(store, id, version, &row, err))
		return false;
	*ret_key = row.key;
	return true;
}

bool key_store_list(KeyStore *store, const char *vm, uint64_t *cursor, KeyRecord *ret_keys,
		    size_t count, size_t *ret_count, Error *err)
{
	AUTO_KEY_SQL sqlite3_stmt *statement =
		key_sql(store, *vm ? KEY_SQL_KEY_LIST_VM : KEY_SQL_KEY_LIST);
	KeyRow row = { .row = *cursor };
	size_t done = 0;
	int code = SQLITE_ROW;

	sqlite3_bind_int64(statement, 1, *cursor > INT64_MAX ? INT64_MAX : (sqlite3_int64)*cursor);
	if (*vm)
		sqlite3_bind_text(statement, 2, vm, -1, SQLITE_STATIC);
	while (done < count && (code = sqlite3_step(statement)) == SQLITE_ROW) {
		if (!read_row(store, statement, &row, err))
			return false;
		ret_keys[done++] = row.key;
	}
	if (code != SQLITE_ROW && code != SQLITE_DONE)
		return key_store_fail(store, "cannot list keys", err);
	*cursor = code == SQLITE_ROW ? row.row : 0;
	*ret_count = done;
	return true;
}

static bool read_envelope(KeyStore *store, const KeyRow *row, KeyEnvelope *ret_envelope, Error *err)
{
	AUTO_KEY_SQL sqlite3_stmt *statement = key_sql(store, KEY_SQL_ENVELOPE_GET);
	int code;

	sqlite3_bind_int64(statement, 1, (sqlite3_int64)row->row);
	code = sqlite3_step(statement);
	if (code == SQLITE_DONE)
		return error_set(err, ERROR_AUTH, "key store: row %" PRIu64 " lost its envelope",
				 row->row);
	if (code != SQLITE_ROW)
		return key_store_fail(store, "cannot read an envelope", err);
	return (key_sql_blob(statement, 0, ret_envelope->wrapped, KEY_WRAPPED_BYTES, err) &&
		key_sql_blob(statement, 1, ret_envelope->sealed, KEY_SEALED_BYTES, err)) ||
	       error_prefix(err, "key store: the envelope of row %" PRIu64, row->row);
}

Secret *key_store_value(KeyStore *store, const KeyRecord *key, Error *err)
{
	char id[KEY_ID_HEX];
	KeyEnvelope envelope;
	KeyRow row;

	if (!get(store, key->id, key->version, &row, err))
		return NULL;
	key_id_text(key->id, id);
	if (row.key.state == KEY_DESTROYED) {
		error_set(err, ERROR_CONFLICT, "key %s is destroyed", id);
		return NULL;
	}
	if (!read_envelope(store, &row, &envelope, err))
		return NULL;
	if (!is_kept(&envelope)) {
		error_set(err, ERROR_CONFLICT, "key %s is kept by the back-end %s alone", id,
			  row.key.backend);
		return NULL;
	}
	return key_unseal(store->root, &row.key, &envelope, err);
}

/* --- writing --- */

static bool write_envelope(KeyStore *store, KeySql which, uint64_t row, const KeyEnvelope *envelope,
			   Error *err)
{
	AUTO_KEY_SQL sqlite3_stmt *statement = key_sql(store, which);

	sqlite3_bind_int64(statement, 1, (sqlite3_int64)row);
	sqlite3_bind_blob(statement, 2, envelope->wrapped, KEY_WRAPPED_BYTES, SQLITE_STATIC);
	sqlite3_bind_blob(statement, 3, envelope->sealed, KEY_SEALED_BYTES, SQLITE_STATIC);
	return key_sql_run(store, statement, "cannot write an envelope", err);
}

/* Which, its number and what came of it: the caller knows action, who, detail and time. */
static bool log_row(KeyStore *store, const KeyRow *row, KeyState from, const KeyReason *reason,
		    Error *err)
{
	KeyLogEntry entry = {
		.time_s = reason->now_s,
		.action = reason->action,
		.row = row->row,
		.from = from,
		.to = row->key.state,
	};

	if (row->row) {
		entry.version = row->key.version;
		memcpy(entry.key, row->key.id, KEY_ID_BYTES);
		memcpy(entry.record, row->digest, KEY_DIGEST_BYTES);
	}
	if (snprintf(entry.who, sizeof(entry.who), "%s", reason->who) >= (int)sizeof(entry.who))
		return error_set(err, ERROR_USAGE, "\"%.64s...\" is too long a name", reason->who);
	(void)snprintf(entry.detail, sizeof(entry.detail), "%s", reason->detail);
	return key_log_append(store, &entry, err);
}

/* Record and log entry, in a row that is new or there; row->digest is set on the way. */
static bool write_row(KeyStore *store, KeySql which, KeyRow *row, KeyState from,
		      const KeyReason *reason, Error *err)
{
	AUTO_KEY_SQL sqlite3_stmt *statement = key_sql(store, which);
	AUTO_BUFFER Buffer json = BUFFER_INIT(KEY_JSON_MAX);
	int text = which == KEY_SQL_KEY_ADD ? 5 : 2;

	if (!json_encode_plain(&key_record_schema, &row->key, &json, err) ||
	    !digest_sha384(json.data, json.used, row->digest, err))
		return false;
	sqlite3_bind_int64(statement, 1, (sqlite3_int64)row->row);
	if (which == KEY_SQL_KEY_ADD) {
		sqlite3_bind_blob(statement, 2, row->key.id, KEY_ID_BYTES, SQLITE_STATIC);
		sqlite3_bind_int64(statement, 3, (sqlite3_int64)row->key.version);
		sqlite3_bind_text(statement, 4, row->key.vm, -1, SQLITE_STATIC);
	}
	sqlite3_bind_text(statement, text, (const char *)json.data, (int)json.used, SQLITE_STATIC);
	return key_sql_run(store, statement, "cannot write a key", err) &&
	       log_row(store, row, from, reason, err);
}

static bool check_action(const KeyReason *reason, bool adding, KeyState from, KeyState to,
			 Error *err)
{
	if (key_action_fits(reason->action, adding, from, to))
		return true;
	return adding ? error_set(err, ERROR_USAGE, "\"%s\" makes no key that is %s",
				  key_action_words[reason->action], key_state_words[to])
		      : error_set(err, ERROR_USAGE, "\"%s\" makes no key %s that is %s",
				  key_action_words[reason->action], key_state_words[to],
				  key_state_words[from]);
}

static bool is_same_thing(const KeyRecord *a, const KeyRecord *b)
{
	return a->purpose == b->purpose && !strcmp(a->vm, b->vm) && !strcmp(a->owner, b->owner) &&
	       !strcmp(a->slot, b->slot);
}

/* Against the newest row of the id. One that was destroyed may come back with the same value only.
 */
static bool check_new(KeyStore *store, const KeyRecord *key, Error *err)
{
	char id[KEY_ID_HEX];
	KeyRow newest;

	if (!find(store, key->id, 0, &newest, err))
		return false;
	if (!newest.row)
		return true;
	key_id_text(key->id, id);
	/* Whose it is here is not for the peer that sent it, who reads this. */
	if (!is_same_thing(&newest.key, key))
		return error_set(err, ERROR_CONFLICT, "key %s is here already, for something else",
				 id);
	if (key->version > newest.key.version)
		return true;
	if (key->version == newest.key.version && newest.key.state == KEY_DESTROYED &&
	    key->state == KEY_IMPORTED &&
	    !memcmp(key->fingerprint, newest.key.fingerprint, KEY_FINGERPRINT_BYTES))
		return true;
	return error_set(err, ERROR_CONFLICT,
			 "key %s version %" PRIu64 " cannot be added: version %" PRIu64
			 " is here, %s",
			 id, key->version, newest.key.version, key_state_words[newest.key.state]);
}

static bool check_kept(const KeyRecord *key, const Secret *kept, Error *err)
{
	uint8_t fingerprint[KEY_FINGERPRINT_BYTES];

	if ((kept && secret_size(kept) != KEY_BYTES) || (!kept && is_embedded(key)))
		return error_set(err, ERROR_USAGE, "a key of the back-end %s came with %zu bytes",
				 key->backend, kept ? secret_size(kept) : 0);
	if (!is_embedded(key))
		return true;
	if (!key_fingerprint(key->id, key->version, kept, fingerprint, err))
		return false;
	return !memcmp(fingerprint, key->fingerprint, sizeof(fingerprint)) ||
	       error_set(err, ERROR_AUTH, "the value of a new key has another fingerprint");
}

static bool next_row(KeyStore *store, uint64_t *ret_row, Error *err)
{
	AUTO_KEY_SQL sqlite3_stmt *statement = key_sql(store, KEY_SQL_KEY_COUNT);

	if (sqlite3_step(statement) != SQLITE_ROW)
		return key_store_fail(store, "cannot count keys", err);
	if (!key_sql_number(statement, 0, ret_row, err))
		return false;
	if (*ret_row >= LIMIT_KEYS)
		return error_set(err, ERROR_LIMIT, "key store: it holds %d keys and takes no more",
				 LIMIT_KEYS);
	++*ret_row;
	return true;
}

static bool add(KeyStore *store, KeyRow *row, const Secret *kept, const KeyReason *reason,
		Error *err)
{
	KeyEnvelope envelope = no_envelope;

	return check_new(store, &row->key, err) && next_row(store, &row->row, err) &&
	       (!kept || key_seal(store->root, &row->key, kept, &envelope, err)) &&
	       write_envelope(store, KEY_SQL_ENVELOPE_ADD, row->row, &envelope, err) &&
	       write_row(store, KEY_SQL_KEY_ADD, row, row->key.state, reason, err);
}

bool key_store_add(KeyStore *store, const KeyRecord *key, const Secret *kept,
		   const KeyReason *reason, Error *err)
{
	KeyRow row = { .key = *key };

	row.key.created_s = row.key.changed_s = reason->now_s;
	if (!key_record_check(&row.key, err) ||
	    !check_action(reason, true, key->state, key->state, err) ||
	    !check_kept(key, kept, err) || !key_store_enter(store, err))
		return false;
	return key_store_leave(store, add(store, &row, kept, reason, err), err);
}

/* What a change must leave alone. */
static bool check_lasting(const KeyRecord *was, const KeyRecord *changed, Error *err)
{
	char id[KEY_ID_HEX];

	key_id_text(was->id, id);
	if (!is_same_thing(was, changed) || strcmp(was->backend, changed->backend) != 0 ||
	    memcmp(was->fingerprint, changed->fingerprint, KEY_FINGERPRINT_BYTES) != 0)
		return error_set(err, ERROR_CONFLICT,
				 "key %s may change its state, not what it is for or where it is",
				 id);
	if (*was->exposed_to && !*changed->exposed_to)
		return error_set(err, ERROR_CONFLICT,
				 "key %s was seen by %s: that cannot be taken back", id,
				 was->exposed_to);
	if (was->state == KEY_EXPORTING && changed->state == KEY_ACTIVE && !*changed->exposed_to)
		return error_set(err, ERROR_CONFLICT,
				 "key %s returns, but nobody is said to have seen it", id);
	return true;
}

/* Under a fresh wrapping key: the old envelope opens nothing but itself, and is overwritten. */
static bool reseal(KeyStore *store, const KeyRow *row, const KeyRecord *changed, Error *err)
{
	KeyEnvelope envelope;
	AUTO_SECRET Secret *value = NULL;

	if (!read_envelope(store, row, &envelope, err))
		return false;
	if (!is_kept(&envelope))
		return true;
	if (changed->state == KEY_DESTROYED) {
		envelope = no_envelope;
	} else {
		value = key_unseal(store->root, &row->key, &envelope, err);
		if (!value || !key_seal(store->root, changed, value, &envelope, err))
			return false;
	}
	store->wipe_due = true;
	return write_envelope(store, KEY_SQL_ENVELOPE_UPDATE, row->row, &envelope, err);
}

static bool change(KeyStore *store, const KeyRecord *changed, const KeyReason *reason, Error *err)
{
	KeyRow was, row;

	if (!get(store, changed->id, changed->version, &was, err) ||
	    !key_state_check(&was.key, changed->state, err) ||
	    !check_lasting(&was.key, changed, err) ||
	    !check_action(reason, false, was.key.state, changed->state, err))
		return false;
	row.row = was.row;
	row.key = *changed;
	row.key.created_s = was.key.created_s;
	row.key.changed_s = reason->now_s;
	return reseal(store, &was, &row.key, err) &&
	       write_row(store, KEY_SQL_KEY_UPDATE, &row, was.key.state, reason, err);
}

bool key_store_change(KeyStore *store, const KeyRecord *changed, const KeyReason *reason,
		      Error *err)
{
	KeyRecord judged = *changed;

	judged.created_s = judged.changed_s = reason->now_s;
	if (!key_record_check(&judged, err) || !key_store_enter(store, err))
		return false;
	return key_store_leave(store, change(store, changed, reason, err), err);
}

static bool note(KeyStore *store, const KeyRecord *key, const KeyReason *reason, Error *err)
{
	KeyRow row = { .row = 0 };

	if (key && !get(store, key->id, key->version, &row, err))
		return false;
	return log_row(store, &row, row.key.state, reason, err);
}

bool key_store_note(KeyStore *store, const KeyRecord *key, const KeyReason *reason, Error *err)
{
	if (reason->action != KEY_REFUSED && reason->action != KEY_ATTESTED &&
	    (reason->action != KEY_OPENED || !key))
		return error_set(err, ERROR_USAGE, "\"%s\" is no note",
				 key_action_words[reason->action]);
	if (!key_store_enter(store, err))
		return false;
	return key_store_leave(store, note(store, key, reason, err), err);
}

/* --- verifying --- */

/* A destroyed key has no envelope any more; every other one opens, into `scratch`, or its value is
 * elsewhere. */
static bool verify_envelope(KeyStore *store, const KeyRow *row, Secret *scratch, Error *err)
{
	KeyEnvelope envelope;

	if (!read_envelope(store, row, &envelope, err))
		return false;
	if (row->key.state == KEY_DESTROYED)
		return !memcmp(&envelope, &no_envelope, sizeof(envelope)) ||
		       error_set(err, ERROR_AUTH,
				 "key store: the key of row %" PRIu64
				 " is destroyed but has an envelope",
				 row->row);
	if (!is_kept(&envelope))
		return !is_embedded(&row->key) || error_set(err, ERROR_AUTH,
							    "key store: the key of row %" PRIu64
							    " is not destroyed but has no envelope",
							    row->row);
	return key_unseal_into(store->root, &row->key, &envelope, scratch, err);
}

static bool count_envelopes(KeyStore *store, uint64_t rows, Error *err)
{
	AUTO_KEY_SQL sqlite3_stmt *statement = key_sql(store, KEY_SQL_ENVELOPE_COUNT);
	uint64_t count;

	if (sqlite3_step(statement) != SQLITE_ROW)
		return key_store_fail(store, "cannot count envelopes", err);
	if (!key_sql_number(statement, 0, &count, err))
		return false;
	return count == rows ||
	       error_set(err, ERROR_AUTH, "key store: %" PRIu64 " envelopes for %" PRIu64 " keys",
			 count, rows);
}

bool key_store_verify_keys(KeyStore *store, uint64_t *cursor, size_t count, size_t *ret_count,
			   Error *err)
{
	AUTO_KEY_SQL sqlite3_stmt *statement = key_sql(store, KEY_SQL_KEY_LIST);
	AUTO_SECRET Secret *scratch = secret_new(KEY_BYTES, err);
	KeyRow row = { .row = *cursor };
	size_t done = 0;
	int code = SQLITE_ROW;

	if (!scratch)
		return false;
	sqlite3_bind_int64(statement, 1, *cursor > INT64_MAX ? INT64_MAX : (sqlite3_int64)*cursor);
	while (done < count && (code = sqlite3_step(statement)) == SQLITE_ROW) {
		if (!read_row(store, statement, &row, err) ||
		    !verify_envelope(store, &row, scratch, err))
			return false;
		done++;
	}
	if (code != SQLITE_ROW && code != SQLITE_DONE)
		return key_store_fail(store, "cannot read the keys", err);
	*cursor = code == SQLITE_ROW ? row.row : 0;
	*ret_count = done;
	return *cursor || count_envelopes(store, row.row, err);
}

bool key_rows_verify(KeyStore *store, uint64_t rows, Error *err)
{
	AUTO_KEY_SQL sqlite3_stmt *statement = key_sql(store, KEY_SQL_KEY_LIST);
	AUTO_SECRET Secret *scratch = secret_new(KEY_BYTES, err);
	KeyRow row = { .row = 0 };
	uint64_t seen = 0;
	int code;

	if (!scratch)
		return false;
	sqlite3_bind_int64(statement, 1, 0);
	while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
		if (!read_row(store, statement, &row, err) ||
		    !verify_envelope(store, &row, scratch, err))
			return false;
		if (row.row != ++seen)
			break;
	}
	if (code != SQLITE_ROW && code != SQLITE_DONE)
		return key_store_fail(store, "cannot read the keys", err);
	if (code == SQLITE_ROW || seen != rows)
		return error_set(err, ERROR_AUTH,
				 "key store: the record of row %" PRIu64
				 " was removed, or is not in the log",
				 code == SQLITE_ROW ? seen : seen + 1);
	return count_envelopes(store, rows, err);
}
