/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/support.h"

#include <string.h>

#include "programs/mover/filter.h"

static void *open_good(size_t channels, Error *err)
{
	(void)err;
	return test_calloc(1, channels);
}

static void *open_bad(size_t channels, Error *err)
{
	(void)channels;
	error_set(err, ERROR_LIMIT, "too much");
	return NULL;
}

static bool judge_good(void *context, const FilterPiece *piece, Error *err)
{
	uint8_t *seen = context;

	(void)err;
	seen[piece->channel]++;
	return true;
}

static bool judge_bad(void *context, const FilterPiece *piece, Error *err)
{
	(void)context;
	return piece->size < 4 || error_set(err, ERROR_PEER, "%zu bytes", piece->size);
}

static void close_good(void *context)
{
	test_free(context);
}

static const StreamFilter good = { "good", open_good, judge_good, close_good };
static const StreamFilter strict = { "strict", open_good, judge_bad, close_good };
static const StreamFilter broken = { "broken", open_bad, judge_bad, close_good };

static void test_all_are_asked_until_one_refuses(void **state)
{
	const StreamFilter filters[] = { good, strict, good };
	FilterPiece piece = { .channel = 1, .bytes = (const uint8_t *)"12345", .size = 3 };
	FilterChain chain;
	Error err;

	(void)state;
	assert_works(filter_open(&chain, filters, ARRAY_SIZE(filters), 2, &err), &err);
	assert_works(filter_judge(&chain, &piece, &err), &err);
	piece.size = 5;
	assert_fails(filter_judge(&chain, &piece, &err), ERROR_PEER, "strict refuses: 5 bytes",
		     &err);
	assert_int_equal(((uint8_t *)chain.contexts[0])[1], 2);
	assert_int_equal(((uint8_t *)chain.contexts[2])[1], 1);
	filter_close(&chain);
}

static void test_no_filter_lets_pass(void **state)
{
	FilterPiece piece = { .size = 5 };
	FilterChain chain;
	Error err;

	(void)state;
	assert_works(filter_open(&chain, NULL, 0, 2, &err), &err);
	assert_works(filter_judge(&chain, &piece, &err), &err);
	filter_close(&chain);
}

/* cmocka's allocator finds the first one's context if it stays open. */
static void test_nothing_stays_open_after_a_failure(void **state)
{
	const StreamFilter filters[] = { good, broken };
	FilterChain chain;
	Error err;

	(void)state;
	assert_fails(filter_open(&chain, filters, ARRAY_SIZE(filters), 2, &err), ERROR_LIMIT,
		     "broken: too much", &err);
	assert_int_equal(chain.count, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_are_asked_until_one_refuses),
		cmocka_unit_test(test_no_filter_lets_pass),
		cmocka_unit_test(test_nothing_stays_open_after_a_failure),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
