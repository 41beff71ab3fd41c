/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/support.h"

#include <string.h>

#include "base/bounds.h"
#include "crypto/digest.h"
#include "tests/wire/vectors.h"
#include "wire/keys.h"

static KeysConnection example_connection(void)
{
	KeysConnection connection = { .channel = 1, .generation = 2 };

	memcpy(connection.source_nonce, vector_read("source_nonce").bytes, CHANNEL_NONCE_SIZE);
	memcpy(connection.destination_nonce, vector_read("destination_nonce").bytes,
	       CHANNEL_NONCE_SIZE);
	return connection;
}

static void assert_secret(const char *name, const Secret *secret)
{
	assert_non_null(secret);
	vector_assert(name, secret_peek(secret), secret_size(secret));
}

static void test_prk_is_the_documented_one(void **state)
{
	static const char offer[] = "{\"statement\":\"offer\"}";
	static const char accept[] = "{\"statement\":\"accept\"}";
	AUTO_SECRET Secret *key = vector_secret("migration_key");
	AUTO_SECRET Secret *ecdh = vector_secret("ecdh_secret");
	AUTO_SECRET Secret *exporter = vector_secret("tls_exporter");
	uint8_t offer_digest[DIGEST_SHA384_SIZE], accept_digest[DIGEST_SHA384_SIZE];
	Error err = ERROR_INIT;

	(void)state;
	assert_true(digest_sha384(offer, sizeof(offer) - 1, offer_digest, &err));
	assert_true(digest_sha384(accept, sizeof(accept) - 1, accept_digest, &err));
	vector_assert("offer_digest", offer_digest, sizeof(offer_digest));
	vector_assert("accept_digest", accept_digest, sizeof(accept_digest));

	AUTO_SECRET Secret *prk =
		keys_derive_prk(offer_digest, accept_digest, key, ecdh, exporter, &err);

	assert_secret("prk", prk);
	/* Which statement is which counts. */
	AUTO_SECRET Secret *other =
		keys_derive_prk(accept_digest, offer_digest, key, ecdh, exporter, &err);

	assert_false(secret_equal(prk, other));
}

static void test_prk_refuses_other_sizes(void **state)
{
	AUTO_SECRET Secret *key = vector_secret("migration_key");
	AUTO_SECRET Secret *ecdh = vector_secret("ecdh_secret");
	AUTO_SECRET Secret *exporter = vector_secret("tls_exporter");
	const uint8_t digest[DIGEST_SHA384_SIZE] = { 0 };
	Error err;

	(void)state;
	assert_fails(keys_derive_prk(digest, digest, ecdh, ecdh, exporter, &err), ERROR_INTERNAL,
		     "migration key has 48 bytes, expected 32", &err);
	assert_fails(keys_derive_prk(digest, digest, key, key, exporter, &err), ERROR_INTERNAL,
		     "ECDH secret has 32 bytes, expected 48", &err);
	assert_fails(keys_derive_prk(digest, digest, key, ecdh, key, &err), ERROR_INTERNAL,
		     "TLS exporter has 32 bytes, expected 48", &err);
}

static void check_direction(KeysDirection direction, const char *name)
{
	AUTO_SECRET Secret *prk = vector_secret("prk");
	KeysConnection connection = example_connection();
	Error err = ERROR_INIT;
	char text[64];
	AUTO_SECRET Secret *traffic = keys_derive_traffic(prk, direction, &connection, &err);
	AUTO_SECRET Secret *key = keys_derive_key(traffic, &err);
	AUTO_SECRET Secret *iv = keys_derive_iv(traffic, &err);
	AUTO_SECRET Secret *next = keys_derive_next(traffic, &err);

	snprintf(text, sizeof(text), "%s_secret", name);
	assert_secret(text, traffic);
	snprintf(text, sizeof(text), "%s_key", name);
	assert_secret(text, key);
	snprintf(text, sizeof(text), "%s_iv", name);
	assert_secret(text, iv);
	snprintf(text, sizeof(text), "%s_next_secret", name);
	assert_secret(text, next);
}

static void test_traffic_is_the_documented_one(void **state)
{
	(void)state;
	check_direction(KEYS_TO_DESTINATION, "to_destination");
	check_direction(KEYS_TO_SOURCE, "to_source");
}

static void test_traffic_of_a_disk_is_the_documented_one(void **state)
{
	AUTO_SECRET Secret *prk = vector_secret("prk");
	KeysConnection connection = example_connection();
	AUTO_SECRET Secret *out = NULL, *in = NULL;
	Error err = ERROR_INIT;

	(void)state;
	connection.channel = LIMIT_STREAM_CHANNELS;
	out = keys_derive_traffic(prk, KEYS_TO_DESTINATION, &connection, &err);
	assert_secret("disk_to_destination_secret", out);
	in = keys_derive_traffic(prk, KEYS_TO_SOURCE, &connection, &err);
	assert_secret("disk_to_source_secret", in);
}

static void assert_other(const KeysConnection *connection, KeysDirection direction)
{
	AUTO_SECRET Secret *prk = vector_secret("prk");
	AUTO_SECRET Secret *original = vector_secret("to_destination_secret");
	Error err = ERROR_INIT;
	AUTO_SECRET Secret *traffic = keys_derive_traffic(prk, direction, connection, &err);

	assert_non_null(traffic);
	assert_false(secret_equal(traffic, original));
}

static void test_every_input_changes_the_keys(void **state)
{
	KeysConnection connection = example_connection();

	(void)state;
	assert_other(&connection, KEYS_TO_SOURCE);
	connection.channel++;
	assert_other(&connection, KEYS_TO_DESTINATION);
	connection = example_connection();
	connection.generation++;
	assert_other(&connection, KEYS_TO_DESTINATION);
	for (size_t i = 0; i < CHANNEL_NONCE_SIZE; i++) {
		connection = example_connection();
		connection.source_nonce[i] ^= 1;
		assert_other(&connection, KEYS_TO_DESTINATION);
		connection = example_connection();
		connection.destination_nonce[i] ^= 1;
		assert_other(&connection, KEYS_TO_DESTINATION);
	}
}

static void test_traffic_refuses_another_prk_size(void **state)
{
	AUTO_SECRET Secret *key = vector_secret("migration_key");
	KeysConnection connection = example_connection();
	Error err;

	(void)state;
	assert_fails(keys_derive_traffic(key, KEYS_TO_SOURCE, &connection, &err), ERROR_INTERNAL,
		     "PRK has 32 bytes, expected 48", &err);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_prk_is_the_documented_one),
		cmocka_unit_test(test_prk_refuses_other_sizes),
		cmocka_unit_test(test_traffic_is_the_documented_one),
		cmocka_unit_test(test_traffic_of_a_disk_is_the_documented_one),
		cmocka_unit_test(test_every_input_changes_the_keys),
		cmocka_unit_test(test_traffic_refuses_another_prk_size),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
