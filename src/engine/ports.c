/* SPDX-License-Identifier: Apache-2.0 */
/* The table through which a migration acts (migration/migration.h), on the real world. */
#include <event2/event.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysinfo.h>

#include "base/file.h"
#include "engine/engine.h"

static const char incoming_socket[] = "incoming.sock";
static const char outgoing_socket[] = "outgoing.sock";

enum { START_DEADLINE_MS = 165000 };

static Job *job_for(void *context, const Migration *m)
{
	return job_of(m, context);
}

/* --- peer --- */

static void port_dial(void *context, Migration *m)
{
	Engine *engine = context;
	Job *job = job_for(context, m);
	const MigrationRecord *record = migration_record(m);
	GateDial dial;
	Error err = ERROR_INIT;

	memset(&dial, 0, sizeof(dial));
	snprintf(dial.address, sizeof(dial.address), "%s", record->peer_address);
	dial.port = record->peer_port;
	snprintf(dial.peer_id, sizeof(dial.peer_id), "%s", record->peer_id);
	job->dialled = ++engine->next_number;
	/* Without a gate the next tick or the step's deadline answers. */
	if (engine->gate && !child_send(engine->gate, GATE_DIAL, job->dialled, &gate_dial_schema, &dial,
					NULL, 0, &err))
		log_warning(engine->log, "gate: %s", err.text);
}

static bool port_send(void *context, Migration *m, const PeerMessage *message, Error *err)
{
	Job *job = job_for(context, m);

	if (!job->connection)
		return error_set(err, ERROR_UNAVAILABLE, "no connection to the peer");
	return connection_send(context, job->connection, message, err);
}

static void port_hang_up(void *context, Migration *m)
{
	Job *job = job_for(context, m);

	job->dialled = 0;
	if (job->connection)
		connection_close(context, job->connection);
}

static void port_export(void *context, Migration *m)
{
	Engine *engine = context;
	Job *job = job_for(context, m);
	GateContext request;
	Error err = ERROR_INIT;

	memcpy(request.migration, migration_record(m)->id, sizeof(request.migration));
	if (engine->gate && job->connection &&
	    !child_send(engine->gate, GATE_EXPORT, job->connection->number, &gate_context_schema,
			&request, NULL, 0, &err))
		log_warning(engine->log, "gate: %s", err.text);
}

/* --- notary --- */

typedef struct NotaryFailure {
	Engine *engine;
	uint64_t serial;
	Error err;
} NotaryFailure;

static void on_notary_failure(evutil_socket_t fd, short what, void *context)
{
	NotaryFailure *failure = context;
	Job *job = job_find(failure->engine, failure->serial);

	(void)fd;
	(void)what;
	if (job) {
		migration_on_notary_failed(job->migration, &failure->err);
		job_settle(job);
	}
	free(failure);
}

static void fail_later(Job *job, const Error *err)
{
	NotaryFailure *failure = calloc(1, sizeof(*failure));

	if (!failure)
		return;
	failure->engine = job->engine;
	failure->serial = job->serial;
	failure->err = *err;
	if (event_base_once(job->engine->base, -1, EV_TIMEOUT, on_notary_failure, failure, NULL))
		free(failure);
}

static void ask_notary(Job *job, Child *notary, uint16_t type, const Schema *schema,
		       const void *payload)
{
	Request *request = notary ? request_new(job->engine, job) : NULL;
	Error err = ERROR_INIT;

	if (request && child_send(notary, type, request->number, schema, payload, NULL, 0, &err))
		return;
	if (request)
		request_free(request);
	else
		error_set(&err, ERROR_UNAVAILABLE, "the notary is being restarted");
	fail_later(job, &err);
}

static void port_sign(void *context, Migration *m, const Statement *statement)
{
	Engine *engine = context;
	RoleStatement *request = calloc(1, sizeof(*request));

	if (!request)
		return;
	request->kind = statement->kind;
	request->statement = *statement;
	ask_notary(job_for(context, m), engine->signer, NOTARY_SIGN, &role_statement_schema, request);
	free(request);
}

static void port_verify(void *context, Migration *m, const NotaryVerify *request)
{
	Engine *engine = context;

	ask_notary(job_for(context, m), engine->verifier, NOTARY_VERIFY, &notary_verify_schema, request);
}

/* --- mover --- */

static void port_mover_start(void *context, Migration *m, uint64_t channels)
{
	Job *job = job_for(context, m);
	Error err = ERROR_INIT;

	if (!job_start_mover(job, channels, &err)) {
		error_prefix(&err, "mover");
		fail_later(job, &err);
	}
}

static bool port_mover_setup(void *context, Migration *m, const MoverSetup *setup, Error *err)
{
	Job *job = job_for(context, m);

	return job->mover ? child_send(job->mover, MOVER_SETUP, 0, &mover_setup_schema, setup, NULL, 0,
				       err) :
			    error_set(err, ERROR_INTERNAL, "the mover is gone");
}

static void port_mover_stop(void *context, Migration *m)
{
	Job *job = job_for(context, m);

	child_free(TAKE_PTR(job->mover));
	if (job->listen_event)
		event_free(job->listen_event);
	job->listen_event = NULL;
	cleanup_fd(&job->listen_fd);
	job->listen_fd = -1;
	job_progress(job, false);
}

static void port_open_channels(void *context, Migration *m, const RolePreamble *first,
			       uint64_t channels)
{
	Engine *engine = context;
	Job *job = job_for(context, m);
	GateAddress address;
	Error err = ERROR_INIT;

	memset(&address, 0, sizeof(address));
	snprintf(address.address, sizeof(address.address), "%s", migration_record(m)->peer_address);
	address.port = migration_record(m)->peer_port;
	job->preamble = *first;
	for (uint64_t i = 0; i < channels; i++) {
		Request *request = request_new(engine, job);

		if (!request || !engine->gate) {
			error_set(&err, ERROR_UNAVAILABLE, "the gate is being restarted");
			fail_later(job, &err);
			return;
		}
		request->channel = i + 1;
		if (!child_send(engine->gate, GATE_DIAL_CHANNEL, request->number, &gate_address_schema,
				&address, NULL, 0, &err)) {
			fail_later(job, &err);
			return;
		}
	}
}

/* --- hypervisor --- */

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

	(void)handle;
	log_debug(vm->engine->log, "vm=%s status=%s at_us=%lld", vm->record.name,
		  vmm_migration_status_word(status), (long long)when.monotonic_us);
	if (!vm->job)
		return;
	if (status == VMM_MIGRATION_ACTIVE && migration_record(vm->job->migration)->role == MIGRATION_SOURCE)
		job_progress(vm->job, true);
	migration_on_hv_status(vm->job->migration, hv_statuses[status]);
	job_settle(vm->job);
}

static void event_stop(void *context, VmmVm *handle, VmmInstant when)
{
	Vm *vm = context;

	(void)handle;
	log_debug(vm->engine->log, "vm=%s stopped at_us=%lld", vm->record.name,
		  (long long)when.monotonic_us);
	if (vm->job)
		migration_on_hv_stop(vm->job->migration, when.monotonic_us);
}

static void event_resume(void *context, VmmVm *handle, VmmInstant when)
{
	Vm *vm = context;

	(void)handle;
	log_debug(vm->engine->log, "vm=%s resumed at_us=%lld", vm->record.name,
		  (long long)when.monotonic_us);
	if (!vm->job)
		return;
	migration_on_hv_resume(vm->job->migration, when.monotonic_us);
	job_settle(vm->job);
}

static void on_reconnected(void *context, VmmRunState state, const Error *err)
{
	Vm *vm = context;

	(void)state;
	if (err)
		engine_warn(vm->engine, "VM %s: its monitor does not answer: %s", vm->record.name, err->text);
}

static void event_lost(void *context, VmmVm *handle, const Error *cause)
{
	Vm *vm = context;
	Error err = ERROR_INIT;

	engine_warn(vm->engine, "VM %s: lost its monitor: %s", vm->record.name, cause->text);
	if (!vmm_reconnect(handle, on_reconnected, vm, &err))
		engine_warn(vm->engine, "VM %s: %s", vm->record.name, err.text);
}

static void event_exit(void *context, VmmVm *handle, const Error *cause)
{
	Vm *vm = context;
	Job *job = vm->job;
	Error err = ERROR_INIT;

	log_info(vm->engine->log, "vm=%s its hypervisor ended: %s", vm->record.name, cause->text);
	vm->handle = NULL;
	vmm_free(handle);
	if (vm->starting)
		api_fail(TAKE_PTR(vm->starting), cause);
	if (job) {
		migration_on_hv_gone(job->migration, cause);
		job_settle(job);
	} else if (vm->record.state != VM_MOVED) {
		vm->record.state = VM_STOPPED;
		if (!vm_save(vm, &err))
			log_warning(vm->engine->log, "vm=%s: %s", vm->record.name, err.text);
	}
	if (vm->stopping)
		api_return(TAKE_PTR(vm->stopping), NULL);
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
	if (!vm->job)
		return;
	migration_on_hv_done(vm->job->migration, operation, err);
	job_settle(vm->job);
}

static void done_migrate(void *context, const Error *err)
{
	report(context, HV_MIGRATE, err);
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
	(void)state;
	report(context, HV_ADOPT, err);
}

static void done_prepare(void *context, const VmmPrepared *prepared, const Error *err)
{
	Vm *vm = context;

	if (!vm->job)
		return;
	if (!err)
		migration_on_populated(vm->job->migration, (uint64_t)prepared->wall_ms * 1000);
	report(vm, HV_PREPARE, err);
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
	report(vm, HV_LISTEN, err);
}

static unsigned int multifd_channels(const Migration *m)
{
	return (unsigned int)migration_record(m)->channels - 1;
}

static const char *domain_of(const char *spiffe_id, char domain[LIMIT_DOMAIN])
{
	const char *from = spiffe_id + strlen("spiffe://");
	const char *slash = strchr(from, '/');

	snprintf(domain, LIMIT_DOMAIN, "%.*s", slash ? (int)(slash - from) : 0, from);
	return domain;
}

static bool prepare(Job *job, Error *err)
{
	Engine *engine = job->engine;
	char domain[LIMIT_DOMAIN];
	AUTO_RESOLVED_VM ResolvedVm resolved = RESOLVED_VM_INIT;
	VmmStart start = { .resources = &engine->config.resources,
			   .instance = job->vm->record.instance,
			   .vm = &resolved,
			   .deadline_ms = START_DEADLINE_MS };

	domain_of(migration_record(job->migration)->peer_id, domain);
	if (!resources_resolve(start.resources, &job->vm->record.manifest, domain, NULL, &resolved, err))
		return false;
	job->vm->handle = vmm_prepare_incoming(&vmm_driver_qemu, engine->base, &start, &vm_events, job->vm,
					       done_prepare, job->vm, err);
	return job->vm->handle;
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

	if (vm && vm->handle)
		return vmm_kill(vm->handle, err);
	if (vm && vm->record.instance[0])
		vm->handle = vmm_adopt(&vmm_driver_qemu, vm->engine->base, &vm->engine->config.resources,
				       vm->record.instance, &vm_events, vm, adopted_to_kill, vm,
				       &not_there);
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
	if (operation == HV_ADOPT)
		return adopt(job, err);
	if (!handle)
		return error_set(err, ERROR_HYPERVISOR, "the VM has no process");
	switch ((int)operation) {
	case HV_LISTEN:
		job->channels_given = 0;
		return vmm_incoming_listen(handle, incoming_socket, multifd_channels(job->migration),
					   done_listen, job->vm, err);
	case HV_MIGRATE:
		return migrate(job, err);
	case HV_CONTINUE:
		return vmm_continue_switchover(handle, done_continue, job->vm, err);
	case HV_CANCEL:
		return vmm_cancel(handle, done_cancel, job->vm, err);
	case HV_CONT:
		return vmm_cont(handle, done_cont, job->vm, err);
	case HV_QUIT:
		return vmm_quit(handle, done_quit, job->vm, err);
	default:
		return vmm_announce_self(handle, done_announce, job->vm, err);
	}
}

static void port_hv(void *context, Migration *m, HvOperation operation)
{
	Job *job = job_for(context, m);
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

static void port_hv_query(void *context, Migration *m)
{
	Job *job = job_for(context, m);
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

/* --- the rest --- */

static void arm(struct event *timer, uint64_t ms)
{
	const struct timeval delay = { .tv_sec = (time_t)(ms / 1000),
				       .tv_usec = (suseconds_t)(ms % 1000) * 1000 };

	if (ms)
		evtimer_add(timer, &delay);
	else
		evtimer_del(timer);
}

/* A migration enters its first step before its job exists; its deadline then begins with the job. */
static void port_set_deadline(void *context, Migration *m, uint64_t ms)
{
	Job *job = job_for(context, m);

	if (job)
		arm(job->deadline, ms);
}

static void port_set_tick(void *context, Migration *m, uint64_t ms)
{
	Job *job = job_for(context, m);

	if (job)
		arm(job->tick, ms);
}

static bool port_check_manifest(void *context, Migration *m, const Manifest *manifest, Error *err)
{
	Engine *engine = context;
	char domain[LIMIT_DOMAIN];
	AUTO_RESOLVED_VM ResolvedVm resolved = RESOLVED_VM_INIT;

	return resources_resolve(&engine->config.resources, manifest,
				 domain_of(migration_record(m)->peer_id, domain), NULL, &resolved, err);
}

/* MemAvailable of /proc/meminfo, which counts what the kernel can free. */
static uint64_t port_free_memory(void *context)
{
	AUTO_FILE FILE *file = fopen("/proc/meminfo", "re");
	char line[128];
	unsigned long long kib;

	(void)context;
	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "MemAvailable: %llu kB", &kib) == 1)
			return (uint64_t)kib << 10;
	return 0;
}

static bool take_incoming(Engine *engine, Job *job, Error *err)
{
	const VmRecord *wanted = migration_vm(job->migration);
	Vm *vm = vm_find(engine, wanted->manifest.uuid);
	VmRecord record = *wanted;

	if (vm) {
		record.seen_epoch = vm->record.epoch;
		vm->record = record;
	} else {
		vm = vm_add(engine, &record, err);
	}
	if (!vm)
		return false;
	vm_new_instance(&vm->record);
	job->vm = vm;
	vm->job = job;
	return vm_save(vm, err);
}

/* A reservation that is undone leaves nothing, or what was known of an earlier stay. */
static bool drop_incoming(Job *job, Error *err)
{
	Vm *vm = job->vm;

	if (!vm)
		return true;
	if (vm->record.seen_epoch) {
		vm->record.state = VM_MOVED;
		vm->record.epoch = vm->record.seen_epoch;
		vm->record.seen_epoch = 0;
		vm->record.instance[0] = '\0';
		return vm_save(vm, err);
	}
	job->vm = NULL;
	vm->job = NULL;
	return store_delete(job->engine->store, STORE_VMS, vm->record.manifest.uuid, err) ?
		       (vm_forget(vm), true) :
		       (vm_forget(vm), false);
}

static bool port_vm_changed(void *context, Migration *m, VmState state, Error *err)
{
	Job *job = job_for(context, m);
	bool incoming = migration_record(m)->role == MIGRATION_DESTINATION;

	if (incoming && state == VM_INCOMING)
		return take_incoming(context, job, err);
	if (!job->vm)
		return true;
	if (incoming && state == VM_FAILED)
		return drop_incoming(job, err);
	job->vm->record.state = state;
	if (incoming)
		job->vm->record.seen_epoch = 0;
	if (state == VM_MOVED) {
		job->vm->record.epoch = migration_record(m)->epoch;
		job->vm->record.instance[0] = '\0';
	}
	api_event(context, "vm", view_vm(job->vm));
	return vm_save(job->vm, err);
}

static void port_notify(void *context, Migration *m)
{
	Engine *engine = context;
	const MigrationRecord *record = migration_record(m);

	log_debug(engine->log, "step=%s at_us=%lld", migration_step_name(m),
		  (long long)clock_monotonic_us(&clock_system));

	if (record->state != MIGRATION_ACTIVE || record->phase != PHASE_TRANSFER) {
		Job *job = job_for(context, m);

		if (job)
			job_progress(job, false);
	}
	api_event(context, "migration", view_migration(record, m));
}

static void port_log(void *context, Migration *m, bool warning, const char *text)
{
	Engine *engine = context;
	const MigrationRecord *record = migration_record(m);
	char id[2 * MIGRATION_ID_BYTES + 1];

	hex_encode(record->id, sizeof(record->id), id);
	log_write(engine->log, warning ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO,
		  "%s migration=%.12s role=%s phase=%s step=%s peer=%s", text, id,
		  migration_role_words[record->role], migration_phase_words[record->phase],
		  migration_step_name(m), record->peer_id);
}

void ports_init(Engine *engine)
{
	engine->ports = (MigrationPorts){
		.context = engine,
		.store = engine->store,
		.policy = &engine->config.policy,
		.clock = &clock_system,
		.dial = port_dial,
		.send = port_send,
		.hang_up = port_hang_up,
		.export_secret = port_export,
		.sign = port_sign,
		.verify = port_verify,
		.mover_start = port_mover_start,
		.mover_setup = port_mover_setup,
		.mover_stop = port_mover_stop,
		.open_channels = port_open_channels,
		.hv = port_hv,
		.hv_query = port_hv_query,
		.set_deadline = port_set_deadline,
		.set_tick = port_set_tick,
		.check_manifest = port_check_manifest,
		.free_memory = port_free_memory,
		.vm_changed = port_vm_changed,
		.notify = port_notify,
		.log = port_log,
	};
}
