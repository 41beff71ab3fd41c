/* SPDX-License-Identifier: Apache-2.0 */
/* Does the kernel refuse what sealift-keylink must not do, in either of its modes? */
#include "tests/support/support.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "attempts.h"
#include "programs/keylink/policy.h"

static const SandboxUser not_given = { 0 };
static uint16_t port; /* of a socket that listens, network order */

static void all_is_refused(void **state)
{
	(void)state;
	attempts_assert_refused(&keylink_connect_policy);
	attempts_assert_refused(&keylink_serve_policy);
}

static bool dial(void)
{
	const struct sockaddr_in to = { .sin_family = AF_INET,
					.sin_port = port,
					.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	AUTO_FD int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return fd >= 0 && !connect(fd, (const struct sockaddr *)&to, sizeof(to));
}

static bool listen_somewhere(void)
{
	AUTO_FD int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return fd >= 0 && !listen(fd, 1);
}

static int make_listener(void)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0 && !bind(fd, (const struct sockaddr *)&at, sizeof(at)) &&
		    !listen(fd, 4) && !getsockname(fd, (struct sockaddr *)&at, &size));
	port = at.sin_port;
	return fd;
}

static void one_dials_and_the_other_does_not(void **state)
{
	AUTO_FD int first = make_listener();
	SandboxPolicy policy = keylink_connect_policy;
	Error err = ERROR_INIT;
	SandboxReport report;

	(void)state;
	assert_int_equal(attempt_in(&policy, &not_given, false, true, dial), OUTCOME_WORKED);
	assert_int_equal(attempt_in(&policy, &not_given, false, true, listen_somewhere),
			 OUTCOME_KILLED);
	assert_int_equal(attempt_in(&keylink_serve_policy, &not_given, false, true, dial),
			 OUTCOME_KILLED);
	assert_int_equal(
		attempt_in(&keylink_serve_policy, &not_given, false, true, listen_somewhere),
		OUTCOME_KILLED);
	assert_true(sandbox_probe(&not_given, &report, &err));
	if (report.landlock_abi < 4)
		return;
	/* Told of its manager's port, it reaches no other. */
	policy.connect_ports[0] = (uint16_t)(ntohs(port) ^ 1);
	assert_int_equal(attempt_in(&policy, &not_given, false, true, dial), OUTCOME_REFUSED);
	policy.connect_ports[0] = ntohs(port);
	assert_int_equal(attempt_in(&policy, &not_given, false, true, dial), OUTCOME_WORKED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_is_refused),
		cmocka_unit_test(one_dials_and_the_other_does_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
