/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SEALIFT_PROGRAMS_NOTARY_POLICY_H
#define SEALIFT_PROGRAMS_NOTARY_POLICY_H

#include "sandbox/sandbox.h"

/* What sealift-notary may do, in both roles. */
extern const SandboxPolicy notary_policy;

#endif
