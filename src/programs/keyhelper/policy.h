/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SEALIFT_PROGRAMS_KEYHELPER_POLICY_H
#define SEALIFT_PROGRAMS_KEYHELPER_POLICY_H

#include "role/key_messages.h"
#include "sandbox/sandbox.h"

/* What sealift-keyhelper may do, by what it is for. Those of PKCS#11 are for
 * sandbox_enter_with_files. */
extern const SandboxPolicy *const keyhelper_policies[HELPER_KIND_COUNT];

#endif
