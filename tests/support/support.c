/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/support.h"

#include <dirent.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

void support_check_error(const Error *err, ErrorCategory category, const char *part,
			 const char *file, int line)
{
	if (err->category != category || !strstr(err->text, part)) {
		print_error("%s:%d: expected %s with \"%s\", got %s: %s\n", file, line,
			    error_word(category), part, error_word(err->category), err->text);
		_fail(file, line);
	}
}

void support_make_folder(TestFolder *folder)
{
	snprintf(folder->path, sizeof(folder->path), "/tmp/sealift-test.XXXXXX");
	assert_non_null(mkdtemp(folder->path));
}

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *where)
{
	(void)status;
	(void)kind;
	(void)where;
	return remove(path);
}

void support_remove_folder(const TestFolder *folder)
{
	assert_int_equal(nftw(folder->path, remove_entry, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT), 0);
}

const char *support_path(const TestFolder *folder, const char *name, char path[static 128])
{
	assert_true(snprintf(path, 128, "%s/%s", folder->path, name) < 128);
	return path;
}

size_t support_count_fds(void)
{
	DIR *list = opendir("/proc/self/fd");
	size_t count = 0;

	assert_non_null(list);
	for (struct dirent *entry = readdir(list); entry; entry = readdir(list))
		count += entry->d_name[0] != '.';
	closedir(list);
	return count - 1; /* the listing's own */
}

static void judge_copy(const uint8_t *bytes, size_t size, Mutation mutation, SupportJudge judge,
		       void *context)
{
	uint8_t *copy = malloc(size ? size : 1);

	assert_non_null(copy);
	memcpy(copy, bytes, size);
	judge(context, mutation, copy, size);
	free(copy);
}

void support_mutate(const void *good, size_t size, SupportJudge judge, void *context)
{
	uint8_t *work = malloc(size + 1);

	assert_non_null(work);
	memcpy(work, good, size);
	for (size_t cut = 0; cut < size; cut++)
		judge_copy(work, cut, MUTATION_CUT, judge, context);
	for (size_t bit = 0; bit < 8 * size; bit++) {
		uint8_t mask = (uint8_t)(1U << (bit & 7));

		work[bit / 8] ^= mask;
		judge_copy(work, size, MUTATION_FLIP, judge, context);
		work[bit / 8] ^= mask;
	}
	work[size] = 'x';
	judge_copy(work, size + 1, MUTATION_APPEND, judge, context);
	free(work);
}

bool support_in_child(bool (*body)(void *context), void *context)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid)
		_exit(body(context) ? 0 : 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}
