/* SPDX-License-Identifier: Apache-2.0 */
/* A migration's hypervisor: operations, looks at its state, events. */
#include <event2/event.h>
#include <stdio.h>
#include <string.h>

#include "engine/cold_boot.h"
#include "engine/engine.h"
#include "engine/job_disks.h"
#include "engine/key_transfer.h"
#include "engine/sealed_disks.h"

static const char incoming_socket[] = "incoming.sock";
static const char outgoing_socket[] = "outgoing.sock";

enum { START_DEADLINE_MS = 165000 };

static const HvStatus hv_statuses[VMM_MIGRATION_STATUS_COUNT] = {
	[VMM_MIGRATION_NONE] = HV_NONE,
	[VMM_MIGRATION_SETUP] = HV_SETUP,
	[VMM_MIGRATION_ACTIVE] = HV_ACTIVE,
	[VMM_MIGRATION_PRE_SWITCHOVER] = HV_PRE_SWITCHOVER,
	[VMM_MIGRATION_DEVICE] = HV_DEVICE,
	[VMM_MIGRATION_COMPLETED] = HV_COMPLETED,
	[VMM_MIGRATION_FAILED] = HV_FAILED,
	[VMM_MIGRATION_CANCELLING] = HV_CANCELLING,
	[VMM_MIGRATION_CANCELLED] = HV_CANCELLED,
	[VMM_MIGRATION_OTHER] = HV_FAILED,
};

static HvRunState run_state_of(VmmRunState state)
{
	switch ((int)state) {
	case VMM_RUN_RUNNING:
		return HV_RUNNING;
	case VMM_RUN_PAUSED:
		return HV_PAUSED;
	case VMM_RUN_PRELAUNCH:
		return HV_PRELAUNCH;
	case VMM_RUN_INMIGRATE:
		return HV_INMIGRATE;
	case VMM_RUN_POSTMIGRATE:
		return HV_POSTMIGRATE;
	case VMM_RUN_FINISH_MIGRATE:
		return HV_FINISH_MIGRATE;
	default:
		return HV_OTHER;
	}
}

static void event_status(void *context, VmmVm *handle, VmmMigrationStatus status, VmmInstant when)
{
	Vm *vm = context;
	Job *job = vm->job;

	log_debug(vm->engine->log, "vm=%s status=%s at_us=%lld", vm->record.name,
		  vmm_migration_status_word(status), (long long)when.monotonic_us);
	if (!job || vm->handle != handle)
		return;
	if (status == VMM_MIGRATION_FAILED && fate_wait_for_mover(job))
		return;
	if (status == VMM_MIGRATION_ACTIVE && migration_record(job->migration)->role == MIGRATION_SOURCE)
		job_progress(job, true);
	migration_on_hv_status(job->migration, hv_statuses[status]);
	job_settle(job);
}

static void event_stop(void *context, VmmVm *handle, VmmInstant when)
{
	Vm *vm = context;

	log_debug(vm->engine->log, "vm=%s stopped at_us=%lld", vm->record.name,
		  (long long)when.monotonic_us);
	if (vm->job && vm->handle == handle)
		migration_on_hv_stop(vm->job->migration, when.monotonic_us);
}

static void event_resume(void *context, VmmVm *handle, VmmInstant when)
{
	Vm *vm = context;
	Job *job = vm->job;

	log_debug(vm->engine->log, "vm=%s resumed at_us=%lld", vm->record.name,
		  (long long)when.monotonic_us);
	if (!job || vm->handle != handle)
		return;
	migration_on_hv_resume(job->migration, when.monotonic_us);
	job_settle(job);
}

static void on_reconnected(void *context, VmmRunState state, const Error *err)
{
	Vm *vm = context;

	(void)state;
	if (err) {
		engine_warn(vm->engine, "VM %s: its monitor does not answer: %s", vm->record.name, err->text);
		return;
	}
	/* It may have stopped, failed or completed meanwhile. */
	if (vm->job) {
		migration_on_hv_reconnected(vm->job->migration);
		job_settle(vm->job);
	}
}

typedef struct Reconnect {
	Engine *engine;
	char uuid[LIMIT_UUID];
} Reconnect;

static void on_reconnect(evutil_socket_t fd, short what, void *context)
{
	Reconnect *reconnect = context;
	Vm *vm = vm_find_uuid(reconnect->engine, reconnect->uuid);
	Error err = ERROR_INIT;

	(void)fd;
	(void)what;
	if (vm && vm->handle && !vmm_reconnect(vm->handle, on_reconnected, vm, &err))
		log_warning(vm->engine->log, "vm=%s: %s", vm->record.name, err.text);
	free(reconnect);
}

/* Not at once: a monitor that cannot be reached would keep us busy. */
static void event_lost(void *context, VmmVm *handle, const Error *cause)
{
	const struct timeval delay = { .tv_sec = 1 };
	Vm *vm = context;
	Reconnect *reconnect = vm->handle == handle ? calloc(1, sizeof(*reconnect)) : NULL;

	engine_warn(vm->engine, "VM %s: lost its monitor: %s", vm->record.name, cause->text);
	if (!reconnect)
		return;
	reconnect->engine = vm->engine;
	snprintf(reconnect->uuid, sizeof(reconnect->uuid), "%s", vm->record.manifest.uuid);
	if (event_base_once(vm->engine->base, -1, EV_TIMEOUT, on_reconnect, reconnect, &delay))
		free(reconnect);
}

static void event_exit(void *context, VmmVm *handle, const Error *cause)
{
	Vm *vm = context;
	Job *job = vm->job;
	ApiRequest *stopping;
	Error err = ERROR_INIT;

	log_info(vm->engine->log, "vm=%s its hypervisor ended: %s", vm->record.name, cause->text);
	if (vm->handle != handle) {
		/* Of an earlier life. */
		vmm_free(handle);
		return;
	}
	/* Taken now: a reservation that is undone forgets its VM below. */
	stopping = TAKE_PTR(vm->stopping);
	vm->handle = NULL;
	vmm_free(handle);
	sealed_disks_end(vm);
	if (vm->starting)
		api_fail(TAKE_PTR(vm->starting), cause);
	if (job && !fate_keep_end(job, cause)) {
		migration_on_hv_gone(job->migration, cause);
		job_settle(job);
	} else if (!job && vm->record.state != VM_MOVED) {
		vm->record.state = VM_STOPPED;
		if (!vm_save(vm, &err))
			log_warning(vm->engine->log, "vm=%s: %s", vm->record.name, err.text);
	}
	/* Its disks are free for another start once their storage daemons have ended. */
	if (stopping && !job && vm->sealed_disks)
		vm->stopping = stopping;
	else if (stopping)
		api_return(stopping, NULL);
}

const VmmEvents vm_events = {
	.on_status = event_status,
	.on_stop = event_stop,
	.on_resume = event_resume,
	.on_lost = event_lost,
	.on_exit = event_exit,
};

/* One row an operation: what to call and what its callback reports. */
static void report(Vm *vm, HvOperation operation, const Error *err)
{
	/* The event may forget the VM. */
	Job *job = vm->job;

	if (!job)
		return;
	migration_on_hv_done(job->migration, operation, err);
	job_settle(job);
}

static void done_migrate(void *context, const Error *err)
{
	report(context, HV_MIGRATE, err);
}
static void done_stop(void *context, const Error *err)
{
	report(context, HV_STOP, err);
}
static void done_continue(void *context, const Error *err)
{
	report(context, HV_CONTINUE, err);
}
static void done_cancel(void *context, const Error *err)
{
	report(context, HV_CANCEL, err);
}
static void done_cont(void *context, const Error *err)
{
	report(context, HV_CONT, err);
}
static void done_quit(void *context, const Error *err)
{
	report(context, HV_QUIT, err);
}
static void done_announce(void *context, const Error *err)
{
	report(context, HV_ANNOUNCE, err);
}

static void done_adopt(void *context, VmmRunState state, const Error *err)
{
	Vm *vm = context;

	(void)state;
	/* So that a further try looks anew whether the process lives. */
	if (err)
		vmm_free(TAKE_PTR(vm->handle));
	report(vm, HV_ADOPT, err);
}

/* The reservation stands once the VM waits, and the guard has something to judge its stream by. */
static void report_if_prepared(Job *job)
{
	const Error why = job->twin_failure;

	if (job->hypervisor_prepared && (!job->twin || job->twin_whole) && disks_in_ready(job))
		report(job->vm, HV_PREPARE, why.category ? &why : NULL);
}

void hypervisor_on_disks(Job *job, const Error *failure)
{
	if (!job->vm)
		return;
	if (failure)
		report(job->vm, HV_PREPARE, failure);
	else
		report_if_prepared(job);
}

static void done_prepare(void *context, const VmmPrepared *prepared, const Error *err)
{
	Vm *vm = context;

	if (!vm->job)
		return;
	if (err) {
		report(vm, HV_PREPARE, err);
		return;
	}
	migration_on_populated(vm->job->migration, (uint64_t)prepared->wall_ms * 1000);
	vm->job->hypervisor_prepared = true;
	report_if_prepared(vm->job);
}

/* Where the guard only warns, a VM comes in unjudged rather than not at all. */
static bool may_do_without_twin(Job *job, const Error *why)
{
	Engine *engine = job->engine;

	if (engine->config.policy.guard != MOVER_GUARD_WARN)
		return false;
	engine_warn(engine, "VM %s comes in WITHOUT A GUARD: %.300s", job->vm->record.name, why->text);
	vmm_twin_free(TAKE_PTR(job->twin));
	return true;
}

static void done_twin(void *context, VmmTwin *twin, const Error *err)
{
	Job *job = context;
	const Error why = err ? *err : ERROR_INIT;

	if (!job->vm)
		return;
	if (!err && twin->not_kept.category)
		log_warning(job->engine->log, "the twin was not kept: %s", twin->not_kept.text);
	job->twin_whole = !err;
	if (!err || may_do_without_twin(job, &why)) {
		log_debug(job->engine->log, "vm=%s twin cached=%d", job->vm->record.name,
			  !err && twin->cached);
		report_if_prepared(job);
		return;
	}
	/* What the VM itself cannot do, its twin cannot either: the VM's word is the better one. */
	vmm_twin_free(TAKE_PTR(job->twin));
	job->twin_failure = why;
	report_if_prepared(job);
}

/* Our hypervisor listens: each connection goes to the mover, main first. */
static void done_listen(void *context, const Error *err)
{
	Vm *vm = context;
	Job *job = vm->job;
	Error failure = ERROR_INIT;

	if (!job)
		return;
	for (uint64_t i = 0; !err && i < migration_record(job->migration)->channels; i++) {
		int fd;

		if (!vm->handle || !vmm_connect(vm->handle, incoming_socket, &fd, &failure)) {
			err = &failure;
			break;
		}
		job_give_local(job, fd);
	}
	if (!err && !disks_in_connect(job, &failure))
		err = &failure;
	report(vm, HV_LISTEN, err);
}

static unsigned int multifd_channels(const Migration *m)
{
	return (unsigned int)migration_record(m)->channels - 1;
}

static bool prepare(Job *job, Error *err)
{
	Engine *engine = job->engine;
	char domain[LIMIT_DOMAIN];
	VmmStart start = { .resources = &engine->config.resources,
			   .instance = job->vm->record.instance,
			   .deadline_ms = START_DEADLINE_MS };

	/* Kept until the disks that come late are open. */
	job->incoming = calloc(1, sizeof(*job->incoming));
	if (!job->incoming)
		return error_set(err, ERROR_INTERNAL, "no memory for a VM");
	*job->incoming = RESOLVED_VM_INIT;
	start.vm = job->incoming;
	peer_domain(migration_record(job->migration)->peer_id, domain);
	/* The peer's words, which have been judged; the row has not yet what is made here. */
	if (!resources_resolve(start.resources, &migration_vm(job->migration)->manifest, domain, NULL,
			       job->incoming, err))
		return false;
	disks_in_forget_keys(&job->incoming->manifest);
	key_transfer_mark_late(job->incoming);
	job->vm->handle = vmm_prepare_incoming(&vmm_driver_qemu, engine->base, &start, &vm_events, job->vm,
					       done_prepare, job->vm, err);
	if (!job->vm->handle)
		return false;
	/* Beside it, so that it takes time only where nothing is cached and no memory populated. */
	job->twin = vmm_twin_new(&vmm_driver_qemu, engine->base, &start, done_twin, job, err);
	return (job->twin || may_do_without_twin(job, err)) && disks_in_prepare(job, err);
}

static bool migrate(Job *job, Error *err)
{
	VmmVm *handle = job->vm->handle;
	VmmMigrateOut out = { .socket = outgoing_socket,
			      .channels = multifd_channels(job->migration),
			      .max_downtime_ms = migration_options(job->migration)->max_downtime_ms };
	int fd;

	/* The mover holds the bandwidth; a second limit inside would only disturb its pace. */
	if (!vmm_listen(handle, outgoing_socket, &fd, err))
		return false;
	job_watch_listener(job, fd);
	return vmm_migrate_out(handle, &out, done_migrate, job->vm, err);
}

static bool adopt(Job *job, Error *err)
{
	Vm *vm = job->vm;

	if (vm->handle) {
		job_defer_hv_done(job, HV_ADOPT, NULL);
		return true;
	}
	if (!vm->record.instance[0])
		return error_set(err, ERROR_NOT_FOUND, "the VM has no process here");
	vm->handle = vmm_adopt(&vmm_driver_qemu, vm->engine->base, &vm->engine->config.resources,
			       vm->record.instance, &vm_events, vm, done_adopt, vm, err);
	return vm->handle;
}

static void adopted_to_kill(void *context, VmmRunState state, const Error *err)
{
	Vm *vm = context;
	Error ignored = ERROR_INIT;

	(void)state;
	(void)err;
	if (vm->handle && !vmm_kill(vm->handle, &ignored))
		log_warning(vm->engine->log, "vm=%s: %s", vm->record.name, ignored.text);
}

/* Answered by on_hv_gone; at once if there is nothing to kill. */
static bool kill_hypervisor(Job *job, Error *err)
{
	Vm *vm = job->vm;
	Error not_there = ERROR_INIT;

	vmm_twin_free(TAKE_PTR(job->twin));
	cold_boot_forget(job);
	disks_in_undo(job);
	if (vm && vm->handle)
		return vmm_kill(vm->handle, err);
	if (vm && vm->record.instance[0])
		vm->handle = vmm_adopt(&vmm_driver_qemu, vm->engine->base, &vm->engine->config.resources,
				       vm->record.instance, &vm_events, vm, adopted_to_kill, vm,
				       &not_there);
	if (vm && !vm->handle && not_there.category && not_there.category != ERROR_NOT_FOUND) {
		*err = not_there;
		return false;
	}
	if (!vm || !vm->handle)
		job_defer_hv_done(job, HV_KILL, NULL);
	return true;
}

static bool operate(Job *job, HvOperation operation, Error *err)
{
	VmmVm *handle = job->vm ? job->vm->handle : NULL;

	if (operation == HV_KILL)
		return kill_hypervisor(job, err);
	if (!job->vm)
		return error_set(err, ERROR_NOT_FOUND, "there is no such VM here");
	if (operation == HV_PREPARE)
		return prepare(job, err);
	if (operation == HV_BOOT)
		return cold_boot(job, err);
	if (operation == HV_ADOPT)
		return adopt(job, err);
	if (!handle)
		return error_set(err, ERROR_HYPERVISOR, "the VM has no process");
	switch ((int)operation) {
	case HV_OPEN_DISKS:
		return key_transfer_open_disks(job, err);
	case HV_ATTACH:
		return disks_in_attach(job, err);
	case HV_MIRROR:
		return disks_out_mirror(job, err);
	case HV_DETACH:
		return disks_out_detach(job, err);
	case HV_UNMIRROR:
		return disks_out_unmirror(job, err);
	case HV_LISTEN:
		job->channels_given = 0;
		return vmm_incoming_listen(handle, incoming_socket, multifd_channels(job->migration),
					   done_listen, job->vm, err);
	case HV_STOP:
		return vmm_stop(handle, done_stop, job->vm, err);
	case HV_MIGRATE:
		return migrate(job, err);
	case HV_CONTINUE:
		return vmm_continue_switchover(handle, done_continue, job->vm, err);
	case HV_CANCEL:
		return vmm_cancel(handle, done_cancel, job->vm, err);
	case HV_CONT:
		/* No step asks for it; were one to, the VM would run where nobody started it. */
		if (migration_record(job->migration)->manner == MANNER_COLD)
			return error_set(err, ERROR_INTERNAL, "a VM that is moved cold does not run");
		return vmm_cont(handle, done_cont, job->vm, err);
	case HV_QUIT:
		return vmm_quit(handle, done_quit, job->vm, err);
	default:
		return vmm_announce_self(handle, done_announce, job->vm, err);
	}
}

void hypervisor_operate(void *context, Migration *m, HvOperation operation)
{
	Job *job = job_of(m, context);
	Error err = ERROR_INIT;

	if (!operate(job, operation, &err))
		job_defer_hv_done(job, operation, &err);
}

/* Both looks, one after the other: the run state is asked once the migration's state is known. */
typedef struct Look {
	Vm *vm;
	HvState state;
} Look;

static void look_ends(Look *look, const Error *err)
{
	Job *job = look->vm->job;

	if (job) {
		migration_on_hv_state(job->migration, &look->state, err);
		job_settle(job);
	}
	free(look);
}

static void on_run_state(void *context, VmmRunState state, const Error *err)
{
	Look *look = context;

	look->state.run_state = run_state_of(state);
	look_ends(look, err);
}

static void on_migration_state(void *context, const VmmMigration *migration, const Error *err)
{
	Look *look = context;
	Error failure = ERROR_INIT;

	if (err) {
		look_ends(look, err);
		return;
	}
	look->state.status = hv_statuses[migration->status];
	if (!look->vm->handle)
		error_set(&failure, ERROR_HYPERVISOR, "the VM has no process");
	else if (vmm_query_run_state(look->vm->handle, on_run_state, look, &failure))
		return;
	look_ends(look, &failure);
}

typedef struct LateLook {
	Engine *engine;
	uint64_t serial;
	Error err;
} LateLook;

static void on_late_look(evutil_socket_t fd, short what, void *context)
{
	LateLook *late = context;
	Job *job = job_find(late->engine, late->serial);
	const HvState unknown = { 0 };

	(void)fd;
	(void)what;
	if (job) {
		migration_on_hv_state(job->migration, &unknown, &late->err);
		job_settle(job);
	}
	free(late);
}

void hypervisor_query(void *context, Migration *m)
{
	Job *job = job_of(m, context);
	Look *look = calloc(1, sizeof(*look));
	LateLook *late;
	Error err = ERROR_INIT;

	if (look && job->vm && job->vm->handle) {
		look->vm = job->vm;
		if (vmm_query_migration(job->vm->handle, on_migration_state, look, &err))
			return;
	} else {
		error_set(&err, ERROR_HYPERVISOR, "the VM has no process");
	}
	free(look);
	late = calloc(1, sizeof(*late));
	if (!late)
		return;
	late->engine = context;
	late->serial = job->serial;
	late->err = err;
	if (event_base_once(job->engine->base, -1, EV_TIMEOUT, on_late_look, late, NULL))
		free(late);
}
