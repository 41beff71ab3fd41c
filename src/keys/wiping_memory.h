/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Jansson and libcurl with base/wiping_memory.h in their hands, for who speaks with Barbican:
 * values stand in what both send and hear. What libcurl still holds is not wiped, so that its user
 * ends each handle after one request (barbican_rest.c).
 */
#ifndef SEALIFT_KEYS_WIPING_MEMORY_H
#define SEALIFT_KEYS_WIPING_MEMORY_H

#include <stdbool.h>

#include "base/cleanup.h"
#include "base/error.h"

/*
 * Gives them to Jansson and libcurl, for all of the process. Once, first thing in main() of a
 * program that speaks with Barbican, before any other use of the two, before threads and the
 * sandbox: what opens files at its first use is used here. In the place of
 * json_end_without_memory (wire/json.h), which does the same for Jansson alone. ERROR_UNAVAILABLE
 * if libcurl is too old or cannot do TLS by OpenSSL.
 */
MUST_CHECK bool wiping_memory_install(Error *err);

/* Whether that was done. */
bool wiping_memory_is_installed(void);

#endif
