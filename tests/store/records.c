/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/store/records.h"

#include <stdio.h>
#include <string.h>

#include "tests/wire/samples.h"

#define SET(member, ...) snprintf(member, sizeof(member), __VA_ARGS__)

void sample_host(const char *name, HostRecord *ret_host)
{
	*ret_host = (HostRecord){ .port = 7468 };
	SET(ret_host->name, "%s", name);
	SET(ret_host->address, "192.0.2.1");
	SET(ret_host->id, "spiffe://north.example/host/%s", name);
}

void sample_vm(const char *name, VmRecord *ret_vm)
{
	*ret_vm = (VmRecord){ .epoch = 3, .state = VM_RUNNING };
	SET(ret_vm->name, "%s", name);
	SET(ret_vm->owner, "north.example");
	sample_manifest(&ret_vm->manifest);
}

void sample_migration(uint8_t number, MigrationRecord *ret_migration)
{
	MigrationRecord *m = ret_migration;

	*m = (MigrationRecord){ .role = MIGRATION_SOURCE,
				.phase = PHASE_TRANSFER,
				.epoch = number,
				.peer_port = 7468,
				.channels = 3,
				.created_s = 1700000000 };
	memset(m->id, number, sizeof(m->id));
	SET(m->vm, "vm1");
	SET(m->uuid, "3c1f7b52-0f64-4d0e-9d6c-6d2f5a1b2c3d");
	SET(m->owner, "north.example");
	SET(m->peer_id, "spiffe://south.example/host/s1");
}
