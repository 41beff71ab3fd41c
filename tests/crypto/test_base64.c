/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "crypto/base64.h"

typedef struct Pair {
	const char *bytes, *text;
} Pair;

/* RFC 4648, section 10. */
static const Pair pairs[] = {
	{ "", "" },
	{ "f", "Zg==" },
	{ "fo", "Zm8=" },
	{ "foo", "Zm9v" },
	{ "foob", "Zm9vYg==" },
	{ "fooba", "Zm9vYmE=" },
	{ "foobar", "Zm9vYmFy" },
};

static void test_rfc_vectors(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
		AUTO_BUFFER Buffer text = BUFFER_INIT(64);
		AUTO_BUFFER Buffer bytes = BUFFER_INIT(64);
		Error err = ERROR_INIT;

		assert_true(base64_encode(pairs[i].bytes, strlen(pairs[i].bytes), &text, &err));
		assert_int_equal(text.used, strlen(pairs[i].text));
		assert_true(base64_decode(pairs[i].text, strlen(pairs[i].text), &bytes, &err));
		assert_int_equal(bytes.used, strlen(pairs[i].bytes));
		if (!text.used)
			continue;
		assert_memory_equal(text.data, pairs[i].text, text.used);
		assert_memory_equal(bytes.data, pairs[i].bytes, bytes.used);
	}
}

static void test_every_byte(void **state)
{
	AUTO_BUFFER Buffer text = BUFFER_INIT(512);
	AUTO_BUFFER Buffer bytes = BUFFER_INIT(256);
	uint8_t all[256];
	Error err = ERROR_INIT;

	(void)state;
	for (int i = 0; i < 256; i++)
		all[i] = (uint8_t)i;
	assert_true(base64_encode(all, sizeof(all), &text, &err));
	assert_true(base64_decode((const char *)text.data, text.used, &bytes, &err));
	assert_int_equal(bytes.used, sizeof(all));
	assert_memory_equal(bytes.data, all, sizeof(all));
}

static void refused(const char *text, size_t length, ErrorCategory category)
{
	AUTO_BUFFER Buffer bytes = BUFFER_INIT(6);
	Error err = ERROR_INIT;

	assert_true(buffer_put(&bytes, "ab", 2, &err));
	assert_false(base64_decode(text, length, &bytes, &err));
	assert_int_equal(err.category, category);
	assert_int_equal(bytes.used, 2);
}

static void test_not_canonical_is_refused(void **state)
{
	static const char *const bad[] = {
		"Zg",	    "Zg=",  "Zg===", "Z",      "Zh==", "Zm9=",	  "Z===",    "====", "=m9v",
		"Zg==Zg==", "Zm 9", "Zm9\n", "Zm9v\n", "Zm-_", "Zm9\x7f", "Zm9\xff", "Z=g=", "Zg=v",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		refused(bad[i], strlen(bad[i]), ERROR_PEER);
	refused("Zm9\0", 4, ERROR_PEER);
}

static void test_bounds(void **state)
{
	AUTO_BUFFER Buffer text = BUFFER_INIT(7);
	Error err = ERROR_INIT;

	(void)state;
	refused("Zm9vYmE=", 8, ERROR_LIMIT); /* 5 bytes into 4 */
	assert_false(base64_encode("foobar", 6, &text, &err));
	assert_int_equal(err.category, ERROR_LIMIT);
	assert_int_equal(text.used, 0);
	assert_true(base64_encode("foo", 3, &text, &err));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rfc_vectors),
		cmocka_unit_test(test_every_byte),
		cmocka_unit_test(test_not_canonical_is_refused),
		cmocka_unit_test(test_bounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
