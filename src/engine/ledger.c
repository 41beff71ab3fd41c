/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/ledger.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buffer.h"
#include "base/file.h"
#include "wire/json.h"

static char *line_of(const LedgerEntry *entry)
{
	const MigrationRecord *record = entry->migration;
	char id[2 * MIGRATION_ID_BYTES + 1];
	json_t *object;
	char *text;

	hex_encode(record->id, sizeof(record->id), id);
	object = json_pack("{s:I, s:I, s:s, s:s, s:s, s:s, s:s, s:I, s:s, s:s}", "time",
			   (json_int_t)entry->time_s, "uid", (json_int_t)entry->uid, "action",
			   entry->action, "migration", id, "role",
			   migration_role_words[record->role], "vm", record->vm, "vm_uuid",
			   record->uuid, "epoch", (json_int_t)record->epoch, "peer",
			   record->peer_id, "outcome", entry->refused ? "refused" : "begun");
	if (object && entry->refused)
		(void)json_object_set_new(object, "reason", json_string(entry->refused->text));
	text = object ? json_text_new(object, JSON_COMPACT | JSON_ENSURE_ASCII) : NULL;
	json_decref(object);
	return text;
}

/* Whether the file ends in the middle of a line. */
static bool is_torn(int fd)
{
	struct stat status;
	char last;

	return !fstat(fd, &status) && status.st_size > 0 &&
	       pread(fd, &last, 1, status.st_size - 1) == 1 && last != '\n';
}

bool ledger_append(const char *state_directory, const LedgerEntry *entry, Error *err)
{
	AUTO_FD int directory = open(state_directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	AUTO_FD int fd =
		directory < 0
			? -1
			: openat(directory, LEDGER_NAME,
				 O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK,
				 0600);
	AUTO_BUFFER Buffer line = BUFFER_INIT(LIMIT_API_LINE);
	AUTO_FREE char *text = NULL;

	if (fd < 0)
		return error_set_errno(err, ERROR_IO, errno, "cannot open %s/%s", state_directory,
				       LEDGER_NAME);
	text = line_of(entry);
	if (!text)
		return error_set(err, ERROR_INTERNAL, "no memory for a line of %s", LEDGER_NAME);
	if ((is_torn(fd) && !buffer_put(&line, "\n", 1, err)) ||
	    !buffer_put(&line, text, strlen(text), err) || !buffer_put(&line, "\n", 1, err))
		return false;
	if (!file_write_fd(fd, line.data, line.used, err))
		return error_prefix(err, "%s/%s", state_directory, LEDGER_NAME);
	if (fsync(fd) || fsync(directory))
		return error_set_errno(err, ERROR_IO, errno, "cannot sync %s/%s", state_directory,
				       LEDGER_NAME);
	return true;
}
