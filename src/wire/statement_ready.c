/* SPDX-License-Identifier: Apache-2.0 */
/* ready: the VM is loaded at the destination, completed and paused; it will run on commit only. */
#include "wire/statement.h"

static const Field fields[] = {
	STATEMENT_COMMON_FIELDS,
	SCHEMA_HEX(Statement, previous),
};
SCHEMA_DEFINE(statement_ready_schema, "ready", Statement, fields);
