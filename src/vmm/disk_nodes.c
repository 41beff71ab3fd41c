/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/disk_nodes.h"

#include <stdio.h>

#include "vmm/json_with.h"
#include "vmm/qemu_command.h"

void disk_node_name(size_t i, DiskNode node, char ret_name[DISK_NODE_BYTES])
{
	static const char *const suffixes[] = {
		[DISK_NODE_GUEST] = "",		[DISK_NODE_IMAGE] = "-image",
		[DISK_NODE_FILE] = "-file",	[DISK_NODE_NULL] = "-null",
		[DISK_NODE_MIRROR] = "-mirror", [DISK_NODE_SECRET] = "-secret"
	};

	snprintf(ret_name, DISK_NODE_BYTES, "disk%zu%s", i, suffixes[node]);
}

void disk_nodes_socket(size_t i, char ret_name[DISK_NODE_BYTES])
{
	snprintf(ret_name, DISK_NODE_BYTES, "disk%zu.sock", i);
}

/*
 * By the directory's descriptor, not by the descriptor of a connection: when the connection ends
 * QEMU tries it anew by itself, and the number of a descriptor could be another one's by then
 * (block/nbd.c, nbd/client-connection.c). It waits for nobody then: what the guest asks fails.
 */
static json_t *served(const ResolvedVm *vm, size_t i)
{
	char name[DISK_NODE_BYTES], socket[DISK_NODE_BYTES], path[64];

	disk_node_name(i, DISK_NODE_FILE, name);
	disk_nodes_socket(i, socket);
	snprintf(path, sizeof(path), QEMU_SOCKET_PREFIX "%s", socket);
	return json_pack("{s:s, s:s, s:{s:s, s:s}, s:s, s:b, s:s, s:{s:b}}", "driver", "nbd",
			 "node-name", name, "server", "type", "unix", "path", path, "export",
			 vm->manifest.disks[i].volume, "read-only", vm->manifest.disks[i].read_only,
			 "discard", "unmap", "cache", "direct", vm->disks[i].direct);
}

json_t *disk_nodes_file(const ResolvedVm *vm, size_t i)
{
	const ResolvedDisk *disk = &vm->disks[i];
	char name[DISK_NODE_BYTES], filename[32];

	if (disk->served)
		return served(vm, i);
	disk_node_name(i, DISK_NODE_FILE, name);
	snprintf(filename, sizeof(filename), "/dev/fdset/%zu", i);
	return json_pack("{s:s, s:s, s:s, s:b, s:s, s:{s:b}}", "driver",
			 disk->is_block_device ? "host_device" : "file", "node-name", name,
			 "filename", filename, "read-only", vm->manifest.disks[i].read_only,
			 "discard", "unmap", "cache", "direct", disk->direct);
}

static json_t *format_of(const ManifestDisk *disk, size_t i)
{
	bool luks = disk->encryption == DISK_LUKS;
	char secret[DISK_NODE_BYTES];

	disk_node_name(i, DISK_NODE_SECRET, secret);
	if (disk->format == DISK_QCOW2)
		return luks ? json_pack("{s:s, s:n, s:{s:s, s:s}}", "driver", "qcow2", "backing",
					"encrypt", "format", "luks", "key-secret", secret)
			    : json_pack("{s:s, s:n}", "driver", "qcow2", "backing");
	return luks ? json_pack("{s:s, s:s}", "driver", "luks", "key-secret", secret)
		    : json_pack("{s:s}", "driver", "raw");
}

/* What is above a file: its name, what it stands on, and how it is used. */
static json_t *over(json_t *node, const ResolvedVm *vm, size_t i, DiskNode as, DiskNode below)
{
	char name[DISK_NODE_BYTES], file[DISK_NODE_BYTES];

	disk_node_name(i, as, name);
	disk_node_name(i, below, file);
	node = json_with(node, "node-name", json_string(name));
	node = json_with(node, "file", json_string(file));
	node = json_with(node, "read-only", json_boolean(vm->manifest.disks[i].read_only));
	node = json_with(node, "discard", json_string("unmap"));
	return json_with(node, "cache", json_pack("{s:b}", "direct", vm->disks[i].direct));
}

json_t *disk_nodes_format(const ResolvedVm *vm, size_t i, DiskNode as)
{
	return over(format_of(&vm->manifest.disks[i], i), vm, i, as, DISK_NODE_FILE);
}

json_t *disk_nodes_null(const ResolvedVm *vm, size_t i, DiskNode as)
{
	const ManifestDisk *disk = &vm->manifest.disks[i];
	char name[DISK_NODE_BYTES];

	disk_node_name(i, as, name);
	return json_pack("{s:s, s:s, s:I, s:b, s:b}", "driver", "null-co", "node-name", name,
			 "size", (json_int_t)disk->size_bytes, "read-zeroes", 1, "read-only",
			 disk->read_only);
}

json_t *disk_nodes_late(const ResolvedVm *vm, size_t i, DiskNode below)
{
	return over(json_pack("{s:s}", "driver", "raw"), vm, i, DISK_NODE_GUEST, below);
}
