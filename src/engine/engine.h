/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine: one context that owns the store, the children, the VMs, the connections and the
 * migrations, on one event loop. It sees decoded messages only. Files of this layer:
 *
 *	config*.c      the configuration file
 *	children.c     gate and notaries: start, anchors, restart
 *	keys*.c        the key manager: start, restart, who may ask for what
 *	connections.c  control connections: hello, routing to migrations
 *	job_disks*.c   its disks that are copied
 *	cold_boot.c    the hypervisor of a stopped VM that leaves
 *	jobs.c         one migration's timers, mover, sockets
 *	ports.c        the table through which a migration acts
 *	hypervisor.c   its part about the hypervisor
 *	fate.c         what ended first: the mover or its hypervisor
 *	violations.c   streams that broke a rule of the guard
 *	vms.c          VMs of this host
 *	vm_start.c     their start
 *	vm_create.c    images for their disks
 *	disk_keys.c    what opens encrypted ones
 *	key_ends.c     keys whose end is owed
 *	vm_tpm.c       what opens their TPMs
 *	sealed_disks.c storage daemons between them and their disks
 *	vm_rekey*.c    new keys for the disks of VMs that run
 *	quota.c        what it gives at most
 *	recovery.c     what was under way before a restart
 *	api.c          the local API: clients, lines, replies, events
 *	api_commands.c its commands
 *	caller.c       who a client is, by the kernel
 *	ledger.c       what auditors read, kept for good
 *	views.c        VMs and migrations as JSON
 */
#ifndef SEALIFT_ENGINE_ENGINE_H
#define SEALIFT_ENGINE_ENGINE_H

#include <jansson.h>
#include <sys/queue.h>

#include "engine/config.h"
#include "engine/violations.h"
#include "role/child.h"
#include "vmm/qemu.h"

struct event;
struct event_base;
struct evconnlistener;

typedef struct Engine Engine;
typedef struct Vm Vm;
typedef struct Connection Connection;
typedef struct ApiRequest ApiRequest;
typedef struct ColdBoot ColdBoot;
typedef struct DisksIn DisksIn;
typedef struct DisksOut DisksOut;
typedef struct SealedDisks SealedDisks;
typedef struct KeyManager KeyManager;
typedef struct Creation Creation;

/* A VM that this host has, or remembers. */
struct Vm {
	LIST_ENTRY(Vm) link;
	Engine *engine;
	VmRecord record;
	VmmVm *handle; /* NULL: no process, or not adopted yet */
	Job *job;      /* its migration under way */
	ApiRequest *starting, *stopping; /* who waits for it */
	struct DiskKeys *disk_keys;	 /* disk_keys.h: while its hypervisor reads them; else NULL */
	struct TpmKeys *tpm_keys;	 /* vm_tpm.h: the same */
	struct VmRekey *rekey;		 /* vm_rekey.h: under way; else NULL */
	SealedDisks *sealed_disks;	 /* sealed_disks.h: NULL if none has a storage daemon */
	struct {
		bool look;		       /* what is owed is to be looked at */
		bool left;		       /* an earlier one is not over */
		uint32_t exposed;	       /* disks, a bit each, whose key another domain had */
		char exposed_to[LIMIT_DOMAIN]; /* the last of them */
		unsigned int failures;	       /* in a row */
		int64_t retry_us;	       /* not before */
	} rekeying;
};

/* A control connection that the gate holds. */
struct Connection {
	LIST_ENTRY(Connection) link;
	uint64_t number;
	unsigned int idle_pings; /* since it had a migration */
	char peer_id[LIMIT_SPIFFE_ID];
	uint64_t rtt_us;
	bool greeted; /* the peer's hello was accepted */
	Job *job;
};

/* A migration with its surroundings. */
struct Job {
	LIST_ENTRY(Job) link;
	Engine *engine;
	uint64_t serial; /* names it in requests that may outlive it */
	Migration *migration;
	Connection *connection;
	uint64_t dialled; /* number of the connection being dialled, 0: none */
	Vm *vm;
	Child *mover;
	/* Destination, until the mover has it: by what the guard judges the stream. */
	VmmTwin *twin;
	bool twin_whole;
	Error twin_failure;
	bool hypervisor_prepared;
	uint64_t channels_given; /* hypervisor's connections handed to the mover */
	int listen_fd;		 /* where our hypervisor connects */
	struct event *listen_event;
	struct event *deadline, *tick, *progress;
	/* fate.c */
	struct event *fate;
	bool fate_waits;
	Error hypervisor_end; /* heard meanwhile; category 0: not */
	unsigned int violations; /* of the guard's rules, told by the mover */
	RolePreamble preamble; /* source: of the channels being dialled */
	ResolvedVm *incoming;  /* destination: what the manifest's names mean here, open */
	struct DisksIn *disks_in;   /* job_disks.h */
	struct DisksOut *disks_out;
	ColdBoot *cold_boot; /* cold_boot.h: while its hypervisor is being started; else NULL */
	char last_phase[LIMIT_NAME];
};

/* Numbers of requests to notary and gate: which job, and what for. */
typedef struct Request {
	LIST_ENTRY(Request) link;
	uint64_t number;
	uint64_t job; /* serial; 0: not a job's */
	uint64_t channel;
	RoleCrl *crl;	 /* being checked */
	ApiRequest *api; /* who waits for the outcome of that */
	DomainRecord *before; /* what was trusted before, for the case that the new one is unfit */
} Request;

typedef struct ApiClient ApiClient;

struct Engine {
	struct event_base *base;
	Log *log;
	Config config;
	Store *store;
	MigrationPorts ports;
	char host_id[LIMIT_SPIFFE_ID];
	char domain[LIMIT_DOMAIN];
	uint64_t certificate_not_after_s;
	int listen_fd;
	Child *gate, *signer, *verifier;
	bool gate_ready, signer_ready, verifier_ready, serving;
	struct event *restart, *ping, *expiry;
	struct event *signals[3];
	bool stopping;
	bool recovered; /* recovery runs once, not at each restart of a child */
	uint64_t next_number, next_serial;
	LIST_HEAD(, Vm) vms;
	LIST_HEAD(, Job) jobs;
	LIST_HEAD(, Connection) connections;
	LIST_HEAD(, Request) requests;
	LIST_HEAD(, ApiClient) clients;
	unsigned int clients_count;
	struct evconnlistener *api;
	ViolationBudget violations;
	KeyManager *keys; /* keys.h; NULL: none is configured */
	LIST_HEAD(, Creation) creations; /* vm_create.c */
	struct event *rekey_timer;	 /* vm_rekey.h */
	LIST_HEAD(, DiskDaemon) daemons; /* disk_daemon.c */
};

/* --- engine.c --- */
MUST_CHECK Engine *engine_new(const char *config_path, Log *log, Error *err);
/* Serves until SIGTERM or SIGINT. VMs go on. */
MUST_CHECK bool engine_run(Engine *engine, Error *err);
void engine_free(Engine *engine);
DEFINE_CLEANUP(Engine, engine, engine_free)
#define AUTO_ENGINE CLEANUP(engine_cleanup)
/* Runs once gate and notaries serve. */
void engine_on_children_ready(Engine *engine);

/* --- children.c --- */
MUST_CHECK bool children_start(Engine *engine, Error *err);
void children_stop(Engine *engine);
/* Tells gate and verifier about a domain's roots and CRL. */
MUST_CHECK bool children_trust(Engine *engine, const DomainRecord *domain, Error *err);
/* The same for one that they may know otherwise; its open connections go on if the new roots and CRL
 * vouch for them. */
MUST_CHECK bool children_retrust(Engine *engine, const DomainRecord *domain, Error *err);
/* Takes a domain from gate and verifier; its open connections are closed, and with them ends what is
 * under way on them, as far as it may end: a migration that has committed stays. */
void children_distrust(Engine *engine, const char *domain);
/* Has the notary look at a CRL; taken if it is newer, answered to `api` unless NULL. */
MUST_CHECK bool children_check_crl(Engine *engine, const char *domain, const void *crl, size_t size,
				   ApiRequest *api, Error *err);
/* Replaces what is trusted of a domain: the new roots and CRL take the place of the old ones once
 * the notary found them fit; then `api` is answered. */
MUST_CHECK bool children_replace_trust(Engine *engine, const DomainRecord *domain, ApiRequest *api,
				       Error *err);
/* Warns of CRLs and of our own certificate that are about to expire. */
void children_warn_of_expiry(Engine *engine);
/* Starts a program of ours, with an argument or NULL, as USER (UID:GID; "" for our own) where we are
 * root; context of the events is the engine. */
Child *children_spawn(Engine *engine, const char *program, const char *mode, const char *user,
		      const int *fds, size_t n_fds, const IpcRule *rules, const ChildEvents *events,
		      Error *err);
/* The same with several arguments, ended by NULL, at most two, and a context of the caller's. */
Child *children_spawn_with(Engine *engine, const char *program, const char *const *modes,
			   const char *user, const int *fds, size_t n_fds, const IpcRule *rules,
			   const ChildEvents *events, void *context, Error *err);
Request *request_new(Engine *engine, Job *job);
Request *request_find(Engine *engine, uint64_t number);
void request_free(Request *request);

/* --- connections.c --- */
void connections_on_gate_message(Engine *engine, IpcMessage *message);
void connections_on_gate_gone(Engine *engine, const Error *cause);
MUST_CHECK bool connection_send(Engine *engine, Connection *connection, const PeerMessage *message,
				Error *err);
void connection_close(Engine *engine, Connection *connection);
void connections_ping(Engine *engine);

/* --- jobs.c --- */
Job *job_new(Engine *engine, Migration *migration, Vm *vm);
void job_free(Job *job);
Job *job_find(Engine *engine, uint64_t serial);
Job *job_of_migration(Engine *engine, const uint8_t id[MIGRATION_ID_BYTES]);
Job *job_of(const Migration *m, Engine *engine);
/* Frees it once its migration has ended; called after each event. */
void job_settle(Job *job);
/* Reports the outcome of a hypervisor operation from the event loop, never from inside the call. */
void job_defer_hv_done(Job *job, HvOperation operation, const Error *failure);
/* Gives the hypervisor's i-th connection to the mover; takes fd. */
void job_give_local(Job *job, int fd);
/* Gives the NBD connection of the n-th copied disk to the mover; takes fd. At the source the client's,
 * at the destination the server's. Each once, at any time after the mover's setup. */
void job_give_disk(Job *job, size_t disk, int fd);
void job_watch_listener(Job *job, int fd);
MUST_CHECK bool job_start_mover(Job *job, uint64_t channels, Error *err);
void job_progress(Job *job, bool on);

/* --- ports.c --- */
void ports_init(Engine *engine);
/* DOMAIN of spiffe://DOMAIN/..., written to and returned as `domain`. */
const char *peer_domain(const char *spiffe_id, char domain[LIMIT_DOMAIN]);

/* --- hypervisor.c --- */
extern const VmmEvents vm_events;
void hypervisor_operate(void *engine, Migration *m, HvOperation operation);
void hypervisor_query(void *engine, Migration *m);
/* What receives the job's copied disks stands, or why not. */
void hypervisor_on_disks(Job *job, const Error *failure);

/* --- fate.c --- */
/* The destination's hypervisor refuses its stream: true if that is told (migration_on_hv_status)
 * once the mover has answered, failed or ended, at the latest after a second; false: tell it now. */
bool fate_wait_for_mover(Job *job);
/* The hypervisor ended: true if that is told (migration_on_hv_gone) behind the refusal. */
bool fate_keep_end(Job *job, const Error *cause);
/* The mover's MOVER_STATS. */
void fate_on_mover_answer(Job *job, uint64_t subject);
/* The mover failed or ended: what waits is told now. */
void fate_tell(Job *job);
void fate_free(Job *job);

/* --- vms.c --- */
/* For what people say. */
Vm *vm_find(Engine *engine, const char *name_or_uuid);
/* For what peers and the store say: never by name. */
Vm *vm_find_uuid(Engine *engine, const char *uuid);
Vm *vm_add(Engine *engine, const VmRecord *record, Error *err);
MUST_CHECK bool vm_save(Vm *vm, Error *err);
void vm_forget(Vm *vm);
void vm_new_instance(VmRecord *record);
/* Memory that the VMs with a process here may still take of what is free: each counts with its full
 * size, whatever it has touched. Reservations whose booking the store holds are not among them. */
uint64_t vms_growth_bytes(const Engine *engine);
MUST_CHECK bool vm_stop(Vm *vm, ApiRequest *request, Error *err);

/* --- vm_start.c --- */
/* Begins; request is answered when it runs or fails. Kernel and initrd of a caller who is not root
 * must lie in the boot directory. Of encrypted disks the keys are asked for first; until they are
 * there nothing is known of the VM here. */
MUST_CHECK bool vm_start_text(Engine *engine, const char *file, const char *text,
			      ApiRequest *request, Error *err);

/* A description as such: what its disks are is not looked at. */
struct VmFile;
MUST_CHECK bool vm_parse_text(const Engine *engine, const char *file, const char *text, bool any_file,
			      struct VmFile *ret_file, Error *err);

/* --- vm_create.c --- */
typedef struct CreateOptions {
	bool encrypted; /* every disk, whatever its description says */
	bool sparse;	/* images take their space as they are written */
} CreateOptions;
/* Begins; request is answered once each disk of the description is there, or one failed. One that
 * is there stays as it is; of one that failed neither image nor key stays. */
MUST_CHECK bool vm_create_text(Engine *engine, const char *file, const char *text,
			       const CreateOptions *options, ApiRequest *request, Error *err);
/* Ends all that are under way, with nothing left of their images. */
void vm_create_stop(Engine *engine);

/* --- recovery.c --- */
MUST_CHECK bool recovery_load_vms(Engine *engine, Error *err);
MUST_CHECK bool recovery_run(Engine *engine, Error *err);

/* --- api.c --- */
MUST_CHECK bool api_start(Engine *engine, Error *err);
void api_stop(Engine *engine);
/* Answers and releases the request. `value` is taken; NULL stands for {}. A client that is gone is
 * no error. */
void api_return(ApiRequest *request, json_t *value);
void api_fail(ApiRequest *request, const Error *err);
void api_event(Engine *engine, const char *name, json_t *data);
/* Marks the request's client as one that wants events. */
void api_subscribe(ApiRequest *request);
Engine *api_engine(const ApiRequest *request);
/* The caller's, as of its connect. */
uid_t api_uid(const ApiRequest *request);
/* Whether the caller may have us open any file that it names. */
bool api_may_name_files(const ApiRequest *request);
json_t *api_arguments(const ApiRequest *request);

/* --- api_commands.c --- */
void api_dispatch(ApiRequest *request, const char *command);

/* --- views.c --- */
json_t *view_vm(const Vm *vm);
/* job: of one that is under way, else NULL. */
json_t *view_migration(const MigrationRecord *record, const Job *job);
void engine_warn(Engine *engine, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
