/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/qemustream/device_state.h"

#include <string.h>

#include "qemustream/dump_vmstate.h"

#define VERSIONS "\"version_id\": 3, \"minimum_version_id\": 1"
#define TYPE(type, table)                                                                          \
	"\"" type "\": {\"Name\": \"" type "\", " VERSIONS ", \"Description\": {" table "}}"
#define PLAIN(field)                                                                               \
	"{\"field\": \"" field "\", \"version_id\": 0, \"field_exists\": false, \"size\": 4}"

static const char good[] = "{\"vmschkmachine\": {\"Name\": \"pc\"}, " TYPE(
	"nic-a",
	"\"name\": \"nic\", " VERSIONS ", \"Fields\": [" PLAIN(
		"mac") ", {\"field\": \"ring\", \"version_id\": 2, \"field_exists\": true, "
		       "\"num\": 8, \"size\": 16, \"Description\": {\"name\": \"ring\", " VERSIONS
		       ", \"Fields\": [" PLAIN(
			       "head") "], \"Subsections\": [{\"name\": "
				       "\"ring/x\", " VERSIONS
				       "}]}}]") ", " TYPE("nic-b",
							  "\"name\": \"nic\", " VERSIONS) ", " TYPE("other",
												    "\"name\": \"other\", " VERSIONS) ", \"bare\": {\"Name\": \"bare\"}}";

static DumpVmstate *parse(const char *json)
{
	Error err = ERROR_INIT;
	DumpVmstate *dump = dump_vmstate_parse(json, strlen(json), &err);

	if (!dump)
		fail_msg("%s", err.text);
	return dump;
}

static void test_tables(void **state)
{
	AUTO_DUMP_VMSTATE DumpVmstate *dump = parse(good);
	const DumpType *a = dump_vmstate_find(dump, "nic", NULL), *b;
	const DumpNode *n = &dump->nodes[a->first];

	(void)state;
	assert_int_equal(dump->types_count, 5);
	assert_string_equal(a->name, "nic-a");
	assert_int_equal(a->version, 3);
	assert_int_equal(a->minimum_version, 1);
	assert_int_equal(a->end - a->first, 4);
	assert_string_equal(n[0].name, "mac");
	assert_int_equal(n[0].kind, DUMP_FIELD);
	assert_int_equal(n[0].size_bytes, 4);
	assert_false(n[0].is_conditional);
	assert_int_equal(n[1].kind, DUMP_STRUCT);
	assert_int_equal(n[1].count, 8);
	assert_int_equal(n[1].field_version, 2);
	assert_true(n[1].is_conditional);
	assert_int_equal(n[1].end, a->end);
	assert_int_equal(n[3].kind, DUMP_SUBSECTION);
	assert_ptr_equal(dump_vmstate_subsection(dump, a, "ring/x"), &n[3]);
	b = dump_vmstate_find(dump, "nic", a);
	assert_string_equal(b->name, "nic-b");
	assert_null(dump_vmstate_subsection(dump, b, "ring/x"));
	assert_null(dump_vmstate_find(dump, "nic", b));
	assert_null(dump_vmstate_find(dump, "nic-a", NULL));
	assert_null(dump_vmstate_find(dump, "", NULL));
}

static void test_what_is_no_dump(void **state)
{
	static const char *const bad[] = {
		"",
		"[]",
		"{" TYPE("t", "\"name\": \"t\", \"version_id\": 1") "}",
		"{" TYPE("t", "\"name\": \"t\", " VERSIONS ", \"more\": 1") "}",
		"{" TYPE("t", "\"name\": \"\", " VERSIONS) "}",
		"{" TYPE("t", "\"name\": \"t\", " VERSIONS ", \"Fields\": {}") "}",
		"{" TYPE("t", "\"name\": \"t\", " VERSIONS ", \"Fields\": [{}]") "}",
		"{" TYPE("t", "\"name\": \"t\", " VERSIONS ", \"Fields\": [7]") "}",
		"{" TYPE("t", "\"name\": \"t\", " VERSIONS ", \"Subsections\": [7]") "}",
		"{" TYPE("t", "\"name\": \"t\", " VERSIONS) ", " TYPE(
			"t", "\"name\": \"t\", " VERSIONS) "}",
	};
	Error err;

	(void)state;
	dump_vmstate_free(parse("{}"));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_fails(dump_vmstate_parse(bad[i], strlen(bad[i]), &err), ERROR_HYPERVISOR,
			     "-dump-vmstate", &err);
}

static void never_crash(void *context, Mutation mutation, const uint8_t *data, size_t size)
{
	DumpVmstate *dump;
	Error err = ERROR_INIT;

	(void)context;
	dump = dump_vmstate_parse(data, size, &err);
	if (mutation != MUTATION_FLIP)
		assert_null(dump);
	dump_vmstate_free(dump);
}

static void test_mutations(void **state)
{
	(void)state;
	support_mutate((const uint8_t *)good, sizeof(good) - 1, never_crash, NULL);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tables),
		cmocka_unit_test(test_what_is_no_dump),
		cmocka_unit_test(test_mutations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
