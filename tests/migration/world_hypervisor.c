/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two hypervisors with QEMU's habits (docs/devel/migration of QEMU 10): the source stops the guest
 * before `pre-switchover`; it calls the migration completed only when the destination's SHUT came
 * back; if the stream fails before that, or it is cancelled, it lets the guest run again by itself.
 * The destination, started with -S, ends completed and paused. Orders that were written to the
 * monitor are carried out even if the engine dies before it reads the answer.
 */
#include <string.h>

#include "tests/migration/world.h"

enum {
	ORDER_US = 1 * MS, /* until an order takes effect, and again until its answer is read */
	PREPARE_US = 60 * MS,
	LAST_PAGES_US = 3 * MS,
	LOAD_US = 4 * MS,
	DEAF_REPLY_US = 15 * SECOND,
};

/* --- news through the monitor, in order --- */

static int64_t after_monitor_us(Host *host, int64_t delay_us)
{
	World *world = host->world;
	int64_t at_us = world->now_us + delay_us + (int64_t)world_random(world, 400);

	if (at_us <= host->hv.monitor_us)
		at_us = host->hv.monitor_us + 1;
	host->hv.monitor_us = at_us;
	return at_us - world->now_us;
}

static Event *schedule_news(Host *host, int64_t delay_us, const char *name, EventRun *run)
{
	Event *event = world_schedule(host->world, after_monitor_us(host, delay_us), name, run);

	event->host = host;
	event->generation = host->generation;
	return event;
}

static bool is_deaf(const Host *host)
{
	return host->hv.deaf_until_us > host->world->now_us;
}

static void on_status_news(World *world, Event *event)
{
	Job *job = host_job_with_vm(event->host);

	(void)world;
	if (!job || is_deaf(event->host))
		return;
	host_enter(event->host);
	migration_on_hv_status(job->migration, (HvStatus)event->value);
	host_leave(event->host);
	host_settle(event->host, job);
}

static void set_status(Host *host, HvStatus status)
{
	static const char *const words[] = { "none",   "setup",	    "active", "pre-switchover", "device",
					     "completed", "failed", "cancelling", "cancelled" };

	host->hv.status = status;
	schedule_news(host, 0, words[status], on_status_news)->value = (uint64_t)status;
}

static void on_run_news(World *world, Event *event)
{
	Host *host = event->host;
	Job *job = host_job_with_vm(host);
	int64_t now_us = clock_monotonic_us(&host->clock);

	(void)world;
	if (!job || is_deaf(host))
		return;
	host_enter(host);
	if (event->value)
		migration_on_hv_resume(job->migration, now_us);
	else
		migration_on_hv_stop(job->migration, now_us);
	host_leave(host);
	host_settle(host, job);
}

static void run_guest(Host *host)
{
	host->hv.run_state = HV_RUNNING;
	host->hv.ran = true;
	if (host->name == SOURCE && host->world->stream.sent) {
		host->hv.ran_after_sending = true;
		host->hv.ran_unseen |= !host->up;
	}
	world_trace(host->world, "   GUEST RUNS at %s", host_word(host));
	watch_guest_runs(host);
	schedule_news(host, 0, "RESUME", on_run_news)->value = 1;
}

static void stop_guest(Host *host, HvRunState state)
{
	bool ran = host->hv.run_state == HV_RUNNING;

	host->hv.rested = host->hv.run_state;
	host->hv.run_state = state;
	/* Nothing is told of one that stood still before. */
	if (!ran)
		return;
	world_trace(host->world, "   guest stops at %s", host_word(host));
	schedule_news(host, 0, "STOP", on_run_news);
}

/* --- life --- */

static void reset(Host *host, HvRunState run_state)
{
	Hypervisor *hv = &host->hv;

	*hv = (Hypervisor){ .alive = true,
			    .number = ++host->world->next_number,
			    .run_state = run_state,
			    .monitor_us = hv->monitor_us };
}

void hypervisor_boot(Host *host)
{
	reset(host, HV_RUNNING);
}

static void on_gone(World *world, Event *event)
{
	(void)world;
	host_hypervisor_gone(event->host, &event->error);
}

/* The driver answers pending orders first and tells of the end then. */
static void on_process_end(World *world, Event *event)
{
	Event *gone = schedule_news(event->host, 300, "gone", on_gone);

	(void)world;
	error_set(&gone->error, ERROR_HYPERVISOR, "QEMU was killed by signal 9");
}

void hypervisor_die(Host *host)
{
	Hypervisor *hv = &host->hv;
	World *world = host->world;
	Event *event;

	if (!hv->alive)
		return;
	world_trace(world, "   the hypervisor of %s DIES", host_word(host));
	hv->alive = false;
	hv->run_state = HV_OTHER;
	hv->loaded = false;
	stream_break(world, "a hypervisor is gone", host->name == SOURCE);
	event = world_schedule(world, 2 * ORDER_US + 500, "exit", on_process_end);
	event->host = host;
	event->generation = host->generation;
}

/* --- the stream --- */

typedef void StreamStep(World *world);

static void on_stream_step(World *world, Event *event)
{
	StreamStep *const *step = event->payload;

	if (world->stream.number == event->number && world->stream.open)
		(*step)(world);
}

static void schedule_stream(World *world, int64_t delay_us, const char *name, StreamStep *step)
{
	Event *event = world_schedule(world, delay_us, name, on_stream_step);

	event->number = world->stream.number;
	event->payload = malloc(sizeof(step));
	assert_non_null(event->payload);
	memcpy(event->payload, &step, sizeof(step));
}

static void on_mover_news(World *world, Event *event)
{
	Host *host = event->host;
	Job *job = host_job(host, event->job);
	const MoverStats stats = { .stream_out_bytes = 1 << 20,
				   .wire_out_bytes = (1 << 20) + 4096,
				   .first_byte_us = (uint64_t)clock_monotonic_us(&host->clock) };

	(void)world;
	if (!job->mover)
		return;
	host_enter(host);
	if (event->failed)
		migration_on_mover_failed(job->migration, &event->error);
	else
		migration_on_mover_stats(job->migration, &stats, true);
	host_leave(host);
	host_settle(host, job);
}

static void tell_mover(World *world, HostName name, int64_t delay_us, const char *failure)
{
	Host *host = &world->hosts[name];
	Job *job = host_job(host, world->stream.jobs[name]);
	Event *event;

	if (!job || !job->mover)
		return;
	event = world_schedule_job(host, job, delay_us, failure ? "mover failed" : "mover done",
				   on_mover_news);
	event->failed = failure != NULL;
	if (failure)
		error_set(&event->error, ERROR_UNAVAILABLE, "%s", failure);
}

static void on_postmigrate(World *world, Event *event)
{
	Hypervisor *hv = &event->host->hv;

	(void)world;
	if (hv->alive && hv->number == event->number && hv->run_state == HV_FINISH_MIGRATE)
		hv->run_state = HV_POSTMIGRATE;
}

static void step_shut(World *world)
{
	Host *host = &world->hosts[SOURCE];
	Event *event;

	world->stream.open = false;
	tell_mover(world, SOURCE, 1 * MS, NULL);
	tell_mover(world, DESTINATION, 1 * MS, NULL);
	if (!host->hv.alive || host->hv.status != HV_DEVICE)
		return;
	set_status(host, HV_COMPLETED);
	event = world_schedule(world, 500, "postmigrate", on_postmigrate);
	event->host = host;
	event->number = host->hv.number;
}

static void on_paused(World *world, Event *event)
{
	Hypervisor *hv = &event->host->hv;

	/* What the source's was comes in the stream; one that ran waits for `cont`, by -S. */
	if (hv->alive && hv->number == event->number && hv->run_state == HV_INMIGRATE)
		hv->run_state = world->hosts[SOURCE].hv.rested == HV_PRELAUNCH ? HV_PRELAUNCH : HV_PAUSED;
}

static void step_loaded(World *world)
{
	Host *host = &world->hosts[DESTINATION];
	Event *event;

	if (!host->hv.alive)
		return;
	host->hv.loaded = true;
	set_status(host, HV_COMPLETED);
	event = world_schedule(world, (int64_t)world_random(world, 1500), "paused", on_paused);
	event->host = host;
	event->number = host->hv.number;
	schedule_stream(world, world->options.latency_us, "shut", step_shut);
}

static void step_last_bytes(World *world)
{
	schedule_stream(world, world->options.latency_us + LOAD_US, "loaded", step_loaded);
}

static void step_device_sent(World *world)
{
	if (!world->hosts[SOURCE].hv.alive || world->hosts[SOURCE].hv.status != HV_DEVICE)
		return;
	world->stream.sent = true;
	schedule_stream(world, 0, "last bytes", step_last_bytes);
}

static void step_converged(World *world)
{
	Host *host = &world->hosts[SOURCE];

	if (host->hv.status != HV_ACTIVE)
		return;
	if (!world->hosts[DESTINATION].hv.listening) {
		schedule_stream(world, 5 * MS, "not listening yet", step_converged);
		return;
	}
	stop_guest(host, HV_FINISH_MIGRATE);
	set_status(host, HV_PRE_SWITCHOVER);
}

static void step_active(World *world)
{
	Host *host = &world->hosts[SOURCE];

	if (host->hv.status != HV_SETUP)
		return;
	set_status(host, HV_ACTIVE);
	schedule_stream(world, world->options.transfer_us, "converged", step_converged);
}

/* The guest runs again by itself, a moment after the status says so. */
static void on_resumes(World *world, Event *event)
{
	Host *host = event->host;

	(void)world;
	if (!host->hv.alive || host->hv.number != event->number || host->hv.run_state != HV_FINISH_MIGRATE)
		return;
	if (host->hv.rested == HV_RUNNING)
		run_guest(host);
	else
		host->hv.run_state = host->hv.rested;
}

static void end_outgoing(Host *host, HvStatus status)
{
	Event *event;

	set_status(host, status);
	event = world_schedule(host->world, 1 + (int64_t)world_random(host->world, MS), "resumes itself",
			       on_resumes);
	event->host = host;
	event->number = host->hv.number;
}

static void fail_outgoing(Host *host)
{
	HvStatus status = host->hv.status;

	if (host->hv.alive && (status == HV_SETUP || status == HV_ACTIVE || status == HV_PRE_SWITCHOVER ||
			       status == HV_DEVICE))
		end_outgoing(host, HV_FAILED);
}

static void fail_incoming(Host *host)
{
	if (host->hv.alive && host->hv.listening && !host->hv.loaded && host->hv.status != HV_FAILED)
		set_status(host, HV_FAILED);
}

static void on_end_of_file(World *world, Event *event)
{
	(void)world;
	if (event->host->hv.number != event->number)
		return;
	if (event->host->name == SOURCE)
		fail_outgoing(event->host);
	else
		fail_incoming(event->host);
}

static void tell_end_of_file(World *world, HostName name, int64_t delay_us)
{
	Event *event = world_schedule(world, delay_us, "end of file", on_end_of_file);

	event->host = &world->hosts[name];
	event->number = event->host->hv.number;
}

static void drop(World *world, const char *why, int64_t source_us, int64_t destination_us)
{
	world_trace(world, "   the stream is broken: %s", why);
	world->stream.open = false;
	tell_mover(world, SOURCE, source_us + 200, why);
	tell_mover(world, DESTINATION, destination_us + 200, why);
	tell_end_of_file(world, SOURCE, source_us + 100);
	tell_end_of_file(world, DESTINATION, destination_us + 100);
}

void stream_open(World *world, uint64_t source_job, uint64_t destination_job)
{
	world->stream = (Stream){ .number = ++world->next_number,
				  .open = true,
				  .jobs = { source_job, destination_job } };
}

static void on_inflight_gone(World *world, Event *event)
{
	if (world->stream.number == event->number && world->stream.open)
		drop(world, "the peer is gone", 0, 0);
}

void stream_break(World *world, const char *why, bool with_inflight)
{
	int64_t latency_us = world->options.latency_us;

	if (!world->stream.open)
		return;
	if (with_inflight && world->stream.sent && world->data_up) {
		/* All bytes had left: they arrive, and only then the end of file. */
		world_schedule(world, 3 * latency_us + LOAD_US + 2 * MS, "in flight", on_inflight_gone)
			->number = world->stream.number;
		return;
	}
	drop(world, why, latency_us, latency_us);
}

void stream_cut(World *world)
{
	world->data_up = false;
	if (world->stream.open)
		drop(world, "nothing from the peer", (int64_t)world_random(world, 8 * SECOND),
		     (int64_t)world_random(world, 8 * SECOND));
}

/* --- orders --- */

typedef bool Order(Host *host, Error *err);

static bool order_prepare(Host *host, Error *err)
{
	return host->hv.alive ||
	       error_set(err, ERROR_HYPERVISOR, "QEMU ended with status 1: cannot allocate memory");
}

static bool order_stop(Host *host, Error *err)
{
	(void)err;
	if (host->hv.run_state == HV_RUNNING)
		stop_guest(host, HV_PAUSED);
	return true;
}

static bool order_listen(Host *host, Error *err)
{
	(void)err;
	host->hv.listening = true;
	return true;
}

static bool order_migrate(Host *host, Error *err)
{
	static const HvRunState due[] = { HV_RUNNING, HV_PAUSED, HV_PRELAUNCH };

	if (host->hv.run_state != due[host->world->options.manner])
		return error_set(err, ERROR_HYPERVISOR, "the guest is not as it should be");
	host->hv.ran_after_sending = host->hv.ran_unseen = false;
	set_status(host, HV_SETUP);
	if (host->world->stream.open)
		schedule_stream(host->world, 1 * MS, "active", step_active);
	else
		tell_end_of_file(host->world, SOURCE, 1 * MS);
	return true;
}

static bool order_continue(Host *host, Error *err)
{
	if (host->hv.status != HV_PRE_SWITCHOVER)
		return error_set(err, ERROR_HYPERVISOR, "not in pre-switchover");
	set_status(host, HV_DEVICE);
	schedule_stream(host->world, LAST_PAGES_US, "device sent", step_device_sent);
	return true;
}

static void on_cancelled(World *world, Event *event)
{
	(void)world;
	if (event->host->hv.alive && event->host->hv.number == event->number &&
	    event->host->hv.status == HV_CANCELLING)
		end_outgoing(event->host, HV_CANCELLED);
}

static bool order_cancel(Host *host, Error *err)
{
	HvStatus status = host->hv.status;
	Event *event;

	(void)err;
	if (status != HV_SETUP && status != HV_ACTIVE && status != HV_PRE_SWITCHOVER && status != HV_DEVICE)
		return true;
	set_status(host, HV_CANCELLING);
	event = world_schedule(host->world, 8 * MS, "cancelled", on_cancelled);
	event->host = host;
	event->number = host->hv.number;
	return true;
}

static bool order_cont(Host *host, Error *err)
{
	if (host->hv.run_state == HV_INMIGRATE || host->hv.run_state == HV_FINISH_MIGRATE)
		return error_set(err, ERROR_CONFLICT, "Migration is not finalized yet");
	if (host->hv.run_state != HV_RUNNING)
		run_guest(host);
	return true;
}

static bool order_end(Host *host, Error *err)
{
	(void)err;
	hypervisor_die(host);
	return true;
}

static bool order_open(Host *host, Error *err)
{
	(void)err;
	host->hv.opened = true;
	return true;
}

static bool order_attach(Host *host, Error *err)
{
	if (!host->world->hosts[SOURCE].hv.detached)
		return error_set(err, ERROR_HYPERVISOR, "the image is not whole");
	host->hv.attached = true;
	return true;
}

static bool order_mirror(Host *host, Error *err)
{
	if (host->hv.mirroring)
		return error_set(err, ERROR_HYPERVISOR, "the disk is being copied already");
	host->hv.mirroring = true;
	host->hv.detached = false;
	return true;
}

static bool order_detach(Host *host, Error *err)
{
	if (!host->hv.mirroring || host->hv.status != HV_PRE_SWITCHOVER)
		return error_set(err, ERROR_HYPERVISOR, "nothing is ready to be detached");
	host->hv.mirroring = false;
	host->hv.detached = true;
	return true;
}

static bool order_unmirror(Host *host, Error *err)
{
	(void)err;
	host->hv.mirroring = false;
	return true;
}

static bool order_nothing(Host *host, Error *err)
{
	(void)host;
	(void)err;
	return true;
}

static Order *const orders[] = {
	[HV_BOOT] = order_prepare, [HV_STOP] = order_stop,
	[HV_PREPARE] = order_prepare, [HV_LISTEN] = order_listen, [HV_MIGRATE] = order_migrate,
	[HV_CONTINUE] = order_continue, [HV_CANCEL] = order_cancel, [HV_CONT] = order_cont,
	[HV_QUIT] = order_end, [HV_KILL] = order_end, [HV_ANNOUNCE] = order_nothing,
	[HV_ADOPT] = order_nothing,
	[HV_OPEN_DISKS] = order_open, [HV_MIRROR] = order_mirror, [HV_DETACH] = order_detach,
	[HV_ATTACH] = order_attach, [HV_UNMIRROR] = order_unmirror,
};

static const char *const order_words[] = {
	[HV_BOOT] = "boot", [HV_STOP] = "stop",
	[HV_PREPARE] = "prepare", [HV_LISTEN] = "listen", [HV_MIGRATE] = "migrate",
	[HV_CONTINUE] = "continue", [HV_CANCEL] = "cancel", [HV_CONT] = "cont",
	[HV_QUIT] = "quit", [HV_KILL] = "kill", [HV_ANNOUNCE] = "announce", [HV_ADOPT] = "adopt",
	[HV_OPEN_DISKS] = "open-disks", [HV_MIRROR] = "mirror", [HV_DETACH] = "detach",
	[HV_ATTACH] = "attach", [HV_UNMIRROR] = "unmirror",
};

static void on_answer(World *world, Event *event)
{
	Host *host = event->host;
	Job *job = host_job(host, event->job);

	(void)world;
	host_enter(host);
	migration_on_hv_done(job->migration, (HvOperation)event->value,
			     event->failed ? &event->error : NULL);
	host_leave(host);
	host_settle(host, job);
}

static void answer(Host *host, const Event *order, const Error *failure)
{
	Event *event;

	/* The end of the process is its answer. */
	if (order->value == HV_KILL && !failure)
		return;
	event = schedule_news(host, ORDER_US, order_words[order->value], on_answer);
	event->generation = order->generation;
	event->job = order->job;
	event->value = order->value;
	event->failed = failure != NULL;
	if (failure)
		event->error = *failure;
}

/* The driver gives up waiting for an answer. */
static void answer_hanging(Host *host, const Event *order)
{
	Event *event = world_schedule(host->world, DEAF_REPLY_US, "no answer", on_answer);

	event->host = host;
	event->generation = order->generation;
	event->job = order->job;
	event->value = order->value;
	event->failed = true;
	error_set(&event->error, ERROR_UNAVAILABLE, "no answer from QEMU");
}

static void on_order(World *world, Event *event)
{
	Host *host = event->host;
	unsigned int generation = (unsigned int)event->number;
	HvOperation operation = (HvOperation)event->value;
	Error err = ERROR_INIT;
	bool ok;

	(void)world;
	event->generation = generation;
	if (host->hanging_orders & (1U << operation)) {
		answer_hanging(host, event);
		return;
	}
	if (!host->hv.alive && operation != HV_PREPARE && operation != HV_BOOT)
		ok = error_set(&err, ERROR_HYPERVISOR, "QEMU was killed by signal 9");
	else
		ok = orders[operation](host, &err);
	if (host->generation == generation && host->up)
		answer(host, event, ok ? NULL : &err);
}

/* What cannot even be asked is answered from the loop, as the engine does. */
static void answer_late(Host *host, Job *job, HvOperation operation, const Error *failure)
{
	Event *event = world_schedule_job(host, job, 10, "answer", on_answer);

	event->value = (uint64_t)operation;
	event->failed = failure != NULL;
	if (failure)
		event->error = *failure;
}

void hypervisor_do(Host *host, Job *job, HvOperation operation)
{
	bool makes = operation == HV_PREPARE || operation == HV_BOOT;
	Error err = ERROR_INIT;
	Event *event;

	/* The process is there at once, populating takes its time. */
	if (makes && !host->prepare_fails)
		reset(host, operation == HV_BOOT ? HV_PRELAUNCH : HV_INMIGRATE);
	if (operation == HV_KILL && !host->hv.alive) {
		answer_late(host, job, operation, NULL);
		return;
	}
	if (operation == HV_ADOPT && (!job->has_vm || !host->hv.alive))
		error_set(&err, ERROR_NOT_FOUND, "the process of VM vm1 is gone");
	else if (operation != HV_KILL && !makes && (!job->has_vm || !host->hv.alive))
		error_set(&err, ERROR_HYPERVISOR, "the VM has no process");
	else if (operation != HV_KILL && is_deaf(host))
		error_set(&err, ERROR_UNAVAILABLE, "there is no connection with the VM");
	if (err.category) {
		answer_late(host, job, operation, &err);
		return;
	}
	event = world_schedule(host->world,
			       after_monitor_us(host, makes ? PREPARE_US : ORDER_US),
			       order_words[operation], on_order);
	event->host = host;
	event->number = host->generation;
	event->job = job->serial;
	event->value = (uint64_t)operation;
}

/* --- questions: first the migration's state, then the guest's --- */

static void on_state(World *world, Event *event)
{
	Host *host = event->host;
	Job *job = host_job(host, event->job);
	const HvState *state = event->payload;

	(void)world;
	host_enter(host);
	migration_on_hv_state(job->migration, state, event->failed ? &event->error : NULL);
	host_leave(host);
	host_settle(host, job);
}

static void tell_state(Host *host, const Event *asked, const HvState *state, const Error *failure)
{
	Event *event = schedule_news(host, 300, "state", on_state);

	event->job = asked->job;
	event->failed = failure != NULL;
	if (failure)
		event->error = *failure;
	event->payload = malloc(sizeof(*state));
	assert_non_null(event->payload);
	memcpy(event->payload, state, sizeof(*state));
}

static void on_second_look(World *world, Event *event)
{
	Host *host = event->host;
	HvState state = { .status = (HvStatus)event->value, .run_state = host->hv.run_state };
	Error err = ERROR_INIT;

	(void)world;
	if (!host->hv.alive)
		error_set(&err, ERROR_HYPERVISOR, "QEMU was killed by signal 9");
	tell_state(host, event, &state, err.category ? &err : NULL);
}

static void on_first_look(World *world, Event *event)
{
	Host *host = event->host;
	const HvState unknown = { HV_NONE, HV_OTHER };
	Error err = ERROR_INIT;
	Event *second;

	(void)world;
	if (!host->hv.alive || is_deaf(host)) {
		error_set(&err, host->hv.alive ? ERROR_UNAVAILABLE : ERROR_HYPERVISOR, "%s",
			  host->hv.alive ? "no answer from QEMU" : "QEMU was killed by signal 9");
		tell_state(host, event, &unknown, &err);
		return;
	}
	second = schedule_news(host, 300, "second look", on_second_look);
	second->job = event->job;
	second->value = (uint64_t)host->hv.status;
}

void hypervisor_ask(Host *host, Job *job)
{
	if (is_deaf(host))
		world_schedule_job(host, job, DEAF_REPLY_US, "look", on_first_look);
	else
		schedule_news(host, 300, "look", on_first_look)->job = job->serial;
}
