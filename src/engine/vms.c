/* SPDX-License-Identifier: Apache-2.0 */
/* The VMs of this host: start, stop, remember. */
#include <stdio.h>
#include <string.h>

#include "crypto/random.h"
#include "engine/engine.h"
#include "engine/quota.h"
#include "vmm/vm_file.h"

enum { START_DEADLINE_MS = 120000 };

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

/* A row that may be replaced: of a VM that is not here any more. */
static bool check_free(Engine *engine, const Manifest *manifest, Vm **ret_old, Error *err)
{
	Vm *by_uuid = vm_find_uuid(engine, manifest->uuid), *by_name = vm_find(engine, manifest->name);
	Vm *either[] = { by_uuid, by_name };

	for (size_t i = 0; i < ARRAY_SIZE(either); i++) {
		const VmRecord *record = either[i] ? &either[i]->record : NULL;

		if (record && record->state != VM_MOVED && record->state != VM_STOPPED &&
		    record->state != VM_FAILED)
			return error_set(err, ERROR_CONFLICT, "VM %s (%s) is here already, state %s",
					 record->name, record->manifest.uuid,
					 vm_state_words[record->state]);
		if (record && either[i]->handle)
			return error_set(err, ERROR_CONFLICT, "the last process of VM %s is still ending",
					 record->name);
		if (record && record->state == VM_MOVED && either[i] == by_uuid)
			return error_set(err, ERROR_CONFLICT,
					 "VM %s (%s) was moved to another host: started here again it would run twice",
					 record->name, record->manifest.uuid);
	}
	if (by_name && by_name != by_uuid)
		return error_set(err, ERROR_CONFLICT, "another VM here has the name \"%s\"", manifest->name);
	*ret_old = by_uuid;
	return true;
}

static void on_started(void *context, const Error *err)
{
	Vm *vm = context;
	Error failure = ERROR_INIT;

	vm->record.state = err ? VM_FAILED : VM_RUNNING;
	if (!vm_save(vm, &failure))
		log_warning(vm->engine->log, "vm=%s: %s", vm->record.name, failure.text);
	log_info(vm->engine->log, "vm=%s %s", vm->record.name, err ? err->text : "runs");
	api_event(vm->engine, "vm", view_vm(vm));
	if (err && vm->handle && !vmm_kill(vm->handle, &failure))
		log_warning(vm->engine->log, "vm=%s: %s", vm->record.name, failure.text);
	if (!vm->starting)
		return;
	if (err)
		api_fail(TAKE_PTR(vm->starting), err);
	else
		api_return(TAKE_PTR(vm->starting), json_pack("{s:o}", "vm", view_vm(vm)));
}

static bool start(Vm *vm, const VmFile *file, bool any_file, Error *err)
{
	AUTO_RESOLVED_VM ResolvedVm resolved = RESOLVED_VM_INIT;
	const LocalBoot boot = { .kernel_path = file->kernel_path, .initrd_path = file->initrd_path };
	VmmStart begin = { .resources = &vm->engine->config.resources,
			   .instance = vm->record.instance,
			   .vm = &resolved,
			   .deadline_ms = START_DEADLINE_MS };

	/* What was bounded is found by its digest, as for a VM that comes from a peer: a name that
	 * means another file by now cannot be followed. */
	if (!resources_resolve(begin.resources, &vm->record.manifest, NULL,
			       file->kernel_path[0] && any_file ? &boot : NULL, &resolved, err))
		return false;
	vm->handle = vmm_start(&vmm_driver_qemu, vm->engine->base, &begin, &vm_events, vm, on_started, vm,
			       err);
	return vm->handle;
}

static bool complete(Engine *engine, const char *path, const char *text, bool any_file, VmFile *file,
		     Error *err)
{
	const char *boot_directory = any_file ? NULL : engine->config.boot_directory;
	char directory[LIMIT_PATH];
	char *slash;

	snprintf(directory, sizeof(directory), "%s", path);
	slash = strrchr(directory, '/');
	if (slash)
		*slash = '\0';
	return vm_file_parse_bounded(path, slash ? directory : ".", text, boot_directory, file, err) &&
	       resources_complete(&engine->config.resources, &file->manifest, err) &&
	       manifest_check(&file->manifest, err);
}

bool vm_start_text(Engine *engine, const char *path, const char *text, ApiRequest *request, Error *err)
{
	bool any_file = api_may_name_files(request);
	AUTO_FREE VmFile *file = calloc(1, sizeof(*file));
	VmRecord record, before = { 0 };
	Vm *vm = NULL;
	bool known;

	if (!file)
		return error_set(err, ERROR_INTERNAL, "no memory for a VM");
	if (!complete(engine, path, text, any_file, file, err) || !check_free(engine, &file->manifest, &vm, err))
		return false;
	memset(&record, 0, sizeof(record));
	snprintf(record.name, sizeof(record.name), "%s", file->manifest.name);
	snprintf(record.owner, sizeof(record.owner), "%s", engine->domain);
	record.epoch = vm ? vm->record.epoch : 1;
	record.state = VM_STARTING;
	record.mode = file->mode;
	record.manifest = file->manifest;
	vm_new_instance(&record);
	known = vm != NULL;
	if (known)
		before = vm->record;
	if (vm)
		vm->record = record;
	else
		vm = vm_add(engine, &record, err);
	if (!vm)
		return false;
	if (!vm_save(vm, err) || !start(vm, file, any_file, err)) {
		Error ignored = ERROR_INIT;

		/* An earlier life's row stays: it holds the epoch. */
		vm->record = before;
		if (known ? !vm_save(vm, &ignored) :
			    !store_delete(engine->store, STORE_VMS, record.manifest.uuid, &ignored))
			log_debug(engine->log, "vm=%s: %s", record.name, ignored.text);
		if (!known)
			vm_forget(vm);
		return false;
	}
	vm->starting = request;
	return true;
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
