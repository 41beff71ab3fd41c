/* SPDX-License-Identifier: Apache-2.0 */
#include "programs/keylink/conn.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/address.h"

enum { PART_US = 3 * LIMIT_HANDSHAKE_MS * 1000, READS_AT_ONCE = 8 };

static void tune(int fd)
{
	const struct {
		int level, name, value;
	} options[] = {
		{ IPPROTO_TCP, TCP_NODELAY, 1 },
		{ SOL_SOCKET, SO_KEEPALIVE, 1 },
		{ IPPROTO_TCP, TCP_KEEPIDLE, 5 },
		{ IPPROTO_TCP, TCP_KEEPINTVL, 5 },
		{ IPPROTO_TCP, TCP_KEEPCNT, 2 },
		{ IPPROTO_TCP, TCP_USER_TIMEOUT, LIMIT_SILENCE_MS },
	};

	/* A socket without them still works. */
	for (size_t i = 0; i < ARRAY_SIZE(options); i++)
		(void)setsockopt(fd, options[i].level, options[i].name, &options[i].value,
				 sizeof(int));
}

/* Takes fd. */
static Conn *conn_new(const Trust *trust, int fd, ConnState state, Error *err)
{
	AUTO_FD int owned = fd;
	/* Values go to guests and come to hosts, never the other way. */
	bool guest = state == CONN_HANDSHAKE;
	Conn *conn = calloc(1, sizeof(*conn));

	if (!conn) {
		error_set(err, ERROR_INTERNAL, "no memory for a connection");
		return NULL;
	}
	conn->fd = -1;
	conn->trust = trust;
	conn->state = state;
	conn->ssl = SSL_new(trust->context);
	if (!conn->ssl || !SSL_set_fd(conn->ssl, fd)) {
		ERR_clear_error();
		error_set(err, ERROR_INTERNAL, "no memory for TLS");
	} else if (queue_init(&conn->in, CONN_QUEUE_BYTES, !guest, err) &&
		   queue_init(&conn->out, guest ? CONN_GUEST_OUT_BYTES : CONN_QUEUE_BYTES, guest,
			      err)) {
		SSL_set_app_data(conn->ssl, conn);
		conn->fd = TAKE_FD(owned);
		conn->deadline_us =
			clock_monotonic_us(trust->clock) + INT64_C(1000) * LIMIT_HANDSHAKE_MS;
		tune(fd);
		return conn;
	}
	conn_free(conn);
	return NULL;
}

void conn_free(Conn *conn)
{
	if (!conn)
		return;
	SSL_free(conn->ssl);
	cleanup_fd(&conn->fd);
	queue_clear(&conn->in);
	queue_clear(&conn->out);
	free(conn);
}

Conn *conn_dial(const Trust *trust, const char *address, uint16_t port, Error *err)
{
	struct sockaddr_storage to;
	socklen_t size = 0;
	AUTO_FD int fd = -1;
	Conn *conn;

	if (!address_parse(address, port, &to, &size, err))
		return NULL;
	fd = socket(to.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		error_set_errno(err, ERROR_IO, errno, "cannot make a socket");
		return NULL;
	}
	if (connect(fd, (const struct sockaddr *)&to, size) && errno != EINPROGRESS) {
		error_set_errno(err, ERROR_UNAVAILABLE, errno, "cannot connect to %s port %u",
				address, port);
		return NULL;
	}
	conn = conn_new(trust, TAKE_FD(fd), CONN_DIALING, err);
	if (conn)
		SSL_set_connect_state(conn->ssl);
	return conn;
}

/* One who has a whole IPv6 network is one. */
static void note_address(Conn *conn, const struct sockaddr_storage *from)
{
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;

	if (from->ss_family == AF_INET) {
		memcpy(&v4, from, sizeof(v4));
		memset(conn->address + 10, 0xff, 2);
		memcpy(conn->address + 12, &v4.sin_addr, 4);
		(void)!inet_ntop(AF_INET, &v4.sin_addr, conn->text, sizeof(conn->text));
		return;
	}
	memcpy(&v6, from, sizeof(v6));
	memcpy(conn->address, &v6.sin6_addr, IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr) ? 16 : 8);
	(void)!inet_ntop(AF_INET6, &v6.sin6_addr, conn->text, sizeof(conn->text));
}

Conn *conn_accept(const Trust *trust, int listen_fd, Error *err)
{
	struct sockaddr_storage from = { 0 };
	socklen_t size = sizeof(from);
	int fd = accept4(listen_fd, (struct sockaddr *)&from, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
	Conn *conn;

	if (fd < 0) {
		/* It went away again, or another error of the network that is its own. */
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
			error_set_errno(err, ERROR_LIMIT, errno, "cannot take a connection");
		return NULL;
	}
	conn = conn_new(trust, fd, CONN_HANDSHAKE, err);
	if (!conn)
		return NULL;
	SSL_set_accept_state(conn->ssl);
	note_address(conn, &from);
	return conn;
}

short conn_events(const Conn *conn)
{
	bool write = conn->state == CONN_DIALING || conn->wants_write ||
		     (conn->state == CONN_OPEN && conn->out.used);
	/* Who is not heard until there is room is not lost: TCP keeps it. */
	bool read = conn->state == CONN_HANDSHAKE ||
		    (conn->state == CONN_OPEN && queue_room(&conn->in));

	return (short)((read ? POLLIN : 0) | (write ? POLLOUT : 0));
}

bool conn_has_more(const Conn *conn)
{
	return conn->state == CONN_OPEN && SSL_pending(conn->ssl) && queue_room(&conn->in);
}

/* What is not an end: TLS waits for the socket. */
static bool waits(Conn *conn, int code)
{
	conn->wants_write = code == SSL_ERROR_WANT_WRITE;
	return code == SSL_ERROR_WANT_READ || code == SSL_ERROR_WANT_WRITE;
}

static bool ended(Conn *conn, int code, int saved_errno, Error *err)
{
	unsigned long queued = ERR_peek_error();
	const char *reason = ERR_reason_error_string(queued);

	ERR_clear_error();
	if (conn->refusal.category != ERROR_NONE) {
		*err = conn->refusal;
		return false;
	}
	if (code == SSL_ERROR_ZERO_RETURN ||
	    ERR_GET_REASON(queued) == SSL_R_UNEXPECTED_EOF_WHILE_READING ||
	    (code == SSL_ERROR_SYSCALL && !saved_errno))
		return error_set(err, ERROR_UNAVAILABLE, "the other host closed the connection");
	if (code == SSL_ERROR_SYSCALL)
		return error_set_errno(err, ERROR_UNAVAILABLE, saved_errno, "the connection broke");
	return error_set(err, ERROR_PEER, "TLS: %s", reason ? reason : "unknown reason");
}

static bool finish_dialing(Conn *conn, Error *err)
{
	int outcome = 0;
	socklen_t size = sizeof(outcome);

	if (getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &outcome, &size))
		outcome = errno;
	if (outcome == EINPROGRESS)
		return true;
	if (outcome)
		return error_set_errno(err, ERROR_UNAVAILABLE, outcome, "cannot connect");
	conn->state = CONN_HANDSHAKE;
	return true;
}

static bool shake_hands(Conn *conn, Error *err)
{
	const unsigned char *protocol;
	unsigned int size = 0;
	int done, saved_errno;

	ERR_clear_error();
	errno = 0;
	done = SSL_do_handshake(conn->ssl);
	saved_errno = errno;
	if (done != 1) {
		int code = SSL_get_error(conn->ssl, done);

		return waits(conn, code) || ended(conn, code, saved_errno, err);
	}
	conn->wants_write = false;
	SSL_get0_alpn_selected(conn->ssl, &protocol, &size);
	if (!size)
		return error_set(err, ERROR_PEER, "the other host does not speak sealift-keys/1");
	if (SSL_session_reused(conn->ssl) || SSL_version(conn->ssl) != TLS1_3_VERSION)
		return error_set(err, ERROR_PEER, "not a fresh TLS 1.3 session");
	conn->state = CONN_OPEN;
	/* Ours is judged by the other side only now: its first message says so, and is due in time.
	 */
	if (SSL_is_server(conn->ssl))
		conn->deadline_us = 0;
	return true;
}

static bool write_queue(Conn *conn, Error *err)
{
	size_t put = 0;

	/* Each turn takes something away. */
	while (conn->out.used) {
		int done, saved_errno;

		ERR_clear_error();
		errno = 0;
		done = SSL_write_ex(conn->ssl, conn->out.bytes, conn->out.used, &put);
		saved_errno = errno;
		if (done != 1) {
			int code = SSL_get_error(conn->ssl, done);

			return waits(conn, code) || ended(conn, code, saved_errno, err);
		}
		queue_take(&conn->out, put);
	}
	conn->wants_write = false;
	return true;
}

/* One who sends without end does not keep the others waiting. */
static bool read_queue(Conn *conn, Error *err)
{
	for (int i = 0; i < READS_AT_ONCE && queue_room(&conn->in); i++) {
		size_t got = 0;
		int done, saved_errno;

		ERR_clear_error();
		errno = 0;
		done = SSL_read_ex(conn->ssl, conn->in.bytes + conn->in.used, queue_room(&conn->in),
				   &got);
		saved_errno = errno;
		if (done != 1) {
			int code = SSL_get_error(conn->ssl, done);

			return waits(conn, code) || ended(conn, code, saved_errno, err);
		}
		conn->in.used += got;
	}
	return true;
}

bool conn_go_on(Conn *conn, Error *err)
{
	if (conn->state == CONN_DIALING && !finish_dialing(conn, err))
		return false;
	if (conn->state == CONN_HANDSHAKE && !shake_hands(conn, err))
		return false;
	return conn->state != CONN_OPEN || (write_queue(conn, err) && read_queue(conn, err));
}

bool conn_in_time(const Conn *conn, int64_t now_us, Error *err)
{
	if (!conn->deadline_us || now_us < conn->deadline_us)
		return true;
	return error_set(err, ERROR_TIMEOUT, "%s",
			 conn->state == CONN_DIALING ? "no TCP connection"
			 : conn->state == CONN_OPEN  ? "a message is not complete"
						     : "the TLS handshake is not complete");
}

void conn_note_part(Conn *conn, bool part)
{
	if (!part)
		conn->deadline_us = 0;
	else if (!conn->deadline_us)
		conn->deadline_us = clock_monotonic_us(conn->trust->clock) + PART_US;
}

bool conn_verify_again(const Conn *conn, Error *err)
{
	SpiffeId id;

	return anchor_verify_certificate(
		conn->trust->anchors, SSL_get0_peer_certificate(conn->ssl),
		SSL_get_peer_cert_chain(conn->ssl), clock_wall_s(conn->trust->clock),
		SSL_is_server(conn->ssl) ? ANCHOR_TLS_CLIENT : ANCHOR_TLS_SERVER, &id, err);
}
