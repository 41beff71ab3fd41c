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

enum { SHORT_US = 1500 * MS, LONG_US = 200 * SECOND, LIMIT_US = 1500 * SECOND, FAILURES_SHOWN = 6, RUNS_BY_CHANCE = 600, FIRST_SEED = 100 };

/* In the environment: keys and disks move too; and how, "live", "offline" or "cold". */
#define HANDOVER "SEALIFT_REPLAY_HANDOVER"
#define MANNER "SEALIFT_REPLAY_MANNER"

typedef struct Planned {
	FaultKind kind;
	unsigned int step;
	int64_t repair_us;
} Planned;

typedef struct Run {
	WorldOptions options;
	Planned faults[3];
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
	bool tracing;
	bool handover; /* of keys and disks too */
	MoveManner manner;
} Tally;

static MoveManner manner_asked_for(void)
{
	const char *word = getenv(MANNER);

	for (int i = 0; word && i < MANNER_COUNT; i++)
		if (!strcmp(word, move_manner_words[i]))
			return (MoveManner)i;
	assert_null(word);
	return MANNER_LIVE;
}

/* The migration of all but the runs by chance. */
static WorldOptions options_of(const Tally *tally)
{
	return (WorldOptions){ .seed = 1, .keys = tally->handover, .disks = tally->handover,
			       .manner = tally->manner };
}

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
		host_crash(&world->hosts[i], 0);
		host_restart(&world->hosts[i]);
	}
	world_run(world, LIMIT_US);
	if (watch_outcome(world) != before)
		world_break(world, "END: a restart changes where the guest runs");
}

/* Of one fault alone it is known where the guest must be at the end. */
static void note_expectation(Run *run, const World *world, FaultKind kind, bool loaded, bool migrating,
			     bool accepted)
{
	const Hypervisor *destination = &world->hosts[DESTINATION].hv;

	bool cold = run->options.manner == MANNER_COLD;

	/* A process of a stopped VM decides nothing by its end. */
	if (run->count != 1 || run->dark_at || (cold && fault_kills(kind)))
		return;
	run->expect_known = true;
	if (kind == KILL_SOURCE && loaded)
		run->expect = AT_DESTINATION;
	else if (kind == KILL_DESTINATION && destination->number && !destination->ran)
		run->expect = AT_SOURCE;
	else if ((kind == CANCEL_SOURCE || kind == CANCEL_DESTINATION) && migrating)
		run->expect = accepted ? AT_SOURCE : AT_DESTINATION;
	else
		run->expect_known = false;
}

static void step_until(World *world, unsigned int step)
{
	while (world->steps + 1 < step && world->now_us < LIMIT_US && world_step(world))
		;
}

static void go(Run *run, World *world)
{
	if (run->dark_at)
		fault_arm_power(world, run->dark, run->dark_at);
	world_begin(world);
	for (size_t i = 0; i < run->count; i++) {
		const Planned *fault = &run->faults[i];
		bool loaded, migrating, accepted;

		step_until(world, fault->step);
		loaded = world->hosts[DESTINATION].hv.loaded;
		migrating = host_only_job(&world->hosts[SOURCE]);
		accepted = fault_happens(world, fault->kind, fault->repair_us);
		note_expectation(run, world, fault->kind, loaded, migrating, accepted);
		watch_event(world);
	}
	world_run(world, LIMIT_US);
}

static void try_run(Tally *tally, Run *run)
{
	World *world = world_new(&tally->stores, &run->options);
	bool kills = false;

	for (size_t i = 0; i < run->count; i++)
		kills |= fault_kills(run->faults[i].kind);
	go(run, world);
	if (watch_outcome(world) == HELD && kills)
		resolve(tally, world);
	/* No process that ends loses a stopped VM. */
	kills &= run->options.manner != MANNER_COLD;
	watch_end(world, kills);
	restart_both(world);
	watch_end(world, kills);
	if (run->expect_known && watch_outcome(world) != run->expect && !world->resolved)
		world_break(world, "END: the guest is not where it should be");
	tally->runs++;
	tally->faults += (unsigned int)run->count + (run->dark_at != 0);
	tally->outcomes[watch_outcome(world)]++;
	if (world->violation[0] && (tally->failures++ < FAILURES_SHOWN || getenv("SEALIFT_REPLAY_ALL")))
		describe(run, world);
	if (tally->tracing)
		world_print_trace(world);
	world_free(world);
}

static void each_fault_before_each_event(void **state)
{
	Tally *tally = *state;

	for (unsigned int step = 1; step <= tally->steps; step++)
		for (int kind = 0; kind < FAULT_KINDS; kind++) {
			Run run = { .options = options_of(tally),
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
			Run run = { .options = options_of(tally),
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
			Run run = { .options = options_of(tally), .dark = (HostName)name, .dark_at = action };

			try_run(tally, &run);
		}
	assert_int_equal(tally->failures, failures);
}

/* Half of them in the second in which the guest changes hands, and close to each other. */
static unsigned int throw_step(const Tally *tally, World *dice, unsigned int near)
{
	if (near && world_random(dice, 2))
		return near + (unsigned int)world_random(dice, 12);
	if (world_random(dice, 2))
		return tally->steps / 2 + (unsigned int)world_random(dice, tally->steps / 2);
	return 1 + (unsigned int)world_random(dice, tally->steps);
}

static void throw_run(const Tally *tally, World *dice, uint64_t seed, Run *ret_run)
{
	Run *run = ret_run;
	unsigned int step = 0;

	*run = (Run){ .options.seed = seed,
		      .options.manner = tally->manner,
		      .options.channels = world_random(dice, 2) ? 3 : 1,
		      .options.latency_us = 100 + (int64_t)world_random(dice, 20 * MS) };
	if (tally->handover) {
		run->options.keys = world_random(dice, 4);
		run->options.keep_keys = run->options.keys && !world_random(dice, 4);
		run->options.disks = world_random(dice, 2);
	}
	run->count = 2 + world_random(dice, 2);
	for (size_t i = 0; i < run->count; i++) {
		int64_t repair_us = world_random(dice, 4) ? (int64_t)world_random(dice, 3 * SECOND) :
							    (int64_t)world_random(dice, 60 * SECOND);

		step = throw_step(tally, dice, step);
		run->faults[i] = (Planned){ (FaultKind)world_random(dice, FAULT_KINDS), step,
					    10 * MS + repair_us };
	}
	if (!world_random(dice, 4)) {
		run->dark = (HostName)world_random(dice, HOSTS);
		run->dark_at = 1 + (unsigned int)world_random(dice, tally->actions[run->dark]);
	}
}

static World *new_dice(void)
{
	World *dice = test_calloc(1, sizeof(*dice));

	dice->random = 20240607;
	return dice;
}

static void faults_by_chance(void **state)
{
	Tally *tally = *state;
	unsigned int failures = tally->failures;
	World *dice = new_dice();
	const char *more = getenv("SEALIFT_REPLAY_RUNS");
	unsigned int runs = more ? (unsigned int)strtoul(more, NULL, 10) : RUNS_BY_CHANCE;

	for (unsigned int i = 0; i < runs; i++) {
		Run run;

		throw_run(tally, dice, FIRST_SEED + i, &run);
		try_run(tally, &run);
	}
	test_free(dice);
	assert_int_equal(tally->failures, failures);
}

static void measure(Tally *tally)
{
	Run run = { .options = options_of(tally) };
	World *world = world_new(&tally->stores, &run.options);

	go(&run, world);
	tally->steps = world->steps;
	for (int i = 0; i < HOSTS; i++)
		tally->actions[i] = world->hosts[i].actions;
	assert_string_equal(world->violation, "");
	assert_int_equal(watch_outcome(world), AT_DESTINATION);
	world_free(world);
}

static int setup(void **state)
{
	Tally *tally = test_calloc(1, sizeof(*tally));

	tally->handover = getenv(HANDOVER) != NULL;
	tally->manner = manner_asked_for();
	world_open_stores(&tally->stores);
	measure(tally);
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

static void take_faults(Run *run, int argc, char **argv)
{
	for (int i = 2; i + 2 < argc && run->count < ARRAY_SIZE(run->faults); i += 3)
		for (int kind = 0; kind < FAULT_KINDS; kind++)
			if (!strcmp(argv[i], fault_word((FaultKind)kind)))
				run->faults[run->count++] =
					(Planned){ (FaultKind)kind,
						   (unsigned int)strtoul(argv[i + 1], NULL, 10),
						   strtoll(argv[i + 2], NULL, 10) * MS };
}

/* One run again, to be looked at: `chance SEED`, `power src|dst ACTION` or `once (KIND STEP MS)...`. */
static int replay(int argc, char **argv)
{
	Tally tally = { .tracing = true, .handover = getenv(HANDOVER), .manner = manner_asked_for() };
	Run run = { .options = options_of(&tally) };
	World *dice = new_dice();

	world_open_stores(&tally.stores);
	measure(&tally);
	if (!strcmp(argv[1], "chance"))
		for (uint64_t seed = FIRST_SEED; seed <= strtoull(argv[2], NULL, 10); seed++)
			throw_run(&tally, dice, seed, &run);
	else if (!strcmp(argv[1], "power") && argc == 4)
		run.dark_at = (unsigned int)strtoul(argv[3], NULL, 10);
	else
		take_faults(&run, argc, argv);
	if (!strcmp(argv[1], "power"))
		run.dark = strcmp(argv[2], "src") ? DESTINATION : SOURCE;
	try_run(&tally, &run);
	world_close_stores(&tally.stores);
	test_free(dice);
	return tally.failures != 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_fault_before_each_event),
		cmocka_unit_test(each_fault_that_lasts),
		cmocka_unit_test(the_power_goes_at_each_action),
		cmocka_unit_test(faults_by_chance),
	};

	if (argc > 2)
		return replay(argc, argv);
	return cmocka_run_group_tests(tests, setup, teardown);
}
