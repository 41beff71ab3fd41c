/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/random.h"

#include <openssl/rand.h>

#include "crypto/openssl.h"

bool random_bytes(void *ret_bytes, size_t size_bytes, Error *err)
{
	if (RAND_bytes_ex(NULL, ret_bytes, size_bytes, 0) == 1)
		return true;
	return openssl_error(err, ERROR_INTERNAL, "no random bytes");
}

Secret *random_secret(size_t size_bytes, Error *err)
{
	AUTO_SECRET Secret *secret = secret_new(size_bytes, err);

	if (!secret)
		return NULL;
	if (RAND_priv_bytes_ex(NULL, secret_bytes(secret), size_bytes, 256) != 1) {
		openssl_error(err, ERROR_INTERNAL, "no random bytes");
		return NULL;
	}
	return TAKE_PTR(secret);
}
