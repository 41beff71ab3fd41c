/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/guard/read_files.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

_Noreturn void die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, "\n");
	exit(1);
}

void read_whole(const char *path, Buffer *buffer)
{
	AUTO_FILE FILE *file = fopen(path, "rb");
	static uint8_t chunk[1 << 16];
	Error err = ERROR_INIT;
	size_t got;

	if (!file)
		die("%s: cannot open", path);
	while ((got = fread(chunk, 1, sizeof(chunk), file)) > 0)
		if (!buffer_put(buffer, chunk, got, &err))
			die("%s: %s", path, err.text);
}
