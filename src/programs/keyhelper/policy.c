/* SPDX-License-Identifier: Apache-2.0 */
#include "programs/keyhelper/policy.h"

#include <fcntl.h>
#include <sys/socket.h>

/* clang-format off */
/* These two have a network, and no file: Landlock and an empty root see to that. */
static const char *const kmip_syscalls[] = {
	"recvmsg", "sendmsg",	/* ipc/link.c: recvmsg(), sendmsg() */
	"poll",			/* serve.c, keys/kmip_link.c: poll() */
	"ppoll",		/* by the C library, for poll on another processor (seldom) */
	"connect",		/* keys/kmip_link.c: connect() */
	"getsockopt",		/* keys/kmip_link.c: getsockopt() of a connection's outcome */
	"setsockopt",		/* keys/kmip_link.c: setsockopt() */
	"read",			/* by OpenSSL: TLS */
	NULL,
};

#define TYPE_BITS (UINT32_MAX & ~(uint64_t)(SOCK_NONBLOCK | SOCK_CLOEXEC))
#define TCP_OF(family) { { 0, UINT32_MAX, (family) }, { 1, TYPE_BITS, SOCK_STREAM } }

static const SandboxRule kmip_rules[] = {
	/* keys/kmip_link.c: socket() */
	{ "socket", TCP_OF(AF_INET) },
	{ "socket", TCP_OF(AF_INET6) },
	{ NULL },
};

static const char *const barbican_syscalls[] = {
	"recvmsg", "sendmsg",	/* ipc/link.c: recvmsg(), sendmsg() */
	"poll",			/* serve.c: poll() */
	"ppoll",		/* by the C library, for poll on another processor (seldom) */
	"connect", "getsockopt", "setsockopt", "getsockname", "getpeername", "sendto", "recvfrom",
	"read",			/* by the C library, for libcurl (seldom) */
	"rt_sigaction",		/* by the C library, for libcurl: SIGPIPE, at the end (seldom) */
	NULL,
};

static const SandboxRule barbican_rules[] = {
	/* by the C library, for libcurl: TCP and no other */
	{ "socket", TCP_OF(AF_INET) },
	{ "socket", TCP_OF(AF_INET6) },
	/* by the C library, for libcurl: a socket that does not block */
	{ "fcntl", { { 1, UINT32_MAX, F_GETFL } } },
	{ "fcntl", { { 1, UINT32_MAX, F_SETFL } } },
	{ NULL },
};

/*
 * A module of others is code of others: what it calls is not ours to choose. These are the calls of
 * modules that keep their token in files, and which files, Landlock says; a network, processes,
 * threads after the start, other programs and new code it does not get. A module that reaches its
 * token by a socket or a device file does not work here.
 */
static const char *const pkcs11_syscalls[] = {
	"recvmsg", "sendmsg",	/* ipc/link.c: recvmsg(), sendmsg() */
	"poll",			/* serve.c: poll() */
	"ppoll",		/* by the C library, for poll on another processor (seldom) */
	/* All that follow, by the C library, for the module (seldom): its token's files. */
	"openat", "open", "read", "pread64", "readv", "writev", "pwrite64", "lseek",
	"fstat", "stat", "lstat", "newfstatat", "statx", "access", "faccessat", "faccessat2",
	"getdents64", "fcntl", "flock", "fsync", "fdatasync", "ftruncate",
	"mkdir", "mkdirat", "unlink", "unlinkat", "rmdir", "rename", "renameat", "renameat2",
	"fchmod", "umask", "getcwd",
	"getuid", "geteuid", "getgid", "getegid", "gettid", "uname", "sysinfo", "munlock",
	"clock_nanosleep", "nanosleep", "rt_sigaction", "sched_yield", "msync",
				/* by the C library, for the module (seldom) */
	NULL,
};

/* Modules log by syslog(3), which gives up without a socket. */
static const char *const pkcs11_refused[] = { "socket", "connect", "sendto", NULL };

static const SandboxRule pkcs11_rules[] = {
	/* by the C library, for the module (seldom): memory never becomes code */
	{ "mprotect", { { 2, 4, 0 } } },
	{ NULL },
};

/* The chip is a descriptor that came from the engine. */
static const char *const tpm2_syscalls[] = {
	"recvmsg", "sendmsg",	/* ipc/link.c: recvmsg(), sendmsg() */
	"poll",			/* serve.c: poll() */
	"ppoll",		/* by the C library, for poll on another processor (seldom) */
	NULL,
};
/* clang-format on */

static const SandboxPolicy kmip_policy = {
	.role = "keyhelper",
	.syscalls = kmip_syscalls,
	.rules = kmip_rules,
	.nofile_max = 16,
	/* Address space, most of it libraries; answers are 64 KiB at most. */
	.memory_bytes_max = UINT64_C(128) << 20,
	.keep_network = true,
};

static const SandboxPolicy barbican_policy = {
	.role = "keyhelper",
	.syscalls = barbican_syscalls,
	.rules = barbican_rules,
	.nofile_max = 32,
	.memory_bytes_max = UINT64_C(256) << 20,
	.keep_network = true,
};

static const SandboxPolicy pkcs11_policy = {
	.role = "keyhelper",
	.syscalls = pkcs11_syscalls,
	.rules = pkcs11_rules,
	.refused_syscalls = pkcs11_refused,
	/* A module may keep a file open for each object. */
	.nofile_max = 256,
	.memory_bytes_max = UINT64_C(512) << 20,
	.file_bytes_max = UINT64_C(64) << 20,
};

static const SandboxPolicy tpm2_policy = {
	.role = "keyhelper",
	.syscalls = tpm2_syscalls,
	.nofile_max = 16,
	.memory_bytes_max = UINT64_C(128) << 20,
};

const SandboxPolicy *const keyhelper_policies[HELPER_KIND_COUNT] = {
	[HELPER_KIND_KMIP] = &kmip_policy,	    [HELPER_KIND_PKCS11] = &pkcs11_policy,
	[HELPER_KIND_PKCS11_ROOT] = &pkcs11_policy, [HELPER_KIND_TPM2] = &tpm2_policy,
	[HELPER_KIND_BARBICAN] = &barbican_policy,
};
