/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/cms.h"

#include <assert.h>

#include "base/bounds.h"
#include "crypto/cms_internal.h"
#include "crypto/pki.h"

/*
 * 2.25.N is the arc that belongs to the UUID whose number is N (ITU-T X.667, section 7): ours is
 * 1a91d0a1-3c7b-48d9-ad83-9758b94799d1. Below it, 1 is for the content types of statements.
 */
#define ARC "2.25.35317042450545229536568976643105200593.1"

typedef struct TypeRow {
	const char *word;
	const char *oid;
} TypeRow;

static const TypeRow type_table[] = {
	[CMS_CONTENT_OFFER] = { "offer", ARC ".1" },
	[CMS_CONTENT_ACCEPT] = { "accept", ARC ".2" },
	[CMS_CONTENT_READY] = { "ready", ARC ".3" },
	[CMS_CONTENT_COMMIT] = { "commit", ARC ".4" },
	[CMS_CONTENT_DECLINED] = { "declined", ARC ".5" },
	[CMS_CONTENT_ACTIVATED] = { "activated", ARC ".6" },
	[CMS_CONTENT_DESTROYED] = { "destroyed", ARC ".7" },
	[CMS_CONTENT_GRANT] = { "grant", ARC ".8" },
};
static_assert(ARRAY_SIZE(type_table) == CMS_CONTENT_TYPE_COUNT, "one row for each type");

struct CmsSigner {
	STACK_OF(X509) * chain; /* the signer's first */
	EVP_PKEY *key;
	SpiffeId id;
	int64_t not_after_s;
};

const char *cms_content_type_oid(CmsContentType type)
{
	assert(type < CMS_CONTENT_TYPE_COUNT);
	return type_table[type].oid;
}

const char *cms_content_type_word(CmsContentType type)
{
	assert(type < CMS_CONTENT_TYPE_COUNT);
	return type_table[type].word;
}

ASN1_OBJECT *cms_content_type_object(CmsContentType type, Error *err)
{
	ASN1_OBJECT *object = OBJ_txt2obj(cms_content_type_oid(type), 1);

	if (!object)
		openssl_error(err, ERROR_INTERNAL, "no memory for an object identifier");
	return object;
}

void cms_signer_free(CmsSigner *signer)
{
	if (!signer)
		return;
	openssl_free_certificates(signer->chain);
	EVP_PKEY_free(signer->key);
	free(signer);
}

const SpiffeId *cms_signer_id(const CmsSigner *signer)
{
	return &signer->id;
}

int64_t cms_signer_not_after_s(const CmsSigner *signer)
{
	return signer->not_after_s;
}

static bool check_own(CmsSigner *signer, Error *err)
{
	X509 *certificate = sk_X509_value(signer->chain, 0);
	uint32_t flags = X509_get_extension_flags(certificate);
	uint32_t extended = flags & EXFLAG_XKUSAGE ? X509_get_extended_key_usage(certificate) : 0;
	int bits = EVP_PKEY_get_bits(signer->key);

	if (!anchor_certificate_id(certificate, &signer->id, err)) {
		err->category = ERROR_CONFIG;
		return false;
	}
	if (X509_check_private_key(certificate, signer->key) != 1)
		return openssl_error(err, ERROR_CONFIG,
				     "key and certificate do not belong together");
	if (!EVP_PKEY_is_a(signer->key, "EC") || (bits != 256 && bits != 384))
		return error_set(err, ERROR_CONFIG, "signing key is not EC P-256 or P-384");
	if (!(flags & EXFLAG_KUSAGE) || !(X509_get_key_usage(certificate) & KU_DIGITAL_SIGNATURE) ||
	    extended & (XKU_SSL_SERVER | XKU_SSL_CLIENT | XKU_ANYEKU))
		return error_set(err, ERROR_CONFIG, "certificate of %s is not one for signing",
				 signer->id.text);
	signer->not_after_s = anchor_time_s(X509_get0_notAfter(certificate));
	return true;
}

CmsSigner *cms_signer_load(const void *chain_pem, size_t chain_size, const void *key_pem,
			   size_t key_size, Error *err)
{
	AUTO_CMS_SIGNER CmsSigner *signer = calloc(1, sizeof(*signer));

	if (!signer) {
		error_set(err, ERROR_INTERNAL, "no memory for a signer");
		return NULL;
	}
	if (chain_size > LIMIT_PEM || key_size > LIMIT_PEM) {
		error_set(err, ERROR_CONFIG, "chain of %zu, key of %zu bytes: each may have %d",
			  chain_size, key_size, LIMIT_PEM);
		return NULL;
	}
	signer->chain = openssl_read_certificates(chain_pem, chain_size, CMS_CERTIFICATES_MAX, err);
	signer->key = signer->chain ? pki_get_key(key_pem, key_size, err) : NULL;
	if (!signer->key || !check_own(signer, err))
		return NULL;
	return TAKE_PTR(signer);
}

/* Our own statements hold no S/MIME capabilities, and the chain without its first certificate,
 * which CMS_add1_signer puts in. */
static CMS_ContentInfo *make_signed(const CmsSigner *signer, const ASN1_OBJECT *type, BIO *content)
{
	const unsigned int flags = CMS_BINARY | CMS_PARTIAL | CMS_NOSMIMECAP | CMS_CADES;
	AUTO_CMS_CONTENT CMS_ContentInfo *cms =
		CMS_sign(NULL, NULL, NULL, NULL, CMS_BINARY | CMS_PARTIAL);
	bool ok = cms && CMS_set1_eContentType(cms, type) == 1 &&
		  CMS_add1_signer(cms, sk_X509_value(signer->chain, 0), signer->key, EVP_sha384(),
				  flags);

	for (int i = 1; ok && i < sk_X509_num(signer->chain); i++)
		ok = CMS_add1_cert(cms, sk_X509_value(signer->chain, i)) == 1;
	if (!ok || CMS_final(cms, content, NULL, flags) != 1)
		return NULL;
	return TAKE_PTR(cms);
}

bool cms_sign(const CmsSigner *signer, CmsContentType type, const void *json, size_t size,
	      Buffer *buffer, Error *err)
{
	AUTO_ASN1_OBJECT ASN1_OBJECT *object = cms_content_type_object(type, err);
	AUTO_BIO BIO *content = NULL;
	AUTO_CMS_CONTENT CMS_ContentInfo *cms = NULL;
	uint8_t *der = NULL;
	int length;
	bool ok;

	if (!object)
		return false;
	if (!size || size > LIMIT_STATEMENT_JSON)
		return error_set(err, ERROR_LIMIT, "statement of %zu bytes, not 1..%d", size,
				 LIMIT_STATEMENT_JSON);
	content = openssl_view(json, size, err);
	if (!content)
		return false;
	cms = make_signed(signer, object, content);
	length = cms ? i2d_CMS_ContentInfo(cms, &der) : -1;
	if (length <= 0)
		return openssl_error(err, ERROR_INTERNAL, "cannot sign");
	if (length > LIMIT_STATEMENT)
		ok = error_set(err, ERROR_LIMIT, "signed statement of %d bytes is longer than %d",
			       length, LIMIT_STATEMENT);
	else
		ok = buffer_put(buffer, der, (size_t)length, err);
	OPENSSL_free(der);
	return ok;
}
