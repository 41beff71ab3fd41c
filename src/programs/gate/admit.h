/* SPDX-License-Identifier: Apache-2.0 */
/* Who is let in: caps on connections. They are counted, not booked, so that no count can go wrong.
 */
#ifndef SEALIFT_PROGRAMS_GATE_ADMIT_H
#define SEALIFT_PROGRAMS_GATE_ADMIT_H

#include "programs/gate/gate.h"

/* Whether one more stranger from this address fits: LIMIT_CONNECTIONS_PENDING,
 * LIMIT_CONNECTIONS_PENDING_ADDRESS, and where a verified peer has come from the same address
 * LIMIT_CHANNELS more: it opens all channels of a migration at once. ERROR_LIMIT. */
MUST_CHECK bool admit_stranger(const Gate *gate, const PeerAddress *address, Error *err);

/* Whether one more verified peer fits, of its identity and in all: LIMIT_CONNECTIONS_PEER,
 * LIMIT_CONNECTIONS. ERROR_LIMIT. */
MUST_CHECK bool admit_peer(const Connection *candidate, Error *err);

/* Whether one more may be dialled: LIMIT_CONNECTIONS_DIALLED. ERROR_LIMIT. */
MUST_CHECK bool admit_dial(const Gate *gate, Error *err);

#endif
