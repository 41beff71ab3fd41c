/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two key managers for tests: north sends, south receives, both are trusted. The functions assert
 * success with cmocka.
 */
#ifndef SEALIFT_TESTS_PACKAGE_WORLD_H
#define SEALIFT_TESTS_PACKAGE_WORLD_H

#include "fixture_pki.h"
#include "keys/package.h"

#define PACKAGE_SENDER	 "spiffe://north.example/keyd"
#define PACKAGE_RECEIVER "spiffe://south.example/keyd"

typedef struct PackageWorld {
	int64_t now_s;
	FixtureDomain north, south;
	AnchorStore *store;
	CmsSigner *signer;	      /* north's */
	PkiPair agree;		      /* south's */
	EnvelopeKey *key;	      /* the same, loaded */
	EnvelopeRecipient *recipient; /* the same, as north sees it */
	Package package;
	KeyRecord records[LIMIT_PACKAGE_KEYS];
	PackageExpected expected;
} PackageWorld;

/* With a package of `n_keys` keys. Texts in `expected` point into the world: do not move it. */
void package_world_open(PackageWorld *world, size_t n_keys, int64_t now_s);
void package_world_close(PackageWorld *world);
#define AUTO_PACKAGE_WORLD CLEANUP(package_world_close)

/* Makes the fingerprint of a key of the package anew. */
void package_world_fingerprint(PackageKey *key);

/* The package as package_make makes it. */
Buffer package_world_made(const PackageWorld *world);
/* The same without its checks: what a sender can make who holds the right keys, and lies. */
Buffer package_world_forged(const PackageWorld *world, const Package *package);
Buffer package_world_forged_text(const PackageWorld *world, const void *text, size_t size);

#endif
