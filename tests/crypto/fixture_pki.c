/* SPDX-License-Identifier: Apache-2.0 */
#include "fixture_pki.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <fcntl.h>
#include <ftw.h>

#include "base/bounds.h"
#include "base/file.h"
#include "crypto/openssl.h"
#include "crypto/random.h"

enum { HOUR_S = 3600 };

static void must(bool ok, const Error *err)
{
	if (!ok)
		fail_msg("fixture: %s", err->text);
}

void fixture_domain_open(FixtureDomain *domain, const char *name, int64_t now_s)
{
	Error err = ERROR_INIT;

	*domain = (FixtureDomain){ .name = name, .root_pem = BUFFER_INIT(LIMIT_PEM) };
	must(pki_make_root(name, now_s - HOUR_S, now_s + PKI_ROOT_DAYS * (int64_t)PKI_DAY_S,
			   &domain->root, &err),
	     &err);
	must(pki_put_certificate(domain->root.certificate, &domain->root_pem, &err), &err);
}

void fixture_domain_close(FixtureDomain *domain)
{
	pki_pair_clear(&domain->root);
	buffer_clear(&domain->root_pem);
}

void fixture_pem_clear(FixturePem *pem)
{
	buffer_clear(&pem->certificate);
	buffer_clear(&pem->key);
}

PkiPair fixture_issue(const FixtureDomain *domain, SpiffeRole role, const char *name, PkiUse use,
		      int64_t now_s)
{
	Error err = ERROR_INIT;
	PkiPair pair = { NULL, NULL };
	SpiffeId id;

	must(spiffe_make(role, domain->name, name, &id, &err), &err);
	must(pki_issue(&domain->root, &id, use, now_s - HOUR_S, now_s + PKI_DAY_S, &pair, &err),
	     &err);
	return pair;
}

FixturePem fixture_issue_pem(const FixtureDomain *domain, SpiffeRole role, const char *name,
			     PkiUse use, int64_t now_s)
{
	AUTO_PKI_PAIR PkiPair pair = fixture_issue(domain, role, name, use, now_s);

	return fixture_pem_of(&pair);
}

FixturePem fixture_pem_of(const PkiPair *pair)
{
	FixturePem pem = { BUFFER_INIT(LIMIT_PEM), BUFFER_INIT(LIMIT_PEM) };
	Error err = ERROR_INIT;

	must(pki_put_certificate(pair->certificate, &pem.certificate, &err), &err);
	must(pki_put_key(pair->key, &pem.key, &err), &err);
	return pem;
}

static void extend(X509 *issuer, X509 *certificate, int nid, const char *value)
{
	X509V3_CTX context;
	X509_EXTENSION *extension;

	if (!value)
		return;
	X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
	extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
	assert_non_null(extension);
	assert_int_equal(X509_add_ext(certificate, extension, -1), 1);
	X509_EXTENSION_free(extension);
}

static EVP_PKEY *key_of(const char *curve)
{
	enum { RSA_SMALL = 2048, RSA_GOOD = 3072 };
	EVP_PKEY *key;

	if (curve && !strncmp(curve, "RSA", 3))
		key = EVP_RSA_gen(strcmp(curve, "RSA-2048") ? RSA_GOOD : RSA_SMALL);
	else if (curve && !strcmp(curve, "ED25519"))
		key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	else
		key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", curve ? curve : "P-384");
	assert_non_null(key);
	return key;
}

PkiPair fixture_issue_odd(const PkiPair *issuer, const FixtureOdd *odd, int64_t now_s)
{
	PkiPair pair = { X509_new(), key_of(odd->curve) };
	X509 *by = issuer ? issuer->certificate : pair.certificate;
	time_t from = (time_t)(odd->not_before_s ? odd->not_before_s : now_s - HOUR_S);
	time_t until = (time_t)(odd->not_after_s ? odd->not_after_s : now_s + PKI_DAY_S);
	uint8_t serial[PKI_SERIAL_SIZE];
	Error err = ERROR_INIT;

	assert_non_null(pair.certificate);
	must(random_bytes(serial, sizeof(serial), &err), &err);
	serial[0] = 1;

	AUTO_BIGNUM BIGNUM *number = BN_bin2bn(serial, sizeof(serial), NULL);

	BN_to_ASN1_INTEGER(number, X509_get_serialNumber(pair.certificate));
	X509_set_version(pair.certificate, 2);
	X509_time_adj_ex(X509_getm_notBefore(pair.certificate), 0, 0, &from);
	X509_time_adj_ex(X509_getm_notAfter(pair.certificate), 0, 0, &until);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(pair.certificate), "O", MBSTRING_ASC,
				   (const unsigned char *)(odd->subject ? odd->subject : "odd"), -1,
				   -1, 0);
	X509_set_issuer_name(pair.certificate, X509_get_subject_name(by));
	X509_set_pubkey(pair.certificate, pair.key);
	extend(by, pair.certificate, NID_basic_constraints,
	       odd->basic ? odd->basic : "critical,CA:FALSE");
	extend(by, pair.certificate, NID_key_usage, odd->usage);
	extend(by, pair.certificate, NID_ext_key_usage, odd->extended_usage);
	extend(by, pair.certificate, NID_subject_key_identifier, "hash");
	extend(by, pair.certificate, NID_authority_key_identifier, "keyid:always");
	extend(by, pair.certificate, NID_subject_alt_name, odd->names);
	assert_true(X509_sign(pair.certificate, issuer ? issuer->key : pair.key,
			      odd->weak_digest ? EVP_sha1() : EVP_sha384()) > 0);
	return pair;
}

CmsSigner *fixture_signer(const FixtureDomain *domain, SpiffeRole role, const char *name,
			  int64_t now_s)
{
	AUTO_FIXTURE_PEM FixturePem pem =
		fixture_issue_pem(domain, role, name, PKI_USE_SIGN, now_s);
	Error err = ERROR_INIT;
	CmsSigner *signer = cms_signer_load(pem.certificate.data, pem.certificate.used,
					    pem.key.data, pem.key.used, &err);

	must(signer != NULL, &err);
	return signer;
}

EnvelopeKey *fixture_envelope_key(const FixtureDomain *domain, int64_t now_s)
{
	AUTO_FIXTURE_PEM FixturePem pem =
		fixture_issue_pem(domain, SPIFFE_KEYD, NULL, PKI_USE_AGREE, now_s);
	Error err = ERROR_INIT;
	EnvelopeKey *key = envelope_key_load(pem.certificate.data, pem.certificate.used,
					     pem.key.data, pem.key.used, &err);

	must(key != NULL, &err);
	return key;
}

Buffer fixture_crl(const FixtureDomain *domain, uint64_t number, int64_t now_s, const X509 *revoked)
{
	Buffer pem = BUFFER_INIT(LIMIT_CRL);
	PkiRevoked entry = { .revoked_s = now_s };
	Error err = ERROR_INIT;

	if (revoked)
		must(pki_serial(revoked, entry.serial, &err), &err);

	AUTO_X509_CRL X509_CRL *crl =
		pki_make_crl(&domain->root, number, now_s - HOUR_S, now_s + PKI_DAY_S, &entry,
			     revoked ? 1 : 0, &err);

	must(crl && pki_put_crl(crl, &pem, &err), &err);
	return pem;
}

void fixture_trust(AnchorStore *store, const FixtureDomain *domain, int64_t now_s)
{
	AUTO_BUFFER Buffer crl = fixture_crl(domain, 1, now_s, NULL);
	Error err = ERROR_INIT;

	must(anchor_store_add_root(store, domain->name, domain->root_pem.data,
				   domain->root_pem.used, &err),
	     &err);
	must(anchor_store_set_crl(store, domain->name, crl.data, crl.used, now_s, &err), &err);
}

char *fixture_directory_new(void)
{
	const char *base = getenv("TMPDIR");
	char path[256];
	char *copy;

	assert_in_range(
		snprintf(path, sizeof(path), "%s/sealift-test.XXXXXX", base ? base : "/tmp"), 1,
		sizeof(path) - 1);
	assert_non_null(mkdtemp(path));
	copy = strdup(path);
	assert_non_null(copy);
	return copy;
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *where)
{
	(void)status;
	(void)type;
	(void)where;
	return remove(path);
}

void fixture_directory_remove(char *path)
{
	enum { DESCRIPTORS = 8 };

	assert_int_equal(nftw(path, remove_one, DESCRIPTORS, FTW_DEPTH | FTW_PHYS), 0);
	free(path);
}

void fixture_write(const char *path, const Buffer *contents)
{
	Error err = ERROR_INIT;

	must(file_replace(path, contents->data, contents->used, 0600, &err), &err);
}
