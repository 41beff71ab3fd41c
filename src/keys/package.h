/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys on their way from one key manager to another: a package, for one receiver, one migration,
 * one epoch, good once.
 *
 *   CMS SignedData: ECDSA P-384, SHA-384, the signed attribute `permit` (crypto/cms.h)
 *     over CMS AuthEnvelopedData: one recipient by ECDH P-384, AES-256-GCM (crypto/cms_envelope.h)
 *       over JSON (package_schema): the keys, and all that they are bound to
 *
 * The JSON has one form for one package: members in the schema's order, no spaces, no escapes. So
 * its values can be found and taken out before a JSON parser, which copies and
 * does not wipe, sees the text (package_json.h). PROTOCOL.md, section "Key packages".
 *
 * An auditor who has the receiver's key opens one by
 *
 *   openssl cms -verify -binary -cades -inform DER -in FILE -CAfile root.crt -purpose any -out ENV
 *   openssl cms -decrypt -inform DER -in ENV -recip agree.crt -inkey agree.key
 *
 * and everybody else sees by the first command, and `openssl cms -cmsout -print`, who sent it, to
 * whom, for which permit.
 */
#ifndef SEALIFT_KEYS_PACKAGE_H
#define SEALIFT_KEYS_PACKAGE_H

#include "crypto/cms_envelope.h"
#include "keys/key.h"

enum {
	LIMIT_PACKAGE_KEYS = LIMIT_OFFERED_KEYS,
	LIMIT_PACKAGE_JSON = LIMIT_STATEMENT_JSON,
	PACKAGE_PERMIT_BYTES = CMS_PERMIT_BYTES, /* SHA-384 of the statements that permit it */
	LIMIT_PACKAGE_AGE_S = 3600, /* longest life: so long its receiver must remember its id */
	PACKAGE_SKEW_S = 60,	    /* so far ahead the sender's clock may be */
};

typedef struct PackageKey {
	uint8_t id[KEY_ID_BYTES];
	uint64_t version;
	KeyPurpose purpose;
	char slot[LIMIT_NAME];
	uint8_t value[KEY_BYTES]; /* wiped by package_wipe */
	uint8_t fingerprint[KEY_FINGERPRINT_BYTES];
} PackageKey;

/* What is inside; everything but `keys` is compared with what the receiver expects. */
typedef struct Package {
	uint8_t id[16]; /* random, once ever */
	uint8_t migration[16];
	char vm[LIMIT_UUID];
	char owner[LIMIT_DOMAIN];
	uint64_t epoch;			/* of the VM after the move */
	char sender[LIMIT_SPIFFE_ID];	/* spiffe://DOMAIN/keyd */
	char receiver[LIMIT_SPIFFE_ID]; /* spiffe://DOMAIN/keyd */
	uint8_t permit[PACKAGE_PERMIT_BYTES];
	bool move; /* false: a copy; the sender keeps its keys */
	uint64_t issued_s, expires_s;
	PackageKey keys[LIMIT_PACKAGE_KEYS];
	size_t keys_count;
} Package;
extern const Schema package_schema;

/* Wipes the values; call it on every way out. */
void package_wipe(Package *package);

/* Makes the package for the holder of the key-agreement certificate `recipient`, which must be of
 * package->receiver (envelope_recipient_load judged it), by the signer, which must be
 * package->sender. Appends DER of at most LIMIT_PACKAGE bytes. ERROR_CONFLICT if the package is not
 * in order: another sender or receiver, times, a key twice, a value that has not the fingerprint;
 * ERROR_PEER for a member out of its bounds. */
MUST_CHECK bool package_make(const CmsSigner *signer, const EnvelopeRecipient *recipient,
			     const Package *package, Buffer *buffer, Error *err);

/* What the receiver knows before it opens one. */
typedef struct PackageExpected {
	const uint8_t *migration; /* 16 bytes */
	const char *vm, *owner, *sender, *receiver;
	uint64_t epoch;
	const uint8_t *permit; /* PACKAGE_PERMIT_BYTES */
	bool move;
	const KeyRecord *keys; /* as the offer named them: id to fingerprint, but no state */
	size_t keys_count;
} PackageExpected;

/*
 * Opens 1..LIMIT_PACKAGE hostile bytes at the time now_s: signature first (ERROR_AUTH, with the
 * reason as cms_verify), by a keyd of the expected domain, then the envelope, then the JSON,
 * strictly, then each value against what is expected, each key once and none missing, each
 * fingerprint made anew. ERROR_AUTH, ERROR_LIMIT or ERROR_PEER; *ret_package is wiped then. That it
 * is used once is the caller's to see (its id, by the store, at least until expires_s).
 */
MUST_CHECK bool package_open(const AnchorStore *anchors, const EnvelopeKey *key, int64_t now_s,
			     const void *der, size_t size, const PackageExpected *expected,
			     Package *ret_package, Error *err);

#endif
