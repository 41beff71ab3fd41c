/* SPDX-License-Identifier: Apache-2.0 */
#include "whole_move.h"

#include <stdio.h>

void world_move_whole(World *world, unsigned int channels)
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
