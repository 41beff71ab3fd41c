/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/disk_daemon.h"

#include <stdlib.h>

struct DiskDaemon {
	LIST_ENTRY(DiskDaemon) link;
	Engine *engine;
	VmmVm *vm; /* NULL: its process is gone */
	size_t disk;
	bool let_go;	      /* by its owner: freed with its process */
	bool stopped;	      /* in order: that it ends is no news */
	DiskDaemonDone *done; /* of what is under way */
	DiskDaemonDone *gone; /* NULL: its owner is not told */
	void *context;
};

static void forget(DiskDaemon *daemon)
{
	LIST_REMOVE(daemon, link);
	vmm_free(daemon->vm);
	free(daemon);
}

static void on_gone(void *context, VmmVm *vm, const Error *cause)
{
	DiskDaemon *daemon = context;

	daemon->vm = NULL;
	vmm_free(vm);
	if (daemon->let_go)
		forget(daemon);
	else if (daemon->gone)
		daemon->gone(daemon->context, cause);
	else if (!daemon->stopped)
		log_warning(daemon->engine->log, "disk %zu: its storage daemon ended: %s",
			    daemon->disk, cause->text);
}

/* Its connection to the mover tells what matters. */
static void on_lost(void *context, VmmVm *vm, const Error *cause)
{
	const DiskDaemon *daemon = context;

	(void)vm;
	if (!daemon->let_go)
		log_warning(daemon->engine->log,
			    "disk %zu: lost the monitor of its storage daemon: %s", daemon->disk,
			    cause->text);
}

static void ignore_status(void *context, VmmVm *vm, VmmMigrationStatus status, VmmInstant when)
{
	(void)context;
	(void)vm;
	(void)status;
	(void)when;
}

static void ignore_instant(void *context, VmmVm *vm, VmmInstant when)
{
	(void)context;
	(void)vm;
	(void)when;
}

static const VmmEvents events = {
	.on_status = ignore_status,
	.on_stop = ignore_instant,
	.on_resume = ignore_instant,
	.on_lost = on_lost,
	.on_exit = on_gone,
};

static DiskDaemon *daemon_new(Engine *engine, Error *err)
{
	DiskDaemon *daemon = calloc(1, sizeof(*daemon));

	if (!daemon) {
		error_set(err, ERROR_INTERNAL, "no memory for a storage daemon");
		return NULL;
	}
	daemon->engine = engine;
	LIST_INSERT_HEAD(&engine->daemons, daemon, link);
	return daemon;
}

static void on_started(void *context, const Error *err)
{
	DiskDaemon *daemon = context;

	if (!daemon->let_go)
		daemon->done(daemon->context, err);
}

DiskDaemon *disk_daemon_start(Engine *engine, const StorageDaemonStart *start, DiskDaemonDone *done,
			      void *context, Error *err)
{
	DiskDaemon *daemon = daemon_new(engine, err);

	if (!daemon)
		return NULL;
	daemon->disk = start->disk;
	daemon->done = done;
	daemon->context = context;
	daemon->vm =
		storage_daemon_start(engine->base, start, &events, daemon, on_started, daemon, err);
	if (daemon->vm)
		return daemon;
	forget(daemon);
	return NULL;
}

static bool is_there(const DiskDaemon *daemon, Error *err)
{
	return daemon->vm || error_set(err, ERROR_HYPERVISOR,
				       "the storage daemon of disk %zu has ended", daemon->disk);
}

void disk_daemon_tell(DiskDaemon *daemon, DiskDaemonDone *gone)
{
	daemon->gone = gone;
}

VmmVm *disk_daemon_vm(const DiskDaemon *daemon)
{
	return daemon->vm;
}

bool disk_daemon_connect(DiskDaemon *daemon, int *ret_fd, Error *err)
{
	return is_there(daemon, err) && vmm_connect(daemon->vm, STORAGE_DAEMON_SOCKET, ret_fd, err);
}

static void on_stopped(void *context, const Error *err)
{
	DiskDaemon *daemon = context;

	daemon->stopped = !err;
	if (!daemon->let_go)
		daemon->done(daemon->context, err);
}

bool disk_daemon_stop(DiskDaemon *daemon, DiskDaemonDone *done, Error *err)
{
	if (!is_there(daemon, err))
		return false;
	daemon->done = done;
	return storage_daemon_stop(daemon->vm, on_stopped, daemon, err);
}

void disk_daemon_end(DiskDaemon *daemon)
{
	Error err = ERROR_INIT;

	if (!daemon)
		return;
	daemon->let_go = true;
	if (!daemon->vm) {
		forget(daemon);
	} else if (!vmm_kill(daemon->vm, &err)) {
		log_warning(daemon->engine->log, "disk %zu: %s", daemon->disk, err.text);
		forget(daemon);
	}
}

static void on_retired(void *context, const Error *err)
{
	DiskDaemon *daemon = context;
	Error failure = ERROR_INIT;

	/* Cancelled: the engine ends, and the daemon goes on to its own end. */
	if (!err || !daemon->vm || err->category == ERROR_CANCELLED)
		return;
	log_warning(daemon->engine->log, "disk %zu: its storage daemon does not end: %s",
		    daemon->disk, err->text);
	if (!vmm_kill(daemon->vm, &failure))
		log_warning(daemon->engine->log, "disk %zu: %s", daemon->disk, failure.text);
}

void disk_daemon_retire(DiskDaemon *daemon)
{
	Error err = ERROR_INIT;

	daemon->let_go = true;
	if (!daemon->vm || !storage_daemon_stop(daemon->vm, on_retired, daemon, &err))
		disk_daemon_end(daemon);
}

/* --- of an engine before us --- */

static void on_adopted(void *context, VmmRunState state, const Error *err)
{
	DiskDaemon *daemon = context;

	(void)state;
	/* Of one that is to end, what its monitor says does not matter any more. */
	if (!daemon->let_go)
		daemon->done(daemon->context, err);
}

DiskDaemon *disk_daemon_adopt(Engine *engine, const char *instance, size_t disk,
			      DiskDaemonDone *done, void *context, Error *err)
{
	DiskDaemon *daemon = daemon_new(engine, err);

	if (!daemon)
		return NULL;
	daemon->disk = disk;
	daemon->done = done;
	daemon->context = context;
	daemon->vm = vmm_adopt(&vmm_driver_qemu, engine->base, &engine->config.resources, instance,
			       &events, daemon, on_adopted, daemon, err);
	if (daemon->vm)
		return daemon;
	forget(daemon);
	return NULL;
}

void disk_daemon_end_orphan(Engine *engine, const char *instance)
{
	Error err = ERROR_INIT;
	DiskDaemon *daemon = disk_daemon_adopt(engine, instance, 0, NULL, NULL, &err);

	if (!daemon && err.category != ERROR_NOT_FOUND)
		log_warning(engine->log, "%s: %s", instance, err.text);
	disk_daemon_end(daemon);
}

void disk_daemons_free(Engine *engine)
{
	while (!LIST_EMPTY(&engine->daemons)) {
		DiskDaemon *daemon = LIST_FIRST(&engine->daemons);

		daemon->let_go = true;
		forget(daemon);
	}
}
