/* SPDX-License-Identifier: Apache-2.0 */
/* What a gate that an attacker has taken over cannot do. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "attempts.h"
#include "base/file.h"
#include "gate_fixture.h"
#include "programs/gate/policy.h"

static const SandboxUser not_given = { 0 };

static void test_refused(void **state)
{
	(void)state;
	attempts_assert_refused(&gate_policy);
}

static bool act_tcp4(void)
{
	return socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0) >= 0;
}

static bool act_tcp6(void)
{
	return socket(AF_INET6, SOCK_STREAM, 0) >= 0;
}

static bool act_listen(void)
{
	return !listen(0, 1);
}

static bool act_epoll(void)
{
	struct epoll_event event;

	/* Refused for its argument, not by the filter. */
	return epoll_wait(-1, &event, 1, 0) < 0;
}

static bool act_descriptor_flags(void)
{
	return fcntl(0, F_SETFL, fcntl(0, F_GETFL) & ~O_NONBLOCK) != -1;
}

static bool act_duplicate(void)
{
	return fcntl(0, F_DUPFD, 0) >= 0;
}

static void test_only_tcp_sockets(void **state)
{
	(void)state;
	assert_int_equal(attempt_in(&gate_policy, &not_given, false, true, act_tcp4),
			 OUTCOME_WORKED);
	assert_int_equal(attempt_in(&gate_policy, &not_given, false, true, act_tcp6),
			 OUTCOME_WORKED);
	assert_int_equal(attempt_in(&gate_policy, &not_given, false, true, act_epoll),
			 OUTCOME_WORKED);
	assert_int_equal(attempt_in(&gate_policy, &not_given, false, true, act_listen),
			 OUTCOME_KILLED);
	assert_int_equal(attempt_in(&gate_policy, &not_given, false, true, act_descriptor_flags),
			 OUTCOME_WORKED);
	assert_int_equal(attempt_in(&gate_policy, &not_given, false, true, act_duplicate),
			 OUTCOME_KILLED);
}

static void assert_says(const Buffer *status, const char *line)
{
	if (!strstr((const char *)status->data, line))
		fail_msg("/proc/PID/status does not say %s", line);
}

static bool have_pid_namespaces(void)
{
	SandboxReport report;
	Error err = ERROR_INIT;

	return sandbox_probe(&not_given, &report, &err) &&
	       report.active & (UINT32_C(1) << SANDBOX_PID_NAMESPACE);
}

/* The real program, as the kernel sees it from outside. */
static void test_running_gate(void **state)
{
	static const char *const lines[] = { "\nNoNewPrivs:\t1\n",
					     "\nSeccomp:\t2\n",
					     "\nThreads:\t1\n",
					     "\nCapPrm:\t0000000000000000\n",
					     "\nCapEff:\t0000000000000000\n",
					     "\nCapAmb:\t0000000000000000\n" };
	World *world = world_new("3000");
	AUTO_BUFFER Buffer status = BUFFER_INIT(16384);
	Error err = ERROR_INIT;
	char path[64];

	(void)state;
	world_assert_serves(world, INBOUND);
	snprintf(path, sizeof(path), "/proc/%d/status", (int)world->gate.pid);
	assert_true(file_read(path, 16000, &status, &err));
	assert_true(buffer_put_u8(&status, 0, &err));
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
		assert_says(&status, lines[i]);
	if (have_pid_namespaces()) {
		char line[64];

		snprintf(line, sizeof(line), "\nNSpid:\t%d\t1\n", (int)world->gate.pid);
		assert_says(&status, line);
	}
	if (!geteuid()) {
		assert_says(&status, "\nUid:\t65534\t65534\t65534\t65534\n");
		assert_says(&status, "\nGid:\t65534\t65534\t65534\t65534\n");
		assert_says(&status, "\nCapBnd:\t0000000000000000\n");
		snprintf(path, sizeof(path), "/proc/%d/root/etc", (int)world->gate.pid);
		assert_int_not_equal(access(path, F_OK), 0);
	}
	world_free(world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_only_tcp_sockets),
		cmocka_unit_test(test_running_gate),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
