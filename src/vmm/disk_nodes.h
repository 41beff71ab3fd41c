/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The block nodes of a VM's disk i, as QEMU is told to make them (qapi/block-core.json,
 * BlockdevOptions): in its arguments, or later by QMP. All names and drivers are ours, and a format
 * is always said, never found out from an image's bytes.
 *
 *	disk<i>        what the device reads, for good: a migration's mirror begins here
 *	disk<i>-image  of a disk that was opened late: the format below the raw node disk<i>
 *	disk<i>-file   the descriptor, by its set /dev/fdset/<i>; or, of a disk that is served
 *	               (resources.h), a storage daemon's export, by a socket in the VM's own directory
 *	disk<i>-null   what stands in until a late disk is opened
 *	disk<i>-mirror the other end of a mirror, and the job that fills it (disk_mirror.h)
 *
 * Each function returns a new object, NULL without memory.
 */
#ifndef SEALIFT_VMM_DISK_NODES_H
#define SEALIFT_VMM_DISK_NODES_H

#include <jansson.h>

#include "vmm/resources.h"

enum { DISK_NODE_BYTES = 32 };

typedef enum DiskNode {
	DISK_NODE_GUEST,
	DISK_NODE_IMAGE,
	DISK_NODE_FILE,
	DISK_NODE_NULL,
	DISK_NODE_MIRROR,
	DISK_NODE_SECRET, /* no node: the object with the passphrase */
} DiskNode;

void disk_node_name(size_t i, DiskNode node, char ret_name[DISK_NODE_BYTES]);
/* The file name of the socket by which a VM reaches a disk that is served. */
void disk_nodes_socket(size_t i, char ret_name[DISK_NODE_BYTES]);

json_t *disk_nodes_file(const ResolvedVm *vm, size_t i);
/* The format over the file node, under this name. */
json_t *disk_nodes_format(const ResolvedVm *vm, size_t i, DiskNode as);
/* Zeros, of the disk's size. */
json_t *disk_nodes_null(const ResolvedVm *vm, size_t i, DiskNode as);
/* The raw node disk<i> of a late disk, over `below`. A reopening must say again all that the
 * opening did, or it falls back to defaults: both are this. */
json_t *disk_nodes_late(const ResolvedVm *vm, size_t i, DiskNode below);

#endif
