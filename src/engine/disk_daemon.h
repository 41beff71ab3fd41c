/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A storage daemon (vmm/storage_daemon.h) that has one disk, as the engine holds it: who is done
 * with one lets go of it at once, and it is held on until its process is gone, since only then
 * nothing of it is left in the run directory.
 */
#ifndef SEALIFT_ENGINE_DISK_DAEMON_H
#define SEALIFT_ENGINE_DISK_DAEMON_H

#include "engine/engine.h"
#include "vmm/storage_daemon.h"

typedef struct DiskDaemon DiskDaemon;

/* From the event loop; not any more once the daemon was ended. */
typedef void DiskDaemonDone(void *context, const Error *err);

/* As storage_daemon_start. Failed or not, what is returned is the caller's to end. */
DiskDaemon *disk_daemon_start(Engine *engine, const StorageDaemonStart *start, DiskDaemonDone *done,
			      void *context, Error *err);
/* Takes hold of one of an engine before this one; done once its monitor answers, or cannot be
 * reached. ERROR_NOT_FOUND: there is none. */
DiskDaemon *disk_daemon_adopt(Engine *engine, const char *instance, size_t disk,
			      DiskDaemonDone *done, void *context, Error *err);
/* From now on its owner is told when its process is gone, in whatever way, by `gone` with the
 * context of the start; else that is logged. */
void disk_daemon_tell(DiskDaemon *daemon, DiskDaemonDone *gone);
/* What disk_mirror.h works on; NULL: its process is gone. */
VmmVm *disk_daemon_vm(const DiskDaemon *daemon);
/* ERROR_HYPERVISOR: it has ended. The descriptor is the caller's. */
MUST_CHECK bool disk_daemon_connect(DiskDaemon *daemon, int *ret_fd, Error *err);
/* As storage_daemon_stop, with the context of the start. ERROR_HYPERVISOR: it has ended. */
MUST_CHECK bool disk_daemon_stop(DiskDaemon *daemon, DiskDaemonDone *done, Error *err);
/* Kills it, unless it has ended, and lets go of it. NULL is fine. */
void disk_daemon_end(DiskDaemon *daemon);
/* Lets go of it: it ends in order, in its own time, and is killed if it cannot. */
void disk_daemon_retire(DiskDaemon *daemon);
/* The same as disk_daemon_end with one of an engine before this one; none is fine. */
void disk_daemon_end_orphan(Engine *engine, const char *instance);
/* The engine ends: what is still there was killed, or a restart finds it. */
void disk_daemons_free(Engine *engine);

#endif
