/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signed statements: CMS SignedData (RFC 5652) with the signed attribute signingCertificateV2
 * (RFC 5035, CAdES-BES), ECDSA with SHA-384 (RFC 5754), the statement inside. An auditor checks
 * one:
 *
 *   openssl cms -verify -binary -cades -inform DER -in FILE -CAfile root.crt -purpose any
 *
 * The DER bytes of a statement are not its identity: an ECDSA signature can be changed into another
 * valid one by anybody. Compare the digest of the content.
 */
#ifndef SEALIFT_CRYPTO_CMS_H
#define SEALIFT_CRYPTO_CMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "crypto/anchor.h"
#include "crypto/spiffe.h"

/*
 * The kinds of signed content, each with its own object identifier, so that one can never pass for
 * another. The first seven are those of wire/statement.h in the same order.
 */
typedef enum CmsContentType {
	CMS_CONTENT_OFFER,
	CMS_CONTENT_ACCEPT,
	CMS_CONTENT_READY,
	CMS_CONTENT_COMMIT,
	CMS_CONTENT_DECLINED,
	CMS_CONTENT_ACTIVATED,
	CMS_CONTENT_DESTROYED,
	CMS_CONTENT_GRANT,
	CMS_CONTENT_KEY_PACKAGE, /* not JSON: the DER of an envelope (crypto/cms_envelope.h) */
	CMS_CONTENT_KEY_OFFER,	 /* of a key manager: where to seal, and for which migration */
	CMS_CONTENT_KEY_RECEIPT, /* of a key manager: what it did with a key */
	CMS_CONTENT_TYPE_COUNT,
} CmsContentType;

/* The dotted object identifier, below the arc 2.25.UUID (ITU-T X.667) that is Sealift's own. */
const char *cms_content_type_oid(CmsContentType type);
/* "offer", "accept", ... */
const char *cms_content_type_word(CmsContentType type);

/* The object identifier of the signed attribute `permit`: an OCTET STRING, the SHA-384 of the
 * statements that permit a key package. Every package has it, nothing else does. */
extern const char cms_permit_oid[];

enum {
	CMS_CERTIFICATES_MAX = 4, /* in one message: the signer's and its intermediates */
	CMS_PERMIT_BYTES = 48,
	LIMIT_ENVELOPE = 24576, /* DER bytes */
};

/* A signing key with its certificate chain. */
typedef struct CmsSigner CmsSigner;

/*
 * Loads a chain (PEM, the signer's certificate first, at most CMS_CERTIFICATES_MAX, LIMIT_PEM
 * bytes) and its unencrypted private key (PEM, at most LIMIT_PEM bytes; the caller wipes its copy).
 * The key must be EC P-256 or P-384 and belong to the certificate, which must have one SPIFFE name
 * and the key usage digitalSignature and no TLS usage. Whether the certificate is valid now is for
 * the verifier. ERROR_CONFIG with the reason.
 */
MUST_CHECK CmsSigner *cms_signer_load(const void *chain_pem, size_t chain_size, const void *key_pem,
				      size_t key_size, Error *err);
void cms_signer_free(CmsSigner *signer);
DEFINE_CLEANUP(CmsSigner, cms_signer, cms_signer_free)
#define AUTO_CMS_SIGNER CLEANUP(cms_signer_cleanup)

/* Whom it signs for, and until when (seconds since 1970). */
const SpiffeId *cms_signer_id(const CmsSigner *signer);
int64_t cms_signer_not_after_s(const CmsSigner *signer);

/* Signs 1..LIMIT_STATEMENT_JSON bytes and appends the DER to buffer, after a look at whether it is
 * what was to be made. ERROR_LIMIT if the result is longer than LIMIT_STATEMENT or the buffer's
 * bound, ERROR_INTERNAL. Any type but a key package; those of a key manager by a
 * key of EC P-384 only (ERROR_CONFIG). */
MUST_CHECK bool cms_sign(const CmsSigner *signer, CmsContentType type, const void *json,
			 size_t size, Buffer *buffer, Error *err);

/*
 * Verifies `size` hostile bytes (1..LIMIT_STATEMENT) at the time now_s. On top of RFC 5652:
 * canonical DER without trailing bytes; one signer, named by issuer and serial; at most
 * CMS_CERTIFICATES_MAX certificates, all of them needed to be of the chain's kind (CA, but the
 * signer's), no CRLs; content inside and of 1..LIMIT_STATEMENT_JSON bytes; exactly the signed
 * attributes content-type, message-digest, signing-time (optional) and signingCertificateV2, no
 * unsigned ones; the expected content type in both places; SHA-384 and ecdsa-with-SHA384; a signer
 * that anchor_verify_certificate accepts for ANCHOR_SIGN and that has the expected role, and for
 * what key managers sign a key of EC P-384. Appends the content to buffer. ERROR_AUTH with the
 * reason (ERROR_LIMIT for sizes); *ret_signer and buffer stay as they are then.
 */
MUST_CHECK bool cms_verify(const AnchorStore *store, int64_t now_s, const void *der, size_t size,
			   CmsContentType expected, SpiffeRole expected_role, SpiffeId *ret_signer,
			   Buffer *buffer, Error *err);

/*
 * The same for CMS_CONTENT_KEY_PACKAGE: content of 1..LIMIT_ENVELOPE bytes, DER
 * of 1..LIMIT_PACKAGE, and once the signed attribute `permit`. The signer's key is EC P-384
 * (ERROR_CONFIG when signing), and its signature is verified before it is handed out. A package is
 * verified against the one permit that is expected, so that none is opened before it was compared,
 * and only a key manager (SPIFFE_KEYD) may have signed it; which one, the caller compares.
 */
MUST_CHECK bool cms_sign_package(const CmsSigner *signer, const uint8_t permit[CMS_PERMIT_BYTES],
				 const void *envelope, size_t size, Buffer *buffer, Error *err);
MUST_CHECK bool cms_verify_package(const AnchorStore *store, int64_t now_s, const void *der,
				   size_t size, const uint8_t permit[CMS_PERMIT_BYTES],
				   SpiffeId *ret_signer, Buffer *buffer, Error *err);

#endif
