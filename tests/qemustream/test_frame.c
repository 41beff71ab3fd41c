/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/qemustream/device_state.h"

#include <string.h>

#include "qemustream/frame.h"

enum { JSON_MAX = 1 << 20 };

static const char two_devices[] =
	DESCRIPTION(DEVICE("r", RICH) ", " DEVICE("s", TABLE("s", FIELD("f", "uint16", "2"))));

static const FrameVisitor nobody = { 0 };

/* The sections of two_devices. */
static void put_two(Buffer *buffer)
{
	AUTO_BUFFER Buffer payload = BUFFER_INIT(4096);

	put_rich_payload(&payload);
	put_section(buffer, 3, "r", 2, payload.data, payload.used);
	put_section(buffer, 9, "s", 2, "\1\2", 2);
}

static void put_text(Buffer *buffer, const void *data, size_t size)
{
	Error err;

	assert_works(buffer_put(buffer, data, size, &err), &err);
}

static void put_vmdesc(Buffer *buffer, const char *json, size_t size)
{
	uint8_t header[6] = { 0, 6 };

	store_be32(header + 2, (uint32_t)size);
	put_text(buffer, header, sizeof(header));
	put_text(buffer, json, size);
}

/* --- finding the description --- */

static void test_find_vmdesc(void **state)
{
	AUTO_BUFFER Buffer held = BUFFER_INIT(JSON_MAX);
	size_t sections, eof;
	Error err;

	(void)state;
	put_two(&held);
	sections = held.used;
	put_vmdesc(&held, two_devices, sizeof(two_devices) - 1);
	assert_works(frame_find_vmdesc(held.data, held.used, JSON_MAX, &eof, &err), &err);
	assert_int_equal(eof, sections);
	assert_works(frame_find_vmdesc(held.data, held.used, sizeof(two_devices) - 1, &eof, &err),
		     &err);
	assert_fails(frame_find_vmdesc(held.data, held.used, sizeof(two_devices) - 2, &eof, &err),
		     ERROR_PEER, "0 descriptions", &err);
	/* One byte behind it, one too few, and each byte of its header another one. */
	put_text(&held, " ", 1);
	assert_fails(frame_find_vmdesc(held.data, held.used, JSON_MAX, &eof, &err), ERROR_PEER,
		     "0 descriptions", &err);
	assert_fails(frame_find_vmdesc(held.data, held.used - 2, JSON_MAX, &eof, &err), ERROR_PEER,
		     "0 descriptions", &err);
	for (size_t i = 0; i < 7; i++) {
		held.data[sections + i] ^= 1;
		assert_fails(frame_find_vmdesc(held.data, held.used - 1, JSON_MAX, &eof, &err),
			     ERROR_PEER, "0 descriptions", &err);
		held.data[sections + i] ^= 1;
	}
	assert_works(frame_find_vmdesc(held.data, held.used - 1, JSON_MAX, &eof, &err), &err);
}

/* Lengths whose bytes look like text, or not, in each place. */
static void test_find_vmdesc_of_any_length(void **state)
{
	static const size_t sizes[] = {
		2,	0x1f,	0x20,	0x7b,	0x100,	 0x2000,
		0x2020, 0x7b7b, 0x0a0a, 0x1f20, 0x10000, 0x7b2020 & 0xfffff
	};
	static char json[JSON_MAX];
	Error err;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		AUTO_BUFFER Buffer held = BUFFER_INIT(2 * JSON_MAX);
		size_t eof = 0;

		memset(json, ' ', sizes[i]);
		json[0] = '{';
		json[sizes[i] - 1] = '}';
		put_text(&held, "{{{{", 4);
		put_vmdesc(&held, json, sizes[i]);
		assert_works(frame_find_vmdesc(held.data, held.used, JSON_MAX, &eof, &err), &err);
		assert_int_equal(eof, 4);
	}
	assert_fails(frame_find_vmdesc((const uint8_t *)"", 0, JSON_MAX, &(size_t){ 0 }, &err),
		     ERROR_PEER, "0 bytes", &err);
	assert_fails(frame_find_vmdesc((const uint8_t *)"{}", 2, JSON_MAX, &(size_t){ 0 }, &err),
		     ERROR_PEER, "2 bytes", &err);
}

/* --- walking --- */

typedef struct Seen {
	char text[2048];
	size_t used;
	const char *refused; /* path of a field to refuse */
	size_t next_offset;
} Seen;

static bool see_section(void *context, const FrameSection *section, Error *err)
{
	Seen *seen = context;

	(void)err;
	seen->used +=
		(size_t)snprintf(seen->text + seen->used, sizeof(seen->text) - seen->used,
				 "%s %u v%u %zu; ", section->device->name, section->section_id,
				 section->version, section->payload_bytes);
	return true;
}

static bool see_field(void *context, const FrameField *field, Error *err)
{
	Seen *seen = context;
	char path[FRAME_PATH_SIZE];

	assert_true(field->offset >= seen->next_offset);
	seen->next_offset = field->offset + field->size_bytes;
	if (seen->refused && !strcmp(seen->refused, frame_path(field, path)))
		return error_set(err, ERROR_PEER, "%s is not wanted", path);
	seen->used += (size_t)snprintf(seen->text + seen->used, sizeof(seen->text) - seen->used,
				       "%s=%zu:%u; ", frame_path(field, path), field->size_bytes,
				       field->bytes[field->size_bytes - 1]);
	return true;
}

static void test_walk(void **state)
{
	AUTO_VMDESC VmDescription *d = describe(two_devices);
	AUTO_BUFFER Buffer held = BUFFER_INIT(4096);
	Seen seen = { .used = 0 };
	const FrameVisitor visitor = { see_section, see_field, &seen };
	Error err;

	(void)state;
	put_two(&held);
	assert_works(frame_sections(held.data, held.used, d, &visitor, &err), &err);
	assert_string_equal(seen.text,
			    "r 3 v2 56; count=4:7; regs=6:6; timers[0]/on=1:1; timers[0]/when=8:9; "
			    "timers[1]/on=1:0; timers[1]/when=8:8; rich/a/x=1:88; "
			    "rich/a/rich/a/b/y=1:89; s 9 v2 2; f=2:2; ");
	seen = (Seen){ .refused = "timers[1]/when" };
	assert_fails(frame_sections(held.data, held.used, d, &visitor, &err), ERROR_PEER,
		     "timers[1]/when is not wanted", &err);
}

/* Each byte of the sections that is not a field's own: another one there is refused. */
static void test_each_byte_of_the_framing(void **state)
{
	AUTO_VMDESC VmDescription *d = describe(two_devices);
	AUTO_BUFFER Buffer held = BUFFER_INIT(4096);
	/* Fields, by their offset behind the payload's first byte. */
	static const uint8_t is_data[RICH_BYTES] = {
		[0] = 1,  [1] = 1,  [2] = 1,  [3] = 1,	[4] = 1,  [5] = 1,  [6] = 1,
		[7] = 1,  [8] = 1,  [9] = 1,  [11] = 1, [12] = 1, [13] = 1, [14] = 1,
		[15] = 1, [16] = 1, [17] = 1, [18] = 1, [20] = 1, [21] = 1, [22] = 1,
		[23] = 1, [24] = 1, [25] = 1, [26] = 1, [27] = 1, [40] = 1, [55] = 1,
	};
	const size_t payload = 15, section = payload + RICH_BYTES + 5;
	size_t refused = 0;
	Error err = ERROR_INIT;

	(void)state;
	put_two(&held);
	for (size_t i = 0; i < section; i++) {
		const bool data = i >= payload && i < payload + RICH_BYTES && is_data[i - payload];
		/* A section id may be any that the footer has too. */
		const uint8_t flip = 2;
		bool works;

		held.data[i] ^= flip;
		works = frame_sections(held.data, held.used, d, &nobody, &err);
		if (works != data)
			fail_msg("byte %zu: %s", i, works ? "not refused" : err.text);
		refused += !works;
		held.data[i] ^= flip;
	}
	/* Header and footer, marks and names of two subsections, two bools. */
	assert_int_equal(refused, 15 + 5 + 12 + 14 + 2);
}

static void test_sizes_and_counts(void **state)
{
	static const char *const bad[] = {
		/* a leaf one longer and one shorter, another count, another device, none, one more
		 */
		DESCRIPTION(DEVICE("s", TABLE("s", FIELD("f", "uint16", "3")))),
		DESCRIPTION(DEVICE("s", TABLE("s", FIELD("f", "uint16", "1")))),
		DESCRIPTION(DEVICE("s", TABLE("s", "{\"name\": \"f\", \"array_len\": 2, \"type\": "
						   "\"uint16\", \"size\": 2}"))),
		DESCRIPTION(DEVICE("t", TABLE("s", FIELD("f", "uint16", "2")))),
		DESCRIPTION(""),
		DESCRIPTION(DEVICE("s", TABLE("s", FIELD("f", "uint16", "2"))) ", " DEVICE(
			"t", TABLE("t", ""))),
		DESCRIPTION("{\"name\": \"s\", \"instance_id\": 1, " TABLE(
			"s", FIELD("f", "uint16", "2")) "}"),
		DESCRIPTION(DEVICE("s", "\"vmsd_name\": \"s\", \"version\": 3, \"fields\": [" FIELD(
						"f", "uint16", "2") "]")),
	};
	static const char good[] = DESCRIPTION(DEVICE("s", TABLE("s", FIELD("f", "uint16", "2"))));
	AUTO_VMDESC VmDescription *fits = describe(good);
	AUTO_BUFFER Buffer held = BUFFER_INIT(4096);
	Error err = ERROR_INIT;

	(void)state;
	put_section(&held, 1, "s", 2, "\1\2", 2);
	assert_works(frame_sections(held.data, held.used, fits, &nobody, &err), &err);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		AUTO_VMDESC VmDescription *d = describe(bad[i]);

		if (frame_sections(held.data, held.used, d, &nobody, &err))
			fail_msg("not refused: %s", bad[i]);
		assert_int_equal(err.category, ERROR_PEER);
	}
}

static void test_section_ids(void **state)
{
	static const char json[] =
		DESCRIPTION(DEVICE("s", TABLE("s", "")) ", " DEVICE("t", TABLE("t", "")));
	static const struct {
		uint32_t ids[2];
		const char *part;
	} cases[] = {
		{ { 0, 65535 }, NULL },
		{ { 7, 7 }, "used before" },
		{ { 0, 65536 }, "past the bound" },
	};
	AUTO_VMDESC VmDescription *d = describe(json);
	Error err;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		AUTO_BUFFER Buffer held = BUFFER_INIT(4096);

		put_section(&held, cases[i].ids[0], "s", 2, "", 0);
		put_section(&held, cases[i].ids[1], "t", 2, "", 0);
		if (cases[i].part)
			assert_fails(frame_sections(held.data, held.used, d, &nobody, &err),
				     ERROR_PEER, cases[i].part, &err);
		else
			assert_works(frame_sections(held.data, held.used, d, &nobody, &err), &err);
	}
}

/* --- payloads --- */

typedef struct PayloadCase {
	const char *table;
	const char *bytes;
	size_t size;
	const char *part; /* of the refusal, NULL if it is good */
} PayloadCase;

#define INNER STRUCT("s", "1", TABLE("inner", FIELD("f", "uint8", "1")))

static const PayloadCase payload_cases[] = {
	{ TABLE("t", FIELD("f", "bool", "1")), "\0", 1, NULL },
	{ TABLE("t", FIELD("f", "bool", "1")), "\1", 1, NULL },
	{ TABLE("t", FIELD("f", "bool", "1")), "\2", 1, "a bool (2, not 1)" },
	{ TABLE("t", FIELD("f", "unused_buffer", "2")), "\0\0", 2, NULL },
	{ TABLE("t", FIELD("f", "unused_buffer", "2")), "\0\1", 2, "a byte of nothing (1, not 0)" },
	{ TABLE("t", FIELD("f", "qtailq", "1")), "\0", 1, NULL },
	{ TABLE("t", FIELD("f", "qtailq", "1")), "\1", 1, "the mark of an element (1, not 0)" },
	{ TABLE("t", FIELD("f", "gtree", "5")), "\0\0\0\1\0", 5, "the mark of an element" },
	{ TABLE("t", FIELD("f", "nullptr", "1")), "0", 1, NULL },
	{ TABLE("t", FIELD("f", "nullptr", "1")), "1", 1, "null pointer (49, not 48)" },
	{ TABLE("t", FIELD("f", "buffer", "0")), "", 0, NULL },
	{ TABLE("t", FIELD("f", "uint8", "1")), "", 0, "ends inside the field (0, not 1)" },
	{ TABLE("t", FIELD("f", "uint8", "1")), "ab", 2, "behind the last field (1, not 0)" },
	{ TABLE("t", ""), "a", 1, "behind the last field (1, not 0)" },
	/* Bytes that QEMU would take for a subsection of the struct before them. */
	{ TABLE("t", INNER ", " FIELD("b", "buffer", "13")), "x\5\7inner/z\0\0\0\1", 14,
	  "not described" },
	{ TABLE("t", INNER ", " FIELD("b", "buffer", "13")), "x\5\7innex/z\0\0\0\1", 14, NULL },
	{ TABLE("t", INNER ", " FIELD("b", "buffer", "13")), "x\6\7inner/z\0\0\0\1", 14, NULL },
	{ TABLE("t", INNER ", " FIELD("b", "buffer", "13")), "x\5\5inner/z\0\0\0\1", 14, NULL },
	{ TABLE("t", FIELD("b", "buffer", "2")), "\5\3t/z\0\0\0\1", 9, "behind" },
	{ TABLE("t", FIELD("b", "buffer", "0")), "\5\3t/z\0\0\0\1", 9, "not described" },
};

static void test_payloads(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(payload_cases); i++) {
		const PayloadCase *c = &payload_cases[i];
		char json[1024];
		AUTO_VMDESC VmDescription *d = NULL;
		AUTO_FREE uint8_t *bytes = malloc(c->size ? c->size : 1);
		Error err = ERROR_INIT;
		bool works;

		snprintf(json, sizeof(json), DESCRIPTION(DEVICE("d", "%s")), c->table);
		d = describe(json);
		memcpy(bytes, c->bytes, c->size);
		works = frame_payload(bytes, c->size, 100, &d->devices[0], d, &nobody, &err);
		if (works == (c->part != NULL) || (c->part && !strstr(err.text, c->part)))
			fail_msg("case %zu: %s", i, works ? "not refused" : err.text);
	}
}

static void test_arrays_of_nothing(void **state)
{
	static const char json[] = DESCRIPTION(DEVICE(
		"d",
		TABLE("t", "{\"name\": \"a\", \"array_len\": 2147483647, \"type\": \"struct\", "
			   "\"struct\": {" TABLE("i", FIELD("f", "buffer", "0")) "}, \"size\": "
										 "0}")));
	AUTO_VMDESC VmDescription *d = describe(json);
	Error err;

	(void)state;
	assert_works(frame_payload((const uint8_t *)"", 0, 0, &d->devices[0], d, &nobody, &err),
		     &err);
}

static void never_crash(void *context, Mutation mutation, const uint8_t *data, size_t size)
{
	Error err = ERROR_INIT;
	bool works = frame_sections(data, size, context, &nobody, &err);

	if (mutation != MUTATION_FLIP)
		assert_false(works);
}

static void test_mutations(void **state)
{
	AUTO_VMDESC VmDescription *d = describe(two_devices);
	AUTO_BUFFER Buffer held = BUFFER_INIT(4096);

	(void)state;
	put_two(&held);
	support_mutate(held.data, held.used, never_crash, d);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_find_vmdesc),
		cmocka_unit_test(test_find_vmdesc_of_any_length),
		cmocka_unit_test(test_walk),
		cmocka_unit_test(test_each_byte_of_the_framing),
		cmocka_unit_test(test_sizes_and_counts),
		cmocka_unit_test(test_section_ids),
		cmocka_unit_test(test_payloads),
		cmocka_unit_test(test_arrays_of_nothing),
		cmocka_unit_test(test_mutations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
