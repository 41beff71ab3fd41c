/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/qemustream/device_state.h"

#include <string.h>

#include "qemustream/compare.h"

typedef struct Case {
	const char *incoming, *local;
	const char *part; /* of the refusal, NULL if it fits */
} Case;

#define V(version, fields)                                                                         \
	"\"vmsd_name\": \"t\", \"version\": " version ", \"fields\": [" fields "]"
#define D(table)    DESCRIPTION(DEVICE("d", table))
#define ONE(fields) D(V("2", fields))
#define ARRAY(name, type, size, count)                                                             \
	"{\"name\": \"" name "\", \"array_len\": " count ", \"type\": \"" type                     \
	"\", \"size\": " size "}"
#define EXTENDED(table, subsections) D(table ", \"subsections\": [" subsections "]")
#define SUB(name, version, fields)                                                                 \
	"{\"vmsd_name\": \"" name "\", \"version\": " version ", \"fields\": [" fields "]}"
#define U8(name)  FIELD(name, "uint8", "1")
#define U64(name) FIELD(name, "uint64", "8")
#define CPU	  "\"vmsd_name\": \"cpu\", \"version\": 2, \"fields\": []"

static const char dump_text[] =
	"{\"t-type\": {\"Name\": \"t-type\", \"version_id\": 2, \"minimum_version_id\": 2, "
	"\"Description\": {\"name\": \"t\", \"version_id\": 2, \"minimum_version_id\": 2, "
	"\"Subsections\": [{\"name\": \"t/known\", \"version_id\": 3, \"minimum_version_id\": 2, "
	"\"Fields\": ["
	"{\"field\": \"a\", \"version_id\": 0, \"field_exists\": false, \"size\": 1}, "
	"{\"field\": \"b\", \"version_id\": 0, \"field_exists\": true, \"size\": 8}, "
	"{\"field\": \"c\", \"version_id\": 3, \"field_exists\": false, \"size\": 8}, "
	"{\"field\": \"e\", \"version_id\": 0, \"field_exists\": false, \"num\": 3, \"size\": 1}, "
	"{\"field\": \"s\", \"version_id\": 0, \"field_exists\": true, \"size\": 8, "
	"\"Description\": {\"name\": \"inner\", \"version_id\": 1, \"minimum_version_id\": 0, "
	"\"Fields\": [{\"field\": \"x\", \"version_id\": 0, \"field_exists\": false, \"size\": 1}]}}"
	"], \"Subsections\": [{\"name\": \"t/known/more\", \"version_id\": 1, "
	"\"minimum_version_id\": 1}]}]}}}";

#define E3 ARRAY("e", "uint8", "1", "3")
#define INNER(name, fields)                                                                        \
	"{\"name\": \"s\", \"type\": \"struct\", \"struct\": {\"vmsd_name\": \"" name "\", "       \
	"\"version\": 1, \"fields\": [" fields "]}, \"size\": 1}"

#define OLD_INNER                                                                                  \
	"{\"name\": \"s\", \"type\": \"struct\", \"struct\": {\"vmsd_name\": \"inner\", "          \
	"\"version\": 0, \"fields\": [" U8("x") "]}, \"size\": 1}"

/* `count` of an array of structs of these fields. */
#define MANY(name, count, size, fields)                                                            \
	"{\"name\": \"s\", \"array_len\": " count ", \"type\": \"struct\", \"struct\": {"          \
	"\"vmsd_name\": \"" name "\", \"version\": 1, \"fields\": [" fields "]}, \"size\": " size  \
	"}"
#define ELEMENT(index) "{\"name\": \"e\", \"index\": " index ", \"type\": \"uint8\", \"size\": 1}"
/* A flag, and a field that is there if it is set. */
#define IDENTIFY(type, size)                                                                       \
	D(TABLE("ide_drive", U8("identify_set") ", " FIELD("identify_data", type, size)))
#define IDENTIFY_TWICE                                                                             \
	D(TABLE("ide_drive",                                                                       \
		U8("identify_set") ", " FIELD("identify_data", "buffer", "512") ", " FIELD(        \
			"identify_data", "buffer", "512")))
#define IDENTIFY_FIRST                                                                             \
	D(TABLE("ide_drive", FIELD("identify_data", "buffer", "512") ", " U8("identify_set")))
#define IDENTIFY_LAST(last) D(TABLE("ide_drive", U8("identify_set") ", " U8("f") ", " last))
#define NO_IDENTIFY	    D(TABLE("ide_drive", U8("identify_set")))

static const Case fields[] = {
	{ ONE(U8("f")), ONE(U8("f")), NULL },
	{ D(V("3", U8("f"))), ONE(U8("f")), "version 3, ours is 2" },
	/* QEMU would leave out fields that are newer than the section. */
	{ ONE(U8("f")), D(V("3", U8("f"))), "version 2, ours is 3" },
	{ D(V("1", U8("f"))), ONE(U8("f")), "version 1, ours is 2" },
	{ ONE(U8("g")), ONE(U8("f")), "field g of t, not the local f" },
	{ ONE(FIELD("f", "int8", "1")), ONE(U8("f")), "type int8, not the local uint8" },
	{ ONE(FIELD("f", "buffer", "2")), ONE(FIELD("f", "buffer", "1")), "another size" },
	{ ONE(U8("f") ", " U8("g")), ONE(U8("f")), "one side only (incoming 1, local 0)" },
	{ ONE(U8("f")), ONE(U8("f") ", " U8("g")), "one side only (incoming 0, local 1)" },
	{ ONE(""), ONE(U8("f")), "one side only" },
	{ ONE(ARRAY("f", "uint8", "1", "2")), ONE(ARRAY("f", "uint8", "1", "2")), NULL },
	{ ONE(ARRAY("f", "uint8", "1", "3")), ONE(ARRAY("f", "uint8", "1", "2")), "another count" },
	{ ONE(ARRAY("f", "uint8", "2", "2")), ONE(ARRAY("f", "uint8", "1", "4")), "another count" },
	{ ONE(ARRAY("free", "uint8", "1", "16")), ONE(ARRAY("free", "uint8", "1", "2")), NULL },
	{ ONE(ARRAY("free", "uint8", "1", "17")), ONE(ARRAY("free", "uint8", "1", "2")),
	  "longer than the bound" },
	{ ONE(U8("a") ", " U8("free") ", " U8("b")), ONE(U8("a") ", " U8("b")), NULL },
	{ ONE(U8("a") ", " U8("b")), ONE(U8("a") ", " U8("free") ", " U8("b")), NULL },
	{ ONE(U8("free")), ONE(""), NULL },
	{ ONE(""), ONE(U8("free")), NULL },
	{ ONE(FIELD("f", "virtio", "90")), ONE(FIELD("f", "virtio", "80")), NULL },
	{ ONE(FIELD("f", "virtio", "90")), ONE(FIELD("g", "virtio", "80")),
	  "field f of t, not the local g" },
	{ ONE(""), ONE(FIELD("f", "virtio", "80")), "one side only" },
	{ ONE(FIELD("f", "virtio", "80")), ONE(""), "one side only" },
	{ ONE(FIELD("f", "virtio", "101")), ONE(FIELD("f", "virtio", "80")),
	  "longer than the bound" },
	{ ONE(FIELD("f", "unused_buffer", "1")), ONE(U8("g")), NULL },
	{ ONE(U8("g")), ONE(FIELD("f", "unused_buffer", "1")), NULL },
	/* What is judged, or compared by QEMU, stays what it is. */
	{ ONE(FIELD("f", "unused_buffer", "1")), ONE(U8("judged")), "not the local judged" },
	{ ONE(FIELD("judged", "unused_buffer", "1")), ONE(U8("judged")),
	  "type unused_buffer, not the local uint8" },
	{ ONE(U8("judged")), ONE(FIELD("f", "unused_buffer", "1")), NULL },
	{ ONE(FIELD("f", "unused_buffer", "1")), ONE(FIELD("g", "uint8 equal", "1")),
	  "not the local g" },
	{ ONE(FIELD("f", "unused_buffer", "2")), ONE(U8("g")), "field f of t, not the local g" },
	{ ONE(STRUCT("s", "1", TABLE("i", U8("f")))), ONE(STRUCT("s", "1", TABLE("i", U8("f")))),
	  NULL },
	{ ONE(STRUCT("s", "1", TABLE("j", U8("f")))), ONE(STRUCT("s", "1", TABLE("i", U8("f")))),
	  "table j, not the local i" },
	{ ONE(STRUCT("s", "1", TABLE("i", U8("g")))), ONE(STRUCT("s", "1", TABLE("i", U8("f")))),
	  "field g of i, not the local f" },
	{ ONE(STRUCT("s", "0", TABLE("i", ""))), ONE(STRUCT("s", "1", TABLE("i", U8("f")))),
	  "one side only" },
	{ ONE(STRUCT("s", "1", "\"vmsd_name\": \"i\", \"version\": 3, \"fields\": [" U8("f") "]")),
	  ONE(STRUCT("s", "1", TABLE("i", U8("f")))), "newer than ours" },
	{ ONE("{\"name\": \"f\", \"index\": 1, \"type\": \"uint8\", \"size\": 1}"),
	  ONE("{\"name\": \"f\", \"index\": 0, \"type\": \"uint8\", \"size\": 1}"),
	  "another index" },
	/* What 7.2 and 10.0 say of the same bytes. */
	{ D(TABLE("hpet", U8("num_timers"))), D(TABLE("hpet", U8("num_timers_save"))), NULL },
	{ D(TABLE("hpet", U8("num_timers_save"))), D(TABLE("hpet", U8("num_timers"))), NULL },
	{ D(TABLE("hpet", FIELD("num_timers", "uint16", "2"))),
	  D(TABLE("hpet", U8("num_timers_save"))), "not the local num_timers_save" },
	{ D(TABLE("globalstate", FIELD("runstate", "buffer", "100"))),
	  D(TABLE("globalstate", FIELD("runstate", "buffer", "32") ", " U8("a") ", " U8(
					 "b") ", " FIELD("c", "buffer", "66"))),
	  NULL },
	{ D(TABLE("globalstate", FIELD("runstate", "buffer", "32") ", " U8("a") ", " U8(
					 "b") ", " FIELD("c", "buffer", "66"))),
	  D(TABLE("globalstate", FIELD("runstate", "buffer", "100"))), NULL },
	{ D(TABLE("globalstate", FIELD("runstate", "buffer", "99"))),
	  D(TABLE("globalstate", FIELD("runstate", "buffer", "32") ", " U8("a") ", " U8(
					 "b") ", " FIELD("c", "buffer", "66"))),
	  "another size" },
	/* What another field of the same stream decides. */
	{ IDENTIFY("buffer", "512"), NO_IDENTIFY, NULL },
	{ NO_IDENTIFY, IDENTIFY("buffer", "512"), NULL },
	{ IDENTIFY("buffer", "512"), IDENTIFY("buffer", "512"), NULL },
	{ IDENTIFY("buffer", "511"), NO_IDENTIFY, "another length than is known" },
	{ IDENTIFY("buffer", "511"), IDENTIFY("buffer", "512"), "another length than is known" },
	{ IDENTIFY("buffer", "513"), NO_IDENTIFY, "one side only" },
	/* QEMU reads it once. */
	{ IDENTIFY_TWICE, NO_IDENTIFY, "described twice" },
	{ IDENTIFY_FIRST, NO_IDENTIFY, "not in its place" },
	{ IDENTIFY_LAST(FIELD("identify_data", "buffer", "512")), IDENTIFY_LAST(U8("g")),
	  "not in its place" },
	{ IDENTIFY_TWICE, IDENTIFY("buffer", "512"), "described twice" },
};

static const Case devices[] = {
	{ DESCRIPTION(DEVICE("d", TABLE("t", ""))), DESCRIPTION(DEVICE("d", TABLE("u", ""))),
	  "table \"t\", not the local \"u\"" },
	{ DESCRIPTION(DEVICE("d", TABLE("t", ""))), DESCRIPTION(DEVICE("e", TABLE("t", ""))),
	  "device d instance 0: this machine has none" },
	{ DESCRIPTION("{\"name\": \"d\", \"instance_id\": 1, " TABLE("t", "") "}"), ONE(""),
	  "device d instance 1: this machine has none" },
	{ DESCRIPTION(""), ONE(""), "device d instance 0 is missing" },
	{ DESCRIPTION(""), DESCRIPTION(DEVICE("perhaps", TABLE("t", ""))), NULL },
	{ DESCRIPTION(DEVICE("perhaps", TABLE("t", ""))), DESCRIPTION(""), "has none" },
	{ DESCRIPTION(DEVICE("e", TABLE("t", "")) ", " DEVICE("d", TABLE("t", ""))),
	  DESCRIPTION(DEVICE("d", TABLE("t", "")) ", " DEVICE("e", TABLE("t", ""))), NULL },
};

#define OLD_STYLE(field, size)                                                                     \
	DESCRIPTION(                                                                               \
		DEVICE("o", "\"size\": " size ", \"fields\": [" FIELD(field, "buffer", size) "]"))

static const Case old_style[] = {
	{ OLD_STYLE("data", "5"), OLD_STYLE("data", "9"), NULL },
	{ OLD_STYLE("other", "9"), OLD_STYLE("data", "9"), "field other of , not the local data" },
	{ OLD_STYLE("data", "101"), OLD_STYLE("data", "9"), "longer than the bound" },
	{ OLD_STYLE("data", "5"), DESCRIPTION(DEVICE("o", TABLE("t", ""))), "not the local \"t\"" },
};

static const Case subsections[] = {
	/* In the local description. */
	{ EXTENDED(V("2", ""), SUB("t/x", "1", U8("f"))),
	  EXTENDED(V("2", ""), SUB("t/x", "1", U8("f"))), NULL },
	{ ONE(""), EXTENDED(V("2", ""), SUB("t/x", "1", U8("f"))), NULL },
	{ EXTENDED(V("2", ""), SUB("t/x", "1", U8("g"))),
	  EXTENDED(V("2", ""), SUB("t/x", "1", U8("f"))), "field g of t/x, not the local f" },
	{ EXTENDED(V("2", ""), SUB("t/x", "2", U8("f"))),
	  EXTENDED(V("2", ""), SUB("t/x", "1", U8("f"))), "newer than ours" },
	{ EXTENDED(V("2", ""), SUB("t/x", "1", U8("f"))),
	  EXTENDED(V("2", ""), SUB("t/x", "2", U8("f"))), "older than ours" },
	{ EXTENDED(V("2", ""), SUB("t/x", "1", "") ", " SUB("t/x", "1", "")),
	  EXTENDED(V("2", ""), SUB("t/x", "1", "")), "twice" },
	/* Nowhere. */
	{ EXTENDED(V("2", ""), SUB("t/y", "1", U8("f"))), ONE(""), "known neither to the local" },
	/* In the tables. */
	{ EXTENDED(V("2", ""), SUB("t/known", "2", U8("a") ", " E3)), ONE(""), NULL },
	{ EXTENDED(V("2", ""), SUB("t/known", "3", U8("a") ", " U64("b") ", " U64("c") ", " E3)),
	  ONE(""), NULL },
	{ EXTENDED(V("2", ""), SUB("t/known", "3", U8("a") ", " E3)), ONE(""),
	  "field c is missing" },
	/* Described, but QEMU leaves it out: its bytes would be read as what follows. */
	{ EXTENDED(V("2", ""), SUB("t/known", "2", U8("a") ", " U64("c") ", " E3)), ONE(""),
	  "leave out of a version (incoming 2, local 3)" },
	{ EXTENDED(V("2", ""), SUB("t/known", "4", U8("a") ", " E3)), ONE(""), "do not load" },
	{ EXTENDED(V("2", ""), SUB("t/known", "1", U8("a") ", " E3)), ONE(""), "do not load" },
	{ EXTENDED(V("2", ""), SUB("t/known", "2", U8("a"))), ONE(""),
	  "field e is missing before the end" },
	{ EXTENDED(V("2", ""), SUB("t/known", "2", E3)), ONE(""), "field a is missing before e" },
	{ EXTENDED(V("2", ""), SUB("t/known", "2", U8("a") ", " E3 ", " U8("z"))), ONE(""),
	  "no table has field z" },
	{ EXTENDED(V("2", ""), SUB("t/known", "2", U8("a") ", " ARRAY("e", "uint8", "1", "4"))),
	  ONE(""), "another count" },
	/* An array that is told element by element; 10.0 leaves the last one's index out. */
	{ EXTENDED(V("2", ""),
		   SUB("t/known", "2", U8("a") ", " ELEMENT("0") ", " ELEMENT("1") ", " U8("e"))),
	  ONE(""), NULL },
	{ EXTENDED(V("2", ""), SUB("t/known", "2", U8("a") ", " ELEMENT("0") ", " U8("e"))),
	  ONE(""), "another count (incoming 2, local 3)" },
	{ EXTENDED(V("2", ""),
		   SUB("t/known", "2",
		       U8("a") ", " ELEMENT("0") ", " ELEMENT("1") ", " ELEMENT("2") ", " U8("e"))),
	  ONE(""), "another count (incoming 4, local 3)" },
	{ EXTENDED(V("2", ""),
		   SUB("t/known", "2", U8("a") ", " E3 ", " MANY("inner", "100", "1", U8("x")))),
	  ONE(""), NULL },
	{ EXTENDED(V("2", ""),
		   SUB("t/known", "2", U8("a") ", " E3 ", " MANY("inner", "65537", "0", ""))),
	  ONE(""), "more elements than the bound" },
	{ EXTENDED(V("2", ""), SUB("t/known", "2", FIELD("a", "uint8", "2") ", " E3)), ONE(""),
	  "not the size of its type" },
	{ EXTENDED(V("2", ""), SUB("t/known", "2", FIELD("a", "buffer", "101") ", " E3)), ONE(""),
	  "longer than the bound" },
	{ EXTENDED(V("2", ""), SUB("t/known", "2", U8("a") ", " U64("b[7]") ", " E3)), ONE(""),
	  NULL },
	{ EXTENDED(V("2", ""), SUB("t/known", "2", U8("a") ", " U64("b[]") ", " E3)), ONE(""),
	  "field e is missing before b[]" },
	{ EXTENDED(V("2", ""), SUB("t/known", "2", U8("a") ", " E3 ", " INNER("inner", U8("x")))),
	  ONE(""), NULL },
	{ EXTENDED(V("2", ""), SUB("t/known", "2", U8("a") ", " E3 ", " INNER("other", U8("x")))),
	  ONE(""), "another table inside" },
	{ EXTENDED(V("2", ""), SUB("t/known", "2", U8("a") ", " E3 ", " INNER("inner", U8("y")))),
	  ONE(""), "field x is missing" },
	{ EXTENDED(V("2", ""), SUB("t/known", "2", U8("a") ", " E3 ", " U8("s"))), ONE(""),
	  "a struct on one side only" },
	{ EXTENDED(V("2", ""), SUB("t/known", "2", U8("a") ", " E3 ", " OLD_INNER)), ONE(""),
	  "a struct of another version" },
	/* In the list of what the tables lack. */
	{ EXTENDED(CPU, SUB("cpu/pkru", "1", FIELD("p", "uint32", "4"))), D(CPU), NULL },
	{ EXTENDED(CPU, SUB("cpu/pkru", "1", FIELD("p", "uint32", "5"))), D(CPU),
	  "another length" },
	{ EXTENDED(CPU, SUB("cpu/pkru", "1", FIELD("p", "uint32", "3"))), D(CPU),
	  "another length" },
	{ EXTENDED(CPU, SUB("cpu/pkru", "2", FIELD("p", "uint32", "4"))), D(CPU),
	  "another version than" },
	{ EXTENDED(CPU, SUB("cpu/pkru", "0", FIELD("p", "uint32", "4"))), D(CPU),
	  "another version than" },
	{ EXTENDED(CPU, SUB("cpu/pkrv", "1", FIELD("p", "uint32", "4"))), D(CPU), "known neither" },
};

static bool is_judged(const char *vmsd_name, const char *field)
{
	return !strcmp(vmsd_name, "t") && !strcmp(field, "judged");
}

static bool compare(const char *incoming_text, const char *local_text, const DumpVmstate *dump,
		    Error *err)
{
	static const char *const optional[] = { "perhaps" };
	static const CompareVariable variable[] = { { "t", "free", 16 } };
	static const CompareOptions options = { .optional_devices = optional,
						.optional_devices_count = 1,
						.variable = variable,
						.variable_count = 1,
						.variable_max_bytes = 100,
						.is_judged = is_judged };
	AUTO_VMDESC VmDescription *incoming = describe(incoming_text);
	AUTO_VMDESC VmDescription *local = describe(local_text);

	return vmdesc_compare(incoming, local, dump, &options, err);
}

static void run(const Case *cases, size_t count)
{
	Error err = ERROR_INIT;
	AUTO_DUMP_VMSTATE DumpVmstate *dump =
		dump_vmstate_parse(dump_text, sizeof(dump_text) - 1, &err);

	if (!dump)
		fail_msg("%s", err.text);
	for (size_t i = 0; i < count; i++) {
		const Case *c = &cases[i];
		bool fits;

		err = ERROR_INIT;
		fits = compare(c->incoming, c->local, dump, &err);
		if (fits != !c->part || (c->part && !strstr(err.text, c->part)))
			fail_msg("case %zu: %s\n%s\n%s", i, fits ? "fits" : err.text, c->incoming,
				 c->local);
		if (!fits)
			assert_int_equal(err.category, ERROR_PEER);
	}
}

static void test_fields(void **state)
{
	(void)state;
	run(fields, ARRAY_SIZE(fields));
}

static void test_devices(void **state)
{
	(void)state;
	run(devices, ARRAY_SIZE(devices));
	run(old_style, ARRAY_SIZE(old_style));
}

static void test_subsections(void **state)
{
	(void)state;
	run(subsections, ARRAY_SIZE(subsections));
}

static void test_without_tables(void **state)
{
	Error err;

	(void)state;
	assert_works(compare(ONE(U8("f")), ONE(U8("f")), NULL, &err), &err);
	assert_fails(compare(D(V("1", U8("f"))), ONE(U8("f")), NULL, &err), ERROR_PEER,
		     "version 1, ours is 2", &err);
	assert_fails(
		compare(EXTENDED(V("2", ""), SUB("t/known", "2", U8("a"))), ONE(""), NULL, &err),
		ERROR_PEER, "known neither", &err);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fields),
		cmocka_unit_test(test_devices),
		cmocka_unit_test(test_subsections),
		cmocka_unit_test(test_without_tables),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
