/* SPDX-License-Identifier: Apache-2.0 */
#include "keys/wiping_memory.h"

#include <curl/curl.h>
#include <jansson.h>
#include <string.h>
#include <time.h>

#include "base/wiping_memory.h"

bool wiping_memory_install(Error *err)
{
	const curl_version_info_data *version;

	json_set_alloc_funcs(wiping_malloc_or_abort, wiping_free);
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
	return allocate == wiping_malloc_or_abort && release == wiping_free;
}
