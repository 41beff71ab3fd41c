/* SPDX-License-Identifier: Apache-2.0 */
#include "programs/gate/inbound.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

#include "programs/gate/admit.h"
#include "programs/gate/connection.h"
#include "programs/gate/engine.h"
#include "programs/gate/refusal.h"
#include "programs/gate/tcp.h"

enum {
	TLS_HANDSHAKE_BYTE = 0x16, /* RFC 8446, section 5.1 */
	ACCEPTS_AT_ONCE = 16,	   /* before others have their turn */
	REFUSALS_IN_WINDOW = 32,   /* then the port rests */
	REFUSAL_WINDOW_MS = 100,
};

/* New connections wait in the kernel's backlog meanwhile: refusing them in a spin would serve only
 * whoever makes them. */
static void pause_accepting(Gate *gate)
{
	const struct timeval rest = { .tv_usec = REFUSAL_WINDOW_MS * 1000 };

	event_del(gate->listen_event);
	evtimer_add(gate->listen_pause, &rest);
}

static void on_pause_over(evutil_socket_t fd, short what, void *context)
{
	Gate *gate = context;

	(void)fd;
	(void)what;
	event_add(gate->listen_event, NULL);
}

/* True if the port has to rest. */
static bool count_refusal(Gate *gate)
{
	int64_t now = clock_monotonic_us(gate->clock);

	if (now - gate->refused_window_us >= REFUSAL_WINDOW_MS * INT64_C(1000)) {
		gate->refused_window_us = now;
		gate->refused_in_window = 0;
	}
	return ++gate->refused_in_window >= REFUSALS_IN_WINDOW;
}

/* False if the port has to rest. Takes fd. */
static bool admit(Gate *gate, int fd, const struct sockaddr_storage *from)
{
	AUTO_FD int owned = fd;
	const struct linger reset = { .l_onoff = 1 };
	PeerAddress address = { .text = "unknown address" };
	Error err = ERROR_INIT;
	Connection *connection = NULL;

	if (!tcp_address(from, &address))
		error_set(&err, ERROR_PEER, "neither IPv4 nor IPv6");
	else if (admit_stranger(gate, &address, &err))
		connection = connection_new(gate, TAKE_FD(owned), gate->next_inbound,
					    CONNECTION_FIRST, true, &address, &err);
	if (connection) {
		gate->next_inbound++;
		tcp_tune(connection->fd);
		connection_watch(connection, EV_READ);
		return true;
	}
	refusal_note(gate, address.text, &err);
	/* No TIME_WAIT for strangers. */
	if (owned >= 0)
		(void)setsockopt(owned, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	return !count_refusal(gate);
}

static void on_listening(evutil_socket_t listen_fd, short what, void *context)
{
	Gate *gate = context;

	(void)what;
	for (int i = 0; i < ACCEPTS_AT_ONCE; i++) {
		struct sockaddr_storage from = { 0 };
		socklen_t size = sizeof(from);
		int fd = accept4(listen_fd, (struct sockaddr *)&from, &size,
				 SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd < 0 && (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED))
			return;
		/* Out of descriptors or memory: try again after a rest. */
		if (fd < 0 || !admit(gate, fd, &from)) {
			pause_accepting(gate);
			return;
		}
	}
}

bool inbound_setup(Gate *gate, Error *err)
{
	int flags = fcntl(gate->listen_fd, F_GETFL);

	if (flags < 0 || fcntl(gate->listen_fd, F_SETFL, flags | O_NONBLOCK))
		return error_set_errno(err, ERROR_IO, errno, "the listening socket");
	gate->next_inbound = GATE_INBOUND_BASE;
	gate->listen_event =
		event_new(gate->base, gate->listen_fd, EV_READ | EV_PERSIST, on_listening, gate);
	gate->listen_pause = evtimer_new(gate->base, on_pause_over, gate);
	if (!gate->listen_event || !gate->listen_pause || event_add(gate->listen_event, NULL))
		return error_set(err, ERROR_INTERNAL, "cannot wait for connections");
	return true;
}

void inbound_teardown(Gate *gate)
{
	if (gate->listen_event)
		event_free(gate->listen_event);
	if (gate->listen_pause)
		event_free(gate->listen_pause);
}

/* Looks at one byte without taking it, so that a slow sender cannot make the loop spin. */
void inbound_on_first(Connection *connection)
{
	uint8_t first;
	ssize_t got = recv(connection->fd, &first, 1, MSG_PEEK);
	Error err = ERROR_INIT;

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0) {
		error_set(&err, ERROR_UNAVAILABLE, "closed without a byte");
	} else if (first == TLS_HANDSHAKE_BYTE) {
		connection_start_tls(connection);
		return;
	} else if (first == preamble_magic[0]) {
		connection->state = CONNECTION_PREAMBLE;
		inbound_on_preamble(connection);
		return;
	} else {
		error_set(&err, ERROR_PEER, "begins with byte 0x%02x: neither TLS nor a channel",
			  first);
	}
	connection_end(connection, &err);
}

static void hand_over(Connection *connection, const Preamble *preamble)
{
	RolePreamble role = { .channel = preamble->channel, .generation = preamble->generation };
	int flags = fcntl(connection->fd, F_GETFL);
	Error err = ERROR_INIT;

	memcpy(role.routing, preamble->routing, sizeof(role.routing));
	memcpy(role.source_nonce, preamble->source_nonce, sizeof(role.source_nonce));
	if (flags < 0 || fcntl(connection->fd, F_SETFL, flags & ~O_NONBLOCK)) {
		error_set_errno(&err, ERROR_IO, errno, "cannot hand over a channel");
		connection_end(connection, &err);
		return;
	}
	engine_send(connection->gate, GATE_CHANNEL, connection->id, &role_preamble_schema, &role,
		    &connection->fd, 1);
	connection_free(connection);
}

/* Takes exactly the preamble: what follows it is for the mover. */
void inbound_on_preamble(Connection *connection)
{
	size_t used = connection->preamble_used;
	ssize_t got = recv(connection->fd, connection->preamble + used, PREAMBLE_SIZE - used, 0);
	Preamble preamble;
	Error err = ERROR_INIT;

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0) {
		error_set(&err, ERROR_PEER, "closed after %zu of %d bytes of a channel preamble",
			  used, PREAMBLE_SIZE);
		connection_end(connection, &err);
		return;
	}
	used = connection->preamble_used += (size_t)got;
	if (memcmp(connection->preamble, preamble_magic,
		   used < PREAMBLE_MAGIC_SIZE ? used : PREAMBLE_MAGIC_SIZE))
		error_set(&err, ERROR_PEER, "begins like a channel but has another magic");
	else if (used < PREAMBLE_SIZE)
		return;
	else if (preamble_decode(connection->preamble, &preamble, &err)) {
		hand_over(connection, &preamble);
		return;
	}
	connection_end(connection, &err);
}
