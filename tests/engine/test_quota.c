/* SPDX-License-Identifier: Apache-2.0 */
/* What a host gives at most: processors, reservations of a domain, memory that VMs may grow into.
 */
#include "tests/support/support.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "engine/engine.h"
#include "engine/quota.h"
#include "tests/store/records.h"

#define MIB(n) (UINT64_C(n) << 20)

static void processors(void **state)
{
	static const struct {
		uint64_t vcpus;
		unsigned int configured, online;
		const char *refusal; /* NULL: accepted */
	} cases[] = {
		{ 1, 0, 1, NULL },
		{ 2, 0, 2, NULL },
		{ 3, 0, 2, "the VM has 3 vCPUs; this host has 2 processors online" },
		{ 3, 3, 2, NULL },
		{ 4, 3, 2, "the VM has 4 vCPUs; at most 3 by max_vcpus" },
		{ 4, 3, 8, "the VM has 4 vCPUs; at most 3 by max_vcpus" },
		{ LIMIT_VCPUS, LIMIT_VCPUS, 1, NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		Error err = ERROR_INIT;

		assert_int_equal(quota_check_vcpus(cases[i].vcpus, cases[i].configured,
						   cases[i].online, &err),
				 !cases[i].refusal);
		assert_string_equal(err.text, cases[i].refusal ? cases[i].refusal : "");
		assert_int_equal(err.category, cases[i].refusal ? ERROR_LIMIT : ERROR_NONE);
	}
}

typedef struct Fixture {
	TestFolder folder;
	Engine *engine;
} Fixture;

static int setup(void **state)
{
	Fixture *f = test_calloc(1, sizeof(*f));
	char path[128];
	Error err = ERROR_INIT;

	support_make_folder(&f->folder);
	f->engine = test_calloc(1, sizeof(*f->engine));
	LIST_INIT(&f->engine->vms);
	LIST_INIT(&f->engine->jobs);
	f->engine->store = store_open(support_path(&f->folder, "sealift.db", path), &err);
	if (!f->engine->store)
		fail_msg("%s", err.text);
	ports_init(f->engine);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	Fixture *f = *state;

	store_close(f->engine->store);
	support_remove_folder(&f->folder);
	test_free(f->engine);
	test_free(f);
	return 0;
}

static void put(Fixture *f, uint8_t number, MigrationRole role, MigrationState state,
		const char *peer)
{
	AUTO_FREE MigrationRecord *record = malloc(sizeof(*record));
	char key[2 * MIGRATION_ID_BYTES + 1];
	Error err;

	assert_non_null(record);
	sample_migration(number, record);
	record->role = role;
	record->state = state;
	snprintf(record->peer_id, sizeof(record->peer_id), "%s", peer);
	hex_encode(record->id, sizeof(record->id), key);
	assert_works(store_put(f->engine->store, STORE_MIGRATIONS, key, record, &err), &err);
}

/* Only what is reserved now, by hosts of exactly this domain, counts. */
static void a_domain_has_its_share(void **state)
{
	Fixture *f = *state;
	Store *store = f->engine->store;
	Error err;

	put(f, 1, MIGRATION_DESTINATION, MIGRATION_ACTIVE, "spiffe://south.example/host/a");
	put(f, 2, MIGRATION_DESTINATION, MIGRATION_OK, "spiffe://south.example/host/b");
	put(f, 3, MIGRATION_DESTINATION, MIGRATION_FAILED, "spiffe://south.example/host/c");
	put(f, 4, MIGRATION_SOURCE, MIGRATION_ACTIVE, "spiffe://south.example/host/d");
	put(f, 5, MIGRATION_DESTINATION, MIGRATION_ACTIVE, "spiffe://south.example.net/host/a");
	put(f, 6, MIGRATION_DESTINATION, MIGRATION_ACTIVE, "spiffe://north.example/host/a");
	assert_works(quota_check_domain(store, "south.example", 2, &err), &err);
	assert_fails(quota_check_domain(store, "south.example", 1, &err), ERROR_LIMIT,
		     "1 reservations of domain south.example already, at most 1", &err);
	put(f, 7, MIGRATION_DESTINATION, MIGRATION_STUCK, "spiffe://south.example/host/e");
	assert_fails(quota_check_domain(store, "south.example", 2, &err), ERROR_LIMIT,
		     "2 reservations of domain south.example already, at most 2", &err);
	assert_works(quota_check_domain(store, "east.example", 1, &err), &err);
}

/* The same through the port by which an offer is judged: each bound refuses before a name is looked
 * up, and what keeps them gets to that. */
static void an_offer_is_held_against_them(void **state)
{
	Fixture *f = *state;
	MigrationPorts *ports = &f->engine->ports;
	VmRecord vm;
	Error err = ERROR_INIT;
	AUTO_MIGRATION Migration *m =
		migration_new_destination(ports, "spiffe://south.example/host/b", &err);

	assert_non_null(m);
	sample_vm("vm1", &vm);
	vm.manifest.cpus = 3;
	f->engine->config.per_domain = 1;
	f->engine->config.max_vcpus = 2;
	assert_fails(ports->check_manifest(f->engine, m, &vm.manifest, &err), ERROR_LIMIT,
		     "the VM has 3 vCPUs; at most 2 by max_vcpus", &err);
	f->engine->config.max_vcpus = 0;
	vm.manifest.cpus = LIMIT_VCPUS;
	assert_fails(ports->check_manifest(f->engine, m, &vm.manifest, &err), ERROR_LIMIT,
		     "the VM has 1024 vCPUs; this host has ", &err);
	vm.manifest.cpus = 1;
	put(f, 1, MIGRATION_DESTINATION, MIGRATION_ACTIVE, "spiffe://south.example/host/a");
	assert_fails(ports->check_manifest(f->engine, m, &vm.manifest, &err), ERROR_LIMIT,
		     "1 reservations of domain south.example already, at most 1", &err);
	f->engine->config.per_domain = 2;
	assert_fails(ports->check_manifest(f->engine, m, &vm.manifest, &err), ERROR_DENIED,
		     "is not one for domain \"south.example\"", &err);
}

static void what_a_vm_may_still_take(void **state)
{
	static const struct {
		uint64_t size, resident, growth;
	} cases[] = {
		{ MIB(512), 0, MIB(512) },
		{ MIB(512), MIB(100), MIB(412) },
		{ MIB(512), MIB(512), 0 },
		/* Its hypervisor's own memory is in what is resident. */
		{ MIB(512), MIB(600), 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(quota_growth_bytes(cases[i].size, cases[i].resident),
				 cases[i].growth);
}

/* proc(5), PID/status. */
static void what_counts_as_resident(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} cases[] = {
		{ "Name:\tqemu\nRssAnon:\t    2048 kB\nRssFile:\t    9999 kB\nRssShmem:\t    1024 kB\n"
		  "VmSwap:\t    7777 kB\nHugetlbPages:\t    1024 kB\n",
		  MIB(4) },
		{ "RssAnon:\t    1024 kB\n", MIB(1) },
		{ "Name:\tRssAnon:\t    1024 kB\n", 0 },
		{ "", 0 },
		{ "RssAnon:\n", 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(quota_parse_status(cases[i].text), cases[i].bytes);
	assert_true(quota_resident_bytes(getpid()) > 0);
	assert_int_equal(quota_resident_bytes(0), 0);
	assert_true(quota_available_bytes() > 0);
}

/* A hypervisor that has not touched a page, and this very process. */
static pid_t no_pid(const VmmVm *vm)
{
	(void)vm;
	return 0;
}
static pid_t own_pid(const VmmVm *vm)
{
	(void)vm;
	return getpid();
}
static const VmmDriver empty_driver = { .name = "empty", .pid = no_pid };
static const VmmDriver full_driver = { .name = "full", .pid = own_pid };

/* The finding: a VM that runs with memory it has not touched yet was counted as nothing. */
static void a_running_vm_counts_with_its_full_size(void **state)
{
	Fixture *f = *state;
	VmmVm empty = { &empty_driver }, full = { &full_driver };
	static Vm vms[3];
	uint64_t growth;

	memset(vms, 0, sizeof(vms));
	assert_int_equal(vms_growth_bytes(f->engine), 0);
	for (size_t i = 0; i < ARRAY_SIZE(vms); i++) {
		sample_vm("vm1", &vms[i].record);
		vms[i].record.manifest.memory_bytes = MIB(1024);
		LIST_INSERT_HEAD(&f->engine->vms, &vms[i], link);
	}
	/* Without a process it takes nothing. */
	assert_int_equal(vms_growth_bytes(f->engine), 0);
	vms[0].record.manifest.populate = POPULATE_NONE;
	vms[0].handle = &empty;
	assert_int_equal(vms_growth_bytes(f->engine), MIB(1024));
	vms[1].handle = &empty;
	assert_int_equal(vms_growth_bytes(f->engine), MIB(2048));
	/* What it has taken is no more part of what is free. */
	vms[1].handle = &full;
	growth = vms_growth_bytes(f->engine);
	assert_true(growth > MIB(1024) && growth < MIB(2048));
	f->engine->config.resources.memory = MEMORY_HUGE_2M;
	assert_int_equal(vms_growth_bytes(f->engine), 0);
}

/* More than there is, so that the answer does not depend on what else the machine does. */
static void free_memory_is_without_it(void **state)
{
	Fixture *f = *state;
	VmmVm empty = { &empty_driver };
	static Vm vm;

	memset(&vm, 0, sizeof(vm));
	assert_true(f->engine->ports.free_memory(f->engine) > 0);
	vm.record.manifest.memory_bytes = LIMIT_MEMORY_BYTES;
	vm.handle = &empty;
	LIST_INSERT_HEAD(&f->engine->vms, &vm, link);
	assert_int_equal(f->engine->ports.free_memory(f->engine), 0);
}

/* Its booking counts until it is given back; then its process does. Never both. */
static void a_reservation_is_not_counted_twice(void **state)
{
	Fixture *f = *state;
	AUTO_FREE MigrationRecord *record = malloc(sizeof(*record));
	VmmVm empty = { &empty_driver };
	static Vm vm;
	Job job = { .engine = f->engine };
	Error err = ERROR_INIT;

	assert_non_null(record);
	memset(&vm, 0, sizeof(vm));
	sample_migration(1, record);
	vm.record.manifest.memory_bytes = MIB(1024);
	vm.handle = &empty;
	vm.job = &job;
	LIST_INSERT_HEAD(&f->engine->vms, &vm, link);
	for (int i = 0; i < 4; i++) {
		bool counted = i & 1;

		record->role = i < 2 ? MIGRATION_DESTINATION : MIGRATION_SOURCE;
		record->booked_bytes = counted ? 0 : MIB(1024);
		job.migration = migration_new_recovered(&f->engine->ports, record, NULL, &err);
		assert_non_null(job.migration);
		assert_int_equal(vms_growth_bytes(f->engine), counted || i >= 2 ? MIB(1024) : 0);
		migration_free(job.migration);
	}
}

#define QUOTA_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(processors),
		QUOTA_TEST(a_domain_has_its_share),
		QUOTA_TEST(an_offer_is_held_against_them),
		cmocka_unit_test(what_a_vm_may_still_take),
		cmocka_unit_test(what_counts_as_resident),
		QUOTA_TEST(a_running_vm_counts_with_its_full_size),
		QUOTA_TEST(free_memory_is_without_it),
		QUOTA_TEST(a_reservation_is_not_counted_twice),
	};

	return cmocka_run_group_tests_name("engine/quota", tests, NULL, NULL);
}
