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

/* What every entry says of its migration. NULL without memory. */
static json_t *entry_of(const char *kind, int64_t time_s, const MigrationRecord *record)
{
	char id[2 * MIGRATION_ID_BYTES + 1];

	hex_encode(record->id, sizeof(record->id), id);
	return json_pack("{s:I, s:s, s:s, s:s, s:s, s:s, s:I, s:s}", "time", (json_int_t)time_s,
			 "kind", kind, "migration", id, "role", migration_role_words[record->role],
			 "vm", record->vm, "vm_uuid", record->uuid, "epoch",
			 (json_int_t)record->epoch, "peer", record->peer_id);
}

/* Takes both; NULL if one of them is. */
static char *line_of(json_t *object, json_t *more)
{
	char *text = NULL;

	if (object && more && !json_object_update(object, more))
		text = json_text_new(object, JSON_COMPACT | JSON_ENSURE_ASCII);
	json_decref(object);
	json_decref(more);
	return text;
}

static char *line_of_decision(const LedgerEntry *entry)
{
	json_t *more = json_pack("{s:I, s:s, s:s}", "uid", (json_int_t)entry->uid, "action",
				 entry->action, "outcome", entry->refused ? "refused" : "begun");

	if (more && entry->refused)
		(void)json_object_set_new(more, "reason", json_string(entry->refused->text));
	return line_of(entry_of("decision", entry->time_s, entry->migration), more);
}

static char *line_of_violation(const LedgerViolation *violation)
{
	json_t *more = json_pack("{s:s, s:s}", "guard", violation->migration->guard, "outcome",
				 violation->warned ? "warned" : "refused");

	if (more && violation->more) {
		(void)json_object_set_new(more, "more", json_integer((json_int_t)violation->more));
	} else if (more) {
		(void)json_object_set_new(more, "rule", json_string(violation->rule));
		(void)json_object_set_new(more, "channel",
					  json_integer((json_int_t)violation->channel));
		(void)json_object_set_new(more, "text", json_string(violation->text));
	}
	if (more && violation->omitted)
		(void)json_object_set_new(more, "omitted",
					  json_integer((json_int_t)violation->omitted));
	return line_of(entry_of("guard", violation->time_s, violation->migration), more);
}

/* Whether the file ends in the middle of a line. */
static bool is_torn(int fd)
{
	struct stat status;
	char last;

	return !fstat(fd, &status) && status.st_size > 0 &&
	       pread(fd, &last, 1, status.st_size - 1) == 1 && last != '\n';
}

/* `text` is the line without its end, NULL if there was no memory for it. */
static bool append(const char *state_directory, const char *text, Error *err)
{
	AUTO_FD int directory = open(state_directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	AUTO_FD int fd =
		directory < 0
			? -1
			: openat(directory, LEDGER_NAME,
				 O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK,
				 0600);
	AUTO_BUFFER Buffer line = BUFFER_INIT(LIMIT_API_LINE);

	if (fd < 0)
		return error_set_errno(err, ERROR_IO, errno, "cannot open %s/%s", state_directory,
				       LEDGER_NAME);
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

bool ledger_append(const char *state_directory, const LedgerEntry *entry, Error *err)
{
	AUTO_FREE char *text = line_of_decision(entry);

	return append(state_directory, text, err);
}

bool ledger_append_violation(const char *state_directory, const LedgerViolation *violation,
			     Error *err)
{
	AUTO_FREE char *text = line_of_violation(violation);

	return append(state_directory, text, err);
}
