/* SPDX-License-Identifier: Apache-2.0 */
/* The table through which a migration acts (migration/migration.h), on the real world. */
#include <event2/event.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "engine/engine.h"
#include "engine/job_disks.h"
#include "engine/key_transfer.h"
#include "engine/quota.h"
#include "engine/vm_rekey.h"
#include "vmm/vtpm.h"

const char *peer_domain(const char *spiffe_id, char domain[LIMIT_DOMAIN])
{
	const char *from = spiffe_id + strlen("spiffe://");
	const char *slash = strchr(from, '/');

	snprintf(domain, LIMIT_DOMAIN, "%.*s", slash ? (int)(slash - from) : 0, from);
	return domain;
}

static Job *job_for(void *context, const Migration *m)
{
	return job_of(m, context);
}

/* --- what fails inside a port is told from the event loop --- */

typedef struct LateFailure {
	Engine *engine;
	uint64_t serial;
	void (*tell)(Migration *m, const Error *cause);
	Error err;
} LateFailure;

static void on_late_failure(evutil_socket_t fd, short what, void *context)
{
	LateFailure *failure = context;
	Job *job = job_find(failure->engine, failure->serial);

	(void)fd;
	(void)what;
	if (job) {
		failure->tell(job->migration, &failure->err);
		job_settle(job);
	}
	free(failure);
}

static void fail_later(Job *job, void (*tell)(Migration *m, const Error *cause), const Error *err)
{
	LateFailure *failure = calloc(1, sizeof(*failure));

	if (!failure)
		return;
	failure->engine = job->engine;
	failure->serial = job->serial;
	failure->tell = tell;
	failure->err = *err;
	if (event_base_once(job->engine->base, -1, EV_TIMEOUT, on_late_failure, failure, NULL))
		free(failure);
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
	if (!engine->gate)
		error_set(&err, ERROR_UNAVAILABLE, "the gate is being restarted");
	else if (child_send(engine->gate, GATE_DIAL, job->dialled, &gate_dial_schema, &dial, NULL, 0, &err))
		return;
	job->dialled = 0;
	fail_later(job, migration_on_peer_closed, &err);
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

static void ask_notary(Job *job, Child *notary, uint16_t type, const Schema *schema,
		       const void *payload)
{
	Request *request = notary ? request_new(job->engine, job) : NULL;
	Error err = ERROR_INIT;

	/* One that is gone answers with how it ended: on_notary_gone. */
	if (request && (child_send(notary, type, request->number, schema, payload, NULL, 0, &err) ||
			err.category == ERROR_UNAVAILABLE))
		return;
	if (request)
		request_free(request);
	else
		error_set(&err, ERROR_UNAVAILABLE, "the notary is being restarted");
	fail_later(job, migration_on_notary_failed, &err);
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
		fail_later(job, migration_on_notary_failed, &err);
	}
}

/* What a mover is told of the disks that are copied: their exports are named as their volumes. */
static void name_disks(const Manifest *manifest, MoverSetup *setup)
{
	setup->disks_count = 0;
	for (size_t i = 0; i < manifest->disks_count; i++) {
		const ManifestDisk *disk = &manifest->disks[i];
		MoverDisk *named = &setup->disks[setup->disks_count];

		if (disk->transfer == DISK_STAYS)
			continue;
		memcpy(named->export_name, disk->volume, sizeof(named->export_name));
		named->size_bytes = manifest_copy_bytes(disk);
		setup->disks_count++;
	}
}

static bool port_mover_setup(void *context, Migration *m, const MoverSetup *setup, Error *err)
{
	Job *job = job_for(context, m);
	MoverSetup given = *setup;
	int fds[2];
	size_t n_fds = 0;
	bool ok;

	if (!job->mover)
		return error_set(err, ERROR_INTERNAL, "the mover is gone");
	name_disks(&migration_vm(m)->manifest, &given);
	if (setup->side == MOVER_DESTINATION && setup->guard != MOVER_GUARD_OFF) {
		if (job->twin && job->twin_whole) {
			fds[n_fds++] = job->twin->stream_fd;
			fds[n_fds++] = job->twin->dump_fd;
		} else if (setup->guard == MOVER_GUARD_WARN) {
			given.guard = MOVER_GUARD_OFF;
		} else {
			return error_set(err, ERROR_INTERNAL, "there is nothing that the guard could judge by");
		}
	}
	ok = child_send(job->mover, MOVER_SETUP, 0, &mover_setup_schema, &given, n_fds ? fds : NULL, n_fds,
			err);
	explicit_bzero(&given, sizeof(given));
	vmm_twin_free(TAKE_PTR(job->twin));
	return ok;
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

static bool dial_channel(Job *job, const GateAddress *address, uint64_t channel, Error *err)
{
	Engine *engine = job->engine;
	Request *request = engine->gate ? request_new(engine, job) : NULL;

	if (!request)
		return error_set(err, ERROR_UNAVAILABLE, "the gate is being restarted");
	request->channel = channel + 1;
	return child_send(engine->gate, GATE_DIAL_CHANNEL, request->number, &gate_address_schema,
			  address, NULL, 0, err);
}

static void port_open_channels(void *context, Migration *m, const RolePreamble *first,
			       uint64_t channels)
{
	Job *job = job_for(context, m);
	GateAddress address;
	Error err = ERROR_INIT;
	bool ok = true;

	memset(&address, 0, sizeof(address));
	snprintf(address.address, sizeof(address.address), "%s", migration_record(m)->peer_address);
	address.port = migration_record(m)->peer_port;
	job->preamble = *first;
	for (uint64_t i = 0; ok && i < channels; i++)
		ok = dial_channel(job, &address, i, &err);
	for (uint64_t i = 0; ok && i < migration_disk_channels(m); i++)
		ok = dial_channel(job, &address, LIMIT_STREAM_CHANNELS + i, &err);
	if (!ok)
		fail_later(job, migration_on_notary_failed, &err);
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
	const Config *config = &engine->config;
	long online = sysconf(_SC_NPROCESSORS_ONLN);
	char domain[LIMIT_DOMAIN];
	AUTO_RESOLVED_VM ResolvedVm resolved = RESOLVED_VM_INIT;

	peer_domain(migration_record(m)->peer_id, domain);
	if (!disks_in_check(engine, domain, manifest, err) ||
	    !key_transfer_check_coming(engine, manifest, err))
		return false;
	return quota_check_vcpus(manifest->cpus, config->max_vcpus, online > 0 ? (unsigned int)online : 1,
				 err) &&
	       quota_check_domain(engine->store, domain, config->per_domain, err) &&
	       resources_resolve(&config->resources, manifest, domain, NULL, &resolved, err);
}

static uint64_t port_free_memory(void *context)
{
	uint64_t available = quota_available_bytes(), growth = vms_growth_bytes(context);

	return available > growth ? available - growth : 0;
}

static bool take_incoming(Engine *engine, Job *job, Error *err)
{
	const VmRecord *wanted = migration_vm(job->migration);
	Vm *vm = vm_find_uuid(engine, wanted->manifest.uuid);
	VmRecord record = *wanted;

	disks_in_forget_keys(&record.manifest);
	peer_domain(migration_record(job->migration)->peer_id, record.pools_of);
	if (vm && (vm->handle || vm->job))
		return error_set(err, ERROR_CONFLICT, "VM %s still has a process here", wanted->manifest.uuid);

	if (vm) {
		record.seen_epoch = vm->record.epoch;
		record.seen_ended = vm->record.state != VM_MOVED;
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

/* How its disks came, or would have gone, is over. */
static void forget_transfer(VmRecord *vm)
{
	for (size_t i = 0; i < vm->manifest.disks_count; i++) {
		vm->manifest.disks[i].transfer = DISK_STAYS;
		vm->manifest.disks[i].stored_bytes = 0;
	}
	vm->copies = 0;
}

static void destroy_tpm(Engine *engine, const VmRecord *vm)
{
	Error err = ERROR_INIT;

	if (!vtpm_destroy_state(&engine->config.resources, vm->manifest.uuid, &err))
		engine_warn(engine, "VM %s: what its TPM stored is still here: %.300s", vm->name, err.text);
}

/* What is left here of a VM that runs elsewhere. Only the destination's signed word that it runs there
 * lets go of what may be the only copy. */
static void destroy_moved(Job *job)
{
	const MigrationRecord *record = migration_record(job->migration);
	AUTO_BUFFER Buffer cms = BUFFER_INIT(LIMIT_STATEMENT);
	uint8_t digest[DIGEST_SHA384_BYTES];
	Error err = ERROR_INIT;

	if (!store_statement(job->engine->store, record->id, STATEMENT_ACTIVATED, &cms, digest, &err)) {
		engine_warn(job->engine,
			    "VM %s ended at %s without a signed word that it ran there: images, keys and TPM "
			    "that it left here are not destroyed",
			    record->vm, record->peer_id);
		return;
	}
	disks_out_destroy(job);
	if (job->vm->record.manifest.tpm && !record->keep_keys)
		destroy_tpm(job->engine, &job->vm->record);
}

/* A reservation that is undone leaves nothing, or what was known of an earlier stay. */
static bool drop_incoming(Job *job, Error *err)
{
	Vm *vm = job->vm;

	if (!vm)
		return true;
	if (vm->record.copies & VM_COPY_TPM)
		destroy_tpm(job->engine, &vm->record);
	forget_transfer(&vm->record);
	if (vm->record.seen_epoch || vm->record.state == VM_MOVED) {
		/* One that had ended here is here still: who only offers it does not take it away. */
		vm->record.state = vm->record.seen_ended ? VM_STOPPED : VM_MOVED;
		if (vm->record.seen_epoch)
			vm->record.epoch = vm->record.seen_epoch;
		vm->record.seen_epoch = 0;
		vm->record.instance[0] = '\0';
		return vm_save(vm, err);
	}
	/* A row that could not be deleted is asked to be deleted again. */
	if (!store_delete(job->engine->store, STORE_VMS, vm->record.manifest.uuid, err) &&
	    err->category != ERROR_NOT_FOUND)
		return false;
	job->vm = NULL;
	vm->job = NULL;
	vm_forget(vm);
	return true;
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
	/* Given away: should it come back, by a declined or by a person, that epoch is used up. */
	if (state == VM_HELD || state == VM_MOVED)
		job->vm->record.epoch = migration_record(m)->epoch;
	if (state == VM_MOVED || state == VM_STOPPED)
		job->vm->record.instance[0] = '\0';
	if (state == VM_MOVED) {
		memcpy(job->vm->record.moved_to, migration_record(m)->peer_id,
		       sizeof(job->vm->record.moved_to));
		destroy_moved(job);
	}
	if (state == VM_RUNNING || state == VM_STOPPED)
		forget_transfer(&job->vm->record);
	api_event(context, "vm", view_vm(job->vm));
	return vm_save(job->vm, err);
}

static void port_notify(void *context, Migration *m)
{
	Engine *engine = context;
	const MigrationRecord *record = migration_record(m);
	Job *job = job_for(context, m);

	log_debug(engine->log, "step=%s at_us=%lld", migration_step_name(m),
		  (long long)clock_monotonic_us(&clock_system));

	if (job && (record->state != MIGRATION_ACTIVE || record->phase != PHASE_TRANSFER))
		job_progress(job, false);
	if (job && job->vm)
		vm_rekey_note(job->vm);
	api_event(context, "migration", view_migration(record, job));
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
		.hv = hypervisor_operate,
		.hv_query = hypervisor_query,
		.keys = key_transfer_ask,
		.set_deadline = port_set_deadline,
		.set_tick = port_set_tick,
		.check_manifest = port_check_manifest,
		.free_memory = port_free_memory,
		.vm_changed = port_vm_changed,
		.notify = port_notify,
		.log = port_log,
	};
}
