/* SPDX-License-Identifier: Apache-2.0 */
/* The driver with real QEMUs and a guest that checks its own memory and disk. */
#include "vm_fixture.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

typedef struct WantBytes {
	World *world;
	uint64_t bytes;
} WantBytes;

static bool has_transferred(const void *context)
{
	const WantBytes *want = context;

	return host_migration(&want->world->source).ram_transferred_bytes >= want->bytes;
}

static void migrate_whole(World *world, unsigned int channels)
{
	Call continued = { 0 }, announced = { 0 };
	Error err = ERROR_INIT;
	unsigned long long last_t;

	world_migrate(world, channels, 0);
	host_wait_status(&world->source, VMM_MIGRATION_PRE_SWITCHOVER, 60);
	assert_true(world->source.stopped);
	assert_int_equal(host_run_state(&world->source), VMM_RUN_FINISH_MIGRATE);
	assert_true(vmm_continue_switchover(world->source.vm, on_done, &continued, &err));
	host_wait_status(&world->source, VMM_MIGRATION_COMPLETED, 30);
	host_wait_status(&world->destination, VMM_MIGRATION_COMPLETED, 30);
	assert_true(continued.ok);
	assert_int_equal(host_run_state(&world->source), VMM_RUN_POSTMIGRATE);
	assert_int_equal(host_run_state(&world->destination), VMM_RUN_PAUSED);
	assert_false(world->destination.resumed);
	last_t = world->source.walker_t;

	host_cont(&world->destination);
	assert_true(vmm_announce_self(world->destination.vm, on_done, &announced, &err));
	host_check_guest(&world->destination, 5, 30);
	assert_true(world->destination.resumed && announced.ok);
	/* Nothing printed twice, nothing lost. */
	assert_int_equal(world->destination.walker_first_t, last_t + 1);
	printf("downtime %lld us\n", (long long)(world->destination.resume_at.monotonic_us -
						 world->source.stop_at.monotonic_us));
}

static void test_vm_migrates_with_multifd(void **state)
{
	World *world = *state;
	VmmMigration figures;

	host_start(&world->source);
	host_check_guest(&world->source, 2, 60);
	assert_int_equal(host_run_state(&world->source), VMM_RUN_RUNNING);
	host_prepare(&world->destination);
	assert_true(vmm_features(world->source.vm)->multifd);
	assert_true(vmm_features(world->source.vm)->late_block_activate);
	migrate_whole(world, 2);
	assert_int_equal(world->relays_count, 3);
	figures = host_migration(&world->source);
	assert_int_equal(figures.status, VMM_MIGRATION_COMPLETED);
	assert_true(figures.ram_transferred_bytes > 96 << 20);
	assert_true(figures.iteration >= 2);
	assert_string_equal(figures.error, "");
	host_end(&world->source);
	host_check_guest(&world->destination, 2, 30);
	assert_true(world->destination.walker_disk > 0);
	host_end(&world->destination);
}

static void test_destination_killed_leaves_source_running(void **state)
{
	World *world = *state;
	WantBytes some = { .world = world, .bytes = 16 << 20 };

	host_start(&world->source);
	host_check_guest(&world->source, 2, 60);
	host_prepare(&world->destination);
	world_migrate(world, 2, 20 << 20);
	host_wait_status(&world->source, VMM_MIGRATION_ACTIVE, 30);
	world_wait(world, has_transferred, &some, 30, "16 MiB went over");
	host_kill(&world->destination);
	host_wait_status(&world->source, VMM_MIGRATION_FAILED, 30);
	assert_int_equal(host_run_state(&world->source), VMM_RUN_RUNNING);
	assert_string_not_equal(host_migration(&world->source).error, "");
	host_check_guest(&world->source, 3, 30);
	host_end(&world->source);
}

static void test_cancel_and_try_again(void **state)
{
	World *world = *state;
	Call cancelled = { 0 }, resumed = { 0 };
	Error err = ERROR_INIT;

	host_start(&world->source);
	host_check_guest(&world->source, 2, 60);
	host_prepare(&world->destination);
	/* To run by itself once loaded would be a second copy. */
	assert_true(vmm_cont(world->destination.vm, on_done, &resumed, &err));
	world_wait(world, call_is_over, &resumed, 15, "cont is refused");
	assert_false(resumed.ok);
	assert_int_equal(resumed.err.category, ERROR_CONFLICT);
	world_migrate(world, 2, 20 << 20);
	host_wait_status(&world->source, VMM_MIGRATION_ACTIVE, 30);
	assert_true(vmm_cancel(world->source.vm, on_done, &cancelled, &err));
	host_wait_status(&world->source, VMM_MIGRATION_CANCELLED, 30);
	assert_int_equal(host_run_state(&world->source), VMM_RUN_RUNNING);
	host_kill(&world->destination);
	world_drop_relays(world);
	host_check_guest(&world->source, 2, 30);

	host_prepare(&world->destination);
	migrate_whole(world, 1);
	assert_int_equal(world->relays_count, 1);
	host_end(&world->source);
	host_end(&world->destination);
}

/* A cancel at the last instant gives the guest back. */
static void test_cancel_at_switchover(void **state)
{
	World *world = *state;
	Call cancelled = { 0 };
	Error err = ERROR_INIT;

	host_start(&world->source);
	host_check_guest(&world->source, 1, 60);
	host_prepare(&world->destination);
	world_migrate(world, 2, 0);
	host_wait_status(&world->source, VMM_MIGRATION_PRE_SWITCHOVER, 60);
	world->source.resumed = false;
	assert_true(vmm_cancel(world->source.vm, on_done, &cancelled, &err));
	host_wait_status(&world->source, VMM_MIGRATION_CANCELLED, 30);
	host_check_guest(&world->source, 2, 30);
	assert_int_equal(host_run_state(&world->source), VMM_RUN_RUNNING);
	assert_true(world->source.resumed);
}

static void test_vm_outlives_its_engine(void **state)
{
	World *world = *state;
	Host *host = &world->source;
	Call adopted = { 0 }, again = { 0 };
	Error err = ERROR_INIT;
	AUTO_RESOLVED_VM ResolvedVm vm = RESOLVED_VM_INIT;
	VmmStart start = { .resources = world->resources, .instance = "source", .vm = &vm,
			   .deadline_ms = 10000 };
	int64_t cpu_us = 0;
	pid_t pid;

	host_start(host);
	pid = vmm_pid(host->vm);
	assert_int_equal(getsid(pid), pid);
	vmm_free(host->vm);
	world_resolve(world, NULL, &vm);
	assert_null(vmm_start(&vmm_driver_qemu, world->base, &start, &host_events, host, on_done,
			      &again, &err));
	assert_int_equal(err.category, ERROR_CONFLICT);
	host->vm = vmm_adopt(&vmm_driver_qemu, world->base, world->resources, "source",
			     &host_events, host, on_run_state, &adopted, &err);
	assert_non_null(host->vm);
	world_wait(world, call_is_over, &adopted, 15, "the VM is adopted");
	assert_true(adopted.ok);
	assert_int_equal(adopted.state, VMM_RUN_RUNNING);
	assert_int_equal(vmm_pid(host->vm), pid);
	assert_true(vmm_features(host->vm)->multifd);
	assert_true(vmm_cpu_us(host->vm, &cpu_us, &err) && cpu_us > 0);
	host_check_guest(host, 2, 60);

	assert_true(vmm_kill(host->vm, &err));
	world_wait(world, host_has_exited, host, 15, "the VM is gone");
	/* Let go of by an engine that did not see the end. */
	assert_false(vmm_query_run_state(host->vm, on_run_state, &again, &err));
	host_kill(host);
	assert_null(vmm_adopt(&vmm_driver_qemu, world->base, world->resources, "source",
			      &host_events, host, on_run_state, &again, &err));
	assert_int_equal(err.category, ERROR_NOT_FOUND);
	assert_false(again.called);
}

static void test_qemu_refuses(void **state)
{
	World *world = *state;
	Host *host = &world->source;
	AUTO_RESOLVED_VM ResolvedVm vm;
	Call call = { 0 };
	Error err = ERROR_INIT;
	VmmStart start = { .resources = world->resources, .instance = "source", .vm = &vm,
			   .deadline_ms = 10000 };

	strcpy(world->file.manifest.cpu, "no-such-model");
	world_resolve(world, NULL, &vm);
	host->vm = vmm_start(&vmm_driver_qemu, world->base, &start, &host_events, host, on_done,
			     &call, &err);
	assert_non_null(host->vm);
	world_wait(world, host_has_exited, host, 15, "QEMU refuses");
	assert_true(call.called && !call.ok);
	assert_int_equal(call.err.category, ERROR_HYPERVISOR);
	assert_non_null(strstr(call.err.text, "no-such-model"));
	assert_non_null(strstr(host->cause.text, "ended with status 1"));
}

static void test_qemu_is_missing(void **state)
{
	World *world = *state;
	Host *host = &world->source;
	AUTO_RESOLVED_VM ResolvedVm vm;
	Call call = { 0 };
	Error err = ERROR_INIT;
	VmmStart start = { .resources = world->resources, .instance = "source", .vm = &vm,
			   .deadline_ms = 10000 };

	strcpy(world->resources->qemu_path, "/nonexistent/qemu");
	world_resolve(world, NULL, &vm);
	assert_null(vmm_start(&vmm_driver_qemu, world->base, &start, &host_events, host, on_done,
			      &call, &err));
	assert_int_equal(err.category, ERROR_CONFIG);
	assert_non_null(strstr(err.text, "/nonexistent/qemu"));
	assert_false(call.called);
}

/* Whoever lets go in the middle hears of everything that was pending, once. */
static void test_free_tells_what_is_pending(void **state)
{
	World *world = *state;
	Host *host = &world->source;
	AUTO_RESOLVED_VM ResolvedVm vm;
	Call call = { 0 }, adopted = { 0 };
	Error err = ERROR_INIT;
	VmmStart start = { .resources = world->resources, .instance = "source", .vm = &vm,
			   .deadline_ms = 10000 };

	world_resolve(world, NULL, &vm);
	host->vm = vmm_start(&vmm_driver_qemu, world->base, &start, &host_events, host, on_done,
			     &call, &err);
	assert_non_null(host->vm);
	vmm_free(host->vm);
	assert_true(call.called && !call.ok);
	assert_int_equal(call.err.category, ERROR_CANCELLED);
	host->vm = vmm_adopt(&vmm_driver_qemu, world->base, world->resources, "source",
			     &host_events, host, on_run_state, &adopted, &err);
	assert_non_null(host->vm);
	world_wait(world, call_is_over, &adopted, 15, "the VM is adopted");
	assert_true(adopted.ok);
	assert_int_equal(adopted.state, VMM_RUN_PRELAUNCH);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_vm_migrates_with_multifd, world_setup,
						world_teardown),
		cmocka_unit_test_setup_teardown(test_destination_killed_leaves_source_running,
						world_setup, world_teardown),
		cmocka_unit_test_setup_teardown(test_cancel_and_try_again, world_setup,
						world_teardown),
		cmocka_unit_test_setup_teardown(test_cancel_at_switchover, world_setup,
						world_teardown),
		cmocka_unit_test_setup_teardown(test_vm_outlives_its_engine, world_setup,
						world_teardown),
		cmocka_unit_test_setup_teardown(test_qemu_refuses, world_setup, world_teardown),
		cmocka_unit_test_setup_teardown(test_qemu_is_missing, world_setup, world_teardown),
		cmocka_unit_test_setup_teardown(test_free_tells_what_is_pending, world_setup,
						world_teardown),
	};

	if (world_is_impossible())
		return 77;
	/* The relay writes to QEMUs that were killed. */
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
