/* SPDX-License-Identifier: Apache-2.0 */
/* Device state without its description: good and bad sections of small devices, by what a twin
 * describes. */
#include "guard/guard_local.h"

#include <string.h>

#include "guard/guard_layout.h"
#include "tests/qemustream/device_state.h"

/* A device with a flag that makes a field be there, one that has a length of its own in the middle,
 * one whose last field has, an array, an HPET, a CPU, and one that nothing steadies. */
#define DISK                                                                                       \
	TABLE("ide_drive", FIELD("identify_set", "uint32", "4") ", " FIELD("error", "uint8", "1"))
#define MIDDLE TABLE("middle", FIELD("v", "virtio", "3") ", " FIELD("x", "uint8", "1"))
#define LAST   TABLE("last", FIELD("x", "uint8", "1") ", " FIELD("v", "virtio", "3"))
#define HPET   TABLE("hpet", FIELD("config", "uint64", "8"))
#define CPU    TABLE("cpu", FIELD("x", "uint8", "1"))
#define COMMON TABLE("cpu_common", FIELD("halted", "uint32", "4"))
#define PM     TABLE("ich9_pm", FIELD("x", "uint8", "1"))
#define ESP    TABLE("esp", FIELD("x", "uint8", "1"))
#define PORT                                                                                       \
	TABLE("PCIE_AER_ERROR_LOG",                                                                \
	      FIELD("log_num", "uint16", "2") ", " FIELD("log_max", "uint16 equal",                \
							 "2") ", " FIELD("x", "uint8", "1"))
#define OTHERS DEVICE("port", PORT) ", "
#define LOCAL                                                                                                        \
	DESCRIPTION(OTHERS DEVICE("rich", RICH) ", " DEVICE("disk", DISK) ", " DEVICE("middle", MIDDLE) ", " DEVICE( \
		"last",                                                                                              \
		LAST) ", " DEVICE("hpet",                                                                            \
				  HPET) ", " DEVICE("cpu",                                                           \
						    CPU) ", " DEVICE("common",                                       \
								     COMMON) ", " DEVICE("pm",                       \
											 PM) ", " DEVICE("esp",      \
													 ESP))

enum { ID = 9 };

/* What stands in for the decoders of virtio: as many bytes as the first one says. */
static bool fits(void *context, const FrameField *field, Error *err)
{
	(void)context;
	if (field->size_bytes && field->bytes[0] == field->size_bytes)
		return true;
	return error_set(err, ERROR_PEER, "not %zu bytes", field->size_bytes);
}

typedef struct Payload {
	const char *device;
	const char *bytes;
	size_t size;
	const char *refusal; /* NULL: it is good */
} Payload;

#define PAYLOAD(device, bytes, refusal)                                                            \
	{                                                                                          \
		(device), (bytes), sizeof(bytes) - 1, (refusal)                                    \
	}
#define OFFSET	  "\5\13hpet/offset\0\0\0\1........"
#define SMI_COUNT "\5\21cpu/msr_smi_count\0\0\0\1........"
#define ENTRY	  "0123456789012345678901234567890123456789"
#define HOTPLUG                                                                                    \
	"\5\15ich9_pm/cpuhp\0\0\0\1"                                                               \
	"1234c"                                                                                    \
	"\0\1abcdABCD"

static const Payload payloads[] = {
	PAYLOAD("hpet", "12345678", NULL),
	PAYLOAD("hpet", "12345678" OFFSET, NULL),
	PAYLOAD("hpet", "12345678" OFFSET OFFSET, NULL), /* for compare.h to see */
	PAYLOAD("hpet", "1234567", "footer"),
	PAYLOAD("hpet", "123456789", "footer"),
	PAYLOAD("hpet", "12345678\5\13hpet/offset\0\0\0\2........", "another version"),
	PAYLOAD("hpet", "12345678\5\13hpet/offset\0\0\0\1.......", "footer"),
	PAYLOAD("hpet", "12345678\5\13hpet/offzet\0\0\0\1........",
		"nothing here tells the length"),
	/* Too short to be a subsection: bytes, where none may stand. */
	PAYLOAD("hpet", "12345678\5\4hpet\0\0\0\1........", "footer"),
	PAYLOAD("cpu", "x", NULL),
	PAYLOAD("cpu", "x" SMI_COUNT, NULL),
	PAYLOAD("cpu", "x\5\20cpu/nested_state\0\0\0\1........", "nothing here tells the length"),
	/* One CPU. */
	PAYLOAD("pm", "x" HOTPLUG, NULL),
	PAYLOAD("pm", "x" HOTPLUG "\0\1abcdABCD", "footer"),
	PAYLOAD("disk", "\0\0\0\0e", NULL),
	PAYLOAD("disk", "\0\0\0\1e", "bytes end inside"),
	/* So many entries of 40 bytes as the first number says. */
	PAYLOAD("port", "\0\0\0\3x", NULL),
	PAYLOAD("port", "\0\1\0\3" ENTRY "x", NULL),
	PAYLOAD("port", "\0\3\0\3" ENTRY ENTRY ENTRY "x", NULL),
	PAYLOAD("port", "\0\0\0\3" ENTRY "x", "footer"),
	PAYLOAD("port", "\0\2\0\3" ENTRY "x", "bytes end inside"),
	PAYLOAD("port", "\0\1\0\3" ENTRY ENTRY "x", "footer"),
	PAYLOAD("port", "\0\201\377\377" ENTRY "x", "more elements than there can be"),
	PAYLOAD("last", "x\4abc", NULL),
	PAYLOAD("last", "x\1", NULL),
	PAYLOAD("last", "x\5abc", "nothing tells its length"),
	/* A footer within. */
	PAYLOAD("last", "x\12abc\x7e\0\0\0\11d", NULL),
	PAYLOAD("middle", "\3abx", NULL),
	PAYLOAD("middle", "\7abcdefx", NULL),
	PAYLOAD("middle", "\2ax", NULL),
	PAYLOAD("middle", "\0abcdefx", "nothing tells its length"),
	PAYLOAD("esp", "x", "without a description"),
	PAYLOAD("none", "x", "this machine has none"),
};

static VmDescription *read_payload(const VmDescription *local, const Payload *payload,
				   Buffer *bytes, size_t *ret_size, Error *err)
{
	static const LocalProbe probe = { .fits = fits };

	put_section(bytes, ID, payload->device, 2, payload->bytes, payload->size);
	*err = ERROR_INIT;
	return local_describe(local, bytes->data, bytes->used, &probe, ret_size, err);
}

static void test_payloads(void **state)
{
	AUTO_VMDESC VmDescription *local = describe(LOCAL);

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(payloads); i++) {
		const Payload *payload = &payloads[i];
		AUTO_BUFFER Buffer bytes = BUFFER_INIT(1 << 16);
		size_t size = 0;
		Error err;
		AUTO_VMDESC VmDescription *made = read_payload(local, payload, &bytes, &size, &err);

		if (!payload->refusal) {
			static const FrameVisitor nobody = { .on_section = NULL };

			if (!made)
				fail_msg("%zu: %s", i, err.text);
			assert_int_equal(size, bytes.used);
			assert_int_equal(made->devices[0].size_bytes, payload->size);
			assert_works(frame_sections(bytes.data, size, made, &nobody, &err), &err);
			continue;
		}
		if (made)
			fail_msg("%zu passed", i);
		support_check_error(&err, ERROR_PEER, payload->refusal, __FILE__, __LINE__);
		assert_memory_equal(err.text, "guard-device-", 13);
	}
}

/* A field that another one makes be there, and its length. */
static void test_optional(void **state)
{
	AUTO_VMDESC VmDescription *local = describe(LOCAL);
	char bytes[4 + 512 + 1] = { [3] = 1 };
	const Payload payload = { "disk", bytes, sizeof(bytes), NULL };
	AUTO_BUFFER Buffer section = BUFFER_INIT(1 << 16);
	AUTO_VMDESC VmDescription *made = NULL;
	size_t size;
	Error err;

	(void)state;
	made = read_payload(local, &payload, &section, &size, &err);
	assert_non_null(made);
	assert_int_equal(made->nodes_count, 3);
	assert_string_equal(made->nodes[1].name, "identify_data");
}

/* An array of structs that another field counts, as a description would have it. */
static void test_counted(void **state)
{
	AUTO_VMDESC VmDescription *local = describe(LOCAL);
	const Payload payload = PAYLOAD("port", "\0\2\0\3" ENTRY ENTRY "x", NULL);
	AUTO_BUFFER Buffer section = BUFFER_INIT(1 << 16);
	AUTO_VMDESC VmDescription *made = NULL;
	const VmNode *log;
	size_t size;
	Error err;

	(void)state;
	made = read_payload(local, &payload, &section, &size, &err);
	assert_non_null(made);
	assert_int_equal(made->nodes_count, 2 + 1 + 5 + 1);
	log = &made->nodes[2];
	assert_string_equal(log->name, "log");
	assert_string_equal(log->vmsd_name, "PCIE_AER_ERROR");
	assert_int_equal(log->count, 2);
	assert_int_equal(log->size_bytes, 40);
	assert_int_equal(log->end, 8);
	assert_string_equal(made->nodes[8].name, "x");
}

/* Cut at each byte it is never taken; structs and subsections are as the twin describes them. */
static void test_rich(void **state)
{
	static const LocalProbe probe = { .fits = fits };
	AUTO_VMDESC VmDescription *local = describe(LOCAL);
	AUTO_BUFFER Buffer payload = BUFFER_INIT(1 << 16), bytes = BUFFER_INIT(1 << 16);
	const VmDevice *ours = vmdesc_find(local, "rich", 0);
	AUTO_VMDESC VmDescription *made = NULL;
	size_t size;
	Error err = ERROR_INIT;

	(void)state;
	put_rich_payload(&payload);
	put_section(&bytes, ID, "rich", 2, payload.data, payload.used);
	made = local_describe(local, bytes.data, bytes.used, &probe, &size, &err);
	assert_non_null(made);
	assert_int_equal(made->nodes_count, ours->end - ours->first);
	for (size_t i = 0; i < made->nodes_count; i++) {
		const VmNode *a = &made->nodes[i], *b = &local->nodes[ours->first + i];

		assert_string_equal(a->name, b->name);
		assert_int_equal(a->kind, b->kind);
		assert_int_equal(a->depth, b->depth);
		assert_int_equal(a->count, b->count);
		assert_int_equal(a->size_bytes, b->size_bytes);
		assert_int_equal(a->end, b->end - ours->first);
	}
	for (size_t cut = 1; cut < bytes.used; cut++) {
		AUTO_VMDESC VmDescription *none = NULL;

		err = ERROR_INIT;
		none = local_describe(local, bytes.data, cut, &probe, &size, &err);
		assert_null(none);
		assert_int_equal(err.category, ERROR_PEER);
	}
}

/* Another version, the same device twice, and what is no section. */
static void test_sections(void **state)
{
	static const LocalProbe probe = { .fits = fits };
	AUTO_VMDESC VmDescription *local = describe(LOCAL);
	AUTO_BUFFER Buffer bytes = BUFFER_INIT(1 << 16);
	AUTO_VMDESC VmDescription *made = NULL;
	size_t size, one;
	Error err = ERROR_INIT;

	(void)state;
	put_section(&bytes, ID, "cpu", 2, "x", 1);
	one = bytes.used;
	assert_works(buffer_put(&bytes, "\x8\0\2\0\0", 5, &err), &err);
	made = local_describe(local, bytes.data, bytes.used, &probe, &size, &err);
	assert_non_null(made);
	assert_int_equal(size, one);
	bytes.used = one;
	put_section(&bytes, ID + 1, "cpu", 2, "x", 1);
	assert_fails(local_describe(local, bytes.data, bytes.used, &probe, &size, &err), ERROR_PEER,
		     "comes twice", &err);
	bytes.used = 0;
	put_section(&bytes, ID, "cpu", 1, "x", 1);
	assert_fails(local_describe(local, bytes.data, bytes.used, &probe, &size, &err), ERROR_PEER,
		     "guard-device-local: device cpu: version 1", &err);
}

/* The table against what device_rules.c and known_layout.h say is held by streams; here that each
 * row is found by its own name, and none by another's. */
static void test_layout(void **state)
{
	(void)state;
	assert_non_null(layout_subsection("hpet", "hpet/offset"));
	assert_null(layout_subsection("ich9_pm", "hpet/offset"));
	assert_null(layout_subsection("hpet", "hpet"));
	assert_non_null(layout_optional("ide_drive", "identify_set"));
	assert_non_null(layout_optional("PCIE_AER_ERROR_LOG", "log_max"));
	assert_null(layout_optional("PCIE_AER_ERROR_LOG", "log_num"));
	assert_null(layout_optional("ide_drive", "error"));
	assert_true(layout_is_unsteady("esp"));
	assert_false(layout_is_unsteady("hpet"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_payloads), cmocka_unit_test(test_optional),
		cmocka_unit_test(test_counted),	 cmocka_unit_test(test_rich),
		cmocka_unit_test(test_sections), cmocka_unit_test(test_layout),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
