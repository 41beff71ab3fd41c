/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two disks on their way, whose receivers hang or go away at any moment: QEMU, and so its guest,
 * never waits for them for long, and what was begun can be given up. Moments are drawn from a seed;
 * SEALIFT_MIRROR_ROUNDS, SEALIFT_MIRROR_SEED.
 */
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "luks_pool.h"
#include "mirror_fixture.h"

enum {
	ROUNDS = 8,
	SEED = 11,
	BEGIN_US = 60000, /* from one mirror's beginning to the other's, and more */
	LATER_US = 600000,
	END_US = 30000,
	PACE_BYTES_S = 4 << 20,
	ANSWER_MS = 2000, /* of a QEMU that waits for nobody */
	CUT_MS = 5000,
};

typedef enum Trouble {
	HANGS, /* one of them, and stays connected */
	ALL_HANG,
	GOES_AWAY,
	ALL_GO_AWAY,
	HANGS_AND_GOES, /* first the one, then the other */
	TROUBLES,
} Trouble;

static const char *const trouble_words[TROUBLES] = { "hangs", "all hang", "goes away",
						     "all go away", "hangs and goes" };

static void on_timeout(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	*(bool *)context = true;
}

static bool is_set(const void *context)
{
	return *(const bool *)context;
}

static void let_pass(World *world, long us)
{
	const struct timeval interval = { .tv_sec = us / 1000000, .tv_usec = us % 1000000 };
	bool over = false;

	assert_int_equal(event_base_once(world->base, -1, EV_TIMEOUT, on_timeout, &over, &interval),
			 0);
	world_wait(world, is_set, &over, 10, "the moment");
}

static void stall(Way *way)
{
	if (way->relay)
		relay_stall(way->relay);
	else
		way->hangs_up = true;
}

static void cause(Copy *copy, Trouble trouble, size_t which)
{
	switch (trouble) {
	case HANGS:
		stall(&copy->ways[which]);
		break;
	case ALL_HANG:
		stall(&copy->ways[0]);
		stall(&copy->ways[1]);
		break;
	case GOES_AWAY:
		way_kill_daemon(&copy->ways[which]);
		break;
	case ALL_GO_AWAY:
		way_kill_daemon(&copy->ways[0]);
		way_kill_daemon(&copy->ways[1]);
		break;
	case HANGS_AND_GOES:
		stall(&copy->ways[which]);
		way_kill_daemon(&copy->ways[!which]);
		break;
	case TROUBLES:
		fail();
	}
}

/* The greetings are over, for which QEMU does wait, and this disk's mirror has begun. */
static void wait_for(Copy *copy, const Call *begun, size_t disk)
{
	int64_t deadline_us = clock_monotonic_us(&clock_system) + 20000000;

	while (!begun->called && !copy_ask(copy, &copy->world->source).progress.disks[disk].there)
		assert_true(clock_monotonic_us(&clock_system) < deadline_us);
}

/* Whether QEMU, with a receiver that hangs, still does what it is told. */
static void check_answers(Host *source)
{
	int64_t began_us = clock_monotonic_us(&clock_system), took_ms;

	(void)host_run_state(source);
	took_ms = (clock_monotonic_us(&clock_system) - began_us) / 1000;
	if (took_ms > ANSWER_MS)
		fail_msg("QEMU answered after %lld ms", (long long)took_ms);
}

/* While mirrors begin, or copy. */
static void trouble_early(Copy *copy, Trouble trouble, size_t which, Call *begun)
{
	World *world = copy->world;
	long after_us = rand() % (rand() % 3 ? BEGIN_US : LATER_US);

	print_message("%s, %zu, after %ld us\n", trouble_words[trouble], which, after_us);
	copy_begin(copy, &world->source, DISKS, PACE_BYTES_S, 60000, begun);
	wait_for(copy, begun, 0);
	let_pass(world, after_us);
	cause(copy, trouble, which);
	let_pass(world, rand() % BEGIN_US);
	check_answers(&world->source);
}

/* While they end. There QEMU may wait for one that hangs, until it is cut. */
static void trouble_late(Copy *copy, Trouble trouble, size_t which, Call *begun, Call *finished)
{
	World *world = copy->world;
	long after_us = rand() % END_US;
	Error err = ERROR_INIT;

	print_message("at the end: %s, %zu, after %ld us\n", trouble_words[trouble], which,
		      after_us);
	copy_begin(copy, &world->source, DISKS, 0, 60000, begun);
	world_wait(world, call_is_over, begun, 60, "the disks are the same");
	assert_true(begun->ok);
	assert_true(disk_mirror_finish(world->source.vm, 3, 10000, on_done, finished, &err));
	let_pass(world, after_us);
	cause(copy, trouble, which);
	let_pass(world, rand() % END_US);
}

/* Calls are told in the round that they are of. */
static void one_round(Copy *copy, int number)
{
	World *world = copy->world;
	Trouble trouble = (Trouble)(rand() % TROUBLES);
	size_t which = (size_t)rand() % 2;
	Call begun = { 0 }, finished = { 0 };
	bool late = rand() % 4 == 0;

	print_message("%d: ", number);
	for (size_t i = 0; i < DISKS; i++)
		copy->ways[i].hangs_up = false;
	copy_serve_all(copy);
	if (late)
		trouble_late(copy, trouble, which, &begun, &finished);
	else
		trouble_early(copy, trouble, which, &begun);
	copy_abort(copy, &world->source);
	assert_true(begun.called && (!late || finished.called));
	host_check_guest(&world->source, 1, 30);
}

/* With all requests that QEMU sends at once on their way, and its writer waiting for room: cut by
 * who is not the one that has not read. */
static void test_cut(void **state)
{
	Copy *copy = *state;
	Host *source = &copy->world->source;

	copy_start_source(copy);
	for (int i = 0; i < 3; i++) {
		Call begun = { 0 }, aborted = { 0 };

		way_serve(&copy->ways[0], 0, false);
		copy_begin(copy, source, 1, 0, 60000, &begun);
		wait_for(copy, &begun, 0);
		let_pass(copy->world, 5000 * (i + 1));
		stall(&copy->ways[0]);
		let_pass(copy->world, LATER_US);
		check_answers(source);
		assert_false(begun.called);
		disk_mirror_cut(&copy->ways[0].fd);
		assert_int_equal(copy->ways[0].fd, -1);
		copy_abort_with(copy, source, CUT_MS, &aborted);
		if (!aborted.ok)
			fail_msg("%s", aborted.err.text);
		assert_true(begun.called);
		copy_abort(copy, source);
		host_check_guest(source, 1, 30);
	}
	disk_mirror_cut(&copy->ways[0].fd);
	host_end(source);
}

/* The mirror that fails does not end by itself, since QEMU would wait then for the one that hangs.
 */
static void test_one_fails_one_hangs(void **state)
{
	Copy *copy = *state;
	Host *source = &copy->world->source;

	copy_start_source(copy);
	for (size_t hanging = 0; hanging < DISKS; hanging++) {
		Call begun = { 0 };

		copy_serve_all(copy);
		/* As fast as can be: both have much on its way. */
		copy_begin(copy, source, DISKS, 0, 60000, &begun);
		wait_for(copy, &begun, DISKS - 1);
		stall(&copy->ways[hanging]);
		way_kill_daemon(&copy->ways[!hanging]);
		let_pass(copy->world, LATER_US);
		check_answers(source);
		copy_abort(copy, source);
		assert_true(begun.called && !begun.ok);
		host_check_guest(source, 1, 30);
	}
	host_end(source);
}

static int number_of(const char *name, int otherwise)
{
	const char *text = getenv(name);

	return text ? atoi(text) : otherwise;
}

static void test_at_any_moment(void **state)
{
	Copy *copy = *state;
	int rounds = number_of("SEALIFT_MIRROR_ROUNDS", ROUNDS);
	unsigned int seed = (unsigned int)number_of("SEALIFT_MIRROR_SEED", SEED);

	print_message("seed %u\n", seed);
	srand(seed);
	copy_start_source(copy);
	for (int i = 0; i < rounds; i++)
		one_round(copy, i);
	/* And in the end it works. */
	copy_serve_all(copy);
	copy_all(copy, &copy->world->source, DISKS);
	copy_abort(copy, &copy->world->source);
	host_check_guest(&copy->world->source, 1, 30);
	host_end(&copy->world->source);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_cut, copy_setup_large, copy_teardown),
		cmocka_unit_test_setup_teardown(test_one_fails_one_hangs, copy_setup_large,
						copy_teardown),
		cmocka_unit_test_setup_teardown(test_at_any_moment, copy_setup_large,
						copy_teardown),
	};

	if (world_is_impossible())
		return 77;
	signal(SIGPIPE, SIG_IGN);
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, luks_pool_make, luks_pool_remove);
}
