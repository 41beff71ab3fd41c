/* SPDX-License-Identifier: Apache-2.0 */
/* accept: the destination has made a reservation: the incoming VM exists and holds its memory. */
#include "wire/statement.h"

static const Field fields[] = {
	STATEMENT_COMMON_FIELDS,
	SCHEMA_HEX(Statement, previous),
	SCHEMA_HEX(Statement, share),
	SCHEMA_ENUM(Statement, mode, seal_mode_words),
	SCHEMA_U64(Statement, channels, 1, LIMIT_STREAM_CHANNELS),
	SCHEMA_U64(Statement, version_min, 0, 1000),
	SCHEMA_U64(Statement, version_max, 0, 1000),
	SCHEMA_HEX(Statement, routing),
	SCHEMA_U64(Statement, lease_s, 1, 86400),
	SCHEMA_U64(Statement, memory_bytes, LIMIT_MEMORY_MIN, LIMIT_MEMORY_BYTES),
	SCHEMA_BOOL(Statement, populated),
	SCHEMA_U64(Statement, populate_us, 0, INT64_MAX),
	SCHEMA_BOOL(Statement, forbids_encryption),
};
SCHEMA_DEFINE(statement_accept_schema, "accept", Statement, fields);
