/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/support.h"

#include <stdlib.h>
#include <string.h>

#include "base/wiping_memory.h"
#include "tests/support/free_watch.h"

#define SECRET "a value that nobody may find again"

static void watch(void)
{
	free_watch_begin(SECRET, sizeof(SECRET) - 1);
}

static void assert_wiped(size_t at_least)
{
	assert_true(at_least <= free_watch_freed());
	assert_int_equal(free_watch_dirty(), 0);
}

/* So that the tests below can fail. */
static void test_the_watch_sees_what_is_not_wiped(void **state)
{
	char *block = strdup(SECRET);

	(void)state;
	/* Also keeps the compiler from leaving out what nobody reads before it is freed. */
	assert_string_equal(block, SECRET);
	watch();
	free(block);
	assert_int_equal(free_watch_dirty(), 1);
}

static void test_blocks_are_wiped(void **state)
{
	char *block = wiping_strdup(SECRET);
	char *zeros = wiping_calloc(4, 8);

	(void)state;
	assert_string_equal(block, SECRET);
	assert_int_equal((uintptr_t)block % _Alignof(max_align_t), 0);
	for (size_t i = 0; i < 32; i++)
		assert_int_equal(zeros[i], 0);
	watch();
	wiping_free(block);
	wiping_free(zeros);
	wiping_free(NULL);
	assert_wiped(2);
}

static void test_blocks_that_grow_or_shrink_leave_nothing(void **state)
{
	char *block = wiping_realloc(NULL, sizeof(SECRET));

	(void)state;
	memcpy(block, SECRET, sizeof(SECRET));
	watch();
	block = wiping_realloc(block, 10000);
	assert_string_equal(block, SECRET);
	block = wiping_realloc(block, sizeof(SECRET));
	assert_string_equal(block, SECRET);
	block = wiping_realloc(block, 3);
	assert_memory_equal(block, SECRET, 3);
	wiping_free(block);
	assert_wiped(4);
}

static void test_sizes_that_overflow(void **state)
{
	volatile size_t most = SIZE_MAX;
	char *block = wiping_strdup(SECRET);

	(void)state;
	assert_null(wiping_malloc(most));
	assert_null(wiping_malloc(most - 8));
	assert_null(wiping_calloc(most / 2, 3));
	assert_null(wiping_realloc(block, most));
	assert_string_equal(block, SECRET);
	wiping_free(block);
	block = wiping_malloc(0);
	assert_non_null(block);
	wiping_free(block);
}

/* A caller who frees what Jansson gave it must not break the heap. */
static void test_free_takes_them_too(void **state)
{
	(void)state;
	free(wiping_strdup(SECRET));
	free(wiping_malloc(1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_watch_sees_what_is_not_wiped),
		cmocka_unit_test(test_blocks_are_wiped),
		cmocka_unit_test(test_blocks_that_grow_or_shrink_leave_nothing),
		cmocka_unit_test(test_sizes_that_overflow),
		cmocka_unit_test(test_free_takes_them_too),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
