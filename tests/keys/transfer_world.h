/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two key managers, each with its store and certificates, that trust each other, and a VM whose
 * keys are about to move from north to south. Every step that is made looks whether a key is active
 * on both sides, or lost. The functions assert success with cmocka.
 */
#ifndef SEALIFT_TESTS_KEYS_TRANSFER_WORLD_H
#define SEALIFT_TESTS_KEYS_TRANSFER_WORLD_H

#include "tests/keys/store_fixture.h"

#include "fixture_pki.h"
#include "keys/key_statement.h"
#include "keys/key_store_transfers.h"
#include "keys/transfer.h"

enum { WORLD_EPOCH = 7, WORLD_NOW_S = FIXTURE_NOW_S };

typedef struct WorldSide {
	FixtureDomain domain;
	PkiPair pair; /* it signs by this */
	CmsSigner *signer;
	EnvelopeKey *agree;
	TestFolder folder;
	char path[128];
	RootKey *root;
	KeyStore *store;
} WorldSide;

typedef struct TransferWorld {
	uint64_t now_s;
	AnchorStore *anchors;
	WorldSide north, south;
	KeyTransfer request;		  /* all but kind and document */
	Buffer made[TRANSFER_KIND_COUNT]; /* documents, by the step that made them */
	KeyTransferred answer;		  /* of the last step */
	TransferValues *values;		  /* NULL: none is elsewhere */
	bool may_be_both; /* a copy, or a person decided: active on both sides is no surprise */
	Error err;
} TransferWorld;

/* With this many keys, active at north since the epoch before WORLD_EPOCH. Owned by the caller. */
TransferWorld *world_open(size_t n_keys, bool keep);
void world_close(TransferWorld *world);
DEFINE_CLEANUP(TransferWorld, world, world_close)
#define AUTO_WORLD CLEANUP(world_cleanup)

/* Both stores are closed and opened again, as by a kill. */
void world_reopen(TransferWorld *world);

/* Whose step it is. */
WorldSide *world_side(TransferWorld *world, TransferKind kind);
/* Which step makes the document that this one needs; TRANSFER_KIND_COUNT: none. */
TransferKind world_needs(TransferKind kind);
/* One step with the document that belongs to it, or with another (NULL: none). What it makes is put
 * into world->made. */
bool world_try(TransferWorld *world, TransferKind kind);
bool world_try_with(TransferWorld *world, TransferKind kind, const Buffer *document);
/* The same; asserts that it went well, or that it failed like this and changed nothing. */
void world_works(TransferWorld *world, TransferKind kind);
void world_works_with(TransferWorld *world, TransferKind kind, const Buffer *document);
void world_fails(TransferWorld *world, TransferKind kind, ErrorCategory category,
		 const char *reason);
void world_fails_with(TransferWorld *world, TransferKind kind, const Buffer *document,
		      ErrorCategory category, const char *reason);
/* All steps of a move that goes well, in their order: from the first up to `count` of them. */
enum { WORLD_STEPS = 7 };
extern const TransferKind world_order[WORLD_STEPS];
void world_go(TransferWorld *world, size_t count);

/* The state of a key there; KEY_STATE_COUNT: it is not there. */
KeyState world_state(const WorldSide *side, const TransferWorld *world, size_t number,
		     KeyRecord *ret_key);
/* Every key is in this state there. */
void world_expect(const TransferWorld *world, const WorldSide *side, KeyState state);
/* The words of the log's entries with this detail in them, with blanks between. */
void world_story(const WorldSide *side, const char *detail, char *ret_text, size_t size);

/* What a document says. */
Buffer world_json(const TransferWorld *world, TransferKind made);
void world_read(const TransferWorld *world, TransferKind made, KeyStatement *ret_statement);
/* Signs whatever it is: what a key manager, or another, can make who lies. */
Buffer world_forge(const CmsSigner *signer, const KeyStatement *statement);
Buffer world_forge_text(const CmsSigner *signer, CmsContentType type, const void *text,
			size_t size);

#endif
