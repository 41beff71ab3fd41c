/* SPDX-License-Identifier: Apache-2.0 */
/* destroyed: the source has quit its stopped copy of the VM. */
#include "wire/statement.h"

static const Field fields[] = {
	STATEMENT_COMMON_FIELDS,
	SCHEMA_HEX(Statement, previous),
};
SCHEMA_DEFINE(statement_destroyed_schema, "destroyed", Statement, fields);
