/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of the QEMU driver; nobody else includes it. */
#ifndef SEALIFT_VMM_QEMU_VM_H
#define SEALIFT_VMM_QEMU_VM_H

#include <jansson.h>

#include "vmm/disk_mirror.h"
#include "vmm/disk_rekey.h"
#include "vmm/qemu.h"
#include "vmm/qemu_directory.h"
#include "vmm/qemu_process.h"
#include "vmm/qmp.h"

struct event;

enum {
	QEMU_STEPS_OF_DISK = 8, /* at most, to open one late */
	QEMU_STEPS_MAX = 1 + QEMU_STEPS_OF_DISK * LIMIT_DISKS,
	QEMU_REPLY_MS = 15000,	   /* for any one command */
	QEMU_RECONNECT_MS = 10000, /* until the greeting of a process that runs already */
	QEMU_GRACE_MS = 1000,	   /* from the end of QMP to that of the process */
	QEMU_POLL_MS = 100,
	QEMU_LOG_MAX_BYTES = 65536,
	QEMU_LOG_TAIL_BYTES = 400,
};

typedef struct QemuVm QemuVm;
typedef struct QemuOperation QemuOperation;

typedef struct QemuStep {
	const char *command;
	json_t *arguments;
	int fd;		/* goes along, owned; -1: none */
	bool may_fail;	/* QEMU's refusal is as good as its consent */
	bool tries;	/* a refusal is no failure before the operation's deadline: asked again */
	size_t subject; /* the number of the disk that a failure is of, and 1; 0: none */
} QemuStep;

/* QMP commands that follow each other; the first failure ends it. */
struct QemuOperation {
	QemuOperation *next;
	QemuVm *vm;
	QemuStep steps[QEMU_STEPS_MAX];
	size_t steps_count;
	size_t at;
	bool broken; /* no memory for an argument */
	bool parked; /* failed with `cause`; told once it is known whether the process is gone */
	Error cause;
	/* Set by check: the step is taken again, after QEMU_POLL_MS or when QEMU tells of a job,
	 * until the deadline. */
	bool again;
	int64_t deadline_us; /* of `again` and of steps that try; 0: they fail at once */
	struct event *timer; /* pending while it waits, parked, to take its step again */
	uint32_t disks;	     /* for check: bit i is disk i */
	struct {
		size_t disk;
		uint64_t version;
		uint32_t found;
		json_t *top; /* the guest's node, for when it is needed */
	} rekey;	     /* of disk_rekey.c */
	/* Judges the reply of a step before the next one; NULL: none to judge. */
	bool (*check)(QemuOperation *operation, json_t *ret, Error *err);
	/* Tells the caller; ret is the last step's reply, err NULL on success. */
	void (*tell)(QemuOperation *operation, json_t *ret, const Error *err);
	union {
		VmmDone *plain;
		VmmPreparedDone *prepared;
		VmmRunStateDone *run_state;
		VmmMigrationDone *migration;
		DiskMirrorProgressDone *mirror;
		DiskRekeyStateDone *rekey;
	} done;
	void *context;
};

struct QemuVm {
	VmmVm head; /* first: what callers hold */
	struct event_base *base;
	const Resources *resources;
	QemuDirectory directory;
	QemuProcess process;
	QemuProcess tpm;	 /* its swtpm; pid -1: none, or gone */
	int tpm_fd;		 /* swtpm's end, until there is one; -1 */
	struct event *tpm_event; /* QEMU waits for its TPM */
	struct event *tpm_exit_event;
	QmpClient *qmp;
	bool connected; /* QMP is ready for commands */
	bool exited;
	bool freed;
	unsigned int depth; /* callbacks of ours on the stack */
	Error cause;	    /* of the exit, or of the loss of QMP */
	VmmFeatures features;
	bool has_late_disks; /* prepared without them by this process */
	struct stat program; /* as it was when the process was started; for the cache */
	VmmEvents events;
	void *events_context;
	QemuOperation *operations;
	QemuOperation *startup; /* begins when QMP is ready */
	struct event *exit_event;
	struct event *log_event;
	struct event *grace_timer;
	int log_file_fd;
	size_t logged_bytes;
	char log_tail[QEMU_LOG_TAIL_BYTES];
	int64_t started_us;
};

static inline QemuVm *qemu_vm_of(VmmVm *vm)
{
	return (QemuVm *)vm;
}

/* qemu_operation.c */

/* Owned by vm->operations from now on; NULL without memory. */
QemuOperation *qemu_operation_new(QemuVm *vm, void *context, Error *err);
/* The common kind: done is told nothing but the error. */
QemuOperation *qemu_operation_new_plain(QemuVm *vm, VmmDone *done, void *context, Error *err);
/* Its last step is query-status. */
QemuOperation *qemu_operation_new_run_state(QemuVm *vm, VmmRunStateDone *done, void *context,
					    Error *err);
/* Steals arguments; NULL is taken for a lack of memory, so that none are json_object(). */
void qemu_operation_add(QemuOperation *operation, const char *command, json_t *arguments);
/* The same, of a disk, whose number is then told with a failure (qemu_operation_new_plain). */
void qemu_operation_add_for_disk(QemuOperation *operation, const char *command, json_t *arguments,
				 size_t disk);
/* The same with a copy of a descriptor beside it. */
void qemu_operation_add_with_fd(QemuOperation *operation, const char *command, json_t *arguments,
				int fd);
/* Until when it may wait (`again`, `tries`), from now. */
void qemu_operation_set_deadline(QemuOperation *operation, int64_t deadline_ms);
/* Something happened that operations may wait for: they look now. */
void qemu_operations_wake(QemuVm *vm);
/* Sends the first step; if that fails, the operation is gone and nobody is told but the caller. */
MUST_CHECK bool qemu_operation_begin(QemuOperation *operation, Error *err);
/* The same, but on failure the operation stays, for qemu_operation_finish. */
MUST_CHECK bool qemu_operation_send(QemuOperation *operation, Error *err);
/* Removes and releases it; nobody is told. */
void qemu_operation_drop(QemuOperation *operation);
/* Removes it, tells its caller, releases it. */
void qemu_operation_finish(QemuOperation *operation, json_t *ret, const Error *err);
/* Finishes the startup and each parked operation; cause overrides theirs if it is not NULL. */
void qemu_operations_settle(QemuVm *vm, const Error *cause);

/* qemu_lifecycle.c */

/* Takes directory and process. NULL without memory; then they stay the caller's. */
QemuVm *qemu_vm_new(struct event_base *base, const Resources *resources, QemuDirectory *directory,
		    QemuProcess *process, const VmmEvents *events, void *events_context,
		    Error *err);
void qemu_vm_free(VmmVm *vm);
/* For callbacks: keep the memory while one runs. */
void qemu_vm_enter(QemuVm *vm);
void qemu_vm_leave(QemuVm *vm);
/* Begins to connect; `startup` begins by itself. A failure is told to it, later. */
void qemu_vm_connect(QemuVm *vm, QemuOperation *startup, int64_t greeting_ms);

/* qemu_start.c */

typedef enum QemuKind { QEMU_RUNS, QEMU_INCOMING, QEMU_STORAGE } QemuKind;

/* Directory, process and record; not yet connected. */
QemuVm *qemu_spawn(struct event_base *base, const VmmStart *start, QemuKind kind,
		   const VmmEvents *events, void *events_context, Error *err);
/* For the beginning of a startup: the schema is asked for, unless it is known. */
void qemu_add_schema_step(QemuOperation *startup);
/* Ends what was started for a caller who will not get it; NULL. */
VmmVm *qemu_give_up(QemuVm *vm);
/* The secrets of those encrypted disks that are late, or of those that are not. ERROR_USAGE. */
MUST_CHECK bool qemu_check_secrets(const ResolvedVm *vm, bool late, Error *err);

VmmVm *qemu_start(struct event_base *base, const VmmStart *start, const VmmEvents *events,
		  void *events_context, VmmDone *done, void *context, Error *err);
VmmVm *qemu_prepare_incoming(struct event_base *base, const VmmStart *start,
			     const VmmEvents *events, void *events_context, VmmPreparedDone *done,
			     void *context, Error *err);
VmmVm *qemu_adopt(struct event_base *base, const Resources *resources, const char *instance,
		  const VmmEvents *events, void *events_context, VmmRunStateDone *done,
		  void *context, Error *err);
bool qemu_reconnect(VmmVm *vm, VmmRunStateDone *done, void *context, Error *err);

/* qemu_migrate.c */

bool qemu_migrate_out(VmmVm *vm, const VmmMigrateOut *out, VmmDone *done, void *context,
		      Error *err);
bool qemu_incoming_listen(VmmVm *vm, const char *socket, unsigned int channels, VmmDone *done,
			  void *context, Error *err);
bool qemu_query_migration(VmmVm *vm, VmmMigrationDone *done, void *context, Error *err);

/* vtpm_qemu.c: the swtpm of a VM with a TPM; all are fine for one without */

/* Starts it at vm->tpm_fd. */
MUST_CHECK bool qemu_tpm_start(QemuVm *vm, const ResolvedVm *resolved, Error *err);
/* Finishes `startup`, which has no steps, once QEMU has populated its memory and waits for its TPM.
 * On failure startup is gone. */
MUST_CHECK bool qemu_tpm_hold(QemuVm *vm, QemuOperation *startup, int64_t deadline_ms, Error *err);
/* Whether QEMU waits so, or will. */
bool qemu_tpm_is_held(const QemuVm *vm);
/* Starts a TPM that is waited for, connects, and begins `next` then. On failure next is gone. */
MUST_CHECK bool qemu_tpm_open(QemuVm *vm, const ResolvedVm *resolved, QemuOperation *next,
			      Error *err);
/* Whether its process is there. */
bool qemu_has_tpm(const VmmVm *vm);
/* Finds that of an adopted VM. */
void qemu_tpm_adopt(QemuVm *vm);
/* QEMU is gone: so is it. */
void qemu_tpm_end(QemuVm *vm);
/* The same for a QEMU that ended while nobody looked, before its directory is removed. */
void qemu_tpm_end_left(const QemuDirectory *directory);
/* Lets go of it. */
void qemu_tpm_close(QemuVm *vm);

/* disk_late.c */

bool qemu_open_disks(VmmVm *vm, const ResolvedVm *resolved, VmmDone *done, void *context,
		     Error *err);

#endif
