/* SPDX-License-Identifier: Apache-2.0 */
#include "role/keyd_messages.h"

const char *const keyd_change_words[KEYD_CHANGE_KIND_COUNT] = { "activate", "deactivate",
								"destroy" };

#define WHO(type)	    SCHEMA_TEXT(type, who, TEXT_PRINTABLE, 1)
#define COUNT(type, member) SCHEMA_U64(type, member, 0, INT64_MAX)

static const Field head_fields[] = {
	COUNT(KeydHead, entries),
	SCHEMA_HEX(KeydHead, chain),
};
SCHEMA_DEFINE(keyd_head_schema, "head", KeydHead, head_fields);

static const Field who_fields[] = { WHO(KeydWho) };
SCHEMA_DEFINE(keyd_who_schema, "who", KeydWho, who_fields);

static const Field create_fields[] = {
	WHO(KeydCreate),
	{ .name = "purpose",
	  .kind = FIELD_ENUM,
	  .offset = offsetof(KeydCreate, purpose),
	  .words = key_purpose_words,
	  .n_words = KEY_PURPOSE_COUNT },
	SCHEMA_TEXT(KeydCreate, vm, TEXT_UUID, 1),
	SCHEMA_TEXT(KeydCreate, owner, TEXT_DOMAIN, 1),
	SCHEMA_TEXT(KeydCreate, slot, TEXT_NAME, 1),
	SCHEMA_TEXT(KeydCreate, backend, TEXT_NAME, 1),
	COUNT(KeydCreate, epoch),
};
SCHEMA_DEFINE(keyd_create_schema, "create", KeydCreate, create_fields);

static const Field name_fields[] = {
	WHO(KeydName),
	SCHEMA_HEX(KeydName, id),
	COUNT(KeydName, version),
};
SCHEMA_DEFINE(keyd_name_schema, "name", KeydName, name_fields);

static const Field list_fields[] = {
	WHO(KeydList),
	SCHEMA_TEXT(KeydList, vm, TEXT_PRINTABLE, 0),
	COUNT(KeydList, cursor),
};
SCHEMA_DEFINE(keyd_list_schema, "list", KeydList, list_fields);

static const Field change_fields[] = {
	WHO(KeydChange),
	SCHEMA_HEX(KeydChange, id),
	COUNT(KeydChange, version),
	SCHEMA_ENUM(KeydChange, kind, keyd_change_words),
};
SCHEMA_DEFINE(keyd_change_schema, "change", KeydChange, change_fields);

static const Field open_fields[] = {
	WHO(KeydOpen),
	SCHEMA_HEX(KeydOpen, id),
	SCHEMA_U64(KeydOpen, version, 1, INT64_MAX),
	SCHEMA_TEXT(KeydOpen, vm, TEXT_UUID, 1),
	COUNT(KeydOpen, epoch),
	SCHEMA_HEX(KeydOpen, migration),
};
SCHEMA_DEFINE(keyd_open_schema, "open", KeydOpen, open_fields);

static const Field log_fields[] = {
	WHO(KeydLog),
	SCHEMA_U64(KeydLog, first, 1, INT64_MAX),
};
SCHEMA_DEFINE(keyd_log_schema, "log", KeydLog, log_fields);

static const Field verify_fields[] = {
	WHO(KeydVerify),
	SCHEMA_BOOL(KeydVerify, begin),
};
SCHEMA_DEFINE(keyd_verify_schema, "verify-store", KeydVerify, verify_fields);

static const Field keys_fields[] = {
	COUNT(KeydKeys, cursor),
	SCHEMA_LIST(KeydKeys, keys, &key_record_schema, 0),
};
SCHEMA_DEFINE(keyd_keys_schema, "key-page", KeydKeys, keys_fields);

static const Field changed_fields[] = {
	COUNT(KeydChanged, keys),
	COUNT(KeydChanged, left),
};
SCHEMA_DEFINE(keyd_changed_schema, "changed", KeydChanged, changed_fields);

static const Field entries_fields[] = {
	COUNT(KeydEntries, total),
	SCHEMA_LIST(KeydEntries, entries, &key_log_entry_schema, 0),
};
SCHEMA_DEFINE(keyd_entries_schema, "entries", KeydEntries, entries_fields);

static const Field verified_fields[] = {
	COUNT(KeydVerified, entries),
	COUNT(KeydVerified, keys),
	SCHEMA_BOOL(KeydVerified, done),
};
SCHEMA_DEFINE(keyd_verified_schema, "verified-store", KeydVerified, verified_fields);

static const Field progress_fields[] = {
	COUNT(KeydProgress, entries),
	COUNT(KeydProgress, total),
	COUNT(KeydProgress, keys),
};
SCHEMA_DEFINE(keyd_progress_schema, "progress", KeydProgress, progress_fields);

static const Field abandon_fields[] = {
	WHO(KeydAbandon),
	SCHEMA_HEX(KeydAbandon, id),
	SCHEMA_U64(KeydAbandon, version, 1, INT64_MAX),
	SCHEMA_HEX(KeydAbandon, migration),
	SCHEMA_TEXT(KeydAbandon, seen_by, TEXT_DOMAIN, 1),
	SCHEMA_TEXT(KeydAbandon, reason, TEXT_PRINTABLE, 1),
};
SCHEMA_DEFINE(keyd_abandon_schema, "abandon", KeydAbandon, abandon_fields);

static const Field helper_fields[] = {
	SCHEMA_TEXT(KeydHelper, name, TEXT_NAME, 1),
	SCHEMA_ENUM(KeydHelper, kind, helper_kind_words),
	SCHEMA_TEXT(KeydHelper, why, TEXT_PRINTABLE, 0),
};
SCHEMA_DEFINE(keyd_helper_schema, "helper", KeydHelper, helper_fields);

static const Field backend_fields[] = {
	SCHEMA_TEXT(KeydBackend, name, TEXT_NAME, 1),
	SCHEMA_TEXT(KeydBackend, type, TEXT_NAME, 1),
	SCHEMA_BOOL(KeydBackend, usable),
	SCHEMA_TEXT(KeydBackend, text, TEXT_PRINTABLE, 0),
};
static SCHEMA_DEFINE(backend_schema, "backend", KeydBackend, backend_fields);

static const Field backends_fields[] = {
	SCHEMA_TEXT(KeydBackends, root, TEXT_NAME, 1),
	SCHEMA_LIST(KeydBackends, backends, &backend_schema, 1),
};
SCHEMA_DEFINE(keyd_backends_schema, "backends", KeydBackends, backends_fields);

#define STARTING IPC_IN(ROLE_STARTING)
#define SERVING	 IPC_IN(ROLE_SERVING)

/* type, schema, least and most descriptors, states, next state, name */
const IpcRule keyd_rules[] = {
	{ ROLE_ANCHOR, &role_anchor_schema, 0, 0, IPC_ANY, IPC_KEEP, "anchor" },
	{ ROLE_CRL, &role_crl_schema, 0, 0, IPC_ANY, IPC_KEEP, "crl" },
	{ ROLE_FORGET, &role_forget_schema, 0, 0, IPC_ANY, IPC_KEEP, "forget" },
	{ KEYD_START, &keyd_head_schema, 0, 0, STARTING, ROLE_SERVING, "start" },
	{ KEYD_CREATE, &keyd_create_schema, 0, 0, SERVING, IPC_KEEP, "create" },
	{ KEYD_SHOW, &keyd_name_schema, 0, 0, SERVING, IPC_KEEP, "show" },
	{ KEYD_LIST, &keyd_list_schema, 0, 0, SERVING, IPC_KEEP, "list" },
	{ KEYD_ROTATE, &keyd_name_schema, 0, 0, SERVING, IPC_KEEP, "rotate" },
	{ KEYD_CHANGE, &keyd_change_schema, 0, 0, SERVING, IPC_KEEP, "change" },
	{ KEYD_OPEN, &keyd_open_schema, 0, 0, SERVING, IPC_KEEP, "open" },
	{ KEYD_USED, NULL, 0, 0, SERVING, IPC_KEEP, "used" },
	{ KEYD_LOG, &keyd_log_schema, 0, 0, SERVING, IPC_KEEP, "log" },
	{ KEYD_VERIFY, &keyd_verify_schema, 0, 0, SERVING, IPC_KEEP, "verify" },
	{ KEYD_PLACES, &keyd_who_schema, 0, 0, SERVING, IPC_KEEP, "places" },
	{ KEYD_TRANSFER, &key_transfer_schema, 0, 0, SERVING, IPC_KEEP, "transfer" },
	{ KEYD_ABANDON, &keyd_abandon_schema, 0, 0, SERVING, IPC_KEEP, "abandon" },
	{ KEYD_HELPER, &keyd_helper_schema, 0, 1, IPC_ANY, IPC_KEEP, "helper" },
	{ 0 },
};

const IpcRule engine_keyd_rules[] = {
	{ ROLE_READY, NULL, 0, 0, STARTING, ROLE_SERVING, "ready" },
	{ ROLE_FAILED, &role_failure_schema, 0, 0, IPC_ANY, IPC_KEEP, "failed" },
	{ KEYD_HEAD, &keyd_head_schema, 0, 0, IPC_ANY, IPC_KEEP, "head" },
	{ KEYD_KEY, &key_record_schema, 0, 0, SERVING, IPC_KEEP, "key" },
	{ KEYD_KEYS, &keyd_keys_schema, 0, 0, SERVING, IPC_KEEP, "keys" },
	{ KEYD_CHANGED, &keyd_changed_schema, 0, 0, SERVING, IPC_KEEP, "changed" },
	{ KEYD_OPENED, &key_record_schema, 1, 1, SERVING, IPC_KEEP, "opened" },
	{ KEYD_ENTRIES, &keyd_entries_schema, 0, 0, SERVING, IPC_KEEP, "entries" },
	{ KEYD_VERIFIED, &keyd_verified_schema, 0, 0, SERVING, IPC_KEEP, "verified" },
	{ KEYD_BACKEND_LIST, &keyd_backends_schema, 0, 0, SERVING, IPC_KEEP, "backend-list" },
	{ KEYD_TRANSFERRED, &key_transferred_schema, 0, 0, SERVING, IPC_KEEP, "transferred" },
	{ KEYD_PROGRESS, &keyd_progress_schema, 0, 0, STARTING, IPC_KEEP, "progress" },
	{ KEYD_HELPER_LOST, &keyd_helper_schema, 0, 0, IPC_ANY, IPC_KEEP, "helper-lost" },
	{ 0 },
};
