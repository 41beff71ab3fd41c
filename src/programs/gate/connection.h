/* SPDX-License-Identifier: Apache-2.0 */
/* The life of a connection, whoever opened it. A handler that ends a connection frees it. */
#ifndef SEALIFT_PROGRAMS_GATE_CONNECTION_H
#define SEALIFT_PROGRAMS_GATE_CONNECTION_H

#include "programs/gate/gate.h"

/* Takes fd. In `state` with its deadline running; NULL without memory (fd is closed). */
Connection *connection_new(Gate *gate, int fd, uint64_t id, ConnectionState state, bool inbound,
			   const PeerAddress *address, Error *err);
/* Closes at once and tells nobody. */
void connection_free(Connection *connection);

/* Ends it because of `cause`: tells the engine if it knows of the connection, else counts a
 * refusal; then frees it. */
void connection_end(Connection *connection, const Error *cause);

/* By number; NULL if there is none (any more) that serves the engine. Those dialled for a channel
 * have numbers of their own. */
Connection *connection_find(const Gate *gate, uint64_t id, bool channel);

/* Waits for EV_READ, EV_WRITE. */
void connection_watch(Connection *connection, short events);
/* How long a message that has begun may take: three times the handshake's deadline. */
unsigned int connection_frame_ms(const Connection *connection);
/* The deadline of the present state, from now; 0: none. */
void connection_set_deadline(Connection *connection, unsigned int ms);

/* From TCP to TLS; may free the connection. */
void connection_start_tls(Connection *connection);

/* Appends a message to the queue and sends what can be sent; may free the connection. */
void connection_send(Connection *connection, const PeerMessage *message);
/* Sends the queue, then the end, without telling the engine; may free the connection. */
void connection_close(Connection *connection);

/* Ends those of the domain whose certificates its new CRL no longer bears. */
void connection_verify_all(Gate *gate, const char *domain);

#endif
