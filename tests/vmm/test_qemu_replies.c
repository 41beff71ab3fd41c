/* SPDX-License-Identifier: Apache-2.0 */
/* What QEMU tells of itself, in full and mutilated. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "vmm/feature_cache.h"
#include "vmm/qemu_features.h"
#include "vmm/qemu_status.h"

#define SCHEMA_TYPES                                                                               \
	"{'name':'1','meta-type':'object','members':[{'name':'capabilities','type':'[2]'}]},"      \
	"{'name':'[2]','meta-type':'array','element-type':'2'},"                                   \
	"{'name':'2','meta-type':'object','members':[{'name':'capability','type':'3'}]},"          \
	"{'name':'3','meta-type':'enum','values':['events','return-path','multifd']},"             \
	"{'name':'migrate-set-capabilities','meta-type':'command','arg-type':'1'}"

/* JSON, with the quotes of C out of the way. */
static json_t *load(const char *text)
{
	char *copy = strdup(text);
	json_t *json;

	for (char *p = copy; *p; p++)
		if (*p == '\'')
			*p = '"';
	json = json_loads(copy, JSON_DECODE_ANY, NULL);
	free(copy);
	assert_non_null(json);
	return json;
}

static void test_features(void **state)
{
	json_t *schema = load("[" SCHEMA_TYPES "]");
	VmmFeatures features;
	Error err = ERROR_INIT;

	(void)state;
	assert_true(qemu_features_of_schema(schema, &features, &err));
	assert_true(features.events && features.return_path && features.multifd);
	assert_false(features.late_block_activate || features.exit_on_error ||
		     features.announce_self || features.zero_page_detection ||
		     features.late_disks);
	json_decref(schema);

	schema = load("[" SCHEMA_TYPES ",{'name':'9','meta-type':'object','members':"
		      "[{'name':'uri','type':'str'},{'name':'exit-on-error','type':'bool'}]},"
		      "{'name':'migrate-incoming','meta-type':'command','arg-type':'9'},"
		      "{'name':'announce-self','meta-type':'command','arg-type':'9'},"
		      "{'name':'blockdev-reopen','meta-type':'command','arg-type':'9'}]");
	assert_true(qemu_features_of_schema(schema, &features, &err));
	assert_true(features.exit_on_error && features.announce_self && features.late_disks);
	json_decref(schema);
}

static void test_mutilated_schemas(void **state)
{
	static const char *const texts[] = {
		"[]",
		"{}",
		"5",
		"[5, null, {}, {'name': 7}]",
		"[{'name':'migrate-set-capabilities','meta-type':'command'}]",
		"[{'name':'migrate-set-capabilities','meta-type':'command','arg-type':'1'}]",
		"[{'name':'migrate-set-capabilities','meta-type':'command','arg-type':'1'},"
		"{'name':'1','meta-type':'object','members':{}}]",
		"[{'name':'migrate-set-capabilities','meta-type':'command','arg-type':'1'},"
		"{'name':'1','meta-type':'object','members':[{'name':'capabilities',"
		"'type':'1'}]}]",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		json_t *schema = load(texts[i]);
		VmmFeatures features;
		Error err = ERROR_INIT;

		assert_false(qemu_features_of_schema(schema, &features, &err));
		assert_int_equal(err.category, ERROR_HYPERVISOR);
		json_decref(schema);
	}
}

static void test_migration(void **state)
{
	json_t *reply = load("{'status':'active','total-time':1500,'setup-time':4,"
			     "'expected-downtime':300,'ram':{'total':1000,'transferred':700,"
			     "'remaining':300,'mbps':8.5,'dirty-sync-count':3,"
			     "'dirty-pages-rate':42,'page-size':4096,'normal':-1}}");
	VmmMigration migration;
	Error err = ERROR_INIT;

	(void)state;
	assert_true(qemu_status_of_migration(reply, &migration, &err));
	assert_int_equal(migration.status, VMM_MIGRATION_ACTIVE);
	assert_int_equal(migration.total_ms, 1500);
	assert_int_equal(migration.expected_downtime_ms, 300);
	assert_int_equal(migration.ram_remaining_bytes, 300);
	assert_int_equal(migration.iteration, 3);
	assert_int_equal(migration.dirty_pages_s, 42);
	assert_int_equal(migration.bits_s, 8500000);
	assert_int_equal(migration.normal_pages, 0);
	json_decref(reply);

	reply = load("{'status':'failed','error-desc':'Unable to write'}");
	assert_true(qemu_status_of_migration(reply, &migration, &err));
	assert_int_equal(migration.status, VMM_MIGRATION_FAILED);
	assert_string_equal(migration.error, "Unable to write");
	json_decref(reply);

	reply = load("{}");
	assert_true(qemu_status_of_migration(reply, &migration, &err));
	assert_int_equal(migration.status, VMM_MIGRATION_NONE);
	json_decref(reply);

	reply = load("{'status':'wormhole','ram':[],'total-time':'x'}");
	assert_true(qemu_status_of_migration(reply, &migration, &err));
	assert_int_equal(migration.status, VMM_MIGRATION_OTHER);
	json_decref(reply);

	reply = load("[]");
	assert_false(qemu_status_of_migration(reply, &migration, &err));
	json_decref(reply);
}

static void test_cache_knows_one_program(void **state)
{
	AUTO_FEATURE_CACHE FeatureCache *cache = feature_cache_new(&(Error){ 0 });
	struct stat program = { .st_dev = 1, .st_ino = 2, .st_size = 3, .st_mtim.tv_nsec = 4 };
	struct stat upgraded = program;
	VmmFeatures features = { .multifd = true }, found = { 0 };

	(void)state;
	assert_non_null(cache);
	assert_false(feature_cache_find(cache, &program, &found));
	feature_cache_keep(cache, &program, &features);
	assert_true(feature_cache_find(cache, &program, &found));
	assert_true(found.multifd && !found.return_path);
	upgraded.st_mtim.tv_nsec++;
	assert_false(feature_cache_find(cache, &upgraded, &found));
	upgraded = program;
	upgraded.st_ino++;
	assert_false(feature_cache_find(cache, &upgraded, &found));
	/* An owner without a cache. */
	feature_cache_keep(NULL, &program, &features);
	assert_false(feature_cache_find(NULL, &program, &found));
}

static void test_run_state(void **state)
{
	json_t *reply = load("{'status':'postmigrate','running':false}");
	VmmRunState run = VMM_RUN_RUNNING;
	Error err = ERROR_INIT;

	(void)state;
	assert_true(qemu_status_of_run(reply, &run, &err));
	assert_int_equal(run, VMM_RUN_POSTMIGRATE);
	json_decref(reply);
	reply = load("{'running':true}");
	assert_false(qemu_status_of_run(reply, &run, &err));
	json_decref(reply);
	assert_int_equal(vmm_run_state_of_word("colo"), VMM_RUN_OTHER);
	assert_int_equal(vmm_migration_status_of_word(NULL), VMM_MIGRATION_OTHER);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_features),  cmocka_unit_test(test_mutilated_schemas),
		cmocka_unit_test(test_migration), cmocka_unit_test(test_cache_knows_one_program),
		cmocka_unit_test(test_run_state),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
