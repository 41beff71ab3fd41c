/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/rand.h>

#include "base/buffer.h"
#include "crypto/aead.h"
#include "crypto/prepare.h"
#include "crypto/random.h"

enum { RECORD_MAX = 512 * 1024, AAD = 13 };

static const uint8_t nonce[AEAD_NONCE_SIZE] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 };

static AeadKey *key_of(const AeadProvider *provider, uint8_t seed)
{
	Error err = ERROR_INIT;
	AUTO_SECRET Secret *secret = secret_new(AEAD_KEY_SIZE, &err);
	AeadKey *key;

	assert_non_null(secret);
	memset(secret_bytes(secret), seed, AEAD_KEY_SIZE);
	key = aead_key_new(provider, secret, &err);
	assert_non_null(key);
	return key;
}

/* Runs `check` with each pair of usable providers. */
static void each_pair(void (*check)(const AeadProvider *seals, const AeadProvider *opens))
{
	size_t n, ran = 0;
	const AeadProvider *const *all = aead_providers(&n);

	for (size_t a = 0; a < n; a++)
		for (size_t b = 0; b < n; b++)
			if (all[a]->usable() && all[b]->usable()) {
				check(all[a], all[b]);
				ran++;
			}
	assert_true(ran >= 1);
}

static void test_known_answers(void **state)
{
	size_t n;
	const AeadProvider *const *all = aead_providers(&n);
	Error err = ERROR_INIT;

	(void)state;
	assert_string_equal(all[0]->name, "openssl");
	for (size_t i = 0; i < n; i++)
		if (all[i]->usable() && !aead_self_test(all[i], &err))
			fail_msg("%s", err.text);
}

static bool wrong_seal(void *state, const uint8_t *used_nonce, const void *aad, size_t aad_size,
		       const uint8_t *in, uint8_t *out, size_t size, uint8_t *ret_tag)
{
	(void)state;
	(void)used_nonce;
	(void)aad;
	(void)aad_size;
	if (size)
		memmove(out, in, size);
	memset(ret_tag, 0, AEAD_TAG_SIZE);
	return true;
}

static void test_known_answers_find_a_wrong_provider(void **state)
{
	AeadProvider wrong = *aead_provider_by_name("openssl");
	Error err = ERROR_INIT;

	(void)state;
	wrong.seal = wrong_seal;
	assert_false(aead_self_test(&wrong, &err));
	assert_int_equal(err.category, ERROR_INTERNAL);
	assert_non_null(strstr(err.text, "test case 13"));
}

static void check_round_trip(const AeadProvider *seals, const AeadProvider *opens)
{
	static const size_t sizes[] = { 0, 1, 15, 16, 17, 255, 4096, 65537, RECORD_MAX };
	AUTO_AEAD_KEY AeadKey *out_key = key_of(seals, 7);
	AUTO_AEAD_KEY AeadKey *in_key = key_of(opens, 7);
	AUTO_FREE uint8_t *plain = malloc(RECORD_MAX);
	AUTO_FREE uint8_t *record = malloc(RECORD_MAX);
	uint8_t tag[AEAD_TAG_SIZE];
	Error err = ERROR_INIT;

	assert_true(plain && record);
	assert_int_equal(RAND_bytes(plain, RECORD_MAX), 1);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		size_t size = sizes[i];

		memcpy(record, plain, size);
		assert_true(aead_seal(out_key, nonce, "header bytes", AAD, record, record, size,
				      tag, &err));
		if (size >= 15)
			assert_memory_not_equal(record, plain, size);
		assert_true(aead_open(in_key, nonce, "header bytes", AAD, record, record, size, tag,
				      &err));
		if (size)
			assert_memory_equal(record, plain, size);
	}
}

static void test_one_seals_another_opens(void **state)
{
	(void)state;
	each_pair(check_round_trip);
}

static void refused(AeadKey *key, const uint8_t *used_nonce, const void *aad, size_t aad_size,
		    const uint8_t *cipher, size_t size, const uint8_t *tag)
{
	uint8_t out[64];
	uint8_t zeros[64] = { 0 };
	Error err = ERROR_INIT;

	memset(out, 0xee, sizeof(out));
	assert_false(aead_open(key, used_nonce, aad, aad_size, cipher, out, size, tag, &err));
	assert_int_equal(err.category, ERROR_AUTH);
	assert_memory_equal(out, zeros, size);
}

/* Every bit of what goes in. */
static void check_flips(const AeadProvider *seals, const AeadProvider *opens)
{
	AUTO_AEAD_KEY AeadKey *out_key = key_of(seals, 7);
	AUTO_AEAD_KEY AeadKey *in_key = key_of(opens, 7);
	AUTO_AEAD_KEY AeadKey *other_key = key_of(opens, 8);
	uint8_t cipher[48], tag[AEAD_TAG_SIZE], aad[AAD] = "header bytes",
						bad_nonce[AEAD_NONCE_SIZE];
	Error err = ERROR_INIT;

	memset(cipher, 'x', sizeof(cipher));
	memcpy(bad_nonce, nonce, sizeof(nonce));
	assert_true(aead_seal(out_key, nonce, aad, AAD, cipher, cipher, sizeof(cipher), tag, &err));
	for (size_t bit = 0; bit < 8 * sizeof(cipher); bit++) {
		uint8_t mask = (uint8_t)(1 << bit % 8);
		size_t at = bit / 8;

		cipher[at] ^= mask;
		refused(in_key, nonce, aad, AAD, cipher, sizeof(cipher), tag);
		cipher[at] ^= mask;
		tag[at % sizeof(tag)] ^= mask;
		refused(in_key, nonce, aad, AAD, cipher, sizeof(cipher), tag);
		tag[at % sizeof(tag)] ^= mask;
		aad[at % AAD] ^= mask;
		refused(in_key, nonce, aad, AAD, cipher, sizeof(cipher), tag);
		aad[at % AAD] ^= mask;
		bad_nonce[at % sizeof(bad_nonce)] ^= mask;
		refused(in_key, bad_nonce, aad, AAD, cipher, sizeof(cipher), tag);
		bad_nonce[at % sizeof(bad_nonce)] ^= mask;
	}
	refused(in_key, nonce, aad, AAD, cipher, sizeof(cipher) - 1, tag);
	refused(in_key, nonce, aad, AAD - 1, cipher, sizeof(cipher), tag);
	refused(other_key, nonce, aad, AAD, cipher, sizeof(cipher), tag);
	assert_true(aead_open(in_key, nonce, aad, AAD, cipher, cipher, sizeof(cipher), tag, &err));
}

static void test_flipped_bits_are_refused(void **state)
{
	(void)state;
	each_pair(check_flips);
}

static void check_gmac(const AeadProvider *seals, const AeadProvider *opens)
{
	static const size_t sizes[] = { 1, 16, 100, 4096, 70001, RECORD_MAX };
	AUTO_AEAD_KEY AeadKey *out_key = key_of(seals, 9);
	AUTO_AEAD_KEY AeadKey *in_key = key_of(opens, 9);
	AUTO_FREE uint8_t *data = calloc(1, RECORD_MAX);
	uint8_t tag[AEAD_TAG_SIZE];
	Error err = ERROR_INIT;

	assert_non_null(data);
	assert_int_equal(RAND_bytes(data, RECORD_MAX), 1);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		assert_true(aead_seal(out_key, nonce, data, sizes[i], NULL, NULL, 0, tag, &err));
		assert_true(aead_open(in_key, nonce, data, sizes[i], NULL, NULL, 0, tag, &err));
		data[sizes[i] - 1] ^= 0x80;
		assert_false(aead_open(in_key, nonce, data, sizes[i], NULL, NULL, 0, tag, &err));
		data[sizes[i] - 1] ^= 0x80;
	}
}

static void test_gmac(void **state)
{
	(void)state;
	each_pair(check_gmac);
}

static void check_replace(const AeadProvider *seals, const AeadProvider *opens)
{
	AUTO_AEAD_KEY AeadKey *out_key = key_of(seals, 1);
	AUTO_AEAD_KEY AeadKey *in_key = key_of(opens, 2);
	uint8_t text[20] = "before", tag[AEAD_TAG_SIZE];
	Error err = ERROR_INIT;
	AUTO_SECRET Secret *next = secret_new(AEAD_KEY_SIZE, &err);

	assert_non_null(next);
	memset(secret_bytes(next), 2, AEAD_KEY_SIZE);
	assert_true(aead_seal(out_key, nonce, NULL, 0, text, text, sizeof(text), tag, &err));
	refused(in_key, nonce, NULL, 0, text, sizeof(text), tag);
	assert_true(aead_key_replace(out_key, next, &err));
	memcpy(text, "after", 6);
	assert_true(aead_seal(out_key, nonce, NULL, 0, text, text, sizeof(text), tag, &err));
	assert_true(aead_open(in_key, nonce, NULL, 0, text, text, sizeof(text), tag, &err));
	assert_string_equal((const char *)text, "after");
}

static void test_key_replace(void **state)
{
	(void)state;
	each_pair(check_replace);
}

static void test_sizes_are_bounded(void **state)
{
	AUTO_AEAD_KEY AeadKey *key = key_of(aead_provider_by_name("openssl"), 1);
	uint8_t byte = 0, tag[AEAD_TAG_SIZE];
	Error err = ERROR_INIT;

	(void)state;
	assert_false(
		aead_seal(key, nonce, NULL, 0, &byte, &byte, (size_t)AEAD_SIZE_MAX + 1, tag, &err));
	assert_int_equal(err.category, ERROR_LIMIT);
	err = ERROR_INIT;
	assert_false(aead_open(key, nonce, &byte, SIZE_MAX, &byte, &byte, 1, tag, &err));
	assert_int_equal(err.category, ERROR_LIMIT);
}

static void test_choice(void **state)
{
	double rate = 0;
	Error err = ERROR_INIT;
	const AeadProvider *fastest = aead_choose_fastest(65536, 5, &rate, &err);

	(void)state;
	assert_non_null(fastest);
	assert_true(rate > 1e6);
	assert_ptr_equal(aead_provider_by_name(fastest->name), fastest);
	assert_null(aead_provider_by_name("rot13"));
	assert_false(aead_measure(fastest, 0, 5, &rate, &err));
	assert_int_equal(err.category, ERROR_USAGE);
	assert_false(aead_measure(fastest, 1, 0, &rate, &err));
	assert_false(aead_measure(fastest, (size_t)AEAD_SIZE_MAX + 1, 5, &rate, &err));
}

static void test_prepare(void **state)
{
	uint8_t a[32] = { 0 }, b[32] = { 0 };
	Error err = ERROR_INIT;

	(void)state;
	assert_true(crypto_prepare(&err));
	assert_true(crypto_prepare(&err));
	assert_true(random_bytes(a, sizeof(a), &err));
	assert_true(random_bytes(b, sizeof(b), &err));
	assert_memory_not_equal(a, b, sizeof(a));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known_answers),
		cmocka_unit_test(test_known_answers_find_a_wrong_provider),
		cmocka_unit_test(test_one_seals_another_opens),
		cmocka_unit_test(test_flipped_bits_are_refused),
		cmocka_unit_test(test_gmac),
		cmocka_unit_test(test_key_replace),
		cmocka_unit_test(test_sizes_are_bounded),
		cmocka_unit_test(test_choice),
		cmocka_unit_test(test_prepare),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
