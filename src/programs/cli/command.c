/* SPDX-License-Identifier: Apache-2.0 */
#include "programs/cli/command.h"

#include <assert.h>
#include <getopt.h>
#include <stdint.h>
#include <string.h>

enum {
	/* What getopt_long gives for an option; rows of the command's own table count from OWN. */
	GIVEN_JSON = 256,
	GIVEN_SOCKET,
	GIVEN_HELP,
	GIVEN_OWN,
	SHARED_COUNT = 3,
};

/* 0: no match, else how many words of argv the name takes. */
static int match_name(const char *name, int argc, char *const *argv)
{
	const char *space = strchr(name, ' ');

	if (!space)
		return argc > 0 && !strcmp(name, argv[0]) ? 1 : 0;
	if (argc < 2 || strncmp(name, argv[0], (size_t)(space - name)) || argv[0][space - name] ||
	    strcmp(space + 1, argv[1]))
		return 0;
	return 2;
}

/* For a first word that begins several names: "add, remove, ..."; false if it begins none. */
static bool list_second_words(const char *first, char *out, size_t size)
{
	size_t length = strlen(first), used = 0;

	out[0] = '\0';
	for (size_t i = 0; i < cli_commands_count; i++) {
		const char *name = cli_commands[i].name;

		if (strncmp(name, first, length) || name[length] != ' ' || used >= size)
			continue;
		used += (size_t)snprintf(out + used, size - used, "%s%s", used ? ", " : "",
					 name + length + 1);
	}
	return used > 0;
}

const CliCommand *cli_command_find(int argc, char *const *argv, int *ret_words, Error *err)
{
	char seconds[128];

	for (size_t i = 0; i < cli_commands_count; i++) {
		int words = match_name(cli_commands[i].name, argc, argv);

		if (words) {
			*ret_words = words;
			return &cli_commands[i];
		}
	}
	if (argc < 1)
		error_set(err, ERROR_USAGE, "no command given; `sealift help` lists them");
	else if (!list_second_words(argv[0], seconds, sizeof(seconds)))
		error_set(err, ERROR_USAGE,
			  "there is no command \"%.64s\"; `sealift help` lists them", argv[0]);
	else if (argc < 2)
		error_set(err, ERROR_USAGE, "\"%s\" needs one of: %s", argv[0], seconds);
	else
		error_set(err, ERROR_USAGE,
			  "there is no command \"%s %.64s\"; \"%s\" needs one of: %s", argv[0],
			  argv[1], argv[0], seconds);
	return NULL;
}

static void fill_long_options(const CliCommand *command, struct option *out)
{
	*out++ = (struct option){ "json", no_argument, NULL, GIVEN_JSON };
	*out++ = (struct option){ "socket", required_argument, NULL, GIVEN_SOCKET };
	*out++ = (struct option){ "help", no_argument, NULL, GIVEN_HELP };
	for (int i = 0; command->options && command->options[i].name; i++) {
		const CliOption *option = &command->options[i];

		assert(i < CLI_OPTIONS_MAX);
		*out++ = (struct option){ option->name,
					  option->value ? required_argument : no_argument, NULL,
					  GIVEN_OWN + i };
	}
	*out = (struct option){ 0 };
}

static bool take_option(const CliCommand *command, int given, CliContext *context, CliInput *input,
			bool *ret_help, const char *word, Error *err)
{
	if (given == '?')
		return error_set(err, ERROR_USAGE,
				 "%s: unknown option %.64s; see `sealift help %s`", command->name,
				 word, command->name);
	if (given == ':')
		return error_set(err, ERROR_USAGE, "%s: %.64s needs a value; see `sealift help %s`",
				 command->name, word, command->name);
	if (given == GIVEN_JSON)
		context->json = true;
	else if (given == GIVEN_SOCKET)
		context->socket_path = optarg;
	else if (given == GIVEN_HELP || given == 'h')
		*ret_help = true;
	else if (input->values[given - GIVEN_OWN])
		return error_set(err, ERROR_USAGE, "%s: --%s is given twice", command->name,
				 command->options[given - GIVEN_OWN].name);
	else
		input->values[given - GIVEN_OWN] = optarg ? optarg : "";
	return true;
}

bool cli_input_read(const CliCommand *command, int argc, char **argv, CliContext *context,
		    CliInput *ret_input, bool *ret_help, Error *err)
{
	struct option options[SHARED_COUNT + CLI_OPTIONS_MAX + 1];
	int given;

	fill_long_options(command, options);
	*ret_input = (CliInput){ 0 };
	*ret_help = false;
	opterr = 0;
	optind = 0; /* getopt(3): start anew, main() has used it for what stands before the command
		     */
	while ((given = getopt_long(argc, argv, ":h", options, NULL)) >= 0) {
		/* Permutation leaves the option just looked at before optind. */
		const char *word = optind > 0 && optind <= argc ? argv[optind - 1] : "?";

		if (!take_option(command, given, context, ret_input, ret_help, word, err))
			return false;
	}
	ret_input->words = argv + optind;
	ret_input->words_count = (size_t)(argc - optind);
	if (*ret_help)
		return true;
	if (ret_input->words_count < command->words_min)
		return error_set(err, ERROR_USAGE, "usage: sealift %s %s", command->name,
				 command->args);
	if (ret_input->words_count > command->words_max)
		return error_set(err, ERROR_USAGE,
				 "%s: \"%.64s\" is too much; usage: sealift %s %s", command->name,
				 ret_input->words[command->words_max], command->name,
				 command->args);
	return true;
}
