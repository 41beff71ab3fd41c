/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "vmm/disk_secret.h"
#include "vmm/feature_cache.h"
#include "vmm/qemu_features.h"
#include "vmm/qemu_status.h"
#include "vmm/qemu_vm.h"
#include "vmm/tap.h"
#include "vmm/unix_socket.h"

typedef struct Taps {
	int fds[LIMIT_NICS];
} Taps;

static void taps_close(Taps *taps)
{
	for (size_t i = 0; i < LIMIT_NICS; i++)
		if (taps->fds[i] >= 0)
			close(taps->fds[i]);
}

static bool open_taps(const ResolvedVm *vm, Taps *taps, Error *err)
{
	for (size_t i = 0; i < vm->manifest.nics_count; i++)
		if (vm->nics[i].kind == NETWORK_BRIDGE &&
		    !tap_open(vm->nics[i].bridge, &taps->fds[i], err))
			return error_prefix(err, "nic %zu", i);
	return true;
}

/* Before there is a process: QEMU would tell of a missing or wrong kind of secret in words that
 * only its authors understand. */
static bool check_secrets(const ResolvedVm *vm, Error *err)
{
	for (size_t i = 0; i < vm->manifest.disks_count; i++) {
		int fd = vm->disks[i].secret_fd;

		if (vm->manifest.disks[i].encryption == DISK_PLAIN)
			continue;
		if (fd < 0)
			return error_set(err, ERROR_USAGE,
					 "disk %zu is encrypted, and there is no secret for it", i);
		if (!disk_secret_check(fd, err))
			return error_prefix(err, "disk %zu", i);
	}
	return true;
}

/* A directory whose process is gone was left by a host or engine that died. */
static bool make_directory(const VmmStart *start, QemuDirectory *directory, Error *err)
{
	AUTO_QEMU_PROCESS QemuProcess process = QEMU_PROCESS_INIT;
	char record[sizeof(directory->path) + 16];

	if (qemu_directory_make(start->resources, start->instance, directory, err))
		return true;
	if (err->category != ERROR_CONFLICT ||
	    !qemu_directory_open(start->resources, start->instance, directory, err))
		return false;
	snprintf(record, sizeof(record), "%s/%s", directory->path, QEMU_FILE_RECORD);
	if (qemu_process_find(record, &process, &(Error){ 0 }))
		return error_set(err, ERROR_CONFLICT, "instance %s runs already as process %d",
				 start->instance, process.pid);
	qemu_directory_remove(directory);
	return qemu_directory_make(start->resources, start->instance, directory, err);
}

static bool spawn_in(const VmmStart *start, bool incoming, const QemuDirectory *directory,
		     QemuProcess *ret_process, Error *err)
{
	CLEANUP(taps_close) Taps taps;
	AUTO_QEMU_COMMAND QemuCommand command = { .argc = 0 };
	AUTO_FD int qmp_fd = -1;
	QemuCommandInput input = { .resources = start->resources,
				   .vm = start->vm,
				   .incoming = incoming,
				   .sockets_fd = directory->sockets_fd };
	char record[sizeof(directory->path) + 16];

	memset(&taps, 0xff, sizeof(taps));
	if (!open_taps(start->vm, &taps, err) ||
	    !unix_socket_listen(directory->fd, QEMU_FILE_QMP, 0600, &qmp_fd, err))
		return false;
	input.qmp_listen_fd = qmp_fd;
	memcpy(input.tap_fds, taps.fds, sizeof(taps.fds));
	snprintf(record, sizeof(record), "%s/%s", directory->path, QEMU_FILE_RECORD);
	return qemu_command_build(&input, &command, err) &&
	       qemu_process_spawn(&command, &start->resources->user, record, ret_process, err);
}

static QemuVm *spawn(struct event_base *base, const VmmStart *start, bool incoming,
		     const VmmEvents *events, void *events_context, Error *err)
{
	AUTO_QEMU_DIRECTORY QemuDirectory directory = QEMU_DIRECTORY_INIT;
	AUTO_QEMU_PROCESS QemuProcess process = QEMU_PROCESS_INIT;
	QemuVm *vm = NULL;
	struct stat program = { 0 };

	/* A program that is not there is told of by the spawn. */
	(void)!stat(start->resources->qemu_path, &program);
	if (!check_secrets(start->vm, err) || !make_directory(start, &directory, err))
		return NULL;
	if (spawn_in(start, incoming, &directory, &process, err)) {
		vm = qemu_vm_new(base, start->resources, &directory, &process, events,
				 events_context, err);
		if (!vm)
			qemu_process_destroy(&process);
	}
	if (!vm)
		qemu_directory_remove(&directory);
	else
		vm->program = program;
	return vm;
}

static bool check_schema(QemuOperation *operation, json_t *ret, Error *err)
{
	QemuVm *vm = operation->vm;

	if (operation->at)
		return true;
	if (!qemu_features_of_schema(ret, &vm->features, err))
		return false;
	/* Of an adopted VM nobody knows from which file it was started. */
	if (vm->program.st_ino)
		feature_cache_keep(vm->resources->feature_cache, &vm->program, &vm->features);
	return true;
}

/* The schema comes first, unless it is known. */
static void add_startup_steps(QemuOperation *operation, const char *last_command)
{
	QemuVm *vm = operation->vm;

	if (!feature_cache_find(vm->resources->feature_cache, &vm->program, &vm->features)) {
		operation->check = check_schema;
		qemu_operation_add(operation, "query-qmp-schema", json_object());
	}
	qemu_operation_add(operation, last_command, json_object());
}

/* What was started for a caller who will not get it. */
static VmmVm *give_up(QemuVm *vm)
{
	qemu_process_destroy(&vm->process);
	vm->exited = true;
	qemu_vm_free(&vm->head);
	return NULL;
}

VmmVm *qemu_start(struct event_base *base, const VmmStart *start, const VmmEvents *events,
		  void *events_context, VmmDone *done, void *context, Error *err)
{
	QemuVm *vm = spawn(base, start, false, events, events_context, err);
	QemuOperation *startup;

	if (!vm)
		return NULL;
	startup = qemu_operation_new_plain(vm, done, context, err);
	if (!startup)
		return give_up(vm);
	add_startup_steps(startup, "cont");
	qemu_vm_connect(vm, startup, start->deadline_ms);
	return &vm->head;
}

static void tell_prepared(QemuOperation *operation, json_t *ret, const Error *failure)
{
	QemuVm *vm = operation->vm;
	VmmPrepared prepared = { 0 };
	VmmRunState state = VMM_RUN_OTHER;
	int64_t cpu_us = 0;
	Error err = failure ? *failure : ERROR_INIT;
	bool ok = !failure && qemu_status_of_run(ret, &state, &err) &&
		  qemu_process_cpu_us(&vm->process, &cpu_us, &err);

	if (ok && state != VMM_RUN_INMIGRATE)
		ok = error_set(&err, ERROR_HYPERVISOR, "an incoming VM is %s, not inmigrate",
			       vmm_run_state_word(state));
	prepared.wall_ms = (clock_monotonic_us(&clock_system) - vm->started_us) / 1000;
	prepared.cpu_ms = cpu_us / 1000;
	operation->done.prepared(operation->context, ok ? &prepared : NULL, ok ? NULL : &err);
}

VmmVm *qemu_prepare_incoming(struct event_base *base, const VmmStart *start,
			     const VmmEvents *events, void *events_context, VmmPreparedDone *done,
			     void *context, Error *err)
{
	QemuVm *vm = spawn(base, start, true, events, events_context, err);
	QemuOperation *startup;

	if (!vm)
		return NULL;
	startup = qemu_operation_new(vm, context, err);
	if (!startup)
		return give_up(vm);
	add_startup_steps(startup, "query-status");
	startup->tell = tell_prepared;
	startup->done.prepared = done;
	qemu_vm_connect(vm, startup, start->deadline_ms);
	return &vm->head;
}

static bool connect_again(QemuVm *vm, VmmRunStateDone *done, void *context, Error *err)
{
	QemuOperation *startup = qemu_operation_new_run_state(vm, done, context, err);

	if (!startup)
		return false;
	add_startup_steps(startup, "query-status");
	qemu_vm_connect(vm, startup, QEMU_RECONNECT_MS);
	return true;
}

VmmVm *qemu_adopt(struct event_base *base, const Resources *resources, const char *instance,
		  const VmmEvents *events, void *events_context, VmmRunStateDone *done,
		  void *context, Error *err)
{
	AUTO_QEMU_DIRECTORY QemuDirectory directory = QEMU_DIRECTORY_INIT;
	AUTO_QEMU_PROCESS QemuProcess process = QEMU_PROCESS_INIT;
	char record[sizeof(directory.path) + 16];
	QemuVm *vm;

	if (!qemu_directory_open(resources, instance, &directory, err))
		return NULL;
	snprintf(record, sizeof(record), "%s/%s", directory.path, QEMU_FILE_RECORD);
	if (!qemu_process_find(record, &process, err)) {
		if (err->category == ERROR_NOT_FOUND)
			qemu_directory_remove(&directory);
		error_prefix(err, "instance %s", instance);
		return NULL;
	}
	vm = qemu_vm_new(base, resources, &directory, &process, events, events_context, err);
	if (vm && !connect_again(vm, done, context, err)) {
		qemu_vm_free(&vm->head);
		return NULL;
	}
	return vm ? &vm->head : NULL;
}

bool qemu_reconnect(VmmVm *head, VmmRunStateDone *done, void *context, Error *err)
{
	QemuVm *vm = qemu_vm_of(head);

	if (vm->exited)
		return error_set(err, ERROR_UNAVAILABLE, "the VM's process is gone");
	if (vm->qmp || vm->startup)
		return error_set(err, ERROR_CONFLICT, "the VM is connected already");
	return connect_again(vm, done, context, err);
}
