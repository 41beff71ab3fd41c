/* SPDX-License-Identifier: Apache-2.0 */
#include "programs/gate/policy.h"

#include <fcntl.h>
#include <sys/socket.h>

#include "base/bounds.h"

/* clang-format off */
static const char *const syscalls[] = {
	"epoll_ctl", "epoll_wait",  /* by libevent: its loop */
	"epoll_pwait", "epoll_pwait2", /* by libevent, a newer one or on another processor (seldom) */
	"recvmsg", "sendmsg",	    /* ipc/link.c: recvmsg(), sendmsg() */
	"read",			    /* by OpenSSL: TLS */
	"recvfrom",		    /* inbound.c: recv() of the first byte and of a preamble;
				     * connection.c: draining */
	"accept4",		    /* inbound.c: accept4() */
	"connect",		    /* dial.c: connect() */
	"getsockopt",		    /* dial.c: getsockopt() of a connection's outcome; tcp.c: of TCP_INFO */
	"setsockopt",		    /* tcp.c, inbound.c: setsockopt() */
	"shutdown",		    /* control.c: shutdown() */
	NULL,
};

#define TYPE_BITS (UINT32_MAX & ~(uint64_t)(SOCK_NONBLOCK | SOCK_CLOEXEC))
#define TCP_OF(family) { { 0, UINT32_MAX, (family) }, { 1, TYPE_BITS, SOCK_STREAM } }
#define FCNTL_OF(command) { { 1, UINT32_MAX, (command) } }

static const SandboxRule rules[] = {
	/* dial.c: socket() */
	{ "socket", TCP_OF(AF_INET) },
	{ "socket", TCP_OF(AF_INET6) },
	/* inbound.c, dial.c: fcntl(), for channels go out in blocking mode */
	{ "fcntl", FCNTL_OF(F_GETFL) },
	{ "fcntl", FCNTL_OF(F_SETFL) },
	{ NULL },
};
/* clang-format on */

const SandboxPolicy gate_policy = {
	.role = "gate",
	.syscalls = syscalls,
	.rules = rules,
	.nofile_max =
		2 * LIMIT_CONNECTIONS + LIMIT_CONNECTIONS_PENDING + LIMIT_CONNECTIONS_DIALLED + 64,
	/* Address space. 22 MiB when nobody is connected; about half a MiB for each connection
	 * whose peer does not read (LIMIT_SEND_QUEUE, a frame, OpenSSL's own), and the anchors. */
	.memory_bytes_max = UINT64_C(256) << 20,
	.keep_network = true,
};
