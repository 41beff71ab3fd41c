/* SPDX-License-Identifier: Apache-2.0 */
#include "base/address.h"
#include "programs/gate/dial.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "programs/gate/admit.h"
#include "programs/gate/connection.h"
#include "programs/gate/engine.h"
#include "programs/gate/tcp.h"

static bool open_socket(const struct sockaddr_storage *to, socklen_t size, int *ret_fd, Error *err)
{
	AUTO_FD int fd = socket(to->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return error_set_errno(err, ERROR_IO, errno, "cannot make a socket");
	tcp_tune(fd);
	if (connect(fd, (const struct sockaddr *)to, size) && errno != EINPROGRESS)
		return error_set_errno(err, ERROR_UNAVAILABLE, errno, "cannot connect");
	*ret_fd = TAKE_FD(fd);
	return true;
}

static Connection *begin(Gate *gate, uint64_t id, const char *address, uint16_t port, bool channel,
			 Error *err)
{
	struct sockaddr_storage to;
	socklen_t size;
	PeerAddress peer;
	int fd = -1;

	if (id >= GATE_INBOUND_BASE || connection_find(gate, id, channel)) {
		error_set(err, ERROR_CONFLICT, "connection number %llu is taken",
			  (unsigned long long)id);
		return NULL;
	}
	if (!admit_dial(gate, err) || !address_parse(address, port, &to, &size, err))
		return NULL;
	if (!tcp_address(&to, &peer) || !open_socket(&to, size, &fd, err)) {
		error_prefix(err, "%s port %u", address, port);
		return NULL;
	}
	return connection_new(gate, fd, id, CONNECTION_DIALING, false, &peer, err);
}

void dial_start(Gate *gate, uint64_t id, const char *address, uint16_t port, const char *expected)
{
	Error err = ERROR_INIT;
	SpiffeId peer;
	Connection *connection = NULL;

	if (!expected || spiffe_parse(expected, strlen(expected), &peer, &err))
		connection = begin(gate, id, address, port, !expected, &err);
	if (!connection) {
		engine_refuse(gate, expected ? GATE_CLOSED : ROLE_FAILED, id, &err);
		return;
	}
	connection->channel = !expected;
	if (expected)
		snprintf(connection->expected, sizeof(connection->expected), "%s", expected);
	connection_watch(connection, EV_WRITE);
}

static void hand_over(Connection *connection)
{
	int flags = fcntl(connection->fd, F_GETFL);
	Error err = ERROR_INIT;

	if (flags < 0 || fcntl(connection->fd, F_SETFL, flags & ~O_NONBLOCK)) {
		error_set_errno(&err, ERROR_IO, errno, "cannot hand over a channel");
		connection_end(connection, &err);
		return;
	}
	engine_send(connection->gate, GATE_CHANNEL_DIALED, connection->id, NULL, NULL,
		    &connection->fd, 1);
	connection_free(connection);
}

void dial_on_ready(Connection *connection)
{
	Error err = ERROR_INIT;
	int outcome = 0;
	socklen_t size = sizeof(outcome);

	if (getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &outcome, &size))
		outcome = errno;
	if (outcome) {
		error_set_errno(&err, ERROR_UNAVAILABLE, outcome, "cannot connect");
		connection_end(connection, &err);
	} else if (connection->channel) {
		hand_over(connection);
	} else {
		connection_set_deadline(connection, connection->gate->handshake_ms);
		connection_start_tls(connection);
	}
}
