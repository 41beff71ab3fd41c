/* SPDX-License-Identifier: Apache-2.0 */
#include "base/schema.h"

#include <assert.h>
#include <string.h>

static bool is_lower_hex(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

static bool is_alnum(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_printable(const char *text)
{
	for (; *text; text++)
		if (*text < 0x20 || *text > 0x7e)
			return false;
	return true;
}

static bool is_name(const char *text)
{
	if (*text && !is_alnum(*text))
		return false;
	for (; *text; text++)
		if (!is_alnum(*text) && !strchr("._-", *text))
			return false;
	return true;
}

static bool is_domain(const char *text)
{
	size_t length = strlen(text);

	if (!length)
		return true;
	for (const char *p = text; *p; p++)
		if (!(*p >= 'a' && *p <= 'z') && !(*p >= '0' && *p <= '9') && *p != '.' && *p != '-')
			return false;
	return is_alnum(text[0]) && is_alnum(text[length - 1]) && !strstr(text, "..");
}

static bool is_pattern(const char *text, const char *pattern)
{
	if (!*text)
		return true;
	for (; *pattern; pattern++, text++)
		if (*pattern == 'x' ? !is_lower_hex(*text) : *text != *pattern)
			return false;
	return !*text;
}

static bool is_uuid(const char *text)
{
	return is_pattern(text, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx");
}

static bool is_mac(const char *text)
{
	return is_pattern(text, "xx:xx:xx:xx:xx:xx");
}

static bool (*const text_classes[])(const char *text) = {
	[TEXT_PRINTABLE] = is_printable, [TEXT_NAME] = is_name, [TEXT_DOMAIN] = is_domain,
	[TEXT_UUID] = is_uuid,		 [TEXT_MAC] = is_mac,
};
static_assert(ARRAY_SIZE(text_classes) == TEXT_CLASS_COUNT, "one check for each class");

bool text_is(TextClass klass, const char *text, size_t min)
{
	return strlen(text) >= min && text_classes[klass](text);
}

static bool check_field(const Field *field, const uint8_t *base, Error *err)
{
	const void *member = base + field->offset;
	size_t count = 0;

	if (field->kind == FIELD_BYTES || field->kind == FIELD_LIST)
		memcpy(&count, base + field->count_offset, sizeof(count));

	switch (field->kind) {
	case FIELD_U64: {
		uint64_t value;

		memcpy(&value, member, sizeof(value));
		if (value < field->min || value > field->max)
			return error_set(err, ERROR_PEER, "%s is %llu, outside %llu..%llu", field->name,
					 (unsigned long long)value, (unsigned long long)field->min,
					 (unsigned long long)field->max);
		return true;
	}
	case FIELD_ENUM: {
		unsigned int value;

		memcpy(&value, member, sizeof(value));
		if (value >= field->n_words || !field->words[value])
			return error_set(err, ERROR_PEER, "%s is %u, not one of %zu known values", field->name,
					 value, field->n_words);
		return true;
	}
	case FIELD_TEXT: {
		const char *text = member;

		if (!memchr(text, 0, field->size))
			return error_set(err, ERROR_PEER, "%s is longer than %zu characters", field->name,
					 field->size - 1);
		if (!*text && field->optional)
			return true;
		if (!text_is(field->text_class, text, field->min))
			return error_set(err, ERROR_PEER, "%s \"%.64s\" is malformed", field->name, text);
		return true;
	}
	case FIELD_BYTES:
	case FIELD_LIST:
		if (!count && field->optional)
			return true;
		if (count < field->min || count > field->size)
			return error_set(err, ERROR_PEER, "%s has %zu %s, outside %llu..%zu", field->name,
					 count, field->kind == FIELD_LIST ? "entries" : "bytes",
					 (unsigned long long)field->min, field->size);
		for (size_t i = 0; field->kind == FIELD_LIST && i < count; i++)
			if (!schema_check(field->object,
					  (const uint8_t *)member + i * field->object->struct_size, err))
				return error_prefix(err, "%s[%zu]", field->name, i);
		return true;
	case FIELD_OBJECT:
		return schema_check(field->object, member, err) || error_prefix(err, "%s", field->name);
	case FIELD_VARIANT: {
		unsigned int tag;

		memcpy(&tag, base + field->count_offset, sizeof(tag));
		if (tag >= field->n_words || !field->variants[tag])
			return error_set(err, ERROR_PEER, "%s has no variant %u", field->name, tag);
		return schema_check(field->variants[tag], member, err) ||
		       error_prefix(err, "%s", field->name);
	}
	case FIELD_BOOL:
	case FIELD_HEX:
		return true;
	}
	assert(0 && "unknown field kind");
	return false;
}

bool schema_check(const Schema *schema, const void *object, Error *err)
{
	for (size_t i = 0; i < schema->n_fields; i++)
		if (!check_field(&schema->fields[i], object, err))
			return false;
	return true;
}
