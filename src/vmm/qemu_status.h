/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SEALIFT_VMM_QEMU_STATUS_H
#define SEALIFT_VMM_QEMU_STATUS_H

#include <jansson.h>

#include "vmm/vmm.h"

/* The reply of query-migrate. Figures that are missing or negative become 0. ERROR_HYPERVISOR if it
 * is no object. */
MUST_CHECK bool qemu_status_of_migration(const json_t *reply, VmmMigration *ret_migration,
					 Error *err);

/* The reply of query-status. */
MUST_CHECK bool qemu_status_of_run(const json_t *reply, VmmRunState *ret_state, Error *err);

#endif
