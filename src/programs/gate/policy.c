/* SPDX-License-Identifier: Apache-2.0 */
#include "programs/gate/policy.h"

#include <sys/socket.h>

#include "base/bounds.h"

static const char *const syscalls[] = {
	"epoll_ctl",  "epoll_wait", "epoll_pwait", /* libevent's loop */
	"recvmsg",    "sendmsg",		   /* ipc/link.c */
	"read",					   /* key files before the loop; TLS by OpenSSL */
	"recvfrom", /* connection.c: first byte, preamble, draining */
	"accept4",    "accept",	    "getpeername", /* listener.c */
	"connect",    "getsockopt",		   /* dial.c: connect and its outcome; TCP_INFO */
	"setsockopt", "shutdown",		   /* tcp.c, connection.c */
	"fcntl",				   /* channels are handed over in blocking mode */
	NULL,
};

#define TYPE_BITS (UINT32_MAX & ~(uint64_t)(SOCK_NONBLOCK | SOCK_CLOEXEC))
#define TCP_OF(family)                                                                             \
	{                                                                                          \
		{ 0, UINT32_MAX, (family) },                                                       \
		{                                                                                  \
			1, TYPE_BITS, SOCK_STREAM                                                  \
		}                                                                                  \
	}

static const SandboxRule rules[] = {
	{ "socket", TCP_OF(AF_INET) },
	{ "socket", TCP_OF(AF_INET6) },
	{ NULL },
};

const SandboxPolicy gate_policy = {
	.role = "gate",
	.syscalls = syscalls,
	.rules = rules,
	.nofile_max = LIMIT_CONNECTIONS + LIMIT_CONNECTIONS_PENDING + LIMIT_CHANNELS_PENDING + 64,
	.memory_bytes_max = UINT64_C(1) << 30,
	.keep_network = true,
};
