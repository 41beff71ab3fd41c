/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/bounds.h"
#include "base/clock.h"
#include "crypto/cms.h"
#include "crypto/openssl.h"
#include "fixture_pki.h"

#define NOW FIXTURE_NOW_S

static const char statement[] = "{\"statement\":\"offer\",\"version\":1}";
enum { STATEMENT = sizeof(statement) - 1 };

typedef struct World {
	FixtureDomain north;
	AnchorStore *store;
	CmsSigner *host, *authority;
	PkiPair pair; /* a host's signing certificate, for messages made by hand */
} World;

static void world_open(World *world, int64_t now_s)
{
	Error err = ERROR_INIT;

	fixture_domain_open(&world->north, "north.example", now_s);
	world->store = anchor_store_new(&err);
	assert_non_null(world->store);
	fixture_trust(world->store, &world->north, now_s);
	world->host = fixture_signer(&world->north, SPIFFE_HOST, "alpha", now_s);
	world->authority = fixture_signer(&world->north, SPIFFE_AUTHORITY, NULL, now_s);
	world->pair = fixture_issue(&world->north, SPIFFE_HOST, "alpha", PKI_USE_SIGN, now_s);
}

static void world_close(World *world)
{
	fixture_domain_close(&world->north);
	anchor_store_free(world->store);
	cms_signer_free(world->host);
	cms_signer_free(world->authority);
	pki_pair_clear(&world->pair);
}
#define AUTO_WORLD CLEANUP(world_close)

static Buffer signed_by(const CmsSigner *signer, CmsContentType type)
{
	Buffer der = BUFFER_INIT(LIMIT_STATEMENT);
	Error err = ERROR_INIT;

	if (!cms_sign(signer, type, statement, STATEMENT, &der, &err))
		fail_msg("%s", err.text);
	return der;
}

static void accepted(const World *world, const Buffer *der, CmsContentType type, SpiffeRole role,
		     const char *signer)
{
	AUTO_BUFFER Buffer content = BUFFER_INIT(LIMIT_STATEMENT_JSON);
	SpiffeId id;
	Error err = ERROR_INIT;

	if (!cms_verify(world->store, NOW, der->data, der->used, type, role, &id, &content, &err))
		fail_msg("%s", err.text);
	assert_string_equal(id.text, signer);
	assert_int_equal(content.used, STATEMENT);
	assert_memory_equal(content.data, statement, STATEMENT);
}

static void refused_at(const World *world, int64_t now_s, const Buffer *der, CmsContentType type,
		       SpiffeRole role, const char *reason)
{
	AUTO_BUFFER Buffer content = BUFFER_INIT(LIMIT_STATEMENT_JSON);
	SpiffeId id = { .text = "untouched" };
	Error err = ERROR_INIT;

	if (cms_verify(world->store, now_s, der->data, der->used, type, role, &id, &content, &err))
		fail_msg("accepted, not refused with \"%s\"", reason);
	if (!strstr(err.text, reason))
		fail_msg("\"%s\" does not say \"%s\"", err.text, reason);
	assert_true(err.category == ERROR_AUTH || err.category == ERROR_LIMIT);
	assert_string_equal(id.text, "untouched");
	assert_int_equal(content.used, 0);
}

static void refused(const World *world, const Buffer *der, const char *reason)
{
	refused_at(world, NOW, der, CMS_CONTENT_OFFER, SPIFFE_HOST, reason);
}

static void test_good(void **state)
{
	AUTO_WORLD World world;

	(void)state;
	world_open(&world, NOW);
	assert_string_equal(cms_signer_id(world.host)->text, "spiffe://north.example/host/alpha");
	assert_int_equal(cms_signer_not_after_s(world.host), NOW + PKI_DAY_S);
	for (int type = 0; type < CMS_CONTENT_TYPE_COUNT; type++) {
		if (type == CMS_CONTENT_KEY_PACKAGE)
			continue; /* test_cms_package.c */

		AUTO_BUFFER Buffer der = signed_by(world.host, (CmsContentType)type);

		accepted(&world, &der, (CmsContentType)type, SPIFFE_HOST,
			 "spiffe://north.example/host/alpha");
	}

	AUTO_BUFFER Buffer grant = signed_by(world.authority, CMS_CONTENT_GRANT);

	accepted(&world, &grant, CMS_CONTENT_GRANT, SPIFFE_AUTHORITY,
		 "spiffe://north.example/authority");
	accepted(&world, &grant, CMS_CONTENT_GRANT, SPIFFE_AUTHORITY,
		 "spiffe://north.example/authority");
}

static void test_wrong_type_or_role(void **state)
{
	AUTO_WORLD World world;

	(void)state;
	world_open(&world, NOW);

	AUTO_BUFFER Buffer offer = signed_by(world.host, CMS_CONTENT_OFFER);
	AUTO_BUFFER Buffer grant = signed_by(world.host, CMS_CONTENT_GRANT);
	AUTO_BUFFER Buffer ready = signed_by(world.authority, CMS_CONTENT_READY);

	refused_at(&world, NOW, &offer, CMS_CONTENT_ACCEPT, SPIFFE_HOST, "content type is 2.25.");
	refused_at(&world, NOW, &grant, CMS_CONTENT_GRANT, SPIFFE_AUTHORITY,
		   "spiffe://north.example/host/alpha signed what only an authority may sign");
	refused_at(&world, NOW, &ready, CMS_CONTENT_READY, SPIFFE_HOST, "only a host may sign");
}

static void test_times_and_revocation(void **state)
{
	AUTO_WORLD World world;
	Error err = ERROR_INIT;

	(void)state;
	world_open(&world, NOW);

	AUTO_BUFFER Buffer der = signed_by(world.host, CMS_CONTENT_OFFER);
	AUTO_BUFFER Buffer cert = BUFFER_INIT(LIMIT_PEM);
	AUTO_BUFFER Buffer key = BUFFER_INIT(LIMIT_PEM);

	refused_at(&world, NOW + PKI_DAY_S + 1, &der, CMS_CONTENT_OFFER, SPIFFE_HOST, "stale");
	refused_at(&world, NOW - 2 * PKI_DAY_S, &der, CMS_CONTENT_OFFER, SPIFFE_HOST, "the future");
	assert_true(pki_put_certificate(world.pair.certificate, &cert, &err));
	assert_true(pki_put_key(world.pair.key, &key, &err));

	AUTO_CMS_SIGNER CmsSigner *revoked =
		cms_signer_load(cert.data, cert.used, key.data, key.used, &err);
	AUTO_BUFFER Buffer by_revoked = signed_by(revoked, CMS_CONTENT_OFFER);
	AUTO_BUFFER Buffer crl = fixture_crl(&world.north, 2, NOW, world.pair.certificate);

	accepted(&world, &by_revoked, CMS_CONTENT_OFFER, SPIFFE_HOST,
		 "spiffe://north.example/host/alpha");
	assert_true(
		anchor_store_set_crl(world.store, "north.example", crl.data, crl.used, NOW, &err));
	refused(&world, &by_revoked, "is revoked");
	accepted(&world, &der, CMS_CONTENT_OFFER, SPIFFE_HOST, "spiffe://north.example/host/alpha");
}

static void test_expired(void **state)
{
	AUTO_WORLD World world;
	Error err = ERROR_INIT;
	AUTO_BUFFER Buffer cert = BUFFER_INIT(LIMIT_PEM);
	AUTO_BUFFER Buffer key = BUFFER_INIT(LIMIT_PEM);

	(void)state;
	world_open(&world, NOW);

	AUTO_PKI_PAIR PkiPair pair =
		fixture_issue_odd(&world.north.root,
				  &(FixtureOdd){ "URI:spiffe://north.example/host/a",
						 "digitalSignature", .not_after_s = NOW - 1 },
				  NOW);

	assert_true(pki_put_certificate(pair.certificate, &cert, &err));
	assert_true(pki_put_key(pair.key, &key, &err));

	AUTO_CMS_SIGNER CmsSigner *expired =
		cms_signer_load(cert.data, cert.used, key.data, key.used, &err);
	AUTO_BUFFER Buffer der = signed_by(expired, CMS_CONTENT_OFFER);

	refused(&world, &der, "has expired");
}

static void test_foreign_root(void **state)
{
	AUTO_WORLD World world;
	AUTO_FIXTURE_DOMAIN FixtureDomain impostor = { 0 };

	(void)state;
	world_open(&world, NOW);
	fixture_domain_open(&impostor, "north.example", NOW);

	AUTO_CMS_SIGNER CmsSigner *signer = fixture_signer(&impostor, SPIFFE_HOST, "alpha", NOW);
	AUTO_BUFFER Buffer der = signed_by(signer, CMS_CONTENT_OFFER);

	refused(&world, &der, "is not issued by a root of its domain");
	fixture_domain_close(&impostor);
	fixture_domain_open(&impostor, "south.example", NOW);

	AUTO_CMS_SIGNER CmsSigner *unknown = fixture_signer(&impostor, SPIFFE_HOST, "alpha", NOW);
	AUTO_BUFFER Buffer other = signed_by(unknown, CMS_CONTENT_OFFER);

	refused(&world, &other, "is trusted here");
}

/* Each bit, and each way to cut it. */
static void test_every_bit_counts(void **state)
{
	AUTO_WORLD World world;
	AUTO_BUFFER Buffer content = BUFFER_INIT(LIMIT_STATEMENT_JSON);
	SpiffeId id;
	Error err;

	(void)state;
	world_open(&world, NOW);

	AUTO_BUFFER Buffer der = signed_by(world.host, CMS_CONTENT_OFFER);

	for (size_t i = 0; i < der.used; i++)
		for (int turn = 0; turn < 8; turn++) {
			uint8_t mask = (uint8_t)(1 << turn);

			der.data[i] ^= mask;
			err = ERROR_INIT;
			if (cms_verify(world.store, NOW, der.data, der.used, CMS_CONTENT_OFFER,
				       SPIFFE_HOST, &id, &content, &err))
				fail_msg("byte %zu may be changed by 0x%02x", i, mask);
			der.data[i] ^= mask;
		}
	for (size_t size = 0; size < der.used; size++)
		assert_false(cms_verify(world.store, NOW, der.data, size, CMS_CONTENT_OFFER,
					SPIFFE_HOST, &id, &content, &err));
	accepted(&world, &der, CMS_CONTENT_OFFER, SPIFFE_HOST, "spiffe://north.example/host/alpha");
	assert_true(buffer_put_u8(&der, 0, &err));
	refused(&world, &der, "1 bytes after");
}

static void test_sizes(void **state)
{
	AUTO_WORLD World world;
	static uint8_t big[LIMIT_STATEMENT + 1];
	AUTO_BUFFER Buffer der = BUFFER_INIT(LIMIT_STATEMENT);
	AUTO_BUFFER Buffer small = BUFFER_INIT(100);
	AUTO_BUFFER Buffer content = BUFFER_INIT(LIMIT_STATEMENT_JSON);
	SpiffeId id;
	Error err = ERROR_INIT;

	(void)state;
	world_open(&world, NOW);
	memset(big, 'x', sizeof(big));
	assert_true(cms_sign(world.host, CMS_CONTENT_OFFER, big, LIMIT_STATEMENT_JSON, &der, &err));
	assert_true(cms_verify(world.store, NOW, der.data, der.used, CMS_CONTENT_OFFER, SPIFFE_HOST,
			       &id, &content, &err));
	assert_int_equal(content.used, LIMIT_STATEMENT_JSON);
	assert_false(cms_sign(world.host, CMS_CONTENT_OFFER, big, LIMIT_STATEMENT_JSON + 1, &small,
			      &err));
	assert_int_equal(err.category, ERROR_LIMIT);
	assert_false(cms_sign(world.host, CMS_CONTENT_OFFER, "", 0, &small, &err));
	assert_false(cms_sign(world.host, CMS_CONTENT_OFFER, "x", 1, &small, &err));
	assert_int_equal(small.used, 0);
	assert_false(cms_verify(world.store, NOW, big, sizeof(big), CMS_CONTENT_OFFER, SPIFFE_HOST,
				&id, &content, &err));
	assert_int_equal(err.category, ERROR_LIMIT);
	assert_false(cms_verify(world.store, NOW, big, 0, CMS_CONTENT_OFFER, SPIFFE_HOST, &id,
				&content, &err));
}

/* Messages by other makers: what each row changes against ours. */
typedef struct Maker {
	unsigned int flags; /* of CMS_add1_signer */
	const EVP_MD *(*digest)(void);
	bool twice, detached, no_certificate, other_certificate, unsigned_attribute, crl, id_data;
	const char *reason; /* NULL: good */
} Maker;

enum { OURS = CMS_BINARY | CMS_PARTIAL | CMS_NOSMIMECAP | CMS_CADES };

static const Maker makers[] = {
	{ OURS, EVP_sha384, .reason = NULL },
	{ OURS | CMS_NOATTR, EVP_sha384, .reason = "signed attributes it needs" },
	{ OURS & ~(unsigned int)CMS_CADES, EVP_sha384,
	  .reason = "id-smime-aa-signingCertificateV2" },
	{ OURS & ~(unsigned int)CMS_NOSMIMECAP, EVP_sha384,
	  .reason = "attribute that is not known" },
	{ OURS, EVP_sha256, .reason = "digest is SHA256, not SHA384" },
	{ OURS, EVP_sha512, .reason = "digest is SHA512, not SHA384" },
	{ OURS, EVP_sha1, .reason = "id-smime-aa-signingCertificateV2" },
	{ OURS | CMS_USE_KEYID, EVP_sha384, .reason = "named by issuer and serial" },
	{ OURS, EVP_sha384, .twice = true, .reason = "exactly one signer" },
	{ OURS, EVP_sha384, .detached = true, .reason = "no content inside" },
	{ OURS | CMS_NOCERTS, EVP_sha384, .no_certificate = true, .reason = "certificates" },
	{ OURS, EVP_sha384, .other_certificate = true, .reason = "certificate that is of no use" },
	{ OURS, EVP_sha384, .unsigned_attribute = true, .reason = "unsigned attributes" },
	{ OURS, EVP_sha384, .crl = true, .reason = "alone" },
	{ OURS, EVP_sha384, .id_data = true, .reason = "content type is 1.2.840.113549.1.7.1" },
};

static CMS_ContentInfo *make(const World *world, const Maker *maker)
{
	AUTO_BIO BIO *content = BIO_new_mem_buf(statement, STATEMENT);
	AUTO_ASN1_OBJECT ASN1_OBJECT *type =
		OBJ_txt2obj(cms_content_type_oid(CMS_CONTENT_OFFER), 1);
	unsigned int detached = maker->detached ? CMS_DETACHED : 0;
	CMS_ContentInfo *cms =
		CMS_sign(NULL, NULL, NULL, NULL, CMS_BINARY | CMS_PARTIAL | detached);
	CMS_SignerInfo *signer;
	Error err = ERROR_INIT;

	assert_non_null(cms);
	if (!maker->id_data)
		assert_int_equal(CMS_set1_eContentType(cms, type), 1);
	signer = CMS_add1_signer(cms, world->pair.certificate, world->pair.key, maker->digest(),
				 maker->flags);
	assert_non_null(signer);
	if (maker->twice)
		assert_non_null(CMS_add1_signer(cms, world->pair.certificate, world->pair.key,
						maker->digest(), maker->flags | CMS_NOCERTS));
	if (maker->other_certificate) {
		AUTO_PKI_PAIR PkiPair other =
			fixture_issue(&world->north, SPIFFE_HOST, "beta", PKI_USE_SIGN, NOW);

		assert_int_equal(CMS_add1_cert(cms, other.certificate), 1);
	}
	if (maker->unsigned_attribute)
		assert_int_equal(CMS_unsigned_add1_attr_by_NID(signer, NID_friendlyName,
							       V_ASN1_UTF8STRING, "x", 1),
				 1);
	if (maker->crl) {
		AUTO_X509_CRL X509_CRL *crl =
			pki_make_crl(&world->north.root, 7, NOW, NOW + 1, NULL, 0, &err);

		assert_int_equal(CMS_add1_crl(cms, crl), 1);
	}
	assert_int_equal(CMS_final(cms, content, NULL, maker->flags | detached), 1);
	return cms;
}

static Buffer encoded(CMS_ContentInfo *cms)
{
	Buffer der = BUFFER_INIT(LIMIT_STATEMENT);
	uint8_t *bytes = NULL;
	int size = i2d_CMS_ContentInfo(cms, &bytes);
	Error err = ERROR_INIT;

	assert_true(size > 0);
	assert_true(buffer_put(&der, bytes, (size_t)size, &err));
	OPENSSL_free(bytes);
	return der;
}

static void test_other_makers(void **state)
{
	AUTO_WORLD World world;

	(void)state;
	world_open(&world, NOW);
	for (size_t i = 0; i < ARRAY_SIZE(makers); i++) {
		AUTO_CMS_CONTENT CMS_ContentInfo *cms = make(&world, &makers[i]);
		AUTO_BUFFER Buffer der = encoded(cms);

		if (makers[i].reason)
			refused(&world, &der, makers[i].reason);
		else
			accepted(&world, &der, CMS_CONTENT_OFFER, SPIFFE_HOST,
				 "spiffe://north.example/host/alpha");
	}
}

/* The same content in the indefinite lengths of BER, as streaming makers write it. */
static void test_not_canonical(void **state)
{
	AUTO_WORLD World world;

	(void)state;
	world_open(&world, NOW);

	AUTO_BIO BIO *content = BIO_new_mem_buf(statement, STATEMENT);
	AUTO_BIO BIO *out = BIO_new(BIO_s_mem());
	AUTO_ASN1_OBJECT ASN1_OBJECT *type =
		OBJ_txt2obj(cms_content_type_oid(CMS_CONTENT_OFFER), 1);
	AUTO_CMS_CONTENT CMS_ContentInfo *cms =
		CMS_sign(NULL, NULL, NULL, NULL, CMS_BINARY | CMS_PARTIAL | CMS_STREAM);
	AUTO_BUFFER Buffer ber = BUFFER_INIT(LIMIT_STATEMENT);
	Error err = ERROR_INIT;
	char *bytes = NULL;
	long size;

	assert_int_equal(CMS_set1_eContentType(cms, type), 1);
	assert_non_null(CMS_add1_signer(cms, world.pair.certificate, world.pair.key, EVP_sha384(),
					OURS | CMS_STREAM));
	assert_int_equal(i2d_CMS_bio_stream(out, cms, content, CMS_BINARY | CMS_STREAM), 1);
	size = BIO_get_mem_data(out, &bytes);
	assert_true(buffer_put(&ber, bytes, (size_t)size, &err));
	refused(&world, &ber, "is not canonical DER");
}

/* The content type stands twice, and both must be the expected one. */
static void test_content_type_swapped(void **state)
{
	AUTO_WORLD World world;
	AUTO_ASN1_OBJECT ASN1_OBJECT *type =
		OBJ_txt2obj(cms_content_type_oid(CMS_CONTENT_OFFER), 1);
	uint8_t *first, *second;
	size_t length = OBJ_length(type);

	(void)state;
	world_open(&world, NOW);

	AUTO_BUFFER Buffer der = signed_by(world.host, CMS_CONTENT_OFFER);

	first = memmem(der.data, der.used, OBJ_get0_data(type), length);
	assert_non_null(first);
	second = memmem(first + 1, der.used - (size_t)(first + 1 - der.data), OBJ_get0_data(type),
			length);
	assert_non_null(second);
	first[length - 1]++;
	refused_at(&world, NOW, &der, CMS_CONTENT_ACCEPT, SPIFFE_HOST,
		   "signed content type differs");
	second[length - 1]++;
	refused_at(&world, NOW, &der, CMS_CONTENT_ACCEPT, SPIFFE_HOST, "signature does not verify");
	first[length - 1]--;
	refused_at(&world, NOW, &der, CMS_CONTENT_OFFER, SPIFFE_HOST,
		   "signed content type differs");
}

static void load_refused(const Buffer *cert, const Buffer *key, const char *reason)
{
	Error err = ERROR_INIT;

	assert_null(cms_signer_load(cert->data, cert->used, key->data, key->used, &err));
	if (!strstr(err.text, reason))
		fail_msg("\"%s\" does not say \"%s\"", err.text, reason);
	assert_int_equal(err.category, ERROR_CONFIG);
}

static void test_load_refusals(void **state)
{
	AUTO_WORLD World world;
	AUTO_BUFFER Buffer rubbish = BUFFER_INIT(16);
	AUTO_BUFFER Buffer big = BUFFER_INIT(2 * LIMIT_PEM);
	Error err = ERROR_INIT;

	(void)state;
	world_open(&world, NOW);

	AUTO_FIXTURE_PEM FixturePem tls =
		fixture_issue_pem(&world.north, SPIFFE_HOST, "a", PKI_USE_TLS, NOW);
	AUTO_FIXTURE_PEM FixturePem one =
		fixture_issue_pem(&world.north, SPIFFE_HOST, "a", PKI_USE_SIGN, NOW);
	AUTO_FIXTURE_PEM FixturePem two =
		fixture_issue_pem(&world.north, SPIFFE_HOST, "a", PKI_USE_SIGN, NOW);
	AUTO_BUFFER Buffer five = BUFFER_INIT(LIMIT_PEM);

	assert_true(buffer_put(&rubbish, "rubbish", 7, &err));
	for (int i = 0; i < CMS_CERTIFICATES_MAX + 1; i++)
		assert_true(buffer_put(&five, one.certificate.data, one.certificate.used, &err));
	for (int i = 0; i <= LIMIT_PEM; i++)
		assert_true(buffer_put_u8(&big, '\n', &err));
	load_refused(&one.certificate, &two.key, "do not belong together");
	load_refused(&tls.certificate, &tls.key, "is not one for signing");
	load_refused(&rubbish, &one.key, "no PEM certificate");
	load_refused(&one.certificate, &rubbish, "no unencrypted PEM private key");
	load_refused(&one.key, &one.certificate, "no PEM certificate");
	load_refused(&five, &one.key, "more than 4 certificates");
	load_refused(&big, &one.key, "each may have 16384");
	load_refused(&one.certificate, &big, "each may have 16384");

	AUTO_CMS_SIGNER CmsSigner *good = cms_signer_load(
		one.certificate.data, one.certificate.used, one.key.data, one.key.used, &err);

	assert_non_null(good);
}

/* An independent reader: the command that the manual gives to auditors. */
static void test_openssl_command_agrees(void **state)
{
	AUTO_WORLD World world;
	char *directory;
	char command[1024], path[300], line[64] = "";
	int64_t now_s = clock_wall_s(&clock_system);
	bool same;

	(void)state;
	if (system("openssl version >/dev/null 2>&1"))
		skip();
	world_open(&world, now_s);
	directory = fixture_directory_new();

	AUTO_BUFFER Buffer der = signed_by(world.host, CMS_CONTENT_OFFER);

	snprintf(path, sizeof(path), "%s/x", directory);
	fixture_write(path, &der);
	snprintf(path, sizeof(path), "%s/root.crt", directory);
	fixture_write(path, &world.north.root_pem);
	snprintf(command, sizeof(command),
		 "cd %s && openssl cms -verify -binary -cades -inform DER -in x -CAfile root.crt "
		 "-purpose any 2>/dev/null",
		 directory);

	FILE *pipe = popen(command, "r");

	assert_non_null(pipe);
	same = fgets(line, sizeof(line), pipe) && !strcmp(line, statement);
	assert_int_equal(pclose(pipe), 0);
	assert_true(same);
	der.data[der.used - 1] ^= 1;
	snprintf(path, sizeof(path), "%s/x", directory);
	fixture_write(path, &der);
	strncat(command, " >/dev/null", sizeof(command) - strlen(command) - 1);
	assert_int_not_equal(system(command), 0);
	fixture_directory_remove(directory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_wrong_type_or_role),
		cmocka_unit_test(test_times_and_revocation),
		cmocka_unit_test(test_expired),
		cmocka_unit_test(test_foreign_root),
		cmocka_unit_test(test_every_bit_counts),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_other_makers),
		cmocka_unit_test(test_not_canonical),
		cmocka_unit_test(test_content_type_swapped),
		cmocka_unit_test(test_load_refusals),
		cmocka_unit_test(test_openssl_command_agrees),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
