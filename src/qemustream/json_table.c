/* SPDX-License-Identifier: Apache-2.0 */
#include "qemustream/json_table.h"

bool json_table_walk(const JsonTableVisitor *visitor, void *context)
{
	bool is_outermost = false;

	while (!is_outermost) {
		JsonTable *table = visitor->innermost(context);
		bool ok;

		if (table->next_field < json_array_size(table->fields))
			ok = visitor->on_field(context,
					       json_array_get(table->fields, table->next_field++));
		else if (table->next_subsection < json_array_size(table->subsections))
			ok = visitor->on_subsection(
				context,
				json_array_get(table->subsections, table->next_subsection++));
		else
			ok = visitor->on_end(context, &is_outermost);
		if (!ok)
			return false;
	}
	return true;
}
