/* SPDX-License-Identifier: Apache-2.0 */
#include "programs/keylink/policy.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "programs/keylink/keylink.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U /* linux/memfd.h, since 6.3 */
#endif

/* clang-format off */
static const char *const connect_syscalls[] = {
	"recvmsg", "sendmsg",	/* ipc/link.c: recvmsg(), sendmsg() */
	"poll",			/* connect.c: poll() */
	"ppoll",		/* by the C library, for poll on another processor (seldom) */
	"connect",		/* conn.c: connect() */
	"getsockopt",		/* conn.c: getsockopt() of a connection's outcome */
	"setsockopt",		/* conn.c: setsockopt() */
	"read",			/* by OpenSSL: TLS */
	"ftruncate",		/* values.c: ftruncate() */
	NULL,
};

#define TYPE_BITS (UINT32_MAX & ~(uint64_t)(SOCK_NONBLOCK | SOCK_CLOEXEC))
#define TCP_OF(family) { { 0, UINT32_MAX, (family) }, { 1, TYPE_BITS, SOCK_STREAM } }

static const SandboxRule connect_rules[] = {
	/* conn.c: socket() */
	{ "socket", TCP_OF(AF_INET) },
	{ "socket", TCP_OF(AF_INET6) },
	/* base/file.c: memfd_create() makes memory that can be sealed */
	{ "memfd_create", { { .index = 1, .mask = UINT32_MAX, .value = MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL } } },
	/* base/file.c: memfd_create() where the kernel is older (seldom) */
	{ "memfd_create", { { .index = 1, .mask = UINT32_MAX, .value = MFD_CLOEXEC | MFD_ALLOW_SEALING } } },
	/* values.c: fcntl() seals memory */
	{ "fcntl", { { .index = 1, .mask = UINT32_MAX, .value = F_ADD_SEALS } } },
	{ NULL },
};

static const char *const serve_syscalls[] = {
	"recvmsg", "sendmsg",	/* ipc/link.c: recvmsg(), sendmsg() */
	"poll",			/* serve.c: poll() */
	"ppoll",		/* by the C library, for poll on another processor (seldom) */
	"accept4",		/* conn.c: accept4() */
	"setsockopt",		/* conn.c: setsockopt() */
	"read",			/* by OpenSSL: TLS */
	"pread64",		/* serve.c: pread() of a value */
	NULL,
};
/* clang-format on */

const SandboxPolicy keylink_connect_policy = {
	.role = "keylink",
	.syscalls = connect_syscalls,
	.rules = connect_rules,
	.nofile_max = 32,
	/* Address space, most of it libraries. */
	.memory_bytes_max = UINT64_C(128) << 20,
	.keep_network = true,
};

const SandboxPolicy keylink_serve_policy = {
	.role = "keylink",
	.syscalls = serve_syscalls,
	.nofile_max = GUESTS_MAX + 32,
	/* The same, and of each connection its two queues and what TLS has. */
	.memory_bytes_max = UINT64_C(256) << 20,
	.keep_network = true,
};
