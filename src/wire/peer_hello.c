/* SPDX-License-Identifier: Apache-2.0 */
/* hello: versions and the speaker's CRL, first in each direction. */
#include "wire/peer.h"

static const Field fields[] = {
	SCHEMA_U64(PeerMessage, version_min, 0, 1000),
	SCHEMA_U64(PeerMessage, version_max, 0, 1000),
	SCHEMA_TEXT(PeerMessage, software, TEXT_PRINTABLE, 1),
	SCHEMA_BYTES(PeerMessage, crl, 0),
};
SCHEMA_DEFINE(peer_hello_schema, "hello", PeerMessage, fields);
