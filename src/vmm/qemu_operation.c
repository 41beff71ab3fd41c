/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>

#include "vmm/qemu_status.h"
#include "vmm/qemu_vm.h"

static void unlink_operation(QemuOperation *operation)
{
	QemuOperation **link = &operation->vm->operations;

	while (*link && *link != operation)
		link = &(*link)->next;
	if (*link)
		*link = operation->next;
	if (operation->vm->startup == operation)
		operation->vm->startup = NULL;
}

static void release_operation(QemuOperation *operation)
{
	for (size_t i = 0; i < operation->steps_count; i++)
		json_decref(operation->steps[i].arguments);
	free(operation);
}

QemuOperation *qemu_operation_new(QemuVm *vm, void *context, Error *err)
{
	QemuOperation *operation = calloc(1, sizeof(*operation));

	if (!operation) {
		error_set(err, ERROR_INTERNAL, "no memory for an operation");
		return NULL;
	}
	operation->vm = vm;
	operation->context = context;
	operation->next = vm->operations;
	vm->operations = operation;
	return operation;
}

static void tell_plain(QemuOperation *operation, json_t *ret, const Error *err)
{
	(void)ret;
	operation->done.plain(operation->context, err);
}

static void tell_run_state(QemuOperation *operation, json_t *ret, const Error *failure)
{
	VmmRunState state = VMM_RUN_OTHER;
	Error err = failure ? *failure : ERROR_INIT;
	bool ok = !failure && qemu_status_of_run(ret, &state, &err);

	operation->done.run_state(operation->context, state, ok ? NULL : &err);
}

QemuOperation *qemu_operation_new_plain(QemuVm *vm, VmmDone *done, void *context, Error *err)
{
	QemuOperation *operation = qemu_operation_new(vm, context, err);

	if (operation) {
		operation->tell = tell_plain;
		operation->done.plain = done;
	}
	return operation;
}

QemuOperation *qemu_operation_new_run_state(QemuVm *vm, VmmRunStateDone *done, void *context,
					    Error *err)
{
	QemuOperation *operation = qemu_operation_new(vm, context, err);

	if (operation) {
		operation->tell = tell_run_state;
		operation->done.run_state = done;
	}
	return operation;
}

void qemu_operation_add(QemuOperation *operation, const char *command, json_t *arguments)
{
	assert(operation->steps_count < QEMU_STEPS_MAX);
	operation->steps[operation->steps_count++] =
		(QemuStep){ .command = command, .arguments = arguments };
	if (!arguments)
		operation->broken = true;
}

void qemu_operation_finish(QemuOperation *operation, json_t *ret, const Error *err)
{
	QemuVm *vm = operation->vm;

	unlink_operation(operation);
	qemu_vm_enter(vm);
	operation->tell(operation, ret, err);
	release_operation(operation);
	qemu_vm_leave(vm);
}

void qemu_operations_settle(QemuVm *vm, const Error *cause)
{
	qemu_vm_enter(vm);
	/* Marked first: a callback may reconnect, and that startup is not meant. */
	if (vm->startup)
		TAKE_PTR(vm->startup)->parked = true;
	for (QemuOperation *operation = vm->operations; operation;) {
		Error err = cause ? *cause : operation->cause;

		if (!operation->parked) {
			operation = operation->next;
			continue;
		}
		qemu_operation_finish(operation, NULL, &err);
		/* The callback may have changed the list. */
		operation = vm->operations;
	}
	qemu_vm_leave(vm);
}

static bool send_step(QemuOperation *operation, Error *err);

static void on_reply(void *context, json_t *ret, const Error *failure)
{
	QemuOperation *operation = context;
	QemuVm *vm = operation->vm;
	Error err = failure ? *failure : ERROR_INIT;
	bool ok = !failure;

	if (failure && vm->exited)
		err = vm->cause;
	/* QMP ended: perhaps the process did too, and then its last words are the better reason. */
	if (failure && !vm->connected && !vm->exited && !vm->freed) {
		operation->parked = true;
		operation->cause = err;
		return;
	}
	if (ok && operation->check)
		ok = operation->check(operation, ret, &err);
	operation->at++;
	if (ok && operation->at < operation->steps_count) {
		if (send_step(operation, &err))
			return;
		ok = false;
	}
	qemu_operation_finish(operation, ok ? ret : NULL, ok ? NULL : &err);
}

static bool send_step(QemuOperation *operation, Error *err)
{
	QemuStep *step = &operation->steps[operation->at];

	return qmp_execute(operation->vm->qmp, step->command, TAKE_PTR(step->arguments),
			   QEMU_REPLY_MS, on_reply, operation, err);
}

bool qemu_operation_send(QemuOperation *operation, Error *err)
{
	QemuVm *vm = operation->vm;

	if (vm->exited || vm->freed)
		return error_set(err, ERROR_UNAVAILABLE, "the VM's process is gone");
	if (!vm->connected)
		return error_set(err, ERROR_UNAVAILABLE, "there is no connection with the VM");
	if (operation->broken)
		return error_set(err, ERROR_INTERNAL, "no memory for an operation");
	return send_step(operation, err);
}

bool qemu_operation_begin(QemuOperation *operation, Error *err)
{
	if (qemu_operation_send(operation, err))
		return true;
	unlink_operation(operation);
	release_operation(operation);
	return false;
}
