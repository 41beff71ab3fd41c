/* SPDX-License-Identifier: Apache-2.0 */
#include "programs/gate/connection.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "programs/gate/control.h"
#include "programs/gate/dial.h"
#include "programs/gate/engine.h"
#include "programs/gate/inbound.h"
#include "programs/gate/refusal.h"
#include "programs/gate/tls.h"

/* One row a state: what to do when the socket is ready, what a missed deadline means. */
typedef struct StateRow {
	void (*on_ready)(Connection *connection); /* may free the connection */
	const char *overdue;
} StateRow;

static void on_draining(Connection *connection);

static const StateRow rows[CONNECTION_STATE_COUNT] = {
	[CONNECTION_FIRST] = { inbound_on_first, "nothing came" },
	[CONNECTION_PREAMBLE] = { inbound_on_preamble, "the channel preamble is not complete" },
	[CONNECTION_DIALING] = { dial_on_ready, "no TCP connection" },
	[CONNECTION_HANDSHAKE] = { control_on_handshake, "the TLS handshake is not complete" },
	[CONNECTION_HELLO] = { control_on_ready, "no hello" },
	[CONNECTION_OPEN] = { control_on_ready, "a message is not complete" },
	[CONNECTION_FLUSHING] = { control_on_flushing, "the peer does not read" },
	[CONNECTION_DRAINING] = { on_draining, "the peer does not close" },
};

unsigned int connection_frame_ms(const Connection *connection)
{
	return 3 * connection->gate->handshake_ms;
}

static unsigned int state_ms(const Connection *connection)
{
	return connection->state == CONNECTION_OPEN && connection->frame_timed
		       ? connection_frame_ms(connection)
		       : connection->gate->handshake_ms;
}

static void on_io(evutil_socket_t fd, short what, void *context)
{
	Connection *connection = context;

	(void)fd;
	(void)what;
	rows[connection->state].on_ready(connection);
}

static void on_deadline(evutil_socket_t fd, short what, void *context)
{
	Connection *connection = context;
	Error err = ERROR_INIT;

	(void)fd;
	(void)what;
	error_set(&err, ERROR_TIMEOUT, "%s within %u ms", rows[connection->state].overdue,
		  state_ms(connection));
	connection_end(connection, &err);
}

Connection *connection_new(Gate *gate, int fd, uint64_t id, ConnectionState state, bool inbound,
			   const PeerAddress *address, Error *err)
{
	AUTO_FD int owned = fd;
	Connection *connection = calloc(1, sizeof(*connection));

	if (connection) {
		connection->io = event_new(gate->base, fd, EV_READ | EV_PERSIST, on_io, connection);
		connection->deadline = evtimer_new(gate->base, on_deadline, connection);
	}
	if (!connection || !connection->io || !connection->deadline) {
		if (connection && connection->io)
			event_free(connection->io);
		free(connection);
		error_set(err, ERROR_INTERNAL, "no memory for a connection");
		return NULL;
	}
	connection->gate = gate;
	connection->fd = TAKE_FD(owned);
	connection->id = id;
	connection->state = state;
	connection->inbound = inbound;
	connection->address = *address;
	connection->in = BUFFER_INIT(PEER_FRAME_HEADER + LIMIT_FRAME);
	connection->out = BUFFER_INIT(LIMIT_SEND_QUEUE);
	LIST_INSERT_HEAD(&gate->connections, connection, entry);
	connection_set_deadline(connection, gate->handshake_ms);
	return connection;
}

void connection_free(Connection *connection)
{
	LIST_REMOVE(connection, entry);
	event_free(connection->io);
	event_free(connection->deadline);
	SSL_free(connection->ssl);
	cleanup_fd(&connection->fd);
	buffer_clear(&connection->in);
	buffer_clear(&connection->out);
	explicit_bzero(connection, sizeof(*connection));
	free(connection);
}

/* Whether the engine waits for an answer about it or was told of it. */
static bool engine_knows(const Connection *connection)
{
	if (connection->state == CONNECTION_FLUSHING || connection->state == CONNECTION_DRAINING)
		return false;
	return !connection->inbound || connection->state >= CONNECTION_HELLO;
}

void connection_end(Connection *connection, const Error *cause)
{
	Gate *gate = connection->gate;
	Error err = *cause;

	if (engine_knows(connection)) {
		error_prefix(&err, "%s", connection->address.text);
		engine_refuse(gate, connection->channel ? ROLE_FAILED : GATE_CLOSED, connection->id,
			      &err);
	} else if (connection->state < CONNECTION_HELLO) {
		refusal_note(gate, connection->address.text, cause);
	}
	connection_free(connection);
}

Connection *connection_find(const Gate *gate, uint64_t id, bool channel)
{
	Connection *connection;

	LIST_FOREACH(connection, &gate->connections, entry)
	if (connection->id == id && connection->channel == channel && engine_knows(connection))
		return connection;
	return NULL;
}

void connection_watch(Connection *connection, short events)
{
	Gate *gate = connection->gate;

	event_del(connection->io);
	if (event_assign(connection->io, gate->base, connection->fd, (short)(events | EV_PERSIST),
			 on_io, connection) ||
	    event_add(connection->io, NULL))
		abort(); /* cannot happen with epoll and a valid descriptor; nothing sane is left */
	/* What OpenSSL has decrypted already does not make the socket readable again. */
	if (connection->ssl && SSL_pending(connection->ssl))
		event_active(connection->io, EV_READ, 0);
}

void connection_set_deadline(Connection *connection, unsigned int ms)
{
	const struct timeval after = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };

	if (ms)
		evtimer_add(connection->deadline, &after);
	else
		evtimer_del(connection->deadline);
}

void connection_start_tls(Connection *connection)
{
	Error err = ERROR_INIT;

	connection->state = CONNECTION_HANDSHAKE;
	connection->refusal = ERROR_INIT;
	if (!tls_start(connection, &err)) {
		connection_end(connection, &err);
		return;
	}
	control_on_handshake(connection);
}

void connection_close(Connection *connection)
{
	if (connection->state < CONNECTION_HELLO) {
		connection_free(connection);
		return;
	}
	connection->state = CONNECTION_FLUSHING;
	connection_set_deadline(connection, connection->gate->handshake_ms);
	control_on_flushing(connection);
}

/* Closing with unread bytes would reset the connection and take our last message with it. */
static void on_draining(Connection *connection)
{
	uint8_t scratch[4096];
	ssize_t got = recv(connection->fd, scratch, sizeof(scratch), 0);

	if (got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR)))
		return;
	connection_free(connection);
}

void connection_verify_all(Gate *gate, const char *domain)
{
	Connection *next;

	for (Connection *connection = LIST_FIRST(&gate->connections); connection;
	     connection = next) {
		Error err = ERROR_INIT;

		next = LIST_NEXT(connection, entry);
		if ((connection->state == CONNECTION_HELLO ||
		     connection->state == CONNECTION_OPEN) &&
		    !strcmp(connection->peer.domain, domain) && !tls_verify_again(connection, &err))
			connection_end(connection, &err);
	}
}
