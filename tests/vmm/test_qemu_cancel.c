/* SPDX-License-Identifier: Apache-2.0 */
/* An outgoing migration that is given up, with real QEMUs: the guest runs on, whatever they do. */
#include "whole_move.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

static bool channels_have_begun(const void *context)
{
	Host *host = (Host *)(uintptr_t)context;

	return host_migration(host).multifd_bytes > 1 << 20;
}

static void begin_move(World *world)
{
	host_start(&world->source);
	host_check_guest(&world->source, 2, 60);
	host_prepare(&world->destination);
	world_migrate(world, 2, 20 << 20);
	host_wait_status(&world->source, VMM_MIGRATION_ACTIVE, 30);
	world_wait(world, channels_have_begun, &world->source, 30, "pages on multifd channels");
}

static void check_source_goes_on(World *world)
{
	assert_int_equal(host_run_state(&world->source), VMM_RUN_RUNNING);
	host_check_guest(&world->source, 2, 30);
}

static void try_again(World *world)
{
	host_kill(&world->destination);
	world_drop_relays(world);
	host_check_guest(&world->source, 2, 30);
	host_prepare(&world->destination);
	world_move_whole(world, 1);
	assert_int_equal(world->relays_count, 1);
	host_end(&world->source);
	host_end(&world->destination);
}

static void test_cancel_and_try_again(void **state)
{
	World *world = *state;

	begin_move(world);
	host_cancel(&world->source, 30);
	check_source_goes_on(world);
	try_again(world);
}

/* To run by itself once loaded would be a second copy. */
static void test_incoming_vm_is_not_continued(void **state)
{
	World *world = *state;
	Call resumed = { 0 };
	Error err = ERROR_INIT;

	host_prepare(&world->destination);
	assert_true(vmm_cont(world->destination.vm, on_done, &resumed, &err));
	world_wait(world, call_is_over, &resumed, 15, "cont is refused");
	assert_false(resumed.ok);
	assert_int_equal(resumed.err.category, ERROR_CONFLICT);
}

/* A cancel at the last instant gives the guest back. */
static void test_cancel_at_switchover(void **state)
{
	World *world = *state;

	host_start(&world->source);
	host_check_guest(&world->source, 1, 60);
	host_prepare(&world->destination);
	world_migrate(world, 2, 0);
	host_wait_status(&world->source, VMM_MIGRATION_PRE_SWITCHOVER, 60);
	world->source.resumed = false;
	assert_int_equal(host_cancel(&world->source, 30), VMM_MIGRATION_CANCELLED);
	check_source_goes_on(world);
	assert_true(world->source.resumed);
}

/* The program that the source runs for QEMU, with slow_shutdown.c in it. */
static void slow_down(World *world, char path[LIMIT_PATH])
{
	char text[2 * LIMIT_PATH];
	Error err = ERROR_INIT;

	snprintf(path, LIMIT_PATH, "%s/qemu", world->directory);
	snprintf(text, sizeof(text), "#!/bin/sh\nLD_PRELOAD=%s exec %s \"$@\"\n",
		 getenv("SEALIFT_SLOW_SHUTDOWN"), world->resources->qemu_path);
	if (!file_replace(path, text, strlen(text), 0755, &err) || chmod(path, 0755) ||
	    chmod(world->directory, 0755))
		fail_msg("%s", err.text);
	snprintf(world->resources->qemu_path, LIMIT_PATH, "%s", path);
}

/* QEMU loses the race that host_cancel() tells of, as it does now and then on a busy machine. */
static void test_cancel_that_ends_as_failure(void **state)
{
	World *world = *state;
	char path[LIMIT_PATH];

	assert_non_null(getenv("SEALIFT_SLOW_SHUTDOWN"));
	slow_down(world, path);
	begin_move(world);
	assert_int_equal(host_cancel(&world->source, 30), VMM_MIGRATION_FAILED);
	unlink(path);
	check_source_goes_on(world);
}

typedef struct Stillness {
	Host *host;
	uint64_t bytes;
	unsigned int looks; /* in a row, without a byte more */
} Stillness;

static bool channels_are_full(const void *context)
{
	Stillness *still = (Stillness *)(uintptr_t)context;
	uint64_t bytes = host_migration(still->host).multifd_bytes;

	still->looks = bytes == still->bytes ? still->looks + 1 : 0;
	still->bytes = bytes;
	return still->looks >= 10;
}

/* QEMU shuts its main channel alone; the threads of the others wait in their writes. */
static void test_cancel_while_nobody_reads(void **state)
{
	World *world = *state;
	Stillness still = { .host = &world->source };

	begin_move(world);
	for (size_t i = 1; i < world->relays_count; i++)
		relay_stall(world->relays[i]);
	world_wait(world, channels_are_full, &still, 30, "the channels are full");
	host_cancel(&world->source, 30);
	check_source_goes_on(world);
	try_again(world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_cancel_and_try_again, world_setup,
						world_teardown),
		cmocka_unit_test_setup_teardown(test_incoming_vm_is_not_continued, world_setup,
						world_teardown),
		cmocka_unit_test_setup_teardown(test_cancel_at_switchover, world_setup,
						world_teardown),
		cmocka_unit_test_setup_teardown(test_cancel_that_ends_as_failure, world_setup,
						world_teardown),
		cmocka_unit_test_setup_teardown(test_cancel_while_nobody_reads, world_setup,
						world_teardown),
	};

	if (world_is_impossible())
		return 77;
	/* The relay writes to QEMUs that were killed. */
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
