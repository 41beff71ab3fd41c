/* SPDX-License-Identifier: Apache-2.0 */
/* Who a client of the API is: by its credentials, with no name looked up. */
#include "tests/support/support.h"

#include <grp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "engine/caller.h"

enum { UID = 61301, GID = 61302, GROUP = 61303, OTHER_GROUP = 61304 };

static void decisions(void **state)
{
	static const struct {
		Caller caller;
		uid_t engine_uid;
		bool may_use, may_name_files;
	} cases[] = {
		{ { 0, false }, 0, true, true },     { { 0, false }, UID, true, true },
		{ { UID, false }, UID, true, true }, { { UID, true }, UID, true, true },
		{ { UID, true }, 0, true, false },   { { UID, true }, UID + 1, true, false },
		{ { UID, false }, 0, false, false }, { { UID, false }, UID + 1, false, false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(caller_may_use(&cases[i].caller, cases[i].engine_uid),
				 cases[i].may_use);
		assert_int_equal(caller_may_name_files(&cases[i].caller, cases[i].engine_uid),
				 cases[i].may_name_files);
	}
}

typedef struct Peer {
	gid_t groups[40];
	size_t groups_count;
	gid_t asked;
	bool expected;
} Peer;

/* As another user: a socket pair carries the credentials of who made it. */
static bool is_seen(void *context)
{
	const Peer *peer = context;
	int pair[2];
	Caller caller;
	Error err = ERROR_INIT;

	return !setgroups(peer->groups_count, peer->groups) && !setresgid(GID, GID, GID) &&
	       !setresuid(UID, UID, UID) &&
	       !socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) &&
	       caller_of(pair[0], peer->asked, &caller, &err) && caller.uid == UID &&
	       caller.in_group == peer->expected;
}

static void groups_of_another_user(void **state)
{
	Peer many = { .groups_count = 40, .asked = GROUP, .expected = true };
	Peer cases[] = {
		{ .asked = GID, .expected = true },
		{ .asked = GROUP, .expected = false },
		{ .asked = (gid_t)-1, .expected = false },
		{ .groups = { OTHER_GROUP, GROUP },
		  .groups_count = 2,
		  .asked = GROUP,
		  .expected = true },
		{ .groups = { OTHER_GROUP }, .groups_count = 1, .asked = GROUP, .expected = false },
		{ .groups = { OTHER_GROUP },
		  .groups_count = 1,
		  .asked = (gid_t)-1,
		  .expected = false },
	};

	(void)state;
	if (geteuid())
		skip();
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_true(support_in_child(is_seen, &cases[i]));
	for (size_t i = 0; i < many.groups_count; i++)
		many.groups[i] = (gid_t)(GROUP - 39 + i);
	assert_true(support_in_child(is_seen, &many));
	many.asked = GROUP + 1;
	many.expected = false;
	assert_true(support_in_child(is_seen, &many));
}

/* Those of the connect: what a process becomes later does not count. */
static void own_credentials(void **state)
{
	int pair[2], none[2];
	Caller caller;
	Error err;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_works(caller_of(pair[0], getegid(), &caller, &err), &err);
	assert_int_equal(caller.uid, geteuid());
	assert_true(caller.in_group);
	close(pair[0]);
	close(pair[1]);
	assert_int_equal(pipe(none), 0);
	assert_fails(caller_of(none[0], getegid(), &caller, &err), ERROR_IO,
		     "credentials of an API caller", &err);
	close(none[0]);
	close(none[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(decisions),
		cmocka_unit_test(groups_of_another_user),
		cmocka_unit_test(own_credentials),
	};

	return cmocka_run_group_tests_name("engine/caller", tests, NULL, NULL);
}
