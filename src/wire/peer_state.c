/* SPDX-License-Identifier: Apache-2.0 */
/* state: the answer to query. */
#include "wire/peer.h"

static const Field fields[] = {
	SCHEMA_HEX(PeerMessage, migration),
	SCHEMA_ENUM(PeerMessage, state, peer_state_words),
};
SCHEMA_DEFINE(peer_state_schema, "state", PeerMessage, fields);
