/* SPDX-License-Identifier: Apache-2.0 */
#include "store/records.h"

const char *const vm_state_words[VM_STATE_COUNT] = {
	"starting", "running", "incoming", "migrating", "held", "moved", "stopped", "failed",
};
const char *const migration_role_words[MIGRATION_ROLE_COUNT] = { "source", "destination" };
const char *const migration_phase_words[PHASE_COUNT] = {
	"begin", "prepare", "transfer", "switchover", "commit", "finish", "done",
};
const char *const migration_state_words[MIGRATION_STATE_COUNT] = {
	"active", "done", "failed", "cancelled", "stuck",
};

#define WORDS(o, m, table, n) \
	{ .name = #m, .kind = FIELD_ENUM, .offset = offsetof(o, m), .words = (table), .n_words = (n) }

static const Field host_fields[] = {
	SCHEMA_TEXT(HostRecord, name, TEXT_NAME, 1),
	SCHEMA_TEXT(HostRecord, address, TEXT_PRINTABLE, 1),
	SCHEMA_U64(HostRecord, port, 1, 65535),
	SCHEMA_TEXT(HostRecord, id, TEXT_PRINTABLE, 1),
};
SCHEMA_DEFINE(host_record_schema, "host", HostRecord, host_fields);

static const Field domain_fields[] = {
	SCHEMA_TEXT(DomainRecord, domain, TEXT_DOMAIN, 1),
	SCHEMA_BYTES(DomainRecord, root, 1),
	SCHEMA_BYTES(DomainRecord, crl, 0),
	SCHEMA_U64(DomainRecord, crl_next_update_s, 0, INT64_MAX),
};
SCHEMA_DEFINE(domain_record_schema, "domain", DomainRecord, domain_fields);

static const Field vm_fields[] = {
	SCHEMA_TEXT(VmRecord, name, TEXT_NAME, 1),
	SCHEMA_TEXT(VmRecord, owner, TEXT_DOMAIN, 1),
	SCHEMA_U64(VmRecord, epoch, 1, INT64_MAX),
	WORDS(VmRecord, state, vm_state_words, VM_STATE_COUNT),
	WORDS(VmRecord, mode, seal_mode_words, SEAL_MODE_COUNT),
	SCHEMA_U64(VmRecord, seen_epoch, 0, INT64_MAX),
	SCHEMA_TEXT(VmRecord, instance, TEXT_NAME, 0),
	SCHEMA_OBJECT(VmRecord, manifest, &manifest_schema),
	{ .name = "copies", .kind = FIELD_U64, .optional = true, .offset = offsetof(VmRecord, copies),
	  .max = UINT32_MAX },
	{ .name = "seen_ended", .kind = FIELD_BOOL, .optional = true,
	  .offset = offsetof(VmRecord, seen_ended) },
	{ .name = "moved_to", .kind = FIELD_TEXT, .optional = true, .offset = offsetof(VmRecord, moved_to),
	  .size = LIMIT_SPIFFE_ID, .text_class = TEXT_PRINTABLE },
	{ .name = "pools_of", .kind = FIELD_TEXT, .optional = true, .offset = offsetof(VmRecord, pools_of),
	  .size = LIMIT_DOMAIN, .text_class = TEXT_DOMAIN },
};
SCHEMA_DEFINE(vm_record_schema, "vm", VmRecord, vm_fields);

#define TIME(m) SCHEMA_U64(MigrationReport, m, 0, INT64_MAX)
/* Came later than the first records were written. */
#define LATER(m)                                                                                   \
	{ .name = #m, .kind = FIELD_U64, .optional = true, .offset = offsetof(MigrationReport, m), \
	  .max = INT64_MAX }
static const Field report_fields[] = {
	TIME(total_us),	    TIME(stream_us),	TIME(downtime_us), TIME(downtime_error_us),
	TIME(resume_us),    TIME(populate_us),	TIME(stream_bytes), TIME(wire_bytes),
	TIME(mover_cpu_us), TIME(mover_peak_bytes), LATER(guard_us), LATER(guard_warnings),
};
static SCHEMA_DEFINE(report_schema, "report", MigrationReport, report_fields);

#define OPTIONAL_BOOL(m) \
	{ .name = #m, .kind = FIELD_BOOL, .optional = true, .offset = offsetof(MigrationRecord, m) }
static const Field migration_fields[] = {
	SCHEMA_HEX(MigrationRecord, id),
	WORDS(MigrationRecord, role, migration_role_words, MIGRATION_ROLE_COUNT),
	WORDS(MigrationRecord, phase, migration_phase_words, PHASE_COUNT),
	WORDS(MigrationRecord, state, migration_state_words, MIGRATION_STATE_COUNT),
	SCHEMA_TEXT(MigrationRecord, vm, TEXT_NAME, 1),
	SCHEMA_TEXT(MigrationRecord, uuid, TEXT_UUID, 36),
	SCHEMA_TEXT(MigrationRecord, owner, TEXT_DOMAIN, 1),
	SCHEMA_U64(MigrationRecord, epoch, 1, INT64_MAX),
	SCHEMA_TEXT(MigrationRecord, peer_id, TEXT_PRINTABLE, 1),
	SCHEMA_TEXT(MigrationRecord, peer_address, TEXT_PRINTABLE, 0),
	SCHEMA_U64(MigrationRecord, peer_port, 0, 65535),
	WORDS(MigrationRecord, mode, seal_mode_words, SEAL_MODE_COUNT),
	SCHEMA_U64(MigrationRecord, channels, 0, LIMIT_STREAM_CHANNELS),
	SCHEMA_U64(MigrationRecord, booked_bytes, 0, LIMIT_MEMORY_BYTES),
	SCHEMA_U64(MigrationRecord, created_s, 0, INT64_MAX),
	SCHEMA_U64(MigrationRecord, ended_s, 0, INT64_MAX),
	SCHEMA_BOOL(MigrationRecord, ready),
	SCHEMA_BOOL(MigrationRecord, committed),
	SCHEMA_BOOL(MigrationRecord, activating),
	SCHEMA_BOOL(MigrationRecord, declined),
	SCHEMA_BOOL(MigrationRecord, cancel_owed),
	{ .name = "keys", .kind = FIELD_LIST, .optional = true, .offset = offsetof(MigrationRecord, keys),
	  .size = LIMIT_OFFERED_KEYS, .count_offset = offsetof(MigrationRecord, keys_count),
	  .object = &offered_key_schema },
	OPTIONAL_BOOL(keep_keys),
	{ .name = "manner", .kind = FIELD_ENUM, .optional = true,
	  .offset = offsetof(MigrationRecord, manner), .words = move_manner_words,
	  .n_words = MANNER_COUNT },
	OPTIONAL_BOOL(paused),
	OPTIONAL_BOOL(keys_moving),
	OPTIONAL_BOOL(keys_shared),
	OPTIONAL_BOOL(keys_exposed),
	{ .name = "permit", .kind = FIELD_HEX, .optional = true,
	  .offset = offsetof(MigrationRecord, permit), .size = DIGEST_SHA384_BYTES },
	SCHEMA_U64(MigrationRecord, category, 0, ERROR_CATEGORY_COUNT - 1),
	SCHEMA_TEXT(MigrationRecord, error, TEXT_PRINTABLE, 0),
	SCHEMA_TEXT(MigrationRecord, aead, TEXT_PRINTABLE, 0),
	{ .name = "guard", .kind = FIELD_TEXT, .optional = true, .offset = offsetof(MigrationRecord, guard),
	  .size = LIMIT_NAME, .text_class = TEXT_NAME },
	SCHEMA_OBJECT(MigrationRecord, report, &report_schema),
};
SCHEMA_DEFINE(migration_record_schema, "migration", MigrationRecord, migration_fields);

static const Field key_end_fields[] = {
	SCHEMA_HEX(KeyEndRecord, key),
	SCHEMA_TEXT(KeyEndRecord, pool, TEXT_NAME, 1),
	SCHEMA_TEXT(KeyEndRecord, volume, TEXT_NAME, 1),
	SCHEMA_TEXT(KeyEndRecord, why, TEXT_PRINTABLE, 1),
};
SCHEMA_DEFINE(key_end_record_schema, "key-end", KeyEndRecord, key_end_fields);
