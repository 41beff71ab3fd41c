/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/key_transfer.h"

#include <event2/event.h>
#include <stdio.h>
#include <string.h>

#include "engine/disk_keys.h"
#include "engine/keys.h"
#include "engine/vm_tpm.h"
#include "vmm/vtpm.h"

/* --- steps of the transfer --- */

typedef struct Ask {
	Engine *engine;
	uint64_t job;
	TransferKind kind;
	Error failure; /* it could not even be asked */
} Ask;

static void tell(Ask *ask, const KeyTransferred *result, const Error *failure)
{
	Job *job = job_find(ask->engine, ask->job);

	if (job) {
		migration_on_keys(job->migration, ask->kind, result, failure);
		job_settle(job);
	}
	free(ask);
}

static void on_answer(void *context, IpcMessage *answer, const Error *err)
{
	tell(context, err ? NULL : answer->payload, err);
}

static void on_not_asked(evutil_socket_t fd, short what, void *context)
{
	Ask *ask = context;
	const Error failure = ask->failure;

	(void)fd;
	(void)what;
	tell(ask, NULL, &failure);
}

static void describe(const Engine *engine, const MigrationRecord *record, TransferKind kind,
		     const PeerMessage *in, KeyTransfer *ret_request)
{
	char peer[LIMIT_DOMAIN];
	bool source = record->role == MIGRATION_SOURCE;

	peer_domain(record->peer_id, peer);
	keys_migration(record, ret_request->who);
	ret_request->kind = kind;
	memcpy(ret_request->migration, record->id, sizeof(ret_request->migration));
	memcpy(ret_request->vm, record->uuid, sizeof(ret_request->vm));
	memcpy(ret_request->owner, record->owner, sizeof(ret_request->owner));
	ret_request->epoch = record->epoch;
	snprintf(ret_request->source, sizeof(ret_request->source), "%s", source ? engine->domain : peer);
	snprintf(ret_request->destination, sizeof(ret_request->destination), "%s",
		 source ? peer : engine->domain);
	ret_request->keep = record->keep_keys;
	if (kind != TRANSFER_NAME_KEYS) {
		memcpy(ret_request->permit, record->permit, sizeof(ret_request->permit));
		memcpy(ret_request->keys, record->keys, sizeof(ret_request->keys));
		ret_request->keys_count = record->keys_count;
	}
	if (in) {
		memcpy(ret_request->document, in->package, in->package_size);
		ret_request->document_size = in->package_size;
	}
}

static bool ask(Engine *engine, Ask *asked, const MigrationRecord *record, const PeerMessage *in,
		Error *err)
{
	AUTO_FREE KeyTransfer *request = calloc(1, sizeof(*request));

	if (!request)
		return error_set(err, ERROR_INTERNAL, "no memory for a request to the key manager");
	describe(engine, record, asked->kind, in, request);
	return keys_request(engine, KEYD_TRANSFER, &key_transfer_schema, request, KEYD_TRANSFERRED,
			    on_answer, asked, NULL, err);
}

/* On our word that the keys are active the source destroys its TPM: ours must outlive a power cut. */
static bool keep_tpm(const Engine *engine, const MigrationRecord *record, TransferKind kind, Error *err)
{
	bool tpm = false;

	for (size_t i = 0; i < record->keys_count; i++)
		tpm |= record->keys[i].purpose != KEY_IMAGE;
	return kind != TRANSFER_ACTIVATED || !tpm ||
	       vtpm_sync_state(&engine->config.resources, record->uuid, err);
}

void key_transfer_ask(void *context, Migration *m, TransferKind kind, const PeerMessage *in)
{
	Engine *engine = context;
	Ask *asked = calloc(1, sizeof(*asked));

	if (!asked)
		return;
	asked->engine = engine;
	asked->job = job_of(m, engine)->serial;
	asked->kind = kind;
	if (keep_tpm(engine, migration_record(m), kind, &asked->failure) &&
	    ask(engine, asked, migration_record(m), in, &asked->failure))
		return;
	if (event_base_once(engine->base, -1, EV_TIMEOUT, on_not_asked, asked, NULL))
		free(asked);
}

/* --- disks that waited for their keys --- */

/* The job may end before the key manager or the hypervisor answers. */
typedef struct Opening {
	Engine *engine;
	uint64_t job;
	DiskKeys *keys;
	TpmKeys *tpm;
} Opening;

static void end_opening(Opening *opening, const Error *err)
{
	Job *job = job_find(opening->engine, opening->job);

	/* The hypervisor has read the values, or never will. */
	disk_keys_free(opening->keys);
	tpm_keys_free(opening->tpm);
	free(opening);
	if (!job)
		return;
	migration_on_hv_done(job->migration, HV_OPEN_DISKS, err);
	job_settle(job);
}

static void on_opened(void *context, const Error *err)
{
	end_opening(context, err);
}

static bool open_disks(Opening *opening, Error *err)
{
	Job *job = job_find(opening->engine, opening->job);
	ResolvedVm *incoming = job ? job->incoming : NULL;
	bool ok;

	if (!incoming || !job->vm || !job->vm->handle)
		return error_set(err, ERROR_HYPERVISOR, "the VM has no process");
	if (opening->keys)
		disk_keys_give(opening->keys, incoming);
	if (opening->tpm) {
		/* There will be state of it here, which goes if the VM does not come after all. */
		job->vm->record.copies |= VM_COPY_TPM;
		if (!vm_save(job->vm, err))
			return false;
		tpm_keys_give(opening->tpm, incoming);
	}
	/* Copies have their turn when they are whole. */
	for (size_t i = 0; i < incoming->manifest.disks_count; i++)
		incoming->disks[i].late = incoming->manifest.disks[i].transfer == DISK_STAYS &&
					  migration_disk_brings_key(&incoming->manifest.disks[i]);
	ok = vmm_open_disks(job->vm->handle, incoming, on_opened, opening, err);
	for (size_t i = 0; i < incoming->manifest.disks_count; i++)
		incoming->disks[i].late = incoming->manifest.disks[i].transfer != DISK_STAYS;
	return ok;
}

static void on_tpm_keys(void *context, const Error *err)
{
	Opening *opening = context;
	Error failure = err ? *err : ERROR_INIT;

	if (err || !open_disks(opening, &failure))
		end_opening(opening, &failure);
}

static bool ask_tpm_keys(Opening *opening, Error *err)
{
	Job *job = job_find(opening->engine, opening->job);
	char who[KEY_WHO_SIZE];
	TpmKeysWanted wanted = { .who = who };

	if (!job || !job->vm)
		return error_set(err, ERROR_CANCELLED, "the migration has ended");
	keys_migration(migration_record(job->migration), who);
	wanted.manifest = &job->vm->record.manifest;
	wanted.owner = job->vm->record.owner;
	wanted.epoch = migration_record(job->migration)->epoch;
	wanted.migration = migration_record(job->migration)->id;
	opening->tpm = tpm_keys_new(opening->engine, &wanted, on_tpm_keys, opening, err);
	return opening->tpm;
}

/* What is left to be asked for, or all is here. */
static bool go_on(Opening *opening, Error *err)
{
	const Job *job = job_find(opening->engine, opening->job);

	return job && job->vm && job->vm->record.manifest.tpm ? ask_tpm_keys(opening, err) :
								 open_disks(opening, err);
}

static void on_disk_keys(void *context, const Error *err)
{
	Opening *opening = context;
	Error failure = err ? *err : ERROR_INIT;

	if (err || !go_on(opening, &failure))
		end_opening(opening, &failure);
}

bool key_transfer_open_disks(Job *job, Error *err)
{
	const MigrationRecord *record = migration_record(job->migration);
	Opening *opening = calloc(1, sizeof(*opening));
	Manifest *manifest = &job->vm->record.manifest;
	char who[KEY_WHO_SIZE];
	const DiskKeysWanted wanted = { .manifest = manifest,
					.epoch = record->epoch,
					.who = who,
					.migration = record->id };
	bool ok;

	if (!opening)
		return error_set(err, ERROR_INTERNAL, "no memory to open disks");
	keys_migration(record, who);
	opening->engine = job->engine;
	opening->job = job->serial;
	/* Of some VMs only the TPM has keys. */
	if (disk_keys_needed(&wanted)) {
		opening->keys = disk_keys_new(job->engine, &wanted, on_disk_keys, opening, err);
		ok = opening->keys != NULL;
	} else {
		ok = go_on(opening, err);
	}
	if (!ok)
		free(opening);
	return ok;
}

void key_transfer_mark_late(ResolvedVm *vm)
{
	vm->tpm.late = vm->manifest.tpm;
	for (size_t i = 0; i < vm->manifest.disks_count; i++)
		vm->disks[i].late |= migration_disk_brings_key(&vm->manifest.disks[i]);
}

/* --- whether a VM may move --- */

static bool check(const Engine *engine, const Manifest *manifest, ErrorCategory category, Error *err)
{
	char text[LIMIT_TEXT];
	bool ok;

	if (!migration_wants_keys(manifest))
		return true;
	if (!keys_describe(engine, &ok, text))
		return error_set(err, category, "the VM's keys travel with it, and no key manager is "
						"configured on %s", engine->host_id);
	return ok || error_set(err, ERROR_UNAVAILABLE, "the VM's keys travel with it, and the key manager "
						       "of %s does not serve: %.300s",
			       engine->host_id, text);
}

bool key_transfer_check_leaving(const Engine *engine, const Vm *vm, Error *err)
{
	if (!check(engine, &vm->record.manifest, ERROR_CONFLICT, err))
		return false;
	/* Its state would not come along, which is found out only when all memory is over there. */
	return !vm->record.manifest.tpm || !vm->handle || vmm_has_tpm(vm->handle) ||
	       error_set(err, ERROR_CONFLICT,
			 "the swtpm of VM %s has ended: its TPM is back once it is stopped and started",
			 vm->record.name);
}

/* Asked before a row of this host changes or memory is populated. The peer need not know why. */
static bool check_tpm(const Engine *engine, const Manifest *manifest, Error *err)
{
	const Resources *resources = &engine->config.resources;
	Error why = ERROR_INIT;
	bool has_state = false;

	if (!vtpm_check_program(resources, &why) ||
	    !vtpm_has_state(resources, manifest->uuid, &has_state, &why)) {
		log_warning(engine->log, "vm=%s: %s", manifest->uuid, why.text);
		return error_set(err, ERROR_UNAVAILABLE, "the VM has a TPM, and %s cannot run one",
				 engine->host_id);
	}
	return !has_state || error_set(err, ERROR_CONFLICT, "there is state of the VM's TPM on %s already",
				       engine->host_id);
}

bool key_transfer_check_coming(const Engine *engine, const Manifest *manifest, Error *err)
{
	return check(engine, manifest, ERROR_DENIED, err) &&
	       (!manifest->tpm || check_tpm(engine, manifest, err));
}
