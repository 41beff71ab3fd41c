/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How QEMU tells a table in JSON, in the description of a stream (vmdesc.h) and in -dump-vmstate
 * (dump_vmstate.h): a list of fields, some with a table inside, then a list of subsections, each a
 * table. This walks them in that order without recursion; what they say is for the caller.
 */
#ifndef SEALIFT_QEMUSTREAM_JSON_TABLE_H
#define SEALIFT_QEMUSTREAM_JSON_TABLE_H

#include "qemustream/json_bounds.h"

/* How far one table is walked. Lists may be NULL; they are borrowed. */
typedef struct JsonTable {
	const json_t *fields, *subsections;
	size_t next_field, next_subsection;
} JsonTable;

/* False from any of them ends the walk. */
typedef struct JsonTableVisitor {
	/* The innermost table; one that a visitor has opened is walked before its outer one goes
	 * on. */
	JsonTable *(*innermost)(void *context);
	bool (*on_field)(void *context, const json_t *field);
	bool (*on_subsection)(void *context, const json_t *table);
	/* The innermost table has ended: leaves it, or says that it was the outermost. */
	bool (*on_end)(void *context, bool *ret_is_outermost);
} JsonTableVisitor;

/* Whether all was walked. The caller bounds how deep and how much by what its visitors open. */
MUST_CHECK bool json_table_walk(const JsonTableVisitor *visitor, void *context);

#endif
