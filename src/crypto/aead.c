/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/aead.h"

#include <assert.h>
#include <string.h>

#include "base/clock.h"
#include "crypto/aead_providers.h"
#include "crypto/random.h"

struct AeadKey {
	const AeadProvider *provider;
	void *state;
};

static const AeadProvider *const provider_table[] = {
	&aead_provider_openssl,
#ifdef HAVE_IPSEC_MB
	&aead_provider_ipsec_mb,
#endif
};

const AeadProvider *const *aead_providers(size_t *ret_count)
{
	*ret_count = ARRAY_SIZE(provider_table);
	return provider_table;
}

const AeadProvider *aead_provider_by_name(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(provider_table); i++)
		if (!strcmp(provider_table[i]->name, name) && provider_table[i]->usable())
			return provider_table[i];
	return NULL;
}

AeadKey *aead_key_new(const AeadProvider *provider, const Secret *key, Error *err)
{
	AUTO_AEAD_KEY AeadKey *aead_key = calloc(1, sizeof(*aead_key));

	if (!aead_key) {
		error_set(err, ERROR_INTERNAL, "no memory for a key");
		return NULL;
	}
	aead_key->provider = provider;
	aead_key->state = provider->state_new(err);
	if (!aead_key->state || !aead_key_replace(aead_key, key, err))
		return NULL;
	return TAKE_PTR(aead_key);
}

bool aead_key_replace(AeadKey *aead_key, const Secret *key, Error *err)
{
	assert(secret_size(key) == AEAD_KEY_SIZE);
	return aead_key->provider->set_key(aead_key->state, secret_peek(key), err);
}

void aead_key_free(AeadKey *aead_key)
{
	if (!aead_key)
		return;
	aead_key->provider->state_free(aead_key->state);
	free(aead_key);
}

static bool check_sizes(size_t aad_size, size_t size, Error *err)
{
	if (aad_size <= AEAD_SIZE_MAX && size <= AEAD_SIZE_MAX)
		return true;
	return error_set(err, ERROR_LIMIT, "record of %zu + %zu bytes: each may have %d", aad_size,
			 size, AEAD_SIZE_MAX);
}

bool aead_seal(AeadKey *aead_key, const uint8_t nonce[AEAD_NONCE_SIZE], const void *aad,
	       size_t aad_size, const uint8_t *in, uint8_t *out, size_t size,
	       uint8_t ret_tag[AEAD_TAG_SIZE], Error *err)
{
	if (!check_sizes(aad_size, size, err))
		return false;
	if (aead_key->provider->seal(aead_key->state, nonce, aad, aad_size, in, out, size, ret_tag))
		return true;
	return error_set(err, ERROR_INTERNAL, "%s cannot seal %zu bytes", aead_key->provider->name,
			 size);
}

bool aead_open(AeadKey *aead_key, const uint8_t nonce[AEAD_NONCE_SIZE], const void *aad,
	       size_t aad_size, const uint8_t *in, uint8_t *out, size_t size,
	       const uint8_t tag[AEAD_TAG_SIZE], Error *err)
{
	if (!check_sizes(aad_size, size, err))
		return false;
	if (aead_key->provider->open(aead_key->state, nonce, aad, aad_size, in, out, size, tag))
		return true;
	if (size)
		explicit_bzero(out, size);
	return error_set(err, ERROR_AUTH, "record of %zu bytes does not authenticate", size);
}

static bool measure_with(AeadKey *aead_key, uint8_t *record, size_t record_bytes, int64_t budget_us,
			 double *ret_bytes_per_second, Error *err)
{
	uint8_t nonce[AEAD_NONCE_SIZE] = { 0 }, tag[AEAD_TAG_SIZE];
	int64_t start_us, elapsed_us = 0;
	uint64_t records = 0;

	/* One record first: page faults and lazily loaded code are not the provider's speed. */
	if (!aead_seal(aead_key, nonce, NULL, 0, record, record, record_bytes, tag, err))
		return false;
	start_us = clock_monotonic_us(&clock_system);
	/* Nonces come again, with a key that was drawn for this and zeros to seal. */
	do {
		nonce[records % AEAD_NONCE_SIZE]++;
		if (!aead_seal(aead_key, nonce, NULL, 0, record, record, record_bytes, tag, err))
			return false;
		records++;
		elapsed_us = clock_monotonic_us(&clock_system) - start_us;
	} while (elapsed_us < budget_us);
	*ret_bytes_per_second = (double)records * (double)record_bytes * 1e6 / (double)elapsed_us;
	return true;
}

bool aead_measure(const AeadProvider *provider, size_t record_bytes, unsigned int budget_ms,
		  double *ret_bytes_per_second, Error *err)
{
	AUTO_SECRET Secret *key = NULL;
	AUTO_AEAD_KEY AeadKey *aead_key = NULL;
	AUTO_FREE uint8_t *record = NULL;

	if (!record_bytes || record_bytes > AEAD_SIZE_MAX || !budget_ms || budget_ms > 10000)
		return error_set(err, ERROR_USAGE,
				 "cannot measure %zu bytes (1..%d) for %u ms (1..10000)",
				 record_bytes, AEAD_SIZE_MAX, budget_ms);
	key = random_secret(AEAD_KEY_SIZE, err);
	aead_key = key ? aead_key_new(provider, key, err) : NULL;
	if (!aead_key)
		return false;
	record = calloc(1, record_bytes);
	if (!record)
		return error_set(err, ERROR_INTERNAL, "no memory for a record of %zu bytes",
				 record_bytes);
	return measure_with(aead_key, record, record_bytes, (int64_t)budget_ms * 1000,
			    ret_bytes_per_second, err);
}

/* Rounds in which the contenders take turns; the best round counts, since other work on the machine
 * can only make one slower. */
enum { CHOICE_ROUNDS = 4 };

const AeadProvider *aead_choose_fastest(size_t record_bytes, unsigned int budget_ms,
					double *ret_bytes_per_second, Error *err)
{
	const AeadProvider *best = NULL;
	Error why = ERROR_INIT;
	double best_rate = 0;
	unsigned int turn_ms = budget_ms > CHOICE_ROUNDS ? budget_ms / CHOICE_ROUNDS : 1;

	for (size_t i = 0; i < CHOICE_ROUNDS * ARRAY_SIZE(provider_table); i++) {
		const AeadProvider *provider = provider_table[i % ARRAY_SIZE(provider_table)];
		double rate = 0;

		if (!provider->usable() || !aead_self_test(provider, &why) ||
		    !aead_measure(provider, record_bytes, turn_ms, &rate, &why) || rate <= best_rate)
			continue;
		best = provider;
		best_rate = rate;
	}
	if (!best) {
		*err = why;
		error_prefix(err, "no AEAD provider works");
		return NULL;
	}
	if (ret_bytes_per_second)
		*ret_bytes_per_second = best_rate;
	return best;
}
