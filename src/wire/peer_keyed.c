/* SPDX-License-Identifier: Apache-2.0 */
/* keyed: the destination has its channel keys; the source may open channels. */
#include "wire/peer.h"

static const Field fields[] = {
	SCHEMA_HEX(PeerMessage, migration),
};
SCHEMA_DEFINE(peer_keyed_schema, "keyed", PeerMessage, fields);
