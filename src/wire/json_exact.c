/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/json_exact.h"

#include <stdint.h>
#include <string.h>

#include "base/buffer.h"

enum {
	HEX_MAX = 256, /* bytes of a FIELD_HEX, as in json.c */
	WORD_MAX = 64, /* longer words no table of ours has */
};

static bool take(Reader *text, const char *expected)
{
	size_t size = strlen(expected);
	Reader after = *text;
	const uint8_t *bytes;

	if (!reader_skip(&after, size, &bytes) || memcmp(bytes, expected, size) != 0)
		return false;
	*text = after;
	return true;
}

/* "name": with a comma before it, unless it is the first one. */
static bool take_name(Reader *text, const char *name, bool first)
{
	Reader after = *text;

	if ((!first && !take(&after, ",")) || !take(&after, "\"") || !take(&after, name) ||
	    !take(&after, "\":"))
		return false;
	*text = after;
	return true;
}

static bool take_number(Reader *text, uint64_t *ret_number)
{
	uint64_t number = 0;
	size_t digits = 0;

	while (text->left && *text->data >= '0' && *text->data <= '9') {
		unsigned int digit = *text->data - (unsigned int)'0';

		/* No zero in front, and no more than Jansson's integers hold. */
		if ((digits && !number) || number > ((uint64_t)INT64_MAX - digit) / 10)
			return false;
		number = 10 * number + digit;
		digits++;
		text->data++;
		text->left--;
	}
	*ret_number = number;
	return digits;
}

/* Between quotes, of the characters that no escape is written for, and the two that it is written
 * for and that our text classes allow. *ret_text has room for `room` bytes with the NUL. Most of
 * the time of a decode is spent here: no call for each byte. */
static bool take_string(Reader *text, char *ret_text, size_t room)
{
	const uint8_t *at = text->data, *end = text->data + text->left;
	size_t used = 0;

	if (at == end || *at++ != '"')
		return false;
	for (; at < end && *at != '"'; at++) {
		if (*at == '\\' && (++at == end || (*at != '"' && *at != '\\')))
			return false;
		if (*at < 0x20 || *at > 0x7e || room - used < 2)
			return false;
		ret_text[used++] = (char)*at;
	}
	if (at == end)
		return false;
	ret_text[used] = '\0';
	*text = reader_of(at + 1, (size_t)(end - at) - 1);
	return true;
}

static bool take_hex(Reader *text, uint8_t *member, size_t size)
{
	char digits[2 * HEX_MAX + 1];

	return size <= HEX_MAX && take_string(text, digits, 2 * size + 1) &&
	       hex_decode(digits, member, size);
}

static bool take_word(Reader *text, const Field *field, uint8_t *member)
{
	char word[WORD_MAX];

	if (!take_string(text, word, sizeof(word)))
		return false;
	for (unsigned int i = 0; i < field->n_words; i++)
		if (field->words[i] && !strcmp(field->words[i], word)) {
			memcpy(member, &i, sizeof(i));
			return true;
		}
	return false;
}

static bool take_value(Reader *text, const Field *field, uint8_t *member)
{
	uint64_t number;

	switch (field->kind) {
	case FIELD_U64:
		if (!take_number(text, &number))
			return false;
		memcpy(member, &number, sizeof(number));
		return true;
	case FIELD_BOOL:
		*(bool *)member = take(text, "true");
		return *(bool *)member || take(text, "false");
	case FIELD_ENUM:
		return take_word(text, field, member);
	case FIELD_TEXT:
		return take_string(text, (char *)member, field->size);
	case FIELD_HEX:
		return take_hex(text, member, field->size);
	case FIELD_BYTES:
	case FIELD_LIST:
	case FIELD_OBJECT:
	case FIELD_VARIANT:
		break;
	}
	return false;
}

bool json_decode_exact(const Schema *schema, const void *data, size_t size, void *ret_object)
{
	Reader text = reader_of(data, size);
	Error ignored = ERROR_INIT;
	bool first = true;

	memset(ret_object, 0, schema->struct_size);
	if (!take(&text, "{"))
		return false;
	for (size_t i = 0; i < schema->n_fields; i++) {
		const Field *field = &schema->fields[i];

		if (!take_name(&text, field->name, first)) {
			if (field->optional)
				continue;
			return false;
		}
		first = false;
		if (!take_value(&text, field, (uint8_t *)ret_object + field->offset))
			return false;
	}
	return take(&text, "}") && !text.left && schema_check(schema, ret_object, &ignored);
}
