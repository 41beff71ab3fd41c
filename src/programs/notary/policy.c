/* SPDX-License-Identifier: Apache-2.0 */
#include "programs/notary/policy.h"

static const char *const syscalls[] = {
	"recvmsg",
	"sendmsg", /* ipc/link.c: recvmsg(), sendmsg() */
	NULL,
};

const SandboxPolicy notary_policy = {
	.role = "notary",
	.syscalls = syscalls,
	.nofile_max = 16,
	/* Address space, 21 MiB of it libraries; statements and CRLs are 24 KiB at most. */
	.memory_bytes_max = UINT64_C(128) << 20,
};
