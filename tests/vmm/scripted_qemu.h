/* SPDX-License-Identifier: Apache-2.0 */
/* A QEMU that follows a script, in a process of its own at the other end of a socket. */
#ifndef SEALIFT_TESTS_VMM_SCRIPTED_QEMU_H
#define SEALIFT_TESTS_VMM_SCRIPTED_QEMU_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Plays with the socket; false if the other side did not what the script expects. */
typedef bool Script(int fd);

typedef struct ScriptedQemu {
	pid_t pid;
	int fd; /* the client's end */
} ScriptedQemu;

ScriptedQemu scripted_qemu_start(Script *script);
/* Waits for its end; whether the script was content. */
bool scripted_qemu_end(ScriptedQemu *qemu);

/* For scripts. */
bool script_say(int fd, const char *text);
/* Reads one line; whether it holds `part`. ret_fd (may be NULL) is a descriptor that came along. */
bool script_expect(int fd, const char *part, int *ret_fd);
/* Waits until the other side has closed. */
bool script_expect_end(int fd);
/* The greeting and the reply to qmp_capabilities, whose id is 1. */
bool script_greet(int fd);

#endif
