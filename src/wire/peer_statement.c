/* SPDX-License-Identifier: Apache-2.0 */
/* statement: a signed statement; the migration id here only routes it. */
#include "wire/peer.h"

static const Field fields[] = {
	SCHEMA_HEX(PeerMessage, migration),
	SCHEMA_BYTES(PeerMessage, cms, 1),
};
SCHEMA_DEFINE(peer_statement_schema, "statement", PeerMessage, fields);
