/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <event2/event.h>
#include <fcntl.h>

#include "base/clock.h"
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
	for (size_t i = 0; i < operation->steps_count; i++) {
		json_decref(operation->steps[i].arguments);
		cleanup_fd(&operation->steps[i].fd);
	}
	if (operation->timer)
		event_free(operation->timer);
	json_decref(operation->rekey.top);
	free(operation);
}

void qemu_operation_drop(QemuOperation *operation)
{
	unlink_operation(operation);
	release_operation(operation);
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

static void tell_plain(QemuOperation *operation, json_t *ret, const Error *failure)
{
	size_t last = operation->at ? operation->at - 1 : 0;
	Error err = failure ? *failure : ERROR_INIT;

	(void)ret;
	if (failure && operation->steps[last].subject)
		error_prefix(&err, "disk %zu", operation->steps[last].subject - 1);
	operation->done.plain(operation->context, failure ? &err : NULL);
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
		(QemuStep){ .command = command, .arguments = arguments, .fd = -1 };
	if (!arguments)
		operation->broken = true;
}

void qemu_operation_add_for_disk(QemuOperation *operation, const char *command, json_t *arguments,
				 size_t disk)
{
	qemu_operation_add(operation, command, arguments);
	operation->steps[operation->steps_count - 1].subject = disk + 1;
}

void qemu_operation_add_with_fd(QemuOperation *operation, const char *command, json_t *arguments,
				int fd)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	qemu_operation_add(operation, command, arguments);
	operation->steps[operation->steps_count - 1].fd = copy;
	if (copy < 0)
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

void qemu_operation_set_deadline(QemuOperation *operation, int64_t deadline_ms)
{
	operation->deadline_us = clock_monotonic_us(&clock_system) + deadline_ms * 1000;
}

void qemu_operations_wake(QemuVm *vm)
{
	for (QemuOperation *operation = vm->operations; operation; operation = operation->next)
		if (operation->timer && event_pending(operation->timer, EV_TIMEOUT, NULL))
			evtimer_add(operation->timer, &(struct timeval){ 0 });
}

static bool send_step(QemuOperation *operation, Error *err);

static void on_timer(evutil_socket_t fd, short what, void *context)
{
	QemuOperation *operation = context;
	Error err = ERROR_INIT;

	(void)fd;
	(void)what;
	/* Whoever finds out whether the process is gone settles it. */
	if (!operation->vm->connected)
		return;
	operation->parked = false;
	if (!send_step(operation, &err))
		qemu_operation_finish(operation, NULL, &err);
}

/* Parked meanwhile, so that the end of the process or of QMP ends the wait. */
static bool wait_to_repeat(QemuOperation *operation, Error *err)
{
	if (clock_monotonic_us(&clock_system) >= operation->deadline_us)
		return err->category ? false
				     : error_set(err, ERROR_TIMEOUT, "%s: not in time",
						 operation->steps[operation->at].command);
	if (!operation->timer)
		operation->timer = evtimer_new(operation->vm->base, on_timer, operation);
	if (!operation->timer ||
	    evtimer_add(operation->timer, &(struct timeval){ .tv_usec = QEMU_POLL_MS * 1000 }))
		return error_set(err, ERROR_INTERNAL, "no memory for an operation");
	operation->again = false;
	operation->parked = true;
	error_set(&operation->cause, ERROR_UNAVAILABLE, "the connection with the VM ended");
	return true;
}

/* What a step's reply means; true if the operation goes on, with the next step or the same. */
static bool judge_reply(QemuOperation *operation, json_t *ret, const Error *failure, Error *err)
{
	const QemuStep *step = &operation->steps[operation->at];
	bool refused = failure && failure->category == ERROR_HYPERVISOR;

	if (failure)
		*err = *failure;
	if (refused && step->tries) {
		operation->again = true;
		return true;
	}
	if (failure)
		return refused && step->may_fail;
	return !operation->check || operation->check(operation, ret, err);
}

static void on_reply(void *context, json_t *ret, const Error *failure)
{
	QemuOperation *operation = context;
	QemuVm *vm = operation->vm;
	Error err = ERROR_INIT;
	bool ok;

	/* QMP ended: perhaps the process did too, and then its last words are the better reason. */
	if (failure && !vm->connected && !vm->exited && !vm->freed) {
		operation->parked = true;
		operation->cause = *failure;
		return;
	}
	ok = judge_reply(operation, ret, failure && vm->exited ? &vm->cause : failure, &err);
	if (ok && operation->again) {
		if (wait_to_repeat(operation, &err))
			return;
		ok = false;
	}
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

	return qmp_execute_with_fd(operation->vm->qmp, step->command, json_incref(step->arguments),
				   step->fd, QEMU_REPLY_MS, on_reply, operation, err);
}

bool qemu_operation_send(QemuOperation *operation, Error *err)
{
	QemuVm *vm = operation->vm;

	if (vm->exited || vm->freed)
		return error_set(err, ERROR_UNAVAILABLE, "the VM's process is gone");
	if (!vm->connected)
		return error_set(err, ERROR_UNAVAILABLE, "there is no connection with the VM");
	if (operation->broken)
		return error_set(err, ERROR_INTERNAL, "no memory or descriptor for an operation");
	return send_step(operation, err);
}

bool qemu_operation_begin(QemuOperation *operation, Error *err)
{
	if (qemu_operation_send(operation, err))
		return true;
	qemu_operation_drop(operation);
	return false;
}
