/* SPDX-License-Identifier: Apache-2.0 */
/* Does the kernel refuse what a mover must not do, and grant what it must? */
#include "tests/support/support.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "attempts.h"
#include "base/file.h"
#include "programs/mover/policy.h"
#include "sandbox/stages.h"
#include "tests/mover/rig.h"

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

static bool act_send_to_another(void)
{
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				  .sin_port = htons(9) };

	return sendto(0, "x", 1, 0, (const struct sockaddr *)&to, sizeof(to)) == 1;
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
		act_connect,   act_accept,	act_other_option,    act_own_signal,
		act_duplicate, act_getsockname, act_send_to_another,
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

static bool act_take_much(void)
{
	char *memory = malloc(mover_policy.memory_bytes_max);

	if (!memory)
		return false;
	*(volatile char *)memory = 1;
	return true;
}

static void test_memory_is_bounded(void **state)
{
	SandboxPolicy unbounded = mover_policy;

	(void)state;
	if (SANDBOX_SANITIZED)
		skip();
	unbounded.memory_bytes_max = 0;
	assert_int_equal(attempt_in(&unbounded, &not_given, false, true, act_take_much),
			 OUTCOME_WORKED);
	assert_int_equal(attempt_in(&mover_policy, &not_given, false, true, act_take_much),
			 OUTCOME_REFUSED);
}

/* A number of proc(5)'s status, in bytes. */
static uint64_t read_status(pid_t pid, const char *name)
{
	AUTO_BUFFER Buffer status = BUFFER_INIT(16384);
	Error err = ERROR_INIT;
	char path[64];
	const char *at;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	assert_works(file_read(path, 16000, &status, &err) && buffer_put_u8(&status, 0, &err),
		     &err);
	at = strstr((const char *)status.data, name);
	assert_non_null(at);
	return strtoull(at + strlen(name), NULL, 10) * 1024;
}

/* What the policy's comment says of a mover with all its channels. */
static void test_a_full_mover_needs_far_less(void **state)
{
	const RigOptions options = {
		.path = rig_program(),
		.aead = "openssl",
		.sealed = true,
		.channels = LIMIT_STREAM_CHANNELS,
		.disks = LIMIT_DISKS,
	};
	Rig *rig;

	(void)state;
	if (SANDBOX_SANITIZED)
		skip();
	rig = test_calloc(1, sizeof(*rig));
	rig_start(rig, &options);
	rig_connect_all(rig);
	for (int side = 0; side < RIG_SIDES; side++) {
		uint64_t peak = read_status(rig->movers[side].pid, "VmPeak:");

		print_message("%d channels: %llu MiB of address space\n", LIMIT_CHANNELS,
			      (unsigned long long)(peak >> 20));
		assert_true(peak < UINT64_C(72) << 20);
	}
	rig_stop(rig);
	test_free(rig);
}

/* As if its bound were where it stands now: it says so and stops, it does not hang or crash. */
static void test_a_mover_without_memory_says_so(void **state)
{
	const RigOptions options = {
		.path = rig_program(), .aead = "openssl", .sealed = true, .channels = 1
	};
	struct rlimit bound;
	RigMover *source;
	Rig *rig;

	(void)state;
	if (SANDBOX_SANITIZED)
		skip();
	rig = test_calloc(1, sizeof(*rig));
	source = &rig->movers[MOVER_SOURCE];
	rig_start(rig, &options);
	bound.rlim_cur = bound.rlim_max = read_status(source->pid, "VmSize:");
	assert_int_equal(prlimit(source->pid, RLIMIT_AS, &bound, NULL), 0);
	rig_connect_network(rig, 0);
	rig_wait(rig, MOVER_SOURCE, &source->failed);
	print_message("%s\n", source->failure.text);
	assert_non_null(strstr(source->failure.text, "memory"));
	rig_stop(rig);
	test_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refuses_everything_else),
		cmocka_unit_test(test_refuses_its_own_temptations),
		cmocka_unit_test(test_grants_what_it_needs),
		cmocka_unit_test(test_memory_is_bounded),
		cmocka_unit_test(test_a_full_mover_needs_far_less),
		cmocka_unit_test(test_a_mover_without_memory_says_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
