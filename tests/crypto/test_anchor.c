/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/bounds.h"
#include "crypto/anchor.h"
#include "crypto/openssl.h"
#include <openssl/pem.h>
#include "fixture_pki.h"

#define NOW	FIXTURE_NOW_S
#define DAY	((int64_t)PKI_DAY_S)
#define TLS_EKU "serverAuth,clientAuth"
#define SIGN_KU "critical,digitalSignature"
#define ALPHA	"URI:spiffe://north.example/host/alpha"

typedef struct World {
	FixtureDomain north, south;
	AnchorStore *store;
} World;

static void world_open(World *world)
{
	Error err = ERROR_INIT;

	fixture_domain_open(&world->north, "north.example", NOW);
	fixture_domain_open(&world->south, "south.example", NOW);
	world->store = anchor_store_new(&err);
	assert_non_null(world->store);
	fixture_trust(world->store, &world->north, NOW);
	fixture_trust(world->store, &world->south, NOW);
}

static void world_close(World *world)
{
	fixture_domain_close(&world->north);
	fixture_domain_close(&world->south);
	anchor_store_free(world->store);
}
#define AUTO_WORLD CLEANUP(world_close)

static void accepted(const World *world, const PkiPair *pair, AnchorPurpose purpose, int64_t now_s,
		     const char *text)
{
	SpiffeId id;
	Error err = ERROR_INIT;

	if (!anchor_verify_certificate(world->store, pair->certificate, NULL, now_s, purpose, &id,
				       &err))
		fail_msg("%s", err.text);
	assert_string_equal(id.text, text);
}

static void refused_with(const World *world, const PkiPair *pair, STACK_OF(X509) * untrusted,
			 AnchorPurpose purpose, int64_t now_s, const char *reason)
{
	SpiffeId id = { .text = "untouched" };
	Error err = ERROR_INIT;

	if (anchor_verify_certificate(world->store, pair->certificate, untrusted, now_s, purpose,
				      &id, &err))
		fail_msg("accepted, not refused with \"%s\"", reason);
	if (!strstr(err.text, reason))
		fail_msg("\"%s\" does not say \"%s\"", err.text, reason);
	assert_int_equal(err.category, ERROR_AUTH);
	assert_string_equal(id.text, "untouched");
}

static void refused(const World *world, const PkiPair *pair, AnchorPurpose purpose, int64_t now_s,
		    const char *reason)
{
	refused_with(world, pair, NULL, purpose, now_s, reason);
}

static void test_good(void **state)
{
	AUTO_WORLD World world;

	(void)state;
	world_open(&world);

	AUTO_PKI_PAIR PkiPair tls =
		fixture_issue(&world.north, SPIFFE_HOST, "alpha", PKI_USE_TLS, NOW);
	AUTO_PKI_PAIR PkiPair sign =
		fixture_issue(&world.south, SPIFFE_AUTHORITY, NULL, PKI_USE_SIGN, NOW);

	accepted(&world, &tls, ANCHOR_TLS_SERVER, NOW, "spiffe://north.example/host/alpha");
	accepted(&world, &tls, ANCHOR_TLS_CLIENT, NOW, "spiffe://north.example/host/alpha");
	accepted(&world, &sign, ANCHOR_SIGN, NOW, "spiffe://south.example/authority");
}

/* The purposes do not overlap as far as it matters. */
static void test_purposes(void **state)
{
	AUTO_WORLD World world;

	(void)state;
	world_open(&world);

	AUTO_PKI_PAIR PkiPair tls =
		fixture_issue(&world.north, SPIFFE_HOST, "alpha", PKI_USE_TLS, NOW);
	AUTO_PKI_PAIR PkiPair sign =
		fixture_issue(&world.north, SPIFFE_HOST, "alpha", PKI_USE_SIGN, NOW);

	AUTO_PKI_PAIR PkiPair agree =
		fixture_issue(&world.north, SPIFFE_KEYD, NULL, PKI_USE_AGREE, NOW);

	refused(&world, &tls, ANCHOR_SIGN, NOW, "is for TLS, not for signing");
	refused(&world, &tls, ANCHOR_AGREE, NOW, "is not for key agreement alone");
	refused(&world, &sign, ANCHOR_TLS_SERVER, NOW, "is not for a TLS server");
	refused(&world, &sign, ANCHOR_TLS_CLIENT, NOW, "is not for a TLS client");
	refused(&world, &sign, ANCHOR_AGREE, NOW, "is not for key agreement alone");
	accepted(&world, &agree, ANCHOR_AGREE, NOW, "spiffe://north.example/keyd");
	refused(&world, &agree, ANCHOR_SIGN, NOW, "has not the key usage digitalSignature");
	refused(&world, &agree, ANCHOR_TLS_SERVER, NOW, "has not the key usage digitalSignature");
	refused(&world, &agree, ANCHOR_TLS_CLIENT, NOW, "has not the key usage digitalSignature");
}

static void test_times(void **state)
{
	AUTO_WORLD World world;

	(void)state;
	world_open(&world);

	AUTO_PKI_PAIR PkiPair brief =
		fixture_issue_odd(&world.north.root,
				  &(FixtureOdd){ ALPHA, SIGN_KU, TLS_EKU, .not_before_s = NOW + 60,
						 .not_after_s = NOW + 120 },
				  NOW);

	accepted(&world, &brief, ANCHOR_TLS_SERVER, NOW + 90, "spiffe://north.example/host/alpha");
	refused(&world, &brief, ANCHOR_TLS_SERVER, NOW,
		"is not valid yet: valid from 2026-01-01T00:01:00Z, now is 2026-01-01T00:00:00Z");
	refused(&world, &brief, ANCHOR_TLS_SERVER, NOW + 121,
		"has expired: valid until 2026-01-01T00:02:00Z, now is 2026-01-01T00:02:01Z");
}

static void test_revoked(void **state)
{
	AUTO_WORLD World world;
	Error err = ERROR_INIT;

	(void)state;
	world_open(&world);

	AUTO_PKI_PAIR PkiPair bad =
		fixture_issue(&world.north, SPIFFE_HOST, "alpha", PKI_USE_TLS, NOW);
	AUTO_PKI_PAIR PkiPair good =
		fixture_issue(&world.north, SPIFFE_HOST, "beta", PKI_USE_TLS, NOW);
	AUTO_BUFFER Buffer crl = fixture_crl(&world.north, 2, NOW, bad.certificate);

	accepted(&world, &bad, ANCHOR_TLS_SERVER, NOW, "spiffe://north.example/host/alpha");
	assert_true(
		anchor_store_set_crl(world.store, "north.example", crl.data, crl.used, NOW, &err));
	refused(&world, &bad, ANCHOR_TLS_SERVER, NOW, "is revoked");
	accepted(&world, &good, ANCHOR_TLS_SERVER, NOW, "spiffe://north.example/host/beta");
}

static void test_crl_fails_closed(void **state)
{
	AUTO_WORLD World world;
	AUTO_FIXTURE_DOMAIN FixtureDomain east = { 0 };
	Error err = ERROR_INIT;

	(void)state;
	world_open(&world);
	fixture_domain_open(&east, "east.example", NOW);
	assert_true(anchor_store_add_root(world.store, "east.example", east.root_pem.data,
					  east.root_pem.used, &err));

	AUTO_PKI_PAIR PkiPair host = fixture_issue(&east, SPIFFE_HOST, "e", PKI_USE_TLS, NOW);
	AUTO_PKI_PAIR PkiPair lives_on = fixture_issue_odd(
		&world.north.root,
		&(FixtureOdd){ ALPHA, SIGN_KU, TLS_EKU, .not_after_s = NOW + 9 * DAY }, NOW);

	refused(&world, &host, ANCHOR_TLS_CLIENT, NOW, "there is no CRL of its issuer");
	accepted(&world, &lives_on, ANCHOR_TLS_CLIENT, NOW + DAY - 1,
		 "spiffe://north.example/host/alpha");
	refused(&world, &lives_on, ANCHOR_TLS_CLIENT, NOW + DAY + 1,
		"the CRL of its issuer is stale");
	assert_int_equal(anchor_store_crl_next_update(world.store, "north.example"), NOW + DAY);
	assert_int_equal(anchor_store_crl_next_update(world.store, "east.example"), 0);
	assert_int_equal(anchor_store_crl_next_update(world.store, "west.example"), 0);
}

static void crl_refused(World *world, const char *domain, const void *crl, size_t size,
			int64_t now_s, ErrorCategory category, const char *reason)
{
	Error err = ERROR_INIT;
	AnchorCrl info;

	assert_false(anchor_store_check_crl(world->store, domain, crl, size, now_s, &info, &err));
	assert_int_equal(err.category, category);
	if (!strstr(err.text, reason))
		fail_msg("\"%s\" does not say \"%s\"", err.text, reason);
	assert_false(anchor_store_set_crl(world->store, domain, crl, size, now_s, &err));
}

static void test_crl_numbers(void **state)
{
	AUTO_WORLD World world;
	Error err = ERROR_INIT;
	AnchorCrl info = { 0 };

	(void)state;
	world_open(&world);

	AUTO_BUFFER Buffer first = fixture_crl(&world.north, 1, NOW, NULL);
	AUTO_BUFFER Buffer fifth = fixture_crl(&world.north, 5, NOW, NULL);

	assert_true(anchor_store_check_crl(world.store, "north.example", fifth.data, fifth.used,
					   NOW, &info, &err));
	assert_true(info.newer);
	assert_int_equal(info.number, 5);
	assert_int_equal(info.next_update_s, NOW + DAY);
	/* checking changed nothing */
	assert_true(anchor_store_set_crl(world.store, "north.example", first.data, first.used, NOW,
					 &err));
	assert_true(anchor_store_set_crl(world.store, "north.example", fifth.data, fifth.used, NOW,
					 &err));
	assert_true(anchor_store_check_crl(world.store, "north.example", fifth.data, fifth.used,
					   NOW, &info, &err));
	assert_false(info.newer);
	crl_refused(&world, "north.example", first.data, first.used, NOW, ERROR_AUTH,
		    "has number 1, older than 5");
}

static void test_crl_refusals(void **state)
{
	AUTO_WORLD World world;
	uint8_t *der = NULL;
	uint8_t big[LIMIT_CRL + 1] = { 0 };

	(void)state;
	world_open(&world);

	AUTO_BUFFER Buffer south = fixture_crl(&world.south, 9, NOW, NULL);
	AUTO_BUFFER Buffer north = fixture_crl(&world.north, 9, NOW, NULL);
	AUTO_BIO BIO *bio = BIO_new_mem_buf(north.data, (int)north.used);
	AUTO_X509_CRL X509_CRL *crl = PEM_read_bio_X509_CRL(bio, NULL, NULL, NULL);
	size_t size = (size_t)i2d_X509_CRL(crl, &der);
	AUTO_BUFFER Buffer copy = BUFFER_INIT(LIMIT_CRL);
	Error err = ERROR_INIT;

	assert_true(buffer_put(&copy, der, size, &err) && buffer_put_u8(&copy, 0, &err));
	OPENSSL_free(der);
	crl_refused(&world, "north.example", south.data, south.used, NOW, ERROR_AUTH,
		    "not signed by a CA of north.example");
	crl_refused(&world, "west.example", north.data, north.used, NOW, ERROR_NOT_FOUND,
		    "no root");
	crl_refused(&world, "north.example", north.data, north.used, NOW + DAY, ERROR_AUTH,
		    "is stale");
	crl_refused(&world, "north.example", north.data, north.used, NOW - DAY, ERROR_AUTH,
		    "future");
	crl_refused(&world, "north.example", "rubbish", 7, NOW, ERROR_AUTH, "no CRL in 7 bytes");
	crl_refused(&world, "north.example", north.data, north.used / 2, NOW, ERROR_AUTH,
		    "broken CRL");
	crl_refused(&world, "north.example", big, sizeof(big), NOW, ERROR_LIMIT,
		    "CRL of 24577 bytes");
	crl_refused(&world, "north.example", big, 0, NOW, ERROR_LIMIT, "CRL of 0 bytes");
	crl_refused(&world, "north.example", copy.data, copy.used, NOW, ERROR_AUTH,
		    "1 bytes after");
	assert_true(anchor_store_set_crl(world.store, "north.example", copy.data, size, NOW, &err));
	for (size_t i = 0; i < size; i += 7) {
		copy.data[i] ^= 0x10;
		assert_false(anchor_store_set_crl(world.store, "north.example", copy.data, size,
						  NOW, &err));
		copy.data[i] ^= 0x10;
	}
}

static void test_foreign_roots(void **state)
{
	AUTO_WORLD World world;
	AUTO_FIXTURE_DOMAIN FixtureDomain impostor = { 0 };

	(void)state;
	world_open(&world);
	fixture_domain_open(&impostor, "north.example", NOW);

	AUTO_PKI_PAIR PkiPair by_south =
		fixture_issue_odd(&world.south.root, &(FixtureOdd){ ALPHA, SIGN_KU, TLS_EKU }, NOW);
	AUTO_PKI_PAIR PkiPair by_impostor =
		fixture_issue(&impostor, SPIFFE_HOST, "alpha", PKI_USE_TLS, NOW);
	AUTO_PKI_PAIR PkiPair by_itself =
		fixture_issue_odd(NULL, &(FixtureOdd){ ALPHA, SIGN_KU, TLS_EKU }, NOW);
	AUTO_PKI_PAIR PkiPair unknown = fixture_issue_odd(
		&world.north.root,
		&(FixtureOdd){ "URI:spiffe://west.example/host/alpha", SIGN_KU, TLS_EKU }, NOW);
	AUTO_X509_STACK STACK_OF(X509) *untrusted = sk_X509_new_null();

	refused(&world, &by_south, ANCHOR_TLS_SERVER, NOW,
		"is not issued by a root of its domain, but of south.example");
	refused(&world, &by_impostor, ANCHOR_TLS_SERVER, NOW,
		"is not issued by a root of its domain");
	refused(&world, &by_itself, ANCHOR_TLS_SERVER, NOW,
		"is not issued by a root of its domain");
	refused(&world, &unknown, ANCHOR_TLS_SERVER, NOW, "is trusted here");
	/* a peer's own root among what it sends does not become trusted */
	assert_int_equal(X509_add_cert(untrusted, impostor.root.certificate, X509_ADD_FLAG_UP_REF),
			 1);
	refused_with(&world, &by_impostor, untrusted, ANCHOR_TLS_SERVER, NOW,
		     "is not issued by a root of its domain");
}

typedef struct OddRow {
	FixtureOdd odd;
	AnchorPurpose purpose;
	const char *reason; /* NULL: good */
} OddRow;

static const OddRow odd_rows[] = {
	{ { ALPHA, SIGN_KU, TLS_EKU }, ANCHOR_TLS_SERVER, NULL },
	{ { ALPHA, SIGN_KU, NULL, .curve = "P-256" }, ANCHOR_SIGN, NULL },
	{ { ALPHA, SIGN_KU, TLS_EKU, .curve = "RSA-3072" }, ANCHOR_TLS_CLIENT, NULL },
	{ { ALPHA, SIGN_KU, "emailProtection" }, ANCHOR_SIGN, NULL },
	{ { NULL, SIGN_KU, TLS_EKU }, ANCHOR_TLS_SERVER, "has no name" },
	{ { ALPHA ",URI:spiffe://north.example/host/beta", SIGN_KU, TLS_EKU },
	  ANCHOR_TLS_SERVER,
	  "has 2 names" },
	{ { ALPHA ",DNS:alpha.north.example", SIGN_KU, TLS_EKU },
	  ANCHOR_TLS_SERVER,
	  "has 2 names" },
	{ { "DNS:north.example", SIGN_KU, TLS_EKU }, ANCHOR_TLS_SERVER, "has no URI name" },
	{ { "email:a@north.example", SIGN_KU, TLS_EKU }, ANCHOR_TLS_SERVER, "has no URI name" },
	{ { "URI:https://north.example/host/alpha", SIGN_KU, TLS_EKU },
	  ANCHOR_TLS_SERVER,
	  "does not begin with spiffe://" },
	{ { "URI:spiffe://south.example:x@north.example/host/alpha", SIGN_KU, TLS_EKU },
	  ANCHOR_TLS_SERVER,
	  "is not of [a-z0-9.-]" },
	{ { ALPHA, "critical,keyAgreement", TLS_EKU }, ANCHOR_TLS_SERVER, "digitalSignature" },
	{ { ALPHA, NULL, TLS_EKU }, ANCHOR_TLS_SERVER, "digitalSignature" },
	{ { ALPHA, SIGN_KU, NULL }, ANCHOR_TLS_SERVER, "is not for a TLS server" },
	{ { ALPHA, SIGN_KU, "clientAuth" }, ANCHOR_TLS_SERVER, "is not for a TLS server" },
	{ { ALPHA, SIGN_KU, "serverAuth" }, ANCHOR_TLS_CLIENT, "is not for a TLS client" },
	{ { ALPHA, SIGN_KU, "anyExtendedKeyUsage" }, ANCHOR_TLS_CLIENT, "is not for a TLS client" },
	{ { ALPHA, SIGN_KU, "anyExtendedKeyUsage" }, ANCHOR_SIGN, "not for signing" },
	{ { ALPHA, SIGN_KU, "clientAuth" }, ANCHOR_SIGN, "not for signing" },
	{ { ALPHA, SIGN_KU, TLS_EKU, .curve = "RSA-2048" }, ANCHOR_TLS_SERVER, "RSA of 2048 bits" },
	{ { ALPHA, SIGN_KU, TLS_EKU, .curve = "P-521" }, ANCHOR_TLS_SERVER, "secp521r1" },
	{ { ALPHA, SIGN_KU, TLS_EKU, .curve = "secp256k1" }, ANCHOR_TLS_SERVER, "secp256k1" },
	{ { ALPHA, SIGN_KU, TLS_EKU, .curve = "ED25519" }, ANCHOR_TLS_SERVER, "ED25519" },
	{ { ALPHA, SIGN_KU, TLS_EKU, .weak_digest = true }, ANCHOR_TLS_SERVER, "too weak" },
	{ { ALPHA, "critical,digitalSignature,keyCertSign", TLS_EKU, .basic = "critical,CA:TRUE" },
	  ANCHOR_TLS_SERVER,
	  "is one of a CA" },
};

static void test_odd_certificates(void **state)
{
	AUTO_WORLD World world;

	(void)state;
	world_open(&world);
	for (size_t i = 0; i < ARRAY_SIZE(odd_rows); i++) {
		AUTO_PKI_PAIR PkiPair pair =
			fixture_issue_odd(&world.north.root, &odd_rows[i].odd, NOW);

		if (odd_rows[i].reason)
			refused(&world, &pair, odd_rows[i].purpose, NOW, odd_rows[i].reason);
		else
			accepted(&world, &pair, odd_rows[i].purpose, NOW,
				 "spiffe://north.example/host/alpha");
	}
}

/* A root that another CA's software made has no constraint of its own: the domain still holds. */
static void test_name_constraint(void **state)
{
	AUTO_WORLD World world;
	Error err = ERROR_INIT;

	(void)state;
	world_open(&world);
	/* south's root, constrained to south.example, is also given as a root of north.example */
	assert_true(anchor_store_add_root(world.store, "north.example", world.south.root_pem.data,
					  world.south.root_pem.used, &err));

	AUTO_BUFFER Buffer crl = fixture_crl(&world.south, 1, NOW, NULL);
	AUTO_PKI_PAIR PkiPair pair =
		fixture_issue_odd(&world.south.root, &(FixtureOdd){ ALPHA, SIGN_KU, TLS_EKU }, NOW);

	assert_true(
		anchor_store_set_crl(world.store, "north.example", crl.data, crl.used, NOW, &err));
	refused(&world, &pair, ANCHOR_TLS_SERVER, NOW, "has a name that its CA may not give");
}

static void test_rotation(void **state)
{
	AUTO_WORLD World world;
	AUTO_FIXTURE_DOMAIN FixtureDomain next = { 0 };
	AUTO_BUFFER Buffer both = BUFFER_INIT(LIMIT_CRL);
	Error err = ERROR_INIT;

	(void)state;
	world_open(&world);
	fixture_domain_open(&next, "north.example", NOW);

	AUTO_PKI_PAIR PkiPair old_host =
		fixture_issue(&world.north, SPIFFE_HOST, "alpha", PKI_USE_TLS, NOW);
	AUTO_PKI_PAIR PkiPair new_host =
		fixture_issue(&next, SPIFFE_HOST, "alpha", PKI_USE_TLS, NOW);
	AUTO_BUFFER Buffer old_crl = fixture_crl(&world.north, 2, NOW, NULL);
	AUTO_BUFFER Buffer new_crl = fixture_crl(&next, 2, NOW, NULL);

	assert_true(anchor_store_add_root(world.store, "north.example", next.root_pem.data,
					  next.root_pem.used, &err));
	refused(&world, &new_host, ANCHOR_TLS_SERVER, NOW, "there is no CRL of its issuer");
	assert_true(buffer_put(&both, old_crl.data, old_crl.used, &err));
	assert_true(buffer_put(&both, new_crl.data, new_crl.used, &err));
	assert_true(anchor_store_set_crl(world.store, "north.example", both.data, both.used, NOW,
					 &err));
	accepted(&world, &new_host, ANCHOR_TLS_SERVER, NOW, "spiffe://north.example/host/alpha");
	accepted(&world, &old_host, ANCHOR_TLS_SERVER, NOW, "spiffe://north.example/host/alpha");
	assert_true(anchor_store_remove(world.store, "north.example"));
	assert_false(anchor_store_remove(world.store, "north.example"));
	assert_false(anchor_store_has(world.store, "north.example"));
	refused(&world, &old_host, ANCHOR_TLS_SERVER, NOW, "is trusted here");
}

static void put_crl(AnchorStore *store, const char *domain, const PkiPair *issuer)
{
	const FixtureDomain by = { .root = *issuer };
	AUTO_BUFFER Buffer crl = fixture_crl(&by, 1, NOW, NULL);
	Error err = ERROR_INIT;

	if (!anchor_store_set_crl(store, domain, crl.data, crl.used, NOW, &err))
		fail_msg("%s", err.text);
}

#define CA_KU "critical,keyCertSign,cRLSign"
static const FixtureOdd root_odd = { NULL, CA_KU, NULL, "critical,CA:TRUE", .subject = "far root" };
static const FixtureOdd middle_odd = { NULL, CA_KU, NULL, "critical,CA:TRUE,pathlen:0",
				       .subject = "middle" };

/* Other PKIs: an intermediate that the peer sends along, or that the domain's file names. */
static void test_intermediate(void **state)
{
	AUTO_WORLD World world;
	AUTO_BUFFER Buffer pem = BUFFER_INIT(LIMIT_PEM);
	AUTO_BUFFER Buffer alone = BUFFER_INIT(LIMIT_PEM);
	AUTO_PKI_PAIR PkiPair root = fixture_issue_odd(NULL, &root_odd, NOW);
	AUTO_PKI_PAIR PkiPair middle = fixture_issue_odd(&root, &middle_odd, NOW);
	AUTO_PKI_PAIR PkiPair leaf = fixture_issue_odd(
		&middle, &(FixtureOdd){ "URI:spiffe://far.example/host/w", SIGN_KU, TLS_EKU }, NOW);
	Error err = ERROR_INIT;

	(void)state;
	world_open(&world);
	assert_true(pki_put_certificate(middle.certificate, &alone, &err));
	assert_false(
		anchor_store_add_root(world.store, "far.example", alone.data, alone.used, &err));
	assert_non_null(strstr(err.text, "nor issued by a CA that comes before it"));
	assert_false(anchor_store_has(world.store, "far.example"));

	assert_true(pki_put_certificate(root.certificate, &pem, &err));
	assert_true(anchor_store_add_root(world.store, "far.example", pem.data, pem.used, &err));
	put_crl(world.store, "far.example", &root);
	refused(&world, &leaf, ANCHOR_TLS_SERVER, NOW, "is not issued by a root of its domain");
	assert_true(
		anchor_store_add_root(world.store, "far.example", alone.data, alone.used, &err));
	refused(&world, &leaf, ANCHOR_TLS_SERVER, NOW, "there is no CRL of its issuer");
	put_crl(world.store, "far.example", &middle);
	accepted(&world, &leaf, ANCHOR_TLS_SERVER, NOW, "spiffe://far.example/host/w");
}

/* Our own roots allow no CA below them. */
static void test_intermediate_below_pathlen_0(void **state)
{
	AUTO_WORLD World world;
	AUTO_BUFFER Buffer pem = BUFFER_INIT(LIMIT_PEM);
	Error err = ERROR_INIT;

	(void)state;
	world_open(&world);

	AUTO_PKI_PAIR PkiPair middle = fixture_issue_odd(&world.north.root, &middle_odd, NOW);
	AUTO_PKI_PAIR PkiPair leaf =
		fixture_issue_odd(&middle, &(FixtureOdd){ ALPHA, SIGN_KU, TLS_EKU }, NOW);

	assert_true(pki_put_certificate(middle.certificate, &pem, &err));
	assert_true(anchor_store_add_root(world.store, "north.example", pem.data, pem.used, &err));
	put_crl(world.store, "north.example", &middle);
	refused(&world, &leaf, ANCHOR_TLS_SERVER, NOW, "path length constraint");
}

static void test_bad_roots(void **state)
{
	AUTO_WORLD World world;
	AUTO_BUFFER Buffer pem = BUFFER_INIT(LIMIT_PEM);
	Error err = ERROR_INIT;
	uint8_t big[LIMIT_PEM + 1];

	(void)state;
	world_open(&world);
	memset(big, 'x', sizeof(big));

	AUTO_PKI_PAIR PkiPair host =
		fixture_issue(&world.north, SPIFFE_HOST, "a", PKI_USE_TLS, NOW);

	assert_true(pki_put_certificate(host.certificate, &pem, &err));
	assert_false(anchor_store_add_root(world.store, "north.example", pem.data, pem.used, &err));
	assert_non_null(strstr(err.text, "is not a CA certificate"));
	assert_false(anchor_store_add_root(world.store, "north.example", "rubbish", 7, &err));
	assert_int_equal(err.category, ERROR_CONFIG);
	assert_false(anchor_store_add_root(world.store, "north.example", big, sizeof(big), &err));
	assert_int_equal(err.category, ERROR_LIMIT);
	assert_false(anchor_store_add_root(world.store, "North.example", pem.data, pem.used, &err));
	assert_false(anchor_store_add_root(world.store, "", pem.data, pem.used, &err));
	assert_int_equal(err.category, ERROR_CONFIG);
	/* broken in the middle: nothing of it counts */
	buffer_clear(&pem);
	assert_true(pki_put_certificate(world.north.root.certificate, &pem, &err));
	pem.data[pem.used / 2] = '!';
	assert_false(anchor_store_add_root(world.store, "far.example", pem.data, pem.used, &err));
	assert_non_null(strstr(err.text, "broken certificate"));
	assert_false(anchor_store_has(world.store, "far.example"));
	/* what is there already is fine */
	assert_true(anchor_store_add_root(world.store, "north.example", world.north.root_pem.data,
					  world.north.root_pem.used, &err));
}

static void test_too_many_roots(void **state)
{
	AUTO_WORLD World world;
	AUTO_FIXTURE_DOMAIN FixtureDomain one = { 0 };
	Error err = ERROR_INIT;
	int added = 2;

	(void)state;
	world_open(&world);
	fixture_domain_open(&one, "one.example", NOW);
	for (; added <= LIMIT_ANCHORS; added++) {
		char name[32];

		snprintf(name, sizeof(name), "d%d.example", added);
		if (!anchor_store_add_root(world.store, name, one.root_pem.data, one.root_pem.used,
					   &err))
			break;
	}
	assert_int_equal(added, LIMIT_ANCHORS);
	assert_int_equal(err.category, ERROR_LIMIT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_purposes),
		cmocka_unit_test(test_times),
		cmocka_unit_test(test_revoked),
		cmocka_unit_test(test_crl_fails_closed),
		cmocka_unit_test(test_crl_numbers),
		cmocka_unit_test(test_crl_refusals),
		cmocka_unit_test(test_foreign_roots),
		cmocka_unit_test(test_odd_certificates),
		cmocka_unit_test(test_name_constraint),
		cmocka_unit_test(test_rotation),
		cmocka_unit_test(test_intermediate),
		cmocka_unit_test(test_intermediate_below_pathlen_0),
		cmocka_unit_test(test_bad_roots),
		cmocka_unit_test(test_too_many_roots),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
