/* SPDX-License-Identifier: Apache-2.0 */
/* The checked part of a configuration: whom to dial, and OpenSSL's settings for it. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <string.h>

#include "crypto/openssl.h"
#include "keys/kmip_link.h"
#include "keys/network_tls.h"

static bool use_anchors(SSL_CTX *tls, const KmipConfig *config, Error *err)
{
	AUTO_X509_STORE X509_STORE *store =
		network_tls_anchors(config->ca_pem, config->ca_size, err);

	if (!store)
		return error_prefix(err, "CA of the key manager");
	if (config->check_revocation &&
	    !network_tls_revocations(store, config->crl_pem, config->crl_size, err))
		return error_prefix(err, "revocation lists of the key manager");
	SSL_CTX_set1_cert_store(tls, store);
	return true;
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

static bool set_up_tls(KmipTarget *target, const KmipConfig *config, Error *err)
{
	ERR_clear_error();
	target->tls = SSL_CTX_new(TLS_client_method());
	if (!target->tls || !network_tls_narrow(target->tls, config->weak_ciphers))
		return openssl_error(err, ERROR_INTERNAL, "TLS setup");
	SSL_CTX_set_mode(target->tls,
			 SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	if (!use_anchors(target->tls, config, err))
		return false;
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
