/* SPDX-License-Identifier: Apache-2.0 */
#include "programs/cli/inspect_output.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/buffer.h"

enum { OFFSET_COLUMNS = 12, KIND_COLUMNS = 15 };

void output_begin(Output *output, uint64_t at, const char *kind)
{
	if (output->json) {
		if (at == OUTPUT_NOWHERE)
			fprintf(output->stream, "{\"kind\":\"%s\"", kind);
		else
			fprintf(output->stream, "{\"at\":%" PRIu64 ",\"kind\":\"%s\"", at, kind);
		return;
	}
	if (at == OUTPUT_NOWHERE)
		fprintf(output->stream, "%*s  %s", OFFSET_COLUMNS, "", kind);
	else
		fprintf(output->stream, "%*" PRIu64 "  %s", OFFSET_COLUMNS, at, kind);
	output->column = (int)strlen(kind);
}

bool output_end(Output *output, Error *err)
{
	fputs(output->json ? "}\n" : "\n", output->stream);
	if (ferror(output->stream))
		return error_set_errno(err, ERROR_IO, errno, "cannot write the result");
	return true;
}

/* What stands between items, and the key. */
static void begin_item(Output *output, const char *key, bool is_word)
{
	if (output->json) {
		fprintf(output->stream, ",\"%s\":", key);
		return;
	}
	if (output->column >= 0)
		fprintf(output->stream, "%*s",
			output->column < KIND_COLUMNS ? KIND_COLUMNS - output->column : 1, "");
	else
		fputs(is_word ? " " : ", ", output->stream);
	if (!is_word)
		fprintf(output->stream, "%s ", key);
	output->column = -1;
}

static void print_bytes(Output *output, const char *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		const unsigned char byte = (unsigned char)bytes[i];

		if (byte < 0x20 || byte > 0x7e)
			fprintf(output->stream, output->json ? "\\u%04x" : "\\x%02x", byte);
		else if (output->json && (byte == '"' || byte == '\\'))
			fprintf(output->stream, "\\%c", byte);
		else
			fputc(byte, output->stream);
	}
}

static void print_quoted(Output *output, const char *bytes, size_t size)
{
	if (output->json)
		fputc('"', output->stream);
	print_bytes(output, bytes, size);
	if (output->json)
		fputc('"', output->stream);
}

void output_word(Output *output, const char *key, const char *text)
{
	begin_item(output, key, true);
	print_quoted(output, text, strlen(text));
}

void output_name(Output *output, const char *key, const char *bytes, size_t size)
{
	begin_item(output, key, false);
	print_quoted(output, bytes, size);
}

void output_number(Output *output, const char *key, uint64_t number)
{
	begin_item(output, key, false);
	fprintf(output->stream, "%" PRIu64, number);
}

void output_flag(Output *output, const char *key, bool is)
{
	if (output->json) {
		begin_item(output, key, false);
		fputs(is ? "true" : "false", output->stream);
	} else if (is) {
		begin_item(output, key, true);
		fputs(key, output->stream);
	}
}

void output_hex(Output *output, const char *key, const uint8_t *bytes, size_t size)
{
	char hex[2 * OUTPUT_HEX_BYTES + 1];
	const size_t shown = size < OUTPUT_HEX_BYTES ? size : OUTPUT_HEX_BYTES;

	hex_encode(bytes, shown, hex);
	begin_item(output, key, false);
	print_quoted(output, hex, 2 * shown);
	if (shown == size)
		return;
	if (output->json)
		fprintf(output->stream, ",\"more\":%zu", size - shown);
	else
		fprintf(output->stream, " (%zu bytes more)", size - shown);
}

void output_list_begin(Output *output, const char *key)
{
	begin_item(output, key, false);
	output->list_first = true;
	if (output->json)
		fputc('[', output->stream);
}

static void begin_element(Output *output)
{
	if (!output->list_first)
		fputs(output->json ? "," : " ", output->stream);
	output->list_first = false;
}

void output_list_unsigned(Output *output, uint64_t number)
{
	begin_element(output);
	fprintf(output->stream, output->json ? "%" PRIu64 : "0x%" PRIx64, number);
}

void output_list_signed(Output *output, int64_t number)
{
	begin_element(output);
	fprintf(output->stream, "%" PRId64, number);
}

void output_list_bool(Output *output, bool is)
{
	begin_element(output);
	fputs(is ? "true" : "false", output->stream);
}

void output_list_end(Output *output, uint64_t left_out)
{
	if (output->json)
		fputc(']', output->stream);
	if (left_out)
		fprintf(output->stream,
			output->json ? ",\"more\":%" PRIu64 : " (%" PRIu64 " elements more)",
			left_out);
}
