/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SEALIFT_PROGRAMS_KEYD_POLICY_H
#define SEALIFT_PROGRAMS_KEYD_POLICY_H

#include "sandbox/sandbox.h"

/* What sealift-keyd may do. */
extern const SandboxPolicy keyd_policy;

#endif
