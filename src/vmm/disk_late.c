/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Disks that come after the VM. Until then the device stands on zeros: its raw node, which stays
 * for good, is laid over the image by blockdev-reopen. QEMU that waits for its state opens an image
 * inactive: it takes no lock and writes nothing, so that the source may go on with it, and `cont`
 * activates it.
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "vmm/disk_nodes.h"
#include "vmm/json_with.h"
#include "vmm/qemu_status.h"
#include "vmm/qemu_vm.h"

enum {
	/* Number of the descriptor set that hands a secret over; the images' are their disks'. */
	SECRET_SET = 64,
};
static_assert((int)LIMIT_DISKS <= (int)SECRET_SET, "sets have numbers of their own");

static const char add_fd[] = "add-fd";

/*
 * As in qemu_command.c: by a descriptor, which QEMU reads when it makes the object. There it has a
 * number that only QEMU knows, see take_number, and nothing is left of it but the object.
 */
static void add_secret(QemuOperation *operation, const ResolvedVm *vm, size_t i)
{
	char id[DISK_NODE_BYTES];

	disk_node_name(i, DISK_NODE_SECRET, id);
	qemu_operation_add_with_fd(operation, add_fd,
				   json_pack("{s:i}", "fdset-id", SECRET_SET + (int)i),
				   vm->disks[i].secret_fd);
	qemu_operation_add(operation, "object-add",
			   json_pack("{s:s, s:s}", "qom-type", "secret", "id", id));
	qemu_operation_add(operation, "remove-fd",
			   json_pack("{s:i}", "fdset-id", SECRET_SET + (int)i));
}

static void add_disk(QemuOperation *operation, const ResolvedVm *vm, size_t i)
{
	json_t *reopened = disk_nodes_late(vm, i, DISK_NODE_IMAGE);
	char null_name[DISK_NODE_BYTES];
	size_t before = operation->steps_count;

	disk_node_name(i, DISK_NODE_NULL, null_name);
	if (vm->manifest.disks[i].encryption == DISK_LUKS)
		add_secret(operation, vm, i);
	qemu_operation_add_with_fd(operation, add_fd, json_pack("{s:i}", "fdset-id", (int)i),
				   vm->disks[i].fd);
	qemu_operation_add(operation, "blockdev-add", disk_nodes_file(vm, i));
	qemu_operation_add(operation, "blockdev-add", disk_nodes_format(vm, i, DISK_NODE_IMAGE));
	qemu_operation_add(operation, "blockdev-reopen", json_pack("{s:[o]}", "options", reopened));
	qemu_operation_add(operation, "blockdev-del", json_pack("{s:s}", "node-name", null_name));
	for (size_t step = before; step < operation->steps_count; step++)
		operation->steps[step].subject = i + 1;
}

/* The reply of add-fd names the descriptor that the next step is about. */
static bool take_number(QemuOperation *operation, const json_t *ret, Error *err)
{
	const json_t *number = json_object_get(ret, "fd");
	QemuStep *next = &operation->steps[operation->at + 1];
	char path[32];

	if (!json_is_integer(number) || json_integer_value(number) < 0)
		return error_set(err, ERROR_HYPERVISOR, "add-fd: the reply has no number");
	snprintf(path, sizeof(path), "/proc/self/fd/%lld", (long long)json_integer_value(number));
	next->arguments = json_with(next->arguments, "file", json_string(path));
	return next->arguments || error_set(err, ERROR_INTERNAL, "no memory for a disk's secret");
}

static bool check_reply(QemuOperation *operation, json_t *ret, Error *err)
{
	VmmRunState state;

	if (operation->at) {
		const QemuStep *step = &operation->steps[operation->at];

		/* That of a secret is the one that is followed by its object. */
		return strcmp(step->command, add_fd) || strcmp(step[1].command, "object-add") ||
		       take_number(operation, ret, err);
	}
	if (!qemu_status_of_run(ret, &state, err))
		return false;
	/* Opened now it would be active at once, beside another host that may be writing it. */
	if (state != VMM_RUN_INMIGRATE)
		return error_set(err, ERROR_CONFLICT, "late disks: the VM is %s, not inmigrate",
				 vmm_run_state_word(state));
	return true;
}

static bool check_disks(const ResolvedVm *vm, Error *err)
{
	for (size_t i = 0; i < vm->manifest.disks_count; i++)
		if (vm->disks[i].late && vm->disks[i].fd < 0)
			return error_set(err, ERROR_USAGE, "disk %zu has no image yet", i);
	return qemu_check_secrets(vm, true, err);
}

bool qemu_open_disks(VmmVm *head, const ResolvedVm *resolved, VmmDone *done, void *context,
		     Error *err)
{
	QemuVm *vm = qemu_vm_of(head);
	QemuOperation *operation;

	if (!check_disks(resolved, err))
		return false;
	operation = qemu_operation_new_plain(vm, done, context, err);
	if (!operation)
		return false;
	operation->check = check_reply;
	qemu_operation_add(operation, "query-status", json_object());
	for (size_t i = 0; i < resolved->manifest.disks_count; i++)
		if (resolved->disks[i].late)
			add_disk(operation, resolved, i);
	return qemu_tpm_is_held(vm) ? qemu_tpm_open(vm, resolved, operation, err)
				    : qemu_operation_begin(operation, err);
}
