/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/support.h"

#include <string.h>

#include "base/schema.h"

typedef struct Leaf {
	uint64_t number;
} Leaf;
typedef struct Other {
	char text[8];
} Other;
typedef enum Colour { COLOUR_RED, COLOUR_HOLE, COLOUR_BLUE, COLOUR_COUNT } Colour;
typedef struct Whole {
	uint64_t number;
	bool flag;
	Colour colour;
	char name[8];
	char note[8];
	uint8_t id[4];
	uint8_t blob[16];
	size_t blob_size;
	Leaf leaf;
	Leaf leaves[3];
	size_t leaves_count;
	union {
		Leaf leaf;
		Other other;
	} choice;
} Whole;

static const Field leaf_fields[] = { SCHEMA_U64(Leaf, number, 1, 9) };
static SCHEMA_DEFINE(leaf_schema, "leaf", Leaf, leaf_fields);
static const Field other_fields[] = { SCHEMA_TEXT(Other, text, TEXT_NAME, 1) };
static SCHEMA_DEFINE(other_schema, "other", Other, other_fields);
static const char *const colour_words[COLOUR_COUNT] = { "red", NULL, "blue" };
static const Schema *const choices[COLOUR_COUNT] = { &leaf_schema, NULL, &other_schema };
static const Field whole_fields[] = {
	SCHEMA_U64(Whole, number, 10, 20),
	SCHEMA_BOOL(Whole, flag),
	SCHEMA_ENUM(Whole, colour, colour_words),
	SCHEMA_TEXT(Whole, name, TEXT_NAME, 2),
	{ .name = "note",
	  .kind = FIELD_TEXT,
	  .optional = true,
	  .offset = offsetof(Whole, note),
	  .size = 8,
	  .min = 3,
	  .text_class = TEXT_PRINTABLE },
	SCHEMA_HEX(Whole, id),
	SCHEMA_BYTES(Whole, blob, 2),
	SCHEMA_OBJECT(Whole, leaf, &leaf_schema),
	SCHEMA_LIST(Whole, leaves, &leaf_schema, 1),
	SCHEMA_VARIANT(Whole, choice, colour, choices),
};
static SCHEMA_DEFINE(whole_schema, "whole", Whole, whole_fields);

static Whole good_whole(void)
{
	Whole whole = { .number = 10,
			.name = "ab",
			.blob_size = 2,
			.leaf = { 1 },
			.leaves = { { 9 } },
			.leaves_count = 1,
			.choice.leaf = { 5 } };

	return whole;
}

static void expect_bad(const Whole *whole, const char *part)
{
	Error err = ERROR_INIT;

	assert_fails(schema_check(&whole_schema, whole, &err), ERROR_PEER, part, &err);
}

static void bounds_themselves_are_good(void **state)
{
	Whole whole = good_whole();
	Error err = ERROR_INIT;

	(void)state;
	assert_works(schema_check(&whole_schema, &whole, &err), &err);
	whole.number = 20;
	memcpy(whole.name, "abcdefg", 8);
	whole.blob_size = sizeof(whole.blob);
	whole.leaves_count = 3;
	whole.leaves[1].number = whole.leaves[2].number = 1;
	whole.colour = COLOUR_BLUE;
	whole.choice.other = (Other){ "x" };
	assert_works(schema_check(&whole_schema, &whole, &err), &err);
}

static void numbers_out_of_bounds(void **state)
{
	Whole whole = good_whole();

	(void)state;
	whole.number = 9;
	expect_bad(&whole, "number is 9, outside 10..20");
	whole.number = 21;
	expect_bad(&whole, "number is 21, outside 10..20");
	whole.number = UINT64_MAX;
	expect_bad(&whole, "18446744073709551615");
}

static void enums_outside_their_words(void **state)
{
	Whole whole = good_whole();

	(void)state;
	whole.colour = COLOUR_HOLE;
	expect_bad(&whole, "colour is 1, not one of 3");
	whole.colour = COLOUR_COUNT;
	expect_bad(&whole, "colour is 3");
	whole.colour = (Colour)-1;
	expect_bad(&whole, "colour is 4294967295");
}

static void texts_too_short_too_long_or_malformed(void **state)
{
	Whole whole = good_whole();
	Error err = ERROR_INIT;

	(void)state;
	memcpy(whole.name, "a", 2);
	expect_bad(&whole, "name \"a\" is malformed");
	memset(whole.name, 'a', sizeof(whole.name));
	expect_bad(&whole, "name is longer than 7");
	memcpy(whole.name, "a/b", 4);
	expect_bad(&whole, "name \"a/b\" is malformed");
	whole = good_whole();
	memcpy(whole.note, "ab", 3);
	expect_bad(&whole, "note \"ab\" is malformed");
	memcpy(whole.note, "abc", 4);
	assert_works(schema_check(&whole_schema, &whole, &err), &err);
}

static void bytes_and_lists_out_of_bounds(void **state)
{
	Whole whole = good_whole();

	(void)state;
	whole.blob_size = 1;
	expect_bad(&whole, "blob has 1 bytes, outside 2..16");
	whole.blob_size = 17;
	expect_bad(&whole, "blob has 17 bytes");
	whole.blob_size = SIZE_MAX;
	expect_bad(&whole, "blob has 18446744073709551615 bytes");
	whole = good_whole();
	whole.leaves_count = 0;
	expect_bad(&whole, "leaves has 0 entries, outside 1..3");
	whole.leaves_count = 4;
	expect_bad(&whole, "leaves has 4 entries");
}

static void errors_inside_name_their_path(void **state)
{
	Whole whole = good_whole();

	(void)state;
	whole.leaf.number = 0;
	expect_bad(&whole, "leaf: number is 0");
	whole = good_whole();
	whole.leaves_count = 2;
	whole.leaves[1].number = 10;
	expect_bad(&whole, "leaves[1]: number is 10");
	whole = good_whole();
	whole.choice.leaf.number = 11;
	expect_bad(&whole, "choice: number is 11");
}

typedef struct ClassCase {
	TextClass klass;
	const char *text;
	bool good;
} ClassCase;

static const ClassCase class_cases[] = {
	{ TEXT_PRINTABLE, "", true },
	{ TEXT_PRINTABLE, "a ~!\"\\", true },
	{ TEXT_PRINTABLE, "a\tb", false },
	{ TEXT_PRINTABLE, "a\x7f", false },
	{ TEXT_PRINTABLE, "\xc3\xa9", false },
	{ TEXT_NAME, "vm-1.a_B", true },
	{ TEXT_NAME, "0", true },
	{ TEXT_NAME, ".hidden", false },
	{ TEXT_NAME, "-option", false },
	{ TEXT_NAME, "_x", false },
	{ TEXT_NAME, "..", false },
	{ TEXT_NAME, "a/b", false },
	{ TEXT_NAME, "a,b", false },
	{ TEXT_NAME, "a=b", false },
	{ TEXT_NAME, "json:{}", false },
	{ TEXT_NAME, "a b", false },
	{ TEXT_NAME, "a\n", false },
	{ TEXT_DOMAIN, "north.example", true },
	{ TEXT_DOMAIN, "a-b.c", true },
	{ TEXT_DOMAIN, "North.example", false },
	{ TEXT_DOMAIN, "a..b", false },
	{ TEXT_DOMAIN, ".a", false },
	{ TEXT_DOMAIN, "a.", false },
	{ TEXT_DOMAIN, "-a", false },
	{ TEXT_DOMAIN, "a_b", false },
	{ TEXT_DOMAIN, "a/b", false },
	{ TEXT_UUID, "01234567-89ab-cdef-0123-456789abcdef", true },
	{ TEXT_UUID, "01234567-89AB-cdef-0123-456789abcdef", false },
	{ TEXT_UUID, "0123456789ab-cdef-0123-456789abcdef", false },
	{ TEXT_UUID, "01234567-89ab-cdef-0123-456789abcde", false },
	{ TEXT_UUID, "01234567-89ab-cdef-0123-456789abcdef0", false },
	{ TEXT_MAC, "52:54:00:12:34:5f", true },
	{ TEXT_MAC, "52:54:00:12:34:5F", false },
	{ TEXT_MAC, "52-54-00-12-34-5f", false },
	{ TEXT_MAC, "52:54:00:12:34", false },
	{ TEXT_MAC, "52:54:00:12:34:5f:", false },
};

static void text_classes_in_pairs(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(class_cases); i++)
		if (text_is(class_cases[i].klass, class_cases[i].text, 0) != class_cases[i].good)
			fail_msg("class %d: \"%s\"", class_cases[i].klass, class_cases[i].text);
	assert_true(text_is(TEXT_NAME, "ab", 2));
	assert_false(text_is(TEXT_NAME, "ab", 3));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bounds_themselves_are_good),
		cmocka_unit_test(numbers_out_of_bounds),
		cmocka_unit_test(enums_outside_their_words),
		cmocka_unit_test(texts_too_short_too_long_or_malformed),
		cmocka_unit_test(bytes_and_lists_out_of_bounds),
		cmocka_unit_test(errors_inside_name_their_path),
		cmocka_unit_test(text_classes_in_pairs),
	};

	return cmocka_run_group_tests_name("base/schema", tests, NULL, NULL);
}
