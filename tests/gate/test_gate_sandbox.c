/* SPDX-License-Identifier: Apache-2.0 */
/* What a gate that an attacker has taken over cannot do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "attempts.h"
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
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_only_tcp_sockets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
