/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/support.h"

#include <stdlib.h>
#include <string.h>

#include "keys/barbican_json.h"
#include "keys/wiping_memory.h"

#define UUID	  "2705ce93-ac7e-444d-aa24-53c0fdd58ef3"
#define REFERENCE "http://barbican.elsewhere.test:9311/v1/secrets/" UUID
/* As Keystone 22 and Barbican 15 of Debian 12 answer. */
#define TIMES                                                                                      \
	"\"expires_at\": \"2026-11-21T18:12:35.000000Z\", "                                        \
	"\"issued_at\": \"2026-11-21T17:12:35.000000Z\""
#define ENDPOINT(interface, region, url)                                                           \
	"{\"id\": \"900f\", \"interface\": \"" interface "\", \"region_id\": \"" region            \
	"\", \"url\": \"" url "\", \"region\": \"" region "\"}"
#define CATALOG(endpoints)                                                                         \
	", \"catalog\": [{\"endpoints\": [" ENDPOINT(                                              \
		"public", "here",                                                                  \
		"http://keystone") "], \"type\": \"identity\"}, {\"endpoints\": [" endpoints       \
				   "], \"id\": \"4b6c\", \"type\": \"key-manager\", \"name\": \"barbican\"}]"
#define TOKEN(members) "{\"token\": {\"methods\": [\"application_credential\"], " members "}}"
#define LISTED(name)                                                                               \
	"{\"created\": \"2026-11-21T17:14:56.393262\", \"status\": \"ACTIVE\", \"name\": " name    \
	", \"bit_length\": null, \"secret_ref\": \"" REFERENCE "\"}"

static int install(void **state)
{
	Error err = ERROR_INIT;

	(void)state;
	return wiping_memory_install(&err) ? 0 : -1;
}

static bool decode_token(const char *text, const char *region, BarbicanToken *token, Error *err)
{
	return barbican_decode_token(text, strlen(text), "public", region, token, err);
}

/* --- requests --- */

static void assert_body(const Buffer *body, const char *expected)
{
	assert_int_equal(body->used, strlen(expected));
	assert_memory_equal(body->data, expected, body->used);
}

static void test_requests(void **state)
{
	AUTO_BUFFER Buffer auth = BUFFER_INIT(BARBICAN_BODY_MAX);
	AUTO_BUFFER Buffer opaque = BUFFER_INIT(BARBICAN_BODY_MAX);
	AUTO_BUFFER Buffer key = BUFFER_INIT(BARBICAN_BODY_MAX);
	Error err = ERROR_INIT;
	AUTO_SECRET Secret *secret = secret_new_from("a\"b\\c", 5, &err);
	AUTO_SECRET Secret *zeros = secret_new(KEY_BYTES, &err);

	(void)state;
	assert_works(barbican_encode_auth("id", secret, &auth, &err), &err);
	assert_body(&auth,
		    "{\"auth\":{\"identity\":{\"methods\":[\"application_credential\"],"
		    "\"application_credential\":{\"id\":\"id\",\"secret\":\"a\\\"b\\\\c\"}}}}");
	assert_works(barbican_encode_secret("a\"b", secret, &opaque, &err), &err);
	assert_body(&opaque,
		    "{\"name\":\"a\\\"b\",\"secret_type\":\"opaque\",\"payload\":\"YSJiXGM=\","
		    "\"payload_content_type\":\"application/octet-stream\","
		    "\"payload_content_encoding\":\"base64\"}");
	assert_works(barbican_encode_secret("k", zeros, &key, &err), &err);
	assert_non_null(memmem(key.data, key.used, "\"algorithm\":\"aes\",\"bit_length\":256", 34));
}

static void test_requests_that_cannot_be(void **state)
{
	AUTO_BUFFER Buffer body = BUFFER_INIT(BARBICAN_BODY_MAX);
	AUTO_BUFFER Buffer small = BUFFER_INIT(16);
	Error err = ERROR_INIT;
	AUTO_SECRET Secret *bad = secret_new_from("\xff\xfe", 2, &err);
	AUTO_SECRET Secret *good = secret_new_from("x", 1, &err);

	(void)state;
	assert_fails(barbican_encode_auth("id", bad, &body, &err), ERROR_CONFIG, "not UTF-8", &err);
	assert_fails(barbican_encode_auth("\xff", good, &body, &err), ERROR_CONFIG, "not UTF-8",
		     &err);
	assert_fails(barbican_encode_secret("\xff", good, &body, &err), ERROR_USAGE, "not UTF-8",
		     &err);
	assert_fails(barbican_encode_auth("id", good, &small, &err), ERROR_LIMIT, "", &err);
	assert_int_equal(body.used, 0);
	assert_int_equal(small.used, 0);
}

/* --- tokens --- */

static void test_tokens(void **state)
{
	BarbicanToken token;
	Error err;

	(void)state;
	assert_works(decode_token(TOKEN(TIMES), NULL, &token, &err), &err);
	assert_int_equal(token.lifetime_s, 3600);
	assert_string_equal(token.key_manager, "");
	assert_works(decode_token(TOKEN("\"issued_at\": \"2024-02-28T23:59:59Z\", "
					"\"expires_at\": \"2024-03-01T00:00:00Z\""),
				  NULL, &token, &err),
		     &err);
	assert_int_equal(token.lifetime_s, 86401);
	assert_works(decode_token(TOKEN("\"issued_at\": \"2099-12-31T23:59:59.9Z\", "
					"\"expires_at\": \"2100-03-01T00:00:00Z\""),
				  NULL, &token, &err),
		     &err);
	assert_int_equal(token.lifetime_s, (31 + 28) * 86400 + 1); /* no leap year */
	assert_works(decode_token(TOKEN("\"issued_at\": \"1999-12-31T00:00:00Z\", "
					"\"expires_at\": \"2000-12-31T00:00:00Z\""),
				  NULL, &token, &err),
		     &err);
	assert_int_equal(token.lifetime_s, 366 * 86400);
}

static void test_the_catalogue(void **state)
{
	static const char one[] = TOKEN(TIMES CATALOG(ENDPOINT(
		"public", "here", "http://b") ", " ENDPOINT("internal", "here", "http://i")));
	static const char two[] = TOKEN(TIMES CATALOG(ENDPOINT(
		"public", "here", "http://b") ", " ENDPOINT("public", "there", "http://c")));
	BarbicanToken token;
	Error err;

	(void)state;
	assert_works(decode_token(one, NULL, &token, &err), &err);
	assert_string_equal(token.key_manager, "http://b");
	assert_works(barbican_decode_token(one, strlen(one), "internal", NULL, &token, &err), &err);
	assert_string_equal(token.key_manager, "http://i");
	assert_works(decode_token(two, "there", &token, &err), &err);
	assert_string_equal(token.key_manager, "http://c");
	assert_works(decode_token(two, "nowhere", &token, &err), &err);
	assert_string_equal(token.key_manager, "");
	assert_fails(decode_token(two, NULL, &token, &err), ERROR_CONFIG, "several key managers",
		     &err);
}

static void test_tokens_that_are_none(void **state)
{
	static const struct {
		const char *text, *words;
	} cases[] = {
		{ "", "not JSON" },
		{ "[]", "not an object" },
		{ "{}", "no token" },
		{ "{\"token\": \"x\"}", "no token" },
		{ TOKEN(TIMES) "x", "not JSON" },
		{ TOKEN(TIMES ", " TIMES), "duplicate" },
		{ TOKEN("\"issued_at\": \"2026-11-21T17:12:35Z\""), "expires_at" },
		{ TOKEN("\"issued_at\": \"2026-11-21T17:12:35Z\", \"expires_at\": "
			"\"2026-11-21T17:12:35Z\""),
		  "lives 0 seconds" },
		{ TOKEN("\"issued_at\": \"2026-11-21T17:12:35Z\", \"expires_at\": "
			"\"2028-11-21T17:12:35Z\""),
		  "are sane" },
		{ TOKEN("\"issued_at\": \"2026-11-21T17:12:35Z\", \"expires_at\": "
			"\"2026-11-21T18:12:35\""),
		  "in UTC" },
		{ TOKEN("\"issued_at\": \"2026-11-21T17:12:35Z\", \"expires_at\": "
			"\"2026-11-21T18:12:35Zx\""),
		  "in UTC" },
		{ TOKEN("\"issued_at\": \"2026-00-21T17:12:35Z\", \"expires_at\": "
			"\"2026-11-21T18:12:35Z\""),
		  "in UTC" },
		{ TOKEN(TIMES ", \"catalog\": {}"), "no list" },
		{ TOKEN(TIMES ", \"catalog\": [{\"type\": \"key-manager\"}]"), "no list" },
		{ TOKEN(TIMES CATALOG(ENDPOINT("public", "here", ""))), "without a URL" },
	};
	BarbicanToken token = { .lifetime_s = 7 };
	Error err;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_fails(decode_token(cases[i].text, NULL, &token, &err), ERROR_PEER,
			     cases[i].words, &err);
	assert_int_equal(token.lifetime_s, 7);
}

/* Each shorter text is none, and no text with a NUL in the place of a character. */
static void test_cut_and_holed(void **state)
{
	static const char good[] = TOKEN(TIMES CATALOG(ENDPOINT("public", "here", "http://b")));
	char text[sizeof(good)];
	BarbicanToken token;
	Error err = ERROR_INIT;

	(void)state;
	for (size_t size = 0; size < sizeof(good) - 1; size++)
		assert_false(barbican_decode_token(good, size, "public", NULL, &token, &err));
	for (size_t i = 0; i < sizeof(good) - 1; i++) {
		memcpy(text, good, sizeof(good));
		text[i] = '\0';
		assert_false(barbican_decode_token(text, sizeof(good) - 1, "public", NULL, &token,
						   &err));
	}
}

/* --- references and lists --- */

static bool decode_created(const char *text, char *uuid, Error *err)
{
	return barbican_decode_created(text, strlen(text), uuid, err);
}

static void test_references(void **state)
{
	static const char *const bad[] = {
		"{}",
		"[]",
		"{\"secret_ref\": null}",
		"{\"secret_ref\": \"\"}",
		"{\"secret_ref\": \"" UUID "\"}",
		"{\"secret_ref\": \"/v1/secrets/" UUID "\"}",
		"{\"secret_ref\": \"ftp://x/v1/secrets/" UUID "\"}",
		"{\"secret_ref\": \"http://x/v1/orders/" UUID "\"}",
		"{\"secret_ref\": \"http://x/v1/secrets/" UUID "/\"}",
		"{\"secret_ref\": \"http://x/v1/secrets/" UUID "\\u0000\"}",
		"{\"secret_ref\": \"http://x/v1/secrets/2705CE93-ac7e-444d-aa24-53c0fdd58ef3\"}",
	};
	char uuid[LIMIT_UUID] = "?";
	Error err;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_fails(decode_created(bad[i], uuid, &err), ERROR_PEER, "", &err);
	assert_string_equal(uuid, "?");
	assert_works(decode_created("{\"secret_ref\": \"" REFERENCE "\"}", uuid, &err), &err);
	assert_string_equal(uuid, UUID);
	assert_works(decode_created("{\"secret_ref\": \"https://h/key-manager/v1/secrets/" UUID
				    "\"}",
				    uuid, &err),
		     &err);
}

static bool decode_list(const char *text, const char *name, char *uuid, Error *err)
{
	return barbican_decode_list(text, strlen(text), name, uuid, err);
}

static void test_lists(void **state)
{
	char uuid[LIMIT_UUID] = "?";
	Error err;

	(void)state;
	assert_works(decode_list("{\"secrets\": [], \"total\": 0}", "n", uuid, &err), &err);
	assert_string_equal(uuid, "");
	assert_works(decode_list("{\"secrets\": [" LISTED("\"n\"") "]}", "n", uuid, &err), &err);
	assert_string_equal(uuid, UUID);
	assert_works(decode_list("{\"secrets\": [" LISTED("null") "]}", NULL, uuid, &err), &err);
	memcpy(uuid, "?", 2);
	assert_fails(decode_list("{\"secrets\": [" LISTED("\"m\"") "]}", "n", uuid, &err),
		     ERROR_PEER, "another name", &err);
	assert_fails(decode_list("{\"secrets\": [" LISTED("null") "]}", "n", uuid, &err),
		     ERROR_PEER, "another name", &err);
	assert_fails(decode_list("{\"secrets\": [" LISTED("\"n\"") ", {}]}", NULL, uuid, &err),
		     ERROR_PEER, "no secret_ref", &err);
	assert_fails(decode_list("{\"secrets\": {}}", NULL, uuid, &err), ERROR_PEER, "no list",
		     &err);
	assert_string_equal(uuid, "?");
}

static void test_refusals(void **state)
{
	static const char *const cases[][2] = {
		{ "{\"code\": 403, \"title\": \"Forbidden\", \"description\": \"no\"}",
		  "Forbidden: no" },
		{ "{\"error\": {\"code\": 401, \"title\": \"Unauthorized\", \"message\": \"who?\"}}",
		  "Unauthorized: who?" },
		{ "{\"title\": \"Full\"}", "Full" },
		{ "{\"title\": 7, \"description\": null}", "" },
		{ "<html>", "" },
		{ "", "" },
	};
	char text[LIMIT_BARBICAN_REFUSAL], longest[1200] = "{\"title\": \"";

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		barbican_decode_refusal(cases[i][0], strlen(cases[i][0]), text);
		assert_string_equal(text, cases[i][1]);
	}
	memset(longest + strlen(longest), 'x', 1000);
	memcpy(longest + strlen(longest), "\"}", 3);
	barbican_decode_refusal(longest, strlen(longest), text);
	assert_int_equal(strlen(text), LIMIT_BARBICAN_REFUSAL - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_requests),
		cmocka_unit_test(test_requests_that_cannot_be),
		cmocka_unit_test(test_tokens),
		cmocka_unit_test(test_the_catalogue),
		cmocka_unit_test(test_tokens_that_are_none),
		cmocka_unit_test(test_cut_and_holed),
		cmocka_unit_test(test_references),
		cmocka_unit_test(test_lists),
		cmocka_unit_test(test_refusals),
	};

	return cmocka_run_group_tests(tests, install, NULL);
}
