/* SPDX-License-Identifier: Apache-2.0 */
/* offer: the source asks the destination to take this VM, and says all that it needs to judge that. */
#include "wire/statement.h"

static const Field fields[] = {
	STATEMENT_COMMON_FIELDS,
	SCHEMA_HEX(Statement, share),
	SCHEMA_ENUM(Statement, mode, seal_mode_words),
	SCHEMA_U64(Statement, channels, 1, LIMIT_STREAM_CHANNELS),
	SCHEMA_U64(Statement, version_min, 0, 1000),
	SCHEMA_U64(Statement, version_max, 0, 1000),
	SCHEMA_OBJECT(Statement, manifest, &manifest_schema),
	{ .name = "keys", .kind = FIELD_LIST, .optional = true, .offset = offsetof(Statement, keys),
	  .size = LIMIT_OFFERED_KEYS, .count_offset = offsetof(Statement, keys_count),
	  .object = &offered_key_schema },
	{ .name = "keep_keys", .kind = FIELD_BOOL, .optional = true,
	  .offset = offsetof(Statement, keep_keys) },
	{ .name = "manner", .kind = FIELD_ENUM, .optional = true, .offset = offsetof(Statement, manner),
	  .words = move_manner_words, .n_words = MANNER_COUNT },
};
SCHEMA_DEFINE(statement_offer_schema, "offer", Statement, fields);
