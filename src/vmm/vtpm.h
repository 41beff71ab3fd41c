/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The TPM 2.0 of a VM: one swtpm process (swtpm(8), 0.7.1 or newer) that speaks with its QEMU over
 * a connected pair of sockets, so that there is no path to connect to. What it stores is encrypted
 * under the key "tpm-file", which need not be that of any other host, and what it hands to QEMU for
 * a migration under the key "tpm-migration", which both hosts have.
 *
 * It runs like QEMU: QEMU's user, a session of its own, no capabilities, its own seccomp filter
 * (which swtpm brings), and outlives this process. It ends by itself when its QEMU does. A swtpm
 * that dies is not noticed by QEMU: the guest runs on, its TPM commands fail, and a migration out
 * fails before the switchover.
 */
#ifndef SEALIFT_VMM_VTPM_H
#define SEALIFT_VMM_VTPM_H

#include "vmm/disk_secret.h"
#include "vmm/qemu_process.h"

#define VTPM_PROGRAM "/usr/bin/swtpm"

typedef struct VtpmStart {
	const Resources *resources;
	int state_fd; /* the directory of its state: vtpm_open_state, vtpm_make_scratch */
	/* The two passphrases (vmm/disk_secret.h); both are read before swtpm answers QEMU. */
	int file_key_fd, migration_key_fd;
	int control_fd; /* its end of the pair */
} VtpmStart;

/* Whether this host can run one. ERROR_UNAVAILABLE, with what is missing. */
MUST_CHECK bool vtpm_check_program(const Resources *resources, Error *err);

/* Opens resources->tpm_directory/UUID for vtpm_spawn; made if it is not there, mode 0700, QEMU's
 * user's own if the caller is root. ERROR_CONFIG if there is no tpm_directory. */
MUST_CHECK bool vtpm_open_state(const Resources *resources, const char *uuid, int *ret_fd,
				Error *err);

/* Whether there is state of this VM's TPM. An empty directory is none. */
MUST_CHECK bool vtpm_has_state(const Resources *resources, const char *uuid, bool *ret_has,
			       Error *err);

/* A mark that stands from before its keys are made until it has state, so that the loss of a state
 * is told from a first start that failed. ERROR_IO. */
MUST_CHECK bool vtpm_mark_new(const Resources *resources, const char *uuid, Error *err);
MUST_CHECK bool vtpm_unmark_new(const Resources *resources, const char *uuid, Error *err);
MUST_CHECK bool vtpm_is_new(const Resources *resources, const char *uuid, bool *ret_is, Error *err);

/* Returns once what it stored is on the disk, which swtpm does not see to: before another copy of
 * the state is given up. Fine if there is nothing. ERROR_IO. */
MUST_CHECK bool vtpm_sync_state(const Resources *resources, const char *uuid, Error *err);

/* Starts it. Descriptors stay the caller's and may be closed on return. record_path as of
 * qemu_process_spawn. ERROR_USAGE for a key that is none. */
MUST_CHECK bool vtpm_spawn(const VtpmStart *start, const char *record_path,
			   QemuProcess *ret_process, Error *err);

/*
 * After the VM left: overwrites, where the file system does that in place, and removes what the TPM
 * stored. Fine if there is nothing. It must not run any more. What makes it unreadable for good is
 * the end of its key. ERROR_IO: something is left.
 */
MUST_CHECK bool vtpm_destroy_state(const Resources *resources, const char *uuid, Error *err);

/* One of a twin: random keys that nobody keeps, and a state directory beneath the run directory
 * that goes with it. */
enum { VTPM_PATH_SIZE = LIMIT_PATH + LIMIT_NAME };
typedef struct VtpmScratch {
	QemuProcess process; /* ends with ours */
	char path[VTPM_PATH_SIZE];
	DiskSecret file_key, migration_key;
} VtpmScratch;
#define VTPM_SCRATCH_INIT                                                                          \
	((VtpmScratch){ .process = QEMU_PROCESS_INIT,                                              \
			.file_key = DISK_SECRET_INIT,                                              \
			.migration_key = DISK_SECRET_INIT })

/* control_fd as of VtpmStart. *ret_scratch is VTPM_SCRATCH_INIT on entry. */
MUST_CHECK bool vtpm_start_scratch(const Resources *resources, int control_fd,
				   VtpmScratch *ret_scratch, Error *err);
/* Ends it; nothing of it is left. Fine on VTPM_SCRATCH_INIT and after itself. */
void vtpm_end_scratch(VtpmScratch *scratch);

#endif
