/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The twin of an incoming VM: a QEMU of this host with the same machine and devices, started
 * stopped and never run, without memory, disks or networks behind it, that migrates once into a
 * pipe and is killed. Its stream tells the guard which blocks, sections and fields may come. Beside
 * it the same program writes down the tables of its devices (-dump-vmstate), which tell what a
 * guest that ran may add.
 *
 * Both depend on the program and the machine alone, so they are kept (sealed_cache.h): by SHA-256
 * over what tells the program file apart (path, device, inode, size, times), the twin's command
 * line, and the kernel's digest if it boots one.
 *
 * The processes belong to this engine: they end with it, leave no file, and run as QEMU's user.
 */
#ifndef SEALIFT_VMM_QEMU_TWIN_H
#define SEALIFT_VMM_QEMU_TWIN_H

#include "vmm/vmm.h"

enum { QEMU_TWIN_MS = 60000 };

/* See vmm_twin_new and vmm_twin_free. */
VmmTwin *qemu_twin_new(struct event_base *base, const VmmStart *start, VmmTwinDone *done,
		       void *context, Error *err);
void qemu_twin_free(VmmTwin *twin);

#endif
