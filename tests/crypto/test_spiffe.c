/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "crypto/spiffe.h"

static void accepted(const char *text, const char *domain, SpiffeRole role, const char *name)
{
	SpiffeId id;
	Error err = ERROR_INIT;

	if (!spiffe_parse(text, strlen(text), &id, &err))
		fail_msg("%s", err.text);
	assert_string_equal(id.text, text);
	assert_string_equal(id.domain, domain);
	assert_int_equal(id.role, role);
	assert_string_equal(id.name, name);
}

static void test_good(void **state)
{
	(void)state;
	accepted("spiffe://north.example/host/alpha", "north.example", SPIFFE_HOST, "alpha");
	accepted("spiffe://n/host/A-1_b.c", "n", SPIFFE_HOST, "A-1_b.c");
	accepted("spiffe://north.example/authority", "north.example", SPIFFE_AUTHORITY, "");
	accepted("spiffe://x-1.y/keyd", "x-1.y", SPIFFE_KEYD, "");
}

static void refused(const char *text, size_t length)
{
	SpiffeId id = { .text = "untouched" };
	Error err = ERROR_INIT;

	if (spiffe_parse(text, length, &id, &err))
		fail_msg("accepted: %s", text);
	assert_int_equal(err.category, ERROR_AUTH);
	assert_string_equal(id.text, "untouched");
}

static void test_bad(void **state)
{
	static const char *const bad[] = {
		"",
		"spiffe",
		"spiffe://",
		"spiffe:///host/a",
		"spiffe:/north.example/host/a",
		"SPIFFE://north.example/host/a",
		"https://north.example/host/a",
		" spiffe://north.example/host/a",
		"spiffe://north.example",
		"spiffe://north.example/",
		"spiffe://north.example/host",
		"spiffe://north.example/host/",
		"spiffe://north.example/host//a",
		"spiffe://north.example//host/a",
		"spiffe://north.example/host/a/",
		"spiffe://north.example/host/a/b",
		"spiffe://north.example/host/.",
		"spiffe://north.example/host/..",
		"spiffe://north.example/host/.a",
		"spiffe://north.example/host/-a",
		"spiffe://north.example/host/a b",
		"spiffe://north.example/host/a,b",
		"spiffe://north.example/host/%61",
		"spiffe://north.example/host/a?x",
		"spiffe://north.example/host/a#x",
		"spiffe://north.example/host/a@b",
		"spiffe://north.example/host/a:b",
		"spiffe://north.example/host/\xc3\xa4",
		"spiffe://north.example/host/a\n",
		"spiffe://north.example/Host/a",
		"spiffe://north.example/guest/a",
		"spiffe://north.example/authority/",
		"spiffe://north.example/authority/a",
		"spiffe://north.example/keyd/a",
		"spiffe://North.example/host/a",
		"spiffe://north.example:7468/host/a",
		"spiffe://user@north.example/host/a",
		"spiffe://north.example:x@south.example/host/a",
		"spiffe://north..example/host/a",
		"spiffe://.north.example/host/a",
		"spiffe://north.example./host/a",
		"spiffe://-north.example/host/a",
		"spiffe://north_example/host/a",
		"spiffe://north.example?/host/a",
		"spiffe://[::1]/host/a",
	};
	static const char nul_in_name[] = "spiffe://north.example/host/a\0b";
	static const char nul_at_end[] = "spiffe://north.example/host/a\0";

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		refused(bad[i], strlen(bad[i]));
	refused(nul_in_name, sizeof(nul_in_name) - 1);
	refused(nul_at_end, sizeof(nul_at_end) - 1);
}

/* Everything fits exactly, and one more does not. */
static void test_lengths(void **state)
{
	char domain[LIMIT_DOMAIN + 1], name[LIMIT_NAME + 1];
	SpiffeId id;
	Error err = ERROR_INIT;

	(void)state;
	memset(domain, 'd', sizeof(domain));
	memset(name, 'n', sizeof(name));
	domain[LIMIT_DOMAIN - 1] = '\0';
	name[LIMIT_NAME - 1] = '\0';
	assert_true(spiffe_make(SPIFFE_HOST, domain, name, &id, &err));
	assert_string_equal(id.domain, domain);
	assert_string_equal(id.name, name);
	accepted(id.text, domain, SPIFFE_HOST, name);
	name[LIMIT_NAME - 1] = 'n';
	name[LIMIT_NAME] = '\0';
	assert_false(spiffe_make(SPIFFE_HOST, domain, name, &id, &err));
	assert_int_equal(err.category, ERROR_USAGE);
	domain[LIMIT_DOMAIN - 1] = 'd';
	domain[LIMIT_DOMAIN] = '\0';
	assert_false(spiffe_make(SPIFFE_AUTHORITY, domain, NULL, &id, &err));

	char text[2 * LIMIT_SPIFFE_ID];

	memset(text, 'n', sizeof(text));
	memcpy(text, "spiffe://d/host/", 16);
	refused(text, 16 + LIMIT_NAME);
	refused(text, LIMIT_SPIFFE_ID - 1);
	refused(text, LIMIT_SPIFFE_ID);
	refused(text, sizeof(text));
	memset(text + 9, 'd', LIMIT_DOMAIN);
	memcpy(text + 9 + LIMIT_DOMAIN, "/keyd", 5);
	refused(text, 9 + LIMIT_DOMAIN + 5);
}

static void test_make(void **state)
{
	SpiffeId id;
	Error err = ERROR_INIT;

	(void)state;
	assert_true(spiffe_make(SPIFFE_KEYD, "north.example", NULL, &id, &err));
	assert_string_equal(id.text, "spiffe://north.example/keyd");
	assert_false(spiffe_make(SPIFFE_KEYD, "north.example", "a", &id, &err));
	assert_false(spiffe_make(SPIFFE_HOST, "north.example", "", &id, &err));
	assert_false(spiffe_make(SPIFFE_HOST, "north.example", "a/b", &id, &err));
	assert_false(spiffe_make(SPIFFE_HOST, "north.example/host/x", "a", &id, &err));
	assert_false(spiffe_make(SPIFFE_HOST, "", "a", &id, &err));
	assert_int_equal(err.category, ERROR_USAGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_make),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
