/* SPDX-License-Identifier: Apache-2.0 */
/* The header of an encrypted image, as it should be and one field at a time as it should not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "luks_sample.h"

enum { AREA = SAMPLE_PAYLOAD + (8 << 20), SLOT = LUKS_AT_SLOT, SLOT_1 = SLOT + LUKS_SLOT_BYTES };

static void accepts(const uint8_t *head)
{
	uint64_t payload = 1;
	Error err = ERROR_INIT;

	if (!luks_header_check(head, LUKS_HEADER_BYTES, AREA, &payload, &err))
		fail_msg("%s", err.text);
	assert_int_equal(payload, (uint64_t)load_be32(head + LUKS_AT_PAYLOAD) * 512);
}

static void refuses(const uint8_t *head, size_t size, uint64_t area, const char *text)
{
	uint64_t payload = 77;
	Error err = ERROR_INIT;

	assert_false(luks_header_check(head, size, area, &payload, &err));
	assert_int_equal(err.category, ERROR_DENIED);
	assert_int_equal(payload, 77);
	if (!strstr(err.text, text))
		fail_msg("\"%s\" is not in \"%s\"", text, err.text);
}

static void test_good_headers(void **state)
{
	uint8_t head[LUKS_HEADER_BYTES];

	(void)state;
	sample_luks(head);
	accepts(head);
	memcpy(head + 72, "sha512", 6);
	accepts(head);
	/* A second secret, and the payload further behind. */
	store_be32(head + SLOT_1, 0xac71f3);
	store_be32(head + SLOT_1 + 4, 1000);
	store_be32(head + LUKS_AT_PAYLOAD, 8192);
	accepts(head);
	/* cryptsetup's hole after the slots, and slots in another order. */
	store_be32(head + SLOT + 40, 512);
	store_be32(head + SLOT_1 + 40, 8);
	accepts(head);
}

typedef struct Change {
	size_t offset;
	uint32_t value;
	const char *text;
} Change;

static void test_each_field(void **state)
{
	static const Change changes[] = {
		{ 0, 0x4c554b54, "no LUKS header" },
		{ 4, 0xbabf0001, "no LUKS header" },
		{ 4, 0xbabe0002, "version is 2" },
		{ 4, 0xbabe0000, "version is 0" },
		{ 8, 0x61657331, "cipher is aes1-xts-plain64" },
		{ 8, 0x64657300, "cipher is des-" },
		{ 40, 0x6362632d, "cipher is aes-cbc-plain64" },
		{ 48, 0x36350000, "not aes-xts-plain64" },
		{ 72, 0x6d643500, "hash is md5" },
		{ 76, 0x31000000, "hash is sha21" },
		{ 108, 32, "key of 32 bytes, not 64" },
		{ 108, 0x80000040, "key of 2147483712 bytes" },
		{ LUKS_AT_PAYLOAD, 0, "detached" },
		{ LUKS_AT_PAYLOAD, 4035, "slot 7 at sector 3536 is not between" },
		{ LUKS_AT_PAYLOAD, UINT32_MAX, "behind the end" },
		{ LUKS_AT_DIGEST_TURNS, 0, "without iterations of its digest" },
		{ LUKS_AT_DIGEST_TURNS, UINT32_MAX,
		  "wants 4295006869 iterations, at most 4194304" },
		{ SLOT, 0xdead, "without an active slot" },
		{ SLOT, 1, "slot 0 is in state 0x1" },
		{ SLOT + 4, 0, "slot 0 has 0 iterations" },
		{ SLOT + 4, LUKS_TURNS_MAX, "iter-time=10" },
		{ SLOT + 4, UINT32_MAX, "wants 4294978511 iterations" },
		{ SLOT + 40, 1, "slot 0 at sector 1 is not between" },
		{ SLOT + 40, UINT32_MAX, "is not between" },
		{ SLOT + 44, 4001, "slot 0 has 4001 stripes, not 4000" },
		{ SLOT_1, 0, "slot 1 is in state 0x0" },
		{ SLOT_1 + 40, 8, "slots 0 and 1 overlap" },
		{ SLOT_1 + 40, 507, "slots 0 and 1 overlap" },
		{ SLOT_1 + 44, 0, "slot 1 has 0 stripes" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
		uint8_t head[LUKS_HEADER_BYTES];

		sample_luks(head);
		store_be32(head + changes[i].offset, changes[i].value);
		refuses(head, sizeof(head), AREA, changes[i].text);
	}
}

/* Eight slots may not have by turns what one may not have at once. */
static void test_turns_add_up(void **state)
{
	uint8_t head[LUKS_HEADER_BYTES];

	(void)state;
	sample_luks(head);
	store_be32(head + LUKS_AT_DIGEST_TURNS, 1);
	store_be32(head + SLOT + 4, LUKS_TURNS_MAX - 1);
	accepts(head);
	store_be32(head + SLOT + 4, LUKS_TURNS_MAX);
	refuses(head, sizeof(head), AREA, "wants 4194305 iterations");
	for (size_t i = 0; i < 8; i++) {
		store_be32(head + SLOT + i * LUKS_SLOT_BYTES, 0xac71f3);
		store_be32(head + SLOT + i * LUKS_SLOT_BYTES + 4, LUKS_TURNS_MAX / 8 - 1);
	}
	accepts(head);
	store_be32(head + LUKS_AT_DIGEST_TURNS, 2);
	refuses(head, sizeof(head), AREA, "wants 4194312 iterations");
}

static void test_sizes(void **state)
{
	uint8_t head[LUKS_HEADER_BYTES];

	(void)state;
	sample_luks(head);
	for (size_t size = 0; size < sizeof(head); size++) {
		uint8_t *copy = malloc(size + 1);

		memcpy(copy, head, size);
		refuses(copy, size, AREA, "no LUKS header");
		free(copy);
	}
	refuses(head, sizeof(head), SAMPLE_PAYLOAD - 1, "behind the end of");
	refuses(head, sizeof(head), 0, "no LUKS header");
}

/* Whatever bit is wrong: an answer, and never one with more work or a place outside. */
static void test_mutations(void **state)
{
	(void)state;
	for (size_t bit = 0; bit < (size_t)8 * LUKS_HEADER_BYTES; bit++) {
		uint8_t head[LUKS_HEADER_BYTES];
		Error err = ERROR_INIT;
		uint64_t payload;

		sample_luks(head);
		head[bit / 8] ^= (uint8_t)(1u << bit % 8);
		if (!luks_header_check(head, sizeof(head), AREA, &payload, &err))
			continue;
		assert_true(payload <= AREA && payload >= SAMPLE_PAYLOAD);
		assert_true(load_be32(head + SLOT + 4) <= LUKS_TURNS_MAX);
		assert_true(load_be32(head + LUKS_AT_DIGEST_TURNS) <= LUKS_TURNS_MAX);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good_headers), cmocka_unit_test(test_each_field),
		cmocka_unit_test(test_turns_add_up), cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_mutations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
