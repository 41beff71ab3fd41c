/* SPDX-License-Identifier: Apache-2.0 */
/* A control connection: TLS handshake, then frames both ways. Handlers may free the connection. */
#ifndef SEALIFT_PROGRAMS_GATE_CONTROL_H
#define SEALIFT_PROGRAMS_GATE_CONTROL_H

#include "programs/gate/gate.h"

void control_on_handshake(Connection *connection);
void control_on_ready(Connection *connection);
void control_on_flushing(Connection *connection);

#endif
