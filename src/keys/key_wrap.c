/* SPDX-License-Identifier: Apache-2.0 */
#include "keys/key_wrap.h"

#include <assert.h>
#include <openssl/evp.h>
#include <string.h>

#include "base/buffer.h"
#include "crypto/aead.h"
#include "crypto/openssl.h"
#include "crypto/random.h"

enum { BOUND_MAX = 1024 };

DEFINE_CLEANUP(EVP_CIPHER_CTX, cipher_context, EVP_CIPHER_CTX_free)
#define AUTO_CIPHER_CONTEXT CLEANUP(cipher_context_cleanup)

/* OpenSSL gives the wrap modes only to who says so. */
static EVP_CIPHER_CTX *wrap_context_new(const Secret *by, int wrapping, Error *err)
{
	AUTO_CIPHER_CONTEXT EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();

	assert(secret_size(by) == KEY_BYTES);
	if (context)
		EVP_CIPHER_CTX_set_flags(context, EVP_CIPHER_CTX_FLAG_WRAP_ALLOW);
	if (!context || EVP_CipherInit_ex(context, EVP_aes_256_wrap(), NULL, secret_peek(by), NULL,
					  wrapping) != 1) {
		openssl_error(err, ERROR_INTERNAL, "OpenSSL gives no AES-256 key wrap");
		return NULL;
	}
	return TAKE_PTR(context);
}

bool key_wrap(const Secret *by, const Secret *key, uint8_t ret_wrapped[KEY_WRAPPED_BYTES],
	      Error *err)
{
	AUTO_CIPHER_CONTEXT EVP_CIPHER_CTX *context = wrap_context_new(by, 1, err);
	int size = 0;

	assert(secret_size(key) == KEY_BYTES);
	if (!context)
		return false;
	if (EVP_CipherUpdate(context, ret_wrapped, &size, secret_peek(key), KEY_BYTES) == 1 &&
	    size == KEY_WRAPPED_BYTES)
		return true;
	return openssl_error(err, ERROR_INTERNAL, "cannot wrap a key");
}

bool key_unwrap(const Secret *by, const uint8_t wrapped[KEY_WRAPPED_BYTES], Secret *ret_key,
		Error *err)
{
	AUTO_CIPHER_CONTEXT EVP_CIPHER_CTX *context = wrap_context_new(by, 0, err);
	int size = 0;

	assert(secret_size(ret_key) == KEY_BYTES);
	if (!context)
		return false;
	if (EVP_CipherUpdate(context, secret_bytes(ret_key), &size, wrapped, KEY_WRAPPED_BYTES) ==
		    1 &&
	    size == KEY_BYTES)
		return true;
	return openssl_error(err, ERROR_AUTH,
			     "a wrapped key is not of this root key, or was changed");
}

static bool put_text(Buffer *buffer, const char *text, Error *err)
{
	size_t length = strlen(text);

	return buffer_put_be16(buffer, (uint16_t)length, err) &&
	       buffer_put(buffer, text, length, err);
}

/* What never changes of a record. The label says which of the two uses it is for. */
static bool put_lasting(Buffer *bound, const char *label, const KeyRecord *key, Error *err)
{
	return put_text(bound, label, err) && buffer_put(bound, key->id, KEY_ID_BYTES, err) &&
	       buffer_put_be64(bound, key->version, err) &&
	       buffer_put_u8(bound, (uint8_t)key->purpose, err) && put_text(bound, key->vm, err) &&
	       put_text(bound, key->owner, err) && put_text(bound, key->slot, err) &&
	       buffer_put(bound, key->fingerprint, sizeof(key->fingerprint), err);
}

static bool put_state(Buffer *bound, const KeyRecord *key, Error *err)
{
	return buffer_put_u8(bound, (uint8_t)key->state, err) &&
	       buffer_put_be64(bound, key->epoch, err) && put_text(bound, key->exposed_to, err) &&
	       buffer_put(bound, key->migration, sizeof(key->migration), err);
}

/* Each sealing has a key of its own; the nonce is random all the same. */
static bool seal(const Secret *by, const Buffer *bound, const Secret *value,
		 uint8_t ret_sealed[KEY_SEALED_BYTES], Error *err)
{
	AUTO_AEAD_KEY AeadKey *aead = aead_key_new(aead_provider_by_name("openssl"), by, err);

	assert(secret_size(value) == KEY_BYTES);
	return aead && random_bytes(ret_sealed, AEAD_NONCE_SIZE, err) &&
	       aead_seal(aead, ret_sealed, bound->data, bound->used, secret_peek(value),
			 ret_sealed + AEAD_NONCE_SIZE, KEY_BYTES,
			 ret_sealed + AEAD_NONCE_SIZE + KEY_BYTES, err);
}

/* Into `value`, which may be `by`: the cipher has taken the key by then. After a failure nothing of
 * it is of use. */
static bool unseal(const Secret *by, const Buffer *bound, const uint8_t sealed[KEY_SEALED_BYTES],
		   Secret *value, Error *err)
{
	AUTO_AEAD_KEY AeadKey *aead = aead_key_new(aead_provider_by_name("openssl"), by, err);

	assert(secret_size(value) == KEY_BYTES);
	return aead &&
	       aead_open(aead, sealed, bound->data, bound->used, sealed + AEAD_NONCE_SIZE,
			 secret_bytes(value), KEY_BYTES, sealed + AEAD_NONCE_SIZE + KEY_BYTES, err);
}

static bool bind_at_rest(const KeyRecord *key, Buffer *bound, Error *err)
{
	return put_lasting(bound, "sealift key at rest 1", key, err) && put_state(bound, key, err);
}

static bool bind_blob(const KeyRecord *key, Buffer *bound, Error *err)
{
	return put_lasting(bound, "sealift key given away 1", key, err);
}

bool key_seal(RootKey *root, const KeyRecord *key, const Secret *value, KeyEnvelope *ret_envelope,
	      Error *err)
{
	AUTO_SECRET Secret *by = random_secret(KEY_BYTES, err);
	AUTO_BUFFER Buffer bound = BUFFER_INIT(BOUND_MAX);

	return by && bind_at_rest(key, &bound, err) &&
	       root->type->wrap(root, by, ret_envelope->wrapped, err) &&
	       seal(by, &bound, value, ret_envelope->sealed, err);
}

/* Which key it was, for whoever reads the error. */
static Secret *refuse(const KeyRecord *key, Error *err)
{
	char id[KEY_ID_HEX];

	key_id_text(key->id, id);
	error_prefix(err, "key %s version %llu does not open", id,
		     (unsigned long long)key->version);
	return NULL;
}

bool key_unseal_into(RootKey *root, const KeyRecord *key, const KeyEnvelope *envelope,
		     Secret *ret_value, Error *err)
{
	AUTO_BUFFER Buffer bound = BUFFER_INIT(BOUND_MAX);

	if (!bind_at_rest(key, &bound, err))
		return false;
	if (root->type->unwrap(root, envelope->wrapped, ret_value, err) &&
	    unseal(ret_value, &bound, envelope->sealed, ret_value, err))
		return true;
	(void)refuse(key, err);
	return false;
}

Secret *key_unseal(RootKey *root, const KeyRecord *key, const KeyEnvelope *envelope, Error *err)
{
	AUTO_SECRET Secret *value = secret_new(KEY_BYTES, err);

	if (!value || !key_unseal_into(root, key, envelope, value, err))
		return NULL;
	return TAKE_PTR(value);
}

bool key_blob_seal(const KeyRecord *key, const Secret *value, Secret **ret_blob_key,
		   Secret **ret_blob, Error *err)
{
	AUTO_SECRET Secret *blob_key = random_secret(KEY_BYTES, err);
	AUTO_SECRET Secret *blob = blob_key ? secret_new(KEY_SEALED_BYTES, err) : NULL;
	AUTO_BUFFER Buffer bound = BUFFER_INIT(BOUND_MAX);

	if (!blob || !bind_blob(key, &bound, err) ||
	    !seal(blob_key, &bound, value, secret_bytes(blob), err))
		return false;
	*ret_blob_key = TAKE_PTR(blob_key);
	*ret_blob = TAKE_PTR(blob);
	return true;
}

Secret *key_blob_open(const KeyRecord *key, const Secret *blob_key, const Secret *blob, Error *err)
{
	AUTO_BUFFER Buffer bound = BUFFER_INIT(BOUND_MAX);
	uint8_t fingerprint[KEY_FINGERPRINT_BYTES];
	AUTO_SECRET Secret *value = NULL;

	if (!bind_blob(key, &bound, err))
		return NULL;
	if (secret_size(blob) != KEY_SEALED_BYTES) {
		error_set(err, ERROR_AUTH, "%zu bytes came, not %d", secret_size(blob),
			  KEY_SEALED_BYTES);
		return refuse(key, err);
	}
	value = secret_new(KEY_BYTES, err);
	if (!value || !unseal(blob_key, &bound, secret_peek(blob), value, err))
		return refuse(key, err);
	if (!key_fingerprint(key->id, key->version, value, fingerprint, err))
		return NULL;
	if (memcmp(fingerprint, key->fingerprint, sizeof(fingerprint)) != 0) {
		error_set(err, ERROR_AUTH, "the value has another fingerprint");
		return refuse(key, err);
	}
	return TAKE_PTR(value);
}
