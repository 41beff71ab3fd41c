/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/pki.h"

#include <openssl/pem.h>

#include "crypto/openssl.h"

/* A memory BIO wipes what it held when it is released (BUF_MEM_free), keys included. */
static bool put(BIO *bio, bool written, Buffer *buffer, Error *err)
{
	char *text = NULL;
	long size = BIO_get_mem_data(bio, &text);

	if (!written || size <= 0)
		return openssl_error(err, ERROR_INTERNAL, "cannot write PEM");
	return buffer_put(buffer, text, (size_t)size, err);
}

bool pki_put_certificate(const X509 *certificate, Buffer *buffer, Error *err)
{
	AUTO_BIO BIO *bio = BIO_new(BIO_s_mem());

	return put(bio, bio && PEM_write_bio_X509(bio, certificate) == 1, buffer, err);
}

bool pki_put_key(const EVP_PKEY *key, Buffer *buffer, Error *err)
{
	AUTO_BIO BIO *bio = BIO_new(BIO_s_mem());

	return put(bio,
		   bio && PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) == 1,
		   buffer, err);
}

bool pki_put_crl(const X509_CRL *crl, Buffer *buffer, Error *err)
{
	AUTO_BIO BIO *bio = BIO_new(BIO_s_mem());

	return put(bio, bio && PEM_write_bio_X509_CRL(bio, crl) == 1, buffer, err);
}

X509 *pki_get_certificate(const void *pem, size_t size, Error *err)
{
	AUTO_BIO BIO *bio = openssl_view(pem, size, err);
	X509 *certificate = NULL;

	if (!bio)
		return NULL;
	certificate = PEM_read_bio_X509(bio, NULL, openssl_no_password, NULL);
	if (!certificate)
		openssl_error(err, ERROR_CONFIG, "no PEM certificate");
	return certificate;
}

EVP_PKEY *pki_get_key(const void *pem, size_t size, Error *err)
{
	AUTO_BIO BIO *bio = openssl_view(pem, size, err);
	EVP_PKEY *key;

	if (!bio)
		return NULL;
	key = PEM_read_bio_PrivateKey(bio, NULL, openssl_no_password, NULL);
	if (!key)
		openssl_error(err, ERROR_CONFIG, "no unencrypted PEM private key");
	return key;
}
