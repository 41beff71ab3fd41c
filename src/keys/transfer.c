/* SPDX-License-Identifier: Apache-2.0 */
#include "keys/transfer.h"

const char *const transfer_words[TRANSFER_KIND_COUNT] = {
	"name-keys", "offer",	"export",   "import",  "imported",
	"activated", "release", "released", "discard", "take-back",
};

static const Field transfer_fields[] = {
	SCHEMA_TEXT(KeyTransfer, who, TEXT_PRINTABLE, 1),
	SCHEMA_ENUM(KeyTransfer, kind, transfer_words),
	SCHEMA_HEX(KeyTransfer, migration),
	SCHEMA_TEXT(KeyTransfer, vm, TEXT_UUID, 36),
	SCHEMA_TEXT(KeyTransfer, owner, TEXT_DOMAIN, 1),
	SCHEMA_U64(KeyTransfer, epoch, 1, INT64_MAX),
	SCHEMA_TEXT(KeyTransfer, source, TEXT_DOMAIN, 1),
	SCHEMA_TEXT(KeyTransfer, destination, TEXT_DOMAIN, 1),
	SCHEMA_HEX(KeyTransfer, permit),
	SCHEMA_BOOL(KeyTransfer, keep),
	SCHEMA_LIST(KeyTransfer, keys, &offered_key_schema, 0),
	SCHEMA_BYTES(KeyTransfer, document, 0),
};
SCHEMA_DEFINE(key_transfer_schema, "transfer", KeyTransfer, transfer_fields);

static const Field transferred_fields[] = {
	SCHEMA_ENUM(KeyTransferred, kind, transfer_words),
	SCHEMA_LIST(KeyTransferred, keys, &offered_key_schema, 0),
	SCHEMA_BYTES(KeyTransferred, document, 0),
	SCHEMA_BOOL(KeyTransferred, exposed),
};
SCHEMA_DEFINE(key_transferred_schema, "transferred", KeyTransferred, transferred_fields);
