/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The strict side of statements. CMS_verify alone does not compare the content type with the signed
 * attribute, nor look at the signature algorithm, and its CAdES mode judges certificates by its own
 * rules and clock; so each rule stands here, and CMS_verify is left with the two digests and
 * the signature.
 */
#include "crypto/cms.h"

#include <assert.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/ess.h>

#include "base/bounds.h"
#include "crypto/cms_internal.h"

static CMS_ContentInfo *decode(const uint8_t *der, size_t size, Error *err)
{
	const uint8_t *end = der;
	AUTO_CMS_CONTENT CMS_ContentInfo *cms = d2i_CMS_ContentInfo(NULL, &end, (long)size);
	uint8_t *again = NULL;
	int length;
	bool same;

	if (!cms) {
		openssl_error(err, ERROR_AUTH, "not a CMS message");
		return NULL;
	}
	if (end != der + size) {
		error_set(err, ERROR_AUTH, "%zu bytes after the CMS message",
			  size - (size_t)(end - der));
		return NULL;
	}
	length = i2d_CMS_ContentInfo(cms, &again);
	same = length > 0 && (size_t)length == size && !memcmp(again, der, size);
	OPENSSL_free(again);
	if (!same) {
		ERR_clear_error();
		error_set(err, ERROR_AUTH, "CMS message is not canonical DER");
		return NULL;
	}
	return TAKE_PTR(cms);
}

/* What is expected of a message, and the objects that stand for it. */
typedef struct Expected {
	const CmsType *type;
	SpiffeRole role;
	const uint8_t *permit; /* NULL: it must have none */
	const ASN1_OBJECT *type_object, *permit_object;
} Expected;

static bool check_content(CMS_ContentInfo *cms, const Expected *expected, Error *err)
{
	const CmsType *type = expected->type;
	char found[128] = "?";
	ASN1_OCTET_STRING **content;

	if (OBJ_obj2nid(CMS_get0_type(cms)) != NID_pkcs7_signed)
		return error_set(err, ERROR_AUTH, "CMS message is not SignedData");
	if (OBJ_cmp(CMS_get0_eContentType(cms), expected->type_object)) {
		OBJ_obj2txt(found, sizeof(found), CMS_get0_eContentType(cms), 1);
		return error_set(err, ERROR_AUTH, "content type is %s, not %s (%s)", found,
				 type->oid, type->word);
	}
	content = CMS_get0_content(cms);
	if (!content || !*content)
		return error_set(err, ERROR_AUTH, "CMS message has no content inside");
	if (!ASN1_STRING_length(*content) || ASN1_STRING_length(*content) > type->content_max)
		return error_set(err, ERROR_LIMIT, "%s of %d bytes, not 1..%d", type->word,
				 ASN1_STRING_length(*content), type->content_max);
	return true;
}

/* Whether it is there; false with an error if it is there more than once. */
static bool find_attribute(const CMS_SignerInfo *signer, const ASN1_OBJECT *type, const char *name,
			   bool *ret_found, Error *err)
{
	int at = CMS_signed_get_attr_by_OBJ(signer, type, -1);

	*ret_found = at >= 0;
	if (at >= 0 && (CMS_signed_get_attr_by_OBJ(signer, type, at) >= 0 ||
			X509_ATTRIBUTE_count(CMS_signed_get_attr(signer, at)) != 1))
		return error_set(err, ERROR_AUTH, "CMS message has signed attribute %s twice",
				 name);
	return true;
}

/* Known attributes, each once: one that a later reader might heed is no harmless extra. */
static bool check_attributes(const CMS_SignerInfo *signer, const Expected *expected, Error *err)
{
	static const int required[] = { NID_pkcs9_contentType, NID_pkcs9_messageDigest,
					NID_id_smime_aa_signingCertificateV2 };
	int count = 0;
	bool found;

	if (CMS_signed_get_attr_count(signer) < (int)ARRAY_SIZE(required))
		return error_set(err, ERROR_AUTH,
				 "CMS message has not the signed attributes it needs");
	if (CMS_unsigned_get_attr_count(signer) > 0)
		return error_set(err, ERROR_AUTH, "CMS message has unsigned attributes");
	for (size_t i = 0; i < ARRAY_SIZE(required); i++, count++) {
		const char *name = OBJ_nid2sn(required[i]);

		if (!find_attribute(signer, OBJ_nid2obj(required[i]), name, &found, err))
			return false;
		if (!found)
			return error_set(err, ERROR_AUTH, "CMS message has no signed attribute %s",
					 name);
	}
	if (!find_attribute(signer, OBJ_nid2obj(NID_pkcs9_signingTime), "signingTime", &found, err))
		return false;
	count += found;
	if (expected->permit &&
	    !find_attribute(signer, expected->permit_object, "permit", &found, err))
		return false;
	if (expected->permit && !found)
		return error_set(err, ERROR_AUTH, "CMS message has no signed attribute permit");
	count += expected->permit != NULL;
	if (count != CMS_signed_get_attr_count(signer))
		return error_set(err, ERROR_AUTH,
				 "CMS message has a signed attribute that is not known");
	return true;
}

/* Its one value; the digest is no secret. */
static bool check_permit(const CMS_SignerInfo *signer, const Expected *expected, Error *err)
{
	const ASN1_OCTET_STRING *value = CMS_signed_get0_data_by_OBJ(
		signer, expected->permit_object, -3, V_ASN1_OCTET_STRING);

	if (!value || ASN1_STRING_length(value) != CMS_PERMIT_BYTES)
		return error_set(err, ERROR_AUTH, "attribute permit is not an OCTET STRING of %d",
				 CMS_PERMIT_BYTES);
	if (memcmp(ASN1_STRING_get0_data(value), expected->permit, CMS_PERMIT_BYTES))
		return error_set(err, ERROR_AUTH, "%s was made for another permit",
				 expected->type->word);
	return true;
}

static bool check_algorithms(CMS_SignerInfo *signer, Error *err)
{
	X509_ALGOR *digest = NULL, *signature = NULL;
	const ASN1_OBJECT *digest_type, *signature_type;
	int digest_param, signature_param;

	CMS_SignerInfo_get0_algs(signer, NULL, NULL, &digest, &signature);
	X509_ALGOR_get0(&digest_type, &digest_param, NULL, digest);
	X509_ALGOR_get0(&signature_type, &signature_param, NULL, signature);
	/* RFC 5754: the parameters of SHA-384 absent (or NULL), of ecdsa-with-SHA384 absent. */
	if (OBJ_obj2nid(digest_type) != NID_sha384 ||
	    (digest_param != V_ASN1_UNDEF && digest_param != V_ASN1_NULL))
		return error_set(err, ERROR_AUTH, "digest is %s, not SHA384",
				 OBJ_nid2sn(OBJ_obj2nid(digest_type)));
	if (OBJ_obj2nid(signature_type) != NID_ecdsa_with_SHA384 || signature_param != V_ASN1_UNDEF)
		return error_set(err, ERROR_AUTH, "signature is %s, not ecdsa-with-SHA384",
				 OBJ_nid2sn(OBJ_obj2nid(signature_type)));
	return true;
}

static bool check_signed_type(const CMS_SignerInfo *signer, const ASN1_OBJECT *type, Error *err)
{
	const ASN1_OBJECT *signed_type = CMS_signed_get0_data_by_OBJ(
		signer, OBJ_nid2obj(NID_pkcs9_contentType), -3, V_ASN1_OBJECT);

	if (!signed_type || OBJ_cmp(signed_type, type))
		return error_set(err, ERROR_AUTH,
				 "signed content type differs from that of the content");
	return true;
}

/* signingCertificateV2 must name the certificate that is used, so that no other one with the same
 * key can be put in its place. */
static bool check_signing_certificate(const CMS_SignerInfo *signer, X509 *leaf, Error *err)
{
	const ASN1_STRING *value = CMS_signed_get0_data_by_OBJ(
		signer, OBJ_nid2obj(NID_id_smime_aa_signingCertificateV2), -3, V_ASN1_SEQUENCE);
	AUTO_X509_STACK STACK_OF(X509) *chain = sk_X509_new_null();
	ESS_SIGNING_CERT_V2 *named = NULL;
	const uint8_t *end;
	bool ok = false;

	if (!chain || X509_add_cert(chain, leaf, X509_ADD_FLAG_UP_REF) != 1)
		return openssl_error(err, ERROR_INTERNAL, "no memory for a certificate");
	if (value) {
		end = ASN1_STRING_get0_data(value);
		named = d2i_ESS_SIGNING_CERT_V2(NULL, &end, ASN1_STRING_length(value));
		ok = named && end == ASN1_STRING_get0_data(value) + ASN1_STRING_length(value) &&
		     OSSL_ESS_check_signing_certs(NULL, named, chain, 1) == 1;
	}
	ESS_SIGNING_CERT_V2_free(named);
	ERR_clear_error();
	return ok || error_set(err, ERROR_AUTH, "signed attribute names another certificate");
}

/* Byte by byte, where OpenSSL's comparison of names knows no case. */
static bool is_named_exactly(CMS_SignerInfo *signer, X509 *certificate)
{
	X509_NAME *name = NULL;
	const uint8_t *a, *b;
	size_t a_size, b_size;

	return !CMS_SignerInfo_cert_cmp(signer, certificate) &&
	       CMS_SignerInfo_get0_signer_id(signer, NULL, &name, NULL) == 1 && name &&
	       X509_NAME_get0_der(name, &a, &a_size) == 1 &&
	       X509_NAME_get0_der(X509_get_issuer_name(certificate), &b, &b_size) == 1 &&
	       a_size == b_size && !memcmp(a, b, a_size);
}

/* The certificate of the signer; the others, which must be those of CAs, are left in the stack. */
static X509 *find_leaf(CMS_SignerInfo *signer, const STACK_OF(X509) * certificates, Error *err)
{
	X509 *leaf = NULL;

	for (int i = 0; i < sk_X509_num(certificates); i++) {
		X509 *certificate = sk_X509_value(certificates, i);

		if (!leaf && is_named_exactly(signer, certificate)) {
			leaf = certificate;
		} else if (X509_check_ca(certificate) != 1) {
			error_set(err, ERROR_AUTH,
				  "CMS message has a certificate that is of no use");
			return NULL;
		}
	}
	if (!leaf)
		error_set(err, ERROR_AUTH, "CMS message has not its signer's certificate");
	return leaf;
}

static CMS_SignerInfo *only_signer(CMS_ContentInfo *cms, Error *err)
{
	STACK_OF(CMS_SignerInfo) *signers = CMS_get0_SignerInfos(cms);
	STACK_OF(X509_CRL) *crls = CMS_get1_crls(cms);
	bool has_crls = crls != NULL;

	openssl_free_crls(crls);
	if (sk_CMS_SignerInfo_num(signers) != 1) {
		error_set(err, ERROR_AUTH, "CMS message has %d signers, not one",
			  signers ? sk_CMS_SignerInfo_num(signers) : 0);
		return NULL;
	}
	if (has_crls) {
		error_set(err, ERROR_AUTH, "CMS message brings CRLs");
		return NULL;
	}
	return sk_CMS_SignerInfo_value(signers, 0);
}

/* What the signer says, whoever that is. */
static bool check_said(CMS_SignerInfo *signer, const Expected *expected, Error *err)
{
	return check_attributes(signer, expected, err) && check_algorithms(signer, err) &&
	       check_signed_type(signer, expected->type_object, err) &&
	       (!expected->permit || check_permit(signer, expected, err));
}

static bool check_signer(CMS_ContentInfo *cms, const AnchorStore *store, int64_t now_s,
			 const Expected *expected, SpiffeId *ret_signer, Error *err)
{
	CMS_SignerInfo *signer = only_signer(cms, err);
	AUTO_X509_STACK STACK_OF(X509) *certificates = CMS_get1_certs(cms);
	X509 *leaf;

	if (!signer)
		return false;
	if (!certificates || sk_X509_num(certificates) > CMS_CERTIFICATES_MAX)
		return error_set(err, ERROR_AUTH, "CMS message has %d certificates, not 1..%d",
				 certificates ? sk_X509_num(certificates) : 0,
				 CMS_CERTIFICATES_MAX);
	if (!check_said(signer, expected, err))
		return false;
	leaf = find_leaf(signer, certificates, err);
	if (!leaf || !check_signing_certificate(signer, leaf, err) ||
	    !anchor_verify_certificate(store, leaf, certificates, now_s, ANCHOR_SIGN, ret_signer,
				       err))
		return false;
	if (ret_signer->role != expected->role)
		return error_set(err, ERROR_AUTH, "%s signed what only a%s %s may sign",
				 ret_signer->text, expected->role == SPIFFE_AUTHORITY ? "n" : "",
				 spiffe_role_word(expected->role));
	if (expected->type->p384 && !cms_is_p384(X509_get0_pubkey(leaf)))
		return error_set(err, ERROR_AUTH, "signing key of %s is not EC P-384",
				 ret_signer->text);
	return true;
}

/* The certificate was judged already, the content is taken from the message itself. */
static bool check_signature(CMS_ContentInfo *cms, Error *err)
{
	if (CMS_verify(cms, NULL, NULL, NULL, NULL,
		       CMS_BINARY | CMS_NO_SIGNER_CERT_VERIFY | CMS_NOCRL) == 1)
		return true;
	return openssl_error(err, ERROR_AUTH, "signature does not verify");
}

static bool verify(const AnchorStore *store, int64_t now_s, const void *der, size_t size,
		   const Expected *expected, SpiffeId *ret_signer, Buffer *buffer, Error *err)
{
	AUTO_CMS_CONTENT CMS_ContentInfo *cms = NULL;
	const ASN1_OCTET_STRING *content;
	SpiffeId signer;

	if (!size || size > (size_t)expected->type->der_max)
		return error_set(err, ERROR_LIMIT, "CMS message of %zu bytes, not 1..%d", size,
				 expected->type->der_max);
	cms = decode(der, size, err);
	if (!cms || !check_content(cms, expected, err) || !cms_check_encoding(der, size, err) ||
	    !check_signer(cms, store, now_s, expected, &signer, err) || !check_signature(cms, err))
		return false;
	content = *CMS_get0_content(cms);
	if (!buffer_put(buffer, ASN1_STRING_get0_data(content), (size_t)ASN1_STRING_length(content),
			err))
		return false;
	*ret_signer = signer;
	return true;
}

bool cms_verify(const AnchorStore *store, int64_t now_s, const void *der, size_t size,
		CmsContentType expected, SpiffeRole expected_role, SpiffeId *ret_signer,
		Buffer *buffer, Error *err)
{
	const CmsType *type = cms_type(expected);
	AUTO_ASN1_OBJECT ASN1_OBJECT *object = cms_object(type->oid, err);
	const Expected all = { .type = type, .role = expected_role, .type_object = object };

	assert(!type->is_package);
	return object && verify(store, now_s, der, size, &all, ret_signer, buffer, err);
}

bool cms_verify_package(const AnchorStore *store, int64_t now_s, const void *der, size_t size,
			const uint8_t permit[CMS_PERMIT_BYTES], SpiffeId *ret_signer,
			Buffer *buffer, Error *err)
{
	const CmsType *type = cms_type(CMS_CONTENT_KEY_PACKAGE);
	AUTO_ASN1_OBJECT ASN1_OBJECT *object = cms_object(type->oid, err);
	AUTO_ASN1_OBJECT ASN1_OBJECT *attribute = object ? cms_object(cms_permit_oid, err) : NULL;
	const Expected all = { type, SPIFFE_KEYD, permit, object, attribute };

	return attribute && verify(store, now_s, der, size, &all, ret_signer, buffer, err);
}

/* --- what was made here --- */

static bool has_chain(CMS_ContentInfo *cms, const STACK_OF(X509) * chain)
{
	AUTO_X509_STACK STACK_OF(X509) *found = CMS_get1_certs(cms);
	bool same = found && sk_X509_num(found) == sk_X509_num(chain);

	/* DER sorts a SET: in whatever order. */
	for (int i = 0; same && i < sk_X509_num(chain); i++) {
		bool there = false;

		for (int j = 0; !there && j < sk_X509_num(found); j++)
			there = !X509_cmp(sk_X509_value(found, j), sk_X509_value(chain, i));
		same = there;
	}
	return same;
}

static bool check_made(const CmsMade *made, const Expected *expected, Error *err)
{
	AUTO_CMS_CONTENT CMS_ContentInfo *cms = decode(made->der, made->der_size, err);
	X509 *leaf = sk_X509_value(made->chain, 0);
	const ASN1_OCTET_STRING *content;
	CMS_SignerInfo *signer;

	if (!cms || !check_content(cms, expected, err) ||
	    !cms_check_encoding(made->der, made->der_size, err))
		return false;
	content = *CMS_get0_content(cms);
	if ((size_t)ASN1_STRING_length(content) != made->size ||
	    memcmp(ASN1_STRING_get0_data(content), made->content, made->size))
		return error_set(err, ERROR_AUTH, "it has another content");
	signer = only_signer(cms, err);
	if (!signer || !check_said(signer, expected, err))
		return false;
	if (!has_chain(cms, made->chain) || !is_named_exactly(signer, leaf))
		return error_set(err, ERROR_AUTH, "it has other certificates");
	return check_signing_certificate(signer, leaf, err) &&
	       (!expected->type->is_package || check_signature(cms, err));
}

bool cms_check_made(const CmsMade *made, Error *err)
{
	AUTO_ASN1_OBJECT ASN1_OBJECT *object = cms_object(made->type->oid, err);
	AUTO_ASN1_OBJECT ASN1_OBJECT *attribute = object ? cms_object(cms_permit_oid, err) : NULL;
	const Expected expected = { .type = made->type,
				    .permit = made->permit,
				    .type_object = object,
				    .permit_object = attribute };

	if (attribute && check_made(made, &expected, err))
		return true;
	/* Nobody but our own library is to blame. */
	err->category = ERROR_INTERNAL;
	return error_prefix(err, "what was signed is not whole");
}
