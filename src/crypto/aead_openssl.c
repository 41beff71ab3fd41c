/* SPDX-License-Identifier: Apache-2.0 */
/* AES-256-GCM by OpenSSL: the cipher is fetched once and keeps its key schedule; a record sets the
 * nonce only, which is what makes small records cheap. */
#include "crypto/aead_providers.h"

#include <openssl/evp.h>

static bool openssl_usable(void)
{
	return true;
}

static void openssl_state_free(void *state)
{
	EVP_CIPHER_CTX_free(state);
}

static void *openssl_state_new(Error *err)
{
	EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
	EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();

	if (!cipher || !context || EVP_CipherInit_ex2(context, cipher, NULL, NULL, 1, NULL) != 1) {
		error_set(err, ERROR_INTERNAL, "OpenSSL gives no AES-256-GCM");
		EVP_CIPHER_CTX_free(context);
		context = NULL;
	}
	EVP_CIPHER_free(cipher); /* the context holds a reference of its own */
	return context;
}

static bool openssl_set_key(void *state, const uint8_t *key, Error *err)
{
	/* GCM uses the cipher's forward direction for both sealing and opening. */
	if (EVP_CipherInit_ex2(state, NULL, key, NULL, 1, NULL) == 1)
		return true;
	return error_set(err, ERROR_INTERNAL, "OpenSSL refuses an AES-256-GCM key");
}

static bool process(EVP_CIPHER_CTX *context, const uint8_t *nonce, int sealing, const void *aad,
		    size_t aad_size, const uint8_t *in, uint8_t *out, size_t size)
{
	int done = 0;

	return EVP_CipherInit_ex2(context, NULL, NULL, nonce, sealing, NULL) == 1 &&
	       (!aad_size || EVP_CipherUpdate(context, NULL, &done, aad, (int)aad_size) == 1) &&
	       (!size ||
		(EVP_CipherUpdate(context, out, &done, in, (int)size) == 1 && done == (int)size));
}

static bool openssl_seal(void *state, const uint8_t *nonce, const void *aad, size_t aad_size,
			 const uint8_t *in, uint8_t *out, size_t size, uint8_t *ret_tag)
{
	uint8_t none[EVP_MAX_BLOCK_LENGTH];
	int done = 0;

	return process(state, nonce, 1, aad, aad_size, in, out, size) &&
	       EVP_CipherFinal_ex(state, none, &done) == 1 &&
	       EVP_CIPHER_CTX_ctrl(state, EVP_CTRL_AEAD_GET_TAG, AEAD_TAG_SIZE, ret_tag) == 1;
}

static bool openssl_open(void *state, const uint8_t *nonce, const void *aad, size_t aad_size,
			 const uint8_t *in, uint8_t *out, size_t size, const uint8_t *tag)
{
	uint8_t none[EVP_MAX_BLOCK_LENGTH], expected[AEAD_TAG_SIZE];
	int done = 0;

	for (int i = 0; i < AEAD_TAG_SIZE; i++)
		expected[i] = tag[i];
	return process(state, nonce, 0, aad, aad_size, in, out, size) &&
	       EVP_CIPHER_CTX_ctrl(state, EVP_CTRL_AEAD_SET_TAG, AEAD_TAG_SIZE, expected) == 1 &&
	       EVP_CipherFinal_ex(state, none, &done) == 1;
}

const AeadProvider aead_provider_openssl = {
	.name = "openssl",
	.usable = openssl_usable,
	.state_new = openssl_state_new,
	.state_free = openssl_state_free,
	.set_key = openssl_set_key,
	.seal = openssl_seal,
	.open = openssl_open,
};
