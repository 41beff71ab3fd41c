/* SPDX-License-Identifier: Apache-2.0 */
/* A host's engine: what src/engine does around a migration, in short. */
#include <signal.h>
#include <string.h>
#include <sys/resource.h>

#include "tests/migration/world.h"

enum { TIMER_SLACK_US = 50 };

/* --- the disk --- */

/* A full disk: each write to a file fails, SQLite sees it as it would see the real thing. */
static void set_disk_full(bool full)
{
	struct rlimit limit;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = full ? 0 : limit.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static bool disk_is_full(const Host *host)
{
	return host->dark || host->disk_full_until_us > host->world->now_us;
}

void host_enter(Host *host)
{
	if (disk_is_full(host))
		set_disk_full(true);
}

void host_leave(Host *host)
{
	(void)host;
	set_disk_full(false);
}

bool host_acts(Host *host)
{
	if (host->dark)
		return false;
	if (++host->actions != host->dark_at_action)
		return true;
	world_trace(host->world, "   the power of %s goes", host_word(host));
	host->dark = true;
	host_enter(host);
	return false;
}

bool host_save_vm(Host *host, Error *err)
{
	return store_put(host->store, STORE_VMS, host->vm.manifest.uuid, &host->vm, err);
}

/* --- jobs --- */

Job *host_job(Host *host, uint64_t serial)
{
	for (int i = 0; i < WORLD_JOBS && serial; i++)
		if (host->jobs[i].serial == serial)
			return &host->jobs[i];
	return NULL;
}

Job *host_job_of(Host *host, const Migration *m)
{
	for (int i = 0; i < WORLD_JOBS; i++)
		if (host->jobs[i].serial && host->jobs[i].migration == m)
			return &host->jobs[i];
	return NULL;
}

Job *host_job_with_vm(Host *host)
{
	for (int i = 0; i < WORLD_JOBS; i++)
		if (host->jobs[i].serial && host->jobs[i].has_vm)
			return &host->jobs[i];
	return NULL;
}

Job *host_only_job(Host *host)
{
	Job *only = NULL;

	for (int i = 0; i < WORLD_JOBS; i++)
		if (host->jobs[i].serial && !only)
			only = &host->jobs[i];
	return only;
}

Job *host_add_job(Host *host, Migration *m, bool has_vm)
{
	for (int i = 0; i < WORLD_JOBS; i++) {
		Job *job = &host->jobs[i];

		if (job->serial)
			continue;
		*job = (Job){ .serial = ++host->world->next_number, .migration = m, .has_vm = has_vm };
		job->may_run = migration_guest_may_run_here(m);
		return job;
	}
	fail_msg("more than %d jobs on %s", WORLD_JOBS, host_word(host));
	return NULL;
}

static void free_job(Host *host, Job *job)
{
	if (job->connection)
		link_close(host, job->connection);
	if (job->mover && host->world->stream.jobs[host->name] == job->serial)
		stream_break(host->world, "a mover was stopped", false);
	migration_free(job->migration);
	*job = (Job){ 0 };
}

static void on_end(World *world, Event *event)
{
	Job *job = host_job(event->host, event->job);

	(void)world;
	event->host->last_state = migration_record(job->migration)->state;
	event->host->handovers = job->handovers;
	free_job(event->host, job);
}

void host_settle(Host *host, Job *job)
{
	MigrationState state = migration_record(job->migration)->state;
	bool may_run = migration_guest_may_run_here(job->migration);

	job->handovers += may_run != job->may_run;
	job->may_run = may_run;
	if (state != MIGRATION_ACTIVE && state != MIGRATION_STUCK)
		job->has_vm = false;
	if (!migration_ended(job->migration) || job->ending)
		return;
	job->ending = true;
	world_schedule_job(host, job, 5, "end", on_end);
}

/* --- routing: src/engine/connections.c --- */

static void bind(Host *host, Job *job, uint64_t connection)
{
	if (job->connection && job->connection != connection)
		link_close(host, job->connection);
	job->connection = connection;
}

static void refuse_unknown(Host *host, uint64_t connection, const PeerMessage *message)
{
	PeerMessage *reply = test_calloc(1, sizeof(*reply));
	Job nobody = { .connection = connection };
	Error err = ERROR_INIT;

	memcpy(reply->migration, message->migration, sizeof(reply->migration));
	reply->kind = message->kind == PEER_QUERY ? PEER_STATE : PEER_REFUSE;
	reply->state = PEER_STATE_UNKNOWN;
	strcpy(reply->category, error_word(ERROR_NOT_FOUND));
	strcpy(reply->text, "this host knows no such migration of yours");
	if (!link_send(host, &nobody, reply, &err))
		world_trace(host->world, "   %s", err.text);
	if (message->kind != PEER_QUERY)
		link_close(host, connection);
	test_free(reply);
}

static Job *live_job(Host *host, const uint8_t id[MIGRATION_ID_BYTES])
{
	for (int i = 0; i < WORLD_JOBS; i++)
		if (host->jobs[i].serial &&
		    !memcmp(migration_record(host->jobs[i].migration)->id, id, MIGRATION_ID_BYTES))
			return &host->jobs[i];
	return NULL;
}

static Job *revive(Host *host, const uint8_t id[MIGRATION_ID_BYTES], bool *ret_broken)
{
	char key[2 * MIGRATION_ID_BYTES + 1];
	MigrationRecord record;
	Error err = ERROR_INIT;
	Migration *m;
	Job *job;

	hex_encode(id, MIGRATION_ID_BYTES, key);
	if (!store_get(host->store, STORE_MIGRATIONS, key, &record, &err) ||
	    record.role != MIGRATION_DESTINATION)
		return NULL;
	*ret_broken = record.state == MIGRATION_ACTIVE || record.state == MIGRATION_STUCK;
	if (*ret_broken)
		return NULL;
	m = migration_new_recovered(&host->ports, &record, NULL, &err);
	assert_non_null(m);
	job = host_add_job(host, m, false);
	migration_recover(m);
	return job;
}

Job *host_route(Host *host, uint64_t connection, const PeerMessage *message)
{
	Error err = ERROR_INIT;
	bool broken = false;
	Job *job;
	Migration *m;

	if (message->kind == PEER_STATEMENT && message->statement == STATEMENT_OFFER) {
		m = migration_new_destination(&host->ports, world_peer(host)->policy.host_id, &err);
		assert_non_null(m);
		job = host_add_job(host, m, false);
		bind(host, job, connection);
		return job;
	}
	job = live_job(host, message->migration);
	if (job && migration_record(job->migration)->role != MIGRATION_DESTINATION)
		job = NULL;
	else if (!job)
		job = revive(host, message->migration, &broken);
	if (broken) {
		link_close(host, connection);
		return NULL;
	}
	if (!job) {
		refuse_unknown(host, connection, message);
		return NULL;
	}
	bind(host, job, connection);
	migration_on_peer_open(job->migration, 1000);
	return job;
}

/* --- crash and restart: src/engine/recovery.c --- */

static void on_restart(World *world, Event *event)
{
	(void)world;
	if (!event->host->up)
		host_restart(event->host);
}

void host_crash(Host *host, int64_t restart_us)
{
	World *world = host->world;

	host->dark = false;
	host->dark_at_action = 0;
	if (restart_us)
		world_schedule(world, restart_us, "restart", on_restart)->host = host;
	if (!host->up)
		return;
	world_trace(world, "   the engine of %s CRASHES", host_word(host));
	host->up = false;
	host->generation++;
	link_crash(host);
	/* Its movers die with it; whether the kernel still sends what they had given it is chance. */
	if (host_job(host, world->stream.jobs[host->name]))
		stream_break(world, "a mover is gone", host->name == SOURCE && world_random(world, 2));
	for (int i = 0; i < WORLD_JOBS; i++) {
		migration_free(host->jobs[i].migration);
		host->jobs[i] = (Job){ 0 };
	}
	host->knows_vm = false;
}

typedef struct Revived {
	MigrationRecord records[WORLD_JOBS];
	size_t count;
} Revived;

static bool collect(void *context, const void *object, Error *err)
{
	const MigrationRecord *record = object;
	Revived *revived = context;

	(void)err;
	if (record->state != MIGRATION_ACTIVE && record->state != MIGRATION_STUCK &&
	    !record->cancel_owed && !record->keys_moving)
		return true;
	assert_true(revived->count < ARRAY_SIZE(revived->records));
	revived->records[revived->count++] = *record;
	return true;
}

static bool load_vm(void *context, const void *object, Error *err)
{
	Host *host = context;

	(void)err;
	host->vm = *(const VmRecord *)object;
	host->knows_vm = true;
	return true;
}

static void recover_one(Host *host, const MigrationRecord *record)
{
	bool under_way = record->state == MIGRATION_ACTIVE || record->state == MIGRATION_STUCK;
	bool has_vm = host->knows_vm && under_way && !host_job_with_vm(host);
	Error err = ERROR_INIT;
	Migration *m = migration_new_recovered(&host->ports, record, has_vm ? &host->vm : NULL, &err);
	Job *job;

	assert_non_null(m);
	job = host_add_job(host, m, has_vm);
	host_enter(host);
	migration_recover(m);
	host_leave(host);
	host_settle(host, job);
}

static void adopt_vm(Host *host)
{
	bool had_process = host->vm.state == VM_STARTING || host->vm.state == VM_RUNNING ||
			   host->vm.state == VM_INCOMING || host->vm.state == VM_MIGRATING ||
			   host->vm.state == VM_HELD;
	Error err = ERROR_INIT;

	if (!host->knows_vm || host_job_with_vm(host) || !had_process)
		return;
	if (host->world->options.manner == MANNER_COLD && host->hv.alive)
		world_break(host->world, "RULE: a process of a stopped VM is taken for one that runs");
	if (host->hv.alive && host->hv.run_state != HV_RUNNING &&
	    (host->vm.state == VM_HELD || host->vm.state == VM_INCOMING))
		return;
	host->vm.state = host->hv.alive ? VM_RUNNING : VM_STOPPED;
	if (!host_save_vm(host, &err))
		world_trace(host->world, "   %s", err.text);
}

void host_restart(Host *host)
{
	Revived *revived = test_calloc(1, sizeof(*revived));
	Error err = ERROR_INIT;

	assert_false(host->up);
	world_trace(host->world, "   the engine of %s starts", host_word(host));
	host->up = true;
	host->disk_full_until_us = 0;
	assert_works(store_each(host->store, STORE_VMS, load_vm, host, &err), &err);
	assert_works(store_each(host->store, STORE_MIGRATIONS, collect, revived, &err), &err);
	for (size_t i = 0; i < revived->count; i++)
		recover_one(host, &revived->records[i]);
	adopt_vm(host);
	test_free(revived);
}

/* --- the hypervisor's end: src/engine/hypervisor.c --- */

void host_hypervisor_gone(Host *host, const Error *cause)
{
	Job *job = host_job_with_vm(host);
	Error err = ERROR_INIT;

	if (job) {
		host_enter(host);
		migration_on_hv_gone(job->migration, cause);
		host_leave(host);
		host_settle(host, job);
	} else if (host->knows_vm && host->vm.state != VM_MOVED) {
		host->vm.state = VM_STOPPED;
		if (!host_save_vm(host, &err))
			world_trace(host->world, "   %s", err.text);
	}
}
