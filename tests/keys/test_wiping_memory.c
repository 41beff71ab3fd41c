/* SPDX-License-Identifier: Apache-2.0 */
/* Linked with --wrap=free: what a block holds when the C library gets it back can be seen. */
#include "tests/support/support.h"

#include <curl/curl.h>
#include <jansson.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "keys/wiping_memory.h"

#define SECRET "a value that nobody may find again"

/* volatile: the compiler knows that free changes no variable of ours. */
static volatile struct {
	size_t freed, dirty;
} seen;

void __real_free(void *block);
void __wrap_free(void *block);
void __wrap_free(void *block)
{
	if (block) {
		seen.freed++;
		seen.dirty += memmem(block, malloc_usable_size(block), SECRET,
				     sizeof(SECRET) - 1) != NULL;
	}
	__real_free(block);
}

static void watch(void)
{
	seen.freed = seen.dirty = 0;
}

static void assert_wiped(size_t at_least)
{
	assert_true(at_least <= seen.freed);
	assert_int_equal(seen.dirty, 0);
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
	assert_int_equal(seen.dirty, 1);
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

static void test_jansson_and_libcurl_use_them(void **state)
{
	Error err;
	json_t *root;
	struct curl_slist *list;
	char *escaped;

	(void)state;
	assert_false(wiping_memory_is_installed());
	assert_works(wiping_memory_install(&err), &err);
	assert_true(wiping_memory_is_installed());
	root = json_pack("{s:s}", "name", SECRET);
	list = curl_slist_append(NULL, "X-Auth-Token: " SECRET);
	escaped = curl_easy_escape(NULL, "x" SECRET, 1);
	assert_non_null(root);
	assert_non_null(list);
	watch();
	json_decref(root);
	curl_slist_free_all(list);
	curl_free(escaped);
	assert_wiped(4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_watch_sees_what_is_not_wiped),
		cmocka_unit_test(test_blocks_are_wiped),
		cmocka_unit_test(test_blocks_that_grow_or_shrink_leave_nothing),
		cmocka_unit_test(test_sizes_that_overflow),
		cmocka_unit_test(test_jansson_and_libcurl_use_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
