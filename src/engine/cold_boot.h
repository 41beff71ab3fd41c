/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hypervisor of a stopped VM that leaves (`migrate --cold`): started from the VM's row with all
 * that a start has, its disks' and its TPM's keys included, but its CPUs never run. The row names
 * the process before there is one, so that a restart finds and ends it.
 */
#ifndef SEALIFT_ENGINE_COLD_BOOT_H
#define SEALIFT_ENGINE_COLD_BOOT_H

#include "engine/engine.h"

/* HV_BOOT: answered by migration_on_hv_done. Errors, here or later, as of a start. */
MUST_CHECK bool cold_boot(Job *job, Error *err);
/* No answer is wanted any more; whatever has a process is the caller's to end. */
void cold_boot_forget(Job *job);

#endif
