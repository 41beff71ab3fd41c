/* SPDX-License-Identifier: Apache-2.0 */
/* Does the kernel refuse what a mover must not do, and grant what it must? */
#include "tests/support/support.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "attempts.h"
#include "programs/mover/policy.h"

static const SandboxUser not_given = { 0 };

static void test_refuses_everything_else(void **state)
{
	(void)state;
	attempts_assert_refused(&mover_policy);
}

static bool act_connect(void)
{
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				  .sin_port = htons(9) };

	return !connect(0, (const struct sockaddr *)&to, sizeof(to));
}

static bool act_accept(void)
{
	return accept(0, NULL, NULL) >= 0;
}

static bool act_other_option(void)
{
	const int one = 1;

	return !setsockopt(0, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
}

static bool act_own_signal(void)
{
	return fcntl(0, F_SETOWN, 1) != -1;
}

static bool act_duplicate(void)
{
	return fcntl(0, F_DUPFD, 0) >= 0;
}

static bool act_getsockname(void)
{
	struct sockaddr_in address;
	socklen_t size = sizeof(address);

	return !getsockname(0, (struct sockaddr *)&address, &size);
}

static void test_refuses_its_own_temptations(void **state)
{
	static bool (*const acts[])(void) = {
		act_connect,	act_accept,    act_other_option,
		act_own_signal, act_duplicate, act_getsockname,
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(acts); i++)
		assert_int_equal(attempt_in(&mover_policy, &not_given, false, true, acts[i]),
				 OUTCOME_KILLED);
}

/* The calls themselves are allowed; descriptor 0 is /dev/null there, so that sockets' fail. */
static bool act_allowed(void)
{
	const int one = 1;
	struct pollfd row = { .fd = 0, .events = POLLIN };
	struct rusage usage;
	char byte;

	(void)setsockopt(0, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	(void)recv(0, &byte, 1, 0);
	(void)send(0, &byte, 1, MSG_NOSIGNAL);
	(void)shutdown(0, SHUT_RDWR);
	return poll(&row, 1, 0) == 1 && read(0, &byte, 1) == 0 && !getrusage(RUSAGE_SELF, &usage) &&
	       fcntl(0, F_SETFL, fcntl(0, F_GETFL)) != -1;
}

static void test_grants_what_it_needs(void **state)
{
	(void)state;
	assert_int_equal(attempt_in(&mover_policy, &not_given, false, true, act_allowed),
			 OUTCOME_WORKED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refuses_everything_else),
		cmocka_unit_test(test_refuses_its_own_temptations),
		cmocka_unit_test(test_grants_what_it_needs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
