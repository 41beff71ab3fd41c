/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One migration, on one side: a state machine that is driven by events (migration_on_*) and acts
 * through a table of ports. It knows no socket, process or event loop, so a test can be the world
 * around it: two of them, a simulated clock and link, scripted hypervisors.
 *
 * The rule above all others: at any instant at most one side may run the guest. Who, stands in the
 * step table (steps.h). The point of no return is source_commit() in source.c.
 */
#ifndef SEALIFT_MIGRATION_MIGRATION_H
#define SEALIFT_MIGRATION_MIGRATION_H

#include "base/clock.h"
#include "base/secret.h"
#include "keys/transfer.h"
#include "migration/forecast.h"
#include "role/messages.h"
#include "store/store.h"

typedef struct Migration Migration;

/* What the hypervisor says of its own migration, as in QEMU's MigrationStatus. */
typedef enum HvStatus {
	HV_NONE,
	HV_SETUP,
	HV_ACTIVE,
	HV_PRE_SWITCHOVER,
	HV_DEVICE,
	HV_COMPLETED,
	HV_FAILED,
	HV_CANCELLING,
	HV_CANCELLED,
} HvStatus;

/* Whether the guest runs, as in QEMU's RunState. */
typedef enum HvRunState {
	HV_RUNNING,
	HV_PAUSED,
	HV_PRELAUNCH, /* it has never run in this process */
	HV_INMIGRATE,
	HV_POSTMIGRATE,
	HV_FINISH_MIGRATE,
	HV_OTHER,
} HvRunState;

typedef struct HvState {
	HvStatus status;
	HvRunState run_state;
} HvState;

typedef enum HvOperation {
	HV_PREPARE,  /* destination: start stopped, memory populated; images for disks to be copied */
	HV_OPEN_DISKS, /* destination: the keys are here: the disks that waited for them are opened */
	HV_BOOT,     /* source, cold: start the stopped VM as for a start, its CPUs never running */
	HV_STOP,     /* source, offline: stop the guest */
	HV_LISTEN,   /* destination: accept the stream, and copies of disks; its sockets go to the mover */
	HV_MIRROR,   /* source: copies disks; done when they are alike and stay so while the guest writes */
	HV_MIGRATE,  /* source: begin; its sockets go to the mover */
	HV_DETACH,   /* source, guest stopped: ends the copying, all of it sent and flushed */
	HV_UNMIRROR, /* source: gives up copying, at any instant; nothing of it stays */
	HV_ATTACH,   /* destination: takes the copied images from what received them */
	HV_CONTINUE, /* source: past pre-switchover */
	HV_CANCEL,   /* source: give up its migration */
	HV_CONT,     /* run the guest */
	HV_QUIT,     /* end the process in order */
	HV_KILL,     /* end it at once; answered when the process is gone */
	HV_ANNOUNCE, /* tell the network where the guest's MAC lives now */
	HV_ADOPT,    /* recovery: find the process that the record names, and its monitor */
} HvOperation;

typedef struct MigrationPolicy {
	bool allow_disabled;	  /* this host permits readable migrations */
	bool forbid_encryption;	  /* this domain's law; turns opportunistic into readable */
	uint64_t reserve_bytes;	  /* memory that is never given to reservations */
	unsigned int per_peer;	  /* reservations at once from one peer */
	unsigned int lease_s;
	uint64_t max_channels;
	uint64_t transfer_ms;	  /* longest time in transfer */
	char aead[LIMIT_NAME];	  /* provider for the mover */
	MoverGuard guard;	  /* what the mover does with a stream that breaks a rule */
	char domain[LIMIT_DOMAIN]; /* our own */
	char host_id[LIMIT_SPIFFE_ID];
} MigrationPolicy;

/* What a migration asks of the world. Answers come as migration_on_* calls, never from inside the
 * port that was called, except where a port returns bool. */
typedef struct MigrationPorts {
	void *context;
	Store *store;
	const MigrationPolicy *policy;
	const Clock *clock;

	/* peer: dial answers on_peer_open or on_peer_closed; send fails if there is no connection */
	void (*dial)(void *context, Migration *m);
	bool (*send)(void *context, Migration *m, const PeerMessage *message, Error *err);
	void (*hang_up)(void *context, Migration *m);
	void (*export_secret)(void *context, Migration *m); /* on_exported */
	/* notary: on_signed, on_verified, on_notary_failed */
	void (*sign)(void *context, Migration *m, const Statement *statement);
	void (*verify)(void *context, Migration *m, const NotaryVerify *request);
	/* mover: on_mover_ready once started, on_mover_failed */
	void (*mover_start)(void *context, Migration *m, uint64_t channels);
	bool (*mover_setup)(void *context, Migration *m, const MoverSetup *setup, Error *err);
	void (*mover_stop)(void *context, Migration *m);
	void (*open_channels)(void *context, Migration *m, const RolePreamble *first, uint64_t channels);
	/* hypervisor: on_hv_done with the operation; query answers on_hv_state */
	void (*hv)(void *context, Migration *m, HvOperation operation);
	void (*hv_query)(void *context, Migration *m);
	/* key manager: a step of a transfer, by what the record says; on_keys with the answer, or the
	 * failure. `in` is the peer's document, or NULL. At most one is under way. */
	void (*keys)(void *context, Migration *m, TransferKind kind, const PeerMessage *in);
	/* one-shot timers, one of each: on_deadline, on_tick; 0 disarms */
	void (*set_deadline)(void *context, Migration *m, uint64_t ms);
	void (*set_tick)(void *context, Migration *m, uint64_t ms);
	/* destination: does the manifest fit here; memory free now */
	bool (*check_manifest)(void *context, Migration *m, const Manifest *manifest, Error *err);
	uint64_t (*free_memory)(void *context);
	/* the VM's row in the store changes: moved in, out, back */
	bool (*vm_changed)(void *context, Migration *m, VmState state, Error *err);
	/* progress, phase or state changed */
	void (*notify)(void *context, Migration *m);
	void (*log)(void *context, Migration *m, bool warning, const char *text);
} MigrationPorts;

typedef struct MigrationOptions {
	uint64_t channels;
	uint64_t bandwidth_bytes_s;
	uint64_t max_downtime_ms;
	bool keep_keys; /* the key manager here keeps the VM's keys: a copy */
	MoveManner manner;
} MigrationOptions;

/* Whether a key travels with this disk; and with anything of the VM. */
bool migration_disk_brings_key(const ManifestDisk *disk);
bool migration_wants_keys(const Manifest *manifest);

/* A new migration out of a VM of this host; migration_start begins it. Owned by the caller. */
Migration *migration_new_source(const MigrationPorts *ports, const VmRecord *vm,
				const HostRecord *host, const MigrationOptions *options, Error *err);
/* A new migration in, for an offer that came on a connection of peer_id. */
Migration *migration_new_destination(const MigrationPorts *ports, const char *peer_id, Error *err);
/* One that the journal knows as not ended, after a restart, or an ended one for which its peer asks
 * again. vm may be NULL if there is none any more. */
Migration *migration_new_recovered(const MigrationPorts *ports, const MigrationRecord *record,
				   const VmRecord *vm, Error *err);
void migration_free(Migration *m);
DEFINE_CLEANUP(Migration, migration, migration_free)
#define AUTO_MIGRATION CLEANUP(migration_cleanup)

void migration_start(Migration *m);
void migration_recover(Migration *m);
/* ERROR_CONFLICT with the reason once the source has committed, or at a destination that is ready. */
MUST_CHECK bool migration_cancel(Migration *m, Error *err);
/* A person knows that the other copy is dead: run the guest here. ERROR_CONFLICT where that makes no
 * sense. */
MUST_CHECK bool migration_resolve_run_here(Migration *m, Error *err);
/* Destination: a person gives up a loaded VM whose source will never decide. A commit that should
 * come after all is declined. ERROR_CONFLICT unless it is stuck there. */
MUST_CHECK bool migration_resolve_discard(Migration *m, Error *err);

/* Events. */
void migration_on_peer_open(Migration *m, uint64_t rtt_us);
void migration_on_peer_message(Migration *m, const PeerMessage *message);
void migration_on_peer_closed(Migration *m, const Error *cause);
void migration_on_exported(Migration *m, const uint8_t secret[ROLE_EXPORT_BYTES]);
void migration_on_signed(Migration *m, const NotarySigned *result);
void migration_on_verified(Migration *m, const NotaryVerified *result);
void migration_on_notary_failed(Migration *m, const Error *cause);
void migration_on_mover_ready(Migration *m);
void migration_on_mover_proven(Migration *m, uint64_t channel);
void migration_on_mover_stats(Migration *m, const MoverStats *stats, bool done);
/* A rule of the guard was broken, and it only warns: the report counts it. */
void migration_on_guard_warning(Migration *m);
/* As on_mover_failed, for this reason: what else breaks now is an effect. */
void migration_on_guard_refusal(Migration *m, const Error *cause);
void migration_on_mover_failed(Migration *m, const Error *cause);
void migration_on_hv_done(Migration *m, HvOperation operation, const Error *failure);
void migration_on_hv_state(Migration *m, const HvState *state, const Error *failure);
void migration_on_hv_status(Migration *m, HvStatus status);
void migration_on_hv_progress(Migration *m, const HvProgress *progress);
/* One of result and failure is NULL. */
void migration_on_keys(Migration *m, TransferKind kind, const KeyTransferred *result,
		       const Error *failure);
/* When, by the hypervisor's stamp on this host's monotonic clock, microseconds. */
void migration_on_hv_stop(Migration *m, int64_t when_us);
void migration_on_hv_resume(Migration *m, int64_t when_us);
/* Its monitor was lost and is back: what it said meanwhile is asked for. */
void migration_on_hv_reconnected(Migration *m);
void migration_on_hv_gone(Migration *m, const Error *cause);
void migration_on_populated(Migration *m, uint64_t populate_us);
void migration_on_deadline(Migration *m);
void migration_on_tick(Migration *m);

/* Views. */
const MigrationRecord *migration_record(const Migration *m);
const VmRecord *migration_vm(const Migration *m);
const MigrationOptions *migration_options(const Migration *m);
const Forecast *migration_forecast(const Migration *m);
const char *migration_step_name(const Migration *m);
/* Set when nothing more will happen and the object may be freed. */
bool migration_ended(const Migration *m);
uint64_t migration_elapsed_ms(const Migration *m);
/* Disks that are copied, in the manifest's order: each has a channel, from LIMIT_STREAM_CHANNELS on. */
size_t migration_disk_channels(const Migration *m);
/* Whether a preamble's routing id is this migration's and its channels may come in now. */
bool migration_takes_channel(const Migration *m, const RolePreamble *preamble);
/* Whether the guest may run on this side now, by the step table. Never in a cold move. */
bool migration_guest_may_run_here(const Migration *m);

#endif
