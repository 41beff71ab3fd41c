/* SPDX-License-Identifier: Apache-2.0 */
/* What can be asked of migrations that exist: status, cancel, resolve; and the events of all. */
#include <string.h>

#include "programs/cli/api.h"
#include "programs/cli/command.h"
#include "programs/cli/follow.h"
#include "programs/cli/report.h"
#include "programs/cli/text.h"

typedef enum StatusOption { STATUS_WATCH } StatusOption;
const CliOption cmd_status_options[] = {
	[STATUS_WATCH] = { "watch", NULL, "follow it to its end" },
	{ NULL, NULL, NULL },
};

typedef enum ResolveOption { RESOLVE_RUN_HERE, RESOLVE_DISCARD, RESOLVE_YES } ResolveOption;
const CliOption cmd_resolve_options[] = {
	[RESOLVE_RUN_HERE] = { "run-here", NULL, "let the VM run on here, at the source" },
	[RESOLVE_DISCARD] = { "discard", NULL, "give the loaded copy up, at the destination" },
	[RESOLVE_YES] = { "yes", NULL, "do not ask whether you are sure" },
	{ NULL, NULL, NULL },
};

static bool ask_status(Api *api, const char *migration, json_t **ret_body, Error *err)
{
	AUTO_JSON json_t *arguments = json_object();

	if (migration && !api_put_text(arguments, "migration", migration, err))
		return false;
	return api_call(api, "status", TAKE_PTR(arguments), API_TIMEOUT_MS, ret_body, err);
}

/* The id of the only active migration, copied to *ret_id (the caller frees it). */
static bool find_only_active(const json_t *body, char **ret_id, Error *err)
{
	const json_t *found = NULL;
	size_t count = 0;
	char id[REPORT_ID_SHORT], other[REPORT_ID_SHORT];

	for (size_t i = 0; i < api_count(body, "migrations"); i++) {
		const json_t *migration = api_item(body, "migrations", i);

		if (!report_is_active(migration) || !api_text(migration, "migration"))
			continue;
		if (count++)
			report_short_id(migration, other);
		else
			found = migration;
	}
	if (!found)
		return error_set(err, ERROR_NOT_FOUND, "no migration is active");
	report_short_id(found, id);
	if (count > 1)
		return error_set(err, ERROR_CONFLICT,
				 "%zu migrations are active, such as %s and %s: name one", count,
				 id, other);
	*ret_id = strdup(api_text(found, "migration"));
	return *ret_id || error_set(err, ERROR_INTERNAL, "no memory for a name");
}

static bool print_table(const json_t *body, Error *err)
{
	static const char *const headings[] = { "MIGRATION", "VM",   "ROLE", "PEER", "PHASE",
						"STATE",     "DONE", "TIME", NULL };
	AUTO_TEXT_TABLE TextTable *table = text_table_new(headings, err);

	for (size_t i = 0; table && i < api_count(body, "migrations"); i++) {
		const json_t *migration = api_item(body, "migrations", i);
		char id[REPORT_ID_SHORT], percent[TEXT_NUMBER_SIZE] = "",
					  elapsed[TEXT_NUMBER_SIZE] = "";
		double number;

		report_short_id(migration, id);
		if (api_number(migration, "percent", &number))
			snprintf(percent, sizeof(percent), "%.0f %%", number > 100 ? 100 : number);
		/* A destination's report knows no time from the command: 0. */
		if (api_number(migration, "elapsed_ms", &number) ||
		    (api_number(json_object_get(migration, "report"), "total_ms", &number) &&
		     number > 0))
			text_duration(number, elapsed);
		const char *const cells[] = { id,
					      api_text(migration, "vm"),
					      api_text(migration, "role"),
					      api_text(migration, "peer"),
					      api_text(migration, "phase"),
					      api_text(migration, "state"),
					      percent,
					      elapsed };
		if (!text_table_add(table, cells, err))
			return false;
	}
	if (table)
		text_table_print(table, "no migrations", stdout);
	return table != NULL;
}

static bool watch(CliContext *context, const char *migration, Error *err)
{
	AUTO_JSON json_t *body = NULL;
	AUTO_FREE char *only = NULL;
	AUTO_API Api *api = api_open(context->socket_path, err);

	if (!api || !api_call(api, "events", NULL, API_TIMEOUT_MS, NULL, err))
		return false;
	if (!migration &&
	    (!ask_status(api, NULL, &body, err) || !find_only_active(body, &only, err)))
		return false;
	return follow_migration(context, api, migration ? migration : only, false, err);
}

bool cmd_status(CliContext *context, const CliInput *input, Error *err)
{
	const char *migration = input->words_count ? input->words[0] : NULL;
	AUTO_JSON json_t *body = NULL;
	AUTO_API Api *api = NULL;

	if (input->values[STATUS_WATCH])
		return watch(context, migration, err);
	api = api_open(context->socket_path, err);
	if (!api || !ask_status(api, migration, &body, err))
		return false;
	if (context->json)
		return text_print_json_list(stdout, body, "migrations", err);
	if (!migration)
		return print_table(body, err);
	for (size_t i = 0; i < api_count(body, "migrations"); i++)
		report_print_details(stdout, api_item(body, "migrations", i));
	return true;
}

bool cmd_cancel(CliContext *context, const CliInput *input, Error *err)
{
	AUTO_JSON json_t *arguments = json_object(), *list = NULL, *body = NULL;
	AUTO_FREE char *only = NULL;
	AUTO_API Api *api = api_open(context->socket_path, err);
	const char *migration = input->words_count ? input->words[0] : NULL;

	if (!api)
		return false;
	if (!migration) {
		if (!ask_status(api, NULL, &list, err) || !find_only_active(list, &only, err))
			return false;
		migration = only;
	}
	if (!api_put_text(arguments, "migration", migration, err) ||
	    !api_call(api, "cancel", TAKE_PTR(arguments), API_TIMEOUT_MS, &body, err))
		return false;
	if (context->json)
		return text_print_json(stdout, body, err);
	fputs("cancelling ", stdout);
	text_print(stdout, migration);
	fputs("; `sealift status` shows its end\n", stdout);
	return true;
}

/* What each decision means, with the VM and the peer (twice) to fill in. */
static const char run_here_text[] =
	"Migration %s of %s was committed, and %s has not said whether it runs there.\n"
	"--run-here lets it run on this host. If it runs on %s too, there will be two of it, and\n"
	"both will write to its disks. Sealift cannot find out; only you can, for example because\n"
	"that machine is switched off or its QEMU is known to be gone. The decision is logged.\n"
	"Is the copy on that host dead for certain? Type yes: ";
static const char discard_text[] =
	"Migration %s of %s is loaded here and waits for the decision of %s.\n"
	"--discard gives this copy up. If the one on %s is gone too, the VM is lost.\n"
	"Should the source still decide for this host, it is told that it may keep the VM.\n"
	"Give this copy up? Type yes: ";

static bool confirm(const json_t *migration, bool run_here, Error *err)
{
	char vm[TEXT_CELL_SIZE], peer[TEXT_CELL_SIZE], id[REPORT_ID_SHORT], answer[16] = "";

	if (!isatty(STDIN_FILENO))
		return error_set(err, ERROR_USAGE,
				 "resolve: nobody can be asked here; say --yes if you are sure%s",
				 run_here ? " that the other copy is dead" : "");
	text_escape(api_text(migration, "vm"), vm, sizeof(vm));
	text_escape(api_text(migration, "peer"), peer, sizeof(peer));
	report_short_id(migration, id);
	if (run_here)
		fprintf(stderr, run_here_text, id, vm, peer, peer);
	else
		fprintf(stderr, discard_text, id, vm, peer, peer);
	fflush(stderr);
	if (!fgets(answer, sizeof(answer), stdin) || strcmp(answer, "yes\n"))
		return error_set(err, ERROR_CANCELLED, "nothing was changed");
	return true;
}

bool cmd_resolve(CliContext *context, const CliInput *input, Error *err)
{
	AUTO_JSON json_t *arguments = json_object(), *list = NULL, *body = NULL;
	AUTO_API Api *api = NULL;
	bool run_here = input->values[RESOLVE_RUN_HERE] != NULL;
	const char *id;

	if (run_here == (input->values[RESOLVE_DISCARD] != NULL))
		return error_set(err, ERROR_USAGE,
				 "resolve: --run-here or --discard is needed; see `sealift help resolve`");
	api = api_open(context->socket_path, err);
	if (!api || !ask_status(api, input->words[0], &list, err))
		return false;
	/* What the person confirms and what is done must be the same migration: its whole id. */
	id = api_text(api_item(list, "migrations", 0), "migration");
	if (api_count(list, "migrations") != 1 || !id)
		return error_set(err, ERROR_NOT_FOUND, "there is no one migration \"%.64s\"",
				 input->words[0]);
	if (!input->values[RESOLVE_YES] && !confirm(api_item(list, "migrations", 0), run_here, err))
		return false;
	if (!api_put_text(arguments, "migration", id, err) ||
	    !api_put_text(arguments, "action", run_here ? "run-here" : "discard", err) ||
	    !api_call(api, "resolve", TAKE_PTR(arguments), API_TIMEOUT_SLOW_MS, &body, err))
		return false;
	if (context->json)
		return text_print_json(stdout, body, err);
	fputs(run_here ? "resolved: the VM runs here\n" : "resolved: the copy is given up\n", stdout);
	return true;
}

static void print_event(const json_t *event)
{
	const char *name = api_text(event, "event");
	const json_t *data = json_object_get(event, "data");
	static const char *const members[] = { "migration", "name",  "vm",	"peer",
					       "phase",	    "state", "percent", "text" };
	char when[TEXT_NUMBER_SIZE] = "-";
	double seconds, number;

	if (api_number(event, "time", &seconds) && seconds < 1e15)
		text_time((uint64_t)seconds, when);
	printf("%s ", when);
	text_print(stdout, name);
	for (size_t i = 0; i < ARRAY_SIZE(members); i++) {
		const char *text = api_text(data, members[i]);

		if (text) {
			printf(" %s=", members[i]);
			text_print(stdout, text);
		} else if (api_number(data, members[i], &number)) {
			printf(" %s=%.0f", members[i], number);
		}
	}
	putchar('\n');
	fflush(stdout);
}

bool cmd_events(CliContext *context, const CliInput *input, Error *err)
{
	AUTO_API Api *api = api_open(context->socket_path, err);
	bool lines = context->json || !isatty(STDOUT_FILENO);

	(void)input;
	if (!api || !api_call(api, "events", NULL, API_TIMEOUT_MS, NULL, err))
		return false;
	for (;;) {
		AUTO_API_MESSAGE ApiMessage message = { 0 };

		if (!api_wait(api, &message, err))
			return false;
		if (message.kind != API_EVENT)
			return error_set(err, ERROR_PEER,
					 "the engine answered a question never asked");
		if (!lines)
			print_event(message.body);
		else if (!text_print_json(stdout, message.body, err))
			return false;
		if (ferror(stdout))
			return error_set(err, ERROR_IO, "cannot write the events");
	}
}
