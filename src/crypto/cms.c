/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/cms.h"

#include <assert.h>
#include <string.h>

#include <openssl/err.h>

#include "base/bounds.h"
#include "crypto/cms_internal.h"
#include "crypto/pki.h"

/*
 * 2.25.N is the arc that belongs to the UUID whose number is N (ITU-T X.667, section 7): ours is
 * 1a91d0a1-3c7b-48d9-ad83-9758b94799d1. Below it, 1 is for content types, 2 for attributes.
 */
#define UUID_ARC "2.25.35317042450545229536568976643105200593"

const char cms_permit_oid[] = UUID_ARC ".2.1";

#define STATEMENT(text, number)                                                                    \
	{                                                                                          \
		.word = (text), .oid = UUID_ARC ".1." number,                                      \
		.content_max = LIMIT_STATEMENT_JSON, .der_max = LIMIT_STATEMENT                    \
	}
#define KEY_STATEMENT(text, number)                                                                \
	{                                                                                          \
		.word = (text), .oid = UUID_ARC ".1." number,                                      \
		.content_max = LIMIT_STATEMENT_JSON, .der_max = LIMIT_STATEMENT, .p384 = true      \
	}
static const CmsType type_table[] = {
	[CMS_CONTENT_OFFER] = STATEMENT("offer", "1"),
	[CMS_CONTENT_ACCEPT] = STATEMENT("accept", "2"),
	[CMS_CONTENT_READY] = STATEMENT("ready", "3"),
	[CMS_CONTENT_COMMIT] = STATEMENT("commit", "4"),
	[CMS_CONTENT_DECLINED] = STATEMENT("declined", "5"),
	[CMS_CONTENT_ACTIVATED] = STATEMENT("activated", "6"),
	[CMS_CONTENT_DESTROYED] = STATEMENT("destroyed", "7"),
	[CMS_CONTENT_GRANT] = STATEMENT("grant", "8"),
	[CMS_CONTENT_KEY_PACKAGE] = { "key-package", UUID_ARC ".1.9", LIMIT_ENVELOPE, LIMIT_PACKAGE,
				      true, true },
	[CMS_CONTENT_KEY_OFFER] = KEY_STATEMENT("key-offer", "10"),
	[CMS_CONTENT_KEY_RECEIPT] = KEY_STATEMENT("key-receipt", "11"),
};
static_assert(ARRAY_SIZE(type_table) == CMS_CONTENT_TYPE_COUNT, "one row for each type");

struct CmsSigner {
	STACK_OF(X509) * chain; /* the signer's first */
	EVP_PKEY *key;
	SpiffeId id;
	int64_t not_after_s;
};

const CmsType *cms_type(CmsContentType type)
{
	assert(type < CMS_CONTENT_TYPE_COUNT);
	return &type_table[type];
}

const char *cms_content_type_oid(CmsContentType type)
{
	return cms_type(type)->oid;
}

const char *cms_content_type_word(CmsContentType type)
{
	return cms_type(type)->word;
}

ASN1_OBJECT *cms_object(const char *oid, Error *err)
{
	AUTO_ASN1_OBJECT ASN1_OBJECT *object = OBJ_txt2obj(oid, 1);
	char text[128] = "";

	/* OpenSSL 3.0 gives another object when it has no memory for our long number. */
	if (!object || OBJ_obj2txt(text, sizeof(text), object, 1) <= 0 || strcmp(text, oid)) {
		openssl_error(err, ERROR_INTERNAL, "no memory for an object identifier");
		return NULL;
	}
	return TAKE_PTR(object);
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

bool cms_is_p384(const EVP_PKEY *key)
{
	char group[32] = "";
	size_t length = 0;
	bool is = key && EVP_PKEY_is_a(key, "EC") &&
		  EVP_PKEY_get_group_name(key, group, sizeof(group), &length) == 1 &&
		  !strcmp(group, "secp384r1");

	ERR_clear_error();
	return is;
}

bool cms_load_pair(const void *chain_pem, size_t chain_size, const void *key_pem, size_t key_size,
		   STACK_OF(X509) * *ret_chain, EVP_PKEY **ret_key, SpiffeId *ret_id, Error *err)
{
	X509 *certificate;

	if (chain_size > LIMIT_PEM || key_size > LIMIT_PEM)
		return error_set(err, ERROR_CONFIG,
				 "chain of %zu, key of %zu bytes: each may have %d", chain_size,
				 key_size, LIMIT_PEM);
	*ret_chain = openssl_read_certificates(chain_pem, chain_size, CMS_CERTIFICATES_MAX, err);
	*ret_key = *ret_chain ? pki_get_key(key_pem, key_size, err) : NULL;
	if (!*ret_key)
		return false;
	certificate = sk_X509_value(*ret_chain, 0);
	if (!anchor_certificate_id(certificate, ret_id, err)) {
		err->category = ERROR_CONFIG;
		return false;
	}
	return X509_check_private_key(certificate, *ret_key) == 1 ||
	       openssl_error(err, ERROR_CONFIG, "key and certificate do not belong together");
}

static bool check_own(CmsSigner *signer, Error *err)
{
	X509 *certificate = sk_X509_value(signer->chain, 0);
	uint32_t flags = X509_get_extension_flags(certificate);
	uint32_t extended = flags & EXFLAG_XKUSAGE ? X509_get_extended_key_usage(certificate) : 0;
	int bits = EVP_PKEY_get_bits(signer->key);

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
	if (!cms_load_pair(chain_pem, chain_size, key_pem, key_size, &signer->chain, &signer->key,
			   &signer->id, err) ||
	    !check_own(signer, err))
		return NULL;
	return TAKE_PTR(signer);
}

/* Our own statements hold no S/MIME capabilities, and the chain without its first certificate,
 * which CMS_add1_signer puts in. */
static bool add_permit(CMS_SignerInfo *info, const uint8_t *permit)
{
	Error err = ERROR_INIT; /* the caller has one reason for all */
	AUTO_ASN1_OBJECT ASN1_OBJECT *type = cms_object(cms_permit_oid, &err);

	return type && CMS_signed_add1_attr_by_OBJ(info, type, V_ASN1_OCTET_STRING, permit,
						   CMS_PERMIT_BYTES) == 1;
}

static CMS_ContentInfo *make_signed(const CmsSigner *signer, const ASN1_OBJECT *type,
				    const uint8_t *permit, BIO *content)
{
	const unsigned int flags = CMS_BINARY | CMS_PARTIAL | CMS_NOSMIMECAP | CMS_CADES;
	AUTO_CMS_CONTENT CMS_ContentInfo *cms =
		CMS_sign(NULL, NULL, NULL, NULL, CMS_BINARY | CMS_PARTIAL);
	CMS_SignerInfo *info = NULL;
	bool ok = cms && CMS_set1_eContentType(cms, type) == 1 &&
		  (info = CMS_add1_signer(cms, sk_X509_value(signer->chain, 0), signer->key,
					  EVP_sha384(), flags));

	if (ok && permit)
		ok = add_permit(info, permit);
	for (int i = 1; ok && i < sk_X509_num(signer->chain); i++)
		ok = CMS_add1_cert(cms, sk_X509_value(signer->chain, i)) == 1;
	if (!ok || CMS_final(cms, content, NULL, flags) != 1)
		return NULL;
	return TAKE_PTR(cms);
}

/* Looked at before it is handed out. */
static bool put_made(const CmsMade *made, Buffer *buffer, Error *err)
{
	if (made->der_size > (size_t)made->type->der_max)
		return error_set(err, ERROR_LIMIT, "signed %s of %zu bytes is longer than %d",
				 made->type->word, made->der_size, made->type->der_max);
	return cms_check_made(made, err) && buffer_put(buffer, made->der, made->der_size, err);
}

/* permit is NULL for what has none. */
static bool sign(const CmsSigner *signer, const CmsType *type, const uint8_t *permit,
		 const void *bytes, size_t size, Buffer *buffer, Error *err)
{
	AUTO_ASN1_OBJECT ASN1_OBJECT *object = cms_object(type->oid, err);
	AUTO_BIO BIO *content = NULL;
	AUTO_CMS_CONTENT CMS_ContentInfo *cms = NULL;
	uint8_t *der = NULL;
	int length;
	bool ok;

	if (!object)
		return false;
	if (type->p384 && !cms_is_p384(signer->key))
		return error_set(err, ERROR_CONFIG, "signing key of %s is not EC P-384",
				 signer->id.text);
	if (!size || size > (size_t)type->content_max)
		return error_set(err, ERROR_LIMIT, "%s of %zu bytes, not 1..%d", type->word, size,
				 type->content_max);
	content = openssl_view(bytes, size, err);
	if (!content)
		return false;
	cms = make_signed(signer, object, permit, content);
	length = cms ? i2d_CMS_ContentInfo(cms, &der) : -1;
	if (length <= 0)
		return openssl_error(err, ERROR_INTERNAL, "cannot sign");
	ok = put_made(&(CmsMade){ type, permit, signer->chain, bytes, size, der, (size_t)length },
		      buffer, err);
	OPENSSL_free(der);
	return ok;
}

bool cms_sign(const CmsSigner *signer, CmsContentType type, const void *json, size_t size,
	      Buffer *buffer, Error *err)
{
	assert(!cms_type(type)->is_package);
	return sign(signer, cms_type(type), NULL, json, size, buffer, err);
}

bool cms_sign_package(const CmsSigner *signer, const uint8_t permit[CMS_PERMIT_BYTES],
		      const void *envelope, size_t size, Buffer *buffer, Error *err)
{
	return sign(signer, cms_type(CMS_CONTENT_KEY_PACKAGE), permit, envelope, size, buffer, err);
}
