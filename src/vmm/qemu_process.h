/* SPDX-License-Identifier: Apache-2.0 */
/*
 * QEMU as a process: its start, its record on disk, its end. It runs in a session of its own with
 * no tie to this process but its standard error, which may break without harm.
 */
#ifndef SEALIFT_VMM_QEMU_PROCESS_H
#define SEALIFT_VMM_QEMU_PROCESS_H

#include "vmm/qemu_command.h"

typedef struct QemuProcess {
	pid_t pid;
	int pid_fd; /* readable once the process is gone; pidfd_open(2) */
	int log_fd; /* our end of its standard error, non-blocking; -1 if there is none */
} QemuProcess;

#define QEMU_PROCESS_INIT ((QemuProcess){ .pid = -1, .pid_fd = -1, .log_fd = -1 })

/* Starts the command as `user` (if the caller is root and user->set), without capabilities or
 * privileges to gain, parted from other processes where the kernel can (sandbox_part_from_others),
 * and records it at record_path before it executes anything: a process without a record cannot
 * be. A program that cannot be run says so on its standard error and exits with 127.
 * record_path NULL: there is none, and the process ends with ours (PR_SET_PDEATHSIG). */
MUST_CHECK bool qemu_process_spawn(const QemuCommand *command, const QemuUser *user,
				   const char *record_path, QemuProcess *ret_process, Error *err);

/* Finds the process of a record by id, start time and boot. ERROR_NOT_FOUND if it is gone. */
MUST_CHECK bool qemu_process_find(const char *record_path, QemuProcess *ret_process, Error *err);

/* CPU time since its start, all threads. */
MUST_CHECK bool qemu_process_cpu_us(const QemuProcess *process, int64_t *ret_us, Error *err);

/* SIGKILL; true if it is gone already. */
MUST_CHECK bool qemu_process_kill(const QemuProcess *process, Error *err);

/* After its pid_fd became readable: reaps it if it is our child, and says how it ended. */
void qemu_process_reap(const QemuProcess *process, Error *ret_cause);

/* Kills a child of ours and waits for its end: for starts that fail halfway. */
void qemu_process_destroy(QemuProcess *process);

/* Closes the descriptors; the process goes on. */
void qemu_process_close(QemuProcess *process);
#define AUTO_QEMU_PROCESS CLEANUP(qemu_process_close)

#endif
