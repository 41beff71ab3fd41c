/* SPDX-License-Identifier: Apache-2.0 */
/* One migration (MIGRATION of docs/API.md) for people: the report at its end, and how it ended. */
#ifndef SEALIFT_PROGRAMS_CLI_REPORT_H
#define SEALIFT_PROGRAMS_CLI_REPORT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "base/error.h"

enum { REPORT_ID_SHORT = 9 }; /* 8 characters of a migration's id and NUL: enough to name it */

/* Escaped and cut; "?" if there is none. */
void report_short_id(const json_t *migration, char out[REPORT_ID_SHORT]);

/* One screen about a finished migration: times, bytes, CPU, cipher. */
void report_print(FILE *stream, const json_t *migration);

/* Everything that is known of a migration, finished or not. */
void report_print_details(FILE *stream, const json_t *migration);

/* Whether state says that it goes on by itself. */
bool report_is_active(const json_t *migration);

/* For a migration that is not active: true if it is done, else its failure as an Error, with what
 * a person can do about it. */
MUST_CHECK bool report_outcome(const json_t *migration, Error *err);

#endif
