/* SPDX-License-Identifier: Apache-2.0 */
/* The start of a VM on this host. */
#include <stdio.h>
#include <string.h>

#include "engine/disk_keys.h"
#include "engine/engine.h"
#include "engine/keys.h"
#include "engine/sealed_disks.h"
#include "engine/vm_rekey.h"
#include "engine/vm_tpm.h"
#include "vmm/vm_file.h"

enum { START_DEADLINE_MS = 120000 };

/* One that waits for the keys of its disks. */
typedef struct Waiting {
	Engine *engine;
	ApiRequest *request;
	bool any_file;
	VmFile file;
	DiskKeys *keys;
	TpmKeys *tpm;
	char who[KEY_WHO_SIZE], owner[LIMIT_DOMAIN];
	uint64_t epoch;
} Waiting;

/* A row that may be replaced: of a VM that is not here any more. */
static bool check_free(Engine *engine, const Manifest *manifest, Vm **ret_old, Error *err)
{
	Vm *by_uuid = vm_find_uuid(engine, manifest->uuid),
	   *by_name = vm_find(engine, manifest->name);
	Vm *either[] = { by_uuid, by_name };

	for (size_t i = 0; i < ARRAY_SIZE(either); i++) {
		const VmRecord *record = either[i] ? &either[i]->record : NULL;

		if (record && record->state != VM_MOVED && record->state != VM_STOPPED &&
		    record->state != VM_FAILED)
			return error_set(err, ERROR_CONFLICT,
					 "VM %s (%s) is here already, state %s", record->name,
					 record->manifest.uuid, vm_state_words[record->state]);
		if (record && either[i]->handle)
			return error_set(err, ERROR_CONFLICT,
					 "the last process of VM %s is still ending", record->name);
		if (record && !sealed_disks_check_ended(either[i], err))
			return false;
		if (record && record->state == VM_MOVED && either[i] == by_uuid)
			return error_set(
				err, ERROR_CONFLICT,
				"VM %s (%s) was moved to another host%s%s: started here again it would run twice",
				record->name, record->manifest.uuid, record->moved_to[0] ? ", " : "",
				record->moved_to);
	}
	if (by_name && by_name != by_uuid)
		return error_set(err, ERROR_CONFLICT, "another VM here has the name \"%s\"",
				 manifest->name);
	*ret_old = by_uuid;
	return true;
}

static void on_started(void *context, const Error *err)
{
	Vm *vm = context;
	const Error why = sealed_disks_failure(vm);
	Error failure = ERROR_INIT;

	/* It only tells that nobody served its disk. */
	if (err && why.category)
		err = &why;

	disk_keys_free(TAKE_PTR(vm->disk_keys));
	if (!err && vm->tpm_keys && !tpm_keys_used(vm->tpm_keys, &failure))
		log_warning(vm->engine->log, "vm=%s: %s", vm->record.name, failure.text);
	tpm_keys_free(TAKE_PTR(vm->tpm_keys));
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
	const LocalBoot boot = { .kernel_path = file->kernel_path,
				 .initrd_path = file->initrd_path };
	VmmStart begin = { .resources = &vm->engine->config.resources,
			   .instance = vm->record.instance,
			   .vm = &resolved,
			   .deadline_ms = START_DEADLINE_MS };

	/* What was bounded is found by its digest, as for a VM that comes from a peer: a name that
	 * means another file by now cannot be followed. */
	if (!resources_resolve(begin.resources, &vm->record.manifest, NULL,
			       file->kernel_path[0] && any_file ? &boot : NULL, &resolved, err))
		return false;
	if (vm->disk_keys)
		disk_keys_give(vm->disk_keys, &resolved);
	if (vm->tpm_keys)
		tpm_keys_give(vm->tpm_keys, &resolved);
	sealed_disks_choose(vm, &resolved);
	vm->handle = vmm_start(&vmm_driver_qemu, vm->engine->base, &begin, &vm_events, vm,
			       on_started, vm, err);
	if (vm->handle)
		sealed_disks_start(vm, &resolved);
	return vm->handle;
}

bool vm_parse_text(const Engine *engine, const char *path, const char *text, bool any_file,
		   VmFile *ret_file, Error *err)
{
	const char *boot_directory = any_file ? NULL : engine->config.boot_directory;
	char directory[LIMIT_PATH];
	char *slash;

	snprintf(directory, sizeof(directory), "%s", path);
	slash = strrchr(directory, '/');
	if (slash)
		*slash = '\0';
	return vm_file_parse_bounded(path, slash ? directory : ".", text, boot_directory, ret_file,
				     err);
}

/* A VM of this description: keys are those of its disks, tpm of its TPM, or NULL; they are taken if
 * it begins. */
static bool begin(Engine *engine, const VmFile *file, bool any_file, DiskKeys **keys, TpmKeys **tpm,
		  ApiRequest *request, Error *err)
{
	VmRecord record, before = { 0 };
	Vm *vm = NULL;
	bool known;

	if (!manifest_check(&file->manifest, err) || !check_free(engine, &file->manifest, &vm, err))
		return false;
	memset(&record, 0, sizeof(record));
	snprintf(record.name, sizeof(record.name), "%s", file->manifest.name);
	/* One that came from another domain stays its: its keys say so, and its home would not take it
	 * back as another's. */
	snprintf(record.owner, sizeof(record.owner), "%s", vm ? vm->record.owner : engine->domain);
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
	vm->disk_keys = *keys;
	vm->tpm_keys = *tpm;
	if (!vm_save(vm, err) || !start(vm, file, any_file, err)) {
		Error ignored = ERROR_INIT;

		/* An earlier life's row stays: it holds the epoch. */
		vm->record = before;
		vm->disk_keys = NULL;
		vm->tpm_keys = NULL;
		if (known ? !vm_save(vm, &ignored)
			  : !store_delete(engine->store, STORE_VMS, record.manifest.uuid, &ignored))
			log_debug(engine->log, "vm=%s: %s", record.name, ignored.text);
		if (!known)
			vm_forget(vm);
		return false;
	}
	*keys = NULL;
	*tpm = NULL;
	vm->starting = request;
	return true;
}

static void on_tpm_keys(void *context, const Error *err);

static bool ask_tpm_keys(Waiting *waiting, Error *err)
{
	const TpmKeysWanted wanted = { .manifest = &waiting->file.manifest,
				       .owner = waiting->owner,
				       .epoch = waiting->epoch,
				       .who = waiting->who };

	waiting->tpm = tpm_keys_new(waiting->engine, &wanted, on_tpm_keys, waiting, err);
	return waiting->tpm;
}

/* What was free and whole may be so no more: all of it is looked at again. */
static void on_all_keys(Waiting *waiting, const Error *err)
{
	Error failure = err ? *err : ERROR_INIT;
	bool ok = !err && begin(waiting->engine, &waiting->file, waiting->any_file, &waiting->keys,
				&waiting->tpm, waiting->request, &failure);

	if (!ok) {
		log_info(waiting->engine->log, "vm=%s does not start: %s",
			 waiting->file.manifest.name, failure.text);
		api_fail(waiting->request, &failure);
	}
	disk_keys_free(waiting->keys);
	tpm_keys_free(waiting->tpm);
	free(waiting);
}

static void on_tpm_keys(void *context, const Error *err)
{
	on_all_keys(context, err);
}

static void on_keys(void *context, const Error *err)
{
	Waiting *waiting = context;
	Error failure = err ? *err : ERROR_INIT;

	if (!err) {
		disk_keys_name(waiting->keys, &waiting->file.manifest);
		if (waiting->file.manifest.tpm && ask_tpm_keys(waiting, &failure))
			return;
	}
	on_all_keys(waiting, failure.category ? &failure : NULL);
}

bool vm_start_text(Engine *engine, const char *path, const char *text, ApiRequest *request,
		   Error *err)
{
	AUTO_FREE Waiting *waiting = calloc(1, sizeof(*waiting));
	char who[KEY_WHO_SIZE];
	DiskKeysWanted wanted = { .who = who };
	Vm *old = NULL;

	if (!waiting)
		return error_set(err, ERROR_INTERNAL, "no memory for a VM");
	wanted.manifest = &waiting->file.manifest;
	waiting->engine = engine;
	waiting->request = request;
	waiting->any_file = api_may_name_files(request);
	if (!vm_parse_text(engine, path, text, waiting->any_file, &waiting->file, err) ||
	    /* First: of one that moved away its images may be gone. */
	    !check_free(engine, &waiting->file.manifest, &old, err) ||
	    !resources_complete(&engine->config.resources, &waiting->file.manifest, err) ||
	    !vm_rekey_before_start(engine, &waiting->file.manifest, old, err))
		return false;
	if (engine->keys)
		wanted.without = resources_maybe_luks(&engine->config.resources, wanted.manifest);
	keys_caller(request, who);
	memcpy(waiting->who, who, sizeof(who));
	wanted.epoch = waiting->epoch = old ? old->record.epoch : 1;
	snprintf(waiting->owner, sizeof(waiting->owner), "%s",
		 old ? old->record.owner : engine->domain);
	if (!disk_keys_needed(&wanted) && !waiting->file.manifest.tpm)
		return begin(engine, &waiting->file, waiting->any_file, &waiting->keys,
			     &waiting->tpm, request, err);
	if (!disk_keys_needed(&wanted)) {
		if (!ask_tpm_keys(waiting, err))
			return false;
		TAKE_PTR(waiting);
		return true;
	}
	waiting->keys = disk_keys_new(engine, &wanted, on_keys, waiting, err);
	if (!waiting->keys)
		return false;
	TAKE_PTR(waiting);
	return true;
}
