/* SPDX-License-Identifier: Apache-2.0 */
/* Disks that are copied while their guest writes them: real VMs, real storage daemons, a relay for
 * each disk in between. The guest checks what it reads, qemu-img compares. */
#include <event2/event.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "luks_pool.h"
#include "mirror_fixture.h"
#include "vmm/image_create.h"

/* `-U`: the source's QEMU has it locked; its guest stands still. */
static bool is_same(const char *one, const char *format, const char *other)
{
	char program[] = IMAGE_CREATE_PROGRAM, command[] = "compare", quiet[] = "-q",
	     shared[] = "-U", f[] = "-f", other_f[] = "-F", raw[] = "raw";
	char one_path[PATH_BYTES], one_format[8], other_path[PATH_BYTES];
	char *argv[] = { program, command, quiet,    shared,	 f,   one_format,
			 other_f, raw,	   one_path, other_path, NULL };
	int status = -1;
	pid_t pid;

	snprintf(one_path, sizeof(one_path), "%s", one);
	snprintf(one_format, sizeof(one_format), "%s", format);
	snprintf(other_path, sizeof(other_path), "%s", other);
	assert_int_equal(posix_spawn(&pid, argv[0], NULL, NULL, argv, NULL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return !status;
}

static void check_plain_copies(const Copy *copy)
{
	char path[PATH_BYTES], to[PATH_BYTES];
	struct stat status;

	snprintf(path, sizeof(path), "%s/vm1.raw", copy->world->directory);
	copy_path(copy, 0, to);
	assert_true(is_same(path, "raw", to));
	snprintf(path, sizeof(path), "%s/vm1.qcow2", copy->world->directory);
	copy_path(copy, 1, to);
	assert_true(is_same(path, "qcow2", to));
	/* Nobody wrote the second one: it has no block. */
	assert_int_equal(stat(to, &status), 0);
	printf("%lld of %d bytes are allocated for the copy of an empty disk\n",
	       (long long)status.st_blocks * 512, DISK_BYTES);
	assert_true(status.st_blocks * 512 < DISK_BYTES / 16);
}

static void prepare_without_disks(Copy *copy)
{
	Host *host = &copy->world->destination;
	AUTO_RESOLVED_VM ResolvedVm vm;
	Call call = { 0 };
	Error err = ERROR_INIT;
	VmmStart start = { .resources = copy->world->resources,
			   .instance = host->name,
			   .vm = &vm,
			   .deadline_ms = START_MS };

	world_resolve(copy->world, "north.example", &vm);
	for (size_t i = 0; i < DISKS; i++)
		vm.disks[i].late = true;
	host->vm = vmm_prepare_incoming(&vmm_driver_qemu, copy->world->base, &start, &host_events,
					host, on_prepared, &call, &err);
	if (!host->vm)
		fail_msg("%s", err.text);
	world_wait(copy->world, call_is_over, &call, 30, "the VM is prepared");
	if (!call.ok)
		fail_msg("%s", call.err.text);
	host_listen_to_guest(host);
}

static void open_copies(Copy *copy)
{
	Call call = { 0 };
	Error err = ERROR_INIT;

	assert_true(
		vmm_open_disks(copy->world->destination.vm, &copy->target, on_done, &call, &err));
	world_wait(copy->world, call_is_over, &call, 15, "the copies are open");
	if (!call.ok)
		fail_msg("%s", call.err.text);
}

/* --- tests --- */

/* The whole way of a VM without shared storage. */
static void test_moves_with_memory(void **state)
{
	Copy *copy = *state;
	World *world = copy->world;
	Call continued = { 0 };
	Error err = ERROR_INIT;
	Asked asked;
	int64_t began_us, took_us;

	copy_start_source(copy);
	copy_serve_all(copy);
	prepare_without_disks(copy);
	copy_all(copy, &world->source, DISKS);
	asked = copy_ask(copy, &world->source);
	for (size_t i = 0; i < DISKS; i++)
		assert_true(asked.ok && asked.progress.disks[i].there &&
			    asked.progress.disks[i].ready);
	assert_true(asked.progress.disks[0].done_bytes >= DISK_BYTES);
	assert_false(asked.progress.disks[2].there);
	/* The guest goes on writing. */
	host_check_guest(&world->source, 3, 30);
	world_migrate(world, 2, 0);
	host_wait_status(&world->source, VMM_MIGRATION_PRE_SWITCHOVER, 60);
	began_us = clock_monotonic_us(&clock_system);
	copy_finish(copy, &world->source, 3);
	for (size_t i = 0; i < DISKS; i++)
		way_stop_daemon(&copy->ways[i]);
	took_us = clock_monotonic_us(&clock_system) - began_us;
	if (!copy->encrypted)
		check_plain_copies(copy);
	began_us = clock_monotonic_us(&clock_system);
	open_copies(copy);
	printf("of the time that the guest stands still, disks took %lld us to end, %lld to open\n",
	       (long long)took_us, (long long)(clock_monotonic_us(&clock_system) - began_us));
	assert_true(vmm_continue_switchover(world->source.vm, on_done, &continued, &err));
	host_wait_status(&world->source, VMM_MIGRATION_COMPLETED, 30);
	host_wait_status(&world->destination, VMM_MIGRATION_COMPLETED, 30);
	host_cont(&world->destination);
	host_check_guest(&world->destination, 3, 30);
	assert_true(world->destination.walker_disk > world->source.walker_disk);
	host_end(&world->source);
	host_check_guest(&world->destination, 1, 30);
	host_end(&world->destination);
}

/* Given up at each point: the guest goes on, and it can be tried again. */
static void test_aborted(void **state)
{
	Copy *copy = *state;
	World *world = copy->world;
	Call begun = { 0 }, cancelled = { 0 };
	Error err = ERROR_INIT;

	copy_start_source(copy);
	copy_abort(copy, &world->source);
	/* In the middle. */
	copy_serve_all(copy);
	copy_begin(copy, &world->source, DISKS, SLOW_BYTES_S, 60000, &begun);
	host_check_guest(&world->source, 2, 30);
	assert_false(begun.called);
	assert_false(copy_ask(copy, &world->source).progress.disks[0].ready);
	copy_abort(copy, &world->source);
	assert_true(begun.called && !begun.ok);
	assert_false(copy_ask(copy, &world->source).progress.disks[0].there);
	/* When it is ready. */
	copy_serve_all(copy);
	copy_all(copy, &world->source, DISKS);
	copy_abort(copy, &world->source);
	host_check_guest(&world->source, 2, 30);
	/* When the guest has stopped, and the last blocks are there. */
	copy_serve_all(copy);
	prepare_without_disks(copy);
	copy_all(copy, &world->source, DISKS);
	world_migrate(world, 1, 0);
	host_wait_status(&world->source, VMM_MIGRATION_PRE_SWITCHOVER, 60);
	copy_finish(copy, &world->source, 3);
	assert_true(vmm_cancel(world->source.vm, on_done, &cancelled, &err));
	host_wait_status(&world->source, VMM_MIGRATION_CANCELLED, 30);
	copy_abort(copy, &world->source);
	host_check_guest(&world->source, 3, 30);
	host_end(&world->source);
}

/* One that goes away; the other disk's mirror is not touched by it until it is aborted. */
static void test_target_goes_down(void **state)
{
	Copy *copy = *state;
	World *world = copy->world;
	Call begun = { 0 }, finished = { 0 };
	Error err = ERROR_INIT;

	copy_start_source(copy);
	copy_serve_all(copy);
	/* The pace of a mirror is that at which it notices. */
	copy_begin(copy, &world->source, DISKS, DISK_BYTES / 2, 60000, &begun);
	host_check_guest(&world->source, 1, 30);
	assert_false(begun.called);
	way_kill_daemon(&copy->ways[0]);
	world_wait(world, call_is_over, &begun, 30, "the mirror fails");
	call_fails_with(&begun, ERROR_HYPERVISOR, "disk 0: the mirror ended: Input/output error");
	copy_abort(copy, &world->source);
	host_check_guest(&world->source, 2, 30);
	/* When it was ready: who looks is told, and no end of it is one in sync. */
	copy_serve_all(copy);
	copy_all(copy, &world->source, DISKS);
	way_kill_daemon(&copy->ways[0]);
	host_check_guest(&world->source, 3, 30);
	assert_false(copy_ask(copy, &world->source).ok);
	assert_true(disk_mirror_finish(world->source.vm, 3, 10000, on_done, &finished, &err));
	world_wait(world, call_is_over, &finished, 15, "the mirrors do not end well");
	call_fails_with(&finished, ERROR_HYPERVISOR, "disk 0: the mirror ended:");
	copy_abort(copy, &world->source);
	host_check_guest(&world->source, 2, 30);
	host_end(&world->source);
}

static void test_not_ready(void **state)
{
	Copy *copy = *state;
	World *world = copy->world;
	Call begun = { 0 }, finished = { 0 }, none = { 0 };
	Error err = ERROR_INIT;

	copy_start_source(copy);
	copy_serve_all(copy);
	copy_begin(copy, &world->source, DISKS, SLOW_BYTES_S, 1000, &begun);
	world_wait(world, call_is_over, &begun, 30, "it takes too long");
	call_fails_with(&begun, ERROR_TIMEOUT, "query-block-jobs: not in time");
	assert_true(disk_mirror_finish(world->source.vm, 3, 10000, on_done, &finished, &err));
	world_wait(world, call_is_over, &finished, 15, "finish refuses");
	call_fails_with(&finished, ERROR_CONFLICT, "a mirror is not ready");
	/* It was not touched by that. */
	assert_true(copy_ask(copy, &world->source).progress.disks[0].there);
	copy_abort(copy, &world->source);
	assert_true(disk_mirror_finish(world->source.vm, 1, 10000, on_done, &none, &err));
	world_wait(world, call_is_over, &none, 15, "finish refuses");
	call_fails_with(&none, ERROR_HYPERVISOR, "disk 0: there is no mirror of it");
	host_check_guest(&world->source, 1, 30);
	host_end(&world->source);
}

/* Neither the guest nor an abort waits for it: with requests that it never answers, and without. */
static void test_target_hangs(void **state)
{
	Copy *copy = *state;
	World *world = copy->world;

	copy_start_source(copy);
	for (int ready = 0; ready < 2; ready++) {
		Call begun = { 0 }, aborted = { 0 };

		way_serve(&copy->ways[0], 0, false);
		copy_begin(copy, &world->source, 1, ready ? 0 : SLOW_BYTES_S, 60000, &begun);
		if (ready)
			world_wait(world, call_is_over, &begun, 30, "the disks are the same");
		else
			host_check_guest(&world->source, 2, 30);
		assert_int_equal(begun.ok, ready);
		assert_non_null(copy->ways[0].relay);
		relay_stall(copy->ways[0].relay);
		copy_abort_with(copy, &world->source, ABORT_MS, &aborted);
		if (!aborted.ok)
			fail_msg("%s", aborted.err.text);
		assert_true(begun.called);
		copy_abort(copy, &world->source);
		host_check_guest(&world->source, 2, 30);
	}
	host_end(&world->source);
}

static void test_not_to_be_reached(void **state)
{
	Copy *copy = *state;
	World *world = copy->world;
	Call hung_up = { 0 }, other_name = { 0 };

	copy_start_source(copy);
	copy->ways[0].hangs_up = true;
	copy_begin(copy, &world->source, 1, 0, 10000, &hung_up);
	world_wait(world, call_is_over, &hung_up, 15, "the target hangs up");
	call_fails_with(&hung_up, ERROR_HYPERVISOR, "disk 0: blockdev-add: ");
	copy_abort(copy, &world->source);
	copy->ways[0].hangs_up = false;
	/* A daemon that serves another export. */
	way_serve(&copy->ways[0], 0, false);
	{
		DiskMirrorStart start = { .disks_count = 1, .deadline_ms = 10000 };
		Error err = ERROR_INIT;

		start.disks[0] =
			(DiskMirror){ .socket = copy->ways[0].socket, .export_name = "other" };
		way_open(&copy->ways[0], world->source.vm);
		assert_true(
			disk_mirror_start(world->source.vm, &start, on_done, &other_name, &err));
	}
	world_wait(world, call_is_over, &other_name, 15, "there is no such export");
	call_fails_with(&other_name, ERROR_HYPERVISOR,
			"disk 0: blockdev-add: Requested export not available");
	copy_abort(copy, &world->source);
	host_check_guest(&world->source, 1, 30);
	host_end(&world->source);
}

static void refuses(Copy *copy, const DiskMirrorStart *start, const char *text)
{
	Call call = { 0 };
	Error err = ERROR_INIT;

	assert_false(disk_mirror_start(copy->ways[0].daemon.vm, start, on_done, &call, &err));
	assert_int_equal(err.category, ERROR_USAGE);
	if (!strstr(err.text, text))
		fail_msg("%s", err.text);
	assert_false(call.called);
}

static void test_refused(void **state)
{
	Copy *copy = *state;
	DiskMirrorStart start = { .deadline_ms = 1000 };

	way_serve(&copy->ways[0], 0, false);
	refuses(copy, &start, "0 disks to mirror");
	start.disks_count = LIMIT_DISKS + 1;
	refuses(copy, &start, "9 disks to mirror");
	start.disks_count = 1;
	start.disks[0] = (DiskMirror){ .socket = "../x", .export_name = "copy" };
	refuses(copy, &start, "is no name");
	start.disks[0] = (DiskMirror){ .socket = "x", .export_name = "" };
	refuses(copy, &start, "is no name");
	start.disks[0].disk = LIMIT_DISKS;
	refuses(copy, &start, "disk 8: no disk, or twice");
	start.disks_count = 2;
	start.disks[0] = start.disks[1] = (DiskMirror){ .socket = "x", .export_name = "copy" };
	refuses(copy, &start, "disk 0: no disk, or twice");
	way_stop_daemon(&copy->ways[0]);
}

/* A target without room: the source does not notice. */
static void test_full(void **state)
{
	Copy *copy = *state;
	World *world = copy->world;
	char small[PATH_BYTES], image[PATH_BYTES];
	Call begun = { 0 };

	snprintf(small, sizeof(small), "%s/small", world->directory);
	snprintf(image, sizeof(image), "%.300s/image", small);
	assert_int_equal(mkdir(small, 0700), 0);
	if (mount("none", small, "tmpfs", 0, "size=2m")) {
		print_message("skipped: no file system of its own\n");
		assert_int_equal(rmdir(small), 0);
		skip();
	}
	close(copy->target.disks[0].fd);
	copy->target.disks[0].fd = open(image, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(ftruncate(copy->target.disks[0].fd, DISK_BYTES), 0);
	copy_start_source(copy);
	copy_serve_all(copy);
	copy_begin(copy, &world->source, DISKS, 0, 30000, &begun);
	world_wait(world, call_is_over, &begun, 30, "the target is full");
	call_fails_with(&begun, ERROR_HYPERVISOR,
			"disk 0: the mirror ended: No space left on device");
	copy_abort(copy, &world->source);
	host_check_guest(&world->source, 2, 30);
	host_end(&world->source);
	close(TAKE_FD(copy->target.disks[0].fd));
	assert_int_equal(umount(small), 0);
	assert_int_equal(rmdir(small), 0);
}

/* Ciphertext only: two daemons, neither of which has a key. */
static void test_sealed(void **state)
{
	Copy *copy = *state;
	World *world = copy->world;
	char image[PATH_BYTES], to[PATH_BYTES];
	struct stat status;

	copy_path(copy, 0, image);
	snprintf(to, sizeof(to), "%s/sealed", world->directory);
	way_serve(&copy->ways[1], 0, true);
	close(copy->target.disks[0].fd);
	copy->target.disks[0].fd = open(to, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(stat(image, &status), 0);
	assert_int_equal(ftruncate(copy->target.disks[0].fd, status.st_size), 0);
	way_serve(&copy->ways[0], 0, true);
	copy_all(copy, &copy->ways[1].daemon, 1);
	copy_finish(copy, &copy->ways[1].daemon, 1);
	way_close(&copy->ways[0]);
	way_stop_daemon(&copy->ways[0]);
	way_stop_daemon(&copy->ways[1]);
	assert_true(is_same(image, "raw", to));
	assert_int_equal(unlink(to), 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_sealed, copy_setup_encrypted, copy_teardown),
		cmocka_unit_test_setup_teardown(test_moves_with_memory, copy_setup_plain,
						copy_teardown),
		cmocka_unit_test_setup_teardown(test_moves_with_memory, copy_setup_encrypted,
						copy_teardown),
		cmocka_unit_test_setup_teardown(test_aborted, copy_setup_plain, copy_teardown),
		cmocka_unit_test_setup_teardown(test_target_goes_down, copy_setup_plain,
						copy_teardown),
		cmocka_unit_test_setup_teardown(test_not_ready, copy_setup_plain, copy_teardown),
		cmocka_unit_test_setup_teardown(test_target_hangs, copy_setup_plain, copy_teardown),
		cmocka_unit_test_setup_teardown(test_not_to_be_reached, copy_setup_plain,
						copy_teardown),
		cmocka_unit_test_setup_teardown(test_refused, copy_setup_plain, copy_teardown),
		cmocka_unit_test_setup_teardown(test_full, copy_setup_plain, copy_teardown),
	};

	if (world_is_impossible())
		return 77;
	signal(SIGPIPE, SIG_IGN);
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	/* Mounts of ours are nobody else's. */
	if (!unshare(CLONE_NEWNS))
		(void)!mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL);
	return cmocka_run_group_tests(tests, luks_pool_make, luks_pool_remove);
}
