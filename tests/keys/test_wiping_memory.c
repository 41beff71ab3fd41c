/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/support.h"

#include <curl/curl.h>
#include <jansson.h>
#include <string.h>

#include "keys/wiping_memory.h"
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
		cmocka_unit_test(test_jansson_and_libcurl_use_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
