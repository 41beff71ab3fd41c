/* SPDX-License-Identifier: Apache-2.0 */
/* The links of sealift-keyhelper: its rule tables as data, and what goes over them. */
#include "tests/support/support.h"

#include <string.h>

#include "role/key_messages.h"

static void each_type_and_name_stands_once(const IpcRule *table)
{
	for (const IpcRule *rule = table; rule->type; rule++) {
		assert_true(rule->name && rule->name[0]);
		assert_int_not_equal(rule->states, 0);
		for (const IpcRule *other = table; other != rule; other++) {
			assert_int_not_equal(other->type, rule->type);
			assert_string_not_equal(other->name, rule->name);
		}
	}
}

static void tables_are_sound(void **state)
{
	(void)state;
	each_type_and_name_stands_once(engine_helper_rules);
	for (size_t i = 0; i < HELPER_KIND_COUNT; i++) {
		each_type_and_name_stands_once(helper_rules[i]);
		each_type_and_name_stands_once(helper_request_rules[i]);
		each_type_and_name_stands_once(keyd_helper_rules[i]);
	}
}

static bool has(const IpcRule *table, uint16_t type)
{
	while (table->type && table->type != type)
		table++;
	return table->type;
}

/* A request and its answers are on both ends of a kind's link, or on neither. */
static void requests_have_answers(void **state)
{
	static const struct {
		uint16_t request, answer;
	} pairs[] = {
		{ HELPER_PUT, HELPER_STORED }, { HELPER_PUT, HELPER_NOT_STORED },
		{ HELPER_GET, HELPER_VALUE },  { HELPER_DESTROY, HELPER_DESTROYED },
		{ HELPER_CHECK, HELPER_OK },   { HELPER_WRAP, HELPER_WRAPPED },
	};

	(void)state;
	for (size_t kind = 0; kind < HELPER_KIND_COUNT; kind++) {
		assert_true(has(keyd_helper_rules[kind], ROLE_FAILED));
		for (size_t i = 0; i < ARRAY_SIZE(pairs); i++)
			assert_int_equal(has(helper_request_rules[kind], pairs[i].request),
					 has(keyd_helper_rules[kind], pairs[i].answer));
		assert_int_equal(has(helper_request_rules[kind], HELPER_UNWRAP) ||
					 has(helper_request_rules[kind], HELPER_UNSEAL),
				 has(keyd_helper_rules[kind], HELPER_KEY));
		/* Nobody who stores learns a key, and nobody who wraps stores. */
		assert_false(has(helper_request_rules[kind], HELPER_PUT) &&
			     has(keyd_helper_rules[kind], HELPER_KEY));
	}
}

typedef struct Pair {
	IpcLink *helper, *keyd;
} Pair;

static Pair pair_new(HelperKind kind)
{
	Error err = ERROR_INIT;
	Pair pair;
	int ends[2];

	assert_works(ipc_pair(ends, &err), &err);
	pair.helper = ipc_link_new(ends[0], helper_request_rules[kind], &err);
	pair.keyd = ipc_link_new(ends[1], keyd_helper_rules[kind], &err);
	assert_true(pair.helper && pair.keyd);
	return pair;
}

static void pair_free(Pair *pair)
{
	ipc_link_free(pair->helper);
	ipc_link_free(pair->keyd);
}

static void the_largest_arrive_whole_and_are_wiped(void **state)
{
	Pair pair = pair_new(HELPER_KIND_KMIP);
	HelperPut put = { .blob_size = PROVIDER_BLOB_MAX };
	HelperNotStored failed = { .failure.category = ERROR_CATEGORY_COUNT - 1 };
	static const uint8_t zeros[sizeof(HelperPut)];
	IpcMessage message;
	const void *payload;
	Error err = ERROR_INIT;

	(void)state;
	memset(put.label, 'l', sizeof(put.label) - 1);
	memset(put.blob, 0xa5, sizeof(put.blob));
	assert_works(ipc_send(pair.keyd, HELPER_PUT, 1, &helper_put_schema, &put, NULL, 0, &err),
		     &err);
	assert_int_equal(ipc_receive(pair.helper, &message, &err), IPC_MESSAGE);
	assert_memory_equal(message.payload, &put, sizeof(put));
	payload = message.payload;
	ipc_message_clear(&message, pair.helper);
	assert_memory_equal(payload, zeros, sizeof(zeros));

	memset(failed.failure.text, 't', sizeof(failed.failure.text) - 1);
	memset(failed.reference, 'r', sizeof(failed.reference) - 1);
	assert_works(ipc_send(pair.helper, HELPER_NOT_STORED, 1, &helper_not_stored_schema, &failed,
			      NULL, 0, &err),
		     &err);
	assert_int_equal(ipc_receive(pair.keyd, &message, &err), IPC_MESSAGE);
	assert_memory_equal(message.payload, &failed, sizeof(failed));
	ipc_message_clear(&message, pair.keyd);
	pair_free(&pair);
}

static void a_sealed_key_is_asked_for_once(void **state)
{
	Pair pair = pair_new(HELPER_KIND_TPM2);
	HelperKey key = { { 1, 2, 3 } };
	IpcMessage message;
	Error err = ERROR_INIT;

	(void)state;
	for (int i = 0; i < 2; i++) {
		IpcReceived expected = i ? IPC_BROKEN : IPC_MESSAGE;

		assert_works(ipc_send(pair.keyd, HELPER_UNSEAL, 1, NULL, NULL, NULL, 0, &err),
			     &err);
		assert_int_equal(ipc_receive(pair.helper, &message, &err), expected);
	}
	pair_free(&pair);
	pair = pair_new(HELPER_KIND_TPM2);
	for (int i = 0; i < 2; i++) {
		IpcReceived expected = i ? IPC_BROKEN : IPC_MESSAGE;

		assert_works(ipc_send(pair.helper, HELPER_KEY, 1, &helper_key_schema, &key, NULL, 0,
				      &err),
			     &err);
		assert_int_equal(ipc_receive(pair.keyd, &message, &err), expected);
		ipc_message_clear(&message, pair.keyd);
	}
	pair_free(&pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tables_are_sound),
		cmocka_unit_test(requests_have_answers),
		cmocka_unit_test(the_largest_arrive_whole_and_are_wiped),
		cmocka_unit_test(a_sealed_key_is_asked_for_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
