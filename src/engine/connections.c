/* SPDX-License-Identifier: Apache-2.0 */
/* Control connections: hello in both directions, then each message goes to its migration. */
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "engine/engine.h"

/* Of two seconds each: how long a connection may be there for nothing. */
enum { IDLE_PINGS = 15 };

static Connection *find(Engine *engine, uint64_t number)
{
	Connection *connection;

	LIST_FOREACH(connection, &engine->connections, link)
		if (connection->number == number)
			return connection;
	return NULL;
}

bool connection_send(Engine *engine, Connection *connection, const PeerMessage *message, Error *err)
{
	RolePeer *peer = calloc(1, sizeof(*peer));
	bool ok;

	if (!peer)
		return error_set(err, ERROR_INTERNAL, "no memory for a message");
	if (!engine->gate) {
		free(peer);
		return error_set(err, ERROR_UNAVAILABLE, "the gate is being restarted");
	}
	peer->kind = message->kind;
	peer->message = *message;
	ok = child_send(engine->gate, GATE_SEND, connection->number, &role_peer_schema, peer, NULL, 0,
			err);
	explicit_bzero(peer, sizeof(*peer));
	free(peer);
	return ok;
}

static void forget(Connection *connection)
{
	if (connection->job)
		connection->job->connection = NULL;
	LIST_REMOVE(connection, link);
	free(connection);
}

void connection_close(Engine *engine, Connection *connection)
{
	Error err = ERROR_INIT;

	if (engine->gate &&
	    !child_send(engine->gate, GATE_CLOSE, connection->number, NULL, NULL, NULL, 0, &err))
		log_warning(engine->log, "gate: %s", err.text);
	forget(connection);
}

static void refuse(Engine *engine, Connection *connection, const uint8_t *migration,
		   ErrorCategory category, const char *text)
{
	PeerMessage *message = calloc(1, sizeof(*message));
	Error err = ERROR_INIT;

	if (message) {
		message->kind = PEER_REFUSE;
		memcpy(message->migration, migration, MIGRATION_ID_BYTES);
		snprintf(message->category, sizeof(message->category), "%s", error_word(category));
		snprintf(message->text, sizeof(message->text), "%s", text);
		if (!connection_send(engine, connection, message, &err))
			log_warning(engine->log, "gate: %s", err.text);
		free(message);
	}
	connection_close(engine, connection);
}

/* --- hello --- */

static void load_own_crl(Engine *engine, PeerMessage *hello)
{
	AUTO_BUFFER Buffer crl = BUFFER_INIT(LIMIT_CRL);
	Error err = ERROR_INIT;

	if (!engine->config.domain_crl[0])
		return;
	/* Read anew each time: `sealift pki crl` renews the file under a running engine. */
	if (!file_read(engine->config.domain_crl, LIMIT_CRL, &crl, &err)) {
		log_warning(engine->log, "our own CRL: %s", err.text);
		return;
	}
	memcpy(hello->crl, crl.data, crl.used);
	hello->crl_size = crl.used;
}

static bool send_hello(Engine *engine, Connection *connection, Error *err)
{
	PeerMessage *hello = calloc(1, sizeof(*hello));
	bool ok;

	if (!hello)
		return error_set(err, ERROR_INTERNAL, "no memory for a message");
	hello->kind = PEER_HELLO;
	hello->version_min = PEER_VERSION_MIN;
	hello->version_max = PEER_VERSION_MAX;
	snprintf(hello->software, sizeof(hello->software), "sealift %s", SEALIFT_VERSION);
	load_own_crl(engine, hello);
	ok = connection_send(engine, connection, hello, err);
	free(hello);
	return ok;
}

static void check_peer_crl(Engine *engine, const Connection *connection, const PeerMessage *hello)
{
	char domain[LIMIT_DOMAIN];
	Error err = ERROR_INIT;

	if (hello->crl_size && !children_check_crl(engine, peer_domain(connection->peer_id, domain),
						   hello->crl, hello->crl_size, NULL, &err))
		log_warning(engine->log, "CRL of %s: %s", connection->peer_id, err.text);
}

static void on_hello(Engine *engine, Connection *connection, const PeerMessage *hello)
{
	Job *job = connection->job;
	char text[LIMIT_TEXT];
	Error err = ERROR_INIT;

	if (!peer_version_fits(hello->version_min, hello->version_max)) {
		snprintf(text, sizeof(text), "%s speaks versions %llu to %llu of sealift/1, we %d to %d",
			 connection->peer_id, (unsigned long long)hello->version_min,
			 (unsigned long long)hello->version_max, PEER_VERSION_MIN, PEER_VERSION_MAX);
		connection_close(engine, connection);
		if (job) {
			error_set(&err, ERROR_PEER, "%s", text);
			migration_on_peer_closed(job->migration, &err);
			job_settle(job);
		}
		return;
	}
	connection->greeted = true;
	check_peer_crl(engine, connection, hello);
	if (job) {
		migration_on_peer_open(job->migration, connection->rtt_us);
		job_settle(job);
	}
}

/* --- routing --- */

static void bind_job(Job *job, Connection *connection)
{
	if (job->connection && job->connection != connection)
		connection_close(job->engine, job->connection);
	job->connection = connection;
	connection->job = job;
	connection->idle_pings = 0;
}

static void start_incoming(Engine *engine, Connection *connection, const PeerMessage *message)
{
	Error err = ERROR_INIT;
	Migration *migration;
	Job *job;
	size_t count = 0;

	LIST_FOREACH(job, &engine->jobs, link)
		count++;
	if (count >= LIMIT_MIGRATIONS) {
		refuse(engine, connection, message->migration, ERROR_LIMIT, "too many migrations at once");
		return;
	}
	migration = migration_new_destination(&engine->ports, connection->peer_id, &err);
	job = migration ? job_new(engine, migration, NULL) : NULL;
	if (!job) {
		migration_free(migration);
		refuse(engine, connection, message->migration, ERROR_INTERNAL, "no memory");
		return;
	}
	bind_job(job, connection);
	migration_on_peer_message(job->migration, message);
	job_settle(job);
}

/* An ended migration whose source asks again: what was said is said again, or declined. */
static Job *revive(Engine *engine, const Connection *connection, const uint8_t *id, bool *ret_broken)
{
	MigrationRecord record;
	char key[2 * MIGRATION_ID_BYTES + 1];
	Error err = ERROR_INIT;
	Migration *migration;
	Job *job;

	hex_encode(id, MIGRATION_ID_BYTES, key);
	if (!store_get(engine->store, STORE_MIGRATIONS, key, &record, &err) ||
	    record.role != MIGRATION_DESTINATION || strcmp(record.peer_id, connection->peer_id))
		return NULL;
	/* Under way, but recovery could not take it up: not ours to say that it is unknown. */
	if (record.state == MIGRATION_ACTIVE || record.state == MIGRATION_STUCK) {
		*ret_broken = true;
		return NULL;
	}
	migration = migration_new_recovered(&engine->ports, &record, NULL, &err);
	job = migration ? job_new(engine, migration, NULL) : NULL;
	if (!job)
		migration_free(migration);
	else
		migration_recover(job->migration);
	return job;
}

static void answer_unknown(Engine *engine, Connection *connection, const PeerMessage *message)
{
	PeerMessage *answer;
	Error err = ERROR_INIT;

	if (message->kind != PEER_QUERY) {
		refuse(engine, connection, message->migration, ERROR_NOT_FOUND,
		       "this host knows no such migration of yours");
		return;
	}
	answer = calloc(1, sizeof(*answer));
	if (!answer)
		return;
	answer->kind = PEER_STATE;
	memcpy(answer->migration, message->migration, sizeof(answer->migration));
	answer->state = PEER_STATE_UNKNOWN;
	if (!connection_send(engine, connection, answer, &err))
		log_warning(engine->log, "gate: %s", err.text);
	free(answer);
}

static void route_new(Engine *engine, Connection *connection, const PeerMessage *message)
{
	bool broken = false;
	Job *job;

	if (message->kind == PEER_STATEMENT && message->statement == STATEMENT_OFFER) {
		start_incoming(engine, connection, message);
		return;
	}
	job = job_of_migration(engine, message->migration);
	/* Its own peer only; another one learns nothing of it. */
	if (job && (migration_record(job->migration)->role != MIGRATION_DESTINATION ||
		    strcmp(migration_record(job->migration)->peer_id, connection->peer_id)))
		job = NULL;
	else if (!job)
		job = revive(engine, connection, message->migration, &broken);
	if (broken) {
		connection_close(engine, connection);
		return;
	}
	if (!job) {
		answer_unknown(engine, connection, message);
		return;
	}
	bind_job(job, connection);
	migration_on_peer_open(job->migration, connection->rtt_us);
	migration_on_peer_message(job->migration, message);
	job_settle(job);
}

static void on_ping(Engine *engine, Connection *connection, const PeerMessage *ping)
{
	PeerMessage *pong = calloc(1, sizeof(*pong));
	Error err = ERROR_INIT;

	if (!pong)
		return;
	pong->kind = PEER_PONG;
	pong->stamp_us = ping->stamp_us;
	if (!connection_send(engine, connection, pong, &err))
		log_warning(engine->log, "gate: %s", err.text);
	free(pong);
}

static void on_received(Engine *engine, uint64_t number, const RolePeer *peer)
{
	Connection *connection = find(engine, number);
	Job *job;

	if (!connection)
		return;
	job = connection->job;
	if (!job && !engine->recovered) {
		/* What is under way here is not known yet: an answer now would be wrong. */
		connection_close(engine, connection);
		return;
	}
	if (peer->kind == PEER_HELLO) {
		if (!connection->greeted)
			on_hello(engine, connection, &peer->message);
		return;
	}
	if (!connection->greeted)
		return;
	if (peer->kind == PEER_PING)
		on_ping(engine, connection, &peer->message);
	/* The kind stands outside the message here; inside it is not set. */
	PeerMessage *message = malloc(sizeof(*message));

	if (!message)
		return;
	*message = peer->message;
	message->kind = peer->kind;
	if (job) {
		migration_on_peer_message(job->migration, message);
		job_settle(job);
	} else if (peer->kind != PEER_PING && peer->kind != PEER_PONG) {
		route_new(engine, connection, message);
	}
	explicit_bzero(message, sizeof(*message));
	free(message);
}

/* --- gate --- */

static Job *job_dialling(Engine *engine, uint64_t number)
{
	Job *job;

	LIST_FOREACH(job, &engine->jobs, link)
		if (job->dialled == number)
			return job;
	return NULL;
}

static void on_connected(Engine *engine, uint64_t number, const GateIdentity *identity)
{
	Connection *connection = calloc(1, sizeof(*connection));
	Job *job = number < GATE_INBOUND_BASE ? job_dialling(engine, number) : NULL;
	Error err = ERROR_INIT;

	if (!connection)
		return;
	connection->number = number;
	connection->rtt_us = identity->rtt_us;
	snprintf(connection->peer_id, sizeof(connection->peer_id), "%s", identity->peer_id);
	LIST_INSERT_HEAD(&engine->connections, connection, link);
	/* Before recovery has run nothing true can be said of a migration: who asks will ask again. */
	if (number < GATE_INBOUND_BASE ? !job : !engine->recovered) {
		connection_close(engine, connection);
		return;
	}
	if (job) {
		job->dialled = 0;
		bind_job(job, connection);
	}
	if (!send_hello(engine, connection, &err)) {
		log_warning(engine->log, "gate: %s", err.text);
		connection_close(engine, connection);
	}
}

static void on_closed(Engine *engine, uint64_t number, const RoleFailure *failure)
{
	Connection *connection = find(engine, number);
	Job *job = connection ? connection->job : job_dialling(engine, number);
	Error err = ERROR_INIT;

	if (connection)
		forget(connection);
	if (!job)
		return;
	job->dialled = 0;
	error_set(&err, (ErrorCategory)failure->category, "%s", failure->text);
	migration_on_peer_closed(job->migration, &err);
	job_settle(job);
}

static void on_exported(Engine *engine, uint64_t number, const GateSecret *secret)
{
	Connection *connection = find(engine, number);

	if (!connection || !connection->job)
		return;
	Job *job = connection->job;

	migration_on_exported(job->migration, secret->secret);
	job_settle(job);
}

static void give_channel(Job *job, const RolePreamble *preamble, int fd)
{
	Error err = ERROR_INIT;

	if (job->mover && !child_send(job->mover, MOVER_NETWORK, preamble->channel, &role_preamble_schema,
				      preamble, &fd, 1, &err)) {
		migration_on_mover_failed(job->migration, &err);
		job_settle(job);
	}
}

static void on_channel_dialed(Engine *engine, IpcMessage *message)
{
	Request *request = request_find(engine, message->subject);
	Job *job = request ? job_find(engine, request->job) : NULL;
	RolePreamble preamble;

	if (job) {
		preamble = job->preamble;
		preamble.channel = request->channel - 1;
		give_channel(job, &preamble, message->fds[0]);
	}
	if (request)
		request_free(request);
}

static void on_channel(Engine *engine, IpcMessage *message)
{
	const RolePreamble *preamble = message->payload;
	Job *job;

	LIST_FOREACH(job, &engine->jobs, link)
		if (migration_takes_channel(job->migration, preamble)) {
			give_channel(job, preamble, message->fds[0]);
			return;
		}
	/* Dropped: the descriptor is closed with the message. Not more is said to whom it was. */
	log_debug(engine->log, "a channel for no migration");
}

static void on_failed(Engine *engine, IpcMessage *message)
{
	const RoleFailure *failure = message->payload;
	Request *request = request_find(engine, message->subject);
	Job *job = request ? job_find(engine, request->job) : NULL;
	Error err = ERROR_INIT;

	error_set(&err, (ErrorCategory)failure->category, "%s", failure->text);
	if (request)
		request_free(request);
	if (job) {
		error_prefix(&err, "data channel");
		migration_on_mover_failed(job->migration, &err);
		job_settle(job);
	} else {
		log_warning(engine->log, "gate: %s", err.text);
	}
}

void connections_on_gate_message(Engine *engine, IpcMessage *message)
{
	switch (message->type) {
	case GATE_CONNECTED:
		on_connected(engine, message->subject, message->payload);
		return;
	case GATE_RECEIVED:
		on_received(engine, message->subject, message->payload);
		return;
	case GATE_CLOSED:
		on_closed(engine, message->subject, message->payload);
		return;
	case GATE_EXPORTED:
		on_exported(engine, message->subject, message->payload);
		return;
	case GATE_CHANNEL_DIALED:
		on_channel_dialed(engine, message);
		return;
	case GATE_CHANNEL:
		on_channel(engine, message);
		return;
	default:
		on_failed(engine, message);
	}
}

void connections_on_gate_gone(Engine *engine, const Error *cause)
{
	Connection *connection;
	Job *job, *next;

	while ((connection = LIST_FIRST(&engine->connections))) {
		job = connection->job;
		forget(connection);
		if (!job)
			continue;
		migration_on_peer_closed(job->migration, cause);
		job_settle(job);
	}
	for (job = LIST_FIRST(&engine->jobs); job; job = next) {
		next = LIST_NEXT(job, link);
		if (!job->dialled)
			continue;
		job->dialled = 0;
		migration_on_peer_closed(job->migration, cause);
		job_settle(job);
	}
}

void connections_ping(Engine *engine)
{
	PeerMessage *ping = calloc(1, sizeof(*ping));
	Connection *connection, *next;
	Error err = ERROR_INIT;

	if (!ping)
		return;
	ping->kind = PEER_PING;
	for (connection = LIST_FIRST(&engine->connections); connection; connection = next) {
		next = LIST_NEXT(connection, link);
		if (!connection->job && ++connection->idle_pings > IDLE_PINGS) {
			connection_close(engine, connection);
			continue;
		}
		if (!connection->greeted || !connection->job)
			continue;
		ping->stamp_us = (uint64_t)clock_monotonic_us(&clock_system);
		if (!connection_send(engine, connection, ping, &err))
			log_warning(engine->log, "gate: %s", err.text);
	}
	free(ping);
}
