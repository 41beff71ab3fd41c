/* SPDX-License-Identifier: Apache-2.0 */
/* keyd's rule tables as data, and that the largest answers fit where they go: on the link, and as
 * one line of the API. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "ipc/binary.h"
#include "role/keyd_messages.h"
#include "wire/json.h"

enum { REPLY_AROUND = 256 }; /* bytes that the API puts around what it returns */

static void each_type_stands_once_in_its_table(void **state)
{
	static const IpcRule *const tables[] = { keyd_rules, engine_keyd_rules };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(tables); i++)
		for (const IpcRule *rule = tables[i]; rule->type; rule++)
			for (const IpcRule *other = tables[i]; other != rule; other++) {
				assert_int_not_equal(other->type, rule->type);
				assert_string_not_equal(other->name, rule->name);
			}
}

/* Whom to trust, and which helpers there are, may be said at any time; all else waits. */
static bool is_told(uint16_t type)
{
	return type == ROLE_ANCHOR || type == ROLE_CRL || type == ROLE_FORGET ||
	       type == KEYD_HELPER;
}

/* One descriptor in one message: the only way out for a value. */
static void only_an_opening_carries_a_descriptor(void **state)
{
	(void)state;
	for (const IpcRule *rule = keyd_rules; rule->type; rule++)
		assert_int_equal(rule->fds_max, rule->type == KEYD_HELPER);
	for (const IpcRule *rule = engine_keyd_rules; rule->type; rule++) {
		assert_int_equal(rule->fds_max, rule->type == KEYD_OPENED);
		assert_int_equal(rule->fds_min, rule->fds_max);
	}
}

static void before_the_start_nothing_is_asked_or_answered(void **state)
{
	(void)state;
	for (const IpcRule *rule = keyd_rules; rule->type; rule++)
		assert_int_equal(rule->states,
				 is_told(rule->type) ? IPC_ANY
						     : IPC_IN(rule->type == KEYD_START ?
								      ROLE_STARTING :
								      ROLE_SERVING));
	for (const IpcRule *rule = engine_keyd_rules; rule->type; rule++) {
		bool early = rule->states & IPC_IN(ROLE_STARTING);

		assert_int_equal(early, rule->type == ROLE_READY || rule->type == ROLE_FAILED ||
						rule->type == KEYD_HEAD ||
						rule->type == KEYD_PROGRESS ||
						rule->type == KEYD_HELPER_LOST);
	}
}

static void fits(const Schema *schema, const void *object)
{
	AUTO_BUFFER Buffer bytes = BUFFER_INIT(LIMIT_IPC_MESSAGE - IPC_HEADER_BYTES);
	AUTO_BUFFER Buffer json = BUFFER_INIT(LIMIT_API_LINE - REPLY_AROUND);
	Error err = ERROR_INIT;

	if (!binary_encode(schema, object, &bytes, &err) ||
	    !json_encode_plain(schema, object, &json, &err))
		fail_msg("%s: %s", schema->name, err.text);
}

/* Characters that JSON needs two for. */
#define FILL(member)	  memset(member, '"', sizeof(member) - 1)
#define FILL_NAME(member) memset(member, 'a', sizeof(member) - 1)

static void a_full_page_of_keys_fits(void **state)
{
	static KeydKeys keys;

	(void)state;
	keys.cursor = INT64_MAX;
	keys.keys_count = KEYD_PAGE;
	for (size_t i = 0; i < KEYD_PAGE; i++) {
		KeyRecord *key = &keys.keys[i];

		*key = (KeyRecord){ .version = INT64_MAX,
				    .purpose = KEY_TPM_MIGRATION,
				    .state = KEY_DEACTIVATED,
				    .vm = "7e5710c5-0000-4000-8000-000000000001",
				    .epoch = INT64_MAX,
				    .created_s = INT64_MAX,
				    .changed_s = INT64_MAX };
		FILL_NAME(key->owner);
		FILL_NAME(key->slot);
		FILL_NAME(key->backend);
		FILL_NAME(key->exposed_to);
		FILL(key->reference);
	}
	fits(&keyd_keys_schema, &keys);
}

static void a_full_page_of_the_log_fits(void **state)
{
	static KeydEntries entries;

	(void)state;
	entries.total = INT64_MAX;
	entries.entries_count = KEYD_PAGE;
	for (size_t i = 0; i < KEYD_PAGE; i++) {
		KeyLogEntry *entry = &entries.entries[i];

		*entry = (KeyLogEntry){ .number = INT64_MAX,
					.time_s = INT64_MAX,
					.action = KEY_DISCARDED,
					.version = INT64_MAX,
					.row = LIMIT_KEYS,
					.from = KEY_DEACTIVATED,
					.to = KEY_DEACTIVATED };
		FILL(entry->who);
		FILL(entry->detail);
	}
	fits(&keyd_entries_schema, &entries);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_type_stands_once_in_its_table),
		cmocka_unit_test(only_an_opening_carries_a_descriptor),
		cmocka_unit_test(before_the_start_nothing_is_asked_or_answered),
		cmocka_unit_test(a_full_page_of_keys_fits),
		cmocka_unit_test(a_full_page_of_the_log_fits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
