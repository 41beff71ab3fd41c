/* SPDX-License-Identifier: Apache-2.0 */
/* Counted, rate-limited log of refused strangers. */
#ifndef SEALIFT_PROGRAMS_GATE_REFUSAL_H
#define SEALIFT_PROGRAMS_GATE_REFUSAL_H

#include "programs/gate/gate.h"

enum { REFUSAL_LOG_MS = 1000 };

MUST_CHECK bool refusal_setup(Gate *gate, Error *err);
void refusal_teardown(Gate *gate);
/* At most one line in REFUSAL_LOG_MS, with the count and the last reason. */
void refusal_note(Gate *gate, const char *address, const Error *cause);

#endif
