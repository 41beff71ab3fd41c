/* SPDX-License-Identifier: Apache-2.0 */
/* Two domains, a notary that signs for host a of the north, one that verifies. */
#ifndef SEALIFT_TESTS_NOTARY_FIXTURE_H
#define SEALIFT_TESTS_NOTARY_FIXTURE_H

#include "fixture_pki.h"
#include "role_fixture.h"

#define NORTH_A "spiffe://north.example/host/a"
#define SOUTH_B "spiffe://south.example/host/b"

typedef struct World {
	int64_t now_s;
	FixtureDomain north, south;
	Role signer;   /* for NORTH_A */
	Role verifier; /* trusts both domains */
} World;

World *world_new(void);
void world_free(World *world);

/* A valid statement from NORTH_A to SOUTH_B, fresh; owned by the caller. */
RoleStatement *statement_new(const World *world, StatementKind kind);

/* The outcome of one request to sign: with `words` it must be refused and say so, else *ret_signed
 * (owned by the caller) is the answer. */
NotarySigned *world_sign(World *world, const RoleStatement *statement);
void world_expect_unsigned(World *world, const RoleStatement *statement, ErrorCategory category,
			   const char *words);

/* Signs any JSON as any identity, as a cheating host could. */
void world_forge(const CmsSigner *signer, CmsContentType type, const void *json, size_t size,
		 NotarySigned *ret_signed);
/* The JSON of a statement, appended to the buffer. */
void statement_json(const RoleStatement *statement, Buffer *json);

/* One request to verify; the answer is owned by the caller. */
NotaryVerified *world_verify(World *world, StatementKind kind, const char *signer,
			     const NotarySigned *cms);
void world_expect_unverified(World *world, StatementKind kind, const char *signer,
			     const NotarySigned *cms, ErrorCategory category, const char *words);

#endif
