/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CMS_encrypt and CMS_decrypt are not used as they are: they copy the content through a buffer on
 * the stack and one of a BIO, which nobody wipes. The pieces that they are made of let us read and
 * write at OpenSSL's cipher directly, which wipes what it held.
 */
#include "crypto/cms_envelope.h"

#include <string.h>

#include <openssl/err.h>

#include "base/bounds.h"
#include "crypto/cms_internal.h"
#include "crypto/pki.h"

struct EnvelopeRecipient {
	X509 *certificate;
	SpiffeId id;
};

struct EnvelopeKey {
	STACK_OF(X509) * chain; /* our own first */
	EVP_PKEY *key;
	SpiffeId id;
	int64_t not_after_s;
	Buffer chain_pem;
	Buffer name; /* issuer and serial number, as cms_check_envelope wants them */
};

/* --- whom to seal for --- */

void envelope_recipient_free(EnvelopeRecipient *recipient)
{
	if (!recipient)
		return;
	X509_free(recipient->certificate);
	free(recipient);
}

const SpiffeId *envelope_recipient_id(const EnvelopeRecipient *recipient)
{
	return &recipient->id;
}

/* One DER certificate, or PEM of some. */
static STACK_OF(X509) * read_chain(const uint8_t *bytes, size_t size, Error *err)
{
	enum { DER_SEQUENCE = 0x30 }; /* in text the digit 0, with which PEM does not begin */
	const uint8_t *end = bytes;
	AUTO_X509_STACK STACK_OF(X509) *chain = NULL;
	AUTO_X509 X509 *certificate = NULL;

	if (bytes[0] != DER_SEQUENCE)
		return openssl_read_certificates(bytes, size, CMS_CERTIFICATES_MAX, err);
	certificate = d2i_X509(NULL, &end, (long)size);
	if (!certificate || end != bytes + size) {
		openssl_error(err, ERROR_CONFIG, "not one DER certificate");
		return NULL;
	}
	chain = sk_X509_new_null();
	if (!chain || !sk_X509_push(chain, certificate)) {
		openssl_error(err, ERROR_INTERNAL, "no memory for a certificate");
		return NULL;
	}
	(void)TAKE_PTR(certificate);
	return TAKE_PTR(chain);
}

EnvelopeRecipient *envelope_recipient_load(const AnchorStore *anchors, int64_t now_s,
					   const void *pem, size_t size, const char *expected,
					   Error *err)
{
	AUTO_ENVELOPE_RECIPIENT EnvelopeRecipient *recipient = calloc(1, sizeof(*recipient));
	AUTO_X509_STACK STACK_OF(X509) *chain = NULL;
	X509 *leaf;

	if (!recipient) {
		error_set(err, ERROR_INTERNAL, "no memory for a recipient");
		return NULL;
	}
	if (!size || size > LIMIT_PEM) {
		error_set(err, ERROR_AUTH, "certificate of %zu bytes, not 1..%d", size, LIMIT_PEM);
		return NULL;
	}
	chain = read_chain(pem, size, err);
	if (!chain) {
		/* What a peer shows is not our configuration. */
		err->category = err->category == ERROR_CONFIG ? ERROR_AUTH : err->category;
		return NULL;
	}
	leaf = sk_X509_value(chain, 0);
	if (!anchor_verify_certificate(anchors, leaf, chain, now_s, ANCHOR_AGREE, &recipient->id,
				       err))
		return NULL;
	if (strcmp(recipient->id.text, expected)) {
		error_set(err, ERROR_AUTH, "certificate is of %s, not of %s", recipient->id.text,
			  expected);
		return NULL;
	}
	X509_up_ref(leaf);
	recipient->certificate = leaf;
	return TAKE_PTR(recipient);
}

/* --- our own key --- */

void envelope_key_free(EnvelopeKey *envelope_key)
{
	if (!envelope_key)
		return;
	openssl_free_certificates(envelope_key->chain);
	EVP_PKEY_free(envelope_key->key);
	buffer_clear(&envelope_key->chain_pem);
	buffer_clear(&envelope_key->name);
	free(envelope_key);
}

const SpiffeId *envelope_key_id(const EnvelopeKey *envelope_key)
{
	return &envelope_key->id;
}

int64_t envelope_key_not_after_s(const EnvelopeKey *envelope_key)
{
	return envelope_key->not_after_s;
}

const void *envelope_key_chain(const EnvelopeKey *envelope_key, size_t *ret_size)
{
	*ret_size = envelope_key->chain_pem.used;
	return envelope_key->chain_pem.data;
}

static bool put_name(const X509 *certificate, Buffer *name, Error *err)
{
	const uint8_t *issuer;
	size_t issuer_size;
	uint8_t *serial = NULL;
	int serial_size = i2d_ASN1_INTEGER(X509_get0_serialNumber(certificate), &serial);
	bool ok;

	if (serial_size <= 0 ||
	    X509_NAME_get0_der(X509_get_issuer_name(certificate), &issuer, &issuer_size) != 1)
		return openssl_error(err, ERROR_INTERNAL, "cannot encode a certificate's name");
	ok = buffer_put(name, issuer, issuer_size, err) &&
	     buffer_put(name, serial, (size_t)serial_size, err);
	OPENSSL_free(serial);
	return ok;
}

static bool check_own(EnvelopeKey *own, Error *err)
{
	X509 *certificate = sk_X509_value(own->chain, 0);
	uint32_t flags = X509_get_extension_flags(certificate);

	if (!cms_is_p384(own->key))
		return error_set(err, ERROR_CONFIG, "key of %s is not EC P-384", own->id.text);
	if (!(flags & EXFLAG_KUSAGE) || X509_get_key_usage(certificate) != KU_KEY_AGREEMENT ||
	    flags & EXFLAG_XKUSAGE)
		return error_set(err, ERROR_CONFIG,
				 "certificate of %s is not for key agreement alone", own->id.text);
	own->not_after_s = anchor_time_s(X509_get0_notAfter(certificate));
	/* Written anew: the file may have had a private key between its certificates. */
	for (int i = 0; i < sk_X509_num(own->chain); i++)
		if (!pki_put_certificate(sk_X509_value(own->chain, i), &own->chain_pem, err))
			return false;
	return put_name(certificate, &own->name, err);
}

EnvelopeKey *envelope_key_load(const void *chain_pem, size_t chain_size, const void *key_pem,
			       size_t key_size, Error *err)
{
	AUTO_ENVELOPE_KEY EnvelopeKey *own = calloc(1, sizeof(*own));

	if (!own) {
		error_set(err, ERROR_INTERNAL, "no memory for a key");
		return NULL;
	}
	own->chain_pem = BUFFER_INIT(LIMIT_PEM);
	own->name = BUFFER_INIT(LIMIT_PEM);
	if (!cms_load_pair(chain_pem, chain_size, key_pem, key_size, &own->chain, &own->key,
			   &own->id, err) ||
	    !check_own(own, err))
		return NULL;
	return TAKE_PTR(own);
}

/* --- seal --- */

/* OpenSSL's choice for the curve would be SHA-1, and a wrap of 128 bits. */
static bool add_recipient(CMS_ContentInfo *cms, X509 *certificate)
{
	CMS_RecipientInfo *info = CMS_add1_recipient_cert(cms, certificate, CMS_KEY_PARAM);
	EVP_PKEY_CTX *agreement = info ? CMS_RecipientInfo_get0_pkey_ctx(info) : NULL;
	EVP_CIPHER_CTX *wrap = info ? CMS_RecipientInfo_kari_get0_ctx(info) : NULL;

	return agreement && wrap && EVP_PKEY_CTX_set_ecdh_kdf_md(agreement, EVP_sha384()) > 0 &&
	       EVP_EncryptInit_ex(wrap, EVP_aes_256_wrap(), NULL, NULL, NULL) == 1;
}

static CMS_ContentInfo *make_sealed(X509 *certificate, const void *content, size_t size)
{
	AUTO_CMS_CONTENT CMS_ContentInfo *cms = CMS_AuthEnvelopedData_create(EVP_aes_256_gcm());
	AUTO_BIO BIO *bio = NULL;

	if (!cms || CMS_set_detached(cms, 0) != 1 || !add_recipient(cms, certificate))
		return NULL;
	bio = CMS_dataInit(cms, NULL);
	if (!bio || BIO_write(bio, content, (int)size) != (int)size || BIO_flush(bio) != 1 ||
	    CMS_dataFinal(cms, bio) != 1)
		return NULL;
	return TAKE_PTR(cms);
}

bool envelope_seal(const EnvelopeRecipient *recipient, const void *content, size_t size,
		   Buffer *buffer, Error *err)
{
	AUTO_CMS_CONTENT CMS_ContentInfo *cms = NULL;
	AUTO_BUFFER Buffer name = BUFFER_INIT(LIMIT_PEM);
	uint8_t *der = NULL;
	int length;
	bool ok;

	if (!size || size > LIMIT_STATEMENT_JSON)
		return error_set(err, ERROR_LIMIT, "%zu bytes to seal, not 1..%d", size,
				 LIMIT_STATEMENT_JSON);
	if (!put_name(recipient->certificate, &name, err))
		return false;
	cms = make_sealed(recipient->certificate, content, size);
	openssl_wipe_stack();
	length = cms ? i2d_CMS_ContentInfo(cms, &der) : -1;
	if (length <= 0)
		return openssl_error(err, ERROR_INTERNAL, "cannot seal");
	if (length > LIMIT_ENVELOPE)
		ok = error_set(err, ERROR_LIMIT, "envelope of %d bytes is longer than %d", length,
			       LIMIT_ENVELOPE);
	else /* Without memory OpenSSL may leave out our algorithms and go on with its own. */
		ok = cms_check_envelope(der, (size_t)length, name.data, name.used, err) &&
		     buffer_put(buffer, der, (size_t)length, err);
	OPENSSL_free(der);
	return ok;
}

/* --- open --- */

/* Reads the cipher to its end; what it gave counts only if the tag was right. */
static bool read_content(BIO *cipher, Buffer *content, Error *err)
{
	uint8_t part[1024];
	bool ok = true;
	int n;

	while (ok && (n = BIO_read(cipher, part, sizeof(part))) > 0)
		ok = buffer_put(content, part, (size_t)n, err);
	OPENSSL_cleanse(part, sizeof(part));
	openssl_wipe_stack();
	if (!ok)
		return false;
	return BIO_get_cipher_status(cipher) == 1 ||
	       openssl_error(err, ERROR_AUTH, "envelope's tag is wrong");
}

bool envelope_open(const EnvelopeKey *envelope_key, const void *der, size_t size, Buffer *buffer,
		   Error *err)
{
	const uint8_t *end = der;
	AUTO_BUFFER Buffer content = BUFFER_INIT(LIMIT_STATEMENT_JSON);
	AUTO_CMS_CONTENT CMS_ContentInfo *cms = NULL;
	AUTO_BIO BIO *cipher = NULL;

	if (!size || size > LIMIT_ENVELOPE)
		return error_set(err, ERROR_LIMIT, "envelope of %zu bytes, not 1..%d", size,
				 LIMIT_ENVELOPE);
	if (!cms_check_envelope(der, size, envelope_key->name.data, envelope_key->name.used, err))
		return false;
	cms = d2i_CMS_ContentInfo(NULL, &end, (long)size);
	if (!cms)
		return openssl_error(err, ERROR_AUTH, "not an envelope");
	if (CMS_decrypt_set1_pkey_and_peer(cms, envelope_key->key,
					   sk_X509_value(envelope_key->chain, 0), NULL) != 1)
		return openssl_error(err, ERROR_AUTH, "envelope's key cannot be unwrapped");
	cipher = CMS_dataInit(cms, NULL);
	if (!cipher)
		return openssl_error(err, ERROR_AUTH, "envelope cannot be opened");
	if (!read_content(cipher, &content, err))
		return false;
	ERR_clear_error();
	if (!buffer_put(buffer, content.data, content.used, err))
		return false;
	openssl_wipe_stack();
	return true;
}
