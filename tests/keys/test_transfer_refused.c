/* SPDX-License-Identifier: Apache-2.0 */
/* A move of keys in which something is not what it ought to be: each refused, and nothing changed.
 */
#include "tests/keys/transfer_world.h"

#include <stdio.h>
#include <string.h>

static const uint8_t other_bytes[CMS_PERMIT_BYTES] = { 0xee };

/* --- requests --- */

static void test_request_not_in_order(void **state)
{
	AUTO_WORLD TransferWorld *world = world_open(2, false);
	const KeyTransfer right = world->request;

	(void)state;
#define OTHER(change, kind, category, reason)                                                      \
	do {                                                                                       \
		world->request = right;                                                            \
		change;                                                                            \
		world_fails(world, kind, category, reason);                                        \
		world->request = right;                                                            \
	} while (0)
	OTHER(world->request.keys_count = 0, TRANSFER_OFFER, ERROR_USAGE, "with 0 keys");
	OTHER(world->request.keys[1] = right.keys[0], TRANSFER_OFFER, ERROR_USAGE,
	      "0 and 1 are the same");
	OTHER(memset(world->request.migration, 0, 16), TRANSFER_OFFER, ERROR_USAGE,
	      "names no migration");
	OTHER(memset(world->request.permit, 0, CMS_PERMIT_BYTES), TRANSFER_OFFER, ERROR_USAGE,
	      "names no permit");
	OTHER(world->request.epoch = 0, TRANSFER_OFFER, ERROR_USAGE, "epoch");
	OTHER(world->request.who[0] = 0, TRANSFER_OFFER, ERROR_USAGE, "who");
	OTHER((void)0, TRANSFER_EXPORT, ERROR_USAGE, "\"export\" needs a document");
	world_works(world, TRANSFER_OFFER);
	world_fails_with(world, TRANSFER_OFFER, &world->made[TRANSFER_OFFER], ERROR_USAGE,
			 "without a document");
	/* The wrong side, and no side at all. */
	OTHER(snprintf(world->request.source, LIMIT_DOMAIN, "east.example"), TRANSFER_EXPORT,
	      ERROR_DENIED, "is for the key manager of east.example, not of north.example");
	OTHER(snprintf(world->request.destination, LIMIT_DOMAIN, "east.example"), TRANSFER_OFFER,
	      ERROR_DENIED, "is for the key manager of east.example, not of south.example");
	OTHER((snprintf(world->request.source, LIMIT_DOMAIN, "south.example"),
	       snprintf(world->request.destination, LIMIT_DOMAIN, "north.example")),
	      TRANSFER_ACTIVATED, ERROR_DENIED, "not of south.example");
	OTHER((snprintf(world->request.source, LIMIT_DOMAIN, "south.example"),
	       snprintf(world->request.destination, LIMIT_DOMAIN, "north.example")),
	      TRANSFER_EXPORT, ERROR_DENIED, "not of north.example");
#undef OTHER
}

static void test_keys_of_others(void **state)
{
	AUTO_WORLD TransferWorld *world = world_open(2, false);
	const KeyTransfer right = world->request;

	(void)state;
#define OTHER(change, category, reason)                                                            \
	do {                                                                                       \
		world->request = right;                                                            \
		change;                                                                            \
		world_works(world, TRANSFER_OFFER);                                                \
		world_fails(world, TRANSFER_EXPORT, category, reason);                             \
	} while (0)
	OTHER(world->request.vm[0] = '9', ERROR_DENIED, "is of another VM than 9a6b");
	OTHER(snprintf(world->request.owner, LIMIT_DOMAIN, "other.example"), ERROR_DENIED,
	      "is of the owner owner.example, not of other.example");
	OTHER(world->request.epoch = WORLD_EPOCH - 1, ERROR_DENIED, "an older copy of the VM");
	OTHER(world->request.keys[1].id[0] ^= 1, ERROR_NOT_FOUND, "no key");
	OTHER(world->request.keys[1].version++, ERROR_NOT_FOUND, "no key");
	OTHER(world->request.keys[1].fingerprint[0] ^= 1, ERROR_CONFLICT,
	      "is another here than was offered");
	OTHER(world->request.keys[1].slot[0] = 'x', ERROR_CONFLICT,
	      "is another here than was offered");
	OTHER(world->request.keys[1].purpose = KEY_IMAGE, ERROR_CONFLICT,
	      "is another here than was offered");
#undef OTHER
	world->request = right;
	world_works(world, TRANSFER_OFFER);
	world_works(world, TRANSFER_EXPORT);
	/* They are on their way: another migration cannot take them along. */
	world->request.migration[0] ^= 1;
	world_works(world, TRANSFER_OFFER);
	world_fails(world, TRANSFER_EXPORT, ERROR_CONFLICT, "only an active one may leave");
	world_fails(world, TRANSFER_NAME_KEYS, ERROR_CONFLICT, "exporting with another migration");
}

/* What a migration was first asked about, it stays. */
static void test_context_stays(void **state)
{
	static const TransferKind source[] = { TRANSFER_EXPORT, TRANSFER_IMPORTED, TRANSFER_RELEASE,
					       TRANSFER_TAKE_BACK };
	static const TransferKind destination[] = { TRANSFER_OFFER, TRANSFER_IMPORT,
						    TRANSFER_ACTIVATED, TRANSFER_RELEASED,
						    TRANSFER_DISCARD };
	AUTO_WORLD TransferWorld *world = world_open(2, false);
	const KeyTransfer right = world->request;

	(void)state;
	world_go(world, 4);
	/* So that the next steps have a document. */
	assert_true(buffer_put_u8(&world->made[TRANSFER_ACTIVATED], 0, &world->err));
	assert_true(buffer_put_u8(&world->made[TRANSFER_RELEASE], 0, &world->err));
#define OTHER(change, what)                                                                        \
	do {                                                                                       \
		world->request = right;                                                            \
		change;                                                                            \
		for (size_t i = 0; i < ARRAY_SIZE(source); i++)                                    \
			world_fails(world, source[i], ERROR_CONFLICT,                              \
				    "asked about with another " what " before");                   \
		for (size_t i = 0; i < ARRAY_SIZE(destination); i++)                               \
			world_fails(world, destination[i], ERROR_CONFLICT,                         \
				    "asked about with another " what " before");                   \
	} while (0)
	OTHER(world->request.vm[0] = '9', "VM");
	OTHER(world->request.owner[0] = 'p', "owner");
	OTHER(world->request.epoch++, "epoch");
	OTHER(world->request.permit[0] ^= 1, "permit");
	OTHER(world->request.keep = true, "agreement on who keeps the keys");
	OTHER(world->request.keys_count = 1, "keys");
	OTHER(world->request.keys[0].fingerprint[0] ^= 1, "keys");
#undef OTHER
	world->request = right;
	snprintf(world->request.destination, LIMIT_DOMAIN, "east.example");
	world_fails(world, TRANSFER_TAKE_BACK, ERROR_CONFLICT, "another domains before");
}

/* Keys that cannot come, found before anything leaves. */
static void test_no_room_at_the_destination(void **state)
{
	AUTO_WORLD TransferWorld *world = world_open(1, false);
	KeyReason created = { KEY_CREATED, "uid 0", "", WORLD_NOW_S };
	KeyReason retired = { KEY_RETIRED, "uid 0", "", WORLD_NOW_S };
	AUTO_SECRET Secret *value = sample_value(1);
	KeyRecord key, here;
	Error err = ERROR_INIT;

	(void)state;
	world_state(&world->north, world, 0, &key);
	/* Another key of this VM for the same thing. */
	here = key;
	here.id[0] ^= 1;
	assert_works(key_fingerprint(here.id, here.version, value, here.fingerprint, &err), &err);
	assert_works(key_store_add(world->south.store, &here, value, &created, &err), &err);
	world_fails(world, TRANSFER_OFFER, ERROR_CONFLICT, "of this VM is active here, for image");
	here.state = KEY_DEACTIVATED;
	assert_works(key_store_change(world->south.store, &here, &retired, &err), &err);
	world_works(world, TRANSFER_OFFER);
	world_works(world, TRANSFER_EXPORT);
	/* The very key. */
	AUTO_SECRET Secret *own = secret_new(KEY_BYTES, &err);

	here = key;
	here.purpose = KEY_TPM_FILE;
	assert_works(key_fingerprint(here.id, here.version, own, here.fingerprint, &err), &err);
	assert_works(key_store_add(world->south.store, &here, own, &created, &err), &err);
	world_fails(world, TRANSFER_OFFER, ERROR_CONFLICT, "version 1 is here, active");
	world_fails(world, TRANSFER_IMPORT, ERROR_CONFLICT, "version 1 is here, active");
}

/* --- who signed --- */

static CmsSigner *signer_of(const PkiPair *pair)
{
	AUTO_FIXTURE_PEM FixturePem pem = fixture_pem_of(pair);
	Error err = ERROR_INIT;
	CmsSigner *signer = cms_signer_load(pem.certificate.data, pem.certificate.used,
					    pem.key.data, pem.key.used, &err);

	assert_non_null(signer);
	return signer;
}

/* The document that the step needs, signed by another. */
static void signed_otherwise(TransferWorld *world, TransferKind kind, const CmsSigner *signer,
			     const char *reason)
{
	KeyStatement said;

	world_read(world, world_needs(kind), &said);

	AUTO_BUFFER Buffer der = world_forge(signer, &said);

	world_fails_with(world, kind, &der, ERROR_AUTH, reason);
}

/* Steps whose document south signs, and how many steps come before. */
static const struct {
	TransferKind kind;
	size_t before;
} south_signs[] = { { TRANSFER_EXPORT, 1 }, { TRANSFER_IMPORTED, 3 }, { TRANSFER_RELEASE, 5 } };

static void signers_of_south(TransferWorld *world, TransferKind kind)
{
	const FixtureOdd old = { "URI:spiffe://south.example/keyd", "critical,digitalSignature",
				 .not_after_s = WORLD_NOW_S - 1 };
	AUTO_FIXTURE_DOMAIN FixtureDomain impostor = { 0 };
	Error err = ERROR_INIT;

	fixture_domain_open(&impostor, "south.example", WORLD_NOW_S);

	AUTO_PKI_PAIR PkiPair old_pair =
		fixture_issue_odd(&world->south.domain.root, &old, WORLD_NOW_S);
	AUTO_PKI_PAIR PkiPair pair =
		fixture_issue(&world->south.domain, SPIFFE_KEYD, NULL, PKI_USE_SIGN, WORLD_NOW_S);
	AUTO_CMS_SIGNER CmsSigner *host =
		fixture_signer(&world->south.domain, SPIFFE_HOST, "a", WORLD_NOW_S);
	AUTO_CMS_SIGNER CmsSigner *authority =
		fixture_signer(&world->south.domain, SPIFFE_AUTHORITY, NULL, WORLD_NOW_S);
	AUTO_CMS_SIGNER CmsSigner *foreign =
		fixture_signer(&impostor, SPIFFE_KEYD, NULL, WORLD_NOW_S);
	AUTO_CMS_SIGNER CmsSigner *expired = signer_of(&old_pair);
	AUTO_CMS_SIGNER CmsSigner *revoked = signer_of(&pair);
	AUTO_BUFFER Buffer crl =
		fixture_crl(&world->south.domain, 2, WORLD_NOW_S, pair.certificate);

	signed_otherwise(world, kind, host, "host/a signed what only a keyd may sign");
	signed_otherwise(world, kind, authority, "authority signed what only a keyd may sign");
	signed_otherwise(world, kind, world->north.signer,
			 "is the word of the key manager of south.example, not of "
			 "spiffe://north.example/keyd");
	signed_otherwise(world, kind, foreign, "is not issued by a root of its domain");
	signed_otherwise(world, kind, expired, "has expired");
	assert_works(anchor_store_set_crl(world->anchors, "south.example", crl.data, crl.used,
					  WORLD_NOW_S, &err),
		     &err);
	signed_otherwise(world, kind, revoked, "is revoked");
	world_works(world, kind);
}

static void test_signers(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(south_signs); i++) {
		AUTO_WORLD TransferWorld *world = world_open(1, false);

		world_go(world, south_signs[i].before);
		signers_of_south(world, south_signs[i].kind);
	}
}

static void test_domain_not_trusted(void **state)
{
	AUTO_WORLD TransferWorld *world = world_open(1, false);

	(void)state;
	world_go(world, 1);
	assert_true(anchor_store_remove(world->anchors, "south.example"));
	world_fails(world, TRANSFER_EXPORT, ERROR_AUTH, "south.example");
}

/* --- whom to seal for --- */

static void offered_otherwise(TransferWorld *world, const PkiPair *pair, const char *reason)
{
	AUTO_FIXTURE_PEM FixturePem pem = fixture_pem_of(pair);
	KeyStatement offer;

	world_read(world, TRANSFER_OFFER, &offer);
	memcpy(offer.certificates, pem.certificate.data, pem.certificate.used);
	offer.certificates_size = pem.certificate.used;

	AUTO_BUFFER Buffer der = world_forge(world->south.signer, &offer);

	world_fails_with(world, TRANSFER_EXPORT, &der, ERROR_AUTH, reason);
}

static void test_receivers(void **state)
{
	AUTO_WORLD TransferWorld *world = world_open(1, false);
	const FixtureOdd old = { "URI:spiffe://south.example/keyd", "critical,keyAgreement",
				 .not_after_s = WORLD_NOW_S - 1 };
	const FixtureOdd host = { "URI:spiffe://south.example/host/a", "critical,keyAgreement" };
	const FixtureOdd weak = { "URI:spiffe://south.example/keyd", "critical,keyAgreement",
				  .curve = "P-256" };
	Error err = ERROR_INIT;

	(void)state;
	world_go(world, 1);

	const PkiPair *root = &world->south.domain.root;
	AUTO_PKI_PAIR PkiPair old_pair = fixture_issue_odd(root, &old, WORLD_NOW_S);
	AUTO_PKI_PAIR PkiPair host_pair = fixture_issue_odd(root, &host, WORLD_NOW_S);
	AUTO_PKI_PAIR PkiPair weak_pair = fixture_issue_odd(root, &weak, WORLD_NOW_S);
	AUTO_PKI_PAIR PkiPair north_pair =
		fixture_issue(&world->north.domain, SPIFFE_KEYD, NULL, PKI_USE_AGREE, WORLD_NOW_S);
	AUTO_PKI_PAIR PkiPair revoked =
		fixture_issue(&world->south.domain, SPIFFE_KEYD, NULL, PKI_USE_AGREE, WORLD_NOW_S);
	AUTO_BUFFER Buffer crl =
		fixture_crl(&world->south.domain, 2, WORLD_NOW_S, revoked.certificate);

	offered_otherwise(world, &old_pair, "has expired");
	offered_otherwise(world, &host_pair, "spiffe://south.example/host/a");
	offered_otherwise(world, &weak_pair, "P-384");
	offered_otherwise(world, &north_pair, "spiffe://north.example/keyd");
	offered_otherwise(world, &world->south.pair, "key offer: ");
	assert_works(anchor_store_set_crl(world->anchors, "south.example", crl.data, crl.used,
					  WORLD_NOW_S, &err),
		     &err);
	offered_otherwise(world, &revoked, "is revoked");
	world_expect(world, &world->north, KEY_ACTIVE);
	world_works(world, TRANSFER_EXPORT);
}

/* Our own certificates have a last day, too. */
static void test_own_certificates_expire(void **state)
{
	const FixtureOdd old = { "URI:spiffe://south.example/keyd", "critical,keyAgreement",
				 .not_after_s = WORLD_NOW_S + 10 };
	AUTO_WORLD TransferWorld *world = world_open(1, false);
	AUTO_PKI_PAIR PkiPair pair =
		fixture_issue_odd(&world->south.domain.root, &old, WORLD_NOW_S);
	AUTO_FIXTURE_PEM FixturePem pem = fixture_pem_of(&pair);

	(void)state;
	envelope_key_free(world->south.agree);
	world->south.agree = envelope_key_load(pem.certificate.data, pem.certificate.used,
					       pem.key.data, pem.key.used, &world->err);
	assert_non_null(world->south.agree);
	world_works(world, TRANSFER_OFFER);
	world_works(world, TRANSFER_EXPORT);
	world->now_s += 10;
	world_fails(world, TRANSFER_OFFER, ERROR_UNAVAILABLE, "for key agreement expired");
	world->now_s = WORLD_NOW_S + 2 * 24 * 3600;
	world_fails(world, TRANSFER_OFFER, ERROR_UNAVAILABLE, "certificate for signing");
	/* It signs nothing, and a key that does not come back opens nothing. */
	world_expect(world, &world->north, KEY_EXPORTING);
	world_works(world, TRANSFER_TAKE_BACK);
	world_expect(world, &world->north, KEY_ACTIVE);
}

/* --- what is said --- */

typedef struct Forgery {
	TransferWorld *world;
	TransferKind kind;
	KeyStatement said;
} Forgery;

static void said_otherwise(const Forgery *forgery, const KeyStatement *said, ErrorCategory category,
			   const char *reason)
{
	bool is_source = forgery->kind == TRANSFER_RELEASED;
	const WorldSide *side = is_source ? &forgery->world->north : &forgery->world->south;
	AUTO_BUFFER Buffer der = world_forge(side->signer, said);

	world_fails_with(forgery->world, forgery->kind, &der, category, reason);
}

#define SAID(change, reason)                                                                       \
	do {                                                                                       \
		KeyStatement changed = forgery->said;                                              \
		change;                                                                            \
		said_otherwise(forgery, &changed, ERROR_AUTH, reason);                             \
	} while (0)

static void forge_common(const Forgery *forgery)
{
	SAID(changed.migration[0] ^= 1, "is about another migration");
	SAID(changed.permit[47] ^= 1, "is about another permit");
	SAID(changed.vm[0] = '9', "has VM 9a6b");
	SAID(changed.owner[0] = 'p', "has owner pwner.example, not owner.example");
	SAID(changed.epoch++, "is of epoch 8, not 7");
	SAID(changed.epoch--, "is of epoch 6, not 7");
	SAID(changed.issued_s = WORLD_NOW_S + KEY_STATEMENT_SKEW_S + 1, "is from the future");
	SAID(changed.source[0] = 'x', "has source xorth.example");
	SAID(changed.destination[0] = 'x', "has destination xouth.example");
}

static void forge_receipt(const Forgery *forgery)
{
	forge_common(forgery);
	SAID(changed.keys_count = 1, "names 1 keys, not 2");
	SAID(changed.keys[1].id[0] ^= 1, "receipt's key 1 is another");
	SAID(changed.keys[0].version++, "receipt's key 0 is another");
	SAID(changed.keys[0].fingerprint[47] ^= 1, "receipt's key 0 is another");
	SAID((changed.keys[0] = changed.keys[1], changed.keys[1] = forgery->said.keys[0]),
	     "receipt's key 0 is another");
	SAID(changed.package[0] ^= 1, "is about another package");
	SAID(changed.previous[0] ^= 1, "answers another one");
	for (KeyStatementKind kind = KEY_STATEMENT_IMPORTED; kind < KEY_STATEMENT_KIND_COUNT;
	     kind++)
		if (kind != forgery->said.kind)
			SAID(changed.kind = kind, "key document says ");
}

static void test_offers_otherwise(void **state)
{
	AUTO_WORLD TransferWorld *world = world_open(2, false);
	Forgery own = { world, TRANSFER_EXPORT, { 0 } };
	const Forgery *forgery = &own;

	(void)state;
	world_go(world, 1);
	world_read(world, TRANSFER_OFFER, &own.said);
	forge_common(forgery);
	SAID(changed.expires_s = changed.issued_s, "not for 1..3600 s");
	SAID(changed.expires_s = changed.issued_s + 3601, "not for 1..3600 s");
	SAID((changed.issued_s -= 900, changed.expires_s = WORLD_NOW_S), "key offer expired");
	SAID(changed.certificates[changed.certificates_size / 2] ^= 1, "key offer: ");
	world->now_s += TRANSFER_OFFER_LIFE_S;
	world_fails(world, TRANSFER_EXPORT, ERROR_AUTH, "key offer expired");
	world_works(world, TRANSFER_OFFER);
	world_works(world, TRANSFER_EXPORT);
}

static void test_receipts_otherwise(void **state)
{
	static const TransferKind kinds[] = { TRANSFER_IMPORTED, TRANSFER_RELEASE,
					      TRANSFER_RELEASED };
	AUTO_WORLD TransferWorld *world = world_open(2, false);
	Forgery own = { .world = world };

	(void)state;
	world_go(world, 3);
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		own.kind = kinds[i];
		world_read(world, world_needs(own.kind), &own.said);
		forge_receipt(&own);
		/* Another one after the first, though good by itself. */
		world_works(world, own.kind);
		own.said.issued_s++;
		said_otherwise(&own, &own.said, ERROR_AUTH, "is another one than came before");
		if (own.kind == TRANSFER_IMPORTED)
			world_works(world, TRANSFER_ACTIVATED);
	}
}

/* A receipt "discarded" says whether a package came there, and must know which. */
static void test_discarded_otherwise(void **state)
{
	AUTO_WORLD TransferWorld *world = world_open(2, false);
	Forgery own = { .world = world, .kind = TRANSFER_TAKE_BACK };
	const Forgery *forgery = &own;

	(void)state;
	world_go(world, 4);
	world_works(world, TRANSFER_DISCARD);
	world_read(world, TRANSFER_DISCARD, &own.said);
	forge_common(forgery);
	SAID(changed.package[0] ^= 1, "is about another package");
	SAID(changed.previous[0] ^= 1, "answers another one");
	SAID(memset(changed.package, 0, 16), "answers a receipt, but names no package");
	SAID(memset(changed.previous, 0, 48), "answers no receipt, but names a package");
	SAID((memset(changed.previous, 0, 48), memset(changed.package, 0, 16)),
	     "is about another package");
	SAID(changed.kind = KEY_STATEMENT_IMPORTED, "says \"imported\", not \"discarded\"");
	world_works(world, TRANSFER_TAKE_BACK);
}

/* Content of one type is not taken for another's, and only what the schema knows is read. */
static void test_not_a_document(void **state)
{
	AUTO_WORLD TransferWorld *world = world_open(1, false);
	static const char *const texts[] = {
		"{}", "[]", "", "{\"document\":\"package\"}", "{\"document\":\"offer\"}",
	};

	(void)state;
	world_go(world, 2);
	world_fails_with(world, TRANSFER_IMPORTED, &world->made[TRANSFER_OFFER], ERROR_AUTH,
			 "content type is ");
	world_fails_with(world, TRANSFER_IMPORTED, &world->made[TRANSFER_EXPORT], ERROR_AUTH, "");
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		if (!*texts[i])
			continue;

		AUTO_BUFFER Buffer der = world_forge_text(
			world->south.signer, CMS_CONTENT_KEY_RECEIPT, texts[i], strlen(texts[i]));

		world_fails_with(world, TRANSFER_IMPORTED, &der, ERROR_PEER, "");
	}
	world_works(world, TRANSFER_IMPORT);

	AUTO_BUFFER Buffer json = world_json(world, TRANSFER_IMPORT);

	json.data[json.used - 1] = ',';
	assert_true(buffer_put(&json, "\"more\":1}", 9, &world->err));

	AUTO_BUFFER Buffer der = world_forge_text(world->south.signer, CMS_CONTENT_KEY_RECEIPT,
						  json.data, json.used);

	world_fails_with(world, TRANSFER_IMPORTED, &der, ERROR_PEER, "more");
}

/* The sender seals a second package of the same id: for another migration it is no new one. */
static void test_package_id_again(void **state)
{
	AUTO_WORLD TransferWorld *world = world_open(1, false);
	Package *package = calloc(1, sizeof(*package));
	KeyRecord key = { .version = 1, .slot = "disk0" };
	Error err = ERROR_INIT;

	(void)state;
	assert_non_null(package);
	world_go(world, 3);

	const KeyTransfer *request = &world->request;
	size_t size;
	const void *chain = envelope_key_chain(world->south.agree, &size);
	AUTO_ENVELOPE_RECIPIENT EnvelopeRecipient *south = envelope_recipient_load(
		world->anchors, WORLD_NOW_S, chain, size, "spiffe://south.example/keyd", &err);
	AUTO_BUFFER Buffer der = BUFFER_INIT(LIMIT_PACKAGE);
	PackageExpected expected = { request->migration,
				     request->vm,
				     request->owner,
				     "spiffe://north.example/keyd",
				     "spiffe://south.example/keyd",
				     request->epoch,
				     request->permit,
				     true,
				     &key,
				     1 };

	assert_non_null(south);
	memcpy(key.id, request->keys[0].id, sizeof(key.id));
	memcpy(key.fingerprint, request->keys[0].fingerprint, sizeof(key.fingerprint));
	assert_works(package_open(world->anchors, world->south.agree, WORLD_NOW_S,
				  world->made[TRANSFER_EXPORT].data,
				  world->made[TRANSFER_EXPORT].used, &expected, package, &err),
		     &err);
	world_works(world, TRANSFER_DISCARD);
	world->request.migration[0] ^= 1;
	package->migration[0] ^= 1;
	assert_works(package_make(world->north.signer, south, package, &der, &err), &err);
	world_fails_with(world, TRANSFER_IMPORT, &der, ERROR_CONFLICT,
			 "came before, with another migration");
	package->id[0] ^= 1;
	buffer_clear(&der);
	der = BUFFER_INIT(LIMIT_PACKAGE);
	assert_works(package_make(world->north.signer, south, package, &der, &err), &err);
	world_works_with(world, TRANSFER_IMPORT, &der);
	package_wipe(package);
	free(package);
}

static void test_another_permit_is_refused_by_import(void **state)
{
	AUTO_WORLD TransferWorld *world = world_open(1, false);
	const KeyTransfer right = world->request;

	(void)state;
	world_go(world, 2);
	memcpy(world->request.permit, other_bytes, sizeof(other_bytes));
	world_fails(world, TRANSFER_IMPORT, ERROR_AUTH, "made for another permit");
	world->request = right;
	world->request.migration[0] ^= 1;
	world_fails(world, TRANSFER_IMPORT, ERROR_AUTH, "for another migration");
	world->request = right;
	world->request.epoch++;
	world_fails(world, TRANSFER_IMPORT, ERROR_AUTH, "is of epoch 7, not 8");
	world->request = right;
	world->request.vm[0] = '9';
	world_fails(world, TRANSFER_IMPORT, ERROR_AUTH, "package has VM");
	world->request = right;
	world->request.keep = true;
	world_fails(world, TRANSFER_IMPORT, ERROR_AUTH, "is a move, not a copy");
	world->request = right;
	world_works(world, TRANSFER_IMPORT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_request_not_in_order),
		cmocka_unit_test(test_keys_of_others),
		cmocka_unit_test(test_context_stays),
		cmocka_unit_test(test_no_room_at_the_destination),
		cmocka_unit_test(test_signers),
		cmocka_unit_test(test_domain_not_trusted),
		cmocka_unit_test(test_receivers),
		cmocka_unit_test(test_own_certificates_expire),
		cmocka_unit_test(test_offers_otherwise),
		cmocka_unit_test(test_receipts_otherwise),
		cmocka_unit_test(test_discarded_otherwise),
		cmocka_unit_test(test_not_a_document),
		cmocka_unit_test(test_package_id_again),
		cmocka_unit_test(test_another_permit_is_refused_by_import),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
