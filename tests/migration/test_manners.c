/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Moves that are not live: how each ends well, and how each way back ends. Where something fails at
 * every single event, test_faults.c is asked for these manners too.
 */
#include "tests/migration/world.h"

#include <stdlib.h>
#include <string.h>

#include "tests/wire/samples.h"

static const WorldOptions
	offline = { .seed = 5, .manner = MANNER_OFFLINE },
	live = { .seed = 5, .manner = MANNER_LIVE }, cold = { .seed = 5, .manner = MANNER_COLD },
	cold_with_all = { .seed = 5, .manner = MANNER_COLD, .keys = true, .disks = true },
	offline_with_all = { .seed = 5, .manner = MANNER_OFFLINE, .keys = true, .disks = true };

static World *begin(void **state, const WorldOptions *options)
{
	World *world = world_new(*state, options);

	world_begin(world);
	return world;
}

static MigrationRecord record_of(const World *world, HostName name)
{
	MigrationRecord record;

	memset(&record, 0, sizeof(record));
	assert_true(watch_record(&world->hosts[name], &record));
	return record;
}

static void cancel_at_source(World *world)
{
	Host *host = &world->hosts[SOURCE];
	Job *job = host_only_job(host);
	Error err = ERROR_INIT;

	host_enter(host);
	assert_works(migration_cancel(job->migration, &err), &err);
	host_leave(host);
	host_settle(host, job);
}

/* --- offline --- */

static void downtime_is_the_whole_standstill(void **state)
{
	const WorldOptions *options[] = { &offline, &offline_with_all, &live };

	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		World *world = begin(state, options[i]);
		MigrationRecord record;

		world_expect_end(world, AT_DESTINATION);
		record = record_of(world, SOURCE);
		assert_int_equal(record.manner, options[i]->manner);
		assert_int_equal(record_of(world, DESTINATION).manner, options[i]->manner);
		if (options[i] == &live)
			assert_true(record.report.downtime_us < 200 * MS);
		else
			assert_true(record.report.downtime_us >=
				    (uint64_t)world->options.transfer_us);
		world_free(world);
	}
}

static void each_way_back_runs_the_guest(void **state)
{
	static const char *const steps[] = { "pause", "transfer", "detach", "switchover",
					     "question" };

	for (size_t i = 0; i < ARRAY_SIZE(steps); i++)
		for (int restart = 0; restart < 2; restart++) {
			World *world = begin(state, &offline_with_all);

			world_run_until(world, SOURCE, steps[i]);
			if (restart)
				host_crash(&world->hosts[SOURCE], SECOND);
			else
				cancel_at_source(world);
			world_expect_end(world, AT_SOURCE);
			world_free(world);
		}
}

static void a_stop_that_fails_moves_nothing(void **state)
{
	World *world = begin(state, &offline);

	world->hosts[SOURCE].hanging_orders = 1U << HV_STOP;
	world_expect_end(world, AT_SOURCE);
	assert_int_equal(world->hosts[DESTINATION].hv.loaded, false);
	world_free(world);
}

/* Nobody but who has stopped it may let it run. */
static void a_guest_that_others_stopped_stays_as_it_is(void **state)
{
	const WorldOptions *options[] = { &offline, &offline_with_all };

	for (size_t i = 0; i < ARRAY_SIZE(options); i++)
		for (int restart = 0; restart < 2; restart++) {
			World *world = begin(state, options[i]);

			world->hosts[SOURCE].hv.run_state = HV_PAUSED;
			if (restart) {
				world_run_until(world, SOURCE, "pause");
				host_crash(&world->hosts[SOURCE], SECOND);
			}
			world_run(world, 200 * (int64_t)SECOND);
			assert_string_equal(world->violation, "");
			assert_int_equal(world->hosts[SOURCE].hv.run_state, HV_PAUSED);
			assert_false(world->hosts[DESTINATION].hv.alive);
			assert_int_equal(record_of(world, SOURCE).state, MIGRATION_FAILED);
			assert_false(record_of(world, SOURCE).paused);
			if (!restart)
				world_expect_warning(world, SOURCE, "somebody else has stopped it");
			world_free(world);
		}
}

/* Stopped, and not a byte of memory sent yet: only the journal tells that it is ours to run again.
 */
static void a_guest_that_we_stopped_runs_again(void **state)
{
	const WorldOptions *options[] = { &offline, &offline_with_all };

	for (size_t i = 0; i < ARRAY_SIZE(options); i++)
		for (int restart = 0; restart < 2; restart++) {
			World *world = begin(state, options[i]);
			Host *host = &world->hosts[SOURCE];

			world_run_until(world, SOURCE, "pause");
			while (host->hv.run_state == HV_RUNNING && world_step(world))
				;
			assert_string_equal(migration_step_name(host_only_job(host)->migration),
					    "pause");
			if (restart)
				host_crash(host, SECOND);
			else
				cancel_at_source(world);
			world_expect_end(world, AT_SOURCE);
			world_free(world);
		}
}

/* QEMU's failed migration does not let a guest run that stood still before: what the destination
 * has is as new as ever, and all there is. */
static void a_source_that_fails_and_dies_has_given_it_away(void **state)
{
	World *world = begin(state, &offline);
	Host *host = &world->hosts[SOURCE];

	world_run_until(world, SOURCE, "question");
	migration_on_hv_status(host_only_job(host)->migration, HV_FAILED);
	hypervisor_die(host);
	world_expect_end(world, AT_DESTINATION);
	world_free(world);
}

/* --- cold --- */

static void a_stopped_vm_changes_hands(void **state)
{
	const WorldOptions *options[] = { &cold, &cold_with_all };

	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		World *world = begin(state, options[i]);
		MigrationRecord record;

		world_expect_end(world, AT_DESTINATION);
		record = record_of(world, SOURCE);
		assert_int_equal(record.state, MIGRATION_OK);
		/* No guest stood still. */
		assert_int_equal(record.report.downtime_us, 0);
		assert_int_equal(record.report.resume_us, 0);
		assert_true(record.report.total_us > 0);
		assert_false(world->hosts[SOURCE].hv.alive);
		assert_false(world->hosts[DESTINATION].hv.alive);
		assert_int_equal(
			world->hosts[SOURCE].handovers + world->hosts[DESTINATION].handovers, 0);
		world_free(world);
	}
}

static void each_way_back_leaves_it_stopped(void **state)
{
	static const char *const steps[] = { "boot",	   "dial",    "wait-accept", "channels",
					     "keys",	   "disks",   "transfer",    "detach",
					     "switchover", "question" };

	for (size_t i = 0; i < ARRAY_SIZE(steps); i++)
		for (int how = 0; how < 3; how++) {
			World *world = begin(state, &cold_with_all);

			world_run_until(world, SOURCE, steps[i]);
			if (how == 0)
				cancel_at_source(world);
			else if (how == 1)
				host_crash(&world->hosts[SOURCE], SECOND);
			else
				hypervisor_die(&world->hosts[SOURCE]);
			world_expect_end(world, AT_SOURCE);
			assert_false(world->hosts[SOURCE].hv.alive);
			world_free(world);
		}
}

static void one_that_does_not_start_stays(void **state)
{
	World *world = world_new(*state, &cold);

	world->hosts[SOURCE].prepare_fails = true;
	world_begin(world);
	world_expect_end(world, AT_SOURCE);
	world_free(world);
}

/* A source whose hypervisor lets the guest run all the same: whatever it is, it is ended. */
static void one_that_runs_is_ended(void **state)
{
	World *world = begin(state, &cold);

	world_run_until(world, SOURCE, "boot");
	world->hosts[SOURCE].hv.run_state = HV_RUNNING;
	world_expect_end(world, AT_SOURCE);
	world_expect_warning(world, SOURCE, "does not stand still");
	world_free(world);

	world = begin(state, &cold);
	world_run_until(world, SOURCE, "transfer");
	migration_on_hv_resume(host_only_job(&world->hosts[SOURCE])->migration, 1);
	world_expect_end(world, AT_SOURCE);
	world_expect_warning(world, SOURCE, "began to run");
	world_free(world);
}

static void a_process_that_does_not_quit_is_killed(void **state)
{
	World *world = begin(state, &cold);

	world->hosts[DESTINATION].hanging_orders = 1U << HV_QUIT;
	/* Before the order is given up, which takes 15 seconds. */
	world_run_until(world, DESTINATION, "activating");
	world_run(world, 12 * (int64_t)SECOND);
	assert_false(world->hosts[DESTINATION].hv.alive);
	world_expect_end(world, AT_DESTINATION);
	assert_false(world->hosts[DESTINATION].hv.alive);
	world_free(world);
}

/* Its process is not needed for that: the VM is on its disks. */
static void a_person_may_keep_it_without_its_process(void **state)
{
	World *world = begin(state, &cold);
	Host *host = &world->hosts[SOURCE];
	Error err = ERROR_INIT;
	Job *job;

	world_run_until(world, SOURCE, "wait-activated");
	host_crash(&world->hosts[DESTINATION], 0);
	hypervisor_die(host);
	world_run(world, 90 * (int64_t)SECOND);
	job = host_only_job(host);
	assert_non_null(job);
	assert_int_equal(migration_record(job->migration)->state, MIGRATION_STUCK);
	world->resolved = true;
	host_enter(host);
	assert_works(migration_resolve_run_here(job->migration, &err), &err);
	host_leave(host);
	host_settle(host, job);
	world_run(world, 5 * SECOND);
	assert_int_equal(watch_outcome(world), AT_SOURCE);
	assert_string_equal(world->violation, "");
	world_free(world);
}

/* --- what is signed must be what comes --- */

static void call_it_live(World *world, Host *host, Statement *statement,
			 char signer[LIMIT_SPIFFE_ID])
{
	(void)world;
	(void)host;
	(void)signer;
	statement->manner = MANNER_LIVE;
}

static void call_it_cold(World *world, Host *host, Statement *statement,
			 char signer[LIMIT_SPIFFE_ID])
{
	(void)world;
	(void)host;
	(void)signer;
	statement->manner = MANNER_COLD;
}

static void a_stream_of_another_manner_is_refused(void **state)
{
	const struct {
		const WorldOptions *options;
		Tamper *tamper;
		const char *text;
	} lies[] = {
		{ &cold, call_it_live, "only a cold move brings one" },
		{ &live, call_it_cold, "a cold move brings none" },
		{ &offline, call_it_cold, "a cold move brings none" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(lies); i++) {
		World *world = world_new(*state, lies[i].options);

		world->tamper = lies[i].tamper;
		world->tampered = STATEMENT_OFFER;
		world_begin(world);
		world_expect_end(world, AT_SOURCE);
		world_expect_warning(world, DESTINATION, lies[i].text);
		world_free(world);
	}
}

/* Peers of before there were manners: their bytes are those of a live move, and ours are theirs. */
static void a_live_offer_is_what_it_was(void **state)
{
	Statement *offer = test_calloc(1, sizeof(*offer)), *back = test_calloc(1, sizeof(*back));
	Error err = ERROR_INIT;

	(void)state;
	for (int manner = 0; manner < MANNER_COUNT; manner++) {
		AUTO_BUFFER Buffer json = BUFFER_INIT(LIMIT_STATEMENT_JSON);

		sample_statement(STATEMENT_OFFER, offer);
		offer->manner = (MoveManner)manner;
		assert_works(statement_encode_json(offer, &json, &err), &err);
		assert_works(statement_decode_json(json.data, json.used, back, &err), &err);
		assert_int_equal(back->manner, manner);
		assert_int_equal(memmem(json.data, json.used, "manner", 6) != NULL,
				 manner != MANNER_LIVE);
	}
	test_free(offer);
	test_free(back);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(downtime_is_the_whole_standstill),
		cmocka_unit_test(each_way_back_runs_the_guest),
		cmocka_unit_test(a_stop_that_fails_moves_nothing),
		cmocka_unit_test(a_guest_that_others_stopped_stays_as_it_is),
		cmocka_unit_test(a_guest_that_we_stopped_runs_again),
		cmocka_unit_test(a_source_that_fails_and_dies_has_given_it_away),
		cmocka_unit_test(a_stopped_vm_changes_hands),
		cmocka_unit_test(each_way_back_leaves_it_stopped),
		cmocka_unit_test(one_that_does_not_start_stays),
		cmocka_unit_test(one_that_runs_is_ended),
		cmocka_unit_test(a_process_that_does_not_quit_is_killed),
		cmocka_unit_test(a_person_may_keep_it_without_its_process),
		cmocka_unit_test(a_stream_of_another_manner_is_refused),
		cmocka_unit_test(a_live_offer_is_what_it_was),
	};

	return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
