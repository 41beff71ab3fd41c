/* SPDX-License-Identifier: Apache-2.0 */
/* What the engine remembers across restarts, as structs with schemas: one table of the store each. */
#ifndef SEALIFT_STORE_RECORDS_H
#define SEALIFT_STORE_RECORDS_H

#include "wire/manifest.h"
#include "wire/statement.h"

typedef struct HostRecord {
	char name[LIMIT_NAME];
	char address[LIMIT_ADDRESS]; /* numeric */
	uint64_t port;
	char id[LIMIT_SPIFFE_ID];
} HostRecord;

typedef struct DomainRecord {
	char domain[LIMIT_DOMAIN];
	uint8_t root[LIMIT_PEM]; /* PEM, one or more roots */
	size_t root_size;
	uint8_t crl[LIMIT_CRL];
	size_t crl_size;
	uint64_t crl_next_update_s;
} DomainRecord;

typedef enum VmState {
	VM_STARTING,
	VM_RUNNING,
	VM_INCOMING,  /* a reservation: it does not run here yet */
	VM_MIGRATING, /* runs here, is on its way out */
	VM_HELD,      /* stopped, given away, the other side not heard of yet */
	VM_MOVED,     /* runs elsewhere */
	VM_STOPPED,
	VM_FAILED,
	VM_STATE_COUNT,
} VmState;
extern const char *const vm_state_words[VM_STATE_COUNT];

typedef struct VmRecord {
	char name[LIMIT_NAME];
	char owner[LIMIT_DOMAIN];
	uint64_t epoch;
	VmState state;
	SealMode mode;
	uint64_t seen_epoch;	   /* of an earlier stay here, 0: none; kept while one is incoming */
	bool seen_ended;	   /* it had ended here then, and not moved away */
	char pools_of[LIMIT_DOMAIN]; /* whose pools its disks are in: those of the domain that it came from;
				      * "": this host's own users' */
	char instance[LIMIT_NAME]; /* names its process for the hypervisor's driver; "": none */
	Manifest manifest;
	uint64_t copies; /* while it comes in: bit i, the image of disk i was made for it; VM_COPY_TPM */
	char moved_to[LIMIT_SPIFFE_ID]; /* the host that it was moved to; "": none, or not known */
} VmRecord;

/* Of VmRecord.copies: there may be state of its TPM, which came with it. */
#define VM_COPY_TPM (UINT64_C(1) << LIMIT_DISKS)

typedef enum MigrationRole { MIGRATION_SOURCE, MIGRATION_DESTINATION, MIGRATION_ROLE_COUNT } MigrationRole;
extern const char *const migration_role_words[MIGRATION_ROLE_COUNT];

/* DESIGN: one name for logs, API and metrics. */
typedef enum MigrationPhase {
	PHASE_BEGIN,
	PHASE_PREPARE,
	PHASE_TRANSFER,
	PHASE_SWITCHOVER,
	PHASE_COMMIT,
	PHASE_FINISH,
	PHASE_DONE,
	PHASE_COUNT,
} MigrationPhase;
extern const char *const migration_phase_words[PHASE_COUNT];

typedef enum MigrationState {
	MIGRATION_ACTIVE,
	MIGRATION_OK,
	MIGRATION_FAILED,
	MIGRATION_CANCELLED,
	MIGRATION_STUCK, /* a person must decide */
	MIGRATION_STATE_COUNT,
} MigrationState;
extern const char *const migration_state_words[MIGRATION_STATE_COUNT];

/* What the report of a finished migration says; times in microseconds. */
typedef struct MigrationReport {
	uint64_t total_us, stream_us, downtime_us, downtime_error_us, resume_us, populate_us;
	uint64_t stream_bytes, wire_bytes, mover_cpu_us, mover_peak_bytes;
	uint64_t guard_us, guard_warnings;
} MigrationReport;

typedef struct MigrationRecord {
	uint8_t id[MIGRATION_ID_BYTES];
	MigrationRole role;
	MigrationPhase phase;
	MigrationState state;
	char vm[LIMIT_NAME];
	char uuid[LIMIT_UUID];
	char owner[LIMIT_DOMAIN];
	uint64_t epoch; /* after the move */
	char peer_id[LIMIT_SPIFFE_ID];
	char peer_address[LIMIT_ADDRESS]; /* source only */
	uint64_t peer_port;
	SealMode mode;
	uint64_t channels;
	uint64_t booked_bytes; /* destination: memory of the reservation */
	uint64_t created_s, ended_s;
	bool ready;	/* a ready statement was made (destination) or verified (source) */
	bool committed; /* the point of no return */
	bool activating; /* destination: cont may have been sent */
	bool declined;	/* destination: a declined statement was made, or may be on demand */
	bool cancel_owed; /* source: undone here, the destination may not know yet */
	OfferedKey keys[LIMIT_OFFERED_KEYS]; /* that the key managers hand over */
	size_t keys_count;
	bool keep_keys;
	/* Our key manager was, or is about to be, asked to change their state, and has not been asked
	 * yet to end that: to destroy or to take back (source), to activate or to discard. */
	bool keys_moving;
	MoveManner manner;
	bool paused; /* source, offline: the guest was stopped for the move, or is about to be */
	bool keys_shared;  /* both hosts have one key manager: the keys stayed in it, and changed hands */
	bool keys_exposed; /* source: it was undone after the other domain may have seen them */
	uint8_t permit[DIGEST_SHA384_BYTES]; /* SHA-384 of the digests of offer and accept */
	uint64_t category; /* ErrorCategory of the end */
	char error[LIMIT_TEXT];
	char aead[LIMIT_NAME];
	char guard[LIMIT_NAME]; /* what this side's guard did with a broken rule: mover_guard_words */
	MigrationReport report;
} MigrationRecord;

/* A key of a disk that is to be destroyed, until it is. */
typedef struct KeyEndRecord {
	uint8_t key[MANIFEST_KEY_ID_BYTES];
	char pool[LIMIT_NAME], volume[LIMIT_NAME]; /* the disk, for people */
	char why[LIMIT_NAME];
} KeyEndRecord;

extern const Schema host_record_schema, domain_record_schema, vm_record_schema,
	migration_record_schema, key_end_record_schema;

#endif
