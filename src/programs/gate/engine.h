/* SPDX-License-Identifier: Apache-2.0 */
/* The link to the engine: what it asks, what it is told. */
#ifndef SEALIFT_PROGRAMS_GATE_ENGINE_H
#define SEALIFT_PROGRAMS_GATE_ENGINE_H

#include "programs/gate/gate.h"

MUST_CHECK bool engine_setup(Gate *gate, Error *err);
void engine_teardown(Gate *gate);

/* Sends; if that fails, the gate ends with gate->fatal. */
void engine_send(Gate *gate, uint16_t type, uint64_t subject, const Schema *schema,
		 const void *payload, const int *fds, size_t n_fds);
/* Sends a RoleFailure as `type`: ROLE_FAILED or GATE_CLOSED. */
void engine_refuse(Gate *gate, RoleMessage type, uint64_t subject, const Error *cause);

#endif
