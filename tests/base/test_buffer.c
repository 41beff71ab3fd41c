/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/support.h"

#include <string.h>

static void integers_are_big_endian_and_come_back(void **state)
{
	static const uint8_t expected[] = { 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08,
					    0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f };
	AUTO_BUFFER Buffer buffer = BUFFER_INIT(64);
	Error err = ERROR_INIT;
	uint8_t u8;
	uint16_t u16;
	uint32_t u32;
	uint64_t u64;

	(void)state;
	assert_works(buffer_put_u8(&buffer, 0x01, &err), &err);
	assert_works(buffer_put_be16(&buffer, 0x0203, &err), &err);
	assert_works(buffer_put_be32(&buffer, 0x04050607, &err), &err);
	assert_works(buffer_put_be64(&buffer, UINT64_C(0x08090a0b0c0d0e0f), &err), &err);
	assert_int_equal(buffer.used, sizeof(expected));
	assert_memory_equal(buffer.data, expected, sizeof(expected));

	Reader reader = reader_of(buffer.data, buffer.used);

	assert_true(reader_get_u8(&reader, &u8) && u8 == 0x01);
	assert_true(reader_get_be16(&reader, &u16) && u16 == 0x0203);
	assert_true(reader_get_be32(&reader, &u32) && u32 == 0x04050607);
	assert_true(reader_get_be64(&reader, &u64) && u64 == UINT64_C(0x08090a0b0c0d0e0f));
	assert_int_equal(reader.left, 0);
}

static void a_buffer_holds_exactly_its_bound(void **state)
{
	AUTO_BUFFER Buffer buffer = BUFFER_INIT(1000);
	uint8_t bytes[1000];
	Error err = ERROR_INIT;

	(void)state;
	memset(bytes, 0xa5, sizeof(bytes));
	assert_works(buffer_put(&buffer, bytes, 999, &err), &err);
	assert_fails(buffer_put(&buffer, bytes, 2, &err), ERROR_LIMIT,
		     "2 bytes more than 999 do not fit in 1000", &err);
	assert_int_equal(buffer.used, 999);
	assert_works(buffer_put(&buffer, bytes, 1, &err), &err);
	assert_fails(buffer_put_u8(&buffer, 1, &err), ERROR_LIMIT, "1000", &err);
	assert_works(buffer_put(&buffer, bytes, 0, &err), &err);
	assert_int_equal(buffer.used, 1000);
	assert_true(buffer.allocated <= buffer.max_bytes);
	assert_memory_equal(buffer.data, bytes, 1000);
}

static void a_huge_size_does_not_wrap(void **state)
{
	AUTO_BUFFER Buffer buffer = BUFFER_INIT(16);
	Error err = ERROR_INIT;

	(void)state;
	assert_works(buffer_put(&buffer, "12345678", 8, &err), &err);
	assert_fails(buffer_put(&buffer, "x", SIZE_MAX, &err), ERROR_LIMIT, "do not fit", &err);
	assert_fails(buffer_put(&buffer, "x", SIZE_MAX - 7, &err), ERROR_LIMIT, "do not fit", &err);
	assert_int_equal(buffer.used, 8);
}

static void growing_keeps_the_bytes(void **state)
{
	AUTO_BUFFER Buffer buffer = BUFFER_INIT(65536);
	Error err = ERROR_INIT;

	(void)state;
	for (uint32_t i = 0; i < 10000; i++)
		assert_works(buffer_put_be32(&buffer, i * 2654435761U, &err), &err);
	for (uint32_t i = 0; i < 10000; i++)
		assert_int_equal(load_be32(buffer.data + 4 * i), i * 2654435761U);
}

static void an_empty_bound_takes_nothing(void **state)
{
	AUTO_BUFFER Buffer buffer = BUFFER_INIT(0);
	Error err = ERROR_INIT;

	(void)state;
	assert_works(buffer_put(&buffer, NULL, 0, &err), &err);
	assert_fails(buffer_put_u8(&buffer, 0, &err), ERROR_LIMIT, "fit in 0", &err);
}

static void consume_drops_the_front(void **state)
{
	AUTO_BUFFER Buffer buffer = BUFFER_INIT(64);
	Error err = ERROR_INIT;

	(void)state;
	assert_works(buffer_put(&buffer, "abcdef", 6, &err), &err);
	buffer_consume(&buffer, 0);
	assert_int_equal(buffer.used, 6);
	buffer_consume(&buffer, 2);
	assert_int_equal(buffer.used, 4);
	assert_memory_equal(buffer.data, "cdef", 4);
	buffer_consume(&buffer, 4);
	assert_int_equal(buffer.used, 0);
	assert_works(buffer_put(&buffer, "gh", 2, &err), &err);
	assert_memory_equal(buffer.data, "gh", 2);
}

static void a_short_reader_gives_nothing_and_stays(void **state)
{
	static const uint8_t bytes[7] = { 1, 2, 3, 4, 5, 6, 7 };
	const uint8_t *view;
	uint8_t copy[8];
	uint64_t u64;
	uint32_t u32;
	uint16_t u16;
	uint8_t u8;

	(void)state;

	Reader reader = reader_of(bytes, 7);

	assert_false(reader_get_be64(&reader, &u64));
	assert_false(reader_get_bytes(&reader, copy, 8));
	assert_false(reader_skip(&reader, SIZE_MAX, &view));
	assert_int_equal(reader.left, 7);
	assert_true(reader_skip(&reader, 4, &view));
	assert_ptr_equal(view, bytes);
	assert_false(reader_get_be32(&reader, &u32));
	assert_true(reader_get_bytes(&reader, copy, 2));
	assert_memory_equal(copy, bytes + 4, 2);
	assert_false(reader_get_be16(&reader, &u16));
	assert_int_equal(reader.left, 1);
	assert_true(reader_get_u8(&reader, &u8));
	assert_int_equal(u8, 7);
	assert_false(reader_get_u8(&reader, &u8));
	assert_true(reader_skip(&reader, 0, &view));
}

static void hex_comes_back(void **state)
{
	uint8_t bytes[256], again[256];
	char text[513];

	(void)state;
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)i;
	hex_encode(bytes, sizeof(bytes), text);
	assert_int_equal(strlen(text), 512);
	assert_memory_equal(text + 2 * 0xaf, "af", 2);
	assert_true(hex_decode(text, again, sizeof(again)));
	assert_memory_equal(bytes, again, sizeof(bytes));
	hex_encode("", 0, text);
	assert_string_equal(text, "");
	assert_true(hex_decode("", again, 0));
}

static void wrong_hex_is_refused(void **state)
{
	static const char *const wrong[] = { "",
					     "0",
					     "012",
					     "01234",
					     "AB01",
					     "01 2",
					     "0x01",
					     "gg00",
					     "00/0",
					     "0:00",
					     "00`0",
					     "\xff"
					     "000",
					     "+123" };
	uint8_t bytes[2];

	(void)state;
	assert_true(hex_decode("ab01", bytes, 2));
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		assert_false(hex_decode(wrong[i], bytes, 2));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(integers_are_big_endian_and_come_back),
		cmocka_unit_test(a_buffer_holds_exactly_its_bound),
		cmocka_unit_test(a_huge_size_does_not_wrap),
		cmocka_unit_test(growing_keeps_the_bytes),
		cmocka_unit_test(an_empty_bound_takes_nothing),
		cmocka_unit_test(consume_drops_the_front),
		cmocka_unit_test(a_short_reader_gives_nothing_and_stays),
		cmocka_unit_test(hex_comes_back),
		cmocka_unit_test(wrong_hex_is_refused),
	};

	return cmocka_run_group_tests_name("base/buffer", tests, NULL, NULL);
}
