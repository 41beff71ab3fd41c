/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A good migration has some hundred events. Before each of them each thing goes wrong that can; the
 * rules of world_watch.c hold all the time, and at the end exactly one guest runs and nothing is
 * left over. Then pairs of faults by chance, from fixed seeds.
 */
#include "tests/migration/fault.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHORT_US = 1500 * MS, LONG_US = 200 * SECOND, LIMIT_US = 1500 * SECOND, FAILURES_SHOWN = 6 };

typedef struct Planned {
	FaultKind kind;
	unsigned int step;
	int64_t repair_us;
} Planned;

typedef struct Run {
	WorldOptions options;
	Planned faults[2];
	size_t count;
	HostName dark;
	unsigned int dark_at; /* action; 0: no power cut */
	bool expect_known;
	Outcome expect;
} Run;

typedef struct Tally {
	WorldStores stores;
	unsigned int runs, faults, failures, resolved;
	unsigned int outcomes[OUTCOMES];
	unsigned int steps;
	unsigned int actions[HOSTS];
} Tally;

static void describe(const Run *run, const World *world)
{
	print_message("seed %llu:", (unsigned long long)run->options.seed);
	for (size_t i = 0; i < run->count; i++)
		print_message(" %s at %u for %lld ms", fault_word(run->faults[i].kind),
			      run->faults[i].step, (long long)run->faults[i].repair_us / MS);
	if (run->dark_at)
		print_message(" power cut of %s at action %u", run->dark == SOURCE ? "src" : "dst",
			      run->dark_at);
	print_message(": %s\n", world->violation);
}

/* A person who knows that the destination's copy is dead. */
static void resolve(Tally *tally, World *world)
{
	Host *host = &world->hosts[SOURCE];
	Job *job = host_only_job(host);
	Error err = ERROR_INIT;

	if (world->hosts[DESTINATION].hv.alive || !job)
		return;
	world->resolved = true;
	tally->resolved++;
	world_trace(world, "   RESOLVED by a person");
	host_enter(host);
	if (!migration_resolve_run_here(job->migration, &err))
		world_break(world, "RULE: resolve was refused: %s", err.text);
	host_leave(host);
	host_settle(host, job);
	world_run(world, LIMIT_US);
	if (watch_outcome(world) != AT_SOURCE)
		world_break(world, "END: resolved, and the guest does not run");
}

/* What stands on disk must do for a restart, at any time. */
static void restart_both(World *world)
{
	Outcome before = watch_outcome(world);

	for (int i = 0; i < HOSTS; i++) {
		host_crash(&world->hosts[i]);
		host_restart(&world->hosts[i]);
	}
	world_run(world, LIMIT_US);
	if (watch_outcome(world) != before)
		world_break(world, "END: a restart changes where the guest runs");
}

static void note_expectation(Run *run, const World *world, FaultKind kind, bool accepted)
{
	const Hypervisor *destination = &world->hosts[DESTINATION].hv;

	if (run->count != 1 || run->dark_at)
		return;
	run->expect_known = true;
	if (kind == KILL_SOURCE && destination->loaded)
		run->expect = AT_DESTINATION;
	else if (kind == KILL_DESTINATION && destination->number && !destination->ran)
		run->expect = AT_SOURCE;
	else if ((kind == CANCEL_SOURCE || kind == CANCEL_DESTINATION) && host_only_job((Host *)(uintptr_t)&world->hosts[SOURCE]))
		run->expect = accepted ? AT_SOURCE : AT_DESTINATION;
	else
		run->expect_known = false;
}

static void go(Run *run, World *world)
{
	if (run->dark_at)
		fault_arm_power(world, run->dark, run->dark_at);
	world_begin(world);
	if (world->hosts[SOURCE].dark)
		host_crash(&world->hosts[SOURCE]);
	for (size_t i = 0; i < run->count; i++) {
		bool accepted, loaded;

		while (world->steps + 1 < run->faults[i].step && world->now_us < LIMIT_US &&
		       world_step(world))
			;
		loaded = world->hosts[DESTINATION].hv.loaded;
		(void)loaded;
		if (run->faults[i].kind != CANCEL_SOURCE && run->faults[i].kind != CANCEL_DESTINATION)
			note_expectation(run, world, run->faults[i].kind, true);
		accepted = fault_happens(world, run->faults[i].kind, run->faults[i].repair_us);
		if (run->faults[i].kind == CANCEL_SOURCE)
			note_expectation(run, world, run->faults[i].kind, accepted);
		watch_event(world);
	}
	while (run->dark_at && world->hosts[run->dark].up && world_step(world))
		;
	if (run->dark_at)
		world_run(world, SHORT_US);
	for (int i = 0; run->dark_at && i < HOSTS; i++)
		fault_restart(&world->hosts[i]);
	world_run(world, LIMIT_US);
}

static void try_run(Tally *tally, Run *run)
{
	World *world = world_new(&tally->stores, &run->options);
	bool kills = false;

	for (size_t i = 0; i < run->count; i++)
		kills |= fault_kills(run->faults[i].kind);
	go(run, world);
	restart_both(world);
	if (watch_outcome(world) == HELD && kills)
		resolve(tally, world);
	watch_end(world, kills);
	if (run->expect_known && watch_outcome(world) != run->expect && !world->resolved)
		world_break(world, "END: the guest is not where it should be");
	tally->runs++;
	tally->faults += (unsigned int)run->count + (run->dark_at != 0);
	tally->outcomes[watch_outcome(world)]++;
	if (getenv("SEALIFT_REPLAY_ALL") && (world->violation[0] || run->dark_at == 2))
		describe(run, world);
	if (getenv("SEALIFT_REPLAY_ALL") && run->dark_at == 2)
		world_print_trace(world);
	if (world->violation[0] && tally->failures++ < FAILURES_SHOWN) {
		describe(run, world);
		if (getenv("SEALIFT_REPLAY_TRACE"))
			world_print_trace(world);
	}
	world_free(world);
}

static int setup(void **state)
{
	Tally *tally = test_calloc(1, sizeof(*tally));
	Run run = { .options.seed = 1 };
	World *world;

	world_open_stores(&tally->stores);
	world = world_new(&tally->stores, &run.options);
	go(&run, world);
	tally->steps = world->steps;
	for (int i = 0; i < HOSTS; i++)
		tally->actions[i] = world->hosts[i].actions;
	assert_string_equal(world->violation, "");
	assert_int_equal(watch_outcome(world), AT_DESTINATION);
	world_free(world);
	*state = tally;
	return 0;
}

static int teardown(void **state)
{
	Tally *tally = *state;

	print_message("replay: %u runs, %u faults, outcomes: source %u, destination %u, held %u, lost %u"
		      " (%u resolved by a person)\n",
		      tally->runs, tally->faults, tally->outcomes[AT_SOURCE],
		      tally->outcomes[AT_DESTINATION], tally->outcomes[HELD], tally->outcomes[LOST],
		      tally->resolved);
	world_close_stores(&tally->stores);
	test_free(tally);
	return 0;
}

static void each_fault_before_each_event(void **state)
{
	Tally *tally = *state;

	for (unsigned int step = 1; step <= tally->steps; step++)
		for (int kind = 0; kind < FAULT_KINDS; kind++) {
			Run run = { .options.seed = 1,
				    .faults = { { (FaultKind)kind, step, SHORT_US } },
				    .count = 1 };

			try_run(tally, &run);
		}
	assert_int_equal(tally->failures, 0);
}

static void each_fault_that_lasts(void **state)
{
	Tally *tally = *state;
	unsigned int failures = tally->failures;

	for (unsigned int step = 1; step <= tally->steps; step += 2)
		for (int kind = 0; kind < CLOCK_AHEAD_SOURCE; kind++) {
			Run run = { .options.seed = 1,
				    .faults = { { (FaultKind)kind, step, LONG_US } },
				    .count = 1 };

			if (!fault_kills((FaultKind)kind))
				try_run(tally, &run);
		}
	assert_int_equal(tally->failures, failures);
}

static void the_power_goes_at_each_action(void **state)
{
	Tally *tally = *state;
	unsigned int failures = tally->failures;

	for (int name = 0; name < HOSTS; name++)
		for (unsigned int action = 1; action <= tally->actions[name]; action++) {
			Run run = { .options.seed = 1, .dark = (HostName)name, .dark_at = action };

			try_run(tally, &run);
		}
	assert_int_equal(tally->failures, failures);
}

static void pairs_of_faults_by_chance(void **state)
{
	Tally *tally = *state;
	unsigned int failures = tally->failures;
	World dice = { .random = 20240607 };

	for (unsigned int i = 0; i < 600; i++) {
		Run run = { .options.seed = 100 + i, .count = 2 };

		for (int k = 0; k < 2; k++)
			run.faults[k] = (Planned){ (FaultKind)world_random(&dice, FAULT_KINDS),
						   1 + (unsigned int)world_random(&dice, tally->steps),
						   100 * MS + (int64_t)world_random(&dice, 30 * SECOND) };
		if (run.faults[1].step < run.faults[0].step) {
			Planned first = run.faults[1];

			run.faults[1] = run.faults[0];
			run.faults[0] = first;
		}
		try_run(tally, &run);
	}
	assert_int_equal(tally->failures, failures);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_fault_before_each_event),
		cmocka_unit_test(each_fault_that_lasts),
		cmocka_unit_test(the_power_goes_at_each_action),
		cmocka_unit_test(pairs_of_faults_by_chance),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
