/* SPDX-License-Identifier: Apache-2.0 */
/* pong: the stamp of a ping, sent back. */
#include "wire/peer.h"

static const Field fields[] = {
	SCHEMA_U64(PeerMessage, stamp_us, 0, INT64_MAX),
};
SCHEMA_DEFINE(peer_pong_schema, "pong", PeerMessage, fields);
