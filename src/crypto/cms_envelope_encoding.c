/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one form that an envelope may have, byte by byte, so that OpenSSL's decoder and its key
 * unwrapping never meet any other (RFC 5083, RFC 5084, RFC 5753, RFC 3565):
 *
 *   ContentInfo ::= SEQUENCE { id-ct-authEnvelopedData, [0] AuthEnvelopedData }
 *   AuthEnvelopedData ::= SEQUENCE { version 0, recipientInfos SET, EncryptedContentInfo, mac }
 *   KeyAgreeRecipientInfo ::= [1] SEQUENCE { version 3, originator, algorithms, SEQUENCE OF one }
 *   RecipientEncryptedKey ::= SEQUENCE { issuerAndSerialNumber, encryptedKey }
 *   EncryptedContentInfo ::= SEQUENCE { id-data, aes256-GCM, [0] content }
 *
 * What is fixed is compared with its encoding. So no originator's certificates, no user keying
 * material, no attributes, no other way to say the same.
 */
#include "crypto/cms_internal.h"

#include <string.h>

#include "base/bounds.h"

enum {
	TAG_OCTETS = 0x04,
	TAG_SEQUENCE = 0x30,
	TAG_SET = 0x31,
	TAG_CONTENT = 0x80,   /* [0] IMPLICIT OCTET STRING */
	TAG_CONTEXT_0 = 0xa0, /* [0], constructed */
	TAG_AGREE = 0xa1,     /* [1] IMPLICIT KeyAgreeRecipientInfo */
	POINT_BYTES = 96,     /* both coordinates on P-384 */
	WRAPPED_BYTES = 40,   /* a 256-bit key in RFC 3394's wrap */
	NONCE_BYTES = 12,
	TAG_BYTES = 16,
};

static const uint8_t enveloped_type[] = { 0x06, 0x0b, 0x2a, 0x86, 0x48, 0x86, 0xf7,
					  0x0d, 0x01, 0x09, 0x10, 0x01, 0x17 };
static const uint8_t version_0[] = { 0x02, 0x01, 0x00 };
static const uint8_t version_3[] = { 0x02, 0x01, 0x03 };
/* [0] { [1] { id-ecPublicKey without parameters, BIT STRING of an uncompressed point: */
static const uint8_t originator[] = { 0xa0, 0x71, 0xa1, 0x6f, 0x30, 0x09, 0x06, 0x07, 0x2a, 0x86,
				      0x48, 0xce, 0x3d, 0x02, 0x01, 0x03, 0x62, 0x00, 0x04 };
/* dhSinglePass-stdDH-sha384kdf-scheme with id-aes256-wrap */
static const uint8_t agreement[] = { 0x30, 0x15, 0x06, 0x06, 0x2b, 0x81, 0x04, 0x01,
				     0x0b, 0x02, 0x30, 0x0b, 0x06, 0x09, 0x60, 0x86,
				     0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x2d };
/* id-data, then aes256-GCM with a nonce ... */
static const uint8_t encryption[] = { 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7,
				      0x0d, 0x01, 0x07, 0x01, 0x30, 0x1e, 0x06,
				      0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03,
				      0x04, 0x01, 0x2e, 0x30, 0x11, 0x04, NONCE_BYTES };
/* ... and the length of its tag */
static const uint8_t tag_length[] = { 0x02, 0x01, TAG_BYTES };

static bool skip_fixed(Reader *reader, const uint8_t *bytes, size_t size)
{
	const uint8_t *found;

	return reader_skip(reader, size, &found) && !memcmp(found, bytes, size);
}
#define SKIP(reader, fixed) skip_fixed((reader), (fixed), sizeof(fixed))

static bool skip_octets(Reader *reader, size_t size)
{
	Reader octets;

	return cms_take(reader, TAG_OCTETS, &octets) && octets.left == size;
}

static bool check_recipient(Reader *recipient, const uint8_t *name, size_t name_size, Error *err)
{
	Reader keys, key, identifier;
	const uint8_t *point;

	if (!SKIP(recipient, version_3) || !SKIP(recipient, originator) ||
	    !reader_skip(recipient, POINT_BYTES, &point))
		return error_set(err, ERROR_AUTH,
				 "envelope has not one fresh uncompressed point of its sender");
	if (!SKIP(recipient, agreement))
		return error_set(err, ERROR_AUTH,
				 "envelope's key is not wrapped by ECDH, SHA-384, AES-256");
	if (!cms_take(recipient, TAG_SEQUENCE, &keys) || recipient->left ||
	    !cms_take(&keys, TAG_SEQUENCE, &key) || keys.left ||
	    !cms_take(&key, TAG_SEQUENCE, &identifier) || !skip_octets(&key, WRAPPED_BYTES) ||
	    key.left)
		return error_set(err, ERROR_AUTH,
				 "envelope has not one wrapped key, for an issuer and serial");
	if (identifier.left != name_size || memcmp(identifier.data, name, name_size))
		return error_set(err, ERROR_AUTH, "envelope is for another certificate than ours");
	return true;
}

static bool check_content(Reader *content, Error *err)
{
	const uint8_t *nonce;
	Reader bytes;

	if (!SKIP(content, encryption) || !reader_skip(content, NONCE_BYTES, &nonce) ||
	    !SKIP(content, tag_length))
		return error_set(err, ERROR_AUTH,
				 "envelope's content is not data under AES-256-GCM");
	if (!cms_take(content, TAG_CONTENT, &bytes) || content->left)
		return error_set(err, ERROR_AUTH, "envelope has no content inside");
	if (!bytes.left || bytes.left > LIMIT_STATEMENT_JSON)
		return error_set(err, ERROR_LIMIT, "envelope has %zu bytes inside, not 1..%d",
				 bytes.left, LIMIT_STATEMENT_JSON);
	return true;
}

bool cms_check_envelope(const uint8_t *der, size_t size, const uint8_t *name, size_t name_size,
			Error *err)
{
	Reader all = reader_of(der, size), info, explicit_tag, data, recipients, recipient, content;

	if (!cms_take(&all, TAG_SEQUENCE, &info) || all.left || !SKIP(&info, enveloped_type) ||
	    !cms_take(&info, TAG_CONTEXT_0, &explicit_tag) || info.left ||
	    !cms_take(&explicit_tag, TAG_SEQUENCE, &data) || explicit_tag.left ||
	    !SKIP(&data, version_0))
		return error_set(err, ERROR_AUTH,
				 "CMS message has not the form of AuthEnvelopedData");
	if (!cms_take(&data, TAG_SET, &recipients) ||
	    !cms_take(&recipients, TAG_AGREE, &recipient) || recipients.left)
		return error_set(err, ERROR_AUTH,
				 "envelope has not exactly one recipient, by key agreement");
	if (!check_recipient(&recipient, name, name_size, err))
		return false;
	if (!cms_take(&data, TAG_SEQUENCE, &content) || !skip_octets(&data, TAG_BYTES) || data.left)
		return error_set(err, ERROR_AUTH, "envelope has not content and its tag alone");
	return check_content(&content, err);
}
