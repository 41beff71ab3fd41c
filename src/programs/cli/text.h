/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text for people. Whatever came from the engine (and through it perhaps from a peer or a guest) is
 * escaped here: a terminal obeys control bytes.
 */
#ifndef SEALIFT_PROGRAMS_CLI_TEXT_H
#define SEALIFT_PROGRAMS_CLI_TEXT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "base/error.h"

enum {
	TEXT_NUMBER_SIZE = 32, /* for the formatted numbers below */
	TEXT_CELL_SIZE = 160,  /* of a table */
	TEXT_COLUMNS_MAX = 10,
};

/* Copies printable ASCII and writes every other byte as \xNN, cut to size - 1 bytes, never in the
 * middle of an escape. NULL becomes "-". */
void text_escape(const char *text, char *out, size_t size);
/* The same to a stream, uncut. */
void text_print(FILE *stream, const char *text);

/* "1.5 GiB" (binary), "118 MB/s" (decimal, as links are sold), "0.43 ms", "41 ms", "12.3 s", "3 min
 * 20 s". */
void text_bytes(uint64_t bytes, char out[TEXT_NUMBER_SIZE]);
void text_rate(uint64_t bytes_per_second, char out[TEXT_NUMBER_SIZE]);
void text_duration(double milliseconds, char out[TEXT_NUMBER_SIZE]);
/* Seconds since 1970 as UTC, "2026-03-01 12:00:00"; "-" past the year 9999. */
void text_time(uint64_t seconds, char out[TEXT_NUMBER_SIZE]);

/* One compact JSON object and a newline, ASCII only, flushed. ERROR_IO. */
MUST_CHECK bool text_print_json(FILE *stream, const json_t *object, Error *err);
/* Each item of a list on a line of its own. ERROR_IO. */
MUST_CHECK bool text_print_json_list(FILE *stream, const json_t *object, const char *list,
				     Error *err);

/* A table whose columns become as wide as their widest cell. Cells are escaped and cut. */
typedef struct TextTable TextTable;

/* `headings` stays the caller's and ends with NULL, after at most TEXT_COLUMNS_MAX. NULL only with
 * ERROR_INTERNAL. */
MUST_CHECK TextTable *text_table_new(const char *const *headings, Error *err);
void text_table_free(TextTable *table);
DEFINE_CLEANUP(TextTable, text_table, text_table_free)
#define AUTO_TEXT_TABLE CLEANUP(text_table_cleanup)
/* One cell for each heading; a NULL shows as "-". */
MUST_CHECK bool text_table_add(TextTable *table, const char *const *cells, Error *err);
/* Nothing but `empty` and a newline if there is no row. */
void text_table_print(const TextTable *table, const char *empty, FILE *stream);

#endif
