/* SPDX-License-Identifier: Apache-2.0 */
#include "programs/mover/policy.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include "base/bounds.h"

/* clang-format off */
static const char *const syscalls[] = {
	"recvmsg", "sendmsg",	/* ipc/link.c: recvmsg(), sendmsg() of messages with descriptors */
	"recvfrom",		/* relay.c, proof.c: recv() on sockets that were given */
	"shutdown",		/* session.c, relay.c: shutdown() ends streams, aborts */
	"poll",			/* mover.c: poll() */
	"ppoll",		/* mover.c: poll() on processors that have no call of that name (seldom) */
	"read",			/* mover.c: read() of the event descriptor by which threads wake it */
	"pread64",		/* stats.c: pread() of its own status file, opened before;
				 * setup.c: of what the guard has to know, in the engine's memory */
	"getrusage",		/* stats.c: getrusage() */
	NULL,
};
/* clang-format on */

/* The low half of an argument: the kernel looks at no more of an int. */
#define INT_IS(argument, number)                                                                   \
	{                                                                                          \
		.index = (argument), .mask = UINT32_MAX, .value = (number)                         \
	}
#define IS_NULL(argument)                                                                          \
	{                                                                                          \
		.index = (argument), .mask = UINT64_MAX, .value = 0                                \
	}

static const SandboxRule rules[] = {
	/* relay.c, proof.c: send() to whom the socket is connected with, nobody else */
	{ "sendto", { IS_NULL(4) } },
	/* session.c: setsockopt() lets small records leave at once */
	{ "setsockopt", { INT_IS(1, IPPROTO_TCP), INT_IS(2, TCP_NODELAY) } },
	/* session.c: fcntl() makes connections blocking */
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
	/*
	 * Address space. 62 MiB with all channels: libraries, stacks, a buffer for each direction.
	 * The guard may come to hold GUARD_HELD_MAX (64 MiB) of device state and a
	 * synchronisation's packets of each channel (17 MiB), with the twin's stream (16 MiB), and
	 * to judge them needs at most some 170 MiB more for the two descriptions, as JSON and
	 * decoded, at the bounds of vmdesc.h and dump_vmstate.h.
	 */
	.memory_bytes_max = UINT64_C(384) << 20,
};
