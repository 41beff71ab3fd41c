/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/ecdh.h"

#include <string.h>

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/params.h>

#include "crypto/openssl.h"

enum { POINT_UNCOMPRESSED = 0x04 }; /* SEC 1, section 2.3.3 */

struct EcdhKey {
	EVP_PKEY *pair;
	uint8_t public[ECDH_PUBLIC_SIZE];
};

static bool get_public(EcdhKey *ecdh_key)
{
	size_t size = 0;

	return EVP_PKEY_get_octet_string_param(ecdh_key->pair, OSSL_PKEY_PARAM_PUB_KEY,
					       ecdh_key->public, ECDH_PUBLIC_SIZE, &size) == 1 &&
	       size == ECDH_PUBLIC_SIZE && ecdh_key->public[0] == POINT_UNCOMPRESSED;
}

EcdhKey *ecdh_key_new(Error *err)
{
	AUTO_ECDH_KEY EcdhKey *ecdh_key = calloc(1, sizeof(*ecdh_key));

	if (ecdh_key)
		ecdh_key->pair = EVP_EC_gen("P-384");
	if (!ecdh_key || !ecdh_key->pair || !get_public(ecdh_key)) {
		openssl_error(err, ERROR_INTERNAL, "cannot make a P-384 key");
		return NULL;
	}
	return TAKE_PTR(ecdh_key);
}

void ecdh_key_free(EcdhKey *ecdh_key)
{
	if (!ecdh_key)
		return;
	EVP_PKEY_free(ecdh_key->pair);
	free(ecdh_key);
}

void ecdh_key_public(const EcdhKey *ecdh_key, uint8_t ret_public[ECDH_PUBLIC_SIZE])
{
	memcpy(ret_public, ecdh_key->public, ECDH_PUBLIC_SIZE);
}

static EVP_PKEY *peer_key(const uint8_t *peer)
{
	AUTO_EVP_PKEY_CONTEXT EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
	uint8_t point[ECDH_PUBLIC_SIZE];
	char group[] = "P-384";
	EVP_PKEY *key = NULL;
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0),
		OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point)),
		OSSL_PARAM_construct_end(),
	};

	memcpy(point, peer, sizeof(point));
	if (!context || EVP_PKEY_fromdata_init(context) != 1 ||
	    EVP_PKEY_fromdata(context, &key, EVP_PKEY_PUBLIC_KEY, params) != 1)
		return NULL;
	return key;
}

/* The full validation of SP 800-56A, section 5.6.2.3.3. */
static bool is_valid_public(EVP_PKEY *key)
{
	AUTO_EVP_PKEY_CONTEXT EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);

	return context && EVP_PKEY_public_check(context) == 1;
}

static bool agree(EVP_PKEY *own, EVP_PKEY *peer, Secret *ret)
{
	AUTO_EVP_PKEY_CONTEXT EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_pkey(NULL, own, NULL);
	size_t size = secret_size(ret);

	return context && EVP_PKEY_derive_init(context) == 1 &&
	       EVP_PKEY_derive_set_peer(context, peer) == 1 &&
	       EVP_PKEY_derive(context, secret_bytes(ret), &size) == 1 && size == secret_size(ret);
}

Secret *ecdh_derive(const EcdhKey *ecdh_key, const uint8_t peer[ECDH_PUBLIC_SIZE], Error *err)
{
	AUTO_EVP_PKEY EVP_PKEY *peer_pair = NULL;
	AUTO_SECRET Secret *shared = NULL;

	if (peer[0] != POINT_UNCOMPRESSED) {
		error_set(err, ERROR_PEER, "key share begins with 0x%02x, not 0x04 (uncompressed)",
			  peer[0]);
		return NULL;
	}
	if (!memcmp(peer, ecdh_key->public, ECDH_PUBLIC_SIZE)) {
		error_set(err, ERROR_PEER, "key share is our own");
		return NULL;
	}
	peer_pair = peer_key(peer);
	if (!peer_pair || !is_valid_public(peer_pair)) {
		openssl_error(err, ERROR_PEER, "key share is not a point on P-384");
		return NULL;
	}
	shared = secret_new(ECDH_SECRET_SIZE, err);
	if (!shared)
		return NULL;
	if (!agree(ecdh_key->pair, peer_pair, shared)) {
		openssl_error(err, ERROR_INTERNAL, "cannot agree on a secret");
		return NULL;
	}
	return TAKE_PTR(shared);
}
