/* SPDX-License-Identifier: Apache-2.0 */
/* The checked part of a configuration: whom to dial, and OpenSSL's settings for it. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <string.h>

#include "crypto/openssl.h"
#include "keys/kmip_link.h"

#define STRONG_CIPHERS                                                                             \
	"ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"                               \
	"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256"
/* Never without forward secrecy: what was recorded would open with the server's key alone. */
#define WEAK_CIPHERS                                                                               \
	":ECDHE-ECDSA-AES256-SHA384:ECDHE-RSA-AES256-SHA384:"                                      \
	"ECDHE-ECDSA-AES128-SHA256:ECDHE-RSA-AES128-SHA256"

static bool use_anchors(SSL_CTX *tls, const KmipConfig *config, Error *err)
{
	AUTO_X509_STACK STACK_OF(X509) *anchors = NULL;

	if (!config->ca_pem || !config->ca_size || config->ca_size > LIMIT_PEM)
		return error_set(err, ERROR_CONFIG, "%zu bytes, 1 to %d are allowed",
				 config->ca_size, LIMIT_PEM);
	anchors = openssl_read_certificates(config->ca_pem, config->ca_size, KMIP_ANCHORS_MAX, err);
	if (!anchors)
		return false;
	for (int i = 0; i < sk_X509_num(anchors); i++)
		if (X509_STORE_add_cert(SSL_CTX_get_cert_store(tls), sk_X509_value(anchors, i)) !=
		    1)
			return openssl_error(err, ERROR_CONFIG, "not usable");
	return true;
}

/* With lists, each certificate of the chain needs a fresh one of its issuer: none, or a stale one,
 * refuses. */
static bool use_revocations(SSL_CTX *tls, const KmipConfig *config, Error *err)
{
	AUTO_BIO BIO *bio = NULL;
	X509_STORE *store = SSL_CTX_get_cert_store(tls);
	int count = 0;

	if (!config->check_revocation)
		return true;
	if (!config->crl_pem || !config->crl_size || config->crl_size > LIMIT_CRL)
		return error_set(err, ERROR_CONFIG, "%zu bytes, 1 to %d are allowed",
				 config->crl_size, LIMIT_CRL);
	bio = openssl_view(config->crl_pem, config->crl_size, err);
	if (!bio)
		return false;
	for (; count < KMIP_ANCHORS_MAX; count++) {
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

static bool use_certificate(SSL_CTX *tls, const KmipConfig *config, Error *err)
{
	AUTO_X509_STACK STACK_OF(X509) *chain = NULL;

	if (!config->certificate_pem || !config->certificate_size ||
	    config->certificate_size > LIMIT_PEM)
		return error_set(err, ERROR_CONFIG, "%zu bytes, 1 to %d are allowed",
				 config->certificate_size, LIMIT_PEM);
	chain = openssl_read_certificates(config->certificate_pem, config->certificate_size,
					  KMIP_ANCHORS_MAX, err);
	if (!chain)
		return false;
	if (SSL_CTX_use_certificate(tls, sk_X509_value(chain, 0)) != 1)
		return openssl_error(err, ERROR_CONFIG, "not usable");
	for (int i = 1; i < sk_X509_num(chain); i++)
		if (SSL_CTX_add1_chain_cert(tls, sk_X509_value(chain, i)) != 1)
			return openssl_error(err, ERROR_CONFIG, "not usable");
	return true;
}

static bool use_key(SSL_CTX *tls, const KmipConfig *config, Error *err)
{
	AUTO_BIO BIO *bio = NULL;
	AUTO_EVP_PKEY EVP_PKEY *key = NULL;

	if (!config->key_pem || !config->key_size || config->key_size > LIMIT_PEM)
		return error_set(err, ERROR_CONFIG, "%zu bytes, 1 to %d are allowed",
				 config->key_size, LIMIT_PEM);
	bio = openssl_view(config->key_pem, config->key_size, err);
	if (!bio)
		return false;
	key = PEM_read_bio_PrivateKey(bio, NULL, openssl_no_password, NULL);
	if (!key || SSL_CTX_use_PrivateKey(tls, key) != 1 || SSL_CTX_check_private_key(tls) != 1)
		return openssl_error(err, ERROR_CONFIG, "not usable");
	return true;
}

/* CLEANSE: what was read is wiped from OpenSSL's own buffer. */
static bool narrow(SSL_CTX *tls, bool weak_ciphers)
{
	SSL_CTX_set_session_cache_mode(tls, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_options(tls, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION |
					 SSL_OP_NO_COMPRESSION | SSL_OP_CLEANSE_PLAINTEXT);
	SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
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

static bool set_up_tls(KmipTarget *target, const KmipConfig *config, Error *err)
{
	ERR_clear_error();
	target->tls = SSL_CTX_new(TLS_client_method());
	if (!target->tls || !narrow(target->tls, config->weak_ciphers))
		return openssl_error(err, ERROR_INTERNAL, "TLS setup");
	if (!use_anchors(target->tls, config, err))
		return error_prefix(err, "CA of the key manager");
	if (!use_revocations(target->tls, config, err))
		return error_prefix(err, "revocation lists of the key manager");
	if (!use_certificate(target->tls, config, err))
		return error_prefix(err, "certificate for the key manager");
	if (!use_key(target->tls, config, err))
		return error_prefix(err, "private key for the key manager");
	return true;
}

static bool parse_address(KmipTarget *target, const KmipConfig *config, Error *err)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)&target->address;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&target->address;

	if (!config->port)
		return error_set(err, ERROR_CONFIG, "port 0 of the key manager");
	if (inet_pton(AF_INET, config->address, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(config->port);
		target->address_size = sizeof(*v4);
		return true;
	}
	/* What the first attempt may have left behind. */
	memset(&target->address, 0, sizeof(target->address));
	if (inet_pton(AF_INET6, config->address, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons(config->port);
		target->address_size = sizeof(*v6);
		return true;
	}
	return error_set(err, ERROR_CONFIG, "\"%s\" is no numeric address", config->address);
}

/* An empty name would switch OpenSSL's comparison off. */
static bool set_name(KmipTarget *target, const KmipConfig *config, Error *err)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789.-:";
	size_t size = strnlen(config->server_name, LIMIT_KMIP_SERVER_NAME);
	struct in6_addr any;

	if (!size || size == LIMIT_KMIP_SERVER_NAME ||
	    strspn(config->server_name, allowed) != size || config->server_name[0] == '.')
		return error_set(err, ERROR_CONFIG, "\"%.64s\" is no name of a key manager",
				 config->server_name);
	memcpy(target->server_name, config->server_name, size + 1);
	target->name_is_ip = inet_pton(AF_INET, config->server_name, &any) == 1 ||
			     inet_pton(AF_INET6, config->server_name, &any) == 1;
	return true;
}

KmipTarget *kmip_target_new(const KmipConfig *config, Error *err)
{
	AUTO_KMIP_TARGET KmipTarget *target = calloc(1, sizeof(*target));

	if (!target) {
		error_set(err, ERROR_INTERNAL, "no memory for a key manager");
		return NULL;
	}
	if (!parse_address(target, config, err) || !set_name(target, config, err) ||
	    !set_up_tls(target, config, err))
		return NULL;
	return TAKE_PTR(target);
}

void kmip_target_free(KmipTarget *target)
{
	if (!target)
		return;
	SSL_CTX_free(target->tls);
	free(target);
}
