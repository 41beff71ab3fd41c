/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"

static const char *const words[] = { "error", "warning", "info", "debug" };

void log_write(const Log *log, LogLevel level, const char *format, ...)
{
	char text[1024], line[2200];
	size_t used;
	va_list args;

	if (!log || level > log->level)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	used = (size_t)snprintf(line, sizeof(line), "%s %.60s[%d]: ", words[level], log->program,
				log->process ? log->process : (int)getpid());
	for (const unsigned char *p = (const unsigned char *)text; *p && used < sizeof(line) - 6; p++) {
		if (*p >= 0x20 && *p <= 0x7e)
			line[used++] = (char)*p;
		else
			used += (size_t)snprintf(line + used, sizeof(line) - used, "\\x%02x", *p);
	}
	line[used++] = '\n';
	/* One write, so that lines of several processes do not mix; a full pipe must not stop us. */
	if (write(log->fd, line, used) < 0)
		return;
}

bool log_level_of_word(const char *word, LogLevel *ret_level)
{
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (!strcmp(word, words[i])) {
			*ret_level = (LogLevel)i;
			return true;
		}
	return false;
}
