/* SPDX-License-Identifier: Apache-2.0 */
/* key: the migration key, source to destination, after accept. */
#include "wire/peer.h"

static const Field fields[] = {
	SCHEMA_HEX(PeerMessage, migration),
	SCHEMA_HEX(PeerMessage, key),
};
SCHEMA_DEFINE(peer_key_schema, "key", PeerMessage, fields);
