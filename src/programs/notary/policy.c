/* SPDX-License-Identifier: Apache-2.0 */
#include "programs/notary/policy.h"

static const char *const syscalls[] = {
	"recvmsg",
	"sendmsg", /* ipc/link.c */
	NULL,
};

const SandboxPolicy notary_policy = {
	.role = "notary",
	.syscalls = syscalls,
	.nofile_max = 16,
	.memory_bytes_max = UINT64_C(512) << 20,
};
