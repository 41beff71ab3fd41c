/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "fixture_memory.h"
#include "keys/package_json.h"
#include "package_world.h"

#define NOW FIXTURE_NOW_S

static void opened_by(const PackageWorld *world, const Buffer *der, const PackageExpected *expected,
		      Package *ret_package)
{
	Error err = ERROR_INIT;

	if (!package_open(world->store, world->key, world->now_s, der->data, der->used, expected,
			  ret_package, &err))
		fail_msg("%s", err.text);
}

static void refused_at(const PackageWorld *world, int64_t now_s, const Buffer *der,
		       const PackageExpected *expected, const char *reason)
{
	static const Package nothing;
	Package package;
	Error err = ERROR_INIT;

	memset(&package, 'x', sizeof(package));
	if (package_open(world->store, world->key, now_s, der->data, der->used, expected, &package,
			 &err))
		fail_msg("opened, not refused with \"%s\"", reason);
	if (!strstr(err.text, reason))
		fail_msg("\"%s\" does not say \"%s\"", err.text, reason);
	assert_true(err.category == ERROR_AUTH || err.category == ERROR_LIMIT ||
		    err.category == ERROR_PEER);
	assert_memory_equal(&package, &nothing, sizeof(package));
}

static void refused(const PackageWorld *world, const Buffer *der, const char *reason)
{
	refused_at(world, world->now_s, der, &world->expected, reason);
}

static void forgery_refused(const PackageWorld *world, const Package *package, const char *reason)
{
	AUTO_BUFFER Buffer der = package_world_forged(world, package);

	refused(world, &der, reason);
}

static void test_good(void **state)
{
	static const size_t counts[] = { 1, 3, LIMIT_PACKAGE_KEYS };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
		AUTO_PACKAGE_WORLD PackageWorld world;
		Package package;

		package_world_open(&world, counts[i], NOW);

		AUTO_BUFFER Buffer der = package_world_made(&world);

		opened_by(&world, &der, &world.expected, &package);
		assert_memory_equal(&package, &world.package, sizeof(package));
		print_message("%zu keys: %zu bytes\n", counts[i], der.used);
	}
}

/* Names and numbers as long as they may be still fit. */
static void test_largest(void **state)
{
	AUTO_PACKAGE_WORLD PackageWorld world;
	AUTO_BUFFER Buffer json = BUFFER_INIT(LIMIT_PACKAGE_JSON);
	Error err = ERROR_INIT;

	(void)state;
	package_world_open(&world, LIMIT_PACKAGE_KEYS, NOW);
	memset(world.package.owner, 'o', sizeof(world.package.owner) - 1);
	memset(world.package.sender, 's', sizeof(world.package.sender) - 1);
	memset(world.package.receiver, 'r', sizeof(world.package.receiver) - 1);
	world.package.epoch = INT64_MAX;
	world.package.issued_s = world.package.expires_s = INT64_MAX;
	for (size_t i = 0; i < LIMIT_PACKAGE_KEYS; i++) {
		memset(world.package.keys[i].slot, 'd', sizeof(world.package.keys[i].slot) - 1);
		world.package.keys[i].version = INT64_MAX;
		world.package.keys[i].purpose = KEY_TPM_MIGRATION;
	}
	if (!package_encode_json(&world.package, &json, &err))
		fail_msg("%s", err.text);
}

/* One bit of each byte, each way to cut it, and a byte more. */
static void test_every_byte_counts(void **state)
{
	AUTO_PACKAGE_WORLD PackageWorld world;
	Package package;
	Error err = ERROR_INIT;

	(void)state;
	package_world_open(&world, 1, NOW);

	AUTO_BUFFER Buffer der = package_world_made(&world);

	for (size_t i = 0; i < der.used; i++) {
		uint8_t mask = (uint8_t)(1 << i % 8);

		der.data[i] ^= mask;
		err = ERROR_INIT;
		if (package_open(world.store, world.key, NOW, der.data, der.used, &world.expected,
				 &package, &err))
			fail_msg("byte %zu may be changed by 0x%02x", i, mask);
		der.data[i] ^= mask;
	}
	for (size_t size = 0; size < der.used; size++)
		assert_false(package_open(world.store, world.key, NOW, der.data, size,
					  &world.expected, &package, &err));
	opened_by(&world, &der, &world.expected, &package);
	assert_true(buffer_put_u8(&der, 0, &err));
	refused(&world, &der, "1 bytes after");
}

/* --- all that it is bound to, each of them wrong alone --- */

static const uint8_t other_bytes[PACKAGE_PERMIT_BYTES] = { 0xee };

static void test_expected_otherwise(void **state)
{
	AUTO_PACKAGE_WORLD PackageWorld world;

	(void)state;
	package_world_open(&world, 2, NOW);

	const PackageExpected right = world.expected;
	AUTO_BUFFER Buffer der = package_world_made(&world);
#define OTHER(member, other, reason)                                                               \
	do {                                                                                       \
		world.expected = right;                                                            \
		world.expected.member = (other);                                                   \
		refused(&world, &der, reason);                                                     \
	} while (0)
	OTHER(migration, other_bytes, "package is for another migration");
	OTHER(vm, "8a6b0f9e-4c5d-4e1f-9a3b-2c7d6e5f4a3c", "package has VM");
	OTHER(owner, "other.example", "package has owner owner.example, not other.example");
	OTHER(sender, "spiffe://south.example/keyd", "package has signer " PACKAGE_SENDER);
	OTHER(sender, "spiffe://north.example/host/a", "package has signer " PACKAGE_SENDER);
	OTHER(receiver, "spiffe://east.example/keyd", "cannot be opened by " PACKAGE_RECEIVER);
	OTHER(epoch, 6, "package is of epoch 7, not 6");
	OTHER(epoch, 8, "package is of epoch 7, not 8");
	OTHER(permit, other_bytes, "key-package was made for another permit");
	OTHER(move, false, "package is a move, not a copy");
	OTHER(keys_count, 1, "package has 2 keys, 1 were offered");
#undef OTHER
}

/* What is signed in clear and what is sealed must be the same. */
static void test_inside_otherwise(void **state)
{
	AUTO_PACKAGE_WORLD PackageWorld world;

	(void)state;
	package_world_open(&world, 2, NOW);
#define OTHER(change, reason)                                                                      \
	do {                                                                                       \
		Package changed = world.package;                                                   \
		change;                                                                            \
		forgery_refused(&world, &changed, reason);                                         \
		package_wipe(&changed);                                                            \
	} while (0)
	OTHER(changed.permit[0] ^= 1, "package is for another permit");
	OTHER(changed.migration[15] ^= 1, "package is for another migration");
	OTHER(changed.vm[0] = '9', "package has VM");
	OTHER(changed.owner[0] = 'p', "package has owner");
	OTHER(changed.sender[9] = 's', "package has sender");
	OTHER(changed.receiver[9] = 'n', "package has receiver");
	OTHER(changed.epoch++, "package is of epoch 8");
	OTHER(changed.move = false, "package is a copy, not a move");
	OTHER(changed.expires_s = changed.issued_s, "not for 1..3600 s");
	OTHER(changed.expires_s = changed.issued_s - 1, "not for 1..3600 s");
	OTHER(changed.expires_s = changed.issued_s + LIMIT_PACKAGE_AGE_S + 1, "not for 1..3600 s");
	OTHER((changed.issued_s -= 300, changed.expires_s = NOW), "package expired at");
	OTHER((changed.issued_s += 61, changed.expires_s += 61), "package is from the future");
	OTHER(changed.keys[0].value[31] ^= 1, "value of key 0 has another fingerprint");
	OTHER(changed.keys[1].fingerprint[0] ^= 1,
	      "key 1 has another fingerprint than was offered");
	OTHER(changed.keys[1].id[0] ^= 1, "key 1 was not offered");
	OTHER(changed.keys[1].version++, "key 1 was not offered");
	OTHER(changed.keys[0].purpose = KEY_TPM_FILE, "key 0 was offered for another thing");
	OTHER(changed.keys[0].slot[0] = 'x', "key 0 was offered for another thing");
	OTHER(changed.keys_count = 1, "package has 1 keys, 2 were offered");
	OTHER(changed.keys[1] = changed.keys[0], "key 1 is key 0 again");
	OTHER((changed.keys[0].value[0] ^= 1, package_world_fingerprint(&changed.keys[0])),
	      "key 0 has another fingerprint than was offered");
#undef OTHER
	Package later = world.package;

	later.issued_s += PACKAGE_SKEW_S;
	later.expires_s += PACKAGE_SKEW_S;

	AUTO_BUFFER Buffer der = package_world_forged(&world, &later);

	opened_by(&world, &der, &world.expected, &later);
	package_wipe(&later);
}

static void test_time_passes(void **state)
{
	AUTO_PACKAGE_WORLD PackageWorld world;

	(void)state;
	package_world_open(&world, 1, NOW);

	AUTO_BUFFER Buffer der = package_world_made(&world);

	refused_at(&world, NOW + 300, &der, &world.expected, "package expired at");
	refused_at(&world, NOW - 61, &der, &world.expected, "package is from the future");
	refused_at(&world, NOW + 2 * PKI_DAY_S, &der, &world.expected, "is stale");
}

/* --- signers --- */

static void signed_otherwise(PackageWorld *world, CmsSigner *other, const char *reason)
{
	CmsSigner *own = world->signer;

	assert_non_null(other);
	world->signer = other;

	AUTO_BUFFER Buffer der = package_world_forged(world, &world->package);

	world->signer = own;
	refused(world, &der, reason);
}

static CmsSigner *signer_of(const PkiPair *pair)
{
	AUTO_FIXTURE_PEM FixturePem pem = fixture_pem_of(pair);
	Error err = ERROR_INIT;

	return cms_signer_load(pem.certificate.data, pem.certificate.used, pem.key.data,
			       pem.key.used, &err);
}

static void test_signers(void **state)
{
	const FixtureOdd old = { "URI:" PACKAGE_SENDER, "critical,digitalSignature",
				 .not_after_s = NOW - 1 };
	AUTO_FIXTURE_DOMAIN FixtureDomain impostor = { 0 };
	AUTO_PACKAGE_WORLD PackageWorld world;
	Error err = ERROR_INIT;

	(void)state;
	package_world_open(&world, 1, NOW);
	fixture_domain_open(&impostor, "north.example", NOW);

	AUTO_PKI_PAIR PkiPair old_pair = fixture_issue_odd(&world.north.root, &old, NOW);
	AUTO_PKI_PAIR PkiPair pair =
		fixture_issue(&world.north, SPIFFE_KEYD, NULL, PKI_USE_SIGN, NOW);
	AUTO_CMS_SIGNER CmsSigner *host = fixture_signer(&world.north, SPIFFE_HOST, "a", NOW);
	AUTO_CMS_SIGNER CmsSigner *authority =
		fixture_signer(&world.north, SPIFFE_AUTHORITY, NULL, NOW);
	AUTO_CMS_SIGNER CmsSigner *south = fixture_signer(&world.south, SPIFFE_KEYD, NULL, NOW);
	AUTO_CMS_SIGNER CmsSigner *foreign = fixture_signer(&impostor, SPIFFE_KEYD, NULL, NOW);
	AUTO_CMS_SIGNER CmsSigner *expired = signer_of(&old_pair);
	AUTO_CMS_SIGNER CmsSigner *revoked = signer_of(&pair);
	AUTO_BUFFER Buffer crl = fixture_crl(&world.north, 2, NOW, pair.certificate);

	signed_otherwise(&world, host, "host/a signed what only a keyd may sign");
	signed_otherwise(&world, authority, "authority signed what only a keyd may sign");
	signed_otherwise(&world, south, "package has signer spiffe://south.example/keyd, not");
	signed_otherwise(&world, foreign, "is not issued by a root of its domain");
	signed_otherwise(&world, expired, "has expired");
	assert_true(
		anchor_store_set_crl(world.store, "north.example", crl.data, crl.used, NOW, &err));
	signed_otherwise(&world, revoked, "is revoked");

	AUTO_BUFFER Buffer good = package_world_made(&world);
	Package package;

	opened_by(&world, &good, &world.expected, &package);
}

/* Sealed for a certificate of ours that we do not have any more. */
static void test_other_certificate(void **state)
{
	AUTO_PACKAGE_WORLD PackageWorld world;

	(void)state;
	package_world_open(&world, 1, NOW);

	AUTO_BUFFER Buffer der = package_world_made(&world);

	envelope_key_free(world.key);
	world.key = fixture_envelope_key(&world.south, NOW);
	refused(&world, &der, "envelope is for another certificate than ours");
}

/* --- the sender does not make what no one would open --- */

static void not_made(const PackageWorld *world, const CmsSigner *signer, const Package *package,
		     ErrorCategory category, const char *reason)
{
	AUTO_BUFFER Buffer der = BUFFER_INIT(LIMIT_PACKAGE);
	Error err = ERROR_INIT;

	assert_false(package_make(signer, world->recipient, package, &der, &err));
	if (!strstr(err.text, reason))
		fail_msg("\"%s\" does not say \"%s\"", err.text, reason);
	assert_int_equal(err.category, category);
	assert_int_equal(der.used, 0);
}

static void test_make_refuses(void **state)
{
	AUTO_PACKAGE_WORLD PackageWorld world;

	(void)state;
	package_world_open(&world, 2, NOW);

	AUTO_CMS_SIGNER CmsSigner *south = fixture_signer(&world.south, SPIFFE_KEYD, NULL, NOW);
	AUTO_CMS_SIGNER CmsSigner *host = fixture_signer(&world.north, SPIFFE_HOST, "a", NOW);

	not_made(&world, south, &world.package, ERROR_CONFLICT, "cannot be signed by");
	not_made(&world, host, &world.package, ERROR_CONFLICT, "cannot be signed by");
#define OTHER(change, category, reason)                                                            \
	do {                                                                                       \
		Package changed = world.package;                                                   \
		change;                                                                            \
		not_made(&world, world.signer, &changed, category, reason);                        \
		package_wipe(&changed);                                                            \
	} while (0)
	OTHER(changed.receiver[9] = 'n', ERROR_CONFLICT, "cannot be sealed for " PACKAGE_RECEIVER);
	OTHER(changed.expires_s = changed.issued_s, ERROR_CONFLICT, "not for 1..3600 s");
	OTHER(changed.keys[1] = changed.keys[0], ERROR_CONFLICT, "key 1 is key 0 again");
	OTHER(changed.keys[0].value[0] ^= 1, ERROR_CONFLICT, "another fingerprint");
	OTHER(changed.keys_count = 0, ERROR_PEER, "keys");
	OTHER(changed.keys_count = LIMIT_PACKAGE_KEYS + 1, ERROR_CONFLICT, "more than 24");
	OTHER(changed.epoch = 0, ERROR_PEER, "epoch");
	OTHER(changed.vm[0] = 0, ERROR_PEER, "vm");
#undef OTHER
}

/* --- what is left in memory --- */

typedef struct Needle {
	uint8_t value[KEY_BYTES];
	uint8_t hex[2 * KEY_BYTES];
} Needle;

static void needle_of(const uint8_t value[KEY_BYTES], Needle *ret_needle)
{
	char text[2 * KEY_BYTES + 1];

	hex_encode(value, KEY_BYTES, text);
	fixture_memory_invert(value, KEY_BYTES, ret_needle->value);
	fixture_memory_invert(text, 2 * KEY_BYTES, ret_needle->hex);
	explicit_bzero(text, sizeof(text));
}

static void stands(const Needle *needle, size_t times)
{
	assert_int_equal(fixture_memory_count(needle->value, sizeof(needle->value)), times);
	assert_int_equal(fixture_memory_count(needle->hex, sizeof(needle->hex)), 0);
}

static void test_nothing_is_left(void **state)
{
	AUTO_PACKAGE_WORLD PackageWorld world;
	Package *package = calloc(1, sizeof(*package));
	Needle first, last;
	Error err = ERROR_INIT;

	(void)state;
	assert_non_null(package);
	package_world_open(&world, LIMIT_PACKAGE_KEYS, NOW);
	needle_of(world.package.keys[0].value, &first);
	needle_of(world.package.keys[LIMIT_PACKAGE_KEYS - 1].value, &last);
	stands(&first, 1);

	AUTO_BUFFER Buffer der = package_world_made(&world);

	stands(&first, 1);
	stands(&last, 1);
	package_wipe(package);
	for (size_t i = 0; i < LIMIT_PACKAGE_KEYS; i++)
		explicit_bzero(world.package.keys[i].value, KEY_BYTES);
	stands(&first, 0);
	opened_by(&world, &der, &world.expected, package);
	stands(&first, 1);
	stands(&last, 1);
	package_wipe(package);
	stands(&first, 0);
	/* Everything is decoded before the last fingerprint turns out to be wrong. */
	world.records[LIMIT_PACKAGE_KEYS - 1].fingerprint[0] ^= 1;
	assert_false(package_open(world.store, world.key, NOW, der.data, der.used, &world.expected,
				  package, &err));
	stands(&first, 0);
	stands(&last, 0);
	free(package);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		/* First: a sanitizer keeps what the others free, and all of it is searched. */
		cmocka_unit_test(test_nothing_is_left),
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_largest),
		cmocka_unit_test(test_every_byte_counts),
		cmocka_unit_test(test_expected_otherwise),
		cmocka_unit_test(test_inside_otherwise),
		cmocka_unit_test(test_time_passes),
		cmocka_unit_test(test_signers),
		cmocka_unit_test(test_other_certificate),
		cmocka_unit_test(test_make_refuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
