/* SPDX-License-Identifier: Apache-2.0 */
#include "keys/wiping_memory.h"

#include <curl/curl.h>
#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* In front of each block; as wide as malloc's own alignment. */
typedef struct Head {
	_Alignas(max_align_t) size_t size;
} Head;

static Head *head_of(void *block)
{
	return (Head *)block - 1;
}

void *wiping_malloc(size_t size)
{
	Head *head;

	if (size > SIZE_MAX - sizeof(*head))
		return NULL;
	head = malloc(sizeof(*head) + size);
	if (!head)
		return NULL;
	head->size = size;
	return head + 1;
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

void wiping_free(void *block)
{
	if (!block)
		return;
	explicit_bzero(block, head_of(block)->size);
	free(head_of(block));
}

void *wiping_realloc(void *block, size_t size)
{
	void *grown = wiping_malloc(size);

	if (!grown || !block)
		return grown;
	memcpy(grown, block, size < head_of(block)->size ? size : head_of(block)->size);
	wiping_free(block);
	return grown;
}

char *wiping_strdup(const char *text)
{
	size_t size = strlen(text) + 1;
	char *copy = wiping_malloc(size);

	if (copy)
		memcpy(copy, text, size);
	return copy;
}

static void *allocate_or_abort(size_t size)
{
	void *block = wiping_malloc(size);

	if (!block)
		abort();
	return block;
}

bool wiping_memory_install(Error *err)
{
	const curl_version_info_data *version;

	json_set_alloc_funcs(allocate_or_abort, wiping_free);
	if (curl_global_init_mem(CURL_GLOBAL_DEFAULT, wiping_malloc, wiping_free, wiping_realloc,
				 wiping_strdup, wiping_calloc) != CURLE_OK)
		return error_set(err, ERROR_INTERNAL, "libcurl did not start");
	/* Both would open a file at their first use: Jansson for the seed of its hash tables, and
	 * the C library for the time zone when OpenSSL looks at a certificate's dates. */
	json_object_seed(0);
	tzset();
	version = curl_version_info(CURLVERSION_NOW);
	/* CURLOPT_PROTOCOLS_STR; and what a context callback gets is another library's otherwise.
	 */
	if (version->version_num < 0x075500 || !version->ssl_version ||
	    strncmp(version->ssl_version, "OpenSSL/", 8))
		return error_set(err, ERROR_UNAVAILABLE,
				 "libcurl %s with %s, wanted is 7.85 or newer with OpenSSL",
				 version->version,
				 version->ssl_version ? version->ssl_version : "no TLS");
	return true;
}

bool wiping_memory_is_installed(void)
{
	json_malloc_t allocate;
	json_free_t release;

	json_get_alloc_funcs(&allocate, &release);
	return allocate == allocate_or_abort && release == wiping_free;
}
