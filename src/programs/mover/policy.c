/* SPDX-License-Identifier: Apache-2.0 */
#include "programs/mover/policy.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include "base/bounds.h"

static const char *const syscalls[] = {
	"recvmsg",   "sendmsg", /* link.c: messages with descriptors */
	"recvfrom",  "sendto",	/* relay.c, proof.c: recv and send on sockets that were given */
	"shutdown",		/* session.c: ends of streams, abort */
	"poll",	     "ppoll",	/* loop.c */
	"read",			/* loop.c: the event descriptor by which threads wake it */
	"pread64",		/* stats.c: its own status file, opened before; session.c: what
				 * the guard has to know, in memory of the engine */
	"getrusage",		/* stats.c */
	NULL,
};

/* The low half of an argument: the kernel looks at no more of an int. */
#define INT_IS(argument, number)                                                                   \
	{                                                                                          \
		.index = (argument), .mask = UINT32_MAX, .value = (number)                         \
	}

static const SandboxRule rules[] = {
	/* session.c, on_network: small records leave at once */
	{ "setsockopt", { INT_IS(1, IPPROTO_TCP), INT_IS(2, TCP_NODELAY) } },
	/* session.c, make_blocking */
	{ "fcntl", { INT_IS(1, F_GETFL) } },
	{ "fcntl", { INT_IS(1, F_SETFL) } },
	{ NULL },
};

const SandboxPolicy mover_policy = {
	.role = "mover",
	.syscalls = syscalls,
	.rules = rules,
	/* link, events, status, 0 to 2; two for each channel, the pending ones, and those that come
	 * with one message */
	.nofile_max = 8 + 2 * LIMIT_CHANNELS + LIMIT_CHANNELS_PENDING + LIMIT_IPC_FDS,
	/* address space, mostly libraries and untouched stacks; the memory in use is far below */
	.memory_bytes_max = UINT64_C(1) << 29,
};
