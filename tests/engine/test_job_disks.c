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

static void test_ciphertext_is_refused(void **state)
{
	Manifest *good = two_disks(DISK_COPIED, DISK_STAYS),
		 *bad = two_disks(DISK_COPIED, DISK_COPIED_SEALED);
	Error err = ERROR_INIT;

	(void)state;
	assert_works(disks_in_check(good, &err), &err);
	assert_false(disks_in_check(bad, &err));
	assert_int_equal(err.category, ERROR_DENIED);
	assert_string_equal(err.text, "disk own/disk1: this host takes no disks as ciphertext");
	test_free(good);
	test_free(bad);
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
		cmocka_unit_test(test_ciphertext_is_refused),
		cmocka_unit_test(test_keys_of_copies_are_forgotten),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
