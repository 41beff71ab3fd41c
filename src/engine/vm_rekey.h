/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A new key for the encrypted disks of a VM that runs. Another passphrase for the same image would
 * not do: who has kept the old header of the image could put it back. So each disk goes over to a
 * new image with a new master key (vmm/disk_rekey.h), one after the other:
 *
 *	1  the key manager makes version N of the key; the image's own version goes on opening it
 *	2  a new image for version N is made beside the old one (vm_rekey_files.h)
 *	3  the hypervisor fills it, until each write of the guest goes into both
 *	4  the hypervisor holds the disk still: both images have the same, on stable storage
 *	5  the images exchange their names, which is the instant of the change
 *	6  the guest goes on, with the new image; the VM's row says N
 *	7  the versions before N are destroyed, and then the old image
 *
 * Before 5 the volume is the old image and has all that the guest wrote; from 5 on it is the new
 * one, and has it too, since nothing was written between 4 and 6. The row follows the pool: at each
 * start of the engine or the VM it is the pool that is asked. What 7 has not done is known by the
 * old image that is still there.
 *
 * A VM that came with its keys, or whose keys were seen by a domain that did not get it in the end,
 * is owed this; with keys.rekey_after_move it begins by itself. Which disks those are is read from
 * the migrations that the store remembers: a disk that has the very version of the key that
 * travelled.
 *
 * While it is under way, or its remains are, the VM does not migrate. It may stop, or its
 * hypervisor may die, at any time.
 */
#ifndef SEALIFT_ENGINE_VM_REKEY_H
#define SEALIFT_ENGINE_VM_REKEY_H

#include "engine/engine.h"

/* Begins. volume: of one disk, or NULL for all encrypted ones. The request is answered when it is
 * over. ERROR_CONFLICT: the VM does not run here, migrates, is being changed already; it has no
 * such encrypted disk. ERROR_UNAVAILABLE: no key manager. ERROR_LIMIT: too many at once. */
MUST_CHECK bool vm_rekey_begin(Vm *vm, const char *volume, ApiRequest *request, Error *err);
/* Gives up the disk that is under way, as long as it has not gone over. ERROR_CONFLICT: nothing to.
 */
MUST_CHECK bool vm_rekey_cancel(Vm *vm, Error *err);
/* ERROR_CONFLICT: the VM cannot leave now. */
MUST_CHECK bool vm_rekey_check_leaving(const Vm *vm, Error *err);
/* Something happened with a migration of the VM: what is owed is looked at anew when that is over.
 */
void vm_rekey_note(Vm *vm);
/* Disks, a bit each, whose key another domain had, and which so are owed a new one. */
uint32_t vm_rekey_exposed(Vm *vm);
/* For view_vm: what is under way, what is owed. */
void vm_rekey_view(const Vm *vm, json_t *view);
/* Before a VM starts: takes up what an earlier life left in the pools, and puts the version of each
 * disk's key into the description, which does not know it. old: the VM's row, or NULL. */
MUST_CHECK bool vm_rekey_before_start(Engine *engine, Manifest *manifest, const Vm *old,
				      Error *err);
/* Once all VMs are known; finishes what was left, and begins what is owed. */
void vm_rekey_recover(Engine *engine);
/* Lets go of all; the next engine takes them up. Before keys_stop. */
void vm_rekey_stop(Engine *engine);

#endif
