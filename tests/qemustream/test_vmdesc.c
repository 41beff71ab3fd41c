/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/qemustream/device_state.h"

#include <string.h>

static void refuse(const char *json, ErrorCategory category, const char *part)
{
	VmDescription *description;
	Error err = ERROR_INIT;

	assert_fails(description = vmdesc_parse(json, strlen(json), &VMDESC_LIMITS_DEFAULT, &err),
		     category, part, &err);
	vmdesc_free(description);
}

/* A device with these fields. */
#define ONE(fields) DESCRIPTION(DEVICE("d", TABLE("t", fields)))

static void test_a_rich_device(void **state)
{
	AUTO_VMDESC VmDescription *d = describe(DESCRIPTION(DEVICE("r", RICH)));
	const VmDevice *device = vmdesc_find(d, "r", 0);
	const VmNode *n = d->nodes;

	(void)state;
	assert_non_null(device);
	assert_null(vmdesc_find(d, "r", 1));
	assert_null(vmdesc_find(d, "s", 0));
	assert_int_equal(vmdesc_payload_size(device), RICH_BYTES);
	assert_int_equal(d->payload_bytes, RICH_BYTES);
	assert_string_equal(device->vmsd_name, "rich");
	assert_int_equal(device->version, 2);
	assert_int_equal(device->end - device->first, 9);
	assert_int_equal(n[0].kind, VM_LEAF);
	assert_int_equal(n[1].count, 3);
	assert_int_equal(n[2].kind, VM_STRUCT);
	assert_int_equal(n[2].count, 2);
	assert_int_equal(n[2].end, 5);
	assert_string_equal(n[2].vmsd_name, "rich_timer");
	assert_int_equal(n[3].depth, 1);
	assert_string_equal(n[3].type, "bool");
	assert_int_equal(n[5].kind, VM_SUBSECTION);
	assert_string_equal(n[5].name, "rich/a");
	assert_int_equal(n[5].size_bytes, 16);
	assert_int_equal(n[5].end, 9);
	assert_int_equal(n[7].version, 3);
	assert_int_equal(n[7].depth, 1);
}

static void test_forms_of_fields(void **state)
{
	static const char json[] = ONE(
		"{\"name\": \"e\", \"index\": 0, \"type\": \"uint8\", \"size\": 1}, "
		/* the last element, whose index QEMU leaves out */
		FIELD("e", "uint8",
		      "1") ", "
			   "{\"name\": \"v\", \"type\": \"vstruct\", " TABLE(
				   "inner",
				   FIELD("i", "uint32",
					 "4")) ", \"size\": 4}, "
					       "{\"name\": \"t\", \"type\": \"tmp\", " TABLE(
						       "temporary",
						       "") ", \"size\": 0}, "
							   "{\"name\": \"p\", \"index\": 1, \"type\": \"struct\", \"struct\": {}, "
							   "\"size\": 1}, " FIELD("q", "qtailq",
										  "1"));
	AUTO_VMDESC VmDescription *d = describe(json);

	(void)state;
	assert_int_equal(d->nodes[0].index, 0);
	assert_int_equal(d->nodes[1].index, VMDESC_NO_INDEX);
	assert_int_equal(d->nodes[2].kind, VM_STRUCT);
	assert_int_equal(d->nodes[4].kind, VM_STRUCT);
	assert_int_equal(d->nodes[5].kind, VM_LEAF);
	assert_string_equal(d->nodes[5].type, "nullptr");
	assert_int_equal(d->devices[0].size_bytes, 1 + 1 + 4 + 0 + 1 + 1);
}

static void test_whole_descriptions(void **state)
{
	AUTO_VMDESC VmDescription *old = describe(DESCRIPTION(DEVICE(
		"slirp", "\"size\": 131, \"fields\": [" FIELD("data", "buffer", "131") "]")));
	AUTO_VMDESC VmDescription *configured = describe("{\"configuration\": {" TABLE(
		"configuration",
		FIELD("len", "uint32", "4")) "}, "
					     "\"page_size\": 4096, \"devices\": []}");

	(void)state;
	assert_int_equal(old->devices[0].size_bytes, 131);
	assert_string_equal(old->devices[0].vmsd_name, "");
	assert_true(configured->has_configuration);
	assert_int_equal(configured->configuration.size_bytes, 4);
	assert_int_equal(configured->payload_bytes, 0);
}

static void test_what_is_no_description(void **state)
{
	static const char *const bad[] = {
		"",
		"[]",
		"{}",
		"{\"page_size\": 4096}",
		"{\"devices\": []}",
		"{\"page_size\": 4096, \"devices\": {}}",
		"{\"page_size\": 4096.0, \"devices\": []}",
		"{\"page_size\": -1, \"devices\": []}",
		"{\"page_size\": 4096, \"devices\": []} ,",
		"{\"page_size\": 4096, \"devices\": [], \"more\": 1}",
		"{\"page_size\": 4096, \"devices\": [], \"devices\": []}",
		DESCRIPTION("7"),
		DESCRIPTION("{}"),
		DESCRIPTION("{\"name\": \"d\", " TABLE("t", "") "}"),
		DESCRIPTION("{\"name\": \"d\", \"instance_id\": -1, " TABLE("t", "") "}"),
		DESCRIPTION(DEVICE("d", "\"vmsd_name\": \"t\", \"version\": 1")),
		DESCRIPTION(DEVICE("d", "\"vmsd_name\": \"t\", \"fields\": []")),
		DESCRIPTION(DEVICE("d", "\"vmsd_name\": \"\", \"version\": 1, \"fields\": []")),
		DESCRIPTION(DEVICE("d", TABLE("t", "") ", \"size\": 0")),
		DESCRIPTION(DEVICE("", TABLE("t", ""))),
		DESCRIPTION(DEVICE("d\\u0001", TABLE("t", ""))),
		DESCRIPTION(DEVICE("d\\u0000", TABLE("t", ""))),
		DESCRIPTION(DEVICE("\xc3\xa9", TABLE("t", ""))),
		DESCRIPTION(DEVICE("d", TABLE("t", "")) ", " DEVICE("d", TABLE("t", ""))),
		ONE("7"),
		ONE("{}"),
		ONE(FIELD("f", "uint8", "-1")),
		ONE(FIELD("f", "uint8", "1.0")),
		ONE(FIELD("f", "uint8", "\"1\"")),
		ONE(FIELD("f", "", "1")),
		ONE("{\"name\": \"f\", \"type\": \"uint8\"}"),
		ONE("{\"name\": \"f\", \"type\": \"uint8\", \"size\": 1, \"array_len\": 1}"),
		ONE("{\"name\": \"f\", \"type\": \"uint8\", \"size\": 1, \"array_len\": 0}"),
		ONE("{\"name\": \"f\", \"type\": \"uint8\", \"size\": 1, \"array_len\": 2, "
		    "\"index\": 0}"),
		ONE("{\"name\": \"f\", \"type\": \"uint8\", \"size\": 1, \"index\": -1}"),
		ONE("{\"name\": \"f\", \"type\": \"uint8\", \"size\": 1, \"more\": 1}"),
		ONE("{\"name\": \"f\", \"type\": \"uint8\", \"size\": 1, \"size\": 1}"),
		ONE("{\"name\": \"f\", \"type\": \"uint8\", \"size\": 1, \"struct\": {}}"),
		ONE("{\"name\": \"f\", \"type\": \"struct\", \"size\": 1}"),
		ONE("{\"name\": \"f\", \"type\": \"struct\", \"struct\": {}, \"size\": 2}"),
		ONE("{\"name\": \"f\", \"type\": \"qtailq\", " TABLE("e", "") ", \"size\": 2}"),
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		refuse(bad[i], ERROR_PEER, "vmdesc");
}

/* Each sum and each name stands in a pair of one that is right and one that is off by one. */
static void test_sums_and_names(void **state)
{
	vmdesc_free(describe(ONE(STRUCT("s", "4", TABLE("i", FIELD("f", "uint32", "4"))))));
	refuse(ONE(STRUCT("s", "5", TABLE("i", FIELD("f", "uint32", "4")))), ERROR_PEER,
	       "5 bytes, what is inside it 4");
	refuse(ONE(STRUCT("s", "3", TABLE("i", FIELD("f", "uint32", "4")))), ERROR_PEER, "inside");
	refuse(DESCRIPTION(DEVICE(
		       "o", "\"size\": 130, \"fields\": [" FIELD("data", "buffer", "131") "]")),
	       ERROR_PEER, "130 bytes");
	refuse(DESCRIPTION(DEVICE("o", "\"size\": 0, \"fields\": []")), ERROR_PEER, "0 fields");
#define EXTENDED(name)                                                                             \
	DESCRIPTION(DEVICE("d", TABLE("t", "") ", \"subsections\": [{" TABLE(name, "") "}]"))
	vmdesc_free(describe(EXTENDED("t/x")));
	refuse(EXTENDED("t"), ERROR_PEER, "subsection t of t");
	refuse(EXTENDED("u/x"), ERROR_PEER, "subsection u/x of t");
	(void)state;
}

static void test_bounds(void **state)
{
	static char deep[65536];
	const char *good = ONE(FIELD("f", "buffer", "1000"));
	VmdescLimits limits = VMDESC_LIMITS_DEFAULT;
	size_t used = 0;
	Error err;

	(void)state;
	refuse(ONE(FIELD("f", "buffer", "67108865")), ERROR_PEER, "67108865");
	refuse(ONE(FIELD("f", "buffer", "67108864") ", " FIELD("g", "uint8", "1")), ERROR_LIMIT,
	       "more than 67108864 bytes");
	refuse(ONE("{\"name\": \"f\", \"array_len\": 2147483647, \"type\": \"buffer\", \"size\": "
		   "67108864}"),
	       ERROR_LIMIT, "more than");
	refuse(ONE("{\"name\": \"f\", \"array_len\": 1000000, \"type\": \"struct\", \"struct\": "
		   "{" TABLE("i", FIELD("a", "uint8", "1") ", " FIELD("b", "buffer",
								      "0")) "}, "
									    "\"size\": 1}"),
	       ERROR_LIMIT, "arrays of more");
	limits.payload_bytes = 999;
	assert_fails(vmdesc_parse(good, strlen(good), &limits, &err), ERROR_PEER, "1000", &err);
	limits = VMDESC_LIMITS_DEFAULT;
	limits.json_bytes = strlen(good) - 1;
	assert_fails(vmdesc_parse(good, strlen(good), &limits, &err), ERROR_LIMIT, "bytes", &err);
	limits = VMDESC_LIMITS_DEFAULT;
	limits.devices = 0;
	assert_fails(vmdesc_parse(good, strlen(good), &limits, &err), ERROR_LIMIT, "devices", &err);
	limits = VMDESC_LIMITS_DEFAULT;
	limits.nodes = 0;
	assert_fails(vmdesc_parse(good, strlen(good), &limits, &err), ERROR_LIMIT, "0 fields",
		     &err);
	/* Nesting: of structs past our bound, then of brackets past the parser's. */
	used += (size_t)sprintf(deep, "{\"page_size\": 1, \"devices\": [{\"name\": \"d\", "
				      "\"instance_id\": 0, \"vmsd_name\": \"t\", \"version\": 1, "
				      "\"fields\": [");
	for (int i = 0; i < VMDESC_DEPTH_MAX; i++)
		used += (size_t)sprintf(deep + used,
					"{\"name\": \"f\", \"type\": \"struct\", \"size\": 0, "
					"\"struct\": {\"vmsd_name\": \"t\", \"version\": 1, "
					"\"fields\": [");
	for (int i = 0; i < VMDESC_DEPTH_MAX; i++)
		used += (size_t)sprintf(deep + used, "]}}");
	sprintf(deep + used, "]}]}");
	refuse(deep, ERROR_LIMIT, "deep");
	memset(deep, '[', sizeof(deep) - 1);
	refuse(deep, ERROR_LIMIT, "nested");
}

static void never_crash(void *context, Mutation mutation, const uint8_t *data, size_t size)
{
	VmDescription *description;
	Error err = ERROR_INIT;

	(void)context;
	description = vmdesc_parse(data, size, &VMDESC_LIMITS_DEFAULT, &err);
	if (mutation != MUTATION_FLIP)
		assert_null(description);
	vmdesc_free(description);
}

static void test_mutations(void **state)
{
	static const char good[] = DESCRIPTION(DEVICE("r", RICH));

	(void)state;
	support_mutate((const uint8_t *)good, sizeof(good) - 1, never_crash, NULL);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_rich_device),
		cmocka_unit_test(test_forms_of_fields),
		cmocka_unit_test(test_whole_descriptions),
		cmocka_unit_test(test_what_is_no_description),
		cmocka_unit_test(test_sums_and_names),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_mutations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
