/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/json.h"

#include <assert.h>
#include <string.h>

#include "base/bounds.h"
#include "base/wiping_memory.h"
#include "crypto/base64.h"

/* Objects nest by the schema tables, which are our own constants and a few levels deep. */

static inline void json_cleanup(json_t **object)
{
	json_decref(*object);
}
#define AUTO_JSON CLEANUP(json_cleanup)

static json_t *encode_object(const Schema *schema, const uint8_t *base, Error *err);

static json_t *encode_bytes(const uint8_t *bytes, size_t size, Error *err)
{
	AUTO_BUFFER Buffer text = BUFFER_INIT(2 * LIMIT_FRAME);

	if (!base64_encode(bytes, size, &text, err))
		return NULL;
	return json_stringn((const char *)text.data, text.used);
}

static json_t *encode_list(const Field *field, const uint8_t *member, size_t count, Error *err)
{
	json_t *list = json_array();

	for (size_t i = 0; list && i < count; i++) {
		json_t *entry =
			encode_object(field->object, member + i * field->object->struct_size, err);

		if (json_array_append_new(list, entry)) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

static json_t *encode_field(const Field *field, const uint8_t *base, Error *err)
{
	const uint8_t *member = base + field->offset;
	size_t count = 0;

	if (field->kind == FIELD_BYTES || field->kind == FIELD_LIST)
		memcpy(&count, base + field->count_offset, sizeof(count));
	switch (field->kind) {
	case FIELD_U64: {
		uint64_t value;

		memcpy(&value, member, sizeof(value));
		return json_integer((json_int_t)value);
	}
	case FIELD_BOOL:
		return json_boolean(*(const bool *)member);
	case FIELD_ENUM: {
		unsigned int value;

		memcpy(&value, member, sizeof(value));
		return json_string(field->words[value]);
	}
	case FIELD_TEXT:
		return json_string((const char *)member);
	case FIELD_HEX: {
		char text[2 * 256 + 1];

		assert(field->size <= 256);
		hex_encode(member, field->size, text);
		return json_string(text);
	}
	case FIELD_BYTES:
		return encode_bytes(member, count, err);
	case FIELD_LIST:
		return encode_list(field, member, count, err);
	case FIELD_OBJECT:
		return encode_object(field->object, member, err);
	case FIELD_VARIANT:
		break;
	}
	assert(0 && "this kind of field has no JSON form");
	return NULL;
}

static bool is_zero(const uint8_t *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (bytes[i])
			return false;
	return true;
}

/* What decodes to the same when it is not there. */
static bool may_leave_out(const Field *field, const uint8_t *base)
{
	const uint8_t *member = base + field->offset;

	if (!field->optional)
		return false;
	switch (field->kind) {
	case FIELD_U64:
		return is_zero(member, sizeof(uint64_t));
	case FIELD_BOOL:
		return is_zero(member, sizeof(bool));
	case FIELD_ENUM:
		return is_zero(member, sizeof(unsigned int));
	case FIELD_TEXT:
		return !*member;
	case FIELD_HEX:
		return is_zero(member, field->size);
	case FIELD_BYTES:
	case FIELD_LIST:
		return is_zero(base + field->count_offset, sizeof(size_t));
	case FIELD_OBJECT:
	case FIELD_VARIANT:
		break;
	}
	return false;
}

static bool encode_members(const Schema *schema, const uint8_t *base, json_t *object, Error *err)
{
	for (size_t i = 0; i < schema->n_fields; i++) {
		const Field *field = &schema->fields[i];

		if (may_leave_out(field, base))
			continue;
		if (json_object_set_new(object, field->name, encode_field(field, base, err)))
			return error_set(err, ERROR_INTERNAL, "no memory for JSON");
	}
	return true;
}

static json_t *encode_object(const Schema *schema, const uint8_t *base, Error *err)
{
	AUTO_JSON json_t *object = json_object();

	if (!object || !encode_members(schema, base, object, err))
		return NULL;
	return TAKE_PTR(object);
}

/* Jansson 2.14 goes on after a name that its callback refused, so a refusal is kept here. */
typedef struct Sink {
	Buffer *buffer;
	Error refusal;
} Sink;

static int append_text(const char *text, size_t size, void *context)
{
	Sink *sink = context;

	if (sink->refusal.category)
		return -1;
	return buffer_put(sink->buffer, text, size, &sink->refusal) ? 0 : -1;
}

static bool dump(const json_t *root, const char *name, Buffer *buffer, Error *err)
{
	Sink sink = { .buffer = buffer, .refusal = ERROR_INIT };
	size_t used = buffer->used;
	int code = json_dump_callback(root, append_text, &sink, JSON_COMPACT | JSON_PRESERVE_ORDER);

	if (!code && !sink.refusal.category)
		return true;
	buffer->used = used;
	if (sink.refusal.category == ERROR_LIMIT)
		return error_set(err, ERROR_LIMIT, "%s is longer than %zu bytes", name,
				 buffer->max_bytes);
	return error_set(err, ERROR_INTERNAL, "no memory for JSON");
}

static bool encode(const Schema *schema, const char *tag, const char *word, const void *object,
		   Buffer *buffer, Error *err)
{
	AUTO_JSON json_t *root = json_object();

	if (!schema_check(schema, object, err))
		return error_prefix(err, "%s", schema->name);
	if (!root || (tag && json_object_set_new(root, tag, json_string(word))))
		return error_set(err, ERROR_INTERNAL, "no memory for JSON");
	if (!encode_members(schema, object, root, err))
		return false;
	return dump(root, schema->name, buffer, err);
}

bool json_encode(const JsonFamily *family, unsigned int kind, const void *object, Buffer *buffer,
		 Error *err)
{
	assert(kind < family->count);
	return encode(family->schemas[kind], family->tag, family->words[kind], object, buffer, err);
}

bool json_encode_plain(const Schema *schema, const void *object, Buffer *buffer, Error *err)
{
	return encode(schema, NULL, NULL, object, buffer, err);
}

static bool decode_object(const Schema *schema, const json_t *json, const char *tag, uint8_t *base,
			  Error *err);

static bool wrong_type(const Field *field, const char *expected, Error *err)
{
	return error_set(err, ERROR_PEER, "%s is not %s", field->name, expected);
}

static bool decode_text(const Field *field, const json_t *json, char *member, Error *err)
{
	const char *text = json_string_value(json);

	if (!text)
		return wrong_type(field, "a string", err);
	if (json_string_length(json) >= field->size || strlen(text) != json_string_length(json))
		return error_set(err, ERROR_PEER, "%s has %zu characters, more than %zu, or a NUL",
				 field->name, json_string_length(json), field->size - 1);
	memcpy(member, text, json_string_length(json) + 1);
	return true;
}

static bool decode_enum(const Field *field, const json_t *json, uint8_t *member, Error *err)
{
	const char *text = json_string_value(json);

	if (!text)
		return wrong_type(field, "a string", err);
	for (unsigned int i = 0; i < field->n_words; i++)
		if (field->words[i] && !strcmp(field->words[i], text)) {
			memcpy(member, &i, sizeof(i));
			return true;
		}
	return error_set(err, ERROR_PEER, "%s \"%.64s\" is not a known value", field->name, text);
}

static bool decode_bytes(const Field *field, const json_t *json, uint8_t *base, Error *err)
{
	AUTO_BUFFER Buffer bytes = BUFFER_INIT(field->size);

	if (!json_is_string(json))
		return wrong_type(field, "a base64 string", err);
	if (!base64_decode(json_string_value(json), json_string_length(json), &bytes, err)) {
		/* More bytes than the field holds break our schema, whatever base64 calls it. */
		err->category = ERROR_PEER;
		return error_prefix(err, "%s", field->name);
	}
	if (bytes.used)
		memcpy(base + field->offset, bytes.data, bytes.used);
	memcpy(base + field->count_offset, &bytes.used, sizeof(bytes.used));
	return true;
}

static bool decode_list(const Field *field, const json_t *json, uint8_t *base, Error *err)
{
	size_t count = json_array_size(json);

	if (!json_is_array(json))
		return wrong_type(field, "a list", err);
	if (count > field->size)
		return error_set(err, ERROR_PEER, "%s has %zu entries, more than %zu", field->name, count,
				 field->size);
	for (size_t i = 0; i < count; i++)
		if (!decode_object(field->object, json_array_get(json, i), NULL,
				   base + field->offset + i * field->object->struct_size, err))
			return error_prefix(err, "%s[%zu]", field->name, i);
	memcpy(base + field->count_offset, &count, sizeof(count));
	return true;
}

static bool decode_field(const Field *field, const json_t *json, uint8_t *base, Error *err)
{
	uint8_t *member = base + field->offset;

	switch (field->kind) {
	case FIELD_U64: {
		uint64_t value = (uint64_t)json_integer_value(json);

		if (!json_is_integer(json) || json_integer_value(json) < 0)
			return wrong_type(field, "a whole number from 0", err);
		memcpy(member, &value, sizeof(value));
		return true;
	}
	case FIELD_BOOL:
		if (!json_is_boolean(json))
			return wrong_type(field, "true or false", err);
		*(bool *)member = json_is_true(json);
		return true;
	case FIELD_ENUM:
		return decode_enum(field, json, member, err);
	case FIELD_TEXT:
		return decode_text(field, json, (char *)member, err);
	case FIELD_HEX:
		if (!json_is_string(json) ||
		    strlen(json_string_value(json)) != json_string_length(json) ||
		    !hex_decode(json_string_value(json), member, field->size))
			return error_set(err, ERROR_PEER, "%s is not %zu lower-case hex digits",
					 field->name, 2 * field->size);
		return true;
	case FIELD_BYTES:
		return decode_bytes(field, json, base, err);
	case FIELD_LIST:
		return decode_list(field, json, base, err);
	case FIELD_OBJECT:
		return decode_object(field->object, json, NULL, member, err) ||
		       error_prefix(err, "%s", field->name);
	case FIELD_VARIANT:
		break;
	}
	assert(0 && "this kind of field has no JSON form");
	return false;
}

static bool decode_object(const Schema *schema, const json_t *json, const char *tag, uint8_t *base,
			  Error *err)
{
	size_t known = tag ? 1 : 0;

	if (!json_is_object(json))
		return error_set(err, ERROR_PEER, "%s is not an object", schema->name);
	for (size_t i = 0; i < schema->n_fields; i++) {
		const Field *field = &schema->fields[i];
		const json_t *member = json_object_get(json, field->name);

		if (!member && field->optional)
			continue;
		if (!member)
			return error_set(err, ERROR_PEER, "%s is missing", field->name);
		known++;
		if (!decode_field(field, member, base, err))
			return false;
	}
	if (known != json_object_size(json)) {
		const char *name;
		json_t *value;

		json_object_foreach((json_t *)(uintptr_t)json, name, value) {
			bool found = tag && !strcmp(tag, name);

			for (size_t i = 0; i < schema->n_fields; i++)
				found = found || !strcmp(schema->fields[i].name, name);
			if (!found)
				return error_set(err, ERROR_PEER, "unknown member \"%.64s\"", name);
		}
	}
	return true;
}

static json_t *parse(const void *data, size_t size, Error *err)
{
	json_error_t where;
	json_t *root = json_loadb(data, size, JSON_REJECT_DUPLICATES, &where);

	if (!root)
		error_set(err, ERROR_PEER, "not JSON at byte %d: %s", where.position, where.text);
	return root;
}

bool json_decode(const JsonFamily *family, const void *data, size_t size, unsigned int *ret_kind,
		 void *ret_object, Error *err)
{
	AUTO_JSON json_t *root = parse(data, size, err);
	const char *word;

	if (!root)
		return false;
	word = json_string_value(json_object_get(root, family->tag));
	if (!word)
		return error_set(err, ERROR_PEER, "member \"%s\" is missing", family->tag);
	for (unsigned int kind = 0; kind < family->count; kind++) {
		const Schema *schema = family->schemas[kind];

		if (strcmp(family->words[kind], word))
			continue;
		memset(ret_object, 0, schema->struct_size);
		if (!decode_object(schema, root, family->tag, ret_object, err) ||
		    !schema_check(schema, ret_object, err))
			return error_prefix(err, "%s", word);
		*ret_kind = kind;
		return true;
	}
	return error_set(err, ERROR_PEER, "%s \"%.64s\" is unknown", family->tag, word);
}

bool json_decode_plain(const Schema *schema, const void *data, size_t size, void *ret_object,
		       Error *err)
{
	AUTO_JSON json_t *root = parse(data, size, err);

	if (!root)
		return false;
	memset(ret_object, 0, schema->struct_size);
	return (decode_object(schema, root, NULL, ret_object, err) &&
		schema_check(schema, ret_object, err)) ||
	       error_prefix(err, "%s", schema->name);
}

void json_end_without_memory(void)
{
	json_set_alloc_funcs(wiping_malloc_or_abort, wiping_free);
}

char *json_text_new(const json_t *value, size_t flags)
{
	/* Into memory that is there already, no part can get lost. */
	size_t size = json_dumpb(value, NULL, 0, flags);
	AUTO_FREE char *text = size ? malloc(size + 1) : NULL;

	if (!text || json_dumpb(value, text, size, flags) != size)
		return NULL;
	text[size] = '\0';
	return TAKE_PTR(text);
}
