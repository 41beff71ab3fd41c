/* SPDX-License-Identifier: Apache-2.0 */
/* `sealift key`: the keys of VMs, which the key manager of this host keeps. No value of a key comes
 * by here, but for the root key that `key root init` makes and leaves in its file. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/file.h"
#include "crypto/random.h"
#include "programs/cli/api.h"
#include "programs/cli/command.h"
#include "programs/cli/parse.h"
#include "programs/cli/text.h"

enum {
	ROOT_BYTES = 32,
	VERIFY_TIMEOUT_MS = 60 * 60 * 1000, /* a large store: it is read as a whole, by and by */
};

typedef enum CreateOption { CREATE_PURPOSE, CREATE_BACKEND } CreateOption;
const CliOption cmd_key_create_options[] = {
	[CREATE_PURPOSE] = { "purpose", "image|tpm-migration|tpm-file",
			     "what it opens; a disk image if not given" },
	[CREATE_BACKEND] = { "backend", "NAME", "who keeps it: `sealift key backends`" },
	{ NULL, NULL, NULL },
};

typedef enum ShowOption { SHOW_VERSION } ShowOption;
const CliOption cmd_key_show_options[] = {
	[SHOW_VERSION] = { "version", "N", "this one; the newest if not given" },
	{ NULL, NULL, NULL },
};

typedef enum DestroyOption { DESTROY_VERSION, DESTROY_YES } DestroyOption;
const CliOption cmd_key_destroy_options[] = {
	[DESTROY_VERSION] = { "version", "N", "this one; every version if not given" },
	[DESTROY_YES] = { "yes", NULL, "do not ask whether you are sure" },
	{ NULL, NULL, NULL },
};

typedef enum AbandonOption { ABANDON_REASON, ABANDON_VERSION, ABANDON_YES } AbandonOption;
const CliOption cmd_key_abandon_options[] = {
	[ABANDON_REASON] = { "reason", "TEXT", "why, for the log; must be given" },
	[ABANDON_VERSION] = { "version", "N", "this one; the newest if not given" },
	[ABANDON_YES] = { "yes", NULL, "do not ask whether you are sure" },
	{ NULL, NULL, NULL },
};

typedef enum AuditOption { AUDIT_FIRST } AuditOption;
const CliOption cmd_key_audit_options[] = {
	[AUDIT_FIRST] = { "first", "N", "the first entry to print; 1 if not given" },
	{ NULL, NULL, NULL },
};

static bool put_number(json_t *arguments, const char *name, const char *text, Error *err)
{
	AUTO_JSON json_t *number = NULL;
	uint64_t value = 0;

	if (!text)
		return true;
	if (!parse_u64(text, name, 1, INT64_MAX, &value, err))
		return false;
	number = json_integer((json_int_t)value);
	return (number && !json_object_set(arguments, name, number)) ||
	       error_set(err, ERROR_INTERNAL, "no memory for a request");
}

/* "2 tpm-file vda" is found out at a glance, a fingerprint is not: its beginning will do. */
static bool add_key(TextTable *table, const json_t *key, Error *err)
{
	char version[TEXT_NUMBER_SIZE] = "-", changed[TEXT_NUMBER_SIZE] = "-";
	uint64_t number;

	if (api_u64(key, "version", &number))
		snprintf(version, sizeof(version), "%llu", (unsigned long long)number);
	if (api_u64(key, "changed_s", &number))
		text_time(number, changed);
	const char *const cells[] = { api_text(key, "id"),	version,
				      api_text(key, "state"),	api_text(key, "vm"),
				      api_text(key, "purpose"), api_text(key, "slot"),
				      api_text(key, "backend"), changed };
	return text_table_add(table, cells, err);
}

static TextTable *key_table(Error *err)
{
	static const char *const headings[] = { "KEY",	"VERSION", "STATE",   "VM", "PURPOSE",
						"SLOT", "BACKEND", "CHANGED", NULL };

	return text_table_new(headings, err);
}

/* Zeros stand for no migration, and for no key; a slot may be called 0. */
static bool is_none(const char *member, const char *text)
{
	return (!strcmp(member, "migration") || !strcmp(member, "key")) && !text[strspn(text, "0")];
}

/* A key with all that is known of it but its value. */
static bool print_key(CliContext *context, const json_t *body, Error *err)
{
	static const char *const members[] = { "id",	      "state",	    "vm",	"purpose",
					       "slot",	      "owner",	    "backend",	"reference",
					       "fingerprint", "exposed_to", "migration" };
	static const char *const numbers[] = { "version", "epoch" };
	static const char *const times[] = { "created_s", "changed_s" };
	const json_t *key = json_object_get(body, "key");
	char when[TEXT_NUMBER_SIZE];
	uint64_t number;

	if (context->json)
		return text_print_json(stdout, key ? key : body, err);
	for (size_t i = 0; i < ARRAY_SIZE(members); i++) {
		const char *text = api_text(key, members[i]);

		if (!text || !text[0] || is_none(members[i], text))
			continue;
		printf("%-12s ", members[i]);
		text_print(stdout, text);
		putchar('\n');
	}
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		if (api_u64(key, numbers[i], &number))
			printf("%-12s %llu\n", numbers[i], (unsigned long long)number);
	for (size_t i = 0; i < ARRAY_SIZE(times); i++) {
		if (!api_u64(key, times[i], &number))
			continue;
		text_time(number, when);
		printf("%-12.7s %s\n", times[i], when);
	}
	return true;
}

static bool ask_for_key(CliContext *context, const char *command, json_t *arguments, Error *err)
{
	AUTO_JSON json_t *body = NULL;

	return api_ask(context->socket_path, command, arguments, API_TIMEOUT_MS, &body, err) &&
	       print_key(context, body, err);
}

bool cmd_key_create(CliContext *context, const CliInput *input, Error *err)
{
	AUTO_JSON json_t *arguments = json_object();
	const char *purpose = input->values[CREATE_PURPOSE];
	const char *backend = input->values[CREATE_BACKEND];

	return api_put_text(arguments, "vm", input->words[0], err) &&
	       api_put_text(arguments, "slot", input->words[1], err) &&
	       (!purpose || api_put_text(arguments, "purpose", purpose, err)) &&
	       (!backend || api_put_text(arguments, "backend", backend, err)) &&
	       ask_for_key(context, "key-create", TAKE_PTR(arguments), err);
}

bool cmd_key_show(CliContext *context, const CliInput *input, Error *err)
{
	AUTO_JSON json_t *arguments = json_object();

	return api_put_text(arguments, "key", input->words[0], err) &&
	       put_number(arguments, "version", input->values[SHOW_VERSION], err) &&
	       ask_for_key(context, "key-show", TAKE_PTR(arguments), err);
}

bool cmd_key_rotate(CliContext *context, const CliInput *input, Error *err)
{
	AUTO_JSON json_t *arguments = json_object();

	return api_put_text(arguments, "key", input->words[0], err) &&
	       ask_for_key(context, "key-rotate", TAKE_PTR(arguments), err);
}

/* One page of keys; *cursor is 0 after the last. */
static bool list_page(CliContext *context, Api *api, const char *vm, uint64_t *cursor,
		      TextTable *table, Error *err)
{
	AUTO_JSON json_t *arguments = json_pack("{s:I}", "cursor", (json_int_t)*cursor);
	AUTO_JSON json_t *body = NULL;

	if (vm && !api_put_text(arguments, "vm", vm, err))
		return false;
	if (!api_call(api, "key-list", TAKE_PTR(arguments), API_TIMEOUT_MS, &body, err))
		return false;
	*cursor = 0;
	(void)api_u64(body, "cursor", cursor);
	if (context->json)
		return text_print_json_list(stdout, body, "keys", err);
	for (size_t i = 0; i < api_count(body, "keys"); i++)
		if (!add_key(table, api_item(body, "keys", i), err))
			return false;
	return true;
}

bool cmd_key_list(CliContext *context, const CliInput *input, Error *err)
{
	AUTO_API Api *api = api_open(context->socket_path, err);
	AUTO_TEXT_TABLE TextTable *table = api ? key_table(err) : NULL;
	uint64_t cursor = 0, before;

	if (!table)
		return false;
	do {
		before = cursor;
		if (!list_page(context, api, input->words_count ? input->words[0] : NULL, &cursor,
			       table, err))
			return false;
	} while (cursor > before);
	if (!context->json)
		text_table_print(table, "no keys; `sealift help key create`", stdout);
	return true;
}

static bool can_ask(const char *command, Error *err)
{
	return isatty(STDIN_FILENO) ||
	       error_set(err, ERROR_USAGE, "%s: nobody can be asked here; say --yes if you are sure",
			 command);
}

/* After the question. */
static bool is_yes(Error *err)
{
	char answer[16] = "";

	fflush(stderr);
	return (fgets(answer, sizeof(answer), stdin) && !strcmp(answer, "yes\n")) ||
	       error_set(err, ERROR_CANCELLED, "nothing was changed");
}

static bool confirm(const char *key, const char *version, Error *err)
{
	char safe[TEXT_CELL_SIZE];

	if (!can_ask("key destroy", err))
		return false;
	text_escape(key, safe, sizeof(safe));
	fprintf(stderr,
		"Whatever only %s of key %s opens cannot be read by anybody any more.\n"
		"Is it no longer needed for certain? Type yes: ",
		version ? "this version" : "a version", safe);
	return is_yes(err);
}

bool cmd_key_destroy(CliContext *context, const CliInput *input, Error *err)
{
	AUTO_JSON json_t *arguments = json_object(), *body = NULL;
	const char *version = input->values[DESTROY_VERSION];
	uint64_t keys = 0, left = 0;

	if (!api_put_text(arguments, "key", input->words[0], err) ||
	    !put_number(arguments, "version", version, err) ||
	    (!input->values[DESTROY_YES] && !confirm(input->words[0], version, err)) ||
	    !api_ask(context->socket_path, "key-destroy", TAKE_PTR(arguments), API_TIMEOUT_MS,
		     &body, err))
		return false;
	if (context->json)
		return text_print_json(stdout, body, err);
	(void)api_u64(body, "keys", &keys);
	(void)api_u64(body, "left", &left);
	printf("destroyed: %llu version%s\n", (unsigned long long)keys, keys == 1 ? "" : "s");
	if (left)
		printf("%llu of their blobs could not be deleted yet; they open nothing (sealift key "
		       "audit)\n",
		       (unsigned long long)left);
	return true;
}

static bool confirm_abandoning(const char *key, Error *err)
{
	char safe[TEXT_CELL_SIZE];

	if (!can_ask("key abandon", err))
		return false;
	text_escape(key, safe, sizeof(safe));
	fprintf(stderr,
		"If key %s left for another host it is active here again, though that host may have\n"
		"it too; if it came from one it is destroyed here.\n"
		"Is its VM where it should be for certain? Type yes: ",
		safe);
	return is_yes(err);
}

bool cmd_key_abandon(CliContext *context, const CliInput *input, Error *err)
{
	AUTO_JSON json_t *arguments = json_object();
	const char *reason = input->values[ABANDON_REASON];

	if (!reason)
		return error_set(err, ERROR_USAGE, "key abandon: --reason is missing");
	return api_put_text(arguments, "key", input->words[0], err) &&
	       api_put_text(arguments, "reason", reason, err) &&
	       put_number(arguments, "version", input->values[ABANDON_VERSION], err) &&
	       (input->values[ABANDON_YES] || confirm_abandoning(input->words[0], err)) &&
	       ask_for_key(context, "key-abandon", TAKE_PTR(arguments), err);
}

bool cmd_key_backends(CliContext *context, const CliInput *input, Error *err)
{
	static const char *const headings[] = { "BACKEND", "TYPE", "STATE", "", NULL };
	AUTO_TEXT_TABLE TextTable *table = NULL;
	AUTO_JSON json_t *body = NULL;

	(void)input;
	if (!api_ask(context->socket_path, "key-backends", NULL, API_TIMEOUT_MS, &body, err))
		return false;
	if (context->json)
		return text_print_json(stdout, body, err);
	fputs("root key: ", stdout);
	text_print(stdout, api_text(body, "root"));
	fputs("\n\n", stdout);
	table = text_table_new(headings, err);
	for (size_t i = 0; table && i < api_count(body, "backends"); i++) {
		const json_t *backend = api_item(body, "backends", i);
		bool usable = json_is_true(json_object_get(backend, "usable"));
		const char *const cells[] = { api_text(backend, "name"), api_text(backend, "type"),
					      usable ? "ok" : "not usable",
					      api_text(backend, "text") };

		if (!text_table_add(table, cells, err))
			return false;
	}
	if (table)
		text_table_print(table, "no back-ends", stdout);
	return table != NULL;
}

/* --- the log --- */

static void print_entry(const json_t *entry)
{
	static const char *const members[] = { "action", "key", "who", "detail" };
	char when[TEXT_NUMBER_SIZE] = "-";
	uint64_t number;

	if (api_u64(entry, "number", &number))
		printf("%llu ", (unsigned long long)number);
	if (api_u64(entry, "time_s", &number))
		text_time(number, when);
	fputs(when, stdout);
	for (size_t i = 0; i < ARRAY_SIZE(members); i++) {
		const char *text = api_text(entry, members[i]);

		if (!text || !text[0] || is_none(members[i], text))
			continue;
		fputs(i == 3 ? ": " : i == 2 ? " by " : " ", stdout);
		text_print(stdout, text);
		if (i == 1 && api_u64(entry, "version", &number))
			printf(" version %llu", (unsigned long long)number);
	}
	putchar('\n');
}

static bool print_entries(CliContext *context, Api *api, uint64_t *first, bool *ret_more,
			  Error *err)
{
	AUTO_JSON json_t *body = NULL;
	size_t count;

	if (!api_call(api, "key-audit", json_pack("{s:I}", "first", (json_int_t)*first),
		      API_TIMEOUT_MS, &body, err))
		return false;
	count = api_count(body, "entries");
	*first += count;
	*ret_more = count > 0;
	if (context->json)
		return text_print_json_list(stdout, body, "entries", err);
	for (size_t i = 0; i < count; i++)
		print_entry(api_item(body, "entries", i));
	return !ferror(stdout) || error_set(err, ERROR_IO, "cannot write the log");
}

static bool verify(CliContext *context, Error *err)
{
	AUTO_JSON json_t *body = NULL;
	uint64_t entries = 0, keys = 0;

	if (!api_ask(context->socket_path, "key-verify", NULL, VERIFY_TIMEOUT_MS, &body, err))
		return false;
	if (context->json)
		return text_print_json(stdout, body, err);
	(void)api_u64(body, "entries", &entries);
	(void)api_u64(body, "keys", &keys);
	printf("whole: %llu log entries, %llu keys\n", (unsigned long long)entries,
	       (unsigned long long)keys);
	return true;
}

bool cmd_key_audit(CliContext *context, const CliInput *input, Error *err)
{
	AUTO_API Api *api = NULL;
	uint64_t first = 1;
	bool more = true;

	if (input->words_count && strcmp(input->words[0], "verify") != 0)
		return error_set(err, ERROR_USAGE, "key audit: \"%.40s\" is not \"verify\"",
				 input->words[0]);
	if (input->values[AUDIT_FIRST] &&
	    !parse_u64(input->values[AUDIT_FIRST], "--first", 1, INT64_MAX, &first, err))
		return false;
	if (input->words_count)
		return verify(context, err);
	api = api_open(context->socket_path, err);
	if (!api)
		return false;
	while (more)
		if (!print_entries(context, api, &first, &more, err))
			return false;
	return true;
}

/* --- the root key --- */

static bool write_root(int fd, const Secret *root, Error *err)
{
	AUTO_SECRET Secret *text = secret_new(2 * ROOT_BYTES + 1, err);

	if (!text)
		return false;
	hex_encode(secret_peek(root), ROOT_BYTES, (char *)secret_bytes(text));
	secret_bytes(text)[2 * ROOT_BYTES] = '\n';
	if (!file_write_fd(fd, secret_peek(text), secret_size(text), err))
		return false;
	return (!fsync(fd) && !fchmod(fd, 0600)) ||
	       error_set_errno(err, ERROR_IO, errno, "cannot write the root key");
}

bool cmd_key_root(CliContext *context, const CliInput *input, Error *err)
{
	const char *path = input->words[1];
	AUTO_SECRET Secret *root = NULL;
	AUTO_FD int fd = -1;

	(void)context;
	if (strcmp(input->words[0], "init") != 0)
		return error_set(err, ERROR_USAGE, "key root: \"%.40s\" is not \"init\"",
				 input->words[0]);
	root = random_secret(ROOT_BYTES, err);
	if (!root)
		return false;
	/* Never over one that is there: all keys under it would be lost. */
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return error_set_errno(err, errno == EEXIST ? ERROR_CONFLICT : ERROR_IO, errno,
				       "cannot make %.200s", path);
	/* The keys of a store whose root key a power cut took away are lost. */
	if (write_root(fd, root, err) && file_sync_directory_of(path, err))
		return true;
	(void)unlink(path);
	return false;
}
