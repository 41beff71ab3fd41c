/* SPDX-License-Identifier: Apache-2.0 */
/* What test_qemu_sandbox.c has a QEMU try, by a thread that was there before QEMU's sandbox. */
#ifndef SEALIFT_TESTS_VMM_QEMU_PROBE_H
#define SEALIFT_TESTS_VMM_QEMU_PROBE_H

#include <stdint.h>

typedef enum ProbeAct {
	/* -sandbox spawn=deny */
	PROBE_FORK,
	PROBE_VFORK,
	PROBE_CLONE,
	PROBE_EXEC,
	/* elevateprivileges=deny */
	PROBE_SETUID,
	PROBE_SETGID,
	PROBE_SETREUID,
	/* resourcecontrol=deny */
	PROBE_SETPRIORITY,
	PROBE_SETAFFINITY,
	/* obsolete=deny */
	PROBE_SYSFS,
	/* ours: Landlock's domain, no capability, no new privileges, no core */
	PROBE_TRACE,
	PROBE_SIGNAL,
	PROBE_READ_MEMORY,
	PROBE_CORE_LIMIT,
	PROBE_CHROOT,
	/* what QEMU needs, and whoever takes it over has */
	PROBE_OPEN_FILE,
	PROBE_CONNECT,
	PROBE_ACT_COUNT,
} ProbeAct;

typedef struct ProbeOrder {
	int32_t act, neighbour; /* process id */
	uint16_t port;		/* of 127.0.0.1 */
} ProbeOrder;

/* What comes back: 0, or the error number; nothing if the act ended the process. */
typedef int32_t ProbeAnswer;

#endif
