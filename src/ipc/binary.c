/* SPDX-License-Identifier: Apache-2.0 */
#include "ipc/binary.h"

#include <assert.h>
#include <string.h>

/* Objects nest by the schema tables, which are our own constants and a few levels deep. */

static const Schema *variant_of(const Field *field, const uint8_t *base)
{
	unsigned int tag;

	memcpy(&tag, base + field->count_offset, sizeof(tag));
	return tag < field->n_words ? field->variants[tag] : NULL;
}

static bool encode_object(const Schema *schema, const uint8_t *base, Buffer *buffer, Error *err);

static bool encode_field(const Field *field, const uint8_t *base, Buffer *buffer, Error *err)
{
	const uint8_t *member = base + field->offset;
	size_t count = 0;

	if (field->kind == FIELD_BYTES || field->kind == FIELD_LIST)
		memcpy(&count, base + field->count_offset, sizeof(count));
	switch (field->kind) {
	case FIELD_U64: {
		uint64_t value;

		memcpy(&value, member, sizeof(value));
		return buffer_put_be64(buffer, value, err);
	}
	case FIELD_BOOL:
		return buffer_put_u8(buffer, *(const bool *)member, err);
	case FIELD_ENUM: {
		unsigned int value;

		memcpy(&value, member, sizeof(value));
		return buffer_put_u8(buffer, (uint8_t)value, err);
	}
	case FIELD_TEXT:
		count = strlen((const char *)member);
		return buffer_put_be32(buffer, (uint32_t)count, err) &&
		       buffer_put(buffer, member, count, err);
	case FIELD_HEX:
		return buffer_put(buffer, member, field->size, err);
	case FIELD_BYTES:
		return buffer_put_be32(buffer, (uint32_t)count, err) &&
		       buffer_put(buffer, member, count, err);
	case FIELD_LIST:
		if (!buffer_put_be32(buffer, (uint32_t)count, err))
			return false;
		for (size_t i = 0; i < count; i++)
			if (!encode_object(field->object, member + i * field->object->struct_size, buffer, err))
				return false;
		return true;
	case FIELD_OBJECT:
		return encode_object(field->object, member, buffer, err);
	case FIELD_VARIANT:
		return encode_object(variant_of(field, base), member, buffer, err);
	}
	assert(0 && "unknown field kind");
	return false;
}

static bool encode_object(const Schema *schema, const uint8_t *base, Buffer *buffer, Error *err)
{
	for (size_t i = 0; i < schema->n_fields; i++)
		if (!encode_field(&schema->fields[i], base, buffer, err))
			return false;
	return true;
}

bool binary_encode(const Schema *schema, const void *object, Buffer *buffer, Error *err)
{
	if (!schema_check(schema, object, err))
		return error_prefix(err, "%s", schema->name);
	return encode_object(schema, object, buffer, err);
}

static bool decode_object(const Schema *schema, Reader *reader, uint8_t *base);

static bool decode_count(Reader *reader, size_t max, size_t *ret_count)
{
	uint32_t count;

	if (!reader_get_be32(reader, &count) || count > max)
		return false;
	*ret_count = count;
	return true;
}

static bool decode_field(const Field *field, Reader *reader, uint8_t *base)
{
	uint8_t *member = base + field->offset;
	size_t count = 0;
	uint8_t byte;

	switch (field->kind) {
	case FIELD_U64: {
		uint64_t value;

		if (!reader_get_be64(reader, &value))
			return false;
		memcpy(member, &value, sizeof(value));
		return true;
	}
	case FIELD_BOOL:
		if (!reader_get_u8(reader, &byte) || byte > 1)
			return false;
		*(bool *)member = byte;
		return true;
	case FIELD_ENUM: {
		unsigned int value;

		if (!reader_get_u8(reader, &byte))
			return false;
		value = byte;
		memcpy(member, &value, sizeof(value));
		return true;
	}
	case FIELD_TEXT:
		return decode_count(reader, field->size - 1, &count) &&
		       reader_get_bytes(reader, member, count) && !memchr(member, 0, count);
	case FIELD_HEX:
		return reader_get_bytes(reader, member, field->size);
	case FIELD_BYTES:
		if (!decode_count(reader, field->size, &count))
			return false;
		memcpy(base + field->count_offset, &count, sizeof(count));
		return reader_get_bytes(reader, member, count);
	case FIELD_LIST:
		if (!decode_count(reader, field->size, &count))
			return false;
		memcpy(base + field->count_offset, &count, sizeof(count));
		for (size_t i = 0; i < count; i++)
			if (!decode_object(field->object, reader, member + i * field->object->struct_size))
				return false;
		return true;
	case FIELD_OBJECT:
		return decode_object(field->object, reader, member);
	case FIELD_VARIANT: {
		const Schema *variant = variant_of(field, base);

		return variant && decode_object(variant, reader, member);
	}
	}
	assert(0 && "unknown field kind");
	return false;
}

static bool decode_object(const Schema *schema, Reader *reader, uint8_t *base)
{
	for (size_t i = 0; i < schema->n_fields; i++)
		if (!decode_field(&schema->fields[i], reader, base))
			return false;
	return true;
}

bool binary_decode(const Schema *schema, const void *data, size_t size, void *ret_object, Error *err)
{
	Reader reader = reader_of(data, size);

	memset(ret_object, 0, schema->struct_size);
	if (!decode_object(schema, &reader, ret_object))
		return error_set(err, ERROR_PEER, "%s: malformed after %zu of %zu bytes", schema->name,
				 size - reader.left, size);
	if (reader.left)
		return error_set(err, ERROR_PEER, "%s: %zu bytes too many", schema->name, reader.left);
	return schema_check(schema, ret_object, err) || error_prefix(err, "%s", schema->name);
}
