/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/bounds.h"
#include "crypto/cms_envelope.h"
#include "crypto/openssl.h"
#include "crypto/random.h"
#include "fixture_memory.h"
#include "fixture_pki.h"

#define NOW  FIXTURE_NOW_S
#define KEYD "spiffe://north.example/keyd"

static const char text[] = "{\"a\":\"secret\"}";
enum { TEXT = sizeof(text) - 1 };

typedef struct World {
	FixtureDomain north;
	AnchorStore *store;
	PkiPair pair; /* key agreement, of north's key manager */
	FixturePem pem;
	EnvelopeKey *key;
	EnvelopeRecipient *recipient;
} World;

static EnvelopeRecipient *recipient_of(const World *world, const Buffer *pem)
{
	Error err = ERROR_INIT;
	EnvelopeRecipient *recipient =
		envelope_recipient_load(world->store, NOW, pem->data, pem->used, KEYD, &err);

	if (!recipient)
		fail_msg("%s", err.text);
	return recipient;
}

static void world_open(World *world)
{
	Error err = ERROR_INIT;

	fixture_domain_open(&world->north, "north.example", NOW);
	world->store = anchor_store_new(&err);
	assert_non_null(world->store);
	fixture_trust(world->store, &world->north, NOW);
	world->pair = fixture_issue(&world->north, SPIFFE_KEYD, NULL, PKI_USE_AGREE, NOW);
	world->pem = fixture_pem_of(&world->pair);
	world->key = envelope_key_load(world->pem.certificate.data, world->pem.certificate.used,
				       world->pem.key.data, world->pem.key.used, &err);
	assert_non_null(world->key);
	world->recipient = recipient_of(world, &world->pem.certificate);
}

static void world_close(World *world)
{
	fixture_domain_close(&world->north);
	anchor_store_free(world->store);
	pki_pair_clear(&world->pair);
	fixture_pem_clear(&world->pem);
	envelope_key_free(world->key);
	envelope_recipient_free(world->recipient);
}
#define AUTO_WORLD CLEANUP(world_close)

static Buffer sealed(const World *world, const void *bytes, size_t size)
{
	Buffer der = BUFFER_INIT(LIMIT_ENVELOPE);
	Error err = ERROR_INIT;

	if (!envelope_seal(world->recipient, bytes, size, &der, &err))
		fail_msg("%s", err.text);
	return der;
}

static void opened(const World *world, const Buffer *der, const void *bytes, size_t size)
{
	AUTO_BUFFER Buffer content = BUFFER_INIT(LIMIT_STATEMENT_JSON);
	Error err = ERROR_INIT;

	if (!envelope_open(world->key, der->data, der->used, &content, &err))
		fail_msg("%s", err.text);
	assert_int_equal(content.used, size);
	assert_memory_equal(content.data, bytes, size);
}

static void refused(const World *world, const void *der, size_t size, const char *reason)
{
	AUTO_BUFFER Buffer content = BUFFER_INIT(LIMIT_STATEMENT_JSON);
	Error err = ERROR_INIT;

	if (envelope_open(world->key, der, size, &content, &err))
		fail_msg("opened, not refused with \"%s\"", reason);
	if (!strstr(err.text, reason))
		fail_msg("\"%s\" does not say \"%s\"", err.text, reason);
	assert_true(err.category == ERROR_AUTH || err.category == ERROR_LIMIT);
	assert_int_equal(content.used, 0);
}

static void test_good(void **state)
{
	static uint8_t big[LIMIT_STATEMENT_JSON];
	AUTO_WORLD World world;
	size_t chain_size;

	(void)state;
	world_open(&world);
	memset(big, 'x', sizeof(big));

	AUTO_BUFFER Buffer one = sealed(&world, text, TEXT);
	AUTO_BUFFER Buffer two = sealed(&world, text, TEXT);
	AUTO_BUFFER Buffer largest = sealed(&world, big, sizeof(big));
	AUTO_BUFFER Buffer least = sealed(&world, "x", 1);

	opened(&world, &one, text, TEXT);
	opened(&world, &two, text, TEXT);
	opened(&world, &largest, big, sizeof(big));
	opened(&world, &least, "x", 1);
	assert_memory_not_equal(one.data, two.data, one.used);
	assert_null(memmem(one.data, one.used, text, TEXT));
	assert_string_equal(envelope_key_id(world.key)->text, KEYD);
	assert_string_equal(envelope_recipient_id(world.recipient)->text, KEYD);
	assert_int_equal(envelope_key_not_after_s(world.key), NOW + PKI_DAY_S);
	assert_non_null(envelope_key_chain(world.key, &chain_size));
	assert_int_equal(chain_size, world.pem.certificate.used);
}

static void test_recipient_as_der(void **state)
{
	AUTO_WORLD World world;
	AUTO_BUFFER Buffer der = BUFFER_INIT(LIMIT_PEM);
	uint8_t *bytes = NULL;
	Error err = ERROR_INIT;
	int size;

	(void)state;
	world_open(&world);
	size = i2d_X509(world.pair.certificate, &bytes);
	assert_true(size > 0 && buffer_put(&der, bytes, (size_t)size, &err));
	OPENSSL_free(bytes);

	AUTO_ENVELOPE_RECIPIENT EnvelopeRecipient *recipient = recipient_of(&world, &der);

	assert_non_null(recipient);
	assert_true(buffer_put_u8(&der, 0, &err));
	assert_null(envelope_recipient_load(world.store, NOW, der.data, der.used, KEYD, &err));
	assert_int_equal(err.category, ERROR_AUTH);
	assert_null(envelope_recipient_load(world.store, NOW, der.data, 40, KEYD, &err));
	assert_int_equal(err.category, ERROR_AUTH);
}

static void test_sizes(void **state)
{
	static uint8_t big[LIMIT_ENVELOPE + 1];
	AUTO_WORLD World world;
	AUTO_BUFFER Buffer small = BUFFER_INIT(100);
	AUTO_BUFFER Buffer der = BUFFER_INIT(LIMIT_ENVELOPE);
	Error err = ERROR_INIT;

	(void)state;
	world_open(&world);
	assert_false(envelope_seal(world.recipient, big, 0, &der, &err));
	assert_int_equal(err.category, ERROR_LIMIT);
	assert_false(envelope_seal(world.recipient, big, LIMIT_STATEMENT_JSON + 1, &der, &err));
	assert_int_equal(err.category, ERROR_LIMIT);
	assert_false(envelope_seal(world.recipient, big, 1, &small, &err));
	assert_int_equal(err.category, ERROR_LIMIT);
	assert_int_equal(small.used + der.used, 0);
	refused(&world, big, 0, "not 1..24576");
	refused(&world, big, sizeof(big), "not 1..24576");
}

/* Each bit, each way to cut it, and a byte more: there is no byte that may be anything. */
static void test_every_bit_counts(void **state)
{
	AUTO_WORLD World world;
	AUTO_BUFFER Buffer content = BUFFER_INIT(LIMIT_STATEMENT_JSON);
	Error err = ERROR_INIT;

	(void)state;
	world_open(&world);

	AUTO_BUFFER Buffer der = sealed(&world, text, TEXT);

	for (size_t i = 0; i < der.used; i++)
		for (int bit = 0; bit < 8; bit++) {
			uint8_t mask = (uint8_t)(1 << bit);

			der.data[i] ^= mask;
			err = ERROR_INIT;
			if (envelope_open(world.key, der.data, der.used, &content, &err))
				fail_msg("byte %zu may be changed by 0x%02x", i, mask);
			assert_true(err.category == ERROR_AUTH || err.category == ERROR_LIMIT);
			der.data[i] ^= mask;
		}
	for (size_t size = 0; size < der.used; size++)
		assert_false(envelope_open(world.key, der.data, size, &content, &err));
	assert_int_equal(content.used, 0);
	opened(&world, &der, text, TEXT);
	assert_true(buffer_put_u8(&der, 0, &err));
	refused(&world, der.data, der.used, "has not the form of AuthEnvelopedData");
}

/* --- envelopes of other makers: what each row does otherwise --- */

typedef struct Maker {
	const EVP_CIPHER *(*cipher)(void);
	const EVP_MD *(*kdf)(void);
	const EVP_CIPHER *(*wrap)(void);
	unsigned int flags;
	bool twice, shared_key, other_type, detached;
	const char *reason; /* NULL: good */
} Maker;

enum { SHARED = 32 }; /* bytes of a key encryption key */
#define OURS EVP_aes_256_gcm, EVP_sha384, EVP_aes_256_wrap

static const Maker makers[] = {
	{ OURS, .reason = NULL },
	{ EVP_aes_128_gcm, EVP_sha384, EVP_aes_256_wrap, .reason = "not one wrapped key" },
	{ EVP_aes_192_gcm, EVP_sha384, EVP_aes_256_wrap, .reason = "not one wrapped key" },
	{ EVP_aes_256_cbc, EVP_sha384, EVP_aes_256_wrap, .reason = "form of AuthEnvelopedData" },
	{ EVP_aes_256_gcm, EVP_sha256, EVP_aes_256_wrap, .reason = "not wrapped by ECDH, SHA-384" },
	{ EVP_aes_256_gcm, EVP_sha1, EVP_aes_256_wrap, .reason = "not wrapped by ECDH, SHA-384" },
	{ EVP_aes_256_gcm, EVP_sha384, EVP_aes_128_wrap, .reason = "SHA-384, AES-256" },
	{ OURS, .flags = CMS_USE_KEYID, .reason = "for an issuer and serial" },
	{ OURS, .twice = true, .reason = "not exactly one recipient" },
	{ OURS, .shared_key = true, .reason = "not exactly one recipient" },
	{ OURS, .other_type = true, .reason = "content is not data" },
	{ OURS, .detached = true, .reason = "no content inside" },
};

static CMS_ContentInfo *make(const World *world, const Maker *maker)
{
	STACK_OF(X509) *nobody = sk_X509_new_null();
	AUTO_BIO BIO *content = BIO_new_mem_buf(text, TEXT);
	unsigned int flags = CMS_BINARY | CMS_PARTIAL | (maker->detached ? CMS_DETACHED : 0);
	CMS_ContentInfo *cms = CMS_encrypt(nobody, content, maker->cipher(), flags);
	CMS_RecipientInfo *info;

	sk_X509_free(nobody);
	assert_non_null(cms);
	for (int i = 0; i < (maker->twice ? 2 : 1); i++) {
		info = CMS_add1_recipient_cert(cms, world->pair.certificate,
					       CMS_KEY_PARAM | maker->flags);
		assert_non_null(info);
		assert_true(EVP_PKEY_CTX_set_ecdh_kdf_md(CMS_RecipientInfo_get0_pkey_ctx(info),
							 maker->kdf()) > 0);
		assert_int_equal(EVP_EncryptInit_ex(CMS_RecipientInfo_kari_get0_ctx(info),
						    maker->wrap(), NULL, NULL, NULL),
				 1);
	}
	if (maker->shared_key)
		assert_non_null(CMS_add0_recipient_key(
			cms, NID_id_aes256_wrap, OPENSSL_zalloc(SHARED), SHARED,
			(unsigned char *)OPENSSL_strdup("key"), 3, NULL, NULL, NULL));
	if (maker->other_type)
		assert_int_equal(CMS_set1_eContentType(cms, OBJ_nid2obj(NID_pkcs7_signed)), 1);
	assert_int_equal(CMS_final(cms, content, NULL, flags), 1);
	return cms;
}

static void test_other_makers(void **state)
{
	AUTO_WORLD World world;

	(void)state;
	world_open(&world);
	for (size_t i = 0; i < ARRAY_SIZE(makers); i++) {
		AUTO_CMS_CONTENT CMS_ContentInfo *cms = make(&world, &makers[i]);
		AUTO_BUFFER Buffer der = BUFFER_INIT(LIMIT_ENVELOPE);
		uint8_t *bytes = NULL;
		int size = i2d_CMS_ContentInfo(cms, &bytes);
		Error err = ERROR_INIT;

		assert_true(size > 0 && buffer_put(&der, bytes, (size_t)size, &err));
		OPENSSL_free(bytes);
		if (makers[i].reason)
			refused(&world, der.data, der.used, makers[i].reason);
		else
			opened(&world, &der, text, TEXT);
	}
}

/* Indefinite lengths, as streaming makers write them. */
static void test_not_canonical(void **state)
{
	AUTO_WORLD World world;
	AUTO_BIO BIO *content = BIO_new_mem_buf(text, TEXT);
	AUTO_BIO BIO *out = BIO_new(BIO_s_mem());
	AUTO_X509_STACK STACK_OF(X509) *recipients = sk_X509_new_null();
	char *bytes = NULL;
	long size;

	(void)state;
	world_open(&world);
	assert_int_equal(X509_add_cert(recipients, world.pair.certificate, X509_ADD_FLAG_UP_REF),
			 1);

	AUTO_CMS_CONTENT CMS_ContentInfo *cms =
		CMS_encrypt(recipients, content, EVP_aes_256_gcm(), CMS_BINARY | CMS_STREAM);

	assert_int_equal(i2d_CMS_bio_stream(out, cms, content, CMS_BINARY | CMS_STREAM), 1);
	size = BIO_get_mem_data(out, &bytes);
	refused(&world, bytes, (size_t)size, "has not the form of AuthEnvelopedData");
}

/* A length that takes more bytes than it needs; all others follow suit. */
static void test_length_not_minimal(void **state)
{
	AUTO_WORLD World world;
	AUTO_BUFFER Buffer longer = BUFFER_INIT(LIMIT_ENVELOPE);
	Error err = ERROR_INIT;

	(void)state;
	world_open(&world);

	AUTO_BUFFER Buffer der = sealed(&world, text, TEXT);

	/* 30 82 hh ll: the same as 30 83 00 hh ll. */
	assert_int_equal(der.data[1], 0x82);
	assert_true(buffer_put_u8(&longer, 0x30, &err) && buffer_put_u8(&longer, 0x83, &err) &&
		    buffer_put_u8(&longer, 0, &err) &&
		    buffer_put(&longer, der.data + 2, der.used - 2, &err));
	refused(&world, longer.data, longer.used, "has not the form of AuthEnvelopedData");
}

static void test_for_another(void **state)
{
	AUTO_WORLD World world;

	(void)state;
	world_open(&world);

	AUTO_ENVELOPE_KEY EnvelopeKey *renewed = fixture_envelope_key(&world.north, NOW);
	AUTO_BUFFER Buffer der = sealed(&world, text, TEXT);
	AUTO_BUFFER Buffer content = BUFFER_INIT(LIMIT_STATEMENT_JSON);
	Error err = ERROR_INIT;

	assert_false(envelope_open(renewed, der.data, der.used, &content, &err));
	assert_non_null(strstr(err.text, "for another certificate than ours"));
	assert_int_equal(err.category, ERROR_AUTH);
}

/* --- whom to seal for --- */

static void load_refused(const World *world, const Buffer *pem, const char *expected,
			 const char *reason)
{
	Error err = ERROR_INIT;

	assert_null(
		envelope_recipient_load(world->store, NOW, pem->data, pem->used, expected, &err));
	if (!strstr(err.text, reason))
		fail_msg("\"%s\" does not say \"%s\"", err.text, reason);
	assert_int_equal(err.category, ERROR_AUTH);
}

typedef struct RecipientRow {
	FixtureOdd odd;
	const char *reason; /* NULL: good */
} RecipientRow;

static const RecipientRow recipient_rows[] = {
	{ { "URI:" KEYD, "critical,keyAgreement" }, NULL },
	{ { "URI:" KEYD, "critical,digitalSignature" }, "not for key agreement alone" },
	{ { "URI:" KEYD, "critical,digitalSignature,keyAgreement" },
	  "not for key agreement alone" },
	{ { "URI:" KEYD, "critical,keyAgreement,encipherOnly" }, "not for key agreement alone" },
	{ { "URI:" KEYD, NULL }, "not for key agreement alone" },
	{ { "URI:" KEYD, "critical,keyAgreement", "serverAuth" }, "not for key agreement alone" },
	{ { "URI:" KEYD, "critical,keyAgreement", "emailProtection" },
	  "not for key agreement alone" },
	{ { "URI:" KEYD, "critical,keyAgreement", .curve = "P-256" }, "not EC P-384" },
	{ { "URI:" KEYD, "critical,keyAgreement", .curve = "P-521" }, "not EC P-384" },
	{ { "URI:" KEYD, "critical,keyAgreement", .curve = "RSA-3072" }, "not EC P-384" },
	{ { "URI:" KEYD, "critical,keyAgreement", .not_after_s = NOW - 1 }, "has expired" },
	{ { "URI:" KEYD, "critical,keyAgreement", .not_before_s = NOW + 60 }, "not valid yet" },
	{ { "URI:spiffe://north.example/host/a", "critical,keyAgreement" }, "not of " KEYD },
	{ { "URI:spiffe://north.example/authority", "critical,keyAgreement" }, "not of " KEYD },
	{ { "URI:spiffe://south.example/keyd", "critical,keyAgreement" }, "is trusted here" },
	{ { "DNS:north.example", "critical,keyAgreement" }, "no URI name" },
};

static void test_recipients(void **state)
{
	AUTO_WORLD World world;

	(void)state;
	world_open(&world);
	for (size_t i = 0; i < ARRAY_SIZE(recipient_rows); i++) {
		AUTO_PKI_PAIR PkiPair pair =
			fixture_issue_odd(&world.north.root, &recipient_rows[i].odd, NOW);
		AUTO_FIXTURE_PEM FixturePem pem = fixture_pem_of(&pair);

		if (recipient_rows[i].reason) {
			load_refused(&world, &pem.certificate, KEYD, recipient_rows[i].reason);
		} else {
			AUTO_ENVELOPE_RECIPIENT EnvelopeRecipient *good =
				recipient_of(&world, &pem.certificate);

			assert_non_null(good);
		}
	}
	load_refused(&world, &world.pem.certificate, "spiffe://south.example/keyd",
		     "not of spiffe");
	load_refused(&world, &world.pem.key, KEYD, "no PEM certificate");
}

static void test_recipient_revoked(void **state)
{
	AUTO_WORLD World world;
	AUTO_FIXTURE_DOMAIN FixtureDomain impostor = { 0 };
	Error err = ERROR_INIT;

	(void)state;
	world_open(&world);
	fixture_domain_open(&impostor, "north.example", NOW);

	AUTO_FIXTURE_PEM FixturePem foreign =
		fixture_issue_pem(&impostor, SPIFFE_KEYD, NULL, PKI_USE_AGREE, NOW);
	AUTO_BUFFER Buffer crl = fixture_crl(&world.north, 2, NOW, world.pair.certificate);

	load_refused(&world, &foreign.certificate, KEYD, "not issued by a root of its domain");
	assert_true(
		anchor_store_set_crl(world.store, "north.example", crl.data, crl.used, NOW, &err));
	load_refused(&world, &world.pem.certificate, KEYD, "is revoked");
}

/* --- our own key --- */

static void key_refused(const Buffer *cert, const Buffer *key, const char *reason)
{
	Error err = ERROR_INIT;

	assert_null(envelope_key_load(cert->data, cert->used, key->data, key->used, &err));
	if (!strstr(err.text, reason))
		fail_msg("\"%s\" does not say \"%s\"", err.text, reason);
	assert_int_equal(err.category, ERROR_CONFIG);
}

static void test_key_load(void **state)
{
	const FixtureOdd small = { "URI:" KEYD, "critical,keyAgreement", .curve = "P-256" };
	const FixtureOdd both = { "URI:" KEYD, "critical,digitalSignature,keyAgreement" };
	AUTO_WORLD World world;
	AUTO_BUFFER Buffer mixed = BUFFER_INIT(LIMIT_PEM);
	Error err = ERROR_INIT;
	const char *chain;
	size_t size;

	(void)state;
	world_open(&world);

	AUTO_FIXTURE_PEM FixturePem sign =
		fixture_issue_pem(&world.north, SPIFFE_KEYD, NULL, PKI_USE_SIGN, NOW);
	AUTO_PKI_PAIR PkiPair p256 = fixture_issue_odd(&world.north.root, &small, NOW);
	AUTO_PKI_PAIR PkiPair double_use = fixture_issue_odd(&world.north.root, &both, NOW);
	AUTO_FIXTURE_PEM FixturePem p256_pem = fixture_pem_of(&p256);
	AUTO_FIXTURE_PEM FixturePem double_pem = fixture_pem_of(&double_use);

	key_refused(&sign.certificate, &sign.key, "not for key agreement alone");
	key_refused(&double_pem.certificate, &double_pem.key, "not for key agreement alone");
	key_refused(&p256_pem.certificate, &p256_pem.key, "not EC P-384");
	key_refused(&world.pem.certificate, &sign.key, "do not belong together");
	key_refused(&world.pem.key, &world.pem.key, "no PEM certificate");

	/* A file with the key before the certificate: the key is not part of what is sent. */
	assert_true(
		buffer_put(&mixed, world.pem.key.data, world.pem.key.used, &err) &&
		buffer_put(&mixed, world.pem.certificate.data, world.pem.certificate.used, &err));

	AUTO_ENVELOPE_KEY EnvelopeKey *key =
		envelope_key_load(mixed.data, mixed.used, mixed.data, mixed.used, &err);

	assert_non_null(key);
	chain = envelope_key_chain(key, &size);
	assert_int_equal(size, world.pem.certificate.used);
	assert_memory_equal(chain, world.pem.certificate.data, size);
}

/* --- what is left in memory --- */

enum { NEEDLE = 48, HAY = 2000 };

static void test_nothing_is_left(void **state)
{
	AUTO_WORLD World world;
	AUTO_BUFFER Buffer der = BUFFER_INIT(LIMIT_ENVELOPE);
	uint8_t inverted[NEEDLE];
	uint8_t *content = malloc(HAY);
	Error err = ERROR_INIT;

	(void)state;
	world_open(&world);
	assert_non_null(content);
	assert_true(random_bytes(content, HAY, &err));
	/* The end: what goes through a buffer in parts stays in it from the last part. */
	fixture_memory_invert(content + HAY - NEEDLE, NEEDLE, inverted);
	assert_int_equal(fixture_memory_count(inverted, NEEDLE), 1);
	assert_true(envelope_seal(world.recipient, content, HAY, &der, &err));
	explicit_bzero(content, HAY);
	free(content);
	assert_int_equal(fixture_memory_count(inverted, NEEDLE), 0);

	AUTO_BUFFER Buffer opened_content = BUFFER_INIT(LIMIT_STATEMENT_JSON);

	assert_true(envelope_open(world.key, der.data, der.used, &opened_content, &err));
	assert_int_equal(opened_content.used, HAY);
	assert_int_equal(fixture_memory_count(inverted, NEEDLE), 1);
	buffer_clear(&opened_content);
	assert_int_equal(fixture_memory_count(inverted, NEEDLE), 0);
	/* All of it was decrypted before the tag turned out to be wrong. */
	der.data[der.used - 1] ^= 1;
	assert_false(envelope_open(world.key, der.data, der.used, &opened_content, &err));
	assert_non_null(strstr(err.text, "tag is wrong"));
	assert_int_equal(fixture_memory_count(inverted, NEEDLE), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		/* First: a sanitizer keeps what the others free, and all of it is searched. */
		cmocka_unit_test(test_nothing_is_left),	  cmocka_unit_test(test_good),
		cmocka_unit_test(test_recipient_as_der),  cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_every_bit_counts),  cmocka_unit_test(test_other_makers),
		cmocka_unit_test(test_not_canonical),	  cmocka_unit_test(test_length_not_minimal),
		cmocka_unit_test(test_for_another),	  cmocka_unit_test(test_recipients),
		cmocka_unit_test(test_recipient_revoked), cmocka_unit_test(test_key_load),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
