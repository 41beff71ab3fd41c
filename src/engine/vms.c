/* SPDX-License-Identifier: Apache-2.0 */
/* The VMs of this host: stop, remember. */
#include <stdio.h>
#include <string.h>

#include "crypto/random.h"
#include "engine/engine.h"
#include "engine/quota.h"
#include "engine/sealed_disks.h"

Vm *vm_find(Engine *engine, const char *name_or_uuid)
{
	Vm *vm;

	LIST_FOREACH(vm, &engine->vms, link)
		if (!strcmp(vm->record.manifest.uuid, name_or_uuid) || !strcmp(vm->record.name, name_or_uuid))
			return vm;
	return NULL;
}

Vm *vm_find_uuid(Engine *engine, const char *uuid)
{
	Vm *vm;

	LIST_FOREACH(vm, &engine->vms, link)
		if (!strcmp(vm->record.manifest.uuid, uuid))
			return vm;
	return NULL;
}

Vm *vm_add(Engine *engine, const VmRecord *record, Error *err)
{
	Vm *vm, *other;
	size_t count = 0;

	LIST_FOREACH(other, &engine->vms, link)
		count++;
	if (count >= LIMIT_VMS) {
		error_set(err, ERROR_LIMIT, "%zu VMs are known here, at most %d", count, LIMIT_VMS);
		return NULL;
	}
	vm = calloc(1, sizeof(*vm));
	if (!vm) {
		error_set(err, ERROR_INTERNAL, "no memory for a VM");
		return NULL;
	}
	vm->engine = engine;
	vm->record = *record;
	LIST_INSERT_HEAD(&engine->vms, vm, link);
	return vm;
}

bool vm_save(Vm *vm, Error *err)
{
	return store_put(vm->engine->store, STORE_VMS, vm->record.manifest.uuid, &vm->record, err);
}

void vm_forget(Vm *vm)
{
	if (vm->job)
		vm->job->vm = NULL;
	vmm_free(vm->handle);
	sealed_disks_forget(vm);
	LIST_REMOVE(vm, link);
	free(vm);
}

/* A reservation is counted by its booking until that is given back, and only then by its process. */
static bool is_booked(const Vm *vm)
{
	const MigrationRecord *record = vm->job ? migration_record(vm->job->migration) : NULL;

	return record && record->role == MIGRATION_DESTINATION && record->booked_bytes;
}

uint64_t vms_growth_bytes(const Engine *engine)
{
	uint64_t sum = 0;
	const Vm *vm;

	/* Huge pages are set aside already: what VMs have of them is not part of what is available. */
	if (engine->config.resources.memory == MEMORY_HUGE_2M)
		return 0;
	LIST_FOREACH(vm, &engine->vms, link)
		if (vm->handle && !is_booked(vm))
			sum += quota_growth_bytes(vm->record.manifest.memory_bytes,
						  quota_resident_bytes(vmm_pid(vm->handle)));
	return sum;
}

/* Eight digits of the UUID for people, eight random ones so that no two lives share a directory. */
void vm_new_instance(VmRecord *record)
{
	uint8_t tail[4];
	char text[2 * sizeof(tail) + 1];
	Error ignored = ERROR_INIT;

	if (!random_bytes(tail, sizeof(tail), &ignored))
		memset(tail, 0, sizeof(tail));
	hex_encode(tail, sizeof(tail), text);
	snprintf(record->instance, sizeof(record->instance), "vm-%.8s-%s", record->manifest.uuid, text);
}

static void on_quit(void *context, const Error *err)
{
	Vm *vm = context;
	Error failure = ERROR_INIT;

	if (err && vm->handle && !vmm_kill(vm->handle, &failure))
		log_warning(vm->engine->log, "vm=%s: %s", vm->record.name, failure.text);
}

bool vm_stop(Vm *vm, ApiRequest *request, Error *err)
{
	if (vm->job)
		return error_set(err, ERROR_CONFLICT, "VM %s is being migrated; cancel that first",
				 vm->record.name);
	if (!vm->handle)
		return error_set(err, ERROR_CONFLICT, "VM %s has no process here, state %s", vm->record.name,
				 vm_state_words[vm->record.state]);
	if (vm->stopping)
		return error_set(err, ERROR_CONFLICT, "VM %s is being stopped already", vm->record.name);
	if (!vmm_quit(vm->handle, on_quit, vm, err))
		return false;
	vm->stopping = request;
	return true;
}
