/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SEALIFT_VMM_QEMU_FEATURES_H
#define SEALIFT_VMM_QEMU_FEATURES_H

#include <jansson.h>

#include "vmm/vmm.h"

/* What the reply of query-qmp-schema (QEMU's docs/devel/qapi-code-gen.rst, "Client JSON Protocol
 * introspection") offers. ERROR_HYPERVISOR if it is not such a reply. */
MUST_CHECK bool qemu_features_of_schema(const json_t *schema, VmmFeatures *ret_features,
					Error *err);

#endif
