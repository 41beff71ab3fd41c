/* SPDX-License-Identifier: Apache-2.0 */
/* Disks that are opened after their VM was prepared, while the source still runs on them: with real
 * QEMUs and a guest that writes, reads and checks. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "luks_pool.h"
#include "vmm/feature_cache.h"

enum { START_MS = 30000 };

static int setup_raw_luks(void **state)
{
	return luks_pool_setup_world(state, 0);
}

static int setup_qcow2_luks(void **state)
{
	return luks_pool_setup_world(state, 1);
}

/* disk0 is what the guest writes. */
static int setup_qcow2(void **state)
{
	World *world;
	ManifestDisk *disks, first;

	assert_int_equal(world_setup(state), 0);
	world = *state;
	disks = world->file.manifest.disks;
	first = disks[0];
	disks[0] = disks[1];
	disks[1] = first;
	return 0;
}

static void mark_late(ResolvedVm *vm)
{
	for (size_t i = 0; i < vm->manifest.disks_count; i++)
		vm->disks[i].late = true;
}

/* As a host does that has neither image nor key yet. */
static void take_disks_away(ResolvedVm *vm)
{
	mark_late(vm);
	for (size_t i = 0; i < vm->manifest.disks_count; i++) {
		close(vm->disks[i].fd);
		if (vm->disks[i].secret_fd >= 0)
			close(vm->disks[i].secret_fd);
		vm->disks[i].fd = vm->disks[i].secret_fd = -1;
	}
}

static void begin_to_prepare(Host *host, ResolvedVm *vm, Call *call)
{
	Error err = ERROR_INIT;
	VmmStart start = { .resources = host->world->resources,
			   .instance = host->name,
			   .vm = vm,
			   .deadline_ms = START_MS };

	host->vm = vmm_prepare_incoming(&vmm_driver_qemu, host->world->base, &start, &host_events,
					host, on_prepared, call, &err);
	if (!host->vm)
		fail_msg("%s", err.text);
	world_wait(host->world, call_is_over, call, 30, "the VM is prepared");
}

static void prepare_without_disks(Host *host)
{
	AUTO_RESOLVED_VM ResolvedVm vm;
	Call call = { 0 };

	world_resolve(host->world, "north.example", &vm);
	take_disks_away(&vm);
	world_wipe_secrets(host->world);
	begin_to_prepare(host, &vm, &call);
	if (!call.ok)
		fail_msg("%s", call.err.text);
	host_listen_to_guest(host);
}

static void open_late(Host *host, Call *call)
{
	AUTO_RESOLVED_VM ResolvedVm vm;
	Error err = ERROR_INIT;

	world_resolve(host->world, "north.example", &vm);
	mark_late(&vm);
	if (!vmm_open_disks(host->vm, &vm, on_done, call, &err))
		fail_msg("%s", err.text);
	/* What QEMU gets are descriptors of its own. */
	resolved_vm_close(&vm);
	world_wait(host->world, call_is_over, call, 30, "the disks are open");
	world_wipe_secrets(host->world);
}

static void fails_with(const Call *call, ErrorCategory category, const char *text)
{
	assert_true(call->called && !call->ok);
	if (call->err.category != category || !strstr(call->err.text, text))
		fail_msg("category %d: %s", call->err.category, call->err.text);
}

static void complete(World *world)
{
	Call continued = { 0 };
	Error err = ERROR_INIT;

	host_wait_status(&world->source, VMM_MIGRATION_PRE_SWITCHOVER, 60);
	assert_true(vmm_continue_switchover(world->source.vm, on_done, &continued, &err));
	host_wait_status(&world->source, VMM_MIGRATION_COMPLETED, 30);
	host_wait_status(&world->destination, VMM_MIGRATION_COMPLETED, 30);
}

static bool is_encrypted(const World *world)
{
	return world->file.manifest.disks[0].encryption == DISK_LUKS;
}

/* --- tests --- */

/* The source runs on its images, locked, while the destination opens them. */
static void test_opened_before_the_stream(void **state)
{
	World *world = *state;
	Call call = { 0 };

	host_start(&world->source);
	host_check_guest(&world->source, 2, 60);
	prepare_without_disks(&world->destination);
	open_late(&world->destination, &call);
	if (!call.ok)
		fail_msg("%s", call.err.text);
	if (is_encrypted(world))
		luks_pool_check_no_trace(&world->destination, 0);
	world_migrate(world, 2, 0);
	complete(world);
	host_cont(&world->destination);
	host_check_guest(&world->destination, 3, 30);
	assert_true(world->destination.walker_disk > world->source.walker_disk);
	host_end(&world->source);
	host_check_guest(&world->destination, 1, 30);
	host_end(&world->destination);
	if (is_encrypted(world))
		luks_pool_check_image(world, world->file.manifest.disks[0].format == DISK_QCOW2);
}

/* As after a copy, which is complete only when the source's guest has stopped. */
static void test_opened_at_switchover(void **state)
{
	World *world = *state;
	Call call = { 0 }, again = { 0 };

	host_start(&world->source);
	host_check_guest(&world->source, 2, 60);
	prepare_without_disks(&world->destination);
	world_migrate(world, 1, 0);
	host_wait_status(&world->source, VMM_MIGRATION_PRE_SWITCHOVER, 60);
	open_late(&world->destination, &call);
	if (!call.ok)
		fail_msg("%s", call.err.text);
	complete(world);
	/* Too late: it would be active beside the source. */
	open_late(&world->destination, &again);
	fails_with(&again, ERROR_CONFLICT, "the VM is paused, not inmigrate");
	host_cont(&world->destination);
	host_check_guest(&world->destination, 3, 30);
	host_end(&world->source);
	host_check_guest(&world->destination, 1, 30);
	host_end(&world->destination);
}

/* Nothing of it is left to hurt: the source goes on with its disks. */
static void test_wrong_secret(void **state)
{
	World *world = *state;
	const char *right = world->passphrases[1];
	Call call = { 0 };

	host_start(&world->source);
	host_check_guest(&world->source, 1, 60);
	prepare_without_disks(&world->destination);
	world->passphrases[1] = "BbCdEfGhIjKlMnOpQrStUvWxYz0123456789+/AbCdE=";
	open_late(&world->destination, &call);
	world->passphrases[1] = right;
	fails_with(&call, ERROR_HYPERVISOR,
		   "disk 1: blockdev-add: Invalid password, cannot unlock any keyslot");
	host_kill(&world->destination);
	host_check_guest(&world->source, 2, 30);
	host_end(&world->source);
	luks_pool_check_image(world, world->file.manifest.disks[0].format == DISK_QCOW2);
}

/* An image that the manifest calls by another format. */
static void test_wrong_format(void **state)
{
	World *world = *state;
	AUTO_RESOLVED_VM ResolvedVm vm;
	Call call = { 0 };
	Error err = ERROR_INIT;

	prepare_without_disks(&world->destination);
	world_resolve(world, "north.example", &vm);
	mark_late(&vm);
	vm.manifest.disks[0].format = DISK_QCOW2;
	assert_true(vmm_open_disks(world->destination.vm, &vm, on_done, &call, &err));
	world_wait(world, call_is_over, &call, 30, "QEMU refuses");
	fails_with(&call, ERROR_HYPERVISOR, "disk 0: blockdev-add: Image is not in qcow2 format");
	host_kill(&world->destination);
}

static void test_missing(void **state)
{
	World *world = *state;
	Host *host = &world->destination;
	AUTO_RESOLVED_VM ResolvedVm vm;
	Call call = { 0 };
	Error err = ERROR_INIT;

	prepare_without_disks(host);
	world_resolve(world, "north.example", &vm);
	mark_late(&vm);
	close(vm.disks[1].secret_fd);
	vm.disks[1].secret_fd = -1;
	assert_false(vmm_open_disks(host->vm, &vm, on_done, &call, &err));
	assert_int_equal(err.category, ERROR_USAGE);
	assert_string_equal(err.text, "disk 1 is encrypted, and there is no secret for it");
	close(vm.disks[0].fd);
	vm.disks[0].fd = -1;
	assert_false(vmm_open_disks(host->vm, &vm, on_done, &call, &err));
	assert_string_equal(err.text, "disk 0 has no image yet");
	assert_false(call.called);
	/* None is asked for, none is opened. */
	vm.disks[0].late = vm.disks[1].late = false;
	assert_true(vmm_open_disks(host->vm, &vm, on_done, &call, &err));
	world_wait(world, call_is_over, &call, 30, "nothing is opened");
	assert_true(call.ok);
	host_kill(host);
}

/* Not of a VM that runs at once, and not by a QEMU that cannot. */
static void test_refused(void **state)
{
	World *world = *state;
	Host *host = &world->destination;
	AUTO_RESOLVED_VM ResolvedVm vm;
	Call call = { 0 }, prepared = { 0 };
	Error err = ERROR_INIT;
	VmmStart start = { .resources = world->resources,
			   .instance = host->name,
			   .vm = &vm,
			   .deadline_ms = START_MS };
	struct stat program;
	VmmFeatures features;

	prepare_without_disks(host);
	host_kill(host);
	world_resolve(world, "north.example", &vm);
	vm.disks[1].late = true;
	assert_null(vmm_start(&vmm_driver_qemu, world->base, &start, &host_events, host, on_done,
			      &call, &err));
	assert_string_equal(err.text, "disk 1 cannot come later than its VM's start");
	assert_int_equal(stat(world->resources->qemu_path, &program), 0);
	assert_true(feature_cache_find(world->resources->feature_cache, &program, &features));
	assert_true(features.late_disks);
	features.late_disks = false;
	feature_cache_keep(world->resources->feature_cache, &program, &features);
	begin_to_prepare(host, &vm, &prepared);
	fails_with(&prepared, ERROR_UNAVAILABLE, "this QEMU cannot open a disk late");
	host_kill(host);
	assert_false(call.called);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_opened_before_the_stream, world_setup,
						world_teardown),
		cmocka_unit_test_setup_teardown(test_opened_before_the_stream, setup_qcow2,
						world_teardown),
		cmocka_unit_test_setup_teardown(test_opened_before_the_stream, setup_raw_luks,
						world_teardown),
		cmocka_unit_test_setup_teardown(test_opened_before_the_stream, setup_qcow2_luks,
						world_teardown),
		cmocka_unit_test_setup_teardown(test_opened_at_switchover, setup_raw_luks,
						world_teardown),
		cmocka_unit_test_setup_teardown(test_opened_at_switchover, setup_qcow2_luks,
						world_teardown),
		cmocka_unit_test_setup_teardown(test_wrong_secret, setup_raw_luks, world_teardown),
		cmocka_unit_test_setup_teardown(test_wrong_secret, setup_qcow2_luks,
						world_teardown),
		cmocka_unit_test_setup_teardown(test_wrong_format, world_setup, world_teardown),
		cmocka_unit_test_setup_teardown(test_missing, setup_raw_luks, world_teardown),
		cmocka_unit_test_setup_teardown(test_refused, world_setup, world_teardown),
	};

	if (world_is_impossible())
		return 77;
	/* The relay writes to QEMUs that were killed. */
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, luks_pool_make, luks_pool_remove);
}
