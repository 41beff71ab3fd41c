/* SPDX-License-Identifier: Apache-2.0 */
/* What a peer says of disks that are to be copied. */
#include "tests/support/support.h"

#include <string.h>

#include "engine/job_disks.h"

static Manifest *two_disks(DiskTransfer first, DiskTransfer second)
{
	Manifest *manifest = test_calloc(1, sizeof(*manifest));

	manifest->disks_count = 2;
	for (size_t i = 0; i < 2; i++) {
		ManifestDisk *disk = &manifest->disks[i];

		snprintf(disk->pool, sizeof(disk->pool), "own");
		snprintf(disk->volume, sizeof(disk->volume), "disk%zu", i);
		disk->encryption = DISK_LUKS;
		memset(disk->key, 0x51, sizeof(disk->key));
		disk->key_version = 7;
	}
	manifest->disks[0].transfer = first;
	manifest->disks[1].transfer = second;
	return manifest;
}

static const char fresh_only[] = "disk own/disk1 would be copied as ciphertext, its key with it, and "
				 "spiffe://south.example/host/south lets disks from and to north.example "
				 "be copied under a fresh key only";
static const char sealed_only[] = "disk own/disk0 would be copied as its guest sees it, and "
				  "spiffe://south.example/host/south lets disks from and to north.example "
				  "be copied as ciphertext only";

typedef struct PolicyRow {
	ConfigDisks host, domain; /* what the configuration says, for all and for this domain */
	DiskTransfer first, second;
	const char *refusal; /* NULL: it may come */
} PolicyRow;

/* The domain's own entry counts before the host's; shared disks are not concerned. */
static void test_policy(void **state)
{
	static const PolicyRow rows[] = {
		{ 0, 0, DISK_COPIED, DISK_STAYS, NULL },
		{ 0, 0, DISK_STAYS, DISK_COPIED_SEALED, NULL },
		{ CONFIG_DISKS_ANY, 0, DISK_COPIED, DISK_STAYS, NULL },
		{ CONFIG_DISKS_ANY, 0, DISK_STAYS, DISK_COPIED_SEALED, NULL },
		{ CONFIG_DISKS_SEALED, 0, DISK_STAYS, DISK_COPIED_SEALED, NULL },
		{ CONFIG_DISKS_SEALED, 0, DISK_COPIED, DISK_STAYS, sealed_only },
		{ CONFIG_DISKS_SEALED, 0, DISK_STAYS, DISK_STAYS, NULL },
		{ CONFIG_DISKS_FRESH_KEY, 0, DISK_COPIED, DISK_STAYS, NULL },
		{ CONFIG_DISKS_FRESH_KEY, 0, DISK_STAYS, DISK_COPIED_SEALED, fresh_only },
		{ CONFIG_DISKS_FRESH_KEY, 0, DISK_STAYS, DISK_STAYS, NULL },
		{ 0, CONFIG_DISKS_SEALED, DISK_COPIED, DISK_STAYS, sealed_only },
		{ CONFIG_DISKS_FRESH_KEY, CONFIG_DISKS_SEALED, DISK_COPIED, DISK_STAYS, sealed_only },
		{ CONFIG_DISKS_FRESH_KEY, CONFIG_DISKS_SEALED, DISK_STAYS, DISK_COPIED_SEALED, NULL },
		{ CONFIG_DISKS_SEALED, CONFIG_DISKS_ANY, DISK_COPIED, DISK_STAYS, NULL },
		{ CONFIG_DISKS_ANY, CONFIG_DISKS_FRESH_KEY, DISK_STAYS, DISK_COPIED_SEALED, fresh_only },
	};
	Engine *engine = test_calloc(1, sizeof(*engine));

	(void)state;
	snprintf(engine->host_id, sizeof(engine->host_id), "spiffe://south.example/host/south");
	engine->config.trust_count = 2;
	snprintf(engine->config.trust[0].domain, LIMIT_DOMAIN, "east.example");
	engine->config.trust[0].disks = CONFIG_DISKS_ANY;
	snprintf(engine->config.trust[1].domain, LIMIT_DOMAIN, "north.example");
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		Manifest *manifest = two_disks(rows[i].first, rows[i].second);
		Error err = ERROR_INIT;

		engine->config.disks = rows[i].host;
		engine->config.trust[1].disks = rows[i].domain;
		if (!rows[i].refusal) {
			assert_works(disks_in_check(engine, "north.example", manifest, &err), &err);
		} else {
			assert_false(disks_in_check(engine, "north.example", manifest, &err));
			assert_int_equal(err.category, ERROR_DENIED);
			assert_string_equal(err.text, rows[i].refusal);
		}
		test_free(manifest);
	}
	test_free(engine);
}

/* Its key is the source's, and stays it. */
static void test_key_of_ciphertext_is_kept(void **state)
{
	Manifest *manifest = two_disks(DISK_COPIED_SEALED, DISK_COPIED);

	(void)state;
	disks_in_forget_keys(manifest);
	assert_int_equal(manifest->disks[0].key[0], 0x51);
	assert_int_equal(manifest->disks[0].key_version, 7);
	assert_int_equal(manifest->disks[1].key[0], 0);
	test_free(manifest);
}

/* That of a disk which stays on shared storage comes along. */
static void test_keys_of_copies_are_forgotten(void **state)
{
	Manifest *manifest = two_disks(DISK_COPIED, DISK_STAYS);
	const uint8_t none[KEY_ID_BYTES] = { 0 };

	(void)state;
	disks_in_forget_keys(manifest);
	assert_memory_equal(manifest->disks[0].key, none, sizeof(none));
	assert_int_equal(manifest->disks[0].key_version, 0);
	assert_int_equal(manifest->disks[1].key[0], 0x51);
	assert_int_equal(manifest->disks[1].key_version, 7);
	test_free(manifest);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_policy),
		cmocka_unit_test(test_key_of_ciphertext_is_kept),
		cmocka_unit_test(test_keys_of_copies_are_forgotten),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
