/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `sealift inspect` prints: lines of an offset, a kind and items. With JSON each line is an
 * object {"at", "kind", ...}; as text it is "OFFSET  KIND  item, item". Whatever an item holds is
 * escaped here; a line is as long as its items, which the callers bound.
 */
#ifndef SEALIFT_PROGRAMS_CLI_INSPECT_OUTPUT_H
#define SEALIFT_PROGRAMS_CLI_INSPECT_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "base/error.h"

/* For a line that stands for no byte of the file. */
#define OUTPUT_NOWHERE UINT64_MAX

enum { OUTPUT_HEX_BYTES = 32 }; /* of one item; the rest is counted */

typedef struct Output {
	FILE *stream;
	bool json;
	int column; /* text: of the kind; -1 once an item came */
	bool list_first;
} Output;

void output_begin(Output *output, uint64_t at, const char *kind);
/* ERROR_IO once what came before could not be written. */
MUST_CHECK bool output_end(Output *output, Error *err);

/* Keys are our own words. A word stands without its key in text. */
void output_word(Output *output, const char *key, const char *text);
void output_name(Output *output, const char *key, const char *bytes, size_t size);
void output_number(Output *output, const char *key, uint64_t number);
void output_flag(Output *output, const char *key, bool is); /* text: only if it is */
/* Lower-case hex of the first OUTPUT_HEX_BYTES; how many bytes follow stands behind. */
void output_hex(Output *output, const char *key, const uint8_t *bytes, size_t size);

/* Several numbers: between list_begin and list_end, which says how many were left out. */
void output_list_begin(Output *output, const char *key);
void output_list_unsigned(Output *output, uint64_t number); /* text: 0x in hex */
void output_list_signed(Output *output, int64_t number);
void output_list_bool(Output *output, bool is);
void output_list_end(Output *output, uint64_t left_out);

#endif
