/* SPDX-License-Identifier: Apache-2.0 */
/* VMs on encrypted images, with real QEMUs: what opens them, what is left of the secret, and how
 * long the guest stands still when it moves. */
#include "luks_pool.h"
#include "vm_fixture.h"

#include <dirent.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "vmm/image_create.h"
#include "vmm/qemu_vm.h"

enum {
	IMAGE_MAX_BYTES = 32 << 20,
	/* Of images made with the default of QEMU it is above 2 s; without encryption 0.1 s. */
	STILL_MAX_US = 1500000,
};

static int setup_raw(void **state)
{
	return luks_pool_setup_world(state, 0);
}

static int setup_qcow2(void **state)
{
	return luks_pool_setup_world(state, 1);
}

/* --- tests -------------------------------------------------------------------------------------
 */

static void test_stop_and_start(void **state)
{
	World *world = *state;

	host_start(&world->source);
	host_check_guest(&world->source, 3, 60);
	assert_true(world->source.walker_disk > 0);
	luks_pool_check_no_trace(&world->source, 2);
	host_end(&world->source);
	luks_pool_check_image(world, 0);
	host_start(&world->source);
	host_check_guest(&world->source, 1, 60);
	host_end(&world->source);
}

/* The gap that the guest feels: QEMU derives the key anew when it activates a qcow2 image. */
static void test_migrates(void **state)
{
	World *world = *state;
	Call continued = { 0 };
	Error err = ERROR_INIT;
	int64_t still_us;

	host_start(&world->source);
	host_check_guest(&world->source, 2, 60);
	host_prepare(&world->destination);
	luks_pool_check_no_trace(&world->destination, 2);
	world_migrate(world, 2, 0);
	host_wait_status(&world->source, VMM_MIGRATION_PRE_SWITCHOVER, 60);
	assert_true(vmm_continue_switchover(world->source.vm, on_done, &continued, &err));
	host_wait_status(&world->source, VMM_MIGRATION_COMPLETED, 30);
	host_wait_status(&world->destination, VMM_MIGRATION_COMPLETED, 30);
	host_cont(&world->destination);
	host_check_guest(&world->destination, 3, 30);
	still_us = world->destination.resume_at.monotonic_us - world->source.stop_at.monotonic_us;
	printf("the guest stood still for %lld us\n", (long long)still_us);
	assert_true(still_us > 0 && still_us < STILL_MAX_US);
	assert_true(world->destination.walker_disk > 0);
	host_end(&world->source);
	host_check_guest(&world->destination, 1, 30);
	host_end(&world->destination);
	luks_pool_check_image(world, world->file.manifest.disks[0].format == DISK_QCOW2 ? 1 : 0);
}

/* Undone at the last instant, the source still opens its images. */
static void test_undone_at_switchover(void **state)
{
	World *world = *state;
	Call cancelled = { 0 };
	Error err = ERROR_INIT;

	host_start(&world->source);
	host_check_guest(&world->source, 1, 60);
	host_prepare(&world->destination);
	world_migrate(world, 2, 0);
	host_wait_status(&world->source, VMM_MIGRATION_PRE_SWITCHOVER, 60);
	assert_true(vmm_cancel(world->source.vm, on_done, &cancelled, &err));
	host_wait_status(&world->source, VMM_MIGRATION_CANCELLED, 30);
	host_check_guest(&world->source, 2, 30);
	host_end(&world->source);
}

/* A completed migration that the destination did not take up: the source goes on. */
static void test_undone_after_completion(void **state)
{
	World *world = *state;
	Call continued = { 0 };
	Error err = ERROR_INIT;

	host_start(&world->source);
	host_check_guest(&world->source, 1, 60);
	host_prepare(&world->destination);
	world_migrate(world, 1, 0);
	host_wait_status(&world->source, VMM_MIGRATION_PRE_SWITCHOVER, 60);
	assert_true(vmm_continue_switchover(world->source.vm, on_done, &continued, &err));
	host_wait_status(&world->source, VMM_MIGRATION_COMPLETED, 30);
	host_kill(&world->destination);
	world_drop_relays(world);
	host_cont(&world->source);
	host_check_guest(&world->source, 2, 30);
	host_end(&world->source);
}

static void start_fails(World *world, ResolvedVm *vm, const char *text)
{
	Host *host = &world->source;
	Call call = { 0 };
	Error err = ERROR_INIT;
	VmmStart start = {
		.resources = world->resources, .instance = "source", .vm = vm, .deadline_ms = 20000
	};

	host->vm = vmm_start(&vmm_driver_qemu, world->base, &start, &host_events, host, on_done,
			     &call, &err);
	if (!host->vm)
		fail_msg("%s", err.text);
	world_wait(world, host_has_exited, host, 20, "QEMU refuses");
	assert_true(call.called && !call.ok && !host->resumed);
	assert_int_equal(call.err.category, ERROR_HYPERVISOR);
	if (!strstr(call.err.text, text))
		fail_msg("%s", call.err.text);
	host_kill(host);
}

static void start_is_refused(World *world, ResolvedVm *vm, const char *text)
{
	Host *host = &world->source;
	Call call = { 0 };
	Error err = ERROR_INIT;
	VmmStart start = {
		.resources = world->resources, .instance = "source", .vm = vm, .deadline_ms = 20000
	};

	assert_null(vmm_start(&vmm_driver_qemu, world->base, &start, &host_events, host, on_done,
			      &call, &err));
	assert_int_equal(err.category, ERROR_USAGE);
	if (!strstr(err.text, text))
		fail_msg("%s", err.text);
	assert_false(call.called);
}

static void test_wrong_secret(void **state)
{
	World *world = *state;
	AUTO_RESOLVED_VM ResolvedVm vm;

	world->passphrases[0] = "BbCdEfGhIjKlMnOpQrStUvWxYz0123456789+/AbCdE=";
	world_resolve(world, NULL, &vm);
	start_fails(world, &vm, "Invalid password, cannot unlock any keyslot");
	/* The right one still opens it. */
	world->passphrases[0] =
		luks_pool_images[world->file.manifest.disks[0].format == DISK_QCOW2].passphrase;
	host_start(&world->source);
	host_end(&world->source);
}

static void replace_secret(ResolvedVm *vm, int fd)
{
	if (vm->disks[1].secret_fd >= 0)
		close(vm->disks[1].secret_fd);
	vm->disks[1].secret_fd = fd;
}

static int empty_memory(void)
{
	int fd = memfd_create("empty", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_FUTURE_WRITE),
			 0);
	return fd;
}

static void test_missing_secrets(void **state)
{
	World *world = *state;
	AUTO_RESOLVED_VM ResolvedVm vm;

	world_resolve(world, NULL, &vm);
	replace_secret(&vm, -1);
	start_is_refused(world, &vm, "disk 1 is encrypted, and there is no secret for it");
	replace_secret(&vm, empty_memory());
	start_is_refused(world, &vm, "disk 1: the secret has 0 bytes, not 44");
	replace_secret(&vm, open("/dev/null", O_RDONLY | O_CLOEXEC));
	start_is_refused(world, &vm, "disk 1: the secret is not in sealed memory");
	/* Wiped too early. */
	replace_secret(&vm, fcntl(vm.disks[0].secret_fd, F_DUPFD_CLOEXEC, 3));
	world_wipe_secrets(world);
	start_is_refused(world, &vm, "disk 0: the secret is no base64 text");
	resolved_vm_close(&vm);
	/* QEMU may not open it. */
	world_resolve(world, NULL, &vm);
	assert_int_equal(fchmod(vm.disks[1].secret_fd, 0), 0);
	start_fails(world, &vm, "Permission denied");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_stop_and_start, setup_raw, world_teardown),
		cmocka_unit_test_setup_teardown(test_migrates, setup_qcow2, world_teardown),
		cmocka_unit_test_setup_teardown(test_migrates, setup_raw, world_teardown),
		cmocka_unit_test_setup_teardown(test_undone_at_switchover, setup_qcow2,
						world_teardown),
		cmocka_unit_test_setup_teardown(test_undone_after_completion, setup_qcow2,
						world_teardown),
		cmocka_unit_test_setup_teardown(test_wrong_secret, setup_raw, world_teardown),
		cmocka_unit_test_setup_teardown(test_wrong_secret, setup_qcow2, world_teardown),
		cmocka_unit_test_setup_teardown(test_missing_secrets, setup_raw, world_teardown),
	};

	if (world_is_impossible())
		return 77;
	/* The relay writes to QEMUs that were killed. */
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, luks_pool_make, luks_pool_remove);
}
