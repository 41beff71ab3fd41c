/* SPDX-License-Identifier: Apache-2.0 */
/* cancel: the source gives this migration up; only before commit. */
#include "wire/peer.h"

static const Field fields[] = {
	SCHEMA_HEX(PeerMessage, migration),
	SCHEMA_TEXT(PeerMessage, category, TEXT_NAME, 1),
	SCHEMA_TEXT(PeerMessage, text, TEXT_PRINTABLE, 1),
};
SCHEMA_DEFINE(peer_cancel_schema, "cancel", PeerMessage, fields);
