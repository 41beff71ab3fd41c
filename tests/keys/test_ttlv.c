/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/support.h"

#include <string.h>

#include "keys/ttlv.h"
#include "kmip_samples.h"

/* --- what is right: the examples of the specification, section 9.1.2 --- */

typedef struct Example {
	TtlvType type;
	const char *hex;
	size_t size;
} Example;

static const Example examples[] = {
	{ TTLV_INTEGER, "42002002000000040000000800000000", 4 },
	{ TTLV_LONG_INTEGER, "420020030000000801b69b4ba5749200", 8 },
	{ TTLV_BIG_INTEGER, "42002004000000100000000003fd35eb6bc2df4618080000", 16 },
	{ TTLV_ENUMERATION, "4200200500000004000000ff00000000", 4 },
	{ TTLV_BOOLEAN, "42002006000000080000000000000001", 8 },
	{ TTLV_TEXT_STRING, "420020070000000b48656c6c6f20576f726c640000000000", 11 },
	{ TTLV_BYTE_STRING, "42002008000000030102030000000000", 3 },
	{ TTLV_DATE_TIME, "42002009000000080000000047da67f8", 8 },
	{ TTLV_INTERVAL, "4200200a00000004000d2f0000000000", 4 },
	{ TTLV_STRUCTURE,
	  "42002001000000204200040500000004000000fe000000004200050200000004000000ff00000000", 32 },
	/* empty ones, which the specification allows */
	{ TTLV_STRUCTURE, "4200200100000000", 0 },
	{ TTLV_TEXT_STRING, "4200200700000000", 0 },
	{ TTLV_BYTE_STRING, "4200200800000000", 0 },
};

static void test_examples_of_the_specification(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(examples); i++) {
		uint8_t bytes[KMIP_SAMPLE_MAX];
		size_t size = kmip_sample_bytes(examples[i].hex, bytes);
		TtlvItem item;
		Error err = ERROR_INIT;

		assert_works(ttlv_check(bytes, size, &item, &err), &err);
		assert_int_equal(item.tag, 0x420020);
		assert_int_equal(item.type, examples[i].type);
		assert_int_equal(item.size, examples[i].size);
		assert_ptr_equal(item.value, bytes + TTLV_HEADER_BYTES);
	}
}

static void check_written(Buffer *buffer, TtlvWriter *writer, const char *hex)
{
	char written[2 * KMIP_SAMPLE_MAX + 1];
	Error err = ERROR_INIT;

	assert_works(ttlv_writer_end(writer, &err), &err);
	hex_encode(buffer->data, buffer->used, written);
	assert_string_equal(written, hex);
}

static void test_writer(void **state)
{
	AUTO_BUFFER Buffer buffer = BUFFER_INIT(KMIP_SAMPLE_MAX);
	TtlvWriter writer = ttlv_writer(&buffer);

	(void)state;
	ttlv_open(&writer, TAG_CREDENTIAL);
	ttlv_put_enumeration(&writer, TAG_CREDENTIAL_TYPE, 0xfe);
	ttlv_put_integer(&writer, TAG_BATCH_COUNT, -1);
	ttlv_open(&writer, TAG_CREDENTIAL_VALUE);
	ttlv_close(&writer);
	ttlv_put_text(&writer, TAG_USERNAME, "Hello World");
	ttlv_put_bytes(&writer, TAG_KEY_MATERIAL, TTLV_BYTE_STRING, "12345678", 8);
	ttlv_close(&writer);
	check_written(&buffer, &writer,
		      "4200230100000050"
		      "4200240500000004000000fe00000000"
		      "42000d0200000004ffffffff00000000"
		      "4200250100000000"
		      "420099070000000b48656c6c6f20576f726c640000000000"
		      "42004308000000083132333435363738");
}

static void test_writer_keeps_its_first_failure(void **state)
{
	AUTO_BUFFER Buffer buffer = BUFFER_INIT(20);
	TtlvWriter writer = ttlv_writer(&buffer);
	Error err = ERROR_INIT;

	(void)state;
	ttlv_open(&writer, TAG_CREDENTIAL);
	ttlv_put_text(&writer, TAG_USERNAME, "does not fit");
	ttlv_put_text(&writer, TAG_USERNAME, "");
	ttlv_close(&writer);
	assert_fails(ttlv_writer_end(&writer, &err), ERROR_LIMIT, "do not fit in 20", &err);
}

/* --- what is wrong --- */

typedef struct Wrong {
	const char *hex;
	const char *text;
} Wrong;

static const Wrong wrongs[] = {
	{ "42002002000000", "less than 8 bytes" },
	{ "43002002000000040000000800000000", "tag 0x430020" },
	{ "00002002000000040000000800000000", "tag 0x000020" },
	{ "42002000000000040000000800000000", "type 0" },
	{ "4200200b000000040000000800000000", "type 11" },
	{ "420020ff000000040000000800000000", "type 255" },
	{ "42002002000000030000000800000000", "of 3 bytes" },
	{ "42002002000000080000000800000000", "of 8 bytes" },
	{ "42002003000000040000000800000000", "of 4 bytes" },
	{ "4200200400000000", "of 0 bytes" },
	{ "42002004000000040000000800000000", "of 4 bytes" },
	{ "42002005000000050000000800000000", "of 5 bytes" },
	{ "42002006000000040000000800000000", "of 4 bytes" },
	{ "42002006000000080000000000000002", "neither true nor false" },
	{ "42002006000000080100000000000000", "neither true nor false" },
	{ "42002009000000040000000800000000", "of 4 bytes" },
	{ "4200200a000000080000000800000000", "of 8 bytes" },
	{ "42002002000000040000000800000001", "padding" },
	{ "42002002000000040000000880000000", "padding" },
	{ "420020070000000b48656c6c6f20576f726c640000000100", "padding" },
	{ "42002008000000030102030100000000", "padding" },
	{ "420020080000000301020300000000", "where 4 are left" },
	{ "420020080000000901020304050607080900000000000000"
	  "4200200100000000",
	  "8 bytes behind" },
	{ "42002008ffffffff0102030000000000", "of 4294967295 bytes" },
	{ "42002008fffffff90102030000000000", "of 4294967289 bytes" },
	{ "4200200100000008", "where 0 are left" },
	{ "42002001000000044200040500000004", "of 4 bytes" },
	/* a structure that is longer, and shorter, than what is in it */
	{ "42002001000000184200040500000004000000fe000000004200050200000004000000ff00000000",
	  "where 0 are left" },
	{ "42002001000000104200040500000004000000fe000000004200050200000004000000ff00000000",
	  "16 bytes behind" },
	{ "42002001000000284200040500000004000000fe000000004200050200000004000000ff00000000",
	  "where 32 are left" },
	{ "420020010000001842000401000000084200050200000004000000ff00000000", "where 0 are left" },
};

static void test_each_rule_refuses(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(wrongs); i++) {
		uint8_t bytes[KMIP_SAMPLE_MAX];
		TtlvItem item;
		Error err = ERROR_INIT;

		assert_fails(
			ttlv_check(bytes, kmip_sample_bytes(wrongs[i].hex, bytes), &item, &err),
			ERROR_PEER, wrongs[i].text, &err);
	}
}

/* `depth` structures in each other. */
static bool check_nested(size_t depth, Error *err)
{
	uint8_t bytes[TTLV_HEADER_BYTES * 64];
	TtlvItem item;

	for (size_t i = 0; i < depth; i++) {
		store_be32(bytes + TTLV_HEADER_BYTES * i, 0x42002001);
		store_be32(bytes + TTLV_HEADER_BYTES * i + 4,
			   (uint32_t)(TTLV_HEADER_BYTES * (depth - 1 - i)));
	}
	return ttlv_check(bytes, TTLV_HEADER_BYTES * depth, &item, err);
}

static void test_depth(void **state)
{
	Error err = ERROR_INIT;

	(void)state;
	assert_works(check_nested(TTLV_DEPTH_MAX, &err), &err);
	assert_fails(check_nested(TTLV_DEPTH_MAX + 1, &err), ERROR_PEER, "in each other", &err);
	assert_fails(check_nested(64, &err), ERROR_PEER, "in each other", &err);
}

static bool check_many(size_t inner, Error *err)
{
	static uint8_t bytes[TTLV_HEADER_BYTES * (TTLV_ITEMS_MAX + 8)];
	TtlvItem item;

	store_be32(bytes, 0x42002001);
	store_be32(bytes + 4, (uint32_t)(TTLV_HEADER_BYTES * inner));
	for (size_t i = 1; i <= inner; i++) {
		store_be32(bytes + TTLV_HEADER_BYTES * i, 0x42002008);
		store_be32(bytes + TTLV_HEADER_BYTES * i + 4, 0);
	}
	return ttlv_check(bytes, TTLV_HEADER_BYTES * (inner + 1), &item, err);
}

static void test_number_of_items(void **state)
{
	Error err = ERROR_INIT;

	(void)state;
	assert_works(check_many(TTLV_ITEMS_MAX - 1, &err), &err);
	assert_fails(check_many(TTLV_ITEMS_MAX, &err), ERROR_PEER, "more than 2048", &err);
}

static void test_every_cut_is_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < KMIP_SAMPLE_COUNT; i++) {
		uint8_t bytes[KMIP_SAMPLE_MAX + 1] = { 0 };
		size_t size = kmip_sample_bytes(kmip_samples[i].request_hex, bytes);
		TtlvItem item;
		Error err = ERROR_INIT;

		assert_works(ttlv_check(bytes, size, &item, &err), &err);
		for (size_t cut = 0; cut < size; cut++)
			assert_fails(ttlv_check(bytes, cut, &item, &err), ERROR_PEER, "", &err);
		assert_fails(ttlv_check(bytes, size + 1, &item, &err), ERROR_PEER, "1 bytes behind",
			     &err);
	}
}

/* --- tables --- */

static const TtlvField fields[] = {
	{ TAG_OBJECT_TYPE, TTLV_REQUIRED },
	{ TAG_UNIQUE_IDENTIFIER, TTLV_OPTIONAL },
	{ TAG_OPERATION, TTLV_REPEATED },
	{ TAG_BATCH_COUNT, TTLV_OPTIONAL },
};
enum { OBJECT, ID, OPERATIONS, COUNT, FIELDS };

static bool match(const TtlvTag *tags, size_t count, TtlvItem items[FIELDS], Error *err)
{
	static uint8_t bytes[KMIP_SAMPLE_MAX];
	AUTO_BUFFER Buffer buffer = BUFFER_INIT(KMIP_SAMPLE_MAX);
	TtlvWriter writer = ttlv_writer(&buffer);
	TtlvItem top;

	ttlv_open(&writer, TAG_RESPONSE_PAYLOAD);
	for (size_t i = 0; i < count; i++) {
		if (tags[i] == TAG_UNIQUE_IDENTIFIER)
			ttlv_put_text(&writer, tags[i], "id");
		else if (tags[i] == TAG_BATCH_COUNT)
			ttlv_put_integer(&writer, tags[i], 7);
		else
			ttlv_put_enumeration(&writer, tags[i], (uint32_t)i);
	}
	ttlv_close(&writer);
	assert_works(ttlv_writer_end(&writer, err), err);
	memcpy(bytes, buffer.data, buffer.used);
	assert_works(ttlv_check(bytes, buffer.used, &top, err), err);
	return ttlv_match(&top, fields, FIELDS, items, err);
}

static void test_match(void **state)
{
	static const TtlvTag all[] = { TAG_OBJECT_TYPE, TAG_UNIQUE_IDENTIFIER, TAG_OPERATION,
				       TAG_OPERATION,	TAG_OPERATION,	       TAG_BATCH_COUNT };
	TtlvItem items[FIELDS];
	Error err = ERROR_INIT;

	(void)state;
	assert_works(match(all, ARRAY_SIZE(all), items, &err), &err);
	assert_true(ttlv_text_is(&items[ID], "id"));
	assert_false(ttlv_text_is(&items[ID], "i"));
	assert_false(ttlv_text_is(&items[ID], "idx"));
	assert_int_equal(ttlv_u32(&items[COUNT]), 7);
	assert_int_equal(items[OPERATIONS].size, 3 * 16);

	Reader run = reader_of(items[OPERATIONS].value, items[OPERATIONS].size);

	for (uint32_t i = 2; i < 5; i++) {
		TtlvItem item;

		assert_works(ttlv_next(&run, &item, &err), &err);
		assert_int_equal(ttlv_u32(&item), i);
	}
	assert_int_equal(run.left, 0);
	assert_works(match(all, 1, items, &err), &err);
	assert_null(items[ID].value);
	assert_null(items[OPERATIONS].value);
}

static void test_match_refuses(void **state)
{
	static const struct {
		TtlvTag tags[4];
		size_t count;
		const char *text;
	} cases[] = {
		{ { 0 }, 0, "no Object Type in Response Payload" },
		{ { TAG_OPERATION }, 1, "no Object Type" },
		{ { TAG_OBJECT_TYPE, TAG_OBJECT_TYPE }, 2, "Object Type (0x420057) out of place" },
		{ { TAG_UNIQUE_IDENTIFIER, TAG_OBJECT_TYPE }, 2, "out of place" },
		{ { TAG_OBJECT_TYPE, TAG_BATCH_COUNT, TAG_OPERATION }, 3, "out of place" },
		{ { TAG_OBJECT_TYPE, TAG_OPERATION, TAG_BATCH_COUNT, TAG_OPERATION },
		  4,
		  "out of place" },
		{ { TAG_OBJECT_TYPE, TAG_RESULT_STATUS }, 2, "Result Status (0x42007f)" },
		{ { TAG_OBJECT_TYPE, (TtlvTag)0x420fff }, 2, "an unknown tag (0x420fff)" },
		{ { TAG_OBJECT_TYPE, (TtlvTag)0x540001 }, 2, "an unknown tag (0x540001)" },
	};
	TtlvItem items[FIELDS];
	Error err = ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_fails(match(cases[i].tags, cases[i].count, items, &err), ERROR_PEER,
			     cases[i].text, &err);
}

/* A tag in a type that is not its own. */
static void test_match_holds_types(void **state)
{
	uint8_t bytes[KMIP_SAMPLE_MAX];
	TtlvItem top, items[FIELDS];
	Error err = ERROR_INIT;
	size_t size = kmip_sample_bytes("42007c01000000104200570200000004000000fe00000000", bytes);

	(void)state;
	assert_works(ttlv_check(bytes, size, &top, &err), &err);
	assert_fails(ttlv_match(&top, fields, FIELDS, items, &err), ERROR_PEER,
		     "Object Type (0x420057) out of place", &err);
	bytes[11] = TTLV_ENUMERATION;
	assert_works(ttlv_match(&top, fields, FIELDS, items, &err), &err);
	top = items[OBJECT];
	assert_fails(ttlv_match(&top, fields, FIELDS, items, &err), ERROR_PEER, "is no structure",
		     &err);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_examples_of_the_specification),
		cmocka_unit_test(test_writer),
		cmocka_unit_test(test_writer_keeps_its_first_failure),
		cmocka_unit_test(test_each_rule_refuses),
		cmocka_unit_test(test_depth),
		cmocka_unit_test(test_number_of_items),
		cmocka_unit_test(test_every_cut_is_refused),
		cmocka_unit_test(test_match),
		cmocka_unit_test(test_match_refuses),
		cmocka_unit_test(test_match_holds_types),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
