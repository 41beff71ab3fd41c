/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/migration/world.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "tests/wire/samples.h"

#define SET(member, ...) snprintf(member, sizeof(member), __VA_ARGS__)

enum { PING_US = 2 * SECOND, DARK_US = 1500 * MS, RUN_US = 1000 * SECOND };

/* --- small things --- */

/* xorshift64*: Vigna, "An experimental exploration of Marsaglia's xorshift generators". */
uint64_t world_random(World *world, uint64_t below)
{
	uint64_t x = world->random;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	world->random = x;
	return below ? ((x * UINT64_C(0x2545f4914f6cdd1d)) >> 16) % below : 0;
}

Host *world_peer(const Host *host)
{
	return &host->world->hosts[1 - host->name];
}

const char *host_word(const Host *host)
{
	return host->name == SOURCE ? "src" : "dst";
}

static void put_trace(World *world, const char *text)
{
	char *line = world->trace[world->traced++ % WORLD_TRACE];

	snprintf(line, WORLD_TRACE_LINE, "%9.3f %.*s", (double)world->now_us / SECOND,
		 WORLD_TRACE_LINE - 24, text);
}

void world_trace(World *world, const char *format, ...)
{
	char text[WORLD_TRACE_LINE];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	put_trace(world, text);
}

void world_break(World *world, const char *format, ...)
{
	char text[sizeof(world->violation)];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	put_trace(world, text);
	if (!world->violation[0])
		SET(world->violation, "%s", text);
}

void world_print_trace(const World *world)
{
	unsigned int from = world->traced > WORLD_TRACE ? world->traced - WORLD_TRACE : 0;

	for (unsigned int i = from; i < world->traced; i++)
		print_message("  %s\n", world->trace[i % WORLD_TRACE]);
}

/* --- queue --- */

Event *world_schedule(World *world, int64_t after_us, const char *name, EventRun *run)
{
	Event *event = calloc(1, sizeof(*event));

	assert_non_null(event);
	assert_true(world->events_count < WORLD_EVENTS);
	event->at_us = world->now_us + after_us;
	event->tie = world_random(world, UINT32_MAX);
	event->name = name;
	event->run = run;
	world->events[world->events_count++] = event;
	return event;
}

Event *world_schedule_job(Host *host, Job *job, int64_t after_us, const char *name, EventRun *run)
{
	Event *event = world_schedule(host->world, after_us, name, run);

	event->host = host;
	event->generation = host->generation;
	event->job = job->serial;
	return event;
}

static bool is_before(const Event *a, const Event *b)
{
	return a->at_us != b->at_us ? a->at_us < b->at_us : a->tie < b->tie;
}

static Event *take_next(World *world)
{
	size_t first = 0;
	Event *event;

	for (size_t i = 1; i < world->events_count; i++)
		if (is_before(world->events[i], world->events[first]))
			first = i;
	event = world->events[first];
	world->events[first] = world->events[--world->events_count];
	return event;
}

void world_forget(World *world, uint64_t number, EventRun *run)
{
	for (size_t i = 0; i < world->events_count && number; i++) {
		Event *event = world->events[i];

		if (event->number != number || event->run != run)
			continue;
		world->events[i] = world->events[--world->events_count];
		free(event->payload);
		free(event);
		return;
	}
}

static bool only_background(const World *world)
{
	for (size_t i = 0; i < world->events_count; i++)
		if (!world->events[i]->background)
			return false;
	for (int i = 0; i < HOSTS; i++)
		for (int k = 0; k < WORLD_JOBS; k++)
			if (world->hosts[i].jobs[k].serial)
				return false;
	return true;
}

static bool still_wanted(const Event *event)
{
	if (!event->host || !event->generation)
		return true;
	return event->host->up && event->host->generation == event->generation &&
	       (!event->job || host_job(event->host, event->job));
}

bool world_step(World *world)
{
	Event *event;

	if (!world->events_count || only_background(world))
		return false;
	event = take_next(world);
	world->now_us = event->at_us;
	if (still_wanted(event)) {
		if (!event->background) {
			world->steps++;
			world_trace(world, "#%u %s %s", world->steps,
				    event->host ? host_word(event->host) : "-", event->name);
		}
		event->run(world, event);
		for (int i = 0; i < HOSTS; i++)
			if (world->hosts[i].dark)
				host_crash(&world->hosts[i], DARK_US);
		watch_event(world);
	}
	free(event->payload);
	free(event);
	return true;
}

void world_run(World *world, int64_t for_us)
{
	int64_t end_us = world->now_us + for_us;

	for (int i = 0; world->now_us < end_us && world_step(world); i++)
		if (i == WORLD_STEPS_MAX) {
			world_break(world, "RULE: %d events and no end", WORLD_STEPS_MAX);
			return;
		}
}

void world_run_until(World *world, HostName name, const char *step)
{
	int64_t end_us = world->now_us + 60 * SECOND;

	while (world->now_us < end_us) {
		Job *job = host_only_job(&world->hosts[name]);

		if (job && !strcmp(migration_step_name(job->migration), step))
			return;
		if (!world_step(world))
			break;
	}
	world_print_trace(world);
	fail_msg("the %s never came to step %s", name == SOURCE ? "source" : "destination", step);
}

void world_expect_warning(const World *world, HostName name, const char *part)
{
	if (strstr(world->warnings[name], part))
		return;
	world_print_trace(world);
	fail_msg("no warning of the %s has \"%s\":\n%s", name == SOURCE ? "source" : "destination", part,
		 world->warnings[name]);
}

void world_expect_end(World *world, Outcome outcome)
{
	world_run(world, RUN_US);
	watch_end(world, outcome == HELD || outcome == LOST);
	if (!world->violation[0] && watch_outcome(world) == outcome)
		return;
	world_print_trace(world);
	fail_msg("outcome %d, expected %d; %s", watch_outcome(world), outcome, world->violation);
}

/* --- birth --- */

static int64_t monotonic_us(void *context)
{
	const Host *host = context;

	/* Never 0, which stands for "not yet". */
	return host->world->now_us + 1000 * SECOND;
}

static int64_t wall_s(void *context)
{
	const Host *host = context;

	return 1700000000 + host->world->now_us / SECOND + host->wall_jump_s;
}

static void ping(World *world, Event *event)
{
	(void)event;
	link_ping(world);
	world_schedule(world, PING_US, "ping", ping)->background = true;
}

typedef struct Keys {
	StoreTable table;
	size_t count;
	char key[64][LIMIT_UUID];
} Keys;

static bool collect(void *context, const void *object, Error *err)
{
	Keys *keys = context;

	(void)err;
	assert_true(keys->count < ARRAY_SIZE(keys->key));
	if (keys->table == STORE_VMS)
		SET(keys->key[keys->count], "%s", ((const VmRecord *)object)->manifest.uuid);
	else
		hex_encode(((const MigrationRecord *)object)->id, MIGRATION_ID_BYTES,
			   keys->key[keys->count]);
	keys->count++;
	return true;
}

static void empty_store(Store *store)
{
	static const StoreTable tables[] = { STORE_VMS, STORE_MIGRATIONS };
	Error err = ERROR_INIT;

	for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
		Keys keys = { .table = tables[i] };

		assert_works(store_each(store, tables[i], collect, &keys, &err), &err);
		for (size_t k = 0; k < keys.count; k++)
			assert_works(store_delete(store, tables[i], keys.key[k], &err), &err);
	}
}

static void fill_policy(World *world, Host *host)
{
	bool source = host->name == SOURCE;

	host->policy = (MigrationPolicy){
		.allow_disabled = world->options.allow_disabled[host->name],
		.forbid_encryption = !source && world->options.forbid_encryption,
		.reserve_bytes = UINT64_C(64) << 20,
		.per_peer = 1,
		.lease_s = 30,
		.max_channels = LIMIT_STREAM_CHANNELS,
		.transfer_ms = 600000,
	};
	SET(host->policy.aead, "openssl");
	SET(host->policy.domain, source ? "north.example" : "south.example");
	SET(host->policy.host_id, source ? "spiffe://north.example/host/n1" :
					   "spiffe://south.example/host/s1");
}

static void fill_host(World *world, HostName name, Store *store)
{
	Host *host = &world->hosts[name];

	host->world = world;
	host->name = name;
	host->store = store;
	host->up = true;
	host->generation = 1;
	host->hv.run_state = HV_OTHER;
	host->free_memory = UINT64_C(4) << 30;
	host->clock = (Clock){ monotonic_us, wall_s, host };
	fill_policy(world, host);
	ports_of_host(host);
	host->key.state = world->options.keys && name == SOURCE ? KEY_ACTIVE : WORLD_NO_KEY;
}

/* What the options ask for, on top of the sample's disks. */
static void add_disks(World *world, Manifest *manifest)
{
	ManifestDisk *disk = &manifest->disks[manifest->disks_count];

	if (world->options.keys) {
		*disk = (ManifestDisk){ "fast", WORLD_KEY_SLOT, DISK_RAW, 8 << 20, .encryption = DISK_LUKS };
		memset(disk->key, WORLD_KEY_ID, sizeof(disk->key));
		manifest->disks_count++;
		disk++;
	}
	if (world->options.disks) {
		*disk = (ManifestDisk){ "fast", "vm1-local", DISK_RAW, 8 << 20, .transfer = DISK_COPIED };
		manifest->disks_count++;
	}
}

static void fill_vm(World *world)
{
	Host *host = &world->hosts[SOURCE];
	Error err = ERROR_INIT;

	sample_manifest(&host->vm.manifest);
	host->vm.manifest.populate = world->options.populate;
	add_disks(world, &host->vm.manifest);
	SET(host->vm.name, "%s", host->vm.manifest.name);
	SET(host->vm.owner, "north.example");
	host->vm.epoch = 3;
	host->vm.state = world->options.manner == MANNER_COLD ? VM_STOPPED : VM_RUNNING;
	host->vm.mode = world->options.mode;
	host->knows_vm = true;
	assert_works(host_save_vm(host, &err), &err);
}

World *world_new(WorldStores *stores, const WorldOptions *options)
{
	World *world = test_calloc(1, sizeof(*world));

	world->options = *options;
	if (!world->options.channels)
		world->options.channels = 3;
	if (!world->options.transfer_us)
		world->options.transfer_us = 400 * MS;
	if (!world->options.latency_us)
		world->options.latency_us = 2 * MS;
	world->random = UINT64_C(0x9e3779b97f4a7c15) * (options->seed + 1);
	world->control_up = world->data_up = true;
	for (int i = 0; i < HOSTS; i++) {
		empty_store(stores->store[i]);
		fill_host(world, (HostName)i, stores->store[i]);
	}
	fill_vm(world);
	if (options->manner != MANNER_COLD)
		hypervisor_boot(&world->hosts[SOURCE]);
	world_schedule(world, PING_US, "ping", ping)->background = true;
	return world;
}

void world_begin(World *world)
{
	Host *host = &world->hosts[SOURCE];
	HostRecord record = { .port = 7468 };
	MigrationOptions options = { .channels = world->options.channels, .max_downtime_ms = 300,
				     .keep_keys = world->options.keep_keys,
				     .manner = world->options.manner };
	Error err = ERROR_INIT;
	Migration *m;
	Job *job;

	SET(record.name, "s1");
	SET(record.address, "192.0.2.1");
	SET(record.id, "%s", world->hosts[DESTINATION].policy.host_id);
	m = migration_new_source(&host->ports, &host->vm, &record, &options, &err);
	assert_non_null(m);
	job = host_add_job(host, m, true);
	host_enter(host);
	migration_start(m);
	host_leave(host);
	host_settle(host, job);
	if (host->dark)
		host_crash(host, DARK_US);
	watch_event(world);
}

/* --- stores --- */

void world_open_stores(WorldStores *stores)
{
	char path[128];
	Error err = ERROR_INIT;

	/* A full disk is EFBIG to SQLite, not the end of this process. */
	signal(SIGXFSZ, SIG_IGN);
	/* In memory if that can be had: SQLite waits for the disk with each entry. */
	SET(stores->folder.path, "/dev/shm/sealift-test.XXXXXX");
	if (!mkdtemp(stores->folder.path))
		support_make_folder(&stores->folder);
	for (int i = 0; i < HOSTS; i++) {
		stores->store[i] =
			store_open(support_path(&stores->folder, i ? "south.db" : "north.db", path), &err);
		if (!stores->store[i])
			fail_msg("%s", err.text);
	}
}

void world_close_stores(WorldStores *stores)
{
	for (int i = 0; i < HOSTS; i++)
		store_close(stores->store[i]);
	support_remove_folder(&stores->folder);
}

int world_setup(void **state)
{
	*state = test_calloc(1, sizeof(WorldStores));
	world_open_stores(*state);
	return 0;
}

int world_teardown(void **state)
{
	world_close_stores(*state);
	test_free(*state);
	return 0;
}

void world_free(World *world)
{
	for (int i = 0; i < HOSTS; i++)
		for (int k = 0; k < WORLD_JOBS; k++)
			migration_free(world->hosts[i].jobs[k].migration);
	for (size_t i = 0; i < world->events_count; i++) {
		free(world->events[i]->payload);
		free(world->events[i]);
	}
	test_free(world);
}
