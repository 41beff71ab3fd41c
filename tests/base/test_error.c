/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/support.h"

#include <errno.h>
#include <string.h>

static void set_keeps_category_and_text(void **state)
{
	Error err = ERROR_INIT;

	(void)state;
	assert_false(error_set(&err, ERROR_LIMIT, "%d apples, more than %d", 5, 3));
	assert_int_equal(err.category, ERROR_LIMIT);
	assert_string_equal(err.text, "5 apples, more than 3");
}

static void set_escapes_what_is_not_printable(void **state)
{
	Error err = ERROR_INIT;

	(void)state;
	error_set(&err, ERROR_PEER, "name \"%s\"", "a\nb\x1b[31m\x7f\xc3\xa9");
	assert_string_equal(err.text, "name \"a\\x0ab\\x1b[31m\\x7f\\xc3\\xa9\"");
}

static void long_text_is_cut_at_a_whole_escape(void **state)
{
	char hostile[2000];
	Error err = ERROR_INIT;

	(void)state;
	memset(hostile, '\n', sizeof(hostile) - 1);
	hostile[sizeof(hostile) - 1] = '\0';
	error_set(&err, ERROR_PEER, "%s", hostile);
	assert_true(strlen(err.text) < ERROR_TEXT_SIZE);
	assert_int_equal(strlen(err.text) % 4, 0);
	assert_string_equal(err.text + strlen(err.text) - 4, "\\x0a");

	memset(hostile, 'x', sizeof(hostile) - 1);
	error_set(&err, ERROR_PEER, "%s", hostile);
	assert_int_equal(strlen(err.text), ERROR_TEXT_SIZE - 1);
}

static void errno_text_follows(void **state)
{
	Error err = ERROR_INIT;

	(void)state;
	assert_false(error_set_errno(&err, ERROR_IO, ENOENT, "cannot open %s", "x"));
	assert_string_equal(err.text, "cannot open x: No such file or directory");
	assert_int_equal(err.category, ERROR_IO);
}

static void prefix_keeps_the_category_and_may_quote_the_old_text(void **state)
{
	Error err = ERROR_INIT;

	(void)state;
	error_set(&err, ERROR_TIMEOUT, "late");
	assert_false(error_prefix(&err, "disk %d", 3));
	assert_string_equal(err.text, "disk 3: late");
	assert_int_equal(err.category, ERROR_TIMEOUT);
	error_prefix(&err, "was \"%s\"", err.text);
	assert_string_equal(err.text, "was \"disk 3: late\": disk 3: late");
}

static void many_prefixes_stay_in_bounds(void **state)
{
	Error err = ERROR_INIT;

	(void)state;
	error_set(&err, ERROR_PEER, "end");
	for (int i = 0; i < 1000; i++)
		error_prefix(&err, "level\t%d", i);
	assert_true(strlen(err.text) < ERROR_TEXT_SIZE);
	assert_memory_equal(err.text, "level\\x09999: ", 14);
}

static void each_category_has_its_own_word_and_status(void **state)
{
	(void)state;
	for (int i = 0; i < ERROR_CATEGORY_COUNT; i++) {
		const char *word = error_word((ErrorCategory)i);
		int status = error_exit_status((ErrorCategory)i);

		/* "none" is no reason that a peer may give: taken for one, it would set an error of
		 * no category. */
		assert_int_equal(error_category_of_word(word), i == ERROR_NONE ? ERROR_INTERNAL : i);
		assert_true(i == ERROR_NONE ? status == 0 : status > 0 && status < 100);
		for (int j = 0; j < i; j++) {
			assert_string_not_equal(word, error_word((ErrorCategory)j));
			assert_int_not_equal(status, error_exit_status((ErrorCategory)j));
		}
	}
}

static void unknown_words_are_internal(void **state)
{
	(void)state;
	assert_int_equal(error_category_of_word("Peer"), ERROR_INTERNAL);
	assert_int_equal(error_category_of_word(""), ERROR_INTERNAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(set_keeps_category_and_text),
		cmocka_unit_test(set_escapes_what_is_not_printable),
		cmocka_unit_test(long_text_is_cut_at_a_whole_escape),
		cmocka_unit_test(errno_text_follows),
		cmocka_unit_test(prefix_keeps_the_category_and_may_quote_the_old_text),
		cmocka_unit_test(many_prefixes_stay_in_bounds),
		cmocka_unit_test(each_category_has_its_own_word_and_status),
		cmocka_unit_test(unknown_words_are_internal),
	};

	return cmocka_run_group_tests_name("base/error", tests, NULL, NULL);
}
