/* SPDX-License-Identifier: Apache-2.0 */
/* Does the kernel refuse what sealift-keyhelper must not do, and grant what a module must? */
#include "tests/support/support.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "attempts.h"
#include "programs/keyhelper/files.h"
#include "programs/keyhelper/policy.h"

static const SandboxUser not_given = { 0 };

static void without_files_all_is_refused(void **state)
{
	(void)state;
	attempts_assert_refused(keyhelper_policies[HELPER_KIND_KMIP]);
	attempts_assert_refused(keyhelper_policies[HELPER_KIND_TPM2]);
}

/* Some calls a module may try; none of what they attempt succeeds. */
static void with_files_nothing_works(void **state)
{
	(void)state;
	for (const Attempt *a = attempts; a->name; a++) {
		Outcome outcome = attempt_in(keyhelper_policies[HELPER_KIND_PKCS11], &not_given,
					     false, true, a->act);

		if (outcome != OUTCOME_KILLED && outcome != OUTCOME_REFUSED)
			fail_msg("attempt to %s: outcome %d", a->name, (int)outcome);
	}
}

/* --- the one port of the configured key manager --- */

static in_port_t ports[2]; /* two that listen, in network order; an attempt has no parameter */

static int listen_anywhere(in_port_t *ret_port)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (const struct sockaddr *)&address, size), 0);
	assert_int_equal(listen(fd, 8), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
	*ret_port = address.sin_port;
	return fd;
}

static bool connect_to(in_port_t port)
{
	const struct sockaddr_in address = { .sin_family = AF_INET,
					     .sin_port = port,
					     .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	AUTO_FD int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return fd >= 0 && !connect(fd, (const struct sockaddr *)&address, sizeof(address));
}

static bool connect_to_first(void)
{
	return connect_to(ports[0]);
}

static bool connect_to_second(void)
{
	return connect_to(ports[1]);
}

static void one_port_is_reached_and_no_other(void **state)
{
	AUTO_FD int first = listen_anywhere(&ports[0]);
	AUTO_FD int second = listen_anywhere(&ports[1]);
	SandboxPolicy policy = *keyhelper_policies[HELPER_KIND_KMIP];
	Error err = ERROR_INIT;
	SandboxReport report;

	(void)state;
	assert_true(first >= 0 && second >= 0);
	assert_true(sandbox_probe(&not_given, &report, &err));
	if (report.landlock_abi < 4)
		skip();
	assert_int_equal(attempt_in(&policy, &not_given, false, true, connect_to_first),
			 OUTCOME_WORKED);
	assert_int_equal(attempt_in(&policy, &not_given, false, true, connect_to_second),
			 OUTCOME_WORKED);
	policy.connect_ports[0] = ntohs(ports[0]);
	assert_int_equal(attempt_in(&policy, &not_given, false, true, connect_to_first),
			 OUTCOME_WORKED);
	assert_int_equal(attempt_in(&policy, &not_given, false, true, connect_to_second),
			 OUTCOME_REFUSED);
	policy.connect_ports[1] = ntohs(ports[1]);
	assert_int_equal(attempt_in(&policy, &not_given, false, true, connect_to_second),
			 OUTCOME_WORKED);
}

/* --- the sandbox with files, and what is in it --- */

typedef struct Place {
	char shown[128], granted[128], hidden[128]; /* folders; each with a file "f" in it */
} Place;

static bool act_on(const char *folder, const char *name, int flags)
{
	char path[160];
	AUTO_FD int fd = -1;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = open(path, flags | O_CLOEXEC, 0600);
	if (fd < 0 && errno != EACCES && errno != EPERM)
		_exit(99);
	return fd >= 0;
}

static bool read_shown(const Place *place)
{
	return act_on(place->shown, "f", O_RDONLY);
}
static bool list_shown(const Place *place)
{
	return act_on(place->shown, ".", O_RDONLY | O_DIRECTORY);
}
static bool write_shown(const Place *place)
{
	return act_on(place->shown, "f", O_WRONLY);
}
static bool truncate_shown(const Place *place)
{
	return act_on(place->shown, "f", O_RDONLY | O_TRUNC);
}
static bool make_in_shown(const Place *place)
{
	return act_on(place->shown, "new", O_WRONLY | O_CREAT);
}
static bool write_granted(const Place *place)
{
	return act_on(place->granted, "f", O_RDWR | O_TRUNC);
}
static bool make_in_granted(const Place *place)
{
	return act_on(place->granted, "new", O_WRONLY | O_CREAT | O_EXCL);
}
static bool read_hidden(const Place *place)
{
	return act_on(place->hidden, "f", O_RDONLY);
}
static bool read_own_memory(const Place *place)
{
	(void)place;
	return act_on("/proc/self", "mem", O_RDONLY);
}
static bool read_users(const Place *place)
{
	(void)place;
	return act_on("/etc", "passwd", O_RDONLY);
}
static bool make_socket(const Place *place)
{
	AUTO_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)place;
	return fd >= 0;
}
static bool make_code(const Place *place)
{
	(void)place;
	return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) !=
	       MAP_FAILED;
}
static bool turn_into_code(const Place *place)
{
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)place;
	return page != MAP_FAILED && !mprotect(page, 4096, PROT_READ | PROT_EXEC);
}
static bool run_program(const Place *place)
{
	char *const argv[] = { NULL };

	(void)place;
	return execve("/bin/true", argv, argv) == 0;
}
static bool make_process(const Place *place)
{
	pid_t child = fork();

	(void)place;
	if (!child)
		_exit(0);
	return child > 0;
}
static bool change_owner(const Place *place)
{
	return !chown(place->granted, 0, 0);
}

static const struct {
	const char *name;
	bool (*act)(const Place *place);
	Outcome expected;
} acts[] = {
	{ "read what is shown", read_shown, OUTCOME_WORKED },
	{ "list what is shown", list_shown, OUTCOME_WORKED },
	{ "write what is shown", write_shown, OUTCOME_REFUSED },
	{ "cut what is shown", truncate_shown, OUTCOME_REFUSED },
	{ "make a file in what is shown", make_in_shown, OUTCOME_REFUSED },
	{ "write what is granted", write_granted, OUTCOME_WORKED },
	{ "make a file in what is granted", make_in_granted, OUTCOME_WORKED },
	{ "read what is hidden", read_hidden, OUTCOME_REFUSED },
	{ "read its own memory", read_own_memory, OUTCOME_REFUSED },
	{ "read the users", read_users, OUTCOME_REFUSED },
	{ "make a socket", make_socket, OUTCOME_REFUSED },
	{ "make code", make_code, OUTCOME_KILLED },
	{ "turn memory into code", turn_into_code, OUTCOME_KILLED },
	{ "run a program", run_program, OUTCOME_KILLED },
	{ "make a process", make_process, OUTCOME_KILLED },
	{ "change an owner", change_owner, OUTCOME_KILLED },
};

static Outcome outcome_inside(const Place *place, bool (*act)(const Place *place))
{
	const SandboxPolicy *policy = keyhelper_policies[HELPER_KIND_PKCS11];
	const SandboxPath paths[] = { { place->shown, false },
				      { place->granted, true },
				      { "/does/not/exist", true } };
	int status;
	pid_t child = sandbox_fork();

	assert_true(child >= 0);
	if (!child) {
		SandboxReport report;
		Error err = ERROR_INIT;

		if (!sandbox_enter_with_files(policy, &not_given, NULL, 0, paths, ARRAY_SIZE(paths),
					      NULL, &report, &err) ||
		    !sandbox_filter(policy, false, &report, &err))
			_exit(98);
		_exit(act(place) ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	if (WIFSIGNALED(status))
		return WTERMSIG(status) == SIGSYS ? OUTCOME_KILLED : OUTCOME_BROKEN;
	return WEXITSTATUS(status) == 0	  ? OUTCOME_WORKED
	       : WEXITSTATUS(status) == 1 ? OUTCOME_REFUSED
					  : OUTCOME_BROKEN;
}

static void make_folder(char path[128], const TestFolder *folder, const char *name)
{
	char file[160];

	support_path(folder, name, path);
	assert_int_equal(mkdir(path, 0755), 0);
	snprintf(file, sizeof(file), "%s/f", path);

	AUTO_FD int fd = open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
}

static void with_files_just_those(void **state)
{
	TestFolder folder;
	Place place;

	(void)state;
	support_make_folder(&folder);
	make_folder(place.shown, &folder, "shown");
	make_folder(place.granted, &folder, "granted");
	make_folder(place.hidden, &folder, "hidden");
	for (size_t i = 0; i < ARRAY_SIZE(acts); i++) {
		Outcome outcome = outcome_inside(&place, acts[i].act);

		if (outcome != acts[i].expected)
			fail_msg("attempt to %s: outcome %d, expected %d", acts[i].name,
				 (int)outcome, (int)acts[i].expected);
	}
	support_remove_folder(&folder);
}

static bool refuses_a_relative_path(void *context)
{
	const SandboxPath paths[] = { { "relative", false } };
	SandboxReport report;
	Error err = ERROR_INIT;

	(void)context;
	return !sandbox_enter_with_files(keyhelper_policies[HELPER_KIND_PKCS11], &not_given, NULL,
					 0, paths, 1, NULL, &report, &err) &&
	       err.category == ERROR_CONFIG;
}

static bool has_just_its_variables(void *context)
{
	static const char *const variables[] = { "CONF=/a=b", NULL };
	SandboxReport report;
	Error err = ERROR_INIT;

	(void)context;
	return !setenv("LEFT", "over", 1) &&
	       sandbox_enter_with_files(keyhelper_policies[HELPER_KIND_PKCS11], &not_given, NULL, 0,
					NULL, 0, variables, &report, &err) &&
	       !getenv("LEFT") && getenv("CONF") && !strcmp(getenv("CONF"), "/a=b");
}

static void paths_and_variables(void **state)
{
	(void)state;
	assert_true(support_in_child(refuses_a_relative_path, NULL));
	assert_true(support_in_child(has_just_its_variables, NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_files_all_is_refused),
		cmocka_unit_test(one_port_is_reached_and_no_other),
		cmocka_unit_test(with_files_nothing_works),
		cmocka_unit_test(with_files_just_those),
		cmocka_unit_test(paths_and_variables),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
