/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/role_schemas.h"

#include <assert.h>

#include "role/keylink_messages.h"

static const IpcRule *const tables[] = {
	gate_rules,	   notary_verify_rules, notary_sign_rules,  mover_rules,
	engine_gate_rules, engine_notary_rules, engine_mover_rules, keyd_rules,
	engine_keyd_rules, keylink_connect_rules, keylink_serve_rules, engine_keylink_connect_rules,
};

static bool is_known(const Schema *schema, const Schema *const *schemas, size_t used)
{
	for (size_t i = 0; i < used; i++)
		if (schemas[i] == schema)
			return true;
	return false;
}

size_t role_schemas(const Schema *ret_schemas[ROLE_SCHEMAS_MAX])
{
	size_t used = 0;

	for (size_t i = 0; i < ARRAY_SIZE(tables); i++)
		for (const IpcRule *rule = tables[i]; rule->type; rule++)
			if (rule->schema && !is_known(rule->schema, ret_schemas, used)) {
				assert(used < ROLE_SCHEMAS_MAX);
				ret_schemas[used++] = rule->schema;
			}
	return used;
}
