/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SEALIFT_PROGRAMS_KEYLINK_POLICY_H
#define SEALIFT_PROGRAMS_KEYLINK_POLICY_H

#include "sandbox/sandbox.h"

/* What sealift-keylink may do in each of its modes: neither has files, and only one can dial, only
 * one take connections. */
extern const SandboxPolicy keylink_connect_policy, keylink_serve_policy;

#endif
