/* SPDX-License-Identifier: Apache-2.0 */
#include "qemustream/grammar.h"

#include <stdarg.h>
#include <string.h>

UnitResult grammar_bad(Error *err, const char *format, ...)
{
	char text[ERROR_TEXT_SIZE];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	error_set(err, ERROR_PEER, "%s", text);
	return UNIT_BAD;
}

UnitResult grammar_get_name(Reader *reader, const char *what, UnitName *ret_name, Error *err)
{
	const uint8_t *bytes;
	uint8_t size;

	if (!reader_get_u8(reader, &size))
		return UNIT_MORE;
	if (!size)
		return grammar_bad(err, "the name of %s has 0 bytes, the least is 1", what);
	if (!reader_skip(reader, size, &bytes))
		return UNIT_MORE;
	for (size_t i = 0; i < size; i++)
		if (bytes[i] < 0x20 || bytes[i] > 0x7e)
			return grammar_bad(
				err,
				"the name of %s has byte 0x%02x at %zu, only 0x20 to 0x7e may be",
				what, bytes[i], i);
	*ret_name = (UnitName){ .bytes = (const char *)bytes, .size = size };
	return UNIT_WHOLE;
}

bool grammar_name_is(UnitName name, const char *text)
{
	return strlen(text) == name.size && !memcmp(name.bytes, text, name.size);
}

bool grammar_names_equal(UnitName a, UnitName b)
{
	return a.size == b.size && !memcmp(a.bytes, b.bytes, a.size);
}
