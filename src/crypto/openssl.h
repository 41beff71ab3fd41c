/* SPDX-License-Identifier: Apache-2.0 */
/* OpenSSL's objects as resources of a scope, and its error queue as one Error. */
#ifndef SEALIFT_CRYPTO_OPENSSL_H
#define SEALIFT_CRYPTO_OPENSSL_H

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/cms.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

#include "base/cleanup.h"
#include "base/error.h"

static inline void openssl_free_certificates(STACK_OF(X509) * stack)
{
	sk_X509_pop_free(stack, X509_free);
}
static inline void openssl_free_crls(STACK_OF(X509_CRL) * stack)
{
	sk_X509_CRL_pop_free(stack, X509_CRL_free);
}

DEFINE_CLEANUP(ASN1_INTEGER, asn1_integer, ASN1_INTEGER_free)
DEFINE_CLEANUP(ASN1_OBJECT, asn1_object, ASN1_OBJECT_free)
DEFINE_CLEANUP(ASN1_TIME, asn1_time, ASN1_STRING_free)
DEFINE_CLEANUP(BIGNUM, bignum, BN_free)
DEFINE_CLEANUP(BIO, bio, BIO_free_all)
DEFINE_CLEANUP(CMS_ContentInfo, cms_content, CMS_ContentInfo_free)
DEFINE_CLEANUP(EVP_KDF, evp_kdf, EVP_KDF_free)
DEFINE_CLEANUP(EVP_KDF_CTX, evp_kdf_context, EVP_KDF_CTX_free)
DEFINE_CLEANUP(EVP_MD_CTX, evp_md_context, EVP_MD_CTX_free)
DEFINE_CLEANUP(EVP_PKEY, evp_pkey, EVP_PKEY_free)
DEFINE_CLEANUP(EVP_PKEY_CTX, evp_pkey_context, EVP_PKEY_CTX_free)
DEFINE_CLEANUP(GENERAL_NAMES, general_names, GENERAL_NAMES_free)
DEFINE_CLEANUP(X509, x509, X509_free)
DEFINE_CLEANUP(X509_CRL, x509_crl, X509_CRL_free)
DEFINE_CLEANUP(X509_STORE, x509_store, X509_STORE_free)
DEFINE_CLEANUP(X509_STORE_CTX, x509_store_context, X509_STORE_CTX_free)
DEFINE_CLEANUP(STACK_OF(X509), x509_stack, openssl_free_certificates)
DEFINE_CLEANUP(STACK_OF(X509_CRL), x509_crl_stack, openssl_free_crls)

#define AUTO_ASN1_INTEGER	CLEANUP(asn1_integer_cleanup)
#define AUTO_ASN1_OBJECT	CLEANUP(asn1_object_cleanup)
#define AUTO_ASN1_TIME		CLEANUP(asn1_time_cleanup)
#define AUTO_BIGNUM		CLEANUP(bignum_cleanup)
#define AUTO_BIO		CLEANUP(bio_cleanup)
#define AUTO_CMS_CONTENT	CLEANUP(cms_content_cleanup)
#define AUTO_EVP_KDF		CLEANUP(evp_kdf_cleanup)
#define AUTO_EVP_KDF_CONTEXT	CLEANUP(evp_kdf_context_cleanup)
#define AUTO_EVP_MD_CONTEXT	CLEANUP(evp_md_context_cleanup)
#define AUTO_EVP_PKEY		CLEANUP(evp_pkey_cleanup)
#define AUTO_EVP_PKEY_CONTEXT	CLEANUP(evp_pkey_context_cleanup)
#define AUTO_GENERAL_NAMES	CLEANUP(general_names_cleanup)
#define AUTO_X509		CLEANUP(x509_cleanup)
#define AUTO_X509_CRL		CLEANUP(x509_crl_cleanup)
#define AUTO_X509_STORE		CLEANUP(x509_store_cleanup)
#define AUTO_X509_STORE_CONTEXT CLEANUP(x509_store_context_cleanup)
#define AUTO_X509_STACK		CLEANUP(x509_stack_cleanup)
#define AUTO_X509_CRL_STACK	CLEANUP(x509_crl_stack_cleanup)

/* error_set with `what`, followed by the reason of OpenSSL's last error if there is one; empties
 * the calling thread's error queue. Returns false always. */
bool openssl_error(Error *err, ErrorCategory category, const char *what);

/* Overwrites 16 KiB of the stack below the caller's frame. For what nobody else wipes there: registers
 * that compilers spill, and that the dynamic loader saves while it looks up a function (in a program
 * that is not linked with -z now, the last 48 bytes that were copied were found there). */
void openssl_wipe_stack(void);

/* For OpenSSL's PEM readers: never ask on the terminal for a pass phrase. */
int openssl_no_password(char *buffer, int size, int writing, void *context);

/* A read-only view of bytes; NULL with ERROR_INTERNAL or, above INT_MAX bytes, ERROR_LIMIT. */
MUST_CHECK BIO *openssl_view(const void *data, size_t size, Error *err);

/* Every certificate of a PEM file, at least one and at most `max`, text around them passed over; a
 * key or anything else in PEM form is passed over too. ERROR_CONFIG. Owned by the caller. */
MUST_CHECK STACK_OF(X509) *
	openssl_read_certificates(const void *pem, size_t size, int max, Error *err);

#endif
