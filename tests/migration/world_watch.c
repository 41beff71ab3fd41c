/* SPDX-License-Identifier: Apache-2.0 */
/* The rules. Each is judged by what really is: processes, rows on disk, not by what an engine says. */
#include <string.h>

#include "tests/migration/world.h"

typedef struct Search {
	MigrationRecord *record;
	bool found;
} Search;

static bool take_last(void *context, const void *object, Error *err)
{
	Search *search = context;

	(void)err;
	*search->record = *(const MigrationRecord *)object;
	search->found = true;
	return true;
}

bool watch_record(const Host *host, MigrationRecord *ret_record)
{
	Search search = { .record = ret_record };
	Error err = ERROR_INIT;

	assert_works(store_each(host->store, STORE_MIGRATIONS, take_last, &search, &err), &err);
	return search.found;
}

/* --- while it goes on --- */

static void judge_run_at_source(World *world, bool has_record, const MigrationRecord *record)
{
	if (has_record && record->committed && !world->said[STATEMENT_DECLINED] && !world->resolved)
		world_break(world, "RULE: the source runs the guest although commit stands in its journal");
	if (world->hosts[DESTINATION].hv.ran && !world->resolved)
		world_break(world, "RULE: the source runs the guest although the destination has run it");
}

static void judge_run_at_destination(World *world, bool has_record, const MigrationRecord *record)
{
	const Hypervisor *hv = &world->hosts[DESTINATION].hv;

	if (world->options.keys && !hv->opened)
		world_break(world, "RULE: the destination runs the guest without its disk's key");
	if (world->options.disks && !(hv->attached && world->hosts[SOURCE].hv.detached))
		world_break(world, "RULE: the destination runs the guest on a disk that is not whole");
	if (!has_record || !record->activating)
		world_break(world, "RULE: the destination runs the guest, its journal knows of no activation");
	/* What nobody could see cannot be held against anybody: a source that is restarted and finds its
	 * hypervisor gone takes the destination's copy (DESIGN, section 6, "a recovering source"). */
	if (world->hosts[SOURCE].hv.ran_after_sending && !world->hosts[SOURCE].hv.ran_unseen &&
	    !world->resolved)
		world_break(world, "RULE: the destination runs a state that the source has gone past");
}

/* A stopped VM may be started wherever its row says that it is stopped. */
void watch_row(Host *host)
{
	const Host *peer = world_peer(host);

	if (host->world->options.manner == MANNER_COLD && host->vm.state == VM_STOPPED && peer->knows_vm &&
	    peer->vm.state == VM_STOPPED && !host->world->resolved)
		world_break(host->world, "RULE: both sides could start the VM");
}

void watch_guest_runs(Host *host)
{
	World *world = host->world;
	MigrationRecord *record = test_calloc(1, sizeof(*record));
	bool has_record = watch_record(host, record);

	if (world_peer(host)->hv.run_state == HV_RUNNING && !world->resolved)
		world_break(world, "RULE: TWO GUESTS RUN");
	if (world->options.manner == MANNER_COLD)
		world_break(world, "RULE: the guest of a stopped VM runs");
	if (host->name == SOURCE)
		judge_run_at_source(world, has_record, record);
	else
		judge_run_at_destination(world, has_record, record);
	test_free(record);
}

static bool may_run(Host *host, const Job *job)
{
	return job->serial && host->up && !migration_ended(job->migration) &&
	       migration_guest_may_run_here(job->migration);
}

void watch_event(World *world)
{
	Host *source = &world->hosts[SOURCE], *destination = &world->hosts[DESTINATION];

	if (world->resolved)
		return;
	for (int i = 0; i < WORLD_JOBS; i++)
		for (int k = 0; k < WORLD_JOBS; k++)
			if (may_run(source, &source->jobs[i]) && may_run(destination, &destination->jobs[k]) &&
			    !memcmp(migration_record(source->jobs[i].migration)->id,
				    migration_record(destination->jobs[k].migration)->id,
				    MIGRATION_ID_BYTES))
				world_break(world, "RULE: both sides may run the guest, by step %s and %s",
					    migration_step_name(source->jobs[i].migration),
					    migration_step_name(destination->jobs[k].migration));
}

/* --- at the end --- */

static Outcome outcome_of_stopped(const World *world)
{
	const Host *source = &world->hosts[SOURCE], *destination = &world->hosts[DESTINATION];

	if (source->vm.state == VM_STOPPED)
		return AT_SOURCE;
	return source->vm.state == VM_MOVED && destination->knows_vm && destination->vm.state == VM_STOPPED ?
		       AT_DESTINATION :
		       HELD;
}

Outcome watch_outcome(const World *world)
{
	if (world->options.manner == MANNER_COLD)
		return outcome_of_stopped(world);
	if (world->hosts[SOURCE].hv.run_state == HV_RUNNING)
		return AT_SOURCE;
	if (world->hosts[DESTINATION].hv.run_state == HV_RUNNING)
		return AT_DESTINATION;
	return world->hosts[SOURCE].hv.alive ? HELD : LOST;
}

static bool is_open(const MigrationRecord *record)
{
	return record->state == MIGRATION_ACTIVE || record->state == MIGRATION_STUCK;
}

static VmState at_home(const World *world)
{
	return world->options.manner == MANNER_COLD ? VM_STOPPED : VM_RUNNING;
}

static void judge_jobs(World *world)
{
	for (int i = 0; i < HOSTS; i++)
		for (int k = 0; k < WORLD_JOBS; k++)
			if (world->hosts[i].jobs[k].serial)
				world_break(world, "END: %s still has a migration in step %s",
					    host_word(&world->hosts[i]),
					    migration_step_name(world->hosts[i].jobs[k].migration));
}

static void judge_destination(World *world, bool here, const MigrationRecord *record, bool has_record)
{
	const Host *host = &world->hosts[DESTINATION];

	if (has_record && (is_open(record) || record->booked_bytes))
		world_break(world, "END: dst has a migration in state %s with %llu bytes booked",
			    migration_state_words[record->state],
			    (unsigned long long)record->booked_bytes);
	if (here && (!host->knows_vm || host->vm.state != at_home(world)))
		world_break(world, "END: the guest runs at dst, whose row says %s",
			    host->knows_vm ? vm_state_words[host->vm.state] : "nothing");
	if (here && at_home(world) == VM_RUNNING)
		return;
	if (host->hv.alive)
		world_break(world, "END: dst still has a hypervisor");
	if (here)
		return;
	/* Where it may have run and ended its row stays, for its epoch. */
	if (host->knows_vm && (host->vm.state != VM_STOPPED || !has_record || !record->activating))
		world_break(world, "END: dst still has a row in state %s", vm_state_words[host->vm.state]);
}

static void judge_source(World *world, Outcome outcome, const MigrationRecord *record, bool has_record)
{
	const VmState rows[OUTCOMES] = { at_home(world), VM_MOVED, VM_HELD, VM_FAILED };
	const Host *host = &world->hosts[SOURCE];
	bool ok = has_record && record->state == MIGRATION_OK;

	if (has_record && outcome != HELD && is_open(record))
		world_break(world, "END: src has a migration in state %s",
			    migration_state_words[record->state]);
	if (has_record && outcome != HELD && record->cancel_owed)
		world_break(world, "END: src owes a cancel");
	if (outcome == AT_DESTINATION && !ok)
		world_break(world, "END: the guest runs at dst, src says %s", record->error);
	if (outcome == AT_SOURCE && ok)
		world_break(world, "END: the guest runs at src, whose record says done");
	if (outcome == AT_SOURCE && world->options.manner == MANNER_COLD && host->hv.alive)
		world_break(world, "END: src still has a process of the stopped VM");
	if (outcome == AT_DESTINATION && host->hv.alive)
		world_break(world, "END: src still has its copy");
	if (outcome != LOST && host->vm.state != rows[outcome])
		world_break(world, "END: the row at src is in state %s, expected %s",
			    vm_state_words[host->vm.state], vm_state_words[rows[outcome]]);
}

void watch_end(World *world, bool may_be_lost)
{
	static const char *const words[OUTCOMES] = { "at the source", "at the destination", "held", "lost" };
	MigrationRecord *records = test_calloc(HOSTS, sizeof(*records));
	Outcome outcome = watch_outcome(world);
	bool known[HOSTS];

	for (int i = 0; i < HOSTS; i++) {
		assert_true(world->hosts[i].up);
		known[i] = watch_record(&world->hosts[i], &records[i]);
	}
	world_trace(world, "   the guest is %s", words[outcome]);
	if (outcome != HELD)
		judge_jobs(world);
	if ((outcome == HELD || outcome == LOST) && !may_be_lost)
		world_break(world, "END: no guest runs");
	judge_destination(world, outcome == AT_DESTINATION, &records[DESTINATION], known[DESTINATION]);
	judge_source(world, outcome, &records[SOURCE], known[SOURCE]);
	keys_watch_end(world, outcome);
	if (world->hosts[SOURCE].hv.alive && world->hosts[SOURCE].hv.mirroring)
		world_break(world, "END: src still copies a disk");
	test_free(records);
}
