/* SPDX-License-Identifier: Apache-2.0 */
/* ping: for the round trip and to see that the peer lives. */
#include "wire/peer.h"

static const Field fields[] = {
	SCHEMA_U64(PeerMessage, stamp_us, 0, INT64_MAX),
};
SCHEMA_DEFINE(peer_ping_schema, "ping", PeerMessage, fields);
