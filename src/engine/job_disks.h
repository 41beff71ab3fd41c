/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Disks that are copied by a migration (manifest: transfer).
 *
 * At the destination each gets a new image, under a key of this host's own if it is encrypted, and a
 * storage daemon (vmm/storage_daemon.h) that receives it; at the switchover the daemons end and the VM's
 * hypervisor takes the images. Undone, daemons, images and keys go; they are known by the VM's row too,
 * so that a restart in between leaves nothing.
 *
 * At the source the VM's hypervisor mirrors each disk (vmm/disk_mirror.h) to a socket of ours, whose
 * connection goes to the mover. After the move its image and key are destroyed.
 *
 * A disk that is copied as ciphertext (transfer DISK_COPIED_SEALED) is mirrored by the storage daemon
 * that has its image and no key (sealed_disks.h), and received by such a one. Its key is handed over as
 * that of a shared disk is (key_transfer.h), and opens the image at the switchover, in the VM's
 * hypervisor itself.
 */
#ifndef SEALIFT_ENGINE_JOB_DISKS_H
#define SEALIFT_ENGINE_JOB_DISKS_H

#include "engine/engine.h"

/* --- destination: job_disks_in.c --- */

/* Whether all disks of a VM that is to come from this domain may come as they are said to. ERROR_DENIED:
 * one is copied in a way that this host's configuration does not allow. */
MUST_CHECK bool disks_in_check(const Engine *engine, const char *domain, const Manifest *manifest,
			       Error *err);
/* A copy gets a key of ours: which one opens it at the peer says nothing here, and is taken out of the
 * manifest. Such a manifest is not for manifest_check until the copies are made. */
void disks_in_forget_keys(Manifest *manifest);
/* Begins to make what receives the disks of job->incoming. hypervisor_on_disks tells when it is done. */
MUST_CHECK bool disks_in_prepare(Job *job, Error *err);
/* Whether all of it stands; true where no disk is copied. */
bool disks_in_ready(const Job *job);
/* Connects the mover with each daemon. */
MUST_CHECK bool disks_in_connect(Job *job, Error *err);
/* HV_ATTACH: answered by migration_on_hv_done. */
MUST_CHECK bool disks_in_attach(Job *job, Error *err);
/* The reservation is undone: nothing of the copies stays, as far as this process can see to it. */
void disks_in_undo(Job *job);
/* Lets go of what is left of them. */
void disks_in_free(Job *job);

/* --- source: job_disks_out.c --- */

/* Says in the manifest of a VM that is about to leave how its disks come along, by their pools. */
void disks_out_choose(const Engine *engine, VmRecord *vm);
/* Whether it may leave so, to this host. ERROR_CONFLICT; ERROR_DENIED: by the configuration. */
MUST_CHECK bool disks_out_check(const Vm *vm, const char *peer_id, Error *err);
/* Whether a disk may be copied from or to a domain in the way that its manifest says: "disks" in the
 * configuration. ERROR_DENIED. */
MUST_CHECK bool disks_check_policy(const Engine *engine, const char *domain, const ManifestDisk *disk,
				   Error *err);
/* HV_MIRROR, HV_DETACH, HV_UNMIRROR: answered by migration_on_hv_done. */
MUST_CHECK bool disks_out_mirror(Job *job, Error *err);
MUST_CHECK bool disks_out_detach(Job *job, Error *err);
MUST_CHECK bool disks_out_unmirror(Job *job, Error *err);
void disks_out_free(Job *job);
/* Asks the hypervisor how far the copies are, unless it has been asked. */
void disks_out_look(Job *job);
/* What it answered last, [{"volume","done_bytes","total_bytes"}...]; NULL: nothing is known. */
json_t *disks_out_view(const Job *job);
/* The VM is the destination's: images that were copied, and their keys, are destroyed here. An image that
 * another VM of this host names stays. */
void disks_out_destroy(Job *job);

#endif
