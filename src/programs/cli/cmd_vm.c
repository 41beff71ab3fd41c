/* SPDX-License-Identifier: Apache-2.0 */
/* `sealift vm`: create, start, list, show, rekey, stop. */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "base/bounds.h"
#include "base/file.h"
#include "programs/cli/api.h"
#include "programs/cli/command.h"
#include "programs/cli/text.h"
#include "wire/json.h"

/* The engine reads relative paths in the file as relative to it, so its absolute name is sent. */
static bool put_vm_file(json_t *arguments, const char *path, Error *err)
{
	AUTO_BUFFER Buffer text = BUFFER_INIT(LIMIT_API_LINE);
	AUTO_FREE char *absolute = realpath(path, NULL);

	if (!absolute)
		return error_set_errno(err, errno == ENOENT ? ERROR_NOT_FOUND : ERROR_IO, errno,
				       "cannot open %.200s", path);
	if (!file_read(absolute, LIMIT_API_LINE - 1, &text, err) || !buffer_put_u8(&text, 0, err))
		return false;
	if (strlen((const char *)text.data) != text.used - 1)
		return error_set(err, ERROR_CONFIG, "%.200s is no text: it holds a NUL byte", path);
	return api_put_text(arguments, "text", (const char *)text.data, err) &&
	       api_put_text(arguments, "file", absolute, err);
}

typedef enum CreateOption { CREATE_ENCRYPTED, CREATE_SPARSE } CreateOption;
const CliOption cmd_vm_create_options[] = {
	[CREATE_ENCRYPTED] = { "encrypted", NULL, "encrypt what is made, with keys of the key manager" },
	[CREATE_SPARSE] = { "sparse", NULL, "let images take their space as they are written" },
	{ NULL, NULL, NULL },
};

static void print_disk(const json_t *disk)
{
	const char *pool = api_text(disk, "pool"), *volume = api_text(disk, "volume");
	const char *key = api_text(disk, "key");
	char size[TEXT_NUMBER_SIZE] = "";
	uint64_t bytes;

	if (api_u64(disk, "size_bytes", &bytes))
		text_bytes(bytes, size);
	fputs(json_is_true(json_object_get(disk, "made")) ? "made " : "is there ", stdout);
	text_print(stdout, pool ? pool : "?");
	putchar('/');
	text_print(stdout, volume ? volume : "?");
	printf(" %s", size);
	if (key) {
		fputs(" key ", stdout);
		text_print(stdout, key);
	}
	putchar('\n');
}

bool cmd_vm_create(CliContext *context, const CliInput *input, Error *err)
{
	AUTO_JSON json_t *arguments = json_object(), *body = NULL;
	bool encrypted = input->values[CREATE_ENCRYPTED], said;

	if (!put_vm_file(arguments, input->words[0], err))
		return false;
	said = strstr(json_string_value(json_object_get(arguments, "text")), "encryption");
	if (json_object_set_new(arguments, "encrypted", json_boolean(encrypted)) ||
	    json_object_set_new(arguments, "sparse", json_boolean(input->values[CREATE_SPARSE])))
		return error_set(err, ERROR_INTERNAL, "no memory for a request");
	if (!api_ask(context->socket_path, "vm-create", TAKE_PTR(arguments), API_TIMEOUT_LONG_MS, &body,
		     err))
		return false;
	if (context->json)
		return text_print_json_list(stdout, body, "disks", err);
	for (size_t i = 0; i < api_count(body, "disks"); i++)
		print_disk(api_item(body, "disks", i));
	if (encrypted && !said)
		puts("to start it, its description must say encryption = \"luks\" of each of these disks");
	return true;
}

bool cmd_vm_start(CliContext *context, const CliInput *input, Error *err)
{
	AUTO_JSON json_t *arguments = json_object(), *body = NULL;
	const char *name;

	if (!put_vm_file(arguments, input->words[0], err) ||
	    !api_ask(context->socket_path, "vm-start", TAKE_PTR(arguments), API_TIMEOUT_SLOW_MS,
		     &body, err))
		return false;
	if (context->json)
		return text_print_json(stdout, body, err);
	name = api_text(json_object_get(body, "vm"), "name");
	fputs("started ", stdout);
	text_print(stdout, name ? name : "?");
	putchar('\n');
	return true;
}

static void format_u64(const json_t *object, const char *name, char out[TEXT_NUMBER_SIZE])
{
	uint64_t value;

	out[0] = '\0';
	if (api_u64(object, name, &value))
		snprintf(out, TEXT_NUMBER_SIZE, "%llu", (unsigned long long)value);
}

static void format_size(const json_t *object, const char *name, char out[TEXT_NUMBER_SIZE])
{
	uint64_t value;

	out[0] = '\0';
	if (api_u64(object, name, &value))
		text_bytes(value, out);
}

bool cmd_vm_list(CliContext *context, const CliInput *input, Error *err)
{
	static const char *const headings[] = { "VM",	"STATE", "MEMORY", "CPUS",
						"MODE", "EPOCH", "UUID",   NULL };
	AUTO_JSON json_t *body = NULL;
	AUTO_TEXT_TABLE TextTable *table = text_table_new(headings, err);

	(void)input;
	if (!table || !api_ask(context->socket_path, "vm-list", NULL, API_TIMEOUT_MS, &body, err))
		return false;
	if (context->json)
		return text_print_json_list(stdout, body, "vms", err);
	for (size_t i = 0; i < api_count(body, "vms"); i++) {
		const json_t *vm = api_item(body, "vms", i);
		char memory[TEXT_NUMBER_SIZE], cpus[TEXT_NUMBER_SIZE], epoch[TEXT_NUMBER_SIZE];

		format_size(vm, "memory_bytes", memory);
		format_u64(vm, "cpus", cpus);
		format_u64(vm, "epoch", epoch);
		const char *const cells[] = { api_text(vm, "name"),
					      api_text(vm, "state"),
					      memory,
					      cpus,
					      api_text(vm, "mode"),
					      epoch,
					      api_text(vm, "uuid") };
		if (!text_table_add(table, cells, err))
			return false;
	}
	text_table_print(table, "no VMs; `sealift help vm start`", stdout);
	return true;
}

static void print_member(const json_t *object, const char *name)
{
	const char *text = api_text(object, name);
	char number[TEXT_NUMBER_SIZE];
	size_t length = strlen(name);

	if (!text && length > strlen("_bytes") &&
	    !strcmp(name + length - strlen("_bytes"), "_bytes"))
		format_size(object, name, number);
	else
		format_u64(object, name, number);
	if (!text && !number[0])
		return;
	printf("  %-14s", name);
	text_print(stdout, text ? text : number);
	putchar('\n');
}

/* What the engine says of disks whose key others have had. */
static void print_exposed(const json_t *exposed)
{
	const char *domain = api_text(exposed, "domain");
	size_t count = api_count(exposed, "disks");

	for (size_t i = 0; i < count; i++) {
		const char *volume = json_string_value(api_item(exposed, "disks", i));

		fputs("  exposed       ", stdout);
		text_print(stdout, domain ? domain : "?");
		fputs(" could still read ", stdout);
		text_print(stdout, volume ? volume : "?");
		puts(" with a header that it kept, until `sealift vm rekey` is done");
	}
}

/* What stands between the VM and its disks of sealed pools. */
static void print_sealed(const json_t *vm)
{
	size_t count = api_count(vm, "sealed_disks");

	for (size_t i = 0; i < count; i++) {
		const json_t *disk = api_item(vm, "sealed_disks", i);
		const char *volume = api_text(disk, "volume"), *daemon = api_text(disk, "daemon");

		fputs("  sealed disk   ", stdout);
		text_print(stdout, volume ? volume : "?");
		fputs(", its storage daemon ", stdout);
		text_print(stdout, daemon ? daemon : "?");
		putchar('\n');
	}
}

bool cmd_vm_show(CliContext *context, const CliInput *input, Error *err)
{
	static const char *const members[] = { "name",	       "uuid", "state",	  "epoch",
					       "owner",	       "mode", "machine", "cpus",
					       "memory_bytes", "pid",  "serial",  "vnc",
					       "moved_to" };
	AUTO_JSON json_t *arguments = json_object(), *body = NULL;
	AUTO_FREE char *manifest = NULL;

	if (!api_put_text(arguments, "vm", input->words[0], err) ||
	    !api_ask(context->socket_path, "vm-show", TAKE_PTR(arguments), API_TIMEOUT_MS, &body,
		     err))
		return false;
	if (context->json)
		return text_print_json(stdout, body, err);
	for (size_t i = 0; i < ARRAY_SIZE(members); i++)
		print_member(json_object_get(body, "vm"), members[i]);
	print_exposed(json_object_get(json_object_get(body, "vm"), "exposed"));
	print_sealed(json_object_get(body, "vm"));
	/* JSON's own escapes make it safe for a terminal. */
	manifest =
		json_text_new(json_object_get(body, "manifest"), JSON_INDENT(2) | JSON_ENSURE_ASCII);
	if (manifest)
		printf("manifest:\n%s\n", manifest);
	return true;
}

/* Whole disks are copied; the engine gives up before. */
enum { REKEY_TIMEOUT_MS = 49 * 3600 * 1000 };

typedef enum RekeyOption { REKEY_DISK, REKEY_CANCEL } RekeyOption;
const CliOption cmd_vm_rekey_options[] = {
	[REKEY_DISK] = { "disk", "VOLUME", "this disk only" },
	[REKEY_CANCEL] = { "cancel", NULL, "give up the one that is under way" },
	{ NULL, NULL, NULL },
};

static void print_rekeyed(const json_t *disk)
{
	const char *volume = api_text(disk, "volume"), *key = api_text(disk, "key");
	char version[TEXT_NUMBER_SIZE];

	format_u64(disk, "version", version);
	fputs("rekeyed ", stdout);
	text_print(stdout, volume ? volume : "?");
	fputs(" key ", stdout);
	text_print(stdout, key ? key : "?");
	printf(" version %s; what opened it before is destroyed\n", version);
}

bool cmd_vm_rekey(CliContext *context, const CliInput *input, Error *err)
{
	AUTO_JSON json_t *arguments = json_object(), *body = NULL;

	if (!api_put_text(arguments, "vm", input->words[0], err) ||
	    (input->values[REKEY_DISK] &&
	     !api_put_text(arguments, "disk", input->values[REKEY_DISK], err)))
		return false;
	if (json_object_set_new(arguments, "cancel", json_boolean(input->values[REKEY_CANCEL])))
		return error_set(err, ERROR_INTERNAL, "no memory for a request");
	if (!api_ask(context->socket_path, "vm-rekey", TAKE_PTR(arguments), REKEY_TIMEOUT_MS, &body,
		     err))
		return false;
	if (context->json)
		return text_print_json_list(stdout, body, "disks", err);
	for (size_t i = 0; i < api_count(body, "disks"); i++)
		print_rekeyed(api_item(body, "disks", i));
	return true;
}

bool cmd_vm_stop(CliContext *context, const CliInput *input, Error *err)
{
	AUTO_JSON json_t *arguments = json_object(), *body = NULL;

	if (!api_put_text(arguments, "vm", input->words[0], err) ||
	    !api_ask(context->socket_path, "vm-stop", TAKE_PTR(arguments), API_TIMEOUT_SLOW_MS,
		     &body, err))
		return false;
	if (context->json)
		return text_print_json(stdout, body, err);
	fputs("stopped ", stdout);
	text_print(stdout, input->words[0]);
	putchar('\n');
	return true;
}
