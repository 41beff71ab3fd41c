/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A walk over the DER of a SignedData (RFC 5652, section 5) for what OpenSSL's interface hides:
 *
 *   ContentInfo ::= SEQUENCE { contentType, [0] SignedData }
 *   SignedData ::= SEQUENCE { version INTEGER, digestAlgorithms SET, encapContentInfo SEQUENCE,
 *                             certificates [0], signerInfos SET }
 *   SignerInfo ::= SEQUENCE { version INTEGER, issuerAndSerialNumber SEQUENCE, ... }
 *
 * Nobody's security hangs on these fields. They are fixed all the same so that every byte of a
 * statement counts: what may be anything can carry anything.
 */
#include "crypto/cms_internal.h"

#include "base/buffer.h"

enum {
	TAG_INTEGER = 0x02,
	TAG_OID = 0x06,
	TAG_SEQUENCE = 0x30,
	TAG_SET = 0x31,
	TAG_CONTEXT_0 = 0xa0,
	VERSION_SIGNED_DATA = 3, /* since the content type is not id-data */
	VERSION_SIGNER_INFO = 1, /* since the signer is named by issuer and serial */
};

bool cms_take(Reader *reader, uint8_t tag, Reader *ret_contents)
{
	uint8_t found, first, octet;
	size_t length;
	const uint8_t *bytes;

	if (!reader_get_u8(reader, &found) || found != tag || !reader_get_u8(reader, &first))
		return false;
	length = first;
	if (first & 0x80) {
		length = 0;
		if (first < 0x81 || first > 0x83)
			return false;
		for (int i = first & 0x7f; i > 0; i--) {
			if (!reader_get_u8(reader, &octet))
				return false;
			length = length << 8 | octet;
		}
		if (length < 0x80 || (first > 0x81 && length >> (8 * (first - 0x81)) == 0))
			return false;
	}
	if (!reader_skip(reader, length, &bytes))
		return false;
	*ret_contents = reader_of(bytes, length);
	return true;
}

static bool take_version(Reader *reader, uint8_t version)
{
	Reader contents;
	uint8_t found;

	return cms_take(reader, TAG_INTEGER, &contents) && reader_get_u8(&contents, &found) &&
	       !contents.left && found == version;
}

bool cms_check_encoding(const uint8_t *der, size_t size, Error *err)
{
	Reader all = reader_of(der, size), info, explicit_tag, data, set, skipped, signer;

	if (!cms_take(&all, TAG_SEQUENCE, &info) || all.left ||
	    !cms_take(&info, TAG_OID, &skipped) || !cms_take(&info, TAG_CONTEXT_0, &explicit_tag) ||
	    info.left || !cms_take(&explicit_tag, TAG_SEQUENCE, &data) || explicit_tag.left)
		return error_set(err, ERROR_AUTH, "CMS message has not the form of SignedData");
	if (!take_version(&data, VERSION_SIGNED_DATA))
		return error_set(err, ERROR_AUTH, "SignedData is not of version %d",
				 VERSION_SIGNED_DATA);
	if (!cms_take(&data, TAG_SET, &set) || !cms_take(&set, TAG_SEQUENCE, &skipped) || set.left)
		return error_set(err, ERROR_AUTH, "SignedData names not exactly one digest");
	if (!cms_take(&data, TAG_SEQUENCE, &skipped) || !cms_take(&data, TAG_CONTEXT_0, &skipped) ||
	    !cms_take(&data, TAG_SET, &set) || data.left)
		return error_set(err, ERROR_AUTH,
				 "SignedData has not content, certificates and signers alone");
	if (!cms_take(&set, TAG_SEQUENCE, &signer) || set.left)
		return error_set(err, ERROR_AUTH, "SignedData has not exactly one signer");
	if (!take_version(&signer, VERSION_SIGNER_INFO) ||
	    !cms_take(&signer, TAG_SEQUENCE, &skipped))
		return error_set(err, ERROR_AUTH,
				 "signer is not of version %d, named by issuer and serial",
				 VERSION_SIGNER_INFO);
	return true;
}
