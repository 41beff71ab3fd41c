/* SPDX-License-Identifier: Apache-2.0 */
/* The listening port and the first bytes of what comes in. */
#ifndef SEALIFT_PROGRAMS_GATE_INBOUND_H
#define SEALIFT_PROGRAMS_GATE_INBOUND_H

#include "programs/gate/gate.h"

/* Begins to accept on gate->listen_fd, which must be listening and becomes nonblocking. */
MUST_CHECK bool inbound_setup(Gate *gate, Error *err);
void inbound_teardown(Gate *gate);

/* Handlers of connection.c; may free the connection. */
void inbound_on_first(Connection *connection);
void inbound_on_preamble(Connection *connection);

#endif
