/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/bounds.h"
#include "crypto/cms.h"
#include "crypto/ecdh.h"
#include "crypto/hkdf.h"
#include "crypto/random.h"
#include "fixture_pki.h"
#include "tests/fault/fault.h"
#include "wire/keys.h"

#define DOMAIN "north.example"

typedef struct CryptoFixture {
	FixtureDomain domain;
	FixturePem host;
	Buffer crl, statement;
	CmsSigner *signer;
	AnchorStore *store;
} CryptoFixture;

static const char offer[] = "{\"kind\":\"offer\"}";

static void *crypto_fixture_new(void)
{
	CryptoFixture *f = calloc(1, sizeof(*f));
	Error err = ERROR_INIT;

	fault_must(f, &err);
	fixture_domain_open(&f->domain, DOMAIN, FIXTURE_NOW_S);
	f->host = fixture_issue_pem(&f->domain, SPIFFE_HOST, "alpha", PKI_USE_SIGN, FIXTURE_NOW_S);
	f->crl = fixture_crl(&f->domain, 1, FIXTURE_NOW_S, NULL);
	f->signer = fixture_signer(&f->domain, SPIFFE_HOST, "alpha", FIXTURE_NOW_S);
	f->store = anchor_store_new(&err);
	fault_must(f->store, &err);
	fixture_trust(f->store, &f->domain, FIXTURE_NOW_S);
	f->statement = BUFFER_INIT(LIMIT_STATEMENT);
	fault_must(cms_sign(f->signer, CMS_CONTENT_OFFER, offer, sizeof(offer) - 1, &f->statement,
			    &err),
		   &err);
	return f;
}

static void crypto_fixture_free(void *fixture)
{
	CryptoFixture *f = fixture;

	cms_signer_free(f->signer);
	anchor_store_free(f->store);
	buffer_clear(&f->statement);
	buffer_clear(&f->crl);
	fixture_pem_clear(&f->host);
	fixture_domain_close(&f->domain);
	free(f);
}

/* --- anchors --- */

static bool load_anchors(void *fixture, Error *err)
{
	const CryptoFixture *f = fixture;
	AUTO_ANCHOR_STORE AnchorStore *store = anchor_store_new(err);

	if (!store ||
	    !anchor_store_add_root(store, DOMAIN, f->domain.root_pem.data, f->domain.root_pem.used,
				   err) ||
	    !anchor_store_set_crl(store, DOMAIN, f->crl.data, f->crl.used, FIXTURE_NOW_S, err))
		return false;
	return anchor_store_crl_next_update(store, DOMAIN) > FIXTURE_NOW_S ||
	       fault_wrong(err, "a store without its CRL");
}

/* A store that stays: all or nothing. */
static bool replace_crl(void *fixture, Error *err)
{
	CryptoFixture *f = fixture;

	return anchor_store_set_crl(f->store, DOMAIN, f->crl.data, f->crl.used, FIXTURE_NOW_S, err);
}

static bool verify(const CryptoFixture *f, Error *err)
{
	AUTO_BUFFER Buffer content = BUFFER_INIT(LIMIT_STATEMENT_JSON);
	SpiffeId signer;

	if (!cms_verify(f->store, FIXTURE_NOW_S, f->statement.data, f->statement.used,
			CMS_CONTENT_OFFER, SPIFFE_HOST, &signer, &content, err))
		return content.used ? fault_wrong(err, "content without a signature") : false;
	return (content.used == sizeof(offer) - 1 && !strcmp(signer.name, "alpha")) ||
	       fault_wrong(err, "another statement");
}

static bool check_store(void *fixture, Error *err)
{
	return verify(fixture, err);
}

/* --- statements --- */

static bool load_signer(void *fixture, Error *err)
{
	const CryptoFixture *f = fixture;
	AUTO_CMS_SIGNER CmsSigner *signer =
		cms_signer_load(f->host.certificate.data, f->host.certificate.used,
				f->host.key.data, f->host.key.used, err);

	return signer && (!strcmp(cms_signer_id(signer)->name, "alpha") ||
			  fault_wrong(err, "another signer"));
}

static bool sign_offer(void *fixture, Error *err)
{
	const CryptoFixture *f = fixture;
	AUTO_BUFFER Buffer der = BUFFER_INIT(LIMIT_STATEMENT);

	if (!cms_sign(f->signer, CMS_CONTENT_OFFER, offer, sizeof(offer) - 1, &der, err))
		return der.used ? fault_wrong(err, "half a statement") : false;
	return der.used > sizeof(offer) || fault_wrong(err, "no statement");
}

static bool verify_offer(void *fixture, Error *err)
{
	return verify(fixture, err);
}

/* A lost allocation must not make a forged statement good. */
static bool refuse_forged(void *fixture, Error *err)
{
	const CryptoFixture *f = fixture;
	AUTO_BUFFER Buffer content = BUFFER_INIT(LIMIT_STATEMENT_JSON);
	Error refusal = ERROR_INIT;
	SpiffeId signer;
	bool accepted;

	f->statement.data[f->statement.used - 1] ^= 1;
	accepted = cms_verify(f->store, FIXTURE_NOW_S, f->statement.data, f->statement.used,
			      CMS_CONTENT_OFFER, SPIFFE_HOST, &signer, &content, &refusal);
	f->statement.data[f->statement.used - 1] ^= 1;
	if (accepted || content.used)
		return fault_wrong(err, "a forged statement was accepted");
	return (refusal.category && refusal.text[0]) || error_set(err, ERROR_NONE, " ");
}

/* --- keys --- */

static bool draw_keys(void *fixture, Error *err)
{
	AUTO_ECDH_KEY EcdhKey *a = ecdh_key_new(err);
	AUTO_ECDH_KEY EcdhKey *b = a ? ecdh_key_new(err) : NULL;
	uint8_t a_public[ECDH_PUBLIC_SIZE], b_public[ECDH_PUBLIC_SIZE];
	AUTO_SECRET Secret *ab = NULL, *ba = NULL;

	(void)fixture;
	if (!b)
		return false;
	ecdh_key_public(a, a_public);
	ecdh_key_public(b, b_public);
	ab = ecdh_derive(a, b_public, err);
	ba = ab ? ecdh_derive(b, a_public, err) : NULL;
	if (!ba)
		return false;
	return secret_equal(ab, ba) || fault_wrong(err, "two secrets");
}

static bool derive_keys(void *fixture, Error *err)
{
	static const uint8_t offer_digest[DIGEST_SHA384_BYTES] = { 1 };
	static const uint8_t accept_digest[DIGEST_SHA384_BYTES] = { 2 };
	static const uint8_t fixed[KEYS_ECDH_SIZE] = { 3 };
	AUTO_SECRET Secret *migration = random_secret(KEYS_MIGRATION_SIZE, err);
	AUTO_SECRET Secret *ecdh = migration ? secret_new_from(fixed, KEYS_ECDH_SIZE, err) : NULL;
	AUTO_SECRET Secret *exporter = ecdh ? secret_new_from(fixed, KEYS_EXPORT_SIZE, err) : NULL;
	AUTO_SECRET Secret *prk = NULL, *traffic = NULL;
	KeysConnection connection = { .channel = 1 };

	(void)fixture;
	if (!exporter)
		return false;
	prk = keys_derive_prk(offer_digest, accept_digest, migration, ecdh, exporter, err);
	traffic = prk ? keys_derive_traffic(prk, KEYS_TO_SOURCE, &connection, err) : NULL;
	return traffic && (secret_size(traffic) == KEYS_TRAFFIC_SIZE ||
			   fault_wrong(err, "a secret of another size"));
}

#define CRYPTO(name, run, check, faults_max)                                                       \
	{                                                                                          \
		name, crypto_fixture_new, run, check, crypto_fixture_free, faults_max              \
	}
const Scenario scenarios_crypto[] = {
	CRYPTO("crypto anchors loaded", load_anchors, NULL, 400),
	CRYPTO("crypto CRL replaced", replace_crl, check_store, 400),
	CRYPTO("crypto signer loaded", load_signer, NULL, 400),
	CRYPTO("crypto offer signed", sign_offer, NULL, 400),
	CRYPTO("crypto offer verified", verify_offer, NULL, 400),
	CRYPTO("crypto forgery refused", refuse_forged, verify_offer, 400),
	{ "crypto keys drawn", NULL, draw_keys, NULL, NULL, 400 },
	{ "crypto keys derived", NULL, derive_keys, NULL, NULL, 400 },
	{ 0 },
};
