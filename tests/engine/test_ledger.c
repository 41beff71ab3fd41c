/* SPDX-License-Identifier: Apache-2.0 */
/* What auditors read: whole lines, only appended, for nobody else to see; and how many. */
#include "tests/support/support.h"

#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "engine/ledger.h"
#include "engine/violations.h"

#define TORN "{\"time\":1,\"ui"

static MigrationRecord sample(const char *guard)
{
	MigrationRecord record = { .role = MIGRATION_SOURCE, .state = MIGRATION_STUCK, .epoch = 7 };

	record.id[0] = 0xab;
	snprintf(record.guard, sizeof(record.guard), "%s", guard);
	snprintf(record.vm, sizeof(record.vm), "vm1");
	snprintf(record.uuid, sizeof(record.uuid), "6f1c0f3e-2f0b-4f4e-9d58-1f0f8a1b2c3d");
	snprintf(record.peer_id, sizeof(record.peer_id), "spiffe://south.example/host/b");
	return record;
}

static void read_all(const TestFolder *folder, Buffer *text)
{
	char path[128];
	Error err;

	assert_works(file_read(support_path(folder, LEDGER_NAME, path), 65536, text, &err), &err);
	assert_works(buffer_put_u8(text, 0, &err), &err);
}

static void a_decision_is_one_line(void **state)
{
	static const char first[] =
		"{\"time\":1700000000,\"kind\":\"decision\",\"migration\":"
		"\"ab000000000000000000000000000000\",\"role\":\"source\",\"vm\":\"vm1\",\"vm_uuid\":"
		"\"6f1c0f3e-2f0b-4f4e-9d58-1f0f8a1b2c3d\",\"epoch\":7,\"peer\":"
		"\"spiffe://south.example/host/b\",\"uid\":1000,\"action\":\"run-here\","
		"\"outcome\":\"begun\"}\n";
	MigrationRecord record = sample("");
	LedgerEntry entry = {
		.time_s = 1700000000, .uid = 1000, .action = "run-here", .migration = &record
	};
	AUTO_BUFFER Buffer text = BUFFER_INIT(65536);
	TestFolder folder;
	Error err, refusal = ERROR_INIT;
	json_t *second;

	(void)state;
	support_make_folder(&folder);
	assert_works(ledger_append(folder.path, &entry, &err), &err);
	error_set(&refusal, ERROR_CONFLICT, "not \"stuck\"");
	entry.refused = &refusal;
	assert_works(ledger_append(folder.path, &entry, &err), &err);
	read_all(&folder, &text);
	assert_memory_equal(text.data, first, sizeof(first) - 1);
	second = json_loads((const char *)text.data + sizeof(first) - 1, JSON_REJECT_DUPLICATES,
			    NULL);
	assert_non_null(second);
	assert_string_equal(json_string_value(json_object_get(second, "outcome")), "refused");
	assert_string_equal(json_string_value(json_object_get(second, "reason")), "not \"stuck\"");
	json_decref(second);
	support_remove_folder(&folder);
}

static json_t *only_line(const TestFolder *folder)
{
	AUTO_BUFFER Buffer text = BUFFER_INIT(65536);
	json_t *line;

	read_all(folder, &text);
	assert_int_equal(strcspn((const char *)text.data, "\n"), text.used - 2);
	line = json_loads((const char *)text.data, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(line);
	return line;
}

static void assert_word(const json_t *line, const char *member, const char *word)
{
	assert_string_equal(json_string_value(json_object_get(line, member)), word);
}

/* Whatever a peer made the mover say stays inside its string. */
static void a_broken_rule_is_one_line(void **state)
{
	static const char text[] = "guard-machine: \"}\n{\"kind\":\"decision\"\\";
	MigrationRecord record = sample("enforce");
	const LedgerViolation violation = { .time_s = 1700000000,
					    .migration = &record,
					    .rule = "guard-machine",
					    .channel = 2,
					    .text = text,
					    .omitted = 3 };
	TestFolder folder;
	json_t *line;
	Error err;

	(void)state;
	support_make_folder(&folder);
	assert_works(ledger_append_violation(folder.path, &violation, &err), &err);
	line = only_line(&folder);
	assert_word(line, "kind", "guard");
	assert_word(line, "guard", "enforce");
	assert_word(line, "outcome", "refused");
	assert_word(line, "rule", "guard-machine");
	assert_word(line, "text", text);
	assert_word(line, "role", "source");
	assert_word(line, "vm", "vm1");
	assert_word(line, "peer", "spiffe://south.example/host/b");
	assert_int_equal(json_integer_value(json_object_get(line, "channel")), 2);
	assert_int_equal(json_integer_value(json_object_get(line, "omitted")), 3);
	assert_int_equal(json_integer_value(json_object_get(line, "time")), 1700000000);
	assert_null(json_object_get(line, "more"));
	json_decref(line);
	support_remove_folder(&folder);
}

static void a_count_stands_for_the_rest(void **state)
{
	MigrationRecord record = sample("warn");
	const LedgerViolation violation = { .migration = &record, .warned = true, .more = 9 };
	TestFolder folder;
	json_t *line;
	Error err;

	(void)state;
	support_make_folder(&folder);
	assert_works(ledger_append_violation(folder.path, &violation, &err), &err);
	line = only_line(&folder);
	assert_word(line, "guard", "warn");
	assert_word(line, "outcome", "warned");
	assert_int_equal(json_integer_value(json_object_get(line, "more")), 9);
	assert_null(json_object_get(line, "rule"));
	assert_null(json_object_get(line, "omitted"));
	json_decref(line);
	assert_fails(ledger_append_violation("/nonexistent", &violation, &err), ERROR_IO,
		     "cannot open /nonexistent/", &err);
	support_remove_folder(&folder);
}

/* Peers decide how often rules are broken; the disk must not be theirs. */
static void lines_of_peers_have_a_bound(void **state)
{
	const int64_t second = 1000000, day = 86400;
	ViolationBudget budget = { .begun = false };
	uint64_t written = 0;
	int64_t now = 5 * second;

	(void)state;
	for (int i = 0; i < VIOLATIONS_BURST; i++)
		assert_true(violations_may_write(&budget, now));
	assert_false(violations_may_write(&budget, now));
	assert_false(violations_may_write(&budget, now + VIOLATIONS_REFILL_S * second - 1));
	assert_int_equal(budget.omitted, 2);
	now += VIOLATIONS_REFILL_S * second;
	assert_true(violations_may_write(&budget, now));
	assert_false(violations_may_write(&budget, now));
	/* Three a second, for a day. */
	for (int64_t i = 1; i <= 3 * day; i++)
		written += violations_may_write(&budget, now + i * second / 3);
	assert_int_equal(written, day / VIOLATIONS_REFILL_S);
	/* It fills up again, and not beyond. */
	now += 1000 * day * second;
	for (int i = 0; i < VIOLATIONS_BURST; i++)
		assert_true(violations_may_write(&budget, now));
	assert_false(violations_may_write(&budget, now));
}

static void the_rule_is_one_of_the_guards(void **state)
{
	(void)state;
	assert_string_equal(violations_rule_of("channel main: guard refuses: guard-machine: "
					       "machine \"guard-uuid: \""),
			    "guard-machine");
	assert_string_equal(violations_rule_of("guard-device-field-ide: unit 7"),
			    "guard-device-field-ide");
	assert_string_equal(violations_rule_of("channel disk-0: guard refuses: nbd-range: client: "
					       "guard-uuid: "),
			    "nbd-range");
	assert_string_equal(violations_rule_of("guard-uuid: nbd-range: "), "guard-uuid");
	assert_string_equal(violations_rule_of("channel disk-0: guard refuses: nbd-rang: "
					       "guard-uuid: "),
			    "unknown");
	assert_string_equal(violations_rule_of("guard-machin: x"), "unknown");
	assert_string_equal(violations_rule_of("guard-machines: x"), "unknown");
	assert_string_equal(violations_rule_of("channel main: guard refuses: all"), "unknown");
	assert_string_equal(violations_rule_of(""), "unknown");
}

static void it_is_for_its_owner_alone(void **state)
{
	MigrationRecord record = sample("");
	const LedgerEntry entry = { .action = "discard", .migration = &record };
	mode_t old = umask(0);
	struct stat status;
	TestFolder folder;
	char path[128];
	Error err;

	(void)state;
	support_make_folder(&folder);
	assert_works(ledger_append(folder.path, &entry, &err), &err);
	umask(old);
	assert_int_equal(stat(support_path(&folder, LEDGER_NAME, path), &status), 0);
	assert_int_equal(status.st_mode & 07777, 0600);
	support_remove_folder(&folder);
}

/* A crash in the middle of a line costs that line, not the next one. */
static void a_torn_line_stays_alone(void **state)
{
	MigrationRecord record = sample("");
	const LedgerEntry entry = { .action = "discard", .migration = &record };
	AUTO_BUFFER Buffer text = BUFFER_INIT(65536);
	TestFolder folder;
	char path[128];
	Error err;

	(void)state;
	support_make_folder(&folder);
	support_path(&folder, LEDGER_NAME, path);
	assert_works(file_replace(path, TORN, strlen(TORN), 0600, &err), &err);
	assert_works(ledger_append(folder.path, &entry, &err), &err);
	read_all(&folder, &text);
	assert_memory_equal(text.data, TORN "\n{\"time\":0,", strlen(TORN "\n{\"time\":0,"));
	support_remove_folder(&folder);
}

static void what_cannot_be_written_is_an_error(void **state)
{
	MigrationRecord record = sample("");
	const LedgerEntry entry = { .action = "discard", .migration = &record };
	TestFolder folder;
	char path[128], target[128];
	Error err;

	(void)state;
	assert_fails(ledger_append("/nonexistent", &entry, &err), ERROR_IO,
		     "cannot open /nonexistent/", &err);
	support_make_folder(&folder);
	/* Somebody else's file must not be written through a link. */
	assert_works(file_replace(support_path(&folder, "other", target), "x", 1, 0600, &err),
		     &err);
	assert_int_equal(symlink(target, support_path(&folder, LEDGER_NAME, path)), 0);
	assert_fails(ledger_append(folder.path, &entry, &err), ERROR_IO, LEDGER_NAME, &err);
	assert_int_equal(unlink(path), 0);
	/* A disk that is full. */
	if (!mknod(path, S_IFCHR | 0600, (dev_t)((1 << 8) | 7)))
		assert_fails(ledger_append(folder.path, &entry, &err), ERROR_IO, LEDGER_NAME, &err);
	support_remove_folder(&folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_decision_is_one_line),
		cmocka_unit_test(a_broken_rule_is_one_line),
		cmocka_unit_test(a_count_stands_for_the_rest),
		cmocka_unit_test(lines_of_peers_have_a_bound),
		cmocka_unit_test(the_rule_is_one_of_the_guards),
		cmocka_unit_test(it_is_for_its_owner_alone),
		cmocka_unit_test(a_torn_line_stays_alone),
		cmocka_unit_test(what_cannot_be_written_is_an_error),
	};

	return cmocka_run_group_tests_name("engine/ledger", tests, NULL, NULL);
}
