/* SPDX-License-Identifier: Apache-2.0 */
/* declined: the destination never ran the VM after this commit, and never will: it is handed back. */
#include "wire/statement.h"

static const Field fields[] = {
	STATEMENT_COMMON_FIELDS,
	SCHEMA_HEX(Statement, previous),
	SCHEMA_TEXT(Statement, reason, TEXT_PRINTABLE, 1),
};
SCHEMA_DEFINE(statement_declined_schema, "declined", Statement, fields);
