/* SPDX-License-Identifier: Apache-2.0 */
/* statement: a signed statement; the migration id and kind here only route it. */
#include "wire/peer.h"

static const Field fields[] = {
	SCHEMA_HEX(PeerMessage, migration),
	{ .name = "statement", .kind = FIELD_ENUM, .offset = offsetof(PeerMessage, statement),
	  .words = statement_words, .n_words = STATEMENT_KIND_COUNT },
	SCHEMA_BYTES(PeerMessage, cms, 1),
};
SCHEMA_DEFINE(peer_statement_schema, "statement", PeerMessage, fields);
