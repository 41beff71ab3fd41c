/* SPDX-License-Identifier: Apache-2.0 */
#include "programs/gate/control.h"

#include <openssl/err.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "programs/gate/admit.h"
#include "programs/gate/connection.h"
#include "programs/gate/engine.h"
#include "programs/gate/tcp.h"
#include "programs/gate/tls.h"

/* How many messages one connection may bring before others have their turn. */
enum { FRAMES_AT_ONCE = 8 };

static void tell_connected(Connection *connection)
{
	GateIdentity identity = { .not_after_s = tls_not_after_s(connection),
				  .rtt_us = tcp_rtt_us(connection->fd) };

	snprintf(identity.peer_id, sizeof(identity.peer_id), "%s", connection->peer.text);
	snprintf(identity.address, sizeof(identity.address), "%s", connection->address.text);
	engine_send(connection->gate, GATE_CONNECTED, connection->id, &gate_identity_schema,
		    &identity, NULL, 0);
}

void control_on_handshake(Connection *connection)
{
	Error err = ERROR_INIT;
	TlsStep result = tls_handshake(connection, &err);

	if (result == TLS_WANT_READ || result == TLS_WANT_WRITE) {
		connection_watch(connection, result == TLS_WANT_READ ? EV_READ : EV_WRITE);
		return;
	}
	if (result != TLS_DONE || !admit_peer(connection, &err)) {
		connection_end(connection, &err);
		return;
	}
	connection->state = CONNECTION_HELLO;
	connection_set_deadline(connection, connection->gate->handshake_ms);
	tell_connected(connection);
	control_on_ready(connection);
}

/* The length of the frame of which `in` holds the beginning: 0 while that is not known. */
static bool frame_length(const Connection *connection, size_t *ret_length, Error *err)
{
	uint32_t length;

	*ret_length = 0;
	if (connection->in.used < PEER_FRAME_HEADER)
		return true;
	length = load_be32(connection->in.data);
	if (!length || length > LIMIT_FRAME)
		return error_set(err, ERROR_PEER, "a message of %u bytes, expected 1 to %d", length,
				 LIMIT_FRAME);
	*ret_length = PEER_FRAME_HEADER + length;
	return true;
}

/* Reads towards the end of one frame. */
static TlsStep read_frame(Connection *connection, Error *err)
{
	for (;;) {
		uint8_t chunk[4096];
		size_t length, want, got;
		TlsStep result;

		if (!frame_length(connection, &length, err))
			return TLS_FAILED;
		if (length && connection->in.used == length)
			return TLS_DONE;
		want = (length ? length : PEER_FRAME_HEADER) - connection->in.used;
		result = tls_read(connection, chunk, want < sizeof(chunk) ? want : sizeof(chunk),
				  &got, err);
		if (result == TLS_DONE && !buffer_put(&connection->in, chunk, got, err))
			result = TLS_FAILED;
		explicit_bzero(chunk, sizeof(chunk));
		if (result == TLS_END)
			error_set(err, connection->in.used ? ERROR_PEER : ERROR_UNAVAILABLE,
				  connection->in.used ? "the peer closed in the middle of a message"
						      : "the peer closed the connection");
		if (result != TLS_DONE)
			return result;
	}
}

static bool count_message(Connection *connection, Error *err)
{
	int64_t now = clock_monotonic_us(connection->gate->clock);

	if (now - connection->window_us >= 1000000) {
		connection->window_us = now;
		connection->window_messages = 0;
	}
	return ++connection->window_messages <= LIMIT_MESSAGES_S ||
	       error_set(err, ERROR_LIMIT, "more than %d messages in a second", LIMIT_MESSAGES_S);
}

/* hello comes first and once, everything else after it. */
static bool check_order(const Connection *connection, PeerKind kind, Error *err)
{
	if (connection->state == CONNECTION_HELLO && kind != PEER_HELLO)
		return error_set(err, ERROR_PEER, "the first message is %s, expected hello",
				 peer_words[kind]);
	if (connection->state == CONNECTION_OPEN && kind == PEER_HELLO)
		return error_set(err, ERROR_PEER, "a second hello");
	return true;
}

static bool take_frame(Connection *connection, Error *err)
{
	Gate *gate = connection->gate;
	RolePeer *peer = &gate->scratch;
	bool ok = count_message(connection, err) &&
		  peer_decode(connection->in.data + PEER_FRAME_HEADER,
			      connection->in.used - PEER_FRAME_HEADER, &peer->message, err) &&
		  check_order(connection, peer->message.kind, err);

	explicit_bzero(connection->in.data, connection->in.used);
	connection->in.used = 0;
	if (ok) {
		peer->kind = peer->message.kind;
		connection->state = CONNECTION_OPEN;
		engine_send(gate, GATE_RECEIVED, connection->id, &role_peer_schema, peer, NULL, 0);
	}
	explicit_bzero(peer, sizeof(*peer));
	return ok;
}

/* hello has its own deadline; later, only a message that has begun has one. */
static void time_frame(Connection *connection)
{
	bool begun = connection->state == CONNECTION_OPEN && connection->in.used;

	if (connection->state == CONNECTION_HELLO || (begun && connection->frame_timed))
		return;
	connection->frame_timed = begun;
	connection_set_deadline(connection, begun ? connection_frame_ms(connection) : 0);
}

static bool read_frames(Connection *connection, Error *err)
{
	for (unsigned int i = 0; i < FRAMES_AT_ONCE; i++) {
		TlsStep result = read_frame(connection, err);

		if (result == TLS_WANT_READ || result == TLS_WANT_WRITE) {
			time_frame(connection);
			return true;
		}
		if (result != TLS_DONE || !take_frame(connection, err))
			return false;
		connection->frame_timed = false;
	}
	time_frame(connection);
	connection_watch(connection, connection->out.used ? EV_READ | EV_WRITE : EV_READ);
	return true;
}

/* Sends of the queue what can be sent, and watches accordingly. */
static bool flush(Connection *connection, Error *err)
{
	while (connection->out.used) {
		size_t put;
		TlsStep result = tls_write(connection, connection->out.data, connection->out.used,
					   &put, err);

		if (result == TLS_WANT_READ || result == TLS_WANT_WRITE) {
			connection_watch(connection, EV_READ | EV_WRITE);
			return true;
		}
		if (result != TLS_DONE)
			return result == TLS_END ? error_set(err, ERROR_UNAVAILABLE,
							     "the peer closed the connection")
						 : false;
		buffer_consume(&connection->out, put);
	}
	connection_watch(connection, EV_READ);
	return true;
}

void control_on_ready(Connection *connection)
{
	Error err = ERROR_INIT;

	if (!flush(connection, &err) || !read_frames(connection, &err))
		connection_end(connection, &err);
}

void control_on_flushing(Connection *connection)
{
	Error err = ERROR_INIT;

	if (!flush(connection, &err)) {
		connection_free(connection);
		return;
	}
	if (connection->out.used)
		return;
	(void)SSL_shutdown(connection->ssl);
	ERR_clear_error();
	(void)shutdown(connection->fd, SHUT_WR);
	connection->state = CONNECTION_DRAINING;
	connection_watch(connection, EV_READ);
}

void connection_send(Connection *connection, const PeerMessage *message)
{
	AUTO_BUFFER Buffer frame = BUFFER_INIT(PEER_FRAME_HEADER + LIMIT_FRAME);
	Error err = ERROR_INIT;

	if (!peer_encode_frame(message, &frame, &err)) {
		engine_refuse(connection->gate, ROLE_FAILED, connection->id, &err);
		return;
	}
	if (frame.used > connection->out.max_bytes - connection->out.used)
		error_set(&err, ERROR_LIMIT,
			  "the peer does not read: %zu bytes wait, the bound is %zu",
			  connection->out.used, connection->out.max_bytes);
	else if (buffer_put(&connection->out, frame.data, frame.used, &err) &&
		 flush(connection, &err))
		return;
	connection_end(connection, &err);
}
