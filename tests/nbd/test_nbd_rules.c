/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each rule of the NBD guard with conversations that break it and nothing else; beside each the
 * same that does not. A rule without a case fails, and so does one that GUARD.md does not explain
 * (argument 1). nbd-closed has its cases in test_nbd_guard.c.
 */
#include "tests/support/support.h"

#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "tests/nbd/cases.h"

static const struct Table {
	const NbdCase *cases;
	const size_t *count;
} tables[] = {
	{ nbd_handshake_cases, &nbd_handshake_cases_count },
	{ nbd_transmission_cases, &nbd_transmission_cases_count },
};

/* 1: each byte alone. Odd ones, so that headers are cut everywhere. */
static const size_t pieces[] = { 0, 1, 7, 29, 1000 };

static void play(const NbdCase *c, PutTalk put, NbdFrom own, size_t piece, bool watch,
		 TalkResult *ret_result)
{
	NbdGuardOptions options = talk_options(own, c->access);
	AUTO_TALK Talk talk = TALK_INIT;
	AUTO_NBD_GUARD NbdGuard *guard = NULL;
	Error err = ERROR_INIT, again = ERROR_INIT;
	size_t taken;

	put(&talk);
	guard = nbd_guard_new(&options, &err);
	assert_non_null(guard);
	talk_play(guard, &options, talk.bytes.data, talk.bytes.used, piece, watch, ret_result);
	if (!ret_result->refused)
		return;
	/* What was refused stays refused, in both directions. */
	for (NbdFrom from = 0; from < NBD_FROM_COUNT; from++) {
		assert_false(nbd_guard_take(guard, from, NULL, 0, &taken, &again));
		assert_int_equal(again.category, ERROR_CANCELLED);
	}
}

static void judge_good(const NbdCase *c, const TalkResult *result)
{
	if (result->refused)
		print_error("%s: %s: refused: %s\n", nbd_rule_text(c->rule)->name, c->what,
			    result->err.text);
	assert_false(result->refused);
	assert_int_equal(result->left[NBD_FROM_CLIENT], 0);
	assert_int_equal(result->left[NBD_FROM_SERVER], 0);
}

static void judge_bad(const NbdCase *c, NbdFrom own, const TalkResult *result)
{
	char begin[64];

	snprintf(begin, sizeof(begin), "%s: %s: byte ", nbd_rule_text(c->rule)->name,
		 c->fault == NBD_FROM_CLIENT ? "client" : "server");
	if (!result->refused || strncmp(result->err.text, begin, strlen(begin)) != 0 ||
	    !strstr(result->err.text, c->text))
		print_error("%s%s: want \"%s\", got \"%s\"\n", begin, c->what, c->text,
			    result->err.text);
	assert_true(result->refused);
	assert_memory_equal(result->err.text, begin, strlen(begin));
	assert_non_null(strstr(result->err.text, c->text));
	assert_int_equal(result->err.category, own == c->fault ? ERROR_HYPERVISOR : ERROR_PEER);
}

static void run_case(const NbdCase *c)
{
	TalkResult good, bad, first = { .refused = false };

	for (NbdFrom own = 0; own < NBD_FROM_COUNT; own++) {
		for (size_t i = 0; i < 2 * ARRAY_SIZE(pieces); i++) {
			size_t piece = pieces[i / 2];

			play(c, c->good, own, piece, i % 2, &good);
			judge_good(c, &good);
			play(c, c->bad, own, piece, i % 2, &bad);
			judge_bad(c, own, &bad);
			/* However it is cut, the verdict is the same to the byte. */
			if (!i)
				first = bad;
			assert_string_equal(bad.err.text, first.err.text);
		}
	}
}

static void test_cases(void **state)
{
	(void)state;
	for (size_t t = 0; t < ARRAY_SIZE(tables); t++)
		for (size_t i = 0; i < *tables[t].count; i++)
			run_case(&tables[t].cases[i]);
}

/* A conversation that is refused passes as far as it was good: to the byte that the text names. */
static void test_nothing_behind(void **state)
{
	(void)state;
	for (size_t i = 0; i < nbd_transmission_cases_count; i++) {
		const NbdCase *c = &nbd_transmission_cases[i];
		TalkResult result;
		char at[64];

		play(c, c->bad, NBD_FROM_SERVER, 1, false, &result);
		snprintf(at, sizeof(at),
			 ": byte %llu: ", (unsigned long long)result.taken[c->fault]);
		if (!strstr(result.err.text, at))
			print_error("%s, not \"%s\"\n", result.err.text, at);
		assert_non_null(strstr(result.err.text, at));
	}
}

static void test_each_rule_has_a_case(void **state)
{
	bool seen[NBD_RULE_COUNT] = { [NBD_RULE_CLOSED] = true };

	(void)state;
	for (size_t t = 0; t < ARRAY_SIZE(tables); t++)
		for (size_t i = 0; i < *tables[t].count; i++)
			seen[tables[t].cases[i].rule] = true;
	for (NbdRule rule = 0; rule < NBD_RULE_COUNT; rule++) {
		if (!seen[rule])
			print_error("no case for %s\n", nbd_rule_text(rule)->name);
		assert_true(seen[rule]);
	}
}

/* GUARD.md has a row for each, with the same words. */
static void test_document(void **state)
{
	AUTO_BUFFER Buffer document = BUFFER_INIT(1 << 20);
	Error err = ERROR_INIT;

	if (!file_read(*state, 1 << 20, &document, &err) || !buffer_put_u8(&document, 0, &err))
		fail_msg("%s", err.text);
	for (NbdRule rule = 0; rule < NBD_RULE_COUNT; rule++) {
		const NbdRuleText *text = nbd_rule_text(rule);
		char row[1024];

		snprintf(row, sizeof(row), "| `%s` | %s | %s |", text->name, text->holds,
			 text->closes);
		if (!strstr((const char *)document.data, row))
			print_error("GUARD.md has no \"%s\"\n", row);
		assert_non_null(strstr((const char *)document.data, row));
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cases),
		cmocka_unit_test(test_nothing_behind),
		cmocka_unit_test(test_each_rule_has_a_case),
		cmocka_unit_test_prestate(test_document, argc > 1 ? argv[1] : NULL),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
