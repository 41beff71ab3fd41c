/* SPDX-License-Identifier: Apache-2.0 */
/* Lengths of arrays in subsections that the twin does not have. */
#include "tests/qemustream/device_state.h"

#include <string.h>

#include "guard/device_length.h"

#define ARRAY(name, type, size, count)                                                             \
	"{\"name\": \"" name "\", \"array_len\": " count ", \"type\": \"" type                     \
	"\", \"size\": " size "}"
#define SUB(name, fields)    "{\"vmsd_name\": \"" name "\", \"version\": 1, \"fields\": [" fields "]}"
#define WITH_SUB(table, sub) TABLE(table, FIELD("a", "uint8", "1")) ", \"subsections\": [" sub "]"
#define SERIAL(sub)	     DESCRIPTION(DEVICE("d", WITH_SUB("serial", sub)) ", " CPUS)
#define CPUS                                                                                       \
	DEVICE("c0", TABLE("cpu_common", FIELD("a", "uint8", "1")))                                \
	", " DEVICE("c1", TABLE("cpu_common", FIELD("a", "uint8", "1")))
#define FIFO(bytes, size)                                                                          \
	SUB("serial/recv_fifo",                                                                    \
	    STRUCT("recv_fifo", size, TABLE("Fifo8", FIELD("data", "buffer", bytes))))
#define CPUHP(devices)                                                                             \
	SUB("serial/cpuhp",                                                                        \
	    STRUCT("state", devices,                                                               \
		   TABLE("CPU hotplug state", ARRAY("devs", "uint8", "1", devices))))
#define CPU(sub) DESCRIPTION(DEVICE("d", WITH_SUB("cpu", sub)) ", " CPUS)

static const char twin_json[] =
	SERIAL(SUB("serial/mine", ARRAY("x", "uint8", "1", "4") ", " FIELD("y", "buffer", "9")));
static const char cpu_json[] = CPU("");
static const char dump_json[] =
	"{\"s\": {\"Name\": \"s\", \"version_id\": 2, \"minimum_version_id\": 2, \"Description\": "
	"{\"name\": \"serial\", \"version_id\": 2, \"minimum_version_id\": 2, \"Subsections\": ["
	"{\"name\": \"serial/told\", \"version_id\": 1, \"minimum_version_id\": 1, \"Fields\": ["
	"{\"field\": \"e\", \"version_id\": 0, \"field_exists\": false, \"num\": 3, \"size\": 1}]}"
	"]}}}";

typedef struct Case {
	const char *incoming, *local;
	const char *part; /* of the refusal; NULL: it passes */
} Case;

static const Case cases[] = {
	{ SERIAL(FIFO("16", "16")), twin_json, NULL },
	{ SERIAL(FIFO("15", "15")), twin_json, "bytes of its array (15, not 16)" },
	{ SERIAL(FIFO("17", "17")), twin_json, "bytes of its array (17, not 16)" },
	{ SERIAL(CPUHP("2")), twin_json, NULL },
	{ SERIAL(CPUHP("3")), twin_json, "one for each CPU (3, not 2)" },
	{ SERIAL(SUB("serial/any", FIELD("x", "uint32", "4"))), twin_json, NULL },
	{ SERIAL(SUB("serial/any", ARRAY("x", "uint32", "4", "2"))), twin_json,
	  "x: an array of which nothing" },
	{ SERIAL(SUB("serial/any", FIELD("x", "buffer", "4"))), twin_json,
	  "x: an array of which nothing" },
	{ SERIAL(SUB("serial/told", ARRAY("e", "uint8", "1", "3"))), twin_json, NULL },
	{ SERIAL(SUB("serial/told", ARRAY("e", "uint8", "1", "4"))), twin_json,
	  "e: an array of which nothing" },
	{ SERIAL(SUB("serial/mine", ARRAY("x", "uint8", "1", "4"))), twin_json, NULL },
	{ SERIAL(SUB("serial/mine", ARRAY("x", "uint8", "1", "5"))), twin_json,
	  "x: an array of which nothing" },
	{ SERIAL(SUB("serial/mine", FIELD("y", "buffer", "9"))), twin_json, NULL },
	{ SERIAL(SUB("serial/mine", FIELD("y", "buffer", "10"))), twin_json,
	  "y: an array of which nothing" },
	/* The length of the whole is compared with known_layout.h before. */
	{ CPU(SUB("cpu/mpx", FIELD("x", "buffer", "88"))), cpu_json, NULL },
	{ CPU(SUB("cpu/nested_state", FIELD("x", "uint64", "8"))), cpu_json, NULL },
	{ CPU(SUB("cpu/nested_state", FIELD("x", "buffer", "40"))), cpu_json,
	  "more than its least length (40, not 8)" },
};

static void test_cases(void **state)
{
	Error err = ERROR_INIT;
	AUTO_DUMP_VMSTATE DumpVmstate *dump =
		dump_vmstate_parse(dump_json, sizeof(dump_json) - 1, &err);

	(void)state;
	if (!dump)
		fail_msg("%s", err.text);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		AUTO_VMDESC VmDescription *incoming = describe(cases[i].incoming);
		AUTO_VMDESC VmDescription *local = describe(cases[i].local);

		if (cases[i].part)
			assert_fails(device_length_judge(incoming, local, dump, &err), ERROR_PEER,
				     cases[i].part, &err);
		else
			assert_works(device_length_judge(incoming, local, dump, &err), &err);
		if (cases[i].part)
			assert_memory_equal(err.text, "guard-device-length: ", 21);
	}
}

static void test_without_tables(void **state)
{
	AUTO_VMDESC VmDescription *told =
		describe(SERIAL(SUB("serial/told", ARRAY("e", "uint8", "1", "3"))));
	AUTO_VMDESC VmDescription *local = describe(twin_json);
	Error err;

	(void)state;
	assert_fails(device_length_judge(told, local, NULL, &err), ERROR_PEER,
		     "e: an array of which nothing", &err);
	assert_works(device_length_judge(local, local, NULL, &err), &err);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cases),
		cmocka_unit_test(test_without_tables),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
