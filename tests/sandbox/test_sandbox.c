/* SPDX-License-Identifier: Apache-2.0 */
/* Does the kernel really refuse? Each case is a forked child inside a real policy. */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "attempts.h"

static const char *const no_syscalls[] = { NULL };
static const SandboxPolicy strict = { .role = "strict", .syscalls = no_syscalls, .nofile_max = 16 };
static const SandboxUser nobody_given = { .given = true, .uid = 65534, .gid = 65534 };
static const SandboxUser not_given = { 0 };

static void test_everything_is_possible_outside(void **state)
{
	(void)state;
	attempts_assert_possible();
}

static void test_strict_refuses_everything(void **state)
{
	(void)state;
	attempts_assert_refused(&strict);
}

static void test_unprivileged_start_refuses_the_same(void **state)
{
	(void)state;
	for (const Attempt *a = attempts; a->name; a++)
		assert_int_equal(attempt_in(&strict, &not_given, true, true, a->act),
				 OUTCOME_KILLED);
}

static bool act_connect_tcp(void)
{
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				  .sin_port = htons(9) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	/* "Connection refused" would mean that there was a network to ask. */
	return fd >= 0 &&
	       (!connect(fd, (const struct sockaddr *)&to, sizeof(to)) || errno == ECONNREFUSED);
}

static void test_network_is_out_of_reach_without_filter(void **state)
{
	SandboxPolicy networked = strict;

	(void)state;
	assert_int_equal(attempt_in(&strict, &not_given, false, false, act_connect_tcp),
			 OUTCOME_REFUSED);
	networked.keep_network = true;
	assert_int_equal(attempt_in(&networked, &not_given, false, false, act_connect_tcp),
			 OUTCOME_WORKED);
}

static bool act_base(void)
{
	struct timespec now;
	char *memory = malloc(1 << 20);
	char *small = malloc(100);

	if (!memory || !small || clock_gettime(CLOCK_MONOTONIC, &now))
		return false;
	memset(memory, 1, 1 << 20);
	free(memory);
	free(small);
	return getpid() > 0;
}

static void test_base_works(void **state)
{
	(void)state;
	assert_int_equal(attempt_in(&strict, &not_given, false, true, act_base), OUTCOME_WORKED);
	assert_int_equal(attempt_in(&strict, &not_given, true, true, act_base), OUTCOME_WORKED);
}

static bool act_uid_is_nobody(void)
{
	gid_t group;

	return geteuid() == 65534 && getuid() == 65534 && getegid() == 65534 &&
	       getgroups(1, &group) <= 0 && setresuid(0, 0, 0);
}

static void test_becomes_the_given_user(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	assert_int_equal(attempt_in(&strict, &nobody_given, false, false, act_uid_is_nobody),
			 OUTCOME_WORKED);
}

static bool act_nothing(void)
{
	return true;
}

static void test_refuses_another_user_without_root(void **state)
{
	const SandboxUser other = { .given = true, .uid = 12345, .gid = 12345 };

	(void)state;
	assert_int_equal(attempt_in(&strict, &other, true, false, act_nothing), OUTCOME_BROKEN);
	assert_int_equal(attempt_in(&strict, &not_given, true, false, act_nothing), OUTCOME_WORKED);
}

static bool act_user_namespace(void)
{
	return !unshare(CLONE_NEWUSER);
}

static bool act_is_process_1(void)
{
	return getpid() == 1 && kill(-1, 0) && errno == ESRCH;
}

/* By nobody too, where user namespaces are to be had: then its number must have stayed. */
static bool act_is_nobody_and_process_1(void)
{
	return act_is_process_1() && getuid() == 65534 && getgid() == 65534;
}

static bool act_outer_number_is_known(void)
{
	return getpid() != 1 || sandbox_outer_pid() > 1;
}

static void test_is_alone(void **state)
{
	SandboxReport report;
	Error err = ERROR_INIT;

	(void)state;
	assert_true(sandbox_probe(&not_given, &report, &err));
	if (!(report.active & (1U << SANDBOX_PID_NAMESPACE)))
		skip();
	assert_int_equal(attempt_in(&strict, &not_given, false, false, act_is_process_1),
			 OUTCOME_WORKED);
	/* Outside of a sandbox there is company. */
	assert_int_equal(attempt_in(NULL, NULL, false, false, act_is_process_1), OUTCOME_REFUSED);
	assert_int_equal(attempt_in(NULL, NULL, false, false, act_outer_number_is_known),
			 OUTCOME_WORKED);
}

/* Without any privilege: by a user namespace, if this host lets anybody have one. */
static void test_is_alone_without_privilege(void **state)
{
	(void)state;
	if (attempt_in(NULL, NULL, true, false, act_user_namespace) != OUTCOME_WORKED)
		skip();
	assert_int_equal(attempt_in(&strict, &not_given, true, false, act_is_nobody_and_process_1),
			 OUTCOME_WORKED);
}

static bool act_socket(void)
{
	return socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0) >= 0;
}

static bool act_socket_udp(void)
{
	return socket(AF_INET, SOCK_DGRAM, 0) >= 0;
}

static void test_rules_look_at_arguments(void **state)
{
	static const SandboxRule rules[] = {
		{ "socket",
		  { { 0, UINT32_MAX, AF_INET },
		    { 1, UINT32_MAX & ~(uint64_t)(SOCK_NONBLOCK | SOCK_CLOEXEC), SOCK_STREAM } } },
		{ NULL },
	};
	SandboxPolicy policy = strict;

	(void)state;
	policy.rules = rules;
	assert_int_equal(attempt_in(&policy, &not_given, false, true, act_socket), OUTCOME_WORKED);
	assert_int_equal(attempt_in(&policy, &not_given, false, true, act_socket_udp),
			 OUTCOME_KILLED);
}

static void test_errno_instead_of_death(void **state)
{
	SandboxPolicy policy = strict;

	(void)state;
	policy.refuse_with_errno = true;
	assert_int_equal(attempt_in(&policy, &not_given, false, true, act_socket), OUTCOME_REFUSED);
}

static void *thread_body(void *argument)
{
	return argument;
}

static bool act_thread(void)
{
	pthread_t thread;

	return !pthread_create(&thread, NULL, thread_body, NULL) && !pthread_join(thread, NULL);
}

static void test_threads_only_before_the_filter(void **state)
{
	static const char *const cloning[] = { "clone", "clone3", "rt_sigaction", "mprotect",
					       NULL };
	SandboxPolicy policy = strict;

	(void)state;
	assert_int_equal(attempt_in(&strict, geteuid() ? &not_given : &nobody_given, false, false,
				    act_thread),
			 OUTCOME_WORKED);
	policy.syscalls = cloning;
	/* Even if the list allowed it: RLIMIT_NPROC. */
	assert_int_equal(attempt_in(&policy, &not_given, true, true, act_thread), OUTCOME_REFUSED);
}

/* Runs in a child: a descriptor that is kept works, one that is not is closed. */
static void descriptors_child(int kept, int lost)
{
	Error err = ERROR_INIT;
	SandboxReport report;

	if (!sandbox_enter(&strict, &not_given, &kept, 1, &report, &err) ||
	    !sandbox_filter(&strict, false, &report, &err))
		_exit(1);
	if (write(kept, "x", 1) != 1 || write(lost, "x", 1) != -1 || errno != EBADF)
		_exit(2);
	_exit(write(0, "x", 1) == 1 && write(1, "x", 1) == 1 ? 0 : 3); /* both are /dev/null */
}

static void test_keeps_only_what_is_named(void **state)
{
	int a[2], b[2], status;
	char byte;
	pid_t child;

	(void)state;
	assert_false(pipe(a) || pipe(b));
	child = fork();
	if (!child)
		descriptors_child(a[1], b[1]);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_int_equal(read(a[0], &byte, 1), 1);
	for (int i = 0; i < 2; i++) {
		close(a[i]);
		close(b[i]);
	}
}

static void test_probe_reports(void **state)
{
	Error err = ERROR_INIT;
	SandboxReport report;
	char text[SANDBOX_TEXT_SIZE];

	(void)state;
	assert_true(sandbox_probe(&not_given, &report, &err));
	assert_true(report.active & (1U << SANDBOX_SECCOMP));
	assert_true(report.active & (1U << SANDBOX_NO_NEW_PRIVILEGES));
	assert_true(report.missing & (1U << SANDBOX_OWN_USER));
	/* The child that says so is process 1 if it could be. */
	assert_int_equal((report.active >> SANDBOX_PID_NAMESPACE & 1) +
				 (report.missing >> SANDBOX_PID_NAMESPACE & 1),
			 1);
	if (!geteuid() && prctl(PR_CAPBSET_READ, CAP_SYS_ADMIN) == 1)
		assert_true(report.active & (1U << SANDBOX_PID_NAMESPACE));
	sandbox_report_missing(&report, text);
	assert_non_null(strstr(text, "own-user"));
	if (geteuid())
		return;
	assert_true(sandbox_probe(&nobody_given, &report, &err));
	assert_true(report.active & (1U << SANDBOX_OWN_USER));
}

static bool act_ring_early(void)
{
	Error err = ERROR_INIT;

	return sandbox_filter_early(&err) && socket(AF_INET, SOCK_STREAM, 0) >= 0;
}

static bool act_thread_early(void)
{
	Error err = ERROR_INIT;

	return sandbox_filter_early(&err) && act_thread();
}

typedef struct Latch {
	pthread_mutex_t lock;
	pthread_cond_t turned;
	bool open;
} Latch;

static void *socket_when_open(void *argument)
{
	Latch *latch = argument;

	pthread_mutex_lock(&latch->lock);
	while (!latch->open)
		pthread_cond_wait(&latch->turned, &latch->lock);
	pthread_mutex_unlock(&latch->lock);
	return socket(AF_INET, SOCK_STREAM, 0) >= 0 ? argument : NULL;
}

/* A thread that was made before the filter makes a socket after it. */
static bool filter_with_thread(bool all_threads)
{
	Latch latch = { .lock = PTHREAD_MUTEX_INITIALIZER, .turned = PTHREAD_COND_INITIALIZER };
	SandboxReport report = { 0 };
	Error err = ERROR_INIT;
	pthread_t thread;
	void *outcome = NULL;

	if (pthread_create(&thread, NULL, socket_when_open, &latch) ||
	    !sandbox_filter(&strict, all_threads, &report, &err))
		return false;
	pthread_mutex_lock(&latch.lock);
	latch.open = true;
	pthread_cond_signal(&latch.turned);
	pthread_mutex_unlock(&latch.lock);
	pthread_join(thread, &outcome);
	return outcome != NULL;
}

static bool act_filter_all(void)
{
	return filter_with_thread(true);
}

static bool act_filter_one(void)
{
	return filter_with_thread(false);
}

static void test_filter_reaches_all_threads(void **state)
{
	(void)state;
	assert_int_equal(attempt_in(&strict, &not_given, false, false, act_filter_all),
			 OUTCOME_KILLED);
	assert_int_equal(attempt_in(&strict, &not_given, false, false, act_filter_one),
			 OUTCOME_WORKED);
}

static void test_early_filter(void **state)
{
	(void)state;
	assert_int_equal(attempt_in(&strict, &not_given, false, false, act_ring_early),
			 OUTCOME_KILLED);
	assert_int_equal(attempt_in(&strict, &not_given, false, false, act_thread_early),
			 OUTCOME_WORKED);
}

static void test_user_parse(void **state)
{
	static const char *const bad[] = {
		"",	"1",	"1:",	":1",		"0:1",		 "1:0",
		"1:1 ", " 1:1", "-1:1", "4294967295:1", "99999999999:1", "a:b",
		"1:1:1"
	};
	Error err = ERROR_INIT;
	SandboxUser user;

	(void)state;
	assert_true(sandbox_user_parse("107:65534", &user, &err));
	assert_true(user.given && user.uid == 107 && user.gid == 65534);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_false(sandbox_user_parse(bad[i], &user, &err));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_base_works),
		cmocka_unit_test(test_everything_is_possible_outside),
		cmocka_unit_test(test_strict_refuses_everything),
		cmocka_unit_test(test_unprivileged_start_refuses_the_same),
		cmocka_unit_test(test_network_is_out_of_reach_without_filter),
		cmocka_unit_test(test_becomes_the_given_user),
		cmocka_unit_test(test_refuses_another_user_without_root),
		cmocka_unit_test(test_is_alone),
		cmocka_unit_test(test_is_alone_without_privilege),
		cmocka_unit_test(test_rules_look_at_arguments),
		cmocka_unit_test(test_errno_instead_of_death),
		cmocka_unit_test(test_threads_only_before_the_filter),
		cmocka_unit_test(test_keeps_only_what_is_named),
		cmocka_unit_test(test_probe_reports),
		cmocka_unit_test(test_filter_reaches_all_threads),
		cmocka_unit_test(test_early_filter),
		cmocka_unit_test(test_user_parse),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
