/* SPDX-License-Identifier: Apache-2.0 */
#include "programs/gate/policy.h"

#include <sys/socket.h>

#include "base/bounds.h"

/* clang-format off */
static const char *const syscalls[] = {
	"epoll_ctl", "epoll_wait", "epoll_pwait", "epoll_pwait2", /* libevent's loop */
	"recvmsg", "sendmsg",	    /* ipc/link.c */
	"read",			    /* TLS, by OpenSSL */
	"recvfrom",		    /* inbound.c: first byte, preamble; connection.c: draining */
	"accept4",		    /* inbound.c */
	"connect", "getsockopt",    /* dial.c: a connection and its outcome; tcp.c: TCP_INFO */
	"setsockopt", "shutdown",   /* tcp.c, inbound.c; control.c */
	"fcntl",		    /* inbound.c, dial.c: channels go out in blocking mode */
	NULL,
};
/* clang-format on */

#define TYPE_BITS (UINT32_MAX & ~(uint64_t)(SOCK_NONBLOCK | SOCK_CLOEXEC))

/* clang-format off */
#define TCP_OF(family) { { 0, UINT32_MAX, (family) }, { 1, TYPE_BITS, SOCK_STREAM } }
/* clang-format on */

static const SandboxRule rules[] = {
	{ "socket", TCP_OF(AF_INET) },
	{ "socket", TCP_OF(AF_INET6) },
	{ NULL },
};

const SandboxPolicy gate_policy = {
	.role = "gate",
	.syscalls = syscalls,
	.rules = rules,
	.nofile_max =
		2 * LIMIT_CONNECTIONS + LIMIT_CONNECTIONS_PENDING + LIMIT_CHANNELS_PENDING + 64,
	.memory_bytes_max = UINT64_C(1) << 30,
	.keep_network = true,
};
