/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/free_watch.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

/* volatile: the compiler knows that free changes no variable of ours. */
static volatile struct {
	const void *secret;
	size_t size_bytes, freed, dirty;
} seen;

void __real_free(void *block);
void __wrap_free(void *block);
void __wrap_free(void *block)
{
	if (block && seen.secret) {
		seen.freed++;
		seen.dirty += memmem(block, malloc_usable_size(block), seen.secret,
				     seen.size_bytes) != NULL;
	}
	__real_free(block);
}

void free_watch_begin(const void *secret, size_t size_bytes)
{
	seen.secret = secret;
	seen.size_bytes = size_bytes;
	seen.freed = seen.dirty = 0;
}

void free_watch_end(void)
{
	seen.secret = NULL;
}

size_t free_watch_freed(void)
{
	return seen.freed;
}

size_t free_watch_dirty(void)
{
	return seen.dirty;
}
