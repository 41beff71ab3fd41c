/* SPDX-License-Identifier: Apache-2.0 */
/* The decoder of the return path: each rule with what just keeps it and what just breaks it. */
#include "tests/support/support.h"

#include <string.h>

#include "qemustream/return_path.h"

enum { UNITS_MAX = 16, PAGE = 4096 };

static const ReturnPathOptions options = { .page_size = PAGE, .bitmap_max_bytes = 64 };

typedef struct Decoded {
	ReturnPathUnit units[UNITS_MAX]; /* block.bytes: NULL, its text is in names */
	char names[UNITS_MAX][UNIT_NAME_SIZE];
	size_t count, used;
	bool may_end;
	UnitResult result; /* of the last call */
	Error err;
} Decoded;

static void note(Decoded *decoded, const ReturnPathUnit *found)
{
	ReturnPathUnit *last = decoded->count ? &decoded->units[decoded->count - 1] : NULL;

	if (last && last->kind == RETURN_PATH_BITMAP_BYTES && found->kind == last->kind) {
		assert_int_equal(found->bitmap_bytes + found->size_bytes, last->bitmap_bytes);
		last->size_bytes += found->size_bytes;
		last->bitmap_bytes = found->bitmap_bytes;
		return;
	}
	assert_true(decoded->count < UNITS_MAX);
	if (found->block.size)
		memcpy(decoded->names[decoded->count], found->block.bytes, found->block.size);
	decoded->units[decoded->count] = *found;
	decoded->units[decoded->count++].block.bytes = NULL;
}

/* As in test_multifd.c: windows of their own size that grow by `step`, or all at once. */
static void decode(const uint8_t *bytes, size_t size, size_t step, Decoded *decoded)
{
	ReturnPathStream stream;
	size_t window_size = step ? 0 : size;

	memset(decoded, 0, sizeof(*decoded));
	return_path_init(&stream, &options);
	while (true) {
		AUTO_FREE uint8_t *window = malloc(window_size ? window_size : 1);
		ReturnPathUnit unit;

		assert_non_null(window);
		memcpy(window, bytes + decoded->used, window_size);
		decoded->result =
			return_path_next(&stream, window, window_size, &unit, &decoded->err);
		if (decoded->result == UNIT_BAD)
			break;
		if (decoded->result == UNIT_WHOLE) {
			assert_in_range(unit.size_bytes, 1, window_size);
			note(decoded, &unit);
			decoded->used += unit.size_bytes;
			window_size -= unit.size_bytes;
			continue;
		}
		if (decoded->used + window_size == size)
			break;
		window_size += step;
		if (window_size > size - decoded->used)
			window_size = size - decoded->used;
	}
	decoded->may_end = return_path_may_end(&stream);
}

static void assert_good(const void *bytes, size_t size, size_t n_units, Decoded *whole)
{
	static Decoded other;

	decode(bytes, size, 0, whole);
	if (whole->result == UNIT_BAD)
		fail_msg("refused: %s", whole->err.text);
	assert_int_equal(whole->used, size);
	assert_int_equal(whole->count, n_units);
	decode(bytes, size, 1, &other);
	assert_int_equal(other.used, size);
	assert_int_equal(other.count, n_units);
	assert_memory_equal(other.units, whole->units, sizeof(whole->units));
	assert_memory_equal(other.names, whole->names, sizeof(whole->names));
}

static void assert_bad(const void *bytes, size_t size, const char *part)
{
	static Decoded decoded;

	decode(bytes, size, 0, &decoded);
	assert_int_equal(decoded.result, UNIT_BAD);
	support_check_error(&decoded.err, ERROR_PEER, part, __FILE__, __LINE__);
}

#define PONG	       "\0\2\0\4\0\0\0\7"
#define SHUT	       "\0\1\0\4\0\0\0\0"
#define REQ_ID	       "\0\3\0\23\0\0\0\0\0\0\40\0\0\0\20\0\6pc.ram"
#define REQ	       "\0\4\0\14\0\0\1\0\0\0\0\0\0\0\40\0"
#define BITMAP	       "\0\5\0\7\6pc.ram\0\0\0\0\0\0\0\20" /* 16 bytes follow */
#define BITS	       "0123456789abcdef"
#define BITMAP_END     "\x01\x23\x45\x67\x89\xab\xcd\xef"
#define RESUME_ACK     "\0\6\0\4\0\0\0\1"
#define SWITCHOVER_ACK "\0\7\0\0"
#define TEXT(literal)  (literal), sizeof(literal) - 1

static void test_precopy(void **state)
{
	Decoded found;

	(void)state;
	assert_good(TEXT(SWITCHOVER_ACK PONG SHUT), 3, &found);
	assert_true(found.may_end);
	assert_int_equal(found.units[0].kind, RETURN_PATH_SWITCHOVER_ACK);
	assert_int_equal(found.units[1].kind, RETURN_PATH_PONG);
	assert_int_equal(found.units[1].value, 7);
	assert_int_equal(found.units[2].kind, RETURN_PATH_SHUT);
	assert_int_equal(found.units[2].value, 0);
	assert_good(TEXT("\0\1\0\4\xff\xff\xff\xff"), 1, &found);
	assert_int_equal(found.units[0].value, UINT32_MAX);
	assert_bad(TEXT(PONG SHUT PONG), "return path, byte 16: 8 bytes behind SHUT");
}

static void test_requests(void **state)
{
	Decoded found;

	(void)state;
	assert_good(TEXT(REQ_ID REQ), 2, &found);
	assert_int_equal(found.units[0].kind, RETURN_PATH_REQ_PAGES_ID);
	assert_int_equal(found.units[0].start, 0x2000);
	assert_int_equal(found.units[0].length, 0x1000);
	assert_string_equal(found.names[0], "pc.ram");
	assert_int_equal(found.units[1].kind, RETURN_PATH_REQ_PAGES);
	assert_int_equal(found.units[1].start, UINT64_C(1) << 40);
	assert_int_equal(found.units[1].length, 0x2000);
	assert_int_equal(found.units[1].block.size, 0);
	assert_bad(TEXT(REQ REQ_ID),
		   "byte 0: REQ_PAGES: a request before any that names its block");
}

static void test_recovery(void **state)
{
	Decoded found;

	(void)state;
	assert_good(TEXT(BITMAP BITS BITMAP_END RESUME_ACK REQ_ID), 5, &found);
	assert_int_equal(found.units[0].kind, RETURN_PATH_RECV_BITMAP);
	assert_int_equal(found.units[0].bitmap_bytes, 16);
	assert_string_equal(found.names[0], "pc.ram");
	assert_int_equal(found.units[1].kind, RETURN_PATH_BITMAP_BYTES);
	assert_int_equal(found.units[1].size_bytes, 16);
	assert_int_equal(found.units[1].bitmap_bytes, 0);
	assert_int_equal(found.units[2].kind, RETURN_PATH_BITMAP_END);
	assert_int_equal(found.units[3].kind, RETURN_PATH_RESUME_ACK);
	assert_int_equal(found.units[3].value, 1);
	decode((const uint8_t *)BITMAP BITS, sizeof(BITMAP BITS) - 1, 0, &found);
	assert_false(found.may_end);
	decode((const uint8_t *)BITMAP, sizeof(BITMAP) - 1, 0, &found);
	assert_false(found.may_end);
}

/* A message, where to change it, and how: the value that breaks it, and what is said. The message
 * itself is good. */
typedef struct Change {
	const char *message;
	size_t size, at;
	uint8_t value;
	const char *part;
} Change;

static const Change changes[] = {
	{ TEXT(PONG), 1, 0, "return path, byte 0: message of type 0, known are 1..7" },
	{ TEXT(PONG), 1, 8, "message of type 8, known" },
	{ TEXT(PONG), 0, 1, "message of type 258" },
	{ TEXT(PONG), 3, 3, "PONG of 3 bytes, must have 4..4" },
	{ TEXT(PONG), 3, 5, "PONG of 5 bytes" },
	{ TEXT(SHUT), 3, 3, "SHUT of 3 bytes" },
	{ TEXT(SHUT), 2, 1, "SHUT of 260 bytes" },
	{ TEXT(SWITCHOVER_ACK), 3, 1, "SWITCHOVER_ACK of 1 bytes, must have 0..0" },
	{ TEXT(RESUME_ACK), 7, 2, "RESUME_ACK: value 2, only 1 is known" },
	{ TEXT(RESUME_ACK), 3, 0, "RESUME_ACK of 0 bytes" },
	{ TEXT(REQ_ID), 3, 13, "REQ_PAGES_ID of 13 bytes, must have 14..268" },
	{ TEXT(REQ_ID), 3, 18, "REQ_PAGES_ID: a name of 6 bytes where 5 are" },
	{ TEXT(REQ_ID), 16, 5, "a name of 5 bytes where 6 are" },
	{ TEXT(REQ_ID), 16, 255, "a name of 255 bytes where 6 are" },
	{ TEXT(REQ_ID), 16, 0, "the name of a RAM block has 0 bytes" },
	{ TEXT(REQ_ID), 17, 0x80, "the name of a RAM block has byte 0x80 at 0" },
	{ TEXT(REQ_ID), 11, 1, "start 0x2001 is no multiple of 0x1000" },
	{ TEXT(REQ_ID), 10, 0x28, "start 0x2800 is no multiple" },
	{ TEXT(REQ_ID), 15, 1, "length 0x1001 is not one or more times 0x1000" },
	{ TEXT(REQ_ID), 14, 0, "length 0x0 is not one or more" },
	{ TEXT(BITMAP), 3, 1, "RECV_BITMAP of 1 bytes, must have 2..256" },
	{ TEXT(BITMAP), 2, 1, "RECV_BITMAP of 263 bytes" },
	{ TEXT(BITMAP), 4, 7, "RECV_BITMAP: a name of 7 bytes where 6 are" },
	{ TEXT(BITMAP), 18, 0, "a bitmap of 0 bytes, a multiple of 8 up to 64" },
	{ TEXT(BITMAP), 18, 15, "a bitmap of 15 bytes" },
	{ TEXT(BITMAP), 18, 72, "a bitmap of 72 bytes" },
	{ TEXT(BITMAP), 11, 0x80, "a bitmap of 9223372036854775824 bytes" },
	{ TEXT(BITMAP BITS BITMAP_END), 42, 0xee,
	  "byte 35: 0x0123456789abcdee behind a bitmap, must be 0x0123456789abcdef" },
};

static void test_changes(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
		const Change *change = &changes[i];
		uint8_t copy[64];
		Decoded found;

		assert_true(change->size <= sizeof(copy) && change->at < change->size);
		memcpy(copy, change->message, change->size);
		decode(copy, change->size, 0, &found);
		if (found.result == UNIT_BAD || found.used != change->size)
			fail_msg("change %zu: refused before it: %s", i, found.err.text);
		copy[change->at] = change->value;
		assert_bad(copy, change->size, change->part);
	}
}

/* The bounds themselves, which are good. */
static void test_longest(void **state)
{
	uint8_t request[4 + 12 + 1 + UNIT_NAME_MAX] = { 0, 3, 1, 12 };
	uint8_t bitmap[sizeof(BITMAP) - 1 + 64 + 8];
	Decoded found;

	(void)state;
	request[14] = 0x10;
	request[16] = UNIT_NAME_MAX;
	memset(request + 17, 'n', UNIT_NAME_MAX);
	assert_good(request, sizeof(request), 1, &found);
	assert_int_equal(strlen(found.names[0]), UNIT_NAME_MAX);
	memcpy(bitmap, BITMAP, sizeof(BITMAP) - 1);
	bitmap[18] = 64;
	memset(bitmap + 19, 0xff, 64);
	memcpy(bitmap + 19 + 64, BITMAP_END, 8);
	assert_good(bitmap, sizeof(bitmap), 3, &found);
	assert_true(found.may_end);
}

static void test_no_bitmaps(void **state)
{
	const ReturnPathOptions none = { .page_size = PAGE };
	ReturnPathStream stream;
	ReturnPathUnit unit;
	Error err = ERROR_INIT;

	(void)state;
	return_path_init(&stream, &none);
	assert_int_equal(
		return_path_next(&stream, (const uint8_t *)BITMAP, sizeof(BITMAP) - 1, &unit, &err),
		UNIT_BAD);
	support_check_error(&err, ERROR_PEER, "up to 0", __FILE__, __LINE__);
	assert_int_equal(
		return_path_next(&stream, (const uint8_t *)PONG, sizeof(PONG) - 1, &unit, &err),
		UNIT_BAD);
	support_check_error(&err, ERROR_PEER, "refused before", __FILE__, __LINE__);
	assert_false(return_path_may_end(&stream));
}

static void judge_mutation(void *context, Mutation mutation, const uint8_t *data, size_t size)
{
	Decoded found;

	(void)context;
	decode(data, size, 0, &found);
	if (mutation == MUTATION_CUT)
		assert_int_equal(found.result, UNIT_MORE);
}

static void test_mutations(void **state)
{
	static const char stream[] =
		SWITCHOVER_ACK PONG BITMAP BITS BITMAP_END RESUME_ACK REQ_ID REQ SHUT;

	(void)state;
	support_mutate(stream, sizeof(stream) - 1, judge_mutation, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_precopy),	  cmocka_unit_test(test_requests),
		cmocka_unit_test(test_recovery),  cmocka_unit_test(test_changes),
		cmocka_unit_test(test_longest),	  cmocka_unit_test(test_no_bitmaps),
		cmocka_unit_test(test_mutations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
