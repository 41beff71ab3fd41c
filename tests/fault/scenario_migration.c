/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two migration engines in the world of tests/migration. Failures happen between host_enter and
 * host_leave, where the world calls an engine; what the world itself allocates never fails.
 */
#include "tests/migration/world.h"

#include <string.h>

#include "tests/fault/fault.h"

/* --- seams: the linker leads the first two here, the world is compiled with the others --- */

void __real_host_enter(Host *host);
void __wrap_host_enter(Host *host);
void __wrap_host_enter(Host *host)
{
	__real_host_enter(host);
	inject_resume();
}

void __real_host_leave(Host *host);
void __wrap_host_leave(Host *host);
void __wrap_host_leave(Host *host)
{
	inject_pause();
	__real_host_leave(host);
}

void *fault_spare_malloc(size_t size);
void *fault_spare_malloc(size_t size)
{
	void *memory;

	inject_pause();
	memory = malloc(size);
	inject_resume();
	return memory;
}

void *fault_spare_calloc(size_t count, size_t size);
void *fault_spare_calloc(size_t count, size_t size)
{
	void *memory;

	inject_pause();
	memory = calloc(count, size);
	inject_resume();
	return memory;
}

bool fault_spare_peer_decode(const void *data, size_t size, PeerMessage *ret_message, Error *err);
bool fault_spare_peer_decode(const void *data, size_t size, PeerMessage *ret_message, Error *err)
{
	bool ok;

	inject_pause();
	ok = peer_decode(data, size, ret_message, err);
	inject_resume();
	return ok;
}

/* --- the scenario --- */

static void *stores_new(void)
{
	WorldStores *stores = calloc(1, sizeof(*stores));
	Error err = ERROR_INIT;

	fault_must(stores, &err);
	world_open_stores(stores);
	return stores;
}

static void stores_free(void *fixture)
{
	world_close_stores(fixture);
	free(fixture);
}

/* A guest that stayed needs a reason that a person can read. */
static bool report(const World *world, Error *err)
{
	static MigrationRecord record;

	if (!watch_record(&world->hosts[SOURCE], &record))
		return error_set(err, ERROR_UNAVAILABLE, "ended before it was journalled");
	return error_set(err, (ErrorCategory)record.category, "%s", record.error);
}

static bool judge(const World *world, Error *err)
{
	Outcome outcome = watch_outcome(world);

	if (!world->violation[0] && outcome == AT_DESTINATION)
		return true;
	if (!world->violation[0] && outcome == AT_SOURCE)
		return report(world, err);
	if (getenv("SEALIFT_FAULT_VERBOSE"))
		world_print_trace(world);
	return fault_wrong(err, world->violation[0] ? world->violation : "no guest runs");
}

static bool migrate(void *fixture, Error *err)
{
	const WorldOptions options = { .mode = SEAL_REQUIRED, .channels = 1 };
	World *world;
	bool ok;

	inject_pause();
	world = world_new(fixture, &options);
	world_begin(world);
	world_run(world, INT64_C(1500) * SECOND);
	watch_end(world, false);
	ok = judge(world, err);
	world_free(world);
	inject_resume();
	return ok;
}

const Scenario scenarios_migration[] = {
	{ "migration", stores_new, migrate, NULL, stores_free, 150 },
	{ 0 },
};
