/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Disks of sealed pools (sealed in sealift.conf): between such a disk and the hypervisor of its VM
 * stands a storage daemon of its own (vmm/storage_daemon.h, sealed), for as long as the VM runs
 * here. The daemon has the image and no key, the hypervisor the key and no image, so that a copy
 * that the daemon makes is ciphertext, whatever the hypervisor is told.
 *
 * A daemon is found again after a restart by its name, which is made of that of the VM's process.
 * It ends after the hypervisor, in order, and only then the VM may start again. If it ends before,
 * what the guest asks of the disk fails: that is told, and cannot be mended while the VM runs.
 *
 * A VM that came to this host has its disks in its hypervisor's own hands, until it is started
 * here.
 */
#ifndef SEALIFT_ENGINE_SEALED_DISKS_H
#define SEALIFT_ENGINE_SEALED_DISKS_H

#include "engine/engine.h"

/* Marks as not served what cannot be yet: a disk whose key has to be changed, which the hypervisor
 * does with the image in its hands (vm_rekey.h). Before vmm_start. */
void sealed_disks_choose(Vm *vm, ResolvedVm *resolved);
/* Starts the daemons of those disks that are marked served, whose sockets vmm_start has made. What
 * goes wrong, here or later, ends the VM's hypervisor, which waits for them. */
void sealed_disks_start(Vm *vm, const ResolvedVm *resolved);
/* Why a start failed; category 0: not because of them. */
Error sealed_disks_failure(const Vm *vm);
/* Finds those of an engine before this one. What they copied for a migration then is given up. */
void sealed_disks_adopt(Vm *vm);
/* Ends those of VMs that are not here any more, which an engine that died has left. After all VMs'
 * were looked for. */
void sealed_disks_sweep(Engine *engine);
/* The VM's hypervisor is gone: they end. A request of vm->stopping is answered when they have. */
void sealed_disks_end(Vm *vm);
/* ERROR_CONFLICT: they have not ended yet. */
MUST_CHECK bool sealed_disks_check_ended(const Vm *vm, Error *err);
/* Whether this disk of a running VM is served by one. */
bool sealed_disks_has(const Vm *vm, size_t disk);
/* The daemon of a disk, for disk_mirror.h, where it is disk 0. NULL: there is none, or it does not
 * answer (yet, or any more). */
VmmVm *sealed_disks_daemon(const Vm *vm, size_t disk);
/* For view_vm. */
void sealed_disks_view(const Vm *vm, json_t *view);
/* Lets go of all, before the VM is forgotten: unless the engine stops they end. */
void sealed_disks_forget(Vm *vm);

#endif
