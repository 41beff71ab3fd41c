/* SPDX-License-Identifier: Apache-2.0 */
#include "programs/cli/text.h"
#include "wire/json.h"

#include <errno.h>
#include <string.h>
#include <time.h>

struct TextTable {
	const char *const *headings;
	size_t columns, rows;
	char (*cells)[TEXT_CELL_SIZE]; /* columns * rows */
};

void text_escape(const char *text, char *out, size_t size)
{
	size_t used = 0;

	for (const unsigned char *p = (const unsigned char *)(text ? text : "-"); *p; p++) {
		bool plain = *p >= 0x20 && *p <= 0x7e;
		size_t needed = plain ? 1 : 4;

		if (size - used <= needed)
			break;
		if (plain)
			out[used] = (char)*p;
		else
			snprintf(out + used, size - used, "\\x%02x", *p);
		used += needed;
	}
	out[used] = '\0';
}

void text_print(FILE *stream, const char *text)
{
	for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
		if (*p >= 0x20 && *p <= 0x7e)
			fputc(*p, stream);
		else
			fprintf(stream, "\\x%02x", *p);
	}
}

/* Three digits that matter: 1.23, 12.3, 123. */
static void format_scaled(double value, const char *unit, char *out)
{
	int decimals = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;

	snprintf(out, TEXT_NUMBER_SIZE, "%.*f %s", decimals, value, unit);
}

static void format_steps(uint64_t number, double step, const char *const *units, char *out)
{
	double value = (double)number;
	size_t i = 0;

	if (value < step) {
		snprintf(out, TEXT_NUMBER_SIZE, "%llu %s", (unsigned long long)number, units[0]);
		return;
	}
	while (value >= step && units[i + 1]) {
		value /= step;
		i++;
	}
	format_scaled(value, units[i], out);
}

void text_bytes(uint64_t bytes, char out[TEXT_NUMBER_SIZE])
{
	static const char *const units[] = { "bytes", "KiB", "MiB", "GiB", "TiB", "PiB", NULL };

	format_steps(bytes, 1024, units, out);
}

void text_rate(uint64_t bytes_per_second, char out[TEXT_NUMBER_SIZE])
{
	static const char *const units[] = { "B/s", "kB/s", "MB/s", "GB/s", "TB/s", NULL };

	format_steps(bytes_per_second, 1000, units, out);
}

void text_duration(double milliseconds, char out[TEXT_NUMBER_SIZE])
{
	uint64_t seconds =
		milliseconds < 1e15 ? (uint64_t)(milliseconds / 1000) : UINT64_MAX / 1000;

	if (milliseconds < 10 && milliseconds != (double)(int)milliseconds)
		snprintf(out, TEXT_NUMBER_SIZE, "%.2f ms", milliseconds);
	else if (milliseconds < 999.5)
		snprintf(out, TEXT_NUMBER_SIZE, "%.0f ms", milliseconds);
	else if (seconds < 120)
		format_scaled(milliseconds / 1000, "s", out);
	else if (seconds < 7200)
		snprintf(out, TEXT_NUMBER_SIZE, "%u min %u s", (unsigned int)(seconds / 60),
			 (unsigned int)(seconds % 60));
	else
		snprintf(out, TEXT_NUMBER_SIZE, "%llu h %u min",
			 (unsigned long long)(seconds / 3600), (unsigned int)(seconds / 60 % 60));
}

void text_time(uint64_t seconds, char out[TEXT_NUMBER_SIZE])
{
	const uint64_t year_10000 = UINT64_C(253402300800);
	time_t when = (time_t)seconds;
	struct tm parts;

	snprintf(out, TEXT_NUMBER_SIZE, "-");
	if (seconds < year_10000 && gmtime_r(&when, &parts))
		strftime(out, TEXT_NUMBER_SIZE, "%Y-%m-%d %H:%M:%S", &parts);
}

bool text_print_json(FILE *stream, const json_t *object, Error *err)
{
	/* 16 digits carry microseconds of this century without inventing more. */
	AUTO_FREE char *text =
		json_text_new(object, JSON_COMPACT | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(16));

	if (!text)
		return error_set(err, ERROR_INTERNAL, "no memory for a line of JSON");
	if (fputs(text, stream) < 0 || fputc('\n', stream) < 0 || fflush(stream))
		return error_set_errno(err, ERROR_IO, errno, "cannot write the result");
	return true;
}

bool text_print_json_list(FILE *stream, const json_t *object, const char *list, Error *err)
{
	const json_t *items = json_object_get(object, list);

	for (size_t i = 0; i < json_array_size(items); i++)
		if (!text_print_json(stream, json_array_get(items, i), err))
			return false;
	return true;
}

TextTable *text_table_new(const char *const *headings, Error *err)
{
	TextTable *table = calloc(1, sizeof(*table));

	if (!table) {
		error_set(err, ERROR_INTERNAL, "no memory for a table");
		return NULL;
	}
	table->headings = headings;
	while (table->columns < TEXT_COLUMNS_MAX && headings[table->columns])
		table->columns++;
	return table;
}

void text_table_free(TextTable *table)
{
	if (!table)
		return;
	free(table->cells);
	free(table);
}

bool text_table_add(TextTable *table, const char *const *cells, Error *err)
{
	size_t used = table->rows * table->columns;
	void *grown = reallocarray(table->cells, used + table->columns, TEXT_CELL_SIZE);

	if (!grown)
		return error_set(err, ERROR_INTERNAL, "no memory for a table");
	table->cells = grown;
	for (size_t i = 0; i < table->columns; i++)
		text_escape(cells[i] && cells[i][0] ? cells[i] : NULL, table->cells[used + i],
			    TEXT_CELL_SIZE);
	table->rows++;
	return true;
}

static const char *table_cell(const TextTable *table, size_t row, size_t column)
{
	return row ? table->cells[(row - 1) * table->columns + column] : table->headings[column];
}

void text_table_print(const TextTable *table, const char *empty, FILE *stream)
{
	size_t widths[TEXT_COLUMNS_MAX] = { 0 };

	if (!table->rows) {
		fprintf(stream, "%s\n", empty);
		return;
	}
	for (size_t row = 0; row <= table->rows; row++) {
		for (size_t column = 0; column < table->columns; column++) {
			size_t width = strlen(table_cell(table, row, column));

			if (width > widths[column])
				widths[column] = width;
		}
	}
	for (size_t row = 0; row <= table->rows; row++) {
		/* Nothing pads the last column, so that no line ends in blanks. */
		for (size_t column = 0; column + 1 < table->columns; column++)
			fprintf(stream, "%-*s  ", (int)widths[column],
				table_cell(table, row, column));
		fprintf(stream, "%s\n", table_cell(table, row, table->columns - 1));
	}
}
