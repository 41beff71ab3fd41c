/* SPDX-License-Identifier: Apache-2.0 */
/* What an earlier life of the engine or the VM left of a change of key, and what is owed. */
#include <event2/event.h>
#include <stdio.h>
#include <string.h>

#include "engine/disk_keys.h"
#include "engine/vm_rekey_internal.h"

enum { TICK_S = 1 };

/* --- one disk --- */

static void nothing_left(VmRekey *rekey)
{
	rekey->disk++;
	rekey_next(rekey);
}

static void remove_unused(VmRekey *rekey)
{
	Error err = ERROR_INIT;

	if (rekey_files_remove(&rekey->files, &err)) {
		log_info(rekey->engine->log, "vm=%s a change of key was undone disk=%s/%s",
			 rekey->vm->record.name, rekey_disk(rekey)->pool,
			 rekey_disk(rekey)->volume);
		nothing_left(rekey);
	} else {
		rekey_fail(rekey, &err);
	}
}

static void on_aborted(void *context, const Error *err)
{
	VmRekey *rekey = rekey_call_take(context);

	if (!rekey)
		return;
	if (err)
		rekey_fail(rekey, err);
	else
		remove_unused(rekey);
}

static void undo(VmRekey *rekey)
{
	const DiskRekey about = rekey_about(rekey);
	Error err = ERROR_INIT;
	RekeyCall *call = rekey_call_new(rekey, &err);

	rekey->stage = REKEY_UNDOES;
	if (call && disk_rekey_abort(rekey->vm->handle, &about, on_aborted, call, &err))
		return;
	free(call);
	rekey_fail(rekey, &err);
}

/* The guest has the old image, and writes to it: the pool and the row follow. */
static void go_back(VmRekey *rekey)
{
	Error err = ERROR_INIT;

	if (rekey_files_exchange(&rekey->files, rekey_disk(rekey), -1, &err))
		undo(rekey);
	else
		rekey_fail(rekey, &err);
}

static void go_on(VmRekey *rekey)
{
	Error err = ERROR_INIT;

	if (!rekey_save_version(rekey, rekey->files.version, &err))
		rekey_fail(rekey, &err);
	else
		rekey_destroy_old(rekey);
}

static void judge(VmRekey *rekey, const DiskRekeyState *state)
{
	bool exchanged = rekey->files.place == REKEY_EXCHANGED;
	Error err = ERROR_INIT;

	if (!exchanged && state->step == DISK_REKEY_MOVED) {
		error_set(&err, ERROR_INTERNAL, "the VM has an image that is not its volume");
		rekey_fail(rekey, &err);
	} else if (!exchanged) {
		undo(rekey);
	} else if (state->step == DISK_REKEY_HOLDS || state->step == DISK_REKEY_MOVED) {
		rekey_switch(rekey);
	} else if (rekey_files_in_use(&rekey->files, vmm_pid(rekey->vm->handle))) {
		go_back(rekey);
	} else {
		/* Started since, with the new one. */
		go_on(rekey);
	}
}

static void on_state(void *context, const DiskRekeyState *state, const Error *err)
{
	VmRekey *rekey = rekey_call_take(context);

	if (!rekey)
		return;
	if (err)
		rekey_fail(rekey, err);
	else
		judge(rekey, state);
}

static void ask_hypervisor(VmRekey *rekey)
{
	Error err = ERROR_INIT;
	RekeyCall *call = rekey_call_new(rekey, &err);

	if (call && disk_rekey_query(rekey->vm->handle, rekey->disk, rekey->files.version, on_state,
				     call, &err))
		return;
	free(call);
	rekey_fail(rekey, &err);
}

void rekey_settle_disk(VmRekey *rekey)
{
	Error err = ERROR_INIT;

	rekey->stage = REKEY_ASKS;
	rekey_files_find(&rekey->engine->config.resources, rekey_disk(rekey), &rekey->files);
	switch (rekey->files.place) {
	case REKEY_NOTHING:
		nothing_left(rekey);
		break;
	case REKEY_UNCLEAR:
		error_set(&err, ERROR_CONFLICT, "%s is neither its old nor its new image",
			  rekey->files.hidden);
		rekey_fail(rekey, &err);
		break;
	case REKEY_BEFORE:
	case REKEY_EXCHANGED:
		if (rekey->vm->handle)
			ask_hypervisor(rekey);
		else if (rekey->files.place == REKEY_BEFORE)
			remove_unused(rekey);
		else
			go_on(rekey);
		break;
	}
}

static uint32_t encrypted(const Manifest *manifest)
{
	uint32_t disks = 0;

	for (size_t i = 0; i < manifest->disks_count; i++)
		if (manifest->disks[i].encryption == DISK_LUKS)
			disks |= UINT32_C(1) << i;
	return disks;
}

static bool is_any_left(Engine *engine, const Manifest *manifest)
{
	for (size_t i = 0; i < manifest->disks_count; i++) {
		RekeyFiles files = { .place = REKEY_NOTHING };

		if (manifest->disks[i].encryption == DISK_LUKS)
			rekey_files_find(&engine->config.resources, &manifest->disks[i], &files);
		if (files.place != REKEY_NOTHING)
			return true;
	}
	return false;
}

/* One that fails sets the mark again. */
static void settle(Vm *vm)
{
	Error err = ERROR_INIT;
	VmRekey *rekey =
		rekey_new(vm, encrypted(&vm->record.manifest), NULL, "rekey, taken up again", &err);

	if (!rekey)
		return;
	rekey->settles = true;
	vm->rekeying.left = false;
	rekey_next(rekey);
}

/* --- what is owed --- */

typedef struct Owed {
	const Vm *vm;
	uint32_t disks;
	char domain[LIMIT_DOMAIN];
} Owed;

static bool was_seen(const MigrationRecord *record)
{
	if (record->keys_moving || record->state == MIGRATION_ACTIVE ||
	    record->state == MIGRATION_STUCK)
		return false;
	return record->role == MIGRATION_DESTINATION ? record->activating : record->keys_exposed;
}

static bool consider(void *context, const void *object, Error *err)
{
	Owed *owed = context;
	const Manifest *manifest = &owed->vm->record.manifest;
	const MigrationRecord *record = object;

	(void)err;
	if (strcmp(record->uuid, manifest->uuid) != 0 || !was_seen(record))
		return true;
	for (size_t i = 0; i < manifest->disks_count; i++)
		for (size_t k = 0; k < record->keys_count; k++) {
			const ManifestDisk *disk = &manifest->disks[i];
			const OfferedKey *key = &record->keys[k];

			if (disk->encryption != DISK_LUKS || key->purpose != KEY_IMAGE ||
			    memcmp(disk->key, key->id, sizeof(key->id)) != 0 ||
			    disk_key_version(disk) != key->version)
				continue;
			owed->disks |= UINT32_C(1) << i;
			peer_domain(record->peer_id, owed->domain);
		}
	return true;
}

static void look_for_owed(Vm *vm)
{
	Owed owed = { .vm = vm };
	Error err = ERROR_INIT;

	vm->rekeying.look = false;
	/* One that is elsewhere is that host's affair. */
	if (encrypted(&vm->record.manifest) && vm->record.state != VM_MOVED &&
	    !store_each(vm->engine->store, STORE_MIGRATIONS, consider, &owed, &err)) {
		log_warning(vm->engine->log, "vm=%s: %s", vm->record.name, err.text);
		return;
	}
	if (owed.disks == vm->rekeying.exposed)
		return;
	vm->rekeying.exposed = owed.disks;
	memcpy(vm->rekeying.exposed_to, owed.domain, sizeof(vm->rekeying.exposed_to));
	api_event(vm->engine, "vm", view_vm(vm));
}

void vm_rekey_note(Vm *vm)
{
	vm->rekeying.look = true;
}

uint32_t vm_rekey_exposed(Vm *vm)
{
	if (vm->rekeying.look)
		look_for_owed(vm);
	return vm->rekeying.exposed;
}

/* --- now and again --- */

static void on_progress(void *context, const DiskRekeyState *state, const Error *err)
{
	VmRekey *rekey = rekey_call_take(context);

	if (!rekey || err)
		return;
	rekey->done_bytes = state->done_bytes;
	rekey->total_bytes = state->total_bytes;
}

static void look_at_progress(VmRekey *rekey)
{
	Error ignored = ERROR_INIT;
	RekeyCall *call = rekey->stage == REKEY_COPIES && rekey->vm->handle
				  ? rekey_call_new(rekey, &ignored)
				  : NULL;

	if (call && !disk_rekey_query(rekey->vm->handle, rekey->disk, rekey->files.version,
				      on_progress, call, &ignored))
		free(call);
}

static bool is_any_under_way(const Engine *engine)
{
	const Vm *vm;

	LIST_FOREACH(vm, &engine->vms, link)
	if (vm->rekey)
		return true;
	return false;
}

/* By themselves one VM at a time: a host to which many moved would copy all their disks at once. */
static void look_at_vm(Vm *vm)
{
	const ConfigKeys *config = &vm->engine->config.keys;
	Error err = ERROR_INIT;

	if (vm->rekey) {
		look_at_progress(vm->rekey);
		return;
	}
	if (vm->job || vm->starting || vm->record.state == VM_STARTING)
		return;
	if (vm->rekeying.look)
		look_for_owed(vm);
	if (clock_monotonic_us(&clock_system) < vm->rekeying.retry_us)
		return;
	if (vm->rekeying.left)
		settle(vm);
	else if (vm->rekeying.exposed && config->wanted && config->rekey_after_move && vm->handle &&
		 vm->record.state == VM_RUNNING && !is_any_under_way(vm->engine) &&
		 !vm_rekey_begin(vm, NULL, NULL, &err))
		log_warning(vm->engine->log, "vm=%s: %s", vm->record.name, err.text);
}

static void on_tick(evutil_socket_t fd, short what, void *context)
{
	Engine *engine = context;
	Vm *vm;

	(void)fd;
	(void)what;
	LIST_FOREACH(vm, &engine->vms, link)
	look_at_vm(vm);
}

/* One that is elsewhere, or may be, is that host's affair. */
static void sweep_vm(const Vm *vm)
{
	const Manifest *manifest = &vm->record.manifest;

	if (vm->record.state != VM_RUNNING && vm->record.state != VM_STOPPED &&
	    vm->record.state != VM_FAILED)
		return;
	for (size_t i = 0; i < manifest->disks_count; i++)
		if (manifest->disks[i].encryption == DISK_LUKS)
			rekey_files_sweep(&vm->engine->config.resources, &manifest->disks[i]);
}

void vm_rekey_recover(Engine *engine)
{
	const struct timeval interval = { .tv_sec = TICK_S };
	Vm *vm;

	LIST_FOREACH(vm, &engine->vms, link)
	{
		vm->rekeying.look = true;
		vm->rekeying.left = is_any_left(engine, &vm->record.manifest);
		sweep_vm(vm);
	}
	if (!engine->rekey_timer)
		engine->rekey_timer = event_new(engine->base, -1, EV_PERSIST, on_tick, engine);
	if (!engine->rekey_timer || event_add(engine->rekey_timer, &interval))
		engine_warn(engine,
			    "no memory for a timer: keys of disks are not changed by themselves");
}

/* --- before a start --- */

static const ManifestDisk *disk_before(const Vm *old, const ManifestDisk *disk)
{
	const Manifest *manifest = &old->record.manifest;

	for (size_t i = 0; i < manifest->disks_count; i++)
		if (!strcmp(manifest->disks[i].pool, disk->pool) &&
		    !strcmp(manifest->disks[i].volume, disk->volume) &&
		    manifest->disks[i].encryption == DISK_LUKS)
			return &manifest->disks[i];
	return NULL;
}

bool vm_rekey_before_start(Engine *engine, Manifest *manifest, const Vm *old, Error *err)
{
	for (size_t i = 0; old && i < manifest->disks_count; i++) {
		ManifestDisk *disk = &manifest->disks[i];
		const ManifestDisk *before = disk_before(old, disk);
		RekeyFiles files;

		if (disk->encryption != DISK_LUKS || !before)
			continue;
		/* Said in full: only of a disk that nobody remembers it is guessed (disk_keys.h). */
		disk->key_version = disk_key_version(before);
		rekey_files_find(&engine->config.resources, before, &files);
		if (files.place == REKEY_EXCHANGED)
			disk->key_version = files.version;
		if (files.place == REKEY_UNCLEAR)
			return error_set(
				err, ERROR_CONFLICT,
				"volume %s/%s: a change of its key was left half done: %s is "
				"neither its old nor its new image",
				disk->pool, disk->volume, files.hidden);
	}
	return true;
}
