/* SPDX-License-Identifier: Apache-2.0 */
#include "base/wiping_memory.h"

#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

void *wiping_malloc(size_t size)
{
	/* malloc's own bound, also where a sanitizer has its place and ends the process. */
	return size > PTRDIFF_MAX ? NULL : malloc(size);
}

void *wiping_malloc_or_abort(size_t size)
{
	void *block = wiping_malloc(size);

	if (!block)
		abort();
	return block;
}

void *wiping_calloc(size_t count, size_t size)
{
	size_t total;
	void *block;

	if (__builtin_mul_overflow(count, size, &total))
		return NULL;
	block = wiping_malloc(total);
	if (block)
		memset(block, 0, total);
	return block;
}

/* All that malloc gave, which may be more than was asked for: a few bytes more cost nothing, and no
 * length has to be kept beside the block. */
void wiping_free(void *block)
{
	if (!block)
		return;
	explicit_bzero(block, malloc_usable_size(block));
	free(block);
}

void *wiping_realloc(void *block, size_t size)
{
	void *moved = wiping_malloc(size);
	size_t old;

	if (!moved || !block)
		return moved;
	old = malloc_usable_size(block);
	memcpy(moved, block, size < old ? size : old);
	wiping_free(block);
	return moved;
}

char *wiping_strdup(const char *text)
{
	return strdup(text);
}
