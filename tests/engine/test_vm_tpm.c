/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a VM's TPM may begin here: never an empty one in place of its own. */
#include "tests/support/support.h"

#include <string.h>

#include "engine/vm_tpm.h"

#define NONE KEY_STATE_COUNT

typedef struct Case {
	bool has_state, is_new;
	KeyState file, migration; /* NONE: no such key */
	bool rotated;
	bool make;
	const char *text; /* of the refusal; NULL: it may */
} Case;

static const Case cases[] = {
	/* the first start, the next ones */
	{ false, false, NONE, NONE, false, true, NULL },
	{ true, false, KEY_ACTIVE, KEY_ACTIVE, false, false, NULL },
	/* a first start that did not come to state, with both keys, with one, with none */
	{ false, true, KEY_ACTIVE, KEY_ACTIVE, false, false, NULL },
	{ false, true, KEY_ACTIVE, NONE, false, true, NULL },
	{ false, true, NONE, NONE, false, true, NULL },
	/* state without a key */
	{ true, false, NONE, NONE, false, false, "no tpm-migration key" },
	{ true, false, NONE, KEY_ACTIVE, false, false, "no tpm-file key" },
	{ true, false, KEY_DESTROYED, KEY_ACTIVE, false, false, "no tpm-file key" },
	{ true, true, KEY_ACTIVE, NONE, false, false, "no tpm-migration key" },
	/* keys without state, those of a VM that had some or was moved away */
	{ false, false, KEY_ACTIVE, KEY_ACTIVE, false, false, "with an empty one" },
	{ false, false, KEY_ACTIVE, NONE, false, false, "with an empty one" },
	{ false, false, KEY_DESTROYED, KEY_DESTROYED, false, false, "with an empty one" },
	/* retired, or on its way */
	{ true, false, KEY_EXPORTING, KEY_ACTIVE, false, false, "is exporting: only" },
	{ true, false, KEY_ACTIVE, KEY_IMPORTED, false, false, "is imported: only" },
	{ true, false, KEY_DEACTIVATED, KEY_ACTIVE, false, false, "is deactivated: only" },
	{ true, false, KEY_DEACTIVATED, KEY_ACTIVE, true, false, NULL },
};

static KeyRecord key_of(KeyPurpose purpose, KeyState state, uint64_t version)
{
	KeyRecord key = { .id = { (uint8_t)purpose },
			  .version = version,
			  .purpose = purpose,
			  .state = state,
			  .slot = TPM_SLOT };

	return key;
}

static TpmFound found_of(const Case *each)
{
	TpmFound found = { .has_state = each->has_state, .is_new = each->is_new };
	KeyRecord key = key_of(KEY_TPM_FILE, each->file, TPM_KEY_VERSION);

	if (each->file != NONE)
		vm_tpm_consider(&found, &key);
	key = key_of(KEY_TPM_MIGRATION, each->migration, TPM_KEY_VERSION);
	if (each->migration != NONE)
		vm_tpm_consider(&found, &key);
	key = key_of(KEY_TPM_FILE, KEY_ACTIVE, TPM_KEY_VERSION + 1);
	if (each->rotated)
		vm_tpm_consider(&found, &key);
	/* Of other things of the VM. */
	key = key_of(KEY_IMAGE, KEY_ACTIVE, TPM_KEY_VERSION);
	vm_tpm_consider(&found, &key);
	key = key_of(KEY_TPM_FILE, KEY_ACTIVE, TPM_KEY_VERSION);
	strcpy(key.slot, "tpm1");
	vm_tpm_consider(&found, &key);
	return found;
}

static void test_start(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		TpmFound found = found_of(&cases[i]);
		Error err = ERROR_INIT;
		bool make = false;
		bool ok = vm_tpm_judge(&found, &make, &err);

		if (ok != !cases[i].text || (ok && make != cases[i].make) ||
		    (!ok && (err.category != ERROR_DENIED || !strstr(err.text, cases[i].text))))
			fail_msg("case %zu: %d %d %s", i, ok, make, err.text);
	}
}

static void test_coming(void **state)
{
	static const uint8_t migration[16] = { 7 }, other[16] = { 8 };
	TpmFound found = { .has_state = false };
	KeyRecord key = key_of(KEY_TPM_FILE, KEY_IMPORTED, TPM_KEY_VERSION);
	Error err = ERROR_INIT;

	(void)state;
	memcpy(key.migration, migration, sizeof(migration));
	vm_tpm_consider(&found, &key);
	assert_false(vm_tpm_judge_coming(&found, migration, &err));
	assert_non_null(strstr(err.text, "tpm-migration key did not come"));
	key.purpose = KEY_TPM_MIGRATION;
	vm_tpm_consider(&found, &key);
	assert_true(vm_tpm_judge_coming(&found, migration, &err));
	assert_false(vm_tpm_judge_coming(&found, other, &err));
	found.has_state = true;
	assert_false(vm_tpm_judge_coming(&found, migration, &err));
	assert_int_equal(err.category, ERROR_CONFLICT);
	found.has_state = false;
	found.key[0].state = KEY_ACTIVE;
	assert_false(vm_tpm_judge_coming(&found, migration, &err));
	assert_int_equal(err.category, ERROR_DENIED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_start),
		cmocka_unit_test(test_coming),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
