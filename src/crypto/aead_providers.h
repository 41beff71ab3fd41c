/* SPDX-License-Identifier: Apache-2.0 */
/* The implementations behind aead.h, for aead.c only. */
#ifndef SEALIFT_CRYPTO_AEAD_PROVIDERS_H
#define SEALIFT_CRYPTO_AEAD_PROVIDERS_H

#include "crypto/aead.h"

extern const AeadProvider aead_provider_openssl;
#ifdef HAVE_IPSEC_MB
extern const AeadProvider aead_provider_ipsec_mb;
#endif

#endif
