/* SPDX-License-Identifier: Apache-2.0 */
/* Somebody never answers: each step ends by its own clock, or says what it waits for. */
#include "tests/migration/fault.h"

#include <string.h>

#define BIT(number) (1U << (number))

typedef struct Silence {
	const char *name;
	void (*begin)(World *world);
	HostName finder;
	const char *part;
	Outcome outcome;
	int64_t least_us;
} Silence;

static void hang_dial(World *world)
{
	world->hosts[SOURCE].hanging_dial = true;
}
static void hang_offer_signing(World *world)
{
	world->hosts[SOURCE].hanging_statements = BIT(STATEMENT_OFFER);
}
static void lose_offer(World *world)
{
	world->swallowed_statements = BIT(STATEMENT_OFFER);
}
static void hang_offer_judging(World *world)
{
	world->hosts[DESTINATION].hanging_statements = BIT(STATEMENT_OFFER);
}
static void hang_mover_of_destination(World *world)
{
	world->hosts[DESTINATION].hanging_mover = true;
}
static void hang_prepare(World *world)
{
	world->hosts[DESTINATION].hanging_orders = BIT(HV_PREPARE);
}
static void hang_accept_signing(World *world)
{
	world->hosts[DESTINATION].hanging_statements = BIT(STATEMENT_ACCEPT);
}
static void hang_mover_of_source(World *world)
{
	world->hosts[SOURCE].hanging_mover = true;
}
static void lose_key(World *world)
{
	world->swallowed_messages = BIT(PEER_KEY);
}
static void lose_keyed(World *world)
{
	world->swallowed_messages = BIT(PEER_KEYED);
}
static void hang_channels(World *world)
{
	world->hanging_channels = true;
}
static void transfer_without_end(World *world)
{
	world->options.transfer_us = 5000 * (int64_t)SECOND;
	world->hosts[DESTINATION].policy.transfer_ms *= 2;
}
static void transfer_without_end_for_destination(World *world)
{
	world->options.transfer_us = 5000 * (int64_t)SECOND;
	world->hosts[SOURCE].policy.transfer_ms *= 2;
}
static void silent_source(World *world)
{
	world->options.transfer_us = 5000 * (int64_t)SECOND;
	world->silent = true;
}
static void hang_migrate(World *world)
{
	world->hosts[SOURCE].hanging_orders = BIT(HV_MIGRATE);
}
static void hang_continue(World *world)
{
	world->hosts[SOURCE].hanging_orders = BIT(HV_CONTINUE);
}
static void hang_listen(World *world)
{
	world->hosts[DESTINATION].hanging_orders = BIT(HV_LISTEN);
}
static void hang_ready_signing(World *world)
{
	world->hosts[DESTINATION].hanging_statements = BIT(STATEMENT_READY);
}
static void lose_ready(World *world)
{
	world->swallowed_statements = BIT(STATEMENT_READY);
}
static void hang_commit_signing(World *world)
{
	world->hosts[SOURCE].hanging_statements = BIT(STATEMENT_COMMIT);
}
static void hang_destroyed_signing(World *world)
{
	world->hosts[SOURCE].hanging_statements = BIT(STATEMENT_DESTROYED);
}
static void lose_destroyed(World *world)
{
	world->swallowed_statements = BIT(STATEMENT_DESTROYED);
}
static void hang_quit(World *world)
{
	world->hosts[SOURCE].hanging_orders = BIT(HV_QUIT);
}

#define S(seconds) ((int64_t)(seconds) * SECOND)
static const Silence silences[] = {
	{ "dial", hang_dial, SOURCE, "step dial took longer than 15000 ms", AT_SOURCE, S(15) },
	{ "offer", hang_offer_signing, SOURCE, "step offer took longer than 10000 ms", AT_SOURCE, S(10) },
	{ "wait-accept", lose_offer, SOURCE, "step wait-accept took longer than 180000 ms", AT_SOURCE, S(180) },
	{ "judge", hang_offer_judging, DESTINATION, "step judge took longer than 10000 ms", AT_SOURCE, S(10) },
	{ "judge, told", hang_offer_judging, SOURCE, "spiffe://south.example/host/s1: step judge took", AT_SOURCE,
	  S(10) },
	{ "reserve", hang_mover_of_destination, DESTINATION, "step reserve took longer than 170000 ms", AT_SOURCE,
	  S(170) },
	{ "prepare", hang_prepare, DESTINATION, "no answer from QEMU", AT_SOURCE, S(15) },
	{ "accept", hang_accept_signing, DESTINATION, "step accept took longer than 10000 ms", AT_SOURCE, S(10) },
	{ "mover", hang_mover_of_source, DESTINATION, "step wait-key took longer than 15000 ms", AT_SOURCE, S(15) },
	{ "wait-key", lose_key, DESTINATION, "step wait-key took longer than 15000 ms", AT_SOURCE, S(15) },
	{ "key", lose_keyed, SOURCE, "step key took longer than 15000 ms", AT_SOURCE, S(15) },
	{ "channels", hang_channels, SOURCE, "step channels took longer than 15000 ms", AT_SOURCE, S(15) },
	{ "transfer", transfer_without_end, SOURCE, "step transfer took longer than 600000 ms", AT_SOURCE, S(600) },
	{ "loading", transfer_without_end_for_destination, DESTINATION, "step loading took longer than 600000 ms",
	  AT_SOURCE, S(600) },
	{ "lease", silent_source, DESTINATION, "nothing from the source for 30 s: the lease ends", AT_SOURCE,
	  S(30) },
	{ "migrate", hang_migrate, SOURCE, "no answer from QEMU", AT_SOURCE, S(15) },
	{ "continue", hang_continue, SOURCE, "no answer from QEMU", AT_SOURCE, S(15) },
	{ "listen", hang_listen, DESTINATION, "no answer from QEMU", AT_SOURCE, S(15) },
	{ "sign-ready", hang_ready_signing, DESTINATION, "step sign-ready took longer than 10000 ms", AT_SOURCE,
	  S(10) },
	{ "switchover", lose_ready, SOURCE, "step switchover took longer than 60000 ms", AT_SOURCE, S(60) },
	{ "question", hang_commit_signing, SOURCE, "step question took longer than 10000 ms", AT_SOURCE, S(10) },
	{ "finish", hang_destroyed_signing, SOURCE, "step finish took longer than 30000 ms", AT_DESTINATION, S(30) },
	{ "active", lose_destroyed, DESTINATION, "", AT_DESTINATION, 0 },
	{ "quit", hang_quit, SOURCE, "quit: no answer from QEMU; killing it", AT_DESTINATION, S(15) },
};

static void each_silence_ends(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(silences); i++) {
		const WorldOptions options = { .seed = 11 + i };
		World *world = world_new(*state, &options);

		silences[i].begin(world);
		world_begin(world);
		world_expect_end(world, silences[i].outcome);
		world_expect_warning(world, silences[i].finder, silences[i].part);
		assert_true(world->now_us >= silences[i].least_us);
		world_free(world);
	}
}

static const MigrationRecord *record_of(World *world, HostName name)
{
	Job *job = host_only_job(&world->hosts[name]);

	assert_non_null(job);
	return migration_record(job->migration);
}

/* No clock decides who owns the guest: both sides say that they are stuck, and go on when they can. */
static void a_lost_commit_is_waited_for(void **state)
{
	const WorldOptions options = { .seed = 3 };
	World *world = world_new(*state, &options);

	world->swallowed_statements = BIT(STATEMENT_COMMIT);
	world_begin(world);
	world_run(world, 300 * SECOND);
	assert_int_equal(watch_outcome(world), HELD);
	assert_int_equal(record_of(world, SOURCE)->state, MIGRATION_STUCK);
	assert_int_equal(record_of(world, DESTINATION)->state, MIGRATION_STUCK);
	world_expect_warning(world, SOURCE, "sealift resolve --run-here");
	world_expect_warning(world, DESTINATION, "waits for the decision of spiffe://north.example/host/n1");
	world->swallowed_statements = 0;
	world_expect_end(world, AT_DESTINATION);
	/* What was said while it was stuck is no error of a migration that is done. */
	assert_int_equal(world->hosts[SOURCE].last_state, MIGRATION_OK);
	assert_int_equal(world->hosts[DESTINATION].last_state, MIGRATION_OK);
	world_free(world);
}

static void a_commit_that_is_never_judged_is_said_again(void **state)
{
	const WorldOptions options = { .seed = 4 };
	World *world = world_new(*state, &options);

	world->hosts[DESTINATION].hanging_statements = BIT(STATEMENT_COMMIT);
	world_begin(world);
	world_run_until(world, DESTINATION, "commit");
	world_run(world, 25 * SECOND);
	assert_false(world->hosts[DESTINATION].hv.ran);
	world->hosts[DESTINATION].hanging_statements = 0;
	world_expect_end(world, AT_DESTINATION);
	world_free(world);
}

static void an_activated_that_is_never_judged_is_asked_for_again(void **state)
{
	const WorldOptions options = { .seed = 4 };
	World *world = world_new(*state, &options);

	world->hosts[SOURCE].hanging_statements = BIT(STATEMENT_ACTIVATED);
	world_begin(world);
	world_run(world, 20 * SECOND);
	assert_int_equal(watch_outcome(world), AT_DESTINATION);
	assert_true(world->hosts[SOURCE].hv.alive);
	world->hosts[SOURCE].hanging_statements = 0;
	world_expect_end(world, AT_DESTINATION);
	assert_int_equal(world->said[STATEMENT_ACTIVATED], 1);
	world_free(world);
}

static void an_activated_is_signed_sooner_or_later(void **state)
{
	const WorldOptions options = { .seed = 4 };
	World *world = world_new(*state, &options);

	world->hosts[DESTINATION].hanging_statements = BIT(STATEMENT_ACTIVATED);
	world_begin(world);
	world_run(world, 100 * SECOND);
	assert_int_equal(watch_outcome(world), AT_DESTINATION);
	assert_int_equal(world->said[STATEMENT_ACTIVATED], 0);
	world->hosts[DESTINATION].hanging_statements = 0;
	world_expect_end(world, AT_DESTINATION);
	world_free(world);
}

static void a_guest_that_does_not_start_is_tried_again(void **state)
{
	const WorldOptions options = { .seed = 4 };
	World *world = world_new(*state, &options);

	world->hosts[DESTINATION].hanging_orders = BIT(HV_CONT);
	world_begin(world);
	world_run(world, 400 * SECOND);
	assert_int_equal(watch_outcome(world), HELD);
	assert_int_equal(record_of(world, DESTINATION)->state, MIGRATION_STUCK);
	world_expect_warning(world, DESTINATION, "cont: no answer from QEMU");
	world->hosts[DESTINATION].hanging_orders = 0;
	world_expect_end(world, AT_DESTINATION);
	world_free(world);
}

/* The monitor was away while the guest was stopped for the switchover: what it said is asked for. */
static void a_monitor_that_comes_back_is_asked(void **state)
{
	const WorldOptions options = { .seed = 4 };
	World *world = world_new(*state, &options);

	world_begin(world);
	world_run_until(world, SOURCE, "transfer");
	world_run(world, 350 * MS);
	assert_true(fault_happens(world, DEAF_SOURCE, 2 * SECOND));
	world_expect_end(world, AT_DESTINATION);
	assert_true(world->now_us < 10 * SECOND);
	world_free(world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_silence_ends),
		cmocka_unit_test(a_lost_commit_is_waited_for),
		cmocka_unit_test(a_commit_that_is_never_judged_is_said_again),
		cmocka_unit_test(an_activated_that_is_never_judged_is_asked_for_again),
		cmocka_unit_test(an_activated_is_signed_sooner_or_later),
		cmocka_unit_test(a_guest_that_does_not_start_is_tried_again),
		cmocka_unit_test(a_monitor_that_comes_back_is_asked),
	};

	return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
