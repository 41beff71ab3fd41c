/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/keys/store_fixture.h"

#include <stdio.h>
#include <string.h>

#include "wire/json.h"

static void an_id_reads_back_and_nothing_else_does(void **state)
{
	static const char *const bad[] = {
		"",
		"0102ff0000000000000000000000000",
		"0102ff000000000000000000000000000",
		"0102FF00000000000000000000000000",
		"0102fg00000000000000000000000000",
		" 102ff00000000000000000000000000",
		"0x02ff00000000000000000000000000",
	};
	uint8_t id[KEY_ID_BYTES] = { 1, 2, 0xff }, again[KEY_ID_BYTES];
	char text[KEY_ID_HEX];
	Error err = ERROR_INIT;

	(void)state;
	key_id_text(id, text);
	assert_string_equal(text, "0102ff00000000000000000000000000");
	assert_works(key_id_parse(text, again, &err), &err);
	assert_memory_equal(id, again, sizeof(id));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_fails(key_id_parse(bad[i], again, &err), ERROR_USAGE,
			     "is not 32 lower-case hex digits", &err);
}

/* The arrows of key.h, written once more. */
static const char arrows[KEY_STATE_COUNT][KEY_STATE_COUNT + 1] = {
	[KEY_PRE_ACTIVE] = ".a..d.", [KEY_ACTIVE] = "..e.d.",	   [KEY_EXPORTING] = ".a...x",
	[KEY_IMPORTED] = ".a...x",   [KEY_DEACTIVATED] = ".....x", [KEY_DESTROYED] = "......",
};

static void a_state_follows_by_the_arrows_only(void **state)
{
	KeyRecord key;
	Error err = ERROR_INIT;
	size_t allowed = 0;

	(void)state;
	for (KeyState from = 0; from < KEY_STATE_COUNT; from++)
		for (KeyState to = 0; to < KEY_STATE_COUNT; to++) {
			char words[64];

			sample_key(1, from, &key);
			if (arrows[from][to] != '.') {
				assert_true(key_state_may_follow(from, to));
				assert_works(key_state_check(&key, to, &err), &err);
				allowed++;
				continue;
			}
			assert_false(key_state_may_follow(from, to));
			snprintf(words, sizeof(words), "is %s; only ", key_state_words[from]);
			assert_fails(key_state_check(&key, to, &err), ERROR_CONFLICT, words, &err);
			snprintf(words, sizeof(words), "may become %s", key_state_words[to]);
			assert_non_null(strstr(err.text, words));
		}
	assert_int_equal(allowed, 9);
	assert_false(key_state_may_follow(KEY_STATE_COUNT, KEY_ACTIVE));
	assert_false(key_state_may_follow(KEY_ACTIVE, KEY_STATE_COUNT));
}

static void the_refusal_names_who_may(void **state)
{
	Error err = ERROR_INIT;
	KeyRecord key;

	(void)state;
	sample_key(1, KEY_ACTIVE, &key);
	assert_fails(
		key_state_check(&key, KEY_DESTROYED, &err), ERROR_CONFLICT,
		"key a0010000000000000000000000000000 is active; only exporting or imported or "
		"deactivated may become destroyed",
		&err);
	assert_fails(key_state_check(&key, KEY_IMPORTED, &err), ERROR_CONFLICT,
		     "only a new key may become imported", &err);
}

static void a_record_says_where_it_is_and_on_which_way(void **state)
{
	Error err = ERROR_INIT;
	KeyRecord key;

	(void)state;
	for (KeyState at = 0; at < KEY_STATE_COUNT; at++) {
		sample_key(1, at, &key);
		assert_works(key_record_check(&key, &err), &err);
		key.migration[0] = !key.migration[0];
		assert_fails(key_record_check(&key, &err), ERROR_USAGE, "migration", &err);
	}
	sample_key(1, KEY_ACTIVE, &key);
	snprintf(key.reference, sizeof(key.reference), "7");
	assert_fails(key_record_check(&key, &err), ERROR_USAGE, "embedded has the reference \"7\"",
		     &err);
	snprintf(key.backend, sizeof(key.backend), "kmip-1");
	assert_works(key_record_check(&key, &err), &err);
	key.reference[0] = '\0';
	assert_fails(key_record_check(&key, &err), ERROR_USAGE, "kmip-1 has the reference \"\"",
		     &err);
}

static void what_breaks_the_schema_is_refused(void **state)
{
	Error err = ERROR_INIT;
	KeyRecord key;

	(void)state;
	sample_key(1, KEY_ACTIVE, &key);
	key.version = 0;
	assert_fails(key_record_check(&key, &err), ERROR_USAGE, "version is 0", &err);
	sample_key(1, KEY_ACTIVE, &key);
	key.state = KEY_STATE_COUNT;
	assert_fails(key_record_check(&key, &err), ERROR_USAGE, "state is 6", &err);
	sample_key(1, KEY_ACTIVE, &key);
	snprintf(key.slot, sizeof(key.slot), "../vda");
	assert_fails(key_record_check(&key, &err), ERROR_USAGE, "slot \"../vda\"", &err);
	sample_key(1, KEY_ACTIVE, &key);
	snprintf(key.owner, sizeof(key.owner), "CSP");
	assert_fails(key_record_check(&key, &err), ERROR_USAGE, "owner \"CSP\"", &err);
	sample_key(1, KEY_ACTIVE, &key);
	snprintf(key.exposed_to, sizeof(key.exposed_to), "a b");
	assert_fails(key_record_check(&key, &err), ERROR_USAGE, "exposed_to \"a b\"", &err);
}

/* No value can stand in the JSON of a record: it has no member for one. */
static void the_json_of_a_record_reads_back(void **state)
{
	AUTO_BUFFER Buffer json = BUFFER_INIT(4096);
	Error err = ERROR_INIT;
	KeyRecord key, again;

	(void)state;
	sample_key(9, KEY_EXPORTING, &key);
	assert_works(json_encode_plain(&key_record_schema, &key, &json, &err), &err);
	assert_works(json_decode_plain(&key_record_schema, json.data, json.used, &again, &err),
		     &err);
	assert_memory_equal(&key, &again, sizeof(key));
}

/* SHA-384 of label, NUL, id, version 1 in 8 bytes and value, by Python's hashlib. */
static void the_fingerprint_is_the_documented_one(void **state)
{
	static const char known[] = "e25234c81104076091eff53ffa7bcc41f89b39baf7628ab3"
				    "4620c58b6cbfafbb3272428a35031ae09f4aeba1b143d1da";
	AUTO_SECRET Secret *value = sample_value(1), *other = sample_value(2);
	uint8_t digest[KEY_FINGERPRINT_BYTES], again[KEY_FINGERPRINT_BYTES];
	char text[2 * KEY_FINGERPRINT_BYTES + 1];
	uint8_t id[KEY_ID_BYTES] = { 0xa0, 1 };
	Error err = ERROR_INIT;

	(void)state;
	assert_works(key_fingerprint(id, 1, value, digest, &err), &err);
	hex_encode(digest, sizeof(digest), text);
	assert_string_equal(text, known);
	assert_works(key_fingerprint(id, 2, value, again, &err), &err);
	assert_memory_not_equal(digest, again, sizeof(digest));
	assert_works(key_fingerprint(id, 1, other, again, &err), &err);
	assert_memory_not_equal(digest, again, sizeof(digest));
	id[15] = 1;
	assert_works(key_fingerprint(id, 1, value, again, &err), &err);
	assert_memory_not_equal(digest, again, sizeof(digest));
}

static void the_passphrase_is_base64(void **state)
{
	AUTO_SECRET Secret *value = sample_value(0);
	Error err = ERROR_INIT;
	AUTO_SECRET Secret *text = key_passphrase(value, &err);

	(void)state;
	assert_non_null(text);
	assert_int_equal(secret_size(text), KEY_PASSPHRASE_BYTES);
	assert_memory_equal(secret_peek(text),
			    "AAcOFRwjKjE4P0ZNVFtiaXB3foWMk5qhqK+2vcTL0tk=", KEY_PASSPHRASE_BYTES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_id_reads_back_and_nothing_else_does),
		cmocka_unit_test(a_state_follows_by_the_arrows_only),
		cmocka_unit_test(the_refusal_names_who_may),
		cmocka_unit_test(a_record_says_where_it_is_and_on_which_way),
		cmocka_unit_test(what_breaks_the_schema_is_refused),
		cmocka_unit_test(the_json_of_a_record_reads_back),
		cmocka_unit_test(the_fingerprint_is_the_documented_one),
		cmocka_unit_test(the_passphrase_is_base64),
	};

	return cmocka_run_group_tests_name("keys/key", tests, NULL, NULL);
}
