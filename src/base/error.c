/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

typedef struct CategoryRow {
	const char *word;
	int exit_status;
} CategoryRow;

static const CategoryRow category_table[] = {
	[ERROR_NONE] = { "none", 0 },
	[ERROR_USAGE] = { "usage", 2 },
	[ERROR_CONFIG] = { "config", 3 },
	[ERROR_NOT_FOUND] = { "not-found", 4 },
	[ERROR_CONFLICT] = { "conflict", 5 },
	[ERROR_DENIED] = { "denied", 6 },
	[ERROR_AUTH] = { "auth", 7 },
	[ERROR_PEER] = { "peer", 8 },
	[ERROR_LIMIT] = { "limit", 9 },
	[ERROR_TIMEOUT] = { "timeout", 10 },
	[ERROR_CANCELLED] = { "cancelled", 11 },
	[ERROR_UNAVAILABLE] = { "unavailable", 12 },
	[ERROR_HYPERVISOR] = { "hypervisor", 13 },
	[ERROR_IO] = { "io", 14 },
	[ERROR_INTERNAL] = { "internal", 1 },
};
static_assert(sizeof(category_table) / sizeof(category_table[0]) == ERROR_CATEGORY_COUNT,
	      "one row for each category");

static void append_escaped(char *out, size_t size, const char *text)
{
	size_t used = strlen(out);

	for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
		if (*p >= 0x20 && *p <= 0x7e) {
			if (size - used < 2)
				return;
			out[used++] = (char)*p;
		} else {
			if (size - used < 5)
				return;
			snprintf(out + used, size - used, "\\x%02x", *p);
			used += 4;
		}
		out[used] = '\0';
	}
}

static void set_text(Error *err, ErrorCategory category, const char *format, va_list args)
	__attribute__((format(printf, 3, 0)));
static void set_text(Error *err, ErrorCategory category, const char *format, va_list args)
{
	char raw[ERROR_TEXT_SIZE];

	assert(err && category > ERROR_NONE && category < ERROR_CATEGORY_COUNT);
	vsnprintf(raw, sizeof(raw), format, args);
	err->category = category;
	err->text[0] = '\0';
	append_escaped(err->text, sizeof(err->text), raw);
}

bool error_set(Error *err, ErrorCategory category, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	set_text(err, category, format, args);
	va_end(args);
	return false;
}

bool error_set_errno(Error *err, ErrorCategory category, int saved_errno, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	set_text(err, category, format, args);
	va_end(args);
	append_escaped(err->text, sizeof(err->text), ": ");
	append_escaped(err->text, sizeof(err->text), strerror(saved_errno));
	return false;
}

bool error_prefix(Error *err, const char *format, ...)
{
	char raw[ERROR_TEXT_SIZE], old[ERROR_TEXT_SIZE];
	va_list args;

	va_start(args, format);
	vsnprintf(raw, sizeof(raw), format, args);
	va_end(args);
	memcpy(old, err->text, sizeof(old));
	err->text[0] = '\0';
	append_escaped(err->text, sizeof(err->text), raw);
	append_escaped(err->text, sizeof(err->text), ": ");
	append_escaped(err->text, sizeof(err->text), old);
	return false;
}

int error_exit_status(ErrorCategory category)
{
	assert(category < ERROR_CATEGORY_COUNT);
	return category_table[category].exit_status;
}

const char *error_word(ErrorCategory category)
{
	assert(category < ERROR_CATEGORY_COUNT);
	return category_table[category].word;
}

ErrorCategory error_category_of_word(const char *word)
{
	/* "none" is no reason: a peer that gives it gets the last line. */
	for (int i = ERROR_NONE + 1; i < ERROR_CATEGORY_COUNT; i++)
		if (!strcmp(category_table[i].word, word))
			return (ErrorCategory)i;
	return ERROR_INTERNAL;
}
