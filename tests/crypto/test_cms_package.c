/* SPDX-License-Identifier: Apache-2.0 */
/* The signature around an envelope: what it has more than one around a statement. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/bounds.h"
#include "crypto/cms.h"
#include "crypto/openssl.h"
#include "fixture_pki.h"

#define NOW  FIXTURE_NOW_S
#define KEYD "spiffe://north.example/keyd"

static const char envelope[] = "stands for the DER of an envelope";
static const uint8_t permit[CMS_PERMIT_BYTES] = { 1, 2, 3 };
static const uint8_t other_permit[CMS_PERMIT_BYTES] = { 1, 2, 4 };

typedef struct World {
	FixtureDomain north;
	AnchorStore *store;
	CmsSigner *keyd;
	PkiPair pair; /* the key manager's signing certificate, for messages made by hand */
} World;

static void world_open(World *world)
{
	Error err = ERROR_INIT;

	fixture_domain_open(&world->north, "north.example", NOW);
	world->store = anchor_store_new(&err);
	assert_non_null(world->store);
	fixture_trust(world->store, &world->north, NOW);
	world->keyd = fixture_signer(&world->north, SPIFFE_KEYD, NULL, NOW);
	world->pair = fixture_issue(&world->north, SPIFFE_KEYD, NULL, PKI_USE_SIGN, NOW);
}

static void world_close(World *world)
{
	fixture_domain_close(&world->north);
	anchor_store_free(world->store);
	cms_signer_free(world->keyd);
	pki_pair_clear(&world->pair);
}
#define AUTO_WORLD CLEANUP(world_close)

static Buffer signed_by(const CmsSigner *signer)
{
	Buffer der = BUFFER_INIT(LIMIT_PACKAGE);
	Error err = ERROR_INIT;

	if (!cms_sign_package(signer, permit, envelope, sizeof(envelope), &der, &err))
		fail_msg("%s", err.text);
	return der;
}

static void accepted(const World *world, const Buffer *der)
{
	AUTO_BUFFER Buffer content = BUFFER_INIT(LIMIT_ENVELOPE);
	SpiffeId id;
	Error err = ERROR_INIT;

	if (!cms_verify_package(world->store, NOW, der->data, der->used, permit, &id, &content,
				&err))
		fail_msg("%s", err.text);
	assert_string_equal(id.text, KEYD);
	assert_int_equal(content.used, sizeof(envelope));
	assert_memory_equal(content.data, envelope, sizeof(envelope));
}

static void refused_for(const World *world, const Buffer *der, const uint8_t *wanted,
			const char *reason)
{
	AUTO_BUFFER Buffer content = BUFFER_INIT(LIMIT_ENVELOPE);
	SpiffeId id = { .text = "untouched" };
	Error err = ERROR_INIT;

	if (cms_verify_package(world->store, NOW, der->data, der->used, wanted, &id, &content,
			       &err))
		fail_msg("accepted, not refused with \"%s\"", reason);
	if (!strstr(err.text, reason))
		fail_msg("\"%s\" does not say \"%s\"", err.text, reason);
	assert_true(err.category == ERROR_AUTH || err.category == ERROR_LIMIT);
	assert_string_equal(id.text, "untouched");
	assert_int_equal(content.used, 0);
}

static void refused(const World *world, const Buffer *der, const char *reason)
{
	refused_for(world, der, permit, reason);
}

static void test_good(void **state)
{
	AUTO_WORLD World world;

	(void)state;
	world_open(&world);

	AUTO_BUFFER Buffer der = signed_by(world.keyd);

	accepted(&world, &der);
	refused_for(&world, &der, other_permit, "key-package was made for another permit");
}

static void test_every_bit_counts(void **state)
{
	AUTO_WORLD World world;
	AUTO_BUFFER Buffer content = BUFFER_INIT(LIMIT_ENVELOPE);
	SpiffeId id;
	Error err;

	(void)state;
	world_open(&world);

	AUTO_BUFFER Buffer der = signed_by(world.keyd);

	for (size_t i = 0; i < der.used; i++)
		for (int bit = 0; bit < 8; bit++) {
			uint8_t mask = (uint8_t)(1 << bit);

			der.data[i] ^= mask;
			err = ERROR_INIT;
			if (cms_verify_package(world.store, NOW, der.data, der.used, permit, &id,
					       &content, &err))
				fail_msg("byte %zu may be changed by 0x%02x", i, mask);
			der.data[i] ^= mask;
		}
	for (size_t size = 0; size < der.used; size++)
		assert_false(cms_verify_package(world.store, NOW, der.data, size, permit, &id,
						&content, &err));
	accepted(&world, &der);
	assert_true(buffer_put_u8(&der, 0, &err));
	refused(&world, &der, "1 bytes after");
}

static void test_sizes(void **state)
{
	static uint8_t big[LIMIT_PACKAGE + 1];
	AUTO_WORLD World world;
	AUTO_BUFFER Buffer der = BUFFER_INIT(LIMIT_PACKAGE);
	AUTO_BUFFER Buffer content = BUFFER_INIT(LIMIT_ENVELOPE);
	SpiffeId id;
	Error err = ERROR_INIT;

	(void)state;
	world_open(&world);
	assert_false(cms_sign_package(world.keyd, permit, big, 0, &der, &err));
	assert_int_equal(err.category, ERROR_LIMIT);
	assert_false(cms_sign_package(world.keyd, permit, big, LIMIT_ENVELOPE + 1, &der, &err));
	assert_int_equal(err.category, ERROR_LIMIT);
	assert_int_equal(der.used, 0);
	assert_true(cms_sign_package(world.keyd, permit, big, LIMIT_ENVELOPE, &der, &err));
	assert_true(cms_verify_package(world.store, NOW, der.data, der.used, permit, &id, &content,
				       &err));
	assert_int_equal(content.used, LIMIT_ENVELOPE);
	assert_false(cms_verify_package(world.store, NOW, big, sizeof(big), permit, &id, &content,
					&err));
	assert_int_equal(err.category, ERROR_LIMIT);
	assert_false(cms_verify_package(world.store, NOW, big, 0, permit, &id, &content, &err));
	assert_int_equal(err.category, ERROR_LIMIT);
}

static void test_signers(void **state)
{
	AUTO_WORLD World world;

	(void)state;
	world_open(&world);

	AUTO_CMS_SIGNER CmsSigner *host = fixture_signer(&world.north, SPIFFE_HOST, "a", NOW);
	AUTO_CMS_SIGNER CmsSigner *authority =
		fixture_signer(&world.north, SPIFFE_AUTHORITY, NULL, NOW);
	AUTO_BUFFER Buffer by_host = signed_by(host);
	AUTO_BUFFER Buffer by_authority = signed_by(authority);

	refused(&world, &by_host, "host/a signed what only a keyd may sign");
	refused(&world, &by_authority, "authority signed what only a keyd may sign");
}

/* A statement is not a package, and a package not a statement. */
static void test_kinds(void **state)
{
	AUTO_WORLD World world;
	AUTO_BUFFER Buffer offer = BUFFER_INIT(LIMIT_STATEMENT);
	AUTO_BUFFER Buffer content = BUFFER_INIT(LIMIT_STATEMENT_JSON);
	SpiffeId id;
	Error err = ERROR_INIT;

	(void)state;
	world_open(&world);

	AUTO_BUFFER Buffer package = signed_by(world.keyd);

	assert_true(cms_sign(world.keyd, CMS_CONTENT_KEY_OFFER, "{}", 2, &offer, &err));
	assert_true(cms_verify(world.store, NOW, offer.data, offer.used, CMS_CONTENT_KEY_OFFER,
			       SPIFFE_KEYD, &id, &content, &err));
	assert_false(cms_verify(world.store, NOW, offer.data, offer.used, CMS_CONTENT_KEY_RECEIPT,
				SPIFFE_KEYD, &id, &content, &err));
	refused(&world, &offer, "content type is 2.25.");
	assert_false(cms_verify(world.store, NOW, package.data, package.used, CMS_CONTENT_KEY_OFFER,
				SPIFFE_KEYD, &id, &content, &err));
	assert_non_null(strstr(err.text, "content type is 2.25."));
}

/* --- messages of other makers: which attribute permit each row has --- */

enum { OURS = CMS_BINARY | CMS_PARTIAL | CMS_NOSMIMECAP | CMS_CADES };

typedef struct Maker {
	CmsContentType type;
	int permits; /* how many attributes */
	int size, kind;
	bool p256;
	const char *reason; /* NULL: good */
} Maker;

static const Maker makers[] = {
	{ CMS_CONTENT_KEY_PACKAGE, 1, CMS_PERMIT_BYTES, V_ASN1_OCTET_STRING, false, NULL },
	{ CMS_CONTENT_KEY_PACKAGE, 0, 0, 0, false, "no signed attribute permit" },
	{ CMS_CONTENT_KEY_PACKAGE, 2, CMS_PERMIT_BYTES, V_ASN1_OCTET_STRING, false,
	  "signed attribute permit twice" },
	{ CMS_CONTENT_KEY_PACKAGE, 1, CMS_PERMIT_BYTES - 1, V_ASN1_OCTET_STRING, false,
	  "not an OCTET STRING of 48" },
	{ CMS_CONTENT_KEY_PACKAGE, 1, 0, V_ASN1_OCTET_STRING, false, "not an OCTET STRING of 48" },
	{ CMS_CONTENT_KEY_PACKAGE, 1, CMS_PERMIT_BYTES, V_ASN1_BIT_STRING, false,
	  "not an OCTET STRING of 48" },
	{ CMS_CONTENT_KEY_PACKAGE, 1, CMS_PERMIT_BYTES, V_ASN1_OCTET_STRING, true,
	  "is not EC P-384" },
	{ CMS_CONTENT_KEY_OFFER, 0, 0, 0, false, NULL },
	{ CMS_CONTENT_KEY_OFFER, 1, CMS_PERMIT_BYTES, V_ASN1_OCTET_STRING, false,
	  "attribute that is not known" },
	{ CMS_CONTENT_KEY_OFFER, 0, 0, 0, true, "is not EC P-384" },
	{ CMS_CONTENT_KEY_RECEIPT, 0, 0, 0, false, NULL },
	{ CMS_CONTENT_KEY_RECEIPT, 0, 0, 0, true, "is not EC P-384" },
	{ CMS_CONTENT_OFFER, 0, 0, 0, true, NULL },
	{ CMS_CONTENT_OFFER, 1, CMS_PERMIT_BYTES, V_ASN1_OCTET_STRING, false,
	  "attribute that is not known" },
};

static Buffer made_by(const PkiPair *pair, const Maker *maker)
{
	AUTO_BIO BIO *content = BIO_new_mem_buf(envelope, sizeof(envelope));
	AUTO_ASN1_OBJECT ASN1_OBJECT *type = OBJ_txt2obj(cms_content_type_oid(maker->type), 1);
	AUTO_CMS_CONTENT CMS_ContentInfo *cms =
		CMS_sign(NULL, NULL, NULL, NULL, CMS_BINARY | CMS_PARTIAL);
	Buffer der = BUFFER_INIT(LIMIT_PACKAGE);
	CMS_SignerInfo *signer;
	uint8_t *bytes = NULL;
	Error err = ERROR_INIT;
	int size;

	assert_int_equal(CMS_set1_eContentType(cms, type), 1);
	signer = CMS_add1_signer(cms, pair->certificate, pair->key, EVP_sha384(), OURS);
	assert_non_null(signer);
	for (int i = 0; i < maker->permits; i++)
		assert_int_equal(CMS_signed_add1_attr_by_txt(signer, cms_permit_oid, maker->kind,
							     permit, maker->size),
				 1);
	assert_int_equal(CMS_final(cms, content, NULL, OURS), 1);
	size = i2d_CMS_ContentInfo(cms, &bytes);
	assert_true(size > 0 && buffer_put(&der, bytes, (size_t)size, &err));
	OPENSSL_free(bytes);
	return der;
}

static void judge(const World *world, const Maker *maker)
{
	const FixtureOdd small = { "URI:" KEYD, "critical,digitalSignature", .curve = "P-256" };
	AUTO_PKI_PAIR PkiPair p256 = fixture_issue_odd(&world->north.root, &small, NOW);
	AUTO_BUFFER Buffer der = made_by(maker->p256 ? &p256 : &world->pair, maker);
	AUTO_BUFFER Buffer content = BUFFER_INIT(LIMIT_STATEMENT_JSON);
	SpiffeId id;
	Error err = ERROR_INIT;
	bool ok;

	if (maker->type == CMS_CONTENT_KEY_PACKAGE) {
		if (maker->reason)
			refused(world, &der, maker->reason);
		else
			accepted(world, &der);
		return;
	}
	ok = cms_verify(world->store, NOW, der.data, der.used, maker->type, SPIFFE_KEYD, &id,
			&content, &err);
	assert_int_equal(ok, !maker->reason);
	assert_true(ok || strstr(err.text, maker->reason));
}

static void test_other_makers(void **state)
{
	AUTO_WORLD World world;

	(void)state;
	world_open(&world);
	for (size_t i = 0; i < ARRAY_SIZE(makers); i++)
		judge(&world, &makers[i]);
}

static void test_small_key_does_not_sign(void **state)
{
	const FixtureOdd small = { "URI:" KEYD, "critical,digitalSignature", .curve = "P-256" };
	AUTO_WORLD World world;
	AUTO_BUFFER Buffer der = BUFFER_INIT(LIMIT_PACKAGE);
	Error err = ERROR_INIT;

	(void)state;
	world_open(&world);

	AUTO_PKI_PAIR PkiPair pair = fixture_issue_odd(&world.north.root, &small, NOW);
	AUTO_FIXTURE_PEM FixturePem pem = fixture_pem_of(&pair);
	AUTO_CMS_SIGNER CmsSigner *signer = cms_signer_load(
		pem.certificate.data, pem.certificate.used, pem.key.data, pem.key.used, &err);

	assert_non_null(signer);
	assert_false(cms_sign_package(signer, permit, envelope, sizeof(envelope), &der, &err));
	assert_int_equal(err.category, ERROR_CONFIG);
	assert_false(cms_sign(signer, CMS_CONTENT_KEY_OFFER, "{}", 2, &der, &err));
	assert_false(cms_sign(signer, CMS_CONTENT_KEY_RECEIPT, "{}", 2, &der, &err));
	assert_int_equal(err.category, ERROR_CONFIG);
	assert_true(cms_sign(signer, CMS_CONTENT_OFFER, "{}", 2, &der, &err));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_every_bit_counts),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_signers),
		cmocka_unit_test(test_kinds),
		cmocka_unit_test(test_other_makers),
		cmocka_unit_test(test_small_key_does_not_sign),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
