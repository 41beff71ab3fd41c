/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/support.h"

#include <string.h>

#include "ipc/binary.h"

typedef struct Part {
	uint64_t number;
	char text[8];
} Part;
typedef enum Shape { SHAPE_PART, SHAPE_NONE, SHAPE_BLOB, SHAPE_COUNT } Shape;
typedef struct Blob {
	uint8_t blob[6];
	size_t blob_size;
} Blob;
typedef struct Message {
	uint64_t number;
	bool flag;
	Shape shape;
	char name[8];
	uint8_t id[3];
	uint8_t blob[6];
	size_t blob_size;
	Part part;
	Part parts[3];
	size_t parts_count;
	union {
		Part part;
		Blob blob;
	} body;
} Message;

static const Field part_fields[] = { SCHEMA_U64(Part, number, 0, 300),
				     SCHEMA_TEXT(Part, text, TEXT_PRINTABLE, 0) };
static SCHEMA_DEFINE(part_schema, "part", Part, part_fields);
static const Field blob_fields[] = { SCHEMA_BYTES(Blob, blob, 1) };
static SCHEMA_DEFINE(blob_schema, "blob", Blob, blob_fields);
static const char *const shape_words[SHAPE_COUNT] = { "part", NULL, "blob" };
static const Schema *const bodies[SHAPE_COUNT] = { &part_schema, NULL, &blob_schema };
static const Field message_fields[] = {
	SCHEMA_U64(Message, number, 1, 1000),
	SCHEMA_BOOL(Message, flag),
	SCHEMA_ENUM(Message, shape, shape_words),
	SCHEMA_TEXT(Message, name, TEXT_NAME, 1),
	SCHEMA_HEX(Message, id),
	SCHEMA_BYTES(Message, blob, 1),
	SCHEMA_OBJECT(Message, part, &part_schema),
	SCHEMA_LIST(Message, parts, &part_schema, 0),
	SCHEMA_VARIANT(Message, body, shape, bodies),
};
static SCHEMA_DEFINE(message_schema, "message", Message, message_fields);

static void fill(Message *message, Shape shape)
{
	memset(message, 0, sizeof(*message));
	message->number = 258;
	message->flag = true;
	message->shape = shape;
	memcpy(message->name, "vm-1", 5);
	memcpy(message->id, "\x01\x02\x03", 3);
	memcpy(message->blob, "\xff\xfe", 2);
	message->blob_size = 2;
	message->part = (Part){ 300, "a b" };
	message->parts[0] = (Part){ 1, "" };
	message->parts[1] = (Part){ 2, "1234567" };
	message->parts_count = 2;
	if (shape == SHAPE_PART)
		message->body.part = (Part){ 9, "in" };
	else
		message->body.blob = (Blob){ { 7 }, 1 };
}

static void encode(const Message *message, Buffer *buffer)
{
	Error err = ERROR_INIT;

	assert_works(binary_encode(&message_schema, message, buffer, &err), &err);
}

static void the_layout_is_what_the_header_says(void **state)
{
	static const uint8_t expected[] = {
		0, 0, 0, 0, 0,	  0,	1,   2,					      /* number */
		1,								      /* flag */
		2,								      /* shape */
		0, 0, 0, 4, 'v',  'm',	'-', '1',  1,	2,   3,			      /* id */
		0, 0, 0, 2, 0xff, 0xfe,						      /* blob */
		0, 0, 0, 0, 0,	  0,	1,   0x2c, 0,	0,   0,	  3,   'a', ' ', 'b', /* part */
		0, 0, 0, 2,							      /* parts */
		0, 0, 0, 0, 0,	  0,	0,   1,	   0,	0,   0,	  0,   0,   0,	 0,   0, 0, 0, 0,
		2, 0, 0, 0, 7,	  '1',	'2', '3',  '4', '5', '6', '7', 0,   0,	 0,   1, 7, /* body
											     */
	};
	AUTO_BUFFER Buffer buffer = BUFFER_INIT(1000);
	Message message;

	(void)state;
	fill(&message, SHAPE_BLOB);
	encode(&message, &buffer);
	assert_int_equal(buffer.used, sizeof(expected));
	assert_memory_equal(buffer.data, expected, sizeof(expected));
}

static void each_shape_comes_back(void **state)
{
	static const Shape shapes[] = { SHAPE_PART, SHAPE_BLOB };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(shapes); i++) {
		AUTO_BUFFER Buffer buffer = BUFFER_INIT(1000);
		Message message, again;
		Error err = ERROR_INIT;

		fill(&message, shapes[i]);
		encode(&message, &buffer);
		/* What was there before must not shine through. */
		memset(&again, 0xaa, sizeof(again));
		assert_works(binary_decode(&message_schema, buffer.data, buffer.used, &again, &err),
			     &err);
		assert_int_equal(again.number, 258);
		assert_true(again.flag);
		assert_int_equal(again.shape, shapes[i]);
		assert_string_equal(again.name, "vm-1");
		assert_memory_equal(again.id, message.id, sizeof(message.id));
		assert_memory_equal(again.blob, "\xff\xfe\0\0\0\0", sizeof(again.blob));
		assert_int_equal(again.parts_count, 2);
		assert_string_equal(again.parts[1].text, "1234567");
		assert_int_equal(again.parts[2].number, 0);
		if (shapes[i] == SHAPE_PART)
			assert_string_equal(again.body.part.text, "in");
		else
			assert_int_equal(again.body.blob.blob[0], 7);
	}
}

static void what_breaks_its_schema_is_not_encoded(void **state)
{
	AUTO_BUFFER Buffer buffer = BUFFER_INIT(1000);
	Message message;
	Error err = ERROR_INIT;

	(void)state;
	fill(&message, SHAPE_PART);
	message.number = 0;
	assert_fails(binary_encode(&message_schema, &message, &buffer, &err), ERROR_PEER,
		     "message: number is 0, outside 1..1000", &err);
	fill(&message, SHAPE_PART);
	message.shape = SHAPE_NONE;
	assert_fails(binary_encode(&message_schema, &message, &buffer, &err), ERROR_PEER,
		     "shape is 1", &err);
	assert_int_equal(buffer.used, 0);
}

static void what_does_not_fit_is_refused(void **state)
{
	AUTO_BUFFER Buffer buffer = BUFFER_INIT(20);
	Message message;
	Error err = ERROR_INIT;

	(void)state;
	fill(&message, SHAPE_PART);
	assert_fails(binary_encode(&message_schema, &message, &buffer, &err), ERROR_LIMIT,
		     "fit in 20", &err);
}

typedef struct BadByte {
	size_t offset;
	uint8_t value;
	const char *part;
} BadByte;

static void values_out_of_bounds_are_refused(void **state)
{
	static const BadByte cases[] = {
		{ 0, 0x80, "number is 9223372036854776066" },
		{ 6, 0xff, "number is 65282" },
		{ 8, 2, "malformed after 9" }, /* a bool of 2 */
		{ 9, 1, "malformed" },	       /* no variant 1 */
		{ 9, 3, "malformed" },
		{ 13, 8, "malformed after 14" },    /* text of 8 where 7 fit */
		{ 10, 0x80, "malformed after 14" }, /* text of 2 GiB */
		{ 14, 0, "malformed" },		    /* NUL inside a text */
		{ 14, '-', "name \"-m-1\" is malformed" },
		{ 14, '\n', "malformed" },
		{ 24, 7, "malformed" }, /* bytes: 7 where 6 fit */
		{ 24, 0, "malformed" },
		{ 45, 4, "malformed" }, /* list: 4 where 3 fit */
	};
	AUTO_BUFFER Buffer buffer = BUFFER_INIT(1000);
	Message message;
	Error err = ERROR_INIT;

	(void)state;
	fill(&message, SHAPE_BLOB);
	encode(&message, &buffer);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t saved = buffer.data[cases[i].offset];

		buffer.data[cases[i].offset] = cases[i].value;
		assert_fails(
			binary_decode(&message_schema, buffer.data, buffer.used, &message, &err),
			ERROR_PEER, cases[i].part, &err);
		buffer.data[cases[i].offset] = saved;
	}
	assert_works(binary_decode(&message_schema, buffer.data, buffer.used, &message, &err),
		     &err);
}

static void judge(void *context, Mutation mutation, const uint8_t *data, size_t size)
{
	Message message;
	Error err = ERROR_INIT;
	bool ok = binary_decode(&message_schema, data, size, &message, &err);
	size_t *accepted = context;

	if (mutation != MUTATION_FLIP)
		assert_false(ok);
	if (!ok) {
		assert_int_equal(err.category, ERROR_PEER);
		assert_true(err.text[0]);
		return;
	}
	++*accepted;
	assert_true(schema_check(&message_schema, &message, &err));

	AUTO_BUFFER Buffer again = BUFFER_INIT(1000);

	/* Canonical: one encoding for each value. */
	encode(&message, &again);
	assert_int_equal(again.used, size);
	assert_memory_equal(again.data, data, size);
}

static void mutations_are_refused_or_in_bounds(void **state)
{
	size_t accepted = 0;

	(void)state;
	for (Shape shape = SHAPE_PART; shape < SHAPE_COUNT; shape = (Shape)(shape + 2)) {
		AUTO_BUFFER Buffer buffer = BUFFER_INIT(1000);
		Message message;

		fill(&message, shape);
		encode(&message, &buffer);
		support_mutate(buffer.data, buffer.used, judge, &accepted);
	}
	assert_true(accepted > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_layout_is_what_the_header_says),
		cmocka_unit_test(each_shape_comes_back),
		cmocka_unit_test(what_breaks_its_schema_is_not_encoded),
		cmocka_unit_test(what_does_not_fit_is_refused),
		cmocka_unit_test(values_out_of_bounds_are_refused),
		cmocka_unit_test(mutations_are_refused_or_in_bounds),
	};

	return cmocka_run_group_tests_name("ipc/binary", tests, NULL, NULL);
}
