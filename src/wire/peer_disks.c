/* SPDX-License-Identifier: Apache-2.0 */
/* disks: how far the copying of the disks is, at the switchover. */
#include "wire/peer.h"

static const Field fields[] = {
	SCHEMA_HEX(PeerMessage, migration),
	SCHEMA_ENUM(PeerMessage, disks, disks_words),
};
SCHEMA_DEFINE(peer_disks_schema, "disks", PeerMessage, fields);
