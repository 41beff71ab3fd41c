/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/support.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

typedef struct Fixture {
	TestFolder folder;
	char path[128];
} Fixture;

static int setup(void **state)
{
	Fixture *fixture = test_calloc(1, sizeof(*fixture));

	support_make_folder(&fixture->folder);
	support_path(&fixture->folder, "file", fixture->path);
	*state = fixture;
	return 0;
}

static int teardown(void **state)
{
	Fixture *fixture = *state;

	support_remove_folder(&fixture->folder);
	test_free(fixture);
	return 0;
}

static void replaced_content_is_read_back(void **state)
{
	Fixture *fixture = *state;
	AUTO_BUFFER Buffer buffer = BUFFER_INIT(20000);
	uint8_t bytes[9000];
	Error err = ERROR_INIT;
	struct stat status;

	memset(bytes, 0x5a, sizeof(bytes));
	assert_works(file_replace(fixture->path, "old", 3, 0644, &err), &err);
	assert_works(file_replace(fixture->path, bytes, sizeof(bytes), 0640, &err), &err);
	assert_works(file_read(fixture->path, sizeof(bytes), &buffer, &err), &err);
	assert_int_equal(buffer.used, sizeof(bytes));
	assert_memory_equal(buffer.data, bytes, sizeof(bytes));
	assert_int_equal(stat(fixture->path, &status), 0);
	assert_int_equal(status.st_mode & 07777, 0640);
}

static void mode_is_exact_whatever_the_umask(void **state)
{
	Fixture *fixture = *state;
	Error err = ERROR_INIT;
	struct stat status;
	mode_t old = umask(0077);

	assert_works(file_replace(fixture->path, "x", 1, 0666, &err), &err);
	umask(old);
	assert_int_equal(stat(fixture->path, &status), 0);
	assert_int_equal(status.st_mode & 07777, 0666);
}

static void one_byte_past_the_bound_is_refused(void **state)
{
	Fixture *fixture = *state;
	AUTO_BUFFER Buffer buffer = BUFFER_INIT(20000);
	uint8_t bytes[5000] = { 0 };
	Error err = ERROR_INIT;

	assert_works(file_replace(fixture->path, bytes, sizeof(bytes), 0600, &err), &err);
	assert_fails(file_read(fixture->path, 4999, &buffer, &err), ERROR_LIMIT,
		     "longer than 4999 bytes", &err);
	assert_non_null(strstr(err.text, fixture->path));
}

static void missing_folder_and_fifo_are_refused(void **state)
{
	Fixture *fixture = *state;
	AUTO_BUFFER Buffer buffer = BUFFER_INIT(16);
	Error err = ERROR_INIT;

	assert_fails(file_read(fixture->path, 16, &buffer, &err), ERROR_NOT_FOUND, "cannot open",
		     &err);
	assert_fails(file_read(fixture->folder.path, 16, &buffer, &err), ERROR_CONFIG,
		     "not a regular file", &err);
	assert_int_equal(mkfifo(fixture->path, 0600), 0);
	assert_fails(file_read(fixture->path, 16, &buffer, &err), ERROR_CONFIG,
		     "not a regular file", &err);
}

static void replace_into_a_missing_folder_is_refused(void **state)
{
	Fixture *fixture = *state;
	char path[128];
	Error err = ERROR_INIT;

	support_path(&fixture->folder, "no/file", path);
	assert_fails(file_replace(path, "x", 1, 0600, &err), ERROR_IO, "cannot create", &err);
}

/* A full disk, by way of RLIMIT_FSIZE: the old content must stay, and no temporary file. */
static bool replace_too_big(void *context)
{
	const struct rlimit limit = { 4096, 4096 };
	static const uint8_t bytes[8192];
	Error err = ERROR_INIT;

	signal(SIGXFSZ, SIG_IGN);
	if (setrlimit(RLIMIT_FSIZE, &limit))
		return false;
	return !file_replace(context, bytes, sizeof(bytes), 0600, &err) && err.category == ERROR_IO;
}

static void a_failed_replace_leaves_the_old_file(void **state)
{
	Fixture *fixture = *state;
	AUTO_BUFFER Buffer buffer = BUFFER_INIT(16);
	Error err = ERROR_INIT;

	assert_works(file_replace(fixture->path, "old", 3, 0600, &err), &err);
	assert_true(support_in_child(replace_too_big, fixture->path));
	assert_works(file_read(fixture->path, 16, &buffer, &err), &err);
	assert_int_equal(buffer.used, 3);
	assert_memory_equal(buffer.data, "old", 3);
	assert_int_equal(unlink(fixture->path), 0);
	assert_int_equal(rmdir(fixture->folder.path), 0);
	support_make_folder(&fixture->folder);
}

static void descriptors_read_and_write_whole(void **state)
{
	AUTO_BUFFER Buffer buffer = BUFFER_INIT(64);
	int ends[2];
	Error err = ERROR_INIT;

	(void)state;
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	assert_works(file_write_fd(ends[1], "hello", 5, &err), &err);
	assert_works(file_write_fd(ends[1], NULL, 0, &err), &err);
	close(ends[1]);
	assert_works(file_read_fd(ends[0], 5, &buffer, &err), &err);
	assert_memory_equal(buffer.data, "hello", 5);
	close(ends[0]);
	assert_fails(file_read_fd(ends[0], 5, &buffer, &err), ERROR_IO, "cannot read", &err);
	assert_fails(file_write_fd(ends[1], "x", 1, &err), ERROR_IO, "cannot write", &err);
}

static void memory_is_sealable_and_no_program(void **state)
{
	int probe = memfd_create("probe", MFD_CLOEXEC | 0x0008U);
	int fd = file_make_memory("test");
	struct stat status;

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(fstat(fd, &status), 0);
	/* Where the kernel knows how. */
	if (probe >= 0) {
		assert_int_equal(status.st_mode & 0111, 0);
		assert_int_equal(fchmod(fd, 0755), -1);
	}
	assert_int_equal(fchmod(fd, 0444), 0);
	assert_int_equal(write(fd, "x", 1), 1);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SEAL), 0);
	assert_int_equal(write(fd, "x", 1), -1);
	close(fd);
	if (probe >= 0)
		close(probe);
}

static void memory_with_too_long_a_name_is_refused(void **state)
{
	char name[300];

	(void)state;
	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	assert_int_equal(file_make_memory(name), -1);
	assert_int_equal(errno, EINVAL);
}

static void directory_of_a_file_is_synced(void **state)
{
	Fixture *fixture = *state;
	char path[128];
	Error err = ERROR_INIT;

	assert_works(file_sync_directory_of(fixture->path, &err), &err);
	assert_works(file_sync_directory_of("file", &err), &err);
	assert_works(file_sync_directory_of("/file", &err), &err);
	support_path(&fixture->folder, "missing/file", path);
	assert_fails(file_sync_directory_of(path, &err), ERROR_IO, "cannot sync", &err);
}

static void directories_are_made_on_the_way(void **state)
{
	Fixture *fixture = *state;
	char path[128];
	struct stat status;
	Error err = ERROR_INIT;

	support_path(&fixture->folder, "a/b//c/", path);
	assert_works(file_make_directories(path, 0750, &err), &err);
	assert_works(file_make_directories(path, 0750, &err), &err);
	assert_int_equal(stat(path, &status), 0);
	assert_true(S_ISDIR(status.st_mode));
	assert_works(file_make_directories("/", 0750, &err), &err);
}

static void directories_over_files_are_refused(void **state)
{
	Fixture *fixture = *state;
	char path[128];
	Error err = ERROR_INIT;

	assert_works(file_replace(fixture->path, "x", 1, 0600, &err), &err);
	support_path(&fixture->folder, "file/below", path);
	assert_fails(file_make_directories(path, 0750, &err), ERROR_IO, "cannot make", &err);
	assert_fails(file_make_directories(fixture->path, 0750, &err), ERROR_IO, "cannot make",
		     &err);
	assert_fails(file_make_directories("", 0750, &err), ERROR_IO, "cannot make", &err);
}

#define FIXTURE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		FIXTURE_TEST(replaced_content_is_read_back),
		FIXTURE_TEST(mode_is_exact_whatever_the_umask),
		FIXTURE_TEST(one_byte_past_the_bound_is_refused),
		FIXTURE_TEST(missing_folder_and_fifo_are_refused),
		FIXTURE_TEST(replace_into_a_missing_folder_is_refused),
		FIXTURE_TEST(a_failed_replace_leaves_the_old_file),
		FIXTURE_TEST(descriptors_read_and_write_whole),
		FIXTURE_TEST(memory_is_sealable_and_no_program),
		FIXTURE_TEST(memory_with_too_long_a_name_is_refused),
		FIXTURE_TEST(directory_of_a_file_is_synced),
		FIXTURE_TEST(directories_are_made_on_the_way),
		FIXTURE_TEST(directories_over_files_are_refused),
	};

	return cmocka_run_group_tests_name("base/file", tests, NULL, NULL);
}
