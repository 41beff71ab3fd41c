/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buffer.h"

#include <assert.h>
#include <string.h>

void buffer_clear(Buffer *buffer)
{
	if (buffer->data) {
		explicit_bzero(buffer->data, buffer->allocated);
		free(buffer->data);
	}
	buffer->data = NULL;
	buffer->used = 0;
	buffer->allocated = 0;
}

static bool reserve(Buffer *buffer, size_t size, Error *err)
{
	size_t wanted;
	uint8_t *grown;

	assert(buffer->used <= buffer->max_bytes);
	if (size > buffer->max_bytes - buffer->used)
		return error_set(err, ERROR_LIMIT, "%zu bytes more than %zu do not fit in %zu", size,
				 buffer->used, buffer->max_bytes);
	if (size <= buffer->allocated - buffer->used)
		return true;
	wanted = buffer->allocated ? buffer->allocated * 2 : 256;
	if (wanted < buffer->used + size)
		wanted = buffer->used + size;
	if (wanted > buffer->max_bytes)
		wanted = buffer->max_bytes;
	/* Not realloc: the old bytes may be secret and must not be left behind in the heap. */
	grown = malloc(wanted);
	if (!grown)
		return error_set(err, ERROR_INTERNAL, "no memory for %zu bytes", wanted);
	if (buffer->data) {
		memcpy(grown, buffer->data, buffer->used);
		explicit_bzero(buffer->data, buffer->allocated);
		free(buffer->data);
	}
	buffer->data = grown;
	buffer->allocated = wanted;
	return true;
}

bool buffer_put(Buffer *buffer, const void *data, size_t size, Error *err)
{
	if (!reserve(buffer, size, err))
		return false;
	if (size)
		memcpy(buffer->data + buffer->used, data, size);
	buffer->used += size;
	return true;
}

bool buffer_put_u8(Buffer *buffer, uint8_t value, Error *err)
{
	return buffer_put(buffer, &value, 1, err);
}

bool buffer_put_be16(Buffer *buffer, uint16_t value, Error *err)
{
	uint8_t bytes[2];

	store_be16(bytes, value);
	return buffer_put(buffer, bytes, sizeof(bytes), err);
}

bool buffer_put_be32(Buffer *buffer, uint32_t value, Error *err)
{
	uint8_t bytes[4];

	store_be32(bytes, value);
	return buffer_put(buffer, bytes, sizeof(bytes), err);
}

bool buffer_put_be64(Buffer *buffer, uint64_t value, Error *err)
{
	uint8_t bytes[8];

	store_be64(bytes, value);
	return buffer_put(buffer, bytes, sizeof(bytes), err);
}

void buffer_consume(Buffer *buffer, size_t size)
{
	assert(size <= buffer->used);
	if (size && size < buffer->used)
		memmove(buffer->data, buffer->data + size, buffer->used - size);
	buffer->used -= size;
}

bool reader_skip(Reader *reader, size_t size, const uint8_t **ret_bytes)
{
	if (size > reader->left)
		return false;
	*ret_bytes = reader->data;
	reader->data += size;
	reader->left -= size;
	return true;
}

bool reader_get_bytes(Reader *reader, void *ret_bytes, size_t size)
{
	const uint8_t *bytes;

	if (!reader_skip(reader, size, &bytes))
		return false;
	if (size)
		memcpy(ret_bytes, bytes, size);
	return true;
}

bool reader_get_u8(Reader *reader, uint8_t *ret_value)
{
	return reader_get_bytes(reader, ret_value, 1);
}

bool reader_get_be16(Reader *reader, uint16_t *ret_value)
{
	const uint8_t *bytes;

	if (!reader_skip(reader, 2, &bytes))
		return false;
	*ret_value = load_be16(bytes);
	return true;
}

bool reader_get_be32(Reader *reader, uint32_t *ret_value)
{
	const uint8_t *bytes;

	if (!reader_skip(reader, 4, &bytes))
		return false;
	*ret_value = load_be32(bytes);
	return true;
}

bool reader_get_be64(Reader *reader, uint64_t *ret_value)
{
	const uint8_t *bytes;

	if (!reader_skip(reader, 8, &bytes))
		return false;
	*ret_value = load_be64(bytes);
	return true;
}

void hex_encode(const void *data, size_t size, char *out)
{
	static const char digits[] = "0123456789abcdef";
	const uint8_t *bytes = data;

	for (size_t i = 0; i < size; i++) {
		out[2 * i] = digits[bytes[i] >> 4];
		out[2 * i + 1] = digits[bytes[i] & 15];
	}
	out[2 * size] = '\0';
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

bool hex_decode(const char *text, void *ret_data, size_t size)
{
	uint8_t *out = ret_data;

	if (strlen(text) != 2 * size)
		return false;
	for (size_t i = 0; i < size; i++) {
		int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		out[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}
