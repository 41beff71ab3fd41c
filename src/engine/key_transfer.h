/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keys of a VM that moves: a migration's steps with the key manager (keys/transfer.h), and the
 * disks that can be opened once its keys have come.
 */
#ifndef SEALIFT_ENGINE_KEY_TRANSFER_H
#define SEALIFT_ENGINE_KEY_TRANSFER_H

#include "engine/engine.h"

/* The port `keys` of a migration: migration_on_keys answers, from the event loop. */
void key_transfer_ask(void *engine, Migration *m, TransferKind kind, const PeerMessage *in);

/* HV_OPEN_DISKS: opens what waited for the keys of this migration, in a prepared VM. Answered by
 * migration_on_hv_done. */
MUST_CHECK bool key_transfer_open_disks(Job *job, Error *err);
/* Marks the disks of an incoming VM whose keys come with it. */
void key_transfer_mark_late(ResolvedVm *vm);

/* Whether the VM may leave (ERROR_CONFLICT), or come (ERROR_DENIED), as far as its keys go: a key
 * manager must be there if they travel. One that comes with a TPM needs a swtpm here
 * (ERROR_UNAVAILABLE), and may have no state here (ERROR_CONFLICT). */
MUST_CHECK bool key_transfer_check_leaving(const Engine *engine, const Vm *vm, Error *err);
MUST_CHECK bool key_transfer_check_coming(const Engine *engine, const Manifest *manifest, Error *err);

#endif
