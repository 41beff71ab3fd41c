/* SPDX-License-Identifier: Apache-2.0 */
/* What QEMU is told at the begin of a migration: all of it, or nothing. */
#include <string.h>

#include "tests/fault/fault.h"
#include "vmm/qemu_vm.h"

enum { CAPABILITIES = 5, CHANNELS = 3 };

static void check_steps(const QemuOperation *operation, Error *err)
{
	const json_t *list = json_object_get(operation->steps[0].arguments, "capabilities");

	for (size_t i = 0; i < operation->steps_count; i++)
		if (!operation->steps[i].arguments)
			fault_wrong(err, "a command without its arguments");
	if (json_array_size(list) != CAPABILITIES)
		fault_wrong(err, "a capability is missing");
}

/* The linker leads the operations here. There is no QEMU behind them: the real one lets go. */
bool __real_qemu_operation_begin(QemuOperation *operation, Error *err);
bool __wrap_qemu_operation_begin(QemuOperation *operation, Error *err);
bool __wrap_qemu_operation_begin(QemuOperation *operation, Error *err)
{
	bool broken = operation->broken;
	Error no_connection = ERROR_INIT;

	if (!broken)
		check_steps(operation, err);
	if (__real_qemu_operation_begin(operation, &no_connection))
		return fault_wrong(err, "an operation without a connection began");
	if (err->category)
		return false;
	return !broken || error_set(err, ERROR_INTERNAL, "no memory for an operation");
}

static void on_done(void *context, const Error *err)
{
	(void)context;
	(void)err;
}

static void *vm_new(void)
{
	QemuVm *vm = calloc(1, sizeof(*vm));
	Error err = ERROR_INIT;

	fault_must(vm, &err);
	vm->features = (VmmFeatures){
		.return_path = true,
		.pause_before_switchover = true,
		.events = true,
		.multifd = true,
		.late_block_activate = true,
		.exit_on_error = true,
	};
	return vm;
}

static bool migrate_out(void *fixture, Error *err)
{
	const VmmMigrateOut out = { .socket = "out.sock", .channels = CHANNELS };
	QemuVm *vm = fixture;

	return qemu_migrate_out(&vm->head, &out, on_done, NULL, err);
}

static bool migrate_in(void *fixture, Error *err)
{
	QemuVm *vm = fixture;

	return qemu_incoming_listen(&vm->head, "in.sock", CHANNELS, on_done, NULL, err);
}

const Scenario scenarios_qemu[] = {
	{ "vmm migration out", vm_new, migrate_out, NULL, free, 0 },
	{ "vmm migration in", vm_new, migrate_in, NULL, free, 0 },
	{ 0 },
};
