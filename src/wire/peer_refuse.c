/* SPDX-License-Identifier: Apache-2.0 */
/* refuse: the destination does not take or keep this migration, and why. */
#include "wire/peer.h"

static const Field fields[] = {
	SCHEMA_HEX(PeerMessage, migration),
	SCHEMA_TEXT(PeerMessage, category, TEXT_NAME, 1),
	SCHEMA_TEXT(PeerMessage, text, TEXT_PRINTABLE, 1),
};
SCHEMA_DEFINE(peer_refuse_schema, "refuse", PeerMessage, fields);
