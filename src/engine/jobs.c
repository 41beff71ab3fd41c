/* SPDX-License-Identifier: Apache-2.0 */
/* A migration's surroundings: timers, mover, the sockets of its hypervisor. */
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "engine/engine.h"
#include "engine/job_disks.h"
#include "migration/violation.h"

enum { PROGRESS_US = 250000 };

/* --- timers --- */

static void on_deadline(evutil_socket_t fd, short what, void *context)
{
	Job *job = context;

	(void)fd;
	(void)what;
	migration_on_deadline(job->migration);
	job_settle(job);
}

static void on_tick(evutil_socket_t fd, short what, void *context)
{
	Job *job = context;

	(void)fd;
	(void)what;
	migration_on_tick(job->migration);
	job_settle(job);
}

static void on_progress_answer(void *context, const VmmMigration *answer, const Error *err)
{
	Vm *vm = context;
	HvProgress progress = { 0 };

	if (err || !vm->job || answer->status != VMM_MIGRATION_ACTIVE)
		return;
	progress.total_bytes = answer->ram_total_bytes;
	progress.transferred_bytes = answer->ram_transferred_bytes;
	progress.remaining_bytes = answer->ram_remaining_bytes;
	progress.iteration = answer->iteration;
	progress.dirty_bytes_s = answer->dirty_pages_s * answer->page_size_bytes;
	progress.expected_downtime_ms = answer->expected_downtime_ms;
	progress.max_downtime_ms = migration_options(vm->job->migration)->max_downtime_ms;
	migration_on_hv_progress(vm->job->migration, &progress);
}

static void on_progress(evutil_socket_t fd, short what, void *context)
{
	Job *job = context;
	Error ignored = ERROR_INIT;

	(void)fd;
	(void)what;
	/* A look that fails is made again; what is really wrong shows elsewhere. */
	if (job->vm && job->vm->handle &&
	    !vmm_query_migration(job->vm->handle, on_progress_answer, job->vm, &ignored))
		log_debug(job->engine->log, "progress: %s", ignored.text);
	if (job->vm && job->vm->handle)
		disks_out_look(job);
	if (job->mover && !child_send(job->mover, MOVER_QUERY, 0, NULL, NULL, NULL, 0, &ignored))
		log_debug(job->engine->log, "progress: %s", ignored.text);
}

void job_progress(Job *job, bool on)
{
	const struct timeval interval = { .tv_usec = PROGRESS_US };

	if (on)
		event_add(job->progress, &interval);
	else
		event_del(job->progress);
}

/* --- life --- */

Job *job_new(Engine *engine, Migration *migration, Vm *vm)
{
	Job *job = calloc(1, sizeof(*job));

	if (!job)
		return NULL;
	job->engine = engine;
	job->serial = ++engine->next_serial;
	job->listen_fd = -1;
	job->deadline = evtimer_new(engine->base, on_deadline, job);
	job->tick = evtimer_new(engine->base, on_tick, job);
	job->progress = event_new(engine->base, -1, EV_PERSIST, on_progress, job);
	LIST_INSERT_HEAD(&engine->jobs, job, link);
	if (!job->deadline || !job->tick || !job->progress) {
		job_free(job);
		return NULL;
	}
	job->migration = migration;
	job->vm = vm;
	if (vm)
		vm->job = job;
	return job;
}

void job_free(Job *job)
{
	if (job->connection)
		connection_close(job->engine, job->connection);
	if (job->vm)
		job->vm->job = NULL;
	child_free(job->mover);
	vmm_twin_free(job->twin);
	disks_in_free(job);
	disks_out_free(job);
	if (job->incoming)
		resolved_vm_close(job->incoming);
	free(job->incoming);
	if (job->listen_event)
		event_free(job->listen_event);
	cleanup_fd(&job->listen_fd);
	if (job->deadline)
		event_free(job->deadline);
	if (job->tick)
		event_free(job->tick);
	if (job->progress)
		event_free(job->progress);
	fate_free(job);
	if (job->migration)
		violations_close(job);
	migration_free(job->migration);
	LIST_REMOVE(job, link);
	free(job);
}

Job *job_find(Engine *engine, uint64_t serial)
{
	Job *job;

	LIST_FOREACH(job, &engine->jobs, link)
		if (job->serial == serial)
			return job;
	return NULL;
}

Job *job_of_migration(Engine *engine, const uint8_t id[MIGRATION_ID_BYTES])
{
	Job *job;

	LIST_FOREACH(job, &engine->jobs, link)
		if (!memcmp(migration_record(job->migration)->id, id, MIGRATION_ID_BYTES))
			return job;
	return NULL;
}

Job *job_of(const Migration *m, Engine *engine)
{
	Job *job;

	LIST_FOREACH(job, &engine->jobs, link)
		if (job->migration == m)
			return job;
	return NULL;
}

typedef struct Settle {
	Engine *engine;
	uint64_t serial;
} Settle;

static void on_settle(evutil_socket_t fd, short what, void *context)
{
	Settle *settle = context;
	Job *job = job_find(settle->engine, settle->serial);

	(void)fd;
	(void)what;
	if (job)
		job_free(job);
	free(settle);
}

/* From the loop, not here: the caller may stand inside an event of this very job. */
void job_settle(Job *job)
{
	MigrationState state = migration_record(job->migration)->state;
	Settle *settle;

	/* Decided: what is left is words owed to the peer, and the VM is free to move again. */
	if (state != MIGRATION_ACTIVE && state != MIGRATION_STUCK && job->vm) {
		job->vm->job = NULL;
		job->vm = NULL;
	}
	if (!migration_ended(job->migration))
		return;
	settle = calloc(1, sizeof(*settle));
	if (!settle)
		return;
	settle->engine = job->engine;
	settle->serial = job->serial;
	if (event_base_once(job->engine->base, -1, EV_TIMEOUT, on_settle, settle, NULL))
		free(settle);
}

typedef struct Deferred {
	Engine *engine;
	uint64_t serial;
	HvOperation operation;
	bool failed;
	Error failure;
} Deferred;

static void on_deferred(evutil_socket_t fd, short what, void *context)
{
	Deferred *deferred = context;
	Job *job = job_find(deferred->engine, deferred->serial);

	(void)fd;
	(void)what;
	if (job) {
		migration_on_hv_done(job->migration, deferred->operation,
				     deferred->failed ? &deferred->failure : NULL);
		job_settle(job);
	}
	free(deferred);
}

void job_defer_hv_done(Job *job, HvOperation operation, const Error *failure)
{
	Deferred *deferred = calloc(1, sizeof(*deferred));

	if (!deferred)
		return;
	deferred->engine = job->engine;
	deferred->serial = job->serial;
	deferred->operation = operation;
	deferred->failed = failure != NULL;
	if (failure)
		deferred->failure = *failure;
	if (event_base_once(job->engine->base, -1, EV_TIMEOUT, on_deferred, deferred, NULL))
		free(deferred);
}

/* --- the hypervisor's sockets --- */

static void give_local(Job *job, uint64_t channel, int fd)
{
	AUTO_FD int owned = fd;
	Error err = ERROR_INIT;
	int flags = fcntl(owned, F_GETFL);

	if (!job->mover)
		return;
	if (flags < 0 || fcntl(owned, F_SETFL, flags & ~O_NONBLOCK))
		error_set_errno(&err, ERROR_IO, errno, "hypervisor's socket");
	else if (child_send(job->mover, MOVER_LOCAL, channel, NULL, NULL, &owned, 1, &err))
		return;
	migration_on_mover_failed(job->migration, &err);
	job_settle(job);
}

void job_give_local(Job *job, int fd)
{
	AUTO_FD int owned = fd;
	uint64_t channel = job->channels_given++;

	if (channel < migration_record(job->migration)->channels)
		give_local(job, channel, TAKE_FD(owned));
}

void job_give_disk(Job *job, size_t disk, int fd)
{
	AUTO_FD int owned = fd;

	if (disk < migration_disk_channels(job->migration))
		give_local(job, LIMIT_STREAM_CHANNELS + disk, TAKE_FD(owned));
}

static void on_hypervisor_connects(evutil_socket_t listen_fd, short what, void *context)
{
	Job *job = context;
	int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);

	(void)what;
	if (fd < 0)
		return;
	/* QEMU opens main first, then multifd: the order is the name. */
	job_give_local(job, fd);
	if (job->channels_given >= migration_record(job->migration)->channels) {
		event_free(job->listen_event);
		job->listen_event = NULL;
		cleanup_fd(&job->listen_fd);
		job->listen_fd = -1;
	}
}

void job_watch_listener(Job *job, int fd)
{
	job->listen_fd = fd;
	job->channels_given = 0;
	job->listen_event =
		event_new(job->engine->base, fd, EV_READ | EV_PERSIST, on_hypervisor_connects, job);
	if (job->listen_event)
		event_add(job->listen_event, NULL);
}

/* --- mover --- */

static void on_mover_failed(Job *job, uint64_t subject, const RoleFailure *failure)
{
	/* A mover that only warns where it must not has failed. */
	bool warns = (subject & VIOLATION_WARNED) && job->engine->config.policy.guard == MOVER_GUARD_WARN;
	Error err = ERROR_INIT;

	/* Copied: the message goes with the mover. */
	error_set(&err, (ErrorCategory)failure->category, "%s", failure->text);
	if (warns) {
		migration_on_guard_warning(job->migration);
		violations_note(job, subject, warns, err.text);
		return;
	}
	/* That QEMU hung up says no more than QEMU did. */
	if (err.category == ERROR_HYPERVISOR)
		fate_tell(job);
	if (subject & VIOLATION_REFUSED)
		migration_on_guard_refusal(job->migration, &err);
	else
		migration_on_mover_failed(job->migration, &err);
	fate_tell(job);
	/* Behind the refusal: the peer need not wait for our disk to hear its reason. */
	if (subject & (VIOLATION_REFUSED | VIOLATION_WARNED))
		violations_note(job, subject, warns, err.text);
}

static void on_mover_message(void *context, Child *child, IpcMessage *message)
{
	Job *job = context;

	(void)child;
	switch (message->type) {
	case ROLE_READY:
		migration_on_mover_ready(job->migration);
		break;
	case MOVER_PROVEN:
		migration_on_mover_proven(job->migration, message->subject);
		break;
	case MOVER_STATS:
		migration_on_mover_stats(job->migration, message->payload, false);
		fate_on_mover_answer(job, message->subject);
		break;
	case MOVER_DONE:
		migration_on_mover_stats(job->migration, message->payload, true);
		break;
	case ROLE_FAILED:
		on_mover_failed(job, message->subject, message->payload);
		break;
	default:
		break;
	}
	job_settle(job);
}

static void on_mover_gone(void *context, Child *child, const Error *cause)
{
	Job *job = context;

	child_free(child);
	job->mover = NULL;
	migration_on_mover_failed(job->migration, cause);
	fate_tell(job);
	job_settle(job);
}

bool job_start_mover(Job *job, uint64_t channels, Error *err)
{
	static const ChildEvents events = { on_mover_message, on_mover_gone };
	const Config *config = &job->engine->config;
	char path[LIMIT_PATH + 32], count[24], disks[24];
	const char *arguments[8] = { "--channels", count, "--disks", disks };
	ChildSpec spec = { .path = path, .args = arguments, .rules = engine_mover_rules };

	snprintf(path, sizeof(path), "%s/sealift-mover", config->libexec_directory);
	snprintf(count, sizeof(count), "%llu", (unsigned long long)channels);
	snprintf(disks, sizeof(disks), "%zu", migration_disk_channels(job->migration));
	if (config->mover_user[0] && !geteuid()) {
		arguments[4] = "--user";
		arguments[5] = config->mover_user;
	}
	job->mover = child_new(job->engine->base, &spec, &events, job, err);
	return job->mover;
}
