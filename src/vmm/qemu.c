/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/qemu.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/clock.h"
#include "vmm/qemu_status.h"
#include "vmm/qemu_twin.h"
#include "vmm/qemu_vm.h"
#include "vmm/unix_socket.h"

enum {
	STREAM_BUFFER_BYTES = 1 << 20,
	CANCEL_MS = 3000,	/* until its channels are shut by force */
	CANCEL_SLACK_MS = 1000, /* more: check_cancelled ends the wait, not the deadline */
};

static const VmmFeatures *get_features(const VmmVm *head)
{
	return &((const QemuVm *)head)->features;
}

static pid_t get_pid(const VmmVm *head)
{
	return ((const QemuVm *)head)->process.pid;
}

static bool get_cpu_us(const VmmVm *head, int64_t *ret_us, Error *err)
{
	return qemu_process_cpu_us(&((const QemuVm *)head)->process, ret_us, err);
}

static const char *get_socket_directory(const VmmVm *head)
{
	return ((const QemuVm *)head)->directory.sockets_path;
}

static bool check_socket_name(const char *name, Error *err)
{
	if (!text_is(TEXT_NAME, name, 1) || strlen(name) >= LIMIT_NAME)
		return error_set(err, ERROR_USAGE, "\"%.64s\" cannot name a socket", name);
	return true;
}

static bool listen_for(VmmVm *head, const char *name, int *ret_fd, Error *err)
{
	const QemuVm *vm = qemu_vm_of(head);

	return check_socket_name(name, err) &&
	       qemu_directory_listen(&vm->directory, &vm->resources->user, name, ret_fd, err);
}

static bool connect_to(VmmVm *head, const char *name, int *ret_fd, Error *err)
{
	if (!check_socket_name(name, err) ||
	    !unix_socket_connect(qemu_vm_of(head)->directory.sockets_fd, name, ret_fd, err))
		return false;
	unix_socket_widen(*ret_fd, STREAM_BUFFER_BYTES);
	return true;
}

static bool query_run_state(VmmVm *head, VmmRunStateDone *done, void *context, Error *err)
{
	QemuOperation *operation =
		qemu_operation_new_run_state(qemu_vm_of(head), done, context, err);

	if (!operation)
		return false;
	qemu_operation_add(operation, "query-status", json_object());
	return qemu_operation_begin(operation, err);
}

static bool execute(VmmVm *head, const char *command, json_t *arguments, VmmDone *done,
		    void *context, Error *err)
{
	QemuOperation *operation = qemu_operation_new_plain(qemu_vm_of(head), done, context, err);

	if (!operation) {
		json_decref(arguments);
		return false;
	}
	qemu_operation_add(operation, command, arguments);
	return qemu_operation_begin(operation, err);
}

static bool continue_switchover(VmmVm *vm, VmmDone *done, void *context, Error *err)
{
	return execute(vm, "migrate-continue", json_pack("{s:s}", "state", "pre-switchover"), done,
		       context, err);
}

/*
 * QEMU shuts its main channel alone, and says `cancelled` only when its threads have ended: one
 * that writes into a channel which nobody reads any more stays there for ever. `yank` (QEMU 6.0)
 * shuts them all. Not at once: most cancels take milliseconds, and a QEMU whose channels only begin
 * is better left to its own order. Judges the second of the three steps.
 */
static bool check_cancelled(QemuOperation *operation, json_t *ret, Error *err)
{
	VmmMigration migration;

	if (operation->at != 1)
		return true;
	if (!qemu_status_of_migration(ret, &migration, err))
		return false;
	if (migration.status != VMM_MIGRATION_CANCELLING)
		operation->at = operation->steps_count - 1;
	else if (clock_monotonic_us(&clock_system) <
		 operation->deadline_us - CANCEL_SLACK_MS * 1000)
		operation->again = true;
	return true;
}

static bool cancel(VmmVm *head, VmmDone *done, void *context, Error *err)
{
	QemuOperation *operation = qemu_operation_new_plain(qemu_vm_of(head), done, context, err);

	if (!operation)
		return false;
	operation->check = check_cancelled;
	qemu_operation_add(operation, "migrate_cancel", json_object());
	qemu_operation_add(operation, "query-migrate", json_object());
	qemu_operation_add(operation, "yank",
			   json_pack("{s:[{s:s}]}", "instances", "type", "migration"));
	/* Refused if the migration has just ended. */
	operation->steps[operation->steps_count - 1].may_fail = true;
	qemu_operation_set_deadline(operation, CANCEL_MS + CANCEL_SLACK_MS);
	return qemu_operation_begin(operation, err);
}

/* The first of two steps: in inmigrate QEMU takes "cont" as leave to run by itself once loaded. */
static bool check_may_cont(QemuOperation *operation, json_t *ret, Error *err)
{
	VmmRunState state;

	if (operation->at)
		return true;
	if (!qemu_status_of_run(ret, &state, err))
		return false;
	if (state == VMM_RUN_INMIGRATE)
		return error_set(err, ERROR_CONFLICT, "cont: the VM still waits for its state");
	return true;
}

static bool cont(VmmVm *head, VmmDone *done, void *context, Error *err)
{
	QemuOperation *operation = qemu_operation_new_plain(qemu_vm_of(head), done, context, err);

	if (!operation)
		return false;
	operation->check = check_may_cont;
	qemu_operation_add(operation, "query-status", json_object());
	qemu_operation_add(operation, "cont", json_object());
	return qemu_operation_begin(operation, err);
}

static bool stop(VmmVm *vm, VmmDone *done, void *context, Error *err)
{
	return execute(vm, "stop", json_object(), done, context, err);
}

/* QEMU's own defaults: five packets, 50 ms apart and growing. */
static bool announce_self(VmmVm *vm, VmmDone *done, void *context, Error *err)
{
	return execute(vm, "announce-self",
		       json_pack("{s:i, s:i, s:i, s:i}", "initial", 50, "max", 550, "rounds", 5,
				 "step", 100),
		       done, context, err);
}

static bool quit(VmmVm *vm, VmmDone *done, void *context, Error *err)
{
	return execute(vm, "quit", json_object(), done, context, err);
}

static bool kill_process(VmmVm *head, Error *err)
{
	const QemuVm *vm = qemu_vm_of(head);

	return vm->exited || qemu_process_kill(&vm->process, err);
}

const VmmDriver vmm_driver_qemu = {
	.name = "qemu",
	.start = qemu_start,
	.prepare_incoming = qemu_prepare_incoming,
	.adopt = qemu_adopt,
	.twin_new = qemu_twin_new,
	.twin_free = qemu_twin_free,
	.free = qemu_vm_free,
	.reconnect = qemu_reconnect,
	.features = get_features,
	.pid = get_pid,
	.has_tpm = qemu_has_tpm,
	.cpu_us = get_cpu_us,
	.socket_directory = get_socket_directory,
	.listen = listen_for,
	.connect = connect_to,
	.migrate_out = qemu_migrate_out,
	.incoming_listen = qemu_incoming_listen,
	.open_disks = qemu_open_disks,
	.query_migration = qemu_query_migration,
	.query_run_state = query_run_state,
	.continue_switchover = continue_switchover,
	.cancel = cancel,
	.cont = cont,
	.stop = stop,
	.announce_self = announce_self,
	.quit = quit,
	.kill = kill_process,
};
