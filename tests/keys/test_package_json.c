/* SPDX-License-Identifier: Apache-2.0 */
/* The one form of the JSON in a package: every other way to say the same is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "keys/package_json.h"

/* Bytes that count up, so that a slip in an offset shows. */
static void count_up(uint8_t *bytes, size_t size, uint8_t first)
{
	for (size_t i = 0; i < size; i++)
		bytes[i] = (uint8_t)(first + i);
}

static void sample(Package *package)
{
	PackageKey *key = &package->keys[0];

	memset(package, 0, sizeof(*package));
	count_up(package->id, sizeof(package->id), 0x10);
	count_up(package->migration, sizeof(package->migration), 0x20);
	count_up(package->permit, sizeof(package->permit), 0x30);
	snprintf(package->vm, sizeof(package->vm), "00010203-0405-0607-0809-0a0b0c0d0e0f");
	snprintf(package->owner, sizeof(package->owner), "owner.example");
	snprintf(package->sender, sizeof(package->sender), "spiffe://north.example/keyd");
	snprintf(package->receiver, sizeof(package->receiver), "spiffe://south.example/keyd");
	package->epoch = 2;
	package->move = true;
	package->issued_s = 1767225600;
	package->expires_s = 1767225900;
	package->keys_count = 1;
	count_up(key->id, sizeof(key->id), 0x60);
	count_up(key->value, sizeof(key->value), 0x70);
	count_up(key->fingerprint, sizeof(key->fingerprint), 0x90);
	key->version = 1;
	snprintf(key->slot, sizeof(key->slot), "disk0");
}

static const char text[] =
	"{\"id\":\"101112131415161718191a1b1c1d1e1f\","
	"\"migration\":\"202122232425262728292a2b2c2d2e2f\","
	"\"vm\":\"00010203-0405-0607-0809-0a0b0c0d0e0f\",\"owner\":\"owner.example\",\"epoch\":2,"
	"\"sender\":\"spiffe://north.example/keyd\",\"receiver\":\"spiffe://south.example/keyd\","
	"\"permit\":\"303132333435363738393a3b3c3d3e3f404142434445464748494a4b4c4d4e4f"
	"505152535455565758595a5b5c5d5e5f\",\"move\":true,\"issued_s\":1767225600,"
	"\"expires_s\":1767225900,\"keys\":[{\"id\":\"606162636465666768696a6b6c6d6e6f\","
	"\"version\":1,\"purpose\":\"image\",\"slot\":\"disk0\","
	"\"value\":\"707172737475767778797a7b7c7d7e7f808182838485868788898a8b8c8d8e8f\","
	"\"fingerprint\":\"909192939495969798999a9b9c9d9e9fa0a1a2a3a4a5a6a7a8a9aaabacadaeaf"
	"b0b1b2b3b4b5b6b7b8b9babbbcbdbebf\"}]}";

static void test_known_text(void **state)
{
	AUTO_BUFFER Buffer json = BUFFER_INIT(LIMIT_PACKAGE_JSON);
	Package package, decoded;
	Error err = ERROR_INIT;

	(void)state;
	sample(&package);
	if (!package_encode_json(&package, &json, &err))
		fail_msg("%s", err.text);
	assert_int_equal(json.used, sizeof(text) - 1);
	assert_memory_equal(json.data, text, sizeof(text) - 1);
	if (!package_decode_json(json.data, json.used, &decoded, &err))
		fail_msg("%s", err.text);
	assert_memory_equal(&decoded, &package, sizeof(package));
	/* The value is not in the text any more. */
	assert_null(memmem(json.data, json.used, "7071727374757677", 16));
}

static void refused(const void *bytes, size_t size, const char *what, const char *reason)
{
	static const Package nothing;
	AUTO_BUFFER Buffer json = BUFFER_INIT(2 * LIMIT_PACKAGE_JSON);
	Package package;
	Error err = ERROR_INIT;

	memset(&package, 'x', sizeof(package));
	assert_true(buffer_put(&json, bytes, size, &err));
	if (package_decode_json(json.data, json.used, &package, &err))
		fail_msg("%s: decoded", what);
	if (!strstr(err.text, reason))
		fail_msg("%s: \"%s\" does not say \"%s\"", what, err.text, reason);
	assert_int_equal(err.category, ERROR_PEER);
	assert_memory_equal(&package, &nothing, sizeof(package));
}

/* What is put in the place of what. */
typedef struct Change {
	const char *from, *to, *reason;
} Change;

static const Change changes[] = {
	{ "\"epoch\":2", "\"epoch\": 2", "has byte 0x20 at" },
	{ "}]}", "}]} ", "has byte 0x20 at" },
	{ "}]}", "}]}\n", "has byte 0x0a at" },
	{ "\"epoch\":2", "\"epoch\":2.0", "epoch is not a whole number" },
	{ "\"epoch\":2", "\"epoch\":0", "epoch" },
	{ "\"epoch\":2", "\"epoch\":-2", "epoch is not a whole number" },
	{ "\"epoch\":2", "\"epoch\":\"2\"", "epoch is not a whole number" },
	{ "\"epoch\":2,", "", "epoch is missing" },
	{ "\"epoch\":2", "\"epoch\":2,\"epoch\":2", "not JSON" },
	{ "\"epoch\":2", "\"epoch\":2,\"more\":2", "unknown member \"more\"" },
	{ "\"version\":1", "\"version\":1,\"more\":2", "unknown member \"more\"" },
	{ "\"move\":true,\"issued_s\":1767225600", "\"issued_s\":1767225600,\"move\":true",
	  "one form" },
	{ "\"move\":true", "\"move\":1", "move is not true or false" },
	{ "owner.example", "Owner.example", "owner" },
	{ "owner.example", "owner\xc3\xa9.example", "has byte 0xc3 at" },
	{ "owner.example", "owner\\u002eexample", "has byte 0x5c at" },
	{ "spiffe:", "spiffe\\u003a", "has byte 0x5c at" },
	{ "\"image\"", "\"picture\"", "not a known value" },
	{ "\"disk0\"", "\"../disk0\"", "slot" },
	{ "\"value\":\"7071", "\"value\":\"70G1", "value of key 0 is not 64" },
	{ "7f808182", "7F808182", "value of key 0 is not 64" },
	{ "\"value\":\"7071", "\"value\":\"71", "value of key 0 is not 64" },
	{ "\"value\":\"7071", "\"value\":\"707071", "value" },
	{ "\"value\":\"7071", "\"value\": \"7071", "has byte 0x20 at" },
	{ "\"value\":\"7071", "\"\\u0076alue\":\"7071", "has byte 0x5c at" },
	{ "\"value\":\"", "\"valve\":\"", "value is missing" },
	{ "{\"id\"",
	  "{\"value\":\"0000000000000000000000000000000000000000000000000000000000000000\",\"id\"",
	  "unknown member \"value\"" },
	{ "\"keys\":[{", "\"keys\":[[{", "not JSON" },
	{ "\"keys\":[{", "\"keys\":[{},{", "is missing" },
	{ "{\"id\":\"10", "[{\"id\":\"10", "not JSON" },
};

static void test_other_forms(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
		const Change *change = &changes[i];
		const char *at = strstr(text, change->from);
		char changed[2 * sizeof(text)];
		int length;

		assert_non_null(at);
		length = snprintf(changed, sizeof(changed), "%.*s%s%s", (int)(at - text), text,
				  change->to, at + strlen(change->from));
		assert_true(length > 0 && (size_t)length < sizeof(changed));
		refused(changed, (size_t)length, change->to, change->reason);
	}
	refused("", 0, "nothing", "not JSON");
	refused("{}", 2, "an empty object", "missing");
	refused("[]", 2, "a list", "not an object");
	refused("null", 4, "null", "not");
	refused(text, sizeof(text), "a NUL behind", "has byte 0x00 at");
}

static void test_cut(void **state)
{
	(void)state;
	for (size_t size = 0; size < sizeof(text) - 1; size++)
		refused(text, size, "a part", "");
}

/* A key more than there may be. */
static void test_too_many(void **state)
{
	const char *keys = strstr(text, "[{") + 1, *end = strstr(text, "]}");
	AUTO_BUFFER Buffer json = BUFFER_INIT(2 * LIMIT_PACKAGE_JSON);
	Error err = ERROR_INIT;

	(void)state;
	assert_true(buffer_put(&json, text, (size_t)(keys - text), &err));
	for (int i = 0; i <= LIMIT_PACKAGE_KEYS; i++)
		assert_true((!i || buffer_put_u8(&json, ',', &err)) &&
			    buffer_put(&json, keys, (size_t)(end - keys), &err));
	assert_true(buffer_put(&json, end, 2, &err));
	refused(json.data, json.used, "25 keys", "more than 24 values");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known_text),
		cmocka_unit_test(test_other_forms),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_too_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
