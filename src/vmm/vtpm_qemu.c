/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The swtpm beside a QEMU. QEMU has one end of a pair of sockets from its start. As long as nobody
 * answers at the other, it waits there with its memory populated, and serves no monitor: so a VM
 * that comes from a peer is given its TPM's keys last, when all else is ready for it.
 */
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "vmm/qemu_vm.h"
#include "vmm/vtpm.h"

#ifndef P_PIDFD
#define P_PIDFD 3 /* linux/wait.h, where glibc has none */
#endif

enum { RECORD_PATH_SIZE = sizeof((QemuDirectory){ 0 }.path) + 16 };

static void record_path(const QemuDirectory *directory, char path[RECORD_PATH_SIZE])
{
	snprintf(path, RECORD_PATH_SIZE, "%s/%s", directory->path, QEMU_FILE_TPM_RECORD);
}

/* --- its end --- */

void qemu_tpm_close(QemuVm *vm)
{
	cleanup_fd(&vm->tpm_fd);
	vm->tpm_fd = -1;
	qemu_process_close(&vm->tpm);
}

static void forget_process(QemuVm *vm)
{
	if (vm->tpm_exit_event)
		event_free(TAKE_PTR(vm->tpm_exit_event));
	qemu_process_close(&vm->tpm);
}

void qemu_tpm_end_left(const QemuDirectory *directory)
{
	AUTO_QEMU_PROCESS QemuProcess process = QEMU_PROCESS_INIT;
	char record[RECORD_PATH_SIZE];
	Error ignored = ERROR_INIT;

	record_path(directory, record);
	if (qemu_process_find(record, &process, &ignored))
		(void)!qemu_process_kill(&process, &ignored);
}

void qemu_tpm_end(QemuVm *vm)
{
	siginfo_t info;

	if (vm->tpm.pid <= 0)
		return;
	/* Killed, it cannot leave half a file: it renames each into its place. */
	if (qemu_process_kill(&vm->tpm, &(Error){ 0 }))
		while (waitid(P_PIDFD, (id_t)vm->tpm.pid_fd, &info, WEXITED) && errno == EINTR)
			;
	forget_process(vm);
}

/* QEMU does not notice. People find it in the VM's log. */
static void on_tpm_exit(evutil_socket_t fd, short what, void *context)
{
	QemuVm *vm = context;
	char line[512], words[256];
	ssize_t got = vm->tpm.log_fd >= 0 ? read(vm->tpm.log_fd, words, sizeof(words) - 1) : 0;
	siginfo_t info;
	int length;

	(void)fd;
	(void)what;
	words[got > 0 ? got : 0] = '\0';
	length = snprintf(line, sizeof(line),
			  "swtpm (process %d) ended, the VM has no TPM now: %s\n", vm->tpm.pid,
			  words);
	if (vm->log_file_fd >= 0)
		(void)!file_write_fd(vm->log_file_fd, line, (size_t)length, &(Error){ 0 });
	(void)!waitid(P_PIDFD, (id_t)vm->tpm.pid_fd, &info, WEXITED | WNOHANG);
	forget_process(vm);
}

static bool watch_process(QemuVm *vm, Error *err)
{
	vm->tpm_exit_event = event_new(vm->base, vm->tpm.pid_fd, EV_READ, on_tpm_exit, vm);
	return (vm->tpm_exit_event && !event_add(vm->tpm_exit_event, NULL)) ||
	       error_set(err, ERROR_INTERNAL, "no memory for a TPM");
}

/* --- its start --- */

bool qemu_tpm_start(QemuVm *vm, const ResolvedVm *resolved, Error *err)
{
	char record[RECORD_PATH_SIZE];
	AUTO_FD int state_fd = -1;
	VtpmStart start = { .resources = vm->resources,
			    .file_key_fd = resolved->tpm.file_key_fd,
			    .migration_key_fd = resolved->tpm.migration_key_fd,
			    .control_fd = vm->tpm_fd };

	/* Before a directory is made for it. */
	if (start.file_key_fd < 0 || start.migration_key_fd < 0)
		return error_set(err, ERROR_USAGE, "the TPM has no file key or no migration key");
	record_path(&vm->directory, record);
	if (!vtpm_open_state(vm->resources, resolved->manifest.uuid, &state_fd, err))
		return false;
	start.state_fd = state_fd;
	if (!vtpm_spawn(&start, record, &vm->tpm, err))
		return false;
	cleanup_fd(&vm->tpm_fd);
	vm->tpm_fd = -1;
	if (watch_process(vm, err))
		return true;
	qemu_tpm_end(vm);
	return false;
}

bool qemu_has_tpm(const VmmVm *head)
{
	return ((const QemuVm *)head)->tpm.pid > 0;
}

void qemu_tpm_adopt(QemuVm *vm)
{
	char record[RECORD_PATH_SIZE];
	Error ignored = ERROR_INIT;

	record_path(&vm->directory, record);
	if (qemu_process_find(record, &vm->tpm, &ignored))
		(void)!watch_process(vm, &ignored);
}

/* --- one that comes late --- */

bool qemu_tpm_is_held(const QemuVm *vm)
{
	return vm->tpm_fd >= 0;
}

static void on_populated(evutil_socket_t fd, short what, void *context);

/* A QEMU that ends shuts its socket too, and the end of its process says why. */
static bool wait_for_end(QemuVm *vm)
{
	const struct timeval grace = { .tv_sec = QEMU_GRACE_MS / 1000 };

	event_free(vm->tpm_event);
	vm->tpm_event = evtimer_new(vm->base, on_populated, vm);
	return vm->tpm_event && !evtimer_add(vm->tpm_event, &grace);
}

static void on_populated(evutil_socket_t fd, short what, void *context)
{
	QemuVm *vm = context;
	QemuOperation *startup;
	Error err = ERROR_INIT;
	char first;

	if (what & EV_READ && recv(fd, &first, 1, MSG_PEEK | MSG_DONTWAIT) != 1) {
		if (wait_for_end(vm))
			return;
		error_set(&err, ERROR_INTERNAL, "no memory for a TPM");
	}
	startup = TAKE_PTR(vm->startup);
	if (what & EV_TIMEOUT)
		error_set(&err, ERROR_TIMEOUT, "the VM's memory is not populated in time");
	if (startup)
		qemu_operation_finish(startup, NULL, err.category ? &err : NULL);
}

bool qemu_tpm_hold(QemuVm *vm, QemuOperation *startup, int64_t deadline_ms, Error *err)
{
	const struct timeval deadline = { .tv_sec = deadline_ms / 1000,
					  .tv_usec = deadline_ms % 1000 * 1000 };

	vm->tpm_event = event_new(vm->base, vm->tpm_fd, EV_READ, on_populated, vm);
	if (!vm->tpm_event || event_add(vm->tpm_event, &deadline)) {
		qemu_operation_drop(startup);
		return error_set(err, ERROR_INTERNAL, "no memory for a TPM");
	}
	vm->startup = startup;
	return true;
}

/* The operation that waited for the monitor. */
static void tell_connected(QemuOperation *operation, json_t *ret, const Error *failure)
{
	QemuOperation *next = operation->context;
	Error err = failure ? *failure : ERROR_INIT;

	(void)ret;
	if (failure || !qemu_operation_send(next, &err))
		qemu_operation_finish(next, NULL, &err);
}

static bool begin(QemuVm *vm, const ResolvedVm *resolved, QemuOperation *next, Error *err)
{
	QemuOperation *startup;

	if (vm->startup)
		return error_set(err, ERROR_CONFLICT, "the VM's memory is not populated yet");
	if (!qemu_tpm_start(vm, resolved, err))
		return false;
	startup = qemu_operation_new(vm, next, err);
	if (!startup)
		return false;
	startup->tell = tell_connected;
	qemu_add_schema_step(startup);
	qemu_operation_add(startup, "query-status", json_object());
	qemu_vm_connect(vm, startup, QEMU_RECONNECT_MS);
	return true;
}

bool qemu_tpm_open(QemuVm *vm, const ResolvedVm *resolved, QemuOperation *next, Error *err)
{
	if (begin(vm, resolved, next, err))
		return true;
	qemu_operation_drop(next);
	return false;
}
