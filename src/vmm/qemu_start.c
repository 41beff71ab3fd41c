/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "vmm/disk_nodes.h"
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
bool qemu_check_secrets(const ResolvedVm *vm, bool late, Error *err)
{
	for (size_t i = 0; i < vm->manifest.disks_count; i++) {
		int fd = vm->disks[i].secret_fd;

		if (vm->disks[i].late != late || vm->manifest.disks[i].encryption == DISK_PLAIN)
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
	qemu_tpm_end_left(directory);
	qemu_directory_remove(directory);
	return qemu_directory_make(start->resources, start->instance, directory, err);
}

/* QEMU's end is tpm[1]. */
static bool open_tpm(const VmmStart *start, QemuKind kind, int tpm[2], Error *err)
{
	if (!start->vm->manifest.tpm || kind == QEMU_STORAGE)
		return true;
	if (kind != QEMU_INCOMING && start->vm->tpm.late)
		return error_set(err, ERROR_USAGE, "a TPM cannot come later than its VM's start");
	return !socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, tpm) ||
	       error_set_errno(err, ERROR_IO, errno, "cannot make a socket");
}

/* Where QEMU connects before it has a monitor; whoever serves the disk accepts there later. */
static bool listen_for_disks(const VmmStart *start, const QemuDirectory *directory, Error *err)
{
	ResolvedVm *vm = start->vm;

	for (size_t i = 0; i < vm->manifest.disks_count; i++) {
		char socket[DISK_NODE_BYTES];

		if (!vm->disks[i].served)
			continue;
		disk_nodes_socket(i, socket);
		if (!qemu_directory_listen(directory, &start->resources->user, socket,
					   &vm->disks[i].listen_fd, err) ||
		    !unix_socket_connect(directory->sockets_fd, socket, &vm->disks[i].hold_fd, err))
			return error_prefix(err, "disk %zu", i);
	}
	return true;
}

static bool spawn_in(const VmmStart *start, QemuKind kind, const QemuDirectory *directory,
		     QemuProcess *ret_process, int *ret_tpm_fd, Error *err)
{
	int tpm[2] = { -1, -1 };
	CLEANUP(taps_close) Taps taps;
	AUTO_QEMU_COMMAND QemuCommand command = { .argc = 0 };
	AUTO_FD int qmp_fd = -1;
	QemuCommandInput input = { .resources = start->resources,
				   .vm = start->vm,
				   .incoming = kind == QEMU_INCOMING,
				   .sockets_fd = directory->sockets_fd };
	char record[sizeof(directory->path) + 16];

	memset(&taps, 0xff, sizeof(taps));
	if (!open_taps(start->vm, &taps, err) ||
	    !unix_socket_listen(directory->fd, QEMU_FILE_QMP, 0600, &qmp_fd, err) ||
	    !listen_for_disks(start, directory, err) || !open_tpm(start, kind, tpm, err))
		return false;

	AUTO_FD int tpm_far = tpm[1];

	*ret_tpm_fd = tpm[0];
	input.tpm_fd = tpm_far;
	input.qmp_listen_fd = qmp_fd;
	memcpy(input.tap_fds, taps.fds, sizeof(taps.fds));
	snprintf(record, sizeof(record), "%s/%s", directory->path, QEMU_FILE_RECORD);
	return (kind == QEMU_STORAGE ? qemu_command_build_storage(&input, &command, err)
				     : qemu_command_build(&input, &command, err)) &&
	       qemu_process_spawn(&command, &start->resources->user, record, ret_process, err);
}

QemuVm *qemu_spawn(struct event_base *base, const VmmStart *start, QemuKind kind,
		   const VmmEvents *events, void *events_context, Error *err)
{
	AUTO_QEMU_DIRECTORY QemuDirectory directory = QEMU_DIRECTORY_INIT;
	AUTO_QEMU_PROCESS QemuProcess process = QEMU_PROCESS_INIT;
	AUTO_FD int tpm_fd = -1;
	QemuVm *vm = NULL;
	struct stat program = { 0 };

	/* A program that is not there is told of by the spawn. */
	(void)!stat(start->resources->qemu_path, &program);
	if (!qemu_check_secrets(start->vm, false, err) || !make_directory(start, &directory, err))
		return NULL;
	if (spawn_in(start, kind, &directory, &process, &tpm_fd, err)) {
		vm = qemu_vm_new(base, start->resources, &directory, &process, events,
				 events_context, err);
		if (!vm)
			qemu_process_destroy(&process);
	}
	if (!vm) {
		qemu_directory_remove(&directory);
		return NULL;
	}
	vm->program = program;
	vm->tpm_fd = TAKE_FD(tpm_fd);
	if (qemu_tpm_is_held(vm) && !start->vm->tpm.late && !qemu_tpm_start(vm, start->vm, err)) {
		qemu_give_up(vm);
		return NULL;
	}
	return vm;
}

static const char query_schema[] = "query-qmp-schema";

static bool take_schema(QemuVm *vm, const json_t *schema, Error *err)
{
	if (!qemu_features_of_schema(schema, &vm->features, err))
		return false;
	/* Of an adopted VM nobody knows from which file it was started. */
	if (vm->program.st_ino)
		feature_cache_keep(vm->resources->feature_cache, &vm->program, &vm->features);
	return true;
}

static bool check_startup(QemuOperation *operation, json_t *ret, Error *err)
{
	QemuVm *vm = operation->vm;

	if (operation->steps[operation->at].command == query_schema && !take_schema(vm, ret, err))
		return false;
	/* Told now, and not when the disks are to be opened, in the middle of a migration. */
	if (vm->has_late_disks && !vm->features.late_disks)
		return error_set(err, ERROR_UNAVAILABLE, "this QEMU cannot open a disk late");
	return true;
}

void qemu_add_schema_step(QemuOperation *startup)
{
	QemuVm *vm = startup->vm;

	startup->check = check_startup;
	if (!feature_cache_find(vm->resources->feature_cache, &vm->program, &vm->features))
		qemu_operation_add(startup, query_schema, json_object());
}

static void add_startup_steps(QemuOperation *operation, const char *last_command)
{
	qemu_add_schema_step(operation);
	qemu_operation_add(operation, last_command, json_object());
}

VmmVm *qemu_give_up(QemuVm *vm)
{
	qemu_process_destroy(&vm->process);
	vm->exited = true;
	qemu_vm_free(&vm->head);
	return NULL;
}

static size_t first_late_disk(const ResolvedVm *vm)
{
	size_t i = 0;

	while (i < vm->manifest.disks_count && !vm->disks[i].late)
		i++;
	return i;
}

VmmVm *qemu_start(struct event_base *base, const VmmStart *start, const VmmEvents *events,
		  void *events_context, VmmDone *done, void *context, Error *err)
{
	size_t late = first_late_disk(start->vm);
	QemuOperation *startup;
	QemuVm *vm;

	if (late < start->vm->manifest.disks_count) {
		error_set(err, ERROR_USAGE, "disk %zu cannot come later than its VM's start", late);
		return NULL;
	}
	vm = qemu_spawn(base, start, QEMU_RUNS, events, events_context, err);
	if (!vm)
		return NULL;
	startup = qemu_operation_new_plain(vm, done, context, err);
	if (!startup)
		return qemu_give_up(vm);
	add_startup_steps(startup, start->frozen ? "query-status" : "cont");
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
	/* One that waits for its TPM has no monitor to ask. */
	bool held = qemu_tpm_is_held(vm);
	bool ok = !failure && (held || qemu_status_of_run(ret, &state, &err)) &&
		  qemu_process_cpu_us(&vm->process, &cpu_us, &err);

	if (ok && !held && state != VMM_RUN_INMIGRATE)
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
	QemuVm *vm = qemu_spawn(base, start, QEMU_INCOMING, events, events_context, err);
	QemuOperation *startup;

	if (!vm)
		return NULL;
	startup = qemu_operation_new(vm, context, err);
	if (!startup)
		return qemu_give_up(vm);
	vm->has_late_disks = first_late_disk(start->vm) < start->vm->manifest.disks_count;
	startup->tell = tell_prepared;
	startup->done.prepared = done;
	if (qemu_tpm_is_held(vm))
		return qemu_tpm_hold(vm, startup, start->deadline_ms, err) ? &vm->head
									   : qemu_give_up(vm);
	add_startup_steps(startup, "query-status");
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
		if (err->category == ERROR_NOT_FOUND) {
			qemu_tpm_end_left(&directory);
			qemu_directory_remove(&directory);
		}
		error_prefix(err, "instance %s", instance);
		return NULL;
	}
	vm = qemu_vm_new(base, resources, &directory, &process, events, events_context, err);
	if (vm)
		qemu_tpm_adopt(vm);
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
