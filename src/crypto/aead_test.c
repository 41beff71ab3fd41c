/* SPDX-License-Identifier: Apache-2.0 */
/* Known answers: McGrew and Viega, The Galois/Counter Mode of Operation, appendix B, AES-256. */
#include "crypto/aead.h"

#include <assert.h>
#include <string.h>

#include "base/buffer.h"

typedef struct KnownAnswer {
	const char *key, *nonce, *aad, *plain, *cipher, *tag; /* hex */
} KnownAnswer;

enum { KAT_TEXT_MAX = 64 };

static const char feff_key[] = "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308";
static const char zero_key[] = "0000000000000000000000000000000000000000000000000000000000000000";

static const KnownAnswer answers[] = {
	{ zero_key, "000000000000000000000000", "", "", "", "530f8afbc74536b9a963b4f1c4cb738b" },
	{ zero_key, "000000000000000000000000", "", "00000000000000000000000000000000",
	  "cea7403d4d606b6e074ec5d3baf39d18", "d0d1c8a799996bf0265b98b5d48ab919" },
	{ feff_key, "cafebabefacedbaddecaf888", "",
	  "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
	  "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255",
	  "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
	  "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad",
	  "b094dac5d93471bdec1a502270e3cc6c" },
	{ feff_key, "cafebabefacedbaddecaf888", "feedfacedeadbeeffeedfacedeadbeefabaddad2",
	  "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
	  "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
	  "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
	  "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
	  "76fc6ece0f4e1768cddf8853bb2d551b" },
};

static size_t from_hex(const char *hex, uint8_t *ret, size_t max)
{
	size_t size = strlen(hex) / 2;

	assert(size <= max);
	if (!hex_decode(hex, ret, size))
		assert(0 && "our own constants are hex");
	return size;
}

static bool check_answer(const AeadProvider *provider, const KnownAnswer *answer, Error *err)
{
	uint8_t key[AEAD_KEY_SIZE], nonce[AEAD_NONCE_SIZE], aad[KAT_TEXT_MAX], plain[KAT_TEXT_MAX];
	uint8_t cipher[KAT_TEXT_MAX], tag[AEAD_TAG_SIZE], out[KAT_TEXT_MAX], out_tag[AEAD_TAG_SIZE];
	size_t size = from_hex(answer->plain, plain, sizeof(plain));
	size_t aad_size = from_hex(answer->aad, aad, sizeof(aad));

	from_hex(answer->key, key, sizeof(key));
	from_hex(answer->nonce, nonce, sizeof(nonce));
	from_hex(answer->cipher, cipher, sizeof(cipher));
	from_hex(answer->tag, tag, sizeof(tag));

	AUTO_SECRET Secret *secret = secret_new_from(key, sizeof(key), err);
	AUTO_AEAD_KEY AeadKey *aead_key = secret ? aead_key_new(provider, secret, err) : NULL;

	if (!aead_key || !aead_seal(aead_key, nonce, aad, aad_size, plain, out, size, out_tag, err))
		return false;
	if (memcmp(out, cipher, size) || memcmp(out_tag, tag, sizeof(tag)))
		return error_set(err, ERROR_INTERNAL, "seals wrongly");
	if (!aead_open(aead_key, nonce, aad, aad_size, cipher, out, size, tag, err))
		return false;
	if (memcmp(out, plain, size))
		return error_set(err, ERROR_INTERNAL, "opens wrongly");
	tag[0] ^= 1;
	if (aead_open(aead_key, nonce, aad, aad_size, cipher, out, size, tag, err))
		return error_set(err, ERROR_INTERNAL, "opens with a wrong tag");
	*err = ERROR_INIT;
	return true;
}

bool aead_self_test(const AeadProvider *provider, Error *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(answers); i++)
		if (!check_answer(provider, &answers[i], err)) {
			err->category = ERROR_INTERNAL;
			return error_prefix(err, "AEAD provider %s, test case %zu", provider->name,
					    i + 13);
		}
	return true;
}
