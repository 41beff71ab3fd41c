/* SPDX-License-Identifier: Apache-2.0 */
/* What a mover may do. A constant of its own, so that a test can try what it must not do. */
#ifndef SEALIFT_PROGRAMS_MOVER_POLICY_H
#define SEALIFT_PROGRAMS_MOVER_POLICY_H

#include "sandbox/sandbox.h"

extern const SandboxPolicy mover_policy;

#endif
