/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SEALIFT_TESTS_FUZZ_ROLE_SCHEMAS_H
#define SEALIFT_TESTS_FUZZ_ROLE_SCHEMAS_H

#include "base/schema.h"

enum { ROLE_SCHEMAS_MAX = 96 };

/* Each schema that stands in a rule table, once, in a fixed order. */
size_t role_schemas(const Schema *ret_schemas[ROLE_SCHEMAS_MAX]);

#endif
