/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/storage_daemon.h"

#include <fcntl.h>
#include <string.h>

#include "vmm/disk_nodes.h"
#include "vmm/qemu_vm.h"
#include "vmm/unix_socket.h"

static const char export_id[] = "export";
static const char listener[] = "nbd"; /* QEMU's name of our socket */

/* A VM of this one disk: what the start of a QEMU is told about. */
static ResolvedVm *alone_new(const StorageDaemonStart *start, Error *err)
{
	ResolvedVm *alone = calloc(1, sizeof(*alone));
	ManifestDisk *disk;

	if (!alone) {
		error_set(err, ERROR_INTERNAL, "no memory for a storage daemon");
		return NULL;
	}
	disk = &alone->manifest.disks[0];
	alone->kernel_fd = alone->initrd_fd = -1;
	alone->manifest.disks_count = 1;
	alone->disks[0] = start->vm->disks[start->disk];
	alone->disks[0].late = alone->disks[0].served = false;
	*disk = start->vm->manifest.disks[start->disk];
	/* What a guest only reads has to be written once. */
	disk->read_only = (fcntl(alone->disks[0].fd, F_GETFL) & O_ACCMODE) == O_RDONLY;
	if (start->sealed) {
		disk->format = DISK_RAW;
		disk->encryption = DISK_PLAIN;
		alone->disks[0].secret_fd = -1;
	}
	return alone;
}

/* Made by us and root's own: QEMU's user, which other VMs have too, cannot connect to it. */
static bool add_server(QemuOperation *startup, const StorageDaemonStart *start, bool writable,
		       Error *err)
{
	char node[DISK_NODE_BYTES];
	AUTO_FD int own_fd = -1;
	int listen_fd = start->listens ? start->listen_fd : -1;

	if (!start->listens) {
		if (!unix_socket_listen(startup->vm->directory.sockets_fd, STORAGE_DAEMON_SOCKET,
					0600, &own_fd, err))
			return false;
		listen_fd = own_fd;
	}
	disk_node_name(0, DISK_NODE_GUEST, node);
	qemu_operation_add_with_fd(startup, "getfd", json_pack("{s:s}", "fdname", listener),
				   listen_fd);
	qemu_operation_add(startup, "nbd-server-start",
			   json_pack("{s:{s:s, s:{s:s}}, s:i}", "addr", "type", "fd", "data", "str",
				     listener, "max-connections", 1));
	qemu_operation_add(startup, "block-export-add",
			   json_pack("{s:s, s:s, s:s, s:s, s:b}", "type", "nbd", "id", export_id,
				     "node-name", node, "name", start->export_name, "writable",
				     writable));
	return true;
}

static VmmVm *serve(QemuVm *vm, const StorageDaemonStart *start, bool writable, VmmDone *done,
		    void *context, Error *err)
{
	QemuOperation *startup = qemu_operation_new_plain(vm, done, context, err);

	if (!startup)
		return qemu_give_up(vm);
	qemu_add_schema_step(startup);
	if (!add_server(startup, start, writable, err)) {
		qemu_operation_drop(startup);
		return qemu_give_up(vm);
	}
	qemu_vm_connect(vm, startup, start->deadline_ms);
	return &vm->head;
}

VmmVm *storage_daemon_start(struct event_base *base, const StorageDaemonStart *start,
			    const VmmEvents *events, void *events_context, VmmDone *done,
			    void *context, Error *err)
{
	AUTO_FREE ResolvedVm *alone = NULL;
	VmmStart as_vm = { .resources = start->resources,
			   .instance = start->instance,
			   .deadline_ms = start->deadline_ms };
	QemuVm *vm;

	if (start->disk >= start->vm->manifest.disks_count ||
	    start->vm->disks[start->disk].fd < 0) {
		error_set(err, ERROR_USAGE, "disk %zu has no image to serve", start->disk);
		return NULL;
	}
	if (!text_is(TEXT_NAME, start->export_name, 1)) {
		error_set(err, ERROR_USAGE, "\"%.64s\" cannot name an export", start->export_name);
		return NULL;
	}
	alone = alone_new(start, err);
	if (!alone)
		return NULL;
	as_vm.vm = alone;
	vm = qemu_spawn(base, &as_vm, QEMU_STORAGE, events, events_context, err);
	return vm ? serve(vm, start, !alone->manifest.disks[0].read_only, done, context, err)
		  : NULL;
}

/* --- the end --- */

/* An export lives on for a moment after its deletion. */
static bool check_stopping(QemuOperation *operation, json_t *ret, Error *err)
{
	if (strcmp(operation->steps[operation->at].command, "query-block-exports") != 0)
		return true;
	if (!json_is_array(ret))
		return error_set(err, ERROR_HYPERVISOR, "query-block-exports: no list");
	operation->again = json_array_size(ret) > 0;
	return true;
}

static void add_deletion(QemuOperation *operation, DiskNode which)
{
	char node[DISK_NODE_BYTES];

	disk_node_name(0, which, node);
	qemu_operation_add(operation, "blockdev-del", json_pack("{s:s}", "node-name", node));
}

bool storage_daemon_stop(VmmVm *head, VmmDone *done, void *context, Error *err)
{
	QemuOperation *operation = qemu_operation_new_plain(qemu_vm_of(head), done, context, err);

	if (!operation)
		return false;
	operation->check = check_stopping;
	qemu_operation_set_deadline(operation, STORAGE_DAEMON_CLIENT_MS);
	qemu_operation_add(operation, "block-export-del",
			   json_pack("{s:s, s:s}", "id", export_id, "mode", "safe"));
	operation->steps[0].tries = true;
	qemu_operation_add(operation, "query-block-exports", json_object());
	qemu_operation_add(operation, "nbd-server-stop", json_object());
	add_deletion(operation, DISK_NODE_GUEST);
	add_deletion(operation, DISK_NODE_FILE);
	qemu_operation_add(operation, "quit", json_object());
	return qemu_operation_begin(operation, err);
}
