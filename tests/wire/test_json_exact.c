/* SPDX-License-Identifier: Apache-2.0 */
/* The short way to read what our encoder wrote, held to the long one: what it takes the other
 * takes, to the same outcome, and of what our encoder wrote it takes all. */
#include "tests/support/support.h"

#include <stdio.h>
#include <string.h>

#include "wire/json.h"
#include "wire/json_exact.h"

typedef enum Colour { COLOUR_RED, COLOUR_HOLE, COLOUR_BLUE, COLOUR_COUNT } Colour;
typedef struct Thing {
	uint64_t number;
	bool flag;
	Colour colour;
	char name[8];
	char note[16];
	uint8_t id[4];
	uint64_t last;
} Thing;

static const char *const colour_words[COLOUR_COUNT] = { "red", NULL, "blue" };
static const Field thing_fields[] = {
	SCHEMA_U64(Thing, number, 0, INT64_MAX),
	SCHEMA_BOOL(Thing, flag),
	SCHEMA_ENUM(Thing, colour, colour_words),
	SCHEMA_TEXT(Thing, name, TEXT_NAME, 1),
	{ .name = "note",
	  .kind = FIELD_TEXT,
	  .optional = true,
	  .offset = offsetof(Thing, note),
	  .size = 16,
	  .text_class = TEXT_PRINTABLE },
	SCHEMA_HEX(Thing, id),
	SCHEMA_U64(Thing, last, 0, 9),
};
static SCHEMA_DEFINE(thing_schema, "thing", Thing, thing_fields);

/* The members before the first and behind the last one that is required may be left out. */
static const Field hollow_fields[] = {
	{ .name = "note",
	  .kind = FIELD_TEXT,
	  .optional = true,
	  .offset = offsetof(Thing, note),
	  .size = 16,
	  .text_class = TEXT_PRINTABLE },
	SCHEMA_BOOL(Thing, flag),
	{ .name = "last",
	  .kind = FIELD_U64,
	  .optional = true,
	  .offset = offsetof(Thing, last),
	  .max = 9 },
};
static SCHEMA_DEFINE(hollow_schema, "hollow", Thing, hollow_fields);

static const Field list_fields[] = {
	{ .name = "items", .kind = FIELD_LIST, .size = 1, .object = &hollow_schema }
};
static SCHEMA_DEFINE(list_schema, "list", Thing, list_fields);

static const char good[] = "{\"number\":258,\"flag\":true,\"colour\":\"blue\",\"name\":\"vm-1\","
			   "\"note\":\"a \\\"b\\\" \\\\/~\",\"id\":\"0affff00\",\"last\":0}";

static void assert_same(const Schema *schema, const void *text, size_t size, bool taken)
{
	Thing exact, plain;
	Error err = ERROR_INIT;

	memset(&exact, 0xaa, sizeof(exact));
	if (!json_decode_exact(schema, text, size, &exact)) {
		assert_false(taken);
		return;
	}
	assert_works(json_decode_plain(schema, text, size, &plain, &err), &err);
	assert_int_equal(exact.number, plain.number);
	assert_int_equal(exact.flag, plain.flag);
	assert_int_equal(exact.colour, plain.colour);
	assert_string_equal(exact.name, plain.name);
	assert_string_equal(exact.note, plain.note);
	assert_memory_equal(exact.id, plain.id, sizeof(exact.id));
	assert_int_equal(exact.last, plain.last);
}

static void assert_written_comes_back(const Schema *schema, const Thing *thing)
{
	AUTO_BUFFER Buffer text = BUFFER_INIT(1000);
	Error err = ERROR_INIT;

	assert_works(json_encode_plain(schema, thing, &text, &err), &err);
	assert_same(schema, text.data, text.used, true);
}

static void what_was_written_comes_back(void **state)
{
	static const uint64_t numbers[] = { 0, 1, 9, 10, 99, 4711, INT64_MAX - 1, INT64_MAX };
	Thing thing = { .name = "a", .id = { 0, 9, 0xab, 0xff } };

	(void)state;
	assert_same(&thing_schema, good, strlen(good), true);
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
		thing.number = numbers[i];
		thing.flag = i & 1;
		thing.colour = i & 2 ? COLOUR_BLUE : COLOUR_RED;
		assert_written_comes_back(&thing_schema, &thing);
	}
	/* Each character that may be written, and the longest text, of those that grow on the way.
	 */
	for (char c = 0x20; c < 0x7f; c++) {
		memset(thing.note, c, sizeof(thing.note) - 1);
		assert_written_comes_back(&thing_schema, &thing);
	}
}

static void what_is_left_out_is_zero(void **state)
{
	(void)state;
	for (int i = 0; i < 4; i++) {
		Thing thing = { .flag = true, .last = i & 1 ? 7 : 0 };

		if (i & 2)
			thing.note[0] = 'n';
		assert_written_comes_back(&hollow_schema, &thing);
	}
}

/* What another may have written, be it good JSON or not, is not for it. */
static void nothing_else_is_taken(void **state)
{
	static const struct {
		const char *from, *to;
	} changes[] = {
		{ "{", "{ " },
		{ "258", "0258" },
		{ "258", "258.0" },
		{ "258", "2e2" },
		{ "258", "-1" },
		{ "258", "9223372036854775808" },
		{ "258", "18446744073709551617" },
		{ "258", "" },
		{ "258", "00" },
		{ "true", "1" },
		{ "true", "\"true\"" },
		{ "blue", "green" },
		{ "blue", "blu\\u0065" },
		{ "blue", "" },
		{ "vm-1", "" },
		{ "vm-1", "12345678" },
		{ "vm-1", "vm/1" },
		{ "\\\\/", "\\\\\\/" },
		{ "~", "\x7f" },
		{ "~", "\t" },
		{ "~", "\\n" },
		{ "~", "\xc3\xa4" },
		{ "~", "12345678" },
		{ "0aff", "0AFF" },
		{ "0aff", "aff" },
		{ "0aff", "000aff" },
		{ "0aff", "0g\"f" },
		{ "\"last\":0", "\"last\":10" },
		{ ",\"last\":0", "" },
		{ ",\"last\":0", ",\"last\":0,\"last\":0" },
		{ ",\"last\":0", ",\"more\":0,\"last\":0" },
		{ ",\"flag\":true", "" },
		{ "\"flag\":true", "\"flag\" :true" },
		{ "}", "}}" },
		{ "}", ",}" },
		{ "}", "} " },
		{ "}", "" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
		char text[512];
		const char *at = strstr(good, changes[i].from);
		Thing thing;
		int size;

		assert_non_null(at);
		size = snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - good), good,
				changes[i].to, at + strlen(changes[i].from));
		if (json_decode_exact(&thing_schema, text, (size_t)size, &thing))
			fail_msg("taken: %s", text);
	}
}

static void members_that_it_does_not_know_are_not_taken(void **state)
{
	static const char text[] = "{\"items\":[]}";
	Thing thing;

	(void)state;
	assert_false(json_decode_exact(&list_schema, text, strlen(text), &thing));
}

/* Each byte changed to each other, and each length, from a copy that ends where the text does. */
static void a_changed_text_is_never_read_otherwise(void **state)
{
	size_t size = strlen(good);

	(void)state;
	for (size_t i = 0; i < size; i++) {
		char *text = test_malloc(size);

		memcpy(text, good, size);
		for (int value = 0; value < 256; value++) {
			text[i] = (char)value;
			assert_same(&thing_schema, text, size, text[i] == good[i]);
		}
		test_free(text);
		text = test_malloc(i ? i : 1);
		memcpy(text, good, i);
		assert_same(&thing_schema, text, i, false);
		test_free(text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_written_comes_back),
		cmocka_unit_test(what_is_left_out_is_zero),
		cmocka_unit_test(nothing_else_is_taken),
		cmocka_unit_test(members_that_it_does_not_know_are_not_taken),
		cmocka_unit_test(a_changed_text_is_never_read_otherwise),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
