/* SPDX-License-Identifier: Apache-2.0 */
/* A QEMU started to see what it can do, for a few seconds at most, and always killed. */
#ifndef SEALIFT_PROGRAMS_CLI_TRIAL_H
#define SEALIFT_PROGRAMS_CLI_TRIAL_H

#include <stdint.h>
#include <sys/types.h>

#include "base/buffer.h"

enum { TRIAL_OUTPUT_MAX = 4 << 20 }; /* the answer to query-qmp-schema is some 250 KiB */

typedef struct Trial {
	pid_t pid;
	int pidfd;
	int io;		     /* its standard input and output */
	int errors;	     /* a memfd: its standard error */
	int64_t deadline_us; /* by clock_system */
} Trial;

#define TRIAL_INIT ((Trial){ .pid = -1, .pidfd = -1, .io = -1, .errors = -1 })

/* argv[0] is looked for in PATH. ERROR_IO if it cannot be started; a program that is not there only
 * shows as the end of its output. */
MUST_CHECK bool trial_start(Trial *trial, const char *const *argv, unsigned int timeout_ms,
			    Error *err);
/* Kills it and waits, for a moment only: a CPU that hangs inside KVM may not let it die. */
void trial_end(Trial *trial);
#define AUTO_TRIAL CLEANUP(trial_end)

MUST_CHECK bool trial_write(Trial *trial, const char *text, Error *err);
/* Appends what it writes until there is something. ERROR_TIMEOUT at the deadline, ERROR_UNAVAILABLE
 * when it has ended (with its own last words), ERROR_LIMIT past the buffer's bound. */
MUST_CHECK bool trial_read(Trial *trial, Buffer *buffer, Error *err);

#endif
