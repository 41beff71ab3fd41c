/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/schema.h"
#include "crypto/pki_directory_internal.h"

enum {
	INDEX_MAX = 2 << 20, /* bytes; PKI_CERTIFICATES_MAX lines fit */
	LINE_FIELDS = 6,
	LINE_BYTES = 256,
};

static const char header[] = "sealift-pki 1 ";
static const char revoked_mark[] = "revoked@";

static const char *const kind_words[] = {
	[PKI_KIND_HOST_TLS] = "host-tls",
	[PKI_KIND_HOST_SIGN] = "host-sign",
	[PKI_KIND_AUTHORITY_SIGN] = "authority-sign",
	[PKI_KIND_KEYD_SIGN] = "keyd-sign",
	[PKI_KIND_KEYD_AGREE] = "keyd-agree",
};
static_assert(ARRAY_SIZE(kind_words) == PKI_KIND_COUNT, "one word for each kind");

const char *pki_kind_word(PkiKind kind)
{
	assert(kind < PKI_KIND_COUNT);
	return kind_words[kind];
}

bool pki_index_add(PkiDirectory *directory, const PkiRecord *record, Error *err)
{
	PkiRecord *grown;

	if (directory->n_records == PKI_CERTIFICATES_MAX)
		return error_set(err, ERROR_LIMIT,
				 "index has %d certificates, the most there may be",
				 PKI_CERTIFICATES_MAX);
	grown = reallocarray(directory->records, directory->n_records + 1, sizeof(*grown));
	if (!grown)
		return error_set(err, ERROR_INTERNAL, "no memory for the index");
	directory->records = grown;
	grown[directory->n_records++] = *record;
	return true;
}

bool pki_index_write(const PkiDirectory *directory, Error *err)
{
	AUTO_BUFFER Buffer text = BUFFER_INIT(INDEX_MAX);
	char path[PKI_FILE_PATH], line[LINE_BYTES], hex[PKI_SERIAL_HEX];
	int length = snprintf(line, sizeof(line), "%s%s\n", header, directory->domain);

	if (!buffer_put(&text, line, (size_t)length, err))
		return false;
	for (size_t i = 0; i < directory->n_records; i++) {
		const PkiRecord *record = &directory->records[i];

		hex_encode(record->serial, sizeof(record->serial), hex);
		length = snprintf(line, sizeof(line), "%s %s %s %s %" PRId64 " ", hex,
				  pki_kind_word(record->kind), record->name, record->root,
				  record->not_after_s);
		if (!buffer_put(&text, line, (size_t)length, err))
			return false;
		length = record->revoked_s ? snprintf(line, sizeof(line), "%s%" PRId64 "\n",
						      revoked_mark, record->revoked_s)
					   : snprintf(line, sizeof(line), "valid\n");
		if (!buffer_put(&text, line, (size_t)length, err))
			return false;
	}
	pki_path(directory, path, "index");
	return file_replace(path, text.data, text.used, PKI_MODE_PRIVATE, err);
}

static bool parse_time(const char *text, int64_t *ret_time_s)
{
	char *end = NULL;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	*ret_time_s = strtoll(text, &end, 10);
	return !errno && !*end;
}

static bool parse_kind(const char *word, PkiKind *ret_kind)
{
	for (unsigned int i = 0; i < PKI_KIND_COUNT; i++)
		if (!strcmp(kind_words[i], word)) {
			*ret_kind = (PkiKind)i;
			return true;
		}
	return false;
}

static bool parse_status(const char *word, int64_t *ret_revoked_s)
{
	*ret_revoked_s = 0;
	if (!strcmp(word, "valid"))
		return true;
	return !strncmp(word, revoked_mark, strlen(revoked_mark)) &&
	       parse_time(word + strlen(revoked_mark), ret_revoked_s) && *ret_revoked_s > 0;
}

static bool copy_word(char *ret, size_t size, const char *word)
{
	if (strlen(word) >= size || !text_is(TEXT_NAME, word, 1))
		return false;
	memcpy(ret, word, strlen(word) + 1);
	return true;
}

/* Cuts the line, in place, at its spaces. */
static bool parse_line(char *line, PkiRecord *ret)
{
	char *fields[LINE_FIELDS], *rest = line;
	PkiRecord record = { 0 };
	int n = 0;

	for (char *word = strsep(&rest, " "); word; word = strsep(&rest, " ")) {
		if (n == LINE_FIELDS)
			return false;
		fields[n++] = word;
	}
	if (n != LINE_FIELDS || strlen(fields[0]) != PKI_SERIAL_HEX - 1 ||
	    !hex_decode(fields[0], record.serial, sizeof(record.serial)) ||
	    !parse_kind(fields[1], &record.kind) ||
	    !copy_word(record.name, sizeof(record.name), fields[2]) ||
	    !copy_word(record.root, sizeof(record.root), fields[3]) ||
	    !parse_time(fields[4], &record.not_after_s) ||
	    !parse_status(fields[5], &record.revoked_s))
		return false;
	*ret = record;
	return true;
}

static bool parse_header(PkiDirectory *directory, const char *line)
{
	const char *domain = line + strlen(header);

	if (strncmp(line, header, strlen(header)) || !text_is(TEXT_DOMAIN, domain, 1) ||
	    strlen(domain) >= sizeof(directory->domain))
		return false;
	memcpy(directory->domain, domain, strlen(domain) + 1);
	return true;
}

bool pki_index_read(PkiDirectory *directory, Error *err)
{
	AUTO_BUFFER Buffer text = BUFFER_INIT(INDEX_MAX);
	char path[PKI_FILE_PATH];
	char *rest;
	int number = 0;

	pki_path(directory, path, "index");
	if (!file_read(path, INDEX_MAX - 1, &text, err))
		return false;
	if (!text.used || text.data[text.used - 1] != '\n' || memchr(text.data, '\0', text.used))
		return error_set(err, ERROR_CONFIG, "%s: is cut or not text", path);
	text.data[text.used - 1] = '\0';
	rest = (char *)text.data;
	for (char *line = strsep(&rest, "\n"); line; line = strsep(&rest, "\n")) {
		PkiRecord record = { 0 };

		number++;
		if (number == 1 ? !parse_header(directory, line) : !parse_line(line, &record))
			return error_set(err, ERROR_CONFIG, "%s:%d: not a line of an index", path,
					 number);
		if (number > 1 && !pki_index_add(directory, &record, err))
			return false;
	}
	return true;
}
