/* SPDX-License-Identifier: Apache-2.0 */
#include "keys/network_tls.h"

#include <openssl/err.h>
#include <openssl/pem.h>

#include "crypto/openssl.h"

#define STRONG_CIPHERS                                                                             \
	"ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"                               \
	"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256"
/* Never without forward secrecy: what was recorded would open with the server's key alone. */
#define WEAK_CIPHERS                                                                               \
	":ECDHE-ECDSA-AES256-SHA384:ECDHE-RSA-AES256-SHA384:"                                      \
	"ECDHE-ECDSA-AES128-SHA256:ECDHE-RSA-AES128-SHA256"

bool network_tls_narrow(SSL_CTX *tls, bool weak_ciphers)
{
	SSL_CTX_set_session_cache_mode(tls, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_options(tls, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION |
					 SSL_OP_NO_COMPRESSION | SSL_OP_CLEANSE_PLAINTEXT);
	/* A peer that sends session tickets without end must not keep us inside of one SSL_read. */
	SSL_CTX_clear_mode(tls, SSL_MODE_AUTO_RETRY);
	SSL_CTX_set_verify(tls, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_max_cert_list(tls, LIMIT_PEM);
	SSL_CTX_set_security_level(tls, 2);
	return SSL_CTX_set_min_proto_version(tls, TLS1_2_VERSION) == 1 &&
	       SSL_CTX_set_cipher_list(tls, weak_ciphers ? STRONG_CIPHERS WEAK_CIPHERS
							 : STRONG_CIPHERS) == 1 &&
	       SSL_CTX_set_ciphersuites(tls, "TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256") ==
		       1 &&
	       SSL_CTX_set1_groups_list(tls, "P-384:X25519:P-256") == 1 &&
	       SSL_CTX_set1_sigalgs_list(tls,
					 "ECDSA+SHA384:ECDSA+SHA256:RSA-PSS+SHA384:RSA-PSS+SHA256:"
					 "RSA+SHA384:RSA+SHA256") == 1;
}

bool network_tls_expect_name(X509_VERIFY_PARAM *param, const char *name, bool is_ip)
{
	X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS |
						       X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
	/* An empty name would switch the comparison off. */
	if (!name[0])
		return false;
	return is_ip ? X509_VERIFY_PARAM_set1_ip_asc(param, name) == 1
		     : X509_VERIFY_PARAM_set1_host(param, name, 0) == 1;
}

X509_STORE *network_tls_anchors(const void *pem, size_t size, Error *err)
{
	AUTO_X509_STACK STACK_OF(X509) *anchors = NULL;
	AUTO_X509_STORE X509_STORE *store = NULL;

	if (!pem || !size || size > LIMIT_PEM) {
		error_set(err, ERROR_CONFIG, "%zu bytes, 1 to %d are allowed", size, LIMIT_PEM);
		return NULL;
	}
	ERR_clear_error();
	anchors = openssl_read_certificates(pem, size, NETWORK_TLS_ANCHORS_MAX, err);
	if (!anchors)
		return NULL;
	store = X509_STORE_new();
	for (int i = 0; store && i < sk_X509_num(anchors); i++)
		if (X509_STORE_add_cert(store, sk_X509_value(anchors, i)) != 1) {
			openssl_error(err, ERROR_CONFIG, "not usable");
			return NULL;
		}
	if (!store)
		error_set(err, ERROR_INTERNAL, "no memory for anchors");
	return TAKE_PTR(store);
}

bool network_tls_revocations(X509_STORE *store, const void *pem, size_t size, Error *err)
{
	AUTO_BIO BIO *bio = NULL;
	int count = 0;

	if (!pem || !size || size > LIMIT_CRL)
		return error_set(err, ERROR_CONFIG, "%zu bytes, 1 to %d are allowed", size,
				 LIMIT_CRL);
	bio = openssl_view(pem, size, err);
	if (!bio)
		return false;
	for (; count < NETWORK_TLS_ANCHORS_MAX; count++) {
		AUTO_X509_CRL X509_CRL *crl =
			PEM_read_bio_X509_CRL(bio, NULL, openssl_no_password, NULL);

		if (!crl)
			break;
		if (X509_STORE_add_crl(store, crl) != 1)
			return openssl_error(err, ERROR_CONFIG, "not usable");
	}
	if (!count || ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
		return openssl_error(err, ERROR_CONFIG, "not 1 to 16 lists in PEM");
	ERR_clear_error();
	return X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL) ==
		       1 ||
	       openssl_error(err, ERROR_INTERNAL, "not usable");
}
