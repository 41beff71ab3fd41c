/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <string.h>

#include <openssl/pem.h>

#include "base/buffer.h"
#include "crypto/openssl.h"
#include "fixture_pki.h"
#include "tests/fuzz/fuzz_anchors.h"
#include "tests/fuzz/make_seeds.h"

static_assert(FUZZ_NOW_S == FIXTURE_NOW_S, "seeds are judged at the time they are made for");

enum { SEED_MAX = 16384 };

static void put_part(Buffer *seed, const void *data, size_t size)
{
	Error err = ERROR_INIT;

	seeds_must(buffer_put_be16(seed, (uint16_t)size, &err) &&
			   buffer_put(seed, data, size, &err),
		   &err);
}

/* `first` stands before the root and the CRL, unless it is negative. */
static Buffer begin(int first, const FixtureDomain *domain, const Buffer *crl)
{
	Buffer seed = BUFFER_INIT(SEED_MAX);
	Error err = ERROR_INIT;

	if (first >= 0)
		seeds_must(buffer_put_u8(&seed, (uint8_t)first, &err), &err);
	put_part(&seed, domain->root_pem.data, domain->root_pem.used);
	put_part(&seed, crl->data, crl->used);
	return seed;
}

static void write_anchors(const char *root, const FixtureDomain *domain, const Buffer *crl)
{
	AUTO_PKI_PAIR PkiPair host =
		fixture_issue(domain, SPIFFE_HOST, "alpha", PKI_USE_TLS, FIXTURE_NOW_S);
	AUTO_BUFFER Buffer seed = begin(-1, domain, crl);
	AUTO_BUFFER Buffer der_seed = BUFFER_INIT(SEED_MAX);
	AUTO_BUFFER Buffer leaf = BUFFER_INIT(SEED_MAX);
	AUTO_BIO BIO *bio = BIO_new_mem_buf(crl->data, (int)crl->used);
	AUTO_X509_CRL X509_CRL *decoded = PEM_read_bio_X509_CRL(bio, NULL, NULL, NULL);
	Error err = ERROR_INIT;
	uint8_t *der = NULL;
	int size = i2d_X509_CRL(decoded, &der);

	seeds_write(root, "anchor", "root", domain->root_pem.data, domain->root_pem.used);
	seeds_must(pki_put_certificate(host.certificate, &leaf, &err), &err);
	seeds_write(root, "anchor", "leaf", leaf.data, leaf.used);
	seeds_write(root, "anchor_crl", "pem", seed.data, seed.used);
	put_part(&der_seed, domain->root_pem.data, domain->root_pem.used);
	seeds_must(size > 0, &err);
	put_part(&der_seed, der, (size_t)size);
	seeds_write(root, "anchor_crl", "der", der_seed.data, der_seed.used);
	/* One byte of the signature. */
	der_seed.data[der_seed.used - 1] ^= 1;
	seeds_write(root, "anchor_crl", "forged", der_seed.data, der_seed.used);
	OPENSSL_free(der);
}

/* --- certificates --- */

static void write_leaf(const char *root, const char *name, AnchorPurpose purpose,
		       const FixtureDomain *domain, const Buffer *crl, const X509 *leaf)
{
	AUTO_BUFFER Buffer seed = begin((int)purpose, domain, crl);
	uint8_t *der = NULL;
	int size = i2d_X509(leaf, &der);
	Error err = ERROR_INIT;

	seeds_must(size > 0, &err);
	put_part(&seed, der, (size_t)size);
	seeds_write(root, "anchor_verify", name, seed.data, seed.used);
	OPENSSL_free(der);
}

static void write_leaves(const char *root, const FixtureDomain *domain, const Buffer *crl)
{
	const FixtureOdd two_names = {
		.names = "URI:spiffe://" FUZZ_DOMAIN "/host/alpha,URI:spiffe://" FUZZ_DOMAIN
			 "/host/beta",
		.usage = "critical,digitalSignature",
	};
	AUTO_PKI_PAIR PkiPair tls =
		fixture_issue(domain, SPIFFE_HOST, "alpha", PKI_USE_TLS, FIXTURE_NOW_S);
	AUTO_PKI_PAIR PkiPair sign =
		fixture_issue(domain, SPIFFE_AUTHORITY, NULL, PKI_USE_SIGN, FIXTURE_NOW_S);
	AUTO_PKI_PAIR PkiPair agree =
		fixture_issue(domain, SPIFFE_KEYD, NULL, PKI_USE_AGREE, FIXTURE_NOW_S);
	AUTO_PKI_PAIR PkiPair odd = fixture_issue_odd(&domain->root, &two_names, FIXTURE_NOW_S);

	write_leaf(root, "server", ANCHOR_TLS_SERVER, domain, crl, tls.certificate);
	write_leaf(root, "client", ANCHOR_TLS_CLIENT, domain, crl, tls.certificate);
	write_leaf(root, "sign", ANCHOR_SIGN, domain, crl, sign.certificate);
	write_leaf(root, "agree", ANCHOR_AGREE, domain, crl, agree.certificate);
	write_leaf(root, "two-names", ANCHOR_SIGN, domain, crl, odd.certificate);
}

/* --- statements --- */

static void write_statements(const char *root, const FixtureDomain *domain, const Buffer *crl)
{
	static const char json[] = "{\"kind\":\"offer\"}";
	AUTO_CMS_SIGNER CmsSigner *signer =
		fixture_signer(domain, SPIFFE_HOST, "alpha", FIXTURE_NOW_S);
	AUTO_BUFFER Buffer der = BUFFER_INIT(SEED_MAX);
	AUTO_BUFFER Buffer good = begin(CMS_CONTENT_OFFER, domain, crl);
	AUTO_BUFFER Buffer empty = begin(CMS_CONTENT_OFFER, domain, crl);
	Error err = ERROR_INIT;

	seeds_must(cms_sign(signer, CMS_CONTENT_OFFER, json, sizeof(json) - 1, &der, &err), &err);
	put_part(&good, der.data, der.used);
	seeds_write(root, "cms_verify", "offer", good.data, good.used);
	good.data[0] = CMS_CONTENT_COMMIT;
	seeds_write(root, "cms_verify", "other-kind", good.data, good.used);
	good.data[0] = CMS_CONTENT_OFFER;
	good.data[good.used - 1] ^= 1;
	seeds_write(root, "cms_verify", "forged", good.data, good.used);
	put_part(&empty, "", 0);
	seeds_write(root, "cms_verify", "empty", empty.data, empty.used);
}

static void write_package(const char *root, const FixtureDomain *domain, const Buffer *crl)
{
	static const uint8_t permit[CMS_PERMIT_BYTES], envelope[] = "envelope";
	AUTO_CMS_SIGNER CmsSigner *signer =
		fixture_signer(domain, SPIFFE_KEYD, NULL, FIXTURE_NOW_S);
	AUTO_BUFFER Buffer der = BUFFER_INIT(SEED_MAX);
	AUTO_BUFFER Buffer seed = begin(CMS_CONTENT_KEY_PACKAGE, domain, crl);
	Error err = ERROR_INIT;

	seeds_must(cms_sign_package(signer, permit, envelope, sizeof(envelope), &der, &err), &err);
	put_part(&seed, der.data, der.used);
	seeds_write(root, "cms_verify", "package", seed.data, seed.used);
}

/* --- envelopes --- */

/*
 * Nothing here depends on a key: the values of an envelope are fixed bytes, the name of the
 * receiver's certificate is O=n, serial 1.
 */
static void write_envelopes(const char *root)
{
	static const uint8_t name[] = { 0x30, 0x0c, 0x31, 0x0a, 0x30, 0x08, 0x06, 0x03, 0x55,
					0x04, 0x0a, 0x0c, 0x01, 'n',  0x02, 0x01, 0x01 };
	/* Before the point, between it and the name, behind the name, around the nonce, the tag. */
	static const char *const fixed[] = {
		"3082012f060b2a864886f70d0109100117a082011e3082011a"
		"0201003181d1a181ce020103a071a16f300906072a8648ce3d020103620004",
		"301506062b8104010b02300b060960864801650304012d303f303d3011",
		"0428",
		"302f06092a864886f70d010701301e060960864801650304012e3011040c",
		"0201108002",
		"0410",
	};
	static const size_t values[] = { 96, sizeof(name), 40, 12, 2, 16 };
	AUTO_BUFFER Buffer seed = BUFFER_INIT(SEED_MAX);
	Error err = ERROR_INIT;

	put_part(&seed, name, sizeof(name));
	for (size_t i = 0; i < ARRAY_SIZE(fixed); i++) {
		uint8_t bytes[64], value[96] = { 0x51 };
		size_t size = strlen(fixed[i]) / 2;

		seeds_must(hex_decode(fixed[i], bytes, size) &&
				   buffer_put(&seed, bytes, size, &err) &&
				   buffer_put(&seed, values[i] == sizeof(name) ? name : value,
					      values[i], &err),
			   &err);
	}
	seeds_write(root, "cms_envelope", "good", seed.data, seed.used);
	seed.data[sizeof(name)] ^= 1; /* of the name that is to be compared with */
	seeds_write(root, "cms_envelope", "other-name", seed.data, seed.used);
}

void seeds_write_crypto(const char *root)
{
	FixtureDomain domain;

	fixture_domain_open(&domain, FUZZ_DOMAIN, FIXTURE_NOW_S);

	AUTO_BUFFER Buffer crl = fixture_crl(&domain, 1, FIXTURE_NOW_S, NULL);

	write_anchors(root, &domain, &crl);
	write_leaves(root, &domain, &crl);
	write_statements(root, &domain, &crl);
	write_package(root, &domain, &crl);
	write_envelopes(root);
	fixture_domain_close(&domain);
}
