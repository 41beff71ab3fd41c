/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Statements: what has legal weight in a migration. Each is a JSON object, signed as CMS SignedData
 * over its exact bytes by the host that makes it, and names the statement that it answers by the
 * SHA-384 of that one's exact bytes, so that together they form a chain that an auditor can walk:
 *
 *   offer <- accept <- ready <- commit <- activated <- destroyed
 *                                      <- declined
 *
 * PROTOCOL.md, section "Statements", lists the fields. This file holds the common part; each kind's
 * field table stands in a file of its own (statement_offer.c ...).
 */
#ifndef SEALIFT_WIRE_STATEMENT_H
#define SEALIFT_WIRE_STATEMENT_H

#include "base/bounds.h"
#include "base/buffer.h"
#include "base/schema.h"
#include "wire/manifest.h"
#include "wire/offered_key.h"

enum {
	MIGRATION_ID_BYTES = 16,
	DIGEST_SHA384_BYTES = 48,
	SHARE_BYTES = 97, /* a P-384 point, uncompressed, SEC 1 */
};

typedef enum StatementKind {
	STATEMENT_OFFER,
	STATEMENT_ACCEPT,
	STATEMENT_READY,
	STATEMENT_COMMIT,
	STATEMENT_DECLINED,
	STATEMENT_ACTIVATED,
	STATEMENT_DESTROYED,
	STATEMENT_KIND_COUNT,
} StatementKind;
extern const char *const statement_words[STATEMENT_KIND_COUNT];

/* How the VM is carried over. */
typedef enum MoveManner {
	MANNER_LIVE,	/* the guest runs on while its memory is copied */
	MANNER_OFFLINE, /* it stands still from before its memory is copied until it runs again */
	MANNER_COLD,	/* the VM is stopped, before, after and all the while */
	MANNER_COUNT,
} MoveManner;
extern const char *const move_manner_words[MANNER_COUNT];

/* One struct for all kinds; which members a kind has, its field table says. */
typedef struct Statement {
	StatementKind kind;

	/* in each */
	uint64_t version;			/* of the peer protocol, minor */
	uint8_t id[MIGRATION_ID_BYTES];		/* random, once ever */
	uint8_t migration[MIGRATION_ID_BYTES];	/* random, made by the source */
	char vm[LIMIT_UUID];
	char owner[LIMIT_DOMAIN];		/* the domain that owns the VM */
	uint64_t epoch;				/* of the VM, after this migration */
	char source[LIMIT_SPIFFE_ID];		/* host identities */
	char destination[LIMIT_SPIFFE_ID];
	uint64_t issued_s, expires_s;		/* seconds since 1970, UTC */

	/* all but the offer */
	uint8_t previous[DIGEST_SHA384_BYTES];	/* SHA-384 of the JSON that this one answers */

	/* offer and accept */
	uint8_t share[SHARE_BYTES];		/* fresh key-agreement share of the signer */
	SealMode mode;				/* offer: the VM's wish; accept: the outcome */
	uint64_t channels;			/* main and multifd together; accept: not more than offered */
	uint64_t version_min, version_max;	/* what the signer speaks: no silent downgrade */

	/* offer */
	Manifest manifest;
	OfferedKey keys[LIMIT_OFFERED_KEYS];	/* that its key manager will hand over; none: no transfer */
	size_t keys_count;
	bool keep_keys;				/* a copy: the source's key manager keeps them */
	MoveManner manner;

	/* accept */
	uint8_t routing[MIGRATION_ID_BYTES];	/* finds the migration in a channel preamble */
	uint64_t lease_s;			/* how long the reservation holds without a word */
	uint64_t memory_bytes;			/* reserved */
	bool populated;				/* and backed by real pages already */
	uint64_t populate_us;			/* what that took, start of the hypervisor included */
	bool forbids_encryption;		/* this domain's policy, for opportunistic mode */

	/* declined */
	char reason[LIMIT_TEXT];

	/* activated */
	uint64_t resume_us;			/* from commit's arrival to RESUME, destination's clock; cold: 0 */
} Statement;

/* The schema of one kind, without its kind member. */
extern const Schema *const statement_schemas[STATEMENT_KIND_COUNT];

/* JSON with "statement": KIND as its first member; these are the bytes that are signed and hashed. */
MUST_CHECK bool statement_encode_json(const Statement *statement, Buffer *buffer, Error *err);
/* Strict: see wire/json.h. Sets ret_statement->kind. Also checks the manifest of an offer and that
 * the life is at most LIMIT_STATEMENT_AGE_S for an offer. */
MUST_CHECK bool statement_decode_json(const void *data, size_t size, Statement *ret_statement,
				      Error *err);

/* Common rows of each kind's table. */
#define STATEMENT_COMMON_FIELDS                                                        \
	SCHEMA_U64(Statement, version, 0, 1000), SCHEMA_HEX(Statement, id),            \
		SCHEMA_HEX(Statement, migration),                                      \
		SCHEMA_TEXT(Statement, vm, TEXT_UUID, 36),                             \
		SCHEMA_TEXT(Statement, owner, TEXT_DOMAIN, 1),                         \
		SCHEMA_U64(Statement, epoch, 1, INT64_MAX),                            \
		SCHEMA_TEXT(Statement, source, TEXT_PRINTABLE, 1),                     \
		SCHEMA_TEXT(Statement, destination, TEXT_PRINTABLE, 1),                \
		SCHEMA_U64(Statement, issued_s, 1, INT64_MAX),                         \
		SCHEMA_U64(Statement, expires_s, 1, INT64_MAX)

extern const Schema statement_offer_schema, statement_accept_schema, statement_ready_schema,
	statement_commit_schema, statement_declined_schema, statement_activated_schema,
	statement_destroyed_schema;

#endif
