/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SEALIFT_PROGRAMS_GATE_POLICY_H
#define SEALIFT_PROGRAMS_GATE_POLICY_H

#include "sandbox/sandbox.h"

/* What sealift-gate may do. */
extern const SandboxPolicy gate_policy;

#endif
