/* SPDX-License-Identifier: Apache-2.0 */
/* Whether this host takes a VM: what is cheap is asked before what is dear, and memory is booked
 * in the store before a byte of it is populated. */
#include <string.h>

#include "migration/internal.h"

/* Room for a move a second for millions of years; what is above it is meant to poison the VM. */
#define EPOCH_MAX (UINT64_C(1) << 48)

typedef struct Bookings {
	const Migration *m;
	uint64_t bytes;
	unsigned int of_peer;
	bool same_vm;
	const char *uuid;
} Bookings;

static bool count_booking(void *context, const void *object, Error *err)
{
	Bookings *bookings = context;
	const MigrationRecord *record = object;

	(void)err;
	if (record->state != MIGRATION_ACTIVE && record->state != MIGRATION_STUCK)
		return true;
	if (!strcmp(record->uuid, bookings->uuid) &&
	    memcmp(record->id, bookings->m->record.id, sizeof(record->id)))
		bookings->same_vm = true;
	if (record->role != MIGRATION_DESTINATION)
		return true;
	bookings->bytes += record->booked_bytes;
	if (!strcmp(record->peer_id, bookings->m->record.peer_id))
		bookings->of_peer++;
	return true;
}

typedef struct Known {
	const Statement *offer;
	bool is_here;
	uint64_t epoch;
	bool name_taken;
	const char *clash; /* what two VMs of this host may not share */
} Known;

/* A MAC on the same network, or a volume that either of them writes. */
static const char *clash_of(const Manifest *offered, const Manifest *present)
{
	for (size_t i = 0; i < offered->nics_count; i++)
		for (size_t j = 0; j < present->nics_count; j++)
			if (!strcmp(offered->nics[i].mac, present->nics[j].mac) &&
			    !strcmp(offered->nics[i].network, present->nics[j].network))
				return "MAC";
	for (size_t i = 0; i < offered->disks_count; i++)
		for (size_t j = 0; j < present->disks_count; j++)
			if (!strcmp(offered->disks[i].volume, present->disks[j].volume) &&
			    !strcmp(offered->disks[i].pool, present->disks[j].pool) &&
			    !(offered->disks[i].read_only && present->disks[j].read_only))
				return "volume";
	return NULL;
}

static bool compare_vm(void *context, const void *object, Error *err)
{
	Known *known = context;
	const VmRecord *vm = object;
	bool gone = vm->state == VM_MOVED || vm->state == VM_STOPPED || vm->state == VM_FAILED;

	(void)err;
	if (!gone && strcmp(vm->manifest.uuid, known->offer->vm))
		known->clash = known->clash ? known->clash : clash_of(&known->offer->manifest, &vm->manifest);
	if (!strcmp(vm->manifest.uuid, known->offer->vm)) {
		/* A UUID is one VM here, whoever says to own it. */
		known->is_here = !gone || strcmp(vm->owner, known->offer->owner) != 0;
		known->epoch = vm->epoch;
	} else if (!strcmp(vm->name, known->offer->manifest.name)) {
		known->name_taken = true;
	}
	return true;
}

static bool check_vm(Migration *m, const Statement *offer, Error *err)
{
	Known known = { .offer = offer };

	if (!store_each(m->ports->store, STORE_VMS, compare_vm, &known, err))
		return false;
	if (known.is_here)
		return error_set(err, ERROR_CONFLICT, "VM %s is here already", offer->vm);
	if (offer->epoch <= known.epoch)
		return error_set(err, ERROR_DENIED, "epoch %llu of VM %s is not above %llu, which was here",
				 (unsigned long long)offer->epoch, offer->vm,
				 (unsigned long long)known.epoch);
	if (known.clash)
		return error_set(err, ERROR_CONFLICT, "another VM here has a %s of this one", known.clash);
	if (known.name_taken)
		return error_set(err, ERROR_CONFLICT, "another VM here has the name \"%s\"",
				 offer->manifest.name);
	return true;
}

static bool check_mode(const MigrationPolicy *policy, const Statement *offer, Error *err)
{
	if (offer->mode == SEAL_DISABLED && !policy->allow_disabled)
		return error_set(err, ERROR_DENIED, "this host does not allow mode disabled");
	if (offer->mode == SEAL_REQUIRED && policy->forbid_encryption)
		return error_set(err, ERROR_DENIED, "this domain forbids encryption, the VM requires it");
	return true;
}

static bool check_bookings(Migration *m, const Statement *offer, Error *err)
{
	Bookings bookings = { .m = m, .uuid = offer->vm };
	uint64_t available, wanted = offer->manifest.memory_bytes;
	const MigrationPolicy *policy = m->ports->policy;

	if (!store_each(m->ports->store, STORE_MIGRATIONS, count_booking, &bookings, err))
		return false;
	if (bookings.same_vm)
		return error_set(err, ERROR_CONFLICT, "VM %s is being migrated already", offer->vm);
	if (bookings.of_peer >= policy->per_peer)
		return error_set(err, ERROR_LIMIT, "%u reservations of this peer already, at most %u",
				 bookings.of_peer, policy->per_peer);
	available = m->ports->free_memory(m->ports->context);
	if (available < policy->reserve_bytes || available - policy->reserve_bytes < bookings.bytes ||
	    available - policy->reserve_bytes - bookings.bytes < wanted)
		return error_set(err, ERROR_LIMIT,
				 "the VM wants %llu MiB; %llu MiB are free, %llu MiB booked, %llu MiB reserved",
				 (unsigned long long)(wanted >> 20), (unsigned long long)(available >> 20),
				 (unsigned long long)(bookings.bytes >> 20),
				 (unsigned long long)(policy->reserve_bytes >> 20));
	return true;
}

/* The source chooses the id; it must not name a row that the journal has. */
static bool check_unused_id(Migration *m, const Statement *offer, Error *err)
{
	AUTO_FREE MigrationRecord *record = calloc(1, sizeof(*record));
	char key[2 * MIGRATION_ID_BYTES + 1];
	Error probe = ERROR_INIT;

	if (!record)
		return error_set(err, ERROR_INTERNAL, "no memory for a record");
	hex_encode(offer->migration, MIGRATION_ID_BYTES, key);
	if (store_get(m->ports->store, STORE_MIGRATIONS, key, record, &probe))
		return error_set(err, ERROR_CONFLICT, "migration id %s was used before", key);
	if (probe.category == ERROR_NOT_FOUND)
		return true;
	*err = probe;
	return false;
}

bool admission_judge(Migration *m, const Statement *offer, Error *err)
{
	const MigrationPolicy *policy = m->ports->policy;

	if (strcmp(offer->destination, policy->host_id))
		return error_set(err, ERROR_PEER, "offer is for %s, this is %s", offer->destination,
				 policy->host_id);
	if (strcmp(offer->source, m->record.peer_id))
		return error_set(err, ERROR_PEER, "offer of %s came from %s", offer->source,
				 m->record.peer_id);
	if (strcmp(offer->vm, offer->manifest.uuid))
		return error_set(err, ERROR_PEER, "offer is for VM %s, its manifest for %s", offer->vm,
				 offer->manifest.uuid);
	if (!peer_version_fits(offer->version_min, offer->version_max))
		return error_set(err, ERROR_PEER, "offer speaks versions %llu to %llu, we speak %d to %d",
				 (unsigned long long)offer->version_min,
				 (unsigned long long)offer->version_max, PEER_VERSION_MIN,
				 PEER_VERSION_MAX);
	if (offer->epoch > EPOCH_MAX)
		return error_set(err, ERROR_PEER, "epoch %llu is above %llu",
				 (unsigned long long)offer->epoch, (unsigned long long)EPOCH_MAX);
	return check_mode(policy, offer, err) && check_unused_id(m, offer, err) &&
	       store_see_once(m->ports->store, offer->id, offer->expires_s,
			      (uint64_t)clock_wall_s(m->ports->clock), err) &&
	       migration_check_keys(&offer->manifest, offer->keys, offer->keys_count, err) &&
	       check_vm(m, offer, err) && check_bookings(m, offer, err) &&
	       m->ports->check_manifest(m->ports->context, m, &offer->manifest, err);
}
