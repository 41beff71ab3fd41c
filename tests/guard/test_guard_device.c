/* SPDX-License-Identifier: Apache-2.0 */
/* Each row of device_rules.h, and what is asked of whole sections, in small device state. */
#include "tests/qemustream/device_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/guard/device_holes.h"

enum { HELD_MAX = 1 << 20, TEXT_MAX = 8192, VALUES_MAX = 8, TEXT_SIZE = 32, DATA_SIZE = 16 };
/* What other fields of a table have. 2 * 6 bytes: what the two rows of vmxnet3's list agree on. */
enum { OTHER = 2, ELEMENTS = 3, LIST_BYTES = 12 };

static void put(Buffer *buffer, const void *data, size_t size)
{
	Error err;

	assert_works(buffer_put(buffer, data, size, &err), &err);
}

static void put_description(Buffer *buffer, const char *json)
{
	uint8_t header[6] = { 0, 6 };

	store_be32(header + 2, (uint32_t)strlen(json));
	put(buffer, header, sizeof(header));
	put(buffer, json, strlen(json));
}

/* --- one table with the fields that a row needs --- */

typedef struct Table {
	char json[TEXT_MAX];
	size_t used;
	Buffer payload;
} Table;

static void add_field(Table *table, const char *name, const char *type, uint32_t size,
		      uint32_t count, const void *bytes)
{
	const size_t room = sizeof(table->json) - table->used;
	char length[32] = "";

	if (count > 1)
		snprintf(length, sizeof(length), "\"array_len\": %u, ", count);
	table->used += (size_t)snprintf(table->json + table->used, room,
					"%s{\"name\": \"%s\", %s\"type\": \"%s\", \"size\": %u}",
					table->used ? ", " : "", name, length, type, size);
	assert_true(table->used < sizeof(table->json));
	put(&table->payload, bytes, (size_t)size * count);
}

static void add_number(Table *table, const char *name, int64_t value)
{
	uint8_t bytes[8];

	store_be64(bytes, (uint64_t)value);
	add_field(table, name, "int64", 8, 1, bytes);
}

static bool has_value_before(DeviceCheck check)
{
	return check == DEVICE_AT_MOST || check == DEVICE_AT_LEAST || check == DEVICE_SUM ||
	       check == DEVICE_AHEAD || check == DEVICE_TIMES || check == DEVICE_WITHIN_LOCAL;
}

static uint32_t bytes_of_other(const DeviceRule *rule)
{
	if (rule->check == DEVICE_BYTES_BESIDE)
		return (uint32_t)rule->max;
	return rule->check == DEVICE_BYTES ? LIST_BYTES : DATA_SIZE;
}

/* Another row may judge the same field: it needs its other field too. */
static void add_others(Table *table, const DeviceRule *rule, bool before)
{
	static const uint8_t zeros[512];
	static const uint8_t sealed[LIST_BYTES] = { 2, 1, 0, 10, 0, 0x16, 0, 0, 0, LIST_BYTES };
	const bool is_tpm = !strcmp(rule->table, "tpm-emulator");

	for (size_t row = 0; row < device_rules_count; row++) {
		const DeviceRule *each = &device_rules[row];

		if (!each->other || strcmp(each->table, rule->table) ||
		    strcmp(each->field, rule->field) || has_value_before(each->check) != before)
			continue;
		if (before)
			add_number(table, each->other, OTHER);
		else if (each->check == DEVICE_COUNT)
			add_field(table, each->other, "uint8", 1, ELEMENTS, zeros);
		else
			add_field(table, each->other, "buffer", bytes_of_other(each), 1,
				  is_tpm ? sealed : zeros);
	}
}

static bool is_text(const DeviceRule *rule)
{
	return rule->check == DEVICE_RUNSTATE || rule->check == DEVICE_ZEROS ||
	       rule->check == DEVICE_SEALED_BLOB;
}

static void make_held(Buffer *held, const DeviceRule *rule, int64_t value, const char *text)
{
	Table table = { .payload = BUFFER_INIT(HELD_MAX) };
	char json[TEXT_MAX + 512], bytes[TEXT_SIZE] = "";

	add_others(&table, rule, true);
	if (is_text(rule)) {
		memcpy(bytes, text, strlen(text));
		add_field(&table, rule->field, "buffer", sizeof(bytes), 1, bytes);
	} else {
		add_number(&table, rule->field, value);
	}
	add_others(&table, rule, false);
	snprintf(json, sizeof(json),
		 DESCRIPTION("{\"name\": \"d\", \"instance_id\": 0, \"vmsd_name\": \"%s\", "
			     "\"version\": 1, \"fields\": [%s]}"),
		 rule->table, table.json);
	put_section(held, 7, "d", 1, table.payload.data, table.payload.used);
	put_description(held, json);
	buffer_clear(&table.payload);
}

/* --- what a row lets through, and what not --- */

typedef struct Case {
	int64_t good[VALUES_MAX], bad[VALUES_MAX];
	size_t good_count, bad_count;
} Case;

static Case case_of(const DeviceRule *rule)
{
	const int64_t most = rule->max;

	switch (rule->check) {
	case DEVICE_RANGE:
		return (Case){ { rule->min, most, rule->has_also ? rule->also : most },
			       { rule->min - 1, most + 1 == rule->also ? most + 2 : most + 1 },
			       3,
			       2 };
	case DEVICE_AT_MOST:
		return (Case){ { 0, OTHER }, { -1, OTHER + 1 }, 2, 2 };
	case DEVICE_AT_LEAST:
		return (Case){ { OTHER, most }, { OTHER - 1, most + 1 }, 2, 2 };
	case DEVICE_SUM:
		return (Case){ { 0, most - OTHER }, { -1, most - OTHER + 1, INT64_MAX }, 2, 3 };
	case DEVICE_AHEAD:
		return (Case){ { OTHER, OTHER + most }, { OTHER - 1, OTHER + most + 1 }, 2, 2 };
	case DEVICE_TIMES:
		return (Case){ { OTHER * most }, { OTHER * most - 1, OTHER * most + 1 }, 1, 2 };
	case DEVICE_BELOW_BYTES:
		return (Case){ { 0, DATA_SIZE - 1 }, { -1, DATA_SIZE }, 2, 2 };
	case DEVICE_UPTO_BYTES:
		return (Case){ { 0, DATA_SIZE }, { -1, DATA_SIZE + 1 }, 2, 2 };
	case DEVICE_COUNT:
		return (Case){ { ELEMENTS }, { ELEMENTS - 1, ELEMENTS + 1 }, 1, 2 };
	case DEVICE_BYTES:
		return (Case){ { LIST_BYTES }, { LIST_BYTES - 1, LIST_BYTES + 1 }, 1, 2 };
	case DEVICE_BYTES_BESIDE:
		return (Case){ { 1 }, { 0, 2, -1 }, 1, 3 };
	case DEVICE_LOCAL:
		return (Case){ { OTHER }, { OTHER - 1, OTHER + 1 }, 1, 2 };
	case DEVICE_WITHIN_LOCAL:
		return (Case){ { 0, OTHER << most }, { -1, (OTHER << most) + 1 }, 2, 2 };
	case DEVICE_RUNSTATE:
	case DEVICE_ZEROS:
	case DEVICE_SEALED_BLOB:
	case DEVICE_CHECK_COUNT:
		break;
	}
	return (Case){ .good_count = 0 };
}

static bool judge(const DeviceRule *rule, int64_t local, int64_t value, const char *text,
		  Error *err)
{
	AUTO_BUFFER Buffer incoming = BUFFER_INIT(HELD_MAX), twin = BUFFER_INIT(HELD_MAX);
	AUTO_HELD_PAIR HeldPair pair = { 0 };

	make_held(&incoming, rule, value, text);
	make_held(&twin, rule, local, "");
	assert_works(held_pair_make(&pair, &incoming, &twin, err), err);
	return held_pair_judge(&pair, err);
}

static void assert_refused(bool passed, GuardRule rule, const char *part, const Error *err)
{
	const char *name = guard_rule_text(rule)->name;

	if (passed || err->category != ERROR_PEER || strncmp(err->text, name, strlen(name)) ||
	    err->text[strlen(name)] != ':' || !strstr(err->text, part))
		fail_msg("not refused by %s with %s: %s", name, part,
			 passed ? "passed" : err->text);
}

static void test_each_row(void **state)
{
	(void)state;
	for (size_t row = 0; row < device_rules_count; row++) {
		const DeviceRule *rule = &device_rules[row];
		const Case each = case_of(rule);
		Error err;

		/* The error log's belong together: test_error_log. */
		if (is_text(rule) || !strcmp(rule->table, "PCIE_AER_ERROR_LOG"))
			continue;
		/* A row without a case is a row that nobody tried. */
		assert_true(each.good_count && each.bad_count);
		for (size_t i = 0; i < each.good_count; i++)
			if (!judge(rule, each.good[0], each.good[i], "", &err))
				fail_msg("%s/%s = %lld: %s", rule->table, rule->field,
					 (long long)each.good[i], err.text);
		for (size_t i = 0; i < each.bad_count; i++)
			assert_refused(judge(rule, each.good[0], each.bad[i], "", &err), rule->rule,
				       rule->field, &err);
	}
}

static void test_texts(void **state)
{
	static const char *const good[] = { "running", "paused", "io-error", "postmigrate" };
	static const char *const bad[] = {
		"",	   "colo",	"debug",
		"run",	   "runningx",	"running\1",
		"RUNNING", "inmigrate", "01234567890123456789012345678901"
	};
	Error err;

	(void)state;
	for (size_t row = 0; row < device_rules_count; row++) {
		const DeviceRule *rule = &device_rules[row];

		if (!is_text(rule))
			continue;
		for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
			if (bad[i][0] || rule->check == DEVICE_RUNSTATE)
				assert_refused(judge(rule, 0, 0, bad[i], &err), rule->rule,
					       rule->field, &err);
		for (size_t i = 0; i < ARRAY_SIZE(good); i++)
			if (rule->check == DEVICE_RUNSTATE)
				assert_works(judge(rule, 0, 0, good[i], &err), &err);
		if (rule->check == DEVICE_ZEROS)
			assert_works(judge(rule, 0, 0, "", &err), &err);
	}
}

/* A machine with a TPM whose three blobs are these; the last one may be empty, as it mostly is. */
static bool judge_tpm(const uint8_t *blob, uint32_t size, uint32_t last_size, uint32_t flags,
		      Error *err)
{
	static const char *const names[] = { "permanent", "volatil", "savestate" };
	AUTO_BUFFER Buffer held = BUFFER_INIT(HELD_MAX);
	AUTO_HELD_PAIR HeldPair pair = { 0 };
	Table table = { .payload = BUFFER_INIT(HELD_MAX) };
	char json[TEXT_MAX + 512], name[64];

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		uint32_t bytes = i == 2 ? last_size : size;
		uint8_t number[4];

		snprintf(name, sizeof(name), "state_blobs.%s_flags", names[i]);
		store_be32(number, flags);
		add_field(&table, name, "uint32", 4, 1, number);
		snprintf(name, sizeof(name), "state_blobs.%s.size", names[i]);
		store_be32(number, bytes);
		add_field(&table, name, "uint32", 4, 1, number);
		snprintf(name, sizeof(name), "state_blobs.%s.buffer", names[i]);
		add_field(&table, name, "buffer", bytes, 1, blob);
	}
	snprintf(json, sizeof(json),
		 DESCRIPTION("{\"name\": \"d\", \"instance_id\": 0, \"vmsd_name\": "
			     "\"tpm-emulator\", \"version\": 0, \"fields\": [%s]}"),
		 table.json);
	put_section(&held, 7, "d", 0, table.payload.data, table.payload.used);
	put_description(&held, json);
	buffer_clear(&table.payload);
	assert_works(held_pair_make(&pair, &held, &held, err), err);
	return held_pair_judge(&pair, err);
}

static void test_tpm(void **state)
{
	static const uint8_t sealed[] = { 2, 1, 0, 10, 0, 0x16, 0, 0, 0, 14, 1, 2, 3, 4 };
	/* A clear one, one of the files' key, other versions, another length of the header. */
	static const uint8_t wrong[][2] = { { 5, 0x04 }, { 5, 0x09 }, { 5, 0x06 }, { 4, 1 },
					    { 0, 1 },	 { 0, 3 },    { 1, 2 },	   { 3, 12 },
					    { 9, 13 },	 { 9, 15 },   { 6, 1 } };
	uint8_t blob[sizeof(sealed)];
	Error err;

	(void)state;
	assert_works(judge_tpm(sealed, sizeof(sealed), 0, 0, &err), &err);
	assert_works(judge_tpm(sealed, sizeof(sealed), sizeof(sealed), 0, &err), &err);
	assert_refused(judge_tpm(sealed, sizeof(sealed), 0, 2, &err), GUARD_RULE_DEVICE_TPM,
		       "permanent_flags", &err);
	assert_refused(judge_tpm(sealed, 0, 0, 0, &err), GUARD_RULE_DEVICE_TPM, "permanent.size",
		       &err);
	assert_refused(judge_tpm(sealed, sizeof(sealed) - 1, 0, 0, &err), GUARD_RULE_DEVICE_TPM,
		       "permanent.buffer", &err);
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		memcpy(blob, sealed, sizeof(blob));
		blob[wrong[i][0]] = wrong[i][1];
		assert_refused(judge_tpm(blob, sizeof(blob), 0, 0, &err), GUARD_RULE_DEVICE_TPM,
			       "permanent.buffer", &err);
	}
}

/* A row must name a rule of device state, what it closes, and bounds that make sense. */
static void test_rows_are_whole(void **state)
{
	(void)state;
	for (size_t row = 0; row < device_rules_count; row++) {
		const DeviceRule *rule = &device_rules[row];

		assert_true(rule->rule > GUARD_RULE_DEVICE_OPAQUE && rule->rule < GUARD_RULE_COUNT);
		assert_true(rule->closes && rule->closes[0]);
		assert_true(rule->min <= rule->max || rule->check != DEVICE_RANGE);
		assert_true(rule->check == DEVICE_RANGE || rule->check == DEVICE_LOCAL ||
			    is_text(rule) || rule->other);
		for (size_t i = 0; i < row; i++)
			assert_false(!strcmp(device_rules[i].table, rule->table) &&
				     !strcmp(device_rules[i].field, rule->field) &&
				     device_rules[i].check == rule->check);
	}
}

/* --- a log of errors, which a port that never ran has not --- */

#define LOG_ENTRY                                                                                    \
	FIELD("status", "uint32", "4")                                                               \
	", " FIELD("source_id", "uint16", "2") ", " FIELD(                                           \
		"flags", "uint16",                                                                   \
		"2") ", "                                                                            \
		     "{\"name\": \"header\", \"array_len\": 4, \"type\": \"uint32\", \"size\": 4}, " \
		     "{\"name\": \"prefix\", \"array_len\": 4, \"type\": \"uint32\", \"size\": 4}"
#define LOG_STRUCT(count, size, fields)                                                            \
	", {\"name\": \"log\", " count "\"type\": \"struct\", \"struct\": {\"vmsd_name\": "        \
	"\"PCIE_AER_ERROR\", \"version\": 1, \"fields\": [" fields "]}, \"size\": " size "}"
#define ENTRIES(count) LOG_STRUCT("\"array_len\": " count ", ", "40", LOG_ENTRY)
#define IN_DUMP(name, rest)                                                                        \
	"{\"field\": \"" name "\", \"version_id\": 0, \"field_exists\": false, " rest "}"
#define TABLE_IN_DUMP(name, fields)                                                                \
	"\"Description\": {\"name\": \"" name "\", \"version_id\": 1, "                            \
	"\"minimum_version_id\": 1, \"Fields\": [" fields "]}"
#define FOUR "\"num\": 4, \"size\": 4"
#define ENTRY_IN_DUMP                                                                              \
	IN_DUMP("status", "\"size\": 4")                                                           \
	", " IN_DUMP("source_id", "\"size\": 2") ", " IN_DUMP(                                     \
		"flags", "\"size\": 2") ", " IN_DUMP("header", FOUR) ", " IN_DUMP("prefix", FOUR)
#define LOG_IN_DUMP                                                                                \
	IN_DUMP("log_num", "\"size\": 2")                                                          \
	", " IN_DUMP("log_max", "\"size\": 2") ", " IN_DUMP(                                       \
		"log", "\"size\": 40, " TABLE_IN_DUMP("PCIE_AER_ERROR", ENTRY_IN_DUMP))

static const char log_tables[] =
	"{\"port\": {" TABLE_IN_DUMP("PCIE_AER_ERROR_LOG", LOG_IN_DUMP) "}}";

/* log_num, log_max, then so many bytes of entries. */
static void make_log(Buffer *held, uint8_t count, const char *entries, size_t size)
{
	const uint8_t numbers[] = { 0, count, 0, 3 };
	AUTO_BUFFER Buffer payload = BUFFER_INIT(HELD_MAX);
	static const uint8_t zeros[512];
	char json[TEXT_MAX + 512];

	put(&payload, numbers, sizeof(numbers));
	put(&payload, zeros, size);
	snprintf(
		json, sizeof(json),
		DESCRIPTION("{\"name\": \"d\", \"instance_id\": 0, \"vmsd_name\": "
			    "\"PCIE_AER_ERROR_LOG\", \"version\": 1, \"fields\": ["
			    "{\"name\": \"log_num\", \"type\": \"uint16\", \"size\": 2}, "
			    "{\"name\": \"log_max\", \"type\": \"uint16 equal\", \"size\": 2}%s]}"),
		entries);
	put_section(held, 7, "d", 1, payload.data, payload.used);
	put_description(held, json);
}

static bool judge_log(uint8_t count, const char *entries, size_t size, bool has_tables, Error *err)
{
	AUTO_BUFFER Buffer incoming = BUFFER_INIT(HELD_MAX), twin = BUFFER_INIT(HELD_MAX);
	AUTO_HELD_PAIR HeldPair pair = { 0 };

	make_log(&incoming, count, entries, size);
	make_log(&twin, 0, "", 0);
	pair.dump = has_tables ? dump_vmstate_parse(log_tables, sizeof(log_tables) - 1, err) : NULL;
	assert_int_equal(pair.dump != NULL, has_tables);
	assert_works(held_pair_make(&pair, &incoming, &twin, err), err);
	return held_pair_judge(&pair, err);
}

static void test_error_log(void **state)
{
	static const char one[] = LOG_STRUCT("", "40", LOG_ENTRY);
	static const char other[] = LOG_STRUCT("", "40", FIELD("bytes", "buffer", "40"));
	static const char longer[] =
		LOG_STRUCT("", "41", LOG_ENTRY ", " FIELD("more", "uint8", "1"));
	static const char leaf[] = ", " FIELD("log", "buffer", "40");
	Error err = ERROR_INIT;

	(void)state;
	assert_works(judge_log(0, "", 0, true, &err), &err);
	assert_works(judge_log(1, one, 40, true, &err), &err);
	assert_works(judge_log(3, ENTRIES("3"), 120, true, &err), &err);
	/* CVE-2013-4529: more than the twin's log_max, or than there are. */
	assert_refused(judge_log(4, ENTRIES("4"), 160, true, &err), GUARD_RULE_DEVICE_PCI,
		       "too large", &err);
	assert_refused(judge_log(3, ENTRIES("2"), 80, true, &err), GUARD_RULE_DEVICE_PCI, "log_num",
		       &err);
	assert_refused(judge_log(1, "", 0, true, &err), GUARD_RULE_DEVICE_PCI, "log_num", &err);
	assert_refused(judge_log(0, one, 40, true, &err), GUARD_RULE_DEVICE_PCI, "log_num", &err);
	/* Bytes that the loading QEMU would cut otherwise. */
	assert_refused(judge_log(1, longer, 41, true, &err), GUARD_RULE_DEVICE_LAYOUT,
		       "another length than is known", &err);
	assert_refused(judge_log(1, leaf, 40, true, &err), GUARD_RULE_DEVICE_LAYOUT,
		       "another length than is known", &err);
	assert_refused(judge_log(1, other, 40, true, &err), GUARD_RULE_DEVICE_LAYOUT, "bytes",
		       &err);
	assert_refused(judge_log(1, one, 40, false, &err), GUARD_RULE_DEVICE_LAYOUT,
		       "known neither", &err);
}

/* Those before it are judged in sections below and in test_guard_device_virtio.c. */
static void test_each_family_has_a_row(void **state)
{
	(void)state;
	for (int family = GUARD_RULE_DEVICE_SCSI; family < GUARD_RULE_COUNT; family++) {
		bool found = false;

		for (size_t row = 0; row < device_rules_count; row++)
			found = found || (int)device_rules[row].rule == family;
		if (!found)
			fail_msg("%s has no row", guard_rule_text((GuardRule)family)->name);
	}
}

/* --- whole sections --- */

#define NUMBERS FIELD("a", "uint32", "4") ", " FIELD("b", "uint16 equal", "2")
#define OLD_STYLE(size)                                                                            \
	"{\"name\": \"old\", \"instance_id\": 0, \"size\": " size ", \"fields\": "                 \
	"[{\"name\": \"data\", \"size\": " size ", \"type\": \"buffer\"}]}"

static const char twin_json[] =
	DESCRIPTION(DEVICE("s", TABLE("s", NUMBERS)) ", " DEVICE("t", TABLE("t", NUMBERS)));
static const char old_json[] = DESCRIPTION(OLD_STYLE("4"));

static void put_two(Buffer *held, const char *json)
{
	put_section(held, 1, "s", 2, "\0\0\0\1\0\7", 6);
	put_section(held, 2, "t", 2, "\0\0\0\2\0\7", 6);
	put_description(held, json);
}

static bool judge_two(const Buffer *incoming, Error *err)
{
	AUTO_BUFFER Buffer twin = BUFFER_INIT(HELD_MAX);
	AUTO_HELD_PAIR HeldPair pair = { 0 };

	put_two(&twin, twin_json);
	assert_works(held_pair_make(&pair, &twin, &twin, err), err);
	pair.incoming.used = 0;
	put(&pair.incoming, incoming->data, incoming->used);
	return held_pair_judge(&pair, err);
}

static void test_sections(void **state)
{
	AUTO_BUFFER Buffer held = BUFFER_INIT(HELD_MAX);
	size_t at;
	Error err;

	(void)state;
	put_two(&held, twin_json);
	assert_works(judge_two(&held, &err), &err);
	/* What is not judged may be anything. */
	held.data[18] ^= 0xff;
	assert_works(judge_two(&held, &err), &err);
	/* The last byte of s/b. */
	at = 1 + 4 + 1 + 1 + 8 + 5;
	held.data[at] ^= 1;
	assert_refused(judge_two(&held, &err), GUARD_RULE_DEVICE_EQUAL, "b, byte 19", &err);
	held.data[at] ^= 1;
	/* The footer behind it. */
	held.data[at + 1] ^= 1;
	assert_refused(judge_two(&held, &err), GUARD_RULE_DEVICE_FRAME, "footer", &err);
	held.data[at + 1] ^= 1;
	held.used--;
	assert_refused(judge_two(&held, &err), GUARD_RULE_DEVICE_DESCRIPTION, "0 descriptions",
		       &err);
}

static void test_devices(void **state)
{
	static const char one[] = DESCRIPTION(DEVICE("s", TABLE("s", NUMBERS)));
	static const char third[] =
		DESCRIPTION(DEVICE("s", TABLE("s", NUMBERS)) ", " DEVICE("u", TABLE("t", NUMBERS)));
	static const char field[] = DESCRIPTION(DEVICE("s", TABLE("s", NUMBERS)) ", " DEVICE(
		"t", TABLE("t", FIELD("c", "uint32", "4") ", " FIELD("b", "uint16 equal", "2"))));
	AUTO_BUFFER Buffer held = BUFFER_INIT(HELD_MAX);
	Error err;

	(void)state;
	put_two(&held, third);
	assert_refused(judge_two(&held, &err), GUARD_RULE_DEVICE_UNKNOWN, "device u", &err);
	held.used = 0;
	put_section(&held, 1, "s", 2, "\0\0\0\1\0\7", 6);
	put_description(&held, one);
	assert_refused(judge_two(&held, &err), GUARD_RULE_DEVICE_MISSING, "device t", &err);
	held.used = 0;
	put_two(&held, field);
	assert_refused(judge_two(&held, &err), GUARD_RULE_DEVICE_LAYOUT, "field c", &err);
}

static void test_opaque_device(void **state)
{
	static const char longer[] = DESCRIPTION(OLD_STYLE("5"));
	AUTO_BUFFER Buffer twin = BUFFER_INIT(HELD_MAX), held = BUFFER_INIT(HELD_MAX);
	AUTO_BUFFER Buffer other = BUFFER_INIT(HELD_MAX);
	AUTO_HELD_PAIR HeldPair good = { 0 }, bad = { 0 }, older = { 0 };
	Error err;

	(void)state;
	put_section(&twin, 1, "old", 4, "abcd", 4);
	put_description(&twin, old_json);
	assert_works(held_pair_make(&good, &twin, &twin, &err), &err);
	assert_works(held_pair_judge(&good, &err), &err);
	put_section(&held, 1, "old", 4, "abcde", 5);
	put_description(&held, longer);
	assert_works(held_pair_make(&bad, &held, &twin, &err), &err);
	assert_refused(held_pair_judge(&bad, &err), GUARD_RULE_DEVICE_OPAQUE, "5 bytes", &err);
	put_section(&other, 1, "old", 3, "abcd", 4);
	put_description(&other, old_json);
	assert_works(held_pair_make(&older, &other, &twin, &err), &err);
	assert_refused(held_pair_judge(&older, &err), GUARD_RULE_DEVICE_OPAQUE,
		       "version 3, the local one has 4", &err);
}

static void test_bad_twin(void **state)
{
	static const uint8_t bytes[] = "no device state {}";
	Error err = ERROR_INIT;

	(void)state;
	assert_null(guard_device_new(bytes, sizeof(bytes), NULL, &err));
	assert_int_equal(err.category, ERROR_INTERNAL);
	guard_device_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_row),
		cmocka_unit_test(test_error_log),
		cmocka_unit_test(test_texts),
		cmocka_unit_test(test_tpm),
		cmocka_unit_test(test_rows_are_whole),
		cmocka_unit_test(test_each_family_has_a_row),
		cmocka_unit_test(test_sections),
		cmocka_unit_test(test_devices),
		cmocka_unit_test(test_opaque_device),
		cmocka_unit_test(test_bad_twin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
