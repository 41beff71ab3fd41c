/* SPDX-License-Identifier: Apache-2.0 */
/* What cms.c (both directions), cms_verify.c and cms_envelope.c share. */
#ifndef SEALIFT_CRYPTO_CMS_INTERNAL_H
#define SEALIFT_CRYPTO_CMS_INTERNAL_H

#include "base/buffer.h"
#include "crypto/cms.h"
#include "crypto/openssl.h"

/* One kind of signed content. */
typedef struct CmsType {
	const char *word, *oid;
	int content_max, der_max; /* bytes */
	bool is_package;	  /* has a permit */
	bool p384;		  /* signed by a key of EC P-384, or not at all: of key managers */
} CmsType;
const CmsType *cms_type(CmsContentType type);

/* An object of a dotted identifier, owned by the caller. */
MUST_CHECK ASN1_OBJECT *cms_object(const char *oid, Error *err);

bool cms_is_p384(const EVP_PKEY *key);

/* A chain and its key out of PEM, each of at most LIMIT_PEM bytes, that belong together, and their
 * one name. ERROR_CONFIG; what was read by then is the caller's all the same. */
MUST_CHECK bool cms_load_pair(const void *chain_pem, size_t chain_size, const void *key_pem,
			      size_t key_size, STACK_OF(X509) * *ret_chain, EVP_PKEY **ret_key,
			      SpiffeId *ret_id, Error *err);

/* The next element of DER (X.690), whose tag must be `tag`; its contents. Lengths are definite, as
 * short as can be, and below 2^24. */
MUST_CHECK bool cms_take(Reader *reader, uint8_t tag, Reader *ret_contents);

/* What a decoder that keeps to RFC 5652 but not to our rules would let pass, found in the encoding
 * itself: version numbers, the set of digest algorithms, how the signer is named. `der` is
 * known to be canonical DER of a SignedData. */
MUST_CHECK bool cms_check_encoding(const uint8_t *der, size_t size, Error *err);

/* What was just signed here, and what it was made of. `permit` is NULL for what has none, `chain`
 * has the signer's certificate first. All of it is borrowed. */
typedef struct CmsMade {
	const CmsType *type;
	const uint8_t *permit;
	const STACK_OF(X509) * chain;
	const void *content;
	size_t size;
	const uint8_t *der;
	size_t der_size;
} CmsMade;

/*
 * Whether it says what it was made to say: without memory OpenSSL 3.0 leaves out a SET's elements,
 * or the content, and says that it went well (asn1_template_ex_i2d). Its form, content, attributes
 * and certificates; a key package's signature too, which costs a millisecond. ERROR_INTERNAL. */
MUST_CHECK bool cms_check_made(const CmsMade *made, Error *err);

/* Whether hostile bytes are an envelope of exactly the form of cms_envelope.h, for the holder of
 * the certificate whose issuer and serial number, both as DER, one after the other, are `name`.
 * Every byte is either fixed, or compared, or part of one of five values: the point, the wrapped
 * key, the nonce, the content, the tag. ERROR_AUTH; ERROR_LIMIT for content that is longer than
 * LIMIT_STATEMENT_JSON. */
MUST_CHECK bool cms_check_envelope(const uint8_t *der, size_t size, const uint8_t *name,
				   size_t name_size, Error *err);

#endif
