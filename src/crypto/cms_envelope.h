/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sealed content for one receiver: CMS AuthEnvelopedData (RFC 5083) with AES-256-GCM (RFC 5084) and
 * one KeyAgreeRecipientInfo: ephemeral-static ECDH on P-384, X9.63 KDF with SHA-384, AES-256 key
 * wrap (RFC 5753, RFC 3565). The receiver's certificate has the key usage keyAgreement and nothing
 * else, so that it can neither sign nor be used in TLS.
 */
#ifndef SEALIFT_CRYPTO_CMS_ENVELOPE_H
#define SEALIFT_CRYPTO_CMS_ENVELOPE_H

#include "crypto/anchor.h"
#include "crypto/cms.h"

/* A judged certificate to seal for. */
typedef struct EnvelopeRecipient EnvelopeRecipient;
/* One certificate in DER, or in PEM with at most CMS_CERTIFICATES_MAX - 1 intermediates behind it
 * (1..LIMIT_PEM hostile bytes), judged as anchor_verify_certificate does for ANCHOR_AGREE, whose
 * name must be `expected`, exactly. Load it just before it is used: it may expire or be revoked
 * afterwards. ERROR_AUTH with the reason. */
MUST_CHECK EnvelopeRecipient *envelope_recipient_load(const AnchorStore *anchors, int64_t now_s,
						      const void *pem, size_t size,
						      const char *expected, Error *err);
void envelope_recipient_free(EnvelopeRecipient *recipient);
DEFINE_CLEANUP(EnvelopeRecipient, envelope_recipient, envelope_recipient_free)
#define AUTO_ENVELOPE_RECIPIENT CLEANUP(envelope_recipient_cleanup)
const SpiffeId *envelope_recipient_id(const EnvelopeRecipient *recipient);

/* The receiver's own key with its certificate; as cms_signer_load, but the key must be EC P-384 and
 * the certificate one for key agreement alone. */
typedef struct EnvelopeKey EnvelopeKey;
MUST_CHECK EnvelopeKey *envelope_key_load(const void *chain_pem, size_t chain_size,
					  const void *key_pem, size_t key_size, Error *err);
void envelope_key_free(EnvelopeKey *envelope_key);
DEFINE_CLEANUP(EnvelopeKey, envelope_key, envelope_key_free)
#define AUTO_ENVELOPE_KEY CLEANUP(envelope_key_cleanup)
const SpiffeId *envelope_key_id(const EnvelopeKey *envelope_key);
int64_t envelope_key_not_after_s(const EnvelopeKey *envelope_key); /* since 1970 */
/* The certificates of the chain as PEM, nothing else of the file, to be sent to those who want to
 * seal; the key's own memory. */
const void *envelope_key_chain(const EnvelopeKey *envelope_key, size_t *ret_size);

/* Seals 1..LIMIT_STATEMENT_JSON bytes, which are secret, and appends DER of at most LIMIT_ENVELOPE
 * bytes. No copy of the content is left in memory. ERROR_LIMIT, ERROR_INTERNAL. */
MUST_CHECK bool envelope_seal(const EnvelopeRecipient *recipient, const void *content, size_t size,
			      Buffer *buffer, Error *err);

/*
 * Opens hostile bytes (1..LIMIT_ENVELOPE). On top of RFC 5083: canonical DER without trailing
 * bytes, one recipient of exactly the kind above named by issuer and serial of our certificate, the
 * algorithms above and no others, a 12-byte nonce and a 16-byte tag, no unprotected or
 * authenticated attributes, no certificates of an originator, no user keying material. So there is
 * one encoding for each content, key and nonce, and no byte of it may be changed. The content is
 * appended to `buffer` only after its tag was checked, and is nowhere else in memory then; the
 * caller wipes it. ERROR_AUTH, ERROR_LIMIT. Whether our own certificate is still valid, and who
 * sealed, is not looked at: the signature around an envelope says the latter.
 */
MUST_CHECK bool envelope_open(const EnvelopeKey *envelope_key, const void *der, size_t size,
			      Buffer *buffer, Error *err);

#endif
