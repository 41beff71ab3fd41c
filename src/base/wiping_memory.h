/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory for libraries that hold secrets and do not wipe them: they copy what they read and write
 * (a key in hexadecimal or base64, a token in a header) into blocks of the heap and free them as
 * they are. With these functions in their hands a block is wiped when it is given back, also the
 * old one when it grows.
 *
 * What it does not do: lock pages, or keep them out of core dumps (the process is not dumpable:
 * base/secret.h), or wipe what a library still holds.
 */
#ifndef SEALIFT_BASE_WIPING_MEMORY_H
#define SEALIFT_BASE_WIPING_MEMORY_H

#include <stddef.h>

/* malloc(3) and its kin. NULL without memory, or for a size that overflows. The blocks are malloc's
 * own: free(3) takes them too, and then they are not wiped. */
void *wiping_malloc(size_t size);
/* For a library that goes on wrongly without memory: then the process ends. */
void *wiping_malloc_or_abort(size_t size);
void *wiping_calloc(size_t count, size_t size);
/* Always moves; the old block stays as it is if there is no memory. */
void *wiping_realloc(void *block, size_t size);
char *wiping_strdup(const char *text);
void wiping_free(void *block);

#endif
