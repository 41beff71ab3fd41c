/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/migration/fault.h"

#include <assert.h>

typedef bool Happen(World *world, HostName name, int64_t repair_us);

/* --- engines --- */

static bool crash(World *world, HostName name, int64_t repair_us)
{
	host_crash(&world->hosts[name], repair_us);
	return true;
}

static bool crash_both(World *world, HostName name, int64_t repair_us)
{
	(void)name;
	return crash(world, SOURCE, repair_us) &&
	       crash(world, DESTINATION, repair_us + (int64_t)world_random(world, SECOND));
}

void fault_arm_power(World *world, HostName name, unsigned int action)
{
	world->hosts[name].dark_at_action = world->hosts[name].actions + action;
}

/* --- link --- */

static void on_mend(World *world, Event *event)
{
	(void)event;
	link_mend_control(world);
	world->data_up = true;
}

static bool cut_link(World *world, HostName name, int64_t repair_us)
{
	(void)name;
	link_cut_control(world);
	stream_cut(world);
	world_schedule(world, repair_us, "mended", on_mend);
	return true;
}

static bool cut_control(World *world, HostName name, int64_t repair_us)
{
	(void)name;
	link_cut_control(world);
	world_schedule(world, repair_us, "mended", on_mend);
	return true;
}

static bool cut_data(World *world, HostName name, int64_t repair_us)
{
	(void)name;
	stream_cut(world);
	world_schedule(world, repair_us, "mended", on_mend);
	return true;
}

/* --- what an engine leans on --- */

static bool kill_hypervisor(World *world, HostName name, int64_t repair_us)
{
	(void)repair_us;
	hypervisor_die(&world->hosts[name]);
	return true;
}

static bool fill_disk(World *world, HostName name, int64_t repair_us)
{
	world->hosts[name].disk_full_until_us = world->now_us + repair_us;
	return true;
}

static bool stop_notary(World *world, HostName name, int64_t repair_us)
{
	world->hosts[name].notary_down_until_us = world->now_us + repair_us;
	return true;
}

static bool hang_notary(World *world, HostName name, int64_t repair_us)
{
	world->hosts[name].notary_hangs_until_us = world->now_us + repair_us;
	return true;
}

static bool stop_keyd(World *world, HostName name, int64_t repair_us)
{
	world->hosts[name].keyd_down_until_us = world->now_us + repair_us;
	return true;
}

static void on_hears(World *world, Event *event)
{
	Job *job = host_job_with_vm(event->host);

	(void)world;
	if (!job || !event->host->hv.alive || !event->host->up)
		return;
	host_enter(event->host);
	migration_on_hv_reconnected(job->migration);
	host_leave(event->host);
	host_settle(event->host, job);
}

static bool deafen(World *world, HostName name, int64_t repair_us)
{
	world->hosts[name].hv.deaf_until_us = world->now_us + repair_us;
	world_schedule(world, repair_us + 1 * MS, "hears again", on_hears)->host = &world->hosts[name];
	return true;
}

static bool clock_ahead(World *world, HostName name, int64_t repair_us)
{
	(void)repair_us;
	world->hosts[name].wall_jump_s = 3600;
	return true;
}

static bool clock_back(World *world, HostName name, int64_t repair_us)
{
	(void)repair_us;
	world->hosts[name].wall_jump_s = -3600;
	return true;
}

static bool cancel(World *world, HostName name, int64_t repair_us)
{
	Host *host = &world->hosts[name];
	Job *job = host_only_job(host);
	Error err = ERROR_INIT;
	bool ok;

	(void)repair_us;
	if (!job || job->ending)
		return false;
	host_enter(host);
	ok = migration_cancel(job->migration, &err);
	host_leave(host);
	host_settle(host, job);
	world_trace(world, "   cancel at %s: %s", host_word(host), ok ? "accepted" : err.text);
	if (!ok && (err.category != ERROR_CONFLICT || !err.text[0]))
		world_break(world, "RULE: a cancel was refused without a reason");
	return ok;
}

/* --- the table --- */

typedef struct FaultRow {
	const char *word;
	Happen *happen;
	HostName name;
} FaultRow;

static const FaultRow rows[] = {
	[CRASH_SOURCE] = { "crash-source", crash, SOURCE },
	[CRASH_DESTINATION] = { "crash-destination", crash, DESTINATION },
	[CRASH_BOTH] = { "crash-both", crash_both, SOURCE },
	[CUT_LINK] = { "cut-link", cut_link, SOURCE },
	[CUT_CONTROL] = { "cut-control", cut_control, SOURCE },
	[CUT_DATA] = { "cut-data", cut_data, SOURCE },
	[KILL_SOURCE] = { "kill-source-qemu", kill_hypervisor, SOURCE },
	[KILL_DESTINATION] = { "kill-destination-qemu", kill_hypervisor, DESTINATION },
	[DISK_FULL_SOURCE] = { "disk-full-source", fill_disk, SOURCE },
	[DISK_FULL_DESTINATION] = { "disk-full-destination", fill_disk, DESTINATION },
	[NOTARY_DOWN_SOURCE] = { "notary-down-source", stop_notary, SOURCE },
	[NOTARY_DOWN_DESTINATION] = { "notary-down-destination", stop_notary, DESTINATION },
	[NOTARY_HANGS_SOURCE] = { "notary-hangs-source", hang_notary, SOURCE },
	[NOTARY_HANGS_DESTINATION] = { "notary-hangs-destination", hang_notary, DESTINATION },
	[KEYD_DOWN_SOURCE] = { "keyd-down-source", stop_keyd, SOURCE },
	[KEYD_DOWN_DESTINATION] = { "keyd-down-destination", stop_keyd, DESTINATION },
	[DEAF_SOURCE] = { "deaf-source-qemu", deafen, SOURCE },
	[DEAF_DESTINATION] = { "deaf-destination-qemu", deafen, DESTINATION },
	[CLOCK_AHEAD_SOURCE] = { "clock-ahead-source", clock_ahead, SOURCE },
	[CLOCK_BACK_SOURCE] = { "clock-back-source", clock_back, SOURCE },
	[CLOCK_AHEAD_DESTINATION] = { "clock-ahead-destination", clock_ahead, DESTINATION },
	[CLOCK_BACK_DESTINATION] = { "clock-back-destination", clock_back, DESTINATION },
	[CANCEL_SOURCE] = { "cancel-source", cancel, SOURCE },
	[CANCEL_DESTINATION] = { "cancel-destination", cancel, DESTINATION },
};
static_assert(ARRAY_SIZE(rows) == FAULT_KINDS, "one row a kind");

const char *fault_word(FaultKind kind)
{
	return rows[kind].word;
}

bool fault_kills(FaultKind kind)
{
	return rows[kind].happen == kill_hypervisor;
}

bool fault_happens(World *world, FaultKind kind, int64_t repair_us)
{
	world_trace(world, "   FAULT %s for %lld ms", rows[kind].word, (long long)repair_us / MS);
	return rows[kind].happen(world, rows[kind].name, repair_us);
}
