/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What key managers say to each other under their signature, but for the package itself: the offer,
 * which says whom to seal the package for, and the receipts. Each is a JSON object, signed as CMS
 * SignedData over its exact bytes by spiffe://DOMAIN/keyd with an EC P-384 key. A receipt names the
 * one that it answers by the SHA-384 of that one's exact bytes:
 *
 *   (package) <- imported <- activated <- destroyed, kept
 *                         <- discarded
 *
 * PROTOCOL.md, section "Key packages", lists the fields. An auditor checks one:
 *
 *   openssl cms -verify -binary -cades -inform DER -in FILE -CAfile root.crt -purpose any
 */
#ifndef SEALIFT_KEYS_KEY_STATEMENT_H
#define SEALIFT_KEYS_KEY_STATEMENT_H

#include "base/buffer.h"
#include "crypto/cms.h"
#include "keys/key.h"

enum {
	KEY_STATEMENT_PERMIT_BYTES = CMS_PERMIT_BYTES,
	KEY_STATEMENT_DIGEST_BYTES = 48,
	KEY_STATEMENT_SKEW_S = 60, /* so far ahead the signer's clock may be */
	LIMIT_KEY_OFFER_AGE_S = 3600,
	LIMIT_KEY_OFFER_CERTIFICATES = 10240, /* bytes of PEM */
};

typedef enum KeyStatementKind {
	KEY_STATEMENT_OFFER,	 /* destination: the package may be sealed for this certificate */
	KEY_STATEMENT_IMPORTED,	 /* destination: the keys are here, and asleep */
	KEY_STATEMENT_ACTIVATED, /* destination: the VM runs here, they are active */
	KEY_STATEMENT_DISCARDED, /* destination: they are destroyed here, or never came */
	KEY_STATEMENT_DESTROYED, /* source: they are destroyed here */
	KEY_STATEMENT_KEPT,	 /* source: it was a copy, they are active here too */
	KEY_STATEMENT_KIND_COUNT,
} KeyStatementKind;
extern const char *const key_statement_words[KEY_STATEMENT_KIND_COUNT];

/* A key that a receipt is about. */
typedef struct KeyNamed {
	uint8_t id[KEY_ID_BYTES];
	uint64_t version;
	uint8_t fingerprint[KEY_FINGERPRINT_BYTES];
} KeyNamed;

/* One struct for all kinds; which members a kind has, its field table says. */
typedef struct KeyStatement {
	KeyStatementKind kind;

	/* in each */
	uint8_t migration[16];
	char vm[LIMIT_UUID];
	char owner[LIMIT_DOMAIN];
	uint64_t epoch;					      /* of the VM, after the move */
	char source[LIMIT_DOMAIN], destination[LIMIT_DOMAIN]; /* whose key managers */
	uint8_t permit[KEY_STATEMENT_PERMIT_BYTES];
	uint64_t issued_s; /* since 1970, UTC */

	/* offer */
	uint8_t id[16]; /* random, once ever */
	uint64_t expires_s;
	uint8_t certificates[LIMIT_KEY_OFFER_CERTIFICATES]; /* PEM: for key agreement, its chain */
	size_t certificates_size;

	/* receipts */
	uint8_t package[16]; /* the id inside of the package; zeros: none came */
	uint8_t previous[KEY_STATEMENT_DIGEST_BYTES]; /* SHA-384 of the JSON that it answers; zeros:
						       * none, or a package, whose JSON is secret */
	KeyNamed keys[LIMIT_OFFERED_KEYS]; /* in the order of the signed offer of the migration */
	size_t keys_count;
} KeyStatement;

/* Signs it and appends DER of at most LIMIT_STATEMENT bytes; *ret_digest is that of its JSON.
 * ERROR_CONFLICT if it is not the signer's to make, or its life is none; ERROR_PEER for a member
 * out of its bounds; ERROR_CONFIG if the key is not EC P-384. */
MUST_CHECK bool key_statement_make(const CmsSigner *signer, const KeyStatement *statement,
				   Buffer *buffer, uint8_t ret_digest[KEY_STATEMENT_DIGEST_BYTES],
				   Error *err);

/*
 * Verifies `size` hostile bytes (1..LIMIT_STATEMENT) at the time now_s: the signature of the key
 * manager whose word it is (of expected->destination, or expected->source), that it is of
 * expected->kind, that migration, VM, owner, epoch, both domains, permit and, in a receipt, all
 * keys in their order are those of `expected`, that it is not from the future and that an offer has
 * not expired. Nothing else of `expected` is looked at: whom to seal for, and what a receipt
 * answers, the caller compares. ERROR_AUTH, ERROR_PEER, ERROR_LIMIT with the reason; nothing is set
 * then.
 */
MUST_CHECK bool key_statement_verify(const AnchorStore *anchors, uint64_t now_s, const void *der,
				     size_t size, const KeyStatement *expected,
				     KeyStatement *ret_statement,
				     uint8_t ret_digest[KEY_STATEMENT_DIGEST_BYTES], Error *err);

/* The JSON alone: what is signed, and back, strictly (wire/json.h). For those two and for tests. */
MUST_CHECK bool key_statement_encode_json(const KeyStatement *statement, Buffer *buffer,
					  Error *err);
MUST_CHECK bool key_statement_decode_json(const void *data, size_t size,
					  KeyStatement *ret_statement, Error *err);

#endif
