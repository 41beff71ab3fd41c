/* SPDX-License-Identifier: Apache-2.0 */
/* Two hosts' worth of real VMs on one event loop, and what the guest in them says. */
#ifndef SEALIFT_TESTS_VMM_VM_FIXTURE_H
#define SEALIFT_TESTS_VMM_VM_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "relay.h"
#include "vmm/disk_secret.h"
#include "vmm/qemu.h"
#include "vmm/vm_file.h"

struct event;
struct World;

typedef struct Call {
	bool called;
	bool ok;
	Error err;
	VmmRunState state;
	VmmPrepared prepared;
	VmmMigration migration;
} Call;

typedef struct Host {
	struct World *world;
	const char *name;
	VmmVm *vm;
	VmmMigrationStatus status;
	bool seen[VMM_MIGRATION_STATUS_COUNT];
	bool stopped, resumed, lost, exited;
	VmmInstant stop_at, resume_at;
	Error cause;
	/* the guest's console */
	int serial_fd;
	struct event *serial_event;
	char line[512];
	size_t line_used;
	unsigned long long walker_t, walker_first_t, walker_errors, walker_disk;
	unsigned int walker_lines;
	/* and what its TPM does (tests/guest/tpm.c) */
	unsigned int tpm_lines, tpm_t, tpm_errors;
	bool tpm_kept; /* it found what an earlier life had stored */
} Host;

typedef struct World {
	struct event_base *base;
	char directory[64];
	Resources *resources;
	VmFile file;
	/* Of the encrypted disks: each start gets a secret made of it, which is wiped when that is
	 * over. */
	const char *passphrases[LIMIT_DISKS];
	DiskSecret secrets[LIMIT_DISKS];
	Host source, destination;
	int listen_fd;
	struct event *listen_event;
	Relay *relays[LIMIT_STREAM_CHANNELS];
	size_t relays_count;
} World;

/* True if there is nothing to test with: the caller exits with 77. */
bool world_is_impossible(void);

int world_setup(void **state);
int world_teardown(void **state);

typedef bool Condition(const void *context);
/* Runs the loop until it holds; fails the test after the deadline. */
void world_wait(World *world, Condition *condition, const void *context, int deadline_s,
		const char *what);
bool call_is_over(const void *call);
bool host_has_exited(const void *host);

/* The callbacks for a Call. */
void on_done(void *call, const Error *err);
void on_run_state(void *call, VmmRunState state, const Error *err);
void on_prepared(void *call, const VmmPrepared *prepared, const Error *err);
void on_migration(void *call, const VmmMigration *migration, const Error *err);
extern const VmmEvents host_events;

/* Resolves for one host, with secrets for the encrypted disks; *ret_vm is the caller's. */
void world_resolve(World *world, const char *peer_domain, ResolvedVm *ret_vm);
void world_wipe_secrets(World *world);

/* Started or prepared, and checked. */
void host_start(Host *host);
void host_prepare(Host *host);
/* Reads the guest's console from now on. */
void host_listen_to_guest(Host *host);
/* Waits until the guest has printed this many lines more, and none of them with an error. */
void host_check_guest(Host *host, unsigned int lines, int deadline_s);
void host_wait_status(Host *host, VmmMigrationStatus status, int deadline_s);
/* Cancels a migration that goes on, and waits for its end. That is VMM_MIGRATION_CANCELLED, or
 * VMM_MIGRATION_FAILED if QEMU's thread met a socket that the cancel had shut: QEMU, at least from
 * 7.2 to 10.0, shuts its return path and only then says that it cancels (migration_cancel() of its
 * migration/migration.c). */
VmmMigrationStatus host_cancel(Host *host, int deadline_s);
VmmRunState host_run_state(Host *host);
VmmMigration host_migration(Host *host);
void host_cont(Host *host);
/* quit, on_exit, free. */
void host_end(Host *host);
/* Kill, on_exit, free; fine if there is none. */
void host_kill(Host *host);

/* Orders a migration from the source to the destination through a relay. */
void world_migrate(World *world, unsigned int channels, uint64_t bandwidth_bytes_s);
void world_drop_relays(World *world);

#endif
