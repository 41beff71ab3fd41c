/* SPDX-License-Identifier: Apache-2.0 */
/* activated: the VM runs at the destination. */
#include "wire/statement.h"

static const Field fields[] = {
	STATEMENT_COMMON_FIELDS,
	SCHEMA_HEX(Statement, previous),
	SCHEMA_U64(Statement, resume_us, 0, INT64_MAX),
};
SCHEMA_DEFINE(statement_activated_schema, "activated", Statement, fields);
