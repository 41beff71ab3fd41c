/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small world for two real migration engines: one event queue on a virtual clock, a link that can
 * be cut, two hypervisors that behave as QEMU does, a notary that signs by packing, a real store a
 * side. It stands where src/engine stands and routes as that does. Everything is decided by a seed,
 * so a run that fails can be run again.
 *
 *	world.c             clock, queue, trace
 *	world_link.c        control connections
 *	world_hypervisor.c  the two hypervisors and the stream between them
 *	world_host.c        a host's engine: jobs, VM row, crash, restart
 *	world_ports.c       the table through which a migration acts
 *	world_keys.c        the two key managers
 *	world_watch.c       what must hold after each event, and at the end
 */
#ifndef SEALIFT_TESTS_MIGRATION_WORLD_H
#define SEALIFT_TESTS_MIGRATION_WORLD_H

#include "tests/support/support.h"

#include "migration/migration.h"

enum {
	WORLD_JOBS = 8,
	WORLD_EVENTS = 512,
	WORLD_CONNECTIONS = 128,
	WORLD_TRACE = 160,
	WORLD_STEPS_MAX = 20000,
	WORLD_TRACE_LINE = 192,
	MS = 1000, /* microseconds */
	SECOND = 1000 * MS,
};

typedef enum Outcome { AT_SOURCE, AT_DESTINATION, HELD, LOST, OUTCOMES } Outcome;

typedef struct World World;
typedef struct Host Host;
typedef struct Job Job;
typedef struct Event Event;

typedef enum HostName { SOURCE, DESTINATION, HOSTS } HostName;

/* --- events --- */

typedef void EventRun(World *world, Event *event);
struct Event {
	int64_t at_us;
	uint64_t tie; /* random: the order of what happens at the same instant */
	const char *name;
	EventRun *run;
	Host *host;
	unsigned int generation; /* of the host's engine; 0: a restart does not matter */
	uint64_t job;		 /* serial; 0: none */
	uint64_t number;
	uint64_t value;
	bool failed;
	Error error;
	void *payload; /* owned */
	bool background; /* alone it does not keep the world going */
};

/* --- hypervisor --- */

typedef struct Hypervisor {
	bool alive;
	uint64_t number; /* of the process: news of an earlier one are dropped */
	HvStatus status;
	HvRunState run_state;
	bool listening;
	bool loaded;	     /* destination: it holds the guest's whole state */
	int64_t deaf_until_us; /* its monitor neither answers nor tells */
	int64_t monitor_us;  /* when the last line of its monitor arrives: they keep their order */
	HvRunState rested;   /* what it was before its stream's end was sent, and is again if that fails */
	bool ran;	     /* since it was made (destination) */
	bool ran_after_sending; /* source: the state it sent is old */
	bool ran_unseen;	/* and its engine was down when it began to */
	bool mirroring;		/* source: copies a disk */
	bool detached;		/* source: the copy is whole, as of the guest's stop */
	bool opened, attached;	/* destination */
} Hypervisor;

/* The bytes of one migration, mover to mover. */
typedef struct Stream {
	uint64_t number;
	bool open;
	bool sent; /* the last byte has left the source */
	uint64_t jobs[HOSTS];
} Stream;

/* --- keys --- */

/* No record of it, in place of a KeyState. */
#define WORLD_NO_KEY KEY_STATE_COUNT
#define WORLD_KEY_SLOT "vm1-secret"
enum { WORLD_KEY_ID = 0x4b };

/* Durable, as the key manager's store is. */
typedef struct WorldKey {
	KeyState state;
	uint8_t migration[MIGRATION_ID_BYTES]; /* the last that changed it */
} WorldKey;

/* --- host --- */

struct Job {
	uint64_t serial; /* 0: free */
	Migration *migration;
	uint64_t connection; /* 0: none */
	uint64_t dialled;
	bool has_vm;
	bool mover, mover_set;
	uint64_t deadline, tick; /* numbers of the timers armed, 0: none */
	unsigned int handovers;	 /* changes of who may run the guest */
	bool may_run;
	bool ending;
};

struct Host {
	World *world;
	HostName name;
	bool up;
	unsigned int generation;
	Store *store;
	MigrationPolicy policy;
	MigrationPorts ports;
	Clock clock;
	int64_t wall_jump_s;
	uint64_t free_memory;
	Job jobs[WORLD_JOBS];
	bool knows_vm;
	VmRecord vm;
	Hypervisor hv;
	MigrationState last_state; /* of the last migration that ended here */
	Error manifest_refusal;	   /* what check_manifest says, if set */
	bool prepare_fails;
	WorldKey key;

	/* faults */
	int64_t disk_full_until_us, notary_down_until_us, notary_hangs_until_us, keyd_down_until_us;
	unsigned int actions, dark_at_action; /* the power goes in the middle of an event */
	bool dark;
	unsigned int handovers; /* of the last job that ended */

	/* what never answers: bits by number */
	unsigned int hanging_orders;	 /* HvOperation */
	unsigned int hanging_statements; /* StatementKind, at this host's notary */
	bool hanging_dial, hanging_mover;
};

/* --- world --- */

typedef struct Connection {
	uint64_t number; /* 0: free */
	bool open[HOSTS];
	uint64_t job[HOSTS];
	int64_t arrival_us[HOSTS]; /* of the last thing on its way to that host */
	bool broken;		   /* what is sent arrives no more, and nobody knows yet */
} Connection;

typedef struct WorldOptions {
	uint64_t seed; /* 0: 1 */
	SealMode mode;
	uint64_t channels;	 /* 0: 3 */
	PopulateKind populate;
	bool allow_disabled[HOSTS];
	bool forbid_encryption;	 /* at the destination */
	int64_t transfer_us;	 /* 0: 400 ms */
	int64_t latency_us;	 /* 0: 2 ms, one way */
	bool keys;		 /* the VM has an encrypted disk, on shared storage: its key travels */
	bool keep_keys;
	bool disks;		 /* and one that is copied */
	MoveManner manner;	 /* cold: the VM is stopped, and runs nowhere at any time */
} WorldOptions;

/* Lets a host sign something else than its engine asked for, or in another name. */
typedef void Tamper(World *world, Host *host, Statement *statement, char signer[LIMIT_SPIFFE_ID]);

struct World {
	WorldOptions options;
	uint64_t random;
	int64_t now_us;
	Event *events[WORLD_EVENTS];
	size_t events_count;
	unsigned int steps; /* events so far, background ones not counted */
	uint64_t next_number;
	Host hosts[HOSTS];
	Connection connections[WORLD_CONNECTIONS];
	bool control_up, data_up;
	Stream stream;
	unsigned int swallowed_messages, swallowed_statements; /* bits: they get lost on their way */
	bool silent;  /* no pings */
	bool hanging_channels;
	Tamper *tamper;
	StatementKind tampered;
	bool resolved;	 /* a person took responsibility */
	unsigned int said[STATEMENT_KIND_COUNT]; /* statements signed */
	unsigned int sent[PEER_KIND_COUNT];	/* messages that left */
	unsigned int lost_messages;
	char violation[256]; /* the first rule that was broken */
	char trace[WORLD_TRACE][WORLD_TRACE_LINE];
	unsigned int traced;
	/* Each warning that an engine logged, one a line. */
	char warnings[HOSTS][8192];
};

/* The stores are made once and used by one world after the other: a world begins by emptying them. */
typedef struct WorldStores {
	TestFolder folder;
	Store *store[HOSTS];
} WorldStores;
void world_open_stores(WorldStores *stores);
void world_close_stores(WorldStores *stores);
/* The same as group fixtures of cmocka: *state is the WorldStores. */
int world_setup(void **state);
int world_teardown(void **state);

/* A world with a guest that runs at the source, or a VM that is stopped there. */
World *world_new(WorldStores *stores, const WorldOptions *options);
void world_free(World *world);
/* A person at the source asks for the migration. */
void world_begin(World *world);
/* Runs the next event; false if there is none but background. */
bool world_step(World *world);
/* Until nothing is left to happen, or for this much virtual time. */
void world_run(World *world, int64_t for_us);
/* Until the only migration of the host stands in the step; asserts that it does within a minute. */
void world_run_until(World *world, HostName name, const char *step);
void world_print_trace(const World *world);
/* Asserts that the host's engine warned of something with this text. */
void world_expect_warning(const World *world, HostName name, const char *part);
/* Runs to the end, asserts that all rules held and that the guest, or the stopped VM, is there. */
void world_expect_end(World *world, Outcome outcome);

/* --- inside --- */
uint64_t world_random(World *world, uint64_t below);
Event *world_schedule(World *world, int64_t after_us, const char *name, EventRun *run);
/* One that the host's engine gets, unless it was restarted meanwhile or the job is gone. */
Event *world_schedule_job(Host *host, Job *job, int64_t after_us, const char *name, EventRun *run);
/* Takes back one that has not run yet. */
void world_forget(World *world, uint64_t number, EventRun *run);
void world_trace(World *world, const char *format, ...) __attribute__((format(printf, 2, 3)));
void world_break(World *world, const char *format, ...) __attribute__((format(printf, 2, 3)));
Host *world_peer(const Host *host);
const char *host_word(const Host *host);

/* world_link.c */
void link_dial(Host *host, Job *job);
bool link_send(Host *host, Job *job, const PeerMessage *message, Error *err);
void link_close(Host *host, uint64_t number);
void link_crash(Host *host);
void link_cut_control(World *world);
void link_mend_control(World *world);
void link_ping(World *world);
/* Delivers a message to the source's or destination's engine as if the peer had sent it. */
void link_inject(Host *to, const PeerMessage *message);

/* world_hypervisor.c */
void hypervisor_boot(Host *host);
void hypervisor_do(Host *host, Job *job, HvOperation operation);
void hypervisor_ask(Host *host, Job *job);
void hypervisor_die(Host *host);
void stream_open(World *world, uint64_t source_job, uint64_t destination_job);
/* Ends between these two hosts' movers; with_inflight: what left the source still arrives. */
void stream_break(World *world, const char *why, bool with_inflight);
void stream_cut(World *world);

/* world_host.c */
Job *host_job(Host *host, uint64_t serial);
Job *host_job_of(Host *host, const Migration *m);
Job *host_job_with_vm(Host *host);
Job *host_only_job(Host *host);
Job *host_add_job(Host *host, Migration *m, bool has_vm);
void host_settle(Host *host, Job *job);
Job *host_route(Host *host, uint64_t connection, const PeerMessage *message);
/* It starts again after this time; 0: by host_restart only. */
void host_crash(Host *host, int64_t restart_us);
void host_restart(Host *host);
void host_hypervisor_gone(Host *host, const Error *cause);
/* Around each call into a migration: the disk may be full for it. */
void host_enter(Host *host);
void host_leave(Host *host);
/* Counts what an engine does; false once its power is gone. */
bool host_acts(Host *host);
bool host_save_vm(Host *host, Error *err);

/* world_ports.c */
void ports_of_host(Host *host);

/* world_keys.c */
void keys_ask(void *host, Migration *m, TransferKind kind, const PeerMessage *in);
void keys_watch_end(World *world, Outcome outcome);

/* world_watch.c */
void watch_guest_runs(Host *host); /* called when it begins to */
void watch_row(Host *host);	    /* when the VM's row has changed */
void watch_event(World *world);
Outcome watch_outcome(const World *world);
/* The end: one guest, nothing left over. `may_be_lost`: a hypervisor died in this run. */
void watch_end(World *world, bool may_be_lost);
bool watch_record(const Host *host, MigrationRecord *ret_record);

#endif
