/* SPDX-License-Identifier: Apache-2.0 */
/* Offers and receipts of key managers as documents: each byte of them, the openssl command as an
 * auditor, the texts that PROTOCOL.md shows (SEALIFT_TEST_PROTOCOL is its path), and what a move
 * leaves in memory. */
#include "tests/keys/transfer_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "crypto/digest.h"
#include "fixture_memory.h"

/* --- each byte --- */

typedef struct Judge {
	const TransferWorld *world;
	KeyStatement expected;
	size_t accepted;
} Judge;

static void judge_changed(void *context, Mutation mutation, const uint8_t *data, size_t size)
{
	Judge *judge = context;
	uint8_t digest[KEY_DIGEST_BYTES];
	KeyStatement found;
	Error err = ERROR_INIT;

	(void)mutation;
	if (size && key_statement_verify(judge->world->anchors, judge->world->now_s, data, size,
					 &judge->expected, &found, digest, &err))
		judge->accepted++;
}

/* One bit of each byte: a different one each time, so that all eight are met. */
static void each_byte(const TransferWorld *world, TransferKind made)
{
	const Buffer *der = &world->made[made];
	Judge judge = { .world = world };
	AUTO_BUFFER Buffer copy = BUFFER_INIT(LIMIT_STATEMENT + 1);
	Error err = ERROR_INIT;

	world_read(world, made, &judge.expected);
	assert_true(buffer_put(&copy, der->data, der->used, &err));
	judge_changed(&judge, MUTATION_FLIP, copy.data, copy.used);
	assert_int_equal(judge.accepted, 1);
	for (size_t i = 0; i < copy.used; i++) {
		uint8_t mask = (uint8_t)(1 << i % 8);

		copy.data[i] ^= mask;
		judge_changed(&judge, MUTATION_FLIP, copy.data, copy.used);
		if (judge.accepted != 1)
			fail_msg("\"%s\": byte %zu may be changed by 0x%02x",
				 key_statement_words[judge.expected.kind], i, mask);
		copy.data[i] ^= mask;
	}
	for (size_t size = 1; size < copy.used; size++)
		judge_changed(&judge, MUTATION_CUT, copy.data, size);
	assert_true(buffer_put_u8(&copy, 0, &err));
	judge_changed(&judge, MUTATION_APPEND, copy.data, copy.used);
	assert_int_equal(judge.accepted, 1);
	print_message("%s: %zu bytes, none of which may be changed\n",
		      key_statement_words[judge.expected.kind], der->used);
}

static void test_every_byte_counts(void **state)
{
	AUTO_WORLD TransferWorld *world = world_open(1, false);

	(void)state;
	world_go(world, WORLD_STEPS);
	each_byte(world, TRANSFER_OFFER);
	each_byte(world, TRANSFER_ACTIVATED);
}

/* --- what the signer does not sign --- */

static void not_made(const CmsSigner *signer, const KeyStatement *statement, ErrorCategory category,
		     const char *reason)
{
	AUTO_BUFFER Buffer der = BUFFER_INIT(LIMIT_STATEMENT);
	uint8_t digest[KEY_DIGEST_BYTES];
	Error err = ERROR_INIT;

	assert_fails(key_statement_make(signer, statement, &der, digest, &err), category, reason,
		     &err);
	assert_int_equal(der.used, 0);
}

static void test_make_refuses(void **state)
{
	AUTO_WORLD TransferWorld *world = world_open(1, false);
	AUTO_CMS_SIGNER CmsSigner *host =
		fixture_signer(&world->south.domain, SPIFFE_HOST, "a", WORLD_NOW_S);
	KeyStatement offer, receipt;

	(void)state;
	world_go(world, 3);
	world_read(world, TRANSFER_OFFER, &offer);
	world_read(world, TRANSFER_IMPORT, &receipt);
	not_made(world->north.signer, &offer, ERROR_CONFLICT,
		 "\"offer\" is the word of the key manager of south.example, not of");
	not_made(host, &offer, ERROR_CONFLICT, "is the word of the key manager");
	receipt.kind = KEY_STATEMENT_DESTROYED;
	not_made(world->south.signer, &receipt, ERROR_CONFLICT,
		 "\"destroyed\" is the word of the key manager of north.example, not of");
	receipt.kind = KEY_STATEMENT_IMPORTED;
	receipt.keys_count = 0;
	not_made(world->south.signer, &receipt, ERROR_PEER, "keys");
	offer.expires_s = offer.issued_s + LIMIT_KEY_OFFER_AGE_S + 1;
	not_made(world->south.signer, &offer, ERROR_CONFLICT, "not for 1..3600 s");
}

/* Names and numbers as long as they may be still fit. */
static void test_largest(void **state)
{
	KeyStatement statement = { .kind = KEY_STATEMENT_DISCARDED,
				   .vm = "8a6b0f9e-4c5d-4e1f-9a3b-2c7d6e5f4a3b",
				   .epoch = INT64_MAX,
				   .issued_s = INT64_MAX,
				   .expires_s = INT64_MAX,
				   .certificates_size = LIMIT_KEY_OFFER_CERTIFICATES,
				   .keys_count = LIMIT_OFFERED_KEYS };
	AUTO_BUFFER Buffer receipt = BUFFER_INIT(LIMIT_STATEMENT_JSON);
	AUTO_BUFFER Buffer offer = BUFFER_INIT(LIMIT_STATEMENT_JSON);
	Error err = ERROR_INIT;

	(void)state;
	memset(statement.owner, 'o', sizeof(statement.owner) - 1);
	memset(statement.source, 's', sizeof(statement.source) - 1);
	memset(statement.destination, 'd', sizeof(statement.destination) - 1);
	for (size_t i = 0; i < LIMIT_OFFERED_KEYS; i++)
		statement.keys[i].version = INT64_MAX;
	assert_works(key_statement_encode_json(&statement, &receipt, &err), &err);
	statement.kind = KEY_STATEMENT_OFFER;
	assert_works(key_statement_encode_json(&statement, &offer, &err), &err);
	print_message("offer: %zu, receipt: %zu bytes\n", offer.used, receipt.used);
}

/* --- the page --- */

enum { PAGE_MAX = 1 << 20 };

/* What stands behind "NAME = " on its line; owned by the caller. */
static char *line_of(const char *name)
{
	AUTO_BUFFER Buffer page = BUFFER_INIT(PAGE_MAX);
	char start[64];
	const char *at;
	char *line;
	Error err = ERROR_INIT;

	assert_non_null(getenv("SEALIFT_TEST_PROTOCOL"));
	assert_works(file_read(getenv("SEALIFT_TEST_PROTOCOL"), PAGE_MAX - 1, &page, &err), &err);
	assert_true(buffer_put_u8(&page, 0, &err));
	snprintf(start, sizeof(start), "\n%s = ", name);
	at = strstr((const char *)page.data, start);
	if (!at)
		fail_msg("PROTOCOL.md has no line %s", name);
	at += strlen(start);
	line = strndup(at, strcspn(at, "\n"));
	assert_non_null(line);
	return line;
}

static void read_shown(const char *name, KeyStatement *ret_statement)
{
	AUTO_FREE char *json = line_of(name);
	AUTO_BUFFER Buffer again = BUFFER_INIT(LIMIT_STATEMENT_JSON);
	Error err = ERROR_INIT;

	assert_works(key_statement_decode_json(json, strlen(json), ret_statement, &err), &err);
	assert_works(key_statement_encode_json(ret_statement, &again, &err), &err);
	assert_int_equal(again.used, strlen(json));
	assert_memory_equal(again.data, json, again.used);
}

static void test_page_is_right(void **state)
{
	AUTO_FREE char *digest_line = line_of("key_imported_sha384");
	AUTO_FREE char *imported_json = line_of("key_imported_json");
	uint8_t digest[KEY_DIGEST_BYTES], shown[KEY_DIGEST_BYTES];
	KeyStatement offer, imported, activated;
	Error err = ERROR_INIT;

	(void)state;
	read_shown("key_offer_json", &offer);
	read_shown("key_imported_json", &imported);
	read_shown("key_activated_json", &activated);
	assert_int_equal(offer.kind, KEY_STATEMENT_OFFER);
	assert_memory_equal(offer.certificates, "-----BEGIN CERTIFICATE-----", 27);
	assert_int_equal(imported.kind, KEY_STATEMENT_IMPORTED);
	assert_int_equal(activated.kind, KEY_STATEMENT_ACTIVATED);
	assert_works(digest_sha384(imported_json, strlen(imported_json), digest, &err), &err);
	assert_true(hex_decode(digest_line, shown, sizeof(shown)));
	assert_memory_equal(digest, shown, sizeof(digest));
	assert_memory_equal(activated.previous, digest, sizeof(digest));
	assert_memory_equal(activated.package, imported.package, sizeof(imported.package));
}

/* --- the openssl command --- */

static void put_file(const char *folder, const char *name, const Buffer *contents)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	fixture_write(path, contents);
}

static int run(const char *folder, const char *command)
{
	char line[1024];

	snprintf(line, sizeof(line), "cd '%s' && %s 2>errors", folder, command);
	return system(line);
}

#define VERIFY                                                                                     \
	"openssl cms -verify -binary -cades -inform DER -in document -CAfile root.crt "            \
	"-purpose any -no_check_time -out json"

static void audit(const char *folder, const TransferWorld *world, TransferKind made,
		  const WorldSide *side)
{
	AUTO_BUFFER Buffer expected = world_json(world, made);
	AUTO_BUFFER Buffer found = BUFFER_INIT(LIMIT_STATEMENT_JSON);
	char path[512];
	Error err = ERROR_INIT;

	put_file(folder, "document", &world->made[made]);
	put_file(folder, "root.crt", &side->domain.root_pem);
	assert_int_equal(run(folder, VERIFY), 0);
	snprintf(path, sizeof(path), "%s/json", folder);
	assert_works(file_read(path, LIMIT_STATEMENT_JSON, &found, &err), &err);
	assert_int_equal(found.used, expected.used);
	assert_memory_equal(found.data, expected.data, found.used);
	world->made[made].data[world->made[made].used - 1] ^= 1;
	put_file(folder, "document", &world->made[made]);
	world->made[made].data[world->made[made].used - 1] ^= 1;
	assert_int_not_equal(run(folder, VERIFY), 0);
}

static void test_auditor(void **state)
{
	AUTO_WORLD TransferWorld *world = world_open(1, false);
	char *folder;

	(void)state;
	if (system("openssl version >/dev/null 2>&1"))
		skip();
	folder = fixture_directory_new();
	world_go(world, WORLD_STEPS);
	audit(folder, world, TRANSFER_OFFER, &world->south);
	audit(folder, world, TRANSFER_IMPORT, &world->south);
	audit(folder, world, TRANSFER_ACTIVATED, &world->south);
	audit(folder, world, TRANSFER_RELEASE, &world->north);
	/* The certificate out of the offer, as the manual says. */
	put_file(folder, "document", &world->made[TRANSFER_OFFER]);
	put_file(folder, "root.crt", &world->south.domain.root_pem);
	assert_int_equal(run(folder, VERIFY " && grep -o '\"certificates\":\"[^\"]*' json | "
					    "cut -d'\"' -f4 | base64 -d >agree.crt && openssl "
					    "verify -no_check_time -CAfile root.crt agree.crt"),
			 0);
	fixture_directory_remove(folder);
}

/* --- memory --- */

static void test_no_value_is_left(void **state)
{
	AUTO_WORLD TransferWorld *world = world_open(3, false);
	uint8_t needles[3][KEY_BYTES], hex_needles[3][2 * KEY_BYTES];
	Error err = ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		char hex[2 * KEY_BYTES + 1];
		KeyRecord key;

		world_state(&world->north, world, i, &key);

		AUTO_SECRET Secret *value = key_store_value(world->north.store, &key, &err);

		assert_non_null(value);
		hex_encode(secret_peek(value), KEY_BYTES, hex);
		fixture_memory_invert(secret_peek(value), KEY_BYTES, needles[i]);
		fixture_memory_invert(hex, 2 * KEY_BYTES, hex_needles[i]);
		explicit_bzero(hex, sizeof(hex));
		assert_int_equal(fixture_memory_count(needles[i], KEY_BYTES), 1);
	}
	for (size_t step = 0; step < WORLD_STEPS; step++) {
		world_works(world, world_order[step]);
		for (size_t i = 0; i < 3; i++) {
			if (fixture_memory_count(needles[i], KEY_BYTES) ||
			    fixture_memory_count(hex_needles[i], 2 * KEY_BYTES))
				fail_msg("\"%s\" leaves the value of key %zu in memory",
					 transfer_words[world_order[step]], i);
		}
	}
	/* A package that is refused after it was opened. */
	AUTO_WORLD TransferWorld *second = world_open(1, false);
	KeyRecord key;

	world_go(second, 2);
	world_state(&second->north, second, 0, &key);
	second->now_s += TRANSFER_PACKAGE_LIFE_S;
	world_fails(second, TRANSFER_IMPORT, ERROR_AUTH, "package expired");

	AUTO_SECRET Secret *value = key_store_value(second->north.store, &key, &err);

	fixture_memory_invert(secret_peek(value), KEY_BYTES, needles[0]);
	assert_int_equal(fixture_memory_count(needles[0], KEY_BYTES), 1);
}

static int64_t time_us(void)
{
	return clock_monotonic_us(&clock_system);
}

/* Not judged: printed for the page. */
static void test_prints_times(void **state)
{
	AUTO_WORLD TransferWorld *world = world_open(3, false);

	(void)state;
	for (size_t i = 0; i < WORLD_STEPS; i++) {
		int64_t from_us = time_us();

		world_works(world, world_order[i]);
		print_message("%s: %lld us, %zu bytes\n", transfer_words[world_order[i]],
			      (long long)(time_us() - from_us), world->answer.document_size);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		/* First: a sanitizer keeps what the others free, and all of it is searched. */
		cmocka_unit_test(test_no_value_is_left), cmocka_unit_test(test_every_byte_counts),
		cmocka_unit_test(test_make_refuses),	 cmocka_unit_test(test_largest),
		cmocka_unit_test(test_page_is_right),	 cmocka_unit_test(test_auditor),
		cmocka_unit_test(test_prints_times),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
