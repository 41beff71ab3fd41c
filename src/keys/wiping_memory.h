/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory for libraries that hold secrets and do not wipe them. Jansson and libcurl copy what they
 * send and hear (a key in base64, a token in a header) into blocks of the heap and free them as
 * they are; with these functions in their hands a block is wiped when it is given back, also the
 * old one when it grows.
 *
 * What it does not do: lock pages, or keep them out of core dumps (the process is not dumpable:
 * base/secret.h), or wipe what a library still holds. Its user ends each libcurl handle after one
 * request for that reason (barbican_rest.c).
 */
#ifndef SEALIFT_KEYS_WIPING_MEMORY_H
#define SEALIFT_KEYS_WIPING_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

#include "base/cleanup.h"
#include "base/error.h"

/* malloc(3) and its kin, with blocks that only wiping_free and wiping_realloc take. NULL without
 * memory, or for a size that overflows. */
void *wiping_malloc(size_t size);
void *wiping_calloc(size_t count, size_t size);
/* Always moves; the old block stays as it is if there is no memory. */
void *wiping_realloc(void *block, size_t size);
char *wiping_strdup(const char *text);
void wiping_free(void *block);

/*
 * Gives them to Jansson and libcurl, for all of the process. Once, first thing in main() of a
 * program that speaks with Barbican, before any other use of the two, before threads and the
 * sandbox: what opens files at its first use is used here. In the place of
 * json_end_without_memory (wire/json.h), whose rule holds here too: a lack of memory inside Jansson
 * ends the process. ERROR_UNAVAILABLE if libcurl is too old or cannot do TLS by OpenSSL.
 */
MUST_CHECK bool wiping_memory_install(Error *err);

/* Whether that was done. */
bool wiping_memory_is_installed(void);

#endif
