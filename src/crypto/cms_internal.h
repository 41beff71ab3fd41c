/* SPDX-License-Identifier: Apache-2.0 */
/* What cms.c (both directions) and cms_verify.c share. */
#ifndef SEALIFT_CRYPTO_CMS_INTERNAL_H
#define SEALIFT_CRYPTO_CMS_INTERNAL_H

#include "crypto/cms.h"
#include "crypto/openssl.h"

/* The content type as an object, owned by the caller. */
MUST_CHECK ASN1_OBJECT *cms_content_type_object(CmsContentType type, Error *err);

/* What a decoder that keeps to RFC 5652 but not to our rules would let pass, found in the encoding
 * itself: version numbers, the set of digest algorithms, how the signer is named. `der` is
 * known to be canonical DER of a SignedData. */
MUST_CHECK bool cms_check_encoding(const uint8_t *der, size_t size, Error *err);

#endif
