/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of the QEMU driver; nobody else includes it. */
#ifndef SEALIFT_VMM_QEMU_VM_H
#define SEALIFT_VMM_QEMU_VM_H

#include <jansson.h>

#include "vmm/qemu.h"
#include "vmm/qemu_directory.h"
#include "vmm/qemu_process.h"
#include "vmm/qmp.h"

struct event;

enum {
	QEMU_STEPS_MAX = 4,
	QEMU_REPLY_MS = 15000,	   /* for any one command */
	QEMU_RECONNECT_MS = 10000, /* until the greeting of a process that runs already */
	QEMU_GRACE_MS = 1000,	   /* from the end of QMP to that of the process */
	QEMU_LOG_MAX_BYTES = 65536,
	QEMU_LOG_TAIL_BYTES = 400,
};

typedef struct QemuVm QemuVm;
typedef struct QemuOperation QemuOperation;

typedef struct QemuStep {
	const char *command;
	json_t *arguments;
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
	/* Judges the reply of a step before the next one; NULL: none to judge. */
	bool (*check)(QemuOperation *operation, json_t *ret, Error *err);
	/* Tells the caller; ret is the last step's reply, err NULL on success. */
	void (*tell)(QemuOperation *operation, json_t *ret, const Error *err);
	union {
		VmmDone *plain;
		VmmPreparedDone *prepared;
		VmmRunStateDone *run_state;
		VmmMigrationDone *migration;
	} done;
	void *context;
};

struct QemuVm {
	VmmVm head; /* first: what callers hold */
	struct event_base *base;
	const Resources *resources;
	QemuDirectory directory;
	QemuProcess process;
	QmpClient *qmp;
	bool connected; /* QMP is ready for commands */
	bool exited;
	bool freed;
	unsigned int depth; /* callbacks of ours on the stack */
	Error cause;	    /* of the exit, or of the loss of QMP */
	VmmFeatures features;
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
/* Sends the first step; if that fails, the operation is gone and nobody is told but the caller. */
MUST_CHECK bool qemu_operation_begin(QemuOperation *operation, Error *err);
/* The same, but on failure the operation stays, for qemu_operation_finish. */
MUST_CHECK bool qemu_operation_send(QemuOperation *operation, Error *err);
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

#endif
