/* SPDX-License-Identifier: Apache-2.0 */
/* query: a recovering source asks where the destination stands. */
#include "wire/peer.h"

static const Field fields[] = {
	SCHEMA_HEX(PeerMessage, migration),
};
SCHEMA_DEFINE(peer_query_schema, "query", PeerMessage, fields);
