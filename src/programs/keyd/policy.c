/* SPDX-License-Identifier: Apache-2.0 */
#include "programs/keyd/policy.h"

#include <fcntl.h>
#include <sys/mman.h>

#include "role/keyd_messages.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U /* linux/memfd.h, since 6.3 */
#endif

/* clang-format off */
static const char *const syscalls[] = {
	"recvmsg", "sendmsg",	     /* ipc/link.c: recvmsg(), sendmsg() */
	"poll",			     /* serve.c: poll() */
	"ftruncate",		     /* opened.c: ftruncate() */
	"pread64", "pwrite64", "fdatasync", /* by SQLite */
	"fstat",		     /* by SQLite, where the C library makes no newfstatat of it (seldom) */
	"fsync",		     /* by SQLite: a file that grew (seldom) */
	NULL,
};

static const SandboxRule rules[] = {
	/* base/file.c: memfd_create() makes memory that can be sealed, and is no program where the
	 * kernel knows that */
	{ "memfd_create", { { .index = 1, .mask = UINT32_MAX, .value = MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL } } },
	/* base/file.c: memfd_create() where it does not (seldom) */
	{ "memfd_create", { { .index = 1, .mask = UINT32_MAX, .value = MFD_CLOEXEC | MFD_ALLOW_SEALING } } },
	/* opened.c: fcntl() seals memory */
	{ "fcntl", { { .index = 1, .mask = UINT32_MAX, .value = F_ADD_SEALS } } },
	/* by SQLite: the size of a file that is open */
	{ "newfstatat", { { .index = 3, .mask = UINT32_MAX, .value = AT_EMPTY_PATH } } },
	{ NULL },
};
/* clang-format on */

const SandboxPolicy keyd_policy = {
	.role = "keyd",
	.syscalls = syscalls,
	.rules = rules,
	.nofile_max = 32,
	.directory_fd = KEYD_STORE_FD,
	/* The database: a million keys take 1.5 GiB, their log grows as long as they live. */
	.file_bytes_max = UINT64_C(1) << 40,
	/* Address space, 25 MiB of it libraries, 16 MiB SQLite's pages. */
	.memory_bytes_max = UINT64_C(128) << 20,
};
