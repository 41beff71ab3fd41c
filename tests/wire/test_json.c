/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/support.h"

#include <stdio.h>
#include <string.h>

#include "wire/json.h"

typedef struct Item {
	uint64_t number;
} Item;
typedef enum Colour { COLOUR_RED, COLOUR_HOLE, COLOUR_BLUE, COLOUR_COUNT } Colour;
typedef struct Thing {
	uint64_t number;
	bool flag;
	Colour colour;
	char name[8];
	char note[16];
	uint8_t id[2];
	uint8_t blob[4];
	size_t blob_size;
	Item item;
	Item items[2];
	size_t items_count;
} Thing;

static const Field item_fields[] = { SCHEMA_U64(Item, number, 0, INT64_MAX) };
static SCHEMA_DEFINE(item_schema, "item", Item, item_fields);
static const char *const colour_words[COLOUR_COUNT] = { "red", NULL, "blue" };
static const Field thing_fields[] = {
	SCHEMA_U64(Thing, number, 1, 1000),
	SCHEMA_BOOL(Thing, flag),
	SCHEMA_ENUM(Thing, colour, colour_words),
	SCHEMA_TEXT(Thing, name, TEXT_NAME, 1),
	{ .name = "note",
	  .kind = FIELD_TEXT,
	  .optional = true,
	  .offset = offsetof(Thing, note),
	  .size = 16,
	  .min = 1,
	  .text_class = TEXT_PRINTABLE },
	SCHEMA_HEX(Thing, id),
	SCHEMA_BYTES(Thing, blob, 1),
	SCHEMA_OBJECT(Thing, item, &item_schema),
	SCHEMA_LIST(Thing, items, &item_schema, 0),
};
static SCHEMA_DEFINE(thing_schema, "thing", Thing, thing_fields);

static const char *const words[] = { "thing", "item" };
static const Schema *const schemas[] = { &thing_schema, &item_schema };
static const JsonFamily family = { "kind", words, schemas, 2 };

static const char good[] =
	"{\"kind\":\"thing\",\"number\":258,\"flag\":true,\"colour\":\"blue\",\"name\":\"vm-1\","
	"\"note\":\"a \\\"b\\\" \\\\\",\"id\":\"0aff\",\"blob\":\"/v8=\",\"item\":{\"number\":5},"
	"\"items\":[{\"number\":0},{\"number\":9223372036854775807}]}";

static bool decode(const char *text, size_t size, Thing *thing, Error *err)
{
	unsigned int kind = 99;
	bool ok = json_decode(&family, text, size, &kind, thing, err);

	assert_int_equal(kind, ok ? 0 : 99);
	return ok;
}

static void the_text_is_as_documented_and_comes_back(void **state)
{
	AUTO_BUFFER Buffer buffer = BUFFER_INIT(1000);
	Thing thing;
	Error err = ERROR_INIT;

	(void)state;
	memset(&thing, 0xaa, sizeof(thing));
	assert_works(decode(good, strlen(good), &thing, &err), &err);
	assert_int_equal(thing.number, 258);
	assert_true(thing.flag);
	assert_int_equal(thing.colour, COLOUR_BLUE);
	assert_string_equal(thing.name, "vm-1");
	assert_string_equal(thing.note, "a \"b\" \\");
	assert_memory_equal(thing.id, "\x0a\xff", 2);
	assert_int_equal(thing.blob_size, 2);
	assert_memory_equal(thing.blob, "\xfe\xff\0\0", 4);
	assert_int_equal(thing.item.number, 5);
	assert_int_equal(thing.items_count, 2);
	assert_true(thing.items[1].number == INT64_MAX);
	assert_works(json_encode(&family, 0, &thing, &buffer, &err), &err);
	assert_int_equal(buffer.used, strlen(good));
	assert_memory_equal(buffer.data, good, buffer.used);
}

/* Changes the first `from` of the good text to `to`. */
typedef struct Edit {
	const char *from, *to, *part;
	size_t zero_at; /* index into `to` of a byte that is really NUL, 0 for none */
} Edit;

static size_t edited(const Edit *edit, char *out, size_t size)
{
	const char *at = strstr(good, edit->from);
	size_t before, used;

	assert_non_null(at);
	before = (size_t)(at - good);
	used = (size_t)snprintf(out, size, "%.*s%s%s", (int)before, good, edit->to,
				at + strlen(edit->from));
	assert_true(used < size);
	if (edit->zero_at)
		out[before + edit->zero_at] = '\0';
	return used;
}

static void edits_that_stay_within_bounds_pass(void **state)
{
	static const Edit edits[] = {
		{ "{\"kind\":\"thing\",\"number\":258", "{\"number\":258,\"kind\":\"thing\"", "" },
		{ ",\"flag\"", " ,\n\t\"flag\"", "" },
		{ "vm-1", "\\u0076m-1", "" },
		{ ",\"note\":\"a \\\"b\\\" \\\\\"", "", "" }, /* the only optional one */
		{ "[{\"number\":0},{\"number\":9223372036854775807}]", "[]", "" },
		{ "}]}", "}]} \n", "" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(edits); i++) {
		char text[1000];
		size_t size = edited(&edits[i], text, sizeof(text));
		Thing thing;
		Error err = ERROR_INIT;

		assert_works(decode(text, size, &thing, &err), &err);
	}
}

static void edits_out_of_bounds_are_refused(void **state)
{
	static const Edit edits[] = {
		{ "\"thing\"", "\"other\"", "kind \"other\" is unknown" },
		{ "\"thing\"", "7", "member \"kind\" is missing" },
		{ "\"kind\"", "\"kine\"", "member \"kind\" is missing" },
		{ "258", "0", "number is 0, outside 1..1000" },
		{ "258", "1001", "number is 1001, outside 1..1000" },
		{ "258", "-1", "number is not a whole number from 0" },
		{ "258", "258.0", "number is not a whole number" },
		{ "258", "2e2", "number is not a whole number" },
		{ "258", "\"258\"", "number is not a whole number" },
		{ "258", "null", "number is not a whole number" },
		{ "258", "0258", "not JSON" },
		{ "258", "9223372036854775808", "not JSON" },
		{ "258", "1e999", "not JSON" },
		{ "true", "1", "flag is not true or false" },
		{ "true", "tru", "not JSON" },
		{ "\"blue\"", "\"green\"", "colour \"green\" is not a known value" },
		{ "\"blue\"", "2", "colour is not a string" },
		{ "\"vm-1\"", "\"\"", "name \"\" is malformed" },
		{ "\"vm-1\"", "\"a/b\"", "name \"a/b\" is malformed" },
		{ "\"vm-1\"", "\"12345678\"", "name has 8 characters, more than 7" },
		{ "\"vm-1\"", "[\"vm-1\"]", "name is not a string" },
		{ "\"vm-1\"", "\"a\\u0000b\"", "not JSON" },
		{ "\"vm-1\"", "\"aXb\"", "not JSON", 2 },
		{ "\"vm-1\"", "\"\xc3\x28\"", "not JSON" },
		{ "\"vm-1\"", "\"\\ud800\"", "not JSON" },
		{ "\"vm-1\"", "\"\\u00e9\"", "malformed" },
		{ "a \\\"b", "a \\n", "note" },
		{ "\"a \\\"b\\\" \\\\\"", "null", "note is not a string" },
		{ "0aff", "0AFF", "id is not 4 lower-case hex digits" },
		{ "0aff", "0af", "id is not 4" },
		{ "0aff", "0aff0", "id is not 4" },
		{ "\"0aff\"", "2815", "id is not 4" },
		{ "/v8=", "/v9=", "blob: not canonical base64" },
		{ "/v8=", "/v8", "blob: not base64" },
		{ "/v8=", "_v8=", "blob: not base64" },
		{ "/v8=", "/v 8=", "blob: not base64" },
		{ "/v8=", "", "blob has 0 bytes, outside 1..4" },
		{ "/v8=", "AAAAAAAA", "blob: " },
		{ "\"/v8=\"", "[254]", "blob is not a base64 string" },
		{ "{\"number\":5}", "5", "item is not an object" },
		{ "{\"number\":5}", "{}", "item: number is missing" },
		{ "{\"number\":5}", "{\"number\":5,\"x\":1}", "item: unknown member \"x\"" },
		{ "[{\"number\":0}", "{\"a\":0", "not JSON" },
		{ "[{\"number\":0}", "[0", "items[0]: item is not an object" },
		{ "[{\"number\":0},", "[{\"number\":0},{\"number\":0},",
		  "items has 3 entries, more than 2" },
		{ "\"items\":[{\"number\":0},{\"number\":9223372036854775807}]", "\"items\":{}",
		  "items is not a list" },
		{ "\"flag\":true,", "", "flag is missing" },
		{ "\"flag\":true,", "\"flag\":true,\"flag\":true,", "not JSON" },
		{ "\"flag\":true,", "\"flag\":true,\"extra\":1,", "unknown member \"extra\"" },
		{ "\"flag\":true,", "\"flag\":true,\"kind \":1,", "unknown member \"kind \"" },
		{ "\"flag\":true,", "\"flag\":true,\"fl\\u0061g\":true,", "not JSON" },
		{ "\"flag\":true,", "\"flag\":true,/* */", "not JSON" },
		{ "\"flag\":true,", "'flag':true,", "not JSON" },
		{ "}]}", "}]}}", "not JSON" },
		{ "}]}", "}]}{}", "not JSON" },
		{ "}]}", "}]}X", "not JSON", 3 },
		{ "}]}", "}],}", "not JSON" },
		{ "{\"kind\"", "\xef\xbb\xbf{\"kind\"", "not JSON" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(edits); i++) {
		char text[1000];
		size_t size = edited(&edits[i], text, sizeof(text));
		Thing thing;
		Error err = ERROR_INIT;

		assert_fails(decode(text, size, &thing, &err), ERROR_PEER, edits[i].part, &err);
	}
}

static void what_is_no_object_is_refused(void **state)
{
	static const char *const texts[] = { "", " ", "null", "7", "\"kind\"", "[]", "[{}]", "{" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		Thing thing;
		Error err = ERROR_INIT;

		assert_fails(decode(texts[i], strlen(texts[i]), &thing, &err), ERROR_PEER, "",
			     &err);
		assert_fails(
			json_decode_plain(&thing_schema, texts[i], strlen(texts[i]), &thing, &err),
			ERROR_PEER, "", &err);
	}
}

static void deep_nesting_is_refused(void **state)
{
	static char text[100000];
	Thing thing;
	Error err = ERROR_INIT;

	(void)state;
	memset(text, '[', sizeof(text));
	assert_fails(decode(text, sizeof(text), &thing, &err), ERROR_PEER, "not JSON", &err);
}

static void a_second_kind_has_its_own_schema(void **state)
{
	static const char text[] = "{\"kind\":\"item\",\"number\":3}";
	static const char mixed[] = "{\"kind\":\"item\",\"number\":3,\"flag\":true}";
	unsigned int kind;
	Thing thing;
	Error err = ERROR_INIT;

	(void)state;
	assert_works(json_decode(&family, text, strlen(text), &kind, &thing, &err), &err);
	assert_int_equal(kind, 1);
	assert_fails(json_decode(&family, mixed, strlen(mixed), &kind, &thing, &err), ERROR_PEER,
		     "item: unknown member \"flag\"", &err);
}

static void plain_objects_have_no_tag(void **state)
{
	AUTO_BUFFER Buffer buffer = BUFFER_INIT(100);
	Item item = { 12 };
	Error err = ERROR_INIT;

	(void)state;
	assert_works(json_encode_plain(&item_schema, &item, &buffer, &err), &err);
	assert_int_equal(buffer.used, 13);
	assert_memory_equal(buffer.data, "{\"number\":12}", 13);
	item.number = 0;
	assert_works(json_decode_plain(&item_schema, buffer.data, 13, &item, &err), &err);
	assert_int_equal(item.number, 12);
	assert_fails(json_decode_plain(&item_schema, "{\"number\":1,\"kind\":\"item\"}", 26, &item,
				       &err),
		     ERROR_PEER, "item: unknown member \"kind\"", &err);
}

static void what_breaks_its_schema_is_not_encoded(void **state)
{
	AUTO_BUFFER Buffer buffer = BUFFER_INIT(1000);
	AUTO_BUFFER Buffer small = BUFFER_INIT(20);
	Thing thing = { .number = 1, .name = "a", .blob_size = 1 };
	Error err = ERROR_INIT;

	(void)state;
	assert_works(json_encode(&family, 0, &thing, &buffer, &err), &err);
	assert_fails(json_encode(&family, 0, &thing, &small, &err), ERROR_LIMIT, "20 bytes", &err);
	thing.colour = COLOUR_HOLE;
	assert_fails(json_encode(&family, 0, &thing, &buffer, &err), ERROR_PEER,
		     "thing: colour is 1", &err);
}

/* Whatever part of the text it is that does not fit. */
static void half_a_text_is_never_called_whole(void **state)
{
	Thing thing;
	Error err = ERROR_INIT;

	(void)state;
	assert_works(decode(good, strlen(good), &thing, &err), &err);
	for (size_t room = 0; room < strlen(good); room++) {
		AUTO_BUFFER Buffer text = BUFFER_INIT(room);

		assert_fails(json_encode(&family, 0, &thing, &text, &err), ERROR_LIMIT,
			     "thing is longer than", &err);
		assert_int_equal(text.used, 0);
	}
}

static void judge(void *context, Mutation mutation, const uint8_t *data, size_t size)
{
	Thing thing;
	Error err = ERROR_INIT;
	bool ok = decode((const char *)data, size, &thing, &err);

	(void)context;
	if (mutation != MUTATION_FLIP)
		assert_false(ok);
	if (ok)
		assert_true(schema_check(&thing_schema, &thing, &err));
	else
		assert_int_equal(err.category, ERROR_PEER);
}

static void mutations_are_refused_or_in_bounds(void **state)
{
	(void)state;
	support_mutate(good, strlen(good), judge, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_text_is_as_documented_and_comes_back),
		cmocka_unit_test(edits_that_stay_within_bounds_pass),
		cmocka_unit_test(edits_out_of_bounds_are_refused),
		cmocka_unit_test(what_is_no_object_is_refused),
		cmocka_unit_test(deep_nesting_is_refused),
		cmocka_unit_test(a_second_kind_has_its_own_schema),
		cmocka_unit_test(plain_objects_have_no_tag),
		cmocka_unit_test(what_breaks_its_schema_is_not_encoded),
		cmocka_unit_test(half_a_text_is_never_called_whole),
		cmocka_unit_test(mutations_are_refused_or_in_bounds),
	};

	return cmocka_run_group_tests_name("wire/json", tests, NULL, NULL);
}
