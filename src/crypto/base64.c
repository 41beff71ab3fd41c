/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/base64.h"

#include <string.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static bool has_room(const Buffer *buffer, size_t wanted, Error *err)
{
	if (wanted <= buffer->max_bytes - buffer->used)
		return true;
	return error_set(err, ERROR_LIMIT, "%zu bytes do not fit in %zu", wanted,
			 buffer->max_bytes - buffer->used);
}

static void encode_group(const uint8_t *in, size_t count, char out[4])
{
	uint32_t bits = (uint32_t)in[0] << 16;

	if (count > 1)
		bits |= (uint32_t)in[1] << 8;
	if (count > 2)
		bits |= in[2];
	out[0] = alphabet[bits >> 18];
	out[1] = alphabet[(bits >> 12) & 63];
	out[2] = count > 1 ? alphabet[(bits >> 6) & 63] : '=';
	out[3] = count > 2 ? alphabet[bits & 63] : '=';
}

bool base64_encode(const void *data, size_t size, Buffer *buffer, Error *err)
{
	const uint8_t *in = data;

	if (size > SIZE_MAX / 4 * 3 - 3)
		return error_set(err, ERROR_LIMIT, "%zu bytes are too many for base64", size);
	if (!has_room(buffer, (size + 2) / 3 * 4, err))
		return false;
	for (size_t at = 0; at < size; at += 3) {
		char group[4];

		encode_group(in + at, size - at < 3 ? size - at : 3, group);
		if (!buffer_put(buffer, group, sizeof(group), err))
			return false;
	}
	return true;
}

static int value_of(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

static bool bad_character(const char *text, size_t at, Error *err)
{
	return error_set(err, ERROR_PEER, "not base64: character 0x%02x at offset %zu",
			 (unsigned char)text[at], at);
}

/* Four characters, of which the last `padding` must be '='. Gives 3 - padding bytes. */
static bool decode_group(const char *text, size_t at, size_t padding, uint8_t out[3], Error *err)
{
	uint32_t bits = 0;

	for (size_t i = 0; i < 4 - padding; i++) {
		int value = value_of(text[at + i]);

		if (value < 0)
			return bad_character(text, at + i, err);
		bits |= (uint32_t)value << (18 - 6 * i);
	}
	out[0] = (uint8_t)(bits >> 16);
	out[1] = (uint8_t)(bits >> 8);
	out[2] = (uint8_t)bits;
	if ((padding == 2 && out[1]) || (padding && out[2]))
		return error_set(err, ERROR_PEER, "not canonical base64: unused bits at offset %zu",
				 at + 3 - padding);
	return true;
}

bool base64_decode(const char *text, size_t length, Buffer *buffer, Error *err)
{
	size_t padding = 0, used = buffer->used;

	if (length % 4)
		return error_set(err, ERROR_PEER, "not base64: %zu characters, no multiple of 4",
				 length);
	if (length && text[length - 1] == '=')
		padding = text[length - 2] == '=' ? 2 : 1;
	if (!has_room(buffer, length / 4 * 3 - padding, err))
		return false;
	for (size_t at = 0; at < length; at += 4) {
		size_t cut = at + 4 == length ? padding : 0;
		uint8_t group[3];

		if (!decode_group(text, at, cut, group, err) ||
		    !buffer_put(buffer, group, 3 - cut, err)) {
			buffer->used = used;
			return false;
		}
	}
	return true;
}
