/* SPDX-License-Identifier: Apache-2.0 */
#include "programs/cli/help.h"

static const CliOption shared_options[] = {
	{ "socket", "PATH",
	  "the engine's socket; else $SEALIFT_SOCKET, else /run/sealift/sealiftd.sock" },
	{ "json", NULL, "one JSON object a line" },
	{ "help", NULL, "explain instead of doing" },
	{ NULL, NULL, NULL },
};

static void print_options(const CliOption *options, FILE *stream)
{
	for (; options && options->name; options++) {
		int used = fprintf(stream, "  --%s%s%s", options->name, options->value ? " " : "",
				   options->value ? options->value : "");

		fprintf(stream, "%*s%s\n", used < 26 ? 26 - used : 2, "", options->help);
	}
}

void help_print_all(FILE *stream)
{
	fprintf(stream, "usage: sealift [--socket PATH] [--json] COMMAND [ARGUMENT...]\n\n");
	for (size_t i = 0; i < cli_commands_count; i++)
		fprintf(stream, "  %-16s%s\n", cli_commands[i].name, cli_commands[i].help);
	fprintf(stream, "\nWith every command:\n");
	print_options(shared_options, stream);
	fprintf(stream, "\n`sealift help COMMAND` explains one; sealift(1) is the manual.\n");
}

void help_print_command(const CliCommand *command, FILE *stream)
{
	fprintf(stream, "usage: sealift %s%s%s\n\n%s\n", command->name, command->args[0] ? " " : "",
		command->args, command->help);
	if (command->options)
		fputc('\n', stream);
	print_options(command->options, stream);
}

/* A group such as "vm" has no row of its own: all of its commands are explained. */
static bool print_group(const char *first)
{
	bool found = false;

	for (size_t i = 0; i < cli_commands_count; i++) {
		const char *name = cli_commands[i].name;
		size_t length = 0;

		while (first[length] && first[length] == name[length])
			length++;
		if (first[length] || name[length] != ' ')
			continue;
		if (found)
			putchar('\n');
		help_print_command(&cli_commands[i], stdout);
		found = true;
	}
	return found;
}

bool cmd_help(CliContext *context, const CliInput *input, Error *err)
{
	char option[] = "--help";
	const CliCommand *command;
	int words;

	if (!input->words_count) {
		help_print_all(stdout);
		return true;
	}
	if (input->words_count == 1 && input->words[0][0] && print_group(input->words[0]))
		return true;
	command = cli_command_find((int)input->words_count, input->words, &words, err);
	if (!command)
		return false;
	if (command->run_raw) {
		char *argv[] = { input->words[0], option, NULL };

		context->status = command->run_raw(2, argv);
		return true;
	}
	help_print_command(command, stdout);
	return true;
}
