/* SPDX-License-Identifier: Apache-2.0 */
/* The rule tables as data: what would be wrong in one is found here, not by a child that is killed.
 */
#include "tests/support/support.h"

#include <string.h>
#include <unistd.h>

#include "role/messages.h"

static const IpcRule *const tables[] = {
	gate_rules,	   notary_verify_rules, notary_sign_rules,  mover_rules,
	engine_gate_rules, engine_notary_rules, engine_mover_rules,
};

static void check_rule(const IpcRule *table, const IpcRule *rule)
{
	assert_true(rule->name && rule->name[0]);
	assert_true(rule->fds_min <= rule->fds_max && rule->fds_max <= LIMIT_IPC_FDS);
	assert_int_not_equal(rule->states & (IPC_IN(ROLE_STARTING) | IPC_IN(ROLE_SERVING)), 0);
	assert_in_range(rule->next_state + 1, 0, IPC_STATES_MAX);
	for (const IpcRule *other = table; other != rule; other++) {
		assert_int_not_equal(other->type, rule->type);
		assert_string_not_equal(other->name, rule->name);
	}
}

static void each_type_stands_once_in_its_table(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(tables); i++)
		for (const IpcRule *rule = tables[i]; rule->type; rule++)
			check_rule(tables[i], rule);
}

/* Nothing but configuration may come before the child has said that it is ready. */
static void nothing_leaves_a_child_before_it_is_ready(void **state)
{
	static const IpcRule *const from_children[] = { engine_gate_rules, engine_notary_rules,
							engine_mover_rules };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(from_children); i++)
		for (const IpcRule *rule = from_children[i]; rule->type; rule++) {
			bool early = rule->states & IPC_IN(ROLE_STARTING);

			assert_int_equal(early, rule->type == ROLE_READY ||
							rule->type == ROLE_FAILED ||
							rule->type == NOTARY_IDENTITY);
			if (rule->type == ROLE_READY)
				assert_int_equal(rule->states, IPC_IN(ROLE_STARTING));
		}
}

static size_t largest(const Schema *schema);

static size_t largest_field(const Field *field)
{
	size_t most = 0;

	switch (field->kind) {
	case FIELD_U64:
		return 8;
	case FIELD_BOOL:
		return 1;
	case FIELD_ENUM:
		/* One byte on the link. */
		assert_in_range(field->n_words, 1, 256);
		return 1;
	case FIELD_TEXT:
		return 4 + field->size - 1;
	case FIELD_HEX:
		return field->size;
	case FIELD_BYTES:
		return 4 + field->size;
	case FIELD_OBJECT:
		return largest(field->object);
	case FIELD_LIST:
		return 4 + field->size * largest(field->object);
	case FIELD_VARIANT:
		for (size_t i = 0; i < field->n_words; i++)
			if (field->variants[i] && largest(field->variants[i]) > most)
				most = largest(field->variants[i]);
		return most;
	}
	fail();
	return 0;
}

static size_t largest(const Schema *schema)
{
	size_t sum = 0;

	for (size_t i = 0; i < schema->n_fields; i++)
		sum += largest_field(&schema->fields[i]);
	return sum;
}

static void the_largest_message_of_each_type_fits(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(tables); i++)
		for (const IpcRule *rule = tables[i]; rule->type; rule++)
			if (rule->schema &&
			    IPC_HEADER_BYTES + largest(rule->schema) > LIMIT_IPC_MESSAGE)
				fail_msg("%s: up to %zu bytes", rule->name, largest(rule->schema));
}

static void members_lie_inside_their_structs(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(tables); i++)
		for (const IpcRule *rule = tables[i]; rule->type; rule++)
			for (size_t f = 0; rule->schema && f < rule->schema->n_fields; f++) {
				const Field *field = &rule->schema->fields[f];

				assert_true(field->offset < rule->schema->struct_size);
				assert_true(field->count_offset < rule->schema->struct_size);
				if (field->kind == FIELD_VARIANT)
					for (size_t v = 0; v < field->n_words; v++)
						assert_true(!field->variants[v] ||
							    field->offset + field->variants[v]
										    ->struct_size <=
								    rule->schema->struct_size);
			}
}

static void a_failure_arrives_with_category_and_text(void **state)
{
	Error err = ERROR_INIT, failure = ERROR_INIT;
	IpcMessage message;
	int pair[2];

	(void)state;
	assert_works(ipc_pair(pair, &err), &err);

	AUTO_IPC_LINK IpcLink *child = ipc_link_new(pair[0], mover_rules, &err);
	AUTO_IPC_LINK IpcLink *engine = ipc_link_new(pair[1], engine_mover_rules, &err);

	assert_true(child && engine);
	error_set(&failure, ERROR_AUTH, "record 3 is not authentic");
	assert_works(role_send_failure(child, 7, &failure, &err), &err);
	assert_int_equal(ipc_receive(engine, &message, &err), IPC_MESSAGE);
	assert_int_equal(message.type, ROLE_FAILED);
	assert_int_equal(message.subject, 7);
	assert_int_equal(((RoleFailure *)message.payload)->category, ERROR_AUTH);
	assert_string_equal(((RoleFailure *)message.payload)->text, failure.text);
}

static void the_longest_failure_arrives_whole(void **state)
{
	Error err = ERROR_INIT, failure = { .category = ERROR_PEER };
	IpcMessage message;
	int pair[2];

	(void)state;
	memset(failure.text, 'x', sizeof(failure.text) - 1);
	assert_works(ipc_pair(pair, &err), &err);

	AUTO_IPC_LINK IpcLink *child = ipc_link_new(pair[0], gate_rules, &err);
	AUTO_IPC_LINK IpcLink *engine = ipc_link_new(pair[1], engine_gate_rules, &err);

	assert_true(child && engine);
	assert_works(role_send_failure(child, 0, &failure, &err), &err);
	assert_int_equal(ipc_receive(engine, &message, &err), IPC_MESSAGE);
	assert_string_equal(((RoleFailure *)message.payload)->text, failure.text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_type_stands_once_in_its_table),
		cmocka_unit_test(nothing_leaves_a_child_before_it_is_ready),
		cmocka_unit_test(the_largest_message_of_each_type_fits),
		cmocka_unit_test(members_lie_inside_their_structs),
		cmocka_unit_test(a_failure_arrives_with_category_and_text),
		cmocka_unit_test(the_longest_failure_arrives_whole),
	};

	return cmocka_run_group_tests_name("role/messages", tests, NULL, NULL);
}
