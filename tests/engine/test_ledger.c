/* SPDX-License-Identifier: Apache-2.0 */
/* What persons decided: whole lines, only appended, for nobody else to read. */
#include "tests/support/support.h"

#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "engine/ledger.h"

#define TORN "{\"time\":1,\"ui"

static MigrationRecord sample(void)
{
	MigrationRecord record = { .role = MIGRATION_SOURCE, .state = MIGRATION_STUCK, .epoch = 7 };

	record.id[0] = 0xab;
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
		"{\"time\":1700000000,\"uid\":1000,\"action\":\"run-here\",\"migration\":"
		"\"ab000000000000000000000000000000\",\"role\":\"source\",\"vm\":\"vm1\",\"vm_uuid\":"
		"\"6f1c0f3e-2f0b-4f4e-9d58-1f0f8a1b2c3d\",\"epoch\":7,\"peer\":"
		"\"spiffe://south.example/host/b\",\"outcome\":\"begun\"}\n";
	MigrationRecord record = sample();
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

static void it_is_for_its_owner_alone(void **state)
{
	MigrationRecord record = sample();
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
	MigrationRecord record = sample();
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
	MigrationRecord record = sample();
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
		cmocka_unit_test(it_is_for_its_owner_alone),
		cmocka_unit_test(a_torn_line_stays_alone),
		cmocka_unit_test(what_cannot_be_written_is_an_error),
	};

	return cmocka_run_group_tests_name("engine/ledger", tests, NULL, NULL);
}
