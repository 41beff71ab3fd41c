/* SPDX-License-Identifier: Apache-2.0 */
/* What a destination refuses before it reserves anything, each beside an offer that it takes. */
#include "tests/migration/world.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "crypto/random.h"
#include "migration/internal.h"
#include "tests/store/records.h"
#include "tests/wire/samples.h"

#define SET(member, ...) snprintf(member, sizeof(member), __VA_ARGS__)

typedef struct Judge {
	World *world;
	Host *host;
	Migration *m;
	Statement offer;
} Judge;

static void begin(Judge *judge, void **state)
{
	const WorldOptions options = { .seed = 1 };
	Error err = ERROR_INIT;

	*judge = (Judge){ .world = world_new(*state, &options) };
	judge->host = &judge->world->hosts[DESTINATION];
	judge->m = migration_new_destination(&judge->host->ports, "spiffe://north.example/host/n1", &err);
	assert_non_null(judge->m);
	sample_statement(STATEMENT_OFFER, &judge->offer);
	assert_works(random_bytes(judge->offer.id, sizeof(judge->offer.id), &err), &err);
	assert_works(random_bytes(judge->offer.migration, sizeof(judge->offer.migration), &err), &err);
	judge->offer.expires_s = judge->offer.issued_s + 300;
}

static void end(Judge *judge)
{
	migration_free(judge->m);
	world_free(judge->world);
}

static bool ask(Judge *judge, Error *err)
{
	memcpy(judge->m->record.id, judge->offer.migration, sizeof(judge->m->record.id));
	return admission_judge(judge->m, &judge->offer, err);
}

static void accepts(Judge *judge)
{
	Error err = ERROR_INIT;

	assert_works(ask(judge, &err), &err);
	end(judge);
}

static void refuses(Judge *judge, ErrorCategory category, const char *part)
{
	Error err = ERROR_INIT;

	assert_fails(ask(judge, &err), category, part, &err);
	end(judge);
}

static void put_vm(Judge *judge, const VmRecord *vm)
{
	Error err = ERROR_INIT;

	assert_works(store_put(judge->host->store, STORE_VMS, vm->manifest.uuid, vm, &err), &err);
}

/* Another VM, with nothing of the offered one. */
static void other_vm(VmRecord *ret_vm)
{
	sample_vm("other", ret_vm);
	SET(ret_vm->manifest.name, "other");
	SET(ret_vm->manifest.uuid, "11111111-2222-3333-4444-555555555555");
	ret_vm->manifest.disks_count = 0;
	ret_vm->manifest.nics_count = 0;
}

static void put_migration(Judge *judge, uint8_t number, MigrationState state, uint64_t booked_bytes,
			  const char *peer, const char *uuid)
{
	MigrationRecord record;
	Error err = ERROR_INIT;

	sample_migration(number, &record);
	record.role = MIGRATION_DESTINATION;
	record.state = state;
	record.booked_bytes = booked_bytes;
	SET(record.peer_id, "%s", peer);
	SET(record.uuid, "%s", uuid);
	assert_works(store_journal(judge->host->store, &record, NULL, &err), &err);
}

static const char another_peer[] = "spiffe://west.example/host/w1";
static const char another_uuid[] = "99999999-2222-3333-4444-555555555555";

/* --- who and what for --- */

static void an_offer_is_for_this_host(void **state)
{
	Judge judge;

	begin(&judge, state);
	accepts(&judge);
	begin(&judge, state);
	SET(judge.offer.destination, "spiffe://south.example/host/s2");
	refuses(&judge, ERROR_PEER, "offer is for spiffe://south.example/host/s2, this is");
}

static void an_offer_comes_from_its_source(void **state)
{
	Judge judge;

	begin(&judge, state);
	SET(judge.offer.source, "spiffe://north.example/host/n2");
	refuses(&judge, ERROR_PEER, "came from spiffe://north.example/host/n1");
}

static void the_manifest_is_of_the_offered_vm(void **state)
{
	Judge judge;

	begin(&judge, state);
	SET(judge.offer.vm, "%s", another_uuid);
	refuses(&judge, ERROR_PEER, "its manifest for 3c1f7b52");
}

static void a_common_version_is_needed(void **state)
{
	Judge judge;

	begin(&judge, state);
	judge.offer.version_max = PEER_VERSION_MAX + 7;
	accepts(&judge);
	begin(&judge, state);
	judge.offer.version_min = PEER_VERSION_MAX + 1;
	judge.offer.version_max = PEER_VERSION_MAX + 7;
	refuses(&judge, ERROR_PEER, "offer speaks versions");
}

/* --- mode --- */

static void disabled_needs_leave(void **state)
{
	Judge judge;

	begin(&judge, state);
	judge.offer.mode = SEAL_DISABLED;
	refuses(&judge, ERROR_DENIED, "does not allow mode disabled");
	begin(&judge, state);
	judge.offer.mode = SEAL_DISABLED;
	judge.host->policy.allow_disabled = true;
	accepts(&judge);
}

static void required_meets_a_law(void **state)
{
	Judge judge;

	begin(&judge, state);
	judge.host->policy.forbid_encryption = true;
	refuses(&judge, ERROR_DENIED, "forbids encryption");
	begin(&judge, state);
	judge.host->policy.forbid_encryption = true;
	judge.offer.mode = SEAL_OPPORTUNISTIC;
	accepts(&judge);
}

/* --- replays --- */

static void an_offer_counts_once(void **state)
{
	Judge judge;
	Error err = ERROR_INIT;

	begin(&judge, state);
	assert_works(ask(&judge, &err), &err);
	refuses(&judge, ERROR_CONFLICT, "replay");
}

static void an_id_names_one_migration(void **state)
{
	Judge judge;

	begin(&judge, state);
	memset(judge.offer.migration, 9, sizeof(judge.offer.migration));
	put_migration(&judge, 9, MIGRATION_OK, 0, another_peer, another_uuid);
	refuses(&judge, ERROR_CONFLICT, "was used before");
	begin(&judge, state);
	put_migration(&judge, 9, MIGRATION_OK, 0, another_peer, another_uuid);
	accepts(&judge);
}

static void an_epoch_only_grows(void **state)
{
	Judge judge;
	VmRecord vm;

	sample_vm("vm1", &vm);
	vm.state = VM_MOVED;
	for (uint64_t here = 6; here <= 8; here++) {
		begin(&judge, state);
		vm.epoch = here;
		judge.offer.epoch = 7;
		put_vm(&judge, &vm);
		if (here < 7)
			accepts(&judge);
		else
			refuses(&judge, ERROR_DENIED, "epoch 7 of VM 3c1f7b52");
	}
	begin(&judge, state);
	judge.offer.epoch = UINT64_C(1) << 60;
	refuses(&judge, ERROR_PEER, "is above");
}

/* --- VMs that are here --- */

static void a_vm_that_is_here_does_not_come(void **state)
{
	static const struct {
		VmState state;
		bool here;
	} rows[] = {
		{ VM_STARTING, true },	{ VM_RUNNING, true }, { VM_INCOMING, true }, { VM_MIGRATING, true },
		{ VM_HELD, true },	{ VM_MOVED, false },  { VM_STOPPED, false }, { VM_FAILED, false },
	};

	static_assert(ARRAY_SIZE(rows) == VM_STATE_COUNT, "one row a state");
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		Judge judge;
		VmRecord vm;

		begin(&judge, state);
		sample_vm("vm1", &vm);
		vm.state = rows[i].state;
		put_vm(&judge, &vm);
		if (rows[i].here)
			refuses(&judge, ERROR_CONFLICT, "is here already");
		else
			accepts(&judge);
	}
}

/* A VM is its owner and its UUID; that of another owner is not to be had by claiming its UUID. */
static void anothers_uuid_is_not_taken(void **state)
{
	static const VmState states[] = { VM_RUNNING, VM_STOPPED, VM_MOVED };

	for (size_t i = 0; i < ARRAY_SIZE(states); i++) {
		Judge judge;
		VmRecord vm;

		begin(&judge, state);
		sample_vm("quite-another", &vm);
		SET(vm.owner, "west.example");
		vm.state = states[i];
		put_vm(&judge, &vm);
		refuses(&judge, ERROR_CONFLICT, "is here already");
	}
}

static void a_name_is_one_vm(void **state)
{
	Judge judge;
	VmRecord vm;

	other_vm(&vm);
	begin(&judge, state);
	put_vm(&judge, &vm);
	accepts(&judge);
	begin(&judge, state);
	SET(vm.name, "vm1");
	put_vm(&judge, &vm);
	refuses(&judge, ERROR_CONFLICT, "has the name \"vm1\"");
}

static void two_vms_share_no_mac(void **state)
{
	Judge judge;
	VmRecord vm;

	other_vm(&vm);
	vm.manifest.nics_count = 1;
	SET(vm.manifest.nics[0].network, "red");
	SET(vm.manifest.nics[0].mac, "52:54:00:12:34:56");
	begin(&judge, state);
	put_vm(&judge, &vm);
	refuses(&judge, ERROR_CONFLICT, "a MAC of this one");
	/* On another network, or gone, it is no clash. */
	SET(vm.manifest.nics[0].network, "green");
	begin(&judge, state);
	put_vm(&judge, &vm);
	accepts(&judge);
	SET(vm.manifest.nics[0].network, "red");
	vm.state = VM_MOVED;
	begin(&judge, state);
	put_vm(&judge, &vm);
	accepts(&judge);
}

static void two_vms_write_no_common_volume(void **state)
{
	Judge judge;
	VmRecord vm;

	other_vm(&vm);
	vm.manifest.disks_count = 1;
	for (int read_only = 0; read_only <= 1; read_only++) {
		/* slow/vm1-data is read-only in the offer, fast/vm1-root is not. */
		vm.manifest.disks[0] = (ManifestDisk){ "slow", "vm1-data", DISK_QCOW2, 1 << 30, read_only };
		begin(&judge, state);
		put_vm(&judge, &vm);
		if (read_only)
			accepts(&judge);
		else
			refuses(&judge, ERROR_CONFLICT, "a volume of this one");
	}
	vm.manifest.disks[0] = (ManifestDisk){ "fast", "vm1-root", DISK_RAW, 8 << 20, true };
	begin(&judge, state);
	put_vm(&judge, &vm);
	refuses(&judge, ERROR_CONFLICT, "a volume of this one");
}

/* --- bookings --- */

static void memory_must_be_free(void **state)
{
	const uint64_t wanted = UINT64_C(512) << 20, reserve = UINT64_C(64) << 20;
	Judge judge;

	begin(&judge, state);
	judge.host->free_memory = wanted + reserve;
	accepts(&judge);
	begin(&judge, state);
	judge.host->free_memory = wanted + reserve - 1;
	refuses(&judge, ERROR_LIMIT, "the VM wants 512 MiB; 575 MiB are free, 0 MiB booked, 64 MiB reserved");
	begin(&judge, state);
	judge.host->free_memory = reserve - 1;
	refuses(&judge, ERROR_LIMIT, "63 MiB are free");
}

static void booked_memory_is_not_free(void **state)
{
	const uint64_t wanted = UINT64_C(512) << 20, reserve = UINT64_C(64) << 20;
	static const struct {
		MigrationState state;
		bool counts;
	} rows[] = { { MIGRATION_ACTIVE, true },     { MIGRATION_STUCK, true }, { MIGRATION_OK, false },
		     { MIGRATION_FAILED, false }, { MIGRATION_CANCELLED, false } };

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		Judge judge;

		begin(&judge, state);
		judge.host->free_memory = 2 * wanted + reserve - 1;
		put_migration(&judge, 9, rows[i].state, wanted, another_peer, another_uuid);
		if (rows[i].counts)
			refuses(&judge, ERROR_LIMIT, "512 MiB booked");
		else
			accepts(&judge);
	}
}

static void a_peer_has_its_share(void **state)
{
	const char *peer = "spiffe://north.example/host/n1";
	Judge judge;

	begin(&judge, state);
	put_migration(&judge, 9, MIGRATION_ACTIVE, 0, peer, another_uuid);
	refuses(&judge, ERROR_LIMIT, "1 reservations of this peer already, at most 1");
	begin(&judge, state);
	put_migration(&judge, 9, MIGRATION_ACTIVE, 0, another_peer, another_uuid);
	accepts(&judge);
	begin(&judge, state);
	judge.host->policy.per_peer = 2;
	put_migration(&judge, 9, MIGRATION_ACTIVE, 0, peer, another_uuid);
	accepts(&judge);
}

static void a_vm_moves_once_at_a_time(void **state)
{
	Judge judge;

	begin(&judge, state);
	put_migration(&judge, 9, MIGRATION_STUCK, 0, another_peer, judge.offer.vm);
	refuses(&judge, ERROR_CONFLICT, "is being migrated already");
	begin(&judge, state);
	put_migration(&judge, 9, MIGRATION_FAILED, 0, another_peer, judge.offer.vm);
	accepts(&judge);
}

/* --- the manifest, and order --- */

static void the_manifest_must_fit(void **state)
{
	Judge judge;

	begin(&judge, state);
	error_set(&judge.host->manifest_refusal, ERROR_NOT_FOUND, "no pool \"fast\" here");
	refuses(&judge, ERROR_NOT_FOUND, "no pool \"fast\" here");
}

/* Cheap before dear: what is refused for its mode has not been remembered as seen. */
static void a_refused_mode_leaves_no_trace(void **state)
{
	Judge judge;
	Error err = ERROR_INIT;

	begin(&judge, state);
	judge.offer.mode = SEAL_DISABLED;
	assert_fails(ask(&judge, &err), ERROR_DENIED, "disabled", &err);
	judge.host->policy.allow_disabled = true;
	accepts(&judge);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_offer_is_for_this_host),
		cmocka_unit_test(an_offer_comes_from_its_source),
		cmocka_unit_test(the_manifest_is_of_the_offered_vm),
		cmocka_unit_test(a_common_version_is_needed),
		cmocka_unit_test(disabled_needs_leave),
		cmocka_unit_test(required_meets_a_law),
		cmocka_unit_test(an_offer_counts_once),
		cmocka_unit_test(an_id_names_one_migration),
		cmocka_unit_test(an_epoch_only_grows),
		cmocka_unit_test(a_vm_that_is_here_does_not_come),
		cmocka_unit_test(anothers_uuid_is_not_taken),
		cmocka_unit_test(a_name_is_one_vm),
		cmocka_unit_test(two_vms_share_no_mac),
		cmocka_unit_test(two_vms_write_no_common_volume),
		cmocka_unit_test(memory_must_be_free),
		cmocka_unit_test(booked_memory_is_not_free),
		cmocka_unit_test(a_peer_has_its_share),
		cmocka_unit_test(a_vm_moves_once_at_a_time),
		cmocka_unit_test(the_manifest_must_fit),
		cmocka_unit_test(a_refused_mode_leaves_no_trace),
	};

	return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
