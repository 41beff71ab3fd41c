/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/anchor.h"

#include <assert.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/x509_vfy.h>

#include "crypto/anchor_internal.h"

enum {
	CHAIN_DEPTH_MAX = 3,	 /* intermediates between leaf and root */
	AUTH_LEVEL_128_BITS = 3, /* SSL_CTX_set_security_level(3): EC 256, RSA 3072, SHA-256 */
};

bool anchor_certificate_id(const X509 *certificate, SpiffeId *ret_id, Error *err)
{
	int critical = 0;
	AUTO_GENERAL_NAMES GENERAL_NAMES *names =
		X509_get_ext_d2i(certificate, NID_subject_alt_name, &critical, NULL);
	const GENERAL_NAME *name;

	ERR_clear_error();
	if (!names && critical == -1)
		return error_set(err, ERROR_AUTH, "certificate has no name (subjectAltName)");
	if (!names)
		return error_set(err, ERROR_AUTH, "certificate has %s subjectAltName",
				 critical == -2 ? "more than one" : "a broken");
	if (sk_GENERAL_NAME_num(names) != 1)
		return error_set(err, ERROR_AUTH, "certificate has %d names, not one",
				 sk_GENERAL_NAME_num(names));
	name = sk_GENERAL_NAME_value(names, 0);
	if (name->type != GEN_URI)
		return error_set(err, ERROR_AUTH, "certificate has no URI name, but one of type %d",
				 name->type);
	return spiffe_parse((const char *)ASN1_STRING_get0_data(name->d.uniformResourceIdentifier),
			    (size_t)ASN1_STRING_length(name->d.uniformResourceIdentifier), ret_id,
			    err);
}

static bool check_key(X509 *leaf, AnchorPurpose purpose, const char *id, Error *err)
{
	EVP_PKEY *key = X509_get0_pubkey(leaf);
	bool agree = purpose == ANCHOR_AGREE;
	char group[32] = "";
	size_t length = 0;

	if (key && EVP_PKEY_is_a(key, "EC") &&
	    EVP_PKEY_get_group_name(key, group, sizeof(group), &length) == 1 &&
	    ((!agree && !strcmp(group, "prime256v1")) || !strcmp(group, "secp384r1")))
		return true;
	if (!agree && key && EVP_PKEY_is_a(key, "RSA") && EVP_PKEY_get_bits(key) >= 3072)
		return true;
	ERR_clear_error();
	return error_set(err, ERROR_AUTH, "key of %s is %s%s of %d bits, not %s", id,
			 key ? EVP_PKEY_get0_type_name(key) : "unknown", group,
			 key ? EVP_PKEY_get_bits(key) : 0,
			 agree ? "EC P-384" : "EC P-256, P-384 or RSA >= 3072");
}

/* Nothing but key agreement: a key that signs or speaks TLS is in other hands. */
static bool check_agree_usage(uint32_t flags, uint32_t usage, const char *id, Error *err)
{
	if (usage == KU_KEY_AGREEMENT && !(flags & EXFLAG_XKUSAGE))
		return true;
	return error_set(err, ERROR_AUTH, "certificate of %s is not for key agreement alone", id);
}

static bool check_usage(X509 *leaf, AnchorPurpose purpose, const char *id, Error *err)
{
	static const uint32_t wanted[] = {
		[ANCHOR_TLS_SERVER] = XKU_SSL_SERVER,
		[ANCHOR_TLS_CLIENT] = XKU_SSL_CLIENT,
		[ANCHOR_SIGN] = 0,
		[ANCHOR_AGREE] = 0,
	};
	uint32_t flags = X509_get_extension_flags(leaf);
	uint32_t usage = flags & EXFLAG_KUSAGE ? X509_get_key_usage(leaf) : 0;
	uint32_t extended = flags & EXFLAG_XKUSAGE ? X509_get_extended_key_usage(leaf) : 0;

	static_assert(ARRAY_SIZE(wanted) == ANCHOR_PURPOSE_COUNT, "one row for each purpose");
	if (X509_check_ca(leaf))
		return error_set(err, ERROR_AUTH, "certificate of %s is one of a CA", id);
	if (purpose == ANCHOR_AGREE)
		return check_agree_usage(flags, usage, id, err);
	if (!(usage & KU_DIGITAL_SIGNATURE))
		return error_set(err, ERROR_AUTH,
				 "certificate of %s has not the key usage digitalSignature", id);
	if (purpose != ANCHOR_SIGN && !(extended & wanted[purpose]))
		return error_set(err, ERROR_AUTH, "certificate of %s is not for a TLS %s", id,
				 purpose == ANCHOR_TLS_SERVER ? "server" : "client");
	if (purpose == ANCHOR_SIGN && extended & (XKU_SSL_SERVER | XKU_SSL_CLIENT | XKU_ANYEKU))
		return error_set(err, ERROR_AUTH, "certificate of %s is for TLS, not for signing",
				 id);
	return true;
}

/* The domain whose root issued one of the certificates, NULL if none did. */
static const char *foreign_issuer(const AnchorStore *store, const AnchorDomain *own, X509 *leaf,
				  const STACK_OF(X509) * untrusted)
{
	for (size_t d = 0; d < store->n_domains; d++) {
		const STACK_OF(X509) *roots = store->domains[d]->roots;

		for (int r = 0; store->domains[d] != own && r < sk_X509_num(roots); r++) {
			if (anchor_has_issued(sk_X509_value(roots, r), leaf))
				return store->domains[d]->name;
			for (int u = 0; u < sk_X509_num(untrusted); u++)
				if (anchor_has_issued(sk_X509_value(roots, r),
						      sk_X509_value(untrusted, u)))
					return store->domains[d]->name;
		}
	}
	return NULL;
}

typedef struct ReasonRow {
	int code;
	const char *text;
} ReasonRow;

static const ReasonRow reason_table[] = {
	{ X509_V_ERR_CERT_HAS_EXPIRED, "has expired" },
	{ X509_V_ERR_CERT_NOT_YET_VALID, "is not valid yet" },
	{ X509_V_ERR_CERT_REVOKED, "is revoked" },
	{ X509_V_ERR_UNABLE_TO_GET_CRL, "cannot be trusted: there is no CRL of its issuer" },
	{ X509_V_ERR_UNABLE_TO_GET_CRL_ISSUER, "cannot be trusted: there is no CRL of its issuer" },
	{ X509_V_ERR_CRL_HAS_EXPIRED, "cannot be trusted: the CRL of its issuer is stale" },
	{ X509_V_ERR_CRL_NOT_YET_VALID,
	  "cannot be trusted: the CRL of its issuer is from the future" },
	{ X509_V_ERR_PERMITTED_VIOLATION, "has a name that its CA may not give" },
	{ X509_V_ERR_EXCLUDED_VIOLATION, "has a name that its CA may not give" },
	{ X509_V_ERR_CERT_SIGNATURE_FAILURE, "has a wrong signature" },
	{ X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, "is not issued by a root of its domain" },
	{ X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, "is not issued by a root of its domain" },
	{ X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN, "is not issued by a root of its domain" },
	{ X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, "is not issued by a root of its domain" },
	{ X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, "is not issued by a root of its domain" },
};

static const char *reason_text(int code)
{
	for (size_t i = 0; i < ARRAY_SIZE(reason_table); i++)
		if (reason_table[i].code == code)
			return reason_table[i].text;
	return X509_verify_cert_error_string(code);
}

static bool is_unknown_issuer(int code)
{
	return code == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY ||
	       code == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT ||
	       code == X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN ||
	       code == X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT ||
	       code == X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE;
}

static bool refuse(X509_STORE_CTX *context, const char *id, int64_t now_s, Error *err)
{
	int code = X509_STORE_CTX_get_error(context);
	const X509 *culprit = X509_STORE_CTX_get_current_cert(context);
	const char *what = X509_STORE_CTX_get_error_depth(context) > 0
				   ? "CA certificate in the chain of"
				   : "certificate of";
	char bound[ANCHOR_TIME_TEXT], now[ANCHOR_TIME_TEXT];

	anchor_time_text(now_s, now);
	ERR_clear_error();
	if (code == X509_V_ERR_CERT_HAS_EXPIRED && culprit)
		return error_set(
			err, ERROR_AUTH, "%s %s has expired: valid until %s, now is %s", what, id,
			anchor_time_text(anchor_time_s(X509_get0_notAfter(culprit)), bound), now);
	if (code == X509_V_ERR_CERT_NOT_YET_VALID && culprit)
		return error_set(
			err, ERROR_AUTH, "%s %s is not valid yet: valid from %s, now is %s", what,
			id, anchor_time_text(anchor_time_s(X509_get0_notBefore(culprit)), bound),
			now);
	return error_set(err, ERROR_AUTH, "%s %s %s", what, id, reason_text(code));
}

static STACK_OF(X509) * candidates(const AnchorDomain *domain, const STACK_OF(X509) * untrusted)
{
	STACK_OF(X509) *all = sk_X509_new_null();
	bool ok = all != NULL;

	for (int i = 0; ok && i < sk_X509_num(untrusted); i++)
		ok = X509_add_cert(all, sk_X509_value(untrusted, i), X509_ADD_FLAG_UP_REF) == 1;
	for (int i = 0; ok && i < sk_X509_num(domain->intermediates); i++)
		ok = X509_add_cert(all, sk_X509_value(domain->intermediates, i),
				   X509_ADD_FLAG_UP_REF) == 1;
	if (!ok) {
		openssl_free_certificates(all);
		return NULL;
	}
	return all;
}

static bool verify_chain(const AnchorStore *store, const AnchorDomain *domain, X509 *leaf,
			 STACK_OF(X509) * untrusted, int64_t now_s, AnchorPurpose purpose,
			 const char *id, Error *err)
{
	AUTO_X509_STORE_CONTEXT X509_STORE_CTX *context = X509_STORE_CTX_new();
	AUTO_X509_STACK STACK_OF(X509) *intermediates = candidates(domain, untrusted);
	X509_VERIFY_PARAM *param;
	const char *foreign;

	if (!context || !intermediates ||
	    X509_STORE_CTX_init(context, domain->trusted, leaf, intermediates) != 1 ||
	    (purpose == ANCHOR_TLS_SERVER &&
	     X509_STORE_CTX_set_purpose(context, X509_PURPOSE_SSL_SERVER) != 1) ||
	    (purpose == ANCHOR_TLS_CLIENT &&
	     X509_STORE_CTX_set_purpose(context, X509_PURPOSE_SSL_CLIENT) != 1))
		return openssl_error(err, ERROR_INTERNAL, "cannot verify a certificate");
	param = X509_STORE_CTX_get0_param(context);
	X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL |
						   X509_V_FLAG_X509_STRICT);
	X509_VERIFY_PARAM_set_time(param, (time_t)now_s);
	X509_VERIFY_PARAM_set_auth_level(param, AUTH_LEVEL_128_BITS);
	X509_VERIFY_PARAM_set_depth(param, CHAIN_DEPTH_MAX);
	if (X509_verify_cert(context) == 1 && X509_STORE_CTX_get_error(context) == X509_V_OK)
		return true;
	foreign = is_unknown_issuer(X509_STORE_CTX_get_error(context))
			  ? foreign_issuer(store, domain, leaf, untrusted)
			  : NULL;
	if (foreign)
		return error_set(
			err, ERROR_AUTH,
			"certificate of %s is not issued by a root of its domain, but of %s", id,
			foreign);
	return refuse(context, id, now_s, err);
}

bool anchor_verify_certificate(const AnchorStore *store, X509 *leaf, STACK_OF(X509) * untrusted,
			       int64_t now_s, AnchorPurpose purpose, SpiffeId *ret_id, Error *err)
{
	const AnchorDomain *domain;
	SpiffeId id;

	assert(purpose < ANCHOR_PURPOSE_COUNT);
	if (!leaf)
		return error_set(err, ERROR_AUTH, "peer shows no certificate");
	if (!anchor_certificate_id(leaf, &id, err))
		return false;
	domain = anchor_domain_find(store, id.domain);
	if (!domain)
		return error_set(err, ERROR_AUTH, "no root of the domain of %s is trusted here",
				 id.text);
	if (!check_key(leaf, purpose, id.text, err) || !check_usage(leaf, purpose, id.text, err) ||
	    !verify_chain(store, domain, leaf, untrusted, now_s, purpose, id.text, err))
		return false;
	*ret_id = id;
	return true;
}
