/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/hkdf.h"

#include <assert.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/params.h>

#include "crypto/openssl.h"

enum { INFO_MAX = 1024, PARAMS_MAX = 5 };

/* OSSL_PARAM has no const: OpenSSL only reads what is given to EVP_KDF_derive. */
static void *unconst(const void *pointer)
{
	return (void *)(uintptr_t)pointer;
}

static bool derive(int mode, const Secret *key, const char *extra_name, const void *extra,
		   size_t extra_size, Secret *ret, Error *err)
{
	AUTO_EVP_KDF EVP_KDF *kdf = EVP_KDF_fetch(NULL, OSSL_KDF_NAME_HKDF, NULL);
	AUTO_EVP_KDF_CONTEXT EVP_KDF_CTX *context = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
	char digest_name[] = "SHA384";
	OSSL_PARAM params[PARAMS_MAX], *p = params;

	*p++ = OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode);
	*p++ = OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest_name, 0);
	*p++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, unconst(secret_peek(key)),
						 secret_size(key));
	if (extra_size)
		*p++ = OSSL_PARAM_construct_octet_string(extra_name, unconst(extra), extra_size);
	*p = OSSL_PARAM_construct_end();
	if (!context || EVP_KDF_derive(context, secret_bytes(ret), secret_size(ret), params) != 1)
		return openssl_error(err, ERROR_INTERNAL, "HKDF failed");
	return true;
}

static Secret *concatenate(const Secret *const *parts, size_t n_parts, Error *err)
{
	size_t total = 0, at = 0;
	Secret *joined;

	assert(n_parts > 0);
	for (size_t i = 0; i < n_parts; i++)
		total += secret_size(parts[i]);
	if (total > SECRET_MAX_BYTES) {
		error_set(err, ERROR_LIMIT, "%zu bytes of key input are more than %d", total,
			  SECRET_MAX_BYTES);
		return NULL;
	}
	joined = secret_new(total, err);
	for (size_t i = 0; joined && i < n_parts; i++) {
		memcpy(secret_bytes(joined) + at, secret_peek(parts[i]), secret_size(parts[i]));
		at += secret_size(parts[i]);
	}
	return joined;
}

Secret *hkdf_extract(const void *salt, size_t salt_size, const Secret *const *parts, size_t n_parts,
		     Error *err)
{
	AUTO_SECRET Secret *input = concatenate(parts, n_parts, err);
	AUTO_SECRET Secret *prk = input ? secret_new(HKDF_PRK_SIZE, err) : NULL;

	if (!prk || !derive(EVP_KDF_HKDF_MODE_EXTRACT_ONLY, input, OSSL_KDF_PARAM_SALT, salt,
			    salt_size, prk, err))
		return NULL;
	return TAKE_PTR(prk);
}

Secret *hkdf_expand(const Secret *prk, const void *info, size_t info_size, size_t size, Error *err)
{
	AUTO_SECRET Secret *out = NULL;

	assert(size > 0 && size <= SECRET_MAX_BYTES && secret_size(prk) >= HKDF_PRK_SIZE);
	if (info_size > INFO_MAX) {
		error_set(err, ERROR_LIMIT, "%zu bytes of HKDF info are more than %d", info_size,
			  INFO_MAX);
		return NULL;
	}
	out = secret_new(size, err);
	if (!out || !derive(EVP_KDF_HKDF_MODE_EXPAND_ONLY, prk, OSSL_KDF_PARAM_INFO, info,
			    info_size, out, err))
		return NULL;
	return TAKE_PTR(out);
}
