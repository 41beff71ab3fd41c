/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/support.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

typedef struct Pipe {
	int ends[2];
	Log log;
	char text[8192];
} Pipe;

static int setup(void **state)
{
	Pipe *p = test_calloc(1, sizeof(*p));

	assert_int_equal(pipe2(p->ends, O_CLOEXEC | O_NONBLOCK), 0);
	p->log = (Log){ .program = "prog", .level = LOG_LEVEL_INFO, .fd = p->ends[1] };
	*state = p;
	return 0;
}

static int teardown(void **state)
{
	Pipe *p = *state;

	close(p->ends[0]);
	close(p->ends[1]);
	test_free(p);
	return 0;
}

static const char *written(Pipe *p)
{
	ssize_t got = read(p->ends[0], p->text, sizeof(p->text) - 1);

	p->text[got > 0 ? got : 0] = '\0';
	return p->text;
}

static void a_line_names_level_and_program(void **state)
{
	Pipe *p = *state;
	char expected[128];

	log_warning(&p->log, "disk is %s free=%d", "low", 3);
	snprintf(expected, sizeof(expected), "warning prog[%d]: disk is low free=3\n",
		 (int)getpid());
	assert_string_equal(written(p), expected);
	/* A process in a namespace of its own goes by its number outside. */
	p->log.process = 4711;
	log_warning(&p->log, "disk is low");
	assert_string_equal(written(p), "warning prog[4711]: disk is low\n");
}

static void levels_above_the_wanted_one_are_dropped(void **state)
{
	Pipe *p = *state;

	log_debug(&p->log, "unseen");
	assert_string_equal(written(p), "");
	log_info(&p->log, "seen");
	assert_non_null(strstr(written(p), "info prog"));
	log_write(NULL, LOG_LEVEL_ERROR, "to nobody");
}

static void hostile_text_stays_one_line(void **state)
{
	Pipe *p = *state;

	log_error(&p->log, "peer says \"%s\"", "a\nerror prog[1]: forged\r\x1b[2J\xff");
	assert_non_null(strstr(written(p), "a\\x0aerror prog[1]: forged\\x0d\\x1b[2J\\xff\"\n"));
	assert_ptr_equal(strchr(p->text, '\n'), p->text + strlen(p->text) - 1);
}

static void long_text_is_cut_and_still_a_line(void **state)
{
	Pipe *p = *state;
	char text[4000];
	size_t length;

	memset(text, 'y', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	log_error(&p->log, "%s", text);
	length = strlen(written(p));
	assert_true(length > 1000 && length < 1100);
	assert_int_equal(p->text[length - 1], '\n');

	memset(text, '\n', sizeof(text) - 1);
	log_error(&p->log, "%s", text);
	length = strlen(written(p));
	assert_true(length > 2000 && length <= 2200);
	assert_int_equal(p->text[length - 1], '\n');
	assert_memory_equal(p->text + length - 5, "\\x0a", 4);
}

static void a_full_pipe_does_not_stop_us(void **state)
{
	Pipe *p = *state;
	char block[4096] = { 0 };

	while (write(p->ends[1], block, sizeof(block)) > 0)
		;
	log_error(&p->log, "lost");
	assert_int_equal(read(p->ends[0], block, sizeof(block)), sizeof(block));
}

static void level_words_in_pairs(void **state)
{
	LogLevel level = LOG_LEVEL_DEBUG;

	(void)state;
	assert_true(log_level_of_word("error", &level));
	assert_int_equal(level, LOG_LEVEL_ERROR);
	assert_true(log_level_of_word("debug", &level));
	assert_int_equal(level, LOG_LEVEL_DEBUG);
	assert_false(log_level_of_word("Error", &level));
	assert_false(log_level_of_word("", &level));
	assert_int_equal(level, LOG_LEVEL_DEBUG);
}

#define PIPE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		PIPE_TEST(a_line_names_level_and_program),
		PIPE_TEST(levels_above_the_wanted_one_are_dropped),
		PIPE_TEST(hostile_text_stays_one_line),
		PIPE_TEST(long_text_is_cut_and_still_a_line),
		PIPE_TEST(a_full_pipe_does_not_stop_us),
		cmocka_unit_test(level_words_in_pairs),
	};

	return cmocka_run_group_tests_name("base/log", tests, NULL, NULL);
}
