/* SPDX-License-Identifier: Apache-2.0 */
#include "fixture_memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/cleanup.h"

/* The shadow of a sanitizer is larger, and has no bytes of ours. */
#define MAPPING_MAX (UINT64_C(256) << 20)

void fixture_memory_invert(const void *bytes, size_t size, uint8_t *ret_inverted)
{
	/* Byte by byte: a vector register would be saved on the stack by the dynamic loader. */
	const volatile uint8_t *from = bytes;

	for (size_t i = 0; i < size; i++)
		ret_inverted[i] = (uint8_t)~from[i];
}

/* Reads memory that a sanitizer knows to be freed, which is the point. */
__attribute__((no_sanitize("address", "undefined"))) static size_t
count_in(const volatile uint8_t *at, const volatile uint8_t *end, const uint8_t *inverted,
	 size_t size)
{
	const uint8_t first = (uint8_t)~inverted[0];
	size_t count = 0;

	for (; (size_t)(end - at) >= size; at++) {
		size_t same = 0;

		if (*at != first)
			continue;
		while (same < size && (at[same] ^ inverted[same]) == 0xff)
			same++;
		count += same == size;
	}
	return count;
}

size_t fixture_memory_count(const uint8_t *inverted, size_t size)
{
	AUTO_FILE FILE *maps = fopen("/proc/self/maps", "re");
	uintptr_t start, end;
	char mode[5], line[512];
	size_t count = 0;

	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps))
		if (sscanf(line, "%lx-%lx %4s", &start, &end, mode) == 3 && mode[0] == 'r' &&
		    mode[1] == 'w' && end - start <= MAPPING_MAX)
			count += count_in((const volatile uint8_t *)start,
					  (const volatile uint8_t *)end, inverted, size);
	return count;
}
