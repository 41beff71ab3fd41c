/* SPDX-License-Identifier: Apache-2.0 */
/* The ports of a migration, on the world instead of on the real one (src/engine/ports.c). */
#include <stdio.h>
#include <string.h>

#include "crypto/digest.h"
#include "programs/notary/judge.h"
#include "tests/migration/world.h"

enum { NOTARY_US = 1500, NOTARY_DOWN_US = 300, MOVER_START_US = 4 * MS, EXPORT_US = 500 };

static Job *job_for(void *context, const Migration *m)
{
	return host_job_of(context, m);
}

/* --- peer --- */

static void port_dial(void *context, Migration *m)
{
	if (host_acts(context) && !((Host *)context)->hanging_dial)
		link_dial(context, job_for(context, m));
}

static bool port_send(void *context, Migration *m, const PeerMessage *message, Error *err)
{
	Job *job = job_for(context, m);

	/* An engine whose power goes does not learn that it sent nothing. */
	return !host_acts(context) || link_send(context, job, message, err);
}

static void port_hang_up(void *context, Migration *m)
{
	Job *job = job_for(context, m);

	if (!host_acts(context))
		return;
	job->dialled = 0;
	if (job->connection)
		link_close(context, job->connection);
	job->connection = 0;
}

static void on_exported(World *world, Event *event)
{
	Host *host = event->host;
	Job *job = host_job(host, event->job);
	uint8_t secret[ROLE_EXPORT_BYTES];

	(void)world;
	if (!job->connection)
		return;
	memset(secret, 0x42, sizeof(secret));
	host_enter(host);
	migration_on_exported(job->migration, secret);
	host_leave(host);
	host_settle(host, job);
}

static void port_export(void *context, Migration *m)
{
	if (host_acts(context))
		world_schedule_job(context, job_for(context, m), EXPORT_US, "exported", on_exported);
}

/* --- notary: what it signs is its own name and the JSON --- */

typedef struct Parcel {
	char signer[LIMIT_SPIFFE_ID];
	uint8_t json[];
} Parcel;

static void fail_notary(Host *host, Job *job, const Error *failure)
{
	host_enter(host);
	migration_on_notary_failed(job->migration, failure);
	host_leave(host);
	host_settle(host, job);
}

static bool notary_hangs(const Host *host, StatementKind kind)
{
	return host->notary_hangs_until_us > host->world->now_us ||
	       (host->hanging_statements & (1U << kind)) != 0;
}

static bool notary_is_down(Host *host, Job *job)
{
	Error err = ERROR_INIT;

	if (host->notary_down_until_us <= host->world->now_us)
		return false;
	error_set(&err, ERROR_UNAVAILABLE, "the notary is being restarted");
	fail_notary(host, job, &err);
	return true;
}

static bool pack(Host *host, Statement *statement, NotarySigned *ret_signed, Error *err)
{
	AUTO_BUFFER Buffer json = BUFFER_INIT(LIMIT_STATEMENT_JSON);
	World *world = host->world;
	char signer[LIMIT_SPIFFE_ID];

	memset(signer, 0, sizeof(signer));
	snprintf(signer, sizeof(signer), "%s", host->policy.host_id);
	if (world->tamper && world->tampered == statement->kind)
		world->tamper(world, host, statement, signer);
	if (!statement_encode_json(statement, &json, err) ||
	    !digest_sha384(json.data, json.used, ret_signed->digest, err))
		return false;
	world->said[statement->kind]++;
	ret_signed->cms_size = sizeof(signer) + json.used;
	assert_true(ret_signed->cms_size <= sizeof(ret_signed->cms));
	memcpy(ret_signed->cms, signer, sizeof(signer));
	memcpy(ret_signed->cms + sizeof(signer), json.data, json.used);
	return true;
}

static void on_sign(World *world, Event *event)
{
	Host *host = event->host;
	Job *job = host_job(host, event->job);
	NotarySigned *result;
	Error err = ERROR_INIT;

	(void)world;
	if (notary_is_down(host, job))
		return;
	result = test_calloc(1, sizeof(*result));
	if (pack(host, event->payload, result, &err)) {
		host_enter(host);
		migration_on_signed(job->migration, result);
		host_leave(host);
		host_settle(host, job);
	} else {
		fail_notary(host, job, &err);
	}
	test_free(result);
}

static void port_sign(void *context, Migration *m, const Statement *statement)
{
	Host *host = context;
	Event *event;

	if (!host_acts(host) || notary_hangs(host, statement->kind))
		return;
	event = world_schedule_job(host, job_for(context, m),
				   host->notary_down_until_us > host->world->now_us ? NOTARY_DOWN_US :
										      NOTARY_US,
				   "sign", on_sign);
	event->payload = malloc(sizeof(*statement));
	assert_non_null(event->payload);
	memcpy(event->payload, statement, sizeof(*statement));
}

static bool judge(Host *host, const NotaryVerify *request, NotaryVerified *ret_verified, Error *err)
{
	const Parcel *parcel = (const void *)request->cms;
	size_t size = request->cms_size - sizeof(*parcel);
	Statement *s = &ret_verified->statement;

	if (request->cms_size <= sizeof(*parcel))
		return error_set(err, ERROR_AUTH, "not a CMS SignedData");
	if (strcmp(parcel->signer, request->signer))
		return error_set(err, ERROR_AUTH, "signed by %.120s, expected %.120s", parcel->signer,
				 request->signer);
	if (!statement_decode_json(parcel->json, size, s, err))
		return false;
	if (s->kind != request->kind)
		return error_set(err, ERROR_AUTH, "is a %s, expected a %s", statement_words[s->kind],
				 statement_words[request->kind]);
	ret_verified->kind = s->kind;
	return judge_parties(s, request->signer, err) &&
	       judge_time(s, clock_wall_s(&host->clock), err) &&
	       digest_sha384(parcel->json, size, ret_verified->digest, err);
}

static void on_verify(World *world, Event *event)
{
	Host *host = event->host;
	Job *job = host_job(host, event->job);
	NotaryVerified *result;
	Error err = ERROR_INIT;

	(void)world;
	if (notary_is_down(host, job))
		return;
	result = test_calloc(1, sizeof(*result));
	if (judge(host, event->payload, result, &err)) {
		host_enter(host);
		migration_on_verified(job->migration, result);
		host_leave(host);
		host_settle(host, job);
	} else {
		fail_notary(host, job, &err);
	}
	test_free(result);
}

static void port_verify(void *context, Migration *m, const NotaryVerify *request)
{
	Host *host = context;
	Event *event;

	if (!host_acts(host) || notary_hangs(host, request->kind))
		return;
	event = world_schedule_job(host, job_for(context, m), NOTARY_US, "verify", on_verify);
	event->payload = malloc(sizeof(*request));
	assert_non_null(event->payload);
	memcpy(event->payload, request, sizeof(*request));
}

/* --- mover --- */

static void on_mover_ready(World *world, Event *event)
{
	Host *host = event->host;
	Job *job = host_job(host, event->job);

	(void)world;
	if (!job->mover)
		return;
	host_enter(host);
	migration_on_mover_ready(job->migration);
	host_leave(host);
	host_settle(host, job);
}

static void port_mover_start(void *context, Migration *m, uint64_t channels)
{
	Job *job = job_for(context, m);

	assert_true(channels >= 1 && channels <= LIMIT_STREAM_CHANNELS);
	if (!host_acts(context))
		return;
	job->mover = true;
	if (!((Host *)context)->hanging_mover)
		world_schedule_job(context, job, MOVER_START_US, "mover ready", on_mover_ready);
}

static bool port_mover_setup(void *context, Migration *m, const MoverSetup *setup, Error *err)
{
	Job *job = job_for(context, m);

	assert_int_equal(setup->channels, migration_record(m)->channels);
	assert_int_equal(setup->sealed, migration_record(m)->mode != SEAL_DISABLED);
	if (!host_acts(context))
		return true;
	if (!job->mover)
		return error_set(err, ERROR_INTERNAL, "the mover is gone");
	job->mover_set = true;
	return true;
}

static void port_mover_stop(void *context, Migration *m)
{
	Host *host = context;
	Job *job = job_for(context, m);

	if (!host_acts(host))
		return;
	if (job->mover && host->world->stream.jobs[host->name] == job->serial)
		stream_break(host->world, "a mover was stopped", false);
	job->mover = false;
}

static void on_channel_failed(World *world, Event *event)
{
	Job *job = host_job(event->host, event->job);

	(void)world;
	host_enter(event->host);
	migration_on_mover_failed(job->migration, &event->error);
	host_leave(event->host);
	host_settle(event->host, job);
}

static void fail_channel(Host *host, Job *job, const char *why)
{
	Event *event = world_schedule_job(host, job, 10, "channel failed", on_channel_failed);

	error_set(&event->error, ERROR_UNAVAILABLE, "data channel: %s", why);
}

static void on_proven(World *world, Event *event)
{
	Job *job = host_job(event->host, event->job);

	(void)world;
	if (!job->mover)
		return;
	host_enter(event->host);
	migration_on_mover_proven(job->migration, event->value);
	host_leave(event->host);
	host_settle(event->host, job);
}

static Job *taker(Host *host, const RolePreamble *preamble)
{
	for (int i = 0; host->up && i < WORLD_JOBS; i++)
		if (host->jobs[i].serial && host->jobs[i].mover_set &&
		    migration_takes_channel(host->jobs[i].migration, preamble))
			return &host->jobs[i];
	return NULL;
}

static void on_channel(World *world, Event *event)
{
	Host *host = event->host, *peer = world_peer(host);
	Job *job = host_job(host, event->job), *other;
	const RolePreamble *preamble = event->payload;

	if (!job->mover || !world->data_up) {
		fail_channel(host, job, "cannot connect");
		return;
	}
	other = taker(peer, preamble);
	if (!other) {
		fail_channel(host, job, "closed by the peer");
		return;
	}
	if (!world->stream.open || world->stream.jobs[SOURCE] != job->serial)
		stream_open(world, job->serial, other->serial);
	world_schedule_job(peer, other, 100, "proven", on_proven)->value = preamble->channel;
	world_schedule_job(host, job, world->options.latency_us, "proven", on_proven)->value =
		preamble->channel;
}

static void port_open_channels(void *context, Migration *m, const RolePreamble *first, uint64_t channels)
{
	Host *host = context;
	World *world = host->world;

	if (!host_acts(host) || world->hanging_channels)
		return;
	for (uint64_t i = 0; i < channels + migration_disk_channels(m); i++) {
		RolePreamble *preamble = malloc(sizeof(*preamble));

		assert_non_null(preamble);
		*preamble = *first;
		preamble->channel = i < channels ? i : LIMIT_STREAM_CHANNELS + i - channels;
		world_schedule_job(host, job_for(context, m),
				   4 * world->options.latency_us + (int64_t)world_random(world, 500),
				   "channel", on_channel)
			->payload = preamble;
	}
}

/* --- hypervisor --- */

static void port_hv(void *context, Migration *m, HvOperation operation)
{
	if (host_acts(context))
		hypervisor_do(context, job_for(context, m), operation);
}

static void port_hv_query(void *context, Migration *m)
{
	if (host_acts(context))
		hypervisor_ask(context, job_for(context, m));
}

/* --- timers --- */

static void on_deadline(World *world, Event *event)
{
	Job *job = host_job(event->host, event->job);

	(void)world;
	if (job->deadline != event->number)
		return;
	job->deadline = 0;
	host_enter(event->host);
	migration_on_deadline(job->migration);
	host_leave(event->host);
	host_settle(event->host, job);
}

static void on_tick(World *world, Event *event)
{
	Job *job = host_job(event->host, event->job);

	(void)world;
	if (job->tick != event->number)
		return;
	job->tick = 0;
	host_enter(event->host);
	migration_on_tick(job->migration);
	host_leave(event->host);
	host_settle(event->host, job);
}

static void arm(Host *host, Job *job, uint64_t *timer, uint64_t ms, const char *name, EventRun *run)
{
	world_forget(host->world, *timer, run);
	*timer = 0;
	if (!ms)
		return;
	*timer = ++host->world->next_number;
	world_schedule_job(host, job, (int64_t)ms * MS, name, run)->number = *timer;
}

/* As in the engine: a migration without a job yet has no timers. */
static void port_set_deadline(void *context, Migration *m, uint64_t ms)
{
	Job *job = job_for(context, m);

	if (job)
		arm(context, job, &job->deadline, ms, "deadline", on_deadline);
}

static void port_set_tick(void *context, Migration *m, uint64_t ms)
{
	Job *job = job_for(context, m);

	if (job)
		arm(context, job, &job->tick, ms, "tick", on_tick);
}

/* --- the rest --- */

static bool port_check_manifest(void *context, Migration *m, const Manifest *manifest, Error *err)
{
	Host *host = context;

	(void)m;
	(void)manifest;
	if (!host->manifest_refusal.category)
		return true;
	*err = host->manifest_refusal;
	return false;
}

static uint64_t port_free_memory(void *context)
{
	Host *host = context;

	return host->free_memory;
}

static bool take_incoming(Host *host, Job *job, Error *err)
{
	VmRecord record = *migration_vm(job->migration);

	if (host->hv.alive || host_job_with_vm(host))
		return error_set(err, ERROR_CONFLICT, "VM %s still has a process here", record.name);
	if (host->knows_vm)
		record.seen_epoch = host->vm.epoch;
	host->vm = record;
	host->knows_vm = true;
	job->has_vm = true;
	return host_save_vm(host, err);
}

static bool drop_incoming(Host *host, Job *job, Error *err)
{
	if (!job->has_vm)
		return true;
	if (host->vm.seen_epoch || host->vm.state == VM_MOVED) {
		host->vm.state = VM_MOVED;
		if (host->vm.seen_epoch)
			host->vm.epoch = host->vm.seen_epoch;
		host->vm.seen_epoch = 0;
		return host_save_vm(host, err);
	}
	if (!store_delete(host->store, STORE_VMS, host->vm.manifest.uuid, err) &&
	    err->category != ERROR_NOT_FOUND)
		return false;
	job->has_vm = false;
	host->knows_vm = false;
	return true;
}

static bool port_vm_changed(void *context, Migration *m, VmState state, Error *err)
{
	Host *host = context;
	Job *job = job_for(context, m);
	bool incoming = migration_record(m)->role == MIGRATION_DESTINATION;

	if (!host_acts(host))
		return true;
	if (incoming && state == VM_INCOMING)
		return take_incoming(host, job, err);
	if (!job->has_vm)
		return true;
	if (incoming && state == VM_FAILED)
		return drop_incoming(host, job, err);
	host->vm.state = state;
	if (incoming)
		host->vm.seen_epoch = 0;
	if (state == VM_MOVED)
		host->vm.epoch = migration_record(m)->epoch;
	watch_row(host);
	return host_save_vm(host, err);
}

static void port_notify(void *context, Migration *m)
{
	(void)context;
	(void)m;
}

static void port_log(void *context, Migration *m, bool warning, const char *text)
{
	Host *host = context;
	char *warnings = host->world->warnings[host->name];
	size_t used = strlen(warnings);

	world_trace(host->world, "   %s [%s] %s%s", host_word(host), migration_step_name(m),
		    warning ? "! " : "", text);
	if (warning && used + strlen(text) + 2 < sizeof(host->world->warnings[0]))
		sprintf(warnings + used, "%s\n", text);
}

void ports_of_host(Host *host)
{
	host->ports = (MigrationPorts){
		.context = host,
		.store = host->store,
		.policy = &host->policy,
		.clock = &host->clock,
		.dial = port_dial,
		.send = port_send,
		.hang_up = port_hang_up,
		.export_secret = port_export,
		.sign = port_sign,
		.verify = port_verify,
		.mover_start = port_mover_start,
		.mover_setup = port_mover_setup,
		.mover_stop = port_mover_stop,
		.open_channels = port_open_channels,
		.hv = port_hv,
		.hv_query = port_hv_query,
		.keys = keys_ask,
		.set_deadline = port_set_deadline,
		.set_tick = port_set_tick,
		.check_manifest = port_check_manifest,
		.free_memory = port_free_memory,
		.vm_changed = port_vm_changed,
		.notify = port_notify,
		.log = port_log,
	};
}
