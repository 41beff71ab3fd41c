/* SPDX-License-Identifier: Apache-2.0 */
/* What is left here of a VM that moved away, and of one that did not come: nothing of others goes,
 * and nothing goes by anybody's unsigned word. */
#include "tests/support/support.h"

#include <event2/event.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/engine.h"
#include "engine/job_disks.h"
#include "tests/store/records.h"

#define VOLUME "disk.img"

/* Two pools of one name: of this host's own users, and of a domain's. */
enum { LOCAL, PEERS, POOLS };
static const char *const pools[POOLS] = { "local", "peers" };

typedef struct Fixture {
	TestFolder folder;
	Log log;
	Engine *engine;
	MigrationRecord record;
	VmRecord vm;
	Job *job;
} Fixture;

static const char *image(const Fixture *f, int pool, char path[LIMIT_PATH])
{
	snprintf(path, LIMIT_PATH, "%.128s/%s/" VOLUME, f->folder.path, pools[pool]);
	return path;
}

static bool is_there(const Fixture *f, int pool)
{
	char path[LIMIT_PATH];

	return !access(image(f, pool, path), F_OK);
}

static void make_pool(Fixture *f, int number)
{
	PoolResource *pool = &f->engine->config.resources.pools[number];
	char path[LIMIT_PATH];
	int fd;

	snprintf(pool->name, sizeof(pool->name), "disks");
	snprintf(pool->directory, sizeof(pool->directory), "%.128s/%s", f->folder.path,
		 pools[number]);
	pool->own = true;
	pool->access.local = number == LOCAL;
	if (number == PEERS)
		snprintf(pool->access.domains[pool->access.domains_count++], LIMIT_DOMAIN,
			 "south.example");
	f->engine->config.resources.pools_count++;
	assert_int_equal(mkdir(pool->directory, 0700), 0);
	fd = open(image(f, number, path), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
}

static void name_disk(VmRecord *vm)
{
	ManifestDisk *disk = &vm->manifest.disks[0];

	vm->manifest.disks_count = 1;
	*disk = (ManifestDisk){ .size_bytes = 1 << 20 };
	snprintf(disk->pool, sizeof(disk->pool), "disks");
	snprintf(disk->volume, sizeof(disk->volume), VOLUME);
}

static int setup(void **state)
{
	Fixture *f = test_calloc(1, sizeof(*f));
	Engine *engine = f->engine = test_calloc(1, sizeof(*engine));
	char path[128];
	Error err = ERROR_INIT;

	support_make_folder(&f->folder);
	f->log = (Log){ .program = "test", .level = LOG_LEVEL_ERROR, .fd = 2 };
	engine->log = &f->log;
	engine->base = event_base_new();
	engine->store = store_open(support_path(&f->folder, "sealift.db", path), &err);
	assert_non_null(engine->store);
	snprintf(engine->domain, sizeof(engine->domain), "north.example");
	LIST_INIT(&engine->vms);
	LIST_INIT(&engine->jobs);
	LIST_INIT(&engine->connections);
	LIST_INIT(&engine->clients);
	ports_init(engine);
	for (int i = 0; i < POOLS; i++)
		make_pool(f, i);
	sample_vm("vm1", &f->vm);
	name_disk(&f->vm);
	sample_migration(9, &f->record);
	snprintf(f->record.uuid, sizeof(f->record.uuid), "%s", f->vm.manifest.uuid);
	*state = f;
	return 0;
}

static void end_job(Fixture *f)
{
	if (f->job)
		job_free(f->job);
	f->job = NULL;
}

static int teardown(void **state)
{
	Fixture *f = *state;
	char path[LIMIT_PATH];

	end_job(f);
	while (!LIST_EMPTY(&f->engine->vms))
		vm_forget(LIST_FIRST(&f->engine->vms));
	store_close(f->engine->store);
	event_base_free(f->engine->base);
	for (int i = 0; i < POOLS; i++) {
		(void)unlink(image(f, i, path));
		(void)rmdir(f->engine->config.resources.pools[i].directory);
	}
	support_remove_folder(&f->folder);
	test_free(f->engine);
	test_free(f);
	return 0;
}

static void begin(Fixture *f, MigrationRole role, Vm *vm)
{
	Migration *migration;
	Error err = ERROR_INIT;

	f->record.role = role;
	migration = migration_new_recovered(&f->engine->ports, &f->record,
					    vm ? &vm->record : &f->vm, &err);
	assert_non_null(migration);
	f->job = job_new(f->engine, migration, vm);
	assert_non_null(f->job);
}

static void changed(Fixture *f, VmState to)
{
	Error err = ERROR_INIT;

	assert_works(f->engine->ports.vm_changed(f->engine, f->job->migration, to, &err), &err);
}

/* A VM that is here leaves; activated: the destination has signed that it runs there. */
static void moves_away(Fixture *f, bool activated)
{
	const StoredStatement statement = { .kind = STATEMENT_ACTIVATED,
					    .cms = (const uint8_t *)"x",
					    .cms_size = 1 };
	Error err = ERROR_INIT;
	Vm *vm = vm_add(f->engine, &f->vm, &err);

	assert_non_null(vm);
	disks_out_choose(f->engine, &vm->record);
	assert_int_equal(vm->record.manifest.disks[0].transfer, DISK_COPIED);
	begin(f, MIGRATION_SOURCE, vm);
	assert_works(
		store_journal(f->engine->store, &f->record, activated ? &statement : NULL, &err),
		&err);
	changed(f, VM_MOVED);
	assert_int_equal(vm->record.state, VM_MOVED);
}

static void its_image_goes_by_a_signed_word(void **state)
{
	Fixture *f = *state;

	moves_away(f, true);
	assert_false(is_there(f, LOCAL));
	assert_true(is_there(f, PEERS));
}

static void and_by_no_other(void **state)
{
	Fixture *f = *state;

	moves_away(f, false);
	assert_true(is_there(f, LOCAL));
}

static void of_a_copy_it_stays(void **state)
{
	Fixture *f = *state;

	f->record.keep_keys = true;
	moves_away(f, true);
	assert_true(is_there(f, LOCAL));
}

/* So that no client of the API is needed (--wrap in meson.build): it is root's. */
bool __wrap_api_may_name_files(const ApiRequest *request);
bool __wrap_api_may_name_files(const ApiRequest *request)
{
	(void)request;
	return true;
}

/* That its image went with it is no answer to who starts it here again. */
static void started_again_it_is_said_to_be_elsewhere(void **state)
{
	Fixture *f = *state;
	char text[1024];
	Error err = ERROR_INIT;

	snprintf(text, sizeof(text),
		 "name = \"vm1\"; uuid = \"%s\"; machine = \"pc-q35-10.0\"; cpu = \"max\"; "
		 "memory = \"512M\"; disks = ( { pool = \"disks\"; volume = \"" VOLUME "\"; format = \"raw\"; } );",
		 f->vm.manifest.uuid);
	moves_away(f, true);
	assert_false(is_there(f, LOCAL));
	assert_fails(vm_start_text(f->engine, "vm1.conf", text, NULL, &err), ERROR_CONFLICT,
		     "was moved to another host", &err);
	/* A new one of that name and disk is told what it lacks. */
	text[strlen("name = \"vm1\"; uuid = \"")] ^= 1;
	text[strlen("name = \"vm")] = '9';
	assert_fails(vm_start_text(f->engine, "vm9.conf", text, NULL, &err), ERROR_NOT_FOUND,
		     "volume disks/" VOLUME, &err);
}

/* A medium: what the VM could not write was not made by it. */
static void what_it_could_only_read_stays(void **state)
{
	Fixture *f = *state;

	f->vm.manifest.disks[0].read_only = true;
	moves_away(f, true);
	assert_true(is_there(f, LOCAL));
}

/* One that came from another domain has its disks in the pools of that domain. */
static void it_is_of_the_pool_that_it_came_to(void **state)
{
	Fixture *f = *state;

	snprintf(f->vm.pools_of, sizeof(f->vm.pools_of), "south.example");
	moves_away(f, true);
	assert_true(is_there(f, LOCAL));
	assert_false(is_there(f, PEERS));
}

static Vm *add_other(Fixture *f, VmState other_state, const char *pools_of)
{
	VmRecord other;
	Error err = ERROR_INIT;
	Vm *vm;

	sample_vm("vm2", &other);
	name_disk(&other);
	other.manifest.uuid[0] ^= 1;
	other.state = other_state;
	snprintf(other.pools_of, sizeof(other.pools_of), "%s", pools_of);
	vm = vm_add(f->engine, &other, &err);
	assert_non_null(vm);
	return vm;
}

static void what_another_vm_names_stays(void **state)
{
	static const VmState here[] = { VM_RUNNING, VM_STOPPED, VM_FAILED };
	Fixture *f = *state;
	char path[LIMIT_PATH];

	for (size_t i = 0; i < ARRAY_SIZE(here); i++) {
		Vm *other = add_other(f, here[i], "");

		moves_away(f, true);
		assert_true(is_there(f, LOCAL));
		end_job(f);
		vm_forget(other);
		vm_forget(LIST_FIRST(&f->engine->vms));
	}
	/* One that is away itself, or means another image of that name, holds nothing. */
	add_other(f, VM_MOVED, "");
	add_other(f, VM_RUNNING, "south.example");
	assert_non_null(image(f, LOCAL, path));
	moves_away(f, true);
	assert_false(is_there(f, LOCAL));
	assert_true(is_there(f, PEERS));
}

/* Only offered, and undone: what was known of an earlier stay is known again. */
static void undone_it_is_as_it_was(void **state)
{
	static const struct {
		VmState before, after;
	} rows[] = { { VM_STOPPED, VM_STOPPED },
		     { VM_FAILED, VM_STOPPED },
		     { VM_MOVED, VM_MOVED } };
	Fixture *f = *state;
	Error err = ERROR_INIT;
	Vm *vm;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		vm = vm_add(f->engine, &f->vm, &err);
		assert_non_null(vm);
		vm->record.state = rows[i].before;
		f->vm.epoch = 9;
		begin(f, MIGRATION_DESTINATION, NULL);
		changed(f, VM_INCOMING);
		assert_string_equal(vm->record.pools_of, "south.example");
		changed(f, VM_FAILED);
		assert_int_equal(vm->record.state, rows[i].after);
		assert_int_equal(vm->record.epoch, 3);
		f->vm.epoch = 3;
		end_job(f);
		vm_forget(vm);
	}
	/* One that was never here leaves nothing. */
	begin(f, MIGRATION_DESTINATION, NULL);
	changed(f, VM_INCOMING);
	changed(f, VM_FAILED);
	assert_null(vm_find_uuid(f->engine, f->vm.manifest.uuid));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define WITH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
		WITH(its_image_goes_by_a_signed_word),
		WITH(and_by_no_other),
		WITH(of_a_copy_it_stays),
		WITH(what_it_could_only_read_stays),
		WITH(started_again_it_is_said_to_be_elsewhere),
		WITH(it_is_of_the_pool_that_it_came_to),
		WITH(what_another_vm_names_stays),
		WITH(undone_it_is_as_it_was),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
