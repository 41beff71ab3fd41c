/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/sealed_disks.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "engine/disk_daemon.h"
#include "engine/vm_rekey.h"
#include "vmm/disk_mirror.h"

enum { DAEMON_START_MS = 60000, ABORT_MS = 5000 };

static const char held[] = "-held"; /* in the names of daemons */

typedef enum SealedState {
	SEALED_NONE,
	SEALED_STARTS, /* or is looked for after a restart */
	SEALED_SERVES,
	SEALED_LOST, /* its monitor does not answer; it may well serve */
	SEALED_ENDS,
	SEALED_ENDED,
	SEALED_STATE_COUNT,
} SealedState;

static const char *const state_words[SEALED_STATE_COUNT] = { "none", "starts", "serves",
							     "lost", "ends",   "ended" };

typedef struct SealedDisk {
	SealedDisks *all;
	size_t disk;
	DiskDaemon *daemon; /* NULL: none, or it has ended */
	SealedState state;
	bool adopted;
	int hold_fd; /* keeps the hypervisor out until the daemon is ready for it */
} SealedDisk;

struct SealedDisks {
	Vm *vm;
	SealedDisk disks[LIMIT_DISKS];
	bool ending;
	Error failure; /* of the start */
};

static SealedDisks *of_vm(Vm *vm, Error *err)
{
	SealedDisks *all = calloc(1, sizeof(*all));

	if (!all) {
		error_set(err, ERROR_INTERNAL, "no memory for the storage daemons of a VM");
		return NULL;
	}
	all->vm = vm;
	for (size_t i = 0; i < LIMIT_DISKS; i++)
		all->disks[i] = (SealedDisk){ .all = all, .disk = i, .hold_fd = -1 };
	vm->sealed_disks = all;
	return all;
}

static void name_daemon(const Vm *vm, size_t disk, char ret_instance[LIMIT_NAME])
{
	snprintf(ret_instance, LIMIT_NAME, "%.40s%s%u", vm->record.instance, held,
		 (unsigned int)disk);
}

static const char *volume_of(const SealedDisk *disk)
{
	return disk->all->vm->record.manifest.disks[disk->disk].volume;
}

/* --- the end --- */

static void release(SealedDisks *all)
{
	for (size_t i = 0; all && i < LIMIT_DISKS; i++)
		cleanup_fd(&all->disks[i].hold_fd);
	free(all);
}

/* Once nothing of them is left. */
static void settle(SealedDisks *all)
{
	Vm *vm = all->vm;

	for (size_t i = 0; i < LIMIT_DISKS; i++)
		if (all->disks[i].daemon)
			return;
	if (!all->ending)
		return;
	release(TAKE_PTR(vm->sealed_disks));
	if (vm->stopping && !vm->handle)
		api_return(TAKE_PTR(vm->stopping), NULL);
}

static void on_gone(void *context, const Error *cause)
{
	SealedDisk *disk = context;
	SealedDisks *all = disk->all;
	Vm *vm = all->vm;

	disk_daemon_end(TAKE_PTR(disk->daemon));
	disk->state = SEALED_ENDED;
	if (!all->ending && vm->handle)
		engine_warn(
			vm->engine,
			"VM %s: the storage daemon of disk %s ended: what the guest asks of that disk "
			"fails until the VM is stopped and started: %.200s",
			vm->record.name, volume_of(disk), cause->text);
	settle(all);
}

static void kill_daemon(SealedDisk *disk, const Error *why)
{
	log_warning(disk->all->vm->engine->log, "vm=%s disk %s: its storage daemon is killed: %s",
		    disk->all->vm->record.name, volume_of(disk), why->text);
	disk_daemon_end(TAKE_PTR(disk->daemon));
	disk->state = SEALED_ENDED;
	settle(disk->all);
}

static void on_stopped(void *context, const Error *err)
{
	SealedDisk *disk = context;

	/* Else on_gone follows. */
	if (err && disk->daemon)
		kill_daemon(disk, err);
}

static void stop(SealedDisk *disk)
{
	Error err = ERROR_INIT;

	disk->state = SEALED_ENDS;
	if (!disk_daemon_stop(disk->daemon, on_stopped, &err))
		kill_daemon(disk, &err);
}

void sealed_disks_end(Vm *vm)
{
	SealedDisks *all = vm->sealed_disks;

	if (!all || all->ending)
		return;
	all->ending = true;
	/* What starts yet is stopped when it has; the last may release all. */
	for (size_t i = 0; vm->sealed_disks == all && i < LIMIT_DISKS; i++)
		if (all->disks[i].daemon && all->disks[i].state != SEALED_STARTS)
			stop(&all->disks[i]);
	if (vm->sealed_disks == all)
		settle(all);
}

bool sealed_disks_check_ended(const Vm *vm, Error *err)
{
	return !vm->sealed_disks ||
	       error_set(err, ERROR_CONFLICT, "the storage daemons of VM %s are still ending",
			 vm->record.name);
}

void sealed_disks_forget(Vm *vm)
{
	SealedDisks *all = TAKE_PTR(vm->sealed_disks);

	/* Of an engine that stops they are let go of already, and found again. */
	for (size_t i = 0; all && !vm->engine->stopping && i < LIMIT_DISKS; i++)
		if (all->disks[i].daemon)
			disk_daemon_retire(all->disks[i].daemon);
	release(all);
}

/* --- the beginning --- */

void sealed_disks_choose(Vm *vm, ResolvedVm *resolved)
{
	uint32_t exposed = vm_rekey_exposed(vm);

	for (size_t i = 0; i < resolved->manifest.disks_count; i++)
		if (exposed >> i & 1)
			resolved->disks[i].served = false;
}

/* The hypervisor waits in its handshake, without a monitor. */
static void give_up_start(Vm *vm, size_t disk, const Error *failure)
{
	SealedDisks *all = vm->sealed_disks;
	Error err = ERROR_INIT;

	if (all && !all->failure.category) {
		all->failure = *failure;
		error_prefix(&all->failure, "disk %s: its storage daemon",
			     vm->record.manifest.disks[disk].volume);
	}
	if (vm->handle && !vmm_kill(vm->handle, &err))
		log_warning(vm->engine->log, "vm=%s: %s", vm->record.name, err.text);
}

static void ignore(void *context, const Error *err)
{
	(void)context;
	(void)err;
}

static void let_in(SealedDisk *disk)
{
	cleanup_fd(&disk->hold_fd);
	disk->hold_fd = -1;
}

static void on_ready(void *context, const Error *err)
{
	SealedDisk *disk = context;
	SealedDisks *all = disk->all;
	Error ignored = ERROR_INIT;

	if (!disk->daemon)
		return;
	let_in(disk);
	disk->state = err ? SEALED_LOST : SEALED_SERVES;
	if (all->ending) {
		stop(disk);
		return;
	}
	if (err && !disk->adopted)
		give_up_start(all->vm, disk->disk, err);
	else if (err)
		engine_warn(all->vm->engine,
			    "VM %s: the storage daemon of disk %s does not answer: %.200s",
			    all->vm->record.name, volume_of(disk), err->text);
	/* Who carried its copy to another host is gone. None is as good. */
	else if (disk->adopted && disk_daemon_vm(disk->daemon) &&
		 !disk_mirror_abort(disk_daemon_vm(disk->daemon), ABORT_MS, ignore, NULL, &ignored))
		log_debug(all->vm->engine->log, "vm=%s: %s", all->vm->record.name, ignored.text);
}

static bool start_one(SealedDisk *disk, const ResolvedVm *resolved, Error *err)
{
	Vm *vm = disk->all->vm;
	char instance[LIMIT_NAME];
	const StorageDaemonStart start = { .resources = &vm->engine->config.resources,
					   .instance = instance,
					   .vm = resolved,
					   .disk = disk->disk,
					   .sealed = true,
					   .export_name =
						   resolved->manifest.disks[disk->disk].volume,
					   .listens = true,
					   .listen_fd = resolved->disks[disk->disk].listen_fd,
					   .deadline_ms = DAEMON_START_MS };

	name_daemon(vm, disk->disk, instance);
	disk->hold_fd = fcntl(resolved->disks[disk->disk].hold_fd, F_DUPFD_CLOEXEC, 3);
	if (disk->hold_fd < 0)
		return error_set_errno(err, ERROR_INTERNAL, errno, "cannot hold its connection");
	disk->daemon = disk_daemon_start(vm->engine, &start, on_ready, disk, err);
	if (!disk->daemon)
		return false;
	disk_daemon_tell(disk->daemon, on_gone);
	disk->state = SEALED_STARTS;
	return true;
}

void sealed_disks_start(Vm *vm, const ResolvedVm *resolved)
{
	SealedDisks *all = vm->sealed_disks;

	for (size_t i = 0; i < resolved->manifest.disks_count; i++) {
		Error err = ERROR_INIT;

		if (!resolved->disks[i].served)
			continue;
		if (!all)
			all = of_vm(vm, &err);
		if (!all || !start_one(&all->disks[i], resolved, &err)) {
			give_up_start(vm, i, &err);
			return;
		}
	}
}

Error sealed_disks_failure(const Vm *vm)
{
	return vm->sealed_disks ? vm->sealed_disks->failure : ERROR_INIT;
}

void sealed_disks_adopt(Vm *vm)
{
	SealedDisks *all = vm->sealed_disks;

	for (size_t i = 0; vm->record.instance[0] && i < vm->record.manifest.disks_count; i++) {
		char instance[LIMIT_NAME];
		Error err = ERROR_INIT;

		if (!all)
			all = of_vm(vm, &err);
		if (!all)
			return;
		name_daemon(vm, i, instance);
		all->disks[i].adopted = true;
		all->disks[i].daemon =
			disk_daemon_adopt(vm->engine, instance, i, on_ready, &all->disks[i], &err);
		if (all->disks[i].daemon) {
			all->disks[i].state = SEALED_STARTS;
			disk_daemon_tell(all->disks[i].daemon, on_gone);
			log_info(vm->engine->log, "vm=%s disk=%s its storage daemon is adopted",
				 vm->record.name, volume_of(&all->disks[i]));
		} else if (err.category != ERROR_NOT_FOUND) {
			log_warning(vm->engine->log, "%s: %s", instance, err.text);
		}
	}
	/* Most have none. */
	for (size_t i = 0; all && i < LIMIT_DISKS; i++)
		if (all->disks[i].daemon)
			return;
	release(TAKE_PTR(vm->sealed_disks));
}

static bool is_known(const Engine *engine, const char *instance)
{
	const Vm *vm;

	LIST_FOREACH(vm, &engine->vms, link)
	for (size_t i = 0; vm->record.instance[0] && i < LIMIT_DISKS; i++) {
		char name[LIMIT_NAME];

		name_daemon(vm, i, name);
		if (!strcmp(name, instance))
			return true;
	}
	return false;
}

void sealed_disks_sweep(Engine *engine)
{
	DIR *directory = opendir(engine->config.resources.run_directory);
	const struct dirent *entry;

	/* All that the VM's hypervisor flushed is stable: they need no order to end by. */
	while (directory && (entry = readdir(directory)))
		if (strlen(entry->d_name) < LIMIT_NAME && strstr(entry->d_name, held) &&
		    !is_known(engine, entry->d_name))
			disk_daemon_end_orphan(engine, entry->d_name);
	if (directory)
		closedir(directory);
}

/* --- questions --- */

static const SealedDisk *find(const Vm *vm, size_t disk)
{
	return vm->sealed_disks && disk < LIMIT_DISKS ? &vm->sealed_disks->disks[disk] : NULL;
}

bool sealed_disks_has(const Vm *vm, size_t disk)
{
	const SealedDisk *found = find(vm, disk);

	return found && found->state != SEALED_NONE;
}

VmmVm *sealed_disks_daemon(const Vm *vm, size_t disk)
{
	const SealedDisk *found = find(vm, disk);

	return found && found->daemon && found->state == SEALED_SERVES
		       ? disk_daemon_vm(found->daemon)
		       : NULL;
}

void sealed_disks_view(const Vm *vm, json_t *view)
{
	json_t *list = vm->sealed_disks ? json_array() : NULL;

	for (size_t i = 0; list && i < vm->record.manifest.disks_count; i++) {
		const SealedDisk *disk = find(vm, i);
		VmmVm *daemon = disk->daemon ? disk_daemon_vm(disk->daemon) : NULL;
		json_t *entry;

		if (disk->state == SEALED_NONE)
			continue;
		entry = json_pack("{s:s, s:s}", "volume", volume_of(disk), "daemon",
				  state_words[disk->state]);
		if (daemon)
			(void)json_object_set_new(entry, "pid", json_integer(vmm_pid(daemon)));
		(void)json_array_append_new(list, entry);
	}
	if (list)
		(void)json_object_set_new(view, "sealed_disks", list);
}
