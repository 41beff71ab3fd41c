/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/prepare.h"

#include <openssl/crypto.h>
#include <openssl/err.h>

#include "crypto/aead.h"
#include "crypto/digest.h"
#include "crypto/ecdh.h"
#include "crypto/hkdf.h"
#include "crypto/openssl.h"
#include "crypto/random.h"

bool crypto_prepare_thread(Error *err)
{
	AUTO_SECRET Secret *private_bytes = random_secret(1, err);
	uint8_t public_byte;

	return private_bytes && random_bytes(&public_byte, sizeof(public_byte), err);
}

/* Using a thing once is what loads all of it: fetching alone leaves the curve's tables, the
 * decoders and the error texts for later. */
static bool use_each(Error *err)
{
	AUTO_ECDH_KEY EcdhKey *here = ecdh_key_new(err);
	AUTO_ECDH_KEY EcdhKey *there = here ? ecdh_key_new(err) : NULL;
	uint8_t share[ECDH_PUBLIC_SIZE], digest[DIGEST_SHA384_SIZE];

	if (!there)
		return false;
	ecdh_key_public(there, share);

	AUTO_SECRET Secret *shared = ecdh_derive(here, share, err);
	const Secret *const parts[] = { shared };
	AUTO_SECRET Secret *prk = shared ? hkdf_extract(NULL, 0, parts, 1, err) : NULL;
	AUTO_SECRET Secret *key = prk ? hkdf_expand(prk, NULL, 0, AEAD_KEY_SIZE, err) : NULL;

	return key && digest_sha256("", 0, digest, err) && digest_sha384("", 0, digest, err);
}

bool crypto_prepare(Error *err)
{
	if (OPENSSL_init_crypto(OPENSSL_INIT_LOAD_CONFIG | OPENSSL_INIT_LOAD_CRYPTO_STRINGS |
					OPENSSL_INIT_ADD_ALL_CIPHERS | OPENSSL_INIT_ADD_ALL_DIGESTS,
				NULL) != 1)
		return openssl_error(err, ERROR_INTERNAL, "cannot start OpenSSL");
	return aead_self_test(aead_provider_by_name("openssl"), err) &&
	       crypto_prepare_thread(err) && use_each(err);
}
