/* SPDX-License-Identifier: Apache-2.0 */
/*
 * After a restart: the store says which VMs were here and which migrations were under way. What is
 * really so is asked of each hypervisor; the journal is never believed for that.
 */
#include <string.h>

#include "engine/engine.h"
#include "engine/sealed_disks.h"
#include "engine/vm_rekey.h"

/* Ended migrations that are remembered; looked at once at each start. */
enum { MIGRATIONS_KEPT = 1000 };

static bool add_vm(void *context, const void *object, Error *err)
{
	return vm_add(context, object, err);
}

bool recovery_load_vms(Engine *engine, Error *err)
{
	return store_each(engine->store, STORE_VMS, add_vm, engine, err);
}

static void on_adopted(void *context, VmmRunState state, const Error *err)
{
	Vm *vm = context;
	Error failure = ERROR_INIT;

	if (err) {
		log_warning(vm->engine->log, "vm=%s is not adopted: %s", vm->record.name, err->text);
		return;
	}
	if (state == VMM_RUN_PRELAUNCH) {
		/* Of a start, or of a move of a stopped VM, that an engine before us did not finish: its
		 * guest has never run, and is not taken for one that does. */
		log_warning(vm->engine->log, "vm=%s has a process that never ran: it is ended", vm->record.name);
		if (!vmm_kill(vm->handle, &failure))
			log_warning(vm->engine->log, "vm=%s: %s", vm->record.name, failure.text);
		return;
	}
	if (state != VMM_RUN_RUNNING && (vm->record.state == VM_HELD || vm->record.state == VM_INCOMING)) {
		/* Stopped for a migration that is not known any more: a person must look. */
		engine_warn(vm->engine, "VM %s is %s and does not run: it may run elsewhere", vm->record.name,
			    vm_state_words[vm->record.state]);
		return;
	}
	vm->record.state = VM_RUNNING;
	if (!vm_save(vm, &failure))
		log_warning(vm->engine->log, "vm=%s: %s", vm->record.name, failure.text);
	log_info(vm->engine->log, "vm=%s adopted run_state=%s", vm->record.name,
		 vmm_run_state_word(state));
}

static bool had_process(VmState state)
{
	return state == VM_STARTING || state == VM_RUNNING || state == VM_INCOMING ||
	       state == VM_MIGRATING || state == VM_HELD;
}

static void adopt(Vm *vm)
{
	Error err = ERROR_INIT;

	vm->handle = vmm_adopt(&vmm_driver_qemu, vm->engine->base, &vm->engine->config.resources,
			       vm->record.instance, &vm_events, vm, on_adopted, vm, &err);
	if (vm->handle)
		return;
	log_warning(vm->engine->log, "vm=%s is gone: %s", vm->record.name, err.text);
	vm->record.state = VM_STOPPED;
	if (!vm_save(vm, &err))
		log_warning(vm->engine->log, "vm=%s: %s", vm->record.name, err.text);
}

static bool under_way(const MigrationRecord *record)
{
	return record->state == MIGRATION_ACTIVE || record->state == MIGRATION_STUCK ||
	       record->cancel_owed || record->keys_moving;
}

typedef struct Revived {
	MigrationRecord *records;
	size_t count, room;
} Revived;

/* Collected first: a migration that is recovered writes to the table that is being walked. */
static bool collect(void *context, const void *object, Error *err)
{
	Revived *revived = context;
	MigrationRecord *grown;

	if (!under_way(object))
		return true;
	if (revived->count == revived->room) {
		revived->room += 16;
		grown = reallocarray(revived->records, revived->room, sizeof(*grown));
		if (!grown)
			return error_set(err, ERROR_INTERNAL, "no memory for recovery");
		revived->records = grown;
	}
	revived->records[revived->count++] = *(const MigrationRecord *)object;
	return true;
}

static bool recover_one(Engine *engine, const MigrationRecord *record, Error *err)
{
	Vm *vm = vm_find_uuid(engine, record->uuid);
	Migration *migration;
	Job *job;

	/* Decided already: only words are owed to the peer, the VM is not touched any more. */
	if ((record->state != MIGRATION_ACTIVE && record->state != MIGRATION_STUCK) || (vm && vm->job))
		vm = NULL;
	migration = migration_new_recovered(&engine->ports, record, vm ? &vm->record : NULL, err);
	job = migration ? job_new(engine, migration, vm) : NULL;
	if (!job) {
		migration_free(migration);
		return error_set(err, ERROR_INTERNAL, "no memory for recovery");
	}
	log_info(engine->log, "recovers a migration vm=%s role=%s phase=%s", record->vm,
		 migration_role_words[record->role], migration_phase_words[record->phase]);
	migration_recover(job->migration);
	job_settle(job);
	return true;
}

bool recovery_run(Engine *engine, Error *err)
{
	Revived revived = { 0 };
	bool ok = store_prune_migrations(engine->store, MIGRATIONS_KEPT, err) &&
		  store_each(engine->store, STORE_MIGRATIONS, collect, &revived, err);
	Vm *vm;

	/* Before a migration asks for them. */
	LIST_FOREACH(vm, &engine->vms, link)
		if (ok)
			sealed_disks_adopt(vm);
	for (size_t i = 0; ok && i < revived.count; i++) {
		Error failure = ERROR_INIT;

		/* One that cannot be taken up must not keep the others from it. */
		if (!recover_one(engine, &revived.records[i], &failure))
			log_error(engine->log, "recovery of a migration of vm=%s: %s",
				  revived.records[i].vm, failure.text);
	}
	free(revived.records);
	LIST_FOREACH(vm, &engine->vms, link)
		if (ok && !vm->job && !vm->handle && had_process(vm->record.state))
			adopt(vm);
	if (ok)
		sealed_disks_sweep(engine);
	/* What only served a hypervisor that is gone. */
	LIST_FOREACH(vm, &engine->vms, link)
		if (ok && !vm->job && !vm->handle)
			sealed_disks_end(vm);
	if (ok)
		vm_rekey_recover(engine);
	return ok;
}
