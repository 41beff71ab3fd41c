/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hypervisors behind one table. A VmmVm is this process's hold on one VM: it starts or adopts it,
 * speaks with it, watches it. The VM itself outlives the hold and the engine. One function is one
 * operation and decides nothing: when a VM may run is the business of the layers above.
 *
 * Everything is asynchronous on one struct event_base. An operation that was accepted (returned
 * true, or a handle) calls its callback exactly once, from the event loop; only vmm_free calls
 * those that are left over itself, with ERROR_CANCELLED. Callbacks may call anything here,
 * vmm_free included.
 */
#ifndef SEALIFT_VMM_VMM_H
#define SEALIFT_VMM_VMM_H

#include <stdint.h>
#include <sys/types.h>

#include "vmm/resources.h"

struct event_base;

typedef struct VmmVm VmmVm;
typedef struct VmmDriver VmmDriver;

/* What the hypervisor says of the migration it is in. */
typedef enum VmmMigrationStatus {
	VMM_MIGRATION_NONE,
	VMM_MIGRATION_SETUP,
	VMM_MIGRATION_ACTIVE,
	VMM_MIGRATION_PRE_SWITCHOVER, /* guest stopped, nothing final: waits for
					 vmm_continue_switchover */
	VMM_MIGRATION_DEVICE,
	VMM_MIGRATION_COMPLETED,
	VMM_MIGRATION_FAILED,
	VMM_MIGRATION_CANCELLING,
	VMM_MIGRATION_CANCELLED,
	VMM_MIGRATION_OTHER, /* one that we never ask for */
	VMM_MIGRATION_STATUS_COUNT,
} VmmMigrationStatus;

typedef enum VmmRunState {
	VMM_RUN_OTHER,
	VMM_RUN_RUNNING,
	VMM_RUN_PAUSED,
	VMM_RUN_PRELAUNCH,	/* started with -S, never run */
	VMM_RUN_INMIGRATE,	/* waits for, or loads, an incoming migration */
	VMM_RUN_FINISH_MIGRATE, /* stopped for the switchover */
	VMM_RUN_POSTMIGRATE,	/* stopped, its state was sent */
	VMM_RUN_SHUTDOWN,
	VMM_RUN_IO_ERROR,
	VMM_RUN_INTERNAL_ERROR,
	VMM_RUN_GUEST_PANICKED,
	VMM_RUN_STATE_COUNT,
} VmmRunState;

/* Our words for them ("pre-switchover", "running"), which are QEMU's. */
const char *vmm_migration_status_word(VmmMigrationStatus status);
const char *vmm_run_state_word(VmmRunState state);
/* The _OTHER value if the word is not known. */
VmmMigrationStatus vmm_migration_status_of_word(const char *word);
VmmRunState vmm_run_state_of_word(const char *word);

/* What this hypervisor offers, as it says itself; never concluded from a version. */
typedef struct VmmFeatures {
	bool return_path;
	bool pause_before_switchover;
	bool events;
	bool multifd;
	bool late_block_activate;
	bool switchover_ack;
	bool zero_page_detection;
	bool exit_on_error; /* of an incoming migration can be turned off */
	bool announce_self;
	bool late_disks;    /* a disk can be put under a device that is there already */
	bool mirror_change; /* a mirror can be told to hold the guest's writes to its pace */
} VmmFeatures;

/* When something happened, by the hypervisor's own stamp, on this host's two clocks. */
typedef struct VmmInstant {
	int64_t wall_us;      /* since 1970 */
	int64_t monotonic_us; /* CLOCK_MONOTONIC, derived when the event was read */
} VmmInstant;

typedef struct VmmEvents {
	void (*on_status)(void *context, VmmVm *vm, VmmMigrationStatus status, VmmInstant when);
	void (*on_stop)(void *context, VmmVm *vm, VmmInstant when);   /* the guest stopped */
	void (*on_resume)(void *context, VmmVm *vm, VmmInstant when); /* the guest runs */
	/* The connection is gone but the process is still there; vmm_reconnect may help. */
	void (*on_lost)(void *context, VmmVm *vm, const Error *cause);
	/* The process is gone; the text says how, with the last line it wrote. Once; after the
	 * callbacks of pending operations. Nothing but vmm_free makes sense afterwards. */
	void (*on_exit)(void *context, VmmVm *vm, const Error *cause);
} VmmEvents;

/* err is NULL on success. */
typedef void VmmDone(void *context, const Error *err);

typedef struct VmmStart {
	const Resources *resources; /* outlives the VmmVm */
	const char *instance;	    /* TEXT_NAME, unique on this host: names the run directory */
	/* Its descriptors stay the caller's; it may close them on return. The secrets of encrypted
	 * disks are read while the hypervisor starts: their maker may wipe them (disk_secret_wipe)
	 * once the start or preparation is done, well or not, and not before. A secret that opens
	 * nothing ends the start before any guest runs. Disks marked late are left out by
	 * vmm_prepare_incoming and come by vmm_open_disks; vmm_start refuses them. Of disks marked
	 * served the caller has listen_fd served at once (storage_daemon.h), and closes hold_fd then:
	 * the start waits for it. */
	ResolvedVm *vm;
	bool frozen; /* vmm_start: the guest's CPUs do not run; done once the hypervisor stands */
	int64_t deadline_ms; /* until it runs or is ready */
} VmmStart;

/* What it took to have an incoming VM ready, the hypervisor's own start included. */
typedef struct VmmPrepared {
	int64_t wall_ms;
	int64_t cpu_ms;
} VmmPrepared;
typedef void VmmPreparedDone(void *context, const VmmPrepared *prepared, const Error *err);

typedef void VmmRunStateDone(void *context, VmmRunState state, const Error *err);

typedef struct VmmMigrateOut {
	const char *socket;	    /* name of a socket made by vmm_listen */
	unsigned int channels;	    /* multifd channels besides main: 0 or 1 is none, at most 16 */
	uint64_t bandwidth_bytes_s; /* 0: unlimited */
	uint64_t max_downtime_ms;
} VmmMigrateOut;

/* One look at a running migration; what the hypervisor does not tell is 0. */
typedef struct VmmMigration {
	VmmMigrationStatus status;
	uint64_t total_ms;
	uint64_t setup_ms;
	uint64_t expected_downtime_ms;
	uint64_t downtime_ms; /* the hypervisor's own figure: never reported as downtime */
	uint64_t ram_total_bytes;
	uint64_t ram_transferred_bytes;
	uint64_t ram_remaining_bytes;
	uint64_t precopy_bytes;
	uint64_t downtime_bytes;
	uint64_t multifd_bytes;
	uint64_t normal_pages;
	uint64_t duplicate_pages; /* zero pages */
	uint64_t page_size_bytes;
	uint64_t iteration; /* dirty-sync-count */
	uint64_t dirty_pages_s;
	uint64_t bits_s;
	char error[LIMIT_TEXT]; /* the hypervisor's reason of a failure, "" if none */
} VmmMigration;
typedef void VmmMigrationDone(void *context, const VmmMigration *migration, const Error *err);

/*
 * What a hypervisor of this host says of a machine that is to come in, told by one of the same make
 * that is never run: what the guard judges an incoming stream by (guard/guard.h).
 */
typedef struct VmmTwin {
	const VmmDriver *driver;
	/* Sealed memory of the twin's; -1 until it is whole. */
	int stream_fd; /* its whole stream, at most LIMIT_TWIN bytes */
	int dump_fd;   /* the tables of its devices, at most LIMIT_TWIN_DUMP bytes */
	bool cached;   /* nothing had to be made */
	Error not_kept; /* why it could not be kept for the next time; of no harm */
	Error failure;
} VmmTwin;
typedef void VmmTwinDone(void *context, VmmTwin *twin, const Error *err);

struct VmmDriver {
	const char *name;
	VmmVm *(*start)(struct event_base *base, const VmmStart *start, const VmmEvents *events,
			void *events_context, VmmDone *done, void *context, Error *err);
	VmmVm *(*prepare_incoming)(struct event_base *base, const VmmStart *start,
				   const VmmEvents *events, void *events_context,
				   VmmPreparedDone *done, void *context, Error *err);
	VmmVm *(*adopt)(struct event_base *base, const Resources *resources, const char *instance,
			const VmmEvents *events, void *events_context, VmmRunStateDone *done,
			void *context, Error *err);
	VmmTwin *(*twin_new)(struct event_base *base, const VmmStart *start, VmmTwinDone *done,
			     void *context, Error *err);
	void (*twin_free)(VmmTwin *twin);
	void (*free)(VmmVm *vm);
	bool (*reconnect)(VmmVm *vm, VmmRunStateDone *done, void *context, Error *err);
	const VmmFeatures *(*features)(const VmmVm *vm);
	pid_t (*pid)(const VmmVm *vm);
	bool (*has_tpm)(const VmmVm *vm);
	bool (*cpu_us)(const VmmVm *vm, int64_t *ret_us, Error *err);
	const char *(*socket_directory)(const VmmVm *vm);
	bool (*listen)(VmmVm *vm, const char *name, int *ret_fd, Error *err);
	bool (*connect)(VmmVm *vm, const char *name, int *ret_fd, Error *err);
	bool (*migrate_out)(VmmVm *vm, const VmmMigrateOut *out, VmmDone *done, void *context,
			    Error *err);
	bool (*incoming_listen)(VmmVm *vm, const char *socket, unsigned int channels, VmmDone *done,
				void *context, Error *err);
	bool (*open_disks)(VmmVm *vm, const ResolvedVm *resolved, VmmDone *done, void *context,
			   Error *err);
	bool (*query_migration)(VmmVm *vm, VmmMigrationDone *done, void *context, Error *err);
	bool (*query_run_state)(VmmVm *vm, VmmRunStateDone *done, void *context, Error *err);
	bool (*continue_switchover)(VmmVm *vm, VmmDone *done, void *context, Error *err);
	bool (*cancel)(VmmVm *vm, VmmDone *done, void *context, Error *err);
	bool (*cont)(VmmVm *vm, VmmDone *done, void *context, Error *err);
	bool (*stop)(VmmVm *vm, VmmDone *done, void *context, Error *err);
	bool (*announce_self)(VmmVm *vm, VmmDone *done, void *context, Error *err);
	bool (*quit)(VmmVm *vm, VmmDone *done, void *context, Error *err);
	bool (*kill)(VmmVm *vm, Error *err);
};

/* A driver's VmmVm begins with this. */
struct VmmVm {
	const VmmDriver *driver;
};

/* Boots a VM on this host; done once the guest runs, or could (frozen). NULL with err if it cannot
 * even begin. */
static inline VmmVm *vmm_start(const VmmDriver *driver, struct event_base *base,
			       const VmmStart *start, const VmmEvents *events, void *events_context,
			       VmmDone *done, void *context, Error *err)
{
	return driver->start(base, start, events, events_context, done, context, err);
}

/* Starts a VM that waits for its state, stopped, its memory populated as the manifest says. */
static inline VmmVm *vmm_prepare_incoming(const VmmDriver *driver, struct event_base *base,
					  const VmmStart *start, const VmmEvents *events,
					  void *events_context, VmmPreparedDone *done,
					  void *context, Error *err)
{
	return driver->prepare_incoming(base, start, events, events_context, done, context, err);
}

/* Makes the twin of a VM, or finds it; done is called once, from the event loop, unless it is freed
 * before. start->vm is looked at in this call only; instance and deadline are not. */
static inline VmmTwin *vmm_twin_new(const VmmDriver *driver, struct event_base *base,
				    const VmmStart *start, VmmTwinDone *done, void *context,
				    Error *err)
{
	return driver->twin_new(base, start, done, context, err);
}

/* Ends what makes it, and closes what it has. NULL is fine; may be called by its callback. */
static inline void vmm_twin_free(VmmTwin *twin)
{
	if (twin)
		twin->driver->twin_free(twin);
}

/* Takes hold of a VM that an earlier engine started. ERROR_NOT_FOUND if there is none or its
 * process is gone (what it left behind is then removed). */
static inline VmmVm *vmm_adopt(const VmmDriver *driver, struct event_base *base,
			       const Resources *resources, const char *instance,
			       const VmmEvents *events, void *events_context, VmmRunStateDone *done,
			       void *context, Error *err)
{
	return driver->adopt(base, resources, instance, events, events_context, done, context, err);
}

/* Lets go of the VM, which goes on. If its process is gone, removes its run directory. NULL is
 * fine. */
static inline void vmm_free(VmmVm *vm)
{
	if (vm)
		vm->driver->free(vm);
}
DEFINE_CLEANUP(VmmVm, vmm, vmm_free)
#define AUTO_VMM CLEANUP(vmm_cleanup)

/* After on_lost: connects again. */
MUST_CHECK static inline bool vmm_reconnect(VmmVm *vm, VmmRunStateDone *done, void *context,
					    Error *err)
{
	return vm->driver->reconnect(vm, done, context, err);
}

/* Valid once the VM has started, is prepared or adopted. */
static inline const VmmFeatures *vmm_features(const VmmVm *vm)
{
	return vm->driver->features(vm);
}

static inline pid_t vmm_pid(const VmmVm *vm)
{
	return vm->driver->pid(vm);
}

/* Whether a TPM answers it: one that has died is not noticed by guest and hypervisor before they
 * use it, and does not come back before the VM's next start. */
static inline bool vmm_has_tpm(const VmmVm *vm)
{
	return vm->driver->has_tpm(vm);
}

/* CPU time of the process since its start, all threads, microseconds. */
MUST_CHECK static inline bool vmm_cpu_us(const VmmVm *vm, int64_t *ret_us, Error *err)
{
	return vm->driver->cpu_us(vm, ret_us, err);
}

/* Where the VM's sockets lie for this process ("serial.sock", "vnc.sock", those of vmm_listen). */
static inline const char *vmm_socket_directory(const VmmVm *vm)
{
	return vm->driver->socket_directory(vm);
}

/* Makes a non-blocking listening socket that the VM, and nobody else, can reach under `name`
 * (TEXT_NAME). One left over from before is replaced. *ret_fd is the caller's. */
MUST_CHECK static inline bool vmm_listen(VmmVm *vm, const char *name, int *ret_fd, Error *err)
{
	return vm->driver->listen(vm, name, ret_fd, err);
}

/* Connects to a socket of the VM ("serial.sock", or the one of vmm_incoming_listen). *ret_fd is
 * the caller's, non-blocking, connected. Connections arrive in the order of the calls. */
MUST_CHECK static inline bool vmm_connect(VmmVm *vm, const char *name, int *ret_fd, Error *err)
{
	return vm->driver->connect(vm, name, ret_fd, err);
}

/* Sets capabilities and parameters and begins to migrate to the socket; done when the hypervisor
 * has accepted the order. The rest comes by on_status. */
MUST_CHECK static inline bool vmm_migrate_out(VmmVm *vm, const VmmMigrateOut *out, VmmDone *done,
					      void *context, Error *err)
{
	return vm->driver->migrate_out(vm, out, done, context, err);
}

/* Makes a prepared VM listen on a socket of this name, to be reached by vmm_connect. channels must
 * be the source's. */
MUST_CHECK static inline bool vmm_incoming_listen(VmmVm *vm, const char *socket,
						  unsigned int channels, VmmDone *done,
						  void *context, Error *err)
{
	return vm->driver->incoming_listen(vm, socket, channels, done, context, err);
}

/*
 * Opens the disks of a prepared VM that resolved->disks[i].late marks, which were left out when it
 * was prepared: the key came later, or the image is a copy that is complete only now. The guest's
 * state may be on its way; the images stay untouched, and unlocked, until vmm_cont. Descriptors
 * stay the caller's and may be closed on return; secrets may be wiped once it is done. A secret that
 * opens nothing, or an image that is refused, is told with the disk's number, as ERROR_HYPERVISOR;
 * some disks may then be open, and the VM is only good to be killed. ERROR_CONFLICT: the VM does
 * not wait for its state (any more). ERROR_USAGE: a descriptor or secret is missing. Without a late
 * disk it does nothing but to ask for the VM's state.
 *
 * A TPM that resolved->tpm.late marks begins first, with its keys. Until then the hypervisor, whose
 * memory is populated, has made no machine and takes no order: this comes before all others, and what
 * is wrong with the machine is told here.
 */
MUST_CHECK static inline bool vmm_open_disks(VmmVm *vm, const ResolvedVm *resolved, VmmDone *done,
					     void *context, Error *err)
{
	return vm->driver->open_disks(vm, resolved, done, context, err);
}

MUST_CHECK static inline bool vmm_query_migration(VmmVm *vm, VmmMigrationDone *done, void *context,
						  Error *err)
{
	return vm->driver->query_migration(vm, done, context, err);
}

MUST_CHECK static inline bool vmm_query_run_state(VmmVm *vm, VmmRunStateDone *done, void *context,
						  Error *err)
{
	return vm->driver->query_run_state(vm, done, context, err);
}

/* Goes on from VMM_MIGRATION_PRE_SWITCHOVER. */
MUST_CHECK static inline bool vmm_continue_switchover(VmmVm *vm, VmmDone *done, void *context,
						      Error *err)
{
	return vm->driver->continue_switchover(vm, done, context, err);
}

/* Gives up the outgoing migration; the end comes by on_status, as `cancelled`, or as `failed` where
 * the hypervisor met its own broken channels first. The guest then runs here again. Done when that
 * has come, or when after some seconds the hypervisor was made to drop its channels: nobody may be
 * reading them. */
MUST_CHECK static inline bool vmm_cancel(VmmVm *vm, VmmDone *done, void *context, Error *err)
{
	return vm->driver->cancel(vm, done, context, err);
}

/* Runs the guest. ERROR_CONFLICT while an incoming migration is not complete: QEMU would take it
 * as leave to run by itself later. */
MUST_CHECK static inline bool vmm_cont(VmmVm *vm, VmmDone *done, void *context, Error *err)
{
	return vm->driver->cont(vm, done, context, err);
}

MUST_CHECK static inline bool vmm_stop(VmmVm *vm, VmmDone *done, void *context, Error *err)
{
	return vm->driver->stop(vm, done, context, err);
}

/* Tells the network where the guest's addresses are now. */
MUST_CHECK static inline bool vmm_announce_self(VmmVm *vm, VmmDone *done, void *context, Error *err)
{
	return vm->driver->announce_self(vm, done, context, err);
}

/* Asks the process to end; on_exit follows. */
MUST_CHECK static inline bool vmm_quit(VmmVm *vm, VmmDone *done, void *context, Error *err)
{
	return vm->driver->quit(vm, done, context, err);
}

/* SIGKILL; on_exit follows. True also if it is gone already. */
MUST_CHECK static inline bool vmm_kill(VmmVm *vm, Error *err)
{
	return vm->driver->kill(vm, err);
}

#endif
