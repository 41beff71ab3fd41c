/* SPDX-License-Identifier: Apache-2.0 */
/* `sealift evidence`: writes what both sides signed in a migration to files that openssl verifies. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bounds.h"
#include "base/schema.h"
#include "crypto/base64.h"
#include "programs/cli/api.h"
#include "programs/cli/command.h"
#include "programs/cli/text.h"

static bool ask(Api *api, const char *migration, const char *piece, json_t **ret_body, Error *err)
{
	AUTO_JSON json_t *arguments = json_object();

	if (!api_put_text(arguments, "migration", migration, err) ||
	    (piece && !api_put_text(arguments, "piece", piece, err)))
		return false;
	return api_call(api, "evidence", TAKE_PTR(arguments), API_TIMEOUT_MS, ret_body, err);
}

/* A file that is there stays as it is: evidence is not written over. */
static bool write_file(int directory, const char *name, const Buffer *der, Error *err)
{
	AUTO_FD int fd = openat(directory, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	size_t done = 0;

	if (fd < 0)
		return error_set_errno(err, ERROR_IO, errno, "%s", name);
	while (done < der->used) {
		ssize_t n = write(fd, der->data + done, der->used - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return error_set_errno(err, ERROR_IO, errno, "%s", name);
		done += (size_t)n;
	}
	return true;
}

static bool write_piece(Api *api, const char *migration, const char *piece, int directory, Error *err)
{
	AUTO_JSON json_t *body = NULL;
	AUTO_BUFFER Buffer der = BUFFER_INIT(LIMIT_PACKAGE);
	char name[LIMIT_NAME + 8];
	const char *text;

	if (!text_is(TEXT_NAME, piece, 1) || strlen(piece) >= LIMIT_NAME)
		return error_set(err, ERROR_PEER, "the engine names a piece that is no name");
	if (!ask(api, migration, piece, &body, err))
		return false;
	text = api_text(body, "cms");
	snprintf(name, sizeof(name), "%s.der", piece);
	if (!text || !base64_decode(text, strlen(text), &der, err))
		return text ? false : error_set(err, ERROR_PEER, "the engine answers without the piece");
	if (!write_file(directory, name, &der, err))
		return false;
	text_print(stdout, name);
	fputc('\n', stdout);
	return true;
}

bool cmd_evidence(CliContext *context, const CliInput *input, Error *err)
{
	const char *path = input->words[1];
	AUTO_JSON json_t *body = NULL;
	AUTO_API Api *api = api_open(context->socket_path, err);
	AUTO_FD int directory = -1;

	if (!api || !ask(api, input->words[0], NULL, &body, err))
		return false;
	if (mkdir(path, 0755) && errno != EEXIST)
		return error_set_errno(err, ERROR_IO, errno, "%s", path);
	directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (directory < 0)
		return error_set_errno(err, ERROR_IO, errno, "%s", path);
	for (size_t i = 0; i < api_count(body, "pieces"); i++) {
		const char *piece = json_string_value(api_item(body, "pieces", i));

		if (!piece || !write_piece(api, input->words[0], piece, directory, err))
			return piece ? false : error_set(err, ERROR_PEER, "the engine names a piece without a name");
	}
	fputs("Each is verified with the root of its signer's domain:\n"
	      "  openssl cms -verify -binary -cades -inform DER -in FILE -CAfile root.crt -purpose any\n",
	      stdout);
	return true;
}
