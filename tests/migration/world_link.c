/* SPDX-License-Identifier: Apache-2.0 */
/* Control connections, as the gate gives them to the engine: whole messages in order, or the news
 * that the connection is closed. */
#include <string.h>

#include "tests/migration/world.h"

enum { REFUSED_US = 5 * MS, DIAL_TIMEOUT_US = 3 * SECOND, SILENCE_US = 15 * SECOND };

static Connection *find(World *world, uint64_t number)
{
	for (size_t i = 0; i < WORLD_CONNECTIONS && number; i++)
		if (world->connections[i].number == number)
			return &world->connections[i];
	return NULL;
}

static Connection *new_connection(World *world, uint64_t number)
{
	for (size_t i = 0; i < WORLD_CONNECTIONS; i++) {
		Connection *c = &world->connections[i];

		if (c->open[SOURCE] || c->open[DESTINATION])
			continue;
		*c = (Connection){ .number = number, .open = { true, true } };
		return c;
	}
	fail_msg("more than %d connections", WORLD_CONNECTIONS);
	return NULL;
}

static int64_t flight_us(World *world)
{
	return world->options.latency_us + (int64_t)world_random(world, 300);
}

/* In order, never at the same instant. */
static int64_t arrival_us(World *world, Connection *c, HostName to)
{
	int64_t at_us = world->now_us + flight_us(world);

	if (at_us <= c->arrival_us[to])
		at_us = c->arrival_us[to] + 1;
	c->arrival_us[to] = at_us;
	return at_us - world->now_us;
}

static Job *bound_job(Host *host, const Connection *c)
{
	Job *job = host_job(host, c->job[host->name]);

	return job && job->connection == c->number ? job : NULL;
}

/* --- closing --- */

static void on_closed(World *world, Event *event)
{
	Connection *c = find(world, event->number);
	Job *job;

	if (!c || !c->open[event->host->name])
		return;
	c->open[event->host->name] = false;
	job = bound_job(event->host, c);
	if (!job)
		return;
	job->connection = 0;
	host_enter(event->host);
	migration_on_peer_closed(job->migration, &event->error);
	host_leave(event->host);
	host_settle(event->host, job);
}

static void schedule_closed(Host *host, Connection *c, int64_t after_us, const char *why)
{
	Event *event = world_schedule(host->world, after_us, "closed", on_closed);

	event->host = host;
	event->generation = host->generation;
	event->number = c->number;
	error_set(&event->error, ERROR_UNAVAILABLE, "%s", why);
}

void link_close(Host *host, uint64_t number)
{
	World *world = host->world;
	Host *peer = world_peer(host);
	Connection *c = find(world, number);

	if (!c || !c->open[host->name])
		return;
	c->open[host->name] = false;
	if (c->open[peer->name] && !c->broken)
		schedule_closed(peer, c, arrival_us(world, c, peer->name), "the peer closed the connection");
}

void link_crash(Host *host)
{
	for (size_t i = 0; i < WORLD_CONNECTIONS; i++)
		if (host->world->connections[i].open[host->name])
			link_close(host, host->world->connections[i].number);
}

void link_cut_control(World *world)
{
	world->control_up = false;
	for (size_t i = 0; i < WORLD_CONNECTIONS; i++) {
		Connection *c = &world->connections[i];

		if (c->broken)
			continue;
		c->broken = true;
		for (int k = 0; k < HOSTS; k++)
			if (c->open[k])
				schedule_closed(&world->hosts[k], c,
						50 * MS + (int64_t)world_random(world, SILENCE_US),
						"nothing from the peer");
	}
}

void link_mend_control(World *world)
{
	world->control_up = true;
}

/* --- dialling --- */

static void refuse_dial(Host *host, Job *job, const char *why)
{
	Error err = ERROR_INIT;

	job->dialled = 0;
	error_set(&err, ERROR_UNAVAILABLE, "%s", why);
	host_enter(host);
	migration_on_peer_closed(job->migration, &err);
	host_leave(host);
	host_settle(host, job);
}

static void on_timeout(World *world, Event *event)
{
	Job *job = host_job(event->host, event->job);

	(void)world;
	if (job->dialled == event->number)
		refuse_dial(event->host, job, "cannot connect: timeout");
}

static void on_dialled(World *world, Event *event)
{
	Host *host = event->host;
	Job *job = host_job(host, event->job);
	Connection *c;

	if (job->dialled != event->number)
		return;
	if (!world->control_up) {
		world_schedule_job(host, job, DIAL_TIMEOUT_US, "dial timeout", on_timeout)->number =
			event->number;
		return;
	}
	if (!world_peer(host)->up) {
		refuse_dial(host, job, "cannot connect: refused");
		return;
	}
	c = new_connection(world, event->number);
	c->job[host->name] = job->serial;
	job->dialled = 0;
	job->connection = c->number;
	host_enter(host);
	migration_on_peer_open(job->migration, (uint64_t)(2 * world->options.latency_us));
	host_leave(host);
	host_settle(host, job);
}

void link_dial(Host *host, Job *job)
{
	World *world = host->world;

	job->dialled = ++world->next_number;
	/* TCP, TLS 1.3, hello: three round trips. */
	world_schedule_job(host, job, 6 * flight_us(world) + REFUSED_US, "dialled", on_dialled)->number =
		job->dialled;
}

/* --- messages --- */

static void receive(Host *host, Connection *c, const PeerMessage *message)
{
	Job *job = bound_job(host, c);

	if (!job) {
		job = host_route(host, c->number, message);
		if (!job)
			return;
		c->job[host->name] = job->serial;
	}
	host_enter(host);
	migration_on_peer_message(job->migration, message);
	host_leave(host);
	host_settle(host, job);
}

static bool is_swallowed(const World *world, const PeerMessage *message)
{
	if (message->kind == PEER_STATEMENT)
		return (world->swallowed_statements & (1U << message->statement)) != 0;
	return (world->swallowed_messages & (1U << message->kind)) != 0;
}

static void on_arrived(World *world, Event *event)
{
	Connection *c = find(world, event->number);
	const PeerMessage *message = event->payload;

	if (!c || c->broken || !c->open[event->host->name] || is_swallowed(world, message)) {
		world->lost_messages++;
		return;
	}
	world_trace(world, "   %s gets %s", host_word(event->host),
		    message->kind == PEER_STATEMENT ? statement_words[message->statement] :
						      peer_words[message->kind]);
	receive(event->host, c, message);
}

bool link_send(Host *host, Job *job, const PeerMessage *message, Error *err)
{
	AUTO_BUFFER Buffer frame = BUFFER_INIT(LIMIT_FRAME + PEER_FRAME_HEADER);
	World *world = host->world;
	Host *peer = world_peer(host);
	Connection *c = find(world, job->connection);
	PeerMessage *copy;
	Event *event;

	if (!c || !c->open[host->name])
		return error_set(err, ERROR_UNAVAILABLE, "no connection to the peer");
	if (!peer_encode_frame(message, &frame, err))
		return false;
	copy = malloc(sizeof(*copy));
	assert_non_null(copy);
	assert_works(peer_decode(frame.data + PEER_FRAME_HEADER, frame.used - PEER_FRAME_HEADER, copy, err),
		     err);
	event = world_schedule(world, arrival_us(world, c, peer->name), "message", on_arrived);
	event->host = peer;
	event->generation = peer->generation;
	event->number = c->number;
	event->payload = copy;
	world->sent[message->kind]++;
	return true;
}

void link_inject(Host *to, const PeerMessage *message)
{
	Job *job = host_only_job(to);

	assert_non_null(job);
	host_enter(to);
	migration_on_peer_message(job->migration, message);
	host_leave(to);
	host_settle(to, job);
}

/* As the engine's ping: each side hears from the other. */
void link_ping(World *world)
{
	static const PeerMessage message = { .kind = PEER_PING };

	for (size_t i = 0; i < WORLD_CONNECTIONS; i++) {
		Connection *c = &world->connections[i];

		if (world->silent || c->broken || !c->open[SOURCE] || !c->open[DESTINATION])
			continue;
		for (int k = 0; k < HOSTS; k++) {
			Job *job = bound_job(&world->hosts[k], c);

			if (job && bound_job(&world->hosts[1 - k], c))
				migration_on_peer_message(job->migration, &message);
		}
	}
}
