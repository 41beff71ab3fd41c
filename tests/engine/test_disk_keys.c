/* SPDX-License-Identifier: Apache-2.0 */
/* Which key opens an encrypted disk, and that such a disk stays where its key is. */
#include "tests/support/support.h"

#include <stdio.h>
#include <string.h>

#include "engine/disk_keys.h"
#include "engine/key_transfer.h"
#include "tests/store/records.h"

#define VM	"6f1c0f3e-2f0b-4f4e-9d58-1f0f8a1b2c3d"
#define ID_OF_1 "01000000000000000000000000000000"

/* One key of the VM as the key manager lists it; id 0 ends a list. */
typedef struct Listed {
	uint8_t id;
	uint64_t version;
	KeyState state;
	KeyPurpose purpose;
	const char *slot;
} Listed;

typedef struct Case {
	uint8_t named; /* by the description; 0: none */
	Listed keys[4];
	uint8_t chosen;
	ErrorCategory category;
	const char *text; /* of the refusal; NULL: it opens */
} Case;

static const Case cases[] = {
	{ 0, { { 1, 1, KEY_ACTIVE, KEY_IMAGE, "a" } }, 1, ERROR_NONE, NULL },
	{ 1, { { 1, 1, KEY_ACTIVE, KEY_IMAGE, "a" } }, 1, ERROR_NONE, NULL },
	{ 0, { { 1, 1, KEY_PRE_ACTIVE, KEY_IMAGE, "a" } }, 1, ERROR_NONE, NULL },
	{ 0, { { 0 } }, 0, ERROR_NOT_FOUND, "the key manager has no key for it" },
	{ 1, { { 0 } }, 0, ERROR_DENIED, "key " ID_OF_1 " is not one of VM " VM },
	/* of something else of the VM */
	{ 0,
	  { { 2, 1, KEY_ACTIVE, KEY_IMAGE, "b" }, { 3, 1, KEY_ACTIVE, KEY_TPM_FILE, "a" } },
	  0,
	  ERROR_NOT_FOUND,
	  "the key manager has no key for it" },
	{ 1,
	  { { 1, 1, KEY_ACTIVE, KEY_IMAGE, "b" } },
	  1,
	  ERROR_DENIED,
	  "key " ID_OF_1 " is for image b" },
	{ 1,
	  { { 1, 1, KEY_ACTIVE, KEY_TPM_FILE, "a" } },
	  1,
	  ERROR_DENIED,
	  "key " ID_OF_1 " is for tpm-file a" },
	/* retired */
	{ 0,
	  { { 1, 1, KEY_DEACTIVATED, KEY_IMAGE, "a" } },
	  1,
	  ERROR_DENIED,
	  "key " ID_OF_1 " is deactivated: only an active one opens a disk" },
	{ 0,
	  { { 1, 1, KEY_EXPORTING, KEY_IMAGE, "a" } },
	  1,
	  ERROR_DENIED,
	  "key " ID_OF_1 " is exporting: only an active one opens a disk" },
	{ 0,
	  { { 1, 1, KEY_DESTROYED, KEY_IMAGE, "a" } },
	  1,
	  ERROR_NOT_FOUND,
	  "its key " ID_OF_1 " is destroyed" },
	{ 1,
	  { { 1, 1, KEY_DESTROYED, KEY_IMAGE, "a" } },
	  1,
	  ERROR_DENIED,
	  "key " ID_OF_1 " is destroyed: only an active one opens a disk" },
	/* rotated: the first version is what the image was made with */
	{ 0,
	  { { 1, 1, KEY_DEACTIVATED, KEY_IMAGE, "a" }, { 1, 2, KEY_ACTIVE, KEY_IMAGE, "a" } },
	  1,
	  ERROR_NONE,
	  NULL },
	/* nobody remembers the version: the first that is left */
	{ 0,
	  { { 1, 1, KEY_DESTROYED, KEY_IMAGE, "a" }, { 1, 2, KEY_ACTIVE, KEY_IMAGE, "a" } },
	  1,
	  ERROR_NONE,
	  NULL },
	{ 0,
	  { { 1, 1, KEY_DEACTIVATED, KEY_IMAGE, "a" }, { 1, 2, KEY_DEACTIVATED, KEY_IMAGE, "a" } },
	  1,
	  ERROR_DENIED,
	  "key " ID_OF_1 " is deactivated: only an active one opens a disk" },
	/* it went by a migration, and came back by another; or went again */
	{ 0,
	  { { 1, 1, KEY_DESTROYED, KEY_IMAGE, "a" }, { 1, 1, KEY_ACTIVE, KEY_IMAGE, "a" } },
	  1,
	  ERROR_NONE,
	  NULL },
	{ 1,
	  { { 1, 1, KEY_DESTROYED, KEY_IMAGE, "a" }, { 1, 1, KEY_ACTIVE, KEY_IMAGE, "a" } },
	  1,
	  ERROR_NONE,
	  NULL },
	{ 1,
	  { { 1, 1, KEY_DESTROYED, KEY_IMAGE, "a" }, { 1, 1, KEY_DESTROYED, KEY_IMAGE, "a" } },
	  1,
	  ERROR_DENIED,
	  "key " ID_OF_1 " is destroyed: only an active one opens a disk" },
	/* an earlier one of the same slot, and a later one that is over */
	{ 0,
	  { { 2, 1, KEY_DESTROYED, KEY_IMAGE, "a" }, { 1, 1, KEY_ACTIVE, KEY_IMAGE, "a" } },
	  1,
	  ERROR_NONE,
	  NULL },
	{ 0,
	  { { 1, 1, KEY_ACTIVE, KEY_IMAGE, "a" }, { 2, 1, KEY_DESTROYED, KEY_IMAGE, "a" } },
	  1,
	  ERROR_NONE,
	  NULL },
};

static void set_id(uint8_t id[KEY_ID_BYTES], uint8_t number)
{
	memset(id, 0, KEY_ID_BYTES);
	id[0] = number;
}

static void which_key_opens(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		ManifestDisk disk = { .volume = "a", .encryption = DISK_LUKS };
		DiskKeyFound found = { 0 };
		Error err = ERROR_INIT;
		bool ok;

		set_id(disk.key, cases[i].named);
		for (const Listed *listed = cases[i].keys; listed->id; listed++) {
			KeyRecord key = { .version = listed->version,
					  .state = listed->state,
					  .purpose = listed->purpose };

			set_id(key.id, listed->id);
			snprintf(key.slot, sizeof(key.slot), "%s", listed->slot);
			disk_key_consider(&found, &disk, &key);
		}
		ok = disk_key_judge(&found, &disk, VM, NULL, &err);
		print_message("case %zu: %s\n", i, err.text);
		assert_int_equal(ok, !cases[i].text);
		assert_int_equal(err.category, cases[i].category);
		assert_string_equal(err.text, cases[i].text ? cases[i].text : "");
		assert_int_equal(found.newest.id[0], cases[i].chosen);
	}
}

static Manifest two_disks(void)
{
	Manifest manifest = { .disks_count = 2,
			      .disks = { { .pool = "p", .volume = "plain" },
					 { .pool = "p", .volume = "a" } } };

	set_id(manifest.disks[1].key, 1);
	return manifest;
}

static void what_is_asked_for(void **state)
{
	Manifest manifest = two_disks();
	DiskKeysWanted wanted = { .manifest = &manifest };

	(void)state;
	assert_false(disk_keys_needed(&wanted));
	wanted.without = 2;
	assert_true(disk_keys_needed(&wanted));
	wanted.without = 0;
	manifest.disks[1].encryption = DISK_LUKS;
	assert_true(disk_keys_needed(&wanted));
}

static void without_a_key_manager(void **state)
{
	Manifest manifest = two_disks();
	const DiskKeysWanted wanted = { .manifest = &manifest, .who = "uid 0" };
	Engine *engine = test_calloc(1, sizeof(*engine));
	Error err = ERROR_INIT;

	(void)state;
	manifest.disks[1].encryption = DISK_LUKS;
	assert_null(disk_keys_new(engine, &wanted, NULL, NULL, &err));
	assert_int_equal(err.category, ERROR_UNAVAILABLE);
	assert_string_equal(err.text, "disk p/a: this host has no key manager: its configuration "
				      "has no \"keys\"");
	test_free(engine);
}

/* A key that came by a migration opens the disk for that migration only. */
static void imported_keys(void **state)
{
	static const uint8_t mine[MIGRATION_ID_BYTES] = { 1 }, other[MIGRATION_ID_BYTES] = { 2 };
	ManifestDisk disk = { .volume = "a", .encryption = DISK_LUKS, .key_version = 3 };
	KeyRecord key = { .version = 3, .state = KEY_IMPORTED, .purpose = KEY_IMAGE, .slot = "a" };
	DiskKeyFound found = { 0 };
	Error err = ERROR_INIT;

	(void)state;
	set_id(disk.key, 1);
	set_id(key.id, 1);
	memcpy(key.migration, mine, sizeof(mine));
	disk_key_consider(&found, &disk, &key);
	assert_works(disk_key_judge(&found, &disk, VM, mine, &err), &err);
	assert_false(disk_key_judge(&found, &disk, VM, other, &err));
	assert_int_equal(err.category, ERROR_DENIED);
	err = ERROR_INIT;
	assert_false(disk_key_judge(&found, &disk, VM, NULL, &err));
	assert_string_equal(err.text, "key " ID_OF_1 " is imported: only an active one opens a disk");
}

/* The version that the image is encrypted for counts, not the first. */
static void image_of_a_later_version(void **state)
{
	ManifestDisk disk = { .volume = "a", .encryption = DISK_LUKS, .key_version = 2 };
	KeyRecord key = { .version = 1, .state = KEY_ACTIVE, .purpose = KEY_IMAGE, .slot = "a" };
	DiskKeyFound found = { 0 };
	Error err = ERROR_INIT;

	(void)state;
	set_id(disk.key, 1);
	set_id(key.id, 1);
	disk_key_consider(&found, &disk, &key);
	assert_false(disk_key_judge(&found, &disk, VM, NULL, &err));
	assert_string_equal(err.text, "key " ID_OF_1 ": version 2, which the image was made with, is "
				      "destroyed");
	err = ERROR_INIT;
	key.version = 2;
	disk_key_consider(&found, &disk, &key);
	assert_works(disk_key_judge(&found, &disk, VM, NULL, &err), &err);
}

/* The destination asks through its port, before it looks at anything else of the offer. */
static void keys_need_a_manager(void **state)
{
	Engine *engine = test_calloc(1, sizeof(*engine));
	Vm *vm = test_calloc(1, sizeof(*vm));
	Manifest *manifest = &vm->record.manifest;
	MigrationRecord record;
	Migration *migration;
	Error err = ERROR_INIT;

	(void)state;
	*manifest = two_disks();
	ports_init(engine);
	snprintf(engine->host_id, sizeof(engine->host_id), "spiffe://north.example/host/a");
	assert_true(key_transfer_check_leaving(engine, vm, &err));
	assert_true(key_transfer_check_coming(engine, manifest, &err));
	manifest->disks[1].encryption = DISK_LUKS;
	assert_false(key_transfer_check_leaving(engine, vm, &err));
	assert_int_equal(err.category, ERROR_CONFLICT);
	assert_string_equal(err.text, "the VM's keys travel with it, and no key manager is configured on "
				      "spiffe://north.example/host/a");
	err = ERROR_INIT;
	sample_migration(1, &record);
	snprintf(record.peer_id, sizeof(record.peer_id), "spiffe://south.example/host/b");
	migration = migration_new_recovered(&engine->ports, &record, NULL, &err);
	assert_non_null(migration);
	assert_false(engine->ports.check_manifest(engine, migration, manifest, &err));
	assert_int_equal(err.category, ERROR_DENIED);
	/* A copy under a key of the destination's own brings none. */
	manifest->disks[1].transfer = DISK_COPIED;
	assert_true(key_transfer_check_leaving(engine, vm, &err));
	migration_free(migration);
	test_free(vm);
	test_free(engine);
}

/* A peer's VM takes no key here that is in use or known elsewhere: what is undone destroys it. */
static void keys_of_copies(void **state)
{
	static const struct {
		KeyState state;
		uint64_t epoch;
		const char *exposed_to;
		bool works;
	} rows[] = {
		{ KEY_ACTIVE, 7, "", true }, /* of an earlier try */
		{ KEY_ACTIVE, 6, "", false },
		{ KEY_ACTIVE, 8, "", false },
		{ KEY_ACTIVE, 7, "south.example", false },
		{ KEY_DEACTIVATED, 6, "", false },
		{ KEY_IMPORTED, 6, "", false },
		{ KEY_DESTROYED, 6, "south.example", true }, /* nothing is left to be destroyed */
	};
	DiskKeyFound found = { .any = false };
	Error err = ERROR_INIT;

	(void)state;
	assert_works(disk_key_check_copy(&found, 7, &err), &err);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		found = (DiskKeyFound){ .any = true };
		found.newest = (KeyRecord){ .version = 1, .state = rows[i].state, .epoch = rows[i].epoch };
		set_id(found.newest.id, 1);
		snprintf(found.newest.slot, sizeof(found.newest.slot), "disk.img");
		snprintf(found.newest.exposed_to, sizeof(found.newest.exposed_to), "%s", rows[i].exposed_to);
		err = ERROR_INIT;
		if (rows[i].works)
			assert_works(disk_key_check_copy(&found, 7, &err), &err);
		else
			assert_fails(disk_key_check_copy(&found, 7, &err), ERROR_CONFLICT,
				     "key " ID_OF_1 " of this VM is for disk.img here, and was not made",
				     &err);
	}
}

/* A disk whose row was lost: what a change of key left is its version, and what a rotation left is not. */
static void the_version_of_an_image_that_nobody_remembers(void **state)
{
	static const struct {
		KeyState states[3]; /* of the versions from 1 on */
		uint64_t version;
	} rows[] = {
		{ { KEY_ACTIVE, KEY_STATE_COUNT }, 1 },
		{ { KEY_DEACTIVATED, KEY_ACTIVE, KEY_STATE_COUNT }, 1 },
		{ { KEY_DESTROYED, KEY_ACTIVE, KEY_STATE_COUNT }, 2 },
		{ { KEY_DESTROYED, KEY_DEACTIVATED, KEY_ACTIVE }, 2 },
		{ { KEY_DESTROYED, KEY_DESTROYED, KEY_ACTIVE }, 3 },
		{ { KEY_DESTROYED, KEY_DESTROYED, KEY_DESTROYED }, 0 },
	};
	ManifestDisk disk = { .volume = "a", .encryption = DISK_LUKS };
	KeyRecord key = { .purpose = KEY_IMAGE, .slot = "a" };

	(void)state;
	set_id(key.id, 1);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		DiskKeyFound found = { 0 };

		for (size_t k = 0; k < 3 && rows[i].states[k] != KEY_STATE_COUNT; k++) {
			key.version = k + 1;
			key.state = rows[i].states[k];
			disk_key_consider(&found, &disk, &key);
		}
		assert_int_equal(found.image_version, rows[i].version);
		assert_int_equal(found.newest.version, key.version);
	}
}

static void the_version_of_an_image_that_is_remembered(void **state)
{
	ManifestDisk disk = { .volume = "a", .encryption = DISK_LUKS, .key_version = 1 };
	KeyRecord key = { .version = 1, .purpose = KEY_IMAGE, .slot = "a" };
	DiskKeyFound found = { 0 };
	Error err = ERROR_INIT;

	(void)state;
	set_id(key.id, 1);
	key.state = KEY_DESTROYED;
	disk_key_consider(&found, &disk, &key);
	key.version = 2;
	key.state = KEY_ACTIVE;
	disk_key_consider(&found, &disk, &key);
	assert_int_equal(found.image_version, 1);
	assert_fails(disk_key_judge(&found, &disk, VM, NULL, &err), ERROR_DENIED,
		     "version 1, which the image was made with, is destroyed", &err);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(which_key_opens),
		cmocka_unit_test(what_is_asked_for),
		cmocka_unit_test(without_a_key_manager),
		cmocka_unit_test(imported_keys),
		cmocka_unit_test(image_of_a_later_version),
		cmocka_unit_test(the_version_of_an_image_that_nobody_remembers),
		cmocka_unit_test(the_version_of_an_image_that_is_remembered),
		cmocka_unit_test(keys_need_a_manager),
		cmocka_unit_test(keys_of_copies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
