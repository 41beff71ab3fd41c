/* SPDX-License-Identifier: Apache-2.0 */
/* commit: the source gives the VM away; from here on only the destination may run it. */
#include "wire/statement.h"

static const Field fields[] = {
	STATEMENT_COMMON_FIELDS,
	SCHEMA_HEX(Statement, previous),
};
SCHEMA_DEFINE(statement_commit_schema, "commit", Statement, fields);
