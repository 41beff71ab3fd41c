/* SPDX-License-Identifier: Apache-2.0 */
/* keys: a signed document of a key manager; what it claims to be here only routes it. */
#include "wire/peer.h"

static const Field fields[] = {
	SCHEMA_HEX(PeerMessage, migration),
	SCHEMA_ENUM(PeerMessage, document, key_document_words),
	SCHEMA_BYTES(PeerMessage, package, 1),
};
SCHEMA_DEFINE(peer_keys_schema, "keys", PeerMessage, fields);
