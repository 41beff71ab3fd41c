/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/vm_rekey.h"

#include <assert.h>
#include <event2/event.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "engine/disk_keys.h"
#include "engine/sealed_disks.h"
#include "engine/vm_rekey_internal.h"

enum {
	REKEYS_MAX = 4, /* VMs at once: each reads and writes whole disks */
	IMAGE_MS = 100000,
	COPY_MS = 48 * 3600 * 1000,
	ORDER_MS = 30000,
	RETRY_FIRST_S = 60,
	RETRY_LEFT_S = 2, /* what is left holds the VM here */
	RETRY_LAST_S = 3600,
};

static const char *const stage_words[] = {
	[REKEY_ASKS] = "new key", [REKEY_MAKES] = "new image", [REKEY_COPIES] = "copy",
	[REKEY_HOLDS] = "hold",	  [REKEY_SWITCHES] = "switch", [REKEY_DESTROYS] = "destroy",
	[REKEY_UNDOES] = "undo",
};
static_assert(ARRAY_SIZE(stage_words) == REKEY_STAGE_COUNT, "one word for each stage");

/* --- calls --- */

RekeyCall *rekey_call_new(const VmRekey *rekey, Error *err)
{
	RekeyCall *call = malloc(sizeof(*call));

	if (call)
		*call = (RekeyCall){ rekey->engine, rekey->serial };
	else
		error_set(err, ERROR_INTERNAL, "no memory for a call");
	return call;
}

VmRekey *rekey_call_take(void *context)
{
	AUTO_FREE RekeyCall *call = context;
	Vm *vm;

	LIST_FOREACH(vm, &call->engine->vms, link)
	if (vm->rekey && vm->rekey->serial == call->serial)
		return vm->rekey;
	return NULL;
}

ManifestDisk *rekey_disk(VmRekey *rekey)
{
	return &rekey->subject;
}

DiskRekey rekey_about(VmRekey *rekey)
{
	return (DiskRekey){ .disk = rekey->disk,
			    .version = rekey->files.version,
			    .image = rekey_disk(rekey),
			    .direct = rekey->files.pool && rekey->files.pool->direct,
			    .fd = rekey->fd,
			    .secret_fd = rekey->secret_fd,
			    .deadline_ms = rekey->stage == REKEY_COPIES ? COPY_MS : ORDER_MS };
}

typedef bool Order(VmmVm *vm, const DiskRekey *about, VmmDone *done, void *context, Error *err);

static bool order(VmRekey *rekey, Order *function, VmmDone *done, Error *err)
{
	const DiskRekey about = rekey_about(rekey);
	RekeyCall *call;

	if (!rekey->vm->handle)
		return error_set(err, ERROR_HYPERVISOR, "the VM has no process");
	call = rekey_call_new(rekey, err);
	if (!call)
		return false;
	if (function(rekey->vm->handle, &about, done, call, err))
		return true;
	free(call);
	return false;
}

/* --- the end --- */

static void release(VmRekey *rekey)
{
	rekey->vm->rekey = NULL;
	rekey_wipe_secret(rekey);
	image_create_free(rekey->image);
	cleanup_fd(&rekey->fd);
	json_decref(rekey->disks);
	free(rekey);
}

static void put_off(Vm *vm)
{
	unsigned int doublings = vm->rekeying.failures < 12 ? vm->rekeying.failures : 12;
	int64_t delay_s = (int64_t)(vm->rekeying.left ? RETRY_LEFT_S : RETRY_FIRST_S) << doublings;

	vm->rekeying.failures++;
	vm->rekeying.retry_us = clock_monotonic_us(&clock_system) +
				(delay_s < RETRY_LAST_S ? delay_s : RETRY_LAST_S) * 1000000;
}

void rekey_end(VmRekey *rekey, const Error *failure)
{
	Vm *vm = rekey->vm;
	Engine *engine = rekey->engine;
	ApiRequest *request = TAKE_PTR(rekey->request);
	json_t *disks = json_incref(rekey->disks);

	if (failure)
		put_off(vm);
	else
		vm->rekeying.failures = 0;
	vm->rekeying.look = true;
	release(rekey);
	api_event(engine, "vm", view_vm(vm));
	if (failure && request)
		api_fail(request, failure);
	else if (request)
		api_return(request, json_pack("{s:s, s:O}", "vm", vm->record.name, "disks", disks));
	json_decref(disks);
}

/* Told in plain words: which disk, and what holds now. */
static void finish_failed(VmRekey *rekey, bool left)
{
	const ManifestDisk *disk = rekey_disk(rekey);
	const char *what =
		rekey->stage == REKEY_DESTROYS
			? "the disk has its new key, and what it had before is not destroyed yet"
			: (left ? "it is not over, and looked at again"
				: "the disk goes on with its old key");
	Error err = rekey->failure;

	rekey->vm->rekeying.left = rekey->vm->rekeying.left || left;
	error_prefix(&err, "disk %s/%s: no change of key: %s", disk->pool, disk->volume, what);
	engine_warn(rekey->engine, "VM %s %.400s", rekey->vm->record.name, err.text);
	rekey_end(rekey, &err);
}

static void on_undone(void *context, const Error *err)
{
	VmRekey *rekey = rekey_call_take(context);
	Error ignored = ERROR_INIT;

	if (rekey)
		finish_failed(rekey, err || !rekey_files_remove(&rekey->files, &ignored));
}

/* Before there is anything in the hypervisor: what was made goes. */
static void remove_new_image(VmRekey *rekey)
{
	Error ignored = ERROR_INIT;

	image_create_free(TAKE_PTR(rekey->image));
	finish_failed(rekey, !rekey_files_remove(&rekey->files, &ignored));
}

void rekey_fail(VmRekey *rekey, const Error *failure)
{
	RekeyStage stage = rekey->stage;
	Error err = ERROR_INIT;

	rekey->failure = *failure;
	rekey_wipe_secret(rekey);
	switch (stage) {
	case REKEY_ASKS:
	case REKEY_MAKES:
		if (rekey->settles)
			finish_failed(rekey, true);
		else
			remove_new_image(rekey);
		break;
	case REKEY_COPIES:
	case REKEY_HOLDS:
		rekey->stage = REKEY_UNDOES;
		/* A hypervisor that is gone, or cannot be reached: it is looked at later. */
		if (!order(rekey, disk_rekey_abort, on_undone, &err))
			finish_failed(rekey, true);
		break;
	case REKEY_SWITCHES:
	case REKEY_DESTROYS:
	case REKEY_UNDOES:
	case REKEY_STAGE_COUNT:
		finish_failed(rekey, true);
		break;
	}
}

static bool was_cancelled(VmRekey *rekey, Error *err)
{
	return rekey->cancelled && !error_set(err, ERROR_CANCELLED, "it was given up");
}

/* --- 5 to 7: the exchange and after --- */

static ManifestDisk *row_of(const VmRekey *rekey)
{
	Manifest *manifest = &rekey->vm->record.manifest;

	for (size_t i = 0; i < manifest->disks_count; i++)
		if (!memcmp(manifest->disks[i].key, rekey->subject.key, sizeof(rekey->subject.key)))
			return &manifest->disks[i];
	return NULL;
}

bool rekey_save_version(VmRekey *rekey, uint64_t version, Error *err)
{
	ManifestDisk *row = row_of(rekey);
	uint64_t before = row ? row->key_version : version;

	rekey->subject.key_version = version;
	if (before == version)
		return true;
	row->key_version = version;
	if (vm_save(rekey->vm, err))
		return true;
	row->key_version = before;
	return false;
}

/* The row follows only now: had the hypervisor not switched, the pool would have to go back, and
 * nobody would know to which version. */
static void on_switched(void *context, const Error *err)
{
	VmRekey *rekey = rekey_call_take(context);
	Error failure = err ? *err : ERROR_INIT;

	if (!rekey)
		return;
	if (err || !rekey_save_version(rekey, rekey->files.version, &failure))
		rekey_fail(rekey, &failure);
	else
		rekey_destroy_old(rekey);
}

void rekey_switch(VmRekey *rekey)
{
	Error err = ERROR_INIT;

	rekey->stage = REKEY_SWITCHES;
	if (!order(rekey, disk_rekey_switch, on_switched, &err))
		rekey_fail(rekey, &err);
}

/* Between the exchange and the end of the switch nothing is waited for: the guest's disk stands
 * still. */
static void on_held(void *context, const Error *err)
{
	VmRekey *rekey = rekey_call_take(context);
	Error failure = err ? *err : ERROR_INIT;

	if (!rekey)
		return;
	if (err || was_cancelled(rekey, &failure) ||
	    !rekey_files_exchange(&rekey->files, rekey_disk(rekey), rekey->fd, &failure)) {
		rekey_fail(rekey, &failure);
		return;
	}
	rekey_switch(rekey);
}

/* --- 3 and 4: the copy --- */

static void on_copied(void *context, const Error *err)
{
	VmRekey *rekey = rekey_call_take(context);
	Error failure = err ? *err : ERROR_INIT;

	if (!rekey || rekey->stage != REKEY_COPIES)
		return;
	rekey_wipe_secret(rekey);
	if (err || was_cancelled(rekey, &failure)) {
		rekey_fail(rekey, &failure);
		return;
	}
	rekey->stage = REKEY_HOLDS;
	if (!order(rekey, disk_rekey_hold, on_held, &failure))
		rekey_fail(rekey, &failure);
}

static bool begin_copy(VmRekey *rekey, Error *err)
{
	if (!rekey_files_hide(&rekey->files, rekey_disk(rekey), &rekey->fd, err))
		return false;
	rekey->stage = REKEY_COPIES;
	return order(rekey, disk_rekey_start, on_copied, err);
}

/* --- 2: the image --- */

static void on_image(void *context, const Error *err)
{
	VmRekey *rekey = context;
	Error failure = err ? *err : ERROR_INIT;

	image_create_free(TAKE_PTR(rekey->image));
	if (err || was_cancelled(rekey, &failure) || !begin_copy(rekey, &failure))
		rekey_fail(rekey, &failure);
}

void rekey_make_image(VmRekey *rekey)
{
	const ManifestDisk *disk = rekey_disk(rekey);
	const PoolResource *pool = rekey->files.pool;
	char name[LIMIT_NAME];
	Error err = ERROR_INIT;
	const ImageRequest request = {
		.resources = &rekey->engine->config.resources,
		.peer_domain = pool->access.local ? NULL : pool->access.domains[0],
		.pool = disk->pool,
		.volume = name,
		.format = disk->format,
		.encryption = disk->encryption,
		.secret_fd = rekey->secret_fd,
		.size_bytes = disk->size_bytes,
		.sparse = disk->format == DISK_QCOW2,
		.deadline_ms = IMAGE_MS,
	};

	rekey->stage = REKEY_MAKES;
	rekey_files_fresh_name(disk, rekey->files.version, name);
	/* Of an engine that died before it could hide it. */
	if (!image_remove(request.resources, request.peer_domain, disk->pool, name, NULL, &err)) {
		rekey_fail(rekey, &err);
		return;
	}
	rekey->image = image_create_new(rekey->engine->base, &request, on_image, rekey, &err);
	if (!rekey->image)
		rekey_fail(rekey, &err);
}

/* --- 1: the key --- */

static bool begin_disk(VmRekey *rekey, Error *err)
{
	const Resources *resources = &rekey->engine->config.resources;
	ManifestDisk *disk = rekey_disk(rekey);

	rekey->stage = REKEY_ASKS;
	rekey->files = (RekeyFiles){ .place = REKEY_NOTHING };
	cleanup_fd(&rekey->fd);
	rekey->fd = -1;
	rekey->done_bytes = rekey->total_bytes = 0;
	if (!rekey->vm->handle)
		return error_set(err, ERROR_HYPERVISOR, "the VM has no process");
	if (!rekey_files_pool(resources, disk, vmm_pid(rekey->vm->handle), &rekey->files.pool, err))
		return false;
	/* Before a key is made for nothing. */
	if (!rekey_files_check(rekey->files.pool, disk, err))
		return false;
	rekey_ask_key(rekey);
	return true;
}

void rekey_next(VmRekey *rekey)
{
	Error err = ERROR_INIT;

	while (rekey->disk < LIMIT_DISKS && !(rekey->left >> rekey->disk & 1))
		rekey->disk++;
	if (rekey->disk == LIMIT_DISKS) {
		rekey_end(rekey, NULL);
		return;
	}
	rekey->subject = rekey->vm->record.manifest.disks[rekey->disk];
	if (rekey->settles)
		rekey_settle_disk(rekey);
	else if (was_cancelled(rekey, &err) || !begin_disk(rekey, &err))
		rekey_fail(rekey, &err);
}

void rekey_disk_done(VmRekey *rekey)
{
	const ManifestDisk *disk = rekey_disk(rekey);
	char id[KEY_ID_HEX];
	json_t *told;

	key_id_text(disk->key, id);
	told = json_pack("{s:s, s:s, s:s, s:s, s:I}", "vm", rekey->vm->record.name, "pool",
			 disk->pool, "volume", disk->volume, "key", id, "version",
			 (json_int_t)disk->key_version);
	log_info(rekey->engine->log, "vm=%s rekeyed disk=%s/%s key=%s version=%llu",
		 rekey->vm->record.name, disk->pool, disk->volume, id,
		 (unsigned long long)disk->key_version);
	(void)json_array_append(rekey->disks, told);
	api_event(rekey->engine, "rekeyed", told);
	rekey->disk++;
	rekey_next(rekey);
}

/* --- the beginning --- */

VmRekey *rekey_new(Vm *vm, uint32_t disks, ApiRequest *request, const char *who, Error *err)
{
	VmRekey *rekey = calloc(1, sizeof(*rekey));

	if (!rekey) {
		error_set(err, ERROR_INTERNAL, "no memory for a change of key");
		return NULL;
	}
	rekey->engine = vm->engine;
	rekey->vm = vm;
	rekey->serial = ++vm->engine->next_serial;
	rekey->request = request;
	rekey->left = disks;
	rekey->secret_fd = rekey->fd = -1;
	rekey->disks = json_array();
	snprintf(rekey->who, sizeof(rekey->who), "%s", who);
	vm->rekey = rekey;
	return rekey;
}

/* The hypervisor that has the key has not the image. One that starts with a key that others had gets
 * both (sealed_disks_choose). */
static bool refuse_served(const Vm *vm, size_t i, Error *err)
{
	const ManifestDisk *disk = &vm->record.manifest.disks[i];

	return error_set(err, ERROR_CONFLICT,
			 "disk %s/%s is held by a storage daemon without its key (sealed pool): %s",
			 disk->pool, disk->volume,
			 vm->rekeying.exposed >> i & 1
				 ? "its key can be changed once the VM was stopped and started"
				 : "its key cannot be changed while the VM runs");
}

static bool choose(const Vm *vm, const char *volume, bool by_itself, uint32_t *ret_disks, Error *err)
{
	const Manifest *manifest = &vm->record.manifest;

	*ret_disks = 0;
	for (size_t i = 0; i < manifest->disks_count; i++) {
		const ManifestDisk *disk = &manifest->disks[i];

		if (disk->encryption != DISK_LUKS || (volume && strcmp(disk->volume, volume) != 0))
			continue;
		if (sealed_disks_has(vm, i) && !disk->read_only) {
			if (by_itself && !(vm->rekeying.exposed >> i & 1))
				continue;
			return refuse_served(vm, i, err);
		}
		if (disk->read_only && volume)
			return error_set(err, ERROR_CONFLICT, "disk %s/%s is only read", disk->pool,
					 disk->volume);
		if (!disk->read_only)
			*ret_disks |= UINT32_C(1) << i;
	}
	return *ret_disks || error_set(err, ERROR_CONFLICT, "VM %s has no encrypted disk%s%.64s",
				       vm->record.name, volume ? " " : "", volume ? volume : "");
}

static bool check_vm(const Vm *vm, Error *err)
{
	const char *name = vm->record.name;
	const Vm *other;
	size_t count = 0;

	if (vm->job)
		return error_set(err, ERROR_CONFLICT, "VM %s is being migrated", name);
	if (vm->record.state != VM_RUNNING || !vm->handle)
		return error_set(err, ERROR_CONFLICT, "VM %s is not running here, state %s", name,
				 vm_state_words[vm->record.state]);
	if (vm->rekey || vm->rekeying.left)
		return error_set(err, ERROR_CONFLICT, "the keys of VM %s are being changed already",
				 name);
	if (!vm->engine->keys)
		return error_set(err, ERROR_UNAVAILABLE, "no key manager is configured");
	LIST_FOREACH(other, &vm->engine->vms, link)
	count += other->rekey != NULL;
	return count < REKEYS_MAX ||
	       error_set(err, ERROR_LIMIT, "the keys of %zu VMs are being changed, at most %d",
			 count, REKEYS_MAX);
}

bool vm_rekey_begin(Vm *vm, const char *volume, ApiRequest *request, Error *err)
{
	char caller[KEY_WHO_SIZE], who[KEY_WHO_SIZE];
	uint32_t disks = 0;
	VmRekey *rekey;

	if (!check_vm(vm, err) || !choose(vm, volume, !request, &disks, err))
		return false;
	if (request)
		keys_caller(request, caller);
	else
		snprintf(caller, sizeof(caller), "%s", "by itself, since others had its key");
	snprintf(who, sizeof(who), "rekey of %s, %.120s", vm->record.name, caller);
	rekey = rekey_new(vm, request ? disks : disks & vm->rekeying.exposed, request, who, err);
	if (!rekey)
		return false;
	log_info(vm->engine->log, "vm=%s changes the keys of its disks, %s", vm->record.name,
		 caller);
	rekey_next(rekey);
	return true;
}

bool vm_rekey_cancel(Vm *vm, Error *err)
{
	VmRekey *rekey = vm->rekey;
	Error given_up = ERROR_INIT;

	if (!rekey || rekey->settles || rekey->stage > REKEY_COPIES)
		return error_set(err, ERROR_CONFLICT,
				 "VM %s has no change of key that may be given up",
				 vm->record.name);
	rekey->cancelled = true;
	/* In the other stages the next answer is soon there. */
	if (rekey->stage == REKEY_COPIES && was_cancelled(rekey, &given_up))
		rekey_fail(rekey, &given_up);
	return true;
}

bool vm_rekey_check_leaving(const Vm *vm, Error *err)
{
	return (!vm->rekey && !vm->rekeying.left) ||
	       error_set(err, ERROR_CONFLICT,
			 "the keys of VM %s are being changed: it stays until then",
			 vm->record.name);
}

/* --- views --- */

static json_t *view_exposed(const Vm *vm)
{
	const Manifest *manifest = &vm->record.manifest;
	json_t *list = json_array();

	for (size_t i = 0; i < manifest->disks_count; i++)
		if (vm->rekeying.exposed >> i & 1)
			(void)json_array_append_new(list, json_string(manifest->disks[i].volume));
	return json_pack(
		"{s:s, s:o, s:s}", "domain", vm->rekeying.exposed_to, "disks", list, "text",
		"until its key is changed, that domain could read the disk with a header of its "
		"image that it kept");
}

void vm_rekey_view(const Vm *vm, json_t *view)
{
	VmRekey *rekey = vm->rekey;
	json_t *entry;

	if (vm->rekeying.exposed)
		(void)json_object_set_new(view, "exposed", view_exposed(vm));
	if (!rekey || rekey->disk >= LIMIT_DISKS)
		return;
	entry = json_pack("{s:s, s:s}", "disk", rekey_disk(rekey)->volume, "stage",
			  stage_words[rekey->stage]);
	if (rekey->total_bytes)
		(void)json_object_set_new(
			entry, "percent",
			json_integer((json_int_t)((double)rekey->done_bytes * 100 /
						  (double)rekey->total_bytes)));
	(void)json_object_set_new(view, "rekey", entry);
}

void vm_rekey_stop(Engine *engine)
{
	Error err = ERROR_INIT;
	Vm *vm;

	error_set(&err, ERROR_UNAVAILABLE, "the engine stops; it goes on when it is there again");
	LIST_FOREACH(vm, &engine->vms, link)
	if (vm->rekey) {
		if (vm->rekey->request)
			api_fail(TAKE_PTR(vm->rekey->request), &err);
		release(vm->rekey);
	}
	if (engine->rekey_timer)
		event_free(TAKE_PTR(engine->rekey_timer));
}
