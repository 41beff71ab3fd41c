/* SPDX-License-Identifier: Apache-2.0 */
/* `sealift`: what a person uses. It holds nothing: all is asked of the engine (docs/API.md). */
#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "programs/cli/command.h"
#include "programs/cli/help.h"
#include "programs/cli/text.h"
#include "wire/json.h"

static const char default_socket[] = "/run/sealift/sealiftd.sock";

/* One line for people; with --json the same for machines. */
static int report_failure(const CliContext *context, const Error *err)
{
	fflush(stdout);
	fprintf(stderr, "sealift: %s\n", err->text);
	if (context->json) {
		json_t *object = json_pack("{s:{s:s, s:s}}", "error", "category",
					   error_word(err->category), "text", err->text);
		Error unwritable = ERROR_INIT;

		if (object && !text_print_json(stdout, object, &unwritable))
			fprintf(stderr, "sealift: %s\n", unwritable.text);
		json_decref(object);
	}
	return error_exit_status(err->category);
}

/* The options before the command; *ret_instead is 'h' or 'V' if one of them is all that was asked.
 */
static bool read_globals(int argc, char **argv, CliContext *context, int *ret_instead, Error *err)
{
	static const struct option options[] = {
		{ "socket", required_argument, NULL, 's' },
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ 0 },
	};
	int given;

	opterr = 0;
	while ((given = getopt_long(argc, argv, "+:hV", options, NULL)) >= 0) {
		if (given == 's')
			context->socket_path = optarg;
		else if (given == 'j')
			context->json = true;
		else if (given == 'h' || given == 'V')
			*ret_instead = given;
		else
			return error_set(err, ERROR_USAGE,
					 "%s %.64s; `sealift help` lists the options",
					 given == ':' ? "a value is needed by" : "unknown option",
					 argv[optind - 1]);
	}
	return true;
}

static bool run_command(const CliCommand *command, int argc, char **argv, CliContext *context,
			Error *err)
{
	CliInput input;
	bool help;

	if (command->run_raw) {
		context->status = command->run_raw(argc, argv);
		return true;
	}
	if (!cli_input_read(command, argc, argv, context, &input, &help, err))
		return false;
	if (help) {
		help_print_command(command, stdout);
		return true;
	}
	return command->run(context, &input, err);
}

static bool run(int argc, char **argv, CliContext *context, Error *err)
{
	const CliInput nothing = { 0 };
	const CliCommand *command;
	int instead = 0, words = 0, rest;

	if (!read_globals(argc, argv, context, &instead, err))
		return false;
	if (instead)
		return (instead == 'h' ? cmd_help : cmd_version)(context, &nothing, err);
	rest = optind;
	command = cli_command_find(argc - rest, argv + rest, &words, err);
	if (!command)
		return false;
	rest += words - 1;
	return run_command(command, argc - rest, argv + rest, context, err);
}

int main(int argc, char **argv)
{
	const char *socket_path = getenv("SEALIFT_SOCKET");
	CliContext context = { .socket_path =
				       socket_path && *socket_path ? socket_path : default_socket };
	Error err = ERROR_INIT;

	json_end_without_memory();
	if (!run(argc, argv, &context, &err))
		return report_failure(&context, &err);
	if (fflush(stdout) || ferror(stdout)) {
		error_set_errno(&err, ERROR_IO, errno, "cannot write the result");
		return report_failure(&context, &err);
	}
	return context.status;
}
