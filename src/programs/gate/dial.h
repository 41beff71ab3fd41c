/* SPDX-License-Identifier: Apache-2.0 */
/* Connections that the engine asks for. */
#ifndef SEALIFT_PROGRAMS_GATE_DIAL_H
#define SEALIFT_PROGRAMS_GATE_DIAL_H

#include "programs/gate/gate.h"

/* Begins a connection; its outcome reaches the engine by messages. `expected` is the only identity
 * that will do, NULL for a channel. */
void dial_start(Gate *gate, uint64_t id, const char *address, uint16_t port, const char *expected);

/* Handler of connection.c; may free the connection. */
void dial_on_ready(Connection *connection);

#endif
